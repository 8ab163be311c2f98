//! Firmware volumes: real ones of Debian's `ovmf` package where it is installed, and own ones, sound and broken.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "all of this is test code")]

mod uefi_fixture;

use std::fs;
use std::io::Write;

use oob_mecheck::uefi::{FileSystem, Finding, Format, Technology, Uefi, budget, walk};
use proptest::prelude::*;
use uefi_fixture::*;

const X64: u16 = 0x8664;
const BOOT_DRIVER: u16 = 11;

fn titles(found: &Uefi) -> Vec<String> {
    found.modules.iter().map(oob_mecheck::uefi::Module::title).collect()
}

/// A driver with a name.
fn driver(number: u32, called: &str) -> Vec<u8> {
    file(some(number), DRIVER, &[section(0x10, &pe32(X64, BOOT_DRIVER, None)), name(called)])
}

/// Two volumes; in the first a driver, a nested volume behind LZMA with two, and a TE image.
fn whole() -> Vec<u8> {
    let inner = volume(
        FFS3,
        &[
            large_file(some(2), DRIVER, &[large_section(0x10, &pe32(X64, 12, Some(r"C:\b\AMT\Mebx.pdb")))]),
            driver(3, "AmtWrapperDxe"),
        ],
    );
    let image = join(&[section(0x19, &[1, 2, 3]), section(0x17, &inner)]);
    let mut flash = vec![0xff; 0x1000];
    flash.extend(volume(
        FFS2,
        &[
            driver(1, "FAMTest"),
            file(some(4), VOLUME_IMAGE, &[guided(LZMA, 1, &compress(&image))]),
            file(some(5), 0x06, &[section(0x12, &te(0x14c, 11, "/b/PeiCore.dll")), version("1.2")]),
        ],
    ));
    flash.extend(volume(FFS2, &[driver(6, "Second")]));
    flash
}

#[test]
fn names_every_module_and_where_it_lies() {
    let found = walk(&whole(), 0x10_0000);
    assert_eq!(found.findings, Vec::new());
    assert_eq!(titles(&found), ["FAMTest", "Mebx", "AmtWrapperDxe", "PeiCore", "Second"]);
    let volumes: Vec<_> = found.volumes.iter().map(|it| (it.filesystem, it.place.inside.is_some())).collect();
    assert_eq!(volumes, [(FileSystem::Ffs2, false), (FileSystem::Ffs3, true), (FileSystem::Ffs2, false)]);
    assert_eq!((found.volumes[0].place.offset, found.volumes[0].files), (0x10_1000, 5));

    let [_, mebx, amt, te, _] = found.modules.as_slice() else { panic!("five modules") };
    assert_eq!((mebx.kind, mebx.machine, mebx.subsystem), ("driver", "X86_64", "runtime-driver"));
    assert_eq!(mebx.debug_path.as_deref(), Some(r"C:\b\AMT\Mebx.pdb"));
    assert_eq!((mebx.file, mebx.format, mebx.size), (some(2), Format::Pe32, 0x400));
    assert_eq!(amt.place.inside, mebx.place.inside);
    assert_eq!((te.format, te.machine, te.kind), (Format::Te, "X86", "peim"));
    assert_eq!((te.debug_path.as_deref(), te.version.as_deref()), (Some("/b/PeiCore.dll"), Some("1.2")));

    let related: Vec<_> = found.related.iter().map(|it| (it.technology, it.name.as_str())).collect();
    assert_eq!(related, [(Technology::Mebx, "Mebx"), (Technology::Amt, "AmtWrapperDxe")]);
}

#[test]
fn a_known_guid_is_enough() {
    let found = walk(&volume(FFS2, &[file(MEBX, DRIVER, &[section(0x10, &pe32(X64, 11, None))])]), 0);
    assert_eq!(found.related.len(), 1);
    assert_eq!(found.related[0].technology, Technology::Mebx);
}

