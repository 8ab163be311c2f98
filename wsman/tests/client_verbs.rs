//! Put, Create, Delete, Enumerate and methods against a scripted device: what is sent, and what its answers mean.

#![allow(clippy::unwrap_used)] // a test that cannot go on panics

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::Future,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use oob_wsman::{
    Secret,
    classes::{
        BodyError, amt, authorization, certificates, clock,
        ethernet::{EthernetPortSettings, WIRED},
        ips, redirection,
        tls::{self, LOCAL, REMOTE, TlsSettingData},
    },
    client::{Client, Error, Login, Transport},
    digest::{Ha1, Realm},
    fault::FaultKind,
    http::{HttpRequest, HttpResponse},
};

const REALM: &str = "Digest:AA";
const AMT: &str = "http://intel.com/wbem/wscim/1/amt-schema/1";
const ENUMERATION: &str = "http://schemas.xmlsoap.org/ws/2004/09/enumeration";

#[derive(Clone, Default)]
struct Scripted(Rc<RefCell<Script>>);

#[derive(Default)]
struct Script {
    /// Status and body child of each answer to a request with a login; `None` drops the connection.
    answers: VecDeque<Option<(u16, String)>>,
    /// Bodies of the requests with a login.
    sent: Vec<String>,
}

#[derive(Debug)]
struct Gone;

impl Transport for Scripted {
    type Error = Gone;

    async fn post(&mut self, request: HttpRequest) -> Result<HttpResponse, Gone> {
        let body = String::from_utf8(request.body.to_vec()).unwrap();
        if !request.headers.iter().any(|header| header.0 == "Authorization") {
            let challenge = format!(r#"Digest realm="{REALM}", nonce="n",stale="false",qop="auth""#);
            let headers = vec![("WWW-Authenticate".to_owned(), challenge)];
            return Ok(HttpResponse { status: 401, headers, body: Vec::new() });
        }
        let mut script = self.0.borrow_mut();
        let id = body.split("MessageID>").nth(1).unwrap().split('<').next().unwrap().to_owned();
        script.sent.push(body);
        let (status, child) = script.answers.pop_front().unwrap().ok_or(Gone)?;
        let envelope = format!(
            r#"<a:Envelope xmlns:a="http://www.w3.org/2003/05/soap-envelope" xmlns:b="http://schemas.xmlsoap.org/ws/2004/08/addressing"><a:Header><b:RelatesTo>{id}</b:RelatesTo></a:Header><a:Body>{child}</a:Body></a:Envelope>"#
        );
        Ok(HttpResponse { status, headers: Vec::new(), body: envelope.into_bytes() })
    }
}

fn client(answers: &[&str]) -> (Client<Scripted>, Scripted) {
    let transport = Scripted::default();
    transport.0.borrow_mut().answers = answers
        .iter()
        .map(|answer| match answer.strip_prefix("fault ") {
            Some(subcode) => Some((400, fault(subcode))),
            None => (*answer != "drop").then(|| (200, (*answer).to_owned())),
        })
        .collect();
    let login = Login::Password { user: "admin".to_owned(), password: Secret::new("P@ssw0rd".to_owned()) };
    (Client::new(transport.clone(), login, || [7; 16]), transport)
}

fn fault(subcode: &str) -> String {
    format!(
        "<a:Fault><a:Code><a:Value>a:Sender</a:Value><a:Subcode><a:Value>b:{subcode}</a:Value></a:Subcode></a:Code></a:Fault>"
    )
}

fn output(class: &str, method: &str, inner: &str) -> String {
    format!(r#"<g:{method}_OUTPUT xmlns:g="{class}">{inner}</g:{method}_OUTPUT>"#)
}

fn settings(id: &str, inner: &str) -> String {
    format!(
        r#"<g:AMT_TLSSettingData xmlns:g="{AMT}/AMT_TLSSettingData"><g:ElementName>{id}</g:ElementName><g:InstanceID>{id}</g:InstanceID>{inner}</g:AMT_TLSSettingData>"#
    )
}

/// The element in the Body of a request.
fn body_of(request: &str) -> &str {
    request.split("<Body>").nth(1).unwrap().split("</Body>").next().unwrap()
}

fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
    }
}

