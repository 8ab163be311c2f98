//! Whether a directory survives a power cut: judged by the filesystem below it, before a credential relies on it.

use std::fs::File;
use std::path::{Path, PathBuf};

/// The judgement (DESIGN section 8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Durability {
    /// A filesystem on a block device, and it took an fsync.
    Durable,
    /// It would not survive, and why.
    NotDurable(String),
    /// Cannot be told from here, and why.
    Unresolved(String),
}

/// Judges the directory, or its nearest parent that exists; creates nothing.
pub fn durability(path: &Path) -> Durability {
    let Some(existing) = nearest_existing(path) else {
        return Durability::Unresolved(format!("{} cannot be resolved", path.display()));
    };
    let mountinfo = match std::fs::read("/proc/self/mountinfo") {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => return Durability::Unresolved(format!("reading /proc/self/mountinfo: {error}")),
    };
    match judge(&mountinfo, &existing, &nearest_existing, &loop_backing) {
        Durability::Durable => match File::open(&existing).and_then(|directory| directory.sync_all()) {
            Ok(()) => Durability::Durable,
            Err(error) => Durability::NotDurable(format!("fsync of {}: {error}", existing.display())),
        },
        other => other,
    }
}

/// The pure part: `path` is absolute and free of links; `resolve` gives the real path of a directory as seen from
/// here, `backing` the file behind a loop device.
fn judge(
    mountinfo: &str,
    path: &Path,
    resolve: &dyn Fn(&Path) -> Option<PathBuf>,
    backing: &dyn Fn(&str) -> Option<PathBuf>,
) -> Durability {
    let mut path = path.to_owned();
    // An overlay on an overlay, or a loop device on an overlay, is as good as what lies lowest.
    for _ in 0..8 {
        let Some(mount) = mount_of(mountinfo, &path) else {
            return Durability::Unresolved(format!("no mount holds {}", path.display()));
        };
        let next = match mount.verdict() {
            Verdict::Is(durability) => return durability,
            Verdict::AsUpper(upper) => resolve(&upper).filter(|found| *found == upper).ok_or_else(|| {
                format!("the overlay's upper directory {} is not visible from here", upper.display())
            }),
            Verdict::AsLoop(device) => {
                backing(&device).ok_or_else(|| format!("the file behind {device} is not visible from here"))
            }
        };
        match next {
            Ok(lower) => path = lower,
            Err(reason) => return Durability::Unresolved(reason),
        }
    }
    Durability::Unresolved("the mounts below it form a circle".to_owned())
}

/// One line of mountinfo (proc_pid_mountinfo(5)).
struct Mount {
    point: PathBuf,
    options: String,
    kind: String,
    source: String,
    super_options: String,
}

enum Verdict {
    Is(Durability),
    AsUpper(PathBuf),
    AsLoop(String),
}

impl Mount {
    fn parse(line: &str) -> Option<Self> {
        let (left, right) = line.split_once(" - ")?;
        let left: Vec<&str> = left.split(' ').collect();
        let mut right = right.split(' ');
        Some(Self {
            point: PathBuf::from(unescape(left.get(4)?)),
            options: (*left.get(5)?).to_owned(),
            kind: right.next()?.to_owned(),
            source: unescape(right.next()?),
            super_options: right.next().unwrap_or_default().to_owned(),
        })
    }

    fn verdict(&self) -> Verdict {
        let has =
            |word: &str| self.options.split(',').chain(self.super_options.split(',')).any(|o| o == word);
        let not = |reason: &str| Verdict::Is(Durability::NotDurable(reason.to_owned()));
        if has("ro") {
            return not(&format!("{} is mounted read-only", self.point.display()));
        }
        match self.kind.as_str() {
            "tmpfs" | "ramfs" | "rootfs" | "devtmpfs" | "hugetlbfs" => {
                not(&format!("{} lives in memory", self.kind))
            }
            "overlay" if has("volatile") => not("the overlay is mounted volatile"),
            "overlay" => self.upper(),
            // Options by which a filesystem answers an fsync before the disk did.
            _ if has("nobarrier") || has("barrier=0") => not("the filesystem is mounted without barriers"),
            "zfs" if has("sync=disabled") => not("the zfs dataset has sync=disabled"),
            "zfs" => Verdict::Is(Durability::Durable),
            kind if ON_BLOCK_DEVICES.contains(&kind) => self.by_device(),
            kind => Verdict::Is(Durability::Unresolved(format!(
                "filesystem {kind} is not known to keep what it fsyncs"
            ))),
        }
    }

    fn upper(&self) -> Verdict {
        let upper = self.super_options.split(',').find_map(|option| option.strip_prefix("upperdir="));
        match upper {
            Some(upper) => Verdict::AsUpper(PathBuf::from(unescape(upper))),
            None => Verdict::Is(Durability::NotDurable("the overlay has no upper directory".to_owned())),
        }
    }

    fn by_device(&self) -> Verdict {
        let device = self.source.strip_prefix("/dev/").unwrap_or(&self.source);
        if device.starts_with("zram") || is_ram_disk(device) {
            return Verdict::Is(Durability::NotDurable(format!("{} lives in memory", self.source)));
        }
        match device.strip_prefix("loop") {
            Some(number) if number.starts_with(|c: char| c.is_ascii_digit()) => {
                Verdict::AsLoop(device.to_owned())
            }
            _ => Verdict::Is(Durability::Durable),
        }
    }
}

