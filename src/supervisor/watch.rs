//! Watches mailboxes through notify and turns what changed into hints. A hint only says where to
//! look: the scan is the truth, and a lost hint is answered by looking everywhere.

use std::path::{Component, Path, PathBuf};

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use super::traffic::{Place, Traffic};
use crate::clock;
use crate::model::bot::BotId;

/// Where something changed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hint {
    SupervisorInbox,
    Outbox(BotId),
    Heartbeat(BotId),
    /// An inbox or the dead letters hold more or less than before, or an answer was noted.
    Counts(BotId),
    /// A folder was removed, or there is one again.
    Folders(BotId),
    /// Hints were lost.
    Everything,
}

/// The watches of one home.
pub struct Watches {
    watcher: RecommendedWatcher,
}

impl Watches {
    /// Starts watching below `ipc`; `tell` is called from the watcher's own thread. The error says
    /// which limit of the kernel was reached.
    pub fn start(ipc: PathBuf, traffic: Traffic, tell: impl Fn(Hint) + Send + 'static) -> notify::Result<Watches> {
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| match event {
            Ok(event) if event.need_rescan() => tell(Hint::Everything),
            Ok(event) if is_news(&event.kind) => {
                for path in &event.paths {
                    note_traffic(&traffic, &ipc, path, &event.kind);
                }
                for hint in event.paths.iter().filter_map(|path| hint_of(&ipc, path, &event.kind)) {
                    tell(hint);
                }
            }
            Ok(_) => {}
            Err(_) => tell(Hint::Everything),
        })?;
        Ok(Watches { watcher })
    }

    /// Watches one folder, not those below it. Safe to repeat, also after it was made anew.
    pub fn add(&mut self, dir: &Path) -> notify::Result<()> {
        self.watcher.watch(dir, RecursiveMode::NonRecursive)
    }

    /// Stops watching a folder; one that is not watched is no error.
    pub fn remove(&mut self, dir: &Path) {
        let _ = self.watcher.unwatch(dir);
    }
}

/// Counts what comes to an inbox and what its bot is done with.
fn note_traffic(traffic: &Traffic, ipc: &Path, path: &Path, kind: &EventKind) {
    let arrives = matches!(
        kind,
        EventKind::Create(_) | EventKind::Modify(ModifyKind::Name(RenameMode::To))
    );
    let is_removed = matches!(kind, EventKind::Remove(_));
    let parts: Option<Vec<&str>> = path
        .strip_prefix(ipc)
        .ok()
        .and_then(|below| below.components().map(|part| part.as_os_str().to_str()).collect());
    let (place, name) = match parts.as_deref() {
        Some([_, "inbox", "new", name]) => (Place::New, name),
        Some([_, "inbox", "cur", name]) => (Place::Cur, name),
        Some([_, "inbox", "later", name]) => (Place::Later, name),
        Some([_, "dead", name]) => (Place::Dead, name),
        _ => return,
    };
    let Some(Ok(bot)) = parts.as_ref().map(|parts| parts[0].parse()) else {
        return;
    };
    if arrives {
        traffic.arrived(&bot, place, name);
    } else if is_removed && place == Place::Cur {
        traffic.removed(&bot, name, clock::stamp());
    }
}

/// Reading a folder raises events of its own; acting on those would never end.
fn is_news(kind: &EventKind) -> bool {
    match kind {
        EventKind::Create(_) | EventKind::Remove(_) => true,
        EventKind::Modify(ModifyKind::Name(mode)) => {
            matches!(mode, RenameMode::To | RenameMode::From | RenameMode::Any)
        }
        EventKind::Modify(ModifyKind::Metadata(_) | ModifyKind::Data(_)) => true,
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Any | EventKind::Access(_) | EventKind::Modify(_) | EventKind::Other => false,
    }
}

