//! Follows what is seen of this host's ports from one moment to the next, and tells what changed.

use std::time::Duration;

use scanguard_common::class::{PortClass, PortEntry, Protocol};

use super::knowledge::{Classes, PortKnowledge, PortRules, is_clients};
use super::memory::PortMemory;
use super::set::PortSet;
use crate::config::Ports;
use crate::net::{Listener, NetSettings};

/// What can be seen at a moment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Observation {
    /// The ports that somebody listens on, without those of clients; none when the kernel does not tell.
    pub open: Option<PortSet>,
    /// Settings of the network.
    pub settings: NetSettings,
}

impl Observation {
    /// Takes together what was seen.
    pub fn new(listeners: Option<impl IntoIterator<Item = Listener>>, settings: NetSettings) -> Self {
        let ephemeral = settings.ephemeral_ports();
        let open = listeners.map(|listeners| {
            let ports = listeners.into_iter().map(|Listener { protocol, port, .. }| (protocol, port));
            ports.filter(|(protocol, port)| !is_clients(*protocol, *port, &ephemeral)).collect()
        });
        Self { open, settings }
    }
}

/// What an observation changed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Changes {
    /// Ports that nobody listened on at the last observation, with the class they have now.
    pub opened: Vec<(Protocol, u16, PortClass)>,
    /// Ports that nobody listens on any more, with the class they have now.
    pub closed: Vec<(Protocol, u16, PortClass)>,
    /// Whether some port has another class.
    pub classes: bool,
    /// Whether a port is remembered that was not, is remembered no more, or closed.
    pub memory: bool,
    /// Whether learning began (true) or ended (false).
    pub learning: Option<bool>,
}

/// What is known of this host's ports. Times are seconds since 1970.
#[derive(Clone, Debug)]
pub struct PortTracker {
    rules: PortRules,
    memory: PortMemory,
    answering: PortMemory,
    /// Since when there are networks behind this host that it protects, all of them; 0 as long as it is not said.
    protecting_since: u64,
    protects: bool,
    learning_behind: bool,
    learning_span: Duration,
    first_run: u64,
    learning: bool,
    seen: Observation,
    /// A port was seen open on its own since the last observation.
    sighted: bool,
    classes: Classes,
}

impl PortTracker {
    /// Knows the configuration and what is remembered (protocol, port, when last seen), and has seen nothing yet.
    #[must_use]
    pub fn new(ports: &Ports, first_run: u64, remembered: impl IntoIterator<Item = (Protocol, u16, u64)>) -> Self {
        let mut memory = PortMemory::new(ports.memory);
        for (protocol, port, last_seen) in remembered {
            memory.saw(protocol, port, last_seen);
        }
        Self {
            rules: PortRules::from(ports),
            memory,
            answering: PortMemory::new(ports.memory),
            protecting_since: 0,
            protects: !ports.protect.is_empty(),
            learning_behind: true,
            learning_span: ports.learning,
            first_run,
            learning: false,
            seen: Observation { open: None, settings: NetSettings::CAUTIOUS },
            sighted: true,
            classes: Classes::unknown(),
        }
    }

    /// Takes over another configuration. It counts from the next observation on.
    pub fn set(&mut self, ports: &Ports) {
        self.rules = PortRules::from(ports);
        self.learning_span = ports.learning;
        self.memory.set_span(ports.memory);
        self.answering.set_span(ports.memory);
        self.protects = !ports.protect.is_empty();
        self.sighted = true;
    }

    /// Takes note of an observation.
    pub fn observe(&mut self, observation: Observation, now: u64) -> Changes {
        let before = std::mem::replace(&mut self.seen, observation);
        let none = PortSet::new();
        let (open, was_open) = (self.seen.open.as_ref().unwrap_or(&none), before.open.as_ref().unwrap_or(&none));
        // Nearly always nothing has changed, and then there is nothing to look up.
        let moved = open != was_open;
        let only = |one: &PortSet, other: &PortSet| -> Vec<(Protocol, u16)> {
            if moved {
                one.iter().filter(|(protocol, port)| !other.contains(*protocol, *port)).collect()
            } else {
                Vec::new()
            }
        };
        let (opened, closed) = (only(open, was_open), only(was_open, open));
        let mut remembers = std::mem::take(&mut self.sighted);
        for (protocol, port) in open.iter() {
            remembers |= self.memory.saw(protocol, port, now);
        }
        remembers |= self.memory.forget(now);
        remembers |= self.answering.forget(now);
        let was_learning = self.learning;
        // A first run that is yet to come means that the clock was wrong then; learning must end all the same.
        self.first_run = self.first_run.min(now);
        let span = self.learning_span.as_secs();
        self.learning = self.seen.settings.forwards && now - self.first_run < span;
        let (was_learning_behind, since) = (self.learning_behind, self.protecting_since.max(self.first_run).min(now));
        self.protecting_since = since;
        self.learning_behind = now - since < span;

        let stale = moved || remembers || self.seen != before || self.learning != was_learning;
        let classes = if stale { self.classify() } else { false };
        let classes = classes || (self.protects && self.learning_behind != was_learning_behind);
        let with_class = |ports: Vec<(Protocol, u16)>| {
            ports.into_iter().map(|(protocol, port)| (protocol, port, self.classes.get(protocol, port))).collect()
        };
        Changes {
            memory: remembers || !closed.is_empty(),
            opened: with_class(opened),
            closed: with_class(closed),
            classes,
            learning: (self.learning != was_learning).then_some(self.learning),
        }
    }

