//! The answer as one page: no script, nothing from elsewhere, light and dark, as wide as the screen is.

use std::fmt::Write as _;

use super::report::{Capture, Report, Source};
use crate::printable::is_deceptive;

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1b1f24;--dim:#57606a;--ground:#fff;--card:#f6f8fa;--line:#d0d7de;--bad:#b42318;--warn:#9a6700;--good:#1a7f37;--blue:#0550ae}\
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--dim:#9da7b1;--ground:#0d1117;--card:#161b22;--line:#30363d;--bad:#ff7b72;--warn:#e3b341;--good:#56d364;--blue:#79c0ff}}\
*{box-sizing:border-box}body{margin:0 auto;padding:1rem;max-width:70rem;font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--ground)}\
h1{font-size:1.5rem}h2{font-size:1.2rem;overflow-wrap:anywhere;border-top:1px solid var(--line);padding-top:1rem}h3{font-size:1rem}\
p.dim,figcaption,.dim{color:var(--dim)}.note{border-left:4px solid var(--warn);padding-left:.6rem}\
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(9rem,1fr));gap:.6rem;margin:1rem 0;padding:0;list-style:none}\
.tiles li{background:var(--card);border:1px solid var(--line);border-radius:.4rem;padding:.5rem .7rem}.tiles b{display:block;font-size:1.4rem}\
.wide{overflow-x:auto;border:1px solid var(--line);border-radius:.4rem}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}\
th,td{padding:.3rem .6rem;text-align:left;white-space:nowrap;border-bottom:1px solid var(--line)}td.n,th.n{text-align:right}\
details{background:var(--card);border:1px solid var(--line);border-radius:.4rem;margin:.4rem 0;padding:.4rem .7rem}summary{cursor:pointer;overflow-wrap:anywhere}\
:focus-visible{outline:3px solid var(--blue);outline-offset:2px}\
.block{color:var(--bad);font-weight:600}.conceal{color:var(--warn);font-weight:600}.none{color:var(--good)}\
figure{margin:1rem 0}svg{width:100%;height:auto;background:var(--card);border:1px solid var(--line);border-radius:.4rem}svg text{fill:var(--dim);font:12px system-ui,sans-serif}\
a{color:var(--blue)}nav ul{padding-left:1.2rem;overflow-wrap:anywhere}";

/// Sources of a plot at most.
const PLOTTED: usize = 24;
/// Sources that are listed with their evidence at most.
const LISTED: usize = 200;

/// The page.
#[must_use]
pub fn page(report: &Report) -> String {
    let mut html = String::new();
    let title = match report.captures.as_slice() {
        [one] => format!("What scanguard would have done: {}", escape(&one.file)),
        many => format!("What scanguard would have done to {} captures", many.len()),
    };
    write!(
        html,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\"><title>{title}</title><style>{STYLE}</style></head><body>\
         <header><h1>{title}</h1><p class=\"dim\">Replayed in mode {}. A source is concealed from a score of {:.2} nats on: what is not for \
         customers is hidden from it, public ports stay open. It is blocked only on proof.</p></header>",
        report.mode, report.conceal_at
    )
    .expect("a String takes everything");
    totals(&mut html, report);
    if report.captures.len() > 1 {
        html.push_str("<nav aria-label=\"Captures\"><h2>Captures</h2><ul>");
        for (number, one) in report.captures.iter().enumerate() {
            let acted = one.acted.len();
            push(
                &mut html,
                format_args!("<li><a href=\"#capture-{number}\">{}</a>: {acted} acted on</li>", escape(&one.file)),
            );
        }
        html.push_str("</ul></nav>");
    }
    html.push_str("<main>");
    for (number, one) in report.captures.iter().enumerate() {
        capture(&mut html, number, one, report);
    }
    html.push_str("</main></body></html>\n");
    html
}

fn push(html: &mut String, text: std::fmt::Arguments<'_>) {
    html.write_fmt(text).expect("a String takes everything");
}

fn totals(html: &mut String, report: &Report) {
    let Some(totals) = &report.totals else { return };
    html.push_str("<section aria-label=\"Scores\"><h2>Scores</h2><ul class=\"tiles\">");
    for (name, share) in [("must", totals.must), ("should", totals.should), ("slow", totals.slow)] {
        push(html, format_args!("<li><b>{} of {}</b>scanners of tier {name}</li>", share.detected, share.of));
    }
    push(
        html,
        format_args!(
            "<li><b>{} of {}</b>benign sources concealed</li><li><b>{}</b>blocked wrongly</li><li><b>{}</b>contacts until detection \
             (median)</li></ul></section>",
            totals.false_conceal, totals.benign_sources, totals.false_block, totals.probes_to_detect.median
        ),
    );
}

