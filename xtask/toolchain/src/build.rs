//! Building the kernel part, from a build script.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use anyhow::{Context as _, Result, anyhow, bail};
use object::build::elf::{Builder, SectionData};

use crate::detect::{Place, Toolchain, workspace_root};

/// What the objects are made of; a change builds them again.
const SOURCES: [&str; 5] =
    ["scanguard-ebpf", "scanguard-common/src", "scanguard-common/Cargo.toml", "Cargo.toml", "Cargo.lock"];

/// Builds these binaries of `scanguard-ebpf` into the `OUT_DIR` of the calling build script, which returns what this
/// returns. All callers share one folder of artefacts, so the kernel part is compiled once for all profiles.
#[must_use]
pub fn build_script(binaries: &[&str]) -> ExitCode {
    match try_build_script(binaries) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Cargo shows the standard error of a build script that failed.
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn try_build_script(binaries: &[&str]) -> Result<()> {
    let manifest = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let root = workspace_root(&manifest).context("cannot find the workspace above this package")?;
    // First, so that cargo shows nothing but the one sentence when there is none.
    let toolchain = Toolchain::detect(&root)?;
    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", root.join(source).display());
    }
    println!("cargo::rerun-if-changed={}", Place::new(&root).stamp().display());
    println!("cargo::rerun-if-env-changed=PATH");
    let out = PathBuf::from(variable("OUT_DIR")?);
    let objects = compile(&toolchain, &root, binaries)?;
    for binary in binaries {
        let (from, to) = (objects.join(binary), out.join(binary));
        let built = fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
        let small = without_debug(&built).with_context(|| format!("cannot read {} as ELF", from.display()))?;
        fs::write(&to, small).with_context(|| format!("cannot write {}", to.display()))?;
    }
    Ok(())
}

/// An object without its DWARF, two thirds of it, which nobody reads once BTF is made of it: what is left becomes part of the daemon.
fn without_debug(object: &[u8]) -> Result<Vec<u8>> {
    let mut builder = Builder::read(object)?;
    if !builder.sections.iter().any(|section| matches!(section.data, SectionData::SectionString)) {
        // LLVM keeps names of sections and symbols in one table; what writes here wants two.
        let names = builder.sections.add();
        names.name = ".shstrtab".into();
        names.sh_type = object::elf::SHT_STRTAB;
        names.data = SectionData::SectionString;
    }
    for section in &mut builder.sections {
        section.delete = [&b".debug_"[..], b".rel.debug_"].iter().any(|prefix| section.name.starts_with(prefix));
    }
    builder.delete_orphans();
    let mut small = Vec::new();
    builder.write(&mut small)?;
    Ok(small)
}

/// Compiles and returns the folder of the objects.
fn compile(toolchain: &Toolchain, root: &Path, binaries: &[&str]) -> Result<PathBuf> {
    let target = match variable("CARGO_CFG_TARGET_ENDIAN")?.as_str() {
        "little" => "bpfel-unknown-none",
        _ => "bpfeb-unknown-none",
    };
    // Registers of the traced machine differ by architecture; aya-ebpf asks for this one.
    let architecture = variable("CARGO_CFG_TARGET_ARCH")?;
    let flags = [
        "-Ctarget-cpu=v3".to_owned(), // Atomics that return a value.
        "-Cdebuginfo=2".to_owned(),   // BTF is made from it.
        "-Clink-arg=--btf".to_owned(),
        // Else LLVM clears and copies by calls of `memset` and `memcpy`, byte by byte, which also take stack.
        "-Clink-arg=--disable-expand-memcpy-in-order".to_owned(),
        format!("--cfg=bpf_target_arch=\"{architecture}\""),
        format!("-Clinker={}", toolchain.linker().display()),
    ];
    let artefacts = root.join("target/bpf");
    let mut cargo = toolchain.cargo();
    cargo
        .current_dir(root)
        .args(["build", "--package", "scanguard-ebpf", "--profile", "bpf", "--target", target])
        .args(["-Z", "build-std=core", "--locked", "--target-dir"])
        .arg(&artefacts)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    for binary in binaries {
        cargo.args(["--bin", binary]);
    }
    let output = cargo.stderr(Stdio::piped()).output().with_context(|| format!("cannot run {cargo:?}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("building the kernel part with {toolchain} failed:\n{text}");
    }
    for line in text.lines().filter(|line| line.starts_with("warning")) {
        println!("cargo::warning=kernel part: {line}");
    }
    Ok(artefacts.join(target).join("bpf"))
}

fn variable(name: &str) -> Result<String> {
    env::var(name).map_err(|_| anyhow!("{name} is not set: this runs in a build script"))
}
