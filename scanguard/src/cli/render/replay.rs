//! `scanguard replay` for people.

use std::time::Duration;

use super::Paint;
use super::human::{bytes, count, counted, duration, moment};
use super::table::{Side, table};
use crate::replay::differences::{Decision, Differences};
use crate::replay::labels::{Share, Totals};
use crate::replay::report::{Capture, Report, Source};

/// Rows of a table in a terminal; `--json` and `--report` have all.
const ROWS: usize = 15;

const SOURCES: [(&str, Side); 7] = [
    ("SOURCE", Side::Left),
    ("LEVEL", Side::Left),
    ("SCORE", Side::Right),
    ("CONTACTS", Side::Right),
    ("FAILED", Side::Right),
    ("FROM PACKET", Side::Right),
    ("HIDDEN", Side::Right),
];

/// Everything about every capture.
#[must_use]
pub fn replayed(report: &Report, paint: Paint) -> String {
    let mut text = String::new();
    let brief = report.captures.len() > 1;
    for capture in &report.captures {
        if brief {
            text.push_str(&line(capture, paint));
        } else {
            text.push_str(&whole(capture, report, paint));
        }
    }
    if let Some(totals) = &report.totals {
        text.push_str(&scores(totals, report, paint));
    }
    text
}

fn line(capture: &Capture, paint: Paint) -> String {
    let mut text = format!(
        "{}: {}, {}, {} acted on",
        capture.file,
        counted(capture.packets, "packet", "packets"),
        counted(capture.sources, "source", "sources"),
        capture.acted.len()
    );
    if let Some(score) = &capture.score {
        for (word, list) in [("missed", &score.missed), ("concealed wrongly", &score.false_conceal)] {
            if !list.is_empty() {
                text.push_str(&paint.doubtful(&format!(", {word} {}", list.join(" "))));
            }
        }
        if !score.false_block.is_empty() {
            text.push_str(&paint.bad(&format!(", blocked wrongly {}", score.false_block.join(" "))));
        }
    }
    if let Some(reason) = &capture.partial {
        text.push_str(&paint.doubtful(&format!(", read in part: {reason}")));
    }
    text + "\n"
}

fn whole(capture: &Capture, report: &Report, paint: Paint) -> String {
    let Capture { file, packets, duration_s, first, judged, sources, .. } = capture;
    let span = Duration::try_from_secs_f64(*duration_s).unwrap_or_default();
    let mut text = format!(
        "{}: {} in {}{}, {} judged, from {}\n",
        paint.strong(file),
        counted(*packets, "packet", "packets"),
        if span < Duration::from_secs(1) { format!("{duration_s:.3}s") } else { duration(span) },
        first.as_deref().map(|first| format!(" from {}", moment(first))).unwrap_or_default(),
        count(*judged),
        counted(*sources, "source", "sources"),
    );
    for note in notes(capture) {
        text.push_str(&paint.doubtful(&note));
        text.push('\n');
    }
    text.push('\n');
    if capture.acted.is_empty() {
        text.push_str("Nobody would have been concealed or blocked.\n");
    } else {
        text.push_str(&format!(
            "{} would have been acted on (concealed from a score of {:.2} on):\n\n",
            counted(capture.acted.len() as u64, "source", "sources"),
            report.conceal_at
        ));
        text.push_str(&sources_table(&capture.acted, paint));
        if let Some(first) = capture.acted.first() {
            text.push_str(&format!("\nWhy {}:\n", first.source));
            for evidence in first.evidence.iter().take(4) {
                text.push_str(&format!(
                    "  packet {:>6}  {:>10.3}s  {} {} port {}: {} (+{:.2}, score {:.2})\n",
                    evidence.packet,
                    evidence.after_s,
                    evidence.proto,
                    evidence.destination,
                    evidence.port,
                    evidence.outcome,
                    evidence.step,
                    evidence.score,
                ));
            }
        }
    }
    if !capture.close.is_empty() {
        text.push_str(&format!(
            "\n{} missed something, but not enough:\n\n",
            counted(capture.close.len() as u64, "source", "sources")
        ));
        text.push_str(&sources_table(&capture.close, paint));
    }
    text.push('\n');
    text.push_str(&customers(capture, paint));
    let hidden: Vec<_> = capture.verdicts.iter().filter(|verdict| verdict.level != "none").collect();
    for verdict in hidden {
        text.push_str(&format!(
            "  {:<8} {:<18} {} ({})\n",
            verdict.level,
            verdict.reason,
            counted(verdict.packets, "packet", "packets"),
            bytes(verdict.bytes)
        ));
    }
    if let Some(kernel) = &capture.kernel {
        text.push_str(&format!(
            "\nThe kernel judged {} alike, without a difference; {} it takes no trial of.\n",
            counted(kernel.compared, "packet", "packets"),
            count(kernel.skipped)
        ));
    }
    text
}

