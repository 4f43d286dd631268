//! What was decided about sources: the allowlist, blocks, how often they recurred, the mode. Times are Unix time in milliseconds.

use rusqlite::{OptionalExtension as _, Row, Transaction};

use super::Store;
use super::error::{StoreError, sqlite};

/// An entry of the operator's allowlist.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct KeptAllow {
    /// The prefix as people write it.
    pub prefix: String,
    /// A name for people.
    pub name: Option<String>,
    /// Why it is there.
    pub comment: Option<String>,
    /// When it was added.
    pub since: u64,
    /// When it ends; none for never.
    pub expires: Option<u64>,
}

/// A block.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct KeptBlock {
    /// The prefix as people write it.
    pub prefix: String,
    /// Label of [`scanguard_common::verdict::Scope`].
    pub scope: String,
    /// `operator` or `controller`.
    pub origin: String,
    /// Whether established connections are cut too.
    pub hard: bool,
    /// Why.
    pub reason: Option<String>,
    /// Since when.
    pub since: u64,
    /// Until when; none for until it is removed.
    pub expires: Option<u64>,
}

/// The mode that an operator set.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct KeptMode {
    /// Label of [`scanguard_common::reason::Mode`].
    pub mode: String,
    /// What the configuration said then: once it says something else, that holds.
    pub configured: String,
    /// When enforcing ends unless it is confirmed.
    pub reverts: Option<u64>,
}

/// A lockdown.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct KeptLockdown {
    /// When it began.
    pub since: u64,
    /// When it ends.
    pub until: u64,
    /// The ports that were named, as the configuration writes them, with spaces between; none for all that are restricted.
    pub ports: Option<String>,
    /// Whether known sources get through.
    pub keep_known: bool,
}

/// How often a source was blocked lately.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct KeptRecurrence {
    /// The source as people write it.
    pub source: String,
    /// When its latest block ended.
    pub ended: u64,
    /// How many blocks there were.
    pub times: u32,
}

/// Everything that is decided now.
#[derive(Clone, Debug, Default)]
pub struct Decisions {
    /// The operator's allowlist.
    pub allow: Vec<KeptAllow>,
    /// All blocks.
    pub blocks: Vec<KeptBlock>,
    /// The mode that an operator set.
    pub mode: Option<KeptMode>,
    /// The lockdown, if there is one.
    pub lockdown: Option<KeptLockdown>,
    /// How often sources were blocked lately.
    pub recurrences: Vec<KeptRecurrence>,
}

