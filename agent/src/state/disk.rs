//! The durable write: a file is there whole, under a name that never changes its bytes, or it is not there.
//!
//! Order of every write, each step a crash point of [`crate::probe`]: temporary file in the same directory, write,
//! fsync, rename that does not replace, fsync of the directory. A failed fsync is never tried again: the kernel may
//! have thrown the dirty pages away, and a second fsync would then succeed without them.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, linkat, mkdir, open, renameat_with, unlink};
use rustix::io::Errno;

use super::StateError;
use crate::probe;

/// A directory tree that is written durably. All paths are relative to its root, with `/` between parts.
pub struct Disk {
    root: PathBuf,
    /// Directories whose entry in their parent this process has fsynced.
    settled: Mutex<BTreeSet<PathBuf>>,
}

/// What a write found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    New,
    /// The same name with the same bytes was there before: success.
    AlreadyThere,
}

/// One name in a directory, as it stands: links are not followed.
#[derive(Debug)]
pub struct Entry {
    pub name: OsString,
    pub is_file: bool,
    pub is_dir: bool,
}

impl Disk {
    /// Does no I/O.
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_owned(), settled: Mutex::default() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// Writes a new file durably, and its directories where they are missing.
    ///
    /// # Errors
    /// [`StateError::Corrupt`] where the name exists with other bytes; else what the kernel said, with nothing left
    /// under the name.
    pub fn write_new(&self, relative: &str, bytes: &[u8]) -> Result<Written, StateError> {
        let target = self.path(relative);
        let (directory, _) = relative.rsplit_once('/').unwrap_or(("", relative));
        self.create_dirs(directory)?;
        if self.holds_same(relative, bytes)? {
            return self.settle_existing(relative, directory);
        }
        let temporary = self.path(directory).join(temporary_name()?);
        let placed = place(&temporary, &target, relative, bytes);
        if !matches!(placed, Ok(Placed::New)) {
            let _ = unlink(&temporary);
        }
        match placed? {
            Placed::New => {
                self.sync_dir(directory)?;
                Ok(Written::New)
            }
            Placed::NameTaken if self.holds_same(relative, bytes)? => {
                self.settle_existing(relative, directory)
            }
            Placed::NameTaken => Err(StateError::corrupt(&target, "it vanished while it was being written")),
        }
    }

    /// Makes a directory and its parents durable. Below the root every entry is fsynced once per process even where
    /// it exists: a run that died between mkdir and fsync may have left it in memory only.
    pub fn create_dirs(&self, relative: &str) -> Result<(), StateError> {
        self.create_root()?;
        let mut so_far = PathBuf::new();
        for part in relative.split('/').filter(|part| !part.is_empty()) {
            let parent = so_far.clone();
            so_far.push(part);
            if self.settled().contains(&so_far) {
                continue;
            }
            make_dir(&self.root.join(&so_far), &so_far)?;
            sync_dir_at(&self.root.join(&parent), &parent)?;
            self.settled().insert(so_far.clone());
        }
        Ok(())
    }

