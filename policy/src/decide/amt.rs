//! `use`: Intel AMT.

mod deactivate;
mod enable;
pub(super) mod identity;
mod known;
mod network;
mod upgrade;
mod verdict;

use self::verdict::{refuse_verdict, silent};
use super::{Case, Draft};
use crate::pattern::{Version, version};
use crate::{
    AmtSettings, Channel, Consent, Exit, ModeWish, OpenChange, Recipient, Reversibility, Setting, Step,
    StepKind, UNKNOWN, shown, step,
};

pub(super) fn plan(case: &Case<'_>, draft: &mut Draft) {
    refuse_values(case, draft);
    let facts = Facts::of(case);
    if let Some(scope) = case.rule.and_then(|rule| rule.amt().unprovisioned) {
        return deactivate::plan(case, &facts, scope, draft);
    }
    if enable::applies(case, &facts) {
        return enable::plan(case, &facts, draft);
    }
    if !facts.capable() {
        return refuse_verdict(case, &facts, draft);
    }
    if let Some(text) = identity::stranger(case) {
        return refuse(draft, Exit::Impossible, "amt-of-another-machine", text);
    }
    // What a run of ours was unprovisioning when it ended is unprovisioned, and then set up anew.
    if let Some(realm) = case.history.half_left(case.detection) {
        deactivate::finish(case, realm, draft);
        return set_up(case, &facts, draft);
    }
    match situation(case, &facts) {
        Situation::Ours if upgrade::applies(case, &facts) => upgrade::plan(case, &facts, draft),
        Situation::ModeDrifted(_) if case.history.went_up(case.detection).is_some() => {
            upgrade::settle(case, draft)
        }
        Situation::Ours if known::takes(case) => {
            upgrade::suggest(case, &facts, draft);
            upgrade::refuse_more_than_asked(case, draft);
            known::ours(case, draft);
        }
        Situation::Ours => {
            upgrade::suggest(case, &facts, draft);
            confirm(case, draft);
            upgrade::refuse_more_than_asked(case, draft);
            require_credential(case, draft);
            require_settings(case, draft);
            network::require_certificate(case, draft);
            network::require_addresses(case, draft);
        }
        Situation::Clean => set_up(case, &facts, draft),
        Situation::Interrupted(open) => {
            draft.steps.push(undo(case, open.generation));
            set_up(case, &facts, draft);
        }
        Situation::Candidates(open) if case.context.known_credential => {
            known::resume(case, &facts, open, draft)
        }
        Situation::Candidates(open) => refuse_candidates(case, &facts, open, draft),
        Situation::ModeDrifted(ours) => refuse_drifted(&facts, ours, draft),
        Situation::Others => {
            if !known::take_over(case, &facts, draft) {
                refuse_others(case, &facts, draft);
            }
        }
        Situation::Unknown => refuse_unknown(case, draft),
    }
}

fn refuse_candidates(case: &Case<'_>, facts: &Facts<'_>, open: &OpenChange, draft: &mut Draft) {
    let text = format!(
        "a run of ours ended while credential generation {} was on its way, and AMT is now in a state that cannot be taken \
         back without a password (control mode {}): {}{}; open the newest with an identity and run again with \
         `--known-credential FILE`, then the next, one a run and 20 s apart",
        open.generation,
        shown(facts.mode),
        case.history.candidates(open),
        case.history.mebx_candidate()
    );
    refuse(draft, Exit::Indeterminate, "indeterminate", text);
}

fn refuse_drifted(facts: &Facts<'_>, ours: &str, draft: &mut Draft) {
    let text = format!(
        "AMT is in control mode {}, and our last proof says {ours}: somebody changed it since, so nothing is touched; find \
         out who, then unprovision it by hand",
        shown(facts.mode)
    );
    refuse(draft, Exit::Drift, "control-mode-drift", text);
}

