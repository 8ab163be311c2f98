//! Hand-made peers for the simulator's own tests: raw bytes only, none of the simulator's code.

#![allow(dead_code, unreachable_pub, reason = "each test file is a crate and uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a peer that cannot go on fails its test")]

pub mod acm;
mod wsman;

pub use wsman::*;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use md5::{Digest, Md5};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType, connect, recv,
    send, shutdown, socket_with, sockopt,
};
use serde_json::Value;
use tempfile::TempDir;

pub const PTHI: &str = "2800f812b7b42d4baca846e0ff65814c";
pub const LME: &str = "dba4336776047b4eb3afbcfc29bee7a7";
pub const MHC: &str = "6f9ab70528467f4d899da91514cb32ab";
pub const MKHI: &str = "15676a8ebc9a434088ef9e39c6f63e0f";
pub const FWUPDATE: &str = "e8cd9d30b1cc62408f78600115a34327";

pub fn bytes(hex: &str) -> Vec<u8> {
    let hex: String = hex.split_whitespace().collect();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn md5(text: &str) -> String {
    hex(&Md5::digest(text))
}

pub fn sha256_of(bytes: &[u8]) -> String {
    hex(&sha2::Sha256::digest(bytes))
}

pub fn sha256(text: &str) -> String {
    sha256_of(text.as_bytes())
}

/// A running simulator; it ends with this value, because its standard input does.
pub struct Sim {
    pub dir: PathBuf,
    child: Child,
    stdin: Option<ChildStdin>,
    _temp: TempDir,
}

impl Sim {
    pub fn start(profile: &str, more: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), profile, more)
    }

    /// Ended, and started again in the same directory.
    pub fn restarted(mut self, profile: &str, more: &[&str]) -> Self {
        self.stdin = None;
        assert!(self.child.wait().unwrap().success());
        let empty = tempfile::tempdir().unwrap();
        let temp = std::mem::replace(&mut self._temp, empty);
        Self::start_in(temp, profile, more)
    }

    fn start_in(temp: TempDir, profile: &str, more: &[&str]) -> Self {
        let dir = temp.path().join("machine");
        let mut child = Command::new(env!("CARGO_BIN_EXE_oob-sim"))
            .args(["machine", "--profile", profile, "--until-stdin-closes", "--trace", "--dir"])
            .arg(&dir)
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(temp.path().join("trace")).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, format!("ready {}\n", dir.display()));
        let stdin = child.stdin.take();
        Self { dir, child, stdin, _temp: temp }
    }

    /// A desktop with AMT whose waiting times are a hundredth.
    pub fn vpro(faults: &[&str]) -> Self {
        let mut more = vec!["--time-scale", "0.01"];
        more.extend(faults.iter().flat_map(|fault| ["--fault", fault]));
        Self::start("vpro-desktop-amt16", &more)
    }

    pub fn state(&self) -> Value {
        let file = fs::File::open(self.dir.join("sim/state.json")).unwrap();
        // The simulator writes over the one before last.
        file.lock_shared().unwrap();
        serde_json::from_reader(BufReader::new(file)).unwrap()
    }

    pub fn count(&self, name: &str) -> u64 {
        self.state()["counters"][name].as_u64().unwrap_or(0)
    }

    pub fn port(&self) -> u16 {
        u16::try_from(json(&self.dir.join("ports.json"))["16992"].as_u64().unwrap()).unwrap()
    }

    /// Ends it and gives all that it wrote: its trace, and every file of the machine.
    pub fn end(mut self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        files(self._temp.path(), &mut found);
        self.stdin = None;
        assert!(self.child.wait().unwrap().success());
        assert!(!self.dir.join("ports.json").exists(), "an ended machine says that it is ready");
        let trace = self._temp.path().join("trace");
        found.push((trace.clone(), fs::read(trace).unwrap()));
        found
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.child.wait();
    }
}

