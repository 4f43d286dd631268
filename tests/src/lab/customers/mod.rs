//! Customers: they browse, some stay connected the whole time, and some have habits that look odd.

mod browsing;
mod habits;
mod pace;
mod sessions;

pub use browsing::{Browsing, Requests};
pub use habits::Habits;
pub use sessions::{Held, Sessions};

pub(super) use pace::Rounds;
