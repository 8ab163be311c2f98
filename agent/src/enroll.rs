//! The org's CA over HTTPS: Enrollment over Secure Transport (RFC 7030), as far as one certificate for a key in AMT
//! needs it, and small CAs that take the same POST at a path of their own.
//!
//! The server is believed by the roots that policy names and by none of the system's. What it issues is judged by the same
//! roots and, where it speaks EST, by the CA certificates that it names over that very connection (RFC 7030 section
//! 4.1.3). A root that merely comes along with a certificate vouches for nothing.

use std::cell::OnceCell;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use oob_policy::{HttpsUrl, TlsCa, shown};
use oob_wsman::x509::{Expected, judge_issued, read_certificates};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Response, StatusCode};
use time::OffsetDateTime;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use zeroize::Zeroizing;

use crate::certificate::{read_roots, read_secret};
use crate::error::last_cause;
use crate::machine::Machine;

/// No answer with a certificate comes near this.
const LARGEST_BODY: usize = 1 << 20;
const CONNECT: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(30);
/// For a CA that says "later" (202). One that waits for a person is no part of a run.
const PATIENCE: Duration = Duration::from_secs(120);
/// Where it does not say how much later.
const LATER: Duration = Duration::from_secs(15);
/// However soon it says: one that says "at once" each time is not asked as fast as it answers.
const SOONEST: Duration = Duration::from_secs(5);
/// RFC 7030 section 3.2.2.
const EST: &str = "/.well-known/est/simpleenroll";

/// A CA as a policy names it, with what its references hold. No `Debug`.
pub struct Enrollment {
    url: HttpsUrl,
    roots: Vec<Vec<u8>>,
    /// The whole value of an Authorization header.
    login: Option<Zeroizing<String>>,
    service: OnceCell<Service>,
}

/// A CA that was seen to answer.
struct Service {
    http: Client,
    /// Its URL, without a path.
    base: String,
    /// What vouches for its certificates, DER.
    roots: Vec<Vec<u8>>,
}

/// Why there is no certificate. AMT was given nothing.
#[derive(Debug)]
pub struct Unissued {
    pub cause: &'static str,
    pub text: String,
}

impl fmt::Display for Enrollment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}

impl Enrollment {
    /// Reads what the policy refers to; nothing is asked yet.
    ///
    /// # Errors
    /// A sentence for people; it names the place and never what stands there.
    pub fn read(ca: &TlsCa) -> Result<Self, String> {
        let roots = read_roots(&ca.trust)?;
        store(&roots)?;
        let login = match &ca.credential {
            Some(place) => {
                let bytes = read_secret(place)?;
                Some(authorization(&bytes).map_err(|why| format!("`tls_ca_credential`: {why}"))?)
            }
            None => None,
        };
        Ok(Self { url: ca.url.clone(), roots, login, service: OnceCell::new() })
    }

    /// Sees that the CA is there and who it says it is, without asking it for anything: to be called before the device is
    /// changed.
    ///
    /// # Errors
    /// With the cause `tls-ca-unreachable`.
    pub async fn reach(&self, machine: &Machine) -> Result<(), Unissued> {
        if self.service.get().is_some() {
            return Ok(());
        }
        let unreachable = |why: String| Unissued {
            cause: "tls-ca-unreachable",
            text: format!(
                "reaching the CA of AMT's TLS certificate, {self}: {why}; nothing was changed, run again when it answers"
            ),
        };
        let mut service = self.service(machine).map_err(unreachable)?;
        service.roots.extend(self.look(machine, &service).await.map_err(unreachable)?);
        let _ = self.service.set(service);
        Ok(())
    }

