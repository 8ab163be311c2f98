//! `lockdown`: AMT switched off by its own firmware. Nothing is flashed, and the management engine itself goes on.
//!
//! PTHI 0x88 exists from AMT 12.0 on and works before provisioning only; MHC can switch AMT from 16.1 on
//! (reference/amt.md 0 fact 10, 2.2, 2.3). What neither changes is the MEBx password, so the outcome is never more than
//! "off, and not satisfied: default MEBx password" without a provisioning certificate (DESIGN section 9).

use super::super::Case;
use super::super::amt::identity::stranger;
use super::judge::Judgment;
use super::{before, read_only};
use crate::pattern::version;
use crate::{Channel, Reversibility, Step, StepKind, UNKNOWN, shown, step};

pub(super) fn judge<'a>(case: &Case<'a>) -> Judgment<'a> {
    let detection = case.detection;
    let why = |name: &str| {
        let fact = detection.fact(name).and_then(|fact| fact.reason.as_deref());
        fact.map_or(String::new(), |reason| format!(" ({})", shown(reason)))
    };
    let skip = |text: String| Judgment::Skipped(text);
    if let Some(text) = stranger(case) {
        return skip(text);
    }
    match detection.text("intel.amt.verdict") {
        "capable" | "standard-manageability" => {}
        "disabled" => {
            return Judgment::LockedDown(case.history.locked_down.as_ref().map(|it| it.event.clone()));
        }
        // The firmware of some machines hides AMT's client when AMT is off, so our own record decides.
        "absent-or-disabled" if case.history.locked_down.is_some() => {
            return Judgment::LockedDown(case.history.locked_down.as_ref().map(|it| it.event.clone()));
        }
        "absent" => return skip("this machine has no AMT to switch off".to_owned()),
        other => {
            return skip(format!(
                "whether this machine has AMT is not known: {}{}",
                shown(other),
                why("intel.amt.verdict")
            ));
        }
    }
    match (detection.text("intel.amt.provisioning"), detection.text("intel.amt.control_mode")) {
        ("pre", "none") => {}
        ("pre" | UNKNOWN, UNKNOWN) | (UNKNOWN, "none") => {
            return skip(format!(
                "whether AMT is provisioned is not known{}, and its firmware can be told to switch it off before \
                 provisioning only",
                why("intel.amt.provisioning")
            ));
        }
        (state, mode) => {
            return skip(format!(
                "AMT is provisioned (state {}, control mode {}), and its firmware can be told to switch it off before \
                 provisioning only: unprovision it first, with its credential or in MEBx",
                shown(state),
                shown(mode)
            ));
        }
    }
    let text = detection.text("intel.amt.version");
    match version(text).filter(|(_, parts)| *parts >= 2) {
        Some(([major, ..], _)) if major < FIRST => {
            skip(format!("AMT {} has no such command: it came with {FIRST}.0", shown(text)))
        }
        Some(([major, minor, ..], _)) => Judgment::LockDown { mhc: (major, minor) >= FIRST_SWITCHABLE },
        None => skip(format!(
            "the version of AMT is not known{}, and the command came with {FIRST}.0",
            why("intel.amt.version")
        )),
    }
}

/// With PTHI 0x88.
const FIRST: u64 = 12;
/// With MHC `SetAmtOperationalState`.
const FIRST_SWITCHABLE: (u64, u64) = (16, 1);

/// What somebody did since our own run, if that had switched it off.
pub(super) fn enabled_again(case: &Case<'_>) -> Option<String> {
    let event = &case.history.locked_down.as_ref()?.event;
    Some(format!(
        "event {event} says that AMT was switched off, and it is on: somebody enabled it again, in MEBx or by another \
         program"
    ))
}

pub(super) fn step(mhc: bool, skipped: Vec<String>, case: &Case<'_>) -> Step {
    let reason = case.reason(&format!(
        "asks to neutralize, and AMT {} can be switched off by its firmware while nobody has provisioned it; MEBx keeps \
         the password it has{}",
        shown(case.detection.text("intel.amt.version")),
        before(&skipped)
    ));
    Step {
        id: step::LOCKDOWN.to_owned(),
        channel: Some(Channel::Amt),
        what: StepKind::AmtLockdown { mhc, skipped },
        reason,
        precondition: "AMT is still not provisioned (PTHI: state pre, control mode none)".to_owned(),
        reversibility: Reversibility::WithCredential,
    }
}

pub(super) fn already(event: Option<String>, skipped: Vec<String>, case: &Case<'_>) -> Step {
    let whose = event.as_ref().map_or(String::new(), |event| format!(", as event {event} says"));
    let reason = case
        .reason(&format!("asks to neutralize, and AMT reports itself disabled{whose}{}", before(&skipped)));
    let step = read_only(step::LOCKED_DOWN, StepKind::AmtLockedDown { event, skipped }, reason);
    Step { channel: Some(Channel::Amt), ..step }
}
