//! Blocks that the policy does not make without a person: questions that wait for him, and what he answered.
//!
//! A question that nobody answers ends by itself, in the source's favour. So does one about a source that comes onto
//! the allowlist, and one about a source that an operator blocks from as many ports as it was about, by itself or with
//! a prefix. Each end is in the log and in the history of blocks.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime};

use scanguard_common::address::{Address, MAPPED_BITS};
use scanguard_common::source::{KeyRules, SourceKey};
use scanguard_common::verdict::{Origin, Scope};
use tracing::info;

use super::desk::{Block, Desk};
use super::error::OperatorError;
use super::kept::{milliseconds, moment, origin_label, shown};
use super::why::Remembered;
use crate::api::{
    BlockAdd, MOST_WHYS, PendingApprove, PendingApproved, PendingDenied, PendingDeny, PendingEntry, PendingList,
    SCHEMA_VERSION, timestamp,
};
use crate::kernel::clock::ClockStep;
use crate::policy::{BlockReason, Doubt};
use crate::safety::Facts;
use crate::store::{Archive, Entry, KeptDecoy, KeptDenial, KeptQuestion, LifeEvent};

/// Questions at once.
const MOST_QUESTIONS: usize = 1000;
/// Those of one network, a /24 or /48: whoever has many addresses of one leaves a person no longer list to read.
const MOST_OF_NETWORK: usize = 20;
/// For so long after a person said no he is not asked again about the same source.
const DENIED_FOR: Duration = Duration::from_secs(7 * 86_400);

/// A block that waits for a person.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Question {
    /// From which ports.
    pub scope: Scope,
    /// What it would be for.
    pub reason: BlockReason,
    /// Why it is not done without him.
    pub doubt: Doubt,
    /// How many people beside the scanner that is taken to harm.
    pub people: u32,
    /// How long it would last.
    pub lasts: Duration,
    /// Ports of the decoys that it completed lately.
    pub ports: Vec<u16>,
    /// Since when it waits.
    pub since: SystemTime,
    /// Until when.
    pub expires: SystemTime,
}

/// Why a question ends.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum End {
    /// An operator said yes.
    Approved,
    /// An operator said no.
    Denied,
    /// The source is on the allowlist.
    Allowed,
    /// An operator blocked it, or a prefix around it.
    Blocked,
    /// Nobody said anything.
    Unanswered,
    /// There were too many questions.
    Crowded,
}

impl End {
    /// What people are told.
    const fn sentence(self) -> &'static str {
        match self {
            Self::Approved => "an operator approved the block",
            Self::Denied => "an operator denied the block",
            Self::Allowed => "the allowlist covers the source",
            Self::Blocked => "an operator's block covers the source",
            Self::Unanswered => "nobody said in time whether to block it",
            Self::Crowded => "too many blocks wait: most of them are of its network, and there it came last",
        }
    }
}

/// What waits, and what was denied.
#[derive(Debug, Default)]
pub(super) struct Questions {
    open: HashMap<SourceKey, Question>,
    /// Until when nobody is asked again.
    denied: HashMap<SourceKey, SystemTime>,
}

impl Questions {
    /// What an earlier daemon left.
    pub(super) fn load(archive: &Archive, now: SystemTime) -> Self {
        let loaded = archive.ask(|store| Ok((store.load_questions()?, store.load_denials()?)));
        let (questions, denials) = loaded.unwrap_or_else(|error| {
            error
                .complain("the questions that waited for a person are lost, and what he denied: he may be asked again");
            Default::default()
        });
        let open = questions.into_iter().filter_map(|kept| {
            let KeptQuestion { source, scope, reason, doubt, people, lasts, ports, since, expires } = kept;
            let scope = if scope == Scope::All.label() { Scope::All } else { Scope::Private };
            let question = Question {
                scope,
                reason: reason.and_then(|label| BlockReason::from_label(&label)).unwrap_or_else(|| older_reason(scope)),
                doubt: Doubt::from_label(&doubt)?,
                people,
                lasts: Duration::from_millis(lasts),
                ports,
                since: moment(since),
                expires: moment(expires),
            };
            (question.expires > now).then_some((source, question))
        });
        let denied = denials.into_iter().map(|KeptDenial { source, until }| (source, moment(until)));
        Self { open: open.collect(), denied: denied.filter(|(_, until)| *until > now).collect() }
    }
}

