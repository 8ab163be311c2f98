//! The XML reader and the envelopes: what is accepted, what is refused, and that nothing panics.

#![allow(clippy::unwrap_used)] // a test that cannot go on panics

use oob_wsman::{
    classes::{amt::GeneralSettings, check_return_value, ips::HostBasedSetupService, read_instance},
    envelope::{Envelope, EnvelopeError},
    fault::FaultKind,
    xml::{Element, Limits, XmlError},
};
use proptest::prelude::*;

const HBS: &str = "http://intel.com/wbem/wscim/1/ips-schema/1/IPS_HostBasedSetupService";

/// An envelope in another dialect than the firmware's recordings: default namespace, single quotes.
fn envelope(body: &str) -> String {
    format!(
        "<?xml version='1.0' encoding='UTF-8'?>\n<Envelope xmlns='http://www.w3.org/2003/05/soap-envelope' \
         xmlns:q='http://schemas.xmlsoap.org/ws/2004/08/addressing'><Header><q:RelatesTo> 7 </q:RelatesTo></Header>\
         <Body>{body}</Body></Envelope>"
    )
}

fn read(body: &str) -> Result<Envelope, EnvelopeError> {
    Envelope::read(envelope(body).as_bytes())
}

#[test]
fn names_match_by_namespace_never_by_prefix() {
    let read_modes = |namespace: &str| {
        let body = format!(
            "<a:IPS_HostBasedSetupService xmlns:a='{namespace}' xmlns:x='urn:other'><a:AllowedControlModes>1\
             </a:AllowedControlModes><x:CurrentControlMode>2</x:CurrentControlMode><a:Name>&lt;&#65;&amp;\
             <![CDATA[<b>]]></a:Name></a:IPS_HostBasedSetupService>"
        );
        read_instance::<HostBasedSetupService>(read(&body).ok().unwrap().body.as_ref())
    };
    let service = read_modes(HBS).unwrap();
    assert_eq!(service.allowed_control_modes, [1]);
    assert_eq!(service.current_control_mode, None, "the same name in another namespace is another property");
    assert_eq!(service.name.as_deref(), Some("<A&<b>"));
    assert!(read_modes("urn:wrong").is_err());
    assert_eq!(read("").ok().unwrap().relates_to.as_deref(), Some("7"));
}

#[test]
fn nil_is_no_value_and_twice_is_an_error() {
    let read_settings = |properties: &str| {
        let resource = "http://intel.com/wbem/wscim/1/amt-schema/1/AMT_GeneralSettings";
        let body = format!(
            "<AMT_GeneralSettings xmlns='{resource}' xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance'>{properties}\
             </AMT_GeneralSettings>"
        );
        read_instance::<GeneralSettings>(read(&body).ok().unwrap().body.as_ref())
    };
    let settings = read_settings("<DDNSTTL xsi:nil='true'/><PowerSource>1</PowerSource>").unwrap();
    assert_eq!((settings.ddns_ttl, settings.power_source), (None, Some(1)));
    let twice = read_settings("<PowerSource>1</PowerSource><PowerSource>2</PowerSource>").unwrap_err();
    assert_eq!(twice.to_string(), "reading AMT_GeneralSettings: a property that has one value stands twice");
    let wrong = read_settings("<PowerSource>hunter2</PowerSource>").unwrap_err().to_string();
    assert!(!wrong.contains("hunter2") && wrong.contains("AMT_GeneralSettings"), "{wrong}");
}

/// A namespace is copied for every attribute and written for every element: a long one made a small document take
/// gigabytes. One with a reference or a control character in it would not read back as what it was.
#[test]
fn a_namespace_is_a_short_plain_uri() {
    let long = format!("urn:{}", "x".repeat(253));
    for namespace in [&long, "urn:a&#13;b", "urn:a&amp;b", "urn:a\u{14}b", "urn:a b", "urn:\u{e9}"] {
        for body in [format!("<p:a xmlns:p='{namespace}'/>"), format!("<a xmlns:p='{namespace}' p:b=''/>")] {
            let refused = Element::parse(body.as_bytes()).err();
            assert!(matches!(refused, Some(XmlError::Forbidden { .. })), "{namespace:?}: {refused:?}");
        }
    }
    assert_eq!(
        Element::parse(format!("<a xmlns='{}'/>", &long[..256]).as_bytes()).unwrap().namespace(),
        &long[..256]
    );
}

