use super::*;

const UUID: &str = "81d8c3b4-9251-11cb-aa19-e6932635bc8b";

fn nic(mac: &str, permanent: bool) -> Interface {
    Interface {
        name: "e".into(),
        mac: Some(mac.into()),
        permanent,
        wireless: false,
        usb: false,
        wakeup: None,
    }
}

fn sound() -> Evidence {
    let text = |text: &str| Seen::Found(text.to_owned());
    Evidence {
        uuid: text(UUID),
        maker: text("LENOVO"),
        product: text("2347A49"),
        serial: text("PBKGNED"),
        asset_tag: text("No Asset Information"),
        guest: false,
        interfaces: Seen::Found(vec![nic("3c:52:82:00:00:02", true), nic("3c:52:82:00:00:01", true)]),
    }
}

/// Test vectors of RFC 4648 section 10, and an id computed apart from this program.
#[test]
fn ids_are_base32_of_sha256() {
    let vectors = [("f", "my"), ("fo", "mzxq"), ("foo", "mzxw6"), ("foob", "mzxw6yq"), ("fooba", "mzxw6ytb")];
    for (text, expected) in vectors {
        assert_eq!(base32(text.as_bytes()), expected);
    }
    assert_eq!(device_id("nic", "3c:52:82:00:00:01"), "d1-3lmnzmmeebb67aomxbrtgzvvwh");
    let value = format!("{UUID}\0LENOVO\x002347A49\0PBKGNED");
    assert_eq!(device_id("smbios", &value), "d1-kb47sefw5tmvmx7wxa2pu3ax7y");
}

#[test]
fn smbios_comes_first_and_the_adapters_second() {
    let smbios = identify(&sound());
    assert_eq!(
        (smbios.source, smbios.device_id.as_deref()),
        ("smbios", Some("d1-kb47sefw5tmvmx7wxa2pu3ax7y"))
    );
    let mut fallback = sound();
    fallback.serial = Seen::Found("Default string".into());
    let nic_id = identify(&fallback);
    assert_eq!((nic_id.source, nic_id.device_id.as_deref()), ("nic", Some("d1-3lmnzmmeebb67aomxbrtgzvvwh")));
    assert!(nic_id.reason.unwrap().contains("Default string"));
}

#[test]
fn placeholders_are_refused() {
    let serials = [
        "",
        " ",
        "0",
        "--",
        "To Be Filled By O.E.M.",
        "Default string",
        "System Serial Number",
        "XXXXXXX",
        "0123456789",
        "1234567890",
        ".........",
        "None",
        "Not Specified",
    ];
    for serial in serials {
        let evidence = Evidence { serial: Seen::Found(serial.into()), ..sound() };
        assert_ne!(identify(&evidence).source, "smbios", "{serial:?}");
    }
    for serial in ["PBKGNED", "E09626824801435", "7KNZBH2", "12345679"] {
        let evidence = Evidence { serial: Seen::Found(serial.into()), ..sound() };
        assert_eq!(identify(&evidence).source, "smbios", "{serial:?}");
    }
    let uuids = [
        "00000000-0000-0000-0000-000000000000",
        "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
        "",
        "nonsense",
        "03000200-0400-0500-0006-000700080009",
        "00112233-4455-6677-8899-AABBCCDDEEFF",
    ];
    for uuid in uuids {
        let evidence = Evidence { uuid: Seen::Found(uuid.into()), ..sound() };
        assert_ne!(identify(&evidence).source, "smbios", "{uuid}");
    }
}

/// A run without root must not give the machine a second id.
#[test]
fn what_may_not_be_read_gives_no_id() {
    let why = "reading product_serial: permission denied; run as root";
    let evidence = Evidence { serial: Seen::Refused(why.into()), ..sound() };
    let identity = identify(&evidence);
    assert_eq!(
        (identity.device_id, identity.source, identity.reason.as_deref()),
        (None, "unknown", Some(why))
    );
}

#[test]
fn a_guest_is_known_by_its_uuid_and_a_bare_container_by_nothing() {
    let guest = Evidence { serial: Seen::Found(String::new()), guest: true, ..sound() };
    assert_eq!(identify(&guest).source, "smbios");
    let bare = Evidence {
        uuid: Seen::Missing,
        maker: Seen::Missing,
        product: Seen::Missing,
        serial: Seen::Missing,
        asset_tag: Seen::Missing,
        guest: true,
        interfaces: Seen::Found(vec![nic("02:fc:00:00:00:01", true)]),
    };
    let identity = identify(&bare);
    assert_eq!((identity.device_id, identity.source), (None, "none"));
    assert!(identity.aliases.is_empty());
}

#[test]
fn aliases_hold_what_is_worth_joining_on() {
    let aliases = identify(&sound()).aliases;
    assert_eq!(aliases["uuid"], [UUID]);
    assert_eq!(aliases["serial"], ["PBKGNED"]);
    assert_eq!(aliases["mac"], ["3c:52:82:00:00:02", "3c:52:82:00:00:01"]);
    let blank = Evidence { serial: Seen::Found("0".into()), ..sound() };
    assert!(!identify(&blank).aliases.contains_key("serial"));
}
