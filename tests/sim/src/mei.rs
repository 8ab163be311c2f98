//! `dev/mei0`: a SOCK_SEQPACKET socket in place of the kernel's MEI device. One datagram is one message, one
//! connection one client; the first datagram is the client's GUID in wire order, answered with the 16 bytes of the
//! connect ioctl or with an errno.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen,
    recv, send, socket_with, sockopt,
};
use rustix::process::{Signal, getpid, kill_process};

use crate::device::{Device, Inner};
use crate::fault::Fault;
use crate::profile::{Facts, swapped};
use crate::{lme, mhc, pthi, spoil, upid};

/// A firmware client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// AMT's host interface.
    Pthi,
    /// AMT's port forwarding.
    Lme,
    /// The watchdog's, which carries the manageability commands.
    Mhc,
    /// The kernel host interface.
    Mkhi,
    /// The unique platform id.
    Upid,
}

impl Client {
    /// The clients of a machine's firmware.
    #[must_use]
    pub fn of(facts: &Facts) -> &'static [Self] {
        match (facts.has_amt(), facts.has_upid) {
            _ if facts.is_hidden => &[Self::Mhc, Self::Mkhi],
            (true, true) => &[Self::Pthi, Self::Lme, Self::Mhc, Self::Mkhi, Self::Upid],
            (true, false) => &[Self::Pthi, Self::Lme, Self::Mhc, Self::Mkhi],
            (false, _) => &[Self::Mkhi],
        }
    }

    /// Its GUID in text order.
    #[must_use]
    pub fn guid(self) -> [u8; 16] {
        let guid: u128 = match self {
            Self::Pthi => 0x12f80028_b4b7_4b2d_aca8_46e0ff65814c,
            Self::Lme => 0x6733a4db_0476_4e7b_b3af_bcfc29bee7a7,
            Self::Mhc => 0x05b79a6f_4628_4d7f_899d_a91514cb32ab,
            Self::Mkhi => 0x8e6a6715_9abc_4043_88ef_9e39c6f63e0f,
            Self::Upid => 0x92136c79_5fea_4cfd_980e_23be07fa5e9f,
        };
        guid.to_be_bytes()
    }

    /// The longest message, either way.
    #[must_use]
    pub fn max_message(self) -> u32 {
        match self {
            Self::Pthi => pthi::MAX_MESSAGE,
            Self::Lme => lme::MAX_MESSAGE,
            Self::Mhc => mhc::MHC_MAX_MESSAGE,
            Self::Mkhi => mhc::MKHI_MAX_MESSAGE,
            Self::Upid => upid::MAX_MESSAGE,
        }
    }

    /// How many may be connected at once.
    #[must_use]
    pub fn max_connections(self) -> u8 {
        match self {
            Self::Pthi => 4,
            Self::Mkhi => 3,
            Self::Lme | Self::Mhc | Self::Upid => 1,
        }
    }

    /// The version of its protocol.
    #[must_use]
    pub fn version(self) -> u8 {
        match self {
            Self::Pthi | Self::Mkhi => 2,
            Self::Lme | Self::Mhc | Self::Upid => 1,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Pthi => "pthi",
            Self::Lme => "lme",
            Self::Mhc => "mhc",
            Self::Mkhi => "mkhi",
            Self::Upid => "upid",
        }
    }
}

/// The other end of one connection.
pub struct Peer {
    socket: Arc<OwnedFd>,
    max_message: usize,
}

