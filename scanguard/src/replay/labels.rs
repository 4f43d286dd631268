//! Captures whose scanners are known, and scores against them.
//!
//! A labels file is TOML with one `[[capture]]` per file: `file`, `class`, `protected`, `scanners` (each with `addr` and `tier`), `ignore` and
//! `spoofed`. Other keys are for people.
//!
//! Concealing (or more) one of the scanners is a detection; concealing any other address a false conceal, but for those that are ignored or
//! spoofed; blocking one that is neither a scanner nor ignored is a false block, spoofed or not.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use ipnetwork::IpNetwork;
use scanguard_common::address::Address;
use scanguard_common::source::{KeyRules, SourceKey};
use serde::{Deserialize, Serialize};

use super::Replayed;

/// How plain a scan is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// At least 20 targets within a minute.
    Must,
    /// 5 to 19, at least 5 of them within a minute.
    Should,
    /// At least 5, spread out.
    Slow,
    /// Fewer: a miss is right.
    Low,
}

/// A scanner of a capture.
#[derive(Clone, Debug, Deserialize)]
pub struct Scanner {
    /// Its address.
    pub addr: IpAddr,
    /// How plain its scan is.
    pub tier: Tier,
}

/// A capture whose scanners are known.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Label {
    /// The name of the file, in the folder of the labels.
    pub file: PathBuf,
    /// What kind of traffic it is.
    #[serde(default)]
    pub class: String,
    /// What a filter there would guard; everything if empty.
    #[serde(default)]
    pub protected: Vec<IpNetwork>,
    /// Who scans.
    #[serde(default)]
    pub scanners: Vec<Scanner>,
    /// Who counts neither way.
    #[serde(default)]
    pub ignore: Vec<IpAddr>,
    /// Who did not send what bears his address.
    #[serde(default)]
    pub spoofed: Vec<IpAddr>,
}

/// All of them, by file name.
#[derive(Clone, Debug, Default)]
pub struct Labels {
    /// In the order of the file.
    pub captures: Vec<Label>,
    /// The folder of the file.
    pub folder: PathBuf,
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    capture: Vec<Label>,
}

impl Labels {
    /// Reads them.
    ///
    /// # Errors
    /// When the file cannot be read or understood.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let file: File = toml::from_str(&text).with_context(|| format!("{} holds no labels", path.display()))?;
        if file.capture.is_empty() {
            bail!("{} holds no labels: it has no [[capture]]", path.display());
        }
        let folder = path.parent().unwrap_or(Path::new(".")).to_owned();
        Ok(Self { captures: file.capture, folder })
    }

    /// The label of a file, by its name.
    #[must_use]
    pub fn of(&self, path: &Path) -> Option<&Label> {
        self.captures.iter().find(|label| label.file.file_name() == path.file_name())
    }
}

/// Scores of one capture: addresses.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Score {
    /// What kind of traffic it is.
    pub class: String,
    /// Scanners that were concealed or blocked.
    pub detected: Vec<String>,
    /// Scanners of the tiers must, should and slow that were not.
    pub missed: Vec<String>,
    /// Others that were concealed or blocked.
    pub false_conceal: Vec<String>,
    /// Others that were blocked.
    pub false_block: Vec<String>,
}

/// How many of how many.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Share {
    /// Detected.
    pub detected: u64,
    /// Of these.
    pub of: u64,
}

/// Contacts until detection.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Probes {
    /// Half of the detected took no more.
    pub median: u64,
    /// Nine of ten took no more.
    pub p90: u64,
    /// None took more.
    pub max: u64,
}

/// Scores of all captures.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Totals {
    /// By tier.
    pub must: Share,
    /// By tier.
    pub should: Share,
    /// By tier.
    pub slow: Share,
    /// False conceals.
    pub false_conceal: u64,
    /// False blocks: the one number that has to be zero.
    pub false_block: u64,
    /// Sources with at least one new flow that are neither scanners nor ignored.
    pub benign_sources: u64,
    /// Contacts that detected scanners had made, the deciding one among them.
    pub probes_to_detect: Probes,
    #[serde(skip)]
    contacts: Vec<u64>,
}

impl Totals {
    /// Scores a capture and adds it.
    pub fn add(&mut self, label: &Label, replayed: &Replayed) -> Score {
        let keys = &replayed.keys;
        let mut judged = Judged::default();
        for (source, tale) in &replayed.tales {
            if tale.is_acted_on() {
                let at = tale.concealed.or(tale.blocked).or(tale.first_dropped);
                judged.concealed.insert(keys.display(*source).to_string(), at.map_or(0, |at| at.contacts));
            }
            if tale.blocked.is_some() {
                judged.blocked.insert(keys.display(*source).to_string());
            }
        }
        judged.sources = replayed.sources.iter().map(|source| keys.display(*source).to_string()).collect();
        self.judge(label, keys, &judged)
    }

