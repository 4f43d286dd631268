//! Keeps the kernel part's classes of ports true.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use scanguard_common::class::{PortClass, Protocol};
use scanguard_common::opened::Endpoint;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle, block_in_place, spawn_blocking};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::{debug, info, warn};

use super::keeper::{self, Keeper, Kept, ToKeep};
use super::listening::OwnPorts;
use crate::api::timestamp;
use crate::config::{Config, Ports};
use crate::kernel::{KernelError, Ours, Readings, Tables, clock};
use crate::net::{DiagError, Listener, NetSettings, SettingsError, listeners};
use crate::ports::{Changes, Observation, PortTracker};
use crate::store::Opened;

/// How often to look. The kernel asks for a socket itself before it holds a port against anybody, so this need not be more.
const LOOK: Duration = Duration::from_millis(500);
/// How often to read which ports answer.
const ANSWERS: Duration = Duration::from_secs(60);
/// Sightings that may wait for a look; more of them are of ports that the look finds anyway.
const SIGHTINGS: usize = 64;

/// The host's ports as last told to the kernel part.
pub(super) struct PortWatch {
    tracker: PortTracker,
    own: OwnPorts,
    keeper: Keeper,
    look: Interval,
    /// A look that goes on, on another thread: nothing else waits for it.
    looking: Option<JoinHandle<Look>>,
    /// What it found, until that is taken over.
    found: Option<Look>,
    sightings: (Sightings, mpsc::Receiver<Sighted>),
    /// When what answered is to be read from the kernel part again.
    answers_due: Instant,
    /// The kernel part knows what answered before, and all of it is worth keeping.
    readings: Readings,
    /// The kernel part has other classes than the tracker.
    untold: bool,
    /// What was complained of and still is so.
    complaints: Complaints,
    forwards: Arc<AtomicBool>,
    /// The state file is asked, on another thread, since when networks are protected.
    protecting: Option<JoinHandle<u64>>,
}

/// What a look finds.
struct Look {
    listeners: Result<HashSet<Listener>, DiagError>,
    settings: Result<NetSettings, SettingsError>,
    /// Which endpoints answered, and this host's own addresses, where it is time to read that.
    answering: Option<Result<Answering, KernelError>>,
}

/// Endpoints with when they were seen last, and this host's own addresses.
type Answering = (Vec<(Endpoint, u64)>, Ours);

/// What could not be seen at the last look.
#[derive(Clone, Copy, Default)]
struct Complaints {
    listeners: bool,
    settings: bool,
}

/// How a port turned out to be open.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Sighting {
    /// A socket was found on it.
    Socket,
    /// It answered, without a socket here.
    Answer,
    /// It is of a protected network, and answered.
    Elsewhere,
}

/// What was sighted, on which port.
type Sighted = (Sighting, Protocol, u16);

/// Tells the watch of ports that turned out to be open. Cheap to clone.
#[derive(Clone)]
pub(super) struct Sightings(mpsc::Sender<Sighted>);

impl Sightings {
    /// A port that was thought to be closed is open: look at once, and remember it. Never waits.
    pub(super) fn tell(&self, sighting: Sighting, protocol: Protocol, port: u16) {
        // A full queue means that a look is due anyway.
        let _ = self.0.try_send((sighting, protocol, port));
    }
}

/// Waits for an answer, for ever where nothing is asked. Cancel safe.
async fn answer<T>(asked: &mut Option<JoinHandle<T>>) -> Result<T, JoinError> {
    match asked {
        Some(asked) => asked.await,
        None => std::future::pending().await,
    }
}

