//! Which programs hang on an interface by TCX, by id. aya's own query opens each program, which takes CAP_SYS_ADMIN; the
//! ids alone take CAP_NET_ADMIN.

use std::io;

use super::bpf_call::bpf;

/// `BPF_PROG_QUERY` of `enum bpf_cmd` (`include/uapi/linux/bpf.h`).
const PROG_QUERY: u32 = 16;
/// More than the kernel allows on one hook (`BPF_MPROG_MAX`, `include/linux/bpf_mprog.h`).
const MOST: u32 = 64;

/// Which way packets go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// Into this host.
    Ingress,
    /// Out of it.
    Egress,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ingress, Self::Egress];

    /// Its name.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }

    /// `BPF_TCX_INGRESS` and `BPF_TCX_EGRESS` of `enum bpf_attach_type`.
    const fn attach_type(self) -> u32 {
        match self {
            Self::Ingress => 46,
            Self::Egress => 47,
        }
    }
}

/// The part of `union bpf_attr` of this command, with which the kernel is asked for no links.
#[repr(C)]
struct Query {
    interface: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    padding: u32,
    attach_flags_of_each: u64,
    link_ids: u64,
    attach_flags_of_links: u64,
    revision: u64,
}

/// The ids of the programs on the interface of this index, in the order in which they run.
///
/// # Errors
/// Without CAP_NET_ADMIN (EPERM), without such an interface (ENODEV), and before Linux 6.6 (EINVAL).
pub fn programs(interface: u32, direction: Direction) -> io::Result<Vec<u32>> {
    let mut ids = [0_u32; MOST as usize];
    let mut query = Query {
        interface,
        attach_type: direction.attach_type(),
        query_flags: 0,
        attach_flags: 0,
        ids: ids.as_mut_ptr() as u64,
        count: MOST,
        padding: 0,
        attach_flags_of_each: 0,
        link_ids: 0,
        attach_flags_of_links: 0,
        revision: 0,
    };
    // SAFETY: `Query` is laid out as the kernel's `query`, and the only address in it is of `ids`, as long as `count` says.
    unsafe { bpf(PROG_QUERY, &mut query)? };
    Ok(ids.into_iter().take(query.count as usize).collect())
}
