//! What became of everybody.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::Options;
use super::cast::Cast;
use super::host::Host;

/// What somebody is like.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Browses.
    Customer,
    /// Browses, from an address that others share, a scanner perhaps among them.
    Neighbour,
    /// Browses, and follows stale bookmarks.
    Erring,
    /// Browses, and sets up a mail account.
    Mailing,
    /// Browses, and a page makes his browser connect to 40 ports.
    Steered,
    /// Browses, while somebody sends in his name.
    Framed,
    /// Works over ssh.
    Admin,
    /// The same, while somebody sends in his name.
    FramedAdmin,
    /// Sends SYNs alone.
    RawScanner,
    /// Connects.
    Connecting,
    /// Sends SYNs, then connects to what looked open.
    Returning,
    /// A port each ten minutes.
    Slow,
    /// Connects, from an address that customers share.
    NatScanner,
    /// Looks at a page first, then connects to everything.
    CustomerTurned,
    /// Sends in somebody else's name.
    Forger,
}

impl Kind {
    /// Whether it means well.
    #[must_use]
    pub const fn is_customer(self) -> bool {
        matches!(
            self,
            Self::Customer
                | Self::Neighbour
                | Self::Erring
                | Self::Mailing
                | Self::Steered
                | Self::Framed
                | Self::Admin
                | Self::FramedAdmin
        )
    }

    /// Whether it connects to closed ports from an address that is no customer's, so that it can be proven. (Who has worked on a public port is
    /// shown decoys on ports alone to which no page can lead him.)
    #[must_use]
    pub const fn is_provable(self) -> bool {
        matches!(self, Self::Connecting | Self::Returning)
    }

    const fn about(self) -> &'static str {
        match self {
            Self::Customer => "customers",
            Self::Neighbour => "customers who share an address",
            Self::Erring => "customers with stale bookmarks",
            Self::Mailing => "customers who set up mail",
            Self::Steered => "customers steered by a page",
            Self::Framed => "customers in whose names others send",
            Self::Admin => "administrators",
            Self::FramedAdmin => "administrators in whose names others send",
            Self::RawScanner => "scanners by SYN",
            Self::Connecting => "scanners that connect",
            Self::Returning => "scanners that come back",
            Self::Slow => "slow scanners",
            Self::NatScanner => "scanners among customers (NAT)",
            Self::CustomerTurned => "customers who turn scanner",
            Self::Forger => "forgers",
        }
    }
}

/// What somebody did, and what he was answered.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Tally {
    /// Attempts on public ports.
    pub public: u64,
    /// Of these, failed.
    pub public_failed: u64,
    /// Attempts on restricted ports.
    pub restricted: u64,
    /// Of these, failed.
    pub restricted_failed: u64,
    /// Segments of connections that did not get through.
    pub established_broken: u64,
    /// Attempts on closed ports.
    pub closed: u64,
    /// Of these, refused by the host's own stack.
    pub closed_answered: u64,
    /// Answered by a challenge.
    pub decoyed: u64,
    /// Sent in somebody else's name.
    pub forged: u64,
}

/// What became of those of one kind. Verdicts are those on their addresses, which others may share or forge.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Row {
    /// How many.
    pub count: u64,
    /// What they did.
    #[serde(flatten)]
    pub did: Tally,
    /// Whose addresses were concealed.
    pub concealed: u64,
    /// Who were proven.
    pub proven: u64,
    /// Whose addresses were blocked.
    pub blocked: u64,
    /// From public ports, too.
    pub blocked_all: u64,
    /// About whom a person was asked.
    pub pending: u64,
    /// Proven, and neither blocked, nor asked about, nor left for want of budget.
    pub unhandled: u64,
}

/// A simulation's outcome.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Version of this shape.
    pub schema_version: u32,
    /// Seed.
    pub seed: u64,
    /// Hours that went by in it.
    pub hours: u64,
    /// Seconds that it took.
    pub seconds: f64,
    /// Packets judged.
    pub packets: u64,
    /// How far it could go without a person.
    pub max_auto_level: &'static str,
    /// By kind.
    pub rows: BTreeMap<Kind, Row>,
    /// Blocks by reason.
    pub blocks: BTreeMap<&'static str, u64>,
    /// Questions by doubt.
    pub questions: BTreeMap<&'static str, u64>,
    /// What was not done, by reason.
    pub deferred: BTreeMap<&'static str, u64>,
    /// The most blocks at once.
    pub most_blocks_at_once: u64,
    /// Incidents that opened, by why they are one.
    pub incidents: BTreeMap<&'static str, u64>,
    /// People in whose names others sent.
    pub framed: u64,
}

