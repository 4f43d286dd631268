//! The policy as one would write it without caring for time or memory: a list of all blocks there ever were, read from the
//! beginning for each question.

use std::collections::HashSet;
use std::time::Duration;

use scanguard_common::source::{KeyRules, SourceKey};
use scanguard_common::verdict::Scope;

use crate::config::{AutoLevel, Blocks};
use crate::policy::harm::{is_beyond_browsers, people};
use crate::policy::proof::{PORTS, WITHIN_MS};
use crate::policy::{Action, BlockReason, Clock, Deferral, Doubt, Event, Facts, level};

/// All blocks there ever were, in the order in which they began.
#[derive(Default)]
pub(super) struct Model {
    blocks: Vec<Block>,
    /// Decoys that were completed: by whom, on which port, when.
    completed: Vec<(SourceKey, u16, u64)>,
}

struct Block {
    source: SourceKey,
    scope: Scope,
    /// Blocks that counted when it began.
    earlier: u32,
    begun: u64,
    /// When it ends or ended.
    ends: u64,
    lifted: bool,
}

impl Model {
    /// What is decided; that blocks end is not told.
    pub(super) fn step(&mut self, settings: &Blocks, facts: &Facts, event: Event, now: Clock) -> Vec<Action> {
        let Clock(now) = now;
        match event {
            Event::Tick | Event::Signal { proof: false, .. } => Vec::new(),
            Event::Suspect { source } => self.listed(settings, facts, source, now).into_iter().collect(),
            Event::Signal { source, proof: true } if facts.backed || facts.allowed => {
                self.harmed(settings, facts, source, [BlockReason::Signal, BlockReason::Signal], now)
            }
            Event::Signal { source, proof: true } => vec![Action::Deferred { source, why: Deferral::Unproven }],
            Event::Lifted { source, .. } => {
                self.lift(source, now);
                Vec::new()
            }
            Event::Eligible { source } => match self.ports(source, now) {
                ports if ports.len() >= PORTS => self.prove(settings, facts, source, &ports, now),
                _ => {
                    self.block(settings, facts, source, (Scope::Private, BlockReason::Score), now).into_iter().collect()
                }
            },
            Event::Completed { source, port } => {
                self.completed.push((source, port, now));
                match self.ports(source, now) {
                    ports if ports.len() >= PORTS => self.prove(settings, facts, source, &ports, now),
                    _ => self.listed(settings, facts, source, now).into_iter().collect(),
                }
            }
        }
    }

    /// Distinct ports on which it completed decoys lately.
    fn ports(&self, source: SourceKey, now: u64) -> HashSet<u16> {
        let lately = self.completed.iter().filter(|(by, _, at)| *by == source && now - at <= WITHIN_MS);
        lately.map(|(_, port, _)| *port).collect()
    }

    fn prove(
        &mut self,
        settings: &Blocks,
        facts: &Facts,
        source: SourceKey,
        ports: &HashSet<u16>,
        now: u64,
    ) -> Vec<Action> {
        if facts.eligible && ports.iter().any(|port| is_beyond_browsers(*port)) {
            return self.harmed(settings, facts, source, [BlockReason::Harm, BlockReason::Proven], now);
        }
        self.block(settings, facts, source, (Scope::Private, BlockReason::Proven), now).into_iter().collect()
    }

    /// What comes of proof of harm, for these reasons: of a block of all ports, and of one of private ports.
    fn harmed(
        &mut self,
        settings: &Blocks,
        facts: &Facts,
        source: SourceKey,
        [all, private]: [BlockReason; 2],
        now: u64,
    ) -> Vec<Action> {
        let doubt = doubt(settings, facts);
        if doubt.is_none() && !facts.denied {
            return self.block(settings, facts, source, (Scope::All, all), now).into_iter().collect();
        }
        let asked_of_all = facts.is_customer && !facts.allowed;
        let first =
            if asked_of_all { None } else { self.block(settings, facts, source, (Scope::Private, private), now) };
        let mut actions: Vec<Action> = first.into_iter().collect();
        if let (false, false, Some(why)) = (facts.allowed, facts.denied, doubt) {
            actions.push(self.ask(settings, facts, source, (Scope::All, all), why, now));
        }
        actions
    }

    /// What comes of being on a feed.
    fn listed(&mut self, settings: &Blocks, facts: &Facts, source: SourceKey, now: u64) -> Option<Action> {
        let is_there = facts.backed || !self.ports(source, now).is_empty();
        let scope = match facts.feed {
            None | Some(AutoLevel::Conceal) => return None,
            Some(AutoLevel::BlockAll) if is_there && !facts.denied && doubt(settings, facts).is_none() => Scope::All,
            Some(AutoLevel::BlockPrivate | AutoLevel::BlockAll) => Scope::Private,
        };
        self.block(settings, facts, source, (scope, BlockReason::Feed), now)
    }

