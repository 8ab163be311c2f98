//! Certificates and certificate requests, as far as AMT looks at them, and their signatures.

use ring::signature::{self, UnparsedPublicKey};

use crate::der::{
    BIT_STRING, BOOLEAN, INTEGER, OCTET_STRING, OID, Reader, SEQUENCE, SET, bits, unsigned, wrap,
};

/// Object identifiers, as DER content.
pub mod oid {
    /// RSA keys.
    pub const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    /// sha256WithRSAEncryption.
    pub const RSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b];
    /// sha384WithRSAEncryption.
    pub const RSA_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0c];
    /// sha512WithRSAEncryption.
    pub const RSA_SHA512: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0d];
    /// ecdsa-with-SHA256.
    pub const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
    /// ecdsa-with-SHA384.
    pub const ECDSA_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03];
    /// commonName.
    pub const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
    /// organizationName.
    pub const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0a];
    /// organizationalUnitName.
    pub const UNIT: &[u8] = &[0x55, 0x04, 0x0b];
    /// countryName.
    pub const COUNTRY: &[u8] = &[0x55, 0x04, 0x06];
    /// basicConstraints.
    pub const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
    /// extKeyUsage.
    pub const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
    /// serverAuth.
    pub const SERVER_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];
    /// Intel AMT provisioning, 2.16.840.1.113741.1.2.3.
    pub const AMT_PROVISIONING: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x86, 0xf8, 0x4d, 0x01, 0x02, 0x03];
    /// A console that comes over the network, 2.16.840.1.113741.1.2.1.
    pub const AMT_CONSOLE: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x86, 0xf8, 0x4d, 0x01, 0x02, 0x01];
    /// One that comes from the host, 2.16.840.1.113741.1.2.2.
    pub const AMT_LOCAL_CONSOLE: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x86, 0xf8, 0x4d, 0x01, 0x02, 0x02];
}

const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
pub(crate) const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
pub(crate) const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// PKCS#1 RSAPublicKey.
    Rsa(Vec<u8>),
    /// A point on P-256.
    P256(Vec<u8>),
    /// A point on P-384.
    P384(Vec<u8>),
}

impl Key {
    /// Whether `signature` is this key's over `message`. SHA-1 and RSA below 2048 bits are refused.
    #[must_use]
    pub fn verifies(&self, algorithm: &[u8], message: &[u8], signature: &[u8]) -> bool {
        let (with, key): (&dyn signature::VerificationAlgorithm, _) = match (self, algorithm) {
            (Self::Rsa(key), oid::RSA_SHA256) => (&signature::RSA_PKCS1_2048_8192_SHA256, key),
            (Self::Rsa(key), oid::RSA_SHA384) => (&signature::RSA_PKCS1_2048_8192_SHA384, key),
            (Self::Rsa(key), oid::RSA_SHA512) => (&signature::RSA_PKCS1_2048_8192_SHA512, key),
            (Self::P256(key), oid::ECDSA_SHA256) => (&signature::ECDSA_P256_SHA256_ASN1, key),
            (Self::P256(key), oid::ECDSA_SHA384) => (&signature::ECDSA_P256_SHA384_ASN1, key),
            (Self::P384(key), oid::ECDSA_SHA256) => (&signature::ECDSA_P384_SHA256_ASN1, key),
            (Self::P384(key), oid::ECDSA_SHA384) => (&signature::ECDSA_P384_SHA384_ASN1, key),
            _ => return false,
        };
        UnparsedPublicKey::new(with, key).verify(message, signature).is_ok()
    }

    fn of_spki(spki: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(Reader::only(spki, SEQUENCE)?);
        let mut algorithm = Reader::new(reader.expect(SEQUENCE)?);
        let key = reader.expect(BIT_STRING)?.strip_prefix(&[0])?.to_vec();
        let kind = algorithm.expect(OID)?;
        match (kind, algorithm.expect(OID)) {
            (oid::RSA, None) => Some(Self::Rsa(key)),
            (EC, Some(P256)) => Some(Self::P256(key)),
            (EC, Some(P384)) => Some(Self::P384(key)),
            _ => None,
        }
    }
}

