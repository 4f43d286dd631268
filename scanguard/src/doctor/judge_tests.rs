//! Cases of the judgement.

use std::net::IpAddr;
use std::time::Duration;

use scanguard_common::class::Protocol;

use super::judge::judge;
use super::report::{Check, Report, State};
use super::seen::{Beside, Caller, Daemon, Interface, Loading, Open, Seen, Xdp};
use crate::config::Ports;
use crate::kernel::link::{HeldBy, Removal};
use crate::kernel::preflight::Missing;
use crate::kernel::probe::Loaded;
use crate::kernel::{AttachMode, DriverMode};
use crate::logins::How;
use crate::net::{NativeXdp, Nic};

const MIB: u64 = 1 << 20;

fn interface(name: &str) -> Interface {
    Interface {
        name: name.to_owned(),
        is_veth: false,
        nic: Nic { driver: Some("igc".to_owned()), queues: Some(4), native: NativeXdp::No },
        xdp: None,
        others: Vec::new(),
    }
}

fn xdp(name: &str, is_ours: bool) -> Xdp {
    let removal =
        Removal { interface: "eth0".into(), mode: DriverMode::Generic, program_id: 77, held: HeldBy::Link(5) };
    Xdp { name: name.to_owned(), mode: DriverMode::Generic, is_ours, removal }
}

/// A host on which all is well.
pub(crate) fn well() -> Seen {
    Seen {
        kernel: "6.18.5".to_owned(),
        kernel_lacks: Vec::new(),
        rights_lack: Vec::new(),
        loading: Loading::Done(Loaded { took: Duration::from_millis(1_240), bytes: 180 * MIB }),
        tcx: Some(true),
        cgroup: Some("/sys/fs/cgroup".into()),
        pins: None,
        daemon: None,
        interfaces: vec![interface("eth0")],
        no_interface: None,
        attach: AttachMode::Auto,
        cpus: 4,
        beside: Beside::default(),
        caller: None,
        open: vec![open(22, "0.0.0.0", "sshd"), open(80, "0.0.0.0", "nginx")],
        ports: Ports::default(),
        clock: Some(true),
        daemon_bytes: None,
        available_bytes: Some(4_096 * MIB),
    }
}

/// A host on which much is to be said.
pub(crate) fn busy() -> Seen {
    let mut seen = well();
    let guarded = Interface {
        xdp: Some(xdp("xdp_firewall", false)),
        others: vec!["tcx ingress: cil_from_netdev".into()],
        ..interface("eth0")
    };
    let nic = Nic { driver: Some("virtio_net".into()), queues: Some(2), native: NativeXdp::Yes };
    seen.interfaces = vec![guarded, Interface { nic, ..interface("eth1") }];
    seen.tcx = Some(false);
    seen.cgroup = None;
    seen.beside = Beside {
        nft: vec![("inet".into(), "firewalld".into()), ("ip".into(), "nat".into())],
        legacy: vec!["filter".into()],
        running: vec!["dockerd".into(), "fail2ban-server".into()],
    };
    seen.caller = Some(Caller { address: IpAddr::from([203, 0, 113, 7]), how: How::Environment, safety: None });
    seen.open.extend([
        open(6379, "0.0.0.0", "redis-server"),
        open(6379, "::", "redis-server"),
        open(5432, "10.0.0.5", "postgres"),
    ]);
    seen.clock = Some(false);
    seen
}

fn open(port: u16, address: &str, program: &str) -> Open {
    let address = address.parse().expect("an address");
    Open { protocol: Protocol::Tcp, port, address, program: Some(program.to_owned()) }
}

fn udp(port: u16, address: &str) -> Open {
    Open { protocol: Protocol::Udp, program: None, ..open(port, address, "") }
}

fn changed(change: impl FnOnce(&mut Seen)) -> Report {
    let mut seen = well();
    change(&mut seen);
    judge(&seen)
}

