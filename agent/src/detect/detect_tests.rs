//! Detection over small machine roots made here.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use oob_policy::{Detection, UNKNOWN, Value};
use proptest::prelude::*;

use super::*;

const STATUS: &str = "sys/class/mei/mei0/fw_status";

/// A machine root under construction.
struct Root {
    dir: tempfile::TempDir,
}

impl Root {
    fn new(cpu: &str) -> Self {
        let root = Self { dir: tempfile::tempdir().unwrap() };
        root.with("proc/cpuinfo", format!("vendor_id: {cpu}\nmodel name: X\nflags: fpu\n"))
    }

    fn path(&self, rel: &str) -> PathBuf {
        let path = self.dir.path().join(rel);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn with(self, rel: &str, content: impl AsRef<[u8]>) -> Self {
        std::fs::write(self.path(rel), content).unwrap();
        self
    }

    fn linked(self, rel: &str, target: &str) -> Self {
        symlink(target, self.path(rel)).unwrap();
        self
    }

    fn pci(self, address: &str, vendor: u16, device: u16, class: u32) -> Self {
        let at = format!("sys/bus/pci/devices/{address}");
        self.with(&format!("{at}/vendor"), format!("{vendor:#06x}\n"))
            .with(&format!("{at}/device"), format!("{device:#06x}\n"))
            .with(&format!("{at}/class"), format!("{class:#08x}\n"))
    }

    /// An engine as the driver shows it.
    fn engine(self, state: &str, clients: &[&str]) -> Self {
        let mut root = self
            .pci("0000:00:16.0", 0x8086, 0x7AE8, 0x078000)
            .linked("sys/bus/pci/devices/0000:00:16.0/driver", "../../../../bus/pci/drivers/mei_me")
            .with("sys/class/mei/mei0/kind", "mei\n")
            .with("sys/class/mei/mei0/dev_state", format!("{state}\n"))
            .with(
                "sys/class/mei/mei0/fw_status",
                "90000245\n09F10506\n00000030\n00004000\n00041F03\nC7E003CB\n",
            )
            .with("sys/class/mei/mei0/fw_ver", "0:16.1.25.1885\n0:16.1.25.1885\n0:16.1.25.1885\n")
            .with("sys/bus/mei/devices/.keep/x", ""); // the bus is there, with or without clients
        for uuid in clients {
            root = root.with(&format!("sys/bus/mei/devices/0000:00:16.0-{uuid}/uuid"), format!("{uuid}\n"));
        }
        root
    }

    async fn detect(&self) -> Detection {
        detect(&Machine::open(self.dir.path()).unwrap()).await
    }
}

fn reason<'a>(detection: &'a Detection, name: &str) -> &'a str {
    detection.fact(name).and_then(|fact| fact.reason.as_deref()).unwrap_or_default()
}

/// DESIGN section 6: every stable name is always printed, whatever the machine lacks.
const NAMES: [&str; 65] = [
    "identity.source",
    "host.vendor",
    "host.product",
    "host.version",
    "host.sku",
    "host.family",
    "host.serial",
    "host.uuid",
    "host.board.vendor",
    "host.board.product",
    "host.bios.vendor",
    "host.bios.version",
    "host.bios.date",
    "host.smbios",
    "host.form_factor",
    "host.cpu.vendor",
    "host.cpu.model",
    "host.macs",
    "host.name",
    "host.os",
    "host.kernel",
    "host.boot_time",
    "host.boot_id",
    "intel.me.state",
    "intel.me.version",
    "intel.me.sku",
    "intel.me.hfsts",
    "intel.me.manufacturing",
    "intel.me.working_state",
    "intel.me.operation_mode",
    "intel.me.init_complete",
    "intel.me.error",
    "intel.me.phase",
    "intel.me.state_by_source",
    "intel.me.boot_guard",
    "intel.me.pci",
    "intel.mei.clients",
    "intel.amt.verdict",
    "intel.amt.version",
    "intel.amt.provisioning",
    "intel.amt.control_mode",
    "intel.amt.uuid",
    "intel.amt.hashes",
    "intel.amt.pki_suffix",
    "intel.amt.ehbc",
    "intel.amt.zero_touch",
    "intel.amt.remote_access",
    "intel.amt.link",
    "intel.amt.setup_audit",
    "intel.amt.lms",
    "intel.amt.hint.smbios130",
    "intel.amt.hint.smbios131",
    "amd.pro",
    "amd.psp.state",
    "amd.psp.pci",
    "amd.psp.attributes",
    "dash.nic",
    "bmc.verdict",
    "bmc.vendor",
    "watchdog.count",
    "wol.count",
    "virt.hypervisor",
    "cloud.provider",
    "tpm.version",
    "secure_boot",
];

