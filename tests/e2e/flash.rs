//! The scripts of a staging directory, run by flashrom against its own emulated chip: what is staged can be written,
//! verified and taken back.

use std::env;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use oob_tests::{
    agent, code, files, image, installed, neutralize_policy, scratch, skip, text, write_program,
};

const CLEAN: &str = "clean+soft-disable";
const SOFT: &str = "soft-disable";
/// Both scripts, and what the chip must equal afterwards.
const SCRIPTS: [(&str, &str); 2] = [("flash.sh", "neutralized.bin"), ("rollback.sh", "original.bin")];
const FIXTURE: usize = 0x8000;

fn fixture() -> Vec<u8> {
    image::sunrise(2, [11, 8, 80, 3746])
}

/// Stages `original` by one method; None where the agent says that it does not fit.
fn stage(original: &Path, method: &str, dir: &Path) -> Option<PathBuf> {
    let out = dir.join("staged");
    let policy = neutralize_policy(dir, &format!("methods = [\"{method}\"], accept_boot_guard = true"));
    let run = agent([
        "firmware".as_ref(),
        "neutralize".as_ref(),
        original.as_os_str(),
        "--out".as_ref(),
        out.as_os_str(),
        "--policy".as_ref(),
        policy.as_os_str(),
    ]);
    match code(&run) {
        Some(10) => Some(out),
        Some(8) => None,
        other => panic!("{}, {method}: exit {other:?}: {}", original.display(), text(&run.stderr)),
    }
}

/// The fixture, staged by a method that is known to fit it.
fn staged_fixture(method: &str, dir: &Path) -> PathBuf {
    let original = dir.join("flash.bin");
    fs::write(&original, fixture()).unwrap();
    stage(&original, method, dir).expect("our own image can be neutralized")
}

/// flashrom's emulated chip of `size` bytes, kept in `file`.
fn chip(file: &Path, size: usize) -> String {
    format!("dummy:emulate=VARIABLE_SIZE,size={size},image={}", file.display())
}

/// Runs a script from elsewhere, as a person may.
fn run(staged: &Path, script: &str, programmer: &str) -> Output {
    Command::new(staged.join(script))
        .current_dir("/")
        .env("FLASHROM_PROGRAMMER", programmer)
        .env_remove("FLASHROM_CHIP")
        .output()
        .expect("running a script")
}

/// Original on the chip, flashed, flashed again, rolled back: each time the chip is what it must be, to the byte.
fn there_and_back(staged: &Path, dir: &Path, name: &str) {
    let held = dir.join("chip.img");
    fs::copy(staged.join("original.bin"), &held).unwrap();
    let programmer = chip(&held, fs::metadata(&held).unwrap().len() as usize);
    for (script, expected) in SCRIPTS {
        let ran = run(staged, script, &programmer);
        let said = format!("{}{}", text(&ran.stdout), text(&ran.stderr));
        assert!(ran.status.success(), "{name}: {script}: {said}");
        assert!(said.contains("VERIFIED"), "{name}: {script} did not verify: {said}");
        assert!(same(&held, &staged.join(expected)), "{name}: after {script} the chip is not {expected}");
    }
}

/// Compares large files without two of them in a panic's text.
fn same(left: &Path, right: &Path) -> bool {
    fs::read(left).unwrap() == fs::read(right).unwrap()
}

#[test]
fn what_is_staged_is_written_verified_and_taken_back() {
    if !installed("flashrom", "writing staged images to an emulated flash chip") {
        return;
    }
    for method in [CLEAN, SOFT] {
        let scratch = scratch();
        let staged = staged_fixture(method, scratch.path());
        there_and_back(&staged, scratch.path(), method);
        // Twice is as good as once, in both directions.
        let held = scratch.path().join("chip.img");
        let programmer = chip(&held, FIXTURE);
        for (script, expected) in [SCRIPTS[0], SCRIPTS[0], SCRIPTS[1], SCRIPTS[1]] {
            let ran = run(&staged, script, &programmer);
            assert!(ran.status.success(), "{method}: {script}: {}", text(&ran.stderr));
            assert!(same(&held, &staged.join(expected)), "{method}: {script}, once more");
        }
        // The scripts leave the staging directory as it was.
        let names: Vec<_> = files(&staged).iter().map(|it| it.file_name().unwrap().to_owned()).collect();
        assert_eq!(names.len(), 7, "{names:?}");
    }
}

