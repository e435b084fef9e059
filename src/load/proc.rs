//! What Linux tells of a process and of sockets; on other systems there is nothing to read, and
//! the figures are absent.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// A process at one moment.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Nanoseconds on a CPU, by thread.
    cpu: BTreeMap<u32, u64>,
    /// Context switches that it asked for by waiting, and others, by thread.
    switches: BTreeMap<u32, (u64, u64)>,
    /// Resident memory in KiB.
    pub resident: u64,
}

/// What a process used between two moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// CPU time of all threads.
    pub cpu: Duration,
    /// Context switches because it waited.
    pub voluntary: u64,
    /// Context switches because somebody else was let on the CPU.
    pub involuntary: u64,
}

impl Sample {
    /// The process as it is now; `None` if there is none of this number, or no `/proc`.
    #[must_use]
    pub fn take(pid: u32) -> Option<Self> {
        let base = Path::new("/proc").join(pid.to_string());
        let mut sample = Self {
            resident: field(&fs::read_to_string(base.join("status")).ok()?, "VmRSS:"),
            ..Self::default()
        };
        for entry in fs::read_dir(base.join("task")).ok()?.flatten() {
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // A thread that ended meanwhile is left out.
            let read = |name: &str| fs::read_to_string(entry.path().join(name));
            let (Ok(schedstat), Ok(status)) = (read("schedstat"), read("status")) else { continue };
            sample.cpu.insert(id, first_number(&schedstat));
            let voluntary = field(&status, "voluntary_ctxt_switches:");
            let involuntary = field(&status, "nonvoluntary_ctxt_switches:");
            sample.switches.insert(id, (voluntary, involuntary));
        }
        Some(sample)
    }

    /// What it used since `earlier`. Threads that ended meanwhile are left out.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Used {
        let cpu = self
            .cpu
            .iter()
            .map(|(id, now)| now.saturating_sub(earlier.cpu.get(id).copied().unwrap_or(0)));
        let mut used = Used { cpu: Duration::from_nanos(cpu.sum()), ..Used::default() };
        for (id, (voluntary, involuntary)) in &self.switches {
            let before = earlier.switches.get(id).copied().unwrap_or((0, 0));
            used.voluntary += voluntary.saturating_sub(before.0);
            used.involuntary += involuntary.saturating_sub(before.1);
        }
        used
    }
}

/// Datagrams that the kernel dropped because a socket of ours was full; `None` without `/proc`.
#[must_use]
pub fn socket_drops(ports: &BTreeSet<u16>) -> Option<u64> {
    let tables = ["/proc/net/udp", "/proc/net/udp6"].map(fs::read_to_string);
    if tables.iter().all(Result::is_err) {
        return None;
    }
    Some(tables.iter().flatten().map(|table| drops(table, ports)).sum())
}

/// The last column of the lines whose local port is one of ours.
fn drops(table: &str, ports: &BTreeSet<u16>) -> u64 {
    let of = |line: &str| -> Option<u64> {
        let mut columns = line.split_ascii_whitespace();
        let (_, port) = columns.nth(1)?.rsplit_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        ports.contains(&port).then(|| columns.last()?.parse().ok())?
    };
    table.lines().skip(1).filter_map(of).sum()
}

fn first_number(text: &str) -> u64 {
    text.split_ascii_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// The number after a name at the beginning of a line.
fn field(text: &str, name: &str) -> u64 {
    text.lines().find_map(|line| line.strip_prefix(name)).map_or(0, first_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_at_the_beginning_of_their_line() {
        let status = "Name:\tx\nVmRSS:\t  1234 kB\nvoluntary_ctxt_switches:\t7\n\
                      nonvoluntary_ctxt_switches:\t3\n";
        assert_eq!(field(status, "VmRSS:"), 1234);
        assert_eq!(field(status, "voluntary_ctxt_switches:"), 7);
        assert_eq!(field(status, "nonvoluntary_ctxt_switches:"), 3);
        assert_eq!(field(status, "VmSwap:"), 0);
        assert_eq!(first_number("918273645 1 2\n"), 918_273_645);
    }

    #[test]
    fn drops_of_our_ports_are_added_and_no_others() {
        let table = "  sl  local_address rem_address st tx rx tr tm re uid timeout inode ref p drops\n\
            1: 0100007F:1F90 00000000:0000 07 0:0 00:0 0 0 0 17 2 0 5\n\
            2: 0100007F:1F91 00000000:0000 07 0:0 00:0 0 0 0 18 2 0 7\n\
            3: 00000000000000000000000001000000:1F92 0:0 07 0:0 00:0 0 0 0 19 2 0 11\n\
            4: nonsense\n";
        assert_eq!(drops(table, &BTreeSet::from([0x1f90, 0x1f92])), 16);
        assert_eq!(drops("", &BTreeSet::from([1])), 0);
    }

    #[test]
    fn the_difference_of_two_samples_counts_new_threads_whole() {
        let sample = |threads: &[(u32, u64)]| Sample {
            cpu: threads.iter().copied().collect(),
            switches: threads.iter().map(|(id, n)| (*id, (*n, 1))).collect(),
            resident: 0,
        };
        let used = sample(&[(1, 50), (3, 7)]).since(&sample(&[(1, 20), (2, 90)]));
        assert_eq!(used, Used { cpu: Duration::from_nanos(37), voluntary: 37, involuntary: 1 });
    }
}
