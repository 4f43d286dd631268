//! Replays captures: the datapath and the policy over ordinary memory, on the capture's clock, without root and without a kernel.
//!
//! | module | does |
//! |---|---|
//! | [`capture`] | reads pcap and pcapng |
//! | `witness` | tells from the capture which ports are open, in place of sockets |
//! | `line` | lets frames wait until the answers to them are known |
//! | `sessions` | follows TCP connections, as sockets would tell of them |
//! | `tables` | the datapath's tables |
//! | `world` | judges frame by frame, and hears events as the daemon does |
//! | [`Kernel`] | the real programs beside it, compared packet by packet |
//! | [`tale`] | what became of each source |
//! | [`labels`] | captures whose scanners are known, and scores against them |
//! | [`report`] | the answer as JSON |
//! | [`page`] | the answer as a page |
//! | [`differences`] | what two configurations decide differently |

pub mod capture;
pub mod differences;
mod kernel;
pub mod labels;
mod line;
pub mod page;
pub mod report;
mod sessions;
mod tables;
pub mod tale;
mod witness;
mod world;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::{Result, bail};
use ipnetwork::IpNetwork;
use scanguard_common::class::Protocol;
use scanguard_common::reason::{Level, Mode, Reason};
use scanguard_common::source::{KeyRules, SourceKey};

use crate::config::Config;
use crate::feeds::Feeds;
use capture::{Captured, Ending};
pub use kernel::Kernel;
pub use line::WAIT_NS;
pub use tale::{Moment, Tale};
use world::World;
pub use world::{PortTale, Told};

/// Bytes of a capture that is sorted in memory, at most.
const MOST_SORTED: usize = 2 << 30;

/// What to replay with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Settings, as the daemon has them.
    pub config: Config,
    /// The feeds that the configuration names, as they are now.
    pub feeds: Feeds,
    /// What is guarded; everything if nothing is named.
    pub protect: Vec<IpNetwork>,
    /// Whether to keep all events.
    pub events: bool,
}

/// What came of a capture.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// How reading ended.
    pub ending: Ending,
    /// Whether it had to be sorted by time first.
    pub sorted: bool,
    /// Packets whose time lay too far back, where they could not be sorted.
    pub late: u64,
    /// Times of the first and the last packet, in nanoseconds since 1970.
    pub span: Option<(u64, u64)>,
    /// Packets towards what is guarded.
    pub judged: u64,
    /// Packets from there that told something.
    pub left: u64,
    /// Whether there were answers at all.
    pub has_answers: bool,
    /// Storms that began.
    pub storms: u64,
    /// Sources that made at least one new flow.
    pub sources: Vec<SourceKey>,
    /// Sources that were forgotten for want of room.
    pub forgotten: u64,
    /// Sources with contacts or hidden packets, those with the highest score first.
    pub tales: Vec<(SourceKey, Tale)>,
    /// What ports were asked, by protocol and port.
    pub ports: BTreeMap<(u8, u16), PortTale>,
    /// Packets and bytes by level and reason.
    pub verdicts: Vec<(Level, Reason, u64, u64)>,
    /// All events, if they were asked for.
    pub events: Vec<Told>,
    /// Packets that the kernel judged alike, and those it takes no trial of.
    pub compared: Option<(u64, u64)>,
    /// How addresses became sources.
    pub keys: KeyRules,
}

/// Replays one capture, with the kernel beside it if one is given. `progress` is told how many bytes of the file were read.
///
/// # Errors
/// When it cannot be opened, when it is out of order and too large to be sorted, or when the kernel judges a packet differently.
pub fn replay(
    path: &Path,
    options: &Options,
    mut kernel: Option<&mut Kernel>,
    progress: impl Fn(u64) + Clone + Send + 'static,
) -> Result<Replayed> {
    let is_stream = path.as_os_str() == "-";
    let mut world = World::new(options, kernel.as_deref_mut())?;
    world.keep_events = options.events;
    world.takes_late = is_stream;
    let mut out_of_order = false;
    let ending = capture::read(capture::open(path, progress.clone())?, |captured| {
        let flow = world.take(captured);
        out_of_order |= flow.is_break();
        flow
    });
    if world.stopped.is_none() && !out_of_order {
        let _ = world.finish();
        return result(world, ending, false);
    }
    if world.stopped.is_some() {
        return result(world, ending, false);
    }
    drop(world);
    // Anew, in order.
    let mut world = World::new(options, kernel)?;
    world.keep_events = options.events;
    let mut bytes: Vec<u8> = Vec::new();
    let mut places = Vec::new();
    let mut is_too_large = false;
    let ending = capture::read(capture::open(path, progress)?, |Captured { number, time_ns, frame }| {
        let start = bytes.len();
        bytes.extend_from_slice(frame);
        places.push((time_ns, number, start, bytes.len()));
        is_too_large = bytes.len() + places.len() * 32 > MOST_SORTED;
        if is_too_large { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    if is_too_large {
        bail!(
            "{} is not in the order of time and too large to be sorted in memory: sort it first, for example with \
             `reordercap`",
            path.display()
        );
    }
    places.sort_unstable();
    for (time_ns, number, start, end) in places {
        if world.take(Captured { number, time_ns, frame: &bytes[start..end] }).is_break() {
            break;
        }
    }
    if world.stopped.is_none() {
        let _ = world.finish();
    }
    result(world, ending, true)
}

fn result(mut world: World<'_>, ending: Ending, sorted: bool) -> Result<Replayed> {
    if let Some(error) = world.stopped.take() {
        return Err(error);
    }
    let counters = world.counters();
    let mut verdicts = Vec::new();
    for reason in Reason::ALL {
        let level = reason.level();
        let (mut packets, mut bytes) = (0, 0);
        for mode in Mode::ALL {
            let index = scanguard_common::counter::CounterIndex::verdict(level, *reason, mode).get() as usize;
            if let Some(counter) = counters.get(index) {
                packets += counter.packets;
                bytes += counter.bytes;
            }
        }
        if packets > 0 {
            verdicts.push((level, *reason, packets, bytes));
        }
    }
    let mut sources: Vec<SourceKey> = world.sources().collect();
    sources.sort_unstable_by_key(|source| source.0.bytes());
    let mut tales: Vec<(SourceKey, Tale)> = std::mem::take(&mut world.tales).into_iter().collect();
    tales.sort_unstable_by(|(one, first), (other, second)| {
        let by = |tale: &Tale| (tale.highest, tale.hidden(), tale.contacts);
        by(second).cmp(&by(first)).then_with(|| one.0.bytes().cmp(&other.0.bytes()))
    });
    Ok(Replayed {
        ending,
        sorted,
        late: world.late,
        span: world.span(),
        judged: world.judged,
        left: world.left,
        has_answers: world.has_answers(),
        storms: world.storms,
        sources,
        forgotten: world.forgotten(),
        tales,
        ports: std::mem::take(&mut world.ports).into_iter().collect(),
        verdicts,
        events: std::mem::take(&mut world.told),
        compared: world.compared(),
        keys: world.settings().keys,
    })
}

/// The name of a protocol by its number.
#[must_use]
pub fn protocol_label(number: u8) -> &'static str {
    Protocol::from_u8(number).map_or("other", Protocol::label)
}
