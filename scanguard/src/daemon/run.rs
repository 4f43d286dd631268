//! From start to clean stop.

use std::env;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, anyhow};
use nix::unistd::geteuid;
use sd_notify::NotifyState;
use tokio::sync::mpsc;
use tokio::task::{JoinSet, block_in_place};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info, warn};

use super::addresses::OwnAddresses;
use super::aside::Aside;
use super::census::Census;
use super::decide::Decider;
use super::events::{Haste, Hearers, Moved};
use super::incidents::Recorder;
use super::interfaces::Interfaces;
use super::jobs::{Hands, Job, Jobs};
use super::listed::packets;
use super::listening::{OwnPorts, group_named, metrics_listener, serve_control};
use super::live::{ConfigRead, FeedRead, Live, State};
use super::logging::{LogTally, Missing};
use super::logins::LoginWatch;
use super::memory::Memory;
use super::ports::PortWatch;
use super::quota::Quota;
use super::reconcile::Reconciler;
use super::signals::{Signal, Signals};
use super::start::Loaded;
use super::view::View;
use super::{events, logging, reload, start};
use crate::api::Reloaded;
use crate::config::{Config, LogFormat, file};
use crate::control::gate::Gate;
use crate::control::socket::{self, SocketFile};
use crate::exit::{ExitStatus, Failure, OrExit as _};
use crate::feeds::Feeds;
use crate::kernel::{KernelError, Program, Readings, memory};
use crate::known::Fronted;
use crate::logins::{Login, Seen};
use crate::operator::{self, Caller, Desk, LiveSources, OperatorError};
use crate::store::Archive;
use crate::turns;
use crate::{control, http, known, metrics};
use scanguard_common::reason::Mode;
use scanguard_common::session::SessionRecord;
use scanguard_common::source::SourceKey;

/// Threads that answer questions and read events; none is needed for packets.
const WORKERS: usize = 2;
/// How often the kernel part is told that somebody watches: several times within its patience
/// ([`scanguard_common::config::HEARTBEAT_LIMIT_NS`]). What ends by itself is cleared up as often.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How often everybody's sessions are read. Who worked on a restricted port is known at once.
const MEETING: Duration = Duration::from_secs(60);
/// How long the end waits for threads that read what nobody needs any more: a file system that hangs holds none of them for ever.
const LINGER: Duration = Duration::from_secs(5);
/// Sources whose sessions began or ended that may wait until it is looked whether they worked; more of them wait for the next reading of all.
const MOVED: usize = 256;

/// What the command line says; it wins over the file.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Interfaces to guard; the file's if empty.
    pub interfaces: Vec<String>,
    /// The configuration file; the default one, which need not exist, if not named.
    pub config: Option<PathBuf>,
    /// The control socket; the file's if not named.
    pub socket: Option<PathBuf>,
    /// Whether the kernel part goes on when the daemon ends, whatever the file says.
    pub keep: bool,
    /// Whether log lines may be coloured.
    pub color: bool,
    /// Whether to log JSON, whatever the file says.
    pub json: bool,
}

impl Options {
    /// Reads the file and adds what the command line says.
    pub(super) fn load(&self) -> Result<file::Loaded, file::LoadError> {
        let Self { interfaces, config, socket, keep, color: _, json } = self;
        let mut loaded = file::load(config.as_deref())?;
        if !interfaces.is_empty() {
            loaded.config.interfaces.clone_from(interfaces);
        }
        if let Some(socket) = socket {
            loaded.config.control_socket.clone_from(socket);
        }
        loaded.config.keep |= keep;
        if *json {
            loaded.config.log.format = LogFormat::Json;
        }
        Ok(loaded)
    }

    /// Whether an interface that is not there is waited for: at boot the driver may come later than the daemon. Whoever types its name is told.
    fn waits_for_interfaces(&self) -> bool {
        self.interfaces.is_empty() || env::var_os("NOTIFY_SOCKET").is_some()
    }
}

