//! What two configurations decide differently about the same captures.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::{Replayed, Tale};
use crate::api::SCHEMA_VERSION;

/// The answer of `replay --compare`.
#[derive(Clone, Debug, Serialize)]
pub struct Differences {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// One configuration.
    pub old: String,
    /// The other one.
    pub new: String,
    /// One for each file.
    pub captures: Vec<CaptureDifferences>,
}

/// Of one capture.
#[derive(Clone, Debug, Serialize)]
pub struct CaptureDifferences {
    /// The file.
    pub file: String,
    /// Sources about which they decide differently.
    pub differences: Vec<Difference>,
    /// Sources about which both decide the same: that something is done.
    pub same: u64,
}

/// Of one source.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Its address or prefix.
    pub source: String,
    /// What the old one decides.
    pub old: Decision,
    /// What the new one decides.
    pub new: Decision,
}

/// What is decided about a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Decision {
    /// `none`, `conceal` or `block`.
    pub level: &'static str,
    /// The packet with which that begins.
    pub packet: Option<u64>,
    /// Packets that are hidden or blocked.
    pub hidden: u64,
    /// Of those, the ones to open ports.
    pub noticed: u64,
}

impl Decision {
    fn of(tale: Option<&Tale>) -> Self {
        let Some(tale) = tale else { return Self { level: "none", ..Self::default() } };
        let (level, at) = if let Some(at) = tale.blocked {
            ("block", Some(at))
        } else if tale.is_acted_on() {
            ("conceal", tale.concealed.or(tale.first_dropped))
        } else {
            ("none", None)
        };
        Self { level, packet: at.map(|at| at.packet), hidden: tale.hidden(), noticed: tale.noticed }
    }
}

impl Differences {
    /// None yet.
    #[must_use]
    pub fn new(old: &Path, new: &Path) -> Self {
        let [old, new] = [old, new].map(|path| path.display().to_string());
        Self { schema_version: SCHEMA_VERSION, old, new, captures: Vec::new() }
    }

    /// Adds a capture. (Sources are compared by name: with another `ipv6_prefix` they are others.)
    pub fn add(&mut self, file: &Path, old: &Replayed, new: &Replayed) {
        let by_name = |replayed: &Replayed| -> BTreeMap<String, Decision> {
            let acted = replayed.tales.iter().filter(|(_, tale)| tale.is_acted_on());
            acted.map(|(source, tale)| (replayed.keys.display(*source).to_string(), Decision::of(Some(tale)))).collect()
        };
        let (old, new) = (by_name(old), by_name(new));
        let mut found = CaptureDifferences { file: file.display().to_string(), differences: Vec::new(), same: 0 };
        let mut sources: Vec<&String> = old.keys().chain(new.keys()).collect();
        sources.sort_unstable();
        sources.dedup();
        for source in sources {
            let decision = |side: &BTreeMap<String, Decision>| side.get(source).copied().unwrap_or(Decision::of(None));
            let (old, new) = (decision(&old), decision(&new));
            if old == new {
                found.same += 1;
            } else {
                found.differences.push(Difference { source: source.clone(), old, new });
            }
        }
        self.captures.push(found);
    }
}
