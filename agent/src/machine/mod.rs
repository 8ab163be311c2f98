//! The only doors to hardware: everything the agent may look at is reached through one root directory.
//!
//! A captured machine, a simulated one and the real one are the same thing to the code and never mixed up
//! (DESIGN section 5): only the live root `/` gives host facts, device nodes and real ports; any other root gives
//! what lies in its files and, where simulated, what answers on its sockets.

mod clock;
mod cpu;
mod dmi;
mod flash;
mod host;
mod listeners;
mod mei;
mod mei_sysfs;
mod net;
mod pci;
mod ports;
mod raw;
mod root;
pub mod smbios;

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use oob_policy::RootKind;
use rustix::fs::{Dir, FileType, OFlags};
use tokio::net::TcpStream;

pub use clock::Until;
pub use cpu::{Cpu, CpuVendor};
pub use dmi::{Dmi, Field};
pub use flash::{FlashChip, LARGEST_FLASH};
pub use host::Host;
pub use mei::{Guid, LME, MHC, MKHI, Mei, MeiError, PTHI};
pub use mei_sysfs::{Heci, MeiClient, MeiDevice, MeiSysfs};
pub use net::{Interface, Wol};
pub use pci::PciFunction;
pub use ports::{OnDieRoot, Ports};
use root::Root;

/// No file that is read here is larger on a sound machine (a BIOS table, a sysfs attribute, a port list).
const MAX_READ: u64 = 16 << 20;
/// No directory that is listed here has more entries on a sound machine.
const MAX_LIST: usize = 1 << 16;
/// Foreign strings are cut to this many characters before they become facts.
const MAX_TEXT: usize = 256;

/// Opening the root failed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("opening the machine root {path}: {error}; name a directory that exists and that you may read")]
    Root { path: String, error: io::Error },
    /// The list of ports of a simulated machine is there and cannot be used; the error says what to do.
    #[error("opening the machine root {path}: {error}")]
    Ports { path: String, error: io::Error },
}

/// What became of looking at something: not there, there but not to be read, or its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen<T> {
    Found(T),
    Missing,
    /// It exists but could not be read; the text says why and what to do, such as "run as root".
    Refused(String),
}

impl<T> Seen<T> {
    pub fn found(self) -> Option<T> {
        match self {
            Self::Found(value) => Some(value),
            Self::Missing | Self::Refused(_) => None,
        }
    }

    pub fn as_ref(&self) -> Seen<&T> {
        match self {
            Self::Found(value) => Seen::Found(value),
            Self::Missing => Seen::Missing,
            Self::Refused(why) => Seen::Refused(why.clone()),
        }
    }

    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Seen<U> {
        match self {
            Self::Found(value) => Seen::Found(change(value)),
            Self::Missing => Seen::Missing,
            Self::Refused(why) => Seen::Refused(why),
        }
    }

    fn from_io(rel: &str, result: io::Result<T>) -> Self {
        match result {
            Ok(value) => Self::Found(value),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::Missing,
                io::ErrorKind::PermissionDenied => {
                    Self::Refused(format!("reading {rel}: permission denied; run as root"))
                }
                _ => Self::Refused(format!("reading {rel}: {error}")),
            },
        }
    }
}

/// A machine, reached through one root directory.
#[derive(Debug)]
pub struct Machine {
    path: PathBuf,
    kind: RootKind,
    root: Root,
}

