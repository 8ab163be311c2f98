//! Tables for `decide`: what follows from which policy, machine, history and circumstances.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

mod case;

use case::Case;
use oob_policy::{Action, Exit, PolicyTrust, RootKind, SoftDisable, StepKind};

#[test]
fn using_amt_follows_from_its_state_and_our_history() {
    let new = || Case::using("");
    for (case, steps) in [
        (new(), vec!["amt.setup-ccm"]),
        (new().fact("intel.amt.verdict", "standard-manageability"), vec!["amt.setup-ccm"]),
        // Ours, as we left it.
        (new().amt("post", "ccm").ours(1), vec!["amt.confirm"]),
        (new().amt("post", "unknown").ours(1), vec!["amt.confirm"]),
        // The journal was left open at a generation that was proven afterwards.
        (new().amt("post", "ccm").ours(2).open(2, true), vec!["amt.confirm"]),
        // Ours once, and unprovisioned since.
        (new().ours(1), vec!["amt.setup-ccm"]),
        // Killed before the call was sent, or the call never arrived.
        (new().open(1, false), vec!["amt.setup-ccm"]),
        (new().open(1, true), vec!["amt.setup-ccm"]),
        // Killed after the call.
        (new().amt("post", "ccm").open(1, true), vec!["amt.undo", "amt.setup-ccm"]),
        (new().amt("in", "ccm").open(1, true), vec!["amt.undo", "amt.setup-ccm"]),
        (new().amt("in", "none").open(1, true), vec!["amt.undo", "amt.setup-ccm"]),
        (new().amt("post", "ccm").ours(1).open(2, true), vec!["amt.undo", "amt.setup-ccm"]),
        (new().amt("post", "acm").open(1, true), vec!["refuse.indeterminate"]),
        (new().amt("in", "unknown").open(1, true), vec!["refuse.indeterminate"]),
        // Admin control mode that was not committed, which AMT 19 is the first to have.
        (
            new().amt("in", "acm").open(1, true).fact("intel.amt.version", "19.0.5.1966"),
            vec!["amt.undo", "amt.setup-ccm"],
        ),
        (
            new().amt("in", "acm").open(1, true).fact("intel.amt.version", "18.0.5.1913"),
            vec!["refuse.indeterminate"],
        ),
        (
            new().amt("post", "acm").open(1, true).fact("intel.amt.version", "19.0.5.1966"),
            vec!["refuse.indeterminate"],
        ),
        (
            new().amt("in", "acm").fact("intel.amt.version", "19.0.5.1966"),
            vec!["refuse.provisioned-by-others"],
        ),
        // By another AMT of ours the generation tells nothing.
        (
            new().amt("post", "ccm").ours(2).open(2, true).history(|it| {
                it.open.as_mut().unwrap().realm = "Digest:01".to_owned();
                it.amt.as_mut().unwrap().escrow = "amt.2.1111111111111111.age".to_owned();
            }),
            vec!["amt.undo", "amt.setup-ccm"],
        ),
        // Unprovisioned by a run of ours that died on the way: it is ended, and set up anew.
        (
            new().amt("in", "none").ours(1).history(|it| it.leaving = Some("Digest:00".to_owned())),
            vec!["amt.unprovision", "amt.setup-ccm"],
        ),
        (
            new().amt("pre", "none").ours(1).history(|it| it.leaving = Some("Digest:00".to_owned())),
            vec!["amt.setup-ccm"],
        ),
        (
            new().amt("post", "ccm").ours(1).history(|it| it.leaving = Some("Digest:00".to_owned())),
            vec!["amt.confirm"],
        ),
        (new().amt("in", "none").ours(1), vec!["refuse.control-mode-drift"]),
        // Our journal shows that it was not us.
        (new().amt("post", "ccm").open(1, false), vec!["refuse.provisioned-by-others"]),
        (new().amt("post", "ccm").ours(1).open(2, false), vec!["refuse.provisioned-by-others"]),
        (new().amt("post", "ccm"), vec!["refuse.provisioned-by-others"]),
        (new().amt("post", "acm"), vec!["refuse.provisioned-by-others"]),
        (new().amt("in", "none"), vec!["refuse.provisioned-by-others"]),
        (new().amt("unknown", "ccm"), vec!["refuse.provisioned-by-others"]),
        (new().amt("post", "acm").ours(1), vec!["refuse.control-mode-drift"]),
        // Unknown is never absent, and never clean.
        (new().amt("unknown", "none"), vec!["refuse.amt-unreachable"]),
        (new().amt("pre", "unknown"), vec!["refuse.amt-unreachable"]),
        // And not unchanged where a change of ours was on its way.
        (new().amt("unknown", "unknown").open(1, true), vec!["refuse.indeterminate"]),
        (new().amt("unknown", "unknown").open(1, false), vec!["refuse.amt-unreachable"]),
        (
            new().amt("pre", "unknown").context(|context| context.root = RootKind::Capture),
            vec!["refuse.amt-unknown"],
        ),
        // Ours, and nobody can open the credential any more.
        (
            new().amt("post", "ccm").ours(1).history(|history| {
                if let Some(ours) = &mut history.amt {
                    ours.sealed = false;
                }
            }),
            vec!["refuse.credential-missing"],
        ),
        // The AMT of another machine gets no login; a UUID in the other byte order is the same one.
        (
            new().fact("intel.amt.uuid", "11111111-0042-3510-8052-b4c04f4d3933"),
            vec!["refuse.amt-of-another-machine"],
        ),
        (new().fact("intel.amt.uuid", "4C4C4544-0042-3510-8052-B4C04F4D3933"), vec!["amt.setup-ccm"]),
        (new().fact("intel.amt.uuid", "44454c4c-4200-1035-8052-b4c04f4d3933"), vec!["amt.setup-ccm"]),
        (new().fact("intel.amt.verdict", "unknown"), vec!["refuse.amt-unknown"]),
        (new().fact("intel.amt.verdict", "absent"), vec!["refuse.amt-absent"]),
        (new().fact("intel.amt.verdict", "disabled"), vec!["refuse.amt-disabled"]),
        (new().fact("intel.amt.verdict", "absent-or-disabled"), vec!["refuse.amt-absent-or-disabled"]),
    ] {
        assert_eq!(case.steps(), steps, "{:?} {:?}", case.detection.facts, case.history);
    }
}

