//! What cannot be tested here, as the tests themselves say it (`tests/src/skip.rs`).

#[path = "../../tests/src/skip.rs"]
#[expect(unreachable_pub, reason = "in the package of the tests it is reachable")]
mod shared;

pub(crate) use shared::{ALLOW, skip};

/// What a line of a test's output says of something left out.
pub(crate) fn note(line: &str) -> Option<&str> {
    // libtest may have begun the line.
    line.split_once(shared::MARK).map(|(_, note)| note.trim_end())
}
