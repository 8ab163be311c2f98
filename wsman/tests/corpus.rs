//! Requests of an independent implementation and recorded responses of real firmware (`OOB_CORPUS/wsman`).
//!
//! Requests: ours equal theirs as canonical XML (expanded names, attributes sorted, text). Responses: every leaf of the
//! recorded instance comes back out of our typed struct, compared with an independent tree parser.
//! `OOB_CORPUS` unset: one line says what is skipped. Set but incomplete: a failure.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // a test that cannot go on panics; skips are printed

use std::{
    fs,
    path::{Path, PathBuf},
};

use oob_wsman::{
    Secret,
    classes::{Class, amt, check_return_value, ips, read_instance},
    digest::{Ha1, Realm},
    envelope::Envelope,
    verbs::{EndpointReference, Param, Request},
    xml::{Element, ns},
};
use roxmltree::{Document, Node};
use yaserde::YaSerialize;

fn corpus(test: &str) -> Option<PathBuf> {
    match std::env::var_os("OOB_CORPUS") {
        Some(root) => Some(Path::new(&root).join("wsman")),
        None => {
            let line = format!("skipped: wsman corpus {test}, OOB_CORPUS is not set\n");
            // Past the test runner's capture.
            let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
            None
        }
    }
}

/// The one file whose name begins so; the numbers are the corpus's own.
fn request(root: &Path, group: &str, number: &str) -> String {
    let directory = root.join("requests").join(group);
    let mut found = fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("reading {}: {error}", directory.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(&format!("{number}_")));
    let path = found.next().unwrap_or_else(|| panic!("no {number}_* in {}", directory.display()));
    fs::read_to_string(path).unwrap()
}

fn response(root: &Path, path: &str) -> String {
    let path = root.join("responses").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("reading {}: {error}", path.display()))
}

/// `{namespace}name`, sorted attributes, text of leaves, in document order.
fn canonical(document: &str) -> String {
    fn walk(node: Node<'_, '_>, depth: usize, out: &mut String) {
        let name = node.tag_name();
        let mut attributes: Vec<_> = node
            .attributes()
            .map(|attribute| {
                format!(
                    "{{{}}}{}={:?}",
                    attribute.namespace().unwrap_or(""),
                    attribute.name(),
                    attribute.value()
                )
            })
            .collect();
        attributes.sort();
        let text: String = match node.has_children() && node.children().any(|child| child.is_element()) {
            true => String::new(),
            false => node.text().unwrap_or("").to_owned(),
        };
        let indent = " ".repeat(depth);
        out.push_str(&format!(
            "{indent}{{{}}}{} [{}] {text:?}\n",
            name.namespace().unwrap_or(""),
            name.name(),
            attributes.join(" ")
        ));
        node.children().filter(Node::is_element).for_each(|child| walk(child, depth + 1, out));
    }
    let mut out = String::new();
    walk(Document::parse(document).unwrap().root_element(), 0, &mut out);
    out
}

#[test]
fn the_requests_we_send_equal_the_golden_ones() {
    let Some(root) = corpus("the_requests_we_send_equal_the_golden_ones") else { return };
    let pull = |resource| Request::pull(resource, "AC070000-0000-0000-0000-000000000000");
    let cases = [
        ("amt", "049", Request::get(amt::GENERAL_SETTINGS)),
        ("amt", "050", Request::enumerate(amt::GENERAL_SETTINGS)),
        ("amt", "051", pull(amt::GENERAL_SETTINGS)),
        ("amt", "052", Request::put(amt::GENERAL_SETTINGS, vec![])),
        ("amt", "115", Request::get(amt::SETUP_AND_CONFIGURATION_SERVICE)),
        ("amt", "116", Request::enumerate(amt::SETUP_AND_CONFIGURATION_SERVICE)),
        ("amt", "118", pull(amt::SETUP_AND_CONFIGURATION_SERVICE)),
        ("amt", "120", amt::unprovision()),
        ("amt", "122", amt::commit_changes()),
        ("ips", "231", pull(ips::HOST_BASED_SETUP_SERVICE)),
        ("ips", "232", Request::enumerate(ips::HOST_BASED_SETUP_SERVICE)),
    ];
    for (group, number, ours) in cases {
        assert_eq!(canonical(&ours.to_xml(0)), canonical(&request(&root, group, number)), "{group}/{number}");
    }
}

/// The golden Setup holds a hash whose password is not known here, so ours is compared with its own hash put in.
#[test]
fn our_setup_equals_the_golden_one_but_for_the_hash() {
    let Some(root) = corpus("our_setup_equals_the_golden_one_but_for_the_hash") else { return };
    let realm = Realm::new("Digest:AA").unwrap();
    let ha1 = Ha1::new("admin", &realm, &Secret::new("P@ssw0rd".to_owned()));
    let golden =
        request(&root, "ips", "233").replace("bebb3497d69b544c732651365cc3462d", ha1.setup_password_hash());
    assert_eq!(canonical(&ips::setup(&ha1).to_xml(0)), canonical(&golden));
    assert!(golden.contains(ha1.setup_password_hash()));
}

