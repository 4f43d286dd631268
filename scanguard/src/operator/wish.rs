//! What can be asked for, as types: each knows its route, its answer, and how it is carried out at a [`Desk`], with a daemon or without.

use std::time::SystemTime;

use scanguard_common::reason::Mode;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::desk::Desk;
use super::error::OperatorError;
use super::why::{self, Remembered};
use crate::api::{
    Address, AllowAdd, AllowAdded, AllowList, AllowRemove, AllowRemoved, AllowTest, BlockAdd, BlockAdded, BlockList,
    BlockRemove, BlockRemoved, FeedList, FeedTest, FeedsRefresh, FeedsRefreshed, KnownAdd, KnownAdded, KnownList,
    KnownQuery, KnownRemove, KnownRemoved, LockdownOff, LockdownOn, LockdownState, ModeSet, ModeState, Nothing,
    PendingApprove, PendingApproved, PendingDenied, PendingDeny, PendingList, Why,
};
use crate::feeds::Feeds;
use crate::safety::Facts;
use crate::store::Archive;

/// Whether something is only read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// `GET`, with what is asked for in the query.
    Read,
    /// `POST`, with a JSON body.
    Change,
}

/// What must be known besides.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Needs {
    /// Nothing.
    Nothing,
    /// The host: who is logged in, which addresses are its own.
    Facts,
    /// What the daemon remembers of a source.
    Memory,
    /// What it remembers of all sources that wait for a person.
    Memories,
    /// The feeds, read again.
    Feeds,
}

/// What is known besides.
#[derive(Clone, Debug)]
pub struct Around {
    /// The time.
    pub now: SystemTime,
    /// The host, where that is needed.
    pub facts: Facts,
    /// What is remembered of the source asked for, where that is needed.
    pub remembered: Remembered,
    /// Those that wait for a person, where that is needed, in the order of [`Desk::pending_sources`].
    pub waiting: Vec<Remembered>,
    /// The feeds, where that is needed, or why they cannot be read.
    pub feeds: Result<Feeds, String>,
}

impl Around {
    /// Now, and nothing else.
    #[must_use]
    pub fn now() -> Self {
        Self {
            now: SystemTime::now(),
            facts: Facts::default(),
            remembered: Remembered::default(),
            waiting: Vec::new(),
            feeds: Ok(Feeds::default()),
        }
    }
}

/// Something an operator asks for.
pub trait Wish: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// What he gets.
    type Answer: Serialize + DeserializeOwned + Send + 'static;
    /// Path of the route.
    const PATH: &'static str;
    /// Whether it is only read.
    const KIND: Kind;
    /// What must be known besides.
    const NEEDS: Needs = Needs::Nothing;

    /// Does it.
    ///
    /// # Errors
    /// When it makes no sense, a safety rule forbids it, there is no such thing, or it fails.
    fn carry_out(self, desk: &mut Desk, around: Around) -> Result<Self::Answer, OperatorError>;

    /// Adds what only the state file knows. It may wait for the disk: never call it where things are decided.
    fn complete(answer: &mut Self::Answer, archive: &Archive) {
        let _ = (answer, archive);
    }

    /// Whether it was carried out and there was nothing to change: the audit does not say that something was done.
    fn found_nothing(answer: &Self::Answer) -> bool {
        let _ = answer;
        false
    }

    /// Whether it takes something away from somebody: such a request is refused while its record might be lost.
    fn takes_away(&self) -> bool {
        false
    }

    /// Whether it only asks what it would do: then it is no record of the audit, unless it is refused.
    fn is_dry_run(&self) -> bool {
        false
    }

    /// Addresses from which whoever asks says he is logged in.
    fn logged_in_from(&self) -> &[String] {
        &[]
    }

    /// The address it is about, where [`Needs::Memory`].
    fn address(&self) -> Option<&str> {
        None
    }
}

/// Refuses what takes something away while so many records wait for the disk that its own might be lost. What gives
/// something back always works.
///
/// # Errors
/// When it is refused.
pub fn refuse_unrecorded<W: Wish>(wish: &W, archive: &Archive) -> Result<(), OperatorError> {
    if !wish.takes_away() || !archive.has_many_waiting() {
        return Ok(());
    }
    Err(OperatorError::Refused {
        rule: "audit_full".to_owned(),
        message: "nothing was changed: so many records wait for the state file that the one of this request might be \
                  lost. Make its disk writable (`scanguard status` says what is wrong with it). Allowances and lifts go \
                  on working"
            .to_owned(),
    })
}

macro_rules! wishes {
    ($($wish:ty => $answer:ty, $kind:ident $path:literal, $do:expr;)+) => {
        $(impl Wish for $wish {
            type Answer = $answer;
            const PATH: &'static str = $path;
            const KIND: Kind = Kind::$kind;

            fn carry_out(self, desk: &mut Desk, around: Around) -> Result<$answer, OperatorError> {
                let carry_out: fn(Self, &mut Desk, Around) -> Result<$answer, OperatorError> = $do;
                carry_out(self, desk, around)
            }
        })+
    };
}

