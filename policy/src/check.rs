//! From the file form to a [`Policy`]: everything that is wrong with the meaning of a file, all at once.

mod neutralize;
pub(crate) mod use_amt;

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::DeTable;

use crate::diagnostic::{Diagnostic, Findings};
use crate::file::{File, MatchTable, RecipientTable, RuleTable, Texts};
use crate::pattern::{Glob, VersionRange};
use crate::policy::{Condition, Format, Key, Policy, Recipient, Rule, Setting, Wanted};
use crate::shown::shown;
use crate::{Action, ambiguity, recipient, secrets};

/// A policy is read by people. What is longer is not a policy.
const MAX_BYTES: usize = 1 << 20;

impl Policy {
    /// Reads and checks a policy file. The policy is there only if no diagnostic is an error; the diagnostics are in
    /// the order of the file and hold no value of it. `sha256_hex` is of the file's bytes.
    pub fn parse(source: &str, file_name: &str, sha256_hex: &str) -> (Option<Self>, Vec<Diagnostic>) {
        let mut findings = Findings::new(source);
        if source.len() > MAX_BYTES {
            let message = format!("{} is longer than {MAX_BYTES} bytes", shown(file_name));
            findings.error(0..0, message, "split the policy by site, or give a policy file");
            return (None, findings.into_sorted());
        }
        let (document, errors) = DeTable::parse_recoverable(source);
        for secret in secrets::find(source, document.get_ref()) {
            findings.error(
                secret.span.clone(),
                format!("{} in a policy: everybody who can read the file has it", secret.what),
                "remove it, consider it known and replace it; a policy may only refer to secrets, as \
                 \"file:PATH\" or \"credential:NAME\"",
            );
        }
        if !errors.is_empty() {
            for error in errors {
                let message = format!("this is not TOML: {}", shown(error.message().trim()));
                findings.error(error.span().unwrap_or(0..0), message, "mend the syntax; see https://toml.io");
            }
            return (None, findings.into_sorted());
        }
        let file = File::read(document.get_ref(), &mut findings);
        let policy = check(file, sha256_hex, &mut findings);
        let refused = findings.any_error();
        (policy.filter(|_| !refused), findings.into_sorted())
    }
}

fn check(file: File, sha256: &str, findings: &mut Findings<'_>) -> Option<Policy> {
    if let Some(schema) = file.schema.filter(|schema| *schema.get_ref() != 1) {
        findings.error(schema.span(), "this agent does not know this schema", "write `schema = 1`");
    }
    let default_action = file.default_action.as_ref().map_or(Action::Ignore, |action| *action.get_ref());
    if let Some(action) =
        file.default_action.as_ref().filter(|action| *action.get_ref() == Action::Neutralize)
    {
        let help = "write a rule that matches these machines, such as `match = { platform = \"intel\" }`, with \
                    `neutralize = { methods = [..] }`";
        findings.error(
            action.span(),
            "the default cannot be `neutralize`: there is no place for its methods",
            help,
        );
    }
    let in_rules = file.rules.iter().filter_map(|rule| rule.action.as_ref());
    let first_use = in_rules
        .chain(&file.default_action)
        .find(|action| *action.get_ref() == Action::Use)
        .map(|action| ("`use`", action.span()));
    let first_lockdown = file.rules.iter().find_map(|rule| rule.neutralize.certificate.as_ref());
    let first = first_use.or(first_lockdown.map(|place| ("`lockdown` with a certificate", place.span())));
    let escrow = file.escrow;
    let recipients = check_recipients(&escrow.recipients, findings);
    if let Some((what, span)) = first {
        check_escrow(&escrow.recipients, escrow.allow_single_recipient, what, span, findings);
    }
    let begins: Vec<usize> = file.rules.iter().map(|rule| rule.span.start).collect();
    let ends = begins.iter().skip(1).copied().chain([usize::MAX]);
    let mut sound = Vec::new();
    let mut rules = Vec::new();
    let mut ids = BTreeMap::new();
    for (table, end) in file.rules.into_iter().zip(ends) {
        let begin = table.span.start;
        let id = table.id.clone();
        if let Some(rule) = check_rule(table, findings) {
            // A rule with a mistake in it may not match what was meant: no second error for the same mistake.
            if let Some(id) = id.as_ref().filter(|_| !findings.any_error_in(begin..end)) {
                sound.push((rule.clone(), id.span()));
            }
            rules.push(rule);
        }
        refuse_twice(&mut ids, id.as_ref(), "rule id", findings);
    }
    ambiguity::refuse(&sound, findings);
    let header = file.policy?;
    if let Some(name) = &header.name {
        check_name(name, "the policy's name", findings);
    }
    Some(Policy {
        name: header.name?.into_inner(),
        serial: header.serial?.into_inner(),
        not_after: header.not_after.map(Spanned::into_inner),
        sha256: sha256.to_owned(),
        default_action,
        rules,
        recipients,
        accept_unknown_fs: escrow.accept_unknown_fs,
        allow_single_recipient: escrow.allow_single_recipient,
        formats: file.formats.map_or_else(|| vec![Format::Json, Format::Html], Spanned::into_inner),
    })
}

