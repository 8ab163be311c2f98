//! EFI_FIRMWARE_VOLUME_HEADER (PI volume 3, 3.2.1) and its extended header (3.2.2).

use serde::Serialize;

use super::{Guid, Place, STEP, Space};
use crate::bytes::{u8_at, u16_at, u32_at, u64_at};

const SIGNATURE: &[u8; 4] = b"_FVH";
const SIGNATURE_OFFSET: usize = 0x28;
/// Up to and with the terminating entry of an empty block map.
const SMALLEST: usize = 0x40;
/// Real block maps have one to three entries; this leaves room for more than a hundred. It also bounds what a forged
/// signature can make us sum up.
const LARGEST: usize = 0x400;
/// EFI_FVB2_ERASE_POLARITY: erased bits read as 1.
const ERASE_POLARITY: u32 = 0x800;

const FFS1: Guid = Guid::new(0x7a93_54d9, 0x0468, 0x444a, [0x81, 0xce, 0x0b, 0xf6, 0x17, 0xd8, 0x90, 0xdf]);
pub(super) const FFS2: Guid =
    Guid::new(0x8c8c_e578, 0x8a3d, 0x4f1c, [0x99, 0x35, 0x89, 0x61, 0x85, 0xc3, 0x2d, 0xd3]);
pub(super) const FFS3: Guid =
    Guid::new(0x5473_c07a, 0x3dcb, 0x4dca, [0xbd, 0x6f, 0x1e, 0x96, 0x89, 0xe7, 0x34, 0x9a]);
/// EFI_SYSTEM_NV_DATA_FV_GUID: variables, no files.
const NVRAM: Guid = Guid::new(0xfff1_2b8d, 0x7696, 0x4c8b, [0xa9, 0x85, 0x27, 0x47, 0x07, 0x5b, 0x4f, 0x50]);

/// A firmware volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Volume {
    pub place: Place,
    /// With its header.
    pub length: usize,
    pub filesystem: FileSystem,
    pub filesystem_guid: Guid,
    /// FvName of the extended header.
    pub name: Option<Guid>,
    pub revision: u8,
    /// EFI_FVB_ATTRIBUTES_2.
    pub attributes: u32,
    /// Erased bytes read as FF.
    pub erased_is_ff: bool,
    /// How many volumes, files and sections are around it.
    pub depth: usize,
    /// Files in it and in volumes nested in it.
    pub files: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileSystem {
    Ffs2,
    Ffs3,
    /// The predecessor, whose files are laid out otherwise; not read.
    Ffs1,
    /// Variables.
    Nvram,
    /// Not read.
    Other,
}

impl FileSystem {
    pub(super) const fn is_ffs(self) -> bool {
        matches!(self, Self::Ffs2 | Self::Ffs3)
    }

    fn of(guid: Guid) -> Self {
        match guid {
            FFS1 => Self::Ffs1,
            FFS2 => Self::Ffs2,
            FFS3 => Self::Ffs3,
            NVRAM => Self::Nvram,
            _ => Self::Other,
        }
    }
}

/// Where the next volume may start, at `at` or after it.
pub(super) fn next(region: &[u8], at: usize) -> Option<usize> {
    let first = at.checked_next_multiple_of(STEP)?;
    let from = first.checked_add(SIGNATURE_OFFSET)?;
    let found = region.get(from..)?.chunks(STEP).position(|chunk| chunk.starts_with(SIGNATURE))?;
    first.checked_add(found.checked_mul(STEP)?)
}

/// A header whose signature, sizes and checksum are right.
pub(super) struct Header {
    pub(super) filesystem: FileSystem,
    pub(super) length: usize,
    /// The byte that erased flash reads as.
    pub(super) erased: u8,
    /// Offset of the first file.
    pub(super) first_file: usize,
    guid: Guid,
    name: Option<Guid>,
    revision: u8,
    attributes: u32,
    header_length: usize,
}