fn capture(html: &mut String, number: usize, capture: &Capture, report: &Report) {
    push(html, format_args!("<section id=\"capture-{number}\"><h2>{}</h2><ul class=\"tiles\">", escape(&capture.file)));
    let blocked = capture.acted.iter().filter(|source| source.level == "block").count();
    let tiles = [
        (capture.packets, "packets"),
        (capture.sources, "sources"),
        ((capture.acted.len() - blocked) as u64, "concealed"),
        (blocked as u64, "blocked"),
        (capture.customers.noticed, "hidden packets to open ports"),
    ];
    for (value, name) in tiles {
        push(html, format_args!("<li><b>{value}</b>{name}</li>"));
    }
    html.push_str("</ul>");
    if let (Some(first), Some(last)) = (&capture.first, &capture.last) {
        push(html, format_args!("<p class=\"dim\">{first} to {last}</p>"));
    }
    for note in notes(capture) {
        push(html, format_args!("<p class=\"note\">{}</p>", escape(&note)));
    }
    let noticed = match capture.customers.noticed {
        _ if capture.judged == 0 => {
            "Nothing in it could be judged, so it does not tell whether anybody would have noticed.".to_owned()
        }
        0 => "No packet to an open port would have been hidden: nobody would have noticed anything.".to_owned(),
        packets => format!(
            "{packets} packets from {} sources to open ports would have been hidden: whoever sent them would have noticed.",
            capture.customers.sources
        ),
    };
    push(html, format_args!("<h3>What customers would have noticed</h3><p>{noticed}</p>"));
    scores(html, capture, report.conceal_at);
    contacts(html, capture);
    ports(html, capture);
    html.push_str("<h3>Who would have been concealed or blocked</h3>");
    if capture.acted.is_empty() {
        html.push_str("<p>Nobody.</p>");
    }
    sources(html, &capture.acted);
    if !capture.close.is_empty() {
        html.push_str("<h3>Who was close</h3>");
        sources(html, &capture.close);
    }
    html.push_str("</section>");
}

fn notes(capture: &Capture) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(reason) = &capture.partial {
        notes.push(format!("The file was read as far as it goes: {reason}."));
    }
    if capture.sorted {
        notes.push("Its packets were not in the order of time: they were sorted.".to_owned());
    }
    if capture.one_sided && capture.judged > 0 {
        notes.push("No packet of what is guarded is in it: silence is all that tells of closed ports.".to_owned());
    }
    if capture.storms > 0 {
        notes.push(format!(
            "Somebody forges suspects: {} packets to closed ports are dropped statelessly meanwhile.",
            capture.customers.storm
        ));
    }
    notes
}

fn sources(html: &mut String, sources: &[Source]) {
    for source in sources.iter().take(LISTED) {
        let at = source.blocked.as_ref().or(source.concealed.as_ref());
        let from = at.map_or_else(String::new, |at| {
            format!(", from packet {} on ({:.3} s, contact {})", at.packet, at.after_s, at.contacts)
        });
        push(
            html,
            format_args!(
                "<details><summary>{} <span class=\"{level}\">{level}</span>: score {:.2}, {} of {} contacts failed{from}</summary>",
                escape(&source.source),
                source.score,
                source.failures,
                source.contacts,
                level = source.level,
            ),
        );
        if !source.hidden.is_empty() {
            let hidden: Vec<String> =
                source.hidden.iter().map(|(reason, packets)| format!("{reason} {packets}")).collect();
            push(
                html,
                format_args!("<p>Packets hidden: {}; {} of them to open ports.</p>", hidden.join(", "), source.noticed),
            );
        }
        html.push_str(
            "<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"Evidence\"><table><thead><tr><th class=\"n\">packet</th><th class=\"n\">after</th>\
             <th>asked</th><th>outcome</th><th class=\"n\">step</th><th class=\"n\">score</th></tr></thead><tbody>",
        );
        for line in &source.evidence {
            push(
                html,
                format_args!(
                    "<tr><td class=\"n\">{}</td><td class=\"n\">{:.3} s</td><td>{} {} port {}</td><td>{}</td><td class=\"n\">+{:.2}</td>\
                     <td class=\"n\">{:.2}</td></tr>",
                    line.packet,
                    line.after_s,
                    line.proto,
                    line.destination,
                    line.port,
                    line.outcome,
                    line.step,
                    line.score
                ),
            );
        }
        html.push_str("</tbody></table></div></details>");
    }
    if sources.len() > LISTED {
        push(html, format_args!("<p class=\"dim\">… and {} more; --json lists all.</p>", sources.len() - LISTED));
    }
}

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 44.0;
const BOTTOM: f64 = 30.0;

