//! What the firmware shows of itself, by option, and what goes wrong by name.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::device::*;
use crate::peer::*;
use crate::tls;
use crate::tls::{LOCAL, REMOTE, chain_file};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::ProtocolVersion;

fn told_root(sim: &Sim) -> Vec<u8> {
    let ports = json(&sim.dir.join("ports.json"));
    let root = STANDARD.decode(ports["on_die_root"].as_str().unwrap()).unwrap();
    assert_eq!(sha256_of(&root), ports["on_die_root_sha256"].as_str().unwrap());
    root
}

fn shown(sim: &Sim) -> Vec<Vec<u8>> {
    let mut host = Host::open(sim);
    assert!(host.is_let_in());
    host.chain
}

/// What an independent verifier says of a chain, leaf first; `None` where it is not installed.
fn openssl_verifies(dir: &std::path::Path, chain: &[Vec<u8>], root: &[u8]) -> Option<bool> {
    let pem = |der: &[u8]| {
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(der))
    };
    let file = |name: &str, text: String| {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let leaf = file("leaf.pem", pem(&chain[0]));
    let others = file("others.pem", chain[1..].iter().map(|der| pem(der)).collect());
    let root = file("root.pem", pem(root));
    let mut command = Command::new("openssl");
    command.args(["verify", "-no-CApath", "-no-CAstore", "-CAfile"]).arg(root).arg("-untrusted").arg(others);
    let Ok(output) = command.arg(leaf).stdout(Stdio::piped()).stderr(Stdio::piped()).output() else {
        let _ = writeln!(std::io::stderr(), "skipped: verifying with openssl, which is not installed");
        return None;
    };
    Some(output.status.success())
}

#[test]
fn each_shape_of_the_chain_leads_to_the_told_root() {
    for (shape, count) in [("6", 6), ("6-rootless", 6), ("4", 4)] {
        let sim = start(&["--on-die-chain", shape]);
        let (chain, root) = (shown(&sim), told_root(&sim));
        assert_eq!((chain.len(), chain.last() == Some(&root)), (count, shape == "6"), "{shape}");
        let upid = Mei::connected(&sim, UPID).ask("00050000").unwrap();
        assert_eq!(hex(&upid[44..64]), sha256_of(&chain[3])[..40]);
        let temp = tempfile::tempdir().unwrap();
        assert!(openssl_verifies(temp.path(), &chain, &root).unwrap_or(true), "{shape}");
        let stranger = chain_file("root.der");
        assert!(!openssl_verifies(temp.path(), &chain, &stranger).unwrap_or(false), "{shape}");
    }
}

#[test]
fn what_shall_be_wrong_is_wrong_and_the_rest_is_right() {
    let plain = start(&[]);
    let (chain, root) = (shown(&plain), told_root(&plain));
    // The same machine again, and another one.
    assert_eq!(shown(&start(&[])), chain);
    assert_ne!(shown(&start(&["--seed", "2"])), chain);

    let sim = start(&["--wrong-on-die-root"]);
    assert_eq!(told_root(&sim), root);
    let wrong = shown(&sim);
    assert!(wrong.len() == 6 && wrong[5] != root && wrong[0] == chain[0]);
    let upid = |sim: &Sim| Mei::connected(sim, UPID).ask("00050000").unwrap();
    assert_eq!(hex(&upid(&sim)[44..64]), sha256_of(&wrong[3])[..40]);

    let sim = start(&["--on-die-chain", "1"]);
    assert_eq!((told_root(&sim), shown(&sim).len()), (root.clone(), 1));

    let sim = start(&["--foreign-upid"]);
    assert_eq!((shown(&sim), upid(&sim).len()), (chain.clone(), 76));
    assert_ne!(hex(&upid(&sim)[44..64]), sha256_of(&chain[3])[..40]);

    let sim = start(&["--no-server-auth"]);
    let server_auth = bytes("06082b06010505070301");
    let has = |der: &[u8]| der.windows(server_auth.len()).any(|window| window == server_auth);
    assert!(has(&chain[0]) && !has(&shown(&sim)[0]));

    assert_eq!(upid(&start(&["--upid-unset"])), bytes("00050400 00000000"));
    let sim = start(&["--no-upid"]);
    assert_eq!(Mei::connect(&sim.dir, UPID).1, Some(bytes("19000000")), "ENOTTY");
    let names = std::fs::read_dir(sim.dir.join("sys/bus/mei/devices")).unwrap();
    assert!(
        !names
            .map(|entry| entry.unwrap().file_name())
            .any(|name| name.to_str().unwrap().contains("92136c79"))
    );
    assert!(Mei::connect(&Sim::vpro(&[]).dir, UPID).1 == Some(bytes("19000000")), "older firmware has none");
}

