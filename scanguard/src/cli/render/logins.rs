//! `scanguard logins` for people.

use super::Paint;
use super::table::{Side, table};
use crate::api::{LoginEntry, LoginList};

const COLUMNS: [(&str, Side); 3] = [("FROM", Side::Left), ("USER", Side::Left), ("SEEN BY", Side::Left)];

/// Who is logged in.
#[must_use]
pub fn logins(list: &LoginList, paint: Paint) -> String {
    let LoginList { logins, .. } = list;
    if logins.is_empty() {
        return "Nobody is logged in from elsewhere.\n".to_owned();
    }
    let row = |LoginEntry { address, user, how }: &LoginEntry| {
        [address.clone(), user.clone().unwrap_or_default(), (*how).to_owned()]
    };
    table(COLUMNS, &logins.iter().map(row).collect::<Vec<_>>(), paint)
}
