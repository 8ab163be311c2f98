//! `neutralize` stages an image for one platform and says why for every other; it never flashes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use oob_tests::{Machine, agent, code, files, image, installed, json, scratch, skylake_capture, text};

const LADDER: &str = "methods = [\"clean+soft-disable\", \"soft-disable\", \"lockdown\", \"report-only\"]";

/// Neutralizes by the whole ladder.
fn neutralize(root: &Path, scratch: &Path, image: Option<&[u8]>) -> Output {
    run("apply", LADDER, root, scratch, image, true)
}

/// `apply` or `plan` with a rule for every machine that neutralizes by these settings.
fn run(
    verb: &str,
    settings: &str,
    root: &Path,
    scratch: &Path,
    image: Option<&[u8]>,
    wants_json: bool,
) -> Output {
    let policy = scratch.join("policy.toml");
    let text = format!(
        "schema = 1\n[policy]\nname = \"opsec\"\nserial = 1\n[defaults]\naction = \"ignore\"\n[[rule]]\nid = \"opsec\"\n\
         match = {{ vendor = \"*\" }}\naction = \"neutralize\"\nneutralize = {{ {settings} }}\n"
    );
    fs::write(&policy, text).unwrap();
    let mut arguments = vec![verb.to_owned()];
    if wants_json {
        arguments.push("--json".to_owned());
    }
    let mut option =
        |name: &str, value: &Path| arguments.extend([name.to_owned(), value.to_str().unwrap().to_owned()]);
    option("--root", root);
    option("--policy", &policy);
    option("--out", &scratch.join("out"));
    if let Some(image) = image {
        let file = scratch.join("flash.bin");
        fs::write(&file, image).unwrap();
        option("--firmware-image", &file);
    }
    agent(arguments)
}

#[test]
fn stages_skylake_and_says_flashing_is_needed() {
    const ME: std::ops::Range<usize> = 0x1000..0x4000;
    for (methods, step, regions) in [
        (LADDER, "neutralize.stage-clean", " -i fd -i me "),
        ("methods = [\"soft-disable\"]", "neutralize.stage-soft-disable", " -i fd "),
    ] {
        let scratch = scratch();
        let machine = skylake_capture(&scratch.path().join("skylake"));
        let original = image::sunrise(2, [11, 8, 80, 3746]);
        let apply = || run("apply", methods, &machine, scratch.path(), Some(&original), true);
        let first = apply();
        assert_eq!(code(&first), Some(10), "{}\n{}", text(&first.stdout), text(&first.stderr));
        let outcome = &json(&first)["outcomes"][0];
        assert_eq!((&outcome["step"], &outcome["status"]), (&step.into(), &"done".into()));
        assert_eq!(json(&first)["changed"], true);

        let kept = files(&scratch.path().join("out"));
        let find = |name: &str| {
            kept.iter().find(|file| file.ends_with(name)).unwrap_or_else(|| panic!("no {name} in {kept:?}"))
        };
        let neutralized = fs::read(find("neutralized.bin")).unwrap();
        assert_eq!(fs::read(find("original.bin")).unwrap(), original);
        assert_eq!(neutralized[0x102], original[0x102] | 1);
        let differing: Vec<usize> =
            (0..original.len()).filter(|at| original[*at] != neutralized[*at]).collect();
        let in_me = differing.iter().filter(|at| ME.contains(at)).count();
        assert_eq!(differing.len(), in_me + 1, "outside the ME region only the strap's byte differs");
        assert_eq!(in_me > 0, methods == LADDER);
        // The code partition is what its maker signed, and the other one is gone.
        assert_eq!(neutralized[image::MANIFEST..0x1c00], original[image::MANIFEST..0x1c00]);
        assert_eq!(neutralized[0x2000..0x2400].iter().all(|byte| *byte == 0xff), methods == LADDER);
        check_scripts(find, regions);

        // Deterministic, and a second run stages nothing new.
        let staging = || -> Vec<_> {
            let all = files(&scratch.path().join("out")).into_iter();
            all.filter(|file| file.display().to_string().contains("staging"))
                .map(|file| fs::read(file).unwrap())
                .collect()
        };
        let before = staging();
        let second = apply();
        assert_eq!(code(&second), Some(10), "{}", text(&second.stderr));
        assert_eq!(
            (&json(&second)["changed"], &json(&second)["outcomes"][0]["status"]),
            (&false.into(), &"already_so".into())
        );
        assert_eq!(before, staging());

        // What was flashed and read again has nothing left to change.
        let again = run("apply", methods, &machine, scratch.path(), Some(&neutralized), true);
        let outcome = &json(&again)["outcomes"][0];
        assert_eq!((&outcome["status"], &outcome["cause"]), (&"already_so".into(), &"strap-set".into()));
        assert_eq!((code(&again), before), (Some(10), staging()));
    }
}

