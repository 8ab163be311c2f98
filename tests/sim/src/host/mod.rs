//! The host side of a machine: what its kernel shows under `sys` and `proc` (`reference/detect.md`).

mod smbios;
mod sysfs;

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::profile::{Body, Facts};

/// The BIOS version of every machine that has a BIOS of this maker; PTHI code versions show it, too.
pub const BIOS_VERSION: &str = "1.14.2";

/// Writes the tree of the machine `facts` under `dir`.
///
/// # Errors
/// When a file cannot be written.
pub fn build(dir: &Path, facts: &Facts) -> io::Result<()> {
    let tree = Tree { root: dir.to_owned() };
    tree.directory("dev")?;
    tree.directory("sys")?;
    let identity = Identity::of(facts);
    dmi(&tree, facts, &identity)?;
    proc(&tree, facts)?;
    sysfs::network(&tree, facts)?;
    if facts.has_mei() {
        sysfs::mei(&tree, facts)?;
        sysfs::watchdog(&tree)?;
        sysfs::tpm_and_secure_boot(&tree)?;
    }
    Ok(())
}

/// Files beneath the machine's root.
struct Tree {
    root: PathBuf,
}

impl Tree {
    fn directory(&self, path: &str) -> io::Result<()> {
        fs::create_dir_all(self.root.join(path))
    }

    fn bytes(&self, path: &str, content: &[u8]) -> io::Result<()> {
        let path = self.root.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, content)
    }

    /// An attribute: its text and a newline.
    fn text(&self, path: &str, content: &str) -> io::Result<()> {
        self.bytes(path, format!("{content}\n").as_bytes())
    }

    /// Several attributes of one directory.
    fn attributes(&self, directory: &str, attributes: &[(&str, &str)]) -> io::Result<()> {
        attributes.iter().try_for_each(|(name, value)| self.text(&format!("{directory}/{name}"), value))
    }

    /// A relative link, as sysfs has them.
    fn link(&self, path: &str, target: &str) -> io::Result<()> {
        let path = self.root.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        symlink(target, path)
    }
}

/// What DMI and SMBIOS say in words.
struct Identity {
    bios: [&'static str; 3],
    system: [&'static str; 5],
    board: [&'static str; 3],
    chassis: u8,
    cpu: [&'static str; 2],
    serial: String,
    board_serial: String,
    is_guest: bool,
}

impl Identity {
    fn of(facts: &Facts) -> Self {
        let maker = "Example Computer Corp.";
        let serial = facts.serial.clone();
        let board_serial = format!("/{serial}/EXB{:02X}{:02X}/", facts.mac[4], facts.mac[5]);
        match facts.profile.body() {
            Body::Desktop => Self {
                bios: [maker, BIOS_VERSION, "03/14/2023"],
                system: [maker, "ExampleDesk 7100", "", "0B1A", "ExampleDesk"],
                board: [maker, "0EX7100", "A01"],
                chassis: 3,
                cpu: ["GenuineIntel", facts.platform.cpu],
                serial,
                board_serial,
                is_guest: false,
            },
            Body::WifiLaptop => Self {
                bios: [maker, BIOS_VERSION, "06/02/2023"],
                system: [maker, "ExampleBook Pro 14", "", "0B9D", "ExampleBook Pro"],
                board: [maker, "0EXP140", "A00"],
                chassis: 10,
                cpu: ["GenuineIntel", facts.platform.cpu],
                serial,
                board_serial,
                is_guest: false,
            },
            Body::ConsumerLaptop => Self {
                bios: [maker, BIOS_VERSION, "06/02/2023"],
                system: [maker, "ExampleBook 15", "", "0B7C", "ExampleBook"],
                board: [maker, "0EXB150", "A00"],
                chassis: 10,
                cpu: ["GenuineIntel", facts.platform.cpu],
                serial,
                board_serial,
                is_guest: false,
            },
            Body::Guest => Self {
                bios: ["SeaBIOS", "1.16.2-debian-1.16.2-1", "04/01/2014"],
                system: ["QEMU", "Standard PC (Q35 + ICH9, 2009)", "pc-q35-7.2", "", ""],
                board: ["", "", ""],
                chassis: 1,
                cpu: ["GenuineIntel", facts.platform.cpu],
                serial: String::new(),
                board_serial: String::new(),
                is_guest: true,
            },
        }
    }
}

fn dmi(tree: &Tree, facts: &Facts, identity: &Identity) -> io::Result<()> {
    let (table, entry) = smbios::tables(facts, identity);
    tree.bytes("sys/firmware/dmi/tables/DMI", &table)?;
    tree.bytes("sys/firmware/dmi/tables/smbios_entry_point", &entry)?;
    let ([bios_vendor, bios_version, bios_date], [maker, product, version, sku, family]) =
        (identity.bios, identity.system);
    let chassis = identity.chassis.to_string();
    let id = "sys/class/dmi/id";
    tree.attributes(
        id,
        &[
            ("bios_vendor", bios_vendor),
            ("bios_version", bios_version),
            ("bios_date", bios_date),
            ("sys_vendor", maker),
            ("product_name", product),
            ("product_version", version),
            ("product_serial", &identity.serial),
            ("product_uuid", &facts.uuid_text()),
            ("product_sku", sku),
            ("product_family", family),
            ("chassis_vendor", maker),
            ("chassis_type", &chassis),
            ("chassis_serial", &identity.serial),
            ("chassis_version", if identity.is_guest { version } else { "" }),
            ("chassis_asset_tag", ""),
        ],
    )?;
    if identity.is_guest {
        return Ok(()); // QEMU writes no board
    }
    let [board_vendor, board_name, board_version] = identity.board;
    let board = [
        ("board_vendor", board_vendor),
        ("board_name", board_name),
        ("board_version", board_version),
        ("board_serial", &identity.board_serial),
        ("board_asset_tag", ""),
    ];
    tree.attributes(id, &board)
}

fn proc(tree: &Tree, facts: &Facts) -> io::Result<()> {
    let identity = Identity::of(facts);
    let [vendor, model] = identity.cpu;
    let (count, hypervisor) = if identity.is_guest { (2, " hypervisor") } else { (8, "") };
    let processor = |number: u32| {
        let physical = "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse \
                        sse2 ss ht syscall nx rdtscp lm constant_tsc nopl cpuid pni pclmulqdq ssse3 fma cx16 sse4_1 \
                        sse4_2 x2apic movbe popcnt aes xsave avx f16c rdrand";
        format!(
            "processor\t: {number}\nvendor_id\t: {vendor}\ncpu family\t: 6\nmodel\t\t: 151\nmodel name\t: {model}\n\
             stepping\t: 2\nsiblings\t: {count}\ncore id\t\t: {number}\ncpu cores\t: {count}\n\
             flags\t\t: {physical}{hypervisor} lahf_lm\naddress sizes\t: 46 bits physical, 48 bits virtual\n\n"
        )
    };
    tree.bytes("proc/cpuinfo", (0..count).map(processor).collect::<String>().as_bytes())?;
    tree.text("proc/version", "Linux version 6.12.0-example (build@example.invalid) (gcc) #1 SMP")?;
    tree.text("proc/cmdline", "quiet")
}
