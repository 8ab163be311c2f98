//! Staged firmware images, and where derived pages lie.
//!
//! Images stay in `local/`, which never leaves the machine: a dump holds serial numbers, addresses and keys
//! (reference/org-state.md 4.3). The org learns of them by hash.

use std::path::PathBuf;

use super::StateError;
use super::dir::{DirStore, device, local};
use super::disk::Written;

/// What describes the other files of a staging directory.
pub const MANIFEST: &str = "manifest.json";
/// A manifest is some kilobytes; with every partition of the largest image some hundred.
const MAX_MANIFEST: u64 = 4 << 20;

impl DirStore {
    /// Adds a file to the staging directory `name` of a device. The same file again is success.
    pub fn put_staged(
        &self,
        device_id: &str,
        name: &str,
        file: &str,
        bytes: &[u8],
    ) -> Result<Written, StateError> {
        let directory = staging(device_id, name)?;
        self.disk().create_dirs(&directory)?;
        self.disk().write_new(&format!("{directory}/{file}"), bytes)
    }

    /// Removes what a run that was killed left half-written there: it may be a part of a dump. Under the device's lock.
    pub fn clean_staged(&self, device_id: &str, name: &str) -> Result<(), StateError> {
        let directory = staging(device_id, name)?;
        // This refuses a link, so that nothing is removed outside of the store.
        self.disk().create_dirs(&directory)?;
        self.disk().clean(&directory)
    }

    /// The manifest that an earlier run staged; none where there is none.
    pub fn staged_manifest(&self, device_id: &str, name: &str) -> Result<Option<Vec<u8>>, StateError> {
        self.disk().read(&format!("{}/{MANIFEST}", staging(device_id, name)?), MAX_MANIFEST)
    }

    /// Where [`DirStore::put_staged`] puts files, as the operator would open it.
    pub fn staged_dir(&self, device_id: &str, name: &str) -> Result<PathBuf, StateError> {
        Ok(self.disk().path(&staging(device_id, name)?))
    }

    /// Where the readings of a flash chip lie while they are compared.
    pub fn readings_dir(&self, device_id: &str) -> Result<PathBuf, StateError> {
        Ok(self.disk().path(&format!("{}/readings", local(device_id)?)))
    }

    /// Where a report lies, as the operator would open it.
    pub fn report_path(&self, device_id: &str, name: &str) -> Result<PathBuf, StateError> {
        Ok(self.disk().path(&format!("{}/reports/{name}", device(device_id)?)))
    }
}

fn staging(device_id: &str, name: &str) -> Result<String, StateError> {
    Ok(format!("{}/staging/{name}", local(device_id)?))
}
