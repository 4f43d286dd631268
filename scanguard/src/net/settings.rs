//! Settings of this host's network, from `/proc/sys/net`.

use std::ops::RangeInclusive;
use std::path::Path;
use std::{fs, io};

const EPHEMERAL: &str = "/proc/sys/net/ipv4/ip_local_port_range";
const FORWARDING: [&str; 2] = ["/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"];

/// What the kernel takes if nobody says otherwise (Documentation/networking/ip-sysctl.rst, `ip_local_port_range`).
const USUAL_EPHEMERAL: (u16, u16) = (32_768, 60_999);

/// Settings of the network that say how far what is seen here can be trusted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NetSettings {
    /// The first and the last port that the kernel gives to sockets of clients. IPv6 and UDP use the same range.
    pub ephemeral: (u16, u16),
    /// Whether packets are forwarded, so that a port may be open without a socket here (DNAT, containers, routing).
    pub forwards: bool,
}

/// Why a setting is not known.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read {file}: {source}; is /proc mounted?")]
    Unreadable {
        /// The file.
        file: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The file says something unheard of.
    #[error("cannot make sense of {file}: it says {text:?}")]
    Strange {
        /// The file.
        file: &'static str,
        /// What is in it.
        text: String,
    },
}

impl NetSettings {
    /// What to go by when the settings cannot be read: the usual range, and the caution due to a host that forwards.
    pub const CAUTIOUS: Self = Self { ephemeral: USUAL_EPHEMERAL, forwards: true };

    /// The settings of this network namespace now.
    ///
    /// # Errors
    /// When `/proc` cannot be read or understood.
    pub fn read() -> Result<Self, SettingsError> {
        let mut forwards = false;
        for file in FORWARDING {
            // Without IPv6 there is no such file, and nothing forwarded.
            if Path::new(file).exists() {
                forwards |= forwarding(&read(file)?);
            }
        }
        let range = read(EPHEMERAL)?;
        let ephemeral = ephemeral(&range).ok_or(SettingsError::Strange { file: EPHEMERAL, text: range })?;
        Ok(Self { ephemeral, forwards })
    }

    /// The ports that the kernel gives to sockets of clients.
    #[must_use]
    pub const fn ephemeral_ports(&self) -> RangeInclusive<u16> {
        self.ephemeral.0..=self.ephemeral.1
    }
}

fn read(file: &'static str) -> Result<String, SettingsError> {
    let text = fs::read_to_string(file).map_err(|source| SettingsError::Unreadable { file, source })?;
    Ok(text.trim().to_owned())
}

/// 0 is off; IPv6 knows 2 beside 1.
fn forwarding(text: &str) -> bool {
    text != "0"
}

fn ephemeral(text: &str) -> Option<(u16, u16)> {
    let mut numbers = text.split_whitespace().map(|number| number.parse::<u16>().ok());
    let (first, last) = (numbers.next()??, numbers.next()??);
    (numbers.next().is_none() && first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_has_settings() {
        let settings = NetSettings::read().expect("/proc is mounted");
        assert!(settings.ephemeral.0 <= settings.ephemeral.1, "{settings:?}");
    }

    #[test]
    fn the_range_is_two_numbers() {
        assert_eq!(ephemeral("32768\t60999"), Some((32_768, 60_999)));
        for strange in ["", "1", "1 2 3", "2 1", "a b", "1 65536"] {
            assert_eq!(ephemeral(strange), None, "{strange:?}");
        }
    }

    #[test]
    fn anything_but_zero_forwards() {
        assert_eq!(["0", "1", "2"].map(forwarding), [false, true, true]);
    }
}
