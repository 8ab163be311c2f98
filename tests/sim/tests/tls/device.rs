//! The administrator of these tests: what it sends, the certificates it makes, and the two doors it speaks TLS through.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use crate::peer::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, ring::default_provider, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs1KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};

pub(crate) const PASSWORD: &str = "Correct-horse-1";
pub(crate) const AMT: &str = "http://intel.com/wbem/wscim/1/amt-schema/1/";
pub(crate) const TRANSFER: &str = "http://schemas.xmlsoap.org/ws/2004/09/transfer/";
pub(crate) const REMOTE: &str = "Intel(r) AMT 802.3 TLS Settings";
pub(crate) const LOCAL: &str = "Intel(r) AMT LMS TLS Settings";

pub(crate) fn chain_file(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/chain/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

pub(crate) fn class(name: &str) -> String {
    format!("{AMT}{name}")
}

pub(crate) fn invoke(door: &mut dyn Door, name: &str, method: &str, fields: &str) -> Answer {
    post(door, "admin", PASSWORD, &invocation(&class(name), method, fields))
}

pub(crate) fn value(answer: &Answer) -> String {
    leaf(answer, "ReturnValue")
}

pub(crate) fn transfer(
    door: &mut dyn Door,
    verb: &str,
    name: &str,
    body: &str,
    selector: Option<&str>,
) -> Answer {
    let resource = class(name);
    let instance = format!("<h:{name} xmlns:h=\"{resource}\">{body}</h:{name}>");
    let body = if matches!(verb, "Put" | "Create") { instance.as_str() } else { "" };
    let mut request = envelope(&format!("{TRANSFER}{verb}"), &resource, body);
    if let Some(value) = selector {
        request = selecting(&request, "InstanceID", value);
    }
    post(door, "admin", PASSWORD, &request)
}

/// DER by hand.
pub(crate) fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut out = vec![tag];
    match content.len() {
        short @ ..0x80 => out.push(u8::try_from(short).unwrap()),
        long => out.extend([&[0x82], u16::try_from(long).unwrap().to_be_bytes().as_slice()].concat()),
    }
    [out, content].concat()
}

pub(crate) const RSA: &str = "300d 0609 2a864886f70d010101 0500";
pub(crate) const RSA_SHA256: &str = "300d 0609 2a864886f70d01010b 0500";

pub(crate) fn spki(key: &[u8]) -> Vec<u8> {
    der(0x30, &[&bytes(RSA), &der(3, &[&[0], key])])
}

pub(crate) fn name(text: &str) -> Vec<u8> {
    der(0x30, &[&der(0x31, &[&der(0x30, &[&bytes("0603 550403"), &der(0x0c, &[text.as_bytes()])])])])
}

/// A certificate for this key, signed by the tests' own authority.
pub(crate) fn certificate(key: &[u8], serial: u8) -> Vec<u8> {
    let authority = RsaKeyPair::from_der(&chain_file("leaf.key")).unwrap();
    let validity = der(0x30, &[&der(0x17, &[b"200101000000Z"]), &der(0x17, &[b"491231235959Z"])]);
    let body = der(
        0x30,
        &[
            &bytes("a003 0201 02 0201"),
            &[serial],
            &bytes(RSA_SHA256),
            &name("Authority"),
            &validity,
            &name("amt.example.com"),
            &spki(key),
        ],
    );
    let mut signature = vec![0; authority.public().modulus_len()];
    authority.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), &body, &mut signature).unwrap();
    der(0x30, &[&body, &bytes(RSA_SHA256), &der(3, &[&[0], &signature])])
}

pub(crate) fn null_signed_request(key: &[u8]) -> Vec<u8> {
    let body = der(0x30, &[&[2, 1, 0], &name("amt.example.com"), &spki(key), &[0xa0, 0]]);
    der(0x30, &[&body, &bytes(RSA_SHA256), &der(3, &[&[0], &[0; 256]])])
}

pub(crate) fn generate(door: &mut dyn Door) -> (String, Vec<u8>) {
    let fields = "<h:KeyAlgorithm>0</h:KeyAlgorithm><h:KeyLength>2048</h:KeyLength>";
    let answer = invoke(door, "AMT_PublicKeyManagementService", "GenerateKeyPair", fields);
    assert_eq!(value(&answer), "0");
    let handle = leaf(&answer, "Selector");
    let pair = transfer(door, "Get", "AMT_PublicPrivateKeyPair", "", Some(&handle));
    (handle, STANDARD.decode(leaf(&pair, "DERKey")).unwrap())
}

pub(crate) fn add(door: &mut dyn Door, method: &str, certificate: &[u8]) -> Answer {
    let fields = format!("<h:CertificateBlob>{}</h:CertificateBlob>", STANDARD.encode(certificate));
    invoke(door, "AMT_PublicKeyManagementService", method, &fields)
}

pub(crate) fn context(handle: &str) -> String {
    let part = |class: &str, key: &str, value: &str| {
        format!(
            "<a:Address>/wsman</a:Address><a:ReferenceParameters><w:ResourceURI>{AMT}{class}</w:ResourceURI>\
             <w:SelectorSet><w:Selector Name=\"{key}\">{value}</w:Selector></w:SelectorSet></a:ReferenceParameters>"
        )
    };
    let of = part("AMT_PublicKeyCertificate", "InstanceID", handle);
    let to =
        part("AMT_TLSProtocolEndpointCollection", "ElementName", "TLSProtocolEndpointInstances Collection");
    format!(
        "<h:ElementInContext>{of}</h:ElementInContext><h:ElementProvidingContext>{to}</h:ElementProvidingContext>"
    )
}

