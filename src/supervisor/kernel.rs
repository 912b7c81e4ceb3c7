//! From what an operator wants the kernel to enforce to the orders of a shim. Pure.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::model::bot::{BotId, BotSpec};
use crate::model::kernel::{GroupWhen, MemoryMax};
use crate::model::units::show_size;
use crate::run::delegation::Delegation;
use crate::run::orders::{GROUP, KernelOrders, LeafLimit, NOT_IN_FORCE};

/// The kernel counts CPU in shares of this many microseconds.
const CPU_PERIOD_US: u64 = 100_000;
/// Less than this of a period is refused by the kernel.
const CPU_QUOTA_US_MIN: u64 = 1000;
const MEMORY_MAX: &str = "memory.max";

/// What the shim of a bot is to set up. Where there is no group to divide only what a process can take upon
/// itself is left.
pub(super) fn orders(spec: &BotSpec, delegation: &Result<Delegation, String>, leaf: &str) -> KernelOrders {
    let mut orders = KernelOrders {
        open_files: spec.kernel.open_files,
        nice: spec.kernel.nice,
        old_leaf: delegation.as_ref().ok().map(|it| it.dir.join(leaf)),
        ..KernelOrders::default()
    };
    for limit in limits(spec) {
        match refusal(delegation, &limit.file) {
            None => {
                if limit.file == MEMORY_MAX {
                    orders.memory_max = spec.kernel.memory_max_bytes(&spec.limits);
                }
                orders.limits.push(limit);
            }
            // Nobody has asked for the net.
            Some(_) if limit.file == MEMORY_MAX && spec.kernel.memory_max == MemoryMax::Auto => {}
            Some(why) => orders.refused.push(format!("{}{NOT_IN_FORCE}{why}", limit.said)),
        }
    }
    let is_wished = spec.kernel.group == GroupWhen::Always;
    match delegation {
        Ok(_) if is_wished || !orders.limits.is_empty() => orders.leaf = orders.old_leaf.clone(),
        Err(why) if is_wished => orders.refused.push(format!("{GROUP}{NOT_IN_FORCE}{why}")),
        Ok(_) | Err(_) => {}
    }
    orders
}

/// Why the kernel cannot set this file in a leaf.
fn refusal(delegation: &Result<Delegation, String>, file: &str) -> Option<String> {
    let controller = file.split('.').next().unwrap_or_default();
    match delegation {
        Err(why) => Some(why.clone()),
        Ok(it) if it.controllers.iter().any(|known| known == controller) => None,
        Ok(it) => Some(format!(
            "the cgroup controller {controller} is not enabled in {}",
            it.dir.display()
        )),
    }
}

