//! Org state of two media in one store: each counts its own generations, and the proof whose realm answers is the live one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use oob_tests::provisioning::{Org, policy, raise_serial};
use oob_tests::server::closed_port;
use oob_tests::{Machine, agent, code, files, json, pthi, scratch, text};
use serde_json::{Value, json};

use crate::honesty::passwords_outside_escrow;
use crate::known::{CHANGE, live, name, opened, with};
use crate::use_acm::{apply, arguments};
use crate::use_ccm::{escrow_files, open};

/// What is said of each device, put beside what is there. The journal stays where it is.
fn merge(from: &Path, into: &Path) {
    let (from, into) = (from.join("devices"), into.join("devices"));
    for file in files(&from) {
        let target = into.join(file.strip_prefix(&from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(file, target).unwrap();
    }
}

/// Whoever has root's rights, or MEBx: no store hears of it.
fn unprovision(machine: &Machine) {
    const UNPROVISION: [u8; 16] = [1, 1, 0, 0, 0x10, 0, 0, 4, 4, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(pthi(&machine.dir, &UNPROVISION)[12..16], [0; 4], "status of the unprovisioning");
}

#[track_caller]
fn ended(run: &Output, exit: i32, reason: &str) -> Value {
    assert_eq!(code(run), Some(exit), "{}\n{}", text(&run.stdout), text(&run.stderr));
    let result = json(run);
    assert_eq!(result["reason"], reason, "{result:#}");
    result
}

/// With the password that is the live one.
fn rotate(machine: &Machine, policy: &Path, out: &Path, dir: &Path) -> Output {
    let file = opened(&live(&machine.state(), out)[0], dir);
    with(machine, policy, out, &[&file], &["--rotate"])
}

/// The capability record tells of this credential.
#[track_caller]
fn assert_told(result: &Value, escrow: &str, mode: &str) {
    let amt = &result["capability"]["channels"][0];
    assert_eq!((&amt["credential"], &amt["control_mode"]), (&escrow.into(), &mode.into()), "{amt:#}");
    assert_eq!(amt["last_proof"], result["outcomes"][0]["evidence"]["event"], "{amt:#}");
}

fn verify(machine: &Machine, out: &Path) -> Output {
    let (root, out) = (machine.dir.to_str().unwrap(), out.to_str().unwrap());
    agent(["verify", "--root", root, "--out", out, "--json"])
}

/// A desktop that one medium set up and gave a new password twice, and another one set up anew since.
struct TwoMedia {
    machine: Machine,
    policy: PathBuf,
    first: PathBuf,
    second: PathBuf,
}

impl TwoMedia {
    fn new(dir: &Path, options: &[&str]) -> Self {
        let machine = Machine::start("vpro-desktop-amt16", &dir.join("vpro"), options);
        let policy = policy(dir, "control_mode = \"ccm\"");
        let (first, second) = (dir.join("first"), dir.join("second"));
        ended(&apply(&machine, &policy, &first), 0, "satisfied");
        for _ in 0..2 {
            ended(&rotate(&machine, &policy, &first, dir), 0, "satisfied");
        }
        unprovision(&machine);
        ended(&apply(&machine, &policy, &second), 0, "satisfied");
        Self { machine, policy, first, second }
    }
}

#[test]
fn a_change_that_is_open_here_is_not_ended_by_another_mediums_generation() {
    let scratch = scratch();
    let fault = format!("{CHANGE}=kill-peer-after#3");
    let TwoMedia { machine, policy, first, second } = TwoMedia::new(scratch.path(), &["--fault", &fault]);
    assert_eq!(code(&rotate(&machine, &policy, &second, scratch.path())), None, "killed");
    let candidate = name(&live(&machine.state(), &second)[0]);
    assert!(candidate.starts_with("amt.2."), "{candidate}");
    merge(&first, &second);

    let mutating = machine.mutating_calls();
    for _ in 0..2 {
        let result = ended(&apply(&machine, &policy, &second), 6, "indeterminate");
        assert!(result["text"].as_str().unwrap().contains(&candidate), "{}", result["text"]);
    }
    ended(&verify(&machine, &second), 6, "indeterminate");
    assert_eq!(machine.mutating_calls(), mutating);

    let known = opened(&live(&machine.state(), &second)[0], scratch.path());
    let result = ended(&with(&machine, &policy, &second, &[&known], &[]), 0, "satisfied");
    assert_told(&result, &candidate, "ccm");
    assert_eq!(passwords_outside_escrow(&machine.state(), &second), None);
    let result = ended(&apply(&machine, &policy, &second), 0, "satisfied");
    assert_eq!(
        (&result["changed"], result["outcomes"][0]["status"].as_str()),
        (&json!(false), Some("already_so"))
    );
    assert_told(&result, &candidate, "ccm");

    // The medium of before learns the same, and what it knew before does not stand in the way of a new password.
    merge(&second, &first);
    assert_told(&ended(&apply(&machine, &policy, &first), 0, "satisfied"), &candidate, "ccm");
    ended(&rotate(&machine, &policy, &first, scratch.path()), 0, "satisfied");
}

/// The other one was set up in admin control mode with another certificate, and has the higher generation.
#[test]
fn mode_settings_certificate_and_credential_are_those_of_the_realm_that_answers() {
    let scratch = scratch();
    let org = Org::new(scratch.path(), "sol = true, tls = \"required\"");
    let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &org.trusted());
    let dir = |name: &str| {
        let dir = scratch.path().join(name);
        fs::create_dir(&dir).unwrap();
        dir
    };
    let (first, second, third) = (dir("first"), dir("second"), dir("third"));
    ended(&apply(&machine, &org.policy, &first), 0, "satisfied");
    ended(&rotate(&machine, &org.policy, &first, scratch.path()), 0, "satisfied");
    // Somebody who knows its password unprovisions it, and the first store does not hear of it.
    let known = opened(&live(&machine.state(), &first)[0], scratch.path());
    let leaving = policy(&third, "provisioned = false, take_over = true");
    ended(&with(&machine, &leaving, &third, &[&known], &[]), 0, "satisfied");
    let client = policy(&second, "control_mode = \"ccm\", tls = \"required\"");
    ended(&apply(&machine, &client, &second), 0, "satisfied");
    let escrow = name(&live(&machine.state(), &second)[0]);
    merge(&first, &second);
    raise_serial(&client, 2);

    let mutating = machine.mutating_calls();
    assert_eq!(
        code(&agent(["plan"].iter().copied().chain(arguments(&machine, &client, &second)[1..].to_vec()))),
        Some(0)
    );
    assert_told(&ended(&apply(&machine, &client, &second), 0, "satisfied"), &escrow, "ccm");
    let seen = ended(&verify(&machine, &second), 0, "satisfied");
    assert_eq!(seen["amt"]["reason"], "as-claimed", "{seen:#}");
    assert_eq!(machine.mutating_calls(), mutating);

    // The right password can be used; no other realm's is expected.
    ended(&rotate(&machine, &client, &second, scratch.path()), 0, "satisfied");
    assert_eq!(passwords_outside_escrow(&machine.state(), &second), None);
    ended(&apply(&machine, &client, &second), 0, "satisfied");
}

#[test]
fn from_another_host_the_claim_is_the_one_that_the_device_answers_to() {
    let scratch = scratch();
    let TwoMedia { machine, first, second, .. } = TwoMedia::new(scratch.path(), &[]);
    let escrow = live(&machine.state(), &second).remove(0);
    let secret = open(&escrow);
    merge(&first, &second);
    let line = scratch.path().join("line");
    fs::write(&line, format!("{}\n", secret["password"].as_str().unwrap())).unwrap();
    let (device, address) =
        (secret["device_id"].as_str().unwrap(), format!("127.0.0.1:{}", machine.port("16992")));
    let look = |known: &Path| {
        let (out, known) = (second.to_str().unwrap(), known.to_str().unwrap());
        let to =
            ["verify", "--out", out, "--remote", &address, "--device", device, "--known-credential", known];
        agent(to.into_iter().chain(["--cleartext", &closed_port(), "--json"]))
    };
    let bad = || machine.state()["counters"]["http:bad-login"].as_u64().unwrap();
    for known in [opened(&escrow, scratch.path()), line] {
        let before = bad();
        let result = ended(&look(&known), 0, "satisfied");
        assert_eq!(
            (&result["claimed"]["generation"], bad()),
            (&json!(1), before + 1),
            "the wrong one of the proof"
        );
    }
    // What was of the provisioning before goes to none of the others.
    let before = bad();
    let old = escrow_files(&first).into_iter().find(|file| name(file).starts_with("amt.3.")).unwrap();
    ended(&look(&opened(&old, scratch.path())), 9, "realm-changed");
    assert_eq!(bad(), before);
}

/// AMT 12 answers over cleartext locally, where nothing tells which certificate it serves on the network.
#[test]
fn a_certificate_that_was_proven_stays_so_where_another_medium_replaced_it() {
    let scratch = scratch();
    let org = Org::new(scratch.path(), "tls = \"required\"");
    let machine = Machine::start("vpro-desktop-amt12", &scratch.path().join("vpro"), &org.trusted());
    let (first, second) = (scratch.path().join("first"), scratch.path().join("second"));
    ended(&apply(&machine, &org.policy, &first), 0, "satisfied");
    merge(&first, &second);
    ended(&rotate(&machine, &org.policy, &second, scratch.path()), 0, "satisfied");
    merge(&second, &first);
    let escrow = name(&live(&machine.state(), &first)[0]);
    assert_told(&ended(&apply(&machine, &org.policy, &first), 0, "satisfied"), &escrow, "acm");
    assert_eq!(ended(&verify(&machine, &first), 0, "satisfied")["amt"]["reason"], "as-claimed");
}
