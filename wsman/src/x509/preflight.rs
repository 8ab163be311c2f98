//! The preflight of admin control mode (`reference/amt.md` 5.3): would this device take this chain.

use md5::{Digest as _, Md5};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, SHA512, digest};

use super::{
    certificate::{Certificate, Key, ProvisioningChain, SERVER_AUTH},
    path::{Path, paths},
    rules::{BrokenRule, SuffixSource},
    signature::{ECDSA_SHA1, MD5_WITH_RSA, SHA1_WITH_RSA, verify_signature},
};
use crate::pthi::{CertificateHash, HashAlgorithm};

/// What the device says of itself; all of it can be read without changing anything.
#[derive(Debug, Clone, Copy)]
pub struct Device<'a> {
    /// All hash entries (PTHI 0x2D).
    pub hashes: &'a [CertificateHash],
    /// PKI DNS suffix (PTHI 0x36); empty: none.
    pub pki_suffix: &'a str,
    /// `DhcpDNSSuffix` of AMT_SetupAndConfigurationService; empty: none.
    pub dhcp_suffix: &'a str,
    /// The link of the wired interface (PTHI 0x48).
    pub wired_link_up: bool,
    /// AMT's major version, if known. From 16 on the root must not be signed with SHA-1 either.
    pub amt_major: Option<u32>,
}

/// A chain that the device should take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// DER, leaf first, root last: the order of AddNextCertInChain.
    pub certificates: Vec<Vec<u8>>,
    /// The leaf's common name.
    pub common_name: String,
    /// The SubjectPublicKeyInfo (DER) of the leaf: the signing key must be its private half.
    pub leaf_public_key: Vec<u8>,
    /// Name of the device's entry for the root; foreign text.
    pub root_entry: String,
    /// The suffix that the name matched.
    pub suffix: String,
    /// Where the device has it from.
    pub suffix_source: SuffixSource,
}

/// Judges a chain against a device at the time `now` (seconds since 1970). The error has every broken rule, of the order
/// of certificates that breaks the fewest.
pub fn preflight(chain: &ProvisioningChain, device: Device<'_>, now: i64) -> Result<Ready, Vec<BrokenRule>> {
    let mut fewest: Option<Vec<BrokenRule>> = None;
    for path in paths(chain) {
        match judge(&path, device, now) {
            Ok(ready) => return Ok(ready),
            Err(broken) if fewest.as_ref().is_none_or(|known| broken.len() < known.len()) => {
                fewest = Some(broken);
            }
            Err(_) => {}
        }
    }
    Err(fewest.unwrap_or_default())
}

/// How many certificates are sent at most. Intel documents that there is a limit (return value 5) and not which; its
/// audit record knows chains of more than five.
pub const MOST_CERTIFICATES: usize = 8;

fn judge(path: &Path<'_>, device: Device<'_>, now: i64) -> Result<Ready, Vec<BrokenRule>> {
    let (Some(leaf), Some(last)) = (path.first(), path.last()) else { return Err(Vec::new()) };
    let mut broken = Vec::new();
    if path.len() > MOST_CERTIFICATES {
        broken.push(BrokenRule::TooLong { count: path.len(), most: MOST_CERTIFICATES });
    }
    judge_links(path, &mut broken);
    judge_purpose(leaf, &mut broken);
    for (index, one) in path.iter().enumerate() {
        let is_root = index + 1 == path.len() && one.is_self_issued();
        judge_strength(one, index == 0, is_root, device.amt_major, &mut broken);
        judge_time(one, now, &mut broken);
    }
    let entry = if last.is_self_issued() { judge_root(last, device.hashes, &mut broken) } else { None };
    let suffix = judge_name(leaf, device, entry.is_some_and(|entry| !entry.is_default), &mut broken);
    if !device.wired_link_up {
        broken.push(BrokenRule::LinkDown);
    }
    match (entry, suffix, broken.is_empty()) {
        (Some(entry), Some((suffix, suffix_source)), true) => Ok(Ready {
            certificates: path.iter().map(|one| one.der.clone()).collect(),
            common_name: leaf.common_name.clone().unwrap_or_default(),
            leaf_public_key: leaf.spki.clone(),
            root_entry: entry.name.clone(),
            suffix: suffix.to_owned(),
            suffix_source,
        }),
        _ => Err(broken),
    }
}

