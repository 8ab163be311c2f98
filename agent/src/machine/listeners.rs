//! Who listens on a TCP port of this host, as the kernel lists it: seen without a connection.

use super::{Machine, Seen};

/// `st` of a socket that listens.
const LISTEN: &str = "0A";

impl Machine {
    /// The users whose programs listen on a TCP port of the host, none where nobody does.
    pub fn listeners(&self, port: u16) -> Seen<Vec<u32>> {
        let table = match self.look("proc/net/tcp") {
            Seen::Found(bytes) => bytes,
            Seen::Missing => return Seen::Missing,
            Seen::Refused(why) => return Seen::Refused(why),
        };
        // A kernel without IPv6 has no such table.
        let more = self.look("proc/net/tcp6").found().unwrap_or_default();
        let mut owners = owners(&table, port);
        owners.extend(self::owners(&more, port));
        Seen::Found(owners)
    }
}

/// `sl local_address rem_address st tx:rx tr:when retrnsmt uid ...`, addresses as HEX:PORT.
fn owners(table: &[u8], port: u16) -> Vec<u32> {
    let text = String::from_utf8_lossy(table);
    let owner = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (_, local) = (words.next()?, words.next()?);
        let (_, state) = (words.next()?, words.next()?);
        let listens = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()? == port && state == LISTEN;
        words.nth(3)?.parse().ok().filter(|_| listens)
    };
    text.lines().skip(1).filter_map(owner).collect()
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
    fn this_very_host_lists_what_listens_on_it() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let live = Machine::open(std::path::Path::new("/")).unwrap();
        let me = rustix::process::geteuid().as_raw();
        assert_eq!(live.listeners(port), Seen::Found(vec![me]));
    }
}
