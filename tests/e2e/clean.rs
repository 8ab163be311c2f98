//! `firmware clean` as a process: what appears on disk and what does not, exit codes, JSON. Which bytes are right is the
//! golden table's business, in `mecheck/tests/clean_golden.rs`; here a real image comes from `OOB_CORPUS`, and an ICH9
//! image of our own from nowhere.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Output;

use oob_tests::{agent, agent_command, code, files, json, scratch, skip, text};

/// A full ICH9 image with ME 4: descriptor, 64 KiB of ME with `$FPT` and a `$MAN` manifest, BIOS of AA.
fn ich9() -> Vec<u8> {
    let mut image = vec![0xaa; 0x80000];
    image[..0x1000].fill(0xff);
    let mut put = |at: usize, words: &[u32]| {
        for (index, word) in words.iter().enumerate() {
            image[at + 4 * index..at + 4 * index + 4].copy_from_slice(&word.to_le_bytes());
        }
    };
    put(0, &[0x0ff0_a55a, 0x0404_0003, 0x0210_0208, 0x0000_0120]);
    put(0x30, &[0]);
    put(0x40, &[0, 0x007f_0011, 0x0010_0001, 0x1fff, 0x1fff]);
    put(0x80, &[0x0a0b_0000, 0x0c0d_0000, 0x0808_0118]);
    put(0x100, &[0x0018_6488, 0]);
    put(0x200, &[0, 0]);
    let fpt = u32::from_le_bytes(*b"$FPT");
    let code = u32::from_le_bytes(*b"CODE");
    let man = u32::from_le_bytes(*b"$MAN");
    put(0x1010, &[fpt, 1, 0x0020_1020]);
    put(0x1030, &[code, 0, 0x2000, 0x4000, 0, 0, 0, 0]);
    put(0x301c, &[man, 0, 0x0001_0004, 0x040e_0003]);
    image
}

fn clean<I, S>(arguments: I) -> Output
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let fixed = ["firmware", "clean"].map(|word| OsStr::new(word).to_owned());
    agent(fixed.into_iter().chain(arguments.into_iter().map(|argument| argument.as_ref().to_owned())))
}

fn names(dir: &Path) -> Vec<String> {
    files(dir).iter().map(|file| file.strip_prefix(dir).unwrap().display().to_string()).collect()
}

#[test]
fn edits_in_place_by_rename_and_keeps_the_mode() {
    let scratch = scratch();
    let file = scratch.path().join("flash.bin");
    fs::write(&file, ich9()).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let before = fs::metadata(&file).unwrap();
    // A second name of the old file shows whether it was written through or replaced.
    let old = scratch.path().join("old");
    fs::hard_link(&file, &old).unwrap();
    let run = clean([file.as_os_str(), OsStr::new("--json")]);
    assert_eq!(code(&run), Some(0), "{}", text(&run.stderr));
    let result = json(&run);
    assert_eq!((&result["schema"], &result["changed"]), (&"oob-clean/1".into(), &true.into()));
    assert_eq!((&result["version"], &result["exit_code"]), (&"4.1.3.1038".into(), &0.into()));
    let after = fs::metadata(&file).unwrap();
    assert_ne!(before.ino(), after.ino(), "it was not replaced by rename");
    assert_eq!(after.mode() & 0o7777, 0o640);
    assert_eq!(fs::read(&old).unwrap(), ich9(), "the old file was written through");
    let cleaned = fs::read(&file).unwrap();
    let differing: Vec<usize> =
        (0..0x1000).chain(0x11000..0x80000).filter(|at| cleaned[*at] != ich9()[*at]).collect();
    assert_eq!(differing, [0x48, 0x49, 0x4a, 0x100, 0x200], "straps and FLREG2");
    assert!(cleaned[0x1000..0x11000].iter().all(|byte| *byte == 0xff));

    // Again: nothing to do, so nothing is written.
    let again = clean([file.as_os_str(), OsStr::new("--json")]);
    assert_eq!((code(&again), &json(&again)["changed"]), (Some(0), &false.into()), "{}", text(&again.stderr));
    assert_eq!(fs::metadata(&file).unwrap().ino(), after.ino());
    assert_eq!(names(scratch.path()), ["flash.bin", "old"], "temporary files are left");
}

#[test]
fn writes_elsewhere_and_names_every_output_with_its_hash() {
    let scratch = scratch();
    let path = |name: &str| scratch.path().join(name);
    fs::write(path("flash.bin"), ich9()).unwrap();
    let arguments = ["-O", "out.bin", "-D", "fd.bin", "-d", "--json", "flash.bin"];
    let run = agent_command()
        .current_dir(scratch.path())
        .args(["firmware", "clean"])
        .args(arguments)
        .output()
        .unwrap();
    assert_eq!(code(&run), Some(0), "{}", text(&run.stderr));
    assert_eq!(fs::read(path("flash.bin")).unwrap(), ich9(), "the input was changed");
    let result = json(&run);
    let outputs = result["outputs"].as_array().unwrap();
    assert_eq!(outputs.len(), 2, "{result:#}");
    for output in outputs {
        let bytes = fs::read(output["path"].as_str().unwrap()).unwrap();
        assert_eq!(output["sha256"], sha256(&bytes));
        assert_eq!(output["size"], bytes.len());
    }
    assert_eq!(fs::read(path("fd.bin")).unwrap(), fs::read(path("out.bin")).unwrap()[..0x1000]);
    // For people: what was found and done, and no dump of bytes.
    let told = clean([OsStr::new("-c"), path("out.bin").as_os_str()]);
    assert_eq!(code(&told), Some(0), "{}", text(&told.stderr));
    assert!(text(&told.stdout).contains("generation 1"), "{}", text(&told.stdout));
}

