//! Client control mode on AMT below 19, over MEI (reference/amt.md 5.1): escrow first, one-shot `Setup`, read-back.
//!
//! Whatever `Setup` answers, the device itself is asked afterwards: `Setup` is never sent twice, and no answer of it is
//! believed alone. A change that cannot be proven is taken back, which client control mode allows without a password.

use std::time::Duration;

use oob_policy::{OpenChange, Outcome, Status, Step};
use oob_wsman::client::Login;
use oob_wsman::digest::Realm;
use oob_wsman::pthi::{
    ControlMode, GetControlMode, GetLocalSystemAccount, GetProvisioningState, ProvisioningState,
};
use serde_json::json;

use super::amt::{Point, Pthi};
use super::failure::{Failure, WsError, described};
use super::lme::Lme;
use super::ours::{ASK_EVERY, SHOWS, look, take_back};
use super::proof::{ADMIN, Client, cnonce, ha1, prove};
use super::{Run, outcome, with_evidence};
use crate::escrow::{self, Plain};
use crate::probe;
use crate::secrets::Password;
use crate::state::{Answer, JournalEntry, Kind, OrgState, fold_open, wall_time};

const SETUP: &str = "IPS_HostBasedSetupService.Setup";
/// Client control mode in `AllowedControlModes` and `CurrentControlMode`.
const CLIENT_CONTROL_MODE: u32 = 1;
/// How long a device is watched that may have taken a `Setup` whose answer was lost.
const LATE: Duration = Duration::from_secs(30);

pub(super) async fn set_up(run: &mut Run<'_>, step: &Step) -> Outcome {
    match activate(run, step).await {
        Ok(outcome) => outcome,
        Err(failure) => {
            run.progress.end("failed");
            failure.recorded(run, step)
        }
    }
}

async fn activate(run: &mut Run<'_>, step: &Step) -> Result<Outcome, Failure> {
    let machine = run.machine;
    run.progress.begin("amt: asking for the firmware's local account");
    let mut pthi = Pthi::connect(machine).await?;
    require_unprovisioned(&mut pthi).await?;
    let account = pthi.ask(&GetLocalSystemAccount).await?;
    run.progress.end("done");

    run.progress.begin("amt: logging in locally");
    let mut lme = Lme::connect(machine).await?;
    let login = Login::Password { user: account.user, password: account.password };
    let mut local = Client::new(&mut lme, login, cnonce);
    let realm = require_client_mode_allowed(&mut local).await?;
    run.progress.end("done");

    run.progress.begin("amt: escrowing a new admin password");
    let (password, open) = escrow(run, &realm)?;
    run.progress.end("done");

    run.progress.begin("amt: activating client control mode");
    run.journal
        .append(JournalEntry::Sending { call: SETUP.into() })
        .map_err(|error| Failure::not_stored(&error))?;
    let point = Point { kind: "mutating", what: SETUP };
    probe::before(&point);
    let said = local.setup(&ha1(&realm, &password)).await;
    probe::after(&point);
    drop(local);
    let answer = match &said {
        Ok(()) => Answer::Accepted,
        Err(WsError::OutcomeUnknown { .. }) => Answer::Unknown,
        Err(_) => Answer::Refused,
    };
    // Best effort: the journal already says that the call was sent.
    let noted = run.journal.append(JournalEntry::Sent { call: SETUP.into(), answer });
    if !became_ours(&mut pthi, run, answer).await? {
        // What is not written now, the next run sees on the device.
        let _ = noted.and_then(|()| run.journal.append(JournalEntry::Undone { generation: open.generation }));
        let why = said.err().map_or_else(|| "it answered success".into(), |error| described(&error));
        return Err(Failure::unchanged(
            "setup-refused",
            format!("activating client control mode: {why}; AMT is still unprovisioned, so nothing changed"),
        ));
    }
    run.progress.end("done");

    if let Err(failure) = prove(run, &mut lme, &password, &realm).await {
        run.progress.end("failed");
        return Err(take_back(run, &mut pthi, &mut lme, &open, failure).await);
    }
    record_proof(run, step, &open)
}

/// Precondition, read again just before anything is changed.
async fn require_unprovisioned(pthi: &mut Pthi<'_>) -> Result<(), Failure> {
    let state = pthi.ask(&GetProvisioningState).await?;
    let mode = pthi.ask(&GetControlMode).await?;
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
            "AMT's host based setup service says it is set up already; run again",
        ));
    }
    if !service.allowed_control_modes.contains(&CLIENT_CONTROL_MODE) {
        return Err(Failure::impossible(
            "ccm-not-allowed",
            format!(
                "AMT allows control modes {:?} only, not client control mode (1); the firmware setup may permit it",
                service.allowed_control_modes
            ),
        ));
    }
    Ok(realm)
}

