//! What the agent reads of a machine: SMBIOS tables, files of sysfs and procfs, events of org state.

/// Files whose content is foreign, one for each parser; directories on the way show as hardware.
pub const MACHINE_FILES: [&str; 40] = [
    "sys/firmware/dmi/tables/DMI",
    "sys/firmware/dmi/tables/smbios_entry_point",
    "sys/class/dmi/id/sys_vendor",
    "sys/class/dmi/id/product_uuid",
    "sys/class/dmi/id/chassis_type",
    "sys/class/mei/mei0/fw_status",
    "sys/class/mei/mei0/fw_ver",
    "sys/class/mei/mei0/kind",
    "sys/class/mei/mei0/dev_state",
    "sys/class/mei/mei0/trc",
    "sys/bus/mei/devices/0000:00:16.0-12f80028-b4b7-4b2d-aca8-46e0ff65814c/uuid",
    "sys/bus/mei/devices/0000:00:16.0-12f80028-b4b7-4b2d-aca8-46e0ff65814c/max_len",
    "sys/bus/pci/devices/0000:00:16.0/vendor",
    "sys/bus/pci/devices/0000:00:16.0/device",
    "sys/bus/pci/devices/0000:00:16.0/class",
    "sys/bus/pci/devices/0000:00:16.0/revision",
    "sys/bus/pci/devices/0000:00:16.0/config",
    "sys/bus/pci/devices/0000:02:00.0/vendor",
    "sys/bus/pci/devices/0000:02:00.0/device",
    "sys/bus/pci/devices/0000:02:00.0/class",
    "sys/bus/pci/devices/0000:02:00.0/fused_part",
    "sys/class/net/eno1/address",
    "sys/class/net/eno1/addr_assign_type",
    "sys/class/net/eno1/type",
    "sys/class/net/eno1/device/vendor",
    "sys/class/net/eno1/power/wakeup",
    "sys/class/tpm/tpm0/tpm_version_major",
    "sys/class/watchdog/watchdog0/identity",
    "sys/class/ipmi/ipmi0/device/type",
    "sys/devices/platform/ipmi_bmc.0/manufacturer_id",
    "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c",
    "sys/firmware/efi/efivars/SetupMode-8be4df61-93ca-11d2-aa0d-00e098032b8c",
    "sys/hypervisor/type",
    "sys/hypervisor/uuid",
    "sys/hypervisor/properties/features",
    "sys/devices/system/clocksource/clocksource0/available_clocksource",
    "proc/cpuinfo",
    "proc/stat",
    "proc/sys/kernel/random/boot_id",
    "ports.json",
];

/// A table with the structures that facts come from, alone and behind an entry point.
pub(super) fn smbios() -> Vec<Vec<u8>> {
    let table = table();
    let length = u32::try_from(table.len()).expect("a small table");
    let mut entry3 = b"_SM3_\0\x18\x03\x02\0\x01\0".to_vec();
    entry3.extend(length.to_le_bytes());
    entry3.extend(32_u64.to_le_bytes());
    entry3[5] = entry3.iter().fold(0, |sum: u8, byte| sum.wrapping_sub(*byte));
    let mut entry2 = vec![0; 31];
    entry2[..4].copy_from_slice(b"_SM_");
    entry2[5..8].copy_from_slice(&[31, 2, 8]);
    entry2[0x16..0x18].copy_from_slice(&length.to_le_bytes()[..2]);
    entry2[4] = entry2.iter().fold(0, |sum: u8, byte| sum.wrapping_sub(*byte));
    entry3.resize(31, 0);
    vec![table.clone(), [&entry2[..], &table].concat(), [&entry3[..], &table].concat()]
}

fn table() -> Vec<u8> {
    let vpro = b"\0\0\0\0vPro\x07\0\0\0\x01\0\0\0".to_vec();
    let hfsts = [&[1, 0, 0, 2][..], b"$MEI\x45\x02\0\x90\x06\x01\x85\x39\x30\0\0\0\0\x40\0\0"].concat();
    let structures: [(u8, Vec<u8>, &[&[u8]]); 11] = [
        (0, [&[1, 2, 0, 0xe0, 3][..], &[0; 19]].concat(), &[b"Maker", b"1.2"]),
        (
            1,
            [&[1, 2, 3, 4][..], &[7; 16], &[6, 5, 6]].concat(),
            &[b"Maker", b"Product", b"1", b"S1", b"SKU", b"Family"],
        ),
        (2, vec![1, 2, 3, 4, 5, 9, 0, 0, 0, 10], &[b"Maker", b"Board"]),
        (3, [&[1, 3][..], &[0; 14]].concat(), &[b"Maker"]),
        (4, vec![0; 40], &[]),
        (38, vec![1, 0x20, 0x42, 0xff, 0xa9, 0x0c, 0, 0, 0, 0, 0, 0, 0, 0], &[]),
        (42, vec![0x40, 0, 1, 4, 0], &[]),
        (130, [&b"$AMT\x01\x01\x01\x01\x01\xa5\x1f\x02"[..], &[0; 4]].concat(), &[]),
        (131, [vec![0; 60], vpro].concat(), &[]),
        (219, hfsts, &[b"x"]),
        (221, vec![1, 1, 0, 5, 0, 0, 0, 16, 1, 0x25, 0], &[b"ME Firmware Version"]),
    ];
    let mut table = Vec::new();
    for (handle, (kind, body, strings)) in (0_u16..).zip(structures) {
        table.extend([kind, u8::try_from(4 + body.len()).expect("a short structure")]);
        table.extend(handle.to_le_bytes());
        table.extend(body);
        strings.iter().for_each(|text| table.extend([text, &b"\0"[..]].concat()));
        table.extend(if strings.is_empty() { &[0, 0][..] } else { &[0] });
    }
    table.extend([127, 4, 0xff, 0xff, 0, 0]);
    table
}

