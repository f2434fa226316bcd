//! The demo: a trained model through every stage, from checkpoint to text on a simulated card.

use super::args::{MachineArgs, PageArgs, RowArgs};
use super::prepare::{PROFILE_TOKENS, Target, prepare};
use super::request::RequestArgs;
use super::run::stream;
use super::summary::bytes;
use super::tell::Stream;
use crate::import::demo;
use crate::machine::header;
use crate::model::Model;
use crate::predictor::{Format, PredictorChoice};
use crate::process::output;
use anyhow::Result;
use clap::Args;
use clap::builder::PossibleValuesParser;
use std::io::Write;
use std::path::PathBuf;

#[derive(Args)]
pub struct Demo {
    /// Demo model.
    #[arg(long, default_value = "story-nano", value_parser = PossibleValuesParser::new(demo::list()))]
    model: String,
    #[command(flatten)]
    request: RequestArgs,
    #[command(flatten)]
    machine: MachineArgs,
    #[command(flatten)]
    rows: RowArgs,
    #[command(flatten)]
    pages: PageArgs,
    /// Print the report as JSON on standard output (the text then goes to standard error).
    #[arg(long)]
    json: bool,
}

impl Demo {
    pub fn run(&self) -> Result<()> {
        let mut request = self.request.request(self.request.text(false)?)?;
        if request.prompt.is_empty() && self.model == "story-nano" {
            request.prompt = "One day,".to_owned();
        }
        let directory: PathBuf = demo::path(&self.model)?;
        let model = Model::load(&directory)?;
        let config = &model.config;
        let quants = self.rows.quants();
        let geometry = Format::new(&PredictorChoice::Exact, quants).geometry(&model);
        let target = Target {
            reads: self.machine.reads(),
            cache_share: self.machine.cache_share(&geometry),
            pages: self.pages,
            quants,
        };
        let prepared = prepare(&model, &directory.join("profile.txt"), PROFILE_TOKENS, &target)?;
        let (image, tokens) = (prepared.image(&model)?, prepared.tokens);
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
            tokens,
        );
        if self.json {
            let _ = std::io::stderr().write_all(title.as_bytes());
        } else {
            output::print(&title)?;
        }
        let outcome = stream(&image, &machine, &request, None, Stream::beside(self.json))?;
        outcome.print(&model.name, &machine, self.json)
    }
}
