//! The host firmware status registers, decoded (reference/detect.md 1.3, reference/me.md 4.1): CSME 11 layout; the
//! fields of HFSTS1 used here are the same before.

use std::collections::BTreeMap;

use oob_policy::{Confidence, Fact, Value};

/// The registers of one source, with where they were read.
pub(super) struct Status {
    pub(super) words: Vec<u32>,
    pub(super) source: String,
    pub(super) confidence: Confidence,
}

impl Status {
    pub(super) fn first(&self) -> Hfsts1 {
        Hfsts1(self.words.first().copied().unwrap_or(u32::MAX))
    }
}

/// What HFSTS1 says.
pub(super) struct Hfsts1(pub(super) u32);

/// Operation mode of server firmware (SPS), which has no AMT.
pub(super) const SPS: u32 = 15;

impl Hfsts1 {
    pub(super) fn working_state(&self) -> u32 {
        self.0 & 0xF
    }

    pub(super) fn manufacturing(&self) -> bool {
        self.0 & (1 << 4) != 0
    }

    fn init_complete(&self) -> bool {
        self.0 & (1 << 9) != 0
    }

    fn error(&self) -> u32 {
        self.0 >> 12 & 0xF
    }

    pub(super) fn mode(&self) -> u32 {
        self.0 >> 16 & 0xF
    }

    /// The state word, or why there is none.
    pub(super) fn state(&self) -> Result<&'static str, String> {
        let off = self.working_state() == 4 || !self.init_complete();
        match (self.working_state(), self.mode()) {
            (2, _) => Ok("recovery"),
            (5, 0 | SPS) => Ok("normal"),
            (_, 2) if off => Ok("soft-disabled"),
            (_, 3) if off => Ok("disabled"),
            (_, 4 | 5) => Ok("override"),
            (4, _) => Ok("disabled"),
            (14, _) => Err("the engine has halted".to_owned()),
            (state, mode) => {
                Err(format!("working state {state}, operation mode {mode}: on its way, or being debugged"))
            }
        }
    }
}

/// The fields that tell a disabled engine from one that is only hidden, held up or about to shut the machine down.
/// `others` are the sources that were read besides the one that counts; `major` is the engine's version.
pub(super) fn facts(status: &Result<Status, String>, others: &[Status], major: Option<u32>) -> Vec<Fact> {
    let status = match status {
        Ok(status) => status,
        Err(why) => return FIELDS.iter().map(|name| Fact::unknown(name, "sys/class/mei", why)).collect(),
    };
    let first = status.first();
    let fact = |name: &str, value: Value| Fact {
        confidence: status.confidence,
        ..Fact::observed(name, value, &status.source)
    };
    let word = |name: &str, value: u32, words: &[(u32, &str)]| {
        let known = words.iter().find(|(number, _)| *number == value).map(|(_, word)| (*word).to_owned());
        fact(name, known.unwrap_or_else(|| format!("code-{value}")).into())
    };
    let [state, mode, complete, error, phase, by_source, boot_guard] = FIELDS;
    vec![
        word(state, first.working_state(), &WORKING_STATES),
        word(mode, first.mode(), &MODES),
        fact(complete, first.init_complete().into()),
        word(error, first.error(), &ERRORS),
        match status.words.get(1).and_then(|second| phase_of(*second)) {
            Some(text) => fact(phase, text.into()),
            None => Fact::unknown(phase, &status.source, "HFSTS2 reads as all ones or zero, or is not there"),
        },
        fact(by_source, Value::Map(states_by_source(status, others))),
        guard(boot_guard, status, major),
    ]
}

const FIELDS: [&str; 7] = [
    "intel.me.working_state",
    "intel.me.operation_mode",
    "intel.me.init_complete",
    "intel.me.error",
    "intel.me.phase",
    "intel.me.state_by_source",
    "intel.me.boot_guard",
];

