//! Keys, certificates, and TLS on both doors.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what a test calls may fail it")]

mod device;
#[path = "../peer/mod.rs"]
mod peer;
mod references;
mod stale;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use device::*;
use peer::*;
use std::io::{Read, Write};
use std::net::TcpStream;

#[test]
fn settings_that_are_not_committed_are_not_in_effect() {
    let sim = Sim::vpro(&[]);
    let mut door = Network(sim.port());
    let (_, certificate) = secured(&sim, &mut door, false);
    assert_eq!(tls_port(&sim), None);
    assert_eq!(sim.state()["tls"]["serving"], serde_json::Value::Null);
    commit(&mut door);
    let mut secure = Secure::new(&sim);
    let general = post(&mut secure, "admin", PASSWORD, &envelope(GET, GENERAL, ""));
    assert_eq!((general.status, &secure.leaf), (200, &certificate));
    assert_eq!(secure.version, Some(rustls::ProtocolVersion::TLSv1_2));
    assert_eq!(sim.state()["tls"]["serving"].as_str(), Some(sha256_of(&certificate).as_str()));
    assert!(json(&sim.dir.join("ports.json")).get("16992").is_none(), "the cleartext port is still there");
    assert!(door.exchange(&request("", None)).is_empty(), "the cleartext port answered");
    // The host's own way stays.
    let host = post(&mut SecureLme::open(&sim), "admin", PASSWORD, &envelope(GET, GENERAL, ""));
    assert_eq!(host.status, 200);
}

#[test]
fn cleartext_stays_where_it_is_accepted() {
    let sim = Sim::vpro(&[]);
    let mut door = Network(sim.port());
    secured(&sim, &mut door, true);
    commit(&mut door);
    assert!(tls_port(&sim).is_some());
    assert_eq!(post(&mut door, "admin", PASSWORD, &envelope(GET, GENERAL, "")).status, 200);
}

#[test]
fn the_old_certificate_is_served_until_the_context_is_put_and_committed() {
    let sim = Sim::vpro(&[]);
    let mut door = Network(sim.port());
    let (old_handle, old) = secured(&sim, &mut door, false);
    commit(&mut door);
    let mut secure = Secure::new(&sim);
    let served = |secure: &mut Secure| {
        post(secure, "admin", PASSWORD, &envelope(GET, GENERAL, ""));
        secure.leaf.clone()
    };
    let (_, key) = generate(&mut secure);
    let new = certificate(&key, 2);
    let handle = leaf(&add(&mut secure, "AddCertificate", &new), "Selector");
    let again = transfer(&mut secure, "Create", "AMT_TLSCredentialContext", &context(&handle), None);
    assert!(again.status == 400 && again.body.contains(">e:AlreadyExists<"), "{again:?}");
    commit(&mut secure);
    assert_eq!(served(&mut secure), old);
    let put = transfer(&mut secure, "Put", "AMT_TLSCredentialContext", &context(&handle), None);
    assert!(put.status == 200 && put.body.contains(&handle), "{put:?}");
    assert_eq!(served(&mut secure), old);
    let in_use = transfer(&mut secure, "Delete", "AMT_PublicKeyCertificate", "", Some(&handle));
    assert!(in_use.body.contains(">e:AccessDenied<"), "{in_use:?}");
    commit(&mut secure);
    assert_eq!(served(&mut secure), new);
    assert_eq!(
        transfer(&mut secure, "Delete", "AMT_PublicKeyCertificate", "", Some(&old_handle)).status,
        200
    );
}

#[test]
fn certificates_and_requests_must_fit_a_key() {
    let sim = Sim::vpro(&[]);
    activate(&sim, PASSWORD);
    let mut door = Network(sim.port());
    let (handle, key) = generate(&mut door);
    let (_, other) = generate(&mut door);
    let good = certificate(&key, 1);
    let stranger = chain_file("root.der");
    for (method, der, wanted) in [
        ("AddCertificate", &good, "0"),
        ("AddCertificate", &good, "2058"),
        ("AddCertificate", &good[1..].to_vec(), "2063"),
        ("AddCertificate", &stranger, "2064"),
        ("AddTrustedRootCertificate", &stranger, "0"),
        ("AddTrustedRootCertificate", &stranger, "2058"),
        ("AddTrustedRootCertificate", &vec![0x30, 0], "2063"),
    ] {
        assert_eq!(value(&add(&mut door, method, der)), wanted, "{method}");
    }
    let mut ask = |key: &str, request: &[u8]| {
        let fields = format!(
            "<h:KeyPair><a:Address>/wsman</a:Address><a:ReferenceParameters>\
             <w:ResourceURI>{AMT}AMT_PublicPrivateKeyPair</w:ResourceURI><w:SelectorSet>\
             <w:Selector Name=\"InstanceID\">{key}</w:Selector></w:SelectorSet></a:ReferenceParameters></h:KeyPair>\
             <h:NullSignedCertificateRequest>{}</h:NullSignedCertificateRequest>\
             <h:SigningAlgorithm>1</h:SigningAlgorithm>",
            STANDARD.encode(request)
        );
        invoke(&mut door, "AMT_PublicKeyManagementService", "GeneratePKCS10RequestEx", &fields)
    };
    assert_eq!(value(&ask(&handle, &null_signed_request(&other))), "2064");
    assert_eq!(value(&ask(&handle, &[0x30, 0])), "36");
    assert_eq!(value(&ask("Intel(r) AMT Key: Handle: 7", &null_signed_request(&key))), "2053");
    let request = null_signed_request(&key);
    let signed = STANDARD.decode(leaf(&ask(&handle, &request), "SignedCertificateRequest")).unwrap();
    let body = &request[4..request.len() - 15 - 261];
    assert_eq!(&signed[4..4 + body.len()], body, "the body was changed");
    let public = ring::signature::UnparsedPublicKey::new(&ring::signature::RSA_PKCS1_2048_8192_SHA256, &key);
    public.verify(body, &signed[signed.len() - 256..]).unwrap();
    for _ in 0..3 {
        generate(&mut door);
    }
    let fields = "<h:KeyAlgorithm>0</h:KeyAlgorithm><h:KeyLength>2048</h:KeyLength>";
    let full = invoke(&mut door, "AMT_PublicKeyManagementService", "GenerateKeyPair", fields);
    assert_eq!(value(&full), "23");
}

