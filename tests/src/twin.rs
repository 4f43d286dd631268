//! The kernel and the host's model of it, fed the same frames and compared.

use std::collections::HashMap;

use ipnetwork::IpNetwork;
use scanguard::kernel::trial::{TRIAL_INTERFACE, XDP_DROP, XDP_PASS, XDP_TX};
use scanguard::kernel::{Counters, Datapath, EventStream, LoadOptions, Lockdown, LockedPorts, TableSizes};
use scanguard::net::Own;
use scanguard::ports::all_ports;
use scanguard::prefix_map::Prefix;
use scanguard_common::address::prefix;
use scanguard_common::challenge::{ChallengeMode, ChallengeRecord, ChallengeRules, Nic};
use scanguard_common::class::Protocol;
use scanguard_common::config::KernelConfig;
use scanguard_common::datapath::{Action, answer_frame, judge_leaving};
use scanguard_common::event::Event;
use scanguard_common::host::{Frame, MemoryTables};
use scanguard_common::opened::Endpoint;
use scanguard_common::packet::reply::REPLY_BYTES;
use scanguard_common::reason::Mode;
use scanguard_common::record::{Backup, SourceRecord};
use scanguard_common::source::{KeyRules, SourceKey};
use scanguard_common::tables::Tables as _;
use scanguard_common::verdict::{Known, Verdict};
use zerocopy::{Immutable, IntoBytes};

use crate::frames;

const CONTACT_KEY: [u64; 2] = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];

/// Kernel and model side by side, set up as the host of [`frames`].
pub struct Twin {
    kernel: Datapath,
    events: EventStream,
    proofs: EventStream,
    model: MemoryTables,
    config: KernelConfig,
    watched: bool,
}

impl Twin {
    /// Both, empty, with room for this many sources in the kernel.
    ///
    /// # Panics
    /// When the kernel part cannot be loaded, which needs root.
    #[must_use]
    pub fn new(max_sources: u32) -> Self {
        let options =
            LoadOptions { sizes: TableSizes::full(max_sources), virtual_world: true, ..LoadOptions::default() };
        let mut kernel = Datapath::load(&options).unwrap_or_else(|error| {
            panic!("{error}\n(this test needs root and the kernel; run it with `cargo xtask test`)")
        });
        let config = KernelConfig::new(CONTACT_KEY);
        kernel.set_port_classes(frames::port_entries()).expect("port classes");
        let local: IpNetwork = frames::LOCAL.parse().expect("a network");
        let own = Own { addresses: frames::own_addresses(), prefixes: vec![local], groups: frames::groups() };
        kernel.set_own(&own).expect("own addresses");
        for (flow, socket) in frames::sockets() {
            kernel.set_virtual_socket(&flow, socket).expect("a socket");
        }
        kernel.set_config(&config).expect("settings");
        let events = kernel.take_events().expect("events");
        let proofs = kernel.take_proofs().expect("proofs");

        let mut model = MemoryTables::new(config);
        for (protocol, port, entry) in frames::port_entries() {
            model.set_port(protocol, port, entry);
        }
        for address in frames::own_addresses() {
            model.add_own_address(address.into());
        }
        for group in frames::groups() {
            model.add_group(group.into());
        }
        model.set_local(vec![prefix(local.network(), local.prefix())]);
        for (flow, socket) in frames::sockets() {
            model.set_socket(flow, socket);
        }
        Self { kernel, events, proofs, model, config, watched: true }
    }

