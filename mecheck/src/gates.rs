//! The safety gates between an original image and a neutralized one (reference/me.md 5): what differs is found by
//! comparing the two, never believed from the code that made the change, and every difference must be allowed.

mod region;

pub use region::{check_kept, check_table};

use serde::Serialize;

use crate::bytes::{slice, u32_at};
use crate::{Descriptor, ImageError};

/// Ranges up to this length are told byte by byte.
const SHOWN: usize = 64;
/// No table is longer than its page.
const TABLE: usize = 0x1000;
/// Blocks compared at once; nearly all of them are equal.
const BLOCK: usize = 0x1000;

/// One changed byte range, found by comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Change {
    /// File offset of the first byte that differs.
    pub offset: usize,
    pub length: usize,
    pub kind: ChangeKind,
    /// Bytes before, up to 64 of them; none where the range is longer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub old: Vec<u8>,
    /// Bytes after, where `old` is told.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub new: Vec<u8>,
}

/// Why a range may differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    /// Bits of a soft-disable strap were set.
    Strap,
    /// Code or data of the ME region was overwritten with FF.
    Fill,
    /// Header or entries of the ME region's partition table.
    PartitionTable,
}

/// What may differ between the two images.
#[derive(Debug, Clone, Default)]
pub struct Allowed {
    /// Strap dwords: file offset, and the bits that may go from 0 to 1.
    pub straps: Vec<(usize, u32)>,
    /// The ME region, where bytes may become FF.
    pub fill: Option<(usize, usize)>,
    /// The partition table within it, whose fields may change: `offset..end`.
    pub table: Option<(usize, usize)>,
}

/// A gate that did not hold. Nothing may be written then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("proving that only what is meant to differs: {0}; nothing was written")]
pub struct Breach(pub String);

impl From<ImageError> for Breach {
    fn from(error: ImageError) -> Self {
        Self(error.to_string())
    }
}

/// Every range in which the images differ, in order.
///
/// # Errors
/// [`Breach`] naming the first offset that may not differ, or the size or region map that does.
pub fn compare(before: &[u8], after: &[u8], allowed: &Allowed) -> Result<Vec<Change>, Breach> {
    if before.len() != after.len() {
        return Err(Breach(format!("the sizes are {:#x} and {:#x}", before.len(), after.len())));
    }
    let mut changes: Vec<Change> = Vec::new();
    for (block, (old, new)) in before.chunks(BLOCK).zip(after.chunks(BLOCK)).enumerate() {
        if old == new {
            continue;
        }
        for (at, (old, new)) in old.iter().zip(new).enumerate().filter(|(_, (old, new))| old != new) {
            let offset = block * BLOCK + at;
            let kind = allowed.kind(offset, *old, *new).ok_or_else(|| {
                Breach(format!("the byte at {offset:#x} would change from {old:#04x} to {new:#04x}"))
            })?;
            match changes.last_mut() {
                Some(last) if last.kind == kind && offset - (last.offset + last.length) < kind.gap() => {
                    last.length = offset + 1 - last.offset;
                }
                _ => changes.push(Change { offset, length: 1, kind, old: Vec::new(), new: Vec::new() }),
            }
        }
    }
    for change in changes.iter_mut().filter(|change| change.length <= SHOWN) {
        change.old = slice(before, change.offset, change.length, "changed bytes")?.to_vec();
        change.new = slice(after, change.offset, change.length, "changed bytes")?.to_vec();
    }
    if Descriptor::parse(before)?.regions != Descriptor::parse(after)?.regions {
        return Err(Breach("the region map differs".into()));
    }
    Ok(changes)
}

impl ChangeKind {
    /// Differences closer than this are told as one range: an FF fill over a page that holds a few FF already is one
    /// fill. Straps are told one by one.
    fn gap(self) -> usize {
        match self {
            Self::Strap => 1,
            Self::Fill | Self::PartitionTable => 0x1000,
        }
    }
}

impl Allowed {
    fn kind(&self, offset: usize, old: u8, new: u8) -> Option<ChangeKind> {
        let strap = self.straps.iter().any(|(base, bits)| {
            offset.checked_sub(*base).is_some_and(|byte| {
                byte < 4 && old & !new == 0 && u32::from(new ^ old) << (8 * byte) & !bits == 0
            })
        });
        let within =
            |range: Option<(usize, usize)>| range.is_some_and(|(from, to)| (from..to).contains(&offset));
        if strap {
            Some(ChangeKind::Strap)
        } else if within(self.table) {
            Some(ChangeKind::PartitionTable)
        } else if new == 0xff && within(self.fill) {
            Some(ChangeKind::Fill)
        } else {
            None
        }
    }
}

