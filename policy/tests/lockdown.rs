//! `lockdown`: on which AMT it is planned, on which it is not and why, and what the report says of it.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "all of this is test code")]

mod case;

use case::Case;
use oob_policy::{
    Channel, ChannelState, Exit, LockedDown, Outcome, Proof, Report, Reversibility, Scope, Severity,
    SoftDisable, Status, StepKind, Value,
};
use proptest::prelude::*;
use proptest::sample::select;

const LOCKDOWN: &str = "[\"lockdown\"]";
const LADDER: &str = "[\"soft-disable\", \"lockdown\", \"report-only\"]";

fn off_by(event: &str) -> LockedDown {
    LockedDown { event: event.to_owned(), mebx_escrow: None }
}

/// Why a machine is not locked down.
fn skipped(case: &Case) -> String {
    let (exit, cause, text) = case.refusal();
    assert_eq!((exit, cause.as_str()), (Exit::Impossible, "no-method-applies"), "{text}");
    text
}

fn locking() -> Case {
    Case::neutralizing(LOCKDOWN).fact("intel.amt.version", "16.0.15.1735")
}

#[test]
fn unprovisioned_amt_from_12_on_is_switched_off_and_mhc_helps_from_16_1() {
    for (version, switchable) in [
        ("12.0.67.1579", false),
        ("15.0.23.1706", false),
        ("16.0.15", false),
        ("16.1.27.2192", true),
        ("18.0.5.1913", true),
        ("20.0", true),
    ] {
        for verdict in ["capable", "standard-manageability"] {
            let plan = locking().fact("intel.amt.version", version).fact("intel.amt.verdict", verdict).plan();
            let [step] = plan.steps.as_slice() else { panic!("{:?}", plan.steps) };
            assert_eq!((step.id.as_str(), step.channel), ("neutralize.lockdown", Some(Channel::Amt)));
            assert!(matches!(step.what, StepKind::AmtLockdown { mhc, .. } if mhc == switchable), "{version}");
            assert!(step.precondition.contains("not provisioned") && step.reason.contains("MEBx"));
            assert_eq!(step.reversibility, Reversibility::WithCredential);
        }
    }
}

#[test]
fn what_the_firmware_would_refuse_is_not_sent() {
    for (name, value, why) in [
        ("intel.amt.version", "11.8.50.3425", "came with 12.0"),
        ("intel.amt.version", "unknown", "version of AMT is not known"),
        ("intel.amt.version", "sixteen", "version of AMT is not known"),
        ("intel.amt.provisioning", "post", "AMT is provisioned (state post"),
        ("intel.amt.provisioning", "in", "AMT is provisioned (state in"),
        ("intel.amt.provisioning", "unknown", "whether AMT is provisioned is not known"),
        ("intel.amt.uuid", "11111111-0042-3510-8052-b4c04f4d3933", "not this machine's AMT"),
        ("intel.amt.control_mode", "ccm", "control mode ccm"),
        ("intel.amt.control_mode", "acm", "control mode acm"),
        ("intel.amt.control_mode", "unknown", "whether AMT is provisioned is not known"),
        ("intel.amt.verdict", "absent", "no AMT"),
        ("intel.amt.verdict", "absent-or-disabled", "not known: absent-or-disabled"),
        ("intel.amt.verdict", "unknown", "not known: unknown"),
        ("host.cpu.vendor", "amd", "AMD PSP"),
    ] {
        let text = skipped(&locking().fact(name, value));
        assert!(text.contains(why) && !text.contains('\u{1b}'), "{name} {value}: {text}");
    }
}

