//! Loads, sets up and attaches the kernel part.

use std::time::SystemTime;

use anyhow::{Context as _, anyhow};
use scanguard_common::config::KernelConfig;
use tokio::task::block_in_place;
use tracing::{info, warn};

use super::addresses::OwnAddresses;
use super::keeper::Keeper;
use super::listening::OwnPorts;
use super::ports::{self, PortWatch};
use crate::api::SessionsWatch;
use crate::config::{Cgroup, Config};
use crate::exit::{ExitStatus, Failure, OrExit as _};
use crate::kernel::pins::Pins;
use crate::kernel::preflight::{self, Missing};
use crate::kernel::sessions::cgroup_root;
use crate::kernel::{Attachment, Datapath, EventStream, KernelError, Loading, Program, link};
use crate::net::default_route_interfaces;
use crate::operator::Desk;

/// The name that stands for every interface with a default route.
pub(super) const AUTO: &str = "auto";

/// One message with everything that is missing here and how to get it.
pub(super) fn preflight() -> Result<(), Failure> {
    let missing = preflight::check();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::message(ExitStatus::CannotRun, describe(&missing)))
}

/// What is missing, with what to do once for all that it helps against.
fn describe(missing: &[Missing]) -> String {
    let mut text = "it cannot run here:".to_owned();
    for (position, Missing { what, fix }) in missing.iter().enumerate() {
        text.push_str(&format!("\n  - {what}"));
        if missing.get(position + 1).is_none_or(|next| next.fix != *fix) {
            text.push_str(&format!("\n    {fix}"));
        }
    }
    text
}

/// The interfaces to guard.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Found {
    /// Those that are there, each once.
    pub(super) present: Vec<String>,
    /// Those that are waited for.
    pub(super) absent: Vec<String>,
    /// Whether `auto` means none yet.
    pub(super) no_default_route: bool,
}

impl Found {
    /// Whether there is something to wait for.
    pub(super) const fn waits(&self) -> bool {
        self.no_default_route || !self.absent.is_empty()
    }
}

/// The interfaces to guard, each once; they are all there.
///
/// # Errors
/// When none is named, or one is not there, or `auto` means none.
pub async fn interfaces(wanted: &[String]) -> Result<Vec<String>, Failure> {
    Ok(find(wanted, false).await?.present)
}

/// The interfaces to guard. With `waits`, what is not there yet is no error: at boot the driver may come later than the daemon.
///
/// # Errors
/// When none is named, or one cannot be asked for; without `waits`, when one is not there, or `auto` means none.
pub(super) async fn find(wanted: &[String], waits: bool) -> Result<Found, Failure> {
    if wanted.is_empty() {
        let message = "no interface to guard is named: give one with -i (`-i auto` takes those with a default route), \
                       or `interfaces` in the configuration";
        return Err(Failure::message(ExitStatus::Usage, message));
    }
    let mut found = Found::default();
    let mut names: Vec<String> = Vec::new();
    for name in wanted {
        if name != AUTO {
            names.push(name.clone());
            continue;
        }
        let of_routes =
            default_route_interfaces().await.context("cannot tell which interfaces have a default route")?;
        if of_routes.is_empty() && !waits {
            let error = anyhow!("no interface has a default route, so `auto` means none: name one with -i");
            return Err(error.into());
        }
        found.no_default_route = of_routes.is_empty();
        names.extend(of_routes);
    }
    // Asked before anything is loaded: what an earlier daemon left is not to suffer from a slip of the pen.
    for name in names {
        if found.present.contains(&name) || found.absent.contains(&name) {
            continue;
        }
        match link::describe(&name).await {
            Ok(_) => found.present.push(name),
            Err(KernelError::NoInterface { .. }) if waits => found.absent.push(name),
            Err(error) => return Err(error).or_exit(ExitStatus::Usage),
        }
    }
    if found.no_default_route {
        warn!("no interface has a default route yet; `auto` waits for one");
    }
    for interface in &found.absent {
        warn!(interface, "it is not there yet; it is guarded when it comes");
    }
    Ok(found)
}

/// The kernel part, told everything, so that it is right from the first packet on; nothing is attached yet.
pub(super) struct Loaded {
    pub(super) program: Program,
    pub(super) desk: Desk,
    pub(super) events: EventStream,
    pub(super) proofs: EventStream,
    pub(super) ports: PortWatch,
    pub(super) addresses: OwnAddresses,
    /// The settings of an earlier daemon whose state was found.
    pub(super) taken_over: Option<KernelConfig>,
}

