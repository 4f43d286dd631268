//! utmp(5): the list of logins that login programs keep.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use super::{How, Login, remote_address};

const FILES: [&str; 2] = ["/run/utmp", "/var/run/utmp"];

/// Whether glibc's `struct utmpx` has times of the machine's word, and not of 32 bits for the sake of old programs: it differs by architecture
/// (`__WORDSIZE_TIME64_COMPAT32`). What glibc has counts whatever this program is built with: musl's login programs write no such file.
const WIDE: bool = cfg!(any(target_arch = "aarch64", target_arch = "loongarch64", target_arch = "s390x"));
/// Bytes of a record (glibc's bits/types/struct_utmpx.h).
const RECORD: usize = if WIDE { 400 } else { 384 };
const TYPE: usize = 0;
const PID: usize = 4;
const USER: std::ops::Range<usize> = 44..76;
const ADDRESS: usize = if WIDE { 360 } else { 348 };
/// A process of a user (`USER_PROCESS`).
const USER_PROCESS: i16 = 7;

pub(super) fn logins() -> Vec<Login> {
    let bytes = FILES.iter().find_map(|file| fs::read(file).ok()).unwrap_or_default();
    parse(&bytes, |pid| Path::new(&format!("/proc/{pid}")).exists())
}

/// Logins whose process lives: a crash leaves old records behind.
fn parse(bytes: &[u8], lives: impl Fn(i32) -> bool) -> Vec<Login> {
    bytes.chunks_exact(RECORD).filter_map(|record| login(record, &lives)).collect()
}

fn login(record: &[u8], lives: impl Fn(i32) -> bool) -> Option<Login> {
    let kind = i16::from_ne_bytes(*record[TYPE..].first_chunk()?);
    let pid = i32::from_ne_bytes(*record[PID..].first_chunk()?);
    if kind != USER_PROCESS || !lives(pid) {
        return None;
    }
    let address: [u8; 16] = *record[ADDRESS..].first_chunk()?;
    // An IPv4 address is in the first word, the others zero.
    let address = match address.split_first_chunk::<4>()? {
        (first, rest) if rest.iter().all(|byte| *byte == 0) => IpAddr::V4(Ipv4Addr::from(*first)),
        _ => IpAddr::V6(Ipv6Addr::from(address)),
    };
    let user = &record[USER];
    let user = &user[..user.iter().position(|byte| *byte == 0).unwrap_or(user.len())];
    let user = String::from_utf8_lossy(user).into_owned();
    let user = Some(user).filter(|user| !user.is_empty());
    Some(Login { address: remote_address(address)?, user, how: How::Utmp })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: i16, pid: i32, user: &str, address: &[u8]) -> Vec<u8> {
        let mut record = vec![0; RECORD];
        record[TYPE..TYPE + 2].copy_from_slice(&kind.to_ne_bytes());
        record[PID..PID + 4].copy_from_slice(&pid.to_ne_bytes());
        record[USER.start..USER.start + user.len()].copy_from_slice(user.as_bytes());
        record[ADDRESS..ADDRESS + address.len()].copy_from_slice(address);
        record
    }

    #[test]
    fn sessions_from_elsewhere_are_found_and_nothing_else() {
        let v6: Ipv6Addr = "2001:db8::7".parse().expect("an address");
        let mapped: Ipv6Addr = "::ffff:203.0.113.8".parse().expect("an address");
        let bytes = [
            record(USER_PROCESS, 10, "ann", &[203, 0, 113, 7]),
            record(USER_PROCESS, 10, "bob", &v6.octets()),
            record(USER_PROCESS, 10, "cyd", &mapped.octets()),
            record(USER_PROCESS, 10, "console", &[]),
            record(USER_PROCESS, 10, "here", &[127, 0, 0, 1]),
            record(USER_PROCESS, 11, "gone", &[203, 0, 113, 9]),
            record(8, 10, "dead", &[203, 0, 113, 10]),
            vec![7; 100],
        ]
        .concat();
        let found: Vec<(String, Option<String>)> =
            parse(&bytes, |pid| pid == 10).into_iter().map(|login| (login.address.to_string(), login.user)).collect();
        let expected = [("203.0.113.7", "ann"), ("2001:db8::7", "bob"), ("203.0.113.8", "cyd")];
        assert_eq!(found, expected.map(|(address, user)| (address.to_owned(), Some(user.to_owned()))));
    }
}
