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
    built(root).map_err(|why| {
        let root = root.display();
        format!("{why}; run `cargo build --release` in {root}, or name another in RIPPLE")
    })
}

fn built(root: &Path) -> Result<PathBuf, String> {
    let built = root.join("target/release/ripple");
    let time = |path: &Path| path.metadata().and_then(|data| data.modified());
    let made = time(&built).map_err(|e| format!("{}: {e}", built.display()))?;
    // cargo's list of what it was made from: `ripple: FILE FILE...`, a blank in a name as `\ `.
    let sources = fs::read_to_string(built.with_extension("d")).unwrap_or_default();
    let sources = sources.replace("\\ ", "\0");
    let mut names = sources.split_whitespace().skip(1).map(|name| name.replace('\0', " "));
    match names.find(|name| !time(Path::new(name)).is_ok_and(|time| time <= made)) {
        Some(newer) => Err(format!("{}: older than {newer}", built.display())),
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
    write.arg("card").arg(&image).args(["--board", machine.board, "-o"]).arg(&card);
    run(write.args(["--layout", layout, "--yes"]))?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::built;
    use std::fs;
    use std::time::{Duration, SystemTime};

    #[test]
    fn a_binary_older_than_a_source_is_refused() {
        let root = std::env::temp_dir().join(format!("ripple machines {}", std::process::id()));
        let (binary, source) = (root.join("target/release/ripple"), root.join("main.rs"));
        fs::create_dir_all(binary.with_file_name("deps")).unwrap();
        assert!(built(&root).unwrap_err().contains("target/release/ripple"));
        fs::write(&source, "").unwrap();
        fs::write(&binary, "").unwrap();
        let listed = source.to_str().unwrap().replace(' ', "\\ ");
        fs::write(binary.with_extension("d"), format!("ripple: {listed}\n")).unwrap();
        assert_eq!(built(&root).as_ref(), Ok(&binary));
        let later = SystemTime::now() + Duration::from_secs(60);
        fs::File::options().write(true).open(&source).unwrap().set_modified(later).unwrap();
        assert!(built(&root).unwrap_err().contains("older than"));
        fs::remove_file(&source).unwrap();
        assert!(built(&root).unwrap_err().contains("older than"));
        fs::remove_dir_all(&root).unwrap();
    }
}
