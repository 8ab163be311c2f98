//! `firmware inspect` says what a file is, whatever it is: exit 0 with what it holds, or 5 with the reason.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use oob_tests::{agent, code, image, json, scratch, text};
use serde_json::Value;

const FFS2: [u8; 16] =
    [0x78, 0xe5, 0x8c, 0x8c, 0x3d, 0x8a, 0x1c, 0x4f, 0x99, 0x35, 0x89, 0x61, 0x85, 0xc3, 0x2d, 0xd3];

fn inspect(file: &Path, more: &[&str]) -> Output {
    agent(["firmware", "inspect", file.to_str().unwrap()].iter().chain(more))
}

fn write(scratch: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let file = scratch.join(name);
    fs::write(&file, bytes).unwrap();
    file
}

/// The dump of `image::sunrise` with a volume in its BIOS region: one module, called `name`.
fn dump(name: &str) -> Vec<u8> {
    let mut flash = image::sunrise(2, [11, 8, 80, 3746]);
    let volume = volume(name);
    flash[0x4000..0x4000 + volume.len()].copy_from_slice(&volume);
    flash
}

fn volume(name: &str) -> Vec<u8> {
    let mut te = vec![0; 0x40];
    te[..8].copy_from_slice(&[b'V', b'Z', 0x64, 0x86, 0, 11, 0x40, 0]);
    let name: Vec<u8> = name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
    let mut sections = section(0x12, &te);
    sections.extend(section(0x15, &name));
    let size = 24 + sections.len();
    let mut file = vec![0x5a; 16];
    file.extend([0, 0, 0x07, 0, size as u8, (size >> 8) as u8, 0, 0]);
    file[16] = file.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg();
    file[17] = 0xaa;
    file[23] = !0x07;
    file.extend(sections);

    let mut volume = vec![0; 0x48];
    volume[0x10..0x20].copy_from_slice(&FFS2);
    volume[0x20..0x28].copy_from_slice(&0x1000_u64.to_le_bytes());
    volume[0x28..0x2c].copy_from_slice(b"_FVH");
    volume[0x2c..0x30].copy_from_slice(&0x0004_feff_u32.to_le_bytes());
    volume[0x30] = 0x48;
    volume[0x37] = 2;
    volume[0x38..0x40].copy_from_slice(&[1, 0, 0, 0, 0, 0x10, 0, 0]);
    let words = volume.chunks(2).map(|word| u16::from_le_bytes([word[0], word[1]]));
    let sum = words.fold(0_u16, u16::wrapping_add).wrapping_neg();
    volume[0x32..0x34].copy_from_slice(&sum.to_le_bytes());
    volume.extend(file);
    volume.resize(0x1000, 0xff);
    volume
}

fn section(kind: u8, data: &[u8]) -> Vec<u8> {
    let size = 4 + data.len();
    let mut section = vec![size as u8, (size >> 8) as u8, 0, kind];
    section.extend(data);
    section.resize(section.len().next_multiple_of(4), 0);
    section
}

