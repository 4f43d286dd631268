//! A table of the file: hands out its keys one by one and then complains about those nobody asked for.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::Problems;

/// How alike a key must be to one that exists to be taken for a slip (Jaro-Winkler, 0 to 1).
const LIKENESS: f64 = 0.8;

/// A table of the file, or its absence.
pub(super) struct Section<'a, 'i> {
    name: &'static str,
    table: Option<&'a DeTable<'i>>,
    asked: Vec<&'static str>,
}

impl<'a, 'i> Section<'a, 'i> {
    /// The file itself.
    pub(super) const fn root(table: &'a DeTable<'i>) -> Self {
        Self { name: "", table: Some(table), asked: Vec::new() }
    }

    /// A table of a list.
    pub(super) const fn item(name: &'static str, table: &'a DeTable<'i>) -> Self {
        Self { name, table: Some(table), asked: Vec::new() }
    }

    /// A table in this one.
    pub(super) fn section(&mut self, key: &'static str, problems: &mut Problems<'_>) -> Section<'a, 'i> {
        let table = self.get(key).and_then(|value| {
            let table = value.get_ref().as_table();
            if table.is_none() {
                let found = value.get_ref().type_str();
                problems.suggest(
                    &value.span(),
                    format!("`{key}` is a section, not a value (found: {found})"),
                    format!("write a line `[{key}]` and its keys below it"),
                );
            }
            table
        });
        Section { name: key, table, asked: Vec::new() }
    }

    /// The value of a key as `read` understands it; none when it is absent or `read` found it wrong.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        problems: &mut Problems<'_>,
        read: impl FnOnce(&str, &'a Spanned<DeValue<'i>>, &mut Problems<'_>) -> Option<T>,
    ) -> Option<T> {
        let full_name = if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) };
        self.get(key).and_then(|value| read(&full_name, value, problems))
    }

    fn get(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'i>>> {
        self.asked.push(key);
        self.table?.get(key)
    }

    /// Complains about the keys nobody asked for.
    pub(super) fn finish(self, problems: &mut Problems<'_>) {
        let Self { name, table, asked } = self;
        let unknown = table.into_iter().flat_map(DeTable::keys).filter(|key| !asked.contains(&key.get_ref().as_ref()));
        for key in unknown {
            let place = if name.is_empty() { String::new() } else { format!(" in section [{name}]") };
            let reason = format!("there is no key `{}`{place}", key.get_ref());
            match nearest(key.get_ref(), &asked) {
                Some(likely) => problems.suggest(&key.span(), reason, format!("did you mean `{likely}`?")),
                None => problems.suggest(&key.span(), reason, format!("known here: {}", asked.join(", "))),
            }
        }
    }
}

/// The candidate that was probably meant.
pub(super) fn nearest<'c>(word: &str, candidates: &[&'c str]) -> Option<&'c str> {
    let likeness = |candidate: &&str| strsim::jaro_winkler(&word.to_lowercase(), candidate);
    let best = candidates.iter().max_by(|one, other| likeness(one).total_cmp(&likeness(other)))?;
    (likeness(best) >= LIKENESS).then_some(*best)
}
