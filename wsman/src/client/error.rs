//! Why a call did not give its value: one variant for each layer that can say no.

use crate::{
    classes::{BodyError, ReturnValueError},
    digest::{DigestError, Realm},
    envelope::EnvelopeError,
    fault::FaultKind,
    http::HttpError,
    pthi::PtStatus,
};

/// Why a call failed. `E` is the transport's error.
#[derive(Debug, thiserror::Error)]
pub enum Error<E> {
    /// Below HTTP. For a read, ask again; a one-shot call gives [`Error::OutcomeUnknown`] instead.
    #[error("exchanging HTTP messages with the device")]
    Transport(#[source] E),
    /// A one-shot call was sent and nothing says whether the device acted. Never resend it: read the state.
    #[error("calling {method}: its outcome is unknown; read the device's state before anything else")]
    OutcomeUnknown {
        /// The method.
        method: &'static str,
        /// What went wrong after sending. No `source`: an error that holds itself has no end to its bounds.
        cause: Box<Error<E>>,
    },
    /// The login was rejected on a fresh nonce: wrong password, or the account is locked for a while.
    #[error(
        "logging in: rejected ({rejections} in a row); wait some seconds, check the password, do not loop"
    )]
    Unauthorized {
        /// Rejections in a row with these credentials.
        rejections: u8,
    },
    /// Two rejections: this client sends no login any more.
    #[error("logging in: not tried, two rejections already; a third would lock the account")]
    AttemptsExhausted,
    /// Another device, or the same one provisioned anew. No login was sent to it.
    #[error(
        "logging in: the device's realm is another one than expected; it was provisioned anew or is another device"
    )]
    RealmMismatch {
        /// Expected.
        expected: Realm,
        /// Found.
        found: Realm,
    },
    /// A new admin password was given as a hash that is not admin's.
    #[error("setting the admin's password: the hash is not made for the user admin")]
    WrongUser,
    /// No challenge that can be answered.
    #[error(transparent)]
    Digest(DigestError),
    /// HTTP status, SOAP fault, or no envelope.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The envelope holds something else.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The answer relates to another message.
    #[error("reading answer: it relates to another message; connect again")]
    WrongReply,
    /// The method refused.
    #[error(transparent)]
    ReturnValue(#[from] ReturnValueError),
}

impl<E> Error<E> {
    /// The fault, if the device answered with one.
    pub fn fault(&self) -> Option<&crate::fault::Fault> {
        match self {
            Self::Http(HttpError::Envelope(EnvelopeError::Fault(fault))) => Some(fault),
            Self::OutcomeUnknown { cause, .. } => cause.fault(),
            _ => None,
        }
    }

    /// What kind of fault the device answered with, if it did.
    pub fn fault_kind(&self) -> Option<FaultKind> {
        self.fault().map(|fault| fault.kind)
    }

    /// The class or instance is not on this firmware: for an optional class, the feature is absent.
    pub fn is_absent(&self) -> bool {
        matches!(self.fault_kind(), Some(FaultKind::DestinationUnreachable | FaultKind::Unsupported))
    }

    /// The class may be there, and the instance that was named is not.
    pub fn names_no_instance(&self) -> bool {
        self.is_absent() || self.fault_kind() == Some(FaultKind::InvalidSelectors)
    }

    /// It exists already: read it, compare it, then Put.
    pub fn already_exists(&self) -> bool {
        match self {
            Self::ReturnValue(error) => error.status() == PtStatus::DUPLICATE,
            _ => self.fault_kind() == Some(FaultKind::AlreadyExists),
        }
    }

    /// Whether the device may have acted on a one-shot call that ended so.
    pub(super) fn leaves_doubt(&self) -> bool {
        match self {
            Self::Transport(_) | Self::WrongReply | Self::Body(_) | Self::OutcomeUnknown { .. } => true,
            // 4xx pages are refusals; a 200 or a 5xx without an envelope says nothing.
            Self::Http(HttpError::Status { status }) => !(400..500).contains(status),
            Self::Http(HttpError::Envelope(EnvelopeError::Fault(fault))) => {
                matches!(fault.kind, FaultKind::Internal | FaultKind::TimedOut | FaultKind::Other)
            }
            Self::Http(HttpError::Envelope(_)) => true,
            Self::Unauthorized { .. }
            | Self::AttemptsExhausted
            | Self::RealmMismatch { .. }
            | Self::WrongUser
            | Self::Digest(_)
            | Self::ReturnValue(_) => false,
        }
    }
}
