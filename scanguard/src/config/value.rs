//! Values of the file: what type they must have and what range.

use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::problem::Problems;
use super::section::nearest;
use crate::duration;

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

/// A number with a decimal point or an exponent, in a range.
pub(super) fn real(range: RangeInclusive<f64>) -> impl Fn(&str, &Value<'_>, &mut Problems<'_>) -> Option<f64> {
    move |key, value, problems| {
        let (first, last) = (range.start(), range.end());
        let written = match value.get_ref() {
            DeValue::Float(float) => float.as_str(),
            DeValue::Integer(integer) => integer.as_str(),
            _ => {
                wrong_type(key, value, &format!("a number from {first:?} to {last:?}"), problems);
                return None;
            }
        };
        let valid = written.parse().ok().filter(|number| range.contains(number));
        if valid.is_none() {
            problems.add(&value.span(), format!("`{key}` is {written}, but goes from {first:?} to {last:?}"));
        }
        valid
    }
}

/// A length of time in a range.
pub(super) fn time_span(
    range: RangeInclusive<Duration>,
) -> impl Fn(&str, &Value<'_>, &mut Problems<'_>) -> Option<Duration> {
    move |key, value, problems| {
        let (first, last) = (duration::format(*range.start()), duration::format(*range.end()));
        let Some(written) = value.get_ref().as_str() else {
            wrong_type(key, value, &format!("a length of time in quotes from \"{first}\" to \"{last}\""), problems);
            return None;
        };
        match duration::parse(written) {
            Ok(span) if range.contains(&span) => Some(span),
            Ok(_) => {
                problems
                    .add(&value.span(), format!("`{key}` is \"{written}\", but goes from \"{first}\" to \"{last}\""));
                None
            }
            Err(error) => {
                problems.add(&value.span(), format!("`{key}`: {error}"));
                None
            }
        }
    }
}

/// The path of a file, from the root and of at most so many bytes.
pub(super) fn absolute_path(
    longest: usize,
    example: &str,
) -> impl Fn(&str, &Value<'_>, &mut Problems<'_>) -> Option<PathBuf> {
    move |key, value, problems| {
        let path = text(key, value, problems)?;
        let complaint = if !path.starts_with('/') {
            "must be an absolute path".to_owned()
        } else if path.ends_with('/') {
            "must be a file, not a directory".to_owned()
        } else if path.contains('\0') {
            "contains a zero byte".to_owned()
        } else if path.len() > longest {
            format!("is longer than the {longest} bytes that the kernel takes")
        } else {
            return Some(path.into());
        };
        problems.suggest(&value.span(), format!("`{key}` {complaint}"), format!("for example \"{example}\""));
        None
    }
}

/// A value with its place, for what must fit other values.
pub(super) fn placed<'a, 'i: 'a, T>(
    read: impl FnOnce(&str, &'a Value<'i>, &mut Problems<'_>) -> Option<T>,
) -> impl FnOnce(&str, &'a Value<'i>, &mut Problems<'_>) -> Option<(T, Range<usize>)> {
    move |key, value, problems| read(key, value, problems).map(|found| (found, value.span()))
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
