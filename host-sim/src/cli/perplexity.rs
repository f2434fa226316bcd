//! `ripple perplexity`: what storing and predicting cost in quality, beside the float32 reference.

use super::args::{Kv, RowArgs};
use super::shares::{Shares, share};
use super::source::{open_image, open_model};
use super::summary::{bytes, table};
use crate::machine::adapter::Saved;
use crate::machine::{ImageBytes, header};
use crate::model::Model;
use crate::model::selection::judge;
use crate::model::text::read_tokens;
use crate::pack::pack_as;
use crate::placement::Placement;
use crate::predictor::signs::{SignOptions, calibrate};
use crate::predictor::{Format, PredictorChoice};
use crate::predictor::{Goal, Quality, Trained, evaluate};
use crate::process::interrupt;
use crate::process::output::{self, progress};
use crate::study::quality::{Measured, measure_adapted, uninterrupted};
use anyhow::{Context, Result, anyhow};
use clap::{Args, value_parser};
use ripple_kernel::Options;
use ripple_kernel::image::{Geometry, Predictor, Quant, Quants, SectionKind};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Tokens of the profiling text that the sign predictor is calibrated on.
const CALIBRATION_TOKENS: usize = 32 * 1024;
/// The sign predictors that are shown: bits of the input, and share of the activation kept.
const SIGNS: [(u32, f64); 3] = [(1, 0.999), (4, 0.99), (4, 0.999)];

/// Quality on a text: float32 reference, exact 8-bit image, and images with lossy settings.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    ripple perplexity my.model --text held-out.txt --image my.image\n  \
    ripple perplexity my.model --text held-out.txt --ffn q4 --head q4\n  \
    ripple perplexity my.model --text held-out.txt --image my.image --adapter notes.lora\n  \
    ripple perplexity my.model --text held-out.txt --mixes\n  \
    ripple perplexity my.model --text held-out.txt --calibrate profile.txt\n  \
    ripple perplexity silu.model --text held-out.txt --calibrate profile.txt --keep 0.5,0.3")]
