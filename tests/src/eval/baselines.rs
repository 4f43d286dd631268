//! Detectors that others published, reduced to the values that they published: none is the product itself.
//!
//! All see the same: first packets of flows towards what is guarded, and whether each was answered ([`super::flows`]).

use std::collections::{HashMap, HashSet, VecDeque};

use scanguard_common::address::Address;
use scanguard_common::source::SourceKey;

/// A first contact of a source.
#[derive(Clone, Copy, Debug)]
pub struct Contact {
    /// Who.
    pub source: SourceKey,
    /// Whom it asked.
    pub destination: Address,
    /// The port.
    pub port: u16,
    /// Seconds since 1970.
    pub time: f64,
    /// Whether what it asked for is not there.
    pub failed: bool,
}

/// A detector.
pub struct Baseline {
    /// Its name.
    pub name: &'static str,
    /// What it goes by.
    pub rule: &'static str,
    /// Where that is published.
    pub cite: &'static str,
    /// Says who is flagged, and after how many contacts.
    pub judge: fn(&[Contact]) -> HashMap<SourceKey, u64>,
}

/// All of them.
pub const ALL: [Baseline; 6] = [
    Baseline {
        name: "20 targets in 60 s",
        rule: "20 new (destination, port) within 60 s",
        cite: "the usual count threshold",
        judge: |contacts| each(contacts, Targets::default),
    },
    Baseline {
        name: "CrowdSec rule",
        rule: "leaky bucket of 15 distinct ports, one leaking per 5 s",
        cite: "crowdsecurity/hub, scenarios/crowdsecurity/iptables-scan-multi_ports.yaml",
        judge: |contacts| each(contacts, Leaky::default),
    },
    Baseline {
        name: "psad thresholds",
        rule: "5 packets, 2 ports or more, within 3600 s (DANGER_LEVEL1, PORT_RANGE_SCAN_THRESHOLD, SCAN_TIMEOUT)",
        cite: "psad.conf, defaults",
        judge: |contacts| each(contacts, Danger::default),
    },
    Baseline {
        name: "Zeek simple-scan thresholds",
        rule: "25 failed (host, port), kept 15 min after the last (scan_threshold, scan_timeout)",
        cite: "ncsa/bro-simple-scan, scripts/scan.zeek",
        judge: |contacts| each(contacts, Simple::default),
    },
    Baseline {
        name: "Snort portscan, low",
        rule: "within 60 s 5 negative answers and 5 ports on fewer than 25 hosts, or 5 hosts on fewer than 15 ports",
        cite: "Snort, portscan.c: g_tcp_low_ps, g_tcp_low_sweep",
        judge: |contacts| each(contacts, Sense::default),
    },
    Baseline {
        name: "TRW over hosts",
        rule: "first contact with each host; t0 0.8, t1 0.2, a 0.01, b 0.01",
        cite: "Jung, Paxson, Berger, Balakrishnan, IEEE S&P 2004",
        judge: |contacts| each(contacts, Walk::default),
    },
];

/// What is remembered of one source; says when it is flagged.
trait Rule {
    fn flags(&mut self, contact: &Contact) -> bool;
}

fn each<R: Rule>(contacts: &[Contact], new: fn() -> R) -> HashMap<SourceKey, u64> {
    let mut rules: HashMap<SourceKey, (R, u64)> = HashMap::new();
    let mut flagged = HashMap::new();
    for contact in contacts {
        let (rule, count) = rules.entry(contact.source).or_insert_with(|| (new(), 0));
        *count += 1;
        if rule.flags(contact) {
            flagged.entry(contact.source).or_insert(*count);
        }
    }
    flagged
}

#[derive(Default)]
struct Targets(VecDeque<f64>);

impl Rule for Targets {
    fn flags(&mut self, contact: &Contact) -> bool {
        while self.0.front().is_some_and(|time| contact.time - time > 60.0) {
            self.0.pop_front();
        }
        self.0.push_back(contact.time);
        self.0.len() >= 20
    }
}

#[derive(Default)]
struct Leaky {
    ports: HashSet<u16>,
    level: f64,
    last: f64,
}