/// A SubjectPublicKeyInfo around a PKCS#1 RSAPublicKey.
#[must_use]
pub fn spki(rsa: &[u8]) -> Vec<u8> {
    let algorithm = wrap(SEQUENCE, &[&wrap(OID, &[oid::RSA]), &[5, 0]]);
    wrap(SEQUENCE, &[&algorithm, &bits(rsa)])
}

/// A certificate.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// All of it.
    pub der: Vec<u8>,
    /// The subject's name, as DER.
    pub subject: Vec<u8>,
    /// The issuer's name, as DER.
    pub issuer: Vec<u8>,
    /// Its key.
    pub key: Key,
    /// Whether basicConstraints say that it is an authority.
    pub is_authority: bool,
    /// The purposes that extKeyUsage lists.
    pub purposes: Vec<Vec<u8>>,
    signed: Signed,
}

impl Certificate {
    /// Reads one DER certificate and nothing else.
    #[must_use]
    pub fn parse(der: &[u8]) -> Option<Self> {
        let signed = Signed::parse(der)?;
        let mut tbs = Reader::new(Reader::only(&signed.body, SEQUENCE)?);
        let _version = tbs.expect(0xa0);
        let _serial = tbs.expect(INTEGER)?;
        let _algorithm = tbs.expect(SEQUENCE)?;
        let mut name = || tbs.take().filter(|element| element.tag == SEQUENCE);
        let (issuer, _validity, subject, spki) = (name()?, name()?, name()?, name()?);
        let mut certificate = Self {
            der: der.to_vec(),
            subject: subject.whole.to_vec(),
            issuer: issuer.whole.to_vec(),
            key: Key::of_spki(spki.whole)?,
            is_authority: false,
            purposes: Vec::new(),
            signed,
        };
        let signed_body = certificate.signed.body.clone();
        let mut tbs = Reader::new(Reader::only(&signed_body, SEQUENCE)?);
        while let Some(element) = tbs.take() {
            if element.tag == 0xa3 {
                certificate.read_extensions(element.content)?;
            }
        }
        Some(certificate)
    }

    fn read_extensions(&mut self, content: &[u8]) -> Option<()> {
        let mut extensions = Reader::new(Reader::only(content, SEQUENCE)?);
        while !extensions.is_empty() {
            let mut extension = Reader::new(extensions.expect(SEQUENCE)?);
            let id = extension.expect(OID)?;
            let _critical = extension.expect(BOOLEAN);
            let value = Reader::only(extension.expect(OCTET_STRING)?, SEQUENCE);
            match id {
                oid::BASIC_CONSTRAINTS => {
                    let flag = Reader::new(value?).expect(BOOLEAN);
                    self.is_authority = flag.is_some_and(|flag| flag != [0]);
                }
                oid::EXTENDED_KEY_USAGE => {
                    let mut purposes = Reader::new(value?);
                    while !purposes.is_empty() {
                        self.purposes.push(purposes.expect(OID)?.to_vec());
                    }
                }
                _ => {}
            }
        }
        Some(())
    }

    /// Whether `issuer` issued this one: names and signature.
    #[must_use]
    pub fn is_issued_by(&self, issuer: &Self) -> bool {
        self.issuer == issuer.subject && self.signed.is_signed_by(&issuer.key)
    }

    /// The values of one attribute of the subject.
    #[must_use]
    pub fn subject_values(&self, id: &[u8]) -> Vec<String> {
        attributes(&self.subject).into_iter().filter(|(known, _)| *known == id).map(|(_, v)| v).collect()
    }
}

