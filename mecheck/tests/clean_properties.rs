//! What holds for every cleaning: only what may change changes, a second one changes nothing, hostile input is refused.
//! Images of our own cover what no real image at hand does: ME 1 to 5, and ME 6 in its Ignition form.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "all of this is test code")]

mod images;

use images::{ME_BASE, ME_LEN, Pch, full, gen1, gen2, gen3, get32, ignition, manifest, put32};
use oob_mecheck::clean::{Cleaned, Fate, Options, Refusal, clean};
use proptest::prelude::*;

fn options(flags: &str) -> Options {
    let has = |flag: char| flags.contains(flag);
    Options {
        soft_disable: has('S'),
        soft_disable_only: has('s'),
        relocate: has('r'),
        truncate: has('t'),
        keep_modules: has('k'),
        lock_descriptor: has('d'),
        extract_descriptor: has('D'),
        extract_me: has('M'),
        check: has('c'),
        whitelist: has('w').then(|| vec!["MFS".into(), "EFFS".into()]),
        blacklist: has('b').then(|| vec!["NFTP".into()]),
        spare_kept: false,
    }
}

fn done(image: &[u8], flags: &str) -> Cleaned {
    clean(image, &options(flags)).unwrap_or_else(|refusal| panic!("{flags}: {refusal}"))
}

fn refusal(image: &[u8], flags: &str) -> Refusal {
    match clean(image, &options(flags)) {
        Ok(_) => panic!("{flags} was not refused"),
        Err(refusal) => refusal,
    }
}

/// Every pair of PCH and ME that belongs together, with the byte ranges that `-S` and `-d` may change.
fn machines() -> Vec<(&'static str, Vec<u8>, usize)> {
    vec![
        ("ME 8", full(Pch::CougarPoint, &gen2(8, 3)), 0x128),
        ("ME 9", full(Pch::LynxPoint, &gen2(9, 3)), 0x128),
        ("ME 11", full(Pch::SunrisePointLp, &gen3(11, 3)), 0x102),
    ]
}

const FLAGS: [&str; 14] =
    ["", "S", "s", "r", "rt", "d", "sd", "k", "kr", "krtDM", "wS", "bS", "SrtdDM", "tDM"];

#[test]
fn only_what_may_change_changes_and_a_second_cleaning_changes_nothing() {
    for (name, image, strap) in machines() {
        for flags in FLAGS {
            let first = done(&image, flags);
            assert_eq!(first.image.len(), image.len());
            assert!(first.changed, "{name} {flags}");
            for at in (0..image.len()).filter(|at| image[*at] != first.image[*at]) {
                let in_me = (ME_BASE..ME_BASE + ME_LEN).contains(&at) && !flags.contains('s');
                let rights = flags.contains('d') && (0x84..0x88).contains(&at);
                let strap = (flags.contains('S') || flags.contains('s')) && at == strap;
                assert!(in_me || rights || strap, "{name} {flags}: byte {at:#x} changed");
            }
            let second = done(&first.image, flags);
            assert!(!second.changed && second.image == first.image, "{name} {flags}: not a no-op");
            assert_eq!((second.descriptor, second.me), (first.descriptor, first.me), "{name} {flags}");
            assert!(second.modules.iter().all(|module| module.fate != Fate::Removed), "{name} {flags}");
        }
    }
}

#[test]
fn shrunk_regions_stay_as_they_are() {
    for (name, image, _) in machines() {
        for flags in ["rt", "t", "krt", "wt"] {
            let region = &image[ME_BASE..ME_BASE + ME_LEN];
            let shrunk = done(region, flags).image;
            assert!(shrunk.len() < region.len(), "{name} {flags}");
            for again in [flags, "", "t", "k", "kt"] {
                // Without -w a kept partition goes, and without -k modules do.
                if (flags == "wt" && again != flags)
                    || (flags == "krt" && again != flags && !again.contains('k'))
                {
                    continue;
                }
                let second = done(&shrunk, again);
                assert!(second.image == shrunk, "{name} {flags}, then {again}");
            }
        }
    }
}