/// Every composed image that can be neutralized. By method, so that the two run beside each other.
fn corpus(method: &str, at_least: &[&str]) {
    let what = format!("flashing real images neutralized by {method}");
    let Some(built) = env::var_os("OOB_CORPUS_BUILT").map(PathBuf::from) else {
        skip(&format!("{what}: OOB_CORPUS_BUILT is not set"));
        return;
    };
    if !installed("flashrom", &what) {
        return;
    }
    let mut staged_images = Vec::new();
    for original in files(&built.join("full")).iter().filter(|file| file.extension().is_some()) {
        let name = original.file_name().unwrap().to_string_lossy().into_owned();
        let scratch = scratch();
        let Some(staged) = stage(original, method, scratch.path()) else { continue };
        assert!(same(original, &staged.join("original.bin")), "{name}");
        there_and_back(&staged, scratch.path(), &name);
        staged_images.push(name);
    }
    for name in at_least {
        assert!(
            staged_images.iter().any(|it| it == name),
            "{name} was not staged by {method}: {staged_images:?}"
        );
    }
}

#[test]
fn every_real_image_that_is_cleaned_is_written_and_taken_back() {
    corpus(
        CLEAN,
        &["x210.bin", "starbook_kbl.bin", "link.bin", "lumpy.bin", "fbg1701.bin", "mac_hsw_good.bin"],
    );
}

#[test]
fn every_real_image_that_is_soft_disabled_is_written_and_taken_back() {
    corpus(SOFT, &["x210.bin", "starbook_kbl.bin", "link.bin", "darp6.bin", "ms7d25.bin"]);
}

#[test]
fn another_chip_is_refused_and_untouched() {
    if !installed("flashrom", "refusing to flash another board's chip") {
        return;
    }
    let scratch = scratch();
    let staged = staged_fixture(CLEAN, scratch.path());
    let held = scratch.path().join("chip.img");
    let programmer = chip(&held, FIXTURE);
    let mut erased = fixture();
    erased[..0x1000].fill(0xff);
    for (name, content) in [
        ("another board", image::sunrise(0x82, [11, 8, 80, 3746])),
        ("a blank chip", vec![0xff; FIXTURE]),
        ("a flashing that was interrupted", erased.clone()),
    ] {
        fs::write(&held, &content).unwrap();
        let ran = run(&staged, "flash.sh", &programmer);
        assert_eq!(code(&ran), Some(1), "{name}: {}", text(&ran.stdout));
        assert!(text(&ran.stderr).contains("nothing was written"), "{name}: {}", text(&ran.stderr));
        assert!(fs::read(&held).unwrap() == content, "{name}: the chip was changed");
    }
    // What was interrupted is rolled back from wherever it stands, and can be flashed then.
    fs::write(&held, &erased).unwrap();
    for (script, expected) in [SCRIPTS[1], SCRIPTS[0]] {
        let ran = run(&staged, script, &programmer);
        assert!(ran.status.success(), "{script}: {}", text(&ran.stderr));
        assert!(same(&held, &staged.join(expected)), "{script}");
    }
}

#[test]
fn what_flashrom_refuses_is_a_failure() {
    if !installed("flashrom", "scripts whose flashrom fails") {
        return;
    }
    let scratch = scratch();
    let staged = staged_fixture(SOFT, scratch.path());
    let held = scratch.path().join("chip.img");
    for (name, size, programmer) in [
        ("a chip of another size", 2 * FIXTURE, chip(&held, 2 * FIXTURE)),
        ("no such programmer", FIXTURE, "dummy:emulate=nothing".to_owned()),
    ] {
        fs::write(&held, vec![0x5a; size]).unwrap();
        for (script, _) in SCRIPTS {
            let ran = run(&staged, script, &programmer);
            assert!(!ran.status.success(), "{name}: {script} succeeded: {}", text(&ran.stdout));
            assert!(!ran.stderr.is_empty(), "{name}: {script} said nothing");
            assert!(fs::read(&held).unwrap().iter().all(|byte| *byte == 0x5a), "{name}: {script} wrote");
        }
    }
}

/// A flashrom of our own, which notes how it is called and fails where its arguments hold `FAIL_AT`.
const FAKE: &str = "#!/bin/sh\necho \"$*\" >> \"$CALLS\"\ncase \"$*\" in *\"$FAIL_AT\"*) exit 1 ;; esac\n";

