//! The agent killed at every crash point of a whole change of state, and run again.
//!
//! The child is this very test binary, started with one ignored test: a dead process must be a real one.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};

use oob_policy::{History, RootKind};
use serde_json::json;

use super::*;
use crate::escrow::{self, Plain};
use crate::secrets::Password;

const ID: &str = "d1-abcdefghijklmnopqrstuvwxyz";
const DEVICE: &str = "fake-device";

/// The order in which the agent uses this module, with a file in place of the device.
fn change_of_state(out: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let store = DirStore::at(out);
    store.prepare()?;
    let lock = store.lock(ID)?;
    store.check_root(ID, RootKind::Simulated)?;
    let mut journal = Journal::open(&store, &lock)?;
    let history = fold(&store.stored(ID)?, journal.entries());
    journal.close_proven(&history)?;
    let run_id = new_run_id()?;
    let run = Run {
        device_id: ID.to_owned(),
        run_id: run_id.clone(),
        root: RootKind::Simulated,
        policy: None,
        medium: Medium::default(),
        clock_source: "rtc".to_owned(),
    };
    let mut chain = Chain::resume(run, Signer::ephemeral()?, &history);
    if let Some(open) = &history.open {
        // What carry_out does with the device: only what our own journal began is taken back.
        let _ = std::fs::remove_file(out.join(DEVICE));
        chain.record(&store, Kind::Note, json!({"undone_generation": open.generation}))?;
        journal.append(JournalEntry::Undone { generation: open.generation })?;
    }
    if history.amt.is_none() {
        set_up(out, &store, &mut journal, &mut chain, &history, &run_id)?;
    }
    store.put_report(ID, &format!("{run_id}.json"), b"{}")?;
    Ok(())
}

fn set_up(
    out: &Path,
    store: &DirStore,
    journal: &mut Journal,
    chain: &mut Chain,
    history: &History,
    run_id: &str,
) -> Result<(), Box<dyn std::error::Error>> {
    chain.record(store, Kind::Observed, json!({}))?;
    let generation = history.amt_generation + 1;
    let plain = Plain {
        device_id: ID,
        aliases: &BTreeMap::new(),
        channel: "amt",
        generation,
        run_id,
        created: "2026-11-21T00:00:00Z",
        username: "admin",
        password: &Password::generate_for_amt()?,
        endpoint: "16992/http-digest",
        policy_sha256: "",
        notes: "",
    };
    let recipients = [age::x25519::Identity::generate().to_public().to_string()];
    let sealed = escrow::seal(&plain, &recipients)?;
    store.put_escrow(ID, &sealed)?;
    let file = sealed.name.to_string();
    chain.record(
        store,
        Kind::Escrowed,
        json!({"channel": "amt", "generation": generation, "escrow": file}),
    )?;
    let realm = "Digest:0".to_owned();
    journal.append(JournalEntry::Begin {
        run_id: run_id.to_owned(),
        generation,
        realm,
        escrow: file.clone(),
        rotation: false,
    })?;
    journal.append(JournalEntry::Sending { call: "Setup".to_owned() })?;
    crate::probe::before("device mutating Setup");
    std::fs::write(out.join(DEVICE), &file)?;
    crate::probe::after("device mutating Setup");
    journal.append(JournalEntry::Sent { call: "Setup".to_owned(), answer: Answer::Accepted })?;
    let proof = json!({"channel": "amt", "generation": generation, "realm": "Digest:0", "control_mode": "ccm", "escrow": file});
    chain.record(store, Kind::Verified, proof)?;
    journal.append(JournalEntry::Closed { generation })?;
    Ok(())
}

#[test]
#[ignore = "the child of the other tests here"]
fn child() {
    change_of_state(Path::new(&std::env::var_os("OOB_CRASH_OUT").unwrap())).unwrap();
}

fn run(out: &Path, trace: &Path, kill_at: Option<u64>) -> ExitStatus {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "state::crash_tests::child"]);
    command.env("OOB_CRASH_OUT", out).env("OOB_PROBE_TRACE", trace);
    if let Some(number) = kill_at {
        command.env("OOB_PROBE_KILL", number.to_string());
    }
    command.output().unwrap().status
}

