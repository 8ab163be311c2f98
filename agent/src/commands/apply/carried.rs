//! A plan carried out. One that had to switch AMT on first is followed by what is decided once AMT answers.

use std::collections::BTreeMap;

use oob_policy::{Exit, History, Outcome, Plan, refusal_outcomes};

use super::answering::history_of;
use super::{Inputs, certificate, enrollment, issuer, look, steps_shown};
use crate::carry_out::{Run, carry_out};
use crate::detect;
use crate::error::chain_of;
use crate::log::Progress;
use crate::machine::Machine;
use crate::named::Named;
use crate::state::{Chain, DirStore, Journal, Stored};

/// Where a run keeps what it does, and what was kept before.
pub(super) struct Keeping<'a> {
    pub(super) history: &'a mut History,
    /// What it was folded from.
    pub(super) stored: &'a Stored,
    pub(super) store: &'a DirStore,
    pub(super) chain: &'a mut Chain,
    pub(super) journal: &'a mut Journal,
}

/// The plan as it came to be, and what became of each of its steps.
pub(super) async fn carried(
    inputs: &mut Inputs,
    plan: Plan,
    mut keeping: Keeping<'_>,
    progress: Progress,
) -> (Plan, Vec<Outcome>) {
    let mut outcomes = carried_once(inputs, &plan, &mut keeping, progress).await;
    let answers = plan.enables_amt() && outcomes.iter().all(|outcome| outcome.exit == Exit::Satisfied);
    if plan.refused() || !answers {
        return (plan, outcomes);
    }
    inputs.look_again().await;
    let entries = keeping.journal.earlier();
    *keeping.history = history_of(&inputs.machine, &inputs.detection, keeping.stored, entries).await;
    if let Err(error) = keeping.journal.close_proven(keeping.history) {
        tracing::warn!(error = %chain_of(&error), "closing a change of another AMT");
    }
    let next = inputs.decide(keeping.history);
    if next.enables_amt() {
        // It answered, and is gone again: not to be switched twice in one run.
        for outcome in &mut outcomes {
            outcome.exit = Exit::Pending;
            outcome.cause = Some("reboot-needed".to_owned());
            outcome.text.push_str(", and does not any more: restart the machine and run again");
        }
        return (plan, outcomes);
    }
    let progress = Progress::new(steps_shown(&next));
    outcomes.extend(carried_once(inputs, &next, &mut keeping, progress).await);
    let mut whole = Plan { rule: next.rule, warnings: next.warnings, ..plan };
    whole.steps.extend(next.steps);
    (whole, outcomes)
}

async fn carried_once(
    inputs: &Inputs,
    plan: &Plan,
    keeping: &mut Keeping<'_>,
    progress: Progress,
) -> Vec<Outcome> {
    if plan.refused() {
        return refusal_outcomes(plan);
    }
    let mut run = Run {
        machine: &inputs.machine,
        policy: &inputs.policy,
        rule: plan.rule.as_deref(),
        detection: &inputs.detection,
        history: keeping.history,
        store: keeping.store,
        chain: keeping.chain,
        journal: keeping.journal,
        image: inputs.image.as_ref(),
        certificate: inputs.certificate.as_ref(),
        issuer: inputs.issuer.as_ref(),
        enrollment: inputs.enrollment.as_ref(),
        named: &inputs.named,
        known: &inputs.known,
        made: None,
        mebx: None,
        aliases: aliases(&inputs.machine),
        progress,
    };
    carry_out(&mut run, plan).await
}

impl Inputs {
    /// The machine shows more of itself now; the rule of before may be another one.
    async fn look_again(&mut self) {
        self.detection = look(&self.machine).await;
        self.certificate = certificate(&self.policy, &self.detection, &mut self.context);
        self.issuer = issuer(&self.policy, &self.detection, &mut self.context);
        self.enrollment = enrollment(&self.policy, &self.detection, &mut self.context);
        self.named = Named::read(&self.policy, &self.detection, self.issuer.as_ref(), &mut self.context);
    }
}

/// What else names this device, as the sealed file holds it.
fn aliases(machine: &Machine) -> BTreeMap<String, String> {
    detect::identity(machine).aliases.into_iter().map(|(kind, values)| (kind, values.join(" "))).collect()
}
