//! The preflight of a provisioning chain: good ones pass in any order, each broken one names its rule.

#![allow(clippy::unwrap_used)] // a test that cannot go on panics

use oob_wsman::{
    pthi::{CertificateHash, HashAlgorithm},
    x509::{BrokenRule, CertificateError, Device, ProvisioningChain, Ready, SuffixSource, preflight},
};
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, PublicKeyData, SignatureAlgorithm,
};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, SHA512, digest};

const NOW: i64 = 1_800_000_000; // 2027-01-15
const AMT: &[u64] = &[2, 16, 840, 1, 113741, 1, 2, 3];
const UNIT: &str = "Intel(R) Client Setup Certificate";

/// What makes up the leaf of a test; the default is a good one.
struct Leaf {
    common_name: Option<&'static str>,
    unit: Option<&'static str>,
    purposes: Vec<ExtendedKeyUsagePurpose>,
    years: (i32, i32),
    key: Key,
}

#[derive(Clone, Copy)]
enum Key {
    Rsa2048,
    Rsa1024,
    P256,
}

impl Default for Leaf {
    fn default() -> Self {
        Self {
            common_name: Some("amt.example.com"),
            unit: None,
            purposes: vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::Other(AMT.to_vec())],
            years: (2020, 2035),
            key: Key::Rsa2048,
        }
    }
}

/// Root, two intermediates, leaf.
struct Pki {
    root: Vec<u8>,
    first: Vec<u8>,
    second: Vec<u8>,
    leaf: Vec<u8>,
}

impl Pki {
    fn new(leaf: Leaf) -> Self {
        Self::with_ca_years(leaf, (2010, 2040))
    }

    fn with_ca_years(leaf: Leaf, years: (i32, i32)) -> Self {
        let root_params = ca("Root", (2010, 2040));
        let (first_params, second_params) = (ca("First CA", years), ca("Second CA", (2010, 2040)));
        let root = Issuer::from_params(&root_params, ca_key());
        let first = Issuer::from_params(&first_params, leaf_key());
        let second = Issuer::from_params(&second_params, ca_key());
        Self {
            root: root_params.self_signed(&ca_key()).unwrap().der().to_vec(),
            first: first_params.signed_by(&leaf_key(), &root).unwrap().der().to_vec(),
            second: second_params.signed_by(&ca_key(), &first).unwrap().der().to_vec(),
            leaf: leaf.signed_by(&second),
        }
    }

    fn all(&self) -> Vec<Vec<u8>> {
        vec![self.leaf.clone(), self.second.clone(), self.first.clone(), self.root.clone()]
    }

    fn entry(&self) -> CertificateHash {
        entry("Test Root", HashAlgorithm::Sha256, digest(&SHA256, &self.root).as_ref())
    }
}

impl Leaf {
    fn signed_by(self, issuer: &Issuer<'_, KeyPair>) -> Vec<u8> {
        let mut params = params(self.common_name, self.years);
        params.extended_key_usages = self.purposes;
        if let Some(unit) = self.unit {
            params.distinguished_name.push(DnType::OrganizationalUnitName, unit);
        }
        let certificate = match self.key {
            Key::Rsa2048 => params.signed_by(&leaf_key(), issuer),
            Key::Rsa1024 => params.signed_by(&SmallKey(small_key()), issuer),
            Key::P256 => params.signed_by(&KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(), issuer),
        };
        certificate.unwrap().der().to_vec()
    }
}

/// A public key of 1024 bits; nobody has its private half.
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

fn params(common_name: Option<&str>, years: (i32, i32)) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Test");
    if let Some(name) = common_name {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
    params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
    params
}

