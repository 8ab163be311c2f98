//! Client control mode on AMT below 19, over MEI (reference/amt.md 5.1): escrow first, one-shot `Setup`, read-back.
//!
//! Whatever `Setup` answers, the device itself is asked afterwards: `Setup` is never sent twice, and no answer of it is
//! believed alone. A change that cannot be proven is taken back, which client control mode allows without a password.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use oob_policy::{Exit, Outcome, Status, Step};
use oob_wsman::Secret;
use oob_wsman::client::{Login, probe_realm};
use oob_wsman::digest::{Ha1, Realm};
use oob_wsman::pthi::{
    ControlMode, GetControlMode, GetLocalSystemAccount, GetProvisioningState, ProvisioningState, Unprovision,
};
use serde_json::json;

use super::amt::{Point, Pthi, Trouble};
use super::lme::{Lme, LmeError};
use super::{Run, failed, outcome, with_evidence};
use crate::error::chain_of;
use crate::escrow::{self, Plain};
use crate::probe;
use crate::secrets::Password;
use crate::state::{JournalEntry, Kind, OrgState, StateError, fold_open, wall_time};

type Client<'l, 'm> = oob_wsman::client::Client<&'l mut Lme<'m>>;
type WsError = oob_wsman::client::Error<LmeError>;

/// AMT's one administrator.
const ADMIN: &str = "admin";
const SETUP: &str = "IPS_HostBasedSetupService.Setup";
/// Client control mode in `AllowedControlModes` and `CurrentControlMode`.
const CLIENT_CONTROL_MODE: u32 = 1;
/// How long the device may take to show a change, and how often it is asked.
const SHOWS: Duration = Duration::from_secs(60);
const ASK_EVERY: Duration = Duration::from_secs(2);
/// After activation AMT may call the right password wrong for some seconds; asking on would lock the account
/// (reference/amt.md 0.7), so there is one second try after this pause.
const SETTLE: Duration = Duration::from_secs(12);

/// Why a step ended early, and what the device is now.
struct Failure {
    exit: Exit,
    cause: &'static str,
    text: String,
}

impl Failure {
    /// Nothing was changed, or it was taken back.
    fn unchanged(cause: &'static str, text: impl Into<String>) -> Self {
        Self { exit: Exit::DeviceFailed, cause, text: text.into() }
    }

    fn indeterminate(text: impl Into<String>) -> Self {
        Self { exit: Exit::Indeterminate, cause: "indeterminate", text: text.into() }
    }

    fn outcome(self, step: &Step) -> Outcome {
        // Not knowing is reported as a change: somebody has to look.
        let changed = self.exit == Exit::Indeterminate;
        Outcome { changed, ..failed(step, self.exit, self.cause, self.text) }
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        Self::unchanged("pthi", format!("asking AMT over MEI: {trouble}"))
    }
}

impl From<LmeError> for Failure {
    fn from(error: LmeError) -> Self {
        Self::unchanged("lme", format!("reaching AMT's WS-Man port over MEI: {error}"))
    }
}

impl From<WsError> for Failure {
    fn from(error: WsError) -> Self {
        Self::unchanged("wsman", format!("speaking WS-Man to AMT: {}", described(&error)))
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        let text = format!("writing org state: {}; the device was not touched", chain_of(&error));
        Self { exit: Exit::EscrowNotDurable, cause: "store-not-written", text }
    }
}

/// A WS-Man error with what lies below it, as one sentence.
fn described(error: &WsError) -> String {
    match error {
        WsError::OutcomeUnknown { cause, .. } => format!("{error} ({})", chain_of(cause.as_ref())),
        other => chain_of(other),
    }
}

pub(super) async fn set_up(run: &mut Run<'_>, step: &Step) -> Outcome {
    match activate(run, step).await {
        Ok(outcome) => outcome,
        Err(failure) => {
            run.progress.end("failed");
            let body =
                json!({"channel": "amt", "step": step.id, "cause": failure.cause, "text": failure.text});
            // The failure is told on stdout and by the exit code in any case.
            if let Err(error) = run.chain.record(run.store, Kind::Failed, body) {
                tracing::error!(error = %chain_of(&error), "writing the failed event");
            }
            failure.outcome(step)
        }
    }
}

