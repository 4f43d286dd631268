//! Looks at this host. Nothing is changed: programs are loaded and let go of, attached to nothing.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use tokio::task::spawn_blocking;

use super::processes;
use super::seen::{Beside, Caller, Daemon, Interface, Loading, Open, Seen, Xdp};
use crate::api::{Status, Why};
use crate::config::Config;
use crate::daemon::guarded_interfaces;
use crate::kernel::link::{self, Removal};
use crate::kernel::sessions::cgroup_root;
use crate::kernel::{memory, preflight, probe};
use crate::logins::{self, How, Login, Watcher};
use crate::net::{Listener, Nic, bpf_filters, legacy_tables, nft_tables, opened};

/// The name of our XDP program, and the first letters of the other two.
const OURS: &str = "scanguard";
/// So much memory must be left beyond what the tables take before they are made for a trial.
const ROOM: u64 = 256 << 20;
/// What the daemon answers, where one does.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// How it is.
    pub status: Option<Status>,
    /// What it makes of the address that asks.
    pub why: Option<Why>,
}

/// From where the caller is logged in: by his session's environment, else by the logins that there are.
#[must_use]
pub fn caller() -> Option<Login> {
    let here = logins::of_caller(std::process::id()).into_iter().next();
    here.or_else(|| Watcher::Here.look().logins.into_iter().next())
}

/// Looks at everything. `wanted` are the names of interfaces, `auto` among them.
pub async fn look(config: &Config, wanted: &[String], caller: Option<Login>, answers: Answers) -> Seen {
    let Answers { status, why } = answers;
    let rights_lack = preflight::rights();
    let running = status.as_ref().is_some_and(|status| status.daemon);
    let (interfaces, no_interface) = match guarded_interfaces(wanted).await {
        Ok(names) => (names, None),
        Err(failure) => (Vec::new(), Some(failure.to_string())),
    };
    let guards: Vec<String> = status.iter().flat_map(guards).collect();
    let mut seen_interfaces = Vec::with_capacity(interfaces.len());
    for name in interfaces {
        seen_interfaces.extend(interface(name, &guards).await);
    }
    let tcx = probe::has_tcx();
    let caller = caller.map(|login| of_login(&login, config, status.as_ref(), why.as_ref()));
    let available_bytes = memory::available();
    let (options, lacks, daemon) = (config.load_options(), preflight::kernel_features(), processes::daemon());
    let is_able = rights_lack.is_empty() && lacks.is_empty();
    let loading = spawn_blocking(move || {
        if running {
            let bytes = daemon.as_deref().map(probe::memory_of).filter(|bytes| *bytes > 0);
            return (Loading::Running(bytes), daemon.as_deref().and_then(memory::resident));
        }
        let needed = options.sizes.bytes();
        let loading = if !is_able {
            Loading::NotTried("what it needs for that is missing")
        } else if available_bytes.is_some_and(|available| available < needed + ROOM) {
            Loading::NotTried("there is little memory left, and the tables would take it for a moment")
        } else {
            probe::load(&options).map_or_else(|error| Loading::Refused(error.to_string()), Loading::Done)
        };
        (loading, None)
    });
    let (loading, daemon_bytes) = loading.await.unwrap_or((Loading::NotTried("the attempt broke off"), None));
    let (beside, open) = spawn_blocking(|| (beside(), open())).await.unwrap_or_default();
    Seen {
        kernel: nix::sys::utsname::uname()
            .map_or_else(|_| "of no known release".into(), |name| name.release().to_string_lossy().into_owned()),
        kernel_lacks: preflight::kernel_features(),
        rights_lack,
        loading,
        tcx,
        cgroup: cgroup_root(),
        pins: config.keep.then(|| (config.pins.clone(), is_on_bpf_file_system(&config.pins))),
        daemon: status.filter(|status| status.daemon).map(daemon_of),
        interfaces: seen_interfaces,
        no_interface,
        attach: config.attach,
        cpus: std::thread::available_parallelism().map_or(1, |cpus| u32::try_from(cpus.get()).unwrap_or(u32::MAX)),
        beside,
        caller,
        open,
        ports: config.ports.clone(),
        clock: crate::kernel::clock::is_synchronised(),
        daemon_bytes,
        available_bytes,
    }
}

fn guards(status: &Status) -> Vec<String> {
    let attached = status.interfaces.iter().filter(|interface| interface.attached);
    attached.map(|interface| interface.name.clone()).collect()
}

fn daemon_of(status: Status) -> Daemon {
    Daemon {
        guards: guards(&status),
        well: status.healthy && !status.degraded,
        warnings: status.warnings.into_iter().map(|warning| warning.message).collect(),
        mode: status.mode,
    }
}

