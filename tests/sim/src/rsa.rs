//! The device's own RSA keys. They depend on the machine's seed and a number only, so that a run can be repeated;
//! they protect nothing but a test's loopback connections.

use std::fs;
use std::path::PathBuf;
use std::process;
use std::sync::OnceLock;

use num_bigint::BigUint;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use sha2::{Digest, Sha256};

use crate::der::{SEQUENCE, unsigned, wrap};

/// Where this process keeps the primes it finds, for those after it.
static KEPT: OnceLock<PathBuf> = OnceLock::new();

/// Keeps primes there from now on, and finds those of this machine's first keys: to find them is most of what a simulated
/// machine costs, and no answer is to wait for them. Counts once per process.
pub fn keep(dir: PathBuf, seed: u64) {
    /// More than any run of the tests makes.
    const KEYS: u32 = 6;
    if KEPT.set(dir).is_ok() {
        for number in (1..=KEYS).filter(|number| kept(seed, *number).is_none()) {
            found(seed, number);
        }
    }
}

/// A key pair. Not to be shown: it has no `Debug`.
#[derive(Clone)]
pub struct KeyPair {
    /// PKCS#1 RSAPublicKey.
    pub public: Vec<u8>,
    private: Vec<u8>,
}

impl KeyPair {
    /// The `number`-th key of 2048 bits of the machine with this seed.
    #[must_use]
    pub fn generate(seed: u64, number: u32) -> Self {
        let [mut p, mut q] = kept(seed, number).unwrap_or_else(|| found(seed, number));
        if p < q {
            std::mem::swap(&mut p, &mut q);
        }
        let (one, e) = (BigUint::from(1u8), BigUint::from(65_537u32));
        let (p1, q1) = (&p - &one, &q - &one);
        let (n, d) = (&p * &q, e.modinv(&(&p1 * &q1)).unwrap_or_default());
        let inverse = q.modinv(&p).unwrap_or_default();
        let number = |number: &BigUint| unsigned(&number.to_bytes_be());
        let parts = [&n, &e, &d, &p, &q, &(&d % &p1), &(&d % &q1), &inverse].map(number);
        let version: &[u8] = &[2, 1, 0];
        let all: Vec<&[u8]> = std::iter::once(version).chain(parts.iter().map(Vec::as_slice)).collect();
        Self { public: wrap(SEQUENCE, &all[1..3]), private: wrap(SEQUENCE, &all) }
    }

    /// PKCS#1 RSAPrivateKey, for this process's own TLS only.
    #[must_use]
    pub fn private(&self) -> &[u8] {
        &self.private
    }

    /// A PKCS#1 v1.5 signature with SHA-256.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let key = RsaKeyPair::from_der(&self.private).ok()?;
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).ok()?;
        Some(signature)
    }
}

/// The primes of that key, as an earlier process found them.
fn kept(seed: u64, number: u32) -> Option<[BigUint; 2]> {
    let bytes = fs::read(KEPT.get()?.join(format!("{seed}-{number}"))).ok()?;
    let (p, q) = bytes.split_at_checked(128)?;
    (q.len() == 128).then(|| [p, q].map(BigUint::from_bytes_be))
}

fn found(seed: u64, number: u32) -> [BigUint; 2] {
    let primes = [0, 1].map(|half| prime(seed, &format!("{number}/{half}")));
    if let Some(dir) = KEPT.get() {
        // Under a name of its own first: others may be looking. Whoever cannot keep it finds it again.
        let part = dir.join(format!("{seed}-{number}.{}", process::id()));
        let _ = fs::create_dir_all(dir)
            .and_then(|()| fs::write(&part, primes.each_ref().map(BigUint::to_bytes_be).concat()))
            .and_then(|()| fs::rename(&part, dir.join(format!("{seed}-{number}"))));
    }
    primes
}

/// A prime of 1024 bits whose two highest bits are set, so that a product of two has 2048, and which fits e = 65537.
fn prime(seed: u64, label: &str) -> BigUint {
    let mut bytes = Vec::new();
    for block in 0u8..4 {
        let hash = Sha256::new().chain_update(seed.to_be_bytes()).chain_update(label).chain_update([block]);
        bytes.extend(hash.finalize());
    }
    bytes[0] |= 0xc0;
    bytes[127] |= 1;
    let start = BigUint::from_bytes_be(&bytes);
    let small: Vec<u32> =
        (3u32..4096).filter(|n| (2..*n).take_while(|d| d * d <= *n).all(|d| n % d != 0)).collect();
    let remainders: Vec<u32> = small.iter().map(|prime| remainder(&start, *prime)).collect();
    let sieved =
        |step: &u32| small.iter().zip(&remainders).all(|(prime, rest)| !(rest + step).is_multiple_of(*prime));
    let e = 65_537;
    // Steps stay far below 2^24, so the two highest bits stay set for every start but one in 2^1000.
    let mut found = (0..1u32 << 22).map(|step| step * 2).filter(sieved).map(|step| &start + step);
    found.find(|n| remainder(n, e) != 1 && is_prime(n)).unwrap_or_default()
}

fn remainder(number: &BigUint, by: u32) -> u32 {
    (number % by).iter_u32_digits().next().unwrap_or(0)
}

/// Miller and Rabin, to the bases 2, 3, 5 and 7: for numbers that nobody chose to deceive.
fn is_prime(n: &BigUint) -> bool {
    let one = BigUint::from(1u8);
    let less = n - &one;
    let twos = less.trailing_zeros().unwrap_or(0);
    let odd = &less >> twos;
    [2u8, 3, 5, 7].iter().all(|base| {
        let mut x = BigUint::from(*base).modpow(&odd, n);
        if x == one || x == less {
            return true;
        }
        (1..twos).any(|_| {
            x = &x * &x % n;
            x == less
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::x509::{Key, oid};

    #[test]
    fn a_key_signs_and_depends_on_seed_and_number() {
        let key = KeyPair::generate(1, 0);
        let signature = key.sign(b"text").unwrap();
        assert!(Key::Rsa(key.public.clone()).verifies(oid::RSA_SHA256, b"text", &signature));
        assert!(!Key::Rsa(key.public.clone()).verifies(oid::RSA_SHA256, b"other", &signature));
        assert_eq!(key.public.len(), 270, "2048 bits");
        assert_ne!(KeyPair::generate(2, 0).public, key.public);
        assert_eq!(KeyPair::generate(1, 0).public, key.public);
    }
}
