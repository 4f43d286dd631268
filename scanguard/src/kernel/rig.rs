//! Programs that stand beside the datapath in tests and benches: floors, a packet generator, a check of the atomics.
//!
//! The object is built from `scanguard-ebpf/src/rig.rs` and handed in by whoever uses it, so that the daemon carries none of
//! it.

use std::time::Duration;

use aya::maps::{Array, MapData, PerCpuArray};
use aya::programs::{SchedClassifier, TestRun as _, TestRunAttrs, TestRunOptions, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};

use scanguard_common::packet::PARSED_WORDS;

use super::error::KernelError;
use super::maps::map_error;

/// Frames that the kernel makes at a time.
const LIVE_BATCH: u32 = 64;

/// A loaded rig. Dropping it detaches it.
pub struct Rig {
    object: Ebpf,
}

/// Which floor to attach.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Floor {
    /// Passes everything.
    Pass,
    /// Drops everything.
    Drop,
}

impl Rig {
    /// Loads the rig for a generator that leaves by interface `index` with `sources` source addresses in turn.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn load(object: &[u8], index: u32, sources: u32) -> Result<Self, KernelError> {
        let object = EbpfLoader::new()
            .override_global("RIG_INTERFACE", &index, true)
            .override_global("RIG_SOURCES", &sources, true)
            .load(object)?;
        Ok(Self { object })
    }

    /// Attaches a floor to an interface in the driver (`native`) or the stack.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn attach(&mut self, floor: Floor, interface: &str, native: bool) -> Result<(), KernelError> {
        let name = match floor {
            Floor::Pass => "rig_pass",
            Floor::Drop => "rig_drop",
        };
        let mode = if native { XdpMode::Driver } else { XdpMode::Skb };
        self.loaded(name)?.attach(interface, mode).map(|_link| ()).map_err(program_error(name))
    }

    /// Sends `frames` copies of a frame (IPv4 over Ethernet), each with the next source address of 10.0.0.0/8, from
    /// the calling thread's CPU and network namespace. The count is rounded up by the kernel to whole batches of 64.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn generate(&mut self, frame: &[u8], frames: u32) -> Result<(), KernelError> {
        let name = "rig_generate";
        let options = TestRunOptions {
            data_in: Some(frame),
            repeat: frames,
            attrs: TestRunAttrs::new().xdp_live_frames(LIVE_BATCH),
            ..TestRunOptions::default()
        };
        self.loaded(name)?.test_run(options).map(|_result| ()).map_err(program_error(name))
    }

    /// Frames generated so far, on all CPUs.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn generated(&self) -> Result<u64, KernelError> {
        let map = self.object.map("RIG_GENERATED").ok_or(KernelError::NoSuchPart("RIG_GENERATED"))?;
        let map = PerCpuArray::<_, u64>::try_from(map).map_err(map_error("RIG_GENERATED"))?;
        Ok(map.get(&0, 0).map_err(map_error("RIG_GENERATED"))?.iter().sum())
    }

    /// Runs each atomic once in the kernel on `words[0]` (64 bits) and `words[1]` (32 bits) and returns the words after
    /// it: the two operands, then what `fetch_add_u64(5)`, `fetch_or_u64(0x100)` and `fetch_add_u32(7)` returned; then `words[5]`
    /// after, and what `compare_exchange_u64` returned for (30, 31) and (99, 32) on it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn atomics(&mut self, words: [u64; 8]) -> Result<[u64; 8], KernelError> {
        let name = "rig_atomics";
        self.words()?.set(0, words, 0).map_err(map_error("RIG_ATOMICS"))?;
        let frame = [0_u8; 64];
        let options = TestRunOptions { data_in: Some(&frame), ..TestRunOptions::default() };
        self.loaded(name)?.test_run(options).map_err(program_error(name))?;
        self.words()?.get(&0, 0).map_err(map_error("RIG_ATOMICS"))
    }

    /// What the parser in the kernel makes of a frame, as [`scanguard_common::packet::Parsed::words`]. With `near`, only so many
    /// of its bytes lie in the frame's first buffer (Linux 6.18), which must be at least an Ethernet header.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn parse(&mut self, frame: &[u8], near: Option<u32>) -> Result<[u64; PARSED_WORDS], KernelError> {
        let name = "rig_parse";
        // `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let context = near.map(|near| [0, near, 0, 0, 0, 0].map(u32::to_ne_bytes).concat());
        let options = TestRunOptions { data_in: Some(frame), ctx_in: context.as_deref(), ..TestRunOptions::default() };
        self.loaded(name)?.test_run(options).map_err(program_error(name))?;
        self.parsed()
    }

    /// Runs the program that does nothing to what leaves on a frame `repeat` times; returns the mean time of a run.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn leave(&mut self, frame: &[u8], repeat: u32) -> Result<Duration, KernelError> {
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::default() };
        let name = "rig_leave";
        Ok(self.loaded_classifier(name)?.test_run(options).map_err(program_error(name))?.duration)
    }

    /// What the reader in the kernel makes of a frame that leaves: the words of what it answers
    /// ([`scanguard_common::packet::Parsed::words`]) with the number of the [`scanguard_common::event::Answer`] in the last byte.
    ///
    /// # Errors
    /// When the kernel refuses, as it does a frame that ends within its IP header.
    pub fn parse_leaving(&mut self, frame: &[u8]) -> Result<[u64; PARSED_WORDS], KernelError> {
        let options = TestRunOptions { data_in: Some(frame), ..TestRunOptions::default() };
        let name = "rig_parse_leaving";
        self.loaded_classifier(name)?.test_run(options).map_err(program_error(name))?;
        self.parsed()
    }

    fn parsed(&self) -> Result<[u64; PARSED_WORDS], KernelError> {
        let map = self.object.map("RIG_PARSED").ok_or(KernelError::NoSuchPart("RIG_PARSED"))?;
        let map = Array::<_, [u64; PARSED_WORDS]>::try_from(map).map_err(map_error("RIG_PARSED"))?;
        map.get(&0, 0).map_err(map_error("RIG_PARSED"))
    }

    fn loaded_classifier(&mut self, name: &'static str) -> Result<&mut SchedClassifier, KernelError> {
        let program = self.object.program_mut(name).ok_or(KernelError::NoSuchPart(name))?;
        let program: &mut SchedClassifier = program.try_into().map_err(program_error(name))?;
        if program.fd().is_err() {
            program.load().map_err(program_error(name))?;
        }
        Ok(program)
    }

    fn words(&mut self) -> Result<Array<&mut MapData, [u64; 8]>, KernelError> {
        let map = self.object.map_mut("RIG_ATOMICS").ok_or(KernelError::NoSuchPart("RIG_ATOMICS"))?;
        Array::try_from(map).map_err(map_error("RIG_ATOMICS"))
    }

    fn loaded(&mut self, name: &'static str) -> Result<&mut Xdp, KernelError> {
        let program = self.object.program_mut(name).ok_or(KernelError::NoSuchPart(name))?;
        let program: &mut Xdp = program.try_into().map_err(program_error(name))?;
        if program.fd().is_err() {
            program.load().map_err(program_error(name))?;
        }
        Ok(program)
    }
}

fn program_error(program: &'static str) -> impl Fn(aya::programs::ProgramError) -> KernelError {
    move |source| KernelError::Program { program, source }
}
