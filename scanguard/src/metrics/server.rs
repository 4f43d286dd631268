//! The metrics listener: `/metrics`, `/healthz`, and a page that links to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
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
            verdicts: vec![
                (Level::None, Reason::Established, Mode::Observe, Counter { packets: 90, bytes: 9000 }),
                (Level::None, Reason::NewFlow, Mode::Observe, Counter { packets: 10, bytes: 600 }),
            ],
            contacts: vec![(Outcome::Public, 3), (Outcome::Restricted, 4)],
            attempts: vec![(PortClass::Public, Protocol::Tcp, 5), (PortClass::Unknown, Protocol::Udp, 0)],
            challenges: vec![(ChallengeKind::Decoy, ChallengeResult::Met, 4)],
            events_lost: 2,
            incidents: vec![(crate::incidents::Kind::Campaign, 1)],
            incidents_open: 3,
            incident_events_lost: 4,
            undecided: (1, 8),
            records: (12, 2),
            proofs_lost: 1,
            unrecorded: 6,
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

    #[test]
    fn without_numbers_the_scrape_says_so() {
        let text = exposition(Families { sample: None, scrape_errors: 4 }).expect("valid metrics");
        assert!(text.contains("scanguard_scrape_errors_total 4\n"), "{text}");
        assert!(!text.contains("scanguard_packets_total"), "{text}");
    }
}
