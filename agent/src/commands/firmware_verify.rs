//! `oob-agent firmware verify`: the result of [`crate::firmware::verify`] as text or JSON.

use std::fmt::Write;

use oob_policy::{Exit, shown};
use serde_json::json;

use super::{Stop, print, print_json};
use crate::cli::VerifyImage;
use crate::firmware;
use crate::firmware::verify::{Staged, State, Verified, Word};
use crate::log;

pub(super) fn run(arguments: &VerifyImage) -> Result<Exit, Stop> {
    let verified = verify(arguments);
    match verified {
        Ok(verified) => {
            let (exit, reason) = verified.exit();
            if arguments.json {
                print_json(&json!({
                    "schema": "oob-image-verification/1", "exit_code": exit.code(), "reason": reason,
                    "changed": false, "size": verified.size, "sha256": verified.sha256,
                    "checks": verified.checks, "staged": verified.staged,
                }))?;
            } else {
                print(&text(&verified))?;
            }
            if exit != Exit::Satisfied {
                log::problem(&shown(&format!("verifying {}: {}", arguments.file.display(), advice(reason))));
            }
            Ok(exit)
        }
        Err(stop) if arguments.json => {
            log::problem(&stop);
            print_json(&json!({
                "schema": "oob-image-verification/1", "exit_code": stop.exit.code(), "reason": stop.cause,
                "changed": false, "text": stop.text,
            }))?;
            Ok(stop.exit)
        }
        Err(stop) => Err(stop),
    }
}

fn verify(arguments: &VerifyImage) -> Result<Verified, Stop> {
    let bytes = firmware::read(&arguments.file)
        .map_err(|why| Stop::new(Exit::DeviceFailed, "image-unreadable", shown(&why)))?;
    let staged = arguments.staging.as_deref().map(Staged::read).transpose();
    let staged = staged.map_err(|why| Stop::new(Exit::DeviceFailed, "staging-unreadable", shown(&why)))?;
    Ok(Verified::of(&bytes, staged.as_ref()))
}

fn advice(reason: &str) -> &'static str {
    match reason {
        "not-flashed" => {
            "the descriptor and the ME region are the original's: flash.sh was not run, or rolled back"
        }
        "partly-flashed" => {
            "of the descriptor and the ME region one is as staged and one is the original's: run flash.sh again, or \
             rollback.sh"
        }
        "differs" => {
            "the descriptor or the ME region is neither as staged nor the original's: another machine's image, or \
             changed since"
        }
        _ => "what failed is marked above; dump the flash anew, all chips, twice, before you trust this file",
    }
}

fn text(verified: &Verified) -> String {
    let mut text = format!("sha256    {}, {} bytes\n", verified.sha256, verified.size);
    for check in &verified.checks {
        let word = match check.verdict {
            Word::Holds => "holds",
            Word::Fails => "FAILS",
            Word::NotChecked => "unchecked",
        };
        let (what, offset) = (&check.what, check.offset);
        let _ = writeln!(text, "{word:<10}{}", shown(&format!("{what} at {offset:#x}: {}", check.text)));
    }
    let Some(staged) = &verified.staged else { return text };
    for region in &staged.regions {
        let state = match (region.neutralized, region.original) {
            (true, true) => "as staged, and as before".to_owned(),
            (true, false) => "as staged".to_owned(),
            (false, true) => "the original's".to_owned(),
            (false, false) => {
                let at = region.differs_at.unwrap_or(region.offset);
                format!("neither as staged nor as before, first at {at:#x}{}", hint(region.name))
            }
        };
        let _ = writeln!(text, "region    {:<11}{state}", region.name);
    }
    let state = match staged.state {
        State::Neutralized => "as staged",
        State::Original => "the original",
        State::Mixed => "partly as staged",
        State::Other => "neither the original nor as staged",
    };
    let _ = writeln!(text, "staged    descriptor and ME region: {state}");
    text
}

/// Regions that a running machine writes to differ between two dumps of it.
fn hint(region: &str) -> &'static str {
    match region {
        "bios" => "; the firmware keeps its variables there",
        "gbe" | "pdr" | "ec" => "; the machine may write there",
        _ => "",
    }
}
