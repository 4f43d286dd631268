//! To whom restricted ports stay open: who guesses, who pretends to have been here, and programs whose sessions are short.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::chown;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use scanguard_common::session::SYN_ACK_NS;
use serde_json::Value;

use super::framing_admin::why;
use super::raw::hping3;
use super::{Scenario, rows};
use crate::lab::Lab;
use crate::lab::client::connect;
use crate::lab::customers::Requests;
use crate::lab::defender::Daemon;
use crate::lab::plan::{ADMIN, EDGE, SCANNER};
use crate::lab::process::Running;
use crate::lab::report::{Claim, Report, Row};
use crate::lab::stage::{Scene, Setup, Stage};
use crate::lab::tools::Tool;
use crate::lab::wait::wait_until;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "known",
    about: "who guesses passwords, an unprivileged user of the edge who makes sessions in others' names, and programs with \
            short sessions that are framed",
    play: |setup| rows(setup, "known", &["guesser", "namespace", "framed-challenged", "framed-added"], play),
};

const SCENE: Scene = Scene { config: "challenge = \"off\"\n[safety]\nleases = false\n", ..Scene::USUAL };
const CHALLENGED: Scene = Scene { config: "challenge = \"on\"\n[safety]\nleases = false\n", ..Scene::USUAL };
const SSH: u16 = 22;
const DATABASE: u16 = 5432;
const LIMIT: Duration = Duration::from_secs(30);
/// After so long the daemon knows of each SYN-ACK whether it left.
const SEEN: Duration = Duration::from_nanos(SYN_ACK_NS);
const PATIENCE: Duration = Duration::from_secs(8);
/// Sessions of whoever guesses.
const GUESSES: u64 = 40;
/// Sessions of a program, and how far they are apart: five a second, of the eight that challenges let through.
const SESSIONS: u64 = 40;
const EVERY: Duration = Duration::from_millis(200);

fn play(setup: &Setup, variant: &'static str) -> Result<Report> {
    let stage = Stage::set(setup, if variant == "framed-challenged" { &CHALLENGED } else { &SCENE })?;
    let daemon = stage.guard.daemon().context("this is about what scanguard makes of sessions")?;
    let mut requests = Requests::default();
    let (note, claims) = match variant {
        "guesser" => guess(&stage.lab, daemon)?,
        "namespace" => pretend(&stage.lab, daemon)?,
        _ => work(&stage.lab, daemon, variant == "framed-added", &mut requests)?,
    };
    let mut calm = stage.calm()?;
    calm.requests.join(requests);
    let report = calm.close(setup)?.report(variant, setup.defender);
    Ok(Report { row: Row::claiming(variant, note, claims), ..report })
}

fn claim(what: &str, most: u64, measured: u64) -> Claim {
    Claim { what: what.to_owned(), most, measured }
}

/// A session with a few words both ways.
fn talk(lab: &Lab, from: IpAddr, port: u16) -> Result<()> {
    let is_scanner = from == IpAddr::from(SCANNER);
    let host = if is_scanner { &lab.scanner } else { &lab.customers };
    host.run(|| {
        let mut stream = connect(from, SocketAddr::from((EDGE, port)), PATIENCE)?;
        // What is said after the banner acknowledges it; what is left unread would end the connection by a reset.
        if port == SSH {
            ensure!(stream.read(&mut [0; 64])? > 0, "no banner");
        }
        stream.write_all(b"SSH-2.0-somebody\r\n")?;
        anyhow::Ok(())
    })?
}

/// Sessions on a kind of ports that were work, as the daemon counts them.
fn worked(told: &Value, ports: &str) -> u64 {
    let sessions = told["sessions"].as_array().into_iter().flatten();
    sessions.filter(|kind| kind["ports"] == ports).filter_map(|kind| kind["worked"].as_u64()).sum()
}

fn is_known(told: &Value) -> bool {
    told["known"]["restricted_until"].is_string()
}

/// Passwords are guessed, and then ports are looked for.
pub(super) fn guess(lab: &Lab, daemon: &Daemon) -> Result<(&'static str, Vec<Claim>)> {
    let scanner = IpAddr::from(SCANNER);
    for _ in 0..GUESSES {
        talk(lab, scanner, SSH)?;
    }
    wait_until("the guesses to be counted", LIMIT, || {
        let told = why(daemon, scanner)?;
        Ok(worked(&told, "restricted") >= GUESSES && told["known"]["restricted_sessions"].as_u64() >= Some(GUESSES))
    })?;
    let known = u64::from(is_known(&why(daemon, scanner)?));
    hping3(lab, &["-S", "-a", &SCANNER.to_string(), "-p", "++1000", "-c", "6", "-i", "u3000", &EDGE.to_string()])?;
    wait_until("it to be a suspect", LIMIT, || Ok(why(daemon, scanner)?["verdict"]["level"] == "conceal"))?;
    let still = lab.scanner.run(|| connect(scanner, SocketAddr::from((EDGE, SSH)), Duration::from_secs(2)).is_ok())?;
    let claims =
        vec![claim("sources known by guessing", 0, known), claim("restricted ports shown afterwards", 0, still.into())];
    Ok(("40 sessions with data on 22, then a scan", claims))
}

/// What somebody without rights does on the edge: a network of his own, in which an address is whose he says.
const PRETEND: &str = r#"
set -eu
ip link set lo up
ip addr add "$EDGE/32" dev lo
for victim in $VICTIMS; do ip addr add "$victim/32" dev lo; done
dropbearkey -t ed25519 -f key > /dev/null 2>&1
for port in 22 80; do
    dropbear -F -E -s -r key -P "pid$port" -p "$EDGE:$port" 2> "log$port" &
