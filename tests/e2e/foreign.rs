//! Programs that others wrote, against a simulated AMT that the agent set up: what was escrowed logs in, and what the
//! simulator says is what they understand.

use std::io::Write;
use std::process::{Command, Stdio};

use oob_tests::{Machine, code, scratch, skip, text};
use serde_json::Value;

use crate::honesty::sealed;
use crate::use_ccm::apply;

/// `amt` 0.8 (PyPI): asks for the power state and changes it. The password comes on stdin.
const POWER: &str = "
import sys
from amt.client import Client
client = Client('127.0.0.1', sys.stdin.read())
client.uri = 'http://127.0.0.1:' + sys.argv[1] + '/wsman'
print(client.power_status())
for act in ('power_cycle', 'power_off', 'power_on'):
    print(getattr(client, act)(), client.power_status())
";

/// `napalm-amt` 0.2 (PyPI): reads general settings, ports, and what else it makes its facts of.
const FACTS: &str = "
import json, sys
from napalm import get_network_driver
device = get_network_driver('amt')('127.0.0.1', 'admin', sys.stdin.read(), optional_args={'port': int(sys.argv[1])})
device.open()
print(json.dumps(device.get_facts()))
device.close()
";

/// The Python that has the module; none where there is none, and then that is said.
fn python(module: &str, what: &str) -> Option<String> {
    let python = std::env::var("OOB_PEERS_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let found =
        Command::new(&python).args(["-c", &format!("import {module}")]).stderr(Stdio::null()).status();
    if found.is_ok_and(|status| status.success()) {
        return Some(python);
    }
    skip(&format!("{what}: Python has no module {module}"));
    None
}

fn run(python: &str, script: &str, machine: &Machine, password: &str) -> String {
    let mut child = Command::new(python)
        .args(["-c", script, &machine.port("16992").to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

fn set_up(dir: &std::path::Path) -> (Machine, String) {
    let machine = Machine::start("vpro-desktop-amt12", &dir.join("vpro"), &[]);
    let out = dir.join("out");
    let done = apply(&machine, &out);
    assert_eq!(code(&done), Some(0), "{}", text(&done.stderr));
    let password = sealed(&out, "amt")[0]["password"].as_str().unwrap().to_owned();
    (machine, password)
}

#[test]
fn a_power_tool_switches_the_machine_with_the_escrowed_password() {
    let Some(python) = python("amt.client", "power actions by PyPI amt") else { return };
    let scratch = scratch();
    let (machine, password) = set_up(scratch.path());
    // On; a cycle leaves it on, off is 8 and on is 2; every call answers 0.
    assert_eq!(run(&python, POWER, &machine, &password), "2\n0 2\n0 8\n0 2\n");
}

#[test]
fn a_fact_gatherer_reads_the_machine_with_the_escrowed_password() {
    let Some(python) = python("napalm_amt", "facts by napalm-amt") else { return };
    let scratch = scratch();
    let (machine, password) = set_up(scratch.path());
    let facts: Value = serde_json::from_str(&run(&python, FACTS, &machine, &password)).unwrap();
    assert_eq!(facts["interface_list"], serde_json::json!(["wired"]), "{facts}");
    assert_eq!(facts["hostname"], "127.0.0.1", "{facts}");
}
