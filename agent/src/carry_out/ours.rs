//! What we may undo, and how we know our own: the journal, the realm, and nothing else.

use std::time::Duration;

use oob_policy::{AmtOurs, Exit, History, OpenChange, Outcome, Status, Step};
use oob_wsman::client::probe_realm;
use oob_wsman::digest::Realm;
use oob_wsman::pthi::{
    Command, ControlMode, GetControlMode, GetProvisioningState, ProvisioningState, StopConfiguration,
    Unprovision,
};
use serde_json::json;

use super::amt::{Pthi, Trouble};
use super::failure::Failure;
use super::lme::Lme;
use super::peer::{Die, Peer, Pin, is_tls_only, makes_its_own};
use super::settings::local_tls;
use super::{Run, failed, outcome, with_evidence};
use crate::machine::Machine;
use crate::state::{JournalEntry, Kind, unhex};

/// How long the device may take to show a change, and how often it is asked.
pub(super) const SHOWS: Duration = Duration::from_secs(60);
pub(super) const ASK_EVERY: Duration = Duration::from_secs(2);

/// Takes back what our own journal shows an earlier run was changing when it ended.
pub(super) async fn undo(run: &mut Run<'_>, step: &Step, generation: u32) -> Outcome {
    run.progress.begin("amt: taking back what an earlier run left unfinished");
    let ended = undo_ours(run, generation).await;
    run.progress.end(if ended.is_ok() { "done" } else { "failed" });
    match ended {
        Ok(()) => {
            let text = format!("generation {generation}, unfinished by an earlier run, was taken back");
            Outcome { changed: true, ..outcome(step, Status::Done, text) }
        }
        Err(failure) => failure.recorded(run, step),
    }
}

async fn undo_ours(run: &mut Run<'_>, generation: u32) -> Result<(), Failure> {
    let Some(open) = run.history.open.clone().filter(|open| open.generation == generation) else {
        return Err(Failure::unchanged(
            "state-changed",
            "the journal shows no such change any more; run again",
        ));
    };
    let mut pthi = Pthi::connect(run.machine).await?;
    let mode = pthi.ask(&GetControlMode).await?;
    let state = pthi.ask(&GetProvisioningState).await?;
    // A configuration that was begun and not ended (reference/amt.md 5.13), in whichever mode it would have ended.
    let begun = state == ProvisioningState::In;
    if mode != ControlMode::Client && !begun {
        let text = format!("AMT is now in control mode {mode:?}, state {state:?}; run again");
        return Err(Failure::unchanged("state-changed", text));
    }
    match answering_realm(run, &open).await {
        // The journal names the realm that the device had; another one means that others set it up since.
        Ok(realm) if realm.as_str() != open.realm => {
            return Err(Failure::others(
                "AMT answers with another login realm than the one in our journal, so others set it up; it was not touched",
            ));
        }
        Ok(_) => {}
        // AMT that waits for the certificate that was announced answers nobody else. Nothing is provisioned then.
        Err(_) if begun && is_tls_only(run) => {}
        Err(failure) => return Err(failure),
    }
    withdraw(run, &mut pthi, &open).await
}

/// The realm of the AMT that a change of ours was left open on, whatever certificate it shows by now.
async fn answering_realm(run: &Run<'_>, open: &OpenChange) -> Result<Realm, Failure> {
    let mut tried = Err(Failure::unchanged("lme", "AMT was not asked"));
    for peer in peers(run, [open.tls_pin.as_deref()]).await {
        tried = match Lme::with(run.machine, peer).await {
            Ok(mut lme) => probe_realm(&mut lme).await.map(|probe| probe.realm).map_err(Failure::from),
            Err(error) => Err(error.into()),
        };
        if tried.is_ok() {
            break;
        }
    }
    tried
}

/// Whom AMT may be that we have to do with, the likeliest first: who shows a certificate that we know of, and what it makes for
/// itself, where it speaks TLS alone or had one of its own that ours was to replace. One of them at least.
pub(super) async fn peers<'a>(
    run: &Run<'_>,
    known: impl IntoIterator<Item = Option<&'a str>>,
) -> Vec<Option<Peer>> {
    let mut pins: Vec<Pin> = Vec::new();
    for pin in known.into_iter().flatten().filter_map(pin) {
        if !pins.contains(&pin) {
            pins.push(pin);
        }
    }
    let mut peers: Vec<Option<Peer>> = pins.into_iter().map(|pin| Some(Peer::Pinned(pin))).collect();
    if is_tls_only(run) || (makes_its_own(run) && !peers.is_empty()) {
        let ours = run.certificate.map(|certified| certified.in_tls(&certified.chain));
        peers.push(Some(Die::of(run.machine).await.self_made(ours)));
    } else if peers.is_empty() {
        peers.push(None);
    }
    peers
}

