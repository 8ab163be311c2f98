//! Settings of the AMT that this run activated (reference/amt.md 5.8, 5.10, 5.11): read, changed, put back whole; then
//! read over a login of its own. What the device made of a write is believed from that reading alone.

use oob_policy::{AmtSettings, Consent, Detection, TlsWish, is_mutual_word};
use oob_wsman::Secret;
use oob_wsman::classes::Editable;
use oob_wsman::classes::amt::{GeneralSettings, set_mebx_password};
use oob_wsman::classes::clock::{get_low_accuracy_time_synch, set_high_accuracy_time_synch};
use oob_wsman::classes::redirection::{
    KvmRedirectionSap, OptInService, Redirection, RedirectionService, request_kvm, request_redirection,
};
use oob_wsman::client::Login;
use oob_wsman::pthi::ControlMode;
use serde_json::json;
use time::OffsetDateTime;

use super::addresses::{Addresses, Kept};
use super::amt::Point;
use super::credential::Credential;
use super::failure::{Failure, WsError, described};
use super::lme::Lme;
use super::mutual::{Admitted, Clients};
use super::peer::amt_major;
use super::proof::{Client, cnonce, ha1};
use super::setup::Session;
use super::tls::{Secured, TlsWanted, secure};
use super::wifi::Written;
use super::{Run, addresses, power, self_made, wifi};
use crate::probe;

/// How far AMT's clock may be off after it was set (reference/amt.md 5.8), in seconds.
const CLOCK: u32 = 10;

/// What was written and read back.
#[derive(Default)]
pub(super) struct Applied {
    /// As [`AmtSettings::words`] has them.
    pub(super) settings: Vec<String>,
    /// Escrow file of the MEBx password, which cannot be read back.
    pub(super) mebx_escrow: Option<String>,
    pub(super) tls: Option<Secured>,
    /// None where nothing was written.
    pub(super) addresses: Option<Kept>,
    pub(super) wifi: Option<Written>,
    /// SHA-256 (hex) of the certificate that AMT made for itself, where it is asked for.
    pub(super) network_pin: Option<String>,
}

/// Writes what is wanted, and reads it back.
pub(super) async fn apply(
    run: &mut Run<'_>,
    session: &mut Session<'_>,
    mode: ControlMode,
    wanted: &AmtSettings,
) -> Result<Applied, Failure> {
    let mut applied = write_all(run, session, mode, wanted).await?;
    if applied.tls.is_none() {
        applied.network_pin = self_made::read(run, session).await;
    }
    Ok(applied)
}

async fn write_all(
    run: &mut Run<'_>,
    session: &mut Session<'_>,
    mode: ControlMode,
    wanted: &AmtSettings,
) -> Result<Applied, Failure> {
    let wanted = applicable(mode, wanted);
    if wanted.is_empty() {
        return settle_addresses(run, session).await;
    }
    let (mut applied, before) = write_and_check(run, session, &wanted).await?;
    if let Some(wish) = wanted.tls {
        let clients = wanted.mutual_tls.as_ref().zip(run.named.mutual_ca.as_deref());
        if wanted.mutual_tls.is_some() && clients.is_none() {
            return Err(Failure::unchanged("mutual-tls-ca", "the CA of AMT's clients was not read"));
        }
        let tls = TlsWanted {
            required: wish == TlsWish::Required,
            local: local_tls(run.detection),
            before: before.as_ref(),
            clients: clients.map(|(wish, ca)| Clients { wish, ca }),
        };
        let secured = secure(run, session, &tls).await?;
        if let (Admitted::Wished { beside }, Some(mutual)) = (&secured.admitted, &wanted.mutual_tls) {
            applied.settings.retain(|word| !is_mutual_word(word));
            applied.settings.extend(mutual.words_beside(beside));
        }
        applied.addresses = Some(secured.addresses);
        applied.tls = Some(secured);
    }
    addresses::end(run, before.as_ref())?;
    Ok(applied)
}

