//! The subcommand that places neurons: for a card, by one method, or in parts on several machines.

use super::args::{CARD, PageArgs, Reads};
use super::range::range;
use super::summary::bytes;
use crate::cost::Preset;
use crate::placement::admission::hot_prefix;
use crate::placement::{
    self, Forecast, LayerForecast, Method, PartialPlacement, PlaceOptions, Placement, ReadCost,
    steps,
};
use crate::process::failure::ensure_usage;
use crate::process::output::{check_path, note, progress};
use crate::profile::trace::Trace;
use anyhow::{Result, ensure};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, value_parser};
use ripple_hal::{BLOCK_BYTES, BlockCount};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// How several machines place one model.
const ON_SEVERAL_MACHINES: &str = "\
On several machines, here with Slurm, 32 layers in four parts; the result is the same to the byte as that
of `ripple place big.trace --method coactivation`:
  sbatch --wait --array=0-3 --cpus-per-task=2 --mem=8G --wrap \\
    'a=$((SLURM_ARRAY_TASK_ID * 8)); ripple place big.trace --layers $a..$((a + 8)) -o part-$a'
  ripple place --merge part-* -o big.placement";

/// Up to here, missed bundles lie further apart than what a command is worth.
const WORTH: f64 = 0.5;

/// Order the neurons of each layer: for a card, unless --method or --layers says otherwise.
#[derive(Args)]
#[command(after_help = ON_SEVERAL_MACHINES)]
pub struct Place {
    /// Trace of profiling text.
    #[arg(required_unless_present = "merge")]
    trace: Option<PathBuf>,
    /// Order them like this, without pages, and not for a card.
    #[arg(long, value_enum, conflicts_with = "page_mib")]
    method: Option<Method>,
    /// Share of all neurons to put in front of their layers, most frequent first, to be held in RAM: the hot
    /// prefixes.
    #[arg(long, default_value_t = 0.1, allow_negative_numbers = true)]
    hot: f64,
    /// Seed of the random order.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Card to place for: neurons are ordered for what its reads cost, and tokens get pages, copies of
    /// the bundles (the weights of a neuron, side by side) that they are likely to need.
    #[arg(long, default_value = CARD, conflicts_with_all = ["method", "layers", "merge"], value_parser = PossibleValuesParser::new(Preset::names()).try_map(|name| Preset::by_name(&name)))]
    card: &'static Preset,
    #[command(flatten)]
    pages: PageArgs,
    /// Staging that reads will have, both halves, in blocks; without it, as `ripple run` has.
    #[arg(long, conflicts_with_all = ["method", "layers", "merge"], value_parser = value_parser!(u32).range(2..=65536))]
    staging: Option<u32>,
    /// Place for a driver that starts a command for each read; without it, for one whose reads go on with the command of
    /// the read before.
    #[arg(long, conflicts_with_all = ["method", "layers", "merge"])]
    no_stay_open: bool,
    /// Place only layers A to B - 1, by co-activation unless --method says otherwise, and write a part.
    #[arg(long, value_name = "A..B", value_parser = range, conflicts_with = "page_mib")]
    layers: Option<Range<usize>>,
    /// Join these parts, which hold every layer once.
    #[arg(
        long,
        num_args = 1..,
        value_name = "PART",
        conflicts_with_all = ["trace", "method", "hot", "seed", "layers", "page_mib"]
    )]
    merge: Vec<PathBuf>,
    /// Placement file to write.
    #[arg(short, long)]
    output: PathBuf,
}

impl Place {
    pub fn run(&self) -> Result<()> {
        ensure_usage!((0.0..=1.0).contains(&self.hot), "--hot {}: expected 0 to 1", self.hot);
        check_path(&self.output)?;
        match &self.trace {
            Some(trace) => self.place(trace),
            None => self.merge(),
        }
    }

    fn place(&self, path: &Path) -> Result<()> {
        let trace = Trace::read(path)?;
        ensure!(
            trace.tokens() > 0,
            "{}: expected at least one token, found none; trace a text",
            path.display()
        );
        let layers = self.layers.clone().unwrap_or(0..trace.layers());
        ensure_usage!(
            layers.end <= trace.layers(),
            "--layers {}..{}: expected at most 0..{}, the layers of {}",
            layers.start,
            layers.end,
            trace.layers(),
            path.display()
        );
        if self.method.is_none() && self.layers.is_none() {
            let ffn = (trace.layers() * trace.neurons()) as u64 * u64::from(trace.bundle_bytes());
            let pages = self.pages.blocks(ffn, trace.tokens());
            self.foretell(&trace)?;
            let placed = place_for_card(&trace, &self.reads(), self.hot, pages)?;
            return self.write(&placed, trace.bundle_bytes());
        }
        let method = self.method.unwrap_or(Method::Coactivation);
        let options = PlaceOptions { seed: self.seed, hot: hot_prefix(&trace, self.hot) };
        let bar = progress((layers.len() * trace.neurons()) as u64, "place");
        let part = PartialPlacement::place(&trace, method, &options, layers, &|n| bar.inc(n))?;
        bar.finish_and_clear();
        if self.layers.is_none() {
            let whole = PartialPlacement::merge(vec![(path.display().to_string(), part)])?;
            return self.write(&whole, trace.bundle_bytes());
        }
        part.write(&self.output)?;
        note(&format!(
            "{}: layers {}..{} of {} by {} -> {}; join all parts with `ripple place --merge`",
            trace.model(),
            part.layers().start,
            part.layers().end,
            trace.layers(),
            method,
            self.output.display()
        ));
        Ok(())
    }

