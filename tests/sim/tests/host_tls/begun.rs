//! What is begun and not committed, and who is let in meanwhile.

use crate::device::*;
use crate::peer::*;
use crate::tls::chain_file;

/// Administrator and MEBx set, nothing committed.
fn begin(sim: &Sim) -> Host {
    announce_leaf(sim, "leaf");
    let mut host = Host::showing(sim, GOOD, "leaf");
    host.set_admin(sim);
    host.set_mebx();
    assert!(sim.state()["ha1_sha256"].is_string());
    host
}

fn assert_nothing_is_left(sim: &Sim, realm: &str) {
    let state = sim.state();
    assert_eq!(standing(sim), (0, 0));
    assert_eq!(state["announced"], false);
    assert!(state["ha1_sha256"].is_null() && state["mebx_sha256"].is_null(), "{state}");
    assert_ne!(state["realm"], realm);
    assert_eq!(state["tls"]["key_pairs"], 0);
    // Whoever comes is asked for no certificate; the same configuration begins anew.
    let mut host = Host::open(sim);
    host.wait();
    assert!(host.is_let_in());
    assert_eq!(host.chain.len(), 6);
    announce_leaf(sim, "leaf");
    assert!(!host.is_let_in());
    // The MEBx password that was set then is none now.
    host.shows = Some((GOOD, "leaf"));
    host.set_admin(sim);
    assert_eq!(host.commit(), Some(2057));
}

fn realm(sim: &Sim) -> String {
    sim.state()["realm"].as_str().unwrap().to_owned()
}

#[test]
fn stopping_forgets_what_was_not_committed() {
    let sim = start(&[]);
    assert_eq!(pthi(&sim, STOP).0, 3);
    let before = realm(&sim);
    let mut host = begin(&sim);
    assert_eq!(pthi(&sim, STOP).0, 0);
    // What was connected is cut off.
    drop(host.lme.open_channel(1024, 16993));
    drop(host);
    assert_nothing_is_left(&sim, &before);
}

#[test]
fn a_restart_of_the_me_forgets_it_too() {
    let call = "wsman:AMT_SetupAndConfigurationService.CommitChanges=me-restart";
    for as_client in [false, true] {
        let sim = start(&["--fault", call]);
        let before = realm(&sim);
        let mut host = if as_client {
            let mut host = Host::open(&sim);
            assert_eq!(set_up(&sim, &mut host), Some(0));
            host
        } else {
            begin(&sim)
        };
        let other = Mei::connected(&sim, PTHI);
        assert!(other.ask(CONTROL_MODE).is_some());
        assert_eq!(host.commit(), None);
        assert!(host.lme.mei.receive().is_none(), "the session outlived the firmware");
        assert!(other.ask(CONTROL_MODE).is_none(), "so did another client's");
        drop(host);
        assert_nothing_is_left(&sim, &before);
    }
}

#[test]
fn a_restart_keeps_what_was_committed() {
    let sim = start(&["--fault", "wsman:AMT_GeneralSettings.Get=me-restart"]);
    let mut host = begin(&sim);
    host.commit();
    host.wait();
    let body = envelope(GET, GENERAL, "");
    let challenge = Answer::parse(&host.exchange(&request(&body, None)));
    let authorization = login("admin", PASSWORD, &challenge.realm(), &challenge.nonce(), 1);
    assert!(host.exchange(&request(&body, Some(&authorization))).is_empty());
    drop(host);
    assert_eq!(standing(&sim), (2, 2));
    let mut host = Host::open(&sim);
    host.wait();
    assert_eq!(host.get("admin", PASSWORD).status, 200);
}

#[test]
fn a_commit_without_a_password_is_missing_data() {
    let sim = start(&[]);
    announce_leaf(&sim, "leaf");
    let mut host = Host::showing(&sim, GOOD, "leaf");
    assert_eq!(host.commit(), Some(2057));
    host.set_admin(&sim);
    assert_eq!(host.commit(), Some(2057));
    assert_eq!(standing(&sim), (0, 1));
    // Against the rules for passwords, which leaves it missing.
    let weak = host.admin(CONFIGURATION, "SetMEBxPassword", "<h:Password>weak</h:Password>");
    assert_eq!((weak, host.commit()), (Some(2054), Some(2057)));
    host.set_mebx();
    assert_eq!(host.commit(), None);
    assert_eq!(standing(&sim), (2, 2));
    // MEBx keeps its password through everything, so that the next commit needs none.
    host.wait();
    let mode = "<h:ProvisioningMode>1</h:ProvisioningMode>";
    assert_eq!(host.admin(CONFIGURATION, "Unprovision", mode), Some(0));
    assert_eq!(standing(&sim), (0, 0));
    announce_leaf(&sim, "leaf");
    host.set_admin(&sim);
    assert_eq!(host.commit(), None);
    assert_eq!(standing(&sim), (2, 2));
}

