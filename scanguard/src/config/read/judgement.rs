//! The sections on scores, concealment and storms.

use std::ops::Range;
use std::time::Duration;

use crate::config::problem::Problems;
use crate::config::section::Section;
use crate::config::value::{number, placed, real, time_span};
use crate::config::{Conceal, Score, Storm};
use crate::duration;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// How far apart the two hypotheses are at least: closer ones take hundreds of contacts to tell apart.
const LEAST_GAP: f64 = 0.01;
/// What differences of decimal fractions are off by, generously.
const ROUNDING: f64 = 1e-9;

/// A value as far as it was written.
type Written<T> = Option<(T, Range<usize>)>;

/// Where to complain of two values that do not fit: at the second if it was written, else at the first. Defaults fit.
fn blame<T, U>(first: &Written<T>, second: &Written<U>) -> Range<usize> {
    let place = |span: &Range<usize>| span.clone();
    let first = first.as_ref().map(|(_, span)| place(span));
    second.as_ref().map(|(_, span)| place(span)).or(first).unwrap_or(0..0)
}

fn value<T: Copy>(written: &Written<T>, default: T) -> T {
    written.as_ref().map_or(default, |(value, _)| *value)
}

pub(super) fn score(mut section: Section<'_, '_>, default: Score, problems: &mut Problems<'_>) -> Score {
    let error = || placed(real(1e-9..=0.5));
    let chance = || placed(real(0.001..=0.999));
    let a = section.read("a", problems, error());
    let b = section.read("b", problems, error());
    let block_a = section.read("block_a", problems, error());
    let t0 = section.read("t0", problems, chance());
    let t1 = section.read("t1", problems, chance());
    let half_life = section.read("half_life", problems, time_span(MINUTE..=30 * DAY));
    section.finish(problems);
    let score = Score {
        a: value(&a, default.a),
        b: value(&b, default.b),
        block_a: value(&block_a, default.block_a),
        t0: value(&t0, default.t0),
        t1: value(&t1, default.t1),
        half_life: half_life.unwrap_or(default.half_life),
    };
    if score.a + score.b >= 1.0 {
        let reason =
            format!("`score.a` {:?} and `score.b` {:?} make 1: no evidence at all would be enough", score.a, score.b);
        problems.suggest(&blame(&a, &b), reason, "set both to 0.01 or so");
    }
    if score.block_a > score.a {
        let reason = format!("`score.block_a` is {:?}, but must not be above `score.a`, {:?}", score.block_a, score.a);
        problems.suggest(&blame(&a, &block_a), reason, "blocking takes more certainty than concealing, not less");
    }
    if score.t0 - score.t1 < LEAST_GAP - ROUNDING {
        let reason =
            format!("`score.t0` is {:?}, but must be above `score.t1`, {:?}, by {LEAST_GAP}", score.t0, score.t1);
        problems.suggest(&blame(&t0, &t1), reason, "a benign source finds open ports more often than a scanner");
    }
    score
}

pub(super) fn conceal(mut section: Section<'_, '_>, default: Conceal, problems: &mut Problems<'_>) -> Conceal {
    let shortest = section.read("duration", problems, placed(time_span(MINUTE..=24 * HOUR)));
    let longest = section.read("longest", problems, placed(time_span(MINUTE..=7 * DAY)));
    section.finish(problems);
    let conceal = Conceal { duration: value(&shortest, default.duration), longest: value(&longest, default.longest) };
    if conceal.longest < conceal.duration {
        let [longest_text, shortest_text] = [conceal.longest, conceal.duration].map(duration::format);
        let reason = format!(
            "`conceal.longest` is \"{longest_text}\", but must not be shorter than `conceal.duration`, \"{shortest_text}\""
        );
        problems.suggest(&blame(&shortest, &longest), reason, format!("set `longest` to \"{shortest_text}\" or more"));
    }
    conceal
}

pub(super) fn storm(mut section: Section<'_, '_>, default: Storm, problems: &mut Problems<'_>) -> Storm {
    let suspects_per_second = section.read("suspects_per_second", problems, number(1..=1_000_000));
    let duration = section.read("duration", problems, time_span(SECOND..=HOUR));
    section.finish(problems);
    Storm {
        suspects_per_second: suspects_per_second.unwrap_or(default.suspects_per_second),
        duration: duration.unwrap_or(default.duration),
    }
}
