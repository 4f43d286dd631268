//! Completions as a real bash makes them, with a daemon that answers, one that hangs, and none. Needs no rights.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// What bash offers after these words, the last of which is begun.
fn offered(words: &[&str]) -> Vec<String> {
    let program = Path::new(env!("CARGO_BIN_EXE_scanguard"));
    let script = r#"
source <(scanguard completions bash)
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_TYPE=9
_clap_complete_scanguard scanguard "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\n' "${COMPREPLY[@]}"
"#;
    let path = format!("{}:{}", program.parent().expect("a folder").display(), std::env::var("PATH").expect("a PATH"));
    let output =
        Command::new("bash").args(["-c", script, "bash"]).args(words).env("PATH", path).output().expect("bash");
    assert!(output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

#[test]
fn bash_completes_verbs_and_interfaces() {
    assert_eq!(offered(&["scanguard", "statu"]), ["status"]);
    assert_eq!(offered(&["scanguard", "run", "-i", "lo"]), ["lo"]);
    assert!(offered(&["scanguard", "run", "--interface", ""]).contains(&"auto".to_owned()));
}

#[test]
fn bash_completes_what_is_blocked_and_the_numbers_of_incidents() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("control.sock");
    let listener = UnixListener::bind(&socket).expect("a socket");
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let length = stream.read(&mut request).unwrap_or_default();
            let block = r#"{"source":"203.0.113.66","level":"block","scope":"all","hard":false,"reason":null,"origin":"operator",
                "since":"2026-03-01T12:00:00.000Z","expires":null}"#;
            let body = if request[..length].starts_with(b"GET /v1/block") {
                format!(
                    "{{\"schema_version\":1,\"entries\":[{block},{}]}}",
                    block.replace("203.0.113.66", "198.51.100.0/24")
                )
            } else {
                "nonsense".to_owned()
            };
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length";
            let _ = write!(stream, "{head}: {}\r\n\r\n{body}", body.len());
        }
    });
    let socket = socket.to_str().expect("a path");
    let unban = offered(&["scanguard", "--socket", socket, "unban", ""]);
    assert!(unban.contains(&"203.0.113.66".to_owned()) && unban.contains(&"198.51.100.0/24".to_owned()), "{unban:?}");
    assert_eq!(offered(&["scanguard", "--socket", socket, "block", "remove", "203"]), ["203.0.113.66"]);
    // What answers nonsense offers nothing.
    assert!(
        !offered(&["scanguard", "--socket", socket, "incidents", "show", ""]).iter().any(|word| word.starts_with('n'))
    );
}

#[test]
fn without_a_daemon_or_with_one_that_hangs_nothing_is_offered_and_soon() {
    let folder = tempfile::tempdir().expect("a folder");
    let hangs = folder.path().join("hangs.sock");
    let _listener = UnixListener::bind(&hangs).expect("a socket");
    for socket in [hangs, folder.path().join("none.sock")] {
        let begun = Instant::now();
        assert_eq!(offered(&["scanguard", "--socket", socket.to_str().expect("a path"), "unban", "2"]), [""; 0]);
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    }
}
