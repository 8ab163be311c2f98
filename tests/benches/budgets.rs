//! The time and memory budgets of whole processes (DESIGN section 12): the release binary against `sha256sum` in
//! alternation, so that a busy or slow machine weighs on both. Ends with 1 where a budget is not kept.
//!
//! `cargo build --release -p oob-agent && cargo bench -p oob-tests`; with `OOB_CORPUS_BUILT` also on real images and
//! captures.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::print_stdout, reason = "all of this is test code")]

use std::env;
use std::fs::{self, File};
use std::io::{PipeReader, Read, Write, pipe};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use oob_tests::{files, image, program, scratch, skip, skylake_capture};

const CLEAN_RATIO: f64 = 2.0;
const DETECT_TIME: Duration = Duration::from_millis(15);
const DETECT_PEAK_KIB: u64 = 20 * 1024;
/// The size that the budget of `clean` is given for.
const FLASH: usize = 16 << 20;
/// Rounds that are counted, and those before them that only warm the page cache.
const ROUNDS: usize = 21;
const WARM: usize = 2;

fn main() -> ExitCode {
    // `cargo test --all-targets` runs this too, and no test asserts a time.
    if !env::args().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    let agent = env::var_os("OOB_RELEASE_BINARY").map_or_else(|| program("oob-agent"), PathBuf::from);
    let scratch = scratch();
    let built = env::var_os("OOB_CORPUS_BUILT").map(PathBuf::from);
    if built.is_none() {
        skip("budgets on real images and captures: OOB_CORPUS_BUILT is not set");
    }
    let mut kept = true;
    for (name, image) in images(built.as_deref()) {
        kept &= clean(&agent, &name, &image, scratch.path());
    }
    kept &= detect(&agent, built.as_deref(), scratch.path());
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Our own image and the real ones of half the size, lengthened to 16 MiB.
fn images(built: Option<&Path>) -> Vec<(String, Vec<u8>)> {
    let mut images = vec![("our own image".to_owned(), lengthened(image::sunrise(2, [11, 8, 80, 3746])))];
    if let Some(built) = built {
        for name in ["x210", "starbook_kbl", "link", "lumpy"] {
            let file = built.join(format!("full/{name}.bin"));
            let image = fs::read(&file).unwrap_or_else(|error| panic!("reading {}: {error}", file.display()));
            images.push((name.to_owned(), lengthened(image)));
        }
    }
    images
}

/// The image with a BIOS region that reaches to 16 MiB and is as hard to compress as real ones (reference/me.md 1.1:
/// FLREG1 holds the number of its last page in bits 16 and up).
fn lengthened(mut image: Vec<u8>) -> Vec<u8> {
    let frba = usize::from(image[0x16]) << 4;
    let last_page = (image.len() >> 12) - 1;
    let limit = frba + 6;
    assert_eq!(image[limit..limit + 2], (last_page as u16).to_le_bytes(), "its last region is not the BIOS");
    image[limit..limit + 2].copy_from_slice(&((FLASH >> 12) as u16 - 1).to_le_bytes());
    let mut noise = 0x9e37_79b9_7f4a_7c15_u64;
    while image.len() < FLASH {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        image.extend(noise.to_le_bytes());
    }
    image
}

/// `firmware clean -S` against `sha256sum` of the same file; what is written and synced is part of it.
fn clean(agent: &Path, name: &str, image: &[u8], scratch: &Path) -> bool {
    let (input, output) = (scratch.join("flash.bin"), scratch.join("cleaned.bin"));
    fs::write(&input, image).unwrap();
    File::open(&input).unwrap().sync_all().unwrap();
    let cleaning = || {
        let mut command = Command::new(agent);
        command.args(["firmware", "clean", "-S", "-O"]).args([&output, &input]);
        command
    };
    let mut hashing = Command::new("sha256sum");
    hashing.arg(&input);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..WARM + ROUNDS {
        theirs.push(time(&mut hashing));
        let _ = fs::remove_file(&output);
        ours.push(time(&mut cleaning()));
    }
    assert_ne!(fs::read(&output).unwrap(), image, "{name}: nothing was cleaned");
    let _ = fs::remove_file(&output);
    let peak = peak_kib(&mut cleaning());
    let (ours, theirs) = (median(ours), median(theirs));
    let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
    verdict(
        ratio <= CLEAN_RATIO,
        &format!(
            "firmware clean -S, 16 MiB, {name}: {:.1} ms, sha256sum {:.1} ms, ratio {ratio:.2} of {CLEAN_RATIO:.2}; \
             peak {peak} KiB",
            milliseconds(ours),
            milliseconds(theirs)
        ),
    )
}

/// `detect` on every capture there is; the slowest and the largest count.
fn detect(agent: &Path, built: Option<&Path>, scratch: &Path) -> bool {
    let roots = match built {
        Some(built) => directories(&built.join("roots")),
        None => vec![skylake_capture(&scratch.join("skylake"))],
    };
    assert!(!roots.is_empty(), "there is no capture in OOB_CORPUS_BUILT/roots");
    let mut slowest = (Duration::ZERO, String::new());
    let mut largest = (0, String::new());
    for root in &roots {
        let name = root.file_name().unwrap().to_string_lossy().into_owned();
        let detecting = || {
            let mut command = Command::new(agent);
            command.args(["detect", "--json", "--root"]).arg(root);
            command
        };
        let taken = median((0..WARM + ROUNDS).map(|_| time(&mut detecting())).collect());
        slowest = slowest.max((taken, name.clone()));
        largest = largest.max((peak_kib(&mut detecting()), name));
    }
    let budget = milliseconds(DETECT_TIME);
    let fast = verdict(
        slowest.0 <= DETECT_TIME,
        &format!(
            "detect, {} captures, slowest {}: {:.1} ms of {budget}",
            roots.len(),
            slowest.1,
            milliseconds(slowest.0)
        ),
    );
    let small = verdict(
        largest.0 <= DETECT_PEAK_KIB,
        &format!(
            "detect, {} captures, largest {}: peak {} KiB of {DETECT_PEAK_KIB}",
            roots.len(),
            largest.1,
            largest.0
        ),
    );
    fast && small
}

fn verdict(kept: bool, what: &str) -> bool {
    println!("{} {what}", if kept { "kept  " } else { "MISSED" });
    kept
}

/// From the start of a process to its end, with its output thrown away.
fn time(command: &mut Command) -> Duration {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let begun = Instant::now();
    let status = command.status().expect("starting a program");
    let taken = begun.elapsed();
    assert!(status.success(), "{command:?} ended with {status}");
    taken
}

/// The median of the rounds that count.
fn median(mut taken: Vec<Duration>) -> Duration {
    taken.drain(..WARM);
    taken.sort_unstable();
    taken[taken.len() / 2]
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The largest resident set of a process, in KiB. The kernel tells it only while the process lives, so its stdout is a
/// pipe that is full: it comes to rest where it has done everything but print.
fn peak_kib(command: &mut Command) -> u64 {
    let (reader, mut writer) = pipe().expect("making a pipe");
    let capacity = rustix::pipe::fcntl_getpipe_size(&writer).expect("asking for a pipe's size");
    writer.write_all(&vec![0; capacity]).expect("filling a pipe");
    command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::null());
    let mut process = command.spawn().expect("starting a program");
    // Our own end of the pipe, which would keep the reader waiting.
    command.stdout(Stdio::null());
    let peak = peak_at_rest(&process);
    let status = drain(reader, &mut process);
    assert!(status.success(), "{command:?} ended with {status}");
    peak
}

/// Waits until the process has slept for a while without growing.
fn peak_at_rest(process: &Child) -> u64 {
    const QUIET: u32 = 20;
    let status = format!("/proc/{}/status", process.id());
    let (mut peak, mut quiet) = (0, 0);
    while quiet < QUIET {
        sleep(Duration::from_millis(5));
        let told = fs::read_to_string(&status).expect("reading the status of a process");
        let field = |name: &str| told.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let now = field("VmHWM:").and_then(|it| it.strip_suffix(" kB")?.parse().ok());
        let now: u64 = now.expect("the process ended before it printed anything");
        let rests = field("State:").is_some_and(|it| it.starts_with('S')) && now == peak;
        quiet = if rests { quiet + 1 } else { 0 };
        peak = now;
    }
    peak
}

fn drain(mut reader: PipeReader, process: &mut Child) -> std::process::ExitStatus {
    reader.read_to_end(&mut Vec::new()).expect("reading what a program prints");
    process.wait().expect("waiting for a program")
}

fn directories(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap_or_else(|error| panic!("reading {}: {error}", dir.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir() && !files(path).is_empty())
        .collect();
    found.sort();
    found
}
