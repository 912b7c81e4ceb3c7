//! The files of a bot's chats: sends what was put into `outgoing`, and keeps `received` and `sent` within their quota.

use serde_json::json;

use super::chat::Purpose;
use super::link::Link;
use super::{Bot, SENDING_MAX, Tone};
use crate::clock;
use crate::model::units::show_size;
use crate::runner::media;
use crate::runner::outgoing::Found;
use crate::runner::platform::{Class, Content, Outcome, Outgoing, Source};
use crate::spool;

/// Names that end so are shown as pictures; everything else is a document.
const PHOTOS: [&str; 4] = ["jpg", "jpeg", "png", "webp"];

impl Bot {
    /// Sends the files that are complete; whether there was any.
    pub(super) fn send_files(&mut self) -> spool::Result<bool> {
        // What cannot be sent now lies well where it is.
        if !matches!(self.link, Link::Up(_)) || self.tickets.len() >= SENDING_MAX {
            return Ok(false);
        }
        let (found, again) = self.files.look(clock::stamp());
        self.look_at = again.map(|wait| clock::now() + wait);
        for file in &found {
            self.files.begin(&file.path);
            if self.blocked.contains(&file.chat) {
                let why = format!("{} is blocked for {}", file.chat, self.identity.bot);
                let class = Class::Blocked;
                self.file_is_over(file, &Outcome::Refused { class, why });
                continue;
            }
            let mut outgoing = Outgoing::text(Some(&file.chat), "");
            outgoing.content = content(file);
            self.send(Purpose::Media(file.clone()), outgoing);
        }
        if !found.is_empty() {
            self.hear_platform()?;
        }
        Ok(!found.is_empty())
    }

    /// Moves a file away that was sent or refused, and tells it.
    pub(super) fn file_is_over(&mut self, file: &Found, outcome: &Outcome) {
        let (folder, event) = match outcome {
            Outcome::Refused { .. } => ("refused", "media_failed"),
            Outcome::Sent { .. } | Outcome::CameBack(_) | Outcome::Fetched { .. } => ("sent", "media_sent"),
        };
        match self.files.end(file, folder) {
            Ok(path) => {
                let mut told = json!({"chat": file.chat, "path": path});
                if let Outcome::Refused { why, .. } = outcome {
                    self.warn(&format!(
                        "{} is not sent and lies in refused: {why}",
                        file.path.display()
                    ));
                    told["message"] = why.as_str().into();
                }
                self.tell_event(event, told);
            }
            // Left there it would be sent again and again.
            Err(error) => {
                self.files.begin(&file.path);
                self.warn(&format!("{} cannot be moved to {folder}: {error}", file.path.display()));
            }
        }
        self.keep_quota();
    }

    /// Removes the oldest files of what was received and sent, until the rest is within the quota.
    pub(super) fn keep_quota(&mut self) {
        let Some(quota) = self.brief.media_quota else { return };
        let removed = media::trim(&self.brief.media, quota);
        if removed.files > 0 {
            let (files, bytes) = (removed.files, show_size(removed.bytes));
            let line = format!("media.quota: removed the {files} oldest files, {bytes}");
            (self.tell)(Tone::Plain, &line);
            self.tell_event("media_removed", json!({"files": files, "bytes": removed.bytes}));
        }
    }
}

fn content(file: &Found) -> Content {
    let (source, caption) = (Source::Path(file.path.clone()), String::new());
    let extension = file.path.extension().unwrap_or_default().to_ascii_lowercase();
    if PHOTOS.iter().any(|photo| extension == *photo) {
        Content::Photo { source, caption }
    } else {
        Content::Document { source, caption }
    }
}
