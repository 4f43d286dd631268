//! Wrong passwords of one person in an office, told by a log tool, and what they mean for a newcomer behind the same address.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::framing_admin::why;
use super::{Scenario, rows};
use crate::lab::Lab;
use crate::lab::client::{connect, fetch, knock};
use crate::lab::defender::Daemon;
use crate::lab::plan::{EDGE, SCANNER};
use crate::lab::report::{Claim, Report, Row};
use crate::lab::ssh::{LoggedIn, SshServer, login, try_login};
use crate::lab::stage::{Scene, Setup, Stage};
use crate::lab::utmp::Login;
use crate::lab::wait::wait_until;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "nat-ssh",
    about: "three wrong passwords from the address of an office, as a log tool tells of them, and a newcomer there who wants to use ssh",
    play: |setup| {
        rows(setup, "nat-ssh", &["not told", "colleague", "customer", "customer, challenged", "stranger"], play)
    },
};

const OFFICE: Ipv4Addr = Ipv4Addr::new(198, 18, 74, 1);
const WRONG: usize = 3;
const PATIENCE: Duration = Duration::from_secs(3);
const LIMIT: Duration = Duration::from_secs(30);
/// Who is logged in is on the allowlist meanwhile; here it is to be seen what holds without that.
const SCENE: Scene = Scene { config: "[safety]\nleases = false\n", without: &[22], ..Scene::USUAL };
const CHALLENGED: Scene = Scene { config: "challenge = \"on\"\n[safety]\nleases = false\n", ..SCENE };

fn play(setup: &Setup, variant: &'static str) -> Result<Report> {
    let stage = Stage::set(setup, if variant == "customer, challenged" { &CHALLENGED } else { &SCENE })?;
    let server = SshServer::start(&stage.lab)?;
    let daemon = stage.guard.daemon().context("this is about what scanguard does")?;
    let (note, claims) = office(&stage.lab, daemon, variant)?;
    let calm = stage.calm()?;
    server.stop()?;
    let report = calm.close(setup)?.report(variant, setup.defender);
    Ok(Report { row: Row::claiming(variant, note, claims), ..report })
}

fn office(lab: &Lab, daemon: &Daemon, variant: &str) -> Result<(&'static str, Vec<Claim>)> {
    let (from, to, name) = (IpAddr::from(OFFICE), SocketAddr::from((EDGE, 22)), OFFICE.to_string());
    // Somebody is refused something now and then: where nobody is, a firewall may be silent, and so are challenges.
    lab.scanner.run(|| knock(SCANNER.into(), (EDGE, 8888).into(), PATIENCE))?;
    match variant {
        "colleague" => {
            login(&lab.customers, from, to)?;
            let held = LoggedIn::start(&lab.customers, from, to)?;
            let record = Login::write(from, held.pid())?;
            wait_until("the colleague's login to be seen", LIMIT, || {
                Ok(why(daemon, from)?["known"]["by"].as_array().is_some_and(|by| by.iter().any(|by| by == "login")))
            })?;
            drop(record);
            held.stop()?;
        }
        "customer" | "customer, challenged" => {
            lab.customers.run(|| fetch(from, (EDGE, 80).into(), PATIENCE))??;
            wait_until("the office's visit to be counted", LIMIT, || {
                let sessions = why(daemon, from)?["sessions"].clone();
                Ok(sessions.as_array().is_some_and(|all| all.iter().any(|ports| ports["worked"].as_u64() > Some(0))))
            })?;
        }
        _ => {}
    }
    for _ in 0..WRONG {
        ensure!(!try_login(&lab.customers, from, to, "oracle")?, "there is nobody of this name");
    }
    let newcomer = || lab.customers.run(|| connect(from, to, PATIENCE).is_err());
    let mut claims = Vec::new();
    let mut claim = |what: &str, most, measured: bool| {
        claims.push(Claim { what: what.to_owned(), most, measured: measured.into() });
    };
    if variant == "not told" {
        claim("newcomers kept from ssh", 0, newcomer()?);
        return Ok(("no log tool, or one that waits for more of them", claims));
    }
    let signal = daemon.done(&["signal", &name, "--weight", "4", "--reason", "sshd: 3 failed logins", "--proof"])?;
    ensure!(signal["backed"] == true, "somebody was there: {signal}");
    let (most, note) = match variant {
        "colleague" => (0, "somebody logged in from there before"),
        "customer" => (1, "only public ports were used from there before: concealed, not blocked"),
        "customer, challenged" => (0, "the same with `challenge = \"on\"`"),
        _ => (1, "nobody came from there before: blocked from private ports for 10 minutes, then concealed"),
    };
    claim("newcomers kept from ssh", most, newcomer()?);
    daemon.done(&["known", "add", &name, "--comment", "the office"])?;
    claim("newcomers kept from ssh after `known add`", 0, newcomer()?);
    Ok((note, claims))
}
