//! Into admin control mode with a provisioning certificate, and out again.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what a test calls may fail it")]

mod peer;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use peer::*;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};

const PASSWORD: &str = "Correct-horse-1";

fn file(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/chain/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn start(more: &[&str]) -> Sim {
    let root = format!("{}/tests/chain/root.der", env!("CARGO_MANIFEST_DIR"));
    let options = ["--time-scale", "0.01", "--trusted-root", &root];
    Sim::start("vpro-desktop-amt16", &[&options, more].concat())
}

/// One caller's view of the set-up service.
struct Caller<'a> {
    sim: &'a Sim,
    lme: Lme,
    user: &'static str,
    password: String,
}

impl<'a> Caller<'a> {
    fn os_admin(sim: &'a Sim) -> Self {
        Self { sim, lme: Lme::open(sim), user: "$$OsAdmin", password: os_admin(sim) }
    }

    fn admin(sim: &'a Sim) -> Self {
        Self { sim, lme: Lme::open(sim), user: "admin", password: PASSWORD.to_owned() }
    }

    fn post(&mut self, body: &str) -> Answer {
        post(&mut self.lme, self.user, &self.password, body)
    }

    fn invoke(&mut self, class: &str, method: &str, fields: &str) -> u32 {
        let answer = self.post(&invocation(class, method, fields));
        leaf(&answer, "ReturnValue").parse().unwrap()
    }

    fn add(&mut self, der: &[u8], is_leaf: bool, is_root: bool) -> u32 {
        let fields = format!(
            "<h:NextCertificate>{}</h:NextCertificate><h:IsLeafCertificate>{is_leaf}</h:IsLeafCertificate>\
             <h:IsRootCertificate>{is_root}</h:IsRootCertificate>",
            STANDARD.encode(der)
        );
        self.invoke(SETUP, "AddNextCertInChain", &fields)
    }

    fn add_chain(&mut self, name: &str) {
        assert_eq!(self.add(&file(&format!("{name}.der")), true, false), 0);
        assert_eq!(self.add(&file("intermediate.der"), false, false), 0);
        assert_eq!(self.add(&file("root.der"), false, true), 0);
        assert_eq!(self.sim.state()["cert_chain_status"], 2);
    }

    fn nonce(&mut self) -> Vec<u8> {
        STANDARD.decode(leaf(&self.post(&envelope(GET, SETUP, "")), "ConfigurationNonce")).unwrap()
    }

    fn ha1(&self) -> String {
        md5(&format!("admin:{}:{PASSWORD}", self.sim.state()["realm"].as_str().unwrap()))
    }

    fn set_up(&mut self, proof: &str) -> u32 {
        let password = format!(
            "<h:NetAdminPassEncryptionType>2</h:NetAdminPassEncryptionType>\
             <h:NetworkAdminPassword>{}</h:NetworkAdminPassword>",
            self.ha1()
        );
        self.invoke(SETUP, "AdminSetup", &(password + proof))
    }
}

fn proof(key: &str, configuration: &[u8], own: &[u8], algorithm: u8) -> String {
    let key = RsaKeyPair::from_der(&file(key)).unwrap();
    let mut signature = vec![0; key.public().modulus_len()];
    let message = [configuration, own].concat();
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), &message, &mut signature).unwrap();
    format!(
        "<h:McNonce>{}</h:McNonce><h:SigningAlgorithm>{algorithm}</h:SigningAlgorithm>\
         <h:DigitalSignature>{}</h:DigitalSignature>",
        STANDARD.encode(own),
        STANDARD.encode(signature)
    )
}

#[test]
fn a_chain_and_a_signature_lead_to_admin_control_mode_once() {
    let sim = start(&[]);
    let mut caller = Caller::os_admin(&sim);
    caller.add_chain("leaf");
    let nonce = caller.nonce();
    assert_eq!(caller.set_up(&proof("leaf.key", &nonce, &[7; 20], 2)), 0);
    let state = sim.state();
    assert_eq!((&state["control_mode"], &state["provisioning_state"]), (&2.into(), &2.into()));
    assert_eq!(state["counters"]["wsman:IPS_HostBasedSetupService.AddNextCertInChain"], 3);
    assert_eq!((&state["per_kind"]["Get"], &state["per_kind"]["Invoke"]), (&1.into(), &4.into()));
    assert_eq!(caller.set_up(&proof("leaf.key", &nonce, &[7; 20], 2)), 2);
    assert_eq!(caller.add(&file("leaf.der"), true, false), 3);
    let general = post(&mut Network(sim.port()), "admin", PASSWORD, &envelope(GET, GENERAL, ""));
    assert_eq!(general.status, 200);
    // Out of it only with the password, and not through PTHI.
    assert_eq!(pthi(&sim, UNPROVISION).0, 3);
    drop(caller);
    let mut admin = Caller::admin(&sim);
    assert_eq!(admin.invoke(CONFIGURATION, "Unprovision", "<h:ProvisioningMode>1</h:ProvisioningMode>"), 0);
    assert_eq!(sim.state()["control_mode"], 0);
    assert_eq!(sim.state()["ha1_sha256"], serde_json::Value::Null);
}

