//! The numbers as metrics. The kernel already counts, so nothing is counted again here: families are made from what was
//! read. Labels come from small closed sets, never from addresses.

use std::time::SystemTime;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use scanguard_common::reason::{Level, Mode};

use super::labels::{self, merged, summed};
use super::sample::Sample;
use crate::kernel::DriverMode;

/// One sample as a collector, for a registry that lives as long as a scrape.
pub struct Families {
    /// The numbers; none when they could not be read.
    pub sample: Option<Sample>,
    /// Scrapes since the start that could not read everything.
    pub scrape_errors: u64,
}

impl Collector for Families {
    /// None: descriptions are for registries that many unrelated collectors share.
    fn desc(&self) -> Vec<&Desc> {
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = vec![
            gauge(
                "build_info",
                "The running version, as a label; always 1.",
                [(vec![("version", env!("CARGO_PKG_VERSION"))], 1)],
            ),
            counter(
                "scrape_errors_total",
                "Scrapes that could not read everything.",
                [(Vec::new(), self.scrape_errors)],
            ),
        ];
        if let Some(sample) = &self.sample {
            families.extend(read(sample));
        }
        families
    }
}

type Labels<'l> = Vec<(&'static str, &'l str)>;

fn read(sample: &Sample) -> Vec<MetricFamily> {
    let Sample {
        verdicts,
        contacts,
        attempts,
        challenges,
        withheld,
        events_lost,
        proofs_lost,
        unrecorded,
        sources,
        suspects,
        blocks,
        heartbeat,
        maps,
        interfaces,
        ..
    } = sample;
    let Sample { decisions, decision_seconds, drift, repairs, state, breaker_open, pending, would_have, .. } = sample;
    let Sample { mode, configured, healthy, degraded, warnings, config_read, .. } = sample;
    let (state_failing, state_failures, state_set_aside) = *state;
    let Sample { incidents, incidents_open, feeds, signals, .. } = sample;
    let verdicts = merged(verdicts.iter().map(|(level, reason, mode, count)| {
        (vec![("level", level.label()), ("reason", labels::reason(*reason)), ("mode", mode.label())], *count)
    }));
    let withheld = withheld
        .iter()
        .map(|(level, mode, count)| (vec![("level", level.label()), ("mode", mode.label())], count.packets));
    let attach_modes = interfaces.iter().flat_map(|interface| {
        DriverMode::ALL.map(|mode| {
            let now = interface.attached && interface.driver_mode == mode.label();
            (vec![("interface", interface.name.as_str()), ("mode", mode.label())], u64::from(now))
        })
    });
    let in_mode = |of: Mode| Mode::ALL.map(|mode| (vec![("mode", mode.label())], u64::from(mode == of)));
    let mut families = vec![
        gauge("mode", "1 for the mode in force, else 0.", in_mode(*mode)),
        gauge("configured_mode", "1 for the mode that the configuration asks for, else 0.", in_mode(*configured)),
        gauge("lockdown", "1 while a lockdown is in force, else 0.", [flag(sample.lockdown)]),
        gauge("healthy", "1 while it does its work, else 0: `scanguard status` says why.", [flag(*healthy)]),
        gauge(
            "degraded",
            "1 while something of its work would not outlast a restart, else 0: `scanguard status` says what.",
            [flag(*degraded)],
        ),
        gauge(
            "warnings",
            "Warnings of `scanguard status`, by code.",
            warnings.iter().map(|(code, count)| (vec![("code", *code)], *count)),
        ),
        gauge(
            "config_last_reload_successful",
            "1 if the configuration could be read and put in force the last time that this was tried, else 0.",
            [flag(config_read.0)],
        ),
        family(
            "config_last_reload_success_timestamp_seconds",
            "When the configuration was put in force last, by a start or a reload, in seconds since 1970.",
            MetricType::GAUGE,
            [(Vec::new(), config_read.1.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64())],
            set_gauge,
        ),
        counter(
            "packets_total",
            "Packets by what was done with them, why, and in which mode. Each packet is counted once.",
            verdicts.iter().map(|(labels, count)| (labels.clone(), count.packets)),
        ),
        counter(
            "bytes_total",
            "Bytes on the link, by what was done with them, why, and in which mode.",
            verdicts.iter().map(|(labels, count)| (labels.clone(), count.bytes)),
        ),
        counter(
            "answers_withheld_total",
            "Answers of the stack that were kept from suspects and blocked sources as they left, or would have been in mode enforce.",
            withheld,
        ),
        counter(
            "contacts_total",
            "First packets of a source to a destination, protocol and port, by outcome.",
            summed(contacts.iter().map(|(outcome, count)| (vec![("outcome", labels::outcome(*outcome))], *count))),
        ),
        counter(
            "attempts_total",
            "New flows by class of the port asked for and protocol.",
            summed(attempts.iter().map(|(class, protocol, count)| {
                (vec![("class", labels::class(*class)), ("protocol", protocol.label())], *count)
            })),
        ),
        counter(
            "events_lost_total",
            "Events that found a queue full, by queue. Counters lose nothing by it.",
            [
                (vec![("ring", "events")], *events_lost),
                (vec![("ring", "proofs")], *proofs_lost),
                (vec![("ring", "incidents")], sample.incident_events_lost),
                (vec![("ring", "policy_proofs")], sample.undecided.0),
                (vec![("ring", "policy_events")], sample.undecided.1),
            ],
        ),
        counter(
            "unrecorded_attempts_total",
            "Attempts at public ports of new sources that got no record, because new ones came faster than sources.new_per_second. They passed.",
            [(Vec::new(), *unrecorded)],
        ),
        counter(
            "challenges_total",
            "Challenges to suspects by what became of them; both kinds are one here.",
            summed(
                challenges
                    .iter()
                    .map(|(_, result, count)| (vec![("kind", labels::CHALLENGE), ("result", result.label())], *count)),
            ),
        ),
        gauge("sources", "Sources in the table.", [(Vec::new(), *sources)]),
        gauge("suspects", "Sources whose score reached the conceal threshold.", [(Vec::new(), *suspects)]),
        gauge(
            "verdicts",
            "Sources by what is done about them, and by the scope of a block.",
            [(vec![("level", Level::Conceal.label()), ("scope", "none")], *suspects)].into_iter().chain(
                blocks
                    .iter()
                    .map(|(scope, count)| (vec![("level", Level::Block.label()), ("scope", scope.label())], *count)),
            ),
        ),
        family(
            "heartbeat_seconds",
            "Seconds since the daemon last told the kernel part that it lives; above 30 nobody becomes a suspect.",
            MetricType::GAUGE,
            [(Vec::new(), heartbeat.as_secs_f64())],
            set_gauge,
        ),
        gauge(
            "map_entries",
            "Entries in a table of the kernel part.",
            maps.iter().map(|map| (vec![("map", map.name.as_str())], map.entries)),
        ),
        gauge(
            "map_capacity",
            "Entries that a table of the kernel part can hold.",
            maps.iter().map(|map| (vec![("map", map.name.as_str())], map.capacity)),
        ),
        gauge("attach_mode", "1 for the mode in which the program runs on an interface now, else 0.", attach_modes),
        counter(
            "decisions_total",
            "What the policy decided, by action and reason.",
            decisions.iter().map(|((action, reason), count)| (vec![("action", *action), ("reason", *reason)], *count)),
        ),
        counter(
            "incidents_total",
            "Incidents that opened since the daemon started, by kind.",
            incidents.iter().map(|(kind, count)| (vec![("kind", kind.label())], *count)),
        ),
        gauge("incidents_open", "Incidents that are open.", [(Vec::new(), *incidents_open)]),
        gauge(
            "enforcement_drift",
            "Entries of the kernel's tables that differed from what they should be when last compared.",
            [(Vec::new(), *drift)],
        ),
        counter(
            "repairs_total",
            "Entries of the kernel's tables that somebody else altered and that were put right, by table.",
            repairs.iter().map(|(map, entries)| (vec![("map", *map)], *entries)),
        ),
        gauge(
            "state_failing",
            "1 while what is decided cannot be kept in the file of state, else 0.",
            [(Vec::new(), u64::from(state_failing))],
        ),
        counter(
            "state_failures_total",
            "Reads and writes of the file of state that failed.",
            [(Vec::new(), state_failures)],
        ),
        counter(
            "state_set_aside_total",
            "Files of state that were damaged and set aside.",
            [(Vec::new(), state_set_aside)],
        ),
        gauge(
            "state_records_waiting",
            "Records of the audit and of the lives of blocks that wait in memory for the file of state.",
            [(Vec::new(), sample.records.0)],
        ),
        counter(
            "state_records_lost_total",
            "Such records that were lost, because too many waited.",
            [(Vec::new(), sample.records.1)],
        ),
        counter(
            "log_lines_dropped_total",
            "Log lines that are in no log: because whoever reads it was too slow, or because ten of their kind were written in that second.",
            sample.log_lines.map(|(reason, count)| (vec![("reason", reason)], count)),
        ),
        gauge(
            "breaker_open",
            "1 while the budget of automatic blocks is used up, else 0.",
            [(Vec::new(), u64::from(*breaker_open))],
        ),
        counter(
            "would_have_total",
            "What enforcing would have done while the mode was observe: sources hidden from or blocked, and how many of them had sessions.",
            [
                ("hidden", would_have.hidden),
                ("blocked", would_have.blocked),
                ("with_sessions", would_have.with_sessions),
            ]
            .map(|(action, count)| (vec![("action", action)], count)),
        ),
        gauge("pending", "Blocks that wait for a person.", [(Vec::new(), *pending)]),
        counter(
            "signals_total",
            "Signals that were given since the daemon started: heard, or refused for their number.",
            signals.iter().map(|(result, count)| (vec![("result", *result)], *count)),
        ),
        gauge(
            "feed_prefixes",
            "Prefixes of a feed, each once.",
            feeds.iter().map(|feed| (vec![("feed", feed.name.as_str())], feed.prefixes)),
        ),
        family(
            "feed_age_seconds",
            "Seconds since the file of a feed was read.",
            MetricType::GAUGE,
            feeds.iter().map(|feed| (vec![("feed", feed.name.as_str())], feed.age.as_secs_f64())),
            set_gauge,
        ),
    ];
    families.extend(decision_seconds.iter().flat_map(Collector::collect));
    families
}

