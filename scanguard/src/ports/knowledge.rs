//! The class of every port. Wrongly calling a port closed makes customers look like scanners, wrongly calling it neutral lets
//! a scanner go unnoticed for one port: what is not known for sure is `unknown`.

use std::ops::RangeInclusive;

use scanguard_common::class::{PORT_ENTRIES, PortClass, Protocol, port_index};

use super::memory::PortMemory;
use super::set::{PortSet, all_ports};
use crate::config::Ports;
use crate::config::shipped;

/// Everything that decides about the class of a port.
#[derive(Clone, Copy, Debug)]
pub struct PortKnowledge<'k> {
    /// What the operator says, filled up with what is shipped.
    pub rules: &'k PortRules,
    /// The host's range of ports for sockets of clients.
    pub ephemeral: &'k RangeInclusive<u16>,
    /// The ports that somebody listens on; none when that is not known.
    pub open: Option<&'k PortSet>,
    /// The ports without a socket here that answered lately: of containers, or of hosts behind this one.
    pub answering: &'k PortMemory,
    /// The ports that were open lately.
    pub memory: &'k PortMemory,
    /// Whether it is too early to call a port closed: a host that forwards packets has open ports without a socket.
    pub learning: bool,
}

/// The configured lists, ready for looking ports up.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PortRules {
    public: PortSet,
    restricted: PortSet,
    restricted_if_open: PortSet,
    canary: PortSet,
    canary_if_closed: PortSet,
    unchallenged: PortSet,
}

/// The class of every port of TCP and UDP.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Classes(Vec<PortClass>);

impl From<&Ports> for PortRules {
    fn from(ports: &Ports) -> Self {
        let Ports {
            public,
            restricted,
            restricted_if_open,
            canary,
            canary_if_closed,
            unchallenged,
            protect: _,
            memory: _,
            learning: _,
        } = ports;
        let fallback = shipped::FALLBACK.into_iter().map(|port| (Protocol::Tcp, port));
        Self {
            public: public.iter().collect(),
            restricted: restricted.iter().collect(),
            restricted_if_open: restricted_if_open.iter().collect(),
            canary: canary.iter().collect(),
            canary_if_closed: canary_if_closed.iter().collect(),
            unchallenged: unchallenged.iter().chain(fallback).collect(),
        }
    }
}

impl PortRules {
    /// Whether the operator says that nobody legitimate ever asks for a port.
    #[must_use]
    pub fn is_canary(&self, protocol: Protocol, port: u16) -> bool {
        self.canary.contains(protocol, port)
    }
}

impl PortRules {
    /// Whether a port is never challenged: clients fall back to it on their own, or the operator says so.
    #[must_use]
    pub fn is_unchallenged(&self, protocol: Protocol, port: u16) -> bool {
        self.unchallenged.contains(protocol, port)
    }

    /// What a port is where only its answers tell whether it is open: in a container, or on a host behind this one.
    #[must_use]
    pub fn elsewhere(&self, protocol: Protocol, port: u16) -> PortClass {
        let within = |set: &PortSet| set.contains(protocol, port);
        if within(&self.restricted) || within(&self.restricted_if_open) {
            PortClass::Restricted
        } else if within(&self.canary) || within(&self.canary_if_closed) {
            PortClass::Canary
        } else {
            PortClass::Public
        }
    }
}

/// Whether a bound UDP port belongs to a client of this host rather than to a service: then it is neither open nor remembered.
#[must_use]
pub fn is_clients(protocol: Protocol, port: u16, ephemeral: &RangeInclusive<u16>) -> bool {
    protocol == Protocol::Udp && ephemeral.contains(&port)
}

impl PortKnowledge<'_> {
    /// The class of a port.
    #[must_use]
    pub fn class(&self, protocol: Protocol, port: u16) -> PortClass {
        let Self { rules, ephemeral, open, answering, memory, learning } = *self;
        let within = |set: &PortSet| set.contains(protocol, port);
        // The operator's word first: the service may be on another host, behind DNAT.
        if within(&rules.public) {
            PortClass::Public
        } else if within(&rules.restricted) {
            PortClass::Restricted
        } else if is_clients(protocol, port, ephemeral) {
            // A resolver's answer that comes late looks like a datagram out of the blue.
            PortClass::Unknown
        } else if open.is_some_and(within) || answering.contains(protocol, port) {
            if within(&rules.restricted_if_open) { PortClass::Restricted } else { PortClass::Public }
        } else if memory.contains(protocol, port) || learning {
            PortClass::Unknown
        } else if within(&rules.canary) {
            PortClass::Canary
        } else if open.is_none() {
            PortClass::Unknown
        } else if within(&rules.canary_if_closed) {
            PortClass::Canary
        } else {
            PortClass::Closed
        }
    }

    /// The class of every port.
    #[must_use]
    pub fn classes(&self) -> Classes {
        Classes(all_ports().map(|(protocol, port)| self.class(protocol, port)).collect())
    }
}

