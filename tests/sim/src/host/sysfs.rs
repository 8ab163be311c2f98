//! The parts of sysfs that tell of out-of-band hardware: MEI, PCI, NICs, watchdog, TPM, EFI variables.

use std::io;

use super::Tree;
use crate::mei::Client;
use crate::profile::{Body, Facts, canonical};

/// HFSTS1..6: working normally, initialized, not in manufacturing mode; word 3 tells the SKU (3 corporate, 2
/// consumer; `reference/detect.md` 1.3).
pub(super) fn firmware_status(facts: &Facts) -> [u32; 6] {
    let sku = if facts.has_amt() { 0x30 } else { 0x20 };
    [0x9000_0245, 0x3985_0106, sku, 0x0000_4000, 0x0000_0000, 0x4000_0000]
}

const HECI: &str = "0000:00:16.0";

/// The HECI function, its MEI device and the firmware clients on the MEI bus.
pub(super) fn mei(tree: &Tree, facts: &Facts) -> io::Result<()> {
    let id = facts.platform.heci;
    let status = firmware_status(facts);
    let mut config = config_space(0x8086, id, 0x07_8000, 0x11);
    for (offset, word) in [0x40, 0x48, 0x60, 0x64, 0x68, 0x6c].into_iter().zip(status) {
        config[offset..offset + 4].copy_from_slice(&word.to_le_bytes());
    }
    pci(tree, HECI, &config, "mei_me")?;
    let class = "sys/class/mei/mei0";
    let lines = |words: [u32; 6]| words.map(|word| format!("{word:08X}")).join("\n");
    let version = format!("0:{}.{}", facts.version(), facts.firmware.build);
    tree.attributes(
        class,
        &[
            ("dev", "241:0"),
            ("dev_state", "ENABLED"),
            ("fw_status", &lines(status)),
            ("fw_ver", &[version.as_str(); 3].join("\n")),
            ("hbm_ver", "2.2"),
            ("hbm_ver_drv", "2.2"),
            ("kind", "mei"),
            ("trc", "00000000"),
            ("tx_queue_limit", "50"),
            ("uevent", "MAJOR=241\nMINOR=0\nDEVNAME=mei0"),
        ],
    )?;
    tree.link(&format!("{class}/device"), &format!("../../../bus/pci/devices/{HECI}"))?;
    for client in Client::of(facts) {
        let uuid = canonical(client.guid());
        let version = format!("{:02X}", client.version());
        tree.attributes(
            &format!("sys/bus/mei/devices/{HECI}-{uuid}"),
            &[
                ("uuid", &uuid),
                ("name", &uuid),
                ("version", &version),
                ("modalias", &format!("mei:{uuid}:{uuid}:{version}:")),
                ("max_conn", &client.max_connections().to_string()),
                ("max_len", &client.max_message().to_string()),
                ("fixed", "0"),
                ("vtag", "0"),
            ],
        )?;
    }
    Ok(())
}

/// The NICs with their PCI functions, and the loopback interface.
pub(super) fn network(tree: &Tree, facts: &Facts) -> io::Result<()> {
    let lo = [
        ("address", "00:00:00:00:00:00"),
        ("addr_assign_type", "0"),
        ("type", "772"),
        ("operstate", "unknown"),
        ("flags", "0x9"),
        ("ifindex", "1"),
        ("mtu", "65536"),
    ];
    tree.attributes("sys/class/net/lo", &lo)?;
    match facts.profile.body() {
        Body::Desktop => {
            pci(tree, "0000:00:1f.6", &config_space(0x8086, facts.platform.nic, 0x02_0000, 0x11), "e1000e")?;
            nic(tree, "eno1", facts.mac, true, "0000:00:1f.6")
        }
        Body::WifiLaptop => {
            pci(tree, "0000:00:14.3", &config_space(0x8086, facts.platform.nic, 0x02_8000, 0x01), "iwlwifi")?;
            nic(tree, "wlp0s20f3", facts.mac, true, "0000:00:14.3")?;
            tree.directory("sys/class/net/wlp0s20f3/wireless")
        }
        Body::ConsumerLaptop => {
            pci(tree, "0000:02:00.0", &config_space(0x10ec, 0x8168, 0x02_0000, 0x15), "r8169")?;
            nic(tree, "enp2s0", facts.mac, false, "0000:02:00.0")?;
            pci(tree, "0000:00:14.3", &config_space(0x8086, 0x51f0, 0x02_8000, 0x01), "iwlwifi")?;
            let mut mac = facts.mac;
            mac[5] ^= 0x01;
            nic(tree, "wlp0s20f3", mac, true, "0000:00:14.3")?;
            tree.directory("sys/class/net/wlp0s20f3/wireless")
        }
        Body::Guest => {
            pci(tree, "0000:01:00.0", &config_space(0x1af4, 0x1041, 0x02_0000, 0x01), "virtio-pci")?;
            let virtio =
                [("vendor", "0x1af4"), ("device", "0x0001"), ("modalias", "virtio:d00000001v00001AF4")];
            tree.attributes("sys/bus/pci/devices/0000:01:00.0/virtio0", &virtio)?;
            tree.link("sys/bus/virtio/devices/virtio0", "../../pci/devices/0000:01:00.0/virtio0")?;
            driver(
                tree,
                "virtio",
                "sys/bus/pci/devices/0000:01:00.0/virtio0",
                "../../../../virtio",
                "virtio_net",
            )?;
            nic(tree, "enp1s0", facts.mac, true, "0000:01:00.0/virtio0")
        }
    }
}

