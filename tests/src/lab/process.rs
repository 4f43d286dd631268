//! Programs with a time limit and captured output.

use std::fs::File;
use std::io::{Read, Seek as _, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use super::wait::patiently;

/// Text for a program's standard input, in memory: it can be of any length, and no thread has to feed it.
///
/// # Errors
/// When the kernel has no memory for it.
pub fn in_memory(name: &str, text: &str) -> Result<Stdio> {
    let file = memfd_create(name, MemfdFlags::CLOEXEC).map(File::from);
    let mut file = file.with_context(|| format!("cannot make a file in memory for {name}"))?;
    file.write_all(text.as_bytes()).and_then(|()| file.rewind()).context("cannot write to a file in memory")?;
    Ok(file.into())
}

/// What a program left behind.
#[derive(Debug)]
pub struct Finished {
    /// Exit code or signal.
    pub status: ExitStatus,
    /// All of its standard output (empty when it went elsewhere).
    pub stdout: String,
    /// All of its standard error.
    pub stderr: String,
    /// From start to end.
    pub duration: Duration,
}

impl Finished {
    /// Itself, or an error that shows what the program printed.
    ///
    /// # Errors
    /// When the program did not exit with 0.
    pub fn success(self, name: &str) -> Result<Self> {
        if !self.status.success() {
            bail!("{name} failed ({}):\n{}{}", self.status, self.stdout, self.stderr);
        }
        Ok(self)
    }
}

/// A running program. Dropping it kills it.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    started: Instant,
    stdout: Option<Arc<Output>>,
    stderr: Arc<Output>,
}

impl Running {
    /// Starts a program, collecting its output; its standard input is empty.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: Command) -> Result<Self> {
        Self::start_with(command, Stdio::null(), Stdio::piped())
    }

    /// The same, with something to read.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_reading(command: Command, stdin: Stdio) -> Result<Self> {
        Self::start_with(command, stdin, Stdio::piped())
    }

    /// The same, with its standard output going elsewhere.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_writing(command: Command, stdout: Stdio) -> Result<Self> {
        Self::start_with(command, Stdio::null(), stdout)
    }

    /// The same, with its standard error going elsewhere, to a pipe that nobody reads for instance: none of it is known here.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_unheard(command: Command, stderr: Stdio) -> Result<Self> {
        Self::start_all(command, Stdio::null(), Stdio::piped(), stderr)
    }

    fn start_with(command: Command, stdin: Stdio, stdout: Stdio) -> Result<Self> {
        Self::start_all(command, stdin, stdout, Stdio::piped())
    }

    fn start_all(mut command: Command, stdin: Stdio, stdout: Stdio, stderr: Stdio) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let started = Instant::now();
        let mut child = command
            .stdin(stdin)
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let stdout = child.stdout.take().map(Output::collect);
        let stderr = child.stderr.take().map(Output::collect).unwrap_or_default();
        Ok(Self { name, child, started, stdout, stderr })
    }

    /// Its process number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until standard error contains `text`.
    ///
    /// # Errors
    /// When the program closes it, or `limit` passes, without.
    pub fn wait_for_stderr(&self, text: &str, limit: Duration) -> Result<()> {
        let limit = patiently(limit);
        let Some(seen) = self.stderr.wait_for(limit, |output| output.contains(text)) else {
            bail!("{} did not say \"{text}\" within {} s", self.name, limit.as_secs());
        };
        if !seen.contains(text) {
            bail!("{} ended without saying \"{text}\":\n{seen}", self.name);
        }
        Ok(())
    }

    /// Standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Whether it has ended, with what.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("cannot ask after {}", self.name))
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.child), signal)
            .with_context(|| format!("cannot send a signal to {}", self.name))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When `limit` passes first; it is killed then.
    pub fn wait(mut self, limit: Duration) -> Result<Finished> {
        let limit = patiently(limit);
        // (Once asked for its end, a program has no process any more that could be watched.)
        if self.exited()?.is_none() && !self.ends_within(limit)? {
            let name = self.name.clone();
            drop(self);
            bail!("{name} did not end within {} s and was killed", limit.as_secs());
        }
        let status = self.child.wait().with_context(|| format!("cannot wait for {}", self.name))?;
        let duration = self.started.elapsed();
        // Pipes that a grandchild still holds must not hang us: what came by then is what there is.
        let rest = |output: &Output| output.wait_for(Duration::from_secs(1), |_| false);
        let stdout = self.stdout.as_deref().map(|output| rest(output).unwrap_or_else(|| output.text()));
        let stderr = rest(&self.stderr).unwrap_or_else(|| self.stderr.text());
        Ok(Finished { status, stdout: stdout.unwrap_or_default(), stderr, duration })
    }

    /// Asks it to end with a signal and waits.
    ///
    /// # Errors
    /// As [`Self::signal`] and [`Self::wait`].
    pub fn stop(self, signal: Signal, limit: Duration) -> Result<Finished> {
        self.signal(signal)?;
        self.wait(limit)
    }

    fn ends_within(&self, limit: Duration) -> Result<bool> {
        let pidfd = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty())
            .with_context(|| format!("cannot watch {}", self.name))?;
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
            match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)) {
                Ok(ready) => return Ok(ready > 0),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).with_context(|| format!("cannot wait for {}", self.name)),
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when it has been waited for already, which is what they are for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What came through a pipe so far.
#[derive(Debug, Default)]
struct Output {
    state: Mutex<(Vec<u8>, bool)>,
    changed: Condvar,
}

impl Output {
    fn collect(mut pipe: impl Read + Send + 'static) -> Arc<Self> {
        let output = Arc::new(Self::default());
        let writer = Arc::clone(&output);
        thread::spawn(move || {
            let mut buffer = [0; 16 * 1024];
            loop {
                let count = pipe.read(&mut buffer).unwrap_or(0);
                let mut state = writer.state.lock().unwrap_or_else(PoisonError::into_inner);
                state.0.extend_from_slice(&buffer[..count]);
                state.1 = count == 0;
                writer.changed.notify_all();
                if count == 0 {
                    return;
                }
            }
        });
        output
    }

    /// The text once it satisfies `enough` or the pipe is closed; nothing when `limit` passes first.
    fn wait_for(&self, limit: Duration, enough: impl Fn(&str) -> bool) -> Option<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (state, timeout) = self
            .changed
            .wait_timeout_while(state, limit, |(bytes, closed)| !*closed && !enough(&String::from_utf8_lossy(bytes)))
            .unwrap_or_else(PoisonError::into_inner);
        (!timeout.timed_out()).then(|| String::from_utf8_lossy(&state.0).into_owned())
    }

    fn text(&self) -> String {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&state.0).into_owned()
    }
}
