//! As much of HTTP/1.1 as AMT speaks (`reference/amt.md` 4.1): requests with a length or in chunks, answers in
//! chunks whose sizes are four upper-case hex digits and whose borders fall anywhere.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::chance::Stream;

/// One request. Not to be shown: its body may hold a credential.
pub struct Request {
    /// The method.
    pub method: String,
    /// The request target.
    pub target: String,
    /// The body, chunks joined.
    pub body: Vec<u8>,
    headers: Vec<(String, String)>,
}

impl Request {
    /// A header's value; names compare without case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Whether the peer wants the connection closed after the answer.
    #[must_use]
    pub fn wants_close(&self) -> bool {
        self.header("connection").is_some_and(|value| value.to_ascii_lowercase().contains("close"))
    }
}

/// What the bytes that have arrived so far are.
pub enum Parsed {
    /// One request, and how many bytes it took.
    Whole(Request, usize),
    /// The beginning of one; `continues` when its head asks for `100 Continue`.
    Part { continues: bool },
    /// No HTTP request, or a larger one than AMT takes.
    Bad,
}

const MAX_HEAD: usize = 16 * 1024;
const MAX_BODY: usize = 256 * 1024;

/// Reads a request from the front of `bytes`.
#[must_use]
pub fn parse(bytes: &[u8]) -> Parsed {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return if bytes.len() > MAX_HEAD { Parsed::Bad } else { Parsed::Part { continues: false } };
    };
    let Some(mut request) = std::str::from_utf8(&bytes[..end]).ok().and_then(parse_head) else {
        return Parsed::Bad;
    };
    let rest = &bytes[end + 4..];
    let chunked =
        request.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
    let body = if chunked {
        dechunk(rest)
    } else {
        match request.header("content-length").map_or(Ok(0), str::parse::<usize>) {
            Ok(length) if length <= MAX_BODY => Ok(rest.get(..length).map(|body| (body.to_vec(), length))),
            _ => Err(NotChunked),
        }
    };
    match body {
        Ok(Some((body, taken))) => {
            request.body = body;
            Parsed::Whole(request, end + 4 + taken)
        }
        Ok(None) if rest.len() > 2 * MAX_BODY => Parsed::Bad,
        Ok(None) => {
            Parsed::Part { continues: request.header("expect").is_some_and(|v| v.starts_with("100")) }
        }
        Err(NotChunked) => Parsed::Bad,
    }
}

fn parse_head(head: &str) -> Option<Request> {
    let mut lines = head.split("\r\n");
    let mut start = lines.next()?.split(' ');
    let (method, target, version) = (start.next()?, start.next()?, start.next()?);
    if !version.starts_with("HTTP/1.") || start.next().is_some() {
        return None;
    }
    let headers = lines
        .map(|line| line.split_once(':').map(|(key, value)| (key.to_owned(), value.trim().to_owned())))
        .collect::<Option<_>>()?;
    Some(Request { method: method.to_owned(), target: target.to_owned(), body: Vec::new(), headers })
}

struct NotChunked;

/// The joined chunks and the bytes they took; `None` while the last has not arrived.
fn dechunk(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, NotChunked> {
    let (mut at, mut body) = (0, Vec::new());
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let Some(line) = rest.windows(2).position(|window| window == b"\r\n") else {
            return if rest.len() > 64 { Err(NotChunked) } else { Ok(None) };
        };
        let size = std::str::from_utf8(&rest[..line]).ok().and_then(|line| line.split(';').next());
        let size = size.and_then(|size| usize::from_str_radix(size.trim(), 16).ok()).ok_or(NotChunked)?;
        if body.len() + size.min(MAX_BODY + 1) > MAX_BODY {
            return Err(NotChunked);
        }
        let Some(chunk) = rest.get(line + 2..line + 2 + size + 2) else { return Ok(None) };
        if !chunk.ends_with(b"\r\n") {
            return Err(NotChunked);
        }
        body.extend_from_slice(&chunk[..size]);
        at += line + 2 + size + 2;
        if size == 0 {
            return Ok(Some((body, at)));
        }
    }
}

/// One answer.
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Headers beside those that every answer has.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// Whether the body goes out in chunks; else with its length.
    pub chunked: bool,
    /// Whether the answer announces the end of the connection.
    pub closes: bool,
}

impl Answer {
    /// A SOAP answer.
    #[must_use]
    pub fn soap(status: u16, body: String) -> Self {
        let headers = vec![
            ("X-Frame-Options", "DENY".to_owned()),
            ("Content-Type", "application/soap+xml; charset=UTF-8".to_owned()),
        ];
        Self { status, headers, body: body.into_bytes(), chunked: true, closes: false }
    }

