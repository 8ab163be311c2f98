//! Removing an ME's code and setting its soft-disable strap, byte for byte as me_cleaner does where that is right
//! (reference/me.md 2.4; `CLEAN.md` lists where it is not).
//!
//! Everything is worked out on the untouched image first; then a copy is edited. A refusal therefore never leaves a
//! half-edited image.

mod descriptor;
mod found;
mod gen2;
mod gen3;
mod options;
mod partitions;
mod plan;
mod region;
mod relocation;
mod signatures;
mod straps;

use std::ops::Range;

use serde::Serialize;

pub use descriptor::Strap;
pub use options::Options;
pub use plan::{Fate, Piece};
pub use signatures::SignatureCheck;

use crate::bytes::ImageError;
use crate::me::Generation;
use found::{Flash, Found, Me, PAGE};
use partitions::PartitionPlan;
use plan::ModulePlan;
use region::RegionMut;

/// Room that me_cleaner leaves after the last byte that is needed, besides the page that it is in.
const SPARE: usize = 4 * PAGE;

/// Why an image was not cleaned. There is no output then, whatever was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Flags that contradict each other.
    #[error("{0}")]
    Usage(String),
    /// The image is damaged, cut off, or none.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The code that would stay is not what its maker signed.
    #[error(
        "checking the signature of FTPR at offset {offset:#x}: {why}; dump the chip again, nothing was written"
    )]
    Signature { offset: usize, why: String },
    /// The image is sound and this cannot be done to it; `cause` is a stable word.
    #[error("{text}")]
    Impossible { cause: &'static str, text: String },
}

impl Refusal {
    /// A stable word for programs.
    pub fn cause(&self) -> &'static str {
        match self {
            Self::Usage(_) => "usage",
            Self::Image(_) => "image-malformed",
            Self::Signature { .. } => "signature-invalid",
            Self::Impossible { cause, .. } => cause,
        }
    }

    pub(crate) fn impossible(cause: &'static str, text: impl Into<String>) -> Self {
        Self::Impossible { cause, text: text.into() }
    }
}

/// A cleaned copy, and what was found and done on the way.
#[derive(Debug, Clone, Serialize)]
pub struct Cleaned {
    #[serde(skip)]
    pub image: Vec<u8>,
    /// The descriptor region of the result, where it was asked for.
    #[serde(skip)]
    pub descriptor: Option<Vec<u8>>,
    /// The ME region of the result, where it was asked for and there is one.
    #[serde(skip)]
    pub me: Option<Vec<u8>>,
    /// Whether `image` differs from the input.
    pub changed: bool,
    /// A full flash image, or an ME region alone.
    pub full: bool,
    /// None where the descriptor leaves the ME region unused.
    pub version: Option<String>,
    pub generation: String,
    pub partitions: Vec<Piece>,
    pub modules: Vec<Piece>,
    /// Bytes that the ME region needs from its start, where modules were removed.
    pub minimum_size: Option<usize>,
    pub straps: Vec<Strap>,
    pub signatures: Vec<SignatureCheck>,
    /// What a person should know before using the result.
    pub warnings: Vec<String>,
    /// What was done, a line a step.
    pub log: Vec<String>,
}

/// A cleaned copy of `image`: a full flash image, or an ME region alone.
///
/// # Errors
/// [`Refusal`]; a refusal means that nothing was changed.
pub fn clean(image: &[u8], options: &Options) -> Result<Cleaned, Refusal> {
    options.validate()?;
    let found = Found::read(image)?;
    permit(image, &found, options)?;
    let mut result = Cleaned::of(image, &found);
    result.straps = straps::wanted(image, &found, options)?;
    let ignition = match &found.me {
        Some(me) if found.generation == Generation::Two => gen2::is_ignition(me)?,
        _ => false,
    };
    // What is erased as a whole needs no signature to be safe.
    let whole = found.generation == Generation::One || ignition;
    if let Some(me) = &found.me {
        match signatures::before(me) {
            Err(_) if whole => {}
            checks => result.signatures = checks?,
        }
        if !whole {
            signatures::gate(me, &result.signatures)?;
        }
    }

    let mut end = None;
    let mut moved_to = None;
    let mut copy = image.to_vec();
    if options.removes_code()
        && let Some(me) = &found.me
    {
        let range = me.region.base..me.region.base + me.region.len();
        let mut out = RegionMut::of(&mut copy, &range, "ME region")?;
        if whole {
            out.erase(&(0..me.region.len()), "ME region")?;
            result.log.push("erased the whole ME region: this generation needs nothing of it".into());
            end = (found.generation == Generation::One).then_some(0);
        } else {
            let kept = remove(me, options, &mut out, &mut result)?;
            (end, moved_to) = (kept.end, kept.moved_to);
        }
    }
    edit_descriptor(&found, options, &mut copy, &mut result)?;
    if let Some(me) = found.me.as_ref().filter(|_| !whole) {
        signatures::after(me, &copy, moved_to, &mut result.signatures)?;
    }
    extract(&found, options, end, &copy, &mut result)?;
    if found.flash.is_none() && options.truncate {
        match end {
            Some(size) => copy.resize(size, 0),
            None => result.log.push("nothing to cut off: the region has no known end".into()),
        }
    }
    result.changed = copy != image;
    result.image = copy;
    Ok(result)
}

