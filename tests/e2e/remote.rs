//! `verify --remote`: the half of the proof that another host gives, against simulated machines and against servers that
//! are none.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ed25519_dalek::{Signer, SigningKey};
use oob_tests::provisioning::Org;
use oob_tests::server::{Server, closed_port};
use oob_tests::{Machine, agent, code, files, json, scratch, text};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::honesty::sealed;
use crate::known::{live, opened};
use crate::{use_acm, use_ccm};

/// A machine that a run has set up, and what another host needs to see it.
pub(crate) struct Ours {
    pub(crate) machine: Machine,
    pub(crate) out: PathBuf,
    device: String,
    /// What the escrow file opens to.
    pub(crate) credential: PathBuf,
}

impl Ours {
    fn client_mode(dir: &Path) -> Self {
        Self::client_mode_of(dir, "vpro-desktop-amt16", &[])
    }

    fn client_mode_of(dir: &Path, profile: &str, options: &[&str]) -> Self {
        let machine = Machine::start(profile, &dir.join("vpro"), options);
        let out = dir.join("out");
        let run = use_ccm::apply(&machine, &out);
        Self::after(&run, machine, dir, out)
    }

    pub(crate) fn with_tls(dir: &Path, profile: &str, tls: &str) -> Self {
        fs::create_dir_all(dir).unwrap();
        let org = Org::new(dir, &format!("tls = \"{tls}\", sol = true, consent = \"none\""));
        let machine = Machine::start(profile, &dir.join("vpro"), &org.trusted());
        let out = dir.join("out");
        let run = use_acm::apply(&machine, &org.policy, &out);
        Self::after(&run, machine, dir, out)
    }

    fn after(run: &Output, machine: Machine, dir: &Path, out: PathBuf) -> Self {
        assert_eq!(code(run), Some(0), "{}\n{}", text(&run.stdout), text(&run.stderr));
        let secret = sealed(&out, "amt").remove(0);
        let device = secret["device_id"].as_str().unwrap().to_owned();
        let credential = dir.join("credential.json");
        fs::write(&credential, secret.to_string()).unwrap();
        Self { machine, out, device, credential }
    }

    pub(crate) fn at(&self, port: &str) -> String {
        format!("127.0.0.1:{}", self.machine.port(port))
    }

    /// From another host, with the cleartext port said to be where nothing listens.
    fn verify(&self, address: &str) -> Output {
        self.verify_with(address, &self.credential, &closed_port())
    }

    fn verify_with(&self, address: &str, credential: &Path, cleartext: &str) -> Output {
        agent(self.arguments(address, credential, cleartext))
    }

    pub(crate) fn arguments(&self, address: &str, credential: &Path, cleartext: &str) -> Vec<String> {
        let (out, credential) = (self.out.to_str().unwrap(), credential.to_str().unwrap());
        [
            "verify",
            "--out",
            out,
            "--remote",
            address,
            "--device",
            &self.device,
            "--known-credential",
            credential,
        ]
        .into_iter()
        .chain(["--cleartext", cleartext, "--json"])
        .map(str::to_owned)
        .collect()
    }

    /// Bodies of the events that tell of looks from another host.
    fn remote_events(&self) -> Vec<(String, Value)> {
        let mut found = Vec::new();
        for file in files(&self.out.join("devices")) {
            if file.to_str().unwrap().ends_with(".dsse.json") {
                let event = payload(&file);
                if event["body"].get("verified_remote").is_some() {
                    found.push((event["kind"].as_str().unwrap().to_owned(), event["body"].clone()));
                }
            }
        }
        found
    }

    fn bad_logins(&self) -> u64 {
        self.machine.state()["counters"]["http:bad-login"].as_u64().unwrap_or(0)
    }
}

pub(crate) fn payload(file: &Path) -> Value {
    let envelope: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let payload = BASE64_STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap();
    serde_json::from_slice(&payload).unwrap()
}

