//! Which ports a web page can make somebody else's browser connect to.

/// Whether a TCP port is on the list of bad ports of the Fetch standard (<https://fetch.spec.whatwg.org/#port-blocking>, of 2026), to which
/// browsers do not connect, and is none of mail or SIP, to which other programs of customers do: who completes a handshake there was neither steered
/// by a page nor is it what a mail program or a telephone does by itself.
#[inline(always)]
#[must_use]
pub const fn is_beyond_browsers(port: u16) -> bool {
    matches!(
        port,
        1 | 7
            | 9
            | 11
            | 13
            | 15
            | 17
            | 19..=23
            | 37
            | 42
            | 43
            | 53
            | 69
            | 77
            | 79
            | 87
            | 95
            | 101..=104
            | 111
            | 113
            | 115
            | 117
            | 119
            | 123
            | 135
            | 137
            | 139
            | 161
            | 179
            | 389
            | 427
            | 512..=515
            | 526
            | 530..=532
            | 540
            | 548
            | 554
            | 556
            | 563
            | 601
            | 636
            | 989
            | 990
            | 1719
            | 1720
            | 1723
            | 2049
            | 3659
            | 4045
            | 6000
            | 6566
            | 6665..=6669
            | 6679
            | 6697
            | 10_080
    )
}

#[cfg(test)]
mod tests {
    use super::is_beyond_browsers;

    #[test]
    fn what_customers_programs_connect_to_by_themselves_is_within_the_reach_of_browsers() {
        let web = [80, 443, 3000, 8000, 8080, 8443];
        let mail = [25, 109, 110, 143, 465, 587, 993, 995, 4190];
        let sip = [5060, 5061];
        for port in web.iter().chain(&mail).chain(&sip) {
            assert!(!is_beyond_browsers(*port), "{port}");
        }
        assert_eq!((0..=u16::MAX).filter(|port| is_beyond_browsers(*port)).count(), 71);
    }
}
