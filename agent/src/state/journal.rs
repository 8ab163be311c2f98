//! The journal: what this machine's agent was about to do to the device, written down before it was done.
//!
//! It lies in `local/<id>/journal.jsonl` and never leaves the machine. It is the only witness by which a later run may
//! take back a half-done change: what the journal does not show, others did (DESIGN promise 3). Each line is JSON
//! with its own checksum and is fsynced before [`Journal::append`] returns.

use std::fs::File;
use std::io::Write;

use oob_policy::{History, OpenChange, WiredBefore};
use rustix::fs::{Mode, OFlags, open};
use serde::{Deserialize, Serialize};

use super::dir::{DirStore, Lock, local};
use super::disk::{Disk, sync_file};
use super::{StateError, sha256_hex};
use crate::probe;

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "kebab-case")]
pub enum JournalEntry {
    /// A credential is escrowed and about to be set; `realm` is the device's DigestRealm just before.
    /// `rotation`: in place of a password that the device has.
    Begin {
        run_id: String,
        generation: u32,
        realm: String,
        escrow: String,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        rotation: bool,
    },
    /// The mutating call is about to be sent.
    Sending { call: String },
    /// What became of it as far as the answer tells.
    Sent { call: String, answer: Answer },
    /// AMT is about to be switched off by its firmware. It sets no credential, so it opens no change.
    /// `again`: the event of an earlier run that did it, since which somebody else switched AMT on.
    Disabling {
        call: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        again: Option<String>,
    },
    /// What became of that as far as the answer tells.
    Disabled { call: String, answer: Answer },
    /// AMT is about to be switched on over MHC.
    Enabling { call: String },
    /// What became of that as far as the answer tells.
    Enabled { call: String, answer: Answer },
    /// AMT is about to be unprovisioned because policy asks for it; `realm` is the one it answers with just before.
    Leaving { realm: String, call: String },
    /// That came to its end: AMT was seen unprovisioned, or as it was.
    Left,
    /// AMT of ours is about to go from client to admin control mode; its password stays, so it opens no change.
    Upgrading { realm: String, call: String },
    /// What became of that: refused where AMT was seen in client control mode afterwards.
    Upgraded { answer: Answer },
    /// The certificate that AMT is about to be given for TLS, or was seen with: lower-case hex of its SHA-256.
    Certificate { sha256: String },
    /// The CA's certificate that AMT is about to be given as a trusted root: lower-case hex of its SHA-256.
    TrustedRoot { sha256: String },
    /// The DigestRealm that AMT names since the change began, where it is another one.
    Realm { realm: String },
    /// AMT's wired addresses before settings are written that may lose them.
    Addresses { before: WiredBefore },
    /// They were seen to be the same afterwards.
    AddressesKept,
    /// The change was taken back, and the device was seen without it.
    Undone { generation: u32 },
    /// The change was proven and recorded.
    Closed { generation: u32 },
}

/// What the device said to a mutating call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    Accepted,
    /// It said no, on a layer that cannot be mistaken: it did not act.
    Refused,
    /// Nothing, or nothing that tells.
    Unknown,
}

/// The open journal of one device.
pub struct Journal {
    file: File,
    shown: String,
    path: std::path::PathBuf,
    entries: Vec<JournalEntry>,
    /// How many of them are of earlier runs.
    earlier: usize,
}

impl Journal {
    /// Reads the journal without a lock and without repairing it: for `plan` and `verify`.
    pub fn read(store: &DirStore, device_id: &str) -> Result<Vec<JournalEntry>, StateError> {
        Ok(load(store.disk(), &journal_of(device_id)?)?.0)
    }

    /// Opens the journal for writing. The torn last line of a run that died is cut off.
    ///
    /// # Errors
    /// [`StateError::Corrupt`] where any other line is damaged: then nothing can be concluded, and a person must look.
    pub fn open(store: &DirStore, lock: &Lock) -> Result<Self, StateError> {
        let disk = store.disk();
        let shown = journal_of(lock.device_id())?;
        let directory = local(lock.device_id())?;
        disk.create_dirs(&directory)?;
        let (entries, good_bytes, all_bytes) = load(disk, &shown)?;
        let path = disk.path(&shown);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = open(&path, flags, Mode::RUSR | Mode::WUSR)
            .map(File::from)
            .map_err(|errno| StateError::io("opening", &path, errno))?;
        if good_bytes < all_bytes {
            file.set_len(good_bytes)
                .map_err(|error| StateError::io("cutting the torn end of", &path, error))?;
        }
        sync_file(&file, &path, &shown)?;
        disk.sync_dir(&directory)?;
        let earlier = entries.len();
        Ok(Self { file, shown, path, entries, earlier })
    }

