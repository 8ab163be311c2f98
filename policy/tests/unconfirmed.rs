//! What the report says of AMT of ours that a run did not confirm: nobody else is blamed for it, and nothing is called ours
//! that shows itself to be another one.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

mod case;

use case::Case;
use oob_policy::{ChannelRecord, ChannelState, Exit, Outcome, Report, Status, Value};

const LIVE: &str = "amt.1.0000000000000000.age";
const CANDIDATE: &str = "amt.2.0000000000000000.age";

fn ended(step: &str, exit: Exit, cause: &str) -> Outcome {
    let done = exit == Exit::Satisfied;
    Outcome {
        step: step.to_owned(),
        status: if done { Status::Done } else { Status::Failed },
        changed: false,
        exit,
        cause: (!done).then(|| cause.to_owned()),
        text: format!("{step} ended"),
        evidence: Default::default(),
    }
}

fn answered(step: &str, exit: Exit, cause: &str) -> Outcome {
    let evidence = [("realm", "Digest:00"), ("event", "e1-proof")];
    Outcome {
        evidence: evidence.into_iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect(),
        ..ended(step, exit, cause)
    }
}

fn amt(report: &Report) -> &ChannelRecord {
    &report.capability.channels[0]
}

fn has(report: &Report, id: &str) -> bool {
    report.findings.iter().any(|it| it.id == id)
}

fn ours() -> Case {
    Case::using("").amt("post", "ccm").ours(1)
}

#[track_caller]
fn assert_ours(report: &Report, what: &str) {
    let record = amt(report);
    assert_eq!(record.state, ChannelState::Provisioned, "{what}: {record:?}");
    assert_eq!(
        (record.credential.as_deref(), record.last_proof.as_deref()),
        (Some(LIVE), Some("e1-proof")),
        "{what}: {record:?}"
    );
    assert!(record.reason.starts_with("ours by event e1-proof"), "{what}: {}", record.reason);
    assert!(!has(report, "amt-provisioned-by-others"), "{what}: {:?}", report.findings);
    assert!(!has(report, "amt-indeterminate") && !has(report, "amt-default-credentials"), "{what}");
}

#[track_caller]
fn assert_others(report: &Report, what: &str) {
    let record = amt(report);
    assert!(record.credential.is_none() && record.last_proof.is_none(), "{what}: {record:?}");
    assert!(record.reason.contains("not proven ours"), "{what}: {}", record.reason);
    assert!(has(report, "amt-provisioned-by-others"), "{what}: {:?}", report.findings);
}

#[test]
fn ordinary_drift_and_a_busy_device_blame_nobody() {
    for cause in [
        "tls-certificate-due",
        "tls-ca-changed",
        "wired-addresses-open",
        "control-mode-not-as-policy",
        "mutual-tls-ca-unusable",
        "credential-needed",
    ] {
        assert_ours(&ours().report(&[ended(&format!("refuse.{cause}"), Exit::Drift, cause)]), cause);
    }
    for (exit, cause) in [(Exit::DeviceFailed, "lme"), (Exit::DeviceFailed, "amt-not-trusted")] {
        assert_ours(&ours().report(&[ended("amt.confirm", exit, cause)]), cause);
    }
    for cause in ["tls-off", "certificate-not-proven"] {
        let report = ours().report(&[answered("amt.confirm", Exit::Drift, cause)]);
        assert_ours(&report, cause);
        assert!(amt(&report).reason.contains(cause), "{}", amt(&report).reason);
    }
    // Nothing was to be done with it.
    assert_ours(&ours().report(&[ended("record", Exit::Satisfied, "")]), "ignore");
    // Who set it up is only of interest where that is not the org.
    let server = || [("by", "server"), ("server", "rps.example")];
    let audit = server().map(|(name, value)| (name.to_owned(), Value::from(value)));
    let mut audited = ours();
    let fact = oob_policy::Fact::observed("intel.amt.setup_audit", Value::Map(audit.into()), "test");
    audited.detection.facts.push(fact);
    let report = audited.report(&[ended("amt.confirm", Exit::DeviceFailed, "lme")]);
    let finding = report.findings.iter().find(|it| it.id == "amt-setup-audit").unwrap();
    assert_eq!(finding.severity, oob_policy::Severity::Info);
}