#[test]
fn the_branch_filter_and_readable_wrappers_are_undone() {
    let sections = join(&[section(0x10, &pe32(X64, 11, None)), name("Filtered")]);
    let plain = join(&[section(0x10, &pe32(X64, 11, None)), name("Plain")]);
    let mut stored = vec![0, 0, 0, 0, 0];
    stored.extend(&plain);
    let flash = volume(
        FFS2,
        &[
            file(some(1), DRIVER, &[guided(LZMA_F86, 1, &compress_f86(&sections))]),
            file(some(2), DRIVER, &[guided(CRC32, 2, &plain)]),
            file(some(3), DRIVER, &[guided(some(9), 0, &plain)]),
            file(some(4), DRIVER, &[section(0x01, &stored)]),
            file(some(5), DRIVER, &[section(0x03, &plain)]),
        ],
    );
    let found = walk(&flash, 0);
    assert_eq!(found.findings, Vec::new());
    assert_eq!(titles(&found), ["Filtered", "Plain", "Plain", "Plain", "Plain"]);
}

#[test]
fn what_is_not_decoded_is_named() {
    let flash = volume(
        FFS2,
        &[
            file(some(1), DRIVER, &[section(0x01, &[0, 1, 0, 0, 1, 9, 9])]),
            file(some(2), DRIVER, &[section(0x01, &[0, 1, 0, 0, 7, 9, 9])]),
            file(some(3), DRIVER, &[guided(some(9), 1, &[1, 2, 3, 4])]),
            driver(4, "After"),
        ],
    );
    let found = walk(&flash, 0);
    let whys: Vec<_> = found.findings.iter().map(|it| it.why.as_str()).collect();
    assert!(whys[0].contains("Tiano"), "{whys:?}");
    assert!(whys[1].contains("unknown compression 7"), "{whys:?}");
    assert!(whys[2].contains(&some(9).to_string()), "{whys:?}");
    assert_eq!(titles(&found), ["After"]);
}

#[test]
fn deleted_and_unfinished_files_are_passed_over() {
    let state = |mut file: Vec<u8>, bits: u8| {
        file[23] = !bits;
        file
    };
    let unfinished = [0xff; 23].into_iter().chain([!0x01]).collect::<Vec<u8>>();
    let flash = volume(
        FFS2,
        &[
            state(driver(1, "Deleted"), 0x17),
            state(driver(2, "NoData"), 0x03),
            unfinished,
            state(driver(3, "Updating"), 0x0f),
            driver(4, "Live"),
        ],
    );
    let found = walk(&flash, 0);
    assert_eq!(titles(&found), ["Updating", "Live"]);
    assert_eq!(found.findings, Vec::new());
}

#[test]
fn erase_polarity_zero_is_read() {
    let mut inner = driver(1, "Inverted");
    inner[23] = 0x07;
    let mut flash = volume(FFS2, &[inner]);
    let end = flash.len();
    flash[end - 0x2000..].fill(0);
    let attributes = 0x0004_feff_u32 & !0x800;
    put(&mut flash, 0x2c, &attributes.to_le_bytes());
    seal(&mut flash);
    // Fill between the file and the room behind it.
    let used = 0x48 + driver(1, "Inverted").len();
    flash[used..end - 0x2000].fill(0);
    let found = walk(&flash, 0);
    assert_eq!((titles(&found), found.findings), (vec!["Inverted".to_owned()], Vec::new()));
    assert!(!found.volumes[0].erased_is_ff);
}

/// Each breaks one number; the walk says where and goes on with the volume behind.
#[test]
fn lying_numbers_are_named_with_their_offset() {
    let first = || volume(FFS2, &[driver(1, "First")]);
    let cases: [(&str, usize, &[u8], bool, usize); 9] = [
        ("volume length", 0x20, &[0xff; 8], true, 0x20),
        ("header length", 0x30, &[0x07, 0x20], true, 0x30),
        ("volume checksum", 0x33, &[0x5a], false, 0x32),
        ("extended header", 0x34, &[0xf0, 0xff], true, 0x34),
        ("block map", 0x3c, &[1, 0, 0, 0], true, 0x38),
        ("file header checksum", 0x48 + 16, &[1], false, 0x48 + 16),
        ("file size", 0x48 + 16, &[0x0f, 0xaa, 7, 0, 0xff, 0xff, 0xff], false, 0x48 + 16),
        ("file integrity", 0x48 + 17, &[0x11], false, 0x48 + 17),
        ("section size", 0x48 + 24, &[0xfe, 0xff, 0xff], false, 0x48 + 24),
    ];
    for (what, offset, bytes, sealed, named) in cases {
        let mut flash = first();
        put(&mut flash, offset, bytes);
        if sealed {
            seal(&mut flash);
        }
        flash.extend(volume(FFS2, &[driver(2, "Second")]));
        let found = walk(&flash, 0x1000);
        let offsets: Vec<_> = found.findings.iter().map(|it| it.place.offset).collect();
        assert!(offsets.contains(&(named + 0x1000)), "{what}: {:?}", found.findings);
        assert_eq!(titles(&found).last().map(String::as_str), Some("Second"), "{what}");
    }
}

