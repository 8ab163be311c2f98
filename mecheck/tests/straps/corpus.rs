//! Every real descriptor of the corpus: family, located byte and state as reference/me.md 1.3 to 1.5 has them.

use std::env;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

use oob_mecheck::{DescriptorWarning, SoftDisable, StrapState, inspect, set_soft_disable};

use crate::board::Layout::{self, Ifwi, One, Three, Two};
use crate::board::{me, put, set_and_check};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Clear,
    Set,
    Refuse,
}
use State::{Clear, Refuse, Set};

/// File, family, the byte that holds the (first) bit, what the bit is.
#[rustfmt::skip]
const TABLE: &[(&str, &str, usize, State)] = &[
    ("492b5e_Dasharo__hardkernel_odroid-h4_descriptor_netcard.bin", "alder-point-n", 0x17e, Clear),
    ("9ee1dd_Dasharo__protectli_vault_adl_n_vp2430_descriptor.bin", "alder-point-n", 0x17e, Clear),
    ("Dasharo__hardkernel_odroid-h4_descriptor_netcard.bin", "alder-point-n", 0x17e, Clear),
    ("Dasharo__protectli_vault_adl_n_vp2440_descriptor.bin", "alder-point-n", 0x17e, Clear),
    ("Dasharo__protectli_vault_adl_n_vp32xx_descriptor.bin", "alder-point-n", 0x17e, Clear),
    ("StarLabsLtd__starlabs_starbook_adl_n_flashdescriptor.bin", "alder-point-n", 0x17e, Clear),
    ("aa4863_Dasharo__hardkernel_odroid-h4_descriptor.bin", "alder-point-n", 0x17e, Clear),
    ("8cc21a_Dasharo__protectli_vault_adl_p_descriptor.bin", "alder-point-p", 0x17e, Clear),
    ("Dasharo__novacustom_nv4x_adl_descriptor.bin", "alder-point-p", 0x17e, Set),
    ("Dasharo__protectli_vault_adl_p_descriptor.bin", "alder-point-p", 0x17e, Set),
    ("StarLabsLtd__starlabs_starfighter_rpl_flashdescriptor.bin", "alder-point-p", 0x17e, Clear),
    ("b991a4_Dasharo__novacustom_nv4x_adl_descriptor.bin", "alder-point-p", 0x17e, Clear),
    ("d375ec_Dasharo__protectli_vault_adl_p_descriptor.bin", "alder-point-p", 0x17e, Set),
    ("d9e89d_Dasharo__novacustom_nv4x_adl_descriptor.bin", "alder-point-p", 0x17e, Set),
    ("f81be7_Dasharo__novacustom_nv4x_adl_descriptor.bin", "alder-point-p", 0x17e, Clear),
    ("8702d0_Dasharo__msi_ms7d25_descriptor.bin", "alder-point-s", 0x1de, Clear),
    ("Dasharo__msi_ms7d25_descriptor.bin", "alder-point-s", 0x1de, Clear),
    ("b42125_Dasharo__msi_ms7e06_descriptor.bin", "alder-point-s", 0x1de, Clear),
    ("coreboot__facebook_fbg1701_descriptor.bin", "bay-trail", 0x128, Clear),
    ("StarLabsLtd__starlabs_starbook_cml_flashdescriptor.bin", "cannon-point-lp", 0x172, Clear),
    ("bluecmd__fd.rom", "cannon-point-lp", 0x172, Clear),
    ("9a1b00_m4rc0linux__descriptor.bin", "cougar-point", 0x128, Clear),
    ("coreboot__google_butterfly_descriptor.bin", "cougar-point", 0x128, Clear),
    ("coreboot__google_link_descriptor.bin", "cougar-point", 0x128, Clear),
    ("coreboot__samsung_lumpy_descriptor.bin", "cougar-point", 0x128, Clear),
    ("heads__optiplex_9010_ifd.bin", "cougar-point", 0x128, Set),
    ("heads__optiplex_9010_ifd_t16650.bin", "cougar-point", 0x128, Set),
    ("heads__xx30_ifd.bin", "cougar-point", 0x128, Set),
    ("hexumee__descriptor.bin", "cougar-point", 0x128, Clear),
    ("john-sb312__t420_stock_8MB_flashregion_0_flashdescriptor.bin", "cougar-point", 0x128, Clear),
    ("platform-sys__tests_me8.ifd", "cougar-point", 0x128, Clear),
    ("thegamershol__descriptor.bin", "cougar-point", 0x128, Clear),
    ("472c14_Dasharo__asrock_spc741d8_descriptor.bin", "emmitsburg", 0, Refuse),
    ("tianocore__EaglestreamOpenBoardBinPkg_Ifwi_ArcherCityRvp_FlashDescriptor.bin", "emmitsburg", 0, Refuse),
    ("Dasharo__protectli_vault_glk_descriptor.bin", "gemini-lake", 0, Refuse),
    ("df5762_StarLabsLtd__starlabs_lite_glkr_descriptor.bin", "gemini-lake", 0, Refuse),
    ("BrianZasuwik__descriptor.bin", "ibex-peak", 0x128, Clear),
    ("dani-77__ifd.bin", "ibex-peak", 0x128, Clear),
    ("john-sb312__x201_descriptor.bin", "ibex-peak", 0x128, Clear),
    ("JaGoLi__ich9fdgbe_8m.bin", "ich9", 0x100, Set),
    ("JaGoLi__lenovo_x200_descriptor.bin", "ich9", 0x100, Set),
    ("john-sb312__t400_descriptor_16MB.bin", "ich9", 0x100, Set),
    ("m4rc0linux__flashregion_0_flashdescriptor.bin", "ich9", 0x100, Set),
    ("m4rc0linux__ich9fdgbe_8m.bin", "ich9", 0x100, Set),
    ("75e4dc_Dasharo__protectli_vault_jsl_V1210_descriptor.bin", "jasper-lake", 0x16a, Clear),
    ("Dasharo__protectli_vault_jsl_V1210_descriptor.bin", "jasper-lake", 0x16a, Clear),
    ("Dasharo__protectli_vault_jsl_V1410_descriptor.bin", "jasper-lake", 0x16a, Clear),
    ("f1e629_Dasharo__protectli_vault_jsl_V1210_descriptor.bin", "jasper-lake", 0x16a, Clear),
    ("tianocore__WhitleyOpenBoardBinPkg_Ifwi_Aowanda_FlashDescriptor.bin", "lewisburg", 0x1d6, Clear),
    ("tianocore__WhitleyOpenBoardBinPkg_Ifwi_DeltaLake_FlashDescriptor.bin", "lewisburg", 0x1d6, Clear),
    ("tianocore__WhitleyOpenBoardBinPkg_Ifwi_JunctionCity_FlashDescriptor.bin", "lewisburg", 0x1d6, Clear),
    ("debianita22__ifd.bin", "lynx-point", 0x128, Clear),
    ("heads__w541_ifd.bin", "lynx-point", 0x128, Set),
    ("rickmark__Firmware_bad_regions_flashregion_0_flashdescriptor.bin", "lynx-point", 0x128, Clear),
    ("suisuss__ifd.bin", "lynx-point", 0x128, Clear),
    ("sxtq__ifd.bin", "lynx-point", 0x128, Clear),
    ("Dasharo__novacustom_nuc_box_ifd.bin", "meteor-lake", 0x21e, Clear),
    ("Dasharo__novacustom_v5x0tnx_descriptor.bin", "meteor-lake", 0x21e, Clear),
    ("Dasharo__novacustom_v5x0tu_descriptor.bin", "meteor-lake", 0x21e, Clear),
    ("dbc439_Dasharo__novacustom_nuc_box_ifd.bin", "meteor-lake", 0x21e, Clear),
    ("Dasharo__lenovo_m900_tiny_descriptor.bin", "sunrise-point-h", 0x102, Clear),
    ("rickmark__Thor_good_flashregion_0_flashdescriptor.bin", "sunrise-point-h", 0x102, Clear),
    ("AlguienSasak__config_ifd_x280_ifd_16", "sunrise-point-lp", 0x102, Set),
    ("StarLabsLtd__starlabs_starbook_kbl_flashdescriptor.bin", "sunrise-point-lp", 0x102, Clear),
    ("harrykipper__blobs_descriptor.bin", "sunrise-point-lp", 0x102, Clear),
    ("Dasharo__novacustom_ns5x_tgl_descriptor.bin", "tiger-point-lp", 0x17e, Clear),
    ("Dasharo__novacustom_nv4x_tgl_descriptor.bin", "tiger-point-lp", 0x17e, Clear),
];

