//! From client to admin control mode without deactivation (reference/amt.md 5.4): AMT that is ours, a certificate that can
//! be used, and the admin's password, since only the admin may call it.

use super::{Case, Draft, Facts, known, mode, refuse, require_durable, settings};
use crate::{AmtOurs, Channel, Exit, ModeWish, Reversibility, Rule, Step, StepKind, shown, step};

/// Whether AMT of ours in client control mode is not as policy would have it. Where policy takes either mode, it is tried
/// only by whoever can, and after a rotation: a certificate that AMT does not take must not stand in the way of one.
pub(super) fn applies(case: &Case<'_>, facts: &Facts<'_>) -> bool {
    let Some(_) = in_client_mode(case, facts) else { return false };
    match wish(case) {
        ModeWish::Ccm => false,
        ModeWish::Acm => true,
        ModeWish::AcmOrCcm => {
            let asked = case.context.known_credential && !case.context.rotate;
            asked && has_certificate(case)
        }
    }
}

pub(super) fn plan(case: &Case<'_>, facts: &Facts<'_>, draft: &mut Draft) {
    let Some(ours) = in_client_mode(case, facts) else { return };
    if !case.context.known_credential {
        let text = format!(
            "policy asks for admin control mode, and AMT is ours in client control mode by event {}; only its admin can go \
             up from there: open its credential ({}) and run again with `--known-credential FILE`, or set `control_mode = \
             \"acm-or-ccm\"` to keep it as it is",
            ours.event,
            shown(&ours.escrow)
        );
        return refuse(draft, Exit::Drift, "credential-needed", text);
    }
    require_durable(case, draft);
    let or_ccm = mode(case, facts, draft) == ModeWish::AcmOrCcm;
    settings(case, draft); // for its refusals
    if case.context.rotate {
        draft.warnings.push(
            "`--rotate` waits for another run: this one goes up to admin control mode, which keeps the password"
                .to_owned(),
        );
    }
    let settings = known::missing(case, Some(ours), "acm");
    let besides = match settings.is_empty() {
        true => String::new(),
        false => format!(" and to set {}", settings.words().join(", ")),
    };
    draft.steps.push(Step {
        id: step::AMT_UPGRADE.to_owned(),
        channel: Some(Channel::Amt),
        what: StepKind::AmtUpgrade { realm: ours.realm.clone(), or_ccm, settings },
        reason: case.reason(&format!(
            "asks for admin control mode, event {} proves generation {} ours in client control mode, and a credential was \
             given to go up with it{besides}",
            ours.event, ours.generation
        )),
        precondition: "AMT answers without a login with the realm that we know, the credential logs in at the first try, and \
                       AMT will accept the certificate"
            .to_owned(),
        reversibility: Reversibility::WithCredential,
    });
}

/// Where policy takes either mode and nobody can go up, it is said how.
pub(super) fn suggest(case: &Case<'_>, facts: &Facts<'_>, draft: &mut Draft) {
    let possible = in_client_mode(case, facts).is_some() && has_certificate(case);
    if possible && wish(case) == ModeWish::AcmOrCcm {
        let how = match case.context.known_credential && case.context.rotate {
            true => "`--known-credential FILE` without `--rotate`",
            false => "`--known-credential FILE`",
        };
        draft.warnings.push(format!(
            "AMT stays in client control mode; with {how} it would be tried to go up to admin control mode"
        ));
    }
}

/// There is no way down but through unprovisioning, so AMT of ours that is more than policy asks for is drift. Where policy
/// names no mode, either will do.
pub(super) fn refuse_more_than_asked(case: &Case<'_>, draft: &mut Draft) {
    let Some(ours) = case.history.amt.as_ref().filter(|ours| ours.control_mode == "acm") else { return };
    let said = |rule: &Rule| rule.settings.iter().any(|it| it.key == "amt.control_mode" && it.value == "ccm");
    if case.rule.is_some_and(said) {
        let text = format!(
            "policy asks for client control mode, and AMT is ours in admin control mode by event {}: set `control_mode = \
             \"acm-or-ccm\"` to keep it as it is, or unprovision it (`amt.provisioned = false`) and set it up anew",
            ours.event
        );
        refuse(draft, Exit::Drift, "control-mode-not-as-policy", text);
    }
}

/// AMT that our own call took into admin control mode, by a run that died before it could prove that.
pub(super) fn settle(case: &Case<'_>, draft: &mut Draft) {
    let Some(ours) = &case.history.amt else { return };
    if case.context.known_credential {
        return known::upgraded(case, ours, draft);
    }
    let text = format!(
        "our journal shows that a run ended while AMT of ours (event {}) went up to admin control mode, which it is in now; \
         that is not proven: open its credential ({}), which it keeps, and run again with `--known-credential FILE`",
        ours.event,
        shown(&ours.escrow)
    );
    refuse(draft, Exit::Drift, "upgrade-not-proven", text);
}

fn in_client_mode<'a>(case: &'a Case<'_>, facts: &Facts<'_>) -> Option<&'a AmtOurs> {
    case.history.amt.as_ref().filter(|ours| ours.control_mode == "ccm" && facts.mode == "ccm")
}

fn wish(case: &Case<'_>) -> ModeWish {
    case.rule.map(Rule::amt).unwrap_or_default().control_mode
}

fn has_certificate(case: &Case<'_>) -> bool {
    matches!(case.context.certificate, Some(Ok(_)))
}
