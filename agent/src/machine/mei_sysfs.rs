//! The management engine as sysfs shows it: nothing is opened or asked, so nothing can be disturbed
//! (reference/amt.md 1.3, reference/detect.md 1.1 and 1.2).

use super::{Cpu, CpuVendor, Machine, PciFunction, Seen, clip};

const CLASS: &str = "sys/class/mei";
const BUS: &str = "sys/bus/mei/devices";
/// HFSTS1 to HFSTS6 in configuration space.
const HFSTS: [usize; 6] = [0x40, 0x48, 0x60, 0x64, 0x68, 0x6C];

/// Second MEI functions for touch panels; their status registers mean nothing (fwupd issue 5658).
const ITOUCH: &[u16] = &[0x9D3E, 0xA2BE, 0x9DE4, 0xA364, 0x02E4, 0x06E4];
/// Up to ICH10 the interface stood in the north bridge, at 00:03.0.
const NORTH_BRIDGE: &[u16] = &[
    0x2974, 0x2984, 0x2994, 0x29A4, 0x2A04, 0x2A14, 0x29B4, 0x29C4, 0x29D4, 0x29E4, 0x29F4, 0x28B4, 0x28C4,
    0x28D4, 0x28E4, 0x28F4, 0x2A44, 0x2A54, 0x2A64, 0x2A74, 0x2E04, 0x2E14, 0x2E24, 0x2E34,
];
/// From Ibex Peak to Wildcat Point: ME 6 to 10 (kernel hw-me-regs.h).
const PCH: &[u16] =
    &[0x3B64, 0x3B65, 0x1C3A, 0x1D3A, 0x1E3A, 0x1CBA, 0x1DBA, 0x8C3A, 0x8D3A, 0x9C3A, 0x8CBA, 0x9CBA, 0x9CBB];
/// From Sunrise Point on: CSME 11 and later. A class 0780 function at 00:16.0 counts too: later ids are not here.
const CSME: &[u16] = &[
    0x9D3A, 0x9D3B, 0xA13A, 0xA13B, 0xA1BA, 0xA2BA, 0xA2BB, 0x9DE0, 0xA360, 0x02E0, 0x06E0, 0xA3BA, 0x34E0,
    0x38E0, 0x4DE0, 0x4B70, 0x4B75, 0xA0E0, 0x43E0, 0x7AE8, 0x7A60, 0x51E0, 0x54E0, 0x7A68, 0x7E70, 0x7F68,
    0x7770, 0xA870, 0xE370, 0xE470, 0x4D70, 0x6E68, 0x1BE0,
];
/// Systems on a chip, with generations of their own.
const SOC: &[u16] = &[0x1A9A, 0x5A9A, 0x319A, 0x19E5, 0x18D3];

/// Everything sysfs says about the management engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeiSysfs {
    pub heci: Heci,
    /// Class devices of the engine, by number: touch panels' are left out.
    pub devices: Vec<MeiDevice>,
    /// Clients that the firmware announces; missing where the bus is not there.
    pub clients: Seen<Vec<MeiClient>>,
}

/// The PCI function through which the host talks to the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heci {
    Found {
        function: PciFunction,
        driver: Option<String>,
        hfsts: Seen<Vec<u32>>,
    },
    /// The PCI bus was listed, and none is on it.
    NotListed,
    /// The PCI bus could not be listed.
    Unknown(String),
}

/// One `/sys/class/mei/meiN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeiDevice {
    pub name: String,
    pub kind: Option<String>,
    pub dev_state: Option<String>,
    /// HFSTS1 and on.
    pub fw_status: Vec<u32>,
    /// Lines of `fw_ver`, such as `0:16.1.25.1885`.
    pub fw_ver: Vec<String>,
    /// PCI address of the parent.
    pub parent: Option<String>,
}

/// One client of the firmware.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeiClient {
    /// Lower case.
    pub uuid: String,
    pub name: String,
    /// Name of the bus device, which begins with the PCI address of the parent.
    pub device: String,
}

impl Machine {
    pub fn mei_sysfs(&self, cpu: &Cpu, pci: &Seen<Vec<PciFunction>>) -> MeiSysfs {
        MeiSysfs { heci: self.heci(cpu, pci), devices: self.mei_devices(), clients: self.mei_clients() }
    }

    pub(super) fn mei_devices(&self) -> Vec<MeiDevice> {
        let names = self.look_list(CLASS).found().unwrap_or_default();
        let mut devices: Vec<(u32, MeiDevice)> =
            names.into_iter().filter_map(|name| self.mei_device(name)).collect();
        devices.sort_by_key(|(number, _)| *number);
        devices.into_iter().map(|(_, device)| device).filter(|device| self.is_engine(device)).collect()
    }

    /// A touch panel has a MEI of its own, with a kind of its own since Linux 5.8. Before that only the PCI function
    /// behind the device tells: the engine is function 0.
    fn is_engine(&self, device: &MeiDevice) -> bool {
        if let Some(kind) = &device.kind {
            return kind == "mei";
        }
        // Other parents than PCI functions have no address with a colon.
        let Some(parent) = device.parent.as_deref().filter(|parent| parent.contains(':')) else {
            return true;
        };
        let id = self.look_text(&format!("{}/{parent}/device", super::pci::DEVICES)).found();
        let id = id.and_then(|text| u16::from_str_radix(text.trim_start_matches("0x"), 16).ok());
        parent.ends_with(".0") && id.is_none_or(|id| !ITOUCH.contains(&id))
    }

