//! `--rotate` where policy asks for TLS: a new password and a new certificate, seen served, the one before removed; and what
//! is known of both when a run dies between.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use oob_tests::provisioning::{Org, ca_key, leaf_key, raise_serial};
use oob_tests::{Machine, code, json, scratch, text};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};
use serde_json::Value;

use crate::honesty::passwords_outside_escrow;
use crate::known::{live, opened, with};
use crate::lockdown::verify;
use crate::use_acm::apply;

const TLS: &str = "tls = \"required\"";
const DAY: Duration = Duration::from_secs(86_400);

struct Ours {
    machine: Machine,
    org: Org,
    out: PathBuf,
    dir: PathBuf,
}

impl Ours {
    fn with(dir: &Path, profile: &str, wishes: &str, options: &[&str]) -> Self {
        let org = Org::new(dir, wishes);
        let machine = Machine::start(profile, &dir.join("vpro"), &[&org.trusted(), options].concat());
        let out = dir.join("out");
        let run = apply(&machine, &org.policy, &out);
        assert_eq!(code(&run), Some(0), "{profile}: {}\n{}", text(&run.stdout), text(&run.stderr));
        Self { machine, org, out, dir: dir.to_path_buf() }
    }

    /// With every password that may be the live one, of which there is one here.
    fn rotate(&self) -> Output {
        let live = live(&self.machine.state(), &self.out);
        let file = opened(&live[0], &self.dir);
        with(&self.machine, &self.org.policy, &self.out, &[&file], &["--rotate"])
    }

    fn tls(&self) -> Value {
        self.machine.state()["tls"].clone()
    }

    fn serving(&self) -> String {
        self.tls()["serving"].as_str().unwrap().to_owned()
    }

    /// The target: one key, one certificate, which is the one that the last proof names; and it rests.
    fn assert_at_target(&self, before: &str, what: &str) {
        let (state, serving) = (self.machine.state(), self.serving());
        assert_ne!(serving, before, "{what}");
        assert_eq!(passwords_outside_escrow(&state, &self.out), None, "{what}");
        let mutating = self.machine.mutating_calls();
        let rest = apply(&self.machine, &self.org.policy, &self.out);
        assert_eq!(
            (code(&rest), &json(&rest)["changed"]),
            (Some(0), &false.into()),
            "{what}: {}",
            text(&rest.stdout)
        );
        assert_eq!(self.machine.mutating_calls(), mutating, "{what}");
    }
}

fn evidence(run: &Output) -> Value {
    json(run)["outcomes"][0]["evidence"].clone()
}

#[test]
fn password_and_certificate_are_replaced_and_nothing_is_left_of_the_old() {
    for profile in ["vpro-desktop-amt15", "vpro-desktop-amt16", "vpro-desktop-amt16-1", "vpro-desktop-amt18"]
    {
        let scratch = scratch();
        let ours = Ours::with(scratch.path(), profile, TLS, &[]);
        let (before, stored) = (ours.serving(), ours.tls());
        let password = ours.machine.state()["ha1_sha256"].clone();
        for _ in 0..if profile == "vpro-desktop-amt16" { 2 } else { 1 } {
            let before = ours.serving();
            let run = ours.rotate();
            assert_eq!(code(&run), Some(0), "{profile}: {}\n{}", text(&run.stdout), text(&run.stderr));
            assert_eq!(evidence(&run)["tls_certificate_sha256"], ours.serving(), "{profile}");
            assert_eq!(evidence(&run)["tls_handshake"], "seen", "{profile}");
            assert!(text(&run.stdout).contains("was removed from AMT with its key"), "{}", text(&run.stdout));
            ours.assert_at_target(&before, profile);
        }
        assert_ne!(ours.serving(), before);
        assert_ne!(ours.machine.state()["ha1_sha256"], password, "{profile}");
        // As many keys and certificates as at first: AMT's own of 16.1 and later is not ours to remove.
        let count = |tls: &Value| (tls["certificates"].as_object().unwrap().len(), tls["key_pairs"].clone());
        assert_eq!(count(&ours.tls()), count(&stored), "{profile}");
    }
}

