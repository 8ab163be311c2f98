//! The certificate that an unprovisioned AMT makes on its own die (`reference/amt.md` 4.7): from AMT 19 on it is what the
//! local TLS port shows before there is any other.
//!
//! It proves that the other end is firmware of Intel's making, and, with the two bindings, this machine's.

use std::sync::Arc;

use ring::digest::{SHA256, SHA384, digest};
use rustls::{
    CertificateError, Error, OtherError,
    client::danger::{ServerCertVerified, ServerCertVerifier},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use x509_parser::prelude::{FromDer, X509Certificate, X509Name};

use super::signature_checks;
use crate::x509::{certificate_pin, verify_signature};

/// SHA-256 of Intel's on-die root: OU "OnDie CA Root Cert Signing", P-384, 2019-04-03 to 2049-12-31.
pub const ON_DIE_ROOT: [u8; 32] = [
    0xbe, 0xb4, 0x0b, 0xb7, 0x50, 0x7b, 0x33, 0x96, 0x72, 0x26, 0xaa, 0x80, 0xe0, 0x84, 0x74, 0x9f, 0xbb,
    0x65, 0x93, 0x89, 0x3c, 0x64, 0x2e, 0x81, 0x8d, 0x68, 0x2e, 0x9a, 0x8d, 0x07, 0xfc, 0x24,
];

/// That root's certificate (DER), as Intel publishes it (tsci.intel.com/content/OnDieCA/certs): devices leave it out.
pub const INTEL_ON_DIE_ROOT: &[u8] = include_bytes!("intel-on-die-root.der");

/// Accepts an on-die chain. Revocation is not checked.
#[derive(Debug, Clone)]
pub struct OnDie {
    /// SHA-256 of the root, [`ON_DIE_ROOT`] for real firmware.
    pub root_sha256: [u8; 32],
    /// The root's certificate (DER), for devices that do not send it. One with another hash is not used.
    pub root: Option<Vec<u8>>,
    /// The hash of the leaf that StartConfigurationHBased answered: 32 bytes of SHA-256 or 48 of SHA-384.
    pub leaf_hash: Option<Vec<u8>>,
    /// The hardware serial of the platform's UPID, whose first 20 bytes are those of the ROM certificate's SHA-256.
    pub upid_serial: Option<[u8; 32]>,
}

/// Which rule an on-die chain breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OnDieRefusal {
    /// One certificate: AMT shows its own or ours, so it has left pre-provisioning.
    #[error("the device shows a single certificate: it is not in pre-provisioning any more; read its state")]
    Single,
    /// One certificate that another key signed: neither the die's nor AMT's own making.
    #[error(
        "the device shows a single certificate that it did not sign itself: others gave it one, and nothing here says which"
    )]
    NotItsOwn,
    /// Neither 4 nor 6.
    #[error("the device shows {0} certificates, an on-die chain has 4 or 6")]
    Length(usize),
    /// Not the leaf of AMT's setup.
    #[error("the device's certificate is not named as that of AMT's setup")]
    LeafName,
    /// The fourth certificate is not a ROM's.
    #[error("the fourth certificate of the chain is not that of a CSME ROM")]
    RomName,
    /// A certificate was not signed by the next one, which must be a CA.
    #[error("certificate number {0} of the chain was not issued by the next one")]
    Link(usize),
    /// A certificate is not valid now.
    #[error("certificate number {0} of the chain is not valid now; check this machine's clock")]
    Time(usize),
    /// The chain ends elsewhere.
    #[error("the chain does not end at Intel's on-die root, or that root's certificate is not at hand")]
    Root,
    /// Another leaf than the firmware said over MEI.
    #[error(
        "the device's certificate is another one than the firmware told over MEI: somebody stands in between"
    )]
    LeafHash,
    /// The ROM of another machine.
    #[error("the chain is that of another machine: its ROM certificate does not fit this platform's UPID")]
    Upid,
}

