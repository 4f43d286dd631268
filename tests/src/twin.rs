//! The kernel and the host's model of it, fed the same frames and compared.

use scanguard::kernel::{Counters, Datapath, EventStream, LoadOptions};
use scanguard_common::config::KernelConfig;
use scanguard_common::datapath::{Action, process_frame};
use scanguard_common::event::Event;
use scanguard_common::host::{Frame, MemoryTables};
use scanguard_common::record::SourceRecord;
use scanguard_common::source::KeyRules;

use crate::frames;

const CONTACT_KEY: [u64; 2] = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];

/// Kernel and model side by side, set up as the host of [`frames`].
pub struct Twin {
    kernel: Datapath,
    events: EventStream,
    model: MemoryTables,
    config: KernelConfig,
}

impl Twin {
    /// Both, empty, with room for this many sources in the kernel.
    ///
    /// # Panics
    /// When the kernel part cannot be loaded, which needs root.
    #[must_use]
    pub fn new(max_sources: u32) -> Self {
        let options = LoadOptions { max_sources, virtual_world: true, ..LoadOptions::default() };
        let mut kernel = Datapath::load(&options).unwrap_or_else(|error| {
            panic!("{error}\n(this test needs root and the kernel; run it with `cargo xtask test`)")
        });
        let config = KernelConfig::new(CONTACT_KEY);
        kernel.set_port_classes(frames::port_classes()).expect("port classes");
        kernel.set_own_addresses(&frames::own_addresses()).expect("own addresses");
        kernel.add_virtual_udp(&frames::udp_connection()).expect("a UDP connection");
        kernel.set_config(&config).expect("settings");
        let events = kernel.take_events().expect("events");

        let mut model = MemoryTables::new(config);
        for (protocol, port, class) in frames::port_classes() {
            model.set_port_class(protocol, port, class);
        }
        for address in frames::own_addresses() {
            model.add_own_address(address.into());
        }
        model.add_udp_connection(frames::udp_connection());
        Self { kernel, events, model, config }
    }

    /// Sets both clocks.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn set_now(&mut self, now_ns: u64) {
        self.config.virtual_now_ns = now_ns;
        self.kernel.set_config(&self.config).expect("settings");
        self.model.set_now(now_ns);
    }

    /// Feeds a frame to both and returns the XDP action, which must be what the model says.
    ///
    /// # Panics
    /// When they differ.
    pub fn feed(&mut self, frame: &[u8]) -> u32 {
        let action = self.kernel.trial(frame, 1).expect("a trial run").action;
        let expected = match process_frame(&Frame(frame), &self.model) {
            Action::Pass => scanguard::kernel::trial::XDP_PASS,
        };
        assert_eq!(action, expected, "kernel and model differ on {frame:02x?}");
        action
    }

    /// The kernel's counters.
    ///
    /// # Panics
    /// When they cannot be read.
    #[must_use]
    pub fn kernel_counters(&self) -> Counters {
        self.kernel.readings().counters().expect("counters")
    }

    /// The kernel's records, by source.
    ///
    /// # Panics
    /// When they cannot be read.
    #[must_use]
    pub fn kernel_sources(&self) -> Vec<SourceRecord> {
        sorted(self.kernel.readings().sources().expect("sources"))
    }

    /// How addresses become sources here.
    #[must_use]
    pub fn rules(&self) -> KeyRules {
        self.config.keys
    }

    /// Compares the events since the last call.
    ///
    /// # Panics
    /// When they differ.
    pub fn assert_events_equal(&mut self, what: &str) {
        let kernel: Vec<Event> = std::iter::from_fn(|| self.events.try_next()).collect();
        let model = self.model.take_events();
        assert_eq!(kernel.len(), model.len(), "{what}: number of events");
        for (kernel, model) in kernel.iter().zip(&model) {
            assert_eq!(kernel, model, "{what}");
        }
    }

    /// Compares everything: counters, records, events.
    ///
    /// # Panics
    /// When they differ.
    pub fn assert_equal(&mut self, what: &str) {
        self.assert_events_equal(what);
        let counters = self.kernel_counters();
        for (index, (kernel, model)) in counters.all().iter().zip(self.model.counters()).enumerate() {
            assert_eq!(*kernel, model, "{what}: counter {index}");
        }
        let (kernel, model) = (self.kernel_sources(), sorted(self.model.records()));
        assert_eq!(kernel.len(), model.len(), "{what}: number of sources");
        for (kernel, model) in kernel.iter().zip(&model) {
            assert_eq!(kernel, model, "{what}");
        }
    }
}

fn sorted(mut records: Vec<SourceRecord>) -> Vec<SourceRecord> {
    records.sort_unstable_by_key(|record| record.source.0.bytes());
    records
}
