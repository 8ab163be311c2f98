//! Whether this machine has AMT. The management engine's answer is the verdict; SMBIOS only hints: its AMT flags are
//! wrong on a third of the machines without AMT (reference/detect.md 0 and 1.5).

use oob_policy::{Fact, UNKNOWN};

use super::Survey;
use super::amt_posture::{self, Posture};
use super::me::{VproTable, is_csme, is_sps, live_words, recorded_status, state_of};
use crate::machine::smbios::Structure;
use crate::machine::{CpuVendor, Heci, MeiError, MeiSysfs, PTHI};

const VERDICT: &str = "intel.amt.verdict";
const VERSION: &str = "intel.amt.version";
const PROVISIONING: &str = "intel.amt.provisioning";
const CONTROL_MODE: &str = "intel.amt.control_mode";
const UUID: &str = "intel.amt.uuid";
const ASKED: &str = "mei:pthi";

/// PTHI's "empty response": AMT is disabled (reference/detect.md 1.5).
const STATUS_EMPTY: u32 = 0x4000;
/// Bits of the SKU word (reference/amt.md 2.2).
const SKU_AMT: u32 = 1 << 3;
const SKU_STANDARD: u32 = 1 << 4;

/// What AMT's host interface answered, call by call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PthiAnswer {
    pub code_versions: Result<Versions, Failure>,
    /// 0 pre, 1 in, 2 post.
    pub provisioning: Result<u32, Failure>,
    /// 0 none, 1 client control, 2 admin control.
    pub control_mode: Result<u32, Failure>,
    /// RFC 4122 text.
    pub uuid: Result<String, Failure>,
    /// How open it is; decides nothing here.
    pub posture: Posture,
}

/// The code versions that AMT reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versions {
    /// Such as `16.1.25`; empty where AMT lists none.
    pub amt: String,
    pub sku: u32,
    /// Such as `1885`.
    pub build: String,
}

/// Why a call gave no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The connection was refused for want of the client (ENOTTY).
    NoClient(String),
    /// AMT answered with this status.
    Status(u32),
    /// Anything else, as a sentence.
    Other(String),
}

impl PthiAnswer {
    /// The host interface could not be reached, so no call was made.
    pub fn unreachable(error: &MeiError) -> Self {
        let failure = match error {
            MeiError::NoClient { .. } => Failure::NoClient(error.to_string()),
            other => Failure::Other(other.to_string()),
        };
        Self {
            code_versions: Err(failure.clone()),
            provisioning: Err(failure.clone()),
            control_mode: Err(failure.clone()),
            uuid: Err(failure.clone()),
            posture: Posture::unasked(&failure),
        }
    }
}

impl Failure {
    pub(super) fn text(&self) -> String {
        match self {
            Self::NoClient(text) | Self::Other(text) => text.clone(),
            Self::Status(status) => format!("AMT answered with status {status:#x}"),
        }
    }
}

/// The table of reference/detect.md 1.5. No I/O.
pub fn amt_verdict(sysfs: &MeiSysfs, cpu: &CpuVendor, pthi: Option<&PthiAnswer>) -> Vec<Fact> {
    let verdict = match pthi {
        Some(answer) => asked(answer, sysfs, cpu),
        None => unasked(sysfs, cpu),
    };
    let mut facts = vec![verdict];
    match pthi {
        Some(answer) => facts.extend(details(answer)),
        None => {
            let why = "AMT's host interface was not asked";
            facts.extend(
                [VERSION, PROVISIONING, CONTROL_MODE, UUID].map(|name| Fact::unknown(name, ASKED, why)),
            );
        }
    }
    facts.extend(amt_posture::facts(pthi.map(|answer| &answer.posture)));
    facts
}