wishes! {
    AllowAdd => AllowAdded, Change "/v1/allow", |wish, desk, around| desk.allow_add(&wish, around.now);
    Nothing<AllowList> => AllowList, Read "/v1/allow", |_, desk, _| Ok(desk.allow_list());
    Address<AllowTest> => AllowTest, Read "/v1/allow/test", |wish, desk, _| desk.allow_test(&wish.address);
    Nothing<BlockList> => BlockList, Read "/v1/block", |_, desk, _| Ok(desk.block_list());
    Nothing<ModeState> => ModeState, Read "/v1/mode", |_, desk, _| Ok(desk.mode());
    Nothing<FeedList> => FeedList, Read "/v1/feeds", |_, desk, _| Ok(desk.feed_list());
    Address<FeedTest> => FeedTest, Read "/v1/feeds/test", |wish, desk, _| desk.feed_test(&wish.address);
    KnownQuery => KnownList, Read "/v1/known", |wish, desk, around| Ok(desk.known_list(&wish, around.now));
    KnownAdd => KnownAdded, Change "/v1/known", |wish, desk, around| desk.known_add(&wish, around.now);
    Nothing<LockdownState> => LockdownState, Read "/v1/lockdown", |_, desk, around| Ok(desk.lockdown_state(around.now));
    LockdownOff => LockdownState, Change "/v1/lockdown/off", |_, desk, _| desk.lockdown_off();
    Confirm => ModeState, Change "/v1/confirm", |_, desk, around| desk.confirm(around.now);
}

pub use crate::api::Confirm;

impl Wish for BlockRemove {
    type Answer = BlockRemoved;
    const PATH: &'static str = "/v1/block/remove";
    const KIND: Kind = Kind::Change;

    fn carry_out(self, desk: &mut Desk, _: Around) -> Result<BlockRemoved, OperatorError> {
        desk.block_remove(&self)
    }

    fn found_nothing(answer: &BlockRemoved) -> bool {
        answer.removed.is_empty()
    }
}

impl Wish for PendingDeny {
    type Answer = PendingDenied;
    const PATH: &'static str = "/v1/pending/deny";
    const KIND: Kind = Kind::Change;

    fn carry_out(self, desk: &mut Desk, around: Around) -> Result<PendingDenied, OperatorError> {
        desk.pending_deny(&self, around.now)
    }

    fn found_nothing(answer: &PendingDenied) -> bool {
        answer.denied.is_empty()
    }
}

impl Wish for AllowRemove {
    type Answer = AllowRemoved;
    const PATH: &'static str = "/v1/allow/remove";
    const KIND: Kind = Kind::Change;

    fn carry_out(self, desk: &mut Desk, _: Around) -> Result<AllowRemoved, OperatorError> {
        desk.allow_remove(&self)
    }

    fn found_nothing(answer: &AllowRemoved) -> bool {
        answer.removed.is_empty()
    }

    fn takes_away(&self) -> bool {
        true
    }
}

impl Wish for KnownRemove {
    type Answer = KnownRemoved;
    const PATH: &'static str = "/v1/known/remove";
    const KIND: Kind = Kind::Change;

    fn carry_out(self, desk: &mut Desk, around: Around) -> Result<KnownRemoved, OperatorError> {
        desk.known_remove(&self, around.now)
    }

    fn takes_away(&self) -> bool {
        true
    }
}

impl Wish for ModeSet {
    type Answer = ModeState;
    const PATH: &'static str = "/v1/mode";
    const KIND: Kind = Kind::Change;

    fn carry_out(self, desk: &mut Desk, around: Around) -> Result<ModeState, OperatorError> {
        desk.set_mode(&self, around.now)
    }

    fn takes_away(&self) -> bool {
        self.mode == Mode::Enforce.label()
    }
}

impl Wish for LockdownOn {
    type Answer = LockdownState;
    const PATH: &'static str = "/v1/lockdown";
    const KIND: Kind = Kind::Change;
    const NEEDS: Needs = Needs::Facts;

    fn carry_out(self, desk: &mut Desk, around: Around) -> Result<LockdownState, OperatorError> {
        desk.lockdown_on(&self, &around.facts, around.now)
    }

    fn takes_away(&self) -> bool {
        !self.dry_run
    }

    fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    fn logged_in_from(&self) -> &[String] {
        &self.logged_in_from
    }
}

impl Wish for BlockAdd {
    type Answer = BlockAdded;
    const PATH: &'static str = "/v1/block";
    const KIND: Kind = Kind::Change;
    const NEEDS: Needs = Needs::Facts;

    fn carry_out(self, desk: &mut Desk, around: Around) -> Result<BlockAdded, OperatorError> {
        desk.block_add(&self, &around.facts, around.now)
    }

