//! The SMBIOS table: the common types, and the makers' types 130, 131, 219 and 221 as `reference/detect.md` 1.4
//! lays them out.

use super::Identity;
use crate::profile::{Facts, Firmware};

/// The table and its version 3 entry point.
pub(super) fn tables(facts: &Facts, identity: &Identity) -> (Vec<u8>, Vec<u8>) {
    let mut table = Table(Vec::new());
    common(&mut table, facts, identity);
    if facts.has_mei() {
        manageability(&mut table, facts);
    }
    Record::default().close(&mut table, 127, 0xfeff);
    (table.0.clone(), entry_point(table.0.len()))
}

/// SMBIOS 3.4, table at 0x20 (DSP0134, 5.2.2).
fn entry_point(length: usize) -> Vec<u8> {
    let mut entry = b"_SM3_".to_vec();
    entry.extend([0, 24, 3, 4, 0, 1, 0]);
    entry.extend(u32::try_from(length).unwrap_or(0).to_le_bytes());
    entry.extend(0x20_u64.to_le_bytes());
    entry[5] = entry.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte));
    entry
}

struct Table(Vec<u8>);

/// One structure while it is written: its bytes after the header, and its strings.
#[derive(Default)]
struct Record {
    bytes: Vec<u8>,
    strings: Vec<String>,
}

impl Record {
    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    fn word(&mut self, word: u16) -> &mut Self {
        self.bytes(&word.to_le_bytes())
    }

    fn long(&mut self, long: u32) -> &mut Self {
        self.bytes(&long.to_le_bytes())
    }

    /// The number of a string; an empty one is number 0.
    fn string(&mut self, text: &str) -> &mut Self {
        let mut number = 0;
        if !text.is_empty() {
            self.strings.push(text.to_owned());
            number = u8::try_from(self.strings.len()).unwrap_or(0);
        }
        self.bytes(&[number])
    }

    fn close(&mut self, table: &mut Table, kind: u8, handle: u16) {
        table.0.extend([kind, u8::try_from(4 + self.bytes.len()).unwrap_or(u8::MAX)]);
        table.0.extend(handle.to_le_bytes());
        table.0.append(&mut self.bytes);
        // Strings end with a zero each and the set with one more; no string at all is two zeros.
        if self.strings.is_empty() {
            table.0.push(0);
        }
        for text in self.strings.drain(..) {
            table.0.extend(text.bytes().chain([0]));
        }
        table.0.push(0);
    }
}

fn common(table: &mut Table, facts: &Facts, identity: &Identity) {
    let Identity { bios, system, board, chassis, cpu, serial, board_serial, is_guest } = identity;
    let mut record = Record::default();
    // Type 0: bit 4 of the second extension byte says "virtual machine".
    let (rom, extension) = if *is_guest { (0, [0, 0x14]) } else { (0xff, [3, 0x0d]) };
    record.string(bios[0]).string(bios[1]).word(0xf000).string(bios[2]);
    record
        .bytes(&[rom])
        .bytes(&[0x80, 0x98, 0x8b, 0x3f, 1, 0, 0, 0])
        .bytes(&extension)
        .bytes(&[1, 14, 0xff, 0xff]);
    record.close(table, 0, 0);
    let [maker, product, version, sku, family] = *system;
    record.string(maker).string(product).string(version).string(serial).bytes(&facts.wire_uuid());
    record.bytes(&[6]).string(sku).string(family).close(table, 1, 1); // woken by the power switch
    if !is_guest {
        let [maker, product, version] = *board;
        record.string(maker).string(product).string(version).string(board_serial).string("");
        record.bytes(&[9, 0]).word(3).bytes(&[10, 0]).close(table, 2, 2);
    }
    record
        .string(maker)
        .bytes(&[*chassis])
        .string(if *is_guest { version } else { "" })
        .string(serial)
        .string("");
    record.bytes(&[3, 3, 3, 2]).long(0).bytes(&[0, 1, 0, 0]).string(sku).close(table, 3, 3);
    let [vendor, model] = *cpu;
    record.string("CPU 0").bytes(&[3, 0xc6]).string(if *is_guest { "QEMU" } else { vendor });
    record.bytes(&[0x72, 0x06, 0x09, 0, 0xff, 0xfb, 0xeb, 0xbf]).string(if *is_guest {
        version
    } else {
        model
    });
    record.bytes(&[0x8b]).word(100).word(4900).word(2100).bytes(&[0x41, 1]);
    record.word(0xffff).word(0xffff).word(0xffff).bytes(&[0, 0, 0, 8, 8, 16]).word(0xfc).word(0xc6);
    record.close(table, 4, 4);
}

/// What the makers' types say of the ME. A consumer machine has the `vPro` tag too: it means nothing.
fn manageability(table: &mut Table, facts: &Facts) {
    let amt = facts.has_amt();
    let Firmware { major, minor, hotfix, build } = facts.firmware;
    let mut record = Record::default();
    // Type 130: supported, enabled, IDE-R, SOL, network; then extended capabilities as seen.
    record.bytes(b"$AMT").bytes(&[u8::from(amt); 5]).bytes(&[0xa5, 0xaf, 0x02, 0x80, 0, u8::from(amt), 0]);
    record.close(table, 130, 0xf02b);
    // Type 131: ME capabilities are at 24, the version at 28 in the order minor, major, build, hotfix.
    let capabilities = if amt { 0xc009 } else { 0x2021 };
    let (pch, nic) = (facts.platform.pch, facts.platform.nic);
    record.long(0x35).word(if amt { major } else { 0 }).word(0).word(0).word(4);
    record.word(0xf8).word(pch).long(0).long(capabilities);
    record.word(minor).word(major).word(build).word(hotfix);
    record.long(0).word(0xfe).word(nic).long(0).long(0).long(0x26).bytes(b"vPro").long(0);
    record.close(table, 131, 0xf02c);
    let status = super::sysfs::firmware_status(facts);
    // Type 219: four records of a name and six status words; the last three belong to other devices.
    let other: [[u32; 6]; 3] = [[u32::MAX; 6], [0x8000_0003, 0, 0, 0, 0, 0], [0x0000_0400, 0, 0, 0, 0, 0]];
    record.bytes(&[1, 4]);
    for (name, words) in ["MEI1", "MEI2", "MEI3", "MEI4"].iter().zip([status].iter().chain(&other)) {
        record.string(name);
        words.iter().for_each(|word| {
            record.long(*word);
        });
    }
    record.close(table, 219, 0xf030);
    // Type 221: name, string, major, minor, patch, build; here the ME's own.
    let sku = if amt { "Corporate SKU" } else { "Consumer SKU" };
    let byte = |number: u16| u8::try_from(number).unwrap_or(u8::MAX);
    record.bytes(&[3]);
    record.string("Reference Code - ME").string("").bytes(&[12, 0, 0x65]).word(0x70);
    record.string("MEBx version").string("").bytes(&[if amt { byte(major) } else { 0 }, 0, 0]).word(0);
    record
        .string("ME Firmware Version")
        .string(sku)
        .bytes(&[byte(major), byte(minor), byte(hotfix)])
        .word(build);
    record.close(table, 221, 0xf031);
}
