//! Why a rule applies to a machine, and why the others do not.

use std::fmt::Write;

use serde::Serialize;

use crate::matcher::{KeyResult, Matched, Selection, matches, select};
use crate::policy::Class;
use crate::{Action, Context, Detection, Policy, shown};

/// Every rule of a policy held against one machine. Serialized, it is what `policy explain --json` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    pub policy: String,
    pub serial: u64,
    /// Most specific first, as precedence has it; matching or not.
    pub rules: Vec<RuleExplanation>,
    pub default_action: Action,
    pub verdict: Verdict,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleExplanation {
    pub id: String,
    pub line: usize,
    pub class: Class,
    pub priority: i64,
    pub action: Action,
    pub matched: bool,
    #[serde(flatten)]
    pub why: Matched,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Verdict {
    Rule {
        id: String,
        action: Action,
    },
    Defaults {
        action: Action,
    },
    /// Nothing applies: these rules match with the same precedence.
    Tie {
        ids: Vec<String>,
    },
}

/// Holds every rule against the machine.
pub fn explain(policy: &Policy, detection: &Detection, context: &Context) -> Explanation {
    let mut rules: Vec<RuleExplanation> = policy
        .rules
        .iter()
        .map(|rule| {
            let why = matches(rule, detection, context);
            RuleExplanation {
                id: rule.id.clone(),
                line: rule.line,
                class: rule.class(),
                priority: rule.priority,
                action: rule.action,
                matched: why.holds(),
                why,
            }
        })
        .collect();
    rules.sort_by(|a, b| (b.class, b.priority).cmp(&(a.class, a.priority)).then(a.line.cmp(&b.line)));
    let verdict = match select(policy, detection, context) {
        Selection::Rule(rule) => Verdict::Rule { id: rule.id.clone(), action: rule.action },
        Selection::Defaults => Verdict::Defaults { action: policy.default_action },
        Selection::Tie(tied) => Verdict::Tie { ids: tied.iter().map(|rule| rule.id.clone()).collect() },
    };
    Explanation {
        policy: policy.name.clone(),
        serial: policy.serial,
        rules,
        default_action: policy.default_action,
        verdict,
    }
}

impl Explanation {
    /// For people; foreign text is escaped.
    pub fn text(&self) -> String {
        let mut text = format!("policy {} serial {}\n", self.policy, self.serial);
        for rule in &self.rules {
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "{} rule {} (line {}): {}, class {}, priority {}",
                if rule.matched { "+" } else { "-" },
                rule.id,
                rule.line,
                rule.action.word(),
                rule.class.word(),
                rule.priority
            );
            for key in &rule.why.keys {
                let (sign, note) = match (key.result, &key.reason) {
                    (KeyResult::Equal, _) => ("=", String::new()),
                    (KeyResult::Different, _) => ("x", String::new()),
                    (KeyResult::Unknown, reason) => {
                        ("?", format!(" ({})", shown(reason.as_deref().unwrap_or(""))))
                    }
                };
                let _ = writeln!(
                    text,
                    "    {sign} {}: wants {}, found {}{note}",
                    key.key,
                    shown(&key.wanted),
                    shown(&key.found)
                );
            }
        }
        let verdict = match &self.verdict {
            Verdict::Rule { id, action } => format!("rule {id} applies: {}", action.word()),
            Verdict::Defaults { action } => {
                format!("no rule matches; the default applies: {}", action.word())
            }
            Verdict::Tie { ids } => format!(
                "nothing applies: rules {} match with the same precedence; set `priority` on one of them",
                ids.join(", ")
            ),
        };
        text.push_str(&verdict);
        text.push('\n');
        text
    }
}
