//! Where leaves can be made: the group of cgroup v2 in which the supervisor runs, where that is its own to
//! divide. A foreign group is never changed beyond a folder of our own in it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access, getxattr};

use super::leaf::write;

/// What leaves may use of controllers.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];
/// The group of the supervisor itself, beside the leaves: the kernel gives controllers only to groups whose
/// parent holds no process.
const OWN: &str = "supervisor";

/// A group in which leaves can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegation {
    pub dir: PathBuf,
    /// What a leaf can be limited in: some of `cpu`, `memory`, `pids`.
    pub controllers: Vec<String>,
}

impl Delegation {
    /// Finds the group of this process and divides it where that is safe. The error says why no leaf can be
    /// made.
    pub fn take() -> Result<Delegation, String> {
        let read = |path: &str| fs::read_to_string(path).map_err(|source| format!("cannot read {path}: {source}"));
        let own =
            own_group(&read("/proc/self/cgroup")?, &read("/proc/self/mountinfo")?).ok_or("no cgroup v2 is mounted")?;
        divide(&own, &is_multibot)
    }
}

/// The folder of this process's group, from the texts of `/proc/self/cgroup` and `/proc/self/mountinfo`.
fn own_group(cgroup: &str, mountinfo: &str) -> Option<PathBuf> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::"))?;
    mountinfo.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        if kind.split(' ').next() != Some("cgroup2") {
            return None;
        }
        let mut fields = mount.split(' ').skip(3);
        let (root, at) = (unescaped(fields.next()?), unescaped(fields.next()?));
        // A group outside of what is mounted here has no folder.
        let below = Path::new(path).strip_prefix(&root).ok()?;
        let is_inside = below
            .components()
            .all(|part| matches!(part, std::path::Component::Normal(_)));
        // An empty path would leave a slash at the end.
        is_inside.then(|| {
            std::iter::once(Path::new(&at))
                .chain(below.iter().map(Path::new))
                .collect()
        })
    })
}

/// The kernel writes blanks and backslashes of a path as `\040` and the like.
fn unescaped(field: &str) -> String {
    let mut text = field.to_owned();
    for (code, sign) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        text = text.replace(code, sign);
    }
    text
}

/// Makes `own`, or the group above if this is the supervisor's from an earlier time, ready for leaves.
fn divide(own: &Path, is_ours: &dyn Fn(u32) -> bool) -> Result<Delegation, String> {
    let above = own.parent().filter(|_| own.file_name().is_some_and(|name| name == OWN));
    let dir = match above.filter(|dir| is_writable(dir)) {
        Some(dir) => {
            // Refused where somebody has moved a process in; then what is enabled already must do.
            let _ = enable(dir);
            dir
        }
        None => {
            if !is_writable(own) {
                return Err(format!("{} is not writable", own.display()));
            }
            if is_divisible(own, is_ours) {
                step_aside(own).map_err(|source| format!("cannot divide {}: {source}", own.display()))?;
            }
            own
        }
    };
    let enabled = fs::read_to_string(dir.join("cgroup.subtree_control")).unwrap_or_default();
    let has = |name: &&str| enabled.split_ascii_whitespace().any(|word| word == *name);
    Ok(Delegation {
        dir: dir.to_owned(),
        controllers: CONTROLLERS
            .iter()
            .filter(|name| has(name))
            .map(|name| (*name).to_owned())
            .collect(),
    })
}

/// Whether processes may be moved into a group below this one.
fn is_writable(dir: &Path) -> bool {
    access(dir, Access::WRITE_OK).is_ok() && access(dir.join("cgroup.procs"), Access::WRITE_OK).is_ok()
}

/// Whether the group was handed to us to be divided, and only multibot is in it. The group at the root of
/// the host has no type; it is everybody's.
fn is_divisible(dir: &Path, is_ours: &dyn Fn(u32) -> bool) -> bool {
    let is_root_of_host = !dir.join("cgroup.type").exists();
    let members = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    let mut pids = members.lines().filter_map(|line| line.parse().ok());
    !is_root_of_host && is_handed_over(dir) && pids.all(is_ours)
}

/// A service manager marks what it hands over; what belongs to an ordinary user was handed to that user;
/// and what is at the root of a container's view is the container's. Root could write anywhere: that says
/// nothing.
fn is_handed_over(dir: &Path) -> bool {
    let mut value = [0u8; 8];
    let is_marked = ["user.delegate", "trusted.delegate"]
        .iter()
        .any(|name| getxattr(dir, *name, &mut value[..]).is_ok_and(|length| length > 0 && value[0] == b'1'));
    let is_users = fs::metadata(dir).is_ok_and(|meta| meta.uid() != 0);
    let is_top = dir.parent().is_none_or(|above| !above.join("cgroup.procs").exists());
    is_marked || is_users || is_top
}

