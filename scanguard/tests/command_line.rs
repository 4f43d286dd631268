//! The program as scripts meet it: exit codes, and what goes to which stream. Needs no rights.

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

#[path = "../../tests/src/skip.rs"]
#[expect(unreachable_pub, reason = "in the package of the tests it is reachable")]
mod skip;

fn scanguard(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_scanguard"))
        .current_dir(folder)
        .args(arguments)
        .output()
        .expect("the program starts")
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

#[test]
fn config_check_accepts_the_file_of_the_package() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../contrib/systemd/scanguard.toml");
    let output = scanguard(folder().path(), &["config", "check", file]);
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn exit_codes_and_streams_are_as_documented() {
    let folder = folder();
    std::fs::write(folder.path().join("broken.toml"), "mode = \"enfroce\"\n").expect("a file");
    std::fs::write(folder.path().join("good.toml"), "mode = \"enforce\"\n").expect("a file");
    // Arguments, exit code, whether standard output says something, whether standard error does.
    let rows: &[(&[&str], i32, bool, bool)] = &[
        (&["--help"], 0, true, false),
        (&["--version"], 0, true, false),
        (&[], 2, false, true),
        (&["sing"], 2, false, true),
        (&["sources", "list", "--limit", "many"], 2, false, true),
        (&["status", "--socket", "none.sock"], 3, false, true),
        (&["sources", "list", "--socket", "none.sock", "--json"], 3, true, true),
        (&["sing", "--json"], 2, true, true),
        (&["allow", "add", "0.0.0.0/0", "--socket", "none.sock"], 4, false, true),
        (&["allow", "add", "0.0.0.0/0", "--force", "--socket", "none.sock"], 3, false, true),
        (&["allow", "list", "--socket", "none.sock"], 3, false, true),
        (&["allow", "add", "192.0.2.1/24", "--socket", "none.sock"], 2, false, true),
        (&["block", "add", "192.0.2.1", "--for", "soon"], 2, false, true),
        (&["ban", "192.0.2.1", "--socket", "none.sock"], 3, false, true),
        (&["unban", "--socket", "none.sock"], 2, false, true),
        (&["mode", "sleep"], 2, false, true),
        (&["mode", "enforce", "--confirm", "5m", "--socket", "none.sock"], 3, false, true),
        (&["confirm", "--socket", "none.sock"], 3, false, true),
        (&["why", "192.0.2.1", "--socket", "none.sock"], 3, false, true),
        (&["explain", "nobody", "--socket", "none.sock"], 2, false, true),
        (&["incidents", "list", "--state", "half"], 2, false, true),
        (&["incidents", "show", "first", "--socket", "none.sock"], 2, false, true),
        (&["config", "reload", "--socket", "none.sock"], 3, false, true),
        (&["config", "default"], 0, true, false),
        (&["config", "check", "good.toml"], 0, true, false),
        (&["config", "check", "broken.toml"], 2, true, false),
        (&["config", "check", "missing.toml"], 2, false, true),
        (&["config", "show", "--config", "good.toml"], 0, true, false),
        (&["config", "show", "--config", "broken.toml"], 2, false, true),
        (&["completions", "zsh"], 0, true, false),
        (&["man", "pages"], 0, true, false),
    ];
    for (arguments, code, says, complains) in rows {
        let output = scanguard(folder.path(), arguments);
        let found = (output.status.code(), !output.stdout.is_empty(), !output.stderr.is_empty());
        assert_eq!(found, (Some(*code), *says, *complains), "{arguments:?}: {output:?}");
    }
    assert!(folder.path().join("pages/scanguard-sources-list.1").is_file());
}

#[test]
fn errors_under_json_are_objects_on_standard_output() {
    let folder = folder();
    std::fs::write(folder.path().join("broken.toml"), "mode = \"enfroce\"\n").expect("a file");
    let rows: &[(&[&str], &str, bool)] = &[
        (&["status", "--socket", "none.sock"], "unreachable", true),
        (&["mode", "enforce", "--socket", "none.sock"], "unreachable", true),
        (&["allow", "add", "::/0", "--socket", "none.sock"], "refused", true),
        (&["allow", "add", "192.0.2.1/24"], "usage", false),
        (&["sources", "list", "--limit", "many"], "usage", true),
        (&["run", "--nonsense"], "usage", true),
        (&["config", "show", "--config", "broken.toml"], "usage", false),
        (&["replay", "missing.pcap"], "failed", false),
    ];
    for (arguments, code, has_hint) in rows {
        let plain = scanguard(folder.path(), arguments);
        let output = scanguard(folder.path(), &[*arguments, &["--json"]].concat());
        assert_eq!(output.status.code(), plain.status.code(), "{arguments:?}");
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(
            (told["schema_version"].as_u64(), told["error"]["code"].as_str()),
            (Some(1), Some(*code)),
            "{arguments:?}"
        );
        assert!(told["error"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{told}");
        assert!(told["error"]["cause"].is_array(), "{told}");
        assert_eq!(told["error"]["hint"].is_string(), *has_hint, "{told}");
        assert!(plain.stdout.is_empty() && !output.stderr.is_empty(), "people read standard error: {arguments:?}");
    }
}

#[test]
fn without_a_daemon_the_message_says_how_to_start_one() {
    let output = scanguard(folder().path(), &["status", "--socket", "none.sock"]);
    insta::assert_snapshot!(text(&output.stderr));
}

/// The kernel pretends to be an old one (personality(2), `UNAME26`) to who asks for it by `setarch`.
#[test]
fn an_old_kernel_is_named_with_what_it_lacks() {
    let program = env!("CARGO_BIN_EXE_scanguard");
    let started = Command::new("setarch").args(["--uname-2.6", program, "run", "-i", "lo"]).output();
    let output = match started {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let why = "there is no setarch, of package util-linux";
            return skip::skip("setarch", why).unwrap_or_else(|why| panic!("{why}"));
        }
        started => started.expect("setarch starts"),
    };
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(77), "{said}");
    assert!(said.contains("the kernel is 2.6.") && said.contains("5.18") && said.contains("xdp.frags"), "{said}");
}

#[test]
fn checking_a_configuration_answers_programs_too() {
    let folder = folder();
    std::fs::write(folder.path().join("broken.toml"), "[sources]\nmax_source = 5\nipv6_prefix = 1\n").expect("a file");
    let output = scanguard(folder.path(), &["config", "check", "broken.toml", "--json"]);
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!(text(&output.stdout));
}

#[test]
fn the_effective_configuration_can_be_shown_and_used_as_a_file() {
    let folder = folder();
    std::fs::write(folder.path().join("own.toml"), "ports.canary = [\"9000-9010\", 23]\n").expect("a file");
    let shown = scanguard(folder.path(), &["config", "show", "--config", "own.toml"]);
    insta::assert_snapshot!(text(&shown.stdout));
    std::fs::write(folder.path().join("shown.toml"), &shown.stdout).expect("a file");
    let [first, second] = ["own.toml", "shown.toml"].map(|file| {
        let output = scanguard(folder.path(), &["config", "show", "--config", file, "--json"]);
        let shown: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(shown["schema_version"], 1);
        shown["config"].clone()
    });
    assert_eq!(first, second);
}

#[test]
fn the_configuration_reference_is_what_the_program_prints() {
    let output = scanguard(folder().path(), &["config", "default"]);
    let reference = include_str!("../../docs/configuration.md");
    assert!(
        reference.contains(&format!("```toml\n{}```", text(&output.stdout))),
        "docs/configuration.md is out of date: put the output of `scanguard config default` into it"
    );
}
