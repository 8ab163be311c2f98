//! The claim that AMT is ours, compared as far as it can be without a credential: nobody but the org can open the escrow.

use super::{AmtResult, AmtSeen, Look, Rung};
use crate::{AmtOurs, Exit, shown};

pub(super) fn result(look: &Look<'_>, engine: Rung) -> Option<AmtResult> {
    let claimed = look.history.amt.as_ref();
    let event = || claimed.map(|ours| ours.event.clone());
    let end = |reason, exit, text: String| AmtResult { reason, text, event: event(), exit };
    if let Some(open) = &look.history.open {
        let text = format!(
            "A run of ours ended while credential generation {} was on its way to AMT: run `apply` again.",
            open.generation
        );
        return Some(end("indeterminate", Exit::Indeterminate, text));
    }
    let claimed = claimed?;
    if engine.is_effective() {
        let text = "AMT, which org state knows as ours, is off with the engine.".to_owned();
        return Some(end("off-with-the-engine", Exit::Satisfied, text));
    }
    let mode = look.detection.known("intel.amt.control_mode");
    if let Some(mode) = mode.filter(|mode| *mode != claimed.control_mode) {
        let text = format!(
            "AMT is in control mode {}, and org state claims {}: somebody changed it.",
            shown(mode),
            shown(&claimed.control_mode)
        );
        return Some(end("control-mode-drift", Exit::Drift, text));
    }
    let realm = match look.amt {
        AmtSeen::Realm(realm) | AmtSeen::WithoutTls(realm) | AmtSeen::PerhapsAnotherCertificate(realm) => {
            realm
        }
        AmtSeen::Silent(why) => {
            let text = format!("AMT, which org state claims as ours, does not answer: {}.", shown(why));
            return Some(end("amt-unreachable", Exit::DeviceFailed, text));
        }
        AmtSeen::NotAsked => {
            let text = "AMT, which org state claims as ours, was not asked.".to_owned();
            return Some(end("not-asked", Exit::Impossible, text));
        }
    };
    // Stores that were merged may hold several proofs; the one whose realm answers is the live one.
    let proofs = look.history.amt.iter().chain(&look.history.amt_older);
    let Some(ours) = proofs.into_iter().find(|ours: &&AmtOurs| ours.realm == *realm) else {
        let text =
            "AMT answers with another login realm than the one we proved: others provisioned it since.";
        return Some(end("realm-changed", Exit::Drift, text.to_owned()));
    };
    const MEND: &str = "run `apply --known-credential FILE --rotate` with its credential";
    match look.amt {
        AmtSeen::WithoutTls(_) => {
            let text =
                format!("AMT answers without the TLS that we proved, which somebody switched off: {MEND}.");
            return Some(end("tls-off", Exit::Drift, text));
        }
        AmtSeen::PerhapsAnotherCertificate(_) => {
            let text = format!(
                "AMT serves the certificate that an earlier run of ours was giving it when it ended, or the one before, and \
                 no proof tells which: {MEND}."
            );
            return Some(end("certificate-not-proven", Exit::Drift, text));
        }
        AmtSeen::Realm(_) | AmtSeen::Silent(_) | AmtSeen::NotAsked => {}
    }
    if !ours.sealed {
        let text = format!("AMT is as we left it, but {} is not in the store.", shown(&ours.escrow));
        return Some(end("credential-missing", Exit::Drift, text));
    }
    let text =
        "AMT is as we left it: the same login realm answers (detected; no login was tried).".to_owned();
    Some(AmtResult { event: Some(ours.event.clone()), ..end("as-claimed", Exit::Satisfied, text) })
}
