//! One generated board per row of the table, and what takes its strap out of reach.

use oob_mecheck::{SoftDisable, StrapState, inspect, set_soft_disable};

use crate::board::Layout::{self, Ifwi, One, Three, Two};
use crate::board::{Board, me, put32, set_and_check};

/// Word, board, ME image, bytes of the strap bits.
struct Row {
    word: &'static str,
    board: Board,
    me: Me,
    bytes: &'static [(usize, u8)],
}

const fn v1(flmap1: u32, flmap2: u32, straps: &'static [(usize, u32)]) -> Board {
    Board { signature: 0x10, flmap: [0x0204_0003, flmap1, flmap2], flumap1: 0x0000_0adf, straps }
}

const fn v2(isl: u32, flmap2: u32, flumap1: u32, straps: &'static [(usize, u32)]) -> Board {
    Board { signature: 0x10, flmap: [0x0004_0003, isl << 24 | 0x0010_0208, flmap2], flumap1, straps }
}

const fn ich(isl: u32, msl: u32) -> Board {
    let flmap = [0x0204_0001, isl << 24 | 0x0010_0206, msl << 8 | 0x20];
    Board { signature: 0, flmap, flumap1: 0x0000_06ee, straps: &[(0, 0x0018_6488)] }
}

/// MDTBA is nonzero from the 300 series on.
const NEW: u32 = 0xc0ff_02df;

const SUNRISE_H: Board = v2(0x58, 0x0031_0330, 0x0000_08df, &[(0, 0x0090_0000), (10, 0x0003_0000)]);
const CANNON_H: Board = v2(0x52, 0x0034_0330, NEW, &[(28, 0x0000_0000), (32, 0x8000_01b8)]);
const TIGER_H: Board = v2(0x65, 0x0011_01b0, NEW, &[(37, 0x8000_00b0)]);
const ALDER_S: Board = v2(0x73, 0x0014_0170, NEW, &[(49, 0x1008_1008), (52, 0x1008_1008), (55, 0xc210_00b0)]);
const LEWISBURG: Board = Board {
    signature: 0x10,
    flmap: [0x0004_0003, 0x8b10_0608, 0x1434_0140],
    flumap1: 0x0000_32df,
    straps: &[(0, 0x20), (53, 0x0042_4002)],
};

