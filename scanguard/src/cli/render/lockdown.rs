//! `scanguard lockdown` for people.

use super::Paint;
use super::human::{count, counted, moment};
use super::table::{Side, table};
use crate::api::{LockdownAdmitted, LockdownBrief, LockdownShutOut, LockdownState};

/// Lines of each list at most; `--json` has more.
const MOST_LINES: usize = 20;

/// Whether a lockdown is in force, or what it would do, and whom it lets in.
#[must_use]
pub fn lockdown(state: &LockdownState, paint: Paint) -> String {
    let LockdownState { on, dry_run, was_on, until, ports, all_restricted, public, keep_known, .. } = state;
    let Some(until) = until else {
        return "No lockdown is in force. `scanguard lockdown on --for 2h --dry-run` says what one would do.\n"
            .to_owned();
    };
    let until = moment(until);
    let mut text = match (dry_run, on) {
        (true, false) => format!("{}: a lockdown until {until} would close", paint.doubtful("Nothing was changed")),
        (true, true) => format!(
            "{}: a lockdown until {until}, in place of the one in force, would close",
            paint.doubtful("Nothing was changed")
        ),
        (false, _) => format!("{} until {until}, unless `scanguard lockdown off` comes:", paint.strong("Lockdown")),
    };
    let (named, open) = (ports.join(", "), state.open.join(", "));
    text.push_str(&match (*all_restricted, open.is_empty()) {
        (true, true) => " all restricted ports, none of which is open now.\n".to_owned(),
        (true, false) => format!(" all restricted ports; open now: {open}.\n"),
        (false, true) => format!(" {named}; none of them is open now.\n"),
        (false, false) => format!(" {named}; open now: {open}.\n"),
    });
    if !public.is_empty() {
        let public = public.join(", ");
        text.push_str(&format!("{}: {public} is public: customers are shut out.\n", paint.doubtful("note")));
    }
    if !dry_run && *was_on && !on {
        text.push_str("It takes the place of the one before.\n");
    }
    text.push_str("Connections that exist go on.\n\n");
    text.push_str(&admitted(state, *keep_known, paint));
    text.push('\n');
    text.push_str(&shut_out(state, paint));
    if let Some(refused) = &state.refused {
        text.push_str(&format!("\n{}: {}.\n", paint.bad("It would be refused"), refused.message));
    }
    text
}

fn admitted(state: &LockdownState, keep_known: bool, paint: Paint) -> String {
    let LockdownState { admitted, admitted_total, .. } = state;
    if admitted.is_empty() {
        let known = if keep_known { ", and nobody is known" } else { "" };
        return format!("{}: the allowlist is empty{known}.\n", paint.bad("Nobody gets in"));
    }
    let columns = [("GETS IN", Side::Left), ("BECAUSE", Side::Left), ("WHO", Side::Left), ("UNTIL", Side::Left)];
    let row = |entry: &LockdownAdmitted| {
        let LockdownAdmitted { source, because, name, until } = entry.clone();
        let because = match because.as_str() {
            "lease" => "logged in".to_owned(),
            "never_judged" => "never judged".to_owned(),
            "configuration" | "operator" => format!("allowlist ({because})"),
            _ => because,
        };
        [source, because, name.unwrap_or_default(), until.map_or_else(String::new, |until| moment(&until))]
    };
    let rows: Vec<_> = admitted.iter().take(MOST_LINES).map(row).collect();
    table(columns, &rows, paint) + &more(*admitted_total)
}

fn shut_out(state: &LockdownState, paint: Paint) -> String {
    let LockdownState { shut_out, shut_out_total, keep_known, .. } = state;
    if shut_out.is_empty() {
        return "Nobody of the last 30 days is shut out.\n".to_owned();
    }
    let columns =
        [("SHUT OUT", Side::Left), ("KNOWN", Side::Left), ("SESSIONS", Side::Right), ("LAST HERE", Side::Left)];
    let row = |entry: &LockdownShutOut| {
        let LockdownShutOut { source, known, sessions, last } = entry;
        let last = last.as_ref().map_or_else(String::new, |last| moment(last));
        [source.clone(), if *known { "yes" } else { "no" }.to_owned(), count(*sessions), last]
    };
    let rows: Vec<_> = shut_out.iter().take(MOST_LINES).map(row).collect();
    let hint = if shut_out.iter().any(|entry| entry.known) && !keep_known {
        "`--keep-known` lets those in that are known; `scanguard allow add` any of them.\n"
    } else {
        "`scanguard allow add` lets any of them in.\n"
    };
    table(columns, &rows, paint) + &more(*shut_out_total) + hint
}

