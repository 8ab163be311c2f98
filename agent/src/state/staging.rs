//! Staged firmware images, and where derived pages lie.
//!
//! Images stay in `local/`, which never leaves the machine: a dump holds serial numbers, addresses and keys
//! (reference/org-state.md 4.3). The org learns of them by hash.

use std::path::PathBuf;

use super::StateError;
use super::dir::{DirStore, device, local};
use super::disk::Written;

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
