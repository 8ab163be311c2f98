//! What no safe wrapper covers: two ioctls, asked of the live root only, the registration of a descriptor, and
//! what a child does before it becomes another program.
#![allow(unsafe_code)] // raw memory and raw descriptors; each block says why it is right

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::io::Errno;
use rustix::ioctl::{Opcode, Updater, ioctl};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};
use tokio::io::unix::AsyncFd;

/// `IOCTL_MEI_CONNECT_CLIENT`, `_IOWR('H', 0x01, 16)` (linux/mei.h).
const MEI_CONNECT_CLIENT: Opcode = 0xC010_4801;
const SIOCETHTOOL: Opcode = 0x8946;
const ETHTOOL_GWOL: u32 = 5;

/// Connects `file` to the client with this GUID (wire order) and returns the 16 bytes of the answer.
pub(super) fn mei_connect(file: impl AsFd, guid: [u8; 16]) -> rustix::io::Result<[u8; 16]> {
    let mut union = guid;
    // SAFETY: struct mei_connect_client_data is a union of 16 bytes, read as the GUID and written as the client's
    // properties; the array outlives the call.
    unsafe { ioctl(file, Updater::<MEI_CONNECT_CLIENT, [u8; 16]>::new(&mut union))? };
    Ok(union)
}

/// Hands a descriptor to the runtime, to wait on. It must be non-blocking.
pub(super) fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an owned descriptor stays the same open file until it is dropped, and only the AsyncFd drops it.
    Ok(unsafe { AsyncFd::register(fd)? })
}

/// The child is killed with us: nobody could stop it then, and the next run would meet it at the hardware. To be
/// spawned by the thread that lives longest.
pub(super) fn die_with_us(command: &mut Command) {
    let us = getpid();
    let bind = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // We died before that: the kernel has nothing left to tell it.
        if getppid() == Some(us) { Ok(()) } else { Err(io::Error::from(Errno::SRCH)) }
    };
    // SAFETY: between fork and exec the closure makes two system calls; it neither allocates nor takes a lock.
    unsafe { command.pre_exec(bind) };
}

/// The wake-up modes that an interface supports and has set (`WAKE_*` bits of linux/ethtool.h).
pub(super) fn wake_on_lan(interface: &str) -> io::Result<(u32, u32)> {
    let mut request = Request { name: [0; 16], data: std::ptr::null_mut(), rest: [0; 16] };
    // The kernel's names have at most 15 bytes and end with NUL.
    let room = request.name.get_mut(..15).into_iter().flatten();
    if interface.len() > 15 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "interface name too long"));
    }
    for (to, from) in room.zip(interface.bytes()) {
        *to = from;
    }
    let mut wol = WolInfo { cmd: ETHTOOL_GWOL, supported: 0, wolopts: 0, sopass: [0; 6] };
    request.data = (&raw mut wol).cast();
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: `request` has the layout of struct ifreq (a name of 16 bytes, then a union of at most 24 whose
    // ifr_data is a pointer) and points to a struct ethtool_wolinfo that outlives the call.
    unsafe { ioctl(socket, Updater::<SIOCETHTOOL, Request>::new(&mut request))? };
    Ok((wol.supported, wol.wolopts))
}

/// `struct ifreq`.
#[repr(C)]
struct Request {
    name: [u8; 16],
    data: *mut core::ffi::c_void,
    rest: [u8; 16],
}

/// `struct ethtool_wolinfo`.
#[repr(C)]
struct WolInfo {
    cmd: u32,
    supported: u32,
    wolopts: u32,
    sopass: [u8; 6],
}