#[test]
fn each_bad_certificate_is_refused_and_ends_the_chain() {
    let sim = start(&[]);
    let mut caller = Caller::os_admin(&sim);
    let (good, inter, root) = (file("leaf.der"), file("intermediate.der"), file("root.der"));
    assert_eq!(caller.add(&inter, false, false), 3, "no leaf yet");
    assert_eq!(caller.add(&good[1..], true, false), 1);
    assert_eq!(caller.add(&good, true, true), 1);
    assert_eq!(caller.add(&file("plain.der"), true, false), 4, "no purpose");
    for (second, is_root) in [(root.clone(), true), (good.clone(), false), (file("stranger.der"), true)] {
        assert_eq!(caller.add(&good, true, false), 0);
        assert_eq!(sim.state()["cert_chain_status"], 1);
        assert_eq!(caller.add(&second, false, is_root), 4);
        assert_eq!(sim.state()["cert_chain_status"], 0);
    }
    // A leaf that was signed with SHA-1 shows when its issuer comes.
    assert_eq!(caller.add(&file("sha1.der"), true, false), 0);
    assert_eq!(caller.add(&inter, false, false), 4);
    // The root's name is not the root's key.
    assert_eq!(caller.add(&good, true, false), 0);
    assert_eq!(caller.add(&inter, false, false), 0);
    assert_eq!(caller.add(&file("stranger.der"), false, true), 4);
    // A leaf begins again.
    caller.add_chain("leaf");
    caller.add_chain("unit");
}

#[test]
fn a_root_that_is_not_in_the_list_is_refused() {
    let sim = Sim::vpro(&[]);
    let mut caller = Caller::os_admin(&sim);
    assert_eq!(caller.add(&file("leaf.der"), true, false), 0);
    assert_eq!(caller.add(&file("intermediate.der"), false, false), 0);
    assert_eq!(caller.add(&file("root.der"), false, true), 4);
}

#[test]
fn the_proof_must_be_the_leaf_s_over_the_last_nonce() {
    let sim = start(&[]);
    let mut caller = Caller::os_admin(&sim);
    let own = [9; 20];
    let nonce = caller.nonce();
    assert_eq!(caller.set_up(&proof("leaf.key", &nonce, &own, 2)), 2, "no chain");
    caller.add_chain("leaf");
    let earlier = caller.nonce();
    caller.nonce();
    assert_eq!(caller.set_up(&proof("leaf.key", &earlier, &own, 2)), 4, "an earlier nonce");
    let nonce = caller.nonce();
    assert_eq!(caller.set_up(&proof("unit.key", &nonce, &own, 2)), 4, "another key");
    assert_eq!(caller.set_up(&proof("leaf.key", &nonce, &own, 2)), 4, "a nonce that was used");
    let nonce = caller.nonce();
    assert_eq!(caller.set_up(&proof("leaf.key", &nonce, &own, 1)), 3);
    assert_eq!(caller.set_up(&proof("leaf.key", &nonce, &own[1..], 2)), 3);
    assert_eq!(sim.state()["control_mode"], 0);
    assert_eq!(caller.set_up(&proof("leaf.key", &nonce, &own, 2)), 0);
}

#[test]
fn the_domain_and_the_link_count() {
    let table: [(&[&str], &str, u32); 6] = [
        (&[], "elsewhere", 5),
        (&["--dhcp-suffix", "office.example.com"], "leaf", 0),
        (&["--dhcp-suffix", ""], "leaf", 5),
        (&["--link-down"], "leaf", 4),
        (&["--pki-suffix", "elsewhere.org"], "leaf", 5),
        (&["--pki-suffix", "elsewhere.org"], "elsewhere", 0),
    ];
    for (options, name, wanted) in table {
        let sim = start(options);
        let mut caller = Caller::os_admin(&sim);
        caller.add_chain(name);
        let nonce = caller.nonce();
        let value = caller.set_up(&proof(&format!("{name}.key"), &nonce, &[1; 20], 2));
        assert_eq!(value, wanted, "{options:?} {name}");
        let up = if options.contains(&"--link-down") { "00" } else { "01" };
        let (_, lan) = pthi(&sim, "01 01 00 00 48 00 00 04 04 00 00 00 00 00 00 00");
        assert_eq!(hex(&lan[13..14]), up);
        if let ["--pki-suffix", suffix] = options {
            assert_eq!(pthi(&sim, "01 01 00 00 36 00 00 04 00 00 00 00").1[2..], *suffix.as_bytes());
        }
    }
}

