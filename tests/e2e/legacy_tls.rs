//! `verify --remote` of AMT whose TLS rustls has none of: a simulated AMT 12 behind another program's TLS 1.0 and 1.1, small
//! keys and RSA key exchange. Needs an agent with the feature `legacy-tls` (CONTRIBUTING.md).

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use oob_tests::server::closed_port;
use oob_tests::{agent, code, installed, json, scratch, text};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::remote::{Ours, forged, hex};

/// `openssl s_server`, whose plain side is carried to AMT's cleartext port.
struct OldTls {
    server: Child,
    port: u16,
    /// Of the certificate that is served.
    pin: String,
    requests: Arc<AtomicUsize>,
}

impl OldTls {
    fn start(dir: &Path, options: &[&str], bits: u32, amt: u16) -> Self {
        let (key, certificate) = (dir.join(format!("{bits}.key")), dir.join(format!("{bits}.pem")));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", &format!("rsa:{bits}"), "-sha1", "-nodes", "-subj", "/CN=amt"])
            .args(["-days", "3650", "-keyout", key.to_str().unwrap(), "-out", certificate.to_str().unwrap()])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", text(&made.stderr));
        let pem = fs::read_to_string(&certificate).unwrap();
        let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        let pin = hex(&Sha256::digest(STANDARD.decode(body).unwrap()));
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Command::new("openssl")
            .args(["s_server", "-quiet", "-accept", &format!("127.0.0.1:{port}")])
            .args(["-key", key.to_str().unwrap(), "-cert", certificate.to_str().unwrap()])
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let (count, input, output) =
            (Arc::clone(&requests), server.stdin.take().unwrap(), server.stdout.take().unwrap());
        thread::spawn(move || carry(output, &Mutex::new(input), amt, &count));
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(server.try_wait().unwrap().is_none(), "openssl s_server ended: {options:?}");
            thread::sleep(Duration::from_millis(20));
        }
        Self { server, port, pin, requests }
    }

    fn at(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for OldTls {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Each request goes to AMT over a connection of its own, and its answer back, until the server ends.
fn carry(mut from: ChildStdout, back: &Mutex<ChildStdin>, amt: u16, count: &AtomicUsize) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        bytes.extend_from_slice(&buffer[..length]);
        let text = text(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let announced = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
        });
        if body.len() < announced.unwrap_or(0) {
            continue;
        }
        count.fetch_add(1, Ordering::Relaxed);
        let mut stream = TcpStream::connect(("127.0.0.1", amt)).unwrap();
        write!(stream, "{head}\r\nConnection: close\r\n\r\n{body}").unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let mut back = back.lock().unwrap();
        back.write_all(&answer).and_then(|()| back.flush()).unwrap();
        bytes.clear();
    }
}

#[test]
fn old_firmware_is_proven_with_the_pinned_certificate_and_no_other() {
    if !installed("openssl", "TLS of AMT 12 and older") {
        return;
    }
    let scratch = scratch();
    let ours = Ours::with_tls(&scratch.path().join("first"), "vpro-desktop-amt12", "optional");
    for (what, options, bits) in [
        ("TLS 1.0", ["-tls1", "-cipher", "AES128-SHA:@SECLEVEL=0"], 2048),
        ("TLS 1.1", ["-tls1_1", "-cipher", "AES256-SHA:@SECLEVEL=0"], 2048),
        ("a small key", ["-tls1", "-cipher", "ECDHE-RSA-AES128-SHA:@SECLEVEL=0"], 1024),
        ("a small key, TLS 1.2", ["-tls1_2", "-cipher", "ECDHE-RSA-AES256-GCM-SHA384:@SECLEVEL=0"], 1024),
        ("RSA key exchange", ["-tls1_2", "-cipher", "AES128-GCM-SHA256:@SECLEVEL=0"], 2048),
    ] {
        let dir = scratch.path().join(what.replace(' ', "-"));
        fs::create_dir_all(&dir).unwrap();
        let old = OldTls::start(&dir, &options, bits, ours.machine.port("16992"));
        let verify = |out: &Path| {
            let mut arguments = ours.arguments(&old.at(), &ours.credential, &closed_port());
            arguments[2] = out.to_str().unwrap().to_owned();
            agent(arguments)
        };
        // The certificate that AMT was given is another one.
        let run = verify(&ours.out);
        assert_eq!(
            (code(&run), &json(&run)["reason"]),
            (Some(9), &json!("certificate-changed")),
            "{what}: {}",
            text(&run.stdout)
        );
        assert_eq!(old.requests.load(Ordering::Relaxed), 0, "{what}: something was said to a stranger");

        let out = dir.join("out");
        forged(&ours, &out, |event| event["body"]["tls_certificate_sha256"] = json!(old.pin));
        let run = verify(&out);
        assert_eq!(code(&run), Some(0), "{what}: {}\n{}", text(&run.stdout), text(&run.stderr));
        assert_eq!(json(&run)["verified_remote"], true, "{what}");
        assert!(old.requests.load(Ordering::Relaxed) >= 6, "{what}: it went another way");
    }
}
