//! What firmware says the machine is: the SMBIOS table, and the kernel's view of it in `/sys/class/dmi/id`.

use super::smbios::{Structure, Table};
use super::{Machine, Seen};

const TABLE: &str = "sys/firmware/dmi/tables/DMI";
const ENTRY: &str = "sys/firmware/dmi/tables/smbios_entry_point";

/// A string that firmware gives, with the file of `/sys/class/dmi/id` and the place in the table where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    SysVendor,
    ProductName,
    ProductVersion,
    ProductSerial,
    ProductSku,
    ProductFamily,
    BoardVendor,
    BoardName,
    BiosVendor,
    BiosVersion,
    BiosDate,
    ChassisVendor,
    ChassisAssetTag,
}

impl Field {
    /// File name, structure type, offset of the string number (DSP0134 7.1 to 7.4).
    const fn place(self) -> (&'static str, u8, usize) {
        match self {
            Self::SysVendor => ("sys_vendor", 1, 4),
            Self::ProductName => ("product_name", 1, 5),
            Self::ProductVersion => ("product_version", 1, 6),
            Self::ProductSerial => ("product_serial", 1, 7),
            Self::ProductSku => ("product_sku", 1, 0x19),
            Self::ProductFamily => ("product_family", 1, 0x1A),
            Self::BoardVendor => ("board_vendor", 2, 4),
            Self::BoardName => ("board_name", 2, 5),
            Self::BiosVendor => ("bios_vendor", 0, 4),
            Self::BiosVersion => ("bios_version", 0, 5),
            Self::BiosDate => ("bios_date", 0, 8),
            Self::ChassisVendor => ("chassis_vendor", 3, 4),
            Self::ChassisAssetTag => ("chassis_asset_tag", 3, 8),
        }
    }

    /// Where it is read from, for a fact's source.
    pub fn source(self) -> String {
        format!("sys/class/dmi/id/{}", self.place().0)
    }
}

/// The firmware's words about the machine.
#[derive(Debug)]
pub struct Dmi<'m> {
    machine: &'m Machine,
    pub table: Seen<Table>,
}

impl<'m> Dmi<'m> {
    pub(crate) fn read(machine: &'m Machine) -> Self {
        let entry = machine.look(ENTRY).found();
        let table = machine.look(TABLE).map(|bytes| Table::parse(entry.as_deref(), &bytes));
        Self { machine, table }
    }

    /// The structures of one type; none where the table is not to be had.
    pub fn of(&self, kind: u8) -> impl Iterator<Item = &Structure> {
        let structures: &[Structure] = match &self.table {
            Seen::Found(table) => &table.structures,
            Seen::Missing | Seen::Refused(_) => &[],
        };
        structures.iter().filter(move |structure| structure.kind == kind)
    }

    /// One string. `Found("")` means that firmware leaves it out.
    pub fn text(&self, field: Field) -> Seen<String> {
        self.text_at(field).0
    }

    /// One string with where it was read, or would have been.
    pub fn text_at(&self, field: Field) -> (Seen<String>, String) {
        let (_, kind, at) = field.place();
        let in_table = |table: &Table| {
            table.of(kind).next().map(|structure| structure.text(at).unwrap_or_default().to_owned())
        };
        self.find(field.source(), kind, in_table)
    }

    /// One string, or nothing where it cannot be read or is left out.
    pub fn known(&self, field: Field) -> Option<String> {
        self.text(field).found().filter(|text| !text.is_empty())
    }

    /// The system UUID as RFC 4122 text, lower case.
    pub fn uuid(&self) -> Seen<String> {
        self.uuid_at().0
    }

    pub fn uuid_at(&self) -> (Seen<String>, String) {
        let in_table = |table: &Table| {
            let bytes = table.of(1).next()?.array::<16>(8)?;
            Some(uuid_text(bytes, table.version))
        };
        let (seen, source) = self.find("sys/class/dmi/id/product_uuid".to_owned(), 1, in_table);
        (seen.map(|text| text.to_lowercase()), source)
    }

    /// The kernel's file comes first: what it shows to everyone needs no root.
    fn find(
        &self,
        rel: String,
        kind: u8,
        in_table: impl Fn(&Table) -> Option<String>,
    ) -> (Seen<String>, String) {
        match (self.machine.look_text(&rel), &self.table) {
            (Seen::Found(text), _) => (Seen::Found(text), rel),
            (_, Seen::Found(table)) => {
                let source = format!("smbios:{kind}");
                (in_table(table).map_or(Seen::Missing, Seen::Found), source)
            }
            (Seen::Refused(why), _) => (Seen::Refused(why), rel),
            (Seen::Missing, Seen::Refused(why)) => (Seen::Refused(why.clone()), rel),
            (Seen::Missing, Seen::Missing) => (Seen::Missing, rel),
        }
    }

    /// The chassis type without its lock bit (DSP0134 7.4.1).
    pub fn chassis(&self) -> Seen<u8> {
        let rel = "sys/class/dmi/id/chassis_type";
        if let Seen::Found(text) = self.machine.look_text(rel)
            && let Ok(number) = text.parse::<u8>()
        {
            return Seen::Found(number & 0x7F);
        }
        match &self.table {
            Seen::Found(table) => {
                let kind = table.of(3).next().and_then(|chassis| chassis.u8(5));
                kind.map_or(Seen::Missing, |kind| Seen::Found(kind & 0x7F))
            }
            Seen::Missing => Seen::Missing,
            Seen::Refused(why) => Seen::Refused(why.clone()),
        }
    }
}

/// Since SMBIOS 2.6 the first three groups stand little-endian; before that, as written (DSP0134 7.2.1).
fn uuid_text(mut bytes: [u8; 16], version: Option<(u8, u8)>) -> String {
    if version.is_none_or(|version| version >= (2, 6)) {
        bytes[0..4].reverse();
        bytes[4..6].reverse();
        bytes[6..8].reverse();
    }
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut text = hex;
    for at in [20, 16, 12, 8] {
        text.insert(at, '-');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuid_groups_are_swapped_since_2_6() {
        let bytes: [u8; 16] = std::array::from_fn(|at| at as u8);
        assert_eq!(uuid_text(bytes, Some((2, 6))), "03020100-0504-0706-0809-0a0b0c0d0e0f");
        assert_eq!(uuid_text(bytes, Some((2, 5))), "00010203-0405-0607-0809-0a0b0c0d0e0f");
        assert_eq!(uuid_text(bytes, None), "03020100-0504-0706-0809-0a0b0c0d0e0f");
    }
}
