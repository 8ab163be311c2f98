//! The provisioning root hashes that the firmware trusts (0x0400002C, 0x0400002D).

use super::{Command, Payload, PthiError};

/// Asks for the handles of all hash entries.
#[derive(Debug, Clone, Copy)]
pub struct EnumerateHashes;

/// Asks for one hash entry.
#[derive(Debug, Clone, Copy)]
pub struct GetHash {
    /// A handle from [`EnumerateHashes`].
    pub handle: u32,
}

/// One trusted root of remote configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateHash {
    /// Shipped by the maker, not added later. An extra one is a finding.
    pub is_default: bool,
    /// Used at all.
    pub is_active: bool,
    /// How `hash` was made.
    pub algorithm: HashAlgorithm,
    /// The hash, as long as its algorithm says (64 bytes if that is unknown).
    pub hash: Vec<u8>,
    /// The entry's name; foreign text.
    pub name: String,
}

/// The hash algorithms of the entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashAlgorithm {
    /// 0
    Md5,
    /// 1
    Sha1,
    /// 2
    Sha256,
    /// 3, or 3 with a tail of zeros: sources disagree on the number, so the content decides.
    Sha384,
    /// 3 with all 64 bytes used.
    Sha512,
    /// Any other number.
    Other(u8),
}

impl HashAlgorithm {
    /// Number 3 means SHA-384 to some of Intel's own programs and SHA-512 to others (`reference/amt.md` 2.2).
    pub(super) fn of(number: u8, hash: &[u8; 64]) -> Self {
        match number {
            0 => Self::Md5,
            1 => Self::Sha1,
            2 => Self::Sha256,
            3 if hash.iter().skip(48).all(|byte| *byte == 0) => Self::Sha384,
            3 => Self::Sha512,
            other => Self::Other(other),
        }
    }

    pub(super) fn length(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 | Self::Other(_) => 64,
        }
    }
}

impl Command for EnumerateHashes {
    type Reply = Vec<u32>;
    const NAME: &'static str = "EnumerateHashHandles";
    const CODE: u32 = 0x0400_002c;
    const MUTATING: bool = false;

    fn read(&self, mut payload: Payload<'_>) -> Result<Vec<u32>, PthiError> {
        let count = payload.u32()?;
        if count > MOST_HASHES {
            return Err(payload.malformed(4));
        }
        (0..count).map(|_| payload.u32()).collect()
    }
}

impl Command for GetHash {
    type Reply = CertificateHash;
    const NAME: &'static str = "GetCertificateHashEntry";
    const CODE: u32 = 0x0400_002d;
    const MUTATING: bool = false;

    fn body(&self) -> Vec<u8> {
        self.handle.to_le_bytes().to_vec()
    }

    fn read(&self, mut payload: Payload<'_>) -> Result<CertificateHash, PthiError> {
        let is_default = payload.u32()? != 0;
        let is_active = payload.u32()? != 0;
        let hash: [u8; 64] = payload.array()?;
        let algorithm = HashAlgorithm::of(payload.u8()?, &hash);
        let name = payload.ansi()?;
        let hash = hash.iter().copied().take(algorithm.length()).collect();
        Ok(CertificateHash { is_default, is_active, algorithm, hash, name })
    }
}

/// Far above the 23 to 33 entries of real firmware; a hostile count stops here.
const MOST_HASHES: u32 = 256;
