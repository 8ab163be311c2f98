//! The plan for people: what would be done, in order, and why.

use std::fmt::Write;

use oob_policy::{Plan, StepKind};

use super::words::shown;

/// One paragraph a step.
pub fn plan_text(plan: &Plan) -> String {
    let rule = plan
        .rule
        .as_deref()
        .map_or_else(|| "no rule matches, so the defaults apply".into(), |id| format!("rule {id}"));
    let mut text = format!("{} ({})\n", plan.action.word(), shown(&rule));
    for (index, step) in plan.steps.iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}. {}", index + 1, shown(&step.id));
        let mut line = |label: &str, value: &str| {
            let _ = writeln!(text, "   {label}: {}", shown(value));
        };
        match &step.what {
            StepKind::Refuse { exit, text, .. } => line("refused", &format!("{text} (exit {})", exit.code())),
            StepKind::ReportOnly { because } if because.is_empty() => line("reported only", "as policy asks"),
            StepKind::ReportOnly { because } => line("reported only", &because.join("; ")),
            _ => line("needs", &step.precondition),
        }
        line("because", &step.reason);
    }
    for warning in &plan.warnings {
        let _ = writeln!(text, "warning: {}", shown(warning));
    }
    text
}
