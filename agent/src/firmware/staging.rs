//! The staging directory of a neutralized image (DESIGN section 9): everything a person needs to flash it and to take
//! it back, and nothing that depends on the time, so that a second run makes the same bytes.
//!
//! Foreign text never enters a script: scripts hold fixed names and hex only.

use std::fmt::Write;

use oob_mecheck::fit::BootGuard;
use oob_mecheck::gates::Change;
use oob_mecheck::neutralize::{Method, Neutralized};
use oob_mecheck::{Descriptor, Inspection};
use serde_json::{Value, json};

use super::sha256_hex;

/// flashrom's own names for the regions of a descriptor.
const FLASHROM_NAMES: [(&str, &str); 6] =
    [("descriptor", "fd"), ("bios", "bios"), ("me", "me"), ("gbe", "gbe"), ("pdr", "pd"), ("ec", "ec")];

/// The files of a staging directory by name.
pub struct Staging {
    pub files: Vec<(&'static str, Vec<u8>)>,
    pub method: Method,
    pub original_sha256: String,
    pub result_sha256: String,
    pub manifest_sha256: String,
}

/// Why this image, for this machine, under this policy: what the manifest says of its origin.
#[derive(Debug, Default)]
pub struct Binding {
    /// sha256 (hex) of the policy file, where there is one.
    pub policy_sha256: Option<String>,
    /// What ties the image to a machine, where one was looked at.
    pub machine: Option<Value>,
    /// Methods that came before this one, and why each was not taken.
    pub skipped: Vec<String>,
}

/// Lays out the files of a neutralized image that differs from its original.
pub fn lay_out(original: &[u8], done: &Neutralized, binding: &Binding) -> Staging {
    let original_sha256 = sha256_hex(original);
    let result_sha256 = sha256_hex(&done.image);
    let mut files = vec![
        ("original.bin", original.to_vec()),
        ("neutralized.bin", done.image.clone()),
        ("flash.layout", layout(&done.before.descriptor).into_bytes()),
        ("flash.sh", flash_script(done.method, &result_sha256, &original_sha256).into_bytes()),
        ("rollback.sh", rollback_script(done.method, &original_sha256).into_bytes()),
        ("changes.json", pretty(&changes(&done.changes))),
    ];
    let hashes: serde_json::Map<String, Value> =
        files.iter().map(|(name, bytes)| ((*name).to_owned(), sha256_hex(bytes).into())).collect();
    let manifest = pretty(&manifest(original, done, binding, &Value::Object(hashes)));
    let manifest_sha256 = sha256_hex(&manifest);
    files.push(("manifest.json", manifest));
    Staging { files, method: done.method, original_sha256, result_sha256, manifest_sha256 }
}

fn manifest(original: &[u8], done: &Neutralized, binding: &Binding, hashes: &Value) -> Value {
    json!({
        "schema": "oob-staging/2",
        "verdict": "staged",
        "agent": { "name": "oob-agent", "version": env!("CARGO_PKG_VERSION") },
        "policy_sha256": binding.policy_sha256,
        "machine": binding.machine,
        "method": done.method,
        "methods_skipped": binding.skipped,
        "kept_partitions": done.kept,
        "platform": {
            "pch": done.before.descriptor.family,
            "evidence": done.before.descriptor.evidence,
            "me_version": me(&done.before, |me| me.version.to_string().into()),
            "generation": me(&done.before, |me| me.generation.to_string().into()),
            "masters": done.before.descriptor.masters,
        },
        "soft_disable": { "before": done.before.strap, "after": done.after.strap },
        "regions": { "before": regions(original, &done.before), "after": regions(&done.image, &done.after) },
        "partitions": partitions(original, done),
        "manifests": done.manifests,
        "code_signature": { "before": done.signatures[0], "after": done.signatures[1] },
        "boot_guard": BootGuard::in_flash(original, &done.before.descriptor).ok().flatten(),
        "changes": changes(&done.changes),
        "warnings": done.warnings,
        "expected_after_power_cycle": expected(done.method),
        "sha256": hashes,
    })
}

fn me(inspection: &Inspection, tell: impl Fn(&oob_mecheck::MeImage) -> Value) -> Value {
    inspection.me.as_ref().map_or(Value::Null, tell)
}

/// Every region with the hash of its bytes in this image.
fn regions(image: &[u8], inspection: &Inspection) -> Value {
    let regions = inspection.descriptor.regions.iter();
    regions
        .map(|region| {
            let bytes = image.get(region.base..=region.limit);
            json!({
                "name": region.name, "offset": region.base, "size": region.limit + 1 - region.base,
                "sha256": bytes.map(sha256_hex),
            })
        })
        .collect()
}

/// Every partition of the original that has a place, with the hash of its bytes before and after.
fn partitions(original: &[u8], done: &Neutralized) -> Value {
    let partitions = done.before.me.as_ref().map_or(&[][..], |me| &me.partitions);
    let placed = partitions.iter().filter(|partition| partition.state.has_place() && partition.size != 0);
    placed
        .map(|partition| {
            let range = partition.offset..partition.end();
            let (before, after) = (original.get(range.clone()), done.image.get(range));
            let fate = match after {
                _ if before == after => "unchanged",
                Some(bytes) if bytes.iter().all(|byte| *byte == 0xff) => "removed",
                _ => "changed",
            };
            json!({
                "name": partition.name, "offset": partition.offset, "size": partition.size, "fate": fate,
                "sha256": { "before": before.map(sha256_hex), "after": after.map(sha256_hex) },
            })
        })
        .collect()
}

/// The picture of reference/me.md 4.2. It is an expectation: only a look at the running machine may say `effective`.
fn expected(method: Method) -> Value {
    let text = "the ME's PCI function is gone, or HFSTS1 shows init complete 0 and operation mode 2 or 3 with error 0";
    let without_strap =
        "if the strap is not honored: init complete 0, error 3 (image failure), HFSTS2 phase BUP state 32";
    json!({
        "hfsts1": {
            "init_complete": 0, "operation_mode": [2, 3], "working_state": "4, or not 5 with init complete 0",
        },
        "text": match method {
            Method::SoftDisable => text.to_owned(),
            Method::CleanAndSoftDisable => format!("{text}; {without_strap}"),
        },
    })
}

fn changes(changes: &[Change]) -> Value {
    let hex = |bytes: &[u8]| match bytes {
        [] => Value::Null,
        bytes => bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}")).into(),
    };
    changes
        .iter()
        .map(|change| {
            json!({
                "offset": change.offset, "length": change.length, "kind": change.kind,
                "old": hex(&change.old), "new": hex(&change.new),
            })
        })
        .collect()
}