    /// Takes note that a socket was met on a port between observations. It counts from the next one on.
    pub fn seen_open(&mut self, protocol: Protocol, port: u16, now: u64) {
        if !is_clients(protocol, port, &self.seen.settings.ephemeral_ports()) {
            self.sighted |= self.memory.saw(protocol, port, now);
        }
    }

    /// Takes note that an answer of a port without a socket was seen, and when. It counts from the next observation on.
    pub fn seen_answering(&mut self, protocol: Protocol, port: u16, time: u64) {
        self.sighted |= self.answering.saw(protocol, port, time);
    }

    /// Whether some ports can only be told to be open by their answers.
    #[must_use]
    pub const fn has_elsewhere(&self) -> bool {
        self.seen.settings.forwards || self.protects
    }

    /// What the kernel part is told of every port: its class here, and what it is elsewhere.
    pub fn entries(&self) -> impl Iterator<Item = (Protocol, u16, PortEntry)> {
        self.classes.iter().map(|(protocol, port, class)| {
            let entry = PortEntry::new(class, self.rules.elsewhere(protocol, port));
            let entry = if self.rules.is_unchallenged(protocol, port) { entry.fallback() } else { entry };
            (protocol, port, entry)
        })
    }

    /// Says since when all networks are protected that are.
    pub const fn set_protecting_since(&mut self, since: u64) {
        self.protecting_since = since;
        self.sighted = true;
    }

    /// Whether it is learnt which ports of protected networks are open.
    #[must_use]
    pub const fn has_learnt_behind(&self) -> bool {
        self.protects && !self.learning_behind
    }

    /// When that is learnt, or was.
    #[must_use]
    pub const fn learning_behind_ends(&self) -> u64 {
        self.protecting_since.saturating_add(self.learning_span.as_secs())
    }

    /// Whether there are networks that are protected.
    #[must_use]
    pub const fn protects(&self) -> bool {
        self.protects
    }

    fn classify(&mut self) -> bool {
        let classes = PortKnowledge {
            rules: &self.rules,
            ephemeral: &self.seen.settings.ephemeral_ports(),
            open: self.seen.open.as_ref(),
            answering: &self.answering,
            memory: &self.memory,
            learning: self.learning,
        }
        .classes();
        let changed = classes != self.classes;
        self.classes = classes;
        changed
    }

    /// The class of every port as of the last observation.
    #[must_use]
    pub const fn classes(&self) -> &Classes {
        &self.classes
    }

    /// What was configured.
    #[must_use]
    pub const fn rules(&self) -> &PortRules {
        &self.rules
    }

    /// The ports to remember.
    #[must_use]
    pub const fn memory(&self) -> &PortMemory {
        &self.memory
    }

    /// What was seen last.
    #[must_use]
    pub const fn seen(&self) -> &Observation {
        &self.seen
    }

