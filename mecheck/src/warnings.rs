//! What a person should know before flashing a neutralized image (reference/me.md 3 and 7). Warnings never stop
//! anything: what must stop it is a refusal.

use serde::Serialize;

use crate::fit::BootGuard;
use crate::manifest::Manifest;
use crate::neutralize::Method;
use crate::{Confidence, Generation, Inspection, MeImage, SoftDisable};

/// One warning: a stable word, and a sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Warning {
    pub id: &'static str,
    pub text: String,
}

/// The warnings for this image and method, in the order in which they matter.
pub fn warnings(image: &[u8], inspection: &Inspection, method: Method, keep: &[String]) -> Vec<Warning> {
    let mut found = Vec::new();
    let mut add = |id, text: &str| found.push(Warning { id, text: text.to_owned() });
    if let Ok(me) = &inspection.me {
        of_the_generation(me, method, keep, &mut add);
        if Manifest::parse(image, me.manifest_offset).is_ok_and(|manifest| manifest.pre_production()) {
            add(
                "pre-production",
                "the ME image is signed with a pre-production key: no machine on sale runs it",
            );
        }
        if method == Method::CleanAndSoftDisable && me.version.major >= 9 {
            add(
                "boot-guard",
                "whether Boot Guard is enforced stands in fuses that no image shows: where it is, a machine whose ME code \
                 is missing shuts down at once; keep a programmer and original.bin at hand",
            );
        }
    }
    if let Ok(Some(guard)) = BootGuard::in_flash(image, &inspection.descriptor)
        && guard.is_complete()
    {
        add(
            "boot-guard-manifests",
            "the BIOS region carries Boot Guard manifests: it stays active with a soft-disabled ME, and nothing here \
             changes what it measures or verifies",
        );
    }
    of_the_descriptor(inspection, method, &mut add);
    add(
        "updates",
        "firmware updates may undo the change or write a whole new ME region: verify again after each",
    );
    found
}

fn of_the_generation(
    me: &MeImage,
    method: Method,
    keep: &[String],
    add: &mut impl FnMut(&'static str, &str),
) {
    let cleaned = method == Method::CleanAndSoftDisable;
    let major = me.version.major;
    if major >= 15 {
        add(
            "s0ix",
            "from Tiger Lake on a soft-disabled ME breaks S0ix, so suspend drains the battery where the firmware has no S3",
        );
    }
    if major >= 16 {
        add(
            "self-healing",
            "embedded controllers of some laptops of this generation write the descriptor back at the next start: only \
             a later look tells whether the change stayed",
        );
    }
    if (7..=8).contains(&major) {
        add(
            "bios-setup",
            "on some boards of this generation the firmware's setup menu hangs with this strap set (reported of T530 and X230)",
        );
    }
    if cleaned && me.generation == Generation::Three && !keep.iter().any(|name| name == "MFS") {
        add(
            "mfs",
            "MFS is removed: it holds clock settings, and some boards lose their NVMe disk or network card without it; keep it \
             with `neutralize.keep = [\"MFS\"]`",
        );
    }
    if cleaned && major == 9 && !keep.iter().any(|name| name == "NFTP") {
        add("nftp", "firmware with native RAM initialization on Haswell needs NFTP, which is removed");
    }
    if cleaned && major == 6 {
        add("ibex-peak", "a cleaned ME 6 has been seen to keep coreboot on the X201 from starting");
    }
    if cleaned && me.generation == Generation::Two && major <= 2 {
        add("bay-trail", "cleaned TXE images have been reported not to start on Bay Trail");
    }
}

fn of_the_descriptor(inspection: &Inspection, method: Method, add: &mut impl FnMut(&'static str, &str)) {
    let descriptor = &inspection.descriptor;
    if descriptor.components.count > 1 {
        add(
            "two-chips",
            "the flash is made of more than one chip: with an external programmer each chip gets its part of the image",
        );
    }
    let host_may_write = |region| descriptor.master("host").is_none_or(|host| host.may_write(region));
    if !host_may_write(0) {
        add(
            "descriptor-locked",
            "the descriptor does not let the host write it: flash with an external programmer, or with the board's \
             descriptor override",
        );
    }
    if method == Method::CleanAndSoftDisable && !host_may_write(2) {
        add(
            "me-locked",
            "the descriptor does not let the host write the ME region: flash with an external programmer",
        );
    }
    if let SoftDisable::Possible { straps } | SoftDisable::AlreadySet { straps } = &inspection.soft_disable {
        for strap in straps.iter().filter(|strap| strap.confidence == Confidence::Low) {
            add(
                "strap-low-confidence",
                &format!("the place of {} rests on little: {}", strap.what, strap.source),
            );
        }
    }
    if let Some(range) = &descriptor.protected_range {
        add(
            "protected-range",
            &format!(
                "a strap of the descriptor protects a flash range, which may stop the ME region from being written: {range:?}"
            ),
        );
    }
}
