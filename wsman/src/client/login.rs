//! Who logs in, what is asked without a login, and what stays of a login.

use super::{Error, Transport, ask_for_challenge};
use crate::{
    digest::{DigestError, DigestSession, Ha1, Realm},
    secret::Secret,
};

/// Who logs in.
pub enum Login {
    /// User name and password, hashed for whatever realm the device names (and [`super::Client::expect_realm`] allows).
    Password {
        /// The user, as `admin` or `$$OsAdmin`.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A hash made before; it is sent to its own realm only.
    Ha1(Ha1),
}

/// What an unauthenticated request tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The realm of the challenge: the same realm as at the last proof means the same provisioning.
    pub realm: Realm,
    /// Firmware version from the Server header.
    pub server_version: Option<String>,
}

/// Asks a device for its realm without any login.
pub async fn probe_realm<T: Transport>(transport: &mut T) -> Result<Probe, Error<T::Error>> {
    let asked = ask_for_challenge(transport, 1).await?;
    let (challenge, server_version) = asked.ok_or(Error::Digest(DigestError::NoChallenge))?;
    Ok(Probe { realm: challenge.realm, server_version })
}

/// A login that was accepted, without its password; see [`super::Client::into_login`].
pub struct LoggedIn {
    pub(super) session: DigestSession,
    pub(super) next_message_id: u64,
}
