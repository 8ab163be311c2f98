//! A CA over HTTPS that issues AMT's certificate: what it is asked and when, and everything that it may answer instead.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use oob_tests::est::{Asked, Ca, HOST, LOGIN, Service, certs_only, http};
use oob_tests::provisioning::{Org, policy};
use oob_tests::{Machine, agent_command, code, files, json, scratch, text};
use rcgen::{BasicConstraints, IsCa, date_time_ymd};
use serde_json::Value;

use crate::honesty::passwords_outside_escrow;
use crate::known::{opened, with};
use crate::use_acm::apply;
use crate::use_ccm::escrow_files;

/// Tells the machine where the CA is; on a root that is not live there is no other way to it.
fn list(machine: &Machine, port: u16) {
    list_as(machine, &format!("https:{HOST}:443"), port);
}

fn list_as(machine: &Machine, key: &str, port: u16) {
    let file = machine.dir.join("ports.json");
    let mut ports: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    ports[key] = port.into();
    let draft = machine.dir.join("ports.test");
    fs::write(&draft, serde_json::to_vec(&ports).unwrap()).unwrap();
    fs::rename(draft, file).unwrap();
}

/// The keys of a policy that go with a CA; its roots and a login are written beside it.
fn wishes(dir: &Path, mode: &str, path: &str, roots: &str) -> String {
    let (trust, login) = (dir.join("roots.pem"), dir.join("login"));
    fs::write(&trust, roots).unwrap();
    fs::write(&login, format!("{LOGIN}\n")).unwrap();
    format!(
        "control_mode = \"{mode}\", tls = \"required\", tls_ca_url = \"https://{HOST}{path}\", \
         tls_ca_trust = \"file:{}\", tls_ca_credential = \"file:{}\"",
        trust.display(),
        login.display()
    )
}

/// An EST server that does as it should.
fn proper(ca: Ca) -> impl Fn(&Asked, usize) -> Vec<u8> {
    move |asked, _| match asked.line.as_str() {
        "GET /.well-known/est/cacerts" => certs_only(&[ca.root_der(), ca.middle_der()]),
        "POST /.well-known/est/simpleenroll" => certs_only(&[ca.issue(&asked.request, |_| {})]),
        _ => http("404 Not Found", &[], b""),
    }
}

struct Case {
    _scratch: tempfile::TempDir,
    machine: Machine,
    policy: PathBuf,
    out: PathBuf,
}

impl Case {
    fn new(path: &str, roots: &str) -> Self {
        let scratch = scratch();
        let policy = policy(scratch.path(), &wishes(scratch.path(), "ccm", path, roots));
        let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &[]);
        let out = scratch.path().join("out");
        Self { _scratch: scratch, machine, policy, out }
    }

    fn run(&self) -> Output {
        apply(&self.machine, &self.policy, &self.out)
    }

    fn was_sent(&self, call: &str) -> bool {
        self.machine.calls().iter().any(|it| it.contains(call))
    }
}

fn outcome(result: &Value) -> &Value {
    &result["outcomes"][0]
}

#[test]
fn the_cas_certificate_is_served_and_a_second_run_asks_it_nothing() {
    let ca = Ca::default();
    let case = Case::new("", &ca.root_pem());
    let service = Service::start(&ca, HOST, proper(ca.twin()));
    list(&case.machine, service.port);
    let run = case.run();
    assert_eq!(code(&run), Some(0), "{}\n{}", text(&run.stdout), text(&run.stderr));
    let result = json(&run);
    let evidence = &outcome(&result)["evidence"];
    assert_eq!(evidence["tls_issued_by"], format!("https://{HOST}"));
    assert_eq!(evidence["tls_handshake"], "seen");
    assert_eq!(case.machine.state()["tls"]["serving"], evidence["tls_certificate_sha256"]);

    let asked = service.asked();
    let lines: Vec<&str> = asked.iter().map(|it| it.line.as_str()).collect();
    assert_eq!(lines, ["GET /.well-known/est/cacerts", "POST /.well-known/est/simpleenroll"]);
    // Who only looks says nothing of itself.
    assert_eq!(asked[0].header("authorization"), None);
    let basic = format!("Basic {}", STANDARD.encode(LOGIN));
    assert_eq!(asked[1].header("authorization"), Some(basic.clone()));
    assert_eq!(asked[1].header("content-type").as_deref(), Some("application/pkcs10"));
    assert_eq!(asked[1].header("content-transfer-encoding").as_deref(), Some("base64"));

    let mutating = case.machine.mutating_calls();
    let again = case.run();
    assert_eq!((code(&again), &json(&again)["changed"]), (Some(0), &false.into()), "{}", text(&again.stderr));
    assert_eq!(case.machine.mutating_calls(), mutating);
    assert_eq!(service.asked().len(), 2, "a run that changes nothing asked the CA");
}

