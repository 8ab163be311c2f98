//! What follows from a policy, a machine, its history and the circumstances. Pure, total and deterministic.

mod amt;
mod neutralize;
mod refuse;

pub(crate) use self::amt::identity::is_strange;
use crate::matcher::{Selection, matches, select};
use crate::{
    Action, Channel, Context, Detection, Exit, History, Plan, Policy, PolicyTrust, Reversibility, RootKind,
    Rule, Step, StepKind, step,
};

/// The ordered list of what would be done. A plan that refuses anything holds refusals only, all that apply: whoever
/// carries it out makes no call at all.
pub fn decide(policy: &Policy, detection: &Detection, history: &History, context: &Context) -> Plan {
    let selection = select(policy, detection, context);
    let rule = match &selection {
        Selection::Rule(rule) => Some(*rule),
        Selection::Defaults | Selection::Tie(_) => None,
    };
    let action = match &selection {
        Selection::Rule(rule) => rule.action,
        Selection::Defaults => policy.default_action,
        Selection::Tie(_) => Action::Ignore,
    };
    let case = Case { policy, rule, action, detection, history, context };
    let mut draft = Draft::default();
    refuse::tie(&selection, &mut draft);
    refuse::policy(&case, &mut draft);
    warn_of_unknown(&case, &mut draft);
    if !matches!(selection, Selection::Tie(_)) {
        match action {
            Action::Use => amt::plan(&case, &mut draft),
            Action::Neutralize => neutralize::plan(&case, &mut draft),
            Action::Ignore => draft.steps.push(Step {
                id: step::RECORD.to_owned(),
                channel: None,
                what: StepKind::Record,
                reason: case.reason("ignores the out-of-band hardware, so it is recorded and not touched"),
                precondition: "none".to_owned(),
                reversibility: Reversibility::ReadOnly,
            }),
        }
    }
    let steps = if draft.refusals.is_empty() { draft.steps } else { draft.refusals };
    Plan { action, rule: rule.map(|rule| rule.id.clone()), steps, warnings: draft.warnings }
}

/// Everything a decision rests on.
struct Case<'a> {
    policy: &'a Policy,
    /// The rule that applies; none where the defaults or nothing does.
    rule: Option<&'a Rule>,
    action: Action,
    detection: &'a Detection,
    history: &'a History,
    context: &'a Context,
}

impl Case<'_> {
    /// A sentence that begins with what asks for it.
    fn reason(&self, rest: &str) -> String {
        match self.rule {
            Some(rule) => format!("rule `{}` (line {}) {rest}", rule.id, rule.line),
            None => format!("no rule matches, and the default {rest}"),
        }
    }

    /// An action that changes a machine on a root that is really one.
    fn acts_live(&self) -> bool {
        self.context.root == RootKind::Live && self.action != Action::Ignore
    }

    fn is_amd(&self) -> bool {
        self.detection.text("host.cpu.vendor") == "amd"
    }
}

/// A plan being made.
#[derive(Default)]
struct Draft {
    steps: Vec<Step>,
    refusals: Vec<Step>,
    warnings: Vec<String>,
}

impl Draft {
    /// Adds a refusal; `id` tells refusals of one cause apart.
    fn refuse(
        &mut self,
        exit: Exit,
        cause: &str,
        detail: Option<&str>,
        channel: Option<Channel>,
        text: String,
    ) {
        let id = match detail {
            Some(detail) => format!("refuse.{cause}.{detail}"),
            None => format!("refuse.{cause}"),
        };
        self.refusals.push(Step {
            id,
            channel,
            reason: text.clone(),
            what: StepKind::Refuse { exit, cause: cause.to_owned(), text },
            precondition: "none".to_owned(),
            reversibility: Reversibility::ReadOnly,
        });
    }
}

/// A rule that would win and cannot be judged is not applied, and never silently.
fn warn_of_unknown(case: &Case<'_>, draft: &mut Draft) {
    let winner = case.rule.map(crate::ambiguity::rank);
    for rule in &case.policy.rules {
        let matched = matches(rule, case.detection, case.context);
        if matched.undecided() && Some(crate::ambiguity::rank(rule)) >= winner {
            let unknown = matched.keys.iter().filter_map(|key| {
                key.reason
                    .as_ref()
                    .map(|reason| format!("`{}` is unknown ({})", key.key, crate::shown(reason)))
            });
            let unknown: Vec<String> = unknown.collect();
            draft.warnings.push(format!("rule `{}` was not applied: {}", rule.id, unknown.join(", ")));
        }
    }
}

/// True if an action may not be carried out for want of a signature (DESIGN section 7).
fn lacks_signature(case: &Case<'_>) -> bool {
    case.acts_live() && case.context.trust == PolicyTrust::Unsigned
}
