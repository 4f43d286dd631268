//! Lines on their way to the log: whoever writes one never waits for who reads it.
//!
//! The lines wait in a queue of tracing-appender, whose thread writes them. Where the reader stands still (a stopped pager, a full pipe of
//! a container runtime) the queue fills, and what comes then is dropped and counted.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::MakeWriter;

use crate::printable;

/// Lines that may wait, some 300 bytes each.
const QUEUE: usize = 8192;
/// How long the end waits for lines that wait.
const PATIENCE: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// How lines are made safe to look at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Form {
    /// For people, with colours or without.
    Text { styled: bool },
    /// For programs.
    Json,
}

/// The way to the log. Cheap to clone.
#[derive(Clone)]
pub(super) struct Lines {
    queue: NonBlocking,
    form: Form,
    handed_over: Arc<AtomicU64>,
}

/// Looks after it.
pub(super) struct Queue {
    /// Kept for as long as the process lives: to drop it while the reader stands still would wait, and print.
    _worker: std::mem::ManuallyDrop<WorkerGuard>,
    dropped: ErrorCounter,
    handed_over: Arc<AtomicU64>,
    written: Arc<AtomicU64>,
}

/// Starts the thread that writes to `log`.
pub(super) fn start(log: impl Write + Send + 'static, form: Form) -> (Lines, Queue) {
    start_with(QUEUE, log, form)
}

fn start_with(most: usize, log: impl Write + Send + 'static, form: Form) -> (Lines, Queue) {
    let (handed_over, written) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
    let log = Counting { log, written: Arc::clone(&written) };
    let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(most).thread_name("log");
    let (queue, worker) = builder.finish(log);
    let dropped = queue.error_counter();
    let lines = Lines { queue, form, handed_over: Arc::clone(&handed_over) };
    (lines, Queue { _worker: std::mem::ManuallyDrop::new(worker), dropped, handed_over, written })
}

impl Queue {
    /// Lines that found no room.
    pub(super) fn dropped(&self) -> ErrorCounter {
        self.dropped.clone()
    }

    /// Waits until all lines are written; not for long where nobody reads them.
    pub(super) fn flush(&self) {
        let by = Instant::now() + PATIENCE;
        let waits = || {
            let gone = self.written.load(Ordering::Acquire) + self.dropped.dropped_lines() as u64;
            gone < self.handed_over.load(Ordering::Acquire)
        };
        while waits() && Instant::now() < by {
            thread::sleep(LOOK_EVERY);
        }
    }
}

/// Counts lines as they are written, or cannot be.
struct Counting<W> {
    log: W,
    written: Arc<AtomicU64>,
}

impl<W: Write> Write for Counting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        let written = self.log.write_all(line);
        self.written.fetch_add(1, Ordering::AcqRel);
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.log.flush()
    }
}

impl<'w> MakeWriter<'w> for Lines {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    /// Takes a whole line, as the formatter hands it over.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.handed_over.fetch_add(1, Ordering::AcqRel);
        let line = String::from_utf8_lossy(bytes);
        match self.form {
            Form::Text { styled } => self.queue.write_all(printable::text(&line, styled).as_bytes()),
            Form::Json => self.queue.write_all(printable::json(line.into_owned()).as_bytes()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::mpsc::{Receiver, channel};
    use std::sync::{Mutex, PoisonError};

    use super::*;

    /// Keeps what is written to it.
    #[derive(Clone, Default)]
    pub(in super::super) struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Sink {
        pub(in super::super) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()).expect("text")
        }
    }

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'w> MakeWriter<'w> for Sink {
        type Writer = Self;

        fn make_writer(&'w self) -> Self {
            self.clone()
        }
    }

    /// A log that nobody reads, until it is let go.
    struct Stalled {
        release: Option<Receiver<()>>,
        sink: Sink,
    }

    impl Write for Stalled {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if let Some(release) = self.release.take() {
                let _ = release.recv();
            }
            self.sink.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_waits_for_a_log_that_nobody_reads_and_what_is_dropped_is_counted() {
        let (let_go, release) = channel();
        let sink = Sink::default();
        let log = Stalled { release: Some(release), sink: sink.clone() };
        let (mut lines, queue) = start_with(16, log, Form::Text { styled: false });
        // With a writer that waits, this would never end.
        for number in 0..1_000 {
            lines.write_all(format!("line {number}\n").as_bytes()).expect("a place in the queue, or none");
        }
        let dropped = queue.dropped().dropped_lines();
        // One may be in the hands of the thread.
        assert!((1_000 - 17..=1_000 - 16).contains(&dropped), "{dropped}");
        let_go.send(()).expect("a log");
        queue.flush();
        let text = sink.text();
        assert_eq!(text.lines().count(), 1_000 - dropped, "{text}");
        assert!(text.starts_with("line 0\nline 1\n"), "{text}");
    }

    #[test]
    fn lines_are_safe_to_look_at() {
        let rows = [
            (Form::Text { styled: false }, "\u{1b}[1muser\u{202e}x\u{1b}[2J\n", "\\u{1b}[1muser\\u{202e}x\\u{1b}[2J\n"),
            (Form::Text { styled: true }, "\u{1b}[1muser\u{202e}x\u{1b}[2J\n", "\u{1b}[1muser\\u{202e}x\\u{1b}[2J\n"),
            (Form::Json, "{\"a\":\"\u{202e}\u{2028}\"}\n", "{\"a\":\"\\u202e\\u2028\"}\n"),
        ];
        for (form, from, expected) in rows {
            let sink = Sink::default();
            let (mut lines, queue) = start(sink.clone(), form);
            lines.write_all(from.as_bytes()).expect("a place in the queue");
            queue.flush();
            assert_eq!(sink.text(), expected);
        }
    }
}
