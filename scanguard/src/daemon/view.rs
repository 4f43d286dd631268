//! What the listeners show, from counters, census and interfaces.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, anyhow};
use scanguard_common::counter::{CounterIndex, Loss};
use scanguard_common::reason::{Level, Reason};
use scanguard_common::source::{KeyRules, SourceKey};
use scanguard_common::verdict::Scope;

use super::census::{Census, Snapshot};
use super::decide::{Decider, Explained, Informant, LostEvents};
use super::health::{Facts, warnings};
use super::hearsay::Hearsay;
use super::incidents::Recorder;
use super::interfaces::Guarded;
use super::jobs::{Hands, Jobs};
use super::listed::{list, packets, with_block};
use super::live::{FeedRead, Live};
use super::logging::{LogTally, LostLines};
use super::memory::Memory;
use super::quota::{Quota, SignalTally};
use super::stacks::{self, Looked};
use super::takes;
use tokio::task::spawn_blocking;

use crate::api::{
    AuditList, AuditQuery, BlockHistory, HistoryQuery, Incident, IncidentList, IncidentsQuery, Interface, MOST_WHYS,
    MapFill, Reloaded, RunningConfig, SCHEMA_VERSION, Signal, Signalled, SourceList, SourcesQuery, Status, Takes,
    VerdictCounts, WARNING_CODES, Warning, timestamp,
};
use crate::config::Feed;
use crate::config::document::{Comments, document};
use crate::control::SIGNAL;
use crate::control::server::Answers;
use crate::feeds::Feeds;
use crate::kernel::{Counters, MapUse, Readings, clock, link};
use crate::metrics::sample::{FeedSample, Sample};
use crate::metrics::server::Sampler;
use crate::operator::wish::{Around, Kind, Needs, Wish, refuse_unrecorded};
use crate::operator::{Caller, Desk, OperatorError, Remembered, facts, incidents, records, verb};
use crate::prefix;
use crate::prefix_map::Prefix;
use crate::store::Archive;
use crate::turns;

/// How long a scrape waits for the table of sources to be read anew before it takes the last reading.
const SCRAPE_PATIENCE: Duration = Duration::from_millis(50);

/// Sources whose blocks are looked up before whatever is to be decided gets its turn: some tens of microseconds.
const AT_ONCE: usize = 256;

/// Everything there is to show.
pub(super) struct View {
    pub(super) live: Live,
    /// The way to the desk; none without a daemon.
    pub(super) jobs: Option<Jobs>,
    pub(super) memory: Memory,
    /// Who counts events that come too fast to be decided on; none without a daemon.
    pub(super) informant: Option<Informant>,
    /// Incidents. Without a daemon it hears of none, and reads those in the file of state.
    pub(super) recorder: Recorder,
    /// How many signals are heard.
    pub(super) quota: Quota,
    /// Where decisions are kept.
    pub(super) archive: Archive,
    /// Lines that are in no log.
    pub(super) log: LogTally,
    /// Whether this host forwards packets for others.
    pub(super) forwards: Arc<AtomicBool>,
    /// Whether the kernel part goes on without a daemon.
    pub(super) kept: bool,
    pub(super) started: Instant,
    pub(super) kernel: String,
    pub(super) readings: Readings,
    pub(super) census: Arc<Census>,
}

pub(super) fn kernel_release() -> String {
    nix::sys::utsname::uname().map_or_else(|_| "unknown".into(), |name| name.release().to_string_lossy().into_owned())
}

impl View {
    async fn counters(&self) -> Result<Counters> {
        let readings = self.readings.clone();
        Ok(tokio::task::spawn_blocking(move || readings.counters()).await??)
    }

    async fn interfaces(&self) -> Vec<Interface> {
        let guarded = self.live.read().guarded.clone();
        let mut interfaces = Vec::with_capacity(guarded.len());
        for Guarded { name, attachment } in guarded {
            let Some(attachment) = attachment else {
                let none = || "none".to_owned();
                interfaces.push(Interface { name, driver_mode: none(), attached: false, egress: none() });
                continue;
            };
            let attached = link::describe_index(attachment.index)
                .await
                .is_ok_and(|facts| facts.xdp.is_some_and(|(_, id)| id == attachment.program_id));
            let driver_mode = attachment.driver_mode.label().to_owned();
            let egress = attachment.egress.filter(|egress| egress.is_there(attachment.index));
            let egress = egress.map_or("none", |egress| egress.hook.label()).to_owned();
            interfaces.push(Interface { name, driver_mode, attached, egress });
        }
        interfaces
    }