fn ended(run: &Output, exit: i32, reason: &str) -> Value {
    assert_eq!(code(run), Some(exit), "{reason}: {}\n{}", text(&run.stdout), text(&run.stderr));
    let result = json(run);
    assert_eq!((&result["reason"], &result["exit_code"]), (&json!(reason), &json!(exit)), "{result:#}");
    assert_eq!(result["verified_remote"], exit == 0, "{result:#}");
    result
}

#[test]
fn client_mode_is_proven_from_another_host_over_digest() {
    let scratch = scratch();
    let ours = Ours::client_mode(scratch.path());
    let (mutating, bad) = (ours.machine.mutating_calls(), ours.bad_logins());
    let result = ended(&ours.verify(&ours.at("16992")), 0, "satisfied");
    assert_eq!(result["schema"], "oob-verify-remote/1");
    assert_eq!(
        (&result["transport"], &result["cleartext"]),
        (&json!("16992/http-digest"), &json!("not-judged"))
    );
    assert_eq!((&result["power"]["state"], &result["power"]["known"]), (&json!("on"), &json!("offered")));
    assert!(!result["power"]["offered"].as_array().unwrap().is_empty(), "{result:#}");
    // Power, boot and console are told apart: a person is asked in this mode.
    assert_eq!((&result["boot"]["can"], &result["console"]["can"]), (&json!([]), &json!([])));
    assert!(result["console"]["needs"].as_str().unwrap().contains("user_consent"), "{result:#}");
    let record = &result["capability"];
    assert_eq!((&record["state"], &record["confidence"]), (&json!("verified"), &json!("proven")));
    assert!(record["reason"].as_str().unwrap().contains("reachable from another machine"), "{record:#}");
    assert_eq!(record["last_proof"], result["event"]);

    // Nothing was changed, and one wrong password was tried.
    assert_eq!(ours.machine.mutating_calls(), mutating);
    assert_eq!(ours.bad_logins(), bad + 1);
    let events = ours.remote_events();
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].0.as_str(), &events[0].1["verified_remote"]), ("verified", &json!(true)));
    assert_eq!(events[0].1["power"]["state_number"], 2);

    // The machine's own next run knows of it, and is as content as before.
    let again = use_ccm::apply(&ours.machine, &ours.out);
    assert_eq!((code(&again), &json(&again)["changed"]), (Some(0), &json!(false)), "{}", text(&again.stderr));
    let told = json(&again)["capability"]["channels"][0]["reason"].as_str().unwrap().to_owned();
    assert!(told.contains("reachable from another machine at 127.0.0.1:"), "{told}");
    // A bare password is as good as the opened escrow file.
    let password = scratch.path().join("password");
    let secret: Value = serde_json::from_slice(&fs::read(&ours.credential).unwrap()).unwrap();
    fs::write(&password, format!("{}\n", secret["password"].as_str().unwrap())).unwrap();
    ended(&ours.verify_with(&ours.at("16992"), &password, &closed_port()), 0, "satisfied");
}

#[test]
fn admin_mode_is_proven_over_tls_with_the_pinned_certificate() {
    for profile in ["vpro-desktop-amt16", "vpro-desktop-amt16-1", "vpro-desktop-amt19"] {
        let scratch = scratch();
        let ours = Ours::with_tls(scratch.path(), profile, "required");
        let mutating = ours.machine.mutating_calls();
        let result = ended(&ours.verify(&ours.at("16993")), 0, "satisfied");
        assert_eq!(
            (&result["transport"], &result["cleartext"]),
            (&json!("16993/https-digest"), &json!("refused")),
            "{profile}"
        );
        assert_eq!(result["boot"]["can"], json!(["boot_override"]), "{profile}: {result:#}");
        assert_eq!(result["console"]["can"], json!(["console_text"]), "{profile}");
        assert_eq!(ours.machine.mutating_calls(), mutating, "{profile}");

        // The cleartext port answers all the same: drift, and said which.
        let server = Server::saying("HTTP/1.1 303 See Other\r\nContent-Length: 0\r\n\r\n");
        let run = ours.verify_with(&ours.at("16993"), &ours.credential, &server.address);
        let result = ended(&run, 9, "cleartext-open");
        assert_eq!(result["cleartext"], "open");
        assert!(!server.heard().contains("uthorization"), "{profile}: a login went out in cleartext");
        // Connections that are taken and closed without an answer are not an open port.
        let mute = Server::saying("");
        let run = ours.verify_with(&ours.at("16993"), &ours.credential, &mute.address);
        assert_eq!(ended(&run, 0, "satisfied")["cleartext"], "closed-without-answer");
        let kinds: Vec<_> = ours.remote_events().into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(
            kinds.iter().filter(|kind| *kind == "failed").count(),
            1,
            "the drift is recorded: {kinds:?}"
        );
    }
}