/// What became of a question that is to be put.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Asked {
    /// It waits.
    New,
    /// One of no fewer ports waits already.
    Waits,
    /// Its network has its share of questions, or the most of all.
    NoRoom,
}

/// Who takes part in sharing out questions: networks of networks (a /16, or the /32 of a provider), and in these networks (a /24, a /48).
type Share = [[u8; 16]; 2];

fn share(source: &SourceKey) -> Share {
    const WIDE4: u8 = MAPPED_BITS + 16;
    const WIDE6: u8 = 32;
    let wide = Address::mask(if source.0.is_mapped() { WIDE4 } else { WIDE6 });
    [source.0.masked(&wide).bytes(), KeyRules::network(source).0.bytes()]
}

impl Questions {
    /// Whether there is room for one more question, about this source; what must end for it, if something must. As with blocks, what
    /// counts are networks: of the network with most questions the newest goes, and a network has its share at most.
    fn room(&self, source: &SourceKey) -> Result<Option<SourceKey>, ()> {
        let [mine_wide, mine] = share(source);
        let (mut wide, mut narrow): (HashMap<[u8; 16], usize>, HashMap<[u8; 16], usize>) = Default::default();
        for [its_wide, its] in self.open.keys().map(share) {
            *wide.entry(its_wide).or_default() += 1;
            *narrow.entry(its).or_default() += 1;
        }
        if narrow.get(&mine).is_some_and(|count| *count >= MOST_OF_NETWORK) {
            return Err(());
        }
        if self.open.len() < MOST_QUESTIONS {
            return Ok(None);
        }
        // With this one.
        *wide.entry(mine_wide).or_default() += 1;
        *narrow.entry(mine).or_default() += 1;
        let crowd = |source: &SourceKey| {
            let [its_wide, its] = share(source);
            (wide[&its_wide], its_wide, narrow[&its])
        };
        let newest = |(source, question): &(&SourceKey, &Question)| (crowd(source), question.since, source.0.bytes());
        let fullest = self.open.iter().max_by_key(newest).map(|(fullest, _)| *fullest).ok_or(())?;
        let [its_wide, its] = share(&fullest);
        let is_fuller = wide[&its_wide] > wide[&mine_wide] || (its_wide == mine_wide && narrow[&its] > narrow[&mine]);
        // Where this one would be the newest of the fullest network, it is not put at all.
        is_fuller.then_some(Some(fullest)).ok_or(())
    }
}

impl Desk {
    /// Puts a question, unless one of no fewer ports waits already, or its network has too many.
    pub fn ask(&mut self, source: SourceKey, question: Question) -> Asked {
        let waiting = self.questions.open.get(&source);
        if waiting.is_some_and(|waiting| waiting.scope as u8 >= question.scope as u8) {
            return Asked::Waits;
        }
        if waiting.is_none() {
            match self.questions.room(&source) {
                Ok(Some(crowded)) => self.close(&[crowded], End::Crowded),
                Ok(None) => {}
                Err(()) => return Asked::NoRoom,
            }
        }
        let kept = kept_question(source, &question);
        self.keep(move |store| store.save_question(&kept));
        self.questions.open.insert(source, question);
        Asked::New
    }

