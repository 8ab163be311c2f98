//! `use` with TLS: a key that AMT keeps, a certificate that is seen served, no cleartext beside it, and what a full run
//! costs in device calls.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use oob_tests::provisioning::{Org, SETTINGS, ca_key, policy};
use oob_tests::{Machine, code, files, installed, json, scratch, text};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa};
use serde_json::{Value, json as value};

use crate::honesty::{passwords_outside_escrow, sealed};
use crate::known::{opened, with};
use crate::lockdown::verify;
use crate::remote::payload;
use crate::use_acm::apply;
use crate::use_ccm::escrow_files;

const NAME: &str = "desk-17";

/// Everything that policy can ask for in admin control mode.
fn all() -> String {
    format!("{SETTINGS}, hostname = true, tls = \"required\"")
}

/// A machine that has a name.
fn named(profile: &str, dir: &Path, more: &[&str]) -> Machine {
    let machine = Machine::start(profile, dir, more);
    let kernel = dir.join("proc/sys/kernel");
    fs::create_dir_all(&kernel).unwrap();
    fs::write(kernel.join("hostname"), format!("{NAME}\n")).unwrap();
    machine
}

/// The outcome of the one step.
fn outcome(result: &Value) -> &Value {
    &result["outcomes"][0]
}

#[test]
fn the_certificate_is_served_and_cleartext_is_closed() {
    for profile in [
        "vpro-desktop-amt15",
        "vpro-desktop-amt16",
        "vpro-desktop-amt16-1",
        "vpro-desktop-amt18",
        "vpro-desktop-amt19",
        "vpro-desktop-amt20",
    ] {
        let scratch = scratch();
        let org = Org::new(scratch.path(), &all());
        let machine = named(profile, &scratch.path().join("vpro"), &org.trusted());
        let out = scratch.path().join("out");
        let first = apply(&machine, &org.policy, &out);
        assert_eq!(code(&first), Some(0), "{profile}: {}\n{}", text(&first.stdout), text(&first.stderr));
        let result = json(&first);
        let evidence = &outcome(&result)["evidence"];
        assert_eq!(evidence["tls_handshake"], "seen", "{profile}");
        let state = machine.state();
        assert_eq!(state["tls"]["serving"], evidence["tls_certificate_sha256"], "{profile}");
        assert_eq!(state["tls"]["committed"][0]["enabled"], true, "{profile}");
        assert_eq!(state["tls"]["committed"][0]["accepts_cleartext"], false, "{profile}");
        assert_eq!(state["settings"]["general"]["HostName"][0], NAME, "{profile}");
        let ports: Value =
            serde_json::from_slice(&fs::read(machine.dir.join("ports.json")).unwrap()).unwrap();
        assert!(ports.get("16993").is_some() && ports.get("16992").is_none(), "{profile}: {ports}");
        assert_eq!(passwords_outside_escrow(&state, &out), None, "{profile}");
        // What a recovering node is told is the port that is open.
        let reach = |result: &Value| result["capability"]["channels"][0]["reach"].clone();
        assert_eq!(reach(&result), value!(["16993/https-digest"]), "{profile}");
        assert_eq!(sealed(&out, "amt")[0]["endpoint"], "16993/https-digest", "{profile}");

        let mutating = machine.mutating_calls();
        let second = apply(&machine, &org.policy, &out);
        assert_eq!(reach(&json(&second)), value!(["16993/https-digest"]), "{profile}");
        assert_eq!(
            (code(&second), &json(&second)["changed"], &outcome(&json(&second))["status"]),
            (Some(0), &false.into(), &"already_so".into()),
            "{profile}: {}",
            text(&second.stderr)
        );
        assert_eq!(machine.mutating_calls(), mutating, "{profile}: the second run sent a mutating call");
    }
}

#[test]
fn firmware_whose_tls_this_build_cannot_speak_is_told_as_such() {
    let scratch = scratch();
    let org = Org::new(scratch.path(), "tls = \"required\"");
    let machine = Machine::start("vpro-desktop-amt12", &scratch.path().join("vpro"), &org.trusted());
    let out = scratch.path().join("out");
    let run = apply(&machine, &org.policy, &out);
    assert_eq!(code(&run), Some(0), "{}\n{}", text(&run.stdout), text(&run.stderr));
    let result = json(&run);
    assert_eq!(outcome(&result)["evidence"]["tls_handshake"], "not verifiable by this build");
    assert!(outcome(&result)["text"].as_str().unwrap().contains("not verifiable by this build"));
    assert!(
        result["text"].as_str().unwrap().contains("TLS was committed and not seen from here"),
        "{result}"
    );
    // Its local ports stay as they were, so that the next run can still ask it.
    assert_eq!(machine.state()["tls"]["committed"][1]["enabled"], false);
    assert_eq!(code(&apply(&machine, &org.policy, &out)), Some(0));
}