/// Descriptors whose regions contradict each other: read, but never written.
const OVERLAPPING: [&str; 2] = ["Dasharo__novacustom_nuc_box_ifd.bin", "hexumee__descriptor.bin"];

/// An ME image that runs on the family.
fn fitting(word: &str) -> (Layout, u16, u16) {
    match word {
        "ich9" => (One, 4, 1),
        "ibex-peak" => (Two, 6, 2),
        "cougar-point" => (Two, 8, 1),
        "lynx-point" => (Two, 9, 1),
        "bay-trail" => (Two, 2, 0),
        "sunrise-point-lp" | "sunrise-point-h" => (Three, 11, 8),
        "lewisburg" => (Three, 4, 2),
        "cannon-point-lp" => (Ifwi, 14, 0),
        "jasper-lake" => (Ifwi, 13, 50),
        "tiger-point-lp" => (Ifwi, 15, 0),
        "alder-point-p" | "alder-point-n" | "alder-point-s" => (Ifwi, 16, 1),
        "meteor-lake" => (Ifwi, 18, 0),
        _ => (Ifwi, 6, 0),
    }
}

struct Corpus {
    descriptors: Vec<(String, Vec<u8>)>,
}

fn corpus() -> Option<Corpus> {
    let Some(root) = env::var_os("OOB_CORPUS") else {
        // Straight to the descriptor: the test runner captures what the print macros write.
        let _ = writeln!(
            std::io::stderr(),
            "skipped: mecheck strap tests on real descriptors: OOB_CORPUS is not set"
        );
        return None;
    };
    let root = PathBuf::from(root).join("firmware");
    let table = fs::read_to_string(root.join("images.tsv"))
        .expect("OOB_CORPUS is set but has no firmware/images.tsv");
    let files = table.lines().skip(1).filter_map(|line| {
        let columns: Vec<&str> = line.split('\t').collect();
        (columns[5] == "descriptor").then(|| columns[0].to_owned())
    });
    let descriptors = files.map(|file| {
        let image = fs::read(root.join(&file)).expect("the table names a missing descriptor");
        (file.rsplit('/').next().unwrap().to_owned(), image)
    });
    Some(Corpus { descriptors: descriptors.collect() })
}

