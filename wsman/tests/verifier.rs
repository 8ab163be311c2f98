//! Verifiers in real handshakes, in memory: what must be accepted is, what must not be is refused by name.

#![allow(clippy::unwrap_used)] // a test that cannot go on panics

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use oob_wsman::{
    verifier::{ClientCertificate, OrgCa, Pinned, Refusal, Versions, client_config, show},
    x509::certificate_pin,
};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, PKCS_ECDSA_P384_SHA384,
};
use rustls::{
    CertificateError, ClientConnection, Error, OtherError, ProtocolVersion, ServerConfig, ServerConnection,
    client::danger::ServerCertVerifier,
    crypto::ring::{default_provider, sign::any_supported_type},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesServerCert for Always {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// A server with these certificates (leaf first) and this key, whether they fit or not.
fn server(certificates: &[Vec<u8>], key: &KeyPair) -> ServerConnection {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let chain = certificates.iter().map(|der| CertificateDer::from(der.clone())).collect();
    let certified = CertifiedKey::new(chain, any_supported_type(&key).unwrap());
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Always(Arc::new(certified))));
    ServerConnection::new(Arc::new(config)).unwrap()
}

/// What the client makes of the server, over TLS 1.2 and over 1.3, which must agree.
fn handshake(
    verifier: impl ServerCertVerifier + 'static,
    certificates: &[Vec<u8>],
    key: &KeyPair,
) -> Result<(), Error> {
    let verifier: Arc<dyn ServerCertVerifier> = Arc::new(verifier);
    let old = connect(&verifier, Versions::Tls12, certificates, key);
    let new = connect(&verifier, Versions::Tls12And13, certificates, key);
    assert_eq!(format!("{:?}", old.as_ref().err()), format!("{:?}", new.as_ref().err()));
    if let (Ok(old), Ok(new)) = (old, &new) {
        assert_eq!((old, *new), (ProtocolVersion::TLSv1_2, ProtocolVersion::TLSv1_3));
    }
    new.map(drop)
}

fn connect(
    verifier: &Arc<dyn ServerCertVerifier>,
    versions: Versions,
    certificates: &[Vec<u8>],
    key: &KeyPair,
) -> Result<ProtocolVersion, Error> {
    let config = client_config(Arc::clone(verifier), versions)?;
    let mut client = ClientConnection::new(Arc::new(config), ServerName::try_from("127.0.0.1").unwrap())?;
    let mut server = server(certificates, key);
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets()?;
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut wire = wire.as_slice();
        while !wire.is_empty() {
            client.read_tls(&mut wire).unwrap();
            client.process_new_packets()?;
        }
    }
    Ok(client.protocol_version().unwrap())
}

fn refusal(error: &Error) -> Refusal {
    let Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) = &error else {
        panic!("{error:?}")
    };
    inner.downcast_ref::<Refusal>().unwrap().clone()
}

fn from_pem(pem: &str) -> Vec<u8> {
    BASE64.decode(pem.lines().filter(|line| !line.starts_with('-')).collect::<String>()).unwrap()
}

fn rsa_key() -> KeyPair {
    KeyPair::from_pem(include_str!("certificates/leaf-key.pem")).unwrap()
}

