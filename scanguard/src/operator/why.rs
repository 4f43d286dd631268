//! Everything behind what is done about a source: the answer to "why?".

use std::collections::HashSet;
use std::time::SystemTime;

use scanguard_common::class::PortClass;
use scanguard_common::contact::Outcome;
use scanguard_common::reason::{Level, Mode};
use scanguard_common::record::SourceRecord;
use scanguard_common::score::{ScoreRules, UNITS_PER_NAT};
use scanguard_common::session::SessionRecord;
use scanguard_common::source::{KeyRules, SourceKey};
use tracing::warn;

use super::block::entry;
use super::desk::Desk;
use super::error::OperatorError;
use super::incidents;
use super::people::seconds;
use crate::api::{
    Evidence, SCHEMA_VERSION, Why, WhyAllow, WhyAnswered, WhyBehind, WhyKnown, WhyPending, WhyProof, WhyScore,
    WhySessions, WhySignal, WhyVerdict, timestamp,
};
use crate::duration;
use crate::kernel::clock;
use crate::policy::proof::PORTS;
use crate::prefix;
use crate::prefix_map::Prefix;

/// What a daemon remembers of a source beyond what the kernel does.
#[derive(Clone, Debug, Default)]
pub struct Remembered {
    /// Its first contacts, oldest first.
    pub evidence: Vec<Evidence>,
    /// What it was answered as a suspect, oldest first.
    pub answered: Vec<WhyAnswered>,
    /// What proves that it is really there, oldest first.
    pub proof: Vec<WhyProof>,
    /// What log tools said of it, oldest first.
    pub signals: Vec<WhySignal>,
    /// The open incident that it is in.
    pub incident: Option<u64>,
    /// Who is taken to be behind it.
    pub behind: Option<WhyBehind>,
    /// Whether there is a daemon to remember.
    pub is_watched: bool,
    /// What the policy says of it: a sentence each.
    pub policy: Vec<String>,
}

impl Desk {
    /// The source that an address, or the prefix of a source, stands for.
    ///
    /// # Errors
    /// When it is neither.
    pub fn source_named(&self, text: &str) -> Result<SourceKey, OperatorError> {
        let prefix: Prefix = prefix::parse(text)?.into();
        let own = self.source_of(prefix);
        self.as_source(own).ok_or_else(|| {
            let bits = self.keys().ipv6_prefix();
            OperatorError::Usage(format!(
                "{text} is more than one source: name an address (an IPv4 address or an IPv6 /{bits} is a source)"
            ))
        })
    }

    /// What is done about a source, and why.
    ///
    /// # Errors
    /// When the text is no source, or the kernel part cannot be read.
    pub fn why(&self, text: &str, remembered: Remembered) -> Result<Why, OperatorError> {
        let open = remembered.incident;
        let why = self.judged(text, remembered)?;
        let incidents = self.incidents_of(&self.source_named(text)?, open);
        Ok(Why { incidents, ..why })
    }

    /// The same without its incidents, which the file of state has.
    ///
    /// # Errors
    /// As [`Self::why`].
    pub fn judged(&self, text: &str, remembered: Remembered) -> Result<Why, OperatorError> {
        let asked: Prefix = prefix::parse(text)?.into();
        let source = self.source_named(text)?;
        let readings = self.tables.readings();
        let (keys, rules) = (self.keys(), self.tables.config().score);
        let now_ns = clock::monotonic_coarse_ns();
        let record = readings.source(&source)?;
        let network = KeyRules::network(&source);
        let network = readings.network(&network)?.filter(|record| record.is_suspect(now_ns)).map(|_| network);
        let allow = self.covering(asked);
        let verdict = self.verdict_on(asked, record.as_ref(), allow.is_some(), now_ns);
        let score = record.as_ref().map_or(0, |record| record.score_at(&rules, now_ns));
        let failures = u64::from(record.as_ref().map_or(0, |record| record.failures));
        let counted = remembered.evidence.iter().filter(|evidence| evidence.step > 0.0).count() as u64;
        let mut why = Why {
            schema_version: SCHEMA_VERSION,
            address: text.to_owned(),
            source: keys.display(source).to_string(),
            mode: self.mode.mode.label().to_owned(),
            verdict,
            score: WhyScore {
                value: nats(score),
                conceal_at: nats(rules.conceal_at),
                block_at: nats(rules.cap),
                step: nats(rules.step),
                half_life_s: rules.half_life_ns / 1_000_000_000,
            },
            evidence: remembered.evidence,
            evidence_forgotten: failures.saturating_sub(counted),
            allow: WhyAllow { matched: allow.is_some(), entry: allow },
            known: self.why_known(&source, now_ns),
            signals: remembered.signals,
            feeds: self.feeds_naming(&source),
            behind: remembered.behind,
            proof: remembered.proof,
            pending: self.question(&source).map(|question| WhyPending {
                scope: question.scope.label().to_owned(),
                doubt: question.doubt.label().to_owned(),
                people: question.people,
                expires: timestamp(question.expires),
            }),
            answered: remembered.answered,
            sessions: readings.sessions_of(&source)?.as_ref().map(sessions).unwrap_or_default(),
            attempts: record.as_ref().map_or(0, |record| record.attempts),
            contacts: record.as_ref().map_or(0, |record| record.contacts.into()),
            first_seen: record.as_ref().map(|record| time(record.first_seen_ns)),
            last_seen: record.as_ref().map(|record| time(record.last_seen_ns)),
            ..Why::default()
        };
        tell_proof(&mut why);
        why.arithmetic = arithmetic(&why, record.as_ref(), &rules);
        if let Some(network) = network {
            why.arithmetic.push(format!(
                "Addresses of its network {} scan in turn: closed ports are hidden from all of it.",
                KeyRules::display_network(network)
            ));
        }
        if why.known.restricted_until.is_some() {
            why.arithmetic.push("It has worked on a restricted port lately: those stay open to it.".to_owned());
        }
        let is_settled = why.allow.matched || why.verdict.origin.as_deref() == Some("operator");
        if !is_settled {
            if why.verdict.level != Level::None.label() {
                why.arithmetic.push(proven(&why));
            }
            why.arithmetic.extend(remembered.policy);
        }
        why.next_step = next_step(&why, self.mode.mode, remembered.is_watched);
        Ok(why)
    }