    /// Has a certificate issued for a PKCS#10 request (DER), and judges it: what returns is one that AMT may be given.
    ///
    /// # Errors
    /// With the causes `tls-ca-unreachable`, `tls-ca-refused`, `tls-ca-pending` and `tls-ca-answer`.
    pub async fn issue(&self, machine: &Machine, request: &[u8], key: &[u8]) -> Result<Vec<u8>, Unissued> {
        self.reach(machine).await?;
        let Some(service) = self.service.get() else {
            return Err(self.unissued("tls-ca-unreachable", "it was not reached"));
        };
        let until = machine.until(PATIENCE);
        let answer = loop {
            let answer = self.post(machine, service, request).await?;
            match answer.status {
                StatusCode::OK | StatusCode::CREATED => break answer.body,
                StatusCode::ACCEPTED => {
                    let later = answer.retry_after.unwrap_or(LATER).max(SOONEST);
                    if later > PATIENCE || until.is_over() {
                        let why = format!(
                            "it takes the request and issues nothing within {PATIENCE:?} (202, Retry-After {} s); let it \
                             issue without a person",
                            later.as_secs()
                        );
                        return Err(self.unissued("tls-ca-pending", &why));
                    }
                    tracing::info!(seconds = later.as_secs(), "the CA says later");
                    machine.pause(later).await;
                }
                status => return Err(self.unissued("tls-ca-refused", &refusal(status, self.login.is_some()))),
            }
        };
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let certificates = read_certificates(&answer)
            .map_err(|error| self.unissued("tls-ca-answer", &format!("reading its answer: {error}")))?;
        let expected = Expected { key, roots: &service.roots, now };
        judge_issued(&certificates, expected).map_err(|error| {
            let why = format!("judging the certificate that it issued: {}", shown(&error.to_string()));
            self.unissued("tls-ca-answer", &why)
        })
    }

    fn unissued(&self, cause: &'static str, why: &str) -> Unissued {
        let text =
            format!("having AMT's TLS certificate issued by {self}: {why}; AMT was given no certificate");
        Unissued { cause, text }
    }

    /// Where the certificate is asked for.
    fn path(&self) -> &str {
        if self.url.path.is_empty() { EST } else { &self.url.path }
    }

    fn service(&self, machine: &Machine) -> Result<Service, String> {
        let HttpsUrl { host, port, .. } = &self.url;
        let place = machine.service(host, *port).map_err(|error| error.to_string())?;
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(store(&self.roots)?)
            .with_no_client_auth();
        let mut http = Client::builder()
            .tls_backend_preconfigured(config)
            .https_only(true)
            .http1_only()
            .redirect(Policy::none())
            .no_proxy()
            .referer(false)
            .retry(reqwest::retry::never())
            .connect_timeout(machine.deadline(CONNECT))
            .timeout(machine.deadline(ANSWER));
        let mut port = *port;
        if let Some(place) = place {
            port = place.port();
            http = http.resolve(host, place);
        }
        let http = http.build().map_err(|error| last_cause(&error))?;
        Ok(Service { http, base: format!("https://{host}:{port}"), roots: self.roots.clone() })
    }

    /// The CA certificates of an EST server, none of another; any answer shows that the server is there.
    async fn look(&self, machine: &Machine, service: &Service) -> Result<Vec<Vec<u8>>, String> {
        let cacerts = self.path().strip_suffix("/simpleenroll").map(|path| format!("{path}/cacerts"));
        let (method, path) = match &cacerts {
            Some(path) => (Method::GET, path.as_str()),
            None => (Method::HEAD, self.path()),
        };
        let asked = service.http.request(method, format!("{}{path}", service.base)).send();
        let answer = heard(machine, asked.await).await?;
        match (answer.status, cacerts) {
            (StatusCode::OK, Some(path)) => read_certificates(&answer.body)
                .map_err(|error| format!("reading what it says at {path}: {error}")),
            (status, _) if status.is_server_error() || status.is_redirection() => {
                Err(refusal(status, self.login.is_some()))
            }
            _ => Ok(Vec::new()),
        }
    }

