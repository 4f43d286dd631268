//! Lockdowns: ports that answer only a few for a while, and who those are. The kernel part keeps to the end by itself.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use scanguard_common::class::{PortClass, PortEntry, Protocol};
use scanguard_common::source::SourceKey;
use tracing::{info, warn};

use super::desk::{Desk, end_ns};
use super::error::OperatorError;
use super::kept::{milliseconds, moment};
use super::people::seconds;
use crate::api::{
    LockdownAdmitted, LockdownBrief, LockdownOn, LockdownRefused, LockdownShutOut, LockdownState, MOST_LOCKDOWN_NAMES,
    MOST_LOCKDOWN_S, SCHEMA_VERSION, timestamp,
};
use crate::config::{PortList, PortRange};
use crate::kernel::clock::ClockStep;
use crate::kernel::{Lockdown, LockedPorts, clock};
use crate::known::Acquaintance;
use crate::ports::all_ports;
use crate::prefix_map::Prefix;
use crate::safety::{Facts, Refused, check_lockdown};
use crate::store::KeptLockdown;

/// Who was here in so long is told to be shut out.
const MONTH: Duration = Duration::from_secs(30 * 86_400);

/// A lockdown that is in force.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct LockdownNow {
    since: SystemTime,
    until: SystemTime,
    /// The ports that were named; none for all that are restricted.
    ports: Option<PortList>,
    keep_known: bool,
}

/// What a lockdown does, before it is known whether it is to begin.
struct Plan {
    lockdown: LockdownNow,
    locked: LockedPorts,
}

impl LockdownNow {
    fn locked(&self) -> LockedPorts {
        self.ports.as_ref().map_or(LockedPorts::Restricted, |ports| LockedPorts::Named(ports.iter().collect()))
    }

    pub(super) fn of_kept(kept: KeptLockdown) -> Option<Self> {
        let KeptLockdown { since, until, ports, keep_known } = kept;
        let ports = ports.map(|text| parse_ports(text.split(' '))).transpose();
        let ports = ports.inspect_err(|error| warn!(%error, "a lockdown of earlier cannot be read")).ok()?;
        Some(Self { since: moment(since), until: moment(until), ports, keep_known })
    }
}

impl Desk {
    /// Begins a lockdown, or takes over the one that goes on in the kernel; called once, at the start.
    pub(super) fn take_up_lockdown(
        &mut self,
        kept: Option<LockdownNow>,
        is_fresh: bool,
        now: SystemTime,
    ) -> Result<()> {
        // What an earlier daemon left goes by what it is, not by what was written of it: it ends when it was to end.
        let was_kept = kept.is_some();
        self.lockdown = if is_fresh { kept.filter(|kept| kept.until > now) } else { self.lockdown_of_kernel(kept) };
        match self.lockdown.clone() {
            Some(lockdown) => {
                self.tell_lockdown(&lockdown)?;
                info!(until = timestamp(lockdown.until), "the lockdown goes on");
            }
            None => self.tables.set_lockdown(None)?,
        }
        if was_kept || self.lockdown.is_some() {
            self.keep_lockdown();
        }
        Ok(())
    }

    /// The lockdown that is in force in the kernel, of which `kept` knows more if there is one.
    pub(super) fn lockdown_of_kernel(&self, kept: Option<LockdownNow>) -> Option<LockdownNow> {
        let config = self.tables.config();
        if !config.is_locked_down(clock::monotonic_coarse_ns()) {
            return None;
        }
        let (until, locked) = (self.clock.time(config.lockdown_until_ns), self.tables.locked_ports());
        let keep_known = config.lockdown_keeps_known != 0;
        let is_this = |kept: &LockdownNow| match kept.locked() {
            LockedPorts::Restricted => true,
            LockedPorts::Named(ports) => ports == locked,
        };
        Some(match kept.filter(is_this) {
            Some(kept) => LockdownNow { until, keep_known, ..kept },
            None => {
                let ports = Some(ranges(locked.iter()));
                LockdownNow { since: SystemTime::now(), until, ports, keep_known }
            }
        })
    }

