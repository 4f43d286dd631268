//! What a network interface can do: its driver, its queues, and whether the driver runs XDP programs, as the kernel
//! tells without anything being attached.

use std::fs;
use std::io;

use netlink_sys::protocols::NETLINK_GENERIC;

use super::ask::{How, ask, attribute, find, number};

/// The family that names all others, and its question for one by name (`include/uapi/linux/genetlink.h`).
const CONTROL: u16 = 16;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
/// Bytes of a generic head (`struct genlmsghdr`).
const GENERIC_HEAD: usize = 4;

/// `netdev` (`include/uapi/linux/netdev.h`), since Linux 6.3 (d3d854fd6a1d).
const DEV_GET: u8 = 1;
const DEV_INDEX: u16 = 1;
const DEV_XDP_FEATURES: u16 = 3;
/// `NETDEV_XDP_ACT_BASIC`: it runs programs that pass, drop and answer. `NETDEV_XDP_ACT_RX_SG`: also over frames in
/// several buffers.
const BASIC: u32 = 1;
const SEVERAL_BUFFERS: u32 = 32;

/// `ethtool` (`include/uapi/linux/ethtool_netlink_generated.h`), since Linux 5.6.
const CHANNELS_GET: u8 = 17;
const CHANNELS_HEADER: u16 = 1;
const HEADER_DEV_INDEX: u16 = 1;
const CHANNELS_RX_COUNT: u16 = 6;
const CHANNELS_COMBINED_COUNT: u16 = 9;
/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;

/// Whether a driver runs XDP programs itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NativeXdp {
    /// It does.
    Yes,
    /// It does, but for frames of one buffer only: not with a large MTU.
    OneBuffer,
    /// It does not: programs run in the stack.
    No,
    /// The kernel does not tell (before Linux 6.3).
    Unknown,
}

impl NativeXdp {
    /// The word for it in JSON.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::OneBuffer => "one-buffer",
            Self::No => "no",
            Self::Unknown => "unknown",
        }
    }
}

/// What an interface can do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Nic {
    /// The name of its driver, where it has hardware or a hypervisor's.
    pub driver: Option<String>,
    /// Queues on which it receives now, where it tells.
    pub queues: Option<u32>,
    /// Whether its driver runs XDP programs.
    pub native: NativeXdp,
}

impl Nic {
    /// Asks the kernel about the interface of this name and index.
    #[must_use]
    pub fn of(interface: &str, index: u32) -> Self {
        let native = match xdp_features(index) {
            Ok(Some(features)) if features & BASIC == 0 => NativeXdp::No,
            Ok(Some(features)) if features & SEVERAL_BUFFERS == 0 => NativeXdp::OneBuffer,
            Ok(Some(_)) => NativeXdp::Yes,
            Ok(None) | Err(_) => NativeXdp::Unknown,
        };
        Self { driver: driver(interface, index), queues: queues(index).ok().flatten(), native }
    }
}

/// The driver of a device, by sysfs: of the interface that is meant, for sysfs may show another network namespace.
fn driver(interface: &str, index: u32) -> Option<String> {
    let folder = format!("/sys/class/net/{interface}");
    let told: u32 = fs::read_to_string(format!("{folder}/ifindex")).ok()?.trim().parse().ok()?;
    let target = fs::read_link(format!("{folder}/device/driver")).ok().filter(|_| told == index)?;
    Some(target.file_name()?.to_string_lossy().into_owned())
}

fn xdp_features(index: u32) -> io::Result<Option<u32>> {
    let answer = of_family("netdev", DEV_GET, &attribute(DEV_INDEX, &index.to_ne_bytes()))?;
    // A number of 64 bits, whose upper half nothing uses.
    let features = answer.as_deref().and_then(|answer| find(answer, DEV_XDP_FEATURES)).and_then(|value| {
        let value = u64::from_ne_bytes(*value.first_chunk()?);
        u32::try_from(value & u64::from(u32::MAX)).ok()
    });
    Ok(features)
}

fn queues(index: u32) -> io::Result<Option<u32>> {
    let header = attribute(CHANNELS_HEADER | NESTED, &attribute(HEADER_DEV_INDEX, &index.to_ne_bytes()));
    let answer = of_family("ethtool", CHANNELS_GET, &header)?;
    let count = |of: u16| answer.as_deref().and_then(|answer| find(answer, of)).and_then(number).unwrap_or(0);
    let queues = count(CHANNELS_RX_COUNT) + count(CHANNELS_COMBINED_COUNT);
    Ok((queues > 0).then_some(queues))
}

/// Asks a family of generic netlink one question; returns the attributes of the answer.
fn of_family(name: &str, command: u8, attributes: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let named = [name.as_bytes(), b"\0"].concat();
    let family = generic(CONTROL, GET_FAMILY, &attribute(FAMILY_NAME, &named))?;
    let family = family.as_deref().and_then(|answer| find(answer, FAMILY_ID)).and_then(<[u8]>::first_chunk);
    let Some(family) = family.map(|id| u16::from_ne_bytes(*id)) else { return Ok(None) };
    generic(family, command, attributes)
}

fn generic(family: u16, command: u8, attributes: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let body = [&[command, 1, 0, 0], attributes].concat();
    let answers = ask(NETLINK_GENERIC, family, How::One, &body)?;
    Ok(answers.into_iter().next().and_then(|answer| answer.get(GENERIC_HEAD..).map(<[u8]>::to_vec)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_has_no_driver_and_no_native_mode() {
        let lo = Nic::of("lo", 1);
        assert_eq!(lo.driver, None);
        assert!(matches!(lo.native, NativeXdp::No | NativeXdp::Unknown), "{lo:?}");
    }

    #[test]
    fn of_a_family_that_is_not_there_nothing_is_told() {
        assert!(of_family("nosuchfamily", 1, &[]).is_err());
        assert_eq!(Nic::of("nosuch0", 999_999).native, NativeXdp::Unknown);
    }
}