/// What is said under a name, which must be there once.
fn said<'r>(report: &'r Report, name: &str) -> &'r Check {
    let found: Vec<&Check> = report.checks.iter().filter(|check| check.name == name).collect();
    assert_eq!(found.len(), 1, "{name}: {:?}", report.checks);
    found[0]
}

fn names(report: &Report, state: State) -> Vec<&str> {
    report.checks.iter().filter(|check| check.state == state).map(|check| check.name.as_str()).collect()
}

#[test]
fn where_all_is_well_nothing_is_to_be_done_and_the_exit_code_is_0() {
    let report = judge(&well());
    assert_eq!(report.state, State::Ok, "{:?}", report.checks);
    assert_eq!(report.exit_status() as u8, 0);
    assert!(report.checks.iter().all(|check| check.hint.is_empty()), "{:?}", report.checks);
    assert_eq!(report.memory.kernel_bytes, Some(180 * MIB));
    assert!(report.you.safe && report.you.address.is_none());
}

#[test]
fn hints_are_no_reason_to_fail_warnings_exit_with_5_and_failures_with_77() {
    for (report, state, code) in [
        (changed(|seen| seen.clock = Some(false)), State::Hint, 0),
        (changed(|seen| seen.cgroup = None), State::Warn, 5),
        (changed(|seen| seen.interfaces[0].xdp = Some(xdp("other", false))), State::Fail, 77),
        (judge(&busy()), State::Fail, 77),
    ] {
        assert_eq!((report.state, report.exit_status() as u8), (state, code), "{:?}", report.checks);
    }
}

#[test]
fn each_check_that_is_not_ok_says_what_it_means_or_what_to_do() {
    for check in judge(&busy()).checks.iter().filter(|check| check.state >= State::Warn) {
        assert!(!check.meaning.is_empty() && !check.hint.is_empty(), "{check:?}");
    }
}

#[test]
fn a_kernel_that_lacks_something_or_refuses_the_programs_cannot_run_it() {
    let missing = |what: &str| Missing { what: what.to_owned(), fix: "a newer one".to_owned() };
    let report = changed(|seen| seen.kernel_lacks = vec![missing("the kernel is 5.10")]);
    assert_eq!(said(&report, "kernel").message, "Linux 6.18.5: the kernel is 5.10.");
    assert_eq!(said(&report, "kernel").hint, "A newer one.");
    let report = changed(|seen| seen.loading = Loading::Refused("the verifier says no".to_owned()));
    assert_eq!(said(&report, "kernel").message, "Linux 6.18.5 refuses the kernel part: the verifier says no.");
    assert_eq!((report.state, report.memory.kernel_bytes), (State::Fail, None));
    let report = changed(|seen| seen.rights_lack = vec![missing("no CAP_BPF"), missing("no CAP_NET_ADMIN")]);
    let rights = said(&report, "rights");
    assert_eq!((rights.state, rights.message.as_str()), (State::Fail, "No CAP_BPF; no CAP_NET_ADMIN."));
    assert_eq!(rights.hint, "A newer one.", "what helps against both is said once");
    let report = changed(|seen| seen.loading = Loading::NotTried("there is little memory left"));
    assert_eq!(report.state, State::Hint);
}

#[test]
fn an_xdp_program_of_somebody_else_is_named_with_the_command_that_takes_it_away() {
    let report = changed(|seen| seen.interfaces[0].xdp = Some(xdp("other", false)));
    let check = said(&report, "eth0");
    assert_eq!(check.message, "Another XDP program, other (id 77), runs on eth0 (generic).");
    assert_eq!(check.hint, "Stop whatever loaded it, or take it away: `bpftool link detach id 5`.");
    assert_eq!(
        (report.interfaces[0].mode.as_str(), &report.interfaces[0].others[..]),
        ("none", &["xdp: other".to_owned()][..])
    );
    let report = changed(|seen| seen.interfaces[0].xdp = Some(xdp("scanguard", true)));
    assert_eq!((report.state, report.interfaces[0].mode.as_str()), (State::Ok, "generic"));
    assert!(report.interfaces[0].others.is_empty());
}

