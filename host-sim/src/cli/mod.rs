//! The command line: one subcommand a stage, and the demo when there is none.

mod adapter;
mod args;
mod arm;
mod bench;
mod board;
mod card;
mod demo;
mod derive;
mod doctor;
mod emitted;
mod import;
mod inspect;
mod interactive;
mod layout;
mod learning;
mod lines;
mod made;
mod make;
mod npy;
mod on_device;
mod perplexity;
mod place;
mod plan;
mod prepare;
mod program;
mod range;
mod report;
mod request;
mod run;
mod shares;
mod shell;
mod sign;
mod source;
mod stages;
mod summary;
mod tell;
mod texts;
mod trace;
mod train;
mod tune;

use crate::bench::policy::Policy;
use crate::process::failure::CODES;
use crate::process::interrupt;
use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand};

/// What to try first.
const EXAMPLES: &str = "\
Examples:
  ripple                                  a demo model tells a story from a simulated card
  ripple make my-model --text t.txt -o i  an image of a model of your own
  ripple run i --prompt 'Once'            a text from it
  ripple report story-nano -o story.html  what there is to see of a model, as a page
  ripple bench story-nano                 every policy on every card
  ripple doctor                           what the boards need on this machine";

/// What the other helps say without explaining it.
const WORDS: &str = "\
Words:
  neuron       one unit of a layer's FFN; for a token few are active, and the others add nothing
  bundle       the weights of a neuron, side by side on the card: what one read fetches at least
  image        the file that a card holds: a model, its neurons in an order that makes reads few
  hot prefix   the most frequent neurons of a layer, in front of it, that a board holds in RAM for good
  collapse gap unwanted blocks that a read goes through to reach the next wanted one: cheaper, up to so
               many, than starting another read
  page         a copy of the bundles that a token is likely to need, side by side, for one read
  staging      the RAM that reads arrive in, in two halves: one is computed with while the other fills";

/// Runs language models larger than RAM: only the neurons a token needs leave the card.
///
/// Without a subcommand it takes a demo model through every stage, from checkpoint to text.
#[derive(Parser)]
#[command(name = "ripple", version, after_help = format!("{EXAMPLES}\n\n{WORDS}\n\n{CODES}"), args_conflicts_with_subcommands = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    demo: demo::Demo,
}

#[derive(Subcommand)]
enum Command {
    #[command(visible_alias = "image")]
    Make(make::Make),
    Import(import::Import),
    Trace(trace::TraceArgs),
    Place(place::Place),
    Orders(stages::Orders),
    TrainPredictor(train::TrainPredictor),
    Pack(stages::Pack),
    Sign(sign::Sign),
    Card(card::Card),
    Run(run::Run),
    Tune(tune::Tune),
    Adapter(adapter::AdapterArgs),
    Inspect(inspect::Inspect),
    Bench(bench::Bench),
    Report(report::ReportArgs),
    Perplexity(perplexity::Perplexity),
    Console(board::ConsoleArgs),
    Plan(plan::Plan),
    Derive(derive::Derive),
    Program(program::Program),
    Doctor(doctor::Doctor),
    Completions(shell::Completions),
    Man(shell::Man),
}

/// Runs the command that the process was started with.
///
/// # Errors
/// Whatever the command could not do; to be printed.
pub fn main() -> Result<()> {
    interrupt::install();
    let cli = Cli::parse();
    match cli.command {
        None => cli.demo.run(),
        Some(Command::Make(c)) => c.run(),
        Some(Command::Import(c)) => c.run(),
        Some(Command::Trace(c)) => c.run(),
        Some(Command::Place(c)) => c.run(),
        Some(Command::Orders(c)) => c.run(),
        Some(Command::TrainPredictor(c)) => c.run(),
        Some(Command::Pack(c)) => c.run(),
        Some(Command::Sign(c)) => c.run(),
        Some(Command::Card(c)) => c.run(),
        Some(Command::Run(c)) => c.run(),
        Some(Command::Tune(c)) => c.run(),
        Some(Command::Adapter(c)) => c.run(),
        Some(Command::Inspect(c)) => c.run(),
        Some(Command::Bench(c)) => {
            let names = Policy::ALL.map(|policy| policy.name);
            c.run(&names, crate::bench::rows)
        }
        Some(Command::Report(c)) => c.run(),
        Some(Command::Perplexity(c)) => c.run(),
        Some(Command::Console(c)) => c.run(),
        Some(Command::Plan(c)) => c.run(),
        Some(Command::Derive(c)) => c.run(),
        Some(Command::Program(c)) => c.run(),
        Some(Command::Doctor(c)) => c.run(),
        Some(Command::Completions(c)) => c.run(Cli::command()),
        Some(Command::Man(c)) => c.run(Cli::command()),
    }
}
