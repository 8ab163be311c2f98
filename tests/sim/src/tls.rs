//! TLS in front of AMT's web server, for both its doors: bytes in, acts out, as the server itself has it.

mod on_die;

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::crypto::ring::{default_provider, sign::any_supported_type};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, ServerConnection, SupportedProtocolVersion};

use crate::amt::{Amt, Ports};
use crate::device::Device;
use crate::digest::Origin;
use crate::fault::Fault;
use crate::store::{Identity, LOCAL, REMOTE, TlsSettings};
use crate::www::{Act, Server};
use crate::x509::{Certificate, oid};

/// A connection's server, in clear or in TLS.
pub enum Door<'a> {
    /// 16992.
    Clear(Server<'a>),
    /// 16993.
    Tls(Box<Session<'a>>),
}

impl<'a> Door<'a> {
    /// The server of 16992.
    #[must_use]
    pub fn clear(device: &'a Device, origin: Origin) -> Self {
        Self::Clear(Server::new(device, origin))
    }

    /// The server of 16993, if TLS is spoken on this side now.
    #[must_use]
    pub fn tls(device: &'a Device, origin: Origin) -> Option<Self> {
        let side = if origin == Origin::Local { LOCAL } else { REMOTE };
        let versions = versions(device);
        let (config, trusted, certified, ports) = device.look(|inner| {
            let (amt, ports) = (&inner.amt, inner.amt.ports());
            if amt.is_away() {
                return None;
            }
            if side == LOCAL
                && let Some((chain, gate)) = amt.on_die()
            {
                let certified = gate.is_some();
                return Some((on_die::configuration(&chain, gate, versions)?, None, certified, ports));
            }
            let (settings, identity) = amt.tls(side)?;
            Some((configuration(settings, identity, versions)?, Trusted::of(settings, side), false, ports))
        })?;
        let mut connection = ServerConnection::new(Arc::new(config)).ok()?;
        connection.set_buffer_limit(None);
        let server = match certified && device.settings.host_tls.no_challenge {
            true => Server::of_certified(device, origin),
            false => Server::new(device, origin),
        };
        let stage = Stage::New;
        Some(Self::Tls(Box::new(Session { device, connection, server, trusted, stage, ports })))
    }

    /// Takes bytes that have arrived.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Act> {
        match self {
            Self::Clear(server) => server.feed(bytes),
            Self::Tls(session) => session.feed(bytes),
        }
    }
}

/// One TLS connection.
pub struct Session<'a> {
    device: &'a Device,
    connection: ServerConnection,
    server: Server<'a>,
    trusted: Option<Trusted>,
    stage: Stage,
    /// The run of the ports that it belongs to.
    ports: Ports,
}

/// A fatal alert in a TLS 1.2 record (RFC 5246, 7.2).
const HANDSHAKE_FAILURE: [u8; 7] = [21, 3, 3, 0, 2, 2, 40];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    New,
    Shaking,
    /// The handshake is done; `DropAfter` ends here.
    Open,
    Over,
}