impl Corpus {
    fn get(&self, name: &str) -> &[u8] {
        let found = self.descriptors.iter().find(|(file, _)| file == name);
        &found.unwrap_or_else(|| panic!("the corpus lacks {name}")).1
    }
}

/// The descriptor with a fitting ME image behind it, as large as its regions say. None without an ME region.
fn composed(descriptor: &[u8], word: &str) -> Option<Vec<u8>> {
    let parsed = inspect(descriptor).unwrap().descriptor;
    let mut image = vec![0xff; parsed.flash_end()];
    let own = parsed.region("descriptor").unwrap().limit + 1;
    put(&mut image, 0, &descriptor[..own.min(descriptor.len())]);
    let (layout, major, minor) = fitting(word);
    put(&mut image, parsed.region("me")?.base, &me(layout, major, minor));
    Some(image)
}

#[test]
fn every_real_descriptor_reads_as_the_table_says() {
    let Some(corpus) = corpus() else { return };
    for (name, word, byte, state) in TABLE {
        let inspection = inspect(corpus.get(name)).unwrap();
        let (descriptor, strap) = (&inspection.descriptor, &inspection.strap);
        assert_eq!(descriptor.family.word(), *word, "{name}: {:?}", descriptor.evidence);
        let read = match strap.state {
            StrapState::Set => Set,
            StrapState::Clear => Clear,
            StrapState::Unknown => Refuse,
        };
        assert_eq!(read, *state, "{name}: {:?}", strap.why);
        assert_eq!(strap.straps.first().map_or(0, |strap| strap.byte().0), *byte, "{name}");
        assert_eq!(strap.misplaced, [], "{name}");
        assert_eq!(
            OVERLAPPING.contains(name),
            descriptor
                .warnings
                .iter()
                .any(|warning| matches!(warning, DescriptorWarning::RegionsOverlap { .. })),
            "{name}: {:?}",
            descriptor.warnings
        );
        assert!(matches!(inspection.soft_disable, SoftDisable::Refused(_)), "{name}: no ME image, no write");
    }
    for (name, image) in &corpus.descriptors {
        if !TABLE.iter().any(|(known, ..)| known == name) {
            // A larger corpus than the table: it has to be read, and judged the same twice.
            let evidence = inspect(image).map(|inspection| inspection.descriptor.evidence);
            let _ = writeln!(std::io::stderr(), "not in the table: {name}: {:?}", evidence.unwrap().last());
        }
    }
}

