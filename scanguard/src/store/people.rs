//! Who has worked here, and what answered without a socket here.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use rusqlite::{Row, Transaction};
use scanguard_common::address::Address;
use scanguard_common::class::Protocol;
use scanguard_common::opened::Endpoint;
use scanguard_common::source::SourceKey;

use super::Store;
use super::error::StoreError;
use crate::known::{Acquaintance, Acquainted, Added, Held};

impl Store {
    /// Everybody who worked here, and what makes some of them known, in the order of their addresses.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn load_known(&self) -> Result<Vec<(SourceKey, Acquainted)>, StoreError> {
        let query = "SELECT source, restricted, sessions, days, first, last, counted FROM known";
        let sessions = self.rows(query, |row| {
            let known = Acquaintance {
                sessions: row.get(2)?,
                days: u128::from_be_bytes(row.get(3)?),
                first: row.get(4)?,
                last: row.get(5)?,
                counted: row.get(6)?,
            };
            Ok((SourceKey(address(row, 0)?), row.get::<_, bool>(1)?, known))
        })?;
        let query = "SELECT source, login, held_days, held_last, held_counted, failed, signalled FROM known_by_deeds";
        let deeds = self.rows(query, |row| {
            let held = Held { days: u128::from_be_bytes(row.get(2)?), last: row.get(3)?, counted: row.get(4)? };
            let (login, failed, signalled) = (row.get(1)?, row.get(5)?, row.get(6)?);
            Ok((SourceKey(address(row, 0)?), Acquainted { login, held, failed, signalled, ..Acquainted::default() }))
        })?;
        let mut people: BTreeMap<[u8; 16], Acquainted> =
            deeds.into_iter().map(|(source, person)| (source.0.bytes(), person)).collect();
        for (source, restricted, known) in sessions {
            let person = people.entry(source.0.bytes()).or_default();
            *(if restricted { &mut person.restricted } else { &mut person.public }) = known;
        }
        let key = |bytes| SourceKey(Address::from(IpAddr::from(Ipv6Addr::from(bytes))));
        Ok(people.into_iter().map(|(source, person)| (key(source), person)).collect())
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
            let mut insert_deeds = transaction.prepare(
                "INSERT OR REPLACE INTO known_by_deeds \
                 (source, login, held_days, held_last, held_counted, failed, signalled) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?;
            let mut delete_deeds = transaction.prepare("DELETE FROM known_by_deeds WHERE source = ?1")?;
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
                let Acquainted { public: _, restricted: _, login, held, failed, signalled } = *person;
                if (login, held, failed, signalled) == Default::default() {
                    delete_deeds.execute([source.0.bytes()])?;
                } else {
                    let Held { days, last, counted } = held;
                    let (source, days) = (source.0.bytes(), days.to_be_bytes());
                    insert_deeds.execute((source, login, days, last, counted, failed, signalled))?;
                }
            }
            Ok(())
        })
    }

    /// Forgets some, all or none; what operators said of them stays.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn remove_known(&mut self, sources: &[SourceKey]) -> Result<(), StoreError> {
        self.change(|transaction| {
            for table in ["known", "known_by_deeds"] {
                let mut delete = transaction.prepare(&format!("DELETE FROM {table} WHERE source = ?1"))?;
                for source in sources {
                    delete.execute([source.0.bytes()])?;
                }
            }
            Ok(())
        })
    }

    /// Sources that operators added to those who are known.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn load_added(&self) -> Result<Vec<(SourceKey, Added)>, StoreError> {
        self.rows("SELECT source, since, until, comment FROM known_by_operator ORDER BY source", |row| {
            let added = Added { since: row.get(1)?, until: row.get(2)?, comment: row.get(3)? };
            Ok((SourceKey(address(row, 0)?), added))
        })
    }

    /// Keeps what operators said of some, in place of what was kept of them, all or none.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save_added(&mut self, sources: &[(SourceKey, Added)]) -> Result<(), StoreError> {
        self.change(|transaction| insert_added(transaction, sources))
    }

    /// Keeps what operators said of these sources, and of no others, all or nothing.
    ///
    /// # Errors
    /// When the file cannot be written; what it held before it still holds then.
    pub fn replace_added(&mut self, sources: &[(SourceKey, Added)]) -> Result<(), StoreError> {
        self.change(|transaction| {
            transaction.execute("DELETE FROM known_by_operator", ())?;
            insert_added(transaction, sources)
        })
    }

    /// Forgets what operators said of some, all or none.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn remove_added(&mut self, sources: &[SourceKey]) -> Result<(), StoreError> {
        self.change(|transaction| {
            let mut delete = transaction.prepare("DELETE FROM known_by_operator WHERE source = ?1")?;
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

fn insert_added(transaction: &Transaction<'_>, sources: &[(SourceKey, Added)]) -> rusqlite::Result<()> {
    let mut insert = transaction
        .prepare("INSERT OR REPLACE INTO known_by_operator (source, since, until, comment) VALUES (?1, ?2, ?3, ?4)")?;
    for (source, Added { since, until, comment }) in sources {
        insert.execute((source.0.bytes(), since, until, comment))?;
    }
    Ok(())
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
        let held = Held { days: 1 << 89 | 5, last: 6, counted: 9 };
        let both = Acquainted { public: known(1), restricted: known(2), login: 3, held, failed: 4, signalled: 5 };
        let one = Acquainted { restricted: known(7), ..Acquainted::default() };
        let login = Acquainted { login: 8, ..Acquainted::default() };
        let mut store = Store::open(&path).expect("a store");
        store.save_known(&[(source(1), both), (source(2), one)]).expect("saved");
        store.save_known(&[(source(2), both), (source(3), both)]).expect("saved again");
        store.save_known(&[(source(3), one), (source(4), login)]).expect("saved with less");
        drop(store);
        let mut store = Store::open(&path).expect("a store");
        let kept = [(source(1), both), (source(2), both), (source(3), one), (source(4), login)];
        assert_eq!(store.load_known().expect("a list"), kept);
        store.remove_known(&[source(1), source(3), source(4), source(9)]).expect("removed");
        assert_eq!(store.load_known().expect("a list"), [(source(2), both)]);
    }

    #[test]
    fn what_operators_said_of_sources_survives_and_is_replaced_one_by_one_or_as_a_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.db");
        let added = |since, until, comment: Option<&str>| Added { since, until, comment: comment.map(str::to_owned) };
        let (short, long) = (added(1, Some(9), Some("a \"backup\"")), added(2, None, None));
        let mut store = Store::open(&path).expect("a store");
        store.save_added(&[(source(1), short.clone()), (source(2), short.clone())]).expect("saved");
        store.save_added(&[(source(2), long.clone())]).expect("saved again");
        drop(store);
        let mut store = Store::open(&path).expect("a store");
        let kept = [(source(1), short), (source(2), long.clone())];
        assert_eq!(store.load_added().expect("a list"), kept);
        store.remove_added(&[source(1), source(9)]).expect("removed");
        assert_eq!(store.load_added().expect("a list"), kept[1..]);
        store.replace_added(&[(source(3), long.clone())]).expect("replaced");
        assert_eq!(store.load_added().expect("a list"), [(source(3), long)]);
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
