//! Metrics as Prometheus sees them: checked by promtool, scraped by a real Prometheus, which has the rules and answers the
//! queries of the dashboard that are in `contrib/`.
//!
//! Needs root and Prometheus; run by `cargo xtask test`, which gets both programs and says where in `SCANGUARD_PROMETHEUS`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use scanguard_tests::binary_beside_tests;
use scanguard_tests::daemon::{LIMIT, wait_for};
use scanguard_tests::lab::defender::Daemon;
use scanguard_tests::lab::netns::Netns;
use scanguard_tests::lab::plan::EDGE;
use scanguard_tests::lab::process::{Running, in_memory};
use scanguard_tests::lab::services::Service;
use scanguard_tests::lab::tools::Tool;
use scanguard_tests::lab::{Lab, sandbox};
use serde_json::Value;

const CONFIG: &str = "
global:
  scrape_interval: 1s
  evaluation_interval: 1s
scrape_configs:
  - job_name: scanguard
    static_configs:
      - targets: ['127.0.0.1:9477']
";

/// Whom it names is blocked from private ports once it is a suspect.
const FEED: &str = "/run/feed.txt";
const SETTINGS: &str = "mode = \"enforce\"\nchallenge = \"on\"\n\
    feeds = [{ name = \"drop\", file = \"/run/feed.txt\", level = \"block private\" }]\n[safety]\nleases = false\n";
/// Where the lab puts the daemon's configuration.
const LAB_CONFIG: &str = "/run/scanguard-lab.toml";

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
    let prometheus = Prometheus::start(&lab.edge, &[]);
    let value = prometheus.until("a sample", || {
        let found = prometheus.query("sum(scanguard_attempts_total)");
        found.first().copied()
    });
    assert!(value >= 1.0, "the customer's attempt is in Prometheus: {value}");
    prometheus.stop();
    daemon.stop().expect("a clean stop");
}

/// Where the rules and the dashboard are.
fn contrib(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../contrib").join(file).canonicalize().expect("a file of contrib/")
}

/// A Prometheus that scrapes the daemon of this host every second.
struct Prometheus {
    host: Netns,
    running: Running,
    folder: PathBuf,
}

impl Prometheus {
    fn start(host: &Netns, rules: &[PathBuf]) -> Self {
        let folder = env::temp_dir().join(format!("scanguard-prometheus-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let rules: String = rules.iter().map(|file| format!("  - {}\n", file.display())).collect();
        let rules = if rules.is_empty() { rules } else { format!("rule_files:\n{rules}") };
        fs::write(folder.join("prometheus.yml"), format!("{CONFIG}{rules}")).expect("a configuration");
        let mut command = host.command(program("prometheus"));
        command
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg("--web.listen-address=127.0.0.1:9090");
        Self { host: host.clone(), running: Running::start(command).expect("prometheus"), folder }
    }

    /// What its API answers; null while it does not.
    fn ask(&self, path: &str, query: Option<&str>) -> Value {
        let url = format!("http://127.0.0.1:9090/api/v1/{path}");
        let query = query.map(|query| format!("query={query}"));
        let query = query.iter().flat_map(|query| ["--get", "--data-urlencode", query]);
        let arguments = ["--disable", "-sS", "-g"].into_iter().chain(query).chain([url.as_str()]);
        let answer = Tool::Curl.run(&self.host, arguments, LIMIT).expect("curl");
        let json: Value = serde_json::from_str(&answer.stdout).unwrap_or_default();
        assert_ne!(json["status"], "error", "{json}");
        json["data"].clone()
    }

    /// The numbers that a query finds; NaN is none.
    fn query(&self, query: &str) -> Vec<f64> {
        let found = self.ask("query", Some(query));
        let values = found["result"].as_array().into_iter().flatten().filter_map(|series| series["value"][1].as_str());
        values.filter_map(|value| value.parse().ok()).filter(|value: &f64| value.is_finite()).collect()
    }

    /// Waits for something.
    fn until<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let mut found = None;
        wait_for(what, || {
            found = look();
            found.is_some()
        });
        found.expect("what was waited for")
    }

    fn stop(self) {
        self.running.stop(Signal::TERM, LIMIT).expect("an end of prometheus");
        fs::remove_dir_all(&self.folder).expect("the folder removed");
    }
}

/// What follows this word on a line of a file of rules, for each line that has it.
fn named<'t>(text: &'t str, key: &str) -> Vec<&'t str> {
    text.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix(key)).map(str::trim).collect()
}