    /// The numbers of its incidents. Without the store it is the open one.
    fn incidents_of(&self, source: &SourceKey, open: Option<u64>) -> Vec<u64> {
        let source = *source;
        let found = self.archive.journal(move |store, _| incidents::of_source(store, open, &source));
        found.unwrap_or_else(|error| {
            warn!(%error, "incidents of before cannot be read");
            open.into_iter().collect()
        })
    }

    fn why_known(&self, source: &SourceKey, now_ns: u64) -> WhyKnown {
        let person = self.acquainted(source);
        let until = self.tables.known(source).map(|known| known.restricted_until_ns).filter(|until| *until > now_ns);
        WhyKnown {
            sessions: person.public.sessions.saturating_add(person.restricted.sessions),
            days: person.days_known(seconds(SystemTime::now())).into(),
            restricted_sessions: person.restricted.sessions,
            restricted_until: until.map(time),
        }
    }

    fn verdict_on(&self, asked: Prefix, record: Option<&SourceRecord>, allowed: bool, now_ns: u64) -> WhyVerdict {
        let none = WhyVerdict { level: Level::None.label().to_owned(), ..WhyVerdict::default() };
        if allowed {
            return none;
        }
        if let Some((prefix, block)) = self.blocked_by(asked).or_else(|| self.blocked_by(self.source_of(asked))) {
            let entry = entry(&prefix, block);
            return WhyVerdict {
                level: entry.level,
                scope: Some(entry.scope),
                reason: entry.reason,
                origin: Some(entry.origin),
                prefix: (self.as_source(prefix).is_none()).then_some(entry.source),
                since: Some(entry.since),
                expires: entry.expires,
            };
        }
        match record.filter(|record| record.is_suspect(now_ns)) {
            Some(record) => WhyVerdict {
                level: Level::Conceal.label().to_owned(),
                reason: u8::try_from(record.reason)
                    .ok()
                    .and_then(Outcome::from_u8)
                    // The kernel part suspects nobody for what it knows nothing of: a signal did.
                    .map(|outcome| if outcome == Outcome::Unknown { "signal" } else { outcome.label() }.to_owned()),
                origin: Some("kernel".to_owned()),
                since: Some(time(record.suspect_since_ns)),
                expires: Some(time(record.suspect_until_ns)),
                ..none
            },
            None => none,
        }
    }
}

fn nats(units: u32) -> f64 {
    f64::from(units) / f64::from(UNITS_PER_NAT)
}

fn time(ns: u64) -> String {
    timestamp(clock::monotonic_to_system(ns))
}

/// What the kernel counts of a source's sessions, where there are any.
fn sessions(record: &SessionRecord) -> Vec<WhySessions> {
    let kinds = [(PortClass::Public, &record.public), (PortClass::Restricted, &record.restricted)];
    let told = kinds.into_iter().filter(|(_, tally)| tally.sessions > 0).map(|(kind, tally)| WhySessions {
        ports: kind.label().to_owned(),
        sessions: tally.sessions,
        worked: tally.worked,
        bytes_in: tally.bytes_in,
        bytes_out: tally.bytes_out,
        first: time(tally.first_ns),
        last: time(tally.last_ns),
    });
    told.collect()
}

