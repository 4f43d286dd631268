//! Blocks that the policy does not make without a person: questions that wait for him, and what he answered.
//!
//! A question that nobody answers ends by itself, in the source's favour. So does one about a source that comes onto
//! the allowlist, and one about a source that an operator blocks from as many ports as it was about, by itself or with
//! a prefix. Each end is in the log and in the history of blocks.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime};

use scanguard_common::source::SourceKey;
use scanguard_common::verdict::{Origin, Scope};
use tracing::{error, info};

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

/// Questions at once; of more of them those that would end first are dropped.
const MOST_QUESTIONS: usize = 1000;
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
            Self::Crowded => "too many blocks wait: of those that do, it would have ended first",
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
            error!(%error, "the questions that waited for a person are lost, and what he denied: he may be asked again");
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

impl Desk {
    /// Puts a question, unless one of no fewer ports waits already. True when it is new.
    pub fn ask(&mut self, source: SourceKey, question: Question) -> bool {
        let waiting = self.questions.open.get(&source);
        if waiting.is_some_and(|waiting| waiting.scope as u8 >= question.scope as u8) {
            return false;
        }
        if waiting.is_none() && self.questions.open.len() >= MOST_QUESTIONS {
            let first =
                self.questions.open.iter().min_by_key(|(source, question)| (question.expires, source.0.bytes()));
            if let Some(first) = first.map(|(source, _)| *source) {
                self.close(&[first], End::Crowded);
            }
        }
        let kept = kept_question(source, &question);
        self.keep(move |store| store.save_question(&kept));
        self.questions.open.insert(source, question);
        true
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
