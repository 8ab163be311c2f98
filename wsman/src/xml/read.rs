//! The reader: foreign bytes to a small tree, or an error that says where and quotes nothing.

use std::{str, sync::Arc};

use quick_xml::{
    NsReader, XmlVersion,
    events::{BytesRef, BytesStart, Event},
    name::ResolveResult,
};
use zeroize::Zeroizing;

use super::{Writer, ns};

/// One element with its resolved name. Its text is wiped when dropped: some answers hold secrets.
pub struct Element {
    namespace: Arc<str>,
    name: String,
    attributes: Vec<Attribute>,
    text: Zeroizing<String>,
    children: Vec<Element>,
}

/// An attribute that is not a namespace declaration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// Namespace, empty for an attribute without prefix.
    pub namespace: String,
    /// Local name.
    pub name: String,
    /// Value, references resolved.
    pub value: String,
}

/// What a document may not exceed. The defaults are far above every recorded answer.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of the whole document.
    pub bytes: usize,
    /// Nested elements.
    pub depth: usize,
    /// Elements in all.
    pub elements: usize,
    /// Attributes of one element, namespace declarations included.
    pub attributes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 1 << 20, depth: 64, elements: 20_000, attributes: 64 }
    }
}

/// Why a document was not read. The text never quotes the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    /// More bytes, depth, elements, attributes or namespaces than [`Limits`] allows.
    #[error("reading XML at offset {offset:#x}: more {what} than accepted")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// Where it was noticed.
        offset: u64,
    },
    /// A construct that no management answer needs and attacks do.
    #[error("reading XML at offset {offset:#x}: {what} is not accepted")]
    Forbidden {
        /// Which.
        what: &'static str,
        /// Where.
        offset: u64,
    },
    /// Not well-formed, or not UTF-8.
    #[error("reading XML at offset {offset:#x}: not well-formed")]
    Malformed {
        /// Where it was noticed.
        offset: u64,
    },
}

impl Element {
    /// Reads a whole document within the default [`Limits`] and returns its root.
    pub fn parse(document: &[u8]) -> Result<Self, XmlError> {
        Self::parse_within(document, Limits::default())
    }

    /// As [`Element::parse`] with other limits.
    pub fn parse_within(document: &[u8], limits: Limits) -> Result<Self, XmlError> {
        if document.len() > limits.bytes {
            return Err(XmlError::TooMuch { what: "bytes", offset: 0 });
        }
        let text = str::from_utf8(document)
            .map_err(|error| XmlError::Malformed { offset: error.valid_up_to() as u64 })?;
        TreeReader::new(text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']), limits).read()
    }

    /// The namespace, empty when unbound.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The local name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether this is that element.
    pub fn is(&self, namespace: &str, name: &str) -> bool {
        self.namespace() == namespace && self.name == name
    }

    /// The element's own text, as it came; blanks between children included.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Child elements in order.
    pub fn children(&self) -> &[Self] {
        &self.children
    }

    /// The first child with that name.
    pub fn child(&self, namespace: &str, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.is(namespace, name))
    }

