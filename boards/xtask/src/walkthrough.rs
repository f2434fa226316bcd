//! Plays the console sessions of the README, which must go as they are shown.
//!
//! In: the first ```` ```console ```` block below a heading. Lines with `$ ` are commands, run one after
//! another; lines with `> ` are what is typed at the program's own `> ` prompt. A command fails, or
//! a line that is shown is not said, in order: the session has failed. Where `[...]` stands, anything
//! may; lines with `# ` are the machine's own.

use crate::firmware::ripple;
use crate::shell::root;
use crate::talk::{ANY, Talk, like};
use anyhow::{Context, Result, ensure};
use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Seconds that a command may take, or a program to say its prompt.
const PATIENCE: u64 = 600;

/// A command of the session.
#[derive(Debug, PartialEq)]
struct Step<'t> {
    command: &'t str,
    typed: Vec<&'t str>,
    shown: Vec<&'t str>,
}

/// Plays the sessions below `headings` in `file`.
pub fn walkthrough(file: &str, headings: &[&str]) -> Result<()> {
    let text = std::fs::read_to_string(root().join(file))?;
    let found = ripple()?;
    let folder = Path::new(found.get_program()).parent().map(PathBuf::from).unwrap_or_default();
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths([folder].into_iter().chain(env::split_paths(&path)))?;
    for heading in headings {
        let steps = session(&text, heading).with_context(|| format!("no session in {heading}"))?;
        play_all(&steps, &path)?;
    }
    Ok(())
}

/// Plays the steps of a session, as a reader would who has set nothing.
fn play_all(steps: &[Step<'_>], path: &OsStr) -> Result<()> {
    let mut before = String::new();
    for Step { command, typed, shown } in steps {
        println!("$ {command}");
        let mut shell = Command::new("bash");
        shell.arg("-c").arg(format!("exec 2>&1; set -e; {before}\n{command}"));
        let mut talk = Talk::start(
            shell.current_dir(root()).env("PATH", path).env_remove("CARGO_TARGET_DIR"),
            PATIENCE,
        )?;
        let played = play(&mut talk, typed);
        let said = talk.text();
        println!("{said}");
        played.with_context(|| format!("`{command}` failed"))?;
        let mut lines = said.lines();
        for line in shown {
            let there = lines.any(|said| like(said, &format!("{line}{ANY}")));
            ensure!(there, "`{command}` did not say: {line}");
        }
        if command.starts_with("cd ") || command.starts_with("export ") {
            before += &format!("{command}; ");
        }
    }
    Ok(())
}

/// Types lines at the prompt, then ends the program.
fn play(talk: &mut Talk, typed: &[&str]) -> Result<()> {
    for line in typed {
        talk.wait("> [...]")?;
        talk.type_text(&format!("{line}\n"))?;
    }
    if !typed.is_empty() {
        talk.wait("> [...]")?;
        talk.type_text("\x04")?;
    }
    talk.end()
}

/// The commands below `heading`.
fn session<'t>(text: &'t str, heading: &str) -> Option<Vec<Step<'t>>> {
    let below = text.split_once(&format!("\n## {heading}\n"))?.1;
    let block = below.split_once("```console\n")?.1.split_once("\n```")?.0;
    let mut steps = Vec::new();
    for line in block.lines().filter(|line| !line.is_empty() && !line.starts_with("# ")) {
        if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step { command, typed: Vec::new(), shown: Vec::new() });
        } else {
            let step: &mut Step<'_> = steps.last_mut()?;
            step.typed.extend(line.strip_prefix("> "));
            step.shown.push(line);
        }
    }
    Some(steps)
}

#[cfg(test)]
mod tests {
    use super::{Step, session};

    #[test]
    fn a_session_is_commands_and_what_they_show() {
        let text = "\n## Other\n```console\n$ no\n```\n## This\nwords\n```console\n$ cd a\n$ b\nc\n> d\n# e\n\n```\n";
        let (first, second) = (vec![], vec!["c", "> d"]);
        let steps = vec![
            Step { command: "cd a", typed: vec![], shown: first },
            Step { command: "b", typed: vec!["d"], shown: second },
        ];
        assert_eq!(session(text, "This"), Some(steps));
        assert_eq!(session(text, "That"), None);
    }
}
