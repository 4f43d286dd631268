//! What somebody else alters in the kernel's tables, with the real bpftool, is put right.
//!
//! Needs root; run by `cargo xtask test`, which builds the programs first.

use std::collections::BTreeMap;
use std::mem::offset_of;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use scanguard::known::{Acquaintance, Acquainted};
use scanguard::store::Store;
use scanguard_common::config::KernelConfig;
use scanguard_common::layout::LAYOUT;
use scanguard_common::reason::Mode;
use scanguard_common::source::SourceKey;
use scanguard_tests::binary_beside_tests;
use scanguard_tests::lab::defender::Daemon;
use scanguard_tests::lab::tools::Tool;
use scanguard_tests::lab::{Lab, sandbox};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(30);
const STATE: &str = "/var/lib/scanguard/state.db";

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// A pinned map in the hands of bpftool.
struct Map<'l> {
    lab: &'l Lab,
    path: String,
}

impl<'l> Map<'l> {
    fn named(lab: &'l Lab, name: &str) -> Self {
        Self { lab, path: format!("/sys/fs/bpf/scanguard/v{LAYOUT}/maps/{name}") }
    }

    fn tool(&self, arguments: &[String]) -> String {
        let arguments = ["-j".to_owned(), "map".to_owned()].into_iter().chain(arguments.iter().cloned());
        let done = Tool::Bpftool.run(&self.lab.edge, arguments, LIMIT).expect("bpftool");
        done.success("bpftool").expect("a change").stdout
    }

    fn entries(&self) -> Entries {
        let dump = self.tool(&["dump", "pinned", &self.path].map(str::to_owned));
        let dump: Vec<Value> = serde_json::from_str(&dump).expect("JSON");
        let bytes = |value: &Value| -> Vec<u8> {
            let bytes = value.as_array().into_iter().flatten().filter_map(Value::as_str);
            bytes.map(|byte| u8::from_str_radix(byte.trim_start_matches("0x"), 16).expect("a byte")).collect()
        };
        dump.iter().map(|entry| (bytes(&entry["key"]), bytes(&entry["value"]))).collect()
    }

    fn update(&self, key: &[u8], value: &[u8]) {
        let words = [&["update", "pinned", &self.path, "key", "hex"].map(str::to_owned)[..], &hex(key)].concat();
        self.tool(&[&words[..], &["value", "hex"].map(str::to_owned), &hex(value)].concat());
    }

    fn delete(&self, key: &[u8]) {
        self.tool(&[&["delete", "pinned", &self.path, "key", "hex"].map(str::to_owned)[..], &hex(key)].concat());
    }
}

/// A table, and an entry of it that is to be altered.
struct Altered<'l> {
    name: &'static str,
    map: Map<'l>,
    /// What it should hold.
    right: Entries,
    key: Vec<u8>,
    value: Vec<u8>,
    /// A key that it should not have.
    other: Vec<u8>,
}

impl<'l> Altered<'l> {
    fn choose(name: &'static str, map: Map<'l>) -> Self {
        let right = map.entries();
        let (key, value) = right.first_key_value().unwrap_or_else(|| panic!("{name} is empty"));
        let (key, value, mut other) = (key.clone(), value.clone(), key.clone());
        let last = other.len() - 1;
        other[last] ^= 0x80;
        if key.len() > 16 {
            other[0] = 128; // A whole address, which is no prefix that anybody set.
        }
        Self { name, map, right, key, value, other }
    }
}

