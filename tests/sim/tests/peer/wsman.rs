//! WS-Man over HTTP, as an independent client writes and reads it.

use super::{Door, SETUP, md5};

/// One answer, chunks joined.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn parse(wire: &[u8]) -> Self {
        let text = String::from_utf8_lossy(wire).into_owned();
        let (head, mut rest) =
            text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP head in {text:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut body = String::new();
        if head.contains("Transfer-Encoding: chunked") {
            while let Some((size, after)) = rest.split_once("\r\n") {
                assert!(size.len() == 4 && size == size.to_uppercase(), "chunk size {size:?}");
                let size = usize::from_str_radix(size, 16).unwrap();
                body += &after[..size];
                assert_eq!(&after[size..size + 2], "\r\n");
                rest = &after[size + 2..];
            }
            assert_eq!(rest, "");
        } else {
            body += rest;
        }
        Self { status, head: head.to_owned(), body }
    }

    pub fn realm(&self) -> String {
        self.head.split("realm=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    }

    pub fn nonce(&self) -> String {
        self.head.split("nonce=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    }
}

/// A request envelope in the prefixes of an independent client.
pub fn envelope(action: &str, resource: &str, body: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><Envelope xmlns=\"http://www.w3.org/2003/05/soap-envelope\" \
         xmlns:a=\"http://schemas.xmlsoap.org/ws/2004/08/addressing\" \
         xmlns:w=\"http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd\"><Header><a:Action>{action}</a:Action>\
         <a:To>/wsman</a:To><w:ResourceURI>{resource}</w:ResourceURI><a:MessageID>77</a:MessageID><a:ReplyTo>\
         <a:Address>http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous</a:Address></a:ReplyTo>\
         <w:OperationTimeout>PT60S</w:OperationTimeout></Header><Body>{body}</Body></Envelope>"
    )
}

pub fn setup_body(kind: &str, ha1: &str) -> String {
    let fields = format!(
        "<h:NetAdminPassEncryptionType>{kind}</h:NetAdminPassEncryptionType>\
         <h:NetworkAdminPassword>{ha1}</h:NetworkAdminPassword>"
    );
    envelope(
        &format!("{SETUP}/Setup"),
        SETUP,
        &format!("<h:Setup_INPUT xmlns:h=\"{SETUP}\">{fields}</h:Setup_INPUT>"),
    )
}

/// A method's request with these parameters, which have the prefix `h`.
pub fn invocation(class: &str, method: &str, fields: &str) -> String {
    let body = format!("<h:{method}_INPUT xmlns:h=\"{class}\">{fields}</h:{method}_INPUT>");
    envelope(&format!("{class}/{method}"), class, &body)
}

/// The same request for the instance with this selector.
pub fn selecting(request: &str, name: &str, value: &str) -> String {
    let set =
        format!("<w:SelectorSet><w:Selector Name=\"{name}\">{value}</w:Selector></w:SelectorSet></Header>");
    request.replace("</Header>", &set)
}

/// The text of the first element of this name in an answer, whatever its prefix.
pub fn leaf(answer: &Answer, name: &str) -> String {
    let document = roxmltree::Document::parse(&answer.body).unwrap_or_else(|_| panic!("no XML: {answer:?}"));
    let node = document.descendants().find(|node| node.tag_name().name() == name);
    node.unwrap_or_else(|| panic!("no {name} in {answer:?}")).text().unwrap_or("").to_owned()
}

/// A request as it goes over the wire, without or with a login.
pub fn request(body: &str, authorization: Option<&str>) -> Vec<u8> {
    let authorization = authorization.map(|value| format!("Authorization: {value}\r\n")).unwrap_or_default();
    format!(
        "POST /wsman HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/soap+xml; charset=utf-8\r\n\
         {authorization}Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The login value for `POST /wsman`.
pub fn login(user: &str, password: &str, realm: &str, nonce: &str, count: u32) -> String {
    let ha1 = md5(&format!("{user}:{realm}:{password}"));
    let response = md5(&format!("{ha1}:{nonce}:{count:08x}:abcdef:auth:{}", md5("POST:/wsman")));
    format!(
        "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"/wsman\", qop=auth, \
         nc={count:08x}, cnonce=\"abcdef\", response=\"{response}\""
    )
}

/// A challenge, then the request with the login.
pub fn post(door: &mut dyn Door, user: &str, password: &str, body: &str) -> Answer {
    let challenge = Answer::parse(&door.exchange(&request(body, None)));
    assert_eq!(challenge.status, 401, "{challenge:?}");
    let authorization = login(user, password, &challenge.realm(), &challenge.nonce(), 1);
    Answer::parse(&door.exchange(&request(body, Some(&authorization))))
}