fn limits(spec: &BotSpec) -> Vec<LeafLimit> {
    let policy = &spec.kernel;
    let limit = |file: &str, value: String, shown: String| LeafLimit {
        file: file.to_owned(),
        value,
        said: format!("{file} {shown}"),
    };
    let bytes = |file: &'static str| move |bytes: u64| limit(file, bytes.to_string(), show_size(bytes));
    let quota = |percent: f64| ((percent / 100.0 * CPU_PERIOD_US as f64) as u64).max(CPU_QUOTA_US_MIN);
    [
        policy.memory_max_bytes(&spec.limits).map(bytes(MEMORY_MAX)),
        policy.memory_high.map(bytes("memory.high")),
        policy.cpu_max.map(|percent| {
            let value = format!("{} {CPU_PERIOD_US}", quota(percent));
            limit("cpu.max", value, format!("{percent}%"))
        }),
        policy
            .pids_max
            .map(|pids| limit("pids.max", pids.to_string(), pids.to_string())),
        policy
            .weight
            .map(|weight| limit("cpu.weight", weight.to_string(), weight.to_string())),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Whether a run lives above a net that is no longer the right one: a limit that was raised since would be
/// met by the kernel first.
pub(super) fn is_net_outgrown(in_force: &[String], spec: &BotSpec) -> bool {
    let is_net = |said: &&String| said.starts_with(MEMORY_MAX) && !said.contains(NOT_IN_FORCE);
    let wanted = limits(spec).into_iter().find(|limit| limit.file == MEMORY_MAX);
    in_force
        .iter()
        .find(is_net)
        .is_some_and(|said| wanted.is_none_or(|limit| limit.said != *said))
}

/// The name of a bot's group. A copied home has the same id, so its place is part of the name: nobody must
/// clear another's.
pub(super) fn leaf_name(home_id: &str, home: &Path, bot: &BotId) -> String {
    let digest = Sha256::digest(home.as_os_str().as_encoded_bytes());
    let place: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("multibot-{home_id}-{place}-{bot}")
}

/// A path of a socket has 108 bytes with its end.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Where the bot finds its socket for sd_notify: beside its records, or, where that path is too long for a
/// socket, in a private folder of this user under /tmp.
pub(super) fn notify_address(run_dir: &Path, run_id: &str, uid: u32) -> PathBuf {
    let own = run_dir.join("notify");
    if own.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
        own
    } else {
        PathBuf::from(format!("/tmp/multibot-{uid}/{run_id}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Settings, bot_spec};

    fn spec(pairs: &[(&str, &str)]) -> BotSpec {
        let mut settings = Settings::new();
        for (key, text) in pairs {
            settings.set(key, text).unwrap();
        }
        bot_spec(&"shop".parse().unwrap(), &[&settings]).unwrap()
    }

    fn delegation(controllers: &[&str]) -> Result<Delegation, String> {
        Ok(Delegation {
            dir: "/cg".into(),
            controllers: controllers.iter().map(|name| (*name).to_owned()).collect(),
        })
    }

    const ALL: [(&str, &str); 7] = [
        ("kernel.memory_max", "512MiB"),
        ("kernel.memory_high", "400MiB"),
        ("kernel.cpu_max", "150%"),
        ("kernel.pids_max", "20"),
        ("kernel.open_files", "64"),
        ("nice", "7"),
        ("weight", "30"),
    ];

    #[test]
    fn every_wish_becomes_an_order() {
        let orders = orders(&spec(&ALL), &delegation(&["cpu", "memory", "pids"]), "leaf");
        let limits = orders
            .limits
            .iter()
            .map(|it| [it.file.as_str(), it.value.as_str(), it.said.as_str()]);
        assert_eq!(
            limits.collect::<Vec<_>>(),
            [
                ["memory.max", "536870912", "memory.max 512.0 MiB"],
                ["memory.high", "419430400", "memory.high 400.0 MiB"],
                ["cpu.max", "150000 100000", "cpu.max 150%"],
                ["pids.max", "20", "pids.max 20"],
                ["cpu.weight", "30", "cpu.weight 30"],
            ]
        );
        assert_eq!(orders.leaf, Some("/cg/leaf".into()));
        assert_eq!(
            (orders.open_files, orders.nice, orders.memory_max),
            (Some(64), Some(7), Some(512 << 20))
        );
        assert_eq!(orders.refused, Vec::<String>::new());
    }

    #[test]
    fn what_cannot_be_had_is_told_and_the_net_that_nobody_asked_for_is_not() {
        let orders = |pairs: &[(&str, &str)], found: &Result<Delegation, String>| orders(&spec(pairs), found, "leaf");
        let none = Err("no cgroup v2 is mounted".to_owned());
        let found = orders(&ALL, &none);
        assert_eq!((found.leaf, found.limits.len(), found.refused.len()), (None, 0, 5));
        assert_eq!(
            found.refused[0],
            "memory.max 512.0 MiB: not in force: no cgroup v2 is mounted"
        );
        assert_eq!((found.nice, found.memory_max), (Some(7), None));
        let found = orders(&ALL, &delegation(&["pids"]));
        assert_eq!((found.limits.len(), found.refused.len()), (1, 4));
        assert_eq!(
            found.refused[3],
            "cpu.weight 30: not in force: the cgroup controller cpu is not enabled in /cg"
        );
        let net = [("limits.memory.max", "100MiB")];
        assert_eq!(orders(&net, &none), KernelOrders::default());
        let found = orders(&net, &delegation(&["memory"]));
        assert_eq!(found.limits[0].said, "memory.max 200.0 MiB");
        let plain = orders(&[], &delegation(&["memory"]));
        assert_eq!(
            (plain.asks(), &plain.leaf, plain.old_leaf),
            (false, &None, Some("/cg/leaf".into()))
        );
        let always = [("kernel.group", "always")];
        assert_eq!(orders(&always, &delegation(&[])).leaf, Some("/cg/leaf".into()));
        assert_eq!(
            orders(&always, &none).refused,
            ["group: not in force: no cgroup v2 is mounted"]
        );
    }

    #[test]
    fn a_net_is_outgrown_by_another_limit_and_only_where_it_hangs() {
        let spec = spec(&[("limits.memory.max", "300MiB")]);
        for (said, is_outgrown) in [
            ("memory.max 600.0 MiB", false),
            ("memory.max 200.0 MiB", true),
            ("memory.max 200.0 MiB: not in force: no", false),
            ("nice 5", false),
        ] {
            assert_eq!(is_net_outgrown(&[said.to_owned()], &spec), is_outgrown, "{said}");
        }
        assert!(!is_net_outgrown(&[], &spec));
    }

    #[test]
    fn groups_of_copied_homes_differ_and_long_paths_have_another_socket() {
        let bot: BotId = "shop".parse().unwrap();
        let name = |home: &str| leaf_name("01H", Path::new(home), &bot);
        assert_ne!(name("/a"), name("/b"));
        assert!(name("/a").starts_with("multibot-01H-") && name("/a").ends_with("-shop"));
        let socket = |dir: &str| notify_address(Path::new(dir), "01RUN", 7);
        assert_eq!(socket("/h/run/shop"), Path::new("/h/run/shop/notify"));
        assert_eq!(
            socket(&"/h".repeat(50)),
            Path::new(&format!("{}/notify", "/h".repeat(50)))
        );
        assert_eq!(socket(&"/h".repeat(51)), Path::new("/tmp/multibot-7/01RUN"));
    }
}
