//! Who listens on a TCP port of this host, and who has taken a connection to it, as the kernel lists them.

use super::{Machine, Seen};

/// `st` of a socket that listens.
const LISTEN: &str = "0A";

impl Machine {
    /// The users whose programs listen on a TCP port of the host, none where nobody does.
    pub fn listeners(&self, port: u16) -> Seen<Vec<u32>> {
        self.owners(|socket| socket.listens && socket.local == port)
    }

    /// The users whose programs listen on a TCP port of the host, or have taken the connection that came to it from `from`:
    /// he who stops listening once he has a connection still has that.
    ///
    /// One reading is enough, since the kernel lists what listens before what is connected: who was not seen to listen any
    /// more had taken the connection before.
    pub fn other_end(&self, port: u16, from: u16) -> Seen<Vec<u32>> {
        self.owners(|socket| socket.local == port && (socket.listens || socket.remote == from))
    }

    fn owners(&self, wanted: impl Fn(&Socket) -> bool) -> Seen<Vec<u32>> {
        let mut owners = Vec::new();
        for table in ["proc/net/tcp", "proc/net/tcp6"] {
            match self.look(table) {
                Seen::Found(bytes) => {
                    owners.extend(sockets(&bytes).into_iter().filter(&wanted).map(|socket| socket.owner))
                }
                // A kernel without IPv6 has no such table.
                Seen::Missing if table.ends_with('6') => {}
                Seen::Missing => return Seen::Missing,
                Seen::Refused(why) => return Seen::Refused(why),
            }
        }
        Seen::Found(owners)
    }
}

struct Socket {
    local: u16,
    remote: u16,
    listens: bool,
    owner: u32,
}

/// `sl local_address rem_address st tx:rx tr:when retrnsmt uid ...`, addresses as HEX:PORT.
fn sockets(table: &[u8]) -> Vec<Socket> {
    let text = String::from_utf8_lossy(table);
    let socket = |line: &str| {
        let mut words = line.split_ascii_whitespace().skip(1);
        let (local, remote) = (port(words.next()?)?, port(words.next()?)?);
        let listens = words.next()? == LISTEN;
        Some(Socket { local, remote, listens, owner: words.nth(3)?.parse().ok()? })
    };
    text.lines().skip(1).filter_map(socket).collect()
}

fn port(address: &str) -> Option<u16> {
    u16::from_str_radix(address.rsplit_once(':')?.1, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_read_with_their_owners() {
        let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
        let line = |local: &str, state: &str, uid: u32| {
            format!(
                "   0: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  {uid:>4}        0 12345 1 0\n"
            )
        };
        let root = tempfile::tempdir().unwrap();
        let machine = Machine::open(root.path()).unwrap();
        assert_eq!(machine.listeners(16992), Seen::Missing);
        std::fs::create_dir_all(root.path().join("proc/net")).unwrap();
        let table = [
            head,
            &line("0100007F:4260", "0A", 1000),
            &line("0100007F:4260", "01", 7),
            &line("0100007F:4261", "0A", 8),
            "garbage\n",
        ];
        std::fs::write(root.path().join("proc/net/tcp"), table.concat()).unwrap();
        assert_eq!(machine.listeners(16992), Seen::Found(vec![1000]));
        let sixth = [head, &line("00000000000000000000000000000000:4260", "0A", 0)].concat();
        std::fs::write(root.path().join("proc/net/tcp6"), sixth).unwrap();
        assert_eq!(machine.listeners(16992), Seen::Found(vec![1000, 0]));
        assert_eq!(machine.listeners(16993), Seen::Found(vec![8]));
        assert_eq!(machine.listeners(1), Seen::Found(Vec::new()));
    }

    #[test]
    fn who_took_a_connection_and_stopped_listening_is_seen() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("proc/net")).unwrap();
        let line = |local: &str, remote: &str, state: &str, uid: u32| {
            format!("   0: 0100007F:{local} 0100007F:{remote} {state} 0:0 0:0 0 {uid} 0 1\n")
        };
        // 8001 is our own end, 8002 another's connection.
        let table = [
            "  sl\n",
            &line("4260", "8001", "01", 1000),
            &line("8001", "4260", "01", 0),
            &line("4260", "8002", "01", 7),
        ];
        std::fs::write(root.path().join("proc/net/tcp"), table.concat()).unwrap();
        let machine = Machine::open(root.path()).unwrap();
        assert_eq!(machine.listeners(16992), Seen::Found(Vec::new()));
        assert_eq!(machine.other_end(16992, 0x8001), Seen::Found(vec![1000]));
        assert_eq!(machine.other_end(16992, 0x8003), Seen::Found(Vec::new()));
    }

    #[test]
    fn this_very_host_lists_what_listens_on_it() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let live = Machine::open(std::path::Path::new("/")).unwrap();
        let me = rustix::process::geteuid().as_raw();
        assert_eq!(live.listeners(port), Seen::Found(vec![me]));
        let ours = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let from = ours.local_addr().unwrap().port();
        let taken = listener.accept().unwrap();
        assert_eq!(live.other_end(port, from), Seen::Found(vec![me; 2]));
        // A process that another test is just starting may hold it too, until its exec.
        rustix::net::shutdown(&listener, rustix::net::Shutdown::Both).unwrap();
        drop(listener);
        assert_eq!(live.other_end(port, from), Seen::Found(vec![me]), "{taken:?}");
    }
}