/// `-D` and `-M` make an image with a larger BIOS region; cleaning that one again changes nothing.
#[test]
fn a_rebuilt_image_stays_as_it_is() {
    for (name, image, _) in machines() {
        let first = done(&image, "SrtdDM");
        let (descriptor, me) = (first.descriptor.unwrap(), first.me.unwrap());
        assert!(me.len() < ME_LEN);
        let mut rebuilt = image.clone();
        rebuilt[..descriptor.len()].copy_from_slice(&descriptor);
        rebuilt[ME_BASE..ME_BASE + ME_LEN].fill(0xaa);
        rebuilt[ME_BASE..ME_BASE + me.len()].copy_from_slice(&me);
        let bios = get32(&rebuilt, 0x44);
        assert_eq!((bios as usize & 0x7fff) << 12, ME_BASE + me.len(), "{name}: the BIOS region takes over");
        for flags in ["SrtdDM", "", "rt", "S", "k"] {
            let second = done(&rebuilt, flags);
            assert!(!second.changed, "{name} {flags}");
        }
        let second = done(&rebuilt, "SrtdDM");
        assert_eq!((second.descriptor, second.me), (Some(descriptor), Some(me)), "{name}");
    }
}

/// What differs between two machines of one model lies in partitions that go (reference/me.md 2.5).
#[test]
fn user_data_leaves_no_trace() {
    for (name, a, b) in [("ME 9", gen2(9, 3), gen2(9, 77)), ("ME 11", gen3(11, 3), gen3(11, 77))] {
        assert_ne!(a, b);
        for flags in ["", "rt", "k"] {
            assert!(done(&a, flags).image == done(&b, flags).image, "{name} {flags}");
        }
        assert_ne!(
            done(&a, "w").image,
            done(&b, "w").image,
            "{name}: a partition that was kept keeps its data"
        );
    }
}

#[test]
fn code_that_starts_the_engine_survives_and_the_rest_is_erased() {
    let image = gen2(9, 3);
    let out = done(&image, "").image;
    for (what, start, end, kept) in [
        ("PSVN", 0xbc0, 0xc00, false),
        ("EFFS", 0x1000, 0x4000, false),
        ("manifest and headers", 0x8000, 0x8470, true),
        ("UPDATE", 0x8800, 0x8c00, false),
        ("ROMP", 0x8c00, 0x9000, true),
        ("the lookup table", 0x9000, 0x9058, true),
        ("chunks of BUP", 0xa000, 0xc000, true),
        ("chunks of KERNEL", 0xc000, 0xd000, false),
        ("POLICY", 0xe000, 0xf000, false),
        ("NFTP", 0x10000, 0x18000, false),
    ] {
        let range = start..end;
        let same = out[range.clone()] == image[range.clone()];
        let erased = out[range].iter().all(|byte| *byte == 0xff);
        assert_eq!((same, erased), (kept, !kept), "{what}");
    }
    assert_eq!(get32(&out, 0x24) & 1, 0, "no EFFS any more");
    assert_eq!(out[..0x30].iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)), 0, "the header sums to 0");

    let image = gen3(11, 3);
    let out = done(&image, "").image;
    assert_eq!(out[0x2000..0x5000], image[0x2000..0x5000], "all but vfs is kept");
    assert!(out[0x5000..0x9000].iter().all(|byte| *byte == 0xff), "vfs is erased");
    assert_eq!(out[0x10..0x30].iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)), 0);
}

#[test]
fn relocation_moves_the_lookup_table_with_the_code() {
    let image = gen2(9, 3);
    let out = done(&image, "r").image;
    let new = get32(&out, 0x38) as usize;
    let moved = 0x8000 - new;
    assert!(new >= 0x400 && new.is_multiple_of(0x20) && new < 0x8000, "{new:#x}");
    let table = 0x9000 - moved;
    assert_eq!(&out[table..table + 4], b"LLUT");
    assert_eq!(get32(&out, table + 0x14) as usize, 0xa000 - moved);
    assert_eq!(get32(&out, table + 0x44) as usize, 0x0100_a800 - moved, "the top byte stays");
    assert_eq!(get32(&out, table + 0x4c), 0x8000_0000, "an absent chunk stays absent");
    assert_eq!(out[0xa000 - moved..0xc000 - moved], image[0xa000..0xc000]);
    assert!(out[0x10000 - moved..].iter().all(|byte| *byte == 0xff));
}

