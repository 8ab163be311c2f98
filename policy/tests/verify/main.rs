//! `verify` by tables: what a machine may show, and what may be said of it.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "all of this is test code")]

mod case;
mod lockdown;
mod unfinished;

use oob_policy::{AmtOurs, AmtSeen, Confidence, Exit, Fact, OpenChange, Recorded, Rung, Strap, Value};
use proptest::prelude::*;

use case::{Case, DAY, NOW, then};

#[track_caller]
fn check(case: &Case, verdict: Rung, exit: u8, reason: &str) {
    assert_eq!(case.told(), (verdict, exit, reason.to_owned()), "{:#?}", case.look());
}

#[test]
fn the_ladder() {
    let staged = Case::staged;
    check(&staged().runs(), Rung::Staged, 10, "not-in-effect");
    check(&staged().disabled(), Rung::Effective, 0, "satisfied");
    check(&staged().asked().runs(), Rung::Planned, 8, "nothing-staged");
    let mut pending = staged().asked().runs();
    pending.claims.pending = true;
    check(&pending, Rung::Planned, 10, "not-in-effect");
    // Neutralized before we came: a second boot shows it.
    check(&staged().asked().disabled(), Rung::Effective, 0, "satisfied");
    check(&staged().asked().disabled().same_boot(), Rung::Planned, 10, "same-boot");
    let mut nothing = staged().asked().disabled();
    nothing.claims.since = None;
    check(&nothing, Rung::NotClaimed, 8, "nothing-claimed");
    // Persistent: after 30 days and a boot, or after an update of the firmware; and it stays so.
    let mut later = staged().disabled().was(|was| was.first = then("boot-1", NOW - 31 * DAY));
    check(&later, Rung::EffectivePersistent, 0, "satisfied");
    later = later.was(|was| was.first = then("boot-2", NOW - 31 * DAY));
    check(&later, Rung::Effective, 0, "satisfied");
    check(
        &staged().disabled().was(|was| was.first = then("boot-1", NOW - DAY)),
        Rung::Effective,
        0,
        "satisfied",
    );
    let updated = staged().disabled().was_effective().fact("host.bios.version", "1.3");
    check(&updated, Rung::Effective, 0, "satisfied");
    let booted = updated.fact("host.boot_id", "boot-3");
    check(&booted, Rung::EffectivePersistent, 0, "satisfied");
    check(&staged().disabled().was(|was| was.persistent = true), Rung::EffectivePersistent, 0, "satisfied");
    let broken = staged().disabled().was(|was| (was.persistent, was.refuted) = (true, true));
    check(&broken, Rung::Effective, 0, "satisfied");
}

#[test]
fn effective_needs_a_later_boot() {
    let case = || Case::staged().disabled();
    check(&case().same_boot(), Rung::Staged, 10, "same-boot");
    // The id decides against any clock.
    let wound = case().same_boot().fact("host.boot_time", u64::try_from(NOW + DAY).unwrap());
    check(&wound, Rung::Staged, 10, "same-boot");
    let unknown = |mut case: Case| {
        case.claims.since.as_mut().unwrap().boot_id = None;
        case
    };
    let at = |seconds: i64| unknown(case()).fact("host.boot_time", u64::try_from(NOW + seconds).unwrap());
    check(&at(60), Rung::Effective, 0, "satisfied");
    check(&at(-60), Rung::Staged, 10, "same-boot");
    // Neither id nor time: an engine that ran when the image was staged has been reset since.
    check(&unknown(case()), Rung::Effective, 0, "satisfied");
    let mut off_before = unknown(case());
    off_before.claims.since.as_mut().unwrap().engine_ran = false;
    check(&off_before, Rung::Staged, 10, "boot-unknown");
    // Mode 3 can be set while the engine runs, so it does not tell a reset.
    let mode_3 = unknown(Case::staged().mode_3().flash("x", Strap::Set));
    check(&mode_3, Rung::Staged, 10, "boot-unknown");
}