#[tokio::test]
async fn an_empty_root_is_unknown_throughout_and_never_absent() {
    let dir = tempfile::tempdir().unwrap();
    let detection = detect(&Machine::open(dir.path()).unwrap()).await;
    let names: Vec<&str> = detection.facts.iter().map(|fact| fact.name.as_str()).collect();
    assert_eq!(names, NAMES);
    for fact in &detection.facts {
        let nothing = fact.name == "identity.source" && fact.value.as_text() == Some("none");
        assert!(nothing || fact.value.as_text() == Some(UNKNOWN), "{fact:?}");
        assert!(fact.reason.as_deref().is_some_and(|reason| !reason.is_empty()), "{fact:?}");
    }
    assert_eq!((detection.device_id, detection.root), (None, oob_policy::RootKind::Capture));
}

#[tokio::test]
async fn an_engine_that_runs_is_told_with_version_and_sku() {
    let root = Root::new("GenuineIntel").engine("ENABLED", &[PTHI]);
    let detection = root.detect().await;
    let expected = [
        ("intel.me.state", "normal"),
        ("intel.me.version", "16.1.25.1885"),
        ("intel.me.sku", "corporate"),
        ("intel.me.pci", "8086:7ae8"),
        ("intel.amt.verdict", UNKNOWN),
    ];
    for (name, value) in expected {
        assert_eq!(detection.text(name), value, "{name}");
    }
    assert!(reason(&detection, "intel.amt.verdict").contains("not answered yet"));
    assert!(may_have_pthi(&Machine::open(root.dir.path()).unwrap()));
    let answer = PthiAnswer {
        code_versions: Ok(Versions { amt: "16.1.25".into(), sku: 16392, build: "1885".into() }),
        provisioning: Ok(0),
        control_mode: Ok(0),
        uuid: Ok("81d8c3b4-9251-11cb-aa19-e6932635bc8b".into()),
        posture: amt_posture::Posture::unasked(&Failure::Other("not asked".into())),
    };
    let detection = detect_with(&Machine::open(root.dir.path()).unwrap(), Some(answer)).await;
    assert_eq!(detection.text("intel.amt.verdict"), "capable");
    assert_eq!(detection.text("intel.amt.provisioning"), "pre");
    let without = Root::new("GenuineIntel").engine("ENABLED", &["8e6a6715-9abc-4043-88ef-9e39c6f63e0f"]);
    assert_eq!(without.detect().await.text("intel.amt.verdict"), "absent-or-disabled");
    assert!(!may_have_pthi(&Machine::open(without.dir.path()).unwrap()));
}

#[tokio::test]
async fn an_engine_that_is_not_served_or_not_seen_is_not_absent() {
    let no_driver = Root::new("GenuineIntel").pci("0000:00:16.0", 0x8086, 0xA360, 0x078000);
    let detection = no_driver.detect().await;
    assert!(reason(&detection, "intel.amt.verdict").contains("8086:a360"));
    let hidden = Root::new("GenuineIntel").pci("0000:00:1f.0", 0x8086, 0xA305, 0x060100);
    let detection = hidden.detect().await;
    assert_eq!((detection.text("intel.me.state"), detection.text("intel.amt.verdict")), ("hidden", UNKNOWN));
    let touch = Root::new("GenuineIntel")
        .pci("0000:00:16.4", 0x8086, 0x9D3E, 0x078000)
        .with("sys/class/mei/mei0/kind", "itouch")
        .with("sys/class/mei/mei0/fw_status", "00000004\n");
    let detection = touch.detect().await;
    assert_eq!(detection.text("intel.me.state"), "hidden", "a touch panel's registers mean nothing");
    let amd = Root::new("AuthenticAMD").pci("0000:00:14.0", 0x1022, 0x790B, 0x0C0500);
    let detection = amd.detect().await;
    assert_eq!((detection.text("intel.me.state"), detection.text("intel.amt.verdict")), ("absent", "absent"));
}