/// No error leaves anything: neither an output nor a temporary file, and the input is as it was.
#[test]
fn errors_leave_nothing() {
    let mut cut = ich9();
    cut.truncate(0x20000);
    let mut blank = ich9();
    blank[0x1000..0x11000].fill(0xff);
    let mut unused = ich9();
    // Signature at 10 as from Ibex Peak on, where an unused region 2 means that the CSE lies elsewhere.
    unused.copy_within(0..0x10, 0x10);
    unused[..0x10].fill(0xff);
    unused[0x48..0x4c].copy_from_slice(&0x1fff_u32.to_le_bytes());
    for (name, image, flags, exit, reason) in [
        ("cut off", cut, vec![], 5, "image-malformed"),
        ("empty ME region", blank, vec![], 8, "me-region-empty"),
        ("unused ME region", unused, vec![], 8, "me-region-unused"),
        ("a vendor's update file", b"MZ update".repeat(1000), vec![], 5, "image-malformed"),
        ("nothing", Vec::new(), vec![], 5, "image-malformed"),
        ("erased", vec![0xff; 0x2000], vec![], 8, "empty"),
        ("ME alone", ich9()[0x1000..0x11000].to_vec(), vec!["-S"], 8, "needs-full-dump"),
        ("flags", ich9(), vec!["-s", "-t"], 2, "usage"),
    ] {
        let scratch = scratch();
        let file = scratch.path().join("flash.bin");
        fs::write(&file, &image).unwrap();
        for elsewhere in [true, false] {
            let mut arguments: Vec<PathBuf> = vec![file.clone(), "--json".into()];
            arguments.extend(flags.iter().map(PathBuf::from));
            if elsewhere {
                arguments.extend(["-O".into(), scratch.path().join("out.bin")]);
                if exit != 8 || reason != "needs-full-dump" {
                    arguments.extend(["-D".into(), scratch.path().join("fd.bin")]);
                }
            }
            let run = clean(&arguments);
            assert_eq!(code(&run), Some(exit), "{name}: {}", text(&run.stderr));
            let result = json(&run);
            assert_eq!(result["reason"], reason, "{name}");
            assert_eq!((&result["changed"], &result["exit_code"]), (&false.into(), &exit.into()), "{name}");
            assert_eq!(names(scratch.path()), ["flash.bin"], "{name} left something");
            assert_eq!(fs::read(&file).unwrap(), image, "{name}: the input was changed");
        }
    }
}

#[test]
fn files_that_are_no_targets_are_refused() {
    let scratch = scratch();
    let path = |name: &str| scratch.path().join(name);
    fs::write(path("flash.bin"), ich9()).unwrap();
    fs::write(path("other"), "x").unwrap();
    fs::create_dir(path("directory")).unwrap();
    symlink(path("other"), path("link")).unwrap();
    symlink(path("flash.bin"), path("flash.link")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, path("pipe"), rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)
        .unwrap();
    let before = names(scratch.path());
    let run = |arguments: &[&str]| {
        let arguments: Vec<PathBuf> = arguments
            .iter()
            .map(|word| if word.starts_with('-') { word.into() } else { path(word) })
            .collect();
        clean(&arguments)
    };
    for (arguments, exit) in [
        // One file for two purposes.
        (vec!["-O", "out", "-D", "out", "flash.bin"], 2),
        (vec!["-O", "out", "-D", "directory/../out", "flash.bin"], 2),
        (vec!["-D", "out", "-M", "out", "flash.bin"], 2),
        (vec!["-D", "flash.bin", "flash.bin"], 2),
        (vec!["-O", "flash.bin", "flash.bin"], 2),
        (vec!["-c", "-M", "flash.bin", "flash.bin"], 2),
        (vec!["-c", "-O", "out", "flash.bin"], 2),
        (vec!["-S", "-s", "flash.bin"], 2),
        (vec!["-w", "MFS", "-b", "NFTP", "flash.bin"], 2),
        // What a rename would replace silently.
        (vec!["-O", "link", "flash.bin"], 4),
        (vec!["-O", "pipe", "flash.bin"], 4),
        (vec!["-O", "directory", "flash.bin"], 4),
        (vec!["-O", "missing/out", "flash.bin"], 4),
        (vec!["-O", "out", "-D", "missing/fd", "flash.bin"], 4),
        (vec!["flash.link"], 4),
        // Nothing that could be waited for is read.
        (vec!["-O", "out", "pipe"], 5),
        (vec!["-O", "out", "directory"], 5),
        (vec!["-O", "out", "missing"], 5),
    ] {
        let ran = run(&arguments);
        assert_eq!(code(&ran), Some(exit), "{arguments:?}: {}", text(&ran.stderr));
        assert_eq!(names(scratch.path()), before, "{arguments:?}");
        assert_eq!(fs::read(path("flash.bin")).unwrap(), ich9(), "{arguments:?}");
        assert_eq!(fs::read(path("other")).unwrap(), b"x", "{arguments:?}");
    }
    // Reading through a link is no edit.
    let ran = run(&["-O", "out", "flash.link"]);
    assert_eq!(code(&ran), Some(0), "{}", text(&ran.stderr));
}