#[test]
fn small_cas_and_late_ones_are_understood() {
    let pem = |ca: &Ca, asked: &Asked| {
        let block = |der: Vec<u8>| {
            format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(der))
        };
        let chain = block(ca.issue(&asked.request, |_| {})) + &block(ca.middle_der());
        http("200 OK", &["Content-Type: application/x-pem-file"], chain.as_bytes())
    };
    let bare = |ca: &Ca, asked: &Asked| {
        let body = ca.issue(&asked.request, |_| {});
        http("201 Created", &["Content-Type: application/pkix-cert"], &body)
    };
    for (what, path, roots_are_both) in
        [("pem", "/sign", false), ("bare", "/sign", true), ("late", "", false)]
    {
        let ca = Ca::default();
        let roots = match roots_are_both {
            // Nothing but the certificate itself comes back, so the policy names who issues.
            true => ca.root_pem() + &ca.middle_pem(),
            false => ca.root_pem(),
        };
        let case = Case::new(path, &roots);
        let twin = ca.twin();
        let service =
            Service::start(&ca, HOST, move |asked, number| match (asked.is_for_a_certificate(), what) {
                (false, "late") => certs_only(&[twin.root_der(), twin.middle_der()]),
                (false, _) => http("405 Method Not Allowed", &[], b""),
                (true, "pem") => pem(&twin, asked),
                (true, "bare") => bare(&twin, asked),
                (true, _) if number < 3 => http("202 Accepted", &["Retry-After: 20"], b""),
                (true, _) => certs_only(&[twin.issue(&asked.request, |_| {})]),
            });
        list(&case.machine, service.port);
        let run = case.run();
        assert_eq!(code(&run), Some(0), "{what}: {}\n{}", text(&run.stdout), text(&run.stderr));
        assert_eq!(outcome(&json(&run))["evidence"]["tls_handshake"], "seen", "{what}");
        let posts = service.asked().into_iter().filter(Asked::is_for_a_certificate).count();
        assert_eq!(posts, if what == "late" { 3 } else { 1 }, "{what}");
    }
}

