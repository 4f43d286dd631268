//! Captures: labelled ones that others made (where `SCANGUARD_TRACES` names their folder), and those of the laboratory.
//!
//! Needs root for the kernel's side; run by `cargo xtask test`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use etherparse::PacketBuilder;
use scanguard::config::Config;
use scanguard::feeds::Feeds;
use scanguard::replay::labels::{Labels, Totals};
use scanguard::replay::report::Report;
use scanguard::replay::{Kernel, Options, page, replay};
use scanguard_tests::binary_beside_tests;
use scanguard_tests::eval::evaluate;
use scanguard_tests::frames::{Mutations, table};

/// The labels of the captures to judge: those of others, or the project's own where there are none.
fn labels() -> PathBuf {
    let others = env::var_os("SCANGUARD_TRACES").map(|folder| Path::new(&folder).join("labels.toml"));
    others.filter(|labels| labels.is_file()).unwrap_or_else(|| {
        println!("SCANGUARD_TRACES names no folder with a labels.toml: the project's own captures serve");
        Path::new(env!("CARGO_MANIFEST_DIR")).join("captures/labels.toml")
    })
}

fn folder(name: &str) -> PathBuf {
    let folder = env::temp_dir().join(format!("scanguard-replay-{name}-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// A pcap file of these frames, a millisecond apart.
fn capture<'f>(frames: impl IntoIterator<Item = &'f [u8]>) -> Vec<u8> {
    let mut file: Vec<u8> =
        [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1].iter().flat_map(|word| word.to_le_bytes()).collect();
    for (number, frame) in frames.into_iter().enumerate() {
        let number = u32::try_from(number).expect("few frames");
        let length = u32::try_from(frame.len()).expect("a short frame");
        for word in [1_800_000_000 + number / 1_000, number % 1_000 * 1_000, length, length] {
            file.extend_from_slice(&word.to_le_bytes());
        }
        file.extend_from_slice(frame);
    }
    file
}

/// A scan of 40 ports that all refuse, and a customer.
fn scan() -> Vec<Vec<u8>> {
    const SERVER: [u8; 4] = [192, 0, 2, 1];
    let mut frames = Vec::new();
    let ethernet = || PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let mut push = |builder: etherparse::PacketBuilderStep<etherparse::TcpHeader>| {
        let mut frame = Vec::new();
        builder.write(&mut frame, &[]).expect("a frame");
        frames.push(frame);
    };
    for port in 1..=40 {
        push(ethernet().ipv4([198, 51, 100, 66], SERVER, 64).tcp(50_000, port, 1, 1_024).syn());
        push(ethernet().ipv4(SERVER, [198, 51, 100, 66], 64).tcp(port, 50_000, 0, 0).rst().ack(2));
        push(ethernet().ipv4([203, 0, 113, 9], SERVER, 64).tcp(40_000 + port, 443, 1, 65_000).syn());
        push(ethernet().ipv4(SERVER, [203, 0, 113, 9], 64).tcp(443, 40_000 + port, 1, 65_000).syn().ack(2));
    }
    frames
}

fn options(protect: &[&str]) -> Options {
    let protect = protect.iter().map(|network| network.parse().expect("a network")).collect();
    Options { config: Config::default(), feeds: Feeds::default(), protect, events: false }
}

#[test]
fn scanners_of_labelled_captures_are_found_and_customers_are_not() {
    let evaluation = evaluate(&labels()).expect("an evaluation");
    println!("{evaluation}");
    let Totals { must, should, slow, false_conceal, false_block, benign_sources, .. } = &evaluation.rows[0].totals;
    assert!(must.of > 0, "there is a scanner to find");
    assert_eq!(must.detected, must.of, "{:?}", evaluation.rows[0].captures);
    assert!(should.detected + 1 >= should.of && slow.detected == slow.of, "{:?}", evaluation.rows[0].captures);
    assert_eq!(*false_block, 0, "{:?}", evaluation.rows[0].captures);
    assert!(false_conceal * 100 <= *benign_sources, "{:?}", evaluation.rows[0].captures);
}

/// Recorded in the laboratory: nmap asks a host with one open port for 150 others, and a customer reads pages before and after.
fn own_capture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("captures/scan.pcap")
}

fn scanguard(arguments: &[&str], input: Option<&Path>) -> (i32, String, String) {
    let mut command = Command::new(binary_beside_tests());
    command.arg("replay").args(arguments);
    if let Some(input) = input {
        command.stdin(fs::File::open(input).expect("a file"));
    }
    let output = command.output().expect("scanguard runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code().expect("an exit code"), text(output.stdout), text(output.stderr))
}

#[test]
fn the_command_line_tells_whom_it_would_catch() {
    let own = own_capture();
    let path = own.to_str().expect("a path of text");
    let folder = folder("cli");
    let (code, json, _) = scanguard(&["--json", "--protect", "198.51.100.1/32", path], None);
    let report: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let capture = &report["captures"][0];
    assert_eq!((code, &report["schema_version"]), (0, &1.into()));
    assert_eq!(capture["acted"].as_array().map(Vec::len), Some(1), "{capture}");
    assert_eq!(capture["acted"][0]["source"], "198.51.100.66");
    assert_eq!(capture["acted"][0]["concealed"]["contacts"], 3, "a canary (port 1) and two closed ports");
    assert_eq!(capture["customers"]["noticed"], 0, "the customer notices nothing");

    // From standard input it is the same, and so is what breaks off, as far as it goes.
    let (code, other, _) = scanguard(&["--json", "--protect", "198.51.100.1/32", "-"], Some(&own));
    assert_eq!((code, other.replace("\"-\"", &format!("\"{path}\""))), (0, json));
    let broken = folder.join("broken.pcap");
    let bytes = fs::read(&own).expect("a capture");
    fs::write(&broken, &bytes[..bytes.len() - 7]).expect("a capture");
    let (code, text, _) = scanguard(&[broken.to_str().expect("text")], None);
    assert_eq!(code, 6, "partial input");
    assert!(text.contains("it ends within a packet") && text.contains("198.51.100.66"), "{text}");

    // Ports that are named, and an allowlist in a configuration.
    let (_, text, _) = scanguard(&["--canary", "1-20", "--json", "--protect", "198.51.100.1/32", path], None);
    let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(report["captures"][0]["acted"][0]["concealed"]["contacts"], 2, "two canaries are enough");
    let (old, new) = (folder.join("old.toml"), folder.join("new.toml"));
    fs::write(&old, "").expect("a file");
    fs::write(&new, "allow = [\"198.51.100.66\"]\n").expect("a file");
    let compare = ["--compare", old.to_str().expect("text"), new.to_str().expect("text")];
    let (code, text, _) = scanguard(&[&[path], &compare[..]].concat(), None);
    assert_eq!(code, 0);
    assert!(text.contains("differently decided are 1 of 1 source") && text.contains("198.51.100.66"), "{text}");

    // A feed that names the scanner has him blocked when he is a suspect, as the daemon does; one that says that many share his address alone does not.
    let list = folder.join("list.txt");
    fs::write(&list, "198.51.100.64/26 ; whoever\n").expect("a file");
    let listed = |level: &str| {
        let feed = format!("feeds = [{{ name = \"drop\", file = \"{}\", level = \"{level}\" }}]\n", list.display());
        fs::write(&new, feed).expect("a file");
        let arguments = ["--config", new.to_str().expect("text"), "--json", "--protect", "198.51.100.1/32", path];
        let (code, text, error) = scanguard(&arguments, None);
        assert_eq!(code, 0, "{error}");
        let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        report["captures"][0]["acted"][0]["blocked"].clone()
    };
    assert_eq!(listed("block private")["contacts"], 3);
    assert!(listed("conceal").is_null() && listed("shared").is_null());
    fs::write(&list, "no address\n").expect("a file");
    let (code, _, error) = scanguard(&["--config", new.to_str().expect("text"), path], None);
    assert_eq!(code, 2, "{error}");
    assert!(error.contains("list.txt:1:"), "{error}");

    // What cannot be is told.
    for (arguments, status) in [
        (&["nothing.pcap"][..], 1),
        (&[][..], 2),
        (&["--public", "22", "--canary", "22", path][..], 2),
        (&["--labels", "nothing.toml", path][..], 2),
    ] {
        let (code, _, error) = scanguard(arguments, None);
        assert_eq!(code, status, "{arguments:?}: {error}");
        assert!(error.starts_with("scanguard: "), "{error}");
    }
    fs::remove_dir_all(folder).expect("the folder can be removed");
}

/// All but how long it took, which the first line says.
#[test]
fn the_front_page_shows_what_replay_prints() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the root of the workspace");
    let page = fs::read_to_string(root.join("README.md")).expect("the front page");
    let (_, shown) = page.split_once("$ scanguard replay tests/captures/scan.pcap ").expect("the command");
    let (options, shown) = shown.split_once('\n').expect("what it prints");
    let (shown, _) = shown.split_once("```").expect("its end");
    let mut command = Command::new(binary_beside_tests());
    command.current_dir(root).args(["replay", "tests/captures/scan.pcap"]).args(options.split(' '));
    let output = command.output().expect("scanguard runs");
    let printed = String::from_utf8(output.stdout).expect("text");
    let lines = |text: &str| text.trim_end().lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(lines(&printed), lines(shown), "README.md shows something else:\n{printed}");
    assert!(printed.starts_with("tests/captures/scan.pcap: 361 packets in "), "{printed}");
}

#[test]
fn what_is_out_of_order_is_sorted() {
    let folder = folder("order");
    let bytes = fs::read(own_capture()).expect("a capture");
    let mut packets = Vec::new();
    let mut at = 24;
    while let Some(header) = bytes.get(at..at + 16) {
        let length = u32::from_le_bytes(header[8..12].try_into().expect("four bytes")) as usize;
        packets.push(&bytes[at..at + 16 + length]);
        at += 16 + length;
    }
    // Newest first, and spread over an hour.
    let mut file = bytes[..24].to_vec();
    for (number, packet) in packets.iter().enumerate().rev() {
        let seconds = 1_800_000_000 + u32::try_from(number).expect("few packets") * 10;
        file.extend_from_slice(&seconds.to_le_bytes());
        file.extend_from_slice(&packet[4..]);
    }
    let path = folder.join("newest-first.pcap");
    fs::write(&path, file).expect("a capture");
    let replayed = replay(&path, &options(&["198.51.100.1/32"]), None, |_| {}).expect("a result");
    assert!(replayed.sorted);
    let (_, tale) = replayed.tales.first().expect("a source");
    assert_eq!(tale.concealed.map(|at| at.contacts), Some(3), "a canary (port 1) and two closed ports");
    fs::remove_dir_all(folder).expect("the folder can be removed");
}

/// Segments with ACK to 40 addresses of a network, none of which answers, and a connection that is older than the capture. With one host of
/// the network that sends, or in one direction.
fn ack_sweep(is_both: bool) -> Vec<Vec<u8>> {
    const SERVER: [u8; 4] = [192, 0, 2, 1];
    let mut frames = Vec::new();
    let mut push = |from, from_port, to, to_port| {
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]).ipv4(from, to, 64);
        let mut frame = Vec::new();
        builder.tcp(from_port, to_port, 1, 1_024).ack(2).write(&mut frame, &[]).expect("a frame");
        frames.push(frame);
    };
    for number in 10..50 {
        push([203, 0, 113, 9], 40_000, SERVER, 443);
        if is_both {
            push(SERVER, 443, [203, 0, 113, 9], 40_000);
        }
        push([198, 51, 100, 66], 50_000, [192, 0, 2, number], 80);
    }
    frames
}

