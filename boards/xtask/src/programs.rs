//! Runs derived programs on two cores in QEMU: what they give against the host's interpreter, what they take
//! against the model.

use crate::count::{count_into, counted};
use crate::shell::{artifact, cargo, command, root, said};
use crate::talk::Talk;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;

/// A core: what it is called, built for and emulated by.
const CORES: [(&str, &str, &str); 2] = [
    ("M4", "thumbv7em-none-eabihf", "mps2-an386"),
    ("M55", "thumbv8m.main-none-eabihf", "mps3-an547"),
];
/// Seconds that a run may take.
const PATIENCE: u64 = 60;
/// The most that a plan's modelled instructions may be off.
const MOST_OFF: f64 = 0.15;
/// The most that a count may differ from the one that is kept.
const MOST_CHANGED: f64 = 0.05;
/// The least of Spearman's coefficient over the plans of a case.
const LEAST_ORDER: f64 = 0.9;

/// A plan: what the host says of it, and its count.
struct Plan {
    case: String,
    what: String,
    modelled: f64,
    counted: f64,
}

/// Runs all, prints a table, compares with the one that is kept.
pub fn programs() -> Result<()> {
    let folder = root().join("target/boards/programs");
    let mut table = "core,case,plan,crc,instructions,modelled,ram,commands,bytes\n".to_owned();
    let mut wrong = Vec::new();
    for (core, target, machine) in CORES {
        let folder = folder.join(core);
        fs::create_dir_all(&folder)?;
        let elf = artifact(
            &mut cargo("programs", &format!("build --locked --target {target}")),
            "ripple-programs",
        )?;
        let mut host = command(
            "cargo run --release --quiet --target-dir target -p ripple-derive --example programs --",
        );
        let lines = said(host.arg(&folder).arg(core).current_dir(root()))?;
        fs::write(folder.join("work.csv"), &lines)?;
        let mut plans = Vec::new();
        for line in lines.lines() {
            let fields: Vec<&str> = line.split(',').collect();
            let [case, what, file, crc, modelled, ram, commands, bytes, ..] = fields[..] else {
                continue;
            };
            let count = run(machine, &elf, &folder, file, crc)
                .with_context(|| format!("{core}, {case}, {what}"))?;
            table += &format!(
                "{core},{case},{what},{crc},{count},{modelled},{ram},{commands},{bytes}\n"
            );
            plans.push(Plan {
                case: case.to_owned(),
                what: what.to_owned(),
                modelled: modelled.parse()?,
                counted: count as f64,
            });
        }
        wrong.extend(compared(core, &plans));
    }
    let kept = root().join("boards/programs/measured.csv");
    let found = folder.join("measured.csv");
    fs::write(&found, &table)?;
    ensure!(wrong.is_empty(), "the model is off:\n{}", wrong.join("\n"));
    let known = fs::read_to_string(&kept).with_context(|| kept.display().to_string())?;
    let same = held(&known, &table)?;
    println!("{} programs, {same} of them as in {}", table.lines().count() - 1, kept.display());
    Ok(())
}

/// Holds what was counted to what is `known`: outputs, and instructions but for what a compiler may change;
/// how many there are. Which derivations are the cheapest may change.
fn held(known: &str, table: &str) -> Result<usize> {
    let mut same = 0;
    for line in known.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        // Two plans may be called the same: an image's lines are its rows, or its columns.
        let lines = table.lines().map(|now| now.split(',').collect::<Vec<_>>());
        let now: Vec<_> = lines.filter(|now| now[..3] == fields[..3]).collect();
        if now.is_empty() {
            ensure!(!line.contains(",as given:"), "no longer counted: {line}");
            continue;
        }
        let before: f64 = fields[4].parse()?;
        let near = |now: &Vec<&str>| -> Result<bool> {
            let counted: f64 = now[4].parse()?;
            Ok(now[3] == fields[3] && (counted / before - 1.0).abs() <= MOST_CHANGED)
        };
        let mut found = false;
        for now in &now {
            found |= near(now)?;
        }
        ensure!(found, "kept {line}, counted {}", now[0].join(","));
        same += 1;
    }
    Ok(same)
}

/// Runs a program, which must give what the host says; its instructions, without the card's.
fn run(machine: &str, elf: &Path, folder: &Path, file: &str, crc: &str) -> Result<u64> {
    fs::copy(folder.join(file), folder.join("card.img"))?;
    let counts = folder.join("counts.txt");
    let mut qemu = command("qemu-system-arm -display none -serial null -monitor none -audio none");
    qemu.args(["-M", machine, "-semihosting-config", "enable=on,target=native", "-kernel"]);
    qemu.arg(elf).current_dir(folder);
    count_into(&mut qemu, &counts)?;
    let mut talk = Talk::start(&mut qemu, PATIENCE)?;
    talk.end().with_context(|| talk.text())?;
    let said = talk.text();
    let expected = format!("crc {crc} ");
    ensure!(said.starts_with(&expected), "expected {expected}, found {said}");
    Ok(counted(&counts)?[1])
}

/// Prints how far the model is from the counts; what is too far.
fn compared(core: &str, plans: &[Plan]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut cases: Vec<&str> = plans.iter().map(|plan| plan.case.as_str()).collect();
    cases.dedup();
    println!(
        "| core | case | plan | instructions, emulated | modelled | off |\n|---|---|---|---|---|---|"
    );
    for case in cases {
        let own: Vec<&Plan> = plans.iter().filter(|plan| plan.case == case).collect();
        for plan in &own {
            let off = plan.modelled / plan.counted - 1.0;
            let (counted, modelled) = (plan.counted, plan.modelled);
            println!(
                "| {core} | {case} | {} | {counted} | {modelled} | {:+.1} % |",
                plan.what,
                off * 100.0
            );
            if off.abs() > MOST_OFF {
                wrong.push(format!("{core}, {case}, {}: off by {:+.1} %", plan.what, off * 100.0));
            }
        }
        let order = spearman(&own);
        println!("{core}, {case}: Spearman {order:.3} over {} plans\n", own.len());
        if order < LEAST_ORDER {
            wrong.push(format!("{core}, {case}: Spearman {order:.3}"));
        }
    }
    wrong
}

/// Spearman's coefficient: that of the ranks, equal ones sharing theirs.
fn spearman(plans: &[&Plan]) -> f64 {
    let ranks = |of: &dyn Fn(&Plan) -> f64| -> Vec<f64> {
        let values: Vec<f64> = plans.iter().map(|plan| of(plan)).collect();
        let rank = |x: &f64| {
            let below = values.iter().filter(|y| *y < x).count();
            let equal = values.iter().filter(|y| *y == x).count();
            below as f64 + (equal as f64 - 1.0) / 2.0
        };
        values.iter().map(rank).collect()
    };
    let (a, b) = (ranks(&|plan| plan.modelled), ranks(&|plan| plan.counted));
    let mean = (plans.len() as f64 - 1.0) / 2.0;
    let sum = |x: &[f64], y: &[f64]| -> f64 {
        x.iter().zip(y).map(|(x, y)| (x - mean) * (y - mean)).sum()
    };
    sum(&a, &b) / (sum(&a, &a) * sum(&b, &b)).sqrt()
}
