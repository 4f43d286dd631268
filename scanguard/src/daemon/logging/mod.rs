//! Where log lines go: to standard error, for people or for programs.

use std::io::{self, IsTerminal as _};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::EnvFilter;

use crate::config::{Log, LogFormat, LogLevel};

/// Starts logging. The bridge for libraries that use `log` comes with it; the kernel part's debug log needs it there before
/// it is opened.
pub(super) fn start(log: &Log, color: bool) -> anyhow::Result<()> {
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
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_target(false);
    match format {
        LogFormat::Text => lines.with_ansi(color && io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    }
    .map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))
}
