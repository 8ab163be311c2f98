//! `neutralize` stages an image for one platform and says why for every other; it never flashes.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use oob_tests::{Machine, agent, code, files, image, json, scratch, skylake_capture, text};

const POLICY: &str = "schema = 1\n[policy]\nname = \"opsec\"\nserial = 1\n[defaults]\naction = \"ignore\"\n\
[[rule]]\nid = \"opsec\"\nmatch = { platform = \"intel\" }\naction = \"neutralize\"\n\
neutralize = { methods = [\"clean+soft-disable\", \"soft-disable\", \"lockdown\", \"report-only\"] }\n";

fn neutralize(root: &Path, scratch: &Path, image: Option<&[u8]>) -> Output {
    let policy = scratch.join("policy.toml");
    fs::write(&policy, POLICY).unwrap();
    let mut arguments = vec!["apply".to_owned(), "--json".into()];
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
    let scratch = scratch();
    let machine = skylake_capture(&scratch.path().join("skylake"));
    let original = image::sunrise(2, [11, 8, 80, 3746]);
    let first = neutralize(&machine, scratch.path(), Some(&original));
    assert_eq!(code(&first), Some(10), "{}\n{}", text(&first.stdout), text(&first.stderr));
    let result = json(&first);
    assert_eq!((&result["changed"], &result["outcomes"][0]["status"]), (&true.into(), &"done".into()));

    let staged = files(&scratch.path().join("out"));
    let find = |name: &str| {
        staged.iter().find(|file| file.ends_with(name)).unwrap_or_else(|| panic!("no {name} in {staged:?}"))
    };
    let neutralized = fs::read(find("neutralized.bin")).unwrap();
    assert_eq!(fs::read(find("original.bin")).unwrap(), original);
    let differing: Vec<usize> = (0..original.len()).filter(|at| original[*at] != neutralized[*at]).collect();
    assert_eq!(differing, [0x102], "only the strap's byte differs");
    assert_eq!(neutralized[0x102], original[0x102] | 1);
    // Every region that a script names stands in the layout, and covers what was changed.
    let layout = fs::read_to_string(find("flash.layout")).unwrap();
    assert!(layout.contains("00000000:00000fff fd\n"), "{layout}");
    assert!(fs::read_to_string(find("flash.sh")).unwrap().contains(" -i fd "));
    for script in ["flash.sh", "rollback.sh"] {
        let checked = Command::new("sh").arg("-n").arg(find(script)).output().unwrap();
        assert!(checked.status.success(), "{script}: {}", text(&checked.stderr));
    }
    // Deterministic, and a second run stages nothing new.
    let before: Vec<_> = staged
        .iter()
        .filter(|file| file.display().to_string().contains("staging"))
        .map(|file| fs::read(file).unwrap())
        .collect();
    let second = neutralize(&machine, scratch.path(), Some(&original));
    assert_eq!(code(&second), Some(10), "{}", text(&second.stderr));
    assert_eq!(
        (&json(&second)["changed"], &json(&second)["outcomes"][0]["status"]),
        (&false.into(), &"already_so".into())
    );
    let after: Vec<_> = files(&scratch.path().join("out"))
        .into_iter()
        .filter(|file| file.display().to_string().contains("staging"))
        .map(|file| fs::read(file).unwrap())
        .collect();
    assert_eq!(before, after);
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
    let set = neutralize(&machine, scratch.path(), Some(&done));
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
    let quiet = neutralize(&machine, scratch.path(), Some(&done));
    assert_eq!(code(&quiet), Some(0), "{}\n{}", text(&quiet.stdout), text(&quiet.stderr));
    assert!(text(&quiet.stdout).contains("detected"), "never more than detected: {}", text(&quiet.stdout));
    assert!(!files(&scratch.path().join("out")).iter().any(|file| file.ends_with("neutralized.bin")));
}

#[test]
fn an_image_of_another_generation_than_the_machine_is_not_staged() {
    let scratch = scratch();
    let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &[]);
    let run = neutralize(&machine.dir, scratch.path(), Some(&image::sunrise(2, [11, 8, 80, 3746])));
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
