//! What could be done with an image, what would happen, and what speaks against it: the ladder of reference/me.md 3.
//!
//! Nothing is predicted that can be tried: removing code and setting the strap are both carried out on a copy in
//! memory, by the code that `clean` and `neutralize` use, and the outcome is told.

use oob_mecheck::clean::{self, Fate, Options, Piece};
use oob_mecheck::container::Kind;
use oob_mecheck::fit::BootGuard;
use oob_mecheck::{Descriptor, Generation, MeImage, PchFamily, SoftDisable};
use serde::Serialize;

/// The outlook for one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outlook {
    /// The farthest method that is possible: `clean+soft-disable`, `soft-disable`, `clean` or `report-only`.
    pub best: &'static str,
    /// In the order in which policy should try them.
    pub methods: Vec<Prospect>,
    /// What this generation of the engine allows at all; None where no engine was read.
    pub generation: Option<&'static Rung>,
    /// What a person should know before flashing anything.
    pub warnings: Vec<String>,
}

/// One method, tried on a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Prospect {
    pub method: &'static str,
    pub possible: bool,
    /// What it would change, or why it is not possible.
    pub text: String,
}

/// One step of the ladder.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Rung {
    pub engines: &'static str,
    pub code_removal: &'static str,
    pub soft_disable: &'static str,
    pub boot_guard: &'static str,
    #[serde(skip)]
    generation: Generation,
    #[serde(skip)]
    majors: (u16, u16),
    /// Known troubles of these platforms.
    #[serde(skip)]
    troubles: &'static [&'static str],
}

const SELF_HEALING: &str = "vendor firmware and embedded controllers may put the bit back (ThinkPads with vPro, 12th generation \
     and later, are known to): verify after the next boot and after every update";
const S0IX: &str =
    "with the strap set the machine loses S0ix, and these platforms have no S3 to fall back to";
const BOOT_GUARD_SHUTDOWN: &str = "a Boot Guard profile that the fuses enforce makes the machine shut down at once when code was removed; the strap \
     alone usually keeps it working";
const SMALL_ENGINE: (u16, u16) = (0, 5);

