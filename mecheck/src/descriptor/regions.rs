//! FLREG: which part of the flash belongs to whom (reference/me.md 1.1).

use super::{Descriptor, IfdVersion, Maps, Warning, field};
use crate::bytes::{ImageError, u32_at};

const NAMES: [&str; 16] = [
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
/// The largest descriptor region seen (Meteor Lake).
const LARGEST_DESCRIPTOR: usize = 0x4000;

/// A used flash region; `base..=limit` are file offsets.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Region {
    pub id: u8,
    pub name: &'static str,
    pub base: usize,
    pub limit: usize,
}

pub(super) fn read(
    image: &[u8],
    maps: &Maps,
    version: IfdVersion,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<Region>, ImageError> {
    let table = field(maps.flmap0, 16);
    let mut regions = Vec::new();
    for (id, name) in NAMES.iter().enumerate().take(count(maps, version)) {
        let offset = table + 4 * id;
        let word = u32_at(image, offset, "flash region table")?;
        // v1 defines 13 bits; the two more are zero there, so one decoding serves all.
        let (base, limit) = (word as usize & 0x7fff, (word >> 16) as usize & 0x7fff);
        // FF fill is no region, nor are zeroes but for the descriptor itself, whose 4 KiB at 0 are written so.
        if word == u32::MAX || (word == 0 && id != 0) || is_unused(base, limit) {
            continue;
        }
        if base > limit {
            warnings.push(Warning::RegionInconsistent { region: name, word, offset });
            continue;
        }
        regions.push(Region { id: id as u8, name, base: base << 12, limit: limit << 12 | 0xfff });
    }
    Ok(regions)
}

/// What regions say about each other, the file and the chips.
pub(super) fn compare(descriptor: &mut Descriptor) {
    let mut warnings = Vec::new();
    let own = descriptor.region("descriptor").map(|own| (own.base, own.limit + 1));
    if !matches!(own, Some((0, end)) if end <= LARGEST_DESCRIPTOR) {
        let (base, end) = own.unwrap_or((0, 0));
        warnings.push(Warning::DescriptorRegionOdd { base, end });
    }
    for (index, first) in descriptor.regions.iter().enumerate() {
        for second in descriptor.regions.iter().skip(index + 1) {
            let (base, limit) = (first.base.max(second.base), first.limit.min(second.limit));
            if base <= limit {
                warnings.push(Warning::RegionsOverlap {
                    first: first.name,
                    second: second.name,
                    offset: base,
                });
            }
        }
    }
    let flash_end = descriptor.flash_end();
    if flash_end > descriptor.file_size && !descriptor.is_alone() {
        let first = descriptor.components.bytes.first().copied().flatten();
        let chip_one_of_two = descriptor.components.count == 2
            && first.is_some_and(|bytes| bytes == descriptor.file_size as u64);
        warnings.push(Warning::PartialDump { flash_end, file_size: descriptor.file_size, chip_one_of_two });
    }
    if let Some(chips) = descriptor.components.total()
        && flash_end as u64 > chips
    {
        warnings.push(Warning::RegionsExceedChips { flash_end, chips });
    }
    descriptor.warnings.append(&mut warnings);
}

/// All ones in the base, in the width of the version, and limit 0.
fn is_unused(base: usize, limit: usize) -> bool {
    limit == 0 && matches!(base, 0xfff | 0x1fff | 0x7fff)
}

/// FLMAP0 NR is not trusted: shipped descriptors use region 3 and say there are three. The table ends where the next
/// one begins, or where its version ends it.
fn count(maps: &Maps, version: IfdVersion) -> usize {
    let table = field(maps.flmap0, 16);
    let next = [field(maps.flmap1, 0), field(maps.flmap1, 16), field(maps.flmap0, 0)];
    let room =
        next.into_iter().filter(|offset| *offset > table).min().map_or(0x10, |next| (next - table) / 4);
    room.min(match version {
        IfdVersion::V1 => 5,
        IfdVersion::V15 => 7,
        IfdVersion::V2 => NAMES.len(),
    })
}
