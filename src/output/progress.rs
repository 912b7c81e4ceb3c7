//! One line of progress on stderr while something takes its time: only on a terminal, and gone when
//! the work is done.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What is shown: `starting 3/10 shop, news`. The last part is cut to the terminal's width.
const TEMPLATE: &str = "{prefix} {pos}/{len} {wide_msg}";

/// A line that follows a piece of work; it disappears when this is dropped.
pub struct Progress {
    line: ProgressBar,
}

impl Progress {
    /// Begins a line for `total` steps of `label`. Shows nothing where stderr is no terminal or `TERM`
    /// is `dumb`.
    pub fn start(label: &str, total: usize) -> Progress {
        Progress::draw_on(ProgressDrawTarget::stderr(), label, total)
    }

    fn draw_on(target: ProgressDrawTarget, label: &str, total: usize) -> Progress {
        let line = ProgressBar::with_draw_target(Some(as_steps(total)), target);
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            line.set_style(style);
        }
        line.set_prefix(label.to_owned());
        line.tick();
        Progress { line }
    }

    /// Says that `done` steps are behind, and in `text` what the work waits for.
    pub fn set(&self, done: usize, text: &str) {
        self.line.set_message(super::visible(text));
        self.line.set_position(as_steps(done));
    }

    /// Removes the line.
    pub fn finish(self) {
        drop(self);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.line.finish_and_clear();
    }
}

fn as_steps(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use indicatif::TermLike;
    use std::io;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Debug, Default)]
    struct Screen(Arc<Mutex<Vec<String>>>);

    impl Screen {
        fn add(&self, text: &str) -> io::Result<()> {
            self.0.lock().unwrap().push(text.to_owned());
            Ok(())
        }

        fn shown(&self) -> String {
            self.0.lock().unwrap().join("|")
        }
    }

    impl TermLike for Screen {
        fn width(&self) -> u16 {
            30
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            self.add(text)
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.add(text)
        }
        fn clear_line(&self) -> io::Result<()> {
            self.add("(cleared)")
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_line_tells_how_far_it_is_and_goes_away() {
        let screen = Screen::default();
        let progress = Progress::draw_on(ProgressDrawTarget::term_like(Box::new(screen.clone())), "starting", 10);
        progress.set(3, "shop\x1b, and many more than fit on a line");
        let shown = screen.shown();
        assert!(shown.contains("starting 3/10 shop\\x1b"), "{shown}");
        assert!(!shown.contains("on a line"), "{shown}");
        progress.finish();
        assert!(screen.shown().ends_with("(cleared)"), "{}", screen.shown());
    }
}