impl Session<'_> {
    fn feed(&mut self, mut bytes: &[u8]) -> Vec<Act> {
        let mut acts = Vec::new();
        if self.is_cut_off() {
            self.stage = Stage::Over;
            return vec![Act::Close];
        }
        if self.stage == Stage::New {
            self.stage = Stage::Shaking;
            if let Some(fault) = self.device.begin("tls:handshake", false) {
                self.stage = Stage::Over;
                return match fault {
                    Fault::Stall => vec![Act::Hush],
                    Fault::KillPeerBefore | Fault::KillPeerAfter => vec![Act::Kill],
                    Fault::Garbage | Fault::Short | Fault::Long | Fault::WrongCommand => {
                        let noise = self.device.act(|inner| inner.stream.noise(100));
                        vec![Act::Send(noise), Act::Close]
                    }
                    // As from firmware that shares no cipher suite with the client.
                    Fault::SoapFault | Fault::ReturnValue(_) => {
                        vec![Act::Send(HANDSHAKE_FAILURE.to_vec()), Act::Close]
                    }
                    _ => vec![Act::Close],
                };
            }
        }
        while !bytes.is_empty() && self.stage != Stage::Over {
            let read = self.connection.read_tls(&mut bytes).is_ok_and(|count| count > 0);
            let state = self.connection.process_new_packets();
            if !read || state.is_err() {
                self.close(&mut acts); // with the alert that says why
                break;
            }
            if self.stage == Stage::Shaking && !self.connection.is_handshaking() {
                self.stage = Stage::Open;
                if !self.trusted.as_ref().is_none_or(|trusted| trusted.accepts(&self.connection)) {
                    self.close(&mut acts);
                    break;
                }
            }
            let mut plain = Vec::new();
            // What has not arrived yet is no error; what has is in `plain`.
            let _ = self.connection.reader().read_to_end(&mut plain);
            if !plain.is_empty() {
                self.serve(&plain, &mut acts);
            }
        }
        self.flush(&mut acts);
        acts
    }

    fn serve(&mut self, plain: &[u8], acts: &mut Vec<Act>) {
        // The handshake succeeds and the first request does not (`reference/crates.md` 3, on AMT 21).
        let drops = self.device.settings.host_tls.tls13_drops && self.is_newest();
        if drops && self.device.look(|inner| inner.amt.on_die().is_some()) {
            return self.close(acts);
        }
        for act in self.server.feed(plain) {
            match act {
                Act::Send(bytes) => {
                    let _ = self.connection.writer().write_all(&bytes); // into memory, without a limit
                    self.flush(acts);
                }
                Act::Close => self.close(acts),
                Act::Kill | Act::Hush => {
                    self.stage = Stage::Over;
                    acts.push(act);
                }
            }
        }
    }

    fn close(&mut self, acts: &mut Vec<Act>) {
        self.stage = Stage::Over;
        if !self.is_cut_off() {
            self.connection.send_close_notify();
        }
        self.flush(acts);
        acts.push(Act::Close);
    }

    fn is_newest(&self) -> bool {
        self.connection.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3)
    }

    /// Whether the ports have been closed since it was opened: it ends without a word.
    fn is_cut_off(&self) -> bool {
        self.device.look(|inner| inner.amt.ports()) != self.ports
    }

    fn flush(&mut self, acts: &mut Vec<Act>) {
        let mut out = Vec::new();
        while self.connection.wants_write() && self.connection.write_tls(&mut out).is_ok() {}
        if !out.is_empty() && acts.last() != Some(&Act::Close) {
            acts.push(Act::Send(out));
        }
    }
}

static NEWER: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];
static OLDER: [&SupportedProtocolVersion; 1] = [&TLS12];

/// Up to 16.0 firmware speaks TLS 1.2; what it speaks of older ones cannot be simulated with this library
/// (`reference/crates.md` 3).
fn versions(device: &Device) -> &'static [&'static SupportedProtocolVersion] {
    match device.facts.is_tls_only() && !device.settings.host_tls.tls12_only {
        true => &NEWER,
        false => &OLDER,
    }
}

fn configuration(
    settings: &TlsSettings,
    identity: &Identity,
    versions: &[&'static SupportedProtocolVersion],
) -> Option<ServerConfig> {
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_protocol_versions(versions).ok()?;
    let builder = if settings.mutual {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(identity.roots.iter().map(|root| CertificateDer::from(root.clone())));
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        builder.with_client_cert_verifier(verifier.build().ok()?)
    } else {
        builder.with_no_client_auth()
    };
    let key = PrivateKeyDer::Pkcs1(PrivatePkcs1KeyDer::from(identity.key.private().to_vec()));
    let chain = vec![CertificateDer::from(identity.certificate.clone())];
    let certified = CertifiedKey::new(chain, any_supported_type(&key).ok()?);
    Some(builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified))))
}

/// What a client's certificate must say, beside having a good chain (`reference/amt.md` 5.9).
struct Trusted {
    names: Vec<String>,
    purpose: &'static [u8],
}

impl Trusted {
    fn of(settings: &TlsSettings, side: usize) -> Option<Self> {
        let purpose = if side == LOCAL { oid::AMT_LOCAL_CONSOLE } else { oid::AMT_CONSOLE };
        settings.mutual.then(|| Self { names: settings.trusted_names.clone(), purpose })
    }

    fn accepts(&self, connection: &ServerConnection) -> bool {
        let leaf = connection.peer_certificates().and_then(|chain| chain.first());
        leaf.and_then(|leaf| Certificate::parse(leaf)).is_some_and(|leaf| {
            let named = leaf.subject_values(oid::COMMON_NAME).iter().any(|name| self.names.contains(name));
            leaf.purposes.iter().any(|purpose| purpose == self.purpose) && (self.names.is_empty() || named)
        })
    }
}

impl Amt {
    /// The TLS of this side, while the device is provisioned.
    #[must_use]
    pub fn tls(&self, side: usize) -> Option<(&TlsSettings, &Identity)> {
        self.store.tls(side).filter(|_| self.is_provisioned())
    }
}
