//! Where tools for other PCHs put the bit.

use super::{Decoy, Pattern};
use crate::descriptor::PchFamily as P;

/// The v1 place on v2 descriptors, and the places of other PCHs, where stock descriptors have the bit clear.
pub(crate) static DECOYS: &[Decoy] = &[
    // A v2 descriptor edited as v1.
    Decoy {
        families: &[P::SunrisePointLp, P::SunrisePointH],
        dword: 10,
        bit: 7,
        stock: &[Pattern::exactly(0x0003_0000)],
    },
    Decoy {
        families: &[P::CannonPointLp],
        dword: 10,
        bit: 7,
        stock: &[Pattern { mask: 0x00ff_ffff, value: 0x0022_2222 }],
    },
    Decoy {
        families: &[P::TigerPointLp, P::AlderPointP, P::AlderPointN],
        dword: 10,
        bit: 7,
        stock: &[
            Pattern { mask: 0xff_fffc, value: 0x7f_0000 },
            Pattern { mask: 0xff_fffc, value: 0xff_0000 },
        ],
    },
    Decoy { families: &[P::JasperLake], dword: 10, bit: 7, stock: &[Pattern::exactly(0x0005_c003)] },
    Decoy {
        families: &[P::AlderPointS, P::MeteorLake, P::Lewisburg, P::Emmitsburg],
        dword: 10,
        bit: 7,
        stock: ZERO,
    },
    // Skylake's place.
    Decoy {
        families: &[
            P::CannonPointLp,
            P::CannonPointH,
            P::JasperLake,
            P::ElkhartLake,
            P::TigerPointLp,
            P::TigerPointH,
            P::AlderPointP,
            P::AlderPointN,
        ],
        dword: 0,
        bit: 16,
        stock: ZERO,
    },
    Decoy { families: &[P::AlderPointS], dword: 0, bit: 16, stock: &[Pattern::exactly(0x1ff0_0000)] },
    Decoy { families: &[P::Lewisburg], dword: 0, bit: 16, stock: &[Pattern::exactly(0x20)] },
    Decoy { families: &[P::GeminiLake], dword: 0, bit: 16, stock: &[Pattern::exactly(0xa1)] },
    Decoy { families: &[P::Emmitsburg], dword: 0, bit: 16, stock: &[Pattern::exactly(0x00aa_000f)] },
    // Cannon Point-LP's.
    Decoy { families: &[P::JasperLake], dword: 28, bit: 16, stock: &[Pattern::exactly(0x203)] },
    Decoy {
        families: &[P::TigerPointLp, P::AlderPointP, P::AlderPointN],
        dword: 28,
        bit: 16,
        stock: &[Pattern { mask: 0xffff_e3ff, value: 0 }],
    },
    Decoy { families: &[P::AlderPointS], dword: 28, bit: 16, stock: ZERO },
    // Tiger Point-LP's and Alder Point-P's.
    Decoy { families: &[P::AlderPointS], dword: 31, bit: 16, stock: &[Pattern::exactly(0x30)] },
    Decoy { families: &[P::TigerPointH, P::CannonPointLp], dword: 31, bit: 16, stock: ZERO },
    Decoy {
        families: &[P::MeteorLake],
        dword: 31,
        bit: 16,
        stock: &[Pattern { mask: 0xfff0_ffff, value: 0xff00_f093 }],
    },
    // Cannon Point-H's.
    Decoy { families: &[P::CannonPointLp, P::JasperLake, P::TigerPointLp], dword: 32, bit: 16, stock: ZERO },
    Decoy {
        families: &[P::AlderPointP, P::AlderPointN],
        dword: 32,
        bit: 16,
        stock: &[Pattern::exactly(0xc608_038f)],
    },
    // Alder Point-S's.
    Decoy {
        families: &[P::TigerPointLp, P::AlderPointP, P::AlderPointN],
        dword: 55,
        bit: 16,
        stock: &[Pattern { mask: 0xffff_ff00, value: 0x100 }],
    },
    Decoy { families: &[P::MeteorLake], dword: 55, bit: 16, stock: &[Pattern::exactly(0x203)] },
];

const ZERO: &[Pattern] = &[Pattern::exactly(0)];
