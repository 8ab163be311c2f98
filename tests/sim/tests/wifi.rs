//! Wi-Fi: the port, the service, and profiles whose passphrase never comes back.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what a test calls may fail it")]

mod peer;

use peer::*;

const PASSWORD: &str = "Correct-horse-1";
const PASSPHRASE: &str = "a phrase of nineteen";
const SERVICE: &str = "http://intel.com/wbem/wscim/1/amt-schema/1/AMT_WiFiPortConfigurationService";
const CIM: &str = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/";
const TRANSFER: &str = "http://schemas.xmlsoap.org/ws/2004/09/transfer/";
const ENUMERATION: &str = "http://schemas.xmlsoap.org/ws/2004/09/enumeration";
const WIRELESS_LAN: &str = "01 01 00 00 48 00 00 04 04 00 00 00 01 00 00 00";

struct Admin {
    sim: Sim,
    lme: Lme,
}

impl Admin {
    fn of(profile: &str, more: &[&str]) -> Self {
        let sim = Sim::start(profile, &[&["--time-scale", "0.01"], more].concat());
        activate(&sim, PASSWORD);
        let lme = Lme::open(&sim);
        Self { sim, lme }
    }

    fn ask(&mut self, body: &str) -> Answer {
        post(&mut self.lme, "admin", PASSWORD, body)
    }

    fn get(&mut self, class: &str) -> Answer {
        self.ask(&envelope(GET, class, ""))
    }

    fn invoke(&mut self, class: &str, method: &str, fields: &str) -> Answer {
        self.ask(&invocation(class, method, fields))
    }

    fn add(&mut self, name: &str, priority: u32) -> String {
        let answer = self.invoke(SERVICE, "AddWiFiSettings", &(endpoint() + &profile(name, priority)));
        leaf(&answer, "ReturnValue")
    }

    fn pulled(&mut self) -> String {
        let class = profiles();
        let body = format!("<Enumerate xmlns=\"{ENUMERATION}\"/>");
        let opened = self.ask(&envelope(&format!("{ENUMERATION}/Enumerate"), &class, &body));
        let context = leaf(&opened, "EnumerationContext");
        let body = format!(
            "<Pull xmlns=\"{ENUMERATION}\"><EnumerationContext>{context}</EnumerationContext>\
             <MaxElements>999</MaxElements><MaxCharacters>99999</MaxCharacters></Pull>"
        );
        self.ask(&envelope(&format!("{ENUMERATION}/Pull"), &class, &body)).body
    }

    fn select(&mut self, verb: &str, name: &str) -> Answer {
        let request = envelope(&format!("{TRANSFER}{verb}"), &profiles(), "");
        self.ask(&selecting(&request, "InstanceID", &id(name)))
    }
}

fn profiles() -> String {
    format!("{CIM}CIM_WiFiEndpointSettings")
}

fn id(name: &str) -> String {
    format!("Intel(r) AMT:WiFi Endpoint Settings {name}")
}

fn referring(parameter: &str, class: &str, key: &str, value: &str) -> String {
    format!(
        "<h:{parameter}><a:Address>/wsman</a:Address><a:ReferenceParameters><w:ResourceURI>{CIM}{class}\
         </w:ResourceURI><w:SelectorSet><w:Selector Name=\"{key}\">{value}</w:Selector></w:SelectorSet>\
         </a:ReferenceParameters></h:{parameter}>"
    )
}

fn endpoint() -> String {
    referring("WiFiEndpoint", "CIM_WiFiEndpoint", "Name", "WiFi Endpoint 0")
}

fn profile(name: &str, priority: u32) -> String {
    format!(
        "<h:WiFiEndpointSettingsInput xmlns:q=\"{CIM}CIM_WiFiEndpointSettings\"><q:ElementName>{name}</q:ElementName>\
         <q:InstanceID>{}</q:InstanceID><q:AuthenticationMethod>6</q:AuthenticationMethod>\
         <q:EncryptionMethod>4</q:EncryptionMethod><q:SSID>net-{name}</q:SSID><q:Priority>{priority}</q:Priority>\
         <q:PSKPassPhrase>{PASSPHRASE}</q:PSKPassPhrase></h:WiFiEndpointSettingsInput>",
        id(name)
    )
}

fn refused(answer: &Answer, subcode: &str) {
    assert!(answer.status == 400 && answer.body.contains(&format!(">{subcode}<")), "{subcode}: {answer:?}");
}

