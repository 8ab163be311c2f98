//! PKCS#7 as a bag of certificates (RFC 5652 section 5.1, RFC 7030 section 4.2.3): SignedData that nobody signed.

/// The certificates of a SignedData, DER. `None`: the bytes are something else.
///
/// `ContentInfo { oid, [0] SignedData { version, digests, content, [0] certificates?, [1] crls?, signers } }`
pub(super) fn certificates(der: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut outer = Reader(der);
    let mut info = Reader(outer.take(SEQUENCE)?.content);
    if !outer.0.is_empty() || info.take(OID)?.content != SIGNED_DATA {
        return None;
    }
    let mut wrapped = Reader(info.take(CONTEXT_0)?.content);
    let mut signed = Reader(wrapped.take(SEQUENCE)?.content);
    signed.take(INTEGER)?;
    signed.take(SET)?;
    signed.take(SEQUENCE)?;
    let mut bag = match signed.take(CONTEXT_0) {
        Some(bag) => Reader(bag.content),
        None => return Some(Vec::new()),
    };
    let mut certificates = Vec::new();
    while !bag.0.is_empty() {
        certificates.push(bag.take(SEQUENCE)?.whole.to_vec());
    }
    Some(certificates)
}

/// What is left of a DER structure.
struct Reader<'a>(&'a [u8]);

struct Element<'a> {
    /// With its tag and length.
    whole: &'a [u8],
    content: &'a [u8],
}

impl<'a> Reader<'a> {
    /// The next element, if it has this tag; else nothing is taken. Lengths are definite, as DER has them.
    fn take(&mut self, tag: u8) -> Option<Element<'a>> {
        let bytes = self.0;
        if *bytes.first()? != tag {
            return None;
        }
        let first = *bytes.get(1)?;
        let (header, length) = match first {
            ..=0x7f => (2, usize::from(first)),
            0x81..=0x84 => {
                let digits = bytes.get(2..2 + usize::from(first & 0x7f))?;
                let length = digits.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
                (2 + digits.len(), length)
            }
            _ => return None,
        };
        let (whole, rest) = bytes.split_at_checked(header.checked_add(length)?)?;
        self.0 = rest;
        Some(Element { whole, content: whole.get(header..)? })
    }
}

const INTEGER: u8 = 0x02;
const OID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const CONTEXT_0: u8 = 0xa0;
/// 1.2.840.113549.1.7.2
const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