fn nic(tree: &Tree, name: &str, mac: [u8; 6], up: bool, device: &str) -> io::Result<()> {
    let address = mac.map(|byte| format!("{byte:02x}")).join(":");
    let directory = format!("sys/class/net/{name}");
    tree.attributes(
        &directory,
        &[
            ("address", &address),
            ("addr_assign_type", "0"),
            ("addr_len", "6"),
            ("type", "1"),
            ("operstate", if up { "up" } else { "down" }),
            ("carrier", if up { "1" } else { "0" }),
            ("flags", "0x1003"),
            ("ifindex", "2"),
            ("mtu", "1500"),
            ("speed", if up { "1000" } else { "-1" }),
            ("uevent", &format!("INTERFACE={name}\nIFINDEX=2")),
        ],
    )?;
    tree.link(&format!("{directory}/device"), &format!("../../../bus/pci/devices/{device}"))
}

/// The chipset's watchdog, which counts as one (`reference/detect.md` 5).
pub(super) fn watchdog(tree: &Tree) -> io::Result<()> {
    let attributes = [
        ("identity", "iTCO_wdt"),
        ("state", "inactive"),
        ("status", "0x0"),
        ("options", "0x8180"),
        ("timeout", "30"),
        ("nowayout", "0"),
        ("bootstatus", "0"),
        ("fw_version", "0"),
        ("dev", "248:0"),
    ];
    tree.attributes("sys/class/watchdog/watchdog0", &attributes)
}

/// A TPM 2.0, and Secure Boot on: four attribute bytes, then the value.
pub(super) fn tpm_and_secure_boot(tree: &Tree) -> io::Result<()> {
    tree.text("sys/class/tpm/tpm0/tpm_version_major", "2")?;
    for (name, value) in [("SecureBoot", 1), ("SetupMode", 0)] {
        let path = format!("sys/firmware/efi/efivars/{name}-8be4df61-93ca-11d2-aa0d-00e098032b8c");
        tree.bytes(&path, &[6, 0, 0, 0, value])?;
    }
    tree.text("sys/firmware/efi/fw_platform_size", "64")
}

/// The standard header of a configuration space of 256 bytes.
fn config_space(vendor: u16, device: u16, class: u32, revision: u8) -> Vec<u8> {
    let mut config = vec![0; 256];
    config[0..2].copy_from_slice(&vendor.to_le_bytes());
    config[2..4].copy_from_slice(&device.to_le_bytes());
    config[4..6].copy_from_slice(&0x0406_u16.to_le_bytes()); // memory, bus master, no INTx
    config[8] = revision;
    config[9..12].copy_from_slice(&class.to_le_bytes()[..3]);
    config
}

fn pci(tree: &Tree, address: &str, config: &[u8], driver_name: &str) -> io::Result<()> {
    let directory = format!("sys/bus/pci/devices/{address}");
    let number = |bytes: &[u8]| bytes.iter().rev().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (vendor, device, class) = (number(&config[0..2]), number(&config[2..4]), number(&config[9..12]));
    tree.bytes(&format!("{directory}/config"), config)?;
    tree.attributes(
        &directory,
        &[
            ("vendor", &format!("0x{vendor}")),
            ("device", &format!("0x{device}")),
            ("class", &format!("0x{class}")),
            ("revision", &format!("0x{:02x}", config[8])),
            ("subsystem_vendor", "0x0000"),
            ("subsystem_device", "0x0000"),
            ("enable", "1"),
            ("uevent", &format!("DRIVER={driver_name}\nPCI_CLASS={class}\nPCI_SLOT_NAME={address}")),
        ],
    )?;
    tree.text(
        &format!("{directory}/power/wakeup"),
        if class.starts_with("0200") { "enabled" } else { "disabled" },
    )?;
    driver(tree, "pci", &directory, "../..", driver_name)
}

fn driver(tree: &Tree, bus: &str, device: &str, bus_from_device: &str, name: &str) -> io::Result<()> {
    tree.directory(&format!("sys/bus/{bus}/drivers/{name}"))?;
    tree.link(&format!("{device}/driver"), &format!("{bus_from_device}/drivers/{name}"))
}
