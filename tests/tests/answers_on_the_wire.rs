//! What suspects are answered, as another program that knows the protocols sees it on a wire: Wireshark's has nothing to find fault with.
//!
//! Needs root; run by `cargo xtask test`, which builds the programs first.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use scanguard::config::DEFAULT_STATE;
use scanguard::kernel::rig::{Floor, Rig};
use scanguard_common::reason::Mode;
use scanguard_tests::lab::defender::Defender;
use scanguard_tests::lab::netns::Netns;
use scanguard_tests::lab::plan::{EDGE, EDGE6, SCANNER, TO_EDGE, TO_SCANNER, UPLINK};
use scanguard_tests::lab::stage::{Scene, Stage};
use scanguard_tests::lab::tools::Tool;
use scanguard_tests::lab::{Lab, Setup, sandbox};
use scanguard_tests::{binary_beside_tests, rig};

const LIMIT: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(3);
/// Frames of which a program that captures says that something is wrong. Resets are a warning in themselves, and what follows from what
/// came before (numbers that were never sent) is the point of a challenge.
const WRONG: &str = "_ws.malformed || tcp.checksum.status == 0 || ip.checksum.status == 0 || \
                     ((_ws.expert.severity == 6291456 || _ws.expert.severity == 8388608) && !tcp.connection.rst)";
/// What the edge answers, by whichever address.
const ANSWERS: &str = "(ip.src == 192.0.2.10 || ipv6.src == 2001:db8:2::10) && tcp";

/// Has the kernel finish checksums before frames leave by a link, as hardware does on a real one.
fn finish_checksums(host: &Netns, link: &str) -> anyhow::Result<()> {
    Tool::Ethtool.run(host, ["-K", link, "tx", "off"], LIMIT)?.success("ethtool").map(drop)
}

fn finish_on_the_way(lab: &Lab) -> anyhow::Result<()> {
    finish_checksums(&lab.router, TO_SCANNER)
}

fn finish_everywhere(lab: &Lab) -> anyhow::Result<()> {
    finish_checksums(&lab.scanner, UPLINK)?;
    finish_on_the_way(lab)
}

/// Connects to closed ports with the scanner's own stack, over IPv4 and IPv6.
fn connect() {
    let targets = [IpAddr::from(EDGE), EDGE6.into()];
    let all = targets.into_iter().flat_map(|target| (1..=20).map(move |port| (target, port)));
    let connecting: Vec<_> = all
        .map(|(target, port)| {
            thread::spawn(move || {
                if let Ok(mut stream) = TcpStream::connect_timeout(&(target, port).into(), PATIENCE) {
                    // The answer is a reset, or none where there were enough of them.
                    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
                    let _ = stream.write_all(b"\r\n");
                    let _ = stream.read(&mut [0; 16]);
                }
            })
        })
        .collect();
    for connecting in connecting {
        connecting.join().expect("a connection");
    }
}

/// Lines of what tshark shows of the frames that a filter selects.
fn shown(capture: &Path, filter: &str) -> Vec<String> {
    let mut tshark = Command::new("tshark");
    tshark.arg("-r").arg(capture).args(["-n", "-Y", filter]);
    for preference in ["tcp.check_checksum:TRUE", "ip.check_checksum:TRUE", "tcp.analyze_sequence_numbers:FALSE"] {
        tshark.args(["-o", preference]);
    }
    let output = tshark.output().expect("tshark, which `cargo xtask test` installs");
    assert!(output.status.success(), "{filter}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn another_program_finds_nothing_wrong_with_any_answer() {
    sandbox::enter().expect("a sandbox, which needs root: run `cargo xtask test`");
    let folder = std::env::temp_dir().join(format!("scanguard-answers-{}", std::process::id()));
    let few = Scene { customers: 1, least_rounds: 1, ..Scene::USUAL };
    // Where frames were never on a wire their checksums are unfinished, and the answer's is left to whoever puts it on one.
    let generic = "challenge = \"on\"\nattach = \"generic\"\n";
    let variants = [
        ("generic, finished", Scene { config: generic, prepare: finish_everywhere, ..few }),
        ("generic, unfinished", Scene { config: generic, prepare: finish_on_the_way, ..few }),
        ("native", Scene { config: "challenge = \"on\"\nattach = \"native\"\n", prepare: finish_on_the_way, ..few }),
    ];
    for (variant, scene) in variants {
        let captures = folder.join(variant);
        let setup = Setup {
            defender: Defender::Scanguard,
            scanguard: binary_beside_tests(),
            mode: Mode::Enforce,
            captures: Some(captures.clone()),
            full: false,
        };
        // What the daemon before kept, the scanner's blocks for instance: the folder is this sandbox's own.
        let _ = fs::remove_dir_all(Path::new(DEFAULT_STATE).parent().expect("a folder"));
        let stage = Stage::set(&setup, &scene).expect("a stage");
        // An answer in native mode is taken in by a program at the other end only.
        let mut peer = Rig::load(rig::OBJECT, 0, 1).expect("the rig");
        if variant == "native" {
            let attached = stage.lab.router.run(|| peer.attach(Floor::Pass, TO_EDGE, true));
            attached.expect("the namespace").expect("an attachment");
        }
        stage.lab.scanner.run(connect).expect("the namespace");
        // Who completed decoys is told so, contact by contact.
        let daemon = stage.guard.daemon().expect("the daemon");
        let why = daemon.ask(&format!("/v1/why?address={SCANNER}"), None).expect("an answer");
        let proven = why["evidence"].as_array().into_iter().flatten().filter(|found| found["proven"].is_string());
        assert!(proven.count() >= 4 && why["proven_at"].is_string(), "{variant}: {why:#}");
        stage.calm().expect("customers").close(&setup).expect("observations");

        let capture = captures.join("scanner.pcap");
        for version in ["ip", "ipv6"] {
            // A real stack's SYNs have room for an option; a decoy's answer acknowledges what was sent.
            for kind in ["tcp.flags == 0x012 && tcp.options.mss", "tcp.flags == 0x004"] {
                let answers = shown(&capture, &format!("{version} && {ANSWERS} && {kind}"));
                assert!(!answers.is_empty(), "{variant}, {version}: no answer with {kind}");
            }
        }
        let wrong = shown(&capture, &format!("{ANSWERS} && ({WRONG})"));
        assert!(wrong.is_empty(), "{variant}:\n{}", wrong.join("\n"));
    }
    fs::remove_dir_all(folder).expect("the folder can be removed");
}
