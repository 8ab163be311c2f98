//! Certificates with their keys, as the operator names them: PEM or PKCS#12, from a file or from a credential of the
//! service manager, never from argv or environment. What is wrong with a chain is for the preflight to say
//! ([`oob_wsman::x509`]); here it is only read, and a key that is not the leaf's is refused.

use std::env;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oob_policy::Reference;
use ring::rand::SystemRandom;
use ring::signature::{
    KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PSS_SHA256, RSA_PSS_SHA384, RsaEncoding, RsaKeyPair,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{PemObject, SectionKind};
use tokio_rustls::rustls::client::ResolvesClientCert;
use tokio_rustls::rustls::sign::{CertifiedKey, Signer, SigningKey};
use tokio_rustls::rustls::{self, SignatureAlgorithm, SignatureScheme};
use zeroize::Zeroizing;

use crate::files::open_regular;

/// No chain with its key comes near this.
const LARGEST: u64 = 1 << 20;

/// Certificates, and the private key of one of them. No `Debug`.
pub struct Certified {
    /// DER, in the order of the file.
    pub chain: Vec<Vec<u8>>,
    key: Arc<RsaKeyPair>,
}

impl Certified {
    /// Reads the certificates and the key that a policy refers to.
    ///
    /// # Errors
    /// A sentence for people; it names the place and never what stands there.
    pub fn read(place: &Reference, passphrase: Option<&Reference>) -> Result<Self, String> {
        let path = resolve(place)?;
        let shown = path.display();
        let bytes = read(&path)?;
        let passphrase = passphrase.map(|place| read(&resolve(place)?)).transpose()?;
        let (chain, keys) = match is_pem(&bytes) {
            true => from_pem(&bytes),
            false => from_pfx(&bytes, passphrase.as_ref()),
        }
        .map_err(|why| format!("reading {shown}: {why}"))?;
        if chain.is_empty() {
            return Err(format!("reading {shown}: it holds no certificate"));
        }
        let [key] = keys.as_slice() else {
            return Err(format!("reading {shown}: it holds {} private keys, and one is needed", keys.len()));
        };
        let key = RsaKeyPair::from_pkcs8(key).or_else(|_| RsaKeyPair::from_der(key)).map_err(|error| {
            format!("reading {shown}: its private key is no RSA key of 2048 to 4096 bits ({error})")
        })?;
        Ok(Self { chain, key: Arc::new(key) })
    }

    /// The public key as PKCS#1 `RSAPublicKey`, to be found in the leaf.
    pub fn public_key(&self) -> &[u8] {
        self.key.public_key().as_ref()
    }

    /// RSA PKCS#1 v1.5 over SHA-256 of `message`.
    ///
    /// # Errors
    /// Where the kernel gives no random bytes for blinding.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, String> {
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
            .map_err(|_| "signing with the provisioning certificate's key failed".to_owned())?;
        Ok(signature)
    }

    /// What to show in TLS to a device that asks who we are: this chain, the leaf first.
    pub fn in_tls(&self, chain: &[Vec<u8>]) -> Arc<dyn ResolvesClientCert> {
        let chain = chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
        let key = Arc::new(TlsKey(self.key.clone()));
        Arc::new(Shown(Arc::new(CertifiedKey::new(chain, key))))
    }
}

/// The certificates of a PEM file, DER: roots that a policy trusts.
///
/// # Errors
/// A sentence for people; it names the place.
pub fn read_roots(place: &Reference) -> Result<Vec<Vec<u8>>, String> {
    let path = resolve(place)?;
    let bytes = read(&path)?;
    let (chain, _) = match is_pem(&bytes) {
        true => from_pem(&bytes),
        false => Err("it is no PEM".to_owned()),
    }
    .map_err(|why| format!("reading {}: {why}", path.display()))?;
    match chain.is_empty() {
        true => Err(format!("reading {}: it holds no certificate", path.display())),
        false => Ok(chain),
    }
}

/// What stands in the place of a secret that a policy refers to.
///
/// # Errors
/// A sentence for people; it names the place and never what stands there.
pub fn read_secret(place: &Reference) -> Result<Zeroizing<Vec<u8>>, String> {
    read(&resolve(place)?)
}

/// One certificate for whoever asks.
#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The private key as TLS wants one. ring's key pair shows its public half only.
#[derive(Debug)]
struct TlsKey(Arc<RsaKeyPair>);

