//! `scanguard signal`.

use clap::Args;

use super::backend::Backend;
use super::output::Output;
use super::{Global, render};
use crate::api::{HEAVIEST_SIGNAL, Signal};
use crate::exit::{ExitStatus, Failure, OrExit as _};
use crate::prefix;

/// Say what a log tool saw an address do
///
/// The weight is added to the score of its source, as failed contacts are: from the threshold on, what is not for customers is hidden from
/// it. That is suspicion, and all that comes of a signal about an address that has no session here: it may be forged.
///
/// With --proof the deed itself is proof of harm, as a guessed password is. It is good for a block where the signal is backed: the source
/// has a session here, or had one in the last 10 minutes, on whatever port, so that it is really at its address. It is blocked from all ports
/// only where `max_auto_level` of [block] says so and nobody else is known behind it; else from private ports, and a person is asked
/// (`scanguard pending`). A customer is not blocked before a person said so.
///
/// Addresses on the allowlist are left alone (`applied` is false in the answer), this host's own and special ones refused (exit code 4), and so
/// are signals beyond as many within a minute as [signals] of the configuration says. It needs a running daemon. Each signal that is heard is written down with who gave it (`scanguard audit`), and shown by `scanguard why`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sudo scanguard signal 203.0.113.66 --weight 1 --reason \"web: asked for /.env\"
  sudo scanguard signal 203.0.113.66 --weight 4 --reason \"sshd: 5 failed logins in 10m\" --proof
  sudo scanguard signal 203.0.113.66 --weight 2 --reason sshd --json | jq '{backed, decision}'

As an action of fail2ban (/etc/fail2ban/action.d/scanguard.conf):
  [Definition]
  actionban = scanguard signal <ip> --weight 4 --reason \"fail2ban: <name>\" --proof
  actionunban =")]
pub(super) struct SignalVerb {
    /// The address that a tool saw, of a packet's sender: never one that a sender can write himself, as in X-Forwarded-For
    #[arg(value_name = "ADDR")]
    address: String,
    /// What it adds to the score: 1 is as much as one failed contact (`step` of `scanguard why`); more than 0, at most 10
    #[arg(long, value_name = "N", value_parser = weight)]
    weight: f64,
    /// What it did, in a line of at most 200 characters
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// The deed is proof of harm by itself
    #[arg(long)]
    proof: bool,
}

/// A weight that a signal may have.
fn weight(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(weight) if weight > 0.0 && weight <= HEAVIEST_SIGNAL => Ok(weight),
        _ => Err(format!("a weight is a number above 0 and at most {HEAVIEST_SIGNAL}, such as 1 or 0.5")),
    }
}

impl SignalVerb {
    pub(super) fn execute(self, global: &Global, output: Output) -> Result<ExitStatus, Failure> {
        let Self { address, weight, reason, proof } = self;
        prefix::parse(&address).or_exit(ExitStatus::Usage)?;
        let signal = Signal { address, weight, reason, proof };
        signal.check().or_exit(ExitStatus::Usage)?;
        let answer = Backend::new(global)?.ask(async |client| client.signal(&signal).await).map_err(needs_daemon)?;
        output.show(&answer, render::signalled)?;
        Ok(ExitStatus::Done)
    }
}

/// Says that nothing but a daemon hears signals.
fn needs_daemon(failure: Failure) -> Failure {
    if failure.status != ExitStatus::Unreachable {
        return failure;
    }
    let message = format!("the signal was not given, which needs a running daemon: {failure}");
    Failure::message(ExitStatus::Unreachable, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_above_nothing_and_bounded() {
        assert_eq!(["1", "0.5", "10"].map(weight), [Ok(1.0), Ok(0.5), Ok(10.0)]);
        for text in ["0", "-1", "10.01", "nan", "inf", "", "heavy"] {
            assert!(weight(text).is_err(), "{text}");
        }
    }

    #[test]
    fn who_finds_no_daemon_is_told_that_it_takes_one() {
        let failure = needs_daemon(Failure::message(ExitStatus::Unreachable, "no daemon answers"));
        assert_eq!(failure.status, ExitStatus::Unreachable);
        assert_eq!(failure.to_string(), "the signal was not given, which needs a running daemon: no daemon answers");
        let other = needs_daemon(Failure::message(ExitStatus::Refused, "no"));
        assert_eq!((other.status, other.to_string().as_str()), (ExitStatus::Refused, "no"));
    }
}
