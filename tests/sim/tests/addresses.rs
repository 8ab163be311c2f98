//! A static address on the wired port: how it is kept, and how it gets lost.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what a test calls may fail it")]

#[path = "tls/device.rs"]
#[allow(dead_code, reason = "this test uses a part of the administrator's words")]
mod device;
mod peer;

use device::{PASSWORD, REMOTE, secured_here, settings, transfer};
use peer::*;

const PORT: &str = "Intel(r) AMT Ethernet Port Settings 0";
const LAN: &str = "01 01 00 00 48 00 00 04 04 00 00 00 00 00 00 00";
const GIVEN: &str = "198.51.100.7/25,198.51.100.1,198.51.100.53";
const ADDRESSES: &str = "<h:DefaultGateway>198.51.100.1</h:DefaultGateway><h:IPAddress>198.51.100.7</h:IPAddress>\
                         <h:PrimaryDNS>198.51.100.53</h:PrimaryDNS><h:SubnetMask>255.255.255.128</h:SubnetMask>";

fn fields(dhcp: bool, sync: bool) -> String {
    format!(
        "<h:DHCPEnabled>{dhcp}</h:DHCPEnabled><h:IpSyncEnabled>{sync}</h:IpSyncEnabled>\
         <h:LinkPolicy>1</h:LinkPolicy><h:LinkPolicy>14</h:LinkPolicy><h:SharedStaticIp>false</h:SharedStaticIp>"
    )
}

fn start(more: &[&str]) -> (Sim, Lme) {
    let sim = Sim::start(
        "vpro-desktop-amt16",
        &[&["--time-scale", "0.01", "--static-address", GIVEN], more].concat(),
    );
    activate(&sim, PASSWORD);
    let lme = Lme::open(&sim);
    (sim, lme)
}

fn read(lme: &mut Lme) -> Answer {
    transfer(lme, "Get", "AMT_EthernetPortSettings", "", Some(PORT))
}

fn put(lme: &mut Lme, body: &str) -> Answer {
    transfer(lme, "Put", "AMT_EthernetPortSettings", body, Some(PORT))
}

/// The address that PTHI tells, and whether it says DHCP.
fn lan(sim: &Sim) -> ([u8; 4], u8) {
    let (status, payload) = pthi(sim, LAN);
    assert_eq!((status, payload[0], payload.len()), (0, 1, 20));
    ([payload[7], payload[6], payload[5], payload[4]], payload[8])
}

fn is_lost(sim: &Sim, lme: &mut Lme) {
    let answer = read(lme);
    assert!(answer.status == 200 && leaf(&answer, "DHCPEnabled") == "false", "{answer:?}");
    for name in ["IPAddress", "SubnetMask", "DefaultGateway", "PrimaryDNS"] {
        assert!(!answer.body.contains(name), "{answer:?}");
    }
    assert_eq!(lan(sim), ([0; 4], 0));
    let ports = json(&sim.dir.join("ports.json"));
    assert!(ports.get("16992").is_none() && ports.get("16993").is_none(), "{ports}");
}

#[test]
fn a_static_address_shows_everywhere() {
    let (sim, mut lme) = start(&["--ip-sync", "--shared-static"]);
    let answer = read(&mut lme);
    for (name, wanted) in [
        ("DHCPEnabled", "false"),
        ("IpSyncEnabled", "true"),
        ("SharedStaticIp", "true"),
        ("IPAddress", "198.51.100.7"),
        ("SubnetMask", "255.255.255.128"),
        ("DefaultGateway", "198.51.100.1"),
        ("PrimaryDNS", "198.51.100.53"),
    ] {
        assert_eq!(leaf(&answer, name), wanted, "{name}");
    }
    assert_eq!(lan(&sim), ([198, 51, 100, 7], 0));
    // Out of the mode the port is again as it was at first.
    assert_eq!(put(&mut lme, &fields(true, true)).status, 200);
    assert_eq!(lan(&sim), ([192, 0, 2, 40], 1));
    assert_eq!(pthi(&sim, UNPROVISION).0, 0);
    assert_eq!(lan(&sim), ([0; 4], 0));
    let state = sim.state();
    assert_eq!(state["settings"]["ports"]["0"]["IPAddress"][0], "198.51.100.7");
}

#[test]
fn a_put_without_the_addresses_loses_them_and_with_them_the_network() {
    for sync in [false, true] {
        let (sim, mut lme) = start(&[]);
        let port = sim.port();
        let kept = put(&mut lme, &(fields(false, false) + ADDRESSES));
        assert_eq!(leaf(&kept, "IPAddress"), "198.51.100.7");
        assert_eq!(Answer::parse(&Network(port).exchange(&request("", None))).status, 401);
        assert_eq!(put(&mut lme, &fields(false, sync)).status, 200);
        is_lost(&sim, &mut lme);
        assert!(Network(port).exchange(&request("", None)).is_empty(), "AMT answers without an address");
        // It comes back as it went.
        assert_eq!(put(&mut lme, &(fields(false, false) + ADDRESSES)).status, 200);
        assert_eq!(lan(&sim), ([198, 51, 100, 7], 0));
        assert_eq!(Answer::parse(&Network(port).exchange(&request("", None))).status, 401);
    }
}

#[test]
fn addresses_with_dhcp_are_refused_and_change_nothing() {
    let (sim, mut lme) = start(&[]);
    let answer = put(&mut lme, &(fields(true, true) + ADDRESSES));
    assert!(answer.status == 400 && answer.body.contains(">e:SchemaValidationError<"), "{answer:?}");
    assert_eq!(lan(&sim), ([198, 51, 100, 7], 0));
}

#[test]
fn some_firmware_loses_the_address_over_other_settings() {
    for tls in [false, true] {
        let (sim, mut lme) = start(&["--loses-address"]);
        if tls {
            // Making the settings puts both sides.
            secured_here(&mut lme, true);
            let answer = transfer(&mut lme, "Put", "AMT_TLSSettingData", &settings(Some(true)), Some(REMOTE));
            assert_eq!(answer.status, 200);
        } else {
            let general = transfer(&mut lme, "Get", "AMT_GeneralSettings", "", None);
            let document = roxmltree::Document::parse(&general.body).unwrap();
            let of = |name| document.descendants().find(|node| node.tag_name().name() == name).unwrap();
            let body: String = of("AMT_GeneralSettings")
                .children()
                .filter(|node| node.tag_name().name() != "DigestRealm")
                .map(|node| format!("<h:{0}>{1}</h:{0}>", node.tag_name().name(), node.text().unwrap_or("")))
                .collect();
            assert_eq!(lan(&sim), ([198, 51, 100, 7], 0));
            assert_eq!(transfer(&mut lme, "Put", "AMT_GeneralSettings", &body, None).status, 200);
        }
        is_lost(&sim, &mut lme);
    }
}
