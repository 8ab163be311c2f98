//! Every composed real image through every method: what is made holds the gates, making it twice changes nothing, and
//! what is refused says why. Reads `OOB_CORPUS` and `OOB_CORPUS_BUILT`.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "all of this is test code")]

use std::env;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

use oob_mecheck::gates::ChangeKind;
use oob_mecheck::neutralize::{Method, Options, Refusal, neutralize};

/// Composed images whose machine and ME agree, so that the strap is set; the byte it is in, and whether cleaning works.
const SETTABLE: [(&str, usize, bool); 8] = [
    ("darp6", 0x172, false),
    ("fbg1701", 0x128, true),
    ("link", 0x128, true),
    ("lumpy", 0x128, true),
    ("mac_hsw_good", 0x128, true),
    ("ms7d25", 0x1de, false),
    ("starbook_kbl", 0x102, true),
    ("x210", 0x102, true),
];

fn images() -> Option<Vec<(String, Vec<u8>)>> {
    if env::var_os("OOB_CORPUS").is_none() {
        // Straight to the descriptor: the test runner captures what the print macros write.
        let _ = writeln!(std::io::stderr(), "skipped: neutralizing real images: OOB_CORPUS is not set");
        return None;
    }
    let built = env::var_os("OOB_CORPUS_BUILT").expect("OOB_CORPUS is set, so OOB_CORPUS_BUILT must be");
    let mut images: Vec<(String, Vec<u8>)> = fs::read_dir(PathBuf::from(built).join("full"))
        .expect("OOB_CORPUS_BUILT has no full images")
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.file_stem().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap())
        })
        .collect();
    images.sort_by(|one, other| one.0.cmp(&other.0));
    assert!(images.len() >= 15, "only {} composed images", images.len());
    Some(images)
}

fn options(method: Method) -> Options {
    Options { method, keep: None }
}

#[test]
fn every_real_image_is_made_as_the_table_says_or_refused() {
    let Some(images) = images() else { return };
    for (name, image) in &images {
        let row = SETTABLE.iter().find(|row| row.0 == name);
        for method in [Method::SoftDisable, Method::CleanAndSoftDisable] {
            let done = neutralize(image, &options(method));
            let wanted = row.is_some_and(|row| method == Method::SoftDisable || row.2);
            match done {
                Ok(done) => {
                    assert!(wanted, "{name}: {method:?} was not to be made");
                    let straps: Vec<_> =
                        done.changes.iter().filter(|change| change.kind == ChangeKind::Strap).collect();
                    assert_eq!(
                        (straps.len(), straps[0].offset, straps[0].length),
                        (1, row.unwrap().1, 1),
                        "{name}"
                    );
                    assert_eq!(
                        done.changes.iter().any(|change| change.kind == ChangeKind::Fill),
                        method == Method::CleanAndSoftDisable,
                        "{name}"
                    );
                    assert!(done.signatures.iter().all(oob_mecheck::signature::Verdict::is_valid), "{name}");
                    // Cleaning leaves one manifest, the strap alone leaves all of them, and none comes to harm.
                    let left = done.manifests.iter().filter(|it| it.after.is_some()).count();
                    let cleaned = method == Method::CleanAndSoftDisable;
                    assert_eq!(left, if cleaned { 1 } else { done.manifests.len() }, "{name}: {method:?}");
                    for it in &done.manifests {
                        assert!(it.after.as_ref().is_none_or(|after| *after == it.before), "{name}: {it:?}");
                    }
                    let again = neutralize(&done.image, &options(method)).unwrap();
                    assert_eq!((again.changes.len(), again.image == done.image), (0, true), "{name}: twice");
                }
                Err(refusal) => {
                    assert!(!wanted, "{name}: {method:?}: {refusal}");
                    assert!(!matches!(refusal, Refusal::Breach(_)), "{name}: {refusal}");
                }
            }
        }
    }
}

#[test]
fn a_dump_with_one_flipped_bit_in_its_manifest_is_not_believed() {
    let Some(images) = images() else { return };
    let (_, image) = images.iter().find(|(name, _)| name == "x210").unwrap();
    let mut bad = image.clone();
    bad[0x1000 + 0x1478 + 0x30] ^= 1; // FTPR.man of this image lies at 1478 of the ME region
    for method in [Method::SoftDisable, Method::CleanAndSoftDisable] {
        let refusal = neutralize(&bad, &options(method)).unwrap_err();
        assert!(matches!(refusal, Refusal::Invalid(_)), "{refusal}");
    }
}
