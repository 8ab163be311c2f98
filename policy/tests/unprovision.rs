//! `amt.provisioned = false`: whose AMT is unprovisioned, by whom, and what is refused.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

mod case;

use case::Case;
use oob_policy::{ChannelState, Exit, Outcome, Proof, Reversibility, Scope, Status, StepKind};

const FULL: &str = "amt = { provisioned = false }";
const PARTIAL: &str = "amt = { provisioned = false, unprovision = \"partial\" }";
const ANYONE: &str = "amt = { provisioned = false, take_over = true }";

fn known(case: Case) -> Case {
    case.context(|it| it.known_credential = true)
}

fn in_mode(case: Case, mode: &str) -> Case {
    case.amt("post", mode).ours(1).history(|it| it.amt.as_mut().unwrap().control_mode = mode.to_owned())
}

fn stranger(case: Case) -> Case {
    case.fact("intel.amt.uuid", "11111111-0042-3510-8052-b4c04f4d3933")
}

fn leaving(case: Case) -> Case {
    case.history(|it| it.leaving = Some("Digest:00".to_owned()))
}

#[test]
fn what_is_ours_is_unprovisioned_and_what_is_not_is_left() {
    let new = || Case::using(FULL);
    let rotation = |case: Case| case.open(2, true).history(|it| it.open.as_mut().unwrap().rotation = true);
    for (case, steps) in [
        // Nothing to do, whatever org state thinks.
        (new(), vec!["amt.unprovisioned"]),
        (new().ours(1), vec!["amt.unprovisioned"]),
        (new().open(1, true), vec!["amt.unprovisioned"]),
        (leaving(new().ours(1)), vec!["amt.unprovisioned"]),
        (new().fact("intel.amt.verdict", "absent"), vec!["amt.unprovisioned"]),
        // Ours.
        (in_mode(new(), "ccm"), vec!["amt.unprovision"]),
        (in_mode(new(), "acm"), vec!["refuse.credential-needed"]),
        (known(in_mode(new(), "acm")), vec!["amt.unprovision"]),
        (in_mode(new(), "ccm").fact("intel.amt.control_mode", "unknown"), vec!["refuse.credential-needed"]),
        (in_mode(Case::using(PARTIAL), "ccm"), vec!["refuse.credential-needed"]),
        (known(in_mode(Case::using(PARTIAL), "ccm")), vec!["amt.unprovision"]),
        // Begun by a run of ours that died.
        (new().amt("post", "ccm").open(1, true), vec!["amt.undo", "amt.unprovisioned"]),
        (new().amt("in", "none").open(1, true), vec!["amt.undo", "amt.unprovisioned"]),
        (new().amt("post", "acm").open(1, true), vec!["refuse.indeterminate"]),
        (known(new().amt("post", "acm").open(1, true)), vec!["amt.unprovision"]),
        (leaving(new().amt("in", "none").ours(1)), vec!["amt.unprovision"]),
        (leaving(in_mode(new(), "ccm")), vec!["amt.unprovision"]),
        // A new password on its way: ours by the proof before; of a take-over only the password tells.
        (rotation(in_mode(new(), "ccm")), vec!["amt.unprovision"]),
        (rotation(in_mode(new(), "acm")), vec!["refuse.indeterminate"]),
        (rotation(new().amt("post", "ccm")), vec!["refuse.indeterminate"]),
        (known(rotation(new().amt("post", "ccm"))), vec!["amt.unprovision"]),
        // Others'.
        (new().amt("post", "ccm"), vec!["refuse.provisioned-by-others"]),
        (known(new().amt("post", "ccm")), vec!["refuse.provisioned-by-others"]),
        (Case::using(ANYONE).amt("post", "acm"), vec!["refuse.provisioned-by-others"]),
        (known(Case::using(ANYONE).amt("post", "acm")), vec!["amt.unprovision"]),
        (known(Case::using(ANYONE).amt("in", "none")), vec!["refuse.provisioned-by-others"]),
        (new().amt("in", "none").ours(1), vec!["refuse.control-mode-drift"]),
        (new().amt("post", "acm").ours(1), vec!["refuse.control-mode-drift"]),
        (known(Case::using(ANYONE).amt("post", "acm").ours(1)), vec!["amt.unprovision"]),
        // Another machine's.
        (stranger(in_mode(new(), "ccm")), vec!["refuse.amt-of-another-machine"]),
        (stranger(known(Case::using(ANYONE).amt("post", "ccm"))), vec!["refuse.amt-of-another-machine"]),
        (stranger(leaving(new().amt("in", "none").ours(1))), vec!["refuse.amt-of-another-machine"]),
        (stranger(new()), vec!["refuse.amt-of-another-machine"]),
        // Nobody knows.
        (new().amt("unknown", "none"), vec!["refuse.amt-unreachable"]),
        (new().fact("intel.amt.verdict", "disabled"), vec!["refuse.amt-disabled"]),
        (new().fact("intel.amt.verdict", "unknown"), vec!["refuse.amt-unknown"]),
    ] {
        assert_eq!(case.steps(), steps, "{:?} {:?}", case.detection.facts, case.history);
    }
}

