//! What refers to a certificate and to a key.

use crate::device::*;
use crate::peer::*;

const CIM: &str = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/";
const ENUMERATION: &str = "http://schemas.xmlsoap.org/ws/2004/09/enumeration";

fn pulled(door: &mut dyn Door, class: &str) -> String {
    let class = format!("{CIM}{class}");
    let mut ask = |verb: &str, body: &str| {
        post(door, "admin", PASSWORD, &envelope(&format!("{ENUMERATION}/{verb}"), &class, body))
    };
    let context =
        leaf(&ask("Enumerate", &format!("<Enumerate xmlns=\"{ENUMERATION}\"/>")), "EnumerationContext");
    let body =
        format!("<Pull xmlns=\"{ENUMERATION}\"><EnumerationContext>{context}</EnumerationContext></Pull>");
    ask("Pull", &body).body
}

#[test]
fn a_certificate_in_use_is_told_by_its_context_and_its_key() {
    let sim = Sim::vpro(&[]);
    activate(&sim, PASSWORD);
    let mut door = Network(sim.port());
    assert!(pulled(&mut door, "CIM_CredentialContext").contains("<g:Items></g:Items>"));
    let (handle, _) = secured_here(&mut door, true);
    let contexts = pulled(&mut door, "CIM_CredentialContext");
    let document = roxmltree::Document::parse(&contexts).unwrap();
    let tls = class("AMT_TLSCredentialContext");
    let mut items =
        document.descendants().filter(|it| it.has_tag_name((tls.as_str(), "AMT_TLSCredentialContext")));
    let item = items.next().unwrap();
    let part = item.children().find(|it| it.has_tag_name((tls.as_str(), "ElementInContext"))).unwrap();
    assert_eq!(
        part.descendants().find(|it| it.tag_name().name() == "Selector").unwrap().text(),
        Some(handle.as_str())
    );
    let dependencies = pulled(&mut door, "CIM_ConcreteDependency");
    let document = roxmltree::Document::parse(&dependencies).unwrap();
    let items = document.descendants().filter(|it| it.tag_name().name() == "CIM_ConcreteDependency");
    let pairs: Vec<Vec<&str>> = items
        .map(|item| {
            item.descendants()
                .filter(|it| it.tag_name().name() == "Selector")
                .filter_map(|it| it.text())
                .collect()
        })
        .collect();
    assert!(pairs.contains(&vec![handle.as_str(), "Intel(r) AMT Key: Handle: 0"]), "{pairs:?}");
    assert_eq!(pairs.len(), 2, "{pairs:?}");
}
