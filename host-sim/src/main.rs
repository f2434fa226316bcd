//! The `ripple` command.

use ripple_host_sim::{cli, failure, output};
use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::note(&format!("error: {error:#}"));
            failure::exit_code(&error)
        }
    }
}
