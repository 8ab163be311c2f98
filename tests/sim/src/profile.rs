//! The machine types, and what one machine of a type and a seed is.

use anyhow::{Result, bail};

use crate::chance::derived;

/// A machine type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// A business desktop with AMT 11.8.
    VproDesktopAmt11,
    /// A business desktop with AMT 12.0.
    VproDesktopAmt12,
    /// A desktop with Standard Manageability 14.1: AMT without KVM.
    IsmDesktopAmt14,
    /// A business desktop with AMT 15.0.
    VproDesktopAmt15,
    /// A business desktop with AMT 16.0: the last generation with cleartext ports (`reference/amt.md` 4.5).
    VproDesktopAmt16,
    /// A business desktop with AMT 16.1: TLS only on the network.
    VproDesktopAmt16_1,
    /// A business desktop with AMT 18.0: the last generation with a cleartext port for the host.
    VproDesktopAmt18,
    /// A business desktop with AMT 19.0: TLS only, for the host too.
    VproDesktopAmt19,
    /// A business desktop with AMT 20.0.
    VproDesktopAmt20,
    /// A business laptop with AMT 16.0 and no wired NIC.
    VproLaptopWifiAmt16,
    /// A consumer laptop: an Intel ME without AMT, and a BIOS that says `vPro` all the same.
    ConsumerLaptop,
    /// A KVM guest without any ME.
    VmKvm,
}

/// What a machine is built like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// A desktop with a wired NIC of Intel's.
    Desktop,
    /// A business laptop with Wi-Fi only.
    WifiLaptop,
    /// A consumer laptop with a wired NIC that AMT could not use.
    ConsumerLaptop,
    /// A virtual machine.
    Guest,
}

impl Profile {
    /// Every profile, in the order `oob-sim profiles` prints.
    pub const ALL: [Self; 12] = [
        Self::VproDesktopAmt11,
        Self::VproDesktopAmt12,
        Self::IsmDesktopAmt14,
        Self::VproDesktopAmt15,
        Self::VproDesktopAmt16,
        Self::VproDesktopAmt16_1,
        Self::VproDesktopAmt18,
        Self::VproDesktopAmt19,
        Self::VproDesktopAmt20,
        Self::VproLaptopWifiAmt16,
        Self::ConsumerLaptop,
        Self::VmKvm,
    ];

    /// The profile of this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn named(name: &str) -> Result<Self> {
        match Self::ALL.into_iter().find(|profile| profile.name() == name) {
            Some(profile) => Ok(profile),
            None => bail!("looking for profile {name:?}: there is none; `oob-sim profiles` lists them"),
        }
    }

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// One line about it.
    #[must_use]
    pub fn about(self) -> &'static str {
        self.row().1
    }

    /// What it is built like.
    #[must_use]
    pub fn body(self) -> Body {
        match self {
            Self::VproLaptopWifiAmt16 => Body::WifiLaptop,
            Self::ConsumerLaptop => Body::ConsumerLaptop,
            Self::VmKvm => Body::Guest,
            _ => Body::Desktop,
        }
    }

    /// Name, a line about it, firmware.
    fn row(self) -> (&'static str, &'static str, [u16; 4]) {
        match self {
            Self::VproDesktopAmt11 => {
                ("vpro-desktop-amt11", "desktop with AMT 11.8, not provisioned", [11, 8, 50, 3425])
            }
            Self::VproDesktopAmt12 => {
                ("vpro-desktop-amt12", "desktop with AMT 12.0, not provisioned", [12, 0, 67, 1579])
            }
            Self::IsmDesktopAmt14 => {
                ("ism-desktop-amt14", "desktop with Standard Manageability 14.1: no KVM", [14, 1, 60, 1807])
            }
            Self::VproDesktopAmt15 => {
                ("vpro-desktop-amt15", "desktop with AMT 15.0, not provisioned", [15, 0, 23, 1706])
            }
            Self::VproDesktopAmt16 => (
                "vpro-desktop-amt16",
                "desktop with AMT 16.0, not provisioned, cleartext port 16992, wired link up",
                [16, 0, 15, 1735],
            ),
            Self::VproDesktopAmt16_1 => (
                "vpro-desktop-amt16-1",
                "desktop with AMT 16.1: on the network TLS only, with its own certificate at first",
                [16, 1, 27, 2192],
            ),
            Self::VproDesktopAmt18 => (
                "vpro-desktop-amt18",
                "desktop with AMT 18.0: on the network TLS only, the host still in clear",
                [18, 0, 5, 1913],
            ),
            Self::VproDesktopAmt19 => (
                "vpro-desktop-amt19",
                "desktop with AMT 19.0: TLS only, for the host too, with an on-die certificate at first",
                [19, 0, 5, 1966],
            ),
            Self::VproDesktopAmt20 => {
                ("vpro-desktop-amt20", "desktop with AMT 20.0: as 19.0", [20, 0, 3, 1680])
            }
            Self::VproLaptopWifiAmt16 => (
                "vpro-laptop-wifi-amt16",
                "laptop with AMT 16.0 and Wi-Fi only: no wired port 0",
                [16, 0, 15, 1735],
            ),
            Self::ConsumerLaptop => (
                "consumer-laptop",
                "laptop with a consumer ME 16.0: no AMT, and an SMBIOS that says vPro",
                [16, 0, 15, 1735],
            ),
            Self::VmKvm => ("vm-kvm", "KVM guest: QEMU in DMI, hypervisor flag, virtio NIC, no ME", [0; 4]),
        }
    }

    /// What one machine of this type is.
    #[must_use]
    pub fn facts(self, seed: u64) -> Facts {
        let unique = derived(seed, self.name());
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&unique[..16]);
        uuid[6] = uuid[6] & 0x0f | 0x40; // RFC 9562: version 4, variant 1
        uuid[8] = uuid[8] & 0x3f | 0x80;
        let serial: String = unique[16..23]
            .iter()
            .map(|b| char::from(b"0123456789BCDFGHJKLMNPQRSTVWXYZ"[usize::from(b % 31)]))
            .collect();
        let mac = match self {
            Self::VmKvm => [0x52, 0x54, 0x00, unique[29], unique[30], unique[31]],
            _ => [0x6c, 0x3c, 0x8c, unique[29], unique[30], unique[31]],
        };
        let [major, minor, hotfix, build] = self.row().2;
        let firmware = Firmware { major, minor, hotfix, build };
        let has_upid = firmware.major >= 19 && self.body() == Body::Desktop;
        let (radio, platform) = (self.body() == Body::WifiLaptop, Platform::of(self));
        let is_hidden = false;
        Facts { profile: self, seed, uuid, serial, mac, firmware, platform, radio, has_upid, is_hidden }
    }
}

