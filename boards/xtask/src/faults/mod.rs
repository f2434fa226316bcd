//! What boards do when the card is missing, pulled, cut short or damaged, in QEMU.
//!
//! Every case of `cases.txt` is a run of its own: a card, an operator who pulls and changes it, and
//! what must be said. No token may differ from those of a run without faults: the first case, and the
//! first of a story so long that the board writes its card.

mod card;
mod operator;

use crate::firmware::{build, image, machine, number, plan};
use crate::test::step;
use anyhow::{Context, Result, bail, ensure};
use card::Cards;
use operator::Operator;
use std::env::set_current_dir;
use std::time::Instant;

const CASES: &str = include_str!("cases.txt");
/// How often a case is played that zeros ended ([`Operator::read_zeros`]): one pull in three, at worst.
const ATTEMPTS: u32 = 20;

/// Plays all cases on some boards.
pub fn faults(boards: &[&str]) -> Result<()> {
    boards.iter().try_for_each(|board| play_all(board))
}

fn play_all(board: &str) -> Result<()> {
    let (machine, _) = machine(board)?;
    let folder = image(board)?;
    let play = folder.join("faults");
    std::fs::create_dir_all(&play)?;
    set_current_dir(&play)?;
    let (elf, cards) = (build(&machine, &folder)?, Cards::new(&machine, &folder)?);
    let layout = machine.layout.context("no card")?;
    let mut all: Vec<_> = cases("any").into_iter().chain(cases(layout)).collect();
    let short = all.len();
    if number(&plan(&machine, &folder)?, "/room")? > 0 {
        all.extend(cases("spills"));
    }
    let (mut good, mut results) = (Vec::new(), Vec::new());
    for (name, card, lines) in all {
        if results.len() == short {
            // The long story's own run without faults comes first.
            good.clear();
        }
        let (began, mut attempts) = (Instant::now(), 0);
        let (played, text) = loop {
            cards.write(card)?;
            let mut run = Operator::new(&machine, &elf, &play, &cards)?;
            let played = lines.iter().try_for_each(|line| run.follow(line));
            let text = run.talk.text();
            let played = played.and_then(|()| compare(&mut good, text.lines().filter_map(step)));
            attempts += 1;
            if !run.read_zeros || attempts == ATTEMPTS {
                break (played, text);
            }
        };
        match &played {
            Ok(()) => println!("{board}: {name}: ok, {} s", began.elapsed().as_secs()),
            Err(error) => eprintln!("{board}: {name}: FAILED: {error:#}\n{text}"),
        }
        results.push(played.is_ok());
        ensure!(!good.is_empty(), "{board}: no run to compare with");
    }
    let right = results.iter().filter(|&&right| right).count();
    println!("{board}: {right} of {} cases went as they must", results.len());
    ensure!(right == results.len(), "{board}: a case did not go as it must");
    Ok(())
}

/// Compares steps with those of the run without faults, which are the first that come here.
fn compare(good: &mut Vec<String>, steps: impl Iterator<Item = String>) -> Result<()> {
    let steps: Vec<String> = steps.collect();
    if good.is_empty() {
        good.clone_from(&steps);
    }
    match steps.iter().find(|step| !good.contains(step)) {
        Some(step) => bail!("not a step of the run without faults: {step}"),
        None => Ok(()),
    }
}

/// Name, card and lines of the cases below the line `section`.
fn cases(section: &str) -> Vec<(&'static str, &'static str, Vec<&'static str>)> {
    let sections = CASES.split("\n\n").map(|text| text.split_once("\n== ").unwrap_or_default());
    let cases =
        sections.filter(|(name, _)| *name == section).flat_map(|(_, all)| all.split("\n== "));
    let case = |text: &'static str| {
        let mut lines = text.lines();
        let (name, card) = lines.next()?.split_once(": ")?;
        Some((name, card, lines.collect()))
    };
    cases.filter_map(case).collect()
}

#[cfg(test)]
mod tests {
    use super::{cases, compare};

    #[test]
    fn every_case_is_found() {
        let counts = ["any", "fat32", "raw", "spills"].map(|section| cases(section).len());
        assert_eq!(counts, [8, 7, 2, 4]);
        assert_eq!(cases("any")[0], ("no fault", "good", vec!["go", "story", "end"]));
    }

    #[test]
    fn a_step_that_differs_is_noticed() {
        let steps = |lines: &'static [&str]| lines.iter().map(|line| (*line).to_owned());
        let mut good = Vec::new();
        compare(&mut good, steps(&["1 5 x", "2 6 y"])).unwrap();
        assert!(compare(&mut good, steps(&["2 6 y", "1 5 x"])).is_ok());
        assert!(compare(&mut good, steps(&["2 6 z"])).is_err());
    }
}
