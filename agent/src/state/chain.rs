//! Writing events: each names the one before it, and only one that is stored can be named.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::sync::OnceLock;
use std::time::Instant;

use oob_policy::{History, RootKind};
use serde_json::Value;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::event::{Actor, Event, EventAgent, EventPolicy, EventTime, Evidence, Kind, Medium};
use super::signer::Signer;
use super::{OrgState, StateError, hex};

/// What all events of one run have in common.
#[derive(Clone, Debug)]
pub struct Run {
    pub device_id: String,
    /// See [`super::new_run_id`].
    pub run_id: String,
    pub root: RootKind,
    pub policy: Option<EventPolicy>,
    pub medium: Medium,
    /// `rtc`, `ntp` or `server`.
    pub clock_source: String,
}

/// The growing end of a device's chain of events.
pub struct Chain {
    run: Run,
    signer: Signer,
    seq: u64,
    prev: Option<String>,
    began: Instant,
}

impl Chain {
    /// Goes on from the head that the fold found.
    pub fn resume(run: Run, signer: Signer, history: &History) -> Self {
        Self { run, signer, seq: history.seq, prev: history.head.clone(), began: Instant::now() }
    }

    /// Signs and stores an event, and returns its id. After an error the chain stands where it stood.
    pub fn record(&mut self, store: &dyn OrgState, kind: Kind, body: Value) -> Result<String, StateError> {
        self.record_with(store, kind, body, BTreeMap::new())
    }

    /// [`Chain::record`] with evidence.
    pub fn record_with(
        &mut self,
        store: &dyn OrgState,
        kind: Kind,
        body: Value,
        evidence: BTreeMap<String, Evidence>,
    ) -> Result<String, StateError> {
        let event = Event {
            schema: Event::SCHEMA.to_owned(),
            kind,
            device_id: self.run.device_id.clone(),
            run_id: self.run.run_id.clone(),
            seq: self.seq.saturating_add(1),
            prev: self.prev.clone(),
            agent: this_agent(),
            actor: Actor { pubkey: hex(&self.signer.public_key()) },
            actor_vouched: self.signer.vouched(),
            medium: self.run.medium.clone(),
            root: self.run.root,
            time: EventTime {
                wall: wall_time(),
                source: self.run.clock_source.clone(),
                monotonic_ms: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            },
            policy: self.run.policy.clone(),
            body,
            evidence,
        };
        let signed = event.sign(&self.signer)?;
        store.put_event(&signed)?;
        self.seq = event.seq;
        self.prev = Some(signed.id.clone());
        Ok(signed.id)
    }

    pub fn run(&self) -> &Run {
        &self.run
    }
}

pub fn wall_time() -> String {
    OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_else(|_| "unknown".to_owned())
}

/// Name, version and hash of the running binary; hashed once per process.
fn this_agent() -> EventAgent {
    static SHA256: OnceLock<Option<String>> = OnceLock::new();
    EventAgent {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        sha256: SHA256.get_or_init(own_sha256).clone(),
    }
}

fn own_sha256() -> Option<String> {
    let mut file = File::open("/proc/self/exe").ok()?;
    let mut hasher = Sha256::new();
    let mut block = vec![0; 64 * 1024];
    loop {
        match file.read(&mut block).ok()? {
            0 => return Some(hex(&hasher.finalize())),
            read => hasher.update(block.get(..read)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use serde_json::json;

    use super::super::testing::signer;
    use super::super::{DirStore, SignedEvent, Stored, Written, fold};
    use super::*;
    use crate::escrow::Sealed;

    const ID: &str = "d1-abcdefghijklmnopqrstuvwxyz";

    fn run() -> Run {
        Run {
            device_id: ID.to_owned(),
            run_id: "r".to_owned(),
            root: RootKind::Simulated,
            policy: None,
            medium: Medium::default(),
            clock_source: "rtc".to_owned(),
        }
    }

    #[test]
    fn events_of_two_runs_make_one_chain() {
        let dir = tempfile::tempdir().unwrap();
        let store = DirStore::at(dir.path());
        for round in 1..=2 {
            let history = fold(&store.stored(ID).unwrap(), &[]);
            let mut chain = Chain::resume(run(), signer(round), &history);
            chain.record(&store, Kind::Observed, json!({})).unwrap();
            chain.record(&store, Kind::Note, json!({"round": round})).unwrap();
        }
        let history = fold(&store.stored(ID).unwrap(), &[]);
        assert_eq!((history.seq, history.forked), (4, false));
        assert_eq!(history.rejected, Vec::<String>::new());
    }

    #[test]
    fn an_event_that_was_not_stored_is_never_named() {
        struct Full(Cell<bool>);
        impl OrgState for Full {
            fn put_event(&self, event: &SignedEvent) -> Result<Written, StateError> {
                if self.0.replace(false) { Err(StateError::Name(event.id.clone())) } else { Ok(Written::New) }
            }
            fn put_escrow(&self, _: &str, _: &Sealed) -> Result<Written, StateError> {
                Ok(Written::New)
            }
            fn put_evidence(&self, _: &str, _: &[u8]) -> Result<String, StateError> {
                Ok(String::new())
            }
            fn put_report(&self, _: &str, _: &str, _: &[u8]) -> Result<Written, StateError> {
                Ok(Written::New)
            }
            fn stored(&self, _: &str) -> Result<Stored, StateError> {
                Ok(Stored::default())
            }
        }
        let mut chain = Chain::resume(run(), signer(1), &History::default());
        assert!(chain.record(&Full(Cell::new(true)), Kind::Observed, json!({})).is_err());
        assert_eq!((chain.seq, &chain.prev), (0, &None));
        let id = chain.record(&Full(Cell::new(false)), Kind::Observed, json!({})).unwrap();
        assert_eq!((chain.seq, &chain.prev), (1, &Some(id)));
    }

    #[test]
    fn agent_names_its_own_binary() {
        let hash = this_agent().sha256.unwrap();
        assert_eq!(hash, super::super::sha256_hex(&std::fs::read("/proc/self/exe").unwrap()));
    }
}