    /// Writes a line and waits until it is on disk.
    ///
    /// # Errors
    /// Refuses to begin a change while an earlier one may be live on the device: that one is undone or closed first. One
    /// password may follow another, since whoever sends it has logged in.
    pub fn append(&mut self, entry: JournalEntry) -> Result<(), StateError> {
        if let (JournalEntry::Begin { rotation, .. }, Some(open)) = (&entry, fold_open(&self.entries))
            && open.call_sent
            && !(*rotation && open.rotation)
        {
            let what = format!("generation {} is not finished; undo or close it first", open.generation);
            return Err(StateError::corrupt(&self.path, &what));
        }
        let line = encode(&entry).map_err(|error| StateError::io("encoding a line of", &self.path, error))?;
        probe::before(format_args!("disk.append {}", self.shown));
        self.file.write_all(&line).map_err(|error| StateError::io("writing", &self.path, error))?;
        probe::after(format_args!("disk.append {}", self.shown));
        sync_file(&self.file, &self.path, &self.shown)?;
        self.entries.push(entry);
        Ok(())
    }

    /// Closes a change that the fold of this journal and the events knows an end of: a proof of it, or of a later one of the
    /// same AMT, whose run died before it could say so here; or AMT answers with the realm of another proof.
    pub fn close_proven(&mut self, history: &History) -> Result<(), StateError> {
        match (fold_open(&self.entries), &history.open) {
            (Some(open), None) => self.append(JournalEntry::Closed { generation: open.generation }),
            _ => Ok(()),
        }
    }

    pub fn entries(&self) -> &[JournalEntry] {
        &self.entries
    }

    /// Those that were there when this run began.
    pub fn earlier(&self) -> &[JournalEntry] {
        self.entries.get(..self.earlier).unwrap_or_default()
    }
}

/// The change that was begun and neither undone nor closed. A call whose answer is not known counts as sent: only the
/// device can tell. One that the device refused does not: what it is afterwards is others' doing.
pub fn fold_open(entries: &[JournalEntry]) -> Option<OpenChange> {
    let mut open: Option<OpenChange> = None;
    // Of several calls of one change, one that was not refused before.
    let (mut acted, mut pending) = (false, false);
    for entry in entries {
        match entry {
            JournalEntry::Begin { run_id, generation, realm, escrow, rotation } => {
                (acted, pending) = (false, false);
                let before = open.filter(|open| open.call_sent);
                let mut earlier = Vec::new();
                if let Some(before) = before.as_ref().filter(|before| *rotation && before.rotation) {
                    earlier.clone_from(&before.earlier);
                    earlier.push(before.escrow.clone());
                }
                open = Some(OpenChange {
                    generation: *generation,
                    realm: realm.clone(),
                    escrow: escrow.clone(),
                    call_sent: before.is_some(),
                    tls_pin: None,
                    rotation: *rotation,
                    run_id: run_id.clone(),
                    earlier,
                });
            }
            JournalEntry::Sending { .. } => {
                acted |= std::mem::replace(&mut pending, true);
                if let Some(open) = &mut open {
                    open.call_sent = true;
                }
            }
            JournalEntry::Certificate { sha256 } => {
                if let Some(open) = &mut open {
                    open.tls_pin = Some(sha256.clone());
                }
            }
            JournalEntry::TrustedRoot { .. } => {}
            JournalEntry::Realm { realm } => {
                if let Some(open) = &mut open {
                    open.realm.clone_from(realm);
                }
            }
            JournalEntry::Sent { answer, .. } => {
                pending = false;
                acted |= *answer != Answer::Refused;
                if let Some(open) = &mut open {
                    // A refusal tells nothing of an earlier change that was left open, nor of an earlier call of this one.
                    open.call_sent = acted || !open.earlier.is_empty();
                }
            }
            JournalEntry::Disabling { .. } | JournalEntry::Disabled { .. } => {}
            JournalEntry::Enabling { .. } | JournalEntry::Enabled { .. } => {}
            JournalEntry::Leaving { .. } | JournalEntry::Left => {}
            JournalEntry::Upgrading { .. } | JournalEntry::Upgraded { .. } => {}
            JournalEntry::Addresses { .. } | JournalEntry::AddressesKept => {}
            JournalEntry::Undone { generation } | JournalEntry::Closed { generation } => {
                open = open.filter(|open| open.generation != *generation);
            }
        }
    }
    open
}