/// Runs the daemon until a signal asks it to stop.
///
/// # Errors
/// With the exit code for what went wrong. Nothing stays attached, unless it is to be kept.
pub fn run(options: Options) -> Result<ExitStatus, Failure> {
    start::preflight()?;
    let file::Loaded { config, file } = options.load().or_exit(ExitStatus::Usage)?;
    let log = logging::start(&config.log, options.color)?;
    match file {
        Some(file) => info!(file = %file.display(), "configuration read"),
        None => info!("there is no {}: the defaults hold", file::DEFAULT_FILE),
    }
    // Before anything is loaded: a feed that is wrong is a configuration that is.
    let feeds = Feeds::read(&config.feeds, SystemTime::now()).or_exit(ExitStatus::Usage)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .on_thread_start(turns::ask_for_short_ones)
        .build()
        .context("cannot start the runtime")?;
    let ended = runtime.block_on(daemon(config, feeds, options, log.tally()));
    runtime.shutdown_timeout(LINGER);
    drop(log);
    ended?;
    Ok(ExitStatus::Done)
}

/// Everything that the main loop owns. Fields are dropped in this order: nobody can ask any more, then the kernel part goes, and then the
/// socket is free for the next one.
struct Daemon {
    tasks: JoinSet<&'static str>,
    jobs: mpsc::Receiver<Job>,
    desk: Desk,
    program: Program,
    decider: Decider,
    recorder: Recorder,
    ports: PortWatch,
    addresses: OwnAddresses,
    interfaces: Interfaces,
    reconciler: Reconciler,
    logins: LoginWatch,
    /// Whose sessions go on.
    going_on: Aside<Result<LiveSources, KernelError>>,
    /// Everybody's sessions, and whether proxies are in front.
    meeting: Aside<Met>,
    config: Config,
    asks: Jobs,
    live: Live,
    /// The score of a block.
    cap: Arc<AtomicU32>,
    /// Sources whose sessions on restricted ports began or ended.
    moved: mpsc::Receiver<Moved>,
    /// Lines that are in no log, and which of them it tells of.
    log: LogTally,
    missing: Missing,
    socket_file: SocketFile,
}

