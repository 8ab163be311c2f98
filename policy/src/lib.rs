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

mod advisories;
mod ambiguity;
mod assess;
mod check;
mod decide;
mod detection;
mod diagnostic;
mod example;
mod exit;
mod explain;
mod file;
mod history;
mod https_url;
mod matcher;
mod outcome;
mod pattern;
mod plan;
mod policy;
mod recipient;
mod report;
mod secrets;
mod shown;
mod table;
mod unfinished;
mod use_amt;
mod verify;

pub use advisories::advisories;
pub use assess::{Assessment, assess, refusal_outcomes};
pub use check::is_name;
pub use decide::decide;
pub use detection::{Confidence, Detection, Fact, RootKind, UNKNOWN, Value};
pub use diagnostic::{Also, Diagnostic, DiagnosticLevel, render};
pub use example::EXAMPLE_RECIPIENTS;
pub use exit::Exit;
pub use explain::{Explanation, RuleExplanation, Verdict, explain};
pub use history::{
    AmtOurs, CleanVerdict, Context, Enabled, Firmware, History, ImageSource, LockedDown, NamedFiles,
    OpenChange, PolicyTrust, RemoteProof, SoftDisable, Staged, TlsLeaf, WiredBefore,
};
pub use https_url::HttpsUrl;
pub use matcher::{KeyMatch, KeyResult, Matched, Selection, matches, select};
pub use outcome::{Outcome, Status};
pub use plan::{Action, Channel, Plan, Reversibility, Step, StepKind, step};
pub use policy::{Class, Format, Method, Neutralize, Policy, Recipient, Rule, Setting};
pub use report::{
    Agent, Capability, CapabilitySummary, ChannelRecord, ChannelState, Finding, PolicyRef, Proof, Report,
    Severity,
};
pub use shown::{deceives, shown};
pub use use_amt::{
    AmtSettings, AmtWishes, Consent, ModeWish, MutualWish, PowerWish, Reference, Scope, TlsCa, TlsWish,
    WifiSecurity, WifiWish, amt_reach, is_mutual_ca_alone, is_mutual_word, is_tls_alone, mutual_ca,
    mutual_words_left, serves_its_own,
};
pub use verify::{
    Ability, AmtResult, AmtSeen, Claims, Cleartext, Evidence, FlashEvidence, Lockdown, Look, Moment, Mutual,
    Power, PowerAbility, Recorded, RemoteEnd, RemoteResult, RemoteSeen, Rung, Says, Strap, Verification,
    WasEffective, claims_mutual_tls, claims_tls_only, lacks_pin, verify, verify_remote,
};
