//! What the report says after what was done: never more than was proven.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may panic

#[path = "../case/mod.rs"]
mod case;
mod posture;

use case::Case;
use oob_policy::{
    Channel, ChannelRecord, ChannelState, Exit, Fact, Outcome, PolicyTrust, Proof, Report, Severity,
    SoftDisable, Status, Value, refusal_outcomes,
};

fn outcome(step: &str, status: Status, exit: Exit, evidence: &[(&str, &str)]) -> Outcome {
    Outcome {
        step: step.to_owned(),
        status,
        changed: status == Status::Done,
        exit,
        cause: (exit != Exit::Satisfied).then(|| format!("{step}-failed")),
        text: format!("{step} ended"),
        evidence: evidence.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect(),
    }
}

fn record(report: &Report, channel: Channel) -> &ChannelRecord {
    report.capability.channels.iter().find(|it| it.channel == channel).unwrap()
}

fn findings(report: &Report) -> Vec<&str> {
    report.findings.iter().map(|it| it.id.as_str()).collect()
}

fn map(members: &[(&str, Value)]) -> Value {
    Value::Map(members.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
}

fn with(mut case: Case, name: &str, value: Value) -> Case {
    case.detection.facts.retain(|fact| fact.name != name);
    case.detection.facts.push(Fact::observed(name, value, "test"));
    case
}

#[test]
fn every_channel_has_one_record_in_order() {
    let report = Case::new("").report(&[]);
    let channels: Vec<&str> = report.capability.channels.iter().map(|it| it.channel.word()).collect();
    assert_eq!(
        channels,
        ["amt", "dash", "ipmi", "redfish", "watchdog", "pdu", "wol", "vps-api", "hypervisor-api"]
    );
    assert!(report.capability.channels.iter().all(|it| !it.reason.is_empty()));
    assert_eq!(
        (report.capability.summary.worst_case.as_str(), report.schema.as_str()),
        ("physical access", "oob-report/1")
    );
}

#[test]
fn only_what_was_read_back_is_proven() {
    let case = Case::using("");
    let escrow = ("escrow", "amt.1.00.age");
    for (evidence, state, confidence) in [
        (vec![escrow, ("proof", "read-back"), ("event", "e1-x")], ChannelState::Verified, Proof::Proven),
        (vec![escrow, ("proof", "none")], ChannelState::Provisioned, Proof::Detected),
        (vec![escrow], ChannelState::Provisioned, Proof::Detected),
    ] {
        let report = case.report(&[outcome("amt.setup-ccm", Status::Done, Exit::Satisfied, &evidence)]);
        let amt = record(&report, Channel::Amt);
        assert_eq!((amt.state, amt.confidence), (state, confidence));
        assert_eq!(
            (amt.control_mode.as_deref(), amt.credential.as_deref()),
            (Some("ccm"), Some("amt.1.00.age"))
        );
        assert_eq!(amt.can, ["power_on", "power_off", "reset", "power_cycle", "sensors"]);
        assert!(amt.reason.contains("user_consent"));
        let untried = "reachability from another machine and power actions not tried";
        assert!(amt.reason.contains(untried), "{}", amt.reason);
        assert_eq!(amt.reason.starts_with("credential proven locally; "), confidence == Proof::Proven);
        assert!(report.verdict.contains("nothing was tried from another machine"), "{}", report.verdict);
        assert_eq!(amt.reach, ["16992/http-digest"]);
        let summary = &report.capability.summary;
        assert_eq!(
            (summary.can_power_cycle, summary.can_see_console, summary.independent_paths),
            (true, false, 1)
        );
        assert!(report.changed && report.exit == Exit::Satisfied && report.reason == "satisfied");
        assert!(!findings(&report).contains(&"amt-default-credentials"));
    }
    let newer = case.fact("intel.amt.version", "16.1.25");
    let report = newer.report(&[outcome("amt.setup-ccm", Status::Done, Exit::Satisfied, &[])]);
    assert_eq!(record(&report, Channel::Amt).reach, ["16993/https-digest"]);
}

#[test]
fn a_second_run_says_detected_and_names_the_last_proof() {
    let case = Case::using("").amt("post", "ccm").ours(1);
    let report = case.report(&[outcome("amt.confirm", Status::AlreadySo, Exit::Satisfied, &[])]);
    let amt = record(&report, Channel::Amt);
    assert_eq!((amt.state, amt.confidence), (ChannelState::Provisioned, Proof::Detected));
    assert_eq!(
        (amt.last_proof.as_deref(), amt.credential.as_deref()),
        (Some("e1-proof"), Some("amt.1.0000000000000000.age"))
    );
    assert!(!report.changed && !findings(&report).contains(&"amt-provisioned-by-others"));
    assert!(amt.reason.contains("not tried"), "{}", amt.reason);
}

/// Of merged stores the capability record tells of the proof that the step confirmed.
#[test]
fn the_proof_that_was_confirmed_is_the_one_that_is_told() {
    let case = Case::using("").amt("post", "ccm").ours(3).history(|history| {
        let live = history.amt.clone().unwrap();
        let newest = history.amt.as_mut().unwrap();
        (newest.control_mode, newest.settings) = ("acm".to_owned(), vec!["mebx = true".to_owned()]);
        let (event, escrow) = ("e1-live".to_owned(), "amt.1.1111111111111111.age".to_owned());
        history.amt_older = vec![oob_policy::AmtOurs { event, escrow, generation: 1, ..live }];
    });
    let evidence = [("event", "e1-live")];
    let report = case.report(&[outcome("amt.confirm", Status::AlreadySo, Exit::Satisfied, &evidence)]);
    let amt = record(&report, Channel::Amt);
    assert_eq!(
        (amt.last_proof.as_deref(), amt.credential.as_deref(), amt.control_mode.as_deref()),
        (Some("e1-live"), Some("amt.1.1111111111111111.age"), Some("ccm"))
    );
    assert!(!findings(&report).contains(&"mebx-password-asserted"), "{:?}", findings(&report));
}

/// Admin control mode that lacks settings is ours all the same, in the run that left it so and in those after it.
#[test]
fn amt_left_incomplete_is_told_with_its_credential() {
    let incomplete = |step, evidence: &[(&str, &str)]| {
        let cause = Some("amt-incomplete".to_owned());
        Outcome { cause, ..outcome(step, Status::Failed, Exit::Drift, evidence) }
    };
    let escrow = "amt.1.0000000000000000.age";
    let mebx = "amt-mebx.1.0000000000000000.age";
    let proven = [("proof", "read-back"), ("control_mode", "acm"), ("escrow", escrow), ("mebx_escrow", mebx)];
    let first = Case::using("").report(&[incomplete("amt.setup-acm", &proven)]);
    let mut later = Case::using("").amt("post", "acm").ours(1);
    if let Some(ours) = &mut later.history.amt {
        (ours.control_mode, ours.mebx_escrow) = ("acm".to_owned(), Some(mebx.to_owned()));
    }
    let second = later.report(&[incomplete("refuse.amt-incomplete", &[])]);
    for (report, state) in [(first, ChannelState::Verified), (second, ChannelState::Provisioned)] {
        let amt = &report.capability.channels[0];
        assert_eq!((amt.state, amt.control_mode.as_deref()), (state, Some("acm")));
        assert_eq!(amt.credential.as_deref(), Some(escrow));
        let found = findings(&report);
        assert!(found.contains(&"mebx-password-uncertain"), "{found:?}");
        for wrong in ["amt-default-credentials", "amt-provisioned-by-others", "mebx-password-unchanged"] {
            assert!(!found.contains(&wrong), "{found:?}");
        }
    }
}

#[test]
fn tls_that_nothing_pins_is_told_where_there_is_no_other_way() {
    let confirmed = || outcome("amt.confirm", Status::AlreadySo, Exit::Satisfied, &[]);
    let told = |version: &str, pin: Option<&str>| {
        let mut case = Case::using("").amt("post", "ccm").fact("intel.amt.version", version).ours(1);
        case.history.amt.as_mut().unwrap().network_pin = pin.map(str::to_owned);
        case.report(&[confirmed()]).capability.channels[0].reason.contains("cannot tell it from others")
    };
    assert!(told("16.1.25", None));
    assert!(!told("16.1.25", Some("ab")));
    assert!(!told("16.0.15", None));
}

/// Client control mode leaves the MEBx password alone, so the risk outlives the set-up.
#[test]
fn the_mebx_password_stays_a_warning_once_amt_is_ours() {
    let warned = |report: &Report| {
        let found = report.findings.iter().find(|it| it.id == "mebx-password-unchanged");
        found.is_some_and(|it| it.severity == Severity::Warning && it.text.contains("at the keyboard"))
    };
    let set_up = |status, exit| outcome("amt.setup-ccm", status, exit, &[]);
    assert!(warned(&Case::using("").report(&[set_up(Status::Done, Exit::Satisfied)])));
    let again = Case::using("").amt("post", "ccm").ours(1);
    let confirmed = outcome("amt.confirm", Status::AlreadySo, Exit::Satisfied, &[]);
    assert!(warned(&again.report(&[confirmed])));
    assert!(!warned(&Case::using("").report(&[set_up(Status::Failed, Exit::DeviceFailed)])));
    assert!(!warned(&Case::new("").report(&[outcome("record", Status::Done, Exit::Satisfied, &[])])));
}

#[test]
fn a_virtual_watchdog_is_the_hosts_and_a_real_one_is_preferred() {
    let case = Case::new("").fact("watchdog.0", "virtual");
    let virtual_only = case.report(&[]);
    let reason = &record(&virtual_only, Channel::Watchdog).reason;
    assert!(reason.contains("only if the host's watchdog action is reset"), "{reason}");
    let both = case.fact("watchdog.1", "reset").report(&[]);
    assert_eq!(record(&both, Channel::Watchdog).can, ["reset"]);
}

#[test]
fn hundreds_of_rejected_events_are_twenty_names_and_a_number() {
    for (count, told) in [(20, None), (21, Some("and 1 more.")), (700, Some("and 680 more."))] {
        let case =
            Case::new("").history(|it| it.rejected = (0..count).map(|at| format!("e{at}.json")).collect());
        let report = case.report(&[]);
        let text = &report.findings.iter().find(|it| it.id == "events-rejected").unwrap().text;
        assert!(text.contains("e19.json") && !text.contains("e20.json"), "{text}");
        assert_eq!(text.contains("more"), told.is_some(), "{text}");
        assert!(told.is_none_or(|words| text.ends_with(words)), "{text}");
    }
}

#[test]
fn a_policy_that_asks_for_a_report_reads_well() {
    let case = Case::neutralizing("[\"report-only\"]");
    let mut ended = outcome("neutralize.report-only", Status::Failed, Exit::Impossible, &[]);
    ended.text = "nothing was staged: ".to_owned();
    let asked = case.report(std::slice::from_ref(&ended));
    assert!(
        asked.verdict.ends_with(": policy asks for a report only; nothing was changed"),
        "{}",
        asked.verdict
    );
    // As the last resort it keeps the reasons of the methods before it.
    let last = Case::neutralizing("[\"lockdown\", \"report-only\"]").report(&[ended]);
    assert!(!last.verdict.contains("asks for a report"), "{}", last.verdict);
}

#[test]
fn what_others_provisioned_is_claimed_and_counts_for_nothing() {
    let case = Case::using("").amt("post", "acm");
    let report = case.report(&refusal_outcomes(&case.plan()));
    let amt = record(&report, Channel::Amt);
    assert_eq!((amt.state, amt.confidence), (ChannelState::Provisioned, Proof::Claimed));
    assert_eq!(amt.control_mode.as_deref(), Some("acm"));
    assert!(amt.can.is_empty());
    let summary = &report.capability.summary;
    assert!(!summary.can_power_on && !summary.can_power_cycle && summary.independent_paths == 0);
    assert_eq!((report.exit, report.reason.as_str()), (Exit::Impossible, "provisioned-by-others"));
    assert!(findings(&report).contains(&"amt-provisioned-by-others"));
    assert!(!report.changed && report.verdict.contains("nothing was changed"), "{}", report.verdict);
}

#[test]
fn unconfigured_amt_is_a_risk_until_it_is_set_up() {
    let risk = |report: &Report| {
        report.findings.iter().any(|it| it.id == "amt-default-credentials" && it.severity == Severity::Risk)
    };
    let ignored = outcome("record", Status::Done, Exit::Satisfied, &[]);
    assert!(risk(&Case::new("").report(std::slice::from_ref(&ignored))));
    let ism = Case::new("").fact("intel.amt.verdict", "standard-manageability");
    assert!(risk(&ism.report(std::slice::from_ref(&ignored))));
    assert!(risk(&Case::using("").report(&[outcome(
        "amt.setup-ccm",
        Status::Failed,
        Exit::DeviceFailed,
        &[]
    )])));
    for verdict in ["absent", "disabled", "unknown"] {
        let case = Case::new("").fact("intel.amt.verdict", verdict);
        assert!(!risk(&case.report(std::slice::from_ref(&ignored))), "{verdict}");
    }
}

#[test]
fn an_indeterminate_device_is_unknown_and_nobody_elses() {
    let case = Case::using("");
    let report = case.report(&[outcome("amt.setup-ccm", Status::Failed, Exit::Indeterminate, &[])]);
    assert_eq!(record(&report, Channel::Amt).state, ChannelState::Unknown);
    assert_eq!((report.exit, report.reason.as_str()), (Exit::Indeterminate, "amt.setup-ccm-failed"));
    let ids = findings(&report);
    assert!(ids.contains(&"amt-indeterminate") && !ids.contains(&"amt-provisioned-by-others"), "{ids:?}");
}

#[test]
fn staged_is_not_effective() {
    let case = Case::neutralizing("[\"soft-disable\"]").image(SoftDisable::Possible);
    let case = case.fact("intel.me.state", "disabled\u{1b}");
    let done = outcome("neutralize.stage-soft-disable", Status::Done, Exit::Pending, &[]);
    let cleaned = outcome("neutralize.stage-clean", Status::AlreadySo, Exit::Pending, &[]);
    let cleaned = case.report(&[cleaned]);
    assert_eq!(record(&cleaned, Channel::Amt).state, ChannelState::Staged);
    let report = case.report(&[done]);
    assert_eq!(record(&report, Channel::Amt).state, ChannelState::Staged);
    let staged = report.findings.iter().find(|it| it.id == "neutralize-staged").unwrap();
    assert!(staged.text.contains("Nothing was flashed"), "{}", staged.text);
    assert!(staged.text.contains("(intel.me.state: disabled\\u{1b})"), "{}", staged.text);
    assert!(!staged.text.contains("runs"), "{}", staged.text);
    let page = serde_json::to_string(&report).unwrap().to_lowercase();
    for claim in ["me removed", "me is removed", "me disabled", "me is disabled", "\"neutralized\""] {
        assert!(!page.contains(claim), "{claim}");
    }
    assert!(report.verdict.contains("not yet in effect"), "{}", report.verdict);
}

#[test]
fn the_other_channels_follow_the_facts() {
    use ChannelState::{Absent, Disabled, Present, Unknown};
    for (name, value, channel, state, can) in [
        ("dash.nic", "present", Channel::Dash, Present, 0),
        ("dash.nic", "likely", Channel::Dash, Unknown, 0),
        ("dash.nic", "absent", Channel::Dash, Absent, 0),
        ("bmc.verdict", "present", Channel::Ipmi, Present, 0),
        ("bmc.verdict", "false-sign", Channel::Ipmi, Absent, 0),
        ("bmc.verdict", "likely", Channel::Ipmi, Unknown, 0),
        ("bmc.verdict", "present", Channel::Redfish, Unknown, 0),
        ("bmc.verdict", "absent", Channel::Redfish, Absent, 0),
        ("watchdog.0", "reset", Channel::Watchdog, Present, 1),
        ("watchdog.0", "virtual", Channel::Watchdog, Present, 0),
        ("watchdog.0", "alarm-only", Channel::Watchdog, Present, 0),
        ("watchdog.0", "software", Channel::Watchdog, Absent, 0),
        ("watchdog.0", "unknown", Channel::Watchdog, Unknown, 0),
        ("wol.eth0", "magic", Channel::Wol, Present, 1),
        ("wol.eth0", "supported-off", Channel::Wol, Disabled, 0),
        ("wol.eth0", "none", Channel::Wol, Absent, 0),
        ("wol.eth0", "unknown", Channel::Wol, Unknown, 0),
        ("cloud.provider", "hetzner", Channel::VpsApi, Present, 0),
        ("cloud.provider", "hetzner", Channel::HypervisorApi, Absent, 0),
        ("cloud.provider", "unknown", Channel::VpsApi, Unknown, 0),
        ("virt.hypervisor", "kvm", Channel::HypervisorApi, Present, 0),
        ("virt.hypervisor", "unknown", Channel::HypervisorApi, Unknown, 0),
        ("intel.amt.verdict", "disabled", Channel::Amt, Disabled, 0),
        ("intel.amt.verdict", "unknown", Channel::Amt, Unknown, 0),
        ("intel.amt.provisioning", "unknown", Channel::Amt, Unknown, 0),
    ] {
        let mut case = Case::new("").fact(name, value);
        if name == "cloud.provider" && value == "hetzner" {
            case = case.fact("virt.hypervisor", "kvm");
        }
        let report = case.report(&[]);
        let record = record(&report, channel);
        assert_eq!((record.state, record.can.len()), (state, can), "{name} = {value}");
        assert!(record.confidence != Proof::Proven, "{name} = {value}: nothing was exercised");
        assert!(!record.reason.contains('\u{1b}'), "{}", record.reason);
        assert_eq!(report.capability.summary.independent_paths, 0, "{name} = {value}: nothing is set up");
    }
    let none = Case::new("").report(&[]);
    assert_eq!(record(&none, Channel::Watchdog).state, Unknown);
    assert_eq!(record(&none, Channel::Pdu).state, Unknown);
}

#[test]
fn warnings_and_weak_ids_reach_the_auditor() {
    let case = Case::using("").ours(1).context(|it| {
        it.weak_id = true;
        it.trust = PolicyTrust::UnsignedAllowed;
    });
    let ids = case.report(&refusal_outcomes(&case.plan()));
    let ids = findings(&ids);
    for id in ["weak-device-id", "policy-unsigned", "plan-warning"] {
        assert!(ids.contains(&id), "{id}: {ids:?}");
    }
}

#[test]
fn an_amd_machine_is_told_of_its_fuse_and_its_dash() {
    let attributes = |fused: Option<&str>| {
        let seen = [("tsme_status", Some("0")), ("fused_part", fused)];
        let seen = seen.into_iter().filter_map(|(name, value)| Some((name.to_owned(), Value::from(value?))));
        Fact::observed("amd.psp.attributes", Value::Map(seen.collect()), "test")
    };
    for (attributes, dash, said) in [
        (
            attributes(Some("1")),
            "present",
            ["fused: yes", "DASH: unknown whether it is enabled", "623 and 664"],
        ),
        (attributes(Some("0")), "absent", ["fused: no (", "DASH: no adapter has it", "not neutralizable"]),
        (attributes(Some("2\u{1b}")), "unknown", ["fused: unknown", "DASH: unknown (", "2\\u{1b}"]),
        (attributes(None), "likely", ["has no fused_part", "DASH: unknown whether", "probe"]),
        (
            Fact::unknown("amd.psp.attributes", "test", "this kernel exports none"),
            "absent",
            ["fused: unknown", "this kernel exports none", "amd.psp.state is present"],
        ),
    ] {
        let mut case = Case::neutralizing("[\"soft-disable\", \"report-only\"]").fact("dash.nic", dash);
        case = case.fact("host.cpu.vendor", "amd").fact("amd.psp.state", "present");
        case.detection.facts.push(attributes);
        let report = case.report(&[outcome("neutralize.report-only", Status::Failed, Exit::Impossible, &[])]);
        let text = &report.findings.iter().find(|it| it.id == "amd-psp").unwrap().text;
        for words in said {
            assert!(text.contains(words), "no `{words}` in: {text}");
        }
        assert_eq!(report.exit, Exit::Impossible);
        assert!(!serde_json::to_string(&report).unwrap().contains("neutralized"), "{text}");
    }
}

#[test]
fn a_fallback_is_told() {
    let case = Case::neutralizing("[\"clean+soft-disable\", \"soft-disable\"]").image(SoftDisable::Possible);
    let done = outcome("neutralize.stage-soft-disable", Status::Done, Exit::Pending, &[]);
    let told = case.report(std::slice::from_ref(&done));
    let fallback = told.findings.iter().find(|it| it.id == "neutralize-fallback").unwrap();
    assert_eq!(fallback.severity, Severity::Warning);
    assert!(
        fallback.text.contains("`soft-disable`") && fallback.text.contains("corrupts IFWI"),
        "{}",
        fallback.text
    );
    let first = Case::neutralizing("[\"soft-disable\"]").image(SoftDisable::Possible).report(&[done]);
    assert!(!findings(&first).contains(&"neutralize-fallback"));
}

#[test]
fn the_worst_exit_and_its_cause_win() {
    let plan = Case::using("dash = { take_over = true }").live();
    let outcomes = refusal_outcomes(&plan.plan());
    assert_eq!(outcomes.len(), 3);
    assert!(outcomes.iter().all(|it| it.status == Status::Failed && !it.changed));
    let report = plan.report(&outcomes);
    assert_eq!((report.exit, report.reason.as_str()), (Exit::PolicyRefused, "example-recipient"));
    assert_eq!(report.policy.recipients.len(), 2);
}

#[test]
fn wireless_and_docks_are_told_where_they_matter() {
    let link = |wired: &str, wireless: &str| map(&[("wired", wired.into()), ("wireless", wireless.into())]);
    let done = [outcome("amt.setup-ccm", Status::Done, Exit::Satisfied, &[])];
    let amt = |form: &str, link: Value| {
        let case = with(Case::using("").fact("host.form_factor", form), "intel.amt.link", link);
        record(&case.report(&done), Channel::Amt).clone()
    };
    let radio = amt("laptop", link("absent", "up"));
    assert!(
        radio.reason.contains("Wi-Fi only") && radio.reason.contains("docking station"),
        "{}",
        radio.reason
    );
    assert!(!radio.needs.iter().any(|it| it == "wired_link"));
    let laptop = amt("laptop", link("down", "up"));
    assert!(laptop.reason.contains("S5") && !laptop.reason.contains("Wi-Fi only"), "{}", laptop.reason);
    let desktop = amt("desktop", link("up", "absent"));
    assert!(!desktop.reason.contains("S5") && !desktop.reason.contains("docking"), "{}", desktop.reason);
    assert!(desktop.needs.iter().any(|it| it == "wired_link"));
}
