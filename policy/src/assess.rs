//! What is told afterwards, from what was found, planned and done. Pure; never more than was proven.

mod channels;
mod findings;
mod posture;

pub(crate) use channels::ability;

use crate::{
    Action, Agent, AmtOurs, Capability, CapabilitySummary, ChannelRecord, ChannelState, Context, Detection,
    Exit, History, OpenChange, Outcome, Plan, Policy, PolicyRef, Report, Status, StepKind, UNKNOWN, Value,
    decide, step,
};

/// Everything one report is made from.
#[derive(Clone, Copy)]
pub struct Assessment<'a> {
    pub policy: &'a Policy,
    pub detection: &'a Detection,
    pub history: &'a History,
    pub context: &'a Context,
    pub plan: &'a Plan,
    /// One per step of the plan that was reached; of a refused plan those of [`refusal_outcomes`].
    pub outcomes: &'a [Outcome],
    /// The id under which this run is recorded; a weak one where the hardware has none.
    pub device_id: &'a str,
    pub run_id: &'a str,
    /// RFC 3339 by this machine's clock.
    pub time: &'a str,
    /// Version of the agent.
    pub version: &'a str,
}

/// The report of a run.
pub fn assess(input: &Assessment<'_>) -> Report {
    let channels = channels::records(input);
    let exit = Exit::worst(input.outcomes.iter().map(|outcome| outcome.exit));
    Report {
        schema: Report::SCHEMA.to_owned(),
        root: input.context.root,
        device_id: input.device_id.to_owned(),
        run_id: input.run_id.to_owned(),
        time: input.time.to_owned(),
        clock_trusted: input.context.clock_trusted,
        agent: Agent { name: "oob-agent".to_owned(), version: input.version.to_owned() },
        policy: PolicyRef {
            name: input.policy.name.clone(),
            serial: input.policy.serial,
            sha256: input.policy.sha256.clone(),
            rule: input.plan.rule.clone(),
            action: input.plan.action,
            trust: "unsigned".to_owned(), // until signatures are verified
            recipients: input.policy.recipients.iter().map(crate::Recipient::label).collect(),
        },
        facts: input.detection.facts.clone(),
        plan: input.plan.clone(),
        outcomes: input.outcomes.to_vec(),
        findings: findings::findings(input),
        capability: Capability {
            schema: Capability::SCHEMA.to_owned(),
            summary: summary(&channels),
            channels,
        },
        changed: input.outcomes.iter().any(|outcome| outcome.changed),
        exit,
        reason: reason(input.outcomes, exit),
        verdict: verdict(input, exit),
        not_assessed: findings::not_assessed(input),
    }
}

/// What became of the steps of a plan that was refused: nothing was carried out.
pub fn refusal_outcomes(plan: &Plan) -> Vec<Outcome> {
    let outcome = |step: &crate::Step| match &step.what {
        StepKind::Refuse { exit, cause, text } => Outcome {
            step: step.id.clone(),
            status: Status::Failed,
            changed: false,
            exit: *exit,
            cause: Some(cause.clone()),
            text: text.clone(),
            evidence: Default::default(),
        },
        _ => Outcome {
            step: step.id.clone(),
            status: Status::Skipped,
            changed: false,
            exit: Exit::Satisfied,
            cause: None,
            text: "not carried out: the plan holds a refusal".to_owned(),
            evidence: Default::default(),
        },
    };
    plan.steps.iter().map(outcome).collect()
}

