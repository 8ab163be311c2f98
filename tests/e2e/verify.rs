//! `verify` alone may say `effective`, on evidence from a later boot; what looks alike does not count.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use oob_tests::{Machine, agent, code, files, image, json, scratch, skylake_capture, text};
use serde_json::Value;

const NEUTRALIZE: &str = "schema = 1\n[policy]\nname = \"opsec\"\nserial = 1\n[defaults]\naction = \"ignore\"\n\
[[rule]]\nid = \"opsec\"\nmatch = { platform = \"intel\" }\naction = \"neutralize\"\n\
neutralize = { methods = [\"soft-disable\", \"report-only\"] }\n";

const STATUS: &str = "sys/class/mei/mei0/fw_status";
const BOOT_ID: &str = "proc/sys/kernel/random/boot_id";
const CONFIG: &str = "sys/bus/pci/devices/0000:00:16.0/config";
/// HFSTS1 of an engine that runs, of one that its strap stopped, and of one that BIOS setup switched off.
const RUNS: u32 = 0x9000_0245;
const STOPPED: u32 = 0x8002_2004;
const SWITCHED_OFF: u32 = 0x8003_2004;

/// A captured Skylake machine for which an image was staged.
struct Story {
    _scratch: tempfile::TempDir,
    root: PathBuf,
    out: PathBuf,
    original: Vec<u8>,
    neutralized: Vec<u8>,
}

impl Story {
    fn staged() -> Self {
        let scratch = scratch();
        let root = skylake_capture(&scratch.path().join("skylake"));
        let out = scratch.path().join("out");
        let original = image::sunrise(2, [11, 8, 80, 3746]);
        let mut story = Self { _scratch: scratch, root, out, original, neutralized: Vec::new() };
        story.boots(1, RUNS);
        let (policy, dump) =
            (story.file("policy.toml", NEUTRALIZE.as_bytes()), story.file("dump", &story.original));
        let staged = agent([
            "apply".as_ref(),
            "--policy".as_ref(),
            policy.as_os_str(),
            "--firmware-image".as_ref(),
            dump.as_os_str(),
            "--root".as_ref(),
            story.root.as_os_str(),
            "--out".as_ref(),
            story.out.as_os_str(),
        ]);
        assert_eq!(code(&staged), Some(10), "{}\n{}", text(&staged.stdout), text(&staged.stderr));
        let found = files(&story.out).into_iter().find(|file| file.ends_with("neutralized.bin"));
        story.neutralized = fs::read(found.expect("a staged image")).unwrap();
        story
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let file = self.out.with_file_name(name);
        fs::write(&file, bytes).unwrap();
        file
    }