/// What a changed path means. Only arrivals count in the mailboxes that the supervisor reads; in the
/// others what leaves counts as well; a heartbeat may be renamed, written or touched.
fn hint_of(ipc: &Path, path: &Path, kind: &EventKind) -> Option<Hint> {
    let mut parts = path.strip_prefix(ipc).ok()?.components().map(|part| match part {
        Component::Normal(name) => name.to_str(),
        Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => None,
    });
    let owner = parts.next()??;
    let rest: Vec<&str> = parts.collect::<Option<_>>()?;
    let is_write = matches!(
        kind,
        EventKind::Modify(ModifyKind::Metadata(_) | ModifyKind::Data(_)) | EventKind::Access(_)
    );
    let leaves = matches!(
        kind,
        EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From))
    );
    let is_write_in_place = matches!(kind, EventKind::Modify(ModifyKind::Metadata(_) | ModifyKind::Data(_)));
    let is_removal = matches!(kind, EventKind::Remove(_));
    if owner == "supervisor" && is_removal && rest.as_slice() == ["inbox", "new"] {
        // The watch is gone with its folder.
        return Some(Hint::Everything);
    }
    if owner == "supervisor" {
        return (rest.first() == Some(&"inbox") && !leaves && !is_write_in_place).then_some(Hint::SupervisorInbox);
    }
    let bot: BotId = owner.parse().ok()?;
    match rest.as_slice() {
        ["heartbeat"] if !leaves => Some(Hint::Heartbeat(bot)),
        ["outbox", "new", _] if !leaves && !is_write_in_place => Some(Hint::Outbox(bot)),
        ["inbox", "new" | "cur" | "later" | "held", _] | ["dead", _] if !is_write => Some(Hint::Counts(bot)),
        ["inbox", "cur", name] if name.ends_with(".acked") && !is_write_in_place => Some(Hint::Counts(bot)),
        [] | ["inbox" | "outbox" | "dead"] | ["inbox" | "outbox", "new" | "cur" | "later" | "held"] if !is_write => {
            Some(Hint::Folders(bot))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::event::{CreateKind, DataChange, RemoveKind};

    fn hint(path: &str, kind: EventKind) -> Option<Hint> {
        hint_of(Path::new("/h/ipc"), &Path::new("/h/ipc").join(path), &kind)
    }

    #[test]
    fn each_path_means_one_thing() {
        let shop = || "shop".parse::<BotId>().unwrap();
        let to = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        let from = EventKind::Modify(ModifyKind::Name(RenameMode::From));
        let data = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        let create = EventKind::Create(CreateKind::File);
        let remove = EventKind::Remove(RemoveKind::File);
        let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
        for (path, kind, expected) in [
            ("supervisor/inbox/new/x.ndjson", to, Some(Hint::SupervisorInbox)),
            ("shop/outbox/new/x.ndjson", to, Some(Hint::Outbox(shop()))),
            ("shop/outbox/new/x.ndjson", create, Some(Hint::Outbox(shop()))),
            ("shop/outbox/new/x.ndjson", from, None),
            ("shop/heartbeat", to, Some(Hint::Heartbeat(shop()))),
            ("shop/heartbeat", data, Some(Hint::Heartbeat(shop()))),
            ("shop/heartbeat", remove, None),
            ("shop/inbox/new/x.ndjson", from, Some(Hint::Counts(shop()))),
            ("shop/inbox/cur/x.ndjson", to, Some(Hint::Counts(shop()))),
            ("shop/dead/x.ndjson", create, Some(Hint::Counts(shop()))),
            ("shop/inbox/later/x.ndjson", from, Some(Hint::Counts(shop()))),
            ("shop/inbox/cur/R,x.ndjson", written, None),
            ("shop/inbox/cur/R,x.ndjson.acked", written, Some(Hint::Counts(shop()))),
            ("shop/inbox/cur/R,x.ndjson.acked", data, None),
            ("shop/outbox/new", remove, Some(Hint::Folders(shop()))),
            ("shop/outbox", create, Some(Hint::Folders(shop()))),
            ("shop", remove, Some(Hint::Folders(shop()))),
            ("shop/heartbeat.tmp", create, None),
            ("shop/inbox/new/x.ndjson", data, None),
            ("Not A Bot/outbox/new/x", to, None),
        ] {
            assert_eq!(hint(path, kind), expected, "{path} {kind:?}");
        }
    }

    #[test]
    fn opening_a_folder_is_no_news() {
        assert!(!is_news(&EventKind::Access(AccessKind::Open(AccessMode::Any))));
        assert!(!is_news(&EventKind::Access(AccessKind::Close(AccessMode::Read))));
    }
}
