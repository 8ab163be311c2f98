//! The audit log: who did what to this AMT (`reference/amt.md` 5.14).

use yaserde::{YaDeserialize, YaSerialize};

use super::{Class, Method};
use crate::verbs::Param;

/// Resource URI of AMT_AuditLog.
pub const AUDIT_LOG: &str = "http://intel.com/wbem/wscim/1/amt-schema/1/AMT_AuditLog";

/// One page of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Records {
    /// How many records the log has.
    pub total: u32,
    /// The records of this page as the device gave them, undecoded.
    pub records: Vec<Vec<u8>>,
}

/// Reads a page, beginning with record `start`, counted from 1 (0 is taken for 1).
pub fn read_records<'a>(start: u32) -> Method<'a, Records> {
    let params = vec![Param::number("StartIndex", start.max(1))];
    Method::repeatable(AUDIT_LOG, "ReadRecords", params).reading(|output| {
        Ok(Records { total: output.number("TotalRecordCount")?, records: output.all_base64("EventRecords")? })
    })
}

/// AMT_AuditLog: who did what to this AMT. Texts are foreign.
#[derive(Debug, Clone, PartialEq, Eq, YaDeserialize, YaSerialize)]
#[yaserde(rename = "AMT_AuditLog", prefix = "g", namespaces = {"g" = "http://intel.com/wbem/wscim/1/amt-schema/1/AMT_AuditLog"})]
pub struct AuditLog {
    /// Bits: 0 locked, 1 almost full, 2 full, 3 no key, 4 enabled.
    #[yaserde(rename = "AuditState", prefix = "g")]
    pub audit_state: Option<u32>,
    /// How many there are.
    #[yaserde(rename = "CurrentNumberOfRecords", prefix = "g")]
    pub current_number_of_records: Option<u32>,
    /// Constant name.
    #[yaserde(rename = "ElementName", prefix = "g")]
    pub element_name: Option<String>,
    /// CIM state.
    #[yaserde(rename = "EnabledState", prefix = "g")]
    pub enabled_state: Option<u32>,
    /// How many auditors there may be.
    #[yaserde(rename = "MaxAllowedAuditors", prefix = "g")]
    pub max_allowed_auditors: Option<u32>,
    /// 0: not said.
    #[yaserde(rename = "MaxNumberOfRecords", prefix = "g")]
    pub max_number_of_records: Option<u32>,
    /// Days.
    #[yaserde(rename = "MinDaysToKeep", prefix = "g")]
    pub min_days_to_keep: Option<u32>,
    /// Constant key.
    #[yaserde(rename = "Name", prefix = "g")]
    pub name: Option<String>,
    /// 2 wraps, 7 never overwrites.
    #[yaserde(rename = "OverwritePolicy", prefix = "g")]
    pub overwrite_policy: Option<u32>,
    /// Percent.
    #[yaserde(rename = "PercentageFree", prefix = "g")]
    pub percentage_free: Option<u32>,
    /// CIM state.
    #[yaserde(rename = "RequestedState", prefix = "g")]
    pub requested_state: Option<u32>,
    /// 0 no roll over, 1 roll over, 2 restricted.
    #[yaserde(rename = "StoragePolicy", prefix = "g")]
    pub storage_policy: Option<u32>,
    /// When the last one was written.
    #[yaserde(rename = "TimeOfLastRecord", prefix = "g")]
    pub time_of_last_record: Option<Timestamp>,
}

impl Class for AuditLog {
    const RESOURCE: &'static str = AUDIT_LOG;
    const NAME: &'static str = "AMT_AuditLog";
    const ARRAYS: &'static [&'static str] = &[];
}

/// A CIM datetime.
#[derive(Debug, Clone, PartialEq, Eq, YaDeserialize, YaSerialize)]
#[yaserde(namespaces = {"d" = "http://schemas.dmtf.org/wbem/wscim/1/common"})]
pub struct Timestamp {
    /// RFC 3339 text.
    #[yaserde(rename = "Datetime", prefix = "d")]
    pub datetime: Option<String>,
}