#[test]
fn using_amt_depends_on_its_version() {
    for (amt, me, step) in [
        ("19.0.0", "unknown", "amt.setup-ccm"),
        ("unknown", "19.0.5.2000", "amt.setup-ccm"),
        ("21.0.0", "unknown", "amt.setup-ccm"),
        ("18.0.5", "unknown", "amt.setup-ccm"),
        ("6.2.61", "unknown", "amt.setup-ccm"),
        ("6.1.0", "unknown", "refuse.amt-too-old"),
        ("unknown", "unknown", "refuse.amt-version-unknown"),
        ("not a version", "unknown", "refuse.amt-version-unknown"),
    ] {
        let case = Case::using("").fact("intel.amt.version", amt).fact("intel.me.version", me);
        assert_eq!(case.steps(), [step], "{amt} / {me}");
    }
    // Nothing is set up, so the version is no hindrance.
    let ours = Case::using("")
        .amt("post", "ccm")
        .ours(1)
        .fact("intel.amt.version", "unknown")
        .fact("intel.me.version", "unknown");
    assert_eq!(ours.steps(), ["amt.confirm"]);
}

#[test]
fn what_no_step_carries_out_is_refused_by_key_and_line() {
    let settings = "amt = { control_mode = \"ccm\" }\ndash = { take_over = true, tls = \"required\" }";
    let plan = Case::using(settings).plan();
    let refused: Vec<&str> = plan.steps.iter().map(|step| step.id.as_str()).collect();
    let all = ["dash.take_over", "dash.tls"];
    assert_eq!(refused, all.map(|key| format!("refuse.policy-value-not-carried-out.{key}")));
    let StepKind::Refuse { exit, text, .. } = &plan.steps[0].what else { panic!("{:?}", plan.steps[0]) };
    assert_eq!(*exit, Exit::Impossible);
    assert!(text.contains("`dash.take_over = true` (line 13)"), "{text}");
}

