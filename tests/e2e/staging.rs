//! The staging directory over several runs: killed anywhere, under a renewed policy, beside an engine that looks
//! different, touched by somebody, gone.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use oob_tests::{
    agent_command, code, files, image, json, scratch, skylake_capture, stride, text, write_program,
};

const STATUS: &str = "sys/class/mei/mei0/fw_status";

/// A captured machine, its dump, and the store that runs share.
struct Desk {
    scratch: tempfile::TempDir,
    machine: PathBuf,
}

impl Desk {
    fn new() -> Self {
        let scratch = scratch();
        let machine = skylake_capture(&scratch.path().join("skylake"));
        fs::write(machine.join(STATUS), "90000245\n").unwrap();
        fs::write(scratch.path().join("dump"), image::sunrise(2, [11, 8, 80, 3746])).unwrap();
        Self { scratch, machine }
    }

    fn out(&self) -> PathBuf {
        self.scratch.path().join("out")
    }

    fn command(&self, serial: u32) -> Command {
        let mut command = self.bare(serial, "");
        command.arg("--firmware-image").arg(self.scratch.path().join("dump"));
        command
    }

    /// No image is named: the chip is read.
    fn reading(&self) -> Command {
        let mut command = self.bare(1, ", read_flash = true");
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn bare(&self, serial: u32, settings: &str) -> Command {
        let policy = self.scratch.path().join("policy.toml");
        let text = format!(
            "schema = 1\n[policy]\nname = \"opsec\"\nserial = {serial}\n[defaults]\naction = \"ignore\"\n[[rule]]\n\
             id = \"opsec\"\nmatch = {{ vendor = \"*\" }}\naction = \"neutralize\"\n\
             neutralize = {{ methods = [\"clean+soft-disable\", \"soft-disable\"]{settings} }}\n"
        );
        fs::write(&policy, text).unwrap();
        let mut command = agent_command();
        command.args(["apply", "--json", "--policy"]).arg(policy).arg("--root").arg(&self.machine);
        command.arg("--out").arg(self.out());
        command
    }

    fn apply(&self, serial: u32) -> Output {
        self.command(serial).output().expect("running oob-agent")
    }

    /// Exit code, and whether anything changed.
    #[track_caller]
    fn ends(&self, serial: u32, expected: (i32, bool)) -> Output {
        let run = self.apply(serial);
        let told = (code(&run).unwrap_or(-1), json(&run)["changed"] == true);
        assert_eq!(told, expected, "{}\n{}", text(&run.stdout), text(&run.stderr));
        run
    }

    fn staged(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let all = files(&self.out()).into_iter().filter(|file| file.to_string_lossy().contains("/staging/"));
        all.map(|file| (file.strip_prefix(self.out()).unwrap().to_owned(), fs::read(&file).unwrap()))
            .collect()
    }

    fn file(&self, name: &str) -> PathBuf {
        files(&self.out()).into_iter().find(|file| file.ends_with(name)).expect("a staged file")
    }
}

/// What a staging directory says of its making is of the run that made it.
#[test]
fn what_is_staged_stays_staged_when_policy_and_engine_look_different() {
    let desk = Desk::new();
    desk.ends(1, (10, true));
    let before = desk.staged();
    // The engine's function sleeps, and reads as all ones.
    fs::write(desk.machine.join(STATUS), "FFFFFFFF\n").unwrap();
    desk.ends(1, (10, false));
    desk.ends(2, (10, false));
    assert_eq!(desk.staged(), before);
    // Gone, it is staged anew, and what is recorded of it is what lies there.
    let gone = desk.file("manifest.json").parent().unwrap().to_owned();
    fs::remove_dir_all(gone).unwrap();
    desk.ends(2, (10, true));
    assert_eq!(desk.staged().len(), before.len());
    desk.ends(3, (10, false));
}

#[test]
fn a_staging_directory_that_somebody_touched_is_not_relied_on() {
    for name in ["manifest.json", "flash.sh", "neutralized.bin"] {
        let desk = Desk::new();
        desk.ends(1, (10, true));
        let file = desk.file(name);
        let mut touched = fs::read(&file).unwrap();
        // In the manifest this changes none of the values.
        *touched.last_mut().unwrap() = b' ';
        fs::write(&file, &touched).unwrap();
        let refused = desk.ends(1, (4, false));
        assert!(text(&refused.stdout).contains("move that directory away"), "{}", text(&refused.stdout));
        assert_eq!(fs::read(&file).unwrap(), touched, "{name}: evidence is not written over");
        fs::rename(file.parent().unwrap(), desk.scratch.path().join("moved")).unwrap();
        desk.ends(1, (10, true));
    }
}

#[test]
fn a_link_in_place_of_the_staging_directory_leads_nowhere() {
    let desk = Desk::new();
    desk.ends(1, (10, true));
    let staging = desk.file("manifest.json").parent().unwrap().to_owned();
    let elsewhere = desk.scratch.path().join("elsewhere");
    fs::rename(&staging, &elsewhere).unwrap();
    fs::write(elsewhere.join(".tmp-of-others"), "x").unwrap();
    let before = files(&elsewhere);
    symlink(&elsewhere, &staging).unwrap();
    desk.ends(1, (4, false));
    assert_eq!(files(&elsewhere), before);
}

/// In a sample every N-th point is tried; `OOB_CRASH_ALL=1` tries all.
#[test]
fn killed_at_every_write_one_more_run_stages_the_same() {
    let undisturbed = Desk::new();
    let trace = undisturbed.scratch.path().join("trace");
    let run = undisturbed.command(1).env("OOB_PROBE_TRACE", &trace).output().expect("running oob-agent");
    assert_eq!(code(&run), Some(10), "{}", text(&run.stderr));
    let points = fs::read_to_string(trace).unwrap().lines().count();
    let names = |staged: Vec<(PathBuf, Vec<u8>)>| -> Vec<_> {
        let plain = |path: &Path| path.file_name().unwrap().to_owned();
        // The manifest tells of the engine as it was seen, which differs below.
        staged
            .into_iter()
            .map(|(path, bytes)| (plain(&path), bytes))
            .filter(|it| it.0 != "manifest.json")
            .collect()
    };
    let whole = names(undisturbed.staged());
    let step = stride(5, 1);
    let mut tried = 0;
    for point in (1..=points).step_by(step) {
        let desk = Desk::new();
        let killed =
            desk.command(1).env("OOB_PROBE_KILL", point.to_string()).output().expect("running oob-agent");
        assert_eq!(code(&killed), None, "point {point} of {points}: {}", text(&killed.stderr));
        // And the next run is made under other circumstances.
        fs::write(desk.machine.join(STATUS), "FFFFFFFF\n").unwrap();
        let next = desk.apply(2);
        assert_eq!(code(&next), Some(10), "point {point} of {points}: {}", text(&next.stdout));
        assert!(names(desk.staged()) == whole, "point {point} of {points}: {:?}", files(&desk.out()));
        desk.ends(2, (10, false));
        tried += 1;
    }
    let _ =
        writeln!(std::io::stderr(), "crash loop: {tried} of {points} crash points of a staging run tried");
}

/// flashrom in PATH is a few lines of shell.
fn stand_in(desk: &Desk, lines: &str) -> PathBuf {
    let bin = desk.scratch.path().join("bin");
    fs::create_dir_all(&bin).unwrap();
    let program = bin.join("flashrom");
    write_program(&program, &format!("#!/bin/sh\n{lines}\n"));
    bin
}

#[test]
fn a_run_that_is_killed_while_the_chip_is_read_leaves_no_reader_and_the_next_one_no_dump() {
    let desk = Desk::new();
    fs::create_dir_all(desk.machine.join("dev")).unwrap();
    fs::rename(desk.scratch.path().join("dump"), desk.machine.join("dev/flash.img")).unwrap();
    let pid = desk.scratch.path().join("pid");
    let hang =
        format!("cp chip.img \"$4\"; echo $$ > {0}.tmp; mv {0}.tmp {0}; exec sleep 600", pid.display());
    let path = |bin: PathBuf| format!("{}:/usr/bin:/bin", bin.display());
    let mut run =
        desk.reading().env("PATH", path(stand_in(&desk, &hang))).spawn().expect("running oob-agent");
    wait_for("flashrom to hang", || pid.exists());
    let reader = Path::new("/proc").join(fs::read_to_string(&pid).unwrap().trim());
    assert!(reader.exists());
    run.kill().unwrap();
    run.wait().unwrap();
    // One that nobody waits for has ended too.
    let ended = || {
        fs::read_to_string(reader.join("stat")).is_ok_and(|stat| stat.contains(") Z ")) || !reader.exists()
    };
    wait_for("flashrom to end", ended);
    let readings =
        || files(&desk.out()).into_iter().filter(|it| it.to_string_lossy().contains("/readings/")).count();
    assert!(readings() > 0, "there is something to remove");
    let mode = fs::metadata(desk.file("reading-1.bin").parent().unwrap()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "a dump is nobody else's to read");
    let next = desk.reading().env("PATH", path(stand_in(&desk, "cp chip.img \"$4\""))).output().unwrap();
    assert_eq!(code(&next), Some(10), "{}\n{}", text(&next.stdout), text(&next.stderr));
    assert_eq!(readings(), 0, "{:?}", files(&desk.out()));
    // What flashrom says of the chip's protection is told beside the staged image.
    let locked = "echo 'FREG2: Management Engine region (0x1000-0x3fff) is read-only.'; cp chip.img \"$4\"";
    let told = desk.reading().env("PATH", path(stand_in(&desk, locked))).output().unwrap();
    assert_eq!((code(&told), &json(&told)["changed"]), (Some(10), &false.into()));
    assert!(json(&told)["findings"].to_string().contains("(Management Engine) is read-only"));
}

#[track_caller]
fn wait_for(what: &str, mut so: impl FnMut() -> bool) {
    for _ in 0..600 {
        if so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("waited in vain for {what}");
}
