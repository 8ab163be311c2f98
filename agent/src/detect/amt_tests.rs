//! The verdict as a table.

use super::*;
use crate::machine::{MeiClient, MeiDevice, PciFunction, Seen};

fn device(dev_state: Option<&str>, fw_status: &[u32]) -> MeiDevice {
    MeiDevice {
        name: "mei0".into(),
        kind: Some("mei".into()),
        dev_state: dev_state.map(str::to_owned),
        fw_status: fw_status.to_vec(),
        fw_ver: vec![],
        parent: None,
    }
}

fn heci() -> Heci {
    let function =
        PciFunction { address: "0000:00:16.0".into(), vendor: 0x8086, device: 0xA13A, class: 0x078000 };
    Heci::Found { function, driver: Some("mei_me".into()), hfsts: Seen::Missing }
}

fn clients(uuids: &[&str]) -> Seen<Vec<MeiClient>> {
    let client =
        |uuid: &&str| MeiClient { uuid: (*uuid).to_owned(), name: String::new(), device: String::new() };
    Seen::Found(uuids.iter().map(client).collect())
}

fn sysfs(heci: Heci, devices: Vec<MeiDevice>, clients: Seen<Vec<MeiClient>>) -> MeiSysfs {
    MeiSysfs { heci, devices, clients }
}

fn answer(code_versions: Result<Versions, Failure>) -> PthiAnswer {
    PthiAnswer {
        code_versions,
        provisioning: Ok(0),
        control_mode: Ok(0),
        uuid: Ok("AB".into()),
        posture: unasked(),
    }
}

fn unasked() -> Posture {
    Posture::unasked(&Failure::Other("not asked".into()))
}

fn versions(sku: u32) -> Result<Versions, Failure> {
    Ok(Versions { amt: "16.1.25".into(), sku, build: "1885".into() })
}

fn verdict(sysfs: &MeiSysfs, cpu: &CpuVendor, pthi: Option<&PthiAnswer>) -> (String, String) {
    let fact = amt_verdict(sysfs, cpu, pthi).remove(0);
    (fact.value.as_text().unwrap().to_owned(), fact.reason.unwrap_or_default())
}

#[test]
fn what_sysfs_alone_can_say() {
    let enabled = || vec![device(Some("ENABLED"), &[0x9000_0245])];
    let off = |word| vec![device(Some("ENABLED"), &[word])];
    let none = || Seen::Missing;
    let (intel, amd) = (CpuVendor::Intel, CpuVendor::Amd);
    let unsure = CpuVendor::Unknown("unreadable".into());
    let cases = [
        (sysfs(heci(), enabled(), clients(&[PTHI])), &intel, "unknown", "not answered"),
        (sysfs(heci(), enabled(), clients(&["8e6a6715"])), &intel, "absent-or-disabled", "BIOS setup"),
        (sysfs(heci(), vec![device(None, &[])], clients(&[])), &intel, "absent-or-disabled", "BIOS setup"),
        (sysfs(heci(), vec![device(Some("RESETTING"), &[])], clients(&[])), &intel, "unknown", "RESETTING"),
        (sysfs(heci(), enabled(), none()), &intel, "unknown", "cannot be listed"),
        (sysfs(heci(), off(0x8002_2004), clients(&[])), &intel, "absent-or-disabled", "state soft-disabled"),
        (sysfs(heci(), off(0x8003_2004), clients(&[])), &intel, "absent-or-disabled", "state disabled"),
        (sysfs(heci(), off(0x0000_000e), clients(&[])), &intel, "absent-or-disabled", "state halted"),
        (sysfs(heci(), off(0x0000_0042), clients(&[])), &intel, "absent-or-disabled", "state recovery"),
        (sysfs(heci(), off(0x8002_2004), clients(&[PTHI])), &intel, "unknown", "state soft-disabled"),
        (sysfs(heci(), vec![device(Some("ENABLED"), &[0x000f_0345])], clients(&[])), &intel, "absent", "SPS"),
        (sysfs(heci(), vec![], none()), &intel, "unknown", "8086:a13a"),
        (sysfs(Heci::NotListed, vec![], none()), &intel, "unknown", "hidden"),
        (sysfs(Heci::Unknown("capture".into()), vec![], none()), &intel, "unknown", "capture"),
        (sysfs(Heci::NotListed, vec![], none()), &amd, "absent", "not Intel's"),
        (sysfs(Heci::Unknown("capture".into()), vec![], none()), &amd, "absent", "not Intel's"),
        (sysfs(Heci::NotListed, vec![], none()), &unsure, "unknown", "unreadable"),
    ];
    for (number, (sysfs, cpu, expected, because)) in cases.iter().enumerate() {
        let (value, reason) = verdict(sysfs, cpu, None);
        assert_eq!(value, *expected, "case {number}: {reason}");
        assert!(reason.contains(because), "case {number}: {reason}");
    }
}

