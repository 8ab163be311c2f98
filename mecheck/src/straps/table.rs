//! The rows of reference/me.md 1.4 and 1.5.

use super::Confidence::{High, Low, Medium};
use super::{Bit, Confidence, Constant, Pattern, Strap, Table, Verdict};
use crate::descriptor::PchFamily as P;
use crate::me::Generation;

/// Every row of reference/me.md 1.4 and 1.5.
pub(crate) static STRAPS: &[Strap] = &[
    known(of(strap(P::Ich8, &[1, 2, 3, 4, 5], ME_DISABLE), Generation::One), ICH_SOURCE, Medium, [0, 0]),
    known(of(strap(P::Ich9, &[1, 2, 3, 4, 5], ME_DISABLE), Generation::One), ICH_SOURCE, High, [5, 5]),
    known(of(strap(P::Ich10, &[1, 2, 3, 4, 5], ME_DISABLE), Generation::One), ICH_SOURCE, Medium, [0, 0]),
    known(of(strap(P::IbexPeak, &[6], ALT_ME_DISABLE), Generation::Two), ALT_SOURCE, High, [3, 0]),
    known(of(strap(P::CougarPoint, &[7, 8], ALT_ME_DISABLE), Generation::Two), ALT_SOURCE, High, [11, 3]),
    known(of(strap(P::LynxPoint, &[9, 10], ALT_ME_DISABLE), Generation::Two), ALT_SOURCE, High, [5, 1]),
    known(of(strap(P::BayTrail, &[1, 2], ALT_ME_DISABLE), Generation::Two), ALT_SOURCE, Medium, [1, 0]),
    known(of(strap(P::SunrisePointLp, &[11], SUNRISE), Generation::Three), SKL_SOURCE, High, [5, 3]),
    known(of(strap(P::SunrisePointH, &[11], SUNRISE), Generation::Three), SKL_SOURCE, High, [2, 0]),
    known(strap(P::CometLakeV, &[14], SUNRISE), "Dasharo", Low, [0, 0]),
    known(
        of(
            strap(
                P::Lewisburg,
                &[4],
                &[hap(
                    53,
                    "PCHSTRP53 bit 16 (HAP)",
                    &[Pattern::exactly(0x0040_0000), Pattern::exactly(0x0042_4002)],
                )],
            ),
            Generation::Three,
        ),
        "Dasharo's table alone",
        Low,
        [3, 0],
    ),
    refuse(
        of(strap(P::Denverton, &[4], &[hap(14, "PCHSTRP14 bit 16 (HAP)", &[])]), Generation::Three),
        "Dasharo's table alone",
        "one source names PCHSTRP14, and no stock pattern is known to check it against",
    ),
    known(
        strap(
            P::CannonPointLp,
            &[12, 14],
            &[hap(28, "PCHSTRP28 bit 16 (HAP)", &[Pattern { mask: 0xffff, value: 0x01b8 }])],
        ),
        "me_cleaner issue 444 and PR 282 (FIT diffs), Dasharo",
        High,
        [3, 0],
    ),
    known(
        strap(
            P::CannonPointH,
            &[12, 14],
            &[hap(32, "PCHSTRP32 bit 16 (HAP)", &[Pattern { mask: 0xfff0, value: 0x01b0 }])],
        ),
        "me_cleaner PR 282, Dasharo",
        Medium,
        [0, 0],
    ),
    refuse(
        strap(P::IceLakeLp, &[13], &[]),
        "me_cleaner forks, Dasharo",
        "the public sources contradict each other (PCHSTRP28, 30 or 37)",
    ),
    known(
        strap(P::JasperLake, &[13], &[hap(26, "PCHSTRP26 bit 16 (HAP)", &[Pattern::exactly(0x0000_0530)])]),
        "Dasharo's me_13.h",
        Low,
        [4, 0],
    ),
    known(
        strap(P::ElkhartLake, &[15], &[hap(33, "PCHSTRP33 bit 16 (HAP)", &[Pattern::exactly(0x8000_0210)])]),
        "Dasharo's me_15.h",
        Low,
        [1, 0],
    ),
    known(
        with(
            strap(
                P::TigerPointLp,
                &[15],
                &[hap(31, "PCHSTRP31 bit 16 (HAP)", &[Pattern { mask: 0x1fe, value: 0x30 }])],
            ),
            &[holds(37, 0x0001_0000)],
        ),
        "Dasharo's me_15.h, a me_cleaner fork",
        Medium,
        [4, 0],
    ),
    known(
        with(
            strap(
                P::TigerPointH,
                &[15],
                &[hap(37, "PCHSTRP37 bit 16 (HAP)", &[Pattern { mask: 0x1fe, value: 0xb0 }])],
            ),
            &[holds(31, 0)],
        ),
        "me_cleaner PR 384 (FIT diffs of B560M and Z590)",
        Low,
        [1, 0],
    ),
    known(
        with(
            strap(
                P::AlderPointP,
                &[16],
                &[hap(31, "PCHSTRP31 bit 16 (HAP)", &[Pattern::exactly(0x4000_0030)])],
            ),
            &[holds(52, 0x0000_0300)],
        ),
        "me_cleaner issue 403, Dasharo",
        High,
        [10, 6],
    ),
    known(
        strap(
            P::AlderPointN,
            &[16],
            &[hap(
                31,
                "PCHSTRP31 bit 16 (HAP)",
                &[
                    Pattern::exactly(0x4000_00a2),
                    Pattern::exactly(0x4010_00a2),
                    Pattern::exactly(0x4010_0020),
                ],
            )],
        ),
        "Dasharo's me_16.h, though its own tool refuses; no machine is known to have shown the effect",
        Low,
        [14, 0],
    ),
    known(
        with(
            strap(
                P::AlderPointS,
                &[16],
                &[hap(55, "PCHSTRP55 bit 16 (HAP)", &[Pattern::exactly(0xc210_00b0)])],
            ),
            &[holds(52, 0x1008_1008)],
        ),
        "Dasharo's me_16.h, a me_cleaner fork",
        Medium,
        [3, 0],
    ),
    // The first stepping: everything three dwords lower.
    refuse(
        with(
            strap(P::AlderPointS, &[16], &[hap(52, "PCHSTRP52 bit 16 (HAP)", &[])]),
            &[holds(49, 0x1008_1008)],
        ),
        "Dasharo alone",
        "stepping A0: one source names PCHSTRP52, and no stock pattern is known to check it against",
    ),
    known(
        strap(P::MeteorLake, &[18], &[hap(71, "PCHSTRP71 bit 16 (HAP)", &[Pattern::exactly(0x4010_00b2)])]),
        "Dasharo's me_18.h",
        Low,
        [6, 0],
    ),
    refuse(
        strap(P::ApolloLake, &[3], &[]),
        "Dasharo and user reports",
        "PCHSTRP11 bit 7 was tried and had no effect; no known soft-disable strap",
    ),
    refuse(
        strap(P::GeminiLake, &[4], &[]),
        "Dasharo and user reports",
        "PCHSTRP11 bit 7 was tried and had no effect; no known soft-disable strap",
    ),
    refuse(strap(P::Emmitsburg, &[6], &[]), "none", "no known soft-disable strap"),
];

