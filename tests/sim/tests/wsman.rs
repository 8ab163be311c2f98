//! What the WS-Man service accepts and refuses, and a foreign client.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what a test calls may fail it")]

mod peer;

use std::io::Write;
use std::process::{Command, Stdio};

use peer::*;

const PASSWORD: &str = "Correct-horse-1";

fn provisioned() -> Sim {
    let sim = Sim::vpro(&[]);
    activate(&sim, PASSWORD);
    sim
}

fn ask(sim: &Sim, body: &str) -> Answer {
    post(&mut Network(sim.port()), "admin", PASSWORD, body)
}

#[test]
fn enumerate_and_pull_give_the_instance_once() {
    let sim = provisioned();
    let verb = |name| format!("http://schemas.xmlsoap.org/ws/2004/09/enumeration/{name}");
    let wsen = "xmlns=\"http://schemas.xmlsoap.org/ws/2004/09/enumeration\"";
    let opened = ask(&sim, &envelope(&verb("Enumerate"), SETUP, &format!("<Enumerate {wsen}/>")));
    let context =
        opened.body.split("EnumerationContext>").nth(1).unwrap().split('<').next().unwrap().to_owned();
    let pull = format!("<Pull {wsen}><EnumerationContext>{context}</EnumerationContext></Pull>");
    let pulled = ask(&sim, &envelope(&verb("Pull"), SETUP, &pull));
    assert!(pulled.status == 200 && pulled.body.contains("<h:CurrentControlMode>1<"), "{pulled:?}");
    assert!(pulled.body.contains("EndOfSequence"));
    let again = ask(&sim, &envelope(&verb("Pull"), SETUP, &pull));
    assert!(again.status == 400 && again.body.contains("g:InvalidEnumerationContext"), "{again:?}");
}

#[test]
fn every_leaf_of_the_recorded_general_settings_is_there() {
    let body = ask(&provisioned(), &envelope(GET, GENERAL, "")).body;
    for leaf in [
        "AMTNetworkEnabled",
        "DDNSPeriodicUpdateInterval",
        "DDNSTTL",
        "DDNSUpdateByDHCPServerEnabled",
        "DDNSUpdateEnabled",
        "DHCPSyncRequiresHostname",
        "DHCPv6ConfigurationTimeout",
        "DigestRealm",
        "DomainName",
        "ElementName",
        "HostName",
        "HostOSFQDN",
        "IdleWakeTimeout",
        "InstanceID",
        "NetworkInterfaceEnabled",
        "PingResponseEnabled",
        "PowerSource",
        "PreferredAddressFamily",
        "PresenceNotificationInterval",
        "PrivacyLevel",
        "RmcpPingResponseEnabled",
        "SharedFQDN",
        "ThunderboltDockEnabled",
        "WsmanOnlyMode",
    ] {
        assert!(body.contains(&format!("<g:{leaf}>")), "{leaf} is missing");
    }
    roxmltree::Document::parse(&body).unwrap();
}

/// The classes that always have an instance.
const OURS: [&str; 13] = [
    "AMT_GeneralSettings",
    "AMT_SetupAndConfigurationService",
    "IPS_HostBasedSetupService",
    "AMT_AuthorizationService",
    "AMT_TimeSynchronizationService",
    "AMT_RedirectionService",
    "CIM_KVMRedirectionSAP",
    "IPS_OptInService",
    "CIM_AssociatedPowerManagementService",
    "CIM_PowerManagementService",
    "AMT_EthernetPortSettings",
    "AMT_PublicKeyManagementService",
    "AMT_TLSSettingData",
];