/// Nothing is to be written, and a run before this one may have left the wired addresses other than they were.
async fn settle_addresses(run: &mut Run<'_>, session: &mut Session<'_>) -> Result<Applied, Failure> {
    let before = addresses::left_open(run.history, &session.realm);
    if before.is_none() {
        return Ok(Applied::default());
    }
    run.progress.begin("amt: comparing its wired addresses");
    let kept = addresses::keep(&mut log_in(session).await, before.as_ref()).await?;
    addresses::end(run, before.as_ref())?;
    run.progress.end("done");
    Ok(Applied { addresses: Some(kept), ..Applied::default() })
}

/// What can be set in the mode at all.
pub(super) fn applicable(mode: ControlMode, wanted: &AmtSettings) -> AmtSettings {
    match mode {
        ControlMode::Admin => wanted.clone(),
        _ => wanted.in_client_mode(),
    }
}

/// Whether AMT's local ports are to speak TLS too, so that its certificate can be seen served from here. What came
/// before AMT 15 has no cipher in common with this build (reference/amt.md 0.5).
pub(super) fn local_tls(detection: &Detection) -> bool {
    amt_major(detection).is_some_and(|major| major >= 15)
}

async fn write_and_check(
    run: &mut Run<'_>,
    session: &mut Session<'_>,
    wanted: &AmtSettings,
) -> Result<(Applied, Option<Addresses>), Failure> {
    run.progress.begin("amt: writing settings and reading them back");
    let mebx = match wanted.mebx {
        true => {
            let mebx = mebx_password(run, session.open.generation)?;
            session.mebx_escrow = Some(mebx.1.clone());
            Some(mebx)
        }
        false => None,
    };
    let name = run.detection.known("host.name").map(str::to_owned);
    let realm = session.realm.clone();
    let mut writer = log_in(session).await;
    let before = addresses::begin(run, &mut writer, &realm).await?;
    write(&mut writer, wanted, name.as_deref()).await?;
    let wifi = match &wanted.wifi {
        Some(wish) => Some(wifi::write(&mut writer, wish, run.named.wifi_passphrase.as_ref()).await?),
        None => None,
    };
    if let Some(wish) = wanted.power {
        power::write(&mut writer, wish).await?;
    }
    if let Some((password, _)) = &mebx {
        let point = Point { kind: "mutating", what: "AMT_SetupAndConfigurationService.SetMEBxPassword" };
        probe::before(&point);
        let said = writer.invoke(&set_mebx_password(password)).await;
        probe::after(&point);
        said.map_err(|error| refused("mebx", &error))?;
    }
    drop(writer);
    let mut reader = log_in(session).await;
    check(&mut reader, wanted, name.as_deref()).await?;
    if let Some(wish) = &wanted.wifi {
        wifi::check(&mut reader, wish).await?;
    }
    if let Some(wish) = wanted.power {
        power::check(&mut reader, wish).await?;
    }
    // TLS is written after this, so they are looked at after it.
    let addresses = match wanted.tls {
        Some(_) => None,
        None => Some(addresses::keep(&mut reader, before.as_ref()).await?),
    };
    session.login = reader.into_login();
    run.progress.end("done");
    let mebx_escrow = mebx.map(|(_, file)| file);
    let applied = Applied { settings: wanted.words(), mebx_escrow, addresses, wifi, ..Applied::default() };
    Ok((applied, before))
}

/// A login of its own: over a new channel, with a fresh nonce.
pub(super) async fn log_in<'l, 'm>(session: &'l mut Session<'m>) -> Client<'l, 'm> {
    session.login = None;
    session.lme.start_over().await;
    go_on(session)
}

/// The login that the session has, or one of its own.
pub(super) fn go_on<'l, 'm>(session: &'l mut Session<'m>) -> Client<'l, 'm> {
    let earlier = session.login.take();
    let lme: &'l mut Lme<'m> = &mut session.lme;
    let login = Login::Ha1(ha1(&session.realm, &session.password));
    Client::new(lme, login, cnonce).expect_realm(session.realm.clone()).resume(earlier)
}

