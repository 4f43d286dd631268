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
/// Ports remembered of a source, the latest ones: more than proof takes, so that one that no browser asks for is not forgotten for others.
const MOST_PORTS: usize = 16;
/// Sources of which completed decoys are remembered; those that completed one longest ago are forgotten first.
const MOST: usize = 10_000;

/// Completed decoys of the last [`WITHIN_MS`].
#[derive(Clone, Debug, Default)]
pub(super) struct Proofs {
    completed: Aged<Vec<(u16, Moment)>>,
}

impl Proofs {
    /// Takes note of a completed decoy.
    pub(super) fn complete(&mut self, source: SourceKey, port: u16, now: Moment) {
        let mut ports = self.completed.remove(&source).map_or_else(Vec::new, |(_, ports)| ports);
        ports.retain(|(other, time)| *other != port && now.since(*time) <= WITHIN_MS);
        if ports.len() >= MOST_PORTS {
            ports.remove(0);
        }
        ports.push((port, now));
        self.completed.insert(source, now, ports);
        if self.completed.len() > MOST {
            self.completed.pop_first();
        }
    }

    /// The ports that are proof, as many as that takes or more; none where they are fewer.
    pub(super) fn proof(&self, source: &SourceKey, now: Moment) -> Option<Vec<u16>> {
        let ports = self.of(source, now);
        (ports.len() >= PORTS).then_some(ports)
    }

    /// Forgets what is too old to count.
    pub(super) fn forget(&mut self, now: Moment) {
        if let Some(oldest) = now.before(std::time::Duration::from_millis(WITHIN_MS + 1)) {
            while self.completed.pop_until(oldest).is_some() {}
        }
    }

    /// On which ports a source completed decoys lately, the latest last.
    pub(super) fn of(&self, source: &SourceKey, now: Moment) -> Vec<u16> {
        self.completed_by(source, now).map(|(port, _)| port).collect()
    }

    /// The same with their times.
    pub(super) fn completed_by(&self, source: &SourceKey, now: Moment) -> impl Iterator<Item = (u16, Moment)> {
        let ports = self.completed.get(source).map(|(_, ports)| ports);
        ports.into_iter().flatten().copied().filter(move |(_, time)| now.since(*time) <= WITHIN_MS)
    }

    /// All of them with their times.
    pub(super) fn iter(&self) -> impl Iterator<Item = (SourceKey, u16, Moment)> {
        self.completed
            .iter()
            .flat_map(|(source, _, ports)| ports.iter().map(move |(port, time)| (source, *port, *time)))
    }
}
