//! Two sources of bytes: the kernel's, for secrets and nonces; a seeded one, for everything that must be the same
//! in every run of the same machine (serial numbers, UUID, MAC, where a chunk is split).

use std::fs::File;
use std::io::{self, Read};

use sha2::{Digest, Sha256};

/// Fills `N` bytes from the kernel's generator.
///
/// # Errors
/// When `/dev/urandom` cannot be read.
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// 32 bytes that depend on the seed and the label only.
#[must_use]
pub fn derived(seed: u64, label: &str) -> [u8; 32] {
    Sha256::new().chain_update(seed.to_be_bytes()).chain_update(label).finalize().into()
}

/// A small repeatable number stream (`xorshift64*`); not for secrets.
pub struct Stream(u64);

impl Stream {
    /// A stream that depends on the seed only.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number below `bound`; 0 when the bound is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16).checked_rem(bound).unwrap_or(0)
    }

    /// `len` bytes of noise.
    pub fn noise(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| u8::try_from(self.below(256)).unwrap_or(0)).collect()
    }
}

/// Lower-case hex of bytes.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
