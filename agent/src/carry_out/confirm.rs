//! Seeing that the AMT we proved is still the one that answers, without a login: `apply` and `verify` ask the same way.

use std::time::Duration;

use oob_policy::{AmtOurs, AmtSeen, Detection, Exit, History, Outcome, Status, Step, shown};
use oob_wsman::client::probe_realm;
use oob_wsman::digest::Realm;

use super::failure::Failure;
use super::lme::Lme;
use super::ours::{ASK_EVERY, pin};
use super::peer::Pin;
use super::settings::local_tls;
use super::{Run, failed, outcome, with_evidence};
use crate::machine::Machine;

/// How long after the others the ports of TLS may come.
const TLS_COMES: Duration = Duration::from_secs(30);

/// By which of its certificates AMT was known, where that can be told from here.
enum Known {
    /// The one of the proof whose realm answers, or that proof holds none.
    AsProven,
    /// It answered without TLS where that proof says that it speaks it here.
    WithoutTls,
    /// The one that a run was giving it when it ended, or one that it was given before; or, over cleartext, perhaps that one.
    PerhapsAnother,
}

/// AMT that we proved, and the realm with which it refuses a request without a login: the realm changes when the device is
/// provisioned again.
struct Answered {
    realm: Realm,
    known: Known,
}

/// What `verify` compares with org state's claim. Where AMT does not answer, it holds a sentence for people.
pub async fn see_amt(machine: &Machine, history: &History, detection: &Detection) -> AmtSeen {
    match ask_ours(machine, history, detection).await {
        Err(failure) => AmtSeen::Silent(failure.text),
        Ok(Answered { realm, known }) => {
            let realm = realm.as_str().to_owned();
            match known {
                Known::AsProven => AmtSeen::Realm(realm),
                Known::WithoutTls => AmtSeen::WithoutTls(realm),
                Known::PerhapsAnother => AmtSeen::PerhapsAnotherCertificate(realm),
            }
        }
    }
}

/// The realm that AMT answers with, where org state knows several that it may be; none where it does not matter, or nobody
/// answers.
pub async fn which_answers(machine: &Machine, history: &History, detection: &Detection) -> Option<String> {
    let provisioned = ["in", "post"].contains(&detection.text("intel.amt.provisioning"))
        || ["ccm", "acm"].contains(&detection.text("intel.amt.control_mode"));
    if !provisioned || !history.is_in_doubt() {
        return None;
    }
    let asked = history.amt.as_ref().and_then(pin_of);
    let answer = match ask(machine, asked).await {
        Ok((realm, _)) => Some(realm),
        Err(_) => ask_others(machine, history, asked).await.map(|(realm, ..)| realm),
    };
    answer.map(|realm| realm.as_str().to_owned())
}

async fn ask_ours(machine: &Machine, history: &History, detection: &Detection) -> Result<Answered, Failure> {
    // What the proof of the realm that answers says, where there is one.
    let proven = |realm: &Realm| history.proof_of(realm.as_str()).and_then(pin_of);
    let mut asked = history.amt.as_ref().and_then(pin_of);
    let mut seen = ask(machine, asked).await;
    let until = machine.until(TLS_COMES);
    let lacks_tls =
        |seen: &Result<(Realm, bool), Failure>| matches!(seen, Ok((realm, false)) if proven(realm).is_some());
    while lacks_tls(&seen) && local_tls(detection) && !until.is_over() {
        machine.pause(ASK_EVERY).await;
        seen = ask(machine, asked).await;
    }
    if seen.is_err()
        && let Some((realm, tls, other)) = ask_others(machine, history, asked).await
    {
        (seen, asked) = (Ok((realm, tls)), other);
    }
    let (realm, tls) = seen?;
    let (claimed, unproven) = (proven(&realm), history.tls_pin_unproven.as_deref().and_then(pin));
    let known = match (claimed, tls) {
        // Another one than its proof saw; only what was asked for was let in.
        (claimed, true) if claimed != asked => Known::PerhapsAnother,
        (Some(_), false) if local_tls(detection) => Known::WithoutTls,
        // Over cleartext nothing tells which of the two it serves.
        (Some(claimed), false) if unproven.is_some_and(|unproven| unproven != claimed) => {
            Known::PerhapsAnother
        }
        _ => Known::AsProven,
    };
    Ok(Answered { realm, known })
}

