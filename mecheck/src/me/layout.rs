//! The table at the start of an IFWI ME region: IFWI 1.6 and 2.0 (ME 12 to 14), 1.7 (ME 15 and newer);
//! reference/me.md 2.2.

use serde::Serialize;

use super::checksum::Checksum;
use crate::bytes::{ImageError, u16_at, u32_at};

const START: usize = 0x10;
const BOOT_PARTITIONS: usize = 5;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct CseLayout {
    pub version: LayoutVersion,
    /// CRC-32 of the pointers in 1.7. The rule of the older checksum is not known.
    pub checksum: Checksum,
    /// Holds the `$FPT`.
    pub data: Extent,
    /// In the order of the table, unused ones left out.
    pub boot_partitions: Vec<Extent>,
    pub temp_pages: Option<Extent>,
    pub event_log: Option<Extent>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum LayoutVersion {
    #[serde(rename = "1.6")]
    V16,
    #[serde(rename = "1.7")]
    V17,
}

/// `offset` in the same terms as every other offset of the image, `size` in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Extent {
    pub offset: usize,
    pub size: usize,
}

impl CseLayout {
    /// Reads the layout of the region that starts at `base`. Any bytes have a layout: whether the pointers lead to
    /// tables is for the caller to find out.
    pub(crate) fn parse(image: &[u8], base: usize) -> Result<Self, ImageError> {
        let what = "CSE layout table";
        let size = usize::from(u16_at(image, base + START, what)?);
        let (version, data) = match size {
            // The table's own size; in 1.6 it is the low half of an offset of whole pages.
            0x40 | 0x48 => (LayoutVersion::V17, 0x18),
            _ => (LayoutVersion::V16, START),
        };
        let extent = |at: usize| -> Result<Option<Extent>, ImageError> {
            let (offset, size) = (u32_at(image, base + at, what)?, u32_at(image, base + at + 4, what)?);
            let used = ![0, u32::MAX].contains(&offset) && ![0, u32::MAX].contains(&size);
            let offset = base.saturating_add(offset as usize);
            Ok(used.then_some(Extent { offset, size: size as usize }))
        };
        let checksum = match version {
            LayoutVersion::V16 => Checksum::Unknown,
            LayoutVersion::V17 => Checksum::crc32(image, base + START, size, base + 0x14, what)?,
        };
        let boot_partitions = (1..=BOOT_PARTITIONS)
            .map(|index| extent(data + 8 * index))
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .flatten()
            .collect();
        let Some(first) = extent(data)? else {
            return Err(ImageError::new(what, base + data, "no data partition"));
        };
        Ok(Self {
            version,
            checksum,
            data: first,
            boot_partitions,
            temp_pages: if version == LayoutVersion::V17 { extent(0x48)? } else { None },
            event_log: if size == 0x48 { extent(0x50)? } else { None },
        })
    }
}