/// What was put reads as put whether it came into force or not, and here no handshake tells.
#[test]
fn where_no_handshake_shows_tls_a_commit_counts_when_it_was_answered() {
    const COMMIT: &str = "wsman:AMT_SetupAndConfigurationService.CommitChanges";
    let run = |fault: &str| {
        let scratch = scratch();
        let org = Org::new(scratch.path(), "tls = \"required\"");
        let fault = format!("{COMMIT}={fault}");
        let arguments = [&org.trusted(), ["--fault", &fault].as_slice()].concat();
        let machine = Machine::start("vpro-desktop-amt12", &scratch.path().join("vpro"), &arguments);
        let run = apply(&machine, &org.policy, &scratch.path().join("out"));
        (code(&run), json(&run), machine.state())
    };
    for once in ["drop-before", "drop-after", "http-500"] {
        let (exit, _, state) = run(once);
        assert_eq!((exit, &state["tls"]["committed"][0]["enabled"]), (Some(0), &true.into()), "{once}");
        assert_eq!(state["counters"][COMMIT], 2, "{once}");
    }
    // A number that nobody knows is no refusal.
    let (exit, _, state) = run("odd-values");
    assert_eq!((exit, &state["tls"]["committed"][0]["enabled"]), (Some(0), &true.into()));
    let (exit, result, state) = run("drop-after#*");
    assert_eq!((exit, &result["reason"]), (Some(9), &"amt-incomplete".into()), "{}", result["text"]);
    assert!(result["text"].as_str().unwrap().contains("does not say that it committed TLS"), "{result}");
    assert_eq!(state["counters"][COMMIT], 4, "tried again, and not for ever");
}

#[test]
fn cleartext_that_still_answers_is_no_end_where_the_commit_was_lost() {
    for profile in ["vpro-desktop-amt15", "vpro-desktop-amt16"] {
        let scratch = scratch();
        let org = Org::new(scratch.path(), "tls = \"required\"");
        let fault = ["--fault", "wsman:AMT_SetupAndConfigurationService.CommitChanges=drop-before"];
        let arguments = [&org.trusted(), fault.as_slice()].concat();
        let machine = Machine::start(profile, &scratch.path().join("vpro"), &arguments);
        let run = apply(&machine, &org.policy, &scratch.path().join("out"));
        assert_eq!(code(&run), Some(0), "{profile}: {}", text(&run.stdout));
        assert_eq!(outcome(&json(&run))["evidence"]["tls_handshake"], "seen");
    }
}

#[test]
fn tls_that_somebody_switched_off_is_drift() {
    let dir = scratch();
    let org = Org::new(dir.path(), "tls = \"required\"");
    let start = |name: &str, more: &[&str]| {
        let arguments = [&org.trusted(), more].concat();
        Machine::start("vpro-desktop-amt16", &dir.path().join(name), &arguments)
    };
    let first = start("first", &[]);
    assert_eq!(code(&apply(&first, &org.policy, &dir.path().join("one"))), Some(0));
    let before = first.state()["counters"]["connect:pthi"].as_u64().unwrap();
    let machine = start("second", &["--fault", &format!("connect:pthi=tls-off#{}", before + 1)]);
    let out = dir.path().join("out");
    assert_eq!(code(&apply(&machine, &org.policy, &out)), Some(0));
    verify(&machine, dir.path(), ("not-claimed", 9, "tls-off", true));
    let next = json(&apply(&machine, &org.policy, &out));
    assert_eq!((&next["exit_code"], &next["reason"]), (&9.into(), &"tls-off".into()), "{}", next["text"]);
    let amt = &next["capability"]["channels"][0];
    assert!(amt["state"] != "verified" && !amt["reach"].to_string().contains("16993"), "{amt}");
    let file = opened(&escrow_files(&out)[0], dir.path());
    let run = with(&machine, &org.policy, &out, &[&file], &["--rotate"]);
    assert_eq!(code(&run), Some(0), "{}", text(&run.stdout));
    assert_eq!(machine.state()["tls"]["committed"][0]["enabled"], true);
    assert_eq!(json(&apply(&machine, &org.policy, &out))["exit_code"], 0);
}

