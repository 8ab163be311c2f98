use std::os::unix::fs::symlink;

use serde_json::json;

use super::super::Kind;
use super::super::testing::{event, signer};
use super::*;

const ID: &str = "d1-abcdefghijklmnopqrstuvwxyz";
const OTHER: &str = "d1-bbcdefghijklmnopqrstuvwxyz";

fn signed(id: &str, seq: u64) -> SignedEvent {
    event(id, seq, None, Kind::Observed, json!({})).sign(&signer(1)).unwrap()
}

fn sealed(content: &str) -> Sealed {
    let sha256 = sha256_hex(content.as_bytes());
    let name = EscrowName { channel: "amt".to_owned(), generation: 1, hash: sha256[..16].to_owned() };
    Sealed { name, bytes: content.as_bytes().to_vec(), sha256 }
}

#[test]
fn layout() {
    let dir = tempfile::tempdir().unwrap();
    let store = DirStore::at(dir.path());
    let event = signed(ID, 1);
    store.put_event(&event).unwrap();
    let sealed = sealed("x");
    store.put_escrow(ID, &sealed).unwrap();
    store.put_report(ID, "019a.html", b"page").unwrap();
    let hash = store.put_evidence(ID, b"hfsts").unwrap();
    let device = dir.path().join("devices/ab").join(ID);
    assert_eq!(std::fs::read(device.join("events").join(event.file_name())).unwrap(), event.envelope);
    assert_eq!(std::fs::read(device.join("escrow").join(sealed.name.to_string())).unwrap(), b"x");
    assert_eq!(std::fs::read(device.join("evidence").join(hash)).unwrap(), b"hfsts");
    assert_eq!(std::fs::read(device.join("reports/019a.html")).unwrap(), b"page");
    let stored = store.stored(ID).unwrap();
    assert_eq!(stored.events, [event]);
    assert_eq!(stored.escrow, [sealed.name]);
    assert!(stored.rejected.is_empty());
}

#[test]
fn reading_creates_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let store = DirStore::at(&out);
    assert!(store.stored(ID).unwrap().events.is_empty());
    store.check_root(ID, RootKind::Live).unwrap();
    assert_eq!(store.read_seed().unwrap(), None);
    assert!(!out.exists());
}

#[test]
fn two_agents_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (DirStore::at(dir.path()), DirStore::at(dir.path()));
    let lock = one.lock(ID).unwrap();
    let error = two.lock(ID).err().unwrap();
    assert!(matches!(error, StateError::Busy { .. }), "{error}");
    two.lock(OTHER).unwrap();
    drop(lock);
    two.lock(ID).unwrap();
}

#[test]
fn the_lock_holder_clears_leftovers() {
    let dir = tempfile::tempdir().unwrap();
    let store = DirStore::at(dir.path());
    drop(store.lock(ID).unwrap());
    let leftover = dir.path().join("devices/ab").join(ID).join("escrow/.tmp-1-2");
    std::fs::write(&leftover, b"half").unwrap();
    assert!(store.stored(ID).unwrap().rejected.is_empty());
    drop(store.lock(ID).unwrap());
    assert!(!leftover.exists());
}

#[test]
fn kinds_of_root_never_mix() {
    let dir = tempfile::tempdir().unwrap();
    DirStore::at(dir.path()).put_event(&signed(ID, 1)).unwrap();
    let store = DirStore::at(dir.path());
    for root in [RootKind::Live, RootKind::Capture] {
        let error = store.check_root(ID, root).unwrap_err();
        assert!(matches!(error, StateError::OtherRoot { .. }), "{error}");
        let mut event = event(ID, 2, None, Kind::Observed, json!({}));
        event.root = root;
        assert!(store.put_event(&event.sign(&signer(1)).unwrap()).is_err());
    }
    store.check_root(ID, RootKind::Simulated).unwrap();
    store.check_root(OTHER, RootKind::Live).unwrap();
}

#[test]
fn hostile_content_is_rejected_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let store = DirStore::at(dir.path());
    store.put_event(&signed(ID, 1)).unwrap();
    store.put_escrow(ID, &sealed("x")).unwrap();
    let events = dir.path().join("devices/ab").join(ID).join("events");
    let escrow = dir.path().join("devices/ab").join(ID).join("escrow");
    let put = |name: &str, bytes: &[u8]| std::fs::write(events.join(name), bytes).unwrap();
    put("garbage.dsse.json", b"{");
    put("deep.dsse.json", "[".repeat(100_000).as_bytes());
    put("huge.dsse.json", &vec![b' '; usize::try_from(MAX_ENVELOPE).unwrap() + 1]);
    put("escape\u{1b}[2J.dsse.json", b"");
    let other = signed(OTHER, 1);
    put(&other.file_name(), &other.envelope);
    put("renamed.dsse.json", &signed(ID, 2).envelope);
    symlink("/etc/passwd", events.join("link.dsse.json")).unwrap();
    std::fs::create_dir(events.join("dir.dsse.json")).unwrap();
    std::fs::write(escrow.join("amt.9.0123456789abcdef.age"), b"other").unwrap();
    std::fs::write(escrow.join("amt.9.age"), b"old form").unwrap();
    let stored = store.stored(ID).unwrap();
    assert_eq!((stored.events.len(), stored.escrow.len()), (1, 1));
    assert_eq!(stored.rejected.len(), 10, "{:#?}", stored.rejected);
    for word in ["longer than", "another device", "belongs under", "regular file", "hash in its name"] {
        assert!(stored.rejected.iter().any(|line| line.contains(word)), "{word}: {:#?}", stored.rejected);
    }
}

#[test]
fn names_that_would_leave_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = DirStore::at(dir.path());
    for id in [
        "",
        "d1-",
        "d1-../../../../etc/passwd.......",
        "d1-ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        "d2-abcdefghijklmnopqrstuvwxyz",
    ] {
        assert!(store.lock(id).is_err(), "{id}");
        assert!(store.stored(id).is_err(), "{id}");
        assert!(store.put_event(&signed(id, 1)).is_err(), "{id}");
        assert!(store.put_evidence(id, b"").is_err(), "{id}");
    }
    for name in ["", ".", "../x", "a/b", ".hidden", "a b"] {
        assert!(store.put_report(ID, name, b"").is_err(), "{name}");
    }
    let mut wrong = sealed("x");
    wrong.bytes.push(b'y');
    assert!(store.put_escrow(ID, &wrong).is_err());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn the_seed_stays() {
    let dir = tempfile::tempdir().unwrap();
    let seed = DirStore::at(dir.path()).weak_seed().unwrap();
    assert_eq!(DirStore::at(dir.path()).weak_seed().unwrap(), seed);
    std::fs::write(dir.path().join("local/seed"), b"short").unwrap();
    assert!(DirStore::at(dir.path()).weak_seed().is_err());
}
