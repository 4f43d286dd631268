//! What operators decide, on the kernel's real tables and a real file of state, without a daemon: lists that are full,
//! configurations that are refused, questions, and a wall clock that is set while entries run.
//!
//! Needs root; run by `cargo xtask test`.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use ipnetwork::IpNetwork;
use scanguard::api::{
    AllowAdd, AllowRemove, BlockAdd, BlockRemove, MOST_ENTRIES, ModeSet, NewAllow, PendingDeny, timestamp,
};
use scanguard::config::Config;
use scanguard::kernel::pins::Pins;
use scanguard::kernel::{Comparison, Datapath, KernelError, LoadOptions, NEVER_NS, TableSizes, Tables, clock};
use scanguard::operator::{Asked, Desk, NewBlock, OperatorError, Question, records};
use scanguard::policy::{BlockReason, Doubt};
use scanguard::prefix_map::Prefix;
use scanguard::safety::Facts;
use scanguard::store::Archive;
use scanguard_common::reason::Mode;
use scanguard_common::verdict::Scope;
use scanguard_tests::daemon::wait_for;
use scanguard_tests::lab::sandbox;

const HOUR: Duration = Duration::from_secs(3600);
/// Longer than a test takes.
const MOMENT: Duration = Duration::from_secs(30);
/// Entries that are left to those who log in.
const KEPT_FREE: usize = 256;

fn tables() -> Tables {
    let options = LoadOptions { sizes: TableSizes::full(1024), ..LoadOptions::default() };
    let (_, tables, ..) = Datapath::load(&options).expect("the kernel part").into_parts();
    tables
}

fn desk_with(config: &Config, now: SystemTime) -> Desk {
    Desk::start(tables(), config, Archive::open(&config.state, config.retention), now).expect("a desk")
}

/// Over fresh tables and the file of state of this test.
fn desk() -> Desk {
    sandbox::enter().expect("a sandbox, which needs root: run `cargo xtask test`");
    desk_with(&Config::default(), SystemTime::now())
}

fn prefix(text: &str) -> Prefix {
    text.parse::<IpNetwork>().expect("a prefix").into()
}

/// The address with this number of a large network.
fn numbered(number: usize) -> String {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)) + u32::try_from(number).expect("a number")).to_string()
}

fn allow(desk: &mut Desk, prefixes: impl IntoIterator<Item = String>, for_s: Option<u64>) -> Result<(), OperatorError> {
    let entries = prefixes.into_iter().map(|prefix| NewAllow { prefix, for_s, ..NewAllow::default() }).collect();
    desk.allow_add(&AllowAdd { entries, ..AllowAdd::default() }, SystemTime::now()).map(drop)
}

fn block(prefix: &str, scope: &str, for_s: Option<u64>) -> BlockAdd {
    BlockAdd { prefix: prefix.into(), scope: scope.into(), for_s, force: true, ..BlockAdd::default() }
}

/// Whether the kernel holds what it was told.
fn is_told(tables: &mut Tables) -> bool {
    let reading = tables.begin_look().read().expect("the kernel's tables");
    tables.compare(&reading) == Comparison::Same
}

fn listed(desk: &Desk) -> HashSet<String> {
    desk.allow_list().entries.into_iter().map(|entry| entry.prefix).collect()
}

/// Entries of the allowlist that were told to the kernel.
fn told(desk: &Desk) -> usize {
    desk.read_tables().decided().entries()[2]
}

fn kept(desk: &Desk) -> HashSet<String> {
    let kept = desk.archive().ask(|store| store.load_allow()).expect("the file of state");
    kept.into_iter().map(|entry| entry.prefix).collect()
}