/// Makes the password and sees it sealed and durable. No device has heard of it before this returns.
fn escrow(run: &mut Run<'_>, realm: &Realm) -> Result<(Password, OpenChange), Failure> {
    let refuse = |cause, text: String| Failure {
        exit: oob_policy::Exit::EscrowNotDurable,
        cause,
        text: format!("{text}; the device was not touched"),
    };
    let not_stored = |error| Failure::not_stored(&error);
    // The device was just seen unprovisioned, so what an earlier run sent did not stay.
    if let Some(earlier) = fold_open(run.journal.entries()) {
        run.journal.append(JournalEntry::Undone { generation: earlier.generation }).map_err(not_stored)?;
    }
    let generation = run.history.amt_generation + 1;
    let password = Password::generate_for_amt()
        .map_err(|error| refuse("no-random-bytes", format!("making a password: {error}")))?;
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
    let sealed = escrow::seal(&plain, &recipients)
        .map_err(|error| refuse("escrow-not-sealed", format!("sealing the password: {error}")))?;
    run.store.put_escrow(&ids.device_id, &sealed).map_err(not_stored)?;
    let file = sealed.name.to_string();
    let labels: Vec<String> = run.policy.recipients.iter().map(oob_policy::Recipient::label).collect();
    let body = json!({
        "channel": "amt", "generation": generation, "realm": realm.as_str(),
        "escrow": file, "sha256": sealed.sha256, "recipients": labels,
    });
    run.chain.record(run.store, Kind::Escrowed, body).map_err(not_stored)?;
    let realm = realm.as_str().to_owned();
    run.journal
        .append(JournalEntry::Begin {
            run_id: ids.run_id,
            generation,
            realm: realm.clone(),
            escrow: file.clone(),
        })
        .map_err(not_stored)?;
    Ok((password, OpenChange { generation, realm, escrow: file, call_sent: true }))
}

/// Whether the device is in client control mode by our call. Asked until it shows the change, or long enough to be sure
/// that a call whose answer was lost did not arrive.
async fn became_ours<'a>(pthi: &mut Pthi<'a>, run: &Run<'a>, answer: Answer) -> Result<bool, Failure> {
    let until = run.machine.until(if answer == Answer::Accepted { SHOWS } else { LATE });
    loop {
        let seen = look(pthi, run).await;
        match (&seen, answer) {
            (Ok((ControlMode::Client, ProvisioningState::Post)), Answer::Accepted | Answer::Unknown) => {
                return Ok(true);
            }
            // Our call was refused, so this is not our doing, and not ours to undo.
            (Ok((mode @ (ControlMode::Client | ControlMode::Admin), _)), Answer::Refused) => {
                return Err(Failure::others(format!(
                    "AMT refused Setup and is now in control mode {mode:?}: others set it up meanwhile; it was not \
                     touched"
                )));
            }
            (Ok((ControlMode::None, ProvisioningState::Pre)), Answer::Refused) => return Ok(false),
            (Ok((ControlMode::None, ProvisioningState::Pre)), _) if until.is_over() => return Ok(false),
            (Ok((mode, state)), _) if until.is_over() => {
                return Err(Failure::indeterminate(format!(
                    "AMT shows control mode {mode:?} in provisioning state {state:?} after Setup; escrow holds the \
                     candidate password, and a next run goes on from here"
                )));
            }
            (Err(trouble), _) if until.is_over() => {
                return Err(Failure::indeterminate(format!(
                    "AMT cannot be asked what became of Setup ({trouble}); escrow holds the candidate password, and a \
                     next run goes on from here"
                )));
            }
            _ => run.machine.pause(ASK_EVERY).await,
        }
    }
}

fn record_proof(run: &mut Run<'_>, step: &Step, open: &OpenChange) -> Result<Outcome, Failure> {
    let body = json!({
        "channel": "amt", "generation": open.generation, "realm": open.realm, "control_mode": "ccm",
        "escrow": open.escrow,
        "proof": ["pthi control mode and provisioning state", "login over a new channel with a fresh nonce",
                  "a wrong password was refused"],
    });
    let late = |error| Failure::not_recorded("AMT is set up and proven", &error);
    let event = run.chain.record(run.store, Kind::Verified, body).map_err(late)?;
    run.journal.append(JournalEntry::Closed { generation: open.generation }).map_err(late)?;
    let text = "AMT is in client control mode; a fresh login works, a wrong password is refused";
    let done = Outcome { changed: true, ..outcome(step, Status::Done, text) };
    Ok(with_evidence(
        done,
        [
            ("proof", "read-back".into()),
            ("control_mode", "ccm".into()),
            ("realm", open.realm.as_str().into()),
            ("generation", u64::from(open.generation).into()),
            ("escrow", open.escrow.as_str().into()),
            ("event", event.into()),
        ],
    ))
}
