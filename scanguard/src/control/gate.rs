//! Who may ask on the control socket: root, the user that the daemon runs as, and members of the socket's group.
//!
//! The file's mode (0660) keeps others from connecting. This says no as well, whatever somebody did to the mode, by what the kernel
//! recorded of the other end when it connected (`SO_PEERCRED`, `SO_PEERGROUPS`, unix(7)).

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json, Router};
use tracing::warn;

use crate::api::{Refusal, RefusalCode};
use crate::http::Peer;

/// Who may ask.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Gate {
    /// The user that the daemon runs as.
    pub owner: u32,
    /// The group of the socket.
    pub group: u32,
}

impl Gate {
    /// Whether somebody may ask. Of whom the kernel says nothing may not.
    #[must_use]
    pub fn admits(&self, peer: &Peer) -> bool {
        let Peer { uid, gid, groups, pid: _ } = peer;
        let is_owner = uid.is_some_and(|uid| uid == 0 || uid == self.owner);
        is_owner || *gid == Some(self.group) || groups.contains(&self.group)
    }
}

/// Puts the gate before routes.
pub fn guard(router: Router, gate: Gate) -> Router {
    router.layer(from_fn_with_state(gate, admit))
}

async fn admit(State(gate): State<Gate>, Extension(peer): Extension<Peer>, request: Request, next: Next) -> Response {
    if gate.admits(&peer) {
        return next.run(request).await;
    }
    let Peer { uid, gid, pid, groups: _ } = peer;
    warn!(
        uid,
        gid,
        pid,
        path = request.uri().path(),
        "somebody asks who may not: he is neither root nor in the socket's group"
    );
    let refusal = Refusal {
        rule: Some("peer".to_owned()),
        ..Refusal::new(
            RefusalCode::Refused,
            "you may not talk to this daemon: use sudo, or join the group of its socket",
        )
    };
    (StatusCode::FORBIDDEN, Json(refusal)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_the_daemons_user_and_the_sockets_group_may_ask_and_nobody_else() {
        let gate = Gate { owner: 990, group: 4 };
        let peer =
            |uid, gid, groups: &[u32]| Peer { uid: Some(uid), gid: Some(gid), pid: Some(1), groups: groups.into() };
        for (peer, admitted) in [
            (peer(0, 0, &[]), true),
            (peer(990, 990, &[]), true),
            (peer(1000, 4, &[]), true),
            (peer(1000, 1000, &[27, 4]), true),
            (peer(1000, 1000, &[27, 44]), false),
            (peer(4, 1000, &[]), false),
            (Peer::default(), false),
        ] {
            assert_eq!(gate.admits(&peer), admitted, "{peer:?}");
        }
    }
}
