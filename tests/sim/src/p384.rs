//! Keys on P-384 as the on-die chain has them (`reference/amt.md` 4.7). They depend on the machine's seed and a label
//! only, and so do their signatures: the same machine has the same certificates in every run. Nothing here runs in
//! constant time; the keys protect nothing but a test's loopback connections.

use num_bigint::BigUint;
use sha2::{Digest, Sha384};

use crate::der::{BIT_STRING, INTEGER, OCTET_STRING, OID, SEQUENCE, unsigned, wrap};
use crate::x509::{EC, P384};

/// A key pair. Not to be shown: it has no `Debug`.
#[derive(Clone)]
pub struct KeyPair {
    secret: BigUint,
    /// The public point, uncompressed.
    pub public: Vec<u8>,
}

impl KeyPair {
    /// The key of this label on the machine with this seed.
    #[must_use]
    pub fn derived(seed: u64, label: &str) -> Self {
        let hash = Sha384::new().chain_update(seed.to_be_bytes()).chain_update(label).finalize();
        let secret = scalar(&hash);
        let (x, y) = Curve::new().times_base(&secret);
        let public = [[4].as_slice(), &fixed(&x), &fixed(&y)].concat();
        Self { secret, public }
    }

    /// A SubjectPublicKeyInfo around the public point.
    #[must_use]
    pub fn spki(&self) -> Vec<u8> {
        wrap(SEQUENCE, &[&algorithm(), &wrap(BIT_STRING, &[&[0], &self.public])])
    }

    /// PKCS#8 PrivateKeyInfo (RFC 5208, RFC 5915), for this process's own TLS only.
    #[must_use]
    pub fn pkcs8(&self) -> Vec<u8> {
        let public = wrap(0xa1, &[&wrap(BIT_STRING, &[&[0], &self.public])]);
        let secret = wrap(OCTET_STRING, &[&fixed(&self.secret)]);
        let key = wrap(SEQUENCE, &[&[INTEGER, 1, 1], &secret, &public]);
        wrap(SEQUENCE, &[&[INTEGER, 1, 0], &algorithm(), &wrap(OCTET_STRING, &[&key])])
    }

    /// An ECDSA signature with SHA-384, as DER.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let curve = Curve::new();
        let digest = Sha384::digest(message);
        // One nonce for one key and message, as RFC 6979 wants it; its derivation is our own.
        let nonce = scalar(&Sha384::new().chain_update(fixed(&self.secret)).chain_update(digest).finalize());
        let r = curve.times_base(&nonce).0 % &curve.order;
        let sum = BigUint::from_bytes_be(&digest) + &r * &self.secret;
        let s = nonce.modinv(&curve.order).unwrap_or_default() * sum % &curve.order;
        wrap(SEQUENCE, &[&unsigned(&r.to_bytes_be()), &unsigned(&s.to_bytes_be())])
    }
}

fn algorithm() -> Vec<u8> {
    wrap(SEQUENCE, &[&wrap(OID, &[EC]), &wrap(OID, &[P384])])
}

/// 48 bytes, big-endian.
fn fixed(number: &BigUint) -> Vec<u8> {
    let digits = number.to_bytes_be();
    [vec![0; 48_usize.saturating_sub(digits.len())], digits].concat()
}

/// A number from 1 to the order, without it.
fn scalar(hash: &[u8]) -> BigUint {
    let one = BigUint::from(1u8);
    BigUint::from_bytes_be(hash) % (Curve::new().order - &one) + one
}

/// FIPS 186-4, D.1.2.4.
struct Curve {
    prime: BigUint,
    order: BigUint,
    base: [BigUint; 2],
}

/// A point as X/Z^2, Y/Z^3; the point at infinity has Z = 0.
#[derive(Clone)]
struct Point {
    x: BigUint,
    y: BigUint,
    z: BigUint,
}

