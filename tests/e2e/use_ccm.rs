//! `use` in client control mode on a simulated vPro desktop, from pre-provisioned to proven, and again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use oob_tests::{Machine, agent, code, files, installed, json, scratch, text, workspace};
use serde_json::Value;

pub(crate) const POLICY: &str = "packaging/examples/use.toml";

pub(crate) fn apply(machine: &Machine, out: &Path) -> std::process::Output {
    agent(arguments(machine, out))
}

pub(crate) fn arguments<'a>(machine: &'a Machine, out: &'a Path) -> [&'a str; 8] {
    let (root, out) = (machine.dir.to_str().unwrap(), out.to_str().unwrap());
    ["apply", "--root", root, "--policy", POLICY, "--out", out, "--json"]
}

pub(crate) fn escrow_files(out: &Path) -> Vec<PathBuf> {
    files(out).into_iter().filter(|file| file.extension().is_some_and(|kind| kind == "age")).collect()
}

/// Opens an escrow file with the example identity `ops`, through the age library.
pub(crate) fn open(file: &Path) -> Value {
    let text = fs::read_to_string(workspace().join("packaging/examples/example-identity-ops.txt")).unwrap();
    let line = text.lines().find(|line| line.starts_with("AGE-SECRET-KEY-1")).unwrap();
    let identity: age::x25519::Identity = line.parse().unwrap();
    let plain = age::decrypt(&identity, &fs::read(file).unwrap()).expect("opening an escrow file");
    serde_json::from_slice(&plain).expect("an escrow file holds JSON")
}

#[test]
fn ends_in_client_control_mode_with_a_proven_credential() {
    let scratch = scratch();
    let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &[]);
    let out = scratch.path().join("out");
    let first = apply(&machine, &out);
    assert_eq!(code(&first), Some(0), "{}\n{}", text(&first.stdout), text(&first.stderr));
    let result = json(&first);
    assert_eq!((&result["schema"], &result["exit_code"]), (&"oob-result/1".into(), &0.into()));
    assert_eq!((&result["changed"], &result["reason"]), (&true.into(), &"satisfied".into()));
    let state = machine.state();
    assert_eq!((&state["control_mode"], &state["provisioning_state"]), (&1.into(), &2.into()));
    let amt = &result["capability"]["channels"][0];
    assert_eq!(
        (&amt["channel"], &amt["state"], &amt["confidence"]),
        (&"amt".into(), &"verified".into(), &"proven".into())
    );
    assert_eq!(amt["control_mode"], "ccm");

    // Exactly one mutating call: Setup. And a refused wrong password was part of the proof.
    assert_eq!(state["mutating"], 1, "{state:#}");
    assert_eq!(state["counters"]["wsman:IPS_HostBasedSetupService.Setup"], 1);
    assert_eq!(state["counters"]["http:bad-login"], 1, "a wrong password was seen refused");
    // As the firmware's account before, and twice as admin after, each time over a new channel with a fresh nonce; the
    // wrong password went with the nonce of the right one.
    assert_eq!(state["counters"]["wsman:AMT_GeneralSettings.Get"], 3);
    assert_eq!(state["counters"]["http:anonymous"], 3);

    let escrow = escrow_files(&out);
    assert_eq!(escrow.len(), 1, "one generation: {escrow:?}");
    let secret = open(&escrow[0]);
    assert_eq!(secret["username"], "admin");
    assert_login_from_outside(&machine, secret["password"].as_str().unwrap());

    // A second run: 0 mutating calls, nothing new in escrow, the same exit.
    let second = apply(&machine, &out);
    assert_eq!(code(&second), Some(0), "{}\n{}", text(&second.stdout), text(&second.stderr));
    let result = json(&second);
    assert_eq!(result["changed"], false);
    assert_eq!(result["outcomes"][0]["status"], "already_so", "{result:#}");
    assert_eq!(machine.mutating_calls(), 1, "the second run sent a mutating call");
    assert_eq!(escrow_files(&out), escrow);

    // Another org state: provisioned by others, 0 mutating calls.
    let third = apply(&machine, &scratch.path().join("other-out"));
    assert_eq!(code(&third), Some(8), "{}", text(&third.stderr));
    assert_eq!(json(&third)["reason"], "provisioned-by-others");
    assert_eq!(machine.mutating_calls(), 1, "somebody else's machine was touched");
}

