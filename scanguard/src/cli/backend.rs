//! The one place from which verbs ask: the daemon, or where none runs what one left in the kernel.

use std::time::SystemTime;

use anyhow::Context as _;
use serde::de::DeserializeOwned;
use tokio::runtime::{Builder, Runtime};

use super::Global;
use super::output::{UnsavedNotes, tell};
use crate::api::{Incident, IncidentList, IncidentsQuery};
use crate::config::file::{LoadError, Loaded, load};
use crate::config::{Config, DEFAULT_SOCKET};
use crate::control::client::{AskError, Client};
use crate::daemon;
use crate::exit::{ExitStatus, Failure, OrExit as _};
use crate::kernel::KernelError;
use crate::operator::offline::{self, Offline};
use crate::operator::wish::{Around, Kind, Needs, Wish, refuse_unrecorded};
use crate::operator::{Caller, OperatorError, facts, incidents};
use crate::store::{Store, StoreError, Unsaved};

/// Answers questions, by whoever can.
pub(super) struct Backend {
    runtime: Runtime,
    /// A file that is wrong is the daemon's business, until there is none.
    config: Result<Loaded, LoadError>,
    seat: Seat,
    unsaved: UnsavedNotes,
}

/// Who answers.
enum Seat {
    /// A daemon, as far as is known.
    Daemon(Client),
    /// Nobody but us.
    Pinned(Box<Offline>),
}

impl Backend {
    pub(super) fn new(global: &Global) -> Result<Self, Failure> {
        let runtime = Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
        let config = load(global.config.as_deref());
        if global.config.is_some()
            && let Err(problem) = config
        {
            return Err(problem).or_exit(ExitStatus::Usage);
        }
        let configured =
            || config.as_ref().map_or_else(|_| DEFAULT_SOCKET.into(), |it| it.config.control_socket.clone());
        let socket = global.socket.clone().unwrap_or_else(configured);
        let (seat, unsaved) = (Seat::Daemon(Client::new(&socket)), global.unsaved.clone());
        Ok(Self { runtime, config, seat, unsaved })
    }

    /// What an operator asks for: of the daemon, or without one of what is pinned.
    pub(super) fn operate<W: Wish>(&mut self, wish: W) -> Result<W::Answer, Failure> {
        if let Seat::Daemon(client) = &self.seat {
            match self.runtime.block_on(client.operate(&wish)) {
                Err(error @ AskError::NoDaemon { .. }) => self.seat = Seat::Pinned(Box::new(self.pinned(error)?)),
                Err(AskError::Refused(error)) => return self.in_force(error),
                result => return result.map_err(no_answer),
            }
        }
        let around = self.around(&wish)?;
        let outcome = match &mut self.seat {
            Seat::Pinned(offline) if W::KIND == Kind::Read => {
                wish.carry_out(&mut offline.desk, around).map(|mut answer| {
                    W::complete(&mut answer, offline.desk.archive());
                    answer
                })
            }
            Seat::Pinned(offline) => {
                let archive = offline.desk.archive().clone();
                let (asked, now, since) = (wish.clone(), around.now, archive.mark());
                let outcome =
                    refuse_unrecorded(&wish, &archive).and_then(|()| wish.carry_out(&mut offline.desk, around));
                offline.desk.audit_wish(Caller::this_process(), &asked, &outcome, now);
                let saved = self.runtime.block_on(archive.saved(since, archive.mark()));
                match (outcome, saved) {
                    (Ok(answer), Err(unsaved)) => Err(OperatorError::unsaved(&answer, unsaved)),
                    (outcome, _) => outcome,
                }
            }
            Seat::Daemon(_) => unreachable!("the daemon was asked above"),
        };
        outcome.or_else(|error| self.in_force(error))
    }

    /// What is in force, but not saved, is an answer; it is noted that it is not saved. Everything else is a failure.
    fn in_force<T: DeserializeOwned>(&self, error: OperatorError) -> Result<T, Failure> {
        match error {
            OperatorError::Unsaved { answer, why } => {
                self.unsaved.add(Unsaved { why });
                serde_json::from_value(answer).or_exit(ExitStatus::Failed)
            }
            error => Err(refusal(error)),
        }
    }

    /// What only a daemon knows.
    pub(super) fn ask<T: DeserializeOwned>(
        &self,
        question: impl AsyncFnOnce(&Client) -> Result<T, AskError>,
    ) -> Result<T, Failure> {
        match &self.seat {
            Seat::Daemon(client) => match self.runtime.block_on(question(client)) {
                Err(AskError::Refused(error)) => self.in_force(error),
                result => result.map_err(no_answer),
            },
            Seat::Pinned(_) => unreachable!("who asks the daemon asks it first"),
        }
    }

