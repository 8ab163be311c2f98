//! One certificate and no other.

use rustls::{
    Error,
    client::danger::{ServerCertVerified, ServerCertVerifier},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use super::{Refusal, hex, signature_checks};
use crate::x509::certificate_pin;

/// Accepts the certificate with this SHA-256 and no other, whatever it says of itself: names, dates, purposes and
/// issuer are those of a certificate that we put there.
#[derive(Debug)]
pub struct Pinned([u8; 32]);

impl Pinned {
    /// `pin` is the SHA-256 of the whole certificate ([`certificate_pin`]).
    pub fn new(pin: [u8; 32]) -> Self {
        Self(pin)
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let found = certificate_pin(leaf);
        if found == self.0 {
            return Ok(ServerCertVerified::assertion());
        }
        Err(Refusal::NotPinned { expected: hex(&self.0), found: hex(&found) }.into_tls())
    }

    signature_checks!();
}
