//! A new password on its way into the escrow. Nothing leaves here before it is sealed to all recipients, on disk, and
//! recorded.

use oob_policy::{Rule, TlsWish, amt_reach};
use oob_wsman::digest::Realm;
use serde_json::{Value, json};

use super::Run;
use super::failure::Failure;
use super::peer::amt_version;
use crate::escrow::{self, Plain};
use crate::secrets::Password;
use crate::state::{Kind, OrgState, wall_time};

/// What a password is for.
pub(super) struct Credential<'a> {
    /// `amt`, `amt-mebx`.
    pub(super) channel: &'a str,
    pub(super) generation: u32,
    pub(super) username: &'a str,
    /// Where it is used, such as `16992/http-digest`.
    pub(super) endpoint: &'a str,
    /// How to use and revoke it, for whoever opens the file.
    pub(super) notes: &'a str,
}

impl Credential<'_> {
    /// Makes the password and sees it sealed and durable. No device has heard of it before this returns. `more` goes
    /// into the event besides. Gives the password and the name of the escrow file.
    pub(super) fn escrow(&self, run: &mut Run<'_>, more: Value) -> Result<(Password, String), Failure> {
        let password = Password::generate_for_amt()
            .map_err(|error| refuse("no-random-bytes", &format!("making a password: {error}")))?;
        let file = self.seal(run, &password, more)?;
        Ok((password, file))
    }

    /// The same with a password that exists already, such as one that a login has shown to be the device's.
    pub(super) fn seal(
        &self,
        run: &mut Run<'_>,
        password: &Password,
        more: Value,
    ) -> Result<String, Failure> {
        let not_stored = |error| Failure::not_stored(&error);
        let ids = run.chain.run().clone();
        let recipients: Vec<String> =
            run.policy.recipients.iter().map(|recipient| recipient.key.clone()).collect();
        let plain = Plain {
            device_id: &ids.device_id,
            aliases: &run.aliases,
            channel: self.channel,
            generation: self.generation,
            run_id: &ids.run_id,
            created: &wall_time(),
            username: self.username,
            password,
            endpoint: self.endpoint,
            policy_sha256: &run.policy.sha256,
            notes: self.notes,
        };
        let sealed = escrow::seal(&plain, &recipients)
            .map_err(|error| refuse("escrow-not-sealed", &format!("sealing the password: {error}")))?;
        run.store.put_escrow(&ids.device_id, &sealed).map_err(not_stored)?;
        let file = sealed.name.to_string();
        let labels: Vec<String> = run.policy.recipients.iter().map(oob_policy::Recipient::label).collect();
        let mut body = json!({
            "channel": self.channel, "generation": self.generation, "escrow": file, "sha256": sealed.sha256,
            "recipients": labels,
        });
        if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
            body.extend(more);
        }
        run.chain.record(run.store, Kind::Escrowed, body).map_err(not_stored)?;
        Ok(file)
    }
}

/// Where other machines will use a password of AMT, as far as that is known when it is sealed: the capability record tells
/// what was proven after. TLS is what the rule asks for, or what a proof of this AMT holds.
pub(super) fn endpoint(run: &Run<'_>, realm: &Realm) -> &'static str {
    let rule = run.rule.and_then(|id| run.policy.rules.iter().find(|rule| rule.id == id));
    let held = run.history.proof_of(realm.as_str());
    let asked = rule.map(Rule::amt).and_then(|wishes| wishes.settings.tls);
    let tls = asked.or_else(|| held.and_then(|ours| TlsWish::among(&ours.settings)));
    amt_reach(amt_version(run.detection), tls).last().copied().unwrap_or("16992/http-digest")
}

fn refuse(cause: &'static str, text: &str) -> Failure {
    let text = format!("{text}; no password was sent to the device");
    Failure { exit: oob_policy::Exit::EscrowNotDurable, cause, text }
}