/// The chips of a machine, as PCI and SMBIOS name them.
#[derive(Clone, Copy, Debug)]
pub struct Platform {
    /// The processor's name.
    pub cpu: &'static str,
    /// PCI device of the HECI function.
    pub heci: u16,
    /// PCI device of the chipset's LPC bridge.
    pub pch: u16,
    /// PCI device of the NIC.
    pub nic: u16,
}

impl Platform {
    fn of(profile: Profile) -> Self {
        let (cpu, heci, pch, nic) = match profile {
            Profile::VproDesktopAmt11 => ("Intel(R) Core(TM) i7-7700 CPU @ 3.60GHz", 0xa2ba, 0xa2c6, 0x15b7),
            Profile::VproDesktopAmt12 => ("Intel(R) Core(TM) i7-8700 CPU @ 3.20GHz", 0xa360, 0xa306, 0x15bb),
            Profile::IsmDesktopAmt14 => ("Intel(R) Core(TM) i5-10500 CPU @ 3.10GHz", 0x06e0, 0x0687, 0x0d4c),
            Profile::VproDesktopAmt15 => {
                ("11th Gen Intel(R) Core(TM) i7-11700 @ 2.50GHz", 0x43e0, 0x4384, 0x15f9)
            }
            Profile::VproDesktopAmt16 => ("12th Gen Intel(R) Core(TM) i7-12700", 0x7ae8, 0x7a83, 0x1a1c),
            Profile::VproDesktopAmt16_1 => ("13th Gen Intel(R) Core(TM) i7-13700", 0x7ae8, 0x7a83, 0x1a1c),
            Profile::VproDesktopAmt18 => ("Intel(R) Core(TM) Ultra 7 165U", 0x7e70, 0x7e02, 0x550a),
            Profile::VproDesktopAmt19 => ("Intel(R) Core(TM) Ultra 7 265", 0x7f68, 0x7f0c, 0x550c),
            Profile::VproDesktopAmt20 => ("Intel(R) Core(TM) Ultra 7 268V", 0xa870, 0xa807, 0x57a0),
            Profile::VproLaptopWifiAmt16 => ("12th Gen Intel(R) Core(TM) i7-1265U", 0x51e0, 0x5182, 0x51f0),
            Profile::ConsumerLaptop => ("12th Gen Intel(R) Core(TM) i5-1235U", 0x51e0, 0x5182, 0x1a1f),
            Profile::VmKvm => ("Intel Xeon Processor (Skylake, IBRS)", 0, 0, 0),
        };
        Self { cpu, heci, pch, nic }
    }
}