const ROWS: &[Row] = &[
    Row { word: "ich9", board: ich(2, 1), me: (One, 4, 1), bytes: &[(0x100, 1), (0x200, 1)] },
    Row { word: "ich10", board: ich(3, 1), me: (One, 5, 2), bytes: &[(0x100, 1), (0x200, 1)] },
    Row {
        word: "ibex-peak",
        board: v1(0x1010_0206, 0x20, &[(10, 0x0005_0044)]),
        me: (Two, 6, 2),
        bytes: ALT,
    },
    Row { word: "cougar-point", board: v1(0x1210_0206, 0x0021_0120, COUGAR), me: (Two, 7, 1), bytes: ALT },
    Row { word: "cougar-point", board: v1(0x1210_0206, 0x0021_0120, COUGAR), me: (Two, 8, 1), bytes: ALT },
    Row { word: "lynx-point", board: v1(0x1510_0206, 0x0021_0120, LYNX), me: (Two, 9, 5), bytes: ALT },
    Row { word: "lynx-point", board: v1(0x1510_0206, 0x0021_0120, LYNX), me: (Two, 10, 0), bytes: ALT },
    Row { word: "bay-trail", board: v1(0x0b10_0206, 0x0021_0020, &[]), me: (Two, 1, 1), bytes: ALT },
    Row {
        word: "sunrise-point-lp",
        board: v2(0x42, 0x0031_0330, 0x0000_08df, &[(0, 0x0050_0000)]),
        me: (Three, 11, 8),
        bytes: &[(0x102, 1)],
    },
    Row { word: "sunrise-point-h", board: SUNRISE_H, me: (Three, 11, 8), bytes: &[(0x102, 1)] },
    Row {
        word: "sunrise-point-h",
        board: v2(0x5a, 0x0031_0330, 0x0000_08df, &[(0, 0x00d0_0000)]),
        me: (Three, 11, 6),
        bytes: &[(0x102, 1)],
    },
    // Comet Lake-V, which its ME version alone gives away.
    Row { word: "sunrise-point-h", board: SUNRISE_H, me: (Ifwi, 14, 5), bytes: &[(0x102, 1)] },
    Row { word: "lewisburg", board: LEWISBURG, me: (Three, 4, 2), bytes: &[(0x1d6, 1)] },
    Row {
        word: "cannon-point-lp",
        board: v2(0x45, 0x0034_0330, NEW, &[(28, 0x8002_01b8)]),
        me: (Ifwi, 12, 0),
        bytes: &[(0x172, 1)],
    },
    Row { word: "cannon-point-h", board: CANNON_H, me: (Ifwi, 12, 0), bytes: &[(0x182, 1)] },
    Row { word: "cannon-point-h", board: CANNON_H, me: (Ifwi, 14, 1), bytes: &[(0x182, 1)] },
    Row {
        word: "jasper-lake",
        board: v2(0x2a, 0x0003_01b0, NEW, &[(26, 0x0000_0530)]),
        me: (Ifwi, 13, 50),
        bytes: &[(0x16a, 1)],
    },
    Row {
        word: "elkhart-lake",
        board: v2(0x38, 0x0003_0160, NEW, &[(33, 0x8000_0210)]),
        me: (Ifwi, 15, 40),
        bytes: &[(0x186, 1)],
    },
    Row {
        word: "tiger-point-lp",
        board: v2(0x46, 0x0011_01a0, NEW, &[(31, 0x0000_0030), (37, 0x0001_0000)]),
        me: (Ifwi, 15, 0),
        bytes: &[(0x17e, 1)],
    },
    Row { word: "tiger-point-h", board: TIGER_H, me: (Ifwi, 15, 0), bytes: &[(0x196, 1)] },
    Row {
        word: "alder-point-p",
        board: v2(0x46, 0x0014_01b0, NEW, &[(31, 0x4000_0030), (52, 0x300)]),
        me: (Ifwi, 16, 0),
        bytes: &[(0x17e, 1)],
    },
    Row {
        word: "alder-point-n",
        board: v2(0x46, 0x0014_01b0, NEW, &[(31, 0x4010_00a2), (52, 0x300)]),
        me: (Ifwi, 16, 50),
        bytes: &[(0x17e, 1)],
    },
    Row { word: "alder-point-s", board: ALDER_S, me: (Ifwi, 16, 1), bytes: &[(0x1de, 1)] },
    Row {
        word: "meteor-lake",
        board: v2(0x82, 0x0003_01e0, NEW, &[(71, 0x4010_00b2)]),
        me: (Ifwi, 18, 0),
        bytes: &[(0x21e, 1)],
    },
];

const ALT: &[(usize, u8)] = &[(0x128, 0x80)];
const COUGAR: &[(usize, u32)] = &[(10, 0x0041_0044)];
const LYNX: &[(usize, u32)] = &[(10, 0x00c0_0000)];

/// Layout, major and minor.
type Me = (Layout, u16, u16);

/// Word, board, ME image, and a piece of the refusal.
const REFUSED: &[(&str, Board, Me, &str)] = &[
    (
        "unknown",
        v2(0x4c, 0x0009_0190, NEW, &[(28, 0x8000_01b8)]),
        (Ifwi, 13, 0),
        "ice-lake-lp: the public sources contradict",
    ),
    // No MCH straps, so one of the two bits has no place.
    ("ich8", ich(2, 0), (One, 2, 0), "MCHSTRP0 bit 0 (meDisable): this descriptor has no such dword"),
    ("apollo-lake", v2(0x13, 0, 0x0000_02df, &[]), (Three, 3, 1), "no known soft-disable strap"),
    ("gemini-lake", v2(0x17, 0, 0x0000_02df, &[]), (Three, 4, 0), "no known soft-disable strap"),
    ("unknown", v2(0x90, 0x0003_0180, NEW, &[]), (Ifwi, 20, 0), "Panther Lake or newer"),
    // A server that is not Lewisburg, such as Denverton.
    (
        "unknown",
        Board { flmap: [0x0004_0003, 0x2010_0608, 0x0034_0140], ..LEWISBURG },
        (Three, 4, 0),
        "PCHSTRP14 bit 16 (HAP) at 0x138",
    ),
    (
        "emmitsburg",
        Board {
            flmap: [0x0004_0003, 0x5010_0608, 0x0000_0230],
            flumap1: NEW,
            straps: &[(28, 0x8050_0000)],
            ..LEWISBURG
        },
        (Ifwi, 6, 0),
        "no known soft-disable strap",
    ),
    // Stepping A0, where everything lies three dwords lower.
    (
        "alder-point-s",
        v2(0x73, 0x0014_0170, NEW, &[(49, 0x1008_1008), (52, 0xc210_00b0)]),
        (Ifwi, 16, 0),
        "stepping A0",
    ),
    ("unknown", v2(0x45, 0x0011_01a0, NEW, &[(31, 0x30)]), (Ifwi, 15, 0), "agree with no known PCH"),
    (
        "unknown",
        v2(0x46, 0x0014_01b0, NEW, &[(31, 0x1234_5678), (52, 0x300)]),
        (Ifwi, 16, 0),
        "fits neither stock pattern",
    ),
    ("unknown", v2(0x52, 0x0034_0330, NEW, &[(32, 0x8000_0000)]), (Ifwi, 12, 0), "PCHSTRP32"),
];

