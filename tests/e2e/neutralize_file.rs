//! `firmware neutralize` as a process: what appears on disk and what does not, exit codes, JSON. Which bytes of an image
//! may change is `mecheck`'s business; that the scripts work is `flash.rs`'s.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use oob_tests::{
    agent, agent_command, code, files, image, json, neutralize_policy, program, scratch, skip, text,
};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::neutralize::with_boot_guard;

const ME: [u16; 4] = [11, 8, 80, 3746];

fn sunrise() -> Vec<u8> {
    image::sunrise(2, ME)
}

/// A directory with one image in it, and whatever the agent makes there.
struct Bench {
    dir: tempfile::TempDir,
    image: PathBuf,
}

impl Bench {
    fn new(image: &[u8]) -> Self {
        let dir = scratch();
        let file = dir.path().join("flash.bin");
        fs::write(&file, image).unwrap();
        Self { dir, image: file }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Neutralizes into `out` with more arguments.
    fn run(&self, out: &str, more: &[&str]) -> Output {
        let mut arguments: Vec<OsString> =
            vec!["firmware".into(), "neutralize".into(), self.image.clone().into()];
        arguments.extend(["--out".into(), self.path(out).into()]);
        arguments.extend(more.iter().map(OsString::from));
        agent(arguments)
    }

    fn json(&self, out: &str, more: &[&str]) -> (Option<i32>, Value) {
        let run = self.run(out, &[more, &["--json"]].concat());
        let result = json(&run);
        assert_eq!(result["schema"], "oob-neutralize/1", "{result:#}");
        assert_eq!(result["exit_code"].as_i64(), code(&run).map(i64::from), "{result:#}");
        (code(&run), result)
    }

    /// With a policy of these settings.
    fn by_policy(&self, settings: &str) -> (Option<i32>, Value) {
        let policy = neutralize_policy(self.dir.path(), settings);
        self.json("out", &["--policy", policy.to_str().unwrap()])
    }

    /// Refused with this code and reason, as JSON and in words, and nothing is there that was not there before.
    fn refuses(&self, what: &str, out: &str, more: &[&str], exit: i32, reason: &str) -> String {
        let before = tree(self.dir.path());
        let (code_of, result) = self.json(out, more);
        assert_eq!((code_of, &result["reason"]), (Some(exit), &reason.into()), "{what}: {result:#}");
        assert_eq!((&result["changed"], &result["out"]), (&false.into(), &Value::Null), "{what}");
        let told = self.run(out, more);
        assert_eq!(code(&told), Some(exit), "{what}: {}", text(&told.stderr));
        assert!(told.stdout.is_empty(), "{what}: {}", text(&told.stdout));
        let said = text(&told.stderr);
        let in_json = result["text"].as_str().unwrap();
        assert!(said.contains(in_json), "{what}: {said} and not {in_json}");
        assert!(tree(self.dir.path()) == before, "{what}: something changed: {:?}", files(self.dir.path()));
        said
    }
}

/// Everything below a directory: mode, inode, time of change, and what it holds.
fn tree(dir: &Path) -> BTreeMap<PathBuf, (u32, u64, i64, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let seen = path.symlink_metadata().unwrap();
            let held = if seen.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            let name = path.strip_prefix(dir).unwrap().to_path_buf();
            found.insert(name, (seen.mode(), seen.ino(), seen.mtime_nsec(), held));
            if seen.is_dir() {
                open.push(path);
            }
        }
    }
    found
}