fn assert_login_from_outside(machine: &Machine, password: &str) {
    if !installed("curl", "login from outside with curl --digest") {
        return;
    }
    let status = |password: &str| {
        let output = Command::new("curl")
            .args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "--digest", "-K", "-"])
            .args([
                "-H",
                "Content-Type: application/soap+xml",
                "-d",
                "@packaging/examples/get-general-settings.xml",
            ])
            .arg(format!("http://127.0.0.1:{}/wsman", machine.port("16992")))
            .current_dir(workspace())
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .and_then(|mut curl| {
                use std::io::Write;
                let escaped = password.replace('\\', "\\\\").replace('"', "\\\"");
                writeln!(curl.stdin.take().unwrap(), "user = \"admin:{escaped}\"")?;
                curl.wait_with_output()
            })
            .expect("running curl");
        text(&output.stdout)
    };
    assert_eq!(status(password), "200", "the escrowed password logs in");
    assert_eq!(status("Wrong-Passw0rd!"), "401");
    assert_eq!(status(password), "200");
}

#[test]
fn age_opens_the_escrow_file() {
    if !installed("age", "escrow files opened with the age program") {
        return;
    }
    let scratch = scratch();
    let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &[]);
    let out = scratch.path().join("out");
    assert_eq!(code(&apply(&machine, &out)), Some(0));
    let file = &escrow_files(&out)[0];
    for identity in ["example-identity-ops.txt", "example-identity-break-glass.txt"] {
        let output = Command::new("age")
            .arg("-d")
            .arg("-i")
            .arg(workspace().join("packaging/examples").join(identity))
            .arg(file)
            .output()
            .expect("running age");
        assert!(output.status.success(), "{identity}: {}", text(&output.stderr));
        let secret: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(secret, open(file), "{identity}");
    }
}

#[test]
fn machines_without_amt_are_told_apart() {
    for profile in ["consumer-laptop", "vm-kvm"] {
        let scratch = scratch();
        let machine = Machine::start(profile, &scratch.path().join("machine"), &[]);
        let out = scratch.path().join("out");
        let run = apply(&machine, &out);
        assert_eq!(code(&run), Some(8), "{profile}: {}", text(&run.stderr));
        assert_eq!(json(&run)["changed"], false);
        assert_eq!(machine.mutating_calls(), 0, "{profile}");
        assert!(escrow_files(&out).is_empty(), "{profile}: a credential was made for nothing");
    }
}

#[test]
fn a_failed_setup_leaves_the_device_and_says_so() {
    for (fault, exit) in [
        ("wsman:IPS_HostBasedSetupService.Setup=return-value:2", 5),
        ("wsman:IPS_HostBasedSetupService.Setup=fault", 5),
        ("wsman:IPS_HostBasedSetupService.Setup=http-500", 5),
        ("wsman:IPS_HostBasedSetupService.Setup=drop-before", 5),
    ] {
        let scratch = scratch();
        let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &["--fault", fault]);
        let out = scratch.path().join("out");
        let run = apply(&machine, &out);
        assert_eq!(code(&run), Some(exit), "{fault}: {}\n{}", text(&run.stdout), text(&run.stderr));
        assert_eq!(json(&run)["changed"], false, "{fault}");
        assert_eq!(machine.state()["control_mode"], 0, "{fault}");
        // The next run, without the fault, ends at the target.
        let again = apply(&machine, &out);
        assert_eq!(code(&again), Some(0), "{fault}: {}", text(&again.stderr));
        assert_eq!(machine.state()["control_mode"], 1, "{fault}");
    }
}

#[test]
fn a_lost_answer_to_setup_is_probed_and_not_resent() {
    for fault in ["drop-after", "garbage"] {
        let scratch = scratch();
        let call = format!("wsman:IPS_HostBasedSetupService.Setup={fault}");
        let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &["--fault", &call]);
        let out = scratch.path().join("out");
        let run = apply(&machine, &out);
        let state = machine.state();
        assert_eq!(
            state["counters"]["wsman:IPS_HostBasedSetupService.Setup"], 1,
            "{fault}: Setup was sent again"
        );
        let live = state["control_mode"] == 1;
        assert_eq!(
            code(&run),
            Some(if live { 0 } else { 5 }),
            "{fault}: {}\n{}",
            text(&run.stdout),
            text(&run.stderr)
        );
        assert_eq!(json(&run)["changed"], live, "{fault}");
    }
}

#[test]
fn firmware_that_drops_the_session_with_each_channel_is_set_up_all_the_same() {
    let scratch = scratch();
    let machine =
        Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &["--lme-drops-on-close"]);
    let run = apply(&machine, &scratch.path().join("out"));
    assert_eq!(code(&run), Some(0), "{}\n{}", text(&run.stdout), text(&run.stderr));
    assert_eq!(machine.state()["counters"]["wsman:IPS_HostBasedSetupService.Setup"], 1);
}