    /// Sets both clocks.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn set_now(&mut self, now_ns: u64) {
        self.config.virtual_now_ns = now_ns;
        if self.watched {
            self.config.heartbeat_ns = now_ns;
        }
        self.model.set_now(now_ns);
        self.write_config();
    }

    /// Whether a daemon watches from now on; one does at first.
    pub fn set_watched(&mut self, watched: bool) {
        self.watched = watched;
    }

    /// Sets the mode of both.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn set_mode(&mut self, mode: Mode) {
        self.config.mode = mode as u32;
        self.write_config();
    }

    fn write_config(&mut self) {
        self.kernel.set_config(&self.config).expect("settings");
        self.model.set_config(self.config);
    }

    /// Decides about a source, in both.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn set_verdict(&mut self, source: SourceKey, verdict: Option<Verdict>) {
        match &verdict {
            Some(verdict) => {
                self.kernel.set_verdict(source, verdict).expect("a verdict").expect("a source that is not allowed");
            }
            None => {
                self.kernel.remove_verdict(source).expect("no verdict");
            }
        }
        self.model.set_verdict(source, verdict);
    }

    /// Replaces the verdicts on prefixes, in both.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn set_prefix_verdicts(&mut self, verdicts: &[(IpNetwork, Verdict)]) {
        let present: Vec<Prefix> = self.kernel.decided().prefix_verdicts().map(|(prefix, _)| prefix).collect();
        for prefix in present {
            self.kernel.remove_prefix_verdict(prefix).expect("no verdict");
        }
        let mut told = Vec::new();
        for (network, verdict) in verdicts {
            // What the allowlist covers whole is refused.
            if self.kernel.set_prefix_verdict((*network).into(), verdict).expect("a verdict").is_ok() {
                let (address, bits) = prefix(network.network(), network.prefix());
                told.push((address, bits, *verdict));
            }
        }
        self.model.set_prefix_verdicts(told);
    }

    /// Ends enforcing at this time, in both; all ones for never.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn set_enforce_until(&mut self, until_ns: u64) {
        self.config.enforce_until_ns = until_ns;
        self.write_config();
    }

    /// Closes these ports to all but a few until this time, in both; 0 ends it.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn set_lockdown(&mut self, ports: &[(Protocol, u16)], until_ns: u64, keeps_known: bool) {
        let closed = LockedPorts::Named(ports.iter().copied().collect());
        let lockdown = Lockdown { ports: closed.clone(), until_ns, keeps_known };
        let lockdown = (until_ns != 0).then_some(&lockdown);
        self.kernel.set_lockdown(lockdown).expect("a lockdown");
        let KernelConfig { lockdown_until_ns, lockdown_keeps_known, .. } = *self.kernel.config();
        (self.config.lockdown_until_ns, self.config.lockdown_keeps_known) = (lockdown_until_ns, lockdown_keeps_known);
        self.write_config();
        let said: HashMap<_, _> =
            frames::port_entries().into_iter().map(|(protocol, port, entry)| ((protocol, port), entry)).collect();
        for (protocol, port) in all_ports() {
            let entry = said.get(&(protocol, port)).copied().unwrap_or_default();
            let is_locked = until_ns != 0 && closed.contain(protocol, port, entry);
            self.model.set_port(protocol, port, if is_locked { entry.locked() } else { entry });
        }
    }

    /// Says that a source has worked here, in both.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn set_known(&mut self, source: SourceKey, known: Known) {
        self.kernel.set_known(source, &known).expect("a known source");
        self.model.set_known(source, known);
    }

    /// Replaces the allowlist of both.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn set_allowed(&mut self, entries: &[(IpNetwork, u64)]) {
        self.kernel.set_allowed(entries).expect("an allowlist");
        let entry = |(network, expires_ns): &(IpNetwork, u64)| {
            let (address, bits) = prefix(network.network(), network.prefix());
            (address, bits, *expires_ns)
        };
        self.model.set_allowed(entries.iter().map(entry).collect());
    }

    /// Feeds a frame to both and returns the XDP action, which must be what the model says.
    ///
    /// # Panics
    /// When they differ.
    pub fn feed(&mut self, frame: &[u8]) -> u32 {
        self.answer_to(frame).0
    }

    /// The same, with the answer if there is one; both must give the same.
    ///
    /// # Panics
    /// When they differ.
    pub fn answer_to(&mut self, frame: &[u8]) -> (u32, Option<Vec<u8>>) {
        let (action, out) = self.kernel.trial_answer(frame).expect("a trial run");
        self.model.set_frame(frame);
        let mut reply = [0; REPLY_BYTES];
        let (expected, length) = match answer_frame(&Frame(frame), &self.model, &mut reply) {
            (Action::Pass | Action::PassPlain, _) => (XDP_PASS, None),
            (Action::Drop, _) => (XDP_DROP, None),
            (Action::Answer, length) => (XDP_TX, Some(length)),
        };
        assert_eq!(action, expected, "kernel and model differ on {frame:02x?}");
        let answer = length.map(|length| reply[..length].to_vec());
        if let Some(answer) = &answer {
            assert_eq!(&out, answer, "kernel and model answer differently to {frame:02x?}");
        }
        (action, answer)
    }

    /// Challenges suspects in both, for frames that come by this interface.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn set_challenge(&mut self, mode: ChallengeMode, nic: Option<Nic>) {
        let keys = [[1, 2], [3, 4]];
        self.config.challenge = ChallengeRules { keys, mode: mode as u32, ..ChallengeRules::default() };
        self.write_config();
        let nics: Vec<_> = nic.map(|nic| (TRIAL_INTERFACE, nic)).into_iter().collect();
        self.kernel.set_nics(&nics).expect("interfaces");
        self.model.set_nic(nic);
    }

    /// An address of the host was seen refusing something, by both.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn set_refused(&mut self, address: std::net::IpAddr, now_ns: u64) {
        self.kernel.set_refused(address.into(), now_ns).expect("a refusal");
        self.model.set_refused(address.into(), now_ns);
    }

    /// A source worked on a public port, in both.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn work(&mut self, source: SourceKey) {
        let now_ns = self.config.virtual_now_ns;
        let sessions = self.model.new_sessions(&source).expect("a record");
        sessions.begin(false, now_ns);
        sessions.work(false, now_ns);
        let record = self.model.session(&source).expect("a record");
        self.kernel.set_sessions(&record).expect("a record");
    }

    /// The proofs since the last call, which must be the same.
    ///
    /// # Panics
    /// When they differ.
    pub fn take_proofs(&mut self) -> Vec<Event> {
        let kernel: Vec<Event> = std::iter::from_fn(|| self.proofs.try_next()).collect();
        assert_eq!(kernel, self.model.take_proofs(), "proofs");
        kernel
    }

    /// Feeds a frame that leaves to both.
    ///
    /// # Panics
    /// When the kernel refuses it.
    pub fn leave(&mut self, frame: &[u8]) {
        // The kernel takes no trial frame that ends within its IP header.
        const HEADERS: usize = 14 + 40;
        match self.kernel.trial_leaving(frame, 1) {
            Err(_) if frame.len() < HEADERS => return,
            result => result.expect("a trial run"),
        };
        judge_leaving(&Frame(frame), &self.model);
    }

    /// Protects networks behind both.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn set_protected(&mut self, networks: &[IpNetwork]) {
        self.kernel.set_protected(networks).expect("networks");
        let prefixes = networks.iter().map(|network| prefix(network.network(), network.prefix()));
        self.model.set_protected(prefixes.collect());
    }

    /// Replaces the prefixes that are local by route, in both; addresses and groups stay the table's.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn set_local(&mut self, prefixes: &[IpNetwork]) {
        let own = Own { addresses: frames::own_addresses(), prefixes: prefixes.to_vec(), groups: frames::groups() };
        self.kernel.set_own(&own).expect("own addresses");
        self.model.set_local(prefixes.iter().map(|network| prefix(network.network(), network.prefix())).collect());
    }

    /// Says since when all that leaves is seen, by both; and whether they forward, and have learnt what is behind them.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn set_elsewhere(&mut self, egress_since_ns: Option<u64>, forwards: bool, learnt: bool) {
        self.config.egress_since_ns = egress_since_ns.unwrap_or(u64::MAX);
        (self.config.forwards, self.config.learnt) = (forwards.into(), learnt.into());
        self.write_config();
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

    /// The model, to look at.
    #[must_use]
    pub fn model(&self) -> &MemoryTables {
        &self.model
    }

    /// Compares everything: events, counters, and all tables.
    ///
    /// # Panics
    /// When they differ.
    pub fn assert_equal(&mut self, what: &str) {
        self.assert_events_equal(what);
        let counters = self.kernel_counters();
        for (index, (kernel, model)) in counters.all().iter().zip(self.model.counters()).enumerate() {
            assert_eq!(*kernel, model, "{what}: counter {index}");
        }
        let readings = self.kernel.readings();
        compare(what, "sources", self.kernel_sources(), sorted(self.model.records()));
        let networks = sorted(readings.networks().expect("networks"));
        compare(what, "networks", networks, sorted(self.model.networks()));
        let by_source = |mut suspects: Vec<(SourceKey, Backup)>| {
            suspects.sort_unstable_by_key(|(source, _)| source.0.bytes());
            suspects
        };
        let suspects = by_source(readings.suspects().expect("suspects"));
        compare(what, "suspects", suspects, by_source(self.model.suspects()));
        let by_endpoint = |mut opened: Vec<(Endpoint, u64)>| {
            opened.sort_unstable_by_key(|(endpoint, _)| (endpoint.address.bytes(), endpoint.protocol, endpoint.port));
            opened
        };
        let opened = by_endpoint(readings.opened().expect("opened ports"));
        compare(what, "opened ports", opened, by_endpoint(self.model.all_opened()));
        compare(
            what,
            "contacts that wait",
            by_bytes(readings.asked().expect("asked")),
            by_bytes(self.model.all_asked()),
        );
        compare(what, "flows", by_bytes(readings.flows().expect("flows")), by_bytes(self.model.all_flows()));
        compare(what, "sources sent to", by_bytes(readings.sent().expect("sent")), by_bytes(self.model.all_sent()));
        let by_source = |mut records: Vec<ChallengeRecord>| {
            records.sort_unstable_by_key(|record| record.source.0.bytes());
            records
        };
        let challenged = by_source(readings.challenged().expect("challenged"));
        compare(what, "sources that were answered", challenged, by_source(self.model.all_challenged()));
        compare(what, "passes", by_bytes(readings.passes().expect("passes")), by_bytes(self.model.all_passes()));
        self.take_proofs();
        assert_eq!(readings.state().expect("state"), self.model.all_state(), "{what}: state");
    }
}

fn compare<T: PartialEq + std::fmt::Debug>(what: &str, table: &str, kernel: Vec<T>, model: Vec<T>) {
    assert_eq!(kernel.len(), model.len(), "{what}: number of {table}");
    for (kernel, model) in kernel.iter().zip(&model) {
        assert_eq!(kernel, model, "{what}: {table}");
    }
}

/// Entries in the order of their keys' bytes.
fn by_bytes<K: IntoBytes + Immutable, V>(mut entries: Vec<(K, V)>) -> Vec<(K, V)> {
    entries.sort_unstable_by(|(one, _), (other, _)| one.as_bytes().cmp(other.as_bytes()));
    entries
}

fn sorted(mut records: Vec<SourceRecord>) -> Vec<SourceRecord> {
    records.sort_unstable_by_key(|record| record.source.0.bytes());
    records
}
