//! What was looked at, what it says, and whether two of them can both be right.

use std::collections::BTreeSet;

use super::engine::{Engine, Picture};
use super::{Evidence, FlashEvidence, Look, Moment, Says, Strap};
use crate::pattern::version;
use crate::{Confidence, Detection, Fact, UNKNOWN, Value, shown};

/// Whether the machine was booted after something was recorded.
pub(super) enum Boot {
    /// The text says how that is known.
    Later(String),
    Same(String),
    Unknown,
}

/// A boot id tells; the clock of a new machine is often wrong, so it counts only where there is no id.
pub(super) fn boot_since(then: &Moment, now: &Detection) -> Boot {
    if let (Some(then), Some(now)) = (then.boot_id.as_deref(), now.known("host.boot_id")) {
        return if then == now {
            Boot::Same("the machine has not been booted since (same boot id)".to_owned())
        } else {
            Boot::Later("another boot id than then".to_owned())
        };
    }
    let booted = match now.fact("host.boot_time").map(|fact| &fact.value) {
        Some(Value::Number(time)) => i64::try_from(*time).ok(),
        _ => None,
    };
    match (then.wall, booted) {
        (Some(then), Some(booted)) if booted > then => {
            Boot::Later("booted after it, by this machine's clock".to_owned())
        }
        (Some(_), Some(_)) => Boot::Same("it was booted before that, by this machine's clock".to_owned()),
        _ => Boot::Unknown,
    }
}

pub(super) fn boot(look: &Look<'_>, engine: &Engine) -> Boot {
    let Some(since) = &look.claims.since else { return Boot::Unknown };
    match boot_since(since, look.detection) {
        // The strap is read when the engine starts, so one that ran and is stopped for it has been reset since. Mode 3
        // can be set while the engine runs, so it tells nothing of the kind.
        Boot::Unknown if since.engine_ran && engine.picture == Picture::SoftDisabled => {
            Boot::Later("the engine ran then, and has been reset since".to_owned())
        }
        known => known,
    }
}

/// What the flash that was read again says about the staged result.
pub(super) enum Flash {
    /// None was given.
    None,
    /// `holds ...`.
    Written(String),
    NotWritten {
        original: bool,
    },
    /// It is of another machine, or its strap could not be located.
    Unusable(String),
}

/// A running machine writes its flash (variables, the engine's own data), so the strap counts where the hash differs.
pub(super) fn flash(look: &Look<'_>) -> Flash {
    let Some(flash) = look.flash else { return Flash::None };
    if let Some(why) = is_foreign(flash, look.detection) {
        return Flash::Unusable(why);
    }
    let staged = look.history.staged.as_ref();
    if staged.is_some_and(|staged| staged.result_sha256 == flash.sha256) {
        return Flash::Written("holds the staged image".to_owned());
    }
    let original = staged.is_some_and(|staged| staged.original_sha256 == flash.sha256);
    match &flash.strap {
        Strap::Set => Flash::Written("has the soft-disable strap set".to_owned()),
        Strap::Clear => Flash::NotWritten { original },
        Strap::Unknown(_) if original => Flash::NotWritten { original },
        Strap::Unknown(why) => Flash::Unusable(format!("its strap cannot be located ({})", shown(why))),
    }
}

fn is_foreign(flash: &FlashEvidence, detection: &Detection) -> Option<String> {
    let (holds, runs) = (flash.me_version.as_deref()?, detection.known("intel.me.version")?);
    let differs = version(holds).map(|(holds, _)| holds) != version(runs).map(|(runs, _)| runs);
    differs.then(|| format!("it holds ME {}, and this machine has ME {}", shown(holds), shown(runs)))
}

/// Only where something says that the engine is off: that is the claim which a lying source would carry.
pub(super) fn contradictions(detection: &Detection, engine: &Engine, flash: &Flash) -> Vec<String> {
    let mut found = Vec::new();
    let states = states_by_source(detection);
    let clear: BTreeSet<&str> =
        states.iter().map(|(_, state)| *state).filter(|state| *state != "unclear").collect();
    let says_off = clear.iter().any(|state| ["soft-disabled", "disabled"].contains(state));
    if clear.len() > 1 && says_off {
        let told: Vec<String> =
            states.iter().map(|(source, state)| format!("{} says {}", shown(source), shown(state))).collect();
        found.push(told.join(", "));
    }
    if engine.is_disabled() {
        if let Some(fact) = answers(detection) {
            found.push(format!("the registers say that the engine is off, and it answered ({})", fact.name));
        }
        if engine.picture == Picture::SoftDisabled && matches!(flash, Flash::NotWritten { .. }) {
            found.push("the registers say that the strap is set, and in the flash it is clear".to_owned());
        }
    }
    found
}

fn states_by_source(detection: &Detection) -> Vec<(&str, &str)> {
    match detection.fact("intel.me.state_by_source").map(|fact| &fact.value) {
        Some(Value::Map(states)) => {
            states.iter().filter_map(|(source, state)| Some((source.as_str(), state.as_text()?))).collect()
        }
        _ => Vec::new(),
    }
}