fn ca(name: &str, years: (i32, i32)) -> CertificateParams {
    let mut params = params(Some(name), years);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn ca_key() -> KeyPair {
    KeyPair::from_pem(include_str!("certificates/ca-key.pem")).unwrap()
}

fn leaf_key() -> KeyPair {
    KeyPair::from_pem(include_str!("certificates/leaf-key.pem")).unwrap()
}

fn from_pem(pem: &str) -> Vec<u8> {
    use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
    let lines: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    BASE64.decode(lines).unwrap()
}

fn entry(name: &str, algorithm: HashAlgorithm, hash: &[u8]) -> CertificateHash {
    CertificateHash {
        is_default: true,
        is_active: true,
        algorithm,
        hash: hash.to_vec(),
        name: name.to_owned(),
    }
}

fn device(hashes: &[CertificateHash]) -> Device<'_> {
    Device { hashes, pki_suffix: "", dhcp_suffix: "example.com", wired_link_up: true, amt_major: Some(16) }
}

fn judge(certificates: Vec<Vec<u8>>, device: Device<'_>) -> Result<Ready, Vec<BrokenRule>> {
    preflight(&ProvisioningChain::from_der(certificates).unwrap(), device, NOW)
}

fn broken(certificates: Vec<Vec<u8>>, device: Device<'_>) -> Vec<BrokenRule> {
    judge(certificates, device).unwrap_err()
}

/// The one rule that is broken.
fn only(certificates: Vec<Vec<u8>>, device: Device<'_>) -> BrokenRule {
    let broken = broken(certificates, device);
    assert_eq!(broken.len(), 1, "{broken:?}");
    broken.into_iter().next().unwrap()
}

