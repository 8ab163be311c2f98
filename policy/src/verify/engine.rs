//! What the engine shows of itself (reference/me.md 4.2).

use crate::{Confidence, Detection, Fact, UNKNOWN, Value, shown};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Picture {
    /// Stopped for its strap: operation mode 2, or mode 3 where bring-up names the strap.
    SoftDisabled,
    /// Operation mode 3, for whatever reason.
    TemporarilyDisabled,
    Running,
    /// Held by a jumper or a message (modes 4 and 5): gone at the next power cycle.
    Override,
    /// Recovery, or waiting to disable the platform: machines in this state switch off after 30 minutes.
    ShuttingDown,
    /// Code is missing, and nothing says that the strap is set.
    ImageFailure,
    /// On its way, or in a state without a meaning here.
    Unclear,
    /// Hidden, asleep, or not to be read. Never a sign of anything.
    NotShown,
    /// There is none.
    None,
}

impl Picture {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::SoftDisabled => "soft-disabled",
            Self::TemporarilyDisabled => "temporarily-disabled",
            Self::Running => "running",
            Self::Override => "override",
            Self::ShuttingDown => "shutting-down",
            Self::ImageFailure => "image-failure",
            Self::Unclear => "unclear",
            Self::NotShown => "not-shown",
            Self::None => "none",
        }
    }
}

pub(super) struct Engine {
    pub(super) picture: Picture,
    pub(super) source: String,
    pub(super) confidence: Confidence,
    /// The registers in words, or why there are none.
    pub(super) text: String,
}

impl Engine {
    pub(super) fn of(detection: &Detection) -> Self {
        let engine = Self::by_registers(detection);
        // Whatever a node of that name shows beside a processor of AMD's, it is not what starts that machine.
        if detection.text("host.cpu.vendor") == "amd" {
            Self { picture: Picture::None, ..engine }
        } else {
            engine
        }
    }

    fn by_registers(detection: &Detection) -> Self {
        let registers = detection.fact("intel.me.working_state").filter(|fact| is_known(fact));
        let Some(fact) = registers else { return Self::without_registers(detection) };
        let (state, mode) =
            (fact.value.as_text().unwrap_or(UNKNOWN), detection.text("intel.me.operation_mode"));
        let complete = detection.fact("intel.me.init_complete").map(|fact| &fact.value);
        let (error, phase) = (detection.text("intel.me.error"), detection.text("intel.me.phase"));
        let init = match complete {
            Some(Value::Bool(true)) => "init complete",
            Some(Value::Bool(false)) => "init not complete",
            _ => "init unknown",
        };
        Self {
            picture: picture(state, mode, complete, error, phase),
            source: fact.source.clone(),
            confidence: fact.confidence,
            text: format!(
                "working state {}, operation mode {}, {init}, error {}, phase {}",
                shown(state),
                shown(mode),
                shown(error),
                shown(phase)
            ),
        }
    }

    fn without_registers(detection: &Detection) -> Self {
        let state = detection.fact("intel.me.state");
        let none = state.is_some_and(|fact| fact.value.as_text() == Some("absent"));
        let reason = state.and_then(|fact| fact.reason.as_deref()).unwrap_or("nothing tells");
        Self {
            picture: if none { Picture::None } else { Picture::NotShown },
            source: state.map(|fact| fact.source.clone()).unwrap_or_default(),
            confidence: state.map_or(Confidence::Hint, |fact| fact.confidence),
            text: shown(reason),
        }
    }

    /// The registers say that the engine is off, whatever for.
    pub(super) fn is_disabled(&self) -> bool {
        matches!(self.picture, Picture::SoftDisabled | Picture::TemporarilyDisabled)
    }
}

fn is_known(fact: &Fact) -> bool {
    fact.value.as_text().is_some_and(|text| text != UNKNOWN)
}