async fn write(admin: &mut Client<'_, '_>, wanted: &AmtSettings, name: Option<&str>) -> Result<(), Failure> {
    // A certificate under a wrong clock is not valid yet.
    if wanted.clock || wanted.tls.is_some() {
        let ta0 =
            admin.invoke(&get_low_accuracy_time_synch()).await.map_err(|error| refused("clock", &error))?;
        let now = seconds()?;
        let set = set_high_accuracy_time_synch(ta0, now, now);
        mutating("clock", admin.invoke(&set)).await?;
    }
    if let (true, Some(name)) = (wanted.hostname, name) {
        let mut general = edit::<GeneralSettings>(admin, "hostname").await?;
        if general.set("HostName", name) {
            mutating("hostname", admin.put(&general)).await?;
        }
    }
    if is_redirection(wanted) {
        let mut service = edit::<RedirectionService>(admin, "redirection").await?;
        let state = redirection(wanted, service.enabled_state);
        if let Some(state) = state {
            if service.enabled_state != Some(state.state()) {
                mutating("redirection", admin.invoke(&request_redirection(state))).await?;
            }
            service.set_number("EnabledState", state.state());
        }
        let listens = listens(admin, wanted, state, service.listener_enabled).await?;
        if service.listener_enabled != Some(listens) {
            service.set_bool("ListenerEnabled", listens);
            mutating("redirection", admin.put(&service)).await?;
        }
    }
    if let Some(on) = wanted.kvm {
        let said = marked("kvm", admin.invoke(&request_kvm(on))).await;
        said.map(drop).or_else(|error| absent_is_off(on, "kvm", &error))?;
    }
    if let Some(consent) = wanted.consent {
        let mut service = edit::<OptInService>(admin, "consent").await?;
        if service.set_number("OptInRequired", required(consent)) {
            if service.can_modify_opt_in_policy != Some(1) {
                return Err(Failure::impossible(
                    "consent-fixed",
                    "AMT does not let its consent policy be changed (CanModifyOptInPolicy)",
                ));
            }
            mutating("consent", admin.put(&service)).await?;
        }
    }
    Ok(())
}

async fn check(admin: &mut Client<'_, '_>, wanted: &AmtSettings, name: Option<&str>) -> Result<(), Failure> {
    let differs = |what: &str, wanted: &str, seen: String| {
        Err(Failure::unchanged(
            "setting-not-kept",
            format!("AMT accepted `{what} = {wanted}`, and reads {} afterwards", oob_policy::shown(&seen)),
        ))
    };
    if wanted.clock || wanted.tls.is_some() {
        let seen =
            admin.invoke(&get_low_accuracy_time_synch()).await.map_err(|error| refused("clock", &error))?;
        if seconds()?.abs_diff(seen) > CLOCK {
            return differs("clock", "true", format!("{seen}"));
        }
    }
    if let (true, Some(name)) = (wanted.hostname, name) {
        let general = admin.get::<GeneralSettings>().await.map_err(|error| refused("hostname", &error))?;
        if general.host_name.as_deref() != Some(name) {
            return differs("hostname", name, format!("{:?}", general.host_name));
        }
    }
    if is_redirection(wanted) {
        let service =
            admin.get::<RedirectionService>().await.map_err(|error| refused("redirection", &error))?;
        let state = redirection(wanted, service.enabled_state);
        if let Some(state) = state
            && service.enabled_state != Some(state.state())
        {
            return differs("sol/ider", &state.state().to_string(), format!("{:?}", service.enabled_state));
        }
        let listens = listens(admin, wanted, state, service.listener_enabled).await?;
        if service.listener_enabled != Some(listens) {
            let seen = format!("{:?}", service.listener_enabled);
            return differs("redirection listener", &listens.to_string(), seen);
        }
    }
    if let Some(on) = wanted.kvm {
        match admin.get::<KvmRedirectionSap>().await {
            Ok(seen) if seen.is_enabled() != on => {
                return differs("kvm", &on.to_string(), format!("{:?}", seen.enabled_state));
            }
            Ok(_) => {}
            Err(error) => absent_is_off(on, "kvm", &error)?,
        }
    }
    if let Some(consent) = wanted.consent {
        let service = admin.get::<OptInService>().await.map_err(|error| refused("consent", &error))?;
        if service.opt_in_required != Some(required(consent)) {
            return differs("consent", consent.word(), format!("{:?}", service.opt_in_required));
        }
    }
    Ok(())
}

async fn edit<C: oob_wsman::classes::Class>(
    admin: &mut Client<'_, '_>,
    what: &'static str,
) -> Result<Editable<C>, Failure> {
    admin.get_to_edit::<C>(&[]).await.map_err(|error| refused(what, &error))
}

