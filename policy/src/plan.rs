//! What would be done, in order, and why.

use serde::{Deserialize, Serialize};

use crate::{AmtSettings, Exit, Method, Scope};

/// What a rule asks for. The customer's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    Use,
    Neutralize,
    Ignore,
}

impl Action {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Use => "use",
            Self::Neutralize => "neutralize",
            Self::Ignore => "ignore",
        }
    }
}

/// One way to bring a machine back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Channel {
    Amt,
    Dash,
    Ipmi,
    Redfish,
    Watchdog,
    Pdu,
    Wol,
    VpsApi,
    HypervisorApi,
}

impl Channel {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Amt => "amt",
            Self::Dash => "dash",
            Self::Ipmi => "ipmi",
            Self::Redfish => "redfish",
            Self::Watchdog => "watchdog",
            Self::Pdu => "pdu",
            Self::Wol => "wol",
            Self::VpsApi => "vps-api",
            Self::HypervisorApi => "hypervisor-api",
        }
    }
}

/// The ordered list of what would be done. Serialized, it is what `plan --json` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub action: Action,
    /// Id of the rule that applies; none where the defaults apply.
    pub rule: Option<String>,
    pub steps: Vec<Step>,
    /// What a person should know, such as an expired policy under a clock that nothing vouches for.
    pub warnings: Vec<String>,
}

impl Plan {
    /// A plan with a refusal does nothing at all: refusals are decided before any call.
    pub fn refused(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.what, StepKind::Refuse { .. }))
    }

    /// The decision waits for AMT that is switched on first.
    pub fn enables_amt(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.what, StepKind::AmtEnable { .. }))
    }

    /// The decision waits for the content of the flash chip: read it, and decide anew.
    pub fn wants_flash(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.what, StepKind::ReadFlash))
    }
}