impl Report {
    pub(super) fn of(options: &Options, cast: &Cast, host: &Host, took: Duration) -> Self {
        let mut rows: BTreeMap<Kind, Row> = BTreeMap::new();
        for actor in &cast.actors {
            let row = rows.entry(actor.kind).or_default();
            let fate = actor.fate(host);
            row.count += 1;
            row.did.add(&actor.tally);
            row.concealed += u64::from(fate.concealed_ns.is_some());
            row.proven += u64::from(fate.proven_ns.is_some());
            row.blocked += u64::from(fate.blocked_ns.is_some());
            row.blocked_all += u64::from(fate.blocked_all);
            row.pending += u64::from(fate.asked);
            let is_handled = fate.blocked_ns.is_some() || fate.asked || fate.deferred;
            row.unhandled += u64::from(fate.proven_ns.is_some() && !is_handled);
        }
        let decisions = &host.decisions;
        Self {
            schema_version: 1,
            seed: options.seed,
            hours: options.size.hours,
            seconds: (took.as_secs_f64() * 100.0).round() / 100.0,
            packets: host.packets,
            max_auto_level: options.max_auto_level.label(),
            rows,
            blocks: decisions.blocks.iter().map(|(reason, count)| (reason.label(), *count)).collect(),
            questions: decisions.asked.iter().map(|(doubt, count)| (doubt.label(), *count)).collect(),
            deferred: decisions.deferred.iter().map(|(why, count)| (why.label(), *count)).collect(),
            most_blocks_at_once: decisions.most_at_once as u64,
            incidents: host.opened.iter().map(|(cause, count)| (cause.label(), *count)).collect(),
            framed: cast.framed() as u64,
        }
    }

    /// Attempts of customers on public ports that failed, and segments of their connections that were dropped.
    #[must_use]
    pub fn harm_to_customers(&self) -> u64 {
        let customers = self.rows.iter().filter(|(kind, _)| kind.is_customer());
        customers.map(|(_, row)| row.did.public_failed + row.did.established_broken).sum()
    }
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        let Self {
            public,
            public_failed,
            restricted,
            restricted_failed,
            established_broken,
            closed,
            closed_answered,
            decoyed,
            forged,
        } = other;
        self.public += public;
        self.public_failed += public_failed;
        self.restricted += restricted;
        self.restricted_failed += restricted_failed;
        self.established_broken += established_broken;
        self.closed += closed;
        self.closed_answered += closed_answered;
        self.decoyed += decoyed;
        self.forged += forged;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, hours, seconds, packets, max_auto_level, rows, blocks, questions, deferred, .. } = self;
        writeln!(
            formatter,
            "{hours} hours in {seconds} s, seed {seed}: {packets} packets judged; without a person it may go as far as {max_auto_level:?}\n"
        )?;
        let head =
            ["", "count", "concealed", "proven", "blocked", "of all", "asked", "public", "failed", "restr.", "failed"];
        let line = |formatter: &mut fmt::Formatter<'_>, name: &str, cells: [String; 10]| {
            write!(formatter, "  {name:<43}")?;
            cells.iter().try_for_each(|cell| write!(formatter, "{cell:>10}"))?;
            writeln!(formatter)
        };
        line(formatter, head[0], std::array::from_fn(|cell| head[cell + 1].to_owned()))?;
        for (kind, row) in rows {
            let cells = [
                row.count,
                row.concealed,
                row.proven,
                row.blocked,
                row.blocked_all,
                row.pending,
                row.did.public,
                row.did.public_failed,
                row.did.restricted,
                row.did.restricted_failed,
            ];
            line(formatter, kind.about(), cells.map(|cell| cell.to_string()))?;
        }
        let list = |counts: &BTreeMap<&'static str, u64>| {
            let parts: Vec<String> = counts.iter().map(|(label, count)| format!("{count} {label}")).collect();
            if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
        };
        writeln!(formatter, "\n  blocks made: {} (at most {} at once)", list(blocks), self.most_blocks_at_once)?;
        writeln!(formatter, "  questions for a person: {}", list(questions))?;
        writeln!(formatter, "  not done: {}", list(deferred))?;
        writeln!(formatter, "  incidents: {}", list(&self.incidents))?;
        let forged: u64 = rows.values().map(|row| row.did.forged).sum();
        writeln!(formatter, "  {forged} packets were forged in the names of {} people", self.framed)?;
        let harm = self.harm_to_customers();
        writeln!(
            formatter,
            "  customers: {harm} attempts on public ports failed or segments of their connections were dropped"
        )
    }
}