#[test]
fn tls_without_a_certificate_and_instances_without_a_name_are_refused() {
    let sim = Sim::vpro(&[]);
    activate(&sim, PASSWORD);
    let mut door = Network(sim.port());
    let table = [
        (settings(Some(false)), Some(REMOTE), "e:AccessDenied"),
        (settings(Some(false)), None, "e:InvalidSelectors"),
        (settings(Some(false)), Some("Intel(r) AMT TLS"), "e:InvalidSelectors"),
        (settings(None), Some(REMOTE), "e:SchemaValidationError"),
        (settings(Some(false)), Some(LOCAL), "e:SchemaValidationError"),
        (
            settings(Some(true)) + "<h:NonSecureConnectionsSupported>true</h:NonSecureConnectionsSupported>",
            Some(REMOTE),
            "e:SchemaValidationError",
        ),
    ];
    for (body, selector, wanted) in table {
        let answer = transfer(&mut door, "Put", "AMT_TLSSettingData", &body, selector);
        assert!(answer.body.contains(&format!(">{wanted}<")), "{wanted}: {answer:?}");
    }
    let missing = transfer(&mut door, "Get", "AMT_TLSCredentialContext", "", None);
    assert!(missing.body.contains("b:DestinationUnreachable"), "{missing:?}");
}

/// A port that comes up while a session is open is offered in it.
#[test]
fn an_open_session_is_offered_the_port_that_tls_brings() {
    let sim = Sim::vpro(&[]);
    let mut door = Network(sim.port());
    secured(&sim, &mut door, true);
    let mut lme = Lme::open(&sim);
    let (_, refused) = lme.open_channel(1024, 16993);
    assert_eq!(refused[0], 0x5c, "16993 is there before TLS is");
    commit(&mut door);
    // The offer follows the host's next word in the session.
    let challenge = Answer::parse(&lme.exchange(&request("", None)));
    assert_eq!(challenge.status, 401);
    let offer = lme.mei.receive().unwrap();
    assert!(offer[0] == 0x50 && offer.ends_with(&bytes("00004261")), "{}", hex(&offer));
}

#[test]
fn a_handshake_can_fail_as_with_firmware_of_other_suites() {
    let sim = Sim::vpro(&["tls:handshake=fault"]);
    let mut door = Network(sim.port());
    secured(&sim, &mut door, true);
    commit(&mut door);
    let mut secure = Secure::new(&sim);
    let mut socket = TcpStream::connect(("127.0.0.1", secure.port)).unwrap();
    let mut connection = client();
    let error = rustls::Stream::new(&mut connection, &mut socket).write_all(b"x").unwrap_err();
    assert!(error.to_string().contains("HandshakeFailure"), "{error}");
    assert_eq!(post(&mut secure, "admin", PASSWORD, &envelope(GET, GENERAL, "")).status, 200);
    assert_eq!(sim.count("tls:handshake"), 3);
}

