//! TLS as AMT 12 and older speak it: 1.0 to 1.2 with RSA key exchange, CBC suites, SHA-1 and small keys, which rustls has none
//! of (reference/crates.md 3). OpenSSL's security level is 0 here, since what that would judge, the certificate and its
//! chain, is judged by one thing alone: the leaf is the one that org state names, or not a byte of HTTP is sent.
//!
//! Built with the feature `legacy-tls` only, and for looking from another host only.

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use oob_wsman::http::{HttpRequest, HttpResponse};
use oob_wsman::x509::certificate_pin;
use openssl::ssl::{Ssl, SslContext, SslMethod, SslOptions, SslVerifyMode, SslVersion};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_openssl::SslStream;

use super::transport::{ANSWER, CONNECT, LARGEST_BODY, RemoteError};

/// What old firmware has, without what needs no certificate at all.
const CIPHERS: &str = "ALL:!aNULL:!eNULL:@SECLEVEL=0";
/// `SSL_OP_LEGACY_SERVER_CONNECT`, which the binding does not name: AMT does not know RFC 5746. Nobody renegotiates, so what
/// that is against cannot be done.
const LEGACY_SERVER_CONNECT: SslOptions = SslOptions::from_bits_retain(1 << 2);

/// One request over a connection of its own, to the pinned certificate and nobody else.
pub(super) async fn post(
    address: SocketAddr,
    pin: [u8; 32],
    request: HttpRequest,
) -> Result<HttpResponse, RemoteError> {
    let stream = connect(address, pin).await?;
    let lost = |error: hyper::Error| RemoteError::Lost(error.to_string());
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(lost)?;
    let mut builder = hyper::Request::post(request.path).header("host", address.to_string());
    for (name, value) in &request.headers {
        builder = builder.header(*name, value.as_str());
    }
    let whole = builder
        .body(Full::new(Bytes::from_owner(request.body)))
        .map_err(|error| RemoteError::Lost(error.to_string()))?;
    let asking = async {
        let answer = sender.send_request(whole).await.map_err(lost)?;
        let (parts, body) = answer.into_parts();
        let text =
            |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers =
            parts.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
        let body = Limited::new(body, LARGEST_BODY).collect().await;
        let body = body.map_err(|error| match error.is::<http_body_util::LengthLimitError>() {
            true => RemoteError::TooLong,
            false => RemoteError::Lost(error.to_string()),
        })?;
        Ok(HttpResponse { status: parts.status.as_u16(), headers, body: body.to_bytes().to_vec() })
    };
    let asking = async {
        let (mut asking, mut connection) = (std::pin::pin!(asking), std::pin::pin!(connection));
        let mut going = true;
        loop {
            tokio::select! {
                biased;
                answer = &mut asking => return answer,
                _ = &mut connection, if going => going = false,
            }
        }
    };
    within(ANSWER, "nothing came", asking).await
}

async fn connect(address: SocketAddr, pin: [u8; 32]) -> Result<SslStream<TcpStream>, RemoteError> {
    let dialed = within(CONNECT, "no connection was taken", async {
        TcpStream::connect(address).await.map_err(|error| RemoteError::Lost(error.to_string()))
    });
    let broken = |error: openssl::error::ErrorStack| RemoteError::Tls(error.to_string());
    let context = context().map_err(broken)?;
    let ssl = Ssl::new(&context).map_err(broken)?;
    let mut stream = SslStream::new(ssl, dialed.await?).map_err(broken)?;
    within(CONNECT, "nobody answered the handshake", async {
        Pin::new(&mut stream).connect().await.map_err(|error| RemoteError::Tls(error.to_string()))
    })
    .await?;
    let served = stream.ssl().peer_certificate().and_then(|leaf| leaf.to_der().ok());
    let found = served.map(|der| certificate_pin(&der));
    tracing::debug!(
        version = stream.ssl().version_str(),
        cipher = stream.ssl().current_cipher().map(|cipher| cipher.name()),
        "TLS of old firmware"
    );
    match found {
        Some(found) if found == pin => Ok(stream),
        Some(found) => Err(RemoteError::OtherCertificate { found: crate::state::hex(&found) }),
        None => Err(RemoteError::Tls("no certificate was served".to_owned())),
    }
}

fn context() -> Result<SslContext, openssl::error::ErrorStack> {
    let mut context = SslContext::builder(SslMethod::tls_client())?;
    context.set_security_level(0);
    context.set_min_proto_version(Some(SslVersion::TLS1))?;
    context.set_max_proto_version(Some(SslVersion::TLS1_2))?;
    context.set_cipher_list(CIPHERS)?;
    context.set_options(LEGACY_SERVER_CONNECT | SslOptions::NO_RENEGOTIATION | SslOptions::NO_TICKET);
    // Whose certificate it is, the pin says; OpenSSL checks that whoever shows it has its key.
    context.set_verify(SslVerifyMode::NONE);
    Ok(context.build())
}

async fn within<T>(
    most: Duration,
    what: &str,
    work: impl Future<Output = Result<T, RemoteError>>,
) -> Result<T, RemoteError> {
    match timeout(most, work).await {
        Ok(done) => done,
        Err(_) => Err(RemoteError::Lost(format!("{what} within {most:?}"))),
    }
}
