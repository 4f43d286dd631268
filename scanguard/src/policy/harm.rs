//! Proof of harm, and who would be harmed: when a block may take public ports, and whom that would cost.
//!
//! Proof shows that somebody is really at an address and scans. To take public ports from everybody behind it takes more: a web page can
//! steer a customer's browser to closed ports, and it completes decoys with his real stack. But browsers refuse to connect to the ports of
//! the Fetch standard's list, so that whoever completes a decoy on one of them is no browser.

pub use scanguard_common::steer::is_beyond_browsers;

use super::Facts;

/// A session on a public port this long ago still makes a customer of its source, in days.
pub const CUSTOMER_DAYS: u64 = 30;
/// So many days of work, of the last 90, count as one more person: who comes so often is an office, or a household.
pub const DAYS_A_PERSON: u32 = 15;
/// People that a network is taken to have behind each of its addresses where the configuration says that they are shared
/// (`sources.shared`), or a feed: carriers put between 10 and 100 customers behind one (RFC 6888, section 3, asks for limits per customer for that reason).
pub const SHARED_PEOPLE: u32 = 16;
/// People that are taken to be behind an address where that could not be looked at: several, whatever the rest says.
pub const UNSEEN_PEOPLE: u32 = 2;

/// Whether decoys completed on these ports are proof of harm, if they are proof: the score is block-eligible, and no browser was at it.
#[must_use]
pub fn is_proven(facts: &Facts, ports: &[u16]) -> bool {
    facts.eligible && ports.iter().any(|port| is_beyond_browsers(*port))
}

/// How many people, beside whoever scans, a block of public ports would harm, by what is known of the source: a rough number, and rather too
/// high. A block of private ports harms none of them: those who work on restricted ports keep these.
#[must_use]
pub fn people(facts: &Facts) -> u32 {
    let customer = u32::from(facts.is_customer || facts.sessions > 0);
    let shared = if facts.shared { SHARED_PEOPLE } else { 0 };
    let more = (facts.days / DAYS_A_PERSON).saturating_add(further_stacks(facts));
    let unseen = if facts.unseen { UNSEEN_PEOPLE } else { 0 };
    (customer + shared + unseen).saturating_add(more)
}

/// Machines behind the address beside one, by their TCP stacks: each is taken for one more person's.
const fn further_stacks(facts: &Facts) -> u32 {
    facts.stacks.saturating_sub(1)
}

/// How that number came about, in words.
#[must_use]
pub fn arithmetic(facts: &Facts) -> String {
    let customer = u32::from(facts.is_customer || facts.sessions > 0);
    let mut terms =
        vec![format!("{customer} ({} sessions with data, {} of the last 90 days)", facts.sessions, facts.days)];
    if facts.days >= DAYS_A_PERSON {
        terms.push(format!("{} (one for each {DAYS_A_PERSON} days)", facts.days / DAYS_A_PERSON));
    }
    if facts.stacks > 1 {
        terms.push(format!("{} (its sessions show {} TCP stacks at one time)", further_stacks(facts), facts.stacks));
    }
    if facts.shared {
        terms.push(format!("{SHARED_PEOPLE} (many share its address, by `sources.shared` or a feed)"));
    }
    if facts.unseen {
        terms.push(format!("{UNSEEN_PEOPLE} (its sessions could not be looked at in time)"));
    }
    format!("A block from public ports would harm an estimated {} = {} people.", terms.join(" + "), people(facts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_customers_programs_ask_for_by_themselves_is_within_the_reach_of_browsers() {
        for port in [25, 80, 109, 110, 143, 443, 465, 587, 993, 995, 4190, 5060, 5061, 8080, 8443] {
            assert!(!is_beyond_browsers(port), "{port}");
        }
        for port in [1, 22, 23, 6000, 6666, 6667, 10080] {
            assert!(is_beyond_browsers(port), "{port}");
        }
    }

    #[test]
    fn a_score_or_ports_alone_prove_no_harm() {
        let eligible = Facts { eligible: true, ..Facts::default() };
        assert!(is_proven(&eligible, &[8081, 9000, 9001, 23]));
        assert!(!is_proven(&eligible, &[8081, 9000, 9001, 25]));
        assert!(!is_proven(&Facts::default(), &[22, 23, 111, 135]));
    }

    #[test]
    fn who_was_never_here_is_nobody_and_each_sign_of_people_counts() {
        assert_eq!(people(&Facts::default()), 0);
        assert_eq!(people(&Facts { sessions: 1, days: 1, ..Facts::default() }), 1);
        assert_eq!(people(&Facts { is_customer: true, sessions: 400, days: 60, shared: true, ..Facts::default() }), 21);
        let told = arithmetic(&Facts { sessions: 40, days: 30, shared: true, ..Facts::default() });
        assert!(told.ends_with("= 19 people."), "{told}");
        let stacks = |stacks| Facts { stacks, ..Facts::default() };
        assert_eq!([0, 1, 2, 5].map(|count| people(&stacks(count))), [0, 0, 1, 4], "one machine is the scanner's own");
        let told = arithmetic(&stacks(3));
        assert_eq!(people(&Facts { unseen: true, ..stacks(0) }), UNSEEN_PEOPLE);
        assert!(told.contains(" + 2 (its sessions show 3 TCP stacks at one time) = 2 people."), "{told}");
    }
}
