//! A certificate that is served for longer than it is configured, and who may come to a port that asks for one.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::device::*;
use crate::peer::*;

fn served(secure: &mut Secure) -> Vec<u8> {
    post(secure, "admin", PASSWORD, &envelope(GET, GENERAL, ""));
    secure.leaf.clone()
}

#[test]
fn a_stale_certificate_is_served_until_the_context_is_put_once_more() {
    let sim = Sim::start("vpro-desktop-amt16", &["--time-scale", "0.01", "--served-stale"]);
    let mut door = Network(sim.port());
    let (_, old) = secured(&sim, &mut door, false);
    commit(&mut door);
    let mut secure = Secure::new(&sim);
    assert_eq!(served(&mut secure), old);
    let (_, key) = generate(&mut secure);
    let new = certificate(&key, 2);
    let handle = leaf(&add(&mut secure, "AddCertificate", &new), "Selector");
    let put = |secure: &mut Secure| {
        let answer = transfer(secure, "Put", "AMT_TLSCredentialContext", &context(&handle), None);
        assert_eq!(answer.status, 200, "{answer:?}");
        commit(secure);
    };
    put(&mut secure);
    assert_eq!(served(&mut secure), old);
    commit(&mut secure);
    assert_eq!(served(&mut secure), old);
    // What is read says otherwise all the time.
    let read = transfer(&mut secure, "Get", "AMT_TLSCredentialContext", "", None);
    assert!(read.body.contains(&handle), "{read:?}");
    put(&mut secure);
    assert_eq!(served(&mut secure), new);
}

/// Mutual authentication with this root on the network's side; what a client showing this certificate gets.
fn mutual(sim: &Sim, door: &mut dyn Door, root: &str) {
    assert_eq!(value(&add(door, "AddTrustedRootCertificate", &chain_file(root))), "0");
    let settings = settings(Some(false)).replace("Authentication>false", "Authentication>true");
    assert_eq!(transfer(door, "Put", "AMT_TLSSettingData", &settings, Some(REMOTE)).status, 200);
    commit(door);
    assert_eq!(sim.state()["tls"]["committed"][0]["mutual"], true);
}

fn comes_in(sim: &Sim, shown: Option<&str>) -> bool {
    let mut socket = TcpStream::connect(("127.0.0.1", tls_port(sim).unwrap())).unwrap();
    let mut connection = client_as(shown);
    let mut stream = rustls::Stream::new(&mut connection, &mut socket);
    let mut answer = Vec::new();
    let done = stream.write_all(&request("", None)).and_then(|()| stream.read_to_end(&mut answer));
    done.is_ok() && answer.starts_with(b"HTTP/1.1 401")
}

#[test]
fn a_client_s_certificate_must_come_from_a_trusted_root() {
    for (profile, root, wanted) in [
        ("vpro-desktop-amt16", "root.der", true),
        ("vpro-desktop-amt16", "stranger.der", false),
        ("vpro-desktop-amt18", "root.der", true),
        ("vpro-desktop-amt18", "stranger.der", false),
    ] {
        let sim = Sim::start(profile, &["--time-scale", "0.01"]);
        if profile.ends_with("16") {
            let mut door = Network(sim.port());
            secured(&sim, &mut door, false);
            mutual(&sim, &mut door, root);
        } else {
            activate(&sim, PASSWORD);
            mutual(&sim, &mut Secure::new(&sim), root);
        }
        assert_eq!(
            (comes_in(&sim, Some("console")), comes_in(&sim, None)),
            (wanted, false),
            "{profile} {root}"
        );
        // The host's side asks for none, and out of the mode the roots are forgotten.
        let all = ["00004260", "0000026f", "00004261", "00000298"];
        let mut host = Lme::with_ports(&sim.dir, if profile.ends_with("16") { &all } else { &all[..2] });
        assert_eq!(post(&mut host, "admin", PASSWORD, &envelope(GET, GENERAL, "")).status, 200);
        drop(host);
        assert_eq!(pthi(&sim, UNPROVISION).0, 0);
        let state = sim.state();
        assert_eq!(state["tls"]["certificates"], serde_json::json!({}));
        assert_eq!(state["tls"]["committed"][0]["mutual"], false);
    }
}