#[test]
fn amt_that_is_off_stays_so() {
    let off = locking().fact("intel.amt.verdict", "disabled").amt("unknown", "unknown");
    let ours = |case: Case| case.history(|it| it.locked_down = Some(off_by("e1-off")));
    let hidden = ours(locking().fact("intel.amt.verdict", "absent-or-disabled").amt("unknown", "unknown"));
    for (case, event) in [(off.clone(), None), (ours(off), Some("e1-off")), (hidden, Some("e1-off"))] {
        let plan = case.plan();
        let [step] = plan.steps.as_slice() else { panic!("{:?}", plan.steps) };
        assert_eq!(
            (step.id.as_str(), step.reversibility),
            ("neutralize.locked-down", Reversibility::ReadOnly)
        );
        assert!(matches!(&step.what, StepKind::AmtLockedDown { event: it, .. } if it.as_deref() == event));
    }
    // What MEBx took is told of where a run of ours switched it off, and not where somebody else did.
    for (ours, file) in [(true, Some("oob-amt-mebx-1-9.age")), (false, None)] {
        let of_ours =
            locking().fact("intel.amt.verdict", "disabled").amt("unknown", "unknown").history(|it| {
                it.mebx = Some("oob-amt-mebx-1-9.age".to_owned());
                it.switching_off = ours;
            });
        let plan = of_ours.plan();
        let StepKind::AmtLockedDown { mebx_escrow, .. } = &plan.steps[0].what else {
            panic!("{:?}", plan.steps)
        };
        assert_eq!(mebx_escrow.as_deref(), file);
    }
    // Somebody enabled it again: that is said, and it is switched off again.
    let again = ours(locking()).plan();
    assert!(matches!(again.steps[0].what, StepKind::AmtLockdown { .. }), "{:?}", again.steps);
    assert!(again.warnings.iter().any(|it| it.contains("e1-off") && it.contains("enabled it again")));
}

#[test]
fn it_has_its_place_in_the_ladder() {
    let image = |strap| Case::neutralizing(LADDER).image(strap);
    assert_eq!(image(SoftDisable::Possible).steps(), ["neutralize.stage-soft-disable"]);
    let plan = image(SoftDisable::Refused("odd strap".to_owned())).plan();
    assert_eq!(plan.steps[0].id, "neutralize.lockdown");
    assert!(
        plan.steps[0].reason.contains("skipped before: soft-disable: odd strap"),
        "{}",
        plan.steps[0].reason
    );
    let first = Case::neutralizing("[\"lockdown\", \"soft-disable\"], read_flash = true");
    assert_eq!(first.steps(), ["neutralize.lockdown"]);
    assert_eq!(first.amt("post", "ccm").steps(), ["neutralize.read-flash"]);
    assert_eq!(Case::neutralizing(LADDER).amt("post", "acm").steps(), ["neutralize.report-only"]);
}

fn ended(step: &str, status: Status, proof: Option<&str>) -> Outcome {
    Outcome {
        step: step.to_owned(),
        status,
        changed: status == Status::Done,
        exit: Exit::Impossible,
        cause: Some("default-mebx-password".to_owned()),
        text: "AMT is switched off. not-satisfied: default MEBx password".to_owned(),
        evidence: proof.map(|proof| ("proof".to_owned(), Value::from(proof))).into_iter().collect(),
    }
}

#[test]
fn the_report_says_off_and_what_is_missing() {
    let off = locking().fact("intel.amt.verdict", "disabled").amt("unknown", "unknown");
    for (case, outcome, confidence) in [
        (locking(), ended("neutralize.lockdown", Status::Done, Some("read-back")), Proof::Proven),
        (locking(), ended("neutralize.lockdown", Status::Done, Some("client-gone")), Proof::Detected),
        (off, ended("neutralize.locked-down", Status::AlreadySo, None), Proof::Detected),
    ] {
        let changed = outcome.changed;
        let report = case.report(&[outcome]);
        let amt = &report.capability.channels[0];
        assert_eq!((amt.state, amt.confidence), (ChannelState::Disabled, confidence));
        assert!(amt.can.is_empty());
        assert_eq!((report.exit, report.reason.as_str()), (Exit::Impossible, "default-mebx-password"));
        assert_eq!(report.changed, changed);
        assert_eq!(report.verdict.contains("nothing was changed"), !changed, "{}", report.verdict);
        assert!(report.verdict.contains("default MEBx password"), "{}", report.verdict);
        let find = |id: &str| report.findings.iter().find(|it| it.id == id);
        assert_eq!(find("amt-off-default-mebx").unwrap().severity, Severity::Risk);
        assert!(find("amt-default-credentials").is_none(), "nobody can take it over as long as it is off");
    }
}