fn layout(descriptor: &Descriptor) -> String {
    let mut text = String::new();
    for region in &descriptor.regions {
        if let Some((_, name)) = FLASHROM_NAMES.iter().find(|(ours, _)| *ours == region.name) {
            let _ = writeln!(text, "{:08x}:{:08x} {name}", region.base, region.limit);
        }
    }
    text
}

/// Writes neutralized.bin over what was judged. Another board's image would not start this one, and without a way back
/// nothing is written at all.
fn flash_script(method: Method, result_sha256: &str, original_sha256: &str) -> String {
    let guard = "if ! run -i fd -v original.bin && ! run -i fd -v neutralized.bin; then\n\
         \x20 echo 'the chip holds another descriptor than the one that was judged, or flashrom could not read it (see above):' \\\n\
         \x20   'nothing was written' >&2\n\
         \x20 exit 1\n\
         fi\n";
    let files = [("neutralized.bin", result_sha256), ("original.bin", original_sha256)];
    script(method, &files, guard)
}

/// Rolling back must work from any state of the chip, so it asks nothing.
fn rollback_script(method: Method, original_sha256: &str) -> String {
    script(method, &[("original.bin", original_sha256)], "")
}

/// Writes the first of `files` to the regions that the method changes and to no other; then reads them back and
/// compares. flashrom's own look at all other regions is left out where a running system writes to them, or may not
/// read them (flashrom(8), --noverify-all).
fn script(method: Method, files: &[(&str, &str)], guard: &str) -> String {
    let regions = match method {
        Method::SoftDisable => "-i fd",
        Method::CleanAndSoftDisable => "-i fd -i me",
    };
    let image = files.first().map_or("", |(name, _)| name);
    let hashes = files.iter().fold(String::new(), |text, (name, sha256)| {
        text + &format!("echo '{sha256}  {name}' | sha256sum -c -\n")
    });
    format!(
        "#!/bin/sh\n\
         # Needs flashrom and a programmer: internal by default, or FLASHROM_PROGRAMMER=ch341a_spi and the like;\n\
         # FLASHROM_CHIP names the chip where flashrom asks for it. Read all chips twice and keep the dumps before you\n\
         # write: this is for the machine that original.bin was read from, and no other. Power-cycle afterwards (mains\n\
         # off), then verify.\n\
         set -eu\n\
         CDPATH='' cd -- \"$(dirname -- \"$0\")\"\n\
         {hashes}\
         programmer=${{FLASHROM_PROGRAMMER:-internal}}\n\
         # The rest of a running machine's chip may change meanwhile, or be locked; on a bench it must stay as it is.\n\
         case $programmer in internal*) only=-N ;; *) only= ;; esac\n\
         run() {{ flashrom -p \"$programmer\" ${{FLASHROM_CHIP:+-c \"$FLASHROM_CHIP\"}} -l flash.layout \"$@\"; }}\n\
         {guard}\
         run {regions} ${{only:+\"$only\"}} -w {image}\n\
         run {regions} -v {image}\n"
    )
}

fn pretty(value: &Value) -> Vec<u8> {
    let mut text = format!("{value:#}").into_bytes();
    text.push(b'\n');
    text
}
