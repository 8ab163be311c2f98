//! What a key or a certificate is used for: the associations that must not name it when it is deleted
//! (`reference/amt.md` 5.9 item 10).
//!
//! A Pull of a class gives instances of its subclasses too, each under its own name and namespace, so what is read here is
//! any element that holds references.

use super::Reference;
use crate::xml::Element;

/// Resource URI of CIM_CredentialContext: which certificate serves what, TLS and 802.1x among them.
pub const CREDENTIAL_CONTEXT: &str =
    "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_CredentialContext";
/// Resource URI of CIM_ConcreteDependency: among others, which certificate is for which key.
pub const CONCRETE_DEPENDENCY: &str =
    "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ConcreteDependency";

/// An association of whatever class, as the references that it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Association {
    ends: Vec<Reference>,
}

impl Association {
    /// Reads an item of a PullResponse.
    pub fn read(item: &Element) -> Self {
        Self { ends: item.children().iter().filter_map(Reference::read).collect() }
    }

    /// Whether it names the instance of that class.
    pub fn names(&self, resource: &str, instance: &str) -> bool {
        self.ends.iter().any(|end| is(end, resource, instance))
    }

    /// What else it names, where it names the instance of that class.
    pub fn beside<'a>(&'a self, resource: &'a str, instance: &'a str) -> impl Iterator<Item = &'a Reference> {
        let named = self.names(resource, instance);
        self.ends.iter().filter(move |end| named && !is(end, resource, instance))
    }
}

fn is(reference: &Reference, resource: &str, instance: &str) -> bool {
    reference.is_of(resource) && reference.instance_id() == Some(instance)
}