async fn activate(run: &mut Run<'_>, step: &Step) -> Result<Outcome, Failure> {
    let machine = run.machine;
    run.progress.begin("amt: asking for the firmware's local account");
    let mut pthi = Pthi::connect(machine).await?;
    require_unprovisioned(&mut pthi).await?;
    let account = pthi.ask(GetLocalSystemAccount).await?;
    run.progress.end("done");

    run.progress.begin("amt: logging in locally");
    let mut lme = Lme::connect(machine).await?;
    let login = Login::Password { user: account.user, password: account.password };
    let mut local = Client::new(&mut lme, login, cnonce);
    let realm = require_client_mode_allowed(&mut local).await?;
    run.progress.end("done");

    run.progress.begin("amt: escrowing a new admin password");
    let (password, generation, file) = escrow(run, &realm)?;
    run.progress.end("done");

    run.progress.begin("amt: activating client control mode");
    run.journal.append(JournalEntry::Sending { call: SETUP.into() })?;
    let point = Point { kind: "mutating", what: SETUP };
    probe::before(&point);
    let answer = local.setup(&ha1(&realm, &password)).await;
    probe::after(&point);
    // From here on the journal is best effort: it already says that the call was sent.
    let _ = run.journal.append(JournalEntry::Sent { call: SETUP.into(), ok: answer.is_ok() });
    drop(local);
    match mode_after_setup(&mut pthi, run, answer.is_ok()).await? {
        Mode::Client => {}
        Mode::None => {
            run.journal.append(JournalEntry::Undone { generation })?;
            let why = answer.err().map_or_else(|| "it answered success".into(), |error| described(&error));
            return Err(Failure::unchanged(
                "setup-refused",
                format!(
                    "activating client control mode: {why}; AMT is still unprovisioned, so nothing changed"
                ),
            ));
        }
    }
    run.progress.end("done");

    let proof = prove(run, &mut lme, &password, &realm).await;
    if let Err(failure) = proof {
        run.progress.end("failed");
        return Err(take_back(run, &mut pthi, generation, failure).await);
    }
    record_proof(run, step, realm.as_str(), generation, &file)
}

/// Precondition, read again just before anything is changed.
async fn require_unprovisioned(pthi: &mut Pthi<'_>) -> Result<(), Failure> {
    let state = pthi.ask(GetProvisioningState).await?;
    let mode = pthi.ask(GetControlMode).await?;
    if (state, mode) == (ProvisioningState::Pre, ControlMode::None) {
        return Ok(());
    }
    Err(Failure::unchanged(
        "state-changed",
        format!(
            "AMT was unprovisioned when it was detected and is now {state:?}, control mode {mode:?}; run again"
        ),
    ))
}

/// The device's realm, once its own word for it and its login agree and its setup service permits the mode.
async fn require_client_mode_allowed(local: &mut Client<'_, '_>) -> Result<Realm, Failure> {
    let general = local.get_general_settings().await?;
    let named = general.digest_realm.as_deref().and_then(Realm::new);
    let Some(realm) = named.filter(|named| local.realm() == Some(named)) else {
        return Err(Failure::unchanged(
            "realm-mismatch",
            "AMT's login realm is not the DigestRealm of its general settings; a password made for one would not work \
             for the other",
        ));
    };
    let service = local.get_host_based_setup_service().await?;
    if service.current_control_mode.unwrap_or(0) != 0 {
        return Err(Failure::unchanged(
            "state-changed",
            "AMT's host based setup service says it is set up already",
        ));
    }
    if !service.allowed_control_modes.contains(&CLIENT_CONTROL_MODE) {
        return Err(Failure {
            exit: Exit::Impossible,
            cause: "ccm-not-allowed",
            text: format!(
                "AMT allows control modes {:?} only, not client control mode (1); the firmware setup may permit it",
                service.allowed_control_modes
            ),
        });
    }
    Ok(realm)
}

