//! Digest: the RFCs' vectors, an independent implementation as oracle, and hostile challenges.

#![allow(clippy::unwrap_used)] // a test that cannot go on panics

use std::convert::TryFrom;

use oob_wsman::{
    Secret,
    digest::{Challenge, DigestError, DigestSession, Ha1, Realm},
};
use proptest::prelude::*;

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

fn param<'a>(header: &'a str, name: &str) -> &'a str {
    let at = header.find(&format!("{name}=")).unwrap() + name.len() + 1;
    header[at..].trim_start_matches('"').split(['"', ',']).next().unwrap()
}

#[test]
fn rfc_2617_and_rfc_7616_vectors() {
    let old = r#"Digest realm="testrealm@host.com", qop="auth,auth-int", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41""#;
    let challenge = Challenge::parse([old]).unwrap();
    let ha1 = Ha1::new("Mufasa", &challenge.realm, &secret("Circle Of Life"));
    assert_eq!(ha1.setup_password_hash(), "939e7578ed9e3c518a452acee763bce9");
    let header = DigestSession::new(challenge).authorize(&ha1, "GET", "/dir/index.html", "0a4f113b");
    assert_eq!(param(&header, "response"), "6629fae49393a05397450978507c4ef1");
    assert_eq!(param(&header, "opaque"), "5ccc069c403ebaf9f0171e9517f40e41");

    let new = r#"Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=MD5, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS""#;
    let challenge = Challenge::parse([new]).unwrap();
    let ha1 = Ha1::new("Mufasa", &challenge.realm, &secret("Circle of Life"));
    let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
    let header = DigestSession::new(challenge).authorize(&ha1, "GET", "/dir/index.html", cnonce);
    assert_eq!(param(&header, "response"), "8ca523f5e9506fed4657c9700eebdbec");
    assert_eq!(param(&header, "algorithm"), "MD5");
}

#[test]
fn the_header_is_these_bytes_and_the_count_grows() {
    let challenge = r#"Digest realm="Digest:AA", nonce="n0nce",stale="false",qop="auth""#;
    let mut session = DigestSession::new(Challenge::parse([challenge]).unwrap());
    let ha1 = Ha1::new("admin", &Realm::new("Digest:AA").unwrap(), &secret("P@ssw0rd"));
    assert_eq!(
        *session.authorize(&ha1, "POST", "/wsman", "c"),
        r#"Digest username="admin",realm="Digest:AA",nonce="n0nce",uri="/wsman",response="RESPONSE",qop=auth,nc=00000001,cnonce="c""#
            .replace("RESPONSE", "6c54622cb31eff6ae5b42330f75dea2b")
    );
    for count in 2..20u32 {
        let header = session.authorize(&ha1, "POST", "/wsman", "c");
        assert_eq!(param(&header, "nc"), format!("{count:08x}"));
    }
}

