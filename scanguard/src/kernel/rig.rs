//! Programs that stand beside the datapath in tests and benches: floors, a packet generator, what gives each run of a program another
//! source, a check of the atomics.
//!
//! The object is built from `scanguard-ebpf/src/rig.rs` and handed in by whoever uses it, so that the daemon carries none of
//! it.

use std::io;
use std::path::Path;
use std::time::Duration;

use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, PerCpuValues, ProgramArray};
use aya::programs::{ProgramFd, SchedClassifier, TestRun as _, TestRunAttrs, TestRunOptions, Xdp, XdpMode};
use aya::util::nr_cpus;
use aya::{Ebpf, EbpfLoader};

use scanguard_common::layout::LAYOUT;
use scanguard_common::packet::PARSED_WORDS;
use scanguard_common::record::SourceRecord;
use scanguard_common::source::SourceKey;
use zerocopy::FromBytes as _;

use super::datapath::Datapath;
use super::error::KernelError;
use super::filter::Filter;
use super::maps::{AddressBytes, RecordBytes, map_error};
use super::trial::Trial;

/// Frames that the kernel makes at a time.
const LIVE_BATCH: u32 = 64;

/// The records of sources in the map that a daemon with `--keep` pinned: read one by one, for there may be many.
#[derive(Debug)]
pub struct PinnedSources(HashMap<MapData, AddressBytes, RecordBytes>);

impl PinnedSources {
    /// Opens it below the folder of pins.
    ///
    /// # Errors
    /// When there is none of this layout.
    pub fn open(folder: &Path) -> Result<Self, KernelError> {
        let path = folder.join(format!("v{LAYOUT}/maps/{SOURCES}"));
        let map = MapData::from_pin(path).and_then(Map::from_map_data).map_err(map_error(SOURCES))?;
        HashMap::try_from(map).map(Self).map_err(map_error(SOURCES))
    }

    /// What is recorded of a source.
    #[must_use]
    pub fn record(&self, source: &SourceKey) -> Option<SourceRecord> {
        let bytes = self.0.get(&source.0.bytes(), 0).ok()?;
        SourceRecord::read_from_bytes(&bytes).ok()
    }
}

const SOURCES: &str = "SOURCES";

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

/// Which four bytes of a frame are written, and with which numbers: `base | number << shift`, each number below `count` once before any
/// comes again, in an order that jumps.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Vary {
    /// Offset from the start of the frame, at most 63.
    pub at: u32,
    /// What the number is added to.
    pub base: u32,
    /// How many numbers there are, at least 1.
    pub count: u32,
    /// By how many bits the number is shifted.
    pub shift: u32,
}

/// Offset of the source address in an IPv4 frame.
const SOURCE4_AT: u32 = 14 + 12;
/// Offset of the second half of the first eight bytes of the source address in an IPv6 frame.
const SOURCE6_AT: u32 = 14 + 8 + 4;

impl Vary {
    /// So many IPv4 sources of 10.0.0.0/8, one after another.
    #[must_use]
    pub const fn sources4(count: u32) -> Self {
        Self { at: SOURCE4_AT, base: 0x0a00_0000, count, shift: 0 }
    }

    /// So many IPv6 sources, each a /64.
    #[must_use]
    pub const fn sources6(count: u32) -> Self {
        Self { at: SOURCE6_AT, base: 0x0a00_0000, count, shift: 0 }
    }

    /// The four bytes with this number.
    #[must_use]
    pub const fn word(&self, number: u32) -> u32 {
        self.base | number << self.shift
    }

    /// As `rig_vary` has it.
    fn plan(&self, place: u32, frames: u64) -> [u64; PLAN_WORDS] {
        let Self { at, base, count, shift } = *self;
        let count = u64::from(count.max(1));
        [place.into(), at.into(), base.into(), count, step(count), shift.into(), frames]
    }
}

/// Words of a plan, as `scanguard-ebpf/src/rig.rs` says.
const PLAN_WORDS: usize = 7;

/// A step through so many numbers that jumps and meets each of them: the golden section of them, or the next number without a
/// common divisor.
fn step(count: u64) -> u64 {
    let common = |mut a: u64, mut b: u64| {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let golden = (count as f64 * 0.618_033_988_749_895) as u64;
    (golden.max(1)..).find(|step| common(*step, count) == 1).unwrap_or(1)
}

/// A program of which runs are measured: its place among those that [`Rig::run_varied`] may run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Place {
    index: u32,
    single: bool,
}