#[test]
fn a_put_echoes_what_came_changed_and_without_what_is_read_only() {
    let remote = settings(
        REMOTE,
        "<g:AcceptNonSecureConnections>true</g:AcceptNonSecureConnections><g:Enabled>false</g:Enabled>\
         <g:FutureThing>x&amp;y</g:FutureThing><g:MutualAuthentication>false</g:MutualAuthentication>\
         <g:NonSecureConnectionsSupported>true</g:NonSecureConnectionsSupported>",
    );
    let (mut client, device) = client(&[&remote, &remote]);
    let selector = [("InstanceID", REMOTE)];
    let mut settings = block_on(client.get_to_edit::<TlsSettingData>(&selector)).unwrap();
    assert_eq!((settings.enabled, settings.accept_non_secure_connections), (Some(false), Some(true)));
    assert!(settings.set_bool("Enabled", true) && settings.set_bool("AcceptNonSecureConnections", false));
    assert!(!settings.set_bool("MutualAuthentication", false), "nothing changed");
    assert!(settings.set_all("TrustedCN", &["a.test", "b.test"]));
    assert!(!settings.set_all("TrustedCN", &["a.test", "b.test"]));
    block_on(client.put(&settings)).unwrap();
    let device = device.0.borrow();
    let selectors =
        format!(r#"<w:SelectorSet><w:Selector Name="InstanceID">{REMOTE}</w:Selector></w:SelectorSet>"#);
    assert!(device.sent.iter().all(|request| request.contains(&selectors)));
    let expected = format!(
        r#"<h:AMT_TLSSettingData xmlns:h="{AMT}/AMT_TLSSettingData"><h:ElementName>{REMOTE}</h:ElementName><h:InstanceID>{REMOTE}</h:InstanceID><h:AcceptNonSecureConnections>false</h:AcceptNonSecureConnections><h:Enabled>true</h:Enabled><h:FutureThing>x&amp;y</h:FutureThing><h:MutualAuthentication>false</h:MutualAuthentication><h:TrustedCN>a.test</h:TrustedCN><h:TrustedCN>b.test</h:TrustedCN></h:AMT_TLSSettingData>"#
    );
    assert_eq!(body_of(&device.sent[1]), expected);
}

#[test]
fn the_local_ports_settings_do_not_carry_what_is_read_only_there() {
    let local = settings(
        LOCAL,
        "<g:AcceptNonSecureConnections>true</g:AcceptNonSecureConnections><g:Enabled>false</g:Enabled>",
    );
    let (mut client, device) = client(&[&local, ""]);
    let mut settings = block_on(client.get_to_edit::<TlsSettingData>(&[("InstanceID", LOCAL)])).unwrap();
    settings.set_bool("Enabled", true);
    block_on(client.put(&settings)).unwrap();
    let body = body_of(&device.0.borrow().sent[1]).to_owned();
    assert!(!body.contains("AcceptNonSecureConnections") && body.contains("<h:Enabled>true</h:Enabled>"));
}

#[test]
fn with_dhcp_no_address_is_sent_and_without_it_every_one_is() {
    let port = |dhcp: bool| {
        format!(
            r#"<g:AMT_EthernetPortSettings xmlns:g="{AMT}/AMT_EthernetPortSettings"><g:DHCPEnabled>{dhcp}</g:DHCPEnabled><g:DefaultGateway>192.0.2.1</g:DefaultGateway><g:IPAddress>192.0.2.9</g:IPAddress><g:InstanceID>{WIRED}</g:InstanceID><g:IpSyncEnabled>true</g:IpSyncEnabled><g:LinkIsUp>true</g:LinkIsUp><g:LinkPolicy>1</g:LinkPolicy><g:LinkPolicy>14</g:LinkPolicy><g:MACAddress>00-00-5e-00-53-01</g:MACAddress><g:PrimaryDNS>192.0.2.1</g:PrimaryDNS><g:SharedStaticIp>false</g:SharedStaticIp><g:SubnetMask>255.255.255.0</g:SubnetMask></g:AMT_EthernetPortSettings>"#
        )
    };
    let (fixed, dynamic) = (port(false), port(true));
    let (mut client, device) = client(&[&fixed, &dynamic, "", ""]);
    let selector = [("InstanceID", WIRED)];
    let mut kept = block_on(client.get_to_edit::<EthernetPortSettings>(&selector)).unwrap();
    let mut dhcp = block_on(client.get_to_edit::<EthernetPortSettings>(&selector)).unwrap();
    assert!(!dhcp.use_dhcp(), "it was so before");
    assert!(kept.set_all("LinkPolicy", &["1", "14", "16"]));
    block_on(client.put(&kept)).unwrap();
    block_on(client.put(&dhcp)).unwrap();
    let device = device.0.borrow();
    let (kept, dhcp) = (body_of(&device.sent[2]), body_of(&device.sent[3]));
    for address in ["IPAddress", "SubnetMask", "DefaultGateway", "PrimaryDNS"] {
        assert!(kept.contains(address) && !dhcp.contains(address), "{address}");
    }
    for read_only in ["LinkIsUp", "MACAddress"] {
        assert!(!kept.contains(read_only) && !dhcp.contains(read_only), "{read_only}");
    }
    let policy =
        "<h:LinkPolicy>1</h:LinkPolicy><h:LinkPolicy>14</h:LinkPolicy><h:LinkPolicy>16</h:LinkPolicy>";
    assert!(kept.contains(policy));
}

#[test]
fn an_instance_of_another_class_is_not_put_and_not_taken_for_an_answer() {
    let other = format!(r#"<g:AMT_GeneralSettings xmlns:g="{AMT}/AMT_GeneralSettings"/>"#);
    let good = settings(REMOTE, "");
    let (mut client, _) = client(&[&other, &good, &other]);
    let selector = [("InstanceID", REMOTE)];
    let wrong = block_on(client.get_to_edit::<TlsSettingData>(&selector)).map(drop);
    assert!(matches!(wrong, Err(Error::Body(BodyError::Other { .. }))));
    let settings = block_on(client.get_to_edit::<TlsSettingData>(&selector)).unwrap();
    assert!(matches!(block_on(client.put(&settings)), Err(Error::Body(BodyError::Other { .. }))));
}

#[test]
fn enumerate_pulls_until_the_end_of_the_sequence() {
    let enumerated = |context: &str| {
        format!(
            r#"<g:EnumerateResponse xmlns:g="{ENUMERATION}"><g:EnumerationContext>{context}</g:EnumerationContext></g:EnumerateResponse>"#
        )
    };
    let pulled = |items: &str, rest: &str| {
        format!(
            r#"<g:PullResponse xmlns:g="{ENUMERATION}">{rest}<g:Items>{items}</g:Items></g:PullResponse>"#
        )
    };
    let context = "<g:EnumerationContext>C2</g:EnumerationContext>";
    let first = pulled(&settings(REMOTE, ""), context);
    let (started, second) = (enumerated("C1"), pulled(&settings(LOCAL, ""), "<g:EndOfSequence/>"));
    let (mut list, device) = client(&[&started, &first, &second]);
    let instances = block_on(list.enumerate::<TlsSettingData>()).unwrap();
    let ids: Vec<_> = instances.iter().map(|one| one.instance_id.as_deref().unwrap()).collect();
    assert_eq!(ids, [REMOTE, LOCAL]);
    let sent = &device.0.borrow().sent;
    assert!(sent[1].contains("<EnumerationContext>C1<") && sent[2].contains("<EnumerationContext>C2<"));

    // None at all is an answer; a list without an end is none.
    let empty = format!(r#"<g:PullResponse xmlns:g="{ENUMERATION}"><g:EndOfSequence/></g:PullResponse>"#);
    let (mut none, _) = client(&[&started, &empty]);
    assert_eq!(block_on(none.enumerate::<TlsSettingData>()).unwrap(), []);
    let endless: Vec<_> =
        std::iter::once(started.as_str()).chain(std::iter::repeat_n(first.as_str(), 100)).collect();
    let (mut endless, device) = client(&endless);
    let error = block_on(endless.enumerate::<TlsSettingData>()).unwrap_err();
    assert!(matches!(error, Error::Body(BodyError::Missing { property: "EndOfSequence", .. })));
    assert!(device.0.borrow().sent.len() < 100);
    let (mut without, _) = client(&[&format!(r#"<g:EnumerateResponse xmlns:g="{ENUMERATION}"/>"#)]);
    assert!(matches!(
        block_on(without.enumerate::<TlsSettingData>()),
        Err(Error::Body(BodyError::Missing { property: "EnumerationContext", .. }))
    ));
}

#[test]
fn faults_that_mean_something_are_told_apart() {
    let (mut client, _) =
        client(&["fault AlreadyExists", "fault DestinationUnreachable", "fault AccessDenied", ""]);
    let create = tls::create_credential_context("Intel(r) AMT Certificate: Handle: 1");
    let exists = block_on(client.send(&create)).unwrap_err();
    assert!(exists.already_exists() && !exists.is_absent());
    let absent = block_on(client.get::<redirection::KvmRedirectionSap>()).unwrap_err();
    assert!(absent.is_absent() && !absent.already_exists());
    let denied = block_on(client.delete::<TlsSettingData>(&[("InstanceID", "x")])).unwrap_err();
    assert_eq!(denied.fault_kind(), Some(FaultKind::AccessDenied));
    assert!(!denied.is_absent() && !denied.already_exists());
    block_on(client.delete::<certificates::PublicKeyCertificate>(&[("InstanceID", "x")])).unwrap();
}

#[test]
fn a_methods_answer_is_read_only_after_its_own_return_value() {
    let class = clock::TIME_SYNCHRONIZATION_SERVICE;
    let time = |inner: &str| output(class, "GetLowAccuracyTimeSynch", inner);
    let good = time("<g:Ta0>1700000000</g:Ta0><g:ReturnValue>0</g:ReturnValue>");
    let refused = time("<g:Ta0>1700000000</g:Ta0><g:ReturnValue>1</g:ReturnValue>");
    let silent = time("<g:Ta0>1700000000</g:Ta0>");
    let empty = time("<g:ReturnValue>0</g:ReturnValue>");
    let word = time("<g:Ta0>soon</g:Ta0><g:ReturnValue>0</g:ReturnValue>");
    let other = output(class, "SetHighAccuracyTimeSynch", "<g:Ta0>1</g:Ta0><g:ReturnValue>0</g:ReturnValue>");
    let (mut client, _) = client(&[&good, &refused, &silent, &empty, &word, &other, "drop"]);
    let mut ask = || block_on(client.invoke(&clock::get_low_accuracy_time_synch()));
    assert_eq!(ask().unwrap(), 1_700_000_000);
    assert!(matches!(ask(), Err(Error::ReturnValue(error)) if error.code == 1));
    assert!(matches!(ask(), Err(Error::Body(BodyError::Other { .. }))));
    assert!(matches!(ask(), Err(Error::Body(BodyError::Missing { property: "Ta0", .. }))));
    assert!(matches!(ask(), Err(Error::Body(BodyError::Unreadable { .. }))));
    assert!(matches!(ask(), Err(Error::Body(BodyError::Other { .. }))));
    assert!(matches!(ask(), Err(Error::Transport(Gone))), "a read may simply be asked again");
}

#[test]
fn a_one_shot_call_whose_answer_is_lost_or_unreadable_is_in_doubt() {
    let proof = ips::Proof { mc_nonce: &[1; 20], signature: &[2; 256] };
    let unreadable = output(
        certificates::PUBLIC_KEY_MANAGEMENT_SERVICE,
        "GenerateKeyPair",
        "<g:KeyPair>x</g:KeyPair><g:ReturnValue>0</g:ReturnValue>",
    );
    let (mut client, device) = client(&["drop", &unreadable, "drop", "drop"]);
    let upgrade = block_on(client.invoke(&ips::upgrade_client_to_admin(proof))).unwrap_err();
    assert!(matches!(upgrade, Error::OutcomeUnknown { method: "UpgradeClientToAdmin", .. }), "{upgrade:?}");
    let key = block_on(client.invoke(&certificates::generate_key_pair(2048))).unwrap_err();
    assert!(matches!(key, Error::OutcomeUnknown { method: "GenerateKeyPair", .. }), "{key:?}");
    let commit = block_on(client.commit_changes()).unwrap_err();
    assert!(matches!(commit, Error::OutcomeUnknown { method: "CommitChanges", .. }));
    let method = ips::add_next_cert_in_chain(b"der", ips::ChainPlace::Root);
    assert!(
        method.is_once() && matches!(block_on(client.invoke(&method)), Err(Error::OutcomeUnknown { .. }))
    );
    assert_eq!(device.0.borrow().sent.len(), 4, "none was sent twice");
}

#[test]
fn return_values_say_what_they_mean_for_their_method() {
    let host = ips::HOST_BASED_SETUP_SERVICE;
    let value = |class: &str, method: &str, code: u32| {
        output(class, method, &format!("<g:ReturnValue>{code}</g:ReturnValue>"))
    };
    let answers = [
        value(host, "AddNextCertInChain", 4),
        value(host, "UpgradeClientToAdmin", 5),
        value(host, "AdminSetup", 4),
        value(redirection::REDIRECTION_SERVICE, "RequestStateChange", 4097),
        value(amt::SETUP_AND_CONFIGURATION_SERVICE, "CommitChanges", 2057),
        value(certificates::PUBLIC_KEY_MANAGEMENT_SERVICE, "AddTrustedRootCertificate", 2058),
    ];
    let answers: Vec<_> = answers.iter().map(String::as_str).collect();
    let (mut client, _) = client(&answers);
    let proof = ips::Proof { mc_nonce: &[1; 20], signature: &[2; 256] };
    let ha1 = Ha1::new("admin", &Realm::new(REALM).unwrap(), &Secret::new("N3w!Password".to_owned()));
    let method = ips::add_next_cert_in_chain(b"der", ips::ChainPlace::Leaf);
    let text = block_on(client.invoke(&method)).unwrap_err().to_string();
    assert!(text.contains("certificate verification failed"), "{text}");
    let text = block_on(client.invoke(&ips::upgrade_client_to_admin(proof))).unwrap_err().to_string();
    assert!(text.contains("DNS suffix or signature not accepted"), "{text}");
    let text = block_on(client.admin_setup(&ha1, proof)).unwrap_err().to_string();
    assert!(text.contains("DNS suffix or signature not accepted"), "{text}");
    let sol = redirection::request_redirection(redirection::Redirection::Sol);
    let text = block_on(client.invoke(&sol)).unwrap_err().to_string();
    assert!(text.contains("invalid state transition"), "{text}");
    let text = block_on(client.commit_changes()).unwrap_err().to_string();
    assert!(text.contains("DATA_MISSING"), "{text}");
    let duplicate = block_on(client.invoke(&certificates::add_trusted_root_certificate(b"der"))).unwrap_err();
    assert!(duplicate.already_exists());
}

#[test]
fn a_nonce_is_twenty_bytes_or_none() {
    let host = ips::HOST_BASED_SETUP_SERVICE;
    let with = |nonce: &str| {
        let body = format!(
            r#"<g:IPS_HostBasedSetupService xmlns:g="{host}"><g:ConfigurationNonce>{nonce}</g:ConfigurationNonce></g:IPS_HostBasedSetupService>"#
        );
        let (mut client, _) = client(&[&body]);
        block_on(client.get_host_based_setup_service()).unwrap().nonce()
    };
    assert_eq!(with("AQEBAQEBAQEBAQEBAQEBAQEBAQE="), Some([1; 20]));
    for bad in ["", "AQEB", "AQEBAQEBAQEBAQEBAQEBAQEBAQEB", "no base64"] {
        assert_eq!(with(bad), None, "{bad}");
    }
}

/// As with Setup: a hash that opens nothing is refused before anything is sent.
#[test]
fn a_new_admin_password_is_checked_before_it_is_sent() {
    let (mut client, device) = client(&[]);
    let hash = |user: &str, realm: &str| {
        Ha1::new(user, &Realm::new(realm).unwrap(), &Secret::new("N3w!Password".to_owned()))
    };
    let proof = ips::Proof { mc_nonce: &[1; 20], signature: &[2; 256] };
    let (root, foreign) = (hash("root", REALM), hash("admin", "Digest:BB"));
    assert!(matches!(block_on(client.admin_setup(&root, proof)), Err(Error::WrongUser)));
    assert!(matches!(block_on(client.admin_setup(&foreign, proof)), Err(Error::RealmMismatch { .. })));
    assert!(matches!(block_on(client.set_admin_password(&root)), Err(Error::WrongUser)));
    assert!(matches!(block_on(client.set_admin_password(&foreign)), Err(Error::RealmMismatch { .. })));
    assert!(device.0.borrow().sent.is_empty());
    assert!(authorization::set_admin_acl_entry_ex(&root).is_once());
}
