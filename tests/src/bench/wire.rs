//! Packets a second over a link: a generator and what stands in its way, on one core; scanguard beside empty programs and other filters.
//!
//! The link is a veth pair in a namespace of its own. The kernel makes the frames (`BPF_PROG_TEST_RUN` with live frames), a program of the rig gives
//! each the next source and sends it over; whatever receives it runs on the same core, so that a rate tells what both take together.

use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use rustix::thread::{CpuSet, sched_setaffinity};
use scanguard::kernel::filter::Filter;
use scanguard::kernel::rig::{Floor, Rig, Vary};
use scanguard::kernel::{AttachMode, Datapath, LoadOptions, NEVER_NS, clock};
use scanguard_common::address::Address;
use scanguard_common::challenge::{ChallengeMode, ChallengeRules};
use scanguard_common::config::KernelConfig;
use scanguard_common::newcomers::NewcomerRules;
use scanguard_common::packet::tcp_flags::ACK;
use scanguard_common::reason::Mode;
use scanguard_common::source::SourceKey;
use scanguard_common::verdict::{Origin, Scope, Verdict};
use serde::Serialize;

use super::filter;
use super::plot::{Bar, Bars};
use crate::frames::{self, HOST4};
use crate::lab::netns::Netns;
use crate::rig;

/// Rounds of all rows; the median counts.
const ROUNDS: usize = 5;
/// Frames of a row in a round.
const FRAMES: u32 = 500_000;
/// Sources of rows that are not floods, and as many entries in each filter's table.
const SOURCES: u32 = 10_000;
/// Sources of floods.
const FLOOD: u32 = 1_000_000;
/// Address of the first of others (40.0.0.0).
const OTHERS: u32 = 0x2800_0000;
/// Suspects: fewer at once than begin a storm.
const SUSPECTS: u32 = 64;
const PUBLIC: u16 = 443;

/// Figures of one run.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Of this shape.
    pub schema_version: u32,
    /// Release of the kernel.
    pub kernel: String,
    /// What is measured.
    pub rows: Vec<Row>,
    /// Rows that could not be measured, and why.
    pub missing: Vec<Missing>,
    /// What is compared.
    pub ratios: Ratios,
}

/// One row.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// Million packets a second, the generator's work included: the median of the rounds.
    pub mpps: f64,
    /// The slowest round.
    pub min: f64,
    /// The fastest round.
    pub max: f64,
}

/// A row that could not be measured.
#[derive(Clone, Debug, Serialize)]
pub struct Missing {
    /// Its name.
    pub name: &'static str,
    /// Why.
    pub reason: String,
}

/// What is compared.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Ratios {
    /// Rate of blocked packets as a multiple of that of an empty program that drops: at least 0.9 is aimed at.
    pub blocked_vs_empty_drop: f64,
    /// The same as a multiple of the faster of the two sets of nftables: at least 3.
    pub blocked_vs_nft: Option<f64>,
    /// What a packet of a flood of a million sources takes as a multiple of a SYN of a known source: at most 1.5.
    pub flood_vs_known: f64,
}

/// What stands in the way of the frames.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Filtered {
    /// An empty program.
    Floor(Floor),
    /// Nothing: the stack drops what is for another host.
    Stack,
    /// scanguard, which knows this of the sources.
    Scanguard(Knows),
    /// A set of nftables, in the hook `prerouting` before connections are tracked.
    NftRaw,
    /// The same in the hook `ingress` of the interface.
    NftNetdev,
    /// New connections metered by source, and a set of those with too many: a recipe that is handed around.
    NftMeter,
    /// A set of ipset asked by iptables, before connections are tracked.
    Ipset,
    /// xdp-filter.
    XdpFilter,
}

/// What scanguard knows of the sources.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Knows {
    /// Nothing.
    Nothing,
    /// Nothing, and its table of sources is full of others.
    Others,
    /// That they asked for this before.
    Them,
    /// That they are suspects.
    Suspects,
    /// The same, and that suspects are challenged.
    Challenged,
    /// That they are blocked.
    Blocked,
}