fn asked(answer: &PthiAnswer, sysfs: &MeiSysfs, cpu: &CpuVendor) -> Fact {
    match &answer.code_versions {
        Ok(versions) if versions.amt.is_empty() && versions.sku == 0 => {
            Fact::observed(VERDICT, "disabled", ASKED).because("AMT lists no code versions")
        }
        Ok(versions) if versions.sku & SKU_AMT != 0 => Fact::observed(VERDICT, "capable", ASKED),
        Ok(versions) if versions.sku & SKU_STANDARD != 0 => {
            Fact::observed(VERDICT, "standard-manageability", ASKED).because("no KVM")
        }
        Ok(versions) => {
            let text =
                format!("SKU {:#x} has neither the AMT nor the Standard Manageability bit", versions.sku);
            Fact::unknown(VERDICT, ASKED, text)
        }
        Err(Failure::Status(STATUS_EMPTY)) => Fact::observed(VERDICT, "disabled", ASKED)
            .because("AMT answered that it has nothing to answer (0x4000)"),
        // The firmware was there and has no such client. Where sysfs knows more than that, it says so.
        Err(Failure::NoClient(text)) => match unasked(sysfs, cpu) {
            fact if fact.value.as_text() == Some("absent") => fact,
            _ => Fact::observed(VERDICT, "absent-or-disabled", ASKED).because(match halted(sysfs) {
                Some(state) => format!("the engine is in state {state}: {text}"),
                None => text.clone(),
            }),
        },
        Err(failure) => match unasked(sysfs, cpu) {
            fact if fact.value.as_text() != Some(UNKNOWN) => fact,
            _ => Fact::unknown(VERDICT, ASKED, failure.text()),
        },
    }
}

/// The verdict without a word from AMT itself.
fn unasked(sysfs: &MeiSysfs, cpu: &CpuVendor) -> Fact {
    // What announces AMT's host interface is never without AMT, whatever its registers say.
    let registers = live_words(sysfs).filter(|_| sysfs.announces(PTHI) != Some(true));
    if let Some((words, source)) = registers
        && is_sps(words, sysfs.is_csme() == Some(true))
    {
        return Fact::inferred(VERDICT, "absent", &source).because("server firmware (SPS) has no AMT");
    }
    let Some(device) = sysfs.devices.first() else { return without_driver(sysfs, cpu) };
    let state = device.dev_state.as_deref();
    let source = "sys/bus/mei/devices";
    match (state.is_none_or(|state| state == "ENABLED"), sysfs.announces(PTHI)) {
        (_, None) => Fact::unknown(VERDICT, source, "the firmware's clients cannot be listed"),
        (true, Some(true)) => {
            let text = "the firmware announces AMT's host interface, and it has not answered yet";
            match halted(sysfs) {
                Some(state) => Fact::unknown(VERDICT, source, format!("{text}; the engine is in state {state}")),
                None => Fact::unknown(VERDICT, source, text),
            }
        }
        (true, Some(false)) => {
            Fact::observed(VERDICT, "absent-or-disabled", source).because(match halted(sysfs) {
                Some(state) => format!(
                    "the engine is in state {state} and does not announce AMT's host interface: no AMT, or off with the engine"
                ),
                None => "the firmware does not announce AMT's host interface: no AMT, or disabled in BIOS setup"
                    .to_owned(),
            })
        }
        (false, _) => {
            let text = format!("the engine's interface is {}, not ENABLED", state.unwrap_or_default());
            Fact::unknown(VERDICT, &device.source("dev_state"), text)
        }
    }
}

/// The engine's state, where its registers tell another than normal: AMT does not run then.
fn halted(sysfs: &MeiSysfs) -> Option<&'static str> {
    state_of(live_words(sysfs)?.0).filter(|state| *state != "normal")
}

fn without_driver(sysfs: &MeiSysfs, cpu: &CpuVendor) -> Fact {
    let source = "sys/bus/pci/devices";
    match (&sysfs.heci, cpu) {
        (Heci::Found { function, .. }, _) => {
            let text = format!("the engine {} is there and no driver serves it; load mei_me", function.id());
            Fact::unknown(VERDICT, &function.source(), text)
        }
        (_, CpuVendor::Amd | CpuVendor::Other(_)) => {
            Fact::inferred(VERDICT, "absent", "proc/cpuinfo").because("the processor is not Intel's")
        }
        (Heci::NotListed, CpuVendor::Intel) => {
            Fact::unknown(VERDICT, source, "no HECI function on the PCI bus: hidden, disabled or not there")
        }
        (Heci::Unknown(why), CpuVendor::Intel) => Fact::unknown(VERDICT, source, why),
        (_, CpuVendor::Unknown(why)) => Fact::unknown(VERDICT, "proc/cpuinfo", why),
    }
}

