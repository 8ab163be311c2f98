//! Real ME images against `images.tsv` and reference/me.md 2.1 to 2.3: manifests, partitions, checksums. Reads
//! `OOB_CORPUS` and, for the composed flash images, `OOB_CORPUS_BUILT`.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "all of this is test code")]

use std::env;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

use oob_mecheck::me::{Checksum, Compression, Contents, LayoutVersion, Location, ModuleHash, Source, State};
use oob_mecheck::signature::{Fault, Verdict};
use oob_mecheck::{Descriptor, Generation, MeImage};

struct Row {
    file: String,
    parts: String,
    kind: String,
    version: String,
    state: String,
}

fn table() -> Option<(PathBuf, Vec<Row>)> {
    let Some(root) = env::var_os("OOB_CORPUS") else {
        // Straight to the descriptor: the test runner captures what the print macros write.
        let _ = writeln!(std::io::stderr(), "skipped: partitions of real ME images: OOB_CORPUS is not set");
        return None;
    };
    let root = PathBuf::from(root).join("firmware");
    let table = fs::read_to_string(root.join("images.tsv"))
        .expect("OOB_CORPUS is set but has no firmware/images.tsv");
    let rows = table.lines().skip(1).map(|line| {
        let columns: Vec<&str> = line.split('\t').collect();
        let [file, parts, kind, version, state] = [0, 2, 5, 6, 8].map(|index| columns[index].to_owned());
        Row { file, parts, kind, version, state }
    });
    Some((root, rows.collect()))
}

fn images() -> Option<Vec<(Row, Vec<u8>, MeImage)>> {
    let (root, rows) = table()?;
    let read = |row: Row| {
        let bytes = fs::read(root.join(&row.file)).expect("the table names a missing ME image");
        let me = MeImage::parse(&bytes).unwrap_or_else(|error| panic!("{}: {error}", row.file));
        (row, bytes, me)
    };
    let images: Vec<_> = rows.into_iter().filter(|row| row.kind == "me-only").map(read).collect();
    assert!(images.len() >= 8, "only {} ME images in the table", images.len());
    Some(images)
}

/// Offset of the FTPR manifest and number of manifests, from `FTPR manifest @94238, 7 manifests`.
fn stated(state: &str) -> (usize, usize) {
    let (offset, count) = state.strip_prefix("FTPR manifest @").unwrap().split_once(", ").unwrap();
    let count = count.strip_suffix(" manifests").unwrap();
    (usize::from_str_radix(offset, 16).unwrap(), count.parse().unwrap())
}

#[test]
fn version_manifest_offset_and_count_equal_the_table() {
    let Some(images) = images() else { return };
    for (row, _, me) in images {
        assert_eq!(me.version.to_string(), row.version, "{}", row.file);
        let found: Vec<_> = me.manifests.iter().map(|manifest| format!("{:#x}", manifest.offset)).collect();
        assert_eq!((me.manifest_offset, me.manifests.len()), stated(&row.state), "{}: {found:?}", row.file);
    }
}

/// The walk by pointers finds what a search for the tag finds, no more and no less.
#[test]
fn no_manifest_is_missed() {
    let Some(images) = images() else { return };
    for (row, bytes, me) in images {
        let mut walked: Vec<usize> = me.manifests.iter().map(|manifest| manifest.offset).collect();
        walked.sort_unstable();
        let searched: Vec<usize> = (0..bytes.len() - 0x20)
            .filter(|at| {
                &bytes[at + 0x1c..at + 0x20] == b"$MN2" && bytes[at + 0x10..at + 0x14] == [0x86, 0x80, 0, 0]
            })
            .collect();
        assert_eq!(walked, searched, "{}", row.file);
    }
}

#[test]
fn verdicts_equal_those_of_the_reference() {
    let Some(images) = images() else { return };
    for (row, _, me) in images {
        let invalid: Vec<_> = me.manifests.iter().filter(|manifest| !manifest.verdict.is_valid()).collect();
        if row.version == "4.2.4.14" {
            let [only] = invalid[..] else { panic!("{}: {invalid:?}", row.file) };
            assert_eq!((only.offset, only.pre_production), (0x330a0, true));
            assert!(matches!(only.verdict, Verdict::Invalid { why: Fault::DebugFlagCleared, .. }));
        } else {
            assert!(invalid.is_empty(), "{}: {invalid:?}", row.file);
        }
    }
}

#[test]
fn generations_and_layouts_follow_the_version() {
    let Some(images) = images() else { return };
    for (row, _, me) in images {
        let (generation, layout) =
            match (row.version.split('.').next().unwrap(), row.file.contains("fbg1701")) {
                ("7" | "8" | "9", _) | ("2", true) => (Generation::Two, None),
                ("4" | "11", _) => (Generation::Three, None),
                ("14", _) => (Generation::Ifwi, Some(LayoutVersion::V16)),
                ("16", _) => (Generation::Ifwi, Some(LayoutVersion::V17)),
                other => panic!("{}: say here what {other:?} is", row.file),
            };
        assert_eq!(me.generation, generation, "{}", row.file);
        assert_eq!(me.layout.map(|layout| layout.version), layout, "{}", row.file);
    }
}

#[test]
fn checksums_of_all_tables_are_right_where_a_rule_is_known() {
    let Some(images) = images() else { return };
    for (row, _, me) in images {
        assert_eq!(me.table.as_ref().unwrap().checksum, Checksum::Right, "{}", row.file);
        for table in &me.boot_tables {
            let expected = if table.version == 2 { Checksum::Right } else { Checksum::Unknown };
            assert_eq!(table.checksum, expected, "{}", row.file);
        }
        for directory in me.partitions.iter().filter_map(|partition| partition.directory()) {
            // The one image whose manifest is invalid was not finished by the tool that writes checksums either.
            let expected = row.version != "4.2.4.14";
            assert_eq!(directory.checksum == Checksum::Right, expected, "{} {}", row.file, directory.name);
        }
    }
}