/// Makes the password and sees it sealed and durable. No device has heard of it before this returns.
fn escrow(run: &mut Run<'_>, realm: &Realm) -> Result<(Password, u32, String), Failure> {
    // The device was just seen unprovisioned, so what an earlier run sent did not stay.
    if let Some(open) = fold_open(run.journal.entries()) {
        run.journal.append(JournalEntry::Undone { generation: open.generation })?;
    }
    let generation = run.history.amt_generation + 1;
    let refuse = |cause, text: String| Failure { exit: Exit::EscrowNotDurable, cause, text };
    let password = Password::generate_for_amt().map_err(|error| {
        refuse("no-random-bytes", format!("making a password: {error}; the device was not touched"))
    })?;
    let ids = run.chain.run().clone();
    let recipients: Vec<String> =
        run.policy.recipients.iter().map(|recipient| recipient.key.clone()).collect();
    let plain = Plain {
        device_id: &ids.device_id,
        aliases: &run.aliases,
        channel: "amt",
        generation,
        run_id: &ids.run_id,
        created: &wall_time(),
        username: ADMIN,
        password: &password,
        endpoint: "16992/http-digest",
        policy_sha256: &run.policy.sha256,
        notes: "log in as admin with HTTP digest; client control mode can be undone over MEI without it",
    };
    let sealed = escrow::seal(&plain, &recipients).map_err(|error| {
        refuse("escrow-not-sealed", format!("sealing the password: {error}; the device was not touched"))
    })?;
    run.store.put_escrow(&ids.device_id, &sealed)?;
    let file = sealed.name.to_string();
    let labels: Vec<String> = run.policy.recipients.iter().map(oob_policy::Recipient::label).collect();
    let body = json!({
        "channel": "amt", "generation": generation, "realm": realm.as_str(),
        "escrow": file, "sha256": sealed.sha256, "recipients": labels,
    });
    run.chain.record(run.store, Kind::Escrowed, body)?;
    run.journal.append(JournalEntry::Begin {
        run_id: ids.run_id,
        generation,
        realm: realm.as_str().to_owned(),
        escrow: file.clone(),
    })?;
    Ok((password, generation, file))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    None,
    Client,
}

/// What the device is, asked until it shows the change or, after a refusal, until it answers at all.
async fn mode_after_setup<'a>(pthi: &mut Pthi<'a>, run: &Run<'a>, accepted: bool) -> Result<Mode, Failure> {
    let mut left = SHOWS;
    loop {
        let seen = match pthi.ask(GetControlMode).await {
            Ok(mode) => pthi.ask(GetProvisioningState).await.map(|state| (mode, state)),
            Err(trouble) => Err(trouble),
        };
        match seen {
            Ok((ControlMode::Client, ProvisioningState::Post)) => return Ok(Mode::Client),
            // A refusal and a device that agrees with it; after an acceptance the device may still be on its way.
            Ok((ControlMode::None, ProvisioningState::Pre)) if !accepted || left.is_zero() => {
                return Ok(Mode::None);
            }
            Ok((mode, state)) if left.is_zero() => {
                return Err(Failure::indeterminate(format!(
                    "AMT shows control mode {mode:?} in provisioning state {state:?} after Setup; escrow holds the \
                     candidate password, and a next run goes on from here"
                )));
            }
            Err(trouble) if left.is_zero() => {
                return Err(Failure::indeterminate(format!(
                    "AMT cannot be asked what became of Setup ({trouble}); escrow holds the candidate password, and a \
                     next run goes on from here"
                )));
            }
            Ok(_) => {}
            Err(_) => {
                if let Ok(anew) = Pthi::connect(run.machine).await {
                    *pthi = anew;
                }
            }
        }
        run.machine.pause(ASK_EVERY).await;
        left = left.saturating_sub(ASK_EVERY);
    }
}