fn refuse_others(case: &Case<'_>, facts: &Facts<'_>, draft: &mut Draft) {
    let text = format!(
        "AMT is provisioned (state {}, control mode {}), and nothing in org state shows that we did it, so it is not \
         touched: {}; then run again",
        shown(facts.provisioning),
        shown(facts.mode),
        known::way_out(case, facts)
    );
    refuse(draft, Exit::Impossible, "provisioned-by-others", text);
}

fn refuse_unknown(case: &Case<'_>, draft: &mut Draft) {
    let why = ["intel.amt.provisioning", "intel.amt.control_mode"].map(|name| because(case, name));
    let text = format!("AMT's state is not known, so it is not touched: {}", why.join("; "));
    silent(case, draft, text);
}

/// What AMT says of itself.
struct Facts<'a> {
    verdict: &'a str,
    provisioning: &'a str,
    mode: &'a str,
    version: Option<Version>,
}

impl<'a> Facts<'a> {
    fn of(case: &Case<'a>) -> Self {
        let detection = case.detection;
        let text = detection.known("intel.amt.version").or_else(|| detection.known("intel.me.version"));
        Self {
            verdict: detection.text("intel.amt.verdict"),
            provisioning: detection.text("intel.amt.provisioning"),
            mode: detection.text("intel.amt.control_mode"),
            version: text.and_then(version).map(|(version, _)| version),
        }
    }

    fn capable(&self) -> bool {
        ["capable", "standard-manageability"].contains(&self.verdict)
    }
}

enum Situation<'a> {
    /// Proved ours, and nothing begun since.
    Ours,
    /// Proved ours, in another control mode now.
    ModeDrifted(&'a str),
    /// Not provisioned.
    Clean,
    /// Our unfinished change, which can be taken back without a password.
    Interrupted(&'a OpenChange),
    /// Our unfinished change, which cannot.
    Candidates(&'a OpenChange),
    Others,
    Unknown,
}

fn situation<'a>(case: &Case<'a>, facts: &Facts<'_>) -> Situation<'a> {
    let provisioned = ["ccm", "acm"].contains(&facts.mode) || ["in", "post"].contains(&facts.provisioning);
    if !provisioned {
        return match (facts.provisioning, facts.mode) {
            ("pre", "none") => Situation::Clean,
            _ => Situation::Unknown,
        };
    }
    match (case.history.amt.as_ref(), case.history.unfinished()) {
        (Some(ours), None) if facts.mode != UNKNOWN && facts.mode != ours.control_mode => {
            Situation::ModeDrifted(&ours.control_mode)
        }
        (Some(_), None) => Situation::Ours,
        // The call was never sent, so whoever provisioned it was not us.
        (_, Some(open)) if !open.call_sent => Situation::Others,
        // What had a password before is not ours to take back.
        (_, Some(open)) if ["ccm", "none"].contains(&facts.mode) && !open.rotation => {
            Situation::Interrupted(open)
        }
        // From AMT 19 on, what is not committed goes back without a password (reference/amt.md 5.5).
        (_, Some(open)) if is_uncommitted(facts) && !open.rotation => Situation::Interrupted(open),
        (_, Some(open)) => Situation::Candidates(open),
        (None, None) => Situation::Others,
    }
}

/// Our unfinished change, where it can be taken back without a password, for a policy that no longer asks for it.
pub(super) fn interrupted<'a>(case: &Case<'a>) -> Option<&'a OpenChange> {
    match situation(case, &Facts::of(case)) {
        Situation::Interrupted(open) => Some(open),
        _ => None,
    }
}

fn is_uncommitted(facts: &Facts<'_>) -> bool {
    let commits = facts.version.is_some_and(|[major, ..]| major >= 19);
    commits && facts.provisioning == "in" && facts.mode == "acm"
}

