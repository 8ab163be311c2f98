//! Code versions (0x0400001A): what AMT this is, its SKU and build.

use super::{Command, Payload, PthiError};
use crate::bytes::text_until_nul;

/// Asks for the BIOS version and the versions of the firmware's modules.
#[derive(Debug, Clone, Copy)]
pub struct GetCodeVersions;

/// The answer: a list of (description, version), with the entries that matter by name.
/// All texts are foreign and must be escaped where shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeVersions {
    /// The BIOS version, up to 65 characters.
    pub bios: String,
    /// Description and version, in the firmware's order; at most 50.
    pub entries: Vec<(String, String)>,
}

impl CodeVersions {
    /// The version under a description, as `AMT`, `Sku`, `Netstack`, `Build Number`.
    pub fn get(&self, description: &str) -> Option<&str> {
        self.entries.iter().find(|entry| entry.0 == description).map(|entry| entry.1.as_str())
    }

    /// The AMT version without the build, as `16.0.15`.
    pub fn amt(&self) -> Option<&str> {
        self.get("AMT")
    }

    /// The AMT major version.
    pub fn amt_major(&self) -> Option<u32> {
        self.amt()?.split('.').next()?.trim().parse().ok()
    }

    /// The network stack's version.
    pub fn netstack(&self) -> Option<&str> {
        self.get("Netstack")
    }

    /// The build number.
    pub fn build(&self) -> Option<&str> {
        self.get("Build Number")
    }

    /// The full firmware version that advisories are compared with: AMT and build, as `12.0.67.1579`.
    pub fn full_version(&self) -> Option<String> {
        Some(format!("{}.{}", self.amt()?, self.build()?))
    }

    /// The SKU bits, where the entry is there and a number.
    pub fn sku(&self) -> Option<Sku> {
        self.get("Sku")?.trim().parse().ok().map(Sku)
    }
}

/// The SKU bits of AMT 5 and later (`reference/amt.md` 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sku(pub u32);

impl Sku {
    /// Full AMT ("AMT Pro").
    pub fn is_amt_pro(self) -> bool {
        self.0 & 0x08 != 0
    }

    /// Intel Standard Manageability: AMT without KVM.
    pub fn is_standard_manageability(self) -> bool {
        self.0 & 0x10 != 0
    }

    /// Home IT SKU.
    pub fn is_home_it(self) -> bool {
        self.0 & 0x100 != 0
    }

    /// WOX.
    pub fn has_wox(self) -> bool {
        self.0 & 0x400 != 0
    }

    /// Anti-theft (AT-p).
    pub fn has_anti_theft(self) -> bool {
        self.0 & 0x2000 != 0
    }

    /// Corporate firmware.
    pub fn is_corporate(self) -> bool {
        self.0 & 0x4000 != 0
    }
}

impl Command for GetCodeVersions {
    type Reply = CodeVersions;
    const NAME: &'static str = "GetCodeVersions";
    const CODE: u32 = 0x0400_001a;
    const MUTATING: bool = false;

    fn read(&self, mut payload: Payload<'_>) -> Result<CodeVersions, PthiError> {
        let bios = text_until_nul(payload.take(BIOS_VERSION)?);
        let count = payload.u32()?;
        if count > MOST_ENTRIES {
            return Err(payload.malformed(4));
        }
        // The wire carries `count` entries, not the 50 of the structure.
        let entries = (0..count)
            .map(|_| Ok((read_version_text(&mut payload)?, read_version_text(&mut payload)?)))
            .collect::<Result<_, PthiError>>()?;
        Ok(CodeVersions { bios, entries })
    }
}

/// u16 length, then always 20 bytes.
fn read_version_text(payload: &mut Payload<'_>) -> Result<String, PthiError> {
    let length = usize::from(payload.u16()?);
    let field = payload.take(VERSION_TEXT)?;
    let text = field.get(..length).ok_or_else(|| payload.malformed(2 + VERSION_TEXT))?;
    Ok(text_until_nul(text))
}

const BIOS_VERSION: usize = 65;
const VERSION_TEXT: usize = 20;
const MOST_ENTRIES: u32 = 50;
