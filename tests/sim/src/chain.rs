//! What admin control mode hangs on (`reference/amt.md` 5.3): the list of trusted root hashes, and the certificate
//! chain that `AddNextCertInChain` brings in, leaf first.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256, Sha384};

use crate::x509::{Certificate, Key, oid};

/// A hash algorithm of the list (`reference/amt.md` 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// 2.
    Sha256,
    /// 3, as newer firmware means it.
    Sha384,
}

/// One entry of the list.
#[derive(Clone, Debug)]
pub struct Root {
    /// The entry's name.
    pub name: String,
    /// Whether it was there from the start.
    pub is_default: bool,
    /// Whether it counts.
    pub is_active: bool,
    /// What its hash is made with.
    pub algorithm: Algorithm,
    /// The hash of the whole DER certificate.
    pub hash: Vec<u8>,
}

impl Root {
    /// An active entry that somebody added, for the certificate in this file (DER, or the first in PEM).
    ///
    /// # Errors
    /// When the file cannot be read or holds no certificate.
    pub fn of_file(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        let der = unarmored(&bytes).unwrap_or(bytes);
        ensure!(
            Certificate::parse(&der).is_some(),
            "reading {}: it holds no certificate; give one in DER or PEM",
            path.display()
        );
        Ok(Self::added(Sha256::digest(&der).to_vec()))
    }

    /// An active entry that somebody added, for this SHA-256 in hex.
    ///
    /// # Errors
    /// When it is not 64 hex digits.
    pub fn of_hex(text: &str) -> Result<Self> {
        let digits: String = text.chars().filter(|c| *c != ':').collect();
        let pair = |at: usize| digits.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
        let hash: Option<Vec<u8>> = (0..digits.len()).step_by(2).map(pair).collect();
        let hash = hash.filter(|hash| hash.len() == 32);
        Ok(Self::added(hash.with_context(|| format!("reading {text:?}: a SHA-256 has 64 hex digits"))?))
    }

    /// The entry that a person makes who enters a SHA-256 and calls it SHA-384: no root is accepted by it.
    ///
    /// # Errors
    /// As [`Root::of_file`].
    pub fn misfiled(path: &Path) -> Result<Self> {
        Ok(Self { algorithm: Algorithm::Sha384, ..Self::of_file(path)? })
    }

    fn added(hash: Vec<u8>) -> Self {
        let (is_default, is_active) = (false, true);
        Self { name: "Added Root".to_owned(), is_default, is_active, algorithm: Algorithm::Sha256, hash }
    }

    fn accepts(&self, root: &Certificate) -> bool {
        let hash = match self.algorithm {
            Algorithm::Sha256 => Sha256::digest(&root.der).to_vec(),
            Algorithm::Sha384 => Sha384::digest(&root.der).to_vec(),
        };
        self.is_active && hash == self.hash
    }
}

fn unarmored(bytes: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (_, rest) = text.split_once("-----BEGIN CERTIFICATE-----")?;
    let (body, _) = rest.split_once("-----END CERTIFICATE-----")?;
    STANDARD.decode(body.split_ascii_whitespace().collect::<String>()).ok()
}

/// The list of a new machine: made-up roots in the shape of real lists. The last default is inactive.
#[must_use]
pub fn default_roots(has_sha384: bool) -> Vec<Root> {
    let entry = |name: &str, is_active, algorithm| Root {
        name: name.to_owned(),
        is_default: true,
        is_active,
        algorithm,
        hash: match algorithm {
            Algorithm::Sha256 => Sha256::digest(name).to_vec(),
            Algorithm::Sha384 => Sha384::digest(name).to_vec(),
        },
    };
    let mut roots = vec![
        entry("Example Root CA 1 (SHA-256)", true, Algorithm::Sha256),
        entry("Example Root CA 2", true, Algorithm::Sha256),
        entry("Example Global Root G2", true, Algorithm::Sha256),
    ];
    if has_sha384 {
        roots.push(entry("Example Global Root G5", true, Algorithm::Sha384));
    }
    roots.push(entry("Example Retired Root", false, Algorithm::Sha256));
    roots
}

/// The chain so far.
#[derive(Default)]
pub struct Chain {
    certificates: Vec<Certificate>,
    complete: bool,
}

