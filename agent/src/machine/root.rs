//! Opening paths beneath a root directory without ever leaving it.
//!
//! A root that is not `/` is foreign data: its symbolic links may point anywhere. Links are followed as if the root
//! were `/`, as inside a chroot, by the kernel (`openat2` with `RESOLVE_IN_ROOT`, Linux 5.6) or, where the kernel
//! does not know that call, component by component.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, fstat, open, openat, openat2, readlinkat, statat,
};
use rustix::io::Errno;

/// As many links as the kernel follows before it says `ELOOP`.
const MAX_LINKS: usize = 40;

/// An opened root directory.
#[derive(Debug)]
pub(super) struct Root {
    dir: OwnedFd,
    /// `/` itself: nothing lies outside it, so plain resolution serves.
    whole: bool,
}

impl Root {
    pub(super) fn open(path: &Path, whole: bool) -> io::Result<Self> {
        let dir = open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { dir, whole })
    }

    /// Opens `rel`, following links inside the root only.
    pub(super) fn open_beneath(&self, rel: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let rel = rel.trim_start_matches('/');
        let flags = flags | OFlags::CLOEXEC;
        if self.whole {
            return Ok(openat(&self.dir, rel, flags, Mode::empty())?);
        }
        // EAGAIN: something was renamed during the walk, and the kernel cannot vouch for the path; ask again.
        for _ in 0..8 {
            let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
            match openat2(&self.dir, rel, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN) => {}
                Err(Errno::NOSYS | Errno::PERM) => return self.walk_by_hand(rel, flags),
                other => return Ok(other?),
            }
        }
        Err(Errno::AGAIN.into())
    }

    /// The target of the link `rel`, unresolved. The directory that holds it is resolved inside the root.
    pub(super) fn link(&self, rel: &str) -> io::Result<String> {
        let rel = rel.trim_matches('/');
        let (parent, name) = rel.rsplit_once('/').unwrap_or((".", rel));
        let parent = self.open_beneath(parent, OFlags::PATH | OFlags::DIRECTORY)?;
        let target = readlinkat(&parent, name, Vec::new())?;
        Ok(String::from_utf8_lossy(target.as_bytes()).into_owned())
    }

    /// The walk of `RESOLVE_IN_ROOT`: no component is followed by the kernel, `..` stops at the root, an absolute
    /// link begins again at the root.
    fn walk_by_hand(&self, rel: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let mut todo = components(Path::new(rel));
        let mut above: Vec<OwnedFd> = Vec::new();
        let mut links = 0;
        while let Some(name) = todo.pop_front() {
            if name == ".." {
                above.pop();
                continue;
            }
            let here: BorrowedFd<'_> = above.last().map_or(self.dir.as_fd(), AsFd::as_fd);
            let kind = FileType::from_raw_mode(statat(here, &name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode);
            if kind == FileType::Symlink {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::LOOP.into());
                }
                let target = OsString::from_vec(readlinkat(here, &name, Vec::new())?.into_bytes());
                if target.as_bytes().starts_with(b"/") {
                    above.clear();
                }
                let mut ahead = components(Path::new(&target));
                ahead.append(&mut todo);
                todo = ahead;
            } else if todo.is_empty() {
                return Ok(openat(here, &name, flags | OFlags::NOFOLLOW, Mode::empty())?);
            } else {
                let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let next = openat(here, &name, step, Mode::empty())?;
                above.push(next);
            }
        }
        let here: BorrowedFd<'_> = above.last().map_or(self.dir.as_fd(), AsFd::as_fd);
        Ok(openat(here, ".", flags, Mode::empty())?)
    }
}

/// Whether an opened file is of the given type.
pub(super) fn is_type(file: &OwnedFd, wanted: FileType) -> io::Result<bool> {
    Ok(FileType::from_raw_mode(fstat(file)?.st_mode) == wanted)
}

fn components(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;

    fn text(file: io::Result<OwnedFd>) -> Result<String, i32> {
        let mut text = String::new();
        let file = file.map_err(|error| error.raw_os_error().unwrap_or(0))?;
        fs::File::from(file).read_to_string(&mut text).map_err(|error| error.raw_os_error().unwrap_or(0))?;
        Ok(text)
    }

    /// The kernel's walk and the one by hand must agree on every path, above all on those that try to leave.
    #[test]
    fn both_walks_stay_inside_the_root() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "outside").unwrap();
        let dir = outside.path().join("root");
        fs::create_dir_all(dir.join("a/b")).unwrap();
        fs::write(dir.join("a/b/file"), "inside").unwrap();
        fs::write(dir.join("secret"), "decoy").unwrap();
        symlink("../../../../secret", dir.join("a/up")).unwrap();
        symlink("/a/b", dir.join("absolute")).unwrap();
        symlink(outside.path().join("secret"), dir.join("elsewhere")).unwrap();
        symlink("loop", dir.join("loop")).unwrap();
        let root = Root::open(&dir, false).unwrap();
        let cases: [(&str, Result<&str, i32>); 8] = [
            ("a/b/file", Ok("inside")),
            ("/a/../a/b/file", Ok("inside")),
            ("a/up", Ok("decoy")),
            ("absolute/file", Ok("inside")),
            ("elsewhere", Err(2)),
            ("loop", Err(40)),
            ("a/b/file/more", Err(20)),
            ("nothing", Err(2)),
        ];
        for (path, expected) in cases {
            let expected = expected.map(str::to_owned);
            assert_eq!(text(root.open_beneath(path, OFlags::RDONLY)), expected, "openat2 of {path}");
            assert_eq!(
                text(root.walk_by_hand(path.trim_start_matches('/'), OFlags::RDONLY)),
                expected,
                "{path}"
            );
        }
        assert_eq!(root.link("a/up").unwrap(), "../../../../secret");
    }
}
