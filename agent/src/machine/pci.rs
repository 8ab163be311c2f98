//! PCI functions, as `/sys/bus/pci/devices` shows them.

use super::{Machine, Seen};

pub(super) const DEVICES: &str = "sys/bus/pci/devices";

/// One PCI function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PciFunction {
    /// Such as `0000:00:16.0`.
    pub address: String,
    pub vendor: u16,
    pub device: u16,
    /// 24 bits: class, subclass, programming interface.
    pub class: u32,
}

impl PciFunction {
    /// Bus and slot without the function, such as `0000:00:16`.
    pub fn slot(&self) -> &str {
        self.address.rsplit_once('.').map_or(self.address.as_str(), |(slot, _)| slot)
    }

    /// Such as `8086:a13a`.
    pub fn id(&self) -> String {
        format!("{:04x}:{:04x}", self.vendor, self.device)
    }

    pub fn is_ethernet(&self) -> bool {
        self.class >> 8 == 0x0200
    }

    fn at(&self, file: &str) -> String {
        format!("{DEVICES}/{}/{file}", self.address)
    }

    pub fn source(&self) -> String {
        format!("{DEVICES}/{}", self.address)
    }
}

impl Machine {
    /// All functions by address; those that cannot be read are left out.
    pub fn pci(&self) -> Seen<Vec<PciFunction>> {
        self.look_list(DEVICES).map(|names| {
            names
                .into_iter()
                .filter_map(|address| {
                    let number = |file: &str| {
                        let text = self.look_text(&format!("{DEVICES}/{address}/{file}")).found()?;
                        u32::from_str_radix(text.strip_prefix("0x").unwrap_or(&text), 16).ok()
                    };
                    let (vendor, device) =
                        (number("vendor")?.try_into().ok()?, number("device")?.try_into().ok()?);
                    Some(PciFunction { vendor, device, class: number("class").unwrap_or(0), address })
                })
                .collect()
        })
    }

    /// The driver bound to a function.
    pub fn pci_driver(&self, function: &PciFunction) -> Option<String> {
        self.link_name(&function.at("driver"))
    }

    pub fn pci_revision(&self, function: &PciFunction) -> Option<u8> {
        let text = self.look_text(&function.at("revision")).found()?;
        u8::from_str_radix(text.strip_prefix("0x").unwrap_or(&text), 16).ok()
    }

    /// An attribute of a function, such as those of the AMD secure processor.
    pub fn pci_attribute(&self, function: &PciFunction, name: &str) -> Seen<String> {
        self.look_text(&function.at(name))
    }

    /// Configuration space. Without root the kernel shows its first 64 bytes only.
    pub fn pci_config(&self, function: &PciFunction) -> Seen<Vec<u8>> {
        self.look(&function.at("config"))
    }
}
