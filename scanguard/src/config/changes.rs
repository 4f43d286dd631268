//! What is different between two configurations, key by key.

use toml::{Table, Value};

use super::Config;
use super::document::{Comments, document};
use crate::api::Change;

/// Gives a key the value that it has in another configuration.
type Keep = fn(&mut Config, &Config);

/// Keys that are in force only from the next start on, because what they say was used up at this one, each with its
/// field.
macro_rules! at_start {
    ($($key:literal => $($field:ident).+;)+) => {
        const AT_START: &[(&str, Keep)] =
            &[$(($key, |new, old| new.$($field).+.clone_from(&old.$($field).+))),+];
    };
}

at_start! {
    "attach" => attach;
    "cgroup" => cgroup;
    "control.group" => control_group;
    "control.socket" => control_socket;
    "events.ring_kib" => events_ring_kib;
    "interfaces" => interfaces;
    "keep" => keep;
    "log.format" => log.format;
    "log.frames" => log.frames;
    "log.level" => log.level;
    "metrics.listen" => metrics_listen;
    "pins" => pins;
    "sources.ipv6_prefix" => sources.ipv6_prefix;
    "sources.max_sources" => sources.sizes.sources;
    "sources.tables" => sources.sizes.share;
    "state" => state;
}

/// Every key that says something else, in the order of their names.
#[must_use]
pub fn changes(old: &Config, new: &Config) -> Vec<Change> {
    let (old, new) = (table(old), table(new));
    let mut changes = Vec::new();
    for (name, value) in &new {
        let earlier = old.get(name);
        match (earlier, value) {
            (Some(Value::Table(earlier)), Value::Table(section)) => {
                for (key, value) in section {
                    compare(&format!("{name}.{key}"), earlier.get(key), value, &mut changes);
                }
            }
            _ => compare(name, earlier, value, &mut changes),
        }
    }
    changes
}

fn compare(key: &str, old: Option<&Value>, new: &Value, changes: &mut Vec<Change>) {
    if old == Some(new) {
        return;
    }
    let text = |value: Option<&Value>| value.map_or_else(String::new, Value::to_string);
    let at_start = AT_START.iter().any(|(start, _)| key == *start);
    changes.push(Change { key: key.to_owned(), old: text(old), new: text(Some(new)), applied: !at_start });
}

/// The file that a configuration is written as has every key.
fn table(config: &Config) -> Table {
    document(config, Comments::Without).parse().unwrap_or_default()
}