    fn with(&self, file: &str, bytes: impl AsRef<[u8]>) {
        let file = self.root.join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, bytes).unwrap();
    }

    fn without(&self, path: &str) {
        let path = self.root.join(path);
        if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
    }

    /// The machine was switched off and on, and its engine shows this.
    fn boots(&self, boot: u8, hfsts1: u32) {
        self.with(BOOT_ID, format!("00000000-0000-4000-8000-0000000000{boot:02}\n"));
        self.shows(hfsts1);
    }

    fn shows(&self, hfsts1: u32) {
        self.with(STATUS, format!("{hfsts1:08X}\n00000000\n00000000\n00000000\n00000000\n00000000\n"));
    }

    /// The engine's function on the PCI bus, with HFSTS1 in its configuration space.
    fn on_the_bus(&self, hfsts1: u32) {
        let mut config = [0; 256];
        config[0x40..0x44].copy_from_slice(&hfsts1.to_le_bytes());
        self.with(CONFIG, config);
        for (file, value) in [("vendor", "0x8086"), ("device", "0xa13a"), ("class", "0x078000")] {
            self.with(&format!("sys/bus/pci/devices/0000:00:16.0/{file}"), value);
        }
    }

    /// A bus on which the engine's function is not.
    fn hidden(&self) {
        self.without("sys/class/mei");
        for (file, value) in [("vendor", "0x8086"), ("device", "0xa143"), ("class", "0x060100")] {
            self.with(&format!("sys/bus/pci/devices/0000:00:1f.0/{file}"), value);
        }
    }

    /// SMBIOS type 219 as firmware recorded it at start-up.
    fn recorded(&self, hfsts1: u32) {
        let mut table = vec![219, 31, 0, 0, 1, 1, 1];
        table.extend(hfsts1.to_le_bytes());
        table.extend([0; 20]);
        table.extend(b"MEI1\0\0");
        self.with("sys/firmware/dmi/tables/DMI", table);
    }

    fn events(&self) -> usize {
        files(&self.out).iter().filter(|file| file.display().to_string().contains("/events/")).count()
    }

    fn run(&self, flash: Option<&[u8]>) -> Output {
        let mut arguments = vec!["verify".into(), "--json".into()];
        arguments.extend(["--root".into(), self.root.clone().into_os_string()]);
        arguments.extend(["--out".into(), self.out.clone().into_os_string()]);
        if let Some(bytes) = flash {
            arguments.extend(["--firmware-image".into(), self.file("reread", bytes).into_os_string()]);
        }
        agent(arguments)
    }

    /// Looks, and compares verdict, exit code, reason and whether org state changed.
    #[track_caller]
    fn verify(&self, flash: Option<&[u8]>, expected: (&str, i32, &str, bool)) -> Value {
        let before = self.events();
        let run = self.run(flash);
        let result = json(&run);
        let told = |name: &str| result[name].as_str().unwrap_or_default().to_owned();
        let changed = result["changed"] == true;
        assert_eq!(
            (told("verdict").as_str(), code(&run).unwrap(), told("reason").as_str(), changed),
            expected,
            "{result:#}"
        );
        assert_eq!((told("schema").as_str(), &result["exit_code"]), ("oob-verify/1", &expected.1.into()));
        assert_eq!(self.events() - before, usize::from(changed), "an event for each change, and no other");
        result
    }
}

fn findings(result: &Value) -> String {
    let list = result["findings"].as_array().unwrap().iter();
    list.map(|it| it["id"].as_str().unwrap()).collect::<Vec<_>>().join(" ")
}

#[test]
fn from_staged_to_effective_and_back() {
    let story = Story::staged();
    story.verify(None, ("staged", 10, "not-in-effect", false));
    // Booted again without flashing, then flashed and power-cycled.
    story.boots(2, RUNS);
    let not_flashed = story.original.clone();
    story.verify(Some(&not_flashed), ("staged", 10, "not-flashed", false));
    story.boots(3, STOPPED);
    let first = story.verify(None, ("effective", 0, "satisfied", true));
    assert_eq!(first["confidence"], "observed");
    let hfsts = &first["evidence"][0];
    assert_eq!((&hfsts["name"], &hfsts["source"]), (&"hfsts".into(), &STATUS.into()));
    assert_eq!(hfsts["value"][0], "0x80022004");
    assert!(first["event"].as_str().unwrap().starts_with("e1-"));
    // A second look is the first one but for the change.
    let mut second = story.verify(None, ("effective", 0, "satisfied", false));
    second["changed"] = true.into();
    assert_eq!(second, first);
    // A firmware version that was not known then is no update; an update undid it.
    story.boots(4, STOPPED);
    story.with("sys/class/dmi/id/bios_version", "1.3\n");
    story.verify(None, ("effective", 0, "satisfied", false));
    story.boots(5, RUNS);
    let reverted = story.verify(None, ("staged", 9, "reverted", true));
    assert_eq!(findings(&reverted), "me-reverted");
    story.verify(None, ("staged", 9, "reverted", false));
    story.verify(Some(&not_flashed), ("staged", 9, "flash-reverted", true));
    // Flashed again.
    story.boots(6, STOPPED);
    story.verify(Some(&story.neutralized.clone()), ("effective", 0, "satisfied", true));
    story.boots(7, STOPPED);
    story.with("sys/class/dmi/id/bios_version", "1.4\n");
    story.verify(None, ("effective-persistent", 0, "satisfied", true));
    story.verify(None, ("effective-persistent", 0, "satisfied", false));
}

