//! The read-back: a login over a new channel with a fresh nonce works with the new password and fails with another.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use oob_wsman::Secret;
use oob_wsman::client::{LoggedIn, Login};
use oob_wsman::digest::{Ha1, Realm};

use super::Run;
use super::failure::{Failure, WsError};
use super::lme::Lme;
pub(super) use crate::known::ADMIN;
use crate::secrets::Password;

pub(super) type Client<'l, 'm> = oob_wsman::client::Client<&'l mut Lme<'m>>;

/// After activation AMT may call the right password wrong for some seconds; asking on would lock the account
/// (reference/amt.md 0.7), so there is one second try after this pause.
pub(super) const SETTLE: Duration = Duration::from_secs(12);
/// Before a try that follows a lost connection.
pub(super) const AGAIN: Duration = Duration::from_secs(2);

/// Proves the credential. The right password is tried once more after the wrong one was refused, so that a locked
/// account is not taken for a careful one; `again` is false where the caller logs in with it next anyway.
pub(super) async fn prove<'a>(
    run: &mut Run<'a>,
    lme: &mut Lme<'a>,
    password: &Password,
    realm: &Realm,
    again: bool,
) -> Result<(), Failure> {
    run.progress.begin("amt: logging in over a new connection");
    let login = log_in(run, lme, password, realm).await?;
    run.progress.end("done");

    run.progress.begin("amt: seeing a wrong password refused");
    let wrong = Password::generate_for_amt().map_err(|error| {
        Failure::unchanged("no-random-bytes", format!("making a wrong password: {error}"))
    })?;
    see_refused(run, lme, &wrong, realm, login).await?;
    if again {
        log_in(run, lme, password, realm).await?;
    }
    run.progress.end("done");
    Ok(())
}

async fn log_in<'a>(
    run: &Run<'a>,
    lme: &mut Lme<'a>,
    password: &Password,
    realm: &Realm,
) -> Result<Option<LoggedIn>, Failure> {
    match read_with_login(lme, password, realm).await {
        Ok((named, login)) => return same_realm(named.as_deref(), realm).map(|()| login),
        Err(WsError::Unauthorized { .. }) => run.machine.pause(SETTLE).await,
        Err(error @ WsError::RealmMismatch { .. }) => return Err(other_realm(&error)),
        Err(_) => run.machine.pause(AGAIN).await,
    }
    match read_with_login(lme, password, realm).await {
        Ok((named, login)) => same_realm(named.as_deref(), realm).map(|()| login),
        Err(error @ WsError::RealmMismatch { .. }) => Err(other_realm(&error)),
        Err(error) => Err(error.into()),
    }
}

async fn see_refused<'a>(
    run: &Run<'a>,
    lme: &mut Lme<'a>,
    wrong: &Password,
    realm: &Realm,
    login: Option<LoggedIn>,
) -> Result<(), Failure> {
    // The nonce that the right password was accepted with: what is refused then is the password.
    let mut seen = match login {
        Some(login) => read(&mut admin(lme, wrong, realm).with_nonce_of(login)).await,
        None => read_realm(lme, wrong, realm).await,
    };
    if !matches!(seen, Ok(_) | Err(WsError::Unauthorized { .. } | WsError::RealmMismatch { .. })) {
        // A lost connection says nothing about passwords. Two refused logins are still one short of a lock.
        run.machine.pause(AGAIN).await;
        seen = read_realm(lme, wrong, realm).await;
    }
    match seen {
        Err(WsError::Unauthorized { .. }) => Ok(()),
        Err(error @ WsError::RealmMismatch { .. }) => Err(other_realm(&error)),
        Err(error) => Err(error.into()),
        Ok(_) => Err(Failure::unchanged(
            "any-password-accepted",
            "AMT accepted a wrong password; its firmware must be updated before it can be used",
        )),
    }
}

/// One login over a new channel with a fresh nonce, and one read.
pub(super) async fn read_realm(
    lme: &mut Lme<'_>,
    password: &Password,
    realm: &Realm,
) -> Result<Option<String>, WsError> {
    Ok(read_with_login(lme, password, realm).await?.0)
}

async fn read_with_login(
    lme: &mut Lme<'_>,
    password: &Password,
    realm: &Realm,
) -> Result<(Option<String>, Option<LoggedIn>), WsError> {
    lme.start_over().await;
    let mut admin = admin(lme, password, realm);
    let named = read(&mut admin).await?;
    Ok((named, admin.into_login()))
}

fn admin<'l, 'm>(lme: &'l mut Lme<'m>, password: &Password, realm: &Realm) -> Client<'l, 'm> {
    Client::new(lme, Login::Ha1(ha1(realm, password)), cnonce).expect_realm(realm.clone())
}

async fn read(admin: &mut Client<'_, '_>) -> Result<Option<String>, WsError> {
    Ok(admin.get_general_settings().await?.digest_realm)
}

fn same_realm(named: Option<&str>, realm: &Realm) -> Result<(), Failure> {
    if named == Some(realm.as_str()) {
        return Ok(());
    }
    Err(Failure::indeterminate(
        "AMT names another login realm than the one it logs in with; find out who set it up",
    ))
}

/// Not ours any more, so nothing is taken back.
fn other_realm(error: &WsError) -> Failure {
    Failure::indeterminate(format!("{error}; it was not touched again, find out who set it up"))
}

pub(super) fn ha1(realm: &Realm, password: &Password) -> Ha1 {
    Ha1::new(ADMIN, realm, &Secret::new(password.expose().to_owned()))
}

/// Client nonces of the digest login.
pub(crate) fn cnonce() -> [u8; 16] {
    let mut bytes = [0; 16];
    // Without random bytes a counter still never repeats within a run; the server's nonce carries the security.
    if getrandom::fill(&mut bytes).is_err() {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        bytes = u128::from(COUNT.fetch_add(1, Ordering::Relaxed)).to_be_bytes();
    }
    bytes
}
