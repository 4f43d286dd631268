//! Named runs that can be compared. A new one is a file here, or a constant in the file of its family, and a line in
//! [`ALL`].

mod adversary;
mod balancer;
mod botnet;
mod challenge_modes;
mod containers;
mod customers_only;
mod framing;
mod framing_admin;
mod framing_fragments;
mod gateway;
mod hopping;
mod kill;
mod kinds;
mod known;
mod listeners;
mod nat_ssh;
mod nmap;
mod outgoing;
mod p2p_noise;
mod proof;
mod raw;
mod reflect;
mod restart;
mod shapes;
mod steering;
mod tfo;
mod udp_peers;

use anyhow::{Context as _, Result};

use super::Lab;
use super::report::Report;
use super::stage::{Scene, Setup, Stage};

pub use kill::{Outage, kill};
pub use nmap::{nmap_default, nmap_syn};

/// A named run.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What happens in it, in a sentence.
    pub about: &'static str,
    play: fn(&Setup) -> Result<Report>,
}

/// All of them: scans first, then what is none.
pub const ALL: &[Scenario] = &[
    nmap::SYN,
    nmap::SLOW,
    nmap::CONNECT,
    nmap::STEALTH,
    nmap::FRAGMENTS,
    nmap::UDP,
    nmap::IPV6,
    raw::MASSCAN,
    raw::ZMAP,
    raw::HPING3,
    hopping::SCENARIO,
    kinds::SCENARIO,
    kill::SCENARIO,
    proof::RETURN,
    proof::BANNER_GRAB,
    proof::HARM,
    framing::FRAMING,
    framing::MISTAKE,
    steering::SCENARIO,
    balancer::SCENARIO,
    proof::DECOYS,
    proof::NAT_SHARED,
    challenge_modes::SCENARIO,
    nat_ssh::SCENARIO,
    reflect::SCENARIO,
    proof::GUESS,
    proof::FLOOD,
    botnet::SCENARIO,
    framing_admin::SCENARIO,
    framing_fragments::SCENARIO,
    known::SCENARIO,
    udp_peers::SCENARIO,
    tfo::SCENARIO,
    containers::SCENARIO,
    gateway::SCENARIO,
    customers_only::SCENARIO,
    p2p_noise::SCENARIO,
    restart::SCENARIO,
    outgoing::SCENARIO,
    adversary::SCENARIO,
    shapes::SCENARIO,
];

impl Scenario {
    /// The scenario of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|scenario| scenario.name == name)
    }

    /// Plays it. The calling thread must be in a sandbox (see [`super::sandbox::enter`]).
    ///
    /// # Errors
    /// When something could not be set up, run or counted; what the run shows is never an error.
    pub fn play(&self, setup: &Setup) -> Result<Report> {
        (self.play)(setup)
    }
}

/// A scan while customers browse.
fn scan(setup: &Setup, name: &str, scene: &Scene, scan: impl FnOnce(&Lab) -> Result<()>) -> Result<Report> {
    let stage = Stage::set(setup, scene)?;
    scan(&stage.lab)?;
    Ok(stage.calm()?.close(setup)?.report(name, setup.defender))
}

/// A scenario of several variants, each played in a world of its own.
fn rows(
    setup: &Setup,
    name: &str,
    variants: &[&'static str],
    play: impl Fn(&Setup, &'static str) -> Result<Report>,
) -> Result<Report> {
    let row = |variant: &&'static str| {
        let captures = setup.captures.as_ref().map(|folder| folder.join(variant));
        play(&Setup { captures, ..setup.clone() }, variant).with_context(|| format!("in the variant {variant}"))
    };
    let rows = variants.iter().map(row).collect::<Result<_>>()?;
    Report::over(name, rows).context("a scenario without variants")
}
