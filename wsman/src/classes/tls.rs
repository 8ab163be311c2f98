//! TLS: which certificate AMT serves and on which ports (`reference/amt.md` 5.9).

use yaserde::{YaDeserialize, YaSerialize};

use super::{Class, Editable, Reference, certificates::PUBLIC_KEY_CERTIFICATE};
use crate::verbs::{EndpointReference, Param, Request};

/// Resource URI of AMT_TLSCredentialContext.
pub const TLS_CREDENTIAL_CONTEXT: &str =
    "http://intel.com/wbem/wscim/1/amt-schema/1/AMT_TLSCredentialContext";
/// Resource URI of AMT_TLSSettingData.
pub const TLS_SETTING_DATA: &str = "http://intel.com/wbem/wscim/1/amt-schema/1/AMT_TLSSettingData";
/// Resource URI of AMT_TLSProtocolEndpointCollection.
pub const TLS_PROTOCOL_ENDPOINT_COLLECTION: &str =
    "http://intel.com/wbem/wscim/1/amt-schema/1/AMT_TLSProtocolEndpointCollection";
/// `InstanceID` of the settings of the network's ports.
pub const REMOTE: &str = "Intel(r) AMT 802.3 TLS Settings";
/// `InstanceID` of the settings of the local ports.
pub const LOCAL: &str = "Intel(r) AMT LMS TLS Settings";

/// Makes TLS serve a certificate, named as `Intel(r) AMT Certificate: Handle: 1`. A fault "AlreadyExists" means that
/// TLS has one already: then [`put_credential_context`].
pub fn create_credential_context(certificate: &str) -> Request<'_> {
    Request::create(TLS_CREDENTIAL_CONTEXT, credential_context(certificate))
}

/// Makes TLS serve another certificate than before. Without it AMT goes on serving the old one.
pub fn put_credential_context(certificate: &str) -> Request<'_> {
    Request::put(TLS_CREDENTIAL_CONTEXT, credential_context(certificate))
}

impl TlsCredentialContext {
    /// `InstanceID` of the certificate that TLS serves.
    pub fn certificate(&self) -> Option<&str> {
        self.element_in_context.as_ref()?.instance_id()
    }
}

fn credential_context(certificate: &str) -> Vec<Param<'_>> {
    vec![
        Param::reference(
            "ElementInContext",
            EndpointReference::new(PUBLIC_KEY_CERTIFICATE, "InstanceID", certificate),
        ),
        Param::reference(
            "ElementProvidingContext",
            EndpointReference::new(TLS_PROTOCOL_ENDPOINT_COLLECTION, "ElementName", ENDPOINTS),
        ),
    ]
}

/// AMT_TLSCredentialContext: which certificate TLS serves. Texts are foreign.
#[derive(Debug, Clone, PartialEq, Eq, YaDeserialize, YaSerialize)]
#[yaserde(rename = "AMT_TLSCredentialContext", prefix = "g", namespaces = {"g" = "http://intel.com/wbem/wscim/1/amt-schema/1/AMT_TLSCredentialContext"})]
pub struct TlsCredentialContext {
    /// The certificate.
    #[yaserde(rename = "ElementInContext", prefix = "g")]
    pub element_in_context: Option<Reference>,
    /// The TLS endpoints.
    #[yaserde(rename = "ElementProvidingContext", prefix = "g")]
    pub element_providing_context: Option<Reference>,
}

impl Class for TlsCredentialContext {
    const RESOURCE: &'static str = TLS_CREDENTIAL_CONTEXT;
    const NAME: &'static str = "AMT_TLSCredentialContext";
    const ARRAYS: &'static [&'static str] = &[];
}

/// AMT_TLSSettingData: TLS of the network's ports, and of the local ones. Most of it takes effect with CommitChanges.
#[derive(Debug, Clone, PartialEq, Eq, YaDeserialize, YaSerialize)]
#[yaserde(rename = "AMT_TLSSettingData", prefix = "g", namespaces = {"g" = "http://intel.com/wbem/wscim/1/amt-schema/1/AMT_TLSSettingData"})]
pub struct TlsSettingData {
    /// The cleartext ports stay open beside TLS. Locally read-only; from AMT 16.1 on never true for the network.
    #[yaserde(rename = "AcceptNonSecureConnections", prefix = "g")]
    pub accept_non_secure_connections: Option<bool>,
    /// As `InstanceID`.
    #[yaserde(rename = "ElementName", prefix = "g")]
    pub element_name: Option<String>,
    /// TLS is on.
    #[yaserde(rename = "Enabled", prefix = "g")]
    pub enabled: Option<bool>,
    /// [`REMOTE`] or [`LOCAL`].
    #[yaserde(rename = "InstanceID", prefix = "g")]
    pub instance_id: Option<String>,
    /// Clients must show a certificate.
    #[yaserde(rename = "MutualAuthentication", prefix = "g")]
    pub mutual_authentication: Option<bool>,
    /// From AMT 16.1 on, read-only: whether cleartext can be had at all.
    #[yaserde(rename = "NonSecureConnectionsSupported", prefix = "g")]
    pub non_secure_connections_supported: Option<bool>,
    /// Names that client certificates may have.
    #[yaserde(rename = "TrustedCN", prefix = "g")]
    pub trusted_cn: Vec<String>,
}

impl Class for TlsSettingData {
    const RESOURCE: &'static str = TLS_SETTING_DATA;
    const NAME: &'static str = "AMT_TLSSettingData";
    const ARRAYS: &'static [&'static str] = &["TrustedCN"];

    fn read_only(instance: &Editable<Self>) -> &'static [&'static str] {
        match instance.text("InstanceID") {
            Some(LOCAL) => &["NonSecureConnectionsSupported", "AcceptNonSecureConnections"],
            _ => &["NonSecureConnectionsSupported"],
        }
    }
}

/// As every client writes it; answers have a blank before "Instances".
const ENDPOINTS: &str = "TLSProtocolEndpointInstances Collection";