impl<'a> Assessment<'a> {
    /// The outcome of a step that ended with `status`.
    fn outcome(&self, step: &str, status: Status) -> Option<&'a Outcome> {
        self.outcomes.iter().find(|outcome| outcome.step == step && outcome.status == status)
    }

    /// AMT that this run set up, or logged in to, in whichever mode; also one that is proven and lacks settings.
    fn set_up(&self) -> Option<&'a Outcome> {
        self.outcomes.iter().find(|outcome| sets_up(outcome))
    }

    /// What shows that AMT is not provisioned, by policy or on the way to what policy asks, and nothing since that it is.
    fn unprovisioned(&self) -> Option<&'a Outcome> {
        let shows = |outcome: &&Outcome| match outcome.status {
            Status::Done => {
                [step::AMT_UNPROVISION, step::AMT_STOP, step::AMT_UNDO].contains(&outcome.step.as_str())
            }
            Status::AlreadySo => outcome.step == step::AMT_UNPROVISIONED,
            _ => false,
        };
        let by_others = |outcome: &Outcome| outcome.cause.as_deref() == Some("provisioned-by-others");
        let unchanged = |outcome: &&Outcome| {
            !sets_up(outcome) && outcome.exit != Exit::Indeterminate && !by_others(outcome)
        };
        self.outcomes.iter().rev().take_while(unchanged).find(shows)
    }

    /// The proof of an earlier run whose realm answered in this one. The step says which, since merged stores hold several.
    fn confirmed(&self) -> Option<&'a AmtOurs> {
        let outcome = self.outcome(step::AMT_CONFIRM, Status::AlreadySo)?;
        let event = outcome.evidence.get("event").and_then(Value::as_text);
        let named = self.history.proofs().find(|ours| Some(ours.event.as_str()) == event);
        named.or(self.history.amt.as_ref())
    }

    /// AMT is on, and was provisioned when this run began.
    fn provisioned(&self) -> bool {
        let told = |name: &str| self.detection.text(name);
        ["capable", "standard-manageability"].contains(&told("intel.amt.verdict"))
            && (["in", "post"].contains(&told("intel.amt.provisioning"))
                || ["ccm", "acm"].contains(&told("intel.amt.control_mode")))
    }

    /// Something shows that AMT is another one than what our proofs and our journal are of.
    fn is_others(&self) -> bool {
        let told = ["realm-changed", "control-mode-drift", "provisioned-by-others", "amt-of-another-machine"];
        let by = |outcome: &Outcome| {
            let cause = outcome.cause.as_deref().unwrap_or_default();
            told.contains(&cause) || outcome.step == step::AMT_TAKE_OVER
        };
        self.outcomes.iter().any(by) || decide::is_strange(self.detection)
    }

    /// AMT of an earlier run's proof that this run had no reason to take for another one, and did not confirm either: it
    /// refused to go on, could not reach it, found it not as proven, or had nothing to do with it.
    fn unconfirmed(&self) -> Option<&'a AmtOurs> {
        let (history, detection) = (self.history, self.detection);
        let known = self.unprovisioned().is_some() || self.indeterminate().is_some();
        if known || !self.provisioned() || self.is_others() || history.in_doubt(detection).is_some() {
            return None;
        }
        // A setup that was begun since found AMT unprovisioned. It was not sent, so others set AMT up.
        if history.unfinished().is_some() {
            return None;
        }
        let event = self.outcomes.iter().find_map(|outcome| outcome.evidence.get("event")?.as_text());
        let ours =
            history.proofs().find(|ours| Some(ours.event.as_str()) == event).or(history.amt.as_ref())?;
        let mode = detection.text("intel.amt.control_mode");
        let is_its_mode = [UNKNOWN, ours.control_mode.as_str()].contains(&mode);
        let by_us = history.went_up(detection).or_else(|| history.left(detection));
        (is_its_mode || by_us.is_some_and(|it| it.event == ours.event)).then_some(ours)
    }

    /// A change of an earlier run that AMT may have taken, where this run did not find out.
    fn in_doubt(&self) -> Option<&'a OpenChange> {
        let off = ["absent", "disabled", "absent-or-disabled"];
        let known = self.set_up().is_some()
            || self.unprovisioned().is_some()
            || self.locked_down().is_some()
            || off.contains(&self.detection.text("intel.amt.verdict"))
            || self.is_others();
        self.history.in_doubt(self.detection).filter(|_| !known)
    }

    /// What left the device in a state that nobody knows, if anything did.
    fn indeterminate(&self) -> Option<&'a Outcome> {
        self.outcomes.iter().find(|outcome| outcome.exit == Exit::Indeterminate)
    }

    /// What shows that AMT is switched off by its firmware, by this run or before it.
    fn locked_down(&self) -> Option<&'a Outcome> {
        self.outcome(step::LOCKDOWN, Status::Done)
            .or_else(|| self.outcome(step::LOCKED_DOWN, Status::AlreadySo))
    }

    /// The password that MEBx took before AMT was switched off, as an escrow file.
    fn own_mebx(&self) -> bool {
        self.locked_down().is_some_and(|off| off.evidence.contains_key("mebx_escrow"))
    }

    /// A later step left AMT in a state that nobody knows, whatever was proven before it.
    fn lost(&self) -> Option<&'a Outcome> {
        let late = [step::AMT_UNPROVISION, step::LOCKDOWN];
        self.indeterminate().filter(|outcome| late.contains(&outcome.step.as_str()))
    }

    /// True if an image is staged, by this run or an earlier one.
    fn staged(&self) -> bool {
        [step::STAGE_CLEAN, step::STAGE_SOFT_DISABLE].into_iter().any(|step| {
            [Status::Done, Status::AlreadySo].into_iter().any(|status| self.outcome(step, status).is_some())
        })
    }
}

fn sets_up(outcome: &Outcome) -> bool {
    [
        step::AMT_SETUP_CCM,
        step::AMT_SETUP_ACM,
        step::AMT_COMPLETE,
        step::AMT_ROTATE,
        step::AMT_TAKE_OVER,
        step::AMT_UPGRADE,
    ]
    .contains(&outcome.step.as_str())
        && (outcome.status == Status::Done || outcome.evidence.contains_key("proof"))
}

