//! `ripple plan`: what a model needs of a board, before anything is flashed.

use anyhow::Result;
use clap::Args;

/// To come.
#[derive(Args)]
pub struct Plan {}

impl Plan {
    pub fn run(&self) -> Result<()> {
        Ok(())
    }
}
