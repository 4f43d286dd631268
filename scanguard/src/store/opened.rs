//! Ports that were open, and when last.

use scanguard_common::class::Protocol;

use super::Store;
use super::error::{StoreError, sqlite};

/// A port that was open.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Opened {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
    /// When it was last seen open, in seconds since 1970.
    pub last_seen: u64,
}

impl Store {
    /// The ports that were open when [`Self::save_opened`] was last called, in no order.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn load_opened(&self) -> Result<Vec<Opened>, StoreError> {
        let failed = sqlite(&self.path, "read");
        let mut query = self.connection.prepare("SELECT protocol, port, last_seen FROM opened").map_err(&failed)?;
        let rows = query.query_map((), |row| {
            let protocol = if row.get::<_, u8>(0)? == Protocol::Udp as u8 { Protocol::Udp } else { Protocol::Tcp };
            Ok(Opened { protocol, port: row.get(1)?, last_seen: row.get(2)? })
        });
        rows.map_err(&failed)?.collect::<Result<_, _>>().map_err(&failed)
    }

    /// Replaces what is remembered of open ports, all or nothing.
    ///
    /// # Errors
    /// When the file cannot be written; what it held before it still holds then.
    pub fn save_opened(&mut self, opened: impl IntoIterator<Item = Opened>) -> Result<(), StoreError> {
        let failed = sqlite(&self.path, "write");
        let transaction = self.connection.transaction().map_err(&failed)?;
        transaction.execute("DELETE FROM opened", ()).map_err(&failed)?;
        {
            let mut insert = transaction
                .prepare("INSERT INTO opened (protocol, port, last_seen) VALUES (?1, ?2, ?3)")
                .map_err(&failed)?;
            for Opened { protocol, port, last_seen } in opened {
                insert.execute((protocol as u8, port, last_seen)).map_err(&failed)?;
            }
        }
        transaction.commit().map_err(&failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(protocol: Protocol, port: u16, last_seen: u64) -> Opened {
        Opened { protocol, port, last_seen }
    }

    #[test]
    fn what_is_saved_is_there_after_a_restart_and_replaces_what_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.db");
        let first = [opened(Protocol::Tcp, 65_535, 1), opened(Protocol::Udp, 53, 1_800_000_000)];
        let mut store = Store::open(&path).expect("a store");
        assert_eq!(store.load_opened().expect("a list"), []);
        store.save_opened(first).expect("saved");
        drop(store);
        let mut store = Store::open(&path).expect("a store");
        assert_eq!(store.load_opened().expect("a list"), first);
        store.save_opened([opened(Protocol::Tcp, 22, 2)]).expect("saved");
        assert_eq!(store.load_opened().expect("a list"), [opened(Protocol::Tcp, 22, 2)]);
    }

    #[test]
    fn what_cannot_be_saved_whole_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = Store::open(&folder.path().join("state.db")).expect("a store");
        let before = [opened(Protocol::Tcp, 22, 2)];
        store.save_opened(before).expect("saved");
        let twice = [opened(Protocol::Tcp, 80, 3), opened(Protocol::Tcp, 80, 4)];
        let error = store.save_opened(twice).expect_err("one port, two times");
        assert!(matches!(error, StoreError::Sqlite { what: "write", .. }), "{error:?}");
        assert_eq!(store.load_opened().expect("a list"), before);
    }
}
