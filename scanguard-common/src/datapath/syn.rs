//! The short way of SYNs: most are of sources that ask for what they asked for before, and in a flood of sources that are blocked.
//!
//! What is decided here is what the long way ([`super::ask`]) decides, with as few looks at tables as it takes, and without the case, of
//! which the kernel part's way through a map costs as much as several of them.

use super::ask::leave_unrecorded;
use super::case::Case;
use super::count_ruling;
use super::kind::Kind;
use super::ruling::Ruling;
use crate::class::{PortClass, Protocol};
use crate::contact::Outcome;
use crate::counter::CounterIndex;
use crate::event::Answer;
use crate::packet::{Packet, read_plain_syn};
use crate::reason::{Mode, Reason};
use crate::storm::StateCell;
use crate::tables::{Socket, Tables};
use crate::verdict::Rule;

/// What came of a glance at a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub(super) enum Glance {
    /// It is no plain SYN, or one that takes the long way; nothing was counted.
    Long = 0,
    /// It passes.
    Pass = 1,
    /// It is dropped.
    Drop = 2,
    /// Its source has no record: [`super::Stage::Meet`], with the case.
    Meet = 3,
    /// It is a first contact: [`super::Stage::First`], with the case.
    First = 4,
}

/// Looks at a frame, and fills the case where more is to be done than can be told at a glance.
///
/// Everything is written into the case at once, which is memory: of values that are there only sometimes LLVM leaves registers unset, and the stack
/// is short. A function of its own in the kernel: what it keeps there the long way has for itself.
#[inline(always)]
pub(super) fn glance<P: Packet, T: Tables>(frame: &P, case: &mut Case, tables: &T) -> Glance {
    let claimed = read_plain_syn(frame, &mut case.parsed);
    let (false, Some(config)) = (claimed == 0, tables.config()) else {
        return Glance::Long;
    };
    let census = &config.census;
    let Some(source) = config.keys.source(&case.parsed) else {
        return Glance::Long;
    };
    if tables.is_own(&case.parsed.source) {
        return Glance::Long;
    }
    (case.source, case.now_ns, case.length) = (source, tables.now_ns(), frame.len_of(claimed) as u64);
    if census.verdicts != 0 {
        let rule = tables.verdict(&case.source).map_or(Rule::NONE, |verdict| verdict.rule(case.now_ns));
        if rule.blocks() && rule.covers_all() {
            let mode = count_ruling(Ruling::block(Reason::BlockedAll, rule.is_operators()), case.length, tables);
            return if mode == Mode::Observe { Glance::Pass } else { Glance::Drop };
        }
        if rule != Rule::NONE {
            return Glance::Long;
        }
    }
    if census.prefix_verdicts != 0
        && (case.source.0 != case.parsed.source || tables.prefix_verdict(&case.parsed.source).is_some())
    {
        return Glance::Long;
    }
    case.port = case.parsed.destination_port;
    let entry = tables.port(Protocol::Tcp, case.port);
    if entry.is_locked() && config.is_locked_down(case.now_ns) {
        return Glance::Long;
    }
    let is_any = entry.unless_closed() != PortClass::Unknown;
    case.class = entry.own();
    case.is_ours = (is_any || census.protected != 0) && tables.is_own(&case.parsed.destination);
    if !case.is_ours {
        if census.protected != 0 {
            return Glance::Long; // It may be of a network that is protected.
        }
        case.class = PortClass::Unknown;
    }
    case.is_ours &= is_any;
    // Storms, and networks of suspects.
    let is_calm = |state: StateCell<'_>| !state.is_storm(case.now_ns) && !state.has_networks(case.now_ns);
    if case.class.should_be_closed() && !tables.state().is_some_and(is_calm) {
        return Glance::Long;
    }
    let record = tables.source(&case.source);
    if let Some(record) = record {
        if record.was_suspect() || record.is_due(&config.score, case.now_ns) {
            return Glance::Long;
        }
        tables.count(CounterIndex::attempt(case.class, Protocol::Tcp), case.length);
        record.count_attempt(case.now_ns);
        case.kind = Kind::Syn;
        case.mark(config);
        case.is_new = record.mark_contact(case.bit);
        // What may be held against the source is weighed whether or not it asked for it before, unless it was.
        let is_settled =
            !case.class.may_be_hidden() || (record.has_failed(case.bit) && record.score() < config.score.conceal_at);
        if !case.is_new && is_settled {
            count_ruling(Ruling::pass(Reason::NewFlow), case.length, tables);
            return Glance::Pass;
        }
    }
    if record.is_none() && !case.class.may_be_hidden() && !tables.admits(&config.newcomers, case.now_ns) {
        leave_unrecorded(case, tables);
        count_ruling(Ruling::pass(Reason::NewFlow), case.length, tables);
        return Glance::Pass;
    }
    case.outcome = Outcome::Unknown;
    case.socket = Socket::None;
    case.looked_up = false;
    case.suspect = false;
    case.is_protected = false;
    case.is_group = false;
    case.answer = Answer::None;
    let length = case.length;
    case.begin(length);
    if record.is_some() { Glance::First } else { Glance::Meet }
}
