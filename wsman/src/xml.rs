//! XML as this crate needs it: a strict bounded reader into a small tree, and an ordered writer.
//!
//! The reader ([`Element::parse`]) matches by namespace and local name, never by prefix, and takes no document type, no
//! processing instruction and no entity of the document's own. The rest of the crate sees [`Element`]s only; typed
//! bodies are made from them by `yaserde` over [`Element::to_fragment`], and this module is the one place to change if
//! another library takes over.

mod read;
mod write;

pub use read::{Attribute, Element, Limits, XmlError};
pub(crate) use write::Writer;

/// Namespaces of the dialect (`reference/amt.md` 4.3).
pub mod ns {
    /// SOAP 1.2.
    pub const SOAP: &str = "http://www.w3.org/2003/05/soap-envelope";
    /// WS-Addressing, August 2004.
    pub const ADDRESSING: &str = "http://schemas.xmlsoap.org/ws/2004/08/addressing";
    /// WS-Management 1.
    pub const WSMAN: &str = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd";
    /// WS-Enumeration.
    pub const ENUMERATION: &str = "http://schemas.xmlsoap.org/ws/2004/09/enumeration";
    /// WS-Transfer.
    pub const TRANSFER: &str = "http://schemas.xmlsoap.org/ws/2004/09/transfer";
    /// XML Schema instance, for `nil`.
    pub const XSI: &str = "http://www.w3.org/2001/XMLSchema-instance";
    /// XML Schema.
    pub const XSD: &str = "http://www.w3.org/2001/XMLSchema";
}
