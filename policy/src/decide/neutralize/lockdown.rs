//! `lockdown`: AMT switched off by its own firmware. Nothing is flashed, and the management engine itself goes on.
//!
//! PTHI 0x88 exists from AMT 12.0 on and works before provisioning only; MHC can switch AMT from 16.1 on
//! (reference/amt.md 0 fact 10, 2.2, 2.3). What neither changes is the MEBx password. With a provisioning certificate that is
//! changed first: admin control mode, `SetMEBxPassword`, unprovisioned again, and then the switch (DESIGN section 9).
//! Without one the outcome is never more than "off, and not satisfied: default MEBx password".

use super::super::amt::identity::stranger;
use super::super::{Case, Draft, amt};
use super::judge::Judgment;
use super::{before, read_only};
use crate::pattern::version;
use crate::{
    AmtSettings, Channel, Exit, LockedDown, Reversibility, Rule, Scope, Step, StepKind, UNKNOWN, shown, step,
};

/// How MEBx comes to a password of its own.
pub(super) enum Route {
    /// It keeps the one it has.
    Alone,
    /// It has one already, by an earlier run.
    Known,
    /// By admin control mode with the certificate.
    Provision,
    /// By admin control mode that a run of ours left behind, with this realm.
    Complete(String),
}

/// What a run of ours left half done, and MEI takes back without a password.
pub(super) enum Rest {
    /// A setup, by its generation.
    Setup(u32),
    /// Unprovisioning of the AMT that has this realm.
    Leaving(String),
}

pub(super) fn judge<'a>(rule: &Rule, case: &Case<'a>) -> Judgment<'a> {
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
        "disabled" => return Judgment::LockedDown(case.history.locked_down.clone()),
        // The firmware of some machines hides AMT's client when AMT is off, so our own record decides.
        "absent-or-disabled" if case.history.locked_down.is_some() => {
            return Judgment::LockedDown(case.history.locked_down.clone());
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
    let rest = rest(case);
    let left_behind = rule.neutralize.certificate.as_ref().and_then(|_| left_behind(case));
    match (detection.text("intel.amt.provisioning"), detection.text("intel.amt.control_mode")) {
        ("pre", "none") => {}
        _ if rest.is_some() => {}
        ("post", "acm") if left_behind.is_some() => {}
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
        Some(([major, minor, ..], _)) => {
            let mhc = (major, minor) >= FIRST_SWITCHABLE;
            match (detection.text("intel.amt.control_mode"), left_behind) {
                ("acm", Some(left)) if rest.is_none() => resume(mhc, left, case),
                _ => match route(rule, case) {
                    Ok(route) => Judgment::LockDown { mhc, rest, route },
                    Err(why) => skip(why),
                },
            }
        }
        None => skip(format!(
            "the version of AMT is not known{}, and the command came with {FIRST}.0",
            why("intel.amt.version")
        )),
    }
}

/// As `use` and `amt.provisioned = false` know it.
fn rest(case: &Case<'_>) -> Option<Rest> {
    match case.history.half_left(case.detection) {
        Some(realm) => Some(Rest::Leaving(realm.clone())),
        None => amt::interrupted(case).map(|open| Rest::Setup(open.generation)),
    }
}

/// The way from unprovisioned AMT. One that policy asks for and that is not there is never replaced by the lesser: once AMT
/// is off, only a person at the keyboard could make up for it.
fn route(rule: &Rule, case: &Case<'_>) -> Result<Route, String> {
    // Whoever enabled AMT again since knows the password of MEBx, or took it away; and so may whoever unprovisioned it.
    let is_kept = case.history.locked_down.is_none() && !left_by_others(case);
    // A run that died may have given it another one.
    if case.history.mebx.is_some() && case.history.mebx_open.is_none() && is_kept {
        return Ok(Route::Known);
    }
    const OR_ELSE: &str =
        "remove `neutralize.certificate` to have AMT switched off with the MEBx password that it has";
    match (&rule.neutralize.certificate, &case.context.certificate) {
        (None, _) => Ok(Route::Alone),
        (Some(_), Some(Ok(_))) => Ok(Route::Provision),
        (Some(_), Some(Err(why))) => {
            Err(format!("the provisioning certificate cannot be used: {}; mend it, or {OR_ELSE}", shown(why)))
        }
        (Some(_), None) => Err(format!("the provisioning certificate was not read: {OR_ELSE}")),
    }
}

/// AMT was ours in admin control mode, is unprovisioned, and no run of ours did that.
fn left_by_others(case: &Case<'_>) -> bool {
    let admin = case.history.amt.as_ref().is_some_and(|ours| ours.control_mode == "acm");
    admin && case.history.leaving.is_none()
}

/// Admin control mode that a run of ours left behind.
#[derive(Clone, Copy)]
struct LeftBehind<'a> {
    realm: &'a str,
    escrow: &'a str,
    /// Its proof; none where that run died before it.
    event: Option<&'a str>,
}

fn left_behind<'a>(case: &Case<'a>) -> Option<LeftBehind<'a>> {
    let ours = case.history.amt.as_ref();
    let open =
        case.history.open.as_ref().filter(|open| {
            open.call_sent && !open.rotation && !ours.is_some_and(|ours| open.is_ended_by(ours))
        });
    if let Some(open) = open {
        return Some(LeftBehind { realm: &open.realm, escrow: &open.escrow, event: None });
    }
    let ours = ours.filter(|ours| ours.control_mode == "acm")?;
    Some(LeftBehind { realm: &ours.realm, escrow: &ours.escrow, event: Some(&ours.event) })
}

