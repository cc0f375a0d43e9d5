//! Ports of 127.0.0.1: free ones, reserved against every other process of this kind, and fixed ones
//! with the name of whoever sits there.

use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{Ipv4Addr, TcpListener};

use crate::cache::Cache;
use crate::error::{Error, IoContext as _, Result};

/// Below every system's range for outgoing connections: a client that reconnects to a stopped
/// service would otherwise sooner or later be given the service's own port.
const FIRST: u16 = 20_000;
const LAST: u16 = 29_999;

/// A port that belongs to this owner until it is dropped.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    /// Held, never read: other owners see the lock.
    _reservation: Option<File>,
}

impl Port {
    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    /// Finds and reserves a free port.
    pub(crate) fn free(cache: &Cache) -> Result<Self> {
        let count = u64::from(LAST - FIRST) + 1;
        let start = RandomState::new().hash_one(std::process::id()) % count;
        for step in 0..count {
            let offset = u16::try_from((start + step) % count).expect("the count fits in 16 bits");
            let number = FIRST + offset;
            let path = cache.folder("ports")?.join(number.to_string());
            let reservation = File::create(&path).io("create", &path)?;
            if reservation.try_lock().is_ok() && is_free(number) {
                return Ok(Self {
                    number,
                    _reservation: Some(reservation),
                });
            }
        }
        Err(Error::NoFreePort(FIRST, LAST))
    }

    /// Takes one particular port, or says who has it.
    pub(crate) fn fixed(number: u16, what: &str, hint: &str) -> Result<Self> {
        if is_free(number) {
            return Ok(Self {
                number,
                _reservation: None,
            });
        }
        let owner = owner(number)
            .map(|owner| format!(" by {owner}"))
            .unwrap_or_default();
        Err(Error::PortTaken {
            port: number,
            what: what.to_owned(),
            owner,
            hint: hint.to_owned(),
        })
    }
}

fn is_free(number: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok()
}

/// Names the process that listens on a port, where the system shows it (Linux, own processes).
fn owner(number: u16) -> Option<String> {
    let sockets = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .flat_map(|table| listening_inodes(&table, number))
        .map(|inode| format!("socket:[{inode}]"))
        .collect::<Vec<_>>();
    let holds = |process: &std::fs::DirEntry| {
        let Ok(descriptors) = process.path().join("fd").read_dir() else {
            return false;
        };
        descriptors
            .flatten()
            .filter_map(|descriptor| descriptor.path().read_link().ok())
            .any(|target| {
                sockets
                    .iter()
                    .any(|socket| target.as_os_str() == socket.as_str())
            })
    };
    let is_number = |process: &std::fs::DirEntry| {
        process
            .file_name()
            .to_str()
            .is_some_and(|name| name.parse::<u32>().is_ok())
    };
    let processes = std::fs::read_dir("/proc").ok()?.flatten().filter(is_number);
    let process = processes.into_iter().find(holds)?;
    let pid = process.file_name().into_string().ok()?;
    let name = std::fs::read_to_string(process.path().join("comm")).ok()?;
    Some(format!("pid {pid} ({})", name.trim()))
}

/// The inodes of the sockets of one `/proc/net/tcp` table that listen on a port.
fn listening_inodes(table: &str, number: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    let suffix = format!(":{number:04X}");
    table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields.len() > 9 && fields[1].ends_with(&suffix) && fields[3] == LISTEN)
        .map(|fields| fields[9].to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn free_ports_are_distinct_while_they_are_held() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let cache = Cache::at(folder.path());
        let ports = (0..50)
            .map(|_| Port::free(&cache).expect("a free port"))
            .collect::<Vec<_>>();
        let numbers = ports.iter().map(Port::number).collect::<BTreeSet<_>>();
        assert_eq!(numbers.len(), ports.len());
        assert!(numbers.iter().all(|number| (FIRST..=LAST).contains(number)));
    }

    #[test]
    fn a_taken_fixed_port_is_refused_with_the_hint() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("any port");
        let number = listener.local_addr().expect("a bound socket").port();
        let error = Port::fixed(number, "Kafka", "end it").expect_err("the port is taken");
        let message = error.to_string();
        assert!(
            message.contains(&format!("port {number} for Kafka is taken")),
            "{message}"
        );
        assert!(message.ends_with("end it"), "{message}");
        if cfg!(target_os = "linux") {
            assert!(
                message.contains(&format!("by pid {}", std::process::id())),
                "{message}"
            );
        }
    }

    #[test]
    fn a_free_fixed_port_is_given() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let free = Port::free(&Cache::at(folder.path())).expect("a free port");
        let port = Port::fixed(free.number(), "Kafka", "end it").expect("nobody listens there");
        assert_eq!(port.number(), free.number());
    }

    #[test]
    fn only_listening_sockets_of_the_port_count() {
        let table = "  sl  local_address rem_address   st tx rx tr tm retr uid timeout inode\n\
            0: 0100007F:2384 00000000:0000 0A 0:0 0:0 0 0 0 4242 1\n\
            1: 0100007F:2384 0100007F:D1A2 01 0:0 0:0 0 0 0 4243 1\n\
            2: 0100007F:6989 00000000:0000 0A 0:0 0:0 0 0 0 4244 1\n";
        // The columns of the kernel: sl, local, remote, st, queues, timer, retransmits, uid, timeout, inode.
        assert_eq!(listening_inodes(table, 0x2384), ["4242"]);
    }
}
