//! Flows of a capture, as a monitor beside the wire tells them: what the published detectors are fed with.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::Result;
use ipnetwork::IpNetwork;
use scanguard::replay::capture;
use scanguard_common::address::{Address, prefix};
use scanguard_common::class::Protocol;
use scanguard_common::flow::Flow;
use scanguard_common::host::Frame;
use scanguard_common::packet::{Parsed, Shape, parse, tcp_flags};
use scanguard_common::source::{KeyRules, SourceKey};

use super::baselines::Contact;

/// The first packet of each flow towards what is protected (everything, if nothing is named): one contact for each source, destination,
/// protocol and port. It failed if the flow has no answer, or only a RST or an ICMP error.
///
/// # Errors
/// When the capture cannot be opened.
pub fn contacts(path: &Path, protect: &[IpNetwork]) -> Result<Vec<Contact>> {
    let mut packets: Vec<(u64, Parsed)> = Vec::new();
    capture::read(capture::open(path, |_| {})?, |captured| {
        packets.push((captured.time_ns, parse(&Frame(captured.frame))));
        ControlFlow::Continue(())
    });
    packets.sort_by_key(|(time_ns, _)| *time_ns);
    let prefixes: Vec<(Address, u8)> =
        protect.iter().map(|network| prefix(network.network(), network.prefix())).collect();
    let guards = |address: &Address| {
        prefixes.is_empty() || prefixes.iter().any(|(prefix, bits)| address.masked(&Address::mask(*bits)) == *prefix)
    };
    // Flows by what their first packet is; answered if anything but a refusal comes back.
    let mut begun: HashMap<Flow, ()> = HashMap::new();
    let mut answered: HashSet<Flow> = HashSet::new();
    let mut firsts: Vec<(u64, Parsed, Flow)> = Vec::new();
    for (time_ns, parsed) in &packets {
        let Some(protocol) = protocol(parsed) else { continue };
        let is_refusal = protocol == Protocol::Tcp && parsed.tcp_flags & tcp_flags::RST != 0;
        let back = Flow::of(&turned(parsed), protocol);
        if begun.contains_key(&back) {
            if !is_refusal {
                answered.insert(back);
            }
            continue;
        }
        let flow = Flow::of(parsed, protocol);
        let is_answer = protocol == Protocol::Tcp
            && (is_refusal || parsed.tcp_flags & (tcp_flags::SYN | tcp_flags::ACK) == tcp_flags::SYN | tcp_flags::ACK);
        let is_reply = parsed.shape == Shape::Icmp && !parsed.is_echo_request();
        if is_answer || is_reply || begun.insert(flow, ()).is_some() {
            continue;
        }
        firsts.push((*time_ns, *parsed, flow));
    }
    let (keys, mut seen) = (KeyRules::new(), HashSet::<(SourceKey, Address, u8, u16)>::new());
    let mut contacts = Vec::new();
    for (time_ns, parsed, flow) in firsts {
        let Some(source) = keys.source(&parsed).filter(|_| guards(&parsed.destination)) else { continue };
        let asked = parsed.protocol;
        if seen.insert((source, parsed.destination, asked, parsed.destination_port)) {
            contacts.push(Contact {
                source,
                destination: parsed.destination,
                port: parsed.destination_port,
                time: time_ns as f64 / 1e9,
                failed: !answered.contains(&flow),
            });
        }
    }
    Ok(contacts)
}

fn protocol(parsed: &Parsed) -> Option<Protocol> {
    match parsed.shape {
        Shape::Tcp => Some(Protocol::Tcp),
        Shape::Udp => Some(Protocol::Udp),
        Shape::Icmp => Some(Protocol::Icmp),
        _ => None,
    }
}

fn turned(parsed: &Parsed) -> Parsed {
    Parsed {
        source: parsed.destination,
        destination: parsed.source,
        source_port: parsed.destination_port,
        destination_port: parsed.source_port,
        ..*parsed
    }
}
