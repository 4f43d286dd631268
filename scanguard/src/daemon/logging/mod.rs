//! Where log lines go: to standard error, for people or for programs. Nothing that writes one waits for that.

mod limit;
mod writer;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal as _};
use std::panic;
use std::sync::Arc;

use tracing::level_filters::LevelFilter;
use tracing::{error, warn};
use tracing_appender::non_blocking::ErrorCounter;
use tracing_subscriber::filter::{EnvFilter, FilterExt as _};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt};

use self::limit::Limit;
use self::writer::{Form, Queue};
use crate::config::{Log, LogFormat, LogLevel};

/// The log, which is written out when this goes.
pub(super) struct Logging {
    queue: Queue,
    limit: Limit,
    lost: LogTally,
}

/// Lines that are in no log.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct LostLines {
    /// Whoever reads the log was too slow.
    pub(super) unread: u64,
    /// They were like others of the same second.
    pub(super) repeated: u64,
}

/// Counts them. Cheap to clone; without a log of its own it counts nothing.
#[derive(Clone, Default)]
pub(super) struct LogTally(Option<Arc<(ErrorCounter, Limit)>>);

impl LogTally {
    /// Since the start.
    pub(super) fn lost(&self) -> LostLines {
        let Some(counters) = self.0.as_deref() else { return LostLines::default() };
        LostLines { unread: counters.0.dropped_lines() as u64, repeated: counters.1.left_out() }
    }
}

impl Logging {
    /// Counts what is lost.
    pub(super) fn tally(&self) -> LogTally {
        self.lost.clone()
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        self.limit.sum_up();
        self.queue.flush();
    }
}

/// Says in the log itself how much of it is missing, once it can be written again.
#[derive(Default)]
pub(super) struct Missing {
    told: u64,
}

impl Missing {
    /// Says so, if there is anything that was not told.
    pub(super) fn tell(&mut self, tally: &LogTally) {
        let unread = tally.lost().unread;
        if unread > self.told {
            let lines = unread - self.told;
            warn!(lines, "log lines are missing: whoever reads the log was too slow");
            // This one may be missing, too: then it is told with those that follow.
            if tally.lost().unread == unread {
                self.told = unread;
            }
        }
    }
}

/// Starts logging. The bridge for libraries that use `log` comes with it; the kernel part's debug log needs it there before
/// it is opened.
pub(super) fn start(log: &Log, color: bool) -> anyhow::Result<Logging> {
    let Log { format, level, frames: _ } = log;
    let ours = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // Netlink libraries tell of every message at these levels.
    let mut filter = EnvFilter::default().add_directive(ours.into());
    if *level != LogLevel::Trace {
        for library in ["netlink_proto=warn", "netlink_packet_route=warn", "hyper=warn", "aya=warn", "aya_obj=warn"] {
            filter = filter.add_directive(library.parse()?);
        }
    }
    let styled = color && io::stderr().is_terminal();
    let form = match format {
        LogFormat::Text => Form::Text { styled },
        LogFormat::Json => Form::Json,
    };
    let (writer, queue) = writer::start(io::stderr(), form);
    let limit = Limit::default();
    let lines = fmt::layer().with_writer(writer).with_target(false);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(styled).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(filter.and(limit.clone())))
        .try_init()
        .map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))?;
    limit.tell_sums().map_err(|error| anyhow::anyhow!("cannot start a thread of the log: {error}"))?;
    // By default a panic is written to standard error at once, which waits for whoever reads it.
    panic::set_hook(Box::new(|panic| {
        let backtrace = Backtrace::capture();
        let trace = (backtrace.status() == BacktraceStatus::Captured).then(|| tracing::field::display(&backtrace));
        error!(trace, "a thread panics: {panic}");
    }));
    let lost = LogTally(Some(Arc::new((queue.dropped(), limit.clone()))));
    Ok(Logging { queue, limit, lost })
}
