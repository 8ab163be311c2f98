//! Several output files that appear together or not at all.
//!
//! Every file is written in full beside its target, under a name of its own, and synced; only when all of them are
//! there is the first one renamed. A link, a pipe or a directory in the place of a target is refused: a rename would
//! replace it silently.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};

/// Files that are prepared and not yet in place. Dropped, they leave nothing behind.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    prepared: Vec<Prepared>,
}

#[derive(Debug)]
struct Prepared {
    target: PathBuf,
    directory: PathBuf,
    temporary: PathBuf,
    /// Nothing stood there before, so that taking it back means removing it.
    fresh: bool,
}

/// Owner and mode bits that outputs take over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Likeness {
    pub(super) mode: u32,
    pub(super) owner: u32,
    pub(super) group: u32,
}

/// A target that may be written: its directory is resolved, and its last part is no link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    directory: PathBuf,
    name: std::ffi::OsString,
}

impl Target {
    /// # Errors
    /// Where the directory does not exist or what stands there is no regular file.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let name = path.file_name().ok_or_else(|| io::Error::other("it names no file"))?.to_owned();
        let parent = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let target = Self { directory: parent.canonicalize()?, name };
        match fs::symlink_metadata(target.path()) {
            Ok(found) if found.is_symlink() => {
                Err(io::Error::other("it is a symbolic link; name the file that it leads to"))
            }
            Ok(found) if !found.is_file() => Err(io::Error::other("something stands there that is no file")),
            Ok(_) => Ok(target),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(target),
            Err(error) => Err(error),
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.directory.join(&self.name)
    }
}

impl Outputs {
    /// Writes `bytes` beside `target` and syncs them. With `keep_owner` the file replaces the one it was made from, and
    /// belongs to the same user where the system lets it.
    pub(super) fn prepare(
        &mut self,
        target: &Target,
        bytes: &[u8],
        like: Likeness,
        keep_owner: bool,
    ) -> io::Result<()> {
        let mut file = self.reserve(target)?;
        if keep_owner {
            let _ =
                rustix::fs::fchown(&file, Some(Uid::from_raw(like.owner)), Some(Gid::from_raw(like.group)));
        }
        rustix::fs::fchmod(&file, Mode::from_raw_mode(like.mode & 0o777))?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    /// Puts every file in place. A failure between two of them takes back those that are new.
    pub(super) fn commit(mut self) -> io::Result<()> {
        let mut done: Vec<PathBuf> = Vec::new();
        for prepared in &self.prepared {
            let renamed = put(prepared);
            if let Err(error) = renamed {
                for path in &done {
                    let _ = fs::remove_file(path);
                }
                return Err(error.into());
            }
            if prepared.fresh {
                done.push(prepared.target.clone());
            }
        }
        for prepared in std::mem::take(&mut self.prepared) {
            File::open(&prepared.directory)?.sync_all()?;
        }
        Ok(())
    }

    fn reserve(&mut self, target: &Target) -> io::Result<File> {
        let mut noise = [0u8; 8];
        getrandom::fill(&mut noise).map_err(|error| io::Error::other(error.to_string()))?;
        let noise = u64::from_le_bytes(noise);
        let temporary = target.directory.join(format!(".oob-clean-{noise:016x}.tmp"));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(&temporary, flags, Mode::RUSR | Mode::WUSR)?);
        let path = target.path();
        self.prepared.push(Prepared {
            fresh: fs::symlink_metadata(&path).is_err(),
            target: path,
            directory: target.directory.clone(),
            temporary,
        });
        Ok(file)
    }
}

/// A target that appeared after the check is not replaced, where the filesystem can promise that.
fn put(prepared: &Prepared) -> rustix::io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, rename, renameat_with};
    let (from, to) = (&prepared.temporary, &prepared.target);
    if !prepared.fresh {
        return rename(from, to);
    }
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => rename(from, to),
        other => other,
    }
}

impl Drop for Outputs {
    fn drop(&mut self) {
        for prepared in &self.prepared {
            let _ = fs::remove_file(&prepared.temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIKE: Likeness = Likeness { mode: 0o640, owner: 0, group: 0 };

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn all_appear_together_or_none() {
        let directory = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| Target::of(&directory.path().join(name)).unwrap());
        let mut outputs = Outputs::default();
        outputs.prepare(&a, b"one", LIKE, false).unwrap();
        outputs.prepare(&b, b"two", LIKE, false).unwrap();
        assert!(!directory.path().join("a").exists(), "nothing is in place before the commit");
        drop(outputs);
        assert_eq!(names(directory.path()), Vec::<String>::new());

        let mut outputs = Outputs::default();
        outputs.prepare(&a, b"one", LIKE, false).unwrap();
        outputs.prepare(&b, b"two", LIKE, false).unwrap();
        outputs.commit().unwrap();
        assert_eq!(names(directory.path()), ["a", "b"]);
        assert_eq!(fs::read(directory.path().join("b")).unwrap(), b"two");
    }

    #[test]
    fn a_failure_between_two_takes_the_new_one_back() {
        let directory = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| Target::of(&directory.path().join(name)).unwrap());
        let mut outputs = Outputs::default();
        outputs.prepare(&a, b"one", LIKE, false).unwrap();
        outputs.prepare(&b, b"two", LIKE, false).unwrap();
        // Somebody else was faster: a directory cannot be replaced by a file.
        fs::create_dir(directory.path().join("b")).unwrap();
        assert!(outputs.commit().is_err());
        assert_eq!(names(directory.path()), ["b"]);
    }

    #[test]
    fn links_directories_and_pipes_are_no_targets() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("file"), "x").unwrap();
        std::os::unix::fs::symlink(path("file"), path("link")).unwrap();
        std::os::unix::fs::symlink(path("nowhere"), path("dangling")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, path("pipe"), Mode::RUSR | Mode::WUSR).unwrap();
        for refused in ["link", "dangling", "pipe", ".", "..", "missing/file"] {
            assert!(Target::of(&path(refused)).is_err(), "{refused}");
        }
        assert!(Target::of(&path("file")).is_ok());
        assert_eq!(
            Target::of(&path("file")).unwrap(),
            Target::of(&path("../").join(directory.path()).join("./file")).unwrap()
        );
    }
}