fn details(answer: &PthiAnswer) -> Vec<Fact> {
    let number = |name: &str, value: &Result<u32, Failure>, words: &[&str]| match value {
        Ok(number) => match words.get(*number as usize) {
            Some(word) => Fact::observed(name, *word, ASKED),
            None => Fact::unknown(name, ASKED, format!("AMT answered {number}")),
        },
        Err(failure) => Fact::unknown(name, ASKED, failure.text()),
    };
    let version = match &answer.code_versions {
        Ok(Versions { amt, .. }) if amt.is_empty() => {
            Fact::unknown(VERSION, ASKED, "AMT lists no code versions")
        }
        Ok(Versions { amt, build, .. }) if build.is_empty() => Fact::observed(VERSION, amt.as_str(), ASKED),
        Ok(Versions { amt, build, .. }) => Fact::observed(VERSION, format!("{amt}.{build}"), ASKED),
        Err(failure) => Fact::unknown(VERSION, ASKED, failure.text()),
    };
    let uuid = match &answer.uuid {
        Ok(uuid) => Fact::observed(UUID, uuid.to_lowercase(), ASKED),
        Err(failure) => Fact::unknown(UUID, ASKED, failure.text()),
    };
    vec![
        version,
        number(PROVISIONING, &answer.provisioning, &["pre", "in", "post"]),
        number(CONTROL_MODE, &answer.control_mode, &["none", "ccm", "acm"]),
        uuid,
    ]
}

/// Server firmware has no AMT, also where only SMBIOS tells its version or recorded that it runs.
pub(super) fn without_amt(survey: &Survey<'_>, facts: &mut [Fact]) {
    if survey.mei.announces(PTHI) == Some(true) {
        return;
    }
    let live = live_words(&survey.mei).map(|(words, source)| (words.to_vec(), source));
    let recorded = || Some((survey.dmi.of(219).find_map(recorded_status)?, "smbios:219".to_owned()));
    let Some((words, source)) = live.or_else(recorded) else { return };
    if !is_sps(&words, is_csme(survey)) {
        return;
    }
    for fact in facts.iter_mut().filter(|fact| fact.name == VERDICT && fact.value.as_text() == Some(UNKNOWN))
    {
        *fact = Fact::inferred(VERDICT, "absent", &source).because("server firmware (SPS) has no AMT");
    }
}

/// What SMBIOS says about AMT: printed as it is, believed never.
pub(super) fn hints(survey: &Survey<'_>) -> Vec<Fact> {
    let hint = |name: &str, kind: u8, value: Option<&'static str>| {
        let source = format!("smbios:{kind}");
        match (value, survey.no_smbios()) {
            (Some(value), _) => Fact::hint(name, value, &source),
            (None, Some(why)) => Fact::unknown(name, &source, why),
            (None, None) => {
                Fact::hint(name, "none", &source).because("no such table, or another maker's use of the type")
            }
        }
    };
    let table = survey.dmi.of(131).find_map(VproTable::of);
    vec![
        hint("intel.amt.hint.smbios130", 130, survey.dmi.of(130).find_map(amt_flags)),
        hint("intel.amt.hint.smbios131", 131, table.map(|table| table.manageability())),
    ]
}

/// Type 130 with its signature; other makers use the type for anything.
fn amt_flags(structure: &Structure) -> Option<&'static str> {
    if structure.array(4) != Some(*b"$AMT") {
        return None;
    }
    match (structure.u8(8)?, structure.u8(9)?) {
        (1, 1) => Some("supported-enabled"),
        (1, 0) => Some("supported-disabled"),
        (0, _) => Some("unsupported"),
        _ => None,
    }
}

#[cfg(test)]
#[path = "amt_tests.rs"]
mod tests;
