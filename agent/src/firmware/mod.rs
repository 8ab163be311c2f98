//! Firmware images as files: read once, judged by `oob-mecheck`, described to `decide`.

mod staging;

pub use staging::{Staging, lay_out};

use std::io::Read;
use std::path::Path;

use oob_mecheck::{Inspection, PchFamily, SoftDisable};
use oob_policy::Firmware;

use crate::files::open_regular;
use sha2::{Digest, Sha256};

/// The largest SPI flash in sight is 64 MiB; two of them make a dump of 128 MiB.
const LARGEST: u64 = 128 << 20;

/// An image that was read, and what it turned out to be.
pub struct Image {
    pub bytes: Vec<u8>,
    pub facts: Firmware,
}

impl Image {
    /// # Errors
    /// A sentence for people where the file cannot be read, is too large, or is no flash image.
    pub fn read(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let mut file =
            open_regular(path).map_err(|error| format!("opening firmware image {shown}: {error}"))?;
        let mut bytes = Vec::new();
        let limited = Read::by_ref(&mut file).take(LARGEST + 1).read_to_end(&mut bytes);
        limited.map_err(|error| format!("reading firmware image {shown}: {error}"))?;
        if bytes.len() as u64 > LARGEST {
            return Err(format!(
                "reading firmware image {shown}: larger than {LARGEST} bytes, so no flash dump"
            ));
        }
        let inspection =
            oob_mecheck::inspect(&bytes).map_err(|error| format!("firmware image {shown}: {error}"))?;
        let facts = describe(&bytes, &inspection);
        Ok(Self { bytes, facts })
    }
}

fn describe(bytes: &[u8], inspection: &Inspection) -> Firmware {
    let me = inspection.me.as_ref().ok();
    Firmware {
        sha256: sha256_hex(bytes),
        size: bytes.len() as u64,
        me_version: me.map(|me| me.version.to_string()),
        generation: me.map(|me| me.generation.to_string()),
        pch: match &inspection.descriptor.family {
            PchFamily::Other(_) => None,
            known => Some(known.to_string()),
        },
        soft_disable: match &inspection.soft_disable {
            SoftDisable::Possible { .. } => oob_policy::SoftDisable::Possible,
            SoftDisable::AlreadySet { .. } => oob_policy::SoftDisable::AlreadySet,
            SoftDisable::Refused(why) => oob_policy::SoftDisable::Refused(why.clone()),
        },
    }
}

pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
