//! The directory that a machine is, and what never gets into it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what a test calls may fail it")]

mod peer;

use std::fs;
use std::path::Path;
use std::process::Command;

use base64::Engine;
use peer::*;

fn text(dir: &Path, path: &str) -> String {
    fs::read_to_string(dir.join(path)).unwrap_or_else(|error| panic!("{path}: {error}")).trim_end().to_owned()
}

/// Each structure of the table as (type, formatted bytes, strings).
fn structures(dir: &Path) -> Vec<(u8, Vec<u8>, Vec<String>)> {
    let table = fs::read(dir.join("sys/firmware/dmi/tables/DMI")).unwrap();
    let (mut at, mut found) = (0, Vec::new());
    while at < table.len() {
        let length = usize::from(table[at + 1]);
        let strings = &table[at + length..];
        let end = strings.windows(2).position(|window| window == [0, 0]).unwrap();
        let texts = strings[..end].split(|byte| *byte == 0).map(|s| String::from_utf8(s.to_vec()).unwrap());
        found.push((
            table[at],
            table[at..at + length].to_vec(),
            texts.filter(|text| !text.is_empty()).collect(),
        ));
        at += length + end + 2;
    }
    let entry = fs::read(dir.join("sys/firmware/dmi/tables/smbios_entry_point")).unwrap();
    assert_eq!(entry.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)), 0);
    assert_eq!((&entry[..5], entry.len()), (b"_SM3_".as_slice(), 24));
    assert_eq!(u32::from_le_bytes(entry[12..16].try_into().unwrap()) as usize, table.len());
    assert_eq!(found.last().unwrap().0, 127);
    found
}

fn structure(dir: &Path, kind: u8) -> Option<(Vec<u8>, Vec<String>)> {
    structures(dir).into_iter().find(|(found, ..)| *found == kind).map(|(_, bytes, strings)| (bytes, strings))
}

#[test]
fn the_desktop_shows_amt_everywhere() {
    let sim = Sim::vpro(&[]);
    let dir = &sim.dir;
    for (path, wanted) in [
        ("sys/bus/pci/devices/0000:00:16.0/vendor", "0x8086"),
        ("sys/bus/pci/devices/0000:00:16.0/device", "0x7ae8"),
        ("sys/bus/pci/devices/0000:00:16.0/class", "0x078000"),
        ("sys/class/mei/mei0/dev_state", "ENABLED"),
        ("sys/class/mei/mei0/kind", "mei"),
        ("sys/class/mei/mei0/fw_ver", "0:16.0.15.1735\n0:16.0.15.1735\n0:16.0.15.1735"),
        ("sys/bus/mei/devices/0000:00:16.0-12f80028-b4b7-4b2d-aca8-46e0ff65814c/max_len", "5120"),
        ("sys/class/net/eno1/device/vendor", "0x8086"),
        ("sys/class/watchdog/watchdog0/identity", "iTCO_wdt"),
        ("sys/class/tpm/tpm0/tpm_version_major", "2"),
    ] {
        assert_eq!(text(dir, path), wanted, "{path}");
    }
    let status = text(dir, "sys/class/mei/mei0/fw_status");
    assert_eq!(status.lines().count(), 6);
    let config = fs::read(dir.join("sys/bus/pci/devices/0000:00:16.0/config")).unwrap();
    let first = u32::from_le_bytes(config[0x40..0x44].try_into().unwrap());
    assert_eq!((status.lines().next().unwrap(), first & 0xf), (format!("{first:08X}").as_str(), 5));
    let (amt, _) = structure(dir, 130).unwrap();
    assert_eq!((amt.len(), &amt[4..13]), (20, b"$AMT\x01\x01\x01\x01\x01".as_slice()));
    let (vpro, _) = structure(dir, 131).unwrap();
    assert_eq!((vpro.len(), &vpro[56..60]), (64, b"vPro".as_slice()));
    assert_eq!(
        (&vpro[24..28], &vpro[30..36]),
        (bytes("09c00000").as_slice(), bytes("1000c7060f00").as_slice())
    );
    let (versions, strings) = structure(dir, 221).unwrap();
    assert!(versions.len() == 26 && strings.contains(&"Corporate SKU".to_owned()));
    assert_eq!(structure(dir, 219).unwrap().0.len(), 106);
    let (system, strings) = structure(dir, 1).unwrap();
    assert_eq!(pthi(&sim, UUID).1, system[8..24]);
    assert!(strings.contains(&text(dir, "sys/class/dmi/id/product_serial")));
}

