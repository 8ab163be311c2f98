//! Passwords from birth to wire, and what keeps the process from leaking them.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use zeroize::{Zeroize, Zeroizing};

/// A password that lives in one heap buffer, wiped when dropped.
///
/// It has no `Debug`, `Display`, `Serialize` or `Clone` on purpose: the only way out is [`Password::expose`], which is
/// called where the password is sealed and where the digest is computed, and nowhere else.
pub struct Password(Zeroizing<String>);

impl Password {
    /// A new random password that every AMT takes (reference/amt.md 6): [`LENGTH`] characters of printable 7-bit ASCII
    /// with a digit, a lower-case and an upper-case letter and a special character, where `_` is no special one.
    ///
    /// # Errors
    /// When the kernel gives no random bytes.
    pub fn generate_for_amt() -> Result<Self, getrandom::Error> {
        // Strong passwords are kept and weak ones thrown away whole, so that each strong one is equally likely.
        loop {
            let mut text = Zeroizing::new(String::with_capacity(LENGTH));
            while text.len() < LENGTH {
                draw_into(&mut text)?;
            }
            if is_strong(&text) {
                return Ok(Self(text));
            }
        }
    }

    /// Takes over a password that was read from elsewhere, such as an escrow file.
    pub fn from_text(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The password itself. Never log, format or store what this returns.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Characters of a generated password. AMT takes 8 to 32.
pub const LENGTH: usize = 28;

/// Keeps secrets out of core dumps and away from other processes of the same user: no core file, not dumpable, so
/// that `/proc/PID/{mem,environ}` need root and no debugger can attach. To be called first thing in `main`.
///
/// # Errors
/// When the kernel refuses either; the caller decides whether to go on.
pub fn harden() -> Result<(), rustix::io::Errno> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
}

/// What a password is made of. AMT forbids `:` `,` `"`; the others left out (`& < > ' \ $` and the backtick) have a
/// meaning in XML, in shells or in configuration files, and people will paste these passwords into such.
const ALPHABET: &[u8] =
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#%()*+-./;=?@[]^_{|}~";

/// Appends one character, or none where the random byte is rejected: a remainder would favor the first characters.
fn draw_into(text: &mut String) -> Result<(), getrandom::Error> {
    let mut byte = [0_u8; 1];
    getrandom::fill(&mut byte)?;
    // The alphabet has 64 to 128 characters, so seven bits are drawn and the rest is thrown away.
    if let Some(character) = ALPHABET.get(usize::from(byte[0] & 0x7f)) {
        text.push(char::from(*character));
    }
    byte.zeroize();
    Ok(())
}

fn is_strong(text: &str) -> bool {
    let has = |kind: fn(&u8) -> bool| text.as_bytes().iter().any(&kind);
    has(u8::is_ascii_digit)
        && has(u8::is_ascii_lowercase)
        && has(u8::is_ascii_uppercase)
        && has(|byte| byte.is_ascii_punctuation() && *byte != b'_')
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn alphabet_is_what_amt_takes() {
        let distinct: BTreeSet<_> = ALPHABET.iter().collect();
        assert_eq!(distinct.len(), ALPHABET.len());
        assert!((64..=128).contains(&ALPHABET.len()));
        for byte in ALPHABET {
            assert!((33..=126).contains(byte));
            assert!(!b":,\"&<>'\\$` ".contains(byte), "{}", char::from(*byte));
        }
    }

    #[test]
    fn generated_passwords_are_strong_and_differ() {
        let mut seen = BTreeSet::new();
        let mut used = BTreeSet::new();
        for _ in 0..400 {
            let password = Password::generate_for_amt().unwrap();
            let text = password.expose();
            assert_eq!(text.len(), LENGTH);
            assert!(text.bytes().all(|byte| ALPHABET.contains(&byte)));
            assert!(is_strong(text));
            used.extend(text.bytes());
            assert!(seen.insert(text.to_owned()));
        }
        assert_eq!(used.len(), ALPHABET.len(), "some character is never drawn");
    }

    #[test]
    fn underscore_is_not_special() {
        assert!(!is_strong("aB3_aB3_"));
        assert!(is_strong("aB3_aB3-"));
        assert!(!is_strong("aBc-aBc-"));
        assert!(!is_strong("ab3-ab3-"));
        assert!(!is_strong("AB3-AB3-"));
    }

    #[test]
    fn hardening_forbids_core_dumps() {
        harden().unwrap();
        assert_eq!(rustix::process::getrlimit(Resource::Core).maximum, Some(0));
        assert_eq!(rustix::process::dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    }
}
