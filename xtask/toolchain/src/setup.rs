//! Making a machine able to build the kernel part.

use std::env;
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::BPF_LINKER_VERSION;
use crate::debian::{self, CompilerPackages};
use crate::detect::{Place, Toolchain, find_in_path};

/// LLVM versions that this `bpf-linker` can be built for.
const LINKER_LLVM: std::ops::RangeInclusive<u32> = 21..=22;

/// Makes sure that the kernel part can be built, and says what with. A no-op where it can be already; otherwise it fetches
/// about 140 MB, takes about 1 GB below `target/toolchain` and a minute or two, and leaves the system alone.
///
/// # Errors
/// When something is missing that this may not or cannot get; the message has the commands.
pub fn setup(root: &Path) -> Result<Toolchain> {
    if let Ok(toolchain) = Toolchain::detect(root) {
        return Ok(toolchain);
    }
    let place = Place::new(root);
    fs::create_dir_all(place.folder()).with_context(|| format!("cannot make {}", place.folder().display()))?;
    let lock = File::create(place.folder().join("lock")).context("cannot make a lock file")?;
    lock.lock().context("cannot wait for another setup to end")?;
    // Whoever held the lock may have done it all.
    if let Ok(toolchain) = Toolchain::detect(root) {
        return Ok(toolchain);
    }
    let packages = find_packages()?;
    unpack_compiler(&place, &packages)?;
    build_linker(&place, &packages)?;
    fs::write(place.stamp(), format!("rustc {}\nllvm {}\n", packages.version, packages.llvm))
        .with_context(|| format!("cannot write {}", place.stamp().display()))?;
    Toolchain::detect(root)
        .context("the toolchain was set up and cannot be found: delete target/toolchain and try again")
}

fn find_packages() -> Result<CompilerPackages> {
    if !debian::is_here() {
        bail!("{}", by_hand("this is not Debian or Ubuntu"));
    }
    if let Some(packages) = usable()? {
        return Ok(packages);
    }
    println!("apt does not know the compiler's packages yet: refreshing its lists");
    debian::update_lists(&mut as_root())?;
    usable()?.with_context(|| by_hand("this release of the distribution has no package rustc-web with its LLVM"))
}

fn usable() -> Result<Option<CompilerPackages>> {
    let Some(packages) = debian::newest_compiler() else { return Ok(None) };
    if LINKER_LLVM.contains(&packages.llvm) {
        return Ok(Some(packages));
    }
    // An older release's lists may hold the newer one after a refresh, which the caller tries; then it is final.
    println!(
        "rustc-web {} is on LLVM {}, which bpf-linker {BPF_LINKER_VERSION} cannot use",
        packages.version, packages.llvm
    );
    Ok(None)
}

/// What a person can do where this cannot.
fn by_hand(why: &str) -> String {
    let prerequisites = [
        ("Fedora, RHEL", "sudo dnf install rustup gcc llvm-devel clang zlib-devel libzstd-devel"),
        ("Arch", "sudo pacman -S rustup gcc llvm clang"),
        ("openSUSE", "sudo zypper install rustup gcc llvm-devel clang"),
        ("Alpine", "sudo apk add rustup gcc musl-dev llvm-dev llvm-static clang-dev"),
        ("Debian, Ubuntu", "sudo apt-get install rustup gcc llvm-dev clang"),
    ];
    let mut text = format!("cannot set up the toolchain by itself: {why}. These commands do it:\n");
    for (distribution, command) in prerequisites {
        text += &format!("  {command:<75} # {distribution}\n");
    }
    text += "  rustup toolchain install nightly --component rust-src\n  cargo install bpf-linker --locked\n";
    text
}

fn unpack_compiler(place: &Place, packages: &CompilerPackages) -> Result<()> {
    let started = Instant::now();
    println!(
        "[1/2] unpacking rustc {} with its sources and LLVM {} below {} (download 140 MB, disk 1 GB, under a minute)",
        packages.version,
        packages.llvm,
        place.folder().display()
    );
    let (partial, fetched) = (place.folder().join("system.partial"), place.folder().join("packages"));
    for leftover in [&partial, &fetched, &place.system()] {
        remove(leftover)?;
    }
    debian::unpack(&packages.names, &fetched, &partial)?;
    fs::rename(&partial, place.system()).context("cannot put the unpacked compiler in place")?;
    remove(&fetched)?;
    let (libraries, rustc) = (libraries(place)?, place.system().join("usr/bin/rustc"));
    let wrapper = format!(
        "#!/bin/sh\nLD_LIBRARY_PATH='{}'${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}} exec '{}' \"$@\"\n",
        libraries.display(),
        rustc.display()
    );
    fs::write(place.rustc(), wrapper).context("cannot write the compiler's wrapper")?;
    fs::set_permissions(place.rustc(), fs::Permissions::from_mode(0o755)).context("cannot make it executable")?;
    println!("      done in {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}

fn build_linker(place: &Place, packages: &CompilerPackages) -> Result<()> {
    let started = Instant::now();
    println!("[2/2] building bpf-linker {BPF_LINKER_VERSION} for LLVM {} (about a minute)", packages.llvm);
    let libraries = libraries(place)?;
    // bpf-linker's build script looks for PREFIX/lib/libLLVM.so; Debian's has the version in its name.
    let prefix = place.folder().join("llvm");
    remove(&prefix)?;
    fs::create_dir_all(prefix.join("lib")).context("cannot make a folder")?;
    symlink(libraries.join(format!("libLLVM.so.{}.1", packages.llvm)), prefix.join("lib/libLLVM.so"))
        .context("cannot link to LLVM")?;
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args([
            "install",
            "bpf-linker",
            "--version",
            BPF_LINKER_VERSION,
            "--locked",
            "--force",
            "--no-default-features",
        ])
        .args(["--features", &format!("llvm-{}", packages.llvm), "--root"])
        .arg(place.folder())
        .arg("--target-dir")
        .arg(place.folder().join("bpf-linker-build"))
        .env("LLVM_PREFIX", &prefix)
        .env("RUSTFLAGS", format!("-C link-arg=-Wl,-rpath,{}", libraries.display()))
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .stdin(Stdio::null());
    let output = cargo.output().context("cannot run cargo")?;
    if !output.status.success() {
        bail!("building bpf-linker failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    remove(&place.folder().join("bpf-linker-build"))?;
    println!("      done in {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// Folder of the unpacked shared libraries.
fn libraries(place: &Place) -> Result<std::path::PathBuf> {
    let parent = place.system().join("usr/lib");
    let folders = fs::read_dir(&parent).with_context(|| format!("cannot list {}", parent.display()))?;
    folders
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.join("libLLVM.so").exists() || has_llvm(path))
        .with_context(|| format!("no libLLVM below {}", parent.display()))
}

fn has_llvm(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| {
        entries.any(|entry| entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("libLLVM.so.")))
    })
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// A command line that runs as root.
fn as_root() -> Command {
    let is_root = fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0);
    if is_root || find_in_path("sudo").is_none() { Command::new("env") } else { Command::new("sudo") }
}
