//! Tables made here, sound and broken.

use proptest::prelude::*;

use super::*;

fn structure(kind: u8, handle: u16, body: &[u8], strings: &[&[u8]]) -> Vec<u8> {
    let mut out = vec![kind, u8::try_from(HEADER + body.len()).unwrap()];
    out.extend(handle.to_le_bytes());
    out.extend(body);
    for text in strings {
        out.extend(*text);
        out.push(0);
    }
    out.extend(if strings.is_empty() { &[0, 0][..] } else { &[0] });
    out
}

fn end() -> Vec<u8> {
    structure(127, 0xFFFE, &[], &[])
}

fn sound() -> Vec<u8> {
    [structure(1, 1, &[1, 2, 0], &[b"Maker", b"Product "]), structure(4, 2, &[0; 20], &[]), end()].concat()
}

fn entry3(length: u32) -> Vec<u8> {
    let mut entry = b"_SM3_\0\x18\x03\x02\0\x01\0".to_vec();
    entry.extend(length.to_le_bytes());
    entry.extend(32u64.to_le_bytes());
    entry[5] = entry.iter().fold(0u8, |a, b| a.wrapping_sub(*b));
    entry
}

fn entry2(length: u16) -> Vec<u8> {
    let mut entry = vec![0; 31];
    entry[..4].copy_from_slice(b"_SM_");
    entry[5..8].copy_from_slice(&[31, 2, 8]);
    entry[0x16..0x18].copy_from_slice(&length.to_le_bytes());
    entry[4] = entry.iter().fold(0u8, |a, b| a.wrapping_sub(*b));
    entry
}

#[test]
fn a_sound_table_has_no_defects() {
    let bytes = sound();
    let length = u32::try_from(bytes.len()).unwrap();
    for (entry, version) in
        [(entry3(length), (3, 2)), (entry3(0x10000), (3, 2)), (entry2(length as u16), (2, 8))]
    {
        let table = Table::parse(Some(&entry), &bytes);
        assert_eq!(table.defects, Vec::<String>::new());
        assert_eq!(table.version, Some(version));
        assert_eq!(table.structures.len(), 3);
        let system = table.of(1).next().unwrap();
        assert_eq!((system.handle, system.text(4), system.text(5)), (1, Some("Maker"), Some("Product")));
        assert_eq!((system.text(6), system.text(99), system.string(3)), (None, None, None));
    }
}

/// Cut anywhere, a table yields a prefix of its structures and says that it was cut.
#[test]
fn truncation_at_every_length_is_a_defect() {
    let bytes = sound();
    let whole = Table::parse(None, &bytes);
    for length in 0..bytes.len() {
        let table = Table::parse(None, &bytes[..length]);
        // The end-of-table structure needs no strings: all that follows its header may be missing.
        let complete = length >= bytes.len() - 2;
        assert_eq!(table.defects.is_empty(), complete, "cut at {length}: {:?}", table.defects);
        assert!(table.structures.len() <= 3);
        for (have, want) in table.structures.iter().zip(&whole.structures) {
            assert_eq!((have.kind, &have.bytes), (want.kind, &want.bytes), "cut at {length}");
        }
    }
    assert_eq!(Table::parse(Some(&entry2(60000)), &bytes).defects.len(), 1, "the 2.x length is exact");
}

#[test]
fn a_lying_structure_length_does_not_hide_what_follows() {
    let mut short = sound();
    short[1] = 3;
    let table = Table::parse(None, &short);
    assert_eq!(table.structures.iter().map(|s| s.kind).collect::<Vec<_>>(), [4, 127]);
    assert!(table.defects[0].contains("offset 0x0"), "{:?}", table.defects);
    let mut long = sound();
    long[1] = 255;
    let table = Table::parse(None, &long);
    assert_eq!(table.structures, []);
    assert!(table.defects[0].contains("runs past the end"), "{:?}", table.defects);
}

#[test]
fn strings_that_never_end_are_kept_and_told() {
    let bytes = [&[1u8, 5, 0, 0, 1][..], b"Maker"].concat();
    let table = Table::parse(None, &bytes);
    assert_eq!(table.structures[0].text(4), Some("Maker"));
    assert!(table.defects[0].contains("do not end"), "{:?}", table.defects);
}

#[test]
fn hostile_strings_are_bounded_and_many_are_cut_off() {
    let long = vec![b'A'; 5000];
    let many: Vec<&[u8]> = vec![b"x"; 400];
    let bytes = [
        structure(1, 1, &[1, 2, 3], &[&long, b"\xff\xfe\x1b]0;t\x07", b"<script>"]),
        structure(11, 2, &[0xFF], &many),
        end(),
    ]
    .concat();
    let table = Table::parse(None, &bytes);
    assert_eq!(table.structures[0].text(4).unwrap().chars().count(), 256);
    assert_eq!(table.structures[0].text(5), Some("\u{fffd}\u{fffd}\u{1b}]0;t\u{7}"));
    assert_eq!(table.structures[0].text(6), Some("<script>"));
    assert_eq!(table.structures[1].strings.len(), 255);
    assert_eq!(table.defects, Vec::<String>::new());
}

#[test]
fn a_bad_entry_point_is_told_and_the_table_still_read() {
    let mut wrong_sum = entry3(4096);
    wrong_sum[9] ^= 1;
    for entry in [&wrong_sum[..], b"", b"_SM3_", b"_SM_", b"_XX_", &entry2(5)[..20]] {
        let table = Table::parse(Some(entry), &sound());
        assert_eq!((table.version, table.defects.len(), table.structures.len()), (None, 1, 3), "{entry:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(entry in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)),
                              table in proptest::collection::vec(any::<u8>(), 0..600)) {
        let parsed = Table::parse(entry.as_deref(), &table);
        prop_assert!(parsed.structures.iter().map(|s| s.bytes.len()).sum::<usize>() <= table.len());
    }

    /// One flipped byte in a sound table never makes it say more than the table holds.
    #[test]
    fn one_wrong_byte_is_survived(at in 0usize..60, value: u8) {
        let mut bytes = sound();
        let at = at % bytes.len();
        bytes[at] = value;
        let parsed = Table::parse(Some(&entry3(4096)), &bytes);
        prop_assert!(parsed.structures.len() <= bytes.len() / HEADER);
    }
}
