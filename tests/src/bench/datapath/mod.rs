//! What it costs to judge what arrives: each branch of the datapath through `BPF_PROG_TEST_RUN`, beside an empty program and the real
//! xdp-filter.
//!
//! Each run gets another source, written into the frame by a program of the rig that goes on (tail call) to the program under measurement;
//! the empty program is run the same way, on the same frames, right before.

mod rows;
mod world;

use std::fmt;

use anyhow::{Context as _, Result, ensure};
use rustix::thread::{CpuSet, sched_setaffinity};
use scanguard::kernel::rig::{Place, Rig, Vary};
use scanguard::kernel::size::ProgramSize;
use serde::Serialize;

use super::plot::{Bar, Bars};
use super::{Spread, filter};
use crate::lab::netns::Netns;
use crate::rig;
use rows::{Asked, ROWS, Row as Kind};
use world::{Fill, World};

/// Rounds of all rows.
const ROUNDS: usize = 9;

/// Figures of one run.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Of this shape.
    pub schema_version: u32,
    /// Release of the kernel.
    pub kernel: String,
    /// What a run of an empty program takes, in nanoseconds, the writing of the source included: the median.
    pub floor_ns: f64,
    /// What is measured.
    pub rows: Vec<Row>,
    /// The same of xdp-filter; none where it is not installed.
    pub xdp_filter: Option<Others>,
    /// What is compared.
    pub ratios: Option<Ratios>,
    /// What they should be at most.
    pub targets: Ratios,
    /// How large the programs are.
    pub programs: Vec<ProgramSize>,
}

/// One kind of packet.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// What the tables hold: `empty` for nothing but what the row needs, of 64 sources; `full` for 100,000 verdicts, sources and prefixes
    /// of the allowlist, or, for sources that are new, for a table of sources that is full of others; `guarded` for 1,000 suspects, one source
    /// that is blocked from everything, a protected network, and challenges.
    pub tables: &'static str,
    /// What a run takes, in nanoseconds: the median of the rounds.
    pub ns: f64,
    /// What it takes beyond an empty program on the same frames just before: the median of the rounds.
    pub net_ns: f64,
    /// The rounds.
    pub spread: Spread,
    /// The rounds, beyond the empty program.
    pub net: Spread,
}

/// xdp-filter, in nanoseconds beyond an empty program.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Others {
    /// A packet that passes; its tables have no entry.
    pub pass_net_ns: f64,
    /// A packet that is dropped for its source; 64 entries.
    pub drop_net_ns: f64,
    /// A packet that passes; 100,000 entries.
    pub pass_full_net_ns: f64,
    /// A packet that is dropped for its source; 100,000 entries.
    pub drop_full_net_ns: f64,
}

/// scanguard's cost beyond an empty program as a multiple of xdp-filter's.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Ratios {
    /// A segment of a connection, the host as server or as client, whichever costs more; beside a packet that passes.
    pub established_vs_xdp_filter_pass: f64,
    /// A SYN of a known source that asks for nothing new; beside a packet that passes.
    pub known_syn_vs_xdp_filter_pass: f64,
    /// A first contact with a closed port; beside a packet that passes.
    pub first_contact_vs_xdp_filter_pass: f64,
    /// A packet of a blocked source; beside one that is dropped.
    pub blocked_vs_xdp_filter_drop: f64,
    /// The largest of: established, known SYN, blocked; all tables full, beside xdp-filter with as many entries.
    pub full_vs_xdp_filter_full_max: f64,
}

/// Of `design`: what is aimed at.
const TARGETS: Ratios = Ratios {
    established_vs_xdp_filter_pass: 0.15,
    known_syn_vs_xdp_filter_pass: 1.0,
    first_contact_vs_xdp_filter_pass: 2.0,
    blocked_vs_xdp_filter_drop: 0.5,
    full_vs_xdp_filter_full_max: 1.0,
};

/// Measures.
///
/// # Errors
/// When the kernel refuses the programs, which need root.
pub fn measure() -> Result<Figures> {
    // Sockets are those of an empty namespace.
    Netns::new("bench")?.run(|| {
        let mut one = CpuSet::new();
        one.set(0);
        sched_setaffinity(None, &one).context("cannot stay on one CPU")?;
        measure_here()
    })?
}

/// A program and the empty one beside it.
#[derive(Clone, Copy)]
struct Pair {
    floor: Place,
    place: Place,
}

/// What is measured in turn.
struct Lane {
    name: &'static str,
    tables: &'static str,
    frame: Vec<u8>,
    vary: Vary,
    runs: u32,
    pair: Pair,
    /// Of the datapath: which row of which world.
    own: Option<(usize, Asked)>,
    action: u32,
    times: Vec<(f64, f64)>,
}

