//! What a rule asks of AMT, as types. The file form is a list of settings ([`crate::Setting`]), checked when it was read.

mod network;
mod ports;

pub use network::{
    MutualWish, PowerWish, WifiSecurity, WifiWish, is_mutual_ca_alone, is_mutual_word, mutual_ca,
    mutual_words_left,
};
pub use ports::{amt_reach, is_tls_alone, serves_its_own};

use serde::{Deserialize, Serialize};

use crate::{HttpsUrl, Rule};

/// What a rule that uses AMT asks for. Absent keys leave the device's own setting alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AmtWishes {
    pub control_mode: ModeWish,
    /// Where the provisioning certificate, its chain and its key are.
    pub certificate: Option<Reference>,
    /// Where the passphrase of a PKCS#12 file is.
    pub certificate_passphrase: Option<Reference>,
    /// Where the certificate and the key are that issue AMT's TLS certificate; without it AMT's own is pinned.
    pub tls_ca: Option<Reference>,
    /// The CA that issues AMT's TLS certificate over the network; never beside `tls_ca`.
    pub tls_ca_service: Option<TlsCa>,
    /// Where the passphrase of the Wi-Fi profile is.
    pub wifi_passphrase: Option<Reference>,
    /// Where the certificate of the CA is whose clients alone may speak TLS to AMT.
    pub mutual_tls_ca: Option<Reference>,
    /// How many days before AMT's TLS certificate ends it is to be replaced.
    pub tls_renew_days: Option<u32>,
    /// Others' AMT may be taken over with a password that the operator knows.
    pub take_over: bool,
    pub settings: AmtSettings,

    /// AMT shall not be provisioned, and how far it is taken back where it is; none where it shall be.
    pub unprovisioned: Option<Scope>,

    /// AMT that its maker or BIOS setup switched off may be switched on.
    pub enable: bool,
}

/// How far AMT is taken back (reference/amt.md 5.13).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// As it came from the factory, but for the MEBx password and, from AMT 12 on, the PKI suffix.
    #[default]
    Full,
    /// The admin account and what TLS needs stay.
    Partial,
}

impl Scope {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Partial => "partial",
        }
    }
}

/// A CA that is reached over HTTPS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsCa {
    pub url: HttpsUrl,
    /// Where the roots are (PEM) that vouch for that server, and for what it issues.
    pub trust: Reference,
    /// Where the login is, if it wants one.
    pub credential: Option<Reference>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModeWish {
    #[default]
    Ccm,
    Acm,
    /// Admin control mode where the certificate is accepted, else client control mode, and that is said.
    AcmOrCcm,
}

/// TLS on AMT's network ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsWish {
    /// And no cleartext beside it.
    Required,
    /// Cleartext stays open beside it.
    Optional,
}

impl TlsWish {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Optional => "optional",
        }
    }
}

/// Settings that are written after activation, each read back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AmtSettings {
    /// Set AMT's clock from this machine's.
    #[serde(skip_serializing_if = "is_false", default)]
    pub clock: bool,
    /// Give AMT this machine's name.
    #[serde(skip_serializing_if = "is_false", default)]
    pub hostname: bool,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sol: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ider: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kvm: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub consent: Option<Consent>,
    /// Give MEBx a password of its own, escrowed.
    #[serde(skip_serializing_if = "is_false", default)]
    pub mebx: bool,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tls: Option<TlsWish>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub wifi: Option<WifiWish>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub power: Option<PowerWish>,
    /// Only beside `tls`: both are written at once.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mutual_tls: Option<MutualWish>,
}

/// When a person at the machine must agree (`OptInRequired` of IPS_OptInService).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Consent {
    None,
    Kvm,
    All,
}

impl Consent {
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Kvm => "kvm",
            Self::All => "all",
        }
    }
}

/// A secret that a policy names and does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// `file:PATH`.
    File(String),
    /// `credential:NAME`: a file of that name in the service manager's credentials directory.
    Credential(String),
}

impl Reference {
    /// None where the text is no reference.
    pub fn parse(text: &str) -> Option<Self> {
        let named = |name: &str| !name.is_empty() && !name.contains(['\0', '\n']);
        match text.split_once(':')? {
            ("file", path) if named(path) => Some(Self::File(path.to_owned())),
            ("credential", name) if crate::is_name(name) => Some(Self::Credential(name.to_owned())),
            _ => None,
        }
    }
}

impl AmtSettings {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What of it can be set in client control mode: consent is always asked there, and MEBx is out of reach.
    #[must_use]
    pub fn in_client_mode(&self) -> Self {
        Self { consent: None, mebx: false, ..self.clone() }
    }

    /// What of it is not among these words.
    #[must_use]
    pub fn beyond(&self, held: &[String]) -> Self {
        let is_held = |word: &str| held.iter().any(|it| it == word);
        let flag = |name: &str, set: bool| set && !is_held(&format!("{name} = true"));
        let choice =
            |name: &str, value: Option<bool>| value.filter(|value| !is_held(&format!("{name} = {value}")));
        Self {
            clock: flag("clock", self.clock),
            hostname: flag("hostname", self.hostname),
            sol: choice("sol", self.sol),
            ider: choice("ider", self.ider),
            kvm: choice("kvm", self.kvm),
            consent: self.consent.filter(|it| !is_held(&format!("consent = {}", it.word()))),
            mebx: flag("mebx", self.mebx),
            tls: self.tls.filter(|it| !is_held(&format!("tls = {}", it.word()))),
            wifi: self.wifi.clone().filter(|it| !it.words().iter().all(|word| is_held(word))),
            power: self.power.filter(|it| !is_held(&format!("power = {}", it.word()))),
            mutual_tls: self.mutual_tls.clone().filter(|it| !it.words().iter().all(|word| is_held(word))),
        }
        .with_tls_whole(self)
    }

