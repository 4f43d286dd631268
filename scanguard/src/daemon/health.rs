//! What a person should look at.

use std::time::Duration;

use crate::api::{Interface, MapFill, Warning};

/// A full table is no harm while it holds everybody seen in this time: what goes is older.
const MEMORY: Duration = Duration::from_secs(3600);
/// Part of its capacity at which a table that forgets counts as full: the kernel keeps some entries free on every CPU.
const FULL: f64 = 0.98;

/// What the warnings are drawn from.
pub(super) struct Facts<'f> {
    pub(super) interfaces: &'f [Interface],
    pub(super) sources: Option<&'f MapFill>,
    /// How long ago the longest unseen source of the table was seen.
    pub(super) oldest: Option<Duration>,
    /// Attempts that could not be counted per source.
    pub(super) uncounted: u64,
    pub(super) ring_lost: u64,
    /// Whether suspects arise faster than real ones do.
    pub(super) storm: bool,
    /// Whether this host forwards packets for others.
    pub(super) forwards: bool,
}

/// The warnings, the grave ones first.
pub(super) fn warnings(facts: &Facts<'_>) -> Vec<Warning> {
    let Facts { interfaces, sources, oldest, uncounted, ring_lost, storm, forwards } = *facts;
    let mut warnings: Vec<Warning> = interfaces.iter().filter(|interface| !interface.attached).map(detached).collect();
    warnings.extend(sources.filter(|_| oldest.is_some_and(|oldest| oldest < MEMORY)).and_then(full));
    if uncounted > 0 {
        warnings.push(Warning {
            code: "attempts_uncounted".into(),
            message: format!(
                "{uncounted} connection attempts could not be counted per source: the table took no entry."
            ),
            hint: "Raise `max_sources` in [sources] and restart.".into(),
            unhealthy: false,
        });
    }
    if ring_lost > 0 {
        warnings.push(Warning {
            code: "events_lost".into(),
            message: format!("{ring_lost} events were lost since the start: they came faster than they were read."),
            hint: "Counters lost nothing. If it goes on, raise `ring_kib` in [events] and restart.".into(),
            unhealthy: false,
        });
    }
    if storm {
        warnings.push(Warning {
            code: "storm".into(),
            message:
                "Suspects arise faster than real ones do: somebody forges them. Attempts on closed ports are dropped, \
                      whoever makes them; open ports are as before."
                    .into(),
            hint: "It ends by itself. `suspects_per_second` in [storm] says when it begins.".into(),
            unhealthy: false,
        });
    }
    if forwards {
        warnings.push(Warning {
            code: "forwards".into(),
            message: "This host forwards packets. Ports that it forwards to others (containers, DNAT) have no listener here, \
                      and count as closed once the learning period is over."
                .into(),
            hint: "Name them in `public` or `restricted` of [ports]; `learning` there says how long it learns.".into(),
            unhealthy: false,
        });
    }
    warnings
}

fn detached(interface: &Interface) -> Warning {
    Warning {
        code: "not_attached".into(),
        message: format!("{} is not guarded: our program is no longer on it.", interface.name),
        hint: format!("See `ip -d link show dev {}`, then restart scanguard to attach again.", interface.name),
        unhealthy: true,
    }
}

fn full(map: &MapFill) -> Option<Warning> {
    (map.entries as f64 >= FULL * map.capacity as f64).then(|| Warning {
        code: "sources_full".into(),
        message: format!(
            "The table of sources is full ({} of {}) and forgets sources seen less than an hour ago.",
            map.entries, map.capacity
        ),
        hint: "Raise `max_sources` in [sources] and restart.".into(),
        unhealthy: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(facts: &Facts<'_>) -> Vec<(String, bool)> {
        warnings(facts).into_iter().map(|warning| (warning.code, warning.unhealthy)).collect()
    }

    #[test]
    fn a_daemon_that_does_its_work_has_no_warnings() {
        let interfaces = [Interface { name: "eth0".into(), driver_mode: "native".into(), attached: true }];
        let map = MapFill { name: "SOURCES".into(), entries: 100, capacity: 100, bytes: 0 };
        let old = Some(Duration::from_secs(7200));
        let quiet = Facts {
            interfaces: &interfaces,
            sources: Some(&map),
            oldest: old,
            uncounted: 0,
            ring_lost: 0,
            storm: false,
            forwards: false,
        };
        assert_eq!(codes(&quiet), [], "a full table that forgets only old sources is as it should be");
    }

    #[test]
    fn what_keeps_it_from_its_work_is_unhealthy_and_the_rest_is_not() {
        let interfaces = [Interface { name: "eth0".into(), driver_mode: "native".into(), attached: false }];
        let map = MapFill { name: "SOURCES".into(), entries: 99, capacity: 100, bytes: 0 };
        let ill = Facts {
            interfaces: &interfaces,
            sources: Some(&map),
            oldest: Some(Duration::from_secs(5)),
            uncounted: 1,
            ring_lost: 1,
            storm: true,
            forwards: true,
        };
        let expected = [
            ("not_attached", true),
            ("sources_full", true),
            ("attempts_uncounted", false),
            ("events_lost", false),
            ("storm", false),
            ("forwards", false),
        ];
        assert_eq!(codes(&ill), expected.map(|(code, unhealthy)| (code.to_owned(), unhealthy)));
    }
}
