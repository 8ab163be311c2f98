//! Frozen bytes of WS-Man requests.
//!
//! If a test here fails, do not change the test: revert your change. Firmware is order-sensitive, and the same request
//! must give the same bytes.

#![allow(clippy::unwrap_used)] // a test that cannot go on panics

use oob_wsman::{
    Secret,
    classes::{amt, ips},
    digest::{Ha1, Realm},
    verbs::{EndpointReference, Param, Request},
};

fn golden(action: &str, resource: &str, id: u64, selectors: &str, body: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><Envelope xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" \
         xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\" xmlns:a=\"http://schemas.xmlsoap.org/ws/2004/08/addressing\" \
         xmlns:w=\"http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd\" xmlns=\"http://www.w3.org/2003/05/soap-envelope\">\
         <Header><a:Action>{action}</a:Action><a:To>/wsman</a:To><w:ResourceURI>{resource}</w:ResourceURI>\
         <a:MessageID>{id}</a:MessageID><a:ReplyTo><a:Address>\
         http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous</a:Address></a:ReplyTo>\
         <w:OperationTimeout>PT60S</w:OperationTimeout>{selectors}</Header><Body>{body}</Body></Envelope>"
    )
}

#[test]
fn get() {
    let resource = "http://intel.com/wbem/wscim/1/ips-schema/1/IPS_HostBasedSetupService";
    let expected = golden("http://schemas.xmlsoap.org/ws/2004/09/transfer/Get", resource, 41, "", "");
    assert_eq!(*Request::get(ips::HOST_BASED_SETUP_SERVICE).to_xml(41), expected);
}

#[test]
fn setup_takes_the_hash_as_lower_case_hex() {
    // MD5("admin:Digest:AA:P@ssw0rd"), computed with md5sum.
    let hash = "86d0b8c4aeb0238ed58759f4cd90a84d";
    let resource = "http://intel.com/wbem/wscim/1/ips-schema/1/IPS_HostBasedSetupService";
    let body = format!(
        "<h:Setup_INPUT xmlns:h=\"{resource}\"><h:NetAdminPassEncryptionType>2</h:NetAdminPassEncryptionType>\
         <h:NetworkAdminPassword>{hash}</h:NetworkAdminPassword></h:Setup_INPUT>"
    );
    let ha1 = Ha1::new("admin", &Realm::new("Digest:AA").unwrap(), &Secret::new("P@ssw0rd".to_owned()));
    assert_eq!(*ips::setup(&ha1).to_xml(1), golden(&format!("{resource}/Setup"), resource, 1, "", &body));
}

#[test]
fn selectors_references_and_escapes() {
    let resource = amt::GENERAL_SETTINGS;
    let request = Request::put(
        resource,
        vec![
            Param::text("HostName", "a<b>&\"c\"\r"),
            Param::nested("N", vec![Param::boolean("B", true), Param::number("U", u32::MAX)]),
            Param::reference("E", EndpointReference::new("urn:r", "K", "v&")),
        ],
    )
    .selector("Instance\"ID", "Intel(r) AMT & Co");
    let selectors = "<w:SelectorSet><w:Selector Name=\"Instance&quot;ID\">Intel(r) AMT &amp; Co</w:Selector></w:SelectorSet>";
    let body = format!(
        "<h:AMT_GeneralSettings xmlns:h=\"{resource}\"><h:HostName>a&lt;b&gt;&amp;&quot;c&quot;&#13;</h:HostName>\
         <h:N><h:B>true</h:B><h:U>4294967295</h:U></h:N><h:E><a:Address>/wsman</a:Address><a:ReferenceParameters>\
         <w:ResourceURI>urn:r</w:ResourceURI><w:SelectorSet><w:Selector Name=\"K\">v&amp;</w:Selector></w:SelectorSet>\
         </a:ReferenceParameters></h:E></h:AMT_GeneralSettings>"
    );
    let action = "http://schemas.xmlsoap.org/ws/2004/09/transfer/Put";
    assert_eq!(*request.to_xml(2), golden(action, resource, 2, selectors, &body));
}