/// Every request of the corpus, taken apart by the other parser and put together again by our builder: the dialect is
/// the same for verbs and parameters that no class of ours uses yet.
#[test]
fn our_builder_can_say_every_request_of_the_corpus() {
    let Some(root) = corpus("our_builder_can_say_every_request_of_the_corpus") else { return };
    let mut rebuilt = 0;
    for group in ["amt", "cim", "ips", "common"] {
        let directory = root.join("requests").join(group);
        let files =
            fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        for path in files.map(|entry| entry.unwrap().path()) {
            let golden = fs::read_to_string(&path).unwrap();
            let document = Document::parse(&golden).unwrap();
            assert_eq!(canonical(&rebuild(&document)), canonical(&golden), "{}", path.display());
            rebuilt += 1;
        }
    }
    assert!(rebuilt >= 150, "only {rebuilt} requests in the corpus");
}

fn rebuild(document: &Document<'_>) -> String {
    let root = document.root_element();
    let text = |name: &str| find(root, name).and_then(|node| node.text()).unwrap_or_default();
    let (action, resource, id) = (text("Action"), text("ResourceURI"), text("MessageID").parse().unwrap());
    let body = find(root, "Body").unwrap().first_element_child();
    let params =
        |body: Option<Node<'_, '_>>| body.map(|node| elements(node).map(param).collect()).unwrap_or_default();
    let request = match action.rsplit('/').next().unwrap() {
        _ if action.starts_with(resource) => {
            Request::invoke(resource, action.rsplit('/').next().unwrap(), params(body))
        }
        "Get" => Request::get(resource),
        "Put" => Request::put(resource, params(body)),
        "Create" => Request::create(resource, params(body)),
        "Delete" => Request::delete(resource),
        "Enumerate" => Request::enumerate(resource),
        "Pull" => Request::pull(resource, text("EnumerationContext")),
        other => panic!("unknown action {other}"),
    };
    let header = find(root, "Header").unwrap();
    let set = elements(header).find(|node| node.tag_name().name() == "SelectorSet");
    let request = set
        .map(selectors)
        .unwrap_or_default()
        .into_iter()
        .fold(request, |request, (name, value)| request.selector(name, value));
    request.to_xml(id).to_string()
}

fn param(node: Node<'_, '_>) -> Param<'static> {
    let name = node.tag_name().name().to_owned();
    let address = elements(node).find(|child| child.tag_name().namespace() == Some(ns::ADDRESSING));
    if let Some(address) = address {
        let resource = find(node, "ResourceURI").unwrap().text().unwrap().to_owned();
        let set = find(node, "SelectorSet").map(selectors).unwrap_or_default();
        let selectors = set.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        let address = address.text().unwrap().to_owned().into();
        return Param::reference(name, EndpointReference { address, resource: resource.into(), selectors });
    }
    match elements(node).next() {
        Some(_) => Param::nested(name, elements(node).map(param).collect()),
        None => Param::text(name, node.text().unwrap_or_default().to_owned()),
    }
}

fn selectors(set: Node<'_, '_>) -> Vec<(String, String)> {
    let pair = |node: Node<'_, '_>| {
        (node.attribute("Name").unwrap().to_owned(), node.text().unwrap_or("").to_owned())
    };
    elements(set).map(pair).collect()
}

fn elements<'a, 'input>(node: Node<'a, 'input>) -> impl Iterator<Item = Node<'a, 'input>> {
    node.children().filter(Node::is_element)
}

fn find<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    node.descendants().find(|node| node.tag_name().name() == name)
}

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
}

/// Recorded leaves (by the other parser) against the typed struct written out again (and read by the other parser).
fn instance_survives<C: Class + YaSerialize>(recorded: &str) {
    let envelope = Envelope::read(recorded.as_bytes()).unwrap_or_else(|error| panic!("{}: {error}", C::NAME));
    let body = envelope.body.as_ref().unwrap();
    let items = body.child(ns::ENUMERATION, "Items").map_or(body, |items| &items.children()[0]);
    let typed: C = read_instance(Some(items)).unwrap();
    let written = yaserde::ser::to_string(&typed).unwrap();

    let recorded = Document::parse(recorded.trim_start()).unwrap();
    let instance = recorded.descendants().find(|node| node.has_tag_name((C::RESOURCE, C::NAME))).unwrap();
    let expected = leaves(instance);
    assert!(expected.len() >= 10, "{} has too few leaves to prove anything", C::NAME);
    assert_eq!(leaves(Document::parse(&written).unwrap().root_element()), expected, "{}", C::NAME);
    let ours: Vec<_> = items.leaves().into_iter().map(|(path, text)| (path, text.to_owned())).collect();
    let expected: Vec<_> = expected.into_iter().map(|(_, name, text)| (name, text)).collect();
    assert_eq!(ours, expected, "{}", C::NAME);
}

fn leaves(instance: Node<'_, '_>) -> Vec<(String, String, String)> {
    elements(instance)
        .map(|node| {
            let name = node.tag_name();
            (
                name.namespace().unwrap_or("").to_owned(),
                name.name().to_owned(),
                node.text().unwrap_or("").to_owned(),
            )
        })
        .collect()
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
