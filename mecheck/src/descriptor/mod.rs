//! The Intel flash descriptor (reference/me.md 1.1 to 1.3).

use std::fmt;

use crate::bytes::{ImageError, slice, u32_at};

/// FLVALSIG, little-endian 0FF0A55A.
const SIGNATURE: [u8; 4] = [0x5a, 0xa5, 0xf0, 0x0f];
/// FLUMAP1 lies here in every full-size descriptor; absent from 2 KiB truncated ones.
const FLUMAP1: usize = 0xefc;
const REGION_NAMES: [&str; 16] = [
    "descriptor",
    "bios",
    "me",
    "gbe",
    "pdr",
    "devexp1",
    "bios2",
    "reserved7",
    "ec",
    "devexp2",
    "ie",
    "10gbe-a",
    "10gbe-b",
    "reserved13",
    "reserved14",
    "ptt",
];

/// The tables of a descriptor that decide what may be done with an image.
#[derive(Debug, Clone)]
pub struct Descriptor {
    /// 0 on ICH8 to ICH10, 0x10 from Ibex Peak on.
    pub signature_offset: usize,
    pub regions: Vec<Region>,
    /// File offset of the PCH straps (FPSBA).
    pub strap_base: usize,
    /// Number of PCH strap dwords (ISL, called PSL in newer documents).
    pub strap_count: u8,
    pub family: PchFamily,
}

/// A used flash region; `base..=limit` are file offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    pub id: u8,
    pub name: &'static str,
    pub base: usize,
    pub limit: usize,
}

/// PCH family by the evidence in the descriptor's own tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PchFamily {
    /// Sunrise Point and Kaby Point (100 and 200 series), LP or H by the number of straps.
    SunrisePoint { lp: bool },
    /// Anything else; the text gives the values that were looked at.
    Other(String),
}

impl fmt::Display for PchFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SunrisePoint { lp: true } => f.write_str("sunrise-point-lp"),
            Self::SunrisePoint { lp: false } => f.write_str("sunrise-point-h"),
            Self::Other(evidence) => f.write_str(evidence),
        }
    }
}

impl Descriptor {
    /// # Errors
    /// [`ImageError`] where there is no descriptor signature or a table lies outside the file.
    pub fn parse(image: &[u8]) -> Result<Self, ImageError> {
        let signature_offset = find_signature(image)?;
        let map = |index: usize| u32_at(image, signature_offset + 4 + 4 * index, "flash descriptor map");
        let (flmap0, flmap1, flmap2) = (map(0)?, map(1)?, map(2)?);
        let region_base = field(flmap0, 16);
        let strap_base = field(flmap1, 16);
        let strap_count = (flmap1 >> 24) as u8;
        slice(image, strap_base, 4 * usize::from(strap_count), "PCH straps")?;
        let flumap1 = u32_at(image, FLUMAP1, "descriptor upper map").ok();
        Ok(Self {
            signature_offset,
            regions: read_regions(image, region_base, signature_offset)?,
            strap_base,
            strap_count,
            family: family(flmap1, flmap2, flumap1, signature_offset),
        })
    }

    pub fn region(&self, name: &str) -> Option<&Region> {
        self.regions.iter().find(|region| region.name == name)
    }

