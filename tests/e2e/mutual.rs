//! Mutual TLS: clients of AMT's network port must show a certificate of the CA that policy names; a look from another host
//! proves it with one and without.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use oob_tests::provisioning::{Org, ca_key, ec_key, leaf_key, raise_serial};
use oob_tests::{Machine, agent, code, json, scratch, text};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::honesty::passwords_outside_escrow;
use crate::known::{live, opened, taking, with};
use crate::use_acm::apply;
use crate::use_ccm::open;
use oob_tests::server::closed_port;

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
    ca_of(dir, "clients-ca.pem", &ca_key())
}

fn ca_of(dir: &Path, name: &str, key: &KeyPair) -> PathBuf {
    let file = dir.join(name);
    fs::write(&file, authority().self_signed(key).unwrap().pem()).unwrap();
    file
}

/// As org state names it.
fn sha256(ca: &KeyPair) -> String {
    let der = authority().self_signed(ca).unwrap().der().to_vec();
    Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect()
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
    set_up_with(dir, profile, names, &[])
}

fn set_up_with(dir: &Path, profile: &str, names: &str, options: &[&str]) -> Ours {
    let org = Org::new(dir, &wishes(&ca_file(dir), names));
    let machine = Machine::start(profile, &dir.join("vpro"), &[&org.trusted(), options].concat());
    let out = dir.join("out");
    let run = apply(&machine, &org.policy, &out);
    assert_eq!(code(&run), Some(0), "{profile}: {}\n{}", text(&run.stdout), text(&run.stderr));
    Ours { machine, org, out }
}

