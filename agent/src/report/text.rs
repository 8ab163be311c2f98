//! The summary that a person reads in ten seconds.

use oob_policy::{ChannelRecord, ChannelState, Report, Severity};

use super::words::{self, Tone};

/// At most twenty lines: the machine, what was found, what policy asks, what was done, what can bring the machine
/// back, and where the report is (`place`, as the operator would open it). The text holds colors, to be printed
/// through `anstream`, which takes them out where they do not belong.
pub fn summary(report: &Report, place: &str) -> String {
    let mut lines = vec![heading(report)];
    labeled(&mut lines, "found", found(report));
    labeled(&mut lines, "policy", vec![policy(report)]);
    labeled(&mut lines, "done", done(report));
    labeled(&mut lines, "look at", findings(report));
    labeled(&mut lines, "way back", ways_back(report));
    let (word, tone) = words::exit(report.exit);
    let changed = if report.changed { "changed" } else { "nothing changed" };
    let code = report.exit.code();
    labeled(&mut lines, "result", vec![format!("{} ({changed}, exit {code})", painted(tone, word))]);
    lines.push(format!("{:LABEL$}{}", "", words::shown(&report.verdict)));
    labeled(&mut lines, "report", vec![words::shown(place)]);
    lines.join("\n") + "\n"
}

fn heading(report: &Report) -> String {
    let kind =
        words::root(report.root).map(|(kind, _)| format!("  {YELLOW}[{kind}]{RESET}")).unwrap_or_default();
    format!("{BOLD}{}{RESET}{kind}  {DIM}{}{RESET}", words::machine(report), words::shown(&report.device_id))
}

/// Channels by state, the interesting ones first.
fn found(report: &Report) -> Vec<String> {
    let of = |wanted: fn(ChannelState) -> bool| -> Vec<&ChannelRecord> {
        report.capability.channels.iter().filter(|record| wanted(record.state)).collect()
    };
    let there = of(|state| !matches!(state, ChannelState::Absent | ChannelState::Unknown));
    let there: Vec<String> = there
        .iter()
        .map(|record| format!("{} {}", words::channel(record.channel), words::state(record.state).0))
        .collect();
    let names = |records: Vec<&ChannelRecord>| {
        records.iter().map(|record| words::channel(record.channel)).collect::<Vec<_>>().join(", ")
    };
    let mut lines = Vec::new();
    lines.push(if there.is_empty() { "no out-of-band channel".to_owned() } else { there.join(", ") });
    let unknown = of(|state| state == ChannelState::Unknown);
    if !unknown.is_empty() {
        lines.push(format!("{DIM}unknown: {}{RESET}", names(unknown)));
    }
    lines
}

fn policy(report: &Report) -> String {
    let policy = &report.policy;
    let rule = policy
        .rule
        .as_deref()
        .map_or_else(|| "the defaults say".to_owned(), |rule| format!("rule {} says", words::shown(rule)));
    format!(
        "{} serial {} ({}): {rule} {BOLD}{}{RESET}",
        words::shown(&policy.name),
        policy.serial,
        words::shown(&policy.trust),
        policy.action.word()
    )
}

fn done(report: &Report) -> Vec<String> {
    let lines = report.outcomes.iter().map(|outcome| {
        let (word, tone) = words::status(outcome.status);
        format!("{} {}: {}", painted(tone, word), words::shown(&outcome.step), words::shown(&outcome.text))
    });
    capped(lines.collect(), 4)
}

/// Risks and warnings, the worst first; what is only informative stands in the report.
fn findings(report: &Report) -> Vec<String> {
    let mut grave: Vec<_> =
        report.findings.iter().filter(|finding| finding.severity > Severity::Info).collect();
    grave.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let lines = grave.iter().map(|finding| {
        let (word, tone) = words::severity(finding.severity);
        format!("{}: {}", painted(tone, word), words::shown(&finding.text))
    });
    capped(lines.collect(), 3)
}

/// Only what is set up: anything else would be a promise. What a run does not try, from its own machine, is said.
fn ways_back(report: &Report) -> Vec<String> {
    let ready = report.capability.channels.iter().filter(|record| {
        matches!(record.state, ChannelState::Verified | ChannelState::Provisioned) && !record.can.is_empty()
    });
    let lines = ready.map(|record| {
        let needs = words::spaced(&record.needs);
        let needs = if needs.is_empty() { String::new() } else { format!("; needs {needs}") };
        let proof = words::proof(record.confidence);
        let (channel, can) = (words::channel(record.channel), words::spaced(&record.can));
        format!(
            "{channel} ({proof}; reachability from another machine and power actions not tried): {can}{needs}"
        )
    });
    let mut lines = capped(lines.collect(), 3);
    let otherwise = if lines.is_empty() { "" } else { "otherwise " };
    lines.push(format!("{otherwise}{}", words::shown(&report.capability.summary.worst_case)));
    lines
}

/// The first `most` lines, and how many were left out.
fn capped(mut lines: Vec<String>, most: usize) -> Vec<String> {
    let left_out = lines.len().saturating_sub(most);
    if left_out > 0 {
        lines.truncate(most);
        if let Some(last) = lines.last_mut() {
            last.push_str(&format!(" {DIM}(and {left_out} more in the report){RESET}"));
        }
    }
    lines
}

pub(super) fn labeled(lines: &mut Vec<String>, label: &str, content: Vec<String>) {
    for (index, line) in content.into_iter().enumerate() {
        lines.push(format!("{DIM}{:LABEL$}{RESET}{line}", if index == 0 { label } else { "" }));
    }
}

pub(super) fn painted(tone: Tone, word: &str) -> String {
    let color = match tone {
        Tone::Good => GREEN,
        Tone::Caution => YELLOW,
        Tone::Bad => RED,
        Tone::Plain => return word.to_owned(),
    };
    format!("{color}{word}{RESET}")
}

pub(super) const LABEL: usize = 10;

/// SGR (ECMA-48 section 8.3.117).
pub(super) const BOLD: &str = "\u{1b}[1m";
pub(super) const DIM: &str = "\u{1b}[2m";
const RED: &str = "\u{1b}[31m";
const GREEN: &str = "\u{1b}[32m";
pub(super) const YELLOW: &str = "\u{1b}[33m";
pub(super) const RESET: &str = "\u{1b}[0m";

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
