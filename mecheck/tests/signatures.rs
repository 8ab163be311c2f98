//! Signatures of real ME images against reference/me.md 0.6. Reads `OOB_CORPUS`.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "all of this is test code")]

use std::env;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

use oob_mecheck::manifest::Manifest;
use oob_mecheck::signature::{Fault, Scheme, Verdict};

/// The one manifest of me.md 0.6 whose hash differs, by the start of its image's name and its offset. Its padding is
/// valid, and its hash is that of the same bytes with the debug flag set.
const INVALID: (&str, usize) = ("tianocore__Silicon_Intel_WhitleySiliconBinPkg", 0x330a0);

/// Every manifest of every ME image, found by its tag so that this test does not lean on the partition walk.
fn manifests() -> Option<Vec<(String, Manifest, Verdict)>> {
    let Some(root) = env::var_os("OOB_CORPUS") else {
        // Straight to the descriptor: the test runner captures what the print macros write.
        let _ = writeln!(std::io::stderr(), "skipped: signatures of real ME images: OOB_CORPUS is not set");
        return None;
    };
    let mut found = Vec::new();
    let directory = PathBuf::from(root).join("firmware/me");
    for file in fs::read_dir(directory).expect("OOB_CORPUS is set but has no firmware/me") {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let image = fs::read(&path).unwrap();
        for at in (0x1c..image.len() - 4).filter(|at| &image[*at..at + 4] == b"$MN2") {
            let offset = at - 0x1c;
            // Code holds the four letters too; a manifest names Intel as its vendor.
            if image[offset + 0x10..offset + 0x14] == [0x86, 0x80, 0, 0] {
                let manifest = Manifest::parse(&image, offset).unwrap();
                let verdict = manifest.verify(&image);
                found.push((name.clone(), manifest, verdict));
            }
        }
    }
    Some(found)
}

#[test]
fn all_are_valid_but_the_one_that_is_known_not_to_be() {
    let Some(manifests) = manifests() else { return };
    for (name, manifest, verdict) in &manifests {
        if name.starts_with(INVALID.0) && manifest.offset == INVALID.1 {
            assert_eq!(
                *verdict,
                Verdict::Invalid { scheme: Scheme::Rsa2048Sha256, why: Fault::DebugFlagCleared },
                "{name}"
            );
            assert!(manifest.pre_production(), "{name}: signed with the pre-production key");
        } else {
            assert!(verdict.is_valid(), "{name} at {:#x}: {verdict}", manifest.offset);
            assert!(!manifest.pre_production(), "{name} at {:#x}", manifest.offset);
        }
    }
    assert!(manifests.len() >= 30, "only {} manifests", manifests.len());
    assert_eq!(manifests.iter().filter(|(.., verdict)| !verdict.is_valid()).count(), 1);
}

#[test]
fn header_version_21000_has_pss_and_the_older_have_pkcs1() {
    let Some(manifests) = manifests() else { return };
    let mut seen = 0;
    for (name, manifest, verdict) in manifests {
        let Verdict::Valid { scheme, salt_len } = verdict else { continue };
        let pss = manifest.header_version == 0x21000;
        let expected = if pss { Scheme::Rsa3072PssSha384 } else { Scheme::Rsa2048Sha256 };
        assert_eq!((scheme, salt_len.is_some()), (expected, pss), "{name}");
        seen += usize::from(pss);
    }
    assert!(seen >= 8, "only {seen} PSS signatures");
}

#[test]
fn a_changed_body_is_found_on_every_real_manifest() {
    let Some(manifests) = manifests() else { return };
    let directory = PathBuf::from(env::var_os("OOB_CORPUS").unwrap()).join("firmware/me");
    for (name, manifest, verdict) in manifests.iter().filter(|(.., verdict)| verdict.is_valid()) {
        let mut image = fs::read(directory.join(name)).unwrap();
        image[manifest.offset + manifest.size - 1] ^= 1;
        let Verdict::Valid { scheme, .. } = *verdict else { continue };
        assert_eq!(manifest.verify(&image), Verdict::Invalid { scheme, why: Fault::HashDiffers }, "{name}");
    }
}
