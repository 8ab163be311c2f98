//! The AMT desktop, spoken to in raw bytes.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what a test calls may fail it")]

mod peer;

use std::io::{Read, Write};
use std::net::TcpStream;

use peer::*;

#[test]
fn pthi_answers_the_reference_s_bytes() {
    let sim = Sim::vpro(&[]);
    let mei = Mei::connected(&sim, PTHI);
    let mode = bytes("01 01 00 00 6b 00 80 04 08 00 00 00 00 00 00 00 00 00 00 00");
    assert_eq!(mei.ask(CONTROL_MODE), Some(mode));
    let state = bytes("01 01 00 00 11 00 80 04 08 00 00 00 00 00 00 00 00 00 00 00");
    assert_eq!(mei.ask(PROVISIONING_STATE), Some(state));
    // Not in client control mode: the wrong state, and nothing changes.
    assert_eq!(mei.ask(UNPROVISION), Some(bytes("01 01 00 00 10 00 80 04 04 00 00 00 03 00 00 00")));
    let uuid = mei.ask(UUID).unwrap()[16..].to_vec();
    let table = std::fs::read(sim.dir.join("sys/firmware/dmi/tables/DMI")).unwrap();
    assert!(table.windows(16).any(|window| window == uuid), "SMBIOS has another UUID than AMT");
    assert_eq!(os_admin(&sim).len(), 32);
    let state = sim.state();
    assert_eq!((&state["mutating"], &state["mei_connects"]), (&1.into(), &2.into()));
    let calls = ["connect:pthi", "pthi:0x0400006b", "pthi:0x04000011", "pthi:0x04000010", "pthi:0x0400005c"];
    assert_eq!(state["calls"].as_array().unwrap()[..5], calls);
}

#[test]
fn the_other_clients_answer_and_unknown_ones_do_not_exist() {
    let sim = Sim::vpro(&[]);
    assert_eq!(Mei::connected(&sim, MHC).ask("05 02 51 10"), Some(bytes("01 00 00 00")));
    let version = Mei::connected(&sim, MKHI).ask("ff 02 00 00").unwrap();
    assert_eq!(version[4..12], bytes("0000 1000 c706 0f00"));
    assert_eq!(Mei::connect(&sim.dir, FWUPDATE).1, Some(bytes("19 00 00 00")));
    let _first = Mei::connected(&sim, LME);
    assert_eq!(Mei::connect(&sim.dir, LME).1, Some(bytes("10 00 00 00")));
    assert_eq!((sim.count("connect:lme"), sim.count("connect:other")), (2, 1));
}

#[test]
fn a_closed_session_is_free_at_once() {
    let sim = Sim::vpro(&[]);
    for _ in 0..50 {
        drop(Mei::connected(&sim, LME));
    }
}

#[test]
fn set_up_happens_once_and_opens_the_port() {
    let sim = Sim::vpro(&[]);
    assert!(Network(sim.port()).exchange(&request("", None)).is_empty(), "an unprovisioned port answered");
    let ha1 = activate(&sim, "Correct-horse-1");
    let state = sim.state();
    assert_eq!((&state["control_mode"], &state["provisioning_state"]), (&1.into(), &2.into()));
    assert_eq!(state["ha1_sha256"].as_str().unwrap(), sha256(&ha1));
    assert_eq!(pthi(&sim, CONTROL_MODE), (0, bytes("01 00 00 00")));
    assert_eq!(pthi(&sim, PROVISIONING_STATE), (0, bytes("02 00 00 00")));
    // As administrator, from inside and from outside.
    let get = envelope(GET, GENERAL, "");
    for door in [&mut Lme::open(&sim) as &mut dyn Door, &mut Network(sim.port())] {
        let answer = post(door, "admin", "Correct-horse-1", &get);
        assert_eq!(answer.status, 200);
        assert!(
            answer.body.contains(state["realm"].as_str().unwrap()) && answer.body.contains("RelatesTo>77<")
        );
        assert_eq!(post(door, "admin", "Wrong-horse-1", &get).status, 401);
    }
    // A second Setup is refused, and the first password stays.
    let again = post(&mut Network(sim.port()), "admin", "Correct-horse-1", &setup_body("2", &"a".repeat(32)));
    assert!(again.body.contains("ReturnValue>2<"), "{again:?}");
    assert_eq!(sim.state()["ha1_sha256"], state["ha1_sha256"]);
    let os_admin = os_admin(&sim);
    assert_eq!(post(&mut Network(sim.port()), "$$OsAdmin", &os_admin, &get).status, 401);
    assert_eq!(sim.count("wsman:IPS_HostBasedSetupService.Setup"), 2);
    assert_eq!(sim.state()["mutating"], 2);
}

