//! Formatting and clippy of boards, of what only boards use, and of the C library.

use crate::shell::{command, root, run};
use anyhow::Result;

/// Checks `folders` of `boards/`, or all that are no member of the workspace.
pub fn lint(folders: &[&str]) -> Result<()> {
    let mut all = vec!["../kernel/c".to_owned()];
    for entry in root().join("boards").read_dir()? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let manifest = root().join("boards").join(&name).join("Cargo.toml");
        if std::fs::read_to_string(manifest).is_ok_and(|text| text.contains("\n[workspace]")) {
            all.push(name);
        }
    }
    all.sort();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    for &folder in if folders.is_empty() { &all } else { folders } {
        println!("{folder}");
        let path = root().join("boards").join(folder);
        run(command("cargo fmt --check").current_dir(&path))?;
        let target = match folder {
            // A library for one kind of core is checked with the boards that use it.
            "cortex-m" | "bare-a" | "marks" => continue,
            "signed" => "--target thumbv7em-none-eabihf --features said",
            "check" | "kernels" | "programs" | "../kernel/c" => "--target thumbv7em-none-eabihf",
            _ => "",
        };
        let manifest = std::fs::read_to_string(path.join("Cargo.toml"))?;
        let learn = if manifest.contains("\nlearn = ") { "--features learn" } else { "" };
        let clippy =
            format!("cargo clippy --quiet --release --locked {target} {learn} -- -D warnings");
        run(command(&clippy).current_dir(&path))?;
    }
    Ok(())
}
