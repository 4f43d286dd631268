//! What a TCP segment is by its flags alone.

use crate::packet::tcp_flags;

/// What a TCP segment is by its flags alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Segment {
    Established,
    Syn,
    SynAck,
    IllegalSyn,
    Illegal,
}

impl Segment {
    #[inline(always)]
    pub(super) const fn of(flags: u8) -> Self {
        use tcp_flags::{ACK, FIN, RST, SYN};
        match (flags & SYN != 0, flags & ACK != 0, flags & RST != 0, flags & FIN != 0) {
            (false, true, ..) | (false, false, true, false) => Self::Established,
            (false, ..) => Self::Illegal,
            (true, false, false, false) => Self::Syn,
            (true, true, false, false) => Self::SynAck,
            (true, false, ..) => Self::IllegalSyn,
            (true, true, ..) => Self::Illegal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Segment;
    use crate::packet::tcp_flags::{ACK, FIN, PSH, RST, SYN, URG};

    #[test]
    fn flags_are_read_as_the_design_says() {
        let rows = [
            (SYN, Segment::Syn),
            (SYN | PSH, Segment::Syn),
            (SYN | 0xc0, Segment::Syn), // ECE and CWR of an ECN setup (RFC 3168)
            (SYN | ACK, Segment::SynAck),
            (ACK, Segment::Established),
            (ACK | PSH, Segment::Established),
            (FIN | ACK, Segment::Established),
            (RST, Segment::Established),
            (RST | ACK, Segment::Established),
            (0, Segment::Illegal),
            (FIN, Segment::Illegal),
            (PSH, Segment::Illegal),
            (URG, Segment::Illegal),
            (FIN | PSH | URG, Segment::Illegal),
            (FIN | RST, Segment::Illegal),
            (SYN | FIN, Segment::IllegalSyn),
            (SYN | RST, Segment::IllegalSyn),
            (SYN | FIN | ACK, Segment::Illegal),
            (SYN | RST | ACK, Segment::Illegal),
        ];
        for (flags, expected) in rows {
            assert_eq!(Segment::of(flags), expected, "{flags:#04x}");
        }
    }
}
