//! `neutralize`: the ladder of methods, in policy order; the first that applies is taken, and every skipped one is named.

mod judge;
mod lockdown;
mod pch;

use self::judge::{Judgment, judge};
use super::{Case, Draft};
use crate::policy::Method;
use crate::verify::{Shown, shows_soft_disabled};
use crate::{
    Channel, CleanVerdict, Exit, Firmware, ImageSource, Reversibility, Rule, SoftDisable, Step, StepKind,
};
use crate::{shown, step};

pub(super) fn plan(case: &Case<'_>, draft: &mut Draft) {
    let Some(rule) = case.rule else {
        let text = "the default is `neutralize` and names no methods: write a rule".to_owned();
        return draft.refuse(Exit::Impossible, "no-method-applies", None, None, text);
    };
    match shows_soft_disabled(case.detection) {
        Shown::SoftDisabled => {
            let reason = "asks to neutralize, and the management engine reports itself soft-disabled";
            draft.steps.push(read_only(
                step::ME_SOFT_DISABLED,
                StepKind::MeSoftDisabled,
                case.reason(reason),
            ));
            return;
        }
        Shown::Contradicted(why) => draft.warnings.push(format!(
            "the management engine reports itself soft-disabled, and that is not believed: {}",
            why.join("; ")
        )),
        Shown::Otherwise => {}
    }
    let mut skipped: Vec<String> = Vec::new();
    for method in &rule.methods {
        match judge(*method, rule, case) {
            Judgment::Applies(firmware) => {
                draft.warnings.extend(warnings(*method, rule, firmware));
                draft.steps.push(stage(*method, rule, firmware, skipped, case));
                return;
            }
            Judgment::WantsFlash => {
                draft.steps.push(read_flash(*method, &skipped, case));
                return;
            }
            Judgment::LockDown { mhc, rest, route } => {
                draft.warnings.extend(lockdown::enabled_again(case));
                if let Some(rest) = &rest {
                    lockdown::end(rest, case, draft);
                }
                return lockdown::push(mhc, &route, skipped, case, draft);
            }
            Judgment::LockedDown(by) => {
                draft.steps.push(lockdown::already(by, skipped, case));
                return;
            }
            Judgment::Refused { exit, cause, text } => {
                return draft.refuse(exit, cause, None, Some(Channel::Amt), text);
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

fn stage(method: Method, rule: &Rule, firmware: &Firmware, skipped: Vec<String>, case: &Case<'_>) -> Step {
    let strap_set = firmware.soft_disable == SoftDisable::AlreadySet;
    let (id, what, keep) = match method {
        Method::CleanAndSoftDisable => {
            let what = match (&firmware.clean, strap_set) {
                (CleanVerdict::AlreadyClean, true) => {
                    "holds no removable code and its soft-disable strap is set already"
                }
                (CleanVerdict::AlreadyClean, false) => {
                    "holds no removable code, and its soft-disable strap can be set"
                }
                (_, true) => "can lose its ME code, and its soft-disable strap is set already",
                (_, false) => "can lose its ME code, and its soft-disable strap can be set",
            };
            let keep = rule.neutralize.keep.as_ref().unwrap_or(&firmware.keep);
            (step::STAGE_CLEAN, what, keep.clone())
        }
        _ if strap_set => (step::STAGE_SOFT_DISABLE, "has its soft-disable strap set already", Vec::new()),
        _ => (step::STAGE_SOFT_DISABLE, "has a soft-disable strap that can be set", Vec::new()),
    };
    let image = match firmware.source {
        ImageSource::Given => "the image",
        ImageSource::Chip => "the image read from this machine's flash chip",
    };
    let kept = if keep.is_empty() { String::new() } else { format!("; kept: {}", keep.join(", ")) };
    let reason = case.reason(&format!("asks to neutralize, and {image} {what}{kept}{}", before(&skipped)));
    Step {
        id: id.to_owned(),
        channel: None,
        what: StepKind::Stage { method, keep, skipped },
        reason,
        precondition: "the image is still the one that was judged".to_owned(),
        reversibility: Reversibility::Undoable,
    }
}

/// What a person should know before the staged image is flashed.
fn warnings(method: Method, rule: &Rule, firmware: &Firmware) -> Vec<String> {
    let mut warnings: Vec<String> = firmware.warnings.iter().map(|warning| shown(warning)).collect();
    if method == Method::CleanAndSoftDisable {
        warnings.extend(firmware.clean_warnings.iter().map(|warning| shown(warning)));
        let dropped = judge::dropped(rule, firmware);
        if !dropped.is_empty() {
            warnings.push(format!(
                "`neutralize.keep` leaves out {}, without which machines of this generation have lost disks, network \
                 adapters or slots",
                dropped.join(", ")
            ));
        }
    }
    warnings
}

fn read_flash(method: Method, skipped: &[String], case: &Case<'_>) -> Step {
    let reason = format!(
        "asks to neutralize, and the flash chip is read first (no --firmware-image is given, and the rule says \
         `read_flash = true`): `{}` and what follows it are judged by what it holds{}",
        method.word(),
        before(skipped)
    );
    read_only(step::READ_FLASH, StepKind::ReadFlash, case.reason(&reason))
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
    read_only(step::REPORT_ONLY, StepKind::ReportOnly { because }, reason)
}

fn read_only(id: &str, what: StepKind, reason: String) -> Step {
    Step {
        id: id.to_owned(),
        channel: None,
        what,
        reason,
        precondition: "none".to_owned(),
        reversibility: Reversibility::ReadOnly,
    }
}

fn before(skipped: &[String]) -> String {
    if skipped.is_empty() { String::new() } else { format!("; skipped before: {}", skipped.join("; ")) }
}
