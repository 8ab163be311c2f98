//! `use` and AMT's network: a static address that other settings would lose, a Wi-Fi profile, the power scheme.

use std::fs;
use std::path::Path;

use oob_tests::provisioning::{Org, policy, raise_serial};
use oob_tests::{Machine, code, json, scratch, text};
use serde_json::Value;

use crate::known::{live, opened, with};
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

/// The write that loses them is the last thing that a run did; the next one knows what they were.
#[test]
fn addresses_that_a_dead_run_lost_come_back_with_the_credential() {
    let scratch = scratch();
    let org = Org::new(scratch.path(), "sol = true");
    let mut options = org.trusted().to_vec();
    options.extend(["--static-address", "198.51.100.7/25,198.51.100.1", "--loses-address"]);
    options.extend(["--fault", "wsman:AMT_SetupAndConfigurationService.CommitChanges=kill-peer-after"]);
    let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &options);
    let before = port(&machine, "0");
    let out = scratch.path().join("out");
    assert_eq!(code(&apply(&machine, &org.policy, &out)), Some(0));
    assert_eq!(port(&machine, "0"), before);
    let more = Org::new(scratch.path(), "sol = true, tls = \"required\"");
    raise_serial(&more.policy, 2);
    let file = opened(&live(&machine.state(), &out)[0], scratch.path());
    let died = with(&machine, &more.policy, &out, &[&file], &[]);
    assert_eq!(code(&died), None, "{}", text(&died.stdout));
    assert_ne!(port(&machine, "0"), before, "the write lost them");

    // Policy asks for nothing more than what is proven, and the addresses are still drift.
    let org = Org::new(scratch.path(), "sol = true");
    raise_serial(&org.policy, 3);
    let look = apply(&machine, &org.policy, &out);
    assert_eq!(
        (code(&look), &json(&look)["reason"]),
        (Some(9), &"wired-addresses-open".into()),
        "{}",
        text(&look.stdout)
    );
    let run = with(&machine, &org.policy, &out, &[&file], &[]);
    assert_eq!(code(&run), Some(0), "{}\n{}", text(&run.stdout), text(&run.stderr));
    assert_eq!(evidence(&run)["wired_addresses"], "restored");
    assert_eq!(port(&machine, "0"), before);
    let rest = apply(&machine, &org.policy, &out);
    assert_eq!((code(&rest), &json(&rest)["changed"]), (Some(0), &false.into()), "{}", text(&rest.stdout));
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

const PASSPHRASE: &str = "Correct <horse> & battery";

/// Wishes for a Wi-Fi profile, its passphrase in a file of `dir`.
fn wifi(dir: &Path, security: &str, passphrase: &str) -> String {
    let file = dir.join("wifi-passphrase");
    fs::write(&file, format!("{passphrase}\n")).unwrap();
    format!(
        "wifi_ssid = \"Acme \u{fc}ber alles\", wifi_security = \"{security}\", wifi_passphrase = \"file:{}\"",
        file.display()
    )
}

fn sha256(text: &str) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_wifi_profile_is_added_read_back_and_rests() {
    for (profile, options, security, method) in [
        ("vpro-laptop-wifi-amt16", &[][..], "wpa2-psk", 6),
        ("vpro-laptop-wifi-amt16", &[][..], "wpa3-sae", 32768),
        ("vpro-desktop-amt16", &["--wifi"][..], "wpa2-psk", 6),
    ] {
        let scratch = scratch();
        let policy = client(scratch.path(), &wifi(scratch.path(), security, PASSPHRASE));
        let machine = Machine::start(profile, &scratch.path().join("vpro"), options);
        let out = scratch.path().join("out");
        let run = apply(&machine, &policy, &out);
        assert_eq!(code(&run), Some(0), "{profile}: {}\n{}", text(&run.stdout), text(&run.stderr));
        let state = machine.state()["settings"]["wifi"].clone();
        assert_eq!(state["state"], 32769, "{profile}: {state}");
        let held = state["profiles"].as_object().unwrap();
        assert_eq!(held.len(), 1, "{state}");
        let held = held.values().next().unwrap();
        assert_eq!(
            (&held["ssid"], &held["authentication"], &held["priority"], &held["passphrase_sha256"]),
            (&"Acme \u{fc}ber alles".into(), &method.into(), &1.into(), &sha256(PASSPHRASE).into())
        );
        assert_eq!(evidence(&run)["wifi_profile"], "added, passphrase asserted", "{profile}");
        let said = text(&run.stdout);
        assert!(said.contains("no way to read it back"), "{said}");
        assert!(!said.contains("horse") && !text(&run.stderr).contains("horse"));
        // Nothing that stays holds the passphrase, escrow included.
        for file in oob_tests::files(&out) {
            let bytes = fs::read(&file).unwrap();
            assert!(!bytes.windows(5).any(|it| it == b"horse"), "{}", file.display());
        }
        let mutating = machine.mutating_calls();
        let second = apply(&machine, &policy, &out);
        assert_eq!((code(&second), &json(&second)["changed"]), (Some(0), &false.into()));
        assert_eq!(machine.mutating_calls(), mutating);
    }
}

