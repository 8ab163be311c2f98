//! Which rule is for this machine.

use serde::Serialize;

use crate::ambiguity::rank;
use crate::pattern::version;
use crate::policy::{Condition, Key, Wanted};
use crate::{Context, Detection, Policy, Rule, UNKNOWN, Value};

/// How each key of one rule's match compares with a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Matched {
    pub keys: Vec<KeyMatch>,
}

impl Matched {
    /// True if every key holds.
    pub fn holds(&self) -> bool {
        self.keys.iter().all(|key| key.result == KeyResult::Equal)
    }

    /// True if the rule does not match only because something about the machine is not known.
    pub fn undecided(&self) -> bool {
        !self.holds() && self.keys.iter().all(|key| key.result != KeyResult::Different)
    }
}

/// One key of a match: what was wanted and what was found. Found text is foreign: escape it where it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyMatch {
    pub key: &'static str,
    pub wanted: String,
    pub found: String,
    pub result: KeyResult,
    /// Why what was found is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyResult {
    Equal,
    Different,
    /// Never taken for equal: a rule for a machine is not applied to one that might be another.
    Unknown,
}

/// What applies to a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection<'p> {
    Rule(&'p Rule),
    /// No rule matches; the defaults apply.
    Defaults,
    /// Several rules match with the same precedence, so none applies.
    Tie(Vec<&'p Rule>),
}

/// Compares every key of the rule's match with the machine, and does not stop at the first that differs.
pub fn matches(rule: &Rule, detection: &Detection, context: &Context) -> Matched {
    Matched { keys: rule.conditions.iter().map(|condition| compare(condition, detection, context)).collect() }
}

/// The most specific matching rule; inside a class the one of the higher priority.
pub fn select<'p>(policy: &'p Policy, detection: &Detection, context: &Context) -> Selection<'p> {
    let matching = policy.rules.iter().filter(|rule| matches(rule, detection, context).holds());
    let mut best: Vec<&Rule> = Vec::new();
    for rule in matching {
        match best.first().map(|first| rank(rule).cmp(&rank(first))) {
            None | Some(std::cmp::Ordering::Greater) => best = vec![rule],
            Some(std::cmp::Ordering::Equal) => best.push(rule),
            Some(std::cmp::Ordering::Less) => {}
        }
    }
    match best.as_slice() {
        [] => Selection::Defaults,
        [rule] => Selection::Rule(rule),
        _ => Selection::Tie(best),
    }
}

fn compare(condition: &Condition, detection: &Detection, context: &Context) -> KeyMatch {
    let found = find(condition.key, detection, context);
    let (found, result, reason) = match found {
        Found::Texts(texts) => {
            let result = if texts.iter().any(|text| fulfills(&condition.wanted, text)) {
                KeyResult::Equal
            } else {
                KeyResult::Different
            };
            (texts.join(", "), result, None)
        }
        Found::Nothing(why) => (UNKNOWN.to_owned(), KeyResult::Unknown, Some(why)),
    };
    KeyMatch { key: condition.key.word(), wanted: condition.wanted.text(), found, result, reason }
}

enum Found {
    Texts(Vec<String>),
    /// Not known, and why.
    Nothing(String),
}

/// `site` and `role` come from the operator alone; the rest are facts.
fn find(key: Key, detection: &Detection, context: &Context) -> Found {
    let told = |text: &Option<String>, flag: &str| match text {
        Some(text) => Found::Texts(vec![text.clone()]),
        None => Found::Nothing(format!("not told: give {flag}")),
    };
    match key {
        Key::Site => told(&context.site, "--site"),
        Key::Role => told(&context.role, "--role"),
        Key::Serial => fact("host.serial", detection),
        Key::Uuid => fact("host.uuid", detection),
        Key::Mac => fact("host.macs", detection),
        Key::Product => fact("host.product", detection),
        Key::Sku => fact("host.sku", detection),
        Key::Vendor => fact("host.vendor", detection),
        Key::Platform => fact("host.cpu.vendor", detection),
        Key::FormFactor => fact("host.form_factor", detection),
        Key::Virtual => fact("virt.hypervisor", detection),
        Key::MeVersion => fact("intel.me.version", detection),
    }
}

fn fact(name: &str, detection: &Detection) -> Found {
    let Some(fact) = detection.fact(name) else {
        return Found::Nothing(format!("there is no fact `{name}`"));
    };
    let items = match &fact.value {
        Value::List(items) => items.as_slice(),
        one => std::slice::from_ref(one),
    };
    let known = |text: &&str| !text.trim().is_empty() && *text != UNKNOWN;
    let texts: Vec<String> =
        items.iter().filter_map(Value::as_text).filter(known).map(str::to_owned).collect();
    if texts.is_empty() {
        let why = fact.reason.clone().unwrap_or_else(|| format!("`{name}` has no known value"));
        return Found::Nothing(why);
    }
    Found::Texts(texts)
}

fn fulfills(wanted: &Wanted, found: &str) -> bool {
    match wanted {
        Wanted::Globs(globs) => globs.iter().any(|glob| glob.matches(found)),
        Wanted::Words(words) => words.iter().any(|word| word.eq_ignore_ascii_case(found.trim())),
        Wanted::Version(range) => version(found).is_some_and(|(version, _)| range.contains(version)),
        Wanted::Truth(is_virtual) => (found != "none") == *is_virtual,
    }
}