    /// How many questions wait.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.questions.open.len()
    }

    /// Whether a person said lately that a source is not to be blocked.
    #[must_use]
    pub fn is_denied(&self, source: &SourceKey, now: SystemTime) -> bool {
        self.questions.denied.get(source).is_some_and(|until| *until > now)
    }

    /// The question about a source.
    pub(super) fn question(&self, source: &SourceKey) -> Option<&Question> {
        self.questions.open.get(source)
    }

    /// Those of whom [`Self::pending_list`] tells all that is known.
    #[must_use]
    pub fn pending_sources(&self) -> Vec<SourceKey> {
        let mut sources: Vec<SourceKey> = self.questions.open.keys().copied().collect();
        sources.sort_by_key(|source| (self.questions.open[source].since, source.0.bytes()));
        sources
    }

    /// All that waits, with what is known of each: `remembered` has what the daemon remembers of the first of
    /// [`Self::pending_sources`].
    ///
    /// # Errors
    /// When the kernel part cannot be read.
    pub fn pending_list(&self, remembered: Vec<Remembered>) -> Result<PendingList, OperatorError> {
        let mut remembered = remembered.into_iter();
        let mut entries = Vec::new();
        for (place, source) in self.pending_sources().into_iter().enumerate() {
            let Question { scope, reason, doubt, people, lasts, ports, since, expires } =
                self.questions.open[&source].clone();
            let name = self.named(source);
            let known = remembered.next().unwrap_or_default();
            let why = if place < MOST_WHYS { Some(Box::new(self.why(&name, known)?)) } else { None };
            entries.push(PendingEntry {
                source: name,
                scope: scope.label().to_owned(),
                reason: reason.label().to_owned(),
                doubt: doubt.label().to_owned(),
                sentence: doubt.sentence().to_owned(),
                people,
                ports,
                lasts_s: lasts.as_secs(),
                since: timestamp(since),
                expires: timestamp(expires),
                why,
            });
        }
        Ok(PendingList { schema_version: SCHEMA_VERSION, entries })
    }

    /// Blocks a source that waits, as an operator's block, by the same safety rules. In force in the kernel when this returns.
    ///
    /// # Errors
    /// When it does not wait, a rule forbids it, or the kernel part cannot be written.
    pub fn pending_approve(
        &mut self,
        wanted: &PendingApprove,
        facts: &Facts,
        now: SystemTime,
    ) -> Result<PendingApproved, OperatorError> {
        let PendingApprove { address, for_s, force, logged_in_from } = wanted;
        let source = self.source_named(address)?;
        let name = self.named(source);
        let Some(question) = self.questions.open.get(&source) else {
            return Err(OperatorError::NotFound(format!(
                "{name} does not wait for anybody: `scanguard pending list` shows what does, `scanguard block add` blocks without"
            )));
        };
        let block = BlockAdd {
            prefix: name,
            scope: question.scope.label().to_owned(),
            hard: false,
            for_s: for_s.or(Some(question.lasts.as_secs())),
            reason: Some(match question.reason {
                BlockReason::Harm => "proof of harm, approved".to_owned(),
                BlockReason::Signal => "a signal, approved".to_owned(),
                BlockReason::Feed => "a feed, approved".to_owned(),
                BlockReason::Proven | BlockReason::Score => "proof, approved".to_owned(),
            }),
            force: *force,
            logged_in_from: logged_in_from.clone(),
        };
        let added = self.block_add(&block, facts, now)?;
        self.close(&[source], End::Approved);
        Ok(PendingApproved { schema_version: SCHEMA_VERSION, entry: added.entry })
    }

    /// Leaves sources as they are.
    ///
    /// # Errors
    /// When a text is no source: then nothing is denied.
    pub fn pending_deny(&mut self, wanted: &PendingDeny, now: SystemTime) -> Result<PendingDenied, OperatorError> {
        let named = wanted.addresses.iter().map(|text| Ok((text, self.source_named(text)?)));
        let named: Vec<(&String, SourceKey)> = named.collect::<Result<_, OperatorError>>()?;
        let until = now + DENIED_FOR;
        let mut answer =
            PendingDenied { schema_version: SCHEMA_VERSION, until: timestamp(until), ..PendingDenied::default() };
        for (text, source) in named {
            if !self.questions.open.contains_key(&source) {
                answer.missing.push(text.clone());
                continue;
            }
            self.close(&[source], End::Denied);
            self.questions.denied.insert(source, until);
            let denial = KeptDenial { source, until: milliseconds(until) };
            self.keep(move |store| store.save_denial(&denial, milliseconds(now)));
            answer.denied.push(self.named(source));
        }
        if !answer.denied.is_empty() {
            info!(sources = answer.denied.join(" "), "an operator denies blocks that waited for him");
        }
        Ok(answer)
    }

    /// Ends questions whose time is over, and those that are settled: by the allowlist, or by an operator's block of as
    /// many ports as they are about. One of fewer ports is no answer.
    pub(super) fn expire_questions(&mut self, now: SystemTime) {
        self.questions.denied.retain(|_, until| *until > now);
        let end = |(source, question): (&SourceKey, &Question)| {
            let prefix = self.prefix_of(source);
            let answers = |block: &Block| block.origin == Origin::Operator && block.scope as u8 >= question.scope as u8;
            if self.allow.meets(prefix) {
                Some(End::Allowed)
            } else if self.blocks.covering(prefix).any(|(_, block)| answers(block)) {
                Some(End::Blocked)
            } else {
                (question.expires <= now).then_some(End::Unanswered)
            }
        };
        let mut ended: BTreeMap<End, Vec<SourceKey>> = BTreeMap::new();
        for question in &self.questions.open {
            if let Some(end) = end(question) {
                ended.entry(end).or_default().push(*question.0);
            }
        }
        for (end, sources) in ended {
            self.close(&sources, end);
        }
    }

    /// Ends questions, and says so.
    fn close(&mut self, sources: &[SourceKey], end: End) {
        for source in sources {
            let Some(question) = self.questions.open.remove(source) else { continue };
            self.archive.append(Entry::Life(LifeEvent {
                at: milliseconds(SystemTime::now()),
                prefix: shown(&self.prefix_of(source)),
                event: "pending_end".to_owned(),
                scope: question.scope.label().to_owned(),
                origin: origin_label(Origin::Controller).to_owned(),
                hard: false,
                reason: Some(question.reason.label().to_owned()),
                expires: Some(milliseconds(question.expires)),
                why: end.sentence().to_owned(),
            }));
            info!(
                source = self.named(*source),
                scope = question.scope.label(),
                why = end.sentence(),
                "a pending block is settled"
            );
        }
        if sources.is_empty() {
            return;
        }
        let sources = sources.to_vec();
        self.keep(move |store| store.remove_questions(&sources));
    }

    /// The wall clock was set: what was left of each question is left of it.
    pub(super) fn shift_questions(&mut self, step: ClockStep) {
        let Questions { open, denied } = &mut self.questions;
        let times = open.values_mut().map(|question| &mut question.expires).chain(denied.values_mut());
        times.for_each(|time| *time = step.shifted(*time));
    }

    /// Questions and denials as they are kept.
    pub(super) fn kept_questions(&self) -> (Vec<KeptQuestion>, Vec<KeptDenial>) {
        let questions = self.questions.open.iter().map(|(source, question)| kept_question(*source, question));
        let denials = self.questions.denied.iter();
        let denials = denials.map(|(source, until)| KeptDenial { source: *source, until: milliseconds(*until) });
        (questions.collect(), denials.collect())
    }

    /// Completed decoys that an earlier daemon kept.
    #[must_use]
    pub fn decoys(&self) -> &[KeptDecoy] {
        &self.decoys
    }

    /// Keeps completed decoys that may become proof.
    pub fn keep_decoys(&mut self, decoys: Vec<KeptDecoy>) {
        self.decoys.clone_from(&decoys);
        self.keep(move |store| store.save_decoys(&decoys));
    }
}