#[test]
fn each_alert_fires_and_does_not_fire_in_a_case_of_promtool() {
    let rules = fs::read_to_string(contrib("prometheus/scanguard.rules.yml")).expect("the rules");
    let cases = fs::read_to_string(contrib("prometheus/scanguard.rules.test.yml")).expect("the cases");
    let alerts = named(&rules, "alert:");
    assert!(alerts.len() >= 10, "{alerts:?}");
    for part in ["summary:", "description:", "severity:"] {
        assert_eq!(named(&rules, part).len(), alerts.len(), "each alert has one {part}");
    }
    // A case names the alert, the time, and whether there are any.
    let tried: Vec<(&str, bool)> = cases
        .split("- alertname: ")
        .skip(1)
        .map(|case| (case.lines().next().unwrap_or_default(), !case.contains("exp_alerts: []")))
        .collect();
    for alert in &alerts {
        for fires in [true, false] {
            assert!(
                tried.contains(&(*alert, fires)),
                "no case in which {alert} {}",
                if fires { "fires" } else { "does not" }
            );
        }
    }
    for arguments in [["check", "prometheus/scanguard.rules.yml"], ["test", "prometheus/scanguard.rules.test.yml"]] {
        let [verb, file] = arguments;
        let mut command = Command::new(program("promtool"));
        command.args([verb, "rules"]).arg(contrib(file));
        let checked = Running::start(command).expect("promtool").wait(LIMIT).expect("an end");
        assert!(checked.status.success() && checked.stdout.contains("SUCCESS"), "{checked:?}");
    }
}

/// The queries of a dashboard: of its panels, by title, and of its variables.
fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for variable in dashboard["templating"]["list"].as_array().into_iter().flatten() {
        if let Some(values) = variable["query"]["query"].as_str() {
            let metric =
                values.strip_prefix("label_values(").and_then(|rest| rest.split_once(',')).expect("a metric").0;
            found.push((format!("variable {}", variable["name"]), metric.to_owned()));
        }
    }
    let panels = dashboard["panels"].as_array().expect("panels");
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let title = panel["title"].as_str().expect("a title").to_owned();
        let targets = panel["targets"].as_array().filter(|targets| !targets.is_empty());
        for target in targets.unwrap_or_else(|| panic!("{title} asks for nothing")) {
            found.push((title.clone(), target["expr"].as_str().expect("a query").to_owned()));
        }
    }
    found
}

/// Everything that a file of rules calls a metric of ours.
fn metrics_of(query: &str) -> Vec<&str> {
    let of_a_name = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | ':');
    let words = query.split(|character| !of_a_name(character));
    words.filter(|word| word.starts_with("scanguard_") || word.starts_with("scanguard:")).collect()
}