#[test]
fn until_a_password_is_set_any_will_do_and_then_no_other() {
    let sim = start(&[]);
    announce_leaf(&sim, "leaf");
    let mut host = Host::showing(&sim, GOOD, "leaf");
    assert_eq!(host.get("admin", "whatever").status, 200);
    assert_eq!(host.get("root", "whatever").status, 401);
    host.set_admin(&sim);
    assert_eq!(host.get("admin", "whatever").status, 401);
    assert_eq!(host.get("admin", PASSWORD).status, 200);
    // The local account is no administrator here either.
    let fields = format!("<h:Password>{MEBX}</h:Password>");
    let body = invocation(CONFIGURATION, "SetMEBxPassword", &fields);
    let answer = post(&mut host, "$$OsAdmin", &os_admin(&sim), &body);
    assert!(answer.body.contains(">e:AccessDenied<"), "{answer:?}");
}

#[test]
fn a_certificate_can_be_all_the_login_there_is() {
    let sim = start(&["--no-challenge"]);
    let mut host = Host::open(&sim);
    assert_eq!(Answer::parse(&host.exchange(&request(&envelope(GET, GENERAL, ""), None))).status, 401);
    announce_leaf(&sim, "leaf");
    host.shows = Some((GOOD, "leaf"));
    let mut ask = |class: &str, method: &str, fields: &str| {
        let answer = host.exchange(&request(&invocation(class, method, fields), None));
        leaf(&Answer::parse(&answer), "ReturnValue")
    };
    assert_eq!(ask(CONFIGURATION, "SetMEBxPassword", &format!("<h:Password>{MEBX}</h:Password>")), "0");
    assert_eq!(ask(CONFIGURATION, "CommitChanges", ""), "2057");
    assert_eq!(sim.count("http:anonymous"), 1);
}

#[test]
fn only_the_announced_leaf_on_a_trusted_chain_is_let_in() {
    const OWN_SUFFIX: &[&str] = &["--link-down", "--pki-suffix", "example.com"];
    type Row = (&'static [&'static str], &'static str, Option<(&'static [&'static str], &'static str)>, bool);
    const FOUR: &[&str] = &["leaf-of-4", "second", "intermediate", "root"];
    let table: [Row; 15] = [
        (&[], "leaf", Some((GOOD, "leaf")), true),
        (&[], "leaf-of-4", Some((FOUR, "leaf-of-4")), true),
        (&[], "leaf", None, false),
        (&[], "leaf", Some((FOUR, "leaf-of-4")), false),
        (&[], "leaf", Some((&["leaf"], "leaf")), false),
        (&[], "leaf", Some((&["leaf", "intermediate"], "leaf")), false),
        (&[], "leaf", Some((&["leaf", "root"], "leaf")), false),
        (&[], "leaf", Some((&["leaf", "root", "intermediate"], "leaf")), false),
        (&[], "leaf", Some((&["leaf", "intermediate", "stranger"], "leaf")), false),
        (&[], "console", Some((&["console", "root"], "console")), false),
        (&[], "elsewhere", Some((&["elsewhere", "intermediate", "root"], "elsewhere")), false),
        (
            &["--pki-suffix", "elsewhere.org"],
            "elsewhere",
            Some((&["elsewhere", "intermediate", "root"], "elsewhere")),
            true,
        ),
        (&["--dhcp-suffix", ""], "leaf", Some((GOOD, "leaf")), false),
        (&["--link-down"], "leaf", Some((GOOD, "leaf")), false),
        (OWN_SUFFIX, "leaf", Some((GOOD, "leaf")), false),
    ];
    for (at, (options, announced, shows, wanted)) in table.into_iter().enumerate() {
        let sim = start(options);
        announce_leaf(&sim, announced);
        let mut host = Host::open(&sim);
        host.shows = shows;
        assert_eq!(host.is_let_in(), wanted, "row {at}: {:?}", host.failure);
        assert_eq!(host.failure.is_none(), wanted, "row {at}");
        assert_eq!(sim.count("tls:handshake"), 1);
        assert_eq!(standing(&sim), (0, 1), "row {at}");
    }
    // A root that is in nobody's list.
    let sim = Sim::start("vpro-desktop-amt19", &["--time-scale", "0.01"]);
    announce_leaf(&sim, "leaf");
    assert!(!Host::showing(&sim, GOOD, "leaf").is_let_in());
}