done
talk() {
    printf 'SSH-2.0-somebody\r\n' |
        curl -s --max-time "$3" --interface "$1" "telnet://$EDGE:$2" 2> /dev/null | grep -a -c SSH- || true
}
first=$(echo $VICTIMS | cut -d' ' -f1)
tries=0
until [ "$(talk "$first" 80 1)" = 1 ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 50 ] || { cat log80 >&2; exit 1; }
done
for victim in $VICTIMS; do
    for port in 22 80; do
        [ "$(talk "$victim" "$port" 1)" = 1 ] || { echo "no session as $victim with $port" >&2; exit 1; }
    done
done
kill $(cat pid22 pid80)
wait || true
"#;
/// Nobody (`nobody` of most systems).
const NOBODY: u32 = 65_534;

/// Somebody without rights makes sessions in the names of one who was never here and of one who asked for a page once.
pub(super) fn pretend(lab: &Lab, daemon: &Daemon) -> Result<(&'static str, Vec<Claim>)> {
    const FOLDER: &str = "/run/nobody";
    let strangers = [Ipv4Addr::new(198, 18, 61, 1), Ipv4Addr::new(198, 18, 62, 1)];
    let [asked, _] = strangers;
    let visitor = Ipv4Addr::new(198, 18, 63, 1);
    hping3(lab, &["-S", "-a", &asked.to_string(), "-p", "80", "-c", "1", &EDGE.to_string()])?;
    wait_until(
        "the one who asked to be seen",
        LIMIT,
        || Ok(why(daemon, asked.into())?["attempts"].as_u64() > Some(0)),
    )?;
    // Before that a SYN-ACK may have left unseen, and in doubt a session is a customer's.
    wait_until("the egress program to have seen all that left", SEEN + LIMIT, || {
        Ok(daemon.done(&["status"])?["uptime_s"].as_u64() > Some(SEEN.as_secs()))
    })?;
    fs::create_dir_all(FOLDER).context("cannot make a folder")?;
    chown(FOLDER, Some(NOBODY), Some(NOBODY)).context("cannot give a folder away")?;
    for tool in [Tool::Dropbear, Tool::Dropbearkey, Tool::Curl, Tool::Ip] {
        tool.path()?;
    }
    // (Rights go after the edge was entered, which takes them.)
    let nobody = NOBODY.to_string();
    let mut command = lab.edge.command("setpriv");
    command.args(["--reuid", &nobody, "--regid", &nobody, "--clear-groups"]);
    command.args(["unshare", "--user", "--map-root-user", "--net", "sh", "-c", PRETEND]).current_dir(FOLDER);
    command.env("EDGE", EDGE.to_string());
    command.env("VICTIMS", strangers.map(|address| address.to_string()).join(" "));
    Running::start(command)?.wait(LIMIT)?.success("a user with a network of his own")?;
    // What is counted at all is counted by now: this session began later.
    talk(lab, visitor.into(), SSH)?;
    wait_until("a session from outside to be counted", LIMIT, || {
        Ok(worked(&why(daemon, visitor.into())?, "restricted") > 0)
    })?;
    let (mut counted, mut known, mut backed) = (0, 0, 0);
    for stranger in strangers {
        let told = why(daemon, stranger.into())?;
        counted += told["sessions"].as_array().map_or(0, Vec::len) as u64;
        known += u64::from(is_known(&told));
        let name = stranger.to_string();
        let signal = daemon.done(&["signal", &name, "--weight", "1", "--reason", "a forged line", "--proof"])?;
        backed += u64::from(signal["backed"] == true);
    }
    let signal = daemon.done(&["signal", &visitor.to_string(), "--weight", "1", "--reason", "one guess", "--proof"])?;
    ensure!(signal["backed"] == true, "who really came is backed: {signal}");
    let claims = vec![
        claim("strangers whose sessions count", 0, counted),
        claim("strangers known", 0, known),
        claim("strangers backed", 0, backed),
    ];
    Ok(("uid 65534 with a network namespace, in the names of two strangers", claims))
}

/// A program has short sessions with a database, and somebody forges scans in its name.
fn work(lab: &Lab, daemon: &Daemon, is_added: bool, requests: &mut Requests) -> Result<(&'static str, Vec<Claim>)> {
    let (client, name) = (IpAddr::from(ADMIN), ADMIN.to_string());
    requests.add(&talk(lab, client, DATABASE));
    if is_added {
        let added = daemon.done(&["known", "add", &name, "--comment", "the shop, to its database"])?;
        ensure!(added["added"] == 1, "{added}");
        ensure!(why(daemon, client)?["known"]["by"][0] == "operator", "it is known when that is answered");
    }
    hping3(lab, &["-S", "-a", &name, "-p", "++1000", "-c", "12", "-i", "u3000", &EDGE.to_string()])?;
    wait_until("it to be a suspect", LIMIT, || Ok(why(daemon, client)?["verdict"]["level"] == "conceal"))?;
    let before = requests.failed;
    let begun = Instant::now();
    for number in 0..SESSIONS {
        thread::sleep((EVERY * u32::try_from(number)?).saturating_sub(begun.elapsed()));
        requests.add(&talk(lab, client, DATABASE));
    }
    let claims = vec![claim("sessions of the program that failed", 0, requests.failed - before)];
    Ok((
        if is_added { "`known add`, challenges off, 40 sessions" } else { "challenges on, 40 sessions, five a second" },
        claims,
    ))
}