/// From 16.1 on AMT serves other machines TLS alone, with a certificate that it made for itself, whatever policy asks.
#[test]
fn amt_s_own_certificate_is_in_the_proof_where_policy_asks_for_no_tls() {
    for profile in ["vpro-desktop-amt16-1", "vpro-desktop-amt18"] {
        let scratch = scratch();
        let ours = Ours::client_mode_of(scratch.path(), profile, &[]);
        let result = ended(&ours.verify(&ours.at("16993")), 0, "satisfied");
        assert_eq!(result["transport"], "16993/https-digest", "{profile}");
        let served = ours.machine.state()["tls"]["serving"].clone();
        assert_eq!(result["claimed"]["tls_certificate_sha256"], served, "{profile}");
        // Its own ports stay as they are, and the next run rests.
        let again = use_ccm::apply(&ours.machine, &ours.out);
        assert_eq!((code(&again), &json(&again)["changed"]), (Some(0), &json!(false)), "{profile}");
    }
    let scratch = scratch();
    let fault = ["--fault", "wsman:AMT_TLSCredentialContext.Enumerate=fault"];
    let ours = Ours::client_mode_of(scratch.path(), "vpro-desktop-amt16-1", &fault);
    let calls = ours.machine.calls().len();
    let run = ours.verify(&ours.at("16993"));
    assert_eq!((code(&run), ours.machine.calls().len()), (Some(8), calls), "{}", text(&run.stdout));
    assert!(text(&run.stdout).contains("tls-not-pinned"), "{}", text(&run.stdout));
    let next = json(&use_ccm::apply(&ours.machine, &ours.out));
    let told = next["capability"]["channels"][0]["reason"].as_str().unwrap().to_owned();
    assert!(told.contains("cannot tell it from others"), "{told}");
    // A run that logs in reads it.
    let mut arguments = use_ccm::arguments(&ours.machine, &ours.out).to_vec();
    arguments.extend(["--known-credential", ours.credential.to_str().unwrap(), "--rotate"]);
    assert_eq!(code(&agent(arguments)), Some(0));
    let file = opened(&live(&ours.machine.state(), &ours.out)[0], scratch.path());
    ended(&ours.verify_with(&ours.at("16993"), &file, &closed_port()), 0, "satisfied");
}

#[test]
fn tls_beside_cleartext_is_proven_and_cleartext_not_judged() {
    let scratch = scratch();
    let ours = Ours::with_tls(scratch.path(), "vpro-desktop-amt16", "optional");
    let result = ended(&ours.verify(&ours.at("16993")), 0, "satisfied");
    assert_eq!(result["cleartext"], "not-judged");
    // A claim with TLS is never verified without it, and its password never goes out so.
    let logins = ours.machine.state()["counters"].clone();
    let result = ended(&ours.verify(&ours.at("16992")), 5, "tls-failed");
    assert!(result["text"].as_str().unwrap().contains("No login was sent"), "{result:#}");
    assert_eq!(ours.machine.state()["counters"]["http:bad-login"], logins["http:bad-login"]);
}

