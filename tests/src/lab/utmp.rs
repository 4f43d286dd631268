//! What a login program writes while somebody is logged in: a record of utmp(5). No server of ssh of the laboratory writes one.

use std::fs;
use std::io::Write as _;
use std::net::IpAddr;

use anyhow::{Context as _, Result};

/// Private to the laboratory, like all of `/run`.
const FILE: &str = "/run/utmp";
/// glibc's bits/types/struct_utmpx.h: where the time is of the machine's word and not of 32 bits, a record is longer.
const WIDE: bool = cfg!(any(target_arch = "aarch64", target_arch = "loongarch64", target_arch = "s390x"));
const RECORD: usize = if WIDE { 400 } else { 384 };
const ADDRESS: usize = if WIDE { 360 } else { 348 };
const PID: usize = 4;
const USER: usize = 44;
/// A process of a user (`USER_PROCESS`).
const USER_PROCESS: i16 = 7;

/// A record, until it is dropped.
#[derive(Debug)]
pub struct Login(());

impl Login {
    /// Writes that somebody is logged in from there, by a process that lives.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(address: IpAddr, pid: u32) -> Result<Self> {
        let mut record = vec![0; RECORD];
        record[..2].copy_from_slice(&USER_PROCESS.to_ne_bytes());
        record[PID..PID + 4].copy_from_slice(&pid.to_ne_bytes());
        record[USER..USER + 4].copy_from_slice(b"root");
        match address {
            IpAddr::V4(address) => record[ADDRESS..ADDRESS + 4].copy_from_slice(&address.octets()),
            IpAddr::V6(address) => record[ADDRESS..ADDRESS + 16].copy_from_slice(&address.octets()),
        }
        let mut file = fs::File::create(FILE).with_context(|| format!("cannot make {FILE}"))?;
        file.write_all(&record).with_context(|| format!("cannot write {FILE}"))?;
        Ok(Self(()))
    }
}

impl Drop for Login {
    fn drop(&mut self) {
        let _ = fs::write(FILE, ""); // Whoever reads it next finds nobody.
    }
}