async fn daemon(config: Config, feeds: Feeds, options: Options, log: LogTally) -> Result<(), Failure> {
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    // The socket comes first: it tells whether another daemon runs, before anything is loaded.
    let group = config.control_group.as_deref().map(group_named).transpose()?;
    let (control_listener, socket_file) = socket::claim(&config.control_socket, group).or_exit(ExitStatus::Failed)?;
    let gate = Gate { owner: geteuid().as_raw(), group: socket_file.group() };
    let metrics_listener = metrics_listener(&config).await?;
    let own_ports = OwnPorts::of(metrics_listener.as_ref());
    let names = start::find(&config.interfaces, options.waits_for_interfaces()).await?;
    let Loaded { mut program, mut desk, events, proofs, ports, addresses, taken_over } =
        start::load(&config, own_ports).await?;
    desk.set_feeds(feeds);
    let guarded = match start::attach(&mut program, &names, &config).await {
        Ok(guarded) => guarded,
        Err(failure) => {
            // What an earlier daemon left goes on as it was; what this one pinned is of no use to anybody.
            match taken_over {
                Some(settings) => {
                    if let Err(error) = desk.tables().set_config(&settings) {
                        warn!(%error, "the settings of the daemon before are lost: this one's are in force");
                    }
                }
                None => {
                    if let Err(error) = program.give_up() {
                        warn!(%error, "pins are left behind: `scanguard detach` removes them");
                    }
                }
            }
            return Err(failure);
        }
    };
    let before_ns = taken_over.map(|settings| settings.egress_since_ns).filter(|since_ns| *since_ns != u64::MAX);
    let interfaces = Interfaces::follow(&config.interfaces, config.attach, guarded, &names, before_ns)?;
    desk.tables().set_egress(interfaces.leaving_since_ns()).or_exit(ExitStatus::Failed)?;
    desk.tables().set_nics(&interfaces.nics()).or_exit(ExitStatus::Failed)?;
    let sessions = start::watch_sessions(&mut program, &config.cgroup);
    program.forget_former().or_exit(ExitStatus::Failed)?;
    // After the last that pins.
    if !config.keep {
        program.unpin().or_exit(ExitStatus::Failed)?;
    }

    let live = Live::new(State {
        mode: desk.mode_now(),
        mode_since: block_in_place(|| mode_since(desk.archive(), desk.mode_now())),
        config: Arc::new(config.clone()),
        reverts: desk.reverts(),
        lockdown: desk.lockdown_brief(),
        configured: config.mode,
        config_read: ConfigRead::now(),
        keys: config.key_rules(),
        rules: config.score.rules(),
        safety: config.safety.clone(),
        signals: config.signals,
        guarded: interfaces.guarded().to_vec(),
        feeds: desk.feeds().iter().map(FeedRead::of).collect(),
        sessions,
        logins_unseen: None,
        drift: 0,
        drifted: None,
        repairs: std::collections::BTreeMap::new(),
        breaker_open: false,
        pending: desk.pending() as u64,
        fronted: None,
        known_proposed: Vec::new(),
        would_have: crate::api::WouldHave::default(),
        decisions: std::collections::BTreeMap::new(),
    })?;
    let counters = block_in_place(|| desk.read_tables().readings().counters()).or_exit(ExitStatus::Failed)?;
    live.supposed().begin(SystemTime::now(), packets(counters.verdicts()).would_drop);
    let recorder =
        block_in_place(|| Recorder::start(Some(desk.archive().clone()), config.key_rules(), Some(live.clone())));
    let sources = (config.key_rules(), config.sources.shared.clone());
    let decider = Decider::start(&desk, config.blocks, sources, recorder.clone(), live.clone());
    let (memory, cap) = (Memory::default(), Arc::new(AtomicU32::new(config.score.rules().cap)));
    let (asks, jobs) = Jobs::new(options, desk.archive().clone());
    let (movements, moved) = mpsc::channel(MOVED);
    let readings = desk.read_tables().readings();
    let view = Arc::new(View {
        live: live.clone(),
        jobs: Some(asks.clone()),
        memory: memory.clone(),
        informant: Some(decider.informant()),
        recorder: recorder.clone(),
        forwards: ports.forwards(),
        quota: Quota::default(),
        archive: desk.archive().clone(),
        log: log.clone(),
        kept: config.keep,
        started: Instant::now(),
        kernel: super::view::kernel_release(),
        census: Census::new(readings.clone()),
        readings,
    });
    let hearers = Arc::new(Hearers {
        keys: config.key_rules(),
        sightings: ports.sightings(),
        memory,
        informant: decider.informant(),
        recorder: recorder.clone(),
        movements,
        cap: Arc::clone(&cap),
    });
    let mut tasks = JoinSet::new();
    tasks.spawn(named("events", events::drain(events, Arc::clone(&hearers), Haste::Gathered)));
    tasks.spawn(named("proofs", events::drain(proofs, hearers, Haste::AtOnce)));
    tasks.spawn(named("incidents", recorder.clone().run()));
    tasks.spawn(named("control", serve_control(control_listener, Arc::clone(&view), gate)));
    if let Some(listener) = metrics_listener {
        tasks.spawn(named("metrics", http::serve_anybody(listener, metrics::server::router(view))));
    }
    info!(mode = desk.mode_now().label(), socket = %config.control_socket.display(), keep = config.keep, "ready");
    notify(NotifyState::Ready);

    let mut daemon = Daemon {
        tasks,
        jobs,
        desk,
        program,
        decider,
        recorder,
        ports,
        addresses,
        interfaces,
        reconciler: Reconciler::new(live.clone()),
        logins: LoginWatch::new(config.safety.logins.clone()),
        going_on: Aside::default(),
        meeting: Aside::default(),
        config,
        asks,
        live,
        cap,
        moved,
        log,
        missing: Missing::default(),
        socket_file,
    };
    daemon.meet_all();
    daemon.logins.look();
    let seen = daemon.logins.looked().await.unwrap_or_default();
    daemon.see_logged_in(seen);
    memory::give_back();
    turns::ask_for_short_ones(); // This thread decides. Those that keep and write were started before, and do not get them.
    let outcome = daemon.until_stopped(&mut signals).await;
    notify(NotifyState::Stopping);
    daemon.stop().await;
    Ok(outcome?)
}

