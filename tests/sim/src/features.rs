//! What an administrator sets: names, clock, redirection, consent, ports. Plain data; what may be set when is said
//! where it is set, in [`crate::wsman`] by the shape of a request and in [`crate::amt`] by the device's mode.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::profile::{Facts, Firmware};
use crate::wifi::Wifi;

/// Properties by name, each with its values in order.
pub type Values = BTreeMap<&'static str, Vec<String>>;

/// The settings, as `state.json` tells them too.
#[derive(Clone, Serialize)]
pub struct Features {
    /// `AMT_GeneralSettings`, what can be written of it.
    pub general: Values,
    /// `AMT_EthernetPortSettings`, by the number in the instance's name.
    pub ports: BTreeMap<u8, Values>,
    /// `AMT_RedirectionService.EnabledState`: 32768 none, +1 IDER, +2 SOL.
    pub redirection: u32,
    /// Its `ListenerEnabled`.
    pub listener: bool,
    /// Whether KVM is on.
    pub kvm: bool,
    /// `IPS_OptInService`.
    pub consent: Consent,
    /// `CIM_AssociatedPowerManagementService.PowerState`. Told only: nothing of the host goes off.
    pub power: u32,
    /// Wi-Fi.
    pub wifi: Wifi,
    /// The place of the power scheme that holds.
    pub power_scheme: usize,
}

/// Consent of the user.
#[derive(Clone, Copy, Serialize)]
pub struct Consent {
    /// `OptInRequired`: 0 none, 1 KVM, 4294967295 all.
    pub required: u32,
    /// `OptInCodeTimeout`, seconds.
    pub code_timeout: u32,
    /// `OptInDisplayTimeout`, seconds.
    pub display_timeout: u32,
}

/// Consent for everything.
pub const CONSENT_ALL: u32 = u32::MAX;

impl Features {
    /// What a machine has before anybody has set anything.
    #[must_use]
    pub fn new(facts: &Facts) -> Self {
        let ports = [(0, facts.has_wired()), (1, facts.has_amt())].into_iter().filter(|(_, there)| *there);
        let ports = ports.map(|(number, _)| (number, port(number))).collect();
        let consent = Consent { required: CONSENT_ALL, code_timeout: 120, display_timeout: 300 };
        let (redirection, listener, kvm, power) = (32768, false, false, 2);
        let wifi = Wifi::default();
        Self { general: general(), ports, redirection, listener, kvm, consent, power, wifi, power_scheme: 0 }
    }
}

/// A table as [`Values`].
fn values(table: &[(&'static str, &str)]) -> Values {
    let mut values = Values::new();
    for (name, value) in table {
        values.entry(name).or_default().push((*value).to_owned());
    }
    values
}

fn general() -> Values {
    values(&[
        ("AMTNetworkEnabled", "1"),
        ("DDNSPeriodicUpdateInterval", "1440"),
        ("DDNSTTL", "900"),
        ("DDNSUpdateByDHCPServerEnabled", "true"),
        ("DDNSUpdateEnabled", "false"),
        ("DHCPSyncRequiresHostname", "1"),
        ("DHCPv6ConfigurationTimeout", "0"),
        ("DomainName", ""),
        ("HostName", ""),
        ("HostOSFQDN", ""),
        ("IdleWakeTimeout", "65535"),
        ("PingResponseEnabled", "true"),
        ("PreferredAddressFamily", "0"),
        ("PresenceNotificationInterval", "0"),
        ("PrivacyLevel", "0"),
        ("RmcpPingResponseEnabled", "true"),
        ("SharedFQDN", "true"),
        ("ThunderboltDockEnabled", "0"),
        ("WsmanOnlyMode", "false"),
    ])
}

fn port(number: u8) -> Values {
    match number {
        0 => values(&[
            ("DHCPEnabled", "true"),
            ("IpSyncEnabled", "true"),
            ("LinkPolicy", "1"),
            ("LinkPolicy", "14"),
            ("SharedDynamicIP", "true"),
            ("SharedMAC", "true"),
            ("SharedStaticIp", "false"),
        ]),
        _ => values(&[
            ("ConsoleTcpMaxRetransmissions", "5"),
            ("DHCPEnabled", "true"),
            ("LinkControl", "2"),
            ("LinkPreference", "2"),
            ("SharedMAC", "true"),
            ("WLANLinkProtectionLevel", "1"),
        ]),
    }
}

/// The state that `CIM_KVMRedirectionSAP.EnabledState` tells: off is 3, on is 2, or 6 (recorded on 12).
#[must_use]
pub fn kvm_state(on: bool, Firmware { major, .. }: Firmware) -> u32 {
    match (on, major) {
        (false, _) => 3,
        (true, ..12) => 2,
        (true, _) => 6,
    }
}

/// The firmware's clock, as its distance from the host's. It is off until somebody sets it.
#[derive(Clone, Copy)]
pub struct Clock {
    ahead: i64,
}

impl Default for Clock {
    /// Three years behind: a certificate made today is not valid yet.
    fn default() -> Self {
        Self { ahead: -3 * 365 * 86_400 }
    }
}

impl Clock {
    /// Seconds since 1970, as the firmware has them.
    #[must_use]
    pub fn now(self) -> i64 {
        let host = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        i64::try_from(host).unwrap_or(0).saturating_add(self.ahead)
    }

    /// How far it is ahead of the host's.
    #[must_use]
    pub fn ahead(self) -> i64 {
        self.ahead
    }

    /// `SetHighAccuracyTimeSynch`: the mean of the differences at both ends of the exchange, as IEEE 1588 has it. A
    /// `sent` that is not what the firmware said sets a wrong clock.
    pub fn set(&mut self, sent: i64, received: i64, returned: i64) {
        let (there, back) = (received.saturating_sub(sent), returned.saturating_sub(self.now()));
        self.ahead = self.ahead.saturating_add(there.saturating_add(back) / 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_off_until_it_is_set_with_what_it_said() {
        let mut clock = Clock::default();
        let host = clock.now() - clock.ahead();
        assert!(clock.now() < host - 86_400);
        let mut wrong = clock;
        wrong.set(0, host, host);
        assert!(wrong.ahead().abs() > 86_400, "a made-up Ta0 set a good clock");
        clock.set(clock.now(), host, host);
        assert!(clock.ahead().abs() <= 2, "{}", clock.ahead());
    }
}