#[test]
fn one_lost_connection_during_the_read_back_does_not_undo_a_good_setup() {
    // The device calls after Setup, as an undisturbed run makes them.
    let calls = {
        let scratch = scratch();
        let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &[]);
        assert_eq!(code(&apply(&machine, &scratch.path().join("out"))), Some(0));
        machine.calls()
    };
    let setup = calls.iter().position(|call| call.ends_with(".Setup")).expect("Setup is among the calls") + 1;
    for call in setup + 1..=calls.len() {
        for fault in ["drop-before", "http-500", "settle-401"] {
            let scratch = scratch();
            let spec = format!("call:{call}={fault}");
            let machine =
                Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &["--fault", &spec]);
            let out = scratch.path().join("out");
            let run = apply(&machine, &out);
            let state = machine.state();
            assert_eq!(
                code(&run),
                Some(0),
                "{spec} ({}): {}\n{}",
                calls[call - 1],
                text(&run.stdout),
                text(&run.stderr)
            );
            assert_eq!((&state["control_mode"], &state["mutating"]), (&1.into(), &1.into()), "{spec}");
        }
    }
}

#[test]
fn setup_is_never_sent_twice_whatever_it_answers() {
    for fault in
        ["http-401", "http-500", "fault", "garbage", "stall", "drop-before", "drop-after", "wrong-command"]
    {
        let scratch = scratch();
        let spec = format!("wsman:IPS_HostBasedSetupService.Setup={fault}#*");
        let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &["--fault", &spec]);
        let run = apply(&machine, &scratch.path().join("out"));
        let state = machine.state();
        assert_eq!(state["counters"]["wsman:IPS_HostBasedSetupService.Setup"], 1, "{fault}");
        let live = state["control_mode"] == 1;
        assert_eq!(
            code(&run),
            Some(if live { 0 } else { 5 }),
            "{fault}: {}\n{}",
            text(&run.stdout),
            text(&run.stderr)
        );
    }
}

#[test]
fn a_credential_that_left_the_store_is_drift() {
    let scratch = scratch();
    let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &[]);
    let out = scratch.path().join("out");
    assert_eq!(code(&apply(&machine, &out)), Some(0));
    fs::remove_file(&escrow_files(&out)[0]).unwrap();
    let run = apply(&machine, &out);
    assert_eq!(
        (code(&run), &json(&run)["reason"]),
        (Some(9), &"credential-missing".into()),
        "{}",
        text(&run.stderr)
    );
    assert_eq!(machine.mutating_calls(), 1);
}

#[test]
fn the_result_says_what_the_exit_code_says() {
    let scratch = scratch();
    let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &[]);
    let out = scratch.path().join("out");
    assert_eq!(code(&apply(&machine, &out)), Some(0));
    // The pages cannot be written: done, and not told.
    let reports =
        files(&out).into_iter().find(|file| file.extension().is_some_and(|it| it == "html")).unwrap();
    let reports = reports.parent().unwrap();
    fs::remove_dir_all(reports).unwrap();
    fs::write(reports, "in the way").unwrap();
    let run = apply(&machine, &out);
    assert_eq!(
        Some(i64::from(code(&run).unwrap())),
        json(&run)["exit_code"].as_i64(),
        "{}",
        text(&run.stdout)
    );
    assert_ne!(code(&run), Some(0));
}

#[test]
fn a_password_that_does_not_log_in_is_rolled_back() {
    let scratch = scratch();
    // The first read is the firmware's own account; the two tries as admin are both refused.
    let faults = ["wsman:AMT_GeneralSettings.Get=http-401#2", "wsman:AMT_GeneralSettings.Get=http-401#3"];
    let arguments = ["--fault", faults[0], "--fault", faults[1]];
    let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &arguments);
    let out = scratch.path().join("out");
    let run = apply(&machine, &out);
    assert_eq!(code(&run), Some(5), "{}\n{}", text(&run.stdout), text(&run.stderr));
    assert_eq!(json(&run)["changed"], false);
    let state = machine.state();
    assert_eq!((&state["control_mode"], &state["provisioning_state"]), (&0.into(), &0.into()), "{state:#}");
    let again = apply(&machine, &out);
    assert_eq!(code(&again), Some(0), "{}", text(&again.stderr));
    assert_eq!(escrow_files(&out).len(), 2, "a new generation, and the old one is kept");
}