#[test]
fn the_laptop_says_vpro_and_has_no_amt() {
    let sim = Sim::start("consumer-laptop", &[]);
    let (vpro, _) = structure(&sim.dir, 131).unwrap();
    assert_eq!((&vpro[56..60], &vpro[24..28]), (b"vPro".as_slice(), bytes("21200000").as_slice()));
    assert!(structure(&sim.dir, 221).unwrap().1.contains(&"Consumer SKU".to_owned()));
    for guid in [PTHI, LME] {
        assert_eq!(Mei::connect(&sim.dir, guid).1, Some(bytes("19 00 00 00")));
    }
    assert!(Mei::connected(&sim, MKHI).ask("ff 02 00 00").is_some());
    assert_eq!(fs::read_dir(sim.dir.join("sys/bus/mei/devices")).unwrap().count(), 1);
    assert!(json(&sim.dir.join("ports.json")).get("16992").is_none());
}

#[test]
fn the_guest_has_no_me() {
    let sim = Sim::start("vm-kvm", &[]);
    assert!(!sim.dir.join("dev/mei0").exists() && !sim.dir.join("sys/class/mei").exists());
    assert!(text(&sim.dir, "proc/cpuinfo").contains(" hypervisor"));
    assert_eq!(text(&sim.dir, "sys/class/dmi/id/sys_vendor"), "QEMU");
    assert_eq!(structure(&sim.dir, 0).unwrap().0[19] >> 4 & 1, 1);
    assert_eq!(text(&sim.dir, "sys/class/net/enp1s0/device/vendor"), "0x1af4");
    assert!(
        sim.dir.join("sys/bus/virtio/devices/virtio0/driver").canonicalize().unwrap().ends_with("virtio_net")
    );
}

#[test]
fn a_foreign_directory_is_left_alone_and_an_earlier_machine_is_rebuilt() {
    let temp = tempfile::tempdir().unwrap();
    // Longer than a socket's name may be.
    let dir = temp.path().join("a".repeat(120));
    let start = |dir: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_oob-sim"));
        command
            .args(["machine", "--until-stdin-closes", "--profile", "vpro-desktop-amt16", "--dir"])
            .arg(dir);
        command.stdin(std::process::Stdio::null()).output().unwrap()
    };
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("mine"), "kept").unwrap();
    let refused = start(&dir);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("not empty"));
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    fs::remove_file(dir.join("mine")).unwrap();
    for _ in 0..2 {
        let run = start(&dir);
        // It says that it is ready, and at its end how much was asked of it.
        let said = format!("ready {}\ncalls 401=0 APF=0 HTTP=0 TCP=0 mutating=0\n", dir.display());
        assert_eq!((run.status.success(), run.stdout), (true, said.into_bytes()));
        assert_eq!(json(&dir.join("sim/state.json"))["calls"].as_array().unwrap().len(), 0);
    }
    let sim = Sim::vpro(&[]);
    assert!(String::from_utf8_lossy(&start(&sim.dir).stderr).contains("another simulator"));
    assert_eq!(pthi(&sim, CONTROL_MODE).0, 0);
}

#[test]
fn no_secret_is_written_anywhere() {
    let sim = Sim::vpro(&[]);
    let os_admin = os_admin(&sim);
    let ha1 = activate(&sim, "Correct-horse-1");
    post(&mut Network(sim.port()), "admin", "Correct-horse-1", &setup_body("2", &ha1));
    post(&mut Network(sim.port()), "admin", "Wrong-horse-9", &envelope(GET, GENERAL, ""));
    let standard = base64::engine::general_purpose::STANDARD;
    let secrets = [
        "Correct-horse-1".to_owned(),
        "Wrong-horse-9".to_owned(),
        ha1.clone(),
        ha1.to_uppercase(),
        standard.encode(bytes(&ha1)),
        standard.encode(&ha1),
        os_admin.clone(),
        standard.encode(&os_admin),
    ];
    let written = sim.end();
    assert!(
        written.iter().any(|(_, content)| String::from_utf8_lossy(content).contains("call 1 connect:pthi"))
    );
    for (path, content) in &written {
        for secret in &secrets {
            let found = content.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "a secret stands in {}", path.display());
        }
    }
}

#[test]
fn broken_peers_do_not_end_the_machine() {
    let sim = Sim::vpro(&[]);
    activate(&sim, "Correct-horse-1");
    for first in ["", "00", "00112233445566778899aabbccddeeff00"] {
        let mei = Mei::open(&sim.dir);
        if !first.is_empty() {
            mei.send(&bytes(first));
            assert_eq!(mei.receive(), None);
        }
    }
    for (guid, junk) in
        [(PTHI, vec![0; 11]), (PTHI, vec![0xff; 6000]), (LME, vec![0xc0]), (MHC, vec![5]), (MKHI, vec![0; 3])]
    {
        let mei = Mei::connected(&sim, guid);
        if guid == LME {
            mei.receive();
        }
        mei.send(&junk);
        while mei.receive().is_some() {}
    }
    for junk in
        [b"\0\0\0\0\r\n\r\n".as_slice(), b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", &[b'a'; 40_000]]
    {
        let answer = Network(sim.port()).exchange(junk);
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
    assert_eq!(pthi(&sim, CONTROL_MODE), (0, bytes("01000000")));
}
