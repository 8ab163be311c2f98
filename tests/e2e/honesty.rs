//! What must hold at the end of every run, whatever went wrong in it: what the run claims is what the device is, and no
//! password lives that is not in the escrow.

use std::path::Path;
use std::process::Output;

use md5::{Digest, Md5};
use oob_tests::provisioning::SETTINGS;
use oob_tests::{Machine, code, text};
use serde_json::Value;
use sha2::Sha256;

use crate::use_ccm::{escrow_files, open};

/// A control mode with what is set in it: what the target is, and how it is seen on the device.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) mode: Mode,
    /// With TLS, and no cleartext beside it.
    pub(crate) tls: bool,
    /// The firmware has KVM, and policy wants it.
    pub(crate) kvm: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Client,
    Admin,
}

impl Target {
    pub(crate) const ADMIN: Self = Self { mode: Mode::Admin, tls: false, kvm: true };
    pub(crate) const CLIENT: Self = Self { mode: Mode::Client, ..Self::ADMIN };

    pub(crate) const fn with_tls(self) -> Self {
        Self { tls: true, ..self }
    }

    /// As a machine of this type can reach it.
    pub(crate) fn on(self, profile: &str) -> Self {
        Self { kvm: !profile.starts_with("ism"), ..self }
    }

    pub(crate) fn is_admin(self) -> bool {
        self.mode == Mode::Admin
    }

    /// What policy asks for besides the mode.
    pub(crate) fn settings(self) -> String {
        let settings = if self.is_admin() { SETTINGS } else { CLIENT_SETTINGS };
        let settings = settings.replace("kvm = true", &format!("kvm = {}", self.kvm));
        if self.tls { format!("{settings}, tls = \"required\"") } else { settings }
    }

    const fn number(self) -> u64 {
        match self.mode {
            Mode::Client => 1,
            Mode::Admin => 2,
        }
    }

    pub(crate) const fn word(self) -> &'static str {
        match self.mode {
            Mode::Client => "ccm",
            Mode::Admin => "acm",
        }
    }

    /// The call that a run may send once.
    pub(crate) const fn one_shot(self) -> &'static str {
        match self.mode {
            Mode::Client => "wsman:IPS_HostBasedSetupService.Setup",
            Mode::Admin => "wsman:IPS_HostBasedSetupService.AdminSetup",
        }
    }

    fn unlike_policy(self, state: &Value) -> Option<String> {
        let set = match self.mode {
            Mode::Client => redirection(state, self.kvm),
            Mode::Admin => not_as_policy_asks(state, self.kvm),
        };
        set.or_else(|| if self.tls { without_tls(state) } else { None })
    }
}

/// What is wrong with what a run said, against what the device was before it and is now; none where it was honest.
pub(crate) fn dishonest(
    run: &Output,
    before: &Value,
    machine: &Machine,
    out: &Path,
    target: Target,
) -> Option<String> {
    let state = machine.state();
    judge(run, before, &state, out, target).err().or_else(|| passwords_outside_escrow(&state, out))
}

fn judge(run: &Output, before: &Value, state: &Value, out: &Path, target: Target) -> Result<(), String> {
    let ensure = |holds: bool, what: &str| if holds { Ok(()) } else { Err(what.to_owned()) };
    let stderr = text(&run.stderr);
    ensure(!stderr.contains("panicked at"), "it panicked")?;
    let result: Value =
        serde_json::from_slice(&run.stdout).map_err(|error| format!("stdout is no JSON: {error}"))?;
    let exit = code(run).ok_or("it was killed")?;
    ensure(result["exit_code"] == exit, "exit code and result differ")?;
    let seen = (state["control_mode"].as_u64(), state["provisioning_state"].as_u64());
    let amt = &result["capability"]["channels"][0];
    let findings = result["findings"].to_string();
    match exit {
        0 => {
            ensure(
                seen == (Some(target.number()), Some(2)),
                "it says satisfied, and the device is not in the mode",
            )?;
            ensure(amt["control_mode"] == target.word(), "the record names another mode")?;
            // Verified by the run that set it up; a later one has no password, and sees the realm only.
            ensure(
                amt["state"] == if result["changed"] == true { "verified" } else { "provisioned" },
                "the record claims more or less than was seen",
            )?;
            let reach = amt["reach"].to_string();
            ensure(!(target.tls && reach.contains("16992")), "the record names a port that is closed")?;
            target
                .unlike_policy(state)
                .map_or(Ok(()), |what| Err(format!("it says satisfied, and {what}")))?;
        }
        4 | 5 | 8 => {
            let same = ["control_mode", "provisioning_state", "ha1_sha256", "mebx_sha256"]
                .iter()
                .all(|part| state[part] == before[part]);
            ensure(same || seen == (Some(0), Some(0)), "it says unchanged, and the device is not as it was")?;
            ensure(state["mebx_sha256"] == before["mebx_sha256"], "it says unchanged, and MEBx is not")?;
            // Taken back what an earlier run left: that is a change.
            ensure(result["changed"] == !same, "it says unchanged and is not, or the other way round")?;
            ensure(amt["state"] != "verified", "the record claims a proof")?;
            let claims = amt["state"] == "provisioned";
            ensure(!claims || seen.0 != Some(0), "the record claims a channel that is none")?;
        }
        6 => {
            let refused =
                result["outcomes"][0]["step"].as_str().is_some_and(|step| step.starts_with("refuse."));
            ensure(refused || result["changed"] == true, "not knowing is a change")?;
            ensure(amt["state"] == "unknown", "the record claims to know")?;
            let names = escrow_files(out);
            let names = names.iter().filter_map(|file| file.file_name()?.to_str());
            let newest = names.filter(|name| name.starts_with("amt.")).max();
            let named = |name: &str| {
                result["outcomes"].to_string().contains(name) || result["text"].to_string().contains(name)
            };
            ensure(
                newest.is_some_and(named),
                "it does not know, and does not name the candidate's escrow file",
            )?;
        }
        9 => {
            ensure(target.is_admin(), "client control mode was left incomplete")?;
            ensure(result["reason"] == "amt-incomplete", "drift for another reason")?;
            ensure(seen == (Some(2), Some(2)), "it says incomplete, and the device is not in the mode")?;
            ensure(amt["control_mode"] == "acm", "the record names another mode")?;
            ensure(amt["credential"].is_string(), "the record names no credential")?;
        }
        other => return Err(format!("exit {other} is none of those that can be")),
    }
    if seen.0 != Some(0) {
        ensure(!findings.contains("amt-default-credentials"), "it says that nobody set AMT up")?;
    }
    if exit == 0 || exit == 9 {
        ensure(
            !findings.contains("amt-provisioned-by-others"),
            "it says that its own work is that of others",
        )?;
    }
    if state["mebx_sha256"].is_string() {
        ensure(
            !findings.contains("mebx-password-unchanged"),
            "it says that MEBx keeps its password, which is new",
        )?;
    }
    Ok(())
}

