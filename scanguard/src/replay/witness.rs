//! What a capture shows of the ports of its hosts: it stands for the sockets that nobody can ask any more.
//!
//! It is told of every frame a moment before that frame is judged ([`super::line`]), so that an attempt is judged by the answer that it is
//! about to get:
//!
//! | what it sees | what that says |
//! |---|---|
//! | a SYN-ACK or a segment of a connection from a port | open |
//! | the handshake's or a later segment from the client, without a RST from the port | open (captures of one direction) |
//! | a datagram from a port | a socket is there |
//! | a RST from a port | closed, if it never was open |
//! | nothing until the wait is over | closed |
//! | nothing at all from an address | nobody may be there: judged like an address of a protected network |

use std::hash::Hash;

use foldhash::HashMap;
use scanguard_common::address::Address;
use scanguard_common::class::Protocol;
use scanguard_common::flow::Flow;
use scanguard_common::opened::Endpoint;
use scanguard_common::packet::{Parsed, Shape, tcp_flags};
use scanguard_common::source::{KeyRules, SourceKey};

/// Entries of each table; the older half of more is forgotten.
const MOST: usize = 1 << 19;
/// The same of handshakes that began: they go on at once or not at all.
const MOST_BEGUN: usize = 1 << 15;

/// A map that forgets what was not asked for or written lately, in two generations.
pub(super) struct Recent<K, V> {
    now: HashMap<K, V>,
    before: HashMap<K, V>,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self { now: HashMap::default(), before: HashMap::default() }
    }
}

impl<K: Eq + Hash, V: Copy> Recent<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        self.now.get(key).or_else(|| self.before.get(key)).copied()
    }

    /// Keeps the value that there is.
    fn note(&mut self, key: K, value: V) {
        self.note_of(key, value, MOST);
    }

    /// The same where so many entries are kept at most.
    fn note_of(&mut self, key: K, value: V, most: usize) {
        if self.now.contains_key(&key) {
            return;
        }
        let value = self.before.remove(&key).unwrap_or(value);
        if self.now.len() >= most / 2 {
            self.before = std::mem::take(&mut self.now);
        }
        self.now.insert(key, value);
    }
}

/// What was seen of hosts and ports.
#[derive(Default)]
pub(super) struct Witness {
    heard: Recent<Address, ()>,
    /// The networks that these are of: /24, /48.
    heard_networks: Recent<SourceKey, ()>,
    /// TCP ports that are open, and since when.
    open: Recent<Endpoint, u64>,
    /// TCP ports that refused.
    refused: Recent<Endpoint, ()>,
    /// Handshakes that began, by what the server receives.
    begun: Recent<Flow, ()>,
    /// Ports whose clients went on after the first packet of the handshake.
    gone_on: Recent<Endpoint, u64>,
    /// Addresses that sent datagrams.
    asked: Recent<Address, ()>,
    /// UDP ports that sent.
    sent: Recent<Endpoint, ()>,
    /// The last ends that were noted, so that the segments of a connection cost little.
    lately: Lately,
}

/// A few slots for what was noted last.
struct Lately(Box<[(Address, u16)]>);

impl Default for Lately {
    fn default() -> Self {
        Self(vec![(Address::default(), 0); Self::SLOTS].into_boxed_slice())
    }
}

impl Lately {
    const SLOTS: usize = 4096;

