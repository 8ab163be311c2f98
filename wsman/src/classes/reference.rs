//! References to instances, as methods return them and associations hold them.

use yaserde::{YaDeserialize, YaSerialize};

use crate::{
    verbs::EndpointReference,
    xml::{Element, ns},
};

/// An endpoint reference. Texts are foreign.
#[derive(Debug, Clone, PartialEq, Eq, YaDeserialize, YaSerialize)]
#[yaserde(namespaces = {"a" = "http://schemas.xmlsoap.org/ws/2004/08/addressing"})]
pub struct Reference {
    /// The address; it says nothing, firmware writes the anonymous role.
    #[yaserde(rename = "Address", prefix = "a")]
    pub address: Option<String>,
    /// What is referred to.
    #[yaserde(rename = "ReferenceParameters", prefix = "a")]
    pub parameters: ReferenceParameters,
}

/// Class and keys of a [`Reference`].
#[derive(Debug, Clone, Default, PartialEq, Eq, YaDeserialize, YaSerialize)]
#[yaserde(namespaces = {"w" = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"})]
pub struct ReferenceParameters {
    /// Resource URI of the class.
    #[yaserde(rename = "ResourceURI", prefix = "w")]
    pub resource: Option<String>,
    /// The keys.
    #[yaserde(rename = "SelectorSet", prefix = "w")]
    pub selectors: SelectorSet,
}

/// Keys of a [`Reference`].
#[derive(Debug, Clone, Default, PartialEq, Eq, YaDeserialize, YaSerialize)]
#[yaserde(namespaces = {"w" = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"})]
pub struct SelectorSet {
    /// One by one.
    #[yaserde(rename = "Selector", prefix = "w")]
    pub selectors: Vec<Selector>,
}

/// One key of a [`Reference`].
#[derive(Debug, Clone, Default, PartialEq, Eq, YaDeserialize, YaSerialize)]
pub struct Selector {
    /// Its name.
    #[yaserde(rename = "Name", attribute = true)]
    pub name: String,
    /// Its value.
    #[yaserde(text = true)]
    pub value: String,
}

impl Reference {
    /// Reads the element that holds a reference, whatever its name; `None` if it holds something else.
    pub(super) fn read(element: &Element) -> Option<Self> {
        let text = |of: &Element| of.text().trim().to_owned();
        let parameters = element.child(ns::ADDRESSING, "ReferenceParameters")?;
        let set = parameters.child(ns::WSMAN, "SelectorSet").map(Element::children).unwrap_or_default();
        let selectors = set
            .iter()
            .filter(|key| key.is(ns::WSMAN, "Selector"))
            .map(|key| Some(Selector { name: key.attribute("Name")?.to_owned(), value: text(key) }));
        Some(Self {
            address: element.child(ns::ADDRESSING, "Address").map(text),
            parameters: ReferenceParameters {
                resource: parameters.child(ns::WSMAN, "ResourceURI").map(text),
                selectors: SelectorSet { selectors: selectors.collect::<Option<_>>()? },
            },
        })
    }

    /// The value of a key.
    pub fn selector(&self, name: &str) -> Option<&str> {
        let found = self.parameters.selectors.selectors.iter().find(|selector| selector.name == name);
        found.map(|selector| selector.value.as_str())
    }

    /// The key `InstanceID`, as `Intel(r) AMT Certificate: Handle: 1`.
    pub fn instance_id(&self) -> Option<&str> {
        self.selector("InstanceID")
    }

    /// Whether it refers to that class.
    pub fn is_of(&self, resource: &str) -> bool {
        self.parameters.resource.as_deref() == Some(resource)
    }

    /// The same reference for a request.
    pub fn to_endpoint(&self) -> EndpointReference<'_> {
        let selectors = self.parameters.selectors.selectors.iter();
        EndpointReference {
            address: "/wsman".into(),
            resource: self.parameters.resource.as_deref().unwrap_or_default().into(),
            selectors: selectors.map(|key| (key.name.as_str().into(), key.value.as_str().into())).collect(),
        }
    }
}