#[test]
fn acks_to_addresses_from_which_nothing_comes_are_a_sweep_where_the_capture_has_both_directions() {
    let folder = folder("sweep");
    for (is_both, found) in [(true, vec!["198.51.100.66"]), (false, vec![])] {
        let path = folder.join("sweep.pcap");
        fs::write(&path, capture(ack_sweep(is_both).iter().map(Vec::as_slice))).expect("a capture");
        let replayed = replay(&path, &options(&["192.0.2.0/24"]), None, |_| {}).expect("a result");
        let concealed = replayed.tales.iter().filter(|(_, tale)| tale.concealed.is_some());
        let concealed: Vec<String> =
            concealed.map(|(source, _)| std::net::IpAddr::from(source.0).to_string()).collect();
        assert_eq!(concealed, found);
    }
    fs::remove_dir_all(folder).expect("the folder can be removed");
}

#[test]
fn the_kernel_judges_every_capture_as_the_replay_does() {
    let folder = folder("kernel");
    let own = folder.join("own.pcap");
    let scan: Vec<Vec<u8>> = scan().into_iter().chain(ack_sweep(true)).collect();
    let mutations: Vec<Vec<u8>> = {
        let mut mutations = Mutations::new(7);
        (0..4_000).map(|_| mutations.next_frame()).collect()
    };
    let known = table();
    let frames = scan.iter().chain(&mutations).map(Vec::as_slice).chain(known.iter().map(|row| row.frame.as_slice()));
    fs::write(&own, capture(frames)).expect("a capture");
    let mut compared = 0;
    let mut kernel = Kernel::load().expect("the kernel part, which needs root: run `cargo xtask test`");
    let mut check = |path: &Path, protect: Vec<ipnetwork::IpNetwork>| {
        let options = Options { protect, ..options(&[]) };
        let replayed = replay(path, &options, Some(&mut kernel), |_| {})
            .unwrap_or_else(|error| panic!("{}: {error:#}", path.display()));
        compared += replayed.compared.expect("the kernel ran").0;
    };
    check(&own, vec!["192.0.2.0/24".parse().expect("a network")]);
    check(&own, Vec::new());
    check(&own_capture(), Vec::new());
    check(&own_capture(), vec!["198.51.100.1/32".parse().expect("a network")]);
    let labels = Labels::read(&labels()).expect("labels");
    for label in &labels.captures {
        check(&labels.folder.join(&label.file), label.protected.clone());
    }
    println!("the kernel judged {compared} packets of captures as the replay did");
    fs::remove_dir_all(folder).expect("the folder can be removed");
}

