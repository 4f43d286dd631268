//! Questions to netlink families for which no crate here has types: one request, and the attributes of what is
//! answered.

use std::io;

use netlink_sys::{Socket, SocketAddr};

/// Bytes of a message's head (`struct nlmsghdr`).
const HEAD: usize = 16;
/// Bytes of an attribute's head (`struct nlattr`).
const ATTRIBUTE_HEAD: usize = 4;
/// `NLM_F_REQUEST`, `NLM_F_ACK` and `NLM_F_DUMP` of `include/uapi/linux/netlink.h`.
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
const DUMP: u16 = 0x300;
/// `NLMSG_ERROR`, which an acknowledgement is too, and `NLMSG_DONE`.
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// Flags in the type of an attribute (`NLA_F_NESTED`, `NLA_F_NET_BYTEORDER`).
const TYPE: u16 = 0x3fff;
/// The kernel's longest datagram of a list.
const BUFFER: usize = 32 * 1024;

/// How much is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum How {
    /// One thing.
    One,
    /// A list.
    List,
}

/// Asks, and returns the bodies of the answers. Blocks until the kernel has answered, which it does at once.
pub(super) fn ask(protocol: isize, kind: u16, how: How, body: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let flags = REQUEST | if how == How::List { DUMP } else { ACKNOWLEDGE };
    let mut message = Vec::with_capacity(HEAD + body.len());
    message.extend(((HEAD + body.len()) as u32).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]); // Sequence and port: one question on a socket of its own.
    message.extend(body);
    socket.send(&message, 0)?;
    let mut answers = Vec::new();
    loop {
        let mut buffer = Vec::with_capacity(BUFFER);
        socket.recv(&mut buffer, 0)?;
        let mut rest = buffer.as_slice();
        while let Some((kind, body, after)) = first(rest) {
            match kind {
                DONE => return Ok(answers),
                ERROR => {
                    let code = body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                    return if code == 0 {
                        Ok(answers)
                    } else {
                        Err(io::Error::from_raw_os_error(code.saturating_neg()))
                    };
                }
                _ => answers.push(body.to_vec()),
            }
            rest = after;
        }
    }
}

/// The first message: its type, its body, and what follows it.
fn first(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (head, _) = bytes.split_first_chunk::<HEAD>()?;
    let length = u32::from_ne_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let body = bytes.get(HEAD..length)?;
    let after = &bytes[length.next_multiple_of(4).min(bytes.len())..];
    Some((u16::from_ne_bytes([head[4], head[5]]), body, after))
}

/// An attribute as it is sent.
pub(super) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = ATTRIBUTE_HEAD + value.len();
    let mut bytes = Vec::with_capacity(length.next_multiple_of(4));
    bytes.extend((length as u16).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(length.next_multiple_of(4), 0);
    bytes
}

/// The value of the first attribute of this type.
pub(super) fn find(attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut rest = attributes;
    while let Some((head, _)) = rest.split_first_chunk::<ATTRIBUTE_HEAD>() {
        let length = u16::from_ne_bytes([head[0], head[1]]) as usize;
        let value = rest.get(ATTRIBUTE_HEAD..length)?;
        if u16::from_ne_bytes([head[2], head[3]]) & TYPE == wanted {
            return Some(value);
        }
        rest = &rest[length.next_multiple_of(4).min(rest.len())..];
    }
    None
}

/// A number of 32 bits.
pub(super) fn number(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

/// A text that ends with a zero.
pub(super) fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_and_what_is_cut_short_is_nothing() {
        let bytes = [attribute(1, b"eth0\0"), attribute(2 | 0x8000, &7_u32.to_ne_bytes())].concat();
        assert_eq!(find(&bytes, 1).map(text).as_deref(), Some("eth0"));
        assert_eq!(find(&bytes, 2).and_then(number), Some(7));
        assert_eq!(find(&bytes, 3), None);
        for length in 0..bytes.len() {
            let _ = find(&bytes[..length], 2);
        }
        assert_eq!(find(&bytes[..bytes.len() - 1], 2), None, "cut short");
        assert_eq!(find(&[2, 0, 1, 0, 9, 9, 9, 9], 1), None, "shorter than its own head");
    }

    #[test]
    fn a_message_cut_short_is_none() {
        let mut message = Vec::from(20_u32.to_ne_bytes());
        message.extend([0; 16]);
        assert!(first(&message).is_some());
        assert!(first(&message[..19]).is_none() && first(&[0; 16]).is_none());
    }
}
