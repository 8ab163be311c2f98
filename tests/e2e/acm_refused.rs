//! Certificates that are not fit: the broken rule is named, nothing is touched, no password is made
//! (reference/amt-peers.md 2, row 14). And what `acm-or-ccm` makes of each.

use std::fs;
use std::path::{Path, PathBuf};

use oob_tests::provisioning::{
    Chain, Leaf, LeafKey, Org, ca_key, ec_key, fixture, leaf_key, policy, provisioning, raise_serial,
};
use oob_tests::{Machine, code, json, scratch, text};
use rcgen::ExtendedKeyUsagePurpose;

use crate::use_acm::apply;
use crate::use_ccm::escrow_files;

/// One way not to be fit.
struct Case {
    name: &'static str,
    /// What the certificate's file holds; none where it is missing.
    file: Option<Vec<u8>>,
    passphrase: Option<&'static str>,
    /// PEM of the root that the device is told about, and how.
    root: (&'static str, String),
    more: &'static [&'static str],
    reason: &'static str,
    /// Stands in the text, and in that of no other case.
    rule: &'static str,
}

/// Judged against the device.
const UNFIT: &str = "certificate-not-fit";
/// The file itself cannot be used.
const UNUSABLE: &str = "acm-not-possible";

impl Case {
    fn of(name: &'static str, leaf: Leaf, rule: &'static str) -> Self {
        let chain = Chain::of(leaf);
        let (reason, root) = (UNFIT, ("--trusted-root", chain.root.clone()));
        Self { name, file: Some(chain.bundle().into()), passphrase: None, root, more: &[], reason, rule }
    }

    /// With a good leaf.
    fn good(name: &'static str, rule: &'static str) -> Self {
        Self::of(name, Leaf::default(), rule)
    }

    fn file(name: &'static str, file: Option<Vec<u8>>, rule: &'static str) -> Self {
        Self { file, reason: UNUSABLE, ..Self::good(name, rule) }
    }
}

fn cases() -> Vec<Case> {
    let chain = Chain::of(Leaf::default());
    let joined = |parts: &[&str]| Some(parts.concat().into_bytes());
    let (key, other_key) = (leaf_key().serialize_pem(), ca_key().serialize_pem());
    let Chain { leaf, second, first, root } = &chain;
    let read = |name: &str| fs::read_to_string(fixture(name)).unwrap();
    vec![
        Case::of(
            "no provisioning purpose",
            Leaf { purposes: vec![ExtendedKeyUsagePurpose::ServerAuth], ..Leaf::default() },
            "is not a provisioning certificate",
        ),
        Case::of(
            "no serverAuth",
            Leaf { purposes: vec![provisioning()], ..Leaf::default() },
            "but not serverAuth",
        ),
        Case::of("expired", Leaf { years: (2010, 2020), ..Leaf::default() }, "expired on"),
        Case::of("not yet valid", Leaf { years: (2040, 2045), ..Leaf::default() }, "is valid from"),
        Case {
            file: joined(&[leaf, second, first, &key]),
            ..Case::good("no root in the file", "CN=First was issued by")
        },
        Case {
            file: joined(&[leaf, first, root, &key]),
            ..Case::good("an intermediate is missing", "CN=provision.example.com was issued by")
        },
        Case {
            root: ("--trusted-root", read("root.pem")),
            ..Case::good("the root is not listed", "is not among the")
        },
        Case {
            root: ("--misfiled-root", root.clone()),
            ..Case::good("the root is listed under another algorithm", "hash stands there as Sha384")
        },
        Case {
            more: &["--pki-suffix", "example.org"],
            ..Case::good(
                "another PKI suffix",
                "the device's domain example.org (the PKI DNS suffix set in MEBx)",
            )
        },
        Case {
            more: &["--dhcp-suffix", "example.net"],
            ..Case::good("another DHCP suffix", "the device's domain example.net (from DHCP option 15")
        },
        Case {
            more: &["--dhcp-suffix", ""],
            ..Case::good("no suffix at all", "the device has no DNS suffix")
        },
        Case {
            file: joined(&[&read("sha1-leaf.pem"), &read("root.pem"), &key]),
            root: ("--trusted-root", read("root.pem")),
            ..Case::good("SHA-1", "is signed with SHA-1 or MD5")
        },
        Case::of(
            "a small key",
            Leaf { key: LeafKey::Rsa1024, ..Leaf::default() },
            "has an RSA key of 1024 bits",
        ),
        Case::of("a leaf of EC", Leaf { key: LeafKey::P256, ..Leaf::default() }, "has a key that is not RSA"),
        Case {
            more: &["--link-down", "--pki-suffix", "example.com"],
            ..Case::good("no cable", "AMT's wired link is down")
        },
        Case {
            file: joined(&[leaf, second, first, root, &other_key]),
            ..Case::good("another's key", "the private key beside it is not the leaf's")
        },
        Case::file(
            "an encrypted key",
            joined(&[leaf, second, first, root, &read("encrypted-key.pem")]),
            "its private key is encrypted",
        ),
        Case::file(
            "an EC key",
            joined(&[leaf, second, first, root, &ec_key().serialize_pem()]),
            "its private key is no RSA key",
        ),
        Case::file("no key", joined(&[leaf, second, first, root]), "it holds 0 private keys"),
        Case::file(
            "two keys",
            joined(&[leaf, second, first, root, &key, &other_key]),
            "it holds 2 private keys",
        ),
        Case::file("a key alone", joined(&[&key]), "it holds no certificate"),
        Case::file(
            "no certificate file at all",
            Some(b"\x7fELF".to_vec()),
            "it is neither PEM nor a PKCS#12 file",
        ),
        Case::file("no file", None, "No such file or directory"),
        Case {
            passphrase: Some("geraten"),
            ..Case::file(
                "a wrong passphrase",
                Some(fs::read(fixture("modern.p12")).unwrap()),
                "the passphrase does not open it",
            )
        },
    ]
}

