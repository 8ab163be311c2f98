//! Which straps are written: those that reference/me.md 1.4 and 1.5 know for this PCH and this ME, and no other.

use super::Refusal;
use super::descriptor::Strap;
use super::found::{Flash, Found};
use super::options::Options;
use crate::descriptor::{Descriptor, PchFamily, Warning};
use crate::me::{Generation, MeImage};
use crate::soft_disable::{LocatedStrap, SoftDisable};

/// The straps to set; empty where none was asked for. ME 1 to 5 is removed as a whole, which takes its straps with or
/// without `-S`.
///
/// # Errors
/// [`Refusal::Impossible`] where PCH, ME and the strap's constant bits do not agree.
pub(super) fn wanted(image: &[u8], found: &Found<'_>, options: &Options) -> Result<Vec<Strap>, Refusal> {
    let Some(flash) = found.flash.as_ref().filter(|_| !options.check) else { return Ok(Vec::new()) };
    let oldest = found.generation == Generation::One;
    if !oldest && !options.sets_straps() {
        return Ok(Vec::new());
    }
    let mut descriptor = Descriptor::parse(image)?;
    // Chip 1 of 2 holds descriptor and ME as a whole, and so does a BIOS region over all of the chip; `Found` told both from
    // dumps that are cut off and maps that contradict themselves.
    let whole_chip = flash.bios_is_whole_chip();
    descriptor.warnings.retain(|warning| match warning {
        Warning::PartialDump { .. } => false,
        Warning::RegionsOverlap { first, second, .. } => !(whole_chip && [first, second].contains(&&"bios")),
        _ => true,
    });
    if oldest {
        // A strap that lies in the region map, for one, would move the regions.
        if let Some(warning) = descriptor.warnings.iter().find(|warning| warning.forbids_writing()) {
            return Err(refuse(&warning.to_string()));
        }
        return match descriptor.family {
            PchFamily::Ich8 | PchFamily::Ich9 | PchFamily::Ich10 => Ok(flash.old_straps(image)?),
            other => Err(refuse(&format!("ME 1 to 5 needs ICH8 to ICH10, the descriptor is {other}"))),
        };
    }
    let me = MeImage::in_flash(image, &descriptor);
    match SoftDisable::of(image, &descriptor, me.as_ref()) {
        SoftDisable::Possible { straps } | SoftDisable::AlreadySet { straps } => {
            straps.iter().map(|strap| as_me_cleaner(flash, found.generation, strap)).collect()
        }
        SoftDisable::Refused(why) => Err(refuse(&why)),
    }
}

/// The strap, where it is the one that me_cleaner writes: dword 0 bit 16 or dword 10 bit 7. A command that promises its
/// results writes no other, and must not write that one where the table has another.
fn as_me_cleaner(flash: &Flash, generation: Generation, strap: &LocatedStrap) -> Result<Strap, Refusal> {
    let (offset, bit) = if generation == Generation::Two { (0x28, 7) } else { (0, 16) };
    if (strap.offset, strap.bit) != (flash.straps_at + offset, bit) {
        return Err(refuse(&format!(
            "on this PCH it is {} at {:#x}; me_cleaner would set bit {bit} at {:#x}, which means something else there",
            strap.what,
            strap.offset,
            flash.straps_at + offset
        )));
    }
    Ok(Strap {
        name: strap.what.to_owned(),
        offset: strap.offset,
        before: strap.value,
        after: strap.value | 1 << strap.bit,
    })
}

fn refuse(why: &str) -> Refusal {
    Refusal::impossible(
        "strap-refused",
        format!(
            "setting the soft-disable strap: {why}. Without -S the code can still be removed; `firmware neutralize` knows the \
             straps of every PCH and sets those of a dump whose descriptor and ME belong together"
        ),
    )
}