    /// Reads a regular file of at most `limit` bytes; none where there is no such name. Neither links nor pipes nor
    /// device nodes are followed or waited for.
    pub fn read(&self, relative: &str, limit: u64) -> Result<Option<Vec<u8>>, StateError> {
        let path = self.path(relative);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = match open(&path, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(StateError::corrupt(&path, "it is a symbolic link")),
            Err(errno) => return Err(StateError::io("opening", &path, errno)),
        };
        let about = file.metadata().map_err(|error| StateError::io("looking at", &path, error))?;
        if !about.is_file() {
            return Err(StateError::corrupt(&path, "it is not a regular file"));
        }
        let mut bytes = Vec::new();
        file.take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| StateError::io("reading", &path, error))?;
        if bytes.len() as u64 > limit {
            return Err(StateError::corrupt(&path, &format!("it is longer than {limit} bytes")));
        }
        Ok(Some(bytes))
    }

    /// The names in a directory, sorted, temporary files left out, at most `limit`; empty where there is none. The
    /// second value is true where there were more.
    pub fn list(&self, relative: &str, limit: usize) -> Result<(Vec<Entry>, bool), StateError> {
        let path = self.path(relative);
        let listing = match std::fs::read_dir(&path) {
            Ok(listing) => listing,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), false)),
            Err(error) => return Err(StateError::io("listing", &path, error)),
        };
        let mut entries = Vec::new();
        for entry in listing {
            let entry = entry.map_err(|error| StateError::io("listing", &path, error))?;
            if is_temporary(&entry.file_name()) {
                continue;
            }
            if entries.len() == limit {
                return Ok((sorted(entries), true));
            }
            let kind =
                entry.file_type().map_err(|error| StateError::io("looking at", &entry.path(), error))?;
            entries.push(Entry { name: entry.file_name(), is_file: kind.is_file(), is_dir: kind.is_dir() });
        }
        Ok((sorted(entries), false))
    }

    /// Removes what runs that died left behind in a directory. The caller holds the lock that keeps other runs out.
    pub fn clean(&self, relative: &str) -> Result<(), StateError> {
        let path = self.path(relative);
        let Ok(listing) = std::fs::read_dir(&path) else { return Ok(()) };
        for entry in listing.flatten().filter(|entry| is_temporary(&entry.file_name())) {
            match unlink(entry.path()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(StateError::io("removing the leftover", &entry.path(), errno)),
            }
        }
        Ok(())
    }

    /// Makes the names in a directory durable.
    pub fn sync_dir(&self, relative: &str) -> Result<(), StateError> {
        sync_dir_at(&self.path(relative), Path::new(relative))
    }

    /// True where the name exists with exactly these bytes; an error where it exists with others.
    fn holds_same(&self, relative: &str, bytes: &[u8]) -> Result<bool, StateError> {
        match self.read(relative, bytes.len() as u64)? {
            None => Ok(false),
            Some(there) if there == bytes => Ok(true),
            Some(_) => {
                Err(StateError::corrupt(&self.path(relative), "it holds other bytes than were to be written"))
            }
        }
    }

    /// The run that wrote the file may have died before the directory was on disk: without this, "already there" would
    /// promise more than is true.
    fn settle_existing(&self, relative: &str, directory: &str) -> Result<Written, StateError> {
        let path = self.path(relative);
        let file = File::open(&path).map_err(|error| StateError::io("opening", &path, error))?;
        sync_file(&file, &path, relative)?;
        self.sync_dir(directory)?;
        Ok(Written::AlreadyThere)
    }

    /// The root and its missing parents. A root that exists was made by a person or by an earlier run; its entry is
    /// fsynced as far as this user may open its parent.
    fn create_root(&self) -> Result<(), StateError> {
        if self.settled().contains(Path::new("")) {
            return Ok(());
        }
        let root = std::path::absolute(&self.root)
            .map_err(|error| StateError::io("resolving", &self.root, error))?;
        let mut missing: Vec<&Path> = root.ancestors().take_while(|path| !path.is_dir()).collect();
        if missing.is_empty() {
            let parent = root.parent().unwrap_or(&root);
            if let Ok(directory) = File::open(parent) {
                directory.sync_all().map_err(|error| StateError::io("syncing", parent, error))?;
            }
        }
        missing.reverse();
        for path in missing {
            make_dir(path, path)?;
            let parent = path.parent().unwrap_or(path);
            sync_dir_at(parent, parent)?;
        }
        self.settled().insert(PathBuf::new());
        Ok(())
    }

    fn settled(&self) -> std::sync::MutexGuard<'_, BTreeSet<PathBuf>> {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fsyncs a file's content.
pub(super) fn sync_file(file: &File, path: &Path, shown: &str) -> Result<(), StateError> {
    probe::before(format_args!("disk.fsync {shown}"));
    file.sync_all().map_err(|error| StateError::io("syncing", path, error))?;
    probe::after(format_args!("disk.fsync {shown}"));
    Ok(())
}

enum Placed {
    New,
    NameTaken,
}

fn place(temporary: &Path, target: &Path, shown: &str, bytes: &[u8]) -> Result<Placed, StateError> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mut file = open(temporary, flags, Mode::RUSR | Mode::WUSR)
        .map(File::from)
        .map_err(|errno| StateError::io("creating", temporary, errno))?;
    probe::before(format_args!("disk.write {shown}"));
    file.write_all(bytes).map_err(|error| StateError::io("writing", temporary, error))?;
    probe::after(format_args!("disk.write {shown}"));
    sync_file(&file, temporary, shown)?;
    probe::before(format_args!("disk.rename {shown}"));
    let placed = match renameat_with(CWD, temporary, CWD, target, RenameFlags::NOREPLACE) {
        Ok(()) => Placed::New,
        Err(Errno::EXIST) => Placed::NameTaken,
        // Filesystems without this flag: NFS and some of FUSE.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => link(temporary, target)?,
        Err(errno) => return Err(StateError::io("renaming into place", target, errno)),
    };
    probe::after(format_args!("disk.rename {shown}"));
    Ok(placed)
}

