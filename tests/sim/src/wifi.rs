//! Wi-Fi as AMT has it: the port's state, and profiles whose passphrases nobody can read back (`reference/amt.md` 5.10).

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::amt::status;
use crate::chance::hex;

/// What an administrator set of Wi-Fi, as `state.json` tells it too.
#[derive(Clone, Serialize)]
pub struct Wifi {
    /// `CIM_WiFiPort.EnabledState`.
    pub state: u32,
    /// `localProfileSynchronizationEnabled`.
    pub synchronization: u32,
    /// `NoHostCsmeSoftwarePolicy`.
    pub no_host_policy: u32,
    /// `UEFIWiFiProfileShareEnabled`.
    pub shared_with_uefi: bool,
    /// The profiles by name.
    pub profiles: BTreeMap<String, Profile>,
}

impl Default for Wifi {
    /// As recorded of a machine on which nobody set anything.
    fn default() -> Self {
        Self {
            state: OFF,
            synchronization: 0,
            no_host_policy: 0,
            shared_with_uefi: false,
            profiles: BTreeMap::new(),
        }
    }
}

/// States of the port: off; on while the host runs; on in every state with mains.
pub const OFF: u32 = 3;
const WITH_HOST: u32 = 32768;
const ALWAYS: u32 = 32769;

/// One profile.
#[derive(Clone, Serialize)]
pub struct Profile {
    /// Its network.
    pub ssid: String,
    /// `AuthenticationMethod`.
    pub authentication: u32,
    /// `EncryptionMethod`.
    pub encryption: u32,
    /// 1 is tried first.
    pub priority: u32,
    /// For tests: WS-Man tells nothing of it.
    passphrase_sha256: Option<String>,
}

/// A profile as a request has it. Not to be shown: it holds the passphrase.
pub struct Wish<'a> {
    /// `ElementName`.
    pub name: &'a str,
    /// `InstanceID`.
    pub instance: &'a str,
    /// `SSID`.
    pub ssid: &'a str,
    /// `AuthenticationMethod`.
    pub authentication: u32,
    /// `EncryptionMethod`.
    pub encryption: u32,
    /// `Priority`.
    pub priority: u32,
    /// `PSKPassPhrase`.
    pub passphrase: Option<&'a str>,
}

/// `AuthenticationMethod`.
mod authentication {
    pub(super) const WPA2_PSK: u32 = 6;
    pub(super) const WPA3_SAE: u32 = 32768;
    pub(super) const OWE: u32 = 32769;
}

const CCMP: u32 = 4;
/// The references say that priorities go to 255, not how many profiles there are room for.
const MAX_PROFILES: usize = 8;

impl Wifi {
    /// `CIM_WiFiPort.RequestStateChange`; false for a state that the port does not have.
    #[must_use]
    pub fn switch(&mut self, state: u32) -> bool {
        let known = matches!(state, OFF | WITH_HOST | ALWAYS);
        if known {
            self.state = state;
        }
        known
    }

    /// Whether the port has what it takes to be on a network.
    #[must_use]
    pub fn connects(&self) -> bool {
        self.state != OFF && !self.profiles.is_empty()
    }

    /// `AddWiFiSettings`.
    pub fn add(&mut self, wish: &Wish<'_>) -> u32 {
        if self.profiles.contains_key(wish.name) {
            return status::DUPLICATE;
        }
        if self.profiles.len() == MAX_PROFILES {
            return status::LIMIT;
        }
        self.store(wish)
    }

    /// `UpdateWiFiSettings` of the profile of this name, which is there.
    pub fn update(&mut self, name: &str, wish: &Wish<'_>) -> u32 {
        if wish.name == name { self.store(wish) } else { status::PARAMETER }
    }