#[test]
fn the_leaf_s_hash_comes_in_three_forms_and_wrong() {
    let hash = sha256_of(&chain_file("leaf.der"));
    let tell = |options: &[&str], algorithm: u8, hash: &str| {
        let sim = start(options);
        let chain = shown(&sim);
        let (status, told) = announce(&sim, algorithm, hash);
        assert_eq!((status, told.len()), (0, 65));
        (sha256_of(&chain[0]), told)
    };
    let (leaf, told) = tell(&["--hash-as-text"], 2, &hash);
    assert_eq!((told[0], &told[1..]), (2, leaf.as_bytes()));
    let (leaf, told) = tell(&["--wrong-leaf-hash"], 2, &hash);
    assert_ne!(hex(&told[1..33]), leaf);
    // SHA-384 both ways, and it is what counts at the door.
    use sha2::{Digest, Sha384};
    let sim = start(&[]);
    let own = shown(&sim)[0].clone();
    let (_, told) = announce(&sim, 3, &hex(&Sha384::digest(chain_file("leaf.der"))));
    assert_eq!((told[0], &told[1..49]), (3, Sha384::digest(own).as_slice()));
    assert!(Host::showing(&sim, GOOD, "leaf").is_let_in());
    let sim = start(&[]);
    announce(&sim, 3, &hash);
    assert!(!Host::showing(&sim, GOOD, "leaf").is_let_in());
}

#[test]
fn connections_end_as_the_options_say() {
    let ask = |options: &[&str], keep: bool| {
        let sim = start(options);
        let mut host = Host::open(&sim);
        let body = envelope(GET, GENERAL, "");
        let challenge = Answer::parse(&host.exchange(&request(&body, None)));
        let password = os_admin(&sim);
        let authorization = login("$$OsAdmin", &password, &challenge.realm(), &challenge.nonce(), 1);
        let mut request = String::from_utf8(request(&body, Some(&authorization))).unwrap();
        if keep {
            request = request.replace("Connection: close\r\n", "");
            let last = login("$$OsAdmin", &password, &challenge.realm(), &challenge.nonce(), 2);
            request += &String::from_utf8(crate::peer::request(&body, Some(&last))).unwrap();
        }
        let answers = String::from_utf8(host.exchange(request.as_bytes())).unwrap();
        let state = sim.state();
        let version = host.version;
        (answers.matches("HTTP/1.1 200").count(), state["apf_channels"].as_u64().unwrap(), version, answers)
    };
    let (kept, channels, version, answer) = ask(&[], true);
    assert_eq!((kept, channels, version), (2, 2, Some(ProtocolVersion::TLSv1_3)));
    assert_eq!(answer.matches("X-Frame-Options").count(), 4);
    let (closed, _, version, answer) = ask(&["--close-each", "--tls12-only"], true);
    assert_eq!((closed, version), (1, Some(ProtocolVersion::TLSv1_2)));
    assert!(!answer.contains("Connection: close"), "{answer}");
}