fn check_rule(rule: RuleTable, findings: &mut Findings<'_>) -> Option<Rule> {
    if let Some(id) = &rule.id {
        check_name(id, "a rule's id", findings);
    }
    let line = findings.line(rule.span.start);
    let conditions = rule.matching.map(|matching| check_match(matching, findings));
    let action = rule.action?;
    if *action.get_ref() == Action::Neutralize && rule.neutralize.methods.is_none() {
        let help = "add `neutralize = { methods = [\"soft-disable\", \"report-only\"] }`; the first that applies is taken";
        findings.error(action.span(), "the rule asks to neutralize and names no methods", help);
    }
    let (methods, neutralize) = neutralize::check(rule.neutralize, findings);
    for (part, span) in rule.parts {
        let of = if part == "neutralize" { Action::Neutralize } else { Action::Use };
        if of != *action.get_ref() {
            let message =
                format!("`{part}` has no effect: the rule's action is `{}`", action.get_ref().word());
            findings.warning(span, message, format!("remove it, or set `action = \"{}\"`", of.word()));
        }
    }
    use_amt::check(&rule.settings, findings);
    let settings = rule.settings.into_iter().map(|setting| {
        let line = findings.line(setting.span().start);
        let (key, value) = setting.into_inner();
        Setting { key, value, line }
    });
    Some(Rule {
        id: rule.id?.into_inner(),
        line,
        priority: rule.priority.map_or(0, Spanned::into_inner),
        action: action.into_inner(),
        settings: settings.collect(),
        methods,
        neutralize,
        conditions: conditions?,
    })
}

fn check_match(matching: Spanned<MatchTable>, findings: &mut Findings<'_>) -> Vec<Condition> {
    let span = matching.span();
    let table = matching.into_inner();
    if table.empty {
        let help = "name a key, such as `platform = \"intel\"`; what all machines get stands in [defaults]";
        findings.error(span, "an empty match would match every machine", help);
    }
    let mut conditions = Vec::new();
    let mut add = |key: Key, wanted: Option<Wanted>| {
        conditions.extend(wanted.map(|wanted| Condition { key, wanted }));
    };
    let mut globs = |key: Key, texts: Option<Texts>| {
        list(key, texts, findings, |text| {
            let help = "`*` is any text, `?` one character, `[a-z]` one of a set; `\\` before a character takes it literally";
            Glob::parse(text).map_err(|why| (format!("this pattern {why}"), help))
        })
        .map(Wanted::Globs)
    };
    add(Key::Vendor, globs(Key::Vendor, table.vendor));
    add(Key::Product, globs(Key::Product, table.product));
    add(Key::Sku, globs(Key::Sku, table.sku));
    add(Key::Serial, globs(Key::Serial, table.serial));
    add(Key::Uuid, list(Key::Uuid, table.uuid, findings, uuid).map(Wanted::Words));
    add(Key::Mac, list(Key::Mac, table.mac, findings, mac).map(Wanted::Words));
    add(Key::Site, list(Key::Site, table.site, findings, label).map(Wanted::Words));
    add(Key::Role, list(Key::Role, table.role, findings, label).map(Wanted::Words));
    add(Key::Platform, table.platform.map(|it| Wanted::Words(vec![(*it.get_ref()).to_owned()])));
    add(Key::FormFactor, table.form_factor.map(|it| Wanted::Words(vec![(*it.get_ref()).to_owned()])));
    add(Key::Virtual, table.is_virtual.map(|it| Wanted::Truth(it.into_inner())));
    let range = table.me_version.and_then(|text| match VersionRange::parse(text.get_ref()) {
        Ok(range) => Some(Wanted::Version(range)),
        Err(why) => {
            findings.error(text.span(), format!("`me_version` {why}"), "write a range such as \">=11, <12\"");
            None
        }
    });
    add(Key::MeVersion, range);
    conditions
}

/// The values of one key of a match; a wrong one is reported, and a list without any as well.
fn list<T>(
    key: Key,
    texts: Option<Texts>,
    findings: &mut Findings<'_>,
    read: impl Fn(&str) -> Result<T, (String, &'static str)>,
) -> Option<Vec<T>> {
    let texts = texts?;
    if texts.get_ref().is_empty() {
        let message = format!("`{}` is an empty list, which no machine matches", key.word());
        findings.error(texts.span(), message, "name a value, or remove the key");
    }
    let mut values = Vec::new();
    for text in texts.get_ref() {
        match read(text.get_ref()) {
            Ok(value) => values.push(value),
            Err((message, help)) => {
                findings.error(text.span(), format!("`{}`: {message}", key.word()), help);
            }
        }
    }
    Some(values)
}

fn uuid(text: &str) -> Result<String, (String, &'static str)> {
    let help = "write it as `dmidecode -s system-uuid` does: 8-4-4-4-12 hex digits";
    let lower = text.trim().to_ascii_lowercase();
    let groups: Vec<&str> = lower.split('-').collect();
    let hex = |group: &&str| group.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12]) || !groups.iter().all(hex) {
        return Err(("this is no UUID".to_owned(), help));
    }
    let digits: String = groups.concat();
    let blank = |digit: char| digits.chars().all(|other| other == digit);
    if blank('0') || blank('f') || lower == "03000200-0400-0500-0006-000700080009" {
        let help = "this is a placeholder that many machines share; match by serial or mac";
        return Err(("this UUID identifies no machine".to_owned(), help));
    }
    Ok(lower)
}