    fn takes_away(&self) -> bool {
        true
    }

    fn logged_in_from(&self) -> &[String] {
        &self.logged_in_from
    }
}

impl Wish for FeedsRefresh {
    type Answer = FeedsRefreshed;
    const PATH: &'static str = "/v1/feeds/refresh";
    const KIND: Kind = Kind::Change;
    const NEEDS: Needs = Needs::Feeds;

    fn carry_out(self, desk: &mut Desk, around: Around) -> Result<FeedsRefreshed, OperatorError> {
        desk.feeds_refresh(around.feeds)
    }
}

impl Wish for PendingApprove {
    type Answer = PendingApproved;
    const PATH: &'static str = "/v1/pending/approve";
    const KIND: Kind = Kind::Change;
    const NEEDS: Needs = Needs::Facts;

    fn carry_out(self, desk: &mut Desk, around: Around) -> Result<PendingApproved, OperatorError> {
        desk.pending_approve(&self, &around.facts, around.now)
    }

    fn takes_away(&self) -> bool {
        true
    }

    fn logged_in_from(&self) -> &[String] {
        &self.logged_in_from
    }
}

impl Wish for Nothing<PendingList> {
    type Answer = PendingList;
    const PATH: &'static str = "/v1/pending";
    const KIND: Kind = Kind::Read;
    const NEEDS: Needs = Needs::Memories;

    fn carry_out(self, desk: &mut Desk, around: Around) -> Result<PendingList, OperatorError> {
        desk.pending_list(around.waiting)
    }

    fn complete(answer: &mut PendingList, archive: &Archive) {
        let mut whys: Vec<&mut Why> = answer.entries.iter_mut().filter_map(|entry| entry.why.as_deref_mut()).collect();
        why::tell_incidents(&mut whys, archive);
    }
}

impl Wish for Address<Why> {
    type Answer = Why;
    const PATH: &'static str = "/v1/why";
    const KIND: Kind = Kind::Read;
    const NEEDS: Needs = Needs::Memory;

    fn carry_out(self, desk: &mut Desk, around: Around) -> Result<Why, OperatorError> {
        desk.why(&self.address, around.remembered)
    }

    fn complete(answer: &mut Why, archive: &Archive) {
        why::tell_incidents(&mut [answer], archive);
    }

    fn address(&self) -> Option<&str> {
        Some(&self.address)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::store::{AuditRecord, Entry, Limits};

    #[test]
    fn while_records_may_be_lost_nothing_is_taken_away_and_everything_can_be_given_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let archive = Archive::open(&folder.path().join("state.db"), Limits::default());
        let mode = |mode: &str| ModeSet { mode: mode.into(), confirm_s: None };
        refuse_unrecorded(&BlockAdd::default(), &archive).expect("there is room");
        let (release, released) = channel::<()>();
        archive.write(move |_| {
            let _ = released.recv();
            Ok(())
        });
        (0..8000).for_each(|_| archive.append(Entry::Audit(AuditRecord::default())));
        let refused = [
            refuse_unrecorded(&BlockAdd::default(), &archive),
            refuse_unrecorded(&AllowRemove::default(), &archive),
            refuse_unrecorded(&PendingApprove::default(), &archive),
            refuse_unrecorded(&KnownRemove::default(), &archive),
            refuse_unrecorded(&mode("enforce"), &archive),
            refuse_unrecorded(&LockdownOn::default(), &archive),
        ];
        for outcome in refused {
            assert!(
                matches!(&outcome, Err(OperatorError::Refused { rule, .. }) if rule == "audit_full"),
                "{outcome:?}"
            );
        }
        refuse_unrecorded(&BlockRemove::default(), &archive).expect("a lift");
        refuse_unrecorded(&AllowAdd::default(), &archive).expect("an allowance");
        refuse_unrecorded(&PendingDeny::default(), &archive).expect("a denial");
        refuse_unrecorded(&KnownAdd::default(), &archive).expect("somebody who is known");
        refuse_unrecorded(&LockdownOff {}, &archive).expect("everybody gets in again");
        refuse_unrecorded(&LockdownOn { dry_run: true, ..LockdownOn::default() }, &archive).expect("a question");
        refuse_unrecorded(&mode("observe"), &archive).expect("nothing is dropped any more");
        drop(release);
    }

    #[test]
    fn without_the_state_file_why_names_the_open_incident_and_says_what_is_missing() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("file"), "").expect("a file");
        let archive = Archive::open(&folder.path().join("file/state.db"), Limits::default());
        let mut why = Why { source: "192.0.2.7".into(), incidents: vec![7], ..Why::default() };
        <Address<Why>>::complete(&mut why, &archive);
        assert_eq!((&why.incidents[..], why.incidents_unread.is_some()), (&[7][..], true));
    }
}
