//! The report as one page: no script, nothing loaded from anywhere, readable on paper.

use std::collections::BTreeMap;

use askama::Template;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use oob_policy::{ChannelRecord, Fact, Outcome, Report, Step};

use super::words::{self, Tone};

/// Renders the page.
///
/// # Errors
/// Only where formatting itself fails, which is a defect.
pub fn html(report: &Report) -> Result<String, askama::Error> {
    Page::of(report).render()
}

/// What the template sees: texts that are already escaped for deceiving characters; askama escapes them for HTML. The
/// style sheet is the one thing it takes as it is.
#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    style: &'static str,
    style_hash: String,
    machine: String,
    device_id: String,
    run_id: String,
    time: String,
    clock: &'static str,
    root: Option<(&'static str, &'static str)>,
    result: Chip,
    exit_code: u8,
    reason: String,
    verdict: Vec<Run>,
    action: &'static str,
    changed: bool,
    abilities: Vec<Ability>,
    paths: u64,
    worst_case: String,
    channels: Vec<ChannelRow>,
    steps: Vec<StepRow>,
    warnings: Vec<Vec<Run>>,
    findings: Vec<(Chip, String, Vec<Run>)>,
    policy: PolicyRows<'a>,
    not_assessed: Vec<String>,
    groups: Vec<Group>,
    agent: String,
    schema: &'a str,
}

struct Chip {
    word: &'static str,
    class: &'static str,
}

struct Ability {
    name: &'static str,
    has: bool,
}

struct ChannelRow {
    name: &'static str,
    state: Chip,
    proof: &'static str,
    control_mode: String,
    can: String,
    needs: String,
    reach: String,
    credential: String,
    last_proof: String,
    reason: String,
}

struct StepRow {
    id: String,
    what: Vec<Run>,
    reason: Vec<Run>,
    precondition: Vec<Run>,
    reversibility: &'static str,
    outcome: Option<OutcomeCell>,
}

struct OutcomeCell {
    status: Chip,
    changed: bool,
    text: Vec<Run>,
    evidence: Vec<(String, String)>,
}

struct PolicyRows<'a> {
    name: String,
    serial: u64,
    sha256: String,
    rule: String,
    trust: String,
    recipients: Vec<String>,
    action: &'a str,
}

struct Group {
    name: &'static str,
    facts: Vec<FactRow>,
}

struct FactRow {
    name: String,
    value: String,
    unknown: bool,
    reason: String,
    source: String,
    confidence: &'static str,
}

impl<'a> Page<'a> {
    fn of(report: &'a Report) -> Self {
        let summary = &report.capability.summary;
        let ability = |name, has| Ability { name, has };
        Self {
            style: STYLE,
            style_hash: BASE64_STANDARD.encode(crate::state::sha256(STYLE.as_bytes())),
            machine: words::machine(report),
            device_id: words::shown(&report.device_id),
            run_id: words::shown(&report.run_id),
            time: words::shown(&report.time),
            clock: if report.clock_trusted { "trusted clock" } else { "clock not vouched for" },
            root: words::root(report.root),
            result: chip(words::exit(report.exit)),
            exit_code: report.exit.code(),
            reason: words::shown(&report.reason),
            verdict: runs(&words::shown(&report.verdict)),
            action: report.plan.action.word(),
            changed: report.changed,
            abilities: vec![
                ability("Power cycle", summary.can_power_cycle),
                ability("Power on", summary.can_power_on),
                ability("See the console", summary.can_see_console),
                ability("Boot other media", summary.can_boot_media),
            ],
            paths: summary.independent_paths,
            worst_case: words::shown(&summary.worst_case),
            channels: report.capability.channels.iter().map(ChannelRow::of).collect(),
            steps: steps(report),
            warnings: report.plan.warnings.iter().map(|warning| runs(&words::shown(warning))).collect(),
            findings: findings(report),
            policy: PolicyRows {
                name: words::shown(&report.policy.name),
                serial: report.policy.serial,
                sha256: words::shown(&report.policy.sha256),
                rule: report
                    .policy
                    .rule
                    .as_deref()
                    .map_or_else(|| "none; the defaults apply".to_owned(), words::shown),
                trust: words::shown(&report.policy.trust),
                recipients: report
                    .policy
                    .recipients
                    .iter()
                    .map(|recipient| words::shown(recipient))
                    .collect(),
                action: report.policy.action.word(),
            },
            not_assessed: report.not_assessed.iter().map(|item| words::shown(item)).collect(),
            groups: groups(&report.facts),
            agent: format!("{} {}", words::shown(&report.agent.name), words::shown(&report.agent.version)),
            schema: Report::SCHEMA,
        }
    }
}

