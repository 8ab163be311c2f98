//! A Wi-Fi profile of AMT's own beside those that are there (reference/amt.md 5.10). The passphrase goes to AMT and
//! nowhere else, and no read gives it back.

use std::collections::BTreeSet;

use oob_policy::{WifiSecurity, WifiWish};
use oob_wsman::Secret;
use oob_wsman::classes::wifi::{
    CCMP, PROFILE, Profile, S0_AND_SX, WPA2_PSK, WPA3_SAE, WifiEndpointSettings, WifiPort, add_wifi_settings,
    request_wifi,
};

use super::failure::{Failure, WsError};
use super::proof::Client;
use super::settings::{marked, mutating, refused};

const WHAT: &str = "Wi-Fi";
/// Priorities of profiles; the lowest is tried first.
const PRIORITIES: std::ops::RangeInclusive<u32> = 1..=255;
/// What firmware is known to take.
const LONGEST_NAME: usize = 32;

/// How the profile came to be there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    Added,
    /// One of its network and its security was there, with a passphrase that nobody can compare.
    WasThere,
}

impl Written {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Added => "added, passphrase asserted",
            Self::WasThere => "was there, passphrase not compared",
        }
    }

    pub(super) const fn sentence(self) -> &'static str {
        match self {
            Self::Added => "AMT took the Wi-Fi passphrase and gives no way to read it back",
            Self::WasThere => {
                "a Wi-Fi profile of that network was there and was left as it is, its passphrase cannot be compared"
            }
        }
    }
}

/// Adds the profile where it is not there, and switches AMT's Wi-Fi on for every state on mains.
pub(super) async fn write(
    admin: &mut Client<'_, '_>,
    wish: &WifiWish,
    passphrase: Option<&Secret>,
) -> Result<Written, Failure> {
    let port = admin.get::<WifiPort>().await.map_err(|error| refused(WHAT, &error))?;
    if !has_radio(&port) {
        return Err(Failure::impossible(
            "no-wifi",
            "AMT has no Wi-Fi radio on this machine: remove `amt.wifi_ssid`",
        ));
    }
    let profiles = profiles(admin).await?;
    let mut written = Written::WasThere;
    if !profiles.iter().any(|profile| is_wished(profile, wish)) {
        let Some(passphrase) = passphrase else {
            return Err(Failure::unchanged(
                "wifi-passphrase",
                "the passphrase of the Wi-Fi profile was not read",
            ));
        };
        let Some(priority) = free_priority(&profiles) else {
            return Err(Failure::impossible(
                "no-wifi-priority",
                "every priority of AMT's Wi-Fi profiles is taken: remove one of them",
            ));
        };
        let name = free_name(&wish.ssid, &profiles);
        let profile =
            Profile { name: &name, ssid: &wish.ssid, authentication: number(wish), priority, passphrase };
        match marked("AddWiFiSettings", admin.invoke(&add_wifi_settings(profile))).await {
            // Whether it is there, the reading tells.
            Ok(()) | Err(WsError::OutcomeUnknown { .. }) => {}
            Err(error) => return Err(refused(WHAT, &error)),
        }
        written = Written::Added;
    }
    if port.enabled_state != Some(S0_AND_SX) {
        mutating(WHAT, admin.invoke(&request_wifi(S0_AND_SX))).await?;
    }
    Ok(written)
}

/// Reads back what can be read.
pub(super) async fn check(admin: &mut Client<'_, '_>, wish: &WifiWish) -> Result<(), Failure> {
    let differs = |what: String| Err(Failure::unchanged("setting-not-kept", format!("AMT accepted {what}")));
    if !profiles(admin).await?.iter().any(|profile| is_wished(profile, wish)) {
        return differs("the Wi-Fi profile, and has none of that network afterwards".to_owned());
    }
    let port = admin.get::<WifiPort>().await.map_err(|error| refused(WHAT, &error))?;
    if port.enabled_state != Some(S0_AND_SX) {
        return differs(format!("to switch its Wi-Fi on, and reads {:?} afterwards", port.enabled_state));
    }
    Ok(())
}

async fn profiles(admin: &mut Client<'_, '_>) -> Result<Vec<WifiEndpointSettings>, Failure> {
    admin.enumerate::<WifiEndpointSettings>().await.map_err(|error| refused(WHAT, &error))
}