impl Daemon {
    /// Keeps the kernel part alive and true until a signal comes, or a task ends that should not.
    async fn until_stopped(&mut self, signals: &mut Signals) -> Result<()> {
        let mut heartbeat = interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut meeting = interval(MEETING);
        meeting.set_missed_tick_behavior(MissedTickBehavior::Delay);
        meeting.reset();
        loop {
            tokio::select! {
                signal = signals.next() => match signal {
                    Signal::Stop(name) => {
                        info!(signal = name, "stopping");
                        return Ok(());
                    }
                    Signal::Reload => self.ask_to_reload(),
                },
                _ = heartbeat.tick() => self.beat(),
                _ = meeting.tick() => self.ask_whom_to_meet(),
                Some(met) = self.meeting.looked() => block_in_place(|| self.meet_those(met)),
                step = self.reconciler.next() => {
                    self.reconciler.step(step, &mut self.desk);
                    self.desk.keep_all();
                }
                Some(moved) = self.moved.recv() => self.follow(moved),
                Some(job) = self.jobs.recv() => self.work(job).await,
                Some(due) = self.decider.next() => block_in_place(|| self.decider.decide(due, &mut self.desk)),
                () = self.addresses.asked() => self.addresses.take_over(self.desk.tables()),
                () = self.ports.looked() => self.ports.take_over(self.desk.tables()),
                Some(seen) = self.logins.looked() => self.see_logged_in(seen),
                Some(live) = self.going_on.looked() => match live {
                    Ok(live) => self.desk.set_live(live),
                    Err(error) => warn!(%error, "cannot read whose sessions go on: each decision reads them"),
                },
                () = self.interfaces.changed() => {
                    self.interfaces.refresh(&mut self.program).await;
                    if let Err(error) = self.desk.tables().set_egress(self.interfaces.leaving_since_ns()) {
                        warn!(%error, "the kernel part cannot be told whether all that leaves is seen");
                    }
                    if let Err(error) = self.desk.tables().set_nics(&self.interfaces.nics()) {
                        warn!(%error, "the kernel part cannot be told by which interfaces it may answer");
                    }
                    self.publish();
                }
                Some(ended) = self.tasks.join_next() => {
                    return Err(match ended {
                        Ok(task) => anyhow!("the task for {task} ended by itself"),
                        Err(error) => anyhow!("a task of the daemon failed: {error}"),
                    });
                }
            }
        }
    }

    /// What is due every few seconds.
    fn beat(&mut self) {
        self.reconciler.settings(&mut self.desk); // Before they are written.
        if let Err(error) = self.desk.turn_challenge_key() {
            warn!(%error, "cannot replace the key of challenges: the one before stays");
        }
        if let Err(error) = self.desk.tables().beat() {
            warn!(%error, "cannot tell the kernel part that the daemon lives: it will suspect nobody");
        }
        let now = SystemTime::now();
        block_in_place(|| {
            if let Err(error) = self.desk.expire(now) {
                warn!(%error, "what is over could not be cleared up; the kernel part keeps to its time all the same");
            }
            self.decider.catch_up(&mut self.desk, now);
            self.desk.keep_people();
        });
        if self.config.safety.leases {
            self.logins.look();
        }
        let readings = self.desk.read_tables().readings();
        self.going_on.look(move || LiveSources::read(&readings));
        self.missing.tell(&self.log);
        self.publish();
        notify(NotifyState::Watchdog); // Nobody else feeds it: a daemon that decides nothing is started anew.
    }

