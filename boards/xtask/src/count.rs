//! Guest instructions by region, counted by the plugin of `boards/count`.

use crate::shell::{artifact, cargo};
use anyhow::Result;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Instructions of each of the plugin's regions.
pub type Counts = [u64; 15];

/// Has a QEMU count into `file`.
pub fn count_into(qemu: &mut Command, file: &Path) -> Result<()> {
    let plugin = artifact(&mut cargo("count", "build --locked"), "ripple_count")?;
    qemu.arg("-plugin").arg(plugin).args(["-d", "plugin", "-D"]).arg(file);
    Ok(())
}

/// What was counted into `file`.
pub fn counted(file: &Path) -> Result<Counts> {
    Ok(parse(&fs::read_to_string(file)?))
}

fn parse(text: &str) -> Counts {
    let mut counts = Counts::default();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ["region", region, "entered", _, "instructions", count] = words[..]
            && let (Ok(region), Ok(count)) = (region.parse::<usize>(), count.parse())
            && let Some(place) = counts.get_mut(region)
        {
            *place = count;
        }
    }
    counts
}

/// The number in front of the first `word` that has one, `2,022` in `2,022 reads` for `reads`.
pub fn number_before(line: &str, word: &str) -> Option<u64> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let pair = words.windows(2).find(|pair| pair[1].trim_end_matches(',') == word)?;
    pair[0].replace(',', "").parse().ok()
}

/// A row of a table: instructions a token by region in thousands, then reads and KiB a token.
///
/// `said`: what a board said while `counts` were counted. A token is a position that was computed,
/// those of prompts included; reads and KiB are of those after the prompt.
pub fn row(name: &str, said: &str, counts: &Counts) -> Option<String> {
    let (mut prompt, mut tokens, mut generated, mut reads, mut bytes) = (0, 0, 0, 0, 0);
    for line in said.lines() {
        if let Some(done) = line.strip_prefix("prompt ") {
            prompt = done.trim().split('/').next()?.parse().ok()?;
        } else if line.starts_with("end ") {
            let steps = number_before(line, "tokens")? - 1;
            generated += steps;
            tokens += prompt + steps;
            reads += number_before(line, "reads")?;
            bytes += number_before(line, "bytes")?;
        }
    }
    let share = |all: u64, of: u64| format!(" {:.1} |", all as f64 / of as f64);
    let stages = [4, 5, 3, 6, 14, 2].map(|region: usize| share(counts[region], tokens * 1000));
    (generated > 0).then(|| {
        let after = share(reads, generated) + &share(bytes, generated * 1024);
        format!("| {name} |{}{after}", stages.concat())
    })
}

#[cfg(test)]
mod tests {
    use super::{parse, row};

    #[test]
    fn a_run_becomes_a_row() {
        let counts = parse("region 4 entered 3 instructions 22000\nmarkers 5\ntotal 1048211\n");
        let said = "prompt  2/4 tokens, 44 reads\nprompt  4/4 tokens, 84 reads, 247,296 bytes\n\
                    end     as many as asked for: 8 tokens, 1,400 reads, 7,168 bytes\n";
        let expected = "| b | 2.0 | 0.0 | 0.0 | 0.0 | 0.0 | 0.0 | 200.0 | 1.0 |";
        assert_eq!(row("b", said, &counts).as_deref(), Some(expected));
        assert_eq!(row("b", "nothing", &counts), None);
    }
}