impl Rule for Leaky {
    fn flags(&mut self, contact: &Contact) -> bool {
        // What a firewall logs: packets that it drops.
        if !contact.failed {
            return false;
        }
        self.level = (self.level - (contact.time - self.last).max(0.0) / 5.0).max(0.0);
        self.last = contact.time;
        if self.level == 0.0 {
            self.ports.clear(); // An empty bucket is gone, and what it has seen with it.
        }
        if self.ports.insert(contact.port) {
            self.level += 1.0;
        }
        self.level > 15.0
    }
}

#[derive(Default)]
struct Danger {
    ports: HashSet<u16>,
    packets: u64,
    last: f64,
}

impl Rule for Danger {
    fn flags(&mut self, contact: &Contact) -> bool {
        if !contact.failed {
            return false;
        }
        if contact.time - self.last > 3600.0 {
            *self = Self::default();
        }
        self.last = contact.time;
        self.packets += 1;
        self.ports.insert(contact.port);
        self.packets >= 5 && self.ports.len() >= 2
    }
}

#[derive(Default)]
struct Simple {
    failed: u64,
    last: f64,
}

impl Rule for Simple {
    fn flags(&mut self, contact: &Contact) -> bool {
        if !contact.failed {
            return false;
        }
        if contact.time - self.last > 900.0 {
            self.failed = 0;
        }
        self.last = contact.time;
        self.failed += 1;
        self.failed >= 25
    }
}

#[derive(Default)]
struct Sense(VecDeque<(f64, Address, u16, bool)>);

impl Rule for Sense {
    fn flags(&mut self, contact: &Contact) -> bool {
        while self.0.front().is_some_and(|(time, ..)| contact.time - time > 60.0) {
            self.0.pop_front();
        }
        self.0.push_back((contact.time, contact.destination, contact.port, contact.failed));
        let negative = self.0.iter().filter(|(.., failed)| *failed).count();
        let hosts: HashSet<Address> = self.0.iter().map(|(_, host, ..)| *host).collect();
        let ports: HashSet<u16> = self.0.iter().map(|(_, _, port, _)| *port).collect();
        negative >= 5 && ((ports.len() >= 5 && hosts.len() < 25) || (hosts.len() >= 5 && ports.len() < 15))
    }
}

#[derive(Default)]
struct Walk {
    hosts: HashSet<Address>,
    ratio: f64,
}

impl Rule for Walk {
    fn flags(&mut self, contact: &Contact) -> bool {
        if self.hosts.insert(contact.destination) {
            let step = 4.0_f64.ln();
            self.ratio += if contact.failed { step } else { -step };
        }
        self.ratio >= (0.99_f64 / 0.01).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contacts(number: u16, apart: f64, failed: bool) -> Vec<Contact> {
        (0..number)
            .map(|port| Contact {
                source: SourceKey::default(),
                destination: Address::default(),
                port,
                time: 1e9 + f64::from(port) * apart,
                failed,
            })
            .collect()
    }

    fn flagged(name: &str, contacts: &[Contact]) -> Option<u64> {
        let baseline = ALL.iter().find(|baseline| baseline.name == name).expect("one of this name");
        (baseline.judge)(contacts).values().next().copied()
    }

    #[test]
    fn each_flags_at_its_threshold() {
        let fast = contacts(100, 0.01, true);
        assert_eq!(flagged("20 targets in 60 s", &fast), Some(20));
        assert_eq!(flagged("CrowdSec rule", &fast), Some(16));
        assert_eq!(flagged("psad thresholds", &fast), Some(5));
        assert_eq!(flagged("Zeek simple-scan thresholds", &fast), Some(25));
        assert_eq!(flagged("Snort portscan, low", &fast), Some(5));
        // One host is one observation.
        assert_eq!(flagged("TRW over hosts", &fast), None);
    }

    #[test]
    fn slow_and_successful_ones_pass_most() {
        assert_eq!(flagged("20 targets in 60 s", &contacts(100, 10.0, true)), None);
        assert_eq!(flagged("CrowdSec rule", &contacts(100, 10.0, true)), None);
        assert_eq!(flagged("psad thresholds", &contacts(100, 0.01, false)), None);
        assert_eq!(flagged("20 targets in 60 s", &contacts(100, 0.01, false)), Some(20));
    }
}
