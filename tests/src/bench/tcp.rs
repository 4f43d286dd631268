//! What a bulk TCP transfer over a veth loses to a program in its way: iperf3 between two namespaces.

use std::fmt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use scanguard::kernel::{AttachMode, Datapath, DriverMode, LoadOptions};
use scanguard_common::config::KernelConfig;
use serde::Serialize;

use crate::frames;
use crate::lab::netns::Netns;
use crate::lab::wait::wait_until;

/// Rounds of all rows; the median counts.
const ROUNDS: usize = 3;
/// Seconds of a transfer.
const SECONDS: u32 = 2;
const SERVER: &str = "192.0.2.10";

/// Figures of one run.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Of this shape.
    pub schema_version: u32,
    /// Release of the kernel.
    pub kernel: String,
    /// What is measured.
    pub rows: Vec<Row>,
}

/// One way of being attached.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Row {
    /// `none`, `generic` or `native`.
    pub name: &'static str,
    /// Gigabits of payload a second: the median of the rounds.
    pub gbit_per_s: f64,
    /// The slowest round.
    pub min: f64,
    /// The fastest round.
    pub max: f64,
}

const ROWS: [(&str, Option<(AttachMode, DriverMode)>); 3] = [
    ("none", None),
    ("generic", Some((AttachMode::Generic, DriverMode::Generic))),
    ("native", Some((AttachMode::Native, DriverMode::Native))),
];

/// Measures.
///
/// # Errors
/// When iperf3 is not installed, or the kernel refuses.
pub fn measure() -> Result<Figures> {
    let mut rates: [Vec<f64>; ROWS.len()] = Default::default();
    for _ in 0..ROUNDS {
        for ((name, mode), rates) in ROWS.iter().zip(&mut rates) {
            rates.push(rate(*mode).with_context(|| format!("row {name}"))?);
        }
    }
    let rows = ROWS.iter().zip(&mut rates).map(|((name, _), rates)| {
        rates.sort_unstable_by(f64::total_cmp);
        Row { name, gbit_per_s: rates[rates.len() / 2], min: rates[0], max: rates[rates.len() - 1] }
    });
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    Ok(Figures { schema_version: 1, kernel, rows: rows.collect() })
}

/// A program that is ended when this is dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn rate(mode: Option<(AttachMode, DriverMode)>) -> Result<f64> {
    let (client, server) = (Netns::new("client")?, Netns::new("server")?);
    let peer = server.path();
    let peer = peer.to_str().context("a path")?;
    ip(&client, &format!("link add wire type veth peer name guarded netns {peer}"))?;
    for (host, link, address) in [(&client, "wire", "192.0.2.1/24"), (&server, "guarded", "192.0.2.10/24")] {
        ip(host, &format!("addr add {address} dev {link}"))?;
        ip(host, &format!("link set dev {link} up"))?;
    }
    server.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut kernel = None;
        if let Some((mode, wanted)) = mode {
            let mut datapath =
                Datapath::load(&LoadOptions::default()).context("cannot load the kernel part, which needs root")?;
            datapath.set_port_classes(frames::port_entries())?;
            datapath.set_own_addresses(&frames::own_addresses())?;
            datapath.set_config(&KernelConfig::new([1, 2]))?;
            let attached = runtime.block_on(datapath.attach("guarded", mode))?;
            ensure!(attached.driver_mode == wanted, "attached as {:?}", attached.driver_mode);
            kernel = Some(datapath);
        }
        let mut listen = Command::new("iperf3");
        listen.args(["-s", "-1"]).stdout(Stdio::null()).stderr(Stdio::null());
        let _listening = Ended(listen.spawn().context("cannot run iperf3: is it installed?")?);
        let measured = transfer(&client);
        drop(kernel);
        measured
    })?
}

/// Gigabits a second of a transfer, once the server listens.
fn transfer(client: &Netns) -> Result<f64> {
    let mut measured = None;
    wait_until("iperf3 to listen", Duration::from_secs(10), || {
        let mut command = client.command("/usr/bin/env");
        command.args(["iperf3", "-J", "-c", SERVER, "-t", &SECONDS.to_string()]);
        let output = command.output().context("cannot run iperf3")?;
        let report: serde_json::Value =
            serde_json::from_slice(&output.stdout).context("cannot read the report of iperf3")?;
        measured = report["end"]["sum_received"]["bits_per_second"].as_f64();
        Ok(measured.is_some())
    })?;
    Ok(measured.context("a rate")? / 1e9)
}

fn ip(host: &Netns, arguments: &str) -> Result<()> {
    let mut command = host.command("/usr/bin/env");
    let output = command.arg("ip").args(arguments.split(' ')).output().context("cannot run ip, of package iproute2")?;
    ensure!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

impl fmt::Display for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kernel, rows, .. } = self;
        writeln!(
            formatter,
            "Linux {kernel}: Gbit/s of one TCP connection over veth (iperf3), by how scanguard is attached"
        )?;
        writeln!(formatter, "the median of {ROUNDS} rounds of {SECONDS} s, and the spread\n")?;
        for Row { name, gbit_per_s, min, max } in rows {
            writeln!(formatter, "  {name:<10}{gbit_per_s:>7.2}   ({min:.2} to {max:.2})")?;
        }
        Ok(())
    }
}
