//! This host's name servers.

use std::fs;
use std::net::IpAddr;

/// resolv.conf(5), and the file in which systemd-resolved keeps those behind its own.
const FILES: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];

/// All of them that are on other hosts, each once.
#[must_use]
pub fn resolvers() -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = Vec::new();
    for file in FILES {
        for address in parse(&fs::read_to_string(file).unwrap_or_default()) {
            if !found.contains(&address) {
                found.push(address);
            }
        }
    }
    found
}

fn parse(text: &str) -> Vec<IpAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        let address = words.next().filter(|word| *word == "nameserver").and_then(|_| words.next())?;
        let address = address.split('%').next()?.parse::<IpAddr>().ok()?.to_canonical();
        // The unspecified address is this host as well.
        (!address.is_loopback() && !address.is_unspecified()).then_some(address)
    };
    text.lines().filter_map(server).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_elsewhere_are_found() {
        let text = "# nameserver 192.0.2.1\nsearch example.org\nnameserver 127.0.0.53\nnameserver 192.0.2.53\n\
                    nameserver fe80::53%eth0\nnameserver\nnameserver x\n\
                    nameserver 0.0.0.0\nnameserver ::ffff:127.0.0.53\noptions edns0\n";
        let found: Vec<String> = parse(text).iter().map(IpAddr::to_string).collect();
        assert_eq!(found, ["192.0.2.53", "fe80::53"]);
    }
}