/// Every region that a script names stands in the layout, and covers what was changed.
fn check_scripts<'a>(find: impl Fn(&str) -> &'a PathBuf, regions: &str) {
    let layout = fs::read_to_string(find("flash.layout")).unwrap();
    assert!(
        layout.contains("00000000:00000fff fd\n") && layout.contains("00001000:00003fff me\n"),
        "{layout}"
    );
    for script in ["flash.sh", "rollback.sh"] {
        let text_of = fs::read_to_string(find(script)).unwrap();
        assert!(text_of.contains(regions), "{script} writes other regions than{regions}: {text_of}");
        let checked = Command::new("sh").arg("-n").arg(find(script)).output().unwrap();
        assert!(checked.status.success(), "{script}: {}", text(&checked.stderr));
    }
}

#[test]
fn everything_else_is_reported_with_its_reason() {
    for (name, image, why) in [
        ("me-12", Some(image::sunrise(2, [12, 0, 1, 1])), "ME 12"),
        ("odd-strap", Some(image::sunrise(0x1234_5678, [11, 8, 80, 3746])), "stock pattern"),
        ("another-dump", Some(image::sunrise(2, [11, 8, 80, 1])), "dump this machine's flash anew"),
        ("no-image", None, "firmware-image"),
    ] {
        let scratch = scratch();
        let machine = skylake_capture(&scratch.path().join("skylake"));
        let run = neutralize(&machine, scratch.path(), image.as_deref());
        assert_eq!(code(&run), Some(8), "{name}: {}\n{}", text(&run.stdout), text(&run.stderr));
        let result = json(&run);
        assert_eq!(result["changed"], false, "{name}");
        assert!(result.to_string().contains(why), "{name}: no `{why}` in {result:#}");
        assert!(
            !files(&scratch.path().join("out")).iter().any(|file| file.ends_with("neutralized.bin")),
            "{name}"
        );
    }
}

#[test]
fn a_machine_that_is_soft_disabled_has_nothing_staged() {
    let scratch = scratch();
    let machine = skylake_capture(&scratch.path().join("skylake"));
    // The flash was written: the next dump has the strap set.
    let done = image::sunrise(0x0001_0002, [11, 8, 80, 3746]);
    let set = run("apply", "methods = [\"soft-disable\"]", &machine, scratch.path(), Some(&done), true);
    assert_eq!(code(&set), Some(10), "{}\n{}", text(&set.stdout), text(&set.stderr));
    assert_eq!(
        (&json(&set)["changed"], &json(&set)["outcomes"][0]["status"]),
        (&false.into(), &"already_so".into())
    );
    // And after the power cycle the engine says so itself: working state 4, operation mode 2.
    fs::write(
        machine.join("sys/class/mei/mei0/fw_status"),
        "00020184\n00000000\n00000000\n00000000\n00000000\n00000000\n",
    )
    .unwrap();
    let quiet = run("apply", "methods = [\"soft-disable\"]", &machine, scratch.path(), Some(&done), true);
    assert_eq!(code(&quiet), Some(0), "{}\n{}", text(&quiet.stdout), text(&quiet.stderr));
    assert!(text(&quiet.stdout).contains("detected"), "never more than detected: {}", text(&quiet.stdout));
    assert!(!files(&scratch.path().join("out")).iter().any(|file| file.ends_with("neutralized.bin")));
}

#[test]
fn an_image_of_another_generation_than_the_machine_is_not_staged() {
    let scratch = scratch();
    let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &[]);
    let image = image::sunrise(2, [11, 8, 80, 3746]);
    let methods = "methods = [\"clean+soft-disable\", \"soft-disable\", \"report-only\"]";
    let run = run("apply", methods, &machine.dir, scratch.path(), Some(&image), true);
    assert_eq!(code(&run), Some(8), "{}\n{}", text(&run.stdout), text(&run.stderr));
    assert!(text(&run.stdout).contains("this machine runs ME 16"), "{}", text(&run.stdout));
    assert!(!files(&scratch.path().join("out")).iter().any(|file| file.ends_with("neutralized.bin")));
    assert_eq!(machine.mutating_calls(), 0, "neutralize touched the device");
}

