//! AMT from 19 on: TLS for the host from the start, secure host-based configuration, commits that restart the ports.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what a test calls may fail it")]

mod begun;
mod device;
#[path = "../peer/mod.rs"]
mod peer;
mod shown;
#[path = "../tls/device.rs"]
#[allow(dead_code, reason = "this crate uses a part of it")]
mod tls;

use device::*;
use peer::*;
use rustls::ProtocolVersion;

#[test]
fn host_based_configuration_ends_in_admin_control_mode() {
    for profile in ["vpro-desktop-amt19", "vpro-desktop-amt20"] {
        let sim = start_as(profile, &[]);
        let told = announce_leaf(&sim, "leaf");
        assert_eq!(standing(&sim), (0, 1));
        let mut host = Host::showing(&sim, GOOD, "leaf");
        assert_eq!(host.get("admin", PASSWORD).status, 200);
        assert_eq!(hex(&told[..32]), sha256_of(&host.chain[0]));
        assert_eq!((host.chain.len(), &told[32..]), (6, [0; 32].as_slice()));
        host.set_admin(&sim);
        host.set_mebx();
        assert_eq!(standing(&sim), (0, 1));
        assert_eq!(sim.state()["mebx_sha256"], serde_json::Value::Null, "set before the commit");
        assert_eq!(host.commit(), None, "the restart loses the answer");
        assert_eq!(standing(&sim), (2, 2));
        assert_eq!(sim.state()["mebx_sha256"].as_str().unwrap(), sha256(MEBX));
        // From now on its own certificate, for anybody who has the password, here and on the network.
        host.wait();
        host.shows = None;
        assert_eq!(host.get("admin", PASSWORD).status, 200);
        assert_eq!(host.chain.len(), 1);
        let mut network = tls::Secure::new(&sim);
        assert_eq!(post(&mut network, "admin", PASSWORD, &envelope(GET, GENERAL, "")).status, 200);
        assert_eq!(network.leaf, host.chain[0]);
        assert_eq!(pthi(&sim, STOP).0, 3);
        assert_eq!(pthi(&sim, UNPROVISION).0, 3);
    }
}

#[test]
fn client_control_mode_is_in_provisioning_until_the_administrator_commits() {
    let sim = start(&[]);
    let mut host = Host::open(&sim);
    assert_eq!(set_up(&sim, &mut host), Some(0));
    assert_eq!(host.chain.len(), 6);
    assert_eq!(standing(&sim), (1, 1));
    assert!(json(&sim.dir.join("ports.json")).get("16993").is_none(), "the network is open already");
    let os_admin = os_admin(&sim);
    let refused = post(&mut host, "$$OsAdmin", &os_admin, &invocation(CONFIGURATION, "CommitChanges", ""));
    assert!(refused.body.contains(">e:AccessDenied<"), "{refused:?}");
    assert_eq!(host.commit(), None);
    assert_eq!(standing(&sim), (1, 2));
    host.wait();
    assert_eq!(host.get("admin", PASSWORD).status, 200);
    assert_eq!(host.chain.len(), 1);
    assert_eq!(pthi(&sim, UNPROVISION).0, 0);
    assert_eq!(standing(&sim), (0, 0));
    assert_eq!(host.get("$$OsAdmin", &os_admin).status, 200);
    assert_eq!(host.chain.len(), 6);
}

#[test]
fn only_tls_is_offered_and_its_chain_leads_to_the_root_that_the_directory_names() {
    let sim = start(&[]);
    let mut host = Host::open(&sim);
    let (_, refused) = host.lme.open_channel(1024, 16992);
    assert_eq!(refused[0], 0x5c, "cleartext is there");
    assert!(host.is_let_in());
    assert_eq!(host.version, Some(ProtocolVersion::TLSv1_3));
    let root = json(&sim.dir.join("ports.json"))["on_die_root_sha256"].as_str().unwrap().to_owned();
    assert_eq!(sha256_of(&host.chain[5]), root);
    // The platform's id begins with the hash of the ROM's certificate.
    let upid = Mei::connected(&sim, UPID).ask("00050000").unwrap();
    assert_eq!((upid.len(), hex(&upid[44..64])), (76, sha256_of(&host.chain[3])[..40].to_owned()));
}