#[test]
fn another_certificate_or_realm_is_drift_and_sees_no_login() {
    let scratch = scratch();
    let first = Ours::with_tls(&scratch.path().join("a"), "vpro-desktop-amt16", "required");
    let second = Ours::with_tls(&scratch.path().join("b"), "vpro-desktop-amt16", "required");
    let requests = |ours: &Ours| {
        let calls = ours.machine.calls();
        calls.iter().filter(|call| !call.starts_with("tls:")).count()
    };
    let before = requests(&second);
    let result = ended(&first.verify(&second.at("16993")), 9, "certificate-changed");
    assert!(result["text"].as_str().unwrap().contains("No login was sent"), "{result:#}");
    assert_eq!(requests(&second), before, "nothing was asked through that certificate");

    // The device provisioned anew, or another one: the realm tells.
    let plain = Ours::client_mode(&scratch.path().join("c"));
    let anew = Ours::client_mode(&scratch.path().join("d"));
    let bad = anew.bad_logins();
    let result = ended(&plain.verify(&anew.at("16992")), 9, "realm-changed");
    assert!(result["text"].as_str().unwrap().contains("No login was sent"), "{result:#}");
    assert_eq!(anew.bad_logins(), bad);
    assert_eq!(plain.remote_events()[0].0, "failed");
}

#[test]
fn a_wrong_password_is_tried_once_and_recorded_nowhere() {
    let scratch = scratch();
    let ours = Ours::client_mode(scratch.path());
    let bad = ours.bad_logins();
    let file = scratch.path().join("wrong");
    fs::write(&file, "Wrong-Passw0rd!").unwrap();
    let run = ours.verify_with(&ours.at("16992"), &file, &closed_port());
    let result = ended(&run, 5, "login-refused");
    assert_eq!(ours.bad_logins(), bad + 1, "{result:#}");
    assert_eq!((&result["event"], ours.remote_events().len()), (&Value::Null, 0));
}

#[test]
fn a_port_that_is_closed_is_said_to_refuse() {
    let scratch = scratch();
    let ours = Ours::client_mode(scratch.path());
    let result = ended(&ours.verify(&closed_port()), 5, "unreachable");
    assert!(result["text"].as_str().unwrap().contains("refused"), "{result:#}");
    assert!(ours.remote_events().is_empty());
    // And what hangs up before it has answered is no better.
    let mute = Server::saying("");
    ended(&ours.verify(&mute.address), 5, "unreachable");
}

