//! The claim that AMT was switched off by its firmware (`lockdown`), compared with what AMT shows now. The management
//! engine itself goes on running, so its registers say nothing here; AMT that is off on a later boot is the whole claim.

use super::amt::Off;
use super::engine::{Engine, Picture};
use super::findings;
use super::judge::Judgment;
use super::witness::{self, Boot};
use super::{Evidence, Lockdown, Look, Rung, Says, Verification, amt};
use crate::{Confidence, Exit, Finding, Severity, UNKNOWN, shown};

/// The claim that is compared here. An image that was staged, or an engine that is off altogether, is the greater one.
pub(super) fn claim<'a>(look: &Look<'a>, engine: &Engine) -> Option<&'a Lockdown> {
    let claim = look.claims.locked_down.as_ref()?;
    (look.history.staged.is_none() && !engine.is_disabled() && engine.picture != Picture::None)
        .then_some(claim)
}

pub(super) fn verification(look: &Look<'_>, engine: &Engine, claim: &Lockdown) -> Verification {
    let state = State::of(look);
    let boot = witness::boot_since(&claim.since, look.detection);
    let judgment = judge(claim, &state, &boot, look);
    let off = matches!(state, State::Off(_) | State::Gone(_)).then_some(Off::ByItself);
    let amt = amt::result(look, off);
    let exit = Exit::worst([judgment.exit].into_iter().chain(amt.as_ref().map(|amt| amt.exit)));
    let decisive = amt.as_ref().filter(|amt| amt.exit == exit && judgment.exit != exit);
    let reason = decisive.map_or(judgment.reason, |amt| amt.reason);
    let text = match &amt {
        Some(amt) => format!("{} {}", judgment.text, amt.text),
        None => judgment.text.clone(),
    };
    let effective = judgment.verdict.is_effective();
    let telling = exit == Exit::Drift || (effective && [Exit::Satisfied, Exit::Impossible].contains(&exit));
    let known = claim.recorded.as_ref();
    let is_known = known.is_some_and(|it| it.verdict == judgment.verdict.word() && it.reason == reason);
    Verification {
        verdict: judgment.verdict,
        confidence: effective.then_some(state.confidence()),
        engine: engine.picture.word(),
        exit,
        reason: reason.to_owned(),
        text,
        evidence: evidence(look, claim, &state, &boot),
        contradictions: match &state {
            State::Contradicted => vec![
                "AMT answers over PTHI that it is disabled, and the firmware says over MHC that it is on"
                    .to_owned(),
            ],
            _ => Vec::new(),
        },
        findings: findings(look, claim, &judgment),
        next: judgment.next,
        amt,
        not_assessed: not_assessed(look),
        lockdown: Some(claim.since.event.clone()),
        new: telling && !is_known,
    }
}

/// AMT as it shows itself in this boot.
enum State {
    Off(String),
    /// Its host interface is gone, as some firmware does when AMT is off.
    Gone(String),
    On,
    Contradicted,
    NotShown(String),
}

impl State {
    fn of(look: &Look<'_>) -> Self {
        let fact = look.detection.fact("intel.amt.verdict");
        let why = fact.and_then(|fact| fact.reason.as_deref()).map_or("nothing tells".to_owned(), shown);
        match (look.detection.text("intel.amt.verdict"), look.amt_on) {
            ("capable" | "standard-manageability", _) => Self::On,
            ("disabled" | "absent-or-disabled", Some(true)) => Self::Contradicted,
            ("disabled", _) => Self::Off(why),
            ("absent-or-disabled", Some(false)) => Self::Off(format!("the firmware says so over MHC; {why}")),
            ("absent-or-disabled", None) => Self::Gone(why),
            (_, Some(true)) => Self::On,
            _ => Self::NotShown(why),
        }
    }

    const fn confidence(&self) -> Confidence {
        match self {
            Self::Gone(_) => Confidence::Inferred,
            _ => Confidence::Observed,
        }
    }
}

fn judge(claim: &Lockdown, state: &State, boot: &Boot, look: &Look<'_>) -> Judgment {
    let event = shown(&claim.since.event);
    let again = "find out who enabled it (MEBx, BIOS setup, another program), and run `apply` again with the same policy";
    let drift = |reason, text: String| Judgment {
        verdict: Rung::Staged,
        exit: Exit::Drift,
        reason,
        text,
        next: vec![again.to_owned()],
    };
    let wait = |reason, text: String, next: &str| Judgment {
        verdict: Rung::Staged,
        exit: Exit::Pending,
        reason,
        text,
        next: vec![next.to_owned(), "then run `verify` again".to_owned()],
    };
    let off = match state {
        State::On => {
            let text = format!("Event {event} says that AMT was switched off by its firmware, and it is on.");
            return drift("lockdown-reverted", text);
        }
        State::Contradicted => {
            let text = format!(
                "Of AMT, which event {event} says was switched off, two sources contradict each other."
            );
            return drift("contradiction", text);
        }
        State::NotShown(why) => {
            let text = format!("Whether AMT is off, as event {event} says, is not shown: {why}.");
            let waiting = wait("not-shown", text, "run as root with the mei_me driver loaded");
            let was = claim.recorded.as_ref().is_some_and(|it| it.verdict == Rung::Effective.word());
            // Nothing refutes the claim, and nothing bears it out.
            return if was { Judgment { exit: Exit::Impossible, ..waiting } } else { waiting };
        }
        State::Off(why) => format!("AMT is off: {why}"),
        State::Gone(why) => format!("AMT's host interface is gone, as it is where AMT is off: {why}"),
    };
    match boot {
        Boot::Later(how) => effective(claim, &off, how, look),
        Boot::Same(why) => wait(
            "same-boot",
            format!("Switched off by event {event}, not seen on a later boot: {why}. {off}."),
            "restart the machine",
        ),
        Boot::Unknown => wait(
            "boot-unknown",
            format!(
                "Switched off by event {event}, and nothing tells whether the machine was booted since. {off}."
            ),
            "restart the machine",
        ),
    }
}

