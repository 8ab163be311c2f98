//! Org state in a directory: the default sink, always on, and the byte format of all others.
//!
//! ```text
//! OUT/devices/<id[3..5]>/<id>/{events,escrow,evidence,reports}
//! OUT/local/<id>/{lock,journal.jsonl}   OUT/local/seed      never leave the machine
//! ```

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use oob_policy::RootKind;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;

use super::disk::{Disk, Entry, Written};
use super::event::{Event, SignedEvent};
use super::{OrgState, StateError, Stored, sha256_hex};
use crate::escrow::{EscrowName, Sealed};

/// The store at `--out`. Opening and reading it creates nothing.
pub struct DirStore {
    disk: Disk,
    /// Root kind of each device's events, once it is known.
    roots: Mutex<BTreeMap<String, RootKind>>,
}

/// Keeps other agents away from one device, until dropped. The kernel drops it when the process dies.
pub struct Lock {
    device_id: String,
    file: File,
}

impl Drop for Lock {
    /// Closing alone would leave the lock to a child process that is between fork and exec.
    fn drop(&mut self) {
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

impl Lock {
    pub fn device_id(&self) -> &str {
        &self.device_id
    }
}

impl DirStore {
    /// Does no I/O.
    pub fn at(out: &Path) -> Self {
        Self { disk: Disk::at(out), roots: Mutex::default() }
    }

    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Creates the store's own directories: the first proof that `--out` can be written. Any error means exit 4.
    pub fn prepare(&self) -> Result<(), StateError> {
        self.disk.create_dirs("devices")?;
        self.disk.create_dirs("local")
    }

    /// Takes the device for this process and clears away what dead runs left half-written.
    ///
    /// # Errors
    /// [`StateError::Busy`] where another agent holds it.
    pub fn lock(&self, device_id: &str) -> Result<Lock, StateError> {
        let (directory, device) = (local(device_id)?, device(device_id)?);
        self.disk.create_dirs(&directory)?;
        let path = self.disk.path(&format!("{directory}/lock"));
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = open(&path, flags, Mode::RUSR | Mode::WUSR)
            .map(File::from)
            .map_err(|errno| StateError::io("opening", &path, errno))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let out = self.disk.root().to_owned();
                return Err(StateError::Busy { device_id: device_id.to_owned(), out });
            }
            Err(errno) => return Err(StateError::io("locking", &path, errno)),
        }
        for part in PARTS {
            self.disk.create_dirs(&format!("{device}/{part}"))?;
            self.disk.clean(&format!("{device}/{part}"))?;
        }
        self.disk.clean(&directory)?;
        Ok(Lock { device_id: device_id.to_owned(), file })
    }

    /// Refuses a store in which this device was seen through another kind of root. Live and other machines never share a
    /// directory, and neither do a capture and a simulation.
    pub fn check_root(&self, device_id: &str, root: RootKind) -> Result<(), StateError> {
        let known = self.roots.lock().unwrap_or_else(PoisonError::into_inner).get(device_id).copied();
        let theirs = match known {
            Some(known) => Some(known),
            None => {
                self.stored(device_id)?.events.iter().map(|event| event.event.root).find(|kind| *kind != root)
            }
        };
        match theirs.filter(|kind| *kind != root) {
            Some(theirs) => Err(StateError::OtherRoot {
                device_id: device_id.to_owned(),
                theirs: theirs.word().to_owned(),
                ours: root.word().to_owned(),
            }),
            None => {
                let mut roots = self.roots.lock().unwrap_or_else(PoisonError::into_inner);
                roots.insert(device_id.to_owned(), root);
                Ok(())
            }
        }
    }

    /// The 32 random bytes from which a machine without any identity gets a weak one; made on first use.
    pub fn weak_seed(&self) -> Result<[u8; 32], StateError> {
        if let Some(seed) = self.read_seed()? {
            return Ok(seed);
        }
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(StateError::random)?;
        match self.disk.write_new(SEED, &seed) {
            Ok(_) => Ok(seed),
            // Another agent was first.
            Err(error @ StateError::Corrupt { .. }) => self.read_seed()?.ok_or(error),
            Err(error) => Err(error),
        }
    }

    /// [`DirStore::weak_seed`] where there is one already; creates nothing.
    pub fn read_seed(&self) -> Result<Option<[u8; 32]>, StateError> {
        let Some(bytes) = self.disk.read(SEED, 32)? else { return Ok(None) };
        match <[u8; 32]>::try_from(bytes) {
            Ok(seed) => Ok(Some(seed)),
            Err(_) => Err(StateError::corrupt(&self.disk.path(SEED), "it has not 32 bytes")),
        }
    }

    fn read_event(&self, path: &str, name: &str, device_id: &str) -> Result<SignedEvent, String> {
        let bytes = self.read_believed(path, MAX_ENVELOPE)?;
        let event = SignedEvent::open(&bytes).map_err(|error| error.to_string())?;
        if event.file_name() != name {
            return Err(format!("its content belongs under {}", event.file_name()));
        }
        if event.event.device_id != device_id {
            return Err("it tells of another device".to_owned());
        }
        Ok(event)
    }

