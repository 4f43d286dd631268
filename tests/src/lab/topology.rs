//! The hosts and the links between them.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::cgroup::Cgroup;
use super::netns::Netns;
use super::plan::{
    BEHIND, CUSTOMERS6, EDGE, EDGE6, HOPS, MOST_CUSTOMERS, SCANNER, SCANNER_NETWORK6, SCANNER6, TO_CUSTOMERS, TO_EDGE,
    TO_INSIDE, TO_SCANNER, UPLINK, WORLD, WORLD6, customer, customer6, edge_more,
};
use super::process::{Running, in_memory};
use super::tools::Tool;
use super::wait::wait_until;

const LIMIT: Duration = Duration::from_secs(10);

/// A small internet. Everything in it ends with this value, or with the process.
#[derive(Debug)]
pub struct Lab {
    /// The internet: forwards between the others, and forgets what is for nobody.
    pub router: Netns,
    /// The host that is protected.
    pub edge: Netns,
    /// Where scans come from.
    pub scanner: Netns,
    /// One host with the addresses of all customers, and of the rest of the world.
    pub customers: Netns,
    /// A host behind the edge, without a link until [`Self::put_inside`].
    pub inside: Netns,
    /// How many customers there are.
    pub customer_count: u8,
    /// The control group in which its services and programs are.
    _cgroup: Option<Cgroup>,
}

impl Lab {
    /// Makes the hosts and links, and waits until they are up.
    ///
    /// # Errors
    /// When a right or `ip` is missing, or a link does not come up.
    pub fn build(customer_count: u8) -> Result<Self> {
        ensure!(customer_count <= MOST_CUSTOMERS, "at most {MOST_CUSTOMERS} customers fit into their network");
        let lab = Self {
            router: Netns::new("router")?,
            edge: Netns::new("edge")?,
            scanner: Netns::new("scanner")?,
            customers: Netns::new("customers")?,
            inside: Netns::new("inside")?,
            customer_count,
            _cgroup: Cgroup::enter()?,
        };
        for host in lab.hosts() {
            host.sysctl(&[
                // Scanners forge sources; a router that checks would hide that from the edge.
                ("ipv4/conf/all/rp_filter", "0"),
                ("ipv4/conf/default/rp_filter", "0"),
                // Addresses are ours alone: usable at once, and not advertised to.
                ("ipv6/conf/all/accept_dad", "0"),
                ("ipv6/conf/default/accept_dad", "0"),
                ("ipv6/conf/default/accept_ra", "0"),
                ("ipv6/conf/default/router_solicitations", "0"),
                // A new namespace may inherit it from a machine with containers; the edge would then learn for a day.
                ("ipv4/ip_forward", "0"),
                ("ipv6/conf/all/forwarding", "0"),
            ])?;
        }
        lab.router.sysctl(&[("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")])?;
        for host in [&lab.scanner, &lab.customers] {
            // Whole networks are local to them (routes of type local); binding to IPv6 addresses of these needs this.
            host.sysctl(&[("ipv6/ip_nonlocal_bind", "1")])?;
        }
        lab.wire_up()?;
        for host in lab.hosts() {
            wait_until(&format!("the links of {}", host.name()), LIMIT, || is_up(host))?;
        }
        Ok(lab)
    }

    /// All hosts.
    #[must_use]
    pub fn hosts(&self) -> [&Netns; 4] {
        [&self.router, &self.edge, &self.scanner, &self.customers]
    }

