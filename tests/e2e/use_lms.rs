//! AMT on a host where the Local Management Service runs: its port is used, its restarts are waited for, and MEI is left
//! to it.

use std::fs;
use std::path::Path;
use std::process::Output;

use oob_tests::provisioning::{Org, SETTINGS, policy, raise_serial};
use oob_tests::{Machine, agent, code, json, scratch, text};
use serde_json::Value;

use crate::honesty::passwords_outside_escrow;
use crate::known::{opened, with};
use crate::use_acm::apply;
use crate::use_ccm::escrow_files;

/// As [`Machine::start`], with LMS on the host.
fn with_lms(profile: &str, dir: &Path, more: &[&str]) -> Machine {
    let mut options = vec!["--lms"];
    options.extend(more);
    Machine::start(profile, dir, &options)
}

fn outcome(result: &Value) -> &Value {
    &result["outcomes"][0]
}

fn connects(machine: &Machine) -> u64 {
    machine.state()["mei_connects"].as_u64().unwrap()
}

fn succeeded(run: &Output, what: &str) -> Value {
    assert_eq!(code(run), Some(0), "{what}: {}\n{}", text(&run.stdout), text(&run.stderr));
    json(run)
}

#[test]
fn everything_goes_through_its_ports_within_the_calls_of_a_run() {
    for (profile, mode) in [
        ("vpro-desktop-amt12", "ccm"),
        ("vpro-desktop-amt16", "ccm"),
        ("vpro-desktop-amt16", "acm"),
        ("vpro-desktop-amt18", "acm"),
    ] {
        let scratch = scratch();
        let org = Org::new(scratch.path(), &format!("{SETTINGS}, tls = \"required\""));
        let policy = match mode {
            "ccm" => {
                policy(scratch.path(), "control_mode = \"ccm\", clock = true, sol = true, tls = \"required\"")
            }
            _ => org.policy.clone(),
        };
        let machine = with_lms(profile, &scratch.path().join("vpro"), &org.trusted());
        let out = scratch.path().join("out");
        let result = succeeded(&apply(&machine, &policy, &out), profile);
        assert_eq!(outcome(&result)["evidence"]["way"], "lms", "{profile} {mode}");
        if profile != "vpro-desktop-amt12" {
            assert_eq!(outcome(&result)["evidence"]["tls_handshake"], "seen", "{profile} {mode}");
        }
        assert_eq!(passwords_outside_escrow(&machine.state(), &out), None, "{profile} {mode}");
        // DESIGN section 12 and amt-calls.md 5: without LME there is one connection less.
        assert!(connects(&machine) <= 3, "{profile} {mode}: {} MEI connections", connects(&machine));
        let calls = machine.calls();
        assert!(!calls.iter().any(|call| call.contains("lme")), "{profile} {mode}: {calls:?}");

        let mutating = machine.mutating_calls();
        let again = succeeded(&apply(&machine, &policy, &out), profile);
        assert_eq!(outcome(&again)["status"], "already_so", "{profile} {mode}");
        assert_eq!(machine.mutating_calls(), mutating, "{profile} {mode}");
    }
}

#[test]
fn without_it_mei_is_used_and_told() {
    let scratch = scratch();
    let policy = policy(scratch.path(), "control_mode = \"ccm\"");
    let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &[]);
    let result = succeeded(&apply(&machine, &policy, &scratch.path().join("out")), "no LMS");
    assert_eq!(outcome(&result)["evidence"]["way"], "mei");
    assert!(machine.calls().iter().any(|call| call.contains("lme")), "{:?}", machine.calls());
}

#[test]
fn its_restart_is_waited_for() {
    let scratch = scratch();
    let policy = policy(scratch.path(), "control_mode = \"ccm\", tls = \"required\"");
    let machine =
        Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &["--lms-restarting", "3"]);
    let out = scratch.path().join("out");
    let result = succeeded(&apply(&machine, &policy, &out), "restarting");
    assert_eq!(outcome(&result)["evidence"]["way"], "lms");
    assert_eq!(machine.state()["control_mode"], 1);
}

