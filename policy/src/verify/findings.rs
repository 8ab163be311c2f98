//! What an auditor should see besides the verdict, and what nobody looked at.

use super::engine::{Engine, Picture};
use super::{Look, Rung};
use crate::{Detection, Finding, RootKind, Severity, Value, shown};

pub(super) fn findings(look: &Look<'_>, engine: &Engine, verdict: Rung, reason: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut add = |id: &str, severity, text: &str| {
        found.push(Finding { id: id.to_owned(), severity, text: text.to_owned() });
    };
    match engine.picture {
        Picture::ShuttingDown => add(
            "me-shutdown-ahead",
            Severity::Risk,
            "The engine is in recovery or waits to disable the platform: machines in this state switch themselves off \
             30 minutes after power-on. Save what is open; flash the original back if it stays so.",
        ),
        Picture::ImageFailure => add(
            "me-code-removed-only",
            Severity::Warning,
            "The engine stopped because code is missing, not for its strap. It may recover with the next firmware \
             update, and some machines shut down after 30 minutes in this state.",
        ),
        Picture::Override => add(
            "me-override",
            Severity::Warning,
            "The engine is held by a service jumper or a message, and the flash descriptor may be open to writing. It \
             runs again as soon as that ends: this is no neutralization.",
        ),
        Picture::TemporarilyDisabled if !verdict.is_effective() => add(
            "me-temporarily-disabled",
            Severity::Warning,
            "Operation mode 3 is what a switch in BIOS setup shows, and anyone at the keyboard can turn that back. Only \
             the strap in a dump of the flash tells the two apart.",
        ),
        Picture::NotShown if look.detection.text("intel.me.state") == "hidden" => add(
            "me-hidden",
            Severity::Info,
            "The engine's interface is not on the PCI bus. Firmware hides it for many reasons, and an engine that is \
             hidden may run.",
        ),
        _ => {}
    }
    match reason {
        "reverted" | "flash-reverted" => add(
            "me-reverted",
            Severity::Risk,
            "The engine was neutralized and is not any more: firmware updates and self-healing controllers write the \
             original back.",
        ),
        "ineffective" => add(
            "me-ineffective",
            Severity::Risk,
            "The soft-disable strap is set in the flash, and the engine runs all the same.",
        ),
        _ => {}
    }
    if verdict.is_effective() {
        add(
            "boot-guard",
            Severity::Info,
            "Boot Guard may still be active: tools that cannot reach the engine call it unsupported, and the processor \
             goes on enforcing.",
        );
    }
    if verdict == Rung::NotNeutralizable && look.detection.text("host.cpu.vendor") == "amd" {
        add("amd-psp", Severity::Info, &amd(look.detection));
    }
    found.extend(of_history(look));
    found
}

/// What an auditor should see of org state itself.
pub(super) fn of_history(look: &Look<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut add = |id: &str, severity, text: &str| {
        found.push(Finding { id: id.to_owned(), severity, text: text.to_owned() });
    };
    if look.history.forked {
        add(
            "history-forked",
            Severity::Warning,
            "The device's events fork: two runs did not know of each other.",
        );
    }
    if !look.history.rejected.is_empty() {
        let text = format!(
            "{} of the store's files do not hold and were not believed, the first: {}.",
            look.history.rejected.len(),
            look.history.rejected.first().map(|name| shown(name)).unwrap_or_default()
        );
        add("events-rejected", Severity::Warning, &text);
    }
    found
}

/// What the secure processor and the adapters show of themselves (reference/me.md 6).
fn amd(detection: &Detection) -> String {
    let attributes = match detection.fact("amd.psp.attributes").map(|fact| &fact.value) {
        Some(Value::Map(attributes)) => Some(attributes),
        _ => None,
    };
    // Missing is not off: firmware exports these as it likes.
    let flag = |name: &str| match attributes.and_then(|map| map.get(name)).and_then(Value::as_text) {
        Some("1") => "yes",
        Some("0") => "no",
        _ => "unknown",
    };
    let dash =
        detection.fact("dash.nic").and_then(|fact| fact.reason.as_deref()).map(shown).unwrap_or_default();
    format!(
        "AMD secure processor: {}, which cannot be neutralized. Fused (PSB): {}; debug lock: {}; memory encryption: {}. \
         DASH adapter: {} ({dash}); whether DASH is enabled only a probe from another machine can tell.",
        shown(detection.text("amd.psp.state")),
        flag("fused_part"),
        flag("debug_lock_on"),
        flag("tsme_status"),
        shown(detection.text("dash.nic"))
    )
}

pub(super) fn not_assessed(look: &Look<'_>) -> Vec<String> {
    let mut list = vec![
        "firmware that lies: everything here is as this machine reports it about itself".to_owned(),
        "whether any channel is reachable from another machine".to_owned(),
    ];
    if look.flash.is_none() {
        list.push("what the flash holds now: no dump was given with --firmware-image".to_owned());
    }
    if look.history.amt.is_some() {
        list.push(
            "AMT's password and settings: the escrow cannot be opened here, so no login was tried".to_owned(),
        );
    }
    if look.detection.root != RootKind::Live {
        list.push("a real machine: this root is a capture or a simulation".to_owned());
    }
    list
}
