//! `--known-credential`: AMT that is ours is completed or given a new password, and what others set up is taken over, each
//! with one login; a credential that is wrong, or of another AMT, changes nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use md5::{Digest, Md5};
use oob_tests::provisioning::{Org, policy, raise_serial};
use oob_tests::{Machine, agent, code, files, json, scratch, text};
use serde_json::Value;
use sha2::Sha256;

use crate::honesty::passwords_outside_escrow;
use crate::use_acm::{apply, arguments};
use crate::use_ccm::{escrow_files, open};

pub(crate) const CHANGE: &str = "wsman:AMT_AuthorizationService.SetAdminAclEntryEx";

/// What an escrow file opens to, as a file for the agent.
pub(crate) fn opened(escrow: &Path, dir: &Path) -> PathBuf {
    let file = dir.join(format!("{}.json", escrow.file_name().unwrap().to_str().unwrap()));
    fs::write(&file, open(escrow).to_string()).unwrap();
    file
}

pub(crate) fn with(machine: &Machine, policy: &Path, out: &Path, known: &[&Path], more: &[&str]) -> Output {
    let mut all: Vec<&str> = arguments(machine, policy, out).to_vec();
    for file in known {
        all.extend(["--known-credential", file.to_str().unwrap()]);
    }
    all.extend(more);
    agent(all)
}

/// The escrow files whose password is the live one.
pub(crate) fn live(state: &Value, out: &Path) -> Vec<PathBuf> {
    let (realm, live) = (state["realm"].as_str().unwrap(), state["ha1_sha256"].as_str().unwrap());
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let is_live = |file: &PathBuf| {
        let secret = open(file);
        let password = secret["password"].as_str().unwrap();
        let ha1 = hex(&Md5::digest(format!("admin:{realm}:{password}")));
        hex(&Sha256::digest(ha1.as_bytes())) == live
    };
    escrow_files(out).into_iter().filter(is_live).collect()
}

pub(crate) fn name(file: &Path) -> String {
    file.file_name().unwrap().to_str().unwrap().to_owned()
}

fn counter(machine: &Machine, name: &str) -> u64 {
    machine.state()["counters"][name].as_u64().unwrap_or(0)
}

/// The one journal of this org state, as it is left by a run that died behind the last of these entries.
pub(crate) fn write_journal(out: &Path, entries: &[&str]) {
    let journal = files(out).into_iter().find(|file| name(file) == "journal.jsonl").unwrap();
    let line = |entry: &&str| {
        let sum: String = Sha256::digest(entry).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{},\"sum\":\"{}\"}}\n", entry.strip_suffix('}').unwrap(), &sum[..16])
    };
    fs::write(journal, entries.iter().map(line).collect::<String>()).unwrap();
}

/// A machine in admin control mode by this org, with `settings`.
fn ours(dir: &Path, settings: &str, options: &[&str]) -> (Org, Machine, PathBuf) {
    let org = Org::new(dir, settings);
    let machine =
        Machine::start("vpro-desktop-amt16", &dir.join("vpro"), &[&org.trusted(), options].concat());
    let out = dir.join("out");
    let run = apply(&machine, &org.policy, &out);
    assert_eq!(code(&run), Some(0), "{}\n{}", text(&run.stdout), text(&run.stderr));
    (org, machine, out)
}

/// A machine that another org set up, in admin control mode, and the file with its password.
pub(crate) fn of_others(dir: &Path, options: &[&str]) -> (Machine, PathBuf) {
    let other = dir.join("other");
    fs::create_dir(&other).unwrap();
    let (_, machine, out) = ours(&other, "", options);
    (machine, opened(&escrow_files(&out)[0], dir))
}

/// A policy that takes over in whichever mode.
pub(crate) fn taking(dir: &Path, settings: &str) -> PathBuf {
    policy(dir, &format!("control_mode = \"acm-or-ccm\", take_over = true{settings}"))
}