    /// As from 19 on: more headers, one of them twice, and no space in the content type (`reference/amt.md` 4.1).
    pub fn harden(&mut self) {
        self.headers = [
            ("X-Frame-Options", "DENY"),
            ("X-Content-Type-Options", "nosniff"),
            ("Strict-Transport-Security", "max-age=31536000"),
            ("X-XSS-Protection", "1"),
            ("X-Frame-Options", "DENY"),
            ("Content-Type", "application/soap+xml;charset=UTF-8"),
        ]
        .map(|(name, value)| (name, value.to_owned()))
        .to_vec();
    }

    /// A small page for people.
    #[must_use]
    pub fn page(status: u16, line: &str) -> Self {
        let body = format!(
            "<!DOCTYPE html>\n<html><head><title>Intel&reg; Active Management Technology</title></head>\n\
             <body><h1>Intel<sup>&reg;</sup> Active Management Technology</h1>\n<p>{line}</p></body></html>\n"
        );
        let headers = vec![("Content-Type", "text/html".to_owned())];
        Self { status, headers, body: body.into_bytes(), chunked: false, closes: false }
    }

    /// The bytes on the wire.
    #[must_use]
    pub fn render(&self, server: &str, stream: &mut Stream) -> Vec<u8> {
        let reason = match self.status {
            200 => "OK",
            303 => "See Other",
            400 => "Bad Request",
            401 => "Unauthorized",
            404 => "Not Found",
            405 => "Method Not Allowed",
            _ => "Internal Server Error",
        };
        let mut head =
            format!("HTTP/1.1 {} {reason}\r\nDate: {}\r\nServer: {server}\r\n", self.status, date());
        for (key, value) in &self.headers {
            head += &format!("{key}: {value}\r\n");
        }
        if self.chunked {
            head += "Transfer-Encoding: chunked\r\n";
        } else {
            head += &format!("Content-Length: {}\r\n", self.body.len());
        }
        if self.closes {
            head += "Connection: close\r\n";
        }
        let mut bytes = (head + "\r\n").into_bytes();
        if self.chunked {
            chunk(&self.body, stream, &mut bytes)
        } else {
            bytes.extend_from_slice(&self.body)
        }
        bytes
    }
}

/// Recorded sizes go from 0x3C to 0x513.
fn chunk(mut body: &[u8], stream: &mut Stream, out: &mut Vec<u8>) {
    while !body.is_empty() {
        let size = usize::try_from(0x3c + stream.below(0x513 - 0x3c)).unwrap_or(0x3c).min(body.len());
        let (now, later) = body.split_at(size);
        out.extend_from_slice(format!("{size:04X}\r\n").as_bytes());
        out.extend_from_slice(now);
        out.extend_from_slice(b"\r\n");
        body = later;
    }
    out.extend_from_slice(b"0000\r\n\r\n");
}

/// The date in the form of RFC 9110, 5.6.7; the calendar by the usual shift of the year's start to March.
fn date() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, time) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12;
    let year = era * 400 + year_of_era + u64::from(month < 2);
    let name =
        |names: &[&'static str], n: u64| names.get(usize::try_from(n).unwrap_or(0)).copied().unwrap_or("");
    let weekday = name(&["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"], days % 7);
    let month =
        name(&["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"], month);
    let (hours, minutes, seconds) = (time / 3600, time / 60 % 60, time % 60);
    format!("{weekday}, {day:02} {month} {year} {hours:02}:{minutes:02}:{seconds:02} GMT")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str) -> (Request, usize) {
        match parse(text.as_bytes()) {
            Parsed::Whole(request, taken) => (request, taken),
            _ => panic!("{text:?} is no whole request"),
        }
    }

    #[test]
    fn a_request_is_read_at_every_length_of_arrival() {
        for text in [
            "POST /wsman HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
            "POST /wsman HTTP/1.1\r\ntransfer-encoding: Chunked\r\n\r\n2\r\nhe\r\n0003;x=1\r\nllo\r\n0\r\n\r\n",
        ] {
            for cut in 0..text.len() {
                assert!(matches!(parse(&text.as_bytes()[..cut]), Parsed::Part { .. }), "{cut} of {text:?}");
            }
            let (request, taken) = whole(&format!("{text}NEXT"));
            assert_eq!((request.body.as_slice(), taken), (b"hello".as_slice(), text.len()));
        }
    }

    #[test]
    fn what_is_no_request_is_bad() {
        for text in [
            "POST /wsman\r\n\r\n",
            "POST /wsman HTTP/2\r\n\r\n",
            "GET / HTTP/1.1\r\nno colon\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc",
        ] {
            assert!(matches!(parse(text.as_bytes()), Parsed::Bad), "{text:?}");
        }
    }

    #[test]
    fn what_is_chunked_can_be_joined_again() {
        let body: Vec<u8> = (0..5000u32).map(|n| n.to_le_bytes()[0]).collect();
        let mut wire = Vec::new();
        chunk(&body, &mut Stream::new(7), &mut wire);
        let Ok(Some((joined, taken))) = dechunk(&wire) else { panic!("not chunked") };
        assert_eq!((joined, taken), (body, wire.len()));
        assert!(wire.ends_with(b"0000\r\n\r\n"));
    }
}