impl PortWatch {
    /// Remembers, looks and tells the kernel part what is there.
    pub(super) async fn follow(
        config: &Config,
        own: OwnPorts,
        (keeper, kept): (Keeper, Kept),
        tables: &mut Tables,
    ) -> anyhow::Result<Self> {
        let Kept { first_run, opened, answering } = kept;
        let moment = |seconds| clock::system_to_monotonic(UNIX_EPOCH + Duration::from_secs(seconds));
        tables.restore_opened(answering.into_iter().map(|(endpoint, last_seen)| (endpoint, moment(last_seen))))?;
        let remembered = opened.into_iter().map(|Opened { protocol, port, last_seen }| (protocol, port, last_seen));
        let (sender, receiver) = mpsc::channel(SIGHTINGS);
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        look.reset();
        let mut watch = Self {
            tracker: PortTracker::new(&own.restricted_in(&config.ports), first_run, remembered),
            own,
            keeper,
            look,
            looking: None,
            found: None,
            sightings: (Sightings(sender), receiver),
            answers_due: Instant::now(),
            readings: tables.readings(),
            untold: true,
            complaints: Complaints::default(),
            forwards: Arc::default(),
            protecting: None,
        };
        watch
            .protect(block_in_place(|| keeper::protecting_since(watch.keeper.archive(), &config.ports.protect, now())));
        let found = watch.begin_look().await?;
        let changes = watch.observe(found);
        watch.tell_kernel(tables)?;
        watch.untold = false;
        watch.tell_start(&changes);
        Ok(watch)
    }

    /// A handle for whoever meets open ports.
    pub(super) fn sightings(&self) -> Sightings {
        self.sightings.0.clone()
    }

    /// The first and the last port that the kernel gives to sockets of this host's clients.
    pub(super) const fn ephemeral(&self) -> (u16, u16) {
        self.tracker.seen().settings.ephemeral
    }

    /// The first and the last port to which answers come, for connections that start here.
    ///
    /// A host that forwards may also translate: connections of those behind it then leave from any port that an ordinary client may
    /// have (`nf_nat_l4proto_unique_tuple` in net/netfilter/nf_nat_core.c keeps to 1024 and above for these), and no socket here says so.
    fn answered(&self) -> (u16, u16) {
        const ANY_CLIENTS: (u16, u16) = (1024, u16::MAX);
        if self.tracker.seen().settings.forwards { ANY_CLIENTS } else { self.ephemeral() }
    }

