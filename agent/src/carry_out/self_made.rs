//! The certificate that AMT made for itself and serves other machines, where its local ports speak no TLS to show it: 16.1 to 18
//! (reference/amt.md 4.5). It is read over a login of ours, so that another host has something to tell this AMT by.

use oob_policy::serves_its_own;
use oob_wsman::classes::certificates::PublicKeyCertificate;
use oob_wsman::classes::tls::TlsCredentialContext;
use oob_wsman::digest::Realm;
use oob_wsman::x509::certificate_pin;

use super::Run;
use super::failure::{WsError, described};
use super::peer::amt_version;
use super::proof::Client;
use super::settings::go_on;
use super::setup::Session;
use crate::state::hex;

/// Whether AMT of this realm has one, and no proof tells which.
pub(super) fn is_unknown(run: &Run<'_>, realm: &Realm) -> bool {
    let mut proofs = run.history.amt.iter().chain(&run.history.amt_older);
    serves_its_own(amt_version(run.detection))
        && !proofs.any(|ours| ours.realm == realm.as_str() && ours.served_pin().is_some())
}

/// Its SHA-256, as hex. Whatever hinders it costs this certificate alone: a proof without it says so.
pub(super) async fn read(run: &mut Run<'_>, session: &mut Session<'_>) -> Option<String> {
    if !is_unknown(run, &session.realm) {
        return None;
    }
    run.progress.begin("amt: reading which certificate it serves other machines");
    let mut admin = go_on(session);
    let read = served(&mut admin).await;
    session.login = admin.into_login();
    run.progress.end(if matches!(read, Ok(Some(_))) { "done" } else { "not known" });
    read.unwrap_or_else(|error| {
        tracing::warn!(error = %described(&error), "AMT's own certificate was not read");
        None
    })
}

/// What AMT says that it serves; none where it names none, or several.
async fn served(admin: &mut Client<'_, '_>) -> Result<Option<String>, WsError> {
    let contexts = admin.enumerate::<TlsCredentialContext>().await?;
    let [context] = contexts.as_slice() else { return Ok(None) };
    let Some(id) = context.certificate() else { return Ok(None) };
    let certificate = admin.get_with::<PublicKeyCertificate>(&[("InstanceID", id)]).await?;
    Ok(certificate.der().map(|der| hex(&certificate_pin(&der))))
}
