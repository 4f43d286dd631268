//! Who is logged in from where, so that nobody is locked out of his own session.
//!
//! | module | knows of |
//! |---|---|
//! | `utmp` | the list of logins that login programs keep |
//! | `ssh` | established ssh connections behind which somebody has logged in |
//! | `caller` | the session that a process was started from |
//! | `helper`, `records` | what another process sees, which has the rights that it takes |
//!
//! Not seen: sessions of other network namespaces and containers, mosh (its UDP has no login record), consoles of hypervisors, ssh without a
//! session (`ssh -N`, jump hosts: no terminal in the title), dropbear without utmp (it does not rename itself).
//! What cannot be read is skipped: knowing some is better than knowing none. Of processes of others than the caller, `/proc` shows
//! connections and environment only with `CAP_SYS_PTRACE` (proc(5)).

mod caller;
mod helper;
mod records;
mod ssh;
mod utmp;

use std::net::IpAddr;
use std::path::PathBuf;

use caps::{CapSet, Capability};

pub use caller::of_caller;
pub use helper::serve;

/// Somebody who is logged in from elsewhere.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Login {
    /// From where.
    pub address: IpAddr,
    /// As whom, where that is known.
    pub user: Option<String>,
    /// How that is known.
    pub how: How,
}

/// How a login is known.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum How {
    /// It is in utmp.
    Utmp,
    /// An ssh server holds a connection on which somebody has logged in.
    Ssh,
    /// The environment of the calling process says so.
    Environment,
}

/// Who looks.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Watcher {
    /// This process.
    #[default]
    Here,
    /// The one that serves this socket: `scanguard logins serve`.
    Helper(PathBuf),
}

/// What a look showed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Seen {
    /// Everybody who is logged in from elsewhere, each address once.
    pub logins: Vec<Login>,
    /// Why some may be missing.
    pub unseen: Option<String>,
}

impl Watcher {
    /// Looks. Reads files of `/proc` and `/run`, or waits for another process: keep it off the async threads.
    #[must_use]
    pub fn look(&self) -> Seen {
        match self {
            Self::Here => Seen { logins: remote(), unseen: lacking() },
            Self::Helper(socket) => match helper::ask(socket) {
                Ok(logins) => Seen { logins, unseen: None },
                // utmp takes no rights.
                Err(error) => Seen { logins: utmp::logins(), unseen: Some(error) },
            },
        }
    }
}

/// What this process lacks to see ssh connections of others.
fn lacking() -> Option<String> {
    let effective = caps::read(None, CapSet::Effective).ok()?;
    let wanted = [Capability::CAP_SYS_PTRACE, Capability::CAP_DAC_READ_SEARCH];
    let lacks: Vec<String> =
        wanted.into_iter().filter(|right| !effective.contains(right)).map(|right| right.to_string()).collect();
    (!lacks.is_empty()).then(|| format!("this takes {}", lacks.join(" and ")))
}

/// Everybody who is logged in from elsewhere, each address once, as far as this process may see it.
fn remote() -> Vec<Login> {
    let mut logins: Vec<Login> = Vec::new();
    // What the connection itself shows comes before what a login program says of it.
    for login in ssh::logins().into_iter().chain(utmp::logins()) {
        if !logins.iter().any(|known| known.address == login.address) {
            logins.push(login);
        }
    }
    logins
}

/// An address as it counts: IPv4 in the clothes of IPv6 is IPv4, and from here is not from elsewhere.
fn remote_address(address: IpAddr) -> Option<IpAddr> {
    let address = address.to_canonical();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}
