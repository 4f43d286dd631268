//! The metrics listener: `/metrics`, `/healthz`, and a page that links to them.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::get;
use prometheus::{Registry, TEXT_FORMAT, TextEncoder};
use tracing::warn;

use super::families::Families;
use super::sample::Sample;

/// Who has the numbers: the daemon, or a test.
pub trait Sampler: Send + Sync + 'static {
    /// The numbers now.
    fn sample(&self) -> impl Future<Output = Result<Sample>> + Send;
    /// What keeps it from doing its work: nothing, or a sentence.
    fn ailment(&self) -> impl Future<Output = Option<String>> + Send;
}

struct Scraped<S> {
    sampler: Arc<S>,
    errors: Arc<AtomicU64>,
}

impl<S> Clone for Scraped<S> {
    fn clone(&self) -> Self {
        Self { sampler: Arc::clone(&self.sampler), errors: Arc::clone(&self.errors) }
    }
}

/// The routes, with the numbers of `sampler`.
pub fn router<S: Sampler>(sampler: Arc<S>) -> Router {
    Router::new()
        .route("/metrics", get(metrics::<S>))
        .route("/healthz", get(health::<S>))
        .route("/", get(async || Html(PAGE)))
        .with_state(Scraped { sampler, errors: Arc::default() })
        .layer(from_fn(ask_by_name))
}

/// Refuses who asks for another host: a page that somebody visits can have its own name lead to this address (DNS rebinding), and would read
/// through his browser what it could not reach itself.
async fn ask_by_name(request: Request, next: Next) -> Response {
    let mut named = request.headers().get_all(header::HOST).iter();
    let host = named.next().and_then(|host| host.to_str().ok());
    if named.next().is_none() && host.is_some_and(|host| is_ours(host, &own_name())) {
        return next.run(request).await;
    }
    let hint = "this is not the host that the request names: ask by address, as localhost, or by this host's name\n";
    (StatusCode::MISDIRECTED_REQUEST, hint).into_response()
}

/// The name that the administrator gave this host; empty if it has none.
fn own_name() -> String {
    nix::sys::utsname::uname().map_or_else(|_| String::new(), |name| name.nodename().to_string_lossy().into_owned())
}

/// Whether a `Host` header (RFC 9110, section 7.2) names this host by what no other can be called: an address, `localhost`, or its own name,
/// whole or without its domain.
fn is_ours(host: &str, own: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => {
            let Some((address, port)) = rest.split_once(']') else { return false };
            let is_port = port.strip_prefix(':').map_or(port.is_empty(), is_port);
            return is_port && address.parse::<Ipv6Addr>().is_ok();
        }
        None => match host.rsplit_once(':') {
            Some((name, port)) if is_port(port) => name,
            Some(_) => return false,
            None => host,
        },
    };
    let is = |known: &str| !known.is_empty() && name.eq_ignore_ascii_case(known);
    name.parse::<Ipv4Addr>().is_ok()
        || is("localhost")
        || is(own)
        || own.split_once('.').is_some_and(|(first, _)| is(first))
}

/// Whether what follows a colon is a port. (An empty one is allowed.)
fn is_port(text: &str) -> bool {
    text.is_empty() || (text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok())
}

const PAGE: &str = "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>scanguard</title>\n\
    <h1>scanguard</h1>\n<ul>\n<li><a href=\"/metrics\">/metrics</a>: counters, for Prometheus\n\
    <li><a href=\"/healthz\">/healthz</a>: 200 while it does its work, else 503 and why\n</ul>\n\
    <p>On the host itself, <code>scanguard status</code> and <code>scanguard sources list</code> tell more.</html>\n";

