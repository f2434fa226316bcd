//! `ripple derive`: how a network is computed on a board, derived from its equations.

use super::board::board_parser;
use super::emitted::{Weights, is};
use super::layout;
use super::summary::{bytes, table};
use crate::cost::Preset;
use crate::html::derivation;
use crate::machine::Core;
use crate::process::failure::{bad_input, check_there};
use crate::process::output::{check_path, note, print, progress, write_whole};
use anyhow::{Context, Result, anyhow, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum, value_parser};
use ripple_app::Board;
use ripple_derive::cache::Cache;
use ripple_derive::derive::{Part, Program, derive_with};
use ripple_derive::library::Operator;
use ripple_derive::machine::{Core as Loops, Cost, Machine};
use ripple_derive::network::Network;
use ripple_derive::notation::parse;
use ripple_derive::onnx;
use ripple_derive::search::walk::Settings;
use ripple_hal::BLOCK_BYTES;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The notation, for `--help`; the test of the command derives this network.
const NOTATION: &str = "\
A network that is no ONNX file is a text, one tensor a line:

  input  A[7, 7, 16] pad 1, 1, 0       comes with every run; 0 is read as far outside as `pad` says
  weight K[3, 3, 8, 16]                is the same in all of them, and streamed from the card
  T[h: 7, w: 7, f: 8] = sum c: 16, r: 3, s: 3 . A[h + r - 1, w + s - 1, c] * K[r, s, f, c]
  O[h: 7, w: 7, f: 8] = relu(T[h, w, f])

A definition names its dimensions with their extents (`h: 7` or `h: -1..6`), what it adds up, and a body of
+, -, *, numbers, relu(..), tanh(..), square(..), sigmoid(..), exp(..), reciprocal(..), rsqrt(..) and tensors.
Indices add iterators, with factors, and their quotients and remainders by numbers: (h + r - 1) / 2, m % 4. The
last line is the result.

A language model's own layout is derived from the equations of its layers: --model in the place of a network.

Examples:
  ripple derive network.txt --board mps2-an386 --explain network.html
  ripple derive --model story-nano --board lm3s6965evb -o my.layout    what `ripple pack --plan` takes";

/// Derive how a network is computed on a board: by rules, from its equations.
///
/// Searches expressions that compute the same, matches them with the operators of the kernel, and takes
/// what costs least: commands and bytes of the card, instructions of the core, within the RAM that the
/// board's firmware leaves. Times are modelled.
#[derive(Args)]
#[command(after_help = NOTATION)]
pub struct Derive {
    /// Network: an ONNX file (`.onnx`) with fixed shapes, or a text in the notation below.
    #[arg(required_unless_present = "model")]
    network: Option<PathBuf>,
    /// Language model whose image's layout is derived: a model file, a checkpoint, or the name of a demo model.
    #[arg(long, conflicts_with_all = ["network", "depth", "kernel", "explain", "cache", "calibrate", "random"])]
    model: Option<PathBuf>,
    /// Share of a model's neurons that a token reads.
    #[arg(long, requires = "model", default_value_t = 0.1)]
    active: f64,
    /// Board.
    #[arg(long, value_parser = board_parser())]
    board: &'static Board,
    /// Card; without it, the board's own.
    #[arg(long, value_parser = PossibleValuesParser::new(Preset::names()).try_map(|name| Preset::by_name(&name)))]
    card: Option<&'static Preset>,
    /// Most rules that lead to an expression.
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u8).range(0..=8))]
    depth: u8,
    /// A convolution that the board has beside the library's: its kernel, and multiplications that it needs
    /// for one of the expression, such as `3x3=0.45`.
    #[arg(long, value_name = "HEIGHTxWIDTH=WORK")]
    kernel: Vec<Kernel>,
    /// What to write: a program that `ripple program` and boards run, if it ends in `.plan`; else the network
    /// as the board computes it, as a text.
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// Inputs that the network is computed with to see what its tensors range over, for a `.plan` of an ONNX
    /// file: NumPy arrays (`.npy`) of its input's shape, or of several in front of one another.
    #[arg(long, value_name = "NPY")]
    calibrate: Vec<PathBuf>,
    /// Random weights in 8 bits, for a `.plan` of a text, which has none: to measure it.
    #[arg(long, value_name = "SEED")]
    random: Option<u32>,
    /// Folder of what was found before, which is not searched for again; what is found is added.
    #[arg(long, value_name = "FOLDER")]
    cache: Option<PathBuf>,
    /// Page to write, which shows every step.
    #[arg(long, value_name = "HTML")]
    explain: Option<PathBuf>,
}

