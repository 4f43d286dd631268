//! Loads, sets up and attaches the kernel part.

use anyhow::{Context as _, Result, anyhow};

use super::addresses::OwnAddresses;
use super::ports::PortWatch;
use crate::config::Config;
use crate::exit::{ExitStatus, Failure, OrExit as _};
use crate::kernel::preflight::{self, Missing};
use crate::kernel::{Attachment, Datapath, KernelError, NEVER_NS};
use crate::net::default_route_interfaces;

/// The name that stands for every interface with a default route.
const AUTO: &str = "auto";

/// One message with everything that is missing here and how to get it.
pub(super) fn preflight() -> Result<(), Failure> {
    let missing = preflight::check();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::message(ExitStatus::CannotRun, describe(&missing)))
}

/// What is missing, with what to do once for all that it helps against.
fn describe(missing: &[Missing]) -> String {
    let mut text = "it cannot run here:".to_owned();
    for (position, Missing { what, fix }) in missing.iter().enumerate() {
        text.push_str(&format!("\n  - {what}"));
        if missing.get(position + 1).is_none_or(|next| next.fix != *fix) {
            text.push_str(&format!("\n    {fix}"));
        }
    }
    text
}

/// The interfaces to guard, each once.
pub(super) async fn interfaces(wanted: &[String]) -> Result<Vec<String>, Failure> {
    if wanted.is_empty() {
        let message = "no interface to guard is named: give one with -i (`-i auto` takes those with a default route), \
                       or `interfaces` in the configuration";
        return Err(Failure::message(ExitStatus::Usage, message));
    }
    let mut interfaces: Vec<String> = Vec::new();
    for name in wanted {
        let names = if name == AUTO {
            let found =
                default_route_interfaces().await.context("cannot tell which interfaces have a default route")?;
            if found.is_empty() {
                let error = anyhow!("no interface has a default route, so `auto` means none: name one with -i");
                return Err(error.into());
            }
            found
        } else {
            vec![name.clone()]
        };
        for name in names {
            if !interfaces.contains(&name) {
                interfaces.push(name);
            }
        }
    }
    Ok(interfaces)
}

/// Loads the kernel part and tells it everything, so that it is right from the first packet on.
pub(super) async fn load(config: &Config) -> Result<(Datapath, OwnAddresses, PortWatch)> {
    let mut datapath = Datapath::load(&config.load_options())?;
    let contact_key =
        [getrandom::u64(), getrandom::u64()].map(|word| word.context("cannot get randomness from the kernel"));
    let [first, second] = contact_key;
    datapath.set_config(&config.kernel_config([first?, second?]))?;
    let allowed: Vec<_> = config.allow.iter().map(|network| (*network, NEVER_NS)).collect();
    datapath.set_allowed(&allowed)?;
    datapath.beat()?;
    let ports = PortWatch::follow(config, &mut datapath).await?;
    let addresses = OwnAddresses::follow(&mut datapath).await?;
    Ok((datapath, addresses, ports))
}

/// Attaches to every interface, or to none: what was attached before a failure goes when the datapath is dropped.
pub(super) async fn attach(
    datapath: &mut Datapath,
    interfaces: &[String],
    config: &Config,
) -> Result<Vec<Attachment>, Failure> {
    let mut guarded = Vec::with_capacity(interfaces.len());
    for interface in interfaces {
        let attachment = match datapath.attach(interface, config.attach).await {
            Err(error @ KernelError::NoInterface { .. }) => return Err(error).or_exit(ExitStatus::Usage),
            attached => attached.or_exit(ExitStatus::Failed)?,
        };
        guarded.push(attachment);
    }
    Ok(guarded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_missing_is_told_at_once() {
        let missing = |what: &str, fix: &str| Missing { what: what.into(), fix: fix.into() };
        let all = [
            missing("the kernel is 5.4", "Linux 5.18 or newer is needed"),
            missing("the right CAP_BPF is missing", "run as root"),
            missing("the right CAP_NET_ADMIN is missing", "run as root"),
        ];
        let expected = "it cannot run here:\n  - the kernel is 5.4\n    Linux 5.18 or newer is needed\n  \
                        - the right CAP_BPF is missing\n  - the right CAP_NET_ADMIN is missing\n    run as root";
        assert_eq!(describe(&all), expected);
    }
}