#[test]
fn the_allowlist_takes_entries_up_to_its_capacity_and_refuses_more_with_nothing_half_done() {
    let mut desk = desk();
    let most = desk.read_tables().most_allowed();
    let limit = most - KEPT_FREE;
    assert_eq!(most, 131_071, "one less than the map");
    for first in (0..limit - 3).step_by(MOST_ENTRIES) {
        let last = (first + MOST_ENTRIES).min(limit - 3);
        allow(&mut desk, (first..last).map(numbered), None).expect("there is room");
    }
    // Five more find no room, though three of them would.
    let more = |count| (limit..limit + count).map(numbered);
    let refused = allow(&mut desk, more(5), None).expect_err("a full list");
    let OperatorError::Refused { rule, message } = &refused else { panic!("{refused:?}") };
    assert_eq!(rule, "allowlist_full");
    let said = format!("has {} entries and takes {limit}: 5 more find no room, and nothing was added", limit - 3);
    assert!(message.contains(&said) && message.contains("scanguard allow remove"), "{message}");
    assert_eq!((listed(&desk).len(), told(&desk), kept(&desk).len()), (limit - 3, limit - 3, limit - 3));
    assert!(is_told(desk.tables()));
    // As many as there is room for do, and entries that are there are changed whatever the room.
    allow(&mut desk, more(3), None).expect("there is room");
    allow(&mut desk, [numbered(7)], Some(3600)).expect("it is there already");
    assert_eq!((listed(&desk).len(), told(&desk), kept(&desk).len()), (limit, limit, limit));
    allow(&mut desk, more(4).skip(3), None).expect_err("a full list");
    // Those who log in find the room that is left to them. Where there is none the others keep theirs.
    let now = SystemTime::now();
    let guest = |number: usize| (prefix(&format!("198.18.{}.{}", number / 200, number % 200)), Some("ann".to_owned()));
    let guests: Vec<_> = (0..KEPT_FREE).map(guest).collect();
    desk.lease(&guests, now, HOUR).expect("there is room");
    let one_more = [guest(KEPT_FREE), guest(0)];
    let full = desk.lease(&one_more, now, 2 * HOUR).expect_err("no room");
    assert!(full.to_string().contains(&format!("would have {} entries, more than the {most}", most + 1)), "{full}");
    assert_eq!((listed(&desk).len(), told(&desk)), (most, most));
    let tested = desk.allow_test("198.18.0.0").expect("an address").entry.expect("it is on the list");
    assert_eq!(tested.expires, Some(timestamp(now + 2 * HOUR)), "the lease of the second one goes on all the same");
    assert!(!desk.allow_test("198.18.1.56").expect("an address").matched);
    assert!(is_told(desk.tables()));
    // What is taken out makes room.
    let removed = desk.allow_remove(&AllowRemove { prefixes: (0..300).map(numbered).collect() }).expect("entries");
    assert_eq!((removed.removed.len(), removed.missing.len()), (300, 0));
    allow(&mut desk, more(5).skip(3), None).expect("there is room again");
    let expected = limit - 300 + 2;
    assert_eq!(
        (listed(&desk).len(), told(&desk), kept(&desk).len()),
        (expected + KEPT_FREE, expected + KEPT_FREE, expected)
    );
    assert!(is_told(desk.tables()));
    // What the file has is what was promised: the next daemon has it in force.
    let promised = kept(&desk);
    drop(desk);
    let desk = desk_with(&Config::default(), SystemTime::now());
    assert_eq!((listed(&desk), told(&desk)), (promised, expected));
}

#[test]
fn an_allowlist_that_the_kernel_takes_in_part_is_taken_back_whole() {
    sandbox::enter().expect("a sandbox, which needs root: run `cargo xtask test`");
    let folder = Path::new("/sys/fs/bpf/scanguard");
    let options = LoadOptions { sizes: TableSizes::full(1024), ..LoadOptions::default() };
    let pins = Pins::open(folder, true).expect("a BPF file system").expect("a folder");
    drop(Datapath::load_with(&options, Some(pins)).expect("the kernel part"));
    let pins = Pins::open(folder, false).expect("a BPF file system").expect("pins");
    let (mut first, mut second) = (Tables::pinned(&pins).expect("maps"), Tables::pinned(&pins).expect("maps"));
    let entry = |number| (prefix(&numbered(number)), NEVER_NS);
    first.allow(&[entry(0)]).expect("there is room");
    // Somebody else fills the map, which this one does not know.
    let most = second.most_allowed();
    let all: Vec<_> = (1..most).map(entry).collect();
    second.allow(&all).expect("there is room");
    let now_ns = clock::monotonic_coarse_ns();
    let hour_ns = 3_600_000_000_000;
    let wanted = [(entry(0).0, now_ns + hour_ns), entry(most + 1), entry(most + 2), entry(most + 3)];
    let before = *first.config();
    let refused = first.allow(&wanted).expect_err("a full map");
    assert!(matches!(refused, KernelError::Map { map: "ALLOW", .. }), "{refused}");
    assert_eq!(first.decided().allowed_until().collect::<Vec<_>>(), [entry(0)], "it has the end that it had");
    assert_eq!(first.config().census, before.census);
    // Only the entries of the two are there.
    let pinned = Tables::pinned(&pins).expect("maps");
    let found: HashSet<_> = pinned.decided().allowed_until().collect();
    assert_eq!(found, all.into_iter().chain([entry(0)]).collect());
    // A list in place of another one fails whole, too.
    let new: Vec<(IpNetwork, u64)> =
        (most..most + 4).map(|number| (numbered(number).parse().expect("an address"), NEVER_NS)).collect();
    first.set_allowed(&new).expect_err("a full map");
    assert_eq!(first.decided().allowed_until().collect::<Vec<_>>(), [entry(0)]);
    let too_many: Vec<(IpNetwork, u64)> =
        (0..=most).map(|number| (numbered(number).parse().expect("an address"), NEVER_NS)).collect();
    let refused = second.set_allowed(&too_many).expect_err("a full list");
    assert!(matches!(refused, KernelError::AllowlistFull { count, limit } if (count, limit) == (most + 1, most)));
}