    /// Begins a lockdown because a person wants it, unless a safety rule forbids it. In force in the kernel when this returns, in both modes. A dry run
    /// tells what it would do.
    ///
    /// # Errors
    /// When a rule forbids it, or what is asked for makes no sense.
    pub fn lockdown_on(
        &mut self,
        wanted: &LockdownOn,
        facts: &Facts,
        now: SystemTime,
    ) -> Result<LockdownState, OperatorError> {
        let LockdownOn { for_s, ports, keep_known, dry_run, force, logged_in_from: _ } = wanted;
        self.follow_clock(now);
        let plan = self.plan(*for_s, ports, *keep_known, now)?;
        let refused = check_lockdown(&facts.logins, |address| self.admits(address, *keep_known, now)).err();
        let was_on = self.lockdown.is_some();
        if *dry_run {
            let refused =
                refused.map(|Refused { rule, message }| LockdownRefused { rule: rule.label().into(), message });
            let told = self.tell_of_lockdown(&plan, now);
            return Ok(LockdownState { on: was_on, was_on, dry_run: true, refused, ..told });
        }
        if let Some(Refused { rule, message }) = refused.filter(|_| !force) {
            return Err(OperatorError::Refused { rule: rule.label().to_owned(), message });
        }
        self.tell_lockdown(&plan.lockdown)?;
        self.lockdown = Some(plan.lockdown.clone());
        self.keep_lockdown();
        let told = self.tell_of_lockdown(&plan, now);
        warn!(
            until = told.until,
            ports = if told.all_restricted { "all restricted ones".to_owned() } else { told.ports.join(" ") },
            keep_known,
            forced = force,
            replaced = was_on,
            "a lockdown began: these ports answer nobody but the allowlist"
        );
        Ok(LockdownState { on: true, was_on, ..told })
    }

    /// Ends the lockdown, if there is one.
    ///
    /// # Errors
    /// When the kernel part cannot be written.
    pub fn lockdown_off(&mut self) -> Result<LockdownState, OperatorError> {
        let was_on = self.lockdown.is_some();
        self.end_lockdown()?;
        if was_on {
            info!("an operator ended the lockdown");
        }
        Ok(LockdownState { schema_version: SCHEMA_VERSION, was_on, ..LockdownState::default() })
    }

    /// Whether a lockdown is in force, and what it does.
    #[must_use]
    pub fn lockdown_state(&self, now: SystemTime) -> LockdownState {
        let Some(lockdown) = self.lockdown.clone() else {
            return LockdownState { schema_version: SCHEMA_VERSION, ..LockdownState::default() };
        };
        let plan = Plan { locked: lockdown.locked(), lockdown };
        LockdownState { on: true, was_on: true, ..self.tell_of_lockdown(&plan, now) }
    }

    /// What a lockdown that is in force means for an address, in a sentence.
    pub(super) fn lockdown_for(&self, address: Prefix) -> Option<String> {
        let LockdownNow { until, keep_known, .. } = self.lockdown.as_ref()?;
        let is_admitted = self.admits(address.address().into(), *keep_known, SystemTime::now());
        let lets = if is_admitted { "lets it through" } else { "does not let it through, whatever else is said here" };
        Some(format!(
            "A lockdown is in force until {}, and {lets}: `scanguard lockdown status` says which ports that is about.",
            timestamp(*until)
        ))
    }

    /// The same in short, and when it ends.
    #[must_use]
    pub fn lockdown_brief(&self) -> Option<(SystemTime, LockdownBrief)> {
        let LockdownNow { since: _, until, ports, keep_known } = self.lockdown.as_ref()?;
        let ports = ports.as_ref().map(shown_ports).unwrap_or_default();
        Some((*until, LockdownBrief { until: timestamp(*until), ports, keep_known: *keep_known }))
    }

    /// Clears up a lockdown that is over. The kernel part let everybody in on time.
    pub(super) fn expire_lockdown(&mut self, now: SystemTime) -> Result<(), OperatorError> {
        if self.lockdown.as_ref().is_some_and(|lockdown| lockdown.until <= now) {
            info!("the lockdown has ended: its time was over");
            self.end_lockdown()?;
        }
        Ok(())
    }

    /// The wall clock was set: what was left of it is left of it.
    pub(super) fn shift_lockdown(&mut self, step: ClockStep) {
        if let Some(lockdown) = &mut self.lockdown {
            lockdown.since = step.shifted(lockdown.since);
            lockdown.until = step.shifted(lockdown.until);
        }
    }

    /// As the file of state has it.
    pub(super) fn kept_lockdown(&self) -> Option<KeptLockdown> {
        let LockdownNow { since, until, ports, keep_known } = self.lockdown.as_ref()?;
        Some(KeptLockdown {
            since: milliseconds(*since),
            until: milliseconds(*until),
            ports: ports.as_ref().map(|ports| shown_ports(ports).join(" ")),
            keep_known: *keep_known,
        })
    }

    fn keep_lockdown(&self) {
        let kept = self.kept_lockdown();
        self.keep(move |store| store.save_lockdown(kept.as_ref()));
    }

    fn end_lockdown(&mut self) -> Result<(), OperatorError> {
        // Also where none is known of: whatever the kernel has is taken back.
        self.tables.set_lockdown(None)?;
        self.lockdown = None;
        self.keep_lockdown();
        Ok(())
    }

    fn tell_lockdown(&mut self, lockdown: &LockdownNow) -> Result<(), OperatorError> {
        let until_ns = end_ns(&self.clock, Some(lockdown.until));
        let told = Lockdown { ports: lockdown.locked(), until_ns, keeps_known: lockdown.keep_known };
        Ok(self.tables.set_lockdown(Some(&told))?)
    }

