//! The whole region parser on made images: each layout, then hostile bytes.

use std::sync::OnceLock;

use proptest::prelude::*;

use super::fixture::{self, put, put32};
use super::*;
use crate::descriptor::Descriptor;
use crate::signature::Verdict;

/// Made once: signing is slow.
fn all_layouts() -> &'static [(&'static str, Vec<u8>)] {
    static LAYOUTS: OnceLock<Vec<(&str, Vec<u8>)>> = OnceLock::new();
    LAYOUTS.get_or_init(|| {
        vec![
            ("ME 4", fixture::me4()),
            ("ME 8", fixture::me8(8, 0x60)),
            ("TXE 2", fixture::me8(2, 0x80)),
            ("ME 11", fixture::me11(11)),
            ("ME 14", fixture::me14()),
            ("ME 16", fixture::me16()),
        ]
    })
}

fn states(me: &MeImage) -> Vec<(String, State)> {
    me.partitions.iter().map(|partition| (partition.name.to_string(), partition.state)).collect()
}

#[test]
fn names_version_and_generation() {
    let me = MeImage::parse(&fixture::me11(11)).unwrap();
    assert_eq!(me.version.to_string(), "11.8.80.3746");
    assert_eq!((me.generation, me.manifest_offset), (Generation::Three, 0x458));
    assert_eq!(me.table.as_ref().unwrap().checksum, Checksum::Right);
    assert_eq!(states(&me), [("FTPR".into(), State::Present), ("MFS".into(), State::Empty)]);
    assert!(me.main_manifest().unwrap().verdict.is_valid());
    assert_eq!(me.warnings, Vec::<String>::new());
}

#[test]
fn every_layout_is_read_without_a_warning_and_verifies() {
    for (name, region) in all_layouts() {
        let me = MeImage::parse(region).unwrap();
        assert_eq!(me.warnings, Vec::<String>::new(), "{name}");
        assert!(me.manifests.iter().all(|manifest| manifest.verdict.is_valid()), "{name}");
        assert!(me.main_manifest().is_some(), "{name}");
    }
}

#[test]
fn me_8_has_modules_nvram_and_a_name_that_is_no_text() {
    let me = MeImage::parse(&fixture::me8(8, 0x60)).unwrap();
    assert_eq!(me.generation, Generation::Two);
    assert_eq!(
        states(&me),
        [
            (r"\xe0\x15\x00 ".into(), State::Empty),
            ("EFFS".into(), State::Empty),
            ("NVCL".into(), State::NoFlash),
            ("FTPR".into(), State::Present),
            ("GLUT".into(), State::Absent),
        ]
    );
    assert!(me.table.as_ref().unwrap().rom_bypass);
    let Contents::Manifest { modules: Some(table) } = &me.partition("FTPR").unwrap().contents else {
        panic!("FTPR has modules")
    };
    assert_eq!(table.modules.len(), 3);
}

#[test]
fn me_4_has_a_code_partition() {
    let me = MeImage::parse(&fixture::me4()).unwrap();
    assert_eq!((me.generation, me.manifest_offset), (Generation::One, 0x1000));
}

#[test]
fn ifwi_1_6_is_walked_by_its_pointers() {
    let me = MeImage::parse(&fixture::me14()).unwrap();
    assert_eq!(me.generation, Generation::Ifwi);
    assert_eq!(me.layout.as_ref().unwrap().version, LayoutVersion::V16);
    assert_eq!(me.manifest_offset, 0x3100);
    assert_eq!(states(&me)[1], ("HVMP".into(), State::Invalid));
    let manifests: Vec<_> = me.manifests.iter().map(|manifest| manifest.name.to_string()).collect();
    assert_eq!(manifests, ["FTPR.man", "rot.key", "OEMP.man"]);
    assert_eq!(me.boot_tables.len(), 2);
}