#[test]
fn where_no_handshake_can_be_seen_the_certificate_before_stays() {
    let scratch = scratch();
    let ours = Ours::with(scratch.path(), "vpro-desktop-amt12", TLS, &[]);
    for _ in 0..3 {
        let before = ours.serving();
        let run = ours.rotate();
        assert_eq!(code(&run), Some(0), "{}\n{}", text(&run.stdout), text(&run.stderr));
        assert_eq!(evidence(&run)["tls_handshake"], "not verifiable by this build");
        ours.assert_at_target(&before, "AMT 12");
        let held = ours.tls()["certificates"].to_string();
        assert!(held.contains(&before) && held.contains(&ours.serving()), "{held}");
        assert_eq!(
            (ours.tls()["certificates"].as_object().unwrap().len(), &ours.tls()["key_pairs"]),
            (2, &2.into())
        );
    }
}

/// The next run asks over cleartext, where both answer alike.
#[test]
fn where_no_handshake_can_be_seen_an_unfinished_rotation_is_told_and_loses_no_certificate() {
    let scratch = scratch();
    let fault = "wsman:AMT_SetupAndConfigurationService.CommitChanges=kill-peer-after#2";
    // A TCP peer is not killed: over MEI, the agent is.
    let ours = Ours::with(scratch.path(), "vpro-desktop-amt12", TLS, &["--fault", fault]);
    let before = ours.serving();
    assert_eq!(code(&ours.rotate()), None, "killed");
    let serving = ours.serving();
    assert_ne!(serving, before, "committed");
    verify(&ours.machine, scratch.path(), ("not-claimed", 9, "certificate-not-proven", true));
    let next = json(&apply(&ours.machine, &ours.org.policy, &ours.out));
    assert_eq!(
        (&next["exit_code"], &next["reason"]),
        (&9.into(), &"certificate-not-proven".into()),
        "{}",
        next["text"]
    );
    let run = ours.rotate();
    assert_eq!(code(&run), Some(0), "{}", text(&run.stdout));
    assert!(ours.tls()["certificates"].to_string().contains(&serving), "the one that may be served stays");
    ours.assert_at_target(&serving, "after it");
}

#[test]
fn without_tls_in_policy_the_password_alone_is_replaced() {
    let scratch = scratch();
    let mut ours = Ours::with(scratch.path(), "vpro-desktop-amt16", TLS, &[]);
    let before = ours.serving();
    ours.org = Org::new(scratch.path(), "sol = true");
    raise_serial(&ours.org.policy, 2);
    let run = ours.rotate();
    assert_eq!(code(&run), Some(0), "{}", text(&run.stdout));
    assert_eq!(ours.serving(), before);
    assert_eq!(evidence(&run)["tls_certificate_sha256"], before, "the proof still knows it");
}

/// A TLS CA with its key, and how many days it lasts.
fn ca(dir: &Path, name: &str, key: &KeyPair, days: u32) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let at = |time: Duration| rcgen::date_time_ymd(1970, 1, 1) + time;
    params.not_before = at(now - 2 * DAY);
    params.not_after = at(now + days * DAY);
    let file = dir.join(format!("{name}.pem"));
    fs::write(&file, format!("{}{}", params.self_signed(key).unwrap().pem(), key.serialize_pem())).unwrap();
    format!("{TLS}, tls_ca = \"file:{}\"", file.display())
}

#[test]
fn a_certificate_that_ends_soon_or_of_a_ca_that_changed_is_drift_until_it_is_rotated() {
    let scratch = scratch();
    let mut ours =
        Ours::with(scratch.path(), "vpro-desktop-amt16", &ca(scratch.path(), "short", &ca_key(), 45), &[]);
    let mutating = ours.machine.mutating_calls();
    let other = ca(scratch.path(), "other", &leaf_key(), 4000);
    // The certificate ends with its CA. 30 days is what policy says where it says nothing.
    for (serial, wishes, reason) in
        [(2, format!("{TLS}, tls_renew_days = 60"), "tls-certificate-due"), (3, other, "tls-ca-changed")]
    {
        ours.org = Org::new(scratch.path(), &wishes);
        raise_serial(&ours.org.policy, serial);
        let run = apply(&ours.machine, &ours.org.policy, &ours.out);
        assert_eq!((code(&run), &json(&run)["reason"]), (Some(9), &reason.into()), "{}", text(&run.stdout));
        assert!(text(&run.stdout).contains("--known-credential FILE --rotate"), "{}", text(&run.stdout));
        assert_eq!(ours.machine.mutating_calls(), mutating);
    }
    let before = ours.serving();
    let run = ours.rotate();
    assert_eq!(code(&run), Some(0), "{}\n{}", text(&run.stdout), text(&run.stderr));
    ours.assert_at_target(&before, "another CA");
}