/// Each capture of a call of `replay --kernel` is judged by a kernel part that knows nothing of the one before.
#[test]
fn captures_of_one_call_with_the_kernel_are_judged_as_in_calls_of_their_own() {
    let folder = folder("calls");
    // The second one has the same sources as the first, whose scanner is a suspect there from the fourth failure on.
    let (own, other) = (own_capture(), folder.join("other.pcap"));
    let scan = scan();
    fs::write(&other, capture(scan.iter().chain(&scan).map(Vec::as_slice))).expect("a capture");
    let paths = [&other, &own, &other].map(|path| path.to_str().expect("a path of text"));
    // An allowlist and ports by name fill tables that a later file of the same call must not find twice.
    let config = folder.join("config.toml");
    fs::write(&config, "allow = [\"203.0.113.0/24\"]\nports.canary = [\"7\"]\n").expect("a file");
    let arguments = ["--kernel", "--json", "--config", config.to_str().expect("text")];
    let captures = |files: &[&str]| {
        let (code, json, error) = scanguard(&[&arguments[..], files].concat(), None);
        assert_eq!(code, 0, "{error}");
        let report: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        report["captures"].as_array().expect("captures").clone()
    };
    let together = captures(&paths);
    let apart: Vec<_> = paths.iter().flat_map(|path| captures(&[path])).collect();
    assert_eq!(together, apart);
    assert_eq!(together[0], together[2], "the same capture twice in one call");
    assert!(together.iter().all(|capture| capture["kernel"]["compared"].as_u64() > Some(100)), "{together:?}");
    fs::remove_dir_all(folder).expect("the folder can be removed");
}

