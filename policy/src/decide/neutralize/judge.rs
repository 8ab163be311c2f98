//! Whether one method of the ladder can be carried out on this machine, and if not, why.

use super::super::Case;
use super::lockdown::{self, Rest, Route};
use super::pch;
use crate::pattern::version;
use crate::policy::Method;
use crate::{CleanVerdict, Exit, Firmware, ImageSource, LockedDown, Rule, SoftDisable, Value, shown};

pub(super) enum Judgment<'a> {
    Applies(&'a Firmware),
    /// The chip has to be read before this can be judged, and policy permits it.
    WantsFlash,
    /// Switch AMT off by its firmware, once what a run of ours left is ended; the flag says whether MHC may be asked as well.
    LockDown {
        mhc: bool,
        rest: Option<Rest>,
        route: Route,
    },
    /// AMT is off already, by this run where it was one of ours.
    LockedDown(Option<LockedDown>),
    Report,
    Skipped(String),
    /// No other method is taken instead: a run of ours is to be ended first.
    Refused {
        exit: Exit,
        cause: &'static str,
        text: String,
    },
}

pub(super) fn judge<'a>(method: Method, rule: &Rule, case: &Case<'a>) -> Judgment<'a> {
    if method == Method::ReportOnly {
        return Judgment::Report;
    }
    if case.is_amd() {
        // reference/me.md 6.
        let why = "the AMD PSP is not neutralizable: nothing boots without it, and no switch turns it off";
        return Judgment::Skipped(why.to_owned());
    }
    if method == Method::Lockdown {
        return lockdown::judge(rule, case);
    }
    let Some(firmware) = &case.context.firmware else {
        return match (&case.context.flash_unread, rule.neutralize.read_flash) {
            (Some(why), _) => Judgment::Skipped(format!("the flash chip could not be read: {}", shown(why))),
            (None, true) => Judgment::WantsFlash,
            (None, false) => Judgment::Skipped(
                "no --firmware-image given, and the rule does not say `read_flash = true`".to_owned(),
            ),
        };
    };
    let possible = match method {
        Method::CleanAndSoftDisable => clean(firmware, rule, case),
        _ => soft_disable(firmware),
    };
    // An image without an ME that can be read is told by why, not by its version.
    let verdict = match possible {
        Err(why) if firmware.me_version.is_none() => Err(why),
        possible => is_of_this_machine(firmware, case).and(possible),
    };
    match verdict {
        Ok(()) => Judgment::Applies(firmware),
        Err(why) => Judgment::Skipped(why),
    }
}

fn soft_disable(firmware: &Firmware) -> Result<(), String> {
    match &firmware.soft_disable {
        SoftDisable::Possible | SoftDisable::AlreadySet => Ok(()),
        SoftDisable::Refused(why) => Err(shown(why)),
    }
}

/// The method promises both halves: code that is gone and a strap that is set.
fn clean(firmware: &Firmware, rule: &Rule, case: &Case<'_>) -> Result<(), String> {
    let major = firmware.me_version.as_deref().and_then(version).map(|([major, ..], _)| major);
    if let Some(major) = major.filter(|major| *major >= FIRST_IFWI) {
        return Err(format!(
            "code removal corrupts IFWI, the layout of ME {FIRST_IFWI} and newer (this is {major})"
        ));
    }
    match &firmware.clean {
        CleanVerdict::Possible => boot_guard_permits(firmware, rule, case)?,
        // By what is kept unless policy says otherwise; where it keeps less, there is something to remove.
        CleanVerdict::AlreadyClean if dropped(rule, firmware).is_empty() => {}
        CleanVerdict::AlreadyClean => boot_guard_permits(firmware, rule, case)?,
        CleanVerdict::Refused(why) => return Err(shown(why)),
    }
    soft_disable(firmware)
        .map_err(|why| format!("code could be removed, but the soft-disable strap cannot be set: {why}"))
}

/// Code lies in boot partitions from here on (reference/me.md 3).
const FIRST_IFWI: u64 = 12;

/// Partitions that this generation is known to need, and that policy does not keep.
pub(super) fn dropped<'a>(rule: &Rule, firmware: &'a Firmware) -> Vec<&'a str> {
    let kept = |name: &&String| rule.neutralize.keep.as_ref().is_some_and(|keep| !keep.contains(name));
    firmware.keep.iter().filter(kept).map(String::as_str).collect()
}

