//! `scanguard feeds`.

use clap::{Args, Subcommand};

use super::backend::{Backend, operate};
use super::output::Output;
use super::{Global, render};
use crate::api::{Address, FeedList, FeedTest, FeedsRefresh, Nothing};
use crate::exit::{ExitStatus, Failure, OrExit as _};
use crate::prefix;

/// Lists of addresses that others make
///
/// Each is a file that `feeds` of the configuration names, with what it says of those on it: how far it may go, or that many people share
/// each address. Nobody is acted on for being on one; who is, and becomes a
/// suspect by what he does here, is blocked without more proof, as far as the feed and `max_auto_level` of [block] allow. From public ports it
/// is blocked only where a session or a decoy shows that it is really there. A customer is not blocked before a person said so.
#[derive(Args, Debug)]
pub(super) struct Feeds {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    List(List),
    Test(Test),
    Refresh(Refresh),
}

/// List the feeds, what each says, and when it was read
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sudo scanguard feeds list
  sudo scanguard feeds list --json | jq '.feeds[] | {name, prefixes}'")]
struct List {}

/// Tell which feeds name an address: exit code 0 if one does, 1 if none
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sudo scanguard feeds test 203.0.113.66
  sudo scanguard feeds test 2001:db8:1:2::7         whether its source is named, the /64 it is in")]
struct Test {
    /// An address or a prefix
    #[arg(value_name = "ADDR")]
    address: String,
}

/// Read the files of all feeds again
///
/// All of them or none: if one cannot be read or is no list of prefixes, those of before stay, and the exit code is 1. It needs a running
/// daemon. Write a new file beside the old one and rename it, so that no half of it is read.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sudo scanguard feeds refresh
  cd /etc/scanguard/feeds && curl -fsS -o new https://example.org/drop.txt && \\
    mv new drop.txt && scanguard feeds refresh      as a timer or a cron job may")]
struct Refresh {}

impl Feeds {
    pub(super) fn execute(self, global: &Global, output: Output) -> Result<ExitStatus, Failure> {
        match self.verb {
            Verb::List(List {}) => {
                output.show(&operate(global, Nothing::<FeedList>::default())?, render::feeds)?;
                Ok(ExitStatus::Done)
            }
            Verb::Test(Test { address }) => {
                prefix::parse(&address).or_exit(ExitStatus::Usage)?;
                let test = operate(global, Address::<FeedTest>::of(address))?;
                output.show(&test, render::feed_test)?;
                Ok(if test.feeds.is_empty() { ExitStatus::Failed } else { ExitStatus::Done })
            }
            Verb::Refresh(Refresh {}) => {
                let answer = Backend::new(global)?.ask(async |client| client.operate(&FeedsRefresh {}).await)?;
                output.show(&answer, render::feeds_refreshed)?;
                Ok(ExitStatus::Done)
            }
        }
    }
}
