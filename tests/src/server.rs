//! Servers that are no AMT.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with};

use crate::text;

/// Says one thing to every connection once a request has come, and keeps what it heard.
pub struct Server {
    pub address: String,
    heard: Arc<Mutex<String>>,
}

impl Server {
    /// # Panics
    /// Where no port can be had.
    #[must_use]
    pub fn saying(answer: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let heard = Arc::new(Mutex::new(String::new()));
        let (log, answer) = (Arc::clone(&heard), answer.to_owned());
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let request = read_request(&mut stream);
                log.lock().unwrap().push_str(&request);
                // A client that has heard enough hangs up; that is its right.
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Self { address, heard }
    }

    /// All requests so far.
    ///
    /// # Panics
    /// Where the thread that listens has.
    #[must_use]
    pub fn heard(&self) -> String {
        self.heard.lock().unwrap().clone()
    }
}

/// The head and as much of the body as it announces; what comes of a connection without a request is nothing.
fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).unwrap_or(0);
        bytes.extend_from_slice(&buffer[..count]);
        let request = text(&bytes);
        let Some((head, body)) = request.split_once("\r\n\r\n") else {
            if count == 0 {
                return request;
            }
            continue;
        };
        let announced = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
        });
        if count == 0 || body.len() >= announced.unwrap_or(0) {
            return request;
        }
    }
}

/// An address that refuses connections: bound and never listening, so that nobody else is given it.
///
/// # Panics
/// Where no port can be had.
pub fn closed_port() -> String {
    static BOUND: OnceLock<(OwnedFd, SocketAddr)> = OnceLock::new();
    let (_, address) = BOUND.get_or_init(|| {
        let bound = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .expect("making a socket");
        bind(&bound, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = getsockname(&bound).unwrap().try_into().unwrap();
        (bound, address)
    });
    address.to_string()
}