/// Rows of reference/me.md 3. TXE and SPS count their own majors, so the layout's generation comes first.
const LADDER: &[Rung] = &[
    Rung {
        engines: "ME 1 to 5 (ICH8 to ICH10)",
        code_removal: "total: the region is wiped and taken from the map",
        soft_disable: "meDisable in the ICH and the MCH straps",
        boot_guard: "none on these platforms",
        generation: Generation::One,
        majors: (0, u16::MAX),
        troubles: &[],
    },
    Rung {
        engines: "ME 6 (Ibex Peak)",
        code_removal: "possible",
        soft_disable: "AltMeDisable",
        boot_guard: "none on these platforms",
        generation: Generation::Two,
        majors: (6, 6),
        troubles: &["coreboot on the ThinkPad X201 does not boot with a cleaned ME"],
    },
    Rung {
        engines: "ME 7 and 8 (Cougar and Panther Point)",
        code_removal: "possible",
        soft_disable: "AltMeDisable",
        boot_guard: "none on these platforms",
        generation: Generation::Two,
        majors: (7, 8),
        troubles: &[
            "some vendors' BIOS setups hang with AltMeDisable set (ThinkPad T530, X230 with 1vyrain): if so, remove code and \
             leave the bit",
        ],
    },
    Rung {
        engines: "ME 9 and 10 (Lynx and Wildcat Point)",
        code_removal: "possible unless Boot Guard is enforced",
        soft_disable: "AltMeDisable",
        boot_guard: BOOT_GUARD_SHUTDOWN,
        generation: Generation::Two,
        majors: (9, u16::MAX),
        troubles: &["boards with a native raminit for Haswell need NFTP kept"],
    },
    Rung {
        engines: "TXE 1 and 2, SPS 2 and 3 (Bay Trail, Braswell, servers)",
        code_removal: "possible unless Boot Guard is enforced",
        soft_disable: "AltMeDisable",
        boot_guard: BOOT_GUARD_SHUTDOWN,
        generation: Generation::Two,
        majors: SMALL_ENGINE,
        troubles: &["some Bay Trail boards do not boot with code removed"],
    },
    Rung {
        engines: "TXE 3 and 4, SPS 4 (Apollo and Gemini Lake, Lewisburg, Denverton)",
        code_removal: "possible unless Boot Guard is enforced; on Apollo and Gemini Lake the engine lies in the BIOS region",
        soft_disable: "HAP on servers, in another dword than on clients; no bit is known to work on Apollo and Gemini Lake",
        boot_guard: BOOT_GUARD_SHUTDOWN,
        generation: Generation::Three,
        majors: SMALL_ENGINE,
        troubles: &[],
    },
    Rung {
        engines: "ME 11 (Sunrise and Kaby Point)",
        code_removal: "possible unless Boot Guard is enforced",
        soft_disable: "HAP, PCHSTRP0 bit 16",
        boot_guard: BOOT_GUARD_SHUTDOWN,
        generation: Generation::Three,
        majors: (6, u16::MAX),
        troubles: &[
            "without MFS some boards lose PCIe clocks, and with them NVMe and network: keep MFS there (-w MFS)",
        ],
    },
    Rung {
        engines: "CSME 12 to 14 (Cannon Point, Comet and Ice Lake)",
        code_removal: "impossible: it corrupts the IFWI layout",
        soft_disable: "HAP, in a dword that differs by chipset",
        boot_guard: "HAP is read before Boot Guard decides",
        generation: Generation::Ifwi,
        majors: (0, 14),
        troubles: &[SELF_HEALING],
    },
    Rung {
        engines: "CSME 15 and 16 (Tiger, Elkhart, Alder and Raptor Lake)",
        code_removal: "impossible: it corrupts the IFWI layout",
        soft_disable: "HAP, in a dword that differs by chipset",
        boot_guard: "HAP is read before Boot Guard decides",
        generation: Generation::Ifwi,
        majors: (15, 16),
        troubles: &[SELF_HEALING, S0IX],
    },
    Rung {
        engines: "CSME 18 and later (Meteor Lake and its successors)",
        code_removal: "impossible: it corrupts the IFWI layout",
        soft_disable: "HAP on Meteor Lake alone; no public location for its successors",
        boot_guard: "HAP is read before Boot Guard decides",
        generation: Generation::Ifwi,
        majors: (17, u16::MAX),
        troubles: &[SELF_HEALING, S0IX],
    },
];

/// What is known of the image that is judged.
pub(super) struct Seen<'a> {
    pub(super) image: &'a [u8],
    pub(super) kind: Kind,
    pub(super) descriptor: Option<&'a Descriptor>,
    pub(super) me: Option<&'a MeImage>,
    pub(super) soft_disable: Option<&'a SoftDisable>,
    pub(super) boot_guard: Option<&'a BootGuard>,
}

impl Outlook {
    pub(super) fn of(seen: &Seen<'_>) -> Self {
        let generation = seen.me.and_then(rung);
        let mut warnings = warnings(seen, generation);
        let clean = try_clean(seen, &mut warnings);
        let strap = try_strap(seen);
        let both = match (&clean, &strap) {
            (Ok(clean), Ok(strap)) => Ok(format!("{clean}; {strap}")),
            (Err(why), Ok(_) | Err(_)) | (Ok(_), Err(why)) => Err(why.clone()),
        };
        let methods = vec![
            prospect("clean+soft-disable", both),
            prospect("soft-disable", strap),
            prospect("clean", clean),
        ];
        let best = methods.iter().find(|it| it.possible).map_or("report-only", |it| it.method);
        Self { best, methods, generation, warnings }
    }
}

fn prospect(method: &'static str, outcome: Result<String, String>) -> Prospect {
    let possible = outcome.is_ok();
    Prospect { method, possible, text: outcome.unwrap_or_else(|why| why) }
}

fn rung(me: &MeImage) -> Option<&'static Rung> {
    let fits = |rung: &&Rung| {
        rung.generation == me.generation && (rung.majors.0..=rung.majors.1).contains(&me.version.major)
    };
    LADDER.iter().find(fits)
}