/// rpc-go#572 and its like: the context is changed, and the certificate that is served is not.
#[test]
fn a_certificate_that_lingers_is_put_again_or_told() {
    let scratch = scratch();
    let lingering = Ours::with(scratch.path(), "vpro-desktop-amt16", TLS, &["--served-stale"]);
    let before = lingering.serving();
    let run = lingering.rotate();
    assert_eq!(code(&run), Some(0), "{}\n{}", text(&run.stdout), text(&run.stderr));
    lingering.assert_at_target(&before, "put twice");

    // The second Put is answered and not heard: what is served is what is told, and one more run gets there.
    let scratch = oob_tests::scratch();
    let fault = "wsman:AMT_TLSCredentialContext.Put=fault#2";
    let stuck = Ours::with(scratch.path(), "vpro-desktop-amt16", TLS, &["--served-stale", "--fault", fault]);
    let before = stuck.serving();
    let run = stuck.rotate();
    assert_eq!(code(&run), Some(9), "{}\n{}", text(&run.stdout), text(&run.stderr));
    assert_eq!(stuck.serving(), before);
    assert_eq!(passwords_outside_escrow(&stuck.machine.state(), &stuck.out), None);
    let run = stuck.rotate();
    assert_eq!(code(&run), Some(0), "{}\n{}", text(&run.stdout), text(&run.stderr));
    stuck.assert_at_target(&before, "after a Put that failed");
}

/// From AMT 16.1 on it made a certificate for itself before ours, and that may be the one that lingers, where nobody has seen
/// it before; a run that dies meanwhile is undone or finished all the same.
#[test]
fn amts_own_certificate_that_lingers_is_replaced_too() {
    const KILL: &str = "wsman:AMT_SetupAndConfigurationService.CommitChanges=kill-peer-after";
    for (profile, mode, fault) in [
        ("vpro-desktop-amt16-1", "ccm", None),
        ("vpro-desktop-amt18", "acm", None),
        ("vpro-desktop-amt16-1", "ccm", Some(KILL)),
        ("vpro-desktop-amt18", "acm", Some(KILL)),
        ("vpro-desktop-amt18", "acm", Some("wsman:AMT_TLSCredentialContext.Put=fault#2")),
    ] {
        let scratch = scratch();
        let org = Org::new(scratch.path(), "tls = \"required\"");
        let ccm = scratch.path().join("ccm");
        fs::create_dir(&ccm).unwrap();
        let policy = match mode {
            "ccm" => oob_tests::provisioning::policy(&ccm, "control_mode = \"ccm\", tls = \"required\""),
            _ => org.policy.clone(),
        };
        let mut options = [&org.trusted()[..], &["--served-stale"]].concat();
        options.extend(fault.iter().flat_map(|fault| ["--fault", fault]));
        let machine = Machine::start(profile, &scratch.path().join("vpro"), &options);
        let out = scratch.path().join("out");
        let what = format!("{profile} {mode} {fault:?}");
        let mut run = apply(&machine, &policy, &out);
        if fault.is_some() {
            assert_ne!(code(&run), Some(0), "{what}");
            assert_eq!(passwords_outside_escrow(&machine.state(), &out), None, "{what}");
            run = match mode {
                "ccm" => apply(&machine, &policy, &out),
                _ => {
                    let known = opened(&live(&machine.state(), &out)[0], scratch.path());
                    with(&machine, &policy, &out, &[&known], &[])
                }
            };
        }
        assert_eq!(code(&run), Some(0), "{what}: {}\n{}", text(&run.stdout), text(&run.stderr));
        let (result, state) = (json(&run), machine.state());
        let done = result["outcomes"].as_array().unwrap().last().unwrap();
        assert_eq!(done["evidence"]["tls_certificate_sha256"], state["tls"]["serving"], "{what}");
        assert_eq!(passwords_outside_escrow(&state, &out), None, "{what}");
        let mutating = machine.mutating_calls();
        let second = apply(&machine, &policy, &out);
        assert_eq!((code(&second), machine.mutating_calls()), (Some(0), mutating), "{what}");
    }
}