#[test]
fn unprovisioning_closes_the_port_and_renews_the_realm() {
    let sim = Sim::vpro(&[]);
    activate(&sim, "Correct-horse-1");
    let realm = sim.state()["realm"].clone();
    assert_eq!(pthi(&sim, UNPROVISION), (0, vec![]));
    let state = sim.state();
    assert_eq!((&state["control_mode"], &state["provisioning_state"]), (&0.into(), &0.into()));
    assert!(state["realm"] != realm && state["ha1_sha256"].is_null());
    assert!(Network(sim.port()).exchange(&request("", None)).is_empty());
    activate(&sim, "Another-horse-2");
    // And by WS-Man, as administrator.
    let body = format!(
        "<h:Unprovision_INPUT xmlns:h=\"{CONFIGURATION}\"><h:ProvisioningMode>1</h:ProvisioningMode>\
                        </h:Unprovision_INPUT>"
    );
    let unprovision = envelope(&format!("{CONFIGURATION}/Unprovision"), CONFIGURATION, &body);
    let answer = post(&mut Network(sim.port()), "admin", "Another-horse-2", &unprovision);
    assert!(answer.body.contains("ReturnValue>0<"), "{answer:?}");
    assert_eq!(sim.state()["provisioning_state"], 0);
}

#[test]
fn the_third_bad_login_locks_for_a_while() {
    let sim = Sim::start("vpro-desktop-amt16", &["--time-scale", "0.05"]);
    activate(&sim, "Correct-horse-1");
    let (mut door, get) = (Network(sim.port()), envelope(GET, GENERAL, ""));
    for _ in 0..2 {
        assert_eq!(post(&mut door, "admin", "wrong", &get).status, 401);
    }
    assert_eq!(sim.state()["locked"], false);
    assert_eq!(post(&mut door, "admin", "wrong", &get).status, 401);
    assert_eq!(sim.state()["locked"], true);
    assert_eq!(post(&mut door, "admin", "Correct-horse-1", &get).status, 401);
    wait_until("the end of the lock", || post(&mut door, "admin", "Correct-horse-1", &get).status == 200);
    assert_eq!(sim.state()["locked"], false);
}

#[test]
fn challenges_have_the_recorded_shape_and_nonces_their_count() {
    let sim = Sim::vpro(&[]);
    activate(&sim, "Correct-horse-1");
    let (mut door, get) = (Network(sim.port()), envelope(GET, GENERAL, ""));
    let challenge = Answer::parse(&door.exchange(&request(&get, None)));
    let (realm, nonce) = (challenge.realm(), challenge.nonce());
    assert!(
        realm.len() == 39 && realm[7..].bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b))
    );
    assert_eq!((nonce.len(), challenge.status), (32, 401));
    let wanted =
        format!("WWW-Authenticate: Digest realm=\"{realm}\", nonce=\"{nonce}\",stale=\"false\",qop=\"auth\"");
    assert!(challenge.head.contains(&wanted) && challenge.head.contains("Connection: close"));
    assert!(challenge.head.contains("Server: Intel(R) Active Management Technology 16.0.15.1735"));
    let mut with = |count| {
        let header = login("admin", "Correct-horse-1", &realm, &nonce, count);
        Answer::parse(&door.exchange(&request(&get, Some(&header))))
    };
    assert_eq!((with(1).status, with(2).status), (200, 200));
    let replayed = with(2);
    assert!(replayed.status == 401 && replayed.head.contains("stale=\"true\""));
    assert_eq!(sim.state()["locked"], false);
}

