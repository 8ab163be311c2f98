use std::process::{Command, Stdio};

use age::secrecy::ExposeSecret;
use age::x25519::Identity;
use serde_json::Value;

use super::*;

fn seal_for(recipients: &[String], notes: &str) -> Result<Sealed, SealError> {
    let password = Password::from_text("canary-Pa55word!".to_owned());
    let aliases = BTreeMap::from([("serial".to_owned(), "PC\"1\"\u{202e}".to_owned())]);
    seal(
        &Plain {
            device_id: "d1-abcdefghijklmnopqrstuvwxyz",
            aliases: &aliases,
            channel: "amt",
            generation: 3,
            run_id: "019aa000-0000-7000-8000-000000000000",
            created: "2026-11-21T00:00:00Z",
            username: "admin",
            password: &password,
            endpoint: "16992/http-digest",
            policy_sha256: &"0".repeat(64),
            notes,
        },
        recipients,
    )
}

fn two() -> ([Identity; 2], Vec<String>) {
    let identities = [Identity::generate(), Identity::generate()];
    let recipients = identities.iter().map(|identity| identity.to_public().to_string()).collect();
    (identities, recipients)
}

#[test]
fn each_recipient_alone_can_open_it() {
    let (identities, recipients) = two();
    let sealed = seal_for(&recipients, "").unwrap();
    for identity in &identities {
        let plain = age::decrypt(identity, &sealed.bytes).unwrap();
        assert_eq!(plain.len(), PADDING);
        let document: Value = serde_json::from_slice(&plain).unwrap();
        assert_eq!(document["schema"], "oob-secret/1");
        assert_eq!(document["password"], "canary-Pa55word!");
        assert_eq!(document["device_id"], "d1-abcdefghijklmnopqrstuvwxyz");
        assert_eq!(document["generation"], 3);
        assert_eq!(document["aliases"]["serial"], "PC\"1\"\u{202e}");
    }
    assert!(age::decrypt(&Identity::generate(), &sealed.bytes).is_err());
    let text = String::from_utf8(sealed.bytes.clone()).unwrap();
    assert!(text.starts_with("-----BEGIN AGE ENCRYPTED FILE-----\n"));
    assert!(!text.contains("canary"));
    assert_eq!(sealed.name.to_string(), format!("amt.3.{}.age", &sha256_hex(&sealed.bytes)[..16]));
}

/// The independent counterpart: the reference implementation in Go.
#[test]
fn age_itself_opens_it() {
    if Command::new("age").arg("--version").output().is_err() {
        let _ = Write::write_all(
            &mut std::io::stderr(),
            b"skipped: escrow files opened with age, which is not installed\n",
        );
        return;
    }
    let (identities, recipients) = two();
    let sealed = seal_for(&recipients, "").unwrap();
    let dir = tempfile::tempdir().unwrap();
    for identity in &identities {
        let key = dir.path().join("key");
        std::fs::write(&key, identity.to_string().expose_secret()).unwrap();
        let mut child = Command::new("age")
            .args(["-d", "-i"])
            .arg(&key)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&sealed.bytes).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(document["password"], "canary-Pa55word!");
    }
}

#[test]
fn length_tells_nothing_and_has_an_end() {
    let (identities, recipients) = two();
    // The file's own length varies a little by itself: age adds a stanza of random length.
    let plain = |notes: usize| {
        let sealed = seal_for(&recipients, &"n".repeat(notes)).unwrap();
        age::decrypt(&identities[0], &sealed.bytes).unwrap().len()
    };
    assert_eq!((plain(0), plain(300), plain(PADDING)), (PADDING, PADDING, 2 * PADDING));
    assert_eq!(seal_for(&recipients, &"n".repeat(MAX_PLAIN)), Err(SealError::TooLong));
}

#[test]
fn one_unusable_recipient_spoils_all() {
    let good = Identity::generate().to_public().to_string();
    assert_eq!(seal_for(&[], ""), Err(SealError::NoRecipient));
    let bad =
        ["", "age1", "age1qqqq", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA", "age1tag1qqqq", "age1tagpq1qqqq"];
    for key in bad {
        assert!(seal_for(&[good.clone(), key.to_owned()], "").is_err(), "{key}");
        assert!(check_recipient(key).is_err(), "{key}");
    }
    assert!(check_recipient(&good).is_ok());
    assert!(matches!(check_recipient("ssh-rsa AAAA"), Err(SealError::SshKey(_))));
    // A private key in place of a public one is neither taken nor repeated.
    let secret = Identity::generate().to_string();
    let error = check_recipient(secret.expose_secret()).unwrap_err();
    assert!(!error.to_string().contains(&secret.expose_secret()[16..24]), "{error}");
}

#[test]
fn names() {
    let good = EscrowName::parse("amt.12.0123456789abcdef.age").unwrap();
    assert_eq!((good.channel.as_str(), good.generation), ("amt", 12));
    let bad = [
        "amt.12.0123456789abcdef",
        "amt.012.0123456789abcdef.age",
        "amt.+1.0123456789abcdef.age",
        "amt.0.0123456789abcdef.age",
        "amt.1000001.0123456789abcdef.age",
        "amt.4294967296.0123456789abcdef.age",
        "amt.1.0123456789ABCDEF.age",
        "amt.1.0123456789abcde.age",
        "../amt.1.0123456789abcdef.age",
        ".1.0123456789abcdef.age",
        "amt.1.0123456789abcdef.age.age",
        "amt.1.0123456789abcdef.r1.age",
        "amt.age",
        "",
    ];
    for name in bad {
        assert_eq!(EscrowName::parse(name), None, "{name}");
    }
}