/// A row: its name, what stands in the way, the frame and its sources. Frames that pass are for another host, so that the stack drops them as
/// soon as it looks.
type Spec = (&'static str, Filtered, fn() -> Vec<u8>, u32);

const ROWS: [Spec; 15] = [
    ("empty_pass", Filtered::Floor(Floor::Pass), segment, SOURCES),
    ("empty_drop", Filtered::Floor(Floor::Drop), syn, SOURCES),
    ("stack", Filtered::Stack, segment, SOURCES),
    ("scanguard_pass", Filtered::Scanguard(Knows::Nothing), segment, SOURCES),
    ("known_syn", Filtered::Scanguard(Knows::Them), astray, SOURCES),
    ("first_contact", Filtered::Scanguard(Knows::Nothing), closed_astray, FLOOD),
    ("concealed", Filtered::Scanguard(Knows::Suspects), closed, SUSPECTS),
    ("challenged", Filtered::Scanguard(Knows::Challenged), closed, SUSPECTS),
    ("blocked", Filtered::Scanguard(Knows::Blocked), syn, SOURCES),
    ("flood", Filtered::Scanguard(Knows::Others), astray, FLOOD),
    ("nft_raw_set", Filtered::NftRaw, syn, SOURCES),
    ("nft_netdev_set", Filtered::NftNetdev, syn, SOURCES),
    ("nft_meter", Filtered::NftMeter, syn, SOURCES),
    ("ipset", Filtered::Ipset, syn, SOURCES),
    ("xdp_filter", Filtered::XdpFilter, syn, SOURCES),
];

const ANY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

pub(super) fn syn() -> Vec<u8> {
    frames::syn(ANY, PUBLIC)
}

fn closed() -> Vec<u8> {
    frames::syn(ANY, *frames::CLOSED.start())
}

fn for_another_host(mut frame: Vec<u8>) -> Vec<u8> {
    frame[5] ^= 0x40; // The last byte of the link-layer address that it goes to.
    frame
}

fn astray() -> Vec<u8> {
    for_another_host(syn())
}

fn closed_astray() -> Vec<u8> {
    for_another_host(closed())
}

fn segment() -> Vec<u8> {
    for_another_host(frames::segment(ANY, PUBLIC, ACK))
}

/// Measures.
///
/// # Errors
/// When the kernel refuses what every row needs, as without root.
pub fn measure() -> Result<Figures> {
    let mut rates: Vec<Vec<f64>> = vec![Vec::new(); ROWS.len()];
    let mut missing: Vec<Missing> = Vec::new();
    for _ in 0..ROUNDS {
        for ((name, filtered, frame, sources), rates) in ROWS.iter().zip(&mut rates) {
            if missing.iter().any(|missing| missing.name == *name) {
                continue;
            }
            match Netns::new("wire")?.run(|| rate(*filtered, &frame(), *sources))? {
                Ok(rate) => rates.push(rate),
                Err(error) if is_ours(*filtered) => return Err(error.context(format!("row {name}"))),
                Err(error) => missing.push(Missing { name, reason: format!("{error:#}") }),
            }
        }
    }
    let rows: Vec<Row> = ROWS
        .iter()
        .zip(&mut rates)
        .filter(|(_, rates)| !rates.is_empty())
        .map(|((name, ..), rates)| {
            rates.sort_unstable_by(f64::total_cmp);
            Row { name, mpps: rates[rates.len() / 2], min: rates[0], max: rates[rates.len() - 1] }
        })
        .collect();
    let mpps = |name| rows.iter().find(|row| row.name == name).map(|row| row.mpps);
    let of = |name| mpps(name).with_context(|| format!("no row {name}"));
    let nft = mpps("nft_raw_set").into_iter().chain(mpps("nft_netdev_set")).reduce(f64::max);
    let ratios = Ratios {
        blocked_vs_empty_drop: of("blocked")? / of("empty_drop")?,
        blocked_vs_nft: nft.map(|nft| mpps("blocked").unwrap_or_default() / nft),
        flood_vs_known: of("known_syn")? / of("flood")?,
    };
    Ok(Figures {
        schema_version: 1,
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        rows,
        missing,
        ratios,
    })
}

impl Figures {
    /// As a picture.
    #[must_use]
    pub fn bars(&self) -> Bars {
        let bar = |row: &Row| {
            let is_own = ROWS.iter().any(|(name, filtered, ..)| *name == row.name && is_scanguard(*filtered));
            Bar { name: row.name.to_owned(), median: row.mpps, min: row.min, max: row.max, is_own }
        };
        let title = format!("Million packets a second over veth, generator included, Linux {}", self.kernel);
        Bars { title, bars: self.rows.iter().map(bar).collect() }
    }
}

const fn is_scanguard(filtered: Filtered) -> bool {
    matches!(filtered, Filtered::Scanguard(_))
}

const fn is_ours(filtered: Filtered) -> bool {
    matches!(filtered, Filtered::Floor(_) | Filtered::Scanguard(_))
}

/// Million packets a second of one round, in the namespace of the calling thread.
fn rate(filtered: Filtered, frame: &[u8], sources: u32) -> Result<f64> {
    let mut one = CpuSet::new();
    one.set(0);
    sched_setaffinity(None, &one).context("cannot stay on one CPU")?;
    link_pair()?;
    let mut rig = Rig::load(rig::OBJECT, index("generator")?, sources).context("cannot load the rig")?;
    // What is in force while this lives.
    let mut floor = Rig::load(rig::OBJECT, 0, 1)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut scanguard: Option<Datapath> = None;
    let mut other: Option<Filter> = None;
    let blocked = || (0..sources).map(|number| Ipv4Addr::from(Vary::sources4(sources).word(number)));
    let set = || blocked().map(|address| address.to_string()).collect::<Vec<_>>();
    match filtered {
        Filtered::Floor(kind) => floor.attach(kind, "filtered", true)?,
        Filtered::Scanguard(knows) => {
            let mut kernel = world(knows, blocked())?;
            if knows == Knows::Challenged {
                // Without a program there, what is sent back would wait for its peer.
                floor.attach(Floor::Drop, "generator", true)?;
            }
            let attached = runtime.block_on(kernel.attach("filtered", AttachMode::Native))?;
            kernel.set_nics(&attached.nic.map(|nic| (attached.index, nic)).into_iter().collect::<Vec<_>>())?;
            scanguard = Some(kernel);
        }
        Filtered::XdpFilter => {
            let mut filter = filter::load(sources)?.context("xdp-filter, of package xdp-tools, is not installed")?;
            filter.drop_sources(blocked())?;
            filter.attach("filtered")?;
            other = Some(filter);
        }
        Filtered::Stack => {}
        Filtered::NftRaw => nft(&format!(
            "table ip guard {{ set blocked {{ type ipv4_addr; elements = {{ {} }} }}
             chain first {{ type filter hook prerouting priority raw; ip saddr @blocked drop; }}
             }}",
            set().join(",")
        ))?,
        Filtered::NftNetdev => nft(&format!(
            "table netdev guard {{ set blocked {{ type ipv4_addr; elements = {{ {} }} }}
             chain first {{ type filter hook ingress device filtered priority 0; ip saddr @blocked drop; }}
             }}",
            set().join(",")
        ))?,
        Filtered::NftMeter => nft(
            "table ip guard { set blocked { type ipv4_addr; flags dynamic,timeout; timeout 10m; size 65536; }
             set metered { type ipv4_addr; flags dynamic,timeout; timeout 1m; size 65536; }
             chain first { type filter hook prerouting priority raw; ip saddr @blocked drop;
             tcp flags & (fin | syn | rst | ack) == syn add @metered { ip saddr limit rate over 20/second burst 50 packets } add @blocked { ip saddr } drop; }
             }",
        )?,
        Filtered::Ipset => {
            let adds: Vec<String> = blocked().map(|address| format!("add blocked {address}")).collect();
            run_with("ipset", &["restore"], &format!("create blocked hash:ip\n{}\n", adds.join("\n")))?;
            run_with("iptables", &["-t", "raw", "-A", "PREROUTING", "-m", "set", "--match-set", "blocked", "src", "-j", "DROP"], "")?;
        }
    }
    if !matches!(filtered, Filtered::Floor(_) | Filtered::Scanguard(_) | Filtered::XdpFilter) {
        // Without a program there a veth takes no frames of XDP, unless it puts segments together.
        run_with("ethtool", &["-K", "filtered", "gro", "on"], "")?;
    }
    if let (Filtered::Scanguard(knows), Some(kernel)) = (filtered, &mut scanguard) {
        acquaint(knows, &mut rig, frame, sources, kernel)?;
    } else {
        rig.generate(frame, 100_000)?; // Caches, and the recipe that first has to count.
    }
    let before = received("filtered")?;
    let started = Instant::now();
    rig.generate(frame, FRAMES)?;
    let elapsed = started.elapsed().as_secs_f64();
    let arrived = received("filtered")? - before;
    ensure!(arrived >= u64::from(FRAMES) / 10 * 9, "{arrived} of {FRAMES} frames arrived");
    drop((scanguard, other));
    Ok(arrived as f64 / elapsed / 1e6)
}

