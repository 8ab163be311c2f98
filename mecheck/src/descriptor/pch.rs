//! Which PCH a descriptor is for, family and variant, by its own tables (reference/me.md 1.3).
//!
//! The order of the questions is flashrom's published decision tree; the number of straps (ISL, later PSL) then tells
//! the variants apart and has to agree. Where the tree is known to be wrong or silent, the evidence says which value
//! was believed. A descriptor that fits nothing is `unknown`, never the nearest neighbor.

use std::fmt;

use super::{IfdVersion, Maps, read_strap};
use crate::me::Version;
use crate::straps;

/// PCH family and variant. [`PchFamily::word`] is stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PchFamily {
    Ich8,
    Ich9,
    Ich10,
    IbexPeak,
    /// Cougar and Panther Point, 6 and 7 series.
    CougarPoint,
    /// Lynx and Wildcat Point, 8 and 9 series, LP and H.
    LynxPoint,
    /// Bay Trail and Braswell.
    BayTrail,
    /// Sunrise and Kaby Point, 100 and 200 series.
    SunrisePointLp,
    SunrisePointH,
    Lewisburg,
    /// No published value of the descriptor tells it from other servers, so nothing is ever judged to be it; its strap
    /// is in the table as a candidate.
    Denverton,
    /// Cannon Point-LP and Comet Lake-LP, 300 and 400 series.
    CannonPointLp,
    /// Cannon Point-H and Comet Lake-H and -S.
    CannonPointH,
    /// A Kaby Point die with ME 14.5; told from Sunrise Point-H by the ME image alone.
    CometLakeV,
    /// Told by the ME image alone.
    IceLakeLp,
    JasperLake,
    ElkhartLake,
    TigerPointLp,
    /// Tiger Lake-H and Rocket Lake.
    TigerPointH,
    /// Alder and Raptor Lake-P, -H mobile.
    AlderPointP,
    AlderPointN,
    /// Alder and Raptor Lake-S.
    AlderPointS,
    MeteorLake,
    ApolloLake,
    GeminiLake,
    Emmitsburg,
    /// Newer, damaged or contradictory; the evidence says why.
    Unknown,
}

impl PchFamily {
    /// The stable word, which policies and staging manifests compare.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ich8 => "ich8",
            Self::Ich9 => "ich9",
            Self::Ich10 => "ich10",
            Self::IbexPeak => "ibex-peak",
            Self::CougarPoint => "cougar-point",
            Self::LynxPoint => "lynx-point",
            Self::BayTrail => "bay-trail",
            Self::SunrisePointLp => "sunrise-point-lp",
            Self::SunrisePointH => "sunrise-point-h",
            Self::Lewisburg => "lewisburg",
            Self::Denverton => "denverton",
            Self::CannonPointLp => "cannon-point-lp",
            Self::CannonPointH => "cannon-point-h",
            Self::CometLakeV => "comet-lake-v",
            Self::IceLakeLp => "ice-lake-lp",
            Self::JasperLake => "jasper-lake",
            Self::ElkhartLake => "elkhart-lake",
            Self::TigerPointLp => "tiger-point-lp",
            Self::TigerPointH => "tiger-point-h",
            Self::AlderPointP => "alder-point-p",
            Self::AlderPointN => "alder-point-n",
            Self::AlderPointS => "alder-point-s",
            Self::MeteorLake => "meteor-lake",
            Self::ApolloLake => "apollo-lake",
            Self::GeminiLake => "gemini-lake",
            Self::Emmitsburg => "emmitsburg",
            Self::Unknown => "unknown",
        }
    }

    /// The family with the ME image as further evidence: it names two PCHs that the descriptor alone cannot.
    pub fn with_me(self, version: Version) -> Self {
        match (self, version.major, version.minor) {
            (Self::SunrisePointH, 14, 5) => Self::CometLakeV,
            (Self::Unknown, 13, _) => Self::IceLakeLp,
            _ => self,
        }
    }

    /// None for [`PchFamily::Unknown`], whose layout is guessed from the map.
    pub(super) fn version(self) -> Option<IfdVersion> {
        match self {
            Self::Ich8 | Self::Ich9 | Self::Ich10 | Self::IbexPeak | Self::CougarPoint | Self::BayTrail => {
                Some(IfdVersion::V1)
            }
            Self::LynxPoint => Some(IfdVersion::V15),
            Self::Unknown => None,
            _ => Some(IfdVersion::V2),
        }
    }

    /// Whether FLMAP2 still holds FMSBA and MSL; from the 500 series on other fields share its bits.
    pub(super) fn has_processor_straps(self) -> bool {
        matches!(
            self,
            Self::SunrisePointLp
                | Self::SunrisePointH
                | Self::Lewisburg
                | Self::CannonPointLp
                | Self::CannonPointH
        )
    }
}

