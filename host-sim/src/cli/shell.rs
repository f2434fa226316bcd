//! What shells and `man` know of the command: completions and manual pages.

use crate::process::output::{self, write_whole};
use anyhow::{Context, Result, ensure};
use clap::{Args, Command};
use clap_complete::Shell;
use std::path::PathBuf;

/// Print what makes a shell complete `ripple` commands.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    ripple completions bash > ~/.local/share/bash-completion/completions/ripple\n  \
    ripple completions fish > ~/.config/fish/completions/ripple.fish\n  \
    ripple completions zsh > ~/.zfunc/_ripple")]
pub struct Completions {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub fn run(&self, mut command: Command) -> Result<()> {
        let mut out = Vec::new();
        clap_complete::generate(self.shell, &mut command, "ripple", &mut out);
        output::print(&String::from_utf8(out)?)
    }
}

/// Write manual pages, one a subcommand.
#[derive(Args)]
#[command(after_help = "Example:\n  ripple man ~/.local/share/man/man1 && man ripple-report")]
pub struct Man {
    /// Folder to write to.
    folder: PathBuf,
}

impl Man {
    pub fn run(&self, command: Command) -> Result<()> {
        let folder = self.folder.display();
        ensure!(self.folder.is_dir(), "{folder}: expected a folder; make it first");
        let mut command = command.name("ripple").disable_help_subcommand(true);
        command.build();
        let mut pages = vec![("ripple".to_owned(), command.clone())];
        for below in command.get_subcommands() {
            let name = format!("ripple-{}", below.get_name());
            // The page is headed by the name of the command; clap keeps it for as long as it runs.
            let heading: &'static str = Box::leak(name.clone().into_boxed_str());
            pages.push((name, below.clone().name(heading)));
        }
        for (name, command) in pages {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page).context("a manual page")?;
            let path = self.folder.join(format!("{name}.1"));
            write_whole(&path, |out| Ok(out.write_all(&page)?))?;
        }
        Ok(())
    }
}
