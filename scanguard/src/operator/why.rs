//! Everything behind what is done about a source: the answer to "why?".

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use scanguard_common::challenge::ChallengeMode;
use scanguard_common::class::PortClass;
use scanguard_common::contact::Outcome;
use scanguard_common::reason::{Level, Mode};
use scanguard_common::record::SourceRecord;
use scanguard_common::score::{ScoreRules, UNITS_PER_NAT};
use scanguard_common::session::SessionRecord;
use scanguard_common::source::{KeyRules, SourceKey};

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
use crate::kernel::{Clearing, clock};
use crate::policy::proof::{PORTS, WITHIN_MS};
use crate::policy::{BlockReason, Decoys};
use crate::prefix;
use crate::prefix_map::Prefix;
use crate::store::Archive;

/// Bits of a prefix that is one address.
const WHOLE: u8 = 128;

/// What a daemon remembers of a source beyond what the kernel does.
#[derive(Clone, Debug, Default)]
pub struct Remembered {
    /// Its first contacts, oldest first.
    pub evidence: Vec<Evidence>,
    /// What it was answered as a suspect, oldest first.
    pub answered: Vec<WhyAnswered>,
    /// What proves that it is really there, oldest first.
    pub proof: Vec<WhyProof>,
    /// The ports on which it completed decoys lately, as the policy counts them, and when: after a restart more than
    /// `proof` has.
    pub decoys: Vec<(u16, SystemTime)>,
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

    /// What is done about a source, and why. Of its incidents only the open one is named: [`tell_incidents`] adds the
    /// others, which the state file has, on a thread that may wait for the disk.
    ///
    /// # Errors
    /// When the text is no source, or the kernel part cannot be read.
    pub fn why(&self, text: &str, remembered: Remembered) -> Result<Why, OperatorError> {
        let asked: Prefix = prefix::parse(text)?.into();
        let source = self.source_named(text)?;
        let readings = self.tables.readings();
        let (keys, rules) = (self.keys(), self.tables.config().score);
        let now_ns = clock::monotonic_coarse_ns();
        let record = readings.source(&source)?;
        let network = KeyRules::network(&source);
        let network = readings.network(&network)?.filter(|record| record.is_suspect(now_ns)).map(|_| network);
        let allow = self.covering(asked);
        let never = self.never_judged(asked);
        let clearing = record.as_ref().and_then(|record| self.clearing(&source, record));
        let verdict = self.verdict_on(asked, record.as_ref(), allow.is_some() || never.is_some(), now_ns);
        let score = record.as_ref().map_or(0, |record| record.score_at(&rules, now_ns));
        let failures = u64::from(record.as_ref().map_or(0, |record| record.failures));
        let counted = remembered.evidence.iter().filter(|evidence| evidence.step > 0.0).count() as u64;
        let mut why = Why {
            schema_version: SCHEMA_VERSION,
            address: text.to_owned(),
            source: keys.display(source).to_string(),
            mode: self.mode.mode.label().to_owned(),
            verdict,
            never_judged: never.map(|(kind, _)| kind.to_owned()),
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
            incidents: remembered.incident.into_iter().collect(),
            answered: remembered.answered,
            sessions: readings.sessions_of(&source)?.as_ref().map(sessions).unwrap_or_default(),
            attempts: record.as_ref().map_or(0, |record| record.attempts),
            contacts: record.as_ref().map_or(0, |record| record.contacts.into()),
            first_seen: record.as_ref().map(|record| time(record.first_seen_ns)),
            last_seen: record.as_ref().map(|record| time(record.last_seen_ns)),
            ..Why::default()
        };
        tell_proof(&mut why, &remembered.decoys);
        if let Some((_, sentence)) = never {
            why.arithmetic = vec![sentence.to_owned()];
            if record.is_some() {
                why.arithmetic.push(format!("What is counted here is the rest of its source {}.", why.source));
            }
            why.next_step = "Nothing: it is never judged, so it is neither concealed nor blocked.".to_owned();
            return Ok(why);
        }
        why.arithmetic = arithmetic(&why, record.as_ref(), &rules, clearing.as_ref());
        if let Some(network) = network {
            why.arithmetic.push(format!(
                "Addresses of its network {} scan in turn: closed ports are hidden from all of it.",
                KeyRules::display_network(network)
            ));
        }
        if why.known.restricted_until.is_some() {
            let by = match why.known.by.first().map(String::as_str) {
                Some("login") => "somebody was seen to be logged in from there",
                Some("sessions") => "it had sessions on several days that nobody has who is not logged in",
                Some("operator") => "an operator said so",
                _ => "an earlier daemon knew it",
            };
            why.arithmetic.push(format!("It is known, because {by}: restricted ports stay open to it."));
        }
        why.arithmetic.extend(self.lockdown_for(asked));
        let is_settled = why.allow.matched || why.verdict.origin.as_deref() == Some("operator");
        if !is_settled {
            if why.verdict.level != Level::None.label() {
                why.arithmetic.push(proven(&why, &remembered.decoys, remembered.is_watched));
            }
            why.arithmetic.extend(remembered.policy);
        }
        why.next_step = next_step(&why, self.mode.mode, remembered.is_watched);
        Ok(why)
    }