/// What a run said, for a message: its text and the record of AMT, or all it wrote where it had no result.
pub(crate) fn said(run: &Output) -> String {
    match serde_json::from_slice::<Value>(&run.stdout) {
        Ok(result) => format!("{}\n    {}", result["text"], result["capability"]["channels"][0]),
        Err(_) => text(&run.stderr),
    }
}

/// Which password lives on the device and in no escrow file.
pub(crate) fn passwords_outside_escrow(state: &Value, out: &Path) -> Option<String> {
    let sha256 = |bytes: &[u8]| hex(&Sha256::digest(bytes));
    if let Some(live) = state["ha1_sha256"].as_str() {
        let realm = state["realm"].as_str().unwrap();
        let known = sealed(out, "amt");
        let ha1 = |secret: &Value| {
            let password = secret["password"].as_str().unwrap();
            sha256(hex(&Md5::digest(format!("admin:{realm}:{password}"))).as_bytes())
        };
        if !known.iter().any(|secret| ha1(secret) == live) {
            return Some(format!("the live password is in none of {} escrow files", known.len()));
        }
    }
    if let Some(live) = state["mebx_sha256"].as_str() {
        let known = sealed(out, "amt-mebx");
        if !known.iter().any(|secret| sha256(secret["password"].as_str().unwrap().as_bytes()) == live) {
            return Some(format!("the MEBx password is in none of {} escrow files", known.len()));
        }
    }
    None
}

/// What the escrow files of a channel hold: `amt` or `amt-mebx`.
pub(crate) fn sealed(out: &Path, channel: &str) -> Vec<Value> {
    let start = format!("{channel}.");
    let files = escrow_files(out);
    let of_channel =
        files.iter().filter(|file| file.file_name().unwrap().to_str().unwrap().starts_with(&start));
    of_channel.map(|file| open(file)).collect()
}

/// How the device differs from [`oob_tests::provisioning::SETTINGS`]; `kvm` is false where it has none.
pub(crate) fn not_as_policy_asks(state: &Value, kvm: bool) -> Option<String> {
    if state["settings"]["consent"]["required"] != 0 {
        return Some(format!("consent is {}", state["settings"]["consent"]));
    }
    if !state["mebx_sha256"].is_string() {
        return Some("MEBx has its old password".to_owned());
    }
    redirection(state, kvm)
}

/// What can be set in client control mode.
pub(crate) const CLIENT_SETTINGS: &str = "clock = true, sol = true, ider = false, kvm = true";

/// How the device differs from `tls = "required"`.
fn without_tls(state: &Value) -> Option<String> {
    let remote = &state["tls"]["committed"][0];
    match () {
        () if remote["enabled"] != true => Some("TLS is off".to_owned()),
        () if remote["accepts_cleartext"] != false => Some("cleartext is open".to_owned()),
        () if !state["tls"]["serving"].is_string() => Some("it serves no certificate".to_owned()),
        () => None,
    }
}

fn redirection(state: &Value, kvm: bool) -> Option<String> {
    let settings = &state["settings"];
    let ahead = state["clock_ahead"].as_i64().unwrap();
    match () {
        () if settings["redirection"] != 32770 => Some(format!("redirection is {}", settings["redirection"])),
        () if settings["listener"] != true => Some("nothing listens for SOL".to_owned()),
        () if settings["kvm"] != kvm => Some(format!("KVM is {}", settings["kvm"])),
        () if ahead.abs() > 10 => Some(format!("the clock is {ahead} s ahead")),
        () => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