#[test]
fn the_control_mode_follows_from_policy_certificate_and_version() {
    let certificate = |it: Result<&str, &str>| Some(it.map(str::to_owned).map_err(str::to_owned));
    let acm = "amt = { control_mode = \"acm\", certificate = \"file:/c.pem\" }";
    let either = "amt = { control_mode = \"acm-or-ccm\", certificate = \"file:/c.pem\" }";
    for (settings, held, amt, steps) in [
        ("amt = { control_mode = \"ccm\" }", None, "16.0.15", vec!["amt.setup-ccm"]),
        (acm, certificate(Ok("CN=amt.example.com")), "16.0.15", vec!["amt.setup-acm"]),
        (acm, certificate(Ok("CN=amt.example.com")), "7.0.0", vec!["amt.setup-acm"]),
        (acm, certificate(Ok("CN=amt.example.com")), "6.2.61", vec!["refuse.acm-not-possible"]),
        (acm, certificate(Err("no such file")), "16.0.15", vec!["refuse.acm-not-possible"]),
        (acm, None, "16.0.15", vec!["refuse.acm-not-possible"]),
        (either, certificate(Ok("CN=amt.example.com")), "16.0.15", vec!["amt.setup-acm"]),
        (either, certificate(Ok("CN=amt.example.com")), "6.2.61", vec!["amt.setup-ccm"]),
        (either, certificate(Err("no such file")), "16.0.15", vec!["amt.setup-ccm"]),
    ] {
        let case =
            Case::using(settings).fact("intel.amt.version", amt).context(|it| it.certificate = held.clone());
        assert_eq!(case.steps(), steps, "{settings} {held:?} {amt}");
        // The lesser mode is never taken silently.
        let told =
            case.plan().warnings.iter().any(|warning| warning.contains("instead of admin control mode"));
        assert_eq!(told, settings == either && steps == ["amt.setup-ccm"], "{settings} {held:?} {amt}");
    }
}

#[test]
fn settings_follow_activation_and_a_later_run_wants_their_proof() {
    let wished = "amt = { sol = true, kvm = false, clock = true, consent = \"all\" }";
    let plan = Case::using(wished).plan();
    let StepKind::AmtSetupCcm { settings } = &plan.steps[0].what else { panic!("{:?}", plan.steps) };
    assert_eq!(settings.words(), ["clock = true", "sol = true", "kvm = false", "consent = all"]);
    assert!(plan.steps[0].reason.contains("with clock = true, sol = true"), "{}", plan.steps[0].reason);
    let ours = |settings: &[&str]| {
        let settings = settings.iter().map(|it| (*it).to_owned()).collect();
        Case::using(wished)
            .amt("post", "ccm")
            .ours(1)
            .history(|history| history.amt.as_mut().unwrap().settings = settings)
    };
    assert_eq!(ours(&["clock = true", "sol = true", "kvm = false"]).steps(), ["amt.confirm"]);
    assert_eq!(ours(&["clock = true", "sol = true", "kvm = true"]).steps(), ["refuse.amt-incomplete"]);
    assert_eq!(ours(&[]).steps(), ["refuse.amt-incomplete"]);
    for (settings, refusal) in [
        ("amt = { consent = \"none\" }", "refuse.not-in-ccm.amt.consent"),
        ("amt = { mebx = true }", "refuse.not-in-ccm.amt.mebx"),
    ] {
        assert_eq!(Case::using(settings).steps(), [refusal]);
    }
    let mut no_ca = Case::using("amt = { tls = \"required\", tls_ca = \"file:/ca.pem\" }");
    assert_eq!(no_ca.steps(), ["amt.setup-ccm"]);
    let service =
        "amt = { tls = \"required\", tls_ca_url = \"https://ca\", tls_ca_trust = \"file:/roots.pem\" }";
    assert_eq!(Case::using(service).steps(), ["amt.setup-ccm"]);
    no_ca.context.tls_ca_unusable = Some("no such file".to_owned());
    assert_eq!(no_ca.steps(), ["refuse.tls-ca-unusable"]);
    assert_eq!(
        Case::using("amt = { hostname = true }").fact("host.name", "unknown").steps(),
        ["refuse.hostname-unknown"]
    );
    let slim = Case::using("amt = { kvm = true }").fact("intel.amt.verdict", "standard-manageability");
    assert_eq!(slim.steps(), ["refuse.no-kvm.amt.kvm"]);
}

