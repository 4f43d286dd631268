//! Which tables of packet filters there are: whoever made them works beside this program.

use std::fs;
use std::io;

use netlink_sys::protocols::NETLINK_NETFILTER;

use super::ask::{How, ask, find, text};

/// The subsystem of nf_tables, and its question for tables (`include/uapi/linux/netfilter/nf_tables.h`).
const NFTABLES: u16 = 10;
const GET_TABLE: u16 = 1;
const TABLE_NAME: u16 = 1;
/// Bytes of a message's own head (`struct nfgenmsg`); all families are asked for.
const NETFILTER_HEAD: usize = 4;
/// Names of families (`NFPROTO_*`).
const FAMILIES: [(u8, &str); 6] = [(1, "inet"), (2, "ip"), (3, "arp"), (5, "netdev"), (7, "bridge"), (10, "ip6")];

/// A table of nf_tables, such as `inet filter`.
pub type TableName = (String, String);

/// The tables of nf_tables in this network namespace, family and name of each; those of `iptables-nft` are among them.
///
/// # Errors
/// When the kernel has no nf_tables, or refuses (CAP_NET_ADMIN).
pub fn nft_tables() -> io::Result<Vec<TableName>> {
    let answers = ask(NETLINK_NETFILTER, NFTABLES << 8 | GET_TABLE, How::List, &[0; NETFILTER_HEAD])?;
    let table = |answer: Vec<u8>| {
        let (head, attributes) = answer.split_first_chunk::<NETFILTER_HEAD>()?;
        let family = FAMILIES.iter().find(|(number, _)| *number == head[0]).map_or("other", |(_, name)| name);
        Some((family.to_owned(), text(find(attributes, TABLE_NAME)?)))
    };
    Ok(answers.into_iter().filter_map(table).collect())
}

/// The tables that the older `iptables` made (`iptables-legacy`).
#[must_use]
pub fn legacy_tables() -> Vec<String> {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let names = ["/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"].map(read).concat();
    let mut names: Vec<String> = names.lines().map(str::to_owned).collect();
    names.sort();
    names.dedup();
    names
}
