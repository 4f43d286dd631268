//! Nobody scans: customers browse, and some of them have habits that look odd.

use std::time::Duration;

use anyhow::Result;

use super::Scenario;
use crate::lab::customers::Habits;
use crate::lab::report::Report;
use crate::lab::stage::{Scene, Setup, Stage};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "customers-only",
    about: "no scan: 50 customers make 10,000 requests; mail discovery, dead ports, HTTP/3 attempts",
    play,
};

const SCENE: Scene = Scene { customers: 50, pace: Duration::from_millis(200), least_rounds: 100, ..Scene::USUAL };

fn play(setup: &Setup) -> Result<Report> {
    let stage = Stage::set(setup, &SCENE)?;
    let habits = Habits::start(&stage.lab);
    let calm = stage.calm()?;
    habits.stop()?;
    Ok(calm.close(setup)?.report(SCENARIO.name, setup.defender))
}