/// The realm, and whether it was asked over TLS.
async fn ask(machine: &Machine, known: Option<Pin>) -> Result<(Realm, bool), Failure> {
    let mut lme = Lme::expecting(machine, known).await?;
    let realm = probe_realm(&mut lme).await?.realm;
    Ok((realm, lme.is_tls()))
}

/// The same of AMT that did not answer with the certificate that was `asked` for, and with which one it did. Only where a
/// certificate is what is wrong, the next one is worth the wait.
async fn ask_others(
    machine: &Machine,
    history: &History,
    asked: Option<Pin>,
) -> Option<(Realm, bool, Option<Pin>)> {
    for other in others(history, asked) {
        match ask(machine, other).await {
            Ok((realm, tls)) => return Some((realm, tls, other)),
            Err(failure) if failure.is_of_the_peer() => {}
            Err(_) => return None,
        }
    }
    None
}

/// The certificate that a proof saw.
fn pin_of(ours: &AmtOurs) -> Option<Pin> {
    ours.tls_pin.as_deref().and_then(pin)
}

/// By which certificates AMT may be known besides the one that was `asked` for: what a run was giving it when it ended, and
/// what any proof saw. Last, and only where a proof knows AMT so, none: without TLS.
fn others(history: &History, asked: Option<Pin>) -> Vec<Option<Pin>> {
    let open = history.open.as_ref().and_then(|open| open.tls_pin.as_deref());
    let begun = [open, history.tls_pin_sent.as_deref()].into_iter().flatten().filter_map(pin).map(Some);
    let mut others = Vec::new();
    for other in begun.chain(history.proofs().map(pin_of)) {
        if other != asked && !others.contains(&other) {
            others.push(other);
        }
    }
    others.sort_by_key(Option::is_none);
    others
}

/// Sees that the AMT we proved is still the one that answers. It cannot open the escrow, so it says `detected`.
pub(super) async fn confirm(run: &mut Run<'_>, step: &Step, realm: &str, last_proof: &str) -> Outcome {
    run.progress.begin("amt: seeing that it is still the one we proved");
    let seen = ask_ours(run.machine, run.history, run.detection).await;
    run.progress.end(if seen.is_ok() { "done" } else { "failed" });
    let Answered { realm: seen, known } = match seen {
        Ok(seen) => seen,
        Err(failure) => return failure.outcome(step),
    };
    // Stores that were merged may hold several proofs; the one whose realm answers is the live one.
    let Some(ours) = run.history.proof_of(seen.as_str()) else {
        return with_evidence(
            failed(
                step,
                Exit::Drift,
                "realm-changed",
                "AMT answers with another login realm than the one we proved: it was provisioned again by others; \
                 nothing was touched",
            ),
            [("realm", seen.as_str().into()), ("expected", realm.into()), ("event", last_proof.into())],
        );
    };
    let drift = |cause, what: &str| {
        let text = format!(
            "{what}: open AMT's credential ({}) and run again with `--known-credential FILE --rotate`",
            shown(&ours.escrow)
        );
        with_evidence(
            failed(step, Exit::Drift, cause, text),
            [("realm", seen.as_str().into()), ("event", ours.event.as_str().into())],
        )
    };
    match known {
        Known::WithoutTls => {
            drift("tls-off", "AMT answers without the TLS that we proved, which somebody switched off")
        }
        Known::PerhapsAnother => drift(
            "certificate-not-proven",
            "AMT serves the certificate that an earlier run of ours was giving it when it ended, or the one before, and no \
             proof tells which",
        ),
        Known::AsProven => with_evidence(
            outcome(step, Status::AlreadySo, "AMT is as we left it: the same login realm answers"),
            [
                ("realm", seen.as_str().into()),
                ("event", ours.event.as_str().into()),
                ("escrow", ours.escrow.as_str().into()),
                ("proof", "realm".into()),
            ],
        ),
    }
}