/// The table that cleaning rewrites: from `$FPT` to the end of its entries (reference/me.md 2.1, 2.4 steps 12 to 14).
///
/// # Errors
/// [`ImageError`] where there is no `$FPT` at 0x10 of the region, or its entries lie outside it.
pub fn partition_table(image: &[u8], region: (usize, usize)) -> Result<(usize, usize), ImageError> {
    let (base, end) = region;
    if slice(image, base + 0x10, 4, "$FPT")? != b"$FPT" {
        return Err(ImageError {
            what: "$FPT",
            offset: base + 0x10,
            why: "not at 10 of the ME region".into(),
        });
    }
    let count = u32_at(image, base + 0x14, "$FPT entry count")? as usize;
    let table_end = count.checked_mul(0x20).and_then(|length| length.checked_add(base + 0x30));
    match table_end {
        Some(table_end) if table_end <= end.min(base + TABLE) => Ok((base + 0x10, table_end)),
        _ => Err(ImageError {
            what: "$FPT entry count",
            offset: base + 0x14,
            why: format!("{count} entries do not fit the table"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::me::fixture::sunrise;
    use proptest::prelude::*;

    fn allowed() -> Allowed {
        Allowed {
            straps: vec![(0x100, 1 << 16)],
            fill: Some((0x1000, 0x4000)),
            table: Some((0x1010, 0x1050)),
        }
    }

    #[test]
    fn tells_each_allowed_change_by_its_kind() {
        let before = sunrise(2, 11);
        let mut after = before.clone();
        after[0x102] |= 1;
        after[0x1014] = 0;
        after[0x1400..0x1410].fill(0xff);
        let changes = compare(&before, &after, &allowed()).unwrap();
        let told: Vec<_> = changes.iter().map(|change| (change.offset, change.kind)).collect();
        assert_eq!(
            told,
            [(0x102, ChangeKind::Strap), (0x1014, ChangeKind::PartitionTable), (0x1400, ChangeKind::Fill)]
        );
        assert_eq!((changes[0].old.as_slice(), changes[0].new.as_slice()), (&[0][..], &[1][..]));
    }

    #[test]
    fn straps_are_told_one_by_one() {
        let before = sunrise(2, 11);
        let mut after = before.clone();
        (after[0x102], after[0x181]) = (1, 0);
        let allowed = Allowed { straps: vec![(0x100, 1 << 16), (0x180, 0xff00)], ..Allowed::default() };
        let before = {
            let mut image = before;
            image[0x181] = 0;
            image
        };
        after[0x181] = 0x80;
        let told: Vec<_> =
            compare(&before, &after, &allowed).unwrap().iter().map(|it| (it.offset, it.length)).collect();
        assert_eq!(told, [(0x102, 1), (0x181, 1)]);
    }

    #[test]
    fn refuses_another_size_and_another_map() {
        let before = sunrise(2, 11);
        assert!(compare(&before, &before[1..], &allowed()).unwrap_err().0.contains("sizes"));
        let mut after = before.clone();
        after[0x44] ^= 1;
        assert!(compare(&before, &after, &allowed()).unwrap_err().0.contains("0x44"));
        // Even where a careless whitelist permits the bytes, the map may not change.
        let careless = Allowed { table: Some((0x40, 0x48)), ..Allowed::default() };
        assert!(compare(&before, &after, &careless).unwrap_err().0.contains("region map"));
    }

    proptest! {
        /// One changed byte passes exactly where and as the whitelist says.
        #[test]
        fn one_byte_anywhere(offset in 0_usize..0x8000, new in any::<u8>()) {
            let before = sunrise(2, 11);
            let mut after = before.clone();
            after[offset] = new;
            let old = before[offset];
            let strap = offset == 0x102 && new & !old == 1 && old & !new == 0 && new ^ old == 1;
            let table = (0x1010..0x1050).contains(&offset);
            let fill = new == 0xff && (0x1000..0x4000).contains(&offset);
            let map = (0x10..0x80).contains(&offset);
            prop_assume!(!map);
            prop_assert_eq!(compare(&before, &after, &allowed()).is_ok(), old == new || strap || table || fill);
        }
    }
}