impl Case {
    fn policy(&self, dir: &Path, mode: &str) -> PathBuf {
        let file = dir.join("certificate");
        if let Some(bytes) = &self.file {
            fs::write(&file, bytes).unwrap();
        }
        let mut amt = format!("control_mode = \"{mode}\", certificate = \"file:{}\"", file.display());
        if let Some(passphrase) = self.passphrase {
            let file = dir.join("passphrase");
            fs::write(&file, passphrase).unwrap();
            amt += &format!(", certificate_passphrase = \"file:{}\"", file.display());
        }
        policy(dir, &amt)
    }

    fn machine(&self, dir: &Path) -> Machine {
        let root = dir.join("root.pem");
        fs::write(&root, &self.root.1).unwrap();
        let more = [&[self.root.0, root.to_str().unwrap()], self.more].concat();
        Machine::start("vpro-desktop-amt16", &dir.join("vpro"), &more)
    }
}

#[test]
fn each_broken_rule_is_named_and_nothing_is_touched() {
    let cases = cases();
    for case in &cases {
        let (scratch, name) = (scratch(), case.name);
        let (policy, machine) = (case.policy(scratch.path(), "acm"), case.machine(scratch.path()));
        let out = scratch.path().join("out");
        let run = apply(&machine, &policy, &out);
        assert_eq!(code(&run), Some(8), "{name}: {}\n{}", text(&run.stdout), text(&run.stderr));
        let result = json(&run);
        assert_eq!((&result["reason"], &result["changed"]), (&case.reason.into(), &false.into()), "{name}");
        let told = result["text"].as_str().unwrap();
        for other in &cases {
            let expected = other.rule == case.rule;
            assert_eq!(told.contains(other.rule), expected, "{name}: {:?} in {told}", other.rule);
        }
        let state = machine.state();
        assert_eq!((&state["mutating"], &state["control_mode"]), (&0.into(), &0.into()), "{name}");
        assert_eq!(state["cert_chain_status"], 0, "{name}: a certificate was handed over");
        assert!(escrow_files(&out).is_empty(), "{name}: a password was made for nothing");
    }
}

#[test]
fn acm_or_ccm_takes_client_control_mode_and_says_why() {
    for case in &cases() {
        let (scratch, name) = (scratch(), case.name);
        let (policy, machine) = (case.policy(scratch.path(), "acm-or-ccm"), case.machine(scratch.path()));
        let out = scratch.path().join("out");
        let run = apply(&machine, &policy, &out);
        assert_eq!(code(&run), Some(0), "{name}: {}\n{}", text(&run.stdout), text(&run.stderr));
        let (result, state) = (json(&run), machine.state());
        assert_eq!((&state["control_mode"], &state["mutating"]), (&1.into(), &1.into()), "{name}");
        assert_eq!(result["capability"]["channels"][0]["control_mode"], "ccm", "{name}");
        let told_by = |part: &str| result[part].to_string().contains(case.rule);
        assert!(told_by("plan") || told_by("outcomes"), "{name}: neither plan nor outcome tells: {result:#}");
        let report = result["reports"][0].as_str().unwrap();
        assert!(fs::read_to_string(report).unwrap().contains(case.rule), "{name}: the report does not tell");
        assert_eq!(escrow_files(&out).len(), 1, "{name}");
    }
}

