//! Short turns on the processor: whoever decides is not to wait until somebody else's long turn is over.

use std::io;
use std::mem::size_of;

use nix::libc;
use tracing::debug;

/// How long a turn is asked for, in nanoseconds. The default is some 3 ms (`sysctl_sched_base_slice` in kernel/sched/fair.c); who asks for less
/// comes sooner, and gets no more in all (`PREEMPT_SHORT`, since Linux 6.12). The least that the kernel takes is this.
const TURN_NS: u64 = 100_000;

/// How much nicer than the daemon work is for which nobody waits: a tenth of the share. A scheduler that is fair lets nobody come before others
/// who had more than his share, however short his turns are.
const NICER: i32 = 10;
/// The same for what somebody may wait for, but no decision: a third.
const SOMEWHAT_NICER: i32 = 5;
/// The nicest.
const NICEST: i32 = 19;

/// `struct sched_attr` as of its first version (`SCHED_ATTR_SIZE_VER0` in include/uapi/linux/sched/types.h).
#[repr(C)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Asks for short turns for this thread and those that it starts from now on. Kernels before 6.12 take it and do nothing.
pub(crate) fn ask_for_short_ones() {
    if let Err(error) = ask(libc::SCHED_OTHER, TURN_NS, niceness()) {
        debug!(%error, "decisions may wait for the end of others' turns on the processor");
    }
}

/// Does something long for which nobody waits: whoever decides comes before it.
pub(crate) fn in_the_background<T>(work: impl FnOnce() -> T) -> T {
    struct Back(i32);
    impl Drop for Back {
        fn drop(&mut self) {
            // Without CAP_SYS_NICE a thread stays as nice as it is; those that decide never are.
            if let Err(error) = ask(libc::SCHED_OTHER, TURN_NS, self.0) {
                debug!(%error, "a thread of the background stays there");
            }
        }
    }
    let nice = niceness();
    let _back = ask(libc::SCHED_BATCH, 0, (nice + NICER).min(NICEST)).ok().map(|()| Back(nice));
    work()
}

/// Has this thread, whose work somebody may wait for, come after those that decide from now on.
pub(crate) fn come_second() {
    if let Err(error) = ask(libc::SCHED_OTHER, 0, (niceness() + SOMEWHAT_NICER).min(NICEST)) {
        debug!(%error, "decisions may wait for what is written");
    }
}

/// Of this thread.
fn niceness() -> i32 {
    // SAFETY: it only reads what the kernel knows of this thread.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
}

/// All of it stays as it is where an operator gave the daemon another scheduler.
fn ask(policy: i32, runtime: u64, nice: i32) -> io::Result<()> {
    // SAFETY: it only reads what the kernel knows of this thread.
    let current = unsafe { libc::sched_getscheduler(0) };
    if ![libc::SCHED_OTHER, libc::SCHED_BATCH].contains(&current) {
        return Ok(());
    }
    let attributes = Attributes {
        size: size_of::<Attributes>() as u32,
        policy: policy as u32,
        flags: 0,
        nice,
        priority: 0,
        runtime,
        deadline: 0,
        period: 0,
    };
    // SAFETY: the kernel reads a structure of the size that it says it has, of a thread that exists: this one.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