    fn read_escrow(&self, path: &str, name: &str) -> Result<EscrowName, String> {
        let parsed = EscrowName::parse(name).ok_or("its name is not an escrow file's")?;
        let bytes = self.read_believed(path, MAX_ESCROW)?;
        match sha256_hex(&bytes).starts_with(&parsed.hash) {
            true => Ok(parsed),
            false => Err("its content does not match the hash in its name".to_owned()),
        }
    }

    fn read_believed(&self, path: &str, limit: u64) -> Result<Vec<u8>, String> {
        match self.disk.read(path, limit) {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err("it vanished".to_owned()),
            Err(StateError::Corrupt { what, .. }) => Err(what),
            Err(StateError::Io { doing, source, .. }) => Err(format!("{doing}: {source}")),
            Err(other) => Err(other.to_string()),
        }
    }

    /// Reads every name in a part of the device's directory; what `read` does not take is rejected with its reason.
    fn collect<T>(
        &self,
        directory: &str,
        rejected: &mut Vec<String>,
        read: impl Fn(&str, &str) -> Result<T, String>,
    ) -> Result<Vec<T>, StateError> {
        let (entries, more) = self.disk.list(directory, MAX_FILES)?;
        if more {
            // Which of them were read would be chance, and with it what this device's history says.
            let what = format!("it has more than {MAX_FILES} files; move away what no agent wrote");
            return Err(StateError::corrupt(&self.disk.path(directory), &what));
        }
        let mut found = Vec::new();
        for Entry { name, is_file, .. } in entries {
            let taken = match name.to_str() {
                Some(name) if is_file => read(&format!("{directory}/{name}"), name),
                Some(_) => Err("it is not a regular file".to_owned()),
                None => Err("its name is not text".to_owned()),
            };
            match taken {
                Ok(value) => found.push(value),
                Err(reason) => rejected.push(format!("{}: {reason}", name.display())),
            }
        }
        Ok(found)
    }
}

impl OrgState for DirStore {
    fn put_event(&self, event: &SignedEvent) -> Result<Written, StateError> {
        let id = &event.event.device_id;
        self.check_root(id, event.event.root)?;
        self.disk.write_new(&format!("{}/events/{}", device(id)?, event.file_name()), &event.envelope)
    }

    fn put_escrow(&self, device_id: &str, sealed: &Sealed) -> Result<Written, StateError> {
        let name = sealed.name.to_string();
        let parsed =
            EscrowName::parse(&name).filter(|parsed| sha256_hex(&sealed.bytes).starts_with(&parsed.hash));
        let name = parsed.ok_or(StateError::Name(name))?;
        self.disk.write_new(&format!("{}/escrow/{name}", device(device_id)?), &sealed.bytes)
    }

    fn put_evidence(&self, device_id: &str, bytes: &[u8]) -> Result<String, StateError> {
        let hash = sha256_hex(bytes);
        self.disk.write_new(&format!("{}/evidence/{hash}", device(device_id)?), bytes)?;
        Ok(hash)
    }

    fn put_report(&self, device_id: &str, name: &str, bytes: &[u8]) -> Result<Written, StateError> {
        let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'.';
        if name.is_empty() || name.starts_with('.') || !name.bytes().all(plain) {
            return Err(StateError::Name(name.to_owned()));
        }
        self.disk.write_new(&format!("{}/reports/{name}", device(device_id)?), bytes)
    }

    fn stored(&self, device_id: &str) -> Result<Stored, StateError> {
        let device = device(device_id)?;
        let mut rejected = Vec::new();
        let read_event = |path: &str, name: &str| self.read_event(path, name, device_id);
        let events = self.collect(&format!("{device}/events"), &mut rejected, read_event)?;
        let read_escrow = |path: &str, name: &str| self.read_escrow(path, name);
        let escrow = self.collect(&format!("{device}/escrow"), &mut rejected, read_escrow)?;
        Ok(Stored { events, escrow, rejected })
    }
}

/// The device's directory below the store.
pub(super) fn device(device_id: &str) -> Result<String, StateError> {
    let name = checked(device_id)?;
    Ok(format!("devices/{}/{name}", name.get(3..5).unwrap_or_default()))
}

/// The directory of what never leaves the machine.
pub(super) fn local(device_id: &str) -> Result<String, StateError> {
    Ok(format!("local/{}", checked(device_id)?))
}

/// `d1-` and 26 characters of lower-case base32: nothing that could leave the store.
fn checked(device_id: &str) -> Result<&str, StateError> {
    let is_base32 = |c: u8| c.is_ascii_lowercase() || (b'2'..=b'7').contains(&c);
    match device_id.strip_prefix("d1-") {
        Some(rest) if rest.len() == 26 && rest.bytes().all(is_base32) => Ok(device_id),
        _ => Err(StateError::Name(device_id.to_owned())),
    }
}

const PARTS: [&str; 4] = ["events", "escrow", "evidence", "reports"];
const SEED: &str = "local/seed";
const MAX_FILES: usize = 20_000;
/// Base64 of the largest payload, and what stands around it.
const MAX_ENVELOPE: u64 = (Event::MAX_BYTES * 4 / 3 + 4096) as u64;
const MAX_ESCROW: u64 = 256 * 1024;

#[cfg(test)]
#[path = "dir_tests.rs"]
mod tests;
