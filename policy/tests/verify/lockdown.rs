//! AMT that was switched off by its firmware: on a later boot it is in effect, and what it shows otherwise is said.

use oob_policy::{
    AmtSeen, Confidence, Exit, Fact, Lockdown, LockedDown, OpenChange, Recorded, Rung, Staged, Verification,
};

use super::case::{Case, NOW, then};

/// Switched off in boot 1, looked at in boot 2, while the engine goes on running.
fn locked() -> Case {
    let mut case = Case::staged().asked().runs();
    case.claims.locked_down =
        Some(Lockdown { since: then("boot-1", NOW), mebx_escrow: None, recorded: None });
    case.history.locked_down = Some(LockedDown { event: "e1-then".into(), mebx_escrow: None });
    case.put(
        Fact::observed("intel.amt.verdict", "disabled", "mei:pthi")
            .because("AMT answered that it has nothing to say"),
    )
}

fn with_mebx(mut case: Case) -> Case {
    case.claims.locked_down.as_mut().unwrap().mebx_escrow = Some("amt-mebx.1.0000000000000000.age".into());
    case
}

fn mhc(mut case: Case, on: bool) -> Case {
    case.amt_on = Some(on);
    case
}

fn unknown(case: Case) -> Case {
    case.put(Fact::unknown("intel.amt.verdict", "mei:pthi", "busy\u{1b}"))
}

fn gone(case: Case) -> Case {
    case.put(Fact::observed("intel.amt.verdict", "absent-or-disabled", "mei:pthi").because("no such client"))
}

fn on(case: Case) -> Case {
    case.fact("intel.amt.verdict", "capable")
}

fn recorded(mut case: Case, verdict: &str, reason: &str) -> Case {
    let recorded = Recorded { verdict: verdict.into(), reason: reason.into(), ..Recorded::default() };
    case.claims.locked_down.as_mut().unwrap().recorded = Some(recorded);
    case
}

#[test]
fn the_ladder() {
    for (case, verdict, exit, reason) in [
        (locked(), Rung::Effective, 8, "default-mebx-password"),
        (with_mebx(locked()), Rung::Effective, 0, "satisfied"),
        (with_mebx(mhc(locked(), false)), Rung::Effective, 0, "satisfied"),
        (with_mebx(gone(locked())), Rung::Effective, 0, "satisfied"),
        (with_mebx(mhc(gone(locked()), false)), Rung::Effective, 0, "satisfied"),
        // Not on a later boot, or nobody knows.
        (with_mebx(locked().same_boot()), Rung::Staged, 10, "same-boot"),
        (
            with_mebx(locked().put(Fact::unknown("host.boot_id", "proc", "no"))),
            Rung::Staged,
            10,
            "boot-unknown",
        ),
        // On again, whatever MEBx has.
        (with_mebx(on(locked())), Rung::Staged, 9, "lockdown-reverted"),
        (on(locked().same_boot()), Rung::Staged, 9, "lockdown-reverted"),
        (locked().fact("intel.amt.verdict", "standard-manageability"), Rung::Staged, 9, "lockdown-reverted"),
        (mhc(unknown(locked()), true), Rung::Staged, 9, "lockdown-reverted"),
        // Two witnesses that cannot both be right.
        (with_mebx(mhc(locked(), true)), Rung::Staged, 9, "contradiction"),
        (with_mebx(mhc(gone(locked()), true)), Rung::Staged, 9, "contradiction"),
        // Nothing shows it.
        (unknown(locked()), Rung::Staged, 10, "not-shown"),
        (recorded(unknown(locked()), "effective", "satisfied"), Rung::Staged, 8, "not-shown"),
    ] {
        assert_eq!(case.told(), (verdict, exit, reason.to_owned()), "{:#?}", case.look());
        let found = case.look();
        assert_eq!(found.lockdown.as_deref(), Some("e1-then"));
        assert_eq!(found.confidence.is_some(), verdict.is_effective());
        assert!(!found.text.contains('\u{1b}') && !found.text.contains("image"), "{}", found.text);
    }
}