/// A clock that cannot be right sets no other, and dates no certificate.
#[test]
fn an_impossible_clock_is_not_given_to_amt() {
    let at = |wishes: &str, now: i64| {
        let mut case = Case::using(&format!("amt = {{ control_mode = \"ccm\"{wishes} }}")).amt("pre", "none");
        (case.context.now, case.context.clock_trusted) = (now, false);
        case.steps()
    };
    for now in [0, 1_735_689_599, 1 << 32, i64::MIN] {
        for wishes in [", clock = true", ", tls = \"required\""] {
            assert_eq!(at(wishes, now), ["refuse.clock-impossible"], "{wishes} {now}");
        }
        assert_eq!(at(", sol = true", now), ["amt.setup-ccm"], "{now}");
    }
    assert_eq!(at(", clock = true", 1_735_689_600), ["amt.setup-ccm"]);
}

#[test]
fn a_known_credential_opens_what_a_password_opens_and_no_more() {
    let known = |case: Case| case.context(|it| it.known_credential = true);
    let rotating = |case: Case| known(case).context(|it| it.rotate = true);
    let open = |case: Case, rotation: bool| {
        case.open(2, true).history(|history| history.open.as_mut().unwrap().rotation = rotation)
    };
    let new = || Case::using("");
    let ours = || new().amt("post", "ccm").ours(1);
    let wishing = || Case::using("amt = { sol = true }").amt("post", "ccm").ours(1);
    let lost = |case: Case| case.history(|history| history.amt.as_mut().unwrap().sealed = false);
    let taking =
        |mode: &str| Case::using(&format!("amt = {{ take_over = true, control_mode = \"{mode}\" }}"));
    for (case, steps) in [
        // Nothing to do with it: no login is tried.
        (known(ours()), vec!["amt.confirm"]),
        (known(new()), vec!["amt.setup-ccm"]),
        (known(wishing()), vec!["amt.complete"]),
        (known(lost(ours())), vec!["amt.complete"]),
        (rotating(ours()), vec!["amt.rotate"]),
        (rotating(wishing()), vec!["amt.rotate"]),
        // Without it, the flag alone asks for nothing.
        (ours().context(|it| it.rotate = true), vec!["amt.confirm"]),
        (known(new().amt("post", "acm").open(1, true)), vec!["amt.complete"]),
        (rotating(new().amt("post", "acm").open(1, true)), vec!["amt.rotate"]),
        // Client control mode goes back without a password, unless it had one before.
        (known(new().amt("post", "ccm").open(1, true)), vec!["amt.undo", "amt.setup-ccm"]),
        (known(open(ours(), true)), vec!["amt.rotate"]),
        (open(ours(), true), vec!["refuse.indeterminate"]),
        (open(new().amt("post", "ccm"), true), vec!["refuse.indeterminate"]),
        // A new password that was never sent changed nothing.
        (
            ours().open(2, false).history(|history| history.open.as_mut().unwrap().rotation = true),
            vec!["amt.confirm"],
        ),
        (known(new().amt("post", "acm")), vec!["refuse.provisioned-by-others"]),
        (taking("acm-or-ccm").amt("post", "acm"), vec!["refuse.provisioned-by-others"]),
        (known(taking("acm-or-ccm").amt("post", "acm")), vec!["amt.take-over"]),
        (known(taking("acm-or-ccm").amt("post", "ccm")), vec!["amt.take-over"]),
        (known(taking("ccm").amt("post", "ccm")), vec!["amt.take-over"]),
        (known(taking("ccm").amt("post", "acm")), vec!["refuse.control-mode-not-as-policy"]),
        (known(taking("ccm").amt("in", "none")), vec!["refuse.provisioned-by-others"]),
        (known(taking("ccm").amt("post", "unknown")), vec!["refuse.provisioned-by-others"]),
        (known(taking("ccm").amt("post", "ccm").fact("intel.amt.version", "19.0.0")), vec!["amt.take-over"]),
        (known(new().amt("post", "acm").ours(1)), vec!["refuse.control-mode-drift"]),
        (
            rotating(ours()).context(|it| it.escrow_not_durable = Some("tmpfs".to_owned())),
            vec!["refuse.escrow-not-durable"],
        ),
    ] {
        assert_eq!(case.steps(), steps, "{:?} {:?} {:?}", case.detection.facts, case.history, case.context);
    }
    let (_, _, text) = open(ours(), true).refusal();
    assert!(text.contains("amt.2.0000000000000000.age, amt.1.0000000000000000.age"), "{text}");
    let (_, _, text) = known(new().amt("post", "acm")).refusal();
    assert!(text.contains("`amt.take_over = true`"), "{text}");
    let (_, _, text) = new().amt("in", "none").refusal();
    assert!(text.contains("begun and not ended"), "{text}");
}