const WORKING_STATES: [(u32, &str); 10] = [
    (0, "reset"),
    (1, "init"),
    (2, "recovery"),
    (3, "test"),
    (4, "disabled"),
    (5, "normal"),
    (6, "platform-disable-wait"),
    (7, "transition"),
    (8, "invalid-cpu"),
    (14, "halt"),
];

/// Code 2 is a debug mode by the specification's name, and what a set soft-disable strap shows.
const MODES: [(u32, &str); 7] = [
    (0, "normal"),
    (2, "alt-disable"),
    (3, "temporary-disable"),
    (4, "override-jumper"),
    (5, "override-mei"),
    (7, "enhanced-debug"),
    (SPS, "sps"),
];

const ERRORS: [(u32, &str); 5] =
    [(0, "none"), (1, "uncategorized"), (2, "disabled"), (3, "image-failure"), (4, "debug-failure")];

/// HFSTS2: phase in bits 31:28, its own state in bits 23:16. Of the bring-up phase three states have a meaning here.
fn phase_of(second: u32) -> Option<String> {
    if [0, u32::MAX].contains(&second) {
        return None;
    }
    let state = second >> 16 & 0xFF;
    let phase = match second >> 28 {
        0 => "rom",
        1 => "bup",
        2 => "microkernel",
        3 => "policy",
        4 => "module",
        6 => "host-communication",
        other => return Some(format!("code-{other}/{state:#04x}")),
    };
    Some(match (phase, state) {
        ("bup", 0x0A) => "bup/straps-say-disabled".to_owned(),
        ("bup", 0x28) => "bup/temporary-disable".to_owned(),
        ("bup", 0x32) => "bup/kernel-load".to_owned(),
        _ => format!("{phase}/{state:#04x}"),
    })
}

/// What each source says by itself, so that one which contradicts the others is seen.
fn states_by_source(status: &Status, others: &[Status]) -> BTreeMap<String, Value> {
    let state = |status: &Status| match (status.first().working_state(), status.first().state()) {
        (14, _) => "halted",
        (_, Ok(word)) => word,
        (_, Err(_)) => "unclear",
    };
    let all = std::iter::once(status).chain(others);
    all.map(|status| (status.source.clone(), Value::from(state(status)))).collect()
}

