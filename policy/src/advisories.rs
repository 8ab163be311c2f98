//! Intel's advisories on AMT firmware, as a table of data, and which of them a version is subject to.
//!
//! The table is `advisories/table.toml`, with the source and the confidence of each row (reference/amt.md 6). What no row
//! covers is unknown: an advisory that nobody entered is not an advisory that does not apply.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::pattern::{Version, version};
use crate::{Finding, Severity, shown};

/// What the table says of AMT `full`, the whole version with its build (`major.minor.hotfix.build`): one finding for each
/// advisory whose fix is not in it, and one that names the advisories on which the table has nothing to say about it.
///
/// `provisioned`: AMT listens to the network, which makes a hole a risk.
pub fn advisories(full: &str, provisioned: bool) -> Vec<Finding> {
    let table = match &*TABLE {
        Ok(table) => table,
        Err(why) => return vec![unknown(format!("the table of advisories cannot be read: {why}"))],
    };
    let Some((found, parts)) = version(full).filter(|(_, parts)| *parts >= 3) else {
        return vec![unknown(format!(
            "which advisories apply to AMT {} cannot be told: a whole version such as 11.8.50.3425 is needed",
            shown(full)
        ))];
    };
    let mut findings = Vec::new();
    let (mut silent, mut undecided) = (Vec::new(), Vec::new());
    for advisory in table {
        match advisory.standing(found, parts) {
            Standing::Affected(row) => findings.push(advisory.finding(row, full, provisioned)),
            Standing::Fixed => {}
            Standing::Undecided => undecided.push(advisory.name()),
            Standing::Unknown => silent.push(advisory.name()),
        }
    }
    if !silent.is_empty() {
        findings.push(unknown(format!(
            "the table of this build has no row for AMT {} in {}: whether they apply is unknown",
            shown(full),
            silent.join(", ")
        )));
    }
    if !undecided.is_empty() {
        findings.push(unknown(format!(
            "AMT {} is told without its build, which decides on {}: whether they apply is unknown",
            shown(full),
            undecided.join(", ")
        )));
    }
    findings
}

/// What the table says of a version that AMT does not tell.
pub(crate) fn unknown(text: String) -> Finding {
    Finding { id: "amt-advisories-unknown".to_owned(), severity: Severity::Info, text }
}

/// One row: an advisory, or several that have the same versions.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Advisory {
    ids: Vec<String>,
    /// As the source counts them; empty where it names none.
    cves: Vec<String>,
    about: String,
    /// What the advisory says itself, for people.
    affected: String,
    source: String,
    affected_confidence: Told,
    fixed_confidence: Told,
    #[serde(default)]
    clear: Vec<Line>,
    fixed: Vec<Fix>,
}

/// Whether a row was seen in its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Told {
    Verified,
    Believed,
}

/// A line of firmware, from `from` on and below `until`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(default = "first")]
    from: Number,
    #[serde(default = "last")]
    until: Number,
}

/// The first version of a line that has not the hole any more.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fix {
    from: Number,
    until: Number,
    at: Number,
}

/// A version as the table has it: how it is written, and how it compares.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Number {
    text: String,
    version: Version,
    parts: usize,
}

impl TryFrom<String> for Number {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (version, parts) = version(&text).ok_or_else(|| format!("{text:?} is no version"))?;
        Ok(Self { text, version, parts })
    }
}

fn first() -> Number {
    Number { text: "0".to_owned(), version: [0; 4], parts: 1 }
}

fn last() -> Number {
    Number { text: "any".to_owned(), version: [u64::MAX; 4], parts: 4 }
}

enum Standing<'a> {
    Affected(&'a Fix),
    Fixed,
    /// The build would decide, and it is not told.
    Undecided,
    Unknown,
}

