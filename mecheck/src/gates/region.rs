//! Gates within the ME region, where [`super::compare`] alone would let any byte become FF and the partition table
//! become anything: what starts the platform and what was to be kept is the same, and the table lost entries only.
//!
//! Both are told from the images by the parser of `me`, not by the code that cleaned.

use std::ops::Range;

use super::Breach;
use crate::MeImage;
use crate::bytes::{slice, u32_at};
use crate::me::{Compression, Contents, Partition};

/// Header and entries of `$FPT` have this size.
const ENTRY: usize = 0x20;
/// Modules of ME 11 that start the engine are checked together; `.man` and `.met` carry their hashes
/// (reference/me.md 2.5).
const STARTERS: [&[u8]; 4] = [b"rbe", b"kernel", b"syslib", b"bup"];
const PROOFS: [&[u8]; 2] = [b".man", b".met"];
/// Bytes of an LLUT before its chunks.
const LOOKUP_HEADER: usize = 0x40;

/// `me` is the engine of `before`, and `keep` names the partitions that stay besides FTPR.
///
/// # Errors
/// [`Breach`] naming the partition or module that is not what it was.
pub fn check_kept(before: &[u8], after: &[u8], me: &MeImage, keep: &[String]) -> Result<(), Breach> {
    let same = |what: &str, range: Range<usize>| {
        // A shrunk FTPR ends behind the region, and what is not in the file cannot have changed.
        let part = |image: &[u8]| image.get(range.start..range.end.min(image.len())).map(<[u8]>::to_vec);
        if part(before) == part(after) {
            return Ok(());
        }
        Err(Breach(format!("{what} at {:#x}, which has to stay, is not what it was", range.start)))
    };
    for partition in me.partitions.iter().filter(|partition| partition.state.has_place()) {
        let name = partition.name.to_string();
        if partition.name.is("FTPR") {
            for (module, range) in starters(partition) {
                same(&format!("module {module} of FTPR"), range)?;
            }
        } else if keep.contains(&name) {
            same(&format!("partition {name}"), partition.offset..partition.end())?;
        }
    }
    Ok(())
}

/// What of FTPR has to stay, as far as it can be told without unpacking.
fn starters(ftpr: &Partition) -> Vec<(String, Range<usize>)> {
    match &ftpr.contents {
        Contents::Directory(directory) => {
            let mut starts: Vec<usize> = directory.modules.iter().map(|module| module.offset).collect();
            starts.push(ftpr.end());
            starts.sort_unstable();
            let stays = |name: &[u8]| {
                STARTERS.iter().any(|prefix| name.starts_with(prefix))
                    || PROOFS.iter().any(|suffix| name.ends_with(suffix))
            };
            let modules = directory.modules.iter().filter(|module| stays(module.name.as_bytes()));
            modules
                .map(|module| {
                    let next = starts.partition_point(|start| *start <= module.offset);
                    let end = starts.get(next).copied().unwrap_or(module.offset);
                    (module.name.to_string(), module.offset..end)
                })
                .collect()
        }
        Contents::Manifest { modules: Some(table) } => {
            let lookup = table.chunks.iter().map(|chunks| {
                let len = LOOKUP_HEADER.saturating_add(chunks.count.saturating_mul(4));
                ("LLUT".to_owned(), chunks.offset..chunks.offset.saturating_add(len))
            });
            let stored = table.modules.iter().filter(|module| {
                module.compression != Compression::Huffman
                    && (module.name.is("ROMP") || module.name.is("BUP"))
            });
            let stored = stored.map(|module| {
                (module.name.to_string(), module.offset..module.offset.saturating_add(module.size))
            });
            lookup.chain(stored).collect()
        }
        _ => Vec::new(),
    }
}

/// The table at `offset..end` of both images: entries may go and none may come or change; of the header the count, the
/// checksum and the flag of the file system partition follow.
///
/// # Errors
/// [`Breach`] naming the first offset that is otherwise.
pub fn check_table(before: &[u8], after: &[u8], (offset, end): (usize, usize)) -> Result<(), Breach> {
    let len = end.saturating_sub(offset);
    let (old, new) = (slice(before, offset, len, "$FPT")?, slice(after, offset, len, "$FPT")?);
    for (at, (old, new)) in old.iter().zip(new).take(ENTRY).enumerate() {
        let allowed = match at {
            4..8 | 0xb => 0xff,
            0x14 => old & 1,
            _ => 0,
        };
        if (old ^ new) & !allowed != 0 {
            return Err(Breach(format!("the header of the partition table differs at {:#x}", offset + at)));
        }
    }
    let kept = u32_at(new, 4, "$FPT entry count")? as usize;
    let mut left = old.chunks_exact(ENTRY).skip(1);
    for (index, entry) in new.chunks_exact(ENTRY).skip(1).enumerate() {
        let held = match index < kept {
            true => left.any(|old| old == entry),
            false => entry.iter().all(|byte| *byte == 0xff),
        };
        if !held {
            let at = offset + ENTRY * (index + 1);
            return Err(Breach(format!("the partition table has an entry at {at:#x} that it did not have")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect;
    use crate::me::fixture::sunrise;

    /// `$FPT` of [`sunrise`] holds FTPR and MFS.
    const TABLE: (usize, usize) = (0x1010, 0x1070);

    fn without_mfs() -> Vec<u8> {
        let mut image = sunrise(2, 11);
        image[0x1014] = 1;
        image[0x101b] = image[0x101b].wrapping_add(1);
        image[0x1050..0x1070].fill(0xff);
        image
    }

    #[test]
    fn a_table_may_lose_entries_and_nothing_else() {
        let before = sunrise(2, 11);
        assert_eq!(check_table(&before, &before, TABLE), Ok(()));
        assert_eq!(check_table(&before, &without_mfs(), TABLE), Ok(()));
        let entry = |at: usize| (without_mfs(), at);
        for (mut after, at) in [entry(0x1038), entry(0x1050), entry(0x1018), entry(0x1012)] {
            after[at] ^= 0x11;
            assert!(check_table(&before, &after, TABLE).is_err(), "{at:#x}");
        }
        // The flag may be cleared, not set, and no second bit of it.
        let mut flagged = before.clone();
        flagged[0x1024] ^= 1;
        let (set, clear) = if flagged[0x1024] & 1 == 1 { (&flagged, &before) } else { (&before, &flagged) };
        assert_eq!(check_table(set, clear, TABLE), Ok(()));
        assert!(check_table(clear, set, TABLE).is_err());
        // The same entry twice.
        let mut twice = before.clone();
        twice.copy_within(0x1030..0x1050, 0x1050);
        assert!(check_table(&before, &twice, TABLE).is_err());
    }

    #[test]
    fn what_is_kept_may_not_become_ff() {
        let before = sunrise(2, 11);
        let me = inspect(&before).unwrap().me.unwrap();
        let check = |at: usize, keep: &[&str]| {
            let mut after = before.clone();
            after[at] ^= 0xff;
            let keep: Vec<String> = keep.iter().map(|name| (*name).to_owned()).collect();
            check_kept(&before, &after, &me, &keep)
        };
        let manifest = me.manifest_offset;
        assert!(check(manifest + 0x300, &[]).unwrap_err().0.contains("FTPR.man"));
        assert!(check(0x2000, &["MFS"]).unwrap_err().0.contains("partition MFS"));
        assert_eq!(check(0x2000, &[]), Ok(()));
        assert_eq!(check(0x102, &["MFS"]), Ok(()));
    }
}
