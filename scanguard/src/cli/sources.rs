//! `scanguard sources`.

use clap::{Args, Subcommand, ValueEnum};

use super::backend::Backend;
use super::filter::Addresses;
use super::output::Output;
use super::{Global, render};
use crate::api::{SourceOrder, SourcesQuery};
use crate::exit::{ExitStatus, Failure};

/// Show what the kernel counted per source
#[derive(Args, Debug)]
pub(super) struct Sources {
    #[command(subcommand)]
    verb: SourcesVerb,
}

#[derive(Debug, Subcommand)]
enum SourcesVerb {
    List(List),
}

/// List sources: who asked, how often, for how many ports
///
/// A source is an IPv4 address or an IPv6 prefix. An attempt is a new flow: a TCP SYN, UDP that belongs to nothing, an ICMP
/// echo request. A contact is a source's first attempt on a destination, protocol and port.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sudo scanguard sources list                         the 20 that ask most
  sudo scanguard sources list --sort last --limit 5   the 5 seen last
  sudo scanguard sources list --level conceal         from whom ports are hidden
  sudo scanguard sources list 203.0.113.0/24          those of a network
  sudo scanguard sources list --limit 0 --json        all of them, for programs")]
struct List {
    /// Only these: addresses, or prefixes with all sources in them
    #[arg(value_name = "ADDR")]
    addresses: Vec<String>,
    /// Only sources of this level
    #[arg(long, value_enum)]
    level: Option<Level>,
    /// What comes first
    #[arg(long, value_enum, default_value_t)]
    sort: SourceOrder,
    /// How many; 0 for all
    #[arg(long, value_name = "N", default_value_t = SourcesQuery::default().limit)]
    limit: usize,
}

/// What is done about a source.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Level {
    /// Nothing
    None,
    /// Ports are hidden from it
    Conceal,
    /// It is blocked
    Block,
}

impl Level {
    const fn label(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Conceal => "conceal",
            Self::Block => "block",
        }
    }
}

impl Sources {
    pub(super) fn execute(self, global: &Global, output: Output) -> Result<ExitStatus, Failure> {
        let SourcesVerb::List(List { addresses, level, sort, limit }) = self.verb;
        let addresses = Addresses::parse(&addresses)?;
        let filters = !addresses.is_empty() || level.is_some();
        // What is filtered is looked for in all of them.
        let query = SourcesQuery { sort, limit: if filters { 0 } else { limit } };
        let mut list = Backend::new(global)?.ask(async |client| client.sources(query).await)?;
        if filters {
            list.sources.retain(|source| {
                addresses.mean(&source.source) && level.is_none_or(|level| source.level == level.label())
            });
            list.total = list.sources.len() as u64;
            list.sources.truncate(if limit == 0 { usize::MAX } else { limit });
        }
        output.show(&list, render::sources)?;
        Ok(ExitStatus::Done)
    }
}