/// Loads it: anew, or over what an earlier daemon left pinned.
pub(super) async fn load(config: &Config, own: OwnPorts) -> Result<Loaded, Failure> {
    let pins = Pins::open_to_take_over(&config.pins, config.keep).map_err(refused)?;
    let is_taken_over = pins.as_ref().is_some_and(Pins::hold_state);
    if pins.as_ref().is_some_and(Pins::have_former) {
        info!(
            pins = %config.pins.display(),
            "a version with another layout of the kernel's tables left its programs at work: they are replaced. Whom it \
             suspected, and what it counted, is forgotten; allowlist, blocks, mode and who is known come from the file of state"
        );
    }
    if is_taken_over {
        info!(pins = %config.pins.display(), "an earlier daemon left the kernel part at work: it is taken over");
    }
    let loading = Datapath::begin(&config.load_options(), pins).map_err(refused)?;
    let Loading { tables, events, proofs, mut verifying, .. } = loading;
    if is_taken_over {
        // What is at work is not touched before it is known that this one's programs can take its place.
        block_in_place(|| verifying.wait()).map_err(refused)?;
    }
    let taken_over = is_taken_over.then(|| *tables.config());
    let kept = Keeper::open(&config.state, config.retention, ports::now()).await?;
    let mut desk = Desk::start(tables, config, kept.0.archive().clone(), SystemTime::now())?;
    let ports = PortWatch::follow(config, own, kept, desk.tables()).await?;
    let addresses = OwnAddresses::follow(desk.tables()).await?;
    let program = block_in_place(|| verifying.finish()).map_err(refused)?;
    Ok(Loaded { program, desk, events, proofs, ports, addresses, taken_over })
}

/// What another version left is refused, with a way out; everything else failed.
fn refused(error: KernelError) -> Failure {
    let status = match &error {
        KernelError::StalePins { .. } => ExitStatus::Refused,
        _ => ExitStatus::Failed,
    };
    Failure::new(status, error)
}

/// Attaches to every interface that is there, or to none: what was attached before a failure goes when the program is dropped. Then nothing of
/// an earlier daemon is left anywhere else; but while one is waited for, whose name may be a slip of the pen, what it left goes on.
pub(super) async fn attach(
    program: &mut Program,
    interfaces: &Found,
    config: &Config,
) -> Result<Vec<Attachment>, Failure> {
    let mut guarded = Vec::with_capacity(interfaces.present.len());
    for interface in &interfaces.present {
        let attachment = match program.attach(interface, config.attach).await {
            Err(error @ KernelError::NoInterface { .. }) => return Err(error).or_exit(ExitStatus::Usage),
            Err(error @ KernelError::Occupied { .. }) => return Err(error).or_exit(ExitStatus::CannotRun),
            attached => attached.or_exit(ExitStatus::Failed)?,
        };
        guarded.push(attachment);
    }
    if interfaces.waits() {
        return Ok(guarded);
    }
    let left = program.forget_other_links(&guarded).or_exit(ExitStatus::Failed)?;
    if !left.is_empty() {
        info!(?left, "interfaces that an earlier daemon guarded and this one does not are free");
    }
    Ok(guarded)
}

/// Counts the TCP sessions that are to be counted. Without that it goes on.
pub(super) fn watch_sessions(program: &mut Program, cgroup: &Cgroup) -> SessionsWatch {
    let without = |reason: Option<String>| SessionsWatch { watched: false, cgroup: None, reason };
    let folder = match cgroup {
        Cgroup::Off => {
            if let Err(error) = program.forget_sessions() {
                warn!(%error, "sessions go on being counted by what an earlier daemon left");
            }
            return without(None);
        }
        Cgroup::Folder(folder) => Some(folder.clone()),
        Cgroup::Auto => cgroup_root(),
    };
    let watched = folder
        .as_ref()
        .ok_or_else(|| "no control groups of version 2 are mounted here".to_owned())
        .and_then(|folder| program.watch_sessions(folder).map_err(|error| error.to_string()));
    match watched {
        Ok(()) => {
            let cgroup = folder.map(|folder| folder.display().to_string());
            info!(cgroup = cgroup.as_deref().unwrap_or_default(), "sessions are counted");
            SessionsWatch { watched: true, cgroup, reason: None }
        }
        Err(reason) => {
            warn!(reason, "sessions are not counted: nobody becomes known by working on a restricted port");
            without(Some(reason))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_missing_is_told_at_once() {
        let missing = |what: &str, fix: &str| Missing { what: what.into(), fix: fix.into() };
        let all = [
            missing("the kernel is 5.4", "Linux 5.18 or newer is needed"),
            missing("the right CAP_BPF is missing", "run as root"),
            missing("the right CAP_NET_ADMIN is missing", "run as root"),
        ];
        let expected = "it cannot run here:\n  - the kernel is 5.4\n    Linux 5.18 or newer is needed\n  \
                        - the right CAP_BPF is missing\n  - the right CAP_NET_ADMIN is missing\n    run as root";
        assert_eq!(describe(&all), expected);
    }
}