#[test]
fn what_is_switched_off_cannot_be_asked_and_no_key_is_named_that_policy_may_not_have_here() {
    for (verdict, cause) in [("disabled", "amt-disabled"), ("absent-or-disabled", "amt-absent-or-disabled")] {
        let (exit, told, text) = Case::using(FULL).fact("intel.amt.verdict", verdict).refusal();
        assert_eq!((exit, told.as_str()), (Exit::Impossible, cause));
        assert!(
            text.starts_with("policy asks for AMT that is not provisioned") && !text.contains("amt.enable"),
            "{text}"
        );
    }
}

#[test]
fn the_step_says_how_and_on_which_amt() {
    for (settings, mode, ours, scope, login) in [
        (FULL, "ccm", true, Scope::Full, false),
        (FULL, "acm", true, Scope::Full, true),
        (PARTIAL, "ccm", true, Scope::Partial, true),
        (PARTIAL, "acm", true, Scope::Partial, true),
        (ANYONE, "ccm", false, Scope::Full, true),
    ] {
        let case = known(Case::using(settings));
        let case = if ours { in_mode(case, mode) } else { case.amt("post", mode) };
        let plan = case.plan();
        let [step] = plan.steps.as_slice() else { panic!("{:?}", plan.steps) };
        let realm = ours.then(|| "Digest:00".to_owned());
        assert_eq!(step.what, StepKind::AmtUnprovision { scope, login, realm }, "{settings} {mode}");
        assert_eq!(step.precondition.contains("logs in at the first try"), login);
        assert_eq!(step.reversibility == Reversibility::WithCredential, login);
    }
}

#[test]
fn the_refusal_names_escrow_file_and_flag() {
    let (exit, cause, text) = in_mode(Case::using(FULL), "acm").refusal();
    assert_eq!((exit, cause.as_str()), (Exit::Drift, "credential-needed"));
    assert!(
        text.contains("amt.1.0000000000000000.age") && text.contains("--known-credential FILE"),
        "{text}"
    );
}

#[test]
fn the_report_says_that_there_is_no_way_back_over_amt() {
    let done = |step: &str, status, changed| Outcome {
        step: step.to_owned(),
        status,
        changed,
        exit: Exit::Satisfied,
        cause: None,
        text: "AMT is unprovisioned".to_owned(),
        evidence: Default::default(),
    };
    let ours = || in_mode(Case::using(FULL), "ccm");
    for (case, outcome, verdict) in [
        (ours(), done("amt.unprovision", Status::Done, true), "was unprovisioned"),
        (Case::using(FULL), done("amt.unprovisioned", Status::AlreadySo, false), "is not provisioned"),
    ] {
        let report = case.report(&[outcome]);
        let amt = &report.capability.channels[0];
        assert_eq!((amt.state, amt.confidence), (ChannelState::Present, Proof::Detected));
        assert!(amt.can.is_empty() && amt.credential.is_none() && amt.control_mode.is_none(), "{amt:?}");
        assert!(report.verdict.contains(verdict), "{}", report.verdict);
        let finding = |id: &str| report.findings.iter().any(|it| it.id == id);
        assert!(finding("amt-default-credentials"), "{:?}", report.findings);
        assert!(!finding("amt-provisioned-by-others") && !finding("mebx-password-unchanged"));
    }
    // One that failed leaves it ours.
    let case = ours();
    let mut failed = done("amt.unprovision", Status::Failed, false);
    (failed.exit, failed.cause) = (Exit::DeviceFailed, Some("unprovision-refused".to_owned()));
    let report = case.report(&[failed]);
    assert_eq!(report.capability.channels[0].state, ChannelState::Provisioned);
    assert!(!report.findings.iter().any(|it| it.id == "amt-provisioned-by-others"));
}