impl Classes {
    /// Every port unknown: what the kernel part starts with.
    #[must_use]
    pub fn unknown() -> Self {
        Self(vec![PortClass::Unknown; PORT_ENTRIES as usize])
    }

    /// The class of a port. What has no ports is unknown.
    #[must_use]
    pub fn get(&self, protocol: Protocol, port: u16) -> PortClass {
        match protocol {
            Protocol::Tcp | Protocol::Udp => self.0[port_index(protocol, port) as usize],
            Protocol::Icmp => PortClass::Unknown,
        }
    }

    /// Every port with its class, TCP first, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = (Protocol, u16, PortClass)> {
        all_ports().zip(&self.0).map(|((protocol, port), class)| (protocol, port, *class))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::config::Config;

    const EPHEMERAL: RangeInclusive<u16> = 32_768..=60_999;
    const NOW: u64 = 1_800_000_000;
    const WEEK: u64 = 7 * 86_400;

    #[derive(Debug)]
    struct World {
        rules: PortRules,
        open: Option<PortSet>,
        answering: PortMemory,
        memory: PortMemory,
        learning: bool,
    }

    impl World {
        /// With the shipped configuration but for what `text` says.
        fn new(text: &str) -> Self {
            let config = Config::parse(text.as_bytes()).expect("a valid configuration");
            let memory = PortMemory::new(config.ports.memory);
            let answering = memory.clone();
            let rules = PortRules::from(&config.ports);
            Self { rules, open: Some(PortSet::new()), answering, memory, learning: false }
        }

        fn open(mut self, protocol: Protocol, port: u16) -> Self {
            self.open.get_or_insert_default().insert(protocol, port);
            self
        }

        fn saw(mut self, protocol: Protocol, port: u16, ago: u64) -> Self {
            self.memory.saw(protocol, port, NOW - ago);
            self.memory.forget(NOW);
            self
        }

        fn class(&self, protocol: Protocol, port: u16) -> PortClass {
            self.knowledge().class(protocol, port)
        }

