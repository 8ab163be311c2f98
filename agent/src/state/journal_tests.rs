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
            vec![
                begin(1),
                JournalEntry::Disabling { call: "CFG_DisableAndClearAMT".to_owned(), again: None },
            ],
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
    let leaving = || JournalEntry::Leaving { realm: "Digest:1".to_owned(), call: "Unprovision".to_owned() };
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
fn what_was_told_to_switch_itself_off_is_off_until_it_refuses_or_is_used_again() {
    let call = || "CFG_DisableAndClearAMT".to_owned();
    let disabling = || JournalEntry::Disabling { call: call(), again: None };
    let disabled = |answer| JournalEntry::Disabled { call: call(), answer };
    for (entries, expected) in [
        (vec![], false),
        (vec![disabling()], true),
        (vec![disabling(), disabled(Answer::Accepted)], true),
        (vec![disabling(), disabled(Answer::Unknown)], true),
        (vec![disabling(), disabled(Answer::Refused)], false),
        (vec![disabling(), JournalEntry::Enabling { call: call() }], false),
        (vec![disabling(), begin(2)], false),
        (vec![begin(1), sending(), Closed { generation: 1 }, disabling(), JournalEntry::Left], true),
    ] {
        assert_eq!(fold_disabling(&entries), expected, "{entries:?}");
    }
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
    let under = |realm: &str, address: &str| JournalEntry::Addresses {
        before: WiredBefore {
            realm: realm.to_owned(),
            dhcp: Some(false),
            shared: None,
            sync: None,
            fixed: Some([Some(address.to_owned()), None, None, None, None]),
        },
    };
    let of = |address: &str| under("Digest:0", address);
    let kept = || JournalEntry::AddressesKept;
    for (entries, open) in [
        (vec![], None),
        (vec![of("a")], Some("a")),
        (vec![of("a"), kept()], None),
        (vec![of("a"), of("b")], Some("a")),
        (vec![of("a"), kept(), of("b")], Some("b")),
        // Of a provisioning that nobody ended by this journal.
        (vec![of("a"), under("Digest:1", "b"), under("Digest:1", "c")], Some("b")),
        (vec![begin(1), sending(), of("a"), Undone { generation: 1 }], None),
        (vec![begin(1), sending(), of("a"), Closed { generation: 1 }], Some("a")),
        // A new password that AMT refused takes back no setting.
        (vec![of("a"), rotate(2), sending(), sent(Answer::Refused), Undone { generation: 2 }], Some("a")),
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

#[test]
fn a_change_is_closed_where_the_fold_knows_its_end_and_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = opened(&DirStore::at(dir.path())).unwrap();
    for entry in [rotate(2), sending()] {
        journal.append(entry).unwrap();
    }
    let open = History { open: fold_open(journal.entries()), ..History::default() };
    journal.close_proven(&open).unwrap();
    assert_eq!(journal.entries().len(), 2, "still open");
    journal.close_proven(&History::default()).unwrap();
    journal.close_proven(&History::default()).unwrap();
    assert_eq!(journal.entries()[2..], [Closed { generation: 2 }]);
}
