//! A pinned map in the hands of the real bpftool: what anybody who is root can do to it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use scanguard_common::layout::LAYOUT;
use serde_json::Value;

use super::netns::Netns;
use super::tools::Tool;

const LIMIT: Duration = Duration::from_secs(30);

/// Keys and values as the kernel has them.
pub type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// A map that a daemon with `--keep` pinned.
#[derive(Clone, Debug)]
pub struct Pinned {
    edge: Netns,
    path: String,
}

impl Pinned {
    /// The map of this name.
    #[must_use]
    pub fn named(edge: &Netns, name: &str) -> Self {
        Self { edge: edge.clone(), path: format!("/sys/fs/bpf/scanguard/v{LAYOUT}/maps/{name}") }
    }

    fn tool(&self, verb: &str, arguments: &[String]) -> Result<String> {
        let words = ["-j", "map", verb, "pinned", &self.path].map(str::to_owned);
        let done = Tool::Bpftool.run(&self.edge, words.iter().chain(arguments), LIMIT)?;
        Ok(done.success("bpftool")?.stdout)
    }

    /// All that it holds.
    ///
    /// # Errors
    /// When it is not there, or cannot be read.
    pub fn entries(&self) -> Result<Entries> {
        let dump: Vec<Value> = serde_json::from_str(&self.tool("dump", &[])?).context("cannot read bpftool's JSON")?;
        dump.iter().map(|entry| Ok((bytes(&entry["key"])?, bytes(&entry["value"])?))).collect()
    }

    /// Sets an entry.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn update(&self, key: &[u8], value: &[u8]) -> Result<()> {
        let words = |name: &str, bytes: &[u8]| [vec![name.to_owned(), "hex".to_owned()], hex(bytes)].concat();
        self.tool("update", &[words("key", key), words("value", value)].concat()).map(drop)
    }

    /// Deletes an entry.
    ///
    /// # Errors
    /// When it cannot be written, or there is none.
    pub fn delete(&self, key: &[u8]) -> Result<()> {
        self.tool("delete", &[vec!["key".to_owned(), "hex".to_owned()], hex(key)].concat()).map(drop)
    }
}

fn hex(bytes: &[u8]) -> Vec<String> {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(value: &Value) -> Result<Vec<u8>> {
    let bytes = value.as_array().context("bpftool shows no bytes")?.iter().filter_map(Value::as_str);
    bytes.map(|byte| Ok(u8::from_str_radix(byte.trim_start_matches("0x"), 16)?)).collect()
}
