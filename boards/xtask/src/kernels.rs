//! Checks the kernel's integer inner loops on three cores in QEMU, and prints what they cost in guest
//! instructions, beside the portable loops. Fails when a loop is wrong or costs more than its limit.

use crate::count::{Counts, count_into, counted};
use crate::shell::{artifact, cargo, command, root};
use crate::talk::Talk;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;

/// A core, what it is built for and emulated by, and its most instructions a multiply-accumulate of
/// the dot product.
struct Core {
    name: &'static str,
    target: &'static str,
    machine: &'static str,
    limit: f64,
}

const CORES: [Core; 3] = [
    Core { name: "M3", target: "thumbv7m-none-eabi", machine: "mps2-an385", limit: 2.5 },
    Core { name: "M4", target: "thumbv7em-none-eabihf", machine: "mps2-an386", limit: 1.3 },
    Core { name: "M55", target: "thumbv8m.main-none-eabihf", machine: "mps3-an547", limit: 0.20 },
];
/// Widths and rows of the matrices that `boards/kernels/src/measure.rs` multiplies.
const WIDTHS: [u64; 4] = [64, 192, 256, 1024];
const ROWS: [u64; 4] = [256, 768, 1024, 1024];
/// Limits hold from here on: a shorter row is mostly the call.
const HELD_FROM: u64 = 192;
/// Seconds that a run may take.
const PATIENCE: u64 = 120;

/// Instructions a number of four widths, from four regions that begin after `region`.
fn costs(counts: &Counts, region: usize, times: [u64; 4]) -> [f64; 4] {
    [0, 1, 2, 3].map(|i| counts[region + 1 + i] as f64 / (times[i] * WIDTHS[i]) as f64)
}

/// Checks, counts, prints a table.
pub fn kernels() -> Result<()> {
    let folder = root().join("target/boards/kernels");
    fs::create_dir_all(&folder)?;
    println!(
        "Guest instructions per multiply-accumulate (emulated, QEMU; instructions are not cycles).\n"
    );
    println!("| core | loop | version | 64 | 192 | 256 | 1024 |\n|---|---|---|---|---|---|---|");
    let mut table = "core,loop,version,64,192,256,1024\n".to_owned();
    let mut over = Vec::new();
    for core in &CORES {
        let build = format!("build --locked --target {}", core.target);
        let elf = artifact(&mut cargo("kernels", &build), "ripple-kernels")?;
        let run = |what| count(core, &elf, what, &folder.join(what)).context(core.name);
        let [check, isa, q4, q8g, portable] = ["check", "isa", "q4", "q8g", "portable"].map(run);
        let (check, isa, q4, q8g, portable) = (check?, isa?, q4?, q8g?, portable?);
        // Counts are exact, or they are nothing: of a known number that number, and the same again.
        ensure!(check[1] == 100, "{}: 100 instructions were counted as others", core.name);
        for _ in 0..2 {
            ensure!(run("isa")? == isa, "{}: three runs differ", core.name);
        }
        table += &rows(core, &check, &isa, [&q4, &q8g], &portable);
        over.extend(exceeded(core, &isa, &portable));
    }
    ensure!(over.is_empty(), "over the limit:\n{}", over.join("\n"));
    // The simulator's cores take their speed from this file.
    let kept = root().join("boards/kernels/measured.csv");
    let found = folder.join("measured.csv");
    fs::write(&found, &table)?;
    ensure!(
        fs::read_to_string(&kept)? == table,
        "{} is not what was counted; if that is meant, copy {} over it",
        kept.display(),
        found.display()
    );
    Ok(())
}

/// Runs `what` on a core; the firmware fails where a loop is wrong.
fn count(core: &Core, elf: &Path, what: &str, file: &Path) -> Result<Counts> {
    let config = format!("enable=on,target=native,arg=ripple-kernels,arg={what}");
    let mut qemu = command("qemu-system-arm -display none -serial null -monitor none -audio none");
    qemu.args(["-M", core.machine, "-semihosting-config", &config, "-kernel"]).arg(elf);
    count_into(&mut qemu, file)?;
    let mut talk = Talk::start(&mut qemu, PATIENCE)?;
    let ended = talk.end();
    eprint!("{}", talk.text());
    ended?;
    counted(file)
}

/// Prints a core's rows of the table, and gives them as they are kept.
fn rows(
    core: &Core,
    check: &Counts,
    isa: &Counts,
    [q4, q8g]: [&Counts; 2],
    portable: &Counts,
) -> String {
    let mut kept_rows = String::new();
    let matrix = "dot, matrix of 256, 768, 1024, 1024 rows";
    for (of, version, kept, counts, region, times) in [
        (matrix, "this core's", "matrix,own", isa, 0, ROWS),
        (matrix, "this core's, 4 bits", "matrix,own q4", q4, 0, ROWS),
        (matrix, "this core's, in groups", "matrix,own q8g", q8g, 0, ROWS),
        (matrix, "portable", "matrix,portable", portable, 0, ROWS),
        ("dot, one row", "this core's", "row,own", isa, 8, [1; 4]),
        ("dot, one row", "portable", "row,portable", portable, 8, [1; 4]),
        ("axpy, 16 rows", "this core's", "axpy,own", isa, 4, [16; 4]),
        ("axpy, 16 rows", "this core's, 4 bits", "axpy,own q4", q4, 4, [16; 4]),
        ("axpy, 16 rows", "this core's, in groups", "axpy,own q8g", q8g, 4, [16; 4]),
        ("axpy, 16 rows", "portable", "axpy,portable", portable, 4, [16; 4]),
        ("packing an input, a number", "this core's", "packing,own", check, 1, [1; 4]),
    ] {
        let cells = costs(counts, region, times).map(|cost| format!("{cost:.3}"));
        println!("| {} | {of} | {version} | {} |", core.name, cells.join(" | "));
        kept_rows += &format!("{},{kept},{}\n", core.name, cells.join(","));
    }
    kept_rows
}

/// The loops of a core that cost more than they may.
fn exceeded(core: &Core, isa: &Counts, portable: &Counts) -> Vec<String> {
    let limit = [core.limit; 4];
    let mut held = vec![
        ("dot, matrix", costs(isa, 0, ROWS), limit),
        ("dot, one row", costs(isa, 8, [1; 4]), limit),
    ];
    if core.name == "M4" {
        let half = costs(portable, 4, [16; 4]).map(|cost| cost / 2.0);
        held.push(("axpy", costs(isa, 4, [16; 4]), half));
    }
    let mut over = Vec::new();
    for (what, costs, limits) in held {
        for ((cost, limit), width) in costs.into_iter().zip(limits).zip(WIDTHS) {
            if width >= HELD_FROM && cost > limit {
                over.push(format!("{}: {what} of {width}: {cost:.3}, limit {limit:.3}", core.name));
            }
        }
    }
    over
}
