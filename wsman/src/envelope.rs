//! Response envelopes: header fields, the one child of the Body, faults first.

use crate::{
    fault::Fault,
    xml::{Element, XmlError, ns},
};

/// A response that is not a fault. Header texts are foreign, blanks trimmed.
pub struct Envelope {
    /// `a:Action`. Firmware leaves "Response" off for methods, mostly.
    pub action: Option<String>,
    /// The MessageID it answers.
    pub relates_to: Option<String>,
    /// Its own MessageID.
    pub message_id: Option<String>,
    /// The class it speaks of.
    pub resource_uri: Option<String>,
    /// The Body's child; `None` for an empty Body (as after Delete).
    pub body: Option<Element>,
}

/// Why a document is not a usable response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Not readable as XML within the limits.
    #[error(transparent)]
    Xml(#[from] XmlError),
    /// XML, but not one SOAP 1.2 Envelope with one Body holding at most one element.
    #[error("reading SOAP envelope: {0}")]
    Shape(&'static str),
    /// The device answered with a fault.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl Envelope {
    /// Reads a response. A fault is an error, whatever the HTTP status was.
    pub fn read(document: &[u8]) -> Result<Self, EnvelopeError> {
        let root = Element::parse(document)?;
        if !root.is(ns::SOAP, "Envelope") {
            return Err(EnvelopeError::Shape("the root is not a SOAP 1.2 Envelope"));
        }
        let (header, body) = (only(&root, "Header")?, only(&root, "Body")?);
        let body = body.ok_or(EnvelopeError::Shape("there is no Body"))?;
        let field = |namespace: &str, name: &str| -> Option<String> {
            Some(header?.child(namespace, name)?.text().trim().to_owned())
        };
        let envelope = Self {
            action: field(ns::ADDRESSING, "Action"),
            relates_to: field(ns::ADDRESSING, "RelatesTo"),
            message_id: field(ns::ADDRESSING, "MessageID"),
            resource_uri: field(ns::WSMAN, "ResourceURI"),
            body: None,
        };
        match body.children() {
            [] => Ok(envelope),
            [fault] if fault.is(ns::SOAP, "Fault") => Err(Fault::read(fault).into()),
            [_] => Ok(Self { body: root.into_grandchild("Body"), ..envelope }),
            _ => Err(EnvelopeError::Shape("the Body has more than one child")),
        }
    }
}

fn only<'a>(root: &'a Element, name: &str) -> Result<Option<&'a Element>, EnvelopeError> {
    let mut found = root.children().iter().filter(|child| child.is(ns::SOAP, name));
    match (found.next(), found.next()) {
        (first, None) => Ok(first),
        _ => Err(EnvelopeError::Shape("a Header or Body stands twice")),
    }
}
