//! AMT that somebody switched off, and how it comes back.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what a test calls may fail it")]

mod peer;

use peer::*;

const IS_ENABLED: &str = "05 02 51 10";
const ENABLE: &str = "05 03 53 10 01";
const DISABLED: u32 = 0x4000;
const NOT_READY: u32 = 2;

fn mhc(sim: &Sim, message: &str) -> Vec<u8> {
    Mei::connected(sim, MHC).ask(message).unwrap()
}

fn start(more: &[&str]) -> Sim {
    let options = ["--time-scale", "0.01", "--amt-disabled"];
    Sim::start("vpro-desktop-amt18", &[&options, more].concat())
}

#[test]
fn switched_off_amt_has_nothing_to_say_and_no_forwarding() {
    let sim = start(&[]);
    for command in [CONTROL_MODE, PROVISIONING_STATE, UUID, "01 01 00 00 1a 00 00 04 00 00 00 00"] {
        assert_eq!(pthi(&sim, command), (DISABLED, vec![]), "{command}");
    }
    assert_eq!(Mei::connect(&sim.dir, LME).1.unwrap(), 25i32.to_le_bytes());
    assert_eq!(mhc(&sim, IS_ENABLED), [0x81, 0, 0, 0]);
    assert_eq!(sim.state()["amt_disabled"], true);
}

#[test]
fn enabled_amt_is_ready_after_a_few_questions_and_has_its_suffix_after_a_while() {
    let sim = start(&[]);
    assert_eq!(mhc(&sim, ENABLE), bytes("05 03 53 10 00000000"));
    assert_eq!(mhc(&sim, IS_ENABLED), [0x83, 0, 0, 0]);
    assert_eq!(Mei::connect(&sim.dir, LME).1.unwrap(), 19i32.to_le_bytes());
    let asked: Vec<u32> = (0..4).map(|_| pthi(&sim, CONTROL_MODE).0).collect();
    assert_eq!(asked, [NOT_READY, NOT_READY, NOT_READY, 0]);
    let (account, mut lme) = (os_admin(&sim), Lme::open(&sim));
    let mut told = || post(&mut lme, "$$OsAdmin", &account, &envelope(GET, CONFIGURATION, "")).body;
    wait_until("the suffix", || told().contains("DhcpDNSSuffix>example.com<"));
    assert_eq!(sim.count("mhc:0x53"), 1);
}

/// The suffix is not there at once: with the firmware's own time it takes seconds.
#[test]
fn the_suffix_is_missing_at_first() {
    let sim = Sim::start("vpro-desktop-amt18", &["--amt-disabled"]);
    mhc(&sim, ENABLE);
    for _ in 0..3 {
        assert_eq!(pthi(&sim, CONTROL_MODE).0, NOT_READY);
    }
    let answer = post(&mut Lme::open(&sim), "$$OsAdmin", &os_admin(&sim), &envelope(GET, CONFIGURATION, ""));
    assert!(answer.status == 200 && !answer.body.contains("DhcpDNSSuffix"), "{answer:?}");
}

#[test]
fn some_firmware_wants_a_restart_first() {
    let sim = start(&["--enable-needs-reboot"]);
    assert_eq!(mhc(&sim, ENABLE), bytes("05 03 53 10 00000000"));
    assert_eq!(mhc(&sim, IS_ENABLED), [0x81, 0, 0, 0]);
    assert_eq!(pthi(&sim, CONTROL_MODE).0, DISABLED);
    let sim = sim.restarted("vpro-desktop-amt18", &["--amt-disabled", "--enable-needs-reboot"]);
    assert_eq!(pthi(&sim, CONTROL_MODE).0, 0);
    assert_eq!(mhc(&sim, IS_ENABLED), [0x83, 0, 0, 0]);
    drop(Lme::open(&sim));
    // Switched off again, it stays off over the next restart.
    assert_eq!(mhc(&sim, "05 03 53 10 00"), bytes("05 03 53 10 00000000"));
    let sim = sim.restarted("vpro-desktop-amt18", &["--amt-disabled"]);
    assert_eq!(pthi(&sim, CONTROL_MODE).0, DISABLED);
}

