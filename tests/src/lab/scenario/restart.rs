//! A deployment that moves from port to port under load, with customers and load balancers that lag behind.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::Scenario;
use crate::lab::Lab;
use crate::lab::client::{fetch, knock};
use crate::lab::customers::{Requests, Rounds};
use crate::lab::netns::Netns;
use crate::lab::plan::{BACKENDS, EDGE, EDGE6, balancer, customer, customer6};
use crate::lab::report::Report;
use crate::lab::services::{Kind, Service};
use crate::lab::stage::{Scene, Setup, Stage};
use crate::lab::wait::wait_until;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "restart",
    about: "no scan: a service moves between 21 ports under load, balancers check live and dead ones",
    play,
};

const BALANCERS: u8 = 3;
/// How often the service takes each port.
const PASSES: usize = 2;
const CUSTOMERS_EVERY: Duration = Duration::from_millis(150);
const BALANCERS_EVERY: Duration = Duration::from_millis(100);
/// Which customer has no answer from a live port by then was cut off: a lost SYN is repeated after a second.
const PATIENCE: Duration = Duration::from_secs(3);
/// The same for balancers, as is usual for them.
const PATIENCE_OF_CHECKS: Duration = Duration::from_secs(1);
/// How long a dead port is given to say so.
const PATIENCE_WITH_THE_DEAD: Duration = Duration::from_millis(20);
const LIMIT: Duration = Duration::from_secs(30);

/// The service that moves.
#[derive(Debug)]
struct Deployment {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Who holds a clone keeps the port open: a request that began when it was live is served.
    live: Arc<Service>,
    /// The port that was live before.
    retired: Option<u16>,
    /// Every port that was live once.
    known: BTreeSet<u16>,
    /// Whether all customers asked the live port.
    visited: bool,
    /// Whether all balancers did.
    checked: bool,
}

impl Deployment {
    fn new(edge: &Netns) -> Result<Self> {
        let live = Arc::new(Service::start(edge, *BACKENDS.start(), Kind::Http)?);
        let known = [live.port()].into();
        Ok(Self { state: State { live, retired: None, known, visited: false, checked: false }.into() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts at the new port, then ends at the old one, when its last request is answered.
    fn move_to(&self, edge: &Netns, port: u16) -> Result<()> {
        let next = Arc::new(Service::start(edge, port, Kind::Http)?);
        let mut state = self.lock();
        let old = std::mem::replace(&mut state.live, next);
        state.known.insert(port);
        (state.retired, state.visited, state.checked) = (Some(old.port()), false, false);
        // Not under the lock: ending takes a while.
        drop(state);
        drop(old);
        Ok(())
    }

    /// Every customer asks for what is live, and every third also for what was live before.
    fn visit(&self, round: u64, customers: u8, requests: &mut Requests) {
        let (live, retired) = {
            let state = self.lock();
            (Arc::clone(&state.live), state.retired)
        };
        for number in 0..customers {
            let (from, to): (IpAddr, IpAddr) = if number % 2 == 0 {
                (customer(number).into(), EDGE.into())
            } else {
                (customer6(number).into(), EDGE6.into())
            };
            requests.add(&fetch(from, (to, live.port()).into(), PATIENCE));
            if let Some(retired) = retired.filter(|_| (round + u64::from(number)).is_multiple_of(3)) {
                knock(from, (to, retired).into(), PATIENCE_WITH_THE_DEAD);
            }
        }
        let mut state = self.lock();
        state.visited |= Arc::ptr_eq(&state.live, &live);
    }

    /// Every balancer asks for all ports there ever were, at the same time as the others.
    fn check(&self, requests: &mut Requests) {
        let (live, known) = {
            let state = self.lock();
            (Arc::clone(&state.live), state.known.clone())
        };
        let check_from = |from: IpAddr| {
            let outcome = fetch(from, (EDGE, live.port()).into(), PATIENCE_OF_CHECKS);
            for port in known.iter().filter(|port| **port != live.port()) {
                knock(from, (EDGE, *port).into(), PATIENCE_WITH_THE_DEAD);
            }
            outcome
        };
        let outcomes: Vec<_> = thread::scope(|scope| {
            let balancers = (0..BALANCERS).map(|number| scope.spawn(move || check_from(balancer(number).into())));
            let balancers: Vec<_> = balancers.collect();
            balancers.into_iter().map(|balancer| balancer.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
        });
        outcomes.iter().for_each(|outcome| requests.add(outcome));
        let mut state = self.lock();
        state.checked |= Arc::ptr_eq(&state.live, &live);
    }
}

fn play(setup: &Setup) -> Result<Report> {
    let stage = Stage::set(setup, &Scene::USUAL)?;
    let requests = move_around(&stage.lab)?;
    let mut calm = stage.calm()?;
    calm.requests.join(requests);
    Ok(calm.close(setup)?.report(SCENARIO.name, setup.defender))
}

fn move_around(lab: &Lab) -> Result<Requests> {
    let deployment = Arc::new(Deployment::new(&lab.edge)?);
    let visits = Rounds::start(CUSTOMERS_EVERY, Requests::default(), {
        let (deployment, host, customers) = (Arc::clone(&deployment), lab.customers.clone(), lab.customer_count);
        move |round, requests| host.run(|| deployment.visit(round, customers, requests))
    });
    let checks = Rounds::start(BALANCERS_EVERY, Requests::default(), {
        let (deployment, host) = (Arc::clone(&deployment), lab.customers.clone());
        move |_, requests| host.run(|| deployment.check(requests))
    });
    for port in BACKENDS.cycle().skip(1).take(PASSES * BACKENDS.count()) {
        wait_until("everybody to ask the live port", LIMIT, || {
            let state = deployment.lock();
            Ok(state.visited && state.checked)
        })?;
        deployment.move_to(&lab.edge, port)?;
    }
    let mut requests = visits.stop()?;
    requests.join(checks.stop()?);
    Ok(requests)
}
