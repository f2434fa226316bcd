//! `ripple doctor`: what boards need on this machine, what is there, and how to install the rest.

use super::summary::table_of_words;
use crate::process::output;
use anyhow::{Result, bail};
use clap::Args;
use clap::builder::PossibleValuesParser;
use ripple_machines::{MACHINES, Machine, Need, State, needs};
use serde::Serialize;

/// Say what the boards need on this machine, what is missing, and the command that installs it.
///
/// Fails when something is missing that a named board needs; without a name, only reports.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    ripple doctor\n  \
    ripple doctor lm3s6965evb raspi3b\n  \
    ripple doctor --json | jq '.checks[] | select(.state != \"ok\") | .install'")]
pub struct Doctor {
    /// Boards; without any, all.
    #[arg(value_parser = PossibleValuesParser::new(MACHINES.map(|machine| machine.board)))]
    boards: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Serialize)]
struct Report {
    checks: Vec<Check>,
}

/// One thing that some boards need.
#[derive(Serialize)]
struct Check {
    name: &'static str,
    /// What it is for.
    purpose: &'static str,
    /// `ok`, `too-old` or `missing`.
    state: &'static str,
    /// Whether a board cannot be built or run without it.
    needed: bool,
    /// Its version, where it has one.
    found: Option<String>,
    /// What puts it right; nothing where it is.
    install: Option<String>,
    /// The boards that need it.
    boards: Vec<&'static str>,
}

impl From<Need> for Check {
    fn from(need: Need) -> Self {
        let (state, found) = need.look();
        let install = (state != State::Ok).then(|| need.install());
        let Need { name, purpose, needed, boards, .. } = need;
        Self { name, purpose, state: state.name(), needed, found, install, boards }
    }
}

impl Doctor {
    pub fn run(&self) -> Result<()> {
        let named = |machine: &Machine| {
            self.boards.is_empty() || self.boards.iter().any(|name| name == machine.board)
        };
        let boards: Vec<Machine> = MACHINES.into_iter().filter(named).collect();
        let report = Report { checks: needs(&boards).into_iter().map(Check::from).collect() };
        if self.json {
            output::print_json(&report)?;
        } else {
            output::print(&text(&report.checks))?;
        }
        let wrong = report.checks.iter().filter(|check| check.needed && check.install.is_some());
        let wrong: Vec<&str> = wrong.map(|check| check.name).collect();
        if !self.boards.is_empty() && !wrong.is_empty() {
            bail!("{} cannot be built and run here: {}", self.boards.join(", "), wrong.join(", "));
        }
        Ok(())
    }
}

fn text(checks: &[Check]) -> String {
    let rows = checks.iter().map(|check| {
        vec![
            check.name.to_owned(),
            check.found.clone().unwrap_or_default(),
            check.state.to_owned(),
            check.purpose.to_owned(),
            check.boards.len().to_string(),
        ]
    });
    let mut text = table_of_words(&["", "version", "state", "purpose", "boards"], rows.collect());
    let mut installs: Vec<&str> = Vec::new();
    for install in checks.iter().filter_map(|check| check.install.as_deref()) {
        if !installs.contains(&install) {
            installs.push(install);
        }
    }
    if installs.is_empty() {
        return text + "\nNothing is missing.\n";
    }
    text += "\nTo install what is missing:\n";
    installs.iter().for_each(|install| text += &format!("  {install}\n"));
    text + "On Debian, `boards/x setup` does it all, but for Rust and probe-rs.\n"
}

#[cfg(test)]
mod tests {
    use ripple_app::board;
    use ripple_machines::MACHINES;

    #[test]
    fn every_board_is_known() {
        assert_eq!(MACHINES.map(|machine| machine.board), board::ALL.map(|board| board.name));
    }
}
