//! Comparing a machine with what org state claims of it. Pure, and the only place that may say `effective`.
//!
//! The ladder is `planned < staged < effective < effective-persistent` (reference/org-state.md 4.2). The upper half is
//! reached only where the machine's own status registers say that the engine stopped for its strap, on a later boot
//! than the staging, and nothing contradicts them. What a missing device, a BIOS switch or a jumper can show as well
//! is never enough.

mod amt;
mod engine;
mod findings;
mod judge;
mod lockdown;
mod remote;
mod witness;

use serde::Serialize;

use crate::{Confidence, Detection, Exit, Finding, History, Value};
use amt::Off;
use engine::{Engine, Picture};
use judge::Case;

pub use remote::{
    Ability, Cleartext, Mutual, Power, PowerAbility, RemoteEnd, RemoteResult, RemoteSeen, claims_mutual_tls,
    claims_tls_only, lacks_pin, verify_remote,
};

/// Everything one verification is made from.
#[derive(Clone, Copy)]
pub struct Look<'a> {
    pub history: &'a History,
    pub claims: &'a Claims,
    pub detection: &'a Detection,
    /// The flash as it is now, where it was read again.
    pub flash: Option<&'a FlashEvidence>,
    pub amt: &'a AmtSeen,
    /// Whether AMT is on, as the firmware says over MHC; none where it was not asked or does not tell.
    pub amt_on: Option<bool>,
    /// Seconds since 1970 by this machine's clock.
    pub now: i64,
}

/// What org state claims of the engine, besides the [`History`]: folded from the events of one device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// The circumstances under which the image was staged or, where none was, under which a run last dealt with a
    /// policy that asks to neutralize.
    pub since: Option<Moment>,
    /// That run ended with "power-cycle", or "flash it": something is still to come.
    pub pending: bool,
    /// The claim that the engine is neutralized, where one was verified for this staging.
    pub effective: Option<WasEffective>,
    /// What `verify` last recorded for this staging.
    pub recorded: Option<Recorded>,
    /// The claim that AMT was switched off by its firmware, where one stands.
    pub locked_down: Option<Lockdown>,
}

/// AMT that was switched off by its firmware, or that a run found off and took for that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lockdown {
    pub since: Moment,
    /// Escrow file of the password that MEBx took then; none where MEBx kept the one it had.
    pub mebx_escrow: Option<String>,
    /// What `verify` last recorded of it.
    pub recorded: Option<Recorded>,
}

/// When and where something was recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Event id.
    pub event: String,
    /// Seconds since 1970, by the clock of then.
    pub wall: Option<i64>,
    pub boot_id: Option<String>,
    /// The engine was seen running.
    pub engine_ran: bool,
    pub bios: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WasEffective {
    /// The first look that said so, after the last one that said otherwise.
    pub first: Moment,
    /// What the engine showed, as [`Verification::engine`].
    pub engine: String,
    pub persistent: bool,
    /// A later look found that it is no more so.
    pub refuted: bool,
}

/// A verdict that an event holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    pub event: String,
    pub verdict: String,
    pub reason: String,
    pub boot_id: Option<String>,
    /// A dump of the flash was at hand, and it spoke against the claim.
    pub flash_denied: bool,
}

/// What a dump of the flash shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlashEvidence {
    /// Lower-case hex.
    pub sha256: String,
    pub strap: Strap,
    /// `major.minor.hotfix.build`.
    pub me_version: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Strap {
    Set,
    Clear,
    /// It could not be located; the text says why.
    Unknown(String),
}

/// What AMT answered to a request without a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AmtSeen {
    /// Org state claims nothing that would need the question.
    NotAsked,
    /// The realm of the refusal.
    Realm(String),
    /// The same, without TLS where the last proof says that it speaks it here.
    WithoutTls(String),
    /// The same, and it serves the certificate that an unfinished run was giving it; or, where it is asked over cleartext,
    /// perhaps that one.
    PerhapsAnotherCertificate(String),
    Silent(String),
}

impl AmtSeen {
    /// The realm that it answered with.
    #[must_use]
    pub fn realm(&self) -> Option<&str> {
        match self {
            Self::Realm(realm) | Self::WithoutTls(realm) | Self::PerhapsAnotherCertificate(realm) => {
                Some(realm)
            }
            Self::NotAsked | Self::Silent(_) => None,
        }
    }
}

/// How far neutralizing has come, as far as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rung {
    /// Org state does not say that this engine should be neutralized.
    NotClaimed,
    /// No engine with a strap: AMD's secure processor, a virtual machine.
    NotNeutralizable,
    /// Policy asks for it, and nothing was staged.
    Planned,
    /// An image was staged; the machine does not show its effect.
    Staged,
    /// Seen on a boot after the staging.
    Effective,
    /// Still so after 30 days, or after an update of the machine's firmware.
    EffectivePersistent,
}

impl Rung {
    pub const fn word(self) -> &'static str {
        match self {
            Self::NotClaimed => "not-claimed",
            Self::NotNeutralizable => "not-neutralizable",
            Self::Planned => "planned",
            Self::Staged => "staged",
            Self::Effective => "effective",
            Self::EffectivePersistent => "effective-persistent",
        }
    }

    pub const fn is_effective(self) -> bool {
        matches!(self, Self::Effective | Self::EffectivePersistent)
    }
}