/// The realm of an AMT whose unprovisioning was begun and has no end. A setup that came later tells that it had one.
pub fn fold_leaving(entries: &[JournalEntry]) -> Option<String> {
    let mut leaving = None;
    for entry in entries {
        match entry {
            JournalEntry::Leaving { realm, .. } => leaving = Some(realm.clone()),
            JournalEntry::Left | JournalEntry::Begin { .. } => leaving = None,
            _ => {}
        }
    }
    leaving
}

/// The realm of an AMT that was told to go up to admin control mode, and that was not seen to refuse.
pub fn fold_upgrading(entries: &[JournalEntry]) -> Option<String> {
    let mut upgrading = None;
    for entry in entries {
        match entry {
            JournalEntry::Upgrading { realm, .. } => upgrading = Some(realm.clone()),
            JournalEntry::Upgraded { answer: Answer::Refused } => upgrading = None,
            _ => {}
        }
    }
    upgrading
}

/// Whether AMT was told to switch itself off and was not seen to refuse. What was set up or switched on since was on.
pub(super) fn fold_disabling(entries: &[JournalEntry]) -> bool {
    entries.iter().fold(false, |off, entry| match entry {
        JournalEntry::Disabling { .. } => true,
        JournalEntry::Disabled { answer: Answer::Refused, .. }
        | JournalEntry::Enabling { .. }
        | JournalEntry::Begin { .. } => false,
        _ => off,
    })
}

/// The event of an earlier lockdown over which AMT was told to switch itself off again: what that one says of MEBx was
/// true before somebody else switched AMT on.
pub(super) fn fold_disabled_again(entries: &[JournalEntry]) -> Option<&str> {
    entries.iter().rev().find_map(|entry| match entry {
        JournalEntry::Disabling { again, .. } => Some(again.as_deref()),
        _ => None,
    })?
}

/// What AMT's wired addresses were before a run wrote settings and ended without comparing them. AMT that was taken back
/// has none of ours to keep. The earliest of one provisioning counts: what a later run found may be what was left of it.
pub(super) fn fold_addresses(entries: &[JournalEntry]) -> Option<WiredBefore> {
    // A new password that is taken back leaves AMT as it was set up.
    let set_up = |undone: &u32| {
        !entries.iter().any(|entry| match entry {
            JournalEntry::Begin { generation, rotation, .. } => *rotation && generation == undone,
            _ => false,
        })
    };
    entries.iter().fold(None, |open, entry| match entry {
        JournalEntry::Addresses { before } => {
            open.filter(|open| open.realm == before.realm).or_else(|| Some(before.clone()))
        }
        JournalEntry::AddressesKept => None,
        JournalEntry::Undone { generation } if set_up(generation) => None,
        _ => open,
    })
}

#[derive(Serialize, Deserialize)]
struct Line {
    #[serde(flatten)]
    entry: JournalEntry,
    /// First 16 hex digits of the sha256 of the entry alone.
    sum: String,
}

fn encode(entry: &JournalEntry) -> Result<Vec<u8>, serde_json::Error> {
    let mut line = serde_json::to_vec(&Line { entry: entry.clone(), sum: checksum(entry)? })?;
    line.push(b'\n');
    Ok(line)
}

fn decode(line: &[u8]) -> Option<JournalEntry> {
    let Line { entry, sum } = serde_json::from_slice(line).ok()?;
    (checksum(&entry).ok()? == sum).then_some(entry)
}

fn checksum(entry: &JournalEntry) -> Result<String, serde_json::Error> {
    let mut sum = sha256_hex(&serde_json::to_vec(entry)?);
    sum.truncate(16);
    Ok(sum)
}

/// Entries, the number of bytes they take, and the number of bytes there are.
fn load(disk: &Disk, shown: &str) -> Result<(Vec<JournalEntry>, u64, u64), StateError> {
    let bytes = disk.read(shown, MAX_BYTES)?.unwrap_or_default();
    let mut entries = Vec::new();
    let mut good = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let entry = line.strip_suffix(b"\n").and_then(decode);
        let is_last = good + line.len() == bytes.len();
        match entry {
            Some(entry) => entries.push(entry),
            // Its fsync had not returned, so nothing that depends on it was done.
            None if is_last => break,
            None => {
                let what = format!("line {} is damaged; look at the device by hand", entries.len() + 1);
                return Err(StateError::corrupt(&disk.path(shown), &what));
            }
        }
        good += line.len();
    }
    Ok((entries, good as u64, bytes.len() as u64))
}

fn journal_of(device_id: &str) -> Result<String, StateError> {
    Ok(format!("{}/journal.jsonl", local(device_id)?))
}

/// A run writes some ten lines of 200 bytes; this is thousands of runs.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
