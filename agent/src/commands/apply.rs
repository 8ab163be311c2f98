//! `oob-agent apply` and `plan`: the main job, top to bottom.
//!
//! Nothing is written before the policy, the machine and `--out` are known to be good, and nothing is changed on the
//! machine before the plan is made.

mod answering;
mod carried;

use std::path::{Path, PathBuf};

use oob_policy::{
    Action, Assessment, Context, Detection, Exit, Format, History, ModeWish, NamedFiles, Outcome, Plan,
    Policy, PolicyTrust, Report, RootKind, Selection, StepKind, assess, decide, select,
};
use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use self::answering::history_of;
use self::carried::{Keeping, carried};
use super::detect::{look, open_machine};
use super::policy::read_policy;
use super::{Stop, print, print_json};
use crate::certificate::Certified;
use crate::cli::Apply;
use crate::enroll::Enrollment;
use crate::error::chain_of;
use crate::firmware::Image;
use crate::identity;
use crate::known::Known;
use crate::log::Progress;
use crate::machine::Machine;
use crate::named::Named;
use crate::report;
use crate::state::{
    Chain, DirStore, Durability, EventError, EventPolicy, Journal, Kind, Medium, OrgState, Signer,
    StateError, durability, new_run_id,
};

/// The plan alone: the same inputs, no lock, nothing created.
pub(super) async fn plan(arguments: &Apply) -> Result<Exit, Stop> {
    let inputs = gather(arguments).await?;
    let store = DirStore::at(&arguments.out);
    let device_id = match &inputs.detection.device_id {
        Some(id) => Some(id.clone()),
        None => {
            store.read_seed().map_err(|error| unreadable(&error))?.map(|seed| weak_id(&inputs.machine, &seed))
        }
    };
    let history = match &device_id {
        Some(id) => {
            store.check_root(id, inputs.machine.kind()).map_err(|error| unreadable(&error))?;
            let journal = Journal::read(&store, id).map_err(|error| unreadable(&error))?;
            let stored = store.stored(id).map_err(|error| unreadable(&error))?;
            history_of(&inputs.machine, &inputs.detection, &stored, &journal).await
        }
        None => History::default(),
    };
    let plan = inputs.decide(&history);
    if arguments.json { print_json(&PrintedPlan::of(&plan)) } else { print(&report::plan_text(&plan)) }?;
    Ok(Exit::worst(plan.steps.iter().map(|step| match &step.what {
        StepKind::Refuse { exit, .. } => *exit,
        // Neither ends as all that policy asks.
        StepKind::ReportOnly { .. }
        | StepKind::AmtLockdown { own_mebx: false, .. }
        | StepKind::AmtLockedDown { mebx_escrow: None, .. } => Exit::Impossible,
        _ => Exit::Satisfied,
    })))
}

/// `plan --json`.
#[derive(Serialize)]
struct PrintedPlan<'a> {
    schema: &'static str,
    #[serde(flatten)]
    plan: &'a Plan,
}

impl<'a> PrintedPlan<'a> {
    fn of(plan: &'a Plan) -> Self {
        Self { schema: "oob-plan/1", plan }
    }
}

/// What decisions are made from besides the store.
struct Inputs {
    policy: Policy,
    machine: Machine,
    detection: Detection,
    image: Option<Image>,
    certificate: Option<Certified>,
    issuer: Option<Certified>,
    enrollment: Option<Enrollment>,
    named: Named,
    known: Vec<Known>,
    context: Context,
}

impl Inputs {
    fn decide(&self, history: &History) -> Plan {
        decide(&self.policy, &self.detection, history, &self.context)
    }

    /// The chip takes the place of the image that was not given. What comes of it is for the next decision.
    async fn read_flash(&mut self, readings: &Path, progress: &mut Progress) {
        progress.begin("firmware: reading the flash chip twice with flashrom");
        match Image::from_chip(&self.machine, readings).await {
            Ok(image) => {
                progress.end("done");
                self.context.firmware = Some(image.facts.clone());
                self.image = Some(image);
            }
            Err(why) => {
                progress.end("failed");
                self.context.flash_unread = Some(why);
            }
        }
    }
}

