//! The processor, as `/proc/cpuinfo` and SMBIOS type 4 tell it. CPUID is never asked: it would answer for this
//! host and not for the root.

use super::smbios::Table;
use super::{Machine, Seen, clip};

const CPUINFO: &str = "proc/cpuinfo";

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CpuVendor {
    Intel,
    Amd,
    /// The vendor's own word.
    Other(String),
    Unknown(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpu {
    pub vendor: CpuVendor,
    pub model: Option<String>,
    /// The `hypervisor` flag (CPUID leaf 1 ECX bit 31); none where no flags are listed, as on Arm.
    pub hypervisor: Option<bool>,
    /// `proc/cpuinfo` or `smbios:4`.
    pub source: &'static str,
}

impl Cpu {
    pub(crate) fn read(machine: &Machine, smbios: Option<&Table>) -> Self {
        let board = smbios.and_then(|table| table.of(4).next());
        let maker = board.and_then(|cpu| cpu.text(7)).and_then(vendor_of_maker);
        let from_board = |why: String| Self {
            vendor: maker.clone().unwrap_or(CpuVendor::Unknown(why)),
            model: board.and_then(|cpu| cpu.text(0x10)).map(clip).filter(|model| !model.is_empty()),
            hypervisor: None,
            source: "smbios:4",
        };
        let text = match Seen::from_io(CPUINFO, machine.read_text(CPUINFO)) {
            Seen::Found(text) => text,
            Seen::Missing => return from_board(machine.missing(CPUINFO)),
            Seen::Refused(why) => return from_board(why),
        };
        let mut cpu = Self::parse(&text);
        match (&cpu.vendor, maker) {
            (CpuVendor::Unknown(_), Some(maker)) => cpu.vendor = maker,
            (seen, Some(maker)) if *seen != maker => {
                let text = format!("{CPUINFO} says {}, smbios:4 says {}", word(seen), word(&maker));
                cpu.vendor = CpuVendor::Unknown(text);
            }
            _ => {}
        }
        cpu
    }

    fn parse(text: &str) -> Self {
        let value = |wanted: &str| {
            text.lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(key, _)| key.trim() == wanted)
                .map(|(_, v)| v.trim())
        };
        let vendor = match value("vendor_id") {
            Some("GenuineIntel") => CpuVendor::Intel,
            Some("AuthenticAMD") => CpuVendor::Amd,
            Some(other) if !other.is_empty() => CpuVendor::Other(clip(other)),
            _ => match value("CPU implementer") {
                Some(_) => CpuVendor::Other("arm".to_owned()),
                None => CpuVendor::Unknown(format!("{CPUINFO} names no vendor")),
            },
        };
        Self {
            vendor,
            model: value("model name").map(clip).filter(|model| !model.is_empty()),
            hypervisor: value("flags").map(|flags| flags.split_whitespace().any(|flag| flag == "hypervisor")),
            source: CPUINFO,
        }
    }
}

/// The vendor that a type 4 manufacturer names. A hypervisor's name says nothing about the processor.
fn vendor_of_maker(maker: &str) -> Option<CpuVendor> {
    const ARM: [&str; 8] = ["ampere", "arm", "apple", "qualcomm", "cavium", "hisilicon", "phytium", "nvidia"];
    let maker = maker.to_lowercase();
    if maker.contains("intel") {
        Some(CpuVendor::Intel)
    } else if maker.contains("advanced micro") || maker.starts_with("amd") || maker.contains("authenticamd") {
        Some(CpuVendor::Amd)
    } else if ARM.iter().any(|name| maker.starts_with(name)) {
        Some(CpuVendor::Other("arm".to_owned()))
    } else {
        None
    }
}

fn word(vendor: &CpuVendor) -> &str {
    match vendor {
        CpuVendor::Intel => "intel",
        CpuVendor::Amd => "amd",
        CpuVendor::Other(word) => word,
        CpuVendor::Unknown(_) => "nothing",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_vendors_and_guests() {
        let cpu = Cpu::parse(
            "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: X  \nflags\t\t: fpu hypervisor\n",
        );
        assert_eq!(
            (cpu.vendor, cpu.model.as_deref(), cpu.hypervisor),
            (CpuVendor::Intel, Some("X"), Some(true))
        );
        let cpu = Cpu::parse("vendor_id: AuthenticAMD\nflags: fpu hypervisors\n");
        assert_eq!((cpu.vendor, cpu.model, cpu.hypervisor), (CpuVendor::Amd, None, Some(false)));
        let cpu = Cpu::parse("CPU implementer\t: 0x41\nFeatures: fp\n");
        assert_eq!((cpu.vendor, cpu.hypervisor), (CpuVendor::Other("arm".into()), None));
        assert!(matches!(Cpu::parse("").vendor, CpuVendor::Unknown(_)));
        let cases = [
            ("Intel(R) Corporation", Some(CpuVendor::Intel)),
            ("AMD               ", Some(CpuVendor::Amd)),
            ("Ampere(R)", Some(CpuVendor::Other("arm".into()))),
            ("QEMU", None),
        ];
        for (maker, vendor) in cases {
            assert_eq!(vendor_of_maker(maker), vendor, "{maker}");
        }
    }
}