#[test]
fn the_boot_in_which_it_was_staged_shows_nothing() {
    let story = Story::staged();
    story.shows(STOPPED);
    story.verify(None, ("staged", 10, "same-boot", false));
    let neutralized = story.neutralized.clone();
    story.verify(Some(&neutralized), ("staged", 10, "same-boot", false));
    story.shows(RUNS);
    story.verify(Some(&neutralized), ("staged", 10, "written", false));
    // And without a boot id, an engine that ran and is stopped now was reset in between.
    story.without(BOOT_ID);
    story.shows(STOPPED);
    story.verify(None, ("effective", 0, "satisfied", true));
}

#[test]
fn a_dump_of_the_flash_must_agree() {
    let story = Story::staged();
    let (original, neutralized) = (story.original.clone(), story.neutralized.clone());
    story.boots(2, RUNS);
    let ineffective = story.verify(Some(&neutralized), ("staged", 9, "ineffective", true));
    assert_eq!(findings(&ineffective), "me-ineffective");
    story.boots(3, STOPPED);
    let contradiction = story.verify(Some(&original), ("staged", 9, "contradiction", true));
    assert!(contradiction["contradictions"][0].as_str().unwrap().contains("in the flash it is clear"));
    // Nobody is told the contrary in the same boot because he gave no dump.
    story.verify(None, ("staged", 9, "contradiction", false));
    // A running machine writes its flash, so the strap counts where the hash differs.
    let mut lived_in = neutralized.clone();
    lived_in[0x7000] = 0;
    story.verify(Some(&lived_in), ("effective", 0, "satisfied", true));
    // A dump of another machine, and one that is none.
    story.verify(Some(&image::sunrise(0x0001_0002, [11, 8, 80, 1])), ("staged", 10, "flash-unusable", false));
    let unreadable = story.run(Some(&[0xff; 0x1000]));
    assert_eq!(code(&unreadable), Some(5), "{}", text(&unreadable.stdout));
    assert_eq!(json(&unreadable)["reason"], "image-unreadable");
}

/// reference/org-state.md 4.2, at process level.
#[test]
fn false_friends_are_not_effective() {
    type Change = fn(&Story);
    let cases: [(&str, Change, &str, &str, i32); 9] = [
        ("hidden by firmware", Story::hidden, "not-shown", "me-hidden", 10),
        ("only the driver's node is gone", |story| story.without("sys/class/mei"), "not-shown", "", 10),
        (
            "switched off in BIOS setup",
            |story| story.shows(SWITCHED_OFF),
            "temporarily-disabled",
            "me-temporarily-disabled",
            10,
        ),
        ("held by a jumper", |story| story.shows(0x8004_2044), "override", "me-override", 10),
        (
            "code removed only",
            |story| story.shows(0x0000_3041),
            "code-removed-only",
            "me-code-removed-only",
            10,
        ),
        ("recovery", |story| story.shows(0x0000_0042), "shutting-down", "me-shutdown-ahead", 10),
        ("asleep", |story| story.shows(u32::MAX), "not-shown", "", 10),
        (
            "hidden, and recorded as running at start-up",
            |story| {
                story.hidden();
                story.recorded(RUNS);
            },
            "not-in-effect",
            "",
            10,
        ),
        (
            "the driver and configuration space contradict each other",
            |story| {
                story.shows(STOPPED);
                story.on_the_bus(RUNS);
            },
            "contradiction",
            "",
            9,
        ),
    ];
    for (name, change, reason, finding, exit) in cases {
        let story = Story::staged();
        story.boots(2, RUNS);
        change(&story);
        let result = story.verify(None, ("staged", exit, reason, exit == 9));
        assert_eq!(findings(&result), finding, "{name}: {result:#}");
        assert!(!result["text"].as_str().unwrap().contains("is neutralized:"), "{name}: {result:#}");
    }
}