    fn warnings(&self, interfaces: &[Interface], counters: &Counters, snapshot: &Snapshot) -> Vec<Warning> {
        let maps = fills(&snapshot.maps);
        let now_ns = clock::monotonic_coarse_ns();
        let oldest_ns = snapshot.records.iter().map(|record| record.last_seen_ns).min();
        let state = self.live.read();
        warnings(&Facts {
            daemon: self.jobs.is_some(),
            heartbeat: self.readings.heartbeat_age(),
            interfaces,
            sessions: &state.sessions,
            logins_unseen: state.logins_unseen.as_deref(),
            maps: &maps,
            oldest: oldest_ns.map(|oldest_ns| Duration::from_nanos(now_ns.saturating_sub(oldest_ns))),
            uncounted: counters.get(CounterIndex::verdict(Level::None, Reason::SourcesFull, state.mode)).packets,
            ring_lost: counters.get(CounterIndex::loss(Loss::Events)).packets,
            undecided: self.undecided(),
            unread_lines: self.log.lost().unread,
            unrecorded: counters.get(CounterIndex::loss(Loss::Newcomers)).packets,
            storm: snapshot.storm,
            forwards: self.forwards.load(Ordering::Relaxed),
            reverts: state.mode_at(SystemTime::now()).1,
            archive: &self.archive.health(),
            drifted: state.drifted.as_ref(),
            breaker_open: state.breaker_open,
            pending: state.pending,
            fronted: state.fronted,
            known_proposed: &state.known_proposed,
        })
    }

    fn undecided(&self) -> LostEvents {
        self.informant.as_ref().map(Informant::lost).unwrap_or_default()
    }

    /// Looks how many stacks the sessions of the source show that an address belongs to. None where it belongs to none.
    async fn stacks_of(&self, address: &str) -> Option<(SourceKey, Looked)> {
        let keys = self.live.read().keys;
        let source = source_of(&keys, address)?;
        Some((source, stacks::look_once(keys, source).await))
    }

    /// What must be known besides for a wish.
    async fn around<W: Wish>(&self, wish: &W) -> Around {
        let mut around = Around::now();
        if W::NEEDS == Needs::Facts {
            let also: Vec<_> = wish.logged_in_from().iter().filter_map(|address| address.parse().ok()).collect();
            let safety = self.live.read().safety.clone();
            around.facts = facts::gather(&safety, &also).await;
        }
        if W::NEEDS == Needs::Feeds {
            let feeds: Vec<Feed> = self.live.read().feeds.iter().map(|read| read.feed.clone()).collect();
            let read = move || turns::in_the_background(|| Feeds::read(&feeds, SystemTime::now()));
            around.feeds = match spawn_blocking(read).await {
                Ok(read) => read.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
        }
        around
    }
}

impl Answers for View {
    async fn status(&self) -> Result<Status> {
        let counters = self.counters().await?;
        let snapshot = self.census.take().await?;
        let interfaces = self.interfaces().await;
        let warnings = self.warnings(&interfaces, &counters, &snapshot);
        let takes = if self.jobs.is_some() {
            let started = self.started;
            spawn_blocking(move || takes::now(started.elapsed())).await?
        } else {
            Takes::default()
        };
        let state = self.live.read();
        let (mode, reverts) = state.mode_at(SystemTime::now());
        Ok(Status {
            schema_version: SCHEMA_VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            mode: mode.label().to_owned(),
            mode_reverts_at: reverts.map(timestamp),
            lockdown: state.lockdown_at(SystemTime::now()).cloned(),
            mode_since: state.mode_since_at(SystemTime::now()).map(timestamp),
            daemon: self.jobs.is_some(),
            kept: self.kept,
            interfaces,
            sessions: state.sessions.clone(),
            known: snapshot.maps.iter().find(|map| map.name == "KNOWN").map_or(0, |map| map.entries),
            known_proposed: state.known_proposed.clone(),
            uptime_s: self.started.elapsed().as_secs(),
            kernel: self.kernel.clone(),
            packets: packets(counters.verdicts()),
            counters: Sample::of(&counters, mode).counted(),
            sources: snapshot.records.len() as u64,
            suspects: snapshot.suspects,
            verdicts: VerdictCounts {
                conceal: snapshot.suspects,
                block: [Scope::Private, Scope::All].map(|scope| self.readings.blocks(scope)).iter().sum(),
            },
            would_have: state.would_have,
            observed: self.live.supposed().told(packets(counters.verdicts()).would_drop, &state.keys, now_s()),
            cannot: state.config.cannot(),
            pending: state.pending,
            drift: state.drift,
            ring_lost: counters.get(CounterIndex::loss(Loss::Events)).packets,
            maps: fills(&snapshot.maps),
            takes,
            healthy: !warnings.iter().any(|warning| warning.unhealthy),
            degraded: warnings.iter().any(|warning| warning.degraded),
            warnings,
        })
    }

