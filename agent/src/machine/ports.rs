//! Where a machine's ports are: real ones on a live root, the list in `ports.json` elsewhere.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::Machine;

/// Written last and by rename, when the simulator is ready.
pub(super) const FILE: &str = "ports.json";

/// What `ports.json` says: `{"16992": 40113, "lms:16992": 40114, "623/udp": 40115, "time_scale": 0.01}`. Where it simulates
/// AMT's own certificates, also the root that they end at: `on_die_root_sha256` in hex and `on_die_root` in base64 (DER).
#[derive(Clone, Debug, PartialEq)]
pub struct Ports {
    /// Port on 127.0.0.1 by key.
    pub by_key: BTreeMap<String, u16>,
    /// What waits are multiplied by, above 0 and at most 1.
    pub time_scale: f64,
    /// The root of this machine's on-die certificates instead of Intel's.
    pub on_die_root: Option<OnDieRoot>,
}

/// The root of a simulated machine's on-die certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnDieRoot {
    pub sha256: [u8; 32],
    /// DER, for chains that leave it out.
    pub der: Option<Vec<u8>>,
}

impl Ports {
    /// Keys with values that are not ports are of later versions and are passed over.
    pub(super) fn parse(bytes: &[u8]) -> io::Result<Self> {
        let wrong = |what: &str| refusal(io::ErrorKind::InvalidData, what);
        let Ok(Value::Object(map)) = serde_json::from_slice(bytes) else {
            return Err(wrong("it is not a JSON object"));
        };
        let mut ports = Self { by_key: BTreeMap::new(), time_scale: 1.0, on_die_root: None };
        let mut root = None;
        for (key, value) in map {
            if key == "on_die_root_sha256" {
                let hash = value.as_str().and_then(crate::state::unhex);
                let sha256 = hash.ok_or_else(|| wrong("on_die_root_sha256 is not a SHA-256 in hex"))?;
                ports.on_die_root = Some(OnDieRoot { sha256, der: None });
            } else if key == "on_die_root" {
                let der = value.as_str().and_then(|text| STANDARD.decode(text).ok());
                root = Some(der.ok_or_else(|| wrong("on_die_root is not base64"))?);
            } else if key == "time_scale" {
                let scale = value.as_f64().filter(|scale| *scale > 0.0 && *scale <= 1.0);
                ports.time_scale = scale.ok_or_else(|| wrong("time_scale is not above 0 and at most 1"))?;
            } else if let Some(number) = value.as_u64() {
                let port = u16::try_from(number).ok().filter(|port| *port != 0);
                ports.by_key.insert(key, port.ok_or_else(|| wrong("a port is not between 1 and 65535"))?);
            }
        }
        if let Some(named) = &mut ports.on_die_root {
            named.der = root;
        }
        Ok(ports)
    }
}

/// A list that cannot be used.
pub(super) fn refusal(kind: io::ErrorKind, what: &str) -> io::Error {
    let text =
        format!("reading {FILE}: {what}; start the simulator again, or remove the file from a capture");
    io::Error::new(kind, text)
}

impl Machine {
    /// Where the port with this key is. `lms:` keys name the host's own service and are the same port live.
    pub fn address(&self, key: &str) -> io::Result<SocketAddr> {
        let port = if self.is_live() {
            let number = key.strip_prefix("lms:").unwrap_or(key);
            let number = number.split_once('/').map_or(number, |(number, _protocol)| number);
            number
                .parse()
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("no port is named {key}")))?
        } else {
            let ports = self.ports()?;
            *ports.as_ref().and_then(|ports| ports.by_key.get(key)).ok_or_else(|| {
                let text = format!("connecting to port {key}: {FILE} of this root does not list it");
                io::Error::new(io::ErrorKind::ConnectionRefused, text)
            })?
        };
        Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    /// Where a service of the org is. None on a live root, where its name is looked up; elsewhere what the list has as
    /// `https:HOST:PORT`, and no other place.
    pub fn service(&self, host: &str, port: u16) -> io::Result<Option<SocketAddr>> {
        if self.is_live() {
            return Ok(None);
        }
        // An address is dialed as it is, so only a name can be led elsewhere.
        if host.starts_with('[') || host.parse::<Ipv4Addr>().is_ok() {
            let text = format!("connecting to {host}: a root that is not live reaches services by name only");
            return Err(io::Error::new(io::ErrorKind::ConnectionRefused, text));
        }
        self.address(&format!("https:{host}:{port}")).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_ports_and_refuses_nonsense() {
        let ports =
            Ports::parse(br#"{"16992": 40113, "623/udp": 9, "time_scale": 0.5, "later": "x"}"#).unwrap();
        assert_eq!(ports.by_key.get("16992"), Some(&40113));
        assert_eq!(ports.by_key.len(), 2);
        assert!((ports.time_scale - 0.5).abs() < f64::EPSILON);
        let root = format!(r#"{{"on_die_root": "AQI=", "on_die_root_sha256": "{}"}}"#, "ab".repeat(32));
        let named = OnDieRoot { sha256: [0xab; 32], der: Some(vec![1, 2]) };
        assert_eq!(Ports::parse(root.as_bytes()).unwrap().on_die_root, Some(named));
        for bad in [
            "[]",
            "",
            r#"{"1": 65536}"#,
            r#"{"1": 0}"#,
            r#"{"time_scale": 0}"#,
            r#"{"time_scale": 2}"#,
            r#"{"on_die_root_sha256": "ab"}"#,
            r#"{"on_die_root_sha256": 7}"#,
            r#"{"on_die_root": "?"}"#,
        ] {
            let error = Ports::parse(bad.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{bad}");
        }
    }

    #[tokio::test]
    async fn connects_only_to_what_is_listed() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let dir = tempfile::tempdir().unwrap();
        let machine = Machine::open(dir.path()).unwrap();
        assert_eq!(machine.kind(), oob_policy::RootKind::Capture);
        assert_eq!(machine.connect("16992").await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        std::fs::write(dir.path().join(FILE), format!("{{\"16992\": {port}}}")).unwrap();
        let machine = Machine::open(dir.path()).unwrap();
        assert_eq!(machine.kind(), oob_policy::RootKind::Simulated);
        assert!(machine.connect("16992").await.is_ok());
        assert_eq!(machine.connect("16993").await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn services_are_where_the_list_says_and_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), r#"{"https:ca.example.com:443": 40443}"#).unwrap();
        let machine = Machine::open(dir.path()).unwrap();
        let there = machine.service("ca.example.com", 443).unwrap();
        assert_eq!(there, Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 40443))));
        for (host, port) in
            [("ca.example.com", 8443), ("example.com", 443), ("127.0.0.1", 443), ("[::1]", 443)]
        {
            let error = machine.service(host, port).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{host}:{port}");
        }
        let live = Machine::open(std::path::Path::new("/")).unwrap();
        assert_eq!(live.service("ca.example.com", 443).unwrap(), None);
    }
}