#[test]
fn challenges_as_firmware_and_others_write_them() {
    let real =
        r#"Digest realm="Digest:F3EB554784E729164447A89F60B641C5", nonce="abc/+=",stale="false",qop="auth""#;
    let cases = [
        vec![real],
        vec![r#"DIGEST REALM=Digest:F3EB554784E729164447A89F60B641C5, Nonce=abc/+=, QOP=auth-int, auth"#],
        vec![r#"Digest realm="Digest:F3EB554784E729164447A89F60B641C5", qop=auth-int,auth, nonce="abc/+=""#],
        vec![
            r#"Basic realm="x", Digest realm="Digest:F3EB554784E729164447A89F60B641C5",nonce="abc/+=",qop="auth""#,
        ],
        vec![r#"Basic realm="x""#, real],
        vec![r#"Digest realm="r", nonce="n", qop="auth", algorithm=SHA-256"#, real],
        vec![
            r#"Negotiate abc==, Digest realm="Digest:F3EB554784E729164447A89F60B641C5",nonce="a\bc/+=",qop="auth""#,
        ],
    ];
    for headers in cases {
        let challenge =
            Challenge::parse(headers.clone()).unwrap_or_else(|error| panic!("{headers:?}: {error}"));
        assert_eq!(challenge.realm.as_str(), "Digest:F3EB554784E729164447A89F60B641C5", "{headers:?}");
        assert_eq!((challenge.nonce.as_str(), challenge.stale), ("abc/+=", false), "{headers:?}");
    }
    assert!(Challenge::parse([r#"Digest realm="r", nonce="n", qop="auth", stale=TRUE"#]).unwrap().stale);
}

#[test]
fn what_cannot_be_answered_safely_is_refused_by_name() {
    let long = format!(r#"Digest realm="r", nonce="{}", qop=auth"#, "n".repeat(256));
    let cases = [
        (vec![], DigestError::NoChallenge),
        (vec![r#"Basic realm="x""#], DigestError::BasicOnly),
        (vec!["Negotiate"], DigestError::NoDigest),
        (
            vec![r#"Digest realm="r", nonce="n", qop="auth", algorithm=MD5-sess"#],
            DigestError::UnsupportedAlgorithm,
        ),
        (vec![r#"Digest realm="r", nonce="n", qop="auth-int""#], DigestError::UnsupportedQop),
        (vec![r#"Digest realm="r", nonce="n""#], DigestError::UnsupportedQop),
        (vec![r#"Digest realm="r", qop=auth"#], DigestError::Malformed),
        (vec![r#"Digest nonce="n", qop=auth"#], DigestError::Malformed),
        (vec![r#"Digest realm="r", realm="s", nonce="n", qop=auth"#], DigestError::Malformed),
        (vec![r#"Digest realm="r"#], DigestError::Malformed),
        (vec!["Digest realm=\"r\r\nX: y\", nonce=n, qop=auth"], DigestError::Malformed),
        (vec!["realm=x"], DigestError::Malformed),
        (vec![long.as_str()], DigestError::Malformed),
    ];
    for (headers, error) in cases {
        assert_eq!(Challenge::parse(headers.clone()), Err(error), "{headers:?}");
    }
}

proptest! {
    #[test]
    fn no_challenge_panics(header in "\\PC{0,80}", tail in proptest::collection::vec(any::<u8>(), 0..60)) {
        let _ = Challenge::parse([header.as_str()]);
        let text = String::from_utf8_lossy(&tail).into_owned();
        let _ = Challenge::parse([format!("Digest {text}").as_str(), r#"Digest realm="r", nonce=n, qop=auth"#]);
    }

    /// An independent implementation makes the same response of the same challenge.
    #[test]
    fn responses_equal_those_of_another_implementation(
        user in "[a-zA-Z$]{1,16}", password in "[ -~]{1,32}", realm in "[ !#-\\[\\]-~]{1,40}",
        nonce in "[a-zA-Z0-9+/=]{1,44}", cnonce in "[0-9a-f]{1,32}", uses in 1u32..4,
    ) {
        let header = format!(r#"Digest realm="{realm}", nonce="{nonce}",stale="false",qop="auth""#);
        let mut ours = DigestSession::new(Challenge::parse([header.as_str()]).unwrap());
        let parsed = http_auth::parse_challenges(&header).unwrap();
        let mut theirs = http_auth::DigestClient::try_from(&parsed[0]).unwrap();
        let ha1 = Ha1::new(&user, ours.realm(), &secret(&password));
        for _ in 0..uses {
            let params = http_auth::PasswordParams {
                username: &user, password: &password, uri: "/wsman", method: "POST", body: None,
            };
            let expected = theirs.respond_with_testing_cnonce(&params, &cnonce).unwrap();
            let got = ours.authorize(&ha1, "POST", "/wsman", &cnonce);
            prop_assert_eq!(param(&got, "response"), param(&expected, "response"));
            prop_assert_eq!(param(&got, "nc"), param(&expected, "nc"));
        }
    }
}