/// A condition as the value of a gauge without labels.
fn flag<'l>(condition: bool) -> (Labels<'l>, u64) {
    (Vec::new(), u64::from(condition))
}

fn counter<'l>(name: &str, help: &str, values: impl IntoIterator<Item = (Labels<'l>, u64)>) -> MetricFamily {
    let values = values.into_iter().map(|(labels, value)| (labels, value as f64));
    family(name, help, MetricType::COUNTER, values, |metric, value| {
        let mut counter = Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    })
}

fn gauge<'l>(name: &str, help: &str, values: impl IntoIterator<Item = (Labels<'l>, u64)>) -> MetricFamily {
    let values = values.into_iter().map(|(labels, value)| (labels, value as f64));
    family(name, help, MetricType::GAUGE, values, set_gauge)
}

fn set_gauge(metric: &mut Metric, value: f64) {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    metric.set_gauge(gauge);
}

fn family<'l>(
    name: &str,
    help: &str,
    kind: MetricType,
    values: impl IntoIterator<Item = (Labels<'l>, f64)>,
    set: impl Fn(&mut Metric, f64),
) -> MetricFamily {
    let metrics = values.into_iter().map(|(labels, value)| {
        let labels = labels.into_iter().map(|(name, value)| {
            let mut label = LabelPair::default();
            label.set_name(name.to_owned());
            label.set_value(value.to_owned());
            label
        });
        let mut metric = Metric::from_label(labels.collect());
        set(&mut metric, value);
        metric
    });
    let mut family = MetricFamily::default();
    family.set_name(format!("scanguard_{name}"));
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics.collect());
    family
}
