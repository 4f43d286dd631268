//! Commands with a limit of time, and conditions that are waited for.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// How a command ended.
#[derive(Clone, Debug)]
pub(super) struct Said {
    /// Its exit code; none when a signal ended it.
    pub(super) code: Option<i32>,
    /// Its standard output.
    pub(super) out: String,
    /// Its standard error.
    pub(super) err: String,
}

impl Said {
    /// Runs a command to its end. What keeps it from hanging is its own affair: [`limited`].
    pub(super) fn of(command: &mut Command) -> Result<Self> {
        let output = command
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot start {:?}", command.get_program()))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        Ok(Self { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) })
    }

    /// Its output, if it ended well.
    pub(super) fn success(self, what: &str) -> Result<String> {
        match self.code {
            Some(0) => Ok(self.out),
            code => bail!("{what}: exit code {code:?}: {} {}", self.out, self.err),
        }
    }
}

/// The beginning of a command line for something that ends after a while.
pub(super) fn limited(limit: Duration) -> [String; 3] {
    ["timeout".to_owned(), "--kill-after=5".to_owned(), limit.as_secs().max(1).to_string()]
}

/// Asks again and again until there is an answer. What was missing last is told if there is none in time.
pub(super) fn wait_for<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Result<T>) -> Result<T> {
    const PAUSE: Duration = Duration::from_millis(250);
    let deadline = Instant::now() + limit;
    loop {
        match ask() {
            Ok(answer) => return Ok(answer),
            Err(why) if Instant::now() > deadline => {
                return Err(why.context(format!("{what}: not within {} s", limit.as_secs())));
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn what_was_missing_last_is_told() {
        let mut asked = 0;
        let mut ask = |enough: u32| {
            asked += 1;
            if asked >= enough { Ok(asked) } else { Err(anyhow!("asked {asked} times")) }
        };
        assert_eq!(wait_for("three", Duration::from_secs(60), || ask(3)).expect("three"), 3);
        let late = wait_for("a thousand", Duration::ZERO, || ask(1000)).expect_err("too late");
        assert!(format!("{late:#}").starts_with("a thousand: not within 0 s: asked "), "{late:#}");
    }

    #[test]
    fn a_command_that_fails_is_an_error_with_what_it_said() {
        let shell = |script: &str| Said::of(Command::new("sh").args(["-c", script])).expect("sh");
        assert_eq!(shell("echo yes").success("asking").expect("an end"), "yes");
        let error = shell("echo no >&2; exit 3").success("asking").expect_err("a failure");
        assert_eq!(error.to_string(), "asking: exit code Some(3):  no");
    }
}
