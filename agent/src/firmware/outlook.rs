//! What could be done with an image, what would happen, and what speaks against it: the ladder of reference/me.md 3.
//!
//! Nothing is predicted that can be tried: removing code and setting the strap are both carried out on a copy in
//! memory, by the code that `clean` and `neutralize` use, and the outcome is told.

use oob_mecheck::clean::{self, Fate, Options, Piece};
use oob_mecheck::container::Kind;
use oob_mecheck::neutralize::{self, Method, neutralize};
use oob_mecheck::{Generation, Inspection, MeImage, SoftDisable};
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
}

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
    },
    Rung {
        engines: "ME 6 (Ibex Peak)",
        code_removal: "possible",
        soft_disable: "AltMeDisable",
        boot_guard: "none on these platforms",
        generation: Generation::Two,
        majors: (6, 6),
    },
    Rung {
        engines: "ME 7 and 8 (Cougar and Panther Point)",
        code_removal: "possible",
        soft_disable: "AltMeDisable",
        boot_guard: "none on these platforms",
        generation: Generation::Two,
        majors: (7, 8),
    },
    Rung {
        engines: "ME 9 and 10 (Lynx and Wildcat Point)",
        code_removal: "possible unless Boot Guard is enforced",
        soft_disable: "AltMeDisable",
        boot_guard: BOOT_GUARD_SHUTDOWN,
        generation: Generation::Two,
        majors: (9, u16::MAX),
    },
    Rung {
        engines: "TXE 1 and 2, SPS 2 and 3 (Bay Trail, Braswell, servers)",
        code_removal: "possible unless Boot Guard is enforced",
        soft_disable: "AltMeDisable",
        boot_guard: BOOT_GUARD_SHUTDOWN,
        generation: Generation::Two,
        majors: SMALL_ENGINE,
    },
    Rung {
        engines: "TXE 3 and 4, SPS 4 (Apollo and Gemini Lake, Lewisburg, Denverton)",
        code_removal: "possible unless Boot Guard is enforced",
        soft_disable: "HAP on servers, in another dword than on clients; no bit is known to work on Apollo and Gemini Lake",
        boot_guard: BOOT_GUARD_SHUTDOWN,
        generation: Generation::Three,
        majors: SMALL_ENGINE,
    },
    Rung {
        engines: "ME 11 (Sunrise and Kaby Point)",
        code_removal: "possible unless Boot Guard is enforced",
        soft_disable: "HAP, PCHSTRP0 bit 16",
        boot_guard: BOOT_GUARD_SHUTDOWN,
        generation: Generation::Three,
        majors: (6, u16::MAX),
    },
    Rung {
        engines: "TXE 3 and 4 in the BIOS region (Apollo and Gemini Lake)",
        code_removal: "impossible: it corrupts the IFWI layout",
        soft_disable: "no bit is known to work",
        boot_guard: BOOT_GUARD_SHUTDOWN,
        generation: Generation::Ifwi,
        majors: SMALL_ENGINE,
    },
    Rung {
        engines: "CSME 12 to 14 (Cannon Point, Comet and Ice Lake)",
        code_removal: "impossible: it corrupts the IFWI layout",
        soft_disable: "HAP, in a dword that differs by chipset",
        boot_guard: "HAP is read before Boot Guard decides",
        generation: Generation::Ifwi,
        majors: (6, 14),
    },
    Rung {
        engines: "CSME 15 and 16 (Tiger, Elkhart, Alder and Raptor Lake)",
        code_removal: "impossible: it corrupts the IFWI layout",
        soft_disable: "HAP, in a dword that differs by chipset",
        boot_guard: "HAP is read before Boot Guard decides",
        generation: Generation::Ifwi,
        majors: (15, 16),
    },
    Rung {
        engines: "CSME 18 and later (Meteor Lake and its successors)",
        code_removal: "impossible: it corrupts the IFWI layout",
        soft_disable: "HAP on Meteor Lake alone; no public location for its successors",
        boot_guard: "HAP is read before Boot Guard decides",
        generation: Generation::Ifwi,
        majors: (17, u16::MAX),
    },
];

