//! The door against a peer made here, one thread per scripted peer.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread::JoinHandle;

use rustix::net::{
    RecvFlags, SendFlags, Shutdown, SocketFlags, accept_with, bind, listen, recv, send, shutdown, socket_with,
};

use super::*;

/// What the peer answers to each connection's GUID, then to each message; `None` closes.
type Script = Vec<Vec<Option<Vec<u8>>>>;
type Expected = fn(&MeiError) -> bool;

fn serve(dir: &Path, node: &str, script: Script) -> JoinHandle<Vec<Vec<u8>>> {
    std::fs::create_dir_all(dir.join("dev")).unwrap();
    // Closed on exec, and shut down at the end: a program that another test starts must not keep an end open.
    let listener =
        socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    bind(&listener, &SocketAddrUnix::new(dir.join("dev").join(node)).unwrap()).unwrap();
    listen(&listener, 8).unwrap();
    std::thread::spawn(move || {
        let mut seen = Vec::new();
        for connection in script {
            let peer = accept_with(&listener, SocketFlags::CLOEXEC).unwrap();
            for answer in connection {
                let mut buffer = vec![0; 4096];
                let (length, _) = recv(&peer, &mut buffer[..], RecvFlags::empty()).unwrap();
                buffer.truncate(length);
                seen.push(buffer);
                let Some(answer) = answer else { break };
                send(&peer, &answer, SendFlags::empty()).unwrap();
            }
            let _ = shutdown(&peer, Shutdown::Both);
        }
        seen
    })
}

