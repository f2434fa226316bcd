//! Programs that are run to their end: what they say, what they make.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The checkout that this was compiled in.
pub fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).unwrap_or(package)
}

/// A program and its arguments, from a line of words.
pub fn command(line: &str) -> Command {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    command
}

/// Runs a program, which must succeed.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{:?}", command.get_program()))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

/// Runs a program, which must succeed; what it says on standard output.
pub fn said(command: &mut Command) -> Result<String> {
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("{:?}", command.get_program()))?;
    ensure!(output.status.success(), "{command:?}: {}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A cargo that builds for release in folder `boards/FOLDER`; [`artifact`] runs it.
pub fn cargo(folder: &str, line: &str) -> Command {
    let mut cargo = command(&format!(
        "cargo {line} --release --quiet --message-format json-render-diagnostics"
    ));
    cargo.current_dir(root().join("boards").join(folder));
    cargo
}

/// The program or library `name` that a [`cargo`] makes. An error holds what the compiler says.
pub fn artifact(cargo: &mut Command, name: &str) -> Result<PathBuf> {
    let output = cargo.output().context("cargo")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name} does not build\n{errors}");
    eprint!("{errors}");
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: Value = serde_json::from_str(line).context("cargo's messages")?;
        if message["reason"] == "compiler-artifact" && message["target"]["name"] == name {
            let path = message["executable"].as_str().or(message["filenames"][0].as_str());
            return path.map(PathBuf::from).context("an artifact without a file");
        }
    }
    bail!("cargo made no {name}")
}

/// A tool of rustup's component `llvm-tools`.
pub fn llvm(tool: &str) -> Result<Command> {
    let libraries = said(&mut command("rustc --print target-libdir"))?;
    let path = Path::new(libraries.trim()).with_file_name("bin").join(tool);
    ensure!(path.exists(), "{}: not there; rustup component add llvm-tools", path.display());
    Ok(Command::new(path))
}
