//! Org state as this machine bears it out: which of several proofs the live one is, AMT alone can tell.

use oob_policy::{Detection, History};

use crate::carry_out::which_answers;
use crate::machine::Machine;
use crate::state::{JournalEntry, Stored, fold, fold_answering};

/// The fold of a device's events. Where they tell of several provisionings, AMT is asked for its realm, without a login.
pub(super) async fn history_of(
    machine: &Machine,
    detection: &Detection,
    stored: &Stored,
    journal: &[JournalEntry],
) -> History {
    let history = fold(stored, journal);
    match which_answers(machine, &history, detection).await {
        Some(realm) => fold_answering(stored, journal, Some(&realm)),
        None => history,
    }
}