fn refusal(image: &[u8]) -> String {
    set_soft_disable(image).unwrap_err().to_string()
}

#[test]
fn each_rows_bit_is_set_and_nothing_else() {
    for row in ROWS {
        let (layout, major, minor) = row.me;
        let image = row.board.image(&me(layout, major, minor));
        let before = inspect(&image).unwrap();
        assert_eq!(before.descriptor.family.word(), row.word, "{:?}", before.descriptor.evidence);
        assert_eq!(before.strap.state, StrapState::Clear, "{}: {:?}", row.word, before.strap.why);
        let located: Vec<_> = before.strap.straps.iter().map(oob_mecheck::LocatedStrap::byte).collect();
        assert_eq!(located, row.bytes, "{}", row.word);
        let SoftDisable::Possible { straps } = &before.soft_disable else {
            panic!("{}: {:?}", row.word, before.soft_disable)
        };
        assert_eq!(straps, &before.strap.straps);
        assert_eq!(set_and_check(&image), row.bytes, "{}", row.word);
        let after = inspect(&set_soft_disable(&image).unwrap().image).unwrap();
        assert!(matches!(after.soft_disable, SoftDisable::AlreadySet { .. }), "{:?}", after.soft_disable);
        assert_eq!((after.strap.state, after.strap.misplaced), (StrapState::Set, Vec::new()));
    }
}

#[test]
fn what_the_table_does_not_know_is_refused_with_its_candidates() {
    for (word, board, (layout, major, minor), piece) in REFUSED {
        let image = board.image(&me(*layout, *major, *minor));
        let inspection = inspect(&image).unwrap();
        assert_eq!(inspection.descriptor.family.word(), *word, "{:?}", inspection.descriptor.evidence);
        assert_eq!(inspection.strap.state, StrapState::Unknown);
        let said = refusal(&image);
        assert!(said.contains(piece), "{word}: {said}");
        for candidate in &inspection.strap.candidates {
            assert!(said.contains(&candidate.to_string()), "{said}");
        }
        assert!(!inspection.strap.candidates.is_empty());
    }
}

#[test]
fn every_piece_of_evidence_is_needed() {
    for row in ROWS {
        let (layout, major, minor) = row.me;
        // Another ME major, and another layout of the same major.
        let said = refusal(&row.board.image(&me(layout, major + 30, minor)));
        assert!(said.contains("needs ME"), "{said}");
        let other = if layout == Two { Three } else { Two };
        assert!(refusal(&row.board.image(&me(other, major, minor))).contains("needs ME"), "{}", row.word);
        // No ME image.
        assert!(refusal(&row.board.image(&[])).contains("empty"), "{}", row.word);
        assert!(refusal(&row.board.descriptor()).contains("no ME image to agree with"));
        // An erased strap dword.
        for (byte, _) in row.bytes {
            let mut image = row.board.image(&me(layout, major, minor));
            put32(&mut image, byte & !3, u32::MAX);
            let said = refusal(&image);
            assert!(said.contains("stock pattern") || said.contains("PCHSTRP32"), "{}: {said}", row.word);
        }
    }
}

