//! AMT that is not there, is switched off, or does not answer.

use super::{Case, Draft, Facts, because, refuse};
use crate::{Exit, RootKind, Value};

pub(super) fn refuse_verdict(case: &Case<'_>, facts: &Facts<'_>, draft: &mut Draft) {
    let (cause, what) = match facts.verdict {
        "absent" => ("amt-absent", "this machine has no AMT"),
        "disabled" => ("amt-disabled", "AMT is disabled"),
        "absent-or-disabled" => ("amt-absent-or-disabled", "AMT is absent or disabled"),
        _ => ("amt-unknown", "it is not known whether this machine has AMT"),
    };
    let off = ["disabled", "absent-or-disabled"].contains(&facts.verdict);
    // What is switched off cannot be asked whether it is provisioned, and to be unprovisioned it must be on.
    let (asks, enable) = match (case.rule.and_then(|rule| rule.amt().unprovisioned), off) {
        (Some(_), true) => {
            ("for AMT that is not provisioned", "; enable it in BIOS setup or MEBx, so that it can be asked")
        }
        (Some(_), false) => ("for AMT that is not provisioned", ""),
        (None, true) => (
            "to use AMT",
            "; enable it in BIOS setup or MEBx, or permit it here with `amt.enable = true` (AMT 16.1 and later)",
        ),
        (None, false) => ("to use AMT", ""),
    };
    let text = format!("policy asks {asks}, and {what}: {}{enable}", because(case, "intel.amt.verdict"));
    if cause == "amt-unknown" && announced(case) {
        silent(case, draft, text)
    } else {
        refuse(draft, Exit::Impossible, cause, text)
    }
}

/// AMT that is there and does not answer is a failing device, not a missing one. A capture never answers.
pub(super) fn silent(case: &Case<'_>, draft: &mut Draft, text: String) {
    if case.context.root == RootKind::Capture {
        return refuse(draft, Exit::Impossible, "amt-unknown", text);
    }
    // Our own change was on its way, so a device that says nothing is not one that is as it was.
    if let Some(open) = case.history.in_doubt(case.detection) {
        let text = format!(
            "{text}; a run of ours ended while credential generation {} was on its way, {}{}: run again when the machine has \
             settled",
            open.generation,
            case.history.candidates(open),
            case.history.mebx_candidate()
        );
        return refuse(draft, Exit::Indeterminate, "indeterminate", text);
    }
    refuse(
        draft,
        Exit::DeviceFailed,
        "amt-unreachable",
        format!("{text}; run again when the machine has settled"),
    );
}

/// Whether the firmware lists AMT's host interface.
fn announced(case: &Case<'_>) -> bool {
    let clients = case.detection.fact("intel.mei.clients").map(|fact| &fact.value);
    let is_pthi = |value: &Value| value.as_text() == Some(PTHI);
    matches!(clients, Some(Value::List(clients)) if clients.iter().any(is_pthi))
}

/// The MEI client by which firmware says that it has AMT.
const PTHI: &str = "12f80028-b4b7-4b2d-aca8-46e0ff65814c";