/// reference/org-state.md 4.2 and me.md 4.2: what looks like a neutralized engine and is none.
#[test]
fn false_friends() {
    let staged = Case::staged;
    let cases = [
        ("the function is not on the bus", staged().hidden(), 10, "not-shown", "me-hidden"),
        ("only the driver's node is missing", staged().asleep(), 10, "not-shown", ""),
        ("all ones or zero", staged().asleep().fact("intel.me.pci", "8086:a13a"), 10, "not-shown", ""),
        (
            "hidden, silent to firmware, and the flash written",
            staged()
                .hidden()
                .put(Fact::unknown("intel.me.version", "smbios:221", "version 255.255.255.65535"))
                .flash("result", Strap::Set),
            10,
            "not-shown",
            "me-hidden",
        ),
        ("a switch in BIOS setup", staged().mode_3(), 10, "temporarily-disabled", "me-temporarily-disabled"),
        (
            "a switch in BIOS setup, said by bring-up",
            staged().shows("disabled", "alt-disable", false, "none", "bup/temporary-disable"),
            10,
            "temporarily-disabled",
            "me-temporarily-disabled",
        ),
        (
            "a switch in BIOS setup, nothing staged",
            staged().asked().mode_3(),
            10,
            "temporarily-disabled",
            "me-temporarily-disabled",
        ),
        (
            "the strap set, and the engine runs",
            staged().runs().flash("other", Strap::Set),
            9,
            "ineffective",
            "me-ineffective",
        ),
        (
            "a service jumper",
            staged().shows("disabled", "override-jumper", false, "none", "unknown"),
            10,
            "override",
            "me-override",
        ),
        (
            "an override by message",
            staged().shows("normal", "override-mei", true, "none", "unknown"),
            10,
            "override",
            "me-override",
        ),
        (
            "code removed, strap clear",
            staged().shows("init", "normal", false, "image-failure", "bup/kernel-load"),
            10,
            "code-removed-only",
            "me-code-removed-only",
        ),
        (
            "recovery",
            staged().shows("recovery", "normal", false, "none", "unknown"),
            10,
            "shutting-down",
            "me-shutdown-ahead",
        ),
        (
            "waiting to disable the platform",
            staged().shows("platform-disable-wait", "normal", true, "none", "unknown"),
            10,
            "shutting-down",
            "me-shutdown-ahead",
        ),
        (
            "disabled with no mode that says why",
            staged().shows("disabled", "normal", false, "none", "unknown"),
            10,
            "not-shown",
            "",
        ),
        (
            "debug mode of a running engine",
            staged().shows("normal", "alt-disable", true, "none", "unknown"),
            10,
            "not-in-effect",
            "",
        ),
        (
            "manufacturing mode is no alarm",
            staged().runs().fact("intel.me.manufacturing", true),
            10,
            "not-in-effect",
            "",
        ),
    ];
    for (name, case, exit, reason, finding) in cases {
        let found = case.look();
        assert!(!found.verdict.is_effective(), "{name}: {found:#?}");
        assert_eq!((found.exit.code(), found.reason.as_str()), (exit, reason), "{name}: {found:#?}");
        let ids: Vec<&str> = found.findings.iter().map(|it| it.id.as_str()).collect();
        assert_eq!(ids, if finding.is_empty() { vec![] } else { vec![finding] }, "{name}");
    }
}

#[test]
fn true_friends() {
    let staged = Case::staged;
    // Operation mode 2 with 00:16.0 still on the bus (Dasharo issue 883), and hidden but recorded at start-up.
    check(&staged().disabled().fact("intel.me.pci", "8086:a360"), Rung::Effective, 0, "satisfied");
    let recorded = staged().hidden().disabled().recorded_only();
    check(&recorded, Rung::Effective, 0, "satisfied");
    assert_eq!(recorded.look().confidence, Some(Confidence::Inferred));
    assert_eq!(staged().disabled().look().confidence, Some(Confidence::Observed));
    // Mode 3 with the strap seen: in the flash, or by bring-up itself.
    check(&staged().mode_3().flash("other", Strap::Set), Rung::Effective, 0, "satisfied");
    check(&staged().mode_3().flash("result", Strap::Unknown("x".into())), Rung::Effective, 0, "satisfied");
    let straps = staged().shows("disabled", "temporary-disable", false, "none", "bup/straps-say-disabled");
    check(&straps, Rung::Effective, 0, "satisfied");
    // And once it was seen so, the same picture bears the claim out; another one does not.
    let as_before = staged().mode_3().was(|was| was.engine = "temporarily-disabled".into());
    check(&as_before, Rung::Effective, 0, "satisfied");
    check(&staged().mode_3().was_effective(), Rung::Staged, 9, "temporarily-disabled");
    let refuted = staged().mode_3().was(|was| {
        was.engine = "temporarily-disabled".into();
        was.refuted = true;
    });
    check(&refuted, Rung::Staged, 9, "temporarily-disabled");
    // Boot Guard is never said to be off.
    let found = staged().disabled().look();
    assert!(found.findings.iter().any(|it| it.id == "boot-guard" && it.text.contains("may still be active")));
}

