//! Firmware images as files: read once, judged by `oob-mecheck`, described to `decide`.

pub mod clean;
pub mod inspect;
mod inspect_text;
pub mod outlook;
mod outputs;
pub mod stage;
mod staging;
pub mod verify;

pub use inspect_text::text as inspection_text;
pub use staging::{Binding, Staging, lay_out};

use std::fs::{self, DirBuilder};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use oob_mecheck::fit::BootGuard;
use oob_mecheck::gates::ChangeKind;
use oob_mecheck::neutralize::{Method, Neutralized, Options, needed, neutralize};
use oob_mecheck::{Descriptor, Inspection, PchFamily};
use oob_policy::{CleanVerdict, Firmware, ImageSource};

use crate::files::open_regular;
use crate::machine::{FlashChip, LARGEST_FLASH, Machine};
use sha2::{Digest, Sha256};

/// An image that was read, and what it turned out to be.
pub struct Image {
    pub bytes: Vec<u8>,
    pub facts: Firmware,
}

impl Image {
    /// The image in a file that the operator named.
    ///
    /// # Errors
    /// A sentence for people where the file cannot be read, is too large, or is no flash image.
    pub fn read(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let bytes = read(path)?;
        let inspection =
            oob_mecheck::inspect(&bytes).map_err(|error| format!("firmware image {shown}: {error}"))?;
        let facts = describe(&bytes, &inspection, ImageSource::Given);
        Ok(Self { bytes, facts })
    }

    /// What this machine's own chip holds. `directory` is used for the readings, made anew before and removed
    /// afterwards: of a dump only what is staged is kept.
    ///
    /// # Errors
    /// A sentence for people where the chip cannot be read, by the evidence at hand, or holds no flash image.
    pub async fn from_chip(machine: &Machine, directory: &Path) -> Result<Self, String> {
        let scratch = Scratch::make(directory)
            .map_err(|error| format!("making {} for the readings: {error}", directory.display()))?;
        let FlashChip { bytes, notes } = machine.read_flash(scratch.0).await?;
        let inspection = oob_mecheck::inspect(&bytes)
            .map_err(|error| format!("what the chip holds is no flash image: {error}"))?;
        let mut facts = describe(&bytes, &inspection, ImageSource::Chip);
        facts.warnings.extend(notes);
        Ok(Self { bytes, facts })
    }
}

/// A whole file that may be a flash dump.
///
/// # Errors
/// A sentence for people where it cannot be read or is larger than any flash.
pub fn read(path: &Path) -> Result<Vec<u8>, String> {
    let shown = path.display();
    let mut file = open_regular(path).map_err(|error| format!("opening firmware image {shown}: {error}"))?;
    let mut bytes = Vec::new();
    let limited = Read::by_ref(&mut file).take(LARGEST_FLASH + 1).read_to_end(&mut bytes);
    limited.map_err(|error| format!("reading firmware image {shown}: {error}"))?;
    if bytes.len() as u64 > LARGEST_FLASH {
        return Err(format!(
            "reading firmware image {shown}: larger than {LARGEST_FLASH} bytes, so no flash dump"
        ));
    }
    Ok(bytes)
}

/// A directory that nobody else may read and that does not outlive the reading.
struct Scratch<'a>(&'a Path);

impl<'a> Scratch<'a> {
    fn make(directory: &'a Path) -> io::Result<Self> {
        // A run that was killed may have left one.
        match fs::remove_dir_all(directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        DirBuilder::new().mode(0o700).create(directory)?;
        Ok(Self(directory))
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(self.0) {
            crate::log::problem(&format!(
                "removing the readings in {}: {error}; remove them",
                self.0.display()
            ));
        }
    }
}

/// What each method would make of the image is found by making it: the same gates judge here as when it is staged.
fn describe(bytes: &[u8], inspection: &Inspection, source: ImageSource) -> Firmware {
    let me = inspection.me.as_ref().ok();
    let made = |method| neutralize(bytes, &Options { method, keep: None });
    let (set, cleaned) = (made(Method::SoftDisable), made(Method::CleanAndSoftDisable));
    let warnings = |made: &Result<Neutralized, _>| -> Vec<String> {
        made.iter().flat_map(|made| made.warnings.iter().map(|warning| warning.text.clone())).collect()
    };
    let always = warnings(&set);
    let family = inspection.descriptor.family;
    let family = me.map_or(family, |me| family.with_me(me.version));
    Firmware {
        source,
        sha256: sha256_hex(bytes),
        size: bytes.len() as u64,
        me_version: me.map(|me| me.version.to_string()),
        generation: me.map(|me| me.generation.to_string()),
        pch: (family != PchFamily::Unknown).then(|| family.word().to_owned()),
        soft_disable: match &set {
            Ok(made) if made.changes.is_empty() => oob_policy::SoftDisable::AlreadySet,
            Ok(_) => oob_policy::SoftDisable::Possible,
            Err(refusal) => oob_policy::SoftDisable::Refused(refusal.to_string()),
        },
        clean: match &cleaned {
            Ok(made) if made.changes.iter().all(|change| change.kind == ChangeKind::Strap) => {
                CleanVerdict::AlreadyClean
            }
            Ok(_) => CleanVerdict::Possible,
            Err(refusal) => CleanVerdict::Refused(refusal.to_string()),
        },
        keep: me.map(needed).unwrap_or_default(),
        boot_guard: boot_guard(bytes),
        clean_warnings: warnings(&cleaned).into_iter().filter(|text| !always.contains(text)).collect(),
        warnings: always,
    }
}

/// The manifests with which Boot Guard could be enforced; whether it is, stands in fuses. A table that cannot be read
/// may hold anything, so it counts.
pub(crate) fn boot_guard(image: &[u8]) -> Option<String> {
    let found = match Descriptor::parse(image) {
        Ok(descriptor) => BootGuard::in_flash(image, &descriptor),
        Err(_) => BootGuard::find(image),
    };
    match found {
        Ok(Some(guard)) if guard.is_complete() => {
            Some(format!("Boot Guard's key manifest and boot policy manifest (FIT at {:#x})", guard.fit))
        }
        Ok(_) => None,
        Err(error) => Some(format!("a table for Boot Guard's manifests that is broken ({error})")),
    }
}

pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