#[test]
fn a_connection_is_kept_after_an_answer_and_takes_chunks() {
    let sim = Sim::vpro(&[]);
    activate(&sim, "Correct-horse-1");
    let get = envelope(GET, CONFIGURATION, "");
    let challenge = Answer::parse(&Network(sim.port()).exchange(&request(&get, None)));
    let mut stream = TcpStream::connect(("127.0.0.1", sim.port())).unwrap();
    for count in 1..=3 {
        let header = login("admin", "Correct-horse-1", &challenge.realm(), &challenge.nonce(), count);
        let (one, two) = get.split_at(333);
        let head = format!(
            "POST /wsman HTTP/1.1\r\nHost: x\r\nAuthorization: {header}\r\nExpect: 100-continue\r\n\
             Transfer-Encoding: chunked\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut interim = [0; 25];
        stream.read_exact(&mut interim).unwrap();
        assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
        let body = format!("{:x}\r\n{one}\r\n{:X}\r\n{two}\r\n0\r\n\r\n", one.len(), two.len());
        stream.write_all(body.as_bytes()).unwrap();
        let mut wire = Vec::new();
        while !wire.ends_with(b"0000\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            wire.extend(byte);
        }
        let answer = Answer::parse(&wire);
        assert!(answer.status == 200 && answer.body.contains("ProvisioningMode>4<"), "{answer:?}");
    }
    let page = Answer::parse(&Network(sim.port()).exchange(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"));
    assert!(page.status == 303 && page.head.contains("Location: /logon.htm"));
}

#[test]
fn apf_refuses_what_amt_refuses() {
    let sim = Sim::vpro(&[]);
    let mut lme = Lme::open(&sim);
    let reason =
        |answer: &[u8]| (answer[0], answer.len(), u32::from_be_bytes(answer[5..9].try_into().unwrap()));
    assert_eq!(reason(&lme.open_channel(4096, 80).1), (0x5c, 17, 2));
    let open: Vec<_> = (0..8).map(|_| lme.channel(4096)).collect();
    assert_eq!(reason(&lme.open_channel(4096, 16992).1), (0x5c, 17, 4));
    // One closed, one free.
    let (host, amt, _) = open[3];
    assert_eq!(lme.mei.ask(&format!("61 {amt:08x}")), Some(bytes(&format!("61 {host:08x}"))));
    let (_, number, _) = lme.channel(4096);
    assert_eq!(number, amt);
    assert_eq!(sim.state()["apf_channels"], 9);
}

#[test]
fn one_byte_beyond_the_window_ends_the_session() {
    let sim = Sim::start("vpro-desktop-amt16", &["--apf-window", "100"]);
    let mut lme = Lme::open(&sim);
    let (host, amt, window) = lme.channel(4096);
    assert_eq!(window, 100);
    lme.send_data(amt, &[b'x'; 100]);
    assert_eq!(lme.mei.receive(), Some(bytes(&format!("5d {host:08x} 00000064"))));
    lme.send_data(amt, &[b'x'; 101]);
    assert_eq!(lme.mei.receive(), Some(bytes("01 00000002 0000")));
    assert_eq!(lme.mei.receive(), None);
    // Within the window, a whole conversation goes through it.
    let answer = Answer::parse(&Lme::open(&sim).exchange(&request(&envelope(GET, GENERAL, ""), None)));
    assert_eq!(answer.status, 401);
}

#[test]
fn amt_waits_for_the_host_s_window() {
    let sim = Sim::vpro(&[]);
    let mut lme = Lme::open(&sim);
    let (host, amt, _) = lme.channel(100);
    lme.send_data(amt, &request(&envelope(GET, GENERAL, ""), None));
    assert_eq!(lme.mei.receive().unwrap()[0], 0x5d);
    let first = lme.mei.receive().unwrap();
    assert_eq!((first[0], first.len()), (0x5e, 109));
    assert!(lme.mei.is_silent(), "AMT sent beyond the host's window");
    let next = lme.mei.ask(&format!("5d {amt:08x} 00000007")).unwrap();
    assert_eq!(next[..9], bytes(&format!("5e {host:08x} 00000007")));
}
