//! What a run measured: the JSON that other programs compare, and a table for people.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::plan::Role;

/// The shape of the JSON; raised when a field is renamed or dropped.
pub const SCHEMA_VERSION: u32 = 1;

/// One run of a scenario.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Report {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Name of the scenario or, in `rows`, of the variant.
    pub scenario: String,
    /// What protected the edge.
    pub defender: String,
    /// Release of the running kernel.
    pub kernel: String,
    /// Seconds from the first customer's first request to the last one's answer.
    pub duration_s: f64,
    /// What the scanner asked and learnt, from its own link.
    pub scanner: Scanner,
    /// How the customers fared.
    pub customers: Customers,
    /// Whom the defender acted on.
    pub verdicts: Vec<Verdict>,
    /// Attempts that reached the edge, counted on its link, outside the edge.
    pub wire: Counts,
    /// Attempts as the defender counted them, if it counts.
    pub counted: Option<Counts>,
    /// What only some scenarios measure.
    #[serde(flatten)]
    pub special: Special,
    /// What a row of an attack claims and shows.
    #[serde(flatten)]
    pub row: Row,
    /// One report per variant, where the scenario has variants.
    pub rows: Vec<Report>,
}

/// What only some scenarios measure; nothing in the others. Over several variants it is in their rows, times are the longest.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct Special {
    /// Milliseconds from the ACK with which a scanner proved itself to the block in the kernel, as the daemon measured it.
    pub decision_ms: Option<f64>,
    /// Milliseconds that somebody in whose name others sent took to be greeted by a restricted service, when they had ended.
    pub restricted_after_ms: Option<u64>,
    /// Decoys that anybody completed, as the defender counted them; each is a step to proof.
    pub decoys_completed: Option<u64>,
    /// Blocks that wait for a person.
    pub pending: Option<u64>,
    /// What a page made a browser do.
    pub steered: Option<Steered>,
    /// What a load balancer made of backends that are gone.
    pub balanced: Option<Balanced>,
    /// What incidents the defender told of.
    pub incidents: Option<Incidents>,
    /// What was sent to somebody in whose name others sent.
    pub reflect: Option<Reflect>,
}

/// What a row of `adversary` or `shapes` claims and shows; nothing in other scenarios.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct Row {
    /// What it is called in tables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What is done, and what is to be known of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Frames that were sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frames: Option<u64>,
    /// Of these, how many the edge answered, or of groups that belong together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered: Option<u64>,
    /// Cases in which what was answered breaks the promise: see `note`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub told_apart: Option<u64>,
    /// The first claim that does not hold, or the first: what it allows at most …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound: Option<u64>,
    /// … and what there was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured: Option<u64>,
    /// All claims.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<Claim>,
    /// The shortest frames that show each kind of failure.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<Failure>,
}

/// A bound that a row claims, and what it measured.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Claim {
    /// What is counted.
    pub what: String,
    /// How many there may be.
    pub most: u64,
    /// How many there were.
    pub measured: u64,
}

impl Claim {
    /// Whether it is kept.
    #[must_use]
    pub const fn holds(&self) -> bool {
        self.measured <= self.most
    }
}

/// Frames that show a failure.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Failure {
    /// What is special about them.
    pub shape: String,
    /// The frames in hexadecimal, Ethernet header first.
    pub frames: Vec<String>,
    /// What the edge answered.
    pub answers: String,
}

impl Row {
    /// A row of this name with these claims.
    #[must_use]
    pub fn claiming(name: &str, note: &str, claims: Vec<Claim>) -> Self {
        let main = claims.iter().find(|claim| !claim.holds()).or(claims.first());
        Self {
            name: Some(name.to_owned()),
            note: Some(note.to_owned()),
            bound: main.map(|claim| claim.most),
            measured: main.map(|claim| claim.measured),
            claims,
            ..Self::default()
        }
    }

    /// Whether all claims are kept.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.claims.iter().all(Claim::holds)
    }
}

/// What a page made a customer's browser do.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Steered {
    /// Ports of the edge that the page's script told the browser to connect to.
    pub told: u64,
    /// Of these, how many the browser connected to, on the edge's link.
    pub connected: u64,
    /// Of these, how many are on the list of ports that the Fetch standard forbids browsers.
    pub forbidden_connected: u64,
}

/// What a load balancer made of backends that are gone.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Balanced {
    /// How many there were.
    pub backends: u64,
    /// Checks of them, on the edge's link.
    pub checks: u64,
    /// Requests of customers that it sent to one of them, as it says.
    pub requests: u64,
    /// How many of them it took for alive in the end, as it says.
    pub up: u64,
}