proptest! {
    /// Nothing but unprovisioned AMT of a known version from 12 on is ever told to switch itself off.
    #[test]
    fn only_what_the_reference_describes_is_switched_off(
        verdict in select(vec!["capable", "standard-manageability", "absent", "absent-or-disabled", "disabled", "unknown", ""]),
        provisioning in select(vec!["pre", "in", "post", "unknown", ""]),
        mode in select(vec!["none", "ccm", "acm", "unknown", ""]),
        version in select(vec!["11.8.50.3425", "12.0.0", "16.0.15", "16.1.1.1", "19.0", "unknown", "x", "9999999999.1"]),
        ours in any::<bool>(),
    ) {
        let case = locking().fact("intel.amt.verdict", verdict).amt(provisioning, mode).fact("intel.amt.version", version);
        let case = case.history(|it| it.locked_down = ours.then(|| off_by("e1")));
        let locks = case.plan().steps.iter().any(|step| matches!(step.what, StepKind::AmtLockdown { .. }));
        let may = ["capable", "standard-manageability"].contains(&verdict)
            && (provisioning, mode) == ("pre", "none")
            && ["12.0.0", "16.0.15", "16.1.1.1", "19.0"].contains(&version);
        prop_assert_eq!(locks, may);
    }
}

/// With a provisioning certificate that can be used.
fn certified() -> Case {
    Case::neutralizing("[\"lockdown\", \"report-only\"], certificate = \"file:/c.pem\"")
        .fact("intel.amt.version", "16.0.15.1735")
        .context(|it| it.certificate = Some(Ok("4 certificates".to_owned())))
}

fn mebx_known(case: Case) -> Case {
    case.history(|it| it.mebx = Some("amt-mebx.1.0000000000000000.age".to_owned()))
}

fn known(case: Case) -> Case {
    case.context(|it| it.known_credential = true)
}

const WHOLE: [&str; 3] = ["amt.setup-acm", "amt.unprovision", "neutralize.lockdown"];

