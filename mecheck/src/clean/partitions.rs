//! The partition table: what stays, what is erased, and the header that says so (reference/me.md 2.4 steps 11 to 14).

use std::ops::Range;

use super::Refusal;
use super::found::{ENTRY, Entry, FTPR, Me};
use super::options::Options;
use super::plan::{Fate, ModulePlan, Piece, first_overlap};
use super::region::RegionMut;
use crate::bytes::ImageError;

/// Offsets in the `$FPT` header.
const COUNT: usize = 4;
const CHECKSUM: usize = 0xb;
const FLAGS: usize = 0x14;

/// What becomes of the partitions; all offsets count from the start of the region.
#[derive(Debug)]
pub(super) struct PartitionPlan {
    pub(super) erased: Vec<Range<usize>>,
    pub(super) pieces: Vec<Piece>,
    /// Indexes of the table entries that stay.
    kept: Vec<usize>,
    /// Where those besides FTPR lie.
    spared: Vec<Range<usize>>,
    /// End of the last partition that is kept besides FTPR.
    pub(super) extra_end: usize,
}

impl PartitionPlan {
    pub(super) fn of(me: &Me<'_>, options: &Options) -> Result<Self, Refusal> {
        let mut plan = Self {
            erased: Vec::new(),
            pieces: Vec::new(),
            kept: Vec::new(),
            spared: Vec::new(),
            extra_end: 0,
        };
        for (index, entry) in me.table_entries()?.iter().enumerate() {
            let range = entry.start..entry.end();
            let fate =
                if !entry.is_in_flash() { Fate::Unlisted } else { plan.add(me, options, index, entry)? };
            plan.pieces.push(Piece { fate, ..Piece::new(&entry.name, &range, true) });
        }
        if !plan.kept.first().is_some_and(|first| is_code(me, *first)) && options.relocate {
            let why = "FTPR is not the first partition that stays, so it cannot be relocated";
            return Err(me.region.error("$FPT", me.table, why).into());
        }
        for piece in plan.pieces.iter_mut().filter(|piece| piece.fate == Fate::Unlisted) {
            (piece.offset, piece.size) = (0, 0);
        }
        if options.spare_kept {
            plan.spared.sort_by_key(|range| range.start);
            let erased = std::mem::take(&mut plan.erased);
            plan.erased = erased.into_iter().flat_map(|range| without(range, &plan.spared)).collect();
        }
        Ok(plan)
    }

    /// What is erased although it belongs to a partition that is kept, too.
    pub(super) fn lost(&self) -> Option<&Range<usize>> {
        first_overlap(&self.spared, &self.erased)
    }

    fn add(
        &mut self,
        me: &Me<'_>,
        options: &Options,
        index: usize,
        entry: &Entry,
    ) -> Result<Fate, ImageError> {
        let is_ftpr = entry.name == FTPR;
        if entry.end() > me.region.len() && !(is_ftpr && me.reaches_out()) {
            let why = format!(
                "partition {} ends at {:#x}, past the ME region: the image is cut off, or its table lies",
                entry.name,
                entry.end()
            );
            return Err(me.region.error("$FPT entry", me.table + ENTRY * (index + 1), why));
        }
        if options.keeps(&entry.name) {
            self.kept.push(index);
            if !is_ftpr {
                self.extra_end = self.extra_end.max(entry.end());
                self.spared.push(entry.start..entry.end());
            }
            return Ok(Fate::Kept);
        }
        self.erased.push(entry.start..entry.end());
        Ok(Fate::Removed)
    }

    /// Erasing partitions must not hit modules that stay: ME 11's DLMP does overlap FTPR, but only its removable tail.
    pub(super) fn check(&self, me: &Me<'_>, modules: Option<&ModulePlan>) -> Result<(), ImageError> {
        let header = 0..me.table + ENTRY * (me.entries + 1);
        if let Some(range) = self.erased.iter().find(|range| range.start < header.end) {
            return Err(me.region.error("$FPT", range.start, "a partition overlaps the table itself"));
        }
        match modules.and_then(|modules| modules.first_overlap(&self.erased)) {
            Some(range) => {
                let why = "a partition that would be erased overlaps code of FTPR that has to stay";
                Err(me.region.error("$FPT", range.start, why))
            }
            None => Ok(()),
        }
    }

    /// Nor may erasing modules hit partitions that are kept.
    pub(super) fn check_spared(&self, me: &Me<'_>, modules: Option<&ModulePlan>) -> Result<(), ImageError> {
        match modules.and_then(|modules| first_overlap(&self.spared, &modules.erased)) {
            Some(range) => {
                let why = "a module that would be erased overlaps a partition that is kept";
                Err(me.region.error("ME module", range.start, why))
            }
            None => Ok(()),
        }
    }

    pub(super) fn apply(
        &self,
        me: &Me<'_>,
        options: &Options,
        out: &mut RegionMut<'_>,
    ) -> Result<(), ImageError> {
        for range in &self.erased {
            out.erase(range, "partition")?;
        }
        let first = me.table + ENTRY;
        for (place, index) in self.kept.iter().enumerate() {
            let entry = me.region.slice(first + ENTRY * index, ENTRY, "$FPT entry")?;
            out.put(first + ENTRY * place, entry, "$FPT entry")?;
        }
        out.erase(&(first + ENTRY * self.kept.len()..first + ENTRY * me.entries), "$FPT entries")?;
        out.put32(me.table + COUNT, self.kept.len() as u32, "$FPT entry count")?;
        if options.drops_effs_flag() {
            let flags = me.region.u32(me.table + FLAGS, "$FPT flags")?;
            out.put32(me.table + FLAGS, flags & !1, "$FPT flags")?;
        }
        // The header sums to 0; before ME 11 the ROM bypass vectors above it are part of the sum.
        let summed = if me.directory { me.table } else { 0 };
        out.put(me.table + CHECKSUM, &[0], "$FPT checksum")?;
        let header = out.read().slice(summed, me.table + ENTRY - summed, "$FPT header")?;
        let sum = header.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        out.put(me.table + CHECKSUM, &[sum.wrapping_neg()], "$FPT checksum")
    }
}

/// The parts of `range` that none of `spared` has; they are in the order of their starts.
fn without(range: Range<usize>, spared: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let mut from = range.start;
    for other in spared.iter().filter(|other| other.start < range.end && other.end > range.start) {
        parts.push(from..other.start.max(from));
        from = from.max(other.end);
    }
    parts.push(from..range.end.max(from));
    parts.retain(|part| !part.is_empty());
    parts
}

fn is_code(me: &Me<'_>, index: usize) -> bool {
    me.region.is(me.table + ENTRY * (index + 1), FTPR.as_bytes())
}