impl Lane {
    /// One round: what a run of the empty program takes and what one of the program does, in nanoseconds.
    fn measure(&self, rig: &mut Rig, worlds: &mut [World], round: usize) -> Result<(f64, f64)> {
        let Self { name, frame, vary, runs, pair, own, action, .. } = self;
        if let Some((world, asked)) = own {
            worlds[*world].prepare(*asked, vary)?;
        }
        let from = round as u64 * u64::from(*runs);
        let empty = rig.run_varied(pair.floor, vary, from, frame, *runs)?;
        let run = rig.run_varied(pair.place, vary, from, frame, *runs)?;
        ensure!(run.action == *action, "{name}: XDP action {} and not {action}", run.action);
        Ok((empty.duration.as_secs_f64() * 1e9, run.duration.as_secs_f64() * 1e9))
    }
}

const FLOOR: u32 = 0;
const FIRST_WORLD: u32 = 1;
const FIRST_FILTER: u32 = 1;

fn measure_here() -> Result<Figures> {
    let mut rig = Rig::load(rig::OBJECT, 0, 1).context("cannot load the rig, which needs root")?;
    let (floor, single) = (rig.place_floor(FLOOR, false)?, rig.place_floor(FLOOR, true)?);
    let mut worlds = Vec::new();
    let mut lanes = Vec::new();
    for (index, fill) in (0..).zip([Fill::Nothing, Fill::Few, Fill::Full, Fill::Flooded, Fill::Limited, Fill::Guarded])
    {
        let mut world = World::new(fill)?;
        let place = rig.place_datapath(FIRST_WORLD + index, &mut world.kernel)?;
        world.settle(&mut rig, place)?;
        for Kind { name, asked, action, .. } in ROWS.iter().filter(|row| row.needs.fits(fill)) {
            let (frame, vary, runs) = (asked.frame(), asked.vary(fill), asked.runs(fill));
            let pair = Pair { floor, place };
            let own = Some((worlds.len(), *asked));
            lanes.push(Lane {
                name,
                tables: fill.label(),
                frame,
                vary,
                runs,
                pair,
                own,
                action: *action,
                times: Vec::new(),
            });
        }
        worlds.push(world);
    }
    let mut filters = Vec::new();
    for (index, (name, fill, asked, action)) in (0..).zip(rows::FILTER) {
        let Some(mut filter) = filter::load(world::FILTER_ENTRIES)? else { break };
        filter.drop_sources(world::blocked(fill))?;
        let pair = Pair { floor: single, place: rig.place_other(FIRST_FILTER + index, &filter)? };
        let (frame, vary, runs) = (asked.frame(), asked.vary(fill), asked.runs(fill));
        lanes.push(Lane { name, tables: fill.label(), frame, vary, runs, pair, own: None, action, times: Vec::new() });
        filters.push(filter);
    }
    for round in 0..ROUNDS {
        for lane in &mut lanes {
            let time = lane.measure(&mut rig, &mut worlds, round)?;
            lane.times.push(time);
        }
    }
    let floors: Vec<f64> = lanes.iter().flat_map(|lane| lane.times.iter().map(|(floor, _)| *floor)).collect();
    let (own, others): (Vec<_>, Vec<_>) = lanes.into_iter().partition(|lane| lane.own.is_some());
    let rows: Vec<Row> = own.iter().map(Row::of).collect();
    let xdp_filter = Others::of(&others.iter().map(Row::of).collect::<Vec<_>>());
    Ok(Figures {
        schema_version: 1,
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        floor_ns: Spread::of_ns(floors).median,
        ratios: xdp_filter.map(|others| Ratios::of(&rows, &others)),
        rows,
        xdp_filter,
        targets: TARGETS,
        programs: worlds[0].kernel.sizes()?,
    })
}

impl Figures {
    /// As a picture.
    #[must_use]
    pub fn bars(&self) -> Bars {
        let own = self.rows.iter().map(|row| {
            let Spread { median, min, max } = row.net;
            Bar { name: format!("{}, {}", row.name, row.tables), median, min, max, is_own: true }
        });
        let others = self.xdp_filter.iter().flat_map(|others| {
            let Others { pass_net_ns, drop_net_ns, pass_full_net_ns, drop_full_net_ns } = *others;
            [
                ("xdp-filter, passed, empty", pass_net_ns),
                ("xdp-filter, dropped, empty", drop_net_ns),
                ("xdp-filter, passed, full", pass_full_net_ns),
                ("xdp-filter, dropped, full", drop_full_net_ns),
            ]
            .map(|(name, ns)| Bar { name: name.to_owned(), median: ns, min: ns, max: ns, is_own: false })
        });
        let title = format!("Nanoseconds a packet beyond an empty XDP program, Linux {}", self.kernel);
        Bars { title, bars: own.chain(others).collect() }
    }
}

