//! `scanguard doctor`.

use clap::Args;
use clap_complete::ArgValueCandidates;
use tokio::runtime::Builder;

use anyhow::Context as _;

use super::backend::Backend;
use super::output::Output;
use super::{Global, render};
use crate::api::{Address, Why};
use crate::config::file;
use crate::doctor::{self, Answers};
use crate::exit::{ExitStatus, Failure, OrExit as _};

/// Look whether it can run here, who else is here, and what should be seen to
///
/// Kernel and rights (the programs are loaded, attached to nothing, and let go of), what each interface can do and
/// whose programs are on it, firewalls and containers beside it, where you come from and whether that address is safe,
/// which ports others reach and which of them look as if they should not be, clock and memory. It changes nothing, and
/// works with a daemon and without.
///
/// Exits with 0 if all is fine or there are hints only, with 5 if something should be seen to (warn), with 77 if it
/// cannot run here like that (fail).
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sudo scanguard doctor                 before the first start, and when something is odd
  sudo scanguard doctor -i eth0
  sudo scanguard doctor --json | jq '.checks[] | select(.state != \"ok\") | .message'
  sudo scanguard doctor --json | jq -r '.exposed[] | \"\\(.port)/\\(.proto) \\(.program)\"'")]
pub(super) struct DoctorVerb {
    /// An interface to look at; may be given several times [default: `interfaces` of the configuration, else those with
    /// a default route]
    #[arg(short, long = "interface", value_name = "INTERFACE", add = ArgValueCandidates::new(super::candidates::interfaces))]
    interfaces: Vec<String>,
}

impl DoctorVerb {
    pub(super) fn execute(self, global: &Global, output: Output) -> Result<ExitStatus, Failure> {
        let config = file::load(global.config.as_deref()).or_exit(ExitStatus::Usage)?.config;
        let caller = doctor::caller();
        let answers = Answers {
            // Without a daemon, and where this user may not ask, it looks for itself.
            status: Backend::new(global)?.status().ok().filter(|status| status.daemon),
            why: caller.as_ref().and_then(|login| {
                let wish = Address::<Why>::of(login.address.to_string());
                Backend::new(global).and_then(|mut backend| backend.operate(wish)).ok()
            }),
        };
        let wanted = match (self.interfaces.is_empty(), config.interfaces.is_empty()) {
            (false, _) => self.interfaces,
            (true, false) => config.interfaces.clone(),
            (true, true) => vec!["auto".to_owned()],
        };
        let runtime =
            Builder::new_multi_thread().worker_threads(1).enable_all().build().context("cannot start the runtime")?;
        let seen = runtime.block_on(doctor::look(&config, &wanted, caller, answers));
        let report = doctor::judge(&seen);
        output.show(&report, render::doctor)?;
        Ok(report.exit_status())
    }
}