/// The tokenizer takes any bytes up to a blank for a name; written out again, these would read as something else.
#[test]
fn a_name_is_a_name() {
    for document in [
        "<a<:/>",
        "<a:b:c xmlns:a='urn:a'/>",
        "<a='1'/>",
        "<1/>",
        "<a b<='1'/>",
        "<a &='1'/>",
        "<-a/>",
        "<a;/>",
    ] {
        let refused = Element::parse(document.as_bytes()).err();
        assert!(matches!(refused, Some(XmlError::Malformed { .. })), "{document}: {refused:?}");
    }
    assert_eq!(Element::parse("<_a-1.\u{e9} b-c='1'/>".as_bytes()).unwrap().name(), "_a-1.\u{e9}");
}

#[test]
fn return_values_are_never_assumed() {
    let check = |body: &str| check_return_value(read(body).ok().unwrap().body.as_ref(), HBS, "Setup");
    let output = |inner: &str| format!("<o:Setup_OUTPUT xmlns:o='{HBS}'>{inner}</o:Setup_OUTPUT>");
    assert_eq!(check(&output("<o:ReturnValue>0</o:ReturnValue>")), Ok(Ok(())));
    let refused = check(&output("<o:ReturnValue> 2 </o:ReturnValue>")).unwrap().unwrap_err();
    assert_eq!(
        refused.to_string(),
        "calling IPS_HostBasedSetupService.Setup: return value 2 (invalid state: not in pre-provisioning)"
    );
    for doubtful in [
        String::new(),
        output(""),
        output("<ReturnValue>0</ReturnValue>"),
        output("<o:ReturnValue>zero</o:ReturnValue>"),
        output("<o:ReturnValue>0</o:ReturnValue><o:ReturnValue>1</o:ReturnValue>"),
        format!(
            "<o:AdminSetup_OUTPUT xmlns:o='{HBS}'><o:ReturnValue>0</o:ReturnValue></o:AdminSetup_OUTPUT>"
        ),
        "<Setup_OUTPUT xmlns='urn:x'><ReturnValue>0</ReturnValue></Setup_OUTPUT>".to_owned(),
    ] {
        assert!(check(&doubtful).is_err(), "{doubtful}");
    }
}

#[test]
fn a_fault_comes_before_everything() {
    let fault = "<f:Fault xmlns:f='http://www.w3.org/2003/05/soap-envelope'><f:Code><f:Value>f:Sender</f:Value><f:Subcode>\
                 <f:Value>zz:DestinationUnreachable</f:Value></f:Subcode></f:Code><f:Reason><f:Text xml:lang='en-US'>No \
                 route</f:Text></f:Reason><f:Detail><d>why</d></f:Detail></f:Fault>";
    let Err(EnvelopeError::Fault(fault)) = read(fault) else { panic!("no fault") };
    assert_eq!(fault.kind, FaultKind::DestinationUnreachable);
    assert_eq!((fault.code.as_str(), fault.subcode.as_deref()), ("Sender", Some("DestinationUnreachable")));
    assert_eq!((fault.reason.as_str(), fault.detail.as_str()), ("No route", "why"));
    assert!(matches!(read("<a/><b/>"), Err(EnvelopeError::Shape(_))));
    assert!(matches!(Envelope::read(b"<html/>"), Err(EnvelopeError::Shape(_))));
    assert!(matches!(
        Envelope::read(b"<Envelope xmlns='http://www.w3.org/2003/05/soap-envelope'/>"),
        Err(EnvelopeError::Shape(_))
    ));
}

