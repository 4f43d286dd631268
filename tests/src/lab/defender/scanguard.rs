//! The real daemon on the edge, and its command line.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;
use scanguard::kernel::{egress, pins};
use serde_json::Value;

use super::Judgement;
use crate::lab::cgroup;
use crate::lab::netns::Netns;
use crate::lab::plan::{UPLINK, role};
use crate::lab::process::{Finished, Running};
use crate::lab::report::{Count, Verdict};
use crate::lab::tools::Tool;
use crate::lab::wait::wait_until;

const LIMIT: Duration = Duration::from_secs(20);
/// Private to the laboratory, like all of `/run` (see the sandbox).
const SOCKET: &str = "/run/scanguard/control.sock";
const CONFIG: &str = "/run/scanguard-lab.toml";
/// As whom the daemon runs as a service here: nobody.
pub const SERVICE_USER: u32 = 65_534;
/// Where the daemon serves its metrics, inside the edge.
const METRICS: &str = "http://127.0.0.1:9477/metrics";

/// What the kernel itself puts into a new BPF file system where it was built with `CONFIG_BPF_PRELOAD`.
const KERNELS_OWN: [&str; 2] = ["maps.debug", "progs.debug"];

/// The daemon, running. Dropping it kills it.
#[derive(Debug)]
pub struct Daemon {
    binary: PathBuf,
    edge: Netns,
    running: Running,
    /// Whether the kernel part stays when it ends.
    keeps: bool,
}

/// The `scanguard` beside the running program, where cargo puts it.
///
/// # Errors
/// When the running program has no path.
pub fn default_binary() -> Result<PathBuf> {
    Ok(env::current_exe().context("cannot tell where this program is")?.with_file_name("scanguard"))
}

impl Daemon {
    /// Starts it on the uplink of `edge` with this text as configuration; returns when the uplink is attached.
    ///
    /// # Errors
    /// When the binary is missing, or the daemon ends or does not attach; shows what it logged.
    pub fn start(edge: &Netns, binary: &Path, config: &str) -> Result<Self> {
        Self::start_with(edge, binary, config, &[])
    }

