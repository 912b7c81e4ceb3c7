//! Finds who else on this host has a bot's token: by its environment or its arguments, as far as this user may read
//! them. It looks at every process, so it is a last resort.

use std::fs;

use super::identity::Stat;
use super::process_tree::all_pids;
use super::strays::{Environ, arguments, is_command, with_ancestors};
use crate::model::bot::Secret;

/// Shells hand an exported token on to whom they start; they poll nothing.
const SHELLS: [&str; 7] = ["sh", "bash", "dash", "zsh", "fish", "ksh", "tmux: server"];

/// Another program that has this token, in words: a bot of some home comes before any other process. Left out are
/// this bot's own processes, this process and its ancestors, shells, and multibot's own commands.
pub fn of_token(token: &Secret, home_id: &str, bot: &str) -> Option<String> {
    let ancestors = with_ancestors(std::process::id());
    let mut others = Vec::new();
    for pid in all_pids().filter(|pid| !ancestors.contains(pid)) {
        let Some(stat) = Stat::of(pid).filter(|stat| !stat.is_zombie()) else {
            continue;
        };
        let environ = Environ::of(pid).unwrap_or_default();
        let is_own = environ.get("MULTIBOT_HOME_ID") == Some(home_id) && environ.get("BOT_ID") == Some(bot);
        let has_it = environ.holds(token.reveal()) || arguments(pid).iter().any(|word| word.contains(token.reveal()));
        if is_own || !has_it || is_command(pid) {
            continue;
        }
        match (
            environ.get("BOT_ID"),
            environ.get("MULTIBOT_HOME_ID"),
            environ.get("MULTIBOT_INBOX"),
        ) {
            (Some(other), Some(id), _) if id == home_id => return Some(format!("bot {other}, pid {pid}")),
            (Some(other), Some(_), Some(inbox)) => {
                let home = inbox.split("/ipc/").next().unwrap_or_default().to_owned();
                return Some(format!("bot {other} of {home}, pid {pid}"));
            }
            _ => others.push((pid, stat.parent)),
        }
    }
    let named = others.into_iter().map(|(pid, _)| (pid, name_of(pid)));
    let mut programs = named.filter(|(_, name)| !SHELLS.contains(&name.as_str()));
    programs.next().map(|(pid, name)| format!("{name}, pid {pid}"))
}

fn name_of(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim().to_owned()
}
