//! The rules that keep an operator from locking himself or the host out: which blocks are refused.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use scanguard_common::source::KeyRules;

use crate::logins::{How, Login};
use crate::prefix::show;
use crate::prefix_map::Prefix;

/// What must be known of the host.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Its own addresses.
    pub own: Vec<IpAddr>,
    /// Prefixes all of whose addresses are its own, by route.
    pub own_prefixes: Vec<IpNetwork>,
    /// Next hops of its default routes.
    pub gateways: Vec<IpAddr>,
    /// Its name servers.
    pub resolvers: Vec<IpAddr>,
    /// Who is logged in from where, whoever asks among them.
    pub logins: Vec<Login>,
    /// The shortest IPv4 prefix that may be blocked.
    pub shortest_ipv4: u8,
    /// The shortest IPv6 prefix that may be blocked.
    pub shortest_ipv6: u8,
}

/// A rule.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Rule {
    /// Loopback, multicast and other addresses that are never judged.
    Special,
    /// An address of this host.
    Own,
    /// The next hop of a default route.
    Gateway,
    /// A name server.
    Resolver,
    /// Somebody is logged in from there.
    LoggedIn,
    /// The allowlist covers it.
    Allowlisted,
    /// A prefix that covers too many.
    TooShort,
}

impl Rule {
    /// The name in JSON.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Special => "special",
            Self::Own => "own",
            Self::Gateway => "gateway",
            Self::Resolver => "resolver",
            Self::LoggedIn => "logged_in",
            Self::Allowlisted => "allowlisted",
            Self::TooShort => "prefix_too_short",
        }
    }
}

/// A block that is refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refused {
    /// By which rule.
    pub rule: Rule,
    /// What would happen, and how to override it.
    pub message: String,
}

/// Whether a prefix may be blocked; `covered_by` is the entry of the allowlist that covers all of it, `force` overrides what a person may
/// override.
///
/// A prefix counts as the kernel part's table has it: IPv4 written as IPv6 is IPv4, and a prefix of IPv6 that begins before the mapped
/// addresses and ends behind them (`::/0` to `::/95`) holds all of IPv4.
///
/// # Errors
/// With the rule that forbids it.
pub fn check_block(
    prefix: &IpNetwork,
    force: bool,
    covered_by: Option<&IpNetwork>,
    facts: &Facts,
) -> Result<(), Refused> {
    let block = Prefix::from(*prefix);
    let network = IpNetwork::from(block);
    let name = show(&network);
    let refuse = |rule, message: String| Err(Refused { rule, message });
    if is_special(&block) {
        let message = format!(
            "{name} is not blocked: such addresses (loopback, multicast, broadcast, unspecified) are never judged, so a block \
             would do nothing"
        );
        return refuse(Rule::Special, message);
    }
    if let Some(entry) = covered_by {
        let entry = show(entry);
        let message = format!(
            "{name} is not blocked: the allowlist covers it by {entry}, and what is on it is never acted on. `scanguard allow \
             remove {entry}` takes it off"
        );
        return refuse(Rule::Allowlisted, message);
    }
    let holds = |address: IpAddr| block.covers(&IpNetwork::from(address).into());
    let inside = |addresses: &[IpAddr]| addresses.iter().copied().find(|address| holds(*address));
    if let Some(own) = inside(&facts.own) {
        if block.bits == WHOLE {
            let message =
                format!("{name} is not blocked: it is an address of this host, and those are never judged as senders");
            return refuse(Rule::Own, message);
        }
        if !force {
            let message = format!(
                "{name} is not blocked: this host's own address {own} lies in it, and so its whole neighbourhood. --force blocks \
                 it all the same"
            );
            return refuse(Rule::Own, message);
        }
    }
    if let Some(local) = facts.own_prefixes.iter().find(|local| Prefix::from(**local).covers(&block)) {
        let message = format!(
            "{name} is not blocked: all of {} is local to this host by route, and its own addresses are never judged as senders",
            show(local)
        );
        return refuse(Rule::Own, message);
    }
    if force {
        return Ok(());
    }
    if let Some(local) = facts.own_prefixes.iter().find(|local| block.covers(&Prefix::from(**local))) {
        let message = format!(
            "{name} is not blocked: {} in it is local to this host by route, and so its whole neighbourhood. --force blocks it all the same",
            show(local)
        );
        return refuse(Rule::Own, message);
    }
    if let Some(login) = facts.logins.iter().find(|login| holds(login.address)) {
        let who = login.user.as_deref().unwrap_or("somebody");
        let message = format!(
            "{name} is not blocked: {who} is logged in from {}, and new connections from there would no longer get in. --force \
             blocks it all the same; `scanguard allow add {}` makes sure it never happens",
            login.address, login.address
        );
        return refuse(Rule::LoggedIn, message);
    }
    if let Some(gateway) = inside(&facts.gateways) {
        let message = format!(
            "{name} is not blocked: {gateway} in it is a gateway of this host, and it might lose the network. --force blocks it \
             all the same"
        );
        return refuse(Rule::Gateway, message);
    }
    if let Some(resolver) = inside(&facts.resolvers) {
        let message = format!(
            "{name} is not blocked: {resolver} in it is a name server of this host. --force blocks it all the same"
        );
        return refuse(Rule::Resolver, message);
    }
    if network.is_ipv6() && block.covers(&ipv4()) && facts.shortest_ipv4 > 0 {
        let message = format!(
            "{name} is not blocked: the addresses of IPv4 lie in it as ::ffff:0:0/96, so it would block all of IPv4. --force blocks \
             it all the same"
        );
        return refuse(Rule::TooShort, message);
    }
    let shortest = if network.is_ipv4() { facts.shortest_ipv4 } else { facts.shortest_ipv6 };
    if network.prefix() < shortest {
        let key = if network.is_ipv4() { "shortest_ipv4" } else { "shortest_ipv6" };
        let message = format!(
            "{name} is not blocked: a prefix shorter than /{shortest} covers too many customers. Block parts of it, or use \
             --force; `{key}` in [safety] sets the limit"
        );
        return refuse(Rule::TooShort, message);
    }
    Ok(())
}