impl Row {
    fn of(lane: &Lane) -> Self {
        let spread = Spread::of_ns(lane.times.iter().map(|(_, ns)| *ns).collect());
        let net = Spread::of_ns(lane.times.iter().map(|(floor, ns)| ns - floor).collect());
        Self { name: lane.name, tables: lane.tables, ns: spread.median, net_ns: net.median, spread, net }
    }
}

/// The cost of a row beyond an empty program.
fn net(rows: &[Row], name: &str, tables: &str) -> f64 {
    let row = rows.iter().find(|row| row.name == name && row.tables == tables);
    row.map_or(f64::NAN, |row| row.net_ns)
}

impl Others {
    fn of(rows: &[Row]) -> Option<Self> {
        (rows.len() == rows::FILTER.len()).then(|| Self {
            pass_net_ns: net(rows, "pass", "empty"),
            drop_net_ns: net(rows, "drop", "empty"),
            pass_full_net_ns: net(rows, "pass", "full"),
            drop_full_net_ns: net(rows, "drop", "full"),
        })
    }
}

impl Ratios {
    fn of(rows: &[Row], others: &Others) -> Self {
        let established =
            |tables| f64::max(net(rows, "established_server", tables), net(rows, "established_client", tables));
        let full = [
            established("full") / others.pass_full_net_ns,
            net(rows, "known_syn", "full") / others.pass_full_net_ns,
            net(rows, "blocked", "full") / others.drop_full_net_ns,
        ];
        Self {
            established_vs_xdp_filter_pass: established("empty") / others.pass_net_ns,
            known_syn_vs_xdp_filter_pass: net(rows, "known_syn", "empty") / others.pass_net_ns,
            first_contact_vs_xdp_filter_pass: net(rows, "first_contact", "empty") / others.pass_net_ns,
            blocked_vs_xdp_filter_drop: net(rows, "blocked", "empty") / others.drop_net_ns,
            full_vs_xdp_filter_full_max: full.into_iter().fold(f64::NEG_INFINITY, f64::max),
        }
    }

    /// Name and value of each.
    fn each(&self) -> [(&'static str, f64); 5] {
        let Self {
            established_vs_xdp_filter_pass,
            known_syn_vs_xdp_filter_pass,
            first_contact_vs_xdp_filter_pass,
            blocked_vs_xdp_filter_drop,
            full_vs_xdp_filter_full_max,
        } = *self;
        [
            ("established / xdp-filter's pass", established_vs_xdp_filter_pass),
            ("known SYN / xdp-filter's pass", known_syn_vs_xdp_filter_pass),
            ("first contact / xdp-filter's pass", first_contact_vs_xdp_filter_pass),
            ("blocked / xdp-filter's drop", blocked_vs_xdp_filter_drop),
            ("the worst of these with full tables", full_vs_xdp_filter_full_max),
        ]
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kernel, floor_ns, rows, xdp_filter, ratios, targets, programs, .. } = self;
        writeln!(
            formatter,
            "Linux {kernel}: nanoseconds a packet beyond an empty XDP program ({floor_ns:.1} in this harness)"
        )?;
        writeln!(formatter, "the median of {ROUNDS} rounds, and the spread\n")?;
        writeln!(formatter, "  {:<26}{:<7}{:>8}{:>10}{:>9}", "packet", "tables", "median", "least", "most")?;
        for Row { name, tables, net, .. } in rows {
            writeln!(formatter, "  {name:<26}{tables:<7}{:>8.1}{:>10.1}{:>9.1}", net.median, net.min, net.max)?;
        }
        match xdp_filter {
            None => writeln!(formatter, "\nxdp-filter (package xdp-tools) is not installed: nothing to compare with")?,
            Some(Others { pass_net_ns, drop_net_ns, pass_full_net_ns, drop_full_net_ns }) => {
                writeln!(formatter, "\nxdp-filter: pass {pass_net_ns:.1}, drop {drop_net_ns:.1}; ")?;
                writeln!(formatter, "with 100,000 entries: pass {pass_full_net_ns:.1}, drop {drop_full_net_ns:.1}\n")?;
            }
        }
        for ((name, ratio), (_, target)) in ratios.iter().flat_map(Ratios::each).zip(targets.each()) {
            let held = if ratio <= target { "" } else { "   NOT HELD" };
            writeln!(formatter, "  {name:<38}{ratio:>6.2}  at most {target}{held}")?;
        }
        writeln!(formatter)?;
        for ProgramSize { name, instructions, verified, jited_bytes } in programs {
            writeln!(
                formatter,
                "  {name}: {instructions} instructions, {verified} verified, {jited_bytes} bytes of machine code"
            )?;
        }
        Ok(())
    }
}
