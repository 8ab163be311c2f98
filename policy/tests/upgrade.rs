//! From client to admin control mode: when it is planned, with what, and what is said where it cannot be.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

mod case;

use case::Case;
use oob_policy::{Exit, StepKind};

const ACM: &str = "amt = { control_mode = \"acm\", certificate = \"file:/c.pem\", sol = true, consent = \"none\", mebx = true }";
const EITHER: &str = "amt = { control_mode = \"acm-or-ccm\", certificate = \"file:/c.pem\", sol = true }";

/// Ours in client control mode, with `sol = true` proven.
fn ours(settings: &str) -> Case {
    Case::using(settings)
        .amt("post", "ccm")
        .ours(1)
        .history(|it| it.amt.as_mut().unwrap().settings = vec!["sol = true".to_owned()])
        .context(|it| it.certificate = Some(Ok("4 certificates".to_owned())))
}

fn known(case: Case) -> Case {
    case.context(|it| it.known_credential = true)
}

fn unusable(case: Case) -> Case {
    case.context(|it| it.certificate = Some(Err("no such file".to_owned())))
}

fn up(case: Case) -> Case {
    case.amt("post", "acm").history(|it| it.amt.as_mut().unwrap().control_mode = "acm".to_owned())
}

/// A run of ours that died after the call.
fn died(case: Case) -> Case {
    case.amt("post", "acm").history(|it| it.upgrading = Some("Digest:00".to_owned()))
}

#[test]
fn ours_goes_up_where_policy_certificate_and_credential_are_there() {
    for (case, steps) in [
        (ours(ACM), vec!["refuse.credential-needed"]),
        (known(ours(ACM)), vec!["amt.upgrade"]),
        (known(unusable(ours(ACM))), vec!["refuse.acm-not-possible"]),
        (known(ours(ACM).fact("intel.amt.version", "6.2.61")), vec!["refuse.acm-not-possible"]),
        (known(ours(ACM).fact("intel.amt.version", "19.0.5")), vec!["amt.upgrade"]),
        (ours(ACM).fact("intel.amt.version", "19.0.5"), vec!["refuse.credential-needed"]),
        // Either mode is as policy asks; it is tried where it can be.
        (ours(EITHER), vec!["amt.confirm"]),
        (known(ours(EITHER)), vec!["amt.upgrade"]),
        (known(unusable(ours(EITHER))), vec!["amt.confirm"]),
        // A certificate that AMT never takes would stand in the way of every rotation.
        (known(ours(EITHER)).context(|it| it.rotate = true), vec!["amt.rotate"]),
        // Client control mode is what is asked.
        (known(ours("amt = { control_mode = \"ccm\" }")), vec!["amt.confirm"]),
        // Up already.
        (
            known(ours(ACM)).amt("post", "acm").history(|it| {
                let ours = it.amt.as_mut().unwrap();
                ours.control_mode = "acm".to_owned();
                ours.settings.extend(["consent = none", "mebx = true"].map(str::to_owned));
            }),
            vec!["amt.confirm"],
        ),
        // There is no way down; no mode named is content with either.
        (up(ours("amt = { control_mode = \"ccm\" }")), vec!["refuse.control-mode-not-as-policy"]),
        (
            known(up(ours("amt = { control_mode = \"ccm\", ider = true }"))),
            vec!["refuse.control-mode-not-as-policy"],
        ),
        (up(ours("amt = { sol = true }")), vec!["amt.confirm"]),
        (up(ours(EITHER)), vec!["amt.confirm"]),
        // By whom is not known, or it is: by our own call.
        (known(ours(ACM)).amt("post", "acm"), vec!["refuse.control-mode-drift"]),
        (died(ours(ACM)), vec!["refuse.upgrade-not-proven"]),
        (known(died(ours(ACM))), vec!["amt.complete"]),
        (
            known(died(ours(ACM))).history(|it| it.upgrading = Some("Digest:ff".to_owned())),
            vec!["refuse.control-mode-drift"],
        ),
        // The call never arrived.
        (known(died(ours(ACM))).amt("post", "ccm"), vec!["amt.upgrade"]),
        // Of others, and of a run that did not end, it is not taken for ours.
        (known(ours(ACM)).history(|it| it.amt = None), vec!["refuse.provisioned-by-others"]),
    ] {
        assert_eq!(case.steps(), steps, "{:?} {:?}", case.detection.facts, case.history);
    }
}

#[test]
fn the_step_holds_what_client_control_mode_could_not_have() {
    let plan = known(ours(ACM)).plan();
    let StepKind::AmtUpgrade { realm, or_ccm, settings } = &plan.steps[0].what else {
        panic!("{:?}", plan.steps)
    };
    assert_eq!((realm.as_str(), *or_ccm), ("Digest:00", false));
    assert_eq!(settings.words(), ["consent = none", "mebx = true"]);
    let rotate = |policy| known(ours(policy)).context(|it| it.rotate = true).plan();
    let either = rotate(EITHER).warnings;
    assert!(either.iter().any(|it| it.contains("without `--rotate`")), "{either:?}");
    let plan = rotate(ACM);
    assert!(matches!(plan.steps[0].what, StepKind::AmtUpgrade { or_ccm: false, .. }));
    assert!(plan.warnings.iter().any(|it| it.contains("`--rotate` waits")), "{:?}", plan.warnings);
    let plan = known(died(ours(ACM))).plan();
    let StepKind::AmtComplete { settings, .. } = &plan.steps[0].what else { panic!("{:?}", plan.steps) };
    assert_eq!(settings.words(), ["consent = none", "mebx = true"]);
}

#[test]
fn what_is_missing_is_named() {
    for (case, cause) in [(ours(ACM), "credential-needed"), (died(ours(ACM)), "upgrade-not-proven")] {
        let (exit, told, text) = case.refusal();
        assert_eq!((exit, told.as_str()), (Exit::Drift, cause));
        assert!(
            text.contains("amt.1.0000000000000000.age") && text.contains("--known-credential FILE"),
            "{text}"
        );
    }
    let told = |case: Case| case.plan().warnings.iter().any(|it| it.contains("--known-credential"));
    assert!(told(ours(EITHER)) && !told(unusable(ours(EITHER))) && !told(known(ours(EITHER))));
}