/// An independent client's requests, and the leaves of a recorded answer.
#[test]
fn the_corpus_s_requests_are_served_and_its_leaves_are_there() {
    let Some(corpus) = std::env::var_os("OOB_CORPUS") else {
        let _ = Write::write_all(
            &mut std::io::stderr(),
            b"skipped: oob-sim against the corpus requests, OOB_CORPUS is not set\n",
        );
        return;
    };
    let wsman = std::path::Path::new(&corpus).join("wsman");
    let sim = provisioned();
    let mut served = [0; 3];
    for family in ["amt", "cim", "ips"] {
        for entry in std::fs::read_dir(wsman.join("requests").join(family)).unwrap() {
            let body = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            let of_ours = OURS.iter().any(|class| body.contains(&format!("/{class}</w:ResourceURI>")));
            let kinds = ["transfer/Get<", "enumeration/Enumerate<", "IPS_HostBasedSetupService/Setup<"];
            let Some(kind) = kinds.iter().position(|kind| of_ours && body.contains(kind)) else { continue };
            let answer = ask(&sim, &body);
            assert_eq!(answer.status, 200, "{body}\n{answer:?}");
            // A machine that is set up refuses to be set up.
            assert_eq!(answer.body.contains("Setup_OUTPUT><g:ReturnValue>2<"), kind == 2);
            served[kind] += 1;
        }
    }
    assert!(served.iter().all(|count| *count > 0), "the corpus is incomplete: {served:?}");
    let leaves = |xml: &str, class: &str, optional: &[&str]| {
        let document = roxmltree::Document::parse(xml).unwrap();
        let name = class.rsplit('/').next().unwrap();
        let node = document.descendants().find(|node| node.has_tag_name((class, name)));
        let node = node.unwrap_or_else(|| panic!("no {name} in {xml}"));
        let names =
            node.children().filter(|node| node.is_element()).map(|node| node.tag_name().name().to_owned());
        names.filter(|name| !optional.contains(&name.as_str())).collect::<Vec<_>>()
    };
    let (amt, ips) =
        ("http://intel.com/wbem/wscim/1/amt-schema/1/", "http://intel.com/wbem/wscim/1/ips-schema/1/");
    let cim = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/";
    for (base, class, file, optional) in [
        (amt, "AMT_GeneralSettings", "amt/general", &[][..]),
        (amt, "AMT_SetupAndConfigurationService", "amt/setupandconfiguration", &["DhcpDNSSuffix"]),
        (ips, "IPS_HostBasedSetupService", "ips/hostbasedsetup", &[]),
        (amt, "AMT_AuthorizationService", "amt/authorization", &[]),
        (amt, "AMT_TimeSynchronizationService", "amt/timesynchronization", &[]),
        (amt, "AMT_RedirectionService", "amt/redirectionservice", &[]),
        (cim, "CIM_KVMRedirectionSAP", "cim/kvm", &[]),
        (ips, "IPS_OptInService", "ips/optin", &[]),
        (cim, "CIM_AssociatedPowerManagementService", "cim/associatedpower/managementservice", &[]),
        (amt, "AMT_EthernetPortSettings", "amt/ethernetport", &["SecondaryDNS"]),
        (amt, "AMT_PublicKeyManagementService", "amt/publickey/management", &[]),
        (amt, "AMT_TLSSettingData", "amt/tls/settingdata", &[]),
        (amt, "AMT_TLSProtocolEndpointCollection", "amt/tls/protocolendpointcollection", &[]),
    ] {
        let recorded = std::fs::read_to_string(wsman.join(format!("responses/{file}/get.xml"))).unwrap();
        let class = format!("{base}{class}");
        let ours = ask(&sim, &envelope(GET, &class, ""));
        assert_eq!(leaves(&ours.body, &class, optional), leaves(&recorded, &class, optional), "{class}");
    }
}