pub fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn files(directory: &Path, found: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let (path, kind) = entry.map(|entry| (entry.path(), entry.file_type().unwrap())).unwrap();
        if kind.is_dir() {
            files(&path, found);
        } else if kind.is_file() {
            found.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
}

/// One connection to `dev/mei0`.
pub struct Mei(OwnedFd);

impl Mei {
    pub fn open(sim: &Path) -> Self {
        // Closed on exec: a process that another test starts must not keep the connection open.
        let socket =
            socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        connect(&socket, &SocketAddrUnix::new(sim.join("dev/mei0")).unwrap()).unwrap();
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(Duration::from_secs(20))).unwrap();
        Self(socket)
    }

    /// Opens and names the client: the connection, and what the connect answered.
    pub fn connect(sim: &Path, guid: &str) -> (Self, Option<Vec<u8>>) {
        let mei = Self::open(sim);
        mei.send(&bytes(guid));
        let answer = mei.receive();
        (mei, answer)
    }

    pub fn connected(sim: &Sim, guid: &str) -> Self {
        let (mei, answer) = Self::connect(&sim.dir, guid);
        assert_eq!(answer.map(|answer| answer.len()), Some(16));
        mei
    }

    /// An end that has closed already is not a failure here: what is received next shows it, and which comes first is
    /// a matter of timing where the firmware restarts.
    pub fn send(&self, message: &[u8]) {
        match send(&self.0, message, SendFlags::NOSIGNAL) {
            Ok(sent) => assert_eq!(sent, message.len()),
            Err(rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET) => {}
            Err(error) => panic!("sending to MEI: {error}"),
        }
    }

    /// The next message; `None` when the other end has closed.
    pub fn receive(&self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 8192];
        match recv(&self.0, buffer.as_mut_slice(), RecvFlags::empty()) {
            Ok((_, 0)) | Err(rustix::io::Errno::CONNRESET) => None,
            Ok((_, length)) => {
                buffer.truncate(length);
                Some(buffer)
            }
            Err(error) => panic!("receiving from MEI: {error}"),
        }
    }

    pub fn ask(&self, message: &str) -> Option<Vec<u8>> {
        self.send(&bytes(message));
        self.receive()
    }

    /// No answer comes; waits a little real time, so use it sparingly.
    pub fn is_silent(&self) -> bool {
        sockopt::set_socket_timeout(&self.0, sockopt::Timeout::Recv, Some(Duration::from_millis(300)))
            .unwrap();
        let mut buffer = [0; 64];
        matches!(recv(&self.0, &mut buffer, RecvFlags::empty()), Err(rustix::io::Errno::AGAIN))
    }
}

impl Drop for Mei {
    /// Shut down, and not closed only: a process that is just being started may share the descriptor until its exec.
    fn drop(&mut self) {
        let _ = shutdown(&self.0, Shutdown::Both);
    }
}

/// The status word of a PTHI reply and what follows it.
pub fn pthi(sim: &Sim, message: &str) -> (u32, Vec<u8>) {
    let reply = Mei::connected(sim, PTHI).ask(message).unwrap();
    assert_eq!(
        usize::try_from(u32::from_le_bytes(reply[8..12].try_into().unwrap())).unwrap(),
        reply.len() - 12
    );
    (u32::from_le_bytes(reply[12..16].try_into().unwrap()), reply[16..].to_vec())
}

pub const CONTROL_MODE: &str = "01 01 00 00 6b 00 00 04 00 00 00 00";
pub const PROVISIONING_STATE: &str = "01 01 00 00 11 00 00 04 00 00 00 00";
pub const UNPROVISION: &str = "01 01 00 00 10 00 00 04 04 00 00 00 00 00 00 00";
pub const UUID: &str = "01 01 00 00 5c 00 00 04 00 00 00 00";

/// The local system account's password.
pub fn os_admin(sim: &Sim) -> String {
    let (status, payload) = pthi(sim, &format!("01 01 00 00 67 00 00 04 28 00 00 00 {}", "00".repeat(40)));
    assert_eq!((status, payload.len()), (0, 68));
    let text = |field: &[u8]| String::from_utf8(field.split(|b| *b == 0).next().unwrap().to_vec()).unwrap();
    assert_eq!(text(&payload[..33]), "$$OsAdmin");
    text(&payload[33..66])
}

/// A way to AMT's web server that can be opened again and again.
pub trait Door {
    /// Sends a request over a new connection and gives all that comes until the other end closes.
    fn exchange(&mut self, request: &[u8]) -> Vec<u8>;
}

pub struct Network(pub u16);

impl Door for Network {
    fn exchange(&mut self, request: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.0)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut answer = Vec::new();
        // A closed port may show at the write already.
        if stream.write_all(request).is_ok() {
            let _ = stream.read_to_end(&mut answer);
        }
        answer
    }
}

/// An LME session after the handshake.
pub struct Lme {
    pub mei: Mei,
    next: u32,
}

impl Lme {
    pub fn open(sim: &Sim) -> Self {
        Self::at(&sim.dir)
    }

    pub fn at(dir: &Path) -> Self {
        Self::with_ports(dir, &["00004260", "0000026f"])
    }