fn assert_proven(run: &Output, what: &str) -> Value {
    assert_eq!(code(run), Some(0), "{what}: {}\n{}", text(&run.stdout), text(&run.stderr));
    let result = json(run);
    let amt = &result["capability"]["channels"][0];
    assert_eq!((&amt["state"], &amt["confidence"]), (&"verified".into(), &"proven".into()), "{what}: {amt}");
    assert!(!result["findings"].to_string().contains("amt-provisioned-by-others"), "{what}");
    result
}

fn assert_rests(machine: &Machine, policy: &Path, out: &Path) {
    let (mutating, escrow) = (machine.mutating_calls(), escrow_files(out));
    let rest = apply(machine, policy, out);
    assert_eq!(
        (code(&rest), &json(&rest)["changed"]),
        (Some(0), &false.into()),
        "{}\n{}",
        text(&rest.stdout),
        text(&rest.stderr)
    );
    assert_eq!((machine.mutating_calls(), escrow_files(out)), (mutating, escrow));
}

#[test]
fn what_a_later_policy_asks_is_added_with_the_credential() {
    for form in ["json", "line"] {
        let scratch = scratch();
        let (org, machine, out) = ours(scratch.path(), "sol = true", &[]);
        let more = Org::new(scratch.path(), "sol = true, kvm = true, consent = \"none\", tls = \"required\"");
        raise_serial(&more.policy, 2);
        assert_eq!(code(&apply(&machine, &more.policy, &out)), Some(9));
        let escrow = escrow_files(&out);
        let mut file = opened(&escrow[0], scratch.path());
        if form == "line" {
            file = scratch.path().join("line");
            fs::write(&file, format!("{}\n", open(&escrow[0])["password"].as_str().unwrap())).unwrap();
        }
        let (bad, changes) = (counter(&machine, "http:bad-login"), counter(&machine, CHANGE));
        let run = with(&machine, &more.policy, &out, &[&file], &[]);
        let result = assert_proven(&run, form);
        assert_eq!(result["changed"], true);
        let state = machine.state();
        assert_eq!(state["settings"]["consent"]["required"], 0);
        assert_eq!(counter(&machine, CHANGE), changes, "{form}: the password stays");
        assert_eq!(counter(&machine, "http:bad-login"), bad + 1, "{form}: the wrong one of the proof");
        assert_eq!(passwords_outside_escrow(&state, &out), None);
        // A line does not tell which escrow file it is of, so it is sealed anew.
        let named = result["outcomes"][0]["evidence"]["escrow"].as_str().unwrap().to_owned();
        assert!(live(&state, &out).iter().any(|file| name(file) == named), "{form}");
        assert_eq!(escrow_files(&out).len(), if form == "line" { 2 } else { 1 }, "{form}");
        // The one of before knew nothing of TLS.
        let port = if form == "line" { "16993/https-digest" } else { "16992/http-digest" };
        assert_eq!(open(&live(&state, &out)[0])["endpoint"], "16992/http-digest", "{form}");
        assert!(escrow_files(&out).iter().any(|file| open(file)["endpoint"] == port), "{form}");
        assert_rests(&machine, &more.policy, &out);
        drop(org);
    }
}

/// KVM's own switch opens no port: without the redirection listener nobody gets to it.
#[test]
fn kvm_is_listened_for_with_and_without_the_rest() {
    let seen = |machine: &Machine| {
        let settings = &machine.state()["settings"];
        (settings["kvm"].clone(), settings["listener"].clone(), settings["redirection"].clone())
    };
    let none = || 32768.into();
    for (settings, kvm) in [
        ("kvm = true", true),
        ("kvm = true, sol = false, ider = false", true),
        ("kvm = false, sol = false, ider = false", false),
    ] {
        let scratch = scratch();
        let (_org, machine, out) = ours(scratch.path(), settings, &[]);
        assert_eq!(seen(&machine), (kvm.into(), kvm.into(), none()), "{settings}");
        // What says nothing of KVM does not close it.
        let later = Org::new(scratch.path(), "sol = false, ider = false, consent = \"none\"");
        raise_serial(&later.policy, 2);
        let file = opened(&escrow_files(&out)[0], scratch.path());
        assert_proven(&with(&machine, &later.policy, &out, &[&file], &[]), settings);
        assert_eq!(seen(&machine), (kvm.into(), kvm.into(), none()), "{settings}");
        // And SOL that comes and goes leaves it as it was.
        for (serial, sol, state) in [(3, true, 32770), (4, false, 32768)] {
            let policy = Org::new(scratch.path(), &format!("sol = {sol}, consent = \"none\""));
            raise_serial(&policy.policy, serial);
            assert_proven(&with(&machine, &policy.policy, &out, &[&file], &[]), settings);
            assert_eq!(seen(&machine), (kvm.into(), (kvm || sol).into(), state.into()), "{settings} {sol}");
        }
    }
}

