//! Faults strike where they are said to, and leave the device as they are said to.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what a test calls may fail it")]

mod peer;

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use peer::*;

const HA1: &str = "0123456789abcdef0123456789abcdef";
const SETUP_CALL: &str = "wsman:IPS_HostBasedSetupService.Setup";

/// A Setup over MEI on a machine with this fault: the answer's bytes, and the control mode afterwards.
fn set_up(fault: &str) -> (Vec<u8>, u64) {
    let sim = Sim::vpro(&[&format!("{SETUP_CALL}={fault}")]);
    let (os_admin, body, mut lme) = (os_admin(&sim), setup_body("2", HA1), Lme::open(&sim));
    let challenge = Answer::parse(&lme.exchange(&request(&body, None)));
    let header = login("$$OsAdmin", &os_admin, &challenge.realm(), &challenge.nonce(), 1);
    let wire = lme.exchange(&request(&body, Some(&header)));
    let state = sim.state();
    assert_eq!((&state["counters"][SETUP_CALL], &state["mutating"]), (&1.into(), &1.into()));
    (wire, state["control_mode"].as_u64().unwrap())
}

#[test]
fn each_http_fault_has_its_answer_and_its_effect() {
    let whole = |wire: &[u8]| Answer::parse(wire);
    let (wire, mode) = set_up("return-value:5");
    assert!(whole(&wire).body.contains("Setup_OUTPUT><g:ReturnValue>5<") && mode == 0);
    let (wire, mode) = set_up("fault");
    assert!(whole(&wire).body.contains("e:InternalError") && whole(&wire).status == 400 && mode == 0);
    for status in [400, 401, 500] {
        let (wire, mode) = set_up(&format!("http-{status}"));
        assert_eq!((whole(&wire).status, mode), (status, 0));
    }
    assert_eq!(set_up("drop-before"), (vec![], 0));
    assert_eq!(set_up("drop-after"), (vec![], 1));
    let (wire, mode) = set_up("garbage");
    assert!(!wire.starts_with(b"HTTP") && wire.len() == 200 && mode == 1);
    let (wire, mode) = set_up("short");
    assert!(wire.starts_with(b"HTTP/1.1 200") && !wire.ends_with(b"0000\r\n\r\n") && mode == 1);
    let (wire, mode) = set_up("long");
    assert!(wire.starts_with(b"HTTP/1.1 200") && !wire.ends_with(b"0000\r\n\r\n") && mode == 1);
    let (wire, mode) = set_up("wrong-command");
    assert!(!whole(&wire).body.contains("RelatesTo>77<") && mode == 1);
}

#[test]
fn settling_refuses_good_logins_for_a_time() {
    let sim = Sim::vpro(&[&format!("{SETUP_CALL}=settle-401")]);
    activate(&sim, "Correct-horse-1");
    let get = envelope(GET, GENERAL, "");
    assert_eq!(sim.state()["locked"], true);
    wait_until("the end of settling", || {
        post(&mut Network(sim.port()), "admin", "Correct-horse-1", &get).status == 200
    });
}

#[test]
fn each_pthi_fault_has_its_answer_and_its_effect() {
    // The fault strikes the unprovisioning of a machine in client control mode.
    let unprovision = |fault: &str| {
        let sim = Sim::vpro(&[&format!("pthi:0x04000010={fault}")]);
        activate(&sim, "Correct-horse-1");
        let reply = Mei::connected(&sim, PTHI).ask(UNPROVISION);
        (reply, sim.state()["control_mode"].as_u64().unwrap())
    };
    let good = "01 01 00 00 10 00 80 04 04 00 00 00 00 00 00 00";
    let refused = |status: &str| Some(bytes(&format!("{} {status}", &good[..36])));
    assert_eq!(unprovision("return-value:2"), (refused("02 00 00 00"), 1));
    assert_eq!(unprovision("fault"), (refused("01 00 00 00"), 1));
    assert_eq!(unprovision("drop-before"), (None, 1));
    assert_eq!(unprovision("drop-after"), (None, 0));
    assert_eq!(unprovision("short"), (Some(bytes(good)[..13].to_vec()), 0));
    let (reply, mode) = unprovision("long");
    assert!(reply.as_ref().is_some_and(|r| r.starts_with(&bytes(good)) && r.len() == 23) && mode == 0);
    let (reply, mode) = unprovision("wrong-command");
    assert_eq!((reply.map(|reply| reply[4]), mode), (Some(0x11), 0));
    let (reply, mode) = unprovision("garbage");
    assert!(reply.is_some_and(|r| r.len() == 23 && !r.starts_with(&[1, 1, 0, 0])) && mode == 0);
}

