//! Who is logged in from where, so that nobody is locked out of his own session.
//!
//! | module | knows of |
//! |---|---|
//! | `utmp` | the list of logins that login programs keep |
//! | `ssh` | established ssh connections behind which somebody has logged in |
//! | `caller` | the session that a process was started from |
//!
//! Not seen: sessions of other network namespaces and containers, mosh (its UDP has no login record), consoles of hypervisors, ssh without a
//! session (`ssh -N`, jump hosts: no terminal in the title), dropbear without utmp (it does not rename itself).
//! What cannot be read is skipped: knowing some is better than knowing none. Of processes of others than the caller, `/proc` shows
//! connections and environment only with `CAP_SYS_PTRACE` (proc(5)).

mod caller;
mod ssh;
mod utmp;

use std::net::IpAddr;

pub use caller::of_caller;

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

/// Everybody who is logged in from elsewhere, each address once. Reads files of `/proc` and `/run`: keep it off the async threads.
#[must_use]
pub fn remote() -> Vec<Login> {
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
