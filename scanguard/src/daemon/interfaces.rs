//! Keeps the program on the interfaces that are to be guarded, whatever becomes of them: gone, renamed, back again, a new default route.

use std::collections::HashSet;
use std::future::pending;
use std::time::Duration;

use scanguard_common::challenge::Nic;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};
use tracing::{info, warn};

use super::start::{AUTO, Found};
use crate::kernel::{AttachMode, Attachment, Program, clock, link};
use crate::net::{Changes, LinkInfo, default_route_interfaces, link_changes, links};

/// How long to wait for more changes before looking: they come in flocks.
const FLOCK: Duration = Duration::from_millis(50);
/// How often to look unbidden.
const UNBIDDEN: Duration = Duration::from_secs(30);

/// An interface that is to be guarded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Guarded {
    /// Its name now, or the last one it had.
    pub(super) name: String,
    /// Where the program is; none while there is no such interface, or it does not take the program.
    pub(super) attachment: Option<Attachment>,
}

/// Follows the host's interfaces.
pub(super) struct Interfaces {
    /// Names asked for, `auto` among them or not.
    wanted: Vec<String>,
    mode: AttachMode,
    guarded: Vec<Guarded>,
    changes: Option<Changes>,
    unbidden: Interval,
    /// When what changed is looked at; none while nothing did.
    due: Option<Instant>,
    /// Names whose trouble was told already.
    complained: HashSet<String>,
    /// Since when all that leaves is seen, on the kernel part's clock.
    leaving_since_ns: Option<u64>,
}

impl Interfaces {
    /// Follows those that the program was attached to, and waits for those that are not there yet.
    ///
    /// `before_ns` is since when an earlier daemon had seen all that left.
    pub(super) fn follow(
        wanted: &[String],
        mode: AttachMode,
        attached: Vec<Attachment>,
        found: &Found,
        before_ns: Option<u64>,
    ) -> anyhow::Result<Self> {
        let goes_on = |attachment: &Attachment| attachment.egress.is_some_and(|egress| egress.goes_on);
        let leaving_since_ns = before_ns.filter(|_| attached.iter().all(goes_on));
        let mut unbidden = interval(UNBIDDEN);
        unbidden.set_missed_tick_behavior(MissedTickBehavior::Delay);
        unbidden.reset();
        let guarded = attached
            .into_iter()
            .map(|attachment| Guarded { name: attachment.interface.clone(), attachment: Some(attachment) });
        let absent = found.absent.iter().map(|name| Guarded { name: name.clone(), attachment: None });
        let mut interfaces = Self {
            wanted: wanted.to_owned(),
            mode,
            guarded: guarded.chain(absent).collect(),
            changes: Some(link_changes()?),
            unbidden,
            // What came before changes were told.
            due: found.waits().then(Instant::now),
            complained: HashSet::new(),
            leaving_since_ns,
        };
        interfaces.look_at_leaving();
        Ok(interfaces)
    }

    /// Since when all that leaves by the interfaces is seen, on the kernel part's clock; none when it is not.
    pub(super) const fn leaving_since_ns(&self) -> Option<u64> {
        self.leaving_since_ns
    }

    fn look_at_leaving(&mut self) {
        let attached = self.guarded.iter().filter_map(|guarded| guarded.attachment.as_ref());
        if attached.clone().any(|attachment| attachment.egress.is_none()) {
            self.leaving_since_ns = None;
        } else if self.leaving_since_ns.is_none() && attached.count() > 0 {
            self.leaving_since_ns = Some(clock::monotonic_coarse_ns());
        }
    }

    /// The interfaces by which suspects may be answered.
    pub(super) fn nics(&self) -> Vec<(u32, Nic)> {
        let attached = self.guarded.iter().filter_map(|guarded| guarded.attachment.as_ref());
        attached.filter_map(|attachment| Some((attachment.index, attachment.nic?))).collect()
    }

    /// The interfaces, and where the program is.
    pub(super) fn guarded(&self) -> &[Guarded] {
        &self.guarded
    }

