//! Activation of AMT 19 and newer (reference/amt.md 5.2, 5.5), which speaks TLS alone and is in provisioning until it is
//! told to commit. Until then `StopConfiguration`, or `Unprovision` in client control mode, takes everything back.
//!
//! The firmware restarts its ports while it answers the commit, so that answer is mostly lost, and means nothing either
//! way: control mode and provisioning state, read over PTHI, decide.

use std::time::Duration;

use oob_wsman::Secret;
use oob_wsman::classes::amt::set_mebx_password;
use oob_wsman::client::Login;
use oob_wsman::digest::Realm;
use oob_wsman::pthi::{Command, ControlMode, LeafHash, ProvisioningState, StartConfigurationHBased};

use super::Run;
use super::acm::Announced;
use super::amt::{Pthi, Trouble};
use super::failure::{Failure, WsError, answered, described};
use super::lme::{Lme, LmeError};
use super::ours::{ASK_EVERY, look};
use super::peer::{Die, Pin, quirks};
use super::proof::{ADMIN, Client, SETTLE, cnonce, ha1};
use super::settings::{marked, mutating};
use crate::error::chain_of;
use crate::secrets::Password;
use crate::state::{Answer, JournalEntry, StateError, hex};

/// How long the ports may be away, and the state may take to show (reference/amt.md 3.3, 5.9).
const RESTART: Duration = Duration::from_secs(90);
/// How long they may be away when a configuration has begun.
const ARMED: Duration = Duration::from_secs(30);

const COMMIT: &str = "AMT_SetupAndConfigurationService.CommitChanges";

/// What was seen of AMT while it was activated over TLS, for its proof.
pub(super) struct OverTls {
    /// The certificate that it shows since.
    pub(super) pin: Pin,
    /// What was seen, and by which rules.
    pub(super) evidence: String,
    /// Whose root the on-die chain ended at.
    pub(super) root: &'static str,
    /// Why the platform's id was not compared.
    pub(super) unbound: Option<String>,
    pub(super) quirks: Vec<String>,
}

/// The way to AMT while it is being activated.
pub(super) struct Way<'w, 'm> {
    pub(super) pthi: &'w mut Pthi<'m>,
    pub(super) lme: &'w mut Lme<'m>,
    pub(super) die: &'w Die,
}

/// After `Setup`: the new admin commits. Whatever fails here is to be taken back.
pub(super) async fn commit_client<'m>(
    run: &mut Run<'m>,
    way: &mut Way<'_, 'm>,
    password: &Password,
    realm: &Realm,
) -> Result<OverTls, Failure> {
    run.progress.begin("amt: committing client control mode");
    way.lme.trust(way.die.self_made(None)).await;
    let admin = logged_in(run, way.lme, password, realm).await?;
    commit(run, way.pthi, admin, ControlMode::Client).await?;
    let seen = come_back(run, way, false).await?;
    run.progress.end("done");
    Ok(seen)
}

/// Secure host based configuration: AMT is told which certificate will come and tells its own, then the one who shows it
/// gives the admin and MEBx their passwords and commits. `realm` is the one that AMT named before. Gives the one that it
/// names now. Whatever fails here is to be taken back, unless AMT refused the beginning.
pub(super) async fn enter_admin<'m>(
    run: &mut Run<'m>,
    way: &mut Way<'_, 'm>,
    announced: &Announced,
    (password, mebx): (&Password, &Secret),
    realm: &Realm,
) -> Result<(Realm, OverTls), Entering> {
    run.progress.begin("amt: announcing the provisioning certificate");
    let leaf = announce(run, way.pthi, announced).await?;
    run.progress.end("done");

    run.progress.begin("amt: giving passwords over mutual TLS, and committing admin control mode");
    way.lme.trust(way.die.armed(&leaf, announced.ours.clone())).await;
    let realm = configure(run, way, password, mebx, realm).await.map_err(Entering::Begun)?;
    let seen = come_back(run, way, true).await.map_err(Entering::Committed)?;
    run.progress.end("done");
    Ok((realm, seen))
}

