//! What a manifest says about the product line it is for. A hint: the fuses of the machine have the last word.

use serde::Serialize;

use crate::bytes::{slice, u32_at};
use crate::manifest::Manifest;

/// Client system information, an extension of the FTPR manifest from CSE on.
const SYSTEM_INFO: u32 = 0xc;
/// Its attributes, counted from the extension's start.
const ATTRIBUTES: usize = 0x28;
const MAX_EXTENSIONS: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Sku {
    /// Low word of the attributes, as stored.
    pub attributes: u32,
    /// Bits 6:4 of it, where they have a known meaning.
    pub kind: Option<SkuKind>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SkuKind {
    Corporate,
    Consumer,
    Slim,
}

impl Sku {
    /// None where the manifest is older than CSE or has no such extension.
    pub(super) fn of(image: &[u8], manifest: &Manifest) -> Option<Self> {
        let end = manifest.offset + manifest.size;
        let mut at = manifest.offset + manifest.header_len;
        for _ in 0..MAX_EXTENSIONS {
            let what = "manifest extension";
            let (tag, len) = (u32_at(image, at, what).ok()?, u32_at(image, at + 4, what).ok()? as usize);
            let next = at.checked_add(len).filter(|next| len >= 8 && *next <= end)?;
            if tag == SYSTEM_INFO {
                let bytes = slice(image, at, len, what).ok()?;
                let attributes = u32_at(bytes, ATTRIBUTES, what).ok()?;
                let kind = match attributes >> 4 & 7 {
                    0 => Some(SkuKind::Corporate),
                    1 => Some(SkuKind::Consumer),
                    2 => Some(SkuKind::Slim),
                    _ => None,
                };
                return Some(Self { attributes, kind });
            }
            at = next;
        }
        None
    }
}

/// ME 6 without a management engine to speak of: behind the modules stands `$SKU`, and its last word is 0
/// (reference/me.md 2.4 step 10).
pub(super) fn is_ignition(image: &[u8], manifest: &Manifest) -> bool {
    let count = manifest.modules as usize;
    let table = manifest.offset.saturating_add(manifest.header_len + 0xc);
    let at =
        count.checked_add(1).and_then(|count| count.checked_mul(0x60)).and_then(|len| table.checked_add(len));
    let tail = at.and_then(|at| slice(image, at, 0xc, "$SKU").ok());
    manifest.version.major == 6 && matches!(tail, Some([b'$', b'S', b'K', b'U', .., 0, 0, 0, 0]))
}