impl SigningKey for TlsKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let (scheme, encoding) = SCHEMES.iter().find(|(scheme, _)| offered.contains(scheme))?;
        Some(Box::new(TlsSigner { key: self.0.clone(), scheme: *scheme, encoding: *encoding }))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::RSA
    }
}

#[derive(Debug)]
struct TlsSigner {
    key: Arc<RsaKeyPair>,
    scheme: SignatureScheme,
    encoding: &'static dyn RsaEncoding,
}

impl Signer for TlsSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let mut signature = vec![0; self.key.public().modulus_len()];
        let signed = self.key.sign(self.encoding, &SystemRandom::new(), message, &mut signature);
        signed.map_err(|_| rustls::Error::General("signing failed".to_owned()))?;
        Ok(signature)
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}

/// The best first.
const SCHEMES: [(SignatureScheme, &dyn RsaEncoding); 4] = [
    (SignatureScheme::RSA_PSS_SHA384, &RSA_PSS_SHA384),
    (SignatureScheme::RSA_PSS_SHA256, &RSA_PSS_SHA256),
    (SignatureScheme::RSA_PKCS1_SHA384, &RSA_PKCS1_SHA384),
    (SignatureScheme::RSA_PKCS1_SHA256, &RSA_PKCS1_SHA256),
];

/// Where a reference leads.
pub(crate) fn resolve(place: &Reference) -> Result<PathBuf, String> {
    match place {
        Reference::File(path) => Ok(PathBuf::from(path)),
        Reference::Credential(name) => match env::var_os("CREDENTIALS_DIRECTORY") {
            Some(directory) => Ok(Path::new(&directory).join(name)),
            None => Err(format!(
                "credential {name}: there is no credentials directory; let the service manager load it \
                 (LoadCredential=), or refer to a file"
            )),
        },
    }
}

/// The bytes of a file that is small, wiped when dropped.
pub(crate) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let shown = path.display();
    let fail = |error: std::io::Error| format!("reading {shown}: {error}");
    let file = open_regular(path).map_err(fail)?;
    let length = file.metadata().map_err(fail)?.len();
    if length > LARGEST {
        return Err(format!("reading {shown}: {length} bytes are no certificate"));
    }
    // Reserved at once, so that no half-read copy is left behind when a buffer grows.
    let mut bytes = Zeroizing::new(Vec::with_capacity(length as usize + 1));
    file.take(LARGEST).read_to_end(&mut bytes).map_err(fail)?;
    Ok(bytes)
}

fn is_pem(bytes: &[u8]) -> bool {
    bytes.windows(11).any(|window| window == b"-----BEGIN ")
}

type Parts = (Vec<Vec<u8>>, Vec<Zeroizing<Vec<u8>>>);

fn from_pem(bytes: &[u8]) -> Result<Parts, String> {
    let (mut chain, mut keys) = (Vec::new(), Vec::new());
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(bytes) {
        let (kind, der) = section.map_err(|error| format!("it is no sound PEM: {error}"))?;
        match kind {
            SectionKind::Certificate => chain.push(der),
            SectionKind::PrivateKey | SectionKind::RsaPrivateKey => keys.push(Zeroizing::new(der)),
            SectionKind::EcPrivateKey => return Err("its private key is an EC key, and AMT takes RSA".into()),
            _ => {}
        }
    }
    if keys.is_empty() && bytes.windows(21).any(|window| window == b"ENCRYPTED PRIVATE KEY") {
        return Err(
            "its private key is encrypted: give it as PKCS#12 with a passphrase, or decrypt it".into()
        );
    }
    Ok((chain, keys))
}

fn from_pfx(bytes: &[u8], passphrase: Option<&Zeroizing<Vec<u8>>>) -> Result<Parts, String> {
    let passphrase = match passphrase {
        Some(bytes) => std::str::from_utf8(bytes).map_err(|_| "the passphrase is not UTF-8".to_owned())?,
        None => "",
    };
    // Editors end a file with a line break that nobody means.
    let passphrase = passphrase.trim_end_matches(['\r', '\n']);
    let archive =
        p12_keystore::Pkcs12Archive::from_pkcs12(bytes, passphrase).map_err(|error| match error {
            p12_keystore::error::Error::MacError(_) => "the passphrase does not open it".to_owned(),
            other => format!("it is neither PEM nor a PKCS#12 file that this build can open ({other})"),
        })?;
    let chain = archive.certs.iter().map(|bag| bag.cert.as_der().to_vec()).collect();
    let keys = archive.keys.iter().map(|bag| Zeroizing::new(bag.key.as_der().to_vec())).collect();
    Ok((chain, keys))
}