    /// When learning ends or ended.
    #[must_use]
    pub const fn learning_ends(&self) -> u64 {
        self.first_run.saturating_add(self.learning_span.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use PortClass::{Closed, Public, Unknown};
    use Protocol::{Tcp, Udp};

    const NOW: u64 = 1_800_000_000;
    const DAY: u64 = 86_400;

    fn tracker() -> PortTracker {
        PortTracker::new(&Ports::default(), NOW, [])
    }

    fn saw(ports: &[(Protocol, u16)], forwards: bool) -> Observation {
        let settings = NetSettings { forwards, ..NetSettings::CAUTIOUS };
        let listener = |(protocol, port)| Listener { protocol, port, address: IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
        Observation::new(Some(ports.iter().copied().map(listener)), settings)
    }

    #[test]
    fn a_port_opens_closes_and_is_forgotten() {
        let mut tracker = tracker();
        let first = tracker.observe(saw(&[(Tcp, 80)], false), NOW);
        assert_eq!((first.opened, first.closed), (vec![(Tcp, 80, Public)], Vec::new()));
        assert!(first.classes && first.memory);
        assert_eq!(tracker.observe(saw(&[(Tcp, 80)], false), NOW + 1), Changes::default(), "nothing happened");
        let second = tracker.observe(saw(&[], false), NOW + 2);
        assert_eq!((second.opened, second.closed), (Vec::new(), vec![(Tcp, 80, Unknown)]));
        assert!(second.classes && second.memory);
        let later = tracker.observe(saw(&[], false), NOW + 1 + 7 * DAY);
        assert_eq!(later, Changes::default(), "still remembered: it was last seen a second after the first look");
        let last = tracker.observe(saw(&[], false), NOW + 2 + 7 * DAY);
        assert_eq!(last, Changes { classes: true, memory: true, ..Changes::default() });
        assert_eq!(tracker.classes().get(Tcp, 80), Closed);
    }

    #[test]
    fn what_is_remembered_from_before_the_start_counts() {
        let remembered = [(Tcp, 80, NOW - 6 * DAY), (Tcp, 81, NOW - 8 * DAY)];
        let mut tracker = PortTracker::new(&Ports::default(), NOW - 30 * DAY, remembered);
        tracker.observe(saw(&[], true), NOW);
        assert_eq!([80, 81].map(|port| tracker.classes().get(Tcp, port)), [Unknown, Closed]);
    }

    #[test]
    fn a_port_met_open_between_two_looks_is_remembered() {
        let mut tracker = tracker();
        tracker.observe(saw(&[], false), NOW);
        tracker.seen_open(Tcp, 2121, NOW);
        tracker.seen_open(Udp, 40_000, NOW);
        let changes = tracker.observe(saw(&[], false), NOW + 1);
        assert!(changes.classes && changes.memory);
        assert_eq!(tracker.classes().get(Tcp, 2121), Unknown);
        assert_eq!(
            tracker.memory().iter().collect::<Vec<_>>(),
            [(Tcp, 2121, NOW)],
            "a client's port is not remembered"
        );
    }

    #[test]
    fn clients_come_and_go_unnoticed() {
        let mut tracker = tracker();
        tracker.observe(saw(&[], false), NOW);
        assert_eq!(tracker.observe(saw(&[(Udp, 40_000)], false), NOW + 1), Changes::default());
    }

    #[test]
    fn learning_is_for_hosts_that_forward_and_ends() {
        let mut tracker = tracker();
        assert_eq!(tracker.observe(saw(&[], false), NOW).learning, None);
        assert_eq!(tracker.classes().get(Tcp, 81), Closed);
        let began = tracker.observe(saw(&[], true), NOW + 1);
        assert_eq!((began.learning, began.classes, tracker.classes().get(Tcp, 81)), (Some(true), true, Unknown));
        assert_eq!(tracker.observe(saw(&[], true), NOW + DAY - 1).learning, None);
        let ended = tracker.observe(saw(&[], true), NOW + DAY);
        assert_eq!((ended.learning, ended.classes, tracker.classes().get(Tcp, 81)), (Some(false), true, Closed));
    }

    #[test]
    fn a_network_that_is_protected_later_is_learnt_from_then_on() {
        let config =
            crate::config::Config::parse(b"ports.protect = [\"198.51.100.0/24\"]").expect("a valid configuration");
        let mut tracker = PortTracker::new(&config.ports, NOW - 10 * DAY, []);
        tracker.set_protecting_since(NOW);
        tracker.observe(saw(&[], false), NOW);
        assert!(!tracker.has_learnt_behind(), "however long this host is there");
        assert_eq!(tracker.classes().get(Tcp, 81), Closed, "its own ports are known by their sockets");
        assert!(tracker.observe(saw(&[], false), NOW + DAY).classes, "the kernel part is to be told");
        assert!(tracker.has_learnt_behind());
        tracker.set(&Ports::default());
        tracker.observe(saw(&[], false), NOW + DAY);
        assert!(!tracker.has_learnt_behind(), "nothing is protected any more");
    }

    #[test]
    fn learning_ends_even_if_the_clock_was_wrong_at_the_first_run() {
        let mut tracker = PortTracker::new(&Ports::default(), NOW + 1000 * DAY, []);
        assert_eq!(tracker.observe(saw(&[], true), NOW).learning, Some(true));
        assert_eq!(tracker.observe(saw(&[], true), NOW + DAY).learning, Some(false));
    }

    #[test]
    fn without_a_list_nothing_is_closed_any_more() {
        let mut tracker = tracker();
        tracker.observe(saw(&[(Tcp, 80)], false), NOW);
        let settings = NetSettings { forwards: false, ..NetSettings::CAUTIOUS };
        assert!(tracker.observe(Observation::new(None::<[Listener; 0]>, settings), NOW + 1).classes);
        assert!(tracker.classes().iter().all(|(.., class)| class == Unknown));
    }
}
