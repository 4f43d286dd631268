//! How fast captures are replayed, and with how much memory.

use std::fmt;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::time::Instant;

use anyhow::{Context as _, Result};
use etherparse::PacketBuilder;
use scanguard::config::Config;
use scanguard::feeds::Feeds;
use scanguard::replay::{Options, replay};
use serde::Serialize;

/// Packets of the longer capture; the shorter one has a quarter of them.
const PACKETS: u32 = 8_000_000;
/// Times that it is replayed; the best counts.
const RUNS: u32 = 3;
/// Customers of the server in the capture.
const CUSTOMERS: u32 = 20_000;

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    schema_version: u32,
    packets: u32,
    packets_per_s: f64,
    slowest_packets_per_s: f64,
    unprotected_packets_per_s: f64,
    peak_rss_mib: f64,
    peak_rss_of_a_quarter_mib: f64,
}

/// Measures on one thread, with the capture in the page cache.
///
/// # Errors
/// When the capture cannot be written or replayed.
pub fn measure() -> Result<Figures> {
    let folder = std::env::temp_dir().join(format!("scanguard-bench-replay-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let result = measure_in(&folder);
    fs::remove_dir_all(&folder)?;
    result
}

fn measure_in(folder: &std::path::Path) -> Result<Figures> {
    let options = |protect: &[&str]| -> Result<Options> {
        let protect = protect.iter().map(|network| network.parse()).collect::<Result<_, _>>()?;
        Ok(Options { config: Config::default(), feeds: Feeds::default(), protect, events: false })
    };
    let run = |path: &std::path::Path, packets: u32, options: &Options| -> Result<f64> {
        let started = Instant::now();
        let replayed = replay(path, options, None, |_| {})?;
        anyhow::ensure!(replayed.ending.frames == u64::from(packets), "all packets are read");
        anyhow::ensure!(replayed.tales.iter().any(|(_, tale)| tale.concealed.is_some()), "the scanner is found");
        Ok(f64::from(packets) / started.elapsed().as_secs_f64())
    };
    let (short, long) = (folder.join("short.pcap"), folder.join("long.pcap"));
    let guarded = options(&["192.0.2.0/24"])?;
    write_capture(&short, PACKETS / 4)?;
    run(&short, PACKETS / 4, &guarded)?;
    let quarter = peak_rss_mib()?;
    write_capture(&long, PACKETS)?;
    let mut speeds = Vec::new();
    for _ in 0..RUNS {
        speeds.push(run(&long, PACKETS, &guarded)?);
    }
    let peak = peak_rss_mib()?;
    let open = run(&long, PACKETS, &options(&[])?)?;
    Ok(Figures {
        schema_version: 1,
        packets: PACKETS,
        packets_per_s: speeds.iter().copied().fold(0.0, f64::max).round(),
        slowest_packets_per_s: speeds.iter().copied().fold(f64::MAX, f64::min).round(),
        unprotected_packets_per_s: open.round(),
        peak_rss_mib: peak,
        peak_rss_of_a_quarter_mib: quarter,
    })
}

/// A server's morning: each customer shakes hands and gets an answer of 20 segments; in between somebody scans. 100,000 packets a second.
fn write_capture(path: &std::path::Path, packets: u32) -> Result<()> {
    const SERVER: [u8; 4] = [192, 0, 2, 1];
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    // The header of a pcap file: magic, version 2.4, zone, accuracy, snapshot length, Ethernet.
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1] {
        out.write_all(&word.to_le_bytes())?;
    }
    let mut frame = Vec::new();
    for number in 0..packets {
        let (place, customer) = (number % 25, number / 25 % CUSTOMERS);
        let round = (number / 25 / CUSTOMERS) as u16;
        let [_, high, middle, low] = customer.to_be_bytes();
        let (client, port) = ([10, high, middle, low], 33_000 + round % 20_000);
        frame.clear();
        let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let builder = match place {
            0 => ethernet.ipv4(client, SERVER, 64).tcp(port, 443, 1, 65_000).syn(),
            1 => ethernet.ipv4(SERVER, client, 64).tcp(443, port, 9, 65_000).syn().ack(2),
            24 => ethernet
                .ipv4([198, 51, 100, 66], SERVER, 64)
                .tcp(40_000, (number / 25 % 1_000) as u16 + 1, 1, 1_024)
                .syn(),
            odd if odd % 3 == 0 => ethernet.ipv4(client, SERVER, 64).tcp(port, 443, 2, 65_000).ack(10),
            _ => ethernet.ipv4(SERVER, client, 64).tcp(443, port, 10, 65_000).ack(2),
        };
        let payload = if place > 1 && place < 24 && place % 3 != 0 { &[0_u8; 200][..] } else { &[] };
        builder.write(&mut frame, payload).context("a frame")?;
        let (seconds, micros) = (1_800_000_000 + number / 100_000, number % 100_000 * 10);
        let length = u32::try_from(frame.len())?;
        for word in [seconds, micros, length, length] {
            out.write_all(&word.to_le_bytes())?;
        }
        out.write_all(&frame)?;
    }
    out.flush()?;
    Ok(())
}

/// The most memory that this process had so far.
fn peak_rss_mib() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM in /proc/self/status")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok((kib / 1024.0 * 10.0).round() / 10.0)
}

impl fmt::Display for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "replay of {} packets, one core, page cache, best of {RUNS}: {:.2} million packets/s (slowest {:.2}); with everything \
             protected {:.2}; peak memory {} MiB, {} MiB for a quarter of the packets",
            self.packets,
            self.packets_per_s / 1e6,
            self.slowest_packets_per_s / 1e6,
            self.unprotected_packets_per_s / 1e6,
            self.peak_rss_mib,
            self.peak_rss_of_a_quarter_mib
        )
    }
}