    /// Says what reads will be before the time to place is spent.
    fn foretell(&self, trace: &Trace) -> Result<()> {
        let cost =
            |stays_open| Reads { stays_open, ..self.reads() }.cost(stride(trace), trace.neurons());
        let (cost, open) = (cost(false), cost(true));
        note(&expected(self.card, &cost, &Forecast::of(trace, &cost, &open, self.hot)?));
        Ok(())
    }

    fn reads(&self) -> Reads {
        let staging = self.staging.map(BlockCount);
        Reads { card: self.card, staging, stays_open: !self.no_stay_open }
    }

    fn merge(&self) -> Result<()> {
        let part = |path: &PathBuf| Ok((path.display().to_string(), PartialPlacement::read(path)?));
        // Parts have no pages.
        let whole = PartialPlacement::merge(self.merge.iter().map(part).collect::<Result<_>>()?)?;
        self.write(&whole, 0)
    }

    /// Writes the placement, of bundles of `stride` bytes.
    fn write(&self, placement: &Placement, stride: u32) -> Result<()> {
        placement.write(&self.output)?;
        let pages = placement.pages().map_or_else(String::new, |pages| {
            let size = bytes(pages.blocks(stride) as f64 * BLOCK_BYTES as f64);
            format!(", {} copies of bundles in pages of {size}", pages.bundles())
        });
        note(&format!(
            "{}: {} layers of {} neurons by {}, {} of {} in front to be held in RAM{pages} -> {}",
            placement.model(),
            placement.layers().len(),
            placement.neurons(),
            placement.method(),
            placement.hot().iter().sum::<usize>(),
            placement.layers().len() * placement.neurons(),
            self.output.display()
        ));
        Ok(())
    }
}

/// Bytes of a bundle on the card.
fn stride(trace: &Trace) -> u32 {
    trace.bundle_bytes().next_multiple_of(4).max(8)
}

/// A forecast in words.
fn expected(card: &Preset, cost: &ReadCost, forecast: &Forecast) -> String {
    let gap = cost.gap();
    let mut text = format!(
        "{}: a read costs as much as {} blocks more, {:.1} bundles; a token before placing, its most frequent \
         neurons held:\n layer  active  missed    rho  by frequency, ms\n",
        card.name,
        gap.0,
        gap.bytes() as f64 / f64::from(cost.stride()),
    );
    let ms = |picoseconds: f64| picoseconds * 1e-9;
    for (layer, of) in forecast.layers.iter().enumerate() {
        let LayerForecast { active, missed, rho, by_frequency, .. } = *of;
        let by_frequency = ms(by_frequency);
        text += &format!("{layer:6} {active:7.1} {missed:7.1} {rho:6.2} {by_frequency:17.3}\n");
    }
    let (now, least) = (forecast.by_frequency(), forecast.least());
    let rho = forecast.layers.iter().map(|layer| layer.rho).sum::<f64>()
        / forecast.layers.len().max(1) as f64;
    let order = if rho <= WORTH {
        "what is missed lies apart: an order can save commands"
    } else {
        "what is missed is nearly side by side: an order saves little, pages or a larger cache more"
    };
    text += &format!(
        "   all: {:.3} ms; {:.3} if it were read once, in one command: {:.2} times is all that an order, pages \
         and a cache can give\n   rho {rho:.2}: {order}",
        ms(now),
        ms(least),
        now / least.max(1.0),
    );
    text
}

/// [`placement::place_for_card`] with a progress bar, and with the cost of `reads`.
pub fn place_for_card(
    trace: &Trace,
    reads: &Reads,
    cache_share: f64,
    page_blocks: u64,
) -> Result<Placement> {
    let cost = reads.cost(stride(trace), trace.neurons());
    let bar = progress(steps(trace, page_blocks), "place");
    let placed =
        placement::place_for_card(trace, &cost, cache_share, page_blocks, &|n| bar.inc(n))?;
    bar.finish_and_clear();
    Ok(placed)
}
