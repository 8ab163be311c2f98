//! `use` and AMT's network: a static address that other settings would lose, a Wi-Fi profile, the power scheme.

use std::path::Path;

use oob_tests::provisioning::{Org, policy};
use oob_tests::{Machine, code, json, scratch, text};
use serde_json::Value;

use crate::use_acm::apply;

/// What a simulated machine's state says of an interface.
fn port(machine: &Machine, number: &str) -> Value {
    machine.state()["settings"]["ports"][number].clone()
}

fn evidence(run: &std::process::Output) -> Value {
    json(run)["outcomes"][0]["evidence"].clone()
}

fn client(dir: &Path, wishes: &str) -> std::path::PathBuf {
    policy(dir, &format!("control_mode = \"ccm\", {wishes}"))
}

#[test]
fn wired_addresses_are_what_they_were_after_every_setting() {
    const STATIC: &str = "198.51.100.7/25,198.51.100.1,198.51.100.53";
    let fixed = ["--static-address", STATIC];
    let losing = ["--static-address", STATIC, "--loses-address"];
    let shared = ["--static-address", STATIC, "--shared-static", "--ip-sync", "--loses-address"];
    for (options, wishes, word) in [
        (&[][..], "sol = true", "as before"),
        (&fixed[..], "sol = true, tls = \"required\"", "as before"),
        (&losing[..], "sol = true", "as before"),
        // A write of TLS loses them, and so may one of the name.
        (&losing[..], "sol = true, tls = \"required\"", "restored"),
        (&losing[..], "tls = \"required\"", "restored"),
        (&shared[..], "tls = \"required\"", "restored"),
    ] {
        let scratch = scratch();
        let policy = client(scratch.path(), wishes);
        let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), options);
        let before = port(&machine, "0");
        let out = scratch.path().join("out");
        let run = apply(&machine, &policy, &out);
        assert_eq!(code(&run), Some(0), "{options:?} {wishes}: {}", text(&run.stdout));
        assert_eq!(evidence(&run)["wired_addresses"], word, "{options:?} {wishes}");
        assert_eq!(port(&machine, "0"), before, "{options:?} {wishes}");
        let told = json(&run)["outcomes"][0]["text"].as_str().unwrap().contains("wired addresses");
        assert_eq!(told, word == "restored", "{options:?} {wishes}");
    }
}

#[test]
fn addresses_that_do_not_come_back_are_told() {
    let scratch = scratch();
    let org = Org::new(scratch.path(), "tls = \"required\"");
    let mut options = org.trusted().to_vec();
    options.extend(["--static-address", "198.51.100.7/25,198.51.100.1", "--loses-address"]);
    options.extend(["--fault", "wsman:AMT_EthernetPortSettings.Put=fault#*"]);
    let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &options);
    let run = apply(&machine, &org.policy, &scratch.path().join("out"));
    assert_eq!(code(&run), Some(9), "{}", text(&run.stdout));
    let result = json(&run);
    assert_eq!(result["reason"], "amt-incomplete");
    assert!(result["outcomes"][0]["text"].as_str().unwrap().contains("wired addresses"), "{result}");
}

#[test]
fn a_machine_without_a_wired_port_has_no_addresses_to_keep() {
    let scratch = scratch();
    let policy = client(scratch.path(), "sol = true");
    let machine = Machine::start("vpro-laptop-wifi-amt16", &scratch.path().join("vpro"), &[]);
    let run = apply(&machine, &policy, &scratch.path().join("out"));
    assert_eq!(code(&run), Some(0), "{}", text(&run.stdout));
    assert_eq!(evidence(&run)["wired_addresses"], "no wired interface");
}
