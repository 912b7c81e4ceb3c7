//! The supervisor's own log: what `tracing` tells, as lines of `logs/supervisor.log` with the same
//! stamps, masking and rotation as the bots' logs.

use std::fmt;
use std::io;
use std::sync::Mutex;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::clock;
use crate::log::{LogFile, Mask, Stream};

/// Somebody who reads along, such as a terminal.
pub type Listener = Box<dyn Fn(&str) + Send + Sync>;

/// Sends everything at or above `level` into the log. Errors when it was called before.
pub fn start(log: LogFile, level: Level, listener: Option<Listener>) -> io::Result<()> {
    let sink = Sink {
        log: Mutex::new(log),
        mask: Mask::new(Vec::<String>::new()),
        listener,
    };
    let subscriber = tracing_subscriber::registry().with(sink.with_filter(LevelFilter::from_level(level)));
    tracing::subscriber::set_global_default(subscriber).map_err(io::Error::other)?;
    std::panic::set_hook(Box::new(|panic| tracing::error!("fault of multibot itself: {panic}")));
    Ok(())
}

struct Sink {
    log: Mutex<LogFile>,
    /// Knows no secrets by value; whatever has the shape of a token is masked.
    mask: Mask,
    listener: Option<Listener>,
}

impl<S: Subscriber> Layer<S> for Sink {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut words = Words(String::new());
        event.record(&mut words);
        let level = *event.metadata().level();
        let stream = if level <= Level::WARN { Stream::Err } else { Stream::Out };
        let at = clock::stamp();
        let text = self.mask.masked(&words.0.replace('\n', "; "));
        let line = format!("{at} {} {level} {text}\n", stream.word());
        if let Some(listen) = &self.listener {
            listen(line.trim_end());
        }
        if let Ok(mut log) = self.log.lock() {
            log.write(line.as_bytes(), at);
        }
    }
}

/// Collects the message and the fields of one event.
struct Words(String);

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        use fmt::Write;
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}