impl Ours {
    fn verify(&self, client: Option<&Path>) -> Output {
        let secret = open(&live(&self.machine.state(), &self.out)[0]);
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

    /// With the live credential.
    fn go_on(&self, policy: &Path, dir: &Path, more: &[&str]) -> Output {
        let file = opened(&live(&self.machine.state(), &self.out)[0], dir);
        with(&self.machine, policy, &self.out, &[&file], more)
    }

    /// Whether AMT has this certificate, in whichever use.
    fn holds(&self, sha256: &str) -> bool {
        let state = self.machine.state();
        state["tls"]["certificates"].as_object().unwrap().values().any(|held| held == sha256)
    }

    /// The next run without a credential.
    fn assert_rests(&self, policy: &Path, exit: i32) -> Value {
        let mutating = self.machine.mutating_calls();
        let run = apply(&self.machine, policy, &self.out);
        assert_eq!(
            (code(&run), &json(&run)["changed"]),
            (Some(exit), &false.into()),
            "{}",
            text(&run.stdout)
        );
        assert_eq!(self.machine.mutating_calls(), mutating);
        json(&run)
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

/// A later policy's rule, in the same organization.
fn later(dir: &Path, wishes: &str, serial: u32) -> PathBuf {
    let org = Org::new(dir, wishes);
    raise_serial(&org.policy, serial);
    org.policy
}

#[test]
fn clients_of_a_ca_that_policy_names_no_more_are_let_in_no_more() {
    for (profile, fault) in [
        ("vpro-desktop-amt16", None),
        ("vpro-desktop-amt18", None),
        // What is removed is in force with a commit, whose answer is lost here.
        ("vpro-desktop-amt16", Some("wsman:AMT_SetupAndConfigurationService.CommitChanges=drop-before#3")),
    ] {
        let scratch = scratch();
        let dir = scratch.path();
        let ours =
            set_up_with(dir, profile, "", &fault.map_or_else(Vec::new, |fault| vec!["--fault", fault]));
        let (first, second) = (sha256(&ca_key()), sha256(&leaf_key()));
        let policy = later(dir, &wishes(&ca_of(dir, "second.pem", &leaf_key()), ""), 2);
        assert_eq!(code(&apply(&ours.machine, &policy, &ours.out)), Some(9), "{profile}");
        if profile == "vpro-desktop-amt18" {
            // On another medium, to which the events came alone.
            fs::remove_dir_all(ours.out.join("local")).unwrap();
        }
        let run = ours.go_on(&policy, dir, &[]);
        assert_eq!(code(&run), Some(0), "{profile} {fault:?}: {}\n{}", text(&run.stdout), text(&run.stderr));
        assert!(text(&run.stdout).contains("was removed from its trusted roots"), "{}", text(&run.stdout));
        assert!(!ours.holds(&first) && ours.holds(&second), "{profile} {fault:?}");
        let told = &json(&run)["outcomes"][0]["evidence"]["settings"];
        assert!(told.to_string().contains(&format!("\"mutual_tls_ca = {second}\"")), "{profile}: {told}");
        ours.assert_rests(&policy, 0);
        let (old, new) = (client(dir, "old", &ca_key()), client(dir, "new", &leaf_key()));
        assert_eq!(ended(&ours.verify(Some(&new)), 0, "satisfied")["mutual_tls"], "demanded", "{profile}");
        ended(&ours.verify(Some(&old)), 5, "client-certificate-refused");
    }
}

/// The journal alone knows the second one.
#[test]
fn a_root_of_a_run_that_died_is_removed_by_the_next_that_needs_another() {
    let scratch = scratch();
    let dir = scratch.path();
    let fault = "wsman:AMT_PublicKeyManagementService.AddTrustedRootCertificate=kill-peer-after#2";
    let ours = set_up_with(dir, "vpro-desktop-amt16", "", &["--fault", fault]);
    let policy = later(dir, &wishes(&ca_of(dir, "second.pem", &leaf_key()), ""), 2);
    assert_eq!(code(&ours.go_on(&policy, dir, &[])), None, "killed");
    assert!(ours.holds(&sha256(&leaf_key())));
    let policy = later(dir, &wishes(&ca_of(dir, "third.pem", &ec_key()), ""), 3);
    let run = ours.go_on(&policy, dir, &[]);
    assert_eq!(code(&run), Some(0), "{}\n{}", text(&run.stdout), text(&run.stderr));
    assert_eq!([&ca_key(), &leaf_key()].map(|ca| ours.holds(&sha256(ca))), [false, false]);
    let tls = ours.machine.state()["tls"].clone();
    assert_eq!(tls["certificates"].as_object().unwrap().len(), 2, "the third one, and what is served: {tls}");
    ours.assert_rests(&policy, 0);
}

#[test]
fn a_root_of_others_stays_and_is_no_success() {
    let scratch = scratch();
    let dir = scratch.path();
    let other = dir.join("other");
    fs::create_dir(&other).unwrap();
    let theirs = set_up(&other, "vpro-desktop-amt16", "");
    let file = opened(&live(&theirs.machine.state(), &theirs.out)[0], dir);
    let (first, second) = (sha256(&ca_key()), sha256(&leaf_key()));
    let policy = taking(dir, &format!(", {}", wishes(&ca_of(dir, "second.pem", &leaf_key()), "")));
    let ours = Ours { out: dir.join("out"), ..theirs };
    let run = with(&ours.machine, &policy, &ours.out, &[&file], &[]);
    let result = json(&run);
    assert_eq!((code(&run), &result["reason"]), (Some(9), &"amt-incomplete".into()), "{}", text(&run.stdout));
    assert!(result["text"].as_str().unwrap().contains(&first), "{}", result["text"]);
    assert!(ours.holds(&first) && ours.holds(&second), "what others put there is not ours to remove");
    let told = &result["outcomes"][0]["evidence"]["settings"];
    assert!(told.to_string().contains(&format!("mutual_tls_ca = {second} beside {first}")), "{told}");
    // It is ours all the same, and the next run says the same.
    let amt = &result["capability"]["channels"][0];
    assert_eq!((&amt["state"], &amt["confidence"]), (&"verified".into(), &"proven".into()), "{amt}");
    assert!(amt["reason"].as_str().unwrap().contains("not policy's alone"), "{amt}");
    let next = ours.assert_rests(&policy, 9);
    assert_eq!(next["reason"], "amt-incomplete");
    // True in the other direction as well.
    ended(&ours.verify(Some(&client(dir, "old", &ca_key()))), 0, "satisfied");
}

#[test]
fn what_policy_does_not_mention_stays_as_it_was() {
    let names = ", mutual_tls_names = [\"spare\", \"console\"]";
    let scratch = scratch();
    let dir = scratch.path();
    let ours = set_up(dir, "vpro-desktop-amt16", names);
    let demanded = |ours: &Ours| {
        let settings = ours.remote_settings();
        (settings["mutual"].clone(), settings["trusted_names"].clone())
    };
    let as_set = demanded(&ours);
    assert_eq!(as_set.0, true);
    // The key is dropped, and the certificate is renewed: TLS is written, and nothing of its clients.
    let dropped = later(dir, "tls = \"required\"", 2);
    ours.assert_rests(&dropped, 0);
    let serving = ours.machine.state()["tls"]["serving"].clone();
    let run = ours.go_on(&dropped, dir, &["--rotate"]);
    assert_eq!(code(&run), Some(0), "{}\n{}", text(&run.stdout), text(&run.stderr));
    assert_ne!(ours.machine.state()["tls"]["serving"], serving);
    assert_eq!(demanded(&ours), as_set);
    assert!(ours.holds(&sha256(&ca_key())), "a demand without its root would let nobody in");
    assert!(text(&run.stdout).contains("as it did before"), "{}", text(&run.stdout));
    let rests = ours.assert_rests(&dropped, 0);
    let amt = &rests["capability"]["channels"][0];
    assert!(amt["needs"].to_string().contains("client_certificate"), "{amt}");
    ended(&ours.verify(None), 8, "client-certificate-needed");
    let good = client(dir, "console", &ca_key());
    assert_eq!(ended(&ours.verify(Some(&good)), 0, "satisfied")["mutual_tls"], "demanded");
    // The proof holds what the first run proved of it.
    ours.assert_rests(&later(dir, &wishes(&ca_file(dir), names), 3), 0);

    // AMT that is taken over keeps it too, and whose CA that is, nobody here knows.
    let file = opened(&live(&ours.machine.state(), &ours.out)[0], dir);
    let policy = taking(dir, ", tls = \"required\"");
    let ours = Ours { out: dir.join("taken"), ..ours };
    let run = with(&ours.machine, &policy, &ours.out, &[&file], &[]);
    assert_eq!(code(&run), Some(0), "{}\n{}", text(&run.stdout), text(&run.stderr));
    assert_eq!(demanded(&ours), as_set);
    let told = json(&run)["outcomes"][0]["evidence"]["settings"].to_string();
    assert!(told.contains("mutual_tls_ca = as-found") && told.contains("console"), "{told}");
    assert!(json(&run)["capability"]["channels"][0]["needs"].to_string().contains("client_certificate"));
    ours.assert_rests(&policy, 0);
    ended(&ours.verify(None), 8, "client-certificate-needed");
    ended(&ours.verify(Some(&good)), 0, "satisfied");
}
