//! The report of a run, for people: what ran, what was read, and what that saves.

use crate::machine::{Machine, calibrated};
use crate::run::generate::{End, Generated};
use crate::run::report::Report;
use clap::ValueEnum;
use comfy_table::{CellAlignment, Table, presets};
use ripple_hal::BLOCK_BYTES;
use serde::Serialize;

/// Prompt and generated text apart.
#[derive(Serialize)]
pub struct Phases {
    /// Bytes a token of the prompt.
    pub prompt_bytes_per_token: f64,
    /// Bytes a token fed after it.
    pub decode_bytes_per_token: f64,
    /// Tokens a pass after the prompt.
    pub tokens_per_pass: f64,
    /// Tokens drafted.
    pub drafted: u32,
    /// Of these, the ones that were right.
    pub accepted: u32,
}

/// What a run took on this machine, by its clock: the only times of a run that are measured.
#[derive(Clone, Copy, Serialize)]
pub struct Host {
    /// Until the prompt was read.
    pub prompt_seconds: f64,
    /// From there to the end.
    pub seconds: f64,
    /// Tokens generated a second of these; 0 where none was.
    pub tokens_per_second: f64,
}

/// A few lines that say it all; every time in them is simulated or measured, and says which.
pub fn summary(
    report: &Report,
    machine: &Machine,
    generated: &Generated,
    phases: &Phases,
    host: &Host,
) -> String {
    let timing = machine.preset.timing();
    let speed = match timing.table {
        Some(_) => "table of measured reads".to_owned(),
        None => {
            format!("{} us + {:.1} MB/s", timing.t0_ns / 1000, timing.bytes_per_second as f64 / 1e6)
        }
    };
    let core = report.core.to_possible_value();
    let end = ended(generated.end);
    let overlap = report.io_ms + report.compute_ms - report.ms_per_token;
    let mut lines = vec![
        format!(
            "simulated  {} card ({speed}), {} core",
            report.preset,
            core.as_ref().map_or("", |core| core.get_name())
        ),
        format!(
            "  tokens   {} run: {} of the prompt, {} generated{end}",
            report.tokens,
            generated.prompt.len(),
            generated.tokens.len()
        ),
        format!(
            "  time     {:.2} ms a token, simulated: card {:.2} + core {:.2} - overlap {overlap:.2}",
            report.ms_per_token, report.io_ms, report.compute_ms
        ),
    ];
    lines.push(format!("  gap      {} blocks{}", report.gap_blocks, boot(report, machine)));
    if report.bytes_per_token > 0.0 {
        lines.push(format!(
            "  read     {} a token in {:.1} reads, {:.1} MB/s of it asked for",
            bytes(report.bytes_per_token),
            report.reads_per_token,
            report.effective_mb_per_s
        ));
        let drafts = match phases.drafted {
            0 => String::new(),
            drafted => format!(
                "\n           {:.2} tokens a pass after the prompt: {} of {drafted} drafted were right",
                phases.tokens_per_pass, phases.accepted
            ),
        };
        lines.push(format!(
            "           {} a token of the prompt in passes of {}; {} a token after it{drafts}",
            bytes(phases.prompt_bytes_per_token),
            machine.options.batch.min(generated.prompt.len() as u32),
            bytes(phases.decode_bytes_per_token)
        ));
        lines.push(format!(
            "  neurons  {:.1} reads a token, of {:.1} missed bundles each; {:.0} % of the active were in RAM",
            report.ffn_reads_per_token,
            report.mean_run_bundles,
            report.hit_rate * 100.0
        ));
    } else {
        lines.push("  read     nothing: all that was needed is mapped or in the cache".to_owned());
    }
    let dense = &report.dense;
    if dense.bytes > 0.0 {
        lines.push(format!(
            "  dense    {} a token in {:.1} reads, card {:.2} ms: a pass reads all not mapped or cached",
            bytes(dense.bytes),
            dense.reads,
            dense.io_ns / 1e6
        ));
        if report.bytes_per_token > 0.0 {
            lines.push(format!(
                "           = {:.2} x the bytes and {:.2} x the card time above",
                dense.bytes / report.bytes_per_token,
                dense.io_ns / 1e6 / report.io_ms
            ));
        }
    } else {
        lines.push("  dense    nothing: every weight is mapped or would fit the cache".to_owned());
    }
    lines.push(format!(
        "  mapped   {} of the image's {}, never read",
        bytes(report.mapped_bytes as f64),
        bytes(report.image_bytes as f64)
    ));
    let kib = |n: u32| format!("{:.1}", f64::from(n) / 1024.0);
    let total: u32 = report.memory.iter().map(|region| region.planned).sum();
    let regions = report.memory.iter().map(|region| match region.region {
        "kv" => format!("kv {} ({} used)", kib(region.planned), kib(region.peak)),
        name => format!("{name} {}", kib(region.planned)),
    });
    let regions = regions.collect::<Vec<_>>().join(" + ");
    lines.push(format!("  RAM      {} KiB = {regions}", kib(total)));
    lines.push(format!(
        "measured   on this machine: {:.1} tokens a second after the prompt, {:.2} s for the prompt",
        host.tokens_per_second, host.prompt_seconds
    ));
    lines.join("\n") + "\n"
}

/// Why a text ended, behind what was generated; nothing where all of it was.
pub fn ended(end: End) -> &'static str {
    match end {
        End::Tokens => "",
        End::EndOfText => "; the text ended",
        End::StopString => "; a stop string was found",
        End::Context => "; the context is full",
        End::Interrupted => "; interrupted",
    }
}

/// What calibration at boot finds and takes.
fn boot(report: &Report, machine: &Machine) -> String {
    let staging = report.memory.iter().find(|region| region.region == "staging");
    let staging = staging.map_or(0, |region| region.planned as usize / BLOCK_BYTES);
    let Some(found) = calibrated(machine.preset, staging) else { return String::new() };
    let cost = format!(
        "{:.0} us + {:.1} MB/s",
        found.t0_ns() as f64 / 1e3,
        found.bytes_per_second() as f64 / 1e6
    );
    let ms = found.took().0 as f64 / 1e3;
    format!("; calibration at boot: {cost}, {} reads in {ms:.1} ms", found.reads())
}

/// A number of bytes, with a unit.
pub fn bytes(n: f64) -> String {
    if n < 1000.0 {
        format!("{n:.0} B")
    } else if n < 10_000_000.0 {
        format!("{:.1} KiB", n / 1024.0)
    } else if n < 10_000_000_000.0 {
        format!("{:.1} MiB", n / (1024.0 * 1024.0))
    } else {
        format!("{:.1} GiB", n / (1024.0 * 1024.0 * 1024.0))
    }
}

/// A table without lines, numbers to the right, as text that ends each line where it ends.
pub fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    lines(header, rows, header.len())
}

/// The same, with words in the last column.
pub fn table_with_words(header: &[&str], rows: Vec<Vec<String>>) -> String {
    lines(header, rows, header.len().saturating_sub(1))
}

/// The same, with words in every column.
pub fn table_of_words(header: &[&str], rows: Vec<Vec<String>>) -> String {
    lines(header, rows, 0)
}

fn lines(header: &[&str], rows: Vec<Vec<String>>, numbers: usize) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header).add_rows(rows);
    for column in table.column_iter_mut().take(numbers).skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.lines().map(|line| format!(" {}\n", line.trim_end())).collect()
}