fn confirm(case: &Case<'_>, draft: &mut Draft) {
    let Some(ours) = &case.history.amt else { return };
    draft.steps.push(Step {
        id: step::AMT_CONFIRM.to_owned(),
        channel: Some(Channel::Amt),
        what: StepKind::AmtConfirm { realm: ours.realm.clone(), last_proof: ours.event.clone() },
        reason: case.reason(&format!(
            "asks to use AMT, and event {} proves generation {} ours",
            ours.event, ours.generation
        )),
        precondition: "AMT answers without a login with the realm of that proof".to_owned(),
        reversibility: Reversibility::ReadOnly,
    });
}

fn set_up(case: &Case<'_>, facts: &Facts<'_>, draft: &mut Draft) {
    // Host based setup came with AMT 6.2.
    match facts.version {
        None => {
            let text = format!(
                "AMT's version is not known, and setup differs by version: {}",
                because(case, "intel.amt.version")
            );
            refuse(draft, Exit::Impossible, "amt-version-unknown", text);
        }
        Some([major, minor, ..]) if (major, minor) < (6, 2) => {
            let text = format!("AMT {major}.{minor} has no host based setup; AMT 6.2 is the first that has");
            refuse(draft, Exit::Impossible, "amt-too-old", text);
        }
        Some(_) => {}
    }
    require_durable(case, draft);
    if let Some(ours) = case.history.left(case.detection).filter(|_| facts.provisioning == "pre") {
        draft.warnings.push(format!(
            "event {} proves AMT ours in control mode {}, and our journal shows that a run ended while it was being \
             unprovisioned, which it is by now; it is set up again with a new credential",
            ours.event, ours.control_mode
        ));
    } else if let Some(ours) = case.history.amt.as_ref().filter(|_| facts.provisioning == "pre") {
        draft.warnings.push(format!(
            "drift: event {} proves AMT ours in control mode {}, and it is not provisioned any more; it is set up again \
             with a new credential",
            ours.event, ours.control_mode
        ));
    }
    let mode = mode(case, facts, draft);
    let settings = settings(case, draft);
    let besides = match settings.is_empty() {
        true => String::new(),
        false => format!(" with {}", settings.words().join(", ")),
    };
    let reason = case.reason(&format!(
        "asks to use AMT{besides}; it is {} and its provisioning state is {}",
        facts.verdict,
        shown(facts.provisioning)
    ));
    draft.steps.push(match mode {
        ModeWish::Ccm => Step {
            id: step::AMT_SETUP_CCM.to_owned(),
            channel: Some(Channel::Amt),
            what: StepKind::AmtSetupCcm { settings },
            reason,
            precondition: "AMT is not provisioned, and the sealed credential is on disk".to_owned(),
            reversibility: Reversibility::Undoable,
        },
        wish => Step {
            id: step::AMT_SETUP_ACM.to_owned(),
            channel: Some(Channel::Amt),
            what: StepKind::AmtSetupAcm { or_ccm: wish == ModeWish::AcmOrCcm, settings },
            reason,
            precondition:
                "AMT is not provisioned, it will accept the certificate, and the sealed credential is on disk"
                    .to_owned(),
            reversibility: Reversibility::WithCredential,
        },
    });
}

pub(super) fn require_durable(case: &Case<'_>, draft: &mut Draft) {
    if let Some(why) = &case.context.escrow_not_durable {
        let text = format!(
            "a new credential would not be kept safe in --out, so none is made and AMT is not touched: {}; give an --out \
             on a disk",
            shown(why)
        );
        refuse(draft, Exit::EscrowNotDurable, "escrow-not-durable", text);
    }
}