/// What incidents the defender told of.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Incidents {
    /// How many there are, parts of others left out.
    pub listed: u64,
    /// Of these, campaigns.
    pub campaigns: u64,
    /// Sources in all of them.
    pub sources: u64,
    /// First contacts in all of them.
    pub contacts: u64,
    /// Lines in the log that say that one opens.
    pub alarms: u64,
}

/// What was sent to a victim, counted on the edge's link. Bytes are those of IP packets.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Reflect {
    /// Packets that the forger sent in the victim's name.
    pub packets_in: u64,
    /// Bytes of them.
    pub bytes_in: u64,
    /// Packets that the edge sent to the victim for these, whoever made them.
    pub packets_out: u64,
    /// Bytes of them.
    pub bytes_out: u64,
    /// Of the packets to the victim, how many answers of scanguard.
    pub answers: u64,
    /// Microseconds from the first forged packet to the last answer of scanguard.
    pub answers_us: u64,
    /// The most of them that one victim got beyond 8 a second, the rate that one source may have.
    pub burst_to_one: u64,
    /// The most of them that went out beyond 1,000 a second, the rate that all sources together may have.
    pub burst_to_all: u64,
    /// Resets with which the victim's own stack answered.
    pub victim_resets: u64,
    /// Packets that the victim's stateful firewall dropped as invalid, where he has one.
    pub victim_invalid: Option<u64>,
}

/// What the scanner asked and learnt.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct Scanner {
    /// Distinct (destination, protocol, port or ICMP type) asked.
    pub probes_sent: u64,
    /// Distinct ports without a listener, and IP protocols, for which the edge's stack answered (RST, ICMP
    /// unreachable).
    pub closed_answered: u64,
    /// Distinct ports answered by something that is not the stack.
    pub challenged: u64,
    /// Restricted listeners whose true state the scanner learnt.
    pub restricted_revealed: u64,
    /// Public listeners whose true state the scanner learnt.
    pub public_revealed: u64,
    /// How many distinct probes the scanner had sent when one of its packets was first dropped before the edge's stack saw
    /// it, that one included; nothing when that never happened.
    ///
    /// Read from recordings of both ends of the edge's link and not from answers, so that it is true also for kinds of
    /// scans that an unprotected host meets with silence. Probes are counted whichever of the scanner's addresses sent
    /// them. What is dropped later (nftables) does not show here, and in mode observe nothing is dropped. Over several
    /// variants it is the highest number, and nothing if one of them was never hidden.
    #[serde(default)]
    pub concealed_at_probe: Option<u64>,
    /// Distinct addresses of the edge, or behind it, that answered the scanner themselves, in whatever way.
    #[serde(default)]
    pub hosts_revealed: u64,
    /// Of the addresses asked until then (see `concealed_at_probe`), how many never answered. Over several variants as there.
    #[serde(default)]
    pub unanswered_before_concealed: Option<u64>,
}

/// How the customers fared.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct Customers {
    /// How many there were.
    pub count: u64,
    /// Requests they made, each over a connection of its own.
    pub requests: u64,
    /// Requests without a proper answer.
    pub failures: u64,
    /// Sessions held open through the run.
    pub established: u64,
    /// Of these, how many broke.
    pub established_broken: u64,
}

/// Someone the defender acted on.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Verdict {
    /// Address or prefix.
    pub source: String,
    /// Whose it is.
    pub role: Role,
    /// `conceal` or `block`.
    pub level: String,
    /// `private` or `all`, for blocks.
    pub scope: Option<String>,
    /// Why, if the defender says.
    pub reason: Option<String>,
    /// Milliseconds from the source's first probe, if the defender says when.
    pub after_ms: Option<u64>,
}

/// Attempts per source, in the order of the sources' names.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Counts {
    /// One entry per source.
    pub sources: Vec<Count>,
}

/// Attempts of one source.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Count {
    /// Address or prefix.
    pub source: String,
    /// Connection attempts, repeated ones included.
    pub attempts: u64,
}

impl FromIterator<Count> for Counts {
    fn from_iter<I: IntoIterator<Item = Count>>(counts: I) -> Self {
        let mut sources: Vec<Count> = counts.into_iter().collect();
        sources.sort();
        Self { sources }
    }
}

impl Counts {
    /// Attempts of a source, 0 if it is not listed.
    #[must_use]
    pub fn of(&self, source: &str) -> u64 {
        self.sources.iter().find(|count| count.source == source).map_or(0, |count| count.attempts)
    }