#[test]
fn broken_files_are_read_as_far_as_they_go() {
    let folder = folder("broken");
    let scan = scan();
    let whole = capture(scan.iter().map(Vec::as_slice));
    let path = folder.join("broken.pcap");
    for end in (0..whole.len()).step_by(97) {
        fs::write(&path, &whole[..end]).expect("a capture");
        let replayed = replay(&path, &options(&["192.0.2.1/32"]), None, |_| {}).expect("a result");
        assert!(replayed.ending.frames <= 160 && (replayed.ending.broken.is_some() || end >= 24), "{end} bytes");
    }
    // Bytes turned at random, lengths and times that lie among them.
    let mut state = 1_u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    for _ in 0..400 {
        let mut file = whole.clone();
        for _ in 0..=random() % 8 {
            let place = random() % file.len();
            file[place] = random() as u8;
        }
        for (place, byte) in [(random() % 160, 0xff), (random() % 160, 0x00)] {
            // The lengths of one of the packets.
            let at = 24 + place * 20;
            if let Some(length) = file.get_mut(at..at + 4) {
                length.fill(byte);
            }
        }
        fs::write(&path, &file).expect("a capture");
        let _ = replay(&path, &options(&[]), None, |_| {});
    }
    fs::remove_dir_all(folder).expect("the folder can be removed");
}

