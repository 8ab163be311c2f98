//! What is told to org state, to the operator and to the auditor: all from one value.

use serde::{Deserialize, Serialize};

use crate::{Action, Channel, Exit, Fact, Outcome, Plan, RootKind};

/// The report of one run. Serialized, it is `reports/<run_id>.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Always `oob-report/1`.
    pub schema: String,
    pub root: RootKind,
    pub device_id: String,
    pub run_id: String,
    /// RFC 3339 by this machine's clock.
    pub time: String,
    pub clock_trusted: bool,
    pub agent: Agent,
    pub policy: PolicyRef,
    pub facts: Vec<Fact>,
    pub plan: Plan,
    pub outcomes: Vec<Outcome>,
    pub capability: Capability,
    pub findings: Vec<Finding>,
    /// True if a device or a staged image is different from before this run.
    pub changed: bool,
    pub exit: Exit,
    /// A stable word for programs: `satisfied`, or the cause of the exit.
    pub reason: String,
    /// One sentence for people.
    pub verdict: String,
    /// What this run did not look at, said plainly.
    pub not_assessed: Vec<String>,
}

impl Report {
    pub const SCHEMA: &str = "oob-report/1";
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    pub name: String,
    pub version: String,
}

/// Which policy was applied, and how it is vouched for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRef {
    pub name: String,
    pub serial: u64,
    /// Hex, of the file's bytes.
    pub sha256: String,
    /// The rule that applied; none where the defaults did.
    pub rule: Option<String>,
    pub action: Action,
    /// `unsigned` until a signature was verified.
    pub trust: String,
    /// Escrow recipients as `name (role) fingerprint`.
    pub recipients: Vec<String>,
}

/// The recovery-capability record (reference/org-state.md 2.4): one entry per channel kind, absent ones included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capability {
    /// Always `oob-capability/1`.
    pub schema: String,
    pub channels: Vec<ChannelRecord>,
    pub summary: CapabilitySummary,
}

impl Capability {
    pub const SCHEMA: &str = "oob-capability/1";
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelRecord {
    pub channel: Channel,
    pub state: ChannelState,
    /// Why the state is what it is, above all where it is `unknown`.
    pub reason: String,
    /// `power_on power_off reset power_cycle console_text console_kvm boot_override media sensors`, as far as known.
    pub can: Vec<String>,
    /// `os_alive l2_neighbor mains standby_power user_consent wired_link`.
    pub needs: Vec<String>,
    pub confidence: Proof,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub control_mode: Option<String>,
    /// Escrow file name of the credential.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub credential: Option<String>,
    /// Ports and transport a recovering node would use, such as `16992/http-digest`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub reach: Vec<String>,
    /// Event id that holds the last proof.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_proof: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChannelState {
    Absent,
    /// Hardware or a sign of it is there; nothing of ours is set up.
    Present,
    /// Set up, by us or by others, but not proven in this run.
    Provisioned,
    /// A credential of ours was exercised over a path that really authenticates.
    Verified,
    Disabled,
    /// A neutralized image is staged; only `verify` on a later boot may say more.
    Staged,
    Unknown,
}

/// How well a capability is known: never more than was proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proof {
    Claimed,
    Detected,
    Proven,
}

/// Counts only what is set up (`provisioned` or `verified`), so that it never over-promises.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapabilitySummary {
    pub can_power_cycle: bool,
    pub can_power_on: bool,
    pub can_see_console: bool,
    pub can_boot_media: bool,
    /// Number of channels that could act from another machine.
    pub independent_paths: u64,
    /// What is left when everything above fails.
    pub worst_case: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    Info,
    Warning,
    Risk,
}

/// Something an auditor should see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable, such as `amt-default-credentials`.
    pub id: String,
    pub severity: Severity,
    pub text: String,
}
