//! tcpdump on a link, writing into memory.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use pcap_parser::traits::PcapReaderIterator as _;
use pcap_parser::{LegacyPcapReader, Linktype, PcapBlockOwned, PcapError};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::Signal;

use super::frame::Seen;
use crate::lab::netns::Netns;
use crate::lab::process::Running;
use crate::lab::tools::Tool;
use crate::lab::wait::wait_until;

const LIMIT: Duration = Duration::from_secs(10);
/// Enough for all headers of a lab's packets, IPv6 extensions and quoted packets included.
const SNAPLEN: &str = "128";
/// KiB of ring between kernel and tcpdump: half a million of such packets.
const RING_KIB: &str = "65536";

/// A link being recorded.
#[derive(Debug)]
pub struct Capture {
    tcpdump: Running,
    memory: File,
}

impl Capture {
    /// Starts recording what `filter` (all, if empty) selects on a link of `host`; returns once packets are seen.
    ///
    /// # Errors
    /// When tcpdump is missing or cannot listen.
    pub fn start(host: &Netns, link: &str, filter: &str) -> Result<Self> {
        // In memory, so that an interrupted run leaves no file behind.
        let memory = memfd_create("capture", MemfdFlags::CLOEXEC).context("cannot make a file in memory")?;
        let memory = File::from(memory);
        let stdout = memory.try_clone().context("cannot hand the file in memory to tcpdump")?;
        let mut command = Tool::Tcpdump.command(host)?;
        // Staying root (-Z) keeps the parent-death signal, which a change of user would clear.
        command.args(["-Z", "root", "-U", "-n", "--immediate-mode"]);
        command.args(["-s", SNAPLEN, "-B", RING_KIB, "-w", "-", "-i", link, filter]);
        let tcpdump = Running::start_writing(command, stdout.into())?;
        tcpdump.wait_for_stderr("listening on", LIMIT)?;
        Ok(Self { tcpdump, memory })
    }

    /// Ends the recording once tcpdump has written all that the link carried. Nothing may be sending any more.
    ///
    /// # Errors
    /// When the kernel dropped packets of the recording: counts would be wrong.
    pub fn stop(self) -> Result<Recording> {
        let Self { tcpdump, mut memory } = self;
        wait_until("tcpdump to read what the kernel holds", LIMIT, || {
            let reports = Statistics::all(&tcpdump.stderr()).len();
            tcpdump.signal(Signal::USR1)?;
            wait_until("tcpdump's statistics", LIMIT, || Ok(Statistics::all(&tcpdump.stderr()).len() > reports))?;
            Ok(Statistics::all(&tcpdump.stderr()).last().is_some_and(Statistics::complete))
        })?;
        let finished = tcpdump.stop(Signal::INT, LIMIT)?.success("tcpdump")?;
        let statistics = Statistics::all(&finished.stderr);
        let last = statistics.last().context("tcpdump gave no statistics")?;
        ensure!(last.complete(), "the recording is incomplete: {last:?}; give the machine less to do");
        let mut pcap = Vec::new();
        memory.seek(SeekFrom::Start(0)).and_then(|_| memory.read_to_end(&mut pcap)).context("cannot read a capture")?;
        let recording = Recording { pcap };
        let frames = recording.frames()?.len() as u64;
        ensure!(frames == last.captured, "tcpdump says {} packets, its file has {frames}", last.captured);
        Ok(recording)
    }
}

/// What tcpdump says of itself.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Statistics {
    captured: u64,
    received: u64,
    dropped: u64,
}

impl Statistics {
    /// All reports so far: on SIGUSR1 one line with commas and a prefix, at the end a line for each number.
    fn all(stderr: &str) -> Vec<Self> {
        let mut reports = Vec::new();
        let mut report = Self::default();
        for part in stderr.lines().flat_map(|line| line.trim_start_matches("tcpdump: ").split(", ")) {
            let Some((number, what)) = part.split_once(" packet") else { continue };
            let Ok(number) = number.parse() else { continue };
            match what.trim_start_matches('s') {
                " captured" => report.captured = number,
                " received by filter" => report.received = number,
                // ("N packets dropped by interface" may follow; those never were on our side of the link.)
                " dropped by kernel" => {
                    report.dropped = number;
                    reports.push(report);
                }
                _ => {}
            }
        }
        reports
    }

    fn complete(&self) -> bool {
        self.dropped == 0 && self.captured == self.received
    }
}

/// All that passed a link.
#[derive(Debug)]
pub struct Recording {
    pcap: Vec<u8>,
}

impl Recording {
    /// The IP packets in the order of their time, as far as they can be read.
    ///
    /// # Errors
    /// When the file is broken.
    pub fn packets(&self) -> Result<Vec<Seen>> {
        Ok(self.frames()?.iter().filter_map(|(at, frame)| Seen::read(*at, frame)).collect())
    }

    /// Writes the capture for other programs.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, file: &Path) -> Result<()> {
        std::fs::write(file, &self.pcap).with_context(|| format!("cannot write {}", file.display()))
    }

    pub(super) fn frames(&self) -> Result<Vec<(Duration, Vec<u8>)>> {
        let mut reader = LegacyPcapReader::new(64 * 1024, self.pcap.as_slice()).context("not a capture")?;
        let mut frames = Vec::new();
        loop {
            match reader.next() {
                Ok((length, PcapBlockOwned::Legacy(block))) => {
                    let at = Duration::new(block.ts_sec.into(), block.ts_usec.saturating_mul(1000));
                    frames.push((at, block.data.to_vec()));
                    reader.consume(length);
                }
                Ok((length, PcapBlockOwned::LegacyHeader(header))) => {
                    ensure!(header.network == Linktype::ETHERNET, "a capture of {}, not Ethernet", header.network);
                    reader.consume(length);
                }
                Ok((length, _)) => reader.consume(length),
                Err(PcapError::Eof) => return Ok(frames),
                Err(PcapError::Incomplete(_)) => {
                    reader.refill().map_err(|error| anyhow::anyhow!("cannot read a capture: {error:?}"))?;
                }
                Err(error) => bail!("a broken capture after {} packets: {error:?}", frames.len()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Statistics;

    #[test]
    fn statistics_of_tcpdump_are_read_also_while_it_runs() {
        let stderr = "tcpdump: listening on uplink0, link-type EN10MB (Ethernet), snapshot length 128 bytes\n\
                      tcpdump: 1 packet captured, 2 packets received by filter, 0 packets dropped by kernel\n\
                      2 packets captured\n2 packets received by filter\n0 packets dropped by kernel\n";
        let [early, last] = [1, 2].map(|captured| Statistics { captured, received: 2, dropped: 0 });
        assert_eq!(Statistics::all(stderr), [early, last]);
        assert!(!early.complete() && last.complete());
    }
}
