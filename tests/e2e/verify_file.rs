//! `firmware verify`: a file by itself, and against what was staged for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use oob_tests::{agent, code, image, json, scratch, text};
use serde_json::Value;

/// A byte of FTPR's manifest that its signature covers.
const SIGNED: usize = image::MANIFEST + 0x290;
const BIOS: usize = 0x4000;

fn verify(file: &Path, more: &[&str]) -> Output {
    agent(["firmware", "verify", file.to_str().unwrap()].iter().chain(more))
}

/// A directory with `dump.bin` and what was staged for it.
fn staged(scratch: &Path) -> (PathBuf, PathBuf) {
    let (dump, staging) = (scratch.join("dump.bin"), scratch.join("staging"));
    fs::write(&dump, image::sunrise(2, [11, 8, 80, 3746])).unwrap();
    let output =
        agent(["firmware", "neutralize", dump.to_str().unwrap(), "--out", staging.to_str().unwrap()]);
    assert_eq!(code(&output), Some(10), "{}", text(&output.stderr));
    (dump, staging)
}

/// What `verify --staging` says of `bytes`: exit code, reason, state.
fn compared(scratch: &Path, staging: &Path, bytes: &[u8]) -> (Option<i32>, String, Value) {
    let file = scratch.join("again.bin");
    fs::write(&file, bytes).unwrap();
    let output = verify(&file, &["--staging", staging.to_str().unwrap(), "--json"]);
    let told = json(&output);
    assert_eq!(told["exit_code"].as_i64(), code(&output).map(i64::from));
    (code(&output), told["reason"].as_str().unwrap().to_owned(), told["staged"]["state"].clone())
}

#[test]
fn a_sound_dump_holds_and_each_check_is_named() {
    let scratch = scratch();
    let (dump, _) = staged(scratch.path());
    let output = verify(&dump, &[]);
    assert_eq!(code(&output), Some(0), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    for line in
        ["holds     descriptor at 0x10", "holds     $FPT", "holds     signature of FTPR.man at 0x1458: valid"]
    {
        assert!(said.contains(line), "{line} is missing:\n{said}");
    }
    let told = json(&verify(&dump, &["--json"]));
    assert_eq!(
        (&told["schema"], &told["reason"]),
        (&"oob-image-verification/1".into(), &"image-sound".into())
    );
    assert_eq!(told["staged"], Value::Null);
}

#[test]
fn a_changed_byte_under_the_signature_is_found() {
    let scratch = scratch();
    let mut bytes = image::sunrise(2, [11, 8, 80, 3746]);
    bytes[SIGNED] ^= 1;
    let file = scratch.path().join("dump.bin");
    fs::write(&file, bytes).unwrap();
    let output = verify(&file, &[]);
    assert_eq!(code(&output), Some(5));
    assert!(
        text(&output.stdout).contains("FAILS     signature of FTPR.man at 0x1458"),
        "{}",
        text(&output.stdout)
    );
    assert!(text(&output.stderr).contains("dump the flash anew"), "{}", text(&output.stderr));
}

#[test]
fn a_dump_is_held_against_what_was_staged_region_by_region() {
    let scratch = scratch();
    let (dump, staging) = staged(scratch.path());
    let original = fs::read(dump).unwrap();
    let neutralized = fs::read(staging.join("neutralized.bin")).unwrap();
    let compared = |bytes: &[u8]| compared(scratch.path(), &staging, bytes);

    assert_eq!(compared(&neutralized), (Some(0), "as-staged".into(), "neutralized".into()));
    assert_eq!(compared(&original), (Some(9), "not-flashed".into(), "original".into()));

    // The firmware writes its variables into its own region on every start.
    let mut later = neutralized.clone();
    later[BIOS + 0x123] ^= 0xff;
    assert_eq!(compared(&later), (Some(0), "as-staged".into(), "neutralized".into()));

    let mut half = original.clone();
    half[..0x1000].copy_from_slice(&neutralized[..0x1000]);
    assert_eq!(compared(&half), (Some(9), "partly-flashed".into(), "mixed".into()));

    let mut other = neutralized.clone();
    other[0x3ff0] = 0;
    assert_eq!(compared(&other), (Some(9), "differs".into(), "other".into()));

    let file = scratch.path().join("later.bin");
    fs::write(&file, later).unwrap();
    let said = text(&verify(&file, &["--staging", staging.to_str().unwrap()]).stdout);
    assert!(said.contains("bios       neither as staged nor as before, first at 0x4123"), "{said}");
}

#[test]
fn a_staging_directory_that_was_changed_proves_nothing() {
    let scratch = scratch();
    let (dump, staging) = staged(scratch.path());
    fs::copy(&dump, staging.join("neutralized.bin")).unwrap();
    let output = verify(&dump, &["--staging", staging.to_str().unwrap()]);
    assert_eq!(code(&output), Some(5));
    assert!(text(&output.stderr).contains("the staging directory was changed"), "{}", text(&output.stderr));

    let output = verify(&dump, &["--staging", scratch.path().to_str().unwrap(), "--json"]);
    assert_eq!((code(&output), &json(&output)["reason"]), (Some(5), &"staging-unreadable".into()));
}

#[test]
fn what_is_no_dump_fails_with_its_kind() {
    let scratch = scratch();
    let file = scratch.path().join("update.bin");
    for bytes in [vec![0xff; 0x8000], b"MZ\x90\0 an updater".to_vec()] {
        fs::write(&file, bytes).unwrap();
        let output = verify(&file, &[]);
        assert_eq!(code(&output), Some(5));
        assert!(text(&output.stdout).contains("FAILS     file at 0x0: "), "{}", text(&output.stdout));
    }
    let partial = &image::sunrise(2, [11, 8, 80, 3746])[..0x6000];
    fs::write(&file, partial).unwrap();
    let output = verify(&file, &[]);
    assert_eq!(code(&output), Some(5));
    assert!(text(&output.stdout).contains("a partial dump"), "{}", text(&output.stdout));
}

#[test]
fn the_staging_manifest_tells_each_partition_and_signature_before_and_after() {
    let scratch = scratch();
    let (_, staging) = staged(scratch.path());
    let manifest: Value = serde_json::from_slice(&fs::read(staging.join("manifest.json")).unwrap()).unwrap();
    let fates: Vec<_> =
        manifest["partitions"].as_array().unwrap().iter().map(|it| (&it["name"], &it["fate"])).collect();
    assert_eq!(fates, [(&"FTPR".into(), &"unchanged".into()), (&"NFTP".into(), &"removed".into())]);
    let partition = &manifest["partitions"][1];
    assert_eq!((&partition["offset"], &partition["size"]), (&0x2000.into(), &0x400.into()));
    assert_ne!(partition["sha256"]["before"], partition["sha256"]["after"]);
    let signed = &manifest["manifests"][0];
    assert_eq!((&signed["name"], &signed["offset"]), (&"FTPR.man".into(), &image::MANIFEST.into()));
    assert_eq!(signed["before"], signed["after"]);
    assert_eq!(signed["before"]["status"], "valid");
}