#[test]
fn what_is_wrong_with_a_request_is_a_fault_with_its_name() {
    let sim = provisioned();
    let good = envelope(GET, GENERAL, "");
    let table = [
        (good.replace("AMT_GeneralSettings", "AMT_NoSuchSettings"), "b:DestinationUnreachable"),
        (good.replace("amt-schema/1/", "amt-schema/2/"), "b:DestinationUnreachable"),
        (good.replace("transfer/Get", "transfer/Fetch"), "b:ActionNotSupported"),
        (good.replace("transfer/Get", "transfer/Delete"), "b:ActionNotSupported"),
        (good.replace("transfer/Get", "transfer/Put"), "e:SchemaValidationError"),
        (good.replace("<a:To>/wsman</a:To>", ""), "b:MessageInformationHeaderRequired"),
        (good.replace("<a:MessageID>77</a:MessageID>", ""), "b:MessageInformationHeaderRequired"),
        (good.replace("role/anonymous", "role/none"), "e:UnsupportedFeature"),
        (good.replace("PT60S", "60"), "e:InvalidOptions"),
        (
            good.replace("</Header>", "<w:MaxEnvelopeSize>4096</w:MaxEnvelopeSize></Header>"),
            "e:EncodingLimit",
        ),
        (
            good.replace(
                "</Header>",
                "<x xmlns=\"y\" xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\" \
                                    s:mustUnderstand=\"true\"/></Header>",
            ),
            "a:MustUnderstand",
        ),
        (
            good.replace(
                "</Header>",
                "<w:SelectorSet><w:Selector Name=\"InstanceID\">Other</w:Selector>\
                                    </w:SelectorSet></Header>",
            ),
            "e:InvalidSelectors",
        ),
        (good.replace("<Body></Body>", "<Body><x/></Body>"), "e:SchemaValidationError"),
        (good.replace("2003/05/soap-envelope", "2001/12/soap-envelope"), "e:SchemaValidationError"),
        (good.replace("</Envelope>", ""), "e:SchemaValidationError"),
        (setup_body("2", "x").replace("xmlns:h=\"", "xmlns:h=\"urn:"), "e:SchemaValidationError"),
        (
            setup_body("2", "x").replace("NetAdminPassEncryptionType", "PassEncryptionType"),
            "e:SchemaValidationError",
        ),
    ];
    for (body, subcode) in table {
        let answer = ask(&sim, &body);
        assert!(
            answer.status == 400 && answer.body.contains(&format!(":Value>{subcode}<")),
            "{subcode}: {answer:?}"
        );
        roxmltree::Document::parse(&answer.body).unwrap();
    }
    let selected = good.replace(
        "</Header>",
        "<w:SelectorSet><w:Selector Name=\"InstanceID\">Intel(r) AMT: General Settings</w:Selector></w:SelectorSet>\
         </Header>",
    );
    assert_eq!(ask(&sim, &selected).status, 200);
}

#[test]
fn set_up_wants_the_right_kind_of_password() {
    let sim = Sim::vpro(&[]);
    let os_admin = os_admin(&sim);
    let mut lme = Lme::open(&sim);
    let upper = "ABCDEF0123456789ABCDEF0123456789";
    for (kind, ha1) in [("1", upper.to_lowercase()), ("2", upper.to_owned()), ("2", "abc".to_owned())] {
        let answer = post(&mut lme, "$$OsAdmin", &os_admin, &setup_body(kind, &ha1));
        assert!(answer.body.contains("ReturnValue>3<"), "{answer:?}");
    }
    assert_eq!(sim.state()["provisioning_state"], 0);
}

#[test]
fn curl_logs_in_from_outside() {
    if Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_err() {
        let _ = Write::write_all(
            &mut std::io::stderr(),
            b"skipped: oob-sim against curl, which is not installed\n",
        );
        return;
    }
    let sim = provisioned();
    let get = |password: &str| {
        // The password goes over standard input: an argument could be read by anyone.
        let mut curl = Command::new("curl")
            .args(["--silent", "--digest", "--config", "-", "--write-out", "\n%{http_code}", "--data"])
            .args([&envelope(GET, GENERAL, ""), "-H", "Content-Type: application/soap+xml"])
            .arg(format!("http://127.0.0.1:{}/wsman", sim.port()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        writeln!(curl.stdin.take().unwrap(), "user = \"admin:{password}\"").unwrap();
        String::from_utf8(curl.wait_with_output().unwrap().stdout).unwrap()
    };
    let answer = get(PASSWORD);
    assert!(answer.ends_with("\n200") && answer.contains("DigestRealm>Digest:"), "{answer}");
    assert!(get("wrong").ends_with("\n401"));
}