/// Configuration space: the fallback without the driver, all ones when asleep, cut short without root.
#[tokio::test]
async fn configuration_space_is_read_where_the_driver_is_not() {
    let config = |first: u32| {
        let mut bytes = vec![0u8; 256];
        bytes[0x40..0x44].copy_from_slice(&first.to_le_bytes());
        bytes
    };
    let cases = [
        (config(0x8002_2004), "soft-disabled", ""),
        (config(0x000f_0345), "normal", ""),
        (config(u32::MAX), UNKNOWN, "all ones"),
        (vec![0; 64], UNKNOWN, "run as root"),
    ];
    for (bytes, expected, because) in cases {
        let root = Root::new("GenuineIntel")
            .pci("0000:00:16.0", 0x8086, 0xA360, 0x078000)
            .with("sys/bus/pci/devices/0000:00:16.0/config", bytes);
        let detection = root.detect().await;
        assert_eq!(detection.text("intel.me.state"), expected);
        assert!(reason(&detection, "intel.me.state").contains(because), "{detection:?}");
    }
}

/// Registers of a function in D3 or hidden are no registers: the next source counts, and without one nothing does.
#[tokio::test]
async fn registers_that_sleep_are_passed_over() {
    let mut config = vec![0u8; 256];
    config[0x40..0x44].copy_from_slice(&0x8002_2004u32.to_le_bytes());
    let mut table = vec![219, 31, 0, 0, 1, 1, 1];
    table.extend(0x0000_0042u32.to_le_bytes());
    table.extend([0; 20]);
    table.extend(b"MEI1\0\0");
    for words in ["ffffffff\nffffffff\nffffffff\n", "00000000\n00000000\n00000060\n"] {
        let root = || Root::new("GenuineIntel").engine("ENABLED", &[]).with(STATUS, words);
        let detection = root().detect().await;
        for name in ["intel.me.state", "intel.me.hfsts", "intel.me.manufacturing", "intel.me.sku"] {
            assert_eq!(detection.text(name), UNKNOWN, "{name}");
        }
        assert!(reason(&detection, "intel.me.state").contains("mei0/fw_status reads as all ones or zero"));
        assert_eq!(detection.text("intel.amt.verdict"), "absent-or-disabled");
        let awake = root().with("sys/bus/pci/devices/0000:00:16.0/config", &config);
        assert_eq!(awake.detect().await.text("intel.me.state"), "soft-disabled");
        let recorded = root().with("sys/firmware/dmi/tables/DMI", &table);
        let detection = recorded.detect().await;
        assert_eq!(detection.text("intel.me.state"), "recovery");
        assert_eq!(detection.fact("intel.me.hfsts").unwrap().source, "smbios:219");
    }
}

/// Sources that contradict each other are all told: the driver's, configuration space and what firmware recorded.
#[tokio::test]
async fn every_source_of_the_registers_is_told() {
    let mut config = vec![0u8; 256];
    config[0x40..0x44].copy_from_slice(&0x8002_2004u32.to_le_bytes());
    let mut table = vec![219, 31, 0, 0, 1, 1, 1];
    table.extend(0x0000_0042u32.to_le_bytes());
    table.extend([0; 20]);
    table.extend(b"MEI1\0\0");
    let root = Root::new("GenuineIntel")
        .engine("ENABLED", &[])
        .with("sys/bus/pci/devices/0000:00:16.0/config", config)
        .with("sys/firmware/dmi/tables/DMI", table);
    let detection = root.detect().await;
    let Value::Map(states) = &detection.fact("intel.me.state_by_source").unwrap().value else {
        panic!("not a map")
    };
    let states: Vec<_> = states.iter().map(|(source, state)| (source.as_str(), state.clone())).collect();
    assert_eq!(
        states,
        [
            ("smbios:219", "recovery".into()),
            ("sys/bus/pci/devices/0000:00:16.0/config", "soft-disabled".into()),
            (STATUS, "normal".into()),
        ]
    );
    assert_eq!(detection.text("intel.me.operation_mode"), "normal", "the driver's is the one that counts");
    assert_eq!(detection.text("intel.me.boot_guard"), "measured+verified");
}

