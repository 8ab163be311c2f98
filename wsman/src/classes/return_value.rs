//! `ReturnValue`, the innermost layer of success. A reply without one is not a success.

use crate::{classes::BodyError, pthi::PtStatus, xml::Element};

/// A method answered, and not with 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("calling {class}.{method}: return value {code} ({meaning})")]
pub struct ReturnValueError {
    /// Class, as `IPS_HostBasedSetupService`.
    pub class: String,
    /// Method.
    pub method: &'static str,
    /// The value.
    pub code: u32,
    /// What it means for this method.
    pub meaning: &'static str,
}

impl ReturnValueError {
    /// Whether the method has this value. One that it does not have says nothing of what the device did.
    pub fn is_known(&self) -> bool {
        self.meaning != UNHEARD_OF
    }

    /// The value in the numbering that AMT's own classes share with PTHI.
    pub fn status(&self) -> PtStatus {
        PtStatus(self.code)
    }
}

/// Checks the answer to a method: the element is `<method>_OUTPUT` of that class, and its one ReturnValue is 0.
/// The outer error is about the document, the inner one is the device's refusal.
pub fn check_return_value(
    body: Option<&Element>,
    resource: &str,
    method: &'static str,
) -> Result<Result<(), ReturnValueError>, BodyError> {
    let expected = format!("{method}_OUTPUT");
    let Some(body) = body else { return Err(BodyError::Empty { expected }) };
    let mut values = body.children().iter().filter(|child| child.is(resource, "ReturnValue"));
    let (true, Some(value), None) = (body.is(resource, &expected), values.next(), values.next()) else {
        return Err(BodyError::Other { expected });
    };
    let class = resource.rsplit_once('/').map_or(resource, |(_, class)| class);
    match value.text().trim().parse() {
        Ok(0) => Ok(Ok(())),
        Ok(code) => Ok(Err(ReturnValueError {
            class: class.to_owned(),
            method,
            code,
            meaning: meaning(class, method, code),
        })),
        Err(_) => Err(BodyError::Unreadable { class: "method output", property: "ReturnValue".to_owned() }),
    }
}

const UNHEARD_OF: &str = "no known meaning";

/// `reference/amt.md` 7. The methods of IPS_HostBasedSetupService number for themselves, CIM methods as CIM
/// does, the others share PT status.
fn meaning(class: &str, method: &str, code: u32) -> &'static str {
    if class == "IPS_HostBasedSetupService" {
        let own = match method {
            "Setup" => SETUP,
            "AddNextCertInChain" => ADD_NEXT_CERT,
            "AdminSetup" | "UpgradeClientToAdmin" => ADMIN_SETUP,
            _ => &[],
        };
        return own.iter().find(|row| row.0 == code).map_or(UNHEARD_OF, |row| row.1);
    }
    // Power, KVM and redirection number as CIM does; the low numbers mean other things in AMT's own classes.
    if class.starts_with("CIM_") || method == "RequestStateChange" {
        return CIM.iter().find(|row| row.0 == code).map_or(UNHEARD_OF, |row| row.1);
    }
    PtStatus(code).name().unwrap_or(UNHEARD_OF)
}

const SETUP: &[(u32, &str)] = &[
    (1, "internal error"),
    (2, "invalid state: not in pre-provisioning"),
    (3, "invalid parameter"),
    (4, "method disabled"),
    (5, "authentication failed"),
    (6, "flash write limit exceeded: leave the device alone for some hours"),
];

const ADD_NEXT_CERT: &[(u32, &str)] = &[
    (1, "invalid parameter"),
    (2, "internal error"),
    (3, "invalid state"),
    (4, "certificate verification failed: the root is not trusted or the chain is wrong"),
    (5, "chain too long"),
];

/// 4 and 5 are both seen in the field for a certificate, suffix or signature that was not accepted.
const ADMIN_SETUP: &[(u32, &str)] = &[
    (1, "internal error"),
    (2, "invalid state"),
    (3, "invalid parameter"),
    (4, "certificate, DNS suffix or signature not accepted"),
    (5, "certificate, DNS suffix or signature not accepted, or flash write limit exceeded"),
];

const CIM: &[(u32, &str)] = &[
    (1, "not supported"),
    (2, "unknown error, or not ready"),
    (3, "timeout"),
    (4, "failed"),
    (5, "invalid parameter"),
    (6, "in use"),
    (4096, "a job was started"),
    (4097, "invalid state transition"),
    (4098, "timeout parameter not supported"),
    (4099, "busy"),
];
