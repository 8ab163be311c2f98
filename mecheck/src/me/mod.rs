//! The ME region: partition tables, the FTPR manifest, version and generation (reference/me.md 2.1 to 2.3).

use std::fmt;

use serde::{Serialize, Serializer};

use crate::bytes::{ImageError, slice, u8_at, u16_at, u32_at};
use crate::descriptor::Descriptor;

/// Entries in any one table; real ones have fewer than 40.
const MAX_ENTRIES: u32 = 256;

/// An ME image as far as its FTPR manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeImage {
    /// File offset of the FTPR (or CODE) manifest.
    pub manifest_offset: usize,
    pub version: Version,
    pub generation: Generation,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// ME 1 to 5: `$MAN`, code partition.
    One,
    /// ME 6 to 10, TXE 1 and 2: `$MN2` directly in the partition.
    Two,
    /// ME 11, TXE 3, SPS 4: code partition directory in an FPT partition.
    Three,
    /// ME 12 and newer: FTPR in a boot partition of an IFWI layout.
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
    /// Reads the ME region that `descriptor` names in `image`.
    ///
    /// # Errors
    /// [`ImageError`] where the region is unused, outside the file, or holds no FTPR manifest.
    pub fn in_flash(image: &[u8], descriptor: &Descriptor) -> Result<Self, ImageError> {
        let region = descriptor.region("me").ok_or_else(|| {
            ImageError::new(
                "ME region",
                0,
                "the descriptor leaves region 2 unused; the CSE may lie in the BIOS region",
            )
        })?;
        let len = region.limit + 1 - region.base;
        let bytes = slice(image, region.base, len, "ME region")?;
        Self::parse(bytes).map_err(|error| ImageError { offset: error.offset + region.base, ..error })
    }

    /// Reads an ME region alone. Offsets count from its start.
    ///
    /// # Errors
    /// [`ImageError`] where no partition table leads to an FTPR manifest.
    pub fn parse(region: &[u8]) -> Result<Self, ImageError> {
        if region.iter().all(|byte| *byte == 0xff) {
            return Err(ImageError::new("ME region", 0, "all FF: the region is empty"));
        }
        if let Some(table) = [0, 0x10].into_iter().find(|offset| tag(region, *offset) == Some(*b"$FPT")) {
            return from_partition_table(region, table);
        }
        from_boot_partitions(region)
    }
}

/// ME 2 to 11: `$FPT` leads to FTPR (or CODE, generation 1).
fn from_partition_table(region: &[u8], table: usize) -> Result<MeImage, ImageError> {
    let count = u32_at(region, table + 4, "$FPT entry count")?;
    if count > MAX_ENTRIES {
        return Err(ImageError::new("$FPT entry count", table + 4, format!("{count} entries")));
    }
    for index in 0..count as usize {
        let entry = table + 0x20 + 0x20 * index;
        let name = slice(region, entry, 4, "$FPT entry")?;
        if name == b"FTPR" || name == b"CODE" {
            let offset = u32_at(region, entry + 8, "$FPT entry offset")? as usize;
            return from_partition(region, offset, false);
        }
    }
    Err(ImageError::new("$FPT", table, "no FTPR or CODE partition"))
}

fn from_partition(region: &[u8], offset: usize, ifwi: bool) -> Result<MeImage, ImageError> {
    let directory = tag(region, offset) == Some(*b"$CPD");
    let manifest = if directory { find_manifest(region, offset)? } else { offset };
    let generation = match (slice(region, manifest + 0x1c, 4, "manifest tag")?, directory, ifwi) {
        (b"$MAN", false, _) => Generation::One,
        (b"$MN2", false, _) => Generation::Two,
        (b"$MN2", true, false) => Generation::Three,
        (b"$MN2", true, true) => Generation::Ifwi,
        _ => return Err(ImageError::new("manifest tag", manifest + 0x1c, "neither $MN2 nor $MAN")),
    };
    let part = |index: usize| u16_at(region, manifest + 0x24 + 2 * index, "manifest version");
    let version = Version { major: part(0)?, minor: part(1)?, hotfix: part(2)?, build: part(3)? };
    Ok(MeImage { manifest_offset: manifest, version, generation })
}

/// `FTPR.man` in a code partition directory, header version 1 or 2.
fn find_manifest(region: &[u8], directory: usize) -> Result<usize, ImageError> {
    let count = u32_at(region, directory + 4, "$CPD entry count")?;
    if count > MAX_ENTRIES {
        return Err(ImageError::new("$CPD entry count", directory + 4, format!("{count} entries")));
    }
    let header = match u8_at(region, directory + 8, "$CPD header version")? {
        1 => 0x10,
        2 => 0x14,
        other => {
            return Err(ImageError::new("$CPD header version", directory + 8, format!("version {other}")));
        }
    };
    for index in 0..count as usize {
        let entry = directory + header + 0x18 * index;
        if slice(region, entry, 12, "$CPD entry")?.starts_with(b"FTPR.man\0") {
            let offset = u32_at(region, entry + 12, "$CPD entry offset")? & 0x01ff_ffff;
            return Ok(directory + offset as usize);
        }
    }
    Err(ImageError::new("$CPD", directory, "no FTPR.man entry"))
}