#[test]
fn no_flash_image_is_exit_5_and_nothing_is_staged() {
    let scratch = scratch();
    let machine = skylake_capture(&scratch.path().join("skylake"));
    let whole = image::sunrise(2, [11, 8, 80, 3746]);
    for (name, image) in
        [("all FF", vec![0xff; 0x1000]), ("empty", Vec::new()), ("cut", whole[..0x30].to_vec())]
    {
        let run = neutralize(&machine, scratch.path(), Some(&image));
        assert_eq!(code(&run), Some(5), "{name}: {}\n{}", text(&run.stdout), text(&run.stderr));
        assert!(
            text(&run.stderr).contains("offset") || text(&run.stdout).contains("offset"),
            "{name}: no offset named"
        );
        assert!(
            !files(&scratch.path().join("out")).iter().any(|file| file.ends_with("neutralized.bin")),
            "{name}"
        );
    }
}

/// A capture of the same machine with its flash chip.
fn with_chip(dir: &Path, chip: &[u8]) -> PathBuf {
    let machine = skylake_capture(dir);
    fs::create_dir_all(machine.join("dev")).unwrap();
    fs::write(machine.join("dev/flash.img"), chip).unwrap();
    machine
}

fn staged(scratch: &Path) -> bool {
    files(&scratch.join("out")).iter().any(|file| file.ends_with("neutralized.bin"))
}

#[test]
fn the_chip_is_read_where_policy_permits_and_what_it_holds_is_staged() {
    if !installed("flashrom", "reading an emulated flash chip") {
        return;
    }
    let scratch = scratch();
    let chip = image::sunrise(2, [11, 8, 80, 3746]);
    let machine = with_chip(&scratch.path().join("skylake"), &chip);
    let settings = format!("{LADDER}, read_flash = true");
    let first = run("apply", &settings, &machine, scratch.path(), None, true);
    assert_eq!(code(&first), Some(10), "{}\n{}", text(&first.stdout), text(&first.stderr));
    let outcome = &json(&first)["outcomes"][0];
    assert_eq!(outcome["evidence"]["image"], "this machine's flash chip, read twice", "{outcome:#}");
    let progress = text(&first.stderr);
    assert!(
        progress.contains("[1/2] firmware: reading the flash chip") && progress.contains("[2/2]"),
        "{progress}"
    );
    let kept = files(&scratch.path().join("out"));
    let original = kept.iter().find(|file| file.ends_with("original.bin")).unwrap();
    assert_eq!(fs::read(original).unwrap(), chip);
    assert_eq!(fs::read(machine.join("dev/flash.img")).unwrap(), chip, "the chip was only read");
    assert!(!kept.iter().any(|file| file.to_string_lossy().contains("/readings/")), "{kept:?}");
    let second = run("apply", &settings, &machine, scratch.path(), None, true);
    assert_eq!((code(&second), &json(&second)["changed"]), (Some(10), &false.into()));

    // An image that the operator names is the one that counts.
    fs::write(machine.join("dev/flash.img"), [0xff; 0x8000]).unwrap();
    let given = run("apply", &settings, &machine, scratch.path(), Some(&chip), true);
    assert_eq!(json(&given)["outcomes"][0]["evidence"]["image"], "--firmware-image");
    // And a chip that holds no image is a reason, not an image.
    let blank = run("apply", &settings, &machine, scratch.path(), None, true);
    assert_eq!(code(&blank), Some(8), "{}", text(&blank.stderr));
    assert!(
        json(&blank).to_string().contains("what the chip holds is no flash image"),
        "{}",
        text(&blank.stdout)
    );
}

#[test]
fn a_chip_that_cannot_be_read_is_told_by_its_reason_in_every_form() {
    let scratch = scratch();
    let machine = skylake_capture(&scratch.path().join("skylake"));
    let settings = format!("{LADDER}, read_flash = true");
    let why = "unknown(capture): it has no dev/flash.img";
    for wants_json in [true, false] {
        let run = run("apply", &settings, &machine, scratch.path(), None, wants_json);
        assert_eq!(code(&run), Some(8), "{}\n{}", text(&run.stdout), text(&run.stderr));
        assert!(text(&run.stdout).contains(why), "{}", text(&run.stdout));
    }
    let page = files(&scratch.path().join("out"))
        .into_iter()
        .find(|file| file.extension().is_some_and(|it| it == "html"));
    assert!(fs::read_to_string(page.unwrap()).unwrap().contains(why));
    assert!(!staged(scratch.path()));
}

