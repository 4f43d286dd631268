//! Which probes never got through: the link's outer end carried them, the edge's end did not.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use anyhow::Result;

use super::capture::Recording;
use super::frame::Seen;
use super::tally::Asked;
use crate::lab::plan::{Role, role};

/// What the scanner had asked, each once, when one of its packets was first hidden, that one included; nothing when all of them
/// got through.
///
/// `outside` is a recording of the router's end of the edge's link. `inside` is one of the edge's own end, which shows
/// what an XDP program passes and nothing that it drops. A frame is the same on both, byte by byte, and those that
/// repeat another one are told apart by their number. What a queue between the two loses would look hidden; a link of
/// the laboratory has none that fills.
///
/// # Errors
/// When a recording is broken.
pub fn asked_until_hidden(outside: &Recording, inside: &Recording) -> Result<Option<BTreeSet<Asked>>> {
    Ok(until_hidden(
        outside.frames()?.into_iter().map(|(_, frame)| frame),
        inside.frames()?.into_iter().map(|(_, frame)| frame),
    ))
}

fn until_hidden(
    outside: impl Iterator<Item = Vec<u8>>,
    inside: impl Iterator<Item = Vec<u8>>,
) -> Option<BTreeSet<Asked>> {
    let mut passed = HashMap::<_, u64>::new();
    for frame in inside {
        *passed.entry(frame).or_default() += 1;
    }
    let mut asked = BTreeSet::new();
    for frame in outside {
        let Some(seen) = Seen::read(Duration::ZERO, &frame) else { continue };
        if role(seen.source) != Role::Scanner {
            continue;
        }
        asked.extend(seen.asks());
        match passed.get_mut(&frame) {
            Some(left) if *left > 0 => *left -= 1,
            _ => return Some(asked),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;
    use crate::lab::plan::{EDGE, SCANNER, customer};

    fn syn(source: [u8; 4], port: u16) -> Vec<u8> {
        let mut frame = Vec::new();
        let ip = PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4(source, EDGE.octets(), 64);
        ip.tcp(40000, port, 7, 1024).syn().write(&mut frame, &[]).expect("a segment");
        frame
    }

    fn first_hidden(outside: &[u16], inside: &[u16]) -> Option<u64> {
        let frames = |ports: &[u16]| ports.iter().map(|port| syn(SCANNER.octets(), *port)).collect::<Vec<_>>();
        until_hidden(frames(outside).into_iter(), frames(inside).into_iter()).map(|asked| asked.len() as u64)
    }

    #[test]
    fn the_first_probe_that_did_not_get_in_is_counted_and_repeated_ones_are_not() {
        assert_eq!(first_hidden(&[1, 2, 2, 3, 4, 5], &[1, 2, 2, 3]), Some(4));
        assert_eq!(first_hidden(&[1, 2], &[1, 2]), None);
        assert_eq!(first_hidden(&[1, 1, 2], &[1]), Some(1), "hidden when it came again");
        assert_eq!(first_hidden(&[], &[]), None);
    }

    #[test]
    fn what_others_lose_is_not_the_scanners() {
        let others = [syn(customer(0).octets(), 1)];
        assert_eq!(until_hidden(others.into_iter(), std::iter::empty()), None);
    }
}
