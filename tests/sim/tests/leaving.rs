//! Out of a mode: what is forgotten, what is kept, and when it is refused.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what a test calls may fail it")]

mod peer;

use peer::acm::{activate_as_admin, chain_path};
use peer::*;

const PASSWORD: &str = "Correct-horse-1";
const MODE: &str = "<h:ProvisioningMode>1</h:ProvisioningMode>";
const KEYS: &str = "http://intel.com/wbem/wscim/1/amt-schema/1/AMT_PublicKeyManagementService";
const PKI_SUFFIX: &str = "01 01 00 00 36 00 00 04 00 00 00 00";

fn start(profile: &str, more: &[&str]) -> Sim {
    let root = chain_path("root.der");
    let options = ["--time-scale", "0.01", "--trusted-root", &root, "--pki-suffix", "example.com"];
    Sim::start(profile, &[&options, more].concat())
}

fn invoke(lme: &mut Lme, class: &str, method: &str, fields: &str) -> String {
    leaf(&post(lme, "admin", PASSWORD, &invocation(class, method, fields)), "ReturnValue")
}

/// A key, a MEBx password where the mode allows it, and a host name: things to forget or to keep.
fn furnish(lme: &mut Lme, mebx: &str) {
    let key = "<h:KeyAlgorithm>0</h:KeyAlgorithm><h:KeyLength>2048</h:KeyLength>";
    assert_eq!(invoke(lme, KEYS, "GenerateKeyPair", key), "0");
    let password = "<h:Password>Mebx-pass-1</h:Password>";
    assert_eq!(invoke(lme, CONFIGURATION, "SetMEBxPassword", password), mebx);
}

#[test]
fn unprovisioning_forgets_all_but_mebx_and_since_12_the_suffix() {
    for (profile, acm, suffix) in [
        ("vpro-desktop-amt11", true, ""),
        ("vpro-desktop-amt12", true, "example.com"),
        ("vpro-desktop-amt16", true, "example.com"),
        ("vpro-desktop-amt16", false, "example.com"),
    ] {
        let sim = start(profile, &[]);
        if acm {
            activate_as_admin(&sim, PASSWORD)
        } else {
            drop(activate(&sim, PASSWORD))
        }
        let mut lme = Lme::open(&sim);
        furnish(&mut lme, if acm { "0" } else { "16" });
        let before = sim.state();
        assert_eq!(invoke(&mut lme, CONFIGURATION, "Unprovision", MODE), "0", "{profile}");
        let after = sim.state();
        assert_eq!((&after["control_mode"], &after["provisioning_state"]), (&0.into(), &0.into()));
        assert_ne!(after["realm"], before["realm"]);
        assert_eq!((&after["ha1_sha256"], &after["tls"]["key_pairs"]), (&serde_json::Value::Null, &0.into()));
        assert_eq!(after["mebx_sha256"], before["mebx_sha256"]);
        assert_eq!(after["mebx_sha256"].is_string(), acm);
        let told = pthi(&sim, PKI_SUFFIX).1;
        assert_eq!(String::from_utf8_lossy(&told[2..]), suffix, "{profile}");
        assert!(Network(sim.port()).exchange(&request("", None)).is_empty(), "the port is open");
        // The administrator is gone, and the machine can be set up again.
        assert_eq!(post(&mut lme, "admin", PASSWORD, &envelope(GET, GENERAL, "")).status, 401);
        drop(lme);
        activate(&sim, PASSWORD);
        assert_eq!(sim.state()["control_mode"], 1);
    }
}