/// A login over a new channel with a fresh nonce works with the new password, and fails with another.
async fn prove<'a>(
    run: &mut Run<'a>,
    lme: &mut Lme<'a>,
    password: &Password,
    realm: &Realm,
) -> Result<(), Failure> {
    run.progress.begin("amt: logging in with the new password");
    let mut second_try = true;
    loop {
        lme.start_over().await;
        let login = Login::Ha1(ha1(realm, password));
        let mut admin = Client::new(&mut *lme, login, cnonce).expect_realm(realm.clone());
        match admin.get_general_settings().await {
            Ok(general) if general.digest_realm.as_deref() == Some(realm.as_str()) => break,
            Ok(_) => {
                return Err(Failure::unchanged("realm-mismatch", "AMT's realm changed during activation"));
            }
            Err(_) if second_try => {
                second_try = false;
                run.machine.pause(SETTLE).await;
                // A failed read may have been the connection and not the password.
                if let Ok(anew) = Lme::connect(run.machine).await {
                    *lme = anew;
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    run.progress.end("done");

    run.progress.begin("amt: seeing a wrong password refused");
    lme.start_over().await;
    let wrong = Password::generate_for_amt().map_err(|error| {
        Failure::unchanged("no-random-bytes", format!("making a wrong password: {error}"))
    })?;
    let login = Login::Ha1(ha1(realm, &wrong));
    let mut stranger = Client::new(&mut *lme, login, cnonce).expect_realm(realm.clone());
    match stranger.get_general_settings().await {
        Err(WsError::Unauthorized { .. }) => {}
        Ok(_) => {
            return Err(Failure::unchanged(
                "any-password-accepted",
                "AMT accepted a wrong password; its firmware must be updated before it can be used",
            ));
        }
        Err(error) => return Err(error.into()),
    }
    run.progress.end("done");
    Ok(())
}

/// Undoes a change that could not be proven, so that no half-set machine is left behind.
async fn take_back<'a>(run: &mut Run<'a>, pthi: &mut Pthi<'a>, generation: u32, failure: Failure) -> Failure {
    run.progress.begin("amt: taking the unproven change back");
    match unprovision(run, pthi, generation).await {
        Ok(()) => {
            run.progress.end("done");
            Failure {
                text: format!("{}; it was rolled back, AMT is unprovisioned as before", failure.text),
                ..failure
            }
        }
        Err(undoing) => Failure::indeterminate(format!(
            "{}; taking it back failed too ({}); escrow holds the candidate password, and a next run goes on from here",
            failure.text, undoing.text
        )),
    }
}

/// PTHI `Unprovision`, once, and then the device is watched until it shows it.
async fn unprovision<'a>(run: &mut Run<'a>, pthi: &mut Pthi<'a>, generation: u32) -> Result<(), Failure> {
    let asked = pthi.ask(Unprovision).await;
    let mut left = SHOWS;
    loop {
        let mode = pthi.ask(GetControlMode).await;
        let state = pthi.ask(GetProvisioningState).await;
        if let (Ok(ControlMode::None), Ok(ProvisioningState::Pre)) = (&mode, &state) {
            break;
        }
        if left.is_zero() || asked.is_err() && mode.is_ok() {
            let why = asked.err().map_or_else(|| "it does not show it".into(), |error| error.to_string());
            return Err(Failure::indeterminate(format!("undoing client control mode over MEI: {why}")));
        }
        if (mode.is_err() || state.is_err())
            && let Ok(anew) = Pthi::connect(run.machine).await
        {
            *pthi = anew;
        }
        run.machine.pause(ASK_EVERY).await;
        left = left.saturating_sub(ASK_EVERY);
    }
    run.journal.append(JournalEntry::Undone { generation })?;
    run.chain.record(run.store, Kind::Note, json!({"channel": "amt", "undone_generation": generation}))?;
    Ok(())
}

fn record_proof(
    run: &mut Run<'_>,
    step: &Step,
    realm: &str,
    generation: u32,
    file: &str,
) -> Result<Outcome, Failure> {
    let body = json!({
        "channel": "amt", "generation": generation, "realm": realm, "control_mode": "ccm", "escrow": file,
        "proof": ["pthi control mode and provisioning state", "login over a new channel with a fresh nonce",
                  "a wrong password was refused"],
    });
    // The device is as it should be and the credential is sealed; only the record is missing, and a next run resumes.
    let late = |error: StateError| Failure {
        exit: Exit::Indeterminate,
        cause: "proof-not-written",
        text: format!(
            "AMT is set up and proven, but writing that to org state failed: {}; run again, escrow holds the password",
            chain_of(&error)
        ),
    };
    let event = run.chain.record(run.store, Kind::Verified, body).map_err(late)?;
    run.journal.append(JournalEntry::Closed { generation }).map_err(late)?;
    let done = Outcome {
        changed: true,
        ..outcome(
            step,
            Status::Done,
            "AMT is in client control mode; a fresh login works, a wrong password is refused",
        )
    };
    Ok(with_evidence(
        done,
        [
            ("proof", "read-back".into()),
            ("control_mode", "ccm".into()),
            ("realm", realm.into()),
            ("generation", u64::from(generation).into()),
            ("escrow", file.into()),
            ("event", event.into()),
        ],
    ))
}

/// Takes back what our own journal shows an earlier run was changing when it ended.
pub(super) async fn undo(run: &mut Run<'_>, step: &Step, generation: u32) -> Outcome {
    run.progress.begin("amt: taking back what an earlier run left unfinished");
    let ended = undo_ours(run, generation).await;
    run.progress.end(if ended.is_ok() { "done" } else { "failed" });
    match ended {
        Ok(()) => Outcome {
            changed: true,
            ..outcome(
                step,
                Status::Done,
                format!("generation {generation}, unfinished by an earlier run, was taken back"),
            )
        },
        Err(failure) => failure.outcome(step),
    }
}

async fn undo_ours(run: &mut Run<'_>, generation: u32) -> Result<(), Failure> {
    let mut pthi = Pthi::connect(run.machine).await?;
    let mode = pthi.ask(GetControlMode).await?;
    if mode != ControlMode::Client {
        return Err(Failure::unchanged(
            "state-changed",
            format!("AMT is now in control mode {mode:?}; run again"),
        ));
    }
    // The journal names the realm that the device had; another one means that others set it up since.
    let ours = run.history.open.as_ref().map(|open| open.realm.clone()).unwrap_or_default();
    let mut lme = Lme::connect(run.machine).await?;
    let realm = probe_realm(&mut lme).await?.realm;
    if realm.as_str() != ours {
        return Err(Failure {
            exit: Exit::Impossible,
            cause: "provisioned-by-others",
            text: "AMT answers with another login realm than the one in our journal, so others set it up; it was not \
                   touched"
                .into(),
        });
    }
    drop(lme);
    unprovision(run, &mut pthi, generation).await
}

/// Sees that the AMT we proved is still the one that answers. It cannot open the escrow, so it says `detected`.
pub(super) async fn confirm(run: &mut Run<'_>, step: &Step, realm: &str, last_proof: &str) -> Outcome {
    run.progress.begin("amt: seeing that it is still the one we proved");
    let seen = async {
        let mut lme = Lme::connect(run.machine).await?;
        Ok::<_, Failure>(probe_realm(&mut lme).await?.realm)
    }
    .await;
    run.progress.end(if seen.is_ok() { "done" } else { "failed" });
    match seen {
        Ok(seen) if seen.as_str() == realm => with_evidence(
            outcome(step, Status::AlreadySo, "AMT is as we left it: the same login realm answers"),
            [("realm", realm.into()), ("event", last_proof.into()), ("proof", "realm".into())],
        ),
        Ok(seen) => with_evidence(
            failed(
                step,
                Exit::Drift,
                "realm-changed",
                "AMT answers with another login realm than the one we proved: it was provisioned again by others; \
                 nothing was touched",
            ),
            [("realm", seen.as_str().into()), ("expected", realm.into()), ("event", last_proof.into())],
        ),
        Err(failure) => failure.outcome(step),
    }
}

fn ha1(realm: &Realm, password: &Password) -> Ha1 {
    Ha1::new(ADMIN, realm, &Secret::new(password.expose().to_owned()))
}

/// Client nonces of the digest login.
fn cnonce() -> [u8; 16] {
    let mut bytes = [0; 16];
    // Without random bytes a counter still never repeats within a run; the server's nonce carries the security.
    if getrandom::fill(&mut bytes).is_err() {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        bytes = u128::from(COUNT.fetch_add(1, Ordering::Relaxed)).to_be_bytes();
    }
    bytes
}
