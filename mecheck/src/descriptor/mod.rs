//! The Intel flash descriptor (reference/me.md 1.1 to 1.3).
//!
//! Every base field is foreign: a table that lies outside the file or inside the descriptor map is an
//! [`ImageError`]; what can be read but contradicts itself is a [`Warning`], and soft-disable refuses the ones that
//! make a write unsafe.

mod components;
mod masters;
mod pch;
mod protected;
mod regions;
mod tables;
mod warnings;

pub use components::Components;
pub use masters::Master;
pub use pch::PchFamily;
pub use protected::ProtectedRange;
pub use regions::Region;
pub use warnings::Warning;

use crate::bytes::{ImageError, u32_at};
use pch::Clues;

/// FLVALSIG, little-endian 0FF0A55A.
const SIGNATURE: [u8; 4] = [0x5a, 0xa5, 0xf0, 0x0f];
/// FLUMAP1 lies here in every full-size descriptor; absent from 2 KiB truncated ones.
const FLUMAP1: usize = 0xefc;

/// Layout of masters, regions and densities. Nothing in a descriptor names it: it follows from the PCH family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum IfdVersion {
    /// ICH8 to Panther Point, Bay Trail: 13-bit regions, 3-bit densities, masters of 8 + 8 bits.
    V1,
    /// Lynx and Wildcat Point: as v1, but 15-bit regions and 4-bit densities.
    V15,
    /// From Sunrise Point and Apollo Lake on: masters of 12 + 12 bits.
    V2,
}

/// The descriptor map as it lies in the file, for people who want to check the evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Maps {
    pub flmap0: u32,
    pub flmap1: u32,
    pub flmap2: u32,
    /// A revision from the 500 series on; on older PCHs the next table begins here.
    pub flmap3: Option<u32>,
    /// None where the file ends before it or it is all FF, as in 2 KiB descriptors.
    pub flumap1: Option<u32>,
}

/// The tables of a descriptor that decide what may be done with an image.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Descriptor {
    /// 0 on ICH8 to ICH10, 0x10 from Ibex Peak on.
    pub signature_offset: usize,
    pub version: IfdVersion,
    pub maps: Maps,
    pub components: Components,
    /// Used regions in the order of their ids.
    pub regions: Vec<Region>,
    pub masters: Vec<Master>,
    /// File offset of the PCH straps (FPSBA; ICH straps on ICH8 to ICH10).
    pub strap_base: usize,
    /// Number of PCH strap dwords (ISL, called PSL in newer documents).
    pub strap_count: u8,
    /// File offset of the processor straps (FMSBA; MCH straps on ICH8 to ICH10) and their number (MSL). The 500 series
    /// gave the fields another meaning, so both are 0 there.
    pub processor_strap_base: usize,
    pub processor_strap_count: u8,
    pub family: PchFamily,
    /// Why `family` was chosen, one value and its meaning a line, the conclusion last.
    pub evidence: Vec<String>,
    /// The protected range that a strap of the descriptor sets, where the family has one and it is in force.
    pub protected_range: Option<ProtectedRange>,
    pub warnings: Vec<Warning>,
    /// Bytes of the file that was parsed.
    pub file_size: usize,
}

impl Descriptor {
    /// # Errors
    /// [`ImageError`] where there is no descriptor signature, or a table lies outside the file or inside the map.
    pub fn parse(image: &[u8]) -> Result<Self, ImageError> {
        let signature_offset = find_signature(image)?;
        let maps = Maps::read(image, signature_offset)?;
        let strap_base = field(maps.flmap1, 16);
        let strap_count = (maps.flmap1 >> 24) as u8;
        tables::check(image, signature_offset, &maps)?;
        let clues = Clues { signature_offset, maps: &maps, image, strap_base, strap_count };
        let (family, evidence) = pch::judge(&clues);
        let version = family.version().unwrap_or_else(|| guess_version(signature_offset, &maps));
        let mut warnings = Vec::new();
        if maps.flumap1.is_none() {
            warnings.push(Warning::UpperMapAbsent);
        }
        let processor = version != IfdVersion::V2 || family.has_processor_straps();
        let mut descriptor = Self {
            signature_offset,
            version,
            components: Components::read(image, &maps, version, &mut warnings)?,
            regions: regions::read(image, &maps, version, &mut warnings)?,
            masters: masters::read(image, &maps, version, &mut warnings)?,
            strap_base,
            strap_count,
            processor_strap_base: if processor { field(maps.flmap2, 0) } else { 0 },
            processor_strap_count: if processor { (maps.flmap2 >> 8) as u8 } else { 0 },
            family,
            evidence,
            protected_range: None,
            warnings,
            file_size: image.len(),
            maps,
        };
        descriptor.protected_range = ProtectedRange::read(image, &descriptor);
        tables::compare(&mut descriptor);
        regions::compare(&mut descriptor);
        protected::compare(&mut descriptor);
        Ok(descriptor)
    }