fn picture(state: &str, mode: &str, complete: Option<&Value>, error: &str, phase: &str) -> Picture {
    let off = state == "disabled" || complete == Some(&Value::Bool(false));
    let failed = error == "image-failure";
    // A broken engine may be in any mode; of its strap it is silent.
    let sound = ["none", "disabled"].contains(&error);
    let by_strap = phase == "bup/straps-say-disabled";
    match (state, mode) {
        ("recovery" | "platform-disable-wait", _) if !failed => Picture::ShuttingDown,
        (_, "override-jumper" | "override-mei") => Picture::Override,
        _ if failed && off => Picture::ImageFailure,
        ("recovery" | "platform-disable-wait", _) => Picture::ShuttingDown,
        // The strap's own mode, or the switch's, with bring-up saying which of the two it was.
        (_, "alt-disable") if off && sound && phase == "bup/temporary-disable" => {
            Picture::TemporarilyDisabled
        }
        // Mode 2 is a debug mode by its name: an engine that is on its way, or halted in it, is not stopped for its strap
        // unless bring-up says so.
        ("disabled", "alt-disable") if sound => Picture::SoftDisabled,
        (_, "alt-disable" | "temporary-disable") if off && sound && by_strap => Picture::SoftDisabled,
        (_, "temporary-disable") if off && sound => Picture::TemporarilyDisabled,
        ("normal", _) if complete == Some(&Value::Bool(true)) => Picture::Running,
        _ => Picture::Unclear,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of me.md 4.2 and what else real machines show, by working state, mode, init, error and phase.
    #[test]
    fn pictures() {
        let (yes, no) = (Value::Bool(true), Value::Bool(false));
        let cases = [
            ("normal", "normal", &yes, "none", "host-communication/0x00", Picture::Running),
            ("normal", "sps", &yes, "none", "unknown", Picture::Running),
            // Mode 2 is a debug mode too, and then the engine runs.
            ("normal", "alt-disable", &yes, "none", "unknown", Picture::Running),
            ("normal", "normal", &no, "none", "unknown", Picture::Unclear),
            ("disabled", "alt-disable", &no, "disabled", "unknown", Picture::SoftDisabled),
            ("disabled", "alt-disable", &yes, "none", "unknown", Picture::SoftDisabled),
            ("init", "alt-disable", &no, "none", "bup/straps-say-disabled", Picture::SoftDisabled),
            ("disabled", "alt-disable", &no, "none", "bup/temporary-disable", Picture::TemporarilyDisabled),
            ("disabled", "temporary-disable", &no, "none", "unknown", Picture::TemporarilyDisabled),
            (
                "disabled",
                "temporary-disable",
                &no,
                "none",
                "bup/temporary-disable",
                Picture::TemporarilyDisabled,
            ),
            ("disabled", "temporary-disable", &no, "none", "bup/straps-say-disabled", Picture::SoftDisabled),
            ("disabled", "normal", &no, "none", "unknown", Picture::Unclear),
            // On its way in a debug mode, halted, broken: whatever it is, nothing says that it is the strap.
            ("init", "alt-disable", &no, "none", "unknown", Picture::Unclear),
            ("reset", "alt-disable", &no, "none", "rom/0x00", Picture::Unclear),
            ("transition", "alt-disable", &no, "none", "bup/kernel-load", Picture::Unclear),
            ("normal", "alt-disable", &no, "none", "unknown", Picture::Unclear),
            ("halt", "alt-disable", &no, "none", "unknown", Picture::Unclear),
            ("invalid-cpu", "alt-disable", &no, "none", "unknown", Picture::Unclear),
            ("disabled", "alt-disable", &no, "uncategorized", "unknown", Picture::Unclear),
            ("disabled", "alt-disable", &no, "code-15", "bup/straps-say-disabled", Picture::Unclear),
            ("disabled", "override-jumper", &no, "none", "unknown", Picture::Override),
            ("disabled", "override-mei", &no, "none", "unknown", Picture::Override),
            ("recovery", "normal", &no, "none", "unknown", Picture::ShuttingDown),
            ("platform-disable-wait", "normal", &yes, "none", "unknown", Picture::ShuttingDown),
            ("init", "normal", &no, "image-failure", "bup/kernel-load", Picture::ImageFailure),
            ("recovery", "normal", &no, "image-failure", "bup/kernel-load", Picture::ImageFailure),
            ("disabled", "alt-disable", &no, "image-failure", "unknown", Picture::ImageFailure),
            ("halt", "normal", &no, "none", "unknown", Picture::Unclear),
            ("reset", "normal", &no, "none", "unknown", Picture::Unclear),
            ("code-11", "code-9", &no, "code-7", "unknown", Picture::Unclear),
        ];
        for (state, mode, complete, error, phase, expected) in cases {
            let told = picture(state, mode, Some(complete), error, phase);
            assert_eq!(told, expected, "{state} {mode} {complete:?} {error} {phase}");
        }
    }
}
