//! `ripple program`: runs what `ripple derive` wrote, on a simulated card.

use super::npy;
use super::summary::{bytes, table};
use crate::cost::Preset;
use crate::process::failure::{bad_input, check_there};
use crate::process::output::{check_path, print, write_whole};
use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use ripple_hal::{BLOCK_BYTES, Block, BlockCount, BlockDevice, BlockIdx, ErrorKind, Slice};
use ripple_program::{Form, Port, Program as Runs, front_blocks};
use std::path::PathBuf;
use std::time::Instant;
use zerocopy::IntoBytes;

const EXAMPLE: &str = "\
Example:
  ripple derive network.onnx --board mps2-an386 --calibrate x.npy -o network.plan
  ripple program network.plan --input x.npy -o y.npy";

/// Run a program that `ripple derive` wrote, on a simulated card.
///
/// Prints what it reads and how much memory it takes, both exact, the card's simulated time, and the time of
/// this machine. Outputs are the same on every core.
#[derive(Args)]
#[command(after_help = EXAMPLE)]
pub struct Program {
    /// Program: a `.plan` of `ripple derive`.
    program: PathBuf,
    /// Input: a NumPy array (`.npy`), one for each input of the network, in their order.
    #[arg(short, long, required = true)]
    input: Vec<PathBuf>,
    /// Output to write: a NumPy array.
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// Card.
    #[arg(long, default_value = "sdio-hs", value_parser = PossibleValuesParser::new(Preset::names()).try_map(|name| Preset::by_name(&name)))]
    card: &'static Preset,
}

/// A card in memory that counts and times what it is asked for.
struct Card<'a> {
    blocks: Slice<'a>,
    commands: u64,
    bytes: u64,
}

impl BlockDevice for Card<'_> {
    type Error = ErrorKind;

    fn block_count(&mut self) -> Result<BlockCount, ErrorKind> {
        self.blocks.block_count()
    }

    fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), ErrorKind> {
        self.commands += 1;
        self.bytes += (dst.len() * BLOCK_BYTES) as u64;
        self.blocks.read(start, dst)
    }
}

/// Extents of a port's tensor in its file.
fn extents(port: &Port) -> Vec<usize> {
    port.shape.iter().map(|&extent| extent as usize).take_while(|&extent| extent > 0).collect()
}

impl Program {
    pub fn run(&self) -> Result<()> {
        self.output.iter().try_for_each(|path| check_path(path))?;
        for path in [&self.program].into_iter().chain(&self.input) {
            check_there(path)?;
        }
        let named = || self.program.display().to_string();
        let image = std::fs::read(&self.program).with_context(named)?;
        let mut first = Block::ZERO;
        Block::bytes_mut(std::slice::from_mut(&mut first))
            .iter_mut()
            .zip(&image)
            .for_each(|(to, &byte)| *to = byte);
        let known = front_blocks(&first).and_then(|_| Runs::open(&image));
        let program = known.map_err(|error| bad_input(error.into())).with_context(named)?;
        let mut arena = vec![0u32; program.arena];
        ensure!(
            self.input.len() == program.inputs(),
            bad_input(anyhow!(
                "{}: {} inputs, {} are given",
                named(),
                program.inputs(),
                self.input.len()
            ))
        );
        for (place, path) in self.input.iter().enumerate() {
            let port = program.input(place).context("an input without numbers")?;
            let clipped = fill(&port, &std::fs::read(path)?, &mut arena);
            let clipped = clipped.map_err(bad_input).with_context(|| path.display().to_string())?;
            if clipped > 0 {
                print(&format!(
                    "{}: {clipped} of {} numbers are beyond what the program was calibrated for\n",
                    path.display(),
                    port.numbers
                ))?;
            }
        }
        let mut staging = vec![Block::ZERO; program.staging];
        let mut card = Card { blocks: Slice::new(&image), commands: 0, bytes: 0 };
        let start = Instant::now();
        program
            .run(&mut card, &mut arena, &mut staging)
            .map_err(|error| bad_input(error.into()))
            .with_context(named)?;
        let here = start.elapsed();
        let output = program.output(0).context("no output")?;
        let (shape, numbers) = result(&output, &arena);
        if let Some(path) = &self.output {
            let array = npy::write(&shape, &numbers, output.form == Form::Whole);
            write_whole(path, |file| Ok(file.write_all(&array)?))
                .with_context(|| path.display().to_string())?;
        }
        let Card { commands, bytes: read, .. } = card;
        let nanoseconds = commands as f64 * self.card.t0_ns as f64
            + read as f64 * 1e9 / self.card.bytes_per_second as f64;
        let front = u64::from(u32::from_le_bytes(*image[12..].first_chunk().unwrap_or(&[0; 4])));
        let row = |what: &str, value: String| vec![what.to_owned(), value];
        let rows = vec![
            row("output", format!("{shape:?}, largest at {}", largest(&numbers))),
            row("reads", commands.to_string()),
            row("read", bytes(read as f64)),
            row(
                "RAM",
                format!(
                    "{}, {} of it staging",
                    bytes(program.ram() as f64),
                    bytes((program.staging * BLOCK_BYTES) as f64)
                ),
            ),
            row("front", format!("{}, mapped or in RAM too", bytes(front as f64))),
            row(
                &format!("card {}", self.card.name),
                format!("{:.3} ms, simulated", nanoseconds / 1e6),
            ),
            row("this machine", format!("{:.3} ms, measured", here.as_secs_f64() * 1e3)),
        ];
        print(&table(&["", ""], rows))
    }
}

/// Where the largest number is.
fn largest(numbers: &[f64]) -> usize {
    let of = numbers.iter().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b));
    of.map_or(0, |(place, _)| place)
}

/// Puts an array where `port` says; how many of its numbers are cut.
fn fill(port: &Port, bytes: &[u8], arena: &mut [u32]) -> Result<usize> {
    let array = npy::read(bytes)?;
    let shape = extents(port);
    ensure!(array.shape == shape, "expected an array of {shape:?}, found {:?}", array.shape);
    let numbers = match port.image {
        true => npy::images(&shape, &array.numbers, false),
        false => array.numbers,
    };
    let mut clipped = 0;
    let room = arena.as_mut_bytes().get_mut(port.at..).unwrap_or_default();
    for (byte, x) in room.iter_mut().zip(numbers) {
        let scaled = (x / f64::from(port.scale)).round();
        ensure!(scaled.is_finite(), "expected numbers, found {x}");
        clipped += usize::from(scaled.abs() > 127.0);
        *byte = scaled.clamp(-127.0, 127.0) as i8 as u8;
    }
    Ok(clipped)
}

/// The output as its file has it.
fn result(port: &Port, arena: &[u32]) -> (Vec<usize>, Vec<f64>) {
    let words = arena.get(port.at / 4..).unwrap_or(&[]);
    let scale = f64::from(port.scale);
    let numbers: Vec<f64> = match port.form {
        Form::Real => words.iter().take(port.numbers).map(|&w| f32::from_bits(w).into()).collect(),
        Form::Whole => {
            words.iter().take(port.numbers).map(|&w| f64::from(w as i32) * scale).collect()
        }
        Form::Small => {
            let all = arena.as_bytes().get(port.at..).unwrap_or(&[]);
            all.iter().take(port.numbers).map(|&b| f64::from(b as i8) * scale).collect()
        }
    };
    let shape = extents(port);
    let numbers = if port.image { npy::images(&shape, &numbers, true) } else { numbers };
    (shape, numbers)
}
