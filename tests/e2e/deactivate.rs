//! `amt.provisioned = false`: what is ours is unprovisioned once and seen so, what is not is left alone, and a lost answer
//! or a killed run ends well.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use oob_tests::provisioning::{Org, policy, raise_serial};
use oob_tests::{Machine, agent_command, code, json, scratch, stride, text};
use serde_json::Value;

use crate::known::{of_others, opened, with};
use crate::use_acm::{apply, arguments};
use crate::use_ccm::escrow_files;

const MEI: &str = "pthi:0x04000010";
const STOP: &str = "pthi:0x0400005e";
const FULL: &str = "wsman:AMT_SetupAndConfigurationService.Unprovision";
const PARTIAL: &str = "wsman:AMT_SetupAndConfigurationService.PartialUnprovision";

fn counter(machine: &Machine, name: &str) -> u64 {
    machine.state()["counters"][name].as_u64().unwrap_or(0)
}

/// A machine of ours in client or admin control mode, and its org state.
pub(crate) fn ours(dir: &Path, admin: bool, options: &[&str]) -> (Machine, PathBuf) {
    let out = dir.join("out");
    let org = Org::new(dir, "sol = true, tls = \"required\"");
    let options = [&org.trusted()[..], options].concat();
    let machine = Machine::start("vpro-desktop-amt16", &dir.join("vpro"), &options);
    let asking = if admin { org.policy } else { policy(dir, "control_mode = \"ccm\", sol = true") };
    let run = apply(&machine, &asking, &out);
    assert_eq!(code(&run), Some(0), "{}\n{}", text(&run.stdout), text(&run.stderr));
    (machine, out)
}

/// The policy that wants AMT unprovisioned, with a higher serial.
fn unprovisioned(dir: &Path, more: &str) -> PathBuf {
    let file = policy(dir, &format!("provisioned = false{more}"));
    raise_serial(&file, 2);
    file
}

fn told(run: &Output) -> String {
    format!("{}\n{}", text(&run.stdout), text(&run.stderr))
}

/// The device is unprovisioned, the run says so, and the next run sends nothing that changes anything.
#[track_caller]
fn assert_left(run: &Output, machine: &Machine, asking: &Path, out: &Path) -> Value {
    assert_eq!(code(run), Some(0), "{}", told(run));
    let result = json(run);
    let state = machine.state();
    assert_eq!((&state["control_mode"], &state["provisioning_state"]), (&0.into(), &0.into()));
    let amt = &result["capability"]["channels"][0];
    assert_eq!((&amt["state"], &amt["can"]), (&"present".into(), &Value::Array(Vec::new())), "{amt}");
    assert!(!result["findings"].to_string().contains("amt-provisioned-by-others"));
    assert_rests(machine, asking, out);
    result
}

#[track_caller]
fn assert_rests(machine: &Machine, asking: &Path, out: &Path) {
    let (mutating, escrow) = (machine.mutating_calls(), escrow_files(out));
    let rest = apply(machine, asking, out);
    let result = json(&rest);
    assert_eq!((code(&rest), &result["changed"]), (Some(0), &false.into()), "{}", told(&rest));
    assert_eq!(result["outcomes"][0]["step"], "amt.unprovisioned");
    assert!(result["outcomes"][0]["evidence"]["event"].is_null(), "org state was told before");
    assert_eq!((machine.mutating_calls(), escrow_files(out)), (mutating, escrow));
}

/// Set up again, org state takes the new provisioning for ours and no other.
#[track_caller]
fn assert_can_be_used_again(machine: &Machine, dir: &Path, out: &Path) {
    let client = policy(dir, "control_mode = \"ccm\"");
    raise_serial(&client, 3);
    for changed in [true, false] {
        let run = apply(machine, &client, out);
        assert_eq!((code(&run), &json(&run)["changed"]), (Some(0), &changed.into()), "{}", told(&run));
    }
    assert_eq!(machine.state()["control_mode"], 1);
}

#[test]
fn client_control_mode_is_left_over_mei_without_a_password() {
    let scratch = scratch();
    let (machine, out) = ours(scratch.path(), false, &[]);
    let (realm, escrow) = (machine.state()["realm"].clone(), escrow_files(&out));
    let asking = unprovisioned(scratch.path(), "");
    let run = apply(&machine, &asking, &out);
    let result = assert_left(&run, &machine, &asking, &out);
    assert_eq!(
        (&result["changed"], &result["outcomes"][0]["step"]),
        (&true.into(), &"amt.unprovision".into())
    );
    assert_eq!(result["outcomes"][0]["evidence"]["login"], "realm-changed");
    assert_eq!((counter(&machine, MEI), counter(&machine, FULL)), (1, 0));
    assert_ne!(machine.state()["realm"], realm);
    assert_eq!(escrow_files(&out), escrow, "escrow files stay");
    assert_can_be_used_again(&machine, scratch.path(), &out);
}

