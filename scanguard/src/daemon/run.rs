//! From start to clean stop.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use sd_notify::NotifyState;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use super::addresses::OwnAddresses;
use super::census::Census;
use super::ports::PortWatch;
use super::view::View;
use super::{events, logging, start};
use crate::config::{Config, LogFormat, file};
use crate::control::socket::{self, SocketFile};
use crate::exit::{ExitStatus, Failure, OrExit as _};
use crate::kernel::Datapath;
use crate::{control, http, metrics};

/// Threads that answer questions and read events; none is needed for packets.
const WORKERS: usize = 2;
/// How often the kernel part is told that somebody watches: several times within its patience
/// ([`scanguard_common::config::HEARTBEAT_LIMIT_NS`]).
const HEARTBEAT: Duration = Duration::from_secs(5);

/// What the command line says; it wins over the file.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Interfaces to guard; the file's if empty.
    pub interfaces: Vec<String>,
    /// The configuration file; the default one, which need not exist, if not named.
    pub config: Option<PathBuf>,
    /// The control socket; the file's if not named.
    pub socket: Option<PathBuf>,
    /// Whether log lines may be coloured.
    pub color: bool,
    /// Whether to log JSON, whatever the file says.
    pub json: bool,
}

/// Runs the daemon until a signal asks it to stop.
///
/// # Errors
/// With the exit code for what went wrong. Nothing stays attached.
pub fn run(options: Options) -> Result<ExitStatus, Failure> {
    let Options { interfaces, config, socket, color, json } = options;
    start::preflight()?;
    let file::Loaded { mut config, file } = file::load(config.as_deref()).or_exit(ExitStatus::Usage)?;
    if !interfaces.is_empty() {
        config.interfaces = interfaces;
    }
    if let Some(socket) = socket {
        config.control_socket = socket;
    }
    if json {
        config.log.format = LogFormat::Json;
    }
    logging::start(&config.log, color)?;
    match file {
        Some(file) => info!(file = %file.display(), "configuration read"),
        None => info!("there is no {}: the defaults hold", file::DEFAULT_FILE),
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(daemon(&config))?;
    Ok(ExitStatus::Done)
}

/// Held for as long as the daemon runs. Fields are dropped in this order: nobody can ask any more, then the kernel part
/// goes, and then the socket is free for the next one.
struct Running {
    tasks: JoinSet<&'static str>,
    datapath: Datapath,
    socket_file: SocketFile,
}

async fn daemon(config: &Config) -> Result<(), Failure> {
    let mut stop = StopSignals::listen().context("cannot listen for signals")?;
    // The socket comes first: it tells whether another daemon runs, before anything is loaded.
    let (control_listener, socket_file) = socket::claim(&config.control_socket).or_exit(ExitStatus::Failed)?;
    let metrics_listener = metrics_listener(config).await?;
    let interfaces = start::interfaces(&config.interfaces).await?;
    let (mut datapath, addresses, mut ports) = start::load(config).await?;
    let events = datapath.take_events().context("cannot follow the kernel part's events")?;
    let guarded = start::attach(&mut datapath, &interfaces, config).await?;

    let view = Arc::new(View {
        mode: config.mode,
        keys: config.key_rules(),
        rules: config.score.rules(),
        forwards: ports.forwards(),
        guarded,
        started: Instant::now(),
        kernel: kernel_release(),
        readings: datapath.readings(),
        census: Census::new(datapath.readings()),
    });
    let mut tasks = JoinSet::new();
    tasks.spawn(named("events", events::drain(events, config.key_rules(), ports.sightings())));
    tasks.spawn(named("control", serve_control(control_listener, Arc::clone(&view))));
    if let Some(listener) = metrics_listener {
        tasks.spawn(named("metrics", http::serve(listener, metrics::server::router(view))));
    }
    info!(mode = config.mode.label(), socket = %config.control_socket.display(), "ready");
    notify(NotifyState::Ready);

    let mut running = Running { tasks, datapath, socket_file };
    let outcome = until_stopped(&mut running, addresses, &mut ports, &mut stop).await;
    notify(NotifyState::Stopping);
    let Running { mut tasks, datapath, socket_file } = running;
    tasks.shutdown().await;
    drop(datapath);
    ports.stop().await;
    drop(socket_file);
    info!("stopped; nothing stays attached");
    Ok(outcome?)
}

/// Keeps the kernel part alive, follows addresses and ports until a signal comes, or a task ends that should not.
async fn until_stopped(
    running: &mut Running,
    mut addresses: OwnAddresses,
    ports: &mut PortWatch,
    stop: &mut StopSignals,
) -> Result<()> {
    let mut heartbeat = interval(HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            signal = stop.next() => {
                info!(signal, "stopping");
                return Ok(());
            }
            _ = heartbeat.tick() => if let Err(error) = running.datapath.beat() {
                warn!(%error, "cannot tell the kernel part that the daemon lives: it will suspect nobody");
            },
            () = addresses.changed() => addresses.refresh(&mut running.datapath).await,
            () = ports.changed() => ports.refresh(&mut running.datapath).await,
            Some(ended) = running.tasks.join_next() => {
                return Err(match ended {
                    Ok(task) => anyhow!("the task for {task} ended by itself"),
                    Err(error) => anyhow!("a task of the daemon failed: {error}"),
                });
            }
        }
    }
}

async fn named(name: &'static str, task: impl Future<Output = ()>) -> &'static str {
    task.await;
    name
}

async fn serve_control(listener: UnixListener, view: Arc<View>) {
    http::serve(listener, control::server::router(view)).await;
}

async fn metrics_listener(config: &Config) -> Result<Option<TcpListener>> {
    let Some(address) = config.metrics_listen else {
        return Ok(None);
    };
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("cannot serve metrics on {address}: choose another address with `listen` in [metrics], or \"off\"")
    })?;
    if !address.ip().is_loopback() {
        warn!(%address, "metrics are served beyond this host, without a password");
    }
    Ok(Some(listener))
}

fn kernel_release() -> String {
    nix::sys::utsname::uname().map_or_else(|_| "unknown".into(), |name| name.release().to_string_lossy().into_owned())
}

/// Tells systemd, if it started us and wants to know.
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        warn!(%error, "cannot tell the service manager");
    }
}

/// The signals that ask to stop. A closed terminal is one of them: a daemon that nobody sees any more should not go on
/// unasked.
struct StopSignals {
    signals: [(&'static str, Signal); 3],
}

impl StopSignals {
    fn listen() -> io::Result<Self> {
        let kinds = [
            ("SIGINT", SignalKind::interrupt()),
            ("SIGTERM", SignalKind::terminate()),
            ("SIGHUP", SignalKind::hangup()),
        ];
        let [interrupt, terminate, hangup] = kinds.map(|(name, kind)| signal(kind).map(|signal| (name, signal)));
        Ok(Self { signals: [interrupt?, terminate?, hangup?] })
    }

    async fn next(&mut self) -> &'static str {
        let [(interrupt_name, interrupt), (terminate_name, terminate), (hangup_name, hangup)] = &mut self.signals;
        tokio::select! {
            _ = interrupt.recv() => interrupt_name,
            _ = terminate.recv() => terminate_name,
            _ = hangup.recv() => hangup_name,
        }
    }
}
