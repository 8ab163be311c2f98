//! Escrow first: the order write, fsync, rename without replace, fsync of the directory, then the device call.
//!
//! Twice: from the agent's own trace of crash points, and from the kernel's view of the same run through strace.

use std::process::Command;

use oob_tests::{Machine, code, installed, program, scratch, text, workspace};

use crate::crash::undisturbed;
use crate::deaths;
use crate::honesty::Target;
use crate::use_ccm::arguments;
use crate::wanted::Wanted;

#[test]
fn the_credential_is_durable_before_the_device_sees_it() {
    let (trace, _) = undisturbed();
    let after = |part: &str, from: usize| -> usize {
        trace
            .lines()
            .enumerate()
            .skip(from)
            .find(|(_, line)| line.contains(part))
            .unwrap_or_else(|| panic!("no `{part}` after line {from} of\n{trace}"))
            .0
    };
    let setup = after("before device mutating", 0);
    let mut at = 0;
    for part in ["after disk.write", "after disk.fsync", "after disk.rename", "after disk.fsync-dir"] {
        at = trace
            .lines()
            .enumerate()
            .skip(at)
            .find(|(_, line)| line.contains(part) && line.contains("escrow"))
            .unwrap_or_else(|| panic!("no `{part}` of the escrow file after line {at} of\n{trace}"))
            .0;
    }
    assert!(at < setup, "the device was called at line {setup}, escrow was durable at line {at}:\n{trace}");
    // The journal knows of the call before it is sent.
    let journal = after_last(&trace, setup, "after disk.fsync", "journal");
    assert!(
        journal.is_some_and(|line| line > at),
        "no synced journal entry between escrow and the call:\n{trace}"
    );
}

#[test]
fn both_passwords_of_admin_control_mode_are_durable_before_the_device_sees_them() {
    let scratch = scratch();
    let wanted = Wanted::new(Target::ADMIN, "vpro-desktop-amt16", scratch.path());
    let (trace, _) = deaths::undisturbed(&wanted);
    let at = |from: usize, what: &str, parts: &[&str]| -> usize {
        let mut lines = trace.lines().enumerate().skip(from);
        let found = lines.find(|(_, line)| parts.iter().all(|part| line.contains(part)));
        found.unwrap_or_else(|| panic!("no {what} after line {from} of\n{trace}")).0
    };
    for (file, call) in [
        ("/escrow/amt.1.", "IPS_HostBasedSetupService.AdminSetup"),
        ("/escrow/amt-mebx.1.", "AMT_SetupAndConfigurationService.SetMEBxPassword"),
    ] {
        let called = at(0, call, &["before device mutating", call]);
        let mut durable = at(0, "write", &["after disk.write", file]);
        durable = at(durable, "fsync", &["after disk.fsync", file]);
        durable = at(durable, "rename", &["after disk.rename", file]);
        durable = at(durable, "fsync of the directory", &["after disk.fsync-dir", "/escrow"]);
        assert!(durable < called, "{call} at line {called}, {file} durable at line {durable}:\n{trace}");
    }
    let setup = at(0, "AdminSetup", &["before device mutating", "AdminSetup"]);
    let journal = after_last(&trace, setup, "after disk.fsync", "journal");
    let escrow = at(0, "escrow", &["after disk.rename", "/escrow/amt.1."]);
    assert!(journal.is_some_and(|line| line > escrow), "no synced journal entry before AdminSetup:\n{trace}");
    // The MEBx password is made in a machine that is proven ours, and not before.
    assert!(at(0, "MEBx escrow", &["/escrow/amt-mebx.1."]) > setup);
}