pub struct Perplexity {
    /// Model file or Hugging Face directory.
    model: PathBuf,
    /// Text to read; one that nothing was profiled on.
    #[arg(long)]
    text: PathBuf,
    /// Image of this model to measure too, as `ripple pack` writes it; may be given several times.
    #[arg(long)]
    image: Vec<PathBuf>,
    /// Adapter of one of the images to measure it with too, as `ripple tune` writes it; may be given several times.
    #[arg(long, requires = "image")]
    adapter: Vec<PathBuf>,
    /// Predictor to measure too, as `ripple train-predictor` writes it; may be given several times.
    #[arg(long)]
    trained: Vec<PathBuf>,
    #[command(flatten)]
    rows: RowArgs,
    /// Measure every mix of 4- and 8-bit rows.
    #[arg(long)]
    mixes: bool,
    /// Profiling text: measures sign predictors that are calibrated on it.
    #[arg(long)]
    calibrate: Option<PathBuf>,
    /// For SiLU and GELU gates: measure instead what it would cost to keep these shares of the neurons, chosen by
    /// the gate, as thresholds do, and by the whole product `|act(gate) * up| * norm(down)`, in float32;
    /// calibrated on the profiling text.
    #[arg(long, value_name = "SHARES", value_delimiter = ',', requires = "calibrate", value_parser = share,
        conflicts_with_all = ["image", "trained", "mixes", "ffn", "attn", "head"])]
    keep: Vec<f64>,
    /// Most windows of the full context.
    #[arg(long, default_value_t = 40, value_parser = value_parser!(u32).range(1..))]
    windows: u32,
    /// Numbers of the KV cache.
    #[arg(long, value_enum, default_value_t = Kv::F16)]
    kv: Kv,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Perplexity {
    pub fn run(&self) -> Result<()> {
        interrupt::listen();
        let model = open_model(&self.model)?.model;
        let tokens = read_tokens(&model, &self.text)?;
        let c = &model.config;
        let most = self.windows as usize;
        let held_out = &tokens[..tokens.len().min(most * c.context as usize)];
        let profile = match &self.calibrate {
            Some(text) => read_tokens(&model, text)?,
            None => Vec::new(),
        };
        let profile = &profile[..profile.len().min(CALIBRATION_TOKENS)];
        if !self.keep.is_empty() {
            return self.shares(&model, profile, held_out);
        }

        let signs = if self.calibrate.is_some() { &SIGNS[..] } else { &[] };
        let judged = signs.len() + self.trained.len();
        let all = signs.len() * profile.len() + judged * held_out.len();
        let bar = progress(all as u64, "predictors");
        let done = |n| bar.inc(n);
        let mut stored = self.stored(&model)?;
        let mut predictors = Vec::new();
        for path in &self.trained {
            predictors.push((path.display().to_string(), Trained::read(path, &model)?.choice));
        }
        for &(planes, keep) in signs {
            let options = SignOptions { planes, goal: Goal::Activation(keep) };
            let choice = PredictorChoice::Signs(calibrate(&model, profile, options, &done));
            predictors.push((format!("signs x {planes}, keep {keep}"), choice));
        }
        for (name, choice) in predictors {
            let quality = evaluate(&model, held_out, &choice, &done);
            stored.push(Stored::pack(&model, name, &choice, self.rows.quants(), quality)?);
        }
        bar.finish_and_clear();

        let images: Vec<_> =
            stored.iter().map(|stored| (&*stored.image, stored.adapter.as_ref())).collect();
        let bar = progress(((1 + images.len()) * held_out.len()) as u64, "perplexity");
        let options = Options { context: c.context, kv: self.kv.into(), ..Options::DEFAULT };
        let measured = measure_adapted(&model, &images, &tokens, &options, most, &|n| bar.inc(n))
            .with_context(|| self.text.display().to_string())?;
        bar.finish_and_clear();

        let (reference, measured) = measured.split_first().context("the reference")?;
        let row = |(stored, measured): (&Stored, &Measured)| Row::of(stored, measured, reference);
        let rows = stored.iter().zip(measured).map(row);
        let (lossy, mut lossless): (Vec<Row>, Vec<Row>) = rows.partition(|row| row.lossy);
        lossless.insert(0, Row::reference(reference));
        let report = Report {
            model: model.name.clone(),
            text: self.text.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            windows: most.min(tokens.len() / c.context as usize),
            context: c.context,
            lossless,
            lossy,
        };
        if self.json {
            return output::print_json(&report);
        }
        output::print(&report.print())
    }

    /// What keeping shares of the neurons would cost.
    fn shares(&self, model: &Model, profile: &[u32], held_out: &[u32]) -> Result<()> {
        let context = model.config.context.max(1) as usize;
        let whole = held_out.len() / context * context;
        let all = profile.len() + whole * (1 + 2 * self.keep.len());
        let bar = progress(all as u64, "keep");
        let (dense, kept) = judge(model, profile, held_out, &self.keep, &|n| bar.inc(n))
            .with_context(|| self.text.display().to_string())?;
        bar.finish_and_clear();
        uninterrupted()?;
        let geometry = Format::new(&PredictorChoice::Exact, self.rows.quants()).geometry(model);
        let report = Shares::new(model, &geometry, dense, kept, whole / context);
        if self.json {
            return output::print_json(&report);
        }
        output::print(&report.print())
    }

    /// The images that are packed here with the exact predictor, or read.
    fn stored(&self, model: &Model) -> Result<Vec<Stored>> {
        let mut mixes = vec![RowArgs::Q8];
        if self.rows != RowArgs::Q8 {
            mixes.push(self.rows);
        }
        if self.mixes {
            let quant = |four| if four { Quant::Q4 } else { Quant::Q8 };
            let mix = |mix: u32| RowArgs {
                ffn: quant(mix & 1 > 0),
                attn: quant(mix & 2 > 0),
                head: quant(mix & 4 > 0),
            };
            mixes = (0..8).map(mix).collect();
        }
        let exact = &PredictorChoice::Exact;
        let mut stored = mixes
            .into_iter()
            .map(|mix| Stored::pack(model, mix.names(), exact, mix.quants(), None))
            .collect::<Result<Vec<_>>>()?;
        for path in &self.image {
            let image = open_image(path)?;
            let name = path.display().to_string();
            let geometry = header(&image).with_context(|| name.clone())?.geometry;
            stored.push(Stored { name, geometry, image, adapter: None, quality: None });
        }
        let images = stored.len() - self.image.len();
        for path in &self.adapter {
            let adapted = self.adapted(path, &stored[images..])?;
            stored.push(adapted);
        }
        Ok(stored)
    }

    /// The image that the adapter at `path` is of, with it.
    fn adapted(&self, path: &Path, images: &[Stored]) -> Result<Stored> {
        let mut refused = None;
        for stored in images {
            match Saved::read(path, &header(&stored.image)?) {
                Ok(saved) => {
                    return Ok(Stored {
                        name: format!("{} + {}", stored.name, path.display()),
                        geometry: stored.geometry,
                        image: stored.image.clone(),
                        adapter: Some(saved),
                        quality: None,
                    });
                }
                Err(error) => refused = Some(error),
            }
        }
        Err(refused.unwrap_or_else(|| anyhow!("{}: no --image", path.display())))
    }
}

/// An image to measure.
struct Stored {
    name: String,
    geometry: Geometry,
    image: ImageBytes,
    /// What is added to its attention, if anything.
    adapter: Option<Saved>,
    /// Of its predictor, if that was calibrated here.
    quality: Option<Quality>,
}

impl Stored {
    fn pack(
        model: &Model,
        name: String,
        predictor: &PredictorChoice,
        quants: Quants,
        quality: Option<Quality>,
    ) -> Result<Self> {
        let format = Format::new(predictor, quants);
        let (layers, neurons) = (model.config.layers as usize, model.config.neurons as usize);
        let placement = Placement::identity(&model.name, layers, neurons);
        let image = pack_as(format, model, &placement, &[])?.into();
        let geometry = format.geometry(model);
        Ok(Self { name, geometry, image, adapter: None, quality })
    }

