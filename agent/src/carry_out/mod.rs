//! The one place that runs steps. A step that fails ends the run; what follows it is skipped and said so.

use std::collections::BTreeMap;

use oob_policy::{Detection, Exit, History, Outcome, Plan, Policy, Status, Step, StepKind, Value};
use oob_wsman::digest::Realm;

use crate::certificate::Certified;
use crate::enroll::Enrollment;
use crate::firmware::Image;
use crate::known::Known;
use crate::log::Progress;
use crate::machine::Machine;
use crate::named::Named;
use crate::secrets::Password;
use crate::state::{Chain, DirStore, Journal};

mod acm;
mod addresses;
pub mod amt;
mod confirm;
mod credential;
mod deactivate;
mod enable;
mod failure;
mod http;
mod known;
mod lme;
mod lms;
mod lockdown;
mod mhc;
mod mutual;
mod ours;
mod over_tls;
mod peer;
mod posture;
mod power;
mod proof;
mod prune;
mod quirks;
mod record;
mod rotate;
mod self_made;
mod settings;
mod setup;
mod stage;
mod tls;
mod upgrade;
mod wifi;

pub use confirm::{see_amt, which_answers};
use failure::Failure;
use known::Goal;
pub use mhc::amt_enabled;
pub(crate) use proof::cnonce;
use setup::Wish;

/// Everything a step may use. Steps take no other way to the machine, the store or the operator.
pub struct Run<'a> {
    pub machine: &'a Machine,
    pub policy: &'a Policy,
    /// Id of the rule that applies; none where the defaults do.
    pub rule: Option<&'a str>,
    pub detection: &'a Detection,
    pub history: &'a History,
    pub store: &'a DirStore,
    pub chain: &'a mut Chain,
    pub journal: &'a mut Journal,
    pub image: Option<&'a Image>,
    /// The provisioning certificate that the rule names.
    pub certificate: Option<&'a Certified>,
    /// The CA that issues AMT's TLS certificate, where the rule names one.
    pub issuer: Option<&'a Certified>,
    /// The CA over HTTPS that does, where the rule names that.
    pub enrollment: Option<&'a Enrollment>,
    /// What other files hold that the rule names for AMT's network.
    pub named: &'a Named,
    /// Credentials that the operator gave, in the order in which they are tried.
    pub known: &'a [Known],
    /// AMT that a step of this run set up: its password, for the steps that follow.
    pub made: Option<Made>,
    /// Escrow file of a password that MEBx took in this run.
    pub mebx: Option<String>,
    /// What else names this device, sealed beside a credential so that a lost index is no lost machine.
    pub aliases: BTreeMap<String, String>,
    pub progress: Progress,
}

/// A password that this run gave to AMT and proved.
pub struct Made {
    realm: Realm,
    password: Password,
}

/// Carries out a plan without refusals, in order.
pub async fn carry_out(run: &mut Run<'_>, plan: &Plan) -> Vec<Outcome> {
    let mut outcomes: Vec<Outcome> = Vec::new();
    for step in &plan.steps {
        let failed =
            outcomes.iter().any(|outcome| matches!(outcome.status, Status::Failed | Status::NeedsHuman));
        let outcome = if failed { skipped(step) } else { carry_out_step(run, step).await };
        if let (Status::Done, Some(file)) = (outcome.status, outcome.evidence.get("mebx_escrow")) {
            run.mebx = file.as_text().map(str::to_owned);
        }
        outcomes.push(outcome);
    }
    outcomes
}

async fn carry_out_step(run: &mut Run<'_>, step: &Step) -> Outcome {
    // A certificate that nobody will issue is no reason to change anything.
    if let Some(ca) = run.enrollment.filter(|_| step.what.settings().is_some_and(|it| it.tls.is_some()))
        && let Err(unissued) = ca.reach(run.machine).await
    {
        return Failure::from(unissued).recorded(run, step);
    }
    match &step.what {
        StepKind::Record => outcome(step, Status::Done, "nothing was touched; what was found is recorded"),
        StepKind::AmtSetupCcm { settings } => setup::set_up(run, step, Wish::Ccm, settings).await,
        StepKind::AmtSetupAcm { or_ccm, settings } => {
            let wish = if *or_ccm { Wish::AcmOrCcm } else { Wish::Acm };
            setup::set_up(run, step, wish, settings).await
        }
        StepKind::AmtComplete { realm, settings } => {
            known::go_on(run, step, Goal::Complete, Some(realm), settings).await
        }
        StepKind::AmtRotate { realm, settings } => {
            known::go_on(run, step, Goal::Rotate, Some(realm), settings).await
        }
        StepKind::AmtTakeOver { settings } => known::go_on(run, step, Goal::TakeOver, None, settings).await,
        StepKind::AmtUndo { generation } => ours::undo(run, step, *generation).await,
        StepKind::AmtConfirm { realm, last_proof } => confirm::confirm(run, step, realm, last_proof).await,
        StepKind::AmtEnable { told, suffix } => enable::enable(run, step, told.as_deref(), *suffix).await,
        StepKind::AmtUpgrade { realm, or_ccm, settings } => {
            upgrade::upgrade(run, step, realm, *or_ccm, settings).await
        }
        StepKind::AmtUnprovision { scope, login, realm } => {
            deactivate::deactivate(run, step, *scope, *login, realm.as_deref()).await
        }
        StepKind::AmtUnprovisioned => deactivate::already(run, step).await,
        // The caller reads the chip and decides anew before anything is carried out.
        StepKind::ReadFlash => failed(step, Exit::Internal, "flash-not-read", "the flash chip was not read"),
        StepKind::Stage { method, keep, skipped } => stage::stage(run, step, *method, keep, skipped),
        StepKind::AmtLockdown { mhc, own_mebx, skipped } => {
            let mebx = run.mebx.clone().or_else(|| run.history.mebx.clone()).filter(|_| *own_mebx);
            lockdown::lock_down(run, step, *mhc, mebx.as_deref(), skipped).await
        }
        StepKind::AmtLockedDown { event, mebx_escrow, skipped } => {
            lockdown::already(run, step, event.as_deref(), mebx_escrow.as_deref(), skipped)
        }
        StepKind::MeSoftDisabled => stage::already(run, step),
        StepKind::ReportOnly { because } if because.is_empty() => {
            failed(step, Exit::Impossible, "report-only", "nothing was staged: policy asks for a report only")
        }
        StepKind::ReportOnly { because } => failed(
            step,
            Exit::Impossible,
            "report-only",
            format!("nothing was staged: {}", because.join("; ")),
        ),
        // A plan with a refusal is not carried out at all; the caller has said so before coming here.
        StepKind::Refuse { exit, cause, text } => failed(step, *exit, cause, text.clone()),
    }
}

fn outcome(step: &Step, status: Status, text: impl Into<String>) -> Outcome {
    Outcome {
        step: step.id.clone(),
        status,
        changed: false,
        exit: Exit::Satisfied,
        cause: None,
        text: text.into(),
        evidence: BTreeMap::new(),
    }
}

/// A failure that left the device as it was.
fn failed(step: &Step, exit: Exit, cause: &str, text: impl Into<String>) -> Outcome {
    Outcome { exit, cause: Some(cause.to_owned()), ..outcome(step, Status::Failed, text) }
}

fn skipped(step: &Step) -> Outcome {
    outcome(step, Status::Skipped, "an earlier step failed")
}

fn with_evidence<const N: usize>(mut outcome: Outcome, evidence: [(&str, Value); N]) -> Outcome {
    outcome.evidence.extend(evidence.map(|(name, value)| (name.to_owned(), value)));
    outcome
}