/// A firmware version.
#[derive(Clone, Copy, Debug)]
pub struct Firmware {
    /// The generation.
    pub major: u16,
    /// The minor number.
    pub minor: u16,
    /// The hotfix.
    pub hotfix: u16,
    /// The build.
    pub build: u16,
}

/// What never changes about one machine.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Its type.
    pub profile: Profile,
    /// What makes it another one of its type.
    pub seed: u64,
    /// SMBIOS UUID in text order; SMBIOS and PTHI show its first three groups little-endian.
    pub uuid: [u8; 16],
    /// The maker's serial number.
    pub serial: String,
    /// Address of the wired NIC.
    pub mac: [u8; 6],
    /// Version of the ME firmware.
    pub firmware: Firmware,
    /// Its chips.
    pub platform: Platform,
    /// Whether it has a Wi-Fi radio that AMT can use.
    pub radio: bool,
    /// Whether the firmware has the client of the platform's id.
    pub has_upid: bool,
    /// Whether AMT is switched off so that its clients are gone.
    pub is_hidden: bool,
}

impl Facts {
    /// Whether the firmware has AMT.
    #[must_use]
    pub fn has_amt(&self) -> bool {
        matches!(self.profile.body(), Body::Desktop | Body::WifiLaptop)
    }

    /// Whether AMT has a wired port.
    #[must_use]
    pub fn has_wired(&self) -> bool {
        self.profile.body() == Body::Desktop
    }

    /// Whether the network side speaks TLS only: 16.1 and later (`reference/amt.md` 4.5).
    #[must_use]
    pub fn is_tls_only(&self) -> bool {
        (self.firmware.major, self.firmware.minor) >= (16, 1)
    }

    /// Whether AMT has Wi-Fi's classes, with a radio or without: Standard Manageability has no wireless.
    #[must_use]
    pub fn has_wireless(&self) -> bool {
        self.has_kvm()
    }

    /// The radio's address; zeros where there is none (recorded).
    #[must_use]
    pub fn radio_mac(&self) -> [u8; 6] {
        let mut mac = self.mac;
        match (self.radio, self.has_wired()) {
            (false, _) => return [0; 6],
            (true, true) => mac[5] ^= 0x80,
            (true, false) => {}
        }
        mac
    }

    /// Whether the host's side speaks TLS only, too: 19 and later (`reference/amt.md` 0, fact 3).
    #[must_use]
    pub fn is_host_tls_only(&self) -> bool {
        self.has_amt() && self.firmware.major >= 19
    }

    /// Whether the firmware has KVM: Standard Manageability has none.
    #[must_use]
    pub fn has_kvm(&self) -> bool {
        self.has_amt() && self.profile != Profile::IsmDesktopAmt14
    }

    /// Whether there is an ME with a MEI device.
    #[must_use]
    pub fn has_mei(&self) -> bool {
        self.profile != Profile::VmKvm
    }

    /// The UUID as SMBIOS and PTHI 0x5C lay it out: first three groups byte-swapped.
    #[must_use]
    pub fn wire_uuid(&self) -> [u8; 16] {
        swapped(self.uuid)
    }

    /// The UUID as text, lower case.
    #[must_use]
    pub fn uuid_text(&self) -> String {
        canonical(self.uuid)
    }

    /// Version as `major.minor.hotfix`.
    #[must_use]
    pub fn version(&self) -> String {
        let Firmware { major, minor, hotfix, .. } = self.firmware;
        format!("{major}.{minor}.{hotfix}")
    }
}

/// A UUID between text order and wire order (it is its own inverse).
#[must_use]
pub fn swapped(u: [u8; 16]) -> [u8; 16] {
    [u[3], u[2], u[1], u[0], u[5], u[4], u[7], u[6], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]]
}

/// The canonical text of a UUID in text order.
#[must_use]
pub fn canonical(uuid: [u8; 16]) -> String {
    let hex = crate::chance::hex(&uuid);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_seeds_are_two_machines() {
        let (a, b) = (Profile::VproDesktopAmt16.facts(1), Profile::VproDesktopAmt16.facts(2));
        assert!(a.uuid != b.uuid && a.serial != b.serial && a.mac != b.mac);
        assert_eq!(a.uuid, Profile::VproDesktopAmt16.facts(1).uuid);
    }

    #[test]
    fn a_guid_has_its_first_three_groups_swapped_on_the_wire() {
        // The PTHI client, reference/amt.md 1.2.
        let wire =
            [0x28, 0x00, 0xf8, 0x12, 0xb7, 0xb4, 0x2d, 0x4b, 0xac, 0xa8, 0x46, 0xe0, 0xff, 0x65, 0x81, 0x4c];
        assert_eq!(canonical(swapped(wire)), "12f80028-b4b7-4b2d-aca8-46e0ff65814c");
    }
}