/// Cut off with the empty rest of the region, such a module would make a second cleaning fail.
#[test]
fn a_removed_module_that_leaves_its_partition_is_refused() {
    let mut region = gen2(9, 3);
    let policy = 0x8290 + 4 * 0x60;
    assert_eq!(&region[policy + 4..policy + 10], b"POLICY");
    put32(&mut region, policy + 0x38, 0x7800);
    manifest(&mut region, 0x8000, 0x284 + 0xc + 5 * 0x60, [9, 1, 20, 1035], 5, b"$MN2");
    for flags in ["", "t", "wt"] {
        assert_eq!(refusal(&region, flags).cause(), "image-malformed", "{flags}");
    }
}

/// The hub's straps at 40 are the region map: bit 0 set there would move the descriptor region.
#[test]
fn straps_that_lie_over_another_table_are_not_set() {
    let mut image = full(Pch::Ich9, &gen1());
    put32(&mut image, 0xc, 0x0000_0104);
    assert_eq!(refusal(&image, "").cause(), "strap-refused");
    assert!(!done(&image, "c").changed);
}

#[test]
fn me_1_to_5_goes_as_a_whole() {
    let image = full(Pch::Ich9, &gen1());
    for flags in ["", "S", "rtDM"] {
        let result = done(&image, flags);
        let out = &result.image;
        assert!(out[ME_BASE..ME_BASE + ME_LEN].iter().all(|byte| *byte == 0xff), "{flags}");
        assert_eq!((get32(out, 0x100), get32(out, 0x200), get32(out, 0x48)), (1, 1, 0x1fff), "{flags}");
        let differing: Vec<usize> =
            (0..ME_BASE).chain(ME_BASE + ME_LEN..image.len()).filter(|at| image[*at] != out[*at]).collect();
        assert_eq!(differing, [0x48, 0x49, 0x4a, 0x100, 0x200], "{flags}");
        assert!(result.me.is_none(), "nothing is left to extract");
        let second = done(out, flags);
        assert!(!second.changed, "{flags}");
    }
    let straps = done(&image, "s").image;
    let differing: Vec<usize> = (0..image.len()).filter(|at| image[*at] != straps[*at]).collect();
    assert_eq!(differing, [0x100, 0x200], "-s removes nothing");
    assert!(!done(&image, "c").changed);
    let extracted = done(&image, "tD").descriptor.unwrap();
    assert_eq!((get32(&extracted, 0x44) as usize & 0x7fff) << 12, ME_BASE, "the BIOS region takes the place");
    assert_eq!(refusal(&gen1(), "").cause(), "needs-full-dump");
    assert_eq!(refusal(&full(Pch::LynxPoint, &gen1()), "").cause(), "descriptor-and-me-disagree");
}

#[test]
fn me_6_ignition_is_erased_and_plain_me_6_is_not() {
    let erased = done(&ignition(0), "");
    assert!(erased.image.iter().all(|byte| *byte == 0xff) && erased.image.len() == ME_LEN);
    assert!(erased.minimum_size.is_none());
    // Nothing of it stays, so its signature does not matter.
    let mut broken = ignition(0);
    broken[0x2030] ^= 1;
    assert!(done(&broken, "rt").image.iter().all(|byte| *byte == 0xff));
    let plain = done(&ignition(1), "");
    assert_eq!(plain.image[0x2000..0x2290], ignition(1)[0x2000..0x2290], "the manifest stays");
    assert!(plain.image[0xb000..].iter().all(|byte| *byte == 0xff), "the open-ended last partition goes");
    broken = ignition(1);
    broken[0x2030] ^= 1;
    assert_eq!(refusal(&broken, "").cause(), "signature-invalid");
}

