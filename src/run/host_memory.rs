//! How much memory there is: that of the host, or what the container may use of it.

use std::fs;
use std::path::{Path, PathBuf};

/// Bytes of memory that processes of this one's control group can have in all: the host's, or the lowest
/// bound of the group and those above it (cgroup v2 and v1). None where `/proc` does not tell.
pub fn host_memory() -> Option<u64> {
    let total = total(&fs::read_to_string("/proc/meminfo").ok()?)?;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let bounds = bound_files(&groups, Path::new("/sys/fs/cgroup")).into_iter();
    let lowest = bounds.filter_map(|file| bound(&fs::read_to_string(file).ok()?)).min();
    Some(lowest.map_or(total, |bound| bound.min(total)))
}

/// `MemTotal` of `/proc/meminfo`, in bytes.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// What a file of the control group says; None for `max`.
fn bound(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|bytes| *bytes > 0)
}

/// The files that may hold a bound, from the group up to the root of what is mounted here. In a container
/// the group's path may be the host's and mean nothing here; the root is then the container's own group.
fn bound_files(groups: &str, mount: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let (root, name) = match controllers {
            "" => (mount.to_owned(), "memory.max"),
            "memory" => (mount.join("memory"), "memory.limit_in_bytes"),
            _ => continue,
        };
        let group = root.join(path.trim_start_matches('/'));
        let above = group.ancestors().take_while(|dir| dir.starts_with(&root));
        files.extend(above.map(|dir| dir.join(name)));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_tells_its_memory() {
        assert_eq!(
            total("MemFree: 1 kB\nMemTotal:       16303848 kB\n"),
            Some(16_303_848 * 1024)
        );
        assert_eq!((total(""), total("MemTotal: x kB\n")), (None, None));
        assert!(host_memory().is_some_and(|bytes| bytes > 1 << 20));
    }

    #[test]
    fn a_bound_is_looked_for_in_the_group_and_above() {
        let files = |groups: &str| -> Vec<String> {
            let found = bound_files(groups, Path::new("/c"));
            found.into_iter().map(|path| path.display().to_string()).collect()
        };
        assert_eq!(files("0::/\n"), ["/c/memory.max"]);
        assert_eq!(
            files("0::/user.slice/a\n"),
            [
                "/c/user.slice/a/memory.max",
                "/c/user.slice/memory.max",
                "/c/memory.max"
            ]
        );
        assert_eq!(
            files("8:pids:/\n4:memory:/docker/1\n0::/\n"),
            [
                "/c/memory/docker/1/memory.limit_in_bytes",
                "/c/memory/docker/memory.limit_in_bytes",
                "/c/memory/memory.limit_in_bytes",
                "/c/memory.max"
            ]
        );
        assert_eq!(files("rubbish\n"), Vec::<String>::new());
        assert_eq!((bound("max\n"), bound("4096\n"), bound("")), (None, Some(4096), None));
    }
}