fn more(total: u64) -> String {
    let left = total.saturating_sub(MOST_LINES as u64);
    if left > 0 { format!("and {} more: `--json` lists up to 1,000\n", count(left)) } else { String::new() }
}

/// The lockdown is over.
#[must_use]
pub fn lockdown_off(state: &LockdownState, paint: Paint) -> String {
    if state.was_on {
        format!("{}: all ports answer as ever.\n", paint.good("The lockdown has ended"))
    } else {
        "No lockdown was in force.\n".to_owned()
    }
}

/// A lockdown in one line of `status`.
pub(super) fn brief(lockdown: &LockdownBrief) -> String {
    let LockdownBrief { until, ports, keep_known } = lockdown;
    let what = match ports.len() as u64 {
        0 => "restricted ports answer".to_owned(),
        1 => format!("{} answers", ports.join(", ")),
        2..=8 => format!("{} answer", ports.join(", ")),
        many => format!("{} answer", counted(many, "port", "ranges of ports")),
    };
    let whom = if *keep_known { "the allowlist and known sources" } else { "the allowlist" };
    format!("until {} {what} only {whom} (`scanguard lockdown status`)", moment(until))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{LockdownRefused, SCHEMA_VERSION};

    fn state() -> LockdownState {
        let admitted = |source: &str, because: &str, name: Option<&str>, until: Option<&str>| LockdownAdmitted {
            source: source.into(),
            because: because.into(),
            name: name.map(str::to_owned),
            until: until.map(str::to_owned),
        };
        let shut_out = |source: &str, known, sessions, last: Option<&str>| LockdownShutOut {
            source: source.into(),
            known,
            sessions,
            last: last.map(str::to_owned),
        };
        LockdownState {
            schema_version: SCHEMA_VERSION,
            on: true,
            since: Some("2026-03-01T12:00:00.000Z".into()),
            until: Some("2026-03-01T14:00:00.000Z".into()),
            ports: vec!["22".into(), "3306".into(), "161/udp".into()],
            all_restricted: true,
            open: vec!["22".into()],
            admitted: vec![
                admitted("203.0.113.7", "lease", Some("ann"), Some("2026-03-01T12:10:00.000Z")),
                admitted("198.51.100.0/24", "operator", Some("office"), None),
            ],
            admitted_total: 2,
            shut_out: vec![
                shut_out("192.0.2.9", true, 41, Some("2026-02-28T09:00:00.000Z")),
                shut_out("2001:db8:1:2::/64", false, 3, None),
            ],
            shut_out_total: 22,
            ..LockdownState::default()
        }
    }

    #[test]
    fn lockdowns() {
        let paint = Paint::new(false);
        let dry = LockdownState {
            on: false,
            dry_run: true,
            all_restricted: false,
            ports: vec!["22".into(), "443".into()],
            public: vec!["443".into()],
            admitted: Vec::new(),
            admitted_total: 0,
            refused: Some(LockdownRefused { rule: "logged_in".into(), message: "you would be shut out".into() }),
            ..state()
        };
        let lonely = LockdownState { shut_out: Vec::new(), keep_known: true, ..state() };
        let off = LockdownState { schema_version: SCHEMA_VERSION, ..LockdownState::default() };
        let brief_of = |ports: &[&str]| LockdownBrief {
            until: "2026-03-01T14:00:00.000Z".into(),
            ports: ports.iter().map(|port| (*port).to_owned()).collect(),
            keep_known: !ports.is_empty(),
        };
        let texts = [
            lockdown(&state(), paint),
            lockdown(&dry, paint),
            lockdown(&LockdownState { on: true, ..dry.clone() }, paint),
            lockdown(&lonely, paint),
            lockdown(&off, paint),
            lockdown_off(&LockdownState { was_on: true, ..off.clone() }, paint),
            lockdown_off(&off, paint),
            brief(&brief_of(&[])) + "\n",
            brief(&brief_of(&["22", "443"])) + "\n",
        ];
        insta::assert_snapshot!(texts.join("--\n"));
        insta::assert_json_snapshot!(dry);
    }
}
