//! On-die chains of the real shape, made here: the good ones pass, each broken one is refused by its name.

#![allow(clippy::unwrap_used)] // a test that cannot go on panics

use oob_wsman::{
    verifier::{INTEL_ON_DIE_ROOT, ON_DIE_ROOT, OnDie, OnDieRefusal, SelfMade},
    x509::certificate_pin,
};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    PKCS_ECDSA_P384_SHA384,
};
use ring::digest::{SHA256, SHA384, digest};

const NOW: i64 = 1_800_000_000; // 2027-01-15

/// Common name and unit of each certificate, the leaf first, the root last.
type Names = [(&'static str, &'static str); 7];

const NAMES: Names = [
    ("AMT RCFG", "x"),
    ("CSME ADL AMT CA", "x"),
    ("CSME ADL Kernel CA", "x"),
    ("CSME ADL ROM CA", "x"),
    ("CSME Intermediate CA", "ODCA 2 CSME P"),
    ("On Die CA", "x"),
    ("www.intel.com", "OnDie CA Root Cert Signing"),
];

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap()
}

fn params(index: usize, (name, unit): (&str, &str)) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.distinguished_name.push(DnType::OrganizationalUnitName, unit);
    (params.not_before, params.not_after) =
        (rcgen::date_time_ymd(2019, 4, 3), rcgen::date_time_ymd(2049, 12, 31));
    if index > 0 {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    params
}

/// Leaf first, root last. `edit` may change the parameters of a certificate before it is issued.
fn chain(names: Names, edit: impl Fn(usize, &mut CertificateParams)) -> Vec<Vec<u8>> {
    let all: Vec<_> = names
        .into_iter()
        .enumerate()
        .map(|(index, name)| {
            let mut params = params(index, name);
            edit(index, &mut params);
            (params, key())
        })
        .collect();
    let mut made: Vec<Vec<u8>> = all
        .windows(2)
        .map(|pair| {
            let issuer = Issuer::from_params(&pair[1].0, &pair[1].1);
            pair[0].0.signed_by(&pair[0].1, &issuer).unwrap().der().to_vec()
        })
        .collect();
    let (root, key) = all.last().unwrap();
    made.push(root.self_signed(key).unwrap().der().to_vec());
    made
}

fn good() -> Vec<Vec<u8>> {
    chain(NAMES, |_, _| {})
}

/// A verifier that knows this chain's root, as a device that sends six of seven needs.
fn rules(chain: &[Vec<u8>]) -> OnDie {
    let root = chain.last().unwrap().clone();
    OnDie { root_sha256: certificate_pin(&root), root: Some(root), leaf_hash: None, upid_serial: None }
}

fn judge(rules: &OnDie, chain: &[Vec<u8>]) -> Result<(), OnDieRefusal> {
    rules.judge(&chain.iter().map(Vec::as_slice).collect::<Vec<_>>(), NOW)
}

#[test]
fn a_chain_of_six_is_accepted_with_its_bindings() {
    let made = good();
    let sent = &made[..6];
    let plain = rules(&made);
    assert_eq!(judge(&plain, sent), Ok(()));
    let serial: [u8; 32] = certificate_pin(&made[3]);
    let mut padded = [0; 32];
    padded[..20].copy_from_slice(&serial[..20]);
    for hash in [digest(&SHA256, &made[0]), digest(&SHA384, &made[0])] {
        let bound =
            OnDie { leaf_hash: Some(hash.as_ref().to_vec()), upid_serial: Some(padded), ..plain.clone() };
        assert_eq!(judge(&bound, sent), Ok(()));
    }
}

/// Four that end below the root, and four that end with it or six that do: whether the root is sent is the device's.
#[test]
fn the_root_may_be_sent_or_be_at_hand() {
    // ROM certificates right below the root.
    let mut names = NAMES;
    (names[4], names[3]) = (("www.intel.com", "On Die CSME"), ("CSME ROM DE", "x"));
    let all = chain(names, |_, _| {});
    let anchor = OnDie { root_sha256: certificate_pin(&all[4]), root: Some(all[4].clone()), ..rules(&all) };
    assert_eq!(judge(&anchor, &all[..4]), Ok(()));
    assert_eq!(judge(&OnDie { root: None, ..anchor.clone() }, &all[..4]), Err(OnDieRefusal::Root));
    assert_eq!(judge(&OnDie { root_sha256: ON_DIE_ROOT, ..anchor }, &all[..4]), Err(OnDieRefusal::Root));
    // The root as the sixth.
    let made = good();
    let sixth = OnDie { root_sha256: certificate_pin(&made[5]), root: None, ..rules(&made) };
    assert_eq!(judge(&sixth, &made[..6]), Ok(()));
}

#[test]
fn wrong_lengths_are_refused() {
    let made = good();
    let plain = rules(&made);
    assert_eq!(judge(&plain, &made[..1]), Err(OnDieRefusal::Single));
    for length in [0, 2, 3, 5, 7] {
        assert_eq!(judge(&plain, &made[..length]), Err(OnDieRefusal::Length(length)));
    }
}