    fn plan(&self, for_s: u64, ports: &[String], keep_known: bool, now: SystemTime) -> Result<Plan, OperatorError> {
        if for_s == 0 || for_s > MOST_LOCKDOWN_S {
            let message = format!(
                "a lockdown lasts from a second to {} days: what is to be closed for longer is a firewall's business",
                MOST_LOCKDOWN_S / 86_400
            );
            return Err(OperatorError::Usage(message));
        }
        let ports = if ports.is_empty() {
            None
        } else {
            Some(parse_ports(ports.iter().map(String::as_str)).map_err(OperatorError::Usage)?)
        };
        let lockdown = LockdownNow { since: now, until: now + Duration::from_secs(for_s), ports, keep_known };
        let plan = Plan { locked: lockdown.locked(), lockdown };
        if self.locked_by(&plan.locked).next().is_none() {
            let message = "no port is restricted here, so nothing would be closed: name ports with --port";
            return Err(OperatorError::Usage(message.to_owned()));
        }
        Ok(plan)
    }

    /// Whether a lockdown lets an address through.
    fn admits(&self, address: std::net::IpAddr, keep_known: bool, now: SystemTime) -> bool {
        let version = if address.is_ipv4() { 4 } else { 6 };
        let address = address.into();
        let Some(source) = self.keys().source_of(address, version) else { return true };
        self.tables.is_own(&address)
            || (keep_known && self.is_known(&source, now))
            || self.allow.covering(Prefix::around(&address, 128)).next().is_some()
            || self.allow.covering(self.prefix_of(&source)).next().is_some()
    }

    /// The ports that a lockdown closes, with what is said of each.
    fn locked_by<'d>(&'d self, locked: &'d LockedPorts) -> impl Iterator<Item = (Protocol, u16, PortEntry)> + 'd {
        let entries = all_ports().map(|(protocol, port)| (protocol, port, self.tables.port_entry(protocol, port)));
        entries.filter(|(protocol, port, entry)| locked.contain(*protocol, *port, *entry))
    }

    /// What a lockdown does.
    fn tell_of_lockdown(&self, plan: &Plan, now: SystemTime) -> LockdownState {
        let Plan { lockdown, locked } = plan;
        let LockdownNow { since, until, ports, keep_known } = lockdown;
        let all: Vec<_> = self.locked_by(locked).collect();
        let shown = |is_shown: &dyn Fn(PortEntry) -> bool| {
            let those = all.iter().filter(|(.., entry)| is_shown(*entry)).map(|(protocol, port, _)| (*protocol, *port));
            shown_ports(&ranges(those))
        };
        let is_open = |entry: PortEntry| matches!(entry.own(), PortClass::Public | PortClass::Restricted);
        let is_public = |entry: PortEntry| entry.own() == PortClass::Public;
        let mut admitted = self.admitted(*keep_known, now);
        let mut shut_out = self.shut_out(
            *keep_known,
            all.iter().any(|(.., entry)| entry.unless_closed() == PortClass::Restricted),
            all.iter().any(|(.., entry)| is_public(*entry)),
            now,
        );
        let (admitted_total, shut_out_total) = (admitted.len() as u64, shut_out.len() as u64);
        admitted.truncate(MOST_LOCKDOWN_NAMES);
        shut_out.truncate(MOST_LOCKDOWN_NAMES);
        LockdownState {
            schema_version: SCHEMA_VERSION,
            since: Some(timestamp(*since)),
            until: Some(timestamp(*until)),
            ports: ports.as_ref().map_or_else(|| shown(&|_| true), shown_ports),
            all_restricted: ports.is_none(),
            open: shown(&is_open),
            public: shown(&is_public),
            keep_known: *keep_known,
            admitted,
            admitted_total,
            shut_out,
            shut_out_total,
            ..LockdownState::default()
        }
    }

    /// Who gets in during a lockdown.
    fn admitted(&self, keep_known: bool, now: SystemTime) -> Vec<LockdownAdmitted> {
        let never = if self.keys().ignore_private == 0 { None } else { Some(()) };
        let never = never.map(|()| LockdownAdmitted {
            source: "private ranges".to_owned(),
            because: "never_judged".to_owned(),
            name: Some("`ignore_private` of the configuration".to_owned()),
            until: None,
        });
        let listed = self.allow_list().entries.into_iter().map(|entry| LockdownAdmitted {
            source: entry.prefix,
            because: entry.source,
            name: entry.name.or(entry.comment),
            until: entry.expires,
        });
        let mut admitted: Vec<LockdownAdmitted> = never.into_iter().chain(listed).collect();
        if keep_known {
            let mut known: Vec<SourceKey> = self.people.all_known(seconds(now)).collect();
            known.sort_unstable_by_key(|source| source.0.bytes());
            admitted.extend(known.iter().map(|source| {
                let until = self.people.until(source);
                LockdownAdmitted {
                    source: self.named(*source),
                    because: "known".to_owned(),
                    name: self.people.added(source).and_then(|added| added.comment.clone()),
                    until: (until != u64::MAX).then(|| timestamp(at(until))),
                }
            }));
        }
        admitted
    }