fn resume<'a>(mhc: bool, left: LeftBehind<'_>, case: &Case<'a>) -> Judgment<'a> {
    if case.context.known_credential {
        return Judgment::LockDown { mhc, rest: None, route: Route::Complete(left.realm.to_owned()) };
    }
    let (exit, cause, whose) = match left.event {
        Some(event) => (Exit::Drift, "credential-needed", format!("AMT is ours by event {event}")),
        None => (
            Exit::Indeterminate,
            "indeterminate",
            "a run of ours ended while AMT was being set up for `lockdown`".to_owned(),
        ),
    };
    let text = format!(
        "{whose}, it is in admin control mode, and only its admin can go on from there: open its credential ({}) and run \
         again with `--known-credential FILE`",
        shown(left.escrow)
    );
    Judgment::Refused { exit, cause, text }
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

/// Takes back what a run of ours left, so that AMT is unprovisioned.
pub(super) fn end(rest: &Rest, case: &Case<'_>, draft: &mut Draft) {
    const FIRST: &str = "asks to neutralize, and AMT can be switched off before provisioning only; our journal shows that a \
                         run ended while";
    draft.steps.push(match rest {
        Rest::Setup(generation) => Step {
            reason: case.reason(&format!("{FIRST} generation {generation} was being set up")),
            ..amt::undo(case, *generation)
        },
        Rest::Leaving(realm) => Step {
            id: step::AMT_STOP.to_owned(),
            channel: Some(Channel::Amt),
            what: StepKind::AmtUnprovision { scope: Scope::Full, login: false, realm: Some(realm.clone()) },
            reason: case.reason(&format!("{FIRST} AMT was being unprovisioned")),
            precondition: "AMT is in provisioning (PTHI: state in, control mode none), and answers without a login with the \
                           realm that we know"
                .to_owned(),
            reversibility: Reversibility::Undoable,
        },
    });
}

/// The steps of the whole way from unprovisioned AMT, or from what a run of ours left in admin control mode.
pub(super) fn push(mhc: bool, route: &Route, skipped: Vec<String>, case: &Case<'_>, draft: &mut Draft) {
    let mebx = AmtSettings { mebx: true, ..AmtSettings::default() };
    let first = match route {
        Route::Alone | Route::Known => None,
        Route::Provision => Some((
            step::AMT_SETUP_ACM,
            StepKind::AmtSetupAcm { or_ccm: false, settings: mebx },
            "AMT is not provisioned, it will accept the certificate, and the sealed credential is on disk",
            None,
        )),
        Route::Complete(realm) => {
            let settings = if case.history.mebx.is_some() { AmtSettings::default() } else { mebx };
            Some((
                step::AMT_COMPLETE,
                StepKind::AmtComplete { realm: realm.clone(), settings },
                "AMT answers without a login with the realm that we know, and the credential logs in at the first try",
                Some(realm.clone()),
            ))
        }
    };
    let own_mebx = !matches!(route, Route::Alone);
    if let Some((id, what, precondition, realm)) = first {
        amt::require_durable(case, draft);
        amt::refuse_recipients(case, draft);
        let for_mebx = "asks to neutralize, and only admin control mode can give MEBx a password of its own";
        draft.steps.push(Step {
            id: id.to_owned(),
            channel: Some(Channel::Amt),
            what,
            reason: case.reason(for_mebx),
            precondition: precondition.to_owned(),
            reversibility: Reversibility::WithCredential,
        });
        draft.steps.push(Step {
            id: step::AMT_UNPROVISION.to_owned(),
            channel: Some(Channel::Amt),
            what: StepKind::AmtUnprovision { scope: Scope::Full, login: true, realm },
            reason: case.reason("asks to neutralize, and AMT can be switched off before provisioning only"),
            precondition: "AMT answers with the realm and takes the password of the step before".to_owned(),
            reversibility: Reversibility::WithCredential,
        });
    }
    draft.steps.push(lock(mhc, own_mebx, skipped, case));
}

fn lock(mhc: bool, own_mebx: bool, skipped: Vec<String>, case: &Case<'_>) -> Step {
    let mebx = if own_mebx { "has a password of its own" } else { "keeps the password it has" };
    let reason = case.reason(&format!(
        "asks to neutralize, and AMT {} can be switched off by its firmware while nobody has provisioned it; MEBx {mebx}{}",
        shown(case.detection.text("intel.amt.version")),
        before(&skipped)
    ));
    Step {
        id: step::LOCKDOWN.to_owned(),
        channel: Some(Channel::Amt),
        what: StepKind::AmtLockdown { mhc, own_mebx, skipped },
        reason,
        precondition: "AMT is not provisioned (PTHI: state pre, control mode none)".to_owned(),
        reversibility: Reversibility::WithCredential,
    }
}

pub(super) fn already(by: Option<LockedDown>, skipped: Vec<String>, case: &Case<'_>) -> Step {
    let (event, mebx_escrow) = match by {
        Some(by) => (Some(by.event), by.mebx_escrow),
        // A run of ours that died before its event gave MEBx its password all the same. AMT that others switched off says
        // nothing of MEBx: they may have changed the password on their way there.
        None => (None, case.history.mebx.clone().filter(|_| case.history.switching_off)),
    };
    let whose = event.as_ref().map_or(String::new(), |event| format!(", as event {event} says"));
    let reason = case
        .reason(&format!("asks to neutralize, and AMT reports itself disabled{whose}{}", before(&skipped)));
    let step = read_only(step::LOCKED_DOWN, StepKind::AmtLockedDown { event, mebx_escrow, skipped }, reason);
    Step { channel: Some(Channel::Amt), ..step }
}