#[test]
fn what_shows_itself_another_one_is_not_called_ours() {
    for (step, exit, cause) in [
        ("amt.confirm", Exit::Drift, "realm-changed"),
        ("amt.complete", Exit::Drift, "realm-changed"),
        ("refuse.control-mode-drift", Exit::Drift, "control-mode-drift"),
        ("refuse.provisioned-by-others", Exit::Impossible, "provisioned-by-others"),
        ("refuse.amt-of-another-machine", Exit::Impossible, "amt-of-another-machine"),
        ("amt.take-over", Exit::DeviceFailed, "credential-refused"),
    ] {
        assert_others(&ours().report(&[ended(step, exit, cause)]), cause);
    }
    // Where nobody asked for the realm, what detection shows speaks against it.
    let ignored = [ended("record", Exit::Satisfied, "")];
    assert_others(&Case::new("").amt("post", "acm").ours(1).report(&ignored), "another mode");
    let stranger = ours().fact("intel.amt.uuid", "11111111-0042-3510-8052-b4c04f4d3933");
    assert_others(&stranger.report(&ignored), "another machine");
    // It was seen unprovisioned since, or a setup would not have begun; whose call was not sent.
    let outlived = ours().open(2, false);
    assert_others(&outlived.report(&[ended("record", Exit::Satisfied, "")]), "set up since");
    assert_others(&Case::new("").amt("post", "ccm").report(&ignored), "never ours");
}

#[test]
fn what_our_own_run_left_is_told_so() {
    let ignored = [ended("record", Exit::Satisfied, "")];
    let up = Case::new("").amt("post", "acm").ours(1);
    let up = up.history(|it| it.upgrading = Some("Digest:00".to_owned())).report(&ignored);
    assert_ours(&up, "going up");
    assert!(amt(&up).reason.contains("to admin control mode"), "{}", amt(&up).reason);
    let leaving = Case::new("").amt("in", "none").ours(1);
    let leaving = leaving.history(|it| it.leaving = Some("Digest:00".to_owned())).report(&ignored);
    assert_ours(&leaving, "leaving");
    assert!(amt(&leaving).reason.contains("unprovisioning"), "{}", amt(&leaving).reason);
}

#[test]
fn a_change_that_amt_may_have_taken_is_unknown_and_named() {
    let ignored = || [ended("record", Exit::Satisfied, "")];
    for (case, names) in [
        (Case::new("").amt("post", "ccm").open(2, true), vec![CANDIDATE]),
        (Case::new("").amt("unknown", "unknown").open(2, true), vec![CANDIDATE]),
        (ours().open(2, true).history(|it| it.open.as_mut().unwrap().rotation = true), vec![CANDIDATE, LIVE]),
    ] {
        let report = case.report(&ignored());
        assert_eq!(amt(&report).state, ChannelState::Unknown, "{:?}", amt(&report));
        let finding = report.findings.iter().find(|it| it.id == "amt-indeterminate").unwrap();
        for name in names {
            assert!(amt(&report).reason.contains(name), "{}", amt(&report).reason);
            assert!(finding.text.contains(name), "{}", finding.text);
        }
        assert!(!has(&report, "amt-provisioned-by-others"), "{:?}", report.findings);
    }
    // AMT did not take it, others set AMT up since, or it is off.
    for case in [
        Case::new("").open(2, true),
        Case::new("").amt("post", "ccm").open(2, false),
        Case::new("").fact("intel.amt.verdict", "disabled").open(2, true),
    ] {
        let report = case.report(&ignored());
        assert!(!has(&report, "amt-indeterminate"), "{:?} {:?}", amt(&report), case.history);
    }
    let theirs = ours().open(2, true).report(&[ended("amt.undo", Exit::Impossible, "provisioned-by-others")]);
    assert_others(&theirs, "others'");
}

/// AMT was taken back or unprovisioned, and the setup after it failed and was rolled back.
#[test]
fn the_last_word_on_whether_it_is_provisioned_counts() {
    let done = |step| ended(step, Exit::Satisfied, "");
    let case = || Case::using("").amt("post", "ccm").open(2, true);
    for first in ["amt.undo", "amt.unprovision"] {
        let failed = [done(first), ended("amt.setup-ccm", Exit::DeviceFailed, "lme")];
        let report = case().report(&failed);
        assert_eq!(amt(&report).state, ChannelState::Present, "{first}: {:?}", amt(&report));
        assert!(!has(&report, "amt-provisioned-by-others") && !has(&report, "amt-indeterminate"), "{first}");
        assert!(has(&report, "amt-default-credentials"), "{first}");
        let lost = [done(first), ended("amt.setup-ccm", Exit::Indeterminate, "indeterminate")];
        assert_eq!(amt(&case().report(&lost)).state, ChannelState::Unknown, "{first}");
        let mut set_up = done("amt.setup-ccm");
        set_up.evidence = [("proof".to_owned(), Value::from("read-back"))].into();
        let report = case().report(&[done(first), set_up]);
        assert_eq!(amt(&report).state, ChannelState::Verified, "{first}: {:?}", amt(&report));
        assert!(!has(&report, "amt-default-credentials") && !has(&report, "amt-indeterminate"), "{first}");
    }
}
