//! What was found on a machine: facts, never opinions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The text of a fact's value when it could not be read. `unknown` is never `absent`.
pub const UNKNOWN: &str = "unknown";

/// What kind of directory the machine was reached through. `Live` is `/` alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RootKind {
    Live,
    /// A captured machine: no `dev/mei0`.
    Capture,
    /// A simulated machine: its devices are sockets.
    Simulated,
}

impl RootKind {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Capture => "capture",
            Self::Simulated => "simulated",
        }
    }
}

/// How well a fact is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confidence {
    /// Suggestive only; measured to be wrong on real machines.
    Hint,
    /// Follows from several observations.
    Inferred,
    /// Read from the thing itself.
    Observed,
}

/// One detected value. Maps and lists keep their order, so that output is stable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    Bool(bool),
    Number(u64),
    Text(String),
    List(Vec<Value>),
    Map(BTreeMap<String, Value>),
}

impl Value {
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Bool(flag)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl<V: Into<Value>> From<Vec<V>> for Value {
    fn from(list: Vec<V>) -> Self {
        Self::List(list.into_iter().map(Into::into).collect())
    }
}

/// One detected value with where it came from. Names are dotted and stable (DESIGN section 6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    pub name: String,
    pub value: Value,
    /// The file, call or structure it was read from, such as `sys/class/mei/mei0/fw_ver` or `smbios:131`.
    pub source: String,
    pub confidence: Confidence,
    /// Why the value is unknown, or what a person should know about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Fact {
    pub fn observed(name: &str, value: impl Into<Value>, source: &str) -> Self {
        Self::new(name, value, source, Confidence::Observed)
    }

    pub fn inferred(name: &str, value: impl Into<Value>, source: &str) -> Self {
        Self::new(name, value, source, Confidence::Inferred)
    }

    pub fn hint(name: &str, value: impl Into<Value>, source: &str) -> Self {
        Self::new(name, value, source, Confidence::Hint)
    }

    /// The value could not be read, and `reason` says why.
    pub fn unknown(name: &str, source: &str, reason: impl Into<String>) -> Self {
        Self::new(name, UNKNOWN, source, Confidence::Observed).because(reason)
    }

    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    fn new(name: &str, value: impl Into<Value>, source: &str, confidence: Confidence) -> Self {
        Self {
            name: name.to_owned(),
            value: value.into(),
            source: source.to_owned(),
            confidence,
            reason: None,
        }
    }
}

/// All facts about one machine, in the order in which they are printed. Serialized, it is `detect --json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detection {
    /// Always `oob-detection/1`.
    pub schema: String,
    pub root: RootKind,
    /// `d1-...`, or none where the machine has nothing that could identify it.
    pub device_id: Option<String>,
    pub facts: Vec<Fact>,
}

impl Detection {
    pub const SCHEMA: &str = "oob-detection/1";

    pub fn new(root: RootKind, device_id: Option<String>, facts: Vec<Fact>) -> Self {
        Self { schema: Self::SCHEMA.to_owned(), root, device_id, facts }
    }

    pub fn fact(&self, name: &str) -> Option<&Fact> {
        self.facts.iter().find(|fact| fact.name == name)
    }

    /// The fact's text, or [`UNKNOWN`] where it is missing or not a text.
    pub fn text(&self, name: &str) -> &str {
        self.fact(name).and_then(|fact| fact.value.as_text()).unwrap_or(UNKNOWN)
    }

    /// The fact's text where it is known.
    pub fn known(&self, name: &str) -> Option<&str> {
        Some(self.text(name)).filter(|text| *text != UNKNOWN && !text.is_empty())
    }

    /// Facts whose name begins with `prefix`, such as `watchdog.`.
    pub fn under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a Fact> {
        self.facts.iter().filter(move |fact| fact.name.starts_with(prefix))
    }
}
