//! The certificates that firmware from 19 on makes for itself on the die and shows until it is provisioned
//! (`reference/amt.md` 4.7): P-384 throughout, no alternative names, and a root that is the simulation's own.

use sha2::{Digest, Sha256};

use crate::chance::derived;
use crate::der::{OCTET_STRING, OID, SEQUENCE, SET, bits, unsigned, wrap};
use crate::host_tls::{HostTls, Shape};
use crate::p384::KeyPair;
use crate::x509::oid;

/// The chain, the leaf's key and what binds both to the machine. Not to be shown: it has no `Debug`.
pub struct OnDie {
    /// What is sent, leaf first.
    pub sent: Vec<Vec<u8>>,
    /// The root that the machine's directory names. It is not that of the chain where a test wants it so.
    pub root: Vec<u8>,
    /// The leaf's key.
    pub key: KeyPair,
    /// SHA-256 of the ROM's certificate.
    pub rom_sha256: [u8; 32],
}

impl OnDie {
    /// The chain of the machine with this seed.
    #[must_use]
    pub fn new(seed: u64, options: &HostTls) -> Self {
        let rom_issuer = match options.on_die_chain {
            // Where the root issued it, the root has the name that the ROM's issuer must have, too.
            Shape::Four => root_name(&["OnDie CA Root Cert Signing", ODCA]),
            _ => name("ODCA 2 CSME P 00002881 Issuing CA", Some(ODCA)),
        };
        let root_name = match options.on_die_chain {
            Shape::Four => rom_issuer.clone(),
            _ => root_name(&["OnDie CA Root Cert Signing"]),
        };
        let root = Authority::new(seed, "root", root_name.clone());
        let true_root = root.certify(&root, 1);
        let root = match options.wrong_on_die_root {
            true => Authority::new(seed, "another root", root_name),
            false => root,
        };
        let own_root = root.certify(&root, 1);
        let kernel = Authority::new(seed, "kernel", name("ODCA 2 CSME SOC SVN 01 Kernel CA", None));
        let amt = Authority::new(seed, "amt", name("ODCA 2 CSME SOC SVN 01 AMT CA", None));
        let rom = Authority::new(seed, "rom", name("ODCA 2 CSME SOC ROM CA", None));
        let issuer = Authority::new(seed, "issuer", rom_issuer);
        let middle = Authority::new(seed, "middle", name("ODCA 2 Intermediate CA", Some("OnDie CA")));
        let key = KeyPair::derived(seed, "on-die/leaf");
        let leaf = amt.sign_leaf(&key, &name("AMT RCFG", None), !options.no_server_auth);
        let mut sent = vec![leaf, kernel.certify(&amt, 2), rom.certify(&kernel, 3)];
        match options.on_die_chain {
            Shape::Six | Shape::One => {
                sent.extend([issuer.certify(&rom, 4), root.certify(&issuer, 5), own_root])
            }
            Shape::SixRootless => {
                sent.extend([issuer.certify(&rom, 4), middle.certify(&issuer, 5), root.certify(&middle, 6)]);
            }
            Shape::Four => sent.push(root.certify(&rom, 4)),
        }
        let rom_sha256 = Sha256::digest(&sent[ROM]).into();
        if options.on_die_chain == Shape::One {
            let own = name("AMT RCFG", None);
            let itself = Authority { key: key.clone(), name: own.clone() };
            sent = vec![itself.sign_leaf(&key, &own, true)];
        }
        Self { sent, root: true_root, key, rom_sha256 }
    }

    /// The hardware serial of the UPID: the first 20 bytes are those of the ROM certificate's SHA-256.
    #[must_use]
    pub fn hardware_serial(&self, seed: u64, foreign: bool) -> [u8; 32] {
        let mut serial = derived(seed, if foreign { "upid/foreign" } else { "upid" });
        if !foreign {
            serial[..20].copy_from_slice(&self.rom_sha256[..20]);
        }
        serial
    }
}

/// The level of the ROM's certificate.
const ROM: usize = 3;
const ODCA: &str = "ODCA 2 CSME P";

/// One of the chain's issuers.
struct Authority {
    key: KeyPair,
    name: Vec<u8>,
}

impl Authority {
    fn new(seed: u64, label: &str, name: Vec<u8>) -> Self {
        Self { key: KeyPair::derived(seed, &format!("on-die/{label}")), name }
    }

    /// A certificate of `subject` as an authority.
    fn certify(&self, subject: &Self, serial: u8) -> Vec<u8> {
        let is_authority = wrap(SEQUENCE, &[&[1, 1, 0xff]]);
        let extensions = [
            extension(oid::BASIC_CONSTRAINTS, true, &is_authority),
            extension(KEY_USAGE, true, &[3, 2, 1, 0x06]), // keyCertSign, cRLSign
        ];
        self.sign(&subject.key, &subject.name, serial, &extensions)
    }