#[test]
fn broken_images_are_named_and_the_rest_is_read() {
    let mut giant = pe32(X64, 11, Some("x.pdb"));
    put(&mut giant, 0x46, &[0xff, 0xff]);
    let mut stripped = te(0x14c, 11, "y.pdb");
    put(&mut stripped, 6, &[1, 0]);
    let mut named = te(0x14c, 11, "z.pdb");
    put(&mut named, 40, b"/4");
    let flash = volume(
        FFS2,
        &[
            file(some(1), DRIVER, &[section(0x10, b"MZ"), name("Cut")]),
            file(some(2), DRIVER, &[section(0x10, &giant), name("Giant")]),
            file(some(3), DRIVER, &[section(0x12, &stripped), name("Stripped")]),
            file(some(4), DRIVER, &[section(0x12, &named), name("Named")]),
            file(some(5), DRIVER, &[section(0x12, b"VZ"), name("Short")]),
        ],
    );
    let found = walk(&flash, 0);
    // Without a header there is no module; without its debug entry there is one.
    assert_eq!(titles(&found), ["Giant", "Stripped", "Named"]);
    assert_eq!(found.findings.len(), 5, "{:?}", found.findings);
}

#[test]
fn nesting_has_an_end() {
    let mut sections = join(&[section(0x10, &pe32(X64, 11, None)), name("Deep")]);
    for _ in 0..500 {
        sections = section(0x03, &sections);
    }
    let mut volumes = volume(FFS2, &[driver(1, "Deep")]);
    for _ in 0..30 {
        volumes = volume(FFS2, &[file(some(2), VOLUME_IMAGE, &[section(0x17, &volumes)])]);
    }
    for flash in [volume(FFS2, &[file(some(1), DRIVER, &[sections])]), volumes] {
        let found = walk(&flash, 0);
        assert_eq!(titles(&found), Vec::<String>::new());
        assert!(found.findings.iter().any(|it| it.why.contains("deep")), "{:?}", found.findings);
    }
}

#[test]
fn bombs_stay_within_the_budget() {
    let zeroes = compress(&vec![0; 900 << 10]);
    let mut files: Vec<_> =
        (0..8).map(|number| file(some(number), DRIVER, &[guided(LZMA, 1, &zeroes)])).collect();
    let mut liar = zeroes.clone();
    put(&mut liar, 5, &(1_u64 << 40).to_le_bytes());
    files.push(file(some(9), DRIVER, &[guided(LZMA, 1, &liar)]));
    let mut endless = zeroes.clone();
    put(&mut endless, 5, &[0xff; 8]);
    files.push(file(some(10), DRIVER, &[guided(LZMA, 1, &endless)]));
    let mut greedy = zeroes;
    put(&mut greedy, 1, &[0xf0, 0xff, 0xff, 0xff]);
    files.push(file(some(11), DRIVER, &[guided(LZMA, 1, &greedy)]));
    files.push(driver(12, "After"));
    let flash = volume(FFS2, &files);
    let found = walk(&flash, 0);
    assert!(found.decompressed <= budget(flash.len()), "{}", found.decompressed);
    assert_eq!(found.decompressed, 900 << 10, "one of eight fits 1 MiB");
    let lzma = |it: &&Finding| it.what == "LZMA section";
    assert_eq!(found.findings.iter().filter(lzma).count(), 10);
    assert_eq!(titles(&found), ["After"]);
}

#[test]
fn a_volume_of_empty_files_stays_within_the_counts() {
    let files: Vec<_> = (0..17_000).map(|number| file(some(number), 0x01, &[])).collect();
    let found = walk(&volume(FFS2, &files), 0);
    assert_eq!(found.files, 16_384);
    assert!(found.findings.iter().any(|it| it.why.contains("more than")), "{:?}", found.findings);
    // As many findings, most of which are counted only.
    let broken: Vec<_> = (0..1000).map(|number| file(some(number), DRIVER, &[vec![9; 8]])).collect();
    let found = walk(&volume(FFS2, &broken), 0);
    assert_eq!((found.findings.len(), found.more_findings), (256, 1000 - 256));
}