    /// Whether it was noted before; from now on it was.
    fn is_noted(&mut self, address: &Address, port: u16) -> bool {
        let [high, low] = address.words();
        let mixed = (high ^ low.rotate_left(17) ^ u64::from(port)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let slot = &mut self.0[(mixed >> 52) as usize];
        let entry = (*address, port);
        *slot == entry || {
            *slot = entry;
            false
        }
    }
}

/// Whether an address stands for many or for nobody, so that no host of that address can be asked.
pub(super) fn is_nobodys(address: &Address) -> bool {
    use std::net::IpAddr;
    match IpAddr::from(*address) {
        IpAddr::V4(address) => address.is_multicast() || address.is_broadcast() || address.is_unspecified(),
        IpAddr::V6(address) => address.is_multicast() || address.is_unspecified(),
    }
}

impl Witness {
    /// Takes note of a frame that is to be judged soon.
    pub(super) fn see(&mut self, parsed: &Parsed, time_ns: u64) {
        use tcp_flags::{ACK, FIN, RST, SYN};
        match parsed.shape {
            Shape::Tcp => {
                let flags = parsed.tcp_flags & (SYN | ACK | RST | FIN);
                if flags & SYN == 0 && flags & (ACK | RST) == ACK {
                    self.see_segment(parsed, time_ns);
                    return;
                }
                self.hear(&parsed.source);
                if flags == SYN | ACK {
                    self.open.note(sender(parsed, Protocol::Tcp), time_ns);
                } else if flags & RST != 0 && flags & SYN == 0 {
                    self.refused.note(sender(parsed, Protocol::Tcp), ());
                } else if flags == SYN {
                    self.begun.note_of(Flow::of(parsed, Protocol::Tcp), (), MOST_BEGUN);
                }
            }
            Shape::Udp => {
                self.hear(&parsed.source);
                self.asked.note(parsed.source, ());
                self.sent.note(sender(parsed, Protocol::Udp), ());
            }
            // Requests tell of nobody whether somebody answers there: it may be a scanner's own network that is looked at.
            Shape::Icmp if parsed.is_echo_request() => {}
            Shape::NotIp | Shape::Malformed => {}
            _ => self.hear(&parsed.source),
        }
    }

    fn see_segment(&mut self, parsed: &Parsed, time_ns: u64) {
        if self.lately.is_noted(&parsed.source, parsed.source_port) {
            return;
        }
        self.hear(&parsed.source);
        if self.begun.get(&Flow::of(parsed, Protocol::Tcp)).is_some() {
            // The client's: what it goes on with is the other end.
            self.gone_on.note(Endpoint::new(parsed.destination, parsed.destination_port, Protocol::Tcp), time_ns);
        } else {
            self.open.note(sender(parsed, Protocol::Tcp), time_ns);
        }
    }

    fn hear(&mut self, address: &Address) {
        self.heard.note(*address, ());
        self.heard_networks.note(KeyRules::network(&SourceKey(*address)), ());
    }

    /// Whether an address is that of a network ([`KeyRules::network`]) of which anybody ever sent anything.
    pub(super) fn has_heard_network(&self, network: &Address) -> bool {
        self.heard_networks.get(&SourceKey(*network)).is_some()
    }

    /// Whether an address ever sent anything.
    pub(super) fn has_heard(&self, address: &Address) -> bool {
        self.heard.get(address).is_some()
    }

    /// Since when a TCP port is known to be open.
    pub(super) fn open_since(&self, endpoint: &Endpoint) -> Option<u64> {
        self.open.get(endpoint).or_else(|| {
            let gone_on = self.gone_on.get(endpoint)?;
            self.refused.get(endpoint).is_none().then_some(gone_on)
        })
    }

    /// Whether a TCP port refused, and was never seen open.
    pub(super) fn refused(&self, endpoint: &Endpoint) -> bool {
        self.refused.get(endpoint).is_some() && self.open_since(endpoint).is_none()
    }

    /// Whether datagrams left an address.
    pub(super) fn has_asked(&self, address: &Address) -> bool {
        self.asked.get(address).is_some()
    }

    /// Whether datagrams left a UDP port.
    pub(super) fn has_sent(&self, endpoint: &Endpoint) -> bool {
        self.sent.get(endpoint).is_some()
    }
}

fn sender(parsed: &Parsed, protocol: Protocol) -> Endpoint {
    Endpoint::new(parsed.source, parsed.source_port, protocol)
}
