//! The account of what the device was asked: counters, and `sim/state.json`, which tests read.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use serde::Serialize;

use crate::amt::Standing;
use crate::wsman::Operation;

/// The counters of one run.
#[derive(Default, Serialize)]
pub struct Ledger {
    counters: BTreeMap<String, u64>,
    mutating: u64,
    /// HTTP requests, whatever became of them.
    pub http_requests: u64,
    /// 401 answers.
    pub http_401: u64,
    /// MEI connects, refused ones included.
    pub mei_connects: u64,
    /// APF channels confirmed.
    pub apf_channels: u64,
    /// TCP connections to an open port.
    pub tcp_connects: u64,
    #[serde(skip)]
    operations: BTreeMap<&'static str, u64>,
    calls: Vec<String>,
}

impl Ledger {
    /// Counts one device call and gives its number over all, from 1.
    pub fn count(&mut self, name: &str, mutating: bool) -> u64 {
        *self.counters.entry(name.to_owned()).or_default() += 1;
        self.mutating += u64::from(mutating);
        self.calls.push(name.to_owned());
        self.calls.len() as u64
    }

    /// Counts a WS-Man operation of a login that was granted, by its kind.
    pub fn count_kind(&mut self, operation: &Operation) {
        let kind = match operation {
            Operation::Method(_) => "Invoke",
            Operation::Get => "Get",
            Operation::Put => "Put",
            Operation::Create => "Create",
            Operation::Delete => "Delete",
            Operation::Enumerate => "Enumerate",
            Operation::Pull => "Pull",
            Operation::Unknown => "unknown",
        };
        *self.operations.entry(kind).or_default() += 1;
    }

    /// How much was asked, by kind: WS-Man operations, HTTP requests and 401s, channels and connections, and MEI
    /// connects by client.
    #[must_use]
    pub fn per_kind(&self) -> BTreeMap<String, u64> {
        let totals = [
            ("HTTP", self.http_requests),
            ("401", self.http_401),
            ("APF", self.apf_channels),
            ("TCP", self.tcp_connects),
            ("mutating", self.mutating),
        ];
        let operations = self.operations.iter().map(|(kind, count)| (*kind, *count));
        let connects = self.counters.iter().filter(|(name, _)| name.starts_with("connect:"));
        let connects = connects.map(|(name, count)| (name.as_str(), *count));
        let all = totals.into_iter().chain(operations).chain(connects);
        all.map(|(kind, count)| (kind.to_owned(), count)).collect()
    }

    /// The same in one line.
    #[must_use]
    pub fn summary(&self) -> String {
        let kinds = self.per_kind().into_iter().map(|(kind, count)| format!(" {kind}={count}"));
        format!("calls{}", kinds.collect::<String>())
    }

    /// Writes `state.json` beside `path` and puts it in its place. The one before is what the next is written over: most of
    /// what a call costs would be new files and their way to the disk. A reader sees a whole state if it takes a shared lock,
    /// since it may have opened the file that is written over next.
    ///
    /// # Errors
    /// When the file cannot be written or put there.
    pub fn save(&self, path: &Path, standing: &Standing) -> io::Result<()> {
        let new = path.with_extension("new");
        let text = serde_json::to_vec_pretty(&State { standing, per_kind: self.per_kind(), ledger: self })?;
        let mut file = File::options().write(true).create(true).truncate(false).open(&new)?;
        file.lock()?;
        file.write_all(&text)?;
        file.set_len(text.len() as u64)?;
        match renameat_with(CWD, &new, CWD, path, RenameFlags::EXCHANGE) {
            Err(Errno::NOENT) => fs::rename(&new, path),
            exchanged => Ok(exchanged?),
        }
    }
}

#[derive(Serialize)]
struct State<'a> {
    #[serde(flatten)]
    standing: &'a Standing,
    per_kind: BTreeMap<String, u64>,
    #[serde(flatten)]
    ledger: &'a Ledger,
}
