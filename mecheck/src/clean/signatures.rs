//! Signatures of the partitions before and after: only FTPR's decides, since the engine checks what it loads.

use serde::Serialize;

use super::Refusal;
use super::found::{Entry, Me};
use super::gen3;
use super::region::Region;
use crate::bytes::ImageError;
use crate::manifest::Manifest;
use crate::signature::Verdict;

/// One manifest's verdicts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SignatureCheck {
    pub partition: String,
    /// File offset of the manifest before the cleaning.
    pub offset: usize,
    /// The key's owner where it is known, its MD5 as published tables have it otherwise.
    pub key: String,
    pub before: Verdict,
    /// None where the partition was removed.
    pub after: Option<Verdict>,
}

/// Checks FTPR's manifest, then that of every other partition that has one.
pub(super) fn before(me: &Me<'_>) -> Result<Vec<SignatureCheck>, ImageError> {
    let mut checks = vec![check(me, &me.code.name, &me.parse_manifest()?)];
    for entry in me.table_entries()? {
        let manifest = manifest_of(me.region, &entry).filter(|at| *at != me.manifest);
        if let Some(manifest) = manifest.and_then(|at| Manifest::parse(me.region.bytes, at).ok()) {
            checks.push(check(me, &entry.name, &manifest));
        }
    }
    Ok(checks)
}

/// # Errors
/// [`Refusal::Signature`] where FTPR's signature does not hold.
pub(super) fn gate(me: &Me<'_>, checks: &[SignatureCheck]) -> Result<(), Refusal> {
    match checks.first() {
        Some(ftpr) if ftpr.before.is_valid() => Ok(()),
        Some(ftpr) => Err(Refusal::Signature { offset: ftpr.offset, why: ftpr.before.to_string() }),
        None => Err(me.region.error("FTPR manifest", me.manifest, "none was checked").into()),
    }
}

/// Checks the result: FTPR where it now lies, and what else is still there.
pub(super) fn after(
    me: &Me<'_>,
    image: &[u8],
    moved_to: Option<usize>,
    checks: &mut [SignatureCheck],
) -> Result<(), Refusal> {
    let range = me.region.base..me.region.base + me.region.len();
    let region = Region::of(image, &range, "ME region")?;
    let moved = me.code.start - moved_to.unwrap_or(me.code.start);
    for (index, check) in checks.iter_mut().enumerate() {
        let at = check.offset - me.region.base;
        let at = if index == 0 { at - moved } else { at };
        check.after = Manifest::parse(region.bytes, at).ok().map(|manifest| manifest.verify(region.bytes));
    }
    match checks.first().and_then(|ftpr| ftpr.after.as_ref()) {
        Some(verdict) if verdict.is_valid() => Ok(()),
        Some(verdict) => {
            Err(Refusal::Signature { offset: me.region.base + me.manifest - moved, why: verdict.to_string() })
        }
        None => {
            let why = "removing code would damage it".into();
            Err(Refusal::Signature { offset: me.region.base + me.manifest - moved, why })
        }
    }
}

fn check(me: &Me<'_>, partition: &str, manifest: &Manifest) -> SignatureCheck {
    let key = &manifest.key;
    SignatureCheck {
        partition: partition.to_owned(),
        offset: me.region.base + manifest.offset,
        key: key.known().map_or_else(|| format!("unknown key {}", key.md5), |known| known.name.to_owned()),
        before: manifest.verify(me.region.bytes),
        after: None,
    }
}

/// Where a partition's manifest lies: in its directory, or at its start.
fn manifest_of(region: Region<'_>, entry: &Entry) -> Option<usize> {
    if !entry.is_in_flash() {
        return None;
    }
    if !region.is(entry.start, b"$CPD") {
        return region.is(entry.start.saturating_add(0x1c), b"$MN2").then_some(entry.start);
    }
    let name = format!("{}.man", entry.name);
    let modules = gen3::directory(region, entry).ok()?;
    let module = modules.into_iter().find(|module| module.name == name)?;
    Some(entry.start.saturating_add(module.offset))
}
