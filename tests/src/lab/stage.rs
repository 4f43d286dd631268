//! One run: hosts, services, recordings, a defender and customers, ready for something to happen.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use scanguard::config::DEFAULT_STATE;
use scanguard_common::reason::Mode;
use serde_json::Value;

use super::Lab;
use super::customers::{Browsing, Held, Requests, Sessions};
use super::defender::{Daemon, Defender, Guard, Judgement};
use super::plan::{PUBLIC, RESTRICTED, TO_EDGE, UPLINK};
use super::report::{Count, Counts, Customers, Report, Row, SCHEMA_VERSION, Scanner, Special};
use super::services::Service;
use super::tools::Tool;
use super::wait::wait_until;
use super::wire::{
    Answers, Asked, Capture, Recording, Seen, answering_hosts, answers, asked, asked_until_hidden, attempts,
};

const LIMIT: Duration = Duration::from_secs(120);
/// What is recorded inside the edge: what comes from the scanner's networks. The rest would only cost time.
const OF_SCANNER: &str = "src net 203.0.113.0/24 or src net 2001:db8:66::/48";

/// What a run is made with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// What protects the edge.
    pub defender: Defender,
    /// The daemon's program.
    pub scanguard: PathBuf,
    /// What the daemon does about its verdicts.
    pub mode: Mode,
    /// Where to keep the recordings, if at all.
    pub captures: Option<PathBuf>,
    /// Whether scenarios that have a short form are played at full length.
    pub full: bool,
}

/// What a scenario finds when it begins.
#[derive(Clone, Copy, Debug)]
pub struct Scene {
    /// How many customers there are.
    pub customers: u8,
    /// How often each of them makes its two requests, at most.
    pub pace: Duration,
    /// Rounds of requests that a run has at least, however fast the rest of it is.
    pub least_rounds: u64,
    /// What the daemon's configuration says besides the mode.
    pub config: &'static str,
    /// Ports on which the usual service does not run.
    pub without: &'static [u16],
    /// What is otherwise than usual about the hosts, done before anything runs on them.
    pub prepare: fn(&Lab) -> Result<()>,
}

impl Scene {
    /// Ten customers, twice a second.
    pub const USUAL: Self = Self {
        customers: 10,
        pace: Duration::from_millis(500),
        least_rounds: 6,
        config: "",
        without: &[],
        prepare: |_| Ok(()),
    };
}

/// A run under way: customers browse, recordings run, the defender watches.
#[derive(Debug)]
pub struct Stage {
    /// The defender.
    pub guard: Guard,
    /// What had passed the edge's link before the first customer came, and what the daemon had counted of it.
    pub before: Option<Passed>,
    services: Vec<Service>,
    at_edge: Capture,
    in_edge: Capture,
    at_scanner: Capture,
    customers: Crowd,
    least_rounds: u64,
    /// The hosts. Last, so that they go when nothing is on them any more.
    pub lab: Lab,
}

/// Packets of the edge's link.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Passed {
    /// Frames that were put on it towards the edge, those that are no IP too, as the kernel counts them at its outer end.
    pub sent: u64,
    /// Packets that the daemon says were counted, by reason.
    pub counted: BTreeMap<String, u64>,
}

impl Passed {
    /// What passed until now, while nobody sends: both numbers are those of one moment.
    ///
    /// # Errors
    /// When they cannot be read, or somebody goes on sending.
    pub fn until_now(lab: &Lab, daemon: &Daemon) -> Result<Self> {
        let mut last = None;
        wait_until("silence on the edge's link", LIMIT, || {
            let now = Self { sent: sent_to_edge(lab)?, counted: daemon.packets()? };
            let still = last.as_ref() == Some(&now);
            last = Some(now);
            Ok(still)
        })?;
        last.context("nothing was read")
    }

