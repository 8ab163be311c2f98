//! How open AMT is, as `detect` and the report tell it: read only, over the connection that is there anyway.

use oob_tests::{Machine, agent, code, json, scratch, text, workspace};
use serde_json::Value;

fn fact<'a>(detection: &'a Value, name: &str) -> &'a Value {
    detection["facts"]
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["name"] == name)
        .unwrap_or_else(|| panic!("no {name}"))
}

fn detect(machine: &Machine) -> Value {
    let run = agent(["detect", "--json", "--root", machine.dir.to_str().unwrap()]);
    assert_eq!(code(&run), Some(0), "{}", text(&run.stderr));
    json(&run)
}

/// `ignore` records and touches nothing, and says what is open.
fn ignore(machine: &Machine, out: &std::path::Path) -> Value {
    let policy = workspace().join("packaging/examples/policy.toml");
    let [root, policy, out] =
        [&machine.dir, &policy, &out.to_path_buf()].map(|path| path.to_str().unwrap().to_owned());
    let run = agent(["apply", "--json", "--root", &root, "--policy", &policy, "--out", &out]);
    assert_eq!(code(&run), Some(0), "{}\n{}", text(&run.stdout), text(&run.stderr));
    json(&run)
}

fn severities(result: &Value, id: &str) -> Option<String> {
    let findings = result["findings"].as_array().unwrap();
    findings.iter().find(|it| it["id"] == id).map(|it| it["severity"].as_str().unwrap().to_owned())
}

const FACTS: [&str; 7] =
    ["hashes", "pki_suffix", "ehbc", "zero_touch", "remote_access", "link", "setup_audit"];

#[test]
fn an_open_machine_is_told_as_one() {
    let scratch = scratch();
    let hash = "ab".repeat(32);
    let arguments = [
        "--trusted-root-sha256",
        &hash,
        "--pki-suffix",
        "evil.example",
        "--ehbc",
        "--mps-host",
        "mps.example",
        "--set-up-by",
        "rps.example",
    ];
    let machine = Machine::start("vpro-desktop-amt12", &scratch.path().join("vpro"), &arguments);
    let found = detect(&machine);
    let state = machine.state();
    assert_eq!(
        (&state["mutating"], &state["mei_connects"]),
        (&0.into(), &1.into()),
        "one connection for all questions"
    );
    let value = |name: &str| &fact(&found, &format!("intel.amt.{name}"))["value"];
    assert!(value("hashes")["added"][0].as_str().unwrap().contains(&hash), "{}", value("hashes"));
    assert_eq!((value("pki_suffix"), value("ehbc")), (&"evil.example".into(), &true.into()));
    assert_eq!(value("remote_access")["mps_host"], "mps.example");
    assert_eq!(value("link")["wired"], "up");
    assert_eq!(value("setup_audit")["server"], "rps.example");

    let result = ignore(&machine, &scratch.path().join("out"));
    for (id, severity) in [
        ("amt-advisory-intel-sa-00404", "warning"),
        ("amt-added-roots", "warning"),
        ("amt-ehbc-enabled", "risk"),
        ("amt-pki-suffix-set", "warning"),
        ("amt-remote-access", "risk"),
        ("amt-setup-audit", "warning"),
    ] {
        assert_eq!(severities(&result, id).as_deref(), Some(severity), "{id}: {:#}", result["findings"]);
    }
    assert_eq!(machine.mutating_calls(), 0);
}

#[test]
fn a_machine_as_it_came_has_nothing_added() {
    let scratch = scratch();
    let machine = Machine::start("vpro-desktop-amt18", &scratch.path().join("vpro"), &[]);
    let found = detect(&machine);
    for name in FACTS.iter().filter(|name| **name != "setup_audit") {
        assert_ne!(fact(&found, &format!("intel.amt.{name}"))["value"], "unknown", "{name}");
    }
    assert!(fact(&found, "intel.amt.setup_audit")["reason"].as_str().unwrap().contains("nobody ever set up"));
    let result = ignore(&machine, &scratch.path().join("out"));
    for id in
        ["amt-added-roots", "amt-ehbc-enabled", "amt-pki-suffix-set", "amt-remote-access", "amt-setup-audit"]
    {
        assert_eq!(severities(&result, id), None, "{id}");
    }
    // The table has no row for this generation, and says so.
    assert_eq!(severities(&result, "amt-advisories-unknown").as_deref(), Some("info"));
}

#[test]
fn provisioned_amt_makes_its_holes_a_risk() {
    let scratch = scratch();
    let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &[]);
    let policy = oob_tests::provisioning::policy(scratch.path(), "control_mode = \"ccm\"");
    let run = crate::use_acm::apply(&machine, &policy, &scratch.path().join("out"));
    assert_eq!(code(&run), Some(0), "{}", text(&run.stderr));
    assert_eq!(severities(&json(&run), "amt-advisory-intel-sa-00709").as_deref(), Some("risk"));
    let audit = fact(&detect(&machine), "intel.amt.setup_audit")["value"]["by"].clone();
    assert_eq!(audit, "host");
}

#[test]
fn a_machine_without_amt_is_asked_nothing() {
    for profile in ["consumer-laptop", "vm-kvm"] {
        let scratch = scratch();
        let machine = Machine::start(profile, &scratch.path().join("machine"), &[]);
        let found = detect(&machine);
        for name in FACTS {
            let fact = fact(&found, &format!("intel.amt.{name}"));
            assert_eq!(fact["value"], "unknown", "{profile} {name}");
            assert!(fact["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{profile} {name}");
        }
        assert!(!machine.calls().iter().any(|call| call.starts_with("pthi:")), "{profile}");
        let result = ignore(&machine, &scratch.path().join("out"));
        let findings = result["findings"].to_string();
        assert!(
            !findings.contains("amt-advis") && !findings.contains("amt-setup-audit"),
            "{profile}: {findings}"
        );
    }
}

#[test]
fn an_odd_answer_costs_that_fact_and_no_other() {
    for (fault, lost) in [
        ("pthi:0x04000084=return-value:2051", "ehbc"),
        ("pthi:0x04000036=garbage#*", "pki_suffix"),
        ("pthi:0x0400002d=return-value:1#2", "hashes"),
    ] {
        let scratch = scratch();
        let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &["--fault", fault]);
        let found = detect(&machine);
        assert_eq!(fact(&found, &format!("intel.amt.{lost}"))["value"], "unknown", "{fault}");
        assert_eq!(fact(&found, "intel.amt.verdict")["value"], "capable", "{fault}");
        assert_eq!(fact(&found, "intel.amt.provisioning")["value"], "pre", "{fault}");
    }
}