fn mac(text: &str) -> Result<String, (String, &'static str)> {
    let lower = text.trim().to_ascii_lowercase().replace('-', ":");
    let groups: Vec<&str> = lower.split(':').collect();
    let pair = |group: &&str| group.len() == 2 && group.bytes().all(|byte| byte.is_ascii_hexdigit());
    if groups.len() == 6 && groups.iter().all(pair) {
        return Ok(lower);
    }
    Err(("this is no MAC address".to_owned(), "write six pairs of hex digits, such as 00:1b:21:aa:bb:cc"))
}

fn label(text: &str) -> Result<String, (String, &'static str)> {
    if is_name(text) {
        return Ok(text.to_owned());
    }
    Err(("this is no name".to_owned(), "use up to 64 letters, digits, dots, dashes and underscores"))
}

fn check_recipients(tables: &[Spanned<RecipientTable>], findings: &mut Findings<'_>) -> Vec<Recipient> {
    let mut names = BTreeMap::new();
    let mut keys = BTreeMap::new();
    let mut recipients = Vec::new();
    for table in tables {
        let table = table.get_ref();
        refuse_twice(&mut names, table.name.as_ref(), "recipient name", findings);
        if let Some(name) = &table.name {
            check_name(name, "a recipient's name", findings);
        }
        if let Some(key) = &table.key {
            match recipient::fault(key.get_ref()) {
                Some(_) if secrets::holds_marker(key.get_ref()) => {} // reported as a secret
                Some(fault) => {
                    let help = "`age-keygen` prints the public key; this build seals to age keys only";
                    let public = ["age1", "ssh-"].iter().any(|prefix| key.get_ref().starts_with(prefix));
                    findings.error(key.span(), fault, help).hide =
                        if public { Vec::new() } else { vec![key.span()] };
                }
                None => {
                    // Whoever holds the key counts once, whatever comment it carries.
                    let bare = key.get_ref().split(' ').take(2).collect::<Vec<_>>().join(" ");
                    let bare = Spanned::new(key.span(), bare);
                    refuse_twice(&mut keys, Some(&bare), "recipient key", findings);
                }
            }
        }
        if let (Some(name), Some(key), Some(role)) = (&table.name, &table.key, &table.role) {
            recipients.push(Recipient {
                name: name.get_ref().clone(),
                key: key.get_ref().clone(),
                role: role.get_ref(),
                not_after: table.not_after.as_ref().map(|date| *date.get_ref()),
            });
        }
    }
    recipients
}

/// A credential that one person alone can open is lost with that person (reference/org-state.md 3.3).
fn check_escrow(
    tables: &[Spanned<RecipientTable>],
    allow_single: bool,
    what: &str,
    span: Range<usize>,
    findings: &mut Findings<'_>,
) {
    let mut roles: Vec<&str> =
        tables.iter().filter_map(|it| it.get_ref().role.as_ref()).map(|it| *it.get_ref()).collect();
    roles.sort_unstable();
    roles.dedup();
    let help = "add [[escrow.recipient]] tables with different roles, such as \"ops\" and \"break-glass\"";
    if tables.is_empty() {
        let message = format!("{what} makes credentials, and there is no recipient to seal them to");
        findings.error(span, message, help);
    } else if (tables.len() < 2 || roles.len() < 2) && !allow_single {
        let help = format!("{help}, or set `allow_single_recipient = true` under [escrow]");
        findings.error(span, format!("{what} wants at least two escrow recipients of different roles"), help);
    }
}

fn check_name(name: &Spanned<String>, what: &str, findings: &mut Findings<'_>) {
    if !is_name(name.get_ref()) {
        let help = "use up to 64 letters, digits, dots, dashes and underscores: it stands in file names, events and pages";
        findings.error(
            name.span(),
            format!("{what} has characters it must not have, or a wrong length"),
            help,
        );
    }
}

/// Whether `text` can stand as an id, a name, a site or a role: up to 64 letters, digits, dots, dashes and underscores.
pub fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
}

fn refuse_twice(
    seen: &mut BTreeMap<String, Range<usize>>,
    text: Option<&Spanned<String>>,
    what: &str,
    findings: &mut Findings<'_>,
) {
    let Some(text) = text else { return };
    match seen.get(text.get_ref()) {
        Some(first) => {
            let also = findings.also(first.clone(), "first here");
            let message = format!("this {what} is used twice, first on line {}", also.line);
            findings.error(text.span(), message, format!("make each {what} its own")).also = Some(also);
        }
        None => {
            seen.insert(text.get_ref().clone(), text.span());
        }
    }
}