    /// The same for any detector.
    pub fn judge(&mut self, label: &Label, keys: &KeyRules, judged: &Judged) -> Score {
        let name = |address: &IpAddr| name(keys, address);
        let scanners: BTreeMap<String, Tier> =
            label.scanners.iter().map(|scanner| (name(&scanner.addr), scanner.tier)).collect();
        let ignored: BTreeSet<String> = label.ignore.iter().map(name).collect();
        let spoofed: BTreeSet<String> = label.spoofed.iter().map(name).collect();
        let mut score = Score { class: label.class.clone(), ..Score::default() };
        for (scanner, tier) in &scanners {
            let contacts = judged.concealed.get(scanner);
            let share = match tier {
                Tier::Must => Some(&mut self.must),
                Tier::Should => Some(&mut self.should),
                Tier::Slow => Some(&mut self.slow),
                Tier::Low => None,
            };
            if let Some(share) = &share
                && contacts.is_none()
            {
                let _ = share;
                score.missed.push(scanner.clone());
            }
            if let Some(contacts) = contacts {
                score.detected.push(scanner.clone());
                if *tier != Tier::Low {
                    self.contacts.push(*contacts);
                }
            }
            if let Some(share) = share {
                share.of += 1;
                share.detected += u64::from(contacts.is_some());
            }
        }
        let is_other = |source: &&String| !scanners.contains_key(*source) && !ignored.contains(*source);
        score.false_conceal =
            judged.concealed.keys().filter(is_other).filter(|source| !spoofed.contains(*source)).cloned().collect();
        score.false_block = judged.blocked.iter().filter(is_other).cloned().collect();
        self.false_conceal += score.false_conceal.len() as u64;
        self.false_block += score.false_block.len() as u64;
        self.benign_sources += judged.sources.iter().filter(is_other).count() as u64;
        self.contacts.sort_unstable();
        let at = |share: f64| {
            let last = self.contacts.len().saturating_sub(1);
            self.contacts.get((last as f64 * share).ceil() as usize).copied().unwrap_or(0)
        };
        self.probes_to_detect = Probes { median: at(0.5), p90: at(0.9), max: at(1.0) };
        score
    }
}

/// What a detector made of a capture: sources by name.
#[derive(Clone, Debug, Default)]
pub struct Judged {
    /// Who was concealed or more, and how many contacts he had made by then.
    pub concealed: BTreeMap<String, u64>,
    /// Who was blocked.
    pub blocked: BTreeSet<String>,
    /// Who made at least one new flow.
    pub sources: BTreeSet<String>,
}

/// The name of the source that an address is of.
#[must_use]
pub fn name(keys: &KeyRules, address: &IpAddr) -> String {
    let (key, version) = (Address::from(*address), if address.is_ipv4() { 4 } else { 6 });
    keys.display(keys.source_of(key, version).unwrap_or(SourceKey(key))).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(concealed: &[(&str, u64)], blocked: &[&str], sources: &[&str]) -> Judged {
        Judged {
            concealed: concealed.iter().map(|(name, contacts)| ((*name).to_owned(), *contacts)).collect(),
            blocked: blocked.iter().map(|name| (*name).to_owned()).collect(),
            sources: sources.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    #[test]
    fn each_address_counts_as_what_it_is() {
        let label: Label = toml::from_str(
            "file = \"a.pcap\"\nclass = \"scan\"\nignore = [\"10.0.0.5\"]\nspoofed = [\"10.0.0.6\", \"10.0.0.7\"]\n\
             scanners = [{ addr = \"10.0.0.1\", tier = \"must\" }, { addr = \"10.0.0.2\", tier = \"should\" },\n\
             { addr = \"10.0.0.3\", tier = \"low\" }, { addr = \"2001:db8::1\", tier = \"slow\" }]",
        )
        .expect("a label");
        let concealed = [
            ("10.0.0.1", 4),
            ("2001:db8::/64", 9),
            ("10.0.0.3", 100),
            ("10.0.0.5", 1),
            ("10.0.0.6", 1),
            ("10.0.0.9", 5),
        ];
        let sources = ["10.0.0.1", "10.0.0.5", "10.0.0.6", "10.0.0.8", "10.0.0.9"];
        let mut totals = Totals::default();
        let score = totals.judge(&label, &KeyRules::new(), &judged(&concealed, &["10.0.0.1", "10.0.0.7"], &sources));
        assert_eq!(score.detected, ["10.0.0.1", "10.0.0.3", "2001:db8::/64"]);
        assert_eq!(score.missed, ["10.0.0.2"]);
        assert_eq!(score.false_conceal, ["10.0.0.9"]);
        assert_eq!(score.false_block, ["10.0.0.7"]);
        assert_eq!(totals.must, Share { detected: 1, of: 1 });
        assert_eq!(totals.should, Share { detected: 0, of: 1 });
        assert_eq!(totals.slow, Share { detected: 1, of: 1 });
        assert_eq!(totals.benign_sources, 3);
        assert_eq!(totals.probes_to_detect, Probes { median: 9, p90: 9, max: 9 });
    }
}