    /// Why an address is never judged, in a word and a sentence; none where it is, and of prefixes.
    fn never_judged(&self, asked: Prefix) -> Option<(&'static str, &'static str)> {
        let (address, keys) = (asked.address(), self.keys());
        let is_judged = |keys: &KeyRules| keys.source_of(address, if address.is_mapped() { 4 } else { 6 }).is_some();
        if asked.bits != WHOLE {
            None
        } else if !is_judged(&KeyRules { ignore_private: 0, ..keys }) {
            Some((
                "special",
                "Such addresses (loopback, multicast, broadcast, unspecified) are never judged: no source has one.",
            ))
        } else if self.tables.is_own(&address) {
            Some(("own", "It is an address of this host: what claims to come from there is never judged."))
        } else if !is_judged(&keys) {
            Some((
                "private",
                "It is a private address, and those are never judged here (`ignore_private` of [sources]).",
            ))
        } else {
            None
        }
    }

    /// When the allowlist cleared what was held against a source: as remembered, or as its record shows where that is
    /// not remembered.
    fn clearing(&self, source: &SourceKey, record: &SourceRecord) -> Option<Cleared> {
        match self.tables.clearing_of(source) {
            Some(Clearing { time_ns, failures }) => Some(Cleared { time: Some(time(time_ns)), failures }),
            // The time of the latest evidence is taken away by nothing else.
            None if record.failures > 0 && record.evidence_ns == 0 => {
                Some(Cleared { time: None, failures: record.failures })
            }
            None => None,
        }
    }

    /// Where it can complete decoys now.
    #[must_use]
    pub fn decoys_offered(&self) -> Decoys {
        match self.tables.config().challenge.mode {
            mode if mode == ChallengeMode::Off as u32 => Decoys::Off,
            mode if mode == ChallengeMode::Canary as u32 && !self.tables.has_canaries() => Decoys::NoCanary,
            _ if self.mode.mode == Mode::Observe => Decoys::Observe,
            _ => Decoys::Somewhere,
        }
    }