    /// The value of an attribute without namespace.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|known| known.namespace.is_empty() && known.name == name)
            .map(|known| &*known.value)
    }

    /// Whether `xsi:nil` says there is no value.
    pub fn is_nil(&self) -> bool {
        let nil = |known: &&Attribute| known.namespace == ns::XSI && known.name == "nil";
        self.attributes.iter().find(nil).is_some_and(|known| matches!(known.value.trim(), "true" | "1"))
    }

    /// Every leaf below this element, in order, as (local names from this element's children down, text).
    pub fn leaves(&self) -> Vec<(String, &str)> {
        let mut leaves = Vec::new();
        for child in &self.children {
            child.collect_leaves("", &mut leaves);
        }
        leaves
    }

    /// The element as a document of its own: namespaces as default declarations, nil elements left out (the typed
    /// readers do not know nil), attributes without namespace kept, others dropped.
    pub fn to_fragment(&self) -> Zeroizing<String> {
        let mut writer = Writer::default();
        self.write("", &mut writer);
        writer.into_text()
    }

    /// The first child of the SOAP child with that name, without copying.
    pub(crate) fn into_grandchild(mut self, name: &str) -> Option<Self> {
        let at = self.children.iter().position(|child| child.is(ns::SOAP, name))?;
        let mut parent = self.children.swap_remove(at);
        if parent.children.is_empty() { None } else { Some(parent.children.swap_remove(0)) }
    }

    fn collect_leaves<'a>(&'a self, path: &str, leaves: &mut Vec<(String, &'a str)>) {
        let path = if path.is_empty() { self.name.clone() } else { format!("{path}/{}", self.name) };
        if self.children.is_empty() {
            leaves.push((path, self.text()));
        } else {
            self.children.iter().for_each(|child| child.collect_leaves(&path, leaves));
        }
    }

    fn write(&self, outer: &str, writer: &mut Writer) {
        if self.is_nil() {
            return;
        }
        let mut attributes: Vec<_> = self
            .attributes
            .iter()
            .filter(|known| known.namespace.is_empty())
            .map(|known| (&*known.name, &*known.value))
            .collect();
        if self.namespace() != outer {
            attributes.insert(0, ("xmlns", self.namespace()));
        }
        writer.open(&self.name, &attributes);
        if self.children.is_empty() {
            writer.text(&self.text);
        }
        self.children.iter().for_each(|child| child.write(&self.namespace, writer));
        writer.close(&self.name);
    }
}

struct TreeReader<'a> {
    reader: NsReader<&'a [u8]>,
    limits: Limits,
    elements: usize,
    namespaces: Vec<Arc<str>>,
    open: Vec<Element>,
    root: Option<Element>,
}

impl<'a> TreeReader<'a> {
    fn new(text: &'a str, limits: Limits) -> Self {
        let mut reader = NsReader::from_str(text);
        reader.config_mut().enable_all_checks(true);
        Self { reader, limits, elements: 0, namespaces: vec![Arc::from("")], open: Vec::new(), root: None }
    }

    fn read(mut self) -> Result<Element, XmlError> {
        loop {
            let event = self.reader.read_event().map_err(|_| self.malformed())?;
            match event {
                Event::Decl(declaration) => {
                    let encoding = declaration.encoding().transpose().map_err(|_| self.malformed())?;
                    if encoding.is_some_and(|name| !name.eq_ignore_ascii_case("utf-8")) {
                        return Err(self.forbidden("an encoding other than UTF-8"));
                    }
                }
                Event::Start(start) => {
                    let element = self.element(&start)?;
                    self.open.push(element);
                }
                Event::Empty(start) => {
                    let element = self.element(&start)?;
                    self.finish(element)?;
                }
                Event::End(_) => {
                    let element = self.open.pop().ok_or_else(|| self.malformed())?;
                    self.finish(element)?;
                }
                Event::Text(text) => self.text(&text.xml10_content())?,
                Event::CData(data) => self.text(&data.xml10_content())?,
                Event::GeneralRef(reference) => {
                    let character =
                        resolve(&reference).ok_or_else(|| self.forbidden("an entity of the document"))?;
                    self.text(character.encode_utf8(&mut [0; 4]))?;
                }
                Event::Comment(_) => {}
                Event::DocType(_) => return Err(self.forbidden("a document type")),
                Event::PI(_) => return Err(self.forbidden("a processing instruction")),
                Event::Eof => break,
            }
        }
        if !self.open.is_empty() {
            return Err(self.malformed());
        }
        self.root.take().ok_or_else(|| self.malformed())
    }

    fn element(&mut self, start: &BytesStart<'_>) -> Result<Element, XmlError> {
        self.elements += 1;
        if self.open.len() >= self.limits.depth {
            return Err(self.too_much("depth"));
        }
        if self.elements > self.limits.elements {
            return Err(self.too_much("elements"));
        }
        let (namespace, local) = self.reader.resolver().resolve_element(start.name());
        let (namespace, name) = (self.bound(&namespace)?.to_owned(), local.as_ref().to_owned());
        if !is_name(&name) {
            return Err(self.malformed());
        }
        let namespace = self.intern(&namespace)?;
        let attributes = self.attributes(start)?;
        Ok(Element { namespace, name, attributes, text: Zeroizing::default(), children: Vec::new() })
    }