/// HAP, the bit that stands at 16 in every v2 strap that is known to work.
const fn hap(dword: u8, what: &'static str, stock: &'static [Pattern]) -> Bit {
    Bit { table: Table::Pch, dword, bit: 16, what, stock }
}

/// `+offset == value` of the table in reference/me.md 1.5.
const fn holds(dword: u8, value: u32) -> Constant {
    Constant { dword, pattern: Pattern::exactly(value) }
}

/// v1 straps have no published constants around the bit; erased flash is told apart.
const ALT_ME_DISABLE: &[Bit] = &[Bit {
    table: Table::Pch,
    dword: 10,
    bit: 7,
    what: "PCHSTRP10 bit 7 (AltMeDisable)",
    stock: &[Pattern { mask: 0, value: 0 }],
}];
const ME_DISABLE: &[Bit] = &[
    Bit {
        table: Table::Pch,
        dword: 0,
        bit: 0,
        what: "ICHSTRP0 bit 0 (meDisable)",
        stock: &[Pattern { mask: 0, value: 0 }],
    },
    Bit {
        table: Table::Mch,
        dword: 0,
        bit: 0,
        what: "MCHSTRP0 bit 0 (meDisable)",
        stock: &[Pattern { mask: 0, value: 0 }],
    },
];
const SUNRISE: &[Bit] = &[hap(
    0,
    "PCHSTRP0 bit 16 (HAP)",
    &[
        Pattern::exactly(0x0000_0002),
        Pattern::exactly(0x0050_0000),
        Pattern::exactly(0x0090_0000),
        Pattern::exactly(0x00d0_0000),
    ],
)];
const ICH_SOURCE: &str = "me_cleaner and ifdtool behavior; libreboot's generated descriptors";
const ALT_SOURCE: &str = "me_cleaner, ifdtool, Heads";
const SKL_SOURCE: &str = "me_cleaner, ifdtool, Dasharo, Heads";

const fn strap(family: P, me_majors: &'static [u16], bits: &'static [Bit]) -> Strap {
    Strap {
        family,
        me_majors,
        generation: Generation::Ifwi,
        bits,
        companions: &[],
        source: "none",
        confidence: Low,
        samples: 0,
        set_samples: 0,
        verdict: Verdict::Write,
    }
}

const fn known(row: Strap, source: &'static str, confidence: Confidence, samples: [u8; 2]) -> Strap {
    Strap { source, confidence, samples: samples[0], set_samples: samples[1], ..row }
}

const fn with(row: Strap, companions: &'static [Constant]) -> Strap {
    Strap { companions, ..row }
}

const fn of(row: Strap, generation: Generation) -> Strap {
    Strap { generation, ..row }
}

const fn refuse(row: Strap, source: &'static str, why: &'static str) -> Strap {
    Strap { source, verdict: Verdict::Refuse(why), ..row }
}