    async fn post(&self, machine: &Machine, service: &Service, request: &[u8]) -> Result<Answer, Unissued> {
        const ENCODING: HeaderName = HeaderName::from_static("content-transfer-encoding");
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/pkcs10"));
        headers.insert(ENCODING, HeaderValue::from_static("base64"));
        headers
            .insert(ACCEPT, HeaderValue::from_static("application/pkcs7-mime, application/pkix-cert, */*"));
        if let Some(login) = &self.login {
            let owned = hyper::body::Bytes::from_owner(Zeroizing::new(login.as_bytes().to_vec()));
            let mut value = HeaderValue::from_maybe_shared(owned).map_err(|_| {
                self.unissued("tls-ca-refused", "the login has characters that no header takes")
            })?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        tracing::debug!(ca = %self, bytes = request.len(), "asking the CA for a certificate");
        let posted = service
            .http
            .post(format!("{}{}", service.base, self.path()))
            .headers(headers)
            .body(lines(request))
            .send();
        let answer = heard(machine, posted.await).await;
        answer.map_err(|why| self.unissued("tls-ca-unreachable", &why))
    }
}

/// An answer, read to its end.
struct Answer {
    status: StatusCode,
    retry_after: Option<Duration>,
    body: Vec<u8>,
}

async fn heard(machine: &Machine, answer: Result<Response, reqwest::Error>) -> Result<Answer, String> {
    let waited = machine.deadline(ANSWER);
    let lost = |error: reqwest::Error| match error.is_timeout() {
        true => format!("nothing came within {waited:?}"),
        // The address stands in every message of ours already.
        false => shown(&last_cause(&error.without_url())),
    };
    let mut answer = answer.map_err(lost)?;
    let retry_after =
        answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(lost)? {
        if body.len() + chunk.len() > LARGEST_BODY {
            return Err("its answer is longer than 1 MiB".to_owned());
        }
        body.extend_from_slice(&chunk);
    }
    tracing::debug!(status = answer.status().as_u16(), bytes = body.len(), "answer of the CA");
    Ok(Answer { status: answer.status(), retry_after: retry_after.map(Duration::from_secs), body })
}

fn refusal(status: StatusCode, with_login: bool) -> String {
    let number = status.as_u16();
    match (number, with_login) {
        (401 | 403, true) => format!("it does not take the login of `tls_ca_credential` (HTTP {number})"),
        (401 | 403, false) => format!("it wants a login (HTTP {number}): name one with `tls_ca_credential`"),
        (300..=399, _) => {
            format!("it sends elsewhere (HTTP {number}), and redirects are not followed: give the URL itself")
        }
        (404 | 405, _) => {
            format!("nothing issues certificates there (HTTP {number}): see the path of `tls_ca_url`")
        }
        _ => format!("it answers HTTP {number}"),
    }
}

/// Base64 as RFC 2045 has it.
fn lines(request: &[u8]) -> String {
    let text = STANDARD.encode(request);
    let mut lines = String::with_capacity(text.len() + text.len() / 32);
    for (index, character) in text.chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            lines.push_str("\r\n");
        }
        lines.push(character);
    }
    lines
}

fn store(roots: &[Vec<u8>]) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    for (index, root) in roots.iter().enumerate() {
        let added = store.add(root.as_slice().into());
        added.map_err(|_| {
            format!("`tls_ca_trust`: certificate number {} cannot be a trust anchor", index + 1)
        })?;
    }
    Ok(store)
}

/// The header's value for what the operator keeps: `USER:PASSWORD`, or `Bearer TOKEN`.
fn authorization(bytes: &[u8]) -> Result<Zeroizing<String>, &'static str> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8")?.trim_end_matches(['\r', '\n']);
    if text.contains(|c: char| c.is_control()) {
        return Err("it is more than one line: give USER:PASSWORD, or Bearer TOKEN");
    }
    match text.strip_prefix("Bearer ") {
        Some(token) if !token.is_empty() && token.is_ascii() => Ok(Zeroizing::new(text.to_owned())),
        None if text.contains(':') => {
            let mut value = Zeroizing::new(String::with_capacity(8 + text.len() * 2));
            value.push_str("Basic ");
            STANDARD.encode_string(text, &mut value);
            Ok(value)
        }
        _ => Err("it is neither USER:PASSWORD nor Bearer TOKEN"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_basic_or_bearer() {
        for (text, value) in [
            ("user:pass:word\n", "Basic dXNlcjpwYXNzOndvcmQ="),
            ("Bearer abc.def\r\n", "Bearer abc.def"),
            ("user:", "Basic dXNlcjo="),
        ] {
            assert_eq!(authorization(text.as_bytes()).unwrap().as_str(), value, "{text:?}");
        }
        for text in ["", "token", "Bearer ", "a:b\nc:d", "Bearer a\u{7}"] {
            assert!(authorization(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(authorization(&[0xff, b':']).is_err());
    }

    #[test]
    fn requests_are_broken_into_lines() {
        let text = lines(&[0x30; 200]);
        assert!(text.split("\r\n").all(|line| !line.is_empty() && line.len() <= 64), "{text}");
        assert_eq!(STANDARD.decode(text.replace("\r\n", "")).unwrap(), [0x30; 200]);
    }

    #[test]
    fn what_the_status_says_is_told_with_a_way_out() {
        for (status, login, told) in [
            (401, true, "tls_ca_credential"),
            (401, false, "name one"),
            (302, true, "not followed"),
            (404, false, "tls_ca_url"),
            (500, false, "HTTP 500"),
        ] {
            let text = refusal(StatusCode::from_u16(status).unwrap(), login);
            assert!(text.contains(told), "{status}: {text}");
        }
    }
}