#[test]
fn admin_control_mode_is_left_as_admin_only() {
    for (more, call, login) in [("", FULL, "realm-changed"), (", unprovision = \"partial\"", PARTIAL, "kept")]
    {
        let scratch = scratch();
        let (machine, out) = ours(scratch.path(), true, &[]);
        let asking = unprovisioned(scratch.path(), more);
        let mutating = machine.mutating_calls();
        let refused = apply(&machine, &asking, &out);
        assert_eq!((code(&refused), &json(&refused)["reason"]), (Some(9), &"credential-needed".into()));
        assert!(text(&refused.stdout).contains("--known-credential"), "{}", told(&refused));
        assert_eq!(machine.mutating_calls(), mutating);
        let file = opened(&escrow_files(&out)[0], scratch.path());
        let run = with(&machine, &asking, &out, &[&file], &[]);
        let result = assert_left(&run, &machine, &asking, &out);
        assert_eq!(result["outcomes"][0]["evidence"]["login"], login, "{}", told(&run));
        assert_eq!((counter(&machine, call), counter(&machine, MEI)), (1, 0));
        assert_eq!(machine.mutating_calls(), mutating + 1);
        assert_can_be_used_again(&machine, scratch.path(), &out);
    }
}

#[test]
fn a_wrong_credential_is_tried_once_and_leaves_it_as_it_was() {
    let scratch = scratch();
    let (machine, out) = ours(scratch.path(), true, &[]);
    let asking = unprovisioned(scratch.path(), "");
    let wrong = scratch.path().join("wrong");
    fs::write(&wrong, "Wrong-Passw0rd!\n").unwrap();
    let (mutating, bad) = (machine.mutating_calls(), counter(&machine, "http:bad-login"));
    let run = with(&machine, &asking, &out, &[&wrong], &[]);
    assert_eq!(
        (code(&run), &json(&run)["reason"]),
        (Some(5), &"credential-refused".into()),
        "{}",
        told(&run)
    );
    assert_eq!((machine.mutating_calls(), counter(&machine, "http:bad-login")), (mutating, bad + 1));
    assert_eq!(machine.state()["control_mode"], 2);
}

#[test]
fn what_others_set_up_is_left_alone_unless_policy_and_password_permit_it() {
    let scratch = scratch();
    let (machine, file) = of_others(scratch.path(), &[]);
    let out = scratch.path().join("out");
    let mutating = machine.mutating_calls();
    let plain = policy(scratch.path(), "provisioned = false");
    for known in [&[][..], &[file.as_path()]] {
        let run = with(&machine, &plain, &out, known, &[]);
        assert_eq!((code(&run), &json(&run)["reason"]), (Some(8), &"provisioned-by-others".into()));
    }
    let permitting = unprovisioned(scratch.path(), ", take_over = true");
    let run = apply(&machine, &permitting, &out);
    assert_eq!((code(&run), machine.mutating_calls()), (Some(8), mutating), "{}", told(&run));
    let run = with(&machine, &permitting, &out, &[&file], &[]);
    assert_left(&run, &machine, &permitting, &out);
    assert_eq!(counter(&machine, FULL), 1);
}

#[test]
fn firmware_that_asks_for_later_is_told_again_and_not_for_ever() {
    for (times, ends) in [("2", true), ("100", false)] {
        let scratch = scratch();
        let (machine, out) = ours(scratch.path(), true, &["--blocking", times]);
        let asking = unprovisioned(scratch.path(), "");
        let file = opened(&escrow_files(&out)[0], scratch.path());
        let run = with(&machine, &asking, &out, &[&file], &[]);
        if ends {
            assert_left(&run, &machine, &asking, &out);
            assert_eq!(counter(&machine, FULL), 3);
        } else {
            assert_eq!((code(&run), &json(&run)["reason"]), (Some(5), &"unprovision-refused".into()));
            assert!((2..=6).contains(&counter(&machine, FULL)), "{}", counter(&machine, FULL));
            assert_eq!(machine.state()["control_mode"], 2);
            assert_eq!(json(&run)["changed"], false);
        }
    }
}

