//! Values of the file: what type they must have and what range.

use std::ops::RangeInclusive;

use toml::Spanned;
use toml::de::DeValue;

use super::problem::Problems;
use super::section::nearest;

type Value<'i> = Spanned<DeValue<'i>>;

fn wrong_type(key: &str, value: &Value<'_>, wanted: &str, problems: &mut Problems<'_>) {
    problems
        .add(&value.span(), format!("`{key}` must be {wanted}, not a value of type {}", value.get_ref().type_str()));
}

/// `true` or `false`.
pub(super) fn boolean(key: &str, value: &Value<'_>, problems: &mut Problems<'_>) -> Option<bool> {
    let found = value.get_ref().as_bool();
    if found.is_none() {
        wrong_type(key, value, "true or false", problems);
    }
    found
}

/// A whole number in a range.
pub(super) fn number<T: TryFrom<i64>>(
    range: RangeInclusive<i64>,
) -> impl Fn(&str, &Value<'_>, &mut Problems<'_>) -> Option<T> {
    move |key, value, problems| {
        let (first, last) = (range.start(), range.end());
        let Some(integer) = value.get_ref().as_integer() else {
            wrong_type(key, value, &format!("a whole number from {first} to {last}"), problems);
            return None;
        };
        let number = i64::from_str_radix(integer.as_str(), integer.radix()).ok();
        let valid = number.filter(|number| range.contains(number)).and_then(|number| T::try_from(number).ok());
        if valid.is_none() {
            problems.add(&value.span(), format!("`{key}` is {integer}, but goes from {first} to {last}"));
        }
        valid
    }
}

/// A text.
pub(super) fn text<'a>(key: &str, value: &'a Value<'_>, problems: &mut Problems<'_>) -> Option<&'a str> {
    let found = value.get_ref().as_str();
    if found.is_none() {
        wrong_type(key, value, "a text in quotes", problems);
    }
    found
}

/// One of a few words.
pub(super) fn word<T: Copy>(words: &[(&'static str, T)]) -> impl Fn(&str, &Value<'_>, &mut Problems<'_>) -> Option<T> {
    move |key, value, problems| {
        let found = text(key, value, problems)?;
        let valid = words.iter().find(|(word, _)| *word == found).map(|(_, meaning)| *meaning);
        if valid.is_none() {
            let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let reason = format!("`{key}` cannot be {found:?}");
            match nearest(found, &names) {
                Some(likely) => problems.suggest(&value.span(), reason, format!("did you mean \"{likely}\"?")),
                None => problems.suggest(&value.span(), reason, format!("it is one of {}", names.join(", "))),
            }
        }
        valid
    }
}

/// A list of values that are each read alike; the wrong ones are reported and left out.
pub(super) fn list<'a, 'i: 'a, T>(
    mut read: impl FnMut(&str, &'a Value<'i>, &mut Problems<'_>) -> Option<T>,
) -> impl FnOnce(&str, &'a Value<'i>, &mut Problems<'_>) -> Option<Vec<T>> {
    move |key, value, problems| {
        let Some(items) = value.get_ref().as_array() else {
            wrong_type(key, value, "a list in square brackets", problems);
            return None;
        };
        Some(items.iter().filter_map(|item| read(key, item, problems)).collect())
    }
}