    /// Who had sessions in the last month, or is known, and does not get in: on restricted ports, on public ones.
    fn shut_out(&self, keep_known: bool, restricted: bool, public: bool, now: SystemTime) -> Vec<LockdownShutOut> {
        let since = seconds(now.checked_sub(MONTH).unwrap_or(UNIX_EPOCH));
        let counts = |wanted: bool, acquaintance: &Acquaintance| {
            let Acquaintance { sessions, last, .. } = *acquaintance;
            if wanted && sessions > 0 && last >= since { (sessions, last) } else { (0, 0) }
        };
        let is_kept_out = |source: &SourceKey| {
            !(keep_known && self.is_known(source, now)) && self.allow.covering(self.prefix_of(source)).next().is_none()
        };
        let here = self.people.iter().filter_map(|(source, person)| {
            let [on_restricted, on_public] = [(restricted, &person.restricted), (public, &person.public)]
                .map(|(wanted, acquaintance)| counts(wanted, acquaintance));
            let login = if restricted && person.login >= since { person.login } else { 0 };
            let last = on_restricted.1.max(on_public.1).max(login);
            (last > 0 && is_kept_out(source)).then_some((*source, on_restricted.0 + on_public.0, last))
        });
        // Those of whom an operator says so, and who were not here.
        let named = self.people.all_added().filter(|(source, added)| {
            let was_here = self.people.get(source).is_some_and(|person| {
                counts(restricted, &person.restricted).0 > 0 || (restricted && person.login >= since)
            });
            restricted && added.ends() > seconds(now) && !was_here && is_kept_out(source)
        });
        let mut found: Vec<(SourceKey, u64, u64)> = here.chain(named.map(|(source, _)| (*source, 0, 0))).collect();
        found.sort_unstable_by_key(|(source, _, last)| (std::cmp::Reverse(*last), source.0.bytes()));
        found.dedup_by_key(|(source, ..)| *source);
        let shut_out = found.into_iter().map(|(source, sessions, last)| LockdownShutOut {
            source: self.named(source),
            known: self.is_known(&source, now),
            sessions,
            last: (last > 0).then(|| timestamp(at(last))),
        });
        shut_out.collect()
    }
}

fn parse_ports<'t>(texts: impl Iterator<Item = &'t str>) -> Result<PortList, String> {
    texts.map(str::parse::<PortRange>).collect::<Result<_, _>>().map(PortList)
}

fn shown_ports(ports: &PortList) -> Vec<String> {
    ports.0.iter().map(ToString::to_string).collect()
}

/// Ports in ascending order, protocol by protocol, as ranges.
fn ranges(ports: impl IntoIterator<Item = (Protocol, u16)>) -> PortList {
    let mut ranges: Vec<PortRange> = Vec::new();
    for (protocol, port) in ports {
        match ranges.last_mut() {
            Some(range) if range.protocol == protocol && range.last.checked_add(1) == Some(port) => range.last = port,
            _ => ranges.push(PortRange { protocol, first: port, last: port }),
        }
    }
    PortList(ranges)
}

/// A time of seconds since 1970.
fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_follow_each_other_are_a_range_of_their_protocol() {
        let ports = [(Protocol::Tcp, 22), (Protocol::Tcp, 8000), (Protocol::Tcp, 8001), (Protocol::Udp, 8002)];
        assert_eq!(shown_ports(&ranges(ports)), ["22", "8000-8001", "8002/udp"]);
        assert_eq!(parse_ports(["22", "8000-8001", "8002/udp"].into_iter()), Ok(ranges(ports)));
        assert!(parse_ports(["ssh"].into_iter()).is_err());
    }

    #[test]
    fn what_was_kept_is_read_back_and_what_cannot_be_read_is_none() {
        let kept = |ports: Option<&str>| KeptLockdown {
            since: 1_000,
            until: 2_000,
            ports: ports.map(str::to_owned),
            keep_known: true,
        };
        let read =
            |ports| LockdownNow::of_kept(kept(ports)).map(|lockdown| lockdown.ports.map(|ports| shown_ports(&ports)));
        assert_eq!(read(None), Some(None));
        assert_eq!(read(Some("22 53/udp")), Some(Some(vec!["22".to_owned(), "53/udp".to_owned()])));
        assert_eq!(read(Some("ssh")), None, "nobody is shut out by what is not understood");
    }
}