#[test]
fn partitions_have_the_states_of_the_reference() {
    let Some(images) = images() else { return };
    for (row, _, me) in images {
        let state = |name: &str| me.partition(name).map(|partition| partition.state);
        assert_eq!(state("FTPR"), Some(State::Present), "{}", row.file);
        for partition in &me.partitions {
            assert!(partition.state != State::CutOff, "{}: {partition:?}", row.file);
            assert!(
                !matches!(partition.contents, Contents::Unreadable { .. }),
                "{}: {partition:?}",
                row.file
            );
            if partition.name.as_bytes().starts_with(b"NV") {
                assert_eq!(partition.state, State::NoFlash, "{}: {partition:?}", row.file);
            }
        }
        // Nothing else is odd about real images: the directory of a GLK image that no table lists, the checksum of the one
        // whose manifest is invalid.
        let expected = matches!(row.version.as_str(), "4.0.45.1848" | "4.2.4.14");
        assert_eq!(me.warnings.len(), usize::from(expected), "{}: {:?}", row.file, me.warnings);
        match row.version.split('.').next().unwrap() {
            "8" => assert_eq!(me.partitions[0].name.as_bytes(), b"\xe0\x15\0 ", "{}", row.file),
            "11" => {
                let nftp = me.partition("NFTP").unwrap();
                assert!(matches!(nftp.contents, Contents::SameAs { .. }), "{}: FTUP is NFTP", row.file);
                assert_eq!(state("ROMB"), Some(State::Invalid), "{}", row.file);
            }
            "14" => assert_eq!(state("HVMP"), Some(State::Invalid), "{}", row.file),
            "16" => {
                for name in ["RBEP", "PMCP", "NFTP", "PCHC", "NPHY", "ELOG", "EFS", "FITC", "CDMD"] {
                    assert!(state(name).is_some(), "{}: no {name}", row.file);
                }
            }
            _ => {}
        }
    }
}

#[test]
fn a_directory_in_no_table_is_found_where_there_is_one() {
    let Some(images) = images() else { return };
    let names: Vec<_> = images
        .iter()
        .flat_map(|(_, _, me)| &me.partitions)
        .filter(|partition| partition.source == Source::Unlisted)
        .map(|partition| partition.name.to_string())
        .collect();
    assert_eq!(names, ["DNXP"]);
}

#[test]
fn modules_before_cse_have_chunks_inside_the_region_and_right_hashes() {
    let Some(images) = images() else { return };
    let (mut tables, mut stored) = (0, 0);
    for (row, _, me) in images {
        for partition in &me.partitions {
            let Contents::Manifest { modules: Some(table) } = &partition.contents else { continue };
            assert_eq!(table.name, partition.name, "{}", row.file);
            let huffman = table.modules.iter().any(|module| module.compression == Compression::Huffman);
            assert_eq!(table.chunks.is_some(), huffman, "{}", row.file);
            if let Some(chunks) = &table.chunks {
                assert_eq!(chunks.outside, 0, "{}", row.file);
                assert!(chunks.absent < chunks.count, "{}", row.file);
            }
            assert!(table.modules.iter().all(|module| module.hash != ModuleHash::Wrong), "{}", row.file);
            stored += table.modules.iter().filter(|module| module.hash == ModuleHash::Right).count();
            tables += 1;
        }
    }
    assert!(tables >= 8 && stored >= 1, "{tables} tables, {stored} stored modules");
}

#[test]
fn composed_images_give_the_same_at_another_offset() {
    let Some((root, rows)) = table() else { return };
    let built = PathBuf::from(
        env::var_os("OOB_CORPUS_BUILT").expect("OOB_CORPUS is set, so OOB_CORPUS_BUILT must be"),
    );
    let mut seen = 0;
    for row in rows.iter().filter(|row| row.kind.starts_with("full-composed")) {
        let image = fs::read(built.join(&row.file)).expect("a composed image is missing");
        let found = MeImage::in_flash(&image, &Descriptor::parse(&image).unwrap());
        let (_, part) = row.parts.split_once(" + ").unwrap();
        if part == "None" {
            let why = found.unwrap_err().why;
            assert!(why.contains("empty") || why.contains("unused"), "{}: {why}", row.file);
            continue;
        }
        let alone = MeImage::parse(&fs::read(root.join("me").join(part)).unwrap()).unwrap();
        let found = found.unwrap_or_else(|error| panic!("{}: {error}", row.file));
        let base = found.region.offset;
        assert_eq!(found.location, Location::MeRegion);
        assert_eq!((found.version, found.generation), (alone.version, alone.generation), "{}", row.file);
        assert_eq!(found.manifest_offset, alone.manifest_offset + base, "{}", row.file);
        let of = |me: &MeImage, base: usize| -> Vec<_> {
            me.manifests.iter().map(|one| (one.offset - base, one.verdict.clone(), one.name)).collect()
        };
        assert_eq!(of(&found, base), of(&alone, 0), "{}", row.file);
        assert_eq!(found.partitions.len(), alone.partitions.len(), "{}", row.file);
        seen += 1;
    }
    assert!(seen >= 10, "only {seen} composed images with an ME image");
}

#[test]
fn consumer_images_say_so() {
    let Some(images) = images() else { return };
    for (row, _, me) in images {
        let expected = matches!(row.version.split('.').next().unwrap(), "11" | "14" | "16");
        assert!(!expected || me.sku.is_some_and(|sku| sku.kind.is_some()), "{}: {:?}", row.file, me.sku);
    }
}