    pub(super) fn mei_clients(&self) -> Seen<Vec<MeiClient>> {
        self.look_list(BUS).map(|names| {
            names
                .into_iter()
                .filter_map(|device| {
                    let text = |file: &str| self.look_text(&format!("{BUS}/{device}/{file}")).found();
                    let uuid = text("uuid")?.to_lowercase();
                    Some(MeiClient { uuid, name: text("name").unwrap_or_default(), device: clip(&device) })
                })
                .collect()
        })
    }

    fn mei_device(&self, name: String) -> Option<(u32, MeiDevice)> {
        let number = name.strip_prefix("mei")?.parse().ok()?;
        let text = |file: &str| self.look_text(&format!("{CLASS}/{name}/{file}")).found();
        let lines = |file: &str| -> Vec<String> {
            text(file)
                .unwrap_or_default()
                .lines()
                .map(|line| line.trim().to_owned())
                .filter(|l| !l.is_empty())
                .collect()
        };
        let fw_status =
            lines("fw_status").iter().map_while(|line| u32::from_str_radix(line, 16).ok()).take(6).collect();
        let device = MeiDevice {
            kind: text("kind"),
            dev_state: text("dev_state"),
            fw_status,
            fw_ver: lines("fw_ver"),
            parent: self.link_name(&format!("{CLASS}/{name}/device")),
            name,
        };
        Some((number, device))
    }

    fn heci(&self, cpu: &Cpu, pci: &Seen<Vec<PciFunction>>) -> Heci {
        let functions = match pci {
            Seen::Found(functions) => functions,
            Seen::Missing => return Heci::Unknown(self.missing(super::pci::DEVICES)),
            Seen::Refused(why) => return Heci::Unknown(why.clone()),
        };
        let Some(function) = functions.iter().find(|function| is_heci(function, &cpu.vendor)) else {
            return Heci::NotListed;
        };
        let hfsts = match self.pci_config(function) {
            Seen::Found(config) if config.len() < HFSTS[0] + 4 => {
                Seen::Refused("configuration space is shown up to 0x40 only; run as root".to_owned())
            }
            Seen::Found(config) => Seen::Found(
                HFSTS
                    .iter()
                    .map_while(|at| config.get(*at..)?.first_chunk().copied())
                    .map(u32::from_le_bytes)
                    .collect(),
            ),
            Seen::Missing => Seen::Missing,
            Seen::Refused(why) => Seen::Refused(why),
        };
        Heci::Found { driver: self.pci_driver(function), function: function.clone(), hfsts }
    }
}

impl MeiSysfs {
    /// Whether the firmware announces this client; none where the clients cannot be listed.
    pub fn announces(&self, uuid: &str) -> Option<bool> {
        match &self.clients {
            Seen::Found(clients) => Some(clients.iter().any(|client| client.uuid == uuid)),
            Seen::Missing | Seen::Refused(_) => None,
        }
    }

    /// Whether the engine is CSME 11 or later, whose HFSTS3 tells its SKU: by its version, else by its PCI id. None
    /// where neither tells.
    pub fn is_csme(&self) -> Option<bool> {
        let major = |device: &MeiDevice| device.version()?.split('.').next()?.parse::<u16>().ok();
        let by_version = self.devices.iter().find_map(major).map(|major| major >= 11);
        by_version.or_else(|| match &self.heci {
            Heci::Found { function, .. } if CSME.contains(&function.device) => Some(true),
            Heci::Found { function, .. } if PCH.contains(&function.device) => Some(false),
            Heci::Found { function, .. } if NORTH_BRIDGE.contains(&function.device) => Some(false),
            _ => None,
        })
    }
}

impl MeiDevice {
    /// First line of `fw_ver`, `<platform>:<major>.<minor>.<milestone>.<build>`, without the platform.
    pub fn version(&self) -> Option<&str> {
        let line = self.fw_ver.first()?;
        let version = line.split_once(':').map_or(line.as_str(), |(_, version)| version);
        let parts: Vec<&str> = version.split('.').collect();
        let sound = parts.len() == 4 && parts.iter().all(|part| part.parse::<u16>().is_ok());
        (sound && version != "0.0.0.0").then_some(version)
    }

    /// Where this device's attribute stands.
    pub fn source(&self, file: &str) -> String {
        format!("{CLASS}/{}/{file}", self.name)
    }
}

fn is_heci(function: &PciFunction, cpu: &CpuVendor) -> bool {
    if function.vendor != 0x8086 || ITOUCH.contains(&function.device) {
        return false;
    }
    let first = function.address.ends_with(":00:16.0") && function.class >> 8 == 0x0780;
    // A part with an id that is not in the table counts only beside an Intel processor, where 00:16.0 is the engine.
    let known = function.address.ends_with(".0")
        && [PCH, CSME, SOC, NORTH_BRIDGE].iter().any(|ids| ids.contains(&function.device));
    known || (first && !matches!(cpu, CpuVendor::Amd | CpuVendor::Other(_)))
}
