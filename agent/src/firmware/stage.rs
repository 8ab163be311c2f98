//! `firmware neutralize`: the staging directory of one image, on any host, with no machine and no org state.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use oob_mecheck::Descriptor;
use oob_mecheck::container::{Container, Kind, identify};
use oob_mecheck::neutralize::{Method, Neutralized, Options, Refusal, neutralize};
use oob_policy::{Exit, Policy, Rule, shown};
use rustix::fs::{CWD, RenameFlags, rename, renameat_with};
use rustix::io::Errno;
use serde_json::{Value, json};

use super::staging::{Binding, Staging, lay_out};
use super::{boot_guard, sha256_hex};
use crate::commands::{Stop, print, print_json, read_policy};
use crate::{cli, log};

/// What an image went through, told at the end.
struct Story {
    skipped: Vec<String>,
    done: Option<Neutralized>,
    /// `report-only` was reached, which ends the ladder.
    report_only: bool,
}

/// Stages, and says so in the form that was asked for. What is refused names the methods that were tried.
pub(crate) fn run(arguments: &cli::Neutralize) -> Result<Exit, Stop> {
    let mut story = Story { skipped: Vec::new(), done: None, report_only: false };
    match stage(arguments, &mut story) {
        Err(stop) if arguments.json => {
            log::problem(&stop);
            print_json(&json!({
                "schema": "oob-neutralize/1", "exit_code": stop.exit.code(), "reason": stop.cause, "changed": false,
                "text": stop.text, "method": null, "skipped": story.skipped, "warnings": [],
                "original_sha256": null, "result_sha256": null, "verdict": null, "out": null,
            }))?;
            Ok(stop.exit)
        }
        ended => ended,
    }
}

fn stage(arguments: &cli::Neutralize, story: &mut Story) -> Result<Exit, Stop> {
    let wanted = Wanted::of(arguments)?;
    let image = read_dump(&arguments.file)?;
    climb(&image, &wanted, story)?;
    let Some(done) = &story.done else {
        let why = story.skipped.join("; ");
        let text = match (story.report_only, why.as_str()) {
            (true, "") => "nothing was staged: `report-only` is the first method".to_owned(),
            (true, why) => format!("nothing was staged: `report-only` was reached; {why}"),
            (false, why) => format!("none of the methods fits this image: {why}"),
        };
        let cause = if story.report_only { "report-only" } else { "no-method-applies" };
        return Err(Stop::new(Exit::Impossible, cause, text));
    };
    if done.changes.is_empty() {
        tell(arguments, Exit::Satisfied, "already-neutralized", false, done, story, None)?;
        return Ok(Exit::Satisfied);
    }
    let binding = Binding {
        policy_sha256: wanted.policy_sha256.clone(),
        machine: None,
        skipped: story.skipped.clone(),
    };
    let staging = lay_out(&image, done, &binding);
    wanted.check_pin(&staging)?;
    let changed = write(&arguments.out, &staging)?;
    tell(arguments, Exit::Pending, "staged", changed, done, story, Some(&staging))?;
    Ok(Exit::Pending)
}

/// A file that has a flash descriptor. Of any other it is said what it is, where that is known.
fn read_dump(file: &Path) -> Result<Vec<u8>, Stop> {
    let refuse = |text: &str| Stop::new(Exit::DeviceFailed, "image-unreadable", shown(text));
    let bytes = super::read(file).map_err(|why| refuse(&why))?;
    let Err(error) = Descriptor::parse(&bytes) else { return Ok(bytes) };
    let Container { kind, offset, what } = identify(&bytes);
    let known = !kind.is_readable() && kind != Kind::BrokenDescriptor;
    let why = if known { format!("at offset {offset:#x}: {what}") } else { error.to_string() };
    Err(refuse(&format!("firmware image {}: {why}", file.display())))
}

/// What is asked for: by flags, by a rule of the policy, or by what people mean by the word.
struct Wanted {
    methods: Vec<oob_policy::Method>,
    keep: Option<Vec<String>>,
    accept_boot_guard: bool,
    pins: Vec<String>,
    policy_sha256: Option<String>,
}