    /// The same with further options of `scanguard run`. What an earlier one left is found: paths are the same each time.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with(edge: &Netns, binary: &Path, config: &str, options: &[&str]) -> Result<Self> {
        Self::launch(edge, binary, config, options)?.attached()
    }

    /// The same without waiting for anything.
    ///
    /// # Errors
    /// When the binary is missing or cannot be started.
    pub fn launch(edge: &Netns, binary: &Path, config: &str, options: &[&str]) -> Result<Self> {
        Self::launch_with(edge, binary, config, options, Running::start)
    }

    /// The same on the interfaces that the configuration names, and no other.
    ///
    /// # Errors
    /// As [`Self::launch`].
    pub fn launch_configured(edge: &Netns, binary: &Path, config: &str) -> Result<Self> {
        write_config(config)?;
        let mut command = edge.command(binary);
        command.args(["run", "--config", CONFIG, "--socket", SOCKET]);
        Ok(Self { binary: binary.to_owned(), edge: edge.clone(), running: Running::start(command)?, keeps: false })
    }

    /// The same with its log going elsewhere.
    ///
    /// # Errors
    /// As [`Self::launch`].
    pub fn launch_logging_to(edge: &Netns, binary: &Path, config: &str, log: Stdio) -> Result<Self> {
        Self::launch_with(edge, binary, config, &[], |command| Running::start_unheard(command, log))
    }

    /// The same as a service manager starts it: a user of its own ([`SERVICE_USER`]) with the three capabilities that the
    /// unit in `contrib/systemd` has, and no more. Returns when the uplink is attached.
    ///
    /// # Errors
    /// As [`Self::start`], and where its folders cannot be made.
    pub fn start_as_service(edge: &Netns, binary: &Path, config: &str) -> Result<Self> {
        // The folder of builds may be closed to that user.
        let copy = PathBuf::from("/run/scanguard-service");
        fs::copy(binary, &copy).with_context(|| format!("cannot copy {}", binary.display()))?;
        for folder in ["/run/scanguard", "/var/lib/scanguard"] {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {folder}"))?;
            std::os::unix::fs::chown(folder, Some(SERVICE_USER), Some(SERVICE_USER))
                .with_context(|| format!("cannot give {folder} away"))?;
        }
        write_config(config)?;
        let (user, rights) = (SERVICE_USER.to_string(), "+bpf,+perfmon,+net_admin");
        let mut command = edge.command("setpriv");
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "--no-new-privs"]);
        command.args(["--inh-caps", rights, "--ambient-caps", rights, "--bounding-set", &format!("-all,{rights}")]);
        command.arg(&copy).args(["run", "-i", UPLINK, "--config", CONFIG, "--socket", SOCKET]);
        let running = Running::start(command)?;
        Self { binary: binary.to_owned(), edge: edge.clone(), running, keeps: false }.attached()
    }

    fn launch_with(
        edge: &Netns,
        binary: &Path,
        config: &str,
        options: &[&str],
        start: impl FnOnce(Command) -> Result<Running>,
    ) -> Result<Self> {
        ensure!(
            binary.is_file(),
            "there is no {}: build it with `cargo xtask build` (`cargo xtask test` does it for the tests)",
            binary.display()
        );
        write_config(config)?;
        let mut command = edge.command(binary);
        command.args(["run", "-i", UPLINK, "--config", CONFIG, "--socket", SOCKET]).args(options);
        let running = start(command)?;
        Ok(Self { binary: binary.to_owned(), edge: edge.clone(), running, keeps: false })
    }

    /// Waits until the uplink is attached.
    ///
    /// # Errors
    /// When it ends or does not attach; shows what it logged.
    pub fn attached(self) -> Result<Self> {
        let mut daemon = self;
        let attached = wait_until("the daemon to attach", LIMIT, || {
            if let Some(status) = daemon.running.exited()? {
                bail!("the daemon ended ({status})");
            }
            let status = daemon.cli(&["status", "--json"])?;
            let status = serde_json::from_str::<Value>(&status.stdout).unwrap_or_default();
            daemon.keeps = status["kept"] == true;
            let mut interfaces = status["interfaces"].as_array().into_iter().flatten();
            // Without a daemon the same is told of what an earlier one left.
            let answers = status["daemon"] == true;
            Ok(answers && interfaces.any(|interface| interface["name"] == UPLINK && interface["attached"] == true))
        });
        attached.with_context(|| format!("the daemon logged:\n{}", daemon.log()))?;
        Ok(daemon)
    }

    /// Its process number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// What it logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.running.stderr()
    }

    /// Runs a verb of the command line against it, whatever it exits with.
    ///
    /// # Errors
    /// When the program cannot be run or hangs.
    pub fn cli(&self, arguments: &[&str]) -> Result<Finished> {
        let mut command = self.edge.command(&self.binary);
        command.args(arguments).args(["--socket", SOCKET]);
        Running::start(command)?.wait(LIMIT)
    }

    /// Runs a verb that must succeed, and reads its JSON.
    ///
    /// # Errors
    /// When it fails, or prints none.
    pub fn done(&self, arguments: &[&str]) -> Result<Value> {
        let finished = self.cli(&[arguments, &["--json"]].concat())?;
        ensure!(finished.status.code() == Some(0), "{arguments:?}: {finished:?}");
        serde_json::from_str(&finished.stdout).with_context(|| format!("{arguments:?} printed {:?}", finished.stdout))
    }

    /// Asks on its control socket, past the command line: for what is read without a body, for a change with one.
    ///
    /// # Errors
    /// When it does not answer, or refuses; shows what it said.
    pub fn ask(&self, path: &str, body: Option<&Value>) -> Result<Value> {
        let (url, body) = (format!("http://scanguard{path}"), body.map(Value::to_string));
        let mut arguments = vec!["--disable", "-sS", "--fail-with-body", "--unix-socket", SOCKET, &url];
        if let Some(body) = &body {
            arguments.extend(["-H", "content-type: application/json", "-d", body]);
        }
        let answer = Tool::Curl.run(&self.edge, arguments, LIMIT)?.success(&format!("asking for {path}"))?;
        serde_json::from_str(&answer.stdout).with_context(|| format!("cannot read the answer {:?}", answer.stdout))
    }

    /// Packets that the kernel part counted since it was first loaded, by reason.
    ///
    /// # Errors
    /// When it does not answer, or not in the agreed shape.
    pub fn packets(&self) -> Result<BTreeMap<String, u64>> {
        let mut packets = BTreeMap::new();
        for entry in self.counters("packets")? {
            let read = || Some((entry["reason"].as_str()?.to_owned(), entry["packets"].as_u64()?));
            let (reason, count) = read().with_context(|| format!("cannot read {entry}"))?;
            *packets.entry(reason).or_default() += count;
        }
        Ok(packets)
    }

    /// Counters of one kind that only the control socket tells apart.
    ///
    /// # Errors
    /// When it does not answer, or has none of these.
    pub fn counters(&self, kind: &str) -> Result<Vec<Value>> {
        let mut status = self.ask("/v1/status", None)?;
        let counters = status["counters"][kind].take();
        serde_json::from_value(counters).with_context(|| format!("there are no counters of {kind}"))
    }

    /// What it serves to Prometheus.
    ///
    /// # Errors
    /// When it does not serve.
    pub fn metrics(&self) -> Result<String> {
        let curl = Tool::Curl.run(&self.edge, ["--disable", "-sS", "--fail", METRICS], LIMIT)?;
        Ok(curl.success("curl of the metrics")?.stdout)
    }

    /// What `sources list` says of all sources, as they are now: the daemon may answer what it read a moment before.
    ///
    /// # Errors
    /// When it does not answer, or goes on to answer what it read before.
    pub fn sources(&self) -> Result<Value> {
        let (now, mut sources) = (SystemTime::now(), Value::Null);
        wait_until("a list of sources that was read now", LIMIT, || {
            let listed = self.cli(&["sources", "list", "--json", "--limit", "0"])?.success("scanguard sources list")?;
            sources = serde_json::from_str(&listed.stdout).context("cannot read the list of sources")?;
            let as_of = sources["as_of"].as_str().context("a list of sources without a time")?;
            Ok(humantime::parse_rfc3339(as_of).with_context(|| format!("{as_of} is no time"))? >= now)
        })?;
        Ok(sources)
    }

    /// All sources it knows. Those without attempts sent something else, and are not among the counts.
    ///
    /// # Errors
    /// When it does not answer, or not in the agreed shape.
    pub fn judgement(&self) -> Result<Judgement> {
        let listed = self.sources()?;
        let sources = listed["sources"].as_array().context("the list of sources has no `sources`")?;
        let mut counts = Vec::new();
        let mut verdicts = Vec::new();
        for entry in sources {
            let source = entry["source"].as_str().context("a source without a name")?.to_owned();
            let attempts = entry["attempts"].as_u64().with_context(|| format!("{source} has no attempts"))?;
            let level = entry["level"].as_str().with_context(|| format!("{source} has no level"))?;
            if level != "none" {
                let address = source.split('/').next().unwrap_or_default();
                let address: IpAddr = address.parse().with_context(|| format!("{source} is no source"))?;
                let text = |field: &str| entry[field].as_str().map(str::to_owned);
                verdicts.push(Verdict {
                    source: source.clone(),
                    role: role(address),
                    level: level.to_owned(),
                    scope: text("scope"),
                    reason: text("reason"),
                    after_ms: after_ms(entry["first_seen"].as_str(), entry["since"].as_str()),
                });
            }
            if attempts > 0 {
                counts.push(Count { source, attempts });
            }
        }
        Ok(Judgement { verdicts, counted: Some(counts.into_iter().collect()) })
    }

    /// Stops it by SIGTERM. What one with `--keep` left at work is there then, and is taken away like `scanguard detach` does.
    ///
    /// # Errors
    /// When it does not exit with 0, or leaves a program, link or pin behind that it should not; with `--keep` also when it leaves
    /// none.
    pub fn stop(self) -> Result<()> {
        let (edge, keeps) = (self.edge.clone(), self.keeps);
        self.end(Signal::TERM)?.success("scanguard run")?;
        if keeps {
            ensure!(is_attached(&edge)?, "the daemon was to leave its program at work and did not");
            // On the edge: filters of `clsact`, before Linux 6.6, belong to its interfaces and not to pins.
            edge.run(|| pins::detach(Path::new(pins::DEFAULT_FOLDER)))?
                .context("cannot take away what the daemon left")?;
            // The kernel lets go of a link without a pin a moment later.
            return wait_until("what was left to be gone", LIMIT, || Ok(left_attached(&edge)?.is_empty()));
        }
        let left = left_attached(&edge)?;
        ensure!(left.is_empty(), "the daemon left behind: {}", left.join(", "));
        Ok(())
    }

    /// Ends it by a signal, SIGKILL for instance, whatever it leaves behind.
    ///
    /// # Errors
    /// When it does not end.
    pub fn end(self, signal: Signal) -> Result<Finished> {
        self.running.stop(signal, LIMIT)
    }
}

