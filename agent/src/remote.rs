//! AMT of another machine, over the network: what a witness sees of it (reference/recovery.md 0). It reads and it logs
//! in; nothing here changes anything.

mod address;
#[cfg(feature = "legacy-tls")]
mod legacy;
mod transport;

pub use address::{Address, Reached, cleartext, reach};

use oob_policy::{AmtOurs, Mutual, Power, RemoteEnd, claims_mutual_tls};
use oob_wsman::Secret;
use oob_wsman::classes::power::AssociatedPowerManagementService;
use oob_wsman::client::{Client, Error, Login, probe_realm};
use oob_wsman::digest::{Ha1, Realm};
use oob_wsman::verifier::ClientCertificate;

use crate::carry_out::cnonce;
use crate::error::chain_of;
use crate::known::{ADMIN, Known};
use crate::secrets::Password;
use crate::state::unhex;
use transport::{Remote, RemoteError};

/// What the logins showed, as far as they came.
#[derive(Default)]
pub struct Logins {
    /// Why they ended early.
    pub end: Option<RemoteEnd>,
    pub version: Option<String>,
    pub power: Option<Power>,
    pub wrong_refused: bool,
    /// An Authorization header went out.
    pub login_sent: bool,
    pub mutual: Mutual,
}

/// With what this host comes.
#[derive(Clone, Copy)]
pub struct Visitor<'a> {
    pub known: &'a Known,
    /// For AMT that lets in clients with a certificate only.
    pub certificate: Option<&'a ClientCertificate>,
}

/// Logs in where `reached` leads, and reads the power state. Then a wrong password is tried once, and the right one
/// again, so that a locked account is not taken for a careful one. AMT that asks for a client's certificate is then asked
/// without one.
pub async fn prove(reached: &Reached, claim: &AmtOurs, visitor: Visitor<'_>) -> Logins {
    let mut seen = Logins::default();
    if claims_mutual_tls(claim) && visitor.certificate.is_none() {
        seen.end = Some(RemoteEnd::NoClientCertificate);
        return seen;
    }
    seen.end = match prepare(reached, claim, visitor.certificate) {
        Ok((mut remote, realm, pin)) => {
            let ended = log_in_and_read(&mut remote, &realm, visitor.known, &mut seen).await;
            seen.login_sent = remote.login_sent();
            match ended {
                Ok(()) => {
                    seen.mutual = mutual(reached, pin, &remote).await;
                    None
                }
                Err(end) => Some(turned_away(end, &remote, visitor)),
            }
        }
        Err(end) => Some(end),
    };
    seen
}

/// What ended a look before any answer came, where AMT had asked for a client's certificate.
fn turned_away(end: RemoteEnd, remote: &Remote, visitor: Visitor<'_>) -> RemoteEnd {
    match end {
        RemoteEnd::Tls(why) | RemoteEnd::NoCommonTls(why) | RemoteEnd::Unreachable(why) if remote.asked() => {
            match visitor.certificate {
                Some(_) => RemoteEnd::ClientCertificateRefused(why),
                None => RemoteEnd::NoClientCertificate,
            }
        }
        other => other,
    }
}

/// Whether a client without a certificate is turned away. No login is sent.
async fn mutual(reached: &Reached, pin: Option<[u8; 32]>, remote: &Remote) -> Mutual {
    if pin.is_none() {
        return Mutual::NotJudged;
    }
    if !remote.asked() {
        return Mutual::NotDemanded;
    }
    let Ok(mut bare) = Remote::to(reached, pin, None) else { return Mutual::NotJudged };
    match probe_realm(&mut bare).await {
        Ok(_) => Mutual::NotDemanded,
        Err(_) if bare.asked() => Mutual::Demanded,
        Err(_) => Mutual::NotJudged,
    }
}

