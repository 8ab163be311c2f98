//! Small roots made here; captured machines are in the corpus test.

use std::path::Path;

use super::*;
use crate::detect::detect;

struct Case {
    dmi: &'static [(&'static str, &'static str)],
    flags: &'static str,
    clock: &'static str,
    hypervisor: &'static str,
    cloud: &'static str,
    because: &'static str,
}

const CASES: [Case; 17] = [
    Case {
        dmi: &[("sys_vendor", "Hetzner"), ("product_name", "vServer")],
        flags: "flags: fpu hypervisor",
        clock: "kvm-clock tsc",
        hypervisor: "kvm",
        cloud: "hetzner",
        because: "metadata",
    },
    Case {
        dmi: &[("sys_vendor", "Hetzner")],
        flags: "flags: fpu",
        clock: "tsc",
        hypervisor: "none",
        cloud: "none",
        because: "dedicated server of Hetzner",
    },
    Case {
        dmi: &[("sys_vendor", "Amazon EC2"), ("product_name", "c5.metal")],
        flags: "flags: fpu",
        clock: "tsc",
        hypervisor: "none",
        cloud: "none",
        because: "dedicated server of Amazon EC2",
    },
    Case {
        dmi: &[("sys_vendor", "Amazon EC2"), ("product_name", "t3.micro")],
        flags: "flags: hypervisor",
        clock: "tsc",
        hypervisor: "amazon",
        cloud: "aws",
        because: "metadata",
    },
    Case {
        dmi: &[
            ("sys_vendor", "Microsoft Corporation"),
            ("product_name", "Virtual Machine"),
            ("chassis_asset_tag", "7783-7084-3265-9085-8269-3286-77"),
        ],
        flags: "flags: hypervisor",
        clock: "tsc",
        hypervisor: "microsoft",
        cloud: "azure",
        because: "metadata",
    },
    Case {
        dmi: &[("sys_vendor", "Microsoft Corporation"), ("product_name", "Surface Laptop")],
        flags: "flags: fpu",
        clock: "tsc",
        hypervisor: "none",
        cloud: "none",
        because: "",
    },
    Case {
        dmi: &[("sys_vendor", "QEMU"), ("product_name", "Standard PC")],
        flags: "flags: hypervisor",
        clock: "tsc",
        hypervisor: "qemu",
        cloud: "unknown",
        because: "small providers",
    },
    Case {
        dmi: &[("sys_vendor", "QEMU")],
        flags: "flags: hypervisor",
        clock: "kvm-clock",
        hypervisor: "kvm",
        cloud: "unknown",
        because: "small providers",
    },
    Case {
        dmi: &[("sys_vendor", "Maker"), ("product_uuid", "ec2bfcd2-0000-4000-8000-000000000001")],
        flags: "flags: fpu",
        clock: "tsc",
        hypervisor: "none",
        cloud: "none",
        because: "",
    },
    Case {
        dmi: &[("sys_vendor", "Hetzner")],
        flags: "Features: fp",
        clock: "arch",
        hypervisor: "unknown",
        cloud: "unknown",
        because: "whether this is a guest",
    },
    Case {
        dmi: &[("sys_vendor", "QEMU"), ("board_vendor", "Canonical Ltd."), ("board_name", "LXD")],
        flags: "flags: hypervisor",
        clock: "tsc",
        hypervisor: "kvm",
        cloud: "none",
        because: "managed by LXD",
    },
    Case {
        dmi: &[("sys_vendor", "Red Hat"), ("product_name", "RHEV Hypervisor")],
        flags: "flags: hypervisor",
        clock: "tsc",
        hypervisor: "kvm",
        cloud: "none",
        because: "RHEV or oVirt",
    },
    Case {
        dmi: &[("sys_vendor", "Red Hat"), ("product_name", "KVM")],
        flags: "flags: hypervisor",
        clock: "tsc",
        hypervisor: "kvm",
        cloud: "unknown",
        because: "small providers",
    },
    Case {
        dmi: &[("sys_vendor", "VMware, Inc."), ("product_name", "VMware Virtual Platform")],
        flags: "flags: hypervisor",
        clock: "tsc",
        hypervisor: "vmware",
        cloud: "none",
        because: "VMware's",
    },
    Case {
        dmi: &[("sys_vendor", "innotek GmbH"), ("product_name", "VirtualBox")],
        flags: "flags: hypervisor",
        clock: "tsc",
        hypervisor: "oracle",
        cloud: "none",
        because: "VirtualBox",
    },
    Case {
        dmi: &[("sys_vendor", "Microsoft Corporation"), ("product_name", "Virtual Machine")],
        flags: "flags: hypervisor",
        clock: "tsc",
        hypervisor: "microsoft",
        cloud: "unknown",
        because: "small providers",
    },
    Case {
        dmi: &[("sys_vendor", "LENOVO"), ("product_name", "20XX")],
        flags: "flags: hypervisor",
        clock: "tsc",
        hypervisor: "vm-other",
        cloud: "unknown",
        because: "small providers",
    },
];

#[tokio::test]
async fn a_cloud_needs_a_second_witness() {
    for (number, case) in CASES.iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        for (file, text) in case.dmi {
            write(dir.path(), &format!("sys/class/dmi/id/{file}"), text);
        }
        write(dir.path(), "proc/cpuinfo", &format!("vendor_id: GenuineIntel\n{}\n", case.flags));
        write(dir.path(), CLOCKS, case.clock);
        let detection = detect(&Machine::open(dir.path()).unwrap()).await;
        assert_eq!(detection.text(HYPERVISOR), case.hypervisor, "case {number}");
        assert_eq!(detection.text(CLOUD), case.cloud, "case {number}");
        let reason = detection.fact(CLOUD).unwrap().reason.clone().unwrap_or_default();
        assert!(reason.contains(case.because), "case {number}: {reason}");
    }
}

#[tokio::test]
async fn xen_tells_its_control_domain_from_its_guests() {
    for (features, expected) in [("0000000000000800", "none"), ("0000000000002705", "xen")] {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "sys/hypervisor/type", "xen\n");
        write(dir.path(), "sys/hypervisor/properties/features", features);
        let detection = detect(&Machine::open(dir.path()).unwrap()).await;
        assert_eq!(detection.text(HYPERVISOR), expected);
    }
}

fn write(dir: &Path, rel: &str, text: &str) {
    let path = dir.join(rel);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}
