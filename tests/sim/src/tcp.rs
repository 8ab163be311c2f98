//! The network ports, on loopback. Unprovisioned firmware has none open: a connection is closed at once.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::device::Device;
use crate::digest::Origin;
use crate::www::{Act, Server};

/// Opens a loopback port for AMT's 16992 and serves it in the background. Gives the port number.
///
/// # Errors
/// When no port can be bound.
pub fn listen(device: &Arc<Device>) -> io::Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let port = listener.local_addr()?.port();
    let device = Arc::clone(device);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let device = Arc::clone(&device);
            // A peer that is gone, slow or wrong is that peer's loss.
            thread::spawn(move || serve(&device, stream).unwrap_or_default());
        }
    });
    Ok(port)
}

fn serve(device: &Device, mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(Duration::from_secs(30)))?;
    let mut server = Server::new(device, Origin::Remote);
    let mut buffer = [0; 4096];
    loop {
        if !device.act(|inner| inner.amt.is_provisioned()) {
            return stream.shutdown(Shutdown::Both);
        }
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        for act in server.feed(&buffer[..count]) {
            match act {
                Act::Send(bytes) => stream.write_all(&bytes)?,
                Act::Close | Act::Kill => return stream.shutdown(Shutdown::Both),
                Act::Hush => {}
            }
        }
    }
}