    /// End of the highest region: larger than the file means a partial dump, such as chip 1 of 2.
    pub fn flash_end(&self) -> usize {
        self.regions.iter().map(|region| region.limit + 1).max().unwrap_or(0)
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

fn read_regions(image: &[u8], base: usize, signature_offset: usize) -> Result<Vec<Region>, ImageError> {
    // Old descriptors define five regions; what follows belongs to other tables.
    let count: u8 = if signature_offset == 0 { 5 } else { region_count(image, base)? };
    let mut regions = Vec::new();
    for id in 0..count {
        let word = u32_at(image, base + 4 * usize::from(id), "flash region table")?;
        let start = (word as usize & 0x7fff) << 12;
        let limit = ((word >> 16) as usize & 0x7fff) << 12 | 0xfff;
        // Unused regions have base 7fff (or 1fff) and limit 0; FF fill is no region either, nor are zeroes but for the
        // descriptor itself, whose 4 KiB at 0 are written so.
        if start < limit && (id == 0 || word != 0) && word != u32::MAX {
            let name = REGION_NAMES.get(usize::from(id)).copied().unwrap_or("reserved");
            regions.push(Region { id, name, base: start, limit });
        }
    }
    Ok(regions)
}

/// The table runs to the masters or the straps, whichever comes first; nine entries fit where nothing else says so.
fn region_count(image: &[u8], base: usize) -> Result<u8, ImageError> {
    let flmap1 = u32_at(image, 0x18, "flash descriptor map")?;
    let next = [field(flmap1, 0), field(flmap1, 16)].into_iter().filter(|offset| *offset > base).min();
    let room = next.map_or(9, |next| (next - base) / 4);
    Ok(room.min(REGION_NAMES.len()) as u8)
}

/// flashrom's published decision tree for the 100 and 200 series, plus the number of straps seen on real ones
/// (reference/me.md 1.3): MDTBA 0, ICCRIBA 31h, 42h straps on LP and 58h on H.
fn family(flmap1: u32, flmap2: u32, flumap1: Option<u32>, signature_offset: usize) -> PchFamily {
    let isl = flmap1 >> 24;
    let masters = flmap1 >> 8 & 7;
    let iccriba = flmap2 >> 16 & 0xff;
    let Some(mdtba) = flumap1.map(|word| word >> 24) else {
        return PchFamily::Other("descriptor is cut off before its upper map at 0xefc".into());
    };
    match (signature_offset, mdtba, iccriba, masters, isl) {
        (0x10, 0, 0x31, 0..=5, 0x42) => PchFamily::SunrisePoint { lp: true },
        (0x10, 0, 0x31, 0..=5, 0x58) => PchFamily::SunrisePoint { lp: false },
        _ => PchFamily::Other(format!(
            "ICCRIBA {iccriba:#x}, MDTBA {mdtba:#x}, {isl:#x} straps, {masters} masters: not Sunrise or Kaby Point"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::me::fixture;

    #[test]
    fn reads_regions_and_family() {
        let image = fixture::sunrise(0x0000_0002, 11);
        let descriptor = Descriptor::parse(&image).unwrap();
        assert_eq!(descriptor.family, PchFamily::SunrisePoint { lp: true });
        let me = descriptor.region("me").unwrap();
        assert_eq!((me.base, me.limit), (0x1000, 0x3fff));
        assert_eq!(descriptor.flash_end(), 0x8000);
    }

    #[test]
    fn the_descriptor_is_a_region_too() {
        let descriptor = Descriptor::parse(&fixture::sunrise(2, 11)).unwrap();
        let fd = descriptor.region("descriptor").unwrap();
        assert_eq!((fd.base, fd.limit), (0, 0xfff));
    }

    #[test]
    fn refuses_what_has_no_signature() {
        let error = Descriptor::parse(&[0xff; 0x1000]).unwrap_err();
        assert!(error.to_string().contains("full dump"), "{error}");
    }

    #[test]
    fn truncated_at_every_length_is_an_error_or_a_smaller_truth() {
        let image = fixture::sunrise(2, 11);
        for len in 0..0x1000 {
            match Descriptor::parse(&image[..len]) {
                Ok(descriptor) => assert_ne!(
                    (len < FLUMAP1 + 4, descriptor.family),
                    (true, PchFamily::SunrisePoint { lp: true }),
                    "length {len:#x}"
                ),
                Err(error) => assert!(error.offset <= 0x1000),
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(mut bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..4096)) {
            if bytes.len() > 0x14 {
                bytes[0x10..0x14].copy_from_slice(&SIGNATURE);
            }
            let _ = crate::inspect(&bytes);
        }
    }
}
