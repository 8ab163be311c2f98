//! An event: the immutable, signed, hash-chained record that org state is made of (reference/org-state.md 2.3).

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ed25519_dalek::{Signature, VerifyingKey};
use oob_policy::RootKind;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::jcs::canonical;
use super::signer::Signer;
use super::{hex, sha256_hex, unhex};

/// One record. Readers keep unknown kinds and fields; writers never give a name a second meaning.
///
/// It holds nothing secret: of a credential only generation, escrow file name and recipients' fingerprints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Always [`Event::SCHEMA`].
    pub schema: String,
    pub kind: Kind,
    pub device_id: String,
    /// UUIDv7 of the run that wrote it.
    pub run_id: String,
    /// From 1, as far as the run knew this device's events.
    pub seq: u64,
    /// The event id before it; none for the first.
    pub prev: Option<String>,
    pub agent: EventAgent,
    pub actor: Actor,
    /// False for a key that lived for one run only.
    pub actor_vouched: bool,
    pub medium: Medium,
    pub root: RootKind,
    pub time: EventTime,
    pub policy: Option<EventPolicy>,
    /// Per kind; integers only.
    pub body: Value,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub evidence: BTreeMap<String, Evidence>,
}

impl Event {
    pub const SCHEMA: &str = "oob-event/1";
    /// Of the canonical bytes.
    pub const MAX_BYTES: usize = 64 * 1024;

    /// Signs the event into its envelope. The id follows from the payload alone.
    ///
    /// # Errors
    /// Where the event is too long or holds a number that is not an exact integer, both defects of the caller.
    pub fn sign(&self, signer: &Signer) -> Result<SignedEvent, EventError> {
        let value = serde_json::to_value(self).map_err(|error| EventError::Shape(error.to_string()))?;
        let payload = canonical(&value)?;
        if payload.len() > Self::MAX_BYTES {
            return Err(EventError::TooLong(payload.len()));
        }
        let envelope = Envelope {
            payload: BASE64_STANDARD.encode(&payload),
            payload_type: PAYLOAD_TYPE.to_owned(),
            signatures: vec![EnvelopeSignature {
                keyid: sha256_hex(&signer.public_key()),
                sig: BASE64_STANDARD.encode(signer.sign(&pre_authentication(&payload))),
            }],
        };
        let envelope =
            serde_json::to_value(envelope).map_err(|error| EventError::Shape(error.to_string()))?;
        Ok(SignedEvent { id: event_id(&payload), event: self.clone(), envelope: canonical(&envelope)? })
    }
}

/// What an event tells of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Kind {
    Observed,
    Planned,
    Escrowed,
    Activated,
    Verified,
    Failed,
    Staged,
    Neutralized,
    Rotated,
    Retired,
    Note,
    /// Written by a later version; kept, and counted in the chain.
    Other(String),
}

impl Kind {
    const WORDS: [(Self, &'static str); 11] = [
        (Self::Observed, "observed"),
        (Self::Planned, "planned"),
        (Self::Escrowed, "escrowed"),
        (Self::Activated, "activated"),
        (Self::Verified, "verified"),
        (Self::Failed, "failed"),
        (Self::Staged, "staged"),
        (Self::Neutralized, "neutralized"),
        (Self::Rotated, "rotated"),
        (Self::Retired, "retired"),
        (Self::Note, "note"),
    ];
}

impl From<String> for Kind {
    fn from(word: String) -> Self {
        let known = Self::WORDS.iter().find(|(_, known)| *known == word).map(|(kind, _)| kind.clone());
        known.unwrap_or(Self::Other(word))
    }
}

impl From<Kind> for String {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Other(word) => word,
            known => Kind::WORDS
                .iter()
                .find(|(kind, _)| *kind == known)
                .map(|(_, w)| *w)
                .unwrap_or_default()
                .into(),
        }
    }
}

/// The program that wrote the event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventAgent {
    pub name: String,
    pub version: String,
    /// Hex, of the running binary; none where it could not be read.
    pub sha256: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// Raw Ed25519 public key, hex.
    pub pubkey: String,
}

/// The provisioning medium, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Medium {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmdline_sha256: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uki_sha256: Option<String>,
}

