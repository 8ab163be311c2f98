//! The ME region: partition tables of every generation, what the partitions hold, and every manifest's verdict
//! (reference/me.md 2.1 to 2.3).
//!
//! [`MeImage::parse`] follows pointers; nothing is searched for, but for directories on pages that no table claims, which
//! decide nothing. What is wrong on the way to the FTPR manifest is an error; what is wrong elsewhere is a warning, so
//! that a damaged image can still be described.

mod bpdt;
mod checksum;
mod cpd;
#[cfg(test)]
pub(crate) mod fixture;
mod fpt;
mod layout;
mod mme;
mod name;
mod partition;
mod sku;
#[cfg(test)]
mod tests;
mod walk;

use std::fmt;

use serde::{Serialize, Serializer};

pub use bpdt::{BootEntry, BootTable};
pub use checksum::Checksum;
pub use cpd::{Directory, DirectoryModule};
pub use fpt::{Backup, EntryFlags, EntryKind, PartitionTable, TableEntry};
pub use layout::{CseLayout, Extent, LayoutVersion};
pub use mme::{ChunkTable, Compression, Module, ModuleHash, ModuleTable};
pub use name::Name;
pub use partition::{Contents, Partition, SignedManifest, Source, State};
pub use sku::{Sku, SkuKind};

use crate::bytes::{ImageError, slice, u16_at};
use crate::descriptor::Descriptor;
use walk::Walk;

/// Entries in any one table; real ones have fewer than 70.
const MAX_ENTRIES: u32 = 256;

/// An ME image. All offsets count from the start of the file it was read from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct MeImage {
    /// File offset of the FTPR (or CODE) manifest.
    pub manifest_offset: usize,
    pub version: Version,
    pub generation: Generation,
    pub location: Location,
    /// Start of the region, and its length in bytes.
    pub region: Extent,
    pub table: Option<PartitionTable>,
    /// ME 12 and newer.
    pub layout: Option<CseLayout>,
    /// ME 12 and newer, and IFWI Atoms.
    pub boot_tables: Vec<BootTable>,
    /// In the order of the tables: `$FPT` first, then boot partitions, then what no table lists.
    pub partitions: Vec<Partition>,
    pub manifests: Vec<SignedManifest>,
    /// Absent where the manifest says nothing about it.
    pub sku: Option<Sku>,
    /// ME 6 Ignition: all of the region may go.
    pub ignition: bool,
    /// What is odd, as sentences for people.
    pub warnings: Vec<String>,
}

/// Where the image was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Location {
    /// Region 2, or a file of that region alone.
    MeRegion,
    /// Region 1, behind the boot partition table at its start (Apollo Lake, Gemini Lake).
    BiosRegion,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub major: u16,
    pub minor: u16,
    pub hotfix: u16,
    pub build: u16,
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}.{}", self.major, self.minor, self.hotfix, self.build)
    }
}

/// By the layout that was found, not by the version number alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Generation {
    /// ME 1 to 5: `$MAN`, code partition.
    One,
    /// ME 6 to 10, TXE 1 and 2: `$MN2` directly in the partition.
    Two,
    /// ME 11, TXE 3, SPS 4: code partition directory in an FPT partition.
    Three,
    /// ME 12 and newer, and IFWI Atoms: FTPR in a boot partition.
    Ifwi,
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::One => "generation 1 (ME 1 to 5)",
            Self::Two => "generation 2 (ME 6 to 10, TXE 1 and 2)",
            Self::Three => "generation 3 (ME 11, TXE 3, SPS 4)",
            Self::Ifwi => "generation 3 IFWI (CSME 12 and newer)",
        })
    }
}

impl MeImage {
    /// Reads the ME image of a flash image: region 2, or where that is unused, what the boot partition table at the start
    /// of the BIOS region leads to.
    ///
    /// # Errors
    /// [`ImageError`] where the region is unused, outside the file, or holds no FTPR manifest.
    pub fn in_flash(image: &[u8], descriptor: &Descriptor) -> Result<Self, ImageError> {
        let bounds = |name: &str, what: &'static str| {
            let region = descriptor.region(name)?;
            let len = region.limit.saturating_sub(region.base).saturating_add(1);
            Some(slice(image, region.base, len, what).map(|_| (region.base, region.base.saturating_add(len))))
        };
        let cut = |end: usize| image.get(..end).unwrap_or(image);
        if let Some(me) = bounds("me", "ME region") {
            let (base, end) = me?;
            return read_region(cut(end), base);
        }
        if let Some(Ok((base, end))) = bounds("bios", "BIOS region")
            && BootTable::is_at(cut(end), base)
        {
            return read_atom(cut(end), base);
        }
        Err(ImageError::new(
            "ME region",
            0,
            "the descriptor leaves region 2 unused; the CSE may lie in the BIOS region",
        ))
    }

    /// Reads an ME region alone. Offsets count from its start.
    ///
    /// # Errors
    /// [`ImageError`] where no partition table leads to an FTPR manifest.
    pub fn parse(region: &[u8]) -> Result<Self, ImageError> {
        read_region(region, 0)
    }

    /// The first partition of that name.
    pub fn partition(&self, name: &str) -> Option<&Partition> {
        self.partitions.iter().find(|partition| partition.name.is(name))
    }

    /// The manifest of FTPR (or CODE) with its verdict.
    pub fn main_manifest(&self) -> Option<&SignedManifest> {
        self.manifests.iter().find(|manifest| manifest.offset == self.manifest_offset)
    }
}