fn notes(capture: &Capture) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(reason) = &capture.partial {
        notes.push(format!("Read as far as it goes: {reason}."));
    }
    if capture.sorted {
        notes.push("Its packets were not in the order of time: they were sorted.".to_owned());
    }
    if capture.late > 0 {
        notes.push(format!(
            "{} came out of order and counted as if they came then: sort the capture for a true picture.",
            counted(capture.late, "packet", "packets")
        ));
    }
    if capture.unreadable > 0 {
        notes.push(format!(
            "{} of links that are not understood were left out.",
            counted(capture.unreadable, "packet", "packets")
        ));
    }
    if capture.one_sided && capture.judged > 0 {
        notes.push("No packet of what is guarded is in it: silence is all that tells of closed ports here.".to_owned());
    }
    if capture.forgotten > 0 {
        notes.push(format!("{} were forgotten for want of room.", counted(capture.forgotten, "source", "sources")));
    }
    if capture.storms > 0 {
        notes.push(format!("{} of forged suspects.", counted(capture.storms, "storm", "storms")));
    }
    notes
}

fn customers(capture: &Capture, paint: Paint) -> String {
    let found = capture.customers;
    if capture.judged == 0 {
        return "Nothing in it could be judged, so it does not tell whether anybody would have noticed.\n".to_owned();
    }
    if found.noticed == 0 {
        return paint.good("No packet to an open port would have been hidden: nobody would have noticed anything.\n");
    }
    format!(
        "{} from {} to open ports would have been hidden: whoever sent them would have noticed.\n",
        counted(found.noticed, "packet", "packets"),
        counted(found.sources, "source", "sources")
    )
}

fn sources_table(sources: &[Source], paint: Paint) -> String {
    let rows: Vec<[String; SOURCES.len()]> = sources
        .iter()
        .take(ROWS)
        .map(|source| {
            let at = source.blocked.as_ref().or(source.concealed.as_ref());
            [
                source.source.clone(),
                source.level.to_owned(),
                format!("{:.2}", source.score),
                count(source.contacts),
                count(source.failures),
                at.map_or_else(String::new, |at| count(at.packet)),
                count(source.hidden.values().sum()),
            ]
        })
        .collect();
    let mut text = table(SOURCES, &rows, paint);
    if sources.len() > ROWS {
        text.push_str(&format!("… and {} more; --json and --report list all.\n", sources.len() - ROWS));
    }
    text
}

fn scores(totals: &Totals, report: &Report, paint: Paint) -> String {
    let share = |share: Share| format!("{} of {}", share.detected, share.of);
    let blocks = format!("{}", totals.false_block);
    format!(
        "\n{} scanners detected: must {}, should {}, slow {}.\n\
         {} of {} benign sources concealed, {} blocked.\n\
         Contacts until detection: median {}, nine of ten {}, most {}.\n",
        paint.strong(&counted(report.captures.len() as u64, "capture", "captures")),
        share(totals.must),
        share(totals.should),
        share(totals.slow),
        totals.false_conceal,
        totals.benign_sources,
        if totals.false_block == 0 { paint.good(&blocks) } else { paint.bad(&blocks) },
        totals.probes_to_detect.median,
        totals.probes_to_detect.p90,
        totals.probes_to_detect.max,
    )
}

const DIFFERENCES: [(&str, Side); 5] = [
    ("SOURCE", Side::Left),
    ("OLD", Side::Left),
    ("HIDDEN", Side::Right),
    ("NEW", Side::Left),
    ("HIDDEN", Side::Right),
];

/// What two configurations decide differently.
#[must_use]
pub fn differences(found: &Differences, paint: Paint) -> String {
    let mut text = format!("old {}\nnew {}\n", found.old, found.new);
    for capture in &found.captures {
        text.push_str(&format!("\n{}: ", paint.strong(&capture.file)));
        if capture.differences.is_empty() {
            text.push_str(&format!("no difference; both act on {}.\n", counted(capture.same, "source", "sources")));
            continue;
        }
        text.push_str(&format!(
            "differently decided are {} of {}\n\n",
            capture.differences.len(),
            counted(capture.differences.len() as u64 + capture.same, "source", "sources")
        ));
        let decision = |decision: &Decision| match decision.packet {
            Some(packet) => format!("{} from packet {packet}", decision.level),
            None => decision.level.to_owned(),
        };
        let rows: Vec<[String; DIFFERENCES.len()]> = capture
            .differences
            .iter()
            .map(|found| {
                let (old, new) = (&found.old, &found.new);
                [found.source.clone(), decision(old), count(old.hidden), decision(new), count(new.hidden)]
            })
            .collect();
        text.push_str(&table(DIFFERENCES, &rows, paint));
    }
    text
}