/// Names, modes and bytes: what two runs have in common.
fn content(dir: &Path) -> Vec<(PathBuf, u32, Vec<u8>)> {
    tree(dir).into_iter().map(|(name, (mode, _, _, held))| (name, mode, held)).collect()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn two_runs_make_the_same_bytes_and_one_more_changes_nothing() {
    for (methods, count) in [(&[][..], 3), (&["--method", "soft-disable"], 1)] {
        let bench = Bench::new(&sunrise());
        let (exit, result) = bench.json("first", methods);
        assert_eq!((exit, &result["reason"], &result["changed"]), (Some(10), &"staged".into(), &true.into()));
        assert_eq!((&result["verdict"], &result["skipped"]), (&"staged".into(), &Value::Array(Vec::new())));
        assert_eq!(result["out"], bench.path("first").to_str().unwrap());

        // Elsewhere, under another name, in another time zone and language, with a stricter umask.
        let copy = bench.path("copy");
        fs::copy(&bench.image, &copy).unwrap();
        let script = "umask 077; exec \"$0\" firmware neutralize copy --out second \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(program("oob-agent")).args(methods).current_dir(bench.dir.path());
        let second = command.env("TZ", "Asia/Tokyo").env("LC_ALL", "de_DE.UTF-8").output().unwrap();
        assert_eq!(code(&second), Some(10), "{}", text(&second.stderr));
        let made = content(&bench.path("first"));
        assert!(made == content(&bench.path("second")), "the two differ");

        // Private, since a dump holds serial numbers and keys; only the scripts can be run.
        assert_eq!(fs::metadata(bench.path("first")).unwrap().mode() & 0o7777, 0o700);
        for (name, mode, _) in &made {
            let expected = if name.extension() == Some(OsStr::new("sh")) { 0o700 } else { 0o600 };
            assert_eq!(mode & 0o7777, expected, "{}", name.display());
        }
        check_files(&made, &result, count);

        // Again into the same place: nothing is new, and it ends as the first did.
        let before = tree(bench.dir.path());
        let (exit, again) = bench.json("first", methods);
        assert_eq!((exit, &again["changed"], &again["reason"]), (Some(10), &false.into(), &"staged".into()));
        assert!(tree(bench.dir.path()) == before, "a second run touched something");
    }
}

/// The files of a staging directory agree with each other and with the result.
fn check_files(made: &[(PathBuf, u32, Vec<u8>)], result: &Value, kinds: usize) {
    let held: BTreeMap<&str, &[u8]> =
        made.iter().map(|(name, _, bytes)| (name.to_str().unwrap(), bytes.as_slice())).collect();
    let names = held.keys().copied().collect::<Vec<_>>().join(" ");
    let all = "changes.json flash.layout flash.sh manifest.json neutralized.bin original.bin rollback.sh";
    assert_eq!(names, all);
    let manifest: Value = serde_json::from_slice(held["manifest.json"]).unwrap();
    for (name, hash) in manifest["sha256"].as_object().unwrap() {
        assert_eq!(*hash, sha256(held[name.as_str()]), "{name}");
    }
    assert_eq!(manifest["sha256"].as_object().unwrap().len(), 6, "all but the manifest itself");
    assert_eq!(result["original_sha256"], manifest["sha256"]["original.bin"]);
    assert_eq!(result["result_sha256"], manifest["sha256"]["neutralized.bin"]);
    assert_eq!(result["method"], manifest["method"]);
    // Every byte that differs lies in a range that is told, and every range is told once.
    let changes: Value = serde_json::from_slice(held["changes.json"]).unwrap();
    assert_eq!(changes, manifest["changes"]);
    let told: Vec<(usize, usize)> = changes
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["offset"].as_u64().unwrap() as usize, it["length"].as_u64().unwrap() as usize))
        .collect();
    assert!(told.len() >= kinds, "{changes:#}");
    let (original, neutralized) = (held["original.bin"], held["neutralized.bin"]);
    for at in (0..original.len()).filter(|at| original[*at] != neutralized[*at]) {
        assert!(
            told.iter().any(|(from, length)| (*from..from + length).contains(&at)),
            "{at:#x} is not told"
        );
    }
}

