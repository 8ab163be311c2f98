//! Provisioning certificates of every kind, made at run time, and policies that name them.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, PublicKeyData, SignatureAlgorithm,
};

use crate::workspace;

/// The purpose "AMT provisioning" (reference/amt.md 5.3).
const AMT: &[u64] = &[2, 16, 840, 1, 113741, 1, 2, 3];

/// What makes up a leaf; the default is one that a machine in `example.com` takes.
pub struct Leaf {
    pub name: &'static str,
    pub purposes: Vec<ExtendedKeyUsagePurpose>,
    pub years: (i32, i32),
    pub key: LeafKey,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum LeafKey {
    Rsa2048,
    /// Nobody has its private half.
    Rsa1024,
    P256,
}

impl Default for Leaf {
    fn default() -> Self {
        Self {
            name: "provision.example.com",
            purposes: vec![ExtendedKeyUsagePurpose::ServerAuth, provisioning()],
            years: (2020, 2045),
            key: LeafKey::Rsa2048,
        }
    }
}

/// The purpose that makes a certificate one for provisioning.
#[must_use]
pub fn provisioning() -> ExtendedKeyUsagePurpose {
    ExtendedKeyUsagePurpose::Other(AMT.to_vec())
}

/// A leaf, two intermediates and the root, as PEM.
pub struct Chain {
    pub leaf: String,
    pub second: String,
    pub first: String,
    pub root: String,
}

impl Chain {
    #[must_use]
    pub fn of(leaf: Leaf) -> Self {
        let (root_params, first_params, second_params) =
            (authority("Root"), authority("First"), authority("Second"));
        let root = Issuer::from_params(&root_params, ca_key());
        let first = Issuer::from_params(&first_params, leaf_key());
        let second = Issuer::from_params(&second_params, ca_key());
        Self {
            root: root_params.self_signed(&ca_key()).unwrap().pem(),
            first: first_params.signed_by(&leaf_key(), &root).unwrap().pem(),
            second: second_params.signed_by(&ca_key(), &first).unwrap().pem(),
            leaf: leaf.signed_by(&second),
        }
    }

    /// Leaf first, with the leaf's key.
    #[must_use]
    pub fn bundle(&self) -> String {
        [&self.leaf, &self.second, &self.first, &self.root, &leaf_key().serialize_pem()]
            .map(String::as_str)
            .concat()
    }
}

impl Leaf {
    fn signed_by(self, issuer: &Issuer<'_, KeyPair>) -> String {
        let mut params = params(self.name, self.years);
        params.extended_key_usages = self.purposes;
        let certificate = match self.key {
            LeafKey::Rsa2048 => params.signed_by(&leaf_key(), issuer),
            LeafKey::Rsa1024 => params.signed_by(&SmallKey(small_key()), issuer),
            LeafKey::P256 => params.signed_by(&ec_key(), issuer),
        };
        certificate.unwrap().pem()
    }
}

fn params(name: &str, years: (i32, i32)) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Test");
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
    params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
    params
}

fn authority(name: &str) -> CertificateParams {
    let mut params = params(name, (2010, 2048));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

/// Keys that are published with the tests and protect nothing.
fn key(name: &str) -> KeyPair {
    let file = workspace().join("wsman/tests/certificates").join(name);
    KeyPair::from_pem(&fs::read_to_string(file).unwrap()).unwrap()
}

/// The key of the root and of every other intermediate.
#[must_use]
pub fn ca_key() -> KeyPair {
    key("ca-key.pem")
}

/// The key of every leaf that has one of RSA-2048.
#[must_use]
pub fn leaf_key() -> KeyPair {
    key("leaf-key.pem")
}

#[must_use]
pub fn ec_key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

/// A public key of 1024 bits.
struct SmallKey(Vec<u8>);

impl PublicKeyData for SmallKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_RSA_SHA256
    }
}

fn small_key() -> Vec<u8> {
    let mut key = vec![0x30, 0x81, 0x89, 0x02, 0x81, 0x81, 0x00];
    key.extend([0xc1; 128]);
    key.extend([0x02, 0x03, 0x01, 0x00, 0x01]);
    key
}

/// A file of `tests/fixtures/provisioning`.
#[must_use]
pub fn fixture(name: &str) -> PathBuf {
    workspace().join("tests/fixtures/provisioning").join(name)
}

/// What opens the fixtures that are encrypted.
pub const PASSPHRASE: &str = "Battery-staple-7";

/// Everything that can be set in admin control mode, but the host's name, which only a live machine has.
pub const SETTINGS: &str =
    "clock = true, sol = true, ider = false, kvm = true, consent = \"none\", mebx = true";

/// A policy in `dir` whose only rule has this `amt` table, sealed to the published example recipients.
#[must_use]
pub fn policy(dir: &Path, amt: &str) -> PathBuf {
    let example = fs::read_to_string(workspace().join("packaging/examples/use.toml")).unwrap();
    assert_eq!(
        example.matches("amt = { control_mode = \"ccm\" }").count(),
        1,
        "the example is as this test knows it"
    );
    let file = dir.join("policy.toml");
    fs::write(&file, example.replace("amt = { control_mode = \"ccm\" }", &format!("amt = {{ {amt} }}")))
        .unwrap();
    file
}

/// Gives a policy a higher serial, as one that was changed must have.
pub fn raise_serial(policy: &Path, serial: u32) {
    let text = fs::read_to_string(policy).unwrap();
    assert!(text.contains("serial = 1\n"), "the policy has a serial");
    fs::write(policy, text.replace("serial = 1\n", &format!("serial = {serial}\n"))).unwrap();
}

/// What an admin control mode run needs, in a directory: `root.pem`, `bundle.pem` and a policy that names it.
pub struct Org {
    pub root: PathBuf,
    pub policy: PathBuf,
}

impl Org {
    /// With a chain that is good in `example.com`; `settings` are those of the policy besides mode and certificate.
    #[must_use]
    pub fn new(dir: &Path, settings: &str) -> Self {
        let chain = Chain::of(Leaf::default());
        Self::with(dir, &chain.root, &chain.bundle(), "acm", settings)
    }

    #[must_use]
    pub fn with(dir: &Path, root: &str, bundle: &str, mode: &str, settings: &str) -> Self {
        let (root_file, bundle_file) = (dir.join("root.pem"), dir.join("bundle.pem"));
        fs::write(&root_file, root).unwrap();
        fs::write(&bundle_file, bundle).unwrap();
        let comma = if settings.is_empty() { "" } else { ", " };
        let amt = format!(
            "control_mode = \"{mode}\", certificate = \"file:{}\"{comma}{settings}",
            bundle_file.display()
        );
        Self { root: root_file, policy: policy(dir, &amt) }
    }

    /// What tells a simulated machine to trust the root.
    #[must_use]
    pub fn trusted(&self) -> [&str; 2] {
        ["--trusted-root", self.root.to_str().unwrap()]
    }
}
