//! Guest instructions by region, counted by the plugin of `boards/count`, and the commands that the emulated card
//! has had.

use crate::shell::{artifact, cargo};
use anyhow::Result;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Instructions of each of the plugin's regions.
pub type Counts = [u64; 15];

/// What QEMU says of each command that its card gets.
const COMMAND: &str = "sdcard_normal_command";

/// Has a QEMU count into `file`.
pub fn count_into(qemu: &mut Command, file: &Path) -> Result<()> {
    let plugin = artifact(&mut cargo("count", "build --locked"), "ripple_count")?;
    qemu.arg("-plugin").arg(plugin).args(["-d", "plugin", "-D"]).arg(file);
    qemu.args(["-trace", COMMAND]);
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

/// The read commands, CMD17 and CMD18, that the card got while `file` was written.
pub fn commands(file: &Path) -> Result<u64> {
    Ok(read_commands(&fs::read_to_string(file)?))
}

fn read_commands(text: &str) -> u64 {
    let commands = text.lines().filter(|line| line.starts_with(COMMAND));
    let reads = |line: &&str| line.contains(" CMD17 ") || line.contains(" CMD18 ");
    commands.filter(reads).count() as u64
}

/// The number in front of the first `word` that has one, `2,022` in `2,022 reads` for `reads`.
pub fn number_before(line: &str, word: &str) -> Option<u64> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let pair = words.windows(2).find(|pair| pair[1].trim_end_matches(',') == word)?;
    pair[0].replace(',', "").parse().ok()
}

/// A row of a table: instructions a token by region in thousands, then reads and KiB a token, then commands a
/// read.
///
/// `said`: what a board said while `counts` and `commands` were counted. A token is a position that was
/// computed, those of prompts included; reads and KiB are of those after the prompt. Commands are all that the
/// card had but those of its calibration, and are compared with all reads; empty where there is no card.
pub fn row(name: &str, said: &str, counts: &Counts, commands: u64) -> Option<String> {
    let (mut prompt, mut tokens, mut generated, mut reads, mut bytes) = (0, 0, 0, 0, 0);
    let (mut prompted, mut all, mut calibration) = (0, 0, 0);
    for line in said.lines() {
        if let Some(done) = line.strip_prefix("prompt ") {
            prompt = done.trim().split('/').next()?.parse().ok()?;
            prompted = number_before(line, "reads")?;
        } else if line.starts_with("# card ") {
            calibration += number_before(line, "reads").unwrap_or(0);
        } else if line.starts_with("end ") {
            let steps = number_before(line, "tokens")? - 1;
            generated += steps;
            tokens += prompt + steps;
            reads += number_before(line, "reads")?;
            all += prompted + number_before(line, "reads")?;
            bytes += number_before(line, "bytes")?;
        }
    }
    let share = |all: u64, of: u64| format!(" {:.1} |", all as f64 / of as f64);
    let stages = [4, 5, 3, 6, 14, 2].map(|region: usize| share(counts[region], tokens * 1000));
    let each = match commands.saturating_sub(calibration) {
        0 => " |".to_owned(),
        commands => format!(" {:.2} |", commands as f64 / all as f64),
    };
    (generated > 0).then(|| {
        let after = share(reads, generated) + &share(bytes, generated * 1024);
        format!("| {name} |{}{after}{each}", stages.concat())
    })
}

#[cfg(test)]
mod tests {
    use super::{parse, read_commands, row};

    #[test]
    fn a_run_becomes_a_row() {
        let counts = parse("region 4 entered 3 instructions 22000\nmarkers 5\ntotal 1048211\n");
        let said = "# card  0 us + 20 KB/s, 9 reads, 0.015 s: gap 1 blocks\n\
                    prompt  2/4 tokens, 44 reads\nprompt  4/4 tokens, 84 reads, 247,296 bytes\n\
                    end     as many as asked for: 8 tokens, 1,400 reads, 7,168 bytes\n";
        let expected = "| b | 2.0 | 0.0 | 0.0 | 0.0 | 0.0 | 0.0 | 200.0 | 1.0 |";
        assert_eq!(row("b", said, &counts, 742 + 9), Some(format!("{expected} 0.50 |")));
        assert_eq!(row("b", said, &counts, 0), Some(format!("{expected} |")));
        assert_eq!(row("b", "nothing", &counts, 0), None);
    }

    #[test]
    fn a_cards_reads_are_told_from_its_other_commands() {
        let said = "sdcard_normal_command SD READ_MULTIPLE_BLOCK/ CMD18 arg 0x5 (state transfer)\n\
                    sdcard_normal_command SD STOP_TRANSMISSION/ CMD12 arg 0x0 (state sendingdata)\n\
                    region 1 entered 1 instructions 18\n\
                    sdcard_normal_command SD READ_SINGLE_BLOCK/ CMD17 arg 0x0 (state transfer)\n";
        assert_eq!(read_commands(said), 2);
    }
}