    /// A session in which AMT offers exactly these ports.
    pub fn with_ports(dir: &Path, ports: &[&str]) -> Self {
        let (mei, answer) = Mei::connect(dir, LME);
        assert_eq!(answer.map(|answer| answer.len()), Some(16));
        let greeting = mei.receive().unwrap();
        assert_eq!((greeting.len(), &greeting[..9]), (93, bytes("c0 00000001 00000000").as_slice()));
        mei.send(&bytes(&format!("c0 00000001 00000000 00000009 {}", "00".repeat(80))));
        let pfwd = format!("00000012 {}", hex(b"pfwd@amt.intel.com"));
        assert_eq!(mei.receive().unwrap(), bytes(&format!("05 {pfwd}")));
        mei.send(&bytes(&format!("06 {pfwd}")));
        for port in ports {
            let forward = mei.receive().unwrap();
            let head = bytes(&format!("50 0000000d {} 01", hex(b"tcpip-forward")));
            assert!(forward.starts_with(&head) && forward.ends_with(&bytes(port)), "{}", hex(&forward));
            mei.send(&bytes(&format!("51 {port}")));
        }
        Self { mei, next: 40 }
    }

    /// Opens a channel with this window and gives the host's number and the answer.
    pub fn open_channel(&mut self, window: u32, port: u32) -> (u32, Vec<u8>) {
        self.next += 1;
        self.mei.send(&bytes(&format!(
            "5a 0000000f 666f727761726465642d7463706970 {:08x} {window:08x} ffffffff 00000003 3a3a31 {port:08x} \
             00000003 3a3a31 0000007b",
            self.next
        )));
        (self.next, self.mei.receive().unwrap())
    }

    /// Opens a channel that AMT confirms: the host's number, AMT's, and AMT's window.
    pub fn channel(&mut self, window: u32) -> (u32, u32, u32) {
        self.channel_to(window, 16992)
    }

    fn channel_to(&mut self, window: u32, port: u32) -> (u32, u32, u32) {
        let (host, answer) = self.open_channel(window, port);
        assert_eq!((answer.len(), &answer[..5]), (17, bytes(&format!("5b {host:08x}")).as_slice()));
        let number = |at: usize| u32::from_be_bytes(answer[at..at + 4].try_into().unwrap());
        (host, number(5), number(9))
    }

    pub fn send_data(&self, channel: u32, data: &[u8]) {
        let mut message = bytes(&format!("5e {channel:08x} {:08x}", data.len()));
        message.extend_from_slice(data);
        self.mei.send(&message);
    }
}

impl Lme {
    /// Over a new channel: sends what is given first and what each piece that comes is answered with, until AMT closes.
    pub fn converse(&mut self, port: u32, first: &[u8], answer: &mut dyn FnMut(&[u8]) -> Vec<u8>) {
        let (host, amt, mut window) = self.channel_to(1024, port);
        let mut rest = first.to_vec();
        loop {
            let count = rest.len().min(usize::try_from(window).unwrap()).min(2000);
            if count > 0 {
                self.send_data(amt, &rest.drain(..count).collect::<Vec<_>>());
                window -= u32::try_from(count).unwrap();
            }
            let Some(message) = self.mei.receive() else { return };
            let number = |at: usize| u32::from_be_bytes(message[at..at + 4].try_into().unwrap());
            assert_eq!(number(1), host, "a message for another channel");
            match message[0] {
                0x5d => window += number(5),
                0x5e => {
                    self.mei.send(&bytes(&format!("5d {amt:08x} {:08x}", number(5))));
                    rest.extend(answer(&message[9..]));
                }
                0x61 => {
                    self.mei.send(&bytes(&format!("61 {amt:08x}")));
                    return;
                }
                other => panic!("message {other:#x} while waiting for an answer"),
            }
        }
    }
}

impl Door for Lme {
    fn exchange(&mut self, request: &[u8]) -> Vec<u8> {
        let mut all = Vec::new();
        self.converse(16992, request, &mut |data| {
            all.extend_from_slice(data);
            Vec::new()
        });
        all
    }
}

pub const GENERAL: &str = "http://intel.com/wbem/wscim/1/amt-schema/1/AMT_GeneralSettings";
pub const SETUP: &str = "http://intel.com/wbem/wscim/1/ips-schema/1/IPS_HostBasedSetupService";
pub const CONFIGURATION: &str = "http://intel.com/wbem/wscim/1/amt-schema/1/AMT_SetupAndConfigurationService";
pub const GET: &str = "http://schemas.xmlsoap.org/ws/2004/09/transfer/Get";

/// Brings the machine into client control mode with this password, as its local account.
pub fn activate(sim: &Sim, password: &str) -> String {
    let os_admin = os_admin(sim);
    let realm = sim.state()["realm"].as_str().unwrap().to_owned();
    let ha1 = md5(&format!("admin:{realm}:{password}"));
    let answer = post(&mut Lme::open(sim), "$$OsAdmin", &os_admin, &setup_body("2", &ha1));
    assert!(answer.body.contains("ReturnValue>0<"), "{answer:?}");
    ha1
}

/// Waits until something is so.
pub fn wait_until(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !so() {
        assert!(Instant::now() < end, "{what} did not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}