/// Filesystems that stand on a block device and honor fsync.
const ON_BLOCK_DEVICES: [&str; 17] = [
    "ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "vfat", "exfat", "ntfs", "ntfs3", "fuseblk", "jfs",
    "nilfs2", "reiserfs", "bcachefs", "hfsplus", "udf",
];

fn is_ram_disk(device: &str) -> bool {
    device
        .strip_prefix("ram")
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
}

/// The mount that holds the path: the longest mount point above it, and of equal ones the last, which covers the others.
fn mount_of(mountinfo: &str, path: &Path) -> Option<Mount> {
    mountinfo
        .lines()
        .filter_map(Mount::parse)
        .filter(|mount| path.starts_with(&mount.point))
        .max_by_key(|mount| mount.point.components().count())
}

/// Undoes the kernel's octal escapes (`\040` for a space). Overlay options escape the same way.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        match (first, tail) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) => {
                bytes.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn nearest_existing(path: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(path).ok()?;
    absolute.ancestors().find_map(|candidate| candidate.canonicalize().ok())
}

fn loop_backing(device: &str) -> Option<PathBuf> {
    // A partition of a loop device (`loop0p1`) has its parent's backing file.
    let digits = device.strip_prefix("loop")?.split('p').next()?;
    let disk = format!("loop{digits}");
    let file = std::fs::read_to_string(format!("/sys/block/{disk}/loop/backing_file")).ok()?;
    PathBuf::from(file.trim_end_matches('\n')).canonicalize().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "\
22 1 8:2 / / rw,relatime shared:1 - ext4 /dev/sda2 rw,errors=remount-ro
23 22 0:21 / /run rw,nosuid shared:2 - tmpfs tmpfs rw,mode=755
24 22 8:1 / /media/usb\\040stick rw,relatime - vfat /dev/sdb1 rw
25 22 0:40 / /srv/nfs rw - nfs4 server:/export rw,vers=4.2
26 22 0:41 / /over rw - overlay overlay rw,lowerdir=/lower,upperdir=/data/upper,workdir=/data/work
27 22 0:42 / /over-tmp rw - overlay overlay rw,lowerdir=/lower,upperdir=/run/upper,workdir=/run/work
28 22 0:43 / /over-ro rw - overlay overlay rw,lowerdir=/a:/b
29 22 0:44 / /over-fast rw - overlay overlay rw,lowerdir=/a,upperdir=/data/upper,workdir=/w,volatile
30 22 0:45 / /over-lost rw - overlay overlay rw,lowerdir=/a,upperdir=/gone/upper,workdir=/w
31 22 8:3 / /nobarrier rw - ext4 /dev/sda3 rw,nobarrier
32 22 8:4 / /readonly ro,relatime - ext4 /dev/sda4 rw
33 22 1:0 / /ramdisk rw - ext2 /dev/ram0 rw
34 22 252:0 / /zram rw - ext4 /dev/zram1 rw
35 22 7:0 / /loop-good rw - ext4 /dev/loop0 rw
36 22 7:1 / /loop-bad rw - ext4 /dev/loop1 rw
37 22 7:2 / /loop-lost rw - ext4 /dev/loop2 rw
38 22 0:46 / /fuse rw - fuse.sshfs host: rw
39 22 8:5 / /covered rw - ext4 /dev/sda5 rw
40 39 0:47 / /covered rw - tmpfs tmpfs rw
41 22 0:48 / /circle rw - overlay overlay rw,lowerdir=/a,upperdir=/circle/upper,workdir=/w
42 22 0:49 / /subvolume rw - btrfs /dev/sda6 rw,subvol=/x
garbage
43 22 - ext4";

    fn on(path: &str) -> Durability {
        judge(
            HOST,
            Path::new(path),
            &|upper| (!upper.starts_with("/gone")).then(|| upper.to_owned()),
            &|device| match device {
                "loop0" => Some(PathBuf::from("/images/disk.img")),
                "loop1" => Some(PathBuf::from("/run/disk.img")),
                _ => None,
            },
        )
    }

    #[test]
    fn durable_places() {
        for path in ["/", "/home/x", "/media/usb stick/out", "/over/x", "/loop-good", "/subvolume", "/runner"]
        {
            assert_eq!(on(path), Durability::Durable, "{path}");
        }
    }

    #[test]
    fn places_that_forget() {
        let places = [
            "/run",
            "/run/x/y",
            "/over-tmp",
            "/over-ro",
            "/over-fast",
            "/nobarrier",
            "/readonly",
            "/ramdisk",
            "/zram",
            "/loop-bad",
            "/covered/x",
        ];
        for path in places {
            assert!(matches!(on(path), Durability::NotDurable(_)), "{path}: {:?}", on(path));
        }
    }

    #[test]
    fn places_that_cannot_be_told() {
        for path in ["/srv/nfs/x", "/over-lost", "/loop-lost", "/fuse", "/circle"] {
            assert!(matches!(on(path), Durability::Unresolved(_)), "{path}: {:?}", on(path));
        }
        assert!(matches!(judge("", Path::new("/"), &|_| None, &|_| None), Durability::Unresolved(_)));
    }

    #[test]
    fn initramfs_root_is_memory() {
        let line = "1 1 0:2 / / rw - rootfs rootfs rw";
        assert!(matches!(judge(line, Path::new("/out"), &|_| None, &|_| None), Durability::NotDurable(_)));
    }

    #[test]
    fn this_machine_gets_an_answer_for_a_path_that_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("not/there");
        assert_eq!(durability(&missing), durability(dir.path()));
        assert!(!missing.exists());
    }
}
