//! Org state: what is known about each device, as a set of signed events and sealed credentials.
//!
//! A store is an append-only set of immutable files; merging two stores is set union. [`fold()`] turns a device's set into
//! the [`oob_policy::History`] that decisions are made from. Nothing here knows what a policy wants or how a device is
//! spoken to.

use std::io;
use std::path::{Path, PathBuf};

mod chain;
mod claims;
#[cfg(test)]
mod crash_tests;
mod dir;
mod disk;
mod durability;
mod event;
mod fold;
mod jcs;
mod journal;
mod run_id;
mod signer;
mod staging;
#[cfg(test)]
mod testing;

pub use chain::{Chain, Run, wall_time};
pub use claims::{CHANNEL, claims};
pub use dir::{DirStore, Lock};
pub use disk::{Disk, Entry, Written};
pub use durability::{Durability, durability};
pub use event::{
    Actor, Event, EventAgent, EventError, EventPolicy, EventTime, Evidence, Kind, Medium, SignedEvent,
};
pub use fold::{fold, fold_answering};
pub use jcs::canonical;
pub use journal::{Answer, Journal, JournalEntry, fold_leaving, fold_open, fold_upgrading};
pub use run_id::new_run_id;
pub use signer::Signer;
pub use staging::MANIFEST;

use crate::escrow::{EscrowName, Sealed};

/// A sink for org state. Every sink keeps the same bytes under the same names. `Ok` means: it survives as this sink
/// survives (for a directory, what [`durability()`] says of it).
pub trait OrgState {
    /// Adds an event. The same event again is success.
    fn put_event(&self, event: &SignedEvent) -> Result<Written, StateError>;

    /// Adds a sealed credential. The same file again is success.
    fn put_escrow(&self, device_id: &str, sealed: &Sealed) -> Result<Written, StateError>;

    /// Adds raw evidence under its hash, which is returned as hex.
    fn put_evidence(&self, device_id: &str, bytes: &[u8]) -> Result<String, StateError>;

    /// Adds a derived page or record, such as `<run_id>.html`.
    fn put_report(&self, device_id: &str, name: &str, bytes: &[u8]) -> Result<Written, StateError>;

    /// All that is known of a device, read with distrust; empty for a device never seen.
    fn stored(&self, device_id: &str) -> Result<Stored, StateError>;
}

/// What a sink holds of one device. Order means nothing.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    pub events: Vec<SignedEvent>,
    pub escrow: Vec<EscrowName>,
    /// Names of what was not believed, each with the reason; foreign text, to be escaped where shown.
    pub rejected: Vec<String>,
}

/// Why org state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("{doing} {}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    /// Something is there that must not be there; it was left as it is.
    #[error("{} is not what it should be: {what}", path.display())]
    Corrupt { path: PathBuf, what: String },
    #[error("another oob-agent is at work on {device_id} in {}; run again when it has ended", out.display())]
    Busy { device_id: String, out: PathBuf },
    /// Live and other devices never share a directory.
    #[error(
        "{device_id} in this store is {theirs}, and this run is {ours}; give another --out, so that they never mix"
    )]
    OtherRoot { device_id: String, theirs: String, ours: String },
    #[error("{0:?} is not a name that a store can hold")]
    Name(String),
    #[error("making random bytes: {0}")]
    Random(getrandom::Error),
    #[error("writing an event")]
    Event(#[from] EventError),
}

impl StateError {
    fn io(doing: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io { doing, path: path.to_owned(), source: source.into() }
    }

    fn corrupt(path: &Path, what: &str) -> Self {
        Self::Corrupt { path: path.to_owned(), what: what.to_owned() }
    }

    fn random(error: getrandom::Error) -> Self {
        Self::Random(error)
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).into()
}

/// Lower-case hex of the sha256.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&sha256(bytes))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Lower-case hex of exactly `N` bytes.
pub(crate) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    if text.len() != N * 2 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = digit(*high)? * 16 + digit(*low)?;
    }
    Some(bytes)
}
