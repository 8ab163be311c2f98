//! What became of a step.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Exit, Value};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Done,
    AlreadySo,
    Skipped,
    Failed,
    NeedsHuman,
}

/// What became of one step of the plan, with the evidence for it. Never holds secret material.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The step's id.
    pub step: String,
    pub status: Status,
    /// True if the device or a staged image is different from before this step.
    pub changed: bool,
    pub exit: Exit,
    /// A stable word for programs where the exit is not `satisfied`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cause: Option<String>,
    /// One sentence for people: what happened, where, and what to do next.
    pub text: String,
    /// Named proofs: `realm`, `generation`, `escrow`, `control_mode`, `proof` and the like. Text that came from a
    /// device is escaped where it is shown.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub evidence: BTreeMap<String, Value>,
}
