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
    Disabling { call: String },
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
        Ok(Self { file, shown, path, entries })
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

    /// Closes a change whose proof, or that of a later one, is among the events: the run that wrote it died before it
    /// could say so here.
    pub fn close_proven(&mut self, history: &History) -> Result<(), StateError> {
        match (fold_open(&self.entries), &history.amt) {
            (Some(open), Some(ours)) if open.generation <= ours.generation => {
                self.append(JournalEntry::Closed { generation: open.generation })
            }
            _ => Ok(()),
        }
    }

    pub fn entries(&self) -> &[JournalEntry] {
        &self.entries
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

/// What AMT's wired addresses were before a run wrote settings and ended without comparing them. AMT that was taken back
/// has none of ours to keep. The earliest counts: what a later run found may be what was left of it.
pub(super) fn fold_addresses(entries: &[JournalEntry]) -> Option<WiredBefore> {
    entries.iter().fold(None, |open, entry| match entry {
        JournalEntry::Addresses { before } => open.or_else(|| Some(before.clone())),
        JournalEntry::AddressesKept | JournalEntry::Undone { .. } => None,
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
mod tests {
    use super::*;

    const ID: &str = "d1-abcdefghijklmnopqrstuvwxyz";

    fn begin(generation: u32) -> JournalEntry {
        let realm = "Digest:0".to_owned();
        JournalEntry::Begin {
            run_id: "r".to_owned(),
            generation,
            realm,
            escrow: "amt.1.0.age".to_owned(),
            rotation: false,
        }
    }
    fn sending() -> JournalEntry {
        JournalEntry::Sending { call: "Setup".to_owned() }
    }
    fn sent(answer: Answer) -> JournalEntry {
        JournalEntry::Sent { call: "Setup".to_owned(), answer }
    }
    use JournalEntry::{Closed, Undone};

    #[test]
    fn open_changes() {
        let open = |generation, call_sent| Some((generation, call_sent));
        let cases = [
            (vec![], None),
            (vec![sending()], None),
            (vec![begin(1)], open(1, false)),
            (vec![begin(1), sending()], open(1, true)),
            (vec![begin(1), sending(), sent(Answer::Unknown)], open(1, true)),
            (vec![begin(1), sending(), sent(Answer::Accepted)], open(1, true)),
            // Refused: what the device is now is not our doing.
            (vec![begin(1), sending(), sent(Answer::Refused)], open(1, false)),
            (vec![begin(1), sending(), sent(Answer::Accepted), Closed { generation: 1 }], None),
            (vec![begin(1), sending(), Undone { generation: 1 }], None),
            (vec![begin(1), sending(), Undone { generation: 2 }], open(1, true)),
            (vec![begin(1), begin(2)], open(2, false)),
            // Switching AMT off is no setup.
            (
                vec![begin(1), JournalEntry::Disabling { call: "CFG_DisableAndClearAMT".to_owned() }],
                open(1, false),
            ),
            (vec![begin(1), sending(), begin(2)], open(2, true)),
            (vec![begin(1), sending(), Undone { generation: 1 }, begin(2)], open(2, false)),
        ];
        for (entries, expected) in cases {
            let found = fold_open(&entries).map(|open| (open.generation, open.call_sent));
            assert_eq!(found, expected, "{entries:?}");
        }
    }

    #[test]
    fn an_unprovisioning_without_an_end_is_open_and_no_setup() {
        let leaving =
            || JournalEntry::Leaving { realm: "Digest:1".to_owned(), call: "Unprovision".to_owned() };
        let cases = [
            (vec![], None),
            (vec![leaving()], Some("Digest:1")),
            (vec![leaving(), leaving()], Some("Digest:1")),
            (vec![leaving(), JournalEntry::Left], None),
            (vec![JournalEntry::Left, leaving()], Some("Digest:1")),
            (vec![leaving(), begin(2)], None),
        ];
        for (entries, expected) in cases {
            assert_eq!(fold_leaving(&entries).as_deref(), expected, "{entries:?}");
        }
        assert_eq!(fold_open(&[leaving()]), None);
        assert_eq!(fold_open(&[begin(1), sending(), leaving(), JournalEntry::Left]).unwrap().generation, 1);
    }

    #[test]
    fn an_upgrade_that_was_not_refused_may_have_happened() {
        let upgrading = || JournalEntry::Upgrading { realm: "Digest:1".to_owned(), call: "U".to_owned() };
        let upgraded = |answer| JournalEntry::Upgraded { answer };
        for (entries, expected) in [
            (vec![], None),
            (vec![upgrading()], Some("Digest:1")),
            (vec![upgrading(), upgraded(Answer::Unknown)], Some("Digest:1")),
            (vec![upgrading(), upgraded(Answer::Accepted)], Some("Digest:1")),
            (vec![upgrading(), upgraded(Answer::Refused)], None),
            (vec![upgrading(), upgraded(Answer::Refused), upgrading()], Some("Digest:1")),
        ] {
            assert_eq!(fold_upgrading(&entries).as_deref(), expected, "{entries:?}");
            assert_eq!(fold_open(&entries), None, "its password stays");
        }
    }

    #[test]
    fn a_refused_commit_does_not_take_back_what_was_begun_before_it() {
        let commit = || JournalEntry::Sending { call: "CommitChanges".into() };
        let realm = || JournalEntry::Realm { realm: "Digest:1".into() };
        for (entries, call_sent) in [
            (vec![begin(1), sending(), sent(Answer::Accepted), commit(), sent(Answer::Refused)], true),
            (vec![begin(1), sending(), commit(), sent(Answer::Refused)], true),
            (vec![begin(1), sending(), sent(Answer::Refused), commit(), sent(Answer::Refused)], false),
            (
                vec![
                    begin(1),
                    sending(),
                    sent(Answer::Accepted),
                    Undone { generation: 1 },
                    begin(2),
                    sending(),
                    sent(Answer::Refused),
                ],
                false,
            ),
        ] {
            assert_eq!(fold_open(&entries).unwrap().call_sent, call_sent, "{entries:?}");
        }
        assert_eq!(fold_open(&[begin(1), sending(), realm()]).unwrap().realm, "Digest:1");
    }

    #[test]
    fn addresses_stay_open_until_they_were_compared_or_the_device_was_taken_back() {
        let of = |address: &str| JournalEntry::Addresses {
            before: WiredBefore {
                realm: "Digest:0".to_owned(),
                dhcp: Some(false),
                shared: None,
                sync: None,
                fixed: Some([Some(address.to_owned()), None, None, None, None]),
            },
        };
        let kept = || JournalEntry::AddressesKept;
        for (entries, open) in [
            (vec![], None),
            (vec![of("a")], Some("a")),
            (vec![of("a"), kept()], None),
            (vec![of("a"), of("b")], Some("a")),
            (vec![of("a"), kept(), of("b")], Some("b")),
            (vec![begin(1), sending(), of("a"), Undone { generation: 1 }], None),
            (vec![begin(1), sending(), of("a"), Closed { generation: 1 }], Some("a")),
        ] {
            let found = fold_addresses(&entries).and_then(|before| before.fixed?[0].clone());
            assert_eq!(found.as_deref(), open, "{entries:?}");
        }
    }

    fn rotate(generation: u32) -> JournalEntry {
        JournalEntry::Begin {
            run_id: format!("r{generation}"),
            generation,
            realm: "Digest:0".to_owned(),
            escrow: format!("amt.{generation}.0.age"),
            rotation: true,
        }
    }

    #[test]
    fn a_new_password_after_one_that_nobody_knows_of_leaves_both_open() {
        let mut entries = vec![rotate(2), sending(), sent(Answer::Unknown), rotate(3)];
        let open = fold_open(&entries).unwrap();
        assert!(open.rotation && open.call_sent, "the earlier one may be live");
        assert_eq!((open.run_id.as_str(), open.earlier.as_slice()), ("r3", &["amt.2.0.age".to_owned()][..]));
        entries.extend([sending(), sent(Answer::Refused)]);
        assert!(fold_open(&entries).unwrap().call_sent, "a refusal tells nothing of the earlier one");
        // One that was refused is no candidate.
        let refused = [rotate(2), sending(), sent(Answer::Refused), rotate(3)];
        let open = fold_open(&refused).unwrap();
        assert_eq!((open.call_sent, open.earlier.len()), (false, 0));
        // Only one password follows another; a setup that may be live is ended first.
        let dir = tempfile::tempdir().unwrap();
        let mut journal = opened(&DirStore::at(dir.path())).unwrap();
        for entry in [begin(1), sending()] {
            journal.append(entry).unwrap();
        }
        assert!(journal.append(rotate(2)).is_err());
        journal.append(Closed { generation: 1 }).unwrap();
        for entry in [rotate(2), sending(), rotate(3), sending()] {
            journal.append(entry).unwrap();
        }
        assert!(journal.append(begin(4)).is_err());
    }

    #[test]
    fn lines_of_before_there_was_rotation_are_read() {
        let line = encode(&begin(1)).unwrap();
        assert!(!String::from_utf8(line).unwrap().contains("rotation"));
        assert_eq!(decode(encode(&rotate(1)).unwrap().strip_suffix(b"\n").unwrap()), Some(rotate(1)));
    }

    fn opened(store: &DirStore) -> Result<Journal, StateError> {
        Journal::open(store, &store.lock(ID).unwrap())
    }

    #[test]
    fn keeps_its_lines_and_forgets_a_torn_one() {
        let dir = tempfile::tempdir().unwrap();
        let store = DirStore::at(dir.path());
        let path = store.disk().path(&journal_of(ID).unwrap());
        let mut journal = opened(&store).unwrap();
        journal.append(begin(1)).unwrap();
        journal.append(sending()).unwrap();
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        let first = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for end in first..whole.len() {
            std::fs::write(&path, &whole[..end]).unwrap();
            assert_eq!(Journal::read(&store, ID).unwrap(), [begin(1)], "cut at {end}");
            let mut journal = opened(&store).unwrap();
            assert_eq!(journal.entries(), [begin(1)]);
            journal.append(sending()).unwrap();
            drop(journal);
            assert_eq!(std::fs::read(&path).unwrap(), whole);
        }
    }

    #[test]
    fn a_damaged_line_in_the_middle_stops_everything() {
        let dir = tempfile::tempdir().unwrap();
        let store = DirStore::at(dir.path());
        let path = store.disk().path(&journal_of(ID).unwrap());
        let mut journal = opened(&store).unwrap();
        journal.append(begin(1)).unwrap();
        journal.append(sending()).unwrap();
        drop(journal);
        let text = std::fs::read_to_string(&path).unwrap();
        for damaged in [text.replacen("\"generation\":1", "\"generation\":2", 1), format!("\n{text}")] {
            assert_ne!(damaged, text);
            std::fs::write(&path, damaged).unwrap();
            assert!(matches!(opened(&store), Err(StateError::Corrupt { .. })));
        }
    }

    #[test]
    fn no_change_begins_over_one_that_may_be_live() {
        let dir = tempfile::tempdir().unwrap();
        let store = DirStore::at(dir.path());
        let mut journal = opened(&store).unwrap();
        journal.append(begin(1)).unwrap();
        journal.append(begin(2)).unwrap();
        journal.append(sending()).unwrap();
        assert!(journal.append(begin(3)).is_err());
        journal.append(Undone { generation: 2 }).unwrap();
        journal.append(begin(3)).unwrap();
    }
}
