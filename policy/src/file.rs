//! The file form of a policy: the tables and keys of DESIGN section 7, every leaf with its place in the source.

use std::ops::Range;

use time::Date;
use toml::Spanned;

use crate::check::use_amt;
use crate::policy::{Format, Method, Recipient};
use crate::table::{Table, read_table};
use crate::{Action, diagnostic::Findings};

const ACTIONS: [(&str, Action); 3] =
    [("use", Action::Use), ("neutralize", Action::Neutralize), ("ignore", Action::Ignore)];
const MODES: [(&str, &str); 3] = [("ccm", "ccm"), ("acm", "acm"), ("acm-or-ccm", "acm-or-ccm")];
const TLS: [(&str, &str); 2] = [("required", "required"), ("optional", "optional")];
const WIFI_SECURITY: [(&str, &str); 2] = [("wpa2-psk", "wpa2-psk"), ("wpa3-sae", "wpa3-sae")];
const POWER: [(&str, &str); 2] = [("host-on", "host-on"), ("always", "always")];
const CONSENT: [(&str, &str); 3] = [("all", "all"), ("kvm", "kvm"), ("none", "none")];
const SCOPES: [(&str, &str); 2] = [("full", "full"), ("partial", "partial")];
const PLATFORMS: [(&str, &str); 2] = [("intel", "intel"), ("amd", "amd")];
const FORM_FACTORS: [(&str, &str); 7] = [
    ("desktop", "desktop"),
    ("laptop", "laptop"),
    ("server", "server"),
    ("mini-pc", "mini-pc"),
    ("all-in-one", "all-in-one"),
    ("tablet", "tablet"),
    ("other", "other"),
];

pub(crate) type Texts = Spanned<Vec<Spanned<String>>>;

pub(crate) struct File {
    pub(crate) schema: Option<Spanned<i64>>,
    pub(crate) policy: Option<PolicyTable>,
    pub(crate) default_action: Option<Spanned<Action>>,
    pub(crate) rules: Vec<RuleTable>,
    pub(crate) escrow: EscrowTable,
    pub(crate) formats: Option<Spanned<Vec<Format>>>,
}

pub(crate) struct PolicyTable {
    pub(crate) name: Option<Spanned<String>>,
    pub(crate) serial: Option<Spanned<u64>>,
    pub(crate) not_after: Option<Spanned<Date>>,
}