/// HFSTS6 of CSME 11 to 16. It tells that Boot Guard is on, and never that it is off: an engine that is disabled leaves
/// the register empty while the processor goes on enforcing (Dasharo issue 463).
fn guard(name: &str, status: &Status, major: Option<u32>) -> Fact {
    if !major.is_some_and(|major| (11..=16).contains(&major)) {
        let why = "only an engine known to be CSME 11 to 16 tells it in HFSTS6; Boot Guard may be active";
        return Fact::unknown(name, &status.source, why);
    }
    let Some(sixth) = status.words.get(5).copied().filter(|word| ![0, u32::MAX].contains(word)) else {
        let why = "HFSTS6 reads as all ones or zero, or is not there; Boot Guard may be active";
        return Fact::unknown(name, &status.source, why);
    };
    let (measured, verified, denied) = (sixth & 1 << 8 != 0, sixth & 1 << 9 != 0, sixth & 1 << 28 != 0);
    match (denied, measured, verified) {
        (false, true, true) => Fact::hint(name, "measured+verified", &status.source),
        (false, true, false) => Fact::hint(name, "measured", &status.source),
        (false, false, true) => Fact::hint(name, "verified", &status.source),
        (true, ..) => Fact::unknown(
            name,
            &status.source,
            "HFSTS6 bit 28 says that it is not active; only the processor's own register could vouch for that",
        ),
        (false, false, false) => {
            Fact::unknown(name, &status.source, "HFSTS6 names no boot policy; Boot Guard may be active")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of detect.md 1.3 and me.md 4.2.
    #[test]
    fn hfsts1_is_told_by_state_and_mode() {
        let cases = [
            (0x9000_0255, Some("normal")),
            (0x1e00_0245, Some("normal")),
            (0x000f_0345, Some("normal")), // server firmware
            (0x8002_2004, Some("soft-disabled")),
            (0x1e02_0191, Some("soft-disabled")), // P8Z68: not yet initialized, mode 2
            (0x8003_2004, Some("disabled")),
            (0x8004_2044, Some("override")),
            (0x0005_0244, Some("override")),
            (0x0000_0042, Some("recovery")),
            (0x0000_0004, Some("disabled")),
            (0x0000_000e, None),
            (0x0000_0001, None),
            (0x0002_0245, None), // running, in debug mode
        ];
        for (word, expected) in cases {
            assert_eq!(Hfsts1(word).state().ok(), expected, "{word:#010x}");
        }
        assert!(Hfsts1(0x9000_0255).manufacturing() && !Hfsts1(0x9400_0245).manufacturing());
    }

    fn status(words: &[u32]) -> Status {
        Status { words: words.to_vec(), source: "driver".into(), confidence: Confidence::Observed }
    }

    #[test]
    fn every_field_stands_in_its_bits() {
        let cases: [(&[u32], [&str; 5]); 6] = [
            (&[0x1e00_0245, 0x6000_a306], ["normal", "normal", "yes", "none", "host-communication/0x00"]),
            (&[0x1e02_0191, 0x160a_0140], ["init", "alt-disable", "no", "none", "bup/straps-say-disabled"]),
            (
                &[0x8003_2004, 0x1028_0000],
                ["disabled", "temporary-disable", "no", "disabled", "bup/temporary-disable"],
            ),
            (&[0x0000_3042, 0x1032_0000], ["recovery", "normal", "no", "image-failure", "bup/kernel-load"]),
            (
                &[0x0004_0006, 0x5012_0000],
                ["platform-disable-wait", "override-jumper", "no", "none", "code-5/0x12"],
            ),
            (&[0x0009_900b, 0], ["code-11", "code-9", "no", "code-9", "unknown"]),
        ];
        for (words, expected) in cases {
            let told: Vec<String> = facts(&Ok(status(words)), &[], None)[..5]
                .iter()
                .map(|fact| match &fact.value {
                    Value::Bool(flag) => (if *flag { "yes" } else { "no" }).to_owned(),
                    value => value.as_text().unwrap().to_owned(),
                })
                .collect();
            assert_eq!(told, expected, "{words:x?}");
        }
    }

    #[test]
    fn each_source_speaks_for_itself() {
        let recorded =
            Status { words: vec![0x245], source: "smbios:219".into(), confidence: Confidence::Inferred };
        let told = facts(&Ok(status(&[0x8002_2004])), &[recorded], None);
        let Value::Map(states) = &told[5].value else { panic!("{told:?}") };
        assert_eq!(states["driver"], "soft-disabled".into());
        assert_eq!(states["smbios:219"], "normal".into());
    }

    /// Boot Guard is never said to be off, whatever the register holds.
    #[test]
    fn boot_guard_is_on_or_unknown() {
        let cases = [
            (0xC7E0_03CB, Some(16), "measured+verified"),
            (0x0000_0200, Some(11), "verified"),
            (0x0000_0100, Some(12), "measured"),
            (0x1000_0000, Some(12), "unknown"),
            (0x0000_0001, Some(12), "unknown"),
            (0, Some(12), "unknown"),
            (u32::MAX, Some(12), "unknown"),
            (0xC7E0_03CB, Some(18), "unknown"),
            (0xC7E0_03CB, Some(9), "unknown"),
            (0xC7E0_03CB, None, "unknown"),
        ];
        for (sixth, major, expected) in cases {
            let told = facts(&Ok(status(&[0x245, 0, 0, 0, 0, sixth])), &[], major);
            let fact = &told[6];
            assert_eq!(fact.value, expected.into(), "{sixth:#x} {major:?}");
            assert!(expected != "unknown" || fact.reason.is_some());
            assert!(expected == "unknown" || fact.confidence == Confidence::Hint);
        }
        assert_eq!(facts(&Ok(status(&[0x245])), &[], Some(12))[6].value, "unknown".into());
    }
}