fn effective(claim: &Lockdown, off: &str, boot: &str, look: &Look<'_>) -> Judgment {
    let event = shown(&claim.since.event);
    let mut next = vec!["verify again after each firmware update: an update may undo it".to_owned()];
    let (exit, reason, mebx) = match &claim.mebx_escrow {
        Some(file) => {
            let text =
                format!("MEBx took a password of its own then, {}, which cannot be read back", shown(file));
            (Exit::Satisfied, "satisfied", text)
        }
        None => {
            next.insert(0, "give MEBx a password of its own at the keyboard".to_owned());
            let text =
                "not-satisfied: default MEBx password: nobody can read it, and no run of ours changed it";
            (Exit::Impossible, "default-mebx-password", text.to_owned())
        }
    };
    let by = if look.amt_on == Some(false) { " (PTHI and MHC agree)" } else { "" };
    Judgment {
        verdict: Rung::Effective,
        exit,
        reason,
        text: format!("AMT is switched off since event {event}, and stayed so ({boot}): {off}{by}. {mebx}."),
        next,
    }
}

fn evidence(look: &Look<'_>, claim: &Lockdown, state: &State, boot: &Boot) -> Vec<Evidence> {
    let item = |name, value: &str, source: &str, confidence, says, text: String| Evidence {
        name,
        value: value.into(),
        source: source.to_owned(),
        confidence,
        says,
        text,
    };
    let fact = look.detection.fact("intel.amt.verdict");
    let (says, text) = match state {
        State::Off(why) | State::Gone(why) => (Says::Supports, why.clone()),
        State::On => (Says::Contradicts, "AMT answers".to_owned()),
        State::Contradicted => (Says::Supports, "PTHI alone".to_owned()),
        State::NotShown(why) => (Says::Nothing, why.clone()),
    };
    let mut list = vec![item(
        "amt",
        look.detection.text("intel.amt.verdict"),
        fact.map_or(UNKNOWN, |fact| fact.source.as_str()),
        fact.map_or(Confidence::Hint, |fact| fact.confidence),
        says,
        text,
    )];
    if let Some(on) = look.amt_on {
        let says = if on { Says::Contradicts } else { Says::Supports };
        let value = if on { "on" } else { "off" };
        list.push(item(
            "mhc",
            value,
            "mei:mhc",
            Confidence::Observed,
            says,
            "the firmware's own switch".to_owned(),
        ));
    }
    let (value, says, how) = match boot {
        Boot::Later(how) => ("later", Says::Supports, how.as_str()),
        Boot::Same(how) => ("same", Says::Contradicts, how.as_str()),
        Boot::Unknown => ("unknown", Says::Nothing, "nothing tells when this machine was booted"),
    };
    let text = format!("since event {}: {how}", shown(&claim.since.event));
    list.push(item("boot", value, "host.boot_id", Confidence::Observed, says, text));
    list
}

fn findings(look: &Look<'_>, claim: &Lockdown, judgment: &Judgment) -> Vec<Finding> {
    let mut found = findings::of_history(look);
    let mut add = |id: &str, text: &str| {
        found.push(Finding { id: id.to_owned(), severity: Severity::Risk, text: text.to_owned() });
    };
    if ["lockdown-reverted", "contradiction"].contains(&judgment.reason) {
        add(
            "amt-enabled-again",
            "AMT was switched off and is not any more: somebody enabled it in MEBx or BIOS setup, or by a program with \
             root's rights.",
        );
    }
    if claim.mebx_escrow.is_none() {
        add(
            "amt-off-default-mebx",
            "No run of ours vouches for the MEBx password: as long as it is the factory's, anyone at the keyboard can enable \
             AMT again and take it over.",
        );
    }
    found
}

fn not_assessed(look: &Look<'_>) -> Vec<String> {
    let mut list = findings::not_assessed(look);
    list.push(
        "the management engine itself: `lockdown` switches AMT off, and the engine goes on running"
            .to_owned(),
    );
    list
}
