//! `seeds`: writes what fuzzing begins with, made of the frames, the capture, the configuration and the requests that the project has anyway.
//! Run by `cargo xtask fuzz`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use scanguard::config::Config;
use scanguard::config::document::{Comments, document};
use scanguard_fuzz_targets::datapath::history;
use scanguard_fuzz_targets::oracle;
use scanguard_tests::answers::{Kind, answer};
use scanguard_tests::frames::table;

/// Frames in one history, and in one capture.
const TOGETHER: usize = 8;

fn main() -> ExitCode {
    let Some(folder) = env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: seeds FOLDER");
        return ExitCode::from(2);
    };
    match write(&folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("seeds: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn write(folder: &Path) -> Result<()> {
    let mut frames: Vec<Vec<u8>> = table().into_iter().map(|row| row.frame).collect();
    let answers: Vec<Vec<u8>> =
        frames.iter().flat_map(|frame| Kind::ALL.map(|kind| answer(frame, kind))).flatten().collect();
    frames.extend(answers);
    let groups = || frames.chunks(TOGETHER).map(|group| group.iter().map(Vec::as_slice));
    put(folder, "parser", frames.iter().cloned())?;
    put(folder, "datapath", groups().map(history))?;
    put(folder, "oracle", oracle::seeds())?;
    put(folder, "capture", groups().flat_map(|group| [pcap(group.clone()), pcapng(group)]))?;
    let config = Config::default();
    let documents = [Comments::With, Comments::Without].map(|comments| document(&config, comments).into_bytes());
    // Each key alone as well: what changes one of many is lost among them.
    let lines: Vec<Vec<u8>> =
        document(&config, Comments::Without).lines().map(|line| line.as_bytes().to_vec()).collect();
    put(folder, "config", documents.into_iter().chain(lines))?;
    put(folder, "api", REQUESTS.iter().map(|(method, path, body)| request(method, path, body)))
}

fn put(folder: &Path, target: &str, inputs: impl IntoIterator<Item = Vec<u8>>) -> Result<()> {
    let folder = folder.join(target);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (number, input) in inputs.into_iter().enumerate() {
        let file = folder.join(format!("seed-{number:04}"));
        fs::write(&file, input).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// A capture of Ethernet as libpcap writes it, with microseconds.
fn pcap<'a>(frames: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let mut bytes = words(&[0xa1b2_c3d4, 4 << 16 | 2, 0, 0, 65_535, 1]);
    for (second, frame) in (1..).zip(frames) {
        bytes.extend(words(&[second, 0, frame.len() as u32, frame.len() as u32]));
        bytes.extend_from_slice(frame);
    }
    bytes
}

/// The same as pcapng (draft-ietf-opsawg-pcapng).
fn pcapng<'a>(frames: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let block = |kind: u32, mut body: Vec<u8>| {
        body.resize(body.len().next_multiple_of(4), 0);
        let length = body.len() as u32 + 12;
        [words(&[kind, length]), body, words(&[length])].concat()
    };
    let mut bytes = block(0x0a0d_0d0a, words(&[0x1a2b_3c4d, 1, u32::MAX, u32::MAX]));
    bytes.extend(block(1, words(&[1, 65_535])));
    for (second, frame) in (1..).zip(frames) {
        let length = frame.len() as u32;
        bytes.extend(block(6, [words(&[0, 0, second * 1_000_000, length, length]), frame.to_vec()].concat()));
    }
    bytes
}

/// Every route, with what it takes.
const REQUESTS: [(&str, &str, &str); 16] = [
    ("GET", "/v1/status", ""),
    ("GET", "/v1/sources?sort=score&limit=7", ""),
    ("GET", "/v1/allow", ""),
    ("GET", "/v1/allow/test?address=192.0.2.7", ""),
    ("GET", "/v1/block", ""),
    ("GET", "/v1/mode", ""),
    ("GET", "/v1/incidents", ""),
    ("GET", "/v1/incidents/1", ""),
    ("GET", "/v1/why?address=2001:db8::1", ""),
    ("POST", "/v1/allow", r#"{"entries":[{"prefix":"192.0.2.7","name":null,"comment":"x","for_s":60}]}"#),
    ("POST", "/v1/allow/remove", r#"{"prefixes":["192.0.2.7"]}"#),
    (
        "POST",
        "/v1/block",
        r#"{"prefix":"192.0.2.7","scope":"all","hard":true,"for_s":60,"reason":"x","force":false,"logged_in_from":[]}"#,
    ),
    ("POST", "/v1/block/remove", r#"{"prefixes":["192.0.2.7"]}"#),
    ("POST", "/v1/mode", r#"{"mode":"enforce","confirm_s":300}"#),
    ("POST", "/v1/confirm", "{}"),
    ("POST", "/v1/config/reload", ""),
];

fn request(method: &str, path: &str, body: &str) -> Vec<u8> {
    let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n");
    match body {
        "" => format!("{head}\r\n"),
        body => format!("{head}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
    }
    .into_bytes()
}