#[test]
fn attacks_and_excess_are_refused() {
    let forbidden = |document: &str| match Element::parse(document.as_bytes()) {
        Err(XmlError::Forbidden { what, .. }) => what,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("accepted: {document}"),
    };
    assert_eq!(forbidden("<!DOCTYPE a [<!ENTITY e 'x'>]><a>&e;</a>"), "a document type");
    assert_eq!(forbidden("<a>&e;</a>"), "an entity of the document");
    assert_eq!(forbidden("<?php x?><a/>"), "a processing instruction");
    assert_eq!(forbidden("<?xml version='1.0' encoding='UTF-16'?><a/>"), "an encoding other than UTF-8");
    let refused = |document: &str| Element::parse(document.as_bytes()).err();
    assert!(matches!(refused(&"<a>".repeat(65)), Some(XmlError::TooMuch { what: "depth", .. })));
    assert!(Element::parse(format!("{}{}", "<a>".repeat(64), "</a>".repeat(64)).as_bytes()).is_ok());
    let many = format!("<a>{}</a>", "<b/>".repeat(20_000));
    assert!(matches!(refused(&many), Some(XmlError::TooMuch { what: "elements", .. })));
    let wide: String = (0..65).map(|index| format!(" a{index}=''")).collect();
    assert!(matches!(refused(&format!("<a{wide}/>")), Some(XmlError::TooMuch { what: "attributes", .. })));
    let spaces: String = (0..70).map(|index| format!("<b xmlns='urn:{index}'/>")).collect();
    assert!(matches!(
        refused(&format!("<a>{spaces}</a>")),
        Some(XmlError::TooMuch { what: "namespaces", .. })
    ));
    let limits = Limits { bytes: 3, ..Limits::default() };
    assert!(matches!(Element::parse_within(b"<a/>", limits), Err(XmlError::TooMuch { what: "bytes", .. })));
    for malformed in [
        "",
        "<a>",
        "</a>",
        "<a></b>",
        "<a/><b/>",
        "text",
        "<a/>text",
        "<p:a/>",
        "<a p:b=''/>",
        "<a b='' b=''/>",
        "<a>&#27;</a>",
        "<a>\u{1b}</a>",
        "<a b='&#7;'/>",
        "<a>&",
        "<a <b/></a>",
        "<a>&#xD800;</a>",
    ] {
        assert!(refused(malformed).is_some(), "{malformed}");
    }
    assert_eq!(Element::parse(b"<a>\xff</a>").err(), Some(XmlError::Malformed { offset: 3 }));
}

#[test]
fn a_fragment_stands_alone_and_has_the_same_tree() {
    let document = "<r xmlns:p='urn:p' xmlns='urn:d' xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance'>\
                    <p:x><y a='1&quot;' p:b='2'>&lt;t&gt;</y><p:n xsi:nil='1'>5</p:n></p:x></r>";
    let root = Element::parse(document.as_bytes()).ok().unwrap();
    let fragment = root.children()[0].to_fragment();
    assert_eq!(*fragment, "<x xmlns=\"urn:p\"><y xmlns=\"urn:d\" a=\"1&quot;\">&lt;t&gt;</y></x>");
    let again = Element::parse(fragment.as_bytes()).ok().unwrap();
    assert_eq!(again.leaves(), [("y".to_owned(), "<t>")]);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Envelope::read(&bytes);
    }

    /// A good envelope with bytes overwritten, removed and doubled: reached far deeper than by random bytes.
    #[test]
    fn mutated_envelopes_never_panic(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..4), 1..12)
    ) {
        let body = format!(
            "<g:IPS_HostBasedSetupService xmlns:g='{HBS}'><g:AllowedControlModes>1</g:AllowedControlModes><g:Name a='b'>x&amp;y\
             </g:Name><!-- c --><![CDATA[d]]></g:IPS_HostBasedSetupService>"
        );
        let mut bytes = envelope(&body).into_bytes();
        for (index, byte, edit) in edits {
            if bytes.is_empty() {
                break;
            }
            let at = index.index(bytes.len());
            match edit {
                0 => bytes[at] = byte,
                1 => { bytes.remove(at); }
                2 => bytes.insert(at, b"<>&;'\"/:"[usize::from(byte) % 8]),
                _ => bytes.truncate(at.max(1)),
            }
        }
        if let Ok(envelope) = Envelope::read(&bytes) {
            let _ = read_instance::<HostBasedSetupService>(envelope.body.as_ref());
            let _ = check_return_value(envelope.body.as_ref(), HBS, "Setup");
        }
    }
}