#[test]
fn what_is_not_amt_is_named_and_sees_no_login() {
    let scratch = scratch();
    let ours = Ours::client_mode(scratch.path());
    let realm = ours.machine.state()["realm"].as_str().unwrap().to_owned();
    let elsewhere = Server::saying("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let page = "<html><body>Welcome</body></html>";
    let html = |status: &str| {
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n{page}",
            page.len()
        )
    };
    let challenge = |scheme: &str| {
        format!(
            "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: {scheme}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
    };
    let long = "x".repeat(2 << 20);
    for (what, answer, exit, reason) in [
        (
            "a redirect",
            format!(
                "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://{}/wsman\r\nContent-Length: 0\r\n\r\n",
                elsewhere.address
            ),
            5,
            "not-amt",
        ),
        ("a page", html("200 OK"), 5, "not-amt"),
        ("an error page", html("500 Internal Server Error"), 5, "not-amt"),
        ("Basic", challenge(&format!("Basic realm=\"{realm}\"")), 5, "not-amt"),
        ("no challenge", challenge("Negotiate"), 5, "not-amt"),
        (
            "SHA-256",
            challenge(&format!("Digest realm=\"{realm}\",nonce=\"a\",algorithm=SHA-256,qop=\"auth\"")),
            5,
            "not-amt",
        ),
        (
            "another realm",
            challenge("Digest realm=\"Digest:00\",nonce=\"a\",qop=\"auth\""),
            9,
            "realm-changed",
        ),
        (
            "too much",
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{long}", long.len()),
            5,
            "not-amt",
        ),
        ("noise", "\x15\x03\x03 no HTTP at all\r\n\r\n".to_owned(), 5, "unreachable"),
    ] {
        let server = Server::saying(&answer);
        let result = ended(&ours.verify(&server.address), exit, reason);
        assert!(result["text"].as_str().unwrap().len() > 20, "{what}: {result:#}");
        let heard = server.heard();
        assert!(heard.starts_with("POST /wsman HTTP/1.1"), "{what}: {heard}");
        assert!(!heard.to_lowercase().contains("authorization"), "{what} saw a login: {heard}");
    }
    assert_eq!(elsewhere.heard(), "", "the redirect was followed");
}

#[test]
fn a_power_state_that_cannot_be_read_is_no_proof() {
    for fault in ["fault", "http-400", "http-500", "drop-before", "drop-after", "garbage"] {
        let scratch = scratch();
        let fault = format!("wsman:CIM_AssociatedPowerManagementService.Get={fault}#*");
        let ours = Ours::client_mode_of(scratch.path(), "vpro-desktop-amt16", &["--fault", &fault]);
        let result = ended(&ours.verify(&ours.at("16992")), 5, "answer-unusable");
        let text = result["text"].as_str().unwrap();
        assert!(text.contains("took the login") && !text.contains("No login was sent"), "{fault}: {text}");
        assert_eq!((&result["event"], &result["power"]["state"]), (&Value::Null, &Value::Null), "{fault}");
    }
}

/// With the feature it is spoken: `legacy_tls.rs`.
#[cfg(not(feature = "legacy-tls"))]
#[test]
fn tls_that_this_build_does_not_speak_is_not_verifiable_and_says_so() {
    let scratch = scratch();
    let org = Org::new(scratch.path(), "tls = \"required\"");
    // Locally this firmware's TLS is not spoken, so only another host meets the handshake.
    let options = [org.trusted().as_slice(), &["--fault", "tls:handshake=fault#*"]].concat();
    let machine = Machine::start("vpro-desktop-amt12", &scratch.path().join("vpro"), &options);
    let out = scratch.path().join("out");
    let run = use_acm::apply(&machine, &org.policy, &out);
    let ours = Ours::after(&run, machine, scratch.path(), out);
    let result = ended(&ours.verify(&ours.at("16993")), 8, "tls-not-verifiable");
    let text = result["text"].as_str().unwrap();
    assert!(text.contains("not verifiable by this build") && text.contains("AMT 12"), "{text}");
    assert!(text.contains("`legacy-tls`"), "{text}");
    assert!(ours.remote_events().is_empty());
}

#[test]
fn this_host_itself_is_no_witness_of_a_live_machine() {
    let scratch = scratch();
    let ours = Ours::client_mode(scratch.path());
    let verify = |name: &str, change: fn(&mut Value)| {
        let out = scratch.path().join(name);
        forged(&ours, &out, change);
        let mut arguments = ours.arguments(&ours.at("16992"), &ours.credential, &closed_port());
        arguments[2] = out.to_str().unwrap().to_owned();
        let run = agent(&arguments);
        (code(&run), json(&run)["reason"].as_str().unwrap().to_owned(), text(&run.stderr))
    };
    // The forged store is believed as far as its signature goes, so what follows is not refused for its form.
    let (exit, reason, said) = verify("same", |_| {});
    assert_eq!((exit, reason.as_str()), (Some(0), "satisfied"), "{said}");
    let bad = ours.bad_logins();
    let (exit, reason, said) = verify("live", |event| event["root"] = json!("live"));
    assert_eq!((exit, reason.as_str()), (Some(2), "not-another-host"), "{said}");
    // What an event names as realm or certificate may be neither; then nothing is sent to anybody.
    let (exit, reason, _) = verify("realm", |event| event["body"]["realm"] = json!("Digest:\u{7}"));
    assert_eq!((exit, reason.as_str()), (Some(5), "not-amt"));
    let (exit, reason, _) =
        verify("pin", |event| event["body"]["tls_certificate_sha256"] = json!("no certificate"));
    assert_eq!((exit, reason.as_str()), (Some(5), "not-amt"));
    assert_eq!(ours.bad_logins(), bad);
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_asked() {
    let scratch = scratch();
    let ours = Ours::client_mode(scratch.path());
    let server = Server::saying("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let usage = |credential: &Path, device: Option<&str>, exit: i32, reason: &str| {
        let mut arguments = ours.arguments(&server.address, credential, &closed_port());
        if let Some(device) = device {
            arguments[6] = device.to_owned();
        }
        let run = agent(&arguments);
        assert_eq!(
            (code(&run), &json(&run)["reason"]),
            (Some(exit), &json!(reason)),
            "{}",
            text(&run.stderr)
        );
        text(&run.stderr)
    };
    let said = usage(Path::new("-"), None, 2, "known-credential");
    assert!(said.contains("`-` is not read"), "{said}");
    usage(scratch.path(), None, 2, "known-credential");
    usage(&ours.credential, Some("d1-another"), 2, "known-credential");
    let bare = scratch.path().join("bare");
    fs::write(&bare, "Passw0rd!").unwrap();
    usage(&bare, Some("d1-aaaaaaaaaaaaaaaaaaaaaaaaaa"), 8, "not-claimed");
    let mut other: Value = serde_json::from_slice(&fs::read(&ours.credential).unwrap()).unwrap();
    other["generation"] = json!(7);
    let generation = scratch.path().join("generation");
    fs::write(&generation, other.to_string()).unwrap();
    usage(&generation, None, 8, "not-claimed");
    assert_eq!(code(&agent(ours.arguments("127.0.0.1", &ours.credential, &closed_port()))), Some(2));
    // --device and --known-credential belong to --remote, and this machine's root does not.
    let out = ours.out.to_str().unwrap();
    assert_eq!(code(&agent(["verify", "--out", out, "--remote", &server.address])), Some(2));
    assert_eq!(code(&agent(["verify", "--out", out, "--device", &ours.device])), Some(2));
    assert_eq!(server.heard(), "", "something was asked");
}

/// A store with one event: the machine's own claim with members replaced, signed by a key of this test.
pub(crate) fn forged(ours: &Ours, out: &Path, change: impl FnOnce(&mut Value)) {
    let claims = files(&ours.out.join("devices")).into_iter().filter(|file| {
        file.to_str().unwrap().ends_with(".dsse.json") && payload(file)["body"].get("realm").is_some()
    });
    let claim = claims.map(|file| (payload(&file), file)).find(|(event, _)| event["kind"] == "verified");
    let (mut event, file) = claim.expect("the claim of the run");
    let key = SigningKey::from_bytes(&[7; 32]);
    let public = key.verifying_key().to_bytes();
    event["actor"]["pubkey"] = json!(hex(&public));
    event["prev"] = Value::Null;
    change(&mut event);
    // Names in order and integers alone: canonical as it is.
    let payload = serde_json::to_vec(&event).unwrap();
    let kind = "application/vnd.oob-event+json";
    let mut signed = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
    signed.extend_from_slice(&payload);
    let envelope = json!({
        "payload": BASE64_STANDARD.encode(&payload), "payloadType": kind,
        "signatures": [{
            "keyid": hex(&Sha256::digest(public)), "sig": BASE64_STANDARD.encode(key.sign(&signed).to_bytes())
        }],
    });
    let place = out.join(file.parent().unwrap().strip_prefix(&ours.out).unwrap());
    fs::create_dir_all(&place).unwrap();
    let name = format!("e1-{}.dsse.json", hex(&Sha256::digest(&payload)));
    fs::write(place.join(name), serde_json::to_vec(&envelope).unwrap()).unwrap();
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