    /// A session on a restricted port began or ended: whoever came may be logged in, and may have worked there.
    fn follow(&mut self, moved: Moved) {
        self.logins.moved();
        if let Moved::Ended(source) = moved {
            self.meet(source);
        }
    }

    /// Takes note of a source that may have worked on a restricted port.
    fn meet(&mut self, source: SourceKey) {
        block_in_place(|| match self.desk.read_tables().readings().sessions_of(&source) {
            Ok(record) => self.desk.meet(record.as_slice(), SystemTime::now()),
            Err(error) => warn!(%error, "cannot read the sessions of somebody who worked on a restricted port"),
        });
    }

    /// Takes note of everybody's sessions, and forgets who was not here for long.
    fn meet_all(&mut self) {
        block_in_place(|| {
            let met = meet_all(&self.desk.read_tables().readings(), &self.recorder);
            self.meet_those(met);
        });
    }

    /// Has everybody's sessions read, on another thread.
    fn ask_whom_to_meet(&mut self) {
        let (readings, recorder) = (self.desk.read_tables().readings(), self.recorder.clone());
        self.meeting.look(move || meet_all(&readings, &recorder));
    }

    fn meet_those(&mut self, met: Met) {
        let now = SystemTime::now();
        match met {
            Ok((records, fronted)) => {
                self.desk.meet_late(records, now);
                self.live.change(|state| state.fronted = fronted);
            }
            Err(error) => warn!(%error, "cannot read who had sessions"),
        }
        self.desk.forget_strangers(now);
        self.desk.keep_people();
        let proposed = self.desk.proposed(now);
        self.live.change(|state| state.known_proposed = proposed);
    }

    /// Takes note of those who are logged in.
    fn see_logged_in(&mut self, Seen { logins, unseen }: Seen) {
        let unseen = unseen.filter(|_| self.config.safety.leases);
        self.live.change(|state| {
            if let Some(reason) = unseen.as_ref().filter(|_| state.logins_unseen.is_none()) {
                warn!(reason, "who is logged in is not seen, and not put on the allowlist");
            }
            state.logins_unseen = unseen;
        });
        let counts_sessions = self.live.read().sessions.watched;
        block_in_place(|| self.desk.meet_logged_in(&logins, counts_sessions, SystemTime::now()));
        if self.config.safety.leases {
            self.lease(&logins);
        }
    }

    /// Puts those who are logged in on the allowlist meanwhile.
    fn lease(&mut self, logged_in: &[Login]) {
        let leases: Vec<_> =
            logged_in.iter().map(|login| (self.desk.lease_prefix(login.address), login.user.clone())).collect();
        let (now, lasts) = (SystemTime::now(), self.config.safety.lease);
        if let Err(error) = block_in_place(|| self.desk.lease(&leases, now, lasts)) {
            warn!(%error, "those who are logged in could not be put on the allowlist");
        }
    }

    async fn work(&mut self, job: Job) {
        match job {
            Job::Work(work) => {
                block_in_place(|| work(Hands { desk: &mut self.desk, decider: &mut self.decider }));
                self.decider.catch_up(&mut self.desk, SystemTime::now());
                self.publish();
            }
            Job::Look(look) => look(&self.desk),
            Job::Reload(caller, read, asked) => {
                let since = self.desk.archive().mark();
                let reloaded = self.reload(caller, *read).await;
                self.live.change(|state| match &reloaded {
                    Ok(_) => state.config_read = ConfigRead::now(),
                    Err(_) => state.config_read.succeeded = false,
                });
                if let Ok(reloaded) = &reloaded {
                    reload::tell(reloaded);
                }
                let _ = asked.send((reloaded, since, self.desk.archive().mark())); // Whoever asked may be gone.
            }
        }
    }