/// `image` ends where the region ends, and the region starts at `base`.
fn read_region(image: &[u8], base: usize) -> Result<MeImage, ImageError> {
    let region = image.get(base..).unwrap_or_default();
    if walk::blank_prefix(region) == region.len() {
        return Err(ImageError::new("ME region", base, "all FF: the region is empty"));
    }
    let mut walk = Walk::new(image, base);
    let found = [base, base + 0x10].into_iter().find(|at| image.get(*at..*at + 4) == Some(b"$FPT"));
    if let Some(offset) = found {
        let table = PartitionTable::parse(image, offset, base)?;
        walk.partition_table(&table)?;
        walk.unlisted()?;
        return finish(walk, Some(table), None, Location::MeRegion);
    }
    let (table, layout) = read_layout(&mut walk)?;
    finish(walk, table, Some(layout), Location::MeRegion)
}

/// CSME 12 and newer: the layout names the data partition and boot partitions, whose tables lead to FTPR.
fn read_layout(walk: &mut Walk<'_>) -> Result<(Option<PartitionTable>, CseLayout), ImageError> {
    let (image, base) = (walk.image, walk.base);
    let nothing = "neither $FPT nor a boot partition with FTPR; is the image complete?";
    let layout = CseLayout::parse(image, base)
        .map_err(|error| ImageError::new("ME region", error.offset, format!("{nothing} ({})", error.why)))?;
    if let Checksum::Wrong { stored, computed } = layout.checksum {
        walk.warn(format!("checksum of the CSE layout is {stored:#x}, should be {computed:#x}"));
    }
    let table = match PartitionTable::parse(image, layout.data.offset, layout.data.offset) {
        Ok(table) => {
            walk.partition_table(&table)?;
            Some(table)
        }
        Err(error) => {
            walk.warn(format!("data partition: {error}"));
            None
        }
    };
    for partition in &layout.boot_partitions {
        if BootTable::is_at(image, partition.offset) {
            walk.boot_table(partition.offset)?;
        } else {
            walk.warn(format!("the boot partition at {:#x} has no table", partition.offset));
        }
    }
    if walk.boot_tables.is_empty() {
        return Err(ImageError::new("ME region", base, nothing));
    }
    Ok((table, layout))
}

fn read_atom(image: &[u8], base: usize) -> Result<MeImage, ImageError> {
    let mut walk = Walk::new(image, base);
    walk.boot_table(base)?;
    finish(walk, None, None, Location::BiosRegion)
}

fn finish(
    walk: Walk<'_>,
    table: Option<PartitionTable>,
    layout: Option<CseLayout>,
    location: Location,
) -> Result<MeImage, ImageError> {
    let image = walk.image;
    let (manifest_offset, in_directory) = find_main_manifest(&walk)?;
    let tag = slice(image, manifest_offset.saturating_add(0x1c), 4, "manifest tag")?;
    let generation = match (tag, in_directory, walk.boot_tables.is_empty()) {
        (b"$MAN", false, _) => Generation::One,
        (b"$MN2", false, _) => Generation::Two,
        (b"$MN2", true, true) => Generation::Three,
        (b"$MN2", true, false) => Generation::Ifwi,
        _ => {
            let why = "neither $MN2 nor $MAN";
            return Err(ImageError::new("manifest tag", manifest_offset.saturating_add(0x1c), why));
        }
    };
    let part = |index: usize| u16_at(image, manifest_offset + 0x24 + 2 * index, "manifest version");
    let version = Version { major: part(0)?, minor: part(1)?, hotfix: part(2)?, build: part(3)? };
    let main = walk.manifests.iter().find(|manifest| manifest.offset == manifest_offset);
    let main = main.and_then(|signed| signed.manifest.as_ref());
    let (base, end) = (walk.base, image.len());
    let mut warnings = walk.warnings;
    warnings.extend(partition::overlaps(&walk.partitions));
    Ok(MeImage {
        manifest_offset,
        version,
        generation,
        location,
        region: Extent { offset: base, size: end - base },
        table,
        layout,
        boot_tables: walk.boot_tables,
        sku: main.filter(|_| in_directory).and_then(|manifest| Sku::of(image, manifest)),
        ignition: generation == Generation::Two
            && main.is_some_and(|manifest| sku::is_ignition(image, manifest)),
        partitions: walk.partitions,
        manifests: walk.manifests,
        warnings,
    })
}

/// Offset of the FTPR or CODE manifest, and whether a directory led there.
fn find_main_manifest(walk: &Walk<'_>) -> Result<(usize, bool), ImageError> {
    let main = walk.partitions.iter().find(|partition| {
        (partition.name.is("FTPR") || partition.name.is("CODE")) && partition.source != Source::Unlisted
    });
    let Some(main) = main else {
        let why = "no FTPR or CODE partition in any table; is the image complete?";
        return Err(ImageError::new("ME region", walk.base, why));
    };
    if !main.state.has_place() || main.state == State::Empty {
        let why = format!("the table names {}, but it is not there ({})", main.name, main.state);
        return Err(ImageError::new("ME region", main.offset.max(walk.base), why));
    }
    if slice(walk.image, main.offset, 4, "FTPR partition")? != b"$CPD" {
        return Ok((main.offset, false));
    }
    let directory = Directory::parse(walk.image, main.offset)?;
    let module = directory.modules.iter().find(|module| module.name.is("FTPR.man"));
    let module = module.ok_or_else(|| ImageError::new("$CPD", main.offset, "no FTPR.man entry"))?;
    Ok((module.offset, true))
}
