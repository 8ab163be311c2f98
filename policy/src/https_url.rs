//! The address of a service of the org, as a policy names it: `https://HOST[:PORT][/PATH]` and nothing besides.

use std::fmt;

/// A URL in which everything is meant: no user, no query, no fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpsUrl {
    /// A name, an IPv4 address, or an IPv6 address in brackets.
    pub host: String,
    pub port: u16,
    /// With its first slash; empty where the URL ends before one, or with it.
    pub path: String,
}

const DEFAULT_PORT: u16 = 443;
/// What a path may have besides letters and digits (RFC 3986 section 3.3).
const IN_PATHS: &str = "/-._~%!$&'()*+,;=:@";

impl HttpsUrl {
    /// # Errors
    /// What is wrong with the text, to be read after its name.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let rest = text.strip_prefix("https://").ok_or("does not begin with https://")?;
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        if authority.contains('@') {
            return Err("names a user; a login is named by `tls_ca_credential`");
        }
        if text.contains(['?', '#']) {
            return Err("has a query or a fragment");
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
                let port = port.parse().ok().filter(|port| digits && *port != 0);
                (host, port.ok_or("has a port that is none")?)
            }
            _ => (authority, DEFAULT_PORT),
        };
        if !is_host(host) {
            return Err("names no host");
        }
        if !path.chars().all(|c| c.is_ascii_alphanumeric() || IN_PATHS.contains(c)) {
            return Err("has a path with characters that a URL writes as %XX");
        }
        let path = if path == "/" { "" } else { path };
        Ok(Self { host: host.to_ascii_lowercase(), port, path: path.to_owned() })
    }
}

impl fmt::Display for HttpsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            DEFAULT_PORT => write!(f, "https://{}{}", self.host, self.path),
            port => write!(f, "https://{}:{port}{}", self.host, self.path),
        }
    }
}

fn is_host(host: &str) -> bool {
    if let Some(inner) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return inner.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    host.len() <= 253 && host.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_whole() {
        for (text, host, port, path, again) in [
            ("https://ca.example.com", "ca.example.com", 443, "", "https://ca.example.com"),
            ("https://CA.example.com/", "ca.example.com", 443, "", "https://ca.example.com"),
            ("https://ca:8443/est", "ca", 8443, "/est", "https://ca:8443/est"),
            ("https://[2001:db8::1]:8443/a", "[2001:db8::1]", 8443, "/a", "https://[2001:db8::1]:8443/a"),
            ("https://[2001:db8::1]/a%20b", "[2001:db8::1]", 443, "/a%20b", "https://[2001:db8::1]/a%20b"),
            ("https://192.0.2.1:443", "192.0.2.1", 443, "", "https://192.0.2.1"),
        ] {
            let url = HttpsUrl::parse(text).unwrap();
            assert_eq!((url.host.as_str(), url.port, url.path.as_str()), (host, port, path), "{text}");
            assert_eq!(url.to_string(), again, "{text}");
        }
    }

    #[test]
    fn what_is_not_meant_is_refused() {
        for text in [
            "",
            "ca.example.com",
            "http://ca.example.com",
            "HTTPS://ca.example.com",
            "https://",
            "https:///path",
            "https://user:secret@ca.example.com/",
            "https://ca.example.com/?a=b",
            "https://ca.example.com/#a",
            "https://ca.example.com:0/",
            "https://ca.example.com:65536/",
            "https://ca.example.com:+1/",
            "https://ca.example.com:/",
            "https://ca..example.com/",
            "https://-ca.example.com/",
            "https://[::1/",
            "https://[ca]/",
            "https://ca example.com/",
            "https://ca.example.com/a b",
            "https://ca.example.com/\u{f6}",
            "https://ca.example.com/a\n",
        ] {
            assert!(HttpsUrl::parse(text).is_err(), "{text:?}");
        }
    }
}