#[test]
fn a_plan_says_that_it_would_read_and_reads_nothing() {
    let scratch = scratch();
    let machine = with_chip(&scratch.path().join("skylake"), b"no chip");
    let settings = format!("{LADDER}, read_flash = true");
    let plan = run("plan", &settings, &machine, scratch.path(), None, true);
    assert_eq!(code(&plan), Some(0), "{}\n{}", text(&plan.stdout), text(&plan.stderr));
    let plan = json(&plan);
    assert_eq!((&plan["schema"], &plan["action"]), (&"oob-plan/1".into(), &"neutralize".into()));
    assert_eq!(plan["steps"][0]["id"], "neutralize.read-flash", "{plan:#}");
    assert_eq!(plan["steps"][0]["reversibility"], "read-only");
    let told = run("plan", &settings, &machine, scratch.path(), None, false);
    assert!(text(&told.stdout).contains("the flash chip is read first"), "{}", text(&told.stdout));
    assert!(!scratch.path().join("out").exists());
}

#[test]
fn a_result_that_is_not_pinned_is_not_staged() {
    let scratch = scratch();
    let machine = skylake_capture(&scratch.path().join("skylake"));
    let original = image::sunrise(2, [11, 8, 80, 3746]);
    let free = neutralize(&machine, scratch.path(), Some(&original));
    let result = json(&free)["outcomes"][0]["evidence"]["result_sha256"].as_str().unwrap().to_owned();
    fs::remove_dir_all(scratch.path().join("out")).unwrap();
    let pinned = |pins: &str| {
        let settings = format!("{LADDER}, result_sha256 = [{pins}]");
        run("apply", &settings, &machine, scratch.path(), Some(&original), true)
    };
    let other = "0f".repeat(32);
    let wrong = pinned(&format!("\"{other}\""));
    assert_eq!(code(&wrong), Some(8), "{}\n{}", text(&wrong.stdout), text(&wrong.stderr));
    assert_eq!(
        (&json(&wrong)["reason"], &json(&wrong)["changed"]),
        (&"result-not-pinned".into(), &false.into())
    );
    assert!(
        json(&wrong)["outcomes"][0]["text"].as_str().unwrap().contains(&result),
        "{}",
        text(&wrong.stdout)
    );
    assert!(!staged(scratch.path()));
    fs::remove_dir_all(scratch.path().join("out")).unwrap();
    let right = pinned(&format!("\"{other}\", \"{}\"", result.to_uppercase()));
    assert_eq!(code(&right), Some(10), "{}\n{}", text(&right.stdout), text(&right.stderr));
    assert!(staged(scratch.path()));
}

/// The image with what Boot Guard wants in its BIOS region: a table at its end that leads to a startup module and two
/// manifests (Intel's FIT BIOS specification).
pub(crate) fn with_boot_guard(mut image: Vec<u8>) -> Vec<u8> {
    let size = image.len() as u64;
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    let address = |at: usize| ((1_u64 << 32) - size + at as u64).to_le_bytes();
    put(0x7fc0, &address(0x7000));
    put(0x7000, b"_FIT_   \x04\0\0\0\0\x01\0\0");
    for (entry, kind, at) in [(0x7010, 0x02, 0x6000), (0x7020, 0x0b, 0x6800), (0x7030, 0x0c, 0x6900)] {
        put(entry, &address(at));
        put(entry + 8, &[0, 0, 0, 0, 0, 1, kind, 0]);
    }
    put(0x6000, &[0; 0x80]);
    for (at, word) in [(0, 2_u32), (4, 0x20), (0x10, 0x8086), (0x18, 0x40)] {
        put(0x6000 + at, &word.to_le_bytes());
    }
    put(0x6800, b"__KEYM__");
    put(0x6900, b"__ACBP__");
    image
}