#[test]
fn the_strap_of_another_pch_is_refused_with_the_way_to_go() {
    let server = full(Pch::Lewisburg, &gen3(4, 3));
    for flags in ["S", "s", "Srtd"] {
        let refused = refusal(&server, flags);
        assert_eq!(refused.cause(), "strap-refused", "{flags}");
        assert!(refused.to_string().contains("firmware neutralize"), "{refused}");
    }
    assert!(done(&server, "rtd").changed, "without -S code is removed");
    let cross = full(Pch::SunrisePointLp, &gen2(9, 3));
    assert_eq!(refusal(&cross, "S").cause(), "strap-refused");
    assert_eq!(refusal(&cross, "d").cause(), "descriptor-and-me-disagree");
}

#[test]
fn contradicting_flags_are_usage_errors() {
    for flags in ["Ss", "wb", "cS", "cs", "cr", "ct", "cd", "sr", "st", "wr", "br"] {
        assert!(matches!(refusal(&gen3(11, 3), flags), Refusal::Usage(_)), "{flags}");
    }
    for flags in ["S", "s", "d", "D", "M"] {
        assert_eq!(refusal(&gen3(11, 3), flags).cause(), "needs-full-dump", "{flags}");
    }
}

#[test]
fn what_cannot_be_cleaned_is_refused_by_name() {
    let mut empty = full(Pch::SunrisePointLp, &vec![0xff; ME_LEN]);
    assert_eq!(refusal(&empty, "").cause(), "me-region-empty");
    put32(&mut empty, 0x48, 0x7fff);
    assert_eq!(refusal(&empty, "c").cause(), "me-region-unused");
    assert_eq!(refusal(&gen3(12, 3), "").cause(), "code-removal-unsupported");
    assert_eq!(refusal(&[0xff; 0x4000], "").cause(), "empty");
    assert_eq!(refusal(&[0; 0x4000], "").cause(), "image-malformed");
    assert_eq!(refusal(&[], "").cause(), "image-malformed");
    let mut broken = gen3(11, 3);
    broken[0x20a0 + 0x14] ^= 1;
    assert_eq!(refusal(&broken, "c").cause(), "signature-invalid");
}

/// Every length at which a dump may have been cut off, in steps that hit all tables.
#[test]
fn cut_off_images_are_refused() {
    for (name, image) in [("ME 9", gen2(9, 3)), ("ME 11", gen3(11, 3)), ("ME 6", ignition(1))] {
        // Behind the last partition nothing but padding is missing, which cannot be seen at a page's end.
        let last = if name == "ME 6" { ME_LEN } else { 0x18000 - if name == "ME 11" { 0x1000 } else { 0 } };
        for len in (0..image.len()).step_by(0x40).chain([image.len() - 1]) {
            if len % 0x1000 == 0 && (len >= last || name == "ME 6" && len > 0xb000) {
                continue;
            }
            match clean(&image[..len], &options("rt")) {
                Ok(_) => panic!("{name} was cleaned at {len:#x}"),
                Err(Refusal::Usage(why)) => panic!("{name} at {len:#x}: {why}"),
                Err(_) => {}
            }
        }
    }
    for (name, image, _) in machines() {
        for len in (0..image.len()).step_by(0x140) {
            assert!(clean(&image[..len], &options("S")).is_err(), "{name} was cleaned at {len:#x}");
        }
    }
}

/// Chip 1 of 2 holds descriptor and ME as a whole, and is what people dump first.
#[test]
fn the_first_chip_of_two_is_cleaned_with_a_warning() {
    let mut image = full(Pch::CougarPoint, &gen2(8, 3));
    put32(&mut image, 0x44, 0x00ff_0021);
    // Two chips of 512 KiB each by FLCOMP.
    let map0 = get32(&image, 0x14) | 0x100;
    put32(&mut image, 0x14, map0);
    let result = done(&image, "S");
    assert!(
        result.warnings.iter().any(|warning| warning.contains("one chip of two")),
        "{:?}",
        result.warnings
    );
    put32(&mut image, 0x14, map0 & !0x300);
    assert_eq!(
        refusal(&image, "").cause(),
        "image-malformed",
        "a single chip's dump that ends early is cut off"
    );
}