/// Scores over time: a line for each source, and one where concealment begins.
fn scores(html: &mut String, capture: &Capture, conceal_at: f64) {
    let plotted: Vec<&Source> = capture.acted.iter().chain(&capture.close).take(PLOTTED).collect();
    if plotted.is_empty() {
        return;
    }
    let top = plotted.iter().map(|source| source.score).fold(conceal_at, f64::max) * 1.1;
    let span = capture.duration_s.max(1e-6);
    let x = |after: f64| LEFT + (after / span).clamp(0.0, 1.0) * (WIDTH - LEFT - 10.0);
    let y = |score: f64| HEIGHT - BOTTOM - (score / top).clamp(0.0, 1.0) * (HEIGHT - BOTTOM - 10.0);
    push(
        html,
        format_args!(
            "<figure><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"Scores over time\">\
             <line x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{0:.1}\" y2=\"{0:.1}\" stroke=\"var(--warn)\" stroke-dasharray=\"6 4\"/>\
             <text x=\"{1:.0}\" y=\"{2:.1}\" text-anchor=\"end\">concealed</text>\
             <text x=\"4\" y=\"{0:.1}\">{conceal_at:.1}</text><text x=\"4\" y=\"{3:.1}\">0</text>\
             <text x=\"{LEFT}\" y=\"{4:.1}\">0 s</text><text x=\"{WIDTH}\" y=\"{4:.1}\" text-anchor=\"end\">{span:.1} s</text>",
            y(conceal_at),
            WIDTH - 6.0,
            y(conceal_at) - 5.0,
            y(0.0),
            HEIGHT - 10.0
        ),
    );
    for source in plotted {
        let mut points = String::new();
        let mut before = 0.0;
        for line in &source.evidence {
            push(&mut points, format_args!("{:.1},{:.1} {0:.1},{:.1} ", x(line.after_s), y(before), y(line.score)));
            before = line.score;
        }
        let color = match source.level {
            "block" => "var(--bad)",
            "conceal" => "var(--warn)",
            _ => "var(--blue)",
        };
        push(
            html,
            format_args!(
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"><title>{}: {:.2}</title></polyline>",
                points.trim_end(),
                escape(&source.source),
                source.score
            ),
        );
    }
    html.push_str("</svg><figcaption>Scores over time, in nats; the first 64 contacts that counted of each source.</figcaption></figure>");
}

/// Contacts per source, and how many of them failed.
fn contacts(html: &mut String, capture: &Capture) {
    let rows: Vec<(String, u64, u64)> = capture
        .acted
        .iter()
        .chain(&capture.close)
        .take(12)
        .map(|source| (source.source.clone(), source.failures, source.contacts))
        .collect();
    bars(html, &rows, "Contacts per source", "Contacts per source; the dark part failed.");
}

/// Outcomes by port.
fn ports(html: &mut String, capture: &Capture) {
    let rows: Vec<(String, u64, u64)> = capture
        .ports
        .iter()
        .take(12)
        .map(|port| {
            let all: u64 = port.outcomes.values().sum();
            let fine: u64 = ["public", "unknown"].iter().filter_map(|outcome| port.outcomes.get(outcome)).sum();
            (format!("{}/{}", port.port, port.proto), all - fine, all)
        })
        .collect();
    bars(html, &rows, "Outcomes by port", "First contacts by port, those asked most; the dark part failed.");
}

fn bars(html: &mut String, rows: &[(String, u64, u64)], label: &str, caption: &str) {
    const ROW: f64 = 22.0;
    const NAMES: f64 = 190.0;
    if rows.is_empty() {
        return;
    }
    let most = rows.iter().map(|(.., all)| *all).max().unwrap_or(1).max(1) as f64;
    let height = rows.len() as f64 * ROW + 10.0;
    push(html, format_args!("<figure><svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{label}\">"));
    for (number, (name, part, all)) in rows.iter().enumerate() {
        let at = number as f64 * ROW + 6.0;
        let width = |value: u64| value as f64 / most * (WIDTH - NAMES - 80.0);
        push(
            html,
            format_args!(
                "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{}</text><rect x=\"{NAMES}\" y=\"{at:.0}\" width=\"{:.1}\" height=\"16\" \
                 fill=\"var(--blue)\" opacity=\".35\"/><rect x=\"{NAMES}\" y=\"{at:.0}\" width=\"{:.1}\" height=\"16\" fill=\"var(--blue)\"/>\
                 <text x=\"{:.0}\" y=\"{1:.0}\">{part} of {all}</text>",
                NAMES - 8.0,
                at + 13.0,
                escape(name),
                width(*all),
                width(*part),
                NAMES + width(*all) + 6.0,
            ),
        );
    }
    push(html, format_args!("</svg><figcaption>{caption}</figcaption></figure>"));
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            character if is_deceptive(character) => escaped.push('\u{fffd}'),
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_are_no_markup() {
        assert_eq!(escape("<script>\"'&\n\u{202e}"), "&lt;script&gt;&quot;&#39;&amp;\u{fffd}\u{fffd}");
    }
}
