//! What it costs to see what leaves: the egress program beside an empty one, both through `BPF_PROG_TEST_RUN`.

use std::fmt;
use std::net::IpAddr;

use anyhow::{Context as _, Result};
use scanguard::kernel::rig::Rig;
use scanguard::kernel::{Datapath, LoadOptions, clock};
use scanguard_common::config::KernelConfig;
use serde::Serialize;

use super::Spread;
use crate::answers::{Kind, answer};
use crate::frames::{self, HOST4, HOST6};
use crate::rig;

/// Rounds of all rows.
const ROUNDS: usize = 15;
/// Runs of a row in a round.
const RUNS: u32 = 200_000;
/// What TCP data may cost beyond an empty program, in nanoseconds.
pub const TCP_LIMIT_NS: f64 = 40.0;
/// The same of UDP.
pub const UDP_LIMIT_NS: f64 = 80.0;

/// Figures of one run.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Of this shape.
    pub schema_version: u32,
    /// Release of the kernel.
    pub kernel: String,
    /// What a run of an empty program takes, in nanoseconds: the median.
    pub floor_ns: f64,
    /// What is measured.
    pub rows: Vec<Row>,
    /// What data may cost, in nanoseconds beyond the empty program.
    pub limits: Limits,
}

/// One kind of frame.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// What a run of the egress program takes, in nanoseconds: the median of the rounds.
    pub ns: f64,
    /// The same less that of the empty program on the same frame.
    pub net_ns: f64,
    /// The rounds of the egress program.
    pub spread: Spread,
    /// The rounds of the empty program on the same frame.
    pub floor: Spread,
}

/// What data may cost, in nanoseconds beyond the empty program.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Limits {
    /// TCP data.
    pub tcp_data_net_ns: f64,
    /// UDP of a flow.
    pub udp_net_ns: f64,
}

/// Measures.
///
/// # Errors
/// When the kernel refuses the programs, which need root.
pub fn measure() -> Result<Figures> {
    let mut kernel =
        Datapath::load(&LoadOptions::default()).context("cannot load the kernel part, which needs root")?;
    kernel.set_port_classes(frames::port_entries())?;
    kernel.set_own_addresses(&frames::own_addresses())?;
    let config = KernelConfig { forwards: 1, learnt: 1, ..KernelConfig::new([1, 2]) };
    kernel.set_config(&config)?;
    kernel.set_egress(Some(clock::monotonic_coarse_ns()))?;
    let mut empty = Rig::load(rig::OBJECT, 0, 1).context("cannot load the rig")?;
    let frames = leaving();
    let mut times = vec![(Vec::new(), Vec::new()); frames.len()];
    for _ in 0..ROUNDS {
        for ((_, frame), (floors, runs)) in frames.iter().zip(&mut times) {
            floors.push(empty.leave(frame, RUNS)?);
            runs.push(kernel.trial_leaving(frame, RUNS)?);
        }
    }
    let rows: Vec<Row> = frames
        .iter()
        .zip(&times)
        .map(|((name, _), (floors, runs))| {
            let (floor, spread) = (Spread::of(floors), Spread::of(runs));
            Row { name, ns: spread.median, net_ns: spread.median - floor.median, spread, floor }
        })
        .collect();
    let floors: Vec<_> = times.iter().flat_map(|(floors, _)| floors.iter().copied()).collect();
    Ok(Figures {
        schema_version: 1,
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        floor_ns: Spread::of(&floors).median,
        rows,
        limits: Limits { tcp_data_net_ns: TCP_LIMIT_NS, udp_net_ns: UDP_LIMIT_NS },
    })
}

/// The frames, by what they are.
fn leaving() -> Vec<(&'static str, Vec<u8>)> {
    let peer4 = IpAddr::from([203, 0, 113, 66]);
    let peer6: IpAddr = "2001:db8:66:1::9".parse().expect("an address");
    let hosts: [IpAddr; 2] = [HOST4.into(), HOST6.into()];
    let tcp = |peer, host, kind| answer(&frames::asking_tcp(peer, host, 443), kind).expect("an answer");
    let udp = |peer, host, port| answer(&frames::asking_udp(peer, host, port), Kind::Open).expect("an answer");
    vec![
        ("tcp_data", tcp(peer4, hosts[0], Kind::Segment)),
        ("tcp_data_ipv6", tcp(peer6, hosts[1], Kind::Segment)),
        ("udp", udp(peer4, hosts[0], 443)),
        ("udp_ipv6", udp(peer6, hosts[1], 443)),
        ("udp_of_a_client", udp(peer4, hosts[0], 41_000)),
        ("syn_ack", tcp(peer4, hosts[0], Kind::Open)),
        ("rst", tcp(peer4, hosts[0], Kind::Reset)),
        ("unreachable", tcp(peer4, hosts[0], Kind::Unreachable)),
    ]
}

impl fmt::Display for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kernel, floor_ns, rows, limits, .. } = self;
        writeln!(formatter, "Linux {kernel}: nanoseconds a frame, the median of {ROUNDS} rounds of {RUNS} runs")?;
        writeln!(formatter, "an empty TCX program takes {floor_ns:.1}; beyond that on the same frame:")?;
        for Row { name, ns, net_ns, spread, .. } in rows {
            writeln!(formatter, "  {name:<18}{net_ns:>8.1}   ({ns:.1}; {:.1} to {:.1})", spread.min, spread.max)?;
        }
        let Limits { tcp_data_net_ns, udp_net_ns } = limits;
        writeln!(formatter, "limits: {tcp_data_net_ns} for TCP data, {udp_net_ns} for UDP of a flow")
    }
}
