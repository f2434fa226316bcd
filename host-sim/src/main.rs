//! The `ripple` command.

use ripple_host_sim::cli;

use ripple_host_sim::process::failure;

use ripple_host_sim::process::output;
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