/// Return values of `AddNextCertInChain` (`reference/amt.md` 7).
pub mod refusal {
    /// Not base64, not a certificate, or flags that cannot be.
    pub const PARAMETER: u32 = 1;
    /// A certificate other than a leaf while no chain is in progress.
    pub const STATE: u32 = 3;
    /// The certificate is not good where it stands.
    pub const VERIFICATION: u32 = 4;
    /// More certificates than AMT keeps.
    pub const TOO_LONG: u32 = 5;
}

/// Leaf, two intermediates and root, as the call budget has it; the reference gives the status, not the number.
const LONGEST: usize = 4;

impl Chain {
    /// `CertChainStatus`: 0 none, 1 in progress, 2 complete.
    #[must_use]
    pub fn status(&self) -> u32 {
        match (self.complete, self.certificates.is_empty()) {
            (true, _) => 2,
            (false, false) => 1,
            (false, true) => 0,
        }
    }

    /// Takes the next certificate. A leaf begins again; one that does not verify ends the chain.
    pub fn add(&mut self, der: &[u8], is_leaf: bool, is_root: bool, roots: &[Root]) -> u32 {
        let Some(certificate) = Certificate::parse(der).filter(|_| !(is_leaf && is_root)) else {
            return refusal::PARAMETER;
        };
        if is_leaf {
            *self = Self::default();
            if !is_provisioning_leaf(&certificate) {
                return refusal::VERIFICATION;
            }
            self.certificates.push(certificate);
            return 0;
        }
        let Some(last) = self.certificates.last().filter(|_| !self.complete) else { return refusal::STATE };
        if self.certificates.len() == LONGEST {
            *self = Self::default();
            return refusal::TOO_LONG;
        }
        let trusted = !is_root
            || certificate.is_issued_by(&certificate) && roots.iter().any(|root| root.accepts(&certificate));
        if !(certificate.is_authority && last.is_issued_by(&certificate) && trusted) {
            *self = Self::default();
            return refusal::VERIFICATION;
        }
        self.certificates.push(certificate);
        self.complete = is_root;
        0
    }

    /// The leaf of a complete chain.
    #[must_use]
    pub fn leaf(&self) -> Option<&Certificate> {
        self.certificates.first().filter(|_| self.complete)
    }
}

/// RSA, serverAuth, and the provisioning purpose or the unit's name.
fn is_provisioning_leaf(certificate: &Certificate) -> bool {
    let has = |purpose: &[u8]| certificate.purposes.iter().any(|known| known == purpose);
    let named = certificate.subject_values(oid::UNIT).iter().any(|unit| unit == CLIENT_SETUP);
    matches!(certificate.key, Key::Rsa(_)) && has(oid::SERVER_AUTH) && (has(oid::AMT_PROVISIONING) || named)
}

const CLIENT_SETUP: &str = "Intel(R) Client Setup Certificate";

/// Whether a leaf's common name fits the domain that AMT knows: the suffix set in MEBx counts before the one from
/// DHCP. In `.com` and `.net` the last two labels must agree, elsewhere the whole domain of the name.
#[must_use]
pub fn fits_domain(leaf: &Certificate, pki_suffix: &str, dhcp_suffix: &str) -> bool {
    let names = leaf.subject_values(oid::COMMON_NAME);
    let Some(name) = names.first().map(|name| name.to_ascii_lowercase()) else { return false };
    let (_, domain) = name.split_once('.').unwrap_or_default();
    let within = |inner: &str, outer: &str| {
        !outer.is_empty()
            && inner.strip_suffix(outer).is_some_and(|head| head.is_empty() || head.ends_with('.'))
    };
    if !pki_suffix.is_empty() {
        return within(&name, &pki_suffix.to_ascii_lowercase());
    }
    let suffix = dhcp_suffix.to_ascii_lowercase();
    let generic = [".com", ".net"].iter().any(|end| suffix.ends_with(end));
    if generic {
        last_two(domain).is_some_and(|wanted| within(&suffix, wanted))
    } else {
        within(&suffix, domain)
    }
}

fn last_two(domain: &str) -> Option<&str> {
    let (before, _) = domain.rsplit_once('.')?;
    Some(&domain[before.rfind('.').map_or(0, |dot| dot + 1)..])
}