#[test]
fn with_a_fitting_me_image_exactly_the_tables_bit_is_set() {
    let Some(corpus) = corpus() else { return };
    let mut written = 0;
    for (name, word, byte, state) in TABLE {
        let Some(image) = composed(corpus.get(name), word) else { continue };
        if OVERLAPPING.contains(name) {
            assert!(set_soft_disable(&image).unwrap_err().to_string().contains("overlap"), "{name}");
            continue;
        }
        match state {
            Refuse => {
                let said = set_soft_disable(&image).unwrap_err().to_string();
                assert!(said.contains("no known soft-disable strap"), "{name}: {said}");
            }
            Set => assert_eq!(set_and_check(&image), [], "{name}"),
            Clear => {
                let mask = if *byte == 0x128 { 0x80 } else { 1 };
                assert_eq!(set_and_check(&image), [(*byte, mask)], "{name}");
                written += 1;
            }
        }
    }
    assert!(written >= 45, "only {written} descriptors were written");
}

#[test]
fn revisions_that_differ_in_the_bit_are_told_apart() {
    let Some(corpus) = corpus() else { return };
    let state = |name: &str| inspect(corpus.get(name)).unwrap().strap.state;
    for (clear, set) in [
        (
            "b991a4_Dasharo__novacustom_nv4x_adl_descriptor.bin",
            "d9e89d_Dasharo__novacustom_nv4x_adl_descriptor.bin",
        ),
        ("f81be7_Dasharo__novacustom_nv4x_adl_descriptor.bin", "Dasharo__novacustom_nv4x_adl_descriptor.bin"),
        (
            "8cc21a_Dasharo__protectli_vault_adl_p_descriptor.bin",
            "d375ec_Dasharo__protectli_vault_adl_p_descriptor.bin",
        ),
        (
            "8cc21a_Dasharo__protectli_vault_adl_p_descriptor.bin",
            "Dasharo__protectli_vault_adl_p_descriptor.bin",
        ),
        ("debianita22__ifd.bin", "heads__w541_ifd.bin"),
    ] {
        assert_eq!((state(clear), state(set)), (StrapState::Clear, StrapState::Set), "{clear}, {set}");
    }
}
