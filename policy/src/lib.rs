//! The words and the judgement of `oob-agent`: what an org asks for, what was found, what follows.
//!
//! Five plain types carry everything, and data goes one way through them:
//!
//! ```text
//! policy.toml --parse--> Policy ---+
//! machine ----detect---> Detection-+--decide--> Plan --carry_out--> Outcome[] --assess--> Report
//! store --fold--> History, Context-+
//! ```
//!
//! [`decide()`] and [`assess()`] are pure, total and deterministic. This crate deliberately does no I/O: it opens no
//! file, reads no clock and no environment, and knows nothing of devices, so the whole behaviour of a policy
//! can be tested by tables.

mod detection;
mod exit;
mod history;
mod outcome;
mod plan;
mod report;

pub use detection::{Confidence, Detection, Fact, RootKind, UNKNOWN, Value};
pub use exit::Exit;
pub use history::{AmtOurs, Context, Firmware, History, OpenChange, PolicyTrust, SoftDisable, Staged};
pub use outcome::{Outcome, Status};
pub use plan::{Action, Channel, Plan, Reversibility, Step, StepKind};
pub use report::{
    Agent, Capability, CapabilitySummary, ChannelRecord, ChannelState, Finding, PolicyRef, Proof, Report, Severity,
};
