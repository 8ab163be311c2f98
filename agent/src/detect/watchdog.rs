//! Watchdogs, and which of them can really reset the machine (reference/detect.md 5). None is opened: opening arms.

use oob_policy::Fact;

use super::Survey;
use crate::machine::Seen;

const CLASS: &str = "sys/class/watchdog";
const COUNT: &str = "watchdog.count";

/// One `watchdog.<n>` each, then `watchdog.count`.
pub(super) fn facts(survey: &Survey<'_>) -> Vec<Fact> {
    let machine = survey.machine;
    let names = match machine.look_list(CLASS) {
        Seen::Found(names) => names,
        other => return vec![Fact::unknown(COUNT, CLASS, survey.why_not(&other, CLASS).unwrap_or_default())],
    };
    let mut numbers: Vec<u32> =
        names.iter().filter_map(|name| name.strip_prefix("watchdog")?.parse().ok()).collect();
    numbers.sort_unstable();
    let mut facts: Vec<Fact> = numbers.iter().map(|number| one(survey, *number)).collect();
    let count = Fact::observed(COUNT, numbers.len() as u64, CLASS);
    facts.push(match numbers.is_empty() {
        true if machine.exists("sys/firmware/acpi/tables/WDAT") => {
            count.because("ACPI describes one; load wdat_wdt")
        }
        true => count.because("none is registered; its module may not be loaded"),
        false => count,
    });
    facts
}

fn one(survey: &Survey<'_>, number: u32) -> Fact {
    let (name, source) = (format!("watchdog.{number}"), format!("{CLASS}/watchdog{number}/identity"));
    match survey.machine.look_text(&source) {
        Seen::Found(identity) => {
            let (word, confidence) = kind(&identity, survey.guest.is_guest());
            let fact = if confidence {
                Fact::observed(&name, word, &source)
            } else {
                Fact::inferred(&name, word, &source)
            };
            let note = match word {
                "reset" => "present, not proven: the board may have its reset strapped off",
                "alarm-only" => "it sends an AMT event and resets nothing",
                "software" => "it dies with the kernel",
                "virtual" => "what it does is up to the host",
                _ => "not in the table of watchdogs that reset",
            };
            fact.because(format!("{identity}: {note}"))
        }
        Seen::Missing => Fact::unknown(&name, &source, "it has no identity"),
        Seen::Refused(why) => Fact::unknown(&name, &source, why),
    }
}

/// What the watchdog of this identity does, and whether that follows from the identity alone.
fn kind(identity: &str, guest: bool) -> (&'static str, bool) {
    match identity {
        "iamt_wdt" => ("alarm-only", true),
        "Software Watchdog" => ("software", true),
        "i6300ESB timer" => ("virtual", guest),
        "iTCO_wdt" | "wdat_wdt" | "SP5100 TCO timer" | "IPMI" if guest => ("virtual", false),
        "iTCO_wdt" | "wdat_wdt" | "SP5100 TCO timer" | "IPMI" | "HPE iLO2+ HW Watchdog Timer" => {
            ("reset", true)
        }
        _ => ("unknown", true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_not_a_reset() {
        let cases = [
            ("iTCO_wdt", false, "reset"),
            ("iTCO_wdt", true, "virtual"),
            ("IPMI", false, "reset"),
            ("iamt_wdt", false, "alarm-only"),
            ("Software Watchdog", true, "software"),
            ("i6300ESB timer", true, "virtual"),
            ("ACME dog", false, "unknown"),
        ];
        for (identity, guest, expected) in cases {
            assert_eq!(kind(identity, guest).0, expected, "{identity}");
        }
    }
}