#[tokio::test]
async fn a_boot_is_told_by_the_machines_own_files() {
    let root = Root::new("GenuineIntel")
        .with("proc/sys/kernel/random/boot_id", "0b9c2f4e-6f0e-4c4a-9d6c-2d1c3b7b9a10\n")
        .with("proc/stat", "cpu  1 2 3\nbtime 1700000000\nprocesses 9\n");
    let detection = root.detect().await;
    assert_eq!(detection.text("host.boot_id"), "0b9c2f4e-6f0e-4c4a-9d6c-2d1c3b7b9a10");
    assert_eq!(detection.fact("host.boot_time").unwrap().value, Value::from(1_700_000_000));
}

/// Where the engine's own version is not to be had, SMBIOS tells whether HFSTS3 has a SKU; what firmware announces
/// beats what it recorded.
#[tokio::test]
async fn recorded_server_firmware_is_believed_by_its_version() {
    for (major, announced, expected) in
        [(12, false, "absent"), (9, false, UNKNOWN), (12, true, UNKNOWN), (9, true, UNKNOWN)]
    {
        let mut table = vec![219, 31, 0, 0, 1, 1, 1];
        table.extend([0x45, 2, 0, 0, 0, 0, 0, 0, 0x60].into_iter().chain([0; 15]));
        table.extend(b"MEI1\0\0");
        table.extend([221, 12, 1, 0, 1, 1, 0, major, 0, 1, 100, 0]);
        table.extend(b"ME Firmware Version\0\0");
        let mut root = Root::new("GenuineIntel").with("sys/firmware/dmi/tables/DMI", table);
        if announced {
            root = root.with(&format!("sys/bus/mei/devices/x-{PTHI}/uuid"), PTHI);
        }
        let detection = root.detect().await;
        assert_eq!(detection.text("intel.amt.verdict"), expected, "{major} {announced}: {detection:?}");
        assert_eq!(detection.text("intel.me.sku"), if major == 12 { "sps" } else { UNKNOWN });
    }
}

/// Before Linux 5.8 there is no kind, and only the PCI function tells a touch panel from the engine.
#[tokio::test]
async fn a_touch_panel_is_not_the_engine() {
    for (address, id) in [("0000:00:16.4", 0x9D3E), ("0000:00:16.0", 0x9D3E), ("0000:00:16.1", 0x9D3B)] {
        let root = Root::new("GenuineIntel")
            .pci(address, 0x8086, id, 0x078000)
            .linked("sys/class/mei/mei0/device", &format!("../../../bus/pci/devices/{address}"))
            .with("sys/class/mei/mei0/fw_status", "00000002\n")
            .with("sys/class/mei/mei0/fw_ver", "0:9.9.9.9\n");
        let detection = root.detect().await;
        assert_eq!(detection.text("intel.me.state"), "hidden", "{address} {id:x}");
        assert_eq!(detection.text("intel.me.version"), UNKNOWN, "{address} {id:x}");
        let both = root
            .pci("0000:00:16.0", 0x8086, 0x9D3A, 0x078000)
            .linked("sys/class/mei/mei1/device", "../../../bus/pci/devices/0000:00:16.0")
            .with("sys/class/mei/mei1/fw_status", "90000245\n");
        if address != "0000:00:16.0" {
            assert_eq!(both.detect().await.text("intel.me.state"), "normal", "{address} {id:x}");
        }
    }
}

