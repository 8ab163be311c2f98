//! Network interfaces, as `/sys/class/net` shows them.

use super::{Machine, Seen, raw};

const NETS: &str = "sys/class/net";
/// `WAKE_MAGIC` of linux/ethtool.h.
const MAGIC: u32 = 1 << 5;

/// One Ethernet-like interface that has a device behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    /// Lower case, colons.
    pub mac: Option<String>,
    /// The address is the adapter's own (`addr_assign_type` 0), not one set or drawn at random by software.
    pub permanent: bool,
    pub wireless: bool,
    /// Plugged in from outside, so it may move to another machine.
    pub usb: bool,
    /// `device/power/wakeup`: `enabled`, `disabled` or nothing.
    pub wakeup: Option<String>,
}

/// What a network adapter does about Wake-on-LAN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wol {
    /// Magic packets are set to wake the machine.
    Magic,
    /// The driver could, but magic packets are not set.
    SupportedOff,
    /// The driver cannot.
    None,
    Unknown(String),
}

impl Machine {
    /// The physical interfaces (`device` is there, type 1), by name.
    pub fn interfaces(&self) -> Seen<Vec<Interface>> {
        self.look_list(NETS).map(|names| names.into_iter().filter_map(|name| self.interface(name)).collect())
    }

    fn interface(&self, name: String) -> Option<Interface> {
        let at = format!("{NETS}/{name}");
        let text = |file: &str| self.look_text(&format!("{at}/{file}")).found();
        if !self.exists(&format!("{at}/device")) || text("type").as_deref() != Some("1") {
            return None;
        }
        Some(Interface {
            mac: text("address").map(|mac| mac.to_lowercase()).filter(|mac| octets(mac).is_some()),
            permanent: text("addr_assign_type").as_deref() == Some("0"),
            wireless: self.exists(&format!("{at}/wireless")) || self.exists(&format!("{at}/phy80211")),
            usb: self.link_name(&format!("{at}/device/subsystem")).as_deref() == Some("usb"),
            wakeup: text("device/power/wakeup").filter(|text| !text.is_empty()),
            name,
        })
    }

    /// Asks the driver. Only the live root has one.
    pub fn wake_on_lan(&self, interface: &Interface) -> Wol {
        if !self.is_live() {
            return Wol::Unknown(format!("{}: no driver to ask", self.kind().word()));
        }
        match raw::wake_on_lan(&interface.name) {
            Ok((_, set)) if set & MAGIC != 0 => Wol::Magic,
            Ok((supported, _)) if supported & MAGIC != 0 => Wol::SupportedOff,
            Ok(_) => Wol::None,
            Err(error) if error.kind() == std::io::ErrorKind::Unsupported => Wol::None,
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                Wol::Unknown("asking the driver: permission denied; run as root".to_owned())
            }
            Err(error) => Wol::Unknown(format!("asking the driver: {error}")),
        }
    }
}

impl Interface {
    /// The address if it can identify the machine: the adapter's own, globally administered, of one station, and
    /// on an adapter that does not move.
    pub fn identifying_mac(&self) -> Option<&str> {
        let mac = self.mac.as_deref()?;
        let octets = octets(mac)?;
        let local_or_group = octets[0] & 0b11 != 0;
        let blank = octets.iter().all(|octet| *octet == octets[0]) || octets[..3] == [0, 0, 0];
        (self.permanent && !self.usb && !local_or_group && !blank).then_some(mac)
    }
}

fn octets(mac: &str) -> Option<[u8; 6]> {
    let parts: Vec<u8> = mac
        .split(':')
        .map(|part| {
            let hex = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
            if hex { u8::from_str_radix(part, 16).ok() } else { None }
        })
        .collect::<Option<_>>()?;
    parts.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_globally_administered_permanent_address_identifies() {
        let cases = [
            ("3c:52:82:00:11:22", true),
            ("02:fc:00:00:00:01", false), // locally administered
            ("01:00:5e:00:00:01", false), // multicast
            ("00:00:00:00:00:00", false),
            ("ff:ff:ff:ff:ff:ff", false),
            ("3c:52:82:00:11", false),
            ("+c:52:82:00:11:22", false),
        ];
        for (mac, expected) in cases {
            let nic = |permanent, usb| Interface {
                name: "eth0".into(),
                mac: Some(mac.into()),
                permanent,
                wireless: false,
                usb,
                wakeup: None,
            };
            assert_eq!(nic(true, false).identifying_mac().is_some(), expected, "{mac}");
            assert_eq!(nic(false, false).identifying_mac(), None, "{mac} drawn at random");
            assert_eq!(nic(true, true).identifying_mac(), None, "{mac} on USB");
        }
    }
}
