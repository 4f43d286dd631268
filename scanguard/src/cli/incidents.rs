//! `scanguard incidents`.

use clap::{Args, Subcommand};
use clap_complete::ArgValueCandidates;

use super::backend::Backend;
use super::output::Output;
use super::span::Span;
use super::{Global, render};
use crate::api::{IncidentState, IncidentsQuery};
use crate::exit::{ExitStatus, Failure};

/// Show incidents: scans as a person thinks of them
///
/// An incident is one source that scans, the sources of a network, or a campaign: sources of many networks that ask for the same ports. It is
/// closed an hour after the last that was heard of it, and opened again if it goes on within a day.
#[derive(Args, Debug)]
pub(super) struct Incidents {
    #[command(subcommand)]
    verb: IncidentsVerb,
}

#[derive(Debug, Subcommand)]
enum IncidentsVerb {
    List(List),
    Show(Show),
}

/// List incidents, the latest first
///
/// Without a daemon those are listed that the last one kept in its file of state.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sudo scanguard incidents list                  the latest 20
  sudo scanguard incidents list --state open     what goes on
  sudo scanguard incidents list --since 24h --limit 0 --json | jq '.incidents[].totals'")]
struct List {
    /// Only those of which something was heard within this time: 90s, 10m, 2h, 7d
    #[arg(long, value_name = "DURATION")]
    since: Option<Span>,
    /// How many; 0 for all
    #[arg(long, value_name = "N", default_value_t = IncidentsQuery::default().limit)]
    limit: usize,
    /// Only those that go on, or that are over
    #[arg(long, value_enum)]
    state: Option<IncidentState>,
}

/// Show all of an incident: who, what was asked for, what was answered, and what was done
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sudo scanguard incidents show 12
  sudo scanguard incidents show 12 --json | jq '.ports'")]
struct Show {
    /// Its number, as the list and the log have it
    #[arg(value_name = "ID", value_parser = number, add = ArgValueCandidates::new(super::candidates::incidents))]
    id: u64,
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "an incident has a number: `scanguard incidents list` shows it".to_owned())
}

impl Incidents {
    pub(super) fn execute(self, global: &Global, output: Output) -> Result<ExitStatus, Failure> {
        let backend = Backend::new(global)?;
        match self.verb {
            IncidentsVerb::List(List { since, limit, state }) => {
                let query = IncidentsQuery { since_s: since.map(Span::as_secs), state, limit };
                output.show(&backend.incidents(query)?, render::incidents)?;
            }
            IncidentsVerb::Show(Show { id }) => output.show(&backend.incident(id)?, render::incident)?,
        }
        Ok(ExitStatus::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_of_an_incident_is_told_with_where_to_find_one() {
        assert_eq!(number("12"), Ok(12));
        for text in ["abc", "", "-1", "1.5"] {
            assert!(number(text).is_err_and(|told| told.contains("`scanguard incidents list`")), "{text}");
        }
    }
}