/// Every changing call: a fault that spares the device leaves it as it was, one that comes after does not.
#[test]
fn faults_strike_each_new_call_by_its_name() {
    let call = "AMT_PublicKeyManagementService.GenerateKeyPair";
    let fields = "<h:KeyAlgorithm>0</h:KeyAlgorithm><h:KeyLength>2048</h:KeyLength>";
    let (class, method) = call.split_once('.').unwrap();
    for (fault, keys, status) in [
        ("return-value:23", 0, Some(200)),
        ("fault", 0, Some(400)),
        ("http-401", 0, Some(401)),
        ("http-500", 0, Some(500)),
        ("drop-before", 0, None),
        ("drop-after", 1, None),
        ("garbage", 1, None),
    ] {
        let sim = Sim::vpro(&[&format!("wsman:{call}={fault}")]);
        activate(&sim, PASSWORD);
        let mut door = Network(sim.port());
        let body = invocation(&self::class(class), method, fields);
        let challenge = Answer::parse(&door.exchange(&request(&body, None)));
        let authorization = login("admin", PASSWORD, &challenge.realm(), &challenge.nonce(), 1);
        let answer = door.exchange(&request(&body, Some(&authorization)));
        if let Some(status) = status {
            assert_eq!(Answer::parse(&answer).status, status, "{fault}");
        }
        let state = sim.state();
        assert_eq!(state["tls"]["key_pairs"], keys, "{fault}");
        assert_eq!(state["counters"][format!("wsman:{call}")], 1, "{fault}");
    }
}

#[test]
fn mutual_authentication_wants_a_console_s_certificate() {
    let sim = Sim::vpro(&[]);
    let mut door = Network(sim.port());
    secured(&sim, &mut door, true);
    let mutual =
        |names: &str| settings(Some(true)).replace("Authentication>false", "Authentication>true") + names;
    let put = |door: &mut Network, names: &str| {
        transfer(door, "Put", "AMT_TLSSettingData", &mutual(names), Some(REMOTE))
    };
    assert!(put(&mut door, "").body.contains(">e:AccessDenied<"), "there is no root yet");
    assert_eq!(value(&add(&mut door, "AddTrustedRootCertificate", &chain_file("root.der"))), "0");
    for (names, shown, wanted) in [
        ("", None, false),
        ("", Some("client"), false),
        ("", Some("console"), true),
        ("<h:TrustedCN>console.example.com</h:TrustedCN>", Some("console"), true),
        ("<h:TrustedCN>other.example.com</h:TrustedCN>", Some("console"), false),
    ] {
        assert_eq!(put(&mut door, names).status, 200);
        commit(&mut door);
        let mut socket = TcpStream::connect(("127.0.0.1", tls_port(&sim).unwrap())).unwrap();
        let mut connection = client_as(shown);
        let mut stream = rustls::Stream::new(&mut connection, &mut socket);
        let mut answer = Vec::new();
        let done = stream.write_all(&request("", None)).and_then(|()| stream.read_to_end(&mut answer));
        assert_eq!(done.is_ok() && answer.starts_with(b"HTTP/1.1 401"), wanted, "{names} {shown:?} {done:?}");
    }
}

#[test]
fn newer_firmware_speaks_tls_from_the_start_and_takes_our_certificate_by_put() {
    let sim = Sim::start("vpro-desktop-amt18", &["--time-scale", "0.01"]);
    activate(&sim, PASSWORD);
    let mut secure = Secure::new(&sim);
    assert_eq!(post(&mut secure, "admin", PASSWORD, &envelope(GET, GENERAL, "")).status, 200);
    assert_eq!(secure.version, Some(rustls::ProtocolVersion::TLSv1_3));
    let own = secure.leaf.clone();
    let (_, key) = generate(&mut secure);
    let ours = certificate(&key, 3);
    let handle = leaf(&add(&mut secure, "AddCertificate", &ours), "Selector");
    let created = transfer(&mut secure, "Create", "AMT_TLSCredentialContext", &context(&handle), None);
    assert!(created.body.contains(">e:AlreadyExists<"), "{created:?}");
    assert_eq!(transfer(&mut secure, "Put", "AMT_TLSCredentialContext", &context(&handle), None).status, 200);
    commit(&mut secure);
    assert_eq!(secure.leaf, own, "the commit itself went over the old session");
    post(&mut secure, "admin", PASSWORD, &envelope(GET, GENERAL, ""));
    assert_eq!(secure.leaf, ours);
    // The firmware's own cannot be deleted.
    let kept = transfer(
        &mut secure,
        "Delete",
        "AMT_PublicKeyCertificate",
        "",
        Some("Intel(r) AMT Certificate: Handle: 0"),
    );
    assert!(kept.body.contains(">e:AccessDenied<"), "{kept:?}");
    if let Some(openssl) = openssl_text(&own) {
        assert!(openssl.contains("AMT Self Signed") && openssl.contains("2048 bit"), "{openssl}");
    }
}

/// What an independent reader makes of a certificate; `None` where it is not installed.
fn openssl_text(der: &[u8]) -> Option<String> {
    use std::process::{Command, Stdio};
    let openssl = Command::new("openssl")
        .args(["x509", "-inform", "der", "-noout", "-text"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut openssl) = openssl else {
        let _ = writeln!(
            std::io::stderr(),
            "skipped: reading a certificate with openssl, which is not installed"
        );
        return None;
    };
    openssl.stdin.take().unwrap().write_all(der).unwrap();
    Some(String::from_utf8(openssl.wait_with_output().unwrap().stdout).unwrap())
}