fn judge_links(path: &Path<'_>, broken: &mut Vec<BrokenRule>) {
    let subject = |one: &Certificate| one.subject_text.clone();
    for (index, one) in path.iter().enumerate() {
        let issuer = match path.get(index + 1) {
            Some(issuer) => issuer,
            None if one.is_self_issued() => one,
            None => {
                broken
                    .push(BrokenRule::Incomplete { subject: subject(one), issuer: one.issuer_text.clone() });
                continue;
            }
        };
        match verify_signature(&one.der, &issuer.spki) {
            Some(true) => {}
            Some(false) if is_small(issuer) => {} // the size is said by its own rule; it may be why
            Some(false) => {
                broken.push(BrokenRule::NotSignedBy { subject: subject(one), issuer: subject(issuer) });
            }
            None if is_weak(one) => {}
            None => broken.push(BrokenRule::UnknownSignature {
                subject: subject(one),
                algorithm: one.signature_algorithm.clone(),
            }),
        }
        let is_issuer = index > 0;
        // A root of version 1 has no extensions to say that it is a CA, and needs none.
        if is_issuer && !one.is_ca && !one.is_self_issued() {
            broken.push(BrokenRule::IssuerIsNotCa { subject: subject(one) });
        }
    }
}

fn judge_purpose(leaf: &Certificate, broken: &mut Vec<BrokenRule>) {
    let has = |oid: &str| leaf.purposes.as_ref().is_some_and(|all| all.iter().any(|one| one == oid));
    let by_unit = leaf.units.iter().any(|unit| unit == CLIENT_SETUP_UNIT);
    let subject = leaf.subject_text.clone();
    match (has(AMT_PROVISIONING), has(SERVER_AUTH), by_unit) {
        (true, true, _) | (false, _, true) => {}
        (true, false, _) => broken.push(BrokenRule::NoServerAuth { subject }),
        (false, _, false) => broken.push(BrokenRule::NotForProvisioning { subject }),
    }
}

fn judge_strength(
    one: &Certificate,
    is_leaf: bool,
    is_root: bool,
    amt_major: Option<u32>,
    broken: &mut Vec<BrokenRule>,
) {
    let subject = one.subject_text.clone();
    // A root is trusted by its hash; its own signature was no matter until AMT 16.
    if is_weak(one) && (!is_root || amt_major.is_some_and(|major| major >= 16)) {
        broken.push(BrokenRule::WeakHash { subject: subject.clone() });
    }
    match one.key {
        Key::Rsa { bits } if bits < LEAST_BITS => broken.push(BrokenRule::KeyTooSmall { subject, bits }),
        Key::Other if is_leaf => broken.push(BrokenRule::KeyNotRsa { subject }),
        _ => {}
    }
}

fn judge_time(one: &Certificate, now: i64, broken: &mut Vec<BrokenRule>) {
    let subject = one.subject_text.clone();
    if now > one.not_after {
        broken.push(BrokenRule::Expired { subject, not_after: one.not_after, now });
    } else if now < one.not_before {
        broken.push(BrokenRule::NotYetValid { subject, not_before: one.not_before, now });
    }
}

/// Finds the root's entry. One under the right algorithm counts first, an inactive one only if there is no active one.
fn judge_root<'a>(
    root: &Certificate,
    entries: &'a [CertificateHash],
    broken: &mut Vec<BrokenRule>,
) -> Option<&'a CertificateHash> {
    let hashes = hashes_of(&root.der);
    let is_listed = |entry: &&CertificateHash| {
        hashes.iter().any(|(algorithm, _, hash)| match entry.algorithm {
            // A number that this program does not know: the content says what it is.
            HashAlgorithm::Other(_) => begins_with(&entry.hash, hash),
            known => known == *algorithm && entry.hash == *hash,
        })
    };
    let mut listed: Vec<_> = entries.iter().filter(is_listed).collect();
    listed.sort_by_key(|entry| !entry.is_active);
    if let Some(entry) = listed.first() {
        if !entry.is_active {
            let (subject, entry) = (root.subject_text.clone(), entry.name.clone());
            broken.push(BrokenRule::RootInactive { subject, entry });
        }
        return Some(entry);
    }
    let subject = root.subject_text.clone();
    let misplaced = entries.iter().find_map(|entry| {
        // The device cuts or pads the bytes to the length of the algorithm it was told.
        let is = |hash: &[u8]| begins_with(&entry.hash, hash) || hash.starts_with(&entry.hash);
        let found = hashes.iter().find(|(algorithm, _, hash)| *algorithm != entry.algorithm && is(hash))?;
        Some((entry, found.1))
    });
    broken.push(match misplaced {
        Some((entry, is)) => BrokenRule::RootUnderOtherAlgorithm {
            subject,
            entry: entry.name.clone(),
            is,
            listed_as: entry.algorithm,
        },
        None => {
            let sha256 = digest(&SHA256, &root.der);
            let sha256 = sha256.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            BrokenRule::RootNotListed { subject, sha256, entries: entries.len() }
        }
    });
    None
}

