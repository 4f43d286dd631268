//! The answer as a page.
use super::report::Report;
/// The page.
#[must_use]
pub fn page(_report: &Report) -> String {
    String::new()
}
