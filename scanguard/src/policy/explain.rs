//! What people are told: how a block came to its length, and what comes next.

use std::time::Duration;

use scanguard_common::source::SourceKey;
use scanguard_common::verdict::Scope;

use super::clock::{Moment, millis};
use super::proof::{PORTS, WITHIN_MS};
use super::recurrence::{length, uncapped};
use super::{BlockReason, Clock, Deferral, Doubt, Facts, Policy, doubt, harm, level, may_block};
use crate::config::{AutoLevel, Blocks};
use crate::duration::format;

/// What comes next for a customer.
const CUSTOMER: &str = "It is a customer: nothing is blocked without a person. Once it proves that it is really there, and scans, one is asked.";

/// Where a source can complete decoys, which is what proves that it is really there.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Decoys {
    /// On closed ports, or on canary ports.
    #[default]
    Somewhere,
    /// Nowhere: no port is challenged.
    Off,
    /// Nowhere: only canary ports are challenged, and there is none.
    NoCanary,
    /// Nowhere as long as the mode is observe.
    Observe,
}

impl Decoys {
    /// Why there are none with this configuration, and what would change that.
    const fn missing(self) -> Option<[&'static str; 2]> {
        match self {
            Self::Somewhere | Self::Observe => None,
            Self::Off => Some([
                "no port is challenged (`challenge = \"off\"`)",
                "`challenge = \"on\"`, or `challenge = \"canary\"` with ports in `canary` of [ports],",
            ]),
            Self::NoCanary => Some([
                "only canary ports are challenged (`challenge = \"canary\"`), and there is none",
                "`challenge = \"on\"`, or ports in `canary` of [ports] that are closed here,",
            ]),
        }
    }
}

/// Why a source is blocked or not, for `why`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Explanation {
    /// How it came to what is done, a sentence each, with the numbers.
    pub arithmetic: Vec<String>,
    /// What comes next.
    pub next_step: String,
}

impl Policy {
    /// Explains what the policy does about a source.
    #[must_use]
    pub fn explain(
        &self,
        settings: &Blocks,
        decoys: Decoys,
        facts: &Facts,
        source: &SourceKey,
        now: Clock,
    ) -> Explanation {
        let now = self.timeline.moment(now);
        let in_force = self.running.get(source).filter(|(until, _)| *until > now);
        let Some((until, running)) = in_force else {
            let past = self.past(source).filter(|(ended, _)| now.since(*ended) < millis(settings.recurrence));
            let completed = self.proofs.of(source, now);
            let arithmetic = past
                .map(|(ended, times)| past_sentence(settings, times, now.since(ended)))
                .into_iter()
                .chain(harm_sentences(settings, facts, &completed))
                .chain(feed_sentence(settings, facts, !completed.is_empty()))
                .chain(stacks_sentence(facts));
            let next_step = self.next_step(settings, decoys, facts, source, past.map_or(0, |(_, times)| times));
            return Explanation { arithmetic: arithmetic.collect(), next_step };
        };
        let earlier = running.earlier();
        let [lasts, left] = [until.since(running.since), until.since(now)].map(Duration::from_millis);
        let mut arithmetic = vec![
            running.reason.sentence().to_owned(),
            block_sentence(settings, earlier, lasts),
            format!("It ends by itself in {}.", format(rounded_up(left))),
        ];
        let completed = self.proofs.of(source, now);
        let is_proven = matches!(running.reason, BlockReason::Proven | BlockReason::Harm);
        arithmetic.extend(if is_proven && completed.len() < PORTS {
            // What proved it is longer ago, or was not kept.
            (!completed.is_empty()).then(|| completed_sentence(&completed) + ".").into_iter().collect()
        } else {
            harm_sentences(settings, facts, &completed)
        });
        arithmetic.extend(stacks_sentence(facts));
        let next_step = if facts.allowed {
            Deferral::Allowed.sentence().to_owned()
        } else {
            let [recurrence, next] = [settings.recurrence, length(settings, earlier.saturating_add(1))].map(format);
            format!("If it comes again within {recurrence} of its end, the next block lasts {next}.")
        };
        Explanation { arithmetic, next_step }
    }