#[test]
fn messages_that_are_not_as_they_must_be_are_refused() {
    let sim = start(&[]);
    let hash = sha256_of(&chain_file("leaf.der"));
    let ask = |body: &[u8]| {
        let length = u32::try_from(body.len()).unwrap().to_le_bytes();
        let message = format!("01 01 00 00 8b 00 00 04 {} {}", hex(&length), hex(body));
        pthi(&sim, &message)
    };
    let good = bytes(&format!("02 {hash} {} 00 00000000 {}", "00".repeat(32), "00".repeat(320)));
    assert_eq!(good.len(), 390);
    // The other layout in the wild: an u32 each for algorithm, VPN flag and count.
    let other = bytes(&format!("02000000 {hash} {} 00000000 00000000 {}", "00".repeat(32), "00".repeat(320)));
    for body in [&good[..389], &[good.clone(), vec![0]].concat(), &other, &[]] {
        assert_eq!(ask(body), (4, vec![]), "{} bytes", body.len());
    }
    // SHA-1, a hash that is too long, no boolean, 321 bytes of suffixes.
    for (at, value) in [(0, 1), (40, 1), (65, 2), (67, 1)] {
        let mut body = good.clone();
        body[at] = value;
        body[66] = if at == 67 { 0x41 } else { 0 };
        assert_eq!(ask(&body), (36, vec![]), "byte {at}");
    }
    assert_eq!(standing(&sim), (0, 0));
    let mut with_suffix = good.clone();
    with_suffix[66..78].copy_from_slice(b"\x0b\x00\x00\x00example.");
    assert_eq!(ask(&with_suffix).0, 0);
    assert_eq!(ask(&good), (3, vec![]), "it is under way already");
    let older = Sim::vpro(&[]);
    assert_eq!(announce(&older, 2, &hash), (2051, vec![]));
    let client_only = start(&["--client-mode-only"]);
    assert_eq!(announce(&client_only, 2, &hash).0, 16);
}

#[test]
fn a_provisioned_device_refuses_to_begin() {
    let sim = start(&[]);
    let mut host = Host::open(&sim);
    assert_eq!(set_up(&sim, &mut host), Some(0));
    let hash = sha256_of(&chain_file("leaf.der"));
    assert_eq!(announce(&sim, 2, &hash), (3, vec![]));
    host.commit();
    assert_eq!(announce(&sim, 2, &hash), (3, vec![]));
    assert_eq!(standing(&sim), (1, 2));
}

#[test]
fn an_earlier_run_s_beginning_must_be_undone() {
    let sim = start(&["--in-provisioning"]);
    assert_eq!(standing(&sim), (0, 1));
    assert!(!Host::showing(&sim, GOOD, "leaf").is_let_in(), "nobody has that leaf any more");
    assert_eq!(announce(&sim, 2, &sha256_of(&chain_file("leaf.der"))).0, 3);
    assert_eq!(pthi(&sim, UNPROVISION).0, 3);
    assert_eq!(pthi(&sim, STOP).0, 0);
    assert_eq!(standing(&sim), (0, 0));
    announce_leaf(&sim, "leaf");

    for (undo, name) in [(UNPROVISION, "unprovision"), (STOP, "stop")] {
        let sim = start(&["--half-set-up"]);
        assert_eq!(standing(&sim), (1, 1), "{name}");
        let mut host = Host::open(&sim);
        assert_eq!(host.get("admin", PASSWORD).status, 401);
        assert_eq!(set_up(&sim, &mut host), Some(2));
        assert_eq!(pthi(&sim, undo).0, 0, "{name}");
        assert_eq!(standing(&sim), (0, 0), "{name}");
        assert_eq!(set_up(&sim, &mut host), Some(0), "{name}");
    }
}
