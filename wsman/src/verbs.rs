//! The WS-Man verbs as requests: Get, Put, Create, Delete, Enumerate, Pull, and methods of a class.
//!
//! The shape (element order, prefixes, `To`, timeout) is the one that AMT's other clients send (`reference/amt.md` 4.3).
//! The same request gives the same bytes.

use std::borrow::Cow;

use zeroize::Zeroizing;

use crate::xml::{Writer, ns};

/// One request. [`Request::to_xml`] makes the envelope.
pub struct Request<'a> {
    resource: Cow<'a, str>,
    action: Cow<'a, str>,
    selectors: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    body: Body<'a>,
}

/// A parameter of a method, or a property of an instance, in the order in which it stands.
pub struct Param<'a> {
    name: Cow<'a, str>,
    value: ParamValue<'a>,
}

/// What a parameter holds. Texts are borrowed where they can be, so that no copy of a secret is made.
pub enum ParamValue<'a> {
    /// Text, escaped on writing.
    Text(Cow<'a, str>),
    /// Text that is made for this request only and wiped with it.
    Secret(Zeroizing<String>),
    /// An embedded instance.
    Nested(Vec<Param<'a>>),
    /// An embedded instance of another class, whose properties are in that class's namespace.
    Instance(&'a str, Vec<Param<'a>>),
    /// A reference to another instance.
    Reference(EndpointReference<'a>),
}

/// A reference to an instance. Firmware does not check the address; clients send either of the two.
pub struct EndpointReference<'a> {
    /// The address; [`EndpointReference::new`] sets `/wsman`.
    pub address: Cow<'a, str>,
    /// Resource URI of the class.
    pub resource: Cow<'a, str>,
    /// The keys that name the instance.
    pub selectors: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Request<'a> {
    /// Reads an instance.
    pub fn get(resource: &'a str) -> Self {
        Self::transfer(resource, "Get", Body::Empty)
    }

    /// Writes an instance. It must hold every writable property: start from what Get gave.
    pub fn put(resource: &'a str, properties: Vec<Param<'a>>) -> Self {
        Self::transfer(
            resource,
            "Put",
            Body::Instance { name: class_of(resource).into(), params: properties },
        )
    }

    /// Makes an instance.
    pub fn create(resource: &'a str, properties: Vec<Param<'a>>) -> Self {
        Self::transfer(
            resource,
            "Create",
            Body::Instance { name: class_of(resource).into(), params: properties },
        )
    }

    /// Removes the instance that the selectors name.
    pub fn delete(resource: &'a str) -> Self {
        Self::transfer(resource, "Delete", Body::Empty)
    }

    /// Begins to list the instances of a class. Contexts are few and short-lived: pull at once.
    pub fn enumerate(resource: &'a str) -> Self {
        Self::new(resource, format!("{}/Enumerate", ns::ENUMERATION).into(), Body::Enumerate)
    }

    /// Goes on listing; until the answer has EndOfSequence.
    pub fn pull(resource: &'a str, context: &'a str) -> Self {
        Self::new(
            resource,
            format!("{}/Pull", ns::ENUMERATION).into(),
            Body::Pull { context: context.into() },
        )
    }

    /// Calls a method.
    pub fn invoke(resource: &'a str, method: &'a str, params: Vec<Param<'a>>) -> Self {
        let name = format!("{method}_INPUT").into();
        Self::new(resource, format!("{resource}/{method}").into(), Body::Instance { name, params })
    }

    /// Adds a key of the instance meant.
    #[must_use]
    pub fn selector(mut self, name: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) -> Self {
        self.selectors.push((name.into(), value.into()));
        self
    }

    /// The envelope. It may hold secrets and is wiped when dropped.
    pub fn to_xml(&self, message_id: u64) -> Zeroizing<String> {
        let mut writer = Writer::default();
        writer.raw(HEAD);
        writer.leaf("a:Action", &self.action);
        writer.leaf("a:To", "/wsman");
        writer.leaf("w:ResourceURI", &self.resource);
        writer.leaf("a:MessageID", &message_id.to_string());
        writer.raw(REPLY_TO);
        writer.leaf("w:OperationTimeout", "PT60S");
        if !self.selectors.is_empty() {
            write_selectors(&mut writer, &self.selectors);
        }
        writer.raw("</Header><Body>");
        self.write_body(&mut writer);
        writer.raw("</Body></Envelope>");
        writer.into_text()
    }

    fn new(resource: &'a str, action: Cow<'a, str>, body: Body<'a>) -> Self {
        Self { resource: resource.into(), action, selectors: Vec::new(), body }
    }

    fn transfer(resource: &'a str, verb: &str, body: Body<'a>) -> Self {
        Self::new(resource, format!("{}/{verb}", ns::TRANSFER).into(), body)
    }

    fn write_body(&self, writer: &mut Writer) {
        match &self.body {
            Body::Empty => {}
            Body::Enumerate => {
                writer.open("Enumerate", &[("xmlns", ns::ENUMERATION)]);
                writer.close("Enumerate");
            }
            Body::Pull { context } => {
                writer.open("Pull", &[("xmlns", ns::ENUMERATION)]);
                writer.leaf("EnumerationContext", context);
                writer.leaf("MaxElements", "999");
                writer.leaf("MaxCharacters", "99999");
                writer.close("Pull");
            }
            Body::Instance { name, params } => {
                let name = format!("h:{name}");
                writer.open(&name, &[("xmlns:h", &self.resource)]);
                params.iter().for_each(|param| param.write(writer));
                writer.close(&name);
            }
        }
    }
}

impl<'a> Param<'a> {
    /// A text value.
    pub fn text(name: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) -> Self {
        Self { name: name.into(), value: ParamValue::Text(value.into()) }
    }

    /// A text value that is wiped when dropped.
    pub fn secret(name: impl Into<Cow<'a, str>>, value: Zeroizing<String>) -> Self {
        Self { name: name.into(), value: ParamValue::Secret(value) }
    }

    /// A number.
    pub fn number(name: impl Into<Cow<'a, str>>, value: u32) -> Self {
        Self::text(name, value.to_string())
    }

    /// `true` or `false`.
    pub fn boolean(name: impl Into<Cow<'a, str>>, value: bool) -> Self {
        Self::text(name, if value { "true" } else { "false" })
    }

    /// An embedded instance.
    pub fn nested(name: impl Into<Cow<'a, str>>, params: Vec<Self>) -> Self {
        Self { name: name.into(), value: ParamValue::Nested(params) }
    }

    /// An embedded instance of another class.
    pub fn instance(name: impl Into<Cow<'a, str>>, resource: &'a str, params: Vec<Self>) -> Self {
        Self { name: name.into(), value: ParamValue::Instance(resource, params) }
    }

    /// A reference to an instance.
    pub fn reference(name: impl Into<Cow<'a, str>>, reference: EndpointReference<'a>) -> Self {
        Self { name: name.into(), value: ParamValue::Reference(reference) }
    }

    fn write(&self, writer: &mut Writer) {
        self.write_as("h", writer);
    }

    fn write_as(&self, prefix: &str, writer: &mut Writer) {
        let name = format!("{prefix}:{}", self.name);
        match &self.value {
            ParamValue::Instance(resource, _) => writer.open(&name, &[("xmlns:q", resource)]),
            _ => writer.open(&name, &[]),
        }
        match &self.value {
            ParamValue::Text(text) => writer.text(text),
            ParamValue::Secret(text) => writer.text(text),
            ParamValue::Nested(params) => params.iter().for_each(|param| param.write_as(prefix, writer)),
            ParamValue::Instance(_, params) => params.iter().for_each(|param| param.write_as("q", writer)),
            ParamValue::Reference(reference) => {
                writer.leaf("a:Address", &reference.address);
                writer.open("a:ReferenceParameters", &[]);
                writer.leaf("w:ResourceURI", &reference.resource);
                write_selectors(writer, &reference.selectors);
                writer.close("a:ReferenceParameters");
            }
        }
        writer.close(&name);
    }
}

impl<'a> EndpointReference<'a> {
    /// The instance of a class that one selector names.
    pub fn new(resource: &'a str, selector: &'a str, value: impl Into<Cow<'a, str>>) -> Self {
        Self {
            address: "/wsman".into(),
            resource: resource.into(),
            selectors: vec![(selector.into(), value.into())],
        }
    }
}

enum Body<'a> {
    Empty,
    Enumerate,
    Pull { context: Cow<'a, str> },
    Instance { name: Cow<'a, str>, params: Vec<Param<'a>> },
}

fn write_selectors(writer: &mut Writer, selectors: &[(Cow<'_, str>, Cow<'_, str>)]) {
    writer.open("w:SelectorSet", &[]);
    for (name, value) in selectors {
        writer.open("w:Selector", &[("Name", name)]);
        writer.text(value);
        writer.close("w:Selector");
    }
    writer.close("w:SelectorSet");
}

fn class_of(resource: &str) -> &str {
    resource.rsplit_once('/').map_or(resource, |(_, class)| class)
}

const HEAD: &str = concat!(
    r#"<?xml version="1.0" encoding="utf-8"?>"#,
    r#"<Envelope xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:xsd="http://www.w3.org/2001/XMLSchema" "#,
    r#"xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing" "#,
    r#"xmlns:w="http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd" "#,
    r#"xmlns="http://www.w3.org/2003/05/soap-envelope"><Header>"#
);
const REPLY_TO: &str = "<a:ReplyTo><a:Address>http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous</a:Address></a:ReplyTo>";
