//! AMT's WS-Man service (`reference/amt.md` 4.3, 4.4). Requests are matched by namespace and local name, and
//! strictly: what DSP0226 wants of a request and this one lacks is a fault, as from firmware.

mod classes;
mod reply;
mod request;

pub use reply::Reply;
pub use request::{Operation, Rejection, Request};

use crate::digest::Account;

use crate::amt::Amt;
use crate::fault::Fault;
use crate::profile::Facts;

/// The name under which a request is counted, `wsman:CLASS.METHOD`, and whether it is of a changing nature.
#[must_use]
pub fn call_name(request: &Result<Request, Rejection>) -> (String, bool) {
    match request {
        Ok(request) => {
            (format!("wsman:{}.{}", request.class, request.operation.name()), request.operation.mutates())
        }
        Err(_) => ("wsman:unreadable".to_owned(), false),
    }
}

/// Carries a request out and answers it.
#[must_use]
pub fn answer(
    request: Result<Request, Rejection>,
    amt: &mut Amt,
    facts: &Facts,
    account: Account,
    fault: Option<Fault>,
) -> Reply {
    let mut request = match request {
        Ok(request) => request,
        Err(rejection) => return reply::fault(&rejection, amt),
    };
    if let (Some(Fault::ReturnValue(value)), Operation::Method(method)) = (fault, &request.operation) {
        let output = classes::return_value(method, value, "");
        return reply::success(&request, &output, amt);
    }
    if let Some(Fault::ReturnValue(_)) = fault {
        return broken(amt); // an operation without a return value cannot carry one
    }
    let outcome = request.check().and_then(|()| classes::carry_out(&request, amt, facts, account));
    if fault == Some(Fault::WrongCommand) {
        "4294967295".clone_into(&mut request.message_id);
    }
    match outcome {
        Ok(body) => reply::success(&request, &body, amt),
        Err(mut rejection) => {
            rejection.relates_to.clone_from(&request.message_id);
            reply::fault(&rejection, amt)
        }
    }
}

/// The answer of a service that has broken down.
#[must_use]
pub fn broken(amt: &mut Amt) -> Reply {
    reply::fault(&Rejection::internal(), amt)
}

/// Namespaces of requests and answers.
pub mod ns {
    /// SOAP 1.2.
    pub const SOAP: &str = "http://www.w3.org/2003/05/soap-envelope";
    /// WS-Addressing, the submission that WS-Man 1 uses.
    pub const ADDRESSING: &str = "http://schemas.xmlsoap.org/ws/2004/08/addressing";
    /// WS-Management 1.
    pub const WSMAN: &str = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd";
    /// Where WS-Management's fault action stands.
    pub const WSMAN_FAULTS: &str = "http://schemas.dmtf.org/wbem/wsman/1/wsman";
    /// WS-Enumeration.
    pub const ENUMERATION: &str = "http://schemas.xmlsoap.org/ws/2004/09/enumeration";
    /// WS-Transfer.
    pub const TRANSFER: &str = "http://schemas.xmlsoap.org/ws/2004/09/transfer";
    /// Where answers go: back.
    pub const ANONYMOUS: &str = "http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous";
}