    fn ask(
        &self,
        settings: &Blocks,
        facts: &Facts,
        source: SourceKey,
        (scope, reason): (Scope, BlockReason),
        why: Doubt,
        now: u64,
    ) -> Action {
        let earlier = self.standing(now).find(|block| block.source == source).map_or(0, |block| block.earlier);
        let until = Clock(now + milliseconds(settings.question));
        Action::Ask { source, scope, reason, why, lasts: length(settings, earlier), people: people(facts), until }
    }

    fn block(
        &mut self,
        settings: &Blocks,
        facts: &Facts,
        source: SourceKey,
        (scope, reason): (Scope, BlockReason),
        now: u64,
    ) -> Option<Action> {
        if facts.allowed {
            return Some(Action::Deferred { source, why: Deferral::Allowed });
        }
        let standing =
            self.standing(now).find(|block| block.source == source).map(|block| (block.scope, block.earlier));
        if standing.is_some_and(|(standing, _)| standing == Scope::All || scope == Scope::Private) {
            return None;
        }
        let deferral = if settings.max_auto_level < level(scope) {
            Some(Deferral::MaxAutoLevel)
        } else if reason == BlockReason::Score && (!settings.unproven || facts.is_customer) {
            Some(Deferral::Unproven)
        } else if facts.is_customer || standing.is_some() {
            None
        } else {
            self.over_budget(settings, source, now)
        };
        if let Some(why) = deferral {
            return Some(Action::Deferred { source, why });
        }
        if facts.is_customer {
            let asked = self.ask(settings, facts, source, (scope, reason), Doubt::Customer, now);
            return (!facts.denied).then_some(asked);
        }
        let recurrence = standing.map_or_else(|| self.recurrence(settings, source, now), |(_, earlier)| earlier);
        let lasts = length(settings, recurrence);
        let ends = now + milliseconds(lasts);
        match self.blocks.iter_mut().find(|block| block.source == source && block.ends > now) {
            Some(block) => (block.ends, block.scope) = (ends, scope),
            None => self.blocks.push(Block { source, scope, earlier: recurrence, begun: now, ends, lifted: false }),
        }
        let people = people(facts);
        Some(Action::Block { source, scope, lasts, until: Clock(ends), reason, recurrence, people })
    }

    fn lift(&mut self, source: SourceKey, now: u64) {
        for block in self.blocks.iter_mut().filter(|block| block.source == source && block.ends > now) {
            block.ends = now;
            block.lifted = true;
        }
    }

    fn standing(&self, now: u64) -> impl Iterator<Item = &Block> {
        self.blocks.iter().filter(move |block| block.ends > now)
    }

    fn begun_lately(&self, now: u64) -> impl Iterator<Item = &Block> {
        self.blocks.iter().filter(move |block| now - block.begun < 60_000)
    }

    /// Earlier blocks, each less than the time of recurrence before the next, and the last before now.
    fn recurrence(&self, settings: &Blocks, source: SourceKey, now: u64) -> u32 {
        let counted = |ended: u64, then: u64| then - ended < milliseconds(settings.recurrence);
        let mut times = 0;
        let mut last = None;
        for block in self.blocks.iter().filter(|block| block.source == source && !block.lifted) {
            times = if last.is_some_and(|ended| counted(ended, block.begun)) { times + 1 } else { 1 };
            last = Some(block.ends);
        }
        if last.is_some_and(|ended| counted(ended, now)) { times } else { 0 }
    }

    fn over_budget(&self, settings: &Blocks, source: SourceKey, now: u64) -> Option<Deferral> {
        let ours = network(source);
        let count = |blocks: &mut dyn Iterator<Item = &Block>| {
            let networks: Vec<SourceKey> = blocks.map(|block| network(block.source)).collect();
            let others: HashSet<SourceKey> = networks.iter().copied().collect();
            (networks.iter().filter(|network| **network == ours).count(), others.contains(&ours), others.len())
        };
        let (in_network, counted, networks) = count(&mut self.standing(now));
        if in_network >= settings.most as usize {
            return Some(Deferral::NetworkStandingBudget);
        }
        if !counted && networks >= settings.most as usize {
            return Some(Deferral::StandingBudget);
        }
        let (in_network, counted, networks) = count(&mut self.begun_lately(now));
        if in_network >= settings.per_minute as usize {
            return Some(Deferral::NetworkMinuteBudget);
        }
        (!counted && networks >= settings.per_minute as usize).then_some(Deferral::MinuteBudget)
    }
}

fn doubt(settings: &Blocks, facts: &Facts) -> Option<Doubt> {
    if facts.fronted {
        Some(Doubt::Fronted)
    } else if facts.is_customer {
        Some(Doubt::Customer)
    } else if people(facts) > settings.most_harmed {
        Some(Doubt::Harmed)
    } else if settings.max_auto_level < AutoLevel::BlockAll {
        Some(Doubt::MaxAutoLevel)
    } else {
        None
    }
}

fn network(source: SourceKey) -> SourceKey {
    KeyRules::network(&source)
}

fn length(settings: &Blocks, earlier: u32) -> Duration {
    let grown = (0..earlier).fold(settings.first, |length, _| length.saturating_mul(settings.factor));
    grown.min(settings.longest)
}

fn milliseconds(duration: Duration) -> u64 {
    duration.as_millis() as u64
}