    /// Whether it is other than exact with all rows in 8 bits, of whatever scales.
    fn lossy(&self) -> bool {
        let four = |kind: &SectionKind| self.geometry.quants.of(*kind) == Quant::Q4;
        self.geometry.predictor != Predictor::Exact || SectionKind::ALL.iter().any(four)
    }

    /// Bytes of a section's records.
    fn section(&self, kind: SectionKind) -> u64 {
        let layers = if kind.per_layer() { self.geometry.config.layers } else { 1 };
        self.geometry.table(kind).map_or(0, |(count, layout)| {
            u64::from(count) * u64::from(layout.stride()) * u64::from(layers)
        })
    }

    /// Bytes of all rows that every token needs: all but its bundles and its embedding.
    fn dense(&self) -> u64 {
        use SectionKind::{Embedding, Head, Output, Qkv};
        let head = if self.geometry.config.tied_head { Embedding } else { Head };
        let rows = [Qkv, Output, head].into_iter().map(|kind| self.section(kind));
        self.predictor() + rows.sum::<u64>()
    }

    /// Bytes of its predictor.
    fn predictor(&self) -> u64 {
        self.section(SectionKind::Projection) + self.section(SectionKind::Predictor)
    }
}

#[derive(Serialize)]
struct Report {
    model: String,
    text: String,
    windows: usize,
    context: u32,
    /// The reference, and what computes all that it computes.
    lossless: Vec<Row>,
    lossy: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    #[serde(skip)]
    lossy: bool,
    #[serde(flatten)]
    measured: Measured,
    change_percent: f64,
    /// Without pages.
    image_bytes: Option<u64>,
    /// Bytes of the bundles that a token wants.
    bundle_bytes_per_token: Option<f64>,
    /// Of all rows that a token wants.
    bytes_per_token: Option<f64>,
    predictor_bytes: Option<u64>,
    /// Share of the active neurons that were predicted.
    recall: Option<f64>,
    predicted_per_active: Option<f64>,
}

impl Row {
    fn reference(measured: &Measured) -> Self {
        Self {
            name: "reference, f32".to_owned(),
            lossy: false,
            measured: *measured,
            change_percent: 0.0,
            image_bytes: None,
            bundle_bytes_per_token: None,
            bytes_per_token: None,
            predictor_bytes: None,
            recall: None,
            predicted_per_active: None,
        }
    }

    fn of(stored: &Stored, measured: &Measured, reference: &Measured) -> Self {
        let bundles = measured.bundles * f64::from(stored.geometry.bundle_layout().stride());
        let quality = stored.quality;
        let pages = stored.geometry.page_blocks.bytes();
        Self {
            name: stored.name.clone(),
            lossy: stored.lossy(),
            measured: *measured,
            change_percent: 100.0 * (measured.perplexity / reference.perplexity - 1.0),
            image_bytes: Some(stored.image.len() as u64 - pages),
            bundle_bytes_per_token: Some(bundles),
            bytes_per_token: Some(bundles + stored.dense() as f64),
            predictor_bytes: Some(stored.predictor()),
            recall: quality.map(|quality| quality.recall()),
            predicted_per_active: quality.map(|quality| quality.predicted_per_active()),
        }
    }

    fn cells(&self) -> Vec<String> {
        let dash = || "-".to_owned();
        let kib = |n: Option<f64>| n.map_or_else(dash, bytes);
        let m = &self.measured;
        vec![
            self.name.clone(),
            format!("{:.3}", m.perplexity),
            format!("{:+.2} %", self.change_percent),
            format!("{:.5}", m.divergence),
            format!("{:.2} %", 100.0 * m.agreement),
            kib(self.image_bytes.map(|n| n as f64)),
            kib(self.bundle_bytes_per_token),
            kib(self.bytes_per_token),
            kib(self.predictor_bytes.map(|n| n as f64)),
            self.recall.map_or_else(dash, |recall| format!("{:.2} %", 100.0 * recall)),
            self.predicted_per_active.map_or_else(dash, |ratio| format!("{ratio:.2}")),
        ]
    }
}

/// What stands over the columns; those after the ninth are of lossy predictors alone.
const HEADER: [&str; 11] = [
    "",
    "perplexity",
    "against f32",
    "KL, nats",
    "greedy",
    "image",
    "bundles a token",
    "all a token",
    "predictor",
    "recall",
    "predicted / active",
];

impl Report {
    fn print(&self) -> String {
        let mut out = format!(
            "{} on {} windows of {} tokens of {}\n",
            self.model, self.windows, self.context, self.text
        );
        let print = |rows: &[Row], columns: usize| {
            let cells = rows.iter().map(|row| row.cells()[..columns].to_vec());
            table(&HEADER[..columns], cells.collect())
        };
        out += &print(&self.lossless, 9);
        if !self.lossy.is_empty() {
            out += &format!("\nlossy settings:\n{}", print(&self.lossy, HEADER.len()));
        }
        out
    }
}
