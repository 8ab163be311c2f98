//! Writing answer envelopes, with the prefixes that firmware uses: single letters, others in faults.

use std::fmt::Write as _;

use super::{Operation, Rejection, Request, ns};
use crate::amt::Amt;

/// An answer: HTTP status and envelope.
pub struct Reply {
    /// 200, or 400 with a fault.
    pub status: u16,
    /// The envelope.
    pub body: String,
}

/// Escapes text for element content and attributes.
#[must_use]
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            _ => out.push(c),
        }
    }
    out
}

/// The answer to a request that was carried out. In `body` the prefix `g` is the class, or enumeration for
/// Enumerate and Pull, and `h` the class there (`reference/amt.md` 4.3).
#[must_use]
pub(super) fn success(request: &Request, body: &str, amt: &mut Amt) -> Reply {
    let resource = escaped(&request.resource);
    // Actions of transfer and enumeration answers end in Response; those of methods are the request's own, mostly.
    let own = matches!(request.operation, Operation::Method(_)) && !amt.habits.response_suffix;
    let suffix = if own { "" } else { "Response" };
    let payload = match request.operation {
        Operation::Enumerate | Operation::Pull => {
            format!("xmlns:g=\"{}\" xmlns:h=\"{resource}\"", ns::ENUMERATION)
        }
        Operation::Create => format!("xmlns:g=\"{}\"", ns::TRANSFER),
        _ => format!("xmlns:g=\"{resource}\""),
    };
    let head = format!(
        "<b:To>{}</b:To><b:RelatesTo>{}</b:RelatesTo><b:Action a:mustUnderstand=\"true\">{}{suffix}</b:Action>\
         <b:MessageID>{}</b:MessageID><c:ResourceURI>{resource}</c:ResourceURI>",
        ns::ANONYMOUS,
        escaped(&request.message_id),
        escaped(&request.action),
        amt.next_message_id(),
    );
    let namespaces = [
        ("b", ns::ADDRESSING),
        ("c", ns::WSMAN),
        ("d", "http://schemas.xmlsoap.org/ws/2005/02/trust"),
        ("e", "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"),
        ("f", "http://schemas.dmtf.org/wbem/wsman/1/cimbinding.xsd"),
    ];
    Reply { status: 200, body: envelope(&namespaces, &payload, &head, body) }
}

/// The answer to a request that was refused. Here `c` is eventing, `e` management and `g` enumeration.
#[must_use]
pub(super) fn fault(rejection: &Rejection, amt: &mut Amt) -> Reply {
    let Rejection { code, subcode, reason, relates_to } = rejection;
    let namespaces = [
        ("b", ns::ADDRESSING),
        ("c", "http://schemas.xmlsoap.org/ws/2004/08/eventing"),
        ("d", ns::TRANSFER),
        ("e", ns::WSMAN),
        ("f", "http://schemas.dmtf.org/wbem/wsman/1/cimbinding.xsd"),
        ("g", ns::ENUMERATION),
    ];
    let action = if subcode.starts_with("b:") { ns::ADDRESSING } else { ns::WSMAN_FAULTS };
    let head = format!(
        "<b:To>{}</b:To><b:RelatesTo>{}</b:RelatesTo><b:Action a:mustUnderstand=\"true\">{action}/fault</b:Action>\
         <b:MessageID>{}</b:MessageID>",
        ns::ANONYMOUS,
        escaped(relates_to),
        amt.next_message_id(),
    );
    let subcode = match *subcode {
        "" => String::new(),
        subcode => format!("<a:Subcode><a:Value>{subcode}</a:Value></a:Subcode>"),
    };
    let body = format!(
        "<a:Fault><a:Code><a:Value>a:{code}</a:Value>{subcode}</a:Code><a:Reason><a:Text xml:lang=\"en-US\">{}\
         </a:Text></a:Reason><a:Detail></a:Detail></a:Fault>",
        escaped(reason)
    );
    Reply { status: 400, body: envelope(&namespaces, "", &head, &body) }
}

fn envelope(namespaces: &[(&str, &str)], payload: &str, head: &str, body: &str) -> String {
    let mut declared = format!("xmlns:a=\"{}\"", ns::SOAP);
    for (prefix, namespace) in namespaces {
        // Writing to a String does not fail.
        let _ = write!(declared, " xmlns:{prefix}=\"{namespace}\"");
    }
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><a:Envelope {declared} {payload} \
         xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"><a:Header>{head}</a:Header><a:Body>{body}</a:Body>\
         </a:Envelope>"
    )
}
