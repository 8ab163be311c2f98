//! SOAP faults as typed errors.

use crate::xml::{Element, ns};

/// A SOAP 1.2 fault. All texts are foreign and must be escaped where shown; `Display` shows only the kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the device answered with a fault: {kind}")]
pub struct Fault {
    /// What it means to us.
    pub kind: FaultKind,
    /// Local part of the code, as `Sender`.
    pub code: String,
    /// Local part of the first subcode, as `DestinationUnreachable`. Prefixes differ between firmwares.
    pub subcode: Option<String>,
    /// The reason's text.
    pub reason: String,
    /// All text of the detail, blanks trimmed.
    pub detail: String,
}

/// Faults that have a meaning for the caller (`reference/amt.md` 4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// The class or instance is not on this firmware; for an optional class: the feature is absent.
    DestinationUnreachable,
    /// It exists: compare it, then Put.
    AlreadyExists,
    /// This account may not.
    AccessDenied,
    /// Old firmware does not have the action, the resource or the operation.
    Unsupported,
    /// Our request breaks the schema.
    SchemaValidation,
    /// Our selectors name no instance.
    InvalidSelectors,
    /// Firmware error.
    Internal,
    /// The firmware took too long.
    TimedOut,
    /// Any other.
    Other,
}

impl Fault {
    /// Reads a Fault element; what is missing stays empty.
    pub(crate) fn read(fault: &Element) -> Self {
        let code = fault.child(ns::SOAP, "Code");
        let value = |of: Option<&Element>| {
            of.and_then(|of| of.child(ns::SOAP, "Value")).map(|value| local(value.text()))
        };
        let subcode = value(code.and_then(|code| code.child(ns::SOAP, "Subcode")));
        let reason = fault.child(ns::SOAP, "Reason").and_then(|reason| reason.child(ns::SOAP, "Text"));
        let detail = fault.child(ns::SOAP, "Detail").map(|detail| {
            let texts = detail.leaves().into_iter().map(|leaf| leaf.1.trim()).filter(|text| !text.is_empty());
            texts
                .chain(Some(detail.text().trim()).filter(|text| !text.is_empty()))
                .collect::<Vec<_>>()
                .join(" ")
        });
        Self {
            kind: FaultKind::of(subcode.as_deref().unwrap_or_default()),
            code: value(code).unwrap_or_default(),
            subcode,
            reason: reason.map(|text| text.text().trim().to_owned()).unwrap_or_default(),
            detail: detail.unwrap_or_default(),
        }
    }
}

impl FaultKind {
    fn of(subcode: &str) -> Self {
        match subcode {
            "DestinationUnreachable" => Self::DestinationUnreachable,
            "AlreadyExists" => Self::AlreadyExists,
            "AccessDenied" => Self::AccessDenied,
            "ActionNotSupported" | "InvalidResourceURI" | "NotSupported" | "UnsupportedFeature" => {
                Self::Unsupported
            }
            "SchemaValidationError" => Self::SchemaValidation,
            "InvalidSelectors" => Self::InvalidSelectors,
            "InternalError" => Self::Internal,
            "TimedOut" => Self::TimedOut,
            _ => Self::Other,
        }
    }
}

impl std::fmt::Display for FaultKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::DestinationUnreachable => "no such class or instance on this firmware",
            Self::AlreadyExists => "it exists already",
            Self::AccessDenied => "access denied to this account",
            Self::Unsupported => "not supported by this firmware",
            Self::SchemaValidation => {
                "the request does not fit this firmware's schema; report it with its version"
            }
            Self::InvalidSelectors => "the selectors name no instance",
            Self::Internal => "internal error",
            Self::TimedOut => "timed out",
            Self::Other => "no known subcode",
        })
    }
}

fn local(qualified: &str) -> String {
    let qualified = qualified.trim();
    qualified.rsplit_once(':').map_or(qualified, |(_, local)| local).to_owned()
}
