//! Why a step on AMT ended early, and what the device is then.

use oob_policy::{Exit, OpenChange, Outcome, Step};
use serde_json::json;

use super::amt::Trouble;
use super::lme::LmeError;
use super::{Run, failed};
use crate::enroll::Unissued;
use crate::error::chain_of;
use crate::state::{Answer, Kind, StateError, fold_open};

pub(super) type WsError = oob_wsman::client::Error<LmeError>;

pub(super) struct Failure {
    pub(super) exit: Exit,
    pub(super) cause: &'static str,
    pub(super) text: String,
}

impl Failure {
    /// Nothing was changed, or it was taken back.
    pub(super) fn unchanged(cause: &'static str, text: impl Into<String>) -> Self {
        Self { exit: Exit::DeviceFailed, cause, text: text.into() }
    }

    /// Policy asks what this device, as it is, does not give.
    pub(super) fn impossible(cause: &'static str, text: impl Into<String>) -> Self {
        Self { exit: Exit::Impossible, cause, text: text.into() }
    }

    /// Nobody can tell what the device is. Escrow holds the candidates.
    pub(super) fn indeterminate(text: impl Into<String>) -> Self {
        Self { exit: Exit::Indeterminate, cause: "indeterminate", text: text.into() }
    }

    /// Admin control mode is on, and that is all that is known.
    pub(super) fn kept_by_password(&self) -> Self {
        Self::indeterminate(format!(
            "{}; AMT is in admin control mode, which only its password could take back; escrow holds the candidate",
            self.text
        ))
    }

    /// Where nobody knows what AMT is, nobody knows either which password MEBx has.
    pub(super) fn naming_mebx(mut self, file: Option<&str>) -> Self {
        if let Some(file) = file.filter(|_| self.exit == Exit::Indeterminate) {
            self.text += &format!("; MEBx may have the password of {file}");
        }
        self
    }

    /// Org state could not be written, and the device has not heard of the password yet.
    pub(super) fn not_stored(error: &StateError) -> Self {
        let text = format!("writing org state: {}; no password was sent to the device", chain_of(error));
        Self { exit: Exit::EscrowNotDurable, cause: "store-not-written", text }
    }

    /// The device was changed as `what` says, and only the record of it is missing. A next run resumes.
    pub(super) fn not_recorded(what: &str, error: &StateError) -> Self {
        let text = format!("{what}, but writing that to org state failed: {}; run again", chain_of(error));
        Self { exit: Exit::Indeterminate, cause: "not-recorded", text }
    }

    /// AMT is ours, proven, and not all that policy asks; its credential is safe in the escrow.
    pub(super) fn incomplete(failure: &Self) -> Self {
        let text = format!(
            "AMT has a proven, escrowed password, and is not as policy asks: {}; open its escrow file and run again with \
             `--known-credential FILE`",
            failure.text
        );
        Self { exit: Exit::Drift, cause: "amt-incomplete", text }
    }

    /// Others set the device up; it stays as it is.
    pub(super) fn others(text: impl Into<String>) -> Self {
        Self::impossible("provisioned-by-others", text)
    }

    pub(super) fn outcome(self, step: &Step) -> Outcome {
        // Not knowing is reported as a change: somebody has to look.
        let changed = self.exit == Exit::Indeterminate || self.cause == "amt-incomplete";
        Outcome { changed, ..failed(step, self.exit, self.cause, self.text) }
    }

    /// The outcome, with a `failed` event in org state. stdout and the exit code tell it in any case.
    pub(super) fn recorded(mut self, run: &mut Run<'_>, step: &Step) -> Outcome {
        if self.exit == Exit::Indeterminate
            && let Some(open) = fold_open(run.journal.entries())
        {
            self.text += &candidates(run, &open);
        }
        let body = json!({"channel": "amt", "step": step.id, "cause": self.cause, "text": self.text});
        if let Err(error) = run.chain.record(run.store, Kind::Failed, body) {
            tracing::error!(error = %chain_of(&error), "writing the failed event");
        }
        self.outcome(step)
    }
}

/// Every escrow file whose password may be AMT's now, the newest first.
fn candidates(run: &Run<'_>, open: &OpenChange) -> String {
    let mut files = vec![open.escrow.as_str()];
    files.extend(open.earlier.iter().rev().map(String::as_str));
    if open.rotation {
        let ours = run.history.proof_of(&open.realm);
        files.push(ours.map_or("the password that was given", |ours| ours.escrow.as_str()));
    }
    match files.as_slice() {
        [one] => format!("; the candidate is {one}"),
        several => format!("; the candidates are {}", several.join(", ")),
    }
}

/// The org's CA gave no certificate; the device has heard nothing of it.
impl From<Unissued> for Failure {
    fn from(Unissued { cause, text }: Unissued) -> Self {
        Self::impossible(cause, text)
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        Self::unchanged("pthi", format!("asking AMT over MEI: {trouble}"))
    }
}

impl Failure {
    /// Somebody answered, and not with the certificate that was expected.
    pub(super) fn is_of_the_peer(&self) -> bool {
        self.cause == NOT_TRUSTED
    }
}

/// Cause of a handshake that ended with another certificate than a known one.
const NOT_TRUSTED: &str = "amt-not-trusted";

impl From<LmeError> for Failure {
    fn from(error: LmeError) -> Self {
        let text = format!("reaching AMT's WS-Man port: {error}");
        match error {
            LmeError::Stranger(_) => Self::unchanged(NOT_TRUSTED, text),
            _ => Self::unchanged("lme", text),
        }
    }
}

impl From<WsError> for Failure {
    fn from(error: WsError) -> Self {
        if let WsError::Transport(below @ LmeError::Stranger(_)) = error {
            return below.into();
        }
        Self::unchanged("wsman", format!("speaking WS-Man to AMT: {}", described(&error)))
    }
}

/// What an answer to a call that counts once says of it. A number that the call does not have is no refusal: it says
/// nothing of what became of the call.
pub(super) fn answered(said: &Result<(), WsError>) -> Answer {
    match said {
        Ok(()) => Answer::Accepted,
        Err(WsError::OutcomeUnknown { .. }) => Answer::Unknown,
        Err(WsError::ReturnValue(error)) if !error.is_known() => Answer::Unknown,
        Err(_) => Answer::Refused,
    }
}

/// A WS-Man error with what lies below it, as one sentence.
pub(super) fn described(error: &WsError) -> String {
    match error {
        WsError::OutcomeUnknown { cause, .. } => format!("{error} ({})", chain_of(cause.as_ref())),
        other => chain_of(other),
    }
}