#[test]
fn a_fallback_is_never_silent() {
    let scratch = scratch();
    let machine = skylake_capture(&scratch.path().join("skylake"));
    let original = with_boot_guard(image::sunrise(2, [11, 8, 80, 3746]));
    for wants_json in [true, false] {
        let run = run("apply", LADDER, &machine, scratch.path(), Some(&original), wants_json);
        assert_eq!(code(&run), Some(10), "{}", text(&run.stderr));
        let told = text(&run.stdout);
        assert!(told.matches("clean+soft-disable: ").count() >= 2, "as outcome and as finding: {told}");
        assert!(told.contains("accept_boot_guard"), "{told}");
        if wants_json {
            let result = json(&run);
            let (step, outcome) = (&result["plan"]["steps"][0], &result["outcomes"][0]);
            assert_eq!(step["what"]["method"], "soft-disable");
            assert_eq!(step["what"]["skipped"], outcome["evidence"]["skipped"]);
            assert!(step["reason"].as_str().unwrap().contains("skipped before: clean+soft-disable: "));
            let ids: Vec<_> = result["findings"].as_array().unwrap().iter().map(|it| &it["id"]).collect();
            assert!(ids.contains(&&"neutralize-fallback".into()), "{ids:?}");
        }
    }
    let manifest =
        files(&scratch.path().join("out")).into_iter().find(|file| file.ends_with("manifest.json"));
    assert!(fs::read_to_string(manifest.unwrap()).unwrap().contains("clean+soft-disable: "));
}

#[test]
fn boot_guard_that_is_not_seen_can_be_accepted_and_what_is_seen_cannot() {
    let original = with_boot_guard(image::sunrise(2, [11, 8, 80, 3746]));
    let settings = format!("{LADDER}, accept_boot_guard = true");
    for (sixth, step) in
        [("00000000", "neutralize.stage-clean"), ("000002c0", "neutralize.stage-soft-disable")]
    {
        let scratch = scratch();
        let machine = skylake_capture(&scratch.path().join("skylake"));
        let words = format!("1e000245\n6000a306\n00000020\n00000000\n00000000\n{sixth}\n");
        fs::write(machine.join("sys/class/mei/mei0/fw_status"), words).unwrap();
        let run = run("apply", &settings, &machine, scratch.path(), Some(&original), true);
        assert_eq!(code(&run), Some(10), "{}\n{}", text(&run.stdout), text(&run.stderr));
        assert_eq!(json(&run)["outcomes"][0]["step"], step, "HFSTS6 {sixth}");
        assert_eq!(text(&run.stdout).contains("Boot Guard is enforced (HFSTS6"), sixth == "000002c0");
    }
}

#[test]
fn report_only_is_exit_8_and_looks_at_no_chip() {
    let scratch = scratch();
    let machine = with_chip(&scratch.path().join("skylake"), b"no chip");
    let run = run("apply", "methods = [\"report-only\"]", &machine, scratch.path(), None, true);
    assert_eq!(code(&run), Some(8), "{}\n{}", text(&run.stdout), text(&run.stderr));
    assert_eq!((&json(&run)["reason"], &json(&run)["changed"]), (&"report-only".into(), &false.into()));
    assert!(!staged(scratch.path()));
}

#[test]
fn an_amd_machine_is_reported_with_its_fuse_and_dash() {
    let scratch = scratch();
    let machine = with_chip(&scratch.path().join("ryzen"), &image::sunrise(2, [11, 8, 80, 3746]));
    fs::remove_dir_all(machine.join("sys/class/mei")).unwrap();
    let function = machine.join("sys/bus/pci/devices/0000:04:00.2");
    fs::create_dir_all(&function).unwrap();
    for (file, content) in
        [("vendor", "0x1022\n"), ("device", "0x15df\n"), ("class", "0x108000\n"), ("fused_part", "1\n")]
    {
        fs::write(function.join(file), content).unwrap();
    }
    let cpu =
        "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD Ryzen 5 PRO 2400GE\nflags\t\t: fpu\n\n";
    fs::write(machine.join("proc/cpuinfo"), cpu).unwrap();
    let settings = format!("{LADDER}, read_flash = true");
    let run = run("apply", &settings, &machine, scratch.path(), None, true);
    assert_eq!(code(&run), Some(8), "{}\n{}", text(&run.stdout), text(&run.stderr));
    let result = json(&run);
    let finding = result["findings"].as_array().unwrap().iter().find(|it| it["id"] == "amd-psp").unwrap();
    let said = finding["text"].as_str().unwrap();
    for words in ["not neutralizable", "Secure Boot fused: yes", "DASH: "] {
        assert!(said.contains(words), "{said}");
    }
    assert!(!text(&run.stderr).contains("reading the flash chip"), "{}", text(&run.stderr));
    assert!(!staged(scratch.path()));
}