/// Whether a lockdown may begin: everybody who is logged in must still get in, whoever asks among them.
///
/// # Errors
/// With the rule that forbids it.
pub fn check_lockdown(logins: &[Login], is_admitted: impl Fn(IpAddr) -> bool) -> Result<(), Refused> {
    let Some(login) = logins.iter().find(|login| !is_admitted(login.address)) else {
        return Ok(());
    };
    let Login { address, user, how } = login;
    let who = match (user, how) {
        (_, How::Environment) => "you are".to_owned(),
        (Some(user), _) => format!("{user} is"),
        (None, _) => "somebody is".to_owned(),
    };
    let message = format!(
        "no lockdown begins: {who} logged in from {address}, and new connections from there would no longer get in. `scanguard allow \
         add {address} --for 1d` makes sure that they do; --force begins it all the same"
    );
    Err(Refused { rule: Rule::LoggedIn, message })
}

/// The shortest IPv4 prefix that goes on the allowlist without force: the largest block that was ever given to one holder.
const SHORTEST_ALLOWED_IPV4: u8 = 8;
/// The shortest IPv6 prefix, likewise: no provider has a shorter one, and a /16 is an eighth of what is given out (2000::/3) at most.
const SHORTEST_ALLOWED_IPV6: u8 = 16;

/// Whether a prefix may go on the allowlist without `force`: not where it covers so much that scanguard is as good as switched off.
///
/// # Errors
/// With the rule that forbids it.
pub fn check_allow(prefix: &IpNetwork, force: bool) -> Result<(), Refused> {
    let allowed = Prefix::from(*prefix);
    let network = IpNetwork::from(allowed);
    let shortest = if network.is_ipv4() { SHORTEST_ALLOWED_IPV4 } else { SHORTEST_ALLOWED_IPV6 };
    let holds_ipv4 = network.is_ipv6() && allowed.covers(&ipv4());
    if force || !(holds_ipv4 || network.prefix() < shortest) {
        return Ok(());
    }
    let covers = if holds_ipv4 { "all of IPv4".to_owned() } else { format!("more than any /{shortest}") };
    let name = show(&network);
    let message = format!(
        "{name} is not added: it covers {covers}, and nothing on the allowlist is ever judged, so that scanguard would be as good as \
         switched off. Add the networks that you mean; to drop nothing, `scanguard mode observe`; --force adds it all the same"
    );
    Err(Refused { rule: Rule::TooShort, message })
}

/// Bits of an address as tables have it.
const WHOLE: u8 = 128;

/// All of IPv4.
fn ipv4() -> Prefix {
    prefix_of("0.0.0.0/0")
}

fn prefix_of(text: &str) -> Prefix {
    text.parse::<IpNetwork>().expect("a prefix of ours").into()
}

