//! What an administrator sets, and what a machine's kind and mode refuse.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what a test calls may fail it")]

mod peer;

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use peer::*;

const PASSWORD: &str = "Correct-horse-1";
const AMT: &str = "http://intel.com/wbem/wscim/1/amt-schema/1/";
const REDIRECTION: &str = "http://intel.com/wbem/wscim/1/amt-schema/1/AMT_RedirectionService";
const PORTS: &str = "http://intel.com/wbem/wscim/1/amt-schema/1/AMT_EthernetPortSettings";
const CLOCK: &str = "http://intel.com/wbem/wscim/1/amt-schema/1/AMT_TimeSynchronizationService";
const CONSENT: &str = "http://intel.com/wbem/wscim/1/ips-schema/1/IPS_OptInService";
const KVM: &str = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_KVMRedirectionSAP";
const PUT: &str = "http://schemas.xmlsoap.org/ws/2004/09/transfer/Put";

/// A provisioned machine and its administrator, who comes through MEI: every profile has that door.
struct Admin {
    sim: Sim,
    lme: Lme,
    password: String,
}

impl Admin {
    fn of(profile: &str) -> Self {
        let sim = Sim::start(profile, &["--time-scale", "0.01"]);
        activate(&sim, PASSWORD);
        Self::at(sim)
    }

    fn at(sim: Sim) -> Self {
        let tls = sim.state()["tls"]["committed"][1]["enabled"] == true;
        assert!(!tls, "this door is for machines that speak clear to the host");
        let lme = Lme::open(&sim);
        Self { sim, lme, password: PASSWORD.to_owned() }
    }

    fn ask(&mut self, body: &str) -> Answer {
        post(&mut self.lme, "admin", &self.password, body)
    }

    fn get(&mut self, class: &str) -> Answer {
        self.ask(&envelope(GET, class, ""))
    }

    fn put(&mut self, class: &str, instance: &str, fields: &str) -> Answer {
        self.ask(&put(class, instance, fields))
    }

    fn invoke(&mut self, class: &str, method: &str, fields: &str) -> String {
        leaf(&self.ask(&invocation(class, method, fields)), "ReturnValue")
    }
}

fn put(class: &str, instance: &str, fields: &str) -> String {
    let name = class.rsplit('/').next().unwrap();
    let request = envelope(PUT, class, &format!("<h:{name} xmlns:h=\"{class}\">{fields}</h:{name}>"));
    if instance.is_empty() { request } else { selecting(&request, "InstanceID", instance) }
}

/// The leaves of an answer's instance as fields of a Put, without those that can only be read.
fn echoed(answer: &Answer, read_only: &[&str]) -> String {
    let document = roxmltree::Document::parse(&answer.body).unwrap();
    let body = document.descendants().find(|node| node.tag_name().name() == "Body").unwrap();
    let instance = body.first_element_child().unwrap();
    let leaves = instance.children().filter(|node| !read_only.contains(&node.tag_name().name()));
    leaves
        .map(|node| {
            let name = node.tag_name().name();
            format!("<h:{name}>{}</h:{name}>", node.text().unwrap_or(""))
        })
        .collect()
}

fn refused(answer: &Answer, subcode: &str) {
    assert!(answer.status == 400 && answer.body.contains(&format!(">{subcode}<")), "{subcode}: {answer:?}");
}

const GENERAL_READ_ONLY: [&str; 1] = ["DigestRealm"];

#[test]
fn general_settings_are_put_whole_and_without_what_can_only_be_read() {
    let mut admin = Admin::of("vpro-desktop-amt16");
    let before = admin.get(GENERAL);
    let fields = echoed(&before, &GENERAL_READ_ONLY);
    let named = fields.replace("<h:HostName></h:HostName>", "<h:HostName>node-7</h:HostName>");
    refused(&admin.put(GENERAL, "", &echoed(&before, &[])), "e:SchemaValidationError");
    refused(
        &admin.put(GENERAL, "", &named.replace("<h:SharedFQDN>true</h:SharedFQDN>", "")),
        "e:SchemaValidationError",
    );
    refused(
        &admin.put(GENERAL, "", &(named.clone() + "<h:Colour>red</h:Colour>")),
        "e:SchemaValidationError",
    );
    refused(&admin.put(GENERAL, "", &named.replace("node-7", "node 7")), "e:SchemaValidationError");
    refused(
        &admin.put(GENERAL, "", &named.replace("PowerSource>0", "PowerSource>1")),
        "e:SchemaValidationError",
    );
    refused(&admin.put(GENERAL, "Other", &named), "e:InvalidSelectors");
    assert_eq!(leaf(&admin.get(GENERAL), "HostName"), "");
    assert_eq!(leaf(&admin.put(GENERAL, "", &named), "HostName"), "node-7");
    let after = admin.get(GENERAL);
    assert_eq!(echoed(&after, &GENERAL_READ_ONLY), named);
    assert_eq!(admin.sim.state()["per_kind"]["Put"], 7);
}