#[test]
fn the_orgs_ca_issues_the_certificate_and_others_trust_it() {
    let scratch = scratch();
    let mut ca = CertificateParams::default();
    ca.distinguished_name.push(DnType::CommonName, "Example TLS CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = ca_key();
    let root = ca.self_signed(&key).unwrap().pem();
    let (root_file, bundle) = (scratch.path().join("tls-root.pem"), scratch.path().join("tls-ca.pem"));
    fs::write(&root_file, &root).unwrap();
    fs::write(&bundle, format!("{root}{}", key.serialize_pem())).unwrap();
    let wishes = format!(
        "control_mode = \"ccm\", hostname = true, tls = \"required\", tls_ca = \"file:{}\"",
        bundle.display()
    );
    let policy = policy(scratch.path(), &wishes);
    let machine = named("vpro-desktop-amt16", &scratch.path().join("vpro"), &[]);
    let out = scratch.path().join("out");
    let run = apply(&machine, &policy, &out);
    assert_eq!(code(&run), Some(0), "{}\n{}", text(&run.stdout), text(&run.stderr));
    if !installed("curl", "a TLS login from outside, verified against the org's CA") {
        return;
    }
    let secret = &sealed(&out, "amt")[0];
    let status = |root: &Path| {
        let port = machine.port("16993");
        let mut child = Command::new("curl")
            .args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "--digest", "-K", "-", "--cacert"])
            .arg(root)
            .args([
                "--resolve",
                &format!("{NAME}:{port}:127.0.0.1"),
                "-H",
                "Content-Type: application/soap+xml",
            ])
            .args(["-d", "@packaging/examples/get-general-settings.xml"])
            .arg(format!("https://{NAME}:{port}/wsman"))
            .current_dir(oob_tests::workspace())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let login = format!("user = \"admin:{}\"\n", secret["password"].as_str().unwrap());
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), login.as_bytes()).unwrap();
        text(&child.wait_with_output().unwrap().stdout)
    };
    assert_eq!(status(&root_file), "200");
    // Another CA of the same name is not enough.
    let stranger = scratch.path().join("stranger.pem");
    fs::write(&stranger, ca.self_signed(&oob_tests::provisioning::leaf_key()).unwrap().pem()).unwrap();
    assert_eq!(status(&stranger), "000");
}

#[test]
fn a_ca_that_cannot_be_used_is_refused_before_any_call() {
    let scratch = scratch();
    let wishes = "control_mode = \"ccm\", tls = \"required\", tls_ca = \"file:/nowhere/ca.pem\"";
    let policy = policy(scratch.path(), wishes);
    let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &[]);
    let run = apply(&machine, &policy, &scratch.path().join("out"));
    assert_eq!((code(&run), &json(&run)["reason"]), (Some(8), &"tls-ca-unusable".into()));
    assert_eq!(machine.mutating_calls(), 0);
}

#[test]
fn what_goes_wrong_with_tls_is_taken_back_in_client_mode_and_told_in_admin_mode() {
    for (fault, honest) in [
        // The answer to the commit is lost, and the commit is not.
        ("wsman:AMT_SetupAndConfigurationService.CommitChanges=drop-after", None),
        ("wsman:AMT_SetupAndConfigurationService.CommitChanges=return-value:1", Some("TLS")),
        ("wsman:AMT_PublicKeyManagementService.GenerateKeyPair=return-value:23", Some("no room")),
        ("wsman:AMT_PublicKeyManagementService.AddCertificate=return-value:2063", Some("certificate")),
        ("wsman:AMT_TLSSettingData.Put=fault", Some("TLS")),
        ("tls:handshake=fault#*", Some("new certificate")),
    ] {
        for (mode, expected) in [("ccm", 0_u64), ("acm", 2)] {
            let scratch = scratch();
            let org = Org::new(scratch.path(), "tls = \"required\"");
            let policy = match mode {
                "ccm" => policy(scratch.path(), "control_mode = \"ccm\", tls = \"required\""),
                _ => org.policy.clone(),
            };
            let mut options = org.trusted().to_vec();
            options.extend(["--fault", fault]);
            let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &options);
            let out = scratch.path().join("out");
            let run = apply(&machine, &policy, &out);
            let (said, state) = (text(&run.stdout), machine.state());
            assert_eq!(passwords_outside_escrow(&state, &out), None, "{mode} {fault}");
            let Some(reason) = honest else {
                assert_eq!(code(&run), Some(0), "{mode} {fault}: {said}");
                continue;
            };
            assert!(said.contains(reason), "{mode} {fault}: {said}");
            let exit = code(&run).unwrap();
            // A full store is what this machine cannot do; the rest is what it did not do.
            let taken_back = if fault.ends_with(":23") { 8 } else { 5 };
            assert_eq!(exit, if mode == "ccm" { taken_back } else { 9 }, "{mode} {fault}: {said}");
            assert_eq!(state["control_mode"], expected, "{mode} {fault}: {said}");
        }
    }
}