    /// Has the configuration read anew, for nobody who waits for an answer.
    fn ask_to_reload(&self) {
        let asks = self.asks.clone();
        tokio::spawn(async move {
            let caller = Caller { program: Some("SIGHUP".into()), ..Caller::default() };
            match asks.reload(caller).await {
                Ok(_) => {}
                Err(OperatorError::Unsaved { why, .. }) => {
                    warn!(
                        why,
                        "the configuration was read anew and is in force; the state file does not know of it yet"
                    );
                }
                Err(error) => error!(%error, "the configuration was not read anew: what was in force stays"),
            }
        });
    }

    async fn reload(
        &mut self,
        caller: Caller,
        read: Result<reload::Read, OperatorError>,
    ) -> Result<Reloaded, OperatorError> {
        let Self { desk, decider, ports, logins, config, cap, .. } = self;
        let reloaded = read.and_then(|read| block_in_place(|| reload::put_in_force(read, config, desk)));
        logins.set_watcher(config.safety.logins.clone());
        desk.audit(caller, &operator::verb(control::RELOAD), &serde_json::json!({}), &reloaded, SystemTime::now());
        let reloaded = reloaded?;
        desk.archive().limit(config.retention);
        decider.set(config.blocks, config.key_rules(), config.sources.shared.clone());
        ports.set(&config.ports);
        ports.refresh(desk.tables()).await;
        cap.store(config.score.rules().cap, Ordering::Relaxed);
        self.publish();
        Ok(reloaded)
    }

    /// Shows the listeners what there is now.
    fn publish(&self) {
        let mode = self.desk.mode_now();
        let is_new_mode = mode != self.live.read().mode;
        if is_new_mode {
            self.desk.archive().write(move |store| store.mode_since(mode.label(), now_s()).map(drop));
        }
        self.live.change(|state| {
            if is_new_mode {
                state.mode_since = Some(SystemTime::now());
            }
            if *state.config != self.config {
                state.config = Arc::new(self.config.clone());
            }
            state.mode = mode;
            state.reverts = self.desk.reverts();
            state.lockdown = self.desk.lockdown_brief();
            state.configured = self.config.mode;
            state.pending = self.desk.pending() as u64;
            state.rules = self.config.score.rules();
            state.keys = self.config.key_rules();
            state.safety = self.config.safety.clone();
            state.signals = self.config.signals;
            state.guarded = self.interfaces.guarded().to_vec();
            state.feeds = self.desk.feeds().iter().map(FeedRead::of).collect();
        });
    }

    async fn stop(mut self) {
        self.meet_all(); // What was counted since, before it goes.
        self.decider.keep_all(&mut self.desk);
        let Self { mut tasks, recorder, desk, program, ports, config, socket_file, .. } = self;
        tasks.shutdown().await;
        block_in_place(|| recorder.tick()); // What was heard last.
        drop(desk);
        program.leave();
        ports.stop().await;
        drop(socket_file);
        if config.keep {
            info!(
                pins = %config.pins.display(),
                "stopped; the kernel part goes on with what it has. `scanguard detach` ends it, a new daemon takes over"
            );
        } else {
            info!("stopped; nothing stays attached");
        }
    }
}

/// Everybody's sessions, and whether proxies are in front of this host.
type Met = Result<(Vec<SessionRecord>, Option<Fronted>), KernelError>;

/// Since when a mode has been in force, which is kept: from now on, if there was another one. None where the file of state does not say.
fn mode_since(archive: &Archive, mode: Mode) -> Option<SystemTime> {
    let since = archive.ask(move |store| store.mode_since(mode.label(), now_s()));
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(since.ok()?))
}

/// Seconds since 1970.
fn now_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Reads everybody's sessions and has the incidents hear of them. Blocks for as long as that takes.
fn meet_all(readings: &Readings, recorder: &Recorder) -> Met {
    let records = readings.sessions()?;
    recorder.meet(&records);
    let fronted = known::fronted(&records);
    Ok((records, fronted))
}

async fn named(name: &'static str, task: impl Future<Output = ()>) -> &'static str {
    task.await;
    name
}

/// Tells systemd, if it started us and wants to know.
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        warn!(%error, "cannot tell the service manager");
    }
}
