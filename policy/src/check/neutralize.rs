//! What a rule says about how to neutralize.

use std::collections::BTreeMap;

use toml::Spanned;

use super::refuse_twice;
use crate::Reference;
use crate::diagnostic::Findings;
use crate::file::{NeutralizeTable, Texts};
use crate::policy::{Method, Neutralize};

pub(super) fn check(table: NeutralizeTable, findings: &mut Findings<'_>) -> (Vec<Method>, Neutralize) {
    let methods: Vec<Method> = table
        .methods
        .map(|methods| methods.into_inner().into_iter().map(Spanned::into_inner).collect())
        .unwrap_or_default();
    let mut idle = |key: &str, span, used: bool, by: &str| {
        // Methods that could not be read are reported already, and may have been the ones.
        if !used && !methods.is_empty() {
            let message = format!("`{key}` has no effect: {by}");
            findings.warning(span, message, "remove it, or add the method to `methods`");
        }
    };
    let images = methods.iter().any(|method| method.needs_image());
    if let Some(flag) = table.read_flash.as_ref().filter(|flag| *flag.get_ref()) {
        idle("read_flash", flag.span(), images, NO_IMAGE);
    }
    if let Some(pins) = &table.result_sha256 {
        idle("result_sha256", pins.span(), images, NO_IMAGE);
    }
    let cleans = methods.contains(&Method::CleanAndSoftDisable);
    if let Some(keep) = &table.keep {
        idle("keep", keep.span(), cleans, NO_REMOVAL);
    }
    if let Some(flag) = table.accept_boot_guard.as_ref().filter(|flag| *flag.get_ref()) {
        idle("accept_boot_guard", flag.span(), cleans, NO_REMOVAL);
    }
    let locks = methods.contains(&Method::Lockdown);
    for (key, place) in
        [("certificate", &table.certificate), ("certificate_passphrase", &table.certificate_passphrase)]
    {
        if let Some(place) = place {
            idle(key, place.span(), locks, NO_LOCKDOWN);
        }
    }
    if let (Some(passphrase), None) = (&table.certificate_passphrase, &table.certificate) {
        let help = "name the PKCS#12 file with `certificate`";
        findings.error(passphrase.span(), "a passphrase without the certificate that it opens", help);
    }
    let mut place = |key: &str, text: Option<Spanned<String>>| {
        let text = text?;
        let place = Reference::parse(text.get_ref());
        if place.is_none() {
            let message = format!("`{key}` does not say where it is");
            findings.error(text.span(), message, "write \"file:PATH\" or \"credential:NAME\"");
        }
        place
    };
    let certificate = place("certificate", table.certificate);
    let certificate_passphrase = place("certificate_passphrase", table.certificate_passphrase);
    let neutralize = Neutralize {
        certificate,
        certificate_passphrase,
        accept_boot_guard: table.accept_boot_guard.is_some_and(Spanned::into_inner),
        read_flash: table.read_flash.is_some_and(Spanned::into_inner),
        keep: table.keep.map(|keep| partitions(&keep, findings)),
        result_sha256: table.result_sha256.map(|pins| hashes(&pins, findings)).unwrap_or_default(),
    };
    (methods, neutralize)
}

const NO_IMAGE: &str = "no method here makes an image";
const NO_REMOVAL: &str = "no method here removes code";
const NO_LOCKDOWN: &str = "`lockdown` is not among the methods";

/// Names of at most four characters, as partition tables hold them. An empty list is a decision: keep none.
fn partitions(texts: &Texts, findings: &mut Findings<'_>) -> Vec<String> {
    let mut seen = BTreeMap::new();
    for text in texts.get_ref() {
        let name = text.get_ref();
        let plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        if !(1..=4).contains(&name.len()) || !name.bytes().all(plain) {
            let help = "write it as the partition table has it: up to four capital letters and digits, such as \"MFS\"";
            findings.error(text.span(), "`keep`: this is no name of a partition", help);
        } else {
            refuse_twice(&mut seen, Some(text), "partition name", findings);
        }
    }
    texts.get_ref().iter().map(|text| text.get_ref().clone()).collect()
}

fn hashes(texts: &Texts, findings: &mut Findings<'_>) -> Vec<String> {
    if texts.get_ref().is_empty() {
        let message = "`result_sha256` is an empty list, which no image matches";
        findings.error(texts.span(), message, "name a hash, or remove the key");
    }
    let mut seen = BTreeMap::new();
    for text in texts.get_ref() {
        let hash = text.get_ref();
        if hash.len() != 64 || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let help = "write what `sha256sum neutralized.bin` prints: 64 hex digits";
            findings.error(text.span(), "`result_sha256`: this is no sha256", help);
        } else {
            let lower = Spanned::new(text.span(), hash.to_ascii_lowercase());
            refuse_twice(&mut seen, Some(&lower), "hash", findings);
        }
    }
    texts.get_ref().iter().map(|text| text.get_ref().to_ascii_lowercase()).collect()
}
