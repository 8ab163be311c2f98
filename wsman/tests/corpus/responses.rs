//! Recorded responses: read by us and by another parser.

use std::{
    fs,
    path::{Path, PathBuf},
};

use oob_wsman::{
    classes::{
        Class, Editable, Method, amt, audit, authorization, certificates, check_return_value, clock,
        ethernet, ips, power, power_scheme, read_instance, redirection, references, tls, wifi,
    },
    envelope::Envelope,
    xml::{Element, ns},
};
use roxmltree::{Document, Node};
use yaserde::YaSerialize;

use super::{corpus, elements, response};

#[test]
fn every_leaf_of_the_recorded_instances_survives_the_typed_structs() {
    let Some(root) = corpus("every_leaf_of_the_recorded_instances_survives_the_typed_structs") else {
        return;
    };
    instance_survives::<amt::GeneralSettings>(&response(&root, "amt/general/get.xml"));
    instance_survives::<amt::GeneralSettings>(&response(&root, "amt/general/pull.xml"));
    instance_survives::<amt::SetupAndConfigurationService>(&response(
        &root,
        "amt/setupandconfiguration/get.xml",
    ));
    instance_survives::<amt::SetupAndConfigurationService>(&response(
        &root,
        "amt/setupandconfiguration/pull.xml",
    ));
    instance_survives::<ips::HostBasedSetupService>(&response(&root, "ips/hostbasedsetup/get.xml"));
    instance_survives::<ips::HostBasedSetupService>(&response(&root, "ips/hostbasedsetup/pull.xml"));
    instance_survives::<audit::AuditLog>(&response(&root, "amt/auditlog/get.xml"));
    instance_survives::<audit::AuditLog>(&response(&root, "amt/auditlog/pull.xml"));
    instance_survives::<authorization::AuthorizationService>(&response(&root, "amt/authorization/get.xml"));
    instance_survives::<clock::TimeSynchronizationService>(&response(
        &root,
        "amt/timesynchronization/get.xml",
    ));
    instance_survives::<clock::TimeSynchronizationService>(&response(
        &root,
        "amt/timesynchronization/pull.xml",
    ));
    for name in ["get", "pull", "put"] {
        let recorded = response(&root, &format!("amt/redirectionservice/{name}.xml"));
        instance_survives::<redirection::RedirectionService>(&recorded);
        instance_survives::<tls::TlsSettingData>(&response(
            &root,
            &format!("amt/tls/settingdata/{name}.xml"),
        ));
    }
    for name in ["get", "pull"] {
        let of = |class: &str| response(&root, &format!("{class}/{name}.xml"));
        instance_survives::<ethernet::EthernetPortSettings>(&of("amt/ethernetport"));
        instance_survives::<certificates::PublicPrivateKeyPair>(&of("amt/publicprivate"));
        instance_survives::<redirection::OptInService>(&of("ips/optin"));
    }
    instance_survives::<certificates::PublicKeyManagementService>(&response(
        &root,
        "amt/publickey/management/get.xml",
    ));
    instance_survives::<certificates::PublicKeyCertificate>(&response(
        &root,
        "amt/publickey/certificate/get.xml",
    ));
    instance_survives::<certificates::PublicKeyCertificate>(&response(
        &root,
        "amt/publickey/certificate/put.xml",
    ));
    instance_survives::<redirection::KvmRedirectionSap>(&response(&root, "cim/kvm/get.xml"));
    instance_survives::<tls::TlsCredentialContext>(&response(&root, "amt/tls/credentialcontext/pull.xml"));
    instance_survives::<power::AssociatedPowerManagementService>(&response(
        &root,
        "cim/associatedpower/managementservice/get.xml",
    ));
    for name in ["get", "pull"] {
        let recorded = response(&root, &format!("amt/systempowerscheme/{name}.xml"));
        instance_survives::<power_scheme::SystemPowerScheme>(&recorded);
    }
    instance_survives::<wifi::WifiPort>(&response(&root, "cim/wifi/port/get.xml"));
    instance_survives::<wifi::WifiEndpointSettings>(&response(&root, "cim/wifi/endpointsettings/pull.xml"));
}

