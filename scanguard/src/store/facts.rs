//! Single facts by name.

use ipnetwork::IpNetwork;
use rusqlite::OptionalExtension as _;

use super::Store;
use super::error::{StoreError, sqlite};

/// When scanguard first ran on this host, in seconds since 1970.
const FIRST_RUN: &str = "first_run";
/// Since when the mode is what it is, likewise; the mode follows.
const MODE: &str = "mode ";
/// Since when a network is protected, likewise; the network follows.
const PROTECTING: &str = "protecting ";

impl Store {
    /// When scanguard first ran here, in seconds since 1970; if it never did, or is yet to (the clock was wrong), that is `now`
    /// from now on.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn first_run(&mut self, now: u64) -> Result<u64, StoreError> {
        self.since(FIRST_RUN, now)
    }

    /// Since when all of these networks are protected, in seconds since 1970: those that were not are from now on, others no longer.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn protecting_since(&mut self, networks: &[IpNetwork], now: u64) -> Result<u64, StoreError> {
        let key = |network: &IpNetwork| format!("{PROTECTING}{network}");
        let kept = self.rows("SELECT key FROM facts", |row| row.get::<_, String>(0))?;
        for gone in kept.iter().filter(|kept| kept.starts_with(PROTECTING)) {
            if !networks.iter().any(|network| key(network) == *gone) {
                let failed = sqlite(&self.path, "write");
                self.connection.execute("DELETE FROM facts WHERE key = ?1", [gone]).map_err(failed)?;
            }
        }
        networks.iter().try_fold(0, |latest, network| Ok(self.since(&key(network), now)?.max(latest)))
    }

    /// Since when this mode has been in force, in seconds since 1970: from now on, if another one was in force before.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn mode_since(&mut self, mode: &str, now: u64) -> Result<u64, StoreError> {
        let key = format!("{MODE}{mode}");
        let failed = sqlite(&self.path, "write");
        let forget = "DELETE FROM facts WHERE key <> ?1 AND substr(key, 1, length(?2)) = ?2";
        self.connection.execute(forget, (&key, MODE)).map_err(failed)?;
        self.since(&key, now)
    }

    /// All of them that are times.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn load_facts(&self) -> Result<Vec<(String, u64)>, StoreError> {
        self.rows("SELECT key, value FROM facts WHERE typeof(value) = 'integer' AND value >= 0", |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
    }

    /// Keeps these.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save_facts(&mut self, facts: &[(String, u64)]) -> Result<(), StoreError> {
        self.change(|transaction| {
            let mut insert = transaction.prepare("INSERT OR REPLACE INTO facts (key, value) VALUES (?1, ?2)")?;
            facts.iter().try_for_each(|fact| insert.execute((&fact.0, fact.1)).map(drop))
        })
    }

    /// Since when something is so: what is kept, or `now` from now on.
    fn since(&mut self, key: &str, now: u64) -> Result<u64, StoreError> {
        let failed = sqlite(&self.path, "ask for a time in");
        let known: Option<u64> = self
            .connection
            .query_row("SELECT value FROM facts WHERE key = ?1", [key], |row| row.get(0))
            .optional()
            .map_err(&failed)?;
        match known {
            Some(since) if since <= now => Ok(since),
            _ => {
                let write = "INSERT OR REPLACE INTO facts (key, value) VALUES (?1, ?2)";
                self.connection.execute(write, (key, now)).map_err(&failed)?;
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

    #[test]
    fn a_mode_is_in_force_since_the_last_change_of_modes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.db");
        let mut store = Store::open(&path).expect("a store");
        assert_eq!(store.mode_since("observe", 1000).expect("a time"), 1000);
        drop(store);
        let mut store = Store::open(&path).expect("a store");
        assert_eq!(store.mode_since("observe", 2000).expect("a time"), 1000, "a restart does not count");
        assert_eq!(store.mode_since("enforce", 3000).expect("a time"), 3000);
        assert_eq!(store.mode_since("enforce", 4000).expect("a time"), 3000);
        assert_eq!(store.mode_since("observe", 5000).expect("a time"), 5000, "what was before is over");
    }

    #[test]
    fn each_network_is_protected_since_it_was_first_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = Store::open(&folder.path().join("state.db")).expect("a store");
        let [one, other] =
            ["198.51.100.0/24", "2001:db8:7::/48"].map(|text| text.parse::<IpNetwork>().expect("a network"));
        let mut since = |networks: &[IpNetwork], now| store.protecting_since(networks, now).expect("a time");
        assert_eq!(since(&[], 500), 0);
        assert_eq!(since(&[one], 1000), 1000);
        assert_eq!(since(&[one], 2000), 1000);
        assert_eq!(since(&[one, other], 3000), 3000, "the newest decides");
        assert_eq!(since(&[other], 4000), 3000);
        assert_eq!(since(&[one, other], 5000), 5000, "one that was left out begins anew");
    }
}
