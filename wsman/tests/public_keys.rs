//! Public keys as AMT tells them, pins, and what the provisioning key signs. Frozen values made with openssl.

#![allow(clippy::unwrap_used)] // a test that cannot go on panics

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use oob_wsman::x509::{
    certificate_facts, certificate_pin, is_request_of, public_key_from_pkcs1, signature_input,
    spki_from_pkcs1, spki_of, spki_pin,
};
use rcgen::{CertificateParams, KeyPair};

fn leaf() -> Vec<u8> {
    let pem = include_str!("certificates/sha256-leaf.pem");
    BASE64.decode(pem.lines().filter(|line| !line.starts_with('-')).collect::<String>()).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn pins_are_what_openssl_says() {
    assert_eq!(
        hex(&certificate_pin(&leaf())),
        "9eceeff592747ce79fe03a19a30bfb5548851cf51e30da635a63da3935899984"
    );
    assert_eq!(
        hex(&spki_pin(&leaf()).unwrap()),
        "2a1ba861c471b20eb7dbcae62f4de6b3a85d3b48919275658b6a7d4ed2d994a1"
    );
    assert_eq!(spki_pin(b"no certificate"), None);
}

#[test]
fn a_pkcs1_key_becomes_the_spki_of_the_same_key() {
    // `openssl rsa -RSAPublicKey_out` of the leaf's key.
    let key = "MIIBCgKCAQEAnRRYXUD8WVff0syb+p6jxeLWZB1OvDFHgWhRBwXqcePpP1Tv+Z23TFimGI/xDg6ABV5gd7Be5WQDYg6lWMpNRYBzCFI0QVZ9OzqJZV1EsZ6QQQS3vI9SwNsCODBWtz6LeWFBbaRk4hknET76c6p/w3A0khJz6gB4Bny7f6Swb3mKvUabmPQoTGGgGeeh8gEoGVsYLEeReURDhOQlRZ6jgbQfdNO+bgXCEJAsNbt3SuvhUlD/XW+pO4axSPqax7qNF1brClqpxjNp5QXA+FOa3T3sjWmWEYqF5500fQWYnA32wZguROOFfjNe31HvkVMfEcuf+wiYxvXr36joyhofqQIDAQAB";
    assert_eq!(public_key_from_pkcs1(key), spki_of(&leaf()));
    assert_eq!(public_key_from_pkcs1(&format!(" {key}\n")), spki_of(&leaf()));
    for bad in ["", "AAAA", "not base64!", &key[..key.len() - 4]] {
        assert_eq!(public_key_from_pkcs1(bad), None, "{bad}");
    }
    assert_eq!(spki_from_pkcs1(&BASE64.decode(key).unwrap()), spki_of(&leaf()));
    let trailing = BASE64.encode([BASE64.decode(key).unwrap(), vec![0]].concat());
    assert_eq!(public_key_from_pkcs1(&trailing), None);
}

#[test]
fn the_devices_nonce_comes_first() {
    let input = signature_input(&[1; 20], &[2; 20]);
    assert_eq!((input[..20].to_vec(), input[20..].to_vec()), (vec![1; 20], vec![2; 20]));
}

#[test]
fn a_request_counts_only_for_the_key_that_signed_it() {
    let key = |pem| KeyPair::from_pem(pem).unwrap();
    let ours = key(include_str!("certificates/leaf-key.pem"));
    let theirs = key(include_str!("certificates/ca-key.pem"));
    let request = |key: &KeyPair| CertificateParams::default().serialize_request(key).unwrap().der().to_vec();
    let spki = spki_of(&leaf()).unwrap();
    let good = request(&ours);
    assert!(is_request_of(&good, &spki));
    assert!(!is_request_of(&request(&theirs), &spki), "signed well, for another key");
    // What AMT is given to sign: the right key and no signature.
    let mut null_signed = good.clone();
    let signature = null_signed.len() - 256;
    null_signed[signature..].fill(0);
    assert!(!is_request_of(&null_signed, &spki));
    let mut changed = good.clone();
    let common_name = good.windows(5).position(|five| five == b"rcgen").unwrap();
    changed[common_name] ^= 1;
    assert!(!is_request_of(&changed, &spki));
    assert!(!is_request_of(&[good.as_slice(), &[0]].concat(), &spki));
    assert!(!is_request_of(b"", &spki));
}

#[test]
fn a_certificate_tells_what_it_is() {
    let facts = certificate_facts(&leaf()).unwrap();
    assert!(!facts.is_ca && facts.not_before < facts.not_after, "{facts:?}");
    let mut params = CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2030, 1, 1);
    let der = params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec();
    let facts = certificate_facts(&der).unwrap();
    assert_eq!((facts.is_ca, facts.not_before, facts.not_after), (true, 1_577_836_800, 1_893_456_000));
    assert_eq!(certificate_facts(&[der, vec![0]].concat()), None);
    assert_eq!(certificate_facts(b"none"), None);
}
