//! How somebody connects, frame by frame.

use std::net::Ipv4Addr;

use anyhow::Result;
use etherparse::{PacketBuilder, TcpHeaderSlice, TcpOptionElement};
use scanguard_common::datapath::Action;
use scanguard_common::datapath::connection::Connection;

use super::host::{Host, MAC, PEER_MAC, SERVER};

/// What came of an attempt, as whoever made it sees it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    /// A connection with a service.
    Connected,
    /// The host's own stack refused it.
    Refused,
    /// No answer.
    Silent,
    /// A handshake with a decoy, or an answer that a raw scanner takes for one.
    Decoyed,
}

/// A connection that somebody tries to make.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    pub(super) from: Ipv4Addr,
    pub(super) from_port: u16,
    pub(super) port: u16,
    pub(super) isn: u32,
}

/// Somebody's program connects and says something.
pub(super) fn connect(host: &mut Host, attempt: &Attempt) -> Result<Outcome> {
    open(host, attempt, |host| host.stack_answers(attempt, true))
}

/// A scanner connects and says nothing, as nmap -sT does.
pub(super) fn knock(host: &mut Host, attempt: &Attempt) -> Result<Outcome> {
    open(host, attempt, |host| host.stack_answers(attempt, false))
}

/// Somebody's program connects to an open port and stays: the connection, which whoever called ends, if there is one.
pub(super) fn stay(host: &mut Host, attempt: &Attempt) -> Result<Option<Connection>> {
    let mut connection = None;
    open(host, attempt, |host| {
        connection = host.begin(attempt);
        if connection.is_some() { Outcome::Connected } else { Outcome::Silent }
    })?;
    Ok(connection)
}

/// A real stack connects: it resets what it did not ask for, sends its SYN again, and acknowledges what fits.
fn open(host: &mut Host, attempt: &Attempt, answered: impl FnOnce(&mut Host) -> Outcome) -> Result<Outcome> {
    // Linux tries three times within the patience of people (`tcp_syn_retries` gives more, seconds apart).
    const TRIES: u32 = 3;
    for _ in 0..TRIES {
        match host.receive(&syn(attempt)?)? {
            (Action::Pass | Action::PassPlain, _) => return Ok(answered(host)),
            (Action::Drop, _) => {}
            (Action::Answer, answer) => {
                let (sequence, acknowledged) = numbers(&answer)?;
                if acknowledged == attempt.isn.wrapping_add(1) {
                    host.receive(&segment(attempt, acknowledged, Some(sequence.wrapping_add(1)))?)?;
                    return Ok(Outcome::Decoyed);
                }
                host.receive(&reset(attempt, acknowledged)?)?;
            }
        }
    }
    Ok(Outcome::Silent)
}

/// A raw scanner asks once; the kernel under it resets every answer to what it knows nothing of.
pub(super) fn probe(host: &mut Host, attempt: &Attempt) -> Result<Outcome> {
    match host.receive(&syn(attempt)?)? {
        (Action::Pass | Action::PassPlain, _) => Ok(host.refuses_or_accepts(attempt)),
        (Action::Drop, _) => Ok(Outcome::Silent),
        (Action::Answer, answer) => {
            let (_, acknowledged) = numbers(&answer)?;
            host.receive(&reset(attempt, acknowledged)?)?;
            Ok(Outcome::Decoyed)
        }
    }
}

/// Somebody forges: the answer goes to the one whose address it is, and whose stack resets it.
pub(super) fn forge(host: &mut Host, attempt: &Attempt, guess: Option<u32>) -> Result<()> {
    if let Some(guess) = guess {
        host.receive(&segment(attempt, attempt.isn.wrapping_add(1), Some(guess))?)?;
        return Ok(());
    }
    if let (Action::Answer, answer) = host.receive(&syn(attempt)?)? {
        let (_, acknowledged) = numbers(&answer)?;
        host.receive(&reset(attempt, acknowledged)?)?;
    }
    Ok(())
}

/// Whether a segment of an established connection gets through.
pub(super) fn speak(host: &mut Host, attempt: &Attempt) -> Result<bool> {
    let (action, _) = host.receive(&segment(attempt, attempt.isn.wrapping_add(1), Some(7))?)?;
    Ok(action == Action::Pass)
}

fn numbers(answer: &[u8]) -> Result<(u32, u32)> {
    const TCP: usize = 14 + 20;
    let tcp = TcpHeaderSlice::from_slice(answer.get(TCP..).unwrap_or_default())?;
    Ok((tcp.sequence_number(), tcp.acknowledgment_number()))
}

fn syn(attempt: &Attempt) -> Result<Vec<u8>> {
    frame(attempt, attempt.isn, None, false)
}

/// The sequence number of the host's SYN-ACKs.
pub(super) const SEQUENCE: u32 = 6;

/// The host's answer to a SYN.
pub(super) fn syn_ack(attempt: &Attempt) -> Vec<u8> {
    let Attempt { from, from_port, port, isn } = *attempt;
    let mut bytes = Vec::with_capacity(64);
    PacketBuilder::ethernet2(MAC, PEER_MAC)
        .ipv4(SERVER.octets(), from.octets(), 64)
        .tcp(port, from_port, SEQUENCE, 64_240)
        .syn()
        .ack(isn.wrapping_add(1))
        .write(&mut bytes, &[])
        .expect("a Vec takes everything");
    bytes
}

fn segment(attempt: &Attempt, sequence: u32, acknowledged: Option<u32>) -> Result<Vec<u8>> {
    frame(attempt, sequence, acknowledged, false)
}

fn reset(attempt: &Attempt, sequence: u32) -> Result<Vec<u8>> {
    frame(attempt, sequence, None, true)
}

fn frame(attempt: &Attempt, sequence: u32, acknowledged: Option<u32>, is_reset: bool) -> Result<Vec<u8>> {
    let Attempt { from, from_port, port, .. } = *attempt;
    let tcp = PacketBuilder::ethernet2(PEER_MAC, MAC)
        .ipv4(from.octets(), SERVER.octets(), 64)
        .tcp(from_port, port, sequence, 64_240);
    let tcp = match (acknowledged, is_reset) {
        (_, true) => tcp.rst(),
        (Some(acknowledged), false) => tcp.ack(acknowledged),
        (None, false) => tcp.syn().options(&[TcpOptionElement::MaximumSegmentSize(1_460)])?,
    };
    let mut bytes = Vec::with_capacity(64);
    tcp.write(&mut bytes, &[])?;
    Ok(bytes)
}