#[test]
fn what_is_wrong_with_a_wifi_profile_is_refused_before_any_call() {
    for (profile, security, passphrase, reason) in [
        ("vpro-desktop-amt16", "wpa2-psk", PASSPHRASE, "no-wifi"),
        ("vpro-laptop-wifi-amt16", "wpa2-psk", "short", "wifi-passphrase-unusable"),
        ("vpro-laptop-wifi-amt16", "wpa3-sae", "", "wifi-passphrase-unusable"),
    ] {
        let scratch = scratch();
        let policy = client(scratch.path(), &wifi(scratch.path(), security, passphrase));
        let machine = Machine::start(profile, &scratch.path().join("vpro"), &[]);
        let run = apply(&machine, &policy, &scratch.path().join("out"));
        assert_eq!((code(&run), &json(&run)["reason"]), (Some(8), &reason.into()), "{}", text(&run.stdout));
        assert_eq!(machine.mutating_calls(), 0);
    }
}

#[test]
fn a_wifi_profile_that_amt_does_not_take_or_keep_is_told_and_taken_back() {
    for (fault, exit) in [
        ("wsman:AMT_WiFiPortConfigurationService.AddWiFiSettings=return-value:2070", Some(5)),
        ("wsman:AMT_WiFiPortConfigurationService.AddWiFiSettings=drop-before", Some(5)),
        // Lost is its answer alone: the reading finds the profile.
        ("wsman:AMT_WiFiPortConfigurationService.AddWiFiSettings=drop-after", Some(0)),
        ("wsman:CIM_WiFiPort.RequestStateChange=return-value:1", Some(5)),
    ] {
        let scratch = scratch();
        let policy = client(scratch.path(), &wifi(scratch.path(), "wpa2-psk", PASSPHRASE));
        let machine =
            Machine::start("vpro-laptop-wifi-amt16", &scratch.path().join("vpro"), &["--fault", fault]);
        let run = apply(&machine, &policy, &scratch.path().join("out"));
        assert_eq!(code(&run), exit, "{fault}: {}", text(&run.stdout));
        let state = machine.state();
        assert_eq!(state["control_mode"], u64::from(exit == Some(0)), "{fault}");
        let added = &state["counters"]["wsman:AMT_WiFiPortConfigurationService.AddWiFiSettings"];
        assert_eq!(added, 1, "{fault}: a one-shot call was sent again");
        assert!(!text(&run.stdout).contains("horse") && !text(&run.stderr).contains("horse"), "{fault}");
    }
}

#[test]
fn the_power_scheme_is_the_one_that_means_what_policy_asks() {
    for (profile, wish, s5) in [
        ("vpro-desktop-amt16", "always", true),
        ("vpro-desktop-amt16", "host-on", false),
        ("vpro-laptop-wifi-amt16", "always", true),
        ("vpro-desktop-amt12", "always", true),
    ] {
        let scratch = scratch();
        let policy = client(scratch.path(), &format!("power = \"{wish}\""));
        let machine = Machine::start(profile, &scratch.path().join("vpro"), &[]);
        let out = scratch.path().join("out");
        let run = apply(&machine, &policy, &out);
        assert_eq!(code(&run), Some(0), "{profile} {wish}: {}\n{}", text(&run.stdout), text(&run.stderr));
        let settings = evidence(&run)["settings"].to_string();
        assert!(settings.contains(&format!("power = {wish}")), "{settings}");
        let amt = &json(&run)["capability"]["channels"][0];
        let can = amt["can"].to_string();
        assert_eq!(can.contains("\"power_on\""), s5, "{profile} {wish}: {amt}");
        assert!(can.contains("\"power_off\""), "{amt}");
        let reason = amt["reason"].as_str().unwrap();
        assert_eq!(reason.contains("only while the machine runs"), !s5, "{reason}");
        assert_eq!(reason.contains("reachable down to S5"), s5, "{reason}");
        let mutating = machine.mutating_calls();
        let second = apply(&machine, &policy, &out);
        assert_eq!(code(&second), Some(0), "{}", text(&second.stdout));
        assert_eq!(machine.mutating_calls(), mutating);
        // What the record says rests too.
        let amt = &json(&second)["capability"]["channels"][0];
        assert_eq!(amt["can"].to_string().contains("\"power_on\""), s5, "{amt}");
    }
}

#[test]
fn a_power_scheme_that_is_not_kept_is_no_success() {
    for (fault, exit) in [
        ("wsman:AMT_SystemPowerScheme.SetPowerScheme=return-value:1", 5),
        ("wsman:AMT_SystemPowerScheme.SetPowerScheme=drop-before", 5),
        ("wsman:CIM_ElementSettingData.Enumerate=fault#*", 5),
    ] {
        let scratch = scratch();
        // Whichever is in force at first, one of the two has to be set.
        let mut exits = Vec::new();
        for wish in ["always", "host-on"] {
            let dir = scratch.path().join(wish);
            fs::create_dir(&dir).unwrap();
            let policy = client(&dir, &format!("power = \"{wish}\""));
            let machine = Machine::start("vpro-desktop-amt16", &dir.join("vpro"), &["--fault", fault]);
            let run = apply(&machine, &policy, &dir.join("out"));
            exits.push(code(&run));
        }
        assert!(exits.contains(&Some(exit)), "{fault}: {exits:?}");
    }
}
