//! An SMBIOS table, with and without an entry point before it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oob_agent::machine::smbios::Table;

fuzz_target!(|data: &[u8]| {
    let _ = Table::parse(None, data);
    let (entry, table) = data.split_at(data.len().min(31));
    let _ = Table::parse(Some(entry), table);
});
