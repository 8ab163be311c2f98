//! Redirection: serial over LAN, IDE redirection, KVM, and the consent they need (`reference/amt.md` 5.11).

use yaserde::{YaDeserialize, YaSerialize};

use super::{Class, Editable, Method};
use crate::verbs::Param;

/// Resource URI of AMT_RedirectionService.
pub const REDIRECTION_SERVICE: &str = "http://intel.com/wbem/wscim/1/amt-schema/1/AMT_RedirectionService";
/// Resource URI of CIM_KVMRedirectionSAP.
pub const KVM_REDIRECTION_SAP: &str =
    "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_KVMRedirectionSAP";
/// Resource URI of IPS_OptInService.
pub const OPT_IN_SERVICE: &str = "http://intel.com/wbem/wscim/1/ips-schema/1/IPS_OptInService";

/// What [`RedirectionService`] may let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redirection {
    /// Nothing.
    None,
    /// IDE redirection alone.
    Ider,
    /// Serial over LAN alone.
    Sol,
    /// Both.
    SolAndIder,
}

impl Redirection {
    /// The number in `EnabledState` and `RequestedState`.
    pub fn state(self) -> u32 {
        match self {
            Self::None => 32768,
            Self::Ider => 32769,
            Self::Sol => 32770,
            Self::SolAndIder => 32771,
        }
    }
}

/// Switches serial over LAN and IDE redirection.
pub fn request_redirection<'a>(wanted: Redirection) -> Method<'a, ()> {
    request_state(REDIRECTION_SERVICE, wanted.state())
}

/// Switches KVM.
pub fn request_kvm<'a>(on: bool) -> Method<'a, ()> {
    request_state(KVM_REDIRECTION_SAP, if on { 2 } else { 3 })
}

fn request_state<'a>(resource: &'static str, state: u32) -> Method<'a, ()> {
    Method::repeatable(resource, "RequestStateChange", vec![Param::number("RequestedState", state)])
}

impl KvmRedirectionSap {
    /// Whether KVM is on; firmware says that with two numbers.
    pub fn is_enabled(&self) -> bool {
        matches!(self.enabled_state, Some(2 | 6))
    }
}

/// AMT_RedirectionService: serial over LAN and IDE redirection. Texts are foreign.
#[derive(Debug, Clone, PartialEq, Eq, YaDeserialize, YaSerialize)]
#[yaserde(rename = "AMT_RedirectionService", prefix = "g", namespaces = {"g" = "http://intel.com/wbem/wscim/1/amt-schema/1/AMT_RedirectionService"})]
pub struct RedirectionService {
    /// Who used it.
    #[yaserde(rename = "AccessLog", prefix = "g")]
    pub access_log: Vec<String>,
    /// Constant key.
    #[yaserde(rename = "CreationClassName", prefix = "g")]
    pub creation_class_name: Option<String>,
    /// Constant name.
    #[yaserde(rename = "ElementName", prefix = "g")]
    pub element_name: Option<String>,
    /// One of [`Redirection`]'s numbers.
    #[yaserde(rename = "EnabledState", prefix = "g")]
    pub enabled_state: Option<u32>,
    /// Whether the ports listen.
    #[yaserde(rename = "ListenerEnabled", prefix = "g")]
    pub listener_enabled: Option<bool>,
    /// Constant key.
    #[yaserde(rename = "Name", prefix = "g")]
    pub name: Option<String>,
    /// Constant key.
    #[yaserde(rename = "SystemCreationClassName", prefix = "g")]
    pub system_creation_class_name: Option<String>,
    /// Constant key.
    #[yaserde(rename = "SystemName", prefix = "g")]
    pub system_name: Option<String>,
}

impl Class for RedirectionService {
    const RESOURCE: &'static str = REDIRECTION_SERVICE;
    const NAME: &'static str = "AMT_RedirectionService";
    const ARRAYS: &'static [&'static str] = &["AccessLog"];
}