#[test]
fn kvm_is_not_told_where_its_listener_does_not_read_back() {
    let scratch = scratch();
    let org = Org::new(scratch.path(), "kvm = true");
    let fault = "wsman:AMT_RedirectionService.Get=no-fields#2";
    let options = [&org.trusted()[..], &["--fault", fault]].concat();
    let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &options);
    let run = apply(&machine, &org.policy, &scratch.path().join("out"));
    let result = json(&run);
    assert_eq!((code(&run), &result["reason"]), (Some(9), &"amt-incomplete".into()), "{}", text(&run.stderr));
    assert!(result["text"].as_str().unwrap().contains("redirection listener"), "{}", result["text"]);
}

/// A write that acted in a run that failed or died is no reason to believe what an earlier proof says of that setting.
#[test]
fn what_a_failed_run_rewrote_is_not_proven_any_more() {
    let put = "wsman:IPS_OptInService.Put";
    for (fault, exit) in [("kill-peer-after", None), ("drop-after", Some(9)), ("garbage", Some(9))] {
        let scratch = scratch();
        let strikes = format!("{put}={fault}#2");
        let (org, machine, out) =
            ours(scratch.path(), "consent = \"all\", sol = true", &["--fault", &strikes]);
        let before = fs::read_to_string(&org.policy).unwrap();
        let file = opened(&escrow_files(&out)[0], scratch.path());
        let other = Org::new(scratch.path(), "consent = \"none\", kvm = true, sol = true");
        raise_serial(&other.policy, 2);
        let run = with(&machine, &other.policy, &out, &[&file], &[]);
        assert_eq!(code(&run), exit, "{fault}: {}\n{}", text(&run.stdout), text(&run.stderr));
        assert_eq!(machine.state()["settings"]["consent"]["required"], 0, "{fault}: the write acted");
        if exit.is_some() {
            let evidence = &json(&run)["outcomes"][0]["evidence"];
            assert_eq!(evidence["settings"].to_string(), "[\"sol = true\"]", "{fault}");
        }
        // Policy is as it was, and AMT is not.
        fs::write(&org.policy, before).unwrap();
        raise_serial(&org.policy, 3);
        let rest = apply(&machine, &org.policy, &out);
        assert_eq!((code(&rest), &json(&rest)["reason"]), (Some(9), &"amt-incomplete".into()), "{fault}");
        assert!(json(&rest)["text"].as_str().unwrap().contains("consent = all"), "{}", text(&rest.stdout));
        assert_proven(&with(&machine, &org.policy, &out, &[&file], &[]), fault);
        assert_eq!(machine.state()["settings"]["consent"]["required"], u64::from(u32::MAX), "{fault}");
        assert_rests(&machine, &org.policy, &out);
    }
}

#[test]
fn a_credential_that_left_the_store_is_sealed_again() {
    let scratch = scratch();
    let (org, machine, out) = ours(scratch.path(), "sol = true", &[]);
    let file = opened(&escrow_files(&out)[0], scratch.path());
    fs::remove_file(&escrow_files(&out)[0]).unwrap();
    assert_eq!(json(&apply(&machine, &org.policy, &out))["reason"], "credential-missing");
    let mutating = machine.mutating_calls();
    let result = assert_proven(&with(&machine, &org.policy, &out, &[&file], &[]), "sealed again");
    assert_eq!((&result["changed"], machine.mutating_calls()), (&false.into(), mutating));
    assert_eq!(passwords_outside_escrow(&machine.state(), &out), None);
    assert_rests(&machine, &org.policy, &out);
}