#[test]
fn the_flash_must_agree() {
    let staged = Case::staged;
    for (sha256, strap) in
        [("result", Strap::Set), ("changed", Strap::Set), ("result", Strap::Unknown("x".into()))]
    {
        check(&staged().disabled().flash(sha256, strap), Rung::Effective, 0, "satisfied");
    }
    check(&staged().disabled().flash("original", Strap::Clear), Rung::Staged, 9, "contradiction");
    check(&staged().disabled().flash("other", Strap::Clear), Rung::Staged, 9, "contradiction");
    let unlocated = || Strap::Unknown("partial dump".into());
    check(&staged().disabled().flash("other", unlocated()), Rung::Staged, 10, "flash-unusable");
    check(&staged().runs().flash("original", Strap::Clear), Rung::Staged, 10, "not-flashed");
    check(&staged().runs().flash("original", unlocated()), Rung::Staged, 10, "not-flashed");
    check(&staged().runs().flash("other", unlocated()), Rung::Staged, 10, "not-in-effect");
    // Written during the boot in which it was staged: the power cycle is still to come.
    check(&staged().runs().same_boot().flash("result", Strap::Set), Rung::Staged, 10, "written");
    check(&staged().runs().flash("result", Strap::Set), Rung::Staged, 9, "ineffective");
    check(&staged().mode_3().flash("original", Strap::Clear), Rung::Staged, 10, "temporarily-disabled");
    // A dump of another machine says nothing about this one.
    let mut foreign = staged().disabled().fact("intel.me.version", "11.8.80.3746").flash("other", Strap::Set);
    foreign.flash.as_mut().unwrap().me_version = Some("12.0.1.2".into());
    check(&foreign, Rung::Staged, 10, "flash-unusable");
    foreign.flash.as_mut().unwrap().me_version = Some("11.8.80.3746".into());
    check(&foreign, Rung::Effective, 0, "satisfied");
}

/// What runs was started before somebody flashed the original back: until the next boot its registers tell the old story.
#[test]
fn a_flash_that_was_seen_to_be_the_original_is_not_forgotten_in_this_boot() {
    let seen = |flash_denied, boot: &str| {
        let mut case = Case::staged().disabled().was_effective();
        case.claims.recorded =
            Some(Recorded { flash_denied, boot_id: Some(boot.into()), ..Recorded::default() });
        case
    };
    check(&seen(true, "boot-2"), Rung::Staged, 9, "contradiction");
    check(&seen(true, "boot-2").flash("result", Strap::Set), Rung::Effective, 0, "satisfied");
    check(&seen(true, "boot-1"), Rung::Effective, 0, "satisfied");
    check(&seen(false, "boot-2"), Rung::Effective, 0, "satisfied");
    check(&seen(true, "boot-2").runs(), Rung::Staged, 9, "reverted");
}

#[test]
fn sources_that_contradict_each_other_are_drift() {
    let both =
        |a, b| Case::staged().disabled().sources(&[("smbios:219", a), ("sys/class/mei/mei0/fw_status", b)]);
    check(&both("soft-disabled", "soft-disabled"), Rung::Effective, 0, "satisfied");
    check(&both("unclear", "soft-disabled"), Rung::Effective, 0, "satisfied");
    check(&both("normal", "soft-disabled"), Rung::Staged, 9, "contradiction");
    let running = Case::staged().runs();
    check(
        &running.clone().sources(&[("a", "soft-disabled"), ("b", "normal")]),
        Rung::Staged,
        9,
        "contradiction",
    );
    check(&running.sources(&[("a", "recovery"), ("b", "normal")]), Rung::Staged, 10, "not-in-effect");
    // What only a running engine can say.
    let answering = Case::staged().disabled().fact("intel.amt.provisioning", "pre");
    check(&answering, Rung::Staged, 9, "contradiction");
    let listing = Case::staged().disabled().fact("intel.mei.clients", vec!["12f80028"]);
    check(&listing, Rung::Staged, 9, "contradiction");
    let empty: Vec<String> = Vec::new();
    check(&Case::staged().disabled().fact("intel.mei.clients", empty), Rung::Effective, 0, "satisfied");
}