#[test]
fn what_bears_it_out_is_told() {
    let found = with_mebx(mhc(locked(), false)).look();
    assert_eq!(found.confidence, Some(Confidence::Observed));
    let names: Vec<_> = found.evidence.iter().map(|it| it.name).collect();
    assert_eq!(names, ["amt", "mhc", "boot"]);
    assert!(found.not_assessed.iter().any(|it| it.contains("goes on running")));
    assert_eq!(with_mebx(gone(locked())).look().confidence, Some(Confidence::Inferred));
    let has = |found: &Verification, id: &str| found.findings.iter().any(|it| it.id == id);
    assert!(!has(&found, "amt-off-default-mebx") && !has(&found, "boot-guard"));
    assert!(has(&locked().look(), "amt-off-default-mebx"));
    assert!(has(&on(locked()).look(), "amt-enabled-again"));
}

#[test]
fn a_verdict_is_recorded_once() {
    assert!(locked().look().new && with_mebx(locked()).look().new && on(locked()).look().new);
    assert!(!locked().same_boot().look().new && !unknown(locked()).look().new);
    assert!(!recorded(locked(), "effective", "default-mebx-password").look().new);
    assert!(!recorded(on(locked()), "staged", "lockdown-reverted").look().new);
    assert!(recorded(with_mebx(locked()), "effective", "default-mebx-password").look().new);
    assert!(recorded(on(locked()), "effective", "satisfied").look().new);
}

#[test]
fn a_greater_claim_is_judged_in_its_stead() {
    // An engine that is off altogether, and an image that was staged.
    let off = locked().disabled();
    assert_eq!(off.look().lockdown, None);
    let mut staged = locked();
    staged.history.staged = Some(Staged {
        original_sha256: "original".into(),
        result_sha256: "result".into(),
        method: "soft-disable".into(),
        manifest_sha256: None,
        event: "e1-staged".into(),
    });
    assert_eq!(staged.told(), (Rung::Staged, 10, "not-in-effect".to_owned()));
    // A change of ours that was left open is of AMT that is off, and its candidate is told; on again, it may be live.
    let mut open = with_mebx(locked());
    open.amt = AmtSeen::NotAsked;
    open.history.open = Some(OpenChange {
        generation: 2,
        realm: "Digest:x".into(),
        escrow: "amt.2.0000000000000000.age".into(),
        call_sent: true,
        tls_pin: None,
        rotation: false,
        run_id: String::new(),
        earlier: Vec::new(),
    });
    let off = open.look();
    assert_eq!((off.exit, off.amt.unwrap().reason), (Exit::Satisfied, "switched-off"));
    assert!(off.text.contains("amt.2.0000000000000000.age"), "{}", off.text);
    assert_eq!(open.clone().same_boot().told(), (Rung::Staged, 10, "same-boot".to_owned()));
    let on = on(open).look();
    assert_eq!((on.exit, on.reason.as_str()), (Exit::Indeterminate, "indeterminate"));
}

/// AMT that was ours, that others unprovisioned, and that was switched off then.
#[test]
fn a_stale_claim_is_of_amt_that_is_off() {
    for (case, verdict, exit, reason) in [
        (with_mebx(locked().same_boot()), Rung::Staged, 10, "same-boot"),
        (with_mebx(locked()), Rung::Effective, 0, "satisfied"),
        (locked(), Rung::Effective, 8, "default-mebx-password"),
    ] {
        let mut stale = case.ours("");
        stale.amt = AmtSeen::Silent("it is off".into());
        let found = stale.look();
        assert_eq!((found.verdict, found.exit.code(), found.reason.as_str()), (verdict, exit, reason));
        assert_eq!(found.amt.unwrap().reason, "switched-off");
        assert!(!found.text.contains("with the engine"), "{}", found.text);
    }
}