impl Advisory {
    fn standing(&self, found: Version, parts: usize) -> Standing<'_> {
        let inside = |from: &Number, until: &Number| from.version <= found && found < until.version;
        if self.clear.iter().any(|line| inside(&line.from, &line.until)) {
            return Standing::Fixed;
        }
        match self.fixed.iter().find(|fix| inside(&fix.from, &fix.until)) {
            Some(fix) if parts < fix.at.parts && found[..3] == fix.at.version[..3] => Standing::Undecided,
            Some(fix) if found < fix.at.version => Standing::Affected(fix),
            Some(_) => Standing::Fixed,
            None => Standing::Unknown,
        }
    }

    fn finding(&self, fix: &Fix, full: &str, provisioned: bool) -> Finding {
        let id = self.ids.first().map_or("unnamed", String::as_str).to_ascii_lowercase();
        let cves = if self.cves.is_empty() { String::new() } else { format!(" ({})", self.cves.join(", ")) };
        let reach = if provisioned {
            "AMT is provisioned, so the network reaches it"
        } else {
            "AMT is not provisioned, so the network does not reach it yet"
        };
        let told = match (self.affected_confidence, self.fixed_confidence) {
            (Told::Verified, Told::Verified) => "verified",
            (Told::Verified, Told::Believed) => "the range verified, the fixed version believed",
            (Told::Believed, _) => "believed, so look it up before you rely on it",
        };
        Finding {
            id: format!("amt-advisory-{id}"),
            severity: if provisioned { Severity::Risk } else { Severity::Warning },
            text: format!(
                "{}{cves}: {}. Affected: {}; AMT {} is below {}, the first version of its line without it. {reach}. Update \
                 the firmware. Source: {}; {told}.",
                self.name(),
                self.about,
                self.affected,
                shown(full),
                fix.at.text,
                self.source
            ),
        }
    }

    fn name(&self) -> String {
        self.ids.join(" and ")
    }
}