/// Something that only a running engine says: AMT's state over MEI, or a list of clients.
fn answers(detection: &Detection) -> Option<&Fact> {
    let amt = detection.fact("intel.amt.provisioning").filter(|fact| {
        fact.confidence == Confidence::Observed && fact.value.as_text().is_some_and(|text| text != UNKNOWN)
    });
    amt.or_else(|| {
        let clients = detection.fact("intel.mei.clients")?;
        matches!(&clients.value, Value::List(clients) if !clients.is_empty()).then_some(clients)
    })
}

/// Everything that bears on the engine, with what it is worth by itself.
pub(super) fn evidence(look: &Look<'_>, engine: &Engine, flash: &Flash, boot: &Boot) -> Vec<Evidence> {
    let mut list = vec![registers(look.detection, engine)];
    for (source, state) in states_by_source(look.detection) {
        if source == engine.source {
            continue;
        }
        let agrees = match (engine.is_disabled(), ["soft-disabled", "disabled"].contains(&state)) {
            (true, true) => Says::Supports,
            _ if state == "unclear" => Says::Nothing,
            (_, false) => Says::Contradicts,
            (false, true) => Says::Nothing,
        };
        let recorded = source.starts_with("smbios:");
        let confidence = if recorded { Confidence::Inferred } else { Confidence::Observed };
        let when = if recorded { "as firmware recorded it at start-up" } else { "as it is now" };
        list.push(item("engine-state", state.into(), source, confidence, agrees, when.to_owned()));
    }
    list.extend(version_told(look.detection));
    list.extend(visible(look.detection));
    list.extend(booted(look, boot));
    list.extend(flash_read(look, flash));
    if let Some(fact) = answers(look.detection) {
        let text = "only a running engine says this".to_owned();
        list.push(item("answer", fact.value.clone(), &fact.source, fact.confidence, Says::Contradicts, text));
    }
    list
}

fn registers(detection: &Detection, engine: &Engine) -> Evidence {
    let says = match engine.picture {
        Picture::SoftDisabled => Says::Supports,
        Picture::Running | Picture::Override | Picture::ShuttingDown | Picture::ImageFailure => {
            Says::Contradicts
        }
        Picture::TemporarilyDisabled | Picture::Unclear | Picture::NotShown | Picture::None => Says::Nothing,
    };
    let words = detection.fact("intel.me.hfsts").map_or_else(|| UNKNOWN.into(), |fact| fact.value.clone());
    let text = format!("{}: {}", engine.picture.word(), engine.text);
    item("hfsts", words, &engine.source, engine.confidence, says, text)
}

/// SMBIOS 221 with a version of all ones: firmware asked, and the engine did not answer. A version that is told may be
/// one that firmware remembers, so it refutes nothing.
fn version_told(detection: &Detection) -> Option<Evidence> {
    let fact = detection.fact("intel.me.version")?;
    let blank = fact.source == "smbios:221" && fact.value.as_text() == Some(UNKNOWN);
    let (says, text) = if blank {
        (Says::Supports, fact.reason.clone().unwrap_or_default())
    } else {
        (Says::Nothing, "a version may be remembered, and silence has many reasons".to_owned())
    };
    Some(item("me-version", fact.value.clone(), &fact.source, fact.confidence, says, text))
}

/// A function that is not on the bus may be hidden by BIOS setup or switched off there, and one that is there may be
/// served by an engine that is off (Dasharo issue 883).
fn visible(detection: &Detection) -> Option<Evidence> {
    let fact = detection.fact("intel.me.pci")?;
    let text = "whether the interface is on the PCI bus says nothing by itself".to_owned();
    Some(item("heci", fact.value.clone(), &fact.source, fact.confidence, Says::Nothing, text))
}

fn booted(look: &Look<'_>, boot: &Boot) -> Option<Evidence> {
    let since = look.claims.since.as_ref()?;
    let by_id = since.boot_id.is_some() && look.detection.known("host.boot_id").is_some();
    let fact = look.detection.fact(if by_id { "host.boot_id" } else { "host.boot_time" });
    let (value, says, text) = match boot {
        Boot::Later(how) => ("later", Says::Supports, how.clone()),
        Boot::Same(how) => ("same", Says::Contradicts, how.clone()),
        Boot::Unknown => ("unknown", Says::Nothing, "nothing tells when this machine was booted".to_owned()),
    };
    let source = fact.map_or(UNKNOWN, |fact| fact.source.as_str());
    let confidence = if by_id { Confidence::Observed } else { Confidence::Inferred };
    let text = format!("since event {}: {text}", shown(&since.event));
    Some(item("boot", value.into(), source, confidence, says, text))
}

fn flash_read(look: &Look<'_>, flash: &Flash) -> Option<Evidence> {
    let given = look.flash?;
    let (says, text) = match flash {
        Flash::None => return None,
        Flash::Written(what) => (Says::Supports, format!("the flash {what}")),
        Flash::NotWritten { original: true } => {
            (Says::Contradicts, "the flash holds the original image".to_owned())
        }
        Flash::NotWritten { original: false } => {
            (Says::Contradicts, "the soft-disable strap is located and clear".to_owned())
        }
        Flash::Unusable(why) => (Says::Nothing, why.clone()),
    };
    Some(item("flash", given.sha256.as_str().into(), "--firmware-image", Confidence::Inferred, says, text))
}

fn item(
    name: &'static str,
    value: Value,
    source: &str,
    confidence: Confidence,
    says: Says,
    text: String,
) -> Evidence {
    Evidence { name, value, source: source.to_owned(), confidence, says, text }
}
