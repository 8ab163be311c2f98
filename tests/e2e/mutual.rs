//! Mutual TLS: clients of AMT's network port must show a certificate of the CA that policy names; a look from another host
//! proves it with one and without.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use oob_tests::provisioning::{Org, ca_key, ec_key, leaf_key, raise_serial};
use oob_tests::{Machine, agent, code, json, scratch, text};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use serde_json::Value;

use crate::honesty::{passwords_outside_escrow, sealed};
use crate::known::{live, opened, with};
use crate::remote::closed_port;
use crate::use_acm::apply;

/// The purpose "AMT console over the network" (reference/amt.md 5.9).
const CONSOLE: &[u64] = &[2, 16, 840, 1, 113741, 1, 2, 1];

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn authority() -> CertificateParams {
    let mut params = named("Example clients");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

/// A client's certificate with its key, by the CA of this key.
fn client(dir: &Path, name: &str, ca: &KeyPair) -> PathBuf {
    let key = ec_key();
    let mut params = named(name);
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::Other(CONSOLE.to_vec())];
    let certificate = params.signed_by(&key, &Issuer::from_params(&authority(), ca)).unwrap().pem();
    let file = dir.join(format!("{name}-client.pem"));
    fs::write(&file, format!("{certificate}{}", key.serialize_pem())).unwrap();
    file
}

fn ca_file(dir: &Path) -> PathBuf {
    let file = dir.join("clients-ca.pem");
    fs::write(&file, authority().self_signed(&ca_key()).unwrap().pem()).unwrap();
    file
}

fn wishes(ca: &Path, names: &str) -> String {
    format!("tls = \"required\", mutual_tls_ca = \"file:{}\"{names}", ca.display())
}

struct Ours {
    machine: Machine,
    org: Org,
    out: PathBuf,
}

fn set_up(dir: &Path, profile: &str, names: &str) -> Ours {
    let org = Org::new(dir, &wishes(&ca_file(dir), names));
    let machine = Machine::start(profile, &dir.join("vpro"), &org.trusted());
    let out = dir.join("out");
    let run = apply(&machine, &org.policy, &out);
    assert_eq!(code(&run), Some(0), "{profile}: {}\n{}", text(&run.stdout), text(&run.stderr));
    Ours { machine, org, out }
}

impl Ours {
    fn verify(&self, client: Option<&Path>) -> Output {
        let secret = sealed(&self.out, "amt").remove(0);
        let credential = self.out.join("credential.json");
        fs::write(&credential, secret.to_string()).unwrap();
        let (device, at) = (secret["device_id"].as_str().unwrap(), self.machine.port("16993"));
        let (out, at, closed) = (self.out.to_str().unwrap(), format!("127.0.0.1:{at}"), closed_port());
        let credential_file = credential.to_str().unwrap();
        let mut all = vec!["verify", "--out", out, "--remote", &at, "--device", device];
        all.extend(["--known-credential", credential_file, "--cleartext", &closed, "--json"]);
        all.extend(client.map(|file| ["--client-certificate", file.to_str().unwrap()]).into_iter().flatten());
        let run = agent(all);
        fs::remove_file(&credential).unwrap();
        run
    }

    fn remote_settings(&self) -> Value {
        self.machine.state()["tls"]["committed"][0].clone()
    }
}

fn ended(run: &Output, exit: i32, reason: &str) -> Value {
    assert_eq!((code(run), &json(run)["reason"]), (Some(exit), &reason.into()), "{}", text(&run.stdout));
    json(run)
}

#[test]
fn clients_get_in_with_a_certificate_of_the_ca_and_without_one_nobody_does() {
    for profile in ["vpro-desktop-amt16", "vpro-desktop-amt16-1", "vpro-desktop-amt18"] {
        let scratch = scratch();
        let ours = set_up(scratch.path(), profile, ", mutual_tls_names = [\"spare\", \"console\"]");
        let remote = ours.remote_settings();
        assert_eq!((&remote["mutual"], &remote["enabled"]), (&true.into(), &true.into()), "{profile}");
        assert_eq!(remote["trusted_names"], serde_json::json!(["spare", "console"]), "{profile}");
        let local = ours.machine.state()["tls"]["committed"][1].clone();
        assert_eq!(local["mutual"], false, "{profile}: whoever is on the machine must not be locked out");

        // The agent itself goes on by the local port, and rests.
        let mutating = ours.machine.mutating_calls();
        let second = apply(&ours.machine, &ours.org.policy, &ours.out);
        assert_eq!((code(&second), &json(&second)["changed"]), (Some(0), &false.into()), "{profile}");
        assert_eq!(ours.machine.mutating_calls(), mutating, "{profile}");
        let amt = &json(&second)["capability"]["channels"][0];
        assert!(amt["needs"].to_string().contains("client_certificate"), "{profile}: {amt}");

        let good = client(scratch.path(), "console", &ca_key());
        let proven = ended(&ours.verify(Some(&good)), 0, "satisfied");
        assert_eq!(proven["mutual_tls"], "demanded", "{profile}");
        assert!(proven["text"].as_str().unwrap().contains("mutual TLS"), "{profile}: {proven}");

        let missing = ended(&ours.verify(None), 8, "client-certificate-needed");
        assert!(missing["text"].as_str().unwrap().contains("--client-certificate FILE"), "{profile}");
        let stranger = client(scratch.path(), "stranger", &ca_key());
        ended(&ours.verify(Some(&stranger)), 5, "client-certificate-refused");
        let foreign = client(scratch.path(), "console", &leaf_key());
        ended(&ours.verify(Some(&foreign)), 5, "client-certificate-refused");
        assert_eq!(ours.machine.state()["counters"]["http:bad-login"].as_u64().unwrap_or(0), 2, "{profile}");
    }
}