#[test]
fn older_firmware_cannot_be_switched_on_by_the_host() {
    let sim = Sim::start("vpro-desktop-amt16", &["--amt-disabled"]);
    assert_eq!(mhc(&sim, IS_ENABLED), [0; 4]);
    assert_eq!(mhc(&sim, ENABLE), bytes("05 03 53 10 89000000"));
    assert_eq!(pthi(&sim, CONTROL_MODE).0, DISABLED);
}

#[test]
fn provisioned_amt_is_not_switched() {
    let sim = Sim::start("vpro-desktop-amt18", &["--time-scale", "0.01"]);
    activate(&sim, "Correct-horse-1");
    for message in [ENABLE, "05 03 53 10 00"] {
        assert_eq!(mhc(&sim, message), bytes("05 03 53 10 03000000"));
    }
    assert_eq!(mhc(&sim, IS_ENABLED), [0x82, 0, 0, 0]);
}

#[test]
fn a_locked_switch_is_told_and_not_switched() {
    let sim = start(&["--switch-locked"]);
    assert_eq!(mhc(&sim, IS_ENABLED), [0x80, 0, 0, 0]);
    assert_eq!(mhc(&sim, ENABLE), bytes("05 03 53 10 03000000"));
    assert_eq!(sim.state()["amt_disabled"], true);
}

#[test]
fn faults_at_the_switch_leave_it_as_it_was_or_turn_it() {
    for (fault, off) in
        [("return-value:3", true), ("drop-before", true), ("drop-after", false), ("short", false)]
    {
        let sim = start(&["--fault", &format!("mhc:0x53={fault}")]);
        let _ = Mei::connected(&sim, MHC).ask(ENABLE);
        assert_eq!(sim.state()["amt_disabled"], off, "{fault}");
    }
}

#[test]
fn from_19_on_the_answer_says_that_tls_is_enforced_too() {
    let sim = Sim::start("vpro-desktop-amt19", &["--time-scale", "0.01", "--amt-disabled"]);
    assert_eq!(mhc(&sim, IS_ENABLED), [0xc1, 0, 0, 0]);
    assert_eq!(mhc(&sim, ENABLE), bytes("05 03 53 10 00000000"));
    assert_eq!(mhc(&sim, IS_ENABLED), [0xc3, 0, 0, 0]);
}

#[test]
fn hidden_amt_looks_like_none_until_it_is_switched_on_and_started() {
    let options = ["--amt-disabled", "--amt-hidden"];
    let sim = Sim::start("vpro-desktop-amt18", &options);
    let announced = |sim: &Sim, guid: &str| {
        let name = format!("sys/bus/mei/devices/0000:00:16.0-{guid}");
        sim.dir.join(name).exists()
    };
    let guids = ["12f80028-b4b7-4b2d-aca8-46e0ff65814c", "6733a4db-0476-4e7b-b3af-bcfc29bee7a7"];
    let watchdog = "05b79a6f-4628-4d7f-899d-a91514cb32ab";
    assert_eq!(guids.map(|guid| announced(&sim, guid)), [false; 2]);
    assert!(announced(&sim, watchdog));
    for client in [PTHI, LME] {
        assert_eq!(Mei::connect(&sim.dir, client).1.unwrap(), 25i32.to_le_bytes());
    }
    assert_eq!(mhc(&sim, IS_ENABLED), [0x81, 0, 0, 0]);
    assert_eq!(mhc(&sim, ENABLE), bytes("05 03 53 10 00000000"));
    assert_eq!(Mei::connect(&sim.dir, PTHI).1.unwrap(), 25i32.to_le_bytes());
    let sim = sim.restarted("vpro-desktop-amt18", &options);
    assert_eq!(guids.map(|guid| announced(&sim, guid)), [true; 2]);
    assert_eq!(pthi(&sim, CONTROL_MODE).0, 0);
}