/// A convolution of one size.
#[derive(Clone, Copy, Debug)]
struct Kernel {
    height: i64,
    width: i64,
    work: f64,
}

impl FromStr for Kernel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = || {
            let (size, work) = text.split_once('=')?;
            let (height, width) = size.split_once('x')?;
            let extent = |text: &str| text.parse().ok().filter(|n| (1..=64).contains(n));
            let work = work.parse().ok().filter(|work| (0.01..=100.0).contains(work))?;
            Some(Self { height: extent(height)?, width: extent(width)?, work })
        };
        parsed().ok_or_else(|| {
            format!(
                "expected a kernel of up to 64x64 and a factor, such as `3x3=0.45`, found `{text}`"
            )
        })
    }
}

impl Derive {
    pub fn run(&self) -> Result<()> {
        for path in self.output.iter().chain(&self.explain) {
            check_path(path)?;
        }
        if let Some(model) = &self.model {
            let card = self.card.map_or_else(|| Preset::by_name(self.board.card), Ok)?;
            return layout::run(model, self.board, card, self.active, self.output.as_deref());
        }
        let path = self.network.as_deref().context("expected a network")?;
        check_there(path)?;
        self.calibrate.iter().try_for_each(|path| check_there(path))?;
        let network = read(path).map_err(bad_input);
        let network = network.with_context(|| path.display().to_string())?;
        let machine = self.machine()?;
        let mut operators = Operator::standard();
        let own = self.kernel.iter().map(|k| Operator::conv(k.height, k.width, k.work));
        operators.extend(own);

        let bar = progress(network.definitions.len() as u64, "deriving");
        let settings = Settings::of_depth(self.depth);
        let warn = |line: &str| note(line);
        let cache = self.cache.as_ref().map(|folder| Cache::at(folder, &warn));
        let cache = cache.as_ref();
        let seen = &mut |name: &str, at: usize, count: usize, states: u64| {
            bar.set_length(count as u64);
            bar.set_position(at as u64);
            bar.set_message(format!("{name}: {states} states"));
        };
        let program = derive_with(&network, &machine, &operators, settings, cache, seen);
        bar.finish_and_clear();
        let program = program.with_context(|| path.display().to_string())?;
        print(&report(path, &program, &machine, &operators)?)?;
        let name = path.display().to_string();
        let weights = Weights { network: path, calibrate: &self.calibrate, random: self.random };
        let write = |path: &PathBuf, text: String| {
            write_whole(path, |file| Ok(file.write_all(text.as_bytes())?))
                .with_context(|| path.display().to_string())
        };
        if let Some(path) = &self.output {
            if is(path, "plan") {
                let emitted = weights.program(&program, &machine)?;
                print(&format!(
                    "{}: {} reads, {}, {} of RAM, front {}\n",
                    path.display(),
                    emitted.commands,
                    bytes(emitted.bytes as f64),
                    bytes(emitted.ram as f64),
                    bytes(emitted.front as f64)
                ))?;
                write_whole(path, |file| Ok(file.write_all(&emitted.image)?))
                    .with_context(|| path.display().to_string())?;
            } else {
                write(path, plan(&name, &program, &machine))?;
            }
        }
        if let Some(path) = &self.explain {
            let title = format!("{name} on {}", machine.name);
            write(path, derivation::page(&title, &program, &machine, &operators))?;
        }
        Ok(())
    }

