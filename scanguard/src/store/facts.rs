//! Single facts by name.

use rusqlite::OptionalExtension as _;

use super::Store;
use super::error::{StoreError, sqlite};

/// When scanguard first ran on this host, in seconds since 1970.
const FIRST_RUN: &str = "first_run";

impl Store {
    /// When scanguard first ran here, in seconds since 1970; if it never did, or is yet to (the clock was wrong), that is `now`
    /// from now on.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn first_run(&mut self, now: u64) -> Result<u64, StoreError> {
        let failed = sqlite(&self.path, "ask for the first run in");
        let known: Option<u64> = self
            .connection
            .query_row("SELECT value FROM facts WHERE key = ?1", [FIRST_RUN], |row| row.get(0))
            .optional()
            .map_err(&failed)?;
        match known {
            Some(first_run) if first_run <= now => Ok(first_run),
            _ => {
                let write = "INSERT OR REPLACE INTO facts (key, value) VALUES (?1, ?2)";
                self.connection.execute(write, (FIRST_RUN, now)).map_err(&failed)?;
                Ok(now)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_run_stays_the_first() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.db");
        let mut store = Store::open(&path).expect("a store");
        assert_eq!(store.first_run(1000).expect("a time"), 1000);
        assert_eq!(store.first_run(2000).expect("a time"), 1000);
        drop(store);
        assert_eq!(Store::open(&path).expect("a store").first_run(3000).expect("a time"), 1000);
        let mut earlier = Store::open(&path).expect("a store");
        assert_eq!(earlier.first_run(500).expect("a time"), 500, "the clock was wrong, then or now");
    }
}