#[test]
fn a_stalled_call_is_never_answered() {
    let sim = Sim::vpro(&["pthi:0x0400006b=stall", "http:anonymous=stall"]);
    let mei = Mei::connected(&sim, PTHI);
    mei.send(&bytes(CONTROL_MODE));
    assert!(mei.is_silent());
    assert_eq!(pthi(&sim, CONTROL_MODE).0, 0);
    let mut lme = Lme::open(&sim);
    let (_, amt, _) = lme.channel(4096);
    lme.send_data(amt, &request(&envelope(GET, GENERAL, ""), None));
    assert_eq!(lme.mei.receive().unwrap()[0], 0x5d);
    assert!(lme.mei.is_silent());
}

#[test]
fn connects_fail_as_said_and_calls_are_numbered() {
    let faults =
        ["connect:lme=errno:16#2", "call:4=errno:19", "connect:mhc=drop-before", "connect:mkhi=short"];
    let sim = Sim::vpro(&faults);
    let answer = |guid: &str| Mei::connect(&sim.dir, guid).1;
    assert_eq!(answer(LME).map(|answer| answer.len()), Some(16));
    assert_eq!(answer(LME), Some(bytes("10 00 00 00")));
    assert_eq!(answer(LME).map(|answer| answer.len()), Some(16));
    assert_eq!(answer(PTHI), Some(bytes("13 00 00 00")));
    assert_eq!(answer(MHC), None);
    assert_eq!(answer(MKHI).map(|answer| answer.len()), Some(7));
    assert_eq!(answer(PTHI).map(|answer| answer.len()), Some(16));
}

#[test]
fn an_lme_session_may_end_with_its_channel() {
    let sim = Sim::start("vpro-desktop-amt16", &["--lme-drops-on-close"]);
    let mut lme = Lme::open(&sim);
    let challenge = lme.exchange(&request(&envelope(GET, GENERAL, ""), None));
    assert_eq!((Answer::parse(&challenge).status, lme.mei.receive()), (401, None));
}

#[test]
fn a_killed_peer_is_the_one_that_called() {
    let table = [
        ("pthi:0x04000010=kill-peer-before", 1),
        ("pthi:0x04000010=kill-peer-after", 0),
        ("connect:pthi=kill-peer-after#2", 1),
        ("http:anonymous=kill-peer-before#2", 0),
        ("http:anonymous=kill-peer-after#2", 0),
    ];
    for (fault, mode) in table {
        let sim = Sim::vpro(&[fault]);
        activate(&sim, "Correct-horse-1");
        let mut victim = Command::new(std::env::current_exe().unwrap());
        victim.args(["--ignored", "--exact", "the_peer_that_is_killed"]).env("OOB_SIM_VICTIM", &sim.dir);
        let status = victim.stdout(Stdio::null()).status().unwrap();
        assert_eq!((status.signal(), &sim.state()["control_mode"]), (Some(9), &mode.into()), "{fault}");
        let state = sim.state();
        let last = state["calls"].as_array().and_then(|calls| calls.last()).and_then(|call| call.as_str());
        assert_eq!(last, fault.split('=').next(), "a killed peer went on");
    }
}

#[test]
fn a_network_peer_is_never_killed() {
    let sim = Sim::vpro(&["http:anonymous=kill-peer-before#2"]);
    activate(&sim, "Correct-horse-1");
    assert!(Network(sim.port()).exchange(&request("", None)).is_empty());
    assert_eq!(sim.count("http:anonymous"), 2);
}

#[test]
#[ignore = "started by a_killed_peer_is_the_one_that_called"]
fn the_peer_that_is_killed() {
    let dir = std::env::var_os("OOB_SIM_VICTIM").expect("only that test starts this one");
    let dir = std::path::Path::new(&dir);
    Mei::connect(dir, PTHI).0.ask(UNPROVISION);
    Lme::at(dir).exchange(&request("", None));
    panic!("still alive");
}