    fn store(&mut self, wish: &Wish<'_>) -> u32 {
        let fits = wish.instance == instance_id(wish.name)
            && is_name(wish.name)
            && (1..=32).contains(&wish.ssid.len())
            && (1..=255).contains(&wish.priority)
            && wish.encryption == CCMP;
        let keyed = match wish.authentication {
            authentication::WPA2_PSK | authentication::WPA3_SAE => true,
            authentication::OWE => false,
            // With 802.1X and with what is older than WPA2: not simulated.
            _ => return status::PARAMETER,
        };
        let phrase = wish.passphrase.filter(|phrase| !phrase.is_empty());
        if !fits || !keyed && phrase.is_some() {
            return status::PARAMETER;
        }
        // IEEE 802.11: 8 to 63 printable ASCII characters.
        let good =
            |phrase: &str| (8..=63).contains(&phrase.len()) && phrase.bytes().all(|b| matches!(b, 32..127));
        if keyed && !phrase.is_some_and(good) {
            return status::PASSPHRASE;
        }
        let others = self.profiles.iter().filter(|(name, _)| *name != wish.name);
        if others.into_iter().any(|(_, other)| other.priority == wish.priority) {
            return status::PRIORITY;
        }
        let profile = Profile {
            ssid: wish.ssid.to_owned(),
            authentication: wish.authentication,
            encryption: wish.encryption,
            priority: wish.priority,
            passphrase_sha256: phrase.map(|phrase| hex(&Sha256::digest(phrase))),
        };
        self.profiles.insert(wish.name.to_owned(), profile);
        status::OK
    }
}

/// The key of the profile of this name.
#[must_use]
pub fn instance_id(name: &str) -> String {
    format!("Intel(r) AMT:WiFi Endpoint Settings {name}")
}

fn is_name(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish<'a>(name: &'a str, instance: &'a str, priority: u32) -> Wish<'a> {
        let passphrase = Some("correct horse");
        Wish { name, instance, ssid: "example", authentication: 6, encryption: 4, priority, passphrase }
    }

    #[test]
    fn each_rule_has_its_refusal_and_changes_nothing() {
        let (mut wifi, id) = (Wifi::default(), instance_id("home"));
        let long = "x".repeat(64);
        let good = || wish("home", &id, 1);
        for (wish, wanted) in [
            (Wish { priority: 0, ..good() }, status::PARAMETER),
            (Wish { priority: 256, ..good() }, status::PARAMETER),
            (Wish { instance: "home", ..good() }, status::PARAMETER),
            (Wish { name: "work", ..good() }, status::PARAMETER),
            (Wish { ssid: "", ..good() }, status::PARAMETER),
            (Wish { ssid: &long[..33], ..good() }, status::PARAMETER),
            (Wish { encryption: 3, ..good() }, status::PARAMETER),
            (Wish { authentication: 7, ..good() }, status::PARAMETER),
            (Wish { authentication: 32769, ..good() }, status::PARAMETER),
            (Wish { passphrase: Some(&long[..7]), ..good() }, status::PASSPHRASE),
            (Wish { passphrase: Some(&long), ..good() }, status::PASSPHRASE),
            (Wish { passphrase: Some("correct-h\u{f6}rse"), ..good() }, status::PASSPHRASE),
            (Wish { passphrase: None, authentication: 32768, ..good() }, status::PASSPHRASE),
        ] {
            assert_eq!(wifi.add(&wish), wanted, "{} {} {}", wish.name, wish.priority, wish.authentication);
            assert!(wifi.profiles.is_empty());
        }
        assert_eq!(wifi.add(&Wish { passphrase: Some(&long[..63]), ..good() }), status::OK);
        assert_eq!(wifi.add(&good()), status::DUPLICATE);
        let other = instance_id("work");
        assert_eq!(wifi.add(&wish("work", &other, 1)), status::PRIORITY);
        assert_eq!(wifi.add(&wish("work", &other, 255)), status::OK);
        assert_eq!(wifi.update("work", &wish("work", &other, 1)), status::PRIORITY);
        assert_eq!(wifi.update("work", &wish("work", &other, 2)), status::OK);
        assert_eq!(wifi.update("work", &wish("elsewhere", &instance_id("elsewhere"), 3)), status::PARAMETER);
        assert_eq!(wifi.profiles["work"].priority, 2);
        assert!(!serde_json::to_string(&wifi).unwrap().contains("correct horse"));
    }

    #[test]
    fn room_is_for_a_few_profiles_and_the_port_has_three_states() {
        let mut wifi = Wifi::default();
        for number in 1..=9 {
            let (name, id) = (format!("n{number}"), instance_id(&format!("n{number}")));
            let wanted = if number < 9 { status::OK } else { status::LIMIT };
            assert_eq!(wifi.add(&wish(&name, &id, number)), wanted);
        }
        assert!(!wifi.connects() && !wifi.switch(2) && wifi.state == 3);
        assert!(wifi.switch(32769) && wifi.connects());
    }
}