impl Cleaned {
    fn of(image: &[u8], found: &Found<'_>) -> Self {
        let mut warnings = Vec::new();
        if found.flash.as_ref().is_some_and(|flash| flash.is_partial(image)) {
            warnings.push(
                "the BIOS region reaches past the end of this file: it is one chip of two, and belongs to the first"
                    .into(),
            );
        }
        if found.flash.as_ref().is_some_and(Flash::bios_is_whole_chip) {
            warnings.push(
                "the descriptor's BIOS region spans the whole chip, descriptor and ME region with it: a tool that writes \
                 the BIOS region writes the ME region too"
                    .into(),
            );
        }
        Self {
            image: Vec::new(),
            descriptor: None,
            me: None,
            changed: false,
            full: found.flash.is_some(),
            version: found.me.as_ref().map(|me| me.version.to_string()),
            generation: found.generation.to_string(),
            partitions: Vec::new(),
            modules: Vec::new(),
            minimum_size: None,
            straps: Vec::new(),
            signatures: Vec::new(),
            warnings,
            log: Vec::new(),
        }
    }
}

fn permit(image: &[u8], found: &Found<'_>, options: &Options) -> Result<(), Refusal> {
    let needs_descriptor =
        options.sets_straps() || options.lock_descriptor || options.extract_descriptor || options.extract_me;
    match &found.flash {
        None if needs_descriptor => Err(Refusal::impossible(
            "needs-full-dump",
            "-S, -s, -d, -D and -M need a full dump: this file is an ME region alone, without the descriptor that \
             holds the straps and the region map",
        )),
        None if found.generation == Generation::One && options.removes_code() => Err(Refusal::impossible(
            "needs-full-dump",
            "ME 1 to 5 is removed as a whole, and only a descriptor that says so keeps the machine booting: a full \
             dump is needed",
        )),
        Some(flash) if found.generation == Generation::One && !flash.ich => Err(Refusal::impossible(
            "descriptor-and-me-disagree",
            "the ME region holds ME 1 to 5, the descriptor is newer than ICH10: these do not belong to one machine",
        )),
        Some(flash) if options.lock_descriptor => flash.check_rights_layout(image, found.generation),
        _ => Ok(()),
    }
}

struct Kept {
    /// Bytes the region needs, or None where that is not known.
    end: Option<usize>,
    moved_to: Option<usize>,
}

/// Removes partitions and modules, and moves FTPR (reference/me.md 2.4 steps 11 to 17).
fn remove(
    me: &Me<'_>,
    options: &Options,
    out: &mut RegionMut<'_>,
    result: &mut Cleaned,
) -> Result<Kept, Refusal> {
    let partitions = PartitionPlan::of(me, options)?;
    let modules = if me.directory_erased { None } else { ModulePlan::of(me)? };
    partitions.check(me, modules.as_ref())?;
    if options.spare_kept {
        partitions.check_spared(me, modules.as_ref())?;
    }
    partitions.apply(me, options, out)?;
    if let Some(range) = partitions.lost() {
        result.warnings.push(format!(
            "a partition that is removed lies over one that is kept: {:#x} to {:#x} is erased, as me_cleaner does, so what \
             is kept is damaged; `firmware neutralize` spares it",
            me.region.base.saturating_add(range.start),
            me.region.base.saturating_add(range.end)
        ));
    }
    result.partitions = in_file(&partitions.pieces, me);
    let Some(modules) = modules else { return leave_modules(me, options, result) };
    if modules.erases_directory && !options.keep_modules {
        result.warnings.push(
            "FTPR lists place holders without code, for which its whole directory is erased, as me_cleaner does: do not \
             expect this engine to start"
                .into(),
        );
    }
    let inside = |range: &Range<usize>| range.start.min(me.region.len())..range.end.min(me.region.len());
    let already = modules.erased.iter().all(|range| me.region.is_blank(inside(range)));
    if options.keep_modules {
        result.log.push("kept all modules of FTPR".into());
    } else {
        for range in &modules.erased {
            out.erase(&inside(range), "ME module")?;
        }
        result.modules = in_file(&modules.pieces, me);
        if already {
            let removed = result.modules.iter_mut().filter(|piece| piece.fate == Fate::Removed);
            removed.for_each(|piece| piece.fate = Fate::Gone);
        }
    }
    let mut end = if options.keep_modules { me.code.end() } else { modules.end };
    let mut moved_to = None;
    if options.relocate {
        let new = relocation::relocate(me, &modules, out)?;
        end = end.saturating_sub(me.code.start - new);
        result.log.push(if new == me.code.start {
            format!("FTPR stays at {new:#x}: it cannot move further up")
        } else {
            format!("moved FTPR from {:#x} to {new:#x} of the ME region", me.code.start)
        });
        moved_to = Some(new);
    }
    let needed = (end.max(partitions.extra_end) / PAGE + 1).saturating_mul(PAGE).saturating_add(SPARE);
    // What an earlier cleaning cut off stays cut off, and is not made up again.
    let cleaned_before = me.reaches_out() || (already && partitions.erased.is_empty());
    let size = if cleaned_before { needed.min(me.region.len()) } else { needed };
    result.minimum_size = Some(size);
    result.log.push(format!("the ME region needs {size} bytes ({size:#x}) of its {:#x}", me.region.len()));
    Ok(Kept { end: Some(size), moved_to })
}

