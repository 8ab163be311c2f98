//! What is not this machine's AMT, or no AMT at all, gets no login and changes nothing.

use std::fs;
use std::path::Path;

use oob_tests::provisioning::policy;
use oob_tests::{Machine, code, json, scratch, text};
use serde_json::Value;

use crate::honesty::{Target, dishonest, said};
use crate::use_acm::apply;

const PROFILE: &str = "vpro-desktop-amt16";

fn client_mode(dir: &Path) -> std::path::PathBuf {
    policy(dir, &format!("control_mode = \"ccm\", {}", Target::CLIENT.settings()))
}

fn counted(machine: &Machine, call: &str) -> u64 {
    machine.state()["counters"][call].as_u64().unwrap_or(0)
}

/// As in a guest that its host's management engine was given to.
#[test]
fn the_amt_of_another_machine_gets_no_request_at_all() {
    let scratch = scratch();
    let other = Machine::start(PROFILE, &scratch.path().join("other"), &["--seed", "2"]);
    let machine = Machine::start(PROFILE, &scratch.path().join("vpro"), &[]);
    let uuid = |machine: &Machine| machine.dir.join("sys/class/dmi/id/product_uuid");
    fs::copy(uuid(&other), uuid(&machine)).unwrap();
    let run = apply(&machine, &client_mode(scratch.path()), &scratch.path().join("out"));
    let result = json(&run);
    assert_eq!(
        (code(&run), &result["reason"]),
        (Some(8), &"amt-of-another-machine".into()),
        "{}",
        said(&run)
    );
    assert_eq!((machine.state()["http_requests"].as_u64(), machine.mutating_calls()), (Some(0), 0));
}

/// Each of these stands where a challenge of AMT is expected.
#[test]
fn what_is_no_challenge_of_amt_gets_no_login() {
    for fault in ["redirect", "basic", "http-400", "http-500", "garbage"] {
        let scratch = scratch();
        let specs = ["--fault", &format!("http:anonymous={fault}#*")];
        let machine = Machine::start(PROFILE, &scratch.path().join("vpro"), &specs);
        let (out, before) = (scratch.path().join("out"), machine.state());
        let run = apply(&machine, &client_mode(scratch.path()), &out);
        assert_eq!(dishonest(&run, &before, &machine, &out, Target::CLIENT), None, "{fault}: {}", said(&run));
        assert_eq!(code(&run), Some(5), "{fault}: {}", said(&run));
        let logins = |state: &Value| {
            let counters = state["counters"].as_object().unwrap();
            counters
                .iter()
                .filter(|(name, _)| name.starts_with("wsman:") || *name == "http:bad-login")
                .count()
        };
        assert_eq!(logins(&machine.state()), 0, "{fault}: {:#}", machine.state()["counters"]);
        // Nor was anything escrowed for a device that was never spoken to.
        assert_eq!(machine.mutating_calls(), 0, "{fault}");
        assert!(text(&run.stderr).contains("failed"), "{fault}");
    }
}

/// A realm that changes between two challenges is another device.
#[test]
fn a_realm_that_is_not_the_devices_own_gets_no_new_password() {
    let scratch = scratch();
    let machine =
        Machine::start(PROFILE, &scratch.path().join("vpro"), &["--fault", "http:anonymous=other-realm#1"]);
    let (out, before) = (scratch.path().join("out"), machine.state());
    let run = apply(&machine, &client_mode(scratch.path()), &out);
    assert_eq!(dishonest(&run, &before, &machine, &out, Target::CLIENT), None, "{}", said(&run));
    assert_eq!(code(&run), Some(5), "{}", said(&run));
    assert_eq!(counted(&machine, "wsman:IPS_HostBasedSetupService.Setup"), 0);
}

/// More than AMT ever says, less than it must, and what nobody has heard of: wherever it strikes.
#[test]
fn answers_out_of_all_bounds_are_named_and_leave_the_device_as_it_was_or_at_the_target() {
    for (call, fault) in [
        ("wsman:AMT_GeneralSettings.Get", "huge"),
        ("wsman:AMT_GeneralSettings.Get", "no-fields"),
        ("wsman:AMT_GeneralSettings.Get", "odd-values"),
        ("wsman:IPS_HostBasedSetupService.Get", "huge"),
        ("wsman:IPS_HostBasedSetupService.Get", "no-fields"),
        ("wsman:IPS_HostBasedSetupService.Get", "odd-values"),
        ("wsman:IPS_HostBasedSetupService.Setup", "huge"),
        ("wsman:IPS_HostBasedSetupService.Setup", "no-fields"),
        ("wsman:IPS_HostBasedSetupService.Setup", "odd-values"),
        ("pthi:0x04000067", "huge"),
        ("pthi:0x04000067", "no-fields"),
        ("pthi:0x0400006b", "odd-values"),
        ("pthi:0x04000011", "odd-values"),
    ] {
        let scratch = scratch();
        let specs = ["--fault", &format!("{call}={fault}#1")];
        let machine = Machine::start(PROFILE, &scratch.path().join("vpro"), &specs);
        let (out, before) = (scratch.path().join("out"), machine.state());
        let policy = client_mode(scratch.path());
        let run = apply(&machine, &policy, &out);
        assert_eq!(
            dishonest(&run, &before, &machine, &out, Target::CLIENT),
            None,
            "{call} {fault}: {}",
            said(&run)
        );
        assert_eq!(code(&apply(&machine, &policy, &out)), Some(0), "{call} {fault}: the run after");
    }
}