/// A machine that finds ME code missing under enforced Boot Guard switches itself off at once (reference/me.md 3). No key
/// permits what is seen to be enforced; what nobody can see is the org's to accept.
fn boot_guard_permits(firmware: &Firmware, rule: &Rule, case: &Case<'_>) -> Result<(), String> {
    match (boot_guard(case), &firmware.boot_guard) {
        (Ok(Some(evidence)), _) => Err(format!(
            "Boot Guard is enforced ({evidence}), and a machine that it finds without ME code switches itself off at once"
        )),
        (Err(why), Some(manifests)) if !rule.neutralize.accept_boot_guard => Err(format!(
            "the image carries {}, and nothing shows whether they are enforced ({why}): where they are, a machine \
             without ME code switches itself off at once; `neutralize.accept_boot_guard = true` permits code removal \
             where you know that they are not",
            shown(manifests)
        )),
        _ => Ok(()),
    }
}

/// What shows that Boot Guard is enforced; none where the platform has none, which is before Haswell (reference/me.md 3).
/// HFSTS6 of CSME 11: bit 9 verified boot, bits 7:6 what happens on an error, bit 28 disabled (4.1). It vouches for what
/// is enforced and never for the contrary: a disabled engine leaves it empty while the processor goes on enforcing.
///
/// # Errors
/// Why nobody knows.
fn boot_guard(case: &Case<'_>) -> Result<Option<String>, String> {
    let running = case.detection.known("intel.me.version").and_then(version).map(|([major, ..], _)| major);
    match running {
        Some(6..=8) => return Ok(None),
        Some(11) => {}
        _ => return Err("the engine's registers tell on ME 11 only".to_owned()),
    }
    let words = match case.detection.fact("intel.me.hfsts").map(|fact| &fact.value) {
        Some(Value::List(words)) => words.as_slice(),
        _ => &[],
    };
    let hex = words.get(5).and_then(Value::as_text).and_then(|word| word.strip_prefix("0x"));
    let Some(word) = hex.and_then(|hex| u32::from_str_radix(hex, 16).ok()) else {
        return Err("HFSTS6 could not be read".to_owned());
    };
    if [0, u32::MAX].contains(&word) || word & (1 << 28) != 0 || word & (1 << 9) == 0 || word >> 6 & 3 == 0 {
        return Err(format!("HFSTS6 is {word:#010x}, which vouches for nothing"));
    }
    Ok(Some(format!("HFSTS6 is {word:#010x}: verified boot with an error policy")))
}

/// What ties a dump to this machine. A descriptor of another board would not boot it, so nothing is guessed: the ME
/// version must be the one that runs, and the HECI function of the PCH family that the descriptor is for.
fn is_of_this_machine(firmware: &Firmware, case: &Case<'_>) -> Result<(), String> {
    let holds = firmware.me_version.as_deref().unwrap_or("of an unknown version");
    match case.detection.known("intel.me.version") {
        // What this machine's own chip holds needs nothing else that ties it.
        None if firmware.source == ImageSource::Chip => {}
        None => {
            return Err(
                "this machine does not tell its ME version, so nothing ties the image to it".to_owned()
            );
        }
        Some(runs) if version(holds).map(|(holds, _)| holds) != version(runs).map(|(runs, _)| runs) => {
            let (holds, runs) = (shown(holds), shown(runs));
            return Err(match firmware.source {
                ImageSource::Given => format!(
                    "the image holds ME {holds}, and this machine runs ME {runs}: dump this machine's flash anew"
                ),
                ImageSource::Chip => format!(
                    "the flash chip holds ME {holds}, and this machine runs ME {runs}: power-cycle it, so that an \
                     update that was begun ends, and run again"
                ),
            });
        }
        Some(_) => {}
    }
    let (Some(holds), Some(id)) = (&firmware.pch, case.detection.known("intel.me.pci")) else {
        return Ok(());
    };
    match pch::families(id) {
        Some(families) if pch::is_known(holds) && !families.contains(&holds.as_str()) => Err(format!(
            "the image's descriptor is for {}, and this machine's PCH is {} by its HECI function {}",
            shown(holds),
            families.join(" or "),
            shown(id)
        )),
        _ => Ok(()),
    }
}