#[test]
fn a_dump_is_told_to_people_and_to_programs() {
    let scratch = scratch();
    let bytes = dump("AmtWrapperDxe");
    let file = write(scratch.path(), "dump.bin", &bytes);

    let told = inspect(&file, &["--json"]);
    assert_eq!(code(&told), Some(0), "{}", text(&told.stderr));
    let value = json(&told);
    assert_eq!(value["schema"], "oob-inspection/1");
    assert_eq!((&value["kind"], &value["size"]), (&"flash-dump".into(), &bytes.len().into()));
    assert_eq!(value["descriptor"]["family"], "sunrise-point-lp");
    assert_eq!(value["strap"]["state"], "clear");
    assert_eq!(value["strap"]["straps"][0]["offset"], 0x100);
    assert_eq!(value["me"]["version"], "11.8.80.3746");
    let modules = value["uefi"]["modules"].as_array().unwrap();
    assert_eq!(modules.len(), 1);
    assert_eq!((&modules[0]["name"], &modules[0]["format"]), (&"AmtWrapperDxe".into(), &"te".into()));
    assert_eq!((&modules[0]["machine"], &modules[0]["place"]["offset"]), (&"X86_64".into(), &0x4064.into()));
    assert_eq!(value["uefi"]["related"][0]["technology"], "amt");
    assert_eq!(value["outlook"]["methods"].as_array().unwrap().len(), 3);

    let page = text(&inspect(&file, &[]).stdout);
    for part in
        ["flash-dump", "sunrise-point-lp", "11.8.80.3746", "PCHSTRP0", "AmtWrapperDxe (AMT", "possible"]
    {
        assert!(page.contains(part), "nothing about {part} in\n{page}");
    }
    assert!(!page.contains("  module"), "modules are told with -v alone:\n{page}");
    let more = text(&inspect(&file, &["-v"]).stdout);
    assert!(more.contains("AmtWrapperDxe, driver, X86_64, boot-service-driver, 64 bytes"), "{more}");
    assert_eq!(fs::read(&file).unwrap(), bytes, "the file was changed");
}

#[test]
fn what_is_no_image_is_exit_5_with_the_reason() {
    let scratch = scratch();
    let mut garbled = dump("X");
    garbled.drain(..0x40);
    for (name, bytes, kind, reason) in [
        ("update.exe", b"MZ\x90\0".to_vec(), "executable", "dump the flash chip"),
        ("update.zip", b"PK\x03\x04".to_vec(), "archive", "unpack it"),
        ("ff", vec![0xff; 0x1000], "erased", "FF only"),
        ("zero", vec![0; 0x1000], "zeroes", "zeroes only"),
        ("empty", Vec::new(), "empty", "empty file"),
        ("note.txt", b"hello".to_vec(), "unknown", "no flash descriptor"),
    ] {
        let file = write(scratch.path(), name, &bytes);
        let told = inspect(&file, &["--json"]);
        assert_eq!(code(&told), Some(5), "{name}");
        let value = json(&told);
        assert_eq!((&value["kind"], &value["exit_code"]), (&kind.into(), &5.into()), "{name}");
        assert!(value["text"].as_str().unwrap().contains(reason), "{name}: {value}");
        let stderr = text(&inspect(&file, &[]).stderr);
        assert!(stderr.contains("at offset 0x0: ") && stderr.contains(reason), "{name}: {stderr}");
    }
    // Volumes can still be found where a descriptor was cut off.
    let file = write(scratch.path(), "garbled", &garbled);
    assert_eq!(json(&inspect(&file, &["--json"]))["kind"], "uefi-volumes");
    for absent in [scratch.path().join("absent"), scratch.path().to_owned()] {
        let told = inspect(&absent, &["--json"]);
        assert_eq!(code(&told), Some(5));
        assert_eq!(json(&told)["reason"], "image-unreadable");
    }
}

#[test]
fn hostile_names_are_escaped() {
    let scratch = scratch();
    let name = "AMT\u{1b}[2J\u{202e}\r\nx";
    let file = write(scratch.path(), "hostile.bin", &dump(name));
    for arguments in [["-v"], ["--json"]] {
        let told = inspect(&file, &arguments);
        assert_eq!(code(&told), Some(0));
        let shown = text(&told.stdout);
        assert!(shown.chars().all(|it| it == '\n' || !(it.is_control() || it == '\u{202e}')), "{shown:?}");
    }
    let value = json(&inspect(&file, &["--json"]));
    assert_eq!(value["uefi"]["modules"][0]["name"], name, "the value itself is kept");
}