pub(crate) fn settings(cleartext: Option<bool>) -> String {
    let cleartext = cleartext
        .map(|value| format!("<h:AcceptNonSecureConnections>{value}</h:AcceptNonSecureConnections>"));
    format!(
        "{}<h:Enabled>true</h:Enabled><h:MutualAuthentication>false</h:MutualAuthentication>",
        cleartext.unwrap_or_default()
    )
}

pub(crate) fn commit(door: &mut dyn Door) {
    assert_eq!(value(&invoke(door, "AMT_SetupAndConfigurationService", "CommitChanges", "")), "0");
}

pub(crate) fn tls_port(sim: &Sim) -> Option<u16> {
    json(&sim.dir.join("ports.json"))["16993"].as_u64().map(|port| u16::try_from(port).unwrap())
}

/// Takes any leaf and keeps it: what is served is what these tests are about.
#[derive(Debug)]
pub(crate) struct AnyLeaf(pub(crate) CryptoProvider);

impl ServerCertVerifier for AnyLeaf {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, leaf, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

pub(crate) fn client() -> ClientConnection {
    client_as(None)
}

/// A client that shows the certificate of this name.
pub(crate) fn client_as(name: Option<&str>) -> ClientConnection {
    let provider = default_provider();
    let builder = ClientConfig::builder_with_provider(Arc::new(provider.clone()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyLeaf(provider)));
    let config = match name {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let chain = vec![CertificateDer::from(chain_file(&format!("{name}.der")))];
            let key = PrivatePkcs1KeyDer::from(chain_file(&format!("{name}.key")));
            builder.with_client_auth_cert(chain, key.into()).unwrap()
        }
    };
    ClientConnection::new(Arc::new(config), ServerName::try_from("amt.example.com").unwrap()).unwrap()
}

/// 16993 on the network; remembers the leaf it was last served.
pub(crate) struct Secure {
    pub(crate) port: u16,
    pub(crate) leaf: Vec<u8>,
    pub(crate) version: Option<rustls::ProtocolVersion>,
}

impl Secure {
    pub(crate) fn new(sim: &Sim) -> Self {
        Self::at(tls_port(sim).expect("16993 is not up"))
    }

    pub(crate) fn at(port: u16) -> Self {
        Self { port, leaf: Vec::new(), version: None }
    }
}

impl Door for Secure {
    fn exchange(&mut self, request: &[u8]) -> Vec<u8> {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut connection = client();
        let mut stream = rustls::Stream::new(&mut connection, &mut socket);
        stream.write_all(request).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        self.leaf = connection.peer_certificates().unwrap()[0].to_vec();
        self.version = connection.protocol_version();
        answer
    }
}

/// TLS on, with a certificate of our own; the handle of the certificate, and the certificate.
pub(crate) fn secured(sim: &Sim, door: &mut dyn Door, cleartext: bool) -> (String, Vec<u8>) {
    activate(sim, PASSWORD);
    secured_here(door, cleartext)
}

/// The same, of a machine that is provisioned.
pub(crate) fn secured_here(door: &mut dyn Door, cleartext: bool) -> (String, Vec<u8>) {
    let (_, key) = generate(door);
    let leaf_der = certificate(&key, 1);
    let added = add(door, "AddCertificate", &leaf_der);
    assert_eq!(value(&added), "0");
    let handle = leaf(&added, "Selector");
    let created = transfer(door, "Create", "AMT_TLSCredentialContext", &context(&handle), None);
    assert!(created.body.contains("ResourceCreated"), "{created:?}");
    for (side, cleartext) in [(REMOTE, Some(cleartext)), (LOCAL, None)] {
        let answer = transfer(door, "Put", "AMT_TLSSettingData", &settings(cleartext), Some(side));
        assert_eq!(leaf(&answer, "Enabled"), "true");
    }
    (handle, leaf_der)
}

/// 16993 through MEI: TLS in an APF channel.
pub(crate) struct SecureLme(Lme);

impl SecureLme {
    pub(crate) fn open(sim: &Sim) -> Self {
        Self(Lme::with_ports(&sim.dir, &["00004260", "0000026f", "00004261", "00000298"]))
    }
}

impl Door for SecureLme {
    fn exchange(&mut self, request: &[u8]) -> Vec<u8> {
        let mut connection = client();
        connection.writer().write_all(request).unwrap();
        let mut answer = Vec::new();
        let mut first = Vec::new();
        connection.write_tls(&mut first).unwrap();
        self.0.converse(16993, &first, &mut |data| {
            let (mut data, mut out) = (data, Vec::new());
            while !data.is_empty() {
                connection.read_tls(&mut data).unwrap();
                connection.process_new_packets().unwrap();
                let _ = connection.reader().read_to_end(&mut answer);
            }
            while connection.wants_write() {
                connection.write_tls(&mut out).unwrap();
            }
            out
        });
        answer
    }
}