impl Rig {
    /// Loads the rig for a generator that leaves by interface `index` with `sources` source addresses in turn.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn load(object: &[u8], index: u32, sources: u32) -> Result<Self, KernelError> {
        let object = EbpfLoader::new().override_global("RIG_INTERFACE", &index, true).load(object)?;
        let mut rig = Self { object };
        rig.set_sources(&Vary::sources4(sources))?;
        Ok(rig)
    }

    /// Sets what the generator writes into frames, from the first number on.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn set_sources(&mut self, vary: &Vary) -> Result<(), KernelError> {
        self.set_plan(&vary.plan(0, 0))
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

    /// Sends `frames` copies of a frame, each with the next number of what was set, from
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
        let map = self.object.map("RIG_PLAN").ok_or(KernelError::NoSuchPart("RIG_PLAN"))?;
        let map = PerCpuArray::<_, [u64; PLAN_WORDS]>::try_from(map).map_err(map_error("RIG_PLAN"))?;
        Ok(map.get(&0, 0).map_err(map_error("RIG_PLAN"))?.iter().map(|plan| plan[PLAN_WORDS - 1]).sum())
    }

    /// Puts the datapath under measurement.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn place_datapath(&mut self, index: u32, datapath: &mut Datapath) -> Result<Place, KernelError> {
        let program = datapath.xdp()?.fd().map_err(program_error("scanguard"))?;
        self.place(index, false, program)
    }

    /// Puts a floor under measurement, beside programs that take frames in several buffers, or (`single`) in one.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn place_floor(&mut self, index: u32, single: bool) -> Result<Place, KernelError> {
        let name = if single { "rig_pass_single" } else { "rig_pass" };
        let program = self.loaded(name)?.fd().map_err(program_error(name))?.try_clone();
        let program = program.map_err(|source| KernelError::Io { what: "hold a program of the rig", source })?;
        self.place(index, single, &program)
    }

    /// Puts somebody else's program under measurement.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn place_other(&mut self, index: u32, other: &Filter) -> Result<Place, KernelError> {
        self.place(index, true, other.fd()?)
    }

    fn place(&mut self, index: u32, single: bool, program: &ProgramFd) -> Result<Place, KernelError> {
        let name = if single { "RIG_NEXT_SINGLE" } else { "RIG_NEXT" };
        let map = self.object.map_mut(name).ok_or(KernelError::NoSuchPart(name))?;
        let mut map = ProgramArray::try_from(map).map_err(map_error(name))?;
        map.set(index, program, 0).map_err(map_error(name))?;
        Ok(Place { index, single })
    }

    /// Runs a program `repeat` times, each time with the next source, from number `from` on; returns the last XDP action and the mean time
    /// of a run, the writing of the source included.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn run_varied(
        &mut self,
        place: Place,
        vary: &Vary,
        from: u64,
        frame: &[u8],
        repeat: u32,
    ) -> Result<Trial, KernelError> {
        self.set_plan(&vary.plan(place.index, from))?;
        let name = if place.single { "rig_vary_single" } else { "rig_vary" };
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::default() };
        let result = self.loaded(name)?.test_run(options).map_err(program_error(name))?;
        Ok(Trial { action: result.return_value, duration: result.duration })
    }

    fn set_plan(&mut self, plan: &[u64; PLAN_WORDS]) -> Result<(), KernelError> {
        let map = self.object.map_mut("RIG_PLAN").ok_or(KernelError::NoSuchPart("RIG_PLAN"))?;
        let mut map = PerCpuArray::try_from(map).map_err(map_error("RIG_PLAN"))?;
        let count = nr_cpus().map_err(|(_, source)| cpus(source))?;
        let values = PerCpuValues::try_from(vec![*plan; count]).map_err(cpus)?;
        map.set(0, values, 0).map_err(map_error("RIG_PLAN"))
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

fn cpus(source: io::Error) -> KernelError {
    KernelError::Io { what: "tell how many CPUs there are", source }
}

fn program_error(program: &'static str) -> impl Fn(aya::programs::ProgramError) -> KernelError {
    move |source| KernelError::Program { program, source }
}
