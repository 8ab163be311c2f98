//! An SMBIOS table, with and without an entry point before it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oob_agent::machine::smbios::Table;
use oob_fuzz::{bound::within, seeds::plant};

fuzz_target!(init: plant("smbios"), |data: &[u8]| {
    within(0x1_0000 + 64 * data.len(), || {
        read(&Table::parse(None, data));
        let (entry, table) = data.split_at(data.len().min(31));
        read(&Table::parse(Some(entry), table));
    });
});

fn read(table: &Table) {
    for structure in (0..=255).flat_map(|kind| table.of(kind)) {
        for at in [0, 3, 4, 5, 0x10, 255, usize::MAX] {
            let word = structure.u16(at).map(u32::from);
            assert_eq!(word, structure.array::<2>(at).map(|it| u32::from(u16::from_le_bytes(it))));
            let _ = (structure.u8(at), structure.u32(at), structure.u64(at), structure.text(at));
        }
        let texts = (1..=255).map_while(|number| structure.string(number));
        assert!(texts.count() <= 255);
    }
}