impl OnDie {
    /// Judges a chain in the order of the wire, leaf first. `now` is in seconds since 1970.
    pub fn judge(&self, chain: &[&[u8]], now: i64) -> Result<(), OnDieRefusal> {
        let (leaf, rom) = match chain {
            [_] => return Err(OnDieRefusal::Single),
            [leaf, _, _, rom] | [leaf, _, _, rom, _, _] => (*leaf, *rom),
            other => return Err(OnDieRefusal::Length(other.len())),
        };
        if let Some(expected) = &self.leaf_hash {
            let algorithm = if expected.len() == 48 { &SHA384 } else { &SHA256 };
            if digest(algorithm, leaf).as_ref() != expected.as_slice() {
                return Err(OnDieRefusal::LeafHash);
            }
        }
        let parsed: Vec<_> = chain
            .iter()
            .enumerate()
            .map(|(index, der)| {
                let (rest, one) =
                    X509Certificate::from_der(der).map_err(|_| OnDieRefusal::Link(index + 1))?;
                if rest.is_empty() { Ok(one) } else { Err(OnDieRefusal::Link(index + 1)) }
            })
            .collect::<Result<_, _>>()?;
        if !parsed
            .first()
            .is_some_and(|leaf| texts(leaf.subject(), COMMON_NAME).any(|name| LEAVES.contains(&name)))
        {
            return Err(OnDieRefusal::LeafName);
        }
        if !parsed.get(3).is_some_and(is_rom) {
            return Err(OnDieRefusal::RomName);
        }
        self.judge_links(chain, &parsed, now)?;
        match self.upid_serial {
            Some(serial) if serial.get(..BOUND) != certificate_pin(rom).get(..BOUND) => {
                Err(OnDieRefusal::Upid)
            }
            _ => Ok(()),
        }
    }

    fn judge_links(
        &self,
        chain: &[&[u8]],
        parsed: &[X509Certificate<'_>],
        now: i64,
    ) -> Result<(), OnDieRefusal> {
        for (index, one) in parsed.iter().enumerate() {
            let validity = one.validity();
            if now < validity.not_before.timestamp() || now > validity.not_after.timestamp() {
                return Err(OnDieRefusal::Time(index + 1));
            }
        }
        for (index, (pair, der)) in parsed.windows(2).zip(chain).enumerate() {
            if let [one, issuer] = pair
                && !is_issued_by(der, one, issuer)
            {
                return Err(OnDieRefusal::Link(index + 1));
            }
        }
        let (Some(last), Some(last_der)) = (parsed.last(), chain.last()) else {
            return Err(OnDieRefusal::Root);
        };
        if certificate_pin(last_der) == self.root_sha256 {
            return Ok(());
        }
        let root = self.root.as_deref().filter(|root| certificate_pin(root) == self.root_sha256);
        let root = root.and_then(|root| X509Certificate::from_der(root).ok());
        match root {
            Some((_, root)) if is_issued_by(last_der, last, &root) => Ok(()),
            _ => Err(OnDieRefusal::Root),
        }
    }
}

impl ServerCertVerifier for OnDie {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain: Vec<&[u8]> = std::iter::once(leaf).chain(intermediates).map(AsRef::as_ref).collect();
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        match self.judge(&chain, now) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(refusal) => {
                Err(Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refusal)))))
            }
        }
    }

    signature_checks!();
}

fn is_issued_by(der: &[u8], one: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> bool {
    one.issuer().as_raw() == issuer.subject().as_raw()
        && issuer.is_ca()
        && verify_signature(der, issuer.public_key().raw) == Some(true)
}

fn is_rom(certificate: &X509Certificate<'_>) -> bool {
    texts(certificate.subject(), COMMON_NAME).any(|name| name.contains("ROM CA") || name.contains("ROM DE"))
        && texts(certificate.issuer(), UNIT)
            .any(|unit| unit.starts_with("ODCA 2 CSME") || unit.starts_with("On Die CSME"))
}

fn texts<'a>(name: &'a X509Name<'_>, oid: &'static str) -> impl Iterator<Item = &'a str> {
    let attributes =
        name.iter_attributes().filter(move |attribute| attribute.attr_type().to_id_string() == oid);
    attributes.filter_map(|attribute| attribute.as_str().ok())
}

const COMMON_NAME: &str = "2.5.4.3";
const UNIT: &str = "2.5.4.11";
const LEAVES: [&str; 2] = ["AMT RCFG", "iAMT CSME IDevID RCFG"];
/// How many bytes of the ROM certificate's hash the UPID holds.
const BOUND: usize = 20;