/// Removes code from a copy, as `clean` without flags does.
fn try_clean(seen: &Seen<'_>, warnings: &mut Vec<String>) -> Result<String, String> {
    let image = seen.image;
    match seen.kind {
        Kind::UefiVolumes => return Err("the file is a BIOS region alone: it holds no ME region".into()),
        Kind::DescriptorAlone => return Err("the file is a descriptor alone: it holds no ME region".into()),
        _ => {}
    }
    let cleaned = clean::clean(image, &Options::default()).map_err(|refusal| refusal.to_string())?;
    warnings.extend(cleaned.warnings);
    if !cleaned.changed {
        return Ok("removing code changes nothing: it was removed already".into());
    }
    let removed = |pieces: &[Piece]| pieces.iter().filter(|piece| piece.fate == Fate::Removed).count();
    let differing = image.iter().zip(&cleaned.image).filter(|(before, after)| before != after).count();
    Ok(format!(
        "removes {} partitions and {} modules, {differing} bytes",
        removed(&cleaned.partitions),
        removed(&cleaned.modules)
    ))
}

fn try_strap(seen: &Seen<'_>) -> Result<String, String> {
    match seen.soft_disable {
        None => Err("the strap lies in the flash descriptor, which this file lacks".into()),
        Some(SoftDisable::Refused(why)) => Err(why.clone()),
        Some(SoftDisable::AlreadySet { straps }) => Ok(format!("set already: {}", named(straps))),
        Some(SoftDisable::Possible { straps }) => Ok(format!("sets {}", named(straps))),
    }
}

fn named(straps: &[oob_mecheck::LocatedStrap]) -> String {
    let each = straps.iter().map(|strap| format!("{} at {:#x}", strap.what, strap.offset));
    each.collect::<Vec<_>>().join(" and ")
}

fn warnings(seen: &Seen<'_>, generation: Option<&'static Rung>) -> Vec<String> {
    let mut warnings: Vec<String> =
        generation.iter().flat_map(|rung| rung.troubles).map(|trouble| (*trouble).to_owned()).collect();
    // Generations 1 and 2 up to ME 8 are older than Boot Guard.
    let guardable = generation.is_some_and(|rung| rung.boot_guard == BOOT_GUARD_SHUTDOWN);
    match seen.boot_guard {
        Some(found) if guardable && found.is_complete() => warnings.push(format!(
            "hint: the image brings all that Boot Guard needs. Only the fuses say whether it is enforced; if so, {BOOT_GUARD_SHUTDOWN}"
        )),
        None if guardable => warnings.push(
            "whether Boot Guard is enforced cannot be told from this file; look at the running machine (HFSTS6, \
             MSR 13Ah) before code is removed"
                .into(),
        ),
        _ => {}
    }
    if let Some(descriptor) = seen.descriptor {
        warnings.extend(descriptor.warnings.iter().map(ToString::to_string));
        if descriptor.components.count > 1 {
            warnings
                .push("the flash is on two chips: dump both, join them in order, and write both back".into());
        }
        if descriptor.family == PchFamily::Unknown {
            warnings.push("the chipset is not known from the descriptor: nothing is written for it".into());
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_engine_has_its_rung() {
        for (generation, major, expected) in [
            (Generation::One, 4, "ME 1 to 5"),
            (Generation::Two, 6, "ME 6"),
            (Generation::Two, 8, "ME 7 and 8"),
            (Generation::Two, 10, "ME 9 and 10"),
            (Generation::Two, 2, "TXE 1 and 2"),
            (Generation::Three, 11, "ME 11"),
            (Generation::Three, 4, "TXE 3 and 4"),
            (Generation::Ifwi, 12, "CSME 12 to 14"),
            (Generation::Ifwi, 16, "CSME 15 and 16"),
            (Generation::Ifwi, 19, "CSME 18 and later"),
        ] {
            let fitting: Vec<_> = LADDER
                .iter()
                .filter(|it| it.generation == generation && (it.majors.0..=it.majors.1).contains(&major))
                .collect();
            assert_eq!(fitting.len(), 1, "{generation} {major}");
            assert!(fitting[0].engines.starts_with(expected), "{generation} {major}: {}", fitting[0].engines);
        }
    }
}