    fn why_known(&self, source: &SourceKey, now_ns: u64) -> WhyKnown {
        let person = self.acquainted(source);
        let until = self.tables.known(source).map(|known| known.restricted_until_ns).filter(|until| *until > now_ns);
        WhyKnown {
            sessions: person.public.sessions.saturating_add(person.restricted.sessions),
            days: person.days_known(seconds(SystemTime::now())).into(),
            restricted_sessions: person.restricted.sessions,
            restricted_until: until.map(time),
            by: self.known_by(source, SystemTime::now()),
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

/// Adds the incidents of before, which the state file has. Blocks for as long as the disk takes, but not for ever:
/// without an answer the open ones alone are named, and it is said that others are missing.
pub fn tell_incidents(whys: &mut [&mut Why], archive: &Archive) {
    let asked: Vec<(Option<SourceKey>, Option<u64>)> =
        whys.iter().map(|why| (source_of(&why.source), why.incidents.first().copied())).collect();
    if asked.is_empty() {
        return;
    }
    let found = archive.ask(move |store| {
        let of = |(source, open): (Option<SourceKey>, Option<u64>)| match source {
            Some(source) => incidents::of_source(Some(store), open, &source),
            None => Ok(open.into_iter().collect()),
        };
        asked.into_iter().map(of).collect::<Result<Vec<_>, _>>()
    });
    match found {
        Ok(found) => whys.iter_mut().zip(found).for_each(|(why, incidents)| why.incidents = incidents),
        Err(error) => {
            error.complain("incidents of before cannot be read");
            for why in whys {
                why.incidents_unread = Some(error.to_string());
            }
        }
    }
}

/// The source that a name stands for.
fn source_of(name: &str) -> Option<SourceKey> {
    Some(SourceKey(Prefix::from(prefix::parse(name).ok()?).address()))
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

/// What was held against a source until the allowlist cleared it.
struct Cleared {
    /// When, where that is remembered.
    time: Option<String>,
    /// Contacts that had counted against it until then.
    failures: u32,
}

/// How the score came about, with the numbers.
fn arithmetic(why: &Why, record: Option<&SourceRecord>, rules: &ScoreRules, cleared: Option<&Cleared>) -> Vec<String> {
    let Why { score, evidence, attempts, contacts, .. } = why;
    let Some(record) = record else {
        return vec!["It was never seen to ask for anything, or not for so long that it was forgotten.".to_owned()];
    };
    let before = cleared.map_or(0, |cleared| cleared.failures);
    // What is cleared may be counted anew.
    let failures = record.failures.checked_sub(before).unwrap_or(record.failures);
    let mut sentences = vec![match cleared {
        None => {
            format!("It made {attempts} attempts on {contacts} distinct ports, {failures} of which counted against it.")
        }
        Some(Cleared { time, .. }) => {
            let when = time.as_ref().map_or_else(|| "since".to_owned(), |time| format!("at {time}"));
            format!(
                "It made {attempts} attempts in all. {before} contacts had counted against it when an entry of the \
                 allowlist covered it: that cleared its score {when}. {failures} have counted against it after that."
            )
        }
    }];
    let since = cleared.map(|cleared| cleared.time.as_deref());
    let counts = |found: &&Evidence| {
        // Cleared at a time that nobody remembers, nothing counted since.
        found.step > 0.0 && since.is_none_or(|since| since.is_some_and(|since| found.time.as_str() > since))
    };
    let mut steps: Vec<(String, f64, u64)> = Vec::new();
    let mut remembered = 0;
    for found in evidence.iter().filter(counts) {
        remembered += 1;
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
    let forgotten = u64::from(failures).saturating_sub(remembered);
    if forgotten > 0 {
        sentences.push(format!("{forgotten} more are only counted: no daemon remembers what they were."));
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

/// Says of each contact whether it is proven, and when all of it became proof. `decoys` are those that the policy
/// counts.
fn tell_proof(why: &mut Why, decoys: &[(u16, SystemTime)]) {
    for found in &mut why.evidence {
        let there = |proof: &&WhyProof| proof.destination == found.destination && proof.port == found.port;
        found.proven = why.proof.iter().find(there).map(|proof| proof.time.clone());
    }
    why.proven_at = proven_at(&completed(why, decoys)).map(timestamp);
}

/// The decoys that it completed, by whoever remembers them, oldest first.
fn completed(why: &Why, decoys: &[(u16, SystemTime)]) -> Vec<(SystemTime, u16)> {
    let proofs = why.proof.iter().filter_map(|proof| Some((humantime::parse_rfc3339(&proof.time).ok()?, proof.port)));
    let mut completed: Vec<(SystemTime, u16)> = proofs.collect();
    // After a restart it is the policy alone that remembers them.
    let is_new = |port: u16| why.proof.iter().all(|proof| proof.port != port);
    completed.extend(decoys.iter().filter(|(port, _)| is_new(*port)).map(|(port, time)| (*time, *port)));
    completed.sort_unstable();
    completed
}

/// When there were first enough distinct ports within the time that counts.
fn proven_at(completed: &[(SystemTime, u16)]) -> Option<SystemTime> {
    let within = Duration::from_millis(WITHIN_MS);
    let is_proof = |(at, _): &&(SystemTime, u16)| {
        let lately =
            completed.iter().filter(|(time, _)| time <= at && at.duration_since(*time).is_ok_and(|age| age <= within));
        lately.map(|(_, port)| *port).collect::<HashSet<u16>>().len() >= PORTS
    };
    completed.iter().find(is_proof).map(|(at, _)| *at)
}

/// Whether there is proof, in words.
fn proven(why: &Why, decoys: &[(u16, SystemTime)], is_watched: bool) -> String {
    let completed = completed(why, decoys);
    let reason = why.verdict.reason.as_deref().and_then(BlockReason::from_label);
    let is_blocked = why.verdict.level == Level::Block.label();
    match (&why.proven_at, completed.first()) {
        (Some(at), _) => format!("It was proven at {at} that it is really there, and scans."),
        _ if is_blocked && matches!(reason, Some(BlockReason::Proven | BlockReason::Harm)) => {
            "It was proven when its block began that it is really there, and scans; by which decoys is not remembered."
                .to_owned()
        }
        (None, None) if !is_watched => "Which decoys it completed is not known while no daemon runs.".to_owned(),
        // Why that is so is said with the block.
        (None, None) if is_blocked => "It completed no decoy: what it is blocked for is something else.".to_owned(),
        (None, None) => "It is not proven that it is really there.".to_owned(),
        (None, Some((first, _))) => {
            let ports: HashSet<u16> = completed.iter().map(|(_, port)| *port).collect();
            format!(
                "A decoy that it completed at {} shows that it is really there, but {} of {PORTS} distinct ports within \
                 {} prove no scan.",
                timestamp(*first),
                ports.len().min(PORTS - 1),
                duration::format(Duration::from_millis(WITHIN_MS))
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