    /// Waits until something may have changed, and what else changes with it had time to. Cancel safe.
    pub(super) async fn changed(&mut self) {
        loop {
            let Self { changes, unbidden, due, .. } = self;
            let subscribed = tokio::select! {
                subscribed = next(changes) => subscribed,
                _ = unbidden.tick() => true,
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    *due = None;
                    return;
                }
            };
            if !subscribed {
                warn!("the kernel no longer tells of changed interfaces; asking every {UNBIDDEN:?} instead");
                *changes = None;
            }
            due.get_or_insert_with(|| Instant::now() + FLOCK);
        }
    }

    /// Looks what is there and puts the program where it is missing. What fails is tried again at the next change.
    pub(super) async fn refresh(&mut self, program: &mut Program) {
        let present = match links().await {
            Ok(present) => present,
            Err(error) => return warn!(%error, "cannot look which interfaces there are"),
        };
        self.follow_present(&present, program).await;
        self.guard_wanted(&present, program).await;
        self.look_at_leaving();
    }

    async fn guard_wanted(&mut self, present: &[LinkInfo], program: &mut Program) {
        for name in self.wanted_names().await {
            let is_guarded = |guarded: &Guarded| guarded.name == name && guarded.attachment.is_some();
            if self.guarded.iter().any(is_guarded) || !present.iter().any(|link| link.name == name) {
                continue;
            }
            match program.attach(&name, self.mode).await {
                Ok(attachment) => {
                    self.complained.remove(&name);
                    info!(interface = name, "it is guarded now");
                    // What left by it before was not seen.
                    self.leaving_since_ns = None;
                    self.put(name, attachment);
                }
                Err(error) => {
                    if self.complained.insert(name.clone()) {
                        warn!(interface = name, %error, "it cannot be guarded");
                    }
                    if !self.guarded.iter().any(|guarded| guarded.name == name) {
                        self.guarded.push(Guarded { name, attachment: None });
                    }
                }
            }
        }
    }

    /// Sees what became of those that were guarded.
    async fn follow_present(&mut self, present: &[LinkInfo], program: &mut Program) {
        for guarded in &mut self.guarded {
            let Some(attachment) = &mut guarded.attachment else { continue };
            let Some(link) = present.iter().find(|link| link.index == attachment.index) else {
                warn!(interface = guarded.name, "it is gone, and will be guarded again when it is back");
                forget(program, attachment.index);
                guarded.attachment = None;
                continue;
            };
            if link.name != guarded.name {
                info!(interface = guarded.name, name = link.name, "it was renamed, and is guarded under its new name");
                guarded.name.clone_from(&link.name);
                attachment.interface.clone_from(&link.name);
            }
            // By index: it may be renamed while it is looked at.
            let ours = link::describe_index(attachment.index)
                .await
                .is_ok_and(|facts| facts.xdp.is_some_and(|(_, program)| program == attachment.program_id));
            if !ours {
                warn!(interface = guarded.name, "somebody took our program off it");
                forget(program, attachment.index);
                guarded.attachment = None;
            } else if !attachment.egress.is_some_and(|egress| egress.is_there(attachment.index)) {
                if attachment.egress.is_some() {
                    warn!(interface = guarded.name, "somebody took our egress program off it");
                    self.leaving_since_ns = None;
                }
                attachment.egress = program.watch_leaving(&guarded.name, attachment.index);
            }
        }
    }

    fn put(&mut self, name: String, attachment: Attachment) {
        match self.guarded.iter_mut().find(|guarded| guarded.name == name) {
            Some(guarded) => guarded.attachment = Some(attachment),
            None => self.guarded.push(Guarded { name, attachment: Some(attachment) }),
        }
    }

    /// Names to guard now: those asked for, those that were guarded and came back, and those with a default route where `auto` was asked for. An
    /// interface that loses its default route stays guarded: it may only flap.
    async fn wanted_names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.wanted.iter().filter(|name| *name != AUTO).cloned().collect();
        names.extend(self.guarded.iter().map(|guarded| guarded.name.clone()));
        if self.wanted.iter().any(|name| name == AUTO) {
            match default_route_interfaces().await {
                Ok(found) => names.extend(found),
                Err(error) => warn!(%error, "cannot tell which interfaces have a default route"),
            }
        }
        let mut seen = HashSet::new();
        names.retain(|name| seen.insert(name.clone()));
        names
    }
}

/// Waits for a change; false when the kernel no longer tells of them.
async fn next(changes: &mut Option<Changes>) -> bool {
    match changes {
        Some(changes) => changes.next().await,
        None => pending().await,
    }
}

fn forget(program: &mut Program, index: u32) {
    if let Err(error) = program.detach(index) {
        warn!(%error, "cannot let go of an interface that is gone");
    }
}
