use super::*;
use crate::me::fixture;

fn put32(image: &mut [u8], offset: usize, value: u32) {
    image[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
}

fn sunrise() -> Vec<u8> {
    fixture::sunrise(0x0000_0002, 11)
}

/// Sunrise's image under a map of Cougar Point, whose masters lie at 60.
fn cougar() -> Vec<u8> {
    let mut image = sunrise();
    put32(&mut image, 0x14, 0x0204_0103);
    put32(&mut image, 0x18, 0x1210_0206);
    put32(&mut image, 0x1c, 0x0021_0120);
    put32(&mut image, 0x30, 0x4990_0024);
    put32(&mut image, 0x60, 0x0a0b_0000);
    put32(&mut image, 0x64, 0x0c0d_0000);
    image
}

fn parse(image: &[u8]) -> Descriptor {
    Descriptor::parse(image).unwrap()
}

#[test]
fn reads_regions_and_family() {
    let descriptor = parse(&sunrise());
    assert_eq!((descriptor.family, descriptor.version), (PchFamily::SunrisePointLp, IfdVersion::V2));
    let me = descriptor.region("me").unwrap();
    assert_eq!((me.base, me.limit), (0x1000, 0x3fff));
    assert_eq!(descriptor.flash_end(), 0x8000);
    let fd = descriptor.region("descriptor").unwrap();
    assert_eq!((fd.base, fd.limit), (0, 0xfff));
    assert_eq!(descriptor.evidence.last().unwrap(), "ICCRIBA 31, 42 straps: LP => sunrise-point-lp");
}

#[test]
fn refuses_what_has_no_signature() {
    let error = Descriptor::parse(&[0xff; 0x1000]).unwrap_err();
    assert!(error.to_string().contains("full dump"), "{error}");
}

#[test]
fn tables_outside_the_file_or_in_the_map_are_errors() {
    for (offset, value, what) in [
        (0x14, 0x0004_0001, "FLCOMP"),
        (0x14, 0x0000_0003, "flash region table"),
        (0x18, 0x4210_0201, "flash master table"),
        (0x18, 0x4200_0208, "PCH straps"),
    ] {
        let mut image = sunrise();
        put32(&mut image, offset, value);
        let error = Descriptor::parse(&image).unwrap_err();
        assert_eq!(error.what, what);
    }
    let mut image = sunrise();
    put32(&mut image, 0x18, 0xff10_0208);
    image.truncate(0x400);
    assert_eq!(Descriptor::parse(&image).unwrap_err().what, "PCH straps");
}

#[test]
fn tables_that_share_bytes_forbid_writing() {
    let mut image = sunrise();
    put32(&mut image, 0x18, 0x4204_0208); // straps over the regions
    let descriptor = parse(&image);
    let first = Warning::TablesOverlap { first: "the region table", second: "the PCH straps", offset: 0x40 };
    assert!(descriptor.warnings.contains(&first), "{:?}", descriptor.warnings);
    assert!(first.forbids_writing());
}

#[test]
fn regions_that_lie_are_named() {
    let mut image = sunrise();
    put32(&mut image, 0x44, 0x0007_0003); // BIOS from 3000, inside ME
    put32(&mut image, 0x4c, 0x0002_0007); // GbE ends before it begins
    let descriptor = parse(&image);
    let overlap = Warning::RegionsOverlap { first: "bios", second: "me", offset: 0x3000 };
    assert!(overlap.forbids_writing());
    assert!(descriptor.warnings.contains(&overlap), "{:?}", descriptor.warnings);
    let inconsistent = Warning::RegionInconsistent { region: "gbe", word: 0x0002_0007, offset: 0x4c };
    assert!(descriptor.warnings.contains(&inconsistent), "{:?}", descriptor.warnings);
    assert!(descriptor.region("gbe").is_none());
    put32(&mut image, 0x40, 0x0007_0001);
    let odd = Warning::DescriptorRegionOdd { base: 0x1000, end: 0x8000 };
    assert!(parse(&image).warnings.contains(&odd));
}

#[test]
fn a_dump_of_chip_one_is_told_from_a_cut_file() {
    let image = cougar(); // two chips of 8 MiB
    for (len, chip_one_of_two) in [(0x6000, false), (0x80_0000, true)] {
        let mut dump = image.clone();
        put32(&mut dump, 0x44, 0x0bff_0004);
        dump.resize(len, 0xff);
        let warnings = parse(&dump).warnings;
        let partial = Warning::PartialDump { flash_end: 0xc0_0000, file_size: len, chip_one_of_two };
        assert!(warnings.contains(&partial), "{warnings:?}");
    }
}

#[test]
fn densities_by_version() {
    let descriptor = parse(&cougar());
    assert_eq!(descriptor.version, IfdVersion::V1);
    assert_eq!(descriptor.components.bytes, [Some(8 << 20), Some(8 << 20)]);
    let mut image = cougar();
    put32(&mut image, 0x18, 0x1510_0206); // Lynx Point: 4-bit fields
    put32(&mut image, 0x30, 0x4990_0034);
    assert_eq!(parse(&image).components.total(), Some(12 << 20));
    let mut image = sunrise();
    put32(&mut image, 0x30, 0x125c_00f6);
    assert_eq!(parse(&image).components.bytes, [Some(32 << 20)]);
    put32(&mut image, 0x30, 0x125c_00ff);
    let unknown = Warning::DensityUnknown { chip: 1, value: 0xf };
    assert!(parse(&image).warnings.contains(&unknown));
}

#[test]
fn rights_by_version() {
    let stock = parse(&cougar());
    assert_eq!(stock.masters.len(), 3);
    assert!(!stock.host_may_write_descriptor() && !stock.host_may_write_me());
    assert!(stock.master("me").unwrap().may_write(2) && !stock.master("me").unwrap().may_read(1));
    let mut image = cougar();
    put32(&mut image, 0x60, 0xffff_0000);
    assert!(parse(&image).host_may_write_descriptor() && parse(&image).me_region_unlocked());

    let mut image = sunrise();
    for (word, descriptor, me) in [
        (0x00a0_0f00, false, false),
        (0x0010_0f00, true, false),
        (0x0040_0f00, false, true),
        (0xffff_ff00, true, true),
    ] {
        put32(&mut image, 0x80, word);
        let parsed = parse(&image);
        assert_eq!((parsed.host_may_write_descriptor(), parsed.host_may_write_me()), (descriptor, me));
        assert!(
            !parsed.warnings.iter().any(|warning| matches!(warning, Warning::MastersOfOtherVersion { .. }))
        );
    }
    put32(&mut image, 0x80, 0x1230_04a5);
    let host = parse(&image).masters.swap_remove(0);
    assert_eq!((host.read, host.write), (0x5004, 0xa123));
    // As a published descriptor has it that was edited as v1.
    put32(&mut image, 0x80, 0xffff_0000);
    let wrong = Warning::MastersOfOtherVersion { word: 0xffff_0000, offset: 0x80 };
    assert!(parse(&image).warnings.contains(&wrong));
}

#[test]
fn a_protected_range_is_decoded() {
    let mut image = sunrise();
    put32(&mut image, 0x18, 0x4510_0208);
    put32(&mut image, 0x1c, 0x0034_0330);
    put32(&mut image, 0xefc, 0xc0ff_08df);
    put32(&mut image, 0x140, 0x0003_8001);
    let range = parse(&image).protected_range.unwrap();
    assert_eq!(
        (range.start, range.end, range.against_reads, range.against_writes),
        (0x1000, 0x3fff, true, false)
    );
    put32(&mut image, 0x140, 0x8003_0001);
    let warning = Warning::RegionProtected { region: "me", start: 0x1000, end: 0x3fff };
    assert!(parse(&image).warnings.contains(&warning), "{:?}", parse(&image).warnings);
    put32(&mut image, 0x140, 0x0003_0001);
    assert_eq!(parse(&image).protected_range, None);
}

#[test]
fn a_descriptor_without_an_upper_map_keeps_its_family() {
    for image in [sunrise(), cougar()] {
        let whole = parse(&image);
        let mut erased = image.clone();
        erased[0x800..0x1000].fill(0xff);
        for cut in [&erased[..], &image[..0x800]] {
            let cut = parse(cut);
            assert_eq!(cut.family, whole.family);
            assert!(cut.warnings.contains(&Warning::UpperMapAbsent));
        }
    }
}

#[test]
fn truncated_at_every_length_is_an_error_or_the_same_family() {
    let image = sunrise();
    for len in 0..0x1000 {
        match Descriptor::parse(&image[..len]) {
            Ok(descriptor) => {
                assert_eq!(descriptor.family, PchFamily::SunrisePointLp, "length {len:#x}");
                assert!(descriptor.is_alone());
            }
            Err(error) => assert!(len < 0x208 && error.offset <= 0x208, "length {len:#x}: {error}"),
        }
    }
}

proptest::proptest! {
    #[test]
    fn never_panics(
        mut bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..4096),
        at_start: bool,
    ) {
        let offset = if at_start { 0 } else { 0x10 };
        if bytes.len() > 0x14 {
            bytes[offset..offset + 4].copy_from_slice(&SIGNATURE);
        }
        let _ = crate::inspect(&bytes);
    }

    #[test]
    fn never_panics_on_maps_that_lie(
        maps in proptest::array::uniform3(proptest::num::u32::ANY),
        words in proptest::collection::vec((0usize..0x400, proptest::num::u32::ANY), 0..8),
    ) {
        let mut image = sunrise();
        for (index, map) in maps.into_iter().enumerate() {
            put32(&mut image, 0x14 + 4 * index, map);
        }
        for (at, word) in words {
            put32(&mut image, 4 * at, word);
        }
        if let Ok(inspection) = crate::inspect(&image) {
            for warning in &inspection.descriptor.warnings {
                proptest::prop_assert!(!warning.to_string().is_empty());
            }
        }
    }
}
