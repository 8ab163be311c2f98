//! Names as the firmware has them: bytes, not always letters.

use std::fmt;

use serde::{Serialize, Serializer};

/// Up to 16 bytes, without the NULs that pad them. Shown escaped: ME 8 has a partition named `\xe0\x15\x00 `.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Name {
    bytes: [u8; 16],
    len: usize,
}

impl Name {
    /// At most 16 bytes of `field`, cut after its last byte that is not NUL.
    pub(crate) fn of(field: &[u8]) -> Self {
        let len = field.iter().take(16).rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let mut bytes = [0; 16];
        for (to, from) in bytes.iter_mut().zip(field).take(len) {
            *to = *from;
        }
        Self { bytes, len }
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    pub fn is(&self, name: &str) -> bool {
        self.as_bytes() == name.as_bytes()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_bytes().escape_ascii())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_goes_and_the_rest_is_escaped() {
        assert_eq!(Name::of(b"MFS\0").to_string(), "MFS");
        assert_eq!(Name::of(b"\xe0\x15\0 ").to_string(), r"\xe0\x15\x00 ");
        assert_eq!(Name::of(b"\x1b[2J").to_string(), r"\x1b[2J");
        assert_eq!(Name::of(b"\0\0\0\0").as_bytes(), b"");
        assert!(Name::of(b"FTPR.man\0\0\0\0").is("FTPR.man"));
        assert_eq!(Name::of(&[b'a'; 20]).as_bytes(), [b'a'; 16]);
    }
}
