//! A credential that the operator knows: what an escrow file opens to, or a password alone, in a file. Never from argv or
//! environment.

use std::borrow::Cow;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::files::open_regular;
use crate::secrets::Password;

/// A password of AMT's `admin`, as somebody says. No `Debug`.
pub struct Known {
    pub password: Password,
    /// Where the file is an escrow file's content: what tells it from every other.
    pub sealed: Option<Sealed>,
}

/// Of which escrow file it is the content.
pub struct Sealed {
    pub device_id: String,
    pub generation: u32,
    pub run_id: String,
}

/// AMT's one administrator.
pub const ADMIN: &str = "admin";
/// An escrow file opens to 8 KiB at most.
const LARGEST: u64 = 16 * 1024;
/// What AMT takes (reference/amt.md 6).
const LENGTHS: std::ops::RangeInclusive<usize> = 8..=32;

impl Known {
    /// Reads the file.
    ///
    /// # Errors
    /// A sentence for people; it names the file and never what stands there.
    pub fn read(path: &Path) -> Result<Self, String> {
        if path == Path::new("-") {
            return Err("reading a credential: `-` is not read, give a file".to_owned());
        }
        let shown = path.display();
        let fail = |error: std::io::Error| format!("reading {shown}: {error}");
        let file = open_regular(path).map_err(fail)?;
        // Reserved at once, so that no half-read copy is left behind when a buffer grows.
        let mut bytes = Zeroizing::new(Vec::with_capacity(LARGEST as usize + 1));
        file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(fail)?;
        if bytes.len() as u64 > LARGEST {
            return Err(format!("reading {shown}: more than {LARGEST} bytes are no credential"));
        }
        Self::parse(&bytes).map_err(|why| format!("reading {shown}: {why}"))
    }

    fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8")?;
        // No password of AMT has a quotation mark.
        if text.trim_start().starts_with('{') && text.contains('"') {
            return Self::of_escrow(text);
        }
        if text.starts_with("age-encryption.org/") || text.starts_with("-----BEGIN AGE") {
            return Err(
                "it is sealed: open it with an identity (`age -d -i IDENTITY FILE`) and give the content",
            );
        }
        let line = text.trim_end_matches(['\r', '\n']);
        if line.contains(['\r', '\n']) {
            return Err("it has several lines: give one password, or the content of an escrow file");
        }
        Ok(Self { password: password(line)?, sealed: None })
    }

    fn of_escrow(text: &str) -> Result<Self, &'static str> {
        let not_that = "it is no content of an escrow file (oob-secret/1)";
        let document: Document<'_> = serde_json::from_str(text).map_err(|_| not_that)?;
        let secret = Zeroizing::new(document.password.into_owned());
        if document.schema != "oob-secret/1" {
            return Err(not_that);
        }
        if document.channel != "amt" || document.username != ADMIN {
            return Err("it is the credential of something else than AMT's admin");
        }
        let (device_id, run_id) = (document.device_id.into_owned(), document.run_id.into_owned());
        let sealed = Sealed { device_id, generation: document.generation, run_id };
        Ok(Self { password: password(&secret)?, sealed: Some(sealed) })
    }
}

/// The part of `oob-secret/1` that is needed here. Borrowed where JSON permits, so that no copy of the password stays.
#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    schema: Cow<'a, str>,
    #[serde(borrow)]
    device_id: Cow<'a, str>,
    #[serde(borrow)]
    channel: Cow<'a, str>,
    generation: u32,
    #[serde(borrow)]
    run_id: Cow<'a, str>,
    #[serde(borrow)]
    username: Cow<'a, str>,
    #[serde(borrow)]
    password: Cow<'a, str>,
}

fn password(text: &str) -> Result<Password, &'static str> {
    if !LENGTHS.contains(&text.len()) || !text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Err("it holds no password of AMT, which has 8 to 32 printable ASCII characters");
    }
    Ok(Password::from_text(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"{"schema":"oob-secret/1","device_id":"d1-x","aliases":{},"channel":"amt","generation":3,
        "run_id":"r","created":"t","username":"admin","password":"{P@ssw0rd}","endpoint":"e","policy_sha256":"0",
        "notes":"n"}   "#;

    #[test]
    fn a_line_and_an_opened_escrow_file_are_read() {
        for line in ["P@ssw0rd", "P@ssw0rd\n", "P@ssw0rd\r\n"] {
            let known = Known::parse(line.as_bytes()).unwrap_or_else(|why| panic!("{why}"));
            assert_eq!((known.password.expose(), known.sealed.is_none()), ("P@ssw0rd", true));
        }
        let brace = Known::parse(b"{P@ssw0rd}").unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(brace.password.expose(), "{P@ssw0rd}");
        let known = Known::parse(JSON.as_bytes()).unwrap_or_else(|why| panic!("{why}"));
        let sealed = known.sealed.unwrap();
        assert_eq!(known.password.expose(), "{P@ssw0rd}");
        assert_eq!((sealed.device_id.as_str(), sealed.generation, sealed.run_id.as_str()), ("d1-x", 3, "r"));
    }

    #[test]
    fn what_is_no_credential_is_refused_and_never_repeated() {
        let other = |from: &str, to: &str| JSON.replace(from, to);
        for text in [
            "",
            "short",
            "two\nlines-of-text",
            "p\u{e4}ssw\u{f6}rd-x",
            "a-password-that-is-longer-than-32-characters",
            "-----BEGIN AGE ENCRYPTED FILE-----",
            "{\"a\": 1}",
            &other("\"amt\"", "\"amt-mebx\""),
            &other("oob-secret/1", "oob-secret/2"),
            &other("\"admin\"", "\"root\""),
            &other("{P@ssw0rd}", "x"),
        ] {
            let Err(why) = Known::parse(text.as_bytes()) else { panic!("{text:?} was taken") };
            assert!(!why.contains("P@ssw0rd"));
        }
        let dir = tempfile::tempdir().unwrap();
        assert!(Known::read(dir.path()).is_err(), "a directory is no file");
        let long = dir.path().join("long");
        std::fs::write(&long, vec![b'a'; 20_000]).unwrap();
        assert!(Known::read(&long).is_err());
    }
}