#[test]
fn a_file_that_is_no_client_certificate_is_a_usage_error() {
    let scratch = scratch();
    let ours = set_up(scratch.path(), "vpro-desktop-amt16", "");
    let ca = scratch.path().join("clients-ca.pem");
    ended(&ours.verify(Some(&ca)), 2, "client-certificate");
    // Any client of the CA is let in where no names are given.
    let any = client(scratch.path(), "anybody", &ca_key());
    assert_eq!(ended(&ours.verify(Some(&any)), 0, "satisfied")["mutual_tls"], "demanded");
}

#[test]
fn a_ca_that_cannot_be_one_is_refused_before_any_call() {
    let scratch = scratch();
    let ended = {
        let mut params = authority();
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
        params.self_signed(&ca_key()).unwrap().pem()
    };
    let leaf = named("leaf").self_signed(&leaf_key()).unwrap().pem();
    for (pem, why) in [(ended, "has ended"), (leaf, "no CA"), (String::new(), "no certificate")] {
        let file = scratch.path().join("wrong.pem");
        fs::write(&file, pem).unwrap();
        let org = Org::new(scratch.path(), &wishes(&file, ""));
        let dir = scratch.path().join(format!("vpro-{}", why.len()));
        let machine = Machine::start("vpro-desktop-amt16", &dir, &org.trusted());
        let run = apply(&machine, &org.policy, &scratch.path().join("out"));
        assert_eq!((code(&run), &json(&run)["reason"]), (Some(8), &"mutual-tls-ca-unusable".into()));
        assert!(text(&run.stdout).contains(why), "{why}: {}", text(&run.stdout));
        assert_eq!(machine.mutating_calls(), 0);
    }
}

#[test]
fn a_later_policy_adds_the_demand_with_the_credential() {
    let scratch = scratch();
    let org = Org::new(scratch.path(), "tls = \"required\"");
    let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &org.trusted());
    let out = scratch.path().join("out");
    assert_eq!(code(&apply(&machine, &org.policy, &out)), Some(0));
    let more = Org::new(scratch.path(), &wishes(&ca_file(scratch.path()), ""));
    raise_serial(&more.policy, 2);
    assert_eq!(code(&apply(&machine, &more.policy, &out)), Some(9));
    let file = opened(&live(&machine.state(), &out)[0], scratch.path());
    let run = with(&machine, &more.policy, &out, &[&file], &[]);
    assert_eq!(code(&run), Some(0), "{}\n{}", text(&run.stdout), text(&run.stderr));
    let state = machine.state();
    assert_eq!(state["tls"]["committed"][0]["mutual"], true);
    assert_eq!(passwords_outside_escrow(&state, &out), None);
    // The certificate was replaced with it, and the one before is gone: the root and the one that is served are left.
    assert_eq!(state["tls"]["certificates"].as_object().unwrap().len(), 2, "{}", state["tls"]);
    assert_eq!(state["tls"]["key_pairs"], 1, "{}", state["tls"]);
    assert_eq!(code(&apply(&machine, &more.policy, &out)), Some(0));
}

#[test]
fn what_goes_wrong_with_the_demand_is_no_success() {
    for (fault, exit) in [
        ("wsman:AMT_PublicKeyManagementService.AddTrustedRootCertificate=return-value:2058", 9),
        ("wsman:AMT_PublicKeyManagementService.AddTrustedRootCertificate=return-value:2063", 9),
        ("wsman:AMT_TLSSettingData.Put=fault", 9),
    ] {
        let scratch = scratch();
        let org = Org::new(scratch.path(), &wishes(&ca_file(scratch.path()), ""));
        let mut options = org.trusted().to_vec();
        options.extend(["--fault", fault]);
        let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &options);
        let run = apply(&machine, &org.policy, &scratch.path().join("out"));
        assert_eq!(code(&run), Some(exit), "{fault}: {}", text(&run.stdout));
    }
}