static TABLES: OnceLock<String> = OnceLock::new();

/// Has daemons that are started from now on make tables of this size, as `tables` of section sources of their configuration
/// says, with as many sources as go with it unless theirs says how many.
///
/// # Errors
/// When that was said before.
pub fn use_tables(share: String) -> Result<()> {
    TABLES.set(share).map_err(|_| anyhow::anyhow!("how large tables are was said before"))
}

fn write_config(config: &str) -> Result<()> {
    let config = match TABLES.get() {
        None => config.to_owned(),
        Some(share) => {
            let (before, after) = config.split_once("[sources]").unwrap_or((config, ""));
            format!("{before}\n[sources]\ntables = {share:?}\n{after}")
        }
    };
    // First, because tables may follow.
    let cgroup = cgroup::of_this_thread().filter(|_| !config.contains("cgroup ="));
    let cgroup = cgroup.map_or_else(String::new, |folder| format!("cgroup = {:?}\n", folder.display().to_string()));
    fs::write(CONFIG, cgroup + &config).context("cannot write the daemon's configuration")
}

/// Milliseconds from a source's first packet to its level, if both are told.
fn after_ms(first_seen: Option<&str>, since: Option<&str>) -> Option<u64> {
    let time = |text: Option<&str>| humantime::parse_rfc3339(text?).ok();
    let after = time(since)?.duration_since(time(first_seen)?).unwrap_or_default();
    u64::try_from(after.as_millis()).ok()
}