async fn metrics<S: Sampler>(State(scraped): State<Scraped<S>>) -> Response {
    let sample = scraped.sampler.sample().await.map_err(|error| {
        warn!(error = format!("{error:#}"), "cannot read the counters for a scrape");
        scraped.errors.fetch_add(1, Ordering::Relaxed);
    });
    let families = Families { sample: sample.ok(), scrape_errors: scraped.errors.load(Ordering::Relaxed) };
    match exposition(families) {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// The text that Prometheus reads.
fn exposition(families: Families) -> prometheus::Result<String> {
    let registry = Registry::new();
    registry.register(Box::new(families))?;
    TextEncoder::new().encode_to_string(&registry.gather())
}

async fn health<S: Sampler>(State(scraped): State<Scraped<S>>) -> Response {
    match scraped.sampler.ailment().await {
        None => "ok\n".into_response(),
        Some(ailment) => (StatusCode::SERVICE_UNAVAILABLE, format!("{ailment}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use scanguard_common::challenge::{ChallengeKind, ChallengeResult};
    use scanguard_common::class::{PortClass, Protocol};
    use scanguard_common::contact::Outcome;
    use scanguard_common::counter::Counter;
    use scanguard_common::reason::{Level, Mode, Reason};

    use super::*;
    use crate::api::{Interface, MapFill, WouldHave};
    use crate::metrics::sample::FeedSample;

    #[test]
    fn a_sample_becomes_the_agreed_metrics() {
        let sample = Sample {
            mode: Mode::Observe,
            configured: Mode::Enforce,
            lockdown: true,
            healthy: false,
            degraded: true,
            warnings: vec![("not_attached", 2), ("drift", 0)],
            config_read: (false, std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000)),
            verdicts: vec![
                (Level::None, Reason::Established, Mode::Observe, Counter { packets: 90, bytes: 9000 }),
                (Level::None, Reason::NewFlow, Mode::Observe, Counter { packets: 10, bytes: 600 }),
                (Level::None, Reason::AckProbe, Mode::Observe, Counter { packets: 1, bytes: 60 }),
                (Level::None, Reason::Retried, Mode::Observe, Counter { packets: 2, bytes: 120 }),
                (Level::Conceal, Reason::HiddenRestricted, Mode::Observe, Counter { packets: 1, bytes: 60 }),
                (Level::Conceal, Reason::HiddenCanary, Mode::Observe, Counter { packets: 2, bytes: 120 }),
                (Level::Conceal, Reason::HiddenClosed, Mode::Observe, Counter { packets: 4, bytes: 240 }),
                (Level::Conceal, Reason::HiddenProbe, Mode::Observe, Counter { packets: 8, bytes: 480 }),
                (Level::Conceal, Reason::DecoyCompleted, Mode::Enforce, Counter { packets: 16, bytes: 960 }),
            ],
            contacts: vec![
                (Outcome::Public, 3),
                (Outcome::Restricted, 4),
                (Outcome::Canary, 1),
                (Outcome::Closed, 2),
                (Outcome::AckProbe, 1),
            ],
            attempts: vec![
                (PortClass::Public, Protocol::Tcp, 5),
                (PortClass::Restricted, Protocol::Tcp, 1),
                (PortClass::Closed, Protocol::Tcp, 2),
                (PortClass::Canary, Protocol::Tcp, 3),
                (PortClass::Unknown, Protocol::Udp, 0),
            ],
            challenges: vec![
                (ChallengeKind::Retry, ChallengeResult::Met, 1),
                (ChallengeKind::Decoy, ChallengeResult::Met, 4),
            ],
            withheld: vec![
                (Level::Conceal, Mode::Observe, Counter { packets: 0, bytes: 0 }),
                (Level::Conceal, Mode::Enforce, Counter { packets: 3, bytes: 180 }),
            ],
            events_lost: 2,
            incidents: vec![(crate::incidents::Kind::Campaign, 1)],
            incidents_open: 3,
            incident_events_lost: 4,
            undecided: (1, 8),
            records: (12, 2),
            proofs_lost: 1,
            unrecorded: 6,
            log_lines: [("unread", 3), ("repeated", 400)],
            sources: 7,
            suspects: 0,
            blocks: [(scanguard_common::verdict::Scope::Private, 3), (scanguard_common::verdict::Scope::All, 4)],
            decisions: vec![(("block", "proven"), 1), (("defer", "unproven"), 5)],
            decision_seconds: None,
            drift: 0,
            repairs: vec![("ALLOW", 2)],
            state: (true, 3, 1),
            breaker_open: true,
            pending: 2,
            signals: [("heard", 7), ("over_per_source", 2), ("over_per_minute", 1)],
            feeds: vec![FeedSample {
                name: "drop".into(),
                prefixes: 1_234,
                age: std::time::Duration::from_millis(90_500),
            }],
            would_have: WouldHave { hidden: 5, blocked: 2, with_sessions: 1 },
            heartbeat: std::time::Duration::from_millis(2500),
            maps: vec![MapFill { name: "SOURCES".into(), entries: 7, capacity: 262_144, bytes: 50_000_000 }],
            interfaces: vec![
                Interface { name: "eth0".into(), driver_mode: "native".into(), attached: true, egress: "tcx".into() },
                Interface { name: "eth1".into(), driver_mode: "generic".into(), attached: false, egress: "tcx".into() },
            ],
        };
        let text = exposition(Families { sample: Some(sample), scrape_errors: 1 }).expect("valid metrics");
        insta::assert_snapshot!(text.replace(env!("CARGO_PKG_VERSION"), "VERSION"));
    }

    /// Nothing, and never ill.
    struct Idle;

    impl Sampler for Idle {
        async fn sample(&self) -> Result<Sample> {
            Ok(Sample::default())
        }

        async fn ailment(&self) -> Option<String> {
            None
        }
    }

    #[tokio::test]
    async fn who_asks_for_another_host_is_refused_whatever_he_asks_for() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        use tokio::net::{TcpListener, TcpStream};

        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = tokio::spawn(crate::http::serve_anybody(listener, router(Arc::new(Idle))));
        let status = async |request: String| {
            let mut stream = TcpStream::connect(address).await.expect("a connection");
            stream.write_all(request.as_bytes()).await.expect("a request");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("an answer");
            answer.split(' ').nth(1).map(str::to_owned).unwrap_or_default()
        };
        let own = own_name();
        let named = |host: &str| format!("Host: {host}\r\n");
        for (host, expected) in [
            (named("127.0.0.1:9477"), "200"),
            (named("127.0.0.1"), "200"),
            (named("[::1]:9477"), "200"),
            (named("LocalHost:9477"), "200"),
            (named(&own), "200"),
            (named(&format!("{own}:9477")), "200"),
            (named("rebound.example:9477"), "421"),
            (named("127.0.0.1.rebound.example"), "421"),
            (named("localhost.rebound.example"), "421"),
            (named(""), "421"),
            (String::new(), "421"),
            (named("127.0.0.1") + &named("rebound.example"), "421"),
        ] {
            for path in ["/", "/metrics", "/healthz"] {
                let found = status(format!("GET {path} HTTP/1.1\r\n{host}Connection: close\r\n\r\n")).await;
                assert_eq!(found, expected, "{path} {host:?}");
            }
        }
        server.abort();
    }

    #[test]
    fn hosts_are_ours_by_an_address_or_by_what_only_we_are_called() {
        for (host, expected) in [
            ("192.0.2.10", true),
            ("192.0.2.10:80", true),
            ("[2001:db8::1]", true),
            ("[2001:db8::1]:9477", true),
            ("[2001:db8::1]x", false),
            ("[2001:db8::1", false),
            ("2001:db8::1", false),
            ("edge", true),
            ("edge.example", true),
            ("EDGE.example:9477", true),
            ("edge.example.org", false),
            ("edge.evil.example", false),
            ("localhost", true),
            ("localhost:99999", false),
            ("localhost:http", false),
            ("notlocalhost", false),
        ] {
            assert_eq!(is_ours(host, "edge.example"), expected, "{host}");
        }
        assert!(!is_ours("", ""), "a host without a name is not called by it");
    }

    #[test]
    fn without_numbers_the_scrape_says_so() {
        let text = exposition(Families { sample: None, scrape_errors: 4 }).expect("valid metrics");
        assert!(text.contains("scanguard_scrape_errors_total 4\n"), "{text}");
        assert!(!text.contains("scanguard_packets_total"), "{text}");
    }
}