#[test]
fn what_is_neutralized_is_told_by_every_source() {
    // 00:16.0 still on the bus and no driver's node (Dasharo issue 883): configuration space tells.
    let story = Story::staged();
    story.boots(2, RUNS);
    story.without("sys/class/mei");
    story.on_the_bus(STOPPED);
    let visible = story.verify(None, ("effective", 0, "satisfied", true));
    assert_eq!(visible["evidence"][0]["source"], CONFIG);
    assert_eq!(findings(&visible), "boot-guard", "nobody says that Boot Guard is off");
    // Hidden, and recorded by firmware at start-up: inferred.
    let story = Story::staged();
    story.boots(2, RUNS);
    story.hidden();
    story.recorded(STOPPED);
    let recorded = story.verify(None, ("effective", 0, "satisfied", true));
    assert_eq!(
        (&recorded["confidence"], &recorded["evidence"][0]["source"]),
        (&"inferred".into(), &"smbios:219".into())
    );
    // Operation mode 3 counts with the strap seen in the flash, and then stays the same picture.
    let story = Story::staged();
    story.boots(2, SWITCHED_OFF);
    let by_dump = story.verify(Some(&story.neutralized.clone()), ("effective", 0, "satisfied", true));
    assert_eq!(by_dump["confidence"], "inferred", "whose dump it is, is the operator's word");
    story.verify(None, ("effective", 0, "satisfied", false));
}

fn verify(root: &Path, out: &Path) -> Output {
    agent([
        "verify".as_ref(),
        "--json".as_ref(),
        "--root".as_ref(),
        root.as_os_str(),
        "--out".as_ref(),
        out.as_os_str(),
    ])
}

#[test]
fn where_nothing_is_claimed_nothing_is_verified_or_written() {
    let scratch = scratch();
    let out = scratch.path().join("nowhere");
    let machine = skylake_capture(&scratch.path().join("skylake"));
    let run = verify(&machine, &out);
    assert_eq!((code(&run), &json(&run)["reason"]), (Some(8), &"nothing-claimed".into()));
    assert!(!out.exists(), "looking creates nothing");
    fs::write(
        machine.join("proc/cpuinfo"),
        "vendor_id : AuthenticAMD\nmodel name : AMD Ryzen 5 PRO\nflags : fpu\n",
    )
    .unwrap();
    fs::remove_dir_all(machine.join("sys/class/mei")).unwrap();
    let at = machine.join("sys/bus/pci/devices/0000:05:00.2");
    fs::create_dir_all(&at).unwrap();
    for (file, value) in
        [("vendor", "0x1022"), ("device", "0x1486"), ("class", "0x108000"), ("fused_part", "1")]
    {
        fs::write(at.join(file), value).unwrap();
    }
    let run = verify(&machine, &out);
    let result = json(&run);
    assert_eq!((code(&run), &result["verdict"]), (Some(8), &"not-neutralizable".into()), "{result:#}");
    assert!(result["findings"][0]["text"].as_str().unwrap().contains("Fused (PSB): yes"), "{result:#}");
}

#[test]
fn amt_that_is_ours_is_compared_by_its_realm_and_not_touched() {
    let scratch = scratch();
    let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &[]);
    let (policy, out) =
        (oob_tests::workspace().join("packaging/examples/use.toml"), scratch.path().join("out"));
    let applied = agent([
        "apply".as_ref(),
        "--policy".as_ref(),
        policy.as_os_str(),
        "--root".as_ref(),
        machine.dir.as_os_str(),
        "--out".as_ref(),
        out.as_os_str(),
    ]);
    assert_eq!(code(&applied), Some(0), "{}\n{}", text(&applied.stdout), text(&applied.stderr));
    let calls = machine.mutating_calls();
    let run = verify(&machine.dir, &out);
    let result = json(&run);
    assert_eq!((code(&run), &result["amt"]["reason"]), (Some(0), &"as-claimed".into()), "{result:#}");
    assert_eq!((&result["verdict"], &result["changed"]), (&"not-claimed".into(), &false.into()));
    assert_eq!(machine.mutating_calls(), calls, "verify touched the device");
}

#[test]
fn people_are_told_the_verdict_first() {
    let story = Story::staged();
    story.boots(2, STOPPED);
    let run = agent([
        "verify".as_ref(),
        "--root".as_ref(),
        story.root.as_os_str(),
        "--out".as_ref(),
        story.out.as_os_str(),
    ]);
    let told = text(&run.stdout);
    assert_eq!(code(&run), Some(0), "{told}");
    let second = told.lines().nth(1).unwrap();
    assert!(second.contains("verdict") && second.contains("effective (observed)"), "{told}");
    assert!(told.contains("for hfsts 0x80022004"), "{told}");
    assert!(told.contains("a real machine: this root is a capture"), "{told}");
}