#[test]
fn a_run_that_died_in_admin_setup_is_completed() {
    let scratch = scratch();
    let org = Org::new(scratch.path(), "sol = true, mebx = true");
    let fault = "wsman:IPS_HostBasedSetupService.AdminSetup=kill-peer-after";
    let options = [&org.trusted()[..], &["--fault", fault]].concat();
    let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &options);
    let out = scratch.path().join("out");
    assert_eq!(code(&apply(&machine, &org.policy, &out)), None, "it was killed");
    assert_eq!(code(&apply(&machine, &org.policy, &out)), Some(6));
    let file = opened(&escrow_files(&out)[0], scratch.path());
    let result = assert_proven(&with(&machine, &org.policy, &out, &[&file], &[]), "resumed");
    assert_eq!((&result["changed"], counter(&machine, CHANGE)), (&true.into(), 0));
    assert_eq!(passwords_outside_escrow(&machine.state(), &out), None);
    assert_rests(&machine, &org.policy, &out);
}

#[test]
fn a_new_password_replaces_the_one_that_was_given() {
    for settings in ["sol = true, consent = \"none\", mebx = true", "tls = \"required\""] {
        let scratch = scratch();
        let (org, machine, out) = ours(scratch.path(), settings, &[]);
        let old = escrow_files(&out).into_iter().find(|file| name(file).starts_with("amt.")).unwrap();
        let file = opened(&old, scratch.path());
        let mutating = machine.mutating_calls();
        let result = assert_proven(&with(&machine, &org.policy, &out, &[&file], &["--rotate"]), settings);
        assert_eq!(result["changed"], true);
        assert_eq!(counter(&machine, CHANGE), 1, "{settings}");
        // Where policy asks for TLS, the certificate is replaced too (`rotate_tls.rs`).
        if !settings.contains("tls") {
            assert_eq!(machine.mutating_calls(), mutating + 1, "{settings}");
        }
        let state = machine.state();
        assert_eq!(passwords_outside_escrow(&state, &out), None);
        let now = live(&state, &out);
        assert_eq!(now.len(), 1);
        assert_ne!(now[0], old, "{settings}: the old password still works");
        let port = if settings.contains("tls") { "16993/https-digest" } else { "16992/http-digest" };
        assert_eq!((&open(&old)["endpoint"], &open(&now[0])["endpoint"]), (&port.into(), &port.into()));
        assert_eq!(result["outcomes"][0]["evidence"]["escrow"], name(&now[0]).as_str());
        // What was proven of its settings and of MEBx stays proven.
        let told = result["findings"].to_string();
        assert_eq!(told.contains("mebx-password-asserted"), settings.contains("mebx"), "{told}");
        assert_rests(&machine, &org.policy, &out);
        // The password before is refused, and told so.
        let again = with(&machine, &org.policy, &out, &[&file], &["--rotate"]);
        assert_eq!((code(&again), &json(&again)["reason"]), (Some(5), &"credential-refused".into()));
    }
}

