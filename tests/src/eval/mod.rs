//! How good scanguard is on labelled captures, beside what others published.

pub mod baselines;
pub mod flows;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::Result;
use scanguard::config::Config;
use scanguard::feeds::Feeds;
use scanguard::replay::labels::{Judged, Labels, Score, Totals};
use scanguard::replay::{Options, replay};
use serde::Serialize;

/// Figures of one detector.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// What it goes by.
    pub rule: &'static str,
    /// Where that is published.
    pub source: &'static str,
    /// Scores over all captures. A baseline blocks whom it flags.
    pub totals: Totals,
    /// Captures where something is wrong.
    pub captures: BTreeMap<String, Score>,
}

/// The table.
#[derive(Clone, Debug, Serialize)]
pub struct Evaluation {
    /// Version of this shape.
    pub schema_version: u32,
    /// Captures.
    pub captures: usize,
    /// Detectors, scanguard first.
    pub rows: Vec<Row>,
}

/// Evaluates all captures that a file of labels names.
///
/// # Errors
/// When the labels or one of the captures cannot be read.
pub fn evaluate(labels: &Path) -> Result<Evaluation> {
    let labels = Labels::read(labels)?;
    let mut rows = vec![Row {
        name: "scanguard",
        rule: "the defaults: concealed at the fourth failure, blocked only on proof",
        source: "docs/detection.md",
        totals: Totals::default(),
        captures: BTreeMap::new(),
    }];
    rows.extend(baselines::ALL.iter().map(|baseline| Row {
        name: baseline.name,
        rule: baseline.rule,
        source: baseline.cite,
        totals: Totals::default(),
        captures: BTreeMap::new(),
    }));
    for label in &labels.captures {
        let options = Options {
            config: Config::default(),
            feeds: Feeds::default(),
            protect: label.protected.clone(),
            events: false,
        };
        let replayed = replay(&labels.folder.join(&label.file), &options, None, |_| {})?;
        let contacts = flows::contacts(&labels.folder.join(&label.file), &label.protected)?;
        let file = label.file.display().to_string();
        for row in &mut rows {
            let score = match baselines::ALL.iter().find(|baseline| baseline.name == row.name) {
                None => row.totals.add(label, &replayed),
                Some(baseline) => {
                    let name = |source| replayed.keys.display(source).to_string();
                    let flagged: BTreeMap<String, u64> =
                        (baseline.judge)(&contacts).into_iter().map(|(source, after)| (name(source), after)).collect();
                    let judged = Judged {
                        blocked: flagged.keys().cloned().collect(),
                        concealed: flagged,
                        sources: replayed.sources.iter().map(|source| name(*source)).collect(),
                    };
                    row.totals.judge(label, &replayed.keys, &judged)
                }
            };
            if !(score.missed.is_empty() && score.false_conceal.is_empty() && score.false_block.is_empty()) {
                row.captures.insert(file.clone(), score);
            }
        }
    }
    Ok(Evaluation { schema_version: 1, captures: labels.captures.len(), rows })
}

impl fmt::Display for Evaluation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "| detector | must | should | slow | others flagged | others blocked | contacts until then (median, 9 of 10) |\n\
             |---|---|---|---|---|---|---|"
        )?;
        for row in &self.rows {
            let Totals { must, should, slow, false_conceal, false_block, benign_sources, probes_to_detect, .. } =
                &row.totals;
            writeln!(
                formatter,
                "| {} | {} of {} | {} of {} | {} of {} | {false_conceal} of {benign_sources} | {false_block} | {}, {} |",
                row.name,
                must.detected,
                must.of,
                should.detected,
                should.of,
                slow.detected,
                slow.of,
                probes_to_detect.median,
                probes_to_detect.p90
            )?;
        }
        Ok(())
    }
}
