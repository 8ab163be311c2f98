//! `neutralize`: the ladder of methods, in policy order; the first that applies is taken, and every skipped one is named.

use super::amt::refuse_value;
use super::{Case, Draft};
use crate::pattern::version;
use crate::policy::Method;
use crate::{Exit, Firmware, Reversibility, SoftDisable, Step, StepKind, shown, step};

pub(super) fn plan(case: &Case<'_>, draft: &mut Draft) {
    let Some(rule) = case.rule else {
        let text = "the default is `neutralize` and names no methods: write a rule".to_owned();
        return draft.refuse(Exit::Impossible, "no-method-applies", None, None, text);
    };
    for setting in rule.settings.iter().filter(|it| it.key == "neutralize.read_flash" && it.value == "true") {
        refuse_value(setting, draft);
    }
    if case.detection.text("intel.me.state") == "soft-disabled" {
        draft.steps.push(Step {
            id: step::ME_SOFT_DISABLED.to_owned(),
            channel: None,
            what: StepKind::MeSoftDisabled,
            reason: case.reason("asks to neutralize, and the management engine reports itself soft-disabled"),
            precondition: "none".to_owned(),
            reversibility: Reversibility::ReadOnly,
        });
        return;
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
    if let Err(why) = is_of_this_machine(firmware, case) {
        return Judgment::Skipped(why);
    }
    match &firmware.soft_disable {
        SoftDisable::Possible => Judgment::Applies("the image's soft-disable strap can be set".to_owned()),
        SoftDisable::AlreadySet => {
            Judgment::Applies("the image's soft-disable strap is set already".to_owned())
        }
        SoftDisable::Refused(why) => Judgment::Skipped(shown(why)),
    }
}

/// What ties a dump to this machine. A descriptor of another board would not boot it, so nothing is guessed: the ME
/// version must be the one that runs, and the HECI function of the PCH family that the descriptor is for.
fn is_of_this_machine(firmware: &Firmware, case: &Case<'_>) -> Result<(), String> {
    let Some(runs) = case.detection.known("intel.me.version") else {
        return Err("this machine does not tell its ME version, so nothing ties the image to it".to_owned());
    };
    let holds = firmware.me_version.as_deref().unwrap_or("of an unknown version");
    if version(holds).map(|(holds, _)| holds) != version(runs).map(|(runs, _)| runs) {
        return Err(format!(
            "the image holds ME {}, and this machine runs ME {}: dump this machine's flash anew",
            shown(holds),
            shown(runs)
        ));
    }
    let family = match case.detection.known("intel.me.pci") {
        Some("8086:9d3a" | "8086:9d3b") => "sunrise-point-lp",
        Some("8086:a13a" | "8086:a13b" | "8086:a2ba" | "8086:a2bb") => "sunrise-point-h",
        // Hidden, or of a family whose strap nothing sets yet: the image itself is refused for that.
        _ => return Ok(()),
    };
    match &firmware.pch {
        Some(pch) if pch != family => {
            Err(format!("the image's descriptor is for {}, and this machine's PCH is {family}", shown(pch)))
        }
        _ => Ok(()),
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
