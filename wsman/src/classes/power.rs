//! The machine's power as AMT sees it (`reference/amt.md` 5.12). Reading it disturbs nothing.

use yaserde::{YaDeserialize, YaSerialize};

use super::{Class, Reference};

/// Resource URI of CIM_AssociatedPowerManagementService.
pub const ASSOCIATED_POWER_MANAGEMENT_SERVICE: &str =
    "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_AssociatedPowerManagementService";

/// CIM_AssociatedPowerManagementService: the power state, and what can be asked for.
#[derive(Debug, Clone, PartialEq, Eq, YaDeserialize, YaSerialize)]
#[yaserde(rename = "CIM_AssociatedPowerManagementService", prefix = "g", namespaces = {"g" = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_AssociatedPowerManagementService"})]
pub struct AssociatedPowerManagementService {
    /// What may be asked for now; offer nothing else.
    #[yaserde(rename = "AvailableRequestedPowerStates", prefix = "g")]
    pub available_requested_power_states: Vec<u32>,
    /// 2 on, 3 light sleep, 4 deep sleep, 6 off hard, 7 hibernate, 8 off soft.
    #[yaserde(rename = "PowerState", prefix = "g")]
    pub power_state: Option<u32>,
    /// The service.
    #[yaserde(rename = "ServiceProvided", prefix = "g")]
    pub service_provided: Option<Reference>,
    /// The machine.
    #[yaserde(rename = "UserOfService", prefix = "g")]
    pub user_of_service: Option<Reference>,
}

impl Class for AssociatedPowerManagementService {
    const RESOURCE: &'static str = ASSOCIATED_POWER_MANAGEMENT_SERVICE;
    const NAME: &'static str = "CIM_AssociatedPowerManagementService";
    const ARRAYS: &'static [&'static str] = &["AvailableRequestedPowerStates"];
}
