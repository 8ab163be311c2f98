//! `oob-agent firmware`: images as files.

use std::fmt::Write;

use oob_mecheck::clean::{Cleaned, Fate, Options, Piece, Refusal};
use oob_policy::{Exit, shown};
use serde_json::{Value, json};

use super::{Stop, print, print_json};
use crate::cli::{Clean, Firmware, Inspect};
use crate::firmware::clean::{Done, Failure, Request, Written};
use crate::firmware::{self, sha256_hex};
use crate::log;

pub(super) fn run(command: &Firmware, verbose: u8) -> Result<Exit, Stop> {
    match command {
        Firmware::Clean(arguments) => clean(arguments),
        Firmware::Neutralize(arguments) => firmware::stage::run(arguments),
        Firmware::Inspect(arguments) => inspect(arguments, verbose > 0),
        Firmware::Verify(arguments) => super::firmware_verify::run(arguments),
    }
}

fn inspect(arguments: &Inspect, all: bool) -> Result<Exit, Stop> {
    let bytes = firmware::read(&arguments.file).map_err(|why| {
        let stop = Stop::new(Exit::DeviceFailed, "image-unreadable", shown(&why));
        if arguments.json {
            let _ = stop.print_json(None);
        }
        stop
    })?;
    let found = firmware::inspect::inspect(&bytes);
    if arguments.json {
        print_json(&found.json())?;
    } else {
        print(&firmware::inspection_text(&found, all))?;
    }
    if found.exit() != Exit::Satisfied {
        let file = arguments.file.display();
        log::problem(&shown(&format!("inspecting {file}: {}", found.reason())));
    }
    Ok(found.exit())
}

fn clean(arguments: &Clean) -> Result<Exit, Stop> {
    let request = Request {
        file: &arguments.file,
        output: arguments.output.as_deref(),
        descriptor: arguments.extract_descriptor.as_deref(),
        me: arguments.extract_me.as_deref(),
        options: Options {
            soft_disable: arguments.soft_disable,
            soft_disable_only: arguments.soft_disable_only,
            relocate: arguments.relocate,
            truncate: arguments.truncate,
            keep_modules: arguments.keep_modules,
            whitelist: arguments.whitelist.clone(),
            blacklist: arguments.blacklist.clone(),
            lock_descriptor: arguments.descriptor,
            check: arguments.check,
            ..Options::default()
        },
    };
    match firmware::clean::run(&request) {
        Ok(done) => {
            for warning in &done.cleaned.warnings {
                log::problem(warning);
            }
            if arguments.json { print_json(&result(&done)) } else { print(&story(arguments, &done)) }?;
            Ok(Exit::Satisfied)
        }
        Err(failure) => {
            let stop = stop(&failure);
            if !arguments.json {
                return Err(stop);
            }
            log::problem(&stop);
            print_json(&json!({
                "schema": "oob-clean/1", "exit_code": stop.exit.code(), "reason": stop.cause, "changed": false,
                "text": stop.text,
            }))?;
            Ok(stop.exit)
        }
    }
}

fn stop(failure: &Failure) -> Stop {
    let (exit, cause) = match failure {
        Failure::Usage(_) | Failure::Refused { why: Refusal::Usage(_), .. } => (Exit::Usage, "usage"),
        Failure::Unreadable { .. } => (Exit::DeviceFailed, "image-unreadable"),
        Failure::Refused { why, .. } => match why {
            Refusal::Impossible { cause, .. } => (Exit::Impossible, *cause),
            other => (Exit::DeviceFailed, other.cause()),
        },
        Failure::NotWritable { .. } => (Exit::EscrowNotDurable, "output-not-writable"),
        Failure::Torn { .. } => (Exit::EscrowNotDurable, "output-torn"),
    };
    let text = match failure {
        Failure::Refused { why: Refusal::Usage(why), .. } => why.clone(),
        other => other.to_string(),
    };
    Stop::new(exit, cause, shown(&text))
}