    /// Per source the sum of several.
    #[must_use]
    pub fn sum<'a>(all: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut sources = BTreeMap::<_, u64>::new();
        for Count { source, attempts } in all.into_iter().flat_map(|counts| &counts.sources) {
            *sources.entry(source.clone()).or_default() += attempts;
        }
        sources.into_iter().map(|(source, attempts)| Count { source, attempts }).collect()
    }

    /// Attempts of all sources.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.sources.iter().map(|count| count.attempts).sum()
    }
}

impl Report {
    /// A scenario of several variants: its numbers are their sums, but for the customers, who are the same in each.
    /// Nothing when there is no variant.
    #[must_use]
    pub fn over(scenario: &str, rows: Vec<Self>) -> Option<Self> {
        let first = rows.first()?;
        let sum = |number: fn(&Self) -> u64| rows.iter().map(number).sum();
        Some(Self {
            schema_version: SCHEMA_VERSION,
            scenario: scenario.to_owned(),
            defender: first.defender.clone(),
            kernel: first.kernel.clone(),
            duration_s: rows.iter().map(|row| row.duration_s).sum(),
            scanner: Scanner {
                probes_sent: sum(|row| row.scanner.probes_sent),
                closed_answered: sum(|row| row.scanner.closed_answered),
                challenged: sum(|row| row.scanner.challenged),
                restricted_revealed: sum(|row| row.scanner.restricted_revealed),
                public_revealed: sum(|row| row.scanner.public_revealed),
                concealed_at_probe: rows
                    .iter()
                    .map(|row| row.scanner.concealed_at_probe)
                    .reduce(|a, b| Some(a?.max(b?)))
                    .flatten(),
                hosts_revealed: sum(|row| row.scanner.hosts_revealed),
                unanswered_before_concealed: rows
                    .iter()
                    .map(|row| row.scanner.unanswered_before_concealed)
                    .reduce(|a, b| Some(a?.max(b?)))
                    .flatten(),
            },
            customers: Customers {
                count: first.customers.count,
                requests: sum(|row| row.customers.requests),
                failures: sum(|row| row.customers.failures),
                established: sum(|row| row.customers.established),
                established_broken: sum(|row| row.customers.established_broken),
            },
            verdicts: rows.iter().flat_map(|row| row.verdicts.clone()).collect(),
            wire: Counts::sum(rows.iter().map(|row| &row.wire)),
            counted: rows.iter().map(|row| row.counted.as_ref()).collect::<Option<Vec<_>>>().map(Counts::sum),
            special: Special {
                decision_ms: rows.iter().filter_map(|row| row.special.decision_ms).reduce(f64::max),
                restricted_after_ms: rows.iter().filter_map(|row| row.special.restricted_after_ms).max(),
                decoys_completed: rows.iter().filter_map(|row| row.special.decoys_completed).reduce(|a, b| a + b),
                ..Special::default()
            },
            row: Row::default(),
            rows,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenario, defender, kernel, duration_s, scanner, customers, verdicts, wire, counted, .. } = self;
        if self.row.name.is_some() {
            writeln!(formatter, "{scenario}")?;
            return self.row.fmt(formatter);
        }
        writeln!(formatter, "{scenario}, defender {defender}, kernel {kernel}, {duration_s:.1} s")?;
        let mut line = |name: &str, value: u64| writeln!(formatter, "  {name:<38}{value:>8}");
        line("ports the scanner asked", scanner.probes_sent)?;
        line("closed ports the edge answered", scanner.closed_answered)?;
        line("ports answered by a challenge", scanner.challenged)?;
        line("restricted services revealed", scanner.restricted_revealed)?;
        line("public services revealed", scanner.public_revealed)?;
        if let Some(probe) = scanner.concealed_at_probe {
            line("first probe that was hidden", probe)?;
        }
        if let Some(hosts) = scanner.unanswered_before_concealed {
            line("  hosts asked until then, unanswered", hosts)?;
        }
        line("hosts revealed", scanner.hosts_revealed)?;
        line("customers", customers.count)?;
        line("  requests", customers.requests)?;
        line("  failed", customers.failures)?;
        line("  sessions held open", customers.established)?;
        line("  broken", customers.established_broken)?;
        line("attempts on the edge's wire", wire.total())?;
        if let Some(counted) = counted {
            line("attempts the defender counted", counted.total())?;
        }
        self.special.fmt(formatter)?;
        self.row.fmt(formatter)?;
        for Verdict { source, role, level, scope, reason, after_ms } in verdicts {
            let role = format!("{role:?}").to_lowercase();
            let [scope, reason] = [scope, reason].map(|text| text.as_deref().unwrap_or_default());
            let after = after_ms.map(|after| format!(" after {after} ms")).unwrap_or_default();
            writeln!(formatter, "  verdict: {level} {scope} {source} ({role}) {reason}{after}")?;
        }
        self.rows.iter().try_for_each(|row| write!(formatter, "\n{row}"))
    }
}

/// What a decision may take: see `docs/threat-model.md`.
const DECISION_TARGET_MS: u64 = 5;

impl fmt::Display for Row {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name: _, note, frames, answered, told_apart, bound: _, measured: _, claims, failures } = self;
        let numbers = [("frames", frames), ("answered", answered), ("told apart", told_apart)];
        for (name, number) in numbers.into_iter().filter_map(|(name, number)| Some((name, (*number)?))) {
            writeln!(formatter, "  {name:<38}{number:>8}")?;
        }
        for claim @ Claim { what, most, measured } in claims {
            let verdict = if claim.holds() { "" } else { "   BROKEN" };
            writeln!(formatter, "  {what:<38}{measured:>8} of at most {most}{verdict}")?;
        }
        for Failure { shape, frames, answers } in failures {
            writeln!(formatter, "  failure: {shape}\n    answered: {answers}")?;
            frames.iter().try_for_each(|frame| writeln!(formatter, "    {frame}"))?;
        }
        note.iter().try_for_each(|note| writeln!(formatter, "  note: {note}"))
    }
}

