//! Text that must not be seen: passwords and what is equal to a password.

use zeroize::Zeroizing;

/// A secret text, zeroized when dropped. It has no `Debug`, `Display`, `Clone` or `PartialEq` on purpose: the one way
/// to its characters is [`Secret::expose`], which is easy to search for.
///
/// ```compile_fail
/// println!("{:?}", oob_wsman::Secret::new(String::new()));
/// ```
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes ownership; the caller's copy, if it kept one, stays the caller's business.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The secret itself, for the one writer that puts it on the wire.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<Zeroizing<String>> for Secret {
    fn from(text: Zeroizing<String>) -> Self {
        Self(text)
    }
}

/// A growing text buffer that never leaves an unwiped copy behind: where `String` reallocates, this moves and wipes.
#[derive(Default)]
pub(crate) struct SecretBuffer(Zeroizing<String>);

impl SecretBuffer {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self(Zeroizing::new(String::with_capacity(capacity)))
    }

    pub(crate) fn push_str(&mut self, text: &str) {
        let needed = self.0.len() + text.len();
        if needed > self.0.capacity() {
            let mut larger = Zeroizing::new(String::with_capacity(needed.next_power_of_two()));
            larger.push_str(&self.0);
            self.0 = larger; // the old one is zeroized as it drops
        }
        self.0.push_str(text);
    }

    pub(crate) fn push(&mut self, character: char) {
        self.push_str(character.encode_utf8(&mut [0; 4]));
    }

    pub(crate) fn into_text(self) -> Zeroizing<String> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_grows_and_keeps_every_character() {
        let mut buffer = SecretBuffer::with_capacity(1);
        let mut expected = String::new();
        for round in 0..200u32 {
            buffer.push('\u{e9}');
            buffer.push_str(&round.to_string());
            expected.push('\u{e9}');
            expected.push_str(&round.to_string());
        }
        assert_eq!(*buffer.into_text(), expected);
    }
}