#[test]
fn profiles_come_go_and_keep_their_passphrase_to_themselves() {
    let mut admin = Admin::of("vpro-laptop-wifi-amt16", &[]);
    assert_eq!((admin.add("home", 1).as_str(), admin.add("work", 2).as_str()), ("0", "0"));
    assert_eq!((admin.add("home", 3).as_str(), admin.add("other", 2).as_str()), ("2058", "2067"));
    let listed = admin.pulled();
    for wanted in [">net-home<", ">net-work<", "Priority>2<", "AuthenticationMethod>6<", "BSSType>3<"] {
        assert!(listed.contains(wanted), "{wanted} in {listed}");
    }
    let read = admin.select("Get", "work");
    assert_eq!((leaf(&read, "SSID"), leaf(&read, "InstanceID")), ("net-work".into(), id("work")));
    assert!(!listed.contains("PassPhrase") && !read.body.contains("PassPhrase"), "{read:?}");
    // Changed, with all that stays.
    let which = referring("WiFiEndpointSettings", "CIM_WiFiEndpointSettings", "InstanceID", &id("work"));
    let update = |fields: &str| which.clone() + fields;
    let answer = admin.invoke(SERVICE, "UpdateWiFiSettings", &update(&profile("work", 1)));
    assert_eq!(leaf(&answer, "ReturnValue"), "2067");
    let changed = profile("work", 7).replace("net-work", "net-works");
    let answer = admin.invoke(SERVICE, "UpdateWiFiSettings", &update(&changed));
    assert_eq!(leaf(&answer, "ReturnValue"), "0");
    let read = admin.select("Get", "work");
    assert_eq!((leaf(&read, "SSID"), leaf(&read, "Priority")), ("net-works".into(), "7".into()));
    let state = admin.sim.state();
    let stored = &state["settings"]["wifi"]["profiles"]["work"];
    assert_eq!(stored["passphrase_sha256"].as_str(), Some(sha256(PASSPHRASE).as_str()));
    assert_eq!(admin.select("Delete", "work").status, 200);
    refused(&admin.select("Delete", "work"), "e:InvalidSelectors");
    refused(&admin.select("Get", "work"), "e:InvalidSelectors");
    assert!(!admin.pulled().contains("net-works"));
    // Unprovisioned, all is gone.
    assert_eq!(pthi(&admin.sim, UNPROVISION).0, 0);
    let Admin { sim, lme } = admin;
    assert_eq!(sim.state()["settings"]["wifi"]["profiles"], serde_json::json!({}));
    drop(lme);
    for (path, bytes) in sim.end() {
        let found = bytes.windows(PASSPHRASE.len()).any(|window| window == PASSPHRASE.as_bytes());
        assert!(!found, "the passphrase is in {}", path.display());
    }
}

#[test]
fn requests_of_the_wrong_shape_are_refused() {
    let mut admin = Admin::of("vpro-laptop-wifi-amt16", &[]);
    let good = profile("home", 1);
    let elsewhere = endpoint().replace("WiFi Endpoint 0", "WiFi Endpoint 1");
    let table = [
        (endpoint() + &good.replace("xmlns:q=\"http", "xmlns:q=\"https"), "e:SchemaValidationError"),
        (endpoint() + &good.replace("q:SSID", "q:Ssid"), "e:SchemaValidationError"),
        (endpoint() + &good.replace("<q:Priority>1</q:Priority>", ""), "e:SchemaValidationError"),
        (
            endpoint() + &good.replace("<q:Priority>1</q:Priority>", &"<q:Priority>1</q:Priority>".repeat(2)),
            "e:SchemaValidationError",
        ),
        (endpoint() + &good.replace("Priority>1<", "Priority>one<"), "e:SchemaValidationError"),
        (endpoint(), "e:SchemaValidationError"),
        (good.clone(), "e:SchemaValidationError"),
        (good.clone() + &endpoint(), "e:SchemaValidationError"),
        (elsewhere + &good, "e:InvalidSelectors"),
        (endpoint().replace("CIM_WiFiEndpoint<", "CIM_WiFiPort<") + &good, "e:SchemaValidationError"),
    ];
    for (fields, wanted) in table {
        refused(&admin.invoke(SERVICE, "AddWiFiSettings", &fields), wanted);
    }
    let short = good.replace(PASSPHRASE, "short");
    let answer = admin.invoke(SERVICE, "AddWiFiSettings", &(endpoint() + &short));
    assert_eq!(leaf(&answer, "ReturnValue"), "2070");
    assert_eq!(admin.sim.state()["settings"]["wifi"]["profiles"], serde_json::json!({}));
    let account = os_admin(&admin.sim);
    let request = invocation(SERVICE, "AddWiFiSettings", &(endpoint() + &good));
    refused(&post(&mut admin.lme, "$$OsAdmin", &account, &request), "e:AccessDenied");
}