#[test]
fn after_a_commit_the_ports_are_away_and_old_connections_with_them() {
    let sim = Sim::start("vpro-desktop-amt19", &["--time-scale", "20", "--commit-answers"]);
    let mut host = Host::open(&sim);
    assert_eq!(set_up(&sim, &mut host), Some(0));
    assert_eq!(host.commit(), Some(0));
    assert_eq!(sim.state()["ports_away"], true);
    let (_, refused) = host.lme.open_channel(1024, 16993);
    assert_eq!((refused[0], refused[8]), (0x5c, 2));
    drop(host);
    let (_, refused) = Host::open(&sim).lme.open_channel(1024, 16993);
    assert_eq!(refused[0], 0x5c);
    let port = tls::tls_port(&sim).unwrap();
    let mut network = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    assert_eq!(std::io::Read::read(&mut network, &mut [0]).unwrap(), 0);
    // MEI tells how it ended.
    assert_eq!(standing(&sim), (1, 2));
}

#[test]
fn a_slow_commit_is_told_when_the_ports_are_back() {
    let sim = Sim::start("vpro-desktop-amt19", &["--time-scale", "20", "--slow-commit"]);
    let mut host = Host::open(&sim);
    assert_eq!(set_up(&sim, &mut host), Some(0));
    assert_eq!(host.commit(), None);
    assert_eq!((standing(&sim), &sim.state()["provisioning_state"]), ((1, 1), &2.into()));
    let sim = start(&["--slow-commit"]);
    let mut host = Host::open(&sim);
    assert_eq!(set_up(&sim, &mut host), Some(0));
    host.commit();
    host.wait();
    assert_eq!(standing(&sim), (1, 2));
}

#[test]
fn a_connection_does_not_outlive_a_restart_of_the_ports() {
    let (sim, mut host) = committed(&[]);
    let mut socket = std::net::TcpStream::connect(("127.0.0.1", tls::tls_port(&sim).unwrap())).unwrap();
    let mut connection = tls::client();
    let mut stream = rustls::Stream::new(&mut connection, &mut socket);
    stream.write_all(b"POST /wsman HTTP/1.1\r\n").unwrap();
    // Once it has sent, the handshake is over on both sides.
    wait_until("the handshake", || sim.count("tls:handshake") == 5);
    host.commit();
    host.wait();
    let mut answer = Vec::new();
    if stream.write_all(b"Content-Length: 0\r\n\r\n").is_ok() {
        let _ = std::io::Read::read_to_end(&mut stream, &mut answer);
    }
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
}

/// Committed in client control mode; the administrator's door on the network.
fn committed(more: &[&str]) -> (Sim, Host) {
    let sim = start(more);
    let mut host = Host::open(&sim);
    assert_eq!(set_up(&sim, &mut host), Some(0));
    host.commit();
    host.wait();
    (sim, host)
}

#[test]
fn tls_cannot_be_turned_off_on_either_side() {
    let (sim, mut host) = committed(&[]);
    for side in [REMOTE, LOCAL] {
        let got = tls::transfer(&mut host, "Get", "AMT_TLSSettingData", "", Some(side));
        for (name, wanted) in [
            ("Enabled", "true"),
            ("AcceptNonSecureConnections", "false"),
            ("NonSecureConnectionsSupported", "false"),
        ] {
            assert_eq!(leaf(&got, name), wanted, "{side} {name}");
        }
        let cleartext = (side == REMOTE).then_some(false);
        let off = tls::settings(cleartext).replace("Enabled>true", "Enabled>false");
        let mut put = |body: &str| tls::transfer(&mut host, "Put", "AMT_TLSSettingData", body, Some(side));
        assert!(put(&off).body.contains(">e:AccessDenied<"), "{side}");
        let clear = put(&tls::settings(Some(true)));
        assert!(clear.status == 400, "{side}: {clear:?}");
        assert_eq!(put(&tls::settings(cleartext)).status, 200, "{side}");
    }
    // Our certificate comes by Put, and the commit restarts the ports here, too.
    let (_, key) = tls::generate(&mut host);
    let ours = tls::certificate(&key, 3);
    let handle = leaf(&tls::add(&mut host, "AddCertificate", &ours), "Selector");
    let put = tls::transfer(&mut host, "Put", "AMT_TLSCredentialContext", &tls::context(&handle), None);
    assert_eq!(put.status, 200);
    assert_eq!(host.commit(), None);
    host.wait();
    assert_eq!(host.get("admin", PASSWORD).status, 200);
    assert_eq!((host.chain.len(), &host.chain[0]), (1, &ours));
    let mut network = tls::Secure::new(&sim);
    post(&mut network, "admin", PASSWORD, &envelope(GET, GENERAL, ""));
    assert_eq!(network.leaf, ours);
}

