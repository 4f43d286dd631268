//! The kernel's socket tables: sock_diag(7), what `ss` uses.

use std::io;

use netlink_packet_core::{DecodeError, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::inet::{InetRequest, InetResponse};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr};

/// Bytes of the buffer for answers: the kernel fills at most 32 KiB at a time (`netlink_dump` in
/// `net/netlink/af_netlink.c`).
const BUFFER: usize = 32 * 1024;
/// Bytes of an attribute's head, its length and its type (`struct nlattr`).
const ATTRIBUTE_HEAD: usize = 4;
/// The attribute with the program by which the kernel chooses sockets (`INET_DIAG_REQ_BYTECODE` in
/// `include/uapi/linux/inet_diag.h`).
const PROGRAM: u16 = 1;

/// Why the sockets cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum DiagError {
    /// No netlink socket, or it broke.
    #[error("cannot {what} the kernel's socket tables (sock_diag): {source}")]
    Socket {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The kernel refuses.
    #[error("the kernel does not list {what} sockets: {source}; it needs CONFIG_INET_DIAG and CONFIG_INET_UDP_DIAG")]
    Refused {
        /// Which sockets.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// An answer that this program does not understand.
    #[error("cannot understand the kernel's list of {what} sockets: {source}")]
    Strange {
        /// Which sockets.
        what: &'static str,
        /// Why.
        source: DecodeError,
    },
}

/// Where the kernel is asked.
pub(super) struct Diag(Socket);

impl Diag {
    /// Asks in the network namespace of this thread.
    pub(super) fn open() -> Result<Self, DiagError> {
        let error = |source| DiagError::Socket { what: "open", source };
        let mut socket = Socket::new(NETLINK_SOCK_DIAG).map_err(error)?;
        socket.bind_auto().map_err(error)?;
        socket.connect(&SocketAddr::new(0, 0)).map_err(error)?;
        Ok(Self(socket))
    }

    /// All sockets that are asked for and that the program, if it is not empty, lets pass. Blocks until the kernel has told them.
    pub(super) fn list(
        &self,
        what: &'static str,
        request: InetRequest,
        program: &[u8],
        mut each: impl FnMut(InetResponse),
    ) -> Result<(), DiagError> {
        self.0.send(&bytes(request, program), 0).map_err(|source| DiagError::Socket { what: "ask", source })?;
        while !self.read(what, &mut each)? {}
        Ok(())
    }

    /// Reads one datagram of the answer; true when it was the last.
    fn read(&self, what: &'static str, each: &mut impl FnMut(InetResponse)) -> Result<bool, DiagError> {
        let strange = |source| DiagError::Strange { what, source };
        let refused = |source| DiagError::Refused { what, source };
        let mut buffer = Vec::with_capacity(BUFFER);
        self.0.recv(&mut buffer, 0).map_err(|source| DiagError::Socket { what: "read", source })?;
        let mut rest = buffer.as_slice();
        while !rest.is_empty() {
            let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest).map_err(strange)?;
            match message.payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => each(*response),
                // How a list ends that never began, too: where the kernel has no such sockets to list.
                NetlinkPayload::Done(done) if done.code < 0 => {
                    return Err(refused(io::Error::from_raw_os_error(done.code.saturating_neg())));
                }
                NetlinkPayload::Done(_) => return Ok(true),
                NetlinkPayload::Error(error) => return Err(refused(error.to_io())),
                _ => {}
            }
            // Messages are aligned to four bytes; the last one may lack its padding.
            let length = (message.header.length as usize).next_multiple_of(4).min(rest.len());
            rest = &rest[length..];
        }
        Ok(false)
    }
}

/// A request as it is sent. The crate knows no attributes of it.
fn bytes(request: InetRequest, program: &[u8]) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    if !program.is_empty() {
        // Programs are a few KiB at most, of whole words.
        bytes.extend(((ATTRIBUTE_HEAD + program.len()) as u16).to_ne_bytes());
        bytes.extend(PROGRAM.to_ne_bytes());
        bytes.extend(program);
        let length = (bytes.len() as u32).to_ne_bytes();
        bytes[..length.len()].copy_from_slice(&length); // `nlmsg_len`
    }
    bytes
}