#[test]
fn ifwi_1_7_has_checksums_and_a_backup() {
    let good = fixture::me16();
    let me = MeImage::parse(&good).unwrap();
    let (layout, table) = (me.layout.as_ref().unwrap(), me.table.as_ref().unwrap());
    assert_eq!((layout.version, layout.checksum), (LayoutVersion::V17, Checksum::Right));
    assert_eq!((table.checksum, table.backup), (Checksum::Right, Some(Backup::Same)));
    assert_eq!(me.boot_tables[0].checksum, Checksum::Right);
    assert_eq!(me.partition("FTPR").unwrap().directory().unwrap().checksum, Checksum::Right);
    // Temp pages, entry owner, table FIT version, directory entry: read, but covered by a checksum.
    for at in [0x48, 0x4024, 0x1010, 0x2014 + 0x14] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        let me = MeImage::parse(&bad).unwrap();
        assert!(
            me.warnings.iter().any(|warning| warning.starts_with("checksum")),
            "{at:#x}: {:?}",
            me.warnings
        );
    }
    let mut bad = good;
    bad[0x5000] = 0;
    assert_eq!(MeImage::parse(&bad).unwrap().table.unwrap().backup, Some(Backup::Missing));
}

#[test]
fn an_unused_region_2_leads_to_the_boot_table_of_the_bios_region() {
    let mut image = fixture::sunrise(2, 11);
    put32(&mut image, 0x44, 0x0007_0001);
    put32(&mut image, 0x48, 0x0000_7fff);
    let descriptor = Descriptor::parse(&image).unwrap();
    assert!(MeImage::in_flash(&image, &descriptor).unwrap_err().why.contains("unused"));
    image[0x1000..].fill(0xff);
    fixture::bpdt(&mut image, 0x1000, 1, &[(2, 0x1000, 0x2000)]);
    let manifest = fixture::manifest(4, 0, &[1; 8]);
    fixture::directory(&mut image, 0x2000, b"FTPR", 1, &[(b"FTPR.man", 0x100, &manifest)]);
    let me = MeImage::in_flash(&image, &descriptor).unwrap();
    assert_eq!((me.location, me.manifest_offset), (Location::BiosRegion, 0x2100));
    assert!(me.main_manifest().unwrap().verdict.is_valid());
}

#[test]
fn offsets_in_a_flash_image_count_from_its_start() {
    let image = fixture::sunrise(2, 11);
    let me = MeImage::in_flash(&image, &Descriptor::parse(&image).unwrap()).unwrap();
    assert_eq!((me.manifest_offset, me.partitions[0].offset), (0x1458, 0x1400));
    assert_eq!(me.region, Extent { offset: 0x1000, size: 0x3000 });
    assert!(me.main_manifest().unwrap().verdict.is_valid());
}

#[test]
fn a_directory_in_no_table_is_listed_as_such() {
    let mut region = fixture::me11(11);
    let manifest = fixture::manifest(11, 0, &[1; 8]);
    fixture::directory(&mut region, 0x2000, b"DNXP", 1, &[(b"DNXP.man", 0x58, &manifest)]);
    let me = MeImage::parse(&region).unwrap();
    assert_eq!(me.partition("DNXP").unwrap().source, Source::Unlisted);
    assert_eq!(me.manifests.len(), 2);
    assert!(me.warnings[0].contains("in no table"), "{:?}", me.warnings);
}

#[test]
fn ignition_is_told_by_the_sku_behind_the_modules() {
    let mut region = fixture::me8(6, 0x60);
    assert!(!MeImage::parse(&region).unwrap().ignition);
    put(&mut region, fixture::ME8_FTPR + 0x290 + 4 * 0x60, b"$SKU\x03\0\0\0\0\0\0\0");
    assert!(MeImage::parse(&region).unwrap().ignition);
    region[fixture::ME8_FTPR + 0x290 + 4 * 0x60 + 8] = 1;
    assert!(!MeImage::parse(&region).unwrap().ignition);
}

#[test]
fn the_last_entry_without_a_size_reaches_to_the_end() {
    let mut region = fixture::me8(6, 0x60);
    put32(&mut region, 0x14, 4);
    put32(&mut region, 0x30 + 3 * 0x20 + 0xc, u32::MAX);
    let me = MeImage::parse(&region).unwrap();
    assert_eq!(me.partition("FTPR").unwrap().end(), region.len());
}

#[test]
fn a_changed_manifest_is_invalid_and_the_image_still_described() {
    let mut region = fixture::me11(11);
    region[0x458 + 0x2a] ^= 1;
    let me = MeImage::parse(&region).unwrap();
    assert!(matches!(me.main_manifest().unwrap().verdict, Verdict::Invalid { .. }));
    region[0x458 + 4] = 0;
    let me = MeImage::parse(&region).unwrap();
    assert!(matches!(me.main_manifest().unwrap().verdict, Verdict::NotChecked { .. }));
    assert_eq!(me.version.major, 11);
}

