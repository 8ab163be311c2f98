//! What a credential that the operator gave makes possible: to complete what is ours, to give it a new password, to end
//! what a run left open, and to take over what others set up.

use super::{Case, Draft, Facts, network, refuse, require_durable, settings};
use crate::{
    AmtOurs, AmtSettings, Channel, Exit, ModeWish, OpenChange, Reversibility, Rule, Step, StepKind, step,
};

/// Whether there is anything to do with it on AMT that is ours. Where there is not, no login is tried.
pub(super) fn takes(case: &Case<'_>) -> bool {
    let Some(ours) = case.history.amt.as_ref().filter(|_| case.context.known_credential) else {
        return false;
    };
    case.context.rotate
        || !ours.sealed
        || network::addresses_open(case, &ours.realm).is_some()
        || !missing(case, Some(ours), &ours.control_mode).is_empty()
}

/// AMT that is ours, by a proof.
pub(super) fn ours(case: &Case<'_>, draft: &mut Draft) {
    let Some(ours) = &case.history.amt else { return };
    require_durable(case, draft);
    settings(case, draft); // for its refusals
    let settings = missing(case, Some(ours), &ours.control_mode);
    let realm = ours.realm.clone();
    let what = match case.context.rotate {
        true => StepKind::AmtRotate { realm, settings: network::renewed(case, Some(ours), settings) },
        false => {
            network::warn_of_certificate(case, ours, draft);
            StepKind::AmtComplete { realm, settings }
        }
    };
    push(case, draft, what, &format!("event {} proves generation {} ours", ours.event, ours.generation));
}

/// AMT of ours that a run of ours took to admin control mode and did not live to prove it.
pub(super) fn upgraded(case: &Case<'_>, ours: &AmtOurs, draft: &mut Draft) {
    require_durable(case, draft);
    settings(case, draft);
    let settings = missing(case, Some(ours), "acm");
    let what = StepKind::AmtComplete { realm: ours.realm.clone(), settings };
    push(case, draft, what, "our journal shows that a run ended while it went up to admin control mode");
}

/// What a run of ours left open, in a state that only a password gets it out of.
pub(super) fn resume(case: &Case<'_>, facts: &Facts<'_>, open: &OpenChange, draft: &mut Draft) {
    require_durable(case, draft);
    settings(case, draft);
    let held = case.history.proof_of(&open.realm);
    let settings = missing(case, held, facts.mode);
    let settings = if case.context.rotate { network::renewed(case, held, settings) } else { settings };
    let realm = open.realm.clone();
    let what = match open.rotation || case.context.rotate {
        true => StepKind::AmtRotate { realm, settings },
        false => StepKind::AmtComplete { realm, settings },
    };
    let why =
        format!("our journal shows that a run ended while generation {} was on its way", open.generation);
    push(case, draft, what, &why);
}

/// AMT that others set up; false where nothing permits to touch it.
pub(super) fn take_over(case: &Case<'_>, facts: &Facts<'_>, draft: &mut Draft) -> bool {
    let wishes = case.rule.map(Rule::amt).unwrap_or_default();
    if !is_set_up(facts) || !case.context.known_credential || !wishes.take_over {
        return false;
    }
    let wanted = match wishes.control_mode {
        ModeWish::Ccm => "ccm",
        ModeWish::Acm => "acm",
        ModeWish::AcmOrCcm => facts.mode,
    };
    if wanted != facts.mode {
        let text = format!(
            "AMT that is taken over stays in its control mode, which is {}, and policy asks for {wanted}: set \
             `control_mode = \"acm-or-ccm\"` to take it as it is, or have it unprovisioned",
            facts.mode
        );
        refuse(draft, Exit::Impossible, "control-mode-not-as-policy", text);
        return true;
    }
    require_durable(case, draft);
    settings(case, draft);
    let settings = missing(case, None, facts.mode);
    push(case, draft, StepKind::AmtTakeOver { settings }, "policy permits to take over what others set up");
    true
}

/// Whether there is an admin who could log in.
pub(super) fn is_set_up(facts: &Facts<'_>) -> bool {
    facts.provisioning == "post" && ["ccm", "acm"].contains(&facts.mode)
}

/// What can be done with AMT that others set up, by whom.
pub(super) fn way_out(case: &Case<'_>, facts: &Facts<'_>) -> String {
    if facts.provisioning == "in" {
        return "its configuration was begun and not ended; whoever began it can end it, or stop it over MEI, or somebody \
                can unprovision it in MEBx"
            .to_owned();
    }
    let undo = match facts.mode {
        "acm" => "admin control mode is taken back with its AMT admin password or in MEBx only",
        _ => "its owner can take client control mode back over MEI, without a password",
    };
    let permitted = case.rule.map(Rule::amt).unwrap_or_default().take_over;
    match (permitted, case.context.known_credential) {
        (false, true) => {
            format!(
                "a credential was given, and `amt.take_over = true` in the policy would permit to use it here; {undo}"
            )
        }
        (false, false) => format!(
            "{undo}, and whoever knows its password can have it taken over (`amt.take_over = true` and \
             --known-credential FILE)"
        ),
        (true, _) => format!("policy permits to take it over, which needs --known-credential FILE; {undo}"),
    }
}

/// What policy asks for and the proof does not hold.
pub(super) fn missing(case: &Case<'_>, held: Option<&AmtOurs>, mode: &str) -> AmtSettings {
    let wanted = network::wanted(case);
    let wanted = if mode == "acm" { wanted } else { wanted.in_client_mode() };
    wanted.beyond(held.map_or(&[], |ours| ours.settings.as_slice()))
}

fn push(case: &Case<'_>, draft: &mut Draft, what: StepKind, because: &str) {
    let (id, settings, asks) = match &what {
        StepKind::AmtRotate { settings, .. } => (step::AMT_ROTATE, settings, "to give it a new password"),
        StepKind::AmtTakeOver { settings } => {
            (step::AMT_TAKE_OVER, settings, "to log in with it and give AMT a new password")
        }
        StepKind::AmtComplete { settings, .. } => (step::AMT_COMPLETE, settings, "to prove it"),
        _ => return,
    };
    let besides = match settings.is_empty() {
        true => String::new(),
        false => format!(" and set {}", settings.words().join(", ")),
    };
    draft.steps.push(Step {
        id: id.to_owned(),
        channel: Some(Channel::Amt),
        reason: case.reason(&format!(
            "asks to use AMT, {because}, and a credential was given {asks}{besides}"
        )),
        precondition: match &what {
            StepKind::AmtTakeOver { .. } => "the credential logs in at the first try".to_owned(),
            _ => "AMT answers without a login with the realm that we know, and the credential logs in at the first try"
                .to_owned(),
        },
        what,
        reversibility: Reversibility::WithCredential,
    });
}
