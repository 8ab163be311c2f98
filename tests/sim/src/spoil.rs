//! Answers that no firmware gives and a client must survive: other people's pages, other people's realms, far too much,
//! far too little, and numbers that nobody has heard of.

use crate::fault::Fault;
use crate::http::Answer;

/// More than any answer of AMT.
const HUGE: usize = (1 << 20) + (1 << 16);

/// The answer in place of the real one where the call is not carried out.
#[must_use]
pub fn instead(fault: Option<Fault>, realm: &str) -> Option<Answer> {
    let challenge = |value: String| {
        let mut answer = Answer::page(401, "Log on failed.");
        answer.headers.insert(0, ("WWW-Authenticate", value));
        answer.closes = true;
        answer
    };
    match fault? {
        Fault::Redirect => {
            let mut answer = Answer::page(302, "See elsewhere.");
            answer.headers.push(("Location", "http://127.0.0.1:9/wsman".to_owned()));
            Some(answer)
        }
        Fault::Basic => Some(challenge(format!("Basic realm=\"{realm}\""))),
        Fault::OtherRealm => {
            let other: String = realm.chars().map(|it| if it == '0' { '1' } else { it }).rev().collect();
            let other = other.chars().filter(char::is_ascii_hexdigit).take(32).collect::<String>();
            let nonce = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo=";
            Some(challenge(format!(
                "Digest realm=\"Digest:{other}\", nonce=\"{nonce}\",stale=\"false\",qop=\"auth\""
            )))
        }
        _ => None,
    }
}

/// A finished SOAP answer, made worse. The call was carried out.
pub fn worsen(fault: Option<Fault>, answer: &mut Answer) {
    let Some((head, body)) = split(&answer.body) else { return };
    let body = match fault {
        Some(Fault::Huge) => body.replacen('>', &format!("><!--{}-->", "x".repeat(HUGE)), 1),
        Some(Fault::NoFields) => emptied(&body),
        Some(Fault::OddValues) => odd(&body),
        _ => return,
    };
    answer.body = (head + &body).into_bytes();
}

/// As [`worsen`], for the payload of a PTHI reply, which begins at `payload`.
pub fn worsen_message(fault: Option<Fault>, reply: &mut Vec<u8>, payload: usize) {
    match fault {
        Some(Fault::Huge) => reply.resize(64 << 10, 0),
        Some(Fault::NoFields) => reply.truncate(payload),
        Some(Fault::OddValues) => {
            if let Some(bytes) = reply.get_mut(payload..) {
                bytes.fill(0x77);
            }
        }
        _ => {}
    }
}

/// Up to the start tag of the body, and from there on.
fn split(answer: &[u8]) -> Option<(String, String)> {
    let text = std::str::from_utf8(answer).ok()?;
    let at = text.find(":Body>")?;
    Some((text[..at].to_owned(), text[at..].to_owned()))
}

/// Without what is inside the body's first element.
fn emptied(body: &str) -> String {
    let whole = || {
        let open = body.find('<')?;
        let name = body[open + 1..].split([' ', '>', '/']).next()?;
        let inside = open + body[open..].find('>')? + 1;
        let close = body.rfind(&format!("</{name}>"))?;
        (inside <= close).then(|| format!("{}{}", &body[..inside], &body[close..]))
    };
    whole().unwrap_or_else(|| body.to_owned())
}

/// Every number is another one, every yes or no is neither.
fn odd(body: &str) -> String {
    let mut out = String::with_capacity(body.len());
    for (place, part) in body.split('>').enumerate() {
        if place > 0 {
            out.push('>');
        }
        let (text, rest) = part.split_at(part.find('<').unwrap_or(part.len()));
        let number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let flag = ["true", "false"].contains(&text);
        out += if number {
            "77777"
        } else if flag {
            "perhaps"
        } else {
            text
        };
        out += rest;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOAP: &str = "<a:Envelope><a:Header><b:RelatesTo>7</b:RelatesTo></a:Header><a:Body><g:X_OUTPUT><g:ReturnValue>0\
                        </g:ReturnValue><g:On>true</g:On></g:X_OUTPUT></a:Body></a:Envelope>";

    fn spoiled(fault: Fault) -> String {
        let mut answer = Answer::soap(200, SOAP.to_owned());
        worsen(Some(fault), &mut answer);
        String::from_utf8(answer.body).unwrap()
    }

    #[test]
    fn fields_go_and_the_envelope_stays() {
        let text = spoiled(Fault::NoFields);
        assert!(text.contains("<a:Body><g:X_OUTPUT></g:X_OUTPUT></a:Body>"), "{text}");
        assert!(text.contains("<b:RelatesTo>7<"), "{text}");
    }

    #[test]
    fn values_are_odd_in_the_body_only() {
        let text = spoiled(Fault::OddValues);
        assert!(text.contains(">77777</g:ReturnValue><g:On>perhaps</g:On>"), "{text}");
        assert!(text.contains("<b:RelatesTo>7<"), "{text}");
    }

    #[test]
    fn a_huge_answer_is_longer_than_a_mebibyte_and_well_formed() {
        let text = spoiled(Fault::Huge);
        assert!(text.len() > 1 << 20);
        assert!(text.contains("--><g:X_OUTPUT>"), "{}", &text[text.len() - 200..]);
    }

    #[test]
    fn another_realm_is_another_one() {
        let answer = instead(Some(Fault::OtherRealm), "Digest:00112233445566778899AABBCCDDEEFF").unwrap();
        let (_, challenge) = &answer.headers[0];
        assert!(challenge.contains("realm=\"Digest:FFEE"), "{challenge}");
        assert!(!challenge.contains("00112233445566778899AABBCCDDEEFF"));
    }
}