#[tokio::test]
async fn dash_adapters_are_not_management_controllers() {
    let nic = |root: Root| root.pci("0000:02:00.1", 0x10EC, 0x8168, 0x020000);
    let dash = nic(Root::new("AuthenticAMD")).pci("0000:02:00.2", 0x10EC, 0x816C, 0x0C0701).pci(
        "0000:02:00.0",
        0x10EC,
        0x816E,
        0xFF0000,
    );
    let detection = dash.detect().await;
    assert_eq!((detection.text("dash.nic"), detection.text("bmc.verdict")), ("present", "false-sign"));
    let plain = nic(Root::new("AuthenticAMD")).detect().await;
    assert_eq!(plain.text("dash.nic"), UNKNOWN);
    let epp = nic(Root::new("AuthenticAMD")).with("sys/bus/pci/devices/0000:02:00.1/revision", "0x0e\n");
    assert_eq!(epp.detect().await.text("dash.nic"), "likely");
    let broadcom = Root::new("GenuineIntel").pci("0000:02:00.0", 0x14E4, 0x1687, 0x020000);
    assert_eq!(broadcom.detect().await.text("dash.nic"), "likely");
    let intel = Root::new("GenuineIntel").pci("0000:00:1f.6", 0x8086, 0x15BB, 0x020000);
    assert_eq!(intel.detect().await.text("dash.nic"), "absent");
}

#[tokio::test]
async fn no_wired_adapter_is_a_count_of_none() {
    let radio = Root::new("GenuineIntel")
        .with("sys/class/net/wlan0/type", "1\n")
        .with("sys/class/net/wlan0/device/x", "")
        .with("sys/class/net/wlan0/wireless/x", "")
        .with("sys/class/net/lo/type", "772\n");
    let detection = radio.detect().await;
    let facts: Vec<_> =
        detection.under("wol.").map(|fact| (fact.name.as_str(), fact.value.clone())).collect();
    assert_eq!(facts, [("wol.count", Value::from(0))]);
    assert!(reason(&detection, "wol.count").contains("no wired adapter"));
}

#[tokio::test]
async fn a_controller_that_answered_is_present() {
    let root =
        Root::new("GenuineIntel").with("sys/devices/platform/ipmi_bmc.0/manufacturer_id", "0x0002a2\n");
    let detection = root.detect().await;
    assert_eq!((detection.text("bmc.verdict"), detection.text("bmc.vendor")), ("present", "dell"));
}

/// The driver's node is a sign on any chassis and beats a type 38 without an address; a guest's is simulated.
#[tokio::test]
async fn a_node_of_the_ipmi_driver_makes_a_controller_likely() {
    let desktop = [3, 9, 0, 0, 0, 3, 0, 0, 0, 0, 0].to_vec();
    let nameless = [&[38, 16, 0, 0, 1, 0x20, 0x20, 0xFF][..], &[0; 10]].concat();
    for node in ["dev/ipmi0", "sys/class/ipmi/ipmi0/dev"] {
        for table in [&desktop, &nameless] {
            let root = Root::new("GenuineIntel").with("sys/firmware/dmi/tables/DMI", table);
            assert_ne!(root.detect().await.text("bmc.verdict"), "likely");
            let detection = root.with(node, "").detect().await;
            assert_eq!(detection.text("bmc.verdict"), "likely", "{node}");
            assert!(reason(&detection, "bmc.verdict").contains("IPMI driver"));
        }
        let guest = Root::new("GenuineIntel").with("proc/cpuinfo", "flags: hypervisor\n").with(node, "");
        assert_eq!(guest.detect().await.text("bmc.verdict"), "absent");
    }
}

