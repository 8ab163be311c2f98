//! Methods as values: the request, its name, whether it may be sent twice, and how its answer is read.
//!
//! The four stand together, so that no caller checks the return value of another method's answer, or of none.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use zeroize::Zeroizing;

use super::{BodyError, Reference, ReturnValueError, check_return_value};
use crate::{
    verbs::{Param, Request},
    xml::Element,
};

/// A method call that answers `O`. [`crate::client::Client::invoke`] sends it.
pub struct Method<'a, O> {
    pub(crate) request: Request<'a>,
    resource: &'static str,
    pub(crate) name: &'static str,
    pub(crate) once: bool,
    read: fn(&Output) -> Result<O, BodyError>,
}

/// The `<method>_OUTPUT` of a method that returned 0. Texts are foreign.
pub struct Output {
    element: Element,
    resource: &'static str,
}

impl<'a> Method<'a, ()> {
    /// A method that only says whether it worked, and that may be sent again: the second call does what the first did.
    pub(super) fn repeatable(resource: &'static str, name: &'static str, params: Vec<Param<'a>>) -> Self {
        let request = Request::invoke(resource, name, params);
        Self { request, resource, name, once: false, read: |_| Ok(()) }
    }

    /// A method that must never be sent twice, on nobody's word.
    pub(super) fn once(resource: &'static str, name: &'static str, params: Vec<Param<'a>>) -> Self {
        Self { once: true, ..Self::repeatable(resource, name, params) }
    }

    /// The same call, of the instance that a key names.
    pub(super) fn of(self, selector: &'static str, value: &'a str) -> Self {
        Self { request: self.request.selector(selector, value), ..self }
    }

    /// The same call, with an answer to read.
    pub(super) fn reading<O>(self, read: fn(&Output) -> Result<O, BodyError>) -> Method<'a, O> {
        let Self { request, resource, name, once, .. } = self;
        Method { request, resource, name, once, read }
    }
}

impl<O> Method<'_, O> {
    /// Whether it is never sent twice.
    pub fn is_once(&self) -> bool {
        self.once
    }

    /// The envelope. It may hold secrets and is wiped when dropped.
    pub fn to_xml(&self, message_id: u64) -> Zeroizing<String> {
        self.request.to_xml(message_id)
    }

    /// Reads the answer's Body. The outer error is about the document, the inner one is the device's refusal.
    pub fn read(&self, body: Option<Element>) -> Result<Result<O, ReturnValueError>, BodyError> {
        if let Err(refusal) = check_return_value(body.as_ref(), self.resource, self.name)? {
            return Ok(Err(refusal));
        }
        let element = body.ok_or_else(|| BodyError::Empty { expected: format!("{}_OUTPUT", self.name) })?;
        (self.read)(&Output { element, resource: self.resource }).map(Ok)
    }
}

impl Output {
    /// The one value of a parameter, blanks trimmed.
    pub fn text(&self, name: &'static str) -> Result<&str, BodyError> {
        Ok(self.only(name)?.text().trim())
    }

    /// All values of a parameter.
    pub fn texts<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.all(name).map(|value| value.text().trim())
    }

    /// The one value of a parameter as a number.
    pub fn number<N: std::str::FromStr>(&self, name: &'static str) -> Result<N, BodyError> {
        self.text(name)?.parse().map_err(|_| self.unreadable(name))
    }

    /// The one value of a parameter as `true` or `false`.
    pub fn boolean(&self, name: &'static str) -> Result<bool, BodyError> {
        match self.text(name)? {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(self.unreadable(name)),
        }
    }

    /// The one value of a parameter as a reference to an instance.
    pub fn reference(&self, name: &'static str) -> Result<Reference, BodyError> {
        Reference::read(self.only(name)?).ok_or_else(|| self.unreadable(name))
    }

    /// The one value of a parameter as bytes, from base64.
    pub fn base64(&self, name: &'static str) -> Result<Vec<u8>, BodyError> {
        BASE64.decode(self.text(name)?).map_err(|_| self.unreadable(name))
    }

    /// All values of a parameter as bytes, from base64.
    pub fn all_base64(&self, name: &'static str) -> Result<Vec<Vec<u8>>, BodyError> {
        self.texts(name).map(|text| BASE64.decode(text).map_err(|_| self.unreadable(name))).collect()
    }

    fn only(&self, name: &'static str) -> Result<&Element, BodyError> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (Some(value), None) => Ok(value),
            (None, _) => Err(BodyError::Missing { class: self.element.name().to_owned(), property: name }),
            (Some(_), Some(_)) => Err(BodyError::Twice { class: "method output" }),
        }
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.element.children().iter().filter(move |child| child.is(self.resource, name))
    }

    fn unreadable(&self, name: &str) -> BodyError {
        BodyError::Unreadable { class: "method output", property: name.to_owned() }
    }
}