/// Recorded leaves (by the other parser) against the typed struct written out again (and read by the other parser).
fn instance_survives<C: Class + YaSerialize>(recorded: &str) {
    let envelope = Envelope::read(recorded.as_bytes()).unwrap_or_else(|error| panic!("{}: {error}", C::NAME));
    let body = envelope.body.as_ref().unwrap();
    let items = body.child(ns::ENUMERATION, "Items").map_or(std::slice::from_ref(body), Element::children);
    let document = Document::parse(recorded.trim_start()).unwrap();
    let instances = document.descendants().filter(|node| node.has_tag_name((C::RESOURCE, C::NAME)));
    let instances: Vec<_> = instances.collect();
    assert!(!instances.is_empty() && instances.len() == items.len(), "{}", C::NAME);
    for (item, instance) in items.iter().zip(instances) {
        let typed: C = read_instance(Some(item)).unwrap();
        let written = yaserde::ser::to_string(&typed).unwrap();
        let expected = leaves(instance);
        assert!(expected.len() >= 3, "{} has too few leaves to prove anything", C::NAME);
        assert_eq!(leaves(Document::parse(&written).unwrap().root_element()), expected, "{}", C::NAME);
        if C::NAME == "AMT_AuditLog" {
            continue; // it has a datetime and no Put
        }
        // What would be put back is what came, in its order.
        let editable = Editable::<C>::read(Some(item), &[]).unwrap();
        let put = editable.to_request().to_xml(0);
        let put = Document::parse(&put).unwrap();
        let put = leaves(put.descendants().find(|node| node.has_tag_name((C::RESOURCE, C::NAME))).unwrap());
        let missing: Vec<_> =
            expected.iter().filter(|leaf| !put.contains(leaf)).map(|leaf| leaf.1.as_str()).collect();
        assert!(
            missing.iter().all(|name| C::read_only(&editable).contains(name) || *name == "Address"),
            "{missing:?}"
        );
    }
}

/// Namespace, name, attributes and text of every leaf, at any depth.
fn leaves(instance: Node<'_, '_>) -> Vec<(String, String, String)> {
    let is_leaf = |node: &Node<'_, '_>| node.is_element() && elements(*node).next().is_none();
    let leaf = |node: Node<'_, '_>| {
        let attributes: String = node.attributes().map(|attribute| attribute.value()).collect();
        (
            node.tag_name().namespace().unwrap_or("").to_owned(),
            format!("{}{attributes}", node.tag_name().name()),
            node.text().unwrap_or("").to_owned(),
        )
    };
    let mut leaves: Vec<_> = instance.descendants().filter(is_leaf).map(leaf).collect();
    // Arrays keep their order, properties are put in ours.
    leaves.sort_by(|one, other| (&one.0, &one.1).cmp(&(&other.0, &other.1)));
    leaves
}

#[test]
fn recorded_method_answers_are_successes_and_headers_are_read() {
    let Some(root) = corpus("recorded_method_answers_are_successes_and_headers_are_read") else { return };
    let cases = [
        ("ips/hostbasedsetup/setup.xml", ips::HOST_BASED_SETUP_SERVICE, "Setup", "1"),
        (
            "ips/hostbasedsetup/upgradeclienttoadmin.xml",
            ips::HOST_BASED_SETUP_SERVICE,
            "UpgradeClientToAdmin",
            "1",
        ),
        (
            "amt/setupandconfiguration/partialunprovision.xml",
            amt::SETUP_AND_CONFIGURATION_SERVICE,
            "PartialUnprovision",
            "0",
        ),
        (
            "amt/authorization/setadminaclentryex.xml",
            authorization::AUTHORIZATION_SERVICE,
            "SetAdminAclEntryEx",
            "2",
        ),
        (
            "amt/authorization/getadminaclentrystatus.xml",
            authorization::AUTHORIZATION_SERVICE,
            "GetAdminAclEntryStatus",
            "20",
        ),
        (
            "amt/timesynchronization/getlowaccuracytimesynch.xml",
            clock::TIME_SYNCHRONIZATION_SERVICE,
            "GetLowAccuracyTimeSynch",
            "9",
        ),
        (
            "amt/timesynchronization/sethighaccuracytimesynch.xml",
            clock::TIME_SYNCHRONIZATION_SERVICE,
            "SetHighAccuracyTimeSynch",
            "6",
        ),
        (
            "amt/publickey/management/generatekeypair.xml",
            certificates::PUBLIC_KEY_MANAGEMENT_SERVICE,
            "GenerateKeyPair",
            "9",
        ),
        (
            "amt/publickey/management/addcertificate.xml",
            certificates::PUBLIC_KEY_MANAGEMENT_SERVICE,
            "AddCertificate",
            "13",
        ),
        (
            "amt/publickey/management/addtrustedrootcertificate.xml",
            certificates::PUBLIC_KEY_MANAGEMENT_SERVICE,
            "AddTrustedRootCertificate",
            "5",
        ),
        ("amt/auditlog/readrecords.xml", audit::AUDIT_LOG, "ReadRecords", "5"),
    ];
    for (path, resource, method, relates_to) in cases {
        let envelope = Envelope::read(response(&root, path).as_bytes())
            .unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(check_return_value(envelope.body.as_ref(), resource, method), Ok(Ok(())), "{path}");
        assert_eq!(envelope.relates_to.as_deref(), Some(relates_to), "{path}");
        assert_eq!(envelope.resource_uri.as_deref(), Some(resource), "{path}");
        assert!(envelope.action.unwrap().starts_with(resource), "{path}");
        assert!(envelope.message_id.unwrap().starts_with("uuid:00000000-8086-"), "{path}");
    }
}

