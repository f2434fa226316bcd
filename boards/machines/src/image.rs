//! A board's image and card.
//!
//! In: a checkout, the `ripple` command, a board. Out: files in `target/boards`. Compiles nothing:
//! a build script that waited for a compiler of its own would hide it.

use crate::Machine;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

/// The `ripple` command: the one that `RIPPLE` names, or what `cargo build --release` has left in
/// the checkout `root`.
///
/// # Errors
/// When there is none, or one older than a source that it was made from.
pub fn ripple(root: &Path) -> Result<PathBuf, String> {
    if let Some(named) = env::var_os("RIPPLE") {
        return Ok(named.into());
    }
    let built = root.join("target/release/ripple");
    let advice =
        format!("run `cargo build --release` in {}, or name one in RIPPLE", root.display());
    let time = |path: &Path| path.metadata().and_then(|data| data.modified());
    let made = time(&built).map_err(|e| format!("{}: {e}; {advice}", built.display()))?;
    // cargo's list of what it was made from: `ripple: FILE FILE...`, a blank in a name as `\ `.
    let sources = fs::read_to_string(built.with_extension("d")).unwrap_or_default();
    let sources = sources.replace("\\ ", "\0");
    let names = sources.split_whitespace().skip(1).map(|name| name.replace('\0', " "));
    match names.into_iter().find(|name| !time(Path::new(name)).is_ok_and(|time| time <= made)) {
        Some(newer) => Err(format!("{}: older than {newer}; {advice}", built.display())),
        None => Ok(built),
    }
}

/// Makes what a board reads, for its own `model` or another: `model.img`, the image, and
/// `card.img`, the card or file with the image on it. Returns their folder, `target/boards/BOARD`
/// or `BOARD-MODEL`.
///
/// # Errors
/// When `ripple` fails, or a file cannot be written.
pub fn image(
    root: &Path,
    ripple: &Path,
    machine: &Machine,
    model: Option<&str>,
) -> Result<PathBuf, String> {
    let name: Vec<&str> = [Some(machine.board), model].into_iter().flatten().collect();
    let folder = root.join("target/boards").join(name.join("-"));
    fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let (image, card) = (folder.join("model.img"), folder.join("card.img"));
    let run = |command: &mut Command| {
        // The build scripts that call this speak to cargo on standard output.
        let status = command.stdout(Stdio::null()).status();
        let status = status.map_err(|e| format!("{}: {e}", ripple.display()))?;
        status.success().then_some(()).ok_or_else(|| format!("{command:?}: {status}"))
    };
    let mut pack = Command::new(ripple);
    run(pack.arg("image").args(model).args(["--board", machine.board, "-o"]).arg(&image))?;
    let Some(layout) = machine.layout else {
        return match fs::copy(&image, &card) {
            Ok(_) => Ok(folder),
            Err(e) => Err(format!("{}: {e}", card.display())),
        };
    };
    let mut write = Command::new(ripple);
    write.arg("card").arg(&image).arg("-o").arg(&card);
    run(write.args(["--layout", layout, "--yes"]))?;
    Ok(folder)
}