/// How far it came.
pub(super) enum Entering {
    /// AMT refused, and shows that nothing has begun.
    Refused(Failure),
    /// Something has begun that is not committed.
    Begun(Failure),
    /// It is committed.
    Committed(Failure),
}

/// PTHI 0x8B, once. AMT's leaf is what TLS must show next.
async fn announce<'m>(
    run: &mut Run<'m>,
    pthi: &mut Pthi<'m>,
    announced: &Announced,
) -> Result<LeafHash, Entering> {
    let call = StartConfigurationHBased::NAME;
    run.journal
        .append(JournalEntry::Sending { call: call.into() })
        .map_err(|error| Entering::Refused(Failure::not_stored(&error)))?;
    let said = pthi.ask_once(&StartConfigurationHBased { leaf: announced.leaf }).await;
    let answer = match &said {
        Ok(_) => Answer::Accepted,
        Err(trouble) if trouble.is_answer() => Answer::Refused,
        Err(_) => Answer::Unknown,
    };
    // Best effort: the journal already says that the call was sent.
    let _ = run.journal.append(JournalEntry::Sent { call: call.into(), answer });
    let trouble = match said {
        Ok(leaf) => return Ok(leaf),
        Err(trouble) => trouble,
    };
    let why = format!("announcing the provisioning certificate ({call}): {trouble}");
    let unused = matches!(look(pthi, run).await, Ok((ControlMode::None, ProvisioningState::Pre)));
    if answer == Answer::Refused && unused {
        let text = format!("{why}; AMT is still unprovisioned, so nothing changed{}", announced.hint());
        return Err(Entering::Refused(Failure::unchanged("setup-refused", text)));
    }
    Err(Entering::Begun(Failure::unchanged("setup-refused", why)))
}

/// As the one whose certificate was announced.
async fn configure<'m>(
    run: &mut Run<'m>,
    way: &mut Way<'_, 'm>,
    password: &Password,
    mebx: &Secret,
    before: &Realm,
) -> Result<Realm, Failure> {
    reach(run, way.lme, ARMED).await?;
    let login =
        Login::Password { user: ADMIN.to_owned(), password: Secret::new(password.expose().to_owned()) };
    let mut admin = Client::new(&mut *way.lme, login, cnonce).known_by_way();
    let general = admin.get_general_settings().await?;
    let named = general.digest_realm.as_deref().and_then(Realm::new);
    let realm = named.filter(|named| admin.realm().is_none_or(|challenged| challenged == named)).ok_or_else(|| {
        Failure::unchanged(
            "realm-mismatch",
            "AMT's login realm is not the DigestRealm of its general settings; a password made for one would not work for \
             the other",
        )
    })?;
    if realm != *before {
        // This very AMT, by its leaf, names another one since: a later run must know it as ours all the same.
        let noted = run.journal.append(JournalEntry::Realm { realm: realm.as_str().to_owned() });
        noted.map_err(|error| unwritten(&error, "AMT was not given a password"))?;
    }
    let said = marked("SetAdminAclEntryEx", admin.set_admin_password(&ha1(&realm, password))).await;
    said.map_err(|error| {
        Failure::unchanged("setup-refused", format!("setting the admin's password: {}", described(&error)))
    })?;
    mutating("mebx", admin.invoke(&set_mebx_password(mebx))).await?;
    commit(run, way.pthi, admin, ControlMode::Admin).await?;
    Ok(realm)
}

