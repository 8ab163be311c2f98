//! What the end-to-end tests share: the two programs as processes, simulated machines, scratch directories.
//!
//! Nothing here depends on a crate of the product, so a test sees what an operator sees: files, exit codes, text.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "all of this is test code")]

pub mod est;
pub mod image;
pub mod provisioning;
pub mod server;

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use serde_json::Value;

/// A program of this workspace, built by `cargo test --workspace` beside the test itself.
///
/// # Panics
/// Where it was not built: run `cargo test --workspace`, which builds every program.
pub fn program(name: &str) -> PathBuf {
    let path = build_directory().join(name);
    assert!(path.exists(), "{} is missing; run `cargo test --workspace`, which builds it", path.display());
    path
}

fn build_directory() -> PathBuf {
    let test = env::current_exe().expect("a test has a path");
    test.ancestors().nth(2).expect("tests lie in target/PROFILE/deps").to_path_buf()
}

/// The root of the workspace.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").to_path_buf()
}

/// A scratch directory on the disk that holds the build, since escrow refuses a tmpfs.
pub fn scratch() -> tempfile::TempDir {
    let base = build_directory().join("scratch");
    fs::create_dir_all(&base).expect("making the scratch directory");
    tempfile::Builder::new().prefix("e2e-").tempdir_in(base).expect("making a scratch directory")
}

/// A scratch directory in memory where there is a place for that, for what need not outlive anything: a simulated machine's.
pub fn scratch_in_memory() -> tempfile::TempDir {
    match tempfile::Builder::new().prefix("oob-e2e-").tempdir_in("/dev/shm") {
        Ok(dir) => dir,
        Err(_) => scratch(),
    }
}

/// Every how many-th case of a matrix is tried: of the sample that a person waits for, of the larger one in `.ci/run`
/// (`OOB_CRASH_ALL=1`), and every one with `OOB_FAULTS_ALL=1`.
#[must_use]
pub fn stride(sample: usize, larger: usize) -> usize {
    match (whole(), env::var_os("OOB_CRASH_ALL").is_some()) {
        (true, _) => 1,
        (_, true) => larger,
        _ => sample,
    }
}

/// True where the whole of each matrix is asked for, which takes hours.
#[must_use]
pub fn whole() -> bool {
    env::var_os("OOB_FAULTS_ALL").is_some()
}

/// Says, past the test runner's capture, what is not tested here.
pub fn skip(what: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {what}");
}

/// True where another program is installed; otherwise says what is skipped.
pub fn installed(name: &str, what: &str) -> bool {
    let found =
        env::split_paths(&env::var_os("PATH").unwrap_or_default()).any(|dir| dir.join(name).is_file());
    if !found {
        skip(&format!("{what}: {name} is not installed"));
    }
    found
}

/// Runs the agent.
pub fn agent<I, S>(arguments: I) -> Output
where
    I: IntoIterator<Item = S>,
    S: AsRef<std::ffi::OsStr>,
{
    agent_command().args(arguments).output().expect("running oob-agent")
}

/// The agent with an environment of its own.
pub fn agent_command() -> Command {
    let mut command = Command::new(program("oob-agent"));
    command.current_dir(workspace()).env("NO_COLOR", "1");
    command
}

/// The agent's exit code; a killed agent has none.
pub fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

/// stdout as JSON, with both streams in the panic if it is not.
pub fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("stdout is not JSON ({error}):\n{}\n{}", text(&output.stdout), text(&output.stderr))
    })
}

