//! Detection over captured machines. The expected table is written from the captures' own text and bytes and from
//! the rules of reference/detect.md, never from what the program printed.
//!
//! Needs `OOB_CORPUS` (the captures) and `OOB_CORPUS_BUILT` (the roots made of them, in `roots/`). With neither
//! set, one line names what is skipped; with one of them, or with a capture missing, the test fails.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use oob_agent::detect::detect;
use oob_agent::machine::Machine;
use oob_policy::{Confidence, Detection, Value};

/// Columns: capture, me.state, me.version, me.sku, amt.verdict, amd.pro, bmc.verdict, bmc.vendor, hypervisor, cloud,
/// hint of type 131.
///
/// - State from type 219's HFSTS1 where there is one; a processor that is not Intel's has no engine.
/// - Version and SKU from type 221, else 131 (0x8/0x10: corporate; 0x1, 0x2001, 0x2021: consumer), else HFSTS3 or SPS.
/// - `me-sps-server` runs server firmware, which has no AMT; else AMT is unknown beside an Intel processor.
/// - `server-ssif`: the root's cpuinfo says Intel, SMBIOS says Ampere, so nothing follows.
/// - Cloud: `sidero-HyperV` and `vm-qemu-kvm-1` are guests that name no provider; `vm-qemu-kvm-2` says LXD.
/// - `sidero-ASRock-Single-Ryzen` has no type 38 and no chassis type: no sign, but no client either.
const EXPECTED: &str = "
amd-consumer-desktop          absent        unknown      unknown   absent  false   absent     none       none none none
amd-pro-desktop-dash-m715q    absent        unknown      unknown   absent  true    absent     none       none none none
amd-pro-desktop-hp805         absent        unknown      unknown   absent  true    absent     none       none none none
amt-capable-no-type130        unknown       12.0.68.1606 corporate unknown false   absent     none       none none amt
consumer-laptop-vpro-tag-only normal        16.1.25.1865 consumer  unknown false   absent     none       none none none
false-amt-flag-consumer       normal        11.8.50.3399 consumer  unknown false   absent     none       none none none
false-type38-notebook         unknown       9.0.2.1345   consumer  unknown false   false-sign none       none none none
hetzner-1                     absent        unknown      unknown   absent  false   absent     none       none none none
jcreekmore-dmi                unknown       8.0.12.1498  corporate unknown false   absent     none       none none amt
jcreekmore-dmi.0              unknown       unknown      unknown   unknown false   likely     dell       none none none
jcreekmore-dmi_v3             unknown       11.6.13.1212 corporate unknown false   absent     none       none none amt
jcreekmore-dmidecode          unknown       8.0.12.1498  corporate unknown false   absent     none       none none amt
me-opmode2-soft-disabled      soft-disabled unknown      unknown   unknown false   absent     none       none none none
me-opmode3-disabled           disabled      unknown      unknown   unknown false   absent     none       none none none
me-opmode4-override-jumper    override      unknown      consumer  unknown false   absent     none       none none none
me-sps-server                 normal        unknown      sps       absent  false   likely     unknown    none none none
ovh                           unknown       unknown      unknown   unknown false   absent     none       none none none
server-dell-idrac-redfish     unknown       unknown      unknown   unknown false   likely     dell       none none none
server-hpe-ilo                absent        unknown      unknown   absent  false   likely     hpe        none none none
server-ssif                   unknown       unknown      unknown   unknown unknown likely     unknown    none none none
server-supermicro-redfish     absent        unknown      unknown   absent  false   likely     supermicro none none none
sidero-ASRock-Single-Ryzen    absent        unknown      unknown   absent  false   unknown    unknown    none none none
sidero-HyperV                 unknown       unknown      unknown   unknown false   absent     none  microsoft unknown none
sidero-SuperMicro-Dual-Xeon   unknown       unknown      unknown   unknown false   likely     supermicro none none none
sidero-SuperMicro-Quad-Opteron absent       unknown      unknown   absent  false   likely     supermicro none none none
standard-manageability        normal        16.1.25.2091 corporate unknown false absent none none none standard-manageability
vm-qemu-kvm-1                 unknown       unknown      unknown   unknown false   absent     none       kvm  unknown none
vm-qemu-kvm-2                 unknown       unknown      unknown   unknown false   absent     none       kvm  none none
vpro-desktop-amt              unknown       14.1.72.2287 corporate unknown false   absent     none       none none amt
vpro-laptop-amt               normal        15.0.42.2235 corporate unknown false   absent     none       none none amt
";

const COLUMNS: [&str; 10] = [
    "intel.me.state",
    "intel.me.version",
    "intel.me.sku",
    "intel.amt.verdict",
    "amd.pro",
    "bmc.verdict",
    "bmc.vendor",
    "virt.hypervisor",
    "cloud.provider",
    "intel.amt.hint.smbios131",
];

