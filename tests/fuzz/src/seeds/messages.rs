//! What a management engine says: APF, PTHI, MKHI, SOAP.

use oob_wsman::apf::{CLEARTEXT_PORT, Message};
use oob_wsman::classes::{amt, ips};

/// Sessions as an engine leads them, each message behind a byte with its length.
pub(super) fn apf() -> Vec<Vec<u8>> {
    let port = u32::from(CLEARTEXT_PORT);
    let forward = |port| Message::TcpipForward { want_reply: true, address: b"::1".to_vec(), port };
    let start =
        [Message::ServiceRequest { service: b"pfwd@amt.intel.com".to_vec() }, forward(port), forward(623)];
    let answered = [
        Message::OpenConfirmation { recipient: 1, sender: 5, window: 0x400 },
        Message::ChannelData { recipient: 1, data: b"HTTP/1.1 200 OK\r\n".to_vec() },
        Message::WindowAdjust { recipient: 1, bytes: 0x200 },
        Message::ChannelClose { recipient: 1 },
    ];
    let refused = [Message::OpenFailure { recipient: 1, reason: 1 }, Message::Disconnect { reason: 11 }];
    let kept = [
        Message::KeepaliveOptionsRequest { interval: 30, timeout: 90 },
        Message::KeepaliveRequest { cookie: 7 },
        Message::CancelTcpipForward { want_reply: true, address: b"::1".to_vec(), port },
        forward(port),
    ];
    [&answered[..], &refused[..], &kept[..]]
        .iter()
        .map(|rest| start.iter().chain(rest.iter()).flat_map(framed).collect())
        .collect()
}

fn framed(message: &Message) -> Vec<u8> {
    let bytes = message.encode();
    [&[u8::try_from(bytes.len()).expect("a short message")][..], &bytes].concat()
}

/// Replies of every command with status 0 and bodies of small numbers and texts, long enough for the longest.
pub(super) fn mei() -> Vec<Vec<u8>> {
    let codes: [u8; 14] = [0x1a, 0x6b, 0x48, 0x67, 0x36, 0x08, 0x11, 0x46, 0x5c, 0x2c, 0x10, 0, 0, 0x5e];
    let mut seeds = Vec::new();
    for (choice, code) in (0_u8..).zip(codes) {
        for body in [4_usize, 16, 66, 0x120] {
            let mut reply = vec![choice, 1, 1, 0, 0, code, 0, 0x80, 4];
            reply.extend(u32::try_from(body + 4).expect("a short body").to_le_bytes());
            reply.extend([0; 4]);
            reply.extend((0..body).map(|at| if at % 4 == 0 { 4 } else { 0 }));
            seeds.push(reply);
        }
    }
    seeds.push([&[12, 0xff, 0x82, 0, 0][..], &[12, 0, 16, 0, 0x55, 7, 9, 0]].concat());
    seeds
}

/// Instances of the classes that are read, return values, a fault, and login challenges.
pub(super) fn soap() -> Vec<Vec<u8>> {
    let leaf = |name: &str, text: &str| format!("<g:{name}>{text}</g:{name}>");
    let general = [
        leaf("AMTNetworkEnabled", "1"),
        leaf("DDNSUpdateEnabled", "false"),
        leaf("DigestRealm", "Digest:A0"),
        leaf("HostName", "a&amp;b&#x41;"),
        leaf("PrivacyLevel", "0"),
    ];
    let service = [
        leaf("ProvisioningMode", "1"),
        leaf("ProvisioningState", "2"),
        leaf("ZeroTouchConfigurationEnabled", "true"),
    ];
    let setup = [
        leaf("AllowedControlModes", "2"),
        leaf("AllowedControlModes", "1"),
        leaf("CurrentControlMode", "0"),
        leaf("ConfigurationNonce", "AAAA"),
    ];
    let fault = "<a:Fault><a:Code><a:Value>a:Sender</a:Value><a:Subcode><a:Value>b:AccessDenied</a:Value></a:Subcode></a:Code>\
                 <a:Reason><a:Text xml:lang=\"en-US\">no</a:Text></a:Reason><a:Detail><x>1</x></a:Detail></a:Fault>";
    let mut seeds: Vec<String> = [
        (amt::GENERAL_SETTINGS, "AMT_GeneralSettings", general.concat()),
        (amt::SETUP_AND_CONFIGURATION_SERVICE, "AMT_SetupAndConfigurationService", service.concat()),
        (ips::HOST_BASED_SETUP_SERVICE, "IPS_HostBasedSetupService", setup.concat()),
        (ips::HOST_BASED_SETUP_SERVICE, "Setup_OUTPUT", leaf("ReturnValue", "2")),
    ]
    .iter()
    .map(|(resource, name, leaves)| {
        envelope(&format!("<g:{name} xmlns:g=\"{resource}\">{leaves}</g:{name}>"))
    })
    .collect();
    seeds.push(envelope(fault));
    seeds.push(
        "Digest realm=\"Digest:A0\", nonce=\"x\\\"y\", stale=\"false\", qop=\"auth\"\nBasic realm=a".into(),
    );
    seeds.push("Digest realm=\"Digest:A0\",nonce=n,qop=\"auth,auth-int\",algorithm=MD5,opaque=\"\"".into());
    seeds.into_iter().map(String::into_bytes).collect()
}

fn envelope(body: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><a:Envelope xmlns:a=\"http://www.w3.org/2003/05/soap-envelope\" \
         xmlns:b=\"http://schemas.xmlsoap.org/ws/2004/08/addressing\"><a:Header><b:To>x</b:To>\
         <b:RelatesTo>1</b:RelatesTo></a:Header><a:Body>{body}</a:Body></a:Envelope>"
    )
}