#[test]
fn what_stands_in_the_way_is_exit_4_and_untouched() {
    let bench = Bench::new(&sunrise());
    fs::create_dir(bench.path("empty")).unwrap();
    fs::create_dir(bench.path("full")).unwrap();
    fs::write(bench.path("full/neutralized.bin"), "mine").unwrap();
    fs::write(bench.path("file"), "mine").unwrap();
    symlink(bench.path("nowhere"), bench.path("dangling")).unwrap();
    // A staging by another method, and one that lost a file or has another in its place.
    assert_eq!(code(&bench.run("soft", &["--method", "soft-disable"])), Some(10));
    for name in ["lost", "changed"] {
        assert_eq!(code(&bench.run(name, &[])), Some(10));
    }
    fs::remove_file(bench.path("lost/manifest.json")).unwrap();
    fs::write(bench.path("changed/original.bin"), "mine").unwrap();
    for out in ["empty", "full", "file", "dangling", "soft", "lost", "changed", "."] {
        bench.refuses(out, out, &[], 4, "out-exists");
    }
    for out in ["missing/out", "file/out", "dangling/out"] {
        bench.refuses(out, out, &[], 4, "staging-not-written");
    }
    bench.refuses("a directory of the kernel", "/proc/out", &[], 4, "staging-not-written");
}

/// The limit stands in for a full disk: what was begun is removed.
#[test]
fn a_full_disk_leaves_nothing() {
    let bench = Bench::new(&sunrise());
    let before = tree(bench.dir.path());
    let script = "trap '' XFSZ; ulimit -f 32; exec \"$0\" firmware neutralize flash.bin --out out --json";
    let run = Command::new("sh")
        .args(["-c", script])
        .arg(program("oob-agent"))
        .current_dir(bench.dir.path())
        .output();
    let run = run.unwrap();
    assert_eq!(code(&run), Some(4), "{}", text(&run.stderr));
    assert_eq!(json(&run)["reason"], "staging-not-written");
    assert!(tree(bench.dir.path()) == before, "{:?}", files(bench.dir.path()));
}