impl ChannelRow {
    fn of(record: &ChannelRecord) -> Self {
        let optional = |text: &Option<String>| text.as_deref().map(words::shown).unwrap_or_default();
        Self {
            name: words::channel(record.channel),
            state: chip(words::state(record.state)),
            proof: words::known_by(record.state, record.confidence),
            control_mode: optional(&record.control_mode),
            can: words::spaced(&record.can),
            needs: words::spaced(&record.needs),
            reach: record.reach.iter().map(|reach| words::shown(reach)).collect::<Vec<_>>().join(", "),
            credential: optional(&record.credential),
            last_proof: optional(&record.last_proof),
            reason: words::shown(&record.reason),
        }
    }
}

impl StepRow {
    fn of(step: &Step, outcome: Option<&Outcome>) -> Self {
        Self {
            id: words::shown(&step.id),
            what: runs(&words::step(&step.what)),
            reason: runs(&words::shown(&step.reason)),
            precondition: runs(&words::shown(&step.precondition)),
            reversibility: words::reversibility(step.reversibility),
            outcome: outcome.map(OutcomeCell::of),
        }
    }

    /// An outcome that no step of the plan asked for, such as an undo after a failure.
    fn unplanned(outcome: &Outcome) -> Self {
        Self {
            id: words::shown(&outcome.step),
            what: runs("Not in the plan"),
            reason: Vec::new(),
            precondition: Vec::new(),
            reversibility: "",
            outcome: Some(OutcomeCell::of(outcome)),
        }
    }
}

impl OutcomeCell {
    fn of(outcome: &Outcome) -> Self {
        let evidence = outcome.evidence.iter();
        Self {
            status: chip(words::status(outcome.status)),
            changed: outcome.changed,
            text: runs(&words::shown(&outcome.text)),
            evidence: evidence.map(|(name, value)| (words::shown(name), words::value(value))).collect(),
        }
    }
}

fn steps(report: &Report) -> Vec<StepRow> {
    let outcome_of = |step: &Step| report.outcomes.iter().find(|outcome| outcome.step == step.id);
    let planned = report.plan.steps.iter().map(|step| StepRow::of(step, outcome_of(step)));
    let unplanned = report.outcomes.iter().enumerate().filter(|(index, outcome)| {
        let first = report.outcomes.iter().position(|other| other.step == outcome.step);
        first != Some(*index) || report.plan.steps.iter().all(|step| step.id != outcome.step)
    });
    planned.chain(unplanned.map(|(_, outcome)| StepRow::unplanned(outcome))).collect()
}

/// A piece of text, and whether it stood in backticks.
type Run = (bool, String);

fn findings(report: &Report) -> Vec<(Chip, String, Vec<Run>)> {
    let mut findings: Vec<_> = report.findings.iter().collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
        .iter()
        .map(|finding| {
            (
                chip(words::severity(finding.severity)),
                words::shown(&finding.id),
                runs(&words::shown(&finding.text)),
            )
        })
        .collect()
}

/// Text cut at its pairs of backticks; a lone one stays as it is. The template escapes each piece.
fn runs(text: &str) -> Vec<Run> {
    let mut pieces: Vec<Run> =
        text.split('`').enumerate().map(|(at, piece)| (at % 2 == 1, piece.to_owned())).collect();
    if pieces.len().is_multiple_of(2)
        && let (Some((_, open)), Some((_, before))) = (pieces.pop(), pieces.last_mut())
    {
        before.push('`');
        before.push_str(&open);
    }
    pieces.retain(|(_, piece)| !piece.is_empty());
    pieces
}

/// Facts under the subject that their name begins with, in the order of [`SUBJECTS`], then as they came.
fn groups(facts: &[Fact]) -> Vec<Group> {
    let mut by_subject: BTreeMap<usize, Vec<FactRow>> = BTreeMap::new();
    for fact in facts {
        let first = fact.name.split('.').next().unwrap_or_default();
        let place = SUBJECTS.iter().position(|(prefix, _)| *prefix == first).unwrap_or(SUBJECTS.len());
        by_subject.entry(place).or_default().push(FactRow {
            name: words::shown(&fact.name),
            value: words::value(&fact.value),
            unknown: words::is_unknown(fact),
            reason: fact.reason.as_deref().map(words::shown).unwrap_or_default(),
            source: words::shown(&fact.source),
            confidence: words::confidence(fact.confidence),
        });
    }
    by_subject
        .into_iter()
        .map(|(place, facts)| Group { name: SUBJECTS.get(place).map_or("Other", |(_, name)| name), facts })
        .collect()
}

const SUBJECTS: [(&str, &str); 12] = [
    ("host", "Machine"),
    ("intel", "Intel ME and AMT"),
    ("amd", "AMD"),
    ("dash", "DASH"),
    ("bmc", "BMC"),
    ("watchdog", "Watchdogs"),
    ("wol", "Wake-on-LAN"),
    ("virt", "Virtualization"),
    ("cloud", "Cloud"),
    ("tpm", "TPM"),
    ("secure_boot", "Secure Boot"),
    ("net", "Network"),
];

fn chip((word, tone): (&'static str, Tone)) -> Chip {
    Chip { word, class: tone.class() }
}

const STYLE: &str = include_str!("../../templates/report.css");

#[cfg(test)]
#[path = "html_tests.rs"]
mod tests;