#[test]
fn what_others_set_up_is_taken_over_where_policy_permits_it() {
    let scratch = scratch();
    let (machine, file) = of_others(scratch.path(), &[]);
    let out = scratch.path().join("out");
    let mutating = machine.mutating_calls();
    let forbidding = policy(scratch.path(), "control_mode = \"acm-or-ccm\", sol = true");
    let refused = with(&machine, &forbidding, &out, &[&file], &[]);
    assert_eq!((code(&refused), &json(&refused)["reason"]), (Some(8), &"provisioned-by-others".into()));
    assert!(
        json(&refused)["text"].as_str().unwrap().contains("amt.take_over = true"),
        "{}",
        text(&refused.stdout)
    );
    let permitting = taking(scratch.path(), ", sol = true, consent = \"none\", mebx = true");
    raise_serial(&permitting, 2);
    let refused = apply(&machine, &permitting, &out);
    assert_eq!(code(&refused), Some(8));
    assert!(
        json(&refused)["text"].as_str().unwrap().contains("--known-credential"),
        "{}",
        text(&refused.stdout)
    );
    assert_eq!((machine.mutating_calls(), counter(&machine, "http:bad-login")), (mutating, 1));

    let result = assert_proven(&with(&machine, &permitting, &out, &[&file], &[]), "taken over");
    assert_eq!((&result["changed"], counter(&machine, CHANGE)), (&true.into(), 1));
    let state = machine.state();
    assert_eq!(passwords_outside_escrow(&state, &out), None, "the live password is in our own escrow");
    assert_eq!((&state["control_mode"], &state["settings"]["consent"]["required"]), (&2.into(), &0.into()));
    assert_rests(&machine, &permitting, &out);
}

#[test]
fn a_configuration_that_was_begun_is_stopped_where_it_is_ours() {
    for ours in [false, true] {
        let scratch = scratch();
        let machine =
            Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &["--in-provisioning"]);
        let (client, out) = (policy(scratch.path(), "control_mode = \"ccm\""), scratch.path().join("out"));
        let run = apply(&machine, &client, &out);
        assert_eq!((code(&run), &json(&run)["reason"]), (Some(8), &"provisioned-by-others".into()));
        assert!(
            json(&run)["text"].as_str().unwrap().contains("begun and not ended"),
            "{}",
            text(&run.stdout)
        );
        assert_eq!(machine.mutating_calls(), 0);
        // What a run of ours would have left that died there; of another realm, it is of another AMT.
        let realm = machine.state()["realm"].as_str().unwrap().to_owned();
        let realm = if ours { realm } else { format!("Digest:{}", "0".repeat(32)) };
        let begin = format!(
            "{{\"entry\":\"begin\",\"run_id\":\"r\",\"generation\":1,\"realm\":\"{realm}\",\
             \"escrow\":\"amt.1.0123456789abcdef.age\"}}"
        );
        let sending = "{\"entry\":\"sending\",\"call\":\"IPS_HostBasedSetupService.Setup\"}";
        write_journal(&out, &[&begin, sending]);
        let run = apply(&machine, &client, &out);
        let told = format!("{}\n{}", text(&run.stdout), text(&run.stderr));
        let stopped = machine.state()["counters"]["pthi:0x0400005e"].as_u64().unwrap_or(0);
        if ours {
            assert_eq!((code(&run), stopped), (Some(0), 1), "{told}");
            assert_eq!(json(&run)["outcomes"][0]["step"], "amt.undo");
            assert_eq!(machine.state()["control_mode"], 1);
            assert_eq!(passwords_outside_escrow(&machine.state(), &out), None);
        } else {
            assert_eq!(
                (code(&run), &json(&run)["reason"]),
                (Some(8), &"provisioned-by-others".into()),
                "{told}"
            );
            assert_eq!((stopped, machine.mutating_calls()), (0, 0));
        }
    }
}

#[test]
fn a_machine_stays_in_the_mode_in_which_it_is_taken_over() {
    let scratch = scratch();
    let other = scratch.path().join("client");
    fs::create_dir(&other).unwrap();
    let client = policy(&other, "control_mode = \"ccm\"");
    let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &[]);
    assert_eq!(code(&apply(&machine, &client, &other.join("out"))), Some(0));
    let file = opened(&escrow_files(&other.join("out"))[0], scratch.path());
    let out = scratch.path().join("out");
    let (machine_of_admins, known) = of_others(scratch.path(), &[]);
    let asking = policy(scratch.path(), "take_over = true");
    let refused = with(&machine_of_admins, &asking, &scratch.path().join("out2"), &[&known], &[]);
    assert_eq!((code(&refused), &json(&refused)["reason"]), (Some(8), &"control-mode-not-as-policy".into()));
    let run = with(&machine, &asking, &out, &[&file], &[]);
    let result = assert_proven(&run, "client control mode");
    assert_eq!(result["capability"]["channels"][0]["control_mode"], "ccm");
    assert_eq!(passwords_outside_escrow(&machine.state(), &out), None);
    assert_rests(&machine, &asking, &out);
}

