//! What was recorded, for people and programs to read: the file's records and those that wait for it.

use std::time::{SystemTime, UNIX_EPOCH};

use super::error::OperatorError;
use super::kept::{milliseconds, moment};
use crate::api::{
    AuditEntry, AuditList, AuditQuery, BlockEvent, BlockHistory, HistoryQuery, MOST_RECORDS, SCHEMA_VERSION, timestamp,
};
use crate::prefix;
use crate::prefix_map::Prefix;
use crate::store::{AuditRecord, Entry, Journal, LifeEvent, Store, StoreError};

/// The latest records of the audit.
///
/// # Errors
/// When the file cannot be read.
pub fn audit(store: Option<&Store>, journal: &Journal, since: u64, limit: u32) -> Result<AuditList, StoreError> {
    let written = store.map(|store| store.audit(since, limit)).transpose()?.unwrap_or_default();
    let waiting = journal.waiting().filter_map(|entry| match entry {
        Entry::Audit(record) if record.at >= since => Some((None, record.clone())),
        _ => None,
    });
    let all = written.into_iter().map(|(number, record)| (Some(number), record)).chain(waiting);
    let entries = latest(all.map(|(number, record)| audit_entry(number, record)).collect(), limit);
    Ok(AuditList { schema_version: SCHEMA_VERSION, entries })
}

/// The latest events in the lives of blocks, on one prefix or all.
///
/// # Errors
/// When the file cannot be read.
pub fn history(
    store: Option<&Store>,
    journal: &Journal,
    prefix: Option<&str>,
    since: u64,
    limit: u32,
) -> Result<BlockHistory, StoreError> {
    let written = store.map(|store| store.lives(prefix, since, limit)).transpose()?.unwrap_or_default();
    let is_wanted = |event: &LifeEvent| event.at >= since && prefix.is_none_or(|prefix| event.prefix == prefix);
    let waiting = journal.waiting().filter_map(|entry| match entry {
        Entry::Life(event) if is_wanted(event) => Some(event.clone()),
        _ => None,
    });
    let entries = latest(written.into_iter().chain(waiting).map(block_event).collect(), limit);
    Ok(BlockHistory { schema_version: SCHEMA_VERSION, entries })
}

/// What a question about the audit means: since when, and how many.
///
/// # Errors
/// When a time or a number makes no sense.
pub fn audit_wanted(query: &AuditQuery) -> Result<(u64, u32), OperatorError> {
    Ok((beginning(query.since.as_deref())?, bounded(query.limit)?))
}

/// What a question about blocks means: on whom, since when, and how many.
///
/// # Errors
/// When an address, a time or a number makes no sense.
pub fn history_wanted(query: &HistoryQuery) -> Result<(Option<String>, u64, u32), OperatorError> {
    let prefix = query
        .address
        .as_deref()
        .map(|text| Ok::<_, OperatorError>(prefix::show(&Prefix::from(prefix::parse(text)?).into())));
    Ok((prefix.transpose()?, beginning(query.since.as_deref())?, bounded(query.limit)?))
}

fn beginning(since: Option<&str>) -> Result<u64, OperatorError> {
    let since = since.map(|text| {
        humantime::parse_rfc3339(text)
            .map_err(|error| OperatorError::Usage(format!("{text:?} is no time like 2026-11-27T12:00:00Z: {error}")))
    });
    Ok(milliseconds(since.transpose()?.unwrap_or(UNIX_EPOCH)))
}

fn bounded(limit: u32) -> Result<u32, OperatorError> {
    match limit {
        1..=MOST_RECORDS => Ok(limit),
        _ => Err(OperatorError::Usage(format!("a limit of {limit} is not from 1 to {MOST_RECORDS}"))),
    }
}

fn latest<T>(mut entries: Vec<T>, limit: u32) -> Vec<T> {
    let too_many = entries.len().saturating_sub(limit as usize);
    entries.drain(..too_many);
    entries
}

fn audit_entry(number: Option<u64>, record: AuditRecord) -> AuditEntry {
    let AuditRecord { at, uid, pid, user, program, verb, arguments, result, detail } = record;
    // What is in the file was JSON once.
    let arguments = serde_json::from_str(&arguments).unwrap_or(serde_json::Value::String(arguments));
    AuditEntry { number, time: shown(at), uid, pid, user, program, verb, arguments, result, detail }
}

fn block_event(event: LifeEvent) -> BlockEvent {
    let LifeEvent { at, prefix, event, scope, origin, hard, reason, expires, why } = event;
    BlockEvent { time: shown(at), source: prefix, event, scope, origin, hard, reason, expires: expires.map(shown), why }
}

fn shown(milliseconds: u64) -> String {
    let time: SystemTime = moment(milliseconds);
    timestamp(time)
}