/// FTPR stays as it is where its modules cannot be told apart.
fn leave_modules(me: &Me<'_>, options: &Options, result: &mut Cleaned) -> Result<Kept, Refusal> {
    if me.reaches_out() {
        let why = "FTPR reaches past the end of the ME region: the image is cut off";
        return Err(me.region.error("FTPR partition", me.code.start, why).into());
    }
    if me.directory_erased {
        result.log.push("an earlier cleaning erased FTPR's directory: FTPR stays as it is".into());
    } else if options.truncate {
        return Err(Refusal::impossible(
            "module-headers-unknown",
            "-t needs to know where FTPR's modules end, and their headers have an unknown form; leave -t out",
        ));
    } else {
        result.log.push("the module headers have an unknown form: FTPR stays whole and where it is".into());
    }
    Ok(Kept { end: None, moved_to: None })
}

/// Straps, region table and access rights (reference/me.md 2.4 steps 8, 9, 18 and 19).
fn edit_descriptor(
    found: &Found<'_>,
    options: &Options,
    copy: &mut [u8],
    result: &mut Cleaned,
) -> Result<(), Refusal> {
    let Some(flash) = found.flash.as_ref().filter(|_| !options.check) else { return Ok(()) };
    let mut out = RegionMut::of(copy, &flash.descriptor, "descriptor region")?;
    for strap in &result.straps {
        out.put32(strap.offset, strap.after, "strap")?;
        result.log.push(if strap.before == strap.after {
            format!("{} at {:#x} is set already", strap.name, strap.offset)
        } else {
            format!("set {} at {:#x}: {:08x} to {:08x}", strap.name, strap.offset, strap.before, strap.after)
        });
    }
    if found.generation == Generation::One && found.me.is_some() && options.removes_code() {
        flash.drop_me_region(&mut out)?;
        result.log.push("marked the ME region unused in the descriptor".into());
    }
    if options.lock_descriptor {
        flash.lock(found.generation, &mut out)?;
        result.log.push("took the ME's access to other regions away".into());
    }
    Ok(())
}

/// `-D` and `-M` (reference/me.md 2.4 steps 20 and 21).
fn extract(
    found: &Found<'_>,
    options: &Options,
    end: Option<usize>,
    copy: &[u8],
    result: &mut Cleaned,
) -> Result<(), Refusal> {
    let Some(flash) = &found.flash else { return Ok(()) };
    let shrunk = end.filter(|_| options.truncate && found.me.is_some());
    let written = options.extract_descriptor || options.extract_me;
    if let Some(size) = shrunk.filter(|size| written && *size > flash.me.len()) {
        return Err(Refusal::impossible(
            "no-room-to-shrink",
            format!(
                "-t would make the ME region {size:#x} bytes, more than its {:#x}: what stays fills it; leave -t out",
                flash.me.len()
            ),
        ));
    }
    if options.extract_descriptor {
        let (descriptor, adjusted) = flash.extract(copy, shrunk)?;
        if !adjusted {
            result.warnings.push(
                "the BIOS region does not follow the ME region, so the descriptor's region map stays as it was".into(),
            );
        }
        result.descriptor = Some(descriptor);
    }
    if options.extract_me {
        if found.generation == Generation::One {
            result.warnings.push("no ME region was written out: this generation leaves none".into());
        } else {
            let range: Range<usize> = flash.me.start..flash.me.start + shrunk.unwrap_or(flash.me.len());
            result.me = Some(crate::bytes::slice(copy, range.start, range.len(), "ME region")?.to_vec());
        }
    }
    Ok(())
}

/// Pieces with file offsets in place of region offsets.
fn in_file(pieces: &[Piece], me: &Me<'_>) -> Vec<Piece> {
    let moved = |piece: &Piece| match piece.fate {
        Fate::Unlisted => piece.clone(),
        _ => Piece { offset: piece.offset.saturating_add(me.region.base), ..piece.clone() },
    };
    pieces.iter().map(moved).collect()
}
