//! `amt.enable = true`: when AMT that is off is switched on first, and what is said where it is not.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

mod case;

use case::Case;
use oob_policy::{Enabled, Exit, StepKind};

const ENABLE: &str = "amt = { enable = true }";

fn off(settings: &str, version: &str) -> Case {
    Case::using(settings)
        .fact("intel.amt.verdict", "disabled")
        .fact("intel.amt.version", "unknown")
        .fact("intel.me.version", version)
        .amt("unknown", "unknown")
}

#[test]
fn amt_that_is_off_is_switched_on_where_policy_says_so_and_firmware_can() {
    for (case, steps) in [
        (off(ENABLE, "18.0.5.1913"), vec!["amt.enable"]),
        (off(ENABLE, "16.1.25.2049"), vec!["amt.enable"]),
        (off(ENABLE, "unknown"), vec!["amt.enable"]),
        (off(ENABLE, "18.0.5").fact("intel.amt.verdict", "absent-or-disabled"), vec!["amt.enable"]),
        (off(ENABLE, "16.0.15.1810"), vec!["refuse.amt-not-switchable"]),
        (off("", "18.0.5.1913"), vec!["refuse.amt-disabled"]),
        (off("amt = { enable = false }", "18.0.5.1913"), vec!["refuse.amt-disabled"]),
        (off(ENABLE, "18.0.5").fact("intel.amt.verdict", "absent"), vec!["refuse.amt-absent"]),
        // On: the key asks for nothing.
        (Case::using(ENABLE), vec!["amt.setup-ccm"]),
        // What would be refused afterwards is refused first.
        (
            off("amt = { enable = true, control_mode = \"acm\", certificate = \"file:/c.pem\" }", "18.0.5"),
            vec!["refuse.acm-not-possible"],
        ),
        (
            off(ENABLE, "18.0.5").context(|it| it.escrow_not_durable = Some("tmpfs".to_owned())),
            vec!["refuse.escrow-not-durable"],
        ),
        (off("amt = { enable = true, consent = \"none\" }", "18.0.5"), vec!["refuse.not-in-ccm.amt.consent"]),
    ] {
        assert_eq!(case.steps(), steps, "{:?}", case.detection.facts);
    }
    let (exit, _, text) = off("", "18.0.5.1913").refusal();
    assert_eq!(exit, Exit::Impossible);
    assert!(text.contains("`amt.enable = true`"), "{text}");
}

#[test]
fn the_firmware_is_told_once_a_boot() {
    let told = |then: Option<&str>, now: &str| {
        let enabled = Enabled { event: "e1-on".to_owned(), boot_id: then.map(str::to_owned) };
        let case = off(ENABLE, "18.0.5").fact("host.boot_id", now);
        let plan = case.history(|it| it.enabled = Some(enabled)).plan();
        let StepKind::AmtEnable { told, .. } = &plan.steps[0].what else { panic!("{:?}", plan.steps) };
        told.clone()
    };
    let before = Some("e1-on".to_owned());
    assert_eq!(told(Some("b1"), "b1"), before);
    assert_eq!(told(Some("b1"), "b2"), None, "it was started again, and is off");
    // Where nothing tells, it is not told again.
    assert_eq!((told(None, "b1"), told(Some("b1"), "unknown")), (before.clone(), before));
    let plan = off(ENABLE, "18.0.5").plan();
    assert!(matches!(plan.steps[0].what, StepKind::AmtEnable { told: None, suffix: false }));
    assert!(plan.enables_amt() && !Case::using(ENABLE).plan().enables_amt());
    let admin = "amt = { enable = true, control_mode = \"acm-or-ccm\", certificate = \"file:/c.pem\" }";
    let plan = off(admin, "18.0.5").context(|it| it.certificate = Some(Ok(String::new()))).plan();
    assert!(matches!(plan.steps[0].what, StepKind::AmtEnable { suffix: true, .. }), "{:?}", plan.steps);
}
