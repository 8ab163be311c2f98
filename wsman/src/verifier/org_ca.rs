//! Certificates that the organization's CA issued.

use rustls::{
    CertificateError, Error, RootCertStore,
    client::{
        danger::{ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::{Refusal, algorithms, signature_checks};

/// Accepts what chains to a root of the organization: signatures, dates, CA flags and the purpose serverAuth are
/// checked. The address dialed is not compared; the name to compare is the machine's.
#[derive(Debug)]
pub struct OrgCa {
    roots: RootCertStore,
    name: Option<String>,
}

impl OrgCa {
    /// `roots` are DER. With `name`, the certificate must have it as common name or as DNS name; without, any machine of
    /// the organization is accepted.
    pub fn new(roots: &[Vec<u8>], name: Option<String>) -> Result<Self, Refusal> {
        let mut store = RootCertStore::empty();
        for (index, root) in roots.iter().enumerate() {
            let root = CertificateDer::from(root.as_slice());
            store.add(root.into_owned()).map_err(|_| Refusal::BadRoot { number: index + 1 })?;
        }
        if store.is_empty() {
            return Err(Refusal::BadRoot { number: 1 });
        }
        Ok(Self { roots: store, name })
    }
}

impl ServerCertVerifier for OrgCa {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(leaf)?;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            intermediates,
            now,
            algorithms().all,
        )?;
        match &self.name {
            Some(name) if !has_name(leaf, name)? => {
                Err(Refusal::OtherName { expected: name.clone() }.into_tls())
            }
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    signature_checks!();
}

/// Common names and DNS names, without regard to case. No wildcards: a machine has one name.
fn has_name(leaf: &CertificateDer<'_>, wanted: &str) -> Result<bool, Error> {
    let bad = |_| Error::InvalidCertificate(CertificateError::BadEncoding);
    let (_, certificate) = X509Certificate::from_der(leaf).map_err(bad)?;
    let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    let alternative = certificate
        .subject_alternative_name()
        .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let alternative = alternative.iter().flat_map(|names| &names.value.general_names);
    let dns = alternative.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(*name),
        _ => None,
    });
    Ok(common.chain(dns).any(|name| name.eq_ignore_ascii_case(wanted)))
}
