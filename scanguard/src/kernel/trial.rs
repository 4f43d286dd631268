//! One frame through the program without an interface: `BPF_PROG_TEST_RUN`.

use std::time::Duration;

use aya::programs::{TestRun as _, TestRunOptions};
use scanguard_common::flow::Flow;
use scanguard_common::record::SourceRecord;
use scanguard_common::tables::Socket;

use super::datapath::Datapath;
use super::egress;
use super::error::KernelError;
use super::maps::{FlowBytes, map_error, to_bytes};
use super::program::program_error;

/// XDP action numbers (`enum xdp_action` of `include/uapi/linux/bpf.h`).
pub const XDP_PASS: u32 = 2;
/// As [`XDP_PASS`].
pub const XDP_DROP: u32 = 1;
/// As [`XDP_PASS`]: sent back by the interface that it came by.
pub const XDP_TX: u32 = 3;

/// Index of the interface that frames of trials come by: the loopback one of this namespace.
pub const TRIAL_INTERFACE: u32 = 1;

/// Shortest frame that the kernel takes for a trial: an Ethernet header (`ETH_HLEN`).
pub const SHORTEST_FRAME: usize = 14;

/// What the program did with a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Trial {
    /// The XDP action.
    pub action: u32,
    /// Mean time of a run.
    pub duration: Duration,
}

impl Datapath {
    /// Runs the program on a frame `repeat` times. Load with `virtual_world` to hold the clock and the sockets.
    ///
    /// # Errors
    /// When the kernel refuses, as it does a frame under [`SHORTEST_FRAME`].
    pub fn trial(&mut self, frame: &[u8], repeat: u32) -> Result<Trial, KernelError> {
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::default() };
        let result = self.xdp()?.test_run(options).map_err(program_error)?;
        Ok(Trial { action: result.return_value, duration: result.duration })
    }

    /// Runs the program on a frame once, and returns the XDP action and what became of the frame.
    ///
    /// # Errors
    /// As for [`Self::trial`].
    pub fn trial_answer(&mut self, frame: &[u8]) -> Result<(u32, Vec<u8>), KernelError> {
        let mut out = vec![0; frame.len() + 256];
        let options = TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ..TestRunOptions::default() };
        let result = self.xdp()?.test_run(options).map_err(program_error)?;
        out.truncate(result.data_size_out as usize);
        Ok((result.return_value, out))
    }

    /// Runs the egress program on a frame `repeat` times; returns the mean time of a run.
    ///
    /// # Errors
    /// As for [`Self::trial`].
    pub fn trial_leaving(&mut self, frame: &[u8], repeat: u32) -> Result<Duration, KernelError> {
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::default() };
        Ok(self.egress()?.test_run(options).map_err(egress::program_error)?.duration)
    }

    /// Sets a socket of the virtual world, by the flow it receives ([`Flow::to_listener`] for one without a peer).
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn set_virtual_socket(&mut self, flow: &Flow, socket: Socket) -> Result<(), KernelError> {
        let key = to_bytes::<_, FlowBytes>(flow);
        self.virtual_sockets.insert(key, socket as u32, 0).map_err(map_error("VIRTUAL_SOCKETS"))
    }

    /// Replaces the record of a source, as what sockets tell does, of which there are no trial runs.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn set_virtual_record(&mut self, record: &SourceRecord) -> Result<(), KernelError> {
        self.write_record(record)
    }

    /// Writes the record of a network, so that a measurement may begin anew.
    ///
    /// # Errors
    /// When the map cannot be written.
    #[cfg(feature = "rig")]
    pub fn set_virtual_network(&mut self, record: &SourceRecord) -> Result<(), KernelError> {
        self.readings().write_network(record)
    }
}
