//! What an interface is, and what XDP program really runs on it.
//!
//! Asking to attach says little: the kernel falls back from native to generic without a word, and somebody may detach
//! the program later. So the truth is read back over netlink.

use std::fmt;

use futures_util::TryStreamExt as _;
use rtnetlink::LinkGetRequest;
use rtnetlink::packet_route::link::{
    InfoKind, LinkAttribute, LinkInfo, LinkLayerType, LinkMessage, LinkXdp, XdpAttached,
};

use super::error::KernelError;
use super::links;

/// How an XDP program runs on an interface.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum DriverMode {
    /// In the driver, before a socket buffer is made.
    Native,
    /// In the stack, on any interface.
    Generic,
    /// In the network card.
    Offloaded,
}

impl DriverMode {
    /// All modes.
    pub const ALL: [Self; 3] = [Self::Native, Self::Generic, Self::Offloaded];

    /// The name in JSON, metrics and logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Offloaded => "offloaded",
        }
    }
}

/// An interface as the kernel describes it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LinkFacts {
    /// Its index.
    pub index: u32,
    /// Whether it is one end of a veth pair.
    pub is_veth: bool,
    /// Its link-layer address, where it has one of Ethernet.
    pub mac: Option<[u8; 6]>,
    /// Whether VLAN interfaces are on top of it: a tag may then be taken off a frame before the program sees it.
    pub has_tagged: bool,
    /// The XDP program on it, its mode and id.
    pub xdp: Option<(DriverMode, u32)>,
}

/// Describes the interface of this name, or says that there is none.
///
/// # Errors
/// When netlink cannot be used, or there is no such interface.
pub async fn describe(interface: &str) -> Result<LinkFacts, KernelError> {
    describe_one(interface, |links| links.match_name(interface.to_owned())).await
}

/// The same of the interface with this index, whatever it is called by now.
///
/// # Errors
/// As there.
pub async fn describe_index(index: u32) -> Result<LinkFacts, KernelError> {
    describe_one(&index.to_string(), |links| links.match_index(index)).await
}

async fn describe_one(
    interface: &str,
    which: impl FnOnce(LinkGetRequest) -> LinkGetRequest,
) -> Result<LinkFacts, KernelError> {
    let (connection, handle, _) =
        rtnetlink::new_connection().map_err(|source| KernelError::Io { what: "open a netlink socket", source })?;
    let driver = tokio::spawn(connection);
    let answer = which(handle.link().get()).execute().try_next().await;
    let others: Vec<_> = handle.link().get().execute().try_collect().await.unwrap_or_default();
    driver.abort();
    let no_interface = || KernelError::NoInterface { interface: interface.to_owned() };
    let message = match answer {
        Ok(message) => message.ok_or_else(no_interface)?,
        Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -nix::libc::ENODEV => {
            return Err(no_interface());
        }
        Err(source) => return Err(KernelError::Netlink { what: format!("interface {interface}"), source }),
    };
    let mut facts = LinkFacts { index: message.header.index, is_veth: false, mac: None, has_tagged: false, xdp: None };
    let is_ethernet = message.header.link_layer_type == LinkLayerType::Ether;
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::LinkInfo(info) => {
                facts.is_veth = info.iter().any(|info| matches!(info, LinkInfo::Kind(InfoKind::Veth)));
            }
            LinkAttribute::Address(address) if is_ethernet => {
                facts.mac = address.try_into().ok().filter(|mac| *mac != [0; 6]);
            }
            LinkAttribute::Xdp(xdp) => facts.xdp = running(&xdp),
            _ => {}
        }
    }
    facts.has_tagged = others.iter().any(|other| is_vlan_on(other, facts.index));
    Ok(facts)
}

fn is_vlan_on(message: &LinkMessage, index: u32) -> bool {
    let is_vlan = |info: &LinkInfo| matches!(info, LinkInfo::Kind(InfoKind::Vlan));
    let (mut vlan, mut on) = (false, false);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::LinkInfo(info) => vlan |= info.iter().any(is_vlan),
            LinkAttribute::Link(lower) => on |= *lower == index,
            _ => {}
        }
    }
    vlan && on
}

/// The name of a loaded program, for a person who wonders whose it is. Reading it takes CAP_SYS_ADMIN, without which the
/// command that shows it stands in its place.
#[must_use]
pub fn program_name(id: u32) -> String {
    let mut programs = aya::programs::loaded_programs().peekable();
    if matches!(programs.peek(), Some(Err(_))) {
        return "of a name that takes CAP_SYS_ADMIN to read".to_owned();
    }
    let found = programs.filter_map(Result::ok).find(|program| program.id() == id);
    let name = found.and_then(|program| program.name_as_str().map(str::to_owned));
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "of no known name".to_owned())
}

/// The command that takes an XDP program away from an interface. A link holds it until the link is detached; what was
/// attached over netlink is taken away over netlink, in the mode in which it was attached.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Removal {
    /// The interface.
    pub interface: String,
    /// Where the program runs.
    pub mode: DriverMode,
    /// The program.
    pub program_id: u32,
    /// What holds it there.
    pub held: HeldBy,
}

/// What holds a program on an interface.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HeldBy {
    /// The link of this id.
    Link(u32),
    /// It was attached over netlink.
    Netlink,
    /// Links may not be listed without CAP_SYS_ADMIN.
    Unknown,
}

impl Removal {
    /// Looks what holds a program on an interface.
    #[must_use]
    pub fn of(interface: &str, index: u32, mode: DriverMode, program_id: u32) -> Self {
        let held = match links::holding(program_id, index) {
            Ok(Some(link)) => HeldBy::Link(link),
            Ok(None) => HeldBy::Netlink,
            Err(_) => HeldBy::Unknown,
        };
        Self { interface: interface.to_owned(), mode, program_id, held }
    }
}

impl fmt::Display for Removal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { interface, mode, program_id, held } = self;
        let flag = match mode {
            DriverMode::Native => "xdpdrv",
            DriverMode::Generic => "xdpgeneric",
            DriverMode::Offloaded => "xdpoffload",
        };
        let over_netlink = format!("`ip link set dev {interface} {flag} off`");
        match held {
            HeldBy::Link(id) => write!(formatter, "`bpftool link detach id {id}`"),
            HeldBy::Netlink => formatter.write_str(&over_netlink),
            HeldBy::Unknown => write!(
                formatter,
                "`bpftool link detach id N` where `bpftool link show` lists a link N of prog {program_id}, else \
                 {over_netlink}"
            ),
        }
    }
}

/// The program that decides on this interface. With one in the driver and one in the stack ("multi") it is the
/// driver's.
fn running(xdp: &[LinkXdp]) -> Option<(DriverMode, u32)> {
    let mode = xdp.iter().find_map(|nla| match nla {
        LinkXdp::Attached(XdpAttached::Driver | XdpAttached::Multiple) => Some(DriverMode::Native),
        LinkXdp::Attached(XdpAttached::SocketBuffer) => Some(DriverMode::Generic),
        LinkXdp::Attached(XdpAttached::Hardware) => Some(DriverMode::Offloaded),
        _ => None,
    })?;
    let program = xdp.iter().find_map(|nla| match (nla, mode) {
        (LinkXdp::DrvProgId(id), DriverMode::Native)
        | (LinkXdp::SkbProgId(id), DriverMode::Generic)
        | (LinkXdp::HwProgId(id), DriverMode::Offloaded) => Some(*id),
        _ => None,
    });
    let only = xdp.iter().find_map(|nla| if let LinkXdp::ProgId(id) = nla { Some(*id) } else { None });
    Some((mode, program.or(only).unwrap_or(0)))
}