impl Peer {
    /// The next datagram; `None` when the peer is gone, or sent more than `max_msg_length`.
    #[must_use]
    pub fn receive(&self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; self.max_message];
        let (_, length) = recv(&self.socket, buffer.as_mut_slice(), RecvFlags::TRUNC).ok()?;
        if length == 0 || length > self.max_message {
            return None;
        }
        buffer.truncate(length);
        Some(buffer)
    }

    /// Sends one datagram; false when the peer is gone.
    #[must_use]
    pub fn send(&self, datagram: &[u8]) -> bool {
        send(&self.socket, datagram, SendFlags::NOSIGNAL).is_ok()
    }

    /// SIGKILL to the process that connected, unless that is this process or the first one.
    pub fn kill(&self) {
        if let Ok(credentials) = sockopt::socket_peercred(&self.socket) {
            let pid = credentials.pid;
            if pid != getpid() && !pid.is_init() {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }

    fn is_gone(&self) -> bool {
        let mut poll_fd = [PollFd::new(&self.socket, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut poll_fd, Some(&now)).is_ok() && poll_fd[0].revents().contains(PollFlags::HUP)
    }
}

/// Opens `path` as the MEI device and serves it in the background.
///
/// # Errors
/// When the socket cannot be bound there.
pub fn serve(device: &Arc<Device>, path: &Path) -> io::Result<()> {
    let listener = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(io::Error::from)?;
    // A socket's name is at most 107 bytes: a long path is reached through the directory's descriptor.
    let missing = || io::Error::other("the MEI path has no directory");
    let directory = File::open(path.parent().ok_or_else(missing)?)?;
    let name = path.file_name().ok_or_else(missing)?;
    let short = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
    bind(&listener, &SocketAddrUnix::new(&short)?)?;
    listen(&listener, 16)?;
    let (device, slots) = (Arc::clone(device), Arc::new(Slots::default()));
    thread::spawn(move || {
        loop {
            let Ok(socket) = accept_with(&listener, SocketFlags::CLOEXEC) else { continue };
            let (device, slots) = (Arc::clone(&device), Arc::clone(&slots));
            thread::spawn(move || connect(&device, &slots, &Arc::new(socket)));
        }
    });
    Ok(())
}

/// The connected peers.
#[derive(Default)]
struct Slots(Mutex<Vec<(Client, Arc<OwnedFd>)>>);

impl Slots {
    /// Takes a slot of the client if one is free. A peer that has hung up holds none, even if its thread has not
    /// seen that yet: closing a MEI file is immediate.
    fn take(&self, client: Client, socket: &Arc<OwnedFd>) -> bool {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.retain(|(_, socket)| !Peer { socket: Arc::clone(socket), max_message: 0 }.is_gone());
        let free = taken.iter().filter(|(other, _)| *other == client).count()
            < usize::from(client.max_connections());
        if free {
            taken.push((client, Arc::clone(socket)));
        }
        free
    }

    fn release(&self, socket: &Arc<OwnedFd>) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|(_, other)| !Arc::ptr_eq(other, socket));
    }
}

const ENODEV: i32 = 19;
const EBUSY: i32 = 16;
const ENOTTY: i32 = 25;

fn connect(device: &Device, slots: &Slots, socket: &Arc<OwnedFd>) {
    let mut peer = Peer { socket: Arc::clone(socket), max_message: 16 };
    let Some(guid) = peer.receive().and_then(|datagram| <[u8; 16]>::try_from(datagram).ok()) else { return };
    let client = Client::of(&device.facts).iter().copied().find(|client| client.guid() == swapped(guid));
    device.act(|inner| inner.ledger.mei_connects += 1);
    let fault = device.begin(&format!("connect:{}", client.map_or("other", Client::word)), false);
    let refuse = |errno: i32| {
        let _ = peer.send(&errno.to_le_bytes());
    };
    match fault {
        Some(Fault::KillPeerBefore) => return peer.kill(),
        Some(Fault::DropBefore) => return,
        Some(Fault::Stall) => return hush(&peer),
        Some(Fault::Errno(errno)) => return refuse(errno),
        Some(Fault::ReturnValue(errno)) => return refuse(i32::try_from(errno).unwrap_or(ENODEV)),
        Some(Fault::SoapFault | Fault::Http(_)) => return refuse(ENODEV),
        _ => {}
    }
    let (disabled, starting) = device.act(|inner| (inner.amt.disabled, inner.amt.is_starting()));
    let Some(client) = client.filter(|client| !(disabled && *client == Client::Lme)) else {
        return refuse(ENOTTY);
    };
    if starting && client == Client::Lme {
        return refuse(ENODEV);
    }
    // LMS has it, and LMS never lets go, not even while it restarts.
    if device.settings.habits.has_lms() && client == Client::Lme {
        return refuse(EBUSY);
    }
    if !slots.take(client, socket) {
        return refuse(EBUSY);
    }
    let mut answer = client.max_message().to_le_bytes().to_vec();
    answer.extend([client.version(), 0, 0, 0]);
    answer.resize(16, 0);
    match fault {
        Some(Fault::Garbage | Fault::WrongCommand) => answer = device.act(|inner| inner.stream.noise(16)),
        Some(Fault::Short) => answer.truncate(7),
        Some(Fault::Long) => answer.resize(24, 0),
        _ => {}
    }
    peer.max_message = usize::try_from(client.max_message()).unwrap_or(0);
    match fault {
        Some(Fault::DropAfter) => {}
        Some(Fault::KillPeerAfter) => peer.kill(),
        _ if !peer.send(&answer) => {}
        _ => {
            if fault == Some(Fault::Settle401) {
                device.act(|inner| inner.amt.settle());
            }
            match client {
                Client::Lme => lme::serve(device, &peer),
                Client::Pthi | Client::Mhc | Client::Mkhi | Client::Upid => {
                    let life = device.me_restarts();
                    while converse(device, client, &peer, life) {}
                }
            }
        }
    }
    slots.release(socket);
}

