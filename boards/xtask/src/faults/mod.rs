//! What boards do when the card is missing, pulled, cut short or damaged, in QEMU.
//!
//! Every case of `cases.txt` is a run of its own: a card, an operator who pulls and changes it, and
//! what must be said. No token may differ from those of a run without faults, the first case.

mod card;
mod operator;

use crate::firmware::{build, image, machine};
use anyhow::{Context, Result, anyhow, bail, ensure};
use card::Cards;
use operator::{Operator, ReadZeros};
use std::time::Instant;

const CASES: &str = include_str!("cases.txt");
/// How often a case is played that [`ReadZeros`] ended: one pull in three does, at worst.
const ATTEMPTS: u32 = 20;

/// Plays all cases on some boards.
pub fn faults(boards: &[&str]) -> Result<()> {
    boards.iter().try_for_each(|board| play_all(board))
}

fn play_all(board: &str) -> Result<()> {
    let (machine, _) = machine(board)?;
    let folder = image(board)?;
    let (elf, cards) = (build(&machine, &folder)?, Cards::new(&machine, &folder)?);
    let layout = machine.layout.context("no card")?;
    let (mut good, mut results) = (Vec::new(), Vec::new());
    for (name, card, lines) in cases("any").into_iter().chain(cases(layout)) {
        let (began, mut text) = (Instant::now(), String::new());
        let mut played = Err(anyhow!(ReadZeros));
        for _ in 0..ATTEMPTS {
            played = Operator::new(&machine, &elf, &folder, &cards, card).and_then(|mut run| {
                let played = lines.iter().try_for_each(|line| run.follow(line));
                text = run.talk.text();
                played.and_then(|()| compare(&mut good, &run.steps()))
            });
            if !matches!(&played, Err(error) if error.is::<ReadZeros>()) {
                break;
            }
        }
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
fn compare(good: &mut Vec<String>, steps: &[String]) -> Result<()> {
    if good.is_empty() {
        good.extend_from_slice(steps);
    }
    let number = |step: &str| step.split_whitespace().next().map(str::to_owned);
    let right = |step: &String| good.iter().find(|good| number(good) == number(step)) == Some(step);
    match steps.iter().find(|step| !right(step)) {
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
        let counts = ["any", "fat32", "raw"].map(|section| cases(section).len());
        assert_eq!(counts, [8, 7, 2]);
        assert_eq!(cases("any")[0], ("no fault", "good", vec!["go", "story", "end"]));
    }

    #[test]
    fn a_step_that_differs_is_noticed() {
        let steps =
            |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        let mut good = Vec::new();
        compare(&mut good, &steps(&["1 5 x", "2 6 y"])).unwrap();
        assert!(compare(&mut good, &steps(&["2 6 y", "1 5 x"])).is_ok());
        assert!(compare(&mut good, &steps(&["2 6 z"])).is_err());
        assert!(compare(&mut good, &steps(&["3 6 z"])).is_err());
    }
}
