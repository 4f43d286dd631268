//! A load balancer in front of the edge that goes on asking after backends which are long gone: a real HAProxy.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use super::framing_admin::why;
use super::proof::{SCENE, completed_decoys};
use super::{Scenario, rows};
use crate::lab::Lab;
use crate::lab::client::fetch;
use crate::lab::customers::{Requests, Rounds};
use crate::lab::plan::{EDGE, PUBLIC, balancer, customer};
use crate::lab::process::Running;
use crate::lab::report::{Balanced, Report};
use crate::lab::stage::{Observations, Setup, Stage};
use crate::lab::tools::Tool;
use crate::lab::wait::wait_until;
use crate::lab::wire::What;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "balancer",
    about: "HAProxy forwards customers to the public ports and checks ten dead backends of the edge, with challenges",
    play: |setup| {
        rows(setup, "balancer", &["connections", "requests"], |setup, checks| {
            // As HAProxy checks by default, and by OPTIONS as where the backends speak HTTP.
            balance(setup, checks, if checks == "requests" { "option httpchk" } else { "" })
        })
    },
};

/// Ports of backends that are gone for good.
const DEAD: [u16; 10] = [8101, 8102, 8103, 8104, 8105, 8106, 8107, 8108, 8109, 8110];
/// Where HAProxy takes orders. Private to the laboratory, like all of `/run`.
const SOCKET: &str = "/run/haproxy.sock";
const CONFIG: &str = "/run/haproxy.cfg";
/// Milliseconds between checks of a backend: 2,000 by default, which would take long here.
const CHECK_EVERY_MS: u64 = 200;
const REQUESTS_EVERY: Duration = Duration::from_millis(50);
/// Requests of customers to the balancer in all: five seconds, in which each backend is checked some seven times.
const REQUESTS: u64 = 100;
const LIMIT: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(6);

fn balance(setup: &Setup, name: &str, check: &str) -> Result<Report> {
    let stage = Stage::set(setup, &SCENE)?;
    let (lab, from) = (&stage.lab, IpAddr::from(balancer(0)));
    let haproxy = start(lab, check)?;
    let requests = Rounds::start(REQUESTS_EVERY, Requests::default(), {
        let (host, customers) = (lab.customers.clone(), lab.customer_count);
        move |round, requests| {
            let number = u8::try_from(round % u64::from(customers)).unwrap_or_default();
            let asked = host.run(|| fetch(customer(number).into(), (from, 80).into(), PATIENCE))?;
            requests.add(&asked);
            Ok(())
        }
    });
    if let Some(daemon) = stage.guard.daemon() {
        // It has been there for a while when its backends die.
        wait_until("the daemon to see the balancer work", LIMIT, || {
            let sessions = why(daemon, from)?["sessions"].clone();
            Ok(sessions.as_array().is_some_and(|all| all.iter().any(|ports| ports["worked"].as_u64() > Some(0))))
        })?;
    }
    for port in DEAD {
        // What is switched on is alive to it until a check fails; these are known to be dead.
        order(&format!("enable server edge/dead{port}; set server edge/dead{port} health down"))?;
    }
    requests.wait_for(REQUESTS, LIMIT)?;
    let mut balanced = dead()?;
    let requests = requests.stop()?;
    let completed = stage.guard.daemon().map(completed_decoys).transpose()?;
    let mut calm = stage.calm()?;
    haproxy.stop(Signal::USR1, LIMIT)?;
    calm.requests.join(requests);
    let observations = calm.close(setup)?;
    let mut report = observations.report(name, setup.defender);
    balanced.checks = checks(&observations);
    report.special.decoys_completed = completed;
    report.special.balanced = Some(balanced);
    Ok(report)
}

/// Starts it on the balancer's address, with the dead backends switched off.
fn start(lab: &Lab, check: &str) -> Result<Running> {
    let from = balancer(0);
    let mut config = format!(
        "global\n stats socket {SOCKET} mode 600 level admin\n\
         defaults\n mode http\n timeout connect 2s\n timeout client 5s\n timeout server 5s\n timeout check 500ms\n\
         frontend site\n bind {from}:80\n default_backend edge\n\
         backend edge\n source {from}\n {check}\n default-server check inter {CHECK_EVERY_MS}ms\n"
    );
    // (Writing to a String cannot fail.)
    for port in PUBLIC {
        let _ = writeln!(config, " server live{port} {EDGE}:{port}");
    }
    for port in DEAD {
        let _ = writeln!(config, " server dead{port} {EDGE}:{port} disabled");
    }
    fs::write(CONFIG, config).context("cannot write HAProxy's configuration")?;
    let mut haproxy = Tool::Haproxy.command(&lab.customers)?;
    haproxy.args(["-db", "-f", CONFIG]);
    let mut haproxy = Running::start(haproxy)?;
    wait_until("HAProxy to take orders", LIMIT, || {
        anyhow::ensure!(haproxy.exited()?.is_none(), "HAProxy ended: {}", haproxy.stderr());
        Ok(Path::new(SOCKET).exists() && order("show info").is_ok())
    })?;
    Ok(haproxy)
}

/// Gives HAProxy an order, and reads what it says.
fn order(order: &str) -> Result<String> {
    let mut socket = UnixStream::connect(SOCKET).context("cannot reach HAProxy")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.write_all(format!("{order}\n").as_bytes())?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).with_context(|| format!("no answer to {order}"))?;
    Ok(answer)
}

/// What HAProxy says of the dead backends.
fn dead() -> Result<Balanced> {
    let table = order("show stat")?;
    let mut lines = table.lines();
    let names: Vec<&str> = lines.next().context("no table")?.trim_start_matches("# ").split(',').collect();
    let mut dead = Balanced::default();
    for line in lines.filter(|line| line.starts_with("edge,dead")) {
        let field = |name: &str| {
            let place = names.iter().position(|other| *other == name);
            place.and_then(|place| line.split(',').nth(place)).with_context(|| format!("{name} is not in {line}"))
        };
        let number = |name: &str| field(name)?.parse::<u64>().with_context(|| format!("{name} in {line}"));
        dead.backends += 1;
        dead.requests += number("lbtot")?;
        dead.up += u64::from(field("status")?.starts_with("UP"));
    }
    Ok(dead)
}

/// Connections to dead backends that the balancer began, on the edge's link.
fn checks(observations: &Observations) -> u64 {
    let checks: BTreeSet<(u16, u16)> = observations
        .at_edge
        .iter()
        .filter(|packet| packet.source == IpAddr::from(balancer(0)))
        .filter_map(|packet| match packet.what {
            What::Tcp(segment) if segment.syn && !segment.ack => Some((segment.source_port, segment.destination_port)),
            _ => None,
        })
        .filter(|(_, port)| DEAD.contains(port))
        .collect();
    checks.len() as u64
}