/// The result for programs.
fn result(done: &Done) -> Value {
    let cleaned = &done.cleaned;
    let pieces = |fates: &[Fate]| -> Vec<&Piece> {
        let all = cleaned.partitions.iter().chain(&cleaned.modules);
        all.filter(|piece| fates.contains(&piece.fate)).collect()
    };
    let output = |written: &Written| {
        let bytes = match written.what {
            "descriptor" => cleaned.descriptor.as_deref(),
            "me" => cleaned.me.as_deref(),
            _ => Some(cleaned.image.as_slice()),
        };
        let bytes = bytes.unwrap_or_default();
        json!({
            "what": written.what, "path": written.path.display().to_string(), "size": bytes.len(),
            "sha256": sha256_hex(bytes),
        })
    };
    json!({
        "schema": "oob-clean/1",
        "exit_code": Exit::Satisfied.code(),
        "reason": if cleaned.changed { "cleaned" } else { "nothing-to-do" },
        "changed": cleaned.changed,
        "version": cleaned.version,
        "generation": cleaned.generation,
        "full": cleaned.full,
        "removed": pieces(&[Fate::Removed, Fate::Unlisted]),
        "kept": pieces(&[Fate::Kept]),
        "minimum_size": cleaned.minimum_size,
        "straps": cleaned.straps,
        "signatures": cleaned.signatures,
        "warnings": cleaned.warnings,
        "log": cleaned.log,
        "outputs": done.written.iter().map(output).collect::<Vec<_>>(),
    })
}

/// The result for people.
fn story(arguments: &Clean, done: &Done) -> String {
    let cleaned = &done.cleaned;
    let mut text = String::new();
    let what = if cleaned.full { "full flash image" } else { "ME region alone" };
    let version = cleaned.version.as_ref().map_or("no ME firmware".to_owned(), |it| format!("ME {it}"));
    let _ = writeln!(text, "{version}, {}, {what}", cleaned.generation);
    signatures(&mut text, cleaned);
    partitions(&mut text, &cleaned.partitions);
    modules(&mut text, &cleaned.modules);
    for line in &cleaned.log {
        let _ = writeln!(text, "{line}");
    }
    for written in &done.written {
        let _ = writeln!(text, "wrote {} to {}", written.what, written.path.display());
    }
    if !arguments.check && !cleaned.changed {
        text.push_str("nothing to do: the image is as it should be already\n");
    }
    text.lines().fold(String::new(), |all, line| all + &shown(line) + "\n")
}

fn signatures(text: &mut String, cleaned: &Cleaned) {
    for check in &cleaned.signatures {
        let after = match &check.after {
            Some(after) if *after == check.before => String::new(),
            Some(after) => format!("; afterwards {after}"),
            None => "; removed".to_owned(),
        };
        let _ = writeln!(text, "signature of {}: {}, {}{after}", check.partition, check.before, check.key);
    }
}

fn partitions(text: &mut String, pieces: &[Piece]) {
    let width = pieces.iter().map(|piece| piece.name.chars().count()).max().unwrap_or(0);
    for piece in pieces {
        let place = match piece.fate {
            Fate::Unlisted => String::new(),
            _ => format!("  {:#09x}, {} bytes", piece.offset, piece.size),
        };
        let _ = writeln!(text, "partition {:width$}  {}{place}", piece.name, word(piece.fate));
    }
}

/// Real images have dozens of modules, so a line for each fate has to do.
fn modules(text: &mut String, pieces: &[Piece]) {
    for fate in [Fate::Kept, Fate::Removed, Fate::Gone] {
        let names: Vec<&str> =
            pieces.iter().filter(|piece| piece.fate == fate).map(|piece| piece.name.as_str()).collect();
        if !names.is_empty() {
            let _ = writeln!(text, "modules {}: {}", word(fate), names.join(" "));
        }
    }
}

fn word(fate: Fate) -> &'static str {
    match fate {
        Fate::Kept => "kept",
        Fate::Removed => "removed",
        Fate::Gone => "removed earlier",
        Fate::Unlisted => "taken off the list, has no place in flash",
    }
}