    pub fn region(&self, name: &str) -> Option<&Region> {
        self.regions.iter().find(|region| region.name == name)
    }

    pub fn master(&self, name: &str) -> Option<&Master> {
        self.masters.iter().find(|master| master.name == name)
    }

    /// End of the highest region: larger than the file means a partial dump, such as chip 1 of 2.
    pub fn flash_end(&self) -> usize {
        self.regions.iter().map(|region| region.limit + 1).max().unwrap_or(0)
    }

    /// Whether the file holds nothing behind the descriptor region.
    pub fn is_alone(&self) -> bool {
        let end = self.region("descriptor").map_or(0x1000, |region| region.limit + 1);
        self.file_size <= end
    }

    /// Whether the host (BIOS master) may write the descriptor by FLMSTR1. Takes effect after a reset only.
    pub fn host_may_write_descriptor(&self) -> bool {
        self.master("host").is_some_and(|host| host.may_write(0))
    }

    /// Whether the host may write the ME region by FLMSTR1.
    pub fn host_may_write_me(&self) -> bool {
        self.master("host").is_some_and(|host| host.may_write(2))
    }

    /// Whether the host may both read and write the ME region: a full dump and a full restore are possible.
    pub fn me_region_unlocked(&self) -> bool {
        self.master("host").is_some_and(|host| host.may_read(2) && host.may_write(2))
    }

    /// Strap dword `index` of the PCH, if the descriptor has so many and the file holds it.
    pub fn strap(&self, image: &[u8], index: u8) -> Option<u32> {
        read_strap(image, self.strap_base, self.strap_count, index)
    }

    /// The file offset of PCH strap `index`.
    pub fn strap_offset(&self, index: u8) -> usize {
        self.strap_base + 4 * usize::from(index)
    }
}

impl Maps {
    fn read(image: &[u8], signature_offset: usize) -> Result<Self, ImageError> {
        let map = |index: usize| u32_at(image, signature_offset + 4 + 4 * index, "flash descriptor map");
        let flumap1 = u32_at(image, FLUMAP1, "descriptor upper map").ok();
        Ok(Self {
            flmap0: map(0)?,
            flmap1: map(1)?,
            flmap2: map(2)?,
            flmap3: map(3).ok(),
            flumap1: flumap1.filter(|word| *word != u32::MAX),
        })
    }
}

fn find_signature(image: &[u8]) -> Result<usize, ImageError> {
    [0x10, 0].into_iter().find(|offset| image.get(*offset..offset + 4) == Some(&SIGNATURE)).ok_or_else(|| {
        ImageError::new(
            "flash descriptor signature",
            0x10,
            "not found there or at 0; a full dump is needed, not a vendor update file or an ME region alone",
        )
    })
}

/// Base fields count in 16-byte units from the start of the image.
fn field(map: u32, shift: u32) -> usize {
    ((map >> shift) as usize & 0xff) << 4
}

fn read_strap(image: &[u8], base: usize, count: u8, index: u8) -> Option<u32> {
    (index < count).then(|| u32_at(image, base + 4 * usize::from(index), "strap").ok()).flatten()
}

/// For families nobody knows: NR is 0 on v2 alone, and its masters lie behind 16 regions.
fn guess_version(signature_offset: usize, maps: &Maps) -> IfdVersion {
    let regions = maps.flmap0 >> 24 & 7;
    if signature_offset == 0x10 && regions == 0 && field(maps.flmap1, 0) >= field(maps.flmap0, 16) + 0x40 {
        IfdVersion::V2
    } else {
        IfdVersion::V1
    }
}

#[cfg(test)]
mod tests;