#[test]
fn what_an_interface_can_do_is_set_against_what_is_asked_of_it() {
    use AttachMode::{Auto, Generic, Native};
    for (attach, native, is_veth, state, part) in [
        (Auto, NativeXdp::No, false, State::Ok, "does not run XDP programs"),
        (Native, NativeXdp::No, false, State::Fail, "asks for what it cannot do"),
        (Generic, NativeXdp::Yes, false, State::Ok, "in the stack"),
        (Auto, NativeXdp::Yes, false, State::Hint, "take a card down for seconds"),
        (Auto, NativeXdp::Yes, true, State::Ok, "in the stack"),
        (Auto, NativeXdp::OneBuffer, false, State::Hint, "With an MTU"),
        (Auto, NativeXdp::Unknown, false, State::Hint, "the kernel does not tell"),
    ] {
        let report = changed(|seen| {
            seen.attach = attach;
            let nic = Nic { native, ..seen.interfaces[0].nic.clone() };
            seen.interfaces[0] = Interface { is_veth, nic, ..seen.interfaces[0].clone() };
        });
        let Check { state: found, message, meaning, hint, .. } = said(&report, "eth0");
        let text = format!("{message} {meaning} {hint}");
        assert!(*found == state && text.contains(part), "{attach:?} {native:?} {is_veth}: {found:?} {text}");
    }
    let few = changed(|seen| {
        seen.interfaces[0].nic = Nic { driver: Some("virtio_net".into()), queues: Some(2), native: NativeXdp::Yes };
    });
    assert!(said(&few, "eth0").meaning.contains("two queues for each CPU"), "{few:?}");
}

#[test]
fn a_caller_whom_nothing_keeps_is_told_how_to_be_kept() {
    let from = |safety: Option<&str>| {
        let safety = safety.map(str::to_owned);
        changed(|seen| {
            seen.caller = Some(Caller { address: IpAddr::from([203, 0, 113, 7]), how: How::Environment, safety });
        })
    };
    let report = from(None);
    assert_eq!((said(&report, "you").state, report.you.safe), (State::Warn, false));
    assert!(said(&report, "you").hint.contains("scanguard allow add 203.0.113.7"), "{report:?}");
    let report = from(Some("it is on the allowlist"));
    assert_eq!((said(&report, "you").state, report.you.safe), (State::Ok, true));
    assert_eq!(report.you.how, "it is on the allowlist");
}

#[test]
fn services_that_nobody_means_to_offer_to_strangers_are_told_of_and_others_are_not() {
    for (open, state) in [
        (open(6379, "0.0.0.0", "redis-server"), Some(State::Warn)),
        (open(6379, "10.0.0.5", "redis-server"), Some(State::Hint)),
        (open(6379, "fd00::5", "redis-server"), Some(State::Hint)),
        // By its program, on another port than the usual one; by its port, whoever has it.
        (open(13306, "203.0.113.9", "mariadbd"), Some(State::Warn)),
        (open(9200, "::", "java"), Some(State::Warn)),
        (udp(161, "0.0.0.0"), Some(State::Warn)),
        (open(22, "0.0.0.0", "sshd"), None),
        (open(443, "0.0.0.0", "nginx"), None),
        (open(8080, "0.0.0.0", "java"), None),
        (udp(53, "0.0.0.0"), None),
    ] {
        let name = format!("port-{}-{}", open.port, open.protocol.label());
        let report = changed(|seen| seen.open = vec![open]);
        let found = report.checks.iter().find(|check| check.name == name).map(|check| check.state);
        assert_eq!(found, state, "{name}");
    }
    let named = changed(|seen| {
        seen.open = vec![open(6379, "0.0.0.0", "redis-server")];
        let list = |text: &str| crate::config::PortList(vec![text.parse().expect("a port")]);
        seen.ports
            .name([list("6379"), crate::config::PortList::default(), crate::config::PortList::default()])
            .expect("a list");
    });
    assert_eq!(
        (named.state, named.exposed[0].class.as_str()),
        (State::Ok, "public"),
        "the operator says it is for everybody"
    );
}

