//! `ports.json`: which of the machine's network ports there are, and where. Who sees the file sees a machine that is
//! ready; it is written anew, by rename, whenever a port comes or goes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::amt::Amt;
use crate::chance::hex;
use crate::lms::Lms;
use crate::store::REMOTE;

/// The loopback ports of a machine, and the file that tells them.
pub struct Ports {
    file: PathBuf,
    /// Beside the machine's own files, so that a reader of the directory never sees half a list.
    draft: PathBuf,
    clear: Option<u16>,
    tls: Option<u16>,
    time_scale: f64,
    lms: Option<Lms>,
    /// What else the file tells, and always.
    more: Map<String, Value>,
    told: Option<(bool, bool, (bool, bool))>,
}

impl Ports {
    /// Ports that the file does not tell yet; `sim` is the machine's own directory.
    #[must_use]
    pub fn new(file: PathBuf, sim: &Path, clear: Option<u16>, tls: Option<u16>, time_scale: f64) -> Self {
        let (draft, more) = (sim.join("ports.new"), Map::new());
        Self { file, draft, clear, tls, time_scale, lms: None, more, told: None }
    }

    /// The same, with the ports of the service on the machine.
    #[must_use]
    pub fn with_lms(self, lms: Option<Lms>) -> Self {
        Self { lms, ..self }
    }

    /// The same, and the root of the on-die chain: real firmware's is Intel's, a simulated one's cannot be.
    #[must_use]
    pub fn with_on_die_root(mut self, der: &[u8]) -> Self {
        self.more.insert("on_die_root_sha256".to_owned(), hex(&Sha256::digest(der)).into());
        self.more.insert("on_die_root".to_owned(), STANDARD.encode(der).into());
        self
    }

    /// Writes the file if it does not tell what is now.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn tell(&mut self, amt: &Amt) -> io::Result<()> {
        // An unprovisioned machine's 16992 is listed and closes every connection at once.
        let reachable = amt.is_addressed();
        let (clear, tls) = (reachable && amt.opens_cleartext(), reachable && amt.tls(REMOTE).is_some());
        let now = (clear, tls, amt.opens_to_host());
        if self.told == Some(now) {
            return Ok(());
        }
        let mut ports = self.more.clone();
        if let Some(port) = self.clear.filter(|_| now.0) {
            ports.insert("16992".to_owned(), port.into());
        }
        if let Some(port) = self.tls.filter(|_| now.1) {
            ports.insert("16993".to_owned(), port.into());
        }
        if let Some(lms) = self.lms {
            let (clear, tls) = now.2;
            let open = [("lms:16992", lms.clear, clear), ("lms:16993", lms.tls, tls)];
            for (name, port, _) in open.iter().filter(|(.., open)| *open) {
                ports.insert((*name).to_owned(), (*port).into());
            }
        }
        ports.insert("time_scale".to_owned(), self.time_scale.into());
        fs::write(&self.draft, serde_json::to_vec_pretty(&Value::Object(ports))?)?;
        fs::rename(&self.draft, &self.file)?;
        self.told = Some(now);
        Ok(())
    }
}
