//! `scanguard config reload` for people.

use super::Paint;
use crate::api::{Change, Reloaded};

/// What changed, and what takes a restart.
#[must_use]
pub fn reloaded(answer: &Reloaded, paint: Paint) -> String {
    let Reloaded { schema_version: _, file, changes } = answer;
    let file = file.as_deref().unwrap_or("the defaults (there is no file)");
    if changes.is_empty() {
        return format!("Read {file}: nothing has changed.\n");
    }
    let mut text = format!("Read {file}:\n");
    for Change { key, old, new, applied } in changes {
        let note = if *applied { String::new() } else { format!("  ({})", paint.doubtful("after a restart")) };
        text.push_str(&format!("  {key}: {old} -> {new}{note}\n"));
    }
    let later = changes.iter().filter(|change| !change.applied).count();
    text.push_str(if later == 0 { "All of it is in force.\n" } else { "What is not marked is in force.\n" });
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::SCHEMA_VERSION;

    #[test]
    fn reloads() {
        let change = |key: &str, old: &str, new: &str, applied| Change {
            key: key.into(),
            old: old.into(),
            new: new.into(),
            applied,
        };
        let nothing = Reloaded { schema_version: SCHEMA_VERSION, file: None, changes: Vec::new() };
        let applied = Reloaded {
            file: Some("/etc/scanguard/scanguard.toml".into()),
            changes: vec![change("mode", "\"observe\"", "\"enforce\"", true)],
            ..nothing.clone()
        };
        let mut mixed = applied.clone();
        mixed.changes.push(change("sources.max_sources", "262144", "524288", false));
        let texts = [&nothing, &applied, &mixed].map(|answer| reloaded(answer, Paint::new(false)));
        insta::assert_snapshot!(texts.join("--\n"));
    }
}