impl Report {
    /// A table of what the rows claim, as docs/threat-model.md has it.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = String::from("| attack | what is done | bound | measured |\n|---|---|---|---|\n");
        for row in self.rows.iter().map(|report| &report.row) {
            let texts = |number: fn(&Claim) -> u64| {
                let texts = row.claims.iter().map(|claim| format!("{} {}", claim.what, number(claim)));
                texts.collect::<Vec<_>>().join(", ")
            };
            let [name, note] = [&row.name, &row.note].map(|text| text.as_deref().unwrap_or_default());
            let (bounds, measured) = (texts(|claim| claim.most), texts(|claim| claim.measured));
            table += &format!("| {name} | {note} | {bounds} | {measured} |\n");
        }
        table
    }

    /// Rows in which a claim does not hold.
    #[must_use]
    pub fn broken(&self) -> Vec<&Row> {
        self.rows.iter().map(|report| &report.row).filter(|row| !row.holds()).collect()
    }
}

impl fmt::Display for Special {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { decision_ms, restricted_after_ms, decoys_completed, pending, steered, balanced, incidents, reflect } =
            self;
        let mut line = |name: &str, value: String| writeln!(formatter, "  {name:<38}{value:>8}");
        if let Some(took) = decision_ms {
            line("from deciding ACK to block", format!("{took:.2} ms (target {DECISION_TARGET_MS} ms)"))?;
        }
        if let Some(took) = restricted_after_ms {
            line("framed person on a restricted port in", format!("{took} ms"))?;
        }
        if let Some(completed) = decoys_completed {
            line("decoys completed by whomever", completed.to_string())?;
        }
        if let Some(pending) = pending {
            line("blocks that wait for a person", pending.to_string())?;
        }
        if let Some(Steered { told, connected, forbidden_connected }) = steered {
            line("ports the page told the browser", told.to_string())?;
            line("  connected to", connected.to_string())?;
            line("  of them forbidden to browsers", forbidden_connected.to_string())?;
        }
        if let Some(Balanced { backends, checks, requests, up }) = balanced {
            line("dead backends of the balancer", backends.to_string())?;
            line("  checks of them", checks.to_string())?;
            line("  requests sent to them", requests.to_string())?;
            line("  taken for alive", up.to_string())?;
        }
        if let Some(Incidents { listed, campaigns, sources, contacts, alarms }) = incidents {
            line("incidents", format!("{listed} ({campaigns} campaigns)"))?;
            line("  sources in them", sources.to_string())?;
            line("  contacts", contacts.to_string())?;
            line("  alarms", alarms.to_string())?;
        }
        if let Some(reflect) = reflect {
            let Reflect { packets_in, bytes_in, packets_out, bytes_out, .. } = reflect;
            let seconds = reflect.answers_us as f64 / 1e6;
            line("packets in the victim's name", format!("{packets_in} ({bytes_in} bytes)"))?;
            line("  packets to the victim", format!("{packets_out} ({bytes_out} bytes)"))?;
            line("  of these answers of scanguard", format!("{} in {seconds:.2} s", reflect.answers))?;
            line("  burst to one victim beyond 8/s", reflect.burst_to_one.to_string())?;
            line("  burst to all beyond 1,000/s", reflect.burst_to_all.to_string())?;
            line("  resets of his stack", reflect.victim_resets.to_string())?;
            if let Some(dropped) = reflect.victim_invalid {
                line("  dropped by his firewall as invalid", dropped.to_string())?;
            }
        }
        Ok(())
    }
}
