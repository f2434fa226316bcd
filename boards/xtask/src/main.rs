//! All that is done with boards on a development machine: `boards/x`.
//!
//! Each module is one command, but for `shell` (programs that are run), `talk` (programs that are
//! talked to), `firmware` (built, and QEMU for it), `size` (read from an ELF file) and `count`
//! (instructions by region), which several use. The table of boards is `ripple_machines`.

mod c_example;
mod check;
mod count;
mod faults;
mod firmware;
mod kernels;
mod learn;
mod lint;
mod programs;
mod setup;
mod shell;
mod signed;
mod size;
mod soak;
mod talk;
mod test;
mod walkthrough;

use anyhow::Result;
use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "\
All that is done with boards on this machine: boards/x COMMAND

  setup                          install what boards need (Debian and its relatives)
  image BOARD[-MODEL]            make the image and the card, in target/boards/BOARD[-MODEL]
  run BOARD ELF [ARGUMENT...]    run firmware in QEMU, its serial line on this terminal; RIPPLE_CARD: a
                                 folder with its card.img
  test [--update] [--count] [BOARD[-MODEL]...]
                                 build firmware, run it in QEMU and compare what it says with
                                 tests/qemu, its sizes with `ripple plan`; --update: write tests/qemu
                                 anew from this machine; --count: count instructions by region
  test-c                         the same for the firmware in C of c-example
  faults [BOARD...]              cards that are missing, pulled, damaged, cut short, in pieces
  soak [--minutes N] BOARD[-MODEL]...
                                 decode in QEMU for so long, 60 minutes without the option, each text
                                 compared with this machine's
  kernels                        check the inner loops on three cores, and count their instructions
  learn [--count] [BOARD[-MODEL]:LESSON[:TOKENS]...]
                                 learn from a text in QEMU: every line as on this machine, and the adapters
                                 on the card those of `ripple tune`; --count: instructions of a step
  signed                         what a signed image costs two cores, and that what was changed is refused
  programs                       run derived programs on two cores: what they give, and what they take
                                 against the model
  check [panics|sizes|c [LEVEL]] link all of kernel, hal and the C library: nothing in it can panic,
                                 and how large it is, at an opt-level or at `s` and `3`
  check --self-test              `check panics` and `check c` fail where they must
  size ELF                       bytes of flash, RAM and kernel
  lint [FOLDER...]               formatting and clippy of what is outside the workspace
  walkthrough                    play the console sessions of README.md

RIPPLE: the `ripple` to use; without it that of this checkout is built, as by `cargo build --release`.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match command(&words) {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(error)) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
        None => {
            print!("{USAGE}");
            ExitCode::from(if words == ["help"] { 0 } else { 2 })
        }
    }
}

/// What the command comes to, if it is one.
fn command(words: &[&str]) -> Option<Result<()>> {
    Some(match words {
        ["setup"] => setup::setup(),
        ["image", name] => firmware::image(name).map(|folder| println!("{}", folder.display())),
        ["run", board, elf, more @ ..] => firmware::run(board, Path::new(elf), more),
        ["test", more @ ..] => test::test(more),
        ["test-c"] => c_example::test(),
        ["faults"] => faults::faults(&["lm3s6965evb", "raspi3b", "ast2600-evb"]),
        ["faults", boards @ ..] => faults::faults(boards),
        ["soak", more @ ..] => soak::soak(more),
        ["kernels"] => kernels::kernels(),
        ["learn", more @ ..] => learn::learn(more),
        ["signed"] => signed::signed(),
        ["programs"] => programs::programs(),
        ["check"] => check::all(),
        ["check", "--self-test"] => check::self_test(),
        ["check", what] => check::check(what, &check::LEVELS)?,
        ["check", what, level] => check::check(what, &[level])?,
        ["size", elf] => size::Size::of(Path::new(elf)).map(|size| print!("{size}")),
        ["lint", folders @ ..] => lint::lint(folders),
        ["walkthrough"] => walkthrough::walkthrough("README.md", &["Try it", "On a board"]),
        _ => return None,
    })
}
