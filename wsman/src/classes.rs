//! The classes we use: their answers as typed structs, their requests as builders, their return values checked.
//!
//! Bodies are read by `yaserde` with every property optional: firmware generations differ, and what is missing is for
//! the caller to judge. Numbers stay numbers, so that an unknown one is not taken for a known one.

pub mod amt;
pub mod audit;
pub mod authorization;
pub mod certificates;
pub mod clock;
mod editable;
pub mod ethernet;
pub mod ips;
mod method;
pub mod power;
pub mod power_scheme;
pub mod redirection;
mod reference;
pub mod references;
mod return_value;
pub mod tls;
pub mod wifi;

pub use editable::Editable;
pub use method::{Method, Output};
pub use reference::{Reference, ReferenceParameters, Selector, SelectorSet};
pub use return_value::{ReturnValueError, check_return_value};

use std::collections::BTreeSet;

use yaserde::YaDeserialize;

use crate::xml::Element;

/// A class with typed instances.
pub trait Class: YaDeserialize {
    /// Resource URI, which is also the namespace of the instances.
    const RESOURCE: &'static str;
    /// Local name of an instance's element.
    const NAME: &'static str;
    /// The properties that may stand more than once.
    const ARRAYS: &'static [&'static str];

    /// The properties that a Put of this instance must not carry: firmware refuses to write them.
    fn read_only(_: &Editable<Self>) -> &'static [&'static str]
    where
        Self: Sized,
    {
        &[]
    }
}

/// Why an answer's body is not what was asked for. No text of the document is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The Body is empty.
    #[error("reading {expected}: the answer's body is empty")]
    Empty {
        /// Element expected.
        expected: String,
    },
    /// Another element, or the right name in another namespace.
    #[error("reading {expected}: the answer's body holds another element")]
    Other {
        /// Element expected.
        expected: String,
    },
    /// A property that has one value stands twice: which one is meant is not ours to guess.
    #[error("reading {class}: a property that has one value stands twice")]
    Twice {
        /// Class.
        class: &'static str,
    },
    /// Something that must be there is not.
    #[error("reading {class}: {property} is missing")]
    Missing {
        /// Element.
        class: String,
        /// What is missing.
        property: &'static str,
    },
    /// A value is not of its type.
    #[error("reading {class}: the value of {property} is not of its type")]
    Unreadable {
        /// Class.
        class: &'static str,
        /// The property as this crate names it, or "a property".
        property: String,
    },
}

/// Reads an instance from the child of a Body, or an item of a PullResponse.
pub fn read_instance<C: Class>(body: Option<&Element>) -> Result<C, BodyError> {
    let body = body.ok_or_else(|| BodyError::Empty { expected: C::NAME.to_owned() })?;
    if !body.is(C::RESOURCE, C::NAME) {
        return Err(BodyError::Other { expected: C::NAME.to_owned() });
    }
    // yaserde takes the last of several silently.
    let mut seen = BTreeSet::new();
    for child in body.children().iter().filter(|child| child.namespace() == C::RESOURCE) {
        if !C::ARRAYS.contains(&child.name()) && !seen.insert(child.name()) {
            return Err(BodyError::Twice { class: C::NAME });
        }
    }
    // The error's own text may quote the document, so only our name of the field survives.
    yaserde::de::from_str(&body.to_fragment())
        .map_err(|error| BodyError::Unreadable { class: C::NAME, property: property_of(&error) })
}

fn property_of(error: &yaserde::Error) -> String {
    match error {
        yaserde::Error::Field { name, .. } => name.clone(),
        _ => "a property".to_owned(),
    }
}
