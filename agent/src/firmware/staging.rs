//! The staging directory of a neutralized image (DESIGN section 9): everything a person needs to flash it and to take
//! it back, and nothing that depends on the time, so that a second run makes the same bytes.
//!
//! Foreign text never enters a script: scripts hold fixed names and hex only.

use std::fmt::Write;

use oob_mecheck::{Change, Descriptor, Inspection, Neutralized};
use serde_json::{Value, json};

use super::sha256_hex;

/// flashrom's own names for the regions of a descriptor.
const FLASHROM_NAMES: [(&str, &str); 6] =
    [("descriptor", "fd"), ("bios", "bios"), ("me", "me"), ("gbe", "gbe"), ("pdr", "pd"), ("ec", "ec")];

/// The files of a staging directory by name.
pub struct Staging {
    pub files: Vec<(&'static str, Vec<u8>)>,
    pub original_sha256: String,
    pub result_sha256: String,
}

/// Lays out the files for an image whose soft-disable strap was set. `machine` is what ties the image to the machine.
pub fn lay_out(
    original: &[u8],
    inspection: &Inspection,
    done: &Neutralized,
    policy_sha256: &str,
    machine: &Value,
) -> Staging {
    let original_sha256 = sha256_hex(original);
    let result_sha256 = sha256_hex(&done.image);
    let mut files = vec![
        ("original.bin", original.to_vec()),
        ("neutralized.bin", done.image.clone()),
        ("flash.layout", layout(&inspection.descriptor).into_bytes()),
        ("flash.sh", script("neutralized.bin", &result_sha256).into_bytes()),
        ("rollback.sh", script("original.bin", &original_sha256).into_bytes()),
        ("changes.json", pretty(&changes(&done.changes))),
    ];
    let hashes: serde_json::Map<String, Value> =
        files.iter().map(|(name, bytes)| ((*name).to_owned(), sha256_hex(bytes).into())).collect();
    let mut manifest = manifest(inspection, done, policy_sha256, &Value::Object(hashes));
    manifest["machine"] = machine.clone();
    files.push(("manifest.json", pretty(&manifest)));
    Staging { files, original_sha256, result_sha256 }
}

fn manifest(inspection: &Inspection, done: &Neutralized, policy_sha256: &str, hashes: &Value) -> Value {
    let me = inspection.me.as_ref().ok();
    json!({
        "schema": "oob-staging/1",
        "verdict": "staged",
        "agent": { "name": "oob-agent", "version": env!("CARGO_PKG_VERSION") },
        "policy_sha256": policy_sha256,
        "method": "soft-disable",
        "platform": {
            "pch": inspection.descriptor.family.to_string(),
            "me_version": me.map(|me| me.version.to_string()),
            "generation": me.map(|me| me.generation.to_string()),
            "pch_straps": inspection.descriptor.strap_count,
        },
        "changes": changes(&done.changes),
        "signatures": "not checked by this build",
        "warnings": [
            "Boot Guard state is not read from this image; a soft-disabled ME usually keeps it working",
            "vendor firmware with self-healing may undo the change at the next boot",
            "later firmware updates may undo the change: verify again after each",
        ],
        "expected_after_power_cycle": {
            "hfsts1": "ME device absent, or working state 4 or 5 with operation mode 2 or 3 and init complete 0",
            "source": "reference picture for a set soft-disable strap; only a look at the running machine on a later boot may say effective",
        },
        "sha256": hashes,
    })
}

fn changes(changes: &[Change]) -> Value {
    let hex = |bytes: &[u8]| bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    changes
        .iter()
        .map(|change| {
            json!({
                "offset": change.offset, "length": change.old.len(),
                "old": hex(&change.old), "new": hex(&change.new), "what": change.what,
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

/// Writes the descriptor region alone, which is all that a soft-disable strap changes; flashrom verifies what it wrote.
fn script(image: &str, sha256: &str) -> String {
    format!(
        "#!/bin/sh\n\
         # Needs flashrom and a programmer: internal by default, or FLASHROM_PROGRAMMER=ch341a_spi and the like.\n\
         # Read all chips twice and keep the dumps before you write. Power-cycle afterwards, then verify.\n\
         set -eu\n\
         cd \"$(dirname \"$0\")\"\n\
         echo '{sha256}  {image}' | sha256sum -c -\n\
         exec flashrom -p \"${{FLASHROM_PROGRAMMER:-internal}}\" -l flash.layout -i fd -w {image}\n"
    )
}

fn pretty(value: &Value) -> Vec<u8> {
    let mut text = format!("{value:#}").into_bytes();
    text.push(b'\n');
    text
}
