//! Strict bodies of Put: all that can be written must be there, and nothing that can only be read.

use super::{Call, Leaf, Leaves, truth};
use crate::features::Values;
use crate::wsman::Rejection;

/// One property of a class.
pub(super) struct Property {
    pub(super) name: &'static str,
    pub(super) rule: Rule,
    pub(super) kind: Kind,
}

/// What a Put does with a property.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// Must be there.
    Required,
    /// May be there.
    Optional,
    /// May be there with the value it has: clients echo it, and it cannot be changed.
    Echo,
    /// Must not be there.
    ReadOnly,
}

/// What a property's text must be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Boolean,
    Number,
    Text,
    Address,
    /// Any count of numbers.
    Numbers,
    /// Any count of texts.
    Texts,
}

/// Shorthand for tables.
pub(super) const fn property(name: &'static str, rule: Rule, kind: Kind) -> Property {
    Property { name, rule, kind }
}

/// Reads the body by the table. `current` is the instance as it is.
///
/// # Errors
/// A schema fault that names the property.
pub(super) fn read(call: &Call<'_>, table: &[Property], current: &Leaves) -> Result<Values, Rejection> {
    let children = call.request.input.as_ref().map(|input| input.children.as_slice()).unwrap_or_default();
    let mut found = Values::new();
    for child in children {
        let known = table.iter().find(|property| property.name == child.name);
        let property = known.ok_or_else(|| wrong(&child.name, "is no property of the class"))?;
        if property.rule == Rule::ReadOnly {
            return Err(wrong(property.name, "can only be read"));
        }
        let value = property.kind.read(&child.text);
        let value = value.ok_or_else(|| wrong(property.name, "has a value that it cannot have"))?;
        let values = found.entry(property.name).or_default();
        if !values.is_empty() && !matches!(property.kind, Kind::Numbers | Kind::Texts) {
            return Err(wrong(property.name, "comes twice"));
        }
        values.push(value);
    }
    for property in table {
        let given = found.get(property.name);
        if property.rule == Rule::Required && given.is_none() {
            return Err(wrong(property.name, "is missing"));
        }
        if property.rule == Rule::Echo {
            let is = |(name, leaf): &&(&str, Leaf)| *name == property.name && matches!(leaf, Leaf::Text(_));
            let current = current.iter().filter(is).map(|(_, leaf)| match leaf {
                Leaf::Text(text) | Leaf::Elements(text) => text,
            });
            if given.is_some_and(|given| !given.iter().eq(current)) {
                return Err(wrong(property.name, "cannot be changed"));
            }
            found.remove(property.name);
        }
    }
    Ok(found)
}

fn wrong(name: &str, what: &str) -> Rejection {
    Rejection::schema(format!("{name} {what}."))
}

impl Kind {
    fn read(self, text: &str) -> Option<String> {
        let trimmed = text.trim();
        match self {
            Self::Boolean => truth(trimmed).map(|value| value.to_string()),
            Self::Number | Self::Numbers => trimmed.parse::<u32>().ok().map(|value| value.to_string()),
            Self::Text | Self::Texts => (text.len() <= 255).then(|| text.to_owned()),
            Self::Address => trimmed.parse::<std::net::Ipv4Addr>().ok().map(|value| value.to_string()),
        }
    }
}
