//! How many entries the large tables have, and which of them may have fewer on a small host.

/// Records of sources (SOURCES) where nothing else is said.
pub const SOURCES: u32 = 300_000;
/// Records of networks.
pub const PREFIXES: u32 = 65_536;
/// Suspects that are kept: [`crate::storm::BACKUP_LIMIT`] counts on it, so that forged ones wash nobody out.
pub const SUSPECTS: u32 = 65_536;
/// Suspects that are really at their addresses.
pub const PROVEN_SUSPECTS: u32 = 16_384;
/// Verdicts on sources.
pub const VERDICTS: u32 = 131_072;
/// Verdicts on prefixes. It takes memory for what is in it.
pub const PREFIX_VERDICTS: u32 = 65_536;
/// Sources that are known.
pub const KNOWN: u32 = 131_072;
/// The allowlist. It takes memory for what is in it.
pub const ALLOW: u32 = 131_072;
/// Flows of UDP that this host began or answered.
pub const UFLOWS: u32 = 131_072;
/// Destinations of datagrams that left.
pub const SENT: u32 = 65_536;
/// Ports that were seen open.
pub const OPENED: u32 = 65_536;
/// Contacts that wait for an answer.
pub const ASKED: u32 = 65_536;
/// Sessions per source.
pub const SESSIONS: u32 = 65_536;
/// Sessions that go on.
pub const LIVE: u32 = 65_536;
/// SYN-ACKs that left for sessions that are not there yet.
pub const SYN_ACKS: u32 = 65_536;

/// Tables of which a small host has a part: what is forgotten sooner there is evidence, and who is known. Not among them
/// is what forged packets are to wash nobody out of.
pub const SCALED: [(&str, u32); 10] = [
    ("PREFIXES", PREFIXES),
    ("VERDICTS", VERDICTS),
    ("KNOWN", KNOWN),
    ("UFLOWS", UFLOWS),
    ("SENT", SENT),
    ("OPENED", OPENED),
    ("ASKED", ASKED),
    ("SESSIONS", SESSIONS),
    ("LIVE", LIVE),
    ("SYN_ACKS", SYN_ACKS),
];
