//! `ripple adapter`: what an adapter is like; to and from the layout that `transformers` loads.

use super::board::board_parser;
use super::source::open_image;
use crate::machine::adapter::Saved;
use crate::machine::header;
use crate::medium::on_card;
use crate::process::output::{self, check_path, note};
use crate::tune::peft;
use anyhow::{Context, Result};
use clap::Args;
use ripple_app::Board;
use ripple_hal::BlockCount;
use ripple_kernel::adapter::Target;
use ripple_kernel::image::Header;
use std::path::PathBuf;

/// Show an adapter of an image, or exchange it with PEFT.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    ripple adapter my.image notes.lora\n  \
    ripple adapter my.image notes.lora --export notes-peft\n  \
    ripple adapter my.image notes.lora --import notes-peft\n  \
    ripple adapter my.image notes.lora --card /dev/sdX --board raspi3b")]
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
    /// Take what a board has learnt off its card, or a copy of it, and write the adapter file.
    #[arg(long, value_name = "CARD", conflicts_with_all = ["export", "import"])]
    card: Option<PathBuf>,
    /// The board; it decides what else is behind the image on the card.
    #[arg(long, requires = "card", value_parser = board_parser())]
    board: Option<&'static Board>,
}

impl AdapterArgs {
    /// Writes an adapter that comes from elsewhere.
    fn made(&self, saved: Result<Saved>, header: &Header) -> Result<Saved> {
        check_path(&self.adapter)?;
        let saved = saved?;
        saved.write(&self.adapter, header)?;
        Ok(saved)
    }

    pub fn run(&self) -> Result<()> {
        let image = open_image(&self.image)?;
        let header = header(&image).with_context(|| self.image.display().to_string())?;
        let config = &header.geometry.config;
        let saved = if let Some(folder) = &self.import {
            self.made(peft::import(folder, config), &header)?
        } else if let Some(card) = &self.card {
            let spill = |board: &Board| board.options.spill_blocks(config);
            let skip = self.board.map_or(BlockCount(0), spill);
            self.made(on_card::read(card, &header, skip), &header)?
        } else {
            Saved::read(&self.adapter, &header)?
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
