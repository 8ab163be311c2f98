//! A credential that the operator knows and gives in a file: the JSON that an escrow file opens to, or a bare password.

use std::borrow::Cow;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::files::open_regular;
use crate::secrets::Password;

/// AMT's one administrator.
const ADMIN: &str = "admin";
/// An escrow file opens to 8 KiB at most.
const LARGEST: u64 = 64 << 10;
/// No AMT password is longer (reference/amt.md 6).
const LONGEST: usize = 32;

/// What a file held. No `Debug`: it has the password.
pub struct KnownCredential {
    pub username: String,
    pub password: Password,
    /// The device that it is of, where the file tells.
    pub device_id: Option<String>,
    /// Which of that device's credentials it is, where the file tells.
    pub generation: Option<u32>,
}

impl KnownCredential {
    /// Reads an AMT credential.
    ///
    /// # Errors
    /// A sentence for people; nothing of the file's content is in it.
    pub fn read(path: &Path) -> Result<Self, String> {
        if path == Path::new("-") {
            return Err("reading the known credential: `-` is not read, give a file".to_owned());
        }
        let shown = path.display();
        let fail = |why: &dyn std::fmt::Display| format!("reading the known credential {shown}: {why}");
        let file = open_regular(path).map_err(|error| fail(&error))?;
        let length = file.metadata().map_err(|error| fail(&error))?.len();
        if length > LARGEST {
            return Err(fail(&format_args!("{length} bytes are no credential")));
        }
        // Reserved at once, so that no half-read copy is left behind when a buffer grows.
        let mut bytes = Zeroizing::new(Vec::with_capacity(length as usize + 1));
        file.take(LARGEST).read_to_end(&mut bytes).map_err(|error| fail(&error))?;
        parse(&bytes).map_err(|why| fail(&why))
    }
}

/// The members of `oob-secret/1` that count here.
#[derive(Deserialize)]
struct Opened<'a> {
    #[serde(borrow)]
    schema: Cow<'a, str>,
    #[serde(borrow)]
    device_id: Cow<'a, str>,
    #[serde(borrow)]
    channel: Cow<'a, str>,
    generation: u32,
    #[serde(borrow)]
    username: Cow<'a, str>,
    #[serde(borrow)]
    password: Cow<'a, str>,
}

fn parse(bytes: &[u8]) -> Result<KnownCredential, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())?;
    if text.starts_with("age-encryption.org/") || text.starts_with("-----BEGIN AGE") {
        return Err("it is sealed; open it first, with `age -d -i IDENTITY FILE`".to_owned());
    }
    let one_line = text.trim_end_matches(['\r', '\n']);
    if text.trim_start().starts_with('{') {
        match serde_json::from_str::<Opened<'_>>(text) {
            Ok(opened) => return from_opened(opened),
            // A password may begin so, too. The parser's own words may quote the file.
            Err(error) if one_line.len() > LONGEST || one_line.contains('\n') => {
                let (line, column) = (error.line(), error.column());
                return Err(format!(
                    "it is not the JSON that an escrow file opens to (line {line}, column {column})"
                ));
            }
            Err(_) => {}
        }
    }
    if !(1..=LONGEST).contains(&one_line.len()) || one_line.chars().any(char::is_control) {
        return Err(format!("it is neither JSON nor one line with a password of 1 to {LONGEST} characters"));
    }
    let password = Password::from_text(one_line.to_owned());
    Ok(KnownCredential { username: ADMIN.to_owned(), password, device_id: None, generation: None })
}

fn from_opened(opened: Opened<'_>) -> Result<KnownCredential, String> {
    // Moved where it was unescaped, so that the copy is wiped with the rest.
    let password = Password::from_text(opened.password.into_owned());
    if opened.schema != "oob-secret/1" {
        return Err("its schema is not oob-secret/1".to_owned());
    }
    if opened.channel != "amt" {
        return Err("it is a credential of another channel than `amt`".to_owned());
    }
    if opened.username != ADMIN {
        return Err("it is not the credential of AMT's admin".to_owned());
    }
    Ok(KnownCredential {
        username: opened.username.into_owned(),
        password,
        device_id: Some(opened.device_id.into_owned()),
        generation: Some(opened.generation),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(channel: &str, password: &str) -> String {
        serde_json::json!({
            "schema": "oob-secret/1", "device_id": "d1-x", "aliases": {}, "channel": channel, "generation": 3,
            "run_id": "r", "username": "admin", "password": password, "notes": "n",
        })
        .to_string()
            + "    "
    }

    #[test]
    fn what_escrow_opens_to_and_a_bare_line_are_taken() {
        let known = parse(opened("amt", "a\\b\"c{1}").as_bytes()).ok().unwrap();
        assert_eq!((known.password.expose(), known.username.as_str()), ("a\\b\"c{1}", "admin"));
        assert_eq!((known.device_id.as_deref(), known.generation), (Some("d1-x"), Some(3)));
        for line in ["P@ssw0rd!", "P@ssw0rd!\n", "P@ssw0rd!\r\n"] {
            let known = parse(line.as_bytes()).ok().unwrap();
            assert_eq!((known.password.expose(), known.generation), ("P@ssw0rd!", None));
        }
        assert_eq!(parse(b"{P4ss-word").ok().unwrap().password.expose(), "{P4ss-word");
    }

    #[test]
    fn what_is_refused_is_not_quoted() {
        for (text, says) in [
            (opened("amt-mebx", "S3cret-word"), "another channel"),
            (opened("amt", "S3cret-word").replace("oob-secret/1", "other/1"), "schema"),
            (
                opened("amt", "S3cret-word").replace("\"generation\":3", "\"generation\":\"S3cret-word\""),
                "column",
            ),
            (opened("amt", "S3cret-word").replace("\"admin\"", "\"$$OsAdmin\""), "admin"),
            ("S3cret-word\nS3cret-word\n".to_owned(), "one line"),
            ("S3cret-word".repeat(3), "one line"),
            ("\n".to_owned(), "one line"),
            ("age-encryption.org/v1\nS3cret-word".to_owned(), "age -d"),
        ] {
            let why = parse(text.as_bytes()).err().unwrap();
            assert!(why.contains(says) && !why.contains("S3cret"), "{text}: {why}");
        }
        assert!(parse(&[0xff, 0xfe]).is_err());
        assert!(KnownCredential::read(Path::new("-")).err().unwrap().contains("`-`"));
    }
}