    /// How the daemon is, or without one how the kernel part is that it left.
    pub(super) fn status(&self) -> Result<crate::api::Status, Failure> {
        let Seat::Daemon(client) = &self.seat else { unreachable!("nothing was asked before") };
        match self.runtime.block_on(client.status()) {
            Err(error @ AskError::NoDaemon { .. }) => match daemon::offline_status(self.offline_config(&error)?) {
                Ok(Some(status)) => Ok(status),
                Ok(None) => Err(no_answer(error)),
                Err(failure) => Err(unusable(failure, error)),
            },
            result => result.map_err(no_answer),
        }
    }

    /// The latest incidents: of the daemon, or without one of what it kept.
    pub(super) fn incidents(&self, query: IncidentsQuery) -> Result<IncidentList, Failure> {
        self.kept(
            async |client| client.incidents(query).await,
            |store, config| incidents::list(Some(store), &[], &query, &config.key_rules(), SystemTime::now()),
        )
    }

    /// All of an incident, likewise.
    pub(super) fn incident(&self, id: u64) -> Result<Incident, Failure> {
        let found = self.kept(
            async |client| client.incident(id).await.map(Some),
            |store, config| incidents::show(Some(store), None, id, &config.key_rules()),
        )?;
        found.ok_or_else(|| refusal(incidents::missing(id)))
    }

    /// What the daemon answers, or without one what its file of state says.
    pub(super) fn kept<T>(
        &self,
        question: impl AsyncFnOnce(&Client) -> Result<T, AskError>,
        read: impl FnOnce(&Store, &Config) -> Result<T, StoreError>,
    ) -> Result<T, Failure> {
        let Seat::Daemon(client) = &self.seat else { unreachable!("nothing was asked before") };
        match self.runtime.block_on(question(client)) {
            Err(error @ AskError::NoDaemon { .. }) => {
                let config = self.offline_config(&error)?;
                // A file that may not be looked at is none.
                if !config.state.try_exists().unwrap_or(false) {
                    return Err(no_answer(error));
                }
                let read = Store::open_to_read(&config.state).and_then(|store| read(&store, config));
                let answer = read.map_err(|found| unusable(Failure::new(ExitStatus::Failed, found), error))?;
                tell("no daemon runs: this is what the last one kept");
                Ok(answer)
            }
            result => result.map_err(no_answer),
        }
    }

    /// What is pinned, where that can be used.
    fn pinned(&self, error: AskError) -> Result<Offline, Failure> {
        let config = self.offline_config(&error)?;
        match offline::open(config, SystemTime::now()) {
            Ok(Some(offline)) => {
                tell("no daemon runs: this is about what one left in the kernel (`run --keep`)");
                if !offline.desk.archive().remembers() {
                    tell(&format!(
                        "{} knows nothing of a daemon: if the last one had another configuration, name it with --config, \
                         or reasons and records are missing",
                        config.state.display()
                    ));
                }
                Ok(offline)
            }
            Ok(None) => Err(no_answer(error)),
            Err(found) => Err(unusable(Failure::new(ExitStatus::Failed, found), error)),
        }
    }

    /// The configuration, which says where pins are.
    fn offline_config(&self, error: &AskError) -> Result<&Config, Failure> {
        self.config.as_ref().map(|loaded| &loaded.config).map_err(|problem| {
            let message = format!("{error}\nWhat an earlier one may have left cannot be looked for either: {problem}");
            Failure::message(ExitStatus::Unreachable, message)
        })
    }

    fn around<W: Wish>(&self, wish: &W) -> Result<Around, Failure> {
        let mut around = Around::now();
        if W::NEEDS == Needs::Facts {
            let also: Vec<_> = wish.logged_in_from().iter().filter_map(|address| address.parse().ok()).collect();
            let Loaded { config, .. } = self
                .config
                .as_ref()
                .map_err(ToString::to_string)
                .map_err(anyhow::Error::msg)
                .or_exit(ExitStatus::Usage)?;
            around.facts = self.runtime.block_on(facts::gather(&config.safety, &also));
        }
        Ok(around)
    }
}

/// Asks for one thing.
pub(super) fn operate<W: Wish>(global: &Global, wish: W) -> Result<W::Answer, Failure> {
    Backend::new(global)?.operate(wish)
}