/// HFSTS3 has the SKU from CSME 11 on, and firmware that announces AMT's host interface may have AMT.
#[test]
fn server_firmware_is_no_guess() {
    let words = [0x1e00_0245, 0, 0x60];
    let versioned =
        |version: &str| MeiDevice { fw_ver: vec![format!("0:{version}")], ..device(Some("ENABLED"), &words) };
    let of = |id: u16| match heci() {
        Heci::Found { function, driver, hfsts } => {
            Heci::Found { function: PciFunction { device: id, ..function }, driver, hfsts }
        }
        other => other,
    };
    let unversioned = || device(Some("ENABLED"), &words);
    let dead = device(Some("ENABLED"), &[u32::MAX, 0, 0x60]);
    let mode = device(Some("ENABLED"), &[0x000f_0345]);
    let cases = [
        (heci(), versioned("9.1.0.1120"), &[PTHI][..], "unknown"),
        (heci(), versioned("9.1.0.1120"), &[], "absent-or-disabled"),
        (heci(), versioned("11.8.50.3399"), &[], "absent"),
        (heci(), versioned("11.8.50.3399"), &[PTHI], "unknown"),
        (of(0xA13A), unversioned(), &[], "absent"),
        (of(0x8C3A), unversioned(), &[], "absent-or-disabled"),
        (of(0x1234), unversioned(), &[], "absent-or-disabled"),
        (of(0xA13A), dead, &[], "absent-or-disabled"),
        (of(0x8C3A), mode.clone(), &[], "absent"),
        (of(0x8C3A), mode, &[PTHI], "unknown"),
    ];
    for (number, (heci, device, uuids, expected)) in cases.into_iter().enumerate() {
        let sysfs = sysfs(heci, vec![device], clients(uuids));
        let (value, reason) = verdict(&sysfs, &CpuVendor::Intel, None);
        assert_eq!(value, expected, "case {number}: {reason}");
    }
}

#[test]
fn what_amt_answers_decides() {
    let there = sysfs(heci(), vec![device(Some("ENABLED"), &[])], clients(&[PTHI]));
    let cases = [
        (versions(16392), "capable"),
        (versions(8), "capable"),
        (versions(0x18), "capable"),
        (versions(0x10), "standard-manageability"),
        (versions(0x4000), "unknown"),
        (Ok(Versions { amt: String::new(), sku: 0, build: String::new() }), "disabled"),
        (Err(Failure::Status(0x4000)), "disabled"),
        (Err(Failure::Status(1)), "unknown"),
        (Err(Failure::NoClient("no such client".into())), "absent-or-disabled"),
        (Err(Failure::Other("no answer within 3 s".into())), "unknown"),
    ];
    for (number, (reply, expected)) in cases.into_iter().enumerate() {
        let (value, reason) = verdict(&there, &CpuVendor::Intel, Some(&answer(reply)));
        assert_eq!(value, expected, "case {number}: {reason}");
    }
    let off = sysfs(heci(), vec![device(Some("ENABLED"), &[0x8002_2004])], clients(&[]));
    let refused = answer(Err(Failure::NoClient("no such client".into())));
    let (value, reason) = verdict(&off, &CpuVendor::Intel, Some(&refused));
    assert_eq!(value, "absent-or-disabled");
    assert_eq!(reason, "the engine is in state soft-disabled: no such client");
    let busy = MeiError::Busy { client: PTHI.into(), node: "dev/mei0".into() };
    let (value, reason) = verdict(&there, &CpuVendor::Intel, Some(&PthiAnswer::unreachable(&busy)));
    assert_eq!((value.as_str(), reason.contains("stop that program")), ("unknown", true), "{reason}");
    // On a machine without an engine the failed connection is no news.
    let amd = sysfs(Heci::NotListed, vec![], Seen::Missing);
    let (value, _) = verdict(&amd, &CpuVendor::Amd, Some(&PthiAnswer::unreachable(&MeiError::NoDriver)));
    assert_eq!(value, "absent");
}

#[test]
fn details_are_words_or_unknown() {
    let there = sysfs(heci(), vec![], clients(&[PTHI]));
    let all = PthiAnswer {
        code_versions: versions(8),
        provisioning: Ok(2),
        control_mode: Ok(3),
        uuid: Err(Failure::Status(1)),
        posture: unasked(),
    };
    let facts = amt_verdict(&there, &CpuVendor::Intel, Some(&all));
    let text: Vec<_> =
        facts[..5].iter().map(|fact| (fact.name.as_str(), fact.value.as_text().unwrap())).collect();
    let expected = [
        (VERDICT, "capable"),
        (VERSION, "16.1.25.1885"),
        (PROVISIONING, "post"),
        (CONTROL_MODE, "unknown"),
        (UUID, "unknown"),
    ];
    assert_eq!(text, expected);
    assert_eq!(facts[3].reason.as_deref(), Some("AMT answered 3"));
    let unasked = amt_verdict(&there, &CpuVendor::Intel, None);
    assert!(unasked[1..].iter().all(|fact| fact.value.as_text() == Some("unknown") && fact.reason.is_some()));
}

#[test]
fn type_130_counts_with_its_signature_only() {
    let structure = |body: &[u8]| Structure {
        kind: 130,
        handle: 0,
        bytes: [&[130, 20, 0, 0][..], body].concat(),
        strings: vec![],
    };
    assert_eq!(amt_flags(&structure(b"$AMT\x01\x01\x01\x01\x01")), Some("supported-enabled"));
    assert_eq!(amt_flags(&structure(b"$AMT\x01\x00")), Some("supported-disabled"));
    assert_eq!(amt_flags(&structure(b"$AMT\x00\x00")), Some("unsupported"));
    assert_eq!(amt_flags(&structure(b"$AMT\x03\x00")), None);
    assert_eq!(amt_flags(&structure(b"$AMX\x01\x01")), None);
    assert_eq!(amt_flags(&structure(b"$AM")), None);
}