fn has_radio(port: &WifiPort) -> bool {
    let address = port.permanent_address.as_deref();
    // Firmware that does not tell an address does not tell that there is no radio.
    address.is_none_or(|it| it.bytes().any(|byte| byte.is_ascii_hexdigit() && byte != b'0'))
}

fn is_wished(profile: &WifiEndpointSettings, wish: &WifiWish) -> bool {
    profile.ssid.as_deref() == Some(&wish.ssid)
        && profile.authentication_method == Some(number(wish))
        && profile.encryption_method == Some(CCMP)
}

fn number(wish: &WifiWish) -> u32 {
    match wish.security {
        WifiSecurity::Wpa2Psk => WPA2_PSK,
        WifiSecurity::Wpa3Sae => WPA3_SAE,
    }
}

/// After all that are there, so that what they were for stays as it is; before them only where there is no room after.
fn free_priority(profiles: &[WifiEndpointSettings]) -> Option<u32> {
    let taken: BTreeSet<u32> = profiles.iter().filter_map(|profile| profile.priority).collect();
    let next = taken.last().map_or(*PRIORITIES.start(), |last| last.saturating_add(1));
    if PRIORITIES.contains(&next) {
        return Some(next);
    }
    PRIORITIES.rev().find(|priority| !taken.contains(priority))
}

/// From the network's name what firmware takes in a profile's, and a number where another profile is called so.
fn free_name(ssid: &str, profiles: &[WifiEndpointSettings]) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_. ".contains(c) { c } else { '_' };
    let base: String = ssid.chars().map(plain).take(LONGEST_NAME - 4).collect();
    let taken = |name: &str| {
        profiles.iter().any(|profile| {
            profile.element_name.as_deref() == Some(name)
                || profile.instance_id.as_deref().and_then(|id| id.strip_prefix(PROFILE)) == Some(name)
        })
    };
    let mut name = base.clone();
    let mut count = 2;
    while taken(&name) {
        name = format!("{base}-{count}");
        count += 1;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(name: &str, ssid: &str, authentication: u32, priority: Option<u32>) -> WifiEndpointSettings {
        WifiEndpointSettings {
            authentication_method: Some(authentication),
            bss_type: Some(3),
            element_name: Some(name.to_owned()),
            encryption_method: Some(CCMP),
            instance_id: Some(format!("{PROFILE}{name}")),
            priority,
            ssid: Some(ssid.to_owned()),
        }
    }

    #[test]
    fn the_profiles_of_others_keep_their_priority_and_their_name() {
        let at = |priority| profile("other", "other", WPA2_PSK, Some(priority));
        for (taken, free) in [
            (vec![], Some(1)),
            (vec![1], Some(2)),
            (vec![7, 3], Some(8)),
            (vec![1, 255], Some(254)),
            (vec![254, 255], Some(253)),
            ((1..=255).collect(), None),
        ] {
            let profiles: Vec<_> = taken.iter().copied().map(at).collect();
            assert_eq!(free_priority(&profiles), free, "{taken:?}");
        }
        let profiles = [profile("Acme", "x", WPA2_PSK, None), profile("Acme-2", "y", WPA2_PSK, None)];
        for (ssid, name) in [
            ("Office", "Office"),
            ("Acme", "Acme-3"),
            ("a/b:\u{fc}\"c", "a_b___c"),
            ("0123456789abcdef0123456789abcdef", "0123456789abcdef0123456789ab"),
        ] {
            assert_eq!(free_name(ssid, &profiles), name, "{ssid}");
        }
    }

    #[test]
    fn a_profile_is_the_one_wished_only_with_its_security() {
        let wish = |security| WifiWish { ssid: "Acme".to_owned(), security };
        let held = profile("Acme", "Acme", WPA2_PSK, Some(1));
        assert!(is_wished(&held, &wish(WifiSecurity::Wpa2Psk)));
        assert!(!is_wished(&held, &wish(WifiSecurity::Wpa3Sae)));
        assert!(!is_wished(&profile("Acme", "acme", WPA2_PSK, None), &wish(WifiSecurity::Wpa2Psk)));
        let weak = WifiEndpointSettings { encryption_method: Some(3), ..held };
        assert!(!is_wished(&weak, &wish(WifiSecurity::Wpa2Psk)));
    }
}
