//! What detection asks an AMT that answers, besides what it is: how open it is. Read only, over the connection that is
//! there, and each question once: none of the answers decides whether AMT is there.

use oob_wsman::pthi::{
    EnumerateHashes, GetEhbcState, GetHash, GetLanSettings, GetPkiSuffix, GetRemoteAccessStatus,
    GetSetupAuditRecord, GetZeroTouchEnabled, LanInterface,
};

use super::amt::Survey;
use crate::detect::amt::Failure;
use crate::detect::amt_posture::Posture;

/// Asks all of it. The order puts last what costs most questions.
pub(super) async fn ask(survey: &mut Survey<'_>) -> Posture {
    Posture {
        pki_suffix: survey.put_once(GetPkiSuffix).await,
        ehbc: survey.put_once(GetEhbcState).await,
        zero_touch: survey.put_once(GetZeroTouchEnabled).await,
        remote_access: survey.put_once(GetRemoteAccessStatus).await,
        wired: survey.put_once(GetLanSettings { interface: LanInterface::Wired }).await,
        wireless: survey.put_once(GetLanSettings { interface: LanInterface::Wireless }).await,
        setup_audit: survey.put_once(GetSetupAuditRecord).await,
        hashes: hashes(survey).await,
    }
}

/// All of them or none: a list with a hole would hide the entry that matters.
async fn hashes(survey: &mut Survey<'_>) -> Result<Vec<oob_wsman::pthi::CertificateHash>, Failure> {
    let handles = survey.put_once(EnumerateHashes).await?;
    let mut hashes = Vec::with_capacity(handles.len());
    for handle in handles {
        hashes.push(survey.put_once(GetHash { handle }).await?);
    }
    Ok(hashes)
}