/// One interface; none where it went meanwhile.
async fn interface(name: String, guards: &[String]) -> Option<Interface> {
    let facts = link::describe(&name).await.ok()?;
    let index = facts.index;
    let xdp = facts.xdp.map(|(mode, program_id)| {
        let program = link::program_name(program_id);
        Xdp {
            is_ours: program == OURS || guards.contains(&name),
            removal: Removal::of(&name, index, mode, program_id),
            name: program,
            mode,
        }
    });
    let tcx =
        probe::tcx_programs(index).unwrap_or_default().into_iter().map(|(direction, name)| ("tcx", direction, name));
    let filters = bpf_filters(index).await.unwrap_or_default();
    let filters = filters.into_iter().map(|(direction, name)| ("clsact", direction, name));
    let foreign = tcx.chain(filters).filter(|(_, _, program)| !program.starts_with(OURS));
    let others = foreign.map(|(hook, direction, program)| format!("{hook} {direction}: {program}")).collect();
    Some(Interface { is_veth: facts.is_veth, nic: Nic::of(&name, index), name, xdp, others })
}

/// What keeps an address from anything being hidden from it: what the daemon says, or without one what the
/// configuration would do.
fn of_login(login: &Login, config: &Config, status: Option<&Status>, why: Option<&Why>) -> Caller {
    let Login { address, how, .. } = login;
    let by_daemon = why.and_then(|why| {
        if let Some(reason) = &why.never_judged {
            return Some(format!("it is never judged ({reason})"));
        }
        if let Some(entry) = why.allow.entry.as_ref().filter(|_| why.allow.matched) {
            return Some(format!("{} is on the allowlist ({})", entry.prefix, entry.source));
        }
        let known = why.known.restricted_until.as_ref()?;
        let by = why.known.by.join(", ");
        Some(format!("it is known (by {by}) until {known}, so that restricted ports stay open to it"))
    });
    let by_configuration = || {
        let entry = config.allow.iter().find(|entry| entry.contains(*address))?;
        Some(format!("`allow` of the configuration has {entry}"))
    };
    // A daemon gives leases to whom it sees logged in; the caller's own environment shows nobody else a thing.
    let by_lease = || {
        let is_seen = config.safety.leases && status.is_none() && *how != How::Environment
            || Watcher::Here.look().logins.iter().any(|seen| seen.address == *address)
                && config.safety.leases
                && status.is_none();
        is_seen.then(|| "a daemon that starts now puts it on the allowlist while you are logged in".to_owned())
    };
    let safety = by_daemon.or_else(by_configuration).or_else(by_lease);
    Caller { address: *address, how: *how, safety }
}

fn beside() -> Beside {
    Beside { nft: nft_tables().unwrap_or_default(), legacy: legacy_tables(), running: processes::beside() }
}

fn open() -> Vec<Open> {
    let sockets = opened().unwrap_or_default();
    let owners = processes::owners(&sockets.iter().map(|socket| socket.inode).collect::<HashSet<u32>>());
    let open = sockets.into_iter().map(|socket| {
        let Listener { protocol, port, address } = socket.listener;
        Open { protocol, port, address, program: owners.get(&socket.inode).cloned() }
    });
    open.collect()
}

/// Whether a BPF file system is mounted where this folder is, or is to be.
fn is_on_bpf_file_system(folder: &Path) -> bool {
    holds(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default(), folder)
}

/// Whether the deepest mount above a folder, in a text like `/proc/self/mountinfo` (proc(5)), is of type `bpf`.
fn holds(mountinfo: &str, folder: &Path) -> bool {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let place = mount.split(' ').nth(4)?;
        folder.starts_with(place).then(|| (place.len(), filesystem.starts_with("bpf ")))
    });
    mounts.max_by_key(|(length, _)| *length).is_some_and(|(_, is_bpf)| is_bpf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_mount_above_the_pins_counts() {
        let text = "24 1 0:22 / / rw - ext4 /dev/vda rw\n\
                    25 24 0:23 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n\
                    30 25 0:27 / /sys/fs/bpf rw,nosuid shared:9 - bpf bpf rw,mode=700\n";
        assert!(holds(text, Path::new("/sys/fs/bpf/scanguard")));
        assert!(!holds(text, Path::new("/sys/fs/bpfother/scanguard")));
        assert!(!holds(text, Path::new("/var/lib/scanguard")));
        assert!(!holds("", Path::new("/sys/fs/bpf/scanguard")));
    }
}