async fn gather(arguments: &Apply) -> Result<Inputs, Stop> {
    check_labels(&arguments.site, &arguments.role)?;
    let policy = read_policy(&arguments.policy)?;
    let machine = open_machine(&arguments.root)?;
    let image = arguments.firmware_image.as_deref().map(Image::read).transpose();
    let image = image.map_err(|error| Stop::new(Exit::DeviceFailed, "image-unreadable", error))?;
    let known = known_credentials(&arguments.known_credential)?;
    let detection = look(&machine).await;
    require_of_this_device(&known, &detection)?;
    let live = machine.kind() == RootKind::Live;
    let mut context = Context {
        root: machine.kind(),
        site: arguments.site.clone(),
        role: arguments.role.clone(),
        now: OffsetDateTime::now_utc().unix_timestamp(),
        // A machine fresh from the box keeps any time; nothing here vouches for it yet.
        clock_trusted: false,
        trust: if arguments.allow_unsigned { PolicyTrust::UnsignedAllowed } else { PolicyTrust::Unsigned },
        weak_id: detection.device_id.is_none(),
        escrow_not_durable: not_durable(&arguments.out, live, &policy),
        firmware: image.as_ref().map(|image| image.facts.clone()),
        flash_unread: None,
        certificate: None,
        tls_ca_unusable: None,
        named: NamedFiles::default(),
        known_credential: !known.is_empty(),
        rotate: arguments.rotate,
    };
    let certificate = certificate(&policy, &detection, &mut context);
    let issuer = issuer(&policy, &detection, &mut context);
    let enrollment = enrollment(&policy, &detection, &mut context);
    let named = Named::read(&policy, &detection, issuer.as_ref(), &mut context);
    Ok(Inputs { policy, machine, detection, image, certificate, issuer, enrollment, named, known, context })
}

/// The credentials that the operator gave: two at most, since AMT locks at the third refusal.
fn known_credentials(files: &[PathBuf]) -> Result<Vec<Known>, Stop> {
    let stop = |text: String| Stop::new(Exit::Usage, "known-credential", text);
    if files.len() > 2 {
        return Err(stop(
            "--known-credential may be given twice; a third try would lock AMT's account".to_owned(),
        ));
    }
    files.iter().map(|file| Known::read(file).map_err(stop)).collect()
}

/// What was sealed for another machine is not tried on this one.
fn require_of_this_device(known: &[Known], detection: &Detection) -> Result<(), Stop> {
    let Some(ours) = &detection.device_id else { return Ok(()) };
    let mut theirs = known.iter().filter_map(|known| known.sealed.as_ref());
    match theirs.find(|sealed| sealed.device_id != *ours) {
        Some(sealed) => {
            let theirs = oob_policy::shown(&sealed.device_id);
            let text =
                format!("--known-credential is of device {theirs}, and this is {ours}; it was not tried");
            Err(Stop::new(Exit::Usage, "known-credential", text))
        }
        None => Ok(()),
    }
}

/// The provisioning certificate that the rule of this machine names, if it is one that can be used.
fn certificate(policy: &Policy, detection: &Detection, context: &mut Context) -> Option<Certified> {
    let Selection::Rule(rule) = select(policy, detection, context) else { return None };
    let wishes = rule.amt();
    let (place, passphrase) = match rule.action {
        Action::Neutralize => {
            (rule.neutralize.certificate.clone(), rule.neutralize.certificate_passphrase.clone())
        }
        _ => (
            wishes.certificate.filter(|_| wishes.control_mode != ModeWish::Ccm),
            wishes.certificate_passphrase,
        ),
    };
    let place = place?;
    match Certified::read(&place, passphrase.as_ref()) {
        Ok(held) => {
            context.certificate = Some(Ok(format!("{} certificates", held.chain.len())));
            Some(held)
        }
        Err(why) => {
            context.certificate = Some(Err(why));
            None
        }
    }
}

/// The CA that the rule of this machine names for AMT's TLS certificate, if it is one that can be used.
fn issuer(policy: &Policy, detection: &Detection, context: &mut Context) -> Option<Certified> {
    let Selection::Rule(rule) = select(policy, detection, context) else { return None };
    let place = rule.amt().tls_ca?;
    Certified::read(&place, None).map_err(|why| context.tls_ca_unusable = Some(why)).ok()
}

