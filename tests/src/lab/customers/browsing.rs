//! Requests by curl from each customer's own addresses.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, ensure};

use super::pace::Rounds;
use crate::lab::Lab;
use crate::lab::netns::Netns;
use crate::lab::plan::{EDGE, EDGE6, customer, customer6};
use crate::lab::process::{Running, in_memory};
use crate::lab::tools::Tool;

/// A lost SYN is repeated after 1 and 3 s; who then has no answer was cut off.
const REQUEST_LIMIT_S: u32 = 6;
const ROUND_LIMIT: Duration = Duration::from_secs(60);

/// How many failures are kept as examples.
const EXAMPLES: usize = 5;

/// What the requests came to.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    /// Requests made, each over a connection of its own.
    pub made: u64,
    /// Of these, how many got no proper answer.
    pub failed: u64,
    /// Some of the failures, in the words of who made them.
    pub examples: Vec<String>,
}

impl Requests {
    /// Adds one that was made otherwise than by curl.
    pub fn add(&mut self, outcome: &Result<()>) {
        self.made += 1;
        if let Err(error) = outcome {
            self.fail(format!("{error:#}"));
        }
    }

    /// Adds those of somebody else.
    pub fn join(&mut self, other: Self) {
        let Self { made, failed, examples } = other;
        self.made += made;
        self.failed += failed;
        self.examples.extend(examples);
        self.examples.truncate(EXAMPLES);
    }

    fn fail(&mut self, example: String) {
        self.failed += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(example);
        }
    }
}

/// Customers who browse: in each round every customer makes one request over IPv4 and one over IPv6, to the public ports in
/// turn.
#[derive(Debug)]
pub struct Browsing {
    rounds: Rounds<Requests>,
}

impl Browsing {
    /// Starts the rounds, to these ports.
    ///
    /// # Errors
    /// When curl is missing.
    pub fn start(lab: &Lab, every: Duration, ports: Vec<u16>) -> Result<Self> {
        Tool::Curl.path()?;
        let (host, customers) = (lab.customers.clone(), lab.customer_count);
        let rounds = Rounds::start(every, Requests::default(), move |number, requests| {
            let ports = ports.iter().cycle().skip(usize::from(!number.is_multiple_of(2)));
            let ports: Vec<u16> = ports.copied().take(2).collect();
            let wishes: Vec<(IpAddr, String)> = (0..customers).flat_map(|customer| wishes(&ports, customer)).collect();
            browse(&host, &wishes, requests)
        });
        Ok(Self { rounds })
    }

    /// Waits until every customer made the requests of so many rounds.
    ///
    /// # Errors
    /// When `limit` passes first.
    pub fn wait_for_rounds(&self, count: u64, limit: Duration) -> Result<()> {
        self.rounds.wait_for(count, limit)
    }

    /// Ends it when the requests that are under way are answered.
    ///
    /// # Errors
    /// When curl could not be run.
    pub fn stop(self) -> Result<Requests> {
        self.rounds.stop()
    }
}

/// What a customer asks for in a round, from which address: the first port over IPv4, the second over IPv6.
fn wishes(ports: &[u16], number: u8) -> Vec<(IpAddr, String)> {
    let ends = [(customer(number).into(), EDGE.into()), (customer6(number).into(), EDGE6.into())];
    let wish = |((from, to), port): ((IpAddr, IpAddr), &u16)| (from, format!("http://{}/", SocketAddr::new(to, *port)));
    ends.into_iter().zip(ports).map(wish).collect()
}

/// One curl makes all these requests at the same time.
fn browse(host: &Netns, wishes: &[(IpAddr, String)], requests: &mut Requests) -> Result<()> {
    let mut config = String::from("parallel\nparallel-immediate\nparallel-max = 200\n");
    for (position, (from, url)) in wishes.iter().enumerate() {
        if position > 0 {
            config += "next\n";
        }
        // (Writing to a String cannot fail.)
        let _ = write!(
            config,
            "url = \"{url}\"\ninterface = \"{from}\"\noutput = \"/dev/null\"\nsilent\nfail\nheader = \"Connection: close\"\n\
             max-time = {REQUEST_LIMIT_S}\nwrite-out = \"%{{exitcode}} {from} {url}: %{{errormsg}}\\n\"\n"
        );
    }
    let mut command = Tool::Curl.command(host)?;
    command.args(["--disable", "--config", "-"]);
    let finished = Running::start_reading(command, in_memory("curl", &config)?)?.wait(ROUND_LIMIT)?;
    let lines: Vec<&str> = finished.stdout.lines().collect();
    ensure!(
        lines.len() == wishes.len(),
        "curl reports {} of {} requests ({}): {}",
        lines.len(),
        wishes.len(),
        finished.status,
        finished.stderr
    );
    for line in lines {
        requests.made += 1;
        if !line.starts_with("0 ") {
            requests.fail(line.to_owned());
        }
    }
    Ok(())
}