#[test]
fn truncated_dumps_are_told_as_far_as_they_go() {
    let scratch = scratch();
    let bytes = dump("Driver");
    for len in [0x11, 0x14, 0x20, 0x100, 0x1000, 0x1001, 0x1480, 0x4000, 0x4800, 0x7fff] {
        let file = write(scratch.path(), "cut.bin", &bytes[..len]);
        let told = inspect(&file, &["--json"]);
        assert!(matches!(code(&told), Some(0 | 5)), "length {len:#x}: {}", text(&told.stderr));
        let value = json(&told);
        assert_eq!(value["exit_code"].as_i64(), code(&told).map(i64::from));
        let possible = value["outlook"]["methods"].as_array().into_iter().flatten();
        assert!(
            possible.clone().all(|it| it["method"] == "clean" || it["possible"] == false),
            "length {len:#x}: a strap would be written in part of a dump: {value}"
        );
    }
}

/// Every real and composed image: no panic, JSON that says the same as the exit code.
#[test]
fn real_images_are_understood() {
    let Some(corpus) = std::env::var_os("OOB_CORPUS") else {
        oob_tests::skip("inspecting real firmware images: OOB_CORPUS is not set");
        return;
    };
    let corpus = PathBuf::from(corpus).join("firmware");
    let built = std::env::var_os("OOB_CORPUS_BUILT").expect("OOB_CORPUS is set, so OOB_CORPUS_BUILT must be");
    let table = fs::read_to_string(corpus.join("images.tsv")).expect("OOB_CORPUS has no firmware/images.tsv");
    let mut seen = 0;
    for line in table.lines().skip(1) {
        let columns: Vec<&str> = line.split('\t').collect();
        let (name, kind, version) = (columns[0], columns[5], columns[6]);
        let root = if kind.starts_with("full-composed") { Path::new(&built) } else { corpus.as_path() };
        let told = inspect(&root.join(name), &["--json"]);
        assert_eq!(code(&told), Some(0), "{name}: {}", text(&told.stderr));
        let value = json(&told);
        assert_eq!(value["sha256"], columns[4], "{name}");
        let expected = match kind {
            "descriptor" => "descriptor-alone",
            "me-only" => "me-region",
            _ => "flash-dump",
        };
        assert_eq!(value["kind"], expected, "{name}");
        if kind == "me-only" {
            assert_eq!(value["me"]["version"], version, "{name}");
            assert!(!value["me"]["manifests"].as_array().unwrap().is_empty(), "{name}");
            assert!(!value["me"]["partitions"].as_array().unwrap().is_empty(), "{name}");
        } else {
            assert_ne!(value["descriptor"], Value::Null, "{name}");
        }
        // What would happen was tried, so it is what `clean` and `neutralize` do.
        let best = match name {
            "full/x210.bin" | "full/link.bin" => Some("clean+soft-disable"),
            "full/ms7d25.bin" | "full/darp6.bin" => Some("soft-disable"),
            "full/glk_ifwi.bin" | "full/x201_blank.bin" => Some("report-only"),
            _ => None,
        };
        assert!(best.is_none_or(|best| value["outlook"]["best"] == best), "{name}: {}", value["outlook"]);
        assert!(!has_hyphens(&value), "{name}: a key with a hyphen");
        seen += 1;
    }
    assert!(seen >= 50, "only {seen} images in the table");
}

fn has_hyphens(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.iter().any(|(key, value)| key.contains('-') || has_hyphens(value)),
        Value::Array(items) => items.iter().any(has_hyphens),
        _ => false,
    }
}

#[test]
fn debian_ovmf_is_listed() {
    let file = Path::new("/usr/share/OVMF/OVMF_CODE.fd");
    if !file.exists() {
        oob_tests::skip("inspecting real UEFI volumes: Debian's ovmf package is not installed");
        return;
    }
    let value = json(&inspect(file, &["--json"]));
    assert!(value["uefi"]["modules"].as_array().unwrap().len() > 50);
    assert_eq!(value["uefi"]["findings"], Value::Array(Vec::new()));
    assert_eq!(value["outlook"]["best"], "report-only");
    let page = text(&inspect(file, &["-v"]).stdout);
    assert!(page.contains("DxeCore, dxe-core, X86_64"), "{page}");
}