#[test]
fn addresses_do_not_go_with_dhcp() {
    let mut admin = Admin::of("vpro-desktop-amt16");
    let port = "Intel(r) AMT Ethernet Port Settings 0";
    let dhcp = "<h:DHCPEnabled>true</h:DHCPEnabled><h:IpSyncEnabled>true</h:IpSyncEnabled>\
                <h:LinkPolicy>1</h:LinkPolicy><h:LinkPolicy>14</h:LinkPolicy><h:SharedStaticIp>false</h:SharedStaticIp>";
    let address = "<h:IPAddress>192.0.2.9</h:IPAddress><h:SubnetMask>255.255.255.0</h:SubnetMask>";
    refused(&admin.put(PORTS, "", dhcp), "e:InvalidSelectors");
    refused(&admin.put(PORTS, port, &(dhcp.to_owned() + address)), "e:SchemaValidationError");
    refused(
        &admin.put(PORTS, port, &(dhcp.to_owned() + "<h:LinkIsUp>true</h:LinkIsUp>")),
        "e:SchemaValidationError",
    );
    refused(&admin.put(PORTS, port, &dhcp.replacen("true", "false", 2)), "e:SchemaValidationError");
    assert_eq!(admin.put(PORTS, port, dhcp).status, 200);
    let fixed = dhcp.replacen("true", "false", 2) + address;
    assert_eq!(leaf(&admin.put(PORTS, port, &fixed), "IPAddress"), "192.0.2.9");
    let answer = admin.put(PORTS, port, dhcp);
    assert!(answer.status == 200 && !answer.body.contains("IPAddress"), "{answer:?}");
}

#[test]
fn the_clock_is_off_and_can_be_set() {
    let mut admin = Admin::of("vpro-desktop-amt16");
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut said = || -> u64 {
        leaf(&admin.ask(&invocation(CLOCK, "GetLowAccuracyTimeSynch", "")), "Ta0").parse().unwrap()
    };
    let first = said();
    assert!(first + 86_400 < now());
    let fields = format!("<h:Ta0>{first}</h:Ta0><h:Tm1>{0}</h:Tm1><h:Tm2>{0}</h:Tm2>", now());
    assert_eq!(admin.invoke(CLOCK, "SetHighAccuracyTimeSynch", &fields), "0");
    let set = leaf(&admin.ask(&invocation(CLOCK, "GetLowAccuracyTimeSynch", "")), "Ta0");
    assert!(set.parse::<u64>().unwrap().abs_diff(now()) < 10);
}

#[test]
fn redirection_and_kvm_have_their_states() {
    let mut admin = Admin::of("vpro-desktop-amt16");
    let state = |value: u32| format!("<h:RequestedState>{value}</h:RequestedState>");
    assert_eq!(admin.invoke(REDIRECTION, "RequestStateChange", &state(2)), "5");
    assert_eq!(admin.invoke(REDIRECTION, "RequestStateChange", &state(32771)), "0");
    let fields = echoed(&admin.get(REDIRECTION), &[]).replace(">false<", ">true<");
    assert_eq!(leaf(&admin.put(REDIRECTION, "", &fields), "ListenerEnabled"), "true");
    assert_eq!(leaf(&admin.get(KVM), "EnabledState"), "3");
    assert_eq!(admin.invoke(KVM, "RequestStateChange", &state(2)), "0");
    assert_eq!(leaf(&admin.get(KVM), "EnabledState"), "6");
    let settings = &admin.sim.state()["settings"];
    assert_eq!(
        (&settings["redirection"], &settings["listener"], &settings["kvm"]),
        (&32771.into(), &true.into(), &true.into())
    );
}

#[test]
fn client_control_mode_forbids_consent_and_mebx() {
    let mut admin = Admin::of("vpro-desktop-amt16");
    let consent = admin.get(CONSENT);
    assert_eq!(
        (leaf(&consent, "CanModifyOptInPolicy"), leaf(&consent, "OptInRequired")),
        ("0".into(), u32::MAX.to_string())
    );
    let fields = echoed(&consent, &["CanModifyOptInPolicy", "OptInState"]);
    refused(&admin.put(CONSENT, "", &echoed(&consent, &[])), "e:SchemaValidationError");
    refused(&admin.put(CONSENT, "", &fields.replace("4294967295", "0")), "e:AccessDenied");
    assert_eq!(admin.invoke(CONFIGURATION, "SetMEBxPassword", "<h:Password>Mebx-pass-1</h:Password>"), "16");
    assert_eq!(admin.sim.state()["mebx_sha256"], serde_json::Value::Null);
}

