//! The Debian package: what goes into it is in `scanguard/Cargo.toml`, the units are in `contrib/systemd`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::build::{self, Profile};
use crate::step;

/// What makes packages; a later one may want another compiler.
const CARGO_DEB: &str = "3.6.3";

/// The largest program that is let into a package.
const MOST_BYTES: u64 = 20 * 1000 * 1000;

/// The newest C library that the program may want: that of Debian 12 and Ubuntu 22.04 has it.
const NEWEST_GLIBC: (u32, u32) = (2, 34);

/// Builds the package and looks at what came out; returns where it is.
pub(crate) fn package(root: &Path) -> Result<PathBuf> {
    build::setup(root)?;
    let mut cargo = build::cargo(root);
    cargo.args(["build", "--locked", "--release", "--package", "scanguard", "--bins"]);
    step::run("building", &mut cargo)?;
    let made = root.join("target/package");
    if made.exists() {
        fs::remove_dir_all(&made).context("cannot remove what an earlier run made")?;
    }
    fs::create_dir_all(&made).context("cannot make target/package")?;
    let program = Profile::Release.folder(root).join("scanguard");
    step::run("writing the man pages", Command::new(&program).arg("man").arg(made.join("man")))?;
    for shell in ["bash", "zsh", "fish"] {
        let script = said(Command::new(&program).args(["completions", shell]))?;
        fs::write(made.join(format!("scanguard.{shell}")), script).context("cannot write completions")?;
    }
    let tools = root.join("target/tools");
    let cargo_deb = tools.join("bin/cargo-deb");
    if !said(Command::new(&cargo_deb).arg("--version")).is_ok_and(|version| version.trim().ends_with(CARGO_DEB)) {
        let mut cargo = build::cargo(root);
        cargo.args(["install", "--locked", "--version", CARGO_DEB, "cargo-deb", "--root"]).arg(&tools);
        step::run("getting cargo-deb", &mut cargo)?;
    }
    let package = made.join("scanguard.deb");
    let mut deb = Command::new(&cargo_deb);
    deb.args(["--no-build", "--strip", "--package", "scanguard", "--output"]).arg(&package).current_dir(root);
    step::run("packing", &mut deb)?;
    check(&package, &made.join("unpacked"))?;
    println!("==> {}", package.display());
    Ok(package)
}

/// Looks at the program as it is in the package.
fn check(package: &Path, unpacked: &Path) -> Result<()> {
    step::run("unpacking to look at it", Command::new("dpkg-deb").arg("-x").args([package, unpacked]))?;
    let program = unpacked.join("usr/bin/scanguard");
    let bytes = fs::metadata(&program).context("the package has no program")?.len();
    ensure!(bytes <= MOST_BYTES, "the program has {bytes} bytes, more than {MOST_BYTES}");
    let symbols = said(Command::new("objdump").arg("-T").arg(&program))?;
    let newer = newer_than(&symbols, NEWEST_GLIBC);
    let (major, minor) = NEWEST_GLIBC;
    ensure!(
        newer.is_empty(),
        "the program wants a C library newer than {major}.{minor}; build it on an older system. It wants:\n{}",
        newer.join("\n")
    );
    println!("==> the program has {bytes} bytes and wants no C library newer than {major}.{minor}");
    Ok(())
}

/// The symbols, as `objdump -T` lists them, that want a newer C library.
fn newer_than(symbols: &str, newest: (u32, u32)) -> Vec<&str> {
    symbols.lines().filter(|line| glibc(line).is_some_and(|version| version > newest)).map(str::trim).collect()
}

fn glibc(line: &str) -> Option<(u32, u32)> {
    let (_, version) = line.split_once("GLIBC_")?;
    let mut numbers = version.split(|char: char| !char.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn said(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {:?}", command.get_program()))?;
    if !output.status.success() {
        bail!("{:?} failed: {}", command.get_program(), String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8(output.stdout).context("its output is not text")
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::process::{self, Command};

    use super::newer_than;
    use crate::skip;

    const UNITS: [&str; 5] = [
        "scanguard.service",
        "run-scanguard_bpf.mount",
        "scanguard-detach.service",
        "scanguard-logins.socket",
        "scanguard-logins.service",
    ];

    fn contrib() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../contrib")
    }

    /// Has systemd look at the units, with a program that is there in place of ours.
    fn systemd_analyze(arguments: &[&str], units: &[String]) {
        if Command::new("systemd-analyze").arg("--version").output().is_err() {
            return skip::skip("systemd", "systemd-analyze is not installed").unwrap_or_else(|why| panic!("{why}"));
        }
        let folder = env::temp_dir().join(format!("scanguard-units-{}-{}", process::id(), arguments[0]));
        fs::create_dir_all(&folder).unwrap();
        for unit in UNITS {
            let text = fs::read_to_string(contrib().join("systemd").join(unit)).unwrap();
            fs::write(folder.join(unit), text.replace("/usr/bin/scanguard", "/bin/true")).unwrap();
        }
        let output = Command::new("systemd-analyze").args(arguments).args(units).current_dir(&folder).output().unwrap();
        fs::remove_dir_all(&folder).unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert!(!said.contains("Unknown") && !said.contains("ignoring"), "{said}");
    }

    #[test]
    fn systemd_verifies_the_units() {
        systemd_analyze(&["verify", "--man=no"], &UNITS.map(|unit| format!("./{unit}")));
    }

    #[test]
    fn systemd_rates_the_exposure_of_each_service_at_most_2() {
        let services = UNITS.iter().filter(|unit| unit.ends_with(".service")).map(|unit| format!("./{unit}"));
        let services: Vec<String> = services.collect();
        systemd_analyze(&["security", "--offline=true", "--threshold=20", "--no-pager"], &services);
    }

    #[test]
    fn the_fail2ban_files_are_those_of_the_documentation() {
        let page = fs::read_to_string(contrib().join("../docs/operations.md")).unwrap();
        for file in ["scanguard.conf", "jail.local"] {
            let text = fs::read_to_string(contrib().join("fail2ban").join(file)).unwrap();
            assert!(page.contains(&format!("```ini\n{text}```\n")), "{file} differs from docs/operations.md");
        }
    }

    #[test]
    fn symbols_of_a_newer_c_library_are_found() {
        let symbols = "\
0000000000000000      DF *UND*  0000000000000000 (GLIBC_2.2.5) memcpy
0000000000000000      DF *UND*  0000000000000000 (GLIBC_2.34) pthread_create
0000000000000000      DF *UND*  0000000000000000 (GLIBC_2.39) pidfd_spawnp
0000000000000000      DF *UND*  0000000000000000 (GCC_3.0)   _Unwind_Resume";
        let newer = newer_than(symbols, (2, 34));
        assert_eq!(newer.len(), 1, "{newer:?}");
        assert!(newer[0].ends_with("pidfd_spawnp"), "{newer:?}");
    }
}