/// One entry of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Stable, such as `amt.setup-ccm`.
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub channel: Option<Channel>,
    pub what: StepKind,
    /// The rule and the facts that led here.
    pub reason: String,
    /// What must still hold just before the step is carried out.
    pub precondition: String,
    pub reversibility: Reversibility,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum StepKind {
    /// Nothing is touched; what was found is recorded.
    Record,
    /// Nothing is touched, because policy cannot or must not be carried out here.
    Refuse {
        exit: Exit,
        /// A stable word for programs, such as `provisioned-by-others`.
        cause: String,
        /// What was asked, why not, and which policy key or flag would permit it.
        text: String,
    },
    /// Take back what our own journal shows we were changing when a run ended: client control mode, or what is not
    /// committed yet, over MEI.
    AmtUndo { generation: u32 },
    /// Make a password, escrow it, activate client control mode with it, prove it, write settings and read them back. What
    /// fails on the way is taken back.
    AmtSetupCcm {
        #[serde(skip_serializing_if = "AmtSettings::is_empty", default)]
        settings: AmtSettings,
    },
    /// The same in admin control mode, with the provisioning certificate. `or_ccm`: where the certificate is not accepted
    /// before anything was changed, client control mode is activated instead, and that is said.
    /// Admin control mode is not taken back: what fails after its proof is reported, with the credential safe.
    AmtSetupAcm {
        or_ccm: bool,
        #[serde(skip_serializing_if = "AmtSettings::is_empty", default)]
        settings: AmtSettings,
    },
    /// Log in with the credential that the operator gave, once, and only to that realm; prove it, write the settings that
    /// are missing and read them back.
    AmtComplete {
        realm: String,
        #[serde(skip_serializing_if = "AmtSettings::is_empty", default)]
        settings: AmtSettings,
    },
    /// The same, and give AMT a new password, escrowed before, in place of the one that was given.
    AmtRotate {
        realm: String,
        #[serde(skip_serializing_if = "AmtSettings::is_empty", default)]
        settings: AmtSettings,
    },
    /// The same on AMT that others set up, whose realm nobody knows before; policy permits it.
    AmtTakeOver {
        #[serde(skip_serializing_if = "AmtSettings::is_empty", default)]
        settings: AmtSettings,
    },
    /// See that the AMT we proved is still the one that answers; changes nothing.
    AmtConfirm { realm: String, last_proof: String },
    /// Switch AMT on over MHC, where its maker or BIOS setup switched it off, and see whether it answers. What follows is
    /// decided anew once it does. `told`: the event of a run that told the firmware in this boot already, so it is not told
    /// again. `suffix`: wait until AMT has a DNS suffix, which admin control mode needs.
    AmtEnable {
        #[serde(skip_serializing_if = "Option::is_none", default)]
        told: Option<String>,
        suffix: bool,
    },
    /// Go from client to admin control mode as admin, with the credential that the operator gave and the provisioning
    /// certificate; the password stays. `or_ccm`: where the certificate is not accepted, AMT stays as it is, and that is
    /// said.
    AmtUpgrade {
        realm: String,
        or_ccm: bool,
        #[serde(skip_serializing_if = "AmtSettings::is_empty", default)]
        settings: AmtSettings,
    },
    /// Unprovision AMT, and see it unprovisioned: client control mode over MEI, everything else as admin. `login`: with the
    /// credential that the operator gave. `realm`: the one that it must answer with before; none for AMT of others, which
    /// policy permits to touch where the credential logs in.
    AmtUnprovision {
        scope: Scope,
        login: bool,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        realm: Option<String>,
    },
    /// See that AMT is not provisioned, and that org state does not claim it to be ours; changes nothing on the machine.
    AmtUnprovisioned,
    /// Read this machine's flash chip, which the decision waits for. Planned only where that has not been tried yet,
    /// so a plan that is carried out never holds it.
    ReadFlash,
    /// Stage an image that was changed by `method`.
    Stage {
        method: Method,
        /// Partitions that code removal keeps besides the one it always keeps.
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        keep: Vec<String>,
        /// Why each method that policy would rather have is not the one, as `method: reason`.
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        skipped: Vec<String>,
    },
    /// Switch AMT off by its own firmware, before anybody provisions it: PTHI 0x88, which only MEBx takes back. `mhc`: where
    /// the firmware refuses that, it is asked over MHC, which root can take back (16.1 and later).
    AmtLockdown {
        mhc: bool,
        /// MEBx has a password of its own by then, from a step before or a run before.
        #[serde(skip_serializing_if = "std::ops::Not::not", default)]
        own_mebx: bool,
        /// As in [`StepKind::Stage`].
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        skipped: Vec<String>,
    },
    /// AMT is off already. Detected; `event` is the record of the run that switched it off, if it was one of ours.
    AmtLockedDown {
        #[serde(skip_serializing_if = "Option::is_none", default)]
        event: Option<String>,
        /// That run gave MEBx a password of its own: the name of its escrow file.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        mebx_escrow: Option<String>,
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        skipped: Vec<String>,
    },
    /// Nothing to stage: the management engine reports itself soft-disabled. Detected, not proven effective.
    MeSoftDisabled,
    /// Record why nothing of the policy's methods could be applied.
    ReportOnly { because: Vec<String> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reversibility {
    /// Changes nothing.
    ReadOnly,
    /// Can be undone from this machine without a credential.
    Undoable,
    /// Can be undone with the escrowed credential or the kept original only.
    WithCredential,
}

impl StepKind {
    /// What is written to AMT after activation, or after a login.
    pub fn settings(&self) -> Option<&AmtSettings> {
        match self {
            Self::AmtSetupCcm { settings }
            | Self::AmtSetupAcm { settings, .. }
            | Self::AmtComplete { settings, .. }
            | Self::AmtRotate { settings, .. }
            | Self::AmtUpgrade { settings, .. }
            | Self::AmtTakeOver { settings } => Some(settings),
            _ => None,
        }
    }
}

/// Ids of steps, by which outcomes are told apart. A refusal's id is `refuse.<cause>`, with a detail after it where one
/// cause can stand twice.
pub mod step {
    pub const RECORD: &str = "record";
    pub const AMT_CONFIRM: &str = "amt.confirm";
    pub const AMT_UNDO: &str = "amt.undo";
    pub const AMT_SETUP_CCM: &str = "amt.setup-ccm";
    pub const AMT_SETUP_ACM: &str = "amt.setup-acm";
    pub const AMT_COMPLETE: &str = "amt.complete";
    pub const AMT_ROTATE: &str = "amt.rotate";
    pub const AMT_TAKE_OVER: &str = "amt.take-over";
    pub const AMT_ENABLE: &str = "amt.enable";
    pub const AMT_UPGRADE: &str = "amt.upgrade";
    pub const AMT_UNPROVISION: &str = "amt.unprovision";
    /// The same of one that a run of ours left half way, before something else is begun.
    pub const AMT_STOP: &str = "amt.stop";
    pub const AMT_UNPROVISIONED: &str = "amt.unprovisioned";
    pub const READ_FLASH: &str = "neutralize.read-flash";
    pub const STAGE_CLEAN: &str = "neutralize.stage-clean";
    pub const STAGE_SOFT_DISABLE: &str = "neutralize.stage-soft-disable";
    pub const LOCKDOWN: &str = "neutralize.lockdown";
    pub const LOCKED_DOWN: &str = "neutralize.locked-down";
    pub const ME_SOFT_DISABLED: &str = "neutralize.me-soft-disabled";
    pub const REPORT_ONLY: &str = "neutralize.report-only";
}