fn no_answer(error: AskError) -> Failure {
    match error {
        AskError::Refused(error) => refusal(error),
        // The same refusal as that of a daemon whose socket lets everybody connect.
        AskError::NotAllowed(_) => Failure::new(ExitStatus::Refused, error),
        AskError::NoDaemon { .. } | AskError::TooSlow(_) | AskError::Garbled { .. } => {
            Failure::new(ExitStatus::Unreachable, error)
        }
    }
}

fn refusal(error: OperatorError) -> Failure {
    let status = match error {
        OperatorError::Usage(_) => ExitStatus::Usage,
        OperatorError::Refused { .. } => ExitStatus::Refused,
        OperatorError::NotFound(_) | OperatorError::Unsaved { .. } => ExitStatus::Failed,
        // Its text and its cause are the same: told once is enough.
        OperatorError::Failed(error) => return Failure { status: ExitStatus::Failed, error },
    };
    Failure::new(status, error)
}

/// Neither a daemon nor what one left can be used. Who lacks the rights for the latter needs to hear of the former only.
fn unusable(found: Failure, error: AskError) -> Failure {
    if is_permission(&found.error) {
        return no_answer(error);
    }
    let status = match found.error.downcast_ref::<KernelError>() {
        // Whoever holds them may be a daemon with another socket.
        Some(KernelError::PinsInUse { .. }) => ExitStatus::Unreachable,
        Some(KernelError::StalePins { .. }) => ExitStatus::Refused,
        _ => found.status,
    };
    Failure { status, error: found.error.context(error.to_string()) }
}