    async fn sources(&self, query: SourcesQuery) -> Result<SourceList> {
        let snapshot = self.census.take().await?;
        let (keys, rules) = {
            let state = self.live.read();
            (state.keys, state.rules)
        };
        let mut listed = tokio::task::spawn_blocking(move || list(&snapshot, query, &keys, &rules)).await?;
        let are_blocks = [Scope::Private, Scope::All].into_iter().any(|scope| self.readings.blocks(scope) > 0);
        let Some(jobs) = self.jobs.as_ref().filter(|_| are_blocks) else {
            return Ok(listed);
        };
        // A part at a time: what is to be decided comes between.
        for part in listed.sources.chunks_mut(AT_ONCE) {
            let prefixes: Vec<Option<Prefix>> =
                part.iter().map(|source| Some(prefix::parse(&source.source).ok()?.into())).collect();
            let blocks = jobs
                .look(move |desk| prefixes.into_iter().map(|prefix| desk.block_covering(prefix?)).collect::<Vec<_>>());
            for (source, block) in part.iter_mut().zip(blocks.await?) {
                if let Some(block) = block {
                    with_block(source, block.entry());
                }
            }
        }
        Ok(listed)
    }

    async fn incidents(&self, query: IncidentsQuery) -> Result<IncidentList> {
        let (recorder, archive) = (self.recorder.clone(), self.archive.clone());
        let list = spawn_blocking(move || {
            let (open, keys, now) = (recorder.open(), *recorder.keys(), SystemTime::now());
            archive.journal(move |store, _| incidents::list(store, &open, &query, &keys, now))
        });
        Ok(list.await??)
    }

    async fn incident(&self, id: u64) -> Result<Option<Incident>> {
        let (recorder, readings, archive) = (self.recorder.clone(), self.readings.clone(), self.archive.clone());
        let found = spawn_blocking(move || {
            // What is told of sessions otherwise is up to a minute old.
            let sources = recorder.record(id).map(|record| record.sources).unwrap_or_default();
            let met = sources.iter().filter_map(|(source, _)| readings.sessions_of(source).ok().flatten());
            recorder.meet(&met.collect::<Vec<_>>());
            let (open, keys) = (recorder.record(id), *recorder.keys());
            archive.journal(move |store, _| incidents::show(store, open, id, &keys))
        });
        Ok(found.await??)
    }

