//! A cursor over foreign bytes: every read is checked, every failure says at which offset.

/// The bytes ended before a field did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("reading {wanted} bytes at offset {offset:#x}: only {left} are left")]
pub struct Truncated {
    /// Where the field begins, counted from the start of the message.
    pub offset: usize,
    /// How many bytes the field takes.
    pub wanted: usize,
    /// How many bytes there are.
    pub left: usize,
}

/// Reads fields in order. PTHI and MKHI are little-endian, APF is big-endian, so the endianness is in the call.
#[derive(Clone)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    pub(crate) fn left(&self) -> usize {
        self.bytes.len() - self.offset
    }

    pub(crate) fn take(&mut self, wanted: usize) -> Result<&'a [u8], Truncated> {
        let rest = self.bytes.get(self.offset..).unwrap_or_default();
        let truncated = Truncated { offset: self.offset, wanted, left: rest.len() };
        let field = rest.get(..wanted).ok_or(truncated)?;
        self.offset += wanted;
        Ok(field)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Truncated> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Truncated> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(crate) fn u16_le(&mut self) -> Result<u16, Truncated> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32_le(&mut self) -> Result<u32, Truncated> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u16_be(&mut self) -> Result<u16, Truncated> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(crate) fn u32_be(&mut self) -> Result<u32, Truncated> {
        Ok(u32::from_be_bytes(self.array()?))
    }
}

/// Text of a fixed or counted field: up to the first NUL, as Latin-1, so that no byte is lost and none is invalid.
/// The text is foreign: whoever shows it escapes it.
pub(crate) fn text_until_nul(field: &[u8]) -> String {
    let mut text = String::with_capacity(2 * field.len()); // never reallocates: it may become a secret
    text.extend(field.iter().take_while(|byte| **byte != 0).map(|byte| char::from(*byte)));
    text
}