/// How the score came about, with the numbers.
fn arithmetic(why: &Why, record: Option<&SourceRecord>, rules: &ScoreRules) -> Vec<String> {
    let Why { score, evidence, attempts, contacts, evidence_forgotten, .. } = why;
    let Some(record) = record else {
        return vec!["It was never seen to ask for anything, or not for so long that it was forgotten.".to_owned()];
    };
    let mut sentences = vec![format!(
        "It made {attempts} attempts on {contacts} distinct ports, {} of which counted against it.",
        record.failures
    )];
    let mut steps: Vec<(String, f64, u64)> = Vec::new();
    for found in evidence.iter().filter(|found| found.step > 0.0) {
        match steps.iter_mut().find(|(outcome, step, _)| *outcome == found.outcome && *step == found.step) {
            Some((.., count)) => *count += 1,
            None => steps.push((found.outcome.clone(), found.step, 1)),
        }
    }
    if !steps.is_empty() {
        let terms: Vec<String> =
            steps.iter().map(|(outcome, step, count)| format!("{count} x {step:.3} ({outcome})")).collect();
        let sum: f64 = steps.iter().map(|(_, step, count)| step * *count as f64).sum();
        sentences.push(format!("Those remembered add up: {} = {sum:.3}.", terms.join(" + ")));
    }
    if *evidence_forgotten > 0 {
        sentences.push(format!("{evidence_forgotten} more are only counted: no daemon remembers what they were."));
    }
    if !why.signals.is_empty() {
        let weight: f64 = why.signals.iter().map(|signal| signal.weight).sum();
        let said = if why.signals.len() == 1 { "1 signal was" } else { &format!("{} signals were", why.signals.len()) };
        sentences.push(format!(
            "{said} given about it: {weight} x {:.3} = {:.3}, as far as the score goes.",
            score.step,
            weight * score.step
        ));
    }
    let half_life = duration::format(std::time::Duration::from_nanos(rules.half_life_ns));
    let conceal = if score.value >= score.conceal_at { "at or above" } else { "below" };
    sentences.push(format!(
        "Its score is {:.3} now (it halves every {half_life} without evidence, and goes no higher than {:.3}), {conceal} the \
         {:.3} from which it is concealed.",
        score.value, score.block_at, score.conceal_at
    ));
    sentences
}

/// Says of each contact whether it is proven, and when all of it became proof.
fn tell_proof(why: &mut Why) {
    for found in &mut why.evidence {
        let there = |proof: &&WhyProof| proof.destination == found.destination && proof.port == found.port;
        found.proven = why.proof.iter().find(there).map(|proof| proof.time.clone());
    }
    let mut ports = HashSet::new();
    let deciding = why.proof.iter().find(|proof| ports.insert(proof.port) && ports.len() == PORTS);
    why.proven_at = deciding.map(|proof| proof.time.clone());
}

/// Whether there is proof, in words.
fn proven(why: &Why) -> String {
    match (&why.proven_at, why.proof.first()) {
        (Some(at), _) => format!("It was proven at {at} that it is really there, and scans."),
        // Why that is so is said with the block.
        (None, None) if why.verdict.level == Level::Block.label() => {
            "It completed no decoy: what it is blocked for is something else.".to_owned()
        }
        (None, None) => "It is not proven that it is really there, so it is never blocked for this.".to_owned(),
        (None, Some(first)) => {
            let ports: HashSet<u16> = why.proof.iter().map(|proof| proof.port).collect();
            format!(
                "A decoy that it completed at {} shows that it is really there, but {} of {PORTS} distinct ports prove no scan: it is not \
                 proven, so it is never blocked for this.",
                first.time,
                ports.len()
            )
        }
    }
}

/// What comes next, and what can be done.
fn next_step(why: &Why, mode: Mode, is_watched: bool) -> String {
    let Why { source, verdict, allow, score, .. } = why;
    if let Some(entry) = &allow.entry {
        return format!("Nothing: it is on the allowlist by {} ({}), and never acted on.", entry.prefix, entry.source);
    }
    let observed = if mode == Mode::Observe { " The mode is observe, so nothing is dropped yet." } else { "" };
    let until = verdict.expires.as_ref().map_or_else(|| "until it is lifted".to_owned(), |end| format!("until {end}"));
    let named = verdict.prefix.as_ref().unwrap_or(source);
    match verdict.level.as_str() {
        "block" if verdict.origin.as_deref() == Some("operator") => {
            format!("It stays blocked {until}. `scanguard block remove {named}` lifts it.")
        }
        "block" if why.pending.is_some() => format!(
            "It stays blocked {until}.{observed} Whether from public ports, too, waits for you: `scanguard pending approve {source}` or \
             `deny`."
        ),
        "block" => format!(
            "It stays blocked {until}.{observed} `scanguard block remove {named}` lifts it, `scanguard allow add {source}` for \
             good."
        ),
        "conceal" if why.pending.is_some() => format!(
            "It stays concealed {until}, longer if it goes on.{observed} Whether to block it waits for you: `scanguard pending approve \
             {source}` or `deny`."
        ),
        "conceal" => format!(
            "Closed, canary and restricted ports stay hidden from it {until}, longer if it goes on; public ones are open to \
             it.{observed} `scanguard allow add {source}` ends it."
        ),
        _ if !is_watched => "Nothing new is held against it while no daemon runs.".to_owned(),
        _ if score.value > 0.0 => {
            let missing = ((score.conceal_at - score.value) / score.step).ceil().max(1.0);
            format!("Nothing. {missing:.0} more closed ports would make it a suspect.")
        }
        _ => "Nothing: there is no evidence against it.".to_owned(),
    }
}