/// The result. Serialized, it is the core of `verify --json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verification {
    pub verdict: Rung,
    /// How well an effective verdict is known: read now; recorded by firmware at start-up, or resting on a dump that was
    /// given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<Confidence>,
    /// What the engine shows, in one stable word: `running`, `soft-disabled`, `temporarily-disabled`, `override`,
    /// `shutting-down`, `image-failure`, `unclear`, `not-shown`, `none`.
    pub engine: &'static str,
    #[serde(skip)]
    pub exit: Exit,
    /// A stable word for programs.
    pub reason: String,
    /// One sentence for people.
    pub text: String,
    pub evidence: Vec<Evidence>,
    /// Sources that cannot both be right.
    pub contradictions: Vec<String>,
    pub findings: Vec<Finding>,
    /// What to do next.
    pub next: Vec<String>,
    /// AMT as org state claims it; none where it claims nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amt: Option<AmtResult>,
    pub not_assessed: Vec<String>,
    /// The event of the lockdown that this is about; none where it is about the engine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lockdown: Option<String>,
    /// Org state does not hold this result yet, and should.
    #[serde(skip)]
    pub new: bool,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Evidence {
    pub name: &'static str,
    pub value: Value,
    pub source: String,
    pub confidence: Confidence,
    pub says: Says,
    pub text: String,
}

/// What a piece of evidence says about the claim that the engine is neutralized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Says {
    Supports,
    Contradicts,
    /// By itself it says neither.
    Nothing,
}

/// What became of the claim that AMT is ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AmtResult {
    /// `as-claimed`, or a cause such as `realm-changed`.
    pub reason: &'static str,
    pub text: String,
    /// The event that holds the claim; none where a change of ours was not finished.
    pub event: Option<String>,
    #[serde(skip)]
    pub exit: Exit,
}

/// Compares. Total and deterministic: whatever it is given, the same input gives the same result.
pub fn verify(look: &Look<'_>) -> Verification {
    let engine = Engine::of(look.detection);
    if let Some(claim) = lockdown::claim(look, &engine) {
        return lockdown::verification(look, &engine, claim);
    }
    let flash = witness::flash(look);
    let boot = witness::boot(look, &engine);
    let contradictions = witness::contradictions(look.detection, &engine, &flash);
    let case = Case { look, engine: &engine, flash: &flash, boot: &boot, contradictions: &contradictions };
    let judgment = case.judge();
    let off = judgment.verdict.is_effective().then_some(Off::WithTheEngine);
    let amt = amt::result(look, off);
    let exit = Exit::worst([judgment.exit].into_iter().chain(amt.as_ref().map(|amt| amt.exit)));
    // AMT decides where it is the worse half, or the only one.
    let decisive = amt.as_ref().filter(|amt| amt.exit == exit && judgment.exit != exit);
    let reason = decisive.map_or(judgment.reason, |amt| amt.reason);
    let text = match &amt {
        Some(amt) => format!("{} {}", judgment.text, amt.text),
        None => judgment.text,
    };
    let verdict = judgment.verdict;
    Verification {
        verdict,
        confidence: verdict.is_effective().then_some(match engine.picture {
            Picture::SoftDisabled => engine.confidence,
            // Then it rests on a dump, and that it is of this machine's flash is the operator's word.
            _ => Confidence::Inferred,
        }),
        engine: engine.picture.word(),
        exit,
        reason: reason.to_owned(),
        text,
        evidence: witness::evidence(look, &engine, &flash, &boot),
        findings: findings::findings(look, &engine, verdict, judgment.reason),
        not_assessed: findings::not_assessed(look),
        contradictions,
        lockdown: None,
        next: judgment.next,
        new: is_new(look, verdict, exit, reason),
        amt,
    }
}

/// What the engine shows of its strap before anything is staged.
pub(crate) enum Shown {
    SoftDisabled,
    /// It shows so, and something else says the contrary.
    Contradicted(Vec<String>),
    Otherwise,
}

/// Judged as a later look will be, so that `apply` is never content with what `verify` would not accept.
pub(crate) fn shows_soft_disabled(detection: &Detection) -> Shown {
    let engine = Engine::of(detection);
    if engine.picture != Picture::SoftDisabled {
        return Shown::Otherwise;
    }
    match witness::contradictions(detection, &engine, &witness::Flash::None) {
        none if none.is_empty() => Shown::SoftDisabled,
        contradictions => Shown::Contradicted(contradictions),
    }
}

/// Worth an event: an effective verdict or drift that the last such event does not hold already. What could not be seen
/// refutes nothing, so it is not recorded.
fn is_new(look: &Look<'_>, verdict: Rung, exit: Exit, reason: &str) -> bool {
    let telling = exit == Exit::Drift || (verdict.is_effective() && exit == Exit::Satisfied);
    let known = look.claims.recorded.as_ref();
    telling && known.is_none_or(|known| known.verdict != verdict.word() || known.reason != reason)
}