#[test]
fn partial_unprovisioning_keeps_the_account_and_the_keys() {
    let sim = start("vpro-desktop-amt16", &[]);
    activate_as_admin(&sim, PASSWORD);
    let mut lme = Lme::open(&sim);
    furnish(&mut lme, "0");
    let before = sim.state();
    let undeclared =
        post(&mut lme, "admin", PASSWORD, &invocation(CONFIGURATION, "PartialUnprovision", MODE));
    assert!(undeclared.body.contains(">e:SchemaValidationError<"), "{undeclared:?}");
    assert_eq!(invoke(&mut lme, CONFIGURATION, "PartialUnprovision", ""), "0");
    let after = sim.state();
    assert_eq!((&after["control_mode"], &after["provisioning_state"]), (&0.into(), &0.into()));
    for kept in ["realm", "ha1_sha256", "mebx_sha256"] {
        assert_eq!(after[kept], before[kept], "{kept}");
    }
    assert_eq!(after["tls"]["key_pairs"], 1);
    assert!(Network(sim.port()).exchange(&request("", None)).is_empty(), "the port is open");
    assert_eq!(invoke(&mut lme, CONFIGURATION, "PartialUnprovision", ""), "3");
    assert_eq!(invoke(&mut lme, CONFIGURATION, "Unprovision", MODE), "3");
}

#[test]
fn a_blocking_component_is_a_matter_of_time() {
    let sim = start("vpro-desktop-amt16", &["--blocking", "2"]);
    activate_as_admin(&sim, PASSWORD);
    let mut lme = Lme::open(&sim);
    for mode in ["2", "4"] {
        let mode = MODE.replace('1', mode);
        assert_eq!(invoke(&mut lme, CONFIGURATION, "Unprovision", &mode), "36");
    }
    assert_eq!(invoke(&mut lme, CONFIGURATION, "PartialUnprovision", ""), "2076");
    assert_eq!(invoke(&mut lme, CONFIGURATION, "Unprovision", MODE), "2076");
    assert_eq!(sim.state()["control_mode"], 2);
    assert_eq!(invoke(&mut lme, CONFIGURATION, "Unprovision", &MODE.replace('1', "0")), "0");
    assert_eq!(sim.state()["control_mode"], 0);
}

#[test]
fn the_local_account_cannot_unprovision_over_ws_man() {
    let sim = start("vpro-desktop-amt16", &[]);
    activate(&sim, PASSWORD);
    let (account, mut lme) = (os_admin(&sim), Lme::open(&sim));
    for (method, fields) in [("Unprovision", MODE), ("PartialUnprovision", "")] {
        let answer = post(&mut lme, "$$OsAdmin", &account, &invocation(CONFIGURATION, method, fields));
        assert!(answer.status == 400 && answer.body.contains(">e:AccessDenied<"), "{answer:?}");
    }
    assert_eq!(sim.state()["control_mode"], 1);
}

#[test]
fn faults_at_unprovisioning_leave_the_old_state_or_the_new_one() {
    for (fault, mode) in [
        ("return-value:2076", 2),
        ("fault", 2),
        ("http-500", 2),
        ("drop-before", 2),
        ("drop-after", 0),
        ("garbage", 0),
    ] {
        let name = "wsman:AMT_SetupAndConfigurationService.Unprovision";
        let sim = start("vpro-desktop-amt16", &["--fault", &format!("{name}={fault}")]);
        activate_as_admin(&sim, PASSWORD);
        let mut lme = Lme::open(&sim);
        let body = invocation(CONFIGURATION, "Unprovision", MODE);
        let challenge = Answer::parse(&lme.exchange(&request(&body, None)));
        let authorization = login("admin", PASSWORD, &challenge.realm(), &challenge.nonce(), 1);
        let _ = lme.exchange(&request(&body, Some(&authorization)));
        assert_eq!((&sim.state()["control_mode"], sim.count(name)), (&mode.into(), 1), "{fault}");
    }
}

#[test]
fn the_action_of_an_answer_may_end_in_response() {
    for (options, wanted) in
        [(&[][..], "/Unprovision<"), (&["--response-suffix"][..], "/UnprovisionResponse<")]
    {
        let sim = start("vpro-desktop-amt16", options);
        activate(&sim, PASSWORD);
        let answer =
            post(&mut Lme::open(&sim), "admin", PASSWORD, &invocation(CONFIGURATION, "Unprovision", MODE));
        assert!(answer.body.contains(wanted) && leaf(&answer, "ReturnValue") == "0", "{answer:?}");
    }
}
