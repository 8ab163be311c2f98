//! The strap that asks the ME to stop after bring-up, known as HAP (reference/me.md 1.5).

use crate::bytes::u32_at;
use crate::descriptor::{Descriptor, PchFamily};
use crate::me::{Generation, MeImage};
use crate::{ImageError, inspect};

/// PCHSTRP0 bit 16 on Sunrise and Kaby Point.
const HAP: u32 = 1 << 16;
/// PCHSTRP0 of stock descriptors with bit 16 masked (reference/me.md 1.5, real descriptors). Anything else is not
/// known to be this strap, and is refused.
const STOCK: [u32; 4] = [0x0000_0002, 0x0050_0000, 0x0090_0000, 0x00d0_0000];

/// What this build can do with an image's soft-disable strap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SoftDisable {
    /// The strap dword lies at this file offset and its bit is clear.
    Possible { offset: usize },
    /// The located bit is set already.
    AlreadySet { offset: usize },
    /// No strap may be written; the text says which evidence is missing.
    Refused(String),
}

/// Why an image was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error("setting the soft-disable strap: {0}")]
    Refused(String),
}

/// One changed byte range.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Change {
    /// File offset of the first byte.
    pub offset: usize,
    /// Bytes before, then after.
    pub old: Vec<u8>,
    pub new: Vec<u8>,
    pub what: &'static str,
}

/// A changed copy of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neutralized {
    pub image: Vec<u8>,
    /// Empty where the strap was set already.
    pub changes: Vec<Change>,
}

impl SoftDisable {
    pub(crate) fn of(image: &[u8], descriptor: &Descriptor, me: Result<&MeImage, &ImageError>) -> Self {
        match locate(image, descriptor, me) {
            Ok((offset, strap)) if strap & HAP != 0 => Self::AlreadySet { offset },
            Ok((offset, _)) => Self::Possible { offset },
            Err(why) => Self::Refused(why),
        }
    }
}

/// A copy of `image` with the soft-disable strap set, and proof that nothing else changed.
///
/// # Errors
/// [`Refusal`] where PCH family, ME major or the strap's constant bits do not agree.
pub fn set_soft_disable(image: &[u8]) -> Result<Neutralized, Refusal> {
    let offset = match inspect(image)?.soft_disable {
        SoftDisable::AlreadySet { .. } => {
            return Ok(Neutralized { image: image.to_vec(), changes: Vec::new() });
        }
        SoftDisable::Refused(why) => return Err(Refusal::Refused(why)),
        SoftDisable::Possible { offset } => offset,
    };
    let strap = u32_at(image, offset, "PCHSTRP0")?;
    let (old, new) = (strap.to_le_bytes(), (strap | HAP).to_le_bytes());
    let mut result = image.to_vec();
    if let Some(bytes) = result.get_mut(offset..offset + 4) {
        bytes.copy_from_slice(&new);
    }
    prove_only_the_strap_changed(image, &result, offset)?;
    let what = "PCHSTRP0 bit 16 (HAP)";
    Ok(Neutralized {
        image: result,
        changes: vec![Change { offset, old: old.into(), new: new.into(), what }],
    })
}

fn locate(
    image: &[u8],
    descriptor: &Descriptor,
    me: Result<&MeImage, &ImageError>,
) -> Result<(usize, u32), String> {
    let me = me.map_err(|error| format!("the ME image could not be read ({error})"))?;
    if descriptor.flash_end() > image.len() {
        return Err(format!(
            "partial dump: regions reach {:#x}, the file ends at {:#x}; join the dumps of all flash chips",
            descriptor.flash_end(),
            image.len()
        ));
    }
    if let PchFamily::Other(evidence) = &descriptor.family {
        return Err(format!("this build sets the strap of Skylake and Kaby Lake only; found {evidence}"));
    }
    if me.generation != Generation::Three || me.version.major != 11 {
        return Err(format!(
            "the descriptor is Sunrise or Kaby Point, which needs ME 11, but the ME image is {} ({})",
            me.version, me.generation
        ));
    }
    let offset = descriptor.strap_base;
    let strap = u32_at(image, offset, "PCHSTRP0").map_err(|error| error.to_string())?;
    if !STOCK.contains(&(strap & !HAP)) {
        return Err(format!(
            "PCHSTRP0 at {offset:#x} is {strap:#010x}, which matches no known stock pattern"
        ));
    }
    Ok((offset, strap))
}

/// The safety gate of reference/me.md 5: everything but the whitelisted bit is the same, and the region map too.
fn prove_only_the_strap_changed(before: &[u8], after: &[u8], offset: usize) -> Result<(), Refusal> {
    let differs = before.len() != after.len()
        || before.iter().zip(after).enumerate().any(|(at, (old, new))| old != new && at != offset + 2);
    let strap = |image: &[u8]| u32_at(image, offset, "PCHSTRP0");
    if differs
        || strap(before)? ^ strap(after)? != HAP
        || Descriptor::parse(after)?.regions != Descriptor::parse(before)?.regions
    {
        return Err(Refusal::Refused("more than the strap bit would change; nothing was written".into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::me::fixture::sunrise;

    #[test]
    fn sets_one_bit_and_is_idempotent() {
        for stock in STOCK {
            let image = sunrise(stock, 11);
            let once = set_soft_disable(&image).unwrap();
            assert_eq!(once.changes.len(), 1);
            let bits: u32 = image.iter().zip(&once.image).map(|(a, b)| (a ^ b).count_ones()).sum();
            assert_eq!(bits, 1);
            assert_eq!(once.image[0x102], image[0x102] | 1);
            let twice = set_soft_disable(&once.image).unwrap();
            assert_eq!((twice.image, twice.changes), (once.image, Vec::new()));
        }
    }

    #[test]
    fn refuses_and_says_which_evidence_is_missing() {
        let refusal = |image: &[u8]| set_soft_disable(image).unwrap_err().to_string();
        assert!(refusal(&sunrise(2, 12)).contains("needs ME 11"));
        assert!(refusal(&sunrise(0x1234_5678, 11)).contains("no known stock pattern"));
        let mut other = sunrise(2, 11);
        other[0x1e] = 0x34; // ICCRIBA of Cannon Point
        assert!(refusal(&other).contains("Skylake and Kaby Lake only"));
        assert!(refusal(&sunrise(2, 11)[..0x6000]).contains("partial dump"));
        let mut empty = sunrise(2, 11);
        empty[0x1000..0x4000].fill(0xff);
        assert!(refusal(&empty).contains("empty"));
    }
}
