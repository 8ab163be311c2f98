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
    /// The one of the last proof, or that proof holds none.
    AsProven,
    /// It answered without TLS where a proof says that it speaks it here.
    WithoutTls,
    /// The one that a run was giving it when it ended; or, over cleartext, perhaps that one.
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

async fn ask_ours(machine: &Machine, history: &History, detection: &Detection) -> Result<Answered, Failure> {
    let claimed = claimed(history);
    let expects_tls = claimed.is_some() && local_tls(detection);
    let mut seen = ask(machine, claimed).await;
    let until = machine.until(TLS_COMES);
    while expects_tls && matches!(seen, Ok((_, false))) && !until.is_over() {
        machine.pause(ASK_EVERY).await;
        seen = ask(machine, claimed).await;
    }
    let unproven = unproven(history);
    let known = match (&seen, unproven) {
        (Ok((_, true)), _) => Known::AsProven,
        (Ok((_, false)), _) if expects_tls => Known::WithoutTls,
        (Ok((_, false)), None) => Known::AsProven,
        // Over cleartext nothing tells which of the two it serves.
        (Ok((_, false)), Some(_)) | (Err(_), _) => Known::PerhapsAnother,
    };
    let realm = match (seen, unproven) {
        (Ok((realm, _)), _) => realm,
        (Err(failure), other) => {
            let Some(other) = other else { return Err(failure) };
            ask(machine, Some(other)).await.map_err(|_| failure)?.0
        }
    };
    Ok(Answered { realm, known })
}

/// The realm, and whether it was asked over TLS.
async fn ask(machine: &Machine, known: Option<Pin>) -> Result<(Realm, bool), Failure> {
    let mut lme = Lme::expecting(machine, known).await?;
    let realm = probe_realm(&mut lme).await?.realm;
    Ok((realm, lme.is_tls()))
}

/// The certificate that the last proof saw.
fn claimed(history: &History) -> Option<Pin> {
    history.amt.as_ref().and_then(|ours| ours.tls_pin.as_deref()).and_then(pin)
}

/// The certificate that a run was giving AMT when it ended, where no proof tells of it.
fn unproven(history: &History) -> Option<Pin> {
    let sent = history.tls_pin_sent.as_deref().and_then(pin);
    sent.filter(|sent| claimed(history).is_some_and(|claimed| claimed != *sent))
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
    let proofs = run.history.amt.iter().chain(&run.history.amt_older);
    let Some(ours) = proofs.into_iter().find(|ours: &&AmtOurs| ours.realm == seen.as_str()) else {
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
