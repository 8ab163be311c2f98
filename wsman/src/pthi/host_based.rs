//! The beginning of a configuration over TLS by the host (SHBC, 0x0400008B): the firmware is told which certificate
//! will come, and tells which one it will show. Layouts: `reference/amt.md` 2.4.

use ring::digest::{SHA256, SHA384, digest};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Command, Payload, PthiError};

/// Announces the provisioning certificate: AMT leaves pre-provisioning and admits it over TLS. What undoes it before
/// the commit is [`super::StopConfiguration`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartConfigurationHBased {
    /// The certificate that the host will show in TLS.
    pub leaf: LeafHash,
}

/// The hash of a whole leaf certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeafHash {
    /// Number 2.
    Sha256([u8; 32]),
    /// Number 3.
    Sha384([u8; 48]),
}

impl LeafHash {
    /// The hash by which a certificate (DER) is announced: of the family that it is signed with itself, as the tools in
    /// the field do. None where it is no certificate.
    pub fn of(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let signed = certificate.signature_algorithm.algorithm.to_id_string();
        if signed == SHA384_WITH_RSA {
            return Some(Self::Sha384(digest(&SHA384, der).as_ref().try_into().ok()?));
        }
        Some(Self::Sha256(digest(&SHA256, der).as_ref().try_into().ok()?))
    }

    /// The bytes of the hash.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Sha256(hash) => hash,
            Self::Sha384(hash) => hash,
        }
    }

    const fn number(&self) -> u8 {
        match self {
            Self::Sha256(_) => 2,
            Self::Sha384(_) => 3,
        }
    }
}

impl Command for StartConfigurationHBased {
    type Reply = LeafHash;
    const NAME: &'static str = "StartConfigurationHBased";
    const CODE: u32 = 0x0400_008b;
    const MUTATING: bool = true;

    /// Packed: algorithm, 64 bytes of hash, no VPN, and an empty list of suffixes in its 320 bytes.
    fn body(&self) -> Vec<u8> {
        let mut body = vec![0; BODY];
        let fields = std::iter::once(self.leaf.number()).chain(self.leaf.bytes().iter().copied());
        for (place, byte) in body.iter_mut().zip(fields) {
            *place = byte;
        }
        body
    }

    /// The hash of the certificate that AMT will show: raw, or as hexadecimal text from newer firmware, which only the
    /// shorter hash has room for.
    fn read(&self, mut payload: Payload<'_>) -> Result<LeafHash, PthiError> {
        let number = payload.u8()?;
        let field: [u8; FIELD] = payload.array()?;
        let raw = |length: usize| field.get(..length).unwrap_or_default();
        let read = match number {
            2 => from_hex(&field).or_else(|| raw(32).try_into().ok()).map(LeafHash::Sha256),
            3 => raw(48).try_into().ok().map(LeafHash::Sha384),
            _ => None,
        };
        // Nothing but zeros is no hash of anything.
        read.filter(|hash| hash.bytes().iter().any(|byte| *byte != 0))
            .ok_or_else(|| payload.malformed(FIELD + 1))
    }
}

fn from_hex(field: &[u8; FIELD]) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    for (byte, pair) in hash.iter_mut().zip(field.chunks(2)) {
        let digits =
            std::str::from_utf8(pair).ok().filter(|pair| pair.bytes().all(|it| it.is_ascii_hexdigit()))?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(hash)
}

const FIELD: usize = 64;
const BODY: usize = 390;
const SHA384_WITH_RSA: &str = "1.2.840.113549.1.1.12";