    /// When the last block of a source that is not blocked ended, and how many there were.
    fn past(&self, source: &SourceKey) -> Option<(Moment, u32)> {
        match self.running.get(source) {
            // Its time was over since the last step.
            Some((until, running)) => Some((until, running.earlier().saturating_add(1))),
            None => self.finished.get(source).map(|(ended, finished)| (ended, finished.times)),
        }
    }

    /// What comes next for a source that is not blocked.
    fn next_step(&self, settings: &Blocks, decoys: Decoys, facts: &Facts, source: &SourceKey, earlier: u32) -> String {
        let lasts = format(length(settings, earlier));
        let reason = if settings.unproven { BlockReason::Score } else { BlockReason::Proven };
        let room = || self.budget.room(settings, source);
        let is_asked = facts.is_customer && !facts.allowed && settings.max_auto_level >= level(Scope::Private);
        if is_asked {
            return match decoys.missing() {
                Some([why, _]) => format!(
                    "It is a customer: nothing is blocked without a person. By what it does here nobody is even asked, \
                     for {why}."
                ),
                None => CUSTOMER.to_owned(),
            };
        }
        match may_block(settings, facts, Scope::Private, reason).and_then(|()| room()) {
            Ok(()) if settings.unproven && decoys == Decoys::Somewhere => format!(
                "Once its score is high enough, or it proves that it is really there, it is blocked from private ports \
                 for {lasts}."
            ),
            Ok(()) if settings.unproven => {
                format!("Once its score is high enough, it is blocked from private ports for {lasts}.")
            }
            Ok(()) => provable(settings, decoys, facts, &lasts),
            Err(Deferral::Allowed) => Deferral::Allowed.sentence().to_owned(),
            Err(why) => format!("It would not be blocked now. {}", why.sentence()),
        }
    }
}

/// What proof would be good for, or why there can be none.
fn provable(settings: &Blocks, decoys: Decoys, facts: &Facts, lasts: &str) -> String {
    let Some([why, change]) = decoys.missing() else {
        let blocked = format!("Once it proves that it is really there, it is blocked from private ports for {lasts}.");
        return if decoys == Decoys::Observe {
            format!("In mode observe it can prove nothing, for nothing is challenged. In mode enforce: {blocked}")
        } else {
            blocked
        };
    };
    let is_listed = facts.feed.is_some_and(|feed| feed.min(settings.max_auto_level) > AutoLevel::Conceal);
    let but = if is_listed { " but for the feed that names it" } else { "" };
    format!(
        "By what it does here no automatic block is possible with this configuration{but}: {why}, so that it can prove \
         nothing. {change} would change that, and so would `unproven = true` in [block]. (`scanguard signal --proof` \
         is heard all the same.)"
    )
}

/// On how many ports decoys were completed lately, without a full stop.
fn completed_sentence(ports: &[u16]) -> String {
    let named = if ports.len() == 1 { "port" } else { "distinct ports" };
    let within = format(Duration::from_millis(WITHIN_MS));
    format!("It completed decoys on {} {named} in the last {within}", ports.len())
}

/// What completed decoys prove, and what they do not: `It completed decoys on 2 distinct ports in the last 10m; 4 are proof.`
fn harm_sentences(settings: &Blocks, facts: &Facts, ports: &[u16]) -> Vec<String> {
    if ports.is_empty() {
        return Vec::new();
    }
    let mut sentences = vec![format!("{}; {PORTS} are proof.", completed_sentence(ports))];
    if ports.len() < PORTS {
        return sentences;
    }
    let beyond: Vec<String> =
        ports.iter().filter(|port| harm::is_beyond_browsers(**port)).map(ToString::to_string).collect();
    let asked = if beyond.is_empty() {
        "none of them is a port to which browsers refuse to connect".to_owned()
    } else {
        format!("browsers refuse to connect to {} of them ({})", beyond.len(), beyond.join(", "))
    };
    let score =
        if facts.eligible { "its score is high enough for a block" } else { "its score is below that of a block" };
    let proven = if harm::is_proven(facts, ports) { "This is proof of harm" } else { "This is no proof of harm" };
    sentences.push(format!("{proven}: {asked}, and {score}."));
    let doubt = if harm::is_proven(facts, ports) {
        sentences.push(harm::arithmetic(facts));
        doubt(settings, facts)
    } else {
        facts.is_customer.then_some(Doubt::Customer)
    };
    sentences.extend(doubt.map(|doubt| doubt.sentence().to_owned()));
    sentences
}

