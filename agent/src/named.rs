//! Files that a rule names for AMT's network, read and judged before the first call: the Wi-Fi passphrase, and the
//! certificate of the CA whose clients alone are let in.

use std::path::Path;

use oob_policy::{Context, Detection, Policy, Reference, Selection, select};
use oob_wsman::Secret;
use oob_wsman::verifier::ClientCertificate;
use oob_wsman::x509::{certificate_facts, certificate_pin};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::{PemObject, SectionKind};
use zeroize::Zeroizing;

use crate::certificate::{Certified, read, resolve};
use crate::state::hex;

/// What the files hold. No `Debug`: one of them is a passphrase.
#[derive(Default)]
pub struct Named {
    pub wifi_passphrase: Option<Secret>,
    /// DER.
    pub mutual_ca: Option<Vec<u8>>,
}

/// IEEE 802.11 has it so; with less a network cannot be joined.
const PASSPHRASE: std::ops::RangeInclusive<usize> = 8..=63;
/// The largest that AMT stores (reference/amt.md 4.6).
const CERTIFICATE: usize = 4100;

impl Named {
    /// Reads what the rule of this machine names; what is wrong with it goes into `context`, where the decision finds it.
    pub fn read(
        policy: &Policy,
        detection: &Detection,
        issuer: Option<&Certified>,
        context: &mut Context,
    ) -> Self {
        let Selection::Rule(rule) = select(policy, detection, context) else { return Self::default() };
        let wishes = rule.amt();
        let now = context.now;
        let named = &mut context.named;
        named.tls_ca_sha256 =
            issuer.and_then(|issuer| issuer.chain.first()).map(|ca| hex(&certificate_pin(ca)));
        let mut held = Self::default();
        if let Some(place) = &wishes.wifi_passphrase {
            match passphrase(place) {
                Ok(passphrase) => held.wifi_passphrase = Some(passphrase),
                Err(why) => named.wifi_passphrase_unusable = Some(why),
            }
        }
        if let Some(place) = &wishes.mutual_tls_ca {
            let ca = mutual_ca(place, now);
            named.mutual_ca = Some(ca.as_ref().map(|der| hex(&certificate_pin(der))).map_err(Clone::clone));
            held.mutual_ca = ca.ok();
        }
        held
    }
}

fn passphrase(place: &Reference) -> Result<Secret, String> {
    let path = resolve(place)?;
    let bytes = read(&path)?;
    let shown = path.display();
    let text = std::str::from_utf8(&bytes).map_err(|_| format!("reading {shown}: it is not UTF-8"))?;
    // Editors end a file with a line break that nobody means.
    let text = text.trim_end_matches(['\r', '\n']);
    if !PASSPHRASE.contains(&text.len()) || !text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Err(format!(
            "reading {shown}: it holds no passphrase of a Wi-Fi network, which has 8 to 63 printable ASCII characters"
        ));
    }
    Ok(Secret::new(text.to_owned()))
}

fn mutual_ca(place: &Reference, now: i64) -> Result<Vec<u8>, String> {
    let path = resolve(place)?;
    let bytes = read(&path)?;
    judge_ca(&bytes, now).map_err(|why| format!("reading {}: {why}", path.display()))
}

fn judge_ca(pem: &[u8], now: i64) -> Result<Vec<u8>, String> {
    let (mut chain, _) = certificates_and_keys(pem)?;
    let Some(ca) = chain.pop().filter(|_| chain.is_empty()) else {
        return Err(match chain.len() {
            0 => "it holds no certificate; give the CA's, PEM".to_owned(),
            more => format!("it holds {} certificates; give the CA's alone", more + 1),
        });
    };
    let facts = certificate_facts(&ca).ok_or("its certificate cannot be read")?;
    if !facts.is_ca {
        return Err(
            "its certificate is no CA's (basic constraints), so no client could chain to it".to_owned()
        );
    }
    if facts.not_after < now {
        return Err("its certificate has ended by this machine's clock".to_owned());
    }
    if facts.not_before > now {
        return Err("its certificate has not begun by this machine's clock".to_owned());
    }
    if ca.len() > CERTIFICATE {
        return Err(format!("its certificate has {} bytes, and AMT stores {CERTIFICATE} at most", ca.len()));
    }
    Ok(ca)
}