/// Never used alone for ordering: the clock of a new machine is often wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventTime {
    /// RFC 3339, UTC.
    pub wall: String,
    /// `rtc`, `ntp` or `server`.
    pub source: String,
    /// Milliseconds since the run began.
    pub monotonic_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventPolicy {
    /// Hex, of the file's bytes.
    pub sha256: String,
    pub serial: u64,
    /// The rule that applied; none where the defaults did.
    pub rule: Option<String>,
    /// Who vouches for the policy, such as `unsigned`.
    pub trust: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    pub sha256: String,
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inline: Option<String>,
}

/// An event with the bytes that are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedEvent {
    /// `e1-` and the hex sha256 of the payload.
    pub id: String,
    pub event: Event,
    /// The DSSE envelope, canonical JSON: byte-identical in every sink.
    pub envelope: Vec<u8>,
}

impl SignedEvent {
    /// Reads an envelope that came from anywhere: payload type, canonical form, schema, and a signature by the very
    /// key that the event names as its actor. Whether that key is vouched for is for the reader's list of keys.
    ///
    /// # Errors
    /// Says which of these does not hold.
    pub fn open(envelope: &[u8]) -> Result<Self, EventError> {
        let outer: Envelope =
            serde_json::from_slice(envelope).map_err(|error| EventError::Shape(error.to_string()))?;
        if outer.payload_type != PAYLOAD_TYPE {
            return Err(EventError::Refused("its payload type is not an event's"));
        }
        let payload = BASE64_STANDARD
            .decode(&outer.payload)
            .map_err(|_| EventError::Refused("its base64 is damaged"))?;
        if payload.len() > Event::MAX_BYTES {
            return Err(EventError::TooLong(payload.len()));
        }
        let value: Value =
            serde_json::from_slice(&payload).map_err(|error| EventError::Shape(error.to_string()))?;
        // Else two readers could see different things in one signed payload, as with a name that occurs twice.
        if canonical(&value)? != payload {
            return Err(EventError::Refused("its payload is not canonical JSON"));
        }
        let event: Event =
            serde_json::from_value(value).map_err(|error| EventError::Shape(error.to_string()))?;
        if event.schema != Event::SCHEMA {
            return Err(EventError::Refused("its schema is not oob-event/1"));
        }
        verify(&outer, &payload, &event.actor)?;
        Ok(Self { id: event_id(&payload), event, envelope: envelope.to_vec() })
    }

    /// The name under which every sink keeps it.
    pub fn file_name(&self) -> String {
        format!("{}.dsse.json", self.id)
    }
}

/// Why an event cannot be written or is not believed.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    #[error("number {0} is not an exact integer, which is all a record may hold")]
    Number(String),
    #[error("it has {0} bytes, and an event has {max} at most", max = Event::MAX_BYTES)]
    TooLong(usize),
    #[error("it has not the shape of an event: {0}")]
    Shape(String),
    #[error("{0}")]
    Refused(&'static str),
}

/// DSSE v1: <https://github.com/secure-systems-lab/dsse>.
#[derive(Serialize, Deserialize)]
struct Envelope {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Serialize, Deserialize)]
struct EnvelopeSignature {
    keyid: String,
    sig: String,
}

const PAYLOAD_TYPE: &str = "application/vnd.oob-event+json";

/// What is signed (DSSE's PAE): type and body with their lengths, so that neither can pass for the other.
fn pre_authentication(payload: &[u8]) -> Vec<u8> {
    let mut message = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len()).into_bytes();
    message.extend_from_slice(payload);
    message
}

fn verify(envelope: &Envelope, payload: &[u8], actor: &Actor) -> Result<(), EventError> {
    let public =
        unhex::<32>(&actor.pubkey).ok_or(EventError::Refused("its actor's key is not 32 bytes in hex"))?;
    let key =
        VerifyingKey::from_bytes(&public).map_err(|_| EventError::Refused("its actor's key is no key"))?;
    let keyid = sha256_hex(&public);
    let theirs = envelope.signatures.iter().find(|signature| signature.keyid == keyid);
    let theirs = theirs.ok_or(EventError::Refused("its actor did not sign it"))?;
    let bytes = BASE64_STANDARD.decode(&theirs.sig).ok().and_then(|bytes| <[u8; 64]>::try_from(bytes).ok());
    let bytes = bytes.ok_or(EventError::Refused("its signature is not 64 bytes"))?;
    key.verify_strict(&pre_authentication(payload), &Signature::from_bytes(&bytes))
        .map_err(|_| EventError::Refused("its signature does not hold"))
}

fn event_id(payload: &[u8]) -> String {
    format!("e1-{}", hex(&super::sha256(payload)))
}

#[cfg(test)]
#[path = "event_tests.rs"]
mod tests;