/// A machine with an engine, one with a server's controller, a virtual one, and each file alone.
pub(super) fn roots() -> Vec<Vec<u8>> {
    let mut config = vec![0; 0x100];
    config[..4].copy_from_slice(&[0x86, 0x80, 0xe8, 0x7a]);
    config[0x40..0x44].copy_from_slice(&0x9000_0245_u32.to_le_bytes());
    let tables = table();
    let content = |path: &str| -> Vec<u8> {
        let text: &[u8] = match path.rsplit('/').next().unwrap_or_default() {
            "DMI" => return tables.clone(),
            "config" => return config.clone(),
            "sys_vendor" => b"QEMU\n",
            "product_uuid" => b"03000200-0400-0500-0006-000700080009\n",
            "chassis_type" | "type" | "tpm_version_major" => b"2\n",
            "fw_status" => b"90000245\n39850106\n00000030\n00004000\n00000000\n40000000\n",
            "fw_ver" => b"0:16.1.25.1885\n0:16.1.25.1885\n0:16.0.15.1620\n",
            "kind" => b"mei\n",
            "dev_state" => b"ENABLED\n",
            "uuid" => b"12f80028-b4b7-4b2d-aca8-46e0ff65814c\n",
            "vendor" => b"0x8086\n",
            "device" => b"0x7ae8\n",
            "class" => b"0x078000\n",
            "address" => b"00:1b:21:00:00:01\n",
            "identity" => b"iTCO_wdt\n",
            "wakeup" => b"enabled\n",
            "manufacturer_id" => b"0x000157\n",
            "cpuinfo" => b"processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Core(TM) i5\nflags\t\t: fpu hypervisor\n\n",
            "stat" => b"cpu 1 2 3\nbtime 1700000000\n",
            "available_clocksource" => b"tsc kvm-clock\n",
            "boot_id" => b"4b6e1a46-0f3c-4d8a-9a53-0f5a0a1b2c3d\n",
            "ports.json" => b"{\"16992\": 40113, \"lms:16992\": 40114, \"time_scale\": 0.1}",
            _ => b"\x06\0\0\0\x01",
        };
        text.to_vec()
    };
    let file = |index: usize| -> Vec<u8> {
        let content = content(MACHINE_FILES[index]);
        let length = u16::try_from(content.len()).expect("a short file").to_le_bytes();
        [&[index as u8, length[0], length[1]][..], &content].concat()
    };
    let all = (0..MACHINE_FILES.len()).map(file).collect::<Vec<_>>();
    let mut roots = vec![all.concat(), all[..28].concat(), all[26..].concat()];
    roots.extend(all);
    roots
}

/// One device's life, an event a line, and each event alone; the target signs them.
pub(super) fn events() -> Vec<Vec<u8>> {
    let bodies = [
        ("observed", "{\"facts\":[],\"outcomes\":[{\"step\":\"neutralize.stage\",\"exit\":\"pending\"}]}"),
        ("escrowed", "{\"channel\":\"amt\",\"generation\":1}"),
        (
            "verified",
            "{\"channel\":\"amt\",\"generation\":1,\"realm\":\"Digest:A0\",\"control_mode\":\"ccm\",\"escrow\":\"amt.1.0123456789abcdef.age\"}",
        ),
        ("note", "{\"undone_generation\":1,\"escrow\":\"amt.1.0123456789abcdef.age\"}"),
        ("staged", "{\"original_sha256\":\"00\",\"result_sha256\":\"11\",\"method\":\"soft-disable\"}"),
        (
            "verified",
            "{\"channel\":\"me\",\"verdict\":\"effective\",\"reason\":\"\",\"result_sha256\":\"11\",\"boot_id\":\"b\",\"bios\":\"1\"}",
        ),
    ];
    let event = |(index, (kind, body)): (usize, &(&str, &str))| {
        format!(
            "{{\"schema\":\"oob-event/1\",\"kind\":\"{kind}\",\"device_id\":\"d1-x\",\"run_id\":\"019aa000-0000-7000-8000-000000000000\",\
             \"seq\":{},\"prev\":null,\"agent\":{{\"name\":\"oob-agent\",\"version\":\"0\",\"sha256\":null}},\"actor\":{{\"pubkey\":\"\"}},\
             \"actor_vouched\":true,\"medium\":{{}},\"root\":\"simulated\",\"time\":{{\"wall\":\"2026-11-21T00:00:00Z\",\
             \"source\":\"rtc\",\"monotonic_ms\":5}},\"policy\":{{\"sha256\":\"00\",\"serial\":1,\"rule\":null,\"trust\":\"unsigned\"}},\"body\":{body}}}",
            index + 1
        )
    };
    let lines: Vec<String> = bodies.iter().enumerate().map(event).collect();
    let mut seeds: Vec<Vec<u8>> = lines.iter().cloned().map(String::into_bytes).collect();
    seeds.push(lines.join("\n").into_bytes());
    seeds.push(br#"{"payload":"e30=","payloadType":"application/vnd.oob-event+json","signatures":[{"keyid":"00","sig":"AA=="}]}"#.to_vec());
    seeds
}
