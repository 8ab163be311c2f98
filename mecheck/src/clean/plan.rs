//! What a cleaning would do, worked out on the untouched image.

use std::ops::Range;

use serde::Serialize;

use super::found::Me;
use super::{Refusal, gen2, gen3};
use crate::bytes::ImageError;

/// A partition or a module, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Piece {
    /// Escaped where it is not plain text.
    pub name: String,
    /// File offset and bytes before the cleaning; 0 and 0 where the piece has no place in flash.
    pub offset: usize,
    pub size: usize,
    pub fate: Fate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    Kept,
    Removed,
    /// An earlier cleaning removed it.
    Gone,
    /// Its table entry went, and there was nothing in flash to remove.
    Unlisted,
}

impl Piece {
    pub(super) fn new(name: &str, range: &Range<usize>, kept: bool) -> Self {
        let fate = if kept { Fate::Kept } else { Fate::Removed };
        Self { name: name.to_owned(), offset: range.start, size: range.len(), fate }
    }
}

/// What becomes of FTPR's modules; all offsets count from the start of the region.
#[derive(Debug, Default)]
pub(super) struct ModulePlan {
    pub(super) erased: Vec<Range<usize>>,
    pub(super) kept: Vec<Range<usize>>,
    pub(super) pieces: Vec<Piece>,
    /// Where the last kept module ends.
    pub(super) end: usize,
    /// Generation 2: the table that Huffman modules share.
    pub(super) lookup: Option<usize>,
    /// Generation 3: the directory goes with the modules.
    pub(super) erases_directory: bool,
}

impl ModulePlan {
    /// None where generation 2's module headers have an unknown form, which me_cleaner leaves alone.
    pub(super) fn of(me: &Me<'_>) -> Result<Option<Self>, Refusal> {
        let plan = if me.directory { Some(gen3::plan(me)?) } else { gen2::plan(me)? };
        if let Some(plan) = &plan {
            plan.check(me)?;
        }
        Ok(plan)
    }

    /// Kept code lies in the region, apart from what is erased; and where FTPR reaches past the region, an earlier
    /// cleaning shrank it, so that all that is left to erase is erased already.
    fn check(&self, me: &Me<'_>) -> Result<(), ImageError> {
        let region = me.region;
        if let Some(lost) = self.kept.iter().find(|range| range.end > region.len()) {
            let why = "it reaches past the end of the ME region: the image is cut off";
            return Err(region.error("kept ME module", lost.start, why));
        }
        if let Some(range) = self.first_overlap(&self.erased) {
            let why = "a module that would be erased overlaps one that is kept";
            return Err(region.error("ME module", range.start, why));
        }
        // Cut off with the empty rest of the region, such a module would make a second cleaning fail.
        if let Some(range) = self.erased.iter().find(|range| !range.is_empty() && range.end > me.code.end()) {
            return Err(region.error(
                "ME module",
                range.start,
                "it reaches past the FTPR partition that lists it",
            ));
        }
        let inside = |range: &Range<usize>| range.start.min(region.len())..range.end.min(region.len());
        if !me.reaches_out() {
            return match self.erased.iter().find(|range| range.end > region.len()) {
                Some(range) => Err(region.error("ME module", range.start, "it reaches past the ME region")),
                None => Ok(()),
            };
        }
        match self.erased.iter().map(inside).find(|range| !region.is_blank(range.clone())) {
            Some(range) => Err(region.error(
                "FTPR partition",
                range.start,
                format!("FTPR ends at {:#x}, past the ME region: the image is cut off", me.code.end()),
            )),
            None => Ok(()),
        }
    }

    /// The first of `ranges` that touches a kept one.
    pub(super) fn first_overlap<'r>(&self, ranges: &'r [Range<usize>]) -> Option<&'r Range<usize>> {
        first_overlap(&self.kept, ranges)
    }
}

/// The first of `ranges` that touches one of `kept`.
pub(super) fn first_overlap<'r>(
    kept: &[Range<usize>],
    ranges: &'r [Range<usize>],
) -> Option<&'r Range<usize>> {
    let mut kept: Vec<&Range<usize>> = kept.iter().filter(|range| !range.is_empty()).collect();
    kept.sort_by_key(|range| range.start);
    // Ends grow with starts only where kept ranges are disjoint; the running maximum holds for any input.
    let mut reach = 0;
    let reaches: Vec<usize> = kept
        .iter()
        .map(|range| {
            reach = range.end.max(reach);
            reach
        })
        .collect();
    ranges.iter().filter(|range| !range.is_empty()).find(|range| {
        let before = kept.partition_point(|kept| kept.start < range.end);
        before.checked_sub(1).and_then(|last| reaches.get(last)).is_some_and(|reach| *reach > range.start)
    })
}
