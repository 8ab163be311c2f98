use serde_json::json;

use super::super::testing::{event, signer};
use super::*;

#[test]
fn round_trip() {
    let signed = event("d1-x", 1, None, Kind::Observed, json!({"a": 1})).sign(&signer(1)).unwrap();
    let opened = SignedEvent::open(&signed.envelope).unwrap();
    assert_eq!(opened, signed);
    assert_eq!(opened.file_name().len(), "e1-".len() + 64 + ".dsse.json".len());
}

/// Frozen bytes: if this fails, revert your change, for every store out there holds events of this form.
#[test]
fn frozen_envelope() {
    let signed = event("d1-x", 1, None, Kind::Note, json!({"text": "frozen"})).sign(&signer(1)).unwrap();
    assert_eq!(signed.id, FROZEN_ID);
    assert_eq!(String::from_utf8(signed.envelope).unwrap(), FROZEN_ENVELOPE);
}

#[test]
fn pre_authentication_is_dsse_v1() {
    assert_eq!(pre_authentication(b"{}"), b"DSSEv1 30 application/vnd.oob-event+json 2 {}");
}

#[test]
fn any_changed_byte_is_seen() {
    let signed = event("d1-x", 1, None, Kind::Observed, json!({})).sign(&signer(1)).unwrap();
    for index in 0..signed.envelope.len() {
        let mut bytes = signed.envelope.clone();
        bytes[index] ^= 1;
        // A member name outside the signed payload may change; the payload may not.
        if let Ok(opened) = SignedEvent::open(&bytes) {
            assert_eq!(opened.event, signed.event, "byte {index}");
        }
    }
    for end in 0..signed.envelope.len() {
        assert!(SignedEvent::open(&signed.envelope[..end]).is_err(), "cut at {end}");
    }
}

#[test]
fn another_key_may_not_speak_for_the_actor() {
    let event = event("d1-x", 1, None, Kind::Observed, json!({}));
    let forged = event.sign(&signer(2)).unwrap();
    let error = SignedEvent::open(&forged.envelope).unwrap_err();
    assert!(error.to_string().contains("did not sign"), "{error}");
}

#[test]
fn payload_that_is_not_canonical_is_refused() {
    let signer = signer(1);
    let signed = event("d1-x", 1, None, Kind::Observed, json!({})).sign(&signer).unwrap();
    let outer: Envelope = serde_json::from_slice(&signed.envelope).unwrap();
    let payload = String::from_utf8(BASE64_STANDARD.decode(outer.payload).unwrap()).unwrap();
    for other in [format!("{payload} "), payload.replace("\"seq\":1", "\"seq\":9,\"seq\":1")] {
        let envelope = json!({
            "payload": BASE64_STANDARD.encode(&other), "payloadType": PAYLOAD_TYPE,
            "signatures": [{"keyid": sha256_hex(&signer.public_key()),
                "sig": BASE64_STANDARD.encode(signer.sign(&pre_authentication(other.as_bytes())))}],
        });
        let error = SignedEvent::open(envelope.to_string().as_bytes()).unwrap_err();
        assert!(error.to_string().contains("canonical"), "{error}");
    }
}

#[test]
fn limits_and_floats() {
    let long = event("d1-x", 1, None, Kind::Note, json!({"text": "x".repeat(Event::MAX_BYTES)}));
    assert!(matches!(long.sign(&signer(1)), Err(EventError::TooLong(_))));
    let float = event("d1-x", 1, None, Kind::Note, json!({"temperature": 36.6}));
    assert!(matches!(float.sign(&signer(1)), Err(EventError::Number(_))));
}

#[test]
fn kinds_of_later_versions_are_kept() {
    let kind: Kind = serde_json::from_value(json!("pondered")).unwrap();
    assert_eq!(kind, Kind::Other("pondered".to_owned()));
    assert_eq!(serde_json::to_value(&kind).unwrap(), json!("pondered"));
    for (kind, word) in Kind::WORDS {
        assert_eq!(serde_json::to_value(&kind).unwrap(), json!(word));
        assert_eq!(serde_json::from_value::<Kind>(json!(word)).unwrap(), kind);
    }
}

const FROZEN_ID: &str = "e1-690ff944ccfc6f8423e669dc2c48ee9867c918c08c9534bb7bddb4c30d5419f1";
const FROZEN_ENVELOPE: &str = concat!(
    r#"{"payload":""#,
    r#"eyJhY3RvciI6eyJwdWJrZXkiOiI4YTg4ZTNkZDc0MDlmMTk1ZmQ1MmRiMmQzY2JhNWQ3MmNhNjcwOWJmMWQ5NDEyMWJmMzc0ODgw"#,
    r#"MWI0MGY2ZjVjIn0sImFjdG9yX3ZvdWNoZWQiOnRydWUsImFnZW50Ijp7Im5hbWUiOiJvb2ItYWdlbnQiLCJzaGEyNTYiOm51bGws"#,
    r#"InZlcnNpb24iOiIwLjAuMCJ9LCJib2R5Ijp7InRleHQiOiJmcm96ZW4ifSwiZGV2aWNlX2lkIjoiZDEteCIsImtpbmQiOiJub3Rl"#,
    r#"IiwibWVkaXVtIjp7fSwicG9saWN5IjpudWxsLCJwcmV2IjpudWxsLCJyb290Ijoic2ltdWxhdGVkIiwicnVuX2lkIjoiMDE5YWEw"#,
    r#"MDAtMDAwMC03MDAwLTgwMDAtMDAwMDAwMDAwMDAwIiwic2NoZW1hIjoib29iLWV2ZW50LzEiLCJzZXEiOjEsInRpbWUiOnsibW9u"#,
    r#"b3RvbmljX21zIjo1LCJzb3VyY2UiOiJydGMiLCJ3YWxsIjoiMjAyNi0xMS0yMVQwMDowMDowMFoifX0="#,
    r#"","payloadType":"application/vnd.oob-event+json","#,
    r#""signatures":[{"keyid":"34750f98bd59fcfc946da45aaabe933be154a4b5094e1c4abf42866505f3c97e","#,
    r#""sig":"20bQcXJxZGe6qoxXedcxzg56vvUCNWOhaHtshHjsRmBINXYRqOZgVEFL/d00ieLvnwqALPBWYaVmKo8yETHCDA=="}]}"#,
);