/// A signed event claims what this run saw, and nothing that another run would have seen.
#[test]
fn the_event_names_what_was_seen_and_no_more() {
    const SETTINGS_READ: &str = "settings read over a login of their own";
    const HANDSHAKE: &str = "a TLS handshake with the certificate that was issued";
    for (profile, wishes, told) in [
        ("vpro-desktop-amt16", "control_mode = \"ccm\"", [false, false]),
        ("vpro-desktop-amt16", "control_mode = \"ccm\", sol = true", [true, false]),
        ("vpro-desktop-amt16", "control_mode = \"ccm\", tls = \"required\"", [true, true]),
        ("vpro-desktop-amt12", "control_mode = \"ccm\", tls = \"required\"", [true, false]),
    ] {
        let scratch = scratch();
        let policy = policy(scratch.path(), wishes);
        let machine = Machine::start(profile, &scratch.path().join("vpro"), &[]);
        let out = scratch.path().join("out");
        let run = apply(&machine, &policy, &out);
        assert_eq!(code(&run), Some(0), "{profile} {wishes}: {}", text(&run.stderr));
        let events = files(&out).into_iter().filter(|file| file.to_str().unwrap().ends_with(".dsse.json"));
        let event = events.map(|file| payload(&file)).find(|event| event["kind"] == "verified").unwrap();
        let seen = |line: &str| event["body"]["proof"].as_array().unwrap().iter().any(|it| it == line);
        assert!(seen("a wrong password was refused"), "{profile} {wishes}: {event:#}");
        assert_eq!([seen(SETTINGS_READ), seen(HANDSHAKE)], told, "{profile} {wishes}: {event:#}");
    }
}

/// DESIGN section 12: what a full run may cost. The simulator counts; a run that needs more fails here.
#[test]
fn a_full_run_keeps_within_its_calls() {
    let read = |state: &Value, name: &str| state["per_kind"][name].as_u64().unwrap_or(0);
    let operations = |state: &Value| {
        ["Get", "Put", "Invoke", "Create", "Delete", "Enumerate", "Pull"]
            .iter()
            .map(|kind| read(state, kind))
            .sum::<u64>()
    };
    let connects = |state: &Value| state["mei_connects"].as_u64().unwrap_or(u64::MAX);
    for (mode, profile, most) in [
        ("ccm", "vpro-desktop-amt16", [35, 40, 4]),
        ("acm", "vpro-desktop-amt16", [44, 49, 4]),
        ("ccm", "vpro-desktop-amt19", [41, 46, 5]),
        ("acm", "vpro-desktop-amt19", [41, 46, 5]),
    ] {
        let scratch = scratch();
        let org = Org::new(scratch.path(), &all());
        let policy = match mode {
            "ccm" => policy(
                scratch.path(),
                "control_mode = \"ccm\", clock = true, hostname = true, sol = true, ider = false, kvm = true, tls = \"required\"",
            ),
            _ => org.policy.clone(),
        };
        let machine = named(profile, &scratch.path().join("vpro"), &org.trusted());
        let out = scratch.path().join("out");
        let run = apply(&machine, &policy, &out);
        assert_eq!(code(&run), Some(0), "{profile} {mode}: {}\n{}", text(&run.stdout), text(&run.stderr));
        let first = machine.state();
        let spent = [operations(&first), read(&first, "HTTP"), connects(&first)];
        println!(
            "{profile} {mode}: WS-Man, HTTP, MEI connects: {spent:?} of {most:?}; {}",
            first["per_kind"]
        );
        assert!(
            spent.iter().zip(most).all(|(spent, most)| *spent <= most),
            "{profile} {mode}: {spent:?} of {most:?}"
        );

        assert_eq!(code(&apply(&machine, &policy, &out)), Some(0), "{mode}");
        let second = machine.state();
        let more = [
            operations(&second) - operations(&first),
            read(&second, "HTTP") - read(&first, "HTTP"),
            second["mutating"].as_u64().unwrap() - first["mutating"].as_u64().unwrap(),
        ];
        println!("{profile} {mode}, second run: WS-Man, HTTP, mutating: {more:?} of [16, 18, 0]");
        assert!(
            more.iter().zip([16, 18, 0]).all(|(spent, most)| *spent <= most),
            "{profile} {mode}: {more:?}"
        );
    }
}
