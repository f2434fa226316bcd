//! `ripple adapter`: what an adapter is like; to and from the layout that `transformers` loads.

use super::source::open_image;
use crate::machine::adapter::Saved;
use crate::machine::header;
use crate::process::output::{self, check_path, note};
use crate::tune::peft;
use anyhow::{Context, Result};
use clap::Args;
use ripple_kernel::adapter::Target;
use std::path::PathBuf;

/// Show an adapter of an image, or exchange it with PEFT.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    ripple adapter my.image notes.lora\n  \
    ripple adapter my.image notes.lora --export notes-peft\n  \
    ripple adapter my.image notes.lora --import notes-peft")]
pub struct AdapterArgs {
    /// Image, as `ripple pack` writes it.
    image: PathBuf,
    /// Adapter file, as `ripple tune` writes it.
    adapter: PathBuf,
    /// Write it to this folder as PEFT has it: adapter_config.json, adapter_model.safetensors.
    #[arg(long, value_name = "FOLDER", conflicts_with = "import")]
    export: Option<PathBuf>,
    /// Read such a folder, and write the adapter file.
    #[arg(long, value_name = "FOLDER")]
    import: Option<PathBuf>,
}

impl AdapterArgs {
    pub fn run(&self) -> Result<()> {
        let image = open_image(&self.image)?;
        let header = header(&image).with_context(|| self.image.display().to_string())?;
        let config = &header.geometry.config;
        let saved = match &self.import {
            Some(folder) => {
                check_path(&self.adapter)?;
                let saved = peft::import(folder, config)?;
                saved.write(&self.adapter, &header)?;
                saved
            }
            None => Saved::read(&self.adapter, &header)?,
        };
        if let Some(folder) = &self.export {
            peft::export(&saved, config, folder)?;
            note(&format!("-> {}", folder.display()));
        }
        let Saved { shape, steps, numbers } = &saved;
        let targets = Target::ALL.into_iter().filter(|target| shape.targets.has(*target));
        let targets: Vec<_> = targets.map(|target| target.letter().to_string()).collect();
        output::print(&format!(
            "rank {}, alpha {}, of {} in {} layers: {} numbers, {steps} steps\n",
            shape.rank,
            shape.alpha,
            targets.join(", "),
            config.layers,
            numbers.len()
        ))
    }
}