/// Compares the leaf's name with the suffix that counts; gives it back if it matches.
fn judge_name<'a>(
    leaf: &Certificate,
    device: Device<'a>,
    root_is_custom: bool,
    broken: &mut Vec<BrokenRule>,
) -> Option<(&'a str, SuffixSource)> {
    let Some(name) = &leaf.common_name else {
        broken.push(BrokenRule::NoCommonName { subject: leaf.subject_text.clone() });
        return None;
    };
    let (suffix, source) = match (plain(device.pki_suffix), plain(device.dhcp_suffix)) {
        ("", "") => {
            broken.push(BrokenRule::NoSuffix { common_name: name.clone() });
            return None;
        }
        ("", dhcp) => (dhcp, SuffixSource::Dhcp),
        (pki, _) => (pki, SuffixSource::PkiSuffix),
    };
    let last_label = suffix.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    // An organization's own root may issue for whatever the organization likes.
    if PRIVATE_DOMAINS.contains(&last_label.as_str()) && !root_is_custom {
        broken.push(BrokenRule::PrivateSuffix { suffix: suffix.to_owned(), from: source });
        return None;
    }
    if !is_in_domain(name, suffix) {
        let (common_name, suffix) = (name.clone(), suffix.to_owned());
        broken.push(BrokenRule::SuffixMismatch { common_name, suffix, from: source });
        return None;
    }
    Some((suffix, source))
}

/// A name matches the suffix that it ends with. Under .com and .net the last two labels suffice (since AMT 2.6).
fn is_in_domain(name: &str, suffix: &str) -> bool {
    let (name, suffix) = (plain(name).to_ascii_lowercase(), suffix.to_ascii_lowercase());
    let ends = name.strip_suffix(&suffix).is_some_and(|host| host.is_empty() || host.ends_with('.'));
    let last_two = |of: &str| -> Vec<String> { of.rsplit('.').take(2).map(str::to_owned).collect() };
    let (of_name, of_suffix) = (last_two(&name), last_two(&suffix));
    let is_generic = of_name.first().is_some_and(|label| label == "com" || label == "net");
    ends || (is_generic && of_name.len() == 2 && of_name == of_suffix)
}

/// Without blanks and without the dots at the ends that some servers send.
fn plain(suffix: &str) -> &str {
    suffix.trim().trim_matches('.')
}

fn is_weak(one: &Certificate) -> bool {
    [SHA1_WITH_RSA, MD5_WITH_RSA, ECDSA_SHA1].contains(&one.signature_algorithm.as_str())
}

fn is_small(one: &Certificate) -> bool {
    matches!(one.key, Key::Rsa { bits } if bits < LEAST_BITS)
}

fn begins_with(padded: &[u8], hash: &[u8]) -> bool {
    padded.strip_prefix(hash).is_some_and(|rest| rest.iter().all(|byte| *byte == 0))
}

fn hashes_of(der: &[u8]) -> [(HashAlgorithm, &'static str, Vec<u8>); 5] {
    [
        (HashAlgorithm::Md5, "MD5", Md5::digest(der).to_vec()),
        (HashAlgorithm::Sha1, "SHA-1", digest(&SHA1_FOR_LEGACY_USE_ONLY, der).as_ref().to_vec()),
        (HashAlgorithm::Sha256, "SHA-256", digest(&SHA256, der).as_ref().to_vec()),
        (HashAlgorithm::Sha384, "SHA-384", digest(&SHA384, der).as_ref().to_vec()),
        (HashAlgorithm::Sha512, "SHA-512", digest(&SHA512, der).as_ref().to_vec()),
    ]
}

const AMT_PROVISIONING: &str = "2.16.840.1.113741.1.2.3";
const CLIENT_SETUP_UNIT: &str = "Intel(R) Client Setup Certificate";
const LEAST_BITS: usize = 2048;
/// Last labels that no public CA issues for.
const PRIVATE_DOMAINS: [&str; 8] =
    ["local", "localdomain", "corp", "lan", "home", "internal", "intranet", "private"];