/// CIM_KVMRedirectionSAP: keyboard, video, mouse. Absent where the SKU has no KVM. Texts are foreign.
#[derive(Debug, Clone, PartialEq, Eq, YaDeserialize, YaSerialize)]
#[yaserde(rename = "CIM_KVMRedirectionSAP", prefix = "g", namespaces = {"g" = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_KVMRedirectionSAP"})]
pub struct KvmRedirectionSap {
    /// Constant key.
    #[yaserde(rename = "CreationClassName", prefix = "g")]
    pub creation_class_name: Option<String>,
    /// Constant name.
    #[yaserde(rename = "ElementName", prefix = "g")]
    pub element_name: Option<String>,
    /// 2 or 6: on; 3: off.
    #[yaserde(rename = "EnabledState", prefix = "g")]
    pub enabled_state: Option<u32>,
    /// 4: RFB.
    #[yaserde(rename = "KVMProtocol", prefix = "g")]
    pub kvm_protocol: Option<u32>,
    /// Constant key.
    #[yaserde(rename = "Name", prefix = "g")]
    pub name: Option<String>,
    /// What was asked last.
    #[yaserde(rename = "RequestedState", prefix = "g")]
    pub requested_state: Option<u32>,
    /// Constant key.
    #[yaserde(rename = "SystemCreationClassName", prefix = "g")]
    pub system_creation_class_name: Option<String>,
    /// Constant key.
    #[yaserde(rename = "SystemName", prefix = "g")]
    pub system_name: Option<String>,
}

impl Class for KvmRedirectionSap {
    const RESOURCE: &'static str = KVM_REDIRECTION_SAP;
    const NAME: &'static str = "CIM_KVMRedirectionSAP";
    const ARRAYS: &'static [&'static str] = &[];
}

/// IPS_OptInService: when a person at the machine must agree. Texts are foreign.
#[derive(Debug, Clone, PartialEq, Eq, YaDeserialize, YaSerialize)]
#[yaserde(rename = "IPS_OptInService", prefix = "g", namespaces = {"g" = "http://intel.com/wbem/wscim/1/ips-schema/1/IPS_OptInService"})]
pub struct OptInService {
    /// 1: `OptInRequired` may be written; not in client control mode.
    #[yaserde(rename = "CanModifyOptInPolicy", prefix = "g")]
    pub can_modify_opt_in_policy: Option<u32>,
    /// Constant key.
    #[yaserde(rename = "CreationClassName", prefix = "g")]
    pub creation_class_name: Option<String>,
    /// Constant name.
    #[yaserde(rename = "ElementName", prefix = "g")]
    pub element_name: Option<String>,
    /// Constant key.
    #[yaserde(rename = "Name", prefix = "g")]
    pub name: Option<String>,
    /// Seconds.
    #[yaserde(rename = "OptInCodeTimeout", prefix = "g")]
    pub opt_in_code_timeout: Option<u32>,
    /// Seconds.
    #[yaserde(rename = "OptInDisplayTimeout", prefix = "g")]
    pub opt_in_display_timeout: Option<u32>,
    /// 0 never, 1 for KVM, 4294967295 for everything.
    #[yaserde(rename = "OptInRequired", prefix = "g")]
    pub opt_in_required: Option<u32>,
    /// 0 not started, 1 requested, 2 displayed, 3 received, 4 in session.
    #[yaserde(rename = "OptInState", prefix = "g")]
    pub opt_in_state: Option<u32>,
    /// Constant key.
    #[yaserde(rename = "SystemCreationClassName", prefix = "g")]
    pub system_creation_class_name: Option<String>,
    /// Constant key.
    #[yaserde(rename = "SystemName", prefix = "g")]
    pub system_name: Option<String>,
}

impl Class for OptInService {
    const RESOURCE: &'static str = OPT_IN_SERVICE;
    const NAME: &'static str = "IPS_OptInService";
    const ARRAYS: &'static [&'static str] = &[];

    fn read_only(_: &Editable<Self>) -> &'static [&'static str] {
        &["CanModifyOptInPolicy", "OptInState"]
    }
}
