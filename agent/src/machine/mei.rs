//! The MEI door: one connection to one client of the management engine's firmware (reference/amt.md 1).
//!
//! Live, it is a character device and an ioctl. Elsewhere it is a `SOCK_SEQPACKET` socket that speaks the same:
//! the first datagram is the client's GUID, the answer what the ioctl would return; then one datagram is one message.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::{FileType, OFlags, fstat, major, minor};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{sleep, timeout};

use super::{Machine, Seen, raw, root};

/// AMT's host interface, which tells versions and state and starts provisioning.
pub const PTHI: &str = "12f80028-b4b7-4b2d-aca8-46e0ff65814c";
/// The local manageability engine: APF, the way to AMT's ports.
pub const LME: &str = "6733a4db-0476-4e7b-b3af-bcfc29bee7a7";
/// The watchdog's and manageability host client.
pub const MHC: &str = "05b79a6f-4628-4d7f-899d-a91514cb32ab";
/// The kernel host interface: firmware versions and features.
pub const MKHI: &str = "8e6a6715-9abc-4043-88ef-9e39c6f63e0f";

/// The nodes that are probed, as the vendor's own service does.
const NODES: usize = 4;
/// Most clients take one connection; whoever holds it is waited for this often and this long (amt.md 1.1).
const BUSY_TRIES: u32 = 3;
const BUSY_WAIT: Duration = Duration::from_millis(500);
/// How long a peer that is not live may take to answer the connect message, and any device to take a message.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Why a MEI connection could not be made or used. Every text ends with what to do next.
#[derive(Debug, thiserror::Error)]
pub enum MeiError {
    #[error(
        "looking for the management engine: there is no MEI device; load mei_me, or enable the ME in BIOS setup"
    )]
    NoDriver,
    #[error(
        "connecting to MEI client {client}: the firmware has no such client or does not admit it (ENOTTY); see whether AMT is enabled in BIOS setup"
    )]
    NoClient { client: String },
    #[error(
        "connecting to MEI client {client} on {node}: another program holds it (EBUSY); stop that program (LMS, often) and run again"
    )]
    Busy { client: String, node: String },
    #[error(
        "connecting to MEI client {client} on {node}: the firmware is not ready (ENODEV); wait a minute and run again"
    )]
    NotReady { client: String, node: String },
    #[error("opening {node}: permission denied; run as root")]
    Permission { node: String },
    #[error(
        "{doing} on {node}: no answer within {waited:?}; run again, and power cycle the machine if it stays so"
    )]
    Timeout { doing: &'static str, node: String, waited: Duration },
    #[error(
        "sending on {node}: the message has {length} bytes and the client takes {most} (EFBIG); report this as a defect"
    )]
    TooLong { node: String, length: usize, most: usize },
    #[error(
        "receiving on {node}: the message is longer than the {most} bytes that the client announced; report this firmware's version"
    )]
    Truncated { node: String, most: usize },
    #[error("{doing} on {node}: the firmware closed the connection (ENODEV); run again")]
    Disconnected { doing: &'static str, node: String },
    #[error("{doing} on {node}: {error}; run again with the machine's kernel log at hand")]
    Io { doing: &'static str, node: String, error: io::Error },
}

/// A client's GUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guid([u8; 16]);

impl Guid {
    /// Reads the canonical text, such as [`PTHI`]; any case.
    pub fn parse(text: &str) -> Option<Self> {
        let groups: Vec<&str> = text.split('-').collect();
        if groups.iter().map(|group| group.len()).ne([8, 4, 4, 4, 12]) || !text.is_ascii() {
            return None;
        }
        let hex = groups.concat();
        let number = u128::from_str_radix(&hex, 16).ok().filter(|_| !hex.contains('+'))?;
        Some(Self(number.to_be_bytes()))
    }

    /// The bytes as they go over the wire: the first three groups little-endian.
    pub fn wire(self) -> [u8; 16] {
        let mut bytes = self.0;
        bytes[0..4].reverse();
        bytes[4..6].reverse();
        bytes[6..8].reverse();
        bytes
    }
}

/// A connection to one client. Dropping it closes it.
#[derive(Debug)]
pub struct Mei {
    fd: AsyncFd<OwnedFd>,
    socket: bool,
    node: String,
    /// The longest message that the client takes and sends.
    pub max_msg_length: usize,
    /// The client's protocol version.
    pub protocol: u8,
}

impl Machine {
    /// Connects to the client with this GUID on the first of mei0 to mei3 that has it.
    pub async fn mei_connect(&self, client: &str) -> Result<Mei, MeiError> {
        let guid = Guid::parse(client).ok_or_else(|| MeiError::Io {
            doing: "connecting",
            node: "dev/mei0".to_owned(),
            error: io::Error::new(io::ErrorKind::InvalidInput, format!("{client:?} is not a GUID")),
        })?;
        let mut outcome = Err(MeiError::NoDriver);
        for node in self.mei_nodes(client) {
            let mut tries = 0;
            outcome = loop {
                tries += 1;
                match self.connect_node(&node, client, guid).await {
                    Err(MeiError::Busy { .. }) if tries < BUSY_TRIES => {
                        sleep(BUSY_WAIT.mul_f64(self.time_scale())).await;
                    }
                    other => break other,
                }
            };
            // Only a firmware without this client sends us on: another node may belong to another firmware.
            if !matches!(outcome, Err(MeiError::NoClient { .. })) {
                return outcome;
            }
        }
        outcome
    }

    /// The nodes to try, those first whose firmware announces the client.
    fn mei_nodes(&self, client: &str) -> Vec<String> {
        let devices = self.mei_devices();
        let clients = self.mei_clients().found().unwrap_or_default();
        let announces = |node: &str| {
            let parent =
                devices.iter().find(|device| device.name == node).and_then(|device| device.parent.clone());
            let ours = |device: &str| parent.as_deref().is_none_or(|parent| device.starts_with(parent));
            clients.iter().any(|entry| entry.uuid.eq_ignore_ascii_case(client) && ours(&entry.device))
        };
        let listed = matches!(self.look_list("sys/class/mei"), Seen::Found(names) if !names.is_empty());
        let mut nodes: Vec<String> = (0..NODES)
            .map(|number| format!("mei{number}"))
            .filter(|node| self.exists(&format!("dev/{node}")))
            // Where sysfs lists the devices, it decides which are engines; a touch panel's is not.
            .filter(|node| !listed || devices.iter().any(|device| device.name == *node))
            .collect();
        nodes.sort_by_key(|node| !announces(node));
        nodes
    }

    async fn connect_node(&self, node: &str, client: &str, guid: Guid) -> Result<Mei, MeiError> {
        let rel = format!("dev/{node}");
        let named = |error| told(error, "connecting", &rel, Some(client));
        let (fd, answer) = if self.is_live() {
            let fd = self.open_device(node).map_err(named)?;
            connect_device(fd, guid).await.map_err(named)?
        } else {
            let fd = raw::watch(self.open_socket(&rel).map_err(named)?).map_err(named)?;
            let wait = self.deadline(HANDSHAKE);
            let answer = timeout(wait, shake_hands(&fd, guid)).await;
            let late = |_| MeiError::Timeout { doing: "connecting", node: rel.clone(), waited: wait };
            let answer = answer.map_err(late)?.map_err(named)?;
            (fd, answer)
        };
        let [a, b, c, d, protocol, ..] = answer;
        let max_msg_length = u32::from_le_bytes([a, b, c, d]) as usize;
        if max_msg_length == 0 || max_msg_length > 1 << 20 {
            let text = format!("the firmware says that its messages have at most {max_msg_length} bytes");
            return Err(named(io::Error::new(io::ErrorKind::InvalidData, text)));
        }
        Ok(Mei { fd, socket: !self.is_live(), node: rel, max_msg_length, protocol })
    }

    /// Opens the real device, and only if it is the one that sysfs describes.
    fn open_device(&self, node: &str) -> io::Result<OwnedFd> {
        let numbers = self.read_text(&format!("sys/class/mei/{node}/dev"))?;
        let fd =
            self.open_beneath(&format!("dev/{node}"), OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOFOLLOW)?;
        let seen = fstat(&fd)?;
        let same = format!("{}:{}", major(seen.st_rdev), minor(seen.st_rdev)) == numbers;
        if !same || FileType::from_raw_mode(seen.st_mode) != FileType::CharacterDevice {
            return Err(io::Error::other(format!(
                "this is not the character device {numbers} that sysfs describes"
            )));
        }
        Ok(fd)
    }

    /// Opens a simulated device: a socket beneath the root and nothing else.
    fn open_socket(&self, rel: &str) -> io::Result<OwnedFd> {
        let place = self.open_beneath(rel, OFlags::PATH)?;
        if !root::is_type(&place, FileType::Socket)? {
            return Err(io::Error::other("only a socket is a device on a root that is not live"));
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        // The path is resolved already: through /proc the connect cannot be led elsewhere, however long the path is.
        let path = PathBuf::from(format!("/proc/self/fd/{}", place.as_raw_fd()));
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
        Ok(socket)
    }
}

impl Mei {
    /// Sends one whole message.
    pub async fn send(&mut self, message: &[u8]) -> Result<(), MeiError> {
        if message.len() > self.max_msg_length {
            let (length, most) = (message.len(), self.max_msg_length);
            return Err(MeiError::TooLong { node: self.node.clone(), length, most });
        }
        let socket = self.socket;
        let write = self.fd.async_io(Interest::WRITABLE, |fd| {
            if socket {
                Ok(rustix::net::send(fd, message, rustix::net::SendFlags::NOSIGNAL)?)
            } else {
                Ok(rustix::io::write(fd, message)?)
            }
        });
        let written = match timeout(HANDSHAKE, write).await {
            Err(_) => return Err(self.late("sending", HANDSHAKE)),
            Ok(result) => result.map_err(|error| told(error, "sending", &self.node, None))?,
        };
        if written != message.len() {
            let error = io::Error::other(format!("{written} of {} bytes were taken", message.len()));
            return Err(MeiError::Io { doing: "sending", node: self.node.clone(), error });
        }
        Ok(())
    }

    /// Receives one whole message.
    pub async fn recv(&mut self, wait: Duration) -> Result<Vec<u8>, MeiError> {
        let mut buffer = vec![0; self.max_msg_length];
        let socket = self.socket;
        let read = self.fd.async_io(Interest::READABLE, |fd| {
            if socket {
                recv_datagram(fd, &mut buffer)
            } else {
                Ok(Some(rustix::io::read(fd, &mut buffer[..])?))
            }
        });
        let length = match timeout(wait, read).await {
            Err(_) => return Err(self.late("receiving", wait)),
            Ok(result) => result.map_err(|error| told(error, "receiving", &self.node, None))?,
        };
        match length {
            None => Err(MeiError::Truncated { node: self.node.clone(), most: self.max_msg_length }),
            Some(0) => Err(MeiError::Disconnected { doing: "receiving", node: self.node.clone() }),
            Some(length) => {
                buffer.truncate(length);
                Ok(buffer)
            }
        }
    }

    fn late(&self, doing: &'static str, waited: Duration) -> MeiError {
        MeiError::Timeout { doing, node: self.node.clone(), waited }
    }
}

/// The ioctl waits for the firmware, up to seconds, so it must not hold up the runtime.
async fn connect_device(fd: OwnedFd, guid: Guid) -> io::Result<(AsyncFd<OwnedFd>, [u8; 16])> {
    let work =
        tokio::task::spawn_blocking(move || raw::mei_connect(&fd, guid.wire()).map(|answer| (fd, answer)));
    let (fd, answer) = work.await.map_err(io::Error::other)??;
    Ok((raw::watch(fd)?, answer))
}

/// GUID out, 16 bytes or an error number in.
async fn shake_hands(fd: &AsyncFd<OwnedFd>, guid: Guid) -> io::Result<[u8; 16]> {
    let wire = guid.wire();
    fd.async_io(Interest::WRITABLE, |fd| Ok(rustix::net::send(fd, &wire, rustix::net::SendFlags::NOSIGNAL)?))
        .await?;
    let mut buffer = [0; 17];
    let length = fd.async_io(Interest::READABLE, |fd| recv_datagram(fd, &mut buffer)).await?;
    match (length, buffer) {
        (Some(0), _) => Err(Errno::NODEV.into()),
        (Some(16), [answer @ .., _]) => Ok(answer),
        (Some(4), [a, b, c, d, ..]) => Err(match i32::from_le_bytes([a, b, c, d]) {
            errno @ 1..=4095 => io::Error::from_raw_os_error(errno),
            other => io::Error::other(format!("the answer to connect is the error number {other}")),
        }),
        (length, _) => Err(io::Error::other(format!(
            "the answer to connect has {} bytes, not 16 or 4",
            length.unwrap_or(17)
        ))),
    }
}

/// Length of the datagram; none where it did not fit.
fn recv_datagram(fd: impl AsFd, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    use rustix::net::{RecvAncillaryBuffer, RecvFlags, ReturnFlags, recvmsg};
    let mut room = [io::IoSliceMut::new(buffer)];
    let mut control = RecvAncillaryBuffer::default();
    let received = recvmsg(fd, &mut room, &mut control, RecvFlags::empty())?;
    Ok((!received.flags.contains(ReturnFlags::TRUNC)).then_some(received.bytes))
}

/// The error's meaning at this door.
fn told(error: io::Error, doing: &'static str, node: &str, client: Option<&str>) -> MeiError {
    let node = node.to_owned();
    let client_text = || client.unwrap_or("of this connection").to_owned();
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOTTY) if client.is_some() => MeiError::NoClient { client: client_text() },
        // A full backlog (EAGAIN) is a busy peer too.
        Some(Errno::BUSY | Errno::AGAIN) => MeiError::Busy { client: client_text(), node },
        // A socket that nobody listens on any more is a device whose firmware is gone.
        Some(Errno::NODEV | Errno::CONNREFUSED) if client.is_some() => {
            MeiError::NotReady { client: client_text(), node }
        }
        Some(Errno::NODEV | Errno::CONNRESET | Errno::PIPE | Errno::NOTCONN | Errno::CONNREFUSED) => {
            MeiError::Disconnected { doing, node }
        }
        Some(Errno::ACCESS | Errno::PERM) => MeiError::Permission { node },
        _ => MeiError::Io { doing, node, error },
    }
}

#[cfg(test)]
#[path = "mei_tests.rs"]
mod tests;
