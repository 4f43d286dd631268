//! What tells a campaign from a crowd of customers.
//!
//! Customers fail, too, and many of them at once: when a service moves away, all of them go on to ask for it. But each asks for what he
//! wants, which is one service. Scanners ask for several that have nothing to do with each other, and those of one campaign for the same ones.
//! So a source takes part only if, within an hour ([`WINDOW`]), it failed on two services at least. Web, mail and telephony never count,
//! because customers try their ports in turn; TCP and UDP of one port are one service. Two services are *linked* if [`LINK`] sources asked for both,
//! so that some odd pair links nothing. A campaign is
//!
//! - [`FEWEST_SERVICES`] or more services that hang together by links: programs of file sharing, for instance, ask for two,
//! - of which [`FEWEST_SOURCES`] sources or more asked for two at least; a suspect counts as [`SUSPECTS_WEIGH`], for it failed that often,
//! - from [`FEWEST_NETWORKS`] networks or more: an office that looks for its old servers is one.
//!
//! Nobody legitimate asks for a canary port, so there one is enough: the same numbers of sources and networks make a campaign.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use scanguard_common::source::{KeyRules, SourceKey};

use super::heard::Service;

/// How far back failures count, in milliseconds.
pub const WINDOW: u64 = 3_600_000;
/// Sources that must have asked for both of two services for these to hang together.
pub const LINK: u32 = 4;
/// Services that make a campaign.
pub const FEWEST_SERVICES: usize = 3;
/// Sources that make a campaign.
pub const FEWEST_SOURCES: u32 = 32;
/// As how many sources a suspect counts.
pub const SUSPECTS_WEIGH: u32 = 4;
/// Networks that make a campaign.
pub const FEWEST_NETWORKS: usize = 8;
/// Services of a source that are looked at; nobody who is no suspect fails on many more.
pub(super) const MOST_SERVICES: usize = 6;

/// What a source failed on lately.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Failed {
    pub(super) source: SourceKey,
    pub(super) suspect: bool,
    /// Services, each with whether it was asked for by a canary port.
    pub(super) services: Vec<(Service, bool)>,
}

impl Failed {
    fn names(&self) -> BTreeSet<Service> {
        self.services.iter().map(|(service, _)| *service).collect()
    }
}

/// Sources that belong together, and what they asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Crowd {
    pub(super) canary: bool,
    pub(super) services: BTreeSet<Service>,
    pub(super) sources: Vec<SourceKey>,
}

/// Whether a source takes part in a campaign for these services.
pub(super) fn takes_part(services: &[(Service, bool)], campaign: &BTreeSet<Service>, canary: bool) -> bool {
    let mut asked: Vec<Service> =
        services.iter().map(|(service, _)| *service).filter(|service| campaign.contains(service)).collect();
    asked.sort_unstable();
    asked.dedup();
    asked.len() >= 2 || (canary && services.iter().any(|(service, canary)| *canary && campaign.contains(service)))
}

/// The campaigns among sources that failed.
pub(super) fn campaigns(failed: &[Failed]) -> Vec<Crowd> {
    let mut found = hanging_together(failed);
    let mut canaries: BTreeMap<Service, Vec<&Failed>> = BTreeMap::new();
    for source in failed {
        for service in source.services.iter().filter(|(_, canary)| *canary).map(|(service, _)| *service) {
            canaries.entry(service).or_default().push(source);
        }
    }
    for (service, sources) in canaries {
        let services = BTreeSet::from([service]);
        if is_many(&sources) && !found.iter().any(|crowd| crowd.services.contains(&service)) {
            found.push(Crowd { canary: true, services, sources: sources.iter().map(|source| source.source).collect() });
        }
    }
    found
}

/// Services that hang together, and the sources that asked for two of them.
fn hanging_together(failed: &[Failed]) -> Vec<Crowd> {
    let mut links: BTreeMap<(Service, Service), u32> = BTreeMap::new();
    for source in failed {
        let names = source.names();
        for one in &names {
            for other in names.range(one + 1..) {
                *links.entry((*one, *other)).or_default() += 1;
            }
        }
    }
    let mut groups: Vec<BTreeSet<Service>> = Vec::new();
    for (one, other) in links.into_iter().filter(|(_, sources)| *sources >= LINK).map(|(pair, _)| pair) {
        let mut joined = BTreeSet::from([one, other]);
        groups.retain(|group| {
            let meets = group.contains(&one) || group.contains(&other);
            if meets {
                joined.extend(group);
            }
            !meets
        });
        groups.push(joined);
    }
    let crowd = |services: BTreeSet<Service>| {
        let sources: Vec<&Failed> =
            failed.iter().filter(|source| takes_part(&source.services, &services, false)).collect();
        is_many(&sources).then(|| Crowd {
            canary: false,
            services,
            sources: sources.iter().map(|source| source.source).collect(),
        })
    };
    groups.into_iter().filter(|services| services.len() >= FEWEST_SERVICES).filter_map(crowd).collect()
}

fn is_many(sources: &[&Failed]) -> bool {
    let weight: u32 = sources.iter().map(|source| if source.suspect { SUSPECTS_WEIGH } else { 1 }).sum();
    let networks: HashSet<SourceKey> = sources.iter().map(|source| KeyRules::network(&source.source)).collect();
    weight >= FEWEST_SOURCES && networks.len() >= FEWEST_NETWORKS
}