/// The CA over HTTPS that the rule names instead, if what it refers to can be used. It is not asked for anything yet.
fn enrollment(policy: &Policy, detection: &Detection, context: &mut Context) -> Option<Enrollment> {
    let Selection::Rule(rule) = select(policy, detection, context) else { return None };
    let ca = rule.amt().tls_ca_service?;
    Enrollment::read(&ca).map_err(|why| context.tls_ca_unusable = Some(why)).ok()
}

/// A site or role that no policy could name would silently match nothing.
pub(super) fn check_labels(site: &Option<String>, role: &Option<String>) -> Result<(), Stop> {
    for (flag, label) in [("--site", site), ("--role", role)] {
        if let Some(label) = label.as_deref().filter(|label| !oob_policy::is_name(label)) {
            let text = format!(
                "{flag} {label:?} is no name; use up to 64 letters, digits, dots, dashes and underscores"
            );
            return Err(Stop::new(Exit::Usage, "usage", text));
        }
    }
    Ok(())
}

/// Why a credential written to `out` might not survive a power cut; none where it would (DESIGN section 8).
fn not_durable(out: &Path, live: bool, policy: &Policy) -> Option<String> {
    match durability(out) {
        Durability::Durable => None,
        Durability::NotDurable(why) => Some(why),
        Durability::Unresolved(_) if policy.accept_unknown_fs => None,
        Durability::Unresolved(why) if live => {
            Some(format!("{why}; `accept_unknown_fs = true` under [escrow] permits it"))
        }
        Durability::Unresolved(why) => {
            tracing::warn!(%why, "nobody can tell whether --out is durable; permitted because the machine is not live");
            None
        }
    }
}

pub(super) async fn apply(arguments: &Apply) -> Result<Exit, Stop> {
    let mut inputs = match gather(arguments).await {
        // Where both apply, a directory that cannot be written comes before an image that cannot be read.
        Err(stop) if stop.exit == Exit::DeviceFailed => {
            DirStore::at(&arguments.out).prepare().map_err(|error| unwritable(&error))?;
            return Err(stop);
        }
        gathered => gathered?,
    };
    let signer = match &arguments.signing_key {
        Some(file) => Signer::from_file(file),
        None => Signer::ephemeral(),
    }
    .map_err(|error| Stop::new(Exit::Usage, "signing-key", chain_of(&error)))?;

    let store = DirStore::at(&arguments.out);
    // A refused policy touches nothing, so it is judged before anything is created.
    let early = inputs.decide(&History::default());
    if let Some(stop) = policy_refusal(&early) {
        return Err(stop);
    }
    store.prepare().map_err(|error| unwritable(&error))?;
    let device_id = match &inputs.detection.device_id {
        Some(id) => id.clone(),
        None => weak_id(&inputs.machine, &store.weak_seed().map_err(|error| unwritable(&error))?),
    };
    store.check_root(&device_id, inputs.machine.kind()).map_err(|error| unwritable(&error))?;
    let lock = store.lock(&device_id).map_err(|error| unwritable(&error))?;
    let mut journal = Journal::open(&store, &lock).map_err(|error| unwritable(&error))?;
    let stored = store.stored(&device_id).map_err(|error| unwritable(&error))?;
    let mut history = history_of(&inputs.machine, &inputs.detection, &stored, journal.entries()).await;
    // A run that died between its proof and the journal's last line left nothing undone.
    journal.close_proven(&history).map_err(|error| unwritable(&error))?;

    let mut plan = inputs.decide(&history);
    if let Some(stop) = policy_refusal(&plan) {
        return Err(stop);
    }
    let mut progress = Progress::new(steps_shown(&plan));
    if plan.wants_flash() {
        let readings = store.readings_dir(&device_id).map_err(|error| unwritable(&error))?;
        inputs.read_flash(&readings, &mut progress).await;
        plan = inputs.decide(&history);
    }
    let run_id = new_run_id().map_err(|error| Stop::internal(chain_of(&error)))?;
    let mut chain = Chain::resume(
        crate::state::Run {
            device_id: device_id.clone(),
            run_id: run_id.clone(),
            root: inputs.machine.kind(),
            policy: Some(EventPolicy {
                sha256: inputs.policy.sha256.clone(),
                serial: inputs.policy.serial,
                rule: plan.rule.clone(),
                trust: "unsigned".into(),
            }),
            medium: Medium::default(),
            clock_source: "rtc".into(),
        },
        signer,
        &history,
    );
    let keeping = Keeping {
        history: &mut history,
        stored: &stored,
        store: &store,
        chain: &mut chain,
        journal: &mut journal,
    };
    let (plan, outcomes) = carried(&mut inputs, plan, keeping, progress).await;

    let mut report = judge(&inputs, &history, &plan, &outcomes, &device_id, &run_id);
    let pages = write(&store, &mut chain, &inputs.policy, &report).unwrap_or_else(|error| {
        // What was done stands, and so does its own exit unless this one is worse.
        undelivered(&mut report, &format!("writing the record: {}", chain_of(&error)));
        Vec::new()
    });
    if let Err(stop) = print_result(arguments, &report, &pages) {
        undelivered(&mut report, &stop.text);
    }
    Ok(report.exit)
}