/// Whether no address of a prefix is ever judged.
fn is_special(block: &Prefix) -> bool {
    KeyRules::new().judges_none_of(&block.address(), block.bits)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn facts() -> Facts {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        let login = |address: &str| Login { address: ip(address), user: Some("ann".into()), how: How::Ssh };
        Facts {
            own: vec![ip("192.0.2.10"), ip("2001:db8:2::10"), ip("127.0.0.1"), ip("::1")],
            own_prefixes: ["198.51.101.0/24", "2001:db8:101::/64"].map(|text| text.parse().expect("a prefix")).to_vec(),
            gateways: vec![ip("192.0.2.1"), ip("fe80::1")],
            resolvers: vec![ip("198.51.100.53"), ip("2001:db8:53::53")],
            logins: vec![login("203.0.113.7"), login("2001:db8:7::7")],
            shortest_ipv4: 16,
            shortest_ipv6: 32,
        }
    }

    fn check(prefix: &str, force: bool, covered_by: Option<&str>) -> Result<(), Rule> {
        let network = |text: &str| text.parse::<IpNetwork>().expect("a prefix");
        let covered_by = covered_by.map(network);
        check_block(&network(prefix), force, covered_by.as_ref(), &facts()).map_err(|refused| {
            let way_out = refused.message.contains("--force") || refused.message.contains("allow remove");
            let none = matches!(refused.rule, Rule::Special) || (refused.rule == Rule::Own && !way_out);
            assert!(way_out || none, "{}", refused.message);
            refused.rule
        })
    }

    #[test]
    fn each_way_to_lock_oneself_out_is_refused_and_those_of_a_persons_choice_can_be_forced() {
        for (prefix, rule, can_be_forced) in [
            ("127.0.0.1", Rule::Special, false),
            ("127.0.0.0/8", Rule::Special, false),
            ("::1", Rule::Special, false),
            ("224.0.0.5", Rule::Special, false),
            ("ff02::1", Rule::Special, false),
            ("255.255.255.255", Rule::Special, false),
            ("0.0.0.0", Rule::Special, false),
            ("192.0.2.10", Rule::Own, false),
            ("2001:db8:2::10", Rule::Own, false),
            ("192.0.2.0/24", Rule::Own, true),
            // Local by route.
            ("198.51.101.9", Rule::Own, false),
            ("198.51.101.0/24", Rule::Own, false),
            ("198.51.100.0/23", Rule::Own, true),
            ("2001:db8:101::/72", Rule::Own, false),
            ("0.0.0.0/0", Rule::Own, true),
            ("192.0.2.1", Rule::Gateway, true),
            ("fe80::1", Rule::Gateway, true),
            ("198.51.100.53", Rule::Resolver, true),
            ("2001:db8:53::/64", Rule::Resolver, true),
            ("203.0.113.7", Rule::LoggedIn, true),
            ("203.0.113.0/24", Rule::LoggedIn, true),
            ("2001:db8:7::/64", Rule::LoggedIn, true),
            ("10.0.0.0/15", Rule::TooShort, true),
            ("2a00::/31", Rule::TooShort, true),
            // IPv4 in the clothes of IPv6.
            ("::ffff:127.0.0.1", Rule::Special, false),
            ("::ffff:192.0.2.10", Rule::Own, false),
            ("::ffff:192.0.2.1", Rule::Gateway, true),
            ("::ffff:203.0.113.0/120", Rule::LoggedIn, true),
            ("::ffff:10.0.0.0/111", Rule::TooShort, true),
            ("::ffff:0:0/96", Rule::Own, true),
            // It begins like IPv4, and holds all of it.
            ("::/64", Rule::Own, true),
            ("::fffe:0:0/95", Rule::Own, true),
        ] {
            assert_eq!(check(prefix, false, None), Err(rule), "{prefix}");
            assert_eq!(check(prefix, true, None), if can_be_forced { Ok(()) } else { Err(rule) }, "{prefix} by force");
        }
        for force in [false, true] {
            assert_eq!(check("198.18.0.9", force, Some("198.18.0.0/15")), Err(Rule::Allowlisted));
        }
    }

    #[test]
    fn a_lockdown_that_shuts_out_who_is_logged_in_is_refused_and_says_whom() {
        let you = Login { how: How::Environment, ..facts().logins[1].clone() };
        let logins = [facts().logins[0].clone(), you];
        assert_eq!(check_lockdown(&logins, |_| true), Ok(()));
        assert_eq!(check_lockdown(&[], |_| false), Ok(()), "at the console nobody is shut out");
        for (out, says) in [(0, "ann is logged in from 203.0.113.7"), (1, "you are logged in from 2001:db8:7::7")] {
            let refused = check_lockdown(&logins, |address| address != logins[out].address).expect_err("a rule");
            assert_eq!(refused.rule, Rule::LoggedIn);
            assert!(refused.message.contains(says) && refused.message.contains("--force"), "{}", refused.message);
        }
    }

    #[test]
    fn an_allowance_that_switches_scanguard_off_takes_force() {
        for (prefix, is_refused) in [
            ("0.0.0.0/0", true),
            ("128.0.0.0/1", true),
            ("10.0.0.0/7", true),
            ("10.0.0.0/8", false),
            ("203.0.113.7", false),
            ("::/0", true),
            ("2000::/3", true),
            ("2001::/16", false),
            ("2001:db8::/32", false),
            // IPv4 in the clothes of IPv6.
            ("::ffff:0:0/96", true),
            ("::/64", true),
            ("::ffff:10.0.0.0/104", false),
        ] {
            let network: IpNetwork = prefix.parse().expect("a prefix");
            let refused = check_allow(&network, false);
            assert_eq!(refused.is_err(), is_refused, "{prefix}: {refused:?}");
            assert!(refused.err().is_none_or(|refused| refused.message.contains("--force")), "{prefix}");
            assert_eq!(check_allow(&network, true), Ok(()), "{prefix}");
        }
    }

    #[test]
    fn ordinary_blocks_are_accepted() {
        for prefix in [
            "198.18.0.9",
            "198.18.0.0/16",
            "10.1.0.0/16",
            "2a00:1:2:3::/64",
            "2a00::/32",
            "fe80::2",
            // Linux takes packets of these, and they are judged.
            "0.176.0.0/16",
            "0.1.2.3",
            "::9.176.0.0/108",
            "::2",
        ] {
            assert_eq!(check(prefix, false, None), Ok(()), "{prefix}");
        }
    }

    #[test]
    fn a_prefix_of_ipv6_that_holds_all_of_ipv4_is_refused_on_any_host() {
        // A host without IPv6 has no ::1 that would tell.
        let nothing = Facts { shortest_ipv4: 16, shortest_ipv6: 32, ..Facts::default() };
        let gateway = Facts { gateways: vec![IpAddr::from([192, 0, 2, 1])], ..nothing.clone() };
        for prefix in ["::/32", "::/64", "::fffe:0:0/95"] {
            let prefix: IpNetwork = prefix.parse().expect("a prefix");
            let rule = |facts: &Facts| check_block(&prefix, false, None, facts).map_err(|refused| refused.rule);
            assert_eq!(rule(&nothing), Err(Rule::TooShort), "{prefix}");
            assert_eq!(rule(&gateway), Err(Rule::Gateway), "{prefix}");
            assert_eq!(check_block(&prefix, true, None, &gateway), Ok(()), "{prefix} by force");
        }
    }

    /// Any prefix, as often one around an address that must not be blocked as one from anywhere, of any length.
    fn prefixes() -> impl Strategy<Value = IpNetwork> {
        let known = proptest::sample::select(protected(&facts()));
        let anywhere4 = any::<u32>().prop_map(|address| IpAddr::V4(address.into()));
        let anywhere6 = any::<u128>().prop_map(|address| IpAddr::V6(address.into()));
        let mapped = known.clone().prop_map(|address| match address {
            IpAddr::V4(address) => IpAddr::V6(address.to_ipv6_mapped()),
            IpAddr::V6(_) => address,
        });
        // Bits flipped after an address' beginning: its neighbourhood.
        let near = (known.clone(), any::<u16>()).prop_map(|(address, flipped)| match address {
            IpAddr::V4(address) => IpAddr::V4((u32::from(address) ^ u32::from(flipped)).into()),
            IpAddr::V6(address) => IpAddr::V6((u128::from(address) ^ u128::from(flipped)).into()),
        });
        (prop_oneof![known, near, mapped, anywhere4, anywhere6], any::<u8>()).prop_map(|(address, bits)| {
            let most = if address.is_ipv4() { 32 } else { 128 };
            IpNetwork::new(address, bits % (most + 1)).expect("a prefix")
        })
    }

    fn protected(facts: &Facts) -> Vec<IpAddr> {
        let logins = facts.logins.iter().map(|login| login.address);
        facts.own.iter().chain(&facts.gateways).chain(&facts.resolvers).copied().chain(logins).collect()
    }

    proptest! {
        #[test]
        fn what_is_not_refused_holds_nobody_who_must_not_be_blocked(network in prefixes()) {
            let facts = facts();
            // As the kernel part looks for it: IPv4 mapped, bits after the prefix' end of no account.
            let number = |address: IpAddr| match address {
                IpAddr::V4(address) => u128::from(address.to_ipv6_mapped()),
                IpAddr::V6(address) => u128::from(address),
            };
            let bits = u32::from(network.prefix()) + if network.is_ipv4() { 96 } else { 0 };
            let holds = |address| (number(network.ip()) ^ number(address)).checked_shr(128 - bits).unwrap_or(0) == 0;
            if check_block(&network, false, None, &facts).is_ok() {
                for address in protected(&facts) {
                    prop_assert!(!holds(address), "{address} in {network}");
                }
            }
            let refused = check_block(&network, true, None, &facts).is_err();
            let held = |addresses: &[IpAddr]| addresses.iter().copied().any(holds);
            prop_assert!(!refused || held(&facts.own) || is_special(&network.into()), "{network} cannot be forced");
        }
    }
}