/// Moves multibot's own processes into a group of their own and enables what leaves may use. If that fails
/// all is as before.
fn step_aside(dir: &Path) -> io::Result<()> {
    let own = dir.join(OWN);
    super::leaf::make(&own)?;
    let members = fs::read_to_string(dir.join("cgroup.procs"))?;
    let moved = members
        .lines()
        .try_for_each(|pid| write(&own.join("cgroup.procs"), pid))
        .and_then(|()| enable(dir));
    if let Err(error) = moved {
        for pid in members.lines() {
            let _ = write(&dir.join("cgroup.procs"), pid);
        }
        let _ = fs::remove_dir(&own);
        return Err(error);
    }
    Ok(())
}

fn enable(dir: &Path) -> io::Result<()> {
    let offered = fs::read_to_string(dir.join("cgroup.controllers"))?;
    let enabled = fs::read_to_string(dir.join("cgroup.subtree_control"))?;
    let has = |text: &str, name: &str| text.split_ascii_whitespace().any(|word| word == name);
    let missing: Vec<String> = CONTROLLERS
        .iter()
        .filter(|name| has(&offered, name) && !has(&enabled, name))
        .map(|name| format!("+{name}"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    write(&dir.join("cgroup.subtree_control"), &missing.join(" "))
}

/// Whether a process runs this very program.
fn is_multibot(pid: u32) -> bool {
    let program = |of: &str| {
        fs::metadata(format!("/proc/{of}/exe"))
            .map(|meta| (meta.dev(), meta.ino()))
            .ok()
    };
    let own = program("self");
    own.is_some() && program(&pid.to_string()) == own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_group_is_found_in_every_layout() {
        let mount = |root: &str, at: &str| {
            format!(
                "25 1 0:22 / /proc rw - proc proc rw\n31 23 0:28 {root} {at} rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"
            )
        };
        for (cgroup, mountinfo, folder) in [
            ("0::/\n", mount("/", "/sys/fs/cgroup"), Some("/sys/fs/cgroup")),
            (
                "9:pids:/x\n0::/system.slice/multibot.service\n",
                mount("/", "/sys/fs/cgroup/unified"),
                Some("/sys/fs/cgroup/unified/system.slice/multibot.service"),
            ),
            ("0::/docker/7/a\n", mount("/docker/7", "/cg\\040two"), Some("/cg two/a")),
            ("0::/other\n", mount("/docker/7", "/cg"), None),
            ("0::/../outside\n", mount("/", "/cg"), None),
            ("4:memory:/x\n", mount("/", "/cg"), None),
            (
                "0::/\n",
                "31 23 0:28 / /cg rw - cgroup cgroup rw,cpu\n".to_owned(),
                None,
            ),
        ] {
            let found = own_group(cgroup, &mountinfo);
            assert_eq!(found.as_deref(), folder.map(Path::new), "{cgroup} {mountinfo}");
        }
    }

    /// A folder that looks like a group with these processes.
    fn double(dir: &Path, pids: &str) {
        fs::create_dir_all(dir.join(OWN)).unwrap();
        for (name, text) in [
            ("cgroup.type", "domain\n"),
            ("cgroup.procs", pids),
            ("cgroup.controllers", "cpuset cpu io memory pids\n"),
            ("cgroup.subtree_control", ""),
            ("supervisor/cgroup.procs", ""),
        ] {
            fs::write(dir.join(name), text).unwrap();
        }
    }

    fn text(dir: &Path, name: &str) -> String {
        fs::read_to_string(dir.join(name)).unwrap()
    }

    #[test]
    fn a_group_of_our_own_is_divided_and_found_again_from_within() {
        let dir = tempfile::tempdir().unwrap();
        double(dir.path(), "7\n");
        divide(dir.path(), &|pid| pid == 7).unwrap();
        assert_eq!(text(dir.path(), "supervisor/cgroup.procs"), "7");
        assert_eq!(text(dir.path(), "cgroup.subtree_control"), "+cpu +memory +pids");
        // As the kernel shows it afterwards.
        fs::write(dir.path().join("cgroup.subtree_control"), "cpu memory pids\n").unwrap();
        let found = divide(&dir.path().join(OWN), &|_| false).unwrap();
        assert_eq!(
            (found.dir.as_path(), found.controllers.join(" ")),
            (dir.path(), "cpu memory pids".into())
        );
    }

    #[test]
    fn a_group_with_others_in_it_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        double(dir.path(), "7\n8\n");
        let found = divide(dir.path(), &|pid| pid == 7).unwrap();
        assert_eq!((found.dir.as_path(), found.controllers), (dir.path(), vec![]));
        assert_eq!(text(dir.path(), "supervisor/cgroup.procs"), "");
        assert_eq!(text(dir.path(), "cgroup.subtree_control"), "");
        // The same for the host's own root, which has no type.
        fs::write(dir.path().join("cgroup.procs"), "7\n").unwrap();
        fs::remove_file(dir.path().join("cgroup.type")).unwrap();
        divide(dir.path(), &|pid| pid == 7).unwrap();
        assert_eq!(text(dir.path(), "cgroup.subtree_control"), "");
    }

    #[test]
    fn what_is_no_group_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let error = divide(dir.path(), &|_| true).unwrap_err();
        assert!(error.ends_with(" is not writable"), "{error}");
    }
}
