//! What a descriptor says about itself that cannot all be true, by name.

use std::fmt;

/// A contradiction that does not keep the descriptor from being read.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Warning {
    /// FLUMAP1 is cut off or all FF: a 2 KiB descriptor. The family was told without it.
    UpperMapAbsent,
    /// Two regions share bytes from `offset` on.
    RegionsOverlap { first: &'static str, second: &'static str, offset: usize },
    /// Two tables of the descriptor share bytes from `offset` on.
    TablesOverlap { first: &'static str, second: &'static str, offset: usize },
    /// Base behind limit, but not as an unused region is written.
    RegionInconsistent { region: &'static str, word: u32, offset: usize },
    /// Region 0 does not start at 0, or is missing, or is not 4 KiB to 16 KiB.
    DescriptorRegionOdd { base: usize, end: usize },
    /// A table lies outside region 0.
    TableOutsideDescriptor { table: &'static str, offset: usize },
    /// Regions end behind the file: chip 1 of 2, or a dump that was cut off.
    PartialDump { flash_end: usize, file_size: usize, chip_one_of_two: bool },
    /// Regions end behind what the flash chips hold together.
    RegionsExceedChips { flash_end: usize, chips: u64 },
    /// A chip's density field has a value without a meaning.
    DensityUnknown { chip: u8, value: u8 },
    /// FLMSTR words of a v1 descriptor in a v2 one: a tool took it for v1 (reference/me.md 0.4).
    MastersOfOtherVersion { word: u32, offset: usize },
    /// The protected range strap write-protects this region against the host.
    RegionProtected { region: &'static str, start: usize, end: usize },
}

impl Warning {
    /// Whether no bit of the descriptor may be written while this holds: the map of the flash cannot be trusted.
    pub fn forbids_writing(&self) -> bool {
        match self {
            Self::RegionsOverlap { first, second, .. } => {
                [first, second].into_iter().any(|name| matches!(*name, "descriptor" | "me"))
            }
            Self::TablesOverlap { .. }
            | Self::DescriptorRegionOdd { .. }
            | Self::TableOutsideDescriptor { .. }
            | Self::PartialDump { .. } => true,
            Self::RegionInconsistent { region, .. } => matches!(*region, "descriptor" | "bios" | "me"),
            _ => false,
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UpperMapAbsent => f.write_str("the descriptor has no upper map (FLUMAP1 at 0xefc)"),
            Self::RegionsOverlap { first, second, offset } => {
                write!(f, "regions {first} and {second} overlap from {offset:#x} on")
            }
            Self::TablesOverlap { first, second, offset } => {
                write!(f, "{first} and {second} overlap from {offset:#x} on")
            }
            Self::RegionInconsistent { region, word, offset } => {
                write!(f, "region {region} ends before it begins (FLREG {word:#010x} at {offset:#x})")
            }
            Self::DescriptorRegionOdd { base, end } => {
                write!(f, "the descriptor region is {base:#x} to {end:#x}, not 4 KiB to 16 KiB at 0")
            }
            Self::TableOutsideDescriptor { table, offset } => {
                write!(f, "{table} at {offset:#x} reach out of the descriptor region")
            }
            Self::PartialDump { flash_end, file_size, chip_one_of_two } => write!(
                f,
                "partial dump: regions reach {flash_end:#x}, the file ends at {file_size:#x}; {}",
                if *chip_one_of_two {
                    "this is chip 1 of 2: join it with the dump of chip 2"
                } else {
                    "join the dumps of all flash chips"
                }
            ),
            Self::RegionsExceedChips { flash_end, chips } => {
                write!(f, "regions reach {flash_end:#x}, the chips hold {chips:#x} bytes by FLCOMP")
            }
            Self::DensityUnknown { chip, value } => {
                write!(f, "FLCOMP gives chip {chip} the density {value:#x}, which has no meaning")
            }
            Self::MastersOfOtherVersion { word, offset } => {
                write!(
                    f,
                    "FLMSTR {word:#010x} at {offset:#x} is written as for a v1 descriptor, and this is v2"
                )
            }
            Self::RegionProtected { region, start, end } => {
                write!(
                    f,
                    "the protected range {start:#x} to {end:#x} keeps the host from writing region {region}"
                )
            }
        }
    }
}