/// As coreboot boards have it (reference/me.md 2.4 asks nothing of region 1); any other overlap is a lie.
#[test]
fn a_bios_region_over_the_whole_chip_is_cleaned_with_a_warning() {
    for (name, plain, strap) in machines() {
        let mut spanning = plain.clone();
        let end = get32(&plain, 0x44) & 0xffff_0000;
        put32(&mut spanning, 0x44, end);
        for flags in ["c", "", "S", "s", "rt", "SrtdDM"] {
            let (ours, theirs) = (done(&spanning, flags), done(&plain, flags));
            assert!(ours.warnings.iter().any(|warning| warning.contains("whole chip")), "{name} {flags}");
            assert!(!theirs.warnings.iter().any(|warning| warning.contains("whole chip")), "{name} {flags}");
            let mut expected = theirs.image.clone();
            put32(&mut expected, 0x44, end);
            assert!(ours.image == expected, "{name} {flags}");
            assert_eq!(ours.image[strap] != spanning[strap], flags.contains(['S', 's']), "{name} {flags}");
            assert_eq!(ours.me, theirs.me, "{name} {flags}");
            // A map that had its BIOS region before the ME region's end cannot hand over what -t frees.
            let map = ours.descriptor.map(|map| (get32(&map, 0x44), get32(&map, 0x48)));
            assert!(map.is_none_or(|map| map == (end, get32(&plain, 0x48))), "{name} {flags}");
        }
        for partial in [end | 1, end | 2, 0x0002_0000] {
            put32(&mut spanning, 0x44, partial);
            assert!(matches!(refusal(&spanning, ""), Refusal::Image(_)), "{name} {partial:#x}");
        }
    }
}

/// Of a full image `-t` shows in `-D` and `-M` alone, so without them there is nothing that has no room.
#[test]
fn truncating_where_all_is_needed_fails_only_where_it_would_be_written() {
    let mut me = gen2(8, 3);
    // Keep a partition that ends where the region ends.
    put32(&mut me, 0x30 + 0x20 + 8, (ME_LEN - 0x3000) as u32);
    let image = full(Pch::CougarPoint, &me);
    let keep = |flags: &str| Options { whitelist: Some(vec!["EFFS".into()]), ..options(flags) };
    let without = clean(&image, &keep("")).unwrap();
    assert!(without.minimum_size.unwrap() > ME_LEN);
    assert!(clean(&image, &keep("t")).unwrap().image == without.image);
    for flags in ["tD", "tM", "tDM"] {
        let said = clean(&image, &keep(flags)).unwrap_err();
        assert_eq!(said.cause(), "no-room-to-shrink", "{flags}");
    }
}

#[test]
fn lying_tables_are_refused_with_an_offset() {
    let lie = |image: Vec<u8>, at: usize, word: u32, flags: &str| {
        let mut image = image;
        put32(&mut image, at, word);
        match refusal(&image, flags) {
            Refusal::Image(error) => assert!(error.offset > 0, "{error}"),
            Refusal::Signature { offset, .. } => assert!(offset > 0),
            other => panic!("{at:#x}: {other:?}"),
        }
    };
    for word in [u32::MAX, 0x7fff_ffff, 0x1000_0000, 0x0fff_ffff] {
        lie(gen2(9, 3), 0x14, word, "");
        lie(gen2(9, 3), 0x30 + 0x20 * 3 + 8, word, "");
        lie(gen2(9, 3), 0x30 + 0x20 + 0xc, word, "");
        for field in [4, 0x10, 0x14] {
            lie(gen2(9, 3), 0x9000 + field, word, "r");
        }
        lie(gen3(11, 3), 0x14, word, "");
        lie(gen3(11, 3), 0x2004, word, "");
        lie(gen3(11, 3), 0x3c, word, "");
    }
    lie(gen2(9, 3), 0x9030, 0, "");
    lie(gen2(9, 3), 0x9040, 0x00ff_ffff, "");
    lie(gen2(9, 3), 0x9008, 0x2000_0000, "");
    // Erasing EFFS would hit FTPR's code.
    lie(gen2(9, 3), 0x30 + 0x20 + 0xc, 0x8000, "");
    // Overlapping regions.
    let mut image = full(Pch::SunrisePointLp, &gen3(11, 3));
    put32(&mut image, 0x44, 0x007f_0008);
    assert!(refusal(&image, "").to_string().contains("overlaps"));
}

