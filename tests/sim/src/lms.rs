//! The Local Management Service: a program on the machine that holds the LME client and serves AMT's ports on loopback
//! (`reference/amt.md` 3.3). What comes through it is local to AMT, as if it came through MEI.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use crate::amt::Amt;
use crate::device::Device;
use crate::digest::Origin;
use crate::fault::Fault;
use crate::store::LOCAL;
use crate::tcp::{Port, converse, prepare};
use crate::tls::Door;

/// The loopback ports that stand for its 16992 and 16993.
#[derive(Clone, Copy)]
pub struct Lms {
    /// 16992.
    pub clear: u16,
    /// 16993.
    pub tls: u16,
}

impl Lms {
    /// Opens both ports and serves them in the background.
    ///
    /// # Errors
    /// When no port can be bound.
    pub fn start(device: &Arc<Device>) -> io::Result<Self> {
        let restarts = Arc::new(AtomicU32::new(device.settings.habits.lms_restarting));
        let listen = |port| listen(device, port, &restarts);
        Ok(Self { clear: listen(Port::Clear)?, tls: listen(Port::Tls)? })
    }
}

impl Amt {
    /// Whether the host is spoken to over 16992, and over 16993, while AMT is on. From 19 on there is no cleartext
    /// (`reference/amt.md` 0, fact 3).
    #[must_use]
    pub fn opens_to_host(&self) -> (bool, bool) {
        let on = !self.disabled && !self.is_starting();
        let tls_only = self.facts.is_host_tls_only();
        (on && !tls_only, on && (tls_only || self.speaks_tls(LOCAL)))
    }
}

fn listen(device: &Arc<Device>, port: Port, restarts: &Arc<AtomicU32>) -> io::Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let number = listener.local_addr()?.port();
    let (device, restarts) = (Arc::clone(device), Arc::clone(restarts));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (device, restarts) = (Arc::clone(&device), Arc::clone(&restarts));
            // A peer that is gone, slow or wrong is that peer's loss.
            thread::spawn(move || serve(&device, port, stream, &restarts).unwrap_or_default());
        }
    });
    Ok(number)
}

fn serve(device: &Device, port: Port, mut stream: TcpStream, restarts: &AtomicU32) -> io::Result<()> {
    prepare(&stream)?;
    let fault = device.begin("connect:lms", false);
    let less = |left: u32| left.checked_sub(1);
    let restarting = restarts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok();
    match fault {
        Some(Fault::Stall) => return hush(&mut stream),
        Some(_) => return stream.shutdown(Shutdown::Both),
        None if restarting => return stream.shutdown(Shutdown::Both),
        None => {}
    }
    // While AMT's own ports restart, LMS listens on and has nothing behind it.
    let is_open = || {
        let (away, (clear, tls)) = device.look(|inner| (inner.amt.is_away(), inner.amt.opens_to_host()));
        !away && if port == Port::Clear { clear } else { tls }
    };
    let door = match port {
        _ if !is_open() => None,
        Port::Clear => Some(Door::clear(device, Origin::Local)),
        Port::Tls => Door::tls(device, Origin::Local),
    };
    match door {
        Some(door) => converse(device, door, &mut stream, &is_open),
        None => stream.shutdown(Shutdown::Both),
    }
}

/// Answers nothing until the peer goes.
fn hush(stream: &mut TcpStream) -> io::Result<()> {
    io::copy(stream, &mut io::sink()).map(|_| ())
}