/// CSME 12 and newer: the CSE layout table names boot partitions, each with a BPDT that leads to FTPR.
fn from_boot_partitions(region: &[u8]) -> Result<MeImage, ImageError> {
    // IFWI 1.7 has the table's own size here; 1.6 and 2.0 have the (page-aligned) offset of the data partition.
    let word = u32_at(region, 0x10, "CSE layout table")?;
    let first = if matches!(word & 0xffff, 0x40 | 0x48) { 0x20 } else { 0x18 };
    for index in 0..5 {
        let offset = u32_at(region, first + 8 * index, "boot partition offset")? as usize;
        let size = u32_at(region, first + 8 * index + 4, "boot partition size")?;
        if size != 0
            && size != u32::MAX
            && let Some(ftpr) = find_ftpr(region, offset)?
        {
            return from_partition(region, ftpr, true);
        }
    }
    Err(ImageError::new(
        "ME region",
        0,
        "neither $FPT nor a boot partition with FTPR; is the image complete?",
    ))
}

fn find_ftpr(region: &[u8], bpdt: usize) -> Result<Option<usize>, ImageError> {
    if u32_at(region, bpdt, "BPDT signature")? != 0x0000_55aa {
        return Ok(None);
    }
    let count = u16_at(region, bpdt + 4, "BPDT entry count")?;
    if u32::from(count) > MAX_ENTRIES {
        return Err(ImageError::new("BPDT entry count", bpdt + 4, format!("{count} entries")));
    }
    for index in 0..usize::from(count) {
        let entry = bpdt + 0x18 + 12 * index;
        let offset = bpdt + u32_at(region, entry + 4, "BPDT entry offset")? as usize;
        let size = u32_at(region, entry + 8, "BPDT entry size")?;
        if size != 0
            && tag(region, offset) == Some(*b"$CPD")
            && slice(region, offset + 12, 4, "$CPD name")? == b"FTPR"
        {
            return Ok(Some(offset));
        }
    }
    Ok(None)
}

fn tag(region: &[u8], offset: usize) -> Option<[u8; 4]> {
    region.get(offset..offset.checked_add(4)?)?.try_into().ok()
}

/// Images made from a few numbers, in the layouts of reference/me.md.
#[cfg(test)]
pub(crate) mod fixture {
    fn put(image: &mut [u8], offset: usize, bytes: &[u8]) {
        image[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    fn put32(image: &mut [u8], offset: usize, value: u32) {
        put(image, offset, &value.to_le_bytes());
    }

    /// A Sunrise Point-LP descriptor, 12 KiB of ME region, 16 KiB of BIOS region.
    pub(crate) fn sunrise(strap0: u32, me_major: u16) -> Vec<u8> {
        let mut image = vec![0xff; 0x8000];
        put(&mut image, 0x10, &[0x5a, 0xa5, 0xf0, 0x0f]);
        put32(&mut image, 0x14, 0x0004_0003); // FRBA 40, FCBA 30
        put32(&mut image, 0x18, 0x4210_0208); // 42h straps, FPSBA 100, 2 masters, FMBA 80
        put32(&mut image, 0x1c, 0x0031_0000); // ICCRIBA 31
        for region in 0..16 {
            put32(&mut image, 0x40 + 4 * region, 0x0000_7fff);
        }
        put32(&mut image, 0x40, 0x0000_0000);
        put32(&mut image, 0x44, 0x0007_0004);
        put32(&mut image, 0x48, 0x0003_0001);
        put32(&mut image, 0x100, strap0);
        put32(&mut image, 0xefc, 0x0000_0000);
        put(&mut image, 0x1000, &me11(me_major));
        image
    }

    /// `$FPT` at 10 with FTPR at 400: directory, manifest at 458.
    pub(crate) fn me11(major: u16) -> Vec<u8> {
        let mut region = vec![0xff; 0x3000];
        put(&mut region, 0x10, b"$FPT");
        put32(&mut region, 0x14, 1);
        put(&mut region, 0x30, b"FTPR");
        put32(&mut region, 0x38, 0x400);
        put32(&mut region, 0x3c, 0x800);
        put(&mut region, 0x400, b"$CPD");
        put32(&mut region, 0x404, 1);
        put(&mut region, 0x408, &[1, 1, 0x10, 0]);
        put(&mut region, 0x40c, b"FTPR");
        put(&mut region, 0x410, b"FTPR.man\0\0\0\0");
        put32(&mut region, 0x41c, 0x58);
        put(&mut region, 0x458 + 0x1c, b"$MN2");
        for (index, part) in [major, 8, 80, 3746].into_iter().enumerate() {
            put(&mut region, 0x458 + 0x24 + 2 * index, &part.to_le_bytes());
        }
        region
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_version_and_generation() {
        let me = MeImage::parse(&fixture::me11(11)).unwrap();
        assert_eq!(me.version.to_string(), "11.8.80.3746");
        assert_eq!(me.generation, Generation::Three);
    }

    #[test]
    fn an_empty_region_is_said_to_be_empty() {
        assert!(MeImage::parse(&[0xff; 64]).unwrap_err().why.contains("empty"));
    }

    #[test]
    fn a_giant_entry_count_is_an_error() {
        let mut region = fixture::me11(11);
        region[0x14..0x18].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(MeImage::parse(&region).unwrap_err().what, "$FPT entry count");
    }

    #[test]
    fn truncated_at_every_length_never_panics() {
        let region = fixture::me11(11);
        for len in 0..0x460 + 0x20 {
            assert!(MeImage::parse(&region[..len]).is_err(), "length {len:#x}");
        }
    }
}
