//! Lists as others publish them, whole: each entry is read, names its own addresses, and none beside them.
//!
//! `SCANGUARD_DATA` names a folder that has them below `feeds` (MISP's warninglists, in JSON). Where it does not, the
//! project's own sample serves.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ipnetwork::IpNetwork;
use scanguard::config::{AutoLevel, Feed, FeedLevel};
use scanguard::feeds::{Feeds, Listed};
use scanguard::prefix_map::Prefix;
use serde_json::Value;

/// The lists to read: those of others, or the project's own where there are none.
fn lists() -> Vec<PathBuf> {
    let below = |folder: &Path| {
        let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut lists: Vec<PathBuf> =
            files.filter(|file| file.extension().is_some_and(|name| name == "json")).collect();
        lists.sort();
        lists
    };
    let others = env::var_os("SCANGUARD_DATA").map(|folder| below(&Path::new(&folder).join("feeds")));
    others.filter(|lists| !lists.is_empty()).unwrap_or_else(|| {
        println!("SCANGUARD_DATA names no folder with lists below feeds: the project's own sample serves");
        below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/feeds"))
    })
}

/// The entries of a list in JSON.
fn entries(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).expect("a list");
    let json: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let list = json["list"].as_array().unwrap_or_else(|| panic!("{} has no list", file.display()));
    list.iter().map(|entry| entry.as_str().expect("text").to_owned()).collect()
}

/// First and last address of an entry, as numbers, and whether it is IPv6. Read here without the code that is tested.
fn range(entry: &str) -> (bool, u128, u128) {
    let (address, bits) = entry.split_once('/').map_or((entry, None), |(address, bits)| (address, Some(bits)));
    let (is_v6, first, width) = match address.parse::<IpAddr>().unwrap_or_else(|_| panic!("{entry:?} is no prefix")) {
        IpAddr::V4(address) => (false, u32::from(address).into(), 32),
        IpAddr::V6(address) => (true, u128::from(address), 128_u32),
    };
    let bits = bits.map_or(width, |bits| bits.parse().unwrap_or_else(|_| panic!("{entry:?} is no prefix")));
    (is_v6, first, first + ((1_u128 << (width - bits)) - 1))
}

fn address(is_v6: bool, number: u128) -> Prefix {
    let address = if is_v6 { IpAddr::from(Ipv6Addr::from(number)) } else { Ipv4Addr::from(number as u32).into() };
    IpNetwork::from(address).into()
}

/// Writes the entries as a feed has them, one a line, and reads them.
fn read(name: &str, entries: &[String], folder: &Path) -> Feeds {
    let file = folder.join(name);
    fs::write(&file, format!("# {name}\n{}\n", entries.join("\n"))).expect("a file");
    let feed = Feed { name: name.to_owned(), file, level: FeedLevel::UpTo(AutoLevel::BlockPrivate) };
    Feeds::read(&[feed], SystemTime::now()).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn published_lists_are_read_whole_and_name_their_own_addresses_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let lists = lists();
    assert!(!lists.is_empty(), "there is no list");
    for list in lists {
        let name = list.file_stem().and_then(|name| name.to_str()).expect("a name");
        let entries = entries(&list);
        let ranges: BTreeSet<(bool, u128, u128)> = entries.iter().map(|entry| range(entry)).collect();
        let feeds = read(name, &entries, folder.path());
        let listed: &Listed = feeds.iter().next().expect("the feed");
        assert_eq!(listed.len(), ranges.len(), "{name}: each entry once");
        assert!(!listed.is_empty(), "{name} lists nobody");
        // Prefixes overlap only where one is within the other: what reaches further than all before it counts.
        let mut reached: BTreeMap<(bool, u128), u128> = BTreeMap::new();
        for (is_v6, first, last) in ranges.iter().copied() {
            let before = reached.last_key_value().filter(|((before, _), end)| *before == is_v6 && **end >= last);
            if before.is_none() {
                reached.insert((is_v6, first), last);
            }
        }
        let is_listed = |is_v6: bool, number: u128| {
            reached.range((is_v6, 0)..=(is_v6, number)).next_back().is_some_and(|(_, last)| number <= *last)
        };
        // At both ends of each entry and just beyond them: the last that are listed, and those next to them.
        let most = |is_v6: bool| if is_v6 { u128::MAX } else { u32::MAX.into() };
        for (is_v6, first, last) in ranges.iter().copied() {
            let beyond = [first.checked_sub(1), last.checked_add(1).filter(|next| *next <= most(is_v6))];
            for number in [first, last].into_iter().chain(beyond.into_iter().flatten()) {
                let (source, expected) = (address(is_v6, number), is_listed(is_v6, number));
                let level = feeds.level(source);
                assert_eq!(level.is_some(), expected, "{name}: {number:x} beside {first:x} to {last:x}");
                assert!(level.is_none_or(|level| level == AutoLevel::BlockPrivate), "{name}: {level:?}");
            }
        }
    }
}