impl Store {
    /// Replaces all decisions, all or nothing.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn replace_decisions(&mut self, decisions: &Decisions) -> Result<(), StoreError> {
        let Decisions { allow, blocks, mode, lockdown, recurrences } = decisions;
        self.change(|transaction| {
            transaction.execute_batch("DELETE FROM allow; DELETE FROM block;")?;
            insert_allow(transaction, allow)?;
            insert_blocks(transaction, blocks)?;
            replace_mode(transaction, mode.as_ref())?;
            replace_lockdown(transaction, lockdown.as_ref())?;
            replace_recurrences(transaction, recurrences)
        })
    }

    /// The operator's allowlist, in no order.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn load_allow(&self) -> Result<Vec<KeptAllow>, StoreError> {
        self.rows("SELECT prefix, name, comment, since, expires FROM allow", |row| {
            Ok(KeptAllow {
                prefix: row.get(0)?,
                name: row.get(1)?,
                comment: row.get(2)?,
                since: row.get(3)?,
                expires: row.get(4)?,
            })
        })
    }

    /// Adds or replaces entries, all or none.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save_allow(&mut self, entries: &[KeptAllow]) -> Result<(), StoreError> {
        self.change(|transaction| insert_allow(transaction, entries))
    }

    /// Removes entries, all or none; those that are missing do not matter.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn remove_allow(&mut self, prefixes: &[String]) -> Result<(), StoreError> {
        self.change(|transaction| delete(transaction, "DELETE FROM allow WHERE prefix = ?1", prefixes))
    }

    /// All blocks, in no order.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn load_blocks(&self) -> Result<Vec<KeptBlock>, StoreError> {
        self.rows("SELECT prefix, scope, origin, hard, reason, since, expires FROM block", |row| {
            Ok(KeptBlock {
                prefix: row.get(0)?,
                scope: row.get(1)?,
                origin: row.get(2)?,
                hard: row.get(3)?,
                reason: row.get(4)?,
                since: row.get(5)?,
                expires: row.get(6)?,
            })
        })
    }

    /// Adds or replaces blocks, all or none.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save_blocks(&mut self, blocks: &[KeptBlock]) -> Result<(), StoreError> {
        self.change(|transaction| insert_blocks(transaction, blocks))
    }

    /// Removes blocks, all or none; those that are missing do not matter.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn remove_blocks(&mut self, prefixes: &[String]) -> Result<(), StoreError> {
        self.change(|transaction| delete(transaction, "DELETE FROM block WHERE prefix = ?1", prefixes))
    }

    /// How often sources were blocked lately, in no order.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn load_recurrences(&self) -> Result<Vec<KeptRecurrence>, StoreError> {
        self.rows("SELECT source, ended, times FROM recurrence", |row| {
            Ok(KeptRecurrence { source: row.get(0)?, ended: row.get(1)?, times: row.get(2)? })
        })
    }

    /// Replaces what is kept of how often sources were blocked.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn replace_recurrences(&mut self, recurrences: &[KeptRecurrence]) -> Result<(), StoreError> {
        self.change(|transaction| replace_recurrences(transaction, recurrences))
    }

    /// Adds how often sources were blocked, or replaces what is kept of these.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save_recurrences(&mut self, recurrences: &[KeptRecurrence]) -> Result<(), StoreError> {
        self.change(|transaction| insert_recurrences(transaction, recurrences))
    }

    /// The mode that an operator set, if one did.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn load_mode(&self) -> Result<Option<KeptMode>, StoreError> {
        let query = "SELECT mode, configured, reverts FROM mode";
        let mode = self.connection.query_row(query, (), |row| {
            Ok(KeptMode { mode: row.get(0)?, configured: row.get(1)?, reverts: row.get(2)? })
        });
        mode.optional().map_err(sqlite(&self.path, "read"))
    }

    /// Keeps the mode that an operator set, or forgets it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save_mode(&mut self, mode: Option<&KeptMode>) -> Result<(), StoreError> {
        self.change(|transaction| replace_mode(transaction, mode))
    }

    /// The lockdown, if there is one.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn load_lockdown(&self) -> Result<Option<KeptLockdown>, StoreError> {
        let query = "SELECT since, until, ports, keep_known FROM lockdown";
        let lockdown = self.connection.query_row(query, (), |row| {
            Ok(KeptLockdown { since: row.get(0)?, until: row.get(1)?, ports: row.get(2)?, keep_known: row.get(3)? })
        });
        lockdown.optional().map_err(sqlite(&self.path, "read"))
    }

    /// Keeps a lockdown, or forgets it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save_lockdown(&mut self, lockdown: Option<&KeptLockdown>) -> Result<(), StoreError> {
        self.change(|transaction| replace_lockdown(transaction, lockdown))
    }

    pub(super) fn rows<T>(
        &self,
        query: &str,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let failed = sqlite(&self.path, "read");
        let mut query = self.connection.prepare(query).map_err(&failed)?;
        let rows = query.query_map((), |row| read(row)).map_err(&failed)?;
        rows.collect::<Result<_, _>>().map_err(&failed)
    }

    pub(super) fn change(
        &mut self,
        change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()>,
    ) -> Result<(), StoreError> {
        let failed = sqlite(&self.path, "write");
        let transaction = self.connection.transaction().map_err(&failed)?;
        change(&transaction).map_err(&failed)?;
        transaction.commit().map_err(&failed)
    }
}

fn replace_lockdown(transaction: &Transaction<'_>, lockdown: Option<&KeptLockdown>) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM lockdown", ())?;
    if let Some(KeptLockdown { since, until, ports, keep_known }) = lockdown {
        transaction.execute(
            "INSERT INTO lockdown (only, since, until, ports, keep_known) VALUES (1, ?1, ?2, ?3, ?4)",
            (since, until, ports, keep_known),
        )?;
    }
    Ok(())
}

fn insert_allow(transaction: &Transaction<'_>, entries: &[KeptAllow]) -> rusqlite::Result<()> {
    let mut insert = transaction
        .prepare("INSERT OR REPLACE INTO allow (prefix, name, comment, since, expires) VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for KeptAllow { prefix, name, comment, since, expires } in entries {
        insert.execute((prefix, name, comment, since, expires))?;
    }
    Ok(())
}

