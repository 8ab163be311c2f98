//! AMT that its maker or BIOS setup switched off, and that policy wants switched on: over MHC, which firmware from 16.1 on
//! takes, before provisioning only (reference/amt.md 2.3, 5.0).

use super::{Case, Draft, Facts, because, mode, refuse, require_durable, settings};
use crate::{Channel, Exit, ModeWish, Reversibility, Rule, Step, StepKind, step};

/// With MHC `SetAmtOperationalState`.
const FIRST_SWITCHABLE: (u64, u64) = (16, 1);

/// Whether AMT may be there and off, and policy wants it on.
pub(super) fn applies(case: &Case<'_>, facts: &Facts<'_>) -> bool {
    let off = ["disabled", "absent-or-disabled"].contains(&facts.verdict);
    off && case.rule.map(Rule::amt).unwrap_or_default().enable
}

pub(super) fn plan(case: &Case<'_>, facts: &Facts<'_>, draft: &mut Draft) {
    if let Some([major, minor, ..]) = facts.version.filter(|it| (it[0], it[1]) < FIRST_SWITCHABLE) {
        let text = format!(
            "policy asks to enable AMT, and the firmware of version {major}.{minor} can be told so in BIOS setup or MEBx only: \
             over MHC from 16.1 on; {}",
            because(case, "intel.amt.verdict")
        );
        return refuse(draft, Exit::Impossible, "amt-not-switchable", text);
    }
    // What would be refused afterwards is refused before anything is switched.
    require_durable(case, draft);
    let suffix = mode(case, facts, draft) != ModeWish::Ccm;
    settings(case, draft);
    draft.steps.push(Step {
        id: step::AMT_ENABLE.to_owned(),
        channel: Some(Channel::Amt),
        what: StepKind::AmtEnable { told: told(case), suffix },
        reason: case.reason(&format!(
            "asks to use AMT and to enable it first, and {}; what follows is decided once it answers",
            because(case, "intel.amt.verdict")
        )),
        precondition: "the firmware says over MHC that AMT is off and that the host may switch it on"
            .to_owned(),
        reversibility: Reversibility::Undoable,
    });
}

/// The event of the run that told the firmware already, in this boot as far as anybody can tell.
fn told(case: &Case<'_>) -> Option<String> {
    let enabled = case.history.enabled.as_ref()?;
    let booted_since = match (&enabled.boot_id, case.detection.known("host.boot_id")) {
        (Some(then), Some(now)) => then != now,
        _ => false,
    };
    (!booted_since).then(|| enabled.event.clone())
}