impl Wanted {
    fn of(arguments: &cli::Neutralize) -> Result<Self, Stop> {
        let keep = (!arguments.keep.is_empty()).then(|| arguments.keep.clone());
        let Some(file) = &arguments.policy else {
            let methods = if arguments.method.is_empty() {
                vec![oob_policy::Method::CleanAndSoftDisable, oob_policy::Method::SoftDisable]
            } else {
                arguments
                    .method
                    .iter()
                    .map(|method| match method {
                        cli::ImageMethod::CleanAndSoftDisable => oob_policy::Method::CleanAndSoftDisable,
                        cli::ImageMethod::SoftDisable => oob_policy::Method::SoftDisable,
                    })
                    .collect()
            };
            return Ok(Self {
                methods,
                keep,
                accept_boot_guard: arguments.accept_boot_guard,
                pins: Vec::new(),
                policy_sha256: None,
            });
        };
        let policy = read_policy(file)?;
        let rule = rule(&policy, arguments.rule.as_deref())?;
        Ok(Self {
            methods: rule.methods.clone(),
            keep: keep.or_else(|| rule.neutralize.keep.clone()),
            accept_boot_guard: arguments.accept_boot_guard || rule.neutralize.accept_boot_guard,
            pins: rule.neutralize.result_sha256.clone(),
            policy_sha256: Some(policy.sha256.clone()),
        })
    }

    /// An org that pins results has seen this one before, or wants none.
    fn check_pin(&self, staging: &Staging) -> Result<(), Stop> {
        if self.pins.is_empty() || self.pins.contains(&staging.result_sha256) {
            return Ok(());
        }
        let text = format!(
            "the result is {} and `neutralize.result_sha256` pins {}; nothing was written",
            staging.result_sha256,
            self.pins.join(", ")
        );
        Err(Stop::new(Exit::Impossible, "result-not-pinned", text))
    }
}

/// The rule that is meant: there is no machine here that could choose one.
fn rule<'a>(policy: &'a Policy, id: Option<&str>) -> Result<&'a Rule, Stop> {
    let rules: Vec<&Rule> = policy
        .rules
        .iter()
        .filter(|rule| rule.action == oob_policy::Action::Neutralize && id.is_none_or(|id| rule.id == id))
        .collect();
    match rules.as_slice() {
        [rule] => Ok(rule),
        [] => {
            Err(Stop::new(Exit::Usage, "no-rule", "the policy has no such rule with the action `neutralize`"))
        }
        several => {
            let ids: Vec<&str> = several.iter().map(|rule| rule.id.as_str()).collect();
            let text = format!(
                "the policy has several rules that neutralize: choose one with --rule: {}",
                ids.join(", ")
            );
            Err(Stop::new(Exit::Usage, "which-rule", text))
        }
    }
}

/// Tries the methods in order. One that does not fit is named with its reason; a fault of the image itself ends it all.
fn climb(image: &[u8], wanted: &Wanted, story: &mut Story) -> Result<(), Stop> {
    for asked in &wanted.methods {
        let method = match asked {
            oob_policy::Method::CleanAndSoftDisable => Method::CleanAndSoftDisable,
            oob_policy::Method::SoftDisable => Method::SoftDisable,
            oob_policy::Method::Lockdown => {
                story.skipped.push("lockdown: done to a machine, not to an image".to_owned());
                continue;
            }
            oob_policy::Method::ReportOnly => {
                story.report_only = true;
                return Ok(());
            }
        };
        if method == Method::CleanAndSoftDisable
            && !wanted.accept_boot_guard
            && let Some(manifests) = boot_guard(image)
        {
            story.skipped.push(format!(
                "{}: the image carries {manifests}, and a machine whose fuses enforce it switches itself off when ME \
                 code is missing; --accept-boot-guard or `neutralize.accept_boot_guard = true` permits code removal \
                 where you know better",
                method.word()
            ));
            continue;
        }
        match neutralize(image, &Options { method, keep: wanted.keep.clone() }) {
            Ok(done) => {
                story.done = Some(done);
                return Ok(());
            }
            Err(Refusal::Impossible(why)) => story.skipped.push(format!("{}: {why}", method.word())),
            Err(refusal @ (Refusal::Image(_) | Refusal::Invalid(_))) => {
                return Err(Stop::new(
                    Exit::DeviceFailed,
                    "image-refused",
                    format!("{refusal}; nothing was written"),
                ));
            }
            Err(refusal @ Refusal::Breach(_)) => return Err(Stop::internal(refusal)),
        }
    }
    Ok(())
}