#[test]
fn a_claim_that_is_not_borne_out_is_drift() {
    let was = || Case::staged().was_effective();
    let cases = [
        (was().runs(), 9, "reverted"),
        (was().runs().flash("result", Strap::Set), 9, "reverted"),
        (was().runs().flash("original", Strap::Clear), 9, "flash-reverted"),
        (was().hidden().flash("original", Strap::Clear), 9, "flash-reverted"),
        (was().shows("disabled", "override-jumper", false, "none", "unknown"), 9, "override"),
        (was().shows("recovery", "normal", false, "none", "unknown"), 9, "shutting-down"),
        (was().shows("init", "normal", false, "image-failure", "bup/kernel-load"), 9, "code-removed-only"),
        // What cannot be seen refutes nothing, and bears nothing out.
        (was().hidden(), 8, "not-shown"),
        (was().asleep(), 8, "not-shown"),
    ];
    for (case, exit, reason) in cases {
        check(&case, Rung::Staged, exit, reason);
    }
    let reverted = was().runs().look();
    assert!(reverted.findings.iter().any(|it| it.id == "me-reverted"));
}

#[test]
fn amd_is_never_neutralized() {
    let amd = |case: Case| {
        case.fact("host.cpu.vendor", "amd").put(
            Fact::inferred("intel.me.state", "absent", "proc/cpuinfo")
                .because("the processor is not Intel's"),
        )
    };
    let psp = |value: &str| {
        let attributes = [("fused_part".to_owned(), Value::from(value))].into();
        amd(Case::staged())
            .fact("amd.psp.state", "present")
            .fact("amd.psp.attributes", Value::Map(attributes))
            .put(Fact::hint("dash.nic", "likely", "test").because("Broadcom"))
    };
    for (value, fused) in [("1", "yes"), ("0", "no"), ("x\u{1b}", "unknown")] {
        check(&psp(value), Rung::NotNeutralizable, 8, "amd");
        let found = psp(value).look();
        let text = &found.findings.iter().find(|it| it.id == "amd-psp").unwrap().text;
        for part in
            [&format!("Fused (PSB): {fused}"), "DASH adapter: likely (Broadcom)", "secure processor: present"]
        {
            assert!(text.contains(part), "no {part:?} in {text}");
        }
    }
    check(&amd(Case::staged()).was_effective(), Rung::NotNeutralizable, 8, "amd");
    let guest =
        Case::staged().put(Fact::inferred("intel.me.state", "absent", "pci").because("a virtual machine"));
    check(&guest, Rung::NotNeutralizable, 8, "no-engine");
}

#[test]
fn amt_is_compared_by_its_realm() {
    let ours = |realm: &str| {
        let mut case = Case::staged().asked().runs().ours(realm).fact("intel.amt.control_mode", "ccm");
        case.claims.since = None;
        case
    };
    check(&ours("Digest:ours"), Rung::NotClaimed, 0, "satisfied");
    assert_eq!(ours("Digest:ours").look().amt.unwrap().reason, "as-claimed");
    check(&ours("Digest:theirs"), Rung::NotClaimed, 9, "realm-changed");
    let mode = ours("Digest:ours").fact("intel.amt.control_mode", "acm");
    check(&mode, Rung::NotClaimed, 9, "control-mode-drift");
    let mut lost = ours("Digest:ours");
    lost.history.amt.as_mut().unwrap().sealed = false;
    check(&lost, Rung::NotClaimed, 9, "credential-missing");
    // Merged stores hold several proofs; the one whose realm answers counts.
    let mut merged = ours("Digest:older");
    let older = AmtOurs {
        realm: "Digest:older".into(),
        event: "e1-older".into(),
        ..merged.history.amt.clone().unwrap()
    };
    merged.history.amt_older.push(older);
    assert_eq!(merged.look().amt.unwrap().event.as_deref(), Some("e1-older"));
    check(&merged, Rung::NotClaimed, 0, "satisfied");
    for (of, reason) in [
        (AmtSeen::WithoutTls as fn(String) -> AmtSeen, "tls-off"),
        (AmtSeen::PerhapsAnotherCertificate, "certificate-not-proven"),
    ] {
        let mut changed = ours("Digest:ours");
        changed.amt = of("Digest:ours".into());
        check(&changed, Rung::NotClaimed, 9, reason);
        changed.amt = of("Digest:theirs".into());
        check(&changed, Rung::NotClaimed, 9, "realm-changed");
    }
    let mut silent = ours("");
    silent.amt = AmtSeen::Silent("no\u{1b}thing".into());
    check(&silent, Rung::NotClaimed, 5, "amt-unreachable");
    assert!(!silent.look().text.contains('\u{1b}'));
    silent.amt = AmtSeen::NotAsked;
    check(&silent, Rung::NotClaimed, 8, "not-asked");
    // Both halves: the worse one decides; and AMT is off with its engine.
    check(&Case::staged().runs().ours("Digest:theirs"), Rung::Staged, 10, "not-in-effect");
    let mut off = Case::staged().disabled().ours("");
    off.amt = AmtSeen::Silent("gone".into());
    check(&off, Rung::Effective, 0, "satisfied");
    let mut open = ours("Digest:ours");
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
    check(&open, Rung::NotClaimed, 6, "indeterminate");
}