/// A table that does not parse is a defect of the build, which the tests find; nothing panics for it.
static TABLE: LazyLock<Result<Vec<Advisory>, String>> = LazyLock::new(|| {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Table {
        advisory: Vec<Advisory>,
    }
    toml::from_str::<Table>(include_str!("advisories/table.toml"))
        .map(|table| table.advisory)
        .map_err(|error| error.message().to_owned())
});

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn table() -> &'static [Advisory] {
        TABLE.as_ref().expect("the table parses")
    }

    #[test]
    fn every_row_is_complete_and_in_order_without_overlap() {
        assert_eq!(table().len(), 9);
        let ids: Vec<&str> = table().iter().flat_map(|it| &it.ids).map(String::as_str).collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "an advisory stands twice");
        for advisory in table() {
            let name = advisory.name();
            let texts = [&advisory.about, &advisory.affected, &advisory.source];
            assert!(!advisory.ids.is_empty() && texts.iter().all(|text| !text.is_empty()), "{name}");
            assert!(advisory.ids.iter().all(|id| id.starts_with("INTEL-SA-")), "{name}");
            assert!(!advisory.fixed.is_empty(), "{name}");
            let mut end = [0; 4];
            for fix in &advisory.fixed {
                assert!(end <= fix.from.version, "{name}: {} overlaps or is out of order", fix.from.text);
                assert!(fix.from.version < fix.at.version, "{name}: {}", fix.at.text);
                assert!(fix.at.version < fix.until.version, "{name}: {} is of another line", fix.at.text);
                assert!((3..=4).contains(&fix.at.parts), "{name}: {}", fix.at.text);
                let apart = |line: &Line| {
                    fix.until.version <= line.from.version || line.until.version <= fix.from.version
                };
                assert!(advisory.clear.iter().all(apart), "{name}: {} is clear, too", fix.from.text);
                end = fix.until.version;
            }
        }
    }

    /// The versions of reference/amt.md 6, one below and at each fix.
    #[test]
    fn a_fix_is_a_fix_and_what_is_below_is_not() {
        let of = |full: &str| -> Vec<String> {
            let found = advisories(full, false).into_iter().map(|it| it.id);
            found.filter_map(|id| id.strip_prefix("amt-advisory-intel-").map(str::to_owned)).collect()
        };
        for fixed in table().iter().flat_map(|it| it.fixed.iter().map(move |fix| (it, fix))) {
            let (advisory, fix) = fixed;
            let id = advisory.ids[0].trim_start_matches("INTEL-").to_lowercase();
            let text = |version: Version| version.map(|part| part.to_string()).join(".");
            let mut below = fix.at.version;
            below[fix.at.parts - 1] -= 1;
            assert!(of(&text(below)).contains(&id), "{id} below {}", fix.at.text);
            assert!(!of(&text(fix.at.version)).contains(&id), "{id} at {}", fix.at.text);
        }
        assert_eq!(of("9.5.40.1892"), ["sa-00075"]);
        assert_eq!(of("6.2.61.3535"), Vec::<String>::new());
        assert_eq!(of("11.8.93.4323"), Vec::<String>::new());
        assert_eq!(of("16.0.15.1735"), ["sa-00709"]);
        assert_eq!(of("12.0.67.1579"), ["sa-00404", "sa-00391", "sa-00709"]);
    }

    #[test]
    fn provisioned_is_worse_and_what_the_table_lacks_is_unknown() {
        let find =
            |full, provisioned, id: &str| advisories(full, provisioned).into_iter().find(|it| it.id == id);
        let hole = "amt-advisory-intel-sa-00075";
        let (before, after) =
            (find("7.1.4.1000", false, hole).unwrap(), find("7.1.4.1000", true, hole).unwrap());
        assert_eq!((before.severity, after.severity), (Severity::Warning, Severity::Risk));
        assert!(
            before.text.contains("CVE-2017-5689") && before.text.contains("7.1.91.3272"),
            "{}",
            before.text
        );
        assert!(before.text.ends_with("verified."), "{}", before.text);
        let believed = find("16.0.15.1735", true, "amt-advisory-intel-sa-00709").unwrap().text;
        assert!(believed.contains("INTEL-SA-00709 and INTEL-SA-00610") && believed.contains("believed"));

        let id = "amt-advisories-unknown";
        let silent = find("19.0.5.1913", false, id).unwrap().text;
        assert!(silent.contains("INTEL-SA-00709") && !silent.contains("INTEL-SA-00075"), "{silent}");
        let undecided = find("11.6.27", false, id).unwrap().text;
        assert!(
            undecided.contains("without its build") && undecided.contains("INTEL-SA-00075"),
            "{undecided}"
        );
        for broken in ["", "16", "16.0", "a.b.c.d", "1.2.3.4.5", "\u{1b}[2J"] {
            let found = advisories(broken, true);
            assert_eq!((found.len(), found[0].id.as_str()), (1, id), "{broken:?}");
            assert!(!found[0].text.contains('\u{1b}'));
        }
    }

    proptest! {
        /// Whatever the version: each advisory is told at most once, and a later build never has more holes of a line.
        #[test]
        fn any_version_has_an_answer(full in "\\PC{0,30}|[0-9]{1,2}\\.[0-9]{1,2}\\.[0-9]{1,3}\\.[0-9]{1,5}") {
            let found = advisories(&full, true);
            let ids: BTreeSet<_> = found.iter().filter(|it| it.severity == Severity::Risk).map(|it| &it.id).collect();
            prop_assert_eq!(ids.len(), found.iter().filter(|it| it.severity == Severity::Risk).count());
            prop_assert!(found.len() <= table().len() + 2);
        }

        #[test]
        fn a_later_version_of_a_line_has_no_hole_that_an_earlier_one_lacks(
            major in 5u64..20, minor in 0u64..30, a in (0u64..200, 0u64..5000), b in (0u64..200, 0u64..5000),
        ) {
            let holes = |(hotfix, build): (u64, u64)| -> BTreeSet<String> {
                let found = advisories(&format!("{major}.{minor}.{hotfix}.{build}"), false);
                found.into_iter().map(|it| it.id).collect()
            };
            let (early, late) = (a.min(b), a.max(b));
            prop_assert!(holes(late).is_subset(&holes(early)));
        }
    }
}