impl Outlook {
    /// `inspection` where there is a descriptor, `me` where an engine was read.
    pub(super) fn of(
        image: &[u8],
        kind: Kind,
        inspection: Option<&Inspection>,
        me: Option<&MeImage>,
    ) -> Self {
        let mut warnings = Vec::new();
        let mut methods: Vec<Prospect> = [Method::CleanAndSoftDisable, Method::SoftDisable]
            .into_iter()
            .map(|method| prospect(method.word(), try_neutralize(image, kind, method)))
            .collect();
        methods.push(prospect("clean", try_clean(image, kind, &mut warnings)));
        if let Some(inspection) = inspection {
            let keep = me.map(neutralize::needed).unwrap_or_default();
            let removes = methods.iter().any(|it| it.possible && it.method != Method::SoftDisable.word());
            let method = if removes { Method::CleanAndSoftDisable } else { Method::SoftDisable };
            let found = oob_mecheck::warnings::warnings(image, inspection, method, &keep);
            warnings.extend(inspection.descriptor.warnings.iter().map(ToString::to_string));
            warnings.extend(found.into_iter().map(|warning| warning.text));
        }
        if let Some(me) = me {
            warnings.extend(me.warnings.iter().cloned());
        }
        let best = methods.iter().find(|it| it.possible).map_or("report-only", |it| it.method);
        Self { best, methods, generation: me.and_then(rung), warnings }
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

/// Neutralizes a copy, gates and all.
fn try_neutralize(image: &[u8], kind: Kind, method: Method) -> Result<String, String> {
    match kind {
        Kind::DescriptorAlone => return Err("the file is a descriptor alone; dump the whole flash".into()),
        Kind::FlashDump => {}
        _ => return Err("the strap lies in the flash descriptor, which this file lacks".into()),
    }
    let options = neutralize::Options { method, keep: None };
    let done = neutralize(image, &options).map_err(|refusal| refusal.to_string())?;
    if done.changes.is_empty() {
        return Ok("done already: nothing would change".into());
    }
    let straps: Vec<String> = match &done.before.soft_disable {
        SoftDisable::Possible { straps } => {
            straps.iter().map(|strap| format!("sets {} at {:#x}; ", strap.what, strap.offset)).collect()
        }
        _ => Vec::new(),
    };
    let bytes: usize = done.changes.iter().map(|change| change.length).sum();
    let kept = if done.kept.is_empty() { String::new() } else { format!(", {} kept", done.kept.join(" ")) };
    Ok(format!("{}bytes changed: {bytes}, ranges: {}{kept}", straps.concat(), done.changes.len()))
}

/// Removes code from a copy, as `firmware clean` without flags does.
fn try_clean(image: &[u8], kind: Kind, warnings: &mut Vec<String>) -> Result<String, String> {
    match kind {
        Kind::UefiVolumes => return Err("the file is a BIOS region alone: it holds no ME region".into()),
        Kind::DescriptorAlone => return Err("the file is a descriptor alone: it holds no ME region".into()),
        _ => {}
    }
    let cleaned = clean::clean(image, &Options::default()).map_err(|refusal| refusal.to_string())?;
    warnings.extend(cleaned.warnings);
    if !cleaned.changed {
        return Ok("nothing would change: code was removed already".into());
    }
    if cleaned.partitions.is_empty() {
        return Ok("erases the whole ME region: this engine needs nothing of it".into());
    }
    let removed = |pieces: &[Piece]| pieces.iter().filter(|piece| piece.fate == Fate::Removed).count();
    Ok(format!(
        "removes {} partitions and {} modules",
        removed(&cleaned.partitions),
        removed(&cleaned.modules)
    ))
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
            (Generation::Ifwi, 4, "TXE 3 and 4 in the BIOS region"),
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
