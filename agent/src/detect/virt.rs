//! Whether the machine is a guest, of which hypervisor, and in whose cloud (reference/detect.md 7 and 8).
//!
//! A cloud's name in the vendor field needs a second witness: hosters put it on their dedicated servers too.

use oob_policy::Fact;

use super::Survey;
use crate::machine::{Cpu, Dmi, Field, Machine};

const HYPERVISOR: &str = "virt.hypervisor";
const CLOUD: &str = "cloud.provider";
const CLOCKS: &str = "sys/devices/system/clocksource/clocksource0/available_clocksource";

/// What is known about running under a hypervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guest {
    /// A guest of this hypervisor; the source and what else is known of it.
    Of {
        id: &'static str,
        source: String,
        note: Option<String>,
    },
    No {
        source: String,
    },
    Unknown {
        source: String,
        reason: String,
    },
}

impl Guest {
    pub fn is_guest(&self) -> bool {
        matches!(self, Self::Of { .. })
    }
}

/// Names that hypervisors give, as product name or system, board or BIOS vendor (systemd's virt.c).
const NAMES: [(&str, &str); 13] = [
    ("KVM", "kvm"),
    ("KubeVirt", "kvm"),
    ("QEMU", "qemu"),
    ("VMware", "vmware"),
    ("VMW", "vmware"),
    ("innotek GmbH", "oracle"),
    ("VirtualBox", "oracle"),
    ("Xen", "xen"),
    ("Bochs", "bochs"),
    ("Parallels", "parallels"),
    ("BHYVE", "bhyve"),
    ("Hyper-V", "microsoft"),
    ("Apple Virtualization", "apple"),
];
/// Names that physical machines carry too, so that the processor's flag must agree.
const NAMES_WITH_WITNESS: [(&str, &str); 6] = [
    ("OpenStack", "kvm"),
    ("RHEV Hypervisor", "kvm"),
    ("oVirt", "kvm"),
    ("Google Compute Engine", "google"),
    ("Amazon EC2", "amazon"),
    ("Nutanix", "nutanix"),
];

/// Vendor names of clouds and hosters that stand on physical machines too.
const CLOUD_VENDORS: [(&str, &str); 13] = [
    ("DigitalOcean", "digitalocean"),
    ("Hetzner", "hetzner"),
    ("Vultr", "vultr"),
    ("UpCloud", "upcloud"),
    ("Scaleway", "scaleway"),
    ("Linode", "linode"),
    ("Akamai", "akamai"),
    ("NWCS", "nwcs"),
    ("Amazon EC2", "aws"),
    ("e24cloud", "e24cloud"),
    ("Tilaa", "tilaa"),
    ("3DS Outscale", "outscale"),
    ("OVH", "ovh"),
];
const CLOUD_PRODUCTS: [(&str, &str); 9] = [
    ("Google Compute Engine", "gce"),
    ("OpenStack Nova", "openstack"),
    ("OpenStack Compute", "openstack"),
    ("Alibaba Cloud ECS", "alibaba"),
    ("CloudStack", "cloudstack"),
    ("Exoscale", "exoscale"),
    ("CloudSigma", "cloudsigma"),
    ("SmartDC", "smartos"),
    ("CloudCIX", "cloudcix"),
];
const CLOUD_TAGS: [(&str, &str); 6] = [
    ("7783-7084-3265-9085-8269-3286-77", "azure"),
    ("OracleCloud.com", "oracle"),
    ("OpenTelekomCloud", "otc"),
    ("SAP CCloud VM", "sap"),
    ("HUAWEICLOUD", "huawei"),
    ("Samsung Cloud Platform", "samsung"),
];

pub(super) fn facts(survey: &Survey<'_>) -> Vec<Fact> {
    let marker = cloud_marker(survey.machine, &survey.dmi, &survey.guest);
    vec![hypervisor(&survey.guest, marker.as_ref()), cloud(&survey.guest, marker.as_ref(), survey)]
}

