//! The flash partition table, `$FPT` 1.0 to 2.1 (reference/me.md 2.1).

use serde::Serialize;

use super::MAX_ENTRIES;
use super::checksum::Checksum;
use super::name::Name;
use crate::bytes::{ImageError, slice, u8_at, u16_at, u32_at};

const HEADER: usize = 0x20;
const ENTRY: usize = 0x20;
/// ROM bypass vectors before the table of ME 2 to 11.
const BYPASS: usize = 0x10;
/// Where header 2.1 has its second copy, counted from the first.
const BACKUP: usize = 0x1000;

/// The table's header and entries, as they stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PartitionTable {
    pub offset: usize,
    /// Entry offsets count from here: the region before ME 12, the table itself after.
    pub base: usize,
    /// 0x10, 0x20 or 0x21.
    pub header_version: u8,
    pub entry_version: u8,
    /// 0x30 counts the ROM bypass vectors too.
    pub header_len: u8,
    pub checksum: Checksum,
    /// The vectors before the table are there and not all 00 or FF.
    pub rom_bypass: bool,
    /// Bit 0 of the flags: the file system partition is in use. Header 2.1 has none.
    pub effs_present: Option<bool>,
    /// Version of the tool that built the image, `0.0.0.0` where it left none.
    pub fitc_version: [u16; 4],
    /// The copy that header 2.1 announces.
    pub backup: Option<Backup>,
    pub entries: Vec<TableEntry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backup {
    Same,
    Differs,
    Missing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TableEntry {
    pub name: Name,
    pub owner: Name,
    /// As stored; 0 and ffffffff mean that there is no such partition.
    pub offset: u32,
    /// As stored; ffffffff on the last entry of ME 6 means up to the region's end.
    pub size: u32,
    pub flags: EntryFlags,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct EntryFlags {
    pub raw: u32,
    pub kind: EntryKind,
    pub copy_to_dram: bool,
    /// Bit 15 or 16.
    pub built_with_length: bool,
    /// The top byte is FF, which from ME 11 on marks an entry as not valid.
    pub marked_invalid: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EntryKind {
    Code,
    Data,
    /// Lives in the file system partition; the entry has no place of its own in flash.
    Nvram,
    Generic,
    Other,
}

impl PartitionTable {
    /// Reads the table at `offset`; its entries count from `base`.
    pub(crate) fn parse(image: &[u8], offset: usize, base: usize) -> Result<Self, ImageError> {
        let what = "$FPT";
        if slice(image, offset, 4, what)? != b"$FPT" {
            return Err(ImageError::new(what, offset, "no $FPT here"));
        }
        let count = u32_at(image, offset + 4, "$FPT entry count")?;
        if count > MAX_ENTRIES {
            return Err(ImageError::new("$FPT entry count", offset + 4, format!("{count} entries")));
        }
        let len = HEADER + ENTRY * count as usize;
        let header_version = u8_at(image, offset + 8, what)?;
        let header_len = u8_at(image, offset + 0xa, what)?;
        let newest = header_version >= 0x21;
        let checksum = if newest {
            Checksum::crc32(image, offset, len, offset + 0x14, "$FPT entries")?
        } else {
            match (header_len, offset.checked_sub(BYPASS).filter(|start| *start >= base)) {
                (0x30, Some(start)) => Checksum::sum8(image, start, BYPASS + HEADER, offset + 0xb, what)?,
                (0x20, _) => Checksum::sum8(image, offset, HEADER, offset + 0xb, what)?,
                _ => Checksum::Unknown,
            }
        };
        let backup = newest && u8_at(image, offset + 0xb, what)? & 1 != 0;
        let flags = u32_at(image, offset + 0x14, what)?;
        let part = |index: usize| u16_at(image, offset + 0x18 + 2 * index, what);
        Ok(Self {
            offset,
            base,
            header_version,
            entry_version: u8_at(image, offset + 9, what)?,
            header_len,
            checksum,
            rom_bypass: offset > base && has_content(image, base),
            effs_present: (!newest).then_some(flags & 1 != 0),
            fitc_version: [part(0)?, part(1)?, part(2)?, part(3)?],
            backup: backup.then(|| compare_backup(image, offset, len)),
            entries: (0..count as usize)
                .map(|index| entry(image, offset + HEADER + ENTRY * index))
                .collect::<Result<_, _>>()?,
        })
    }

    /// Offset after the last entry.
    pub(crate) fn end(&self) -> usize {
        self.offset + HEADER + ENTRY * self.entries.len()
    }

    /// Whether the mark of [`EntryFlags::marked_invalid`] is in use: the header without bypass vectors came with it.
    pub(crate) fn marks_invalid(&self) -> bool {
        self.header_len == 0x20
    }
}

fn entry(image: &[u8], at: usize) -> Result<TableEntry, ImageError> {
    let what = "$FPT entry";
    let word = |field: usize| u32_at(image, at + field, what);
    let raw = word(0x1c)?;
    let flags = EntryFlags {
        raw,
        kind: match raw & 0x7f {
            0 => EntryKind::Code,
            1 => EntryKind::Data,
            2 => EntryKind::Nvram,
            3 => EntryKind::Generic,
            _ => EntryKind::Other,
        },
        copy_to_dram: raw & 0x80 != 0,
        built_with_length: raw & 0x1_8000 != 0,
        marked_invalid: raw >> 24 == 0xff,
    };
    Ok(TableEntry {
        name: Name::of(slice(image, at, 4, what)?),
        owner: Name::of(slice(image, at + 4, 4, what)?),
        offset: word(8)?,
        size: word(0xc)?,
        flags,
    })
}

fn has_content(image: &[u8], base: usize) -> bool {
    let vectors = image.get(base..base + BYPASS).unwrap_or_default();
    [0, 0xff].iter().all(|fill| vectors.iter().any(|byte| byte != fill))
}

fn compare_backup(image: &[u8], offset: usize, len: usize) -> Backup {
    let at = |start: usize| image.get(start..start.checked_add(len)?);
    match (at(offset), at(offset + BACKUP)) {
        (Some(first), Some(second)) if first == second => Backup::Same,
        (_, Some([b'$', b'F', b'P', b'T', ..])) => Backup::Differs,
        _ => Backup::Missing,
    }
}