fn other_rsa_key() -> KeyPair {
    KeyPair::from_pem(include_str!("certificates/ca-key.pem")).unwrap()
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn ca(name: &str) -> CertificateParams {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

#[test]
fn the_pinned_certificate_is_accepted_whatever_it_says() {
    // Version 1, no names, signed by nobody we know; and one of a self-signed EC key without any purpose.
    let old = from_pem(include_str!("certificates/v1-leaf.pem"));
    assert_eq!(handshake(Pinned::new(certificate_pin(&old)), std::slice::from_ref(&old), &rsa_key()), Ok(()));
    let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let own = params("AMT").self_signed(&key).unwrap().der().to_vec();
    assert_eq!(handshake(Pinned::new(certificate_pin(&own)), &[own], &key), Ok(()));
}

#[test]
fn another_certificate_than_the_pinned_one_is_refused_even_of_the_same_key() {
    let pinned = from_pem(include_str!("certificates/v1-leaf.pem"));
    let served = from_pem(include_str!("certificates/sha256-leaf.pem"));
    let error = handshake(Pinned::new(certificate_pin(&pinned)), &[served, pinned], &rsa_key()).unwrap_err();
    assert!(matches!(refusal(&error), Refusal::NotPinned { .. }));
}

/// Who shows the right certificate without its key is not the device.
#[test]
fn the_handshake_must_be_signed_with_the_certificates_key() {
    for pem in [include_str!("certificates/v1-leaf.pem"), include_str!("certificates/sha256-leaf.pem")] {
        let der = from_pem(pem);
        let error = handshake(Pinned::new(certificate_pin(&der)), &[der], &other_rsa_key()).unwrap_err();
        assert_eq!(error, Error::InvalidCertificate(CertificateError::BadSignature));
    }
    let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let own = params("AMT").self_signed(&key).unwrap().der().to_vec();
    let verifier: Arc<dyn ServerCertVerifier> = Arc::new(Pinned::new(certificate_pin(&own)));
    let own = [own];
    for thief in [KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap(), rsa_key()] {
        for versions in [Versions::Tls12, Versions::Tls12And13] {
            assert!(connect(&verifier, versions, &own, &thief).is_err());
        }
        assert!(connect(&verifier, Versions::Tls12And13, &own, &key).is_ok());
    }
}

struct Organization {
    root: Vec<u8>,
    intermediate: Vec<u8>,
    intermediate_params: CertificateParams,
}

impl Organization {
    fn new() -> Self {
        let (root, intermediate_params) = (ca("Root"), ca("Issuing"));
        let issuer = Issuer::from_params(&root, other_rsa_key());
        Self {
            root: root.self_signed(&other_rsa_key()).unwrap().der().to_vec(),
            intermediate: intermediate_params.signed_by(&other_rsa_key(), &issuer).unwrap().der().to_vec(),
            intermediate_params,
        }
    }

    fn issue(&self, params: &CertificateParams) -> Vec<u8> {
        let issuer = Issuer::from_params(&self.intermediate_params, other_rsa_key());
        params.signed_by(&rsa_key(), &issuer).unwrap().der().to_vec()
    }

    fn verifier(&self, name: Option<&str>) -> OrgCa {
        OrgCa::new(std::slice::from_ref(&self.root), name.map(str::to_owned)).unwrap()
    }
}

#[test]
fn the_organizations_ca_is_accepted_without_alternative_names() {
    let organization = Organization::new();
    let mut machine = params("pc7.example.com");
    machine.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let chain = [organization.issue(&machine), organization.intermediate.clone()];
    for name in [None, Some("pc7.example.com"), Some("PC7.example.com")] {
        assert_eq!(handshake(organization.verifier(name), &chain, &rsa_key()), Ok(()), "{name:?}");
    }
    let error = handshake(organization.verifier(Some("pc8.example.com")), &chain, &rsa_key()).unwrap_err();
    assert_eq!(refusal(&error), Refusal::OtherName { expected: "pc8.example.com".to_owned() });
    // A DNS name counts as well.
    let mut machine = params("AMT");
    machine.subject_alt_names = vec![rcgen::SanType::DnsName("pc7.example.com".try_into().unwrap())];
    let chain = [organization.issue(&machine), organization.intermediate.clone()];
    assert_eq!(handshake(organization.verifier(Some("pc7.example.com")), &chain, &rsa_key()), Ok(()));
}

#[test]
fn what_is_not_of_the_organization_is_refused() {
    let organization = Organization::new();
    let machine = params("pc7.example.com");
    let leaf = organization.issue(&machine);
    let refused = |chain: &[Vec<u8>]| handshake(organization.verifier(None), chain, &rsa_key()).unwrap_err();
    // The intermediate is missing.
    let unknown = Error::InvalidCertificate(CertificateError::UnknownIssuer);
    assert_eq!(refused(std::slice::from_ref(&leaf)), unknown);
    // Self-signed under the CA's name.
    let forged = ca("Issuing").signed_by(&rsa_key(), &Issuer::from_params(&ca("Root"), rsa_key())).unwrap();
    let own = machine.signed_by(&rsa_key(), &Issuer::from_params(&ca("Issuing"), rsa_key())).unwrap();
    let error = refused(&[own.der().to_vec(), forged.der().to_vec()]);
    assert_eq!(error, Error::InvalidCertificate(CertificateError::BadSignature));
    // Expired.
    let mut expired = machine.clone();
    (expired.not_before, expired.not_after) =
        (rcgen::date_time_ymd(2000, 1, 1), rcgen::date_time_ymd(2001, 1, 1));
    let error = refused(&[organization.issue(&expired), organization.intermediate.clone()]);
    assert!(matches!(error, Error::InvalidCertificate(CertificateError::ExpiredContext { .. })), "{error:?}");
    // For something else than a server.
    let mut client = machine.clone();
    client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let error = refused(&[organization.issue(&client), organization.intermediate.clone()]);
    assert!(
        matches!(error, Error::InvalidCertificate(CertificateError::InvalidPurposeContext { .. })),
        "{error:?}"
    );
    // The right chain, the wrong key.
    let chain = [leaf, organization.intermediate.clone()];
    let error = handshake(organization.verifier(None), &chain, &other_rsa_key()).unwrap_err();
    assert_eq!(error, Error::InvalidCertificate(CertificateError::BadSignature));
}

#[test]
fn a_ca_that_is_none_is_said_at_once() {
    assert_eq!(OrgCa::new(&[], None).unwrap_err(), Refusal::BadRoot { number: 1 });
    let good = Organization::new().root;
    assert_eq!(OrgCa::new(&[good, b"x".to_vec()], None).unwrap_err(), Refusal::BadRoot { number: 2 });
}

/// A server that asks clients for a certificate of a CA, in memory: with ours it is satisfied, without it hangs up, and
/// either way we know that it asked.
#[test]
fn a_client_certificate_is_shown_where_it_is_asked_for() {
    let (ca_key, key, own_key) =
        (KeyPair::generate().unwrap(), KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = ca.self_signed(&ca_key).unwrap().der().to_vec();
    let mut own = CertificateParams::default();
    own.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let own = own.signed_by(&own_key, &Issuer::from_params(&ca, &ca_key)).unwrap().der().to_vec();
    let leaf = CertificateParams::default().self_signed(&key).unwrap().der().to_vec();
    let private = |key: &KeyPair| PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let ours = ClientCertificate::new(vec![own.clone()], &private(&own_key)).unwrap();
    assert!(ClientCertificate::new(vec![own], &private(&key)).is_err(), "another key than the certificate's");

    let demanding = |demands: bool| {
        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from(root.clone())).unwrap();
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let builder = match demands {
            true => builder.with_client_cert_verifier(verifier.build().unwrap()),
            false => builder.with_no_client_auth(),
        };
        let chain = vec![CertificateDer::from(leaf.clone())];
        ServerConnection::new(Arc::new(builder.with_single_cert(chain, private(&key)).unwrap())).unwrap()
    };
    for versions in [Versions::Tls12, Versions::Tls12And13] {
        for (demands, shown, good) in
            [(true, true, true), (true, false, false), (false, true, true), (false, false, true)]
        {
            let mut config = client_config(Arc::new(Pinned::new(certificate_pin(&leaf))), versions).unwrap();
            let asked = show(&mut config, shown.then_some(&ours));
            assert!(!asked.was());
            let name = ServerName::try_from("192.0.2.1").unwrap();
            let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
            let mut server = demanding(demands);
            let mut failed = false;
            for _ in 0..8 {
                let mut wire = Vec::new();
                while client.wants_write() {
                    client.write_tls(&mut wire).unwrap();
                }
                server.read_tls(&mut wire.as_slice()).unwrap();
                failed |= server.process_new_packets().is_err();
                let mut wire = Vec::new();
                while server.wants_write() {
                    server.write_tls(&mut wire).unwrap();
                }
                client.read_tls(&mut wire.as_slice()).unwrap();
                failed |= client.process_new_packets().is_err();
            }
            assert_eq!((!failed, asked.was()), (good, demands), "{versions:?} {demands} {shown}");
        }
    }
}