/// Whether this is a guest. The processor's flag is the first witness; where there are no flags, firmware's words.
pub(super) fn guest(machine: &Machine, dmi: &Dmi<'_>, cpu: &Cpu) -> Guest {
    let name = name_of(dmi, cpu.hypervisor);
    let kind = machine.look_text("sys/hypervisor/type").found();
    if kind.as_deref() == Some("xen") {
        // Bit 11 of the features is the control domain: that is the host, not a guest.
        let features = machine.look_text("sys/hypervisor/properties/features").found();
        let features = features.and_then(|text| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok());
        let source = "sys/hypervisor".to_owned();
        if features.is_some_and(|bits| bits & (1 << 11) != 0) {
            return Guest::No { source };
        }
        return Guest::Of { id: "xen", source, note: None };
    }
    let clocks = machine.look_text(CLOCKS).found().unwrap_or_default();
    let kvm_clock = clocks.split_whitespace().any(|clock| clock == "kvm-clock");
    if let Some(Name { id, source, note }) = name {
        // LXD and Incus run their machines under KVM alone; a plain QEMU may emulate.
        let kvm = id == "qemu" && (kvm_clock || note.is_some_and(|note| note != PROXMOX));
        return Guest::Of { id: if kvm { "kvm" } else { id }, source, note: note.map(str::to_owned) };
    }
    match cpu.hypervisor {
        Some(true) if kvm_clock => Guest::Of { id: "kvm", source: CLOCKS.to_owned(), note: None },
        Some(true) => {
            let is = |field, text: &str| dmi.known(field).is_some_and(|known| known == text);
            let hyper_v =
                is(Field::SysVendor, "Microsoft Corporation") && is(Field::ProductName, "Virtual Machine");
            let id = if hyper_v { "microsoft" } else { "vm-other" };
            Guest::Of { id, source: "proc/cpuinfo".to_owned(), note: None }
        }
        Some(false) => Guest::No { source: "proc/cpuinfo".to_owned() },
        None => {
            // SMBIOS type 0, second extension byte, bit 4: "this is a virtual machine". A clear bit proves nothing.
            if dmi.of(0).next().and_then(|bios| bios.u8(0x13)).is_some_and(|byte| byte & 0x10 != 0) {
                return Guest::Of { id: "vm-other", source: "smbios:0".to_owned(), note: None };
            }
            let reason =
                "the processor's flags are not to be had, and firmware names no hypervisor".to_owned();
            Guest::Unknown { source: "proc/cpuinfo".to_owned(), reason }
        }
    }
}

const PROXMOX: &str = "managed by Proxmox";

struct Name {
    id: &'static str,
    source: String,
    /// What manages the hypervisor, where firmware tells.
    note: Option<&'static str>,
}

