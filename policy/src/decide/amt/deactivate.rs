//! `amt.provisioned = false`: AMT that shall not be provisioned. Ours is unprovisioned, by proof or by journal; of others
//! what policy permits to take over and the operator knows the password of (reference/amt.md 5.13).

use super::{
    Case, Draft, Facts, Situation, identity, known, refuse, refuse_candidates, refuse_drifted, refuse_others,
    refuse_unknown, refuse_verdict, situation, undo,
};
use crate::{AmtOurs, Channel, Exit, OpenChange, Reversibility, Rule, Scope, Step, StepKind, shown, step};

pub(super) fn plan(case: &Case<'_>, facts: &Facts<'_>, scope: Scope, draft: &mut Draft) {
    // What is not there is not provisioned; what is switched off may be, and cannot be asked.
    if facts.verdict == "absent" {
        return already(case, "this machine has no AMT", draft);
    }
    if !facts.capable() {
        return refuse_verdict(case, facts, draft);
    }
    // Client control mode is left without a login, so nothing later would tell whose AMT it is.
    if let Some(text) = identity::stranger(case) {
        return refuse(draft, Exit::Impossible, "amt-of-another-machine", text);
    }
    // A run of ours died while the firmware was leaving its mode.
    if let Some(realm) = case.history.half_left(case.detection) {
        return push(case, scope, false, Some(realm), HALF_LEFT, draft);
    }
    match situation(case, facts) {
        Situation::Clean => already(case, "it is not", draft),
        Situation::ModeDrifted(_) if case.history.went_up(case.detection).is_some() => {
            let Some(ours) = &case.history.amt else { return };
            leave_ours(case, facts, scope, ours, draft);
        }
        Situation::Ours => {
            let Some(ours) = &case.history.amt else { return };
            leave_ours(case, facts, scope, ours, draft);
        }
        Situation::Interrupted(open) => {
            draft.steps.push(undo(case, open.generation));
            already(case, "it is not, once our unfinished setup is taken back", draft);
        }
        Situation::Candidates(open) => leave_candidate(case, facts, scope, open, draft),
        Situation::ModeDrifted(_) | Situation::Others if may_take_over(case, facts) => {
            push(case, scope, true, None, "policy permits to touch what others set up", draft);
        }
        Situation::ModeDrifted(ours) => refuse_drifted(facts, ours, draft),
        Situation::Others => refuse_others(case, facts, draft),
        Situation::Unknown => refuse_unknown(case, draft),
    }
}

/// Policy asks to use AMT, and a run of ours died while it was being unprovisioned: that is ended first.
pub(super) fn finish(case: &Case<'_>, realm: &String, draft: &mut Draft) {
    let asks = format!("asks to use AMT, and {HALF_LEFT}");
    draft.steps.push(unprovision(case, Scope::Full, false, Some(realm), &asks));
}

const HALF_LEFT: &str = "our journal shows that a run ended while AMT was being unprovisioned";

/// Client control mode is left over MEI without a password, and then wholly.
fn needs_login(facts: &Facts<'_>, scope: Scope) -> bool {
    facts.mode != "ccm" || scope == Scope::Partial
}

fn leave_ours(case: &Case<'_>, facts: &Facts<'_>, scope: Scope, ours: &AmtOurs, draft: &mut Draft) {
    let login = needs_login(facts, scope);
    if login && !case.context.known_credential {
        let how = match scope {
            Scope::Full => "admin control mode is left as admin only",
            Scope::Partial => "`unprovision = \"partial\"` is done as admin only",
        };
        let text = format!(
            "policy asks for AMT that is not provisioned, it is ours by event {}, and {how}: open its credential ({}) and run \
             again with `--known-credential FILE`",
            ours.event,
            shown(&ours.escrow)
        );
        return refuse(draft, Exit::Drift, "credential-needed", text);
    }
    let why = format!("event {} proves generation {} ours", ours.event, ours.generation);
    push(case, scope, login, Some(&ours.realm), &why, draft);
}

/// A change of ours whose end nobody knows: whichever password AMT has, what is of the realm of our proof is ours.
fn leave_candidate(case: &Case<'_>, facts: &Facts<'_>, scope: Scope, open: &OpenChange, draft: &mut Draft) {
    let proven = case.history.proof_of(&open.realm).is_some();
    let login = needs_login(facts, scope) || !proven;
    if login && !case.context.known_credential {
        return refuse_candidates(case, facts, open, draft);
    }
    let why =
        format!("our journal shows that a run ended while generation {} was on its way", open.generation);
    push(case, scope, login, Some(&open.realm), &why, draft);
}

fn may_take_over(case: &Case<'_>, facts: &Facts<'_>) -> bool {
    let permitted = case.rule.map(Rule::amt).unwrap_or_default().take_over;
    permitted && case.context.known_credential && known::is_set_up(facts)
}

fn already(case: &Case<'_>, what: &str, draft: &mut Draft) {
    draft.steps.push(Step {
        id: step::AMT_UNPROVISIONED.to_owned(),
        channel: Some(Channel::Amt),
        what: StepKind::AmtUnprovisioned,
        reason: case.reason(&format!("asks for AMT that is not provisioned, and {what}")),
        precondition: "none".to_owned(),
        reversibility: Reversibility::ReadOnly,
    });
}

fn push(
    case: &Case<'_>,
    scope: Scope,
    login: bool,
    realm: Option<&String>,
    because: &str,
    draft: &mut Draft,
) {
    let asks = format!("asks for AMT that is not provisioned, and {because}");
    draft.steps.push(unprovision(case, scope, login, realm, &asks));
}

fn unprovision(case: &Case<'_>, scope: Scope, login: bool, realm: Option<&String>, asks: &str) -> Step {
    let mut conditions = Vec::new();
    if realm.is_some() {
        conditions.push("AMT answers without a login with the realm that we know");
    }
    if login {
        conditions.push("the credential logs in at the first try");
    }
    Step {
        id: step::AMT_UNPROVISION.to_owned(),
        channel: Some(Channel::Amt),
        what: StepKind::AmtUnprovision { scope, login, realm: realm.cloned() },
        reason: case.reason(asks),
        precondition: conditions.join(", and "),
        reversibility: if login { Reversibility::WithCredential } else { Reversibility::Undoable },
    }
}
