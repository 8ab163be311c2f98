//! HTTP as values: what to post, what came back, and what a status means. No connection is made here.

use zeroize::Zeroizing;

use crate::envelope::{Envelope, EnvelopeError};

/// One POST. The transport adds `Host` and `Content-Length`, and `Connection: close` where a channel serves one
/// request. No `Debug`: body and Authorization may be equal to a password. Both are wiped when dropped, and
/// [`HttpRequest::body`] is `AsRef<[u8]>`, so that it can be handed on without a copy.
pub struct HttpRequest {
    /// Path, always `/wsman`.
    pub path: &'static str,
    /// Name and value, in order.
    pub headers: Vec<(&'static str, Zeroizing<String>)>,
    /// The envelope.
    pub body: Zeroizing<Vec<u8>>,
    /// It asks for a challenge and nothing else, so it may be sent twice. No login alone does not make it so: the way
    /// itself may show who we are.
    repeatable: bool,
}

/// What came back, chunked encoding already undone. The transport bounds the body (1 MiB is what is read at most).
pub struct HttpResponse {
    /// Status code.
    pub status: u16,
    /// Name and value, as received, repeated where repeated.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

/// An HTTP answer that is neither an envelope nor a challenge.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// A status without a readable SOAP body: an HTML page, or nothing.
    #[error("the device answered HTTP status {status} without a SOAP envelope")]
    Status {
        /// The status.
        status: u16,
    },
    /// A fault, or a body that is not an envelope.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
}

impl HttpRequest {
    pub(crate) fn post(mut envelope: Zeroizing<String>, authorization: Option<Zeroizing<String>>) -> Self {
        let content_type = Zeroizing::new("application/soap+xml; charset=utf-8".to_owned());
        let mut headers = vec![("Content-Type", content_type)];
        headers.extend(authorization.map(|value| ("Authorization", value)));
        let body = Zeroizing::new(std::mem::take(&mut *envelope).into_bytes()); // moved, not copied
        Self { path: PATH, headers, body, repeatable: false }
    }

    /// A harmless read, without a login, whose refusal has the challenge.
    pub(crate) fn ask_for_challenge(envelope: Zeroizing<String>) -> Self {
        Self { repeatable: true, ..Self::post(envelope, None) }
    }

    /// The same once more, of one that may be sent twice: it has no secret to be copied either.
    #[must_use]
    pub fn again(&self) -> Option<Self> {
        let Self { path, headers, body, repeatable } = self;
        repeatable.then(|| Self { path, headers: headers.clone(), body: body.clone(), repeatable: true })
    }
}

impl HttpResponse {
    /// The values of a header, whatever its case.
    pub fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers
            .iter()
            .filter(move |header| header.0.eq_ignore_ascii_case(name))
            .map(|header| header.1.as_str())
    }

    /// The firmware version in `Server: Intel(R) Active Management Technology <version>`, there without a login.
    pub fn server_version(&self) -> Option<&str> {
        let version = self.header("Server").find_map(|value| value.trim().strip_prefix(SERVER))?.trim();
        let numeric = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        (version.len() <= 32 && version.split('.').all(numeric)).then_some(version)
    }

    /// Reads the envelope of any status but 401. The content type is matched loosely: firmware spells it in three ways,
    /// and a missing one is no reason to throw an envelope away.
    pub(crate) fn envelope(&self) -> Result<Envelope, HttpError> {
        let status = HttpError::Status { status: self.status };
        let is_html = self.header("Content-Type").any(|value| value.to_ascii_lowercase().contains("html"));
        if is_html || self.body.iter().all(u8::is_ascii_whitespace) {
            return Err(status);
        }
        match Envelope::read(&self.body) {
            Ok(envelope) if self.status == 200 => Ok(envelope),
            Ok(_) => Err(status),
            Err(fault @ EnvelopeError::Fault(_)) => Err(fault.into()),
            Err(error) if self.status == 200 => Err(error.into()),
            Err(_) => Err(status),
        }
    }
}

pub(crate) const PATH: &str = "/wsman";
const SERVER: &str = "Intel(R) Active Management Technology";