#[test]
fn the_administrator_s_password_is_changed_as_raw_bytes() {
    let mut admin = Admin::of("vpro-desktop-amt16");
    let service = format!("{AMT}AMT_AuthorizationService");
    let realm = admin.sim.state()["realm"].as_str().unwrap().to_owned();
    let ha1 = md5(&format!("admin:{realm}:Another-horse-2"));
    let fields =
        |digest: &str| format!("<h:Username>admin</h:Username><h:DigestPassword>{digest}</h:DigestPassword>");
    for wrong in [ha1.clone(), STANDARD.encode(&ha1), STANDARD.encode([1; 15])] {
        assert_eq!(admin.invoke(&service, "SetAdminAclEntryEx", &fields(&wrong)), "36");
    }
    assert_eq!(admin.invoke(&service, "SetAdminAclEntryEx", &fields(&STANDARD.encode(bytes(&ha1)))), "0");
    assert_eq!(admin.get(GENERAL).status, 401);
    admin.password = "Another-horse-2".to_owned();
    assert_eq!(admin.get(GENERAL).status, 200);
}

#[test]
fn the_local_account_may_not_set_anything() {
    let sim = Sim::vpro(&[]);
    let os_admin = os_admin(&sim);
    let mut lme = Lme::open(&sim);
    let request = put(
        REDIRECTION,
        "",
        "<h:EnabledState>32771</h:EnabledState><h:ListenerEnabled>true</h:ListenerEnabled>",
    );
    refused(&post(&mut lme, "$$OsAdmin", &os_admin, &request), "e:AccessDenied");
    assert_eq!(sim.state()["settings"]["listener"], false);
}

#[test]
fn each_profile_has_its_version_and_its_limits() {
    for (profile, version, sku, kvm, wired) in [
        ("vpro-desktop-amt11", "11.8.50", "16392", Some("2"), true),
        ("vpro-desktop-amt12", "12.0.67", "16392", Some("6"), true),
        ("ism-desktop-amt14", "14.1.60", "16400", None, true),
        ("vpro-desktop-amt15", "15.0.23", "16392", Some("6"), true),
        ("vpro-desktop-amt16", "16.0.15", "16392", Some("6"), true),
        ("vpro-desktop-amt16-1", "16.1.27", "16392", Some("6"), true),
        ("vpro-desktop-amt18", "18.0.5", "16392", Some("6"), true),
        ("vpro-laptop-wifi-amt16", "16.0.15", "16392", Some("6"), false),
    ] {
        let mut admin = Admin::of(profile);
        let (_, versions) = pthi(&admin.sim, "01 01 00 00 1a 00 00 04 00 00 00 00");
        let text = String::from_utf8_lossy(&versions).into_owned();
        assert!(text.contains(version) && text.contains(sku), "{profile}: {text:?}");
        let state = "<h:RequestedState>2</h:RequestedState>";
        let answer = admin.ask(&invocation(KVM, "RequestStateChange", state));
        match kvm {
            Some(wanted) => assert_eq!(leaf(&admin.get(KVM), "EnabledState"), wanted, "{profile}"),
            None => refused(&answer, "b:DestinationUnreachable"),
        }
        let ports: Vec<String> =
            admin.sim.state()["settings"]["ports"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(ports.contains(&"0".to_owned()), wired, "{profile}");
        let tls_only = matches!(profile, "vpro-desktop-amt16-1" | "vpro-desktop-amt18");
        let listed = json(&admin.sim.dir.join("ports.json"));
        assert_eq!(
            (listed.get("16992").is_none(), listed.get("16993").is_some()),
            (tls_only, tls_only),
            "{profile}"
        );
    }
}

#[test]
fn firmware_that_speaks_tls_only_begins_with_its_own_certificate() {
    let mut admin = Admin::of("vpro-desktop-amt18");
    let state = admin.sim.state();
    assert_eq!(
        (&state["tls"]["context"], &state["tls"]["committed"][0]["enabled"]),
        (&0.into(), &true.into())
    );
    let certificate = admin.get(&format!("{AMT}AMT_PublicKeyCertificate"));
    assert_eq!(leaf(&certificate, "ReadOnlyCertificate"), "true");
    let settings = admin.get(&format!("{AMT}AMT_TLSSettingData"));
    assert_eq!(leaf(&settings, "NonSecureConnectionsSupported"), "false");
    let fields = echoed(&settings, &["NonSecureConnectionsSupported"]);
    let class = format!("{AMT}AMT_TLSSettingData");
    let side = "Intel(r) AMT 802.3 TLS Settings";
    for change in [("<h:Enabled>true", "<h:Enabled>false"), ("Connections>false", "Connections>true")] {
        refused(&admin.put(&class, side, &fields.replacen(change.0, change.1, 1)), "e:AccessDenied");
    }
    assert_eq!(admin.put(&class, side, &fields).status, 200);
    // Out, and in again: another key.
    let first = state["tls"]["serving"].clone();
    assert_eq!(admin.invoke(CONFIGURATION, "Unprovision", "<h:ProvisioningMode>1</h:ProvisioningMode>"), "0");
    assert!(json(&admin.sim.dir.join("ports.json")).get("16993").is_none());
    let Admin { sim, lme, .. } = admin;
    drop(lme);
    activate(&sim, PASSWORD);
    assert_ne!(sim.state()["tls"]["serving"], first);
}
