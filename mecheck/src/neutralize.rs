//! What `neutralize` does to a full dump: a method, its gates, its warnings. It refuses, or shows its evidence.

use serde::Serialize;

use crate::bytes::slice;
use crate::clean::{self, clean};
use crate::gates::{Allowed, Breach, Change, check_kept, check_table, compare, partition_table};
use crate::manifest::Manifest;
use crate::me::{Name, Partition, SignedManifest, Source, State};
use crate::signature::Verdict;
use crate::warnings::{Warning, warnings};
use crate::{
    Descriptor, Generation, ImageError, Inspection, MeImage, SoftDisable, inspect, set_soft_disable,
};

/// How far to go. Both leave the descriptor's region map and every other region as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Remove what the ME does not need to start the platform, and set its soft-disable strap.
    #[serde(rename = "clean+soft-disable")]
    CleanAndSoftDisable,
    /// Set the soft-disable strap alone.
    SoftDisable,
}

impl Method {
    /// The policy's word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::CleanAndSoftDisable => "clean+soft-disable",
            Self::SoftDisable => "soft-disable",
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Options {
    pub method: Method,
    /// Partitions that cleaning keeps besides FTPR; none means what the generation is known to need.
    pub keep: Option<Vec<String>>,
}

/// A neutralized copy of an image, with the evidence for it.
#[derive(Debug, Clone)]
pub struct Neutralized {
    pub method: Method,
    pub image: Vec<u8>,
    /// Found by comparing the images. Empty where the original was neutralized already.
    pub changes: Vec<Change>,
    pub before: Inspection,
    pub after: Inspection,
    pub warnings: Vec<Warning>,
    /// The signature of the partition that starts the platform, before and after.
    pub signatures: [Verdict; 2],
    /// Every manifest of the original, in the order of its tables.
    pub manifests: Vec<CheckedManifest>,
    /// Partitions kept besides FTPR; empty unless cleaned.
    pub kept: Vec<String>,
}

/// A manifest of the original, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckedManifest {
    pub partition: Name,
    pub name: Name,
    /// From the start of the file, in bytes.
    pub offset: usize,
    pub before: Verdict,
    /// None where its partition was removed.
    pub after: Option<Verdict>,
    /// Made for machines that never left a factory (reference/me.md 2.3).
    pub pre_production: bool,
}

/// Why nothing was made of an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The image cannot be believed.
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error("the image is not whole: {0}")]
    Invalid(String),
    /// This image is what it is, and the method does not fit it.
    #[error("{0}")]
    Impossible(String),
    #[error(transparent)]
    Breach(#[from] Breach),
}

/// A neutralized copy of `image`, a full flash dump. It has the same size and the same regions, and nothing but FF fills
/// in the ME region, its partition table and the bits of the soft-disable strap differs; the code partition's signature
/// was valid before and is valid after.
///
/// # Errors
/// [`Refusal`], and then there is nothing to write.
pub fn neutralize(image: &[u8], options: &Options) -> Result<Neutralized, Refusal> {
    let before = inspect(image)?;
    let signature = check_original(image, &before)?;
    let keep = options.keep.clone().unwrap_or_else(|| before.me.as_ref().map(needed).unwrap_or_default());
    let changed = match options.method {
        Method::SoftDisable => {
            set_soft_disable(image).map_err(|refusal| Refusal::Impossible(refusal.to_string()))?.image
        }
        Method::CleanAndSoftDisable => clean_and_soft_disable(image, &before, &keep)?,
    };
    let after = inspect(&changed)?;
    let signatures = [signature, check_code_partition(&changed, &after, "after")?];
    let manifests = check_manifests(&before, &after)?;
    let allowed = allowed(image, &before, options.method)?;
    let changes = compare(image, &changed, &allowed)?;
    if let (Some(table), Ok(me)) = (allowed.table, &before.me) {
        check_table(image, &changed, table)?;
        check_kept(image, &changed, me, &keep)?;
    }
    Ok(Neutralized {
        method: options.method,
        warnings: warnings(image, &before, options.method, &keep),
        signatures,
        manifests,
        image: changed,
        changes,
        kept: if options.method == Method::CleanAndSoftDisable { keep } else { Vec::new() },
        before,
        after,
    })
}

/// What cleaning keeps besides FTPR where nobody says otherwise. Without MFS, ME 11 boards lose PCIe clocks, and with them
/// the network card or the disk (reference/me.md 2.5, 7 item 7).
pub fn needed(me: &MeImage) -> Vec<String> {
    if me.generation == Generation::Three { vec!["MFS".into()] } else { Vec::new() }
}

