//! The client against a small stateful device that refuses what firmware refuses, with its faults injected per request.

#![allow(clippy::unwrap_used)] // a test that cannot go on panics

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::Future,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use md5::{Digest as _, Md5};
use oob_wsman::{
    Secret,
    client::{Client, Error, Login, Transport, probe_realm},
    digest::{DigestError, Ha1, Realm},
    http::{HttpError, HttpRequest, HttpResponse},
};

const REALM: &str = "Digest:F3EB554784E729164447A89F60B641C5";
const GENERAL: &str = "http://intel.com/wbem/wscim/1/amt-schema/1/AMT_GeneralSettings";

/// What happens to one request instead of the right thing. Faults are taken in order, one a request.
#[derive(Clone, Copy)]
enum Twist {
    None,
    DropBefore,
    DropAfter,
    /// The nonce is forgotten and the 401 says so, or does not.
    Expire {
        stale: bool,
    },
    Status(u16),
    Garbage,
    WrongRelatesTo,
    ReturnValue(u32),
    Fault(&'static str),
    Realm(&'static str),
}

/// What the device saw and became.
#[derive(Default)]
struct Device {
    password: String,
    nonce: u32,
    last_count: u32,
    twists: VecDeque<Twist>,
    setups: u32,
    authorizations: Vec<String>,
    bodies_without_login: Vec<String>,
    requests: u32,
    /// Asks for no login, as over a way that shows who calls.
    open: bool,
}

#[derive(Clone, Default)]
struct Amt(Rc<RefCell<Device>>);

#[derive(Debug)]
struct Gone;

impl Transport for Amt {
    type Error = Gone;

    async fn post(&mut self, request: HttpRequest) -> Result<HttpResponse, Gone> {
        let mut device = self.0.borrow_mut();
        device.requests += 1;
        assert_eq!(request.path, "/wsman");
        let twist = device.twists.pop_front().unwrap_or(Twist::None);
        if matches!(twist, Twist::DropBefore) {
            return Err(Gone);
        }
        let body = String::from_utf8(request.body.to_vec()).unwrap();
        let login = request
            .headers
            .iter()
            .find(|header| header.0 == "Authorization")
            .map(|header| header.1.to_string());
        let Some(login) = login else {
            if device.open {
                return Ok(device.answer(&body, twist));
            }
            device.bodies_without_login.push(body);
            return Ok(device.challenge(twist));
        };
        device.authorizations.push(login.clone());
        if let Twist::Expire { .. } = twist {
            device.nonce += 1;
            return Ok(device.challenge(twist));
        }
        if matches!(twist, Twist::Realm(_)) || !device.accepts(&login) {
            return Ok(device.challenge(twist));
        }
        let response = device.answer(&body, twist);
        if matches!(twist, Twist::DropAfter) { Err(Gone) } else { Ok(response) }
    }
}

impl Device {
    fn challenge(&mut self, twist: Twist) -> HttpResponse {
        self.nonce += 1;
        self.last_count = 0;
        let stale = matches!(twist, Twist::Expire { stale: true });
        let realm = if let Twist::Realm(realm) = twist { realm } else { REALM };
        let value =
            format!(r#"Digest realm="{realm}", nonce="nonce{}",stale="{stale}",qop="auth""#, self.nonce);
        let server = "Intel(R) Active Management Technology 16.0.15.1735";
        respond(401, "text/html", "<html/>", &[("www-authenticate", &value), ("Server", server)])
    }

    fn accepts(&mut self, login: &str) -> bool {
        let param = |name: &str| {
            let at = login.find(&format!("{name}=")).unwrap() + name.len() + 1;
            login[at..].trim_start_matches('"').split(['"', ',']).next().unwrap().to_owned()
        };
        let count = u32::from_str_radix(&param("nc"), 16).unwrap();
        let ha1 = md5(&format!("admin:{REALM}:{}", self.password));
        let ha2 = md5("POST:/wsman");
        let expected =
            md5(&format!("{ha1}:{}:{}:{}:auth:{ha2}", param("nonce"), param("nc"), param("cnonce")));
        let fresh = param("nonce") == format!("nonce{}", self.nonce) && count == self.last_count + 1;
        self.last_count = count;
        fresh && param("response") == expected
    }

    fn answer(&mut self, body: &str, twist: Twist) -> HttpResponse {
        let text = |name: &str| {
            body.split(&format!("{name}>")).nth(1).unwrap().split('<').next().unwrap().to_owned()
        };
        let (action, mut id) = (text("a:Action"), text("a:MessageID"));
        let inner = match action.as_str() {
            get if get.ends_with("/Get") => format!(
                r#"<g:AMT_GeneralSettings xmlns:g="{GENERAL}"><g:DigestRealm>{REALM}</g:DigestRealm></g:AMT_GeneralSettings>"#
            ),
            method => {
                let value = if let Twist::ReturnValue(value) = twist { value } else { 0 };
                self.setups += u32::from(value == 0 && !matches!(twist, Twist::Fault(_)));
                let (class, name) = method.rsplit_once('/').unwrap();
                format!(
                    r#"<g:{name}_OUTPUT xmlns:g="{class}"><g:ReturnValue>{value}</g:ReturnValue></g:{name}_OUTPUT>"#
                )
            }
        };
        match twist {
            Twist::Status(status) => return respond(status, "text/html", "<html>busy</html>", &[]),
            Twist::Garbage => return respond(200, "application/soap+xml", "<a:Envelope", &[]),
            Twist::WrongRelatesTo => id = "99".to_owned(),
            _ => {}
        }
        let inner = match twist {
            Twist::Fault(subcode) => format!(
                "<a:Fault><a:Code><a:Value>a:Sender</a:Value><a:Subcode><a:Value>b:{subcode}</a:Value></a:Subcode></a:Code></a:Fault>"
            ),
            _ => inner,
        };
        let status = if matches!(twist, Twist::Fault(_)) { 400 } else { 200 };
        let envelope = format!(
            r#"<a:Envelope xmlns:a="http://www.w3.org/2003/05/soap-envelope" xmlns:b="http://schemas.xmlsoap.org/ws/2004/08/addressing"><a:Header><b:RelatesTo>{id}</b:RelatesTo></a:Header><a:Body>{inner}</a:Body></a:Envelope>"#
        );
        respond(status, "application/soap+xml;charset=UTF-8", &envelope, &[])
    }
}

fn respond(status: u16, content_type: &str, body: &str, more: &[(&str, &str)]) -> HttpResponse {
    let mut headers = vec![("Content-Type".to_owned(), content_type.to_owned())];
    headers.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    HttpResponse { status, headers, body: body.as_bytes().to_vec() }
}

fn md5(text: &str) -> String {
    Md5::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
    }
}

fn amt(twists: &[Twist]) -> Amt {
    let amt = Amt::default();
    amt.0.borrow_mut().password = "P@ssw0rd".to_owned();
    amt.0.borrow_mut().twists = twists.iter().copied().collect();
    amt
}

fn client(amt: &Amt, password: &str) -> Client<Amt> {
    let login = Login::Password { user: "admin".to_owned(), password: Secret::new(password.to_owned()) };
    Client::new(amt.clone(), login, || [7; 16])
}

fn new_admin(user: &str, realm: &str) -> Ha1 {
    Ha1::new(user, &Realm::new(realm).unwrap(), &Secret::new("N3w!Password".to_owned()))
}

#[test]
fn one_nonce_serves_many_requests() {
    let amt = amt(&[]);
    let mut client = client(&amt, "P@ssw0rd");
    for _ in 0..3 {
        let settings = block_on(client.get_general_settings()).unwrap();
        assert_eq!(settings.digest_realm.as_deref(), Some(REALM));
    }
    let device = amt.0.borrow();
    assert_eq!(device.requests, 4, "one challenge, three reads");
    for (index, header) in device.authorizations.iter().enumerate() {
        assert!(header.contains(&format!(",nc={:08x},", index + 1)), "{header}");
    }
    assert_eq!(client.realm().map(Realm::as_str), Some(REALM));
    assert_eq!(client.server_version(), Some("16.0.15.1735"));
}

#[test]
fn a_probe_sends_no_login() {
    let mut amt = amt(&[]);
    let probe = block_on(probe_realm(&mut amt)).unwrap();
    assert_eq!((probe.realm.as_str(), probe.server_version.as_deref()), (REALM, Some("16.0.15.1735")));
    assert_eq!((amt.0.borrow().authorizations.len(), amt.0.borrow().requests), (0, 1));
}

#[test]
fn another_realm_never_sees_a_login() {
    let amt = amt(&[]);
    let expected = Realm::new("Digest:OTHER").unwrap();
    let mut first = client(&amt, "P@ssw0rd").expect_realm(expected.clone());
    let error = block_on(first.get_general_settings()).unwrap_err();
    assert!(matches!(&error, Error::RealmMismatch { expected: realm, .. } if *realm == expected), "{error}");
    let mut second = Client::new(amt.clone(), Login::Ha1(new_admin("admin", "Digest:OTHER")), || [7; 16]);
    assert!(matches!(block_on(second.get_general_settings()), Err(Error::RealmMismatch { .. })));
    assert!(amt.0.borrow().authorizations.is_empty());

    // A realm that changes under way stops the dialogue as well.
    amt.0.borrow_mut().twists = [Twist::None, Twist::None, Twist::Realm("Digest:OTHER")].into();
    let mut third = client(&amt, "P@ssw0rd");
    block_on(third.get_general_settings()).unwrap();
    assert!(matches!(block_on(third.get_general_settings()), Err(Error::RealmMismatch { .. })));
    assert_eq!(amt.0.borrow().authorizations.len(), 2);
}

#[test]
fn a_wrong_password_is_sent_twice_at_most() {
    let amt = amt(&[]);
    let mut client = client(&amt, "wrong");
    assert!(matches!(block_on(client.get_general_settings()), Err(Error::Unauthorized { rejections: 1 })));
    assert_eq!(amt.0.borrow().requests, 2, "no retry on a fresh nonce");
    assert!(matches!(block_on(client.get_general_settings()), Err(Error::Unauthorized { rejections: 2 })));
    assert_eq!(amt.0.borrow().requests, 3, "the 401 brought the next nonce");
    for _ in 0..3 {
        assert!(matches!(block_on(client.get_general_settings()), Err(Error::AttemptsExhausted)));
    }
    assert_eq!((amt.0.borrow().requests, amt.0.borrow().authorizations.len()), (3, 2));
}

#[test]
fn a_device_that_asks_for_no_login_gets_none_where_the_way_shows_who_we_are() {
    let amt = amt(&[]);
    amt.0.borrow_mut().open = true;
    let error = block_on(client(&amt, "P@ssw0rd").get_general_settings()).unwrap_err();
    assert!(matches!(error, Error::Digest(DigestError::NoChallenge)));
    let mut armed = client(&amt, "P@ssw0rd").known_by_way();
    block_on(armed.get_general_settings()).unwrap();
    block_on(armed.set_admin_password(&new_admin("admin", REALM))).unwrap();
    assert!(amt.0.borrow().authorizations.is_empty() && amt.0.borrow().setups == 1);
    // One that asks after all gets one, and what it refused before counts for nothing.
    amt.0.borrow_mut().open = false;
    block_on(armed.get_general_settings()).unwrap();
    assert_eq!((amt.0.borrow().authorizations.len(), armed.rejections()), (1, 0));
    // A 401 without a challenge is no such word.
    let mut mute = Client::new(Mute, Login::Ha1(new_admin("admin", REALM)), || [7; 16]).known_by_way();
    let error = block_on(mute.get_general_settings()).unwrap_err();
    assert!(matches!(error, Error::Digest(DigestError::NoChallenge)));
}

/// Refuses, and says nothing of how to log in.
struct Mute;

impl Transport for Mute {
    type Error = Gone;

    async fn post(&mut self, _: HttpRequest) -> Result<HttpResponse, Gone> {
        Ok(respond(401, "text/html", "<html/>", &[]))
    }
}

#[test]
fn an_old_nonce_costs_exactly_one_retry() {
    for stale in [true, false] {
        let amt = amt(&[Twist::None, Twist::None, Twist::Expire { stale }]);
        let mut client = client(&amt, "P@ssw0rd");
        block_on(client.get_general_settings()).unwrap();
        block_on(client.get_general_settings()).unwrap();
        assert_eq!((amt.0.borrow().requests, client.rejections()), (4, 0));
    }
    // A device that says so for ever is not asked for ever.
    let amt = amt(&[Twist::None, Twist::Expire { stale: true }, Twist::Expire { stale: true }]);
    let mut client = client(&amt, "P@ssw0rd");
    assert!(matches!(block_on(client.get_general_settings()), Err(Error::Unauthorized { rejections: 0 })));
    assert_eq!(amt.0.borrow().requests, 3);
}

#[test]
fn setup_is_sent_once_and_never_without_a_login() {
    let amt = amt(&[]);
    let new = new_admin("admin", REALM);
    block_on(client(&amt, "P@ssw0rd").first_message_id(0).setup(&new)).unwrap();
    let device = amt.0.borrow();
    assert_eq!((device.setups, device.requests), (1, 2));
    assert!(device.bodies_without_login[0].contains("<a:MessageID>0</a:MessageID>"));
    assert!(device.bodies_without_login.iter().all(|body| !body.contains(new.setup_password_hash())));
}

#[test]
fn setup_with_a_hash_that_would_open_nothing_is_not_sent() {
    let amt = amt(&[]);
    let mut client = client(&amt, "P@ssw0rd");
    assert!(matches!(block_on(client.setup(&new_admin("root", REALM))), Err(Error::WrongUser)));
    assert!(matches!(
        block_on(client.setup(&new_admin("admin", "Digest:OLD"))),
        Err(Error::RealmMismatch { .. })
    ));
    assert_eq!((amt.0.borrow().setups, amt.0.borrow().authorizations.len()), (0, 0));
}

#[test]
fn what_leaves_the_outcome_open_says_so_and_is_not_resent() {
    let open = [
        Twist::DropBefore,
        Twist::DropAfter,
        Twist::Garbage,
        Twist::WrongRelatesTo,
        Twist::Status(500),
        Twist::Status(503),
        Twist::Fault("InternalError"),
    ];
    for (index, twist) in open.into_iter().enumerate() {
        let amt = amt(&[Twist::None, twist]);
        let error = block_on(client(&amt, "P@ssw0rd").setup(&new_admin("admin", REALM))).unwrap_err();
        assert!(matches!(error, Error::OutcomeUnknown { method: "Setup", .. }), "{index}: {error:?}");
        assert_eq!(amt.0.borrow().requests, 2, "{index}");
    }
}

#[test]
fn a_clear_refusal_is_not_in_doubt() {
    let amt_refusing = |twist| amt(&[Twist::None, twist]);
    let refuse = |twist| {
        block_on(client(&amt_refusing(twist), "P@ssw0rd").setup(&new_admin("admin", REALM))).unwrap_err()
    };
    assert!(matches!(refuse(Twist::ReturnValue(2)), Error::ReturnValue(error) if error.code == 2));
    assert!(matches!(refuse(Twist::Status(404)), Error::Http(HttpError::Status { status: 404 })));
    let denied = refuse(Twist::Fault("AccessDenied"));
    assert_eq!(denied.fault().and_then(|fault| fault.subcode.as_deref()), Some("AccessDenied"));
    assert!(!matches!(denied, Error::OutcomeUnknown { .. }));
    // Before the call itself: the device cannot have acted.
    let amt = amt(&[Twist::DropBefore]);
    let error = block_on(client(&amt, "P@ssw0rd").setup(&new_admin("admin", REALM))).unwrap_err();
    assert!(matches!(error, Error::Transport(Gone)));
}

#[test]
fn a_one_shot_call_is_not_sent_twice_even_on_an_old_nonce() {
    let amt = amt(&[Twist::None, Twist::None, Twist::Expire { stale: true }]);
    let mut client = client(&amt, "P@ssw0rd");
    block_on(client.get_general_settings()).unwrap();
    let error = block_on(client.setup(&new_admin("admin", REALM))).unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "a 401 is a refusal, not a doubt");
    assert_eq!((amt.0.borrow().setups, amt.0.borrow().requests), (0, 3));
}

#[test]
fn reads_report_each_layer() {
    let read =
        |twist| block_on(client(&amt(&[Twist::None, twist]), "P@ssw0rd").get_general_settings()).unwrap_err();
    assert!(matches!(read(Twist::DropAfter), Error::Transport(Gone)));
    assert!(matches!(read(Twist::WrongRelatesTo), Error::WrongReply));
    assert!(matches!(read(Twist::Status(503)), Error::Http(HttpError::Status { status: 503 })));
    assert!(matches!(read(Twist::Garbage), Error::Http(HttpError::Envelope(_))));
    let wrong_class = block_on(client(&amt(&[]), "P@ssw0rd").get_host_based_setup_service());
    assert!(matches!(wrong_class, Err(Error::Body(_))));
}

#[test]
fn unprovision_and_commit_check_their_return_values() {
    let amt = amt(&[Twist::None, Twist::ReturnValue(2076), Twist::ReturnValue(2057), Twist::None]);
    let mut client = client(&amt, "P@ssw0rd");
    let blocked = block_on(client.unprovision()).unwrap_err().to_string();
    assert!(blocked.contains("Unprovision") && blocked.contains("BLOCKING_COMPONENT"), "{blocked}");
    assert!(
        matches!(block_on(client.commit_changes()), Err(Error::ReturnValue(error)) if error.code == 2057)
    );
    block_on(client.commit_changes()).unwrap();
}

/// A device that asks for nothing is not AMT with its login on.
#[test]
fn no_challenge_means_no_dialogue() {
    struct Open;
    impl Transport for Open {
        type Error = Gone;
        async fn post(&mut self, request: HttpRequest) -> Result<HttpResponse, Gone> {
            let id = String::from_utf8_lossy(&request.body).into_owned();
            assert!(id.contains("AMT_GeneralSettings") && request.headers.len() == 1);
            let envelope =
                r#"<E:Envelope xmlns:E="http://www.w3.org/2003/05/soap-envelope"><E:Body/></E:Envelope>"#;
            Ok(respond(200, "application/soap+xml", envelope, &[]))
        }
    }
    let login = Login::Password { user: "admin".to_owned(), password: Secret::new("x".to_owned()) };
    let mut client = Client::new(Open, login, || [7; 16]);
    let error = block_on(client.setup(&new_admin("admin", REALM))).unwrap_err();
    assert!(matches!(error, Error::Digest(DigestError::NoChallenge)));
}

#[test]
fn the_server_header_gives_the_version_or_nothing() {
    let version =
        |server: &str| respond(303, "", "", &[("SERVER", server)]).server_version().map(str::to_owned);
    let amt = "Intel(R) Active Management Technology ";
    assert_eq!(version(&format!("{amt}15.0.55.2751")).as_deref(), Some("15.0.55.2751"));
    for other in ["", "nginx/1.0", &format!("{amt}15.0<b>"), &format!("{amt}1..2"), amt] {
        assert_eq!(version(other), None, "{other}");
    }
}
