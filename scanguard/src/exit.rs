//! How the program ends: its exit codes, and the error that carries one.

use std::fmt;
use std::process::ExitCode;

/// Exit codes. Scripts rely on them; a number never changes its meaning.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum ExitStatus {
    /// What was asked for is done.
    Done = 0,
    /// It failed; the message says why.
    Failed = 1,
    /// The arguments or the configuration are wrong.
    Usage = 2,
    /// The daemon cannot be reached.
    Unreachable = 3,
    /// A safety rule forbids it, and the message says how to override; or whoever asks may not.
    Refused = 4,
    /// `status` found something that keeps scanguard from doing its work, or `doctor` something that should be seen to.
    Unhealthy = 5,
    /// The input was cut short or broken; what could be read was.
    PartialInput = 6,
    /// It cannot run here: a right or a kernel feature is missing, or another XDP program has the interface; the message says which.
    CannotRun = 77,
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status as u8)
    }
}

/// An error at the edge: what to tell the person, and what to tell the script.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub status: ExitStatus,
    /// The message with its causes.
    pub error: anyhow::Error,
}

impl Failure {
    /// A failure with this code.
    pub fn new(status: ExitStatus, error: impl Into<anyhow::Error>) -> Self {
        Self { status, error: error.into() }
    }

    /// A failure with this code and message.
    pub fn message(status: ExitStatus, message: impl fmt::Display) -> Self {
        Self { status, error: anyhow::anyhow!("{message}") }
    }
}

/// Everything that is not said to be something else is a plain failure.
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self { status: ExitStatus::Failed, error }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Messages name their cause, as they are shown alone as well: it is not told a second time.
        let mut told = self.error.to_string();
        for cause in self.error.chain().skip(1).map(ToString::to_string) {
            if !told.ends_with(&cause) {
                told.push_str(": ");
                told.push_str(&cause);
            }
        }
        formatter.write_str(&told)
    }
}

/// Gives a result's error an exit code.
pub trait OrExit<T> {
    /// The value, or a failure with this code.
    ///
    /// # Errors
    /// When it was an error before.
    fn or_exit(self, status: ExitStatus) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_exit(self, status: ExitStatus) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(status, error))
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use anyhow::Context as _;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read it: {source}")]
    struct NamesItsCause {
        source: io::Error,
    }

    #[test]
    fn each_cause_is_told_once() {
        let error = || NamesItsCause { source: io::Error::other("no such file") };
        let failure = Failure::new(ExitStatus::Failed, error());
        assert_eq!(failure.to_string(), "cannot read it: no such file");
        let failure = Failure::from(Err::<(), _>(error()).context("nothing was done").expect_err("an error"));
        assert_eq!(failure.to_string(), "nothing was done: cannot read it: no such file");
    }
}
