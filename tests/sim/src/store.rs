//! Keys, certificates and TLS settings (`reference/amt.md` 4.6, 5.9). What an administrator sets takes effect when
//! it is committed, and not before.

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::amt::status;
use crate::chance::hex;
use crate::rsa::KeyPair;
use crate::x509::{Certificate, CertificateRequest, Key, self_issued, signed};

/// Everything that is stored.
#[derive(Clone, Default)]
pub struct Store {
    keys: BTreeMap<u32, KeyPair>,
    certificates: BTreeMap<u32, Stored>,
    context: Option<u32>,
    /// What was put and may not be committed yet: the network's side, then the host's.
    pub settings: [TlsSettings; 2],
    committed: Committed,
    generated: u32,
    /// The certificate that is served stays until the context, changed already, is put once more (rpc-go#572).
    lingers: bool,
    put_again: bool,
}

/// A stored certificate.
#[derive(Clone)]
pub struct Stored {
    /// The certificate.
    pub certificate: Certificate,
    /// Whether it was added as a root for mutual authentication.
    pub is_root: bool,
    /// Whether the firmware made it for itself; it cannot be deleted then.
    pub is_own: bool,
    key: Option<u32>,
}

/// One instance of `AMT_TLSSettingData`.
#[derive(Clone, Default, Serialize)]
pub struct TlsSettings {
    /// Whether TLS is spoken.
    pub enabled: bool,
    /// Whether clients must show a certificate.
    pub mutual: bool,
    /// Whether cleartext is spoken beside it.
    pub accepts_cleartext: bool,
    /// Common names that such certificates must have; empty: any.
    pub trusted_names: Vec<String>,
}

/// What TLS is spoken with.
#[derive(Clone)]
pub struct Identity {
    /// The leaf.
    pub certificate: Vec<u8>,
    /// Its key.
    pub key: KeyPair,
    /// Roots of clients' certificates.
    pub roots: Vec<Vec<u8>>,
}

#[derive(Clone, Default)]
struct Committed {
    settings: [TlsSettings; 2],
    identity: Option<Identity>,
    context: Option<u32>,
}

/// What `state.json` tells: fingerprints, never a key.
#[derive(Serialize)]
pub struct Told {
    key_pairs: usize,
    /// SHA-256 of each certificate, by handle.
    certificates: BTreeMap<u32, String>,
    context: Option<u32>,
    put: [TlsSettings; 2],
    committed: [TlsSettings; 2],
    /// SHA-256 of the leaf that is served.
    serving: Option<String>,
}

/// The reference says that there are few slots, not how few (`reference/amt.md` 5.9, 3).
const MAX_KEYS: usize = 5;
const MAX_CERTIFICATES: usize = 8;
/// `reference/amt.md` 4.6.
const MAX_CERTIFICATE: usize = 4100;

/// Index of the network's side in [`Store::settings`].
pub const REMOTE: usize = 0;
/// Index of the host's side.
pub const LOCAL: usize = 1;

impl Store {
    /// An empty store. Keys go on counting, so that an erased one does not come back. From 19 on TLS is on, on both
    /// sides (`reference/amt.md` 4.5).
    #[must_use]
    pub fn emptied(&self, host_tls_only: bool) -> Self {
        let mut store = Self { generated: self.generated, lingers: self.lingers, ..Self::default() };
        store.settings[LOCAL].accepts_cleartext = !host_tls_only;
        if host_tls_only {
            store.settings.iter_mut().for_each(|settings| settings.enabled = true);
            store.committed.settings = store.settings.clone();
        }
        store
    }

    /// The same, whose certificate lingers or not.
    #[must_use]
    pub fn lingering(self, lingers: bool) -> Self {
        Self { lingers, ..self }
    }

    /// The key pairs by handle.
    pub fn keys(&self) -> impl Iterator<Item = (u32, &KeyPair)> {
        self.keys.iter().map(|(handle, key)| (*handle, key))
    }

    /// The certificates by handle.
    pub fn certificates(&self) -> impl Iterator<Item = (u32, &Stored)> {
        self.certificates.iter().map(|(handle, stored)| (*handle, stored))
    }

    /// Each certificate that is for a key here, and that key.
    pub fn pairs(&self) -> impl Iterator<Item = (u32, u32)> {
        self.certificates.iter().filter_map(|(handle, stored)| Some((*handle, stored.key?)))
    }

    /// The certificate of the credential context.
    #[must_use]
    pub fn context(&self) -> Option<u32> {
        self.context
    }

    /// `GenerateKeyPair`, of 2048 bits. The handle, or a status.
    ///
    /// # Errors
    /// When every slot is taken.
    pub fn generate_key(&mut self, seed: u64) -> Result<u32, u32> {
        if self.keys.len() == MAX_KEYS {
            return Err(status::LIMIT);
        }
        self.generated += 1;
        let handle = free(&self.keys);
        self.keys.insert(handle, KeyPair::generate(seed, self.generated));
        Ok(handle)
    }

    /// `GeneratePKCS10RequestEx`: the same request, signed by the key it is for.
    ///
    /// # Errors
    /// When there is no such key, the request cannot be read, or it is for another key.
    pub fn sign_request(&self, handle: u32, request: &[u8]) -> Result<Vec<u8>, u32> {
        let key = self.keys.get(&handle).ok_or(status::HANDLE)?;
        let request = CertificateRequest::parse(request).ok_or(status::PARAMETER)?;
        if request.key != Key::Rsa(key.public.clone()) {
            return Err(status::KEY_MISMATCH);
        }
        let signature = key.sign(&request.body).ok_or(status::INTERNAL)?;
        Ok(signed(&request.body, &signature))
    }