/// A client that is logged in, so that the call that comes next is not the one to find out. Right after activation AMT
/// may call the right password wrong for some seconds (reference/amt.md 0.7).
async fn logged_in<'l, 'm>(
    run: &Run<'m>,
    lme: &'l mut Lme<'m>,
    password: &Password,
    realm: &Realm,
) -> Result<Client<'l, 'm>, Failure> {
    reach(run, lme, ARMED).await?;
    let login = || Login::Ha1(ha1(realm, password));
    let mut first = Client::new(lme, login(), cnonce).expect_realm(realm.clone());
    match first.get_general_settings().await {
        Ok(_) => return Ok(first),
        Err(WsError::Unauthorized { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let lme = first.into_transport();
    run.machine.pause(SETTLE).await;
    let mut second = Client::new(lme, login(), cnonce).expect_realm(realm.clone());
    second.get_general_settings().await?;
    Ok(second)
}

fn unwritten(error: &StateError, so: &str) -> Failure {
    Failure { text: format!("writing the journal: {}; {so}", chain_of(error)), ..Failure::not_stored(error) }
}

/// Sends the commit once, and watches AMT until it shows that it took it, or did not.
async fn commit<'m>(
    run: &mut Run<'m>,
    pthi: &mut Pthi<'m>,
    mut admin: Client<'_, 'm>,
    mode: ControlMode,
) -> Result<(), Failure> {
    run.journal
        .append(JournalEntry::Sending { call: COMMIT.into() })
        .map_err(|error| unwritten(&error, "what AMT was given was not committed"))?;
    let said = marked(COMMIT, admin.commit_changes()).await;
    drop(admin);
    let answer = answered(&said);
    // Best effort: the journal already says that the call was sent.
    let _ = run.journal.append(JournalEntry::Sent { call: COMMIT.into(), answer });
    let until = run.machine.until(RESTART);
    loop {
        let seen = look(pthi, run).await;
        match &seen {
            Ok((seen, ProvisioningState::Post)) if *seen == mode => return Ok(()),
            Ok(_) if answer == Answer::Refused => break,
            Ok(_) | Err(_) if !until.is_over() => run.machine.pause(ASK_EVERY).await,
            Ok((mode, state)) => {
                let text = format!("CommitChanges left AMT in control mode {mode:?}, state {state:?}");
                return Err(Failure::unchanged("not-committed", text));
            }
            Err(trouble) => return Err(unknown(trouble)),
        }
    }
    let why = said.err().map_or_else(String::new, |error| described(&error));
    Err(Failure::unchanged("not-committed", format!("committing: {why}")))
}

fn unknown(trouble: &Trouble) -> Failure {
    Failure::indeterminate(format!(
        "AMT cannot be asked what became of {COMMIT} ({trouble}); escrow holds the candidate password, and a next run goes \
         on from here"
    ))
}

/// After the commit: the ports are there again, and what AMT shows now is what it is held to from here on. It is one
/// certificate that it made itself, so what vouches for it is the way to it, and that it came by our own commit.
async fn come_back<'m>(run: &mut Run<'m>, way: &mut Way<'_, 'm>, leaf: bool) -> Result<OverTls, Failure> {
    way.lme.trust(way.die.self_made(None)).await;
    reach(run, way.lme, RESTART).await?;
    let pin = way.lme.pin().ok_or_else(|| {
        Failure::unchanged(
            "cleartext",
            "AMT offers cleartext on its local ports after the commit, and it should not",
        )
    })?;
    run.journal
        .append(JournalEntry::Certificate { sha256: hex(&pin) })
        .map_err(|error| Failure::not_recorded("AMT committed", &error))?;
    way.lme.hold(pin);
    Ok(OverTls {
        pin,
        evidence: way.die.evidence(leaf),
        root: way.die.root,
        unbound: way.die.unbound.clone(),
        quirks: quirks(run),
    })
}

/// Until the port answers with whom it must be. One that answers and is another is not waited for.
async fn reach<'m>(run: &Run<'m>, lme: &mut Lme<'m>, patience: Duration) -> Result<(), Failure> {
    let until = run.machine.until(patience);
    loop {
        match lme.reach().await {
            Ok(()) => return Ok(()),
            Err(error @ LmeError::Stranger(_)) => return Err(error.into()),
            Err(error) if until.is_over() => return Err(error.into()),
            Err(_) => run.machine.pause(ASK_EVERY).await,
        }
    }
}
