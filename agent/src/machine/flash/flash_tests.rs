use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::*;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A program of a few shell lines in place of flashrom, called as it is called.
fn stand_in(directory: &Path, lines: &str) -> PathBuf {
    let program = directory.join("stand-in");
    // Written by a process of its own: a file that this one has open for writing may be held by a child of another test that
    // is just being started, and what is open for writing is not executed.
    let mut writer = Command::new("sh")
        .args(["-c", "cat > \"$0\" && chmod 700 \"$0\""])
        .arg(&program)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    write!(writer.stdin.take().unwrap(), "#!/bin/sh\n{lines}\n").unwrap();
    assert!(writer.wait().unwrap().success());
    program
}

#[test]
fn a_run_has_its_own_environment_and_both_streams_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let program = stand_in(directory.path(), "echo \"$@\"; env; pwd >&2; : > \"$4\"; exit 3");
    let run = block_on(flashrom::read(&program, "dummy:x=$(id)", directory.path(), "r.bin", LIMIT)).unwrap();
    assert!(!run.succeeded);
    assert_eq!(run.ended, "exit status: 3");
    let lines: Vec<&str> = run.output.lines().collect();
    assert_eq!(lines[0], "-p dummy:x=$(id) -r r.bin", "no shell sees the arguments");
    assert!(lines.contains(&directory.path().canonicalize().unwrap().to_str().unwrap()), "{lines:?}");
    assert!(lines.contains(&"LC_ALL=C"), "{lines:?}");
    let foreign = |line: &&&str| ["HOME=", "CARGO", "USER="].iter().any(|name| line.starts_with(name));
    assert_eq!(lines.iter().filter(foreign).count(), 0, "{lines:?}");
    assert!(directory.path().join("r.bin").exists());
}

#[test]
fn a_run_that_hangs_is_killed_and_said_so() {
    let directory = tempfile::tempdir().unwrap();
    let program = stand_in(directory.path(), "exec sleep 1000");
    let limit = Duration::from_millis(300);
    let error = block_on(flashrom::read(&program, "internal", directory.path(), "r.bin", limit)).unwrap_err();
    assert!(error.contains("was killed"), "{error}");
    let here = directory.path().canonicalize().unwrap();
    let left = fs::read_dir("/proc").unwrap().filter(|process| {
        fs::read_link(process.as_ref().unwrap().path().join("cwd")).is_ok_and(|place| place == here)
    });
    assert_eq!(left.count(), 0, "it is gone and was waited for");
}

#[test]
fn only_two_readings_that_agree_count() {
    let directory = tempfile::tempdir().unwrap();
    let read = |lines: &str| {
        let program = stand_in(directory.path(), lines);
        block_on(read_twice(&program, "internal", directory.path(), &Circumstances::default()))
    };
    let notable = "echo 'FREG0: Flash Descriptor region (0x0-0xfff) is read-only.'; printf same > \"$4\"";
    let chip = read(notable).unwrap();
    assert_eq!((chip.bytes.as_slice(), chip.notes.len()), (&b"same"[..], 1));
    assert!(read("printf %s \"$4\" > \"$4\"").unwrap_err().contains("two readings of the chip differ"));
    assert!(read(": > \"$4\"").unwrap_err().contains("wrote nothing"));
    assert!(read("exit 0").unwrap_err().contains("reading what flashrom wrote"));
    let locked =
        "echo 'FREG2: Management Engine region (0x1000-0x1fff) is locked.'; printf half > \"$4\"; exit 1";
    assert!(read(locked).unwrap_err().contains("region 2 (Management Engine) is locked"));
    // The second reading fails where the first did not.
    let once =
        "[ \"$4\" = reading-1.bin ] && printf same > \"$4\" && exit 0; echo 'Read operation failed!'; exit 1";
    assert!(read(once).unwrap_err().contains("refused to read a part"));
}

#[test]
fn a_program_that_is_not_there_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("nothing");
    let error = block_on(flashrom::read(&program, "internal", directory.path(), "r.bin", LIMIT)).unwrap_err();
    assert!(error.starts_with("starting "), "{error}");
}

#[test]
fn a_root_without_a_chip_is_unknown_and_no_program_is_looked_for() {
    let (dir, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let machine = Machine::open(dir.path()).unwrap();
    let read = || block_on(machine.read_flash(scratch.path())).unwrap_err();
    assert_eq!(read(), "unknown(capture): it has no dev/flash.img");
    fs::create_dir_all(dir.path().join("dev/flash.img")).unwrap();
    assert!(read().contains("not a regular file"), "{}", read());
    fs::remove_dir(dir.path().join("dev/flash.img")).unwrap();
    fs::write(dir.path().join("dev/flash.img"), "").unwrap();
    assert!(read().ends_with("dev/flash.img is empty"), "{}", read());
    // Nor does a link lead out of the root.
    fs::remove_file(dir.path().join("dev/flash.img")).unwrap();
    symlink("/proc/self/exe", dir.path().join("dev/flash.img")).unwrap();
    assert!(read().starts_with("unknown(capture)"), "{}", read());
}

#[test]
fn a_chip_is_copied_and_named_by_its_size() {
    let (dir, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir_all(dir.path().join("dev")).unwrap();
    let machine = Machine::open(dir.path()).unwrap();
    for (size, name) in [
        (0x8000, "VARIABLE_SIZE,size=32768"),
        (0x80_0000, "VARIABLE_SIZE,size=8388608"),
        (0x100_0000, "W25Q128FV"),
    ] {
        let content = vec![0x5a; size];
        fs::write(dir.path().join("dev/flash.img"), &content).unwrap();
        let programmer = machine.emulated(scratch.path()).unwrap();
        assert_eq!(programmer, format!("dummy:emulate={name},image=chip.img"));
        assert!(fs::read(scratch.path().join("chip.img")).unwrap() == content);
    }
}

#[test]
fn flashrom_itself_reads_what_the_chip_holds() {
    if flashrom::find().is_none() {
        eprintln!("skipped: reading an emulated chip: flashrom is not installed");
        return;
    }
    let (dir, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir_all(dir.path().join("dev")).unwrap();
    let machine = Machine::open(dir.path()).unwrap();
    for size in [0x8000_u32, 0x80_0000, 0x100_0000] {
        let content: Vec<u8> = (0..size).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        fs::write(dir.path().join("dev/flash.img"), &content).unwrap();
        let chip = block_on(machine.read_flash(scratch.path())).unwrap();
        assert!(chip.bytes == content, "{size:#x} bytes");
        assert_eq!(chip.notes, Vec::<String>::new());
        assert!(fs::read(dir.path().join("dev/flash.img")).unwrap() == content, "the chip is untouched");
    }
    // A size that no chip has is refused by flashrom, and its words are told.
    fs::write(dir.path().join("dev/flash.img"), vec![0; 0x8001]).unwrap();
    let error = block_on(machine.read_flash(scratch.path())).unwrap_err();
    assert!(error.starts_with("flashrom read nothing (") && error.contains("external programmer"), "{error}");
}