    /// `AddCertificate`: for one of the keys here.
    ///
    /// # Errors
    /// When it is no certificate, there already, for no key, or no slot is free.
    pub fn add_certificate(&mut self, der: &[u8]) -> Result<u32, u32> {
        self.add(der, false)
    }

    /// `AddTrustedRootCertificate`.
    ///
    /// # Errors
    /// When it is no certificate, there already, or no slot is free.
    pub fn add_root(&mut self, der: &[u8]) -> Result<u32, u32> {
        self.add(der, true)
    }

    fn add(&mut self, der: &[u8], is_root: bool) -> Result<u32, u32> {
        let certificate = Certificate::parse(der).filter(|_| der.len() <= MAX_CERTIFICATE);
        let certificate = certificate.ok_or(status::CERTIFICATE)?;
        if self.certificates.values().any(|stored| stored.certificate.der == der) {
            return Err(status::DUPLICATE);
        }
        let fits = |key: &KeyPair| certificate.key == Key::Rsa(key.public.clone());
        let key = self.keys.iter().find(|(_, key)| fits(key)).map(|(handle, _)| *handle);
        if !is_root && key.is_none() {
            return Err(status::KEY_MISMATCH);
        }
        if self.certificates.len() == MAX_CERTIFICATES {
            return Err(status::LIMIT);
        }
        let handle = free(&self.certificates);
        let key = key.filter(|_| !is_root);
        self.certificates.insert(handle, Stored { certificate, is_root, is_own: false, key });
        Ok(handle)
    }

    /// Deletes a key pair; false while a certificate is for it.
    #[must_use]
    pub fn delete_key(&mut self, handle: u32) -> bool {
        let used = self.certificates.values().any(|stored| stored.key == Some(handle));
        !used && self.keys.remove(&handle).is_some()
    }

    /// Deletes a certificate; false while it is referred to, and for the firmware's own.
    #[must_use]
    pub fn delete_certificate(&mut self, handle: u32) -> bool {
        let own = self.certificates.get(&handle).is_some_and(|stored| stored.is_own);
        !own && self.context != Some(handle) && self.certificates.remove(&handle).is_some()
    }

    /// Makes this certificate TLS's, from the next commit on; false for one without a key here.
    #[must_use]
    pub fn set_context(&mut self, handle: u32) -> bool {
        let fits = self.certificates.get(&handle).is_some_and(|stored| stored.key.is_some());
        if fits {
            self.put_again = self.context == Some(handle);
            self.context = Some(handle);
        }
        fits
    }

    /// Removes the context.
    pub fn remove_context(&mut self) {
        self.context = None;
    }

    /// Whether there are roots for mutual authentication.
    #[must_use]
    pub fn has_roots(&self) -> bool {
        self.certificates.values().any(|stored| stored.is_root)
    }

    /// The self-signed certificate that firmware from 16.1 on begins with, TLS on and no cleartext on the network
    /// (`reference/amt.md` 4.5).
    pub fn begin_with_own(&mut self, seed: u64) {
        let Ok(handle) = self.generate_key(seed) else { return };
        let Some(key) = self.keys.get(&handle) else { return };
        let body = self_issued("AMT Self Signed", &self.generated.to_be_bytes(), &key.public);
        let der = key.sign(&body).map(|signature| signed(&body, &signature)).unwrap_or_default();
        if let Ok(handle) = self.add_certificate(&der) {
            if let Some(stored) = self.certificates.get_mut(&handle) {
                stored.is_own = true;
            }
            self.context = Some(handle);
            self.settings[REMOTE].enabled = true;
            self.commit();
        }
    }

    /// Puts into effect what was put.
    pub fn commit(&mut self) {
        let stored = self.context.and_then(|handle| self.certificates.get(&handle));
        let identity = stored.and_then(|stored| {
            let roots = self.certificates.values().filter(|stored| stored.is_root);
            Some(Identity {
                certificate: stored.certificate.der.clone(),
                key: self.keys.get(&stored.key?)?.clone(),
                roots: roots.map(|stored| stored.certificate.der.clone()).collect(),
            })
        });
        let old = self.committed.identity.take().filter(|_| self.lingers && !self.put_again);
        let identity = match (identity, old) {
            (Some(new), Some(old)) => Some(Identity { roots: new.roots, ..old }),
            (new, _) => new,
        };
        self.committed = Committed { settings: self.settings.clone(), identity, context: self.context };
    }

    /// No TLS on either side, at once.
    pub fn switch_off(&mut self) {
        for settings in &mut self.settings {
            settings.enabled = false;
        }
        self.commit();
    }

    /// Back to what is in effect.
    pub fn forget_uncommitted(&mut self) {
        self.settings = self.committed.settings.clone();
        self.context = self.committed.context;
    }

    /// What is in effect on this side, and what it is spoken with, if TLS is spoken.
    #[must_use]
    pub fn tls(&self, side: usize) -> Option<(&TlsSettings, &Identity)> {
        let settings = self.committed.settings.get(side).filter(|settings| settings.enabled)?;
        Some((settings, self.committed.identity.as_ref()?))
    }

    /// What `state.json` tells.
    #[must_use]
    pub fn told(&self) -> Told {
        let fingerprint = |der: &[u8]| hex(&Sha256::digest(der));
        let certificates = self.certificates();
        Told {
            key_pairs: self.keys.len(),
            certificates: certificates.map(|(n, stored)| (n, fingerprint(&stored.certificate.der))).collect(),
            context: self.context,
            put: self.settings.clone(),
            committed: self.committed.settings.clone(),
            serving: self.committed.identity.as_ref().map(|identity| fingerprint(&identity.certificate)),
        }
    }
}

/// The lowest number that is no key of the map.
fn free<T>(map: &BTreeMap<u32, T>) -> u32 {
    (0..).find(|handle| !map.contains_key(handle)).unwrap_or(0)
}