#[test]
fn a_lost_answer_is_probed_and_never_answered_by_sending_again() {
    for (admin, call) in [(false, MEI), (true, FULL)] {
        for (fault, acted) in
            [("drop-after", true), ("garbage", true), ("drop-before", false), ("return-value:1", false)]
        {
            let (when, scratch) = (format!("{call} {fault}"), scratch());
            let fault = format!("{call}={fault}");
            let (machine, out) = ours(scratch.path(), admin, &["--fault", &fault]);
            let asking = unprovisioned(scratch.path(), "");
            let file = opened(&escrow_files(&out)[0], scratch.path());
            let run = with(&machine, &asking, &out, &[&file], &[]);
            assert_eq!(counter(&machine, call), 1, "{when}: sent again");
            if acted {
                assert_left(&run, &machine, &asking, &out);
            } else {
                assert_eq!(
                    (code(&run), &json(&run)["changed"]),
                    (Some(5), &false.into()),
                    "{when}: {}",
                    told(&run)
                );
                assert_eq!(machine.state()["control_mode"], if admin { 2 } else { 1 }, "{when}");
                // One more run does it.
                assert_left(&with(&machine, &asking, &out, &[&file], &[]), &machine, &asking, &out);
            }
        }
    }
}

#[test]
fn killed_at_any_point_one_more_run_ends_unprovisioned() {
    for (admin, call) in [(false, MEI), (true, FULL)] {
        let mut tried = 0;
        for point in (1..).step_by(stride(41, 11)) {
            let (when, scratch) = (format!("{call}, crash point {point}"), scratch());
            let (machine, out) = ours(scratch.path(), admin, &[]);
            let asking = unprovisioned(scratch.path(), "");
            let file = opened(&escrow_files(&out)[0], scratch.path());
            let mut command = agent_command();
            command.args(arguments(&machine, &asking, &out)).env("OOB_PROBE_KILL", point.to_string());
            command.args(["--known-credential".as_ref(), file.as_os_str()]);
            let ended = command.output().expect("running oob-agent");
            let over = code(&ended).is_some();
            if !over {
                let again = with(&machine, &asking, &out, &[&file], &[]);
                assert_eq!(code(&again), Some(0), "{when}: {}", told(&again));
                assert!(
                    !json(&again)["capability"]["channels"][0].to_string().contains("verified"),
                    "{when}"
                );
            }
            assert_eq!((&machine.state()["control_mode"], counter(&machine, call)), (&0.into(), 1), "{when}");
            assert_rests(&machine, &asking, &out);
            if over {
                break;
            }
            tried += 1;
        }
        assert!(tried > 2, "only {tried} points");
    }
}

#[test]
fn a_configuration_that_was_begun_is_stopped_only_where_it_is_ours() {
    let scratch = scratch();
    let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &["--in-provisioning"]);
    let (asking, out) = (policy(scratch.path(), "provisioned = false"), scratch.path().join("out"));
    let run = apply(&machine, &asking, &out);
    assert_eq!(
        (code(&run), &json(&run)["reason"]),
        (Some(8), &"provisioned-by-others".into()),
        "{}",
        told(&run)
    );
    assert_eq!(counter(&machine, STOP), 0);
    // What a run of ours would have left that died there.
    let realm = machine.state()["realm"].as_str().unwrap().to_owned();
    let entry = format!("{{\"entry\":\"leaving\",\"realm\":\"{realm}\",\"call\":\"x\"}}");
    crate::known::write_journal(&out, &[&entry]);
    let run = apply(&machine, &asking, &out);
    assert_left(&run, &machine, &asking, &out);
    assert_eq!(counter(&machine, STOP), 1);
}

/// The same machine, set up anew by others in the same mode: our proof and our password are of another AMT.
#[test]
fn what_others_set_up_since_is_neither_left_nor_taken_up() {
    for (admin, asks) in [(false, "provisioned = false"), (true, "provisioned = false"), (false, "up")] {
        let scratch = scratch();
        let (machine, out) = ours(scratch.path(), admin, &[]);
        let file = opened(&escrow_files(&out)[0], scratch.path());
        drop(machine);
        let other = scratch.path().join("other");
        fs::create_dir(&other).unwrap();
        let org = Org::new(&other, "sol = true");
        let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &org.trusted());
        let theirs = if admin { org.policy.clone() } else { policy(&other, "control_mode = \"ccm\"") };
        assert_eq!(code(&apply(&machine, &theirs, &other.join("out"))), Some(0));
        let (mutating, logins) = (machine.mutating_calls(), counter(&machine, "http:bad-login"));
        let asking = match asks {
            "up" => {
                let chain = format!(
                    "control_mode = \"acm\", certificate = \"file:{}\"",
                    other.join("bundle.pem").display()
                );
                policy(scratch.path(), &chain)
            }
            asks => policy(scratch.path(), asks),
        };
        raise_serial(&asking, 2);
        let run = with(&machine, &asking, &out, &[&file], &[]);
        assert_eq!((code(&run), &json(&run)["reason"]), (Some(9), &"realm-changed".into()), "{}", told(&run));
        assert_eq!((machine.mutating_calls(), counter(&machine, "http:bad-login")), (mutating, logins));
        assert_eq!(json(&run)["changed"], false);
    }
}