#[test]
fn only_what_is_new_is_recorded() {
    let new = |case: &Case, verdict: &str, reason: &str| {
        let mut case = case.clone();
        case.claims.recorded =
            Some(Recorded { verdict: verdict.into(), reason: reason.into(), ..Recorded::default() });
        case.look().new
    };
    let effective = Case::staged().disabled();
    assert!(effective.look().new);
    assert!(!new(&effective, "effective", "satisfied"));
    assert!(new(&effective, "staged", "reverted"));
    assert!(new(&effective.clone().was(|was| was.persistent = true), "effective", "satisfied"));
    let reverted = Case::staged().was_effective().runs();
    assert!(new(&reverted, "effective", "satisfied"));
    assert!(!new(&reverted, "staged", "reverted"));
    for nothing in
        [Case::staged().runs(), Case::staged().was_effective().hidden(), Case::staged().asked().runs()]
    {
        assert!(!nothing.look().new, "{:#?}", nothing.look());
    }
}

fn any_case() -> impl Strategy<Value = Case> {
    let word = |words: &'static [&'static str]| proptest::sample::select(words);
    let states = word(&[
        "reset",
        "init",
        "recovery",
        "disabled",
        "normal",
        "platform-disable-wait",
        "halt",
        "unknown",
    ]);
    let modes =
        word(&["normal", "alt-disable", "temporary-disable", "override-jumper", "override-mei", "sps"]);
    let phases = word(&["unknown", "bup/temporary-disable", "bup/straps-say-disabled", "bup/kernel-load"]);
    let errors = word(&["none", "disabled", "image-failure", "uncategorized", "code-15"]);
    let boots = word(&["boot-1", "boot-2", "unknown"]);
    let straps = proptest::option::of((
        word(&["original", "result", "other"]),
        proptest::sample::select(vec![Strap::Set, Strap::Clear, Strap::Unknown("x".into())]),
    ));
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (states, modes, any::<bool>(), errors, phases, boots, straps, flags).prop_map(
        |(state, mode, complete, error, phase, boot, flash, (staged, was, answers, amd))| {
            let mut case =
                Case::staged().shows(state, mode, complete, error, phase).fact("host.boot_id", boot);
            if let Some((sha256, strap)) = flash {
                case = case.flash(sha256, strap);
            }
            if was {
                case = case.was_effective();
            }
            if answers {
                case = case.fact("intel.amt.provisioning", "post");
            }
            if amd {
                case = case.fact("host.cpu.vendor", "amd");
            }
            if staged { case } else { case.asked() }
        },
    )
}

proptest! {
    /// Whatever is seen: the same twice, and `effective` only where the registers say so and nothing is against it.
    #[test]
    fn effective_is_never_guessed(case in any_case()) {
        let found = case.look();
        prop_assert_eq!(&found, &case.look());
        prop_assert!(!found.text.is_empty() && !found.reason.is_empty());
        prop_assert_eq!(found.verdict.is_effective(), found.exit == Exit::Satisfied);
        if found.verdict.is_effective() {
            prop_assert!(!case.facts.iter().any(|fact| fact.value.as_text() == Some("amd")));
            let fact = |name: &str| case.facts.iter().find(|fact| fact.name == name).unwrap();
            let mode = fact("intel.me.operation_mode").value.as_text().unwrap();
            prop_assert!(["alt-disable", "temporary-disable"].contains(&mode));
            let off = fact("intel.me.working_state").value.as_text() == Some("disabled")
                || fact("intel.me.init_complete").value == Value::Bool(false);
            let error = fact("intel.me.error").value.as_text().unwrap();
            prop_assert!(off && ["none", "disabled"].contains(&error));
            let rests_on_a_dump = found.engine != "soft-disabled";
            prop_assert_eq!(found.confidence == Some(Confidence::Inferred), rests_on_a_dump);
            let boot = fact("host.boot_id").value.as_text();
            prop_assert!(boot != Some("boot-1") || case.claims.effective.is_some());
            prop_assert!(found.contradictions.is_empty());
            prop_assert!(!case.flash.as_ref().is_some_and(|flash| flash.strap == Strap::Clear && flash.sha256 != "result"));
        }
    }
}
