//! `oob-agent policy lint` and `explain`, and reading a policy file for every other verb.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use oob_policy::{
    Context, Detection, Diagnostic, DiagnosticLevel, Exit, Policy, PolicyTrust, explain as explain_policy,
};

use serde_json::json;

use super::detect::{look, open_machine};
use super::{Stop, print, print_json};
use crate::state::sha256_hex;

/// No policy that people write is larger; the limit keeps a wrong file name from filling the memory.
const LARGEST: u64 = 1 << 20;

pub(super) fn lint(file: &Path, json: bool) -> Result<Exit, Stop> {
    if json {
        let (source, name) = read_source(file)?;
        let (policy, diagnostics) = Policy::parse(&source, &name, "");
        let exit = if policy.is_some() { Exit::Satisfied } else { Exit::PolicyRefused };
        print_json(&json!({"schema": "oob-lint/1", "exit_code": exit.code(), "diagnostics": diagnostics}))?;
        return Ok(exit);
    }
    let policy = read_policy(file)?;
    let rules = policy.rules.len();
    let plural = if rules == 1 { "" } else { "s" };
    print(&format!("policy {} serial {}: no errors, {rules} rule{plural}\n", policy.name, policy.serial))?;
    Ok(Exit::Satisfied)
}

/// The arguments of `policy explain`.
pub(super) struct Explain {
    pub(super) file: PathBuf,
    pub(super) facts: Option<PathBuf>,
    pub(super) root: PathBuf,
    pub(super) site: Option<String>,
    pub(super) role: Option<String>,
    pub(super) json: bool,
}

pub(super) async fn explain(arguments: &Explain) -> Result<Exit, Stop> {
    super::apply::check_labels(&arguments.site, &arguments.role)?;
    let policy = read_policy(&arguments.file)?;
    let detection = match &arguments.facts {
        Some(file) => read_facts(file)?,
        None => look(&open_machine(&arguments.root)?).await,
    };
    let context = Context {
        root: detection.root,
        site: arguments.site.clone(),
        role: arguments.role.clone(),
        now: 0,
        clock_trusted: false,
        trust: PolicyTrust::Unsigned,
        weak_id: detection.device_id.is_none(),
        escrow_not_durable: None,
        firmware: None,
        flash_unread: None,
        certificate: None,
        tls_ca_unusable: None,
        named: Default::default(),
        known_credential: false,
        rotate: false,
    };
    let explanation = explain_policy(&policy, &detection, &context);
    if arguments.json {
        let mut value = json!(explanation);
        value["schema"] = "oob-explanation/1".into();
        print_json(&value)?;
    } else {
        print(&explanation.text())?;
    }
    Ok(Exit::Satisfied)
}

fn read_facts(file: &Path) -> Result<Detection, Stop> {
    let shown = file.display();
    let wrong = |error: &dyn std::fmt::Display| {
        Stop::new(
            Exit::Usage,
            "facts-unreadable",
            format!("reading facts {shown}: {error}; make them with `detect --json`"),
        )
    };
    let bytes = read_limited(file).map_err(|error| wrong(&error))?;
    let detection: Detection = serde_json::from_slice(&bytes).map_err(|error| wrong(&error))?;
    if detection.schema != Detection::SCHEMA {
        return Err(wrong(&format!("the schema is not {}", Detection::SCHEMA)));
    }
    Ok(detection)
}

/// Reads and checks a policy; every diagnostic goes to stderr at once, and any error ends with exit 3.
pub(crate) fn read_policy(file: &Path) -> Result<Policy, Stop> {
    let (source, shown) = read_source(file)?;
    let (policy, diagnostics) = Policy::parse(&source, &shown, &sha256_hex(source.as_bytes()));
    show(&diagnostics, &source, &shown);
    policy.ok_or_else(|| {
        let errors =
            diagnostics.iter().filter(|diagnostic| diagnostic.severity == DiagnosticLevel::Error).count();
        let plural = if errors == 1 { "error" } else { "errors" };
        Stop::new(
            Exit::PolicyRefused,
            "policy-malformed",
            format!("policy {shown}: {errors} {plural} above; nothing was touched"),
        )
    })
}

/// The text of a policy file, and its name as it is shown.
fn read_source(file: &Path) -> Result<(String, String), Stop> {
    let shown = file.display().to_string();
    let refuse = |cause, text: String| Stop::new(Exit::PolicyRefused, cause, text);
    let bytes = read_limited(file).map_err(|error| {
        refuse("policy-unreadable", format!("reading policy {shown}: {error}; name a policy file"))
    })?;
    let source = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        refuse(
            "policy-malformed",
            format!("reading policy {shown}: not UTF-8 at byte {at}; save it as UTF-8"),
        )
    })?;
    Ok((source, shown))
}

fn show(diagnostics: &[Diagnostic], source: &str, name: &str) {
    if diagnostics.is_empty() {
        return;
    }
    let styled = std::io::stderr().is_terminal() && crate::log::colors_wanted();
    let text = oob_policy::render(diagnostics, source, name, styled);
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn read_limited(file: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    crate::files::open_regular(file)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(std::io::Error::other(format!("larger than {LARGEST} bytes")));
    }
    Ok(bytes)
}