#[test]
fn with_a_certificate_mebx_gets_a_password_of_its_own_first() {
    let acm = |case: Case| case.amt("post", "acm");
    let ours =
        |case: Case| acm(case).ours(1).history(|it| it.amt.as_mut().unwrap().control_mode = "acm".to_owned());
    let unusable = |case: Case| case.context(|it| it.certificate = Some(Err("no such file".to_owned())));
    let off = |case: Case| case.fact("intel.amt.verdict", "disabled").amt("unknown", "unknown");
    let gone = |case: Case, mode: &str| {
        case.ours(1).history(|it| it.amt.as_mut().unwrap().control_mode = mode.to_owned())
    };
    for (case, steps) in [
        (certified(), &WHOLE[..]),
        // Set before, and nobody enabled AMT since.
        (mebx_known(certified()), &["neutralize.lockdown"]),
        (mebx_known(locking()), &["neutralize.lockdown"]),
        (mebx_known(certified()).history(|it| it.locked_down = Some(off_by("e1"))), &WHOLE),
        // Unprovisioned by others, who may have been in MEBx; by a run of ours that died then; over MEI, without MEBx.
        (gone(mebx_known(certified()), "acm"), &WHOLE),
        (
            gone(mebx_known(certified()), "acm").history(|it| it.leaving = Some("Digest:00".to_owned())),
            &["neutralize.lockdown"],
        ),
        (gone(mebx_known(certified()), "ccm"), &["neutralize.lockdown"]),
        // Never the lesser in its stead.
        (unusable(certified()), &["neutralize.report-only"]),
        (certified().fact("intel.amt.version", "19.0.5.1966"), &WHOLE),
        (certified().fact("intel.amt.version", "11.8.50"), &["neutralize.report-only"]),
        // Left behind by a run of ours.
        (acm(certified()).open(1, true), &["refuse.indeterminate"]),
        (known(acm(certified()).open(1, true)), &["amt.complete", "amt.unprovision", "neutralize.lockdown"]),
        (ours(certified()), &["refuse.credential-needed"]),
        (known(ours(certified())), &["amt.complete", "amt.unprovision", "neutralize.lockdown"]),
        (known(ours(locking())), &["refuse.no-method-applies"]),
        // The proof of that setup, or of a later one, ended what was open.
        (ours(certified()).open(1, true), &["refuse.credential-needed"]),
        (ours(certified()).open(2, true), &["refuse.indeterminate"]),
        // A new password for what was there before; admin control mode that our proof does not know.
        (
            known(acm(certified()).open(1, true)).history(|it| it.open.as_mut().unwrap().rotation = true),
            &["neutralize.report-only"],
        ),
        (known(acm(certified()).ours(1)), &["neutralize.report-only"]),
        // By others, or in another state.
        (known(acm(certified())), &["neutralize.report-only"]),
        (acm(certified()).open(1, false), &["neutralize.report-only"]),
        (known(certified().amt("post", "ccm").ours(1)), &["neutralize.report-only"]),
        (off(certified()), &["neutralize.locked-down"]),
        (
            certified().context(|it| it.escrow_not_durable = Some("tmpfs".to_owned())),
            &["refuse.escrow-not-durable"],
        ),
    ] {
        assert_eq!(case.steps(), steps, "{:?} {:?}", case.detection.facts, case.history);
    }
    assert!(!certified().live().own_recipients().plan().refused());
    assert_eq!(certified().live().plan().steps[0].id, "refuse.example-recipient.ops");
    assert!(!locking().live().plan().refused(), "without passwords nobody has to open any");
}

/// What a run of ours left half done goes back first, where MEI takes it back without a password.
#[test]
fn what_a_run_of_ours_left_is_ended_first() {
    const UNDONE: [&str; 4] = ["amt.undo", "amt.setup-acm", "amt.unprovision", "neutralize.lockdown"];
    const STOPPED: [&str; 4] = ["amt.stop", "amt.setup-acm", "amt.unprovision", "neutralize.lockdown"];
    const REPORTED: [&str; 1] = ["neutralize.report-only"];
    let in_19 = |mode: &str| certified().fact("intel.amt.version", "19.0.5.1966").amt("in", mode);
    let rotating = |case: Case| case.history(|it| it.open.as_mut().unwrap().rotation = true);
    let made_mebx =
        |case: Case| case.history(|it| it.mebx_open = Some("amt-mebx.2.0000000000000000.age".to_owned()));
    let leaving = |case: Case| case.history(|it| it.leaving = Some("Digest:00".to_owned()));
    for (case, steps) in [
        // From AMT 19 on, between the announcement and the commit.
        (in_19("none").open(1, true), &UNDONE[..]),
        (in_19("acm").open(1, true), &UNDONE),
        (known(in_19("acm").open(1, true)), &UNDONE),
        (in_19("ccm").open(1, true), &UNDONE),
        (certified().amt("in", "none").open(1, true), &UNDONE),
        // `use` in client control mode, before policy asked for something else.
        (certified().amt("post", "ccm").open(1, true), &UNDONE),
        (locking().amt("post", "ccm").open(1, true), &["amt.undo", "neutralize.lockdown"]),
        (mebx_known(certified()).amt("post", "ccm").open(1, true), &["amt.undo", "neutralize.lockdown"]),
        // That run may have given MEBx another one.
        (made_mebx(mebx_known(in_19("none")).open(1, true)), &UNDONE),
        // Not ours, not sent, with a password before, or for its admin alone.
        (in_19("none"), &REPORTED),
        (in_19("none").open(1, false), &REPORTED),
        (rotating(in_19("none").open(1, true)), &REPORTED),
        (certified().amt("in", "acm").open(1, true), &REPORTED),
        // Nor where the method cannot be carried out.
        (
            in_19("none").open(1, true).context(|it| it.certificate = Some(Err("no file".to_owned()))),
            &REPORTED,
        ),
        (in_19("none").open(1, true).fact("intel.amt.version", "unknown"), &REPORTED),
        // Unprovisioning that stopped half way.
        (leaving(in_19("none")), &STOPPED),
        (leaving(certified().amt("in", "none")).open(1, true), &STOPPED),
        (leaving(mebx_known(certified())).amt("in", "none"), &["amt.stop", "neutralize.lockdown"]),
        (leaving(locking()).amt("in", "none").ours(1), &["amt.stop", "neutralize.lockdown"]),
        (leaving(certified()).amt("in", "ccm"), &REPORTED),
        (leaving(certified()).amt("post", "ccm"), &REPORTED),
    ] {
        let plan = case.plan();
        let ids: Vec<&str> = plan.steps.iter().map(|step| step.id.as_str()).collect();
        assert_eq!(ids, steps, "{:?} {:?}", case.detection.facts, case.history);
        let first = &plan.steps[0];
        assert!(first.reason.contains("asks to neutralize"), "{}", first.reason);
        match &first.what {
            StepKind::AmtUndo { generation } => assert_eq!(*generation, 1),
            StepKind::AmtUnprovision { scope, login, realm } => {
                assert_eq!((*scope, *login, realm.as_deref()), (Scope::Full, false, Some("Digest:00")));
            }
            _ => assert_eq!(steps, REPORTED),
        }
    }
}

