//! Answers to suspects, and what they prove.
//!
//! A SYN to a hidden port is answered with a *retry* challenge, whatever is behind the port: only a stack that is really at its address knows
//! the cookie. When it comes again it passes to the service, if the port is restricted, or gets a *decoy*, if it is closed. Who
//! completes that has shown that it is really there.

use super::case::{Case, CaseRef};
use super::ruling::Ruling;
use super::suspicion;
use crate::challenge::{ChallengeKind, ChallengeResult, Cookies, PASS_NS, Pass, REFUSED_NS};
use crate::class::{PortClass, Protocol};
use crate::config::KernelConfig;
use crate::counter::{CounterIndex, Loss};
use crate::event::{Event, EventKind};
use crate::flow::Flow;
use crate::packet::reply::ReplyKind;
use crate::packet::tcp_flags;
use crate::reason::{Mode, Reason};
use crate::session::SessionCell;
use crate::steer::is_beyond_browsers;
use crate::tables::{Socket, Stages, Tables};

/// Challenges a SYN to a hidden port, or lets it pass if its stack met the challenge. Where it may not be answered it is just hidden.
#[inline(always)]
pub(super) fn challenge<T: Stages>(case: &mut CaseRef<'_>, tables: &T) -> Ruling {
    let hide = Ruling::hide(case.hidden);
    let Some(config) = tables.config() else { return hide };
    if !may_answer(case, config, tables) {
        return hide;
    }
    if case.class == PortClass::Restricted && tables.socket(&case.parsed, Protocol::Tcp) == Socket::Connected {
        return hide; // A connection that is not quite over.
    }
    if !tables.examine(case) {
        count(ChallengeKind::Retry, ChallengeResult::Unanswerable, tables);
        return hide;
    }
    if !case.reply.has_mss {
        // The answer of a service to it could not be made like that of a decoy.
        count(ChallengeKind::Retry, ChallengeResult::Unanswerable, tables);
        return hide;
    }
    let flow = Flow::of(&case.parsed, Protocol::Tcp);
    let pass = tables.pass(&flow);
    let isn = case.reply.sequence;
    let kind = if pass.lets_pass(isn, case.now_ns) { ChallengeKind::Decoy } else { ChallengeKind::Retry };
    // What tells a decoy from a service would tell closed ports from restricted ones: both take the same limits in the same order, and
    // both are answered once.
    if kind == ChallengeKind::Decoy && pass.is_answered() {
        return hide;
    }
    let Some(record) = tables.challenged(&case.source).or_else(|| tables.new_challenged(&case.source)) else {
        return hide;
    };
    if !record.take_answer(kind, case.now_ns) {
        count(kind, ChallengeResult::SourceLimit, tables);
        return hide;
    }
    if !tables.state().is_some_and(|state| state.take_answer(case.now_ns)) {
        count(kind, ChallengeResult::Limit, tables);
        return hide;
    }
    if kind == ChallengeKind::Decoy {
        let is_restricted = case.class == PortClass::Restricted;
        // In a lockdown it stands in for a closed port whoever meets the challenge.
        let is_open = is_restricted && !case.is_locked && record.take_opening(case.port, case.now_ns);
        let answered = if is_open { 0 } else { Pass::DECOY };
        tables.set_pass(&flow, &Pass { isn: Pass::BOUND | u64::from(isn) | answered, ..pass });
        if is_open {
            return Ruling::pass(Reason::Retried);
        }
        if is_innocent(case, tables) {
            count(kind, ChallengeResult::Customer, tables);
            return hide;
        }
        if is_restricted && let Some(state) = tables.state() {
            state.expect_decoys(case.now_ns);
        }
    }
    let cookies = Cookies::at(&config.challenge, case.now_ns);
    let reply = &mut case.reply;
    if kind == ChallengeKind::Decoy {
        reply.reply_sequence = cookies.make(kind, &flow, isn);
        reply.reply_acknowledged = isn.wrapping_add(1);
    } else {
        // The sequence number is nobody's business: the cookie of a decoy that is never asked for.
        reply.reply_sequence = cookies.make(ChallengeKind::Decoy, &flow, !isn);
        reply.reply_acknowledged = cookies.make(kind, &flow, 0);
    }
    reply.kind = ReplyKind::SynAck;
    record.expect(case.now_ns);
    count(kind, ChallengeResult::Sent, tables);
    hide
}

