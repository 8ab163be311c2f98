//! The certificate that AMT makes for itself when its provisioning begins (`reference/amt.md` 4.5, 4.7): signed by its own
//! key, so nothing but the way to it tells whose it is.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::{
    CertificateError, Error, OtherError,
    client::danger::{ServerCertVerified, ServerCertVerifier},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{OnDie, OnDieRefusal, Refusal, hex, signature_checks};
use crate::x509::{certificate_pin, verify_signature};

/// Accepts an on-die chain, or one certificate that signs itself; whichever came first is the only one from then on.
///
/// It is for a channel that leads to the firmware by its own nature (a MEI client that the kernel serves), and for the
/// time when AMT has left pre-provisioning and nobody has told yet what it shows now. It is no verifier for a network.
#[derive(Debug)]
pub struct SelfMade {
    on_die: OnDie,
    seen: Mutex<Option<[u8; 32]>>,
}

impl SelfMade {
    /// `on_die` judges what is more than one certificate.
    pub fn new(on_die: OnDie) -> Self {
        Self { on_die, seen: Mutex::new(None) }
    }

    /// SHA-256 of the certificate that was accepted, once a handshake was.
    pub fn seen(&self) -> Option<[u8; 32]> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Judges a chain in the order of the wire. `now` is in seconds since 1970; for the one certificate it does not
    /// matter, since AMT's clock may be any.
    pub fn judge(&self, chain: &[&[u8]], now: i64) -> Result<(), OnDieRefusal> {
        match chain {
            [own] if signs_itself(own) => Ok(()),
            [_] => Err(OnDieRefusal::NotItsOwn),
            more => self.on_die.judge(more, now),
        }
    }
}

impl ServerCertVerifier for SelfMade {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let found = certificate_pin(leaf);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(expected) = seen.filter(|expected| *expected != found) {
            return Err(Refusal::NotPinned { expected: hex(&expected), found: hex(&found) }.into_tls());
        }
        let chain: Vec<&[u8]> = std::iter::once(leaf).chain(intermediates).map(AsRef::as_ref).collect();
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        self.judge(&chain, now).map_err(|refusal| {
            Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refusal))))
        })?;
        *seen = Some(found);
        Ok(ServerCertVerified::assertion())
    }

    signature_checks!();
}

fn signs_itself(der: &[u8]) -> bool {
    let Ok((rest, certificate)) = X509Certificate::from_der(der) else { return false };
    rest.is_empty()
        && certificate.issuer().as_raw() == certificate.subject().as_raw()
        && verify_signature(der, certificate.public_key().raw) == Some(true)
}