fn accepted(max: u32) -> Option<Vec<u8>> {
    let mut answer = max.to_le_bytes().to_vec();
    answer.extend([1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    Some(answer)
}

fn errno(number: i32) -> Option<Vec<u8>> {
    Some(number.to_le_bytes().to_vec())
}

fn open(dir: &Path) -> Machine {
    std::fs::write(dir.join("ports.json"), r#"{"time_scale": 0.001}"#).unwrap();
    Machine::open(dir).unwrap()
}

#[test]
fn guid_goes_out_in_wire_order() {
    let wire = Guid::parse("12F80028-B4B7-4B2D-ACA8-46E0FF65814C").unwrap().wire();
    let expected =
        [0x28, 0, 0xf8, 0x12, 0xb7, 0xb4, 0x2d, 0x4b, 0xac, 0xa8, 0x46, 0xe0, 0xff, 0x65, 0x81, 0x4c];
    assert_eq!(wire, expected);
    for bad in
        ["", "12F80028", "+2F80028-B4B7-4B2D-ACA8-46E0FF65814C", "12F80028-B4B7-4B2D-ACA846E0-FF65814C"]
    {
        assert_eq!(Guid::parse(bad), None, "{bad}");
    }
}

#[tokio::test]
async fn talks_in_whole_messages() {
    let dir = tempfile::tempdir().unwrap();
    let peer =
        serve(dir.path(), "mei0", vec![vec![accepted(64), Some(b"pong".to_vec()), Some(vec![7; 65]), None]]);
    let machine = open(dir.path());
    let mut mei = machine.mei_connect(PTHI).await.unwrap();
    assert_eq!((mei.max_msg_length, mei.protocol), (64, 1));
    mei.send(b"ping").await.unwrap();
    assert_eq!(mei.recv(HANDSHAKE).await.unwrap(), b"pong");
    let long = mei.send(&[0; 65]).await.unwrap_err();
    assert!(matches!(long, MeiError::TooLong { length: 65, most: 64, .. }), "{long}");
    let quiet = mei.recv(Duration::from_millis(1)).await.unwrap_err();
    assert!(matches!(quiet, MeiError::Timeout { .. }), "{quiet}");
    mei.send(b"more").await.unwrap();
    let cut = mei.recv(HANDSHAKE).await.unwrap_err();
    assert!(matches!(cut, MeiError::Truncated { most: 64, .. }), "{cut}");
    mei.send(b"last").await.unwrap();
    let gone = mei.recv(HANDSHAKE).await.unwrap_err();
    assert!(matches!(gone, MeiError::Disconnected { .. }), "{gone}");
    let seen = peer.join().unwrap();
    assert_eq!(seen[0], Guid::parse(PTHI).unwrap().wire());
    assert_eq!(seen[1..], [b"ping".to_vec(), b"more".to_vec(), b"last".to_vec()]);
}

#[tokio::test]
async fn refusals_are_told_apart() {
    const BUSY: i32 = 16;
    let cases: [(Script, Expected); 7] = [
        (vec![vec![errno(25)]], |e| matches!(e, MeiError::NoClient { .. })),
        (vec![vec![errno(BUSY)], vec![errno(BUSY)], vec![errno(BUSY)]], |e| {
            matches!(e, MeiError::Busy { .. })
        }),
        (vec![vec![errno(19)]], |e| matches!(e, MeiError::NotReady { .. })),
        (vec![vec![errno(13)]], |e| matches!(e, MeiError::Permission { .. })),
        (vec![vec![None]], |e| matches!(e, MeiError::NotReady { .. })),
        (vec![vec![Some(vec![1, 2, 3])]], |e| matches!(e, MeiError::Io { .. })),
        (vec![vec![errno(-5)]], |e| matches!(e, MeiError::Io { .. })),
    ];
    for (number, (script, expected)) in cases.into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let connections = script.len();
        let peer = serve(dir.path(), "mei0", script);
        let error = open(dir.path()).mei_connect(LME).await.unwrap_err();
        assert!(expected(&error), "case {number}: {error}");
        assert_eq!(peer.join().unwrap().len(), connections, "case {number}: bounded retries, for EBUSY only");
    }
}

#[tokio::test]
async fn a_client_that_was_busy_once_is_reached() {
    let dir = tempfile::tempdir().unwrap();
    let peer = serve(dir.path(), "mei0", vec![vec![errno(16)], vec![accepted(64)]]);
    assert!(open(dir.path()).mei_connect(LME).await.is_ok());
    assert_eq!(peer.join().unwrap().len(), 2);
}

#[tokio::test]
async fn the_next_node_is_tried_where_the_first_lacks_the_client() {
    let dir = tempfile::tempdir().unwrap();
    let first = serve(dir.path(), "mei0", vec![vec![errno(25)]]);
    let second = serve(dir.path(), "mei1", vec![vec![accepted(512)]]);
    assert_eq!(open(dir.path()).mei_connect(PTHI).await.unwrap().max_msg_length, 512);
    first.join().unwrap();
    second.join().unwrap();
}

#[tokio::test]
async fn sysfs_says_which_node_is_asked_first_and_which_never() {
    let dir = tempfile::tempdir().unwrap();
    let write = |rel: &str, text: &str| {
        let path = dir.path().join(rel);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    for (node, kind, parent) in
        [("mei0", "itouch", "0000:00:16.4"), ("mei1", "mei", "0000:00:16.1"), ("mei2", "mei", "0000:00:16.0")]
    {
        write(&format!("sys/class/mei/{node}/kind"), kind);
        symlink(format!("../../../{parent}"), dir.path().join("sys/class/mei").join(node).join("device"))
            .unwrap();
    }
    write(&format!("sys/bus/mei/devices/0000:00:16.0-{PTHI}/uuid"), PTHI);
    for node in ["mei0", "mei1", "mei2"] {
        write(&format!("dev/{node}"), "");
    }
    assert_eq!(open(dir.path()).mei_nodes(PTHI), ["mei2", "mei1"]);
}

#[tokio::test]
async fn nothing_but_a_socket_beneath_the_root_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let error = open(dir.path()).mei_connect(PTHI).await.unwrap_err();
    assert!(matches!(error, MeiError::NoDriver), "{error}");
    std::fs::create_dir_all(dir.path().join("dev")).unwrap();
    std::fs::write(dir.path().join("dev/mei0"), "").unwrap();
    let error = open(dir.path()).mei_connect(PTHI).await.unwrap_err();
    assert!(error.to_string().contains("only a socket"), "{error}");
    // A link that leads out of the root ends inside it, where nothing is.
    let outside = tempfile::tempdir().unwrap();
    let _peer = serve(outside.path(), "mei0", vec![]);
    std::fs::remove_file(dir.path().join("dev/mei0")).unwrap();
    symlink(outside.path().join("dev/mei0"), dir.path().join("dev/mei0")).unwrap();
    let error = open(dir.path()).mei_connect(PTHI).await.unwrap_err();
    assert!(matches!(error, MeiError::NoDriver), "{error}");
    assert!(matches!(open(dir.path()).mei_connect("nonsense").await.unwrap_err(), MeiError::Io { .. }));
}

#[tokio::test]
async fn a_socket_that_nobody_serves_is_not_ready() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("dev")).unwrap();
    let dead = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    bind(&dead, &SocketAddrUnix::new(dir.path().join("dev/mei0")).unwrap()).unwrap();
    drop(dead);
    let error = open(dir.path()).mei_connect(PTHI).await.unwrap_err();
    assert!(matches!(error, MeiError::NotReady { .. }), "{error}");
}
