//! A policy that has been checked: what `decide` and `assess` read.

use serde::{Deserialize, Serialize};
use time::Date;

use crate::pattern::{Glob, VersionRange};
use crate::{Action, Reference, recipient};

/// The org's policy file, checked. Made by [`Policy::parse`] only, so whoever holds one holds a policy without errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub name: String,
    /// Grows with every change: a lower one is a rollback.
    pub serial: u64,
    /// The last day on which the policy may be applied (UTC).
    pub not_after: Option<Date>,
    /// Hex, of the file's bytes.
    pub sha256: String,
    /// What happens where no rule matches.
    pub default_action: Action,
    /// In the order of the file.
    pub rules: Vec<Rule>,
    pub recipients: Vec<Recipient>,
    /// Take a filesystem of which nobody can tell whether it is durable for one that is.
    pub accept_unknown_fs: bool,
    /// Permit `use` with one recipient, or with recipients of one role.
    pub allow_single_recipient: bool,
    pub formats: Vec<Format>,
}

/// A match with its action and settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub id: String,
    /// Where the rule begins in the file, from 1.
    pub line: usize,
    pub priority: i64,
    pub action: Action,
    /// What is asked of channels, in the order of the documentation.
    pub settings: Vec<Setting>,
    /// The ladder of `neutralize`, in policy order: the first that applies is taken.
    pub methods: Vec<Method>,
    pub neutralize: Neutralize,
    pub(crate) conditions: Vec<Condition>,
}

impl Rule {
    /// How specific the rule's match is: its most specific key counts.
    pub fn class(&self) -> Class {
        self.conditions.iter().map(|condition| condition.key.class()).max().unwrap_or(Class::Default)
    }
}

/// One value of a rule, such as `amt.tls = "required"`. An absent key has none, and leaves the device's setting alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Dotted, such as `amt.control_mode`.
    pub key: &'static str,
    /// As the file has it, without quotes.
    pub value: String,
    /// From 1.
    pub line: usize,
}

/// How a rule neutralizes, besides by which methods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Neutralize {
    /// Read the flash chip where no image is given.
    pub read_flash: bool,
    /// Partitions of the ME region that code removal keeps besides the one it always keeps; none where the agent
    /// decides by the generation of the firmware.
    pub keep: Option<Vec<String>>,
    /// Remove code though the image carries Boot Guard manifests and nothing shows that they are not enforced.
    pub accept_boot_guard: bool,
    /// Where the provisioning certificate is with which `lockdown` gives MEBx a password of its own before it switches AMT
    /// off, and where its passphrase is.
    pub certificate: Option<Reference>,
    pub certificate_passphrase: Option<Reference>,
    /// Lower-case hex. Where there are any, only a result with one of these sha256 is staged.
    pub result_sha256: Vec<String>,
}

/// A step of the `neutralize` ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Method {
    #[serde(rename = "clean+soft-disable")]
    CleanAndSoftDisable,
    #[serde(rename = "soft-disable")]
    SoftDisable,
    #[serde(rename = "lockdown")]
    Lockdown,
    #[serde(rename = "report-only")]
    ReportOnly,
}

impl Method {
    pub(crate) const WORDS: [(&'static str, Self); 4] = [
        ("clean+soft-disable", Self::CleanAndSoftDisable),
        ("soft-disable", Self::SoftDisable),
        ("lockdown", Self::Lockdown),
        ("report-only", Self::ReportOnly),
    ];

    pub const fn word(self) -> &'static str {
        match self {
            Self::CleanAndSoftDisable => "clean+soft-disable",
            Self::SoftDisable => "soft-disable",
            Self::Lockdown => "lockdown",
            Self::ReportOnly => "report-only",
        }
    }

    /// True where the method changes a copy of the flash image.
    pub const fn needs_image(self) -> bool {
        matches!(self, Self::CleanAndSoftDisable | Self::SoftDisable)
    }
}

/// A public key to which every credential is sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    pub name: String,
    /// `age1...`, `age1tag1...` or `ssh-ed25519 ...`, checked.
    pub key: String,
    /// `ops`, `break-glass`, `site` or `healer`.
    pub role: &'static str,
    /// The last day on which something may be sealed to it (UTC).
    pub not_after: Option<Date>,
}

impl Recipient {
    pub(crate) const ROLES: [(&'static str, &'static str); 4] =
        [("ops", "ops"), ("break-glass", "break-glass"), ("site", "site"), ("healer", "healer")];

    /// `sha256:` and 32 hex digits, over the key without its comment.
    pub fn fingerprint(&self) -> String {
        recipient::fingerprint(&self.key)
    }

    /// `name (role) fingerprint`, as reports and events have it.
    pub fn label(&self) -> String {
        format!("{} ({}) {}", self.name, self.role, self.fingerprint())
    }
}

/// In what forms the report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    Html,
}

impl Format {
    pub(crate) const WORDS: [(&'static str, Self); 2] = [("json", Self::Json), ("html", Self::Html)];
}

/// How specific a match is; the highest wins (DESIGN section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    Default,
    /// `site`, `role`, `platform`, `form_factor`, `virtual`, `me_version`.
    Circumstance,
    Vendor,
    /// `product`, `sku`.
    Model,
    Mac,
    /// `serial`, `uuid`.
    Identity,
}

impl Class {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Circumstance => "circumstance",
            Self::Vendor => "vendor",
            Self::Model => "model",
            Self::Mac => "mac",
            Self::Identity => "identity",
        }
    }
}

/// One key of a match with what it wants. All conditions of a rule must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) key: Key,
    pub(crate) wanted: Wanted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Serial,
    Uuid,
    Mac,
    Product,
    Sku,
    Vendor,
    Site,
    Role,
    Platform,
    FormFactor,
    Virtual,
    MeVersion,
}

impl Key {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Serial => "serial",
            Self::Uuid => "uuid",
            Self::Mac => "mac",
            Self::Product => "product",
            Self::Sku => "sku",
            Self::Vendor => "vendor",
            Self::Site => "site",
            Self::Role => "role",
            Self::Platform => "platform",
            Self::FormFactor => "form_factor",
            Self::Virtual => "virtual",
            Self::MeVersion => "me_version",
        }
    }

    pub(crate) const fn class(self) -> Class {
        match self {
            Self::Serial | Self::Uuid => Class::Identity,
            Self::Mac => Class::Mac,
            Self::Product | Self::Sku => Class::Model,
            Self::Vendor => Class::Vendor,
            _ => Class::Circumstance,
        }
    }
}

/// What a condition wants: any of a list, a range, or a truth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Globs(Vec<Glob>),
    /// Compared as they are; UUIDs and MACs are in their normal form.
    Words(Vec<String>),
    Version(VersionRange),
    Truth(bool),
}

impl Wanted {
    /// As a person would write it.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Globs(globs) => globs.iter().map(|glob| glob.text.as_str()).collect::<Vec<_>>().join(" | "),
            Self::Words(words) => words.join(" | "),
            Self::Version(range) => range.text.clone(),
            Self::Truth(truth) => truth.to_string(),
        }
    }
}
