//! The host of a machine whose AMT speaks nothing but TLS: its way through MEI, with and without a certificate.

use std::io::{Read, Write};
use std::sync::Arc;

use crate::peer::*;
use crate::tls::{AMT, AnyLeaf, chain_file};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, PrivatePkcs1KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, ProtocolVersion};

pub(crate) const PASSWORD: &str = "Correct-horse-1";
pub(crate) const MEBX: &str = "Other-horse-2";
pub(crate) const STOP: &str = "01 01 00 00 5e 00 00 04 00 00 00 00";
pub(crate) const UPID: &str = "796c1392ea5ffd4c980e23be07fa5e9f";
/// Leaf first; the key is the leaf's.
pub(crate) const GOOD: &[&str] = &["leaf", "intermediate", "root"];

pub(crate) fn start(more: &[&str]) -> Sim {
    start_as("vpro-desktop-amt19", more)
}

pub(crate) fn start_as(profile: &str, more: &[&str]) -> Sim {
    let root = format!("{}/tests/chain/root.der", env!("CARGO_MANIFEST_DIR"));
    let options = ["--time-scale", "0.01", "--trusted-root", &root];
    Sim::start(profile, &[&options, more].concat())
}

/// StartConfigurationHBased with this hash, and the status and payload it is answered with.
pub(crate) fn announce(sim: &Sim, algorithm: u8, hash: &str) -> (u32, Vec<u8>) {
    let hash = format!("{hash}{}", "00".repeat(64 - hash.len() / 2));
    let body = format!("{algorithm:02x} {hash} 00 00000000 {}", "00".repeat(320));
    let message = format!("01 01 00 00 8b 00 00 04 86 01 00 00 {body}");
    assert_eq!(bytes(&message).len(), 402);
    pthi(sim, &message)
}

/// The host announces this provisioning leaf.
pub(crate) fn announce_leaf(sim: &Sim, name: &str) -> Vec<u8> {
    let (status, answer) = announce(sim, 2, &sha256_of(&chain_file(&format!("{name}.der"))));
    assert_eq!((status, answer.len(), answer[0]), (0, 65, 2));
    answer[1..].to_vec()
}

/// 16993 through MEI. Remembers what it was shown last.
pub(crate) struct Host {
    pub(crate) lme: Lme,
    /// What the host shows: file names of a chain and of the leaf's key.
    pub(crate) shows: Option<(&'static [&'static str], &'static str)>,
    pub(crate) chain: Vec<Vec<u8>>,
    pub(crate) version: Option<ProtocolVersion>,
    /// Why the last session failed, if it did.
    pub(crate) failure: Option<String>,
}

impl Host {
    pub(crate) fn open(sim: &Sim) -> Self {
        let lme = Lme::with_ports(&sim.dir, &["00004261", "00000298"]);
        Self { lme, shows: None, chain: Vec::new(), version: None, failure: None }
    }