/// scanguard on the host of the frames.
fn world(knows: Knows, blocked: impl Iterator<Item = Ipv4Addr>) -> Result<Datapath> {
    let mut kernel =
        Datapath::load(&LoadOptions::default()).context("cannot load the kernel part, which needs root")?;
    kernel.set_port_classes(frames::port_entries())?;
    kernel.set_own_addresses(&frames::own_addresses())?;
    let mode = if knows == Knows::Challenged { ChallengeMode::On } else { ChallengeMode::Off };
    let challenge = ChallengeRules { keys: [[1, 2], [3, 4]], mode: mode as u32, reply: 0 };
    kernel.set_config(&KernelConfig { mode: Mode::Enforce as u32, challenge, ..KernelConfig::new([1, 2]) })?;
    let now_ns = clock::monotonic_coarse_ns();
    kernel.set_egress(Some(now_ns))?;
    kernel.set_refused(Address::from(IpAddr::from(HOST4)), now_ns)?;
    kernel.beat()?;
    if knows == Knows::Blocked {
        let verdict = Verdict::block(Scope::All, Origin::Operator, NEVER_NS);
        for address in blocked {
            let source = SourceKey(IpAddr::from(address).into());
            kernel.set_verdict(source, &verdict)?.map_err(|refusal| anyhow::anyhow!("{address}: {refusal:?}"))?;
        }
    }
    Ok(kernel)
}

