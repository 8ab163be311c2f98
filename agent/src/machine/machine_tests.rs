//! Opening roots and reading files of any kind.

use std::fs;
use std::io::Write;

use rustix::fs::{CWD, Mode, mknodat};

use super::*;

fn fifo(path: &Path) -> File {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    // Read and write: neither end waits for the other.
    fs::OpenOptions::new().read(true).write(true).open(path).unwrap()
}

/// A FIFO is neither waited for nor drained.
#[test]
fn only_regular_files_are_read() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("directory")).unwrap();
    fs::write(dir.path().join("file"), " text\n").unwrap();
    std::os::unix::fs::symlink("pipe", dir.path().join("link")).unwrap();
    let mut pipe = fifo(&dir.path().join("pipe"));
    pipe.write_all(b"kept").unwrap();
    let machine = Machine::open(dir.path()).unwrap();
    for rel in ["pipe", "link", "directory", "."] {
        let error = machine.read(rel).unwrap_err();
        assert!(error.to_string().contains("not a regular file"), "{rel}: {error}");
    }
    let mut kept = [0; 4];
    pipe.read_exact(&mut kept).unwrap();
    assert_eq!(&kept, b"kept");
    assert_eq!(machine.read_text("file").unwrap(), "text");
}

/// DESIGN section 5: a root is simulated where it is served; what is neither a capture nor served is refused.
#[test]
fn a_port_list_that_is_none_is_refused() {
    let refused = |path: &Path| {
        let error = Machine::open(path).unwrap_err();
        assert!(matches!(error, OpenError::Ports { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("ports.json") && text.contains("start the simulator again"), "{text}");
    };
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join(ports::FILE);
    assert_eq!(Machine::open(dir.path()).unwrap().kind(), RootKind::Capture);
    for text in ["", "{", "[]", r#"{"16992": 70000}"#, r#"{"time_scale": 0}"#] {
        fs::write(&list, text).unwrap();
        refused(dir.path());
    }
    fs::write(&list, "{}").unwrap();
    assert_eq!(Machine::open(dir.path()).unwrap().kind(), RootKind::Simulated);
    fs::remove_file(&list).unwrap();
    fs::create_dir(&list).unwrap();
    refused(dir.path());
    fs::remove_dir(&list).unwrap();
    let _pipe = fifo(&list);
    refused(dir.path());
}

#[test]
fn a_device_alone_makes_a_root_simulated() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("dev")).unwrap();
    fs::write(dir.path().join("dev/mei0"), "").unwrap();
    let machine = Machine::open(dir.path()).unwrap();
    assert_eq!((machine.kind(), machine.time_scale()), (RootKind::Simulated, 1.0));
    let missing = Machine::open(&dir.path().join("nothing")).unwrap_err();
    assert!(matches!(missing, OpenError::Root { .. }), "{missing}");
}