#[test]
fn an_empty_region_is_said_to_be_empty() {
    assert!(MeImage::parse(&[0xff; 64]).unwrap_err().why.contains("empty"));
}

#[test]
fn an_ftpr_that_is_not_there_is_an_error() {
    let mut wiped = fixture::me11(11);
    wiped[0x400..0xc00].fill(0xff);
    assert!(MeImage::parse(&wiped).unwrap_err().why.contains("all FF"));
    let mut absent = fixture::me11(11);
    put32(&mut absent, 0x38, 0);
    assert!(MeImage::parse(&absent).unwrap_err().why.contains("absent"));
}

#[test]
fn giant_counts_are_errors_with_an_offset() {
    for (region, at, len, what) in [
        (fixture::me11(11), 0x14, 4, "$FPT entry count"),
        (fixture::me11(11), 0x404, 4, "$CPD entry count"),
        (fixture::me14(), 0x2004, 2, "BPDT entry count"),
    ] {
        let mut region = region;
        region[at..at + len].fill(0xff);
        let error = MeImage::parse(&region).unwrap_err();
        assert_eq!((error.what, error.offset), (what, at));
    }
}

#[test]
fn lying_extents_are_warnings() {
    let mut region = fixture::me11(11);
    put32(&mut region, 0x5c, 0x7000_0000);
    let me = MeImage::parse(&region).unwrap();
    assert_eq!(states(&me)[1].1, State::CutOff);
    assert!(me.warnings[0].contains("the region ends at 0x3000"), "{:?}", me.warnings);
    put32(&mut region, 0x5c, 0x1000);
    put32(&mut region, 0x58, 0x800);
    let warnings = MeImage::parse(&region).unwrap().warnings;
    assert!(warnings.iter().any(|warning| warning.contains("overlap")), "{warnings:?}");
}

/// 256 entries for almost the same blank bytes would be 256 times the work; four times is the limit.
#[test]
fn work_is_bounded_by_the_input() {
    let mut region = vec![0xff; 0x10_0000];
    let entries: Vec<_> = (0..250).map(|index| (b"EVIL", 0x3000 + index, 0x8_0000, 1)).collect();
    fixture::fpt(&mut region, 0x10, 0x20, &entries);
    assert!(MeImage::parse(&region).unwrap_err().why.contains("many times"));
}

#[test]
fn truncated_at_every_length_never_panics() {
    for (name, region) in all_layouts() {
        let whole = MeImage::parse(region).unwrap();
        // Every length through the first tables and manifests, then every fifth.
        for len in (0..0x800).chain((0x800..region.len()).step_by(5)) {
            match MeImage::parse(&region[..len]) {
                Ok(me) => assert_eq!(me.version, whole.version, "{name} at {len:#x}"),
                Err(error) => assert!(error.offset <= region.len(), "{name} at {len:#x}: {error}"),
            }
        }
        assert!(MeImage::parse(&region[..whole.manifest_offset + 0x2b]).is_err(), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Damage anywhere in any layout: an answer or an error, and no more partitions than the tables could name.
    #[test]
    fn damage_never_panics(
        which in 0_usize..6,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u32>()), 1..8),
    ) {
        let mut region = all_layouts()[which].1.clone();
        for (index, value) in damage {
            let at = index.index(region.len() / 4) * 4;
            put32(&mut region, at, value);
        }
        if let Ok(me) = MeImage::parse(&region) {
            prop_assert!(me.partitions.len() <= 512);
            for partition in me.partitions.iter().filter(|partition| partition.state == State::Present) {
                prop_assert!(partition.end() <= region.len());
            }
        }
    }

    /// The bytes that decide, hit on purpose: headers and tables rather than bodies.
    #[test]
    fn damaged_tables_never_panic(
        which in 0_usize..6,
        damage in proptest::collection::vec((0_usize..0x80, any::<u8>()), 1..6),
    ) {
        let mut region = all_layouts()[which].1.clone();
        let starts = [0x0, 0x400, 0x1000, 0x1200, 0x2000, 0x3000, 0x4000, 0x6000];
        for (index, (at, value)) in damage.into_iter().enumerate() {
            let start = starts[(index + at) % starts.len()];
            if let Some(byte) = region.get_mut(start + at) {
                *byte = value;
            }
        }
        let _ = MeImage::parse(&region);
    }
}
