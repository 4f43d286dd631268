//! What protects the edge in a run.

mod nft_meter;
mod scanguard;

use std::path::Path;

use anyhow::Result;

use super::Lab;
use super::report::{Counts, Verdict};

pub use scanguard::{Daemon, SERVICE_USER, default_binary, left_attached, use_tables};

/// Which one.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub enum Defender {
    /// Nothing: what every scan sees otherwise.
    None,
    /// scanguard's daemon, the real program.
    #[default]
    Scanguard,
    /// The usual nftables recipe: who opens more than 20 connections a second (burst 50) is dropped for 10 minutes.
    NftMeter,
}

impl Defender {
    /// The name on the command line and in the JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Scanguard => "scanguard",
            Self::NftMeter => "nft-meter",
        }
    }

    /// Puts it in place on the edge; returns when it works. `config` is for scanguard alone.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(self, lab: &Lab, scanguard: &Path, config: &str) -> Result<Guard> {
        Ok(match self {
            Self::None => Guard::None,
            Self::Scanguard => Guard::Scanguard(Box::new(Daemon::start(&lab.edge, scanguard, config)?)),
            Self::NftMeter => {
                nft_meter::install(&lab.edge)?;
                Guard::NftMeter
            }
        })
    }
}

/// A defender in place.
#[derive(Debug)]
pub enum Guard {
    /// Nobody.
    None,
    /// The daemon.
    Scanguard(Box<Daemon>),
    /// A table in the edge's nftables.
    NftMeter,
}

/// What a defender says it saw and did.
#[derive(Clone, Debug, Default)]
pub struct Judgement {
    /// Whom it acted on.
    pub verdicts: Vec<Verdict>,
    /// Attempts per source, if it counts.
    pub counted: Option<Counts>,
}

impl Guard {
    /// The daemon, if it is one.
    #[must_use]
    pub fn daemon(&self) -> Option<&Daemon> {
        if let Self::Scanguard(daemon) = self { Some(daemon) } else { None }
    }

    /// Asks it.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn judgement(&self, lab: &Lab) -> Result<Judgement> {
        match self {
            Self::None => Ok(Judgement::default()),
            Self::Scanguard(daemon) => daemon.judgement(),
            Self::NftMeter => nft_meter::judgement(&lab.edge),
        }
    }

    /// Stops it and checks that nothing of it is left.
    ///
    /// # Errors
    /// When it does not end cleanly.
    pub fn stop(self) -> Result<()> {
        match self {
            Self::Scanguard(daemon) => daemon.stop(),
            // Rules are part of the namespace and go with it.
            Self::None | Self::NftMeter => Ok(()),
        }
    }
}
