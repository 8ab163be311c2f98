//! Frozen bytes of WS-Man requests.
//!
//! If a test here fails, do not change the test: revert your change. Firmware is order-sensitive, and the same request
//! must give the same bytes.

#![allow(clippy::unwrap_used)] // a test that cannot go on panics

use oob_wsman::{
    Secret,
    classes::{Method, amt, audit, authorization, certificates, clock, ips, redirection, tls},
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

/// Body of a method's request: the action's last word, and what stands in the input element.
fn method<O>(method: &Method<'_, O>, resource: &str, name: &str, params: &str) {
    let body = format!("<h:{name}_INPUT xmlns:h=\"{resource}\">{params}</h:{name}_INPUT>");
    assert_eq!(*method.to_xml(7), golden(&format!("{resource}/{name}"), resource, 7, "", &body));
}

#[test]
fn methods_of_the_setup() {
    let host = "http://intel.com/wbem/wscim/1/ips-schema/1/IPS_HostBasedSetupService";
    let ha1 = Ha1::new("admin", &Realm::new("Digest:AA").unwrap(), &Secret::new("P@ssw0rd".to_owned()));
    let proof = ips::Proof { mc_nonce: &[1; 20], signature: &[2; 3] };
    let signed = "<h:McNonce>AQEBAQEBAQEBAQEBAQEBAQEBAQE=</h:McNonce><h:SigningAlgorithm>2</h:SigningAlgorithm>\
                  <h:DigitalSignature>AgIC</h:DigitalSignature>";
    let password = "<h:NetAdminPassEncryptionType>2</h:NetAdminPassEncryptionType>\
                    <h:NetworkAdminPassword>86d0b8c4aeb0238ed58759f4cd90a84d</h:NetworkAdminPassword>";
    method(&ips::admin_setup(&ha1, proof), host, "AdminSetup", &format!("{password}{signed}"));
    method(&ips::upgrade_client_to_admin(proof), host, "UpgradeClientToAdmin", signed);
    for (place, leaf, root) in [
        (ips::ChainPlace::Leaf, true, false),
        (ips::ChainPlace::Intermediate, false, false),
        (ips::ChainPlace::Root, false, true),
    ] {
        let params = format!(
            "<h:NextCertificate>ZGVy</h:NextCertificate><h:IsLeafCertificate>{leaf}</h:IsLeafCertificate>\
             <h:IsRootCertificate>{root}</h:IsRootCertificate>"
        );
        method(&ips::add_next_cert_in_chain(b"der", place), host, "AddNextCertInChain", &params);
    }
    let service = "http://intel.com/wbem/wscim/1/amt-schema/1/AMT_SetupAndConfigurationService";
    let mebx = Secret::new("P@ss<w0rd".to_owned());
    method(
        &amt::set_mebx_password(&mebx),
        service,
        "SetMEBxPassword",
        "<h:Password>P@ss&lt;w0rd</h:Password>",
    );
    method(&amt::partial_unprovision(), service, "PartialUnprovision", "");
    method(&amt::commit_changes(), service, "CommitChanges", "");
    let mode = "<h:ProvisioningMode>1</h:ProvisioningMode>";
    method(&amt::unprovision(), service, "Unprovision", mode);
    // base64 of the 16 bytes whose hex stands above.
    let acl = "http://intel.com/wbem/wscim/1/amt-schema/1/AMT_AuthorizationService";
    let params =
        "<h:Username>admin</h:Username><h:DigestPassword>htC4xK6wI47Vh1n0zZCoTQ==</h:DigestPassword>";
    method(&authorization::set_admin_acl_entry_ex(&ha1), acl, "SetAdminAclEntryEx", params);
}

#[test]
fn methods_of_the_settings() {
    let amt = |class: &str| format!("http://intel.com/wbem/wscim/1/amt-schema/1/AMT_{class}");
    let (clock, keys) = (amt("TimeSynchronizationService"), amt("PublicKeyManagementService"));
    method(&clock::get_low_accuracy_time_synch(), &clock, "GetLowAccuracyTimeSynch", "");
    let times = "<h:Ta0>1</h:Ta0><h:Tm1>2</h:Tm1><h:Tm2>3</h:Tm2>";
    method(&clock::set_high_accuracy_time_synch(1, 2, 3), &clock, "SetHighAccuracyTimeSynch", times);
    let (kvm, state) =
        ("http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_KVMRedirectionSAP", |number: u32| {
            format!("<h:RequestedState>{number}</h:RequestedState>")
        });
    method(&redirection::request_kvm(true), kvm, "RequestStateChange", &state(2));
    method(&redirection::request_kvm(false), kvm, "RequestStateChange", &state(3));
    use redirection::Redirection::{Ider, None, Sol, SolAndIder};
    for (wanted, number) in [(None, 32768), (Ider, 32769), (Sol, 32770), (SolAndIder, 32771)] {
        let service = amt("RedirectionService");
        method(&redirection::request_redirection(wanted), &service, "RequestStateChange", &state(number));
    }
    let size = "<h:KeyAlgorithm>0</h:KeyAlgorithm><h:KeyLength>2048</h:KeyLength>";
    method(&certificates::generate_key_pair(2048), &keys, "GenerateKeyPair", size);
    let blob = "<h:CertificateBlob>ZGVy</h:CertificateBlob>";
    method(&certificates::add_certificate(b"der"), &keys, "AddCertificate", blob);
    method(&certificates::add_trusted_root_certificate(b"der"), &keys, "AddTrustedRootCertificate", blob);
    let request = format!(
        "<h:KeyPair><a:Address>/wsman</a:Address><a:ReferenceParameters><w:ResourceURI>{}</w:ResourceURI>\
         <w:SelectorSet><w:Selector Name=\"InstanceID\">Intel(r) AMT Key: Handle: 0</w:Selector></w:SelectorSet>\
         </a:ReferenceParameters></h:KeyPair>\
         <h:NullSignedCertificateRequest>ZGVy</h:NullSignedCertificateRequest><h:SigningAlgorithm>1</h:SigningAlgorithm>",
        amt("PublicPrivateKeyPair")
    );
    let sign = certificates::generate_pkcs10_request_ex("Intel(r) AMT Key: Handle: 0", b"der");
    method(&sign, &keys, "GeneratePKCS10RequestEx", &request);
    let start = "<h:StartIndex>1</h:StartIndex>";
    method(&audit::read_records(0), &amt("AuditLog"), "ReadRecords", start);
    let status = authorization::get_admin_acl_entry_status();
    method(&status, &amt("AuthorizationService"), "GetAdminAclEntryStatus", "");
}

#[test]
fn the_credential_context() {
    let resource = "http://intel.com/wbem/wscim/1/amt-schema/1/AMT_TLSCredentialContext";
    let reference = |class: &str, key: &str, value: &str| {
        format!(
            "<a:Address>/wsman</a:Address><a:ReferenceParameters>\
             <w:ResourceURI>http://intel.com/wbem/wscim/1/amt-schema/1/{class}</w:ResourceURI>\
             <w:SelectorSet><w:Selector Name=\"{key}\">{value}</w:Selector></w:SelectorSet></a:ReferenceParameters>"
        )
    };
    let certificate = "Intel(r) AMT Certificate: Handle: 1";
    let body = format!(
        "<h:AMT_TLSCredentialContext xmlns:h=\"{resource}\"><h:ElementInContext>{}</h:ElementInContext>\
         <h:ElementProvidingContext>{}</h:ElementProvidingContext></h:AMT_TLSCredentialContext>",
        reference("AMT_PublicKeyCertificate", "InstanceID", certificate),
        reference(
            "AMT_TLSProtocolEndpointCollection",
            "ElementName",
            "TLSProtocolEndpointInstances Collection"
        ),
    );
    let action = |verb: &str| format!("http://schemas.xmlsoap.org/ws/2004/09/transfer/{verb}");
    let create = tls::create_credential_context(certificate).to_xml(3);
    assert_eq!(*create, golden(&action("Create"), resource, 3, "", &body));
    let put = tls::put_credential_context(certificate).to_xml(4);
    assert_eq!(*put, golden(&action("Put"), resource, 4, "", &body));
}
