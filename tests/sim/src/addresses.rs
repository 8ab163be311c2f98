//! The wired port's static address: what sets it, what loses it, and what is gone with it (`reference/amt.md` 5.10).

use std::net::Ipv4Addr;
use std::str::FromStr;

use anyhow::{Context, Error, Result, ensure};

use crate::amt::Amt;
use crate::features::{Features, Values};
use crate::habits::Habits;
use crate::profile::Facts;

/// What `--static-address` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaticAddress {
    address: Ipv4Addr,
    mask: Ipv4Addr,
    gateway: Ipv4Addr,
    dns: Option<Ipv4Addr>,
}

impl FromStr for StaticAddress {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split(',').collect();
        ensure!(
            matches!(parts.len(), 2 | 3),
            "reading address {text:?}: the form is A.B.C.D/LENGTH,GATEWAY[,DNS]"
        );
        let (address, length) = parts[0].split_once('/').context("reading the address: it has no /LENGTH")?;
        let length: u32 = length.parse().context("reading the address's LENGTH")?;
        ensure!(
            (1..=31).contains(&length),
            "reading the address's LENGTH {length}: it lies between 1 and 31"
        );
        let parsed = |text: &str| text.parse().with_context(|| format!("reading address {text:?}"));
        Ok(Self {
            address: parsed(address)?,
            mask: Ipv4Addr::from(u32::MAX << (32 - length)),
            gateway: parsed(parts[1])?,
            dns: parts.get(2).map(|dns| parsed(dns)).transpose()?,
        })
    }
}

/// The properties of `AMT_EthernetPortSettings` that a static address is made of.
pub const STATIC: [&str; 5] = ["DefaultGateway", "IPAddress", "PrimaryDNS", "SecondaryDNS", "SubnetMask"];

/// The wired port's number.
const WIRED: u8 = 0;
/// What DHCP gives.
pub const LEASED: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 40);

impl Features {
    /// What a machine of these habits has before anybody has set anything.
    #[must_use]
    pub fn begun(facts: &Facts, habits: &Habits) -> Self {
        let mut features = Self::new(facts);
        if let (Some(given), Some(port)) = (habits.static_address, features.ports.get_mut(&WIRED)) {
            let word = |value: bool| value.to_string();
            let values = [
                ("DHCPEnabled", Some(word(false))),
                ("DefaultGateway", Some(given.gateway.to_string())),
                ("IPAddress", Some(given.address.to_string())),
                ("IpSyncEnabled", Some(word(habits.ip_sync))),
                ("PrimaryDNS", given.dns.map(|dns| dns.to_string())),
                ("SharedStaticIp", Some(word(habits.shared_static))),
                ("SubnetMask", Some(given.mask.to_string())),
            ];
            port.extend(values.into_iter().filter_map(|(name, value)| Some((name, vec![value?]))));
        }
        features
    }
}

impl Amt {
    /// Whether the wired port takes its address from DHCP.
    #[must_use]
    pub fn has_dhcp(&self) -> bool {
        self.features.ports.get(&WIRED).is_none_or(leases)
    }

    /// The wired port's address: the one it was given, or the lease's.
    #[must_use]
    pub fn wired_address(&self) -> Option<Ipv4Addr> {
        match self.features.ports.get(&WIRED).filter(|port| !leases(port)) {
            Some(port) => port.get("IPAddress").and_then(|values| values.first()?.parse().ok()),
            None => Some(LEASED),
        }
    }

    /// Whether the wireless link is up. On a machine without a wired port the host has brought it up.
    #[must_use]
    pub fn wireless_up(&self) -> bool {
        self.facts.radio && (!self.facts.has_wired() || self.features.wifi.connects())
    }

    /// Whether the network can reach AMT: not where the static address is lost.
    #[must_use]
    pub fn is_addressed(&self) -> bool {
        self.wired_address().is_some()
    }

    /// What some firmware does to a static address when other settings are put.
    pub fn lose_address(&mut self) {
        if self.habits.loses_address
            && let Some(port) = self.features.ports.get_mut(&WIRED).filter(|port| !leases(port))
        {
            port.retain(|name, _| !STATIC.contains(name));
        }
    }
}

/// Whether a port's values say DHCP.
#[must_use]
pub fn leases(port: &Values) -> bool {
    port.get("DHCPEnabled").is_some_and(|values| values.iter().any(|value| value == "true"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_length_and_its_gateway() {
        let read: StaticAddress = "192.0.2.9/22,192.0.2.1".parse().unwrap();
        assert_eq!((read.mask, read.dns), (Ipv4Addr::new(255, 255, 252, 0), None));
        let read: StaticAddress = "192.0.2.9/31,192.0.2.1,192.0.2.53".parse().unwrap();
        assert_eq!(read.dns, Some(Ipv4Addr::new(192, 0, 2, 53)));
        for wrong in [
            "",
            "192.0.2.9",
            "192.0.2.9/24",
            "192.0.2.9/0,192.0.2.1",
            "192.0.2.9/32,192.0.2.1",
            "192.0.2.9,192.0.2.1",
            "192.0.2/24,192.0.2.1",
            "192.0.2.9/24,192.0.2.1,1,2",
        ] {
            assert!(wrong.parse::<StaticAddress>().is_err(), "{wrong:?} was accepted");
        }
    }
}
