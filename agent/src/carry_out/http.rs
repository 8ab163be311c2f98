//! One HTTP request and its whole answer, over whatever byte stream leads to AMT.

use std::error::Error as _;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::SendRequest;
use oob_wsman::http::{HttpRequest, HttpResponse};

use super::lme::LmeError;

/// No WS-Man answer of AMT comes near this.
const LARGEST_BODY: usize = 1 << 20;

pub(super) async fn ask(
    sender: &mut SendRequest<Full<Bytes>>,
    request: HttpRequest,
) -> Result<HttpResponse, LmeError> {
    let http = |error: &dyn std::fmt::Display| LmeError::Http(error.to_string());
    let mut builder = hyper::Request::post(request.path);
    for (name, value) in &request.headers {
        builder = builder.header(*name, value.as_str());
    }
    let whole = builder.body(Full::new(Bytes::from_owner(request.body))).map_err(|error| http(&error))?;
    sender.ready().await.map_err(|error| of_http(&error))?;
    let answer: hyper::Response<Incoming> =
        sender.send_request(whole).await.map_err(|error| of_http(&error))?;
    let (parts, body) = answer.into_parts();
    let text = |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = parts.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
    let body = Limited::new(body, LARGEST_BODY).collect().await.map_err(|error| http(&error))?;
    Ok(HttpResponse { status: parts.status.as_u16(), headers, body: body.to_bytes().to_vec() })
}

/// Whether the other end hung up, or what it said was no HTTP.
fn of_http(error: &hyper::Error) -> LmeError {
    let lost = error.source().is_some_and(|cause| cause.is::<std::io::Error>());
    match lost || error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        true => LmeError::HungUp(error.to_string()),
        false => LmeError::Http(error.to_string()),
    }
}
