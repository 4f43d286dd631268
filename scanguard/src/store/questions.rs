//! What waits for a person to decide, what he denied, and completed decoys that may become proof. Times are Unix time in milliseconds.

use rusqlite::Transaction;
use scanguard_common::source::SourceKey;

use super::Store;
use super::error::StoreError;
use super::people::address;

/// A block that waits for a person.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeptQuestion {
    /// Whom.
    pub source: SourceKey,
    /// Label of [`scanguard_common::verdict::Scope`].
    pub scope: String,
    /// Label of [`crate::policy::BlockReason`]; none where an older version asked.
    pub reason: Option<String>,
    /// Label of [`crate::policy::Doubt`].
    pub doubt: String,
    /// How many people beside the scanner that would harm.
    pub people: u32,
    /// How long the block would last.
    pub lasts: u64,
    /// Ports of the decoys that are proof.
    pub ports: Vec<u16>,
    /// Since when.
    pub since: u64,
    /// Until when it waits.
    pub expires: u64,
}

/// A source that a person said is not to be blocked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeptDenial {
    /// The source.
    pub source: SourceKey,
    /// Until when nobody is asked again.
    pub until: u64,
}

/// A completed decoy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeptDecoy {
    /// The source.
    pub source: SourceKey,
    /// The port, of TCP.
    pub port: u16,
    /// When.
    pub completed: u64,
}

impl Store {
    /// All questions, in no order.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn load_questions(&self) -> Result<Vec<KeptQuestion>, StoreError> {
        self.rows("SELECT source, scope, doubt, people, lasts, ports, since, expires, reason FROM question", |row| {
            let ports: String = row.get(5)?;
            Ok(KeptQuestion {
                source: SourceKey(address(row, 0)?),
                scope: row.get(1)?,
                doubt: row.get(2)?,
                people: row.get(3)?,
                lasts: row.get(4)?,
                ports: serde_json::from_str(&ports).unwrap_or_default(),
                since: row.get(6)?,
                expires: row.get(7)?,
                reason: row.get(8)?,
            })
        })
    }

    /// Replaces all questions and denials, all or nothing.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn replace_questions(&mut self, questions: &[KeptQuestion], denials: &[KeptDenial]) -> Result<(), StoreError> {
        self.change(|transaction| {
            transaction.execute_batch("DELETE FROM question; DELETE FROM denied;")?;
            questions.iter().try_for_each(|question| insert_question(transaction, question))?;
            denials.iter().try_for_each(|denial| insert_denial(transaction, denial))
        })
    }

    /// Adds or replaces a question.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save_question(&mut self, question: &KeptQuestion) -> Result<(), StoreError> {
        self.change(|transaction| insert_question(transaction, question))
    }

    /// Removes questions, all or none; those that are missing do not matter.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn remove_questions(&mut self, sources: &[SourceKey]) -> Result<(), StoreError> {
        self.change(|transaction| {
            let mut delete = transaction.prepare("DELETE FROM question WHERE source = ?1")?;
            sources.iter().try_for_each(|source| delete.execute([source.0.bytes()]).map(drop))
        })
    }

    /// All denials, in no order.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn load_denials(&self) -> Result<Vec<KeptDenial>, StoreError> {
        self.rows("SELECT source, until FROM denied", |row| {
            Ok(KeptDenial { source: SourceKey(address(row, 0)?), until: row.get(1)? })
        })
    }

    /// Adds or replaces a denial, and forgets those that are over.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save_denial(&mut self, denial: &KeptDenial, now: u64) -> Result<(), StoreError> {
        self.change(|transaction| {
            transaction.execute("DELETE FROM denied WHERE until <= ?1", [now])?;
            insert_denial(transaction, denial)
        })
    }

    /// Completed decoys that were kept, in no order.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn load_decoys(&self) -> Result<Vec<KeptDecoy>, StoreError> {
        self.rows("SELECT source, port, completed FROM decoy", |row| {
            Ok(KeptDecoy { source: SourceKey(address(row, 0)?), port: row.get(1)?, completed: row.get(2)? })
        })
    }

    /// Replaces what is kept of completed decoys.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save_decoys(&mut self, decoys: &[KeptDecoy]) -> Result<(), StoreError> {
        self.change(|transaction| {
            transaction.execute("DELETE FROM decoy", ())?;
            let mut insert =
                transaction.prepare("INSERT OR REPLACE INTO decoy (source, port, completed) VALUES (?1, ?2, ?3)")?;
            for KeptDecoy { source, port, completed } in decoys {
                insert.execute((source.0.bytes(), port, completed))?;
            }
            Ok(())
        })
    }
}

fn insert_question(transaction: &Transaction<'_>, question: &KeptQuestion) -> rusqlite::Result<()> {
    let KeptQuestion { source, scope, reason, doubt, people, lasts, ports, since, expires } = question;
    let ports = serde_json::to_string(ports).unwrap_or_default();
    let insert = "INSERT OR REPLACE INTO question (source, scope, doubt, people, lasts, ports, since, expires, reason) \
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    transaction
        .execute(insert, (source.0.bytes(), scope, doubt, people, lasts, ports, since, expires, reason))
        .map(drop)
}

fn insert_denial(transaction: &Transaction<'_>, denial: &KeptDenial) -> rusqlite::Result<()> {
    let insert = "INSERT OR REPLACE INTO denied (source, until) VALUES (?1, ?2)";
    transaction.execute(insert, (denial.source.0.bytes(), denial.until)).map(drop)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn source(number: u32) -> SourceKey {
        SourceKey(IpAddr::from(Ipv4Addr::from(number)).into())
    }

    #[test]
    fn questions_denials_and_decoys_survive() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.db");
        let question = |number, expires| KeptQuestion {
            source: source(number),
            scope: "all".into(),
            reason: (number == 1).then(|| "signal".into()),
            doubt: "customer".into(),
            people: 3,
            lasts: 600_000,
            ports: vec![22, 23, 9000, 9001],
            since: 1,
            expires,
        };
        let decoys = [22, 23].map(|port| KeptDecoy { source: source(1), port, completed: 5 });
        let mut store = Store::open(&path).expect("a store");
        for kept in [question(1, 7), question(2, 8), question(1, 9)] {
            store.save_question(&kept).expect("saved");
        }
        store.save_denial(&KeptDenial { source: source(3), until: 10 }, 0).expect("saved");
        store.save_denial(&KeptDenial { source: source(4), until: 20 }, 10).expect("saved");
        store.save_decoys(&decoys).expect("saved");
        drop(store);
        let mut store = Store::open(&path).expect("a store");
        assert_eq!(store.load_questions().expect("a list"), [question(1, 9), question(2, 8)]);
        assert_eq!(store.load_denials().expect("a list"), [KeptDenial { source: source(4), until: 20 }]);
        assert_eq!(store.load_decoys().expect("a list"), decoys);
        store.remove_questions(&[source(1), source(7)]).expect("removed");
        store.save_decoys(&[]).expect("saved");
        assert_eq!(store.load_questions().expect("a list"), [question(2, 8)]);
        assert_eq!(store.load_decoys().expect("a list"), []);
    }
}