/// What was done is done, but somebody who should know of it does not.
fn undelivered(report: &mut Report, why: &str) {
    crate::log::problem(&why);
    if Exit::worst([report.exit, Exit::Undelivered]) == Exit::Undelivered && report.exit != Exit::Undelivered
    {
        report.exit = Exit::Undelivered;
        report.reason = "undelivered".to_owned();
        report.verdict = format!("{} But {why}; run again.", report.verdict);
    }
}

fn judge(
    inputs: &Inputs,
    history: &History,
    plan: &Plan,
    outcomes: &[Outcome],
    device_id: &str,
    run_id: &str,
) -> Report {
    let time = OffsetDateTime::from_unix_timestamp(inputs.context.now)
        .ok()
        .and_then(|now| now.format(&Rfc3339).ok())
        .unwrap_or_default();
    assess(&Assessment {
        policy: &inputs.policy,
        detection: &inputs.detection,
        history,
        context: &inputs.context,
        plan,
        outcomes,
        device_id,
        run_id,
        time: &time,
        version: env!("CARGO_PKG_VERSION"),
    })
}

/// The record for the org, then the pages for people. The paths of the pages.
fn write(
    store: &DirStore,
    chain: &mut Chain,
    policy: &Policy,
    report: &Report,
) -> Result<Vec<PathBuf>, StateError> {
    let body = json!({
        "capability": report.capability, "outcomes": report.outcomes, "findings": report.findings,
        "facts": report.facts, "exit_code": report.exit.code(), "reason": report.reason, "changed": report.changed,
    });
    match chain.record(store, Kind::Observed, body) {
        // A machine with hundreds of adapters, or a hostile one: the record is what counts, the page has the rest.
        Err(StateError::Event(EventError::TooLong(_))) => {
            let body = json!({
                "capability": report.capability, "exit_code": report.exit.code(), "reason": report.reason,
                "changed": report.changed, "facts_left_out": report.facts.len(),
            });
            chain.record(store, Kind::Observed, body)?
        }
        recorded => recorded?,
    };
    let mut paths = Vec::new();
    for format in &policy.formats {
        let (ending, text) = match format {
            Format::Json => ("json", report::json(report).map_err(|error| unrendered(&error))?),
            Format::Html => ("html", report::html(report).map_err(|error| unrendered(&error))?),
        };
        let name = format!("{}.{ending}", report.run_id);
        store.put_report(&report.device_id, &name, text.as_bytes())?;
        paths.push(store.report_path(&report.device_id, &name)?);
    }
    Ok(paths)
}

fn unrendered(error: &dyn std::error::Error) -> StateError {
    let source = std::io::Error::other(error.to_string());
    StateError::Io { doing: "rendering", path: "reports".into(), source }
}

