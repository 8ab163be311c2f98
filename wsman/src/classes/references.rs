//! What a key or a certificate is used for: the associations that must not name it when it is deleted
//! (`reference/amt.md` 5.9 item 10).

use yaserde::{YaDeserialize, YaSerialize};

use super::{Class, Reference};

/// Resource URI of CIM_CredentialContext.
pub const CREDENTIAL_CONTEXT: &str =
    "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_CredentialContext";
/// Resource URI of CIM_ConcreteDependency.
pub const CONCRETE_DEPENDENCY: &str =
    "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ConcreteDependency";

impl CredentialContext {
    /// Whether it names the instance of that class.
    pub fn names(&self, resource: &str, instance: &str) -> bool {
        is(self.element_in_context.as_ref(), resource, instance)
    }
}

impl ConcreteDependency {
    /// What depends on the instance of that class, or what it depends on.
    pub fn beside(&self, resource: &str, instance: &str) -> Option<&Reference> {
        match (&self.antecedent, &self.dependent) {
            (Some(one), other) if is(Some(one), resource, instance) => other.as_ref(),
            (other, Some(one)) if is(Some(one), resource, instance) => other.as_ref(),
            _ => None,
        }
    }
}

fn is(reference: Option<&Reference>, resource: &str, instance: &str) -> bool {
    reference.is_some_and(|it| it.is_of(resource) && it.instance_id() == Some(instance))
}

/// CIM_CredentialContext: which certificate serves what, 802.1x for one.
#[derive(Debug, Clone, PartialEq, Eq, YaDeserialize, YaSerialize)]
#[yaserde(rename = "CIM_CredentialContext", prefix = "g", namespaces = {"g" = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_CredentialContext"})]
pub struct CredentialContext {
    /// The certificate.
    #[yaserde(rename = "ElementInContext", prefix = "g")]
    pub element_in_context: Option<Reference>,
    /// What it serves.
    #[yaserde(rename = "ElementProvidingContext", prefix = "g")]
    pub element_providing_context: Option<Reference>,
}

impl Class for CredentialContext {
    const RESOURCE: &'static str = CREDENTIAL_CONTEXT;
    const NAME: &'static str = "CIM_CredentialContext";
    const ARRAYS: &'static [&'static str] = &[];
}

/// CIM_ConcreteDependency: among others, which certificate is for which key.
#[derive(Debug, Clone, PartialEq, Eq, YaDeserialize, YaSerialize)]
#[yaserde(rename = "CIM_ConcreteDependency", prefix = "g", namespaces = {"g" = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ConcreteDependency"})]
pub struct ConcreteDependency {
    /// What is depended on.
    #[yaserde(rename = "Antecedent", prefix = "g")]
    pub antecedent: Option<Reference>,
    /// What depends on it.
    #[yaserde(rename = "Dependent", prefix = "g")]
    pub dependent: Option<Reference>,
}

impl Class for ConcreteDependency {
    const RESOURCE: &'static str = CONCRETE_DEPENDENCY;
    const NAME: &'static str = "CIM_ConcreteDependency";
    const ARRAYS: &'static [&'static str] = &[];
}