#[test]
fn a_ca_that_is_not_there_changes_nothing() {
    let ca = Ca::default();
    let redirect: fn(&Asked, usize) -> Vec<u8> =
        |_, _| http("302 Found", &["Location: https://elsewhere.example.test/"], b"");
    let broken: fn(&Asked, usize) -> Vec<u8> = |_, _| http("503 Service Unavailable", &[], b"<html>");
    let page: fn(&Asked, usize) -> Vec<u8> =
        |_, _| http("200 OK", &["Content-Type: text/html"], b"<html>hi</html>");
    let hangs_up: fn(&Asked, usize) -> Vec<u8> = |_, _| Vec::from("HTTP/1.1 2");
    let (stranger, other) = (Ca::named("Stranger"), "other.example.test");
    for (what, server, name, answer, told) in [
        ("another CA's server", &stranger, HOST, page, "UnknownIssuer"),
        ("another server of the CA", &ca, other, page, other),
        ("a redirect", &ca, HOST, redirect, "redirects are not followed"),
        ("a broken one", &ca, HOST, broken, "HTTP 503"),
        ("a page", &ca, HOST, page, "neither PKCS#7 nor a certificate"),
        ("half an answer", &ca, HOST, hangs_up, "reaching the CA"),
    ] {
        let case = Case::new("", &ca.root_pem());
        let service = Service::start(server, name, answer);
        list(&case.machine, service.port);
        let run = case.run();
        assert_eq!(
            (code(&run), &json(&run)["reason"], &json(&run)["changed"]),
            (Some(8), &"tls-ca-unreachable".into(), &false.into()),
            "{what}: {}",
            text(&run.stdout)
        );
        let said = outcome(&json(&run))["text"].as_str().unwrap().to_owned();
        assert!(said.contains(told), "{what}: {said}");
        assert_eq!(case.machine.mutating_calls(), 0, "{what}");
        assert!(!service.asked().iter().any(Asked::is_for_a_certificate), "{what}");
        assert!(escrow_files(&case.out).is_empty(), "{what}: a password was made for nothing");
    }
    // A port that nobody listed, and one that speaks no TLS.
    let case = Case::new("", &ca.root_pem());
    assert_eq!(json(&case.run())["reason"], "tls-ca-unreachable");
    let plain = oob_tests::server::Server::saying("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    list(&case.machine, plain.address.rsplit(':').next().unwrap().parse().unwrap());
    assert_eq!(json(&case.run())["reason"], "tls-ca-unreachable");
    assert_eq!(case.machine.mutating_calls(), 0);
}

/// What the CA says to the request, once everything else is done.
type Answer = fn(&Ca, &Asked) -> Vec<u8>;

const BAD: [(&str, Answer, &str, &str); 13] = [
    (
        "no login",
        |_, _| http("401 Unauthorized", &["WWW-Authenticate: Basic"], b""),
        "tls-ca-refused",
        "tls_ca_credential",
    ),
    (
        "a redirect",
        |_, _| http("307 Temporary Redirect", &["Location: /"], b""),
        "tls-ca-refused",
        "not followed",
    ),
    ("an error", |_, _| http("500 Oops", &[], b"<html>"), "tls-ca-refused", "HTTP 500"),
    (
        "never",
        |_, _| http("202 Accepted", &["Retry-After: 86400"], b""),
        "tls-ca-pending",
        "Retry-After 86400",
    ),
    ("a page", |_, _| http("200 OK", &[], b"<html>Sign in</html>"), "tls-ca-answer", "neither PKCS#7"),
    ("an empty bag", |_, _| certs_only(&[]), "tls-ca-answer", "no certificate in it"),
    ("garbage", |_, _| certs_only(&[vec![0x30, 0x03, 1, 2, 3]]), "tls-ca-answer", "not readable"),
    ("too much", |_, _| http("200 OK", &[], &vec![b'A'; 3 << 19]), "tls-ca-unreachable", "1 MiB"),
    (
        "another key",
        |ca, it| certs_only(&[ca.issue_for_another(&it.request)]),
        "tls-ca-answer",
        "another key",
    ),
    (
        "expired",
        |ca, it| certs_only(&[ca.issue(&it.request, |params| params.not_after = date_time_ymd(2020, 1, 1))]),
        "tls-ca-answer",
        "expired",
    ),
    (
        "a CA",
        |ca, it| {
            certs_only(&[
                ca.issue(&it.request, |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained))
            ])
        },
        "tls-ca-answer",
        "a CA's certificate",
    ),
    (
        "for no server",
        |ca, it| certs_only(&[ca.issue(&it.request, |params| params.extended_key_usages.clear())]),
        "tls-ca-answer",
        "serverAuth",
    ),
    (
        "of another CA",
        |_, it| {
            let stranger = Ca::default();
            certs_only(&[stranger.issue(&it.request, |_| {}), stranger.middle_der(), stranger.root_der()])
        },
        "tls-ca-answer",
        "root that policy trusts",
    ),
];

#[test]
fn what_else_a_ca_answers_is_named_and_taken_back() {
    for (what, answer, cause, told) in BAD {
        let ca = Ca::default();
        let case = Case::new("", &ca.root_pem());
        let twin = ca.twin();
        let service = Service::start(&ca, HOST, move |asked, _| match asked.is_for_a_certificate() {
            false => certs_only(&[twin.root_der(), twin.middle_der()]),
            true => answer(&twin, asked),
        });
        list(&case.machine, service.port);
        let run = case.run();
        let result = json(&run);
        assert_eq!(
            (code(&run), &result["reason"]),
            (Some(8), &cause.into()),
            "{what}: {}",
            text(&run.stdout)
        );
        let said = outcome(&result)["text"].as_str().unwrap().to_owned();
        assert!(said.contains(told) && said.contains("rolled back"), "{what}: {said}");
        let state = case.machine.state();
        assert_eq!((&state["control_mode"], &state["provisioning_state"]), (&0.into(), &0.into()), "{what}");
        assert!(!case.was_sent("AddCertificate"), "{what}: AMT was given a certificate");
        assert_eq!(passwords_outside_escrow(&state, &case.out), None, "{what}");
    }
}