#[test]
fn a_chain_that_the_device_refuses_is_told_by_its_return_value() {
    for (mode, exit, control) in [("acm", 8, 0), ("acm-or-ccm", 0, 1)] {
        for number in [1, 4] {
            let scratch = scratch();
            let chain = Chain::of(Leaf::default());
            let org = Org::with(scratch.path(), &chain.root, &chain.bundle(), mode, "sol = true");
            let fault = format!("wsman:IPS_HostBasedSetupService.AddNextCertInChain=return-value:4#{number}");
            let [trusted, root] = org.trusted();
            let machine = Machine::start(
                "vpro-desktop-amt16",
                &scratch.path().join("vpro"),
                &[trusted, root, "--fault", &fault],
            );
            let out = scratch.path().join("out");
            let run = apply(&machine, &org.policy, &out);
            let when = format!("{mode}, certificate {number}");
            assert_eq!(code(&run), Some(exit), "{when}: {}\n{}", text(&run.stdout), text(&run.stderr));
            let (result, state) = (json(&run), machine.state());
            assert_eq!(state["control_mode"], control, "{when}");
            assert!(state["counters"]["wsman:IPS_HostBasedSetupService.AdminSetup"].is_null(), "{when}");
            let told = result["outcomes"].to_string();
            assert!(told.contains(&format!("handing over certificate {number} of 4")), "{when}: {told}");
            if mode == "acm" {
                assert_eq!(
                    (&result["reason"], &result["changed"]),
                    (&"certificate-refused".into(), &false.into())
                );
                assert!(escrow_files(&out).is_empty(), "{when}: a password was made for nothing");
            } else {
                assert_eq!(result["capability"]["channels"][0]["control_mode"], "ccm", "{when}");
                assert_eq!(
                    state["settings"]["redirection"], 32770,
                    "{when}: SOL is on in client control mode"
                );
                let report = fs::read_to_string(result["reports"][0].as_str().unwrap()).unwrap();
                assert!(report.contains("handing over certificate"), "{when}: the report does not tell");
            }
        }
    }
}

#[test]
fn firmware_that_allows_client_control_mode_only_is_handed_no_certificate() {
    for (mode, exit, control) in [("acm", 8, 0), ("acm-or-ccm", 0, 1)] {
        let scratch = scratch();
        let chain = Chain::of(Leaf::default());
        let org = Org::with(scratch.path(), &chain.root, &chain.bundle(), mode, "");
        let [trusted, root] = org.trusted();
        let options = [trusted, root, "--client-mode-only"];
        let machine = Machine::start("vpro-desktop-amt16", &scratch.path().join("vpro"), &options);
        let out = scratch.path().join("out");
        let run = apply(&machine, &org.policy, &out);
        assert_eq!(code(&run), Some(exit), "{mode}: {}\n{}", text(&run.stdout), text(&run.stderr));
        let (result, state) = (json(&run), machine.state());
        assert!(
            result["outcomes"].to_string().contains("AMT allows control modes [1] only"),
            "{mode}: {result:#}"
        );
        assert_eq!(state["control_mode"], control, "{mode}");
        assert!(state["counters"]["wsman:IPS_HostBasedSetupService.AddNextCertInChain"].is_null(), "{mode}");
        assert_eq!(escrow_files(&out).len(), usize::from(exit == 0), "{mode}");
    }
}

#[test]
fn a_laptop_without_a_cable_gets_client_control_mode_or_the_reason() {
    let scratch = scratch();
    let chain = Chain::of(Leaf::default());
    let org = Org::with(scratch.path(), &chain.root, &chain.bundle(), "acm", "");
    let machine = Machine::start("vpro-laptop-wifi-amt16", &scratch.path().join("vpro"), &org.trusted());
    let out = scratch.path().join("out");
    let run = apply(&machine, &org.policy, &out);
    assert_eq!((code(&run), &json(&run)["reason"]), (Some(8), &UNFIT.into()), "{}", text(&run.stderr));
    assert!(json(&run)["text"].as_str().unwrap().contains("wired link is down"));
    assert_eq!(machine.mutating_calls(), 0);
    let or_ccm = Org::with(scratch.path(), &chain.root, &chain.bundle(), "acm-or-ccm", "");
    raise_serial(&or_ccm.policy, 2);
    let run = apply(&machine, &or_ccm.policy, &out);
    assert_eq!(code(&run), Some(0), "{}\n{}", text(&run.stdout), text(&run.stderr));
    assert_eq!(machine.state()["control_mode"], 1);
    // The wish that was not fulfilled does not make the next run try again.
    let mutating = machine.mutating_calls();
    let again = apply(&machine, &or_ccm.policy, &out);
    assert_eq!((code(&again), &json(&again)["changed"]), (Some(0), &false.into()));
    assert_eq!(machine.mutating_calls(), mutating);
}