    pub(crate) fn showing(sim: &Sim, chain: &'static [&'static str], key: &'static str) -> Self {
        Self { shows: Some((chain, key)), ..Self::open(sim) }
    }

    /// Waits until a channel to 16993 is confirmed again.
    pub(crate) fn wait(&mut self) {
        wait_until("16993", || {
            let (_, answer) = self.lme.open_channel(1024, 16993);
            let confirmed = answer[0] == 0x5b;
            if confirmed {
                self.lme.mei.send(&bytes(&format!("61 {}", hex(&answer[5..9]))));
                assert_eq!(self.lme.mei.receive().unwrap()[0], 0x61);
            }
            confirmed
        });
    }

    fn connection(&self) -> ClientConnection {
        let provider = default_provider();
        let builder = ClientConfig::builder_with_provider(Arc::new(provider.clone()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyLeaf(provider)));
        let config = match self.shows {
            None => builder.with_no_client_auth(),
            Some((names, key)) => {
                let chain = names.iter().map(|name| chain_file(&format!("{name}.der")).into()).collect();
                let key = PrivatePkcs1KeyDer::from(chain_file(&format!("{key}.key")));
                builder.with_client_auth_cert(chain, key.into()).unwrap()
            }
        };
        ClientConnection::new(Arc::new(config), ServerName::try_from("amt.example.com").unwrap()).unwrap()
    }

    /// The handshake and one request without a login: whether it came to an answer.
    pub(crate) fn is_let_in(&mut self) -> bool {
        !self.exchange(&request(&envelope(GET, GENERAL, ""), None)).is_empty()
    }

    pub(crate) fn get(&mut self, user: &str, password: &str) -> Answer {
        post(self, user, password, &envelope(GET, GENERAL, ""))
    }

    /// A method's return value; `None` when there was no answer.
    pub(crate) fn invoke(&mut self, user: &str, password: &str, body: &str) -> Option<u32> {
        let challenge = Answer::parse(&self.exchange(&request(body, None)));
        let authorization = login(user, password, &challenge.realm(), &challenge.nonce(), 1);
        let answer = self.exchange(&request(body, Some(&authorization)));
        (!answer.is_empty()).then(|| leaf(&Answer::parse(&answer), "ReturnValue").parse().unwrap())
    }

    pub(crate) fn admin(&mut self, class: &str, method: &str, fields: &str) -> Option<u32> {
        self.invoke("admin", PASSWORD, &invocation(class, method, fields))
    }

    pub(crate) fn set_admin(&mut self, sim: &Sim) {
        let realm = sim.state()["realm"].as_str().unwrap().to_owned();
        let digest = STANDARD.encode(bytes(&md5(&format!("admin:{realm}:{PASSWORD}"))));
        let fields = format!("<h:Username>admin</h:Username><h:DigestPassword>{digest}</h:DigestPassword>");
        let class = format!("{AMT}AMT_AuthorizationService");
        assert_eq!(self.admin(&class, "SetAdminAclEntryEx", &fields), Some(0));
    }

    pub(crate) fn set_mebx(&mut self) {
        let fields = format!("<h:Password>{MEBX}</h:Password>");
        assert_eq!(self.admin(CONFIGURATION, "SetMEBxPassword", &fields), Some(0));
    }

    pub(crate) fn commit(&mut self) -> Option<u32> {
        self.admin(CONFIGURATION, "CommitChanges", "")
    }
}

impl Door for Host {
    fn exchange(&mut self, request: &[u8]) -> Vec<u8> {
        let mut connection = self.connection();
        connection.writer().write_all(request).unwrap();
        let (mut answer, mut failure, mut first) = (Vec::new(), None, Vec::new());
        connection.write_tls(&mut first).unwrap();
        self.lme.converse(16993, &first, &mut |mut data| {
            let mut out = Vec::new();
            while !data.is_empty() && failure.is_none() {
                connection.read_tls(&mut data).unwrap();
                failure = connection.process_new_packets().err().map(|error| error.to_string());
                let _ = connection.reader().read_to_end(&mut answer);
            }
            while connection.wants_write() {
                connection.write_tls(&mut out).unwrap();
            }
            out
        });
        let chain = connection.peer_certificates().unwrap_or_default();
        self.chain = chain.iter().map(|certificate: &CertificateDer<'_>| certificate.to_vec()).collect();
        self.version = connection.protocol_version();
        self.failure = failure;
        answer
    }
}

/// Control mode and provisioning state, as PTHI tells them.
pub(crate) fn standing(sim: &Sim) -> (u8, u8) {
    (pthi(sim, CONTROL_MODE).1[0], pthi(sim, PROVISIONING_STATE).1[0])
}

/// Into client control mode, uncommitted, as the local account.
pub(crate) fn set_up(sim: &Sim, host: &mut Host) -> Option<u32> {
    let os_admin = os_admin(sim);
    let realm = sim.state()["realm"].as_str().unwrap().to_owned();
    let body = setup_body("2", &md5(&format!("admin:{realm}:{PASSWORD}")));
    host.invoke("$$OsAdmin", &os_admin, &body)
}
