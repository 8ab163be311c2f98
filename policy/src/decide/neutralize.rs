//! `neutralize`: the ladder of methods, in policy order; the first that applies is taken, and every skipped one is named.

use super::amt::refuse_value;
use super::{Case, Draft};
use crate::pattern::version;
use crate::policy::Method;
use crate::{Exit, Reversibility, SoftDisable, Step, StepKind, shown, step};

pub(super) fn plan(case: &Case<'_>, draft: &mut Draft) {
    let Some(rule) = case.rule else {
        let text = "the default is `neutralize` and names no methods: write a rule".to_owned();
        return draft.refuse(Exit::Impossible, "no-method-applies", None, None, text);
    };
    for setting in rule.settings.iter().filter(|it| it.key == "neutralize.read_flash" && it.value == "true") {
        refuse_value(setting, draft);
    }
    let mut skipped: Vec<String> = Vec::new();
    for method in &rule.methods {
        match judge(*method, case) {
            Judgment::Applies(why) => {
                draft.steps.push(stage(case, &why, &skipped));
                return;
            }
            Judgment::Report => {
                draft.steps.push(report_only(case, skipped));
                return;
            }
            Judgment::Skipped(why) => skipped.push(format!("{}: {why}", method.word())),
        }
    }
    let text = format!(
        "none of the rule's methods applies, and `report-only` is not among them: {}",
        skipped.join("; ")
    );
    draft.refuse(Exit::Impossible, "no-method-applies", None, None, text);
}

enum Judgment {
    Applies(String),
    Report,
    Skipped(String),
}

fn judge(method: Method, case: &Case<'_>) -> Judgment {
    if method == Method::ReportOnly {
        return Judgment::Report;
    }
    if case.is_amd() {
        return Judgment::Skipped("AMD PSP is not neutralizable".to_owned());
    }
    match method {
        Method::CleanAndSoftDisable => Judgment::Skipped("this build cannot clean images yet".to_owned()),
        Method::Lockdown => Judgment::Skipped("this build cannot lock AMT down yet".to_owned()),
        Method::SoftDisable => soft_disable(case),
        Method::ReportOnly => Judgment::Report,
    }
}

fn soft_disable(case: &Case<'_>) -> Judgment {
    let Some(firmware) = &case.context.firmware else {
        return Judgment::Skipped("no --firmware-image given".to_owned());
    };
    // The strap's place depends on the generation: an image of another one is of another machine.
    let image = firmware.me_version.as_deref().and_then(version);
    let machine = case.detection.known("intel.me.version").and_then(version);
    if let (Some(([image, ..], _)), Some(([machine, ..], _))) = (image, machine)
        && image != machine
    {
        return Judgment::Skipped(format!("the image holds ME {image}, and this machine runs ME {machine}"));
    }
    match &firmware.soft_disable {
        SoftDisable::Possible => Judgment::Applies("the image's soft-disable strap can be set".to_owned()),
        SoftDisable::AlreadySet => {
            Judgment::Applies("the image's soft-disable strap is set already".to_owned())
        }
        SoftDisable::Refused(why) => Judgment::Skipped(shown(why)),
    }
}

fn stage(case: &Case<'_>, why: &str, skipped: &[String]) -> Step {
    let before =
        if skipped.is_empty() { String::new() } else { format!("; skipped before: {}", skipped.join("; ")) };
    Step {
        id: step::STAGE_SOFT_DISABLE.to_owned(),
        channel: None,
        what: StepKind::StageSoftDisable,
        reason: case.reason(&format!("asks to neutralize, and {why}{before}")),
        precondition: "the image is still the one that was judged".to_owned(),
        reversibility: Reversibility::Undoable,
    }
}

fn report_only(case: &Case<'_>, because: Vec<String>) -> Step {
    let reason = if because.is_empty() {
        case.reason("asks to neutralize, and its first method is `report-only`")
    } else {
        case.reason(&format!(
            "asks to neutralize, and no method before `report-only` applies: {}",
            because.join("; ")
        ))
    };
    Step {
        id: step::REPORT_ONLY.to_owned(),
        channel: None,
        what: StepKind::ReportOnly { because },
        reason,
        precondition: "none".to_owned(),
        reversibility: Reversibility::ReadOnly,
    }
}