#[test]
fn names_must_be_those_of_the_setup_and_of_a_rom() {
    let judge_names = |names: Names| {
        let made = chain(names, |_, _| {});
        judge(&rules(&made), &made[..6])
    };
    let with = |index: usize, name| {
        let mut names = NAMES;
        names[index] = name;
        judge_names(names)
    };
    assert_eq!(with(0, ("iAMT CSME IDevID RCFG", "x")), Ok(()));
    assert_eq!(with(0, ("AMT RCFG 2", "x")), Err(OnDieRefusal::LeafName));
    assert_eq!(with(3, ("CSME Kernel CA", "x")), Err(OnDieRefusal::RomName));
    assert_eq!(with(4, ("Intermediate", "Somebody")), Err(OnDieRefusal::RomName));
}

#[test]
fn another_root_another_leaf_and_another_machine_are_refused() {
    let (made, other) = (good(), good());
    assert_eq!(judge(&rules(&other), &made[..6]), Err(OnDieRefusal::Root));
    let plain = rules(&made);
    let wrong_leaf = OnDie { leaf_hash: Some(certificate_pin(&other[0]).to_vec()), ..plain.clone() };
    assert_eq!(judge(&wrong_leaf, &made[..6]), Err(OnDieRefusal::LeafHash));
    let empty = OnDie { leaf_hash: Some(Vec::new()), ..plain.clone() };
    assert_eq!(judge(&empty, &made[..6]), Err(OnDieRefusal::LeafHash));
    let wrong_machine = OnDie { upid_serial: Some(certificate_pin(&other[3])), ..plain.clone() };
    assert_eq!(judge(&wrong_machine, &made[..6]), Err(OnDieRefusal::Upid));
    // The right names by another key, in every place.
    for index in 0..6 {
        let mut mixed = made[..6].to_vec();
        mixed[index] = other[index].clone();
        let expected = match index {
            0 => OnDieRefusal::Link(1),
            5 => OnDieRefusal::Link(5),
            _ => OnDieRefusal::Link(index),
        };
        assert_eq!(judge(&plain, &mixed), Err(expected), "{index}");
    }
}

#[test]
fn issuers_must_be_cas_and_all_must_be_in_their_time() {
    let not_ca = chain(NAMES, |index, params| {
        if index == 2 {
            params.is_ca = IsCa::ExplicitNoCa;
        }
    });
    assert_eq!(judge(&rules(&not_ca), &not_ca[..6]), Err(OnDieRefusal::Link(2)));
    let over = chain(NAMES, |index, params| {
        if index == 4 {
            params.not_after = rcgen::date_time_ymd(2025, 1, 1);
        }
    });
    assert_eq!(judge(&rules(&over), &over[..6]), Err(OnDieRefusal::Time(5)));
    let early = rules(&over).judge(&over[..6].iter().map(Vec::as_slice).collect::<Vec<_>>(), 0);
    assert_eq!(early, Err(OnDieRefusal::Time(1)));
    let mut cut = over[..6].to_vec();
    cut[1].truncate(40);
    assert_eq!(judge(&rules(&over), &cut), Err(OnDieRefusal::Link(2)));
}

/// The certificate that is built in is the root that is pinned, and it signs itself.
#[test]
fn intels_root_is_the_one_that_is_pinned() {
    assert_eq!(certificate_pin(INTEL_ON_DIE_ROOT), ON_DIE_ROOT);
    let intels = OnDie {
        root_sha256: ON_DIE_ROOT,
        root: Some(INTEL_ON_DIE_ROOT.to_vec()),
        leaf_hash: None,
        upid_serial: None,
    };
    assert_eq!(SelfMade::new(intels.clone()).judge(&[INTEL_ON_DIE_ROOT], NOW), Ok(()));
    let made = good();
    assert_eq!(judge(&intels, &made[..6]), Err(OnDieRefusal::Root));
}

#[test]
fn what_amt_makes_for_itself_is_one_certificate_of_its_own_key() {
    let made = good();
    let judge = |chain: &[Vec<u8>]| {
        let chain: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
        SelfMade::new(rules(&made)).judge(&chain, NOW)
    };
    let own = made.last().unwrap().clone();
    assert_eq!(judge(std::slice::from_ref(&own)), Ok(()));
    assert_eq!(judge(&made[..6]), Ok(()));
    // Issued by another, longer than it is, changed in its signature: none is its own.
    assert_eq!(judge(&made[..1]), Err(OnDieRefusal::NotItsOwn));
    let mut longer = own.clone();
    longer.push(0);
    assert_eq!(judge(&[longer]), Err(OnDieRefusal::NotItsOwn));
    let mut forged = own.clone();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(judge(&[forged]), Err(OnDieRefusal::NotItsOwn));
    // What comes with others is judged as an on-die chain.
    assert_eq!(judge(&[own.clone(), own]), Err(OnDieRefusal::Length(2)));
    assert_eq!(judge(&[]), Err(OnDieRefusal::Length(0)));
}
