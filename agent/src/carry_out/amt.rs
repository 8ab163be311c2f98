//! The PTHI dialogue with this machine's AMT: one MEI connection, one question after another.

use std::fmt;
use std::time::Duration;

use oob_wsman::mei_clients;
use oob_wsman::pthi::{
    Command, ControlMode, GetCodeVersions, GetControlMode, GetProvisioningState, GetUuid, ProvisioningState,
    PthiError,
};
use zeroize::Zeroizing;

use super::posture;
use crate::detect::amt::{Failure, PthiAnswer, Versions};
use crate::detect::amt_posture::Posture;
use crate::detect::may_have_pthi;
use crate::machine::{Machine, Mei, MeiError};
use crate::probe;

/// The ME answers `not ready` for some seconds after boot; the field's tools ask four times, 4 s apart
/// (reference/amt.md 1.1).
const NOT_READY_TRIES: u32 = 4;
const NOT_READY_PAUSE: Duration = Duration::from_secs(4);
const REPLY: Duration = Duration::from_secs(10);

/// Why the device gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    #[error("{0}")]
    Mei(#[from] MeiError),
    #[error("{0}")]
    Pthi(#[from] PthiError),
}

impl Trouble {
    /// The device answered, and said no. Anything else leaves open what it did.
    pub(super) fn is_answer(&self) -> bool {
        matches!(self, Self::Pthi(PthiError::Status(_)))
    }
}

/// An open connection to the PTHI client.
pub struct Pthi<'m> {
    machine: &'m Machine,
    mei: Mei,
}

impl<'m> Pthi<'m> {
    pub async fn connect(machine: &'m Machine) -> Result<Self, Trouble> {
        Ok(Self { machine, mei: connect(machine, "pthi", mei_clients::PTHI.guid).await? })
    }

    /// Asks once; a question that changes nothing is asked again while the firmware says that it is not ready.
    pub async fn ask<C: Command>(&mut self, command: &C) -> Result<C::Reply, Trouble> {
        let mut tries = if C::MUTATING { 1 } else { NOT_READY_TRIES };
        loop {
            tries -= 1;
            match self.ask_once(command).await {
                Err(Trouble::Pthi(PthiError::Status(status))) if status.is_transient() && tries > 0 => {
                    self.machine.pause(NOT_READY_PAUSE).await;
                }
                answered => return answered,
            }
        }
    }

    /// Asks once, whatever the answer.
    pub(super) async fn ask_once<C: Command>(&mut self, command: &C) -> Result<C::Reply, Trouble> {
        let point = Point { kind: if C::MUTATING { "mutating" } else { "asking" }, what: C::NAME };
        probe::before(&point);
        let request = command.encode();
        tracing::debug!(command = C::NAME, mutating = C::MUTATING, "asking AMT over PTHI");
        tracing::trace!(header = %header(&request), bytes = request.len(), "PTHI request");
        self.mei.send(&request).await?;
        // The reply may hold a password.
        let reply = Zeroizing::new(self.mei.recv(self.machine.deadline(REPLY)).await?);
        probe::after(&point);
        tracing::trace!(header = %header(&reply), bytes = reply.len(), "PTHI reply");
        Ok(command.decode(&reply)?)
    }
}

/// The first 16 bytes, which are framing, command and status, never payload; the rest may be a password.
fn header(message: &[u8]) -> String {
    message.iter().take(16).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

/// Connects to a firmware client, as a point where a run may die.
pub(super) async fn connect(machine: &Machine, name: &'static str, guid: &str) -> Result<Mei, MeiError> {
    let point = Point { kind: "connect", what: name };
    probe::before(&point);
    let mei = machine.mei_connect(guid).await?;
    tracing::debug!(
        client = name,
        max_msg_length = mei.max_msg_length,
        protocol = mei.protocol,
        "connected over MEI"
    );
    probe::after(&point);
    Ok(mei)
}

/// A device call, as the crash points name it.
pub(super) struct Point {
    pub(super) kind: &'static str,
    pub(super) what: &'static str,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "device {} {}", self.kind, self.what)
    }
}