/// Undoes a change of this run that could not be proven, so that no half-set machine is left behind.
pub(super) async fn take_back<'a>(
    run: &mut Run<'a>,
    pthi: &mut Pthi<'a>,
    lme: &mut Lme<'a>,
    open: &OpenChange,
    failure: Failure,
) -> Failure {
    if failure.exit == Exit::Indeterminate {
        return failure;
    }
    run.progress.begin("amt: taking the unproven change back");
    // What was not committed is lost where the firmware restarts: there is nothing to take back then.
    let unused = matches!(look(pthi, run).await, Ok((ControlMode::None, ProvisioningState::Pre)));
    if unused && note_undone(run, open).is_ok() {
        run.progress.end("done");
        let text = format!("{}; AMT is unprovisioned as before", failure.text);
        return Failure { text, ..failure };
    }
    lme.start_over().await;
    // A device that cannot be asked is still the one that we were changing; one with another realm is not.
    if let Ok(seen) = probe_realm(lme).await
        && seen.realm.as_str() != open.realm
    {
        run.progress.end("not ours any more");
        return Failure::indeterminate(format!(
            "{}; AMT answers with another login realm now, so it was not taken back: find out who set it up",
            failure.text
        ));
    }
    match withdraw(run, pthi, open).await {
        Ok(()) => {
            run.progress.end("done");
            Failure {
                text: format!("{}; it was rolled back, AMT is unprovisioned as before", failure.text),
                ..failure
            }
        }
        Err(undoing) => {
            run.progress.end("failed");
            Failure::indeterminate(format!(
                "{}; taking it back: {}; escrow holds the candidate password, and a next run goes on from here",
                failure.text, undoing.text
            ))
        }
    }
}

/// What takes back a change, over PTHI: `Unprovision` for client control mode, `StopConfiguration` for what is not committed,
/// and for client control mode that is not where it cannot be unprovisioned (reference/amt.md 5.0).
async fn withdraw<'a>(run: &mut Run<'a>, pthi: &mut Pthi<'a>, open: &OpenChange) -> Result<(), Failure> {
    match look(pthi, run).await {
        Ok((ControlMode::Client, ProvisioningState::In)) => {
            match take_back_with(run, pthi, open, &Unprovision).await {
                Ok(()) => Ok(()),
                Err(_) => take_back_with(run, pthi, open, &StopConfiguration).await,
            }
        }
        Ok((_, ProvisioningState::In)) => take_back_with(run, pthi, open, &StopConfiguration).await,
        _ => take_back_with(run, pthi, open, &Unprovision).await,
    }
}

/// The call that takes back, once; then the device is watched until it shows it.
async fn take_back_with<'a, C: Command<Reply = ()>>(
    run: &mut Run<'a>,
    pthi: &mut Pthi<'a>,
    open: &OpenChange,
    call: &C,
) -> Result<(), Failure> {
    let asked = pthi.ask(call).await;
    let until = run.machine.until(SHOWS);
    loop {
        match look(pthi, run).await {
            Ok((ControlMode::None, ProvisioningState::Pre)) => break,
            // It said no, and it shows that it meant it.
            Ok(_) if asked.as_ref().is_err_and(Trouble::is_answer) => {}
            seen if until.is_over() => {
                let seen =
                    seen.map_or_else(|trouble| trouble.to_string(), |seen| format!("it shows {seen:?}"));
                return Err(not_undone(&seen));
            }
            _ => {
                run.machine.pause(ASK_EVERY).await;
                continue;
            }
        }
        return Err(not_undone(&asked.err().map_or_else(String::new, |error| error.to_string())));
    }
    note_undone(run, open)
}

fn note_undone(run: &mut Run<'_>, open: &OpenChange) -> Result<(), Failure> {
    let recorded = (|| {
        let body = json!({"channel": "amt", "undone_generation": open.generation, "escrow": open.escrow});
        run.chain.record(run.store, Kind::Note, body)?;
        run.journal.append(JournalEntry::Undone { generation: open.generation })
    })();
    recorded.map_err(|error| Failure::not_recorded("AMT was unprovisioned again", &error))
}

fn not_undone(why: &str) -> Failure {
    Failure::indeterminate(format!("taking the change back over MEI: {why}"))
}

/// What the device shows now: one question each, over a new connection if the old one is gone.
pub(super) async fn look<'a>(
    pthi: &mut Pthi<'a>,
    run: &Run<'a>,
) -> Result<(ControlMode, ProvisioningState), Trouble> {
    let seen = match pthi.ask_once(&GetControlMode).await {
        Ok(mode) => pthi.ask_once(&GetProvisioningState).await.map(|state| (mode, state)),
        Err(trouble) => Err(trouble),
    };
    if seen.as_ref().is_err_and(|trouble| !trouble.is_answer())
        && let Ok(anew) = Pthi::connect(run.machine).await
    {
        *pthi = anew;
    }
    seen
}

