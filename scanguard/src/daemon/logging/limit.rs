//! At most ten lines a second of one kind, and then one line that says how many more there were: whoever forges suspects writes no log
//! with them.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, debug, error, info, trace, warn};
use tracing_subscriber::layer::{Context, Filter};

/// Lines of one kind in one span: those that one statement of the program writes.
const MOST: u32 = 10;
const SPAN: Duration = Duration::from_secs(1);
/// Bytes of a line's message that stand for those of its kind.
const MOST_LIKE: usize = 200;
/// What the sums are logged under: they are never left out themselves.
const SUMS: &str = "scanguard::log_sums";

/// The limit, as a filter of events. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Limit(Arc<Shared>);

#[derive(Default)]
struct Shared {
    kinds: Mutex<Kinds>,
    /// Something was left out that no line tells of yet.
    untold: Condvar,
    left_out: AtomicU64,
}

/// Lines by kind.
#[derive(Default)]
struct Kinds(HashMap<Identifier, Kind>);

struct Kind {
    level: Level,
    /// Since when lines are counted.
    since: Instant,
    lines: u32,
    /// How many were left out of which no line tells yet, and what the first of them said.
    left_out: u64,
    like: String,
}

/// How many lines of a kind were left out.
#[derive(Debug, Eq, PartialEq)]
struct Sum {
    level: Level,
    left_out: u64,
    like: String,
}

impl Kinds {
    /// Whether one more line of a kind is written.
    fn admit(&mut self, kind: Identifier, level: Level, now: Instant, like: impl FnOnce() -> String) -> bool {
        let new = || Kind { level, since: now, lines: 0, left_out: 0, like: String::new() };
        let kind = self.0.entry(kind).or_insert_with(new);
        if now.saturating_duration_since(kind.since) >= SPAN {
            (kind.since, kind.lines) = (now, 0);
        }
        if kind.lines < MOST {
            kind.lines += 1;
            return true;
        }
        if kind.left_out == 0 {
            kind.like = like();
        }
        kind.left_out += 1;
        false
    }

    fn is_untold(&self) -> bool {
        self.0.values().any(|kind| kind.left_out > 0)
    }

    /// What is to be told, which counts as told then.
    fn sums(&mut self) -> Vec<Sum> {
        let untold = self.0.values_mut().filter(|kind| kind.left_out > 0);
        let sum = |kind: &mut Kind| Sum {
            level: kind.level,
            left_out: std::mem::take(&mut kind.left_out),
            like: std::mem::take(&mut kind.like),
        };
        untold.map(sum).collect()
    }
}

impl Limit {
    fn kinds(&self) -> MutexGuard<'_, Kinds> {
        self.0.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lines that were left out since the start.
    pub(super) fn left_out(&self) -> u64 {
        self.0.left_out.load(Ordering::Relaxed)
    }

    /// Tells on a thread of its own, once a second while there is something to tell, what was left out.
    pub(super) fn tell_sums(&self) -> std::io::Result<()> {
        let limit = self.clone();
        let tell = move || loop {
            let mut kinds = limit.kinds();
            while !kinds.is_untold() {
                kinds = limit.0.untold.wait(kinds).unwrap_or_else(PoisonError::into_inner);
            }
            drop(kinds);
            thread::sleep(SPAN);
            limit.sum_up();
        };
        thread::Builder::new().name("log sums".into()).spawn(tell).map(drop)
    }

    /// Tells at once.
    pub(super) fn sum_up(&self) {
        let sums = self.kinds().sums(); // Nobody waits for this lock while a line is written.
        for Sum { level, left_out, like } in sums {
            macro_rules! tell {
                ($log:ident) => {
                    $log!(target: SUMS, left_out, like, "more lines of one kind than are written in a second")
                };
            }
            match level {
                Level::ERROR => tell!(error),
                Level::WARN => tell!(warn),
                Level::INFO => tell!(info),
                Level::DEBUG => tell!(debug),
                Level::TRACE => tell!(trace),
            }
        }
    }
}

