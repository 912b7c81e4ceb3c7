//! What processes have open: how many files, and which TCP connections.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

/// State of a connection that both ends hold, in `/proc/net/tcp`.
const ESTABLISHED: &str = "01";

/// How many files a process has open; None where this user may not know, or the process is gone.
pub fn count(pid: u32) -> Option<u64> {
    let dir = format!("/proc/{pid}/fd");
    // Since Linux 6.2 the folder's size is their number; before that it is zero, and they are counted.
    let told = fs::metadata(&dir).ok()?.len();
    if told > 0 {
        return Some(told);
    }
    Some(fs::read_dir(dir).ok()?.flatten().count() as u64)
}

/// All established TCP connections of this network namespace, by the inodes of their sockets.
#[derive(Debug, Default)]
pub struct Connections(HashSet<u64>);

impl Connections {
    /// Reads the tables of IPv4 and IPv6. A host without one of them has none there.
    pub fn read() -> Connections {
        let tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
        let texts = tables.into_iter().filter_map(|table| fs::read_to_string(table).ok());
        Connections(texts.flat_map(|text| inodes(&text)).collect())
    }

    /// How many of them these processes hold. One that several hold counts once. None where this user may
    /// not know of any.
    pub fn held_by(&self, pids: impl Iterator<Item = u32>) -> Option<u64> {
        if self.0.is_empty() {
            return Some(0);
        }
        let folders: Vec<_> = pids
            .filter_map(|pid| fs::read_dir(format!("/proc/{pid}/fd")).ok())
            .collect();
        if folders.is_empty() {
            return None;
        }
        let files = folders.into_iter().flat_map(|folder| folder.flatten());
        let sockets = files.filter_map(|file| socket_inode(&fs::read_link(file.path()).ok()?));
        Some(
            sockets
                .filter(|inode| self.0.contains(inode))
                .collect::<HashSet<u64>>()
                .len() as u64,
        )
    }
}

/// The sockets of established connections in one of the kernel's tables.
fn inodes(table: &str) -> Vec<u64> {
    let lines = table.lines().skip(1);
    lines
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let is_established = fields.nth(3)? == ESTABLISHED;
            let inode = fields.nth(5)?.parse().ok()?;
            is_established.then_some(inode)
        })
        .collect()
}

/// `socket:[4711]`
fn socket_inode(link: &Path) -> Option<u64> {
    link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn tables_and_links_are_understood() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0  0 21 1 0 100 0 0 10 0\n\
            1: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000  0  0 22 1 0 20 4 30 10 -1\n\
            2: torn\n";
        assert_eq!(inodes(table), [22]);
        assert_eq!(inodes(""), Vec::<u64>::new());
        assert_eq!(socket_inode(Path::new("socket:[22]")), Some(22));
        assert_eq!(socket_inode(Path::new("/dev/null")), None);
    }

    #[test]
    fn both_ends_of_a_connection_are_counted_and_a_listener_is_not() {
        let me = std::process::id();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (far, _) = listener.accept().unwrap();
        let mine = |stream: &TcpStream| {
            let fd = std::os::fd::AsRawFd::as_raw_fd(stream);
            socket_inode(&fs::read_link(format!("/proc/{me}/fd/{fd}")).unwrap()).unwrap()
        };
        let all = Connections::read();
        assert!(all.0.contains(&mine(&near)) && all.0.contains(&mine(&far)));
        // Other tests of this process may have connections of their own.
        let only = Connections(HashSet::from([mine(&near), mine(&far), 1]));
        assert_eq!(only.held_by([me, me].into_iter()), Some(2));
        assert!(count(me).is_some_and(|files| files >= 5));
        assert_eq!((count(u32::MAX), only.held_by([u32::MAX].into_iter())), (None, None));
    }
}