fn run_with_fake(
    staged: &Path,
    dir: &Path,
    script: &str,
    programmer: Option<&str>,
    fail_at: &str,
) -> (Output, String) {
    let fake = dir.join("flashrom");
    if !fake.exists() {
        write_program(&fake, FAKE);
    }
    let calls = dir.join("calls");
    fs::write(&calls, "").unwrap();
    let path =
        env::join_paths([dir.into()].into_iter().chain(env::split_paths(&env::var_os("PATH").unwrap())));
    let mut command = Command::new("sh");
    command.arg(script).current_dir(staged).env("PATH", path.unwrap()).env_remove("FLASHROM_CHIP");
    command.env("CALLS", &calls).env("FAIL_AT", fail_at);
    // `cd` must not look elsewhere, whatever the environment says.
    command.env("CDPATH", "/tmp:/");
    match programmer {
        Some(programmer) => command.env("FLASHROM_PROGRAMMER", programmer).env("FLASHROM_CHIP", "W25Q128.V"),
        None => command.env_remove("FLASHROM_PROGRAMMER"),
    };
    let ran = command.output().unwrap();
    (ran, fs::read_to_string(calls).unwrap())
}

/// The exact commands, and that each failure ends the script as one.
#[test]
fn scripts_call_flashrom_with_care_and_stop_where_it_fails() {
    for (method, regions) in [(CLEAN, "-i fd -i me"), (SOFT, "-i fd")] {
        let scratch = scratch();
        let staged = staged_fixture(method, scratch.path());
        let call = |script: &str, programmer, fail_at: &str| {
            run_with_fake(&staged, scratch.path(), script, programmer, fail_at)
        };
        let guard = "-i fd -v original.bin\n";
        let inside = "-p internal -l flash.layout";
        let (ran, calls) = call("flash.sh", None, "never");
        assert!(ran.status.success(), "{}", text(&ran.stderr));
        assert_eq!(
            calls,
            format!(
                "{inside} {guard}{inside} {regions} -N -w neutralized.bin\n{inside} {regions} -v neutralized.bin\n"
            )
        );
        // On a bench nothing else may change, so flashrom compares all of the chip.
        let bench = "-p ch341a_spi -c W25Q128.V -l flash.layout";
        let (ran, calls) = call("rollback.sh", Some("ch341a_spi"), "never");
        assert!(ran.status.success(), "{}", text(&ran.stderr));
        assert_eq!(calls, format!("{bench} {regions} -w original.bin\n{bench} {regions} -v original.bin\n"));

        for (script, fail_at, count) in [
            ("flash.sh", "-i fd -v", 2),
            ("flash.sh", "-w", 2),
            ("flash.sh", "-v neutralized.bin", 3),
            ("rollback.sh", "-w", 1),
            ("rollback.sh", "-v original.bin", 2),
        ] {
            // By code removal the guard's arguments are no part of the last look's.
            let expected = if method == SOFT && fail_at == "-i fd -v" { 2 } else { count };
            let (ran, calls) = call(script, None, fail_at);
            assert!(!ran.status.success(), "{method}: {script} succeeded though {fail_at} failed");
            assert_eq!(calls.lines().count(), expected, "{method}: {script}, {fail_at}: {calls}");
        }

        // A file that is not what was staged is not even tried; nor is a flashing that could not be taken back.
        for name in ["neutralized.bin", "original.bin"] {
            let before = fs::read(staged.join(name)).unwrap();
            let mut bytes = before.clone();
            bytes[0x7000] ^= 1;
            fs::write(staged.join(name), bytes).unwrap();
            for (script, writes) in SCRIPTS {
                let (ran, calls) = call(script, None, "never");
                let concerned = script == "flash.sh" || writes == name;
                assert_eq!(
                    (ran.status.success(), calls.is_empty()),
                    (!concerned, concerned),
                    "{script}, {name}"
                );
            }
            fs::write(staged.join(name), before).unwrap();
        }
    }
}

#[test]
fn scripts_are_clean_in_the_eyes_of_others() {
    let scratch = scratch();
    let staged = staged_fixture(CLEAN, scratch.path());
    let mut judges = vec![("sh", "-n")];
    if installed("shellcheck", "shellcheck on flash.sh and rollback.sh") {
        judges.push(("shellcheck", "-s sh"));
    }
    for (judge, arguments) in judges {
        for (script, _) in SCRIPTS {
            let judged =
                Command::new(judge).args(arguments.split(' ')).arg(staged.join(script)).output().unwrap();
            assert!(judged.status.success(), "{judge}: {}{}", text(&judged.stdout), text(&judged.stderr));
        }
    }
    // ASCII alone, so that no name of a machine can have come in.
    for (script, _) in SCRIPTS {
        let mut bytes = Vec::new();
        fs::File::open(staged.join(script)).unwrap().read_to_end(&mut bytes).unwrap();
        assert!(bytes.iter().all(|byte| matches!(byte, b'\n' | b' '..=b'~')), "{script}");
    }
}