fn insert_blocks(transaction: &Transaction<'_>, blocks: &[KeptBlock]) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare(
        "INSERT OR REPLACE INTO block (prefix, scope, origin, hard, reason, since, expires) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    for KeptBlock { prefix, scope, origin, hard, reason, since, expires } in blocks {
        insert.execute((prefix, scope, origin, hard, reason, since, expires))?;
    }
    Ok(())
}

fn replace_recurrences(transaction: &Transaction<'_>, recurrences: &[KeptRecurrence]) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM recurrence", ())?;
    insert_recurrences(transaction, recurrences)
}

fn insert_recurrences(transaction: &Transaction<'_>, recurrences: &[KeptRecurrence]) -> rusqlite::Result<()> {
    let mut insert =
        transaction.prepare("INSERT OR REPLACE INTO recurrence (source, ended, times) VALUES (?1, ?2, ?3)")?;
    for KeptRecurrence { source, ended, times } in recurrences {
        insert.execute((source, ended, times))?;
    }
    Ok(())
}

fn replace_mode(transaction: &Transaction<'_>, mode: Option<&KeptMode>) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM mode", ())?;
    if let Some(KeptMode { mode, configured, reverts }) = mode {
        let insert = "INSERT INTO mode (only, mode, configured, reverts) VALUES (1, ?1, ?2, ?3)";
        transaction.execute(insert, (mode, configured, reverts))?;
    }
    Ok(())
}

fn delete(transaction: &Transaction<'_>, statement: &str, prefixes: &[String]) -> rusqlite::Result<()> {
    let mut delete = transaction.prepare(statement)?;
    for prefix in prefixes {
        delete.execute([prefix])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_survive_and_are_replaced_one_by_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.db");
        let allow = |prefix: &str, expires| KeptAllow { prefix: prefix.into(), expires, ..KeptAllow::default() };
        let block = |prefix: &str, hard| KeptBlock {
            prefix: prefix.into(),
            scope: "all".into(),
            origin: "operator".into(),
            hard,
            reason: Some("a \"reason\"".into()),
            since: 1,
            expires: None,
        };
        let mode = KeptMode { mode: "enforce".into(), configured: "observe".into(), reverts: Some(5) };
        let recurrence = KeptRecurrence { source: "192.0.2.1".into(), ended: 7, times: 2 };
        let mut store = Store::open(&path).expect("a store");
        assert_eq!(store.load_mode().expect("none"), None);
        store.save_allow(&[allow("192.0.2.1", None), allow("2001:db8::/32", Some(9))]).expect("saved");
        store.save_allow(&[allow("192.0.2.1", Some(3))]).expect("saved");
        store.save_blocks(&[block("198.51.100.1", true), block("198.51.100.0/24", false)]).expect("saved");
        store.save_mode(Some(&mode)).expect("saved");
        store.save_mode(Some(&mode)).expect("saved again");
        store.save_recurrences(std::slice::from_ref(&recurrence)).expect("saved");
        let lockdown = KeptLockdown { since: 1, until: 9, ports: Some("22 53/udp".into()), keep_known: true };
        assert_eq!(store.load_lockdown().expect("none"), None);
        store.save_lockdown(Some(&KeptLockdown { ports: None, ..lockdown.clone() })).expect("saved");
        store.save_lockdown(Some(&lockdown)).expect("saved again");
        drop(store);
        let mut store = Store::open(&path).expect("a store");
        assert_eq!(store.load_allow().expect("a list"), [allow("192.0.2.1", Some(3)), allow("2001:db8::/32", Some(9))]);
        assert_eq!(
            store.load_blocks().expect("a list"),
            [block("198.51.100.0/24", false), block("198.51.100.1", true)]
        );
        assert_eq!(store.load_mode().expect("a mode"), Some(mode));
        assert_eq!(store.load_recurrences().expect("a list"), [recurrence]);
        store.remove_allow(&["192.0.2.1".into(), "missing".into()]).expect("removed");
        store.remove_blocks(&["198.51.100.1".into()]).expect("removed");
        store.save_mode(None).expect("forgotten");
        assert_eq!(store.load_lockdown().expect("one"), Some(lockdown));
        store.save_lockdown(None).expect("forgotten");
        assert_eq!(store.load_lockdown().expect("none"), None);
        assert_eq!(store.load_allow().expect("a list"), [allow("2001:db8::/32", Some(9))]);
        assert_eq!(store.load_blocks().expect("a list").len(), 1);
        assert_eq!(store.load_mode().expect("none"), None);
    }
}