#[test]
fn a_restart_of_the_me_takes_settings_that_were_not_committed() {
    let (sim, mut host) = committed(&["--fault", "wsman:AMT_RedirectionService.Get=me-restart"]);
    let (_, key) = tls::generate(&mut host);
    let handle = leaf(&tls::add(&mut host, "AddCertificate", &tls::certificate(&key, 3)), "Selector");
    let before = sim.state()["tls"]["context"].clone();
    tls::transfer(&mut host, "Put", "AMT_TLSCredentialContext", &tls::context(&handle), None);
    assert_ne!(sim.state()["tls"]["context"], before);
    let body = envelope(GET, &tls::class("AMT_RedirectionService"), "");
    assert_eq!(host.invoke("admin", PASSWORD, &body), None);
    assert_eq!(sim.state()["tls"]["context"], before);
    assert_eq!(standing(&sim), (1, 2));
}

#[test]
fn certificates_added_one_by_one_lead_upwards_only() {
    let add = |host: &mut Host, user: &str, password: &str, name: &str, is_leaf: bool, is_root: bool| {
        let fields = format!(
            "<h:NextCertificate>{}</h:NextCertificate><h:IsLeafCertificate>{is_leaf}</h:IsLeafCertificate>\
             <h:IsRootCertificate>{is_root}</h:IsRootCertificate>",
            STANDARD.encode(chain_file(&format!("{name}.der")))
        );
        host.invoke(user, password, &invocation(SETUP, "AddNextCertInChain", &fields)).unwrap()
    };
    let sim = start(&[]);
    let (mut host, os_password) = (Host::open(&sim), os_admin(&sim));
    assert_eq!(add(&mut host, "$$OsAdmin", &os_password, "leaf", true, false), 3);
    let fields = "<h:NetAdminPassEncryptionType>2</h:NetAdminPassEncryptionType>\
                  <h:NetworkAdminPassword>0123456789abcdef0123456789abcdef</h:NetworkAdminPassword>\
                  <h:McNonce>AAAA</h:McNonce><h:SigningAlgorithm>2</h:SigningAlgorithm>\
                  <h:DigitalSignature>AAAA</h:DigitalSignature>";
    let gone = host.invoke("$$OsAdmin", &os_password, &invocation(SETUP, "AdminSetup", fields));
    assert_eq!((gone, standing(&sim)), (Some(2), (0, 0)));

    let (sim, mut host) = committed(&[]);
    for (name, is_leaf, is_root) in
        [("leaf", true, false), ("intermediate", false, false), ("root", false, true)]
    {
        assert_eq!(add(&mut host, "admin", PASSWORD, name, is_leaf, is_root), 0);
    }
    let got = post(&mut host, "admin", PASSWORD, &envelope(GET, SETUP, ""));
    let nonce = STANDARD.decode(leaf(&got, "ConfigurationNonce")).unwrap();
    let key = ring::signature::RsaKeyPair::from_der(&chain_file("leaf.key")).unwrap();
    let mut signature = vec![0; key.public().modulus_len()];
    let message = [nonce.as_slice(), &[3; 20]].concat();
    let random = ring::rand::SystemRandom::new();
    key.sign(&ring::signature::RSA_PKCS1_SHA256, &random, &message, &mut signature).unwrap();
    let fields = format!(
        "<h:McNonce>{}</h:McNonce><h:SigningAlgorithm>2</h:SigningAlgorithm>\
         <h:DigitalSignature>{}</h:DigitalSignature>",
        STANDARD.encode([3; 20]),
        STANDARD.encode(signature)
    );
    assert_eq!(host.admin(SETUP, "UpgradeClientToAdmin", &fields), Some(0));
    assert_eq!(standing(&sim), (2, 2));
}

