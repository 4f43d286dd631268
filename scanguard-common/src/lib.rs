//! The datapath of scanguard, pure: parsing, source keys, classing, counting, scoring, hiding.
//!
//! Nothing here knows about BPF. The code is generic over two traits, [`packet::Packet`] (where the bytes are) and
//! [`tables::Tables`] (where the state is, what time it is, which sockets exist). The XDP program is this code over
//! BPF maps; tests and replay are the same code over ordinary memory (feature `host`). A differential test holds the
//! two together packet by packet.
//!
//! Reading order, which is a packet's path:
//!
//! | module | answers |
//! |---|---|
//! | [`address`] | what an address looks like here |
//! | [`packet`] | what do the bytes say: addresses, protocol, ports, flags |
//! | [`source`] | who sends: the key under which a sender is counted |
//! | [`class`] | what is the port it asks for |
//! | [`contact`] | has this sender asked for it before |
//! | [`record`] | what is remembered of a sender |
//! | [`score`] | how likely it is a scanner |
//! | [`opened`] | which ports were seen open |
//! | [`flow`] | what we sent, so that what answers it is known |
//! | [`session`] | who really got in |
//! | [`newcomers`] | whether a sender without a record gets one |
//! | [`storm`] | whether somebody forges suspects |
//! | [`verdict`] | what userspace decided about it |
//! | [`sieve`] | whether it decided anything |
//! | [`challenge`] | what a suspect is answered |
//! | [`reason`] | why a packet was passed or dropped |
//! | [`counter`], [`event`] | what userspace is told |
//! | [`config`] | what userspace tells the kernel |
//! | [`layout`] | the version of all that lies in maps |
//! | [`datapath`] | all of it, in order: what arrives, what leaves, and connections |
#![cfg_attr(not(any(test, feature = "host")), no_std)]
#![cfg_attr(target_arch = "bpf", feature(core_intrinsics))]
#![cfg_attr(target_arch = "bpf", expect(internal_features, reason = "BPF has no core::sync::atomic read-modify-write"))]

pub mod address;
pub mod atomic;
pub mod capacity;
pub mod challenge;
pub mod class;
pub mod config;
pub mod contact;
pub mod counter;
pub mod datapath;
pub mod event;
pub mod flow;
mod hash;
#[cfg(any(test, feature = "host"))]
pub mod host;
mod labelled;
pub mod layout;
pub mod newcomers;
pub mod opened;
pub mod packet;
pub mod reason;
pub mod record;
pub mod score;
pub mod session;
pub mod sieve;
pub mod source;
pub mod steer;
pub mod storm;
pub mod tables;
pub mod verdict;
