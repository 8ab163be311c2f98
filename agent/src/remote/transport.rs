//! HTTP to another machine's AMT: HTTP/1.1 alone, no redirect, no proxy, one connection a request, and TLS with the one
//! certificate that org state names.

use std::error::Error as StdError;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use oob_wsman::client::Transport;
use oob_wsman::http::{HttpRequest, HttpResponse};
use oob_wsman::verifier::{Asked, ClientCertificate, Pinned, Refusal, Versions, client_config, show};
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use tokio_rustls::rustls;

use super::Reached;
use crate::error::last_cause;

/// No WS-Man answer of AMT comes near this.
pub(super) const LARGEST_BODY: usize = 1 << 20;
pub(super) const CONNECT: Duration = Duration::from_secs(10);
/// AMT itself allows an operation 30 s at least (reference/amt.md 4.1).
pub(super) const ANSWER: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub(super) enum RemoteError {
    #[error("another certificate is served (SHA-256 {found})")]
    OtherCertificate { found: String },
    #[error("no TLS in common: {0}")]
    NoCommonTls(String),
    /// The certificate is the one expected, and this build cannot check a signature with its key.
    #[error("{0}")]
    Signature(String),
    #[error("{0}")]
    Tls(String),
    #[error("its answer is longer than 1 MiB")]
    TooLong,
    #[error("{0}")]
    Lost(String),
}

/// The way to one AMT.
pub(super) struct Remote {
    http: reqwest::Client,
    address: SocketAddr,
    tls: bool,
    login_sent: bool,
    asked: Asked,
    /// The certificate, once rustls and the firmware were seen to have no TLS in common.
    #[cfg(feature = "legacy-tls")]
    legacy: Legacy,
}

/// Whether TLS is left to OpenSSL.
#[cfg(feature = "legacy-tls")]
enum Legacy {
    /// Without a pin there is no TLS; and rustls that worked once works on.
    Never,
    WhereNeeded([u8; 32]),
    Always([u8; 32]),
}

impl Remote {
    /// Does no I/O. With a pin it is TLS with that certificate and never anything else. `own` is shown where it is asked
    /// for.
    ///
    /// # Errors
    /// A sentence, where TLS cannot be set up.
    pub(super) fn to(
        reached: &Reached,
        pin: Option<[u8; 32]>,
        own: Option<&ClientCertificate>,
    ) -> Result<Self, String> {
        // Without a pin no TLS is spoken at all; the HTTP library wants a configuration all the same, and this one takes no
        // certificate that anybody could make.
        let verifier = Arc::new(Pinned::new(pin.unwrap_or_default()));
        let mut config = client_config(verifier, Versions::Tls12And13).map_err(|error| error.to_string())?;
        let asked = show(&mut config, own);
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(config)
            .https_only(pin.is_some())
            .http1_only()
            .redirect(Policy::none())
            .no_proxy()
            .referer(false)
            // What was sent is never sent again here, and AMT drops connections that wait.
            .retry(reqwest::retry::never())
            .pool_max_idle_per_host(0)
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .build()
            .map_err(|error| last_cause(&error))?;
        Ok(Self {
            http,
            address: reached.address,
            tls: pin.is_some(),
            login_sent: false,
            #[cfg(feature = "legacy-tls")]
            legacy: pin.map_or(Legacy::Never, Legacy::WhereNeeded),
            asked,
        })
    }

    /// Whether clients were asked for a certificate.
    pub(super) fn asked(&self) -> bool {
        self.asked.was()
    }

    /// Whether any Authorization header went out.
    pub(super) fn login_sent(&self) -> bool {
        self.login_sent
    }
}

impl Transport for Remote {
    type Error = RemoteError;

    #[cfg(not(feature = "legacy-tls"))]
    async fn post(&mut self, request: HttpRequest) -> Result<HttpResponse, RemoteError> {
        self.post_with_rustls(request).await
    }

    #[cfg(feature = "legacy-tls")]
    async fn post(&mut self, request: HttpRequest) -> Result<HttpResponse, RemoteError> {
        let pin = match self.legacy {
            Legacy::Never => return self.post_with_rustls(request).await,
            Legacy::WhereNeeded(pin) => {
                // A handshake that failed has sent nothing of it. The first request asks for a challenge.
                let copy = request.again();
                match (self.post_with_rustls(request).await, copy) {
                    (Err(RemoteError::NoCommonTls(why) | RemoteError::Signature(why)), Some(copy)) => {
                        tracing::info!(%why, "leaving TLS to OpenSSL, with the same certificate");
                        self.legacy = Legacy::Always(pin);
                        return self.post_with_openssl(pin, copy).await;
                    }
                    (answered, _) => {
                        if answered.is_ok() {
                            self.legacy = Legacy::Never;
                        }
                        return answered;
                    }
                }
            }
            Legacy::Always(pin) => pin,
        };
        self.post_with_openssl(pin, request).await
    }
}