/// Has the sources do what scanguard is to know of them.
fn acquaint(knows: Knows, rig: &mut Rig, frame: &[u8], sources: u32, kernel: &mut Datapath) -> Result<()> {
    if matches!(knows, Knows::Suspects | Knows::Challenged) {
        // Each in a network of its own: else the whole network is a suspect.
        rig.set_sources(&Vary { shift: 8, ..Vary::sources4(sources) })?;
        for port in frames::CLOSED.take(6) {
            rig.generate(&frames::syn(ANY, port), sources)?;
        }
        let suspects = kernel.readings().suspects()?.len();
        ensure!(suspects == sources as usize, "{suspects} suspects");
    }
    if knows == Knows::Others {
        // All of them recorded at once, as a day does.
        let rules = *kernel.config();
        kernel.set_config(&KernelConfig { newcomers: NewcomerRules::unlimited(), ..rules })?;
        rig.set_sources(&Vary { base: OTHERS, ..Vary::sources4(FLOOD) })?;
        rig.generate(frame, FLOOD)?;
        rig.set_sources(&Vary::sources4(sources))?;
        kernel.set_config(&rules)?;
    }
    rig.generate(frame, 100_000)?;
    Ok(())
}

fn link_pair() -> Result<()> {
    // The link-layer address that the frames go to.
    let filtered = "link add generator type veth peer name filtered address 02:00:00:00:00:02";
    ip(filtered)?;
    for link in ["generator", "filtered"] {
        fs::write(format!("/proc/sys/net/ipv6/conf/{link}/disable_ipv6"), "1").context("a setting of IPv6")?;
        ip(&format!("link set dev {link} up"))?;
    }
    ip("addr add 192.0.2.10/24 dev filtered").map(drop)
}

fn nft(rules: &str) -> Result<()> {
    run_with("nft", &["-f", "-"], rules)
}

/// Runs a program in the namespace of the calling thread, with this text to read.
fn run_with(program: &str, arguments: &[&str], input: &str) -> Result<()> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {program}: is it installed?"))?;
    {
        use std::io::Write as _;
        let mut stdin = child.stdin.take().context("a pipe")?;
        let _ = stdin.write_all(input.as_bytes()); // Should it not read, it says why.
    }
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

pub(super) fn ip(arguments: &str) -> Result<String> {
    let output =
        Command::new("ip").args(arguments.split(' ')).output().context("cannot run ip, of package iproute2")?;
    ensure!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn link(name: &str) -> Result<serde_json::Value> {
    serde_json::from_str(&ip(&format!("-j -s link show dev {name}"))?).context("cannot read the output of ip -j")
}

/// Packets that a link says it received.
pub(super) fn received(name: &str) -> Result<u64> {
    link(name)?[0]["stats64"]["rx"]["packets"].as_u64().context("a count of packets")
}

pub(super) fn index(name: &str) -> Result<u32> {
    link(name)?[0]["ifindex"].as_u64().and_then(|index| index.try_into().ok()).context("an index")
}

impl fmt::Display for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kernel, rows, missing, ratios, .. } = self;
        writeln!(formatter, "Linux {kernel}: million packets/s over veth, generator and receiver on one core")?;
        writeln!(formatter, "the median of {ROUNDS} rounds of {FRAMES} frames, and the spread\n")?;
        for Row { name, mpps, min, max } in rows {
            writeln!(formatter, "  {name:<18}{mpps:>7.2}   ({min:.2} to {max:.2})")?;
        }
        for Missing { name, reason } in missing {
            writeln!(formatter, "  {name:<18}      -   {reason}")?;
        }
        let Ratios { blocked_vs_empty_drop, blocked_vs_nft, flood_vs_known } = ratios;
        writeln!(formatter, "\nblocked / empty program that drops  {blocked_vs_empty_drop:>6.2}   at least 0.9")?;
        if let Some(ratio) = blocked_vs_nft {
            writeln!(formatter, "blocked / set of nftables           {ratio:>6.2}   at least 3")?;
        }
        writeln!(formatter, "cost of a flood / of a known SYN    {flood_vs_known:>6.2}   at most 1.5")
    }
}