/// Looks whether a segment with ACK to a closed port completes a decoy. It belongs to no connection of this host: that was asked before.
#[inline(always)]
pub(super) fn complete<T: Stages>(case: &mut CaseRef<'_>, tables: &T) -> Ruling {
    use tcp_flags::{ACK, FIN, RST, SYN};
    let hide = Ruling::hide(case.hidden);
    let Some(config) = tables.config() else { return hide };
    if case.parsed.tcp_flags & (SYN | ACK | RST | FIN) != ACK || !may_answer(case, config, tables) {
        return hide;
    }
    let Some(record) = tables.challenged(&case.source) else { return hide };
    if !record.is_expected(case.now_ns) {
        return hide;
    }
    let cookies = Cookies::at(&config.challenge, case.now_ns);
    if record.is_tired(cookies.slot()) {
        count(ChallengeKind::Decoy, ChallengeResult::Tired, tables);
        return hide;
    }
    if !tables.examine(case) {
        return hide;
    }
    let flow = Flow::of(&case.parsed, Protocol::Tcp);
    let (cookie, isn) = (case.reply.acknowledged.wrapping_sub(1), case.reply.sequence.wrapping_sub(1));
    if !cookies.is_right(cookie, ChallengeKind::Decoy, &flow, isn) {
        record.count_wrong(cookies.slot());
        count(ChallengeKind::Decoy, ChallengeResult::Wrong, tables);
        return hide;
    }
    count(ChallengeKind::Decoy, ChallengeResult::Met, tables);
    // A restricted port stood in for a closed one: to ask for it proves nothing.
    if case.class != PortClass::Restricted && record.take_proof(case.now_ns) {
        prove(|| case.event(EventKind::Completed), tables);
    }
    let may_reset = config.challenge.reply == 0 && record.take_reset(case.now_ns);
    if may_reset && tables.state().is_some_and(|state| state.take_answer(case.now_ns)) {
        case.reply.reply_sequence = case.reply.acknowledged;
        case.reply.kind = ReplyKind::Reset;
    }
    Ruling::hide(Reason::DecoyCompleted)
}

/// Looks whether a reset without ACK is a real stack's answer to a challenge. It passes on, whatever it is.
#[inline(always)]
pub(super) fn retry<T: Stages>(case: &mut CaseRef<'_>, tables: &T) {
    let Some(config) = tables.config() else { return };
    let Some(source) = config.keys.source(&case.parsed) else { return };
    let Some(record) = tables.challenged(&source) else { return };
    case.now_ns = tables.now_ns();
    if !record.is_expected(case.now_ns) {
        return;
    }
    if !tables.examine(case) {
        return;
    }
    // Guesses are not numbered here: who is right by chance, in somebody else's name, has opened that one's port to that one. To stop
    // looking would only keep the person whose name it is from getting through.
    let cookies = Cookies::at(&config.challenge, case.now_ns);
    let flow = Flow::of(&case.parsed, Protocol::Tcp);
    if !cookies.is_right(case.reply.sequence, ChallengeKind::Retry, &flow, 0) {
        count(ChallengeKind::Retry, ChallengeResult::Wrong, tables);
        return;
    }
    count(ChallengeKind::Retry, ChallengeResult::Met, tables);
    tables.set_pass(&flow, &Pass { until_ns: case.now_ns + PASS_NS, isn: 0 });
    // Whoever met a challenge is really there: what is kept of it is kept apart from what anybody can forge.
    if let Some(suspect) = tables.source(&source)
        && suspect.is_suspect(case.now_ns)
        && suspect.is_of(&source)
    {
        suspicion::keep(&source, suspect, true, tables);
    }
}

/// Whether this port is one that is challenged, for whomever: of a class that is, on an address of ours where closed ports refuse, none that
/// clients fall back to, and none to which answers to our own connections come.
#[inline(always)]
fn may_answer<T: Tables>(case: &Case, config: &KernelConfig, tables: &T) -> bool {
    if !config.challenge.covers(case.class)
        || !case.is_ours
        || case.is_protected
        || config.is_ephemeral(case.port)
        || config.mode_at(|| case.now_ns) != Mode::Enforce
        || tables.port(Protocol::Tcp, case.port).is_fallback()
    {
        return false;
    }
    let refused_ns = tables.refused(&case.parsed.destination);
    let is_refusing = refused_ns != 0 && case.now_ns.saturating_sub(refused_ns) < REFUSED_NS;
    if !is_refusing {
        count(ChallengeKind::Retry, ChallengeResult::NotRefused, tables);
    }
    is_refusing
}

/// Whether somebody who has worked here may ask for this closed port by no will of his own: a page can steer his browser to it, or he is a balancer
/// that looks after a backend which is long gone, and a decoy would make it look alive. A decoy there would prove nothing against him.
#[inline(always)]
fn is_innocent<T: Tables>(case: &Case, tables: &T) -> bool {
    case.class != PortClass::Canary
        && !is_beyond_browsers(case.port)
        && tables.sessions(&case.source).is_some_and(SessionCell::has_worked)
}

#[inline(always)]
fn count<T: Tables>(kind: ChallengeKind, result: ChallengeResult, tables: &T) {
    tables.count(CounterIndex::challenge(kind, result), 0);
}

#[cfg_attr(target_arch = "bpf", inline(never))]
fn prove<T: Tables>(event: impl FnOnce() -> Event, tables: &T) {
    if !tables.prove(event) {
        tables.count(CounterIndex::loss(Loss::Proofs), 0);
    }
}
