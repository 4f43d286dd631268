//! Proof: one completed decoy shows that somebody is really at an address, no more; a scanner completes several.
//!
//! Four forged SYNs make a suspect of a customer, whose own honest attempt on a closed port then completes one decoy. He does not
//! ask for four such ports within ten minutes.

use scanguard_common::source::SourceKey;

use super::aged::Aged;
use super::clock::Moment;

/// Distinct ports on which a source must complete decoys.
pub const PORTS: usize = 4;
/// Within so long, in milliseconds.
pub const WITHIN_MS: u64 = 600_000;
/// Sources of which completed decoys are remembered; those that completed one longest ago are forgotten first.
const MOST: usize = 10_000;

/// Completed decoys of the last [`WITHIN_MS`].
#[derive(Clone, Debug, Default)]
pub(super) struct Proofs {
    completed: Aged<Vec<(u16, Moment)>>,
}

impl Proofs {
    /// Takes note of a completed decoy. True when it is proof, with those before it.
    pub(super) fn complete(&mut self, source: SourceKey, port: u16, now: Moment) -> bool {
        let mut ports = self.completed.remove(&source).map_or_else(Vec::new, |(_, ports)| ports);
        ports.retain(|(other, time)| *other != port && now.since(*time) <= WITHIN_MS);
        if ports.len() >= PORTS {
            ports.remove(0); // As many as proof takes are enough.
        }
        ports.push((port, now));
        let is_proof = ports.len() >= PORTS;
        self.completed.insert(source, now, ports);
        if self.completed.len() > MOST {
            self.completed.pop_first();
        }
        is_proof
    }

    /// Forgets what is too old to count.
    pub(super) fn forget(&mut self, now: Moment) {
        if let Some(oldest) = now.before(std::time::Duration::from_millis(WITHIN_MS + 1)) {
            while self.completed.pop_until(oldest).is_some() {}
        }
    }

    /// On how many ports a source completed decoys lately.
    pub(super) fn of(&self, source: &SourceKey, now: Moment) -> usize {
        let ports = self.completed.get(source).map(|(_, ports)| ports);
        ports.map_or(0, |ports| ports.iter().filter(|(_, time)| now.since(*time) <= WITHIN_MS).count())
    }
}
