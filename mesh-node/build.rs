//! Builds the eBPF programs of `bpf/programs` and leaves their object at `$OUT_DIR/mesh-bpf`, so that mesh-node carries
//! the programs that match it. They are a workspace of their own, for a target that needs unstable cargo: this script
//! chooses the compiler for it. It holds nothing of what the programs do, nor of how they are loaded.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fmt};

const TARGET: &str = "bpfel-unknown-none";
const OBJECT: &str = "mesh-bpf";

/// The LLVM that `make setup` builds bpf-linker with. Bitcode of a newer LLVM cannot be linked by it.
const LINKER_LLVM: u32 = 22;

/// What decides the object, below `bpf/`. The folder itself would hold whatever a build by hand leaves there.
const SOURCES: [&str; 5] =
    ["abi/Cargo.toml", "abi/src", "programs/Cargo.lock", "programs/Cargo.toml", "programs/src"];

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            for line in problem.to_string().lines() {
                println!("cargo::error={line}");
            }
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug)]
enum Problem {
    NoToolchain(Vec<Unfit>),
    NoLinker,
    Cargo { toolchain: &'static str, source: std::io::Error },
    Programs { toolchain: &'static str, log: String },
    Copy { from: PathBuf, source: std::io::Error },
}

/// Why a toolchain cannot build the programs.
#[derive(Debug)]
struct Unfit {
    toolchain: &'static str,
    reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoToolchain(tried) => {
                writeln!(f, "no Rust toolchain here can build the eBPF programs; run `make setup`. Tried:")?;
                tried.iter().try_for_each(|unfit| writeln!(f, "  {}: {}", unfit.toolchain, unfit.reason))
            }
            Self::NoLinker => f.write_str(
                "bpf-linker, which links the eBPF programs, is neither on PATH nor in cargo's bin folder; run `make setup`",
            ),
            Self::Cargo { toolchain, source } => write!(f, "cannot run cargo for {toolchain}: {source}"),
            Self::Programs { toolchain, log } => {
                write!(f, "the eBPF programs (bpf/programs) do not build with {toolchain}:\n{log}")
            }
            Self::Copy { from, source } => write!(f, "cannot copy {} to OUT_DIR: {source}", from.display()),
        }
    }
}

fn build() -> Result<(), Problem> {
    let bpf = given("CARGO_MANIFEST_DIR").join("../bpf");
    let out_dir = given("OUT_DIR");
    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", bpf.join(source).display());
    }

    let linker = linker()?;
    let (toolchain, mut cargo) = toolchain()?;
    let target_dir = target_dir(&out_dir);
    cargo
        .current_dir(bpf.join("programs"))
        .args(["build", "--release", "--locked", "--color", "never", "-Z", "build-std=core"])
        .args(["--target", TARGET, "--target-dir"])
        .arg(&target_dir)
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", linker)
        // The arguments of a probed function lie in other registers on another processor.
        .env("AYA_BPF_TARGET_ARCH", given("CARGO_CFG_TARGET_ARCH"));

    let output = cargo.output().map_err(|source| Problem::Cargo { toolchain, source })?;
    if !output.status.success() {
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(Problem::Programs { toolchain, log });
    }
    let object = target_dir.join(TARGET).join("release").join(OBJECT);
    std::fs::copy(&object, out_dir.join(OBJECT)).map_err(|source| Problem::Copy { from: object, source })?;
    Ok(())
}

/// The cargo of the first toolchain that has what `-Z build-std` needs: unstable features and the source of `core`.
fn toolchain() -> Result<(&'static str, Command), Problem> {
    const NIGHTLY: &str = "rustup's nightly toolchain";
    const DEBIAN: &str = "Debian's rustc (packages rustc-web and rust-web-src)";
    const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

    let nightly = |program: &str| {
        let mut command = outside("rustup");
        command.args(["run", "nightly", program]);
        command
    };
    let nightly_unfit = match fit(|| nightly("rustc")) {
        Ok(()) => return Ok((NIGHTLY, nightly("cargo"))),
        Err(reason) => Unfit { toolchain: NIGHTLY, reason },
    };
    match fit(|| outside(DEBIAN_RUSTC)) {
        Ok(()) => {
            // Any cargo drives it; the one that runs this script is there.
            let mut cargo = outside(given("CARGO"));
            cargo.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
            Ok((DEBIAN, cargo))
        }
        Err(reason) => Err(Problem::NoToolchain(vec![nightly_unfit, Unfit { toolchain: DEBIAN, reason }])),
    }
}

/// Whether the toolchain of this rustc has them, or what it lacks.
fn fit(rustc: impl Fn() -> Command) -> Result<(), String> {
    let version = answer(rustc().arg("-vV"))?;
    let llvm = version.lines().find_map(|line| line.strip_prefix("LLVM version: ")?.split('.').next());
    match llvm.and_then(|major| major.parse::<u32>().ok()) {
        Some(major) if major <= LINKER_LLVM => {}
        Some(major) => return Err(format!("its LLVM {major} is newer than bpf-linker's LLVM {LINKER_LLVM}")),
        None => return Err("it does not tell its LLVM version".to_owned()),
    }
    let sysroot = answer(rustc().args(["--print", "sysroot"]))?;
    let source = Path::new(sysroot.trim_end()).join("lib/rustlib/src/rust/library/core");
    if source.is_dir() { Ok(()) } else { Err(format!("the library's source is not in {}", source.display())) }
}

fn answer(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(complaint.lines().next().unwrap_or("it does not run").to_owned())
}

/// A command that does not see what cargo, rustup and clippy set for the build that this script is part of: another
/// toolchain, wrapper, set of flags or target would reach the programs. What says how to reach registries stays, and so
/// does the jobserver, which keeps both builds together within one number of jobs.
fn outside(program: impl AsRef<OsStr>) -> Command {
    const KEPT: [&str; 7] = [
        "CARGO_HOME",
        "CARGO_HTTP_",
        "CARGO_MAKEFLAGS",
        "CARGO_NET_",
        "CARGO_REGISTR",
        "CARGO_SOURCE_",
        "RUSTUP_HOME",
    ];
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        let of_a_toolchain = name.starts_with("CARGO") || name.starts_with("RUST");
        if of_a_toolchain && !KEPT.iter().any(|kept| name.starts_with(kept)) {
            command.env_remove(&*name);
        }
    }
    // A missing toolchain is for `make setup` to install, where a person sees it happen.
    command.env("RUSTUP_AUTO_INSTALL", "0");
    command
}

fn linker() -> Result<PathBuf, Problem> {
    let path = env::var_os("PATH").unwrap_or_default();
    let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    env::split_paths(&path)
        .chain([cargo_home, home].into_iter().flatten().map(|cargo| cargo.join("bin")))
        .map(|folder| folder.join("bpf-linker"))
        .find(|file| file.is_file())
        .ok_or(Problem::NoLinker)
}

/// One folder for all profiles, since the object is the same in all of them: `target/bpf` beside `target/debug`. Cargo's
/// own lock on it lets one build work at a time.
fn target_dir(out_dir: &Path) -> PathBuf {
    let profile = out_dir.ancestors().find(|folder| folder.ends_with("build")).and_then(Path::parent);
    profile.and_then(Path::parent).unwrap_or(out_dir).join("bpf")
}

fn given(variable: &str) -> PathBuf {
    env::var_os(variable).unwrap_or_else(|| panic!("cargo sets {variable} for build scripts")).into()
}