/// The control mode that can be tried, where policy leaves a choice or asks for what cannot be.
fn mode(case: &Case<'_>, facts: &Facts<'_>, draft: &mut Draft) -> ModeWish {
    let wish = case.rule.map(|rule| rule.amt().control_mode).unwrap_or_default();
    if wish == ModeWish::Ccm {
        return wish;
    }
    // Host based setup of admin control mode came with AMT 7 (reference/amt.md 5.3).
    let old = facts.version.filter(|[major, ..]| *major < 7);
    let why = match (&case.context.certificate, old) {
        (_, Some([major, minor, ..])) => {
            format!(
                "AMT {major}.{minor} enters admin control mode from the keyboard only, AMT 7 is the first that does with a certificate"
            )
        }
        (Some(Ok(_)), None) => return wish,
        (Some(Err(why)), None) => format!("the provisioning certificate cannot be used: {}", shown(why)),
        (None, None) => "no provisioning certificate is named: give `amt.certificate`".to_owned(),
    };
    if wish == ModeWish::Acm {
        refuse(
            draft,
            Exit::Impossible,
            "acm-not-possible",
            format!("policy asks for admin control mode, and {why}"),
        );
    } else {
        draft.warnings.push(format!("client control mode instead of admin control mode: {why}"));
    }
    if wish == ModeWish::Acm { wish } else { ModeWish::Ccm }
}

/// What is written after activation, in the run that knows the password.
fn settings(case: &Case<'_>, draft: &mut Draft) -> AmtSettings {
    let Some(mut wishes) = case.rule.map(crate::Rule::amt) else { return AmtSettings::default() };
    wishes.settings = network::wanted(case);
    network::refuse_impossible(case, &wishes.settings, draft);
    network::warn_of_radio(case, &wishes.settings, draft);
    if wishes.control_mode == ModeWish::Ccm {
        let mut refuse_in_ccm = |key: &str, why: &str| {
            let text = format!("client control mode {why}: remove `{key}`, or ask for admin control mode");
            draft.refuse(Exit::Impossible, "not-in-ccm", Some(key), Some(Channel::Amt), text);
        };
        if wishes.settings.consent.is_some_and(|consent| consent != Consent::All) {
            refuse_in_ccm("amt.consent", "always asks a person for consent, and that cannot be changed");
        }
        if wishes.settings.mebx {
            refuse_in_ccm("amt.mebx", "cannot set the MEBx password");
        }
    }
    if wishes.settings.hostname && case.detection.known("host.name").is_none() {
        let text = format!("policy asks to give AMT this machine's name, and {}", because(case, "host.name"));
        draft.refuse(Exit::Impossible, "hostname-unknown", None, Some(Channel::Amt), text);
    }
    if let Some(why) = &case.context.tls_ca_unusable {
        let text = format!("the CA for AMT's TLS certificate cannot be used: {}", shown(why));
        draft.refuse(Exit::Impossible, "tls-ca-unusable", None, Some(Channel::Amt), text);
    }
    let no_kvm = case.detection.text("intel.amt.verdict") == "standard-manageability";
    if wishes.settings.kvm == Some(true) && no_kvm {
        let text = "Intel Standard Manageability has no KVM: remove `amt.kvm`, or match these machines with another rule";
        draft.refuse(Exit::Impossible, "no-kvm", Some("amt.kvm"), Some(Channel::Amt), text.to_owned());
    }
    wishes.settings
}

/// Settings can be written by whoever knows the password, and a later run does not: what was not proven then is drift.
fn require_settings(case: &Case<'_>, draft: &mut Draft) {
    let Some(ours) = &case.history.amt else { return };
    let wanted = network::wanted(case);
    if network::refuse_unread_ca(case, &wanted, draft) {
        return;
    }
    let missing = lacking(&wanted, ours);
    if !missing.is_empty() {
        let text = format!(
            "AMT is ours by event {}, and {} was not seen in force: open its credential ({}) and run again with \
             `--known-credential FILE`, or change policy",
            ours.event,
            missing.join(", "),
            shown(&ours.escrow)
        );
        refuse(draft, Exit::Drift, "amt-incomplete", text);
    }
}