fn print_result(arguments: &Apply, report: &Report, pages: &[PathBuf]) -> Result<(), Stop> {
    if !arguments.json {
        let place =
            pages.last().map_or_else(|| "(not written)".to_owned(), |page| page.display().to_string());
        return print(&report::summary(report, &place));
    }
    // A path need not be UTF-8, and a result is told all the same.
    let pages: Vec<String> = pages.iter().map(|page| page.display().to_string()).collect();
    let result: Value = json!({
        "schema": "oob-result/1", "exit_code": report.exit.code(), "reason": report.reason, "changed": report.changed,
        "text": report.verdict, "device_id": report.device_id, "run_id": report.run_id, "plan": report.plan,
        "outcomes": report.outcomes, "capability": report.capability, "findings": report.findings,
        "out": arguments.out.display().to_string(), "reports": pages,
    });
    print_json(&result)
}

/// A plan that the policy itself forbids: exit 3, nothing recorded, so that a refused policy leaves no trace in history.
fn policy_refusal(plan: &Plan) -> Option<Stop> {
    let refusals = plan.steps.iter().filter_map(|step| match &step.what {
        StepKind::Refuse { exit: Exit::PolicyRefused, cause, text } => Some((cause, text)),
        _ => None,
    });
    let (causes, texts): (Vec<_>, Vec<_>) =
        refusals.map(|(cause, text)| (cause.clone(), text.clone())).unzip();
    let cause = causes.into_iter().next()?;
    Some(Stop::new(Exit::PolicyRefused, &cause, texts.join("\n")))
}

/// Progress lines of the steps: client control mode shows six of its own.
fn steps_shown(plan: &Plan) -> usize {
    let lines = |what: &StepKind| match what {
        StepKind::AmtSetupCcm { settings } => 6 + usize::from(!settings.is_empty()),
        StepKind::AmtSetupAcm { settings, .. } => 7 + usize::from(!settings.is_empty()),
        StepKind::AmtComplete { settings, .. } => 4 + usize::from(!settings.is_empty()),
        StepKind::AmtRotate { settings, .. } | StepKind::AmtTakeOver { settings } => {
            8 + usize::from(!settings.is_empty())
        }
        StepKind::AmtEnable { suffix, .. } => 1 + usize::from(*suffix),
        StepKind::AmtUpgrade { settings, .. } => 6 + usize::from(!settings.is_empty()),
        StepKind::AmtUnprovision { login, .. } => 3 + usize::from(*login),
        // Reading is followed by the staging of what was read.
        StepKind::ReadFlash => 2,
        StepKind::AmtUndo { .. }
        | StepKind::AmtConfirm { .. }
        | StepKind::AmtUnprovisioned
        | StepKind::AmtLockdown { .. }
        | StepKind::Stage { .. } => 1,
        StepKind::Record
        | StepKind::MeSoftDisabled
        | StepKind::AmtLockedDown { .. }
        | StepKind::Refuse { .. }
        | StepKind::ReportOnly { .. } => 0,
    };
    plan.steps.iter().map(|step| lines(&step.what)).sum()
}

/// The id of a machine that has nothing to tell it by: a seed kept in `--out`. Another directory that is not live is
/// another machine, so its path takes part.
fn weak_id(machine: &Machine, seed: &[u8; 32]) -> String {
    let mut value = crate::state::hex(seed);
    if machine.kind() != RootKind::Live {
        value.push('\0');
        value.push_str(&machine.path().to_string_lossy());
    }
    identity::device_id("seed", &value)
}

fn unwritable(error: &StateError) -> Stop {
    // Only where the directory itself is the trouble is another one the way out: it would forget our own journal.
    let (cause, next) = match error {
        StateError::Busy { .. } => ("busy", ""),
        StateError::OtherRoot { .. } => ("other-root", ""),
        StateError::Corrupt { .. } => ("store-damaged", "; have a person look at it, and keep it"),
        _ => ("out-not-writable", "; name another directory with --out"),
    };
    let text = format!("opening --out: {}; the device is untouched{next}", chain_of(error));
    Stop::new(Exit::EscrowNotDurable, cause, text)
}

fn unreadable(error: &StateError) -> Stop {
    Stop::new(Exit::EscrowNotDurable, "out-not-readable", format!("reading --out: {}", chain_of(error)))
}