#[tokio::test]
async fn watchdogs_adapters_and_the_secure_processor_are_listed() {
    let root = Root::new("AuthenticAMD")
        .with("sys/class/watchdog/watchdog10/identity", "iamt_wdt\n")
        .with("sys/class/watchdog/watchdog0/identity", "SP5100 TCO timer\n")
        .pci("0000:05:00.2", 0x1022, 0x1486, 0x108000)
        .with("sys/bus/pci/devices/0000:05:00.2/tsme_status", "1\n")
        .with("sys/class/net/enp1s0/type", "1\n")
        .with("sys/class/net/enp1s0/address", "3C:52:82:00:00:01\n")
        .with("sys/class/net/enp1s0/addr_assign_type", "0\n")
        .with("sys/class/net/enp1s0/device/power/wakeup", "enabled\n")
        .with("sys/class/net/lo/type", "772\n")
        .with("sys/class/tpm/tpm0/tpm_version_major", "2\n")
        .with("sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c", [6, 0, 0, 0, 1]);
    let detection = root.detect().await;
    let dogs: Vec<_> =
        detection.under("watchdog.").map(|fact| (fact.name.as_str(), fact.value.clone())).collect();
    let expected = [
        ("watchdog.0", Value::from("reset")),
        ("watchdog.10", Value::from("alarm-only")),
        ("watchdog.count", Value::from(2)),
    ];
    assert_eq!(dogs, expected);
    let Value::Map(attributes) = &detection.fact("amd.psp.attributes").unwrap().value else {
        panic!("not a map")
    };
    assert_eq!(attributes.get("tsme_status"), Some(&Value::from("1")));
    assert_eq!(detection.fact("host.macs").unwrap().value, Value::from(vec!["3c:52:82:00:00:01"]));
    assert_eq!(detection.text("wol.enp1s0"), UNKNOWN);
    assert!(reason(&detection, "wol.enp1s0").contains("wakeup is enabled"));
    assert_eq!((detection.text("tpm.version"), detection.text("secure_boot")), ("2.0", "enabled"));
    assert_eq!(detection.text("identity.source"), "nic");
    assert!(detection.device_id.is_some_and(|id| id.len() == 29));
}

/// A FIFO, a link out of the root or a table of three bytes must neither hold detection up nor lead it astray.
#[tokio::test]
async fn hostile_entries_are_passed_over() {
    let outside = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(outside.path(), "not of this machine").unwrap();
    let root = Root::new("GenuineIntel");
    let fifo = root.path("sys/class/dmi/id/sys_vendor");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let root = root
        .linked("sys/class/dmi/id/product_name", outside.path().to_str().unwrap())
        .with("sys/firmware/dmi/tables/DMI", [1, 200, 0]);
    let detection = root.detect().await;
    assert_eq!(detection.text("host.vendor"), UNKNOWN);
    assert_eq!(detection.text("host.product"), UNKNOWN);
    assert!(reason(&detection, "host.smbios").contains("offset 0x0"));
}

/// A structure of a type that detection reads, with any content and strings that it looks for among others.
fn any_structure() -> impl Strategy<Value = Vec<u8>> {
    let kinds = [0u8, 1, 2, 3, 4, 38, 42, 43, 130, 131, 219, 221];
    let text = prop_oneof!["MEI1", "ME Firmware Version", "Consumer SKU", "\\PC{0,20}"];
    let body = proptest::collection::vec(any::<u8>(), 0..110);
    let tags = proptest::sample::select(vec!["", "$AMT", "vPro"]);
    (proptest::sample::select(kinds.to_vec()), tags, body, proptest::collection::vec(text, 0..4)).prop_map(
        |(kind, tag, mut body, strings)| {
            let at = if tag == "vPro" { 52 } else { 0 };
            if let Some(place) = body.get_mut(at..at + tag.len()) {
                place.copy_from_slice(tag.as_bytes());
            }
            let mut bytes = vec![kind, (body.len() + 4) as u8, 0, 0];
            bytes.extend(body);
            for text in strings.iter().filter(|text| !text.is_empty()) {
                bytes.extend(text.bytes().filter(|byte| *byte != 0).chain([0]));
            }
            bytes.extend(if strings.iter().all(String::is_empty) { &[0, 0][..] } else { &[0] });
            bytes
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever firmware writes: no panic, AMT is never claimed, and each text is bounded.
    #[test]
    fn no_table_makes_detection_claim_amt(structures in proptest::collection::vec(any_structure(), 0..8)) {
        let root = Root::new("GenuineIntel").with("sys/firmware/dmi/tables/DMI", structures.concat());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let detection = runtime.block_on(root.detect());
        prop_assert!(["unknown", "absent"].contains(&detection.text("intel.amt.verdict")));
        for fact in &detection.facts {
            prop_assert!(fact.value.as_text().is_none_or(|text| text.chars().count() <= 256), "{:?}", fact);
        }
    }
}
