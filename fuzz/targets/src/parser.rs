//! A frame: every way of reading it agrees with the others.

use scanguard_common::host::Frame;
use scanguard_common::packet::tcp_flags::{ACK, RST, SYN};
use scanguard_common::packet::{MAX_VLAN_TAGS, Parsed, Shape, parse, parse_leaving, plain_segment};

/// Reads a frame.
///
/// # Panics
/// When what is read makes no sense.
pub fn run(data: &[u8]) {
    let frame = Frame(data);
    let parsed = parse(&frame);
    assert!(parsed.vlan_tags <= MAX_VLAN_TAGS, "{parsed:?}");
    match parsed.shape {
        Shape::NotIp | Shape::Malformed => {}
        Shape::Tcp => {
            assert!(data.len() >= usize::from(parsed.transport_offset) + 14, "{parsed:?}");
            assert_eq!(data[usize::from(parsed.transport_offset) + 13], parsed.tcp_flags, "{parsed:?}");
        }
        _ => assert!(matches!(parsed.version, 4 | 6), "{parsed:?}"),
    }
    // What is told at a glance is what is read at length.
    if let Some(plain) = plain_segment(&frame) {
        assert_eq!((parsed.shape, parsed.vlan_tags), (Shape::Tcp, 0), "{parsed:?}");
        assert_eq!(plain.destination_port(), parsed.destination_port, "{parsed:?}");
        assert!(parsed.tcp_flags & SYN == 0 && parsed.tcp_flags & (ACK | RST) != 0, "{parsed:?}");
        assert_eq!(plain.is_ack(), parsed.tcp_flags & (ACK | RST) == ACK, "{parsed:?}");
    }
    // What follows the packet on the wire is nobody's business.
    if holds_all(data, &parsed) {
        let mut padded = Vec::with_capacity(data.len() + 4);
        padded.extend_from_slice(data);
        padded.extend_from_slice(&[0xa5; 4]);
        let again = parse(&Frame(&padded));
        assert!(
            again == parsed || (again.shape, parsed.shape) == (Shape::Malformed, Shape::Malformed),
            "{again:?}, {parsed:?}"
        );
    }
    let mut answered = Parsed::default();
    let _ = parse_leaving(&frame, &mut answered);
    assert!(answered.vlan_tags <= MAX_VLAN_TAGS, "{answered:?}");
}

/// Whether a frame has all the bytes that its IP header says it has.
fn holds_all(frame: &[u8], parsed: &Parsed) -> bool {
    let header = 14 + 4 * usize::from(parsed.vlan_tags);
    let length = |at: usize| {
        frame.get(header + at..header + at + 2).map(|pair| usize::from(pair[0]) << 8 | usize::from(pair[1]))
    };
    match parsed.version {
        4 => {
            let options = frame.get(header).map_or(0, |byte| usize::from(byte & 15) * 4);
            length(2).is_some_and(|length| length >= options && header + length <= frame.len())
        }
        6 => length(4).is_some_and(|length| header + 40 + length <= frame.len()),
        _ => false,
    }
}
