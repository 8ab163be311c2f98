//! Flash and ME images, read and changed as pure functions on byte slices.
//!
//! This crate opens no file and knows no device. Every input is hostile: each read is checked against the slice, and
//! an error names the offset. It never guesses: a strap bit is set only where PCH family, ME major and the strap's
//! constant bits agree (reference/me.md 1.5), otherwise the refusal says which of them did not.
//!
//! It reads descriptors from ICH8 to Meteor Lake and ME images of every generation, checks every manifest's signature,
//! removes code from ME 1 to 11 ([`clean`]), sets the soft-disable strap of every PCH whose place is known, and does
//! either behind gates that prove what differs ([`neutralize`]).

#![forbid(unsafe_code)]

mod bytes;
pub mod clean;
pub mod container;
mod descriptor;
pub mod fit;
pub mod gates;
pub mod manifest;
pub mod me;
pub mod neutralize;
pub mod signature;
mod soft_disable;
mod straps;
pub mod uefi;
pub mod warnings;

pub use bytes::ImageError;
pub use descriptor::{
    Components, Descriptor, IfdVersion, Maps, Master, PchFamily, ProtectedRange, Region,
    Warning as DescriptorWarning,
};
pub use me::{Generation, MeImage, Version};
pub use soft_disable::{
    Candidate, LocatedStrap, Misplaced, SoftDisable, StrapChange, StrapReading, StrapRefusal, StrapState,
    StrapsSet, set_soft_disable,
};
pub use straps::{Confidence, Table};

/// What an image turned out to be.
#[derive(Debug, Clone)]
pub struct Inspection {
    pub descriptor: Descriptor,
    /// None where the ME region is unused, all FF or not understood; the error says why.
    pub me: Result<MeImage, ImageError>,
    pub soft_disable: SoftDisable,
    /// What the located strap holds, whether or not it may be written.
    pub strap: StrapReading,
}

/// Reads a full flash image: a descriptor and the ME region it names.
///
/// # Errors
/// [`ImageError`] where there is no flash descriptor or its tables lie outside the file.
pub fn inspect(image: &[u8]) -> Result<Inspection, ImageError> {
    let descriptor = Descriptor::parse(image)?;
    let me = MeImage::in_flash(image, &descriptor);
    let soft_disable = SoftDisable::of(image, &descriptor, me.as_ref());
    let strap = StrapReading::of(image, &descriptor, me.as_ref().ok().map(|me| me.version));
    Ok(Inspection { descriptor, me, soft_disable, strap })
}
