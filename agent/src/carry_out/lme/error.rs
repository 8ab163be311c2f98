//! Why AMT's WS-Man port was not reached, or gave no answer.

use std::time::Duration;

use oob_wsman::apf::{ApfError, OpenFailure};
use tokio_rustls::rustls;

use super::super::lms::LmsError;
use crate::machine::MeiError;

#[derive(Debug, thiserror::Error)]
pub(in super::super) enum LmeError {
    #[error("{0}")]
    Mei(#[from] MeiError),
    #[error("speaking APF to AMT: {0}")]
    Apf(#[from] ApfError),
    #[error(
        "opening AMT's port {port} over MEI: refused ({reason:?}); its ports may be restarting, so run again in a minute, and \
         see in the firmware setup whether AMT is enabled"
    )]
    Refused { port: u16, reason: OpenFailure },
    #[error(
        "AMT offers TLS only on its local ports, and nothing here says with which certificate: others gave it one"
    )]
    TlsOnly,
    #[error(
        "AMT 19 and newer speaks TLS alone, and this one offers cleartext on its local ports, so nothing is told to it; update \
         its firmware"
    )]
    Cleartext,
    #[error("opening TLS to AMT: {0}")]
    Tls(String),
    #[error("opening TLS to AMT: {0}; no login was sent to it")]
    Stranger(String),
    #[error("AMT ended the port forwarding session (reason {0}); run again")]
    Disconnected(u32),
    #[error(
        "waiting for AMT's {what}: nothing came within {waited:?}; run again when the machine has settled"
    )]
    Silent { what: &'static str, waited: Duration },
    #[error("reading AMT's HTTP answer: {0}")]
    Http(String),
    #[error("reading AMT's HTTP answer: {0}")]
    HungUp(String),
    #[error(transparent)]
    Lms(#[from] LmsError),
}

impl LmeError {
    /// The MEI connection is of no use any more; another one may be.
    pub(super) fn ends_session(&self) -> bool {
        matches!(self, Self::Mei(_) | Self::Apf(_) | Self::Disconnected(_))
    }
}

/// Which rule of ours a certificate broke, where that is why: the library calls it "other".
pub(in super::super) fn refusal(error: &std::io::Error) -> LmeError {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(rustls::CertificateError::Other(rule))) => {
            LmeError::Stranger(rule.to_string())
        }
        Some(rustls::Error::InvalidCertificate(other)) => LmeError::Stranger(format!("{other:?}")),
        _ => LmeError::Tls(error.to_string()),
    }
}