/// The realm with which AMT refuses a request without a login: it changes when the device is provisioned again.
///
/// # Errors
/// A sentence for people where AMT does not answer.
pub async fn login_realm(machine: &Machine, history: &History) -> Result<String, String> {
    let (realm, _) = ask_realm(machine, claimed(history)).await.map_err(|failure| failure.text)?;
    Ok(realm.as_str().to_owned())
}

/// The realm, and whether it was asked over TLS.
async fn ask_realm(machine: &Machine, known: Option<Pin>) -> Result<(Realm, bool), Failure> {
    let mut lme = Lme::expecting(machine, known).await?;
    let realm = probe_realm(&mut lme).await?.realm;
    Ok((realm, lme.is_tls()))
}

/// How long after the others the ports of TLS may come.
const TLS_COMES: Duration = Duration::from_secs(30);

/// The certificate that the last proof saw.
fn claimed(history: &History) -> Option<Pin> {
    history.amt.as_ref().and_then(|ours| ours.tls_pin.as_deref()).and_then(pin)
}

/// The certificate that a run was giving AMT when it ended, where no proof tells of it.
fn unproven(history: &History) -> Option<Pin> {
    let sent = history.tls_pin_sent.as_deref().and_then(pin);
    sent.filter(|sent| claimed(history).is_some_and(|claimed| claimed != *sent))
}

/// A SHA-256 as org state has it.
pub(super) fn pin(hex: &str) -> Option<Pin> {
    unhex(hex)
}

/// Sees that the AMT we proved is still the one that answers. It cannot open the escrow, so it says `detected`.
pub(super) async fn confirm(run: &mut Run<'_>, step: &Step, realm: &str, last_proof: &str) -> Outcome {
    run.progress.begin("amt: seeing that it is still the one we proved");
    let mut seen = ask_realm(run.machine, claimed(run.history)).await;
    let mut half_done = false;
    // The TLS ports may come later than the others.
    let expects_tls = claimed(run.history).is_some() && local_tls(run);
    let until = run.machine.until(TLS_COMES);
    while expects_tls && matches!(seen, Ok((_, false))) && !until.is_over() {
        run.machine.pause(ASK_EVERY).await;
        seen = ask_realm(run.machine, claimed(run.history)).await;
    }
    if let Some(other) = unproven(run.history) {
        match &seen {
            // Where AMT is asked over cleartext, nothing tells which of the two it serves.
            Ok((_, is_tls)) => half_done = !is_tls,
            Err(_) => {
                if let Ok(realm) = ask_realm(run.machine, Some(other)).await {
                    (seen, half_done) = (Ok(realm), true);
                }
            }
        }
    }
    run.progress.end(if seen.is_ok() { "done" } else { "failed" });
    let (seen, is_tls) = match seen {
        Ok(seen) => seen,
        Err(failure) => return failure.outcome(step),
    };
    // Stores that were merged may hold several proofs; the one whose realm answers is the live one.
    let proofs = run.history.amt.iter().chain(&run.history.amt_older);
    match proofs.into_iter().find(|ours: &&AmtOurs| ours.realm == seen.as_str()) {
        Some(ours) if half_done => with_evidence(
            failed(
                step,
                Exit::Drift,
                "certificate-not-proven",
                format!(
                    "AMT serves the certificate that an earlier run of ours was giving it when it ended, or the one before, and no \
                     proof tells which: open AMT's credential ({}) and run again with `--known-credential FILE --rotate`",
                    oob_policy::shown(&ours.escrow)
                ),
            ),
            [("realm", seen.as_str().into()), ("event", ours.event.as_str().into())],
        ),
        Some(ours) if expects_tls && !is_tls => with_evidence(
            failed(
                step,
                Exit::Drift,
                "tls-off",
                format!(
                    "AMT answers without the TLS that we proved: somebody switched it off; open AMT's credential ({}) and run \
                     again with `--known-credential FILE --rotate`",
                    oob_policy::shown(&ours.escrow)
                ),
            ),
            [("realm", seen.as_str().into()), ("event", ours.event.as_str().into())],
        ),
        Some(ours) => with_evidence(
            outcome(step, Status::AlreadySo, "AMT is as we left it: the same login realm answers"),
            [
                ("realm", seen.as_str().into()),
                ("event", ours.event.as_str().into()),
                ("escrow", ours.escrow.as_str().into()),
                ("proof", "realm".into()),
            ],
        ),
        None => with_evidence(
            failed(
                step,
                Exit::Drift,
                "realm-changed",
                "AMT answers with another login realm than the one we proved: it was provisioned again by others; \
                 nothing was touched",
            ),
            [("realm", seen.as_str().into()), ("expected", realm.into()), ("event", last_proof.into())],
        ),
    }
}
