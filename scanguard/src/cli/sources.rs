//! `scanguard sources`.

use clap::{Args, Subcommand};

use super::backend::Backend;
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
  sudo scanguard sources list --limit 0 --json        all of them, for programs")]
struct List {
    /// What comes first
    #[arg(long, value_enum, default_value_t)]
    sort: SourceOrder,
    /// How many; 0 for all
    #[arg(long, value_name = "N", default_value_t = SourcesQuery::default().limit)]
    limit: usize,
}

impl Sources {
    pub(super) fn execute(self, global: &Global, output: Output) -> Result<ExitStatus, Failure> {
        let SourcesVerb::List(List { sort, limit }) = self.verb;
        let list = Backend::new(global)?.ask(async |client| client.sources(SourcesQuery { sort, limit }).await)?;
        output.show(&list, render::sources)?;
        Ok(ExitStatus::Done)
    }
}
