//! Signs manifests with a key that anybody could break, so that changed ones can be signed again for every input: the
//! parser must stand what a stranger signed, since whose key it is decides nothing about the format.

use num_bigint::BigUint;
use sha2::{Digest, Sha256};

/// Bytes of an RSA-2048 key, and of the header that it stands in (reference/me.md 2.3).
const KEY: usize = 256;
const HEADER: usize = 0x284;
const EXPONENT: u32 = 65537;

/// A modulus of 64 primes of 32 bits: a private operation is 64 small ones.
pub(crate) struct Key {
    modulus: BigUint,
    parts: Vec<Part>,
}

struct Part {
    prime: u64,
    /// The private exponent modulo `prime - 1`.
    exponent: u64,
    /// 1 modulo `prime`, 0 modulo every other prime.
    unit: BigUint,
}

impl Key {
    pub(crate) fn new() -> Self {
        let primes: Vec<u64> = (0..u64::from(u32::MAX))
            .map(|below| u64::from(u32::MAX) - below)
            .filter(|number| number % u64::from(EXPONENT) != 1 && is_prime(*number))
            .take(64)
            .collect();
        let modulus: BigUint = primes.iter().product();
        let parts = primes
            .iter()
            .map(|prime| {
                let others = &modulus / prime;
                let inverse = power(remainder(&others, *prime), prime - 2, *prime);
                let exponent = BigUint::from(EXPONENT).modinv(&BigUint::from(prime - 1)).expect("coprime");
                Part { prime: *prime, exponent: remainder(&exponent, u64::MAX), unit: others * inverse }
            })
            .collect();
        Self { modulus, parts }
    }

    /// Signs the RSA-2048 manifest at `at` as Intel's are, where its lengths are sound.
    pub(crate) fn sign(&self, image: &mut [u8], at: usize) {
        let Some(bytes) = image.get_mut(at..) else { return };
        let dwords = |offset: usize| {
            let word = bytes.get(offset..offset + 4)?.try_into().ok()?;
            usize::try_from(u32::from_le_bytes(word)).ok()?.checked_mul(4)
        };
        let (Some(header), Some(size), Some(KEY)) = (dwords(4), dwords(0x18), dwords(0x78)) else { return };
        if header < HEADER || size < header || size > bytes.len() {
            return;
        }
        bytes[0x80..0x180].copy_from_slice(&fixed(&self.modulus));
        bytes[0x180..0x184].copy_from_slice(&EXPONENT.to_le_bytes());
        let hash = Sha256::new().chain_update(&bytes[..0x80]).chain_update(&bytes[header..size]).finalize();
        let info = [0x30, 0x31, 0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0, 4, 0x20];
        let mut message = vec![0xff; KEY];
        message[..2].copy_from_slice(&[0, 1]);
        message[204] = 0;
        message[205..224].copy_from_slice(&info);
        message[224..].copy_from_slice(&hash);
        bytes[0x184..HEADER].copy_from_slice(&fixed(&self.private(&BigUint::from_bytes_be(&message))));
    }

    fn private(&self, message: &BigUint) -> BigUint {
        let one = |part: &Part| &part.unit * power(remainder(message, part.prime), part.exponent, part.prime);
        self.parts.iter().map(one).sum::<BigUint>() % &self.modulus
    }
}

/// Low byte first.
fn fixed(number: &BigUint) -> Vec<u8> {
    let mut bytes = number.to_bytes_le();
    bytes.resize(KEY, 0);
    bytes
}

fn remainder(number: &BigUint, by: u64) -> u64 {
    (number % by).to_u64_digits().first().copied().unwrap_or(0)
}

fn power(base: u64, exponent: u64, modulus: u64) -> u64 {
    let times = |a: u64, b: u64| (u128::from(a) * u128::from(b) % u128::from(modulus)) as u64;
    let (mut result, mut base, mut exponent) = (1, base % modulus, exponent);
    while exponent != 0 {
        if exponent & 1 == 1 {
            result = times(result, base);
        }
        base = times(base, base);
        exponent >>= 1;
    }
    result
}

/// By trial, which is quick enough for 64 numbers of 32 bits.
fn is_prime(number: u64) -> bool {
    number % 2 == 1 && (3..).step_by(2).take_while(|by| by * by <= number).all(|by| number % by != 0)
}