/// Asks what detection wants to know; changes nothing. None where the machine has no MEI at all.
pub async fn ask(machine: &Machine) -> Option<PthiAnswer> {
    if !may_have_pthi(machine) {
        return None;
    }
    let mut survey = match Pthi::connect(machine).await {
        Ok(pthi) => Survey { machine, pthi: Some(pthi), reconnected: false, lost: None },
        Err(Trouble::Mei(error)) => return Some(PthiAnswer::unreachable(&error)),
        Err(Trouble::Pthi(_)) => return None,
    };
    let code_versions = survey.put(GetCodeVersions).await.map(|versions| Versions {
        amt: versions.amt().unwrap_or_default().to_owned(),
        sku: versions.sku().map_or(0, |sku| sku.0),
        build: versions.build().unwrap_or_default().to_owned(),
    });
    let provisioning = survey.put(GetProvisioningState).await.map(|state| match state {
        ProvisioningState::Pre => 0,
        ProvisioningState::In => 1,
        ProvisioningState::Post => 2,
        ProvisioningState::Other(other) => other,
    });
    let control_mode = survey.put(GetControlMode).await.map(|mode| match mode {
        ControlMode::None => 0,
        ControlMode::Client => 1,
        ControlMode::Admin => 2,
        ControlMode::Other(other) => other,
    });
    let uuid = survey.put(GetUuid).await;
    // One that is disabled, or not there, has nothing to tell of how open it is.
    let posture = match &code_versions {
        Ok(versions) if !versions.amt.is_empty() => posture::ask(&mut survey).await,
        Ok(_) => Posture::unasked(&Failure::Other("AMT lists no code versions".into())),
        Err(failure) => Posture::unasked(failure),
    };
    Some(PthiAnswer { code_versions, provisioning, control_mode, uuid, posture })
}

/// The questions of detection: one that gets no proper reply is put once more over a new connection, and after that
/// the device is left alone.
pub(super) struct Survey<'m> {
    machine: &'m Machine,
    pthi: Option<Pthi<'m>>,
    reconnected: bool,
    lost: Option<Failure>,
}

impl Survey<'_> {
    /// Waits for firmware that is not ready.
    async fn put<C: Command>(&mut self, command: C) -> Result<C::Reply, Failure> {
        self.put_patiently(command, true).await
    }

    /// Takes "not ready" for an answer.
    pub(super) async fn put_once<C: Command>(&mut self, command: C) -> Result<C::Reply, Failure> {
        self.put_patiently(command, false).await
    }

    async fn put_patiently<C: Command>(&mut self, command: C, waits: bool) -> Result<C::Reply, Failure> {
        loop {
            let Some(pthi) = &mut self.pthi else {
                return Err(self
                    .lost
                    .clone()
                    .unwrap_or_else(|| Failure::Other("the connection was lost".into())));
            };
            let answered = if waits { pthi.ask(&command).await } else { pthi.ask_once(&command).await };
            let trouble = match answered {
                Ok(reply) => return Ok(reply),
                Err(trouble) if trouble.is_answer() => return Err(failure(trouble)),
                // Of a whole reply only the payload is odd: the next question is not hurt by it.
                Err(trouble @ Trouble::Pthi(PthiError::Malformed { .. })) if !waits => {
                    return Err(failure(trouble));
                }
                Err(trouble) => trouble,
            };
            self.pthi = None; // closed before the next is opened: most clients take one connection
            self.lost = Some(failure(trouble));
            if !self.reconnected {
                self.reconnected = true;
                self.pthi = Pthi::connect(self.machine).await.ok();
            }
        }
    }
}

fn failure(trouble: Trouble) -> Failure {
    match trouble {
        Trouble::Pthi(PthiError::Status(status)) => Failure::Status(status.0),
        Trouble::Mei(error @ MeiError::NoClient { .. }) => Failure::NoClient(error.to_string()),
        other => Failure::Other(other.to_string()),
    }
}
