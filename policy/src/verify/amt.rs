//! The claim that AMT is ours, compared as far as it can be without a credential: nobody but the org can open the escrow.

use super::{AmtResult, AmtSeen, Look};
use crate::{AmtOurs, Exit, shown};

/// AMT that answers nobody, by what was verified here.
#[derive(Clone, Copy)]
pub(super) enum Off {
    WithTheEngine,
    /// By its own firmware, or by whoever did what policy asks of that.
    ByItself,
}

pub(super) fn result(look: &Look<'_>, off: Option<Off>) -> Option<AmtResult> {
    let history = look.history;
    let left = history.left(look.detection);
    let proven = left.or_else(|| answering(look)).or(history.amt.as_ref());
    let event = || proven.map(|ours| ours.event.clone());
    let end = |reason, exit, text: String| AmtResult { reason, text, event: event(), exit };
    // AMT that answers with another realm than the one it had before a new password is not the one that was to get it.
    let open = history
        .in_doubt(look.detection)
        .filter(|open| !open.rotation || seen(look.amt).is_none_or(|realm| *realm == open.realm));
    if let Some(off) = off.filter(|_| open.is_some() || proven.is_some()) {
        let (reason, how) = match off {
            Off::WithTheEngine => ("off-with-the-engine", "is off with the engine"),
            Off::ByItself => ("switched-off", "is switched off"),
        };
        let text = match open {
            Some(open) => format!(
                "AMT, which was being given credential generation {} when a run of ours ended, {how}; for the day it comes \
                 back, {}{}.",
                open.generation,
                history.candidates(open),
                history.mebx_candidate()
            ),
            None => format!("AMT, which org state knows as ours, {how}."),
        };
        return Some(end(reason, Exit::Satisfied, text));
    }
    if let Some(open) = open {
        let text = format!(
            "A run of ours ended while credential generation {} was on its way to AMT: {}{}; run `apply` again.",
            open.generation,
            history.candidates(open),
            history.mebx_candidate()
        );
        return Some(end("indeterminate", Exit::Indeterminate, text));
    }
    let claimed = proven?;
    if left.is_some() {
        let text = format!(
            "Our journal shows that a run ended while AMT of ours was being unprovisioned, and its provisioning state is {} \
             now, which org state does not know yet: run `apply` again.",
            shown(look.detection.text("intel.amt.provisioning"))
        );
        return Some(end("unprovision-not-recorded", Exit::Drift, text));
    }
    let still_there = seen(look.amt).is_none_or(|realm| *realm == claimed.realm);
    if still_there && history.went_up(look.detection).is_some_and(|ours| ours.realm == claimed.realm) {
        let text = format!(
            "Our journal shows that a run ended while AMT of ours went up to admin control mode, which it is in now; that is \
             not proven: open its credential ({}), which it keeps, and run `apply --known-credential FILE`.",
            shown(&claimed.escrow)
        );
        return Some(end("upgrade-not-proven", Exit::Drift, text));
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
    let Some(ours) = answering(look).filter(|ours| ours.realm == *realm) else {
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
    Some(end("as-claimed", Exit::Satisfied, text))
}

/// The proof of the AMT that answers, whichever of merged stores it is from.
fn answering<'a>(look: &Look<'a>) -> Option<&'a AmtOurs> {
    let realm = seen(look.amt)?;
    look.history.proof_of(realm)
}

fn seen(amt: &AmtSeen) -> Option<&String> {
    match amt {
        AmtSeen::Realm(realm) | AmtSeen::WithoutTls(realm) | AmtSeen::PerhapsAnotherCertificate(realm) => {
            Some(realm)
        }
        AmtSeen::Silent(_) | AmtSeen::NotAsked => None,
    }
}
