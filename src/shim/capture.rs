//! The bot's two output pipes and its log file.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use crate::clock;
use crate::log::{Capture as Lines, LogFile, Mask, Stream};
use crate::run::orders::Orders;

/// What one read takes from a pipe. Larger reads are no faster, and this page is there once per bot.
const READ_BYTES: usize = 8192;
/// Reads of one pipe in one turn: a bot that writes without end must not keep the shim from its signals.
const READS_PER_TURN: usize = 16;

/// Reads what a bot writes and logs it.
pub(super) struct Capture {
    out: Pipe,
    err: Pipe,
    log: LogFile,
    mask: Mask,
    buffer: Box<[u8]>,
}

struct Pipe {
    /// None once the bot has closed its end.
    reader: Option<File>,
    lines: Lines,
}

impl Capture {
    /// Opens the log and makes the pipes; returns the ends that the bot writes to.
    pub(super) fn open(orders: &Orders) -> io::Result<(Capture, OwnedFd, OwnedFd)> {
        let (out, out_end) = pipe(Stream::Out)?;
        let (err, err_end) = pipe(Stream::Err)?;
        let log = LogFile::open(orders.log.path.clone(), orders.log.max_size, orders.log.keep);
        let mask = Mask::new(&orders.secrets);
        let buffer = vec![0u8; READ_BYTES].into_boxed_slice();
        Ok((
            Capture {
                out,
                err,
                log,
                mask,
                buffer,
            },
            out_end,
            err_end,
        ))
    }

    /// The pipes that may still bring something.
    pub(super) fn pipes(&self) -> (Option<BorrowedFd<'_>>, Option<BorrowedFd<'_>>) {
        (
            self.out.reader.as_ref().map(AsFd::as_fd),
            self.err.reader.as_ref().map(AsFd::as_fd),
        )
    }

    /// Logs what can be read now, up to a bound.
    pub(super) fn read(&mut self, out: bool, err: bool) {
        for (pipe, is_ready) in [(&mut self.out, out), (&mut self.err, err)] {
            if is_ready {
                pipe.read(READS_PER_TURN, &mut self.buffer, &self.mask, &mut self.log);
            }
        }
    }

    /// Logs all that is left, also an unterminated last line. A pipe that some survivor still holds
    /// open is read until it is empty, not until it ends.
    pub(super) fn finish(&mut self) {
        let at = clock::stamp();
        for pipe in [&mut self.out, &mut self.err] {
            pipe.read(usize::MAX, &mut self.buffer, &self.mask, &mut self.log);
            let log = &mut self.log;
            pipe.lines.finish(at, &self.mask, &mut |lines| log.write(lines, at));
        }
    }

    /// A line of the shim's own.
    pub(super) fn say(&mut self, text: &str) {
        let at = clock::stamp();
        self.log.write(format!("{at} err [multibot] {text}\n").as_bytes(), at);
    }
}

impl Pipe {
    fn read(&mut self, reads_max: usize, buffer: &mut [u8], mask: &Mask, log: &mut LogFile) {
        for _ in 0..reads_max {
            let Some(reader) = &mut self.reader else { return };
            match reader.read(buffer) {
                Ok(0) => self.reader = None,
                Ok(count) => {
                    let at = clock::stamp();
                    self.lines
                        .push(&buffer[..count], at, mask, &mut |lines| log.write(lines, at));
                    if count < buffer.len() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.reader = None,
            }
        }
    }
}

/// A pipe whose reading end does not block. Its writing end does: a bot waits when it writes faster
/// than its lines are taken, it never loses one.
fn pipe(stream: Stream) -> io::Result<(Pipe, OwnedFd)> {
    let (reader, writer) = io::pipe()?;
    let flags = fcntl_getfl(&reader)?;
    fcntl_setfl(&reader, flags | OFlags::NONBLOCK)?;
    let reader = File::from(OwnedFd::from(reader));
    Ok((
        Pipe {
            reader: Some(reader),
            lines: Lines::new(stream),
        },
        OwnedFd::from(writer),
    ))
}