impl fmt::Display for PchFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What the judgment looks at.
pub(super) struct Clues<'a> {
    pub(super) signature_offset: usize,
    pub(super) maps: &'a Maps,
    pub(super) image: &'a [u8],
    pub(super) strap_base: usize,
    pub(super) strap_count: u8,
}

/// The fields of the map by their names in the tree.
struct Fields {
    /// Number of PCH straps.
    isl: u32,
    /// Masters less one; 6 on servers.
    nm: u32,
    msl: u32,
    fmsba: u32,
    /// ICCRIBA, which is CSSL from the 500 series on.
    iccriba: u32,
    /// In dwords.
    csso: u32,
    /// None where FLUMAP1 is absent.
    mdtba: Option<u32>,
}

/// The family, and the evidence for people.
pub(super) fn judge(clues: &Clues<'_>) -> (PchFamily, Vec<String>) {
    let maps = clues.maps;
    let fields = Fields {
        isl: maps.flmap1 >> 24,
        nm: maps.flmap1 >> 8 & 7,
        msl: maps.flmap2 >> 8 & 0xff,
        fmsba: maps.flmap2 & 0xff,
        iccriba: maps.flmap2 >> 16 & 0xff,
        csso: maps.flmap2 >> 2 & 0x3ff,
        mdtba: maps.flumap1.map(|word| word >> 24),
    };
    let mut evidence = vec![
        format!("signature at {:#x}", clues.signature_offset),
        match (maps.flumap1, fields.mdtba) {
            (Some(word), Some(mdtba)) => format!("FLUMAP1={word:08x}: MDTBA={mdtba:02x}"),
            _ => "FLUMAP1 absent: MDTBA not known".to_owned(),
        },
        format!(
            "FLMAP2={:08x}: ICCRIBA/CSSL={:02x} CSSO={:02x} FMSBA={:02x} MSL={:02x}",
            maps.flmap2, fields.iccriba, fields.csso, fields.fmsba, fields.msl
        ),
        format!("FLMAP1={:08x}: ISL={:02x} NM={}", maps.flmap1, fields.isl, fields.nm),
    ];
    let (family, why) = walk(clues, &fields);
    evidence.push(format!("{why} => {family}"));
    (family, evidence)
}

type Judgment = (PchFamily, String);

fn walk(clues: &Clues<'_>, fields: &Fields) -> Judgment {
    if clues.signature_offset == 0 || fields.iccriba == 0 {
        return without_icc(clues, fields);
    }
    let old_map = matches!(fields.mdtba, None | Some(0));
    if old_map && fields.iccriba < 0x31 && fields.fmsba < 0x30 {
        return before_sunrise(fields);
    }
    // A server's ICCRIBA is Cannon Point's, so the masters are asked first.
    if old_map && fields.nm == 6 {
        return match fields.isl {
            0x8b => said(PchFamily::Lewisburg, "6 masters and 8b straps"),
            _ => said(PchFamily::Unknown, "6 masters: a server, but not with Lewisburg's 8b straps"),
        };
    }
    if old_map && fields.iccriba == 0x31 {
        return match fields.isl {
            0x42 => said(PchFamily::SunrisePointLp, "ICCRIBA 31, 42 straps: LP"),
            // 58 on the 100 series, 5a on the 200 series.
            0x58 | 0x5a => said(PchFamily::SunrisePointH, "ICCRIBA 31, 58 or 5a straps: H"),
            _ => said(PchFamily::Unknown, "ICCRIBA 31, but the straps of neither LP (42) nor H (58, 5a)"),
        };
    }
    if fields.mdtba == Some(0) {
        return said(PchFamily::Unknown, "MDTBA 0 with an ICCRIBA of no PCH before the 300 series");
    }
    from_cannon(clues, fields)
}

/// ICH8 to Ibex Peak, the IFWI Atoms and Emmitsburg leave ICCRIBA zero.
fn without_icc(clues: &Clues<'_>, fields: &Fields) -> Judgment {
    let at_start = clues.signature_offset == 0;
    match (at_start, fields.isl) {
        (_, _) if fields.iccriba != 0 => {
            said(PchFamily::Unknown, "a signature at 0 as on ICH, and an ICCRIBA, which ICH has not")
        }
        (false, 19) if clues.maps.flmap2 == 0 => said(PchFamily::ApolloLake, "FLMAP2 0, 13 straps"),
        (false, 23) if clues.maps.flmap2 == 0 => said(PchFamily::GeminiLake, "FLMAP2 0, 17 straps"),
        (false, 0x50) if fields.nm == 6 => said(PchFamily::Emmitsburg, "ICCRIBA 0, 50 straps, 6 masters"),
        (true, 0..=2) if fields.msl == 0 => said(PchFamily::Ich8, "at most 2 straps, none of an MCH"),
        (true, 0..=2) => said(PchFamily::Ich9, "at most 2 straps, and an MCH's"),
        (true, 3..=10) => said(PchFamily::Ich10, "3 to 10 straps"),
        (_, 11..=16) => said(PchFamily::IbexPeak, "ICCRIBA 0, 11 to 16 straps (decimal)"),
        _ => said(PchFamily::Unknown, "ICCRIBA 0 with a number of straps of no known PCH"),
    }
}

