//! What is different between two configurations, key by key.

use toml::{Table, Value};

use super::Config;
use super::document::{Comments, document};
use crate::api::Change;

/// Keys, or sections of them, that are in force only from the next start on: what they say was used up at this one.
const AT_START: &[&str] = &[
    "interfaces",
    "attach",
    "state",
    "keep",
    "pins",
    "cgroup",
    "control.",
    "metrics.",
    "events.",
    "sources.ipv6_prefix",
    "sources.max_sources",
    "log.",
];

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
    let at_start = AT_START.iter().any(|start| key == *start || (start.ends_with('.') && key.starts_with(start)));
    changes.push(Change { key: key.to_owned(), old: text(old), new: text(Some(new)), applied: !at_start });
}

/// The file that a configuration is written as has every key.
fn table(config: &Config) -> Table {
    document(config, Comments::Without).parse().unwrap_or_default()
}

/// A configuration that says what `new` says, but for what takes a restart, which it leaves as `old` has it.
#[must_use]
pub fn in_force(old: &Config, new: Config) -> Config {
    let Config {
        interfaces,
        attach,
        cgroup,
        state,
        keep,
        pins,
        control_socket,
        metrics_listen,
        events_ring_kib,
        log,
        ..
    } = old.clone();
    let sources = super::Sources {
        ipv6_prefix: old.sources.ipv6_prefix,
        max_sources: old.sources.max_sources,
        ..new.sources.clone()
    };
    Config {
        interfaces,
        attach,
        cgroup,
        state,
        keep,
        pins,
        control_socket,
        metrics_listen,
        events_ring_kib,
        log,
        sources,
        ..new
    }
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
}
