//! Clients of AMT's network port must show a certificate (reference/amt.md 5.9). The local ports ask for none: whoever is
//! on the machine is let in by password, so that a later run is not locked out.

use oob_policy::MutualWish;
use oob_wsman::classes::Editable;
use oob_wsman::classes::certificates::{PublicKeyCertificate, add_trusted_root_certificate};
use oob_wsman::classes::tls::TlsSettingData;

use super::failure::Failure;
use super::proof::Client;
use super::settings::{marked, refused};

const WHAT: &str = "trusted root";

/// What clients must have.
#[derive(Clone, Copy)]
pub(super) struct Clients<'a> {
    pub(super) wish: &'a MutualWish,
    /// The CA's certificate, DER.
    pub(super) ca: &'a [u8],
}

/// Stores the CA's certificate. One that is there already is as good.
pub(super) async fn trust(admin: &mut Client<'_, '_>, clients: Clients<'_>) -> Result<(), Failure> {
    match marked("AddTrustedRootCertificate", admin.invoke(&add_trusted_root_certificate(clients.ca))).await {
        Ok(_) => Ok(()),
        Err(error) if error.already_exists() => Ok(()),
        Err(error) => Err(refused(WHAT, &error)),
    }
}

/// Into the settings of one side, before they are put.
pub(super) fn demand(settings: &mut Editable<TlsSettingData>, clients: Option<Clients<'_>>) {
    settings.set_bool("MutualAuthentication", clients.is_some());
    // Names stand beside the demand only, or firmware refuses the whole.
    let names = clients.map_or(&[][..], |clients| &clients.wish.names);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    settings.set_all("TrustedCN", &names);
}

/// Whether what was read back is what was demanded.
pub(super) fn is_demanded(seen: &TlsSettingData, clients: Option<Clients<'_>>) -> bool {
    let Some(clients) = clients else { return seen.mutual_authentication != Some(true) };
    let sorted = |names: &[String]| {
        let mut names = names.to_vec();
        names.sort_unstable();
        names
    };
    seen.mutual_authentication == Some(true) && sorted(&seen.trusted_cn) == sorted(&clients.wish.names)
}

/// Whether AMT has the CA's certificate as a root. A demand without it would let nobody in.
pub(super) async fn is_trusted(admin: &mut Client<'_, '_>, clients: Clients<'_>) -> Result<bool, Failure> {
    let held = admin.enumerate::<PublicKeyCertificate>().await.map_err(|error| refused(WHAT, &error))?;
    let is_it = |it: &PublicKeyCertificate| {
        it.trusted_root_certificate == Some(true) && it.der().as_deref() == Some(clients.ca)
    };
    Ok(held.iter().any(is_it))
}
