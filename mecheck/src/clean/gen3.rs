//! Modules of ME 11, TXE 3 and SPS 4: a code partition directory (reference/me.md 2.4 step 15, second half).

use std::ops::Range;

use super::Refusal;
use super::found::{Entry, Me};
use super::plan::{ModulePlan, Piece};
use super::region::Region;
use crate::bytes::ImageError;

/// The short directory header; entries follow it.
const HEADER: usize = 0x10;
const STRIDE: usize = 0x18;
/// These start the engine and are checked together; `.man` and `.met` carry their signature and hashes.
const KEPT_PREFIXES: [&str; 4] = ["rbe", "kernel", "syslib", "bup"];
const KEPT_SUFFIXES: [&str; 2] = [".man", ".met"];

pub(super) struct Module {
    pub(super) name: String,
    /// From the start of the partition.
    pub(super) offset: usize,
}

/// The directory's entries in its own order.
pub(super) fn directory(region: Region<'_>, code: &Entry) -> Result<Vec<Module>, ImageError> {
    let count = region.size(code.start.saturating_add(4), "$CPD entry count")?;
    let table = code.start.saturating_add(HEADER);
    region.slice(table, count.saturating_mul(STRIDE), "$CPD entries")?;
    (0..count)
        .map(|index| {
            let at = table + STRIDE * index;
            let name = region.slice(at, 12, "$CPD entry")?;
            let name =
                name.iter().rposition(|byte| *byte != 0).and_then(|last| name.get(..=last)).unwrap_or(&[]);
            if !name.iter().all(u8::is_ascii_graphic) {
                let why = format!("the name `{}` is not plain text", name.escape_ascii());
                return Err(region.error("$CPD entry", at, why));
            }
            let offset = region.size(at + 0xc, "$CPD entry offset")? & 0x01ff_ffff;
            Ok(Module { name: name.escape_ascii().to_string(), offset })
        })
        .collect()
}

/// What becomes of the modules: each spans to the start of the next one.
pub(super) fn plan(me: &Me<'_>) -> Result<ModulePlan, Refusal> {
    let (region, code) = (me.region, &me.code);
    let mut modules = directory(region, code)?;
    let first_entry = HEADER + STRIDE * modules.len();
    let inside = |module: &Module| module.offset == 0 || (first_entry..=code.len).contains(&module.offset);
    if let Some(wrong) = modules.iter().find(|module| !inside(module)) {
        let at = code.start.saturating_add(wrong.offset);
        let why = format!("module {} lies outside its partition", wrong.name);
        return Err(region.error("$CPD entry", at, why).into());
    }
    modules.sort_by_key(|module| module.offset);
    let ends: Vec<usize> = modules.iter().skip(1).map(|next| next.offset).chain([code.len]).collect();
    let head = code.start..code.start.saturating_add(first_entry);
    let mut plan = ModulePlan::default();
    for (module, end) in modules.into_iter().zip(ends) {
        let range: Range<usize> = code.start.saturating_add(module.offset)..code.start.saturating_add(end);
        let kept = KEPT_PREFIXES.iter().any(|prefix| module.name.starts_with(prefix))
            || KEPT_SUFFIXES.iter().any(|suffix| module.name.ends_with(suffix));
        // A place holder without code has offset 0, so that it seems to span the directory itself, which me_cleaner
        // erases with it (TXE 4).
        plan.erases_directory |= !kept && module.offset == 0 && end != 0;
        if kept {
            plan.end = plan.end.max(range.end);
            plan.kept.push(range.clone());
        } else {
            plan.erased.push(range.clone());
        }
        plan.pieces.push(Piece::new(&module.name, &range, kept));
    }
    if !plan.erases_directory {
        plan.kept.push(head);
    }
    Ok(plan)
}
