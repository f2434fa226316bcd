//! What boards do when the card is missing, pulled, cut short or damaged, in QEMU.
//!
//! Every case is a run of its own: a card, an operator who pulls and changes it, and what must be
//! said. The exact error must be said, and no token may differ from those of a run without faults.

mod bench;
mod operator;

use crate::talk::ANY;
use anyhow::{Result, ensure};
use bench::Bench;
use operator::{OTHER_CARD, Operator};

const DAMAGED: &str = "error   step: record [...] of the table at block [...] arrived damaged";
const REFUSED: &str =
    "open: record [...] of the table at block [...] is damaged: copy the image again";
const CUT_SHORT: &str =
    "open: the image is cut short: it needs [...] blocks, the device has [...]; copy it again";
/// What a card that ends within the image says: one driver knows the end, another waits for it.
const ENDS: [&str; 2] = [
    "calibration: read at block [...]: beyond the end of the device",
    "calibration: read at block [...]: no answer in time",
];

/// Plays all cases on some boards.
pub fn faults(boards: &[&str]) -> Result<()> {
    boards.iter().try_for_each(|board| play_all(&Bench::new(board)?))
}

fn play_all(bench: &Bench) -> Result<()> {
    let card = &bench.card;
    let good = bench.play("no fault", card, &|run| {
        run.go()?;
        tell(run)
    });
    ensure!(good, "no run to compare with");
    let mut results = vec![
        bench.play("no card at the start", card, &absent),
        bench.play("pulled twice", card, &pulled),
        bench.play("exchanged", card, &exchanged),
        bench.play("damaged meanwhile", card, &damaged_meanwhile),
        bench.play("damaged in part", &bench.damaged(8), &damaged_in_part),
        bench.play("damaged", &bench.damaged(1), &refused(&[REFUSED])),
        bench.play("card cut short", &bench.half(), &refused(&ENDS)),
    ];
    results.extend(if bench.is_file() { on_a_volume(bench)? } else { on_a_partition(bench) });
    let right = results.iter().filter(|&&right| right).count();
    println!("{}: {right} of {} faults went as they must", bench.machine.board, results.len());
    ensure!(right == results.len(), "{}: a fault did not go as it must", bench.machine.board);
    Ok(())
}

/// What can happen to an image that is a file on a FAT32 volume.
fn on_a_volume(bench: &Bench) -> Result<Vec<bool>> {
    let missing = refused(&["mount: no file of that name in the root directory"]);
    let damaged = refused(&["mount: the cluster chain is damaged at cluster [...]"]);
    let scattered = refused(&["mount: the file is in more than 8 pieces"]);
    let no_volume = refused(&["mount: no FAT file system on the card"]);
    Ok(vec![
        bench.play("file cut short", &bench.file_cut_short()?, &refused(&[CUT_SHORT])),
        bench.play("file missing", &bench.file_missing()?, &missing),
        bench.play("chain damaged", &bench.chain_damaged()?, &damaged),
        bench.play("3 pieces", &bench.in_pieces(3)?, &in_pieces(3)),
        bench.play("7 pieces", &bench.in_pieces(7)?, &in_pieces(7)),
        bench.play("9 pieces", &bench.in_pieces(9)?, &scattered),
        bench.play("no volume", &bench.no_partition(), &no_volume),
    ])
}

/// What can happen to an image in a partition of its own.
fn on_a_partition(bench: &Bench) -> Vec<bool> {
    let missing = refused(&["mount: no raw partition (type 0xDA) on the card"]);
    vec![
        bench.play("partition cut short", &bench.partition_cut_short(), &refused(&[CUT_SHORT])),
        bench.play("partition missing", &bench.no_partition(), &missing),
    ]
}

/// A case: what the operator does, and what the board must say.
type Case<'c> = &'c dyn Fn(&mut Operator<'_>) -> Result<()>;

/// Has a story told to its end, and ends the program.
fn tell(run: &mut Operator<'_>) -> Result<()> {
    run.story()?;
    run.end()
}

/// No card at the start: it is waited for.
fn absent(run: &mut Operator<'_>) -> Result<()> {
    run.pull()?;
    run.go()?;
    run.talk.wait("error   mount: no card")?;
    run.talk.wait("waiting for the card")?;
    run.put()?;
    tell(run)
}

/// The card is pulled in the middle of the text, twice, and comes back.
fn pulled(run: &mut Operator<'_>) -> Result<()> {
    run.go()?;
    run.story()?;
    for steps in [4, 6] {
        run.wait_steps(steps)?;
        run.pull_while_it_reads()?;
        run.put()?;
        run.talk.wait("the card is back")?;
        run.talk.wait("retry   1")?;
    }
    run.end()
}

/// Another card comes back: the text ends; the first card is opened again.
fn exchanged(run: &mut Operator<'_>) -> Result<()> {
    run.go()?;
    run.story()?;
    run.wait_steps(4)?;
    run.pull_while_it_reads()?;
    run.change(&run.bench.other())?;
    run.put()?;
    run.talk.wait(OTHER_CARD)?;
    run.talk.wait("error   open: not a Ripple image: [...]")?;
    run.try_again()?;
    run.ask_again()
}

/// Steps fail, and fail again, because records are damaged.
fn three_retries(run: &mut Operator<'_>) -> Result<()> {
    for attempt in [1, 2, 3] {
        run.talk.wait(DAMAGED)?;
        run.talk.wait(&format!("retry   {attempt}"))?;
    }
    run.talk.wait(DAMAGED)
}

/// All of the FFN is damaged in the middle of the text: found, and never computed with.
fn damaged_meanwhile(run: &mut Operator<'_>) -> Result<()> {
    run.go()?;
    run.story()?;
    run.wait_steps(4)?;
    run.change(&run.bench.damaged(1))?;
    three_retries(run)?;
    run.talk.wait(&format!("error   {REFUSED}"))?;
    run.change(&run.bench.card)?;
    run.talk.wait("press Enter to try again[...]")?;
    run.talk.type_text("\n")?;
    run.ask_again()
}

/// Records of the last layer are damaged: found when a step needs one.
fn damaged_in_part(run: &mut Operator<'_>) -> Result<()> {
    run.go()?;
    run.story()?;
    three_retries(run)?;
    run.leave()
}

/// A card that cannot be opened: why is said, again on Enter, until it is another card.
fn refused(messages: &[&str]) -> impl Fn(&mut Operator<'_>) -> Result<()> {
    let errors: Vec<String> = messages.iter().map(|message| format!("error   {message}")).collect();
    move |run| {
        let errors: Vec<&str> = errors.iter().map(String::as_str).collect();
        run.go()?;
        run.talk.wait_any(&errors)?;
        run.talk.wait("press Enter to try again[...]")?;
        run.talk.type_text("\n")?;
        run.talk.wait_any(&errors)?;
        run.try_again()?;
        tell(run)
    }
}

/// A file in pieces that can be listed is read like one in one piece.
fn in_pieces(pieces: usize) -> impl Fn(&mut Operator<'_>) -> Result<()> {
    move |run| {
        run.go()?;
        run.talk.wait(&format!("image   {ANY} in {pieces} pieces, {ANY}"))?;
        tell(run)
    }
}
