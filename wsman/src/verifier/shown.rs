//! A certificate of ours, for a device that lets in no client without one (`reference/amt.md` 5.9).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::{
    ClientConfig, Error, SignatureScheme, client::ResolvesClientCert, crypto::ring::sign::any_supported_type,
    pki_types::CertificateDer, pki_types::PrivateKeyDer, sign::CertifiedKey,
};

/// A client's certificate with its key. No `Debug`.
#[derive(Clone)]
pub struct ClientCertificate(Arc<CertifiedKey>);

impl ClientCertificate {
    /// `chain` is DER, the client's own certificate first.
    ///
    /// # Errors
    /// Where this build has no use for the key, or it is not that of the first certificate.
    pub fn new(chain: Vec<Vec<u8>>, key: &PrivateKeyDer<'_>) -> Result<Self, Error> {
        let chain = chain.into_iter().map(CertificateDer::from).collect();
        let certified = CertifiedKey::new(chain, any_supported_type(key)?);
        certified.keys_match()?;
        Ok(Self(Arc::new(certified)))
    }
}

/// Whether the device asked for a client's certificate in any handshake so far.
#[derive(Clone, Debug, Default)]
pub struct Asked(Arc<AtomicBool>);

impl Asked {
    /// As it is now.
    pub fn was(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Makes a configuration show `own` where the device asks, or nothing, and tell whether it asked.
pub fn show(config: &mut ClientConfig, own: Option<&ClientCertificate>) -> Asked {
    let asked = Asked::default();
    config.client_auth_cert_resolver =
        Arc::new(Shown { own: own.map(|own| Arc::clone(&own.0)), asked: asked.clone() });
    asked
}

struct Shown {
    own: Option<Arc<CertifiedKey>>,
    asked: Asked,
}

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shown").field("has_own", &self.own.is_some()).finish_non_exhaustive()
    }
}

impl ResolvesClientCert for Shown {
    /// What the device names as issuers it would like is no rule for us: it is for the device to refuse.
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.0.store(true, Ordering::Relaxed);
        self.own.clone()
    }

    fn has_certs(&self) -> bool {
        self.own.is_some()
    }
}
