//! As much of DER as certificates and certificate requests need (X.690, RFC 5280, RFC 2986): one strict reader,
//! one small writer. Definite lengths and one-byte tags only.

/// SEQUENCE.
pub const SEQUENCE: u8 = 0x30;
/// SET.
pub const SET: u8 = 0x31;
/// INTEGER.
pub const INTEGER: u8 = 0x02;
/// BIT STRING.
pub const BIT_STRING: u8 = 0x03;
/// OCTET STRING.
pub const OCTET_STRING: u8 = 0x04;
/// OBJECT IDENTIFIER.
pub const OID: u8 = 0x06;
/// BOOLEAN.
pub const BOOLEAN: u8 = 0x01;

/// A place in DER bytes.
#[derive(Clone, Copy)]
pub struct Reader<'a>(&'a [u8]);

/// One element.
#[derive(Clone, Copy)]
pub struct Element<'a> {
    /// Its tag.
    pub tag: u8,
    /// Its content.
    pub content: &'a [u8],
    /// Tag, length and content.
    pub whole: &'a [u8],
}

impl<'a> Reader<'a> {
    /// The beginning of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next element.
    pub fn take(&mut self) -> Option<Element<'a>> {
        let (tag, first) = (*self.0.first()?, *self.0.get(1)?);
        let (head, length) = match first {
            0..=0x7f => (2, usize::from(first)),
            // The shortest form only, and nothing that cannot be a certificate's.
            0x81 => (3, usize::from(*self.0.get(2)?)),
            0x82 => (4, usize::from(u16::from_be_bytes([*self.0.get(2)?, *self.0.get(3)?]))),
            _ => return None,
        };
        let shortest = (head == 2) || (head == 3 && length > 0x7f) || (head == 4 && length > 0xff);
        let whole = self.0.get(..head + length).filter(|_| shortest && tag & 0x1f != 0x1f)?;
        self.0 = &self.0[whole.len()..];
        Some(Element { tag, content: &whole[head..], whole })
    }

    /// The next element's content, if it has this tag.
    pub fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let element = ahead.take().filter(|element| element.tag == tag)?;
        *self = ahead;
        Some(element.content)
    }

    /// The one element that these bytes are, if it has this tag.
    #[must_use]
    pub fn only(bytes: &'a [u8], tag: u8) -> Option<&'a [u8]> {
        let mut reader = Self(bytes);
        reader.expect(tag).filter(|_| reader.is_empty())
    }
}

/// One element of this tag around the joined parts.
#[must_use]
pub fn wrap(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = vec![tag];
    match u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes() {
        [0, short @ 0..=0x7f] => out.push(short),
        [0, low] => out.extend([0x81, low]),
        [high, low] => out.extend([0x82, high, low]),
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

/// An INTEGER that is not negative, from big-endian bytes.
#[must_use]
pub fn unsigned(bytes: &[u8]) -> Vec<u8> {
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len().saturating_sub(1));
    let digits = &bytes[start..];
    let sign: &[u8] = if digits.first().is_none_or(|byte| *byte >= 0x80) { &[0] } else { &[] };
    wrap(INTEGER, &[sign, digits])
}

/// A BIT STRING of whole bytes.
#[must_use]
pub fn bits(bytes: &[u8]) -> Vec<u8> {
    wrap(BIT_STRING, &[&[0], bytes])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for length in [0, 1, 0x7f, 0x80, 0xff, 0x100, 5000] {
            let content = vec![7; length];
            let wrapped = wrap(SEQUENCE, &[&content]);
            assert_eq!(Reader::only(&wrapped, SEQUENCE), Some(content.as_slice()));
            assert_eq!(Reader::only(&wrapped[..wrapped.len() - 1], SEQUENCE), None);
        }
        assert_eq!(unsigned(&[0, 0, 0x80]), [2, 2, 0, 0x80]);
        assert_eq!(unsigned(&[0]), [2, 1, 0]);
    }

    #[test]
    fn lengths_that_are_not_the_shortest_are_refused() {
        for bytes in [&[0x30, 0x81, 0x01, 0][..], &[0x30, 0x82, 0, 1, 0], &[0x30, 0x80], &[0x3f, 0], &[0x30]]
        {
            assert!(Reader::new(bytes).take().is_none(), "{bytes:02x?}");
        }
    }
}