#[test]
fn the_steps_say_what_each_is_for() {
    let plan = certified().plan();
    assert!(
        matches!(&plan.steps[0].what, StepKind::AmtSetupAcm { or_ccm: false, settings } if settings.words() == ["mebx = true"])
    );
    assert!(matches!(&plan.steps[1].what, StepKind::AmtUnprovision { login: true, realm: None, .. }));
    assert!(matches!(plan.steps[2].what, StepKind::AmtLockdown { own_mebx: true, .. }));
    let left = || certified().amt("post", "acm").open(1, true);
    for (case, words) in [(left(), &["mebx = true"][..]), (mebx_known(left()), &[])] {
        let plan = known(case).plan();
        let StepKind::AmtComplete { realm, settings } = &plan.steps[0].what else {
            panic!("{:?}", plan.steps)
        };
        assert_eq!(
            (realm.as_str(), settings.words()),
            ("Digest:00", words.iter().map(|it| (*it).to_owned()).collect())
        );
        assert!(
            matches!(&plan.steps[1].what, StepKind::AmtUnprovision { realm: Some(it), .. } if it == "Digest:00")
        );
    }
    let (_, _, text) = left().refusal();
    assert!(
        text.contains("amt.2.0000000000000000.age") && text.contains("--known-credential FILE"),
        "{text}"
    );
    assert!(matches!(
        mebx_known(locking()).plan().steps[0].what,
        StepKind::AmtLockdown { own_mebx: true, .. }
    ));
    let lost =
        mebx_known(locking()).ours(1).history(|it| it.amt.as_mut().unwrap().control_mode = "acm".to_owned());
    assert!(matches!(lost.plan().steps[0].what, StepKind::AmtLockdown { own_mebx: false, .. }));
}