    async fn operate<W: Wish>(&self, wish: W, caller: Caller) -> Result<W::Answer, OperatorError> {
        let Some(jobs) = &self.jobs else {
            return Err(OperatorError::Failed(anyhow!("no daemon runs")));
        };
        let _reading = if W::NEEDS == Needs::Feeds { Some(jobs.reading().await) } else { None };
        let around = self.around(&wish).await;
        let seen = match wish.address().filter(|_| W::NEEDS == Needs::Memory) {
            Some(address) => self.stacks_of(address).await,
            None => None,
        };
        let (memory, recorder) = (self.memory.clone(), self.recorder.clone());
        let remembered = move |desk: &Desk, decider: &Decider, source: &SourceKey| {
            let looked = seen.filter(|(whose, _)| whose == source).map(|(_, looked)| looked);
            let Explained { policy, behind, decoys } = decider.explain(desk, source, looked);
            Remembered {
                evidence: memory.of(source),
                answered: memory.answers_to(source),
                proof: memory.proofs_of(source),
                decoys,
                signals: memory.signals_about(source),
                behind: Some(behind),
                is_watched: true,
                policy,
                incident: recorder.of_source(source),
            }
        };
        let work = move |Hands { desk, decider }: Hands<'_>, mut around: Around| {
            match (W::NEEDS, wish.address()) {
                (Needs::Memory, Some(address)) => {
                    around.remembered = remembered(desk, decider, &desk.source_named(address)?);
                }
                (Needs::Memories, _) => {
                    let waiting = desk.pending_sources();
                    let first = waiting.iter().take(MOST_WHYS);
                    around.waiting = first.map(|source| remembered(desk, decider, source)).collect();
                }
                _ => {}
            }
            if W::KIND == Kind::Read {
                return wish.carry_out(desk, around);
            }
            let (asked, now) = (wish.clone(), around.now);
            let outcome = refuse_unrecorded(&wish, desk.archive()).and_then(|()| wish.carry_out(desk, around));
            desk.audit_wish(caller, &asked, &outcome, now);
            outcome
        };
        if W::KIND == Kind::Change {
            return jobs.change(move |hands| work(hands, around)).await;
        }
        let mut answer = jobs.ask(move |hands| work(hands, around)).await?;
        let archive = self.archive.clone();
        let completed = spawn_blocking(move || {
            W::complete(&mut answer, &archive);
            answer
        });
        Ok(completed.await.map_err(anyhow::Error::from)?)
    }

    fn admit(&self, signal: &Signal) -> Result<(), OperatorError> {
        let (keys, limits) = {
            let state = self.live.read();
            (state.keys, state.signals)
        };
        self.quota.take(&limits, source_of(&keys, &signal.address), Instant::now())
    }

    async fn signal(&self, signal: Signal, caller: Caller) -> Result<Signalled, OperatorError> {
        let Some(jobs) = &self.jobs else {
            return Err(OperatorError::Failed(anyhow!("no daemon runs")));
        };
        // What it is good for depends on who else is behind the address.
        let seen = if signal.proof { self.stacks_of(&signal.address).await } else { None };
        let (memory, recorder) = (self.memory.clone(), self.recorder.clone());
        let heard = jobs.change(move |hands| {
            if let Some((source, looked)) = seen {
                hands.decider.saw(source, looked);
            }
            let now = SystemTime::now();
            let outcome =
                Hearsay { memory: &memory, recorder: &recorder }.hear(&signal, hands.decider, hands.desk, now);
            hands.desk.audit(caller, &verb(SIGNAL), &signal, &outcome, now);
            outcome
        });
        heard.await
    }

    async fn audit(&self, query: AuditQuery) -> Result<AuditList, OperatorError> {
        let (since, limit) = records::audit_wanted(&query)?;
        let archive = self.archive.clone();
        let read = move || archive.journal(move |store, journal| records::audit(store, journal, since, limit));
        Ok(spawn_blocking(read).await.map_err(anyhow::Error::from)?.map_err(anyhow::Error::from)?)
    }

    async fn history(&self, query: HistoryQuery) -> Result<BlockHistory, OperatorError> {
        let (prefix, since, limit) = records::history_wanted(&query)?;
        let archive = self.archive.clone();
        let read = move || {
            archive.journal(move |store, journal| records::history(store, journal, prefix.as_deref(), since, limit))
        };
        Ok(spawn_blocking(read).await.map_err(anyhow::Error::from)?.map_err(anyhow::Error::from)?)
    }

    async fn running(&self) -> Result<RunningConfig, OperatorError> {
        let config = Arc::clone(&self.live.read().config);
        Ok(RunningConfig { schema_version: SCHEMA_VERSION, text: document(&config, Comments::Without) })
    }