#[test]
fn each_query_of_the_dashboard_and_of_the_rules_returns_data_after_a_scan() {
    sandbox::enter().expect("a sandbox, which needs root: run `cargo xtask test`");
    let lab = Lab::build(1).expect("the lab");
    let _services = Service::all(&lab.edge, &[]).expect("services");
    // Suspects that the feed names are blocked at once: something is decided.
    fs::write(FEED, "203.0.113.0/24\n").expect("a feed");
    let daemon = Daemon::start(&lab.edge, &binary_beside_tests(), SETTINGS).expect("the daemon");
    let prometheus = Prometheus::start(&lab.edge, &[contrib("prometheus/scanguard.rules.yml")]);
    prometheus.until("a first sample", || prometheus.query("scanguard_decision_seconds_count").first().copied());

    let scan = ["-n", "-Pn", "-sS", "--max-retries", "0", "-p", "1-100", &EDGE.to_string()].map(str::to_owned);
    Tool::Nmap.run(&lab.scanner, scan, LIMIT).expect("nmap").success("nmap").expect("a scan");
    prometheus.until("a decision in Prometheus", || {
        prometheus.query("scanguard_decision_seconds_count > 0").first().copied()
    });

    let text = fs::read_to_string(contrib("grafana/scanguard.json")).expect("the dashboard");
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let queries = queries(&dashboard);
    assert!(queries.len() >= 30, "{queries:?}");
    for (panel, query) in queries {
        // What Grafana puts there: all hosts, and four scrapes at least.
        let asked = query.replace("$instance", ".*").replace("$__rate_interval", "1m");
        assert!(!asked.contains('$'), "{panel} has a variable that nobody fills: {query}");
        prometheus.until(&format!("data for {panel}: {asked}"), || prometheus.query(&asked).first().copied());
    }

    let rules = prometheus.until("rules", || {
        let rules: Vec<Value> = prometheus.ask("rules", None)["groups"]
            .as_array()?
            .iter()
            .flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default())
            .collect();
        (!rules.is_empty() && rules.iter().all(|rule| rule["health"] == "ok")).then_some(rules)
    });
    let named = |kind: &'static str| {
        let of_kind = rules.iter().filter(move |rule| rule["type"] == kind);
        of_kind.map(|rule| (rule["name"].as_str().expect("a name"), rule["query"].as_str().expect("a query"), rule))
    };
    for (name, query, rule) in named("alerting") {
        // It asks for what there is, and nothing is wrong.
        for metric in metrics_of(query) {
            prometheus.until(&format!("{metric}, for which {name} asks"), || prometheus.query(metric).first().copied());
        }
        assert_eq!(rule["state"], "inactive", "{rule}");
    }
    let alert = |name: &str| {
        let groups = prometheus.ask("rules", None);
        let groups = groups["groups"].as_array().into_iter().flatten();
        let mut rules = groups.flat_map(|group| group["rules"].as_array().into_iter().flatten());
        rules.find(|rule| rule["name"] == name).map(|rule| rule["state"].clone()).unwrap_or_default()
    };
    // Somebody switches to observe, then a broken file is read: both are on their way to a person.
    daemon.done(&["mode", "observe"]).expect("observe");
    prometheus.until("the alert of a mode that is not the configured one", || {
        (alert("ScanguardNotEnforcing") == "pending").then_some(())
    });
    // By now there were packets in both modes.
    for (name, ..) in named("recording") {
        prometheus.until(&format!("what {name} records"), || prometheus.query(name).first().copied());
    }
    let good = fs::read_to_string(LAB_CONFIG).expect("the configuration");
    fs::write(LAB_CONFIG, "mode = \"perhaps\"\n").expect("a broken configuration");
    let refused = daemon.cli(&["config", "reload"]).expect("the command line");
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    prometheus.until("the alert of a failed reload", || (alert("ScanguardReloadFailed") == "pending").then_some(()));
    fs::write(LAB_CONFIG, good).expect("the configuration of before");
    daemon.done(&["config", "reload"]).expect("a reload");
    daemon.done(&["mode", "enforce"]).expect("enforce");
    for name in ["ScanguardReloadFailed", "ScanguardNotEnforcing"] {
        prometheus.until(&format!("the end of {name}"), || (alert(name) == "inactive").then_some(()));
    }
    daemon.stop().expect("a clean stop");
    prometheus.until("the alert of a daemon that is down", || (alert("ScanguardDown") == "pending").then_some(()));
    prometheus.stop();
}