/// The gates that hold for every method, before anything is made.
fn check_original(image: &[u8], inspection: &Inspection) -> Result<Verdict, Refusal> {
    let end = inspection.descriptor.flash_end();
    if end > image.len() {
        return Err(Refusal::Invalid(format!(
            "its regions end at {end:#x} and the file at {:#x}: a partial dump, such as chip 1 of 2; dump all chips and \
             join them",
            image.len()
        )));
    }
    if let Some(cut) = inspection.me.as_ref().ok().and_then(cut_off) {
        return Err(Refusal::Invalid(format!(
            "partition {} at {:#x} reaches past the ME region by its table, which lies or belongs to a longer region; dump \
             the flash anew",
            cut.name, cut.offset
        )));
    }
    check_code_partition(image, inspection, "before")
}

/// FTPR alone may end behind the region: where an earlier cleaning shrank it, its tail was removed before.
fn cut_off(me: &MeImage) -> Option<&Partition> {
    me.partitions.iter().find(|partition| {
        let listed = matches!(partition.source, Source::Fpt { .. });
        listed && partition.state == State::CutOff && !partition.name.is("FTPR")
    })
}

/// The signature of the partition that starts the platform must hold, or a bad dump would be flashed back.
fn check_code_partition(image: &[u8], inspection: &Inspection, when: &str) -> Result<Verdict, Refusal> {
    if let Err(error) = &inspection.me {
        return Err(Refusal::Impossible(error.to_string()));
    }
    let (base, end) = me_region(&inspection.descriptor)?;
    let region = slice(image, base, end - base, "ME region")?;
    let offset = MeImage::parse(region)?.manifest_offset;
    match Manifest::parse(region, offset)?.verify(region) {
        valid @ Verdict::Valid { .. } => Ok(valid),
        other => Err(Refusal::Invalid(format!(
            "the signature of the code partition at {:#x} does not hold {when}: {other}; dump the flash anew",
            base + offset
        ))),
    }
}

/// No method may turn a signature that holds into one that does not; a partition may go as a whole.
fn check_manifests(before: &Inspection, after: &Inspection) -> Result<Vec<CheckedManifest>, Refusal> {
    let mut checked = Vec::new();
    for it in manifests(before) {
        let after = manifests(after).iter().find(|left| left.offset == it.offset);
        if it.verdict.is_valid() && after.is_some_and(|left| !left.verdict.is_valid()) {
            let breach =
                format!("the signature of {} at {:#x} holds before and not after", it.name, it.offset);
            return Err(Breach(breach).into());
        }
        checked.push(CheckedManifest {
            partition: it.partition,
            name: it.name,
            offset: it.offset,
            before: it.verdict.clone(),
            after: after.map(|left| left.verdict.clone()),
            pre_production: it.pre_production,
        });
    }
    Ok(checked)
}

fn manifests(inspection: &Inspection) -> &[SignedManifest] {
    inspection.me.as_ref().map_or(&[], |me| &me.manifests)
}

fn clean_and_soft_disable(image: &[u8], before: &Inspection, keep: &[String]) -> Result<Vec<u8>, Refusal> {
    // The strap first: where it may not be set, nothing is cleaned either.
    if let SoftDisable::Refused(why) = &before.soft_disable {
        return Err(Refusal::Impossible(format!("setting the soft-disable strap: {why}")));
    }
    if before.me.as_ref().is_ok_and(|me| me.generation == Generation::One) {
        return Err(Refusal::Impossible(
            "removing ME 1 to 5 takes its region off the descriptor's map, which neutralizing leaves as it is; \
             `firmware clean` does it"
                .into(),
        ));
    }
    let flags = clean::Options {
        soft_disable: true,
        whitelist: Some(keep.to_vec()),
        spare_kept: true,
        ..clean::Options::default()
    };
    Ok(clean(image, &flags).map_err(|refusal| Refusal::Impossible(refusal.to_string()))?.image)
}

/// What the gates let pass.
fn allowed(image: &[u8], before: &Inspection, method: Method) -> Result<Allowed, Refusal> {
    let straps = match &before.soft_disable {
        SoftDisable::Possible { straps } | SoftDisable::AlreadySet { straps } => {
            straps.iter().map(|strap| (strap.offset, 1 << strap.bit)).collect()
        }
        SoftDisable::Refused(_) => Vec::new(),
    };
    if method == Method::SoftDisable {
        return Ok(Allowed { straps, ..Allowed::default() });
    }
    let region = me_region(&before.descriptor)?;
    slice(image, region.0, region.1 - region.0, "ME region")?;
    let table = partition_table(image, region)?;
    Ok(Allowed { straps, fill: Some(region), table: Some(table) })
}

fn me_region(descriptor: &Descriptor) -> Result<(usize, usize), Refusal> {
    let region =
        descriptor.region("me").ok_or_else(|| Refusal::Impossible("there is no ME region".into()))?;
    Ok((region.base, region.limit + 1))
}