/// The wishes that the proof does not hold, of those that its mode can fulfill.
fn lacking(wanted: &AmtSettings, ours: &crate::AmtOurs) -> Vec<String> {
    let wanted = if ours.control_mode == "ccm" { wanted.in_client_mode() } else { wanted.clone() };
    wanted.words().into_iter().filter(|word| !ours.settings.contains(word)).collect()
}

pub(super) fn undo(case: &Case<'_>, generation: u32) -> Step {
    Step {
        id: step::AMT_UNDO.to_owned(),
        channel: Some(Channel::Amt),
        what: StepKind::AmtUndo { generation },
        reason: case.reason(&format!(
            "asks to use AMT, and our journal shows that a run ended while generation {generation} was being set up"
        )),
        precondition: "the journal is still open at this generation, and AMT has not committed admin control mode"
            .to_owned(),
        reversibility: Reversibility::Undoable,
    }
}

/// A value that no step carries out is refused before any call, never ignored.
fn refuse_values(case: &Case<'_>, draft: &mut Draft) {
    for setting in case.rule.iter().flat_map(|rule| &rule.settings) {
        if !carried_out(setting) {
            refuse_value(setting, draft);
        }
    }
    refuse_recipients(case, draft);
}

/// An age file needs the SSH part of the format for these, which this build leaves out.
pub(super) fn refuse_recipients(case: &Case<'_>, draft: &mut Draft) {
    for recipient in case.policy.recipients.iter().filter(|recipient| recipient.key.starts_with("ssh-")) {
        let text = format!(
            "escrow recipient `{}` is an SSH key, and this build seals to age keys only: give an age1... key",
            recipient.name
        );
        draft.refuse(
            Exit::Impossible,
            "policy-value-not-carried-out",
            Some(&recipient.name),
            Some(Channel::Amt),
            text,
        );
    }
}

fn refuse_value(setting: &Setting, draft: &mut Draft) {
    let Setting { key, value, line } = setting;
    let text = format!(
        "no step of this build carries out `{key} = {value}` (line {line}): remove the key to leave it alone"
    );
    let channel = match key.split('.').next() {
        Some("dash") => Channel::Dash,
        _ => Channel::Amt,
    };
    draft.refuse(Exit::Impossible, "policy-value-not-carried-out", Some(key), Some(channel), text);
}

fn carried_out(setting: &Setting) -> bool {
    setting.key.starts_with("amt.")
}

/// Proven ours is worth nothing if nobody can open the proof any more.
fn require_credential(case: &Case<'_>, draft: &mut Draft) {
    let Some(ours) = &case.history.amt else { return };
    if !ours.sealed {
        let way = if ours.control_mode == "ccm" {
            "client control mode undone over MEI"
        } else {
            "it undone in MEBx"
        };
        let text = format!(
            "AMT is ours by event {}, but its credential {} is not in this store or damaged: bring it back from another \
             copy of org state, run again with `--known-credential FILE`, or have {way}",
            ours.event,
            shown(&ours.escrow)
        );
        refuse(draft, Exit::Drift, "credential-missing", text);
    }
    let sealed_to =
        |recipient: &Recipient| ours.recipients.iter().any(|label| label.ends_with(&recipient.fingerprint()));
    for recipient in case.policy.recipients.iter().filter(|it| !ours.recipients.is_empty() && !sealed_to(it))
    {
        draft.warnings.push(format!(
            "the live AMT credential is not sealed to recipient `{}`, who came into the policy later: rewrap it",
            recipient.name
        ));
    }
}

fn refuse(draft: &mut Draft, exit: Exit, cause: &str, text: String) {
    draft.refuse(exit, cause, None, Some(Channel::Amt), text);
}

/// A fact with its reason, as a clause.
fn because(case: &Case<'_>, name: &str) -> String {
    let value = shown(case.detection.text(name));
    match case.detection.fact(name).and_then(|fact| fact.reason.as_deref()) {
        Some(reason) => format!("{name} is {value} ({})", shown(reason)),
        None => format!("{name} is {value}"),
    }
}