/// Writes a program that is run at once. By a process of its own: a file that this one has open for writing may be held by a
/// child of another test that is just being started, and what is open for writing is not executed.
pub fn write_program(path: &Path, text: &str) {
    let mut writer = Command::new("sh")
        .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .expect("starting sh");
    write!(writer.stdin.take().expect("stdin is piped"), "{text}").expect("handing the program over");
    assert!(writer.wait().expect("waiting for sh").success());
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A simulated machine, served by a process of its own until it is dropped.
pub struct Machine {
    process: Child,
    pub dir: PathBuf,
}

impl Machine {
    pub fn start(profile: &str, dir: &Path, arguments: &[&str]) -> Self {
        let mut process = Command::new(program("oob-sim"))
            .args(["machine", "--profile", profile, "--until-stdin-closes", "--time-scale", "0.05", "--dir"])
            .arg(dir)
            .arg("--keep-primes")
            .arg(build_directory().join("scratch/primes"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starting oob-sim");
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().expect("stdout is piped"))
            .read_line(&mut line)
            .expect("reading oob-sim's first line");
        assert!(line.starts_with("ready"), "oob-sim said {line:?}");
        Self { process, dir: dir.to_path_buf() }
    }

    /// The simulator's own record: control mode, counters, calls.
    pub fn state(&self) -> Value {
        let file = self.dir.join("sim/state.json");
        let file = fs::File::open(&file).expect("opening sim/state.json");
        // The simulator writes over the one before last.
        file.lock_shared().expect("locking sim/state.json");
        serde_json::from_reader(BufReader::new(file)).expect("sim/state.json is JSON")
    }

    pub fn mutating_calls(&self) -> u64 {
        self.state()["mutating"].as_u64().expect("a count")
    }

    pub fn calls(&self) -> Vec<String> {
        let state = self.state();
        let calls = state["calls"].as_array().expect("a list of calls");
        calls.iter().map(|call| call.as_str().expect("a call's name").to_owned()).collect()
    }

    /// The loopback port that stands for `port` of this machine.
    pub fn port(&self, port: &str) -> u16 {
        let ports: Value =
            serde_json::from_slice(&fs::read(self.dir.join("ports.json")).expect("reading ports.json"))
                .expect("JSON");
        u16::try_from(ports[port].as_u64().expect("the port is served")).expect("a port number")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A captured Skylake machine with ME 11: no devices, only what a few files tell.
pub fn skylake_capture(dir: &Path) -> PathBuf {
    for (file, content) in [
        ("sys/class/dmi/id/sys_vendor", "Example Computer Corp.\n"),
        ("sys/class/dmi/id/product_name", "ExampleDesk 5050\n"),
        ("sys/class/dmi/id/product_serial", "7QK2L11\n"),
        ("sys/class/dmi/id/product_uuid", "4c4c4544-0051-4b10-8032-b7c04f4c3131\n"),
        ("sys/class/mei/mei0/fw_ver", "0:11.8.80.3746\n0:11.8.80.3746\n0:11.8.80.3746\n"),
        ("sys/class/mei/mei0/kind", "mei\n"),
        ("sys/class/mei/mei0/dev_state", "ENABLED\n"),
        (
            "proc/cpuinfo",
            "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Example i5-6500\nflags\t\t: fpu\n\n",
        ),
    ] {
        let file = dir.join(file);
        fs::create_dir_all(file.parent().expect("a parent")).expect("making a capture");
        fs::write(file, content).expect("writing a capture");
    }
    dir.to_path_buf()
}

/// A policy in `dir` whose only rule neutralizes every machine by these settings: what stands in its inline table.
pub fn neutralize_policy(dir: &Path, settings: &str) -> PathBuf {
    let file = dir.join("neutralize.toml");
    let policy = format!(
        "schema = 1\n[policy]\nname = \"opsec\"\nserial = 1\n[defaults]\naction = \"ignore\"\n[[rule]]\nid = \"opsec\"\n\
         match = {{ vendor = \"*\" }}\naction = \"neutralize\"\nneutralize = {{ {settings} }}\n"
    );
    fs::write(&file, policy).expect("writing a policy");
    file
}

/// One PTHI request over the simulated MEI, in bytes that the caller wrote, as any root process could send it.
pub fn pthi(machine: &Path, request: &[u8]) -> Vec<u8> {
    const CLIENT: [u8; 16] =
        [0x28, 0, 0xf8, 0x12, 0xb7, 0xb4, 0x2d, 0x4b, 0xac, 0xa8, 0x46, 0xe0, 0xff, 0x65, 0x81, 0x4c];
    // A socket's path may have 108 bytes; through a descriptor it is short wherever the machine lies.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dev = rustix::fs::open(machine.join("dev"), flags, Mode::empty()).expect("opening dev");
    let path = format!("/proc/self/fd/{}/mei0", dev.as_raw_fd());
    let mei =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .expect("making a socket");
    rustix::net::connect(&mei, &SocketAddrUnix::new(path.as_str()).expect("a path"))
        .expect("connecting to mei0");
    let exchange = |message: &[u8]| {
        rustix::net::send(&mei, message, SendFlags::empty()).expect("sending");
        let mut reply = vec![0; 6000];
        let (length, _) = rustix::net::recv(&mei, &mut reply, RecvFlags::empty()).expect("receiving");
        reply.truncate(length);
        reply
    };
    assert_eq!(exchange(&CLIENT).len(), 16, "connecting to the PTHI client");
    exchange(request)
}

/// Every file below `dir`, in order.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(next) = open.pop() {
        let Ok(entries) = fs::read_dir(&next) else { continue };
        for entry in entries.flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => open.push(entry.path()),
                Ok(kind) if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found.sort();
    found
}