#[test]
fn a_port_is_told_once_for_all_its_addresses_and_sockets_that_only_asked_something_are_left_out() {
    let report =
        changed(|seen| seen.open = vec![open(80, "::", "nginx"), open(80, "0.0.0.0", "nginx"), udp(40_000, "0.0.0.0")]);
    let [port] = &report.exposed[..] else { panic!("{:?}", report.exposed) };
    assert_eq!((port.port, port.addresses.as_slice()), (80, &["0.0.0.0".to_owned(), "::".to_owned()][..]));
    assert_eq!(port.program.as_deref(), Some("nginx"));
}

#[test]
fn whoever_filters_beside_it_is_named() {
    let with = |running: &[&str], nft: &[&str]| {
        changed(|seen| {
            seen.beside.running = running.iter().map(|name| (*name).to_owned()).collect();
            seen.beside.nft = nft.iter().map(|name| ("inet".to_owned(), (*name).to_owned())).collect();
        })
    };
    assert_eq!(names(&with(&["dockerd"], &[]), State::Hint), ["containers"]);
    assert_eq!(names(&with(&["fail2ban-server"], &[]), State::Hint), ["fail2ban"]);
    assert_eq!(names(&with(&[], &["f2b-table"]), State::Hint), ["fail2ban"]);
    assert_eq!(said(&with(&[], &["firewalld", "filter"]), "firewalld").state, State::Ok);
    assert_eq!(said(&with(&[], &["filter"]), "nftables").message, "nftables has tables: inet filter.");
}

#[test]
fn a_daemon_in_trouble_is_pointed_to() {
    let daemon = |well: bool, warnings: &[&str]| {
        let warnings = warnings.iter().map(|text| (*text).to_owned()).collect();
        changed(|seen| {
            seen.daemon = Some(Daemon { mode: "observe".into(), well, warnings, guards: vec!["eth0".into()] });
            seen.loading = Loading::Running(Some(190 * MIB));
            seen.available_bytes = Some(MIB);
        })
    };
    let fine = daemon(true, &[]);
    assert_eq!(
        (fine.state, fine.memory.kernel_bytes),
        (State::Ok, Some(190 * MIB)),
        "what is taken already is no burden to come"
    );
    assert_eq!(said(&daemon(true, &["A block waits."]), "daemon").state, State::Hint);
    let ill = daemon(false, &["eth0 is not guarded."]);
    assert_eq!(
        (said(&ill, "daemon").state, said(&ill, "daemon").meaning.as_str()),
        (State::Warn, "eth0 is not guarded.")
    );
}

#[test]
fn tables_that_take_half_of_what_is_left_are_warned_of() {
    let report = changed(|seen| seen.available_bytes = Some(300 * MIB));
    assert_eq!(said(&report, "memory").state, State::Warn);
    assert_eq!(
        said(&report, "memory").message,
        "Tables and programs take 180 MiB of kernel memory; 300 MiB are available."
    );
}

#[test]
fn without_a_bpf_file_system_nothing_is_kept() {
    let report = changed(|seen| seen.pins = Some(("/sys/fs/bpf/scanguard".into(), false)));
    assert_eq!(said(&report, "pins").state, State::Warn);
    assert_eq!(changed(|seen| seen.pins = Some(("/sys/fs/bpf/scanguard".into(), true))).state, State::Ok);
}

#[test]
fn without_an_interface_it_cannot_run() {
    let report = changed(|seen| {
        seen.interfaces.clear();
        seen.no_interface = Some("no interface has a default route".to_owned());
    });
    assert_eq!(said(&report, "interfaces").state, State::Fail);
}