#[test]
fn one_that_holds_the_client_and_does_not_listen_yet_is_waited_for() {
    let scratch = scratch();
    let policy = policy(scratch.path(), "control_mode = \"ccm\"");
    let machine = with_lms("vpro-desktop-amt16", &scratch.path().join("vpro"), &[]);
    let file = machine.dir.join("ports.json");
    let whole = fs::read(&file).unwrap();
    let mut ports: Value = serde_json::from_slice(&whole).unwrap();
    ports.as_object_mut().unwrap().retain(|name, _| !name.starts_with("lms:"));
    let list = |bytes: &[u8]| {
        let draft = machine.dir.join("ports.test");
        fs::write(&draft, bytes).unwrap();
        fs::rename(draft, &file).unwrap();
    };
    list(&serde_json::to_vec(&ports).unwrap());
    let out = scratch.path().join("out");
    let run = std::thread::scope(|scope| {
        let running = scope.spawn(|| apply(&machine, &policy, &out));
        // Once the agent was refused the client, the port comes.
        while !running.is_finished() && !machine.calls().iter().any(|call| call.contains("lme")) {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        list(&whole);
        running.join().unwrap()
    });
    assert_eq!(outcome(&succeeded(&run, "late"))["evidence"]["way"], "lms");
}

#[test]
fn one_that_never_comes_back_is_named_and_nothing_is_changed() {
    for options in [["--lms-restarting", "100000"], ["--fault", "connect:lms=stall#*"]] {
        let scratch = scratch();
        let policy = policy(scratch.path(), "control_mode = \"ccm\"");
        let machine = with_lms("vpro-desktop-amt16", &scratch.path().join("vpro"), &options);
        let run = apply(&machine, &policy, &scratch.path().join("out"));
        let result = json(&run);
        assert_eq!(
            (code(&run), &result["changed"]),
            (Some(5), &false.into()),
            "{options:?}: {}",
            text(&run.stdout)
        );
        assert_eq!(machine.mutating_calls(), 0, "{options:?}");
        assert_eq!(machine.state()["control_mode"], 0, "{options:?}");
    }
}

#[test]
fn a_connection_that_is_lost_later_leaves_no_wrong_word() {
    for fault in [
        "connect:lms=drop-before#2",
        "connect:lms=drop-before#4",
        "wsman:IPS_HostBasedSetupService.Setup=drop-after",
        "wsman:IPS_HostBasedSetupService.Setup=drop-before",
        "wsman:AMT_SetupAndConfigurationService.CommitChanges=drop-after",
        "wsman:AMT_GeneralSettings.Get=drop-before#3",
    ] {
        let scratch = scratch();
        let policy = policy(scratch.path(), "control_mode = \"ccm\", sol = true, tls = \"required\"");
        let machine = with_lms("vpro-desktop-amt16", &scratch.path().join("vpro"), &["--fault", fault]);
        let out = scratch.path().join("out");
        let run = apply(&machine, &policy, &out);
        let (exit, state) = (code(&run).unwrap(), machine.state());
        assert!([0, 5, 6].contains(&exit), "{fault}: {exit} {}", text(&run.stdout));
        assert_eq!(passwords_outside_escrow(&state, &out), None, "{fault}");
        // What is said is what is; where nobody can tell, that is said.
        match exit {
            0 => assert_eq!(state["control_mode"], 1, "{fault}"),
            5 => assert_eq!(state["control_mode"], 0, "{fault}: {}", text(&run.stdout)),
            _ => {}
        }
        let again = apply(&machine, &policy, &out);
        assert_eq!(code(&again), Some(0), "{fault}, second run: {}", text(&again.stdout));
    }
}

#[test]
fn a_known_credential_works_through_it() {
    let scratch = scratch();
    let first = policy(scratch.path(), "control_mode = \"ccm\"");
    let machine = with_lms("vpro-desktop-amt16", &scratch.path().join("vpro"), &[]);
    let out = scratch.path().join("out");
    succeeded(&apply(&machine, &first, &out), "first");
    let more = policy(scratch.path(), "control_mode = \"ccm\", sol = true, tls = \"required\"");
    raise_serial(&more, 2);
    let credential = opened(&escrow_files(&out)[0], scratch.path());
    let run = with(&machine, &more, &out, &[&credential], &[]);
    let result = succeeded(&run, "completing");
    assert_eq!(outcome(&result)["evidence"]["way"], "lms");
    assert_eq!(outcome(&result)["evidence"]["tls_handshake"], "seen");
}

#[test]
fn detection_says_whether_it_is_there() {
    for (options, told) in [(&["--lms"][..], "present"), (&[], "absent")] {
        let scratch = scratch();
        let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), options);
        let run = agent(["detect", "--json", "--root", machine.dir.to_str().unwrap()]);
        let facts = json(&run);
        let fact = facts["facts"].as_array().unwrap().iter().find(|fact| fact["name"] == "intel.amt.lms");
        assert_eq!(fact.unwrap()["value"], told);
    }
}

/// Firmware that ends each connection behind its answer and does not say so (reference/amt.md 3.2): what is sent into one
/// that has ended is lost, and lost for good where it counts once.
#[test]
fn connections_that_end_without_a_word_lose_nothing() {
    for profile in ["vpro-desktop-amt16", "vpro-desktop-amt19"] {
        for more in [&["--lms"][..], &[], &["--lme-drops-on-close"]] {
            let scratch = scratch();
            let policy = policy(scratch.path(), "control_mode = \"ccm\", sol = true, tls = \"required\"");
            let options = [more, &["--close-each"]].concat();
            let machine = Machine::start(profile, &scratch.path().join("vpro"), &options);
            let what = format!("{profile} {}", options.join(" "));
            let out = scratch.path().join("out");
            succeeded(&apply(&machine, &policy, &out), &what);
            let mutating = machine.mutating_calls();
            let second = succeeded(&apply(&machine, &policy, &out), &what);
            assert_eq!((&second["changed"], machine.mutating_calls()), (&false.into(), mutating), "{what}");
        }
    }
}

/// AMT 19 has no cleartext port, so what listens on that one alone is told nothing: no verifier stands before it.
#[test]
fn amt_19_is_not_looked_for_on_the_cleartext_port() {
    let scratch = scratch();
    let policy = policy(scratch.path(), "control_mode = \"ccm\"");
    let machine = with_lms("vpro-desktop-amt19", &scratch.path().join("vpro"), &[]);
    let other = with_lms("vpro-desktop-amt16", &scratch.path().join("other"), &[]);
    let file = machine.dir.join("ports.json");
    let mut ports: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    ports.as_object_mut().unwrap().remove("lms:16993").unwrap();
    ports["lms:16992"] = other.port("lms:16992").into();
    fs::write(&file, ports.to_string()).unwrap();
    let run = apply(&machine, &policy, &scratch.path().join("out"));
    assert_eq!(code(&run), Some(5), "{}\n{}", text(&run.stdout), text(&run.stderr));
    assert_eq!(other.calls(), Vec::<String>::new(), "it was told something");
    assert_eq!(machine.mutating_calls(), 0);
}