/// Counts only what is set up, so that it never over-promises.
fn summary(channels: &[ChannelRecord]) -> CapabilitySummary {
    let set_up =
        |record: &&ChannelRecord| matches!(record.state, ChannelState::Provisioned | ChannelState::Verified);
    let can =
        |what: &str| channels.iter().filter(set_up).any(|record| record.can.iter().any(|it| it == what));
    // A watchdog acts from inside; all others act from another machine.
    let remote =
        |record: &&ChannelRecord| record.channel != crate::Channel::Watchdog && !record.can.is_empty();
    CapabilitySummary {
        can_power_cycle: can("power_cycle"),
        can_power_on: can("power_on"),
        can_see_console: can("console_text") || can("console_kvm"),
        can_boot_media: can("media"),
        independent_paths: channels.iter().filter(set_up).filter(remote).map(|_| 1_u64).sum(),
        worst_case: "physical access".to_owned(),
    }
}

/// The cause of the outcome that decided the exit.
fn reason(outcomes: &[Outcome], exit: Exit) -> String {
    let decisive =
        outcomes.iter().filter(|outcome| outcome.exit == exit).find_map(|outcome| outcome.cause.clone());
    match decisive {
        Some(cause) if exit != Exit::Satisfied => cause,
        _ => word(exit).to_owned(),
    }
}

const fn word(exit: Exit) -> &'static str {
    match exit {
        Exit::Satisfied => "satisfied",
        Exit::Usage => "usage",
        Exit::PolicyRefused => "policy-refused",
        Exit::EscrowNotDurable => "escrow-not-durable",
        Exit::DeviceFailed => "device-failed",
        Exit::Indeterminate => "indeterminate",
        Exit::Undelivered => "undelivered",
        Exit::Impossible => "impossible",
        Exit::Drift => "drift",
        Exit::Pending => "pending",
        Exit::Internal => "internal",
    }
}

fn verdict(input: &Assessment<'_>, exit: Exit) -> String {
    let changed = input.outcomes.iter().any(|outcome| outcome.changed);
    let untouched = if changed { "" } else { "; nothing was changed" };
    let decisive =
        input.outcomes.iter().find(|outcome| outcome.exit == exit).map(|outcome| outcome.text.as_str());
    match (exit, input.plan.action) {
        (Exit::Satisfied, Action::Ignore) => {
            "As policy asks, the out-of-band hardware was recorded and not touched.".to_owned()
        }
        (Exit::Satisfied, Action::Use) if input.set_up().is_some() => {
            let mode = channels::control_mode(input.set_up());
            let told = |name: &str| input.set_up().and_then(|done| done.evidence.get(name));
            let handshake = told("tls_handshake").and_then(Value::as_text);
            let settings = match (told("settings"), handshake) {
                (None, _) => "",
                (Some(_), Some(unseen)) if unseen != "seen" => {
                    ", what policy asks of its settings was read back, TLS was committed and not seen from here"
                }
                (Some(_), _) => ", what policy asks of its settings was read back",
            };
            let (what, credential) = match input.set_up().map(|done| done.step.as_str()) {
                Some(step::AMT_COMPLETE) => ("is ours", "the credential that was given"),
                Some(step::AMT_ROTATE) => ("is ours", "its new credential"),
                Some(step::AMT_UPGRADE) => ("is ours", "the credential that was given"),
                Some(step::AMT_TAKE_OVER) => ("was taken over", "its new credential"),
                _ => ("was set up", "its new credential"),
            };
            format!(
                "AMT {what} in {mode}, {credential} was seen working locally{settings}; nothing was tried from another \
                 machine."
            )
        }
        (Exit::Satisfied, Action::Use) if changed && input.unprovisioned().is_some() => {
            "AMT was unprovisioned, as policy asks, and seen so; nothing was tried from another machine.".to_owned()
        }
        (Exit::Satisfied, Action::Use) if input.unprovisioned().is_some() => {
            "AMT is not provisioned, as policy asks; nothing was changed.".to_owned()
        }
        (Exit::Satisfied, Action::Use) => "AMT is as policy asks; nothing was changed.".to_owned(),
        (Exit::Impossible, _) if !changed && asked_to_report(input.plan) => {
            format!("Not satisfied ({}): policy asks for a report only{untouched}", reason(input.outcomes, exit))
        }
        (Exit::Satisfied, Action::Neutralize) if input.locked_down().is_some() => format!(
            "{}; only `verify` on a later boot may say that it is in effect.",
            input.locked_down().map_or("AMT is switched off", |off| off.text.as_str())
        ),
        (Exit::Satisfied, Action::Neutralize) => {
            "The management engine reports itself soft-disabled, so nothing was staged: detected, not verified; only \
             `verify` may say that it is in effect."
                .to_owned()
        }
        (Exit::Pending, Action::Use) => {
            format!("Not yet as policy asks: {}", decisive.unwrap_or("a further step is needed"))
        }
        (Exit::Pending, _) => {
            format!("Staged, not yet in effect: {}", decisive.unwrap_or("a further step is needed"))
        }
        _ => format!(
            "Not satisfied ({}): {}{untouched}",
            reason(input.outcomes, exit),
            decisive.unwrap_or("see outcomes")
        ),
    }
}

/// True where `report-only` is not the last resort but all that policy asks for.
fn asked_to_report(plan: &Plan) -> bool {
    plan.steps.iter().any(|step| matches!(&step.what, StepKind::ReportOnly { because } if because.is_empty()))
}