    /// What passed since an earlier moment.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let counted = self.counted.iter().map(|(reason, count)| {
            let before = before.counted.get(reason).copied().unwrap_or_default();
            (reason.clone(), count.saturating_sub(before))
        });
        Self { sent: self.sent.saturating_sub(before.sent), counted: counted.collect() }
    }
}

/// What an earlier daemon kept is gone, blocks for instance: the folder is this sandbox's own.
fn forget() -> Result<()> {
    let folder = Path::new(DEFAULT_STATE).parent().context("a folder")?;
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    Ok(())
}

/// Frames that the router put on the edge's link since that is there.
fn sent_to_edge(lab: &Lab) -> Result<u64> {
    let shown = Tool::Ip.run(&lab.router, ["-s", "-j", "link", "show", "dev", TO_EDGE], LIMIT)?.success("ip")?;
    let links: Value = serde_json::from_str(&shown.stdout).context("cannot read the output of ip -j")?;
    links[0]["stats64"]["tx"]["packets"].as_u64().context("the link has no statistics")
}

#[derive(Debug)]
struct Crowd {
    browsing: Browsing,
    sessions: Sessions,
    since: Instant,
}

/// The same after the customers left: nothing sends any more, so that counts stand still.
#[derive(Debug)]
pub struct Calm {
    /// The defender.
    pub guard: Guard,
    /// What the customers' requests came to.
    pub requests: Requests,
    /// What became of the customers' sessions.
    pub held: Held,
    /// How long the customers were there.
    pub duration: Duration,
    services: Vec<Service>,
    at_edge: Capture,
    in_edge: Capture,
    at_scanner: Capture,
    /// The hosts. Last, as in [`Stage`].
    pub lab: Lab,
}

/// Everything that a run brought to light.
#[derive(Debug)]
pub struct Observations {
    /// How many customers there were.
    pub customer_count: u8,
    /// What their requests came to.
    pub requests: Requests,
    /// What became of their sessions.
    pub held: Held,
    /// How long the customers were there.
    pub duration: Duration,
    /// What passed the edge's link, seen from outside.
    pub at_edge: Vec<Seen>,
    /// What passed the scanner's own link.
    pub at_scanner: Vec<Seen>,
    /// What the scanner had asked when one of its packets was first hidden.
    pub asked_until_hidden: Option<BTreeSet<Asked>>,
    /// What the defender says.
    pub judgement: Judgement,
}

impl Stage {
    /// Sets it up; returns when every customer has been served once and sessions are open.
    ///
    /// # Errors
    /// When a right or a program is missing, or something does not start.
    pub fn set(setup: &Setup, scene: &Scene) -> Result<Self> {
        let Scene { customers, pace, least_rounds, config, without, prepare } = *scene;
        forget()?;
        let lab = Lab::build(customers)?;
        prepare(&lab)?;
        let services = Service::all(&lab.edge, without)?;
        // Outside the edge: its own taps do not see what an XDP program drops. The difference is what it drops.
        let at_edge = Capture::start(&lab.router, TO_EDGE, "")?;
        let in_edge = Capture::start(&lab.edge, UPLINK, OF_SCANNER)?;
        let at_scanner = Capture::start(&lab.scanner, UPLINK, "")?;
        let config = format!("mode = \"{}\"\n{config}", setup.mode.label());
        let guard = setup.defender.start(&lab, &setup.scanguard, &config)?;
        let before = guard.daemon().map(|daemon| Passed::until_now(&lab, daemon)).transpose()?;
        let since = Instant::now();
        let public: Vec<u16> = PUBLIC.into_iter().filter(|port| !without.contains(port)).collect();
        let sessions = Sessions::open(&lab, &public)?;
        let browsing = Browsing::start(&lab, pace, public)?;
        browsing.wait_for_rounds(1, LIMIT)?;
        let customers = Crowd { browsing, sessions, since };
        Ok(Self { lab, guard, before, services, at_edge, in_edge, at_scanner, customers, least_rounds })
    }