fn hex(bytes: &[u8]) -> Vec<String> {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn ask(daemon: &Daemon, path: &str, body: &Value) {
    daemon.ask(path, Some(body)).expect("an answer");
}

/// Entries of a table that were put right so far.
fn repairs(daemon: &Daemon, map: &str) -> u64 {
    let metrics = daemon.metrics().expect("metrics");
    let line = format!("scanguard_repairs_total{{map=\"{map}\"}} ");
    metrics.lines().find_map(|found| found.strip_prefix(&line)?.parse().ok()).unwrap_or(0)
}

/// Somebody who worked on a restricted port yesterday.
fn acquaint(source: Ipv4Addr) {
    let yesterday = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs() - 86_400;
    let worked = Acquaintance { sessions: 1, days: 1, first: yesterday, last: yesterday, counted: 1 };
    let person = Acquainted { restricted: worked, ..Acquainted::default() };
    let mut store = Store::open(Path::new(STATE)).expect("a store");
    store.save_known(&[(SourceKey(IpAddr::from(source).into()), person)]).expect("saved");
}

#[test]
fn entries_that_somebody_else_deletes_alters_or_adds_are_put_right() {
    sandbox::enter().expect("a sandbox, which needs root: run `cargo xtask test`");
    let lab = Lab::build(1).expect("the lab");
    acquaint(Ipv4Addr::new(198, 18, 0, 1));
    let config = "[ports]\nprotect = [\"198.51.100.0/24\"]\n";
    let daemon = Daemon::start_with(&lab.edge, &binary_beside_tests(), config, &["--keep"]).expect("the daemon");
    ask(&daemon, "/v1/allow", &json!({"entries": [{"prefix": "198.18.1.0/24"}, {"prefix": "2001:db8:9::/48"}]}));
    ask(&daemon, "/v1/block", &json!({"prefix": "203.0.113.9", "scope": "all"}));
    ask(&daemon, "/v1/block", &json!({"prefix": "203.0.113.10", "scope": "private", "for_s": 600}));
    ask(&daemon, "/v1/block", &json!({"prefix": "203.0.114.0/24", "scope": "all", "for_s": 600}));
    let drift = |daemon: &Daemon| daemon.ask("/v1/status", None).expect("an answer")["drift"].clone();
    let altered: Vec<Altered<'_>> = ["VERDICTS", "PREFIX_VERDICTS", "ALLOW", "KNOWN", "OWN", "PROTECTED", "NICS"]
        .into_iter()
        .map(|name| Altered::choose(name, Map::named(&lab, name)))
        .collect();
    for (step, how) in (1..).zip(["delete", "change", "add"]) {
        for Altered { name, map, right, key, value, other } in &altered {
            match how {
                "delete" => map.delete(key),
                "change" => map.update(key, &value.iter().map(|byte| byte ^ 1).collect::<Vec<u8>>()),
                _ => map.update(other, value),
            }
            // Unless it was put right already.
            assert!(map.entries() != *right || repairs(&daemon, name) == step, "{how} an entry of {name}");
        }
        for Altered { name, map, right, .. } in &altered {
            wait_for(&format!("{name} to be right after somebody did {how} an entry"), || map.entries() == *right);
            wait_for("the repair to be counted", || repairs(&daemon, name) == step);
        }
    }
    let ports = Map::named(&lab, "PORTS");
    let right = ports.entries();
    let (key, value) = right.iter().nth(80).expect("a port");
    ports.update(key, &[value[0] ^ 1]);
    wait_for("the class of a port to be right again", || ports.entries() == right);
    assert_eq!(repairs(&daemon, "PORTS"), 1);

    let settings = Map::named(&lab, "CONFIG");
    let mode = |value: &[u8]| {
        let place = offset_of!(KernelConfig, mode);
        u32::from_ne_bytes(value[place..place + 4].try_into().expect("four bytes"))
    };
    let (key, mut value) = settings.entries().pop_first().expect("the settings");
    assert_eq!(mode(&value), Mode::Observe as u32);
    value[offset_of!(KernelConfig, mode)] = Mode::Enforce as u8;
    settings.update(&key, &value);
    wait_for("the settings to be put right", || repairs(&daemon, "CONFIG") == 1);
    assert_eq!(mode(&settings.entries()[&key]), Mode::Observe as u32);

    wait_for("nothing to be adrift", || drift(&daemon) == 0);
    let status = daemon.ask("/v1/status", None).expect("an answer");
    let warnings = status["warnings"].as_array().expect("warnings");
    assert!(warnings.iter().any(|warning| warning["code"] == "drift"), "{status}");
    assert_eq!(status["healthy"], true, "{status}");
    daemon.stop().expect("a clean stop");
}