    fn attributes(&self, start: &BytesStart<'_>) -> Result<Vec<Attribute>, XmlError> {
        let mut attributes = Vec::new();
        for (count, attribute) in start.attributes().enumerate() {
            if count >= self.limits.attributes {
                return Err(self.too_much("attributes"));
            }
            let attribute = attribute.map_err(|_| self.malformed())?;
            if attribute.key.as_namespace_binding().is_some() {
                continue;
            }
            let (namespace, local) = self.reader.resolver().resolve_attribute(attribute.key);
            let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|_| self.malformed())?;
            if !is_name(local.as_ref()) || !value.chars().all(is_xml_character) {
                return Err(self.malformed());
            }
            attributes.push(Attribute {
                namespace: self.bound(&namespace)?.to_owned(),
                name: local.as_ref().to_owned(),
                value: value.into_owned(),
            });
        }
        Ok(attributes)
    }

    fn text(&mut self, text: &str) -> Result<(), XmlError> {
        if !text.chars().all(is_xml_character) {
            return Err(self.malformed());
        }
        match self.open.last_mut() {
            Some(element) => element.text.push_str(text),
            None if text.trim().is_empty() => {}
            None => return Err(self.malformed()),
        }
        Ok(())
    }

    fn finish(&mut self, element: Element) -> Result<(), XmlError> {
        match self.open.last_mut() {
            Some(parent) => parent.children.push(element),
            None if self.root.is_none() => self.root = Some(element),
            None => return Err(self.malformed()),
        }
        Ok(())
    }

    /// One copy per namespace, not one per element.
    fn intern(&mut self, namespace: &str) -> Result<Arc<str>, XmlError> {
        if let Some(known) = self.namespaces.iter().find(|known| ***known == *namespace) {
            return Ok(known.clone());
        }
        if self.namespaces.len() > MOST_NAMESPACES {
            return Err(self.too_much("namespaces"));
        }
        let new: Arc<str> = namespace.into();
        self.namespaces.push(new.clone());
        Ok(new)
    }

    /// The namespace of a name. It is copied for every attribute and written for every element, so it may not be long;
    /// and the resolver leaves references in it as they stand, so what would need one is no namespace of ours.
    fn bound<'n>(&self, resolved: &ResolveResult<'n>) -> Result<&'n str, XmlError> {
        let namespace = match resolved {
            ResolveResult::Bound(namespace) => namespace.0,
            ResolveResult::Unbound => "",
            // A prefix that nothing declares.
            ResolveResult::Unknown(_) => return Err(self.malformed()),
        };
        let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'&' | b'<' | b'>' | b'"');
        if namespace.len() > LONGEST_NAMESPACE || !namespace.bytes().all(plain) {
            return Err(self.forbidden("a namespace that is no short, plain URI"));
        }
        Ok(namespace)
    }

    fn too_much(&self, what: &'static str) -> XmlError {
        XmlError::TooMuch { what, offset: self.reader.buffer_position() }
    }

    fn forbidden(&self, what: &'static str) -> XmlError {
        XmlError::Forbidden { what, offset: self.reader.buffer_position() }
    }

    fn malformed(&self) -> XmlError {
        XmlError::Malformed { offset: self.reader.buffer_position() }
    }
}

/// The five entities of XML itself and character references; nothing a document could define.
fn resolve(reference: &BytesRef<'_>) -> Option<char> {
    if reference.is_char_ref() {
        return reference.resolve_char_ref().ok().flatten();
    }
    match &*reference.xml10_content() {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => None,
    }
}

/// A local name, which the tokenizer does not check: `NCName` of XML namespaces, drawn a little narrower. Names are written
/// out again, so one with markup in it would be read as something else.
fn is_name(name: &str) -> bool {
    let mut characters = name.chars();
    characters.next().is_some_and(|first| first.is_alphabetic() || first == '_')
        && characters.all(|other| other.is_alphanumeric() || matches!(other, '_' | '-' | '.'))
}

/// The production `Char` of XML 1.0.
fn is_xml_character(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}

const MOST_NAMESPACES: usize = 64;
/// Bytes; those of real answers have up to 90.
const LONGEST_NAMESPACE: usize = 256;
