//! LMS on the machine: AMT's ports for the host over TCP, and no LME client for anybody else.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what a test calls may fail it")]

#[path = "tls/device.rs"]
#[allow(dead_code, reason = "this test uses a part of the administrator's words")]
mod device;
mod peer;

use device::{PASSWORD, Secure, commit, secured_here};
use peer::*;

fn start(more: &[&str]) -> Sim {
    Sim::start("vpro-desktop-amt16", &[&["--time-scale", "0.01", "--lms"], more].concat())
}

fn lms(sim: &Sim, port: &str) -> Option<u16> {
    json(&sim.dir.join("ports.json"))[format!("lms:{port}")].as_u64().map(|port| u16::try_from(port).unwrap())
}

fn set_up(sim: &Sim, door: &mut dyn Door) {
    let account = os_admin(sim);
    let ha1 = md5(&format!("admin:{}:{PASSWORD}", sim.state()["realm"].as_str().unwrap()));
    let answer = post(door, "$$OsAdmin", &account, &setup_body("2", &ha1));
    assert!(answer.body.contains("ReturnValue>0<"), "{answer:?}");
}

#[test]
fn what_comes_through_lms_is_local_and_lme_is_taken() {
    let sim = start(&[]);
    assert_eq!(Mei::connect(&sim.dir, LME).1.unwrap(), 16i32.to_le_bytes());
    let mut door = Network(lms(&sim, "16992").unwrap());
    assert_eq!(lms(&sim, "16993"), None);
    set_up(&sim, &mut door);
    assert_eq!(sim.state()["control_mode"], 1);
    // The local account is good here and not on the network, where the realm is the same.
    let (account, get) = (os_admin(&sim), envelope(GET, GENERAL, ""));
    assert_eq!(post(&mut door, "$$OsAdmin", &account, &get).status, 200);
    assert_eq!(post(&mut Network(sim.port()), "$$OsAdmin", &account, &get).status, 401);
    assert_eq!(post(&mut door, "admin", PASSWORD, &get).status, 200);
    assert_eq!((sim.count("connect:lms"), sim.count("connect:lme")), (6, 1));
    assert_eq!(pthi(&sim, CONTROL_MODE).1, [1, 0, 0, 0]);
}

#[test]
fn a_restarting_lms_accepts_and_closes() {
    let sim = Sim::start("vpro-desktop-amt16", &["--time-scale", "0.01", "--lms-restarting", "3"]);
    let mut door = Network(lms(&sim, "16992").unwrap());
    for _ in 0..3 {
        assert!(door.exchange(&request("", None)).is_empty());
        assert_eq!(Mei::connect(&sim.dir, LME).1.unwrap(), 16i32.to_le_bytes());
    }
    set_up(&sim, &mut door);
    assert_eq!(sim.count("http:anonymous"), 1);
}

#[test]
fn its_tls_port_comes_with_the_host_s_tls() {
    let sim = start(&[]);
    let mut door = Network(lms(&sim, "16992").unwrap());
    set_up(&sim, &mut door);
    let (_, certificate) = secured_here(&mut door, false);
    assert_eq!(lms(&sim, "16993"), None);
    commit(&mut door);
    let mut secure = Secure::at(lms(&sim, "16993").unwrap());
    let account = os_admin(&sim);
    assert_eq!(post(&mut secure, "$$OsAdmin", &account, &envelope(GET, GENERAL, "")).status, 200);
    assert_eq!(secure.leaf, certificate);
    // The network's cleartext is closed, the host's is not.
    assert_eq!(post(&mut door, "admin", PASSWORD, &envelope(GET, GENERAL, "")).status, 200);
}

#[test]
fn faults_strike_its_connections_and_off_amt_has_none() {
    for fault in ["drop-before", "errno:104"] {
        let sim = start(&["--fault", &format!("connect:lms={fault}")]);
        let mut door = Network(lms(&sim, "16992").unwrap());
        assert!(door.exchange(&request("", None)).is_empty(), "{fault}");
        assert_eq!(Answer::parse(&door.exchange(&request("", None))).status, 401);
    }
    let sim = start(&["--amt-disabled"]);
    assert_eq!((lms(&sim, "16992"), lms(&sim, "16993")), (None, None));
}

#[test]
fn from_19_on_lms_has_its_tls_port_only_and_from_the_start() {
    let sim = Sim::start("vpro-desktop-amt19", &["--time-scale", "0.01", "--lms-restarting", "1"]);
    assert_eq!(
        (lms(&sim, "16992"), Mei::connect(&sim.dir, LME).1.unwrap()),
        (None, 16i32.to_le_bytes().into())
    );
    let port = lms(&sim, "16993").unwrap();
    assert!(Network(port).exchange(b"x").is_empty());
    let mut secure = Secure::at(port);
    let account = os_admin(&sim);
    assert_eq!(post(&mut secure, "$$OsAdmin", &account, &envelope(GET, GENERAL, "")).status, 200);
    set_up(&sim, &mut secure);
    assert_eq!(pthi(&sim, PROVISIONING_STATE).1, [1, 0, 0, 0]);
}
