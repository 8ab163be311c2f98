//! Read, change, write: an instance as the device gave it, to be put back.
//!
//! A Put must carry the whole instance (`reference/amt.md` 4.3), and newer firmware has properties that this crate does
//! not name. So what is put back is what came, changed, in the order in which it came, without what is read-only.

use std::ops::Deref;

use zeroize::Zeroizing;

use super::{BodyError, Class, Reference, read_instance};
use crate::{
    verbs::{Param, Request},
    xml::Element,
};

/// An instance read for a Put. It reads as the typed instance *as it came*; changes show in [`Editable::text`] only.
pub struct Editable<C> {
    instance: C,
    properties: Vec<(String, Value)>,
    selectors: Vec<(String, String)>,
}

impl<C: Class> Editable<C> {
    /// Takes the answer to a Get. `selectors` are those of the Get; the Put needs them again.
    pub fn read(body: Option<&Element>, selectors: &[(&str, &str)]) -> Result<Self, BodyError> {
        let instance = read_instance(body)?;
        let properties = body.map(|body| body.children().iter()).into_iter().flatten();
        let properties = properties.filter(|child| child.namespace() == C::RESOURCE && !child.is_nil());
        Ok(Self {
            instance,
            properties: properties
                .map(|child| Ok((child.name().to_owned(), Value::read::<C>(child)?)))
                .collect::<Result<_, BodyError>>()?,
            selectors: selectors
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        })
    }

    /// The first value of a property as it would be put.
    pub fn text(&self, name: &str) -> Option<&str> {
        let found = self.properties.iter().find(|property| property.0 == name)?;
        if let Value::Text(text) = &found.1 { Some(text) } else { None }
    }

    /// Gives a property one value. Says whether that changed anything.
    pub fn set(&mut self, name: &str, value: &str) -> bool {
        self.set_all(name, &[value])
    }

    /// Gives a property `true` or `false`. Says whether that changed anything.
    pub fn set_bool(&mut self, name: &str, value: bool) -> bool {
        self.set(name, if value { "true" } else { "false" })
    }

    /// Gives a property a number. Says whether that changed anything.
    pub fn set_number(&mut self, name: &str, value: u32) -> bool {
        self.set(name, &value.to_string())
    }

    /// Gives an array its values; none removes it. Says whether that changed anything. What was there keeps its place,
    /// what was not takes the one that firmware's own alphabetical order has for it.
    pub fn set_all(&mut self, name: &str, values: &[&str]) -> bool {
        let old = self.properties.iter().filter(|property| property.0 == name);
        let same = old.map(|property| match &property.1 {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        });
        if same.eq(values.iter().map(|value| Some(*value))) {
            return false;
        }
        let first = self.properties.iter().position(|property| property.0 == name);
        let at = first.unwrap_or_else(|| {
            let after = self.properties.iter().position(|property| property.0.as_str() > name);
            after.unwrap_or(self.properties.len())
        });
        self.properties.retain(|property| property.0 != name);
        let values = values.iter().map(|value| Value::Text(Zeroizing::new((*value).to_owned())));
        self.properties.splice(at..at, values.map(|value| (name.to_owned(), value)));
        true
    }

    /// The Put: everything but what is read-only.
    pub fn to_request(&self) -> Request<'_> {
        let read_only = C::read_only(self);
        let kept = self.properties.iter().filter(|property| !read_only.contains(&property.0.as_str()));
        let put = Request::put(C::RESOURCE, kept.map(|(name, value)| value.to_param(name)).collect());
        self.selectors.iter().fold(put, |put, (name, value)| put.selector(name.as_str(), value.as_str()))
    }
}

impl<C> Deref for Editable<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.instance
    }
}

enum Value {
    Text(Zeroizing<String>),
    Nested(Vec<(String, Value)>),
    Reference(Reference),
}

impl Value {
    fn read<C: Class>(element: &Element) -> Result<Self, BodyError> {
        if element.children().is_empty() {
            return Ok(Self::Text(Zeroizing::new(element.text().to_owned())));
        }
        if let Some(reference) = Reference::read(element) {
            return Ok(Self::Reference(reference));
        }
        // Another namespace (a datetime's) has no prefix in our requests. No class that is put has one.
        let children = element.children().iter();
        if children.clone().any(|child| child.namespace() != C::RESOURCE) {
            return Err(BodyError::Unreadable { class: C::NAME, property: element.name().to_owned() });
        }
        let children = children.map(|child| Ok((child.name().to_owned(), Self::read::<C>(child)?)));
        Ok(Self::Nested(children.collect::<Result<_, BodyError>>()?))
    }

    fn to_param<'a>(&'a self, name: &'a str) -> Param<'a> {
        match self {
            Self::Text(text) => Param::text(name, text.as_str()),
            Self::Nested(children) => {
                Param::nested(name, children.iter().map(|(name, value)| value.to_param(name)).collect())
            }
            Self::Reference(reference) => Param::reference(name, reference.to_endpoint()),
        }
    }
}