/// A partition that claims to be giant is no reason to write a giant file.
#[test]
fn a_giant_length_makes_no_giant_output() {
    for mut region in [gen2(9, 3), gen3(11, 3)] {
        let cleaned = done(&region, "").image;
        for (which, entry) in [(&mut region, 0x30 + 0x20 * 3), (&mut cleaned.clone(), 0x30)] {
            put32(which, entry + 0xc, 0xffff_0000);
            for flags in ["kt", "krt", "t", "wt"] {
                if let Ok(result) = clean(which, &options(flags)) {
                    assert!(result.image.len() <= ME_LEN + 0x5000, "{flags}: {:#x}", result.image.len());
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Whatever is wrong with an image, there is an answer; and where there is a result, FTPR's signature holds.
    #[test]
    fn hostile_images_never_panic(
        which in 0usize..5,
        changes in prop::collection::vec((0usize..0x2000, any::<u32>(), 0u8..3), 1..6),
        flags in prop::sample::select(FLAGS.to_vec()),
    ) {
        let (mut image, tables): (Vec<u8>, &[(usize, usize)]) = match which {
            0 => (gen2(9, 3), &[(0x10, 0xc0), (0x8000, 0x80), (0x8290, 0x1e0), (0x9000, 0x58)]),
            1 => (gen3(11, 3), &[(0x10, 0xc0), (0x2000, 0xa0), (0x20a0, 0x80)]),
            2 => (full(Pch::LynxPoint, &gen2(9, 3)), &[(0, 0x200), (0x1010, 0xc0), (0x9290, 0x1e0), (0xa000, 0x58)]),
            3 => (full(Pch::SunrisePointLp, &gen3(11, 3)), &[(0, 0x200), (0x1010, 0xc0), (0x3000, 0xa0)]),
            _ => (full(Pch::Ich9, &gen1()), &[(0, 0x220), (0x1010, 0x60), (0x3000, 0x80)]),
        };
        let before = image.clone();
        for (at, word, kind) in changes {
            let (start, len) = tables[at % tables.len()];
            let at = start + at % (len / 4) * 4;
            let word = match kind { 0 => word, 1 => get32(&before, at) ^ 1 << (word % 32), _ => word % 0x20000 };
            put32(&mut image, at, word);
        }
        let input = image.clone();
        let flags = if which < 2 { flags.replace(['S', 's', 'd', 'D', 'M'], "") } else { flags.to_owned() };
        let result = clean(&image, &options(&flags));
        prop_assert!(image == input);
        if let Ok(cleaned) = result {
            prop_assert!(cleaned.image.len() <= image.len() + 0x5000);
            let again = clean(&image, &options(&flags)).expect("the same input, the same result");
            prop_assert!(again.image == cleaned.image);
            let oldest = cleaned.generation.contains("generation 1") || cleaned.image[ME_BASE..].iter().all(|byte| *byte == 0xff);
            let valid = cleaned.signatures.first().and_then(|check| check.after.as_ref()).is_some_and(|after| after.is_valid());
            prop_assert!(oldest || valid);
        }
    }

    #[test]
    fn noise_is_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..0x2000), tag in 0usize..4) {
        let signature: [u8; 4] = if tag < 2 { *b"$FPT" } else { [0x5a, 0xa5, 0xf0, 0x0f] };
        let at = if tag % 2 == 0 { 0 } else { 0x10 };
        if bytes.len() >= at + 4 {
            bytes[at..at + 4].copy_from_slice(&signature);
        }
        prop_assert!(clean(&bytes, &options("k")).is_err());
    }
}
