//! What we may undo, and how we know our own: the journal, the realm, and nothing else.

use std::time::Duration;

use oob_policy::{Exit, OpenChange, Outcome, Status, Step};
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
use super::{Run, outcome};
use crate::state::{JournalEntry, Kind, StateError, fold_open, unhex};

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

/// Closes every change of ours that is open: AMT was seen without it.
pub(super) fn close_open(run: &mut Run<'_>) -> Result<(), StateError> {
    while let Some(open) = fold_open(run.journal.entries()) {
        run.journal.append(JournalEntry::Undone { generation: open.generation })?;
    }
    Ok(())
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

/// A SHA-256 as org state has it.
pub(super) fn pin(hex: &str) -> Option<Pin> {
    unhex(hex)
}
