//! Code partition directories, `$CPD` with header version 1 and 2 (reference/me.md 2.2).

use serde::Serialize;

use super::MAX_ENTRIES;
use super::checksum::Checksum;
use super::name::Name;
use crate::bytes::{ImageError, slice, u8_at, u32_at};

const ENTRY: usize = 0x18;

/// The modules of an ME 11 or newer partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Directory {
    pub offset: usize,
    pub name: Name,
    /// 1, or 2 from CSME 15 on.
    pub header_version: u8,
    pub entry_version: u8,
    pub checksum: Checksum,
    pub modules: Vec<DirectoryModule>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct DirectoryModule {
    pub name: Name,
    /// Where the module starts, in the same terms as [`Directory::offset`].
    pub offset: usize,
    /// Bytes in flash; of a Huffman module the bytes after unpacking.
    pub size: usize,
    pub huffman: bool,
}

impl Directory {
    pub(crate) fn parse(image: &[u8], offset: usize) -> Result<Self, ImageError> {
        let what = "$CPD";
        if slice(image, offset, 4, what)? != b"$CPD" {
            return Err(ImageError::new(what, offset, "no $CPD here"));
        }
        let count = u32_at(image, offset + 4, "$CPD entry count")?;
        if count > MAX_ENTRIES {
            return Err(ImageError::new("$CPD entry count", offset + 4, format!("{count} entries")));
        }
        let header_version = u8_at(image, offset + 8, "$CPD header version")?;
        let header = match header_version {
            1 => 0x10,
            2 => 0x14,
            other => {
                return Err(ImageError::new("$CPD header version", offset + 8, format!("version {other}")));
            }
        };
        let stated = u8_at(image, offset + 0xa, "$CPD header length")?;
        if usize::from(stated) != header {
            let why = format!("{stated:#x}, but version {header_version} has {header:#x}");
            return Err(ImageError::new("$CPD header length", offset + 0xa, why));
        }
        let len = header + ENTRY * count as usize;
        Ok(Self {
            offset,
            name: Name::of(slice(image, offset + 0xc, 4, what)?),
            header_version,
            entry_version: u8_at(image, offset + 9, what)?,
            checksum: match header_version {
                1 => Checksum::sum8(image, offset, len, offset + 0xb, "$CPD entries")?,
                _ => Checksum::crc32(image, offset, len, offset + 0x10, "$CPD entries")?,
            },
            modules: (0..count as usize)
                .map(|index| module(image, offset, offset + header + ENTRY * index))
                .collect::<Result<_, _>>()?,
        })
    }

    /// Bytes of header and entries.
    pub(crate) fn table_len(&self) -> usize {
        (if self.header_version == 1 { 0x10 } else { 0x14 }) + ENTRY * self.modules.len()
    }
}

impl DirectoryModule {
    /// Manifests have `.man`, key manifests `.key`; a size of 0 means that there is none.
    pub(crate) fn may_be_manifest(&self) -> bool {
        let name = self.name.as_bytes();
        self.size != 0 && (name.ends_with(b".man") || name.ends_with(b".key"))
    }
}

fn module(image: &[u8], directory: usize, at: usize) -> Result<DirectoryModule, ImageError> {
    let what = "$CPD entry";
    let word = u32_at(image, at + 0xc, what)?;
    Ok(DirectoryModule {
        name: Name::of(slice(image, at, 0xc, what)?),
        offset: directory + (word & 0x01ff_ffff) as usize,
        size: u32_at(image, at + 0x10, what)? as usize,
        huffman: word >> 25 & 1 != 0,
    })
}