/// The older way not to replace: a second name, then the first is removed.
fn link(temporary: &Path, target: &Path) -> Result<Placed, StateError> {
    match linkat(CWD, temporary, CWD, target, AtFlags::empty()) {
        Ok(()) => {
            unlink(temporary).map(|()| Placed::New).map_err(|e| StateError::io("removing", temporary, e))
        }
        Err(Errno::EXIST) => Ok(Placed::NameTaken),
        Err(errno) => {
            Err(StateError::io("linking into place (use another filesystem for --out)", target, errno))
        }
    }
}

fn make_dir(path: &Path, shown: &Path) -> Result<(), StateError> {
    probe::before(format_args!("disk.mkdir {}", shown.display()));
    match mkdir(path, Mode::RWXU) {
        Ok(()) => {}
        // A link is refused below the root: a store that came from elsewhere must not point out of itself.
        Err(Errno::EXIST) if std::fs::symlink_metadata(path).is_ok_and(|about| about.is_dir()) => {}
        Err(Errno::EXIST) => return Err(StateError::corrupt(path, "it is not a directory")),
        Err(errno) => return Err(StateError::io("creating the directory", path, errno)),
    }
    probe::after(format_args!("disk.mkdir {}", shown.display()));
    Ok(())
}

fn sync_dir_at(path: &Path, shown: &Path) -> Result<(), StateError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = open(path, flags, Mode::empty())
        .map(File::from)
        .map_err(|errno| StateError::io("opening the directory", path, errno))?;
    probe::before(format_args!("disk.fsync-dir {}", shown.display()));
    directory.sync_all().map_err(|error| StateError::io("syncing the directory", path, error))?;
    probe::after(format_args!("disk.fsync-dir {}", shown.display()));
    Ok(())
}

fn sorted(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries
}

fn temporary_name() -> Result<String, StateError> {
    let random = getrandom::u64().map_err(StateError::random)?;
    Ok(format!("{TEMPORARY}{}-{random:016x}", std::process::id()))
}

fn is_temporary(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(TEMPORARY.as_bytes())
}

const TEMPORARY: &str = ".tmp-";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn writes_once_and_only_once() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::at(&dir.path().join("a/b/out"));
        assert_eq!(disk.write_new("devices/x/file", b"one").unwrap(), Written::New);
        assert_eq!(disk.write_new("devices/x/file", b"one").unwrap(), Written::AlreadyThere);
        for other in [&b"two"[..], b"one ", b"on", b""] {
            assert!(matches!(disk.write_new("devices/x/file", other), Err(StateError::Corrupt { .. })));
        }
        assert_eq!(disk.read("devices/x/file", 3).unwrap().unwrap(), b"one");
        let mode = std::fs::metadata(disk.path("devices/x/file")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(
            std::fs::read_dir(disk.path("devices/x")).unwrap().count(),
            1,
            "a temporary file was left"
        );
    }

    #[test]
    fn what_is_not_a_plain_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::at(dir.path());
        std::fs::write(dir.path().join("target"), b"one").unwrap();
        symlink("target", dir.path().join("link")).unwrap();
        symlink(dir.path(), dir.path().join("loop")).unwrap();
        let mkfifo =
            rustix::fs::mknodat(CWD, dir.path().join("pipe"), rustix::fs::FileType::Fifo, Mode::RWXU, 0);
        mkfifo.unwrap();
        for name in ["link", "pipe", "loop"] {
            assert!(disk.read(name, 10).is_err(), "{name}");
            assert!(disk.write_new(name, b"one").is_err(), "{name}");
        }
        assert!(disk.write_new("loop/file", b"one").is_err());
        assert!(disk.write_new("target/file", b"one").is_err());
        assert!(matches!(disk.read("target", 2), Err(StateError::Corrupt { .. })));
        assert!(disk.read("nothing", 2).unwrap().is_none());
    }

    #[test]
    fn leftovers_are_neither_listed_nor_kept() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::at(dir.path());
        disk.write_new("d/b", b"").unwrap();
        disk.write_new("d/a", b"").unwrap();
        std::fs::write(dir.path().join("d/.tmp-77-00"), b"half").unwrap();
        let names =
            |disk: &Disk| -> Vec<_> { disk.list("d", 9).unwrap().0.into_iter().map(|e| e.name).collect() };
        assert_eq!(names(&disk), ["a", "b"]);
        disk.clean("d").unwrap();
        assert!(!dir.path().join("d/.tmp-77-00").exists());
        assert_eq!(names(&disk), ["a", "b"]);
        assert!(disk.list("d", 1).unwrap().1);
        assert!(disk.list("none", 1).unwrap().0.is_empty());
    }
}
