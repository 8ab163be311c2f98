//! The facts as a table for people: what `detect` prints.

use oob_policy::{Detection, Fact};

use super::text::{DIM, RESET, YELLOW};
use super::words;

/// Columns name, value, source and confidence; the reason of a fact stands below it. The text holds colors, to be
/// printed through `anstream`, which takes them out where they do not belong.
pub fn facts_table(detection: &Detection) -> String {
    let mut table = String::new();
    if let Some((kind, _)) = words::root(detection.root) {
        table.push_str(&format!("{YELLOW}{kind}{RESET}\n"));
    }
    let id = detection.device_id.as_deref().map_or_else(|| "none".to_owned(), words::shown);
    table.push_str(&format!("device id  {id}\n\n"));
    let rows: Vec<Row> = detection.facts.iter().map(Row::of).collect();
    let width = |column: fn(&Row) -> &str, most: usize| {
        rows.iter().map(|row| column(row).chars().count()).max().unwrap_or(0).min(most)
    };
    let (name, value, source) = (width(|r| &r.name, 40), width(|r| &r.value, 44), width(|r| &r.source, 44));
    for row in &rows {
        let (on, off) = if row.unknown { (DIM, RESET) } else { ("", "") };
        let line = format!(
            "{on}{:name$}  {:value$}  {:source$}  {}{off}",
            row.name, row.value, row.source, row.confidence
        );
        table.push_str(&line);
        table.push('\n');
        if let Some(reason) = &row.reason {
            table.push_str(&format!("{:name$}  {DIM}{reason}{RESET}\n", ""));
        }
    }
    table
}

struct Row {
    name: String,
    value: String,
    source: String,
    confidence: &'static str,
    reason: Option<String>,
    unknown: bool,
}

impl Row {
    fn of(fact: &Fact) -> Self {
        Self {
            name: words::shown(&fact.name),
            value: words::value(&fact.value),
            source: words::shown(&fact.source),
            confidence: words::confidence(fact.confidence),
            reason: fact.reason.as_deref().map(words::shown),
            unknown: words::is_unknown(fact),
        }
    }
}