#[test]
fn recorded_method_answers_are_read() {
    let Some(root) = corpus("recorded_method_answers_are_read") else { return };
    fn read<O>(root: &Path, method: &Method<'_, O>, path: &str) -> O {
        let envelope = Envelope::read(response(root, path).as_bytes()).unwrap();
        method.read(envelope.body).unwrap().unwrap()
    }
    let keys = "amt/publickey/management";
    let key = read(&root, &certificates::generate_key_pair(2048), &format!("{keys}/generatekeypair.xml"));
    assert_eq!(key.instance_id(), Some("Intel(r) AMT Key: Handle: 0"));
    assert!(key.is_of(certificates::PUBLIC_PRIVATE_KEY_PAIR));
    let added = read(&root, &certificates::add_certificate(b""), &format!("{keys}/addcertificate.xml"));
    assert_eq!(added.instance_id(), Some("Intel(r) AMT Certificate: Handle: 1"));
    let method = certificates::add_trusted_root_certificate(b"");
    let added = read(&root, &method, &format!("{keys}/addtrustedrootcertificate.xml"));
    assert_eq!(added.instance_id(), Some("Intel(r) AMT Certificate: Handle: 2"));
    let method = clock::get_low_accuracy_time_synch();
    assert_eq!(read(&root, &method, "amt/timesynchronization/getlowaccuracytimesynch.xml"), 1_704_586_865);
    let method = authorization::get_admin_acl_entry_status();
    assert!(!read(&root, &method, "amt/authorization/getadminaclentrystatus.xml"));
    let method = authorization::get_admin_acl_entry();
    assert_eq!(read(&root, &method, "amt/authorization/getadminaclentry.xml"), "admin");
    let records = read(&root, &audit::read_records(1), "amt/auditlog/readrecords.xml");
    assert_eq!((records.total, records.records.len(), records.records[0].len()), (2, 2, 28));
    // The recording of a signed request holds a word that is not base64.
    let path = format!("{keys}/generatepkcs10requestex.xml");
    let envelope = Envelope::read(response(&root, &path).as_bytes()).unwrap();
    assert!(certificates::generate_pkcs10_request_ex("", b"").read(envelope.body).is_err());
    let context = Envelope::read(response(&root, "amt/tls/credentialcontext/pull.xml").as_bytes()).unwrap();
    let context = context.body.unwrap();
    let items = context.child(ns::ENUMERATION, "Items").unwrap().children();
    let context: tls::TlsCredentialContext = read_instance(items.first()).unwrap();
    assert_eq!(context.certificate(), Some("Intel(r) AMT Certificate: Handle: 3"));
}