#[test]
fn a_password_of_its_own_is_asserted_and_satisfies() {
    let step = |id: &str, evidence: &[(&str, &str)]| Outcome {
        step: id.to_owned(),
        status: Status::Done,
        changed: true,
        exit: Exit::Satisfied,
        cause: None,
        text: format!("{id} is done"),
        evidence: evidence.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect(),
    };
    let set_up =
        step("amt.setup-acm", &[("proof", "read-back"), ("control_mode", "acm"), ("escrow", "amt.1.x.age")]);
    let out = step("amt.unprovision", &[("proof", "read-back")]);
    let lock = step("neutralize.lockdown", &[("proof", "read-back"), ("mebx_escrow", "amt-mebx.1.x.age")]);
    let told = certified().report(&[set_up.clone(), out.clone(), lock.clone()]);
    let amt = &told.capability.channels[0];
    assert_eq!((amt.state, amt.confidence), (ChannelState::Disabled, Proof::Proven));
    assert_eq!((told.exit, told.reason.as_str()), (Exit::Satisfied, "satisfied"));
    assert!(told.verdict.contains("only `verify`"), "{}", told.verdict);
    let has = |report: &Report, id: &str| report.findings.iter().any(|it| it.id == id);
    assert!(has(&told, "mebx-password-asserted") && !has(&told, "amt-off-default-mebx"));
    // What fails on the way is told as what AMT is then.
    let failing = |mut outcome: Outcome, exit| {
        (outcome.status, outcome.exit, outcome.changed) = (Status::Failed, exit, false);
        outcome.evidence.clear();
        outcome
    };
    let told = certified().report(&[set_up.clone(), failing(out.clone(), Exit::DeviceFailed)]);
    assert_eq!(told.capability.channels[0].state, ChannelState::Verified, "ours, in admin control mode");
    let told = certified().report(&[set_up.clone(), failing(out.clone(), Exit::Indeterminate)]);
    assert_eq!(told.capability.channels[0].state, ChannelState::Unknown);
    let told = certified().report(&[set_up, out, failing(lock, Exit::DeviceFailed)]);
    assert_eq!(told.capability.channels[0].state, ChannelState::Present, "unprovisioned, and on");
    assert!(!has(&told, "amt-provisioned-by-others"));
}

/// What detection saw before is not what AMT is once that was taken back.
#[test]
fn what_was_taken_back_is_told_as_that() {
    let outcome = |id: &str, status, exit, evidence: &[(&str, &str)]| Outcome {
        step: id.to_owned(),
        status,
        changed: status == Status::Done,
        exit,
        cause: (status == Status::Failed).then(|| "test".to_owned()),
        text: format!("{id} is told"),
        evidence: evidence.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect(),
    };
    let done = |id: &str| outcome(id, Status::Done, Exit::Satisfied, &[("proof", "read-back")]);
    let failed = |id: &str, exit| outcome(id, Status::Failed, exit, &[]);
    let set_up = || {
        let evidence = [("proof", "read-back"), ("control_mode", "acm"), ("escrow", "amt.1.x.age")];
        outcome("amt.setup-acm", Status::Done, Exit::Satisfied, &evidence)
    };
    let left = || certified().amt("in", "none").open(1, true);
    for first in ["amt.undo", "amt.stop"] {
        for (then, state) in [
            (vec![done("neutralize.lockdown")], ChannelState::Disabled),
            (vec![failed("neutralize.lockdown", Exit::DeviceFailed)], ChannelState::Present),
            (vec![failed("amt.setup-acm", Exit::DeviceFailed)], ChannelState::Present),
            (vec![failed("amt.setup-acm", Exit::Indeterminate)], ChannelState::Unknown),
            (vec![set_up(), failed("amt.unprovision", Exit::DeviceFailed)], ChannelState::Verified),
            (vec![set_up(), done("amt.unprovision"), done("neutralize.lockdown")], ChannelState::Disabled),
        ] {
            let outcomes: Vec<Outcome> = [done(first)].into_iter().chain(then).collect();
            let report = left().report(&outcomes);
            assert_eq!(report.capability.channels[0].state, state, "{outcomes:#?}");
            let by_others = report.findings.iter().any(|it| it.id == "amt-provisioned-by-others");
            assert!(!by_others, "{outcomes:#?}");
        }
        let report = left().report(&[failed(first, Exit::Indeterminate)]);
        assert_eq!(report.capability.channels[0].state, ChannelState::Unknown);
    }
}