        fn knowledge(&self) -> PortKnowledge<'_> {
            let Self { rules, open, answering, memory, learning } = self;
            PortKnowledge { rules, ephemeral: &EPHEMERAL, open: open.as_ref(), answering, memory, learning: *learning }
        }
    }

    #[test]
    fn each_rule_has_its_say_in_turn() {
        use PortClass::{Canary, Closed, Public, Restricted, Unknown};
        use Protocol::{Tcp, Udp};
        let shipped = || World::new("");
        let own = || {
            World::new(
                "ports = { public = [22, \"8000-8100\"], restricted = [8443, \"40000/udp\"], \
                 canary = [23, \"41000/udp\", \"69/udp\"] }",
            )
        };
        let learning = |world: World| World { learning: true, ..world };
        let blind = |world: World| World { open: None, ..world };
        let rows = [
            ("nothing listens", shipped(), Tcp, 80, Closed),
            ("a service", shipped().open(Tcp, 80), Tcp, 80, Public),
            ("the other protocol is another port", shipped().open(Tcp, 53), Udp, 53, Closed),
            ("a shipped restricted port that is open", shipped().open(Tcp, 22), Tcp, 22, Restricted),
            ("a shipped restricted port that is closed", shipped(), Tcp, 22, Closed),
            ("closed lately", shipped().saw(Tcp, 22, WEEK), Tcp, 22, Unknown),
            ("closed long ago", shipped().saw(Tcp, 22, WEEK + 1), Tcp, 22, Closed),
            ("a client's", shipped(), Udp, 40_000, Unknown),
            ("a client's, bound", shipped().open(Udp, 40_000), Udp, 40_000, Unknown),
            ("TCP has no such clients", shipped(), Tcp, 40_000, Closed),
            ("TCP in the range", shipped().open(Tcp, 40_000), Tcp, 40_000, Public),
            ("the operator's public, open or not", own(), Tcp, 22, Public),
            ("the operator's restricted, open or not", own(), Tcp, 8443, Restricted),
            ("the operator's word on a client's port", own(), Udp, 40_000, Restricted),
            ("a list without the shipped ports", own().open(Tcp, 3306), Tcp, 3306, Public),
            ("a canary", own(), Tcp, 23, Canary),
            ("a canary of UDP", own(), Udp, 69, Canary),
            ("a canary that is open", own().open(Tcp, 23), Tcp, 23, Public),
            ("a canary that was open", own().saw(Tcp, 23, 5), Tcp, 23, Unknown),
            ("a canary among clients' ports", own(), Udp, 41_000, Unknown),
            ("learning: closed", learning(own()), Tcp, 81, Unknown),
            ("learning: canary", learning(own()), Tcp, 23, Unknown),
            ("learning: open", learning(own()).open(Tcp, 81), Tcp, 81, Public),
            ("blind: closed", blind(own()), Tcp, 81, Unknown),
            ("blind: the operator's word", blind(own()), Tcp, 8443, Restricted),
            ("blind: the operator's canary", blind(own()), Tcp, 23, Canary),
            ("a shipped canary", shipped(), Tcp, 7, Canary),
            ("a shipped canary's number of UDP", shipped(), Udp, 7, Closed),
            ("a shipped canary that is open", shipped().open(Tcp, 7), Tcp, 7, Public),
            ("a shipped canary that was open", shipped().saw(Tcp, 7, 5), Tcp, 7, Unknown),
            ("learning: a shipped canary", learning(shipped()), Tcp, 7, Unknown),
            ("blind: a shipped canary", blind(shipped()), Tcp, 7, Unknown),
            ("a list without the shipped canaries", own(), Tcp, 7, Closed),
            ("no ports at all", shipped().open(Tcp, 80), Protocol::Icmp, 80, Unknown),
        ];
        for (what, world, protocol, port, class) in rows {
            assert_eq!(world.knowledge().classes().get(protocol, port), class, "{what}");
            if protocol != Protocol::Icmp {
                assert_eq!(world.class(protocol, port), class, "{what}");
            }
        }
    }

    #[test]
    fn the_shipped_canaries_can_be_kept_beside_ones_own() {
        let world = World::new("ports.canary = [\"default\", 4444]\nports.public = [7]\nports.restricted = [9]");
        assert_eq!(world.class(Protocol::Tcp, 1), PortClass::Canary);
        assert_eq!(world.class(Protocol::Tcp, 4444), PortClass::Canary);
        assert_eq!(world.class(Protocol::Tcp, 7), PortClass::Public, "the list that names it wins");
        assert_eq!(world.class(Protocol::Tcp, 9), PortClass::Restricted, "the list that names it wins");
    }

    #[test]
    fn the_shipped_ports_can_be_kept_beside_ones_own() {
        let world = World::new("ports.restricted = [\"default\", 8443]\nports.public = [22]").open(Protocol::Tcp, 3306);
        assert_eq!(world.class(Protocol::Tcp, 3306), PortClass::Restricted);
        assert_eq!(world.class(Protocol::Tcp, 8443), PortClass::Restricted);
        assert_eq!(world.class(Protocol::Tcp, 22), PortClass::Public, "the list that names it wins");
    }

    fn protocol() -> impl Strategy<Value = Protocol> {
        prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp)]
    }

    /// Few ports, so that lists, listeners and memory meet; some in the shipped list, some in the ephemeral range.
    fn port() -> impl Strategy<Value = u16> {
        prop_oneof![Just(0_u16), Just(22), Just(23), Just(80), Just(3306), Just(32_768), Just(50_000), Just(61_000)]
    }

    fn set() -> impl Strategy<Value = PortSet> {
        prop::collection::vec((protocol(), port()), 0..6).prop_map(|ports| ports.into_iter().collect())
    }

    fn world() -> impl Strategy<Value = World> {
        let lists = (set(), set(), set(), set(), set());
        let seen = prop::collection::vec((protocol(), port(), 0..2 * WEEK), 0..6);
        (lists, prop::option::of(set()), seen, any::<bool>()).prop_map(|(lists, open, seen, learning)| {
            let (public, restricted, restricted_if_open, canary, canary_if_closed) = lists;
            let mut memory = PortMemory::new(Duration::from_secs(WEEK));
            for (protocol, port, ago) in seen {
                memory.saw(protocol, port, NOW - ago);
            }
            memory.forget(NOW);
            World {
                rules: PortRules {
                    public,
                    restricted,
                    restricted_if_open,
                    canary,
                    canary_if_closed,
                    unchallenged: PortSet::default(),
                },
                open,
                answering: PortMemory::new(Duration::ZERO),
                memory,
                learning,
            }
        })
    }

    proptest! {
        #[test]
        fn no_port_that_is_or_was_open_counts_as_closed(world in world(), protocol in protocol(), port in port()) {
            let open = world.open.as_ref().is_some_and(|open| open.contains(protocol, port));
            if open || world.memory.contains(protocol, port) {
                let class = world.class(protocol, port);
                prop_assert!(!matches!(class, PortClass::Closed | PortClass::Canary), "{class:?}");
            }
        }

        #[test]
        fn learning_and_blindness_call_nothing_closed(world in world(), protocol in protocol(), port in port()) {
            let class = world.class(protocol, port);
            if world.learning {
                prop_assert!(!matches!(class, PortClass::Closed | PortClass::Canary), "{class:?}");
            }
            if world.open.is_none() {
                prop_assert_ne!(class, PortClass::Closed);
            }
        }

        #[test]
        fn the_operators_word_holds_in_every_state(world in world(), protocol in protocol(), port in port()) {
            let class = world.class(protocol, port);
            if world.rules.public.contains(protocol, port) {
                prop_assert_eq!(class, PortClass::Public);
            } else if world.rules.restricted.contains(protocol, port) {
                prop_assert_eq!(class, PortClass::Restricted);
            }
        }

        #[test]
        fn clients_ports_are_neutral_unless_named(world in world(), port in EPHEMERAL) {
            let named = [&world.rules.public, &world.rules.restricted].iter().any(|set| set.contains(Protocol::Udp, port));
            prop_assert!(named || world.class(Protocol::Udp, port) == PortClass::Unknown);
        }
    }
}