#[test]
fn what_goes_wrong_leaves_a_password_that_is_proven_and_a_certificate_that_is_known() {
    for fault in [
        "wsman:AMT_PublicKeyManagementService.GenerateKeyPair=return-value:23#2",
        "wsman:AMT_PublicKeyManagementService.AddCertificate=return-value:2063#2",
        "wsman:AMT_TLSCredentialContext.Put=http-500",
        "wsman:AMT_TLSSettingData.Put=fault#3",
        "wsman:AMT_SetupAndConfigurationService.CommitChanges=return-value:1#2",
    ] {
        let scratch = scratch();
        let ours = Ours::with(scratch.path(), "vpro-desktop-amt16", TLS, &["--fault", fault]);
        let before = ours.serving();
        let run = ours.rotate();
        assert_eq!(
            (code(&run), &json(&run)["reason"]),
            (Some(9), &"amt-incomplete".into()),
            "{fault}: {}",
            text(&run.stdout)
        );
        assert_eq!(passwords_outside_escrow(&ours.machine.state(), &ours.out), None, "{fault}");
        assert_eq!(ours.serving(), before, "{fault}");
        let run = ours.rotate();
        assert_eq!(code(&run), Some(0), "{fault}: {}\n{}", text(&run.stdout), text(&run.stderr));
        ours.assert_at_target(&before, fault);
    }
    // What is left over is no failure.
    let scratch = scratch();
    let fault = "wsman:AMT_PublicKeyCertificate.Delete=fault";
    let ours = Ours::with(scratch.path(), "vpro-desktop-amt16", TLS, &["--fault", fault]);
    let before = ours.serving();
    let run = ours.rotate();
    assert_eq!(code(&run), Some(0), "{}", text(&run.stdout));
    assert!(text(&run.stdout).contains("may still be stored in AMT, unused"), "{}", text(&run.stdout));
    ours.assert_at_target(&before, fault);
    assert_eq!(ours.tls()["key_pairs"], 2);
    assert_eq!(code(&ours.rotate()), Some(0));
    assert_eq!(ours.tls()["key_pairs"], 1, "the next one removes both");
}

#[test]
fn a_run_that_dies_in_between_is_resolved_whichever_certificate_is_served() {
    // The first run makes as many of these calls as it takes, and lives.
    for (call, nth, sides) in [
        ("AMT_PublicKeyManagementService.GenerateKeyPair", "#2", &["kill-peer-after"][..]),
        ("AMT_PublicKeyManagementService.AddCertificate", "#2", &["kill-peer-before", "kill-peer-after"]),
        ("AMT_TLSCredentialContext.Put", "", &["kill-peer-before", "kill-peer-after"]),
        ("AMT_TLSSettingData.Put", "#3", &["kill-peer-after"]),
        ("AMT_SetupAndConfigurationService.CommitChanges", "#2", &["kill-peer-before", "kill-peer-after"]),
        ("AMT_PublicKeyCertificate.Delete", "", &["kill-peer-before", "kill-peer-after"]),
    ] {
        for side in sides {
            let fault = format!("wsman:{call}={side}{nth}");
            let scratch = scratch();
            let ours = Ours::with(scratch.path(), "vpro-desktop-amt16", TLS, &["--fault", &fault]);
            let before = ours.serving();
            let died = ours.rotate();
            assert_eq!(code(&died), None, "{fault}: {}", text(&died.stdout));
            assert_eq!(passwords_outside_escrow(&ours.machine.state(), &ours.out), None, "{fault}");

            // Without a credential it says what is, and changes nothing.
            let (served, mutating) = (ours.serving(), ours.machine.mutating_calls());
            let look = apply(&ours.machine, &ours.org.policy, &ours.out);
            let expected =
                if served == before { (Some(0), "satisfied") } else { (Some(9), "certificate-not-proven") };
            let said = json(&look);
            assert_eq!((code(&look), said["reason"].as_str().unwrap()), expected, "{fault}: {said:#}");
            assert_eq!(ours.machine.mutating_calls(), mutating, "{fault}");

            let run = ours.rotate();
            assert_eq!(code(&run), Some(0), "{fault}: {}\n{}", text(&run.stdout), text(&run.stderr));
            ours.assert_at_target(&before, &fault);
            assert_eq!(ours.tls()["certificates"].as_object().unwrap().len(), 1, "{fault}: {}", ours.tls());
        }
    }
}