/// What a question is about that an older version asked: to it only proof of harm took public ports.
const fn older_reason(scope: Scope) -> BlockReason {
    match scope {
        Scope::All => BlockReason::Harm,
        Scope::Private => BlockReason::Proven,
    }
}

fn kept_question(source: SourceKey, question: &Question) -> KeptQuestion {
    let Question { scope, reason, doubt, people, lasts, ports, since, expires } = question.clone();
    KeptQuestion {
        source,
        scope: scope.label().to_owned(),
        reason: Some(reason.label().to_owned()),
        doubt: doubt.label().to_owned(),
        people,
        lasts: u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX),
        ports,
        since: milliseconds(since),
        expires: milliseconds(expires),
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn source(text: &str) -> SourceKey {
        SourceKey(text.parse::<IpAddr>().expect("an address").into())
    }

    /// Puts a question, `at` so many seconds after the first ones, as [`Desk::ask`] does.
    fn put(questions: &mut Questions, source: SourceKey, at: u64) -> Asked {
        let since = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + at);
        let question = Question {
            scope: Scope::All,
            reason: BlockReason::Harm,
            doubt: Doubt::Customer,
            people: 1,
            lasts: Duration::from_secs(600),
            ports: vec![23],
            since,
            expires: since + Duration::from_secs(86_400),
        };
        match questions.room(&source) {
            Ok(crowded) => {
                if let Some(crowded) = crowded {
                    questions.open.remove(&crowded);
                }
                questions.open.insert(source, question);
                Asked::New
            }
            Err(()) => Asked::NoRoom,
        }
    }

    #[test]
    fn no_network_and_no_provider_pushes_out_the_questions_about_others() {
        let mut questions = Questions::default();
        let genuine = source("198.51.100.10");
        assert_eq!(put(&mut questions, genuine, 0), Asked::New);
        // A /48, and then a /32, each with more addresses than there are questions.
        let flood = |questions: &mut Questions, network: fn(u32) -> String| {
            let asked = (1..3_000).map(|number| put(questions, source(&network(number)), number.into()));
            asked.filter(|asked| *asked == Asked::New).count()
        };
        assert_eq!(flood(&mut questions, |number| format!("2001:db8:1:{number:x}::")), MOST_OF_NETWORK);
        let taken = flood(&mut questions, |number| format!("2001:dba:{number:x}:1::"));
        assert_eq!((taken, questions.open.len()), (MOST_QUESTIONS - 1 - MOST_OF_NETWORK, MOST_QUESTIONS));
        // There is always room for somebody else, and it is not of others than the provider's.
        for number in 0..50 {
            assert_eq!(put(&mut questions, source(&format!("203.0.{number}.7")), 5_000), Asked::New, "{number}");
        }
        assert_eq!(questions.open.len(), MOST_QUESTIONS);
        assert!(questions.open.contains_key(&genuine), "it waits still");
        let of = |prefix: &str| {
            questions.open.keys().filter(|key| IpAddr::from(key.0).to_string().starts_with(prefix)).count()
        };
        assert_eq!([of("2001:db8:1:"), of("203.0."), of("2001:dba:")], [MOST_OF_NETWORK, 50, 1000 - 1 - 20 - 50]);
        // Those that came first stay.
        assert!(questions.open.contains_key(&source("2001:dba:1:1::")));
    }

    #[test]
    fn where_everybody_has_one_who_comes_last_waits_for_a_place() {
        let mut questions = Questions::default();
        for number in 0..MOST_QUESTIONS as u32 {
            let address = format!("{}.{}.0.1", 1 + number / 250, number % 250);
            assert_eq!(put(&mut questions, source(&address), number.into()), Asked::New);
        }
        for late in ["9.0.0.1", "250.0.0.1", "2001:db8::"] {
            assert_eq!(put(&mut questions, source(late), 5_000), Asked::NoRoom, "{late}");
        }
    }
}
