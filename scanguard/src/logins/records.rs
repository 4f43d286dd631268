//! Logins as records of fixed size, in which one process hands them to another.
//!
//! The one that looks has rights that are nearly root; the one that reads meets packets. So the reader takes nothing
//! whose length another says: 64 bytes that begin an answer, and as many for each login.
//!
//! | bytes | of the first | of each login |
//! |---|---|---|
//! | 0..4 | `SGLI` | how it is known: 1 utmp, 2 ssh; the rest 0 |
//! | 4..8 | version, 1 | bytes of the user's name, at most 40; the rest 0 |
//! | 8..24 | how many logins follow, at most 1,000, and whether there are more: two words of 4 bytes | the address; IPv4 as `::ffff:a.b.c.d` |
//! | 24..64 | 0 | the user's name, UTF-8, then 0 |
//!
//! Numbers are in the machine's byte order: both processes are of one machine.

use std::net::{IpAddr, Ipv6Addr};

use super::{How, Login, remote_address};

/// Bytes of a record.
pub(super) const LENGTH: usize = 64;
/// Logins in an answer, at most.
pub(super) const MOST: usize = 1000;

const MAGIC: [u8; 4] = *b"SGLI";
const VERSION: u32 = 1;
const ADDRESS: std::ops::Range<usize> = 8..24;
const USER: std::ops::Range<usize> = 24..64;

/// An answer: the first record, and one for each login; of more than [`MOST`] the first.
pub(super) fn write(logins: &[Login]) -> Vec<u8> {
    let told = &logins[..logins.len().min(MOST)];
    let mut first = [0; LENGTH];
    first[..4].copy_from_slice(&MAGIC);
    first[4..8].copy_from_slice(&VERSION.to_ne_bytes());
    first[8..12].copy_from_slice(&u32::try_from(told.len()).unwrap_or_default().to_ne_bytes());
    first[12..16].copy_from_slice(&u32::from(told.len() < logins.len()).to_ne_bytes());
    let mut answer = first.to_vec();
    answer.extend(told.iter().flat_map(record));
    answer
}

fn record(login: &Login) -> [u8; LENGTH] {
    let mut record = [0; LENGTH];
    record[0] = match login.how {
        How::Utmp => 1,
        How::Ssh | How::Environment => 2,
    };
    let address = match login.address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    record[ADDRESS].copy_from_slice(&address.octets());
    let user = login.user.as_deref().unwrap_or_default();
    let user = &user[..user.floor_char_boundary(USER.len())];
    record[4] = u8::try_from(user.len()).unwrap_or_default();
    record[USER][..user.len()].copy_from_slice(user.as_bytes());
    record
}

/// How many logins follow the first record, and whether there are more that do not.
pub(super) fn count(first: &[u8; LENGTH]) -> Result<(usize, bool), &'static str> {
    let word = |at: usize| u32::from_ne_bytes([first[at], first[at + 1], first[at + 2], first[at + 3]]);
    if first[..4] != MAGIC {
        return Err("it is no answer of `scanguard logins serve`");
    }
    if word(4) != VERSION {
        return Err("it is of another version of scanguard: restart both");
    }
    let count = usize::try_from(word(8)).unwrap_or(usize::MAX);
    if count > MOST {
        return Err("it says that there are more logins than an answer may have");
    }
    Ok((count, word(12) != 0))
}

/// A login; none where the record is of nobody who is elsewhere.
pub(super) fn read(record: &[u8; LENGTH]) -> Option<Login> {
    let how = match record[0] {
        1 => How::Utmp,
        2 => How::Ssh,
        _ => return None,
    };
    let address = Ipv6Addr::from(*record[ADDRESS].first_chunk::<16>()?);
    let user = std::str::from_utf8(record[USER].get(..usize::from(record[4]))?).ok()?;
    let user = Some(user.to_owned()).filter(|user| !user.is_empty());
    Some(Login { address: remote_address(IpAddr::V6(address))?, user, how })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_all(answer: &[u8]) -> (Vec<Login>, bool) {
        let (first, rest) = answer.split_first_chunk().expect("a first record");
        let (count, more) = count(first).expect("an answer");
        let (records, nothing) = rest.as_chunks::<LENGTH>();
        assert_eq!((records.len(), nothing.len()), (count, 0));
        (records.iter().filter_map(read).collect(), more)
    }

    #[test]
    fn what_is_written_is_read() {
        let login = |address: &str, user: Option<&str>, how| Login {
            address: address.parse().expect("an address"),
            user: user.map(str::to_owned),
            how,
        };
        let logins = vec![
            login("203.0.113.7", Some("ann"), How::Ssh),
            login("2001:db8::7", Some("CORP\\ann lee"), How::Utmp),
            login("198.51.100.1", None, How::Utmp),
        ];
        assert_eq!(read_all(&write(&logins)), (logins, false));
        // A name that is too long is cut between characters.
        let long = login("203.0.113.8", Some(&"ä".repeat(30)), How::Ssh);
        assert_eq!(read_all(&write(&[long])).0[0].user, Some("ä".repeat(20)));
        let crowd = vec![login("203.0.113.9", None, How::Ssh); MOST + 1];
        assert_eq!(read_all(&write(&crowd)), (crowd[..MOST].to_vec(), true));
    }

    #[test]
    fn an_answer_of_something_else_is_none() {
        let good: [u8; LENGTH] = write(&[]).try_into().expect("one record");
        assert_eq!(count(&good), Ok((0, false)));
        for (at, byte) in [(0, b'H'), (4, 2), (10, 1)] {
            let mut bad = good;
            bad[at] = byte;
            assert!(count(&bad).is_err(), "byte {at}");
        }
    }

    proptest! {
        /// Whatever a record holds, it is a login from elsewhere or none.
        #[test]
        fn any_bytes_are_a_login_from_elsewhere_or_none(bytes in proptest::array::uniform32(any::<u8>()), how in 0_u8..4) {
            let mut record = [0; LENGTH];
            record[..32].copy_from_slice(&bytes);
            record[32..].copy_from_slice(&bytes);
            record[0] = how;
            if let Some(login) = read(&record) {
                prop_assert_eq!(remote_address(login.address), Some(login.address));
                prop_assert!(login.user.is_none_or(|user| !user.is_empty() && user.len() <= 40));
            }
        }
    }
}