#[test]
fn an_allowlist_entry_that_only_lasts_longer_has_no_suspect_checked_anew() {
    let mut desk = desk();
    let somebody = (prefix("203.0.113.66"), Some("ann".to_owned()));
    desk.lease(std::slice::from_ref(&somebody), SystemTime::now(), HOUR).expect("a lease");
    let source = desk.source_named("203.0.113.66").expect("a source");
    let step = desk.read_tables().config().score.step;
    let is_suspect = |desk: &Desk| {
        let suspects = desk.read_tables().readings().suspects().expect("suspects");
        suspects.iter().any(|(suspect, _)| *suspect == source)
    };
    // A suspect on the allowlist, which nothing else makes: it goes when the suspects are read, and not before.
    assert!(desk.tables().weigh(&source, 5 * step).expect("a weight").accused);
    let generation = desk.read_tables().config().census.allow_generation;
    for _ in 0..3 {
        desk.lease(std::slice::from_ref(&somebody), SystemTime::now(), 2 * HOUR).expect("a lease");
        let end_ns = desk.read_tables().decided().allowed_until().next().map(|(_, end_ns)| end_ns);
        assert!(end_ns.is_some_and(|end_ns| end_ns > clock::monotonic_ns() + 6_000_000_000_000), "it lasts longer");
    }
    assert_eq!(desk.read_tables().config().census.allow_generation, generation);
    assert!(is_suspect(&desk));
    assert!(is_told(desk.tables()));
    // One more entry, and one that was over: what they cover is freed.
    allow(&mut desk, ["198.51.100.1".to_owned()], None).expect("an entry");
    assert_eq!(desk.read_tables().config().census.allow_generation, generation + 1);
    assert!(!is_suspect(&desk));
    let entry = prefix("192.0.2.7");
    desk.tables().allow(&[(entry, clock::monotonic_coarse_ns())]).expect("an entry that is over");
    let late = desk.source_named("192.0.2.7").expect("a source");
    assert!(desk.tables().weigh(&late, 5 * step).expect("a weight").accused);
    let freed = desk.tables().allow(&[(entry, NEVER_NS)]).expect("an entry");
    assert_eq!(freed.suspects, [late]);
}

#[test]
fn a_reload_that_fails_leaves_the_mode_its_end_and_the_allowlist_as_they_were() {
    let mut desk = desk();
    let now = SystemTime::now();
    let old = Config::default();
    desk.set_mode(&ModeSet { mode: "enforce".into(), confirm_s: Some(1800) }, now).expect("a mode");
    allow(&mut desk, ["198.51.100.7".to_owned()], Some(3600)).expect("an entry");
    // The settings but for the number of the list, which grows with every change of it, also back.
    let settings = |desk: &Desk| {
        let mut settings = *desk.read_tables().config();
        settings.census.allow_generation = 0;
        settings
    };
    let before = (desk.mode(), desk.allow_list(), settings(&desk));
    let kept_mode = |desk: &Desk| desk.archive().ask(|store| store.load_mode()).expect("the file of state");
    let kept_before = kept_mode(&desk);
    assert!(before.0.reverts_at.is_some() && kept_before.is_some());
    // Another mode and another score, and more entries than the kernel takes.
    let most = desk.read_tables().most_allowed();
    let allow = (0..=most).map(|number| numbered(number).parse().expect("an address")).collect();
    let mut new = Config { mode: Mode::Enforce, allow, ..Config::default() };
    new.score.a = 0.2;
    new.ports.protect = vec!["198.51.100.0/24".parse().expect("a network")];
    let error = desk.apply(&old, &new).expect_err("too many entries");
    assert!(format!("{error:#}").contains("more than the 131071"), "{error:#}");
    assert_eq!((desk.mode(), desk.allow_list(), settings(&desk)), before);
    assert_eq!(kept_mode(&desk), kept_before);
    assert!(is_told(desk.tables()));
    // One that succeeds does what it says.
    new.allow.truncate(3);
    desk.apply(&old, &new).expect("room");
    let mode = desk.mode();
    assert_eq!((mode.mode.as_str(), mode.reverts_at), ("enforce", None));
    assert_eq!((listed(&desk).len(), kept_mode(&desk)), (4, None));
}

