//! Keeps the kernel part's classes of ports true.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use scanguard_common::class::{PortClass, Protocol};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::{debug, info, warn};

use super::keeper::{Keeper, Kept};
use crate::api::timestamp;
use crate::config::{Config, Ports};
use crate::kernel::{KernelError, Tables};
use crate::net::{ListenersError, NetSettings, SettingsError, listeners};
use crate::ports::{Changes, Observation, PortTracker};
use crate::store::Opened;

/// How often to look. The kernel asks for a socket itself before it holds a port against anybody, so this need not be more.
const LOOK: Duration = Duration::from_millis(500);
/// Sightings that may wait for a look; more of them are of ports that the look finds anyway.
const SIGHTINGS: usize = 64;

/// The host's ports as last told to the kernel part.
pub(super) struct PortWatch {
    tracker: PortTracker,
    keeper: Keeper,
    look: Interval,
    sightings: (Sightings, mpsc::Receiver<(Protocol, u16)>),
    /// The kernel part has other classes than the tracker.
    untold: bool,
    /// What was complained of and still is so.
    complaints: Complaints,
    forwards: Arc<AtomicBool>,
}

/// What could not be seen at the last look.
#[derive(Clone, Copy, Default)]
struct Complaints {
    listeners: bool,
    settings: bool,
}

/// Tells the watch of ports that turned out to be open. Cheap to clone.
#[derive(Clone)]
pub(super) struct Sightings(mpsc::Sender<(Protocol, u16)>);

impl Sightings {
    /// A socket was found on a port that was thought to be closed: look at once, and remember it. Never waits.
    pub(super) fn seen_open(&self, protocol: Protocol, port: u16) {
        // A full queue means that a look is due anyway.
        let _ = self.0.try_send((protocol, port));
    }
}

impl PortWatch {
    /// Remembers, looks and tells the kernel part what is there.
    pub(super) async fn follow(
        config: &Config,
        (keeper, kept): (Keeper, Kept),
        tables: &mut Tables,
    ) -> anyhow::Result<Self> {
        let Kept { first_run, opened } = kept;
        let remembered = opened.into_iter().map(|Opened { protocol, port, last_seen }| (protocol, port, last_seen));
        let (sender, receiver) = mpsc::channel(SIGHTINGS);
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        look.reset();
        let mut watch = Self {
            tracker: PortTracker::new(&config.ports, first_run, remembered),
            keeper,
            look,
            sightings: (Sightings(sender), receiver),
            untold: true,
            complaints: Complaints::default(),
            forwards: Arc::default(),
        };
        let changes = watch.look().await?;
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

    /// Waits until it is time to look. Cancel safe.
    pub(super) async fn changed(&mut self) {
        tokio::select! {
            _ = self.look.tick() => {}
            Some((protocol, port)) = self.sightings.1.recv() => self.tracker.seen_open(protocol, port, now()),
        }
    }

    /// Looks what is there and tells the kernel part if it is something else. What fails is tried again at the next look.
    pub(super) async fn refresh(&mut self, tables: &mut Tables) {
        while let Ok((protocol, port)) = self.sightings.1.try_recv() {
            self.tracker.seen_open(protocol, port, now());
        }
        let answered = self.answered();
        let changes = match self.look().await {
            Ok(changes) => changes,
            Err(error) => return warn!(%error, "cannot look which ports are open"),
        };
        self.untold |= changes.classes || self.answered() != answered;
        if self.untold {
            match self.tell_kernel(tables) {
                Ok(()) => self.untold = false,
                Err(error) => warn!(%error, "cannot tell the kernel part of changed ports"),
            }
        }
        self.tell(&changes);
        self.keeper.tick(|| remembered(&self.tracker)).await;
    }

    /// Takes over what a new configuration says of ports; the next look puts it in force.
    pub(super) fn set(&mut self, ports: &Ports) {
        self.tracker.set(ports);
        self.untold = true;
    }

    /// Writes down what is to be remembered, a last time.
    pub(super) async fn stop(self) {
        let opened = remembered(&self.tracker);
        self.keeper.stop(opened).await;
    }

    fn tell_kernel(&self, tables: &mut Tables) -> Result<(), KernelError> {
        tables.set_ephemeral(self.answered())?;
        tables.set_port_classes(self.tracker.classes().iter())
    }

    async fn look(&mut self) -> anyhow::Result<Changes> {
        // Both ask the kernel and wait for it.
        let (listeners, settings) = spawn_blocking(|| (listeners(), NetSettings::read())).await?;
        self.complain(listeners.as_ref().err(), settings.as_ref().err());
        let observation = Observation::new(listeners.ok(), settings.unwrap_or(NetSettings::CAUTIOUS));
        let changes = self.tracker.observe(observation, now());
        self.forwards.store(self.tracker.seen().settings.forwards, Ordering::Relaxed);
        if changes.memory {
            self.keeper.changed();
        }
        Ok(changes)
    }

    /// Says once what cannot be seen, and once when it can be seen again.
    fn complain(&mut self, listeners: Option<&ListenersError>, settings: Option<&SettingsError>) {
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

fn remembered(tracker: &PortTracker) -> Vec<Opened> {
    tracker.memory().iter().map(|(protocol, port, last_seen)| Opened { protocol, port, last_seen }).collect()
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