#[test]
fn client_control_mode_is_left_upwards_by_the_administrator() {
    let sim = start(&[]);
    let ha1 = activate(&sim, PASSWORD);
    let mut os_admin = Caller::os_admin(&sim);
    os_admin.add_chain("leaf");
    let proof_now = |caller: &mut Caller<'_>| proof("leaf.key", &caller.nonce(), &[3; 20], 2);
    let fields = proof_now(&mut os_admin);
    let refused = os_admin.post(&invocation(SETUP, "UpgradeClientToAdmin", &fields));
    assert!(refused.body.contains(">e:AccessDenied<"), "{refused:?}");
    drop(os_admin);
    let mut admin = Caller::admin(&sim);
    let fields = proof_now(&mut admin);
    assert_eq!(admin.invoke(SETUP, "UpgradeClientToAdmin", &fields), 0);
    let state = sim.state();
    assert_eq!(state["control_mode"], 2);
    assert_eq!(state["ha1_sha256"].as_str().unwrap(), sha256(&ha1));
    assert_eq!(admin.invoke(CONFIGURATION, "PartialUnprovision", ""), 0);
    assert_eq!((&sim.state()["control_mode"], &sim.state()["ha1_sha256"]), (&0.into(), &state["ha1_sha256"]));
}

#[test]
fn the_added_root_is_in_the_list_and_active() {
    let sim = start(&["--trusted-root-sha256", &"ab".repeat(32)]);
    let (_, list) = pthi(&sim, "01 01 00 00 2c 00 00 04 00 00 00 00");
    let count = usize::from(list[0]);
    assert_eq!(list.len(), 4 + 4 * count);
    let entry = |handle: usize| {
        let (status, entry) =
            pthi(&sim, &format!("01 01 00 00 2d 00 00 04 04 00 00 00 {handle:02x} 00 00 00"));
        assert_eq!(status, 0);
        entry
    };
    assert_eq!(hex(&entry(count)[..40]), format!("0000000001000000{}", "ab".repeat(32)));
    assert_eq!(hex(&entry(count - 1)[8..40]), sha256_of(&file("root.der")));
    assert_eq!(entry(1)[..8], bytes("01000000 01000000"));
}

#[test]
fn a_configuration_that_was_begun_must_be_stopped_first() {
    let sim = start(&["--in-provisioning"]);
    assert_eq!(pthi(&sim, PROVISIONING_STATE).1, bytes("01000000"));
    let mut caller = Caller::os_admin(&sim);
    assert_eq!(caller.add(&file("leaf.der"), true, false), 3);
    assert_eq!(pthi(&sim, "01 01 00 00 5e 00 00 04 00 00 00 00").0, 0);
    assert_eq!(pthi(&sim, PROVISIONING_STATE).1, bytes("00000000"));
    caller.add_chain("leaf");
    let nonce = caller.nonce();
    assert_eq!(caller.set_up(&proof("leaf.key", &nonce, &[7; 20], 2)), 0);
}

/// What goes wrong at the one call that cannot be sent twice.
#[test]
fn faults_at_admin_setup_leave_the_old_state_or_the_new_one() {
    for (fault, mode, answered) in [
        ("return-value:5", 0, true),
        ("fault", 0, true),
        ("drop-before", 0, false),
        ("drop-after", 2, false),
        ("settle-401", 2, true),
    ] {
        let fault = format!("wsman:IPS_HostBasedSetupService.AdminSetup={fault}");
        let sim = start(&["--fault", &fault]);
        let mut caller = Caller::os_admin(&sim);
        caller.add_chain("leaf");
        let nonce = caller.nonce();
        let fields = proof("leaf.key", &nonce, &[7; 20], 2);
        let password = format!(
            "<h:NetAdminPassEncryptionType>2</h:NetAdminPassEncryptionType>\
             <h:NetworkAdminPassword>{}</h:NetworkAdminPassword>{fields}",
            caller.ha1()
        );
        let body = invocation(SETUP, "AdminSetup", &password);
        let challenge = Answer::parse(&caller.lme.exchange(&request(&body, None)));
        let authorization = login("$$OsAdmin", &caller.password, &challenge.realm(), &challenge.nonce(), 1);
        let answer = caller.lme.exchange(&request(&body, Some(&authorization)));
        assert_eq!(!answer.is_empty(), answered, "{fault}");
        assert_eq!(sim.state()["control_mode"], mode, "{fault}");
    }
}

#[test]
fn four_certificates_are_kept_and_no_fifth() {
    let sim = start(&[]);
    let mut caller = Caller::os_admin(&sim);
    let mut add_all = |names: &[&str]| -> Vec<u32> {
        let last = names.len() - 1;
        let add = |(at, name): (usize, &&str)| caller.add(&file(&format!("{name}.der")), at == 0, at == last);
        names.iter().enumerate().map(add).collect()
    };
    assert_eq!(add_all(&["leaf-of-5", "third", "second", "intermediate", "root"]), [0, 0, 0, 0, 5]);
    assert_eq!(sim.state()["cert_chain_status"], 0);
    assert_eq!(add_all(&["leaf-of-4", "second", "intermediate", "root"]), [0; 4]);
    let nonce = caller.nonce();
    assert_eq!(caller.set_up(&proof("leaf-of-4.key", &nonce, &[7; 20], 2)), 0);
}
