//! Boot partition descriptor tables of IFWI images (reference/me.md 2.2).

use serde::Serialize;

use super::MAX_ENTRIES;
use super::checksum::Checksum;
use super::name::Name;
use crate::bytes::{ImageError, slice, u8_at, u16_at, u32_at};

const HEADER: usize = 0x18;
const ENTRY: usize = 0xc;
/// Entry type of a table below a table.
pub(super) const SECOND_TABLE: u32 = 5;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct BootTable {
    pub offset: usize,
    /// The signature of a table that is in use for recovery.
    pub recovery: bool,
    /// 1 in IFWI 1.6 and 2.0, 2 in 1.7.
    pub version: u8,
    pub checksum: Checksum,
    pub ifwi_version: u32,
    pub fit_version: [u16; 4],
    pub entries: Vec<BootEntry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct BootEntry {
    pub kind: u32,
    /// The usual name of this kind; absent where none is known.
    pub kind_name: Option<&'static str>,
    pub flags: u16,
    /// Counts from the table.
    pub offset: u32,
    /// 0 for a kind that the image does not have.
    pub size: u32,
}

impl BootTable {
    pub(crate) fn is_at(image: &[u8], offset: usize) -> bool {
        matches!(
            offset.checked_add(4).and_then(|end| image.get(offset..end)),
            Some([0xaa, 0x55, 0, 0] | [0xaa, 0x55, 0xaa, 0])
        )
    }

    pub(crate) fn parse(image: &[u8], offset: usize) -> Result<Self, ImageError> {
        let what = "BPDT";
        if !Self::is_at(image, offset) {
            return Err(ImageError::new(what, offset, "no boot partition table here"));
        }
        let count = usize::from(u16_at(image, offset + 4, "BPDT entry count")?);
        if count > MAX_ENTRIES as usize {
            return Err(ImageError::new("BPDT entry count", offset + 4, format!("{count} entries")));
        }
        let version = u8_at(image, offset + 6, "BPDT version")?;
        let len = HEADER + ENTRY * count;
        slice(image, offset, len, "BPDT entries")?;
        let part = |index: usize| u16_at(image, offset + 0x10 + 2 * index, what);
        Ok(Self {
            offset,
            recovery: u8_at(image, offset + 2, what)? != 0,
            version,
            checksum: match version {
                // Without the signature, which changes where recovery takes over.
                2 => Checksum::crc32(image, offset + 4, len - 4, offset + 8, what)?,
                _ => Checksum::Unknown,
            },
            ifwi_version: u32_at(image, offset + 0xc, what)?,
            fit_version: [part(0)?, part(1)?, part(2)?, part(3)?],
            entries: (0..count)
                .map(|index| entry(image, offset + HEADER + ENTRY * index, version))
                .collect::<Result<_, _>>()?,
        })
    }

    pub(crate) fn len(&self) -> usize {
        HEADER + ENTRY * self.entries.len()
    }
}

impl BootEntry {
    pub(crate) fn name(&self) -> Name {
        Name::of(self.kind_name.unwrap_or("????").as_bytes())
    }
}

fn entry(image: &[u8], at: usize, version: u8) -> Result<BootEntry, ImageError> {
    let word = u32_at(image, at, "BPDT entry")?;
    // Version 1 splits the word; its upper half was zero on every big-core image.
    let (kind, flags) = if version == 1 { (word & 0xffff, (word >> 16) as u16) } else { (word, 0) };
    Ok(BootEntry {
        kind,
        kind_name: kind_name(kind),
        flags,
        offset: u32_at(image, at + 4, "BPDT entry")?,
        size: u32_at(image, at + 8, "BPDT entry")?,
    })
}

/// The names that directories of these kinds carry; the numbers are those of coreboot's and EDK II's public headers.
fn kind_name(kind: u32) -> Option<&'static str> {
    Some(match kind {
        0 => "SMIP",
        1 => "RBEP",
        2 => "FTPR",
        3 => "UCOD",
        4 => "IBBP",
        SECOND_TABLE => "S-BPDT",
        6 => "OBBP",
        7 => "NFTP",
        8 => "ISHC",
        9 => "DLMP",
        10 => "IFPP",
        11 => "UTOK",
        12 => "UFSP",
        13 => "UFSG",
        14 => "PMCP",
        15 => "IUNP",
        16 => "NVMC",
        17 => "UEP",
        20 => "OEMP",
        22 => "PAVP",
        23 => "IOMP",
        24 => "NPHY",
        25 => "TBTP",
        31 => "SPHY",
        32 => "PCHC",
        _ => return None,
    })
}