#[test]
fn a_good_chain_is_ready_leaf_first_root_last() {
    let pki = Pki::new(Leaf::default());
    let hashes = [entry("Another", HashAlgorithm::Sha256, &[7; 32]), pki.entry()];
    let ready = judge(pki.all(), device(&hashes)).unwrap();
    assert_eq!(ready.certificates, pki.all());
    assert_eq!((ready.root_entry.as_str(), ready.common_name.as_str()), ("Test Root", "amt.example.com"));
    assert_eq!((ready.suffix.as_str(), ready.suffix_source), ("example.com", SuffixSource::Dhcp));
    assert_eq!(Some(ready.leaf_public_key), oob_wsman::x509::spki_of(&pki.leaf));
    // Entries of every algorithm will do, and one whose number is not known but whose content is.
    let algorithms = [
        (HashAlgorithm::Sha1, digest(&SHA1_FOR_LEGACY_USE_ONLY, &pki.root)),
        (HashAlgorithm::Sha384, digest(&SHA384, &pki.root)),
        (HashAlgorithm::Sha512, digest(&SHA512, &pki.root)),
        (HashAlgorithm::Other(5), digest(&SHA512, &pki.root)),
    ];
    for (algorithm, hash) in algorithms {
        assert!(judge(pki.all(), device(&[entry("R", algorithm, hash.as_ref())])).is_ok(), "{algorithm:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_order_of_the_file_does_not_matter(keys in prop::array::uniform4(any::<u32>()), twice in 0usize..4) {
        let pki = Pki::new(Leaf::default());
        let mut shuffled: Vec<_> = pki.all().into_iter().zip(keys).collect();
        shuffled.push((pki.all()[twice].clone(), keys[0] ^ keys[1]));
        shuffled.sort_by_key(|pair| pair.1);
        let shuffled = shuffled.into_iter().map(|pair| pair.0).collect();
        prop_assert_eq!(judge(shuffled, device(&[pki.entry()])).unwrap().certificates, pki.all());
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>(), with in any::<u8>()) {
        let _ = ProvisioningChain::from_der(vec![bytes]);
        let mut certificate = from_pem(include_str!("certificates/sha256-leaf.pem"));
        let at = at.index(certificate.len());
        certificate[at] = with;
        if let Ok(chain) = ProvisioningChain::from_der(vec![certificate]) {
            prop_assert!(preflight(&chain, device(&[]), NOW).is_err());
        }
    }
}

#[test]
fn what_is_no_certificate_says_which() {
    let good = Pki::new(Leaf::default()).leaf;
    assert_eq!(ProvisioningChain::from_der(vec![]).err(), Some(CertificateError::Empty));
    let bad = ProvisioningChain::from_der(vec![good.clone(), good[..100].to_vec()]);
    assert_eq!(bad.err(), Some(CertificateError::Unreadable { number: 2 }));
    let trailing = ProvisioningChain::from_der(vec![[good.as_slice(), &[0]].concat()]);
    assert_eq!(trailing.err(), Some(CertificateError::Unreadable { number: 1 }));
}

#[test]
fn a_pem_file_is_read_whatever_else_is_in_it() {
    let (leaf, root) =
        (include_str!("certificates/sha256-leaf.pem"), include_str!("certificates/sha1-root.pem"));
    let key = include_str!("certificates/leaf-key.pem");
    let file = format!("Bag Attributes\r\n{key}{}{leaf}", root.replace('\n', "\r\n"));
    let der = from_pem(root);
    let hashes = [entry("Old", HashAlgorithm::Sha256, digest(&SHA256, &der).as_ref())];
    let old = Device { amt_major: Some(12), ..device(&hashes) };
    let ready = preflight(&ProvisioningChain::from_pem(&file).unwrap(), old, NOW).unwrap();
    assert_eq!(ready.certificates, [from_pem(leaf), der]);
    assert_eq!(ProvisioningChain::from_pem(key).err(), Some(CertificateError::Empty));
    let cut = &file[..file.len() - 40];
    assert_eq!(ProvisioningChain::from_pem(cut).err(), Some(CertificateError::Unreadable { number: 2 }));
}

#[test]
fn a_chain_with_a_hole_names_the_certificate_that_is_missing() {
    let pki = Pki::new(Leaf::default());
    let hashes = [pki.entry()];
    for (missing, issuer) in [(1, "Second CA"), (2, "First CA"), (3, "CN=Root")] {
        let mut certificates = pki.all();
        certificates.remove(missing);
        let rules = broken(certificates, device(&hashes));
        let [BrokenRule::Incomplete { issuer: named, .. }] = rules.as_slice() else { panic!("{rules:?}") };
        assert!(named.contains(issuer), "{named}");
    }
}

#[test]
fn a_link_whose_names_fit_and_whose_signature_does_not_is_broken() {
    let pki = Pki::new(Leaf::default());
    // The same name with another key.
    let root_params = ca("Root", (2010, 2040));
    let other = ca("Second CA", (2010, 2040));
    let other = other.signed_by(&leaf_key(), &Issuer::from_params(&root_params, ca_key())).unwrap();
    let chain = vec![pki.leaf.clone(), other.der().to_vec(), pki.root.clone()];
    let rule = only(chain.clone(), device(&[pki.entry()]));
    assert!(
        matches!(&rule, BrokenRule::NotSignedBy { subject, issuer } if subject.contains("amt.example.com") && issuer.contains("Second CA")),
        "{rule:?}"
    );
    // With the right one beside it, the right one is found.
    let both = [chain, pki.all()].concat();
    assert_eq!(judge(both, device(&[pki.entry()])).unwrap().certificates, pki.all());
    // A flipped bit in the signature.
    let mut forged = pki.all();
    *forged[1].last_mut().unwrap() ^= 1;
    assert!(
        matches!(only(forged, device(&[pki.entry()])), BrokenRule::NotSignedBy { subject, .. } if subject.contains("Second CA"))
    );
}

#[test]
fn an_issuer_must_be_a_ca() {
    let mut server = params(Some("Server"), (2010, 2040));
    server.is_ca = IsCa::ExplicitNoCa;
    let root = ca("Root", (2010, 2040));
    let leaf = Leaf::default().signed_by(&Issuer::from_params(&server, leaf_key()));
    let server = server.signed_by(&leaf_key(), &Issuer::from_params(&root, ca_key())).unwrap();
    let root = root.self_signed(&ca_key()).unwrap().der().to_vec();
    let hashes = [entry("R", HashAlgorithm::Sha256, digest(&SHA256, &root).as_ref())];
    let rule = only(vec![leaf, server.der().to_vec(), root], device(&hashes));
    assert!(matches!(rule, BrokenRule::IssuerIsNotCa { subject } if subject.contains("Server")));
}

#[test]
fn the_leaf_must_say_that_it_is_for_provisioning() {
    let (server, amt) = (ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::Other(AMT.to_vec()));
    let client = ExtendedKeyUsagePurpose::ClientAuth;
    let other_amt = ExtendedKeyUsagePurpose::Other(vec![2, 16, 840, 1, 113741, 1, 2, 1]);
    let judge_leaf = |purposes: Vec<ExtendedKeyUsagePurpose>, unit| {
        let pki = Pki::new(Leaf { purposes, unit, ..Leaf::default() });
        judge(pki.all(), device(&[pki.entry()])).map_err(|broken| broken.into_iter().next().unwrap())
    };
    assert!(judge_leaf(vec![amt.clone(), server.clone()], None).is_ok());
    assert!(judge_leaf(vec![server.clone()], Some(UNIT)).is_ok());
    assert!(matches!(judge_leaf(vec![amt.clone()], None), Err(BrokenRule::NoServerAuth { .. })));
    assert!(matches!(judge_leaf(vec![amt, client], None), Err(BrokenRule::NoServerAuth { .. })));
    assert!(matches!(judge_leaf(vec![server.clone()], None), Err(BrokenRule::NotForProvisioning { .. })));
    assert!(matches!(judge_leaf(vec![server, other_amt], None), Err(BrokenRule::NotForProvisioning { .. })));
    assert!(matches!(judge_leaf(vec![], None), Err(BrokenRule::NotForProvisioning { .. })));
    let wrong_case = Some("Intel(R) client setup certificate");
    assert!(matches!(judge_leaf(vec![], wrong_case), Err(BrokenRule::NotForProvisioning { .. })));
}

#[test]
fn every_certificate_of_the_chain_must_be_in_its_time() {
    let judge_years = |leaf, first| {
        let pki = Pki::with_ca_years(Leaf { years: leaf, ..Leaf::default() }, first);
        only(pki.all(), device(&[pki.entry()]))
    };
    let good = (2010, 2040);
    let text = judge_years((2020, 2026), good).to_string();
    assert!(
        text.contains("expired on Jan  1 ") && text.contains(" 2026 ") && text.contains(" 2027 "),
        "{text}"
    );
    assert!(
        matches!(judge_years((2020, 2026), good), BrokenRule::Expired { subject, now: NOW, .. } if subject.contains("amt"))
    );
    assert!(
        matches!(judge_years((2030, 2036), good), BrokenRule::NotYetValid { subject, .. } if subject.contains("amt"))
    );
    assert!(
        matches!(judge_years((2020, 2030), (2010, 2020)), BrokenRule::Expired { subject, .. } if subject.contains("First CA"))
    );
}

#[test]
fn keys_must_be_large_and_rsa() {
    let judge_key = |key| {
        let pki = Pki::new(Leaf { key, ..Leaf::default() });
        only(pki.all(), device(&[pki.entry()]))
    };
    assert!(matches!(judge_key(Key::Rsa1024), BrokenRule::KeyTooSmall { bits: 1024, .. }));
    assert!(matches!(judge_key(Key::P256), BrokenRule::KeyNotRsa { .. }));
}

#[test]
fn sha1_is_refused_in_the_root_from_amt_16_on_and_elsewhere_always() {
    let root = from_pem(include_str!("certificates/sha1-root.pem"));
    let leaf = |pem| vec![from_pem(pem), root.clone()];
    let hashes = [entry("Old", HashAlgorithm::Sha256, digest(&SHA256, &root).as_ref())];
    let old = Device { amt_major: Some(12), ..device(&hashes) };
    assert!(judge(leaf(include_str!("certificates/sha256-leaf.pem")), old).is_ok());
    let rule = only(leaf(include_str!("certificates/sha1-leaf.pem")), old);
    assert!(matches!(rule, BrokenRule::WeakHash { subject } if subject.contains("amt.example.com")));
    let rule = only(leaf(include_str!("certificates/sha256-leaf.pem")), device(&hashes));
    assert!(matches!(rule, BrokenRule::WeakHash { subject } if subject.contains("Old Root")));
}

/// The shapes of real hash lists: another root, the right one switched off, the right hash under the wrong algorithm.
#[test]
fn the_root_must_be_listed_active_and_under_its_algorithm() {
    let pki = Pki::new(Leaf::default());
    let sha1 = digest(&SHA1_FOR_LEGACY_USE_ONLY, &pki.root);
    let sha384 = digest(&SHA384, &pki.root);
    let other = entry("Other", HashAlgorithm::Sha256, &[9; 32]);
    let rule = only(pki.all(), device(std::slice::from_ref(&other)));
    let sha256: String =
        digest(&SHA256, &pki.root).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(matches!(&rule, BrokenRule::RootNotListed { sha256: named, entries: 1, .. } if *named == sha256));
    assert!(rule.to_string().contains(&sha256));
    assert!(matches!(only(pki.all(), device(&[])), BrokenRule::RootNotListed { entries: 0, .. }));

    let inactive = CertificateHash { is_active: false, ..pki.entry() };
    let rule = only(pki.all(), device(&[other.clone(), inactive.clone()]));
    assert!(matches!(rule, BrokenRule::RootInactive { entry, .. } if entry == "Test Root"));
    let active = CertificateHash { name: "Again".to_owned(), ..pki.entry() };
    assert_eq!(judge(pki.all(), device(&[inactive, active])).unwrap().root_entry, "Again");

    let padded = [sha1.as_ref(), &[0; 12]].concat();
    let cases = [
        (entry("Padded", HashAlgorithm::Sha256, &padded), "SHA-1"),
        (entry("Cut", HashAlgorithm::Sha256, &sha384.as_ref()[..32]), "SHA-384"),
        (entry("Wrong", HashAlgorithm::Sha1, &digest(&SHA256, &pki.root).as_ref()[..20]), "SHA-256"),
    ];
    for (entry, expected) in cases {
        let rule = only(pki.all(), device(&[other.clone(), entry.clone()]));
        let BrokenRule::RootUnderOtherAlgorithm { entry: name, is, listed_as, .. } = rule else {
            panic!("{rule:?}")
        };
        assert_eq!((name, is, listed_as), (entry.name, expected, entry.algorithm));
    }
}

#[test]
fn the_name_must_be_in_the_domain_that_counts() {
    let cases = [
        // name, PKI suffix, DHCP suffix, matches, from
        ("amt.example.com", "", "example.com", true, SuffixSource::Dhcp),
        ("amt.example.com", "", "EXAMPLE.com.", true, SuffixSource::Dhcp),
        ("example.com", "", "example.com", true, SuffixSource::Dhcp),
        ("*.example.com", "", "example.com", true, SuffixSource::Dhcp),
        ("amt.example.com", "", "paris.example.com", true, SuffixSource::Dhcp),
        ("amt.example.com", "", "example.net", false, SuffixSource::Dhcp),
        ("amt.badexample.org", "", "example.org", false, SuffixSource::Dhcp),
        ("amt.example.org", "", "paris.example.org", false, SuffixSource::Dhcp),
        ("amt.paris.example.org", "", "example.org", true, SuffixSource::Dhcp),
        ("amt.example.co.uk", "", "other.co.uk", false, SuffixSource::Dhcp),
        ("amt.example.com", "example.com", "other.org", true, SuffixSource::PkiSuffix),
        ("amt.example.com", "other.org", "example.com", false, SuffixSource::PkiSuffix),
        ("com", "", "com", true, SuffixSource::Dhcp),
        ("com", "", "example.com", false, SuffixSource::Dhcp),
    ];
    for (name, pki_suffix, dhcp_suffix, matches, from) in cases {
        let pki = Pki::new(Leaf { common_name: Some(name), ..Leaf::default() });
        let hashes = [pki.entry()];
        let judged = judge(pki.all(), Device { pki_suffix, dhcp_suffix, ..device(&hashes) });
        match judged {
            Ok(ready) => assert!(matches && ready.suffix_source == from, "{name} {pki_suffix} {dhcp_suffix}"),
            Err(broken) => {
                let [BrokenRule::SuffixMismatch { from: named, .. }] = broken.as_slice() else {
                    panic!("{broken:?}")
                };
                assert!(!matches && *named == from, "{name} {pki_suffix} {dhcp_suffix}");
            }
        }
    }
}

#[test]
fn no_suffix_a_private_one_and_no_name_are_said_as_such() {
    let pki = Pki::new(Leaf::default());
    let hashes = [pki.entry()];
    let rule = only(pki.all(), Device { dhcp_suffix: " ", ..device(&hashes) });
    assert!(matches!(rule, BrokenRule::NoSuffix { .. }));
    let private = Device { dhcp_suffix: "office.local", ..device(&hashes) };
    let rule = only(pki.all(), private);
    assert!(rule.to_string().contains("office.local (from DHCP option 15"), "{rule}");
    assert!(matches!(rule, BrokenRule::PrivateSuffix { .. }));
    // An organization's own root may.
    let own = Pki::new(Leaf { common_name: Some("amt.office.local"), ..Leaf::default() });
    let custom = [CertificateHash { is_default: false, ..own.entry() }];
    assert!(judge(own.all(), Device { hashes: &custom, ..private }).is_ok());

    let nameless = Pki::new(Leaf { common_name: None, ..Leaf::default() });
    assert!(matches!(only(nameless.all(), device(&[nameless.entry()])), BrokenRule::NoCommonName { .. }));
}

#[test]
fn a_link_that_is_down_and_a_chain_too_long_are_broken_rules() {
    let pki = Pki::new(Leaf::default());
    let hashes = [pki.entry()];
    let down = Device { wired_link_up: false, ..device(&hashes) };
    assert_eq!(only(pki.all(), down), BrokenRule::LinkDown);

    let names: Vec<_> = (0..8).map(|number| ca(&format!("CA {number}"), (2010, 2040))).collect();
    let mut chain = vec![names[0].self_signed(&ca_key()).unwrap().der().to_vec()];
    for pair in names.windows(2) {
        let issuer = Issuer::from_params(&pair[0], ca_key());
        chain.push(pair[1].signed_by(&ca_key(), &issuer).unwrap().der().to_vec());
    }
    let hashes = [entry("R", HashAlgorithm::Sha256, digest(&SHA256, &chain[0]).as_ref())];
    chain.push(Leaf::default().signed_by(&Issuer::from_params(&names[7], ca_key())));
    assert_eq!(only(chain, device(&hashes)), BrokenRule::TooLong { count: 9, most: 8 });
}

/// A root that another root signed: the order that the device trusts is the one taken.
#[test]
fn of_several_orders_the_one_that_is_trusted_is_taken() {
    let pki = Pki::new(Leaf::default());
    let older = ca("Older Root", (2010, 2040));
    let cross =
        ca("Root", (2010, 2039)).signed_by(&ca_key(), &Issuer::from_params(&older, leaf_key())).unwrap();
    let cross = cross.der().to_vec();
    let older = older.self_signed(&leaf_key()).unwrap().der().to_vec();
    let all = [pki.all(), vec![cross.clone(), older.clone()]].concat();
    assert_eq!(judge(all.clone(), device(&[pki.entry()])).unwrap().certificates, pki.all());
    let by_older = [entry("Older", HashAlgorithm::Sha256, digest(&SHA256, &older).as_ref())];
    let ready = judge(all, device(&by_older)).unwrap();
    assert_eq!(ready.certificates, [pki.leaf, pki.second, pki.first, cross, older]);
}

#[test]
fn several_broken_rules_are_all_named() {
    let pki = Pki::new(Leaf { purposes: vec![], years: (2020, 2021), ..Leaf::default() });
    let none = Device { wired_link_up: false, dhcp_suffix: "", ..device(&[]) };
    let broken = broken(pki.all(), none);
    let texts: Vec<_> = broken.iter().map(ToString::to_string).collect();
    assert_eq!(broken.len(), 5, "{texts:#?}");
    assert!(texts.iter().all(|text| text.len() > 40));
}