    /// TLS and the clients' certificates are written at once, so where one is to be written, so is the other.
    fn with_tls_whole(mut self, all: &Self) -> Self {
        if self.tls.is_some() || self.mutual_tls.is_some() {
            self.tls = all.tls;
            self.mutual_tls.clone_from(&all.mutual_tls);
        }
        self
    }

    /// The same, with TLS set anew as `all` has it.
    #[must_use]
    pub fn with_tls_of(mut self, all: &Self) -> Self {
        self.tls = all.tls;
        self.with_tls_whole(all)
    }

    /// Each wish as `name = value`, in a fixed order: how a proof and a later policy are compared.
    pub fn words(&self) -> Vec<String> {
        let flag = |name: &str, set: bool| set.then(|| format!("{name} = true"));
        let choice = |name: &str, value: Option<bool>| value.map(|value| format!("{name} = {value}"));
        [
            flag("clock", self.clock),
            flag("hostname", self.hostname),
            choice("sol", self.sol),
            choice("ider", self.ider),
            choice("kvm", self.kvm),
            self.consent.map(|consent| format!("consent = {}", consent.word())),
            flag("mebx", self.mebx),
            self.tls.map(|tls| format!("tls = {}", tls.word())),
            self.power.map(|power| format!("power = {}", power.word())),
        ]
        .into_iter()
        .flatten()
        .chain(self.wifi.iter().flat_map(WifiWish::words))
        .chain(self.mutual_tls.iter().flat_map(MutualWish::words))
        .collect()
    }
}

impl Rule {
    /// What the rule asks of AMT.
    pub fn amt(&self) -> AmtWishes {
        let value = |key: &str| {
            self.settings.iter().find(|setting| setting.key == key).map(|setting| setting.value.as_str())
        };
        let flag = |key: &str| value(key).map(|value| value == "true");
        AmtWishes {
            control_mode: match value("amt.control_mode") {
                Some("acm") => ModeWish::Acm,
                Some("acm-or-ccm") => ModeWish::AcmOrCcm,
                _ => ModeWish::Ccm,
            },
            certificate: value("amt.certificate").and_then(Reference::parse),
            certificate_passphrase: value("amt.certificate_passphrase").and_then(Reference::parse),
            tls_ca: value("amt.tls_ca").and_then(Reference::parse),
            tls_ca_service: value("amt.tls_ca_url").and_then(|url| {
                Some(TlsCa {
                    url: HttpsUrl::parse(url).ok()?,
                    trust: value("amt.tls_ca_trust").and_then(Reference::parse)?,
                    credential: value("amt.tls_ca_credential").and_then(Reference::parse),
                })
            }),
            wifi_passphrase: value("amt.wifi_passphrase").and_then(Reference::parse),
            mutual_tls_ca: value("amt.mutual_tls_ca").and_then(Reference::parse),
            tls_renew_days: value("amt.tls_renew_days").and_then(|days| days.parse().ok()),
            take_over: flag("amt.take_over") == Some(true),

            unprovisioned: (flag("amt.provisioned") == Some(false)).then(|| match value("amt.unprovision") {
                Some("partial") => Scope::Partial,
                _ => Scope::Full,
            }),

            enable: flag("amt.enable") == Some(true),

            settings: AmtSettings {
                clock: flag("amt.clock") == Some(true),
                hostname: flag("amt.hostname") == Some(true),
                sol: flag("amt.sol"),
                ider: flag("amt.ider"),
                kvm: flag("amt.kvm"),
                consent: value("amt.consent").map(|consent| match consent {
                    "none" => Consent::None,
                    "kvm" => Consent::Kvm,
                    _ => Consent::All,
                }),
                mebx: flag("amt.mebx") == Some(true),
                tls: value("amt.tls").map(|tls| match tls {
                    "required" => TlsWish::Required,
                    _ => TlsWish::Optional,
                }),
                wifi: value("amt.wifi_ssid").map(|ssid| WifiWish {
                    ssid: ssid.to_owned(),
                    security: match value("amt.wifi_security") {
                        Some("wpa3-sae") => WifiSecurity::Wpa3Sae,
                        _ => WifiSecurity::Wpa2Psk,
                    },
                }),
                power: value("amt.power").map(|power| match power {
                    "host-on" => PowerWish::HostOn,
                    _ => PowerWish::Always,
                }),
                mutual_tls: value("amt.mutual_tls_ca").map(|_| MutualWish {
                    ca_sha256: None,
                    names: value("amt.mutual_tls_names")
                        .map(|names| names.split(", ").map(str::to_owned).collect())
                        .unwrap_or_default(),
                }),
            },
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(flag: &bool) -> bool {
    !flag
}
