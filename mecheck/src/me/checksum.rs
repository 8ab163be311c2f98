//! Checksums of tables. A wrong one is reported; what the table says is still read.

use serde::Serialize;

use crate::bytes::{ImageError, slice};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "checksum", rename_all = "kebab-case")]
pub enum Checksum {
    Right,
    Wrong {
        stored: u32,
        computed: u32,
    },
    /// The table has a checksum, but no rule for it is known that real images follow.
    Unknown,
}

impl Checksum {
    pub(crate) fn compare(stored: u32, computed: u32) -> Self {
        if stored == computed { Self::Right } else { Self::Wrong { stored, computed } }
    }

    /// The byte at `field` makes the sum of all bytes of the range zero.
    pub(crate) fn sum8(
        image: &[u8],
        start: usize,
        len: usize,
        field: usize,
        what: &'static str,
    ) -> Result<Self, ImageError> {
        let bytes = slice(image, start, len, what)?;
        let sum = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        let stored = slice(image, field, 1, what)?.first().copied().unwrap_or_default();
        Ok(Self::compare(u32::from(stored), u32::from(stored.wrapping_sub(sum))))
    }

    /// CRC-32 over the range with the field's own four bytes as zero.
    pub(crate) fn crc32(
        image: &[u8],
        start: usize,
        len: usize,
        field: usize,
        what: &'static str,
    ) -> Result<Self, ImageError> {
        slice(image, start, len, what)?;
        let stored = crate::bytes::u32_at(image, field, what)?;
        let before = slice(image, start, field.saturating_sub(start), what)?;
        let after = slice(image, field + 4, (start + len).saturating_sub(field + 4), what)?;
        let mut crc = crc32fast::Hasher::new();
        crc.update(before);
        crc.update(&[0; 4]);
        crc.update(after);
        Ok(Self::compare(stored, crc.finalize()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_to_zero() {
        assert_eq!(Checksum::sum8(&[1, 2, 0xfd], 0, 3, 2, "t").unwrap(), Checksum::Right);
        let wrong = Checksum::Wrong { stored: 0xfc, computed: 0xfd };
        assert_eq!(Checksum::sum8(&[1, 2, 0xfc], 0, 3, 2, "t").unwrap(), wrong);
    }

    #[test]
    fn crc_skips_its_own_field() {
        let mut bytes = *b"head....tail";
        let crc = crc32fast::hash(b"head\0\0\0\0tail");
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Checksum::crc32(&bytes, 0, 12, 4, "t").unwrap(), Checksum::Right);
        bytes[0] ^= 1;
        assert!(matches!(Checksum::crc32(&bytes, 0, 12, 4, "t").unwrap(), Checksum::Wrong { .. }));
        assert!(Checksum::crc32(&bytes, 4, 12, 4, "t").is_err());
    }
}