/// From AMT 19 on both are given between the beginning and the commit, so both are durable before the beginning.
#[test]
fn both_passwords_of_amt_19_are_durable_before_anything_begins() {
    let scratch = scratch();
    let wanted = Wanted::new(Target::ADMIN, "vpro-desktop-amt19", scratch.path());
    let (trace, _) = deaths::undisturbed(&wanted);
    let at = |from: usize, what: &str| -> usize {
        let mut lines = trace.lines().enumerate().skip(from);
        let found = lines.find(|(_, line)| line.contains(what));
        found.unwrap_or_else(|| panic!("no {what} after line {from} of\n{trace}")).0
    };
    let first = at(0, "before device mutating");
    let begun = at(0, "before device mutating StartConfigurationHBased");
    let renamed = ["/escrow/amt.1.", "/escrow/amt-mebx.1."].map(|file| {
        let written =
            trace.lines().position(|line| line.contains("after disk.rename") && line.contains(file));
        written.unwrap_or_else(|| panic!("no {file} in\n{trace}"))
    });
    let durable = at(renamed[0].max(renamed[1]), "after disk.fsync-dir");
    assert!(first == begun && durable < begun, "begun at {begun}, durable at {durable}:\n{trace}");
    let journal = after_last(&trace, begun, "after disk.fsync", "journal");
    assert!(journal.is_some_and(|line| line > durable), "no synced journal entry before it:\n{trace}");
    // And the journal knows of the commit before AMT does.
    let commit = at(begun, "before device mutating AMT_SetupAndConfigurationService.CommitChanges");
    let journal = after_last(&trace, commit, "after disk.fsync", "journal");
    assert!(journal.is_some_and(|line| line > at(begun, "before device mutating mebx")), "{trace}");
}

#[test]
fn the_kernel_saw_the_same_order() {
    if !installed("strace", "the order of system calls around the device call") {
        return;
    }
    let scratch = scratch();
    let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &[]);
    let log = scratch.path().join("strace");
    let run = Command::new("strace")
        .args([
            "-f",
            "-y",
            "-s",
            "40",
            "-e",
            "trace=fsync,fdatasync,renameat2,linkat,sendto,sendmsg,write",
            "-o",
        ])
        .arg(&log)
        .arg(program("oob-agent"))
        .args(arguments(&machine, &scratch.path().join("out")))
        .current_dir(workspace())
        .output()
        .expect("running strace");
    assert_eq!(code(&run), Some(0), "{}", text(&run.stderr));
    let log = std::fs::read_to_string(log).unwrap();
    let lines: Vec<&str> =
        log.lines().filter(|line| !line.contains("resumed>") && !line.contains("= -1")).collect();
    let find = |from: usize, what: &str, test: &dyn Fn(&str) -> bool| -> usize {
        let found = lines.iter().enumerate().skip(from).find(|(_, line)| test(line));
        found.unwrap_or_else(|| panic!("no {what} after line {from}")).0
    };
    let escrow = |line: &str| line.contains("/escrow");
    let synced = find(0, "fsync of the escrow file", &|line| line.contains("fsync(") && escrow(line));
    let renamed = find(synced, "rename without replace", &|line| {
        escrow(line)
            && (line.contains("renameat2(") && line.contains("RENAME_NOREPLACE") || line.contains("linkat("))
    });
    let directory = find(renamed, "fsync of the escrow directory", &|line| {
        line.contains("fsync(") && line.contains("/escrow>")
    });
    // Setup goes out in the LME connection's datagrams: the last bursts of APF data before the fourth login.
    let sends: Vec<usize> = lines
        .iter()
        .enumerate()
        .filter(|(_, line)| {
            (line.contains("sendto(") || line.contains("sendmsg(") || line.contains("write("))
                && line.contains("socket:")
        })
        .map(|(at, _)| at)
        .collect();
    assert!(
        sends.iter().any(|at| *at < synced) && sends.iter().any(|at| *at > directory),
        "device calls on both sides"
    );
    let between = sends.iter().filter(|at| (synced..directory).contains(at)).count();
    assert_eq!(between, 0, "a device call while the credential was not yet durable");
}

/// The last line before `end` that has both parts.
fn after_last(trace: &str, end: usize, one: &str, other: &str) -> Option<usize> {
    let before = trace.lines().take(end).enumerate();
    before.filter(|(_, line)| line.contains(one) && line.contains(other)).map(|(at, _)| at).last()
}