    async fn reload(&self, caller: Caller) -> Result<Reloaded, OperatorError> {
        let Some(jobs) = &self.jobs else {
            return Err(OperatorError::Failed(anyhow!("no daemon runs")));
        };
        jobs.reload(caller).await
    }
}

impl Sampler for View {
    async fn sample(&self) -> Result<Sample> {
        let counters = self.counters().await?;
        let snapshot = self.census.take_within(SCRAPE_PATIENCE).await?;
        let interfaces = self.interfaces().await;
        let warnings = self.warnings(&interfaces, &counters, &snapshot);
        let recorder = self.recorder.clone();
        let incidents = tokio::task::spawn_blocking(move || recorder.tally()).await?;
        let (state, archive, now) = (self.live.read().clone(), self.archive.health(), SystemTime::now());
        Ok(Sample {
            mode: state.mode_at(now).0,
            configured: state.configured,
            lockdown: state.lockdown_at(now).is_some(),
            healthy: !warnings.iter().any(|warning| warning.unhealthy),
            degraded: warnings.iter().any(|warning| warning.degraded),
            warnings: by_code(&warnings),
            config_read: (state.config_read.succeeded, state.config_read.in_force_since),
            incidents: incidents.opened,
            incidents_open: incidents.open,
            incident_events_lost: incidents.lost,
            undecided: {
                let LostEvents { proofs, rest } = self.undecided();
                (proofs, rest)
            },
            records: (archive.records_waiting, archive.records_lost),
            log_lines: {
                let LostLines { unread, repeated } = self.log.lost();
                [("unread", unread), ("repeated", repeated)]
            },
            decisions: state.decisions.into_iter().collect(),
            decision_seconds: Some(self.live.decision_seconds()),
            drift: state.drift,
            repairs: state.repairs.into_iter().collect(),
            state: (archive.trouble.is_some(), archive.failures, archive.files_set_aside),
            breaker_open: state.breaker_open,
            pending: state.pending,
            would_have: state.would_have,
            signals: {
                let SignalTally { heard, over_per_source, over_per_minute } = self.quota.tally();
                [("heard", heard), ("over_per_source", over_per_source), ("over_per_minute", over_per_minute)]
            },
            feeds: state.feeds.into_iter().map(|read| feed_sample(read, now)).collect(),
            sources: snapshot.records.len() as u64,
            suspects: snapshot.suspects,
            blocks: [Scope::Private, Scope::All].map(|scope| (scope, self.readings.blocks(scope))),
            heartbeat: self.readings.heartbeat_age(),
            maps: fills(&snapshot.maps),
            interfaces,
            ..Sample::of(&counters, state.mode)
        })
    }

    async fn ailment(&self) -> Option<String> {
        match self.status().await {
            Ok(status) => status.warnings.into_iter().find(|warning| warning.unhealthy).map(|warning| warning.message),
            Err(error) => Some(format!("{error:#}")),
        }
    }
}

/// Seconds since 1970.
fn now_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The source that an address belongs to, if it is one, and is ever judged.
fn source_of(keys: &KeyRules, address: &str) -> Option<SourceKey> {
    let address = prefix::parse(address).ok()?.ip();
    keys.source_of(address.into(), if address.is_ipv4() { 4 } else { 6 })
}

fn feed_sample(read: FeedRead, now: SystemTime) -> FeedSample {
    let FeedRead { feed, prefixes, read_at } = read;
    FeedSample { name: feed.name, prefixes, age: now.duration_since(read_at).unwrap_or_default() }
}

/// How many warnings there are of each kind.
fn by_code(warnings: &[Warning]) -> Vec<(&'static str, u64)> {
    let count = |code: &str| warnings.iter().filter(|warning| warning.code == code).count() as u64;
    WARNING_CODES.map(|code| (code, count(code))).to_vec()
}

fn fills(maps: &[MapUse]) -> Vec<MapFill> {
    let fill = |map: &MapUse| {
        let MapUse { name, entries, capacity, bytes } = *map;
        MapFill { name: name.to_owned(), entries, capacity, bytes }
    };
    maps.iter().map(fill).collect()
}
