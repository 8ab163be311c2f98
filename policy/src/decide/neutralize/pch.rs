//! Which PCH families a HECI function belongs to: device ids as Linux' `mei_me` knows them, families in the words in
//! which descriptors are named (reference/me.md 1.3). A descriptor cannot always tell a PCH from its successor, so an id
//! may stand for several words.

/// The words that a descriptor of the PCH with this HECI function (`8086:a13a`) may have. None for an id that is not
/// known: it ties nothing.
pub(super) fn families(id: &str) -> Option<&'static [&'static str]> {
    let device = u16::from_str_radix(id.strip_prefix("8086:")?, 16).ok()?;
    TABLE.iter().find(|(devices, _)| devices.contains(&device)).map(|(_, families)| *families)
}

/// True for a word of the table. Another word cannot contradict it.
pub(super) fn is_known(family: &str) -> bool {
    TABLE.iter().any(|(_, families)| families.contains(&family))
}

const TABLE: [(&[u16], &[&str]); 26] = [
    (&[0x2974, 0x2984, 0x2994, 0x29a4, 0x2a04, 0x2a14], &["ich8"]),
    // The functions are the memory controller hub's, which was sold with either.
    (&[0x29b4, 0x29c4, 0x29d4, 0x29e4, 0x29f4, 0x28b4, 0x28c4, 0x28d4, 0x28e4, 0x28f4], &["ich9", "ich10"]),
    (&[0x2a44, 0x2a54, 0x2a64, 0x2a74, 0x2e04, 0x2e14, 0x2e24, 0x2e34], &["ich9", "ich10"]),
    (&[0x3b64, 0x3b65], &["ibex-peak"]),
    (&[0x1c3a, 0x1e3a, 0x1cba, 0x1dba], &["cougar-point"]),
    (&[0x8c3a, 0x8cba, 0x9c3a, 0x9cba, 0x9cbb], &["lynx-point"]),
    (&[0x0f18, 0x2298], &["bay-trail"]),
    (&[0x9d3a, 0x9d3b, 0x9d3e], &["sunrise-point-lp"]),
    (&[0xa13a, 0xa13b, 0xa2ba, 0xa2bb, 0xa2be], &["sunrise-point-h"]),
    // Only the ME image tells these from the 200 series.
    (&[0xa3ba], &["comet-lake-v", "sunrise-point-h"]),
    (&[0xa1ba], &["lewisburg"]),
    (&[0x19e5], &["denverton"]),
    (&[0x5a9a], &["apollo-lake"]),
    (&[0x319a], &["gemini-lake"]),
    (&[0x9de0, 0x9de4, 0x02e0, 0x02e4], &["cannon-point-lp"]),
    (&[0xa360, 0xa364, 0x06e0, 0x06e4], &["cannon-point-h"]),
    (&[0x34e0], &["ice-lake-lp"]),
    (&[0x4de0], &["jasper-lake"]),
    (&[0x4b70, 0x4b75], &["elkhart-lake"]),
    (&[0xa0e0], &["tiger-point-lp"]),
    (&[0x43e0], &["tiger-point-h"]),
    (&[0x51e0], &["alder-point-p"]),
    (&[0x54e0], &["alder-point-n"]),
    (&[0x7ae8, 0x7a68], &["alder-point-s"]),
    (&[0x1be0], &["emmitsburg"]),
    (&[0x7e70], &["meteor-lake"]),
];
