//! Two words with the firmware over MHC, the manageability commands on the watchdog's client: is AMT on, and switch it
//! off or on (reference/amt.md 2.3). One connection a word: the client takes one peer at a time.

use std::time::Duration;

use oob_wsman::mei_clients;
use oob_wsman::mhc::{
    AmtSwitch, IS_CHANGE_TO_AMT_ENABLED, SET_AMT_DISABLED, SET_AMT_ENABLED, SwitchError,
    decode_is_change_to_amt_enabled, decode_set_amt_operational_state,
};

use super::amt::{Point, connect};
use crate::machine::{Machine, MeiError};
use crate::probe;

const REPLY: Duration = Duration::from_secs(10);

/// Whether AMT is switched on, and whether the host may change that.
///
/// # Errors
/// A sentence: nothing was changed.
pub(super) async fn state(machine: &Machine) -> Result<AmtSwitch, String> {
    let point = Point { kind: "asking", what: "IsChangeToAMTEnabled" };
    let reply =
        exchange(machine, &point, &IS_CHANGE_TO_AMT_ENABLED).await.map_err(|error| error.to_string())?;
    decode_is_change_to_amt_enabled(&reply).map_err(|error| error.to_string())
}

/// Whether AMT is on, as the firmware says; none where it does not tell.
pub async fn amt_enabled(machine: &Machine) -> Option<bool> {
    state(machine).await.ok()?.amt_enabled
}

/// Why the firmware did not say that it switched AMT.
pub(super) enum NotSwitched {
    /// It said no.
    Refused(String),
    /// Nothing, or nothing that tells.
    Unknown(String),
}

/// Tells the firmware to switch AMT off, once.
pub(super) async fn switch_off(machine: &Machine) -> Result<(), NotSwitched> {
    switch(machine, &SET_AMT_DISABLED).await
}

/// Tells the firmware to switch AMT on, once.
pub(super) async fn switch_on(machine: &Machine) -> Result<(), NotSwitched> {
    switch(machine, &SET_AMT_ENABLED).await
}

async fn switch(machine: &Machine, request: &[u8]) -> Result<(), NotSwitched> {
    let point = Point { kind: "mutating", what: "SetAmtOperationalState" };
    let reply = exchange(machine, &point, request).await;
    let reply = reply.map_err(|error| NotSwitched::Unknown(error.to_string()))?;
    decode_set_amt_operational_state(&reply).map_err(|error| match error {
        SwitchError::Status(_) => NotSwitched::Refused(error.to_string()),
        SwitchError::Length { .. } => NotSwitched::Unknown(error.to_string()),
    })
}

async fn exchange(machine: &Machine, point: &Point, request: &[u8]) -> Result<Vec<u8>, MeiError> {
    let mut mei = connect(machine, "mhc", mei_clients::WATCHDOG.guid).await?;
    probe::before(point);
    tracing::debug!(command = point.what, "asking the firmware over MHC");
    mei.send(request).await?;
    let reply = mei.recv(machine.deadline(REPLY)).await?;
    probe::after(point);
    Ok(reply)
}
