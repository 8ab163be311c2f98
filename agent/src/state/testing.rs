//! Fixtures for the tests of this module.

use std::collections::BTreeMap;

use oob_policy::RootKind;
use serde_json::Value;

use super::event::{Actor, Event, EventAgent, EventTime, Kind, Medium};
use super::hex;
use super::signer::Signer;

/// A fixed key, by number.
pub(super) fn signer(number: u8) -> Signer {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("seed");
    std::fs::write(&path, [number; 32]).unwrap();
    Signer::from_file(&path).unwrap()
}

/// An event of `signer(1)` with fixed time and agent.
pub(super) fn event(device_id: &str, seq: u64, prev: Option<&str>, kind: Kind, body: Value) -> Event {
    Event {
        schema: Event::SCHEMA.to_owned(),
        kind,
        device_id: device_id.to_owned(),
        run_id: "019aa000-0000-7000-8000-000000000000".to_owned(),
        seq,
        prev: prev.map(str::to_owned),
        agent: EventAgent { name: "oob-agent".to_owned(), version: "0.0.0".to_owned(), sha256: None },
        actor: Actor { pubkey: hex(&signer(1).public_key()) },
        actor_vouched: true,
        medium: Medium::default(),
        root: RootKind::Simulated,
        time: EventTime {
            wall: "2026-11-21T00:00:00Z".to_owned(),
            source: "rtc".to_owned(),
            monotonic_ms: 5,
        },
        policy: None,
        body,
        evidence: BTreeMap::new(),
    }
}