/// Events are foreign until they are read: what stands in one may be no certificate's hash and no realm.
fn prepare(
    reached: &Reached,
    claim: &AmtOurs,
    own: Option<&ClientCertificate>,
) -> Result<(Remote, Realm, Option<[u8; 32]>), RemoteEnd> {
    let broken = |what: &str| RemoteEnd::NotAmt(format!("the claim in org state has no usable {what}"));
    let realm = Realm::new(&claim.realm).ok_or_else(|| broken("realm"))?;
    let pin = match claim.served_pin() {
        Some(hex) => Some(unhex::<32>(hex).ok_or_else(|| broken("certificate"))?),
        None => None,
    };
    Ok((Remote::to(reached, pin, own).map_err(RemoteEnd::Tls)?, realm, pin))
}

async fn log_in_and_read(
    remote: &mut Remote,
    realm: &Realm,
    known: &Known,
    seen: &mut Logins,
) -> Result<(), RemoteEnd> {
    let login = |password: &Password| {
        let password = Secret::new(password.expose().to_owned());
        Login::Ha1(Ha1::new(ADMIN, realm, &password))
    };

    // The client's first request has no Authorization; none is sent to another realm.
    let mut admin = Client::new(&mut *remote, login(&known.password), cnonce).expect_realm(realm.clone());
    let general = admin.get_general_settings().await.map_err(ended)?;
    if general.digest_realm.as_deref() != Some(realm.as_str()) {
        let why = "it names another login realm than the one it logs in with".to_owned();
        return Err(RemoteEnd::Answer(why));
    }
    seen.version = admin.server_version().map(str::to_owned);
    let service: AssociatedPowerManagementService = admin.get().await.map_err(answer)?;
    let state = service
        .power_state
        .ok_or_else(|| RemoteEnd::Answer("reading its power state: it names none".to_owned()))?;
    seen.power = Some(Power { state, offered: service.available_requested_power_states });
    drop(admin);

    let wrong = Password::generate_for_amt()
        .map_err(|error| RemoteEnd::Answer(format!("making a wrong password: {error}")))?;
    let mut stranger = Client::new(&mut *remote, login(&wrong), cnonce).expect_realm(realm.clone());
    match stranger.get_general_settings().await {
        Err(Error::Unauthorized { .. }) => {}
        Err(Error::RealmMismatch { found, .. }) => return Err(RemoteEnd::OtherRealm(found.to_string())),
        Err(error) => return Err(answer(error)),
        Ok(_) => return Err(RemoteEnd::AnyPassword),
    }
    drop(stranger);
    let mut again = Client::new(&mut *remote, login(&known.password), cnonce).expect_realm(realm.clone());
    match again.get_general_settings().await {
        Ok(_) => seen.wrong_refused = true,
        Err(Error::Unauthorized { .. }) => return Err(RemoteEnd::Unsettled),
        Err(Error::RealmMismatch { found, .. }) => return Err(RemoteEnd::OtherRealm(found.to_string())),
        Err(error) => return Err(answer(error)),
    }
    Ok(())
}

/// Of a request before any login was seen to work.
fn ended(error: Error<RemoteError>) -> RemoteEnd {
    match error {
        Error::Transport(RemoteError::OtherCertificate { found }) => RemoteEnd::OtherCertificate(found),
        Error::Transport(RemoteError::NoCommonTls(why)) => RemoteEnd::NoCommonTls(why),
        Error::Transport(RemoteError::Tls(why) | RemoteError::Signature(why)) => RemoteEnd::Tls(why),
        Error::Transport(error @ RemoteError::TooLong) => RemoteEnd::NotAmt(error.to_string()),
        Error::Transport(RemoteError::Lost(why)) => RemoteEnd::Unreachable(why),
        Error::RealmMismatch { found, .. } => RemoteEnd::OtherRealm(found.to_string()),
        Error::Unauthorized { .. } => RemoteEnd::LoginRefused,
        other => RemoteEnd::NotAmt(chain_of(&other)),
    }
}

/// Of a request after one.
fn answer(error: Error<RemoteError>) -> RemoteEnd {
    match error {
        Error::Transport(RemoteError::OtherCertificate { found }) => RemoteEnd::OtherCertificate(found),
        Error::RealmMismatch { found, .. } => RemoteEnd::OtherRealm(found.to_string()),
        other => RemoteEnd::Answer(chain_of(&other)),
    }
}