#[test]
fn a_wrong_credential_is_tried_once_and_changes_nothing() {
    let scratch = scratch();
    let (machine, _) = of_others(scratch.path(), &[]);
    let (permitting, out) = (taking(scratch.path(), ""), scratch.path().join("out"));
    let wrong = scratch.path().join("wrong");
    fs::write(&wrong, "Wrong-Passw0rd!\n").unwrap();
    let (mutating, bad, before) = (
        machine.mutating_calls(),
        counter(&machine, "http:bad-login"),
        machine.state()["ha1_sha256"].clone(),
    );
    let run = with(&machine, &permitting, &out, &[&wrong], &[]);
    assert_eq!(
        (code(&run), &json(&run)["reason"]),
        (Some(5), &"credential-refused".into()),
        "{}",
        text(&run.stderr)
    );
    assert_eq!(json(&run)["changed"], false);
    assert_eq!(counter(&machine, "http:bad-login"), bad + 1, "one bad login");
    assert_eq!((machine.mutating_calls(), &machine.state()["ha1_sha256"]), (mutating, &before));
    assert!(escrow_files(&out).is_empty(), "a credential was made for nothing");
    assert!(!text(&run.stdout).contains("Wrong-Passw0rd") && !text(&run.stderr).contains("Wrong-Passw0rd"));
}

#[test]
fn of_two_credentials_the_second_is_tried_when_the_first_is_refused() {
    let scratch = scratch();
    let (machine, file) = of_others(scratch.path(), &[]);
    let (permitting, out) = (taking(scratch.path(), ""), scratch.path().join("out"));
    let wrong = scratch.path().join("wrong");
    fs::write(&wrong, "Wrong-Passw0rd!\n").unwrap();
    assert_proven(&with(&machine, &permitting, &out, &[&wrong, &file], &[]), "the second");
    let three = with(&machine, &permitting, &out, &[&wrong, &wrong, &file], &[]);
    assert_eq!((code(&three), &json(&three)["reason"]), (Some(2), &"known-credential".into()));
    let alone = with(&machine, &permitting, &out, &[], &["--rotate"]);
    assert_eq!(code(&alone), Some(2), "--rotate needs a credential");
}

#[test]
fn no_login_is_sent_to_another_realm_or_another_device() {
    let scratch = scratch();
    let (org, first, out) = ours(scratch.path(), "sol = true", &[]);
    let file = opened(&escrow_files(&out)[0], scratch.path());
    drop(first);
    // The same machine, set up again by others.
    let again = scratch.path().join("again");
    fs::create_dir(&again).unwrap();
    let (_, machine, _) = ours(&again, "", &[]);
    let logins = |machine: &Machine| {
        let calls = machine.calls();
        calls.iter().filter(|call| call.starts_with("wsman:") || *call == "http:bad-login").count()
    };
    let before = logins(&machine);
    let run = with(&machine, &org.policy, &out, &[&file], &["--rotate"]);
    assert_eq!(
        (code(&run), &json(&run)["reason"]),
        (Some(9), &"realm-changed".into()),
        "{}",
        text(&run.stdout)
    );
    assert_eq!(logins(&machine), before, "a login was sent to another realm");
    assert!(json(&run)["findings"].to_string().contains("amt-provisioned-by-others"));

    let other = Machine::start("vpro-desktop-amt16", &scratch.path().join("other"), &["--seed", "2"]);
    let run = with(&other, &org.policy, &scratch.path().join("out2"), &[&file], &[]);
    assert_eq!((code(&run), &json(&run)["reason"]), (Some(2), &"known-credential".into()));
    assert!(other.calls().iter().all(|call| !call.starts_with("wsman:")), "{:?}", other.calls());
}