fn question(scope: Scope, now: SystemTime) -> Question {
    Question {
        scope,
        reason: BlockReason::Harm,
        doubt: Doubt::MaxAutoLevel,
        people: 0,
        lasts: Duration::from_secs(600),
        ports: vec![7, 9, 11, 13],
        since: now,
        expires: now + 24 * HOUR,
    }
}

/// What the history says of the ends of questions: of whom, and why.
fn settled(desk: &Desk) -> Vec<(String, String)> {
    let history = desk.archive().journal(|store, journal| records::history(store, journal, None, 0, 1000));
    let entries = history.expect("the file of state").entries;
    let ends = entries.into_iter().filter(|entry| entry.event == "pending_end");
    ends.map(|entry| (entry.source, entry.why)).collect()
}

#[test]
fn a_question_outlives_a_private_block_around_its_source_and_each_end_is_in_the_history() {
    let mut desk = desk();
    let now = SystemTime::now();
    let add = |desk: &mut Desk, block: &BlockAdd| desk.block_add(block, &Facts::default(), now).expect("a block");
    let unban = |desk: &mut Desk, prefix: &str| {
        let lifted = desk.block_remove(&BlockRemove { prefixes: vec![prefix.into()] }).expect("a prefix");
        assert_eq!(lifted.removed, [prefix]);
    };
    let names = |range: std::ops::Range<u8>| range.map(|host| format!("203.0.113.{host}"));
    for name in names(66..72) {
        let source = desk.source_named(&name).expect("a source");
        assert_eq!(desk.ask(source, question(Scope::All, now)), Asked::New);
    }
    let private = desk.source_named("203.0.113.99").expect("a source");
    assert_eq!(desk.ask(private, question(Scope::Private, now)), Asked::New);
    // Private ports are not what the six wait for; the seventh does.
    add(&mut desk, &block("203.0.0.0/9", "private", None));
    desk.expire(now).expect("the kernel part");
    assert_eq!(desk.pending(), 6);
    let by_operator = "an operator's block covers the source".to_owned();
    assert_eq!(settled(&desk), [("203.0.113.99".to_owned(), by_operator.clone())]);
    unban(&mut desk, "203.0.0.0/9");
    desk.expire(now).expect("the kernel part");
    assert_eq!(desk.pending(), 6, "after it is lifted, too");
    // A block of all ports is an answer, the allowlist one, a person's no, and the end of its time.
    add(&mut desk, &block("203.0.113.66", "all", None));
    desk.expire(now).expect("the kernel part");
    allow(&mut desk, ["203.0.113.67".to_owned()], None).expect("an entry");
    desk.expire(now).expect("the kernel part");
    desk.pending_deny(&PendingDeny { addresses: vec!["203.0.113.68".into()] }, now).expect("a question");
    let brief = Question { expires: now, ..question(Scope::All, now) };
    let source = desk.source_named("203.0.113.77").expect("a source");
    assert_eq!(desk.ask(source, brief), Asked::New);
    desk.expire(now).expect("the kernel part");
    assert_eq!(desk.pending(), 3);
    let expected = [
        ("203.0.113.66", by_operator.as_str()),
        ("203.0.113.67", "the allowlist covers the source"),
        ("203.0.113.68", "an operator denied the block"),
        ("203.0.113.77", "nobody said in time whether to block it"),
    ];
    let told = settled(&desk);
    let told: Vec<_> = told[1..].iter().map(|(source, why)| (source.as_str(), why.as_str())).collect();
    assert_eq!(told, expected);
}

/// When everything ends in the kernel: allowlist, blocks of sources and of prefixes, enforcing.
fn ends(desk: &Desk) -> Vec<u64> {
    let tables = desk.read_tables();
    let decided = tables.decided();
    let allowed = decided.allowed_until().map(|(_, ends_ns)| ends_ns);
    let sources = decided.verdicts().map(|(_, verdict)| verdict.expires_ns);
    let prefixes = decided.prefix_verdicts().map(|(_, verdict)| verdict.expires_ns);
    allowed.chain(sources).chain(prefixes).chain([tables.config().enforce_until_ns]).collect()
}

/// Whether what is to end after some time ends after as much, with the same left of it but for a moment.
fn is_close(left: &[u64], right: &[u64]) -> bool {
    left.len() == right.len() && left.iter().zip(right).all(|(left, right)| left.abs_diff(*right) < 5_000_000_000)
}