impl Curve {
    fn new() -> Self {
        let number = |hex: &str| BigUint::parse_bytes(hex.as_bytes(), 16).unwrap_or_default();
        Self {
            prime: number(concat!(
                "ffffffffffffffffffffffffffffffffffffffffffffffff",
                "fffffffffffffffeffffffff0000000000000000ffffffff"
            )),
            order: number(concat!(
                "ffffffffffffffffffffffffffffffffffffffffffffffff",
                "c7634d81f4372ddf581a0db248b0a77aecec196accc52973"
            )),
            base: [
                number(concat!(
                    "aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b98",
                    "59f741e082542a385502f25dbf55296c3a545e3872760ab7"
                )),
                number(concat!(
                    "3617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147c",
                    "e9da3113b5f0b8c00a60b1ce1d7e819d7a431d7c90ea0e5f"
                )),
            ],
        }
    }

    fn times_base(&self, scalar: &BigUint) -> (BigUint, BigUint) {
        let one = BigUint::from(1u8);
        let [x, y] = self.base.clone();
        let base = Point { x, y, z: one.clone() };
        let mut sum = Point { x: one.clone(), y: one, z: BigUint::default() };
        for bit in (0..scalar.bits()).rev() {
            sum = self.doubled(&sum);
            if scalar.bit(bit) {
                sum = self.added(&sum, &base);
            }
        }
        let inverse = sum.z.modinv(&self.prime).unwrap_or_default();
        let square = &inverse * &inverse % &self.prime;
        (sum.x * &square % &self.prime, sum.y * square % &self.prime * inverse % &self.prime)
    }

    fn minus(&self, a: &BigUint, b: &BigUint) -> BigUint {
        (a + &self.prime - b % &self.prime) % &self.prime
    }

    fn doubled(&self, point: &Point) -> Point {
        let prime = &self.prime;
        let zz = &point.z * &point.z % prime;
        let yy = &point.y * &point.y % prime;
        let s = &point.x * &yy * 4u8 % prime;
        // The curve's a is -3.
        let m = self.minus(&point.x, &zz) * (&point.x + &zz) * 3u8 % prime;
        let x = self.minus(&(&m * &m), &(&s * 2u8));
        let y = self.minus(&(&m * self.minus(&s, &x)), &(&yy * &yy * 8u8));
        let z = &point.y * &point.z * 2u8 % prime;
        Point { x, y, z }
    }

    /// `b` has Z = 1 and is neither `a` nor its negative: both would take a scalar next to the order.
    fn added(&self, a: &Point, b: &Point) -> Point {
        if a.z == BigUint::default() {
            return b.clone();
        }
        let prime = &self.prime;
        let zz = &a.z * &a.z % prime;
        let h = self.minus(&(&b.x * &zz), &a.x);
        let r = self.minus(&(&b.y * &zz % prime * &a.z), &a.y);
        let hh = &h * &h % prime;
        let hhh = &hh * &h % prime;
        let v = &a.x * &hh % prime;
        let x = self.minus(&(&r * &r), &(&hhh + &v * 2u8));
        let y = self.minus(&(r * self.minus(&v, &x)), &(&a.y * hhh));
        let z = &a.z * h % prime;
        Point { x, y, z }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::x509::{Key, oid};

    #[test]
    fn another_library_takes_the_signatures_and_the_keys() {
        for label in ["a", "b", "c"] {
            let key = KeyPair::derived(1, label);
            let signature = key.sign(b"text");
            assert!(Key::P384(key.public.clone()).verifies(oid::ECDSA_SHA384, b"text", &signature));
            assert!(!Key::P384(key.public.clone()).verifies(oid::ECDSA_SHA384, b"other", &signature));
            assert_eq!(signature, KeyPair::derived(1, label).sign(b"text"));
            assert_ne!(KeyPair::derived(2, label).public, key.public);
            let algorithm = &ring::signature::ECDSA_P384_SHA384_ASN1_SIGNING;
            let random = ring::rand::SystemRandom::new();
            ring::signature::EcdsaKeyPair::from_pkcs8(algorithm, &key.pkcs8(), &random).unwrap();
        }
    }
}