fn name_of(dmi: &Dmi<'_>, flag: Option<bool>) -> Option<Name> {
    let fields = [Field::ProductName, Field::SysVendor, Field::BoardVendor, Field::BiosVendor];
    let (field, id) = fields.into_iter().find_map(|field| {
        let text = dmi.known(field)?;
        let named = |names: &[(&str, &'static str)]| {
            names.iter().find(|(name, _)| text.starts_with(name)).map(|(_, id)| *id)
        };
        let weak = || if flag == Some(true) { named(&NAMES_WITH_WITNESS) } else { None };
        Some((field, named(&NAMES).or_else(weak)?))
    })?;
    let (vendor, name) = (dmi.known(Field::BoardVendor), dmi.known(Field::BoardName));
    let bios = dmi.known(Field::BiosVendor).unwrap_or_default();
    let has = |name: &str| {
        let fields = [Field::SysVendor, Field::ProductName];
        fields.into_iter().any(|field| dmi.known(field).is_some_and(|text| text.starts_with(name)))
    };
    let note = match (vendor.as_deref(), name.as_deref()) {
        (Some("Canonical Ltd."), Some("LXD")) => Some("managed by LXD"),
        (Some("LinuxContainers"), Some("Incus")) => Some("managed by Incus"),
        _ if has("RHEV Hypervisor") || has("oVirt") => Some("managed by RHEV or oVirt"),
        _ if bios.starts_with("Proxmox distribution of EDK II") => Some(PROXMOX),
        _ => None,
    };
    Some(Name { id, source: field.source(), note })
}

fn hypervisor(guest: &Guest, marker: Option<&Marker>) -> Fact {
    match guest {
        Guest::Of { id, source, note } => {
            let fact = Fact::inferred(HYPERVISOR, *id, source);
            match note {
                Some(note) => fact.because(note),
                None => fact,
            }
        }
        Guest::No { source } => {
            let fact = Fact::observed(HYPERVISOR, "none", source);
            match marker {
                Some(marker) => fact.because(marker.dedicated()),
                None => fact,
            }
        }
        Guest::Unknown { source, reason } => Fact::unknown(HYPERVISOR, source, reason),
    }
}

fn cloud(guest: &Guest, marker: Option<&Marker>, survey: &Survey<'_>) -> Fact {
    match (guest, marker) {
        (Guest::Of { .. }, Some(marker)) => Fact::inferred(CLOUD, marker.id, &marker.source)
            .because("by firmware's words and the hypervisor; the provider's metadata service was not asked"),
        (Guest::Of { id, note, .. }, None) => match (own_management(id, note.as_deref()), unnamed(survey)) {
            (Some(management), _) => Fact::hint(CLOUD, "none", "sys/class/dmi/id")
                .because(format!("{management}, and no mark of a known provider")),
            (None, Some(why)) => Fact::unknown(CLOUD, "sys/class/dmi/id", why),
            (None, None) => {
                let text = "a guest without the mark of a known provider, and small providers leave none";
                Fact::unknown(CLOUD, "sys/class/dmi/id", text)
            }
        },
        (Guest::No { .. }, Some(marker)) => {
            Fact::inferred(CLOUD, "none", &marker.source).because(marker.dedicated())
        }
        (Guest::No { source }, None) => Fact::inferred(CLOUD, "none", source),
        (Guest::Unknown { .. }, Some(marker)) => {
            let text = format!("firmware names {}, but whether this is a guest is unknown", marker.id);
            Fact::unknown(CLOUD, &marker.source, text)
        }
        (Guest::Unknown { reason, .. }, None) => match survey.no_smbios() {
            Some(why) => Fact::unknown(CLOUD, "sys/class/dmi/id", why),
            None => Fact::unknown(CLOUD, "sys/class/dmi/id", reason),
        },
    }
}

/// What manages the hypervisor, where that is a product for running machines of one's own (reference/detect.md 7).
/// Bare KVM, Xen and Hyper-V are not: providers sell guests of those that carry no mark.
fn own_management(id: &str, note: Option<&str>) -> Option<String> {
    match (note, id) {
        (Some(note), _) => Some(note.to_owned()),
        (None, "vmware") => Some("the hypervisor is VMware's".to_owned()),
        (None, "oracle") => Some("the hypervisor is VirtualBox".to_owned()),
        (None, "nutanix") => Some("the hypervisor is Nutanix's".to_owned()),
        (None, _) => None,
    }
}

/// Why the maker's words, where a provider leaves its mark, are not to be had.
fn unnamed(survey: &Survey<'_>) -> Option<String> {
    survey.no_smbios().filter(|_| survey.dmi.known(Field::SysVendor).is_none())
}

/// A provider's name found on the machine.
struct Marker {
    id: &'static str,
    /// The words themselves, as firmware has them.
    words: String,
    source: String,
}

impl Marker {
    fn dedicated(&self) -> String {
        format!("dedicated server of {}: it says so and has no hypervisor", self.words)
    }
}

/// The rules of cloud-init's ds-identify.
fn cloud_marker(machine: &Machine, dmi: &Dmi<'_>, guest: &Guest) -> Option<Marker> {
    let starts = |field: Field, known: &[(&str, &'static str)], whole: bool| {
        let words = dmi.known(field)?;
        let hit =
            known.iter().find(|(name, _)| if whole { words == *name } else { words.starts_with(name) })?;
        Some(Marker { id: hit.1, words, source: field.source() })
    };
    let serial = || {
        let words = dmi.known(Field::ProductSerial)?;
        let id = if words.starts_with("GoogleCloud-") {
            "gce"
        } else if words.ends_with(".brightbox.com") {
            "brightbox"
        } else {
            return None;
        };
        Some(Marker { id, words, source: Field::ProductSerial.source() })
    };
    let zstack = || {
        let words = dmi.known(Field::ChassisAssetTag).filter(|tag| tag.ends_with(".zstack.io"))?;
        Some(Marker { id: "zstack", words, source: Field::ChassisAssetTag.source() })
    };
    let uuid = || {
        // One UUID in 2048 looks like this by chance: it counts only under the hypervisors that this cloud has.
        if !matches!(guest, Guest::Of { id: "xen" | "amazon" | "vm-other", .. }) {
            return None;
        }
        let uuid = dmi.uuid().found().unwrap_or_default();
        let xen = machine.look_text("sys/hypervisor/uuid").found().unwrap_or_default();
        // With the first group as it stands, or byte-swapped: ec2xxxxx or xxxx2xec.
        let swapped = uuid.get(4..5) == Some("2") && uuid.get(6..8) == Some("ec");
        let amazon = uuid.starts_with("ec2") || swapped || xen.starts_with("ec2");
        let source = "sys/class/dmi/id/product_uuid".to_owned();
        amazon.then(|| Marker { id: "aws", words: "Amazon EC2".to_owned(), source })
    };
    starts(Field::SysVendor, &CLOUD_VENDORS, true)
        .or_else(|| starts(Field::ProductName, &CLOUD_PRODUCTS, false))
        .or_else(serial)
        .or_else(|| starts(Field::ChassisAssetTag, &CLOUD_TAGS, true))
        .or_else(zstack)
        .or_else(uuid)
}

/// Why a value of the machine's own hardware says nothing, where this is a guest.
pub(super) fn inside(survey: &Survey<'_>) -> Option<&'static str> {
    survey.guest.is_guest().then_some("a guest sees its hypervisor's devices, not its host's")
}

#[cfg(test)]
#[path = "virt_tests.rs"]
mod tests;