#[test]
fn a_dword_that_is_not_as_on_real_descriptors_is_refused() {
    let with = |word: &str, dword: usize, value: u32| {
        let row = ROWS.iter().find(|row| row.word == word).unwrap();
        let (layout, major, minor) = row.me;
        refusal(&row.board.with_strap(dword, value, &me(layout, major, minor)))
    };
    assert!(with("sunrise-point-lp", 0, 0x1234_5678).contains("no known stock pattern"));
    assert!(with("tiger-point-lp", 31, 0x0000_00b0).contains("no known stock pattern"));
    assert!(with("tiger-point-lp", 37, 0).contains("around"));
    assert!(with("tiger-point-h", 37, 0x8000_0030).contains("no known stock pattern"));
    assert!(with("tiger-point-h", 31, 0x0000_0030).contains("around"));
    assert!(with("alder-point-p", 52, 0).contains("neither stock pattern"));
    assert!(with("alder-point-s", 52, 0).contains("stepping A0"));
    assert!(with("meteor-lake", 71, 0x4010_00b3).contains("no known stock pattern"));
    assert!(with("lewisburg", 53, 0).contains("no known stock pattern"));
}

#[test]
fn a_bit_of_another_pch_is_named_and_never_believed() {
    // Skylake edited as v1: AltMeDisable and the v1 unlock value, as a published descriptor has it.
    let mut skylake = SUNRISE_H.with_strap(10, 0x0003_0080, &me(Three, 11, 0));
    put32(&mut skylake, 0x80, 0xffff_0000);
    // Tiger Lake-H edited as Skylake.
    let tiger = TIGER_H.with_strap(0, 0x0001_0000, &me(Ifwi, 15, 0));
    for (image, dword, bit, byte) in [(skylake, 10, 7, 0x102), (tiger, 0, 16, 0x196)] {
        let inspection = inspect(&image).unwrap();
        assert_eq!(inspection.strap.state, StrapState::Clear);
        let misplaced: Vec<_> = inspection.strap.misplaced.iter().map(|it| (it.dword, it.bit)).collect();
        assert_eq!(misplaced, [(dword, bit)]);
        assert_eq!(set_and_check(&image), [(byte, 1)]);
    }
    // The bits that other tools set leave the reading clear.
    for (word, dword, bit) in [
        ("cannon-point-lp", 0, 16),
        ("cannon-point-lp", 32, 16),
        ("cannon-point-h", 0, 16),
        ("jasper-lake", 28, 16),
        ("elkhart-lake", 0, 16),
        ("alder-point-s", 31, 16),
        ("meteor-lake", 10, 7),
        ("lewisburg", 0, 16),
    ] {
        let row = ROWS.iter().find(|row| row.word == word).unwrap();
        let stock = row.board.straps.iter().find(|(at, _)| *at == dword).map_or(0, |(_, value)| *value);
        let stock = match (word, dword) {
            ("jasper-lake", _) => 0x203,
            ("alder-point-s", _) => 0x30,
            _ => stock,
        };
        let (layout, major, minor) = row.me;
        let image = row.board.with_strap(dword, stock | 1 << bit, &me(layout, major, minor));
        let strap = inspect(&image).unwrap().strap;
        assert_eq!(strap.state, StrapState::Clear, "{word}");
        assert_eq!((strap.misplaced.len(), strap.misplaced[0].dword), (1, dword as u8), "{word}");
        assert!(strap.misplaced[0].to_string().contains("of another PCH"));
    }
}

#[test]
fn the_verdict_serializes_in_kebab_case() {
    let image = TIGER_H.image(&me(Ifwi, 15, 0));
    let inspection = inspect(&image).unwrap();
    let json = serde_json::to_value(&inspection.soft_disable).unwrap();
    assert_eq!(json["verdict"], "possible");
    assert_eq!(json["straps"][0]["confidence"], "low");
    assert_eq!(serde_json::to_value(&inspection.strap).unwrap()["state"], "clear");
    let descriptor = serde_json::to_value(&inspection.descriptor).unwrap();
    assert_eq!((&descriptor["family"], &descriptor["version"]), (&"tiger-point-h".into(), &"v2".into()));
    let refused = inspect(&TIGER_H.descriptor()).unwrap().soft_disable;
    let json = serde_json::to_value(&refused).unwrap();
    assert_eq!(json["verdict"], "refused");
    assert!(json["why"].as_str().unwrap().contains("no ME image"));
}

/// For [`crate::hostile`].
pub(crate) fn images() -> Vec<(&'static str, Vec<u8>)> {
    ROWS.iter().map(|row| (row.word, row.board.image(&me(row.me.0, row.me.1, row.me.2)))).collect()
}
