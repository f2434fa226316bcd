//! The demo: a trained model through every stage, from checkpoint to text on a simulated card.

use super::args::{MachineArgs, PAGE_MIB, RequestArgs};
use super::place::place_for_card;
use super::run::stream;
use super::summary::bytes;
use crate::admission::hot_prefix;
use crate::model::Model;
use crate::pack::{PredictorChoice, geometry, pack};
use crate::placement::PlaceOptions;
use crate::record::record;
use crate::simulate::header;
use crate::text::read_tokens;
use crate::{models, output};
use anyhow::Result;
use clap::Args;
use clap::builder::PossibleValuesParser;
use ripple_hal::BlockCount;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

/// Tokens of the profiling text that the demo traces: enough for these models, and quick.
const PROFILE_TOKENS: usize = 16 * 1024;

#[derive(Args)]
pub struct Demo {
    /// Demo model.
    #[arg(long, default_value = "story-nano", value_parser = PossibleValuesParser::new(models::list()))]
    model: String,
    #[command(flatten)]
    request: RequestArgs,
    #[command(flatten)]
    machine: MachineArgs,
    /// Room on the card for pages, in MiB; 0 for none.
    #[arg(long, default_value_t = PAGE_MIB)]
    page_mib: u32,
    /// Print the report as JSON on standard output (the text then goes to standard error).
    #[arg(long)]
    json: bool,
}

impl Demo {
    pub fn run(&self) -> Result<()> {
        let mut request = self.request.request()?;
        if request.prompt.is_empty() && self.model == "story-nano" {
            request.prompt = "One day,".to_owned();
        }
        let directory: PathBuf = models::path(&self.model)?;
        let model = Model::load(&directory)?;
        let config = &model.config;
        let tokens = read_tokens(&model, &directory.join("profile.txt"))?;
        let tokens = &tokens[..tokens.len().min(PROFILE_TOKENS)];
        let bar = output::progress(tokens.len() as u64, "trace");
        let trace = record(&model, "profile.txt", tokens, &|n| bar.inc(n));
        bar.finish_and_clear();
        let hot = hot_prefix(
            &trace,
            self.machine.cache_share(&geometry(&model, &PredictorChoice::Exact)),
        );
        let options = PlaceOptions { hot, ..PlaceOptions::default() };
        let staging = self.machine.staging.map(BlockCount);
        let placement =
            place_for_card(&trace, self.machine.card, &options, staging, self.page_mib)?;
        let active: Vec<f64> =
            (0..trace.layers()).map(|l| trace.density(l) * trace.neurons() as f64).collect();
        let image: Arc<[u8]> = pack(&model, &placement, &PredictorChoice::Exact, &active)?.into();
        let header = header(&image)?;
        let machine = self.machine.machine(&header)?;
        let title = format!(
            "{}: {} layers of {} neurons, an image of {}, {} of it pages\n\
             placed for the card by {} tokens of profile.txt\n\n",
            model.name,
            config.layers,
            config.neurons,
            bytes(image.len() as f64),
            bytes(header.geometry.page_blocks.bytes() as f64),
            tokens.len(),
        );
        if self.json {
            let _ = std::io::stderr().write_all(title.as_bytes());
        } else {
            output::print(&title)?;
        }
        let outcome = stream(&image, &machine, &request, self.json)?;
        outcome.print(&model.name, &machine, self.json)
    }
}
