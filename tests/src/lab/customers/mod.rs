//! Customers: they browse, and some stay connected the whole time.

mod browsing;
mod pace;
mod sessions;

pub use browsing::{Browsing, Requests};
pub use sessions::{Held, Sessions};