/// The descriptor would fit, the image does not: neither appears. The limit stands in for a full disk.
#[test]
fn a_full_disk_leaves_nothing() {
    let scratch = scratch();
    let file = scratch.path().join("flash.bin");
    fs::write(&file, ich9()).unwrap();
    for arguments in ["-O out.bin -D fd.bin flash.bin", "flash.bin"] {
        let script = format!("trap '' XFSZ; ulimit -f 64; exec \"$0\" firmware clean {arguments}");
        let run = std::process::Command::new("sh")
            .arg("-c")
            .arg(script)
            .arg(oob_tests::program("oob-agent"))
            .current_dir(scratch.path())
            .output()
            .unwrap();
        assert_eq!(code(&run), Some(4), "{}", text(&run.stderr));
        assert!(text(&run.stderr).contains("nothing was written"), "{}", text(&run.stderr));
        assert_eq!(names(scratch.path()), ["flash.bin"]);
        assert_eq!(fs::read(&file).unwrap(), ich9());
    }
}

/// A directory that nobody may write to; root may write anywhere but in /proc.
#[test]
fn a_read_only_directory_is_exit_4() {
    let scratch = scratch();
    let file = scratch.path().join("flash.bin");
    fs::write(&file, ich9()).unwrap();
    let run = clean([file.as_os_str(), OsStr::new("-O"), OsStr::new("/proc/oob-clean.bin")]);
    assert_eq!(code(&run), Some(4), "{}", text(&run.stderr));
    if rustix::process::geteuid().is_root() {
        return; // root may write to any other directory, so /proc is all there is to see
    }
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o555)).unwrap();
    let run = clean([&file]);
    let after = names(scratch.path());
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(code(&run), Some(4), "{}", text(&run.stderr));
    assert_eq!(after, ["flash.bin"]);
    assert_eq!(fs::read(&file).unwrap(), ich9());
}

/// A real image through the whole program: `-S -r -t -d` with all outputs, as the golden table has them.
#[test]
fn a_real_image_as_the_golden_table_has_it() {
    let Some(corpus) = env::var_os("OOB_CORPUS").map(PathBuf::from) else {
        skip("firmware clean on a real image: OOB_CORPUS is not set");
        return;
    };
    let built =
        PathBuf::from(env::var_os("OOB_CORPUS_BUILT").expect("OOB_CORPUS_BUILT goes with OOB_CORPUS"));
    let table = fs::read_to_string(corpus.join("firmware/me_cleaner-golden.tsv")).unwrap();
    let row = table
        .lines()
        .find(|line| line.starts_with("full/x210.bin\t") && line.contains("\t-S -r -t -d -D @D -M @M\t"));
    let column: Vec<&str> = row.expect("the row is missing").split('\t').collect();
    let scratch = scratch();
    let path = |name: &str| scratch.path().join(name);
    let (out, fd, me) = (path("out"), path("fd"), path("me"));
    let input = built.join("full/x210.bin");
    let mut arguments: Vec<&OsStr> = ["-S", "-r", "-t", "-d"].map(OsStr::new).to_vec();
    for (flag, file) in [("-O", &out), ("-D", &fd), ("-M", &me)] {
        arguments.extend([OsStr::new(flag), file.as_os_str()]);
    }
    arguments.push(input.as_os_str());
    let run = clean(arguments);
    assert_eq!(code(&run), Some(0), "{}", text(&run.stderr));
    for (file, hash) in [(&out, column[6]), (&fd, column[8]), (&me, column[10])] {
        assert_eq!(sha256(&fs::read(file).unwrap()), hash, "{}", file.display());
    }
    assert!(text(&run.stdout).contains("signature of FTPR: valid"), "{}", text(&run.stdout));
    // A strap that lies elsewhere is refused, and what to do is said.
    let cross = built.join("full/starbook_cml.bin");
    let refused = clean([OsStr::new("-S"), OsStr::new("-O"), path("no").as_os_str(), cross.as_os_str()]);
    assert_eq!(code(&refused), Some(8), "{}", text(&refused.stderr));
    assert!(text(&refused.stderr).contains("firmware neutralize"), "{}", text(&refused.stderr));
    assert_eq!(names(scratch.path()), ["fd", "me", "out"]);
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