    /// Whether this host forwards packets for others, kept up to date.
    pub(super) fn forwards(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.forwards)
    }

    /// Waits until it was looked, on another thread, what is there; [`Self::take_over`] puts it in force. Cancel safe.
    pub(super) async fn looked(&mut self) {
        loop {
            if let Some(looking) = &mut self.looking {
                match looking.await {
                    Ok(found) => self.found = Some(found),
                    Err(error) => warn!(%error, "cannot look which ports are open"),
                }
                self.looking = None;
                if self.found.is_some() {
                    return;
                }
            }
            tokio::select! {
                _ = self.look.tick() => {}
                Some(sighted) = self.sightings.1.recv() => self.sight(sighted),
                since = answer(&mut self.protecting) => {
                    self.protecting = None;
                    if let Ok(since) = since {
                        self.protect(since);
                    }
                }
            }
            self.looking = Some(self.begin_look());
        }
    }

    fn sight(&mut self, (sighting, protocol, port): Sighted) {
        match sighting {
            Sighting::Socket => self.tracker.seen_open(protocol, port, now()),
            Sighting::Answer => self.tracker.seen_answering(protocol, port, now()),
            Sighting::Elsewhere => {}
        }
        if sighting != Sighting::Socket {
            self.keeper.changed();
        }
    }

    /// Looks what is there, at once, and tells the kernel part if it is something else. What fails is tried again at the next look.
    pub(super) async fn refresh(&mut self, tables: &mut Tables) {
        match self.begin_look().await {
            Ok(found) => self.found = Some(found),
            Err(error) => return warn!(%error, "cannot look which ports are open"),
        }
        self.take_over(tables);
    }

    /// Tells the kernel part what was found, if it is something else than it has.
    pub(super) fn take_over(&mut self, tables: &mut Tables) {
        let Some(found) = self.found.take() else { return };
        while let Ok(sighted) = self.sightings.1.try_recv() {
            self.sight(sighted);
        }
        let answered = self.answered();
        let changes = self.observe(found);
        self.untold |= changes.classes || self.answered() != answered;
        if self.untold {
            match self.tell_kernel(tables) {
                Ok(()) => self.untold = false,
                Err(error) => warn!(%error, "cannot tell the kernel part of changed ports"),
            }
        }
        self.tell(&changes);
        let (tracker, readings) = (&self.tracker, &self.readings);
        self.keeper.tick(|| to_keep(tracker, readings));
    }

    /// Takes over what a new configuration says of ports; the next look puts it in force.
    pub(super) fn set(&mut self, ports: &Ports) {
        self.tracker.set(&self.own.restricted_in(ports));
        // Until the disk has answered it is learnt anew.
        self.tracker.set_protecting_since(now());
        let (archive, networks) = (self.keeper.archive().clone(), ports.protect.clone());
        self.protecting = Some(spawn_blocking(move || keeper::protecting_since(&archive, &networks, now())));
        self.untold = true;
    }

    /// It is known since when the networks are protected that are, for it must be learnt what is open there.
    fn protect(&mut self, since: u64) {
        self.untold = true;
        self.tracker.set_protecting_since(since);
        if self.tracker.protects() {
            let ends = UNIX_EPOCH.checked_add(Duration::from_secs(self.tracker.learning_behind_ends()));
            info!(until = ends.map(timestamp), "it is learnt which ports of the protected networks are open");
        }
    }

    /// Writes down what is to be remembered, a last time.
    pub(super) async fn stop(self) {
        let kept = to_keep(&self.tracker, &self.readings);
        self.keeper.stop(kept).await;
    }

    fn tell_kernel(&self, tables: &mut Tables) -> Result<(), KernelError> {
        tables.set_ephemeral(self.answered())?;
        tables.set_elsewhere(self.tracker.seen().settings.forwards, self.tracker.has_learnt_behind())?;
        tables.set_port_classes(self.tracker.entries())
    }

    /// Begins to look. The kernel part tells of the first answer of a port alone: now and then it is read which go on answering.
    fn begin_look(&mut self) -> JoinHandle<Look> {
        let answers = self.tracker.has_elsewhere() && Instant::now() >= self.answers_due;
        if answers {
            self.answers_due = Instant::now() + ANSWERS;
        }
        let readings = answers.then(|| self.readings.clone());
        // All of it asks the kernel and waits for it.
        spawn_blocking(move || Look {
            listeners: listeners(),
            settings: NetSettings::read(),
            answering: readings.map(|readings| Ok((readings.opened()?, readings.own_addresses()?))),
        })
    }

    fn observe(&mut self, found: Look) -> Changes {
        let Look { listeners, settings, answering } = found;
        match answering {
            Some(Ok((opened, own))) => self.hear_answers(opened, &own),
            Some(Err(error)) => warn!(%error, "cannot read which ports answered"),
            None => {}
        }
        self.complain(listeners.as_ref().err(), settings.as_ref().err());
        let observation = Observation::new(listeners.ok(), settings.unwrap_or(NetSettings::CAUTIOUS));
        let changes = self.tracker.observe(observation, now());
        self.forwards.store(self.tracker.seen().settings.forwards, Ordering::Relaxed);
        if changes.memory {
            self.keeper.changed();
        }
        changes
    }

    fn hear_answers(&mut self, opened: Vec<(Endpoint, u64)>, own: &Ours) {
        for (endpoint, seen_ns) in opened {
            if let (true, Some(protocol)) = (own.contains(&endpoint.address), Protocol::from_u8(endpoint.protocol)) {
                self.tracker.seen_answering(protocol, endpoint.port, wall(seen_ns));
            }
        }
    }

    /// Says once what cannot be seen, and once when it can be seen again.
    fn complain(&mut self, listeners: Option<&DiagError>, settings: Option<&SettingsError>) {
        let before = self.complaints;
        match listeners {
            Some(error) if !before.listeners => {
                warn!(%error, "cannot see which ports are open: those that the configuration does not name count as unknown");
            }
            None if before.listeners => info!("it can be seen again which ports are open"),
            _ => {}
        }
        match settings {
            Some(error) if !before.settings => {
                let (first, last) = NetSettings::CAUTIOUS.ephemeral;
                warn!(%error, "taking this for a host that forwards packets and gives its clients ports {first} to {last}");
            }
            None if before.settings => info!("the settings of the network can be read again"),
            _ => {}
        }
        self.complaints = Complaints { listeners: listeners.is_some(), settings: settings.is_some() };
    }

    fn tell_start(&self, changes: &Changes) {
        let count = |wanted| changes.opened.iter().filter(|(.., class)| *class == wanted).count();
        info!(public = count(PortClass::Public), restricted = count(PortClass::Restricted), "open ports are known");
        for (protocol, port, class) in &changes.opened {
            debug!("port {port}/{} is open: {}", protocol.label(), class.label());
        }
        self.tell_odd(changes);
        let clients = self.tracker.seen().settings.ephemeral_ports();
        let canaries = clients.filter(|port| self.tracker.rules().is_canary(Protocol::Udp, *port)).count();
        if canaries > 0 {
            let (first, last) = self.ephemeral();
            warn!(
                "{canaries} canary ports of UDP are among those the kernel gives to clients of this host ({first} to {last}): \
                 they count as unknown"
            );
        }
    }

    fn tell(&self, changes: &Changes) {
        let clients = self.tracker.seen().settings.ephemeral_ports();
        for (changed, ports) in [("opened", &changes.opened), ("closed", &changes.closed)] {
            for (protocol, port, class) in ports {
                let (protocol, class) = (protocol.label(), class.label());
                // Passive FTP and the like open ports there all day.
                if clients.contains(port) {
                    debug!("port {port}/{protocol} {changed}: {class}");
                } else {
                    info!("port {port}/{protocol} {changed}: {class}");
                }
            }
        }
        self.tell_odd(changes);
    }

    fn tell_odd(&self, changes: &Changes) {
        for (protocol, port, _) in &changes.opened {
            if self.tracker.rules().is_canary(*protocol, *port) {
                let protocol = protocol.label();
                warn!(
                    "something listens on port {port}/{protocol}, a canary by the configuration: it is none while it is open"
                );
            }
        }
        match changes.learning {
            Some(true) => {
                let ends = UNIX_EPOCH.checked_add(Duration::from_secs(self.tracker.learning_ends()));
                info!(
                    until = ends.map(timestamp),
                    "this host forwards packets: it is learnt which ports are open, and none counts as closed yet"
                );
            }
            Some(false) => info!("it is learnt which ports are open: the others count as closed"),
            None => {}
        }
    }
}

/// What outlives this process. What answered only where it is not seen otherwise.
fn to_keep(tracker: &PortTracker, readings: &Readings) -> ToKeep {
    let opened = tracker.memory().iter().map(|(protocol, port, last_seen)| Opened { protocol, port, last_seen });
    let answering = if tracker.has_elsewhere() { readings.opened() } else { Ok(Vec::new()) };
    ToKeep {
        opened: opened.collect(),
        answering: answering
            .map_err(|error| warn!(%error, "cannot read which ports answered: what was kept of it stays"))
            .ok()
            .map(|answering| answering.into_iter().map(|(endpoint, seen_ns)| (endpoint, wall(seen_ns))).collect()),
    }
}

/// Seconds since 1970 of a moment of the kernel part's clock.
fn wall(ns: u64) -> u64 {
    clock::monotonic_to_system(ns).duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