/// (It must not say that a callsite is always of interest: where nobody asks [`Filter::enabled`] first, an event that is left out would take
/// the next one with it.)
impl<S> Filter<S> for Limit {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE) // As far as it goes: without one, levels that nobody wants would cost more.
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if metadata.target() == SUMS {
            return true;
        }
        let like = || {
            let mut message = Message(String::new());
            event.record(&mut message);
            message.0
        };
        let mut kinds = self.kinds();
        if kinds.admit(metadata.callsite(), *metadata.level(), Instant::now(), like) {
            return true;
        }
        drop(kinds);
        self.0.left_out.fetch_add(1, Ordering::Relaxed);
        self.0.untold.notify_one();
        false
    }
}

/// The message of an event, its beginning.
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.0, "{value:?}"); // A String takes everything.
            let mut end = self.0.len().min(MOST_LIKE);
            while !self.0.is_char_boundary(end) {
                end -= 1;
            }
            self.0.truncate(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::Layer as _;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::super::writer::tests::Sink;
    use super::*;

    /// Forges `count` suspects, so to say.
    fn flood(count: u32) {
        (0..count).for_each(|number| info!(number, "somebody is a suspect"));
    }

    #[test]
    fn a_flood_of_one_kind_is_ten_lines_and_a_sum_and_other_kinds_are_told() {
        let (sink, limit) = (Sink::default(), Limit::default());
        let lines = tracing_subscriber::fmt::layer().with_writer(sink.clone()).with_ansi(false);
        let subscriber = tracing_subscriber::registry().with(lines.with_filter(limit.clone()));
        tracing::subscriber::with_default(subscriber, || {
            flood(100_000);
            warn!("something else");
            // Another span may have begun meanwhile, on a machine that stood still.
            assert!(limit.left_out() >= 99_000, "{}", limit.left_out());
            limit.sum_up();
            limit.sum_up();
        });
        let text = sink.text();
        let (suspects, sums) =
            (text.matches("somebody is a suspect number=").count(), text.matches("left_out=").count());
        assert!((10..=1_000).contains(&suspects) && text.contains("something else"), "{text}");
        assert_eq!(sums, 1, "a sum is told once: {text}");
        assert!(text.contains(&format!("left_out={} like=\"somebody is a suspect\"", limit.left_out())), "{text}");
        assert!(text.len() < 100_000);
    }

    #[test]
    fn each_second_has_ten_lines_of_each_kind() {
        let (mut kinds, start) = (Kinds::default(), Instant::now());
        let (one, other) = (Identifier(&ONE), Identifier(&OTHER));
        let mut admitted = |kind: &Identifier, at: u64| {
            let now = start + Duration::from_millis(at);
            (0..100).filter(|number| kinds.admit(kind.clone(), Level::INFO, now, || format!("line {number}"))).count()
        };
        assert_eq!([admitted(&one, 0), admitted(&other, 0), admitted(&one, 999)], [10, 10, 0]);
        assert_eq!([admitted(&one, 1_000), admitted(&one, 1_001)], [10, 0]);
        let mut sums = kinds.sums();
        sums.sort_by_key(|sum| sum.left_out);
        let sum = |left_out| Sum { level: Level::INFO, left_out, like: "line 10".to_owned() };
        assert_eq!(sums, [sum(90), sum(90 + 100 + 90 + 100)]);
        assert!(!kinds.is_untold() && kinds.sums().is_empty());
    }

    /// (Of some size, so that two of them are two.)
    struct Site(#[expect(dead_code, reason = "it gives it a place of its own")] u8);

    impl tracing::Callsite for Site {
        fn set_interest(&self, _: tracing::subscriber::Interest) {}

        fn metadata(&self) -> &Metadata<'_> {
            unreachable!("it is never registered")
        }
    }

    static ONE: Site = Site(1);
    static OTHER: Site = Site(2);
}