pub(super) async fn mutating<T>(
    what: &'static str,
    call: impl Future<Output = Result<T, WsError>>,
) -> Result<T, Failure> {
    marked(what, call).await.map_err(|error| refused(what, &error))
}

/// A call that changes the device, as a point where a run may die.
pub(super) async fn marked<T>(
    what: &'static str,
    call: impl Future<Output = Result<T, WsError>>,
) -> Result<T, WsError> {
    let point = Point { kind: "mutating", what };
    probe::before(&point);
    let said = call.await;
    probe::after(&point);
    said
}

/// What a device does not have is off: Standard Manageability has no KVM (reference/amt.md 5.11).
fn absent_is_off(wanted: bool, what: &str, error: &WsError) -> Result<(), Failure> {
    if !wanted && error.is_absent() { Ok(()) } else { Err(refused(what, error)) }
}

pub(super) fn refused(what: &str, error: &WsError) -> Failure {
    if error.is_absent() {
        return Failure::impossible(
            "setting-absent",
            format!("this AMT has no {what} setting: {}", described(error)),
        );
    }
    Failure::unchanged("setting-refused", format!("writing AMT's {what} setting: {}", described(error)))
}

/// Whether the redirection service has a part in what is wanted. KVM that is wanted off leaves it alone.
fn is_redirection(wanted: &AmtSettings) -> bool {
    wanted.sol.is_some() || wanted.ider.is_some() || wanted.kvm == Some(true)
}

/// Whether AMT is to listen for redirection: for SOL, for IDER, and for KVM, whose own switch opens no port
/// (reference/amt.md 5.15). `state` is what [`redirection`] made of the wishes, `present` whether it listens now. A listener
/// is not taken from KVM that nobody mentions.
async fn listens(
    admin: &mut Client<'_, '_>,
    wanted: &AmtSettings,
    state: Option<Redirection>,
    present: Option<bool>,
) -> Result<bool, Failure> {
    if wanted.kvm == Some(true) || state != Some(Redirection::None) {
        return Ok(true);
    }
    if wanted.kvm.is_some() || present != Some(true) {
        return Ok(false);
    }
    match admin.get::<KvmRedirectionSap>().await {
        Ok(kvm) => Ok(kvm.is_enabled()),
        Err(error) => absent_is_off(false, "kvm", &error).map(|()| false),
    }
}

/// The state that the wishes make of the one that is there; none where they mention neither SOL nor IDER.
fn redirection(wanted: &AmtSettings, present: Option<u32>) -> Option<Redirection> {
    if wanted.sol.is_none() && wanted.ider.is_none() {
        return None;
    }
    let now = |state: Redirection| {
        present == Some(state.state()) || present == Some(Redirection::SolAndIder.state())
    };
    let sol = wanted.sol.unwrap_or(now(Redirection::Sol));
    let ider = wanted.ider.unwrap_or(now(Redirection::Ider));
    Some(match (sol, ider) {
        (false, false) => Redirection::None,
        (true, false) => Redirection::Sol,
        (false, true) => Redirection::Ider,
        (true, true) => Redirection::SolAndIder,
    })
}

/// `OptInRequired` of IPS_OptInService.
fn required(consent: Consent) -> u32 {
    match consent {
        Consent::None => 0,
        Consent::Kvm => 1,
        Consent::All => u32::MAX,
    }
}

fn seconds() -> Result<u32, Failure> {
    u32::try_from(OffsetDateTime::now_utc().unix_timestamp()).map_err(|_| {
        Failure::unchanged(
            "clock-impossible",
            "this machine's clock shows a year that AMT cannot have; set it",
        )
    })
}

/// A password for MEBx, escrowed before the device hears of it, and the name of its file. It cannot be read back.
pub(super) fn mebx_password(run: &mut Run<'_>, generation: u32) -> Result<(Secret, String), Failure> {
    let credential = Credential {
        channel: "amt-mebx",
        generation,
        username: "",
        endpoint: "MEBx, at the keyboard",
        notes: "the password of the firmware's own setup menu (MEBx); AMT took it, and gives no way to read it back",
    };
    let (password, file) = credential.escrow(run, json!({}))?;
    Ok((Secret::new(password.expose().to_owned()), file))
}