/// One command of a client that answers message by message; false when the connection is over.
fn converse(device: &Device, client: Client, peer: &Peer, life: u64) -> bool {
    let message = peer.receive().filter(|_| device.me_restarts() == life);
    let Some(message) = message else { return false };
    // What has no header of its client is no command: firmware drops the connection.
    let (name, mutating) = match client {
        Client::Pthi => match pthi::parse(&message) {
            Some(request) => (format!("pthi:0x{:08x}", request.command), pthi::mutates(request.command)),
            None => return false,
        },
        Client::Mhc => match mhc::mhc_command(&message) {
            Some(command) => (format!("mhc:0x{command:02x}"), mhc::mhc_mutates(command)),
            None => return false,
        },
        Client::Upid => match upid::command(&message) {
            Some((feature, command)) => (format!("upid:0x{feature:02x}{command:02x}"), false),
            None => return false,
        },
        Client::Mkhi | Client::Lme => match mhc::mkhi_command(&message) {
            Some((group, command)) => (format!("mkhi:0x{group:02x}{command:02x}"), false),
            None => return false,
        },
    };
    let fault = device.begin(&name, mutating);
    match fault {
        Some(Fault::KillPeerBefore) => {
            peer.kill();
            return false;
        }
        Some(
            Fault::DropBefore
            | Fault::Errno(_)
            | Fault::Http(_)
            | Fault::Redirect
            | Fault::Basic
            | Fault::OtherRealm,
        ) => return false,
        Some(Fault::Stall) => {
            hush(peer);
            return false;
        }
        _ => {}
    }
    let reply = device.act(|inner| {
        let refusal = match fault {
            Some(Fault::ReturnValue(status)) => Some(status),
            Some(Fault::SoapFault) => Some(crate::amt::status::INTERNAL),
            _ => None,
        };
        let mut reply = reply(inner, device, client, &message, refusal);
        if fault == Some(Fault::Settle401) {
            inner.amt.settle();
        }
        spoil(fault, inner, client, &mut reply);
        reply
    });
    match fault {
        Some(Fault::DropAfter) => false,
        Some(Fault::KillPeerAfter) => {
            peer.kill();
            false
        }
        _ => peer.send(&reply),
    }
}

fn reply(
    inner: &mut Inner,
    device: &Device,
    client: Client,
    message: &[u8],
    refusal: Option<u32>,
) -> Vec<u8> {
    let facts = &device.facts;
    match client {
        Client::Upid => upid::answer(message, &inner.amt, facts, &device.settings, refusal),
        Client::Pthi => match (pthi::parse(message), refusal) {
            (Some(request), Some(status)) => pthi::refused(request.command, status),
            (Some(request), None) => pthi::answer(&request, &mut inner.amt, facts),
            (None, _) => Vec::new(),
        },
        Client::Mhc => mhc::mhc_answer(message, &mut inner.amt, facts, refusal),
        Client::Mkhi | Client::Lme => mhc::mkhi_answer(message, facts, refusal).unwrap_or_default(),
    }
}

/// The faults that make a finished reply malformed.
fn spoil(fault: Option<Fault>, inner: &mut Inner, client: Client, reply: &mut Vec<u8>) {
    match fault {
        Some(Fault::Garbage) => *reply = inner.stream.noise(reply.len().max(23)),
        Some(Fault::Short) => reply.truncate(reply.len().saturating_sub(3)),
        Some(Fault::Long) => reply.extend(inner.stream.noise(7)),
        Some(Fault::WrongCommand) => {
            let command = if client == Client::Pthi { 4 } else { 1 };
            if let Some(byte) = reply.get_mut(command) {
                *byte ^= 0x01;
            }
        }
        _ => spoil::worsen_message(fault, reply, if client == Client::Pthi { 16 } else { 4 }),
    }
}

/// Answers nothing until the peer goes.
fn hush(peer: &Peer) {
    while peer.receive().is_some() {}
}
