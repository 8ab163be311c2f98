//! Moving FTPR to the top of the region, so that the rest can be cut off (reference/me.md 2.4 step 16).

use super::found::{ENTRY, Me};
use super::plan::ModulePlan;
use super::region::RegionMut;
use crate::bytes::ImageError;

/// Nothing but headers lies below.
const LOWEST: usize = 0x400;
/// Fields of the LLUT.
const TABLE_START: usize = 9;
const STREAM_ADDRESS: usize = 0xc;
const STREAM_START: usize = 0x14;
const CHUNKS: usize = 0x40;

/// Moves FTPR down and gives its new start; the same start where there is nothing to gain.
pub(super) fn relocate(
    me: &Me<'_>,
    modules: &ModulePlan,
    out: &mut RegionMut<'_>,
) -> Result<usize, ImageError> {
    let (old, region) = (me.code.start, me.region);
    let new = match modules.lookup {
        None => LOWEST,
        Some(table) => {
            // The engine counts chunk addresses from this many bytes before the chunk table, which must not fall
            // below the region's start.
            let back = usize::from(region.u16(table.saturating_add(TABLE_START), "Huffman lookup table")?);
            let lowest = back.saturating_add(old).saturating_sub(table.saturating_add(CHUNKS)).max(LOWEST);
            lowest.next_multiple_of(0x20)
        }
    };
    if new >= old {
        return Ok(old);
    }
    let moved = old - new;
    let new32 =
        u32::try_from(new).map_err(|_| region.error("FTPR partition", old, "an offset over 4 GiB"))?;
    out.put32(me.table + ENTRY + 8, new32, "$FPT entry offset")?;
    if let Some(table) = modules.lookup {
        move_lookup_table(me, table, moved, out)?;
    }
    let len = me.code.len.min(region.len().saturating_sub(old));
    out.move_down(old, new, len, "FTPR partition")?;
    Ok(new)
}

/// Rewrites the addresses in the LLUT, still at its old place.
fn move_lookup_table(
    me: &Me<'_>,
    table: usize,
    moved: usize,
    out: &mut RegionMut<'_>,
) -> Result<(), ImageError> {
    let what = "Huffman lookup table";
    let region = me.region;
    let low = |value: usize| value as u32;
    let back = low(usize::from(region.u16(table + TABLE_START, what)?));
    // All of these are 32-bit fields of a region far below 4 GiB; hostile ones wrap as the fields do.
    let address = low(table.saturating_sub(moved)).wrapping_add(CHUNKS as u32).wrapping_sub(back);
    out.put32(table + STREAM_ADDRESS, address, what)?;
    let start = region.u32(table + STREAM_START, what)?.wrapping_sub(low(moved));
    out.put32(table + STREAM_START, start, what)?;
    let count = region.size(table + 4, what)?;
    for index in 0..count {
        let at = table + CHUNKS + 4 * index;
        let chunk = region.u32(at, "Huffman chunk")?;
        if chunk >> 24 != 0x80 {
            let start = (chunk & 0x00ff_ffff).wrapping_sub(low(moved)) & 0x00ff_ffff;
            out.put32(at, chunk & 0xff00_0000 | start, "Huffman chunk")?;
        }
    }
    Ok(())
}
