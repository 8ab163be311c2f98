//! Edits of the descriptor: straps of the oldest generation, access rights, and the region map of a shrunk image
//! (reference/me.md 1.2, 1.4, 2.4 steps 8, 9, 19 and 20).

use std::ops::Range;

use serde::Serialize;

use super::Refusal;
use super::found::Flash;
use super::region::{Region, RegionMut};
use crate::bytes::ImageError;
use crate::descriptor::{Descriptor, IfdVersion, PchFamily};
use crate::me::Generation;

/// A strap dword that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Strap {
    pub name: String,
    /// File offset of the dword.
    pub offset: usize,
    pub before: u32,
    pub after: u32,
}

/// FLREG2 of a region that is not used.
const UNUSED: u32 = 0x1fff;

impl Flash {
    /// The two straps that keep ME 1 to 5 from starting: bit 0 of ICHSTRP0 and of MCHSTRP0.
    pub(super) fn old_straps(&self, image: &[u8]) -> Result<Vec<Strap>, ImageError> {
        let region = Region::of(image, &self.descriptor, "descriptor region")?;
        [("ICHSTRP0", self.straps_at), ("MCHSTRP0", self.hub_straps_at)]
            .into_iter()
            .map(|(name, offset)| {
                if offset < 0x20 {
                    let why = format!("{name} would lie at {offset:#x}, inside the descriptor's own map");
                    return Err(ImageError::new("flash descriptor map", 8, why));
                }
                let before = region.u32(offset, "strap")?;
                Ok(Strap { name: format!("{name} bit 0 (MeDisable)"), offset, before, after: before | 1 })
            })
            .collect()
    }

    /// Marks region 2 unused, as descriptors without ME have it.
    pub(super) fn drop_me_region(&self, out: &mut RegionMut<'_>) -> Result<(), ImageError> {
        out.put32(self.regions_at + 8, UNUSED, "FLREG2")
    }

    /// The ME's generation says how access rights are written; a descriptor that is known to write them otherwise does not
    /// belong to it.
    pub(super) fn check_rights_layout(&self, image: &[u8], generation: Generation) -> Result<(), Refusal> {
        let Ok(descriptor) = Descriptor::parse(image) else { return Ok(()) };
        let newer = matches!(generation, Generation::Three | Generation::Ifwi);
        if descriptor.family == PchFamily::Unknown || (descriptor.version == IfdVersion::V2) == newer {
            return Ok(());
        }
        Err(Refusal::impossible(
            "descriptor-and-me-disagree",
            format!(
                "-d writes access rights in the form of the ME, {generation}, but the descriptor is {}: these do not \
                 belong to one machine",
                descriptor.family
            ),
        ))
    }

    /// Leaves the ME no access but to its own region. The newer form keeps reading the descriptor, without which some
    /// boards hang (reference/me.md 1.2).
    pub(super) fn lock(&self, generation: Generation, out: &mut RegionMut<'_>) -> Result<(), ImageError> {
        let at = self.masters_at + 4;
        if self.masters_at < 0x20 {
            return Err(ImageError::new(
                "flash descriptor map",
                8,
                "FMBA points into the descriptor's own map",
            ));
        }
        let old = out.read().u32(at, "FLMSTR2")?;
        let new = match generation {
            Generation::Three | Generation::Ifwi => 0x0040_0500,
            Generation::One | Generation::Two => (old | 0x0404_0000) & 0x0404_ffff,
        };
        out.put32(at, new, "FLMSTR2")
    }

    /// The descriptor region of `image`; with `shrunk` bytes of ME the BIOS region takes the rest over, where it
    /// follows. The flag says whether it did.
    pub(super) fn extract(&self, image: &[u8], shrunk: Option<usize>) -> Result<(Vec<u8>, bool), ImageError> {
        let mut copy = Region::of(image, &self.descriptor, "descriptor region")?.bytes.to_vec();
        let follows = !self.me.is_empty() && self.bios.start == self.me.end;
        let Some(size) = shrunk.filter(|_| follows) else { return Ok((copy, shrunk.is_none())) };
        let end = self.me.start.saturating_add(size);
        let whole = 0..copy.len();
        let mut out = RegionMut::of(&mut copy, &whole, "descriptor region")?;
        out.put32(self.regions_at + 4, encode(&(end..self.bios.end)), "FLREG1")?;
        out.put32(self.regions_at + 8, encode(&(self.me.start..end)), "FLREG2")?;
        Ok((copy, true))
    }
}

fn encode(range: &Range<usize>) -> u32 {
    let base = (range.start & 0x07ff_f000) >> 12;
    let limit = (range.end.saturating_sub(1) & 0x07ff_f000) << 4;
    (base | limit) as u32
}