#[test]
fn what_is_held_is_not_written_again() {
    let case = Case::using("amt = { sol = true, kvm = false, clock = true, tls = \"required\" }");
    let wanted = case.policy.rules[0].amt().settings;
    assert!(wanted.beyond(&wanted.words()).is_empty());
    assert_eq!(wanted.beyond(&[]), wanted);
    let held = ["sol = false", "kvm = false", "tls = optional"].map(str::to_owned);
    assert_eq!(wanted.beyond(&held).words(), ["clock = true", "sol = true", "tls = required"]);
}

#[test]
fn refusals_of_the_policy_come_before_any_call() {
    let using = || Case::using("").own_recipients().live();
    let neutralizing = || Case::neutralizing("[\"soft-disable\"]").image(SoftDisable::Possible).live();
    let unsigned = |case: Case| case.context(|it| it.trust = PolicyTrust::Unsigned);
    let late = |case: Case| case.context(|it| it.now = 1_830_000_000); // 2027-12-28
    let untrusted = |case: Case| case.context(|it| it.clock_trusted = false);
    let weak = |case: Case| case.context(|it| it.weak_id = true);
    let seen =
        |case: Case, serial, sha256: &str| case.history(|it| it.policy = Some((serial, sha256.to_owned())));
    for (case, exit, cause) in [
        (unsigned(using()), Exit::PolicyRefused, Some("policy-unsigned")),
        (unsigned(neutralizing()), Exit::PolicyRefused, Some("policy-unsigned")),
        (unsigned(Case::new("").live()), Exit::Satisfied, None),
        (unsigned(using().context(|it| it.root = RootKind::Simulated)), Exit::Satisfied, None),
        (late(using()), Exit::PolicyRefused, Some("policy-expired")),
        (late(Case::new("")), Exit::PolicyRefused, Some("policy-expired")),
        (untrusted(late(using())), Exit::Satisfied, None),
        (weak(using()), Exit::Impossible, Some("weak-device-id")),
        (weak(neutralizing()), Exit::Impossible, Some("weak-device-id")),
        (weak(Case::new("")), Exit::Satisfied, None),
        (seen(using(), 8, "cc"), Exit::PolicyRefused, Some("policy-rolled-back")),
        (seen(Case::new(""), 8, "cc"), Exit::PolicyRefused, Some("policy-rolled-back")),
        (seen(using(), 7, "cc"), Exit::PolicyRefused, Some("policy-serial-reused")),
        (seen(using(), 7, "AA"), Exit::Satisfied, None),
        (seen(using(), 6, "cc"), Exit::Satisfied, None),
        (
            using().context(|it| it.escrow_not_durable = Some("tmpfs".to_owned())),
            Exit::EscrowNotDurable,
            Some("escrow-not-durable"),
        ),
        (
            using().amt("post", "ccm").ours(1).context(|it| it.escrow_not_durable = Some("tmpfs".to_owned())),
            Exit::Satisfied,
            None,
        ),
        (Case::new("").context(|it| it.escrow_not_durable = Some("tmpfs".to_owned())), Exit::Satisfied, None),
    ] {
        match cause {
            Some(cause) => assert_eq!((case.refusal().0, case.refusal().1.as_str()), (exit, cause)),
            None => assert!(!case.plan().refused(), "{:?}", case.plan()),
        }
    }
    assert!(unsigned(using()).refusal().2.contains("--allow-unsigned"));
    let warned = untrusted(late(using())).plan();
    assert!(warned.warnings.iter().any(|it| it.contains("2027-06-30")), "{:?}", warned.warnings);
}

