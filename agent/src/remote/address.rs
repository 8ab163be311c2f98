//! Where AMT is said to be, and which way leads there: resolved once, so that every request goes to the same place.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use oob_policy::Cleartext;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

/// AMT's cleartext port.
const CLEARTEXT_PORT: u16 = 16992;
const CONNECT: Duration = Duration::from_secs(10);
/// For the cleartext port, where an answer is not what is hoped for.
const ANSWER: Duration = Duration::from_secs(5);

/// `HOST:PORT` as the operator wrote it; the host is a name, an IPv4 address or an IPv6 address in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    host: String,
    port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// An address that took a connection.
#[derive(Clone, Copy, Debug)]
pub struct Reached {
    pub address: SocketAddr,
    /// It is this host itself: what answers there proves nothing about the way from another one.
    pub is_here: bool,
}

impl Address {
    /// # Errors
    /// A sentence that says what is expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not HOST:PORT, such as 192.0.2.7:16993 or [2001:db8::7]:16993");
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(inner) => inner.parse::<std::net::Ipv6Addr>().map_err(|_| wrong())?.to_string(),
            None if host.contains(':') => return Err(wrong()),
            None => host.to_owned(),
        };
        let plausible = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        if host.is_empty() || !host.chars().all(plausible) {
            return Err(wrong());
        }
        Ok(Self { host, port })
    }
}

/// Resolves an address and connects, which shows whether anything is there at all.
///
/// # Errors
/// A sentence that tells a refusal from silence.
pub async fn reach(address: &Address) -> Result<Reached, String> {
    let found = lookup_host((address.host.as_str(), address.port))
        .await
        .map_err(|error| format!("looking up {}: {error}", address.host))?;
    let mut failures = Vec::new();
    for address in found.take(8) {
        match timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                let local = stream.local_addr().map(|local| local.ip());
                let is_here = is_loopback(address.ip()) || local.is_ok_and(|local| local == address.ip());
                return Ok(Reached { address, is_here });
            }
            Ok(Err(error)) => failures.push(format!("connecting to {address}: {}", told(&error))),
            Err(_) => failures.push(format!("connecting to {address}: nothing answered within {CONNECT:?}")),
        }
    }
    match failures.is_empty() {
        true => Err(format!("looking up {}: it has no address", address.host)),
        false => Err(failures.join("; ")),
    }
}

/// Tries the cleartext port of the same host, or the one that is given for it. Nothing secret is sent.
pub async fn cleartext(reached: &Reached, instead: Option<&Address>) -> Cleartext {
    let address = match instead {
        None => SocketAddr::new(reached.address.ip(), CLEARTEXT_PORT),
        Some(given) => match lookup_host((given.host.as_str(), given.port))
            .await
            .map(|mut found| found.next())
        {
            Ok(Some(address)) => address,
            Ok(None) => return Cleartext::Unclear(format!("looking up {}: it has no address", given.host)),
            Err(error) => return Cleartext::Unclear(format!("looking up {}: {error}", given.host)),
        },
    };
    let mut stream = match timeout(CONNECT, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => return Cleartext::Refused,
        Ok(Err(error)) if error.kind() == ErrorKind::TimedOut => return Cleartext::Silent,
        Ok(Err(error)) => {
            return Cleartext::Unclear(format!("connecting to {address}: {}", told(&error)));
        }
        Err(_) => return Cleartext::Silent,
    };
    let request = format!("GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let asking = async {
        stream.write_all(request.as_bytes()).await?;
        stream.read(&mut [0; 1]).await
    };
    match timeout(ANSWER, asking).await {
        Ok(Ok(0)) => Cleartext::Closed,
        Ok(Ok(_)) => Cleartext::Open,
        Ok(Err(error)) if is_hang_up(&error) => Cleartext::Closed,
        Ok(Err(error)) => Cleartext::Unclear(format!("asking {address}: {error}")),
        Err(_) => {
            Cleartext::Unclear(format!("{address} takes connections, and said nothing within {ANSWER:?}"))
        }
    }
}

fn is_hang_up(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted)
}

fn told(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => {
            "refused; the port is closed, or another machine has the address".to_owned()
        }
        ErrorKind::TimedOut => "nothing answered".to_owned(),
        _ => error.to_string(),
    }
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback() || address.is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        for (text, host, port) in [
            ("192.0.2.7:16993", "192.0.2.7", 16993),
            ("pc-1.example.com:16992", "pc-1.example.com", 16992),
            ("[2001:db8::7]:16993", "2001:db8::7", 16993),
        ] {
            assert_eq!(Address::parse(text), Ok(Address { host: host.to_owned(), port }), "{text}");
        }
        for text in [
            "",
            "host",
            "host:",
            ":16993",
            "host:0",
            "host:65536",
            "2001:db8::7:16993",
            "[host]:1",
            "a b:1",
            "user@host:1",
            "https://host:1",
            "host:1/x",
            "h\u{f6}st:1",
        ] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_here_is_no_witness() {
        for here in ["127.0.0.1", "127.8.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.0"] {
            assert!(is_loopback(here.parse().unwrap()), "{here}");
        }
        assert!(!is_loopback("192.0.2.7".parse().unwrap()));
    }
}