#[test]
fn a_ca_that_says_at_once_for_ever_is_not_hammered() {
    let ca = Ca::default();
    let case = Case::new("", &ca.root_pem());
    let twin = ca.twin();
    let service = Service::start(&ca, HOST, move |asked, _| match asked.is_for_a_certificate() {
        false => certs_only(&[twin.root_der(), twin.middle_der()]),
        true => http("202 Accepted", &["Retry-After: 0"], b""),
    });
    list(&case.machine, service.port);
    let run = case.run();
    assert_eq!((code(&run), &json(&run)["reason"]), (Some(8), &"tls-ca-pending".into()));
    let posts = service.asked().into_iter().filter(Asked::is_for_a_certificate).count();
    assert!((2..=26).contains(&posts), "it was asked {posts} times");
}

#[test]
fn admin_control_mode_stays_and_tells_what_is_missing() {
    let scratch = scratch();
    let ca = Ca::default();
    let wishes = wishes(scratch.path(), "acm", "", &ca.root_pem());
    let settings = wishes.strip_prefix("control_mode = \"acm\", ").unwrap();
    let org = Org::new(scratch.path(), settings);
    let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &org.trusted());
    let out = scratch.path().join("out");
    let twin = ca.twin();
    let service = Service::start(&ca, HOST, move |asked, number| match asked.is_for_a_certificate() {
        false => certs_only(&[twin.root_der(), twin.middle_der()]),
        true if number < 2 => http("403 Forbidden", &[], b""),
        true => certs_only(&[twin.issue(&asked.request, |_| {})]),
    });
    list(&machine, service.port);
    let run = apply(&machine, &org.policy, &out);
    let result = json(&run);
    assert_eq!((code(&run), &result["reason"]), (Some(9), &"amt-incomplete".into()), "{}", text(&run.stderr));
    assert!(outcome(&result)["text"].as_str().unwrap().contains("HTTP 403"), "{result:#}");
    let state = machine.state();
    assert_eq!(state["control_mode"], 2);
    // The key that was made for nothing is gone again.
    assert_eq!(state["tls"]["key_pairs"], 0, "{:#}", state["tls"]);

    // Once the CA issues, whoever knows the password has it go on.
    list(&machine, service.port);
    let credential = opened(&escrow_files(&out)[0], scratch.path());
    let run = with(&machine, &org.policy, &out, &[&credential], &[]);
    assert_eq!(code(&run), Some(0), "{}\n{}", text(&run.stdout), text(&run.stderr));
    assert_eq!(outcome(&json(&run))["evidence"]["tls_handshake"], "seen");
}

#[test]
fn the_login_is_in_no_file_and_no_stream() {
    let ca = Ca::default();
    let case = Case::new("", &ca.root_pem());
    let service = Service::start(&ca, HOST, proper(ca.twin()));
    list(&case.machine, service.port);
    let paths = [case.machine.dir.as_path(), &case.policy, &case.out].map(|path| path.to_str().unwrap());
    let run = agent_command()
        .args(["apply", "--root", paths[0], "--policy", paths[1], "--out", paths[2], "-vvv"])
        .output()
        .unwrap();
    assert_eq!(code(&run), Some(0), "{}", text(&run.stderr));
    assert!(text(&run.stderr).contains("asking the CA"), "the trace is not a trace");
    let password = LOGIN.split_once(':').unwrap().1;
    let needles = [password.to_owned(), STANDARD.encode(LOGIN)];
    let mut searched = vec![("stdout".to_owned(), run.stdout), ("stderr".to_owned(), run.stderr)];
    for directory in [&case.out, &case.machine.dir] {
        searched.extend(
            files(directory)
                .into_iter()
                .map(|file| (file.display().to_string(), fs::read(&file).unwrap_or_default())),
        );
    }
    for (place, bytes) in searched {
        let seen =
            needles.iter().find(|needle| bytes.windows(needle.len()).any(|it| it == needle.as_bytes()));
        assert_eq!(seen, None, "{place}");
    }
}

#[test]
fn what_the_policy_names_must_be_there() {
    let ca = Ca::default();
    for (broken, content, told) in
        [("roots.pem", "no certificates", "PEM"), ("login", "just-a-token", "tls_ca_credential")]
    {
        let case = Case::new("", &ca.root_pem());
        fs::write(case.policy.with_file_name(broken), content).unwrap();
        let run = case.run();
        assert_eq!((code(&run), &json(&run)["reason"]), (Some(8), &"tls-ca-unusable".into()), "{broken}");
        assert!(text(&run.stdout).contains(told), "{broken}: {}", text(&run.stdout));
        assert_eq!(case.machine.mutating_calls(), 0);
    }
}