#[test]
fn published_recipients_are_for_simulated_machines() {
    assert_eq!(Case::using("").steps(), ["amt.setup-ccm"]);
    assert_eq!(
        Case::using("").live().steps(),
        ["refuse.example-recipient.ops", "refuse.example-recipient.safe"]
    );
    assert_eq!(Case::new("").live().steps(), ["record"]);
}

#[test]
fn an_expired_recipient_is_refused_under_a_trusted_clock() {
    let late = || {
        let mut case = Case::using("").context(|it| it.now = 1_850_000_000); // 2028-08-16
        case.policy.not_after = None;
        case
    };
    assert_eq!(late().steps(), ["refuse.recipient-expired.ops"]);
    let untrusted = late().context(|it| it.clock_trusted = false);
    assert_eq!(untrusted.steps(), ["amt.setup-ccm"]);
    assert_eq!(untrusted.plan().warnings.len(), 1);
}

#[test]
fn every_refusal_that_applies_is_listed() {
    let case = Case::using("dash = { take_over = true }")
        .live()
        .fact("intel.amt.verdict", "absent")
        .history(|it| it.policy = Some((9, "cc".to_owned())))
        .context(|it| {
            it.trust = PolicyTrust::Unsigned;
            it.weak_id = true;
        });
    assert_eq!(
        case.steps(),
        [
            "refuse.policy-rolled-back",
            "refuse.policy-unsigned",
            "refuse.example-recipient.ops",
            "refuse.example-recipient.safe",
            "refuse.weak-device-id",
            "refuse.policy-value-not-carried-out.dash.take_over",
            "refuse.amt-absent"
        ]
    );
}

#[test]
fn a_tie_that_only_the_machine_shows_is_refused() {
    let case = Case::new(
        "[[rule]]\nid = \"serial\"\nmatch = { serial = \"5CG1234ABC\" }\naction = \"use\"\n\
         [[rule]]\nid = \"uuid\"\nmatch = { uuid = \"4C4C4544-0042-3510-8052-B4C04F4D3933\" }\naction = \"ignore\"\n",
    );
    let (exit, cause, text) = case.refusal();
    assert_eq!((exit, cause.as_str()), (Exit::PolicyRefused, "ambiguous-rules"));
    assert!(text.contains("`serial` (line 8)") && text.contains("`uuid` (line 12)"), "{text}");
    assert_eq!(case.plan().action, Action::Ignore);
    assert_eq!(case.clone().fact("host.uuid", "unknown").plan().rule.as_deref(), Some("serial"));
}