    /// The board as far as costs are concerned.
    fn machine(&self) -> Result<Machine> {
        let board = self.board;
        let card = self.card.map_or_else(|| Preset::by_name(board.card), Ok)?;
        if !card.table.is_empty() {
            bail!(
                "card {}: its times are a table; take a card whose reads are t0 + n / bandwidth",
                card.name
            );
        }
        let core =
            <Core as ValueEnum>::from_str(board.core, true).map_err(|error| anyhow!("{error}"))?;
        let loops = match core {
            Core::CortexM3 => Loops::M3,
            // One loop for all that have the DSP instructions.
            Core::CortexM4 | Core::CortexM33 | Core::CortexM7 | Core::CortexA7 => Loops::M4,
            Core::CortexM55 => Loops::M55,
            Core::CortexA53 => bail!(
                "board {}: no loop was counted on its core, {}; boards whose loops were: those with a \
                 Cortex-M or A7",
                board.name,
                board.core
            ),
        };
        let stack = if board.firmware.stack > 0 { board.firmware.stack } else { board.stack };
        Ok(Machine {
            name: format!("{}, card {}", board.name, card.name),
            core: loops,
            megahertz: core.speed().0 as f64,
            command_ns: card.t0_ns as f64,
            bytes_per_second: card.bytes_per_second as f64,
            ram: i64::from(board.ram) - i64::from(board.firmware.drivers) - i64::from(stack),
            staging: i64::from(board.options.staging.0) * BLOCK_BYTES as i64,
        })
    }
}

/// Reads a network: an ONNX file, or a text in the notation.
fn read(path: &Path) -> Result<Network> {
    if is(path, "onnx") {
        return Ok(onnx::read(&std::fs::read(path)?)?);
    }
    Ok(parse(&std::fs::read_to_string(path)?)?)
}

fn report(
    path: &Path,
    program: &Program,
    machine: &Machine,
    operators: &[Operator],
) -> Result<String> {
    let mut out = format!("{} on {}\n", path.display(), machine.name);
    for rule in &program.rules {
        writeln!(out, "  {rule}")?;
    }
    for (definition, part) in program.network.definitions.iter().zip(&program.parts) {
        let name = &program.network.tensors[definition.tensor as usize].name;
        match part {
            Part::Folded => writeln!(out, "\n{name}: computed beforehand")?,
            Part::Generated(cost) => {
                writeln!(out, "\n{name}: generated operator, {}", milliseconds(cost))?;
            }
            Part::Derived(derivation) => {
                let (call, states) = (&derivation.found.bound.call, derivation.states);
                writeln!(out, "\n{name}: {call} ({states} states searched)")?;
                for (at, stage) in derivation.stages(name, machine, operators).iter().enumerate() {
                    let rule = if at == 0 { "as given" } else { stage.rule };
                    let cost = stage.cost.as_ref().map_or("no operator".to_owned(), milliseconds);
                    writeln!(out, "  {at}. {rule}: {cost}")?;
                    for line in stage.text.lines() {
                        writeln!(out, "       {line}")?;
                    }
                }
            }
        }
    }
    let row = |what: &str, cost: &Cost| {
        vec![
            what.to_owned(),
            cost.commands.to_string(),
            bytes(cost.bytes as f64),
            bytes(cost.ram as f64),
            format!("{:.0}", cost.instructions),
            format!("{:.3}", cost.nanoseconds / 1e6),
        ]
    };
    let header = ["", "commands", "read", "RAM", "instructions", "ms, modelled"];
    let rows = vec![
        row("as given", &program.given),
        row("fixed operators", &program.fixed),
        row("derived", &program.cost),
    ];
    write!(out, "\n{}", table(&header, rows))?;
    Ok(out)
}

/// The plan as a file: a network in the notation, with what does each part.
fn plan(name: &str, program: &Program, machine: &Machine) -> String {
    let Cost { commands, bytes, ram, instructions, nanoseconds } = program.cost;
    format!(
        "# {} for {}\n# {commands} commands, {bytes} bytes, {ram} bytes of RAM, {instructions:.0} \
         instructions, {:.3} ms modelled\n{}",
        name,
        machine.name,
        nanoseconds / 1e6,
        program.text()
    )
}

fn milliseconds(cost: &Cost) -> String {
    format!("{:.3} ms", cost.nanoseconds / 1e6)
}
