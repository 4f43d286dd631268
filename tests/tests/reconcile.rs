//! What somebody else alters in the kernel's tables, with the real bpftool, is put right.
//!
//! Needs root; run by `cargo xtask test`, which builds the programs first.

use std::mem::offset_of;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use scanguard::known::{Acquaintance, Acquainted};
use scanguard::store::Store;
use scanguard_common::config::KernelConfig;
use scanguard_common::reason::Mode;
use scanguard_common::source::SourceKey;
use scanguard_tests::binary_beside_tests;
use scanguard_tests::daemon::wait_for;
use scanguard_tests::lab::defender::Daemon;
use scanguard_tests::lab::pinned::{Entries, Pinned};
use scanguard_tests::lab::{Lab, sandbox};
use serde_json::{Value, json};

const STATE: &str = "/var/lib/scanguard/state.db";

/// A table, and an entry of it that is to be altered.
struct Altered {
    name: &'static str,
    map: Pinned,
    /// What it should hold.
    right: Entries,
    key: Vec<u8>,
    value: Vec<u8>,
    /// A key that it should not have.
    other: Vec<u8>,
}

impl Altered {
    fn choose(name: &'static str, map: Pinned) -> Self {
        let right = map.entries().expect("entries");
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

fn ask(daemon: &Daemon, path: &str, body: &Value) {
    daemon.ask(path, Some(body)).expect("an answer");
}

/// Entries of a table that were put right so far.
fn repairs(daemon: &Daemon, map: &str) -> u64 {
    let metrics = daemon.metrics().expect("metrics");
    let line = format!("scanguard_repairs_total{{map=\"{map}\"}} ");
    metrics.lines().find_map(|found| found.strip_prefix(&line)?.parse().ok()).unwrap_or(0)
}

/// Somebody who was logged in yesterday.
fn acquaint(source: Ipv4Addr) {
    let yesterday = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs() - 86_400;
    let worked = Acquaintance { sessions: 1, days: 1, first: yesterday, last: yesterday, counted: 1 };
    let person = Acquainted { restricted: worked, login: yesterday, ..Acquainted::default() };
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
    let altered: Vec<Altered> = ["VERDICTS", "PREFIX_VERDICTS", "ALLOW", "KNOWN", "OWN", "PROTECTED", "NICS"]
        .into_iter()
        .map(|name| Altered::choose(name, Pinned::named(&lab.edge, name)))
        .collect();
    for (step, how) in (1..).zip(["delete", "change", "add"]) {
        for Altered { name, map, right, key, value, other } in &altered {
            match how {
                "delete" => map.delete(key).expect("deleted"),
                "change" => map.update(key, &value.iter().map(|byte| byte ^ 1).collect::<Vec<u8>>()).expect("changed"),
                _ => map.update(other, value).expect("added"),
            }
            // Unless it was put right already.
            assert!(
                map.entries().expect("entries") != *right || repairs(&daemon, name) == step,
                "{how} an entry of {name}"
            );
        }
        for Altered { name, map, right, .. } in &altered {
            wait_for(&format!("{name} to be right after somebody did {how} an entry"), || {
                map.entries().expect("entries") == *right
            });
            wait_for("the repair to be counted", || repairs(&daemon, name) == step);
        }
    }
    let ports = Pinned::named(&lab.edge, "PORTS");
    let right = ports.entries().expect("entries");
    let (key, value) = right.iter().nth(80).expect("a port");
    ports.update(key, &[value[0] ^ 1]).expect("changed");
    wait_for("the class of a port to be right again", || ports.entries().expect("entries") == right);
    assert_eq!(repairs(&daemon, "PORTS"), 1);

    // Without its bits a verdict is not found: the sieve says that there is none.
    let sieve = Pinned::named(&lab.edge, "SIEVE");
    let right = sieve.entries().expect("entries");
    let (key, _) = right.iter().find(|(_, word)| word.iter().any(|byte| *byte != 0)).expect("a word with bits");
    sieve.update(key, &[0; 8]).expect("changed");
    wait_for("the sieve to be right again", || sieve.entries().expect("entries") == right);
    assert_eq!(repairs(&daemon, "SIEVE"), 1);

    let settings = Pinned::named(&lab.edge, "CONFIG");
    let mode = |value: &[u8]| {
        let place = offset_of!(KernelConfig, mode);
        u32::from_ne_bytes(value[place..place + 4].try_into().expect("four bytes"))
    };
    let (key, mut value) = settings.entries().expect("entries").pop_first().expect("the settings");
    assert_eq!(mode(&value), Mode::Observe as u32);
    value[offset_of!(KernelConfig, mode)] = Mode::Enforce as u8;
    settings.update(&key, &value).expect("changed");
    wait_for("the settings to be put right", || repairs(&daemon, "CONFIG") == 1);
    assert_eq!(mode(&settings.entries().expect("entries")[&key]), Mode::Observe as u32);

    wait_for("nothing to be adrift", || drift(&daemon) == 0);
    let status = daemon.ask("/v1/status", None).expect("an answer");
    let warnings = status["warnings"].as_array().expect("warnings");
    assert!(warnings.iter().any(|warning| warning["code"] == "drift"), "{status}");
    assert_eq!(status["healthy"], true, "{status}");
    daemon.stop().expect("a clean stop");
}

#[test]
fn what_somebody_else_deletes_is_put_right_while_the_daemon_itself_writes_all_the_time() {
    sandbox::enter().expect("a sandbox, which needs root: run `cargo xtask test`");
    let lab = Lab::build(1).expect("the lab");
    let daemon = Daemon::start_with(&lab.edge, &binary_beside_tests(), "", &["--keep"]).expect("the daemon");
    ask(&daemon, "/v1/block", &json!({"prefix": "203.0.113.9", "scope": "all"}));
    let verdicts = Pinned::named(&lab.edge, "VERDICTS");
    let right = verdicts.entries().expect("entries");
    let (key, value) = right.first_key_value().expect("a verdict");
    let mut others = (0_u32..).map(|number| Ipv4Addr::from(0xc612_0000 | number).to_string());
    let mut written = Vec::new();
    for how in ["delete", "change"] {
        let before = repairs(&daemon, "VERDICTS");
        match how {
            "delete" => verdicts.delete(key).expect("deleted"),
            _ => verdicts.update(key, &value.iter().map(|byte| byte ^ 1).collect::<Vec<u8>>()).expect("changed"),
        }
        wait_for(&format!("the verdict to be right after somebody did {how} it"), || {
            let other = others.next().expect("more of them");
            ask(&daemon, "/v1/block", &json!({"prefix": other, "scope": "all"}));
            written.push(other);
            verdicts.entries().expect("entries").get(key) == Some(value) && repairs(&daemon, "VERDICTS") > before
        });
    }
    assert_eq!(
        repairs(&daemon, "VERDICTS"),
        2,
        "of the {} that were written meanwhile none is taken for altered",
        written.len()
    );
    let list = daemon.ask("/v1/block", None).expect("an answer");
    assert_eq!(list["entries"].as_array().map(Vec::len), Some(written.len() + 1));
    daemon.stop().expect("a clean stop");
}