#[test]
fn drift_and_rules_that_could_not_be_judged_are_told() {
    let drifted = Case::using("").ours(3).plan();
    assert!(drifted.warnings.iter().any(|it| it.starts_with("drift: ")), "{:?}", drifted.warnings);
    let rules = "[[rule]]\nid = \"opsec\"\nmatch = { serial = \"X\" }\naction = \"neutralize\"\n\
                 neutralize = { methods = [\"report-only\"] }\n\
                 [[rule]]\nid = \"all\"\nmatch = { platform = \"intel\" }\naction = \"use\"\n";
    let unsure = Case::new(rules).fact("host.serial", "unknown").plan();
    assert_eq!(unsure.rule.as_deref(), Some("all"));
    assert!(
        unsure.warnings.iter().any(|it| it.contains("rule `opsec` was not applied: `serial` is unknown"))
    );
    assert!(unsure.warnings.iter().all(|it| !it.contains('\u{1b}')), "foreign text is escaped");
    assert_eq!(Case::new(rules).plan().warnings, Vec::<String>::new());
}

#[test]
fn texts_of_devices_are_escaped_in_the_plan() {
    let plan = Case::using("").amt("unknown", "unknown").plan();
    assert!(plan.steps[0].reason.contains("nobody\\u{1b}[2J knows"), "{}", plan.steps[0].reason);
}

#[test]
fn an_ssh_recipient_is_refused_before_any_call() {
    let mut case = Case::using("");
    case.policy.recipients[0].key =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl".into();
    let name = case.policy.recipients[0].name.clone();
    assert_eq!(case.steps(), [format!("refuse.policy-value-not-carried-out.{name}")]);
}

#[test]
fn what_can_be_done_about_a_lost_credential_hangs_on_the_mode() {
    for (mode, way) in [("ccm", "over MEI"), ("acm", "in MEBx")] {
        let lost = Case::using("amt = { control_mode = \"acm-or-ccm\" }").amt("post", mode).ours(1);
        let lost = lost.history(|it| {
            let ours = it.amt.as_mut().unwrap();
            (ours.sealed, ours.control_mode) = (false, mode.to_owned());
        });
        let (_, _, text) = lost.refusal();
        assert!(text.ends_with(&format!("undone {way}")), "{text}");
    }
}

#[test]
fn what_is_open_on_another_amt_of_ours_is_not_ended_by_its_generation() {
    let open = |generation: u32, realm: &str, rotation: bool| {
        let case = Case::using("").amt("post", "ccm").ours(3).open(generation, true);
        case.history(|history| {
            let open = history.open.as_mut().unwrap();
            (open.realm, open.rotation) = (realm.to_owned(), rotation);
        })
    };
    for (generation, realm, rotation, steps) in [
        (2, "Digest:00", true, vec!["amt.confirm"]),
        (2, "Digest:00", false, vec!["amt.confirm"]),
        (4, "Digest:00", true, vec!["refuse.indeterminate"]),
        // By two media: which of the two passwords came last, nobody knows. What was set up is proven by either.
        (3, "Digest:00", true, vec!["refuse.indeterminate"]),
        (3, "Digest:00", false, vec!["amt.confirm"]),
        (2, "Digest:01", true, vec!["refuse.indeterminate"]),
        (3, "Digest:01", true, vec!["refuse.indeterminate"]),
        (2, "Digest:01", false, vec!["amt.undo", "amt.setup-ccm"]),
    ] {
        let case = open(generation, realm, rotation);
        assert_eq!(case.steps(), steps, "{generation} {realm} {rotation}");
        assert_eq!(case.history.is_in_doubt(), realm != "Digest:00");
    }
}

#[test]
fn what_a_run_of_ours_unprovisioned_is_not_called_drift() {
    let warned = |leaving: Option<&str>| {
        let case = Case::using("").ours(1).history(|it| it.leaving = leaving.map(str::to_owned));
        case.plan().warnings.join("; ")
    };
    assert!(warned(None).contains("drift: event e1-proof"), "{}", warned(None));
    let ours = warned(Some("Digest:00"));
    assert!(ours.contains("our journal") && !ours.contains("drift"), "{ours}");
    assert!(warned(Some("Digest:01")).contains("drift"));
}