#[test]
fn the_port_and_the_service_are_switched() {
    let mut admin = Admin::of("vpro-laptop-wifi-amt16", &[]);
    let port = format!("{CIM}CIM_WiFiPort");
    assert_eq!(leaf(&admin.get(&port), "EnabledState"), "3");
    for (state, wanted) in [(2, "5"), (32769, "0"), (32770, "5")] {
        let fields = format!("<h:RequestedState>{state}</h:RequestedState>");
        let answer = admin.invoke(&port, "RequestStateChange", &fields);
        assert_eq!(leaf(&answer, "ReturnValue"), wanted, "{state}");
    }
    assert_eq!(leaf(&admin.get(&port), "EnabledState"), "32769");
    let put = |fields: &str| {
        let body = format!(
            "<h:AMT_WiFiPortConfigurationService xmlns:h=\"{SERVICE}\">{fields}</h:AMT_WiFiPortConfigurationService>"
        );
        envelope(&format!("{TRANSFER}Put"), SERVICE, &body)
    };
    let sync = |value: u32| {
        format!("<h:localProfileSynchronizationEnabled>{value}</h:localProfileSynchronizationEnabled>")
    };
    let answer = admin.ask(&put(&sync(3)));
    assert_eq!(leaf(&answer, "localProfileSynchronizationEnabled"), "3");
    refused(&admin.ask(&put(&sync(4))), "e:SchemaValidationError");
    refused(&admin.ask(&put("")), "e:SchemaValidationError");
    refused(&admin.ask(&put(&(sync(1) + "<h:EnabledState>2</h:EnabledState>"))), "e:SchemaValidationError");
    assert_eq!(leaf(&admin.get(SERVICE), "localProfileSynchronizationEnabled"), "3");
}

#[test]
fn a_desktop_has_wi_fi_where_it_has_a_radio() {
    let port = format!("{CIM}CIM_WiFiPort");
    let on = "<h:RequestedState>32769</h:RequestedState>";
    let mut admin = Admin::of("vpro-desktop-amt16", &[]);
    assert_eq!(leaf(&admin.get(&port), "PermanentAddress"), "000000000000");
    assert_eq!(leaf(&admin.invoke(&port, "RequestStateChange", on), "ReturnValue"), "1");
    assert_eq!(admin.add("home", 1), "2066");
    assert_eq!(pthi(&admin.sim, WIRELESS_LAN).1, vec![0; 20]);
    let mut admin = Admin::of("vpro-desktop-amt16", &["--wifi"]);
    let link = |sim: &Sim| pthi(sim, WIRELESS_LAN).1[13];
    assert_eq!((admin.add("home", 1).as_str(), link(&admin.sim)), ("0", 0));
    assert_eq!(leaf(&admin.invoke(&port, "RequestStateChange", on), "ReturnValue"), "0");
    assert_eq!(link(&admin.sim), 1);
    assert_ne!(leaf(&admin.get(&port), "PermanentAddress"), "000000000000");
    let mut admin = Admin::of("ism-desktop-amt14", &["--wifi"]);
    refused(&admin.get(&port), "b:DestinationUnreachable");
}

#[test]
fn faults_strike_the_new_calls_by_name() {
    for (fault, stored) in
        [("return-value:23", false), ("fault", false), ("drop-before", false), ("drop-after", true)]
    {
        let name = "wsman:AMT_WiFiPortConfigurationService.AddWiFiSettings";
        let mut admin = Admin::of("vpro-laptop-wifi-amt16", &["--fault", &format!("{name}={fault}")]);
        let body = invocation(SERVICE, "AddWiFiSettings", &(endpoint() + &profile("home", 1)));
        let challenge = Answer::parse(&admin.lme.exchange(&request(&body, None)));
        let authorization = login("admin", PASSWORD, &challenge.realm(), &challenge.nonce(), 1);
        let _ = admin.lme.exchange(&request(&body, Some(&authorization)));
        let there = admin.sim.state()["settings"]["wifi"]["profiles"].get("home").is_some();
        assert_eq!((there, admin.sim.count(name)), (stored, 1), "{fault}");
    }
}
