//! A certificate authority over HTTPS, as an org may run one: it issues with rcgen, speaks TLS with rustls, and says
//! whatever a test has it say.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, IsCa, Issuer, KeyPair,
    PKCS_ECDSA_P256_SHA256,
};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// The name under which the CA is reached.
pub const HOST: &str = "ca.example.test";
/// What it takes for a login.
pub const LOGIN: &str = "enroller:Correct-horse-9";

/// One CA with a root and an intermediate.
pub struct Ca {
    root: CertificateParams,
    root_key: KeyPair,
    middle: CertificateParams,
    middle_key: KeyPair,
}

impl Default for Ca {
    fn default() -> Self {
        Self::named("Example Root")
    }
}

impl Ca {
    /// # Panics
    /// Where no key can be made.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let key = || KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let authority = |name: &str| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params
        };
        let (root, middle) = (authority(name), authority(&format!("{name} Issuing")));
        Self { root, root_key: key(), middle, middle_key: key() }
    }

    /// The same CA, for a thread of its own: its keys are what it is.
    ///
    /// # Panics
    /// Where a key cannot be copied.
    #[must_use]
    pub fn twin(&self) -> Self {
        let copy = |key: &KeyPair| KeyPair::try_from(key.serialize_der()).unwrap();
        Self {
            root: self.root.clone(),
            root_key: copy(&self.root_key),
            middle: self.middle.clone(),
            middle_key: copy(&self.middle_key),
        }
    }

    /// # Panics
    /// Where the library does.
    #[must_use]
    pub fn root_pem(&self) -> String {
        self.root.self_signed(&self.root_key).unwrap().pem()
    }

    /// # Panics
    /// Where the library does.
    #[must_use]
    pub fn root_der(&self) -> Vec<u8> {
        self.root.self_signed(&self.root_key).unwrap().der().to_vec()
    }

    /// # Panics
    /// Where the library does.
    #[must_use]
    pub fn middle_pem(&self) -> String {
        let root = Issuer::from_params(&self.root, &self.root_key);
        self.middle.signed_by(&self.middle_key, &root).unwrap().pem()
    }

    /// # Panics
    /// Where the library does.
    #[must_use]
    pub fn middle_der(&self) -> Vec<u8> {
        let root = Issuer::from_params(&self.root, &self.root_key);
        self.middle.signed_by(&self.middle_key, &root).unwrap().der().to_vec()
    }

    /// Issues for a PKCS#10 request, whose signature is checked, what it asks for but for what `change` changes.
    ///
    /// # Panics
    /// Where the request is not one, or not signed by its key.
    #[must_use]
    pub fn issue(&self, request: &[u8], change: impl Fn(&mut CertificateParams)) -> Vec<u8> {
        let request = CertificateSigningRequestDer::from(request);
        let mut request = CertificateSigningRequestParams::from_der(&request).unwrap();
        change(&mut request.params);
        let middle = Issuer::from_params(&self.middle, &self.middle_key);
        request.signed_by(&middle).unwrap().der().to_vec()
    }

    /// Of a key that is nobody's.
    ///
    /// # Panics
    /// Where the library does.
    #[must_use]
    pub fn issue_for_another(&self, request: &[u8]) -> Vec<u8> {
        let request = CertificateSigningRequestDer::from(request);
        let request = CertificateSigningRequestParams::from_der(&request).unwrap();
        let middle = Issuer::from_params(&self.middle, &self.middle_key);
        let other = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        request.params.signed_by(&other, &middle).unwrap().der().to_vec()
    }

    /// The TLS configuration of a server of this name, straight under the root.
    fn server(&self, name: &str) -> Arc<ServerConfig> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let root = Issuer::from_params(&self.root, &self.root_key);
        let certificate = CertificateDer::from(params.signed_by(&key, &root).unwrap().der().to_vec());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.unwrap().with_no_client_auth().with_single_cert(vec![certificate], key);
        Arc::new(config.unwrap())
    }
}

/// What the server was asked.
#[derive(Clone)]
pub struct Asked {
    /// Method and path.
    pub line: String,
    /// Headers, one a line.
    pub head: String,
    /// What was posted, decoded; empty where nothing was.
    pub request: Vec<u8>,
}

impl Asked {
    #[must_use]
    pub fn is_for_a_certificate(&self) -> bool {
        self.line.starts_with("POST ")
    }

    /// # Panics
    /// Never.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }
}

/// The server. It answers until the test ends.
pub struct Service {
    pub port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Service {
    /// A server with a certificate of `ca` for `name`, which says what `answer` says to the n-th question (from 0).
    ///
    /// # Panics
    /// Where no port can be had.
    #[must_use]
    pub fn start(ca: &Ca, name: &str, answer: impl Fn(&Asked, usize) -> Vec<u8> + Send + 'static) -> Self {
        let config = ca.server(name);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut stream = StreamOwned::new(connection, stream);
                // A client that believes another CA hangs up; that is its right.
                while let Some(question) = read(&mut stream) {
                    let number = log.lock().unwrap().len();
                    log.lock().unwrap().push(question.clone());
                    let said = stream.write_all(&answer(&question, number)).and_then(|()| stream.flush());
                    if said.is_err() {
                        break;
                    }
                }
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        });
        Self { port, asked }
    }

    /// Everything so far.
    ///
    /// # Panics
    /// Where the thread that listens has.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn read(stream: &mut StreamOwned<ServerConnection, TcpStream>) -> Option<Asked> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let (line, head) = head.split_once("\r\n").unwrap_or((head, ""));
        let line = line.trim_end_matches(" HTTP/1.1").to_owned();
        let asked = Asked { line, head: head.to_owned(), request: Vec::new() };
        let length = asked.header("content-length").map_or(0, |length| length.parse().unwrap());
        if body.len() >= length {
            let body: String = body.split_ascii_whitespace().collect();
            return Some(Asked { request: STANDARD.decode(body).unwrap_or_default(), ..asked });
        }
    }
}

/// An HTTP answer.
#[must_use]
pub fn http(status: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let more: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let head = format!("HTTP/1.1 {status}\r\n{more}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// Certificates as RFC 7030 has them answered: PKCS#7 without a signer, in lines of base64.
#[must_use]
pub fn certs_only(certificates: &[Vec<u8>]) -> Vec<u8> {
    const DATA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
    const SIGNED_DATA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
    let signed = [
        &[0x02, 0x01, 0x01][..],
        &der(0x31, &[]),
        &der(0x30, DATA),
        &der(0xa0, &certificates.concat()),
        &der(0x31, &[]),
    ];
    let bag = der(0x30, &[SIGNED_DATA, &der(0xa0, &der(0x30, &signed.concat()))].concat());
    let text = STANDARD.encode(bag);
    let lines: Vec<&[u8]> = text.as_bytes().chunks(76).collect();
    http(
        "200 OK",
        &["Content-Type: application/pkcs7-mime; smime-type=certs-only"],
        &lines.join(&b"\r\n"[..]),
    )
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    let length = match content.len() {
        short @ ..0x80 => vec![short as u8],
        0x80..0x100 => vec![0x81, length[1]],
        _ => vec![0x82, length[0], length[1]],
    };
    [&[tag], length.as_slice(), content].concat()
}