impl Remote {
    #[cfg(feature = "legacy-tls")]
    async fn post_with_openssl(
        &mut self,
        pin: [u8; 32],
        request: HttpRequest,
    ) -> Result<HttpResponse, RemoteError> {
        self.login_sent |= request.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization"));
        super::legacy::post(self.address, pin, request).await
    }

    async fn post_with_rustls(&mut self, request: HttpRequest) -> Result<HttpResponse, RemoteError> {
        let scheme = if self.tls { "https" } else { "http" };
        let mut post = self.http.post(format!("{scheme}://{}{}", self.address, request.path));
        // Bodies and Authorization are as good as a password; the names of the headers are not.
        let names: Vec<&str> = request.headers.iter().map(|(name, _)| *name).collect();
        tracing::debug!(bytes = request.body.len(), headers = ?names, address = %self.address, "HTTP request");
        for (name, value) in &request.headers {
            let mut value =
                HeaderValue::from_str(value).map_err(|error| RemoteError::Lost(error.to_string()))?;
            value.set_sensitive(true);
            self.login_sent |= name.eq_ignore_ascii_case("authorization");
            post = post.header(HeaderName::from_static(lower(name)), value);
        }
        let mut answer =
            post.body(Bytes::from_owner(request.body)).send().await.map_err(|error| self.classify(error))?;
        let status = answer.status().as_u16();
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers =
            answer.headers().iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.classify(error))? {
            if body.len() + chunk.len() > LARGEST_BODY {
                return Err(RemoteError::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        tracing::debug!(status, bytes = body.len(), "HTTP answer");
        Ok(HttpResponse { status, headers, body })
    }
}

/// The two headers that a WS-Man request has.
fn lower(name: &str) -> &'static str {
    if name.eq_ignore_ascii_case("authorization") { "authorization" } else { "content-type" }
}

impl Remote {
    fn classify(&self, error: reqwest::Error) -> RemoteError {
        // The address stands in every message of ours already.
        let error = error.without_url();
        if let Some(tls) = tls_error(&error) {
            return of_tls(tls);
        }
        match (error.is_timeout(), error.is_connect()) {
            // The same port took a connection a moment ago, so it is the handshake that nobody answers.
            (true, true) if self.tls => RemoteError::Tls(format!(
                "nobody answered the handshake within {CONNECT:?}; is it AMT's TLS port?"
            )),
            (true, true) => RemoteError::Lost(format!("nothing came within {CONNECT:?}")),
            (true, false) => RemoteError::Lost(format!("nothing came within {ANSWER:?}")),
            _ => RemoteError::Lost(last_cause(&error)),
        }
    }
}

fn of_tls(error: &rustls::Error) -> RemoteError {
    use rustls::{AlertDescription as Alert, CertificateError, Error};
    match error {
        Error::InvalidCertificate(CertificateError::Other(other)) => {
            match other.0.downcast_ref::<Refusal>() {
                Some(Refusal::NotPinned { found, .. }) => {
                    RemoteError::OtherCertificate { found: found.clone() }
                }
                _ => RemoteError::Tls(error.to_string()),
            }
        }
        Error::InvalidCertificate(CertificateError::BadSignature) => {
            RemoteError::Signature(error.to_string())
        }
        // Firmware and this build share no version or no cipher suite (reference/crates.md 3).
        Error::PeerIncompatible(_)
        | Error::AlertReceived(
            Alert::HandshakeFailure | Alert::ProtocolVersion | Alert::InsufficientSecurity,
        ) => RemoteError::NoCommonTls(error.to_string()),
        Error::InvalidMessage(_) => RemoteError::Tls("what answers there does not speak TLS".to_owned()),
        other => RemoteError::Tls(other.to_string()),
    }
}

/// The TLS error among the causes, which an I/O error may carry.
fn tls_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(tls);
        }
        // The source of an I/O error is not what it carries, but that one's source.
        let carried = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match carried {
            Some(carried) => Some(carried),
            None => error.source(),
        };
    }
    None
}
