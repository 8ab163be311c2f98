//! What comes back over HTTP: an envelope and the classes in it, or a login challenge.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oob_fuzz::{bound::within, seeds::plant};
use oob_wsman::classes::{Class, amt, check_return_value, ips, read_instance};
use oob_wsman::digest::Challenge;
use oob_wsman::envelope::Envelope;
use oob_wsman::xml::Element;

fuzz_target!(init: plant("soap_reply"), |data: &[u8]| {
    within(0x1_0000 + 128 * data.len(), || {
        if let Ok(text) = std::str::from_utf8(data) {
            let _ = Challenge::parse(text.lines());
        }
        if let Ok(element) = Element::parse(data) {
            let written = element.to_fragment();
            if !written.is_empty() {
                let again = Element::parse(written.as_bytes()).map(|it| it.to_fragment());
                assert_eq!(again.as_deref(), Ok(&*written), "what we write reads back");
            }
        }
        if let Ok(envelope) = Envelope::read(data) {
            let body = envelope.body.as_ref();
            let _ = read_instance::<amt::GeneralSettings>(body);
            let _ = read_instance::<amt::SetupAndConfigurationService>(body);
            let _ = read_instance::<ips::HostBasedSetupService>(body);
            let _ = check_return_value(body, <ips::HostBasedSetupService as Class>::RESOURCE, "Setup");
        }
    });
});