#[test]
fn a_pin_permits_one_result_and_no_other() {
    let bench = Bench::new(&sunrise());
    let (_, free) = bench.json("free", &[]);
    let result = free["result_sha256"].as_str().unwrap().to_owned();
    let other = "0f".repeat(32);
    let before = tree(bench.dir.path());
    let (exit, wrong) =
        bench.by_policy(&format!("methods = [\"clean+soft-disable\"], result_sha256 = [\"{other}\"]"));
    assert_eq!((exit, &wrong["reason"]), (Some(8), &"result-not-pinned".into()), "{wrong:#}");
    let said = wrong["text"].as_str().unwrap();
    assert!(said.contains(&result) && said.contains(&other), "{said}");
    assert_eq!(tree(bench.dir.path()).len(), before.len() + 1, "only the policy is new");
    let settings = format!(
        "methods = [\"clean+soft-disable\"], result_sha256 = [\"{other}\", \"{}\"]",
        result.to_uppercase()
    );
    let (exit, right) = bench.by_policy(&settings);
    assert_eq!(
        (exit, &right["changed"], &right["result_sha256"]),
        (Some(10), &true.into(), &free["result_sha256"])
    );
    // The policy is told, so the manifest is another one than without it; the image is not.
    let policy = fs::read(bench.path("neutralize.toml")).unwrap();
    let manifest: Value =
        serde_json::from_slice(&fs::read(bench.path("out/manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["policy_sha256"], sha256(&policy));
    assert_eq!(
        fs::read(bench.path("out/neutralized.bin")).unwrap(),
        fs::read(bench.path("free/neutralized.bin")).unwrap()
    );
}

#[test]
fn boot_guard_is_a_reason_to_keep_the_code_and_it_is_told() {
    let bench = Bench::new(&with_boot_guard(sunrise()));
    let (exit, result) = bench.json("soft", &[]);
    assert_eq!((exit, &result["method"]), (Some(10), &"soft-disable".into()), "{result:#}");
    let skipped = result["skipped"][0].as_str().unwrap();
    assert!(
        skipped.starts_with("clean+soft-disable: ") && skipped.contains("--accept-boot-guard"),
        "{skipped}"
    );
    let manifest: Value =
        serde_json::from_slice(&fs::read(bench.path("soft/manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["methods_skipped"], result["skipped"]);
    let told = bench.run("soft", &[]);
    assert!(text(&told.stdout).contains("skipped   clean+soft-disable: "), "{}", text(&told.stdout));

    // Where nothing else is permitted, nothing is staged.
    let said =
        bench.refuses("clean alone", "clean", &["--method", "clean+soft-disable"], 8, "no-method-applies");
    assert!(said.contains("accept_boot_guard"), "{said}");
    // A person who knows better says so, here or in the policy.
    let (exit, result) = bench.json("clean", &["--accept-boot-guard"]);
    assert_eq!((exit, &result["method"]), (Some(10), &"clean+soft-disable".into()), "{result:#}");
    let (exit, result) = bench.by_policy("methods = [\"clean+soft-disable\"], accept_boot_guard = true");
    assert_eq!((exit, &result["method"]), (Some(10), &"clean+soft-disable".into()), "{result:#}");
}

#[test]
fn a_ladder_that_ends_is_exit_8_and_says_every_step() {
    for (what, image, why) in [
        ("a strap that is not stock", image::sunrise(0x1234_5678, ME), "stock pattern"),
        ("an ME of another family", image::sunrise(2, [12, 0, 1, 1]), "needs ME 11"),
    ] {
        let bench = Bench::new(&image);
        let said = bench.refuses(what, "out", &[], 8, "no-method-applies");
        for method in ["clean+soft-disable: ", "; soft-disable: "] {
            assert!(said.contains(method) && said.contains(why), "{what}: {said}");
        }
        let (_, result) = bench.json("out", &[]);
        assert_eq!(result["skipped"].as_array().unwrap().len(), 2, "{result:#}");

        let ladder = "methods = [\"clean+soft-disable\", \"lockdown\", \"report-only\"]";
        let (exit, result) = bench.by_policy(ladder);
        assert_eq!((exit, &result["reason"]), (Some(8), &"report-only".into()), "{what}: {result:#}");
        assert_eq!(result["skipped"].as_array().unwrap().len(), 2, "code removal and lockdown: {result:#}");
        assert!(!bench.path("out").exists());
    }
    // An image that could be neutralized is left alone all the same where policy only wants a report.
    let bench = Bench::new(&sunrise());
    let (exit, result) = bench.by_policy("methods = [\"report-only\"]");
    assert_eq!((exit, &result["reason"]), (Some(8), &"report-only".into()), "{result:#}");
    assert!(!bench.path("out").exists());
}

#[test]
fn an_image_that_is_not_whole_is_exit_5() {
    let whole = sunrise();
    let mut damaged = whole.clone();
    damaged[image::MANIFEST + 0x14] ^= 1;
    let bench = Bench::new(&damaged);
    for method in [&[][..], &["--method", "soft-disable"]] {
        let said = bench.refuses("a damaged signature", "out", method, 5, "image-refused");
        assert!(said.contains("signature") && said.contains("0x1458"), "{said}");
    }
    for length in [0x14, 0x18, 0x30, 0x48, 0x100, 0xfff, 0x1000, 0x1010, image::MANIFEST, 0x4000, 0x7fff] {
        let bench = Bench::new(&whole[..length]);
        let before = tree(bench.dir.path());
        let (exit, result) = bench.json("out", &[]);
        assert_eq!((exit, &result["changed"]), (Some(5), &false.into()), "{length:#x}: {result:#}");
        assert!(result["text"].as_str().unwrap().contains("0x"), "no offset: {result:#}");
        assert!(tree(bench.dir.path()) == before, "{length:#x}");
    }
    let partial = Bench::new(&whole[..0x4000]).run("out", &[]);
    assert!(text(&partial.stderr).contains("chip 1 of 2"), "{}", text(&partial.stderr));
}

#[test]
fn what_is_no_dump_is_named() {
    let capsule = [
        &[0xbd, 0x86, 0x66, 0x3b, 0x76, 0x0d, 0x30, 0x40, 0xb7, 0x0e, 0xb5, 0x51, 0x9e, 0x2f, 0xc5, 0xa0][..],
        &[0x5a; 0x4000],
    ];
    for (what, bytes, words) in [
        ("an empty file", Vec::new(), "an empty file"),
        ("an erased chip", vec![0xff; 0x8000], "FF only"),
        ("a chip that was not read", vec![0; 0x8000], "zeroes only"),
        ("a capsule", capsule.concat(), "capsule"),
        ("a program", b"MZ this is an update\r\n".repeat(500), "program"),
        ("an archive", b"PK\x03\x04update".repeat(500), "archive"),
        ("an ME region alone", sunrise()[0x1000..0x4000].to_vec(), "a full dump is needed"),
        ("a text", b"no firmware at all\n".repeat(500), "offset"),
    ] {
        let bench = Bench::new(&bytes);
        let said = bench.refuses(what, "out", &[], 5, "image-unreadable");
        assert!(said.contains(words), "{what}: {said}");
    }
    let bench = Bench::new(&[]);
    fs::remove_file(&bench.image).unwrap();
    bench.refuses("no file", "out", &[], 5, "image-unreadable");
    fs::create_dir(&bench.image).unwrap();
    bench.refuses("a directory", "out", &[], 5, "image-unreadable");
    fs::remove_dir(&bench.image).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &bench.image, rustix::fs::Mode::RUSR).unwrap();
    bench.refuses("a pipe", "out", &[], 5, "image-unreadable");
}

/// Done already by either method, and also where only the strap is asked for of an image that was cleaned.
#[test]
fn what_is_neutralized_already_is_exit_0_and_stages_nothing() {
    let fresh = Bench::new(&sunrise());
    assert_eq!(code(&fresh.run("clean", &["--method", "clean+soft-disable"])), Some(10));
    assert_eq!(code(&fresh.run("soft", &["--method", "soft-disable"])), Some(10));
    for (held, method) in
        [("clean", "clean+soft-disable"), ("clean", "soft-disable"), ("soft", "soft-disable")]
    {
        let bench = Bench::new(&fs::read(fresh.path(held).join("neutralized.bin")).unwrap());
        let before = tree(bench.dir.path());
        let (exit, result) = bench.json("out", &["--method", method]);
        assert_eq!((exit, &result["reason"]), (Some(0), &"already-neutralized".into()), "{held}: {result:#}");
        assert_eq!((&result["changed"], &result["out"]), (&false.into(), &Value::Null));
        assert!(tree(bench.dir.path()) == before, "{held}, {method}");
    }
    // A strap that is set is half of what was asked for.
    let half = Bench::new(&fs::read(fresh.path("soft/neutralized.bin")).unwrap());
    assert_eq!(half.json("out", &[]).0, Some(10));
}

/// A name can neither steer a terminal, nor make up a line of its own, nor bring the agent down.
#[test]
fn hostile_names_are_escaped() {
    let scratch = scratch();
    let name = OsStr::from_bytes(b"\x1b]0;owned\x07\noob-agent: all is well \xe2\x80\xae\xff.bin");
    let file = scratch.path().join(name);
    let out = scratch.path().join(OsStr::from_bytes(b"out\n\x1b[2J\xff"));
    let run = |wants_json: bool| {
        let mut command = agent_command();
        command.args(["firmware", "neutralize"]).arg(&file).arg("--out").arg(&out);
        if wants_json {
            command.arg("--json");
        }
        command.output().unwrap()
    };
    let check = |what: &str, exit: i32| {
        for wants_json in [false, true] {
            let ran = run(wants_json);
            assert_eq!(code(&ran), Some(exit), "{what}: {}", text(&ran.stderr));
            for stream in [&ran.stdout, &ran.stderr] {
                let told = text(stream);
                let deceives = |it: char| it.is_control() && it != '\n' || it == '\u{202e}';
                assert!(!told.contains(deceives), "{what}: {told:?}");
                assert!(!told.contains("\noob-agent: all is well"), "{what}: {told}");
            }
            if wants_json {
                assert_eq!(json(&ran)["exit_code"], exit, "{what}");
            }
        }
    };
    check("no file", 5);
    fs::write(&file, [0xff; 0x2000]).unwrap();
    check("no image", 5);
    fs::write(&file, sunrise()).unwrap();
    check("an image", 10);
    for entry in ["flash.sh", "rollback.sh", "manifest.json", "flash.layout", "changes.json"] {
        let held = fs::read(out.join(entry)).unwrap();
        assert!(held.is_ascii() && !text(&held).contains("owned"), "{entry} took over a name");
    }
    fs::write(out.join("original.bin"), "mine").unwrap();
    check("a directory in the way", 4);
}

#[test]
fn wrong_arguments_and_policies_touch_nothing() {
    let bench = Bench::new(&sunrise());
    let policy = neutralize_policy(bench.dir.path(), "methods = [\"soft-disable\"]");
    let policy = policy.to_str().unwrap();
    // What the parser of the command line refuses.
    for more in [
        &["--policy", policy, "--method", "soft-disable"][..],
        &["--rule", "opsec"],
        &["--method", "lockdown"],
        &["--methods"],
    ] {
        let ran = bench.run("out", more);
        assert_eq!(code(&ran), Some(2), "{more:?}: {}", text(&ran.stderr));
        assert!(!bench.path("out").exists());
    }
    bench.refuses("no such rule", "out", &["--policy", policy, "--rule", "office"], 2, "no-rule");
    let second = fs::read_to_string(policy).unwrap()
        + "[[rule]]\nid = \"lab\"\nmatch = { serial = \"x\" }\n\
         action = \"neutralize\"\nneutralize = { methods = [\"report-only\"] }\n";
    let several = bench.path("several.toml");
    fs::write(&several, second).unwrap();
    let several = several.to_str().unwrap();
    let said = bench.refuses("which rule", "out", &["--policy", several], 2, "which-rule");
    assert!(said.contains("opsec") && said.contains("lab"), "{said}");
    let malformed = bench.path("malformed.toml");
    fs::write(&malformed, "schema = [").unwrap();
    bench.refuses(
        "a malformed policy",
        "out",
        &["--policy", malformed.to_str().unwrap()],
        3,
        "policy-malformed",
    );
    bench.refuses("no policy", "out", &["--policy", "/nonexistent.toml"], 3, "policy-unreadable");
    // The rule that is meant decides.
    let (exit, result) = bench.json("out", &["--policy", several, "--rule", "opsec"]);
    assert_eq!((exit, &result["method"]), (Some(10), &"soft-disable".into()), "{result:#}");
}

/// Whatever a real file is, the agent ends with a code that says so, and leaves a whole directory or nothing.
#[test]
fn every_file_of_the_corpus_is_staged_whole_or_refused() {
    let Some(corpus) = env::var_os("OOB_CORPUS").map(PathBuf::from) else {
        skip("firmware neutralize on real files: OOB_CORPUS is not set");
        return;
    };
    let built =
        PathBuf::from(env::var_os("OOB_CORPUS_BUILT").expect("OOB_CORPUS_BUILT goes with OOB_CORPUS"));
    let images = [files(&corpus.join("firmware")), files(&built.join("full"))].concat();
    let mut ended: BTreeMap<i32, usize> = BTreeMap::new();
    for image in images {
        let dir = scratch();
        let out = dir.path().join("out");
        let run = agent([
            "firmware".as_ref(),
            "neutralize".as_ref(),
            image.as_os_str(),
            "--json".as_ref(),
            "--out".as_ref(),
            out.as_os_str(),
        ]);
        let name = image.display();
        let exit = code(&run).unwrap_or_else(|| panic!("{name}: killed"));
        assert!([0, 5, 8, 10].contains(&exit), "{name}: {exit}: {}", text(&run.stderr));
        assert_eq!(json(&run)["exit_code"], exit, "{name}");
        assert_eq!(files(dir.path()).len(), if exit == 10 { 7 } else { 0 }, "{name}: {exit}");
        *ended.entry(exit).or_default() += 1;
    }
    for exit in [5, 8, 10] {
        assert!(ended.contains_key(&exit), "no file of the corpus ends with {exit}: {ended:?}");
    }
}