/// A client's certificate with its chain and its key, PEM, for `verify --remote`.
///
/// # Errors
/// A sentence for people; it names the file and never what stands there.
pub fn client_certificate(path: &Path) -> Result<ClientCertificate, String> {
    let shown = path.display();
    let bytes = read(path)?;
    let (chain, keys) = certificates_and_keys(&bytes).map_err(|why| format!("reading {shown}: {why}"))?;
    if chain.is_empty() {
        return Err(format!("reading {shown}: it holds no certificate; give the client's first, PEM"));
    }
    let [key] = keys.as_slice() else {
        return Err(format!("reading {shown}: it holds {} private keys, and one is needed", keys.len()));
    };
    let key = PrivateKeyDer::try_from(key.as_slice())
        .map_err(|_| format!("reading {shown}: its private key cannot be read"))?;
    ClientCertificate::new(chain, &key).map_err(|error| {
        format!("reading {shown}: its key is not the first certificate's, or of no use here ({error})")
    })
}

type Parts = (Vec<Vec<u8>>, Vec<Zeroizing<Vec<u8>>>);

fn certificates_and_keys(pem: &[u8]) -> Result<Parts, String> {
    let (mut chain, mut keys) = (Vec::new(), Vec::new());
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
        let (kind, der) = section.map_err(|error| format!("it is no sound PEM: {error}"))?;
        match kind {
            SectionKind::Certificate => chain.push(der),
            SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => {
                keys.push(Zeroizing::new(der));
            }
            _ => {}
        }
    }
    Ok((chain, keys))
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    use super::*;

    fn ca(years: (i32, i32), is_ca: bool) -> String {
        let mut params = CertificateParams::default();
        if is_ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
    }

    #[test]
    fn only_a_ca_that_is_in_time_is_taken() {
        let now = 1_800_000_000; // 2027
        let good = ca((2020, 2045), true);
        assert!(judge_ca(good.as_bytes(), now).is_ok());
        for (pem, why) in [
            (String::new(), "no certificate"),
            ("hello".to_owned(), "no certificate"),
            (format!("{good}{good}"), "2 certificates"),
            (ca((2020, 2045), false), "no CA's"),
            (ca((2020, 2026), true), "has ended"),
            (ca((2030, 2045), true), "has not begun"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(), "cannot be read"),
        ] {
            let error = judge_ca(pem.as_bytes(), now).unwrap_err();
            assert!(error.contains(why), "{why}: {error}");
        }
    }

    #[test]
    fn a_passphrase_has_8_to_63_printable_characters_and_is_never_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let place = |text: &str| {
            let file = dir.path().join("wifi");
            std::fs::write(&file, text).unwrap();
            Reference::File(file.to_str().unwrap().to_owned())
        };
        for (text, good) in [
            ("12345678", Some("12345678")),
            ("with blanks, and: \"<&>\"\r\n", Some("with blanks, and: \"<&>\"")),
            (&"x".repeat(63), Some(&*"x".repeat(63))),
            (&"x".repeat(64), None),
            ("1234567\n", None),
            ("p\u{e4}sswords", None),
            ("two\nlines of it", None),
            ("", None),
        ] {
            match passphrase(&place(text)) {
                Ok(passphrase) => assert_eq!(Some(passphrase.expose()), good, "{text:?}"),
                Err(why) => {
                    assert_eq!(good, None, "{text:?}: {why}");
                    assert!(text.is_empty() || !why.contains(text.trim_end()), "{why}");
                }
            }
        }
        let nowhere = Reference::File("/nowhere/wifi".to_owned());
        assert!(passphrase(&nowhere).err().unwrap().contains("/nowhere/wifi"));
    }

    #[test]
    fn a_client_certificate_comes_with_its_own_key() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("client.pem");
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::default().self_signed(&key).unwrap().pem();
        let other = KeyPair::generate().unwrap();
        for (text, good) in [
            (format!("{certificate}{}", key.serialize_pem()), true),
            (format!("{}{certificate}", key.serialize_pem()), true),
            (format!("{certificate}{}", other.serialize_pem()), false),
            (certificate.clone(), false),
            (key.serialize_pem(), false),
            (format!("{certificate}{0}{0}", key.serialize_pem()), false),
        ] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(client_certificate(&file).is_ok(), good);
        }
    }
}
