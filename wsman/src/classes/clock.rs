//! AMT's clock (`reference/amt.md` 5.8). It must be right before certificates are added.

use yaserde::{YaDeserialize, YaSerialize};

use super::{Class, Method};
use crate::verbs::Param;

/// Resource URI of AMT_TimeSynchronizationService.
pub const TIME_SYNCHRONIZATION_SERVICE: &str =
    "http://intel.com/wbem/wscim/1/amt-schema/1/AMT_TimeSynchronizationService";

/// Reads the clock: seconds since 1970.
pub fn get_low_accuracy_time_synch<'a>() -> Method<'a, u32> {
    Method::repeatable(TIME_SYNCHRONIZATION_SERVICE, "GetLowAccuracyTimeSynch", Vec::new())
        .reading(|output| output.number("Ta0"))
}

/// Sets the clock. `ta0` is what it said when it was read, `tm1` our time when that answer came, `tm2` our time now;
/// all in seconds since 1970. The device moves its clock by what lies between.
pub fn set_high_accuracy_time_synch<'a>(ta0: u32, tm1: u32, tm2: u32) -> Method<'a, ()> {
    let params = vec![Param::number("Ta0", ta0), Param::number("Tm1", tm1), Param::number("Tm2", tm2)];
    Method::repeatable(TIME_SYNCHRONIZATION_SERVICE, "SetHighAccuracyTimeSynch", params)
}

/// AMT_TimeSynchronizationService: AMT's clock. Texts are foreign.
#[derive(Debug, Clone, PartialEq, Eq, YaDeserialize, YaSerialize)]
#[yaserde(rename = "AMT_TimeSynchronizationService", prefix = "g", namespaces = {"g" = "http://intel.com/wbem/wscim/1/amt-schema/1/AMT_TimeSynchronizationService"})]
pub struct TimeSynchronizationService {
    /// Constant key.
    #[yaserde(rename = "CreationClassName", prefix = "g")]
    pub creation_class_name: Option<String>,
    /// Constant name.
    #[yaserde(rename = "ElementName", prefix = "g")]
    pub element_name: Option<String>,
    /// CIM state.
    #[yaserde(rename = "EnabledState", prefix = "g")]
    pub enabled_state: Option<u32>,
    /// 0 default (on), 1 set on, 2 off: the host may set the clock.
    #[yaserde(rename = "LocalTimeSyncEnabled", prefix = "g")]
    pub local_time_sync_enabled: Option<u32>,
    /// Constant key.
    #[yaserde(rename = "Name", prefix = "g")]
    pub name: Option<String>,
    /// CIM state.
    #[yaserde(rename = "RequestedState", prefix = "g")]
    pub requested_state: Option<u32>,
    /// Constant key.
    #[yaserde(rename = "SystemCreationClassName", prefix = "g")]
    pub system_creation_class_name: Option<String>,
    /// Constant key.
    #[yaserde(rename = "SystemName", prefix = "g")]
    pub system_name: Option<String>,
    /// 0 BIOS clock, 1 set by a management application.
    #[yaserde(rename = "TimeSource", prefix = "g")]
    pub time_source: Option<u32>,
}

impl Class for TimeSynchronizationService {
    const RESOURCE: &'static str = TIME_SYNCHRONIZATION_SERVICE;
    const NAME: &'static str = "AMT_TimeSynchronizationService";
    const ARRAYS: &'static [&'static str] = &[];
}