/// Each new call by its name: what spares the device leaves it as it was.
#[test]
fn faults_strike_the_new_calls() {
    const COMMIT: &str = "wsman:AMT_SetupAndConfigurationService.CommitChanges";
    for (fault, answer, wanted) in [
        ("return-value:2057", Some(2057), (1, 1)),
        ("drop-before", None, (1, 1)),
        ("drop-after", None, (1, 2)),
    ] {
        let sim = start(&["--fault", &format!("{COMMIT}={fault}")]);
        let mut host = Host::open(&sim);
        assert_eq!(set_up(&sim, &mut host), Some(0));
        assert_eq!((host.commit(), standing(&sim)), (answer, wanted), "{fault}");
        assert_eq!(sim.state()["counters"][COMMIT], 1);
    }
    // Noise is noise, and no loss.
    let sim = start(&["--fault", &format!("{COMMIT}=garbage")]);
    let mut host = Host::open(&sim);
    assert_eq!(set_up(&sim, &mut host), Some(0));
    let body = invocation(CONFIGURATION, "CommitChanges", "");
    let challenge = Answer::parse(&host.exchange(&request(&body, None)));
    let authorization = login("admin", PASSWORD, &challenge.realm(), &challenge.nonce(), 1);
    assert_eq!(host.exchange(&request(&body, Some(&authorization))).len(), 200);
    assert_eq!(standing(&sim), (1, 2));
    let hash = sha256_of(&chain_file("leaf.der"));
    let sim = start(&["--fault", "pthi:0x0400008b=return-value:2"]);
    assert_eq!((announce(&sim, 2, &hash).0, standing(&sim)), (2, (0, 0)));
    assert_eq!((announce(&sim, 2, &hash).0, standing(&sim)), (0, (0, 1)));
    assert_eq!(sim.count("pthi:0x0400008b"), 2);
    let sim = start(&["--fault", "tls:handshake=fault"]);
    let mut host = Host::open(&sim);
    assert!(!host.is_let_in() && host.failure.as_ref().unwrap().contains("HandshakeFailure"));
    assert!(host.is_let_in());
    for (fault, wanted) in [
        ("connect:upid=errno:16", None),
        ("upid:0x0005=return-value:9", Some(bytes("00050400 09000000"))),
        ("upid:0x0005=drop-before", None),
    ] {
        let sim = start(&["--fault", fault]);
        let (mei, connected) = Mei::connect(&sim.dir, UPID);
        let answer = connected.filter(|answer| answer.len() == 16).and_then(|_| mei.ask("00050000"));
        assert_eq!(answer, wanted, "{fault}");
        assert_eq!(sim.count("connect:upid"), 1);
    }
}

#[test]
fn the_account_names_every_kind_of_call() {
    let sim = start(&[]);
    Mei::connected(&sim, UPID).ask("00050000").unwrap();
    announce_leaf(&sim, "leaf");
    let mut host = Host::showing(&sim, GOOD, "leaf");
    host.set_admin(&sim);
    host.set_mebx();
    host.commit();
    let state = sim.state();
    let kinds = &state["per_kind"];
    for (kind, count) in
        [("Invoke", 3), ("HTTP", 6), ("401", 3), ("APF", 6), ("connect:upid", 1), ("connect:lme", 1)]
    {
        assert_eq!(kinds[kind], count, "{kind}: {kinds}");
    }
    assert_eq!((&state["counters"]["tls:handshake"], &state["mutating"]), (&6.into(), &4.into()));
    assert_eq!(state["counters"]["pthi:0x0400008b"], 1);
}