/// What a feed that names it may do.
fn feed_sentence(settings: &Blocks, facts: &Facts, completed: bool) -> Option<String> {
    let told = match facts.feed?.min(settings.max_auto_level) {
        AutoLevel::Conceal => "nothing more is done for that than with every suspect",
        _ if facts.is_customer => "but it is a customer: once it is a suspect, a person is asked whether to block it",
        AutoLevel::BlockPrivate => "once it is a suspect, it is blocked from private ports",
        AutoLevel::BlockAll if facts.backed || completed => {
            "and it is really there: once it is a suspect, it is blocked from all ports, if nobody else is known behind it"
        }
        AutoLevel::BlockAll => {
            "once it is a suspect, it is blocked from private ports; from all only if a session or a decoy shows that it is really there"
        }
    };
    Some(format!("A feed names it: {told}."))
}

/// What its sessions show of who else is behind it: `Its sessions show 2 TCP stacks at one time: …`
fn stacks_sentence(facts: &Facts) -> Option<String> {
    if facts.unseen {
        return Some(
            "Its sessions could not be looked at: that several people are behind it is assumed, and a person is \
             asked before it is blocked from public ports."
                .to_owned(),
        );
    }
    let machines = (facts.stacks > 1).then_some(facts.stacks)?;
    Some(format!("Its sessions show {machines} TCP stacks at one time: it is the address of more than one machine."))
}

/// `2 earlier blocks count, the last ended 3h ago; each counts for 7d.`
fn past_sentence(settings: &Blocks, times: u32, ago_ms: u64) -> String {
    let blocks = if times == 1 { "1 earlier block counts" } else { &format!("{times} earlier blocks count") };
    let ago = format(Duration::from_millis(ago_ms));
    format!("{blocks}, the last ended {ago} ago; each counts for {}.", format(settings.recurrence))
}

/// How a block came to its length: `It is the second block within 7d: 10m x 4 = 40m.`
fn block_sentence(settings: &Blocks, earlier: u32, lasts: Duration) -> String {
    let recurrence = format(settings.recurrence);
    let which = if earlier == 0 {
        format!("It is the first block within {recurrence}")
    } else {
        format!("It is the {} block in a row, each within {recurrence} of the one before", ordinal(earlier))
    };
    if length(settings, earlier) != lasts {
        return format!("{which}. It lasts {}, by the settings of when it began.", format(lasts));
    }
    if earlier == 0 {
        return format!("{which}: it lasts {}.", format(lasts));
    }
    let product = match earlier {
        1 => format!("{} x {}", format(settings.first), settings.factor),
        _ => format!("{} x {}^{earlier}", format(settings.first), settings.factor),
    };
    match uncapped(settings, earlier) {
        Some(whole) if whole <= settings.longest => format!("{which}: {product} = {}.", format(whole)),
        Some(whole) => format!("{which}: {product} = {}, but {} at most.", format(whole), format(settings.longest)),
        None => format!("{which}: {product}, but {} at most.", format(settings.longest)),
    }
}

/// The place of what comes after so many others.
fn ordinal(earlier: u32) -> String {
    const WORDS: [&str; 6] = ["first", "second", "third", "fourth", "fifth", "sixth"];
    let word = usize::try_from(earlier).ok().and_then(|position| WORDS.get(position));
    let place = u64::from(earlier) + 1;
    word.map_or_else(|| format!("{place}{}", suffix(place)), ToString::to_string)
}

const fn suffix(place: u64) -> &'static str {
    match (place % 100, place % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    }
}

/// Whole seconds, so that nothing that is left is written as nothing.
const fn rounded_up(left: Duration) -> Duration {
    Duration::from_secs(left.as_millis().div_ceil(1000) as u64)
}
