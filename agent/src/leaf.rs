//! The certificate of AMT's TLS ports: for a key that AMT made and that never leaves it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use oob_policy::Detection;
use oob_wsman::x509::certificate_facts;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, Error, ExtendedKeyUsagePurpose, Issuer, KeyUsagePurpose,
    PKCS_RSA_SHA256, PublicKeyData, SerialNumber, SignatureAlgorithm, SigningKey,
};
use time::{Duration, OffsetDateTime};

use crate::certificate::Certified;

/// AMT's clock may be off, so a certificate begins a year ago (reference/amt.md 4.6).
const BEFORE: Duration = Duration::days(365);
/// The device's life; a pin is given up by replacing the certificate, not by waiting.
const AFTER: Duration = Duration::days(20 * 365);

/// The public half of a key in AMT.
pub struct DeviceKey(Vec<u8>);

impl DeviceKey {
    /// `DERKey` of AMT_PublicPrivateKeyPair: base64 of a PKCS#1 `RSAPublicKey`.
    pub fn from_base64(text: &str) -> Option<Self> {
        STANDARD.decode(text.trim()).ok().map(Self)
    }
}

impl PublicKeyData for &DeviceKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_RSA_SHA256
    }
}

/// How the certificate names the device: by its host name where that is known, else by AMT's own id.
pub fn name_of(detection: &Detection) -> String {
    let known = |name: &str| detection.known(name);
    let plain = |name: &&str| {
        let mut bytes = name.bytes();
        !name.is_empty()
            && name.len() <= 63
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
    };
    let host = known("host.name").filter(plain);
    let id = known("intel.amt.uuid").or_else(|| known("host.uuid")).filter(plain);
    host.or(id).unwrap_or("amt").to_owned()
}

/// A PKCS#10 request without a signature, for AMT to sign.
///
/// # Errors
/// A sentence for people.
pub fn request(name: &str, key: &DeviceKey) -> Result<Vec<u8>, String> {
    // What is asked for is ours to decide when the certificate is issued; the request proves the key alone.
    let mut params = CertificateParams::default();
    params.distinguished_name = called(name);
    let request = params.serialize_request(&NullSigned(key));
    Ok(request.map_err(|error| unmade(&error))?.der().to_vec())
}

/// As [`request`], for a CA that goes by what is asked for: the name, and the purposes of a TLS server.
///
/// # Errors
/// A sentence for people.
pub fn request_in_full(name: &str, key: &DeviceKey) -> Result<Vec<u8>, String> {
    let mut params = CertificateParams::new([name.to_owned()]).map_err(|error| unmade(&error))?;
    params.distinguished_name = called(name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let request = params.serialize_request(&NullSigned(key));
    Ok(request.map_err(|error| unmade(&error))?.der().to_vec())
}

/// The certificate: by the org's CA where there is one, else by nobody.
///
/// # Errors
/// A sentence for people.
pub fn issue(name: &str, key: &DeviceKey, issuer: Option<&Certified>) -> Result<Vec<u8>, String> {
    let mut params = params(name)?;
    // One that outlives its CA would be believed by nobody in the end.
    if let Some(ends) = issuer.and_then(ends) {
        params.not_after = params.not_after.min(ends);
    }
    let made = match issuer {
        Some(ca) => {
            let held = ca.chain.first().ok_or("the TLS CA has no certificate")?.as_slice();
            let issuer = Issuer::from_ca_cert_der(&held.into(), CaKey(ca)).map_err(|error| unmade(&error))?;
            params.signed_by(&key, &issuer)
        }
        None => {
            let mut nobody = CertificateParams::default();
            nobody.distinguished_name = called("pinned, issued by nobody");
            params.signed_by(&key, &Issuer::new(nobody, Nobody))
        }
    };
    Ok(made.map_err(|error| unmade(&error))?.der().to_vec())
}

fn ends(ca: &Certified) -> Option<OffsetDateTime> {
    let facts = certificate_facts(ca.chain.first()?)?;
    OffsetDateTime::from_unix_timestamp(facts.not_after).ok()
}

fn params(name: &str) -> Result<CertificateParams, String> {
    let mut serial = [0; 16];
    getrandom::fill(&mut serial).map_err(|error| format!("making a serial number: {error}"))?;
    serial[0] &= 0x7f;
    let mut params = CertificateParams::new([name.to_owned()]).map_err(|error| unmade(&error))?;
    params.distinguished_name = called(name);
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.not_before = OffsetDateTime::now_utc() - BEFORE;
    params.not_after = OffsetDateTime::now_utc() + AFTER;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

fn called(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn unmade(error: &Error) -> String {
    format!("making AMT's TLS certificate: {error}")
}

/// AMT replaces the signature by its own (reference/amt.md 5.9 item 4).
struct NullSigned<'a>(&'a DeviceKey);

impl PublicKeyData for NullSigned<'_> {
    fn der_bytes(&self) -> &[u8] {
        &self.0.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_RSA_SHA256
    }
}

impl SigningKey for NullSigned<'_> {
    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(vec![0; 256])
    }
}

/// An issuer that would be thrown away: whoever pins a certificate compares all of it, and nobody could check a signature
/// by a key that is gone. So there is no key, and what stands in its place is random.
struct Nobody;

impl PublicKeyData for Nobody {
    fn der_bytes(&self) -> &[u8] {
        &[]
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_RSA_SHA256
    }
}

impl SigningKey for Nobody {
    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, Error> {
        let mut signature = vec![0; 256];
        getrandom::fill(&mut signature).map_err(|_| Error::RemoteKeyError)?;
        Ok(signature)
    }
}

struct CaKey<'a>(&'a Certified);

impl PublicKeyData for CaKey<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_RSA_SHA256
    }
}

impl SigningKey for CaKey<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        self.0.sign(message).map_err(|_| Error::RemoteKeyError)
    }
}