pub(crate) struct RuleTable {
    pub(crate) span: Range<usize>,
    pub(crate) id: Option<Spanned<String>>,
    pub(crate) matching: Option<Spanned<MatchTable>>,
    pub(crate) priority: Option<Spanned<i64>>,
    pub(crate) action: Option<Spanned<Action>>,
    /// `amt`, `dash` and `neutralize` that are there, with their places.
    pub(crate) parts: Vec<(&'static str, Range<usize>)>,
    pub(crate) settings: Vec<Spanned<(&'static str, String)>>,
    pub(crate) neutralize: NeutralizeTable,
}

#[derive(Default)]
pub(crate) struct NeutralizeTable {
    pub(crate) methods: Option<Spanned<Vec<Spanned<Method>>>>,
    pub(crate) read_flash: Option<Spanned<bool>>,
    pub(crate) keep: Option<Texts>,
    pub(crate) accept_boot_guard: Option<Spanned<bool>>,
    pub(crate) result_sha256: Option<Texts>,
    pub(crate) certificate: Option<Spanned<String>>,
    pub(crate) certificate_passphrase: Option<Spanned<String>>,
}

pub(crate) struct MatchTable {
    /// True if the table holds no key at all.
    pub(crate) empty: bool,
    pub(crate) vendor: Option<Texts>,
    pub(crate) product: Option<Texts>,
    pub(crate) sku: Option<Texts>,
    pub(crate) serial: Option<Texts>,
    pub(crate) uuid: Option<Texts>,
    pub(crate) mac: Option<Texts>,
    pub(crate) site: Option<Texts>,
    pub(crate) role: Option<Texts>,
    pub(crate) platform: Option<Spanned<&'static str>>,
    pub(crate) me_version: Option<Spanned<String>>,
    pub(crate) form_factor: Option<Spanned<&'static str>>,
    pub(crate) is_virtual: Option<Spanned<bool>>,
}

#[derive(Default)]
pub(crate) struct EscrowTable {
    pub(crate) recipients: Vec<Spanned<RecipientTable>>,
    pub(crate) accept_unknown_fs: bool,
    pub(crate) allow_single_recipient: bool,
}

pub(crate) struct RecipientTable {
    pub(crate) name: Option<Spanned<String>>,
    pub(crate) key: Option<Spanned<String>>,
    pub(crate) role: Option<Spanned<&'static str>>,
    pub(crate) not_after: Option<Spanned<Date>>,
}

impl File {
    /// Reads all tables; mistakes of form are added to `findings`, and what is well is returned.
    pub(crate) fn read(document: &toml::de::DeTable<'_>, findings: &mut Findings<'_>) -> Self {
        read_table("the policy file", document, 0..0, findings, |file| {
            file.require("schema", "begin the file with `schema = 1`");
            file.require("policy", "add [policy] with `name` and `serial`");
            Self {
                schema: file.integer("schema"),
                policy: file.table("policy", "[policy]", PolicyTable::read).map(Spanned::into_inner),
                default_action: file
                    .table("defaults", "[defaults]", |table| table.word("action", &ACTIONS))
                    .and_then(Spanned::into_inner),
                rules: file
                    .tables("rule", "[[rule]]", RuleTable::read)
                    .into_iter()
                    .map(Spanned::into_inner)
                    .collect(),
                escrow: file
                    .table("escrow", "[escrow]", EscrowTable::read)
                    .map(Spanned::into_inner)
                    .unwrap_or_default(),
                formats: file
                    .table("report", "[report]", |table| words(table, "formats", &Format::WORDS))
                    .and_then(Spanned::into_inner)
                    .map(|formats| {
                        let span = formats.span();
                        let bare = formats.into_inner().into_iter().map(Spanned::into_inner);
                        Spanned::new(span, bare.collect())
                    }),
            }
        })
    }
}

impl PolicyTable {
    fn read(table: &mut Table<'_, '_>) -> Self {
        table.require("name", "give the policy a name, such as `name = \"acme-clients\"`");
        table.require("serial", "number the policy, `serial = 1`, and count up with every change");
        Self { name: table.text("name"), serial: table.natural("serial"), not_after: table.date("not_after") }
    }
}

impl RuleTable {
    fn read(table: &mut Table<'_, '_>) -> Self {
        table.require("id", "give the rule an id, such as `id = \"office\"`");
        table.require("match", "say which machines it is for, such as `match = { role = \"office\" }`");
        table.require("action", "say what happens: `action = \"use\"`, \"neutralize\" or \"ignore\"");
        let mut rule = Self {
            span: table.span(),
            id: table.text("id"),
            matching: table.table("match", "`match`", MatchTable::read),
            priority: table.integer("priority"),
            action: table.word("action", &ACTIONS),
            parts: Vec::new(),
            settings: Vec::new(),
            neutralize: NeutralizeTable::default(),
        };
        let amt = table.table("amt", "`amt`", |amt| {
            let mut settings = Settings::default();
            settings.word("amt.control_mode", amt.word("control_mode", &MODES));
            settings.text("amt.certificate", amt.text("certificate"));
            settings.text("amt.certificate_passphrase", amt.text("certificate_passphrase"));
            settings.flag("amt.take_over", amt.flag("take_over"));
            settings.flag("amt.mebx", amt.flag("mebx"));
            settings.word("amt.tls", amt.word("tls", &TLS));
            settings.text("amt.tls_ca", amt.text("tls_ca"));
            settings.text("amt.tls_ca_url", amt.text("tls_ca_url"));
            settings.text("amt.tls_ca_trust", amt.text("tls_ca_trust"));
            settings.text("amt.tls_ca_credential", amt.text("tls_ca_credential"));
            settings.flag("amt.clock", amt.flag("clock"));
            settings.flag("amt.hostname", amt.flag("hostname"));
            settings.word("amt.consent", amt.word("consent", &CONSENT));
            settings.flag("amt.sol", amt.flag("sol"));
            settings.flag("amt.kvm", amt.flag("kvm"));
            settings.flag("amt.ider", amt.flag("ider"));

            settings.flag("amt.provisioned", amt.flag("provisioned"));
            settings.flag("amt.enable", amt.flag("enable"));
            settings.word("amt.unprovision", amt.word("unprovision", &SCOPES));

            settings.text("amt.wifi_ssid", amt.text("wifi_ssid"));
            settings.word("amt.wifi_security", amt.word("wifi_security", &WIFI_SECURITY));
            settings.text("amt.wifi_passphrase", amt.text("wifi_passphrase"));
            settings.word("amt.power", amt.word("power", &POWER));
            settings.text("amt.mutual_tls_ca", amt.text("mutual_tls_ca"));
            let names = amt.texts("mutual_tls_names");
            use_amt::check_names(names.as_ref(), amt.findings);
            settings.texts("amt.mutual_tls_names", names);
            settings.number("amt.tls_renew_days", amt.natural("tls_renew_days"));
            for (key, name) in NEEDED {
                settings.unread(key, amt.place(name));
            }
            settings.0
        });
        let dash = table.table("dash", "`dash`", |dash| {
            let mut settings = Settings::default();
            settings.flag("dash.take_over", dash.flag("take_over"));
            settings.word("dash.tls", dash.word("tls", &TLS));
            settings.0
        });
        for (name, part) in [("amt", amt), ("dash", dash)] {
            if let Some(part) = part {
                rule.parts.push((name, part.span()));
                rule.settings.extend(part.into_inner());
            }
        }
        if let Some(part) = table.table("neutralize", "`neutralize`", NeutralizeTable::read) {
            rule.parts.push(("neutralize", part.span()));
            rule.neutralize = part.into_inner();
        }
        rule
    }
}

impl NeutralizeTable {
    fn read(table: &mut Table<'_, '_>) -> Self {
        Self {
            methods: words(table, "methods", &Method::WORDS),
            read_flash: table.flag("read_flash"),
            keep: table.texts("keep"),
            accept_boot_guard: table.flag("accept_boot_guard"),
            result_sha256: table.texts("result_sha256"),
            certificate: table.text("certificate"),
            certificate_passphrase: table.text("certificate_passphrase"),
        }
    }
}

impl MatchTable {
    fn read(table: &mut Table<'_, '_>) -> Self {
        Self {
            empty: table.is_empty(),
            vendor: table.texts("vendor"),
            product: table.texts("product"),
            sku: table.texts("sku"),
            serial: table.texts("serial"),
            uuid: table.texts("uuid"),
            mac: table.texts("mac"),
            site: table.texts("site"),
            role: table.texts("role"),
            platform: table.word("platform", &PLATFORMS),
            me_version: table.text("me_version"),
            form_factor: table.word("form_factor", &FORM_FACTORS),
            is_virtual: table.flag("virtual"),
        }
    }
}

impl EscrowTable {
    fn read(table: &mut Table<'_, '_>) -> Self {
        Self {
            recipients: table.tables("recipient", "[[escrow.recipient]]", RecipientTable::read),
            accept_unknown_fs: table.flag("accept_unknown_fs").is_some_and(Spanned::into_inner),
            allow_single_recipient: table.flag("allow_single_recipient").is_some_and(Spanned::into_inner),
        }
    }
}

impl RecipientTable {
    fn read(table: &mut Table<'_, '_>) -> Self {
        table.require("name", "name the recipient, such as `name = \"ops\"`");
        table.require("key", "give its public key, `key = \"age1...\"`");
        table.require("role", "say whose it is: `role = \"ops\"`, \"break-glass\", \"site\" or \"healer\"");
        Self {
            name: table.text("name"),
            key: table.text("key"),
            role: table.word("role", &Recipient::ROLES),
            not_after: table.date("not_after"),
        }
    }
}

/// The values of one table, in the order in which they are asked for.
#[derive(Default)]
struct Settings(Vec<Spanned<(&'static str, String)>>);

impl Settings {
    fn word(&mut self, key: &'static str, word: Option<Spanned<&'static str>>) {
        self.0.extend(word.map(|it| Spanned::new(it.span(), (key, (*it.get_ref()).to_owned()))));
    }

    /// A key that is there with a value that cannot be read, which is reported already: nobody shall be told that it is
    /// missing. The policy is refused, so the empty value goes nowhere.
    fn unread(&mut self, key: &'static str, place: Option<Range<usize>>) {
        let read = self.0.iter().any(|it| it.get_ref().0 == key);
        self.0.extend(place.filter(|_| !read).map(|place| Spanned::new(place, (key, String::new()))));
    }

    fn text(&mut self, key: &'static str, text: Option<Spanned<String>>) {
        self.0.extend(text.map(|it| Spanned::new(it.span(), (key, it.into_inner()))));
    }

    /// A list, as one text; no entry has a comma.
    fn texts(&mut self, key: &'static str, texts: Option<Spanned<Vec<Spanned<String>>>>) {
        self.0.extend(texts.map(|it| {
            let span = it.span();
            let texts: Vec<String> = it.into_inner().into_iter().map(Spanned::into_inner).collect();
            Spanned::new(span, (key, texts.join(", ")))
        }));
    }

    fn number(&mut self, key: &'static str, number: Option<Spanned<u64>>) {
        self.0.extend(number.map(|it| Spanned::new(it.span(), (key, it.get_ref().to_string()))));
    }

    fn flag(&mut self, key: &'static str, flag: Option<Spanned<bool>>) {
        self.0.extend(flag.map(|it| Spanned::new(it.span(), (key, it.get_ref().to_string()))));
    }
}

/// Keys of `amt` that others stand or fall with, and their names in the table.
const NEEDED: [(&str, &str); 4] = [
    ("amt.control_mode", "control_mode"),
    ("amt.provisioned", "provisioned"),
    ("amt.tls", "tls"),
    ("amt.wifi_security", "wifi_security"),
];

/// A list of known words; an empty list and a word said twice are reported here.
fn words<W: Copy + PartialEq>(
    table: &mut Table<'_, '_>,
    key: &'static str,
    known: &[(&'static str, W)],
) -> Option<Spanned<Vec<Spanned<W>>>> {
    let texts = table.texts(key)?;
    let span = texts.span();
    if texts.get_ref().is_empty() {
        let all: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
        table.findings.error(
            span.clone(),
            format!("`{key}` is empty"),
            format!("name some of: {}", all.join(", ")),
        );
    }
    let mut words: Vec<Spanned<W>> = Vec::new();
    for text in texts.into_inner() {
        let Some(word) = table.meaning(key, &text, known) else { continue };
        if words.iter().any(|earlier| earlier.get_ref() == word.get_ref()) {
            table.findings.error(word.span(), format!("`{key}` names this twice"), "remove one of the two");
        }
        words.push(word);
    }
    Some(Spanned::new(span, words))
}