    /// Lets the customers make at least a few rounds of requests, then end.
    ///
    /// # Errors
    /// When their programs failed; requests without an answer are no error.
    pub fn calm(self) -> Result<Calm> {
        let Self { lab, guard, before: _, services, at_edge, in_edge, at_scanner, customers, least_rounds } = self;
        let Crowd { browsing, sessions, since } = customers;
        browsing.wait_for_rounds(least_rounds, LIMIT)?;
        let requests = browsing.stop()?;
        let held = sessions.close()?;
        Ok(Calm { lab, guard, requests, held, duration: since.elapsed(), services, at_edge, in_edge, at_scanner })
    }
}

impl Calm {
    /// Asks the defender, stops everything and reads the recordings.
    ///
    /// # Errors
    /// When the defender does not answer or leaves something behind, or a recording is incomplete.
    pub fn close(self, setup: &Setup) -> Result<Observations> {
        let Self { lab, guard, requests, held, duration, services, at_edge, in_edge, at_scanner } = self;
        let judgement = guard.judgement(&lab)?;
        let [at_edge, in_edge, at_scanner] = [at_edge.stop()?, in_edge.stop()?, at_scanner.stop()?];
        guard.stop()?;
        drop(services);
        if let Some(folder) = &setup.captures {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
            at_edge.save(&folder.join("edge.pcap"))?;
            at_scanner.save(&folder.join("scanner.pcap"))?;
        }
        let asked_until_hidden = asked_until_hidden(&at_edge, &in_edge)?;
        let [at_edge, at_scanner] = [&at_edge, &at_scanner].map(Recording::packets);
        Ok(Observations {
            customer_count: lab.customer_count,
            requests,
            held,
            duration,
            at_edge: at_edge?,
            at_scanner: at_scanner?,
            asked_until_hidden,
            judgement,
        })
    }
}

impl Observations {
    /// The numbers, under the name of a scenario or a variant.
    #[must_use]
    pub fn report(&self, scenario: &str, defender: Defender) -> Report {
        let Answers { closed, open, challenged } = answers(&self.at_scanner);
        let hosts = answering_hosts(&self.at_scanner);
        let silent = |asked: &BTreeSet<Asked>| {
            let hosts: BTreeSet<_> =
                asked.iter().map(|(host, ..)| *host).filter(|host| !hosts.contains(host)).collect();
            hosts.len() as u64
        };
        let among = |ports: &[u16]| open.iter().filter(|(_, _, port)| ports.contains(port)).count() as u64;
        Report {
            schema_version: SCHEMA_VERSION,
            scenario: scenario.to_owned(),
            defender: defender.name().to_owned(),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            duration_s: (self.duration.as_secs_f64() * 1000.0).round() / 1000.0,
            scanner: Scanner {
                probes_sent: asked(&self.at_scanner).len() as u64,
                closed_answered: closed.len() as u64,
                challenged: challenged.len() as u64,
                restricted_revealed: among(&RESTRICTED),
                public_revealed: among(&PUBLIC),
                concealed_at_probe: self.asked_until_hidden.as_ref().map(|asked| asked.len() as u64),
                hosts_revealed: hosts.len() as u64,
                unanswered_before_concealed: self.asked_until_hidden.as_ref().map(silent),
            },
            customers: Customers {
                count: self.customer_count.into(),
                requests: self.requests.made,
                failures: self.requests.failed,
                established: self.held.established,
                established_broken: self.held.broken,
            },
            verdicts: self.judgement.verdicts.clone(),
            wire: self.wire(),
            counted: self.judgement.counted.clone(),
            special: Special::default(),
            row: Row::default(),
            rows: Vec::new(),
        }
    }

    /// Attempts per source that reached the edge.
    #[must_use]
    pub fn wire(&self) -> Counts {
        attempts(&self.at_edge)
            .into_iter()
            .map(|(source, attempts)| Count { source: source.to_string(), attempts })
            .collect()
    }
}
