//! The network ports, on loopback. Firmware that has a port closed here closes every connection to it at once.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::device::Device;
use crate::digest::Origin;
use crate::store::REMOTE;
use crate::tls::Door;
use crate::www::Act;

/// One of AMT's web ports.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// 16992.
    Clear,
    /// 16993.
    Tls,
}

/// Opens a loopback port for one of AMT's and serves it in the background. Gives the port number.
///
/// # Errors
/// When no port can be bound.
pub fn listen(device: &Arc<Device>, port: Port) -> io::Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let number = listener.local_addr()?.port();
    let device = Arc::clone(device);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let device = Arc::clone(&device);
            // A peer that is gone, slow or wrong is that peer's loss.
            thread::spawn(move || serve(&device, port, stream).unwrap_or_default());
        }
    });
    Ok(number)
}

fn serve(device: &Device, port: Port, mut stream: TcpStream) -> io::Result<()> {
    prepare(&stream)?;
    let Some(door) = open(device, port) else { return stream.shutdown(Shutdown::Both) };
    converse(device, door, &mut stream, &|| is_open(device, port))
}

/// Answers go out at once, and nobody waits for a peer for ever.
pub(crate) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(Duration::from_secs(30)))
}

/// Serves one connection while its port is open.
pub(crate) fn converse(
    device: &Device,
    mut door: Door<'_>,
    stream: &mut TcpStream,
    is_open: &dyn Fn() -> bool,
) -> io::Result<()> {
    device.act(|inner| inner.ledger.tcp_connects += 1);
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        // A connection does not outlive its port.
        if !is_open() {
            return stream.shutdown(Shutdown::Both);
        }
        for act in door.feed(&buffer[..count]) {
            match act {
                Act::Send(bytes) => stream.write_all(&bytes)?,
                Act::Close | Act::Kill => return stream.shutdown(Shutdown::Both),
                Act::Hush => {}
            }
        }
    }
}

fn open(device: &Device, port: Port) -> Option<Door<'_>> {
    match port {
        _ if !is_open(device, port) => None,
        Port::Tls => Door::tls(device, Origin::Remote),
        Port::Clear => Some(Door::clear(device, Origin::Remote)),
    }
}

fn is_open(device: &Device, port: Port) -> bool {
    device.look(|inner| match port {
        _ if !inner.amt.is_addressed() => false,
        _ if inner.amt.is_away() => false,
        Port::Tls => inner.amt.tls(REMOTE).is_some(),
        Port::Clear => inner.amt.is_provisioned() && inner.amt.opens_cleartext(),
    })
}