/// Makes the directory whole or not at all: a directory beside it is filled, synced and renamed. True if it is new.
fn write(out: &Path, staging: &Staging) -> Result<bool, Stop> {
    let fail = |doing: &str, error: std::io::Error| {
        Stop::new(
            Exit::EscrowNotDurable,
            "staging-not-written",
            shown(&format!("{doing} {}: {error}; nothing was staged", out.display())),
        )
    };
    if out.symlink_metadata().is_ok() {
        return match staging
            .files
            .iter()
            .all(|(name, bytes)| fs::read(out.join(name)).is_ok_and(|held| held == *bytes))
        {
            true => Ok(false),
            false => Err(Stop::new(
                Exit::EscrowNotDurable,
                "out-exists",
                shown(&format!(
                    "{} is there already and holds something else: name a new directory with --out",
                    out.display()
                )),
            )),
        };
    }
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // A name of its own: a run that was killed may have left one, and process ids come again.
    let mut noise = [0_u8; 8];
    getrandom::fill(&mut noise)
        .map_err(|error| fail("naming a directory beside", std::io::Error::other(error.to_string())))?;
    let scratch = parent.join(format!(".oob-staging-{:016x}", u64::from_le_bytes(noise)));
    fs::DirBuilder::new()
        .mode(0o700)
        .create(&scratch)
        .map_err(|error| fail("making a directory beside", error))?;
    let filled = fill(&scratch, staging).and_then(|()| {
        put(&scratch, out)?;
        fs::File::open(parent)?.sync_all()
    });
    match filled {
        Ok(()) => Ok(true),
        Err(error) => {
            let _ = fs::remove_dir_all(&scratch);
            Err(fail("writing", error))
        }
    }
}

/// Nothing that appeared meanwhile is replaced; where the filesystem cannot promise that, nothing with content is.
fn put(scratch: &Path, out: &Path) -> rustix::io::Result<()> {
    match renameat_with(CWD, scratch, CWD, out, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => rename(scratch, out),
        other => other,
    }
}

fn fill(directory: &Path, staging: &Staging) -> std::io::Result<()> {
    for (name, bytes) in &staging.files {
        let mode = if name.ends_with(".sh") { 0o700 } else { 0o600 };
        let path: PathBuf = directory.join(name);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        std::io::Write::write_all(&mut file, bytes)?;
        file.sync_all()?;
    }
    fs::File::open(directory)?.sync_all()
}

fn tell(
    arguments: &cli::Neutralize,
    exit: Exit,
    reason: &str,
    changed: bool,
    done: &Neutralized,
    story: &Story,
    staging: Option<&Staging>,
) -> Result<(), Stop> {
    let result = json!({
        "schema": "oob-neutralize/1", "exit_code": exit.code(), "reason": reason, "changed": changed,
        "method": done.method, "skipped": story.skipped, "warnings": done.warnings,
        "original_sha256": staging.map_or(Value::Null, |staging| staging.original_sha256.as_str().into()),
        "result_sha256": sha256_hex(&done.image),
        "verdict": if staging.is_some() { "staged" } else { "neutralized-image" },
        "out": staging.map(|_| arguments.out.display().to_string()),
    });
    if arguments.json {
        return print_json(&result);
    }
    let mut text = String::new();
    for skipped in &story.skipped {
        text += &format!("skipped   {}\n", shown(skipped));
    }
    text += &format!("method    {}\n", done.method.word());
    for change in &done.changes {
        text += &format!(
            "change    {:#010x}..{:#010x} {}\n",
            change.offset,
            change.offset + change.length,
            match change.kind {
                oob_mecheck::gates::ChangeKind::Strap => "soft-disable strap",
                oob_mecheck::gates::ChangeKind::Fill => "ME code and data overwritten with FF",
                oob_mecheck::gates::ChangeKind::PartitionTable => "ME partition table",
            }
        );
    }
    for warning in &done.warnings {
        text += &format!("warning   {}: {}\n", warning.id, warning.text);
    }
    text += &match staging {
        Some(staging) => format!(
            "staged    {} ({}). Nothing was flashed: run flash.sh there on that machine, power-cycle, then verify.\n",
            shown(&arguments.out.display().to_string()),
            staging.result_sha256
        ),
        None => "The image is neutralized already: nothing to stage.\n".to_owned(),
    };
    print(&text)
}