    /// Gives the edge its further addresses.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn add_edge_addresses(&self) -> Result<()> {
        let lines: String = edge_more().map(|address| format!("addr add {address}/32 dev {UPLINK}\n")).collect();
        batch(&self.edge, &lines)
    }

    /// Puts a host with these addresses behind the edge, which has one in the same network and forwards from now on.
    ///
    /// # Errors
    /// When `ip` fails, or the link does not come up.
    pub fn put_inside(&self, edges: &str, addresses: impl IntoIterator<Item = String>) -> Result<()> {
        self.edge.sysctl(&[("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")])?;
        let inside = self.inside.path();
        let link = format!("link add {TO_INSIDE} type veth peer name {UPLINK} netns {}\n", inside.display());
        batch(&self.edge, &(link + &up(TO_INSIDE, [edges])))?;
        let gateway = edges.split('/').next().unwrap_or_default();
        let lines = format!("link set lo up\n{}route add default via {gateway}\n", up(UPLINK, addresses));
        batch(&self.inside, &lines)?;
        wait_until("the link of inside", LIMIT, || is_up(&self.inside))
    }

    /// Leads the network [`BEHIND`] to the edge.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn route_behind(&self) -> Result<()> {
        batch(&self.router, &format!("route add {BEHIND} via {EDGE}\n"))
    }

    /// The Ethernet address of the router's end of the scanner's link, for scanners that do not ask for it.
    ///
    /// # Errors
    /// When `ip` does not tell.
    pub fn scanner_gateway(&self) -> Result<String> {
        let shown = Tool::Ip.run(&self.router, ["-j", "link", "show", "dev", TO_SCANNER], LIMIT)?.success("ip")?;
        let links: Value = serde_json::from_str(&shown.stdout).context("cannot read the output of ip -j")?;
        Ok(links[0]["address"].as_str().context("the link has no address")?.to_owned())
    }

    fn wire_up(&self) -> Result<()> {
        let mut router = String::from("link set lo up\n");
        for (link, host) in [(TO_EDGE, &self.edge), (TO_SCANNER, &self.scanner), (TO_CUSTOMERS, &self.customers)] {
            let namespace = host.path();
            router += &format!("link add {link} type veth peer name {UPLINK} netns {}\n", namespace.display());
        }
        for (link, addresses) in [
            (TO_EDGE, ["192.0.2.1/24", "2001:db8:2::1/64"]),
            (TO_SCANNER, ["203.0.113.1/24", "2001:db8:66::1/64"]),
            (TO_CUSTOMERS, ["198.51.100.1/24", "2001:db8:100::1/64"]),
        ] {
            router += &up(link, addresses);
        }
        // Each customer has a /64; what answers to forged sources ends here, without an error towards the edge.
        router += &format!(
            "route add {CUSTOMERS6} via 2001:db8:100::2\nroute add {WORLD} via 198.51.100.2\n\
             route add {SCANNER_NETWORK6} via {SCANNER6}\nroute add blackhole default\nroute add blackhole ::/0\n"
        );
        batch(&self.router, &router)?;

        let default_routes = |v4: &str, v6: &str| format!("route add default via {v4}\nroute add default via {v6}\n");
        let lo = "link set lo up\n";
        let edge = up(UPLINK, [format!("{EDGE}/24"), format!("{EDGE6}/64")]);
        batch(&self.edge, &(lo.to_owned() + &edge + &default_routes("192.0.2.1", "2001:db8:2::1")))?;
        let scanner = up(UPLINK, [format!("{SCANNER}/24"), format!("{SCANNER6}/64")]);
        batch(
            &self.scanner,
            &(lo.to_owned() + &scanner + &default_routes("203.0.113.1", "2001:db8:66::1") + &own([HOPS])),
        )?;
        let gateway_side = ["198.51.100.2/24".to_owned(), "2001:db8:100::2/64".to_owned()];
        let addresses = (0..self.customer_count)
            .flat_map(|number| [format!("{}/24", customer(number)), format!("{}/128", customer6(number))]);
        let customers = up(UPLINK, gateway_side.into_iter().chain(addresses));
        let customers = customers + &default_routes("198.51.100.1", "2001:db8:100::1") + &own([WORLD, WORLD6]);
        batch(&self.customers, &(lo.to_owned() + &customers))
    }
}

/// Lines for `ip -batch` that bring a link up with addresses.
fn up(link: &str, addresses: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let mut lines = format!("link set {link} up\n");
    for address in addresses {
        let address = address.as_ref();
        let nodad = if address.contains(':') { " nodad" } else { "" };
        lines += &format!("addr add {address} dev {link}{nodad}\n");
    }
    lines
}

/// Lines for `ip -batch` that make all addresses of networks a host's own.
fn own<const N: usize>(networks: [&str; N]) -> String {
    networks.map(|network| format!("route add local {network} dev lo\n")).concat()
}

fn batch(host: &Netns, lines: &str) -> Result<()> {
    let mut command = Tool::Ip.command(host)?;
    command.args(["-batch", "-"]);
    let finished = Running::start_reading(command, in_memory("ip", lines)?)?.wait(LIMIT)?;
    finished.success("ip -batch").with_context(|| format!("cannot configure {} by\n{lines}", host.name()))?;
    Ok(())
}

/// Whether all links have a carrier and no address is tentative.
fn is_up(host: &Netns) -> Result<bool> {
    let shown = Tool::Ip.run(host, ["-j", "address", "show"], LIMIT)?.success("ip")?;
    let links: Vec<Value> = serde_json::from_str(&shown.stdout).context("cannot read the output of ip -j")?;
    Ok(links.iter().filter(|link| link["link_type"] == "ether").all(|link| {
        let addresses = link["addr_info"].as_array();
        link["operstate"] == "UP" && addresses.is_some_and(|all| all.iter().all(|one| one["tentative"] != true))
    }))
}