impl Machine {
    /// Opens the machine whose root is `path`. It is live only where `path` is `/` itself.
    ///
    /// # Errors
    /// Where `path` is no directory that may be read, and where it has a `ports.json` that is not one: neither a
    /// capture nor a simulated machine has that, and taking it for either would be a guess.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let shown = path.display().to_string();
        let fail = |error| OpenError::Root { path: shown.clone(), error };
        let path = path.canonicalize().map_err(fail)?;
        let live = path == Path::new("/");
        let root = Root::open(&path, live).map_err(fail)?;
        let kind = if live { RootKind::Live } else { RootKind::Capture };
        let mut machine = Self { path, kind, root };
        let ports = machine.ports().map_err(|error| OpenError::Ports { path: shown, error })?;
        if !live && (ports.is_some() || machine.exists("dev/mei0")) {
            machine.kind = RootKind::Simulated;
        }
        Ok(machine)
    }

    pub fn kind(&self) -> RootKind {
        self.kind
    }

    pub fn is_live(&self) -> bool {
        self.kind == RootKind::Live
    }

    /// The canonical path of the root.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The content of a regular file beneath the root, at most 16 MiB.
    pub fn read(&self, rel: &str) -> io::Result<Vec<u8>> {
        // Not to hang on a FIFO, and not to arm or drain a device: `/dev/watchdog` starts counting when opened.
        let path = self.root.open_beneath(rel, OFlags::PATH)?;
        if !root::is_type(&path, FileType::RegularFile)? {
            return Err(io::Error::other("this is not a regular file"));
        }
        let file = self.root.open_beneath(rel, OFlags::RDONLY | OFlags::NONBLOCK)?;
        if !root::is_type(&file, FileType::RegularFile)? {
            return Err(io::Error::other("this is not a regular file"));
        }
        let mut bytes = Vec::new();
        File::from(file).take(MAX_READ + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_READ {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 16 MiB"));
        }
        Ok(bytes)
    }

    /// The content of a file as text: trimmed, bytes that are not UTF-8 replaced.
    pub fn read_text(&self, rel: &str) -> io::Result<String> {
        let bytes = self.read(rel)?;
        Ok(String::from_utf8_lossy(&bytes).trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned())
    }

    /// The names in a directory, sorted.
    pub fn list(&self, rel: &str) -> io::Result<Vec<String>> {
        let dir = self.root.open_beneath(rel, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut names = Vec::new();
        for entry in Dir::new(dir)? {
            let name = String::from_utf8_lossy(entry?.file_name().to_bytes()).into_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
            if names.len() > MAX_LIST {
                return Err(io::Error::other("more than 65536 entries"));
            }
        }
        names.sort();
        Ok(names)
    }

    /// The target of a symbolic link, unresolved.
    pub fn link(&self, rel: &str) -> io::Result<String> {
        self.root.link(rel)
    }

    /// Whether something is there; a dangling link is not.
    pub fn exists(&self, rel: &str) -> bool {
        self.root.open_beneath(rel, OFlags::PATH).is_ok()
    }

    /// Like [`Self::read`], telling "not there" from "not to be read".
    pub fn look(&self, rel: &str) -> Seen<Vec<u8>> {
        Seen::from_io(rel, self.read(rel))
    }

    /// Like [`Self::read_text`], telling "not there" from "not to be read"; cut to 256 characters.
    pub fn look_text(&self, rel: &str) -> Seen<String> {
        Seen::from_io(rel, self.read_text(rel)).map(|text| clip(&text))
    }

    /// Like [`Self::list`], telling "not there" from "not to be read".
    pub fn look_list(&self, rel: &str) -> Seen<Vec<String>> {
        Seen::from_io(rel, self.list(rel))
    }

    /// The last component of a link's target, such as the driver's name of `.../driver`.
    pub fn link_name(&self, rel: &str) -> Option<String> {
        let target = self.link(rel).ok()?;
        target.rsplit('/').next().filter(|name| !name.is_empty()).map(clip)
    }

    /// Why `rel` being missing means that a value is unknown.
    pub fn missing(&self, rel: &str) -> String {
        if self.is_live() {
            format!("{rel} does not exist")
        } else {
            format!("{}: it has no {rel}", self.kind.word())
        }
    }

    /// The ports that a simulated machine listens on; none on a live root or where the list is not written yet.
    pub fn ports(&self) -> io::Result<Option<Ports>> {
        if self.is_live() {
            return Ok(None);
        }
        match self.read(ports::FILE) {
            Ok(bytes) => Ports::parse(&bytes).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ports::refusal(error.kind(), &error.to_string())),
        }
    }

    /// What waits are multiplied by: 1 on a live root, at most 1 elsewhere.
    pub fn time_scale(&self) -> f64 {
        self.ports().ok().flatten().map_or(1.0, |ports| ports.time_scale)
    }

    /// Connects to a TCP port of the machine by its key, such as `16992` or `lms:16992`.
    ///
    /// # Errors
    /// On a root that is not live a port that its `ports.json` does not list is refused, as by a closed port.
    pub async fn connect(&self, key: &str) -> io::Result<TcpStream> {
        TcpStream::connect(self.address(key)?).await
    }

    fn open_beneath(&self, rel: &str, flags: OFlags) -> io::Result<OwnedFd> {
        self.root.open_beneath(rel, flags)
    }
}

/// A foreign string, cut to what a fact may hold.
pub(crate) fn clip(text: &str) -> String {
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    text.chars().take(MAX_TEXT).collect()
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