#[test]
fn a_browser_shows_the_report_at_the_width_of_a_telephone() {
    let folder = folder("page");
    let path = folder.join("scan.pcap");
    let scan = scan();
    fs::write(&path, capture(scan.iter().map(Vec::as_slice))).expect("a capture");
    let options = options(&["192.0.2.1/32"]);
    let replayed = replay(&path, &options, None, |_| {}).expect("a result");
    let mut report = Report::new(&options, false);
    report.add(&path, &replayed, None);
    let html = page::page(&report);
    assert!(!html.contains("<script") && !html.contains("src=") && !html.contains("http"), "it loads nothing");
    let probe = "<script>document.title=[document.documentElement.scrollWidth,innerWidth,\
                 document.querySelectorAll('details,svg,table').length,\
                 matchMedia('(prefers-color-scheme:dark)').matches?'dark':'light',\
                 getComputedStyle(document.body).backgroundColor].join('|')</script>";
    let page = folder.join("page.html");
    fs::write(&page, html + probe).expect("a page");
    let chromium = env::var("SCANGUARD_CHROMIUM").unwrap_or_else(|_| "chromium".to_owned());
    let mut grounds = Vec::new();
    for dark in [false, true] {
        let mut browser = Command::new(&chromium);
        browser.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--dump-dom"]);
        // The narrowest window that a browser without a screen makes is wider than a telephone: the page is put into a frame of that width.
        browser.args(["--window-size=500,900"]).arg(format!("--user-data-dir={}", folder.join("profile").display()));
        if dark {
            browser.arg("--blink-settings=preferredColorScheme=0");
        } else {
            browser.arg("--blink-settings=preferredColorScheme=1");
        }
        let shown = browser
            .arg(format!("file://{}", page.display()))
            .output()
            .expect("chromium, which `cargo xtask test` installs");
        let dom = String::from_utf8_lossy(&shown.stdout);
        let title = dom.split("<title>").nth(1).and_then(|rest| rest.split("</title>").next()).unwrap_or_default();
        let parts: Vec<&str> = title.split('|').collect();
        let [content, window, parts_shown, scheme, ground] = parts[..] else {
            panic!("the page says {title:?}: {}", String::from_utf8_lossy(&shown.stderr))
        };
        let number = |text: &str| text.parse::<u32>().expect("a number");
        assert!(number(content) <= number(window), "nothing sticks out: {title}");
        assert!(number(parts_shown) >= 5, "plots, tables and sources are there: {title}");
        assert_eq!(scheme, if dark { "dark" } else { "light" }, "{title}");
        grounds.push(ground.to_owned());
        assert!(dom.contains("198.51.100.66") && dom.contains("What customers would have noticed"));
    }
    assert_ne!(grounds[0], grounds[1], "light and dark differ");
    fs::remove_dir_all(folder).expect("the folder can be removed");
}