#[test]
fn a_wall_clock_that_is_set_ends_nothing_at_once_and_lets_nothing_live_longer() {
    let mut desk = desk();
    let start = SystemTime::now();
    allow(&mut desk, ["198.51.100.7".to_owned()], Some(3600)).expect("an entry");
    desk.lease(&[(prefix("198.18.0.1"), None)], start, HOUR).expect("a lease");
    for text in ["203.0.113.9", "203.0.114.0/24"] {
        desk.block_add(&block(text, "all", Some(3600)), &Facts::default(), start).expect("a block");
    }
    desk.set_mode(&ModeSet { mode: "enforce".into(), confirm_s: Some(3600) }, start).expect("a mode");
    let asked = desk.source_named("203.0.113.66").expect("a source");
    assert_eq!(desk.ask(asked, question(Scope::All, start)), Asked::New);
    let first = ends(&desk);
    assert_eq!(first.len(), 5);
    let mut before = first.clone();
    // How many hours the clock is ahead of what it showed at first; hardly any time goes by meanwhile.
    for hours in [5_i64, -24, 0, 1, 100] {
        let by = HOUR * u32::try_from(hours.abs()).expect("hours");
        let now = if hours < 0 { SystemTime::now() - by } else { SystemTime::now() + by };
        assert_eq!(desk.expire(now).expect("the kernel part"), Vec::<String>::new(), "{hours}");
        assert_eq!((desk.allow_list().entries.len(), desk.block_list().entries.len(), desk.pending()), (2, 2, 1));
        assert_eq!((desk.mode_now(), ends(&desk)), (Mode::Enforce, before), "{hours}");
        // What people are told, and what the file keeps for the next daemon, is by the clock as it is now.
        let left = desk.reverts().and_then(|reverts| reverts.duration_since(now).ok()).expect("a time to come");
        assert!(left <= HOUR + MOMENT && left > HOUR - MOMENT, "{hours}: {left:?}");
        let kept = desk.archive().ask(|store| Ok((store.load_allow()?, store.load_blocks()?, store.load_questions()?)));
        let (allowed, blocked, questions) = kept.expect("the file of state");
        let now_ms = now.duration_since(SystemTime::UNIX_EPOCH).expect("a time").as_millis() as u64;
        let expires = allowed.iter().map(|entry| entry.expires).chain(blocked.iter().map(|block| block.expires));
        let expires: Vec<u64> = expires.map(|expires| expires.expect("an end")).collect();
        assert!(expires.len() == 3 && expires.iter().all(|end| end.abs_diff(now_ms + 3_600_000) < 30_000), "{hours}");
        assert!(questions[0].expires.abs_diff(now_ms + 86_400_000) < 30_000, "{hours}");
        // A configuration has all ends written anew: they are the same.
        desk.apply(&Config::default(), &Config::default()).expect("a configuration");
        before = ends(&desk);
        assert!(is_close(&before, &first), "{hours}: {before:?} {first:?}");
        assert!(is_told(desk.tables()));
    }
    // So are those of what begins now.
    let now = SystemTime::now() - 24 * HOUR;
    desk.lease(&[(prefix("198.18.0.1"), None)], now, HOUR).expect("a lease");
    let until = now + HOUR;
    let source = desk.source_named("203.0.113.10").expect("a source");
    let new = NewBlock { source, scope: Scope::All, until, reason: "proven".to_owned() };
    assert!(desk.block_by_policy(new, now).expect("the kernel part").is_some());
    let mut latest = ends(&desk);
    latest.iter_mut().for_each(|end_ns| *end_ns = end_ns.saturating_sub(clock::monotonic_ns()));
    assert_eq!(latest.len(), 6);
    assert!(latest.iter().all(|left| left.abs_diff(3_600_000_000_000) < 30_000_000_000), "{latest:?}");
}

#[test]
fn what_runs_while_the_wall_clock_is_set_back_ends_when_its_time_is_over() {
    let mut desk = desk();
    let start = SystemTime::now();
    allow(&mut desk, ["198.51.100.7".to_owned()], Some(1)).expect("an entry");
    desk.block_add(&block("203.0.113.9", "all", Some(1)), &Facts::default(), start).expect("a block");
    let day = 24 * HOUR;
    desk.expire(SystemTime::now() - day).expect("the kernel part");
    wait_for("the end of both", || {
        desk.expire(SystemTime::now() - day).expect("the kernel part");
        desk.allow_list().entries.is_empty() && desk.block_list().entries.is_empty()
    });
    assert!(start.elapsed().expect("a clock") < Duration::from_secs(20));
    assert!(ends(&desk).len() == 1 && kept(&desk).is_empty());
}
