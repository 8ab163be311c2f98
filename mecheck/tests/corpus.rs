//! Real images (reference/me.md, `images.tsv`): version and generation of every ME image, and the strap's verdict
//! on every full image. Reads `OOB_CORPUS` and, for the composed images, `OOB_CORPUS_BUILT`.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "all of this is test code")]

use std::env;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

use oob_mecheck::{MeImage, SoftDisable, inspect, set_soft_disable};

/// Composed images whose descriptor and ME image belong together, and the byte that holds their strap bit. All others
/// have no ME image, or one of another generation.
const SETTABLE: [(&str, usize); 8] = [
    ("full/link.bin", 0x128),
    ("full/lumpy.bin", 0x128),
    ("full/mac_hsw_good.bin", 0x128),
    ("full/fbg1701.bin", 0x128),
    ("full/x210.bin", 0x102),
    ("full/starbook_kbl.bin", 0x102),
    ("full/darp6.bin", 0x172),
    ("full/ms7d25.bin", 0x1de),
];

struct Row {
    file: String,
    kind: String,
    version: String,
}

fn corpus() -> Option<(PathBuf, Vec<Row>)> {
    let Some(root) = env::var_os("OOB_CORPUS") else {
        // Straight to the descriptor: the test runner captures what the print macros write.
        let _ = writeln!(
            std::io::stderr(),
            "skipped: mecheck corpus tests (real ME images): OOB_CORPUS is not set"
        );
        return None;
    };
    let root = PathBuf::from(root).join("firmware");
    let table = fs::read_to_string(root.join("images.tsv"))
        .expect("OOB_CORPUS is set but has no firmware/images.tsv");
    let rows = table.lines().skip(1).map(|line| {
        let columns: Vec<&str> = line.split('\t').collect();
        Row { file: columns[0].into(), kind: columns[5].into(), version: columns[6].into() }
    });
    Some((root, rows.collect()))
}

#[test]
fn every_me_image_has_the_version_of_the_table() {
    let Some((root, rows)) = corpus() else { return };
    let mut seen = 0;
    for row in rows.iter().filter(|row| row.kind == "me-only") {
        let image = fs::read(root.join(&row.file)).expect("the table names a missing ME image");
        let me = MeImage::parse(&image);
        match me {
            Ok(me) => assert_eq!(me.version.to_string(), row.version, "{}", row.file),
            Err(error) => panic!("{}: {error}", row.file),
        }
        seen += 1;
    }
    assert!(seen >= 8, "only {seen} ME images in the table");
}

#[test]
fn the_strap_is_set_only_where_all_evidence_agrees() {
    let Some((_, rows)) = corpus() else { return };
    let built = PathBuf::from(
        env::var_os("OOB_CORPUS_BUILT").expect("OOB_CORPUS is set, so OOB_CORPUS_BUILT must be"),
    );
    let mut seen = 0;
    for row in rows.iter().filter(|row| row.kind.starts_with("full-composed")) {
        let image = fs::read(built.join(&row.file)).expect("a composed image is missing");
        let settable = SETTABLE.iter().find(|(file, _)| *file == row.file).map(|(_, byte)| *byte);
        let verdict = inspect(&image).expect("a full image has a descriptor").soft_disable;
        let possible = match &verdict {
            SoftDisable::Possible { straps } => straps.first().map(|strap| strap.byte().0),
            _ => None,
        };
        assert_eq!(possible, settable, "{}: {verdict:?}", row.file);
        match set_soft_disable(&image) {
            Ok(done) => {
                let differing: Vec<usize> =
                    (0..image.len()).filter(|at| image[*at] != done.image[*at]).collect();
                assert_eq!(Some(differing), settable.map(|byte| vec![byte]), "{}", row.file);
            }
            Err(refusal) => assert_eq!(settable, None, "{}: {refusal}", row.file),
        }
        seen += 1;
    }
    assert!(seen >= 15, "only {seen} composed images in the table");
}