/// A configuration that says what `new` says, but for what takes a restart, which it leaves as `old` has it.
#[must_use]
pub fn in_force(old: &Config, mut new: Config) -> Config {
    for (_, keep) in AT_START {
        keep(&mut new, old);
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Config {
        Config::parse(text.as_bytes()).expect("a valid configuration")
    }

    #[test]
    fn what_is_different_is_told_with_both_values_and_whether_it_is_in_force() {
        let old =
            parse("mode = \"observe\"\nallow = [\"192.0.2.1\"]\n[sources]\nmax_sources = 2048\n[score]\na = 0.02\n");
        let new = parse("mode = \"enforce\"\nallow = []\n[sources]\nmax_sources = 4096\n[metrics]\nlisten = \"off\"\n");
        let told: Vec<String> = changes(&old, &new)
            .iter()
            .map(|Change { key, old, new, applied }| format!("{key}: {old} -> {new} {applied}"))
            .collect();
        assert_eq!(
            told,
            [
                "allow: [\"192.0.2.1\"] -> [] true",
                "metrics.listen: \"127.0.0.1:9477\" -> \"off\" false",
                "mode: \"observe\" -> \"enforce\" true",
                "score.a: 0.02 -> 0.01 true",
                "sources.max_sources: 2048 -> 4096 false",
            ]
        );
        assert_eq!(changes(&new, &new), []);
    }

    #[test]
    fn what_takes_a_restart_stays_as_it_was_and_the_rest_is_new() {
        let old = parse("attach = \"native\"\n[sources]\nipv6_prefix = 56\n[log]\nlevel = \"warn\"\n");
        let new =
            parse("allow = [\"192.0.2.1\"]\nmode = \"enforce\"\n[conceal]\nduration = \"2h\"\n[block]\nfactor = 2\n");
        let left = changes(&in_force(&old, new.clone()), &new);
        assert!(left.iter().all(|change| !change.applied), "{left:?}");
        assert!(changes(&old, &in_force(&old, new)).iter().all(|change| change.applied));
    }

    /// Another value than the default one for every key.
    const OTHER: &str = r#"
        interfaces = ["eth9"]
        attach = "native"
        mode = "enforce"
        allow = ["192.0.2.1"]
        feeds = [{ name = "drop", file = "/etc/drop.txt", level = "conceal" }]
        challenge = "on"
        decoy_reply = "silence"
        cgroup = "off"
        state = "/var/lib/other/state.db"
        keep = true
        pins = "/sys/fs/bpf/other"
        control = { socket = "/run/other.sock", group = "adm" }
        metrics = { listen = "off" }
        score = { a = 0.02, b = 0.02, block_a = 1e-5, t0 = 0.7, t1 = 0.1, half_life = "1h" }
        conceal = { duration = "2h", longest = "48h" }
        storm = { suspects_per_second = 5, duration = "30s" }
        safety = { leases = false, lease = "5m", logins = "/run/logins.sock", shortest_ipv4 = 8, shortest_ipv6 = 16 }
        signals = { per_minute = 5, per_source = 5 }
        retention = { audit_rows = 2000, audit_days = 5, history_rows = 2000, history_days = 5 }
        events = { ring_kib = 64 }
        log = { format = "json", level = "debug", frames = true }

        [ports]
        public = [1]
        restricted = [2]
        canary = [3]
        unchallenged = [4]
        protect = ["198.51.100.0/24"]
        memory = "1d"
        learning = "1h"

        [sources]
        ipv6_prefix = 56
        translators = ["2001:db8:64::/96"]
        ignore_private = true
        shared = ["203.0.113.0/24"]
        max_sources = 2048
        tables = "half"
        new_per_second = 5

        [block]
        max_auto_level = "conceal"
        unproven = true
        first = "5m"
        factor = 2
        longest = "12h"
        recurrence = "1d"
        per_minute = 5
        most = 5
        most_harmed = 5
        question = "1h"
    "#;

    fn keys(changes: &[Change], applied: bool) -> Vec<&str> {
        changes.iter().filter(|change| change.applied == applied).map(|change| change.key.as_str()).collect()
    }

    #[test]
    fn every_key_that_needs_a_restart_stays_pending_over_any_number_of_reloads() {
        let (old, new) = (Config::default(), parse(OTHER));
        let all: Vec<String> = table(&old)
            .iter()
            .flat_map(|(name, value)| match value {
                Value::Table(section) => section.keys().map(|key| format!("{name}.{key}")).collect(),
                _ => vec![name.clone()],
            })
            .collect();
        let first = changes(&old, &new);
        let told: Vec<&str> = first.iter().map(|change| change.key.as_str()).collect();
        assert_eq!(told, all, "a key that is missing here has the same value in OTHER as by default");
        let restart: Vec<&str> = AT_START.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys(&first, false), restart);
        // As the daemon does: what is in force after a reload is what the next one compares with.
        let mut running = old.clone();
        for _ in 0..2 {
            running = in_force(&running, new.clone());
            let left = changes(&running, &new);
            assert_eq!((keys(&left, false), keys(&left, true)), (restart.clone(), vec![]));
            assert_eq!(keys(&changes(&old, &running), true), keys(&first, true));
            assert_eq!(keys(&changes(&old, &running), false), Vec::<&str>::new());
        }
    }
}