fn is_permission(error: &anyhow::Error) -> bool {
    let kinds = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>()).map(std::io::Error::kind);
    kinds.into_iter().any(|kind| kind == std::io::ErrorKind::PermissionDenied)
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};
    use std::path::PathBuf;
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::api::{
        Address, AllowAdd, AuditList, AuditQuery, BlockAdd, BlockAdded, BlockHistory, HistoryQuery, NewAllow, Reloaded,
        Signal, Signalled, SourceList, SourcesQuery, Status, Why,
    };
    use crate::control::server::{Answers, router};
    use crate::control::socket::claim;
    use crate::http;

    fn nobody() -> AskError {
        AskError::NoDaemon { socket: PathBuf::from("none.sock"), why: "there is no such socket".into() }
    }

    /// Adds what it is asked to add, and refuses the rest.
    struct MadeUp;

    impl Answers for MadeUp {
        async fn status(&self) -> anyhow::Result<Status> {
            anyhow::bail!("it is ill")
        }

        async fn sources(&self, _: SourcesQuery) -> anyhow::Result<SourceList> {
            anyhow::bail!("it is ill")
        }

        async fn incidents(&self, _: IncidentsQuery) -> anyhow::Result<IncidentList> {
            anyhow::bail!("it is ill")
        }

        async fn incident(&self, _: u64) -> anyhow::Result<Option<Incident>> {
            Ok(None)
        }

        async fn operate<W: Wish>(&self, wish: W, _: Caller) -> Result<W::Answer, OperatorError> {
            let asked = serde_json::to_value(&wish).expect("JSON");
            if W::PATH == AllowAdd::PATH && asked["entries"].is_array() {
                let added = asked["entries"].as_array().map(Vec::len);
                let answer = json!({"schema_version": 1, "added": added, "updated": 0, "unblocked": [], "cleared": []});
                return Ok(serde_json::from_value(answer).expect("an answer"));
            }
            if W::PATH == BlockAdd::PATH {
                let unsaved = Unsaved { why: "the disk is full".into() };
                return Err(OperatorError::unsaved(&BlockAdded { replaced: true, ..BlockAdded::default() }, unsaved));
            }
            let message = format!("{} {asked}", W::PATH);
            Err(OperatorError::Refused { rule: "own".into(), message })
        }

        fn admit(&self, _: &Signal) -> Result<(), OperatorError> {
            Ok(())
        }

        async fn signal(&self, _: Signal, _: Caller) -> Result<Signalled, OperatorError> {
            unreachable!("it is not asked for")
        }

        async fn audit(&self, _: AuditQuery) -> Result<AuditList, OperatorError> {
            Err(OperatorError::NotFound("there is none".into()))
        }

        async fn history(&self, _: HistoryQuery) -> Result<BlockHistory, OperatorError> {
            Err(OperatorError::NotFound("there is none".into()))
        }

        async fn reload(&self, _: Caller) -> Result<Reloaded, OperatorError> {
            Err(OperatorError::Usage("line 1 is wrong".into()))
        }
    }

    /// Runs something against a daemon that is made up.
    fn with_daemon(test: impl FnOnce(&Global)) {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("control.sock");
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        let (listener, _file) = runtime.block_on(async { claim(&socket, None) }).expect("a socket");
        runtime.spawn(http::serve(listener, router(Arc::new(MadeUp))));
        test(&Global {
            json: false,
            no_color: true,
            socket: Some(socket),
            config: None,
            unsaved: UnsavedNotes::default(),
        });
    }

    #[test]
    fn wishes_reach_the_daemon_and_its_answers_come_back() {
        with_daemon(|global| {
            let entries = vec![NewAllow { prefix: "192.0.2.7".into(), ..NewAllow::default() }; 3];
            assert_eq!(operate(global, AllowAdd { entries, ..AllowAdd::default() }).expect("an answer").added, 3);
            let failure = operate(global, Address::<Why>::of("2001:db8::/64")).expect_err("a refusal");
            let expected = "/v1/why {\"address\":\"2001:db8::/64\"}";
            assert_eq!((failure.status, failure.to_string().as_str()), (ExitStatus::Refused, expected));
            let backend = Backend::new(global).expect("a backend");
            let failure = backend.ask(async |client| client.reload().await).expect_err("a wrong file");
            assert_eq!(failure.status, ExitStatus::Usage);
            assert_eq!(
                backend.incident(7).expect_err("none").to_string(),
                "there is no incident 7: `scanguard incidents list` shows which there are"
            );
            assert_eq!(backend.status().expect_err("an ill daemon").status, ExitStatus::Failed);
        });
    }

    #[test]
    fn what_is_in_force_and_not_saved_is_an_answer_with_a_bad_exit_code() {
        with_daemon(|global| {
            let mut backend = Backend::new(global).expect("a backend");
            assert_eq!(global.unsaved.exit_status(ExitStatus::Done), ExitStatus::Done);
            let added = backend.operate(BlockAdd::default()).expect("it is in force");
            assert!(added.replaced, "what was done is told");
            assert_eq!(global.unsaved.exit_status(ExitStatus::Done), ExitStatus::Failed);
            assert_eq!(global.unsaved.exit_status(ExitStatus::Refused), ExitStatus::Refused);
            let untold = global.unsaved.take().expect("it is told with the answer");
            let OperatorError::Unsaved { answer, .. } = OperatorError::unsaved(&added, untold) else { panic!() };
            assert_eq!(
                (&answer["applied"], &answer["saved"], &answer["replaced"]),
                (&json!(true), &json!(false), &json!(true))
            );
            assert_eq!(answer["unsaved_because"], "the disk is full");
        });
    }

    #[test]
    fn each_refusal_has_its_exit_code() {
        let rows = [
            (OperatorError::Usage("x".into()), 2),
            (OperatorError::Refused { rule: "own".into(), message: "x".into() }, 4),
            (OperatorError::NotFound("x".into()), 1),
            (OperatorError::Failed(anyhow::anyhow!("x")), 1),
        ];
        for (error, code) in rows {
            let failure = no_answer(AskError::Refused(error));
            assert_eq!((failure.status as u8, failure.to_string().as_str()), (code, "x"));
        }
        for error in [nobody(), AskError::TooSlow("x".into())] {
            assert_eq!(no_answer(error).status, ExitStatus::Unreachable);
        }
        assert_eq!(no_answer(AskError::NotAllowed("x".into())).status, ExitStatus::Refused, "as the daemon's own 403");
    }

    #[test]
    fn pins_that_cannot_be_used_are_told_beside_the_missing_daemon() {
        let folder = PathBuf::from("/sys/fs/bpf/scanguard/v0");
        let io = |kind| KernelError::Pins { what: "open", path: folder.clone(), source: Error::from(kind) };
        let rows = [
            (io(ErrorKind::PermissionDenied), ExitStatus::Unreachable, false),
            (io(ErrorKind::NotFound), ExitStatus::Failed, true),
            (KernelError::PinsInUse { folder: folder.clone() }, ExitStatus::Unreachable, true),
            (KernelError::StalePins { folder: folder.clone() }, ExitStatus::Refused, true),
        ];
        for (error, status, is_told) in rows {
            let failure = unusable(Failure::new(ExitStatus::Failed, error), nobody());
            let text = failure.to_string();
            assert_eq!((failure.status, text.contains("/sys/fs/bpf")), (status, is_told), "{text}");
            assert!(text.starts_with("no daemon answers on none.sock"), "{text}");
        }
    }
}