    fn sign_leaf(&self, key: &KeyPair, name: &[u8], server_auth: bool) -> Vec<u8> {
        // digitalSignature, keyEncipherment
        let mut extensions = vec![extension(KEY_USAGE, true, &[3, 2, 5, 0xa0])];
        if server_auth {
            let purposes = wrap(SEQUENCE, &[&wrap(OID, &[oid::SERVER_AUTH])]);
            extensions.push(extension(oid::EXTENDED_KEY_USAGE, false, &purposes));
        }
        self.sign(key, name, 9, &extensions)
    }

    fn sign(&self, key: &KeyPair, subject: &[u8], serial: u8, extensions: &[Vec<u8>]) -> Vec<u8> {
        let algorithm = wrap(SEQUENCE, &[&wrap(OID, &[oid::ECDSA_SHA384])]);
        // The root's real validity, for all of them.
        let validity = wrap(SEQUENCE, &[&wrap(0x17, &[b"190403000000Z"]), &wrap(0x17, &[b"491231235959Z"])]);
        let extensions = wrap(0xa3, &[&wrap(SEQUENCE, &[&extensions.concat()])]);
        let body = wrap(
            SEQUENCE,
            &[
                &wrap(0xa0, &[&[2, 1, 2]]), // version 3
                &unsigned(&[0x4d, serial]),
                &algorithm,
                &self.name,
                &validity,
                subject,
                &key.spki(),
                &extensions,
            ],
        );
        wrap(SEQUENCE, &[&body, &algorithm, &bits(&self.key.sign(&body))])
    }
}

const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];

fn extension(id: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let flag: &[u8] = if critical { &[1, 1, 0xff] } else { &[] };
    wrap(SEQUENCE, &[&wrap(OID, &[id]), flag, &wrap(OCTET_STRING, &[value])])
}

fn part(id: &[u8], value: &str) -> Vec<u8> {
    wrap(SET, &[&wrap(SEQUENCE, &[&wrap(OID, &[id]), &wrap(0x0c, &[value.as_bytes()])])])
}

fn name(common: &str, unit: Option<&str>) -> Vec<u8> {
    let unit = unit.map(|unit| part(oid::UNIT, unit)).unwrap_or_default();
    let organization = part(oid::ORGANIZATION, "Intel Corporation");
    wrap(SEQUENCE, &[&organization, &unit, &part(oid::COMMON_NAME, common)])
}

fn root_name(units: &[&str]) -> Vec<u8> {
    let units: Vec<u8> = units.iter().flat_map(|unit| part(oid::UNIT, unit)).collect();
    let organization = part(oid::ORGANIZATION, "Intel Corporation");
    wrap(SEQUENCE, &[&organization, &units, &part(oid::COMMON_NAME, "www.intel.com")])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::x509::Certificate;

    fn parsed(shape: Shape) -> (OnDie, Vec<Certificate>) {
        let on_die = OnDie::new(7, &HostTls { on_die_chain: shape, ..HostTls::default() });
        let chain = on_die.sent.iter().map(|der| Certificate::parse(der).unwrap()).collect();
        (on_die, chain)
    }

    #[test]
    fn every_shape_leads_from_the_leaf_to_the_root() {
        for (shape, count) in [(Shape::Six, 6), (Shape::SixRootless, 6), (Shape::Four, 4)] {
            let (on_die, mut chain) = parsed(shape);
            assert_eq!(chain.len(), count);
            let root = Certificate::parse(&on_die.root).unwrap();
            if shape == Shape::Six {
                assert_eq!(chain[5].der, root.der);
            } else {
                chain.push(root);
            }
            assert!(chain.windows(2).all(|pair| pair[0].is_issued_by(&pair[1]) && pair[1].is_authority));
            assert!(chain.last().unwrap().is_issued_by(chain.last().unwrap()));
            assert_eq!(chain[0].subject_values(oid::COMMON_NAME), ["AMT RCFG"]);
            assert!(chain[3].subject_values(oid::COMMON_NAME)[0].contains("ROM CA"));
            let units = chain[4].subject_values(oid::UNIT);
            assert!(units.iter().any(|unit| unit.starts_with("ODCA 2 CSME")), "{units:?}");
            assert_eq!(on_die.hardware_serial(7, false)[..20], Sha256::digest(&on_die.sent[3])[..20]);
            assert_ne!(on_die.hardware_serial(7, true)[..20], Sha256::digest(&on_die.sent[3])[..20]);
        }
    }

    #[test]
    fn a_wrong_root_is_a_good_chain_to_another_key() {
        let options = HostTls { wrong_on_die_root: true, ..HostTls::default() };
        let (wrong, right) = (OnDie::new(7, &options), OnDie::new(7, &HostTls::default()));
        assert_eq!(wrong.root, right.root);
        assert_ne!(wrong.sent[5], right.sent[5]);
        assert_eq!(wrong.sent[0], right.sent[0]);
        let issuer = Certificate::parse(&wrong.sent[4]).unwrap();
        assert!(issuer.is_issued_by(&Certificate::parse(&wrong.sent[5]).unwrap()));
        assert!(!issuer.is_issued_by(&Certificate::parse(&wrong.root).unwrap()));
    }
}