/// In memory where that can be had: a killed process loses nothing that it wrote, so the fsyncs need not cost anything.
fn quick_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// No credential is on the device that is not whole in the store.
fn assert_sealed(out: &Path, when: &str) {
    let stored = DirStore::at(out).stored(ID).unwrap();
    assert_eq!(stored.rejected, Vec::<String>::new(), "{when}");
    if let Ok(live) = std::fs::read_to_string(out.join(DEVICE)) {
        assert!(
            stored.escrow.iter().any(|name| name.to_string() == live),
            "{when}: {live} is live and not sealed"
        );
    }
}

#[test]
fn killed_anywhere_and_run_again() {
    let dir = quick_dir();
    let points = {
        let trace = dir.path().join("trace");
        assert!(run(&dir.path().join("whole"), &trace, None).success());
        std::fs::read_to_string(trace).unwrap().lines().count() as u64
    };
    assert!(points > 80, "{points}");
    for point in 1..=points {
        let out = dir.path().join(format!("out-{point}"));
        let trace = dir.path().join(format!("trace-{point}"));
        let status = run(&out, &trace, Some(point));
        assert_eq!(status.signal(), Some(9), "point {point}");
        let text = std::fs::read_to_string(&trace).unwrap();
        let last = text.lines().last().unwrap();
        assert!(last.starts_with(&format!("{point} ")), "{last}");
        assert_sealed(&out, last);
        assert!(run(&out, &trace, None).success(), "the run after {last}");
        assert_sealed(&out, &format!("after {last}"));
        let store = DirStore::at(&out);
        let history = fold(&store.stored(ID).unwrap(), &Journal::read(&store, ID).unwrap());
        assert!(!history.forked && history.open.is_none(), "after {last}: {history:?}");
        let live = std::fs::read_to_string(out.join(DEVICE)).unwrap();
        assert_eq!(history.amt.unwrap().escrow, live, "after {last}");
    }
}

/// The order that promise 2 rests on, read from the trace.
#[test]
fn each_write_is_durable_before_what_follows_it() {
    let dir = quick_dir();
    let trace = dir.path().join("trace");
    assert!(run(&dir.path().join("out"), &trace, None).success());
    let text = std::fs::read_to_string(trace).unwrap();
    let points: Vec<&str> = text.lines().map(|line| line.split_once(' ').unwrap().1).collect();
    let place = |point: &str, from: usize| {
        let found = points[from..].iter().position(|other| other.starts_with(point));
        from + found.unwrap_or_else(|| panic!("{point} is not in the trace after {from}:\n{text}"))
    };
    let device = place("before device mutating Setup", 0);
    let mut at = 0;
    let directory = format!("devices/ab/{ID}");
    for point in [
        format!("after disk.write {directory}/escrow/amt.1."),
        format!("after disk.fsync {directory}/escrow/amt.1."),
        format!("after disk.rename {directory}/escrow/amt.1."),
        format!("after disk.fsync-dir {directory}/escrow"),
        format!("after disk.rename {directory}/events/"),
        format!("after disk.fsync-dir {directory}/events"),
        format!("after disk.append local/{ID}/journal.jsonl"),
        format!("after disk.fsync local/{ID}/journal.jsonl"),
    ] {
        at = place(&point, at + 1);
    }
    assert!(at < device, "{text}");
    for write in points.iter().filter_map(|point| point.strip_prefix("before disk.write ")) {
        let steps = [
            "before disk.write",
            "after disk.write",
            "before disk.fsync",
            "after disk.fsync",
            "before disk.rename",
            "after disk.rename",
        ];
        let places: Vec<usize> = steps.iter().map(|step| place(&format!("{step} {write}"), 0)).collect();
        assert!(places.is_sorted(), "{write}: {places:?}");
        let parent = write.rsplit_once('/').unwrap().0;
        assert_eq!(points[places[5] + 1], format!("before disk.fsync-dir {parent}"));
    }
}