/// A name as AMT shows it: last part first, `C=..,O=..,CN=..` (recorded).
#[must_use]
pub fn shown(name: &[u8]) -> String {
    let parts = attributes(name).into_iter().rev().filter_map(|(id, value)| {
        let word = match id {
            oid::COMMON_NAME => "CN",
            oid::ORGANIZATION => "O",
            oid::UNIT => "OU",
            oid::COUNTRY => "C",
            _ => return None,
        };
        Some(format!("{word}={value}"))
    });
    parts.collect::<Vec<_>>().join(",")
}

fn attributes(name: &[u8]) -> Vec<(&[u8], String)> {
    let mut sets = Reader::new(Reader::only(name, SEQUENCE).unwrap_or_default());
    let mut found = Vec::new();
    while let Some(set) = sets.expect(SET) {
        let mut parts = Reader::new(set);
        while let Some(part) = parts.expect(SEQUENCE) {
            let mut part = Reader::new(part);
            if let (Some(id), Some(value)) = (part.expect(OID), part.take()) {
                found.push((id, String::from_utf8_lossy(value.content).into_owned()));
            }
        }
    }
    found
}

/// A PKCS#10 request (RFC 2986).
pub struct CertificateRequest {
    /// The CertificationRequestInfo, as DER.
    pub body: Vec<u8>,
    /// The key it is for.
    pub key: Key,
}

impl CertificateRequest {
    /// Reads a request; what its signature is worth is not looked at, since AMT takes null-signed ones.
    #[must_use]
    pub fn parse(der: &[u8]) -> Option<Self> {
        let signed = Signed::parse(der)?;
        let mut info = Reader::new(Reader::only(&signed.body, SEQUENCE)?);
        let _version = info.expect(INTEGER)?;
        let _subject = info.expect(SEQUENCE)?;
        let key = Key::of_spki(info.take()?.whole)?;
        Some(Self { body: signed.body, key })
    }
}

/// The shape that certificates and requests share: body, algorithm, signature.
#[derive(Clone, Debug)]
struct Signed {
    body: Vec<u8>,
    algorithm: Vec<u8>,
    signature: Vec<u8>,
}

impl Signed {
    fn parse(der: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(Reader::only(der, SEQUENCE)?);
        let body = reader.take().filter(|element| element.tag == SEQUENCE)?.whole.to_vec();
        let algorithm = Reader::new(reader.expect(SEQUENCE)?).expect(OID)?.to_vec();
        let signature = reader.expect(BIT_STRING)?.strip_prefix(&[0])?.to_vec();
        reader.is_empty().then_some(Self { body, algorithm, signature })
    }

    fn is_signed_by(&self, key: &Key) -> bool {
        key.verifies(&self.algorithm, &self.body, &self.signature)
    }
}

/// Body, sha256WithRSAEncryption and signature in one sequence.
#[must_use]
pub fn signed(body: &[u8], signature: &[u8]) -> Vec<u8> {
    let algorithm = wrap(SEQUENCE, &[&wrap(OID, &[oid::RSA_SHA256]), &[5, 0]]);
    wrap(SEQUENCE, &[body, &algorithm, &bits(signature)])
}

/// The body of a self-signed version 3 certificate without extensions, for `CN=name` and this RSA key.
#[must_use]
pub fn self_issued(name: &str, serial: &[u8], rsa: &[u8]) -> Vec<u8> {
    let value = wrap(0x0c, &[name.as_bytes()]);
    let part = wrap(SEQUENCE, &[&wrap(OID, &[oid::COMMON_NAME]), &value]);
    let name = wrap(SEQUENCE, &[&wrap(SET, &[&part])]);
    let algorithm = wrap(SEQUENCE, &[&wrap(OID, &[oid::RSA_SHA256]), &[5, 0]]);
    // Long past and far ahead: the firmware's clock may be off.
    let validity = wrap(SEQUENCE, &[&wrap(0x17, &[b"190101000000Z"]), &wrap(0x17, &[b"491231235959Z"])]);
    let version = wrap(0xa0, &[&[INTEGER, 1, 2]]);
    wrap(SEQUENCE, &[&version, &unsigned(serial), &algorithm, &name, &validity, &name, &spki(rsa)])
}
