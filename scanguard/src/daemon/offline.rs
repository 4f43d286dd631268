//! What is shown without a daemon, from what one left in the kernel.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Instant, SystemTime};

use anyhow::Context as _;

use super::census::Census;
use super::incidents::Recorder;
use super::interfaces::Guarded;
use super::live::{Live, State};
use super::logging::LogTally;
use super::memory::Memory;
use super::quota::Quota;
use super::view::{View, kernel_release};
use crate::api::Status;
use crate::config::Config;
use crate::control::server::Answers as _;
use crate::exit::{ExitStatus, Failure, OrExit as _};
use crate::kernel::{Attachment, link};
use crate::net::{NetSettings, links};
use crate::operator::offline;

/// How the kernel part is without a daemon; nothing when nothing is pinned.
///
/// # Errors
/// When what is pinned cannot be used or read.
pub fn offline_status(config: &Config) -> Result<Option<Status>, Failure> {
    let Some(opened) = offline::open(config, SystemTime::now()).or_exit(ExitStatus::Failed)? else {
        return Ok(None);
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    let status = runtime.block_on(async {
        let desk = &opened.desk;
        let readings = desk.read_tables().readings();
        let mut guarded = Vec::new();
        let present = links().await?;
        for index in opened.pins.links() {
            let Some(link) = present.iter().find(|link| link.index == index) else {
                guarded.push(Guarded { name: format!("interface {index}"), attachment: None });
                continue;
            };
            let xdp = link::describe(&link.name).await?.xdp;
            let attachment = xdp.map(|(driver_mode, program_id)| Attachment {
                interface: link.name.clone(),
                index,
                driver_mode,
                program_id,
                nic: None,
                egress: None,
            });
            guarded.push(Guarded { name: link.name.clone(), attachment });
        }
        let live = Live::new(State {
            mode: desk.mode_now(),
            mode_since: None,
            config: Arc::new(config.clone()),
            reverts: desk.reverts(),
            lockdown: desk.lockdown_brief(),
            configured: config.mode,
            config_read: super::live::ConfigRead::now(),
            keys: desk.read_tables().config().keys,
            rules: desk.read_tables().config().score,
            safety: config.safety.clone(),
            signals: config.signals,
            guarded,
            feeds: desk.feeds().iter().map(super::live::FeedRead::of).collect(),
            sessions: crate::api::SessionsWatch::default(),
            logins_unseen: None,
            drift: 0,
            drifted: None,
            repairs: BTreeMap::new(),
            breaker_open: false,
            pending: desk.pending() as u64,
            fronted: None,
            known_proposed: Vec::new(),
            would_have: crate::api::WouldHave::default(),
            decisions: BTreeMap::new(),
        })?;
        let view = View {
            live,
            jobs: None,
            memory: Memory::default(),
            informant: None,
            recorder: Recorder::start(None, desk.read_tables().config().keys, None),
            forwards: Arc::new(AtomicBool::new(NetSettings::read().is_ok_and(|settings| settings.forwards))),
            quota: Quota::default(),
            archive: desk.archive().clone(),
            log: LogTally::default(),
            kept: true,
            started: Instant::now(),
            kernel: kernel_release(),
            census: Census::new(readings.clone()),
            readings,
        };
        view.status().await
    })?;
    Ok(Some(status))
}
