//! Metrics as Prometheus sees them: checked by promtool, scraped by a real Prometheus.
//!
//! Needs root and Prometheus; run by `cargo xtask test`, which gets both programs and says where in `SCANGUARD_PROMETHEUS`.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use scanguard_tests::binary_beside_tests;
use scanguard_tests::lab::defender::Daemon;
use scanguard_tests::lab::plan::EDGE;
use scanguard_tests::lab::process::{Running, in_memory};
use scanguard_tests::lab::tools::Tool;
use scanguard_tests::lab::{Lab, sandbox};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(30);
const CONFIG: &str = "
global:
  scrape_interval: 1s
scrape_configs:
  - job_name: scanguard
    static_configs:
      - targets: ['127.0.0.1:9477']
";

fn program(name: &str) -> PathBuf {
    let folder = env::var_os("SCANGUARD_PROMETHEUS")
        .expect("SCANGUARD_PROMETHEUS, the folder of prometheus and promtool: run `cargo xtask test`");
    PathBuf::from(folder).join(name)
}

fn start() -> (Lab, Daemon) {
    sandbox::enter().expect("a sandbox, which needs root: run `cargo xtask test`");
    let lab = Lab::build(1).expect("the lab");
    let daemon = Daemon::start(&lab.edge, &binary_beside_tests(), "").expect("the daemon");
    // One attempt, refused: something to count.
    let url = format!("http://{EDGE}:8081/");
    Tool::Curl.run(&lab.customers, ["--disable", "-s", "--max-time", "5", &url], LIMIT).expect("curl");
    (lab, daemon)
}

#[test]
fn promtool_has_nothing_to_say_against_the_metrics() {
    let (lab, daemon) = start();
    let text = daemon.metrics().expect("metrics");
    let mut command = lab.edge.command(program("promtool"));
    command.args(["check", "metrics"]);
    let stdin: Stdio = in_memory("metrics", &text).expect("a file in memory");
    let checked = Running::start_reading(command, stdin).expect("promtool").wait(LIMIT).expect("an end");
    assert!(checked.status.success() && checked.stdout.is_empty() && checked.stderr.is_empty(), "{checked:?}\n{text}");
    for family in [
        "scanguard_packets_total",
        "scanguard_bytes_total",
        "scanguard_contacts_total",
        "scanguard_attempts_total",
        "scanguard_sources",
        "scanguard_suspects",
        "scanguard_map_entries",
        "scanguard_map_capacity",
        "scanguard_events_lost_total",
        "scanguard_attach_mode",
        "scanguard_build_info",
        "scanguard_scrape_errors_total",
    ] {
        assert!(text.contains(&format!("# HELP {family} ")), "there is no {family} in\n{text}");
    }
    assert!(!text.contains(&EDGE.to_string()) && !text.contains("198.51.100."), "no address in a label:\n{text}");
    daemon.stop().expect("a clean stop");
}

#[test]
fn a_real_prometheus_scrapes_what_was_counted() {
    let (lab, daemon) = start();
    let folder = env::temp_dir().join(format!("scanguard-prometheus-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join("prometheus.yml"), CONFIG).expect("a configuration");
    let mut command = lab.edge.command(program("prometheus"));
    command
        .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg("--web.listen-address=127.0.0.1:9090");
    let prometheus = Running::start(command).expect("prometheus");
    let url = "http://127.0.0.1:9090/api/v1/query?query=sum(scanguard_attempts_total)";
    let deadline = Instant::now() + LIMIT;
    let value = loop {
        let answer = Tool::Curl.run(&lab.edge, ["--disable", "-sS", "-g", url], LIMIT).expect("curl");
        let json: Value = serde_json::from_str(&answer.stdout).unwrap_or_default();
        if let Some(value) = json["data"]["result"][0]["value"][1].as_str() {
            break value.parse::<f64>().expect("a number");
        }
        assert!(Instant::now() < deadline, "no sample arrived: {answer:?}\n{}", prometheus.stderr());
    };
    assert!(value >= 1.0, "the customer's attempt is in Prometheus: {value}");
    prometheus.stop(Signal::TERM, LIMIT).expect("an end of prometheus");
    fs::remove_dir_all(&folder).expect("the folder removed");
    daemon.stop().expect("a clean stop");
}
