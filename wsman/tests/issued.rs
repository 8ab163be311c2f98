//! Enrollment answers in every form, good and bad, and certificates that a CA should not have issued.

#![allow(clippy::unwrap_used)] // a test that cannot go on panics

use std::process::{Command, Stdio};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use oob_wsman::x509::{AnswerError, Expected, IssuedRefusal, judge_issued, read_certificates, spki_of};
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, PKCS_ECDSA_P256_SHA256, date_time_ymd,
};

/// 2026-01-01.
const NOW: i64 = 1_767_225_600;

fn amts_key() -> KeyPair {
    KeyPair::from_pem(include_str!("certificates/leaf-key.pem")).unwrap()
}

fn ca_key() -> KeyPair {
    KeyPair::from_pem(include_str!("certificates/ca-key.pem")).unwrap()
}

fn ca(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn leaf() -> CertificateParams {
    let mut params = CertificateParams::new(["desk-17".to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    (params.not_before, params.not_after) = (date_time_ymd(2025, 1, 1), date_time_ymd(2030, 1, 1));
    params
}

/// Root, intermediate and a certificate of AMT's key under it, DER.
fn issued(params: &CertificateParams) -> [Vec<u8>; 3] {
    let (root, middle) = (ca("Root"), ca("Middle"));
    let middle_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let root_issuer = Issuer::from_params(&root, ca_key());
    let middle_issuer = Issuer::from_params(&middle, &middle_key);
    [
        root.self_signed(&ca_key()).unwrap().der().to_vec(),
        middle.signed_by(&middle_key, &root_issuer).unwrap().der().to_vec(),
        params.signed_by(&amts_key(), &middle_issuer).unwrap().der().to_vec(),
    ]
}

fn judge(certificates: &[Vec<u8>], roots: &[Vec<u8>]) -> Result<Vec<u8>, IssuedRefusal> {
    // The public key as AMT tells it, wrapped as a certificate has it.
    let own = CertificateParams::default().self_signed(&amts_key()).unwrap();
    let key = spki_of(own.der()).unwrap();
    judge_issued(certificates, Expected { key: &key, roots, now: NOW })
}

/// DER by hand: tag, length in two bytes, content.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag, 0x82, length[0], length[1]], content].concat()
}

/// PKCS#7 certs-only.
fn bag(certificates: &[&[u8]]) -> Vec<u8> {
    let oid = |last: u8| [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, last];
    let parts = [
        vec![0x02, 0x01, 0x01],
        element(0x31, &[]),
        element(0x30, &oid(1)),
        element(0xa0, &certificates.concat()),
        element(0x31, &[]),
    ];
    element(0x30, &[oid(2).to_vec(), element(0xa0, &element(0x30, &parts.concat()))].concat())
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\r\n{}\r\n-----END {label}-----\r\n", wrapped(der))
}

fn wrapped(der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    lines.join("\r\n")
}

#[test]
fn answers_are_read_in_every_form() {
    let [root, middle, der] = issued(&leaf());
    let both = bag(&[&middle, &der]);
    for (form, answer, expected) in [
        ("base64 of PKCS#7", wrapped(&both).into_bytes(), vec![middle.clone(), der.clone()]),
        ("base64 in one line", BASE64.encode(&both).into_bytes(), vec![middle.clone(), der.clone()]),
        ("DER of PKCS#7", both.clone(), vec![middle.clone(), der.clone()]),
        ("PEM of PKCS#7", pem("PKCS7", &both).into_bytes(), vec![middle.clone(), der.clone()]),
        ("DER certificate", der.clone(), vec![der.clone()]),
        ("base64 certificate", wrapped(&der).into_bytes(), vec![der.clone()]),
        (
            "PEM certificates",
            ["issued:\n", &pem("CERTIFICATE", &der), &pem("CERTIFICATE", &root)].concat().into_bytes(),
            vec![der.clone(), root.clone()],
        ),
    ] {
        assert_eq!(read_certificates(&answer), Ok(expected), "{form}");
    }
}

#[test]
fn other_answers_are_named() {
    let [_, _, der] = issued(&leaf());
    let cut = bag(&[&der]);
    let mut longer = cut.clone();
    longer.push(0);
    let mut indefinite = cut.clone();
    indefinite[1] = 0x80;
    for (what, answer, expected) in [
        ("a page", b"<html><body>Sign in</body></html>".to_vec(), AnswerError::Neither),
        ("nothing", Vec::new(), AnswerError::Neither),
        ("an empty bag", bag(&[]), AnswerError::Empty),
        ("a bag cut short", cut[..cut.len() - 1].to_vec(), AnswerError::Neither),
        ("a bag with more behind it", longer, AnswerError::Neither),
        ("a length of BER", indefinite, AnswerError::Neither),
        ("a bag of something else", bag(&[&[0x04, 0x01, 0x00]]), AnswerError::Neither),
        ("a private key", pem("PRIVATE KEY", &der).into_bytes(), AnswerError::Neither),
        ("half a PEM", b"-----BEGIN CERTIFICATE-----\nMIIB".to_vec(), AnswerError::Neither),
        ("base64 of nothing sensible", BASE64.encode(b"hello").into_bytes(), AnswerError::Neither),
    ] {
        assert_eq!(read_certificates(&answer), Err(expected), "{what}");
    }
}

#[test]
fn another_program_makes_a_bag_that_is_read() {
    let [_, middle, der] = issued(&leaf());
    let directory = std::env::temp_dir().join(format!("oob-issued-{}", std::process::id()));
    std::fs::write(&directory, pem("CERTIFICATE", &middle) + &pem("CERTIFICATE", &der)).unwrap();
    let made = Command::new("openssl")
        .args(["crl2pkcs7", "-nocrl", "-outform", "DER", "-certfile"])
        .arg(&directory)
        .stdin(Stdio::null())
        .output();
    std::fs::remove_file(&directory).unwrap();
    let Ok(made) = made else {
        eprintln!("skipped: PKCS#7 of another program: openssl is not installed");
        return;
    };
    let mut read = read_certificates(&made.stdout).unwrap();
    read.sort();
    let mut both = vec![middle, der];
    both.sort();
    assert_eq!(read, both);
}

#[test]
fn what_the_ca_should_issue_is_taken() {
    let [root, middle, der] = issued(&leaf());
    let stranger = ca("Stranger").self_signed(&amts_key()).unwrap().der().to_vec();
    let roots = [stranger, root.clone()];
    assert_eq!(judge(&[der.clone(), middle.clone()], &roots), Ok(der.clone()));
    assert_eq!(judge(&[root, middle.clone(), der.clone()], &roots), Ok(der.clone()));
    // An intermediate that the server's own list names is as good.
    assert_eq!(judge(std::slice::from_ref(&der), &[middle]), Ok(der));
}

#[test]
fn what_it_should_not_is_refused_by_name() {
    let with = |change: fn(&mut CertificateParams)| {
        let mut params = leaf();
        change(&mut params);
        issued(&params)
    };
    let all = |[root, middle, der]: [Vec<u8>; 3]| judge(&[der, middle], &[root]);
    assert_eq!(all(with(|it| it.extended_key_usages.clear())), Err(IssuedRefusal::NoServerAuth));
    let client = with(|it| it.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
    assert_eq!(all(client), Err(IssuedRefusal::NoServerAuth));
    assert_eq!(all(with(|it| it.not_after = date_time_ymd(2025, 6, 1))), Err(IssuedRefusal::Expired));
    assert_eq!(all(with(|it| it.not_before = date_time_ymd(2026, 6, 1))), Err(IssuedRefusal::NotYetValid));
    let ca = with(|it| it.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    assert_eq!(all(ca), Err(IssuedRefusal::Ca));
    let long = with(|it| {
        let note = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![0x04; 3000]);
        it.custom_extensions = vec![note];
    });
    assert!(matches!(all(long), Err(IssuedRefusal::TooLong { length: 4101.. })));

    let [root, middle, der] = issued(&leaf());
    assert_eq!(
        judge(std::slice::from_ref(&middle), std::slice::from_ref(&root)),
        Err(IssuedRefusal::OtherKey)
    );
    // Without the certificate in between, and with a root that came along but that nobody trusts.
    assert_eq!(
        judge(std::slice::from_ref(&der), std::slice::from_ref(&root)),
        Err(IssuedRefusal::UnknownIssuer)
    );
    assert_eq!(judge(&[der.clone(), middle.clone(), root.clone()], &[]), Err(IssuedRefusal::UnknownIssuer));
    let mut forged = der;
    *forged.last_mut().unwrap() ^= 1;
    let forged = judge(&[forged, middle.clone()], std::slice::from_ref(&root));
    assert!(matches!(forged, Err(IssuedRefusal::Chain(_) | IssuedRefusal::UnknownIssuer)), "{forged:?}");
    let junk = judge(&[vec![0x30, 0x00], middle], &[root]);
    assert_eq!(junk, Err(IssuedRefusal::Unreadable { number: 1 }));
}

proptest! {
    /// Whatever a server sends is read or refused.
    #[test]
    fn no_answer_is_too_odd(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(certificates) = read_certificates(&bytes) {
            let _ = judge(&certificates, &[]);
        }
    }

    #[test]
    fn no_bag_is_too_broken(at in 0_usize..700, byte in any::<u8>(), length in 0_usize..900) {
        let [_, middle, der] = issued(&leaf());
        let mut bytes = bag(&[&middle, &der]);
        let end = length.min(bytes.len());
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
        let _ = read_certificates(&bytes);
        let _ = read_certificates(&bytes[..end]);
    }
}