#[test]
fn debian_ovmf_is_read_without_a_finding() {
    let present: Vec<_> = ["/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/ovmf/OVMF.fd"]
        .into_iter()
        .filter_map(|path| fs::read(path).ok().map(|bytes| (path, bytes)))
        .collect();
    if present.is_empty() {
        // Straight to the descriptor: the test runner captures what the print macros write.
        let _ = writeln!(
            std::io::stderr(),
            "skipped: UEFI volumes of real firmware: Debian's ovmf package is not installed"
        );
    }
    for (path, image) in present {
        let found = walk(&image, 0);
        assert_eq!(found.findings, Vec::new(), "{path}");
        assert!(found.modules.len() > 50, "{path}: {} modules", found.modules.len());
        let titles = titles(&found);
        for wanted in ["SecMain", "PeiCore", "DxeCore", "BdsDxe", "Shell", "PlatformDxe"] {
            assert!(titles.iter().any(|title| title == wanted), "{path} lacks {wanted}: {titles:?}");
        }
        let core = found.modules.iter().find(|it| it.title() == "DxeCore").unwrap();
        assert_eq!((core.kind, core.machine, core.format), ("dxe-core", "X86_64", Format::Pe32));
        assert!(core.place.inside.is_some(), "the DXE core lies in the compressed section");
        assert!(found.related.is_empty(), "a virtual machine has no AMT: {:?}", found.related);
        assert!(found.decompressed <= budget(image.len()));
    }
}

#[test]
fn truncated_at_every_length_is_read_as_far_as_it_goes() {
    let flash = whole();
    for len in (0..flash.len()).step_by(7) {
        let found = walk(&flash[..len], 0);
        assert!(found.modules.len() < 5, "length {len:#x}");
        assert!(found.decompressed <= budget(len));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn changed_bytes_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..30)) {
        let mut flash = whole();
        for (index, byte) in changes {
            let len = flash.len();
            flash[index.index(len)] = byte;
        }
        let found = walk(&flash, 0);
        prop_assert!(found.decompressed <= budget(flash.len()));
        prop_assert!(found.modules.len() <= 5);
    }

    /// Checksums made right again, so that the lies are believed.
    #[test]
    fn changed_and_resealed_headers_never_panic(
        header in prop::collection::vec((0x10_usize..0x48, any::<u8>()), 0..4),
        head in prop::collection::vec((0_usize..24, any::<u8>()), 0..3),
        body in prop::collection::vec((0_usize..0x460, any::<u8>()), 0..8),
    ) {
        let pdb = pe32(X64, BOOT_DRIVER, Some("a.pdb"));
        let mut inner = file(some(1), DRIVER, &[section(0x10, &pdb), section(0x12, &te(0x14c, 11, "b.pdb")), name("N")]);
        for (offset, byte) in head {
            inner[offset] = byte;
        }
        let sum = inner[..24].iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        inner[16] = inner[16].wrapping_sub(sum).wrapping_add(inner[17]).wrapping_add(inner[23]);
        let mut flash = volume(FFS2, &[inner]);
        for (offset, byte) in body {
            flash[0x60 + offset] = byte;
        }
        for (offset, byte) in header {
            flash[offset] = byte;
        }
        seal(&mut flash);
        let found = walk(&flash, 0);
        prop_assert!(found.files <= 16_384);
    }

    #[test]
    fn any_lzma_stream_is_an_error_or_what_it_claims(
        filtered in any::<bool>(),
        data in prop::collection::vec(any::<u8>(), 0..600),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut stream = if filtered { compress_f86(&data) } else { compress(&data) };
        for (index, byte) in &changes {
            let len = stream.len();
            stream[index.index(len)] = *byte;
        }
        let guid = if filtered { LZMA_F86 } else { LZMA };
        let flash = volume(FFS2, &[file(some(1), DRIVER, &[guided(guid, 1, &stream)])]);
        let found = walk(&flash, 0);
        prop_assert!(found.decompressed <= budget(flash.len()));
        if changes.is_empty() {
            prop_assert_eq!(found.decompressed, data.len());
        }
    }
}
