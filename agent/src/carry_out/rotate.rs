//! A new password in place of one that works: sealed first, sent once, and then AMT itself is asked which of the two it
//! takes. Its answer alone is not believed.

use std::time::Duration;

use oob_policy::OpenChange;
use oob_wsman::client::Login;
use oob_wsman::digest::Realm;
use serde_json::json;

use super::Run;
use super::amt::Point;
use super::credential::{Credential, endpoint};
use super::failure::{Failure, WsError, answered, described};
use super::lme::Lme;
use super::proof::{ADMIN, AGAIN, Client, SETTLE, cnonce, ha1, read_realm};
use crate::probe;
use crate::secrets::Password;
use crate::state::{Answer, JournalEntry, fold_open};

const CALL: &str = "AMT_AuthorizationService.SetAdminAclEntryEx";
/// Before the first login after a change (reference/amt.md 0.7).
const FIRST: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    New,
    Old,
}

/// Gives AMT a new password of this generation. `old` was just seen to work.
pub(super) async fn change_password<'m>(
    run: &mut Run<'m>,
    lme: &mut Lme<'m>,
    realm: &Realm,
    old: &Password,
    generation: u32,
) -> Result<(Password, OpenChange), Failure> {
    run.progress.begin("amt: escrowing a new admin password");
    let (new, open) = escrow(run, realm, generation)?;
    run.progress.end("done");

    run.progress.begin("amt: setting the new admin password");
    let sending = JournalEntry::Sending { call: CALL.into() };
    run.journal.append(sending).map_err(|error| Failure::not_stored(&error))?;
    lme.start_over().await;
    let mut admin = Client::new(&mut *lme, Login::Ha1(ha1(realm, old)), cnonce).expect_realm(realm.clone());
    let point = Point { kind: "mutating", what: CALL };
    probe::before(&point);
    let said = admin.set_admin_password(&ha1(realm, &new)).await;
    probe::after(&point);
    drop(admin);
    let answer = answered(&said);
    // Best effort: the journal already says that the call was sent.
    let noted = run.journal.append(JournalEntry::Sent { call: CALL.into(), answer });
    let live = which_works(run, lme, realm, old, &new, answer).await;
    // Where AMT said no and does not take the old one all the same, its no was none.
    if answer == Answer::Refused && !matches!(live, Ok(Which::Old)) {
        let _ = run.journal.append(JournalEntry::Sending { call: CALL.into() });
    }
    let why = said.err().map_or_else(|| "it answered success".to_owned(), |error| described(&error));
    match live {
        Ok(Which::New) => {
            run.progress.end("done");
            Ok((new, open))
        }
        Ok(Which::Old) => {
            // What an earlier run left open stays so. What is not written now, the next run finds out.
            if noted.is_ok() && fold_open(run.journal.entries()).is_some_and(|open| open.earlier.is_empty()) {
                let _ = run.journal.append(JournalEntry::Undone { generation });
            }
            Err(Failure::unchanged(
                "password-not-changed",
                format!(
                    "setting a new admin password: {why}; the password before still logs in, so AMT is as it was; run again"
                ),
            ))
        }
        Err(unknown) => Err(Failure::indeterminate(format!(
            "setting a new admin password: {why}; {unknown}, so AMT may have the old one or the new one; open the newest \
                 escrow file and run again with `--known-credential FILE`"
        ))),
    }
}

fn escrow(run: &mut Run<'_>, realm: &Realm, generation: u32) -> Result<(Password, OpenChange), Failure> {
    let credential = Credential {
        channel: "amt",
        generation,
        username: ADMIN,
        endpoint: endpoint(run, realm),
        notes: "log in as admin with HTTP digest; it replaces the password before, which is the one where this fails",
    };
    let (password, file) = credential.escrow(run, json!({ "realm": realm.as_str() }))?;
    let begin = JournalEntry::Begin {
        run_id: run.chain.run().run_id.clone(),
        generation,
        realm: realm.as_str().to_owned(),
        escrow: file.clone(),
        rotation: true,
    };
    run.journal.append(begin).map_err(|error| Failure::not_stored(&error))?;
    let open = OpenChange {
        generation,
        realm: realm.as_str().to_owned(),
        escrow: file,
        call_sent: true,
        tls_pin: None,
        rotation: true,
        run_id: run.chain.run().run_id.clone(),
        earlier: Vec::new(),
    };
    Ok((password, open))
}

/// Two logins at most are refused, since the third locks the account. After a `yes` both are of the new password, which
/// AMT may call wrong for some seconds.
async fn which_works<'m>(
    run: &Run<'m>,
    lme: &mut Lme<'m>,
    realm: &Realm,
    old: &Password,
    new: &Password,
    answer: Answer,
) -> Result<Which, String> {
    let order = match answer {
        Answer::Accepted => [Which::New, Which::New],
        Answer::Unknown => [Which::New, Which::Old],
        Answer::Refused => [Which::Old, Which::New],
    };
    let mut lost = 0;
    for (index, which) in order.into_iter().enumerate() {
        run.machine.pause(if index == 0 { FIRST } else { SETTLE }).await;
        let password = if which == Which::New { new } else { old };
        loop {
            match read_realm(lme, password, realm).await {
                Ok(named) if named.as_deref() == Some(realm.as_str()) => return Ok(which),
                Ok(_) => return Err("AMT names another login realm than the one it logs in with".to_owned()),
                Err(WsError::Unauthorized { .. }) => break,
                Err(error) if lost > 0 || matches!(error, WsError::RealmMismatch { .. }) => {
                    return Err(described(&error));
                }
                // A lost connection says nothing about passwords.
                Err(_) => {
                    lost += 1;
                    run.machine.pause(AGAIN).await;
                }
            }
        }
    }
    Err("AMT took neither of them".to_owned())
}
