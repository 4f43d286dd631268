//! Who has worked here, and what answered without a socket here.

use std::net::{IpAddr, Ipv6Addr};

use rusqlite::Row;
use scanguard_common::address::Address;
use scanguard_common::class::Protocol;
use scanguard_common::opened::Endpoint;
use scanguard_common::source::SourceKey;

use super::Store;
use super::error::StoreError;
use crate::known::{Acquaintance, Acquainted};

impl Store {
    /// Everybody who is known, in no order.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn load_known(&self) -> Result<Vec<(SourceKey, Acquainted)>, StoreError> {
        let query = "SELECT source, restricted, sessions, days, first, last, counted FROM known ORDER BY source";
        let rows = self.rows(query, |row| {
            let known = Acquaintance {
                sessions: row.get(2)?,
                days: u128::from_be_bytes(row.get(3)?),
                first: row.get(4)?,
                last: row.get(5)?,
                counted: row.get(6)?,
            };
            Ok((SourceKey(address(row, 0)?), row.get::<_, bool>(1)?, known))
        })?;
        let mut people: Vec<(SourceKey, Acquainted)> = Vec::new();
        for (source, restricted, known) in rows {
            if people.last().is_none_or(|(last, _)| *last != source) {
                people.push((source, Acquainted::default()));
            }
            if let Some((_, person)) = people.last_mut() {
                *(if restricted { &mut person.restricted } else { &mut person.public }) = known;
            }
        }
        Ok(people)
    }

    /// Keeps what is known of some, in place of what was kept of them, all or none.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save_known(&mut self, people: &[(SourceKey, Acquainted)]) -> Result<(), StoreError> {
        self.change(|transaction| {
            let mut insert = transaction.prepare(
                "INSERT OR REPLACE INTO known (source, restricted, sessions, days, first, last, counted) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?;
            let mut delete = transaction.prepare("DELETE FROM known WHERE source = ?1 AND restricted = ?2")?;
            for (source, person) in people {
                for (restricted, known) in [(false, &person.public), (true, &person.restricted)] {
                    let Acquaintance { sessions, days, first, last, counted } = *known;
                    if sessions > 0 {
                        let (source, days) = (source.0.bytes(), days.to_be_bytes());
                        insert.execute((source, restricted, sessions, days, first, last, counted))?;
                    } else {
                        delete.execute((source.0.bytes(), restricted))?;
                    }
                }
            }
            Ok(())
        })
    }

    /// Forgets some, all or none.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn remove_known(&mut self, sources: &[SourceKey]) -> Result<(), StoreError> {
        self.change(|transaction| {
            let mut delete = transaction.prepare("DELETE FROM known WHERE source = ?1")?;
            for source in sources {
                delete.execute([source.0.bytes()])?;
            }
            Ok(())
        })
    }

    /// Ports that answered, and when last, in seconds since 1970.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn load_answering(&self) -> Result<Vec<(Endpoint, u64)>, StoreError> {
        self.rows("SELECT address, protocol, port, last_seen FROM answering", |row| {
            let protocol = Protocol::from_u8(row.get(1)?).unwrap_or(Protocol::Tcp);
            Ok((Endpoint::new(address(row, 0)?, row.get(2)?, protocol), row.get(3)?))
        })
    }

    /// Replaces what is kept of ports that answered, all or nothing.
    ///
    /// # Errors
    /// When the file cannot be written; what it held before it still holds then.
    pub fn save_answering(&mut self, answering: &[(Endpoint, u64)]) -> Result<(), StoreError> {
        self.change(|transaction| {
            transaction.execute("DELETE FROM answering", ())?;
            let mut insert = transaction
                .prepare("INSERT INTO answering (address, protocol, port, last_seen) VALUES (?1, ?2, ?3, ?4)")?;
            for (endpoint, last_seen) in answering {
                insert.execute((endpoint.address.bytes(), endpoint.protocol, endpoint.port, last_seen))?;
            }
            Ok(())
        })
    }
}

pub(super) fn address(row: &Row<'_>, column: usize) -> rusqlite::Result<Address> {
    Ok(Address::from(IpAddr::from(Ipv6Addr::from(row.get::<_, [u8; 16]>(column)?))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(last: u8) -> SourceKey {
        SourceKey(Address::from(IpAddr::from([192, 0, 2, last])))
    }

    #[test]
    fn who_is_known_survives_and_is_replaced_one_by_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.db");
        let known = |sessions| Acquaintance { sessions, days: 1 << 89 | 1, first: 1, last: 2, counted: 3 };
        let both = Acquainted { public: known(1), restricted: known(2) };
        let one = Acquainted { restricted: known(7), ..Acquainted::default() };
        let mut store = Store::open(&path).expect("a store");
        store.save_known(&[(source(1), both), (source(2), one)]).expect("saved");
        store.save_known(&[(source(2), both), (source(3), both)]).expect("saved again");
        store.save_known(&[(source(3), one)]).expect("saved with less");
        drop(store);
        let mut store = Store::open(&path).expect("a store");
        assert_eq!(store.load_known().expect("a list"), [(source(1), both), (source(2), both), (source(3), one)]);
        store.remove_known(&[source(1), source(3), source(9)]).expect("removed");
        assert_eq!(store.load_known().expect("a list"), [(source(2), both)]);
    }

    #[test]
    fn what_answered_survives() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.db");
        let endpoint = Endpoint::new(source(1).0, 443, Protocol::Tcp);
        let mut store = Store::open(&path).expect("a store");
        store.save_answering(&[(Endpoint::new(source(2).0, 0, Protocol::Icmp), 7)]).expect("saved");
        store.save_answering(&[(endpoint, 8)]).expect("saved");
        drop(store);
        assert_eq!(Store::open(&path).expect("a store").load_answering().expect("a list"), [(endpoint, 8)]);
    }
}