#[tokio::test]
async fn every_capture_gets_its_verdict() {
    let Some((captures, roots)) = corpus("every_capture_gets_its_verdict") else { return };
    let expected: Vec<Vec<&str>> = EXPECTED
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| line.split_whitespace().collect())
        .collect();
    let table: BTreeSet<String> = expected.iter().map(|row| row[0].to_owned()).collect();
    assert_eq!(capture_names(&captures), table, "the table and the captures must name the same machines");
    let mut wrong = Vec::new();
    for row in &expected {
        let detection = detection_of(&roots.join(row[0])).await;
        assert_eq!(row.len(), COLUMNS.len() + 1, "{row:?}");
        for (name, want) in COLUMNS.iter().zip(&row[1..]) {
            let have = shown(&detection, name);
            if have != *want {
                wrong.push(format!("{}: {name} is {have}, not {want}", row[0]));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn no_capture_claims_more_than_it_can_know() {
    let Some((captures, roots)) = corpus("no_capture_claims_more_than_it_can_know") else { return };
    for name in capture_names(&captures) {
        let detection = detection_of(&roots.join(&name)).await;
        let verdict = detection.text("intel.amt.verdict");
        assert!(["unknown", "absent"].contains(&verdict), "{name}: SMBIOS alone gives no {verdict}");
        for fact in &detection.facts {
            let unknown = fact.value == Value::from("unknown");
            let hint = fact.name.starts_with("intel.amt.hint.") && !unknown;
            assert!(!hint || fact.confidence == Confidence::Hint, "{name}: {fact:?}");
            assert!(
                !unknown || fact.reason.as_deref().is_some_and(|why| !why.is_empty()),
                "{name}: {fact:?}"
            );
        }
        for host in ["host.name", "host.os", "host.kernel", "host.boot_time"] {
            assert_eq!(detection.text(host), "unknown", "{name}: {host} would be this host's");
        }
    }
}

#[tokio::test]
async fn a_hosters_name_on_a_physical_machine_is_explained() {
    let Some((_, roots)) = corpus("a_hosters_name_on_a_physical_machine_is_explained") else { return };
    for (name, hoster) in [("hetzner-1", "Hetzner"), ("ovh", "OVH")] {
        let detection = detection_of(&roots.join(name)).await;
        for fact in ["virt.hypervisor", "cloud.provider"] {
            let why = detection.fact(fact).and_then(|fact| fact.reason.clone()).unwrap_or_default();
            assert!(why.contains(&format!("dedicated server of {hoster}")), "{name}: {fact}: {why}");
        }
    }
}

/// An id is stable, is not shared by two machines, and is refused where the capture's serials were taken out.
#[tokio::test]
async fn captures_have_an_id_only_where_something_identifies_them() {
    let Some((captures, roots)) = corpus("captures_have_an_id_only_where_something_identifies_them") else {
        return;
    };
    let known = [
        "jcreekmore-dmi",
        "jcreekmore-dmi_v3",
        "jcreekmore-dmidecode",
        "sidero-HyperV",
        "sidero-SuperMicro-Dual-Xeon",
    ];
    let mut ids = BTreeSet::new();
    for name in capture_names(&captures) {
        let first = detection_of(&roots.join(&name)).await.device_id;
        assert_eq!(first, detection_of(&roots.join(&name)).await.device_id, "{name}");
        assert_eq!(first.is_some(), known.contains(&name.as_str()), "{name}: {first:?}");
        ids.extend(first);
    }
    // jcreekmore-dmi.bin and -dmidecode.bin are two dumps of one machine.
    assert_eq!(ids.len(), known.len() - 1);
}

async fn detection_of(root: &Path) -> Detection {
    let machine = Machine::open(root).unwrap_or_else(|error| panic!("{error}"));
    detect(&machine).await
}

fn shown(detection: &Detection, name: &str) -> String {
    match detection.fact(name).map(|fact| &fact.value) {
        Some(Value::Text(text)) => text.clone(),
        Some(Value::Bool(flag)) => flag.to_string(),
        other => format!("{other:?}"),
    }
}

/// The captures' names: `*.txt` in `dmi/`, `*.dmi` and `*.bin` in `dmi/raw/`.
fn capture_names(captures: &Path) -> BTreeSet<String> {
    let of = |dir: &str, kinds: &[&str]| -> Vec<String> {
        let dir = captures.join(dir);
        let entries = std::fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
        entries
            .filter_map(|entry| {
                let name = entry.ok()?.file_name().into_string().ok()?;
                let (stem, kind) = name.rsplit_once('.')?;
                kinds.contains(&kind).then(|| stem.to_owned())
            })
            .collect()
    };
    of("dmi", &["txt"]).into_iter().chain(of("dmi/raw", &["dmi", "bin"])).collect()
}

/// Set but incomplete fails; unset skips, visibly.
fn corpus(test: &str) -> Option<(PathBuf, PathBuf)> {
    match (std::env::var_os("OOB_CORPUS"), std::env::var_os("OOB_CORPUS_BUILT")) {
        (Some(captures), Some(built)) => {
            let roots = PathBuf::from(built).join("roots");
            assert!(roots.is_dir(), "{} is missing: build the machine roots first", roots.display());
            Some((PathBuf::from(captures), roots))
        }
        (None, None) => {
            // Past the test harness, which would swallow what a passing test prints.
            let line = format!(
                "skipped: detect_corpus::{test} (captures), OOB_CORPUS and OOB_CORPUS_BUILT are not set\n"
            );
            let _ = std::io::stderr().write_all(line.as_bytes());
            None
        }
        _ => panic!("only one of OOB_CORPUS and OOB_CORPUS_BUILT is set; set both or neither"),
    }
}