/// What is attached to the uplink of a host or pinned in this sandbox.
///
/// # Errors
/// When the link or the pins cannot be listed.
pub fn left_attached(edge: &Netns) -> Result<Vec<String>> {
    let mut left = Vec::new();
    if is_attached(edge)? {
        left.push(format!("an XDP program on {UPLINK}"));
    }
    // A kernel without TCX (before Linux 6.6) has none of these to tell of.
    let seeing = edge.run(|| egress::running(UPLINK))?.unwrap_or_default();
    let filters = Tool::Tc.run(edge, ["filter", "show", "dev", UPLINK, "egress"], LIMIT)?.success("tc filter show")?;
    if filters.stdout.contains("bpf") {
        left.push(format!("a filter on what leaves by {UPLINK}"));
    }
    left.extend(seeing.into_iter().map(|program| format!("the program {program} on what leaves by {UPLINK}")));
    pinned(Path::new("/sys/fs/bpf"), &mut left).context("cannot list the pins")?;
    Ok(left)
}

/// Whether an XDP program runs on the uplink of a host.
fn is_attached(edge: &Netns) -> Result<bool> {
    let link = Tool::Ip.run(edge, ["-d", "link", "show", "dev", UPLINK], LIMIT)?.success("ip link show")?;
    Ok(link.stdout.contains("xdp"))
}

fn pinned(folder: &Path, found: &mut Vec<String>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if KERNELS_OWN.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            pinned(&entry.path(), found)?;
        } else {
            found.push(format!("the pin {}", entry.path().display()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::after_ms;

    #[test]
    fn a_verdict_is_dated_from_the_first_packet_where_the_daemon_tells() {
        let first = Some("2026-03-01T10:00:00.250Z");
        assert_eq!(after_ms(first, Some("2026-03-01T10:00:01.260Z")), Some(1010));
        assert_eq!(after_ms(first, None), None);
        assert_eq!(after_ms(None, first), None);
    }
}
