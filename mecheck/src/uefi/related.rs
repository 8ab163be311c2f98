//! Which modules belong to out-of-band management, by the names that Intel's reference code and vendors give them.
//!
//! Conservative: a word counts only as a word of a name ("FAMTest" and "Dashboard" match nothing), in the user interface
//! name or the debug file's own name, never in the directories of a build machine. A match says what a module is called,
//! not what it does.

use serde::Serialize;

use super::{Guid, Module, Place};

/// A module by which the firmware deals with out-of-band management.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Related {
    pub technology: Technology,
    /// What the module is called; foreign text.
    pub name: String,
    pub file: Guid,
    /// What matched, and what such modules do.
    pub matched: &'static str,
    pub why: &'static str,
    pub place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Technology {
    /// The setup of AMT at boot.
    Mebx,
    Amt,
    /// The host's interface to the ME, present with and without AMT.
    Heci,
    Asf,
    Dash,
}

/// Longest first, since the first match names the module.
const WORDS: &[(&str, Technology, &str)] = &[
    (
        "BiosExtensionLoader",
        Technology::Mebx,
        "Intel's reference loader of the Management Engine BIOS extension",
    ),
    (
        "MeBiosExtension",
        Technology::Mebx,
        "the Management Engine BIOS extension, where AMT is set up at boot",
    ),
    ("MEBX", Technology::Mebx, "the Management Engine BIOS extension, where AMT is set up at boot"),
    ("AlertStandardFormat", Technology::Asf, "alerts over the network before an operating system runs"),
    ("ASF", Technology::Asf, "alerts over the network before an operating system runs"),
    ("ActiveManagement", Technology::Amt, "Intel's reference code for AMT boot options"),
    ("OneClickRecovery", Technology::Amt, "boots what AMT asks for, over the network"),
    ("SerialOverLan", Technology::Amt, "the console that AMT redirects"),
    ("IdeRController", Technology::Amt, "the disk that AMT redirects"),
    ("AMT", Technology::Amt, "the firmware's side of AMT"),
    ("HECI", Technology::Heci, "talks to the ME from firmware"),
    ("DASH", Technology::Dash, "the firmware's side of a DASH controller"),
];

/// GUIDs that one vendor-independent source gives a module.
const GUIDS: &[(Guid, Technology, &str, &str)] = &[(
    Guid::new(0x7c81_c66a, 0x4f11, 0x47ab, [0x82, 0xd3, 0x67, 0xc4, 0xd6, 0x35, 0xae, 0xd1]),
    Technology::Mebx,
    "7C81C66A-4F11-47AB-82D3-67C4D635AED1",
    "the file that Intel's reference loader runs as the Management Engine BIOS extension",
)];

pub(super) fn of(modules: &[Module]) -> Vec<Related> {
    modules.iter().filter_map(judge).collect()
}

fn judge(module: &Module) -> Option<Related> {
    let by_guid = GUIDS.iter().find(|(guid, ..)| *guid == module.file);
    let names = [module.name.as_deref(), module.debug_name()];
    let by_word = || {
        let mut words = WORDS.iter();
        words.find(|(word, ..)| names.iter().flatten().any(|name| has_word(name, word)))
    };
    let (technology, matched, why) = by_guid
        .map(|(_, technology, matched, why)| (*technology, *matched, *why))
        .or_else(|| by_word().map(|(word, technology, why)| (*technology, *word, *why)))?;
    Some(Related { technology, name: module.title(), file: module.file, matched, why, place: module.place })
}

/// Whether `word` stands in `name` by itself or as one word of a CamelCase name.
fn has_word(name: &str, word: &str) -> bool {
    let bytes = name.as_bytes();
    bytes.windows(word.len()).enumerate().any(|(at, window)| {
        let before = at.checked_sub(1).and_then(|before| bytes.get(before));
        let after = at.checked_add(word.len()).and_then(|after| bytes.get(after));
        window.eq_ignore_ascii_case(word.as_bytes())
            && before.is_none_or(|before| starts_word(*before, window.first()))
            && after.is_none_or(|after| !after.is_ascii_lowercase() && after.is_ascii())
    })
}

/// A word starts after anything but a letter or digit, and with a capital after a small letter or a digit.
fn starts_word(before: u8, first: Option<&u8>) -> bool {
    let capital = first.is_some_and(u8::is_ascii_uppercase);
    before.is_ascii() && (!before.is_ascii_alphanumeric() || (capital && !before.is_ascii_uppercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str) -> Option<&'static str> {
        WORDS.iter().find(|(word, ..)| has_word(name, word)).map(|(word, ..)| *word)
    }

    #[test]
    fn words_of_names_match() {
        for (name, word) in [
            ("MEBX", "MEBX"),
            ("MebxSetupBrowser", "MEBX"),
            ("mebx_x64", "MEBX"),
            ("BiosExtensionLoader", "BiosExtensionLoader"),
            ("AmtWrapperDxe", "AMT"),
            ("PeiAmtLib", "AMT"),
            ("iAMT", "AMT"),
            ("AMT", "AMT"),
            ("OemAMTBypass", "AMT"),
            ("Heci2PowerManagement", "HECI"),
            ("HeciSmm", "HECI"),
            ("AsfTable", "ASF"),
            ("AlertStandardFormatDxe", "AlertStandardFormat"),
            ("ActiveManagementPei", "ActiveManagement"),
            ("RealtekDASH", "DASH"),
            ("DashDxe", "DASH"),
            ("amd-dash", "DASH"),
        ] {
            assert_eq!(found(name), Some(word), "{name}");
        }
    }

    #[test]
    fn parts_of_other_words_do_not() {
        for name in
            ["FAMTest", "AMTest", "Dashboard", "SlashDashes", "Amtrak", "DxeCore", "TeamTool", "gasf", ""]
        {
            assert_eq!(found(name), None, "{name}");
        }
    }
}