fn before_sunrise(fields: &Fields) -> Judgment {
    match (fields.msl, fields.isl) {
        (0, 0..=17) => said(PchFamily::BayTrail, "no processor straps, at most 17 straps (decimal)"),
        (0 | 1, 0..=18) => said(PchFamily::CougarPoint, "at most 1 processor strap and 18 straps (decimal)"),
        (_, 0..=21) => said(PchFamily::LynxPoint, "at most 21 straps (decimal)"),
        _ => said(PchFamily::Unknown, "ICCRIBA and FMSBA as before Sunrise Point, with more straps than any"),
    }
}

/// 300 series and newer. CSSL and CSSO name the family, the number of straps has to agree.
fn from_cannon(clues: &Clues<'_>, fields: &Fields) -> Judgment {
    match (fields.iccriba, fields.csso, fields.isl) {
        (0x34, _, 0x45) => said(PchFamily::CannonPointLp, "ICCRIBA 34, 45 straps: LP"),
        (0x34, ..) => cannon_h(clues),
        (0x11, 0x68, 0x46) => said(PchFamily::TigerPointLp, "CSSL 11, CSSO 68, 46 straps: LP"),
        (0x11, 0x6c, 0x65) => said(PchFamily::TigerPointH, "CSSL 11, CSSO 6c, 65 straps: H"),
        (0x11, 0x5c, 0x73) | (0x14, _, 0x73) => {
            said(PchFamily::AlderPointS, "CSSL 14 (or 11 with CSSO 5c), 73 straps: S")
        }
        (0x14, _, 0x46) => alder_mobile(clues),
        (0x03, 0x58, 0x38) => said(PchFamily::ElkhartLake, "CSSL 3, CSSO 58, 38 straps"),
        (0x03, 0x6c, 0x2a) => said(PchFamily::JasperLake, "CSSL 3, CSSO 6c, 2a straps"),
        // CSSO 78 is on real boards; the tree knows 70 alone.
        (0x03, 0x70 | 0x78, 0x82) => said(PchFamily::MeteorLake, "CSSL 3, CSSO 70 or 78, 82 straps"),
        (0x03, 0x60, _) => said(PchFamily::Unknown, "CSSL 3, CSSO 60: Panther Lake or newer"),
        _ => said(PchFamily::Unknown, "CSSL, CSSO and the number of straps agree with no known PCH"),
    }
}

/// The number of straps of Cannon Point-H is not published, so its soft-disable dword has to say it.
fn cannon_h(clues: &Clues<'_>) -> Judgment {
    let fits = |family| straps::fits(family, |index| strap(clues, index));
    if fits(PchFamily::CannonPointH) && !fits(PchFamily::CannonPointLp) {
        said(PchFamily::CannonPointH, "ICCRIBA 34, not LP's 45 straps, PCHSTRP32 as on H")
    } else {
        said(PchFamily::Unknown, "ICCRIBA 34, but neither LP's 45 straps nor H's PCHSTRP32")
    }
}

/// P and N share every number of the map; the constant bits of the soft-disable dword differ.
fn alder_mobile(clues: &Clues<'_>) -> Judgment {
    let fits = |family| straps::fits(family, |index| strap(clues, index));
    let dword = strap(clues, 31).map_or_else(|| "absent".to_owned(), |word| format!("{word:08x}"));
    match (fits(PchFamily::AlderPointP), fits(PchFamily::AlderPointN)) {
        (true, false) => (PchFamily::AlderPointP, format!("CSSL 14, 46 straps, PCHSTRP31={dword} as on P")),
        (false, true) => (PchFamily::AlderPointN, format!("CSSL 14, 46 straps, PCHSTRP31={dword} as on N")),
        _ => (
            PchFamily::Unknown,
            format!(
                "CSSL 14, 46 straps: Alder Point-P or -N, but PCHSTRP31={dword} fits neither stock pattern"
            ),
        ),
    }
}

fn strap(clues: &Clues<'_>, index: u8) -> Option<u32> {
    read_strap(clues.image, clues.strap_base, clues.strap_count, index)
}

fn said(family: PchFamily, why: &str) -> Judgment {
    (family, why.to_owned())
}
