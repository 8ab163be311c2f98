//! What comes back over HTTP: an envelope and the classes in it, or a login challenge.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oob_wsman::classes::{Class, amt, check_return_value, ips, read_instance};
use oob_wsman::digest::Challenge;
use oob_wsman::envelope::Envelope;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = Challenge::parse(text.lines());
    }
    if let Ok(envelope) = Envelope::read(data) {
        let _ = read_instance::<amt::GeneralSettings>(envelope.body.as_ref());
        let _ = read_instance::<amt::SetupAndConfigurationService>(envelope.body.as_ref());
        let _ = read_instance::<ips::HostBasedSetupService>(envelope.body.as_ref());
        let _ = check_return_value(envelope.body.as_ref(), <ips::HostBasedSetupService as Class>::RESOURCE, "Setup");
    }
});
