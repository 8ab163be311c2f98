//! What a management engine answers over MEI: PTHI, MHC, MKHI and UPID. The first byte chooses the command.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oob_fuzz::{bound::within, seeds::plant};
use oob_wsman::pthi::{self, Command};
use oob_wsman::{mhc, mkhi, upid};

fuzz_target!(init: plant("mei_replies"), |data: &[u8]| {
    within(0x1000 + 32 * data.len(), || decode(data));
});

fn decode(data: &[u8]) {
    let Some((choice, reply)) = data.split_first() else { return };
    match choice % 16 {
        0 => {
            drop(pthi::GetCodeVersions.decode(reply).map(|it| (it.amt_major(), it.sku(), it.full_version())))
        }
        1 => drop(pthi::GetControlMode.decode(reply)),
        2 => drop(pthi::GetLanSettings { interface: pthi::LanInterface::Wired }.decode(reply)),
        3 => drop(pthi::GetLocalSystemAccount.decode(reply)),
        4 => drop(pthi::GetPkiSuffix.decode(reply)),
        5 => drop(pthi::GetProvisioningMode.decode(reply)),
        6 => drop(pthi::GetProvisioningState.decode(reply)),
        7 => drop(pthi::GetRemoteAccessStatus.decode(reply)),
        8 => drop(pthi::GetUuid.decode(reply)),
        9 => drop(pthi::EnumerateHashes.decode(reply)),
        10 => drop(pthi::Unprovision.decode(reply)),
        11 => drop(mhc::decode_is_change_to_amt_enabled(reply)),
        12 => drop(mkhi::decode_fw_version(reply)),
        13 => drop(mkhi::Rule::FeaturesEnabled.decode(reply)),
        14 => {
            let leaf = pthi::LeafHash::Sha256([0; 32]);
            drop(pthi::StartConfigurationHBased { leaf }.decode(reply));
        }
        _ => {
            drop(upid::decode_platform_id(reply));
            drop(pthi::StopConfiguration.decode(reply));
        }
    }
}