/// What the recorded schemes and associations mean.
#[test]
fn recorded_schemes_and_references_are_understood() {
    let Some(root) = corpus("recorded_schemes_and_references_are_understood") else { return };
    fn items<C: Class>(root: &Path, path: &str) -> Vec<C> {
        let envelope = Envelope::read(response(root, path).as_bytes()).unwrap();
        let body = envelope.body.unwrap();
        let items = body.child(ns::ENUMERATION, "Items").unwrap().children();
        items.iter().map(|item| read_instance(Some(item)).unwrap()).collect()
    }
    let schemes: Vec<power_scheme::SystemPowerScheme> = items(&root, "amt/systempowerscheme/pull.xml");
    let meant: Vec<_> = schemes.iter().map(power_scheme::SystemPowerScheme::stays).collect();
    assert_eq!(meant, [Some(power_scheme::Stays::HostOn), Some(power_scheme::Stays::Always)]);
    let associations = |path: &str| -> Vec<references::Association> {
        let envelope = Envelope::read(response(&root, path).as_bytes()).unwrap();
        let body = envelope.body.unwrap();
        let items = body.child(ns::ENUMERATION, "Items").unwrap().children();
        items.iter().map(references::Association::read).collect()
    };
    let held = certificates::PUBLIC_KEY_CERTIFICATE;
    // The association of 802.1x, and that of TLS, which is another class.
    for (path, handle) in [("cim/credential/context/pull.xml", 0), ("amt/tls/credentialcontext/pull.xml", 3)]
    {
        let contexts = associations(path);
        assert!(contexts[0].names(held, &format!("Intel(r) AMT Certificate: Handle: {handle}")), "{path}");
        assert!(!contexts[0].names(held, "Intel(r) AMT Certificate: Handle: 1"), "{path}");
        let key = certificates::PUBLIC_PRIVATE_KEY_PAIR;
        assert!(!contexts[0].names(key, &format!("Intel(r) AMT Certificate: Handle: {handle}")), "{path}");
    }
    let depends = associations("cim/concrete/dependency/pull.xml");
    let identity = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_Identity";
    let beside: Vec<_> = depends[0].beside(identity, "Intel(r) AMT:$$OsAdmin").collect();
    assert_eq!(beside.len(), 1);
    assert_eq!(beside[0].selector("Name"), Some("Intel(r) AMT:$$OsAdmin"));
    assert_eq!(depends[0].beside(identity, "another").count(), 0);
}

/// The reader against another one on all recordings, those of classes not used yet included.
#[test]
fn every_recording_reads_as_the_same_tree() {
    let Some(root) = corpus("every_recording_reads_as_the_same_tree") else { return };
    let mut files = Vec::new();
    collect(&root.join("responses"), &mut files);
    assert!(files.len() >= 150, "only {} responses in the corpus", files.len());
    for path in files {
        let bytes = fs::read(&path).unwrap();
        let text = String::from_utf8(bytes.clone()).unwrap();
        let ours = Element::parse(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let theirs = Document::parse(text.trim_start_matches('\u{feff}').trim_start()).unwrap();
        same_tree(&ours, theirs.root_element(), &path);
        assert!(Envelope::read(&bytes).is_ok(), "{}", path.display());
        let fragment = ours.to_fragment();
        assert_eq!(canonical_names(&fragment), canonical_names(text.trim_start()), "{}", path.display());
    }
}

fn same_tree(ours: &Element, theirs: Node<'_, '_>, path: &Path) {
    let name = theirs.tag_name();
    assert!(ours.is(name.namespace().unwrap_or(""), name.name()), "{}: {}", path.display(), name.name());
    let children: Vec<_> = elements(theirs).collect();
    assert_eq!(ours.children().len(), children.len(), "{}: {}", path.display(), name.name());
    let text: String = theirs.children().filter(Node::is_text).filter_map(|node| node.text()).collect();
    assert_eq!(ours.text(), text, "{}: {}", path.display(), name.name());
    for (ours, theirs) in ours.children().iter().zip(children) {
        same_tree(ours, theirs, path);
    }
}

/// Names and leaf texts, without the attributes that a fragment drops.
fn canonical_names(document: &str) -> Vec<(String, String)> {
    let document = Document::parse(document).unwrap();
    let names = document.descendants().filter(Node::is_element).map(|node| {
        let leaf = elements(node).next().is_none();
        let text = if leaf { node.text().unwrap_or("") } else { "" };
        (format!("{:?}", node.tag_name()), text.to_owned())
    });
    names.collect()
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    for path in entries.map(|entry| entry.unwrap().path()) {
        match path.is_dir() {
            true => collect(&path, files),
            false => files.push(path),
        }
    }
}