impl Header {
    /// # Errors
    /// The offset into `bytes` that is wrong, and why.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, (usize, String)> {
        let short = |offset: usize| (offset, "the header is cut off".to_owned());
        if bytes.get(SIGNATURE_OFFSET..SIGNATURE_OFFSET + 4) != Some(SIGNATURE) {
            return Err((SIGNATURE_OFFSET, "no _FVH signature".into()));
        }
        let guid = Guid::at(bytes, 0x10).ok_or_else(|| short(0x10))?;
        let word = |offset| u32_at(bytes, offset, "").map_err(|_| short(offset));
        let half = |offset| u16_at(bytes, offset, "").map_err(|_| short(offset)).map(usize::from);
        let claimed = u64_at(bytes, 0x20, "").map_err(|_| short(0x20))?;
        let attributes = word(0x2c)?;
        let header_length = half(0x30)?;
        let extended = half(0x34)?;
        let revision = u8_at(bytes, 0x37, "").map_err(|_| short(0x37))?;
        if !(SMALLEST..=LARGEST).contains(&header_length) || header_length % 2 != 0 {
            return Err((0x30, format!("a header of {header_length} bytes")));
        }
        let length = usize::try_from(claimed)
            .ok()
            .filter(|length| (header_length..=bytes.len()).contains(length))
            .ok_or_else(|| {
                let room = bytes.len();
                (0x20, format!("{claimed:#x} bytes long, where {room:#x} are left; is the image complete?"))
            })?;
        let header = bytes.get(..header_length).ok_or_else(|| short(0x30))?;
        let sum = sum16(header);
        if sum != 0 {
            return Err((0x32, format!("the header's checksum is off by {sum:#06x}")));
        }
        let (name, first_file) = match extended {
            0 => (None, header_length),
            offset => extended_header(bytes.get(..length).unwrap_or_default(), offset)?,
        };
        Ok(Self {
            filesystem: FileSystem::of(guid),
            length,
            erased: if attributes & ERASE_POLARITY == 0 { 0 } else { 0xff },
            first_file,
            guid,
            name,
            revision,
            attributes,
            header_length,
        })
    }

    /// What is wrong with the header but keeps nobody from reading the volume.
    pub(super) fn oddities(&self, bytes: &[u8]) -> Vec<(usize, String)> {
        let mut odd = Vec::new();
        if !matches!(self.revision, 1 | 2) {
            odd.push((0x37, format!("revision {}, known are 1 and 2", self.revision)));
        }
        let map = bytes.get(0x38..self.header_length).unwrap_or_default();
        let mut mapped = 0_u64;
        let mut ended = false;
        for entry in map.chunks_exact(8) {
            let part = |offset| u64::from(u32_at(entry, offset, "").unwrap_or_default());
            if part(0) == 0 && part(4) == 0 {
                ended = true;
                break;
            }
            mapped = mapped.saturating_add(part(0).saturating_mul(part(4)));
        }
        if !ended {
            odd.push((0x38, "the block map has no end".into()));
        } else if mapped != self.length as u64 {
            odd.push((0x38, format!("the block map covers {mapped:#x} bytes of {:#x}", self.length)));
        }
        if !self.filesystem.is_ffs() && self.filesystem != FileSystem::Nvram {
            odd.push((0x10, format!("file system {}, which is not read", self.guid)));
        }
        odd
    }

    pub(super) fn describe(&self, space: Space<'_>, depth: usize) -> Volume {
        Volume {
            place: space.place(0),
            length: self.length,
            filesystem: self.filesystem,
            filesystem_guid: self.guid,
            name: self.name,
            revision: self.revision,
            attributes: self.attributes,
            erased_is_ff: self.erased == 0xff,
            depth,
            files: 0,
        }
    }
}

/// FvName and the offset after it: files start behind the extended header.
fn extended_header(volume: &[u8], offset: usize) -> Result<(Option<Guid>, usize), (usize, String)> {
    let name = Guid::at(volume, offset);
    let size = u32_at(volume, offset.saturating_add(16), "").ok().and_then(|size| usize::try_from(size).ok());
    let end = size.filter(|size| *size >= 20).and_then(|size| offset.checked_add(size));
    match end.filter(|end| *end <= volume.len()) {
        Some(end) if name.is_some() => Ok((name, end)),
        _ => Err((0x34, format!("the extended header at {offset:#x} does not fit the volume"))),
    }
}

pub(super) fn sum16(bytes: &[u8]) -> u16 {
    bytes.chunks_exact(2).fold(0, |sum: u16, pair| {
        let word = pair.first_chunk().copied().map_or(0, u16::from_le_bytes);
        sum.wrapping_add(word)
    })
}
