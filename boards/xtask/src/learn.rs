//! Boards that learn, in QEMU: what they say is what the same loop says on this machine, line by line, and the
//! adapters on their cards are those that `ripple tune` makes, to the last bit.
//!
//! In: nothing but the checkout. Out: errors. A run is a board, a model and a lesson of
//! `ripple_app::learn`; it tells a story, learns from a text, saves, and tells the story again.

use crate::count::{count_into, counted};
use crate::firmware::{machine, qemu, ripple};
use crate::shell::{artifact, cargo, root, run, said};
use crate::talk::{Talk, like};
use crate::test::same;
use anyhow::{Context, Result, bail, ensure};
use fatfs::{FileSystem, FsOptions};
use ripple_machines::Machine;
use serde_json::Value;
use std::fs::{self, File};
use std::io::{Cursor, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const USAGE: &str = "usage: boards/x learn [--count] [BOARD[-MODEL]:LESSON[:TOKENS]...]";
/// What is run where nothing is named: each board once. QEMU is slow with the vectors of the M55.
const RUNS: [&str; 3] =
    ["mps2-an386:512k", "mps3-an547-story-nano:512k:16", "raspi3b-story-nano:1m:64"];
/// The lessons whose instructions are counted, the first of them what the others are compared with.
const COUNTED: [&str; 3] = ["plain", "tiled", "exact"];
const COUNTED_ON: &str = "mps2-an386";
/// The region of `ripple_marks` that a step is.
const STEP: usize = 8;
/// How far a ratio of instructions may be from that of multiply-accumulates.
const MOST_APART: f64 = 0.10;

/// A text that no demo model was trained on, this many bytes of it.
const TEXT: &str = "host-sim/models/novel-nano/held-out.txt";
const TEXT_BYTES: usize = 3500;
/// The file of a text on a FAT card.
const NOTES: &str = "NOTES.TXT";
const BLOCK: usize = 512;
/// Block of a card at which its partition begins, in the partition table.
const PARTITION_START: usize = 446 + 8;
/// Room for adapters, and for what else a board writes, behind the image.
const ROOM_KIB: usize = 2048;
const STORY: &str = "/trace\n/tokens 8\nOne day,\n";
const STEPS: u32 = 2;
/// Seconds that a board may take to say a line.
const PATIENCE: u64 = 600;
/// What stands in front of a text that is typed.
const ASKED: &str = "the text, then Ctrl-D; it is not echoed";

/// Runs what is named.
pub fn learn(arguments: &[&str]) -> Result<()> {
    match arguments {
        [] => {
            let first = Run::new(RUNS[0])?;
            first.compare()?;
            first.refusals()?;
            RUNS[1..].iter().try_for_each(|name| Run::new(name)?.compare())
        }
        ["--count"] => count(),
        names if names.iter().all(|name| !name.starts_with('-')) => {
            names.iter().try_for_each(|name| Run::new(name)?.compare())
        }
        _ => bail!(USAGE),
    }
}

/// A board, with an image, a card and a text in a folder.
struct Run {
    name: String,
    machine: Machine,
    lesson: String,
    /// Tokens of a step; without it, as many as fit.
    window: Option<u32>,
    folder: PathBuf,
    text: String,
}

impl Run {
    fn new(name: &str) -> Result<Self> {
        let (board, lesson) = name.split_once(':').context(USAGE)?;
        let (lesson, window) = match lesson.split_once(':') {
            Some((lesson, tokens)) => (lesson, Some(tokens.parse().context(USAGE)?)),
            None => (lesson, None),
        };
        let (machine, model) = machine(board)?;
        let folder = root().join("target/boards").join(format!("learn-{board}-{lesson}"));
        fs::create_dir_all(&folder)?;
        let mut image = ripple()?;
        image.arg("image").args(model).args(["--board", machine.board, "-o"]);
        said(image.arg(folder.join("model.img")))?;
        let text = fs::read_to_string(root().join(TEXT))?;
        let end = (0..=TEXT_BYTES).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let text = text[..end].replace('\r', "");
        fs::write(folder.join("notes.txt"), &text)?;
        let (name, lesson) = (name.to_owned(), lesson.to_owned());
        let run = Self { name, machine, lesson, window, folder, text };
        run.write_card(ROOM_KIB)?;
        Ok(run)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    /// Makes the card, with so much room behind the image; one with a file system has the text.
    fn write_card(&self, room_kib: usize) -> Result<()> {
        let (image, card) = (self.path("model.img"), self.path("card.img"));
        let Some(layout) = self.machine.layout else {
            let mut bytes = fs::read(image)?;
            bytes.resize(bytes.len() + room_kib * 1024, 0);
            return Ok(fs::write(card, bytes)?);
        };
        let mut write = ripple()?;
        write.arg("card").arg(image).args(["--layout", layout, "--yes", "-o"]).arg(&card);
        run(write.args(["--room-kib", &room_kib.to_string()]))?;
        let mut bytes = fs::read(&card)?;
        let start = bytes[PARTITION_START..].first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
        let start = start.context("no partition table")? as usize * BLOCK;
        let volume = FileSystem::new(Cursor::new(&mut bytes[start..]), FsOptions::new())?;
        volume.root_dir().create_file(NOTES)?.write_all(self.text.as_bytes())?;
        volume.unmount()?;
        Ok(fs::write(card, bytes)?)
    }

    /// Builds the firmware.
    fn build(&self) -> Result<PathBuf> {
        let mut cargo = cargo(self.machine.board, "build --features learn --bin learn");
        cargo.env("RIPPLE_CARD", &self.folder).env("RIPPLE_LESSON", &self.lesson);
        artifact(&mut cargo, "learn")
    }

    /// Runs the firmware with what is typed at every prompt; all that it says.
    fn said(&self, elf: &Path, typed: &str, counts: Option<&Path>) -> Result<String> {
        let mut qemu = qemu(&self.machine, elf, &self.folder)?;
        qemu.args(["-serial", "stdio", "-monitor", "none"]);
        if let Some(counts) = counts {
            count_into(&mut qemu, counts)?;
        }
        let mut talk = Talk::start(&mut qemu, PATIENCE)?;
        talk.wait("> [...]")?;
        talk.type_text(typed)?;
        let ended = talk.end();
        let said = talk.text();
        ended.with_context(|| said.clone())?;
        Ok(said)
    }

    /// What is typed to learn; a card with a file system has the text.
    fn lesson(&self, typed: bool) -> String {
        if typed { format!("/learn\n{}\x04", self.text) } else { "/learn\n".to_owned() }
    }

    /// A story, a lesson, the story again, on the board and on this machine.
    fn compare(&self) -> Result<()> {
        println!("== {}", self.name);
        let elf = self.build()?;
        let window = self.window.map_or(String::new(), |tokens| format!("/window {tokens}\n"));
        let typed = |typed: bool| {
            format!("{STORY}/steps {STEPS}\n{window}{}One day,\n\x04", self.lesson(typed))
        };
        let began = std::time::Instant::now();
        let board = self.said(&elf, &typed(self.machine.layout.is_none()), None)?;
        let took = began.elapsed().as_secs();
        fs::write(self.path("typed.txt"), typed(true))?;
        let mut console = ripple()?;
        console.arg("console").arg(self.path("model.img")).args(["--board", self.machine.board]);
        console.args(["--learn", &self.lesson]).stdin(File::open(self.path("typed.txt"))?);
        let host = compared(&said(&mut console)?);
        fs::write(self.path("host.txt"), &host)?;
        same(&self.path("host.txt"), &compared(&board), &self.path("board.txt"))
            .context("the board differs from the host")?;
        let mut lines = board.lines();
        for expected in ["memory [...]", "held out [...]", "held out [...]", "saved [...]"] {
            let line = lines.find(|line| like(line, expected));
            println!("{}", line.with_context(|| format!("no line `{expected}`\n{board}"))?);
        }
        ensure!(board.contains(&format!("adapter of {STEPS} steps")), "not loaded:\n{board}");

        let mut take = ripple()?;
        take.arg("adapter").arg(self.path("model.img")).arg(self.path("board.lora"));
        take.arg("--card").arg(self.path("card.img")).args(["--board", self.machine.board]);
        said(&mut take)?;
        self.tune(self.window.map_or_else(|| tokens(&board), Ok)?)?;
        let [board, host] = ["board.lora", "host.lora"].map(|file| fs::read(self.path(file)));
        let (board, host) = (board?, host?);
        ensure!(board == host, "the board's adapters are not those of `ripple tune`");
        println!("{}: {} bytes of adapters as on the host, {took} s", self.name, host.len());
        Ok(())
    }

    /// What `ripple tune` says of the same lesson; it writes `host.lora`.
    fn tune(&self, tokens: u32) -> Result<Value> {
        let mut tune = ripple()?;
        tune.arg("tune").arg(self.path("model.img")).arg("--text").arg(self.path("notes.txt"));
        tune.args(["--in-order", "--json", "--tokens", &tokens.to_string()]);
        if COUNTED.contains(&&*self.lesson) {
            tune.args(["-n", "1", "--arm", &self.lesson, "--rank", "8", "--targets", "qkvo"]);
        } else {
            tune.args(["-n", &STEPS.to_string(), "--arm", "lean", "--by-layer"]);
        }
        let said = said(tune.arg("-o").arg(self.path("host.lora")))?;
        serde_json::from_str(&said).context("ripple tune --json")
    }

    /// What cannot be is said, with what is needed and given, and loses nothing. The card has the adapters that
    /// [`compare`](Self::compare) saved.
    fn refusals(&self) -> Result<()> {
        println!("== {}: what is refused", self.name);
        let elf = self.build()?;
        let lesson = self.lesson(true);
        let saved = format!("adapter of {STEPS} steps, saved 1 times");
        let typed = format!(
            "/window 200\n{lesson}/window 8\n/learn\nA few words.\n\x04/tokens 1\nOne day,\n\x04"
        );
        let all = self.said(&elf, &typed, None)?;
        expect(&all, "error   learn: the arena needs [...] bytes, was given [...]")?;
        expect(&all, "error   text: [...] tokens, a step takes 9; give a longer text, or /window")?;
        expect(&all, &saved)?;

        // The CRCs of another image, and of a header that has it: bytes of the first slot.
        let card = fs::read(self.path("card.img"))?;
        let image = fs::metadata(self.path("model.img"))?.len();
        let mut other = File::options().read(true).write(true).open(self.path("card.img"))?;
        other_image(&mut other, image)?;
        let all = self.said(&elf, "/tokens 1\nOne day,\n\x04", None)?;
        expect(&all, "error   adapter: the adapter was trained on image [...], this is [...]")?;
        expect(&all, "end     as many as asked for: 1 tokens[...]")?;
        fs::write(self.path("card.img"), card)?;

        self.write_card(0)?;
        let typed = format!("/steps 1\n/window 8\n{lesson}\x04");
        let full =
            "error   save: the card is full: adapters need [...] blocks, there is room for 0[...]";
        expect(&self.said(&elf, &typed, None)?, full)
    }
}

/// Shows the line like `pattern` that there must be.
fn expect(said: &str, pattern: &str) -> Result<()> {
    let pattern = format!("{pattern}[...]");
    let line = said.lines().find(|line| like(line.trim_start_matches("> "), &pattern));
    println!("{}", line.with_context(|| format!("no line `{pattern}`:\n{said}"))?);
    Ok(())
}

/// Makes the adapters in the first slot behind an image of so many bytes those of another image, undamaged.
fn other_image(card: &mut File, image: u64) -> Result<()> {
    let mut blocks = vec![0; BLOCK];
    card.seek(SeekFrom::Start(image))?;
    card.read_exact(&mut blocks)?;
    let word = |bytes: &[u8], at: usize| {
        bytes[4 * at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
    };
    let words = word(&blocks, 4) as usize;
    let mut file = vec![0; 4 * words];
    card.read_exact(&mut file)?;
    let set = |bytes: &mut [u8], at: usize, word: u32| {
        bytes[4 * at..][..4].copy_from_slice(&word.to_le_bytes());
    };
    let found = word(&file, 5);
    set(&mut file, 5, !found);
    let crc = crc32(&file[..60]);
    set(&mut file, 15, crc);
    set(&mut blocks, 5, crc32(&file));
    let crc = crc32(&blocks[..44]);
    set(&mut blocks, 11, crc);
    card.seek(SeekFrom::Start(image))?;
    card.write_all(&blocks)?;
    Ok(card.write_all(&file)?)
}

/// CRC-32 (IEEE), bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            crc >> 1 ^ if crc & 1 == 1 { 0xEDB8_8320 } else { 0 }
        })
    })
}

/// What was said, without what depends on the machine, and on where the text comes from.
fn compared(said: &str) -> String {
    let lines = said.lines().filter(|line| !line.contains("# ") && !line.ends_with(ASKED));
    lines.map(|line| format!("{}\n", line.trim_start_matches("> "))).collect()
}

/// Tokens of a step, as a board says them.
fn tokens(said: &str) -> Result<u32> {
    let line = said.lines().find(|line| line.ends_with(" tokens a step"));
    let words: Vec<&str> = line.unwrap_or_default().split_whitespace().rev().collect();
    words.get(3).context("no tokens a step were said")?.parse().context("tokens a step")
}

/// Counts the instructions of a step in three arms, and compares them with the host's multiply-accumulates.
fn count() -> Result<()> {
    println!(
        "Of a step of 32 tokens on novel-small, rank 8 of q, k, v and o, on {COUNTED_ON}: guest \
         instructions (emulated, exact, without the card's driver), multiply-accumulates and bytes.\n\
         | arm | instructions, M | multiply-accumulates, M | KiB | an instruction's share | the same of \
         multiply-accumulates |\n|---|---|---|---|---|---|"
    );
    let (mut first, mut apart) = (None, Vec::new());
    for lesson in COUNTED {
        let run = Run::new(&format!("{COUNTED_ON}:{lesson}"))?;
        let (elf, file) = (run.build()?, run.path("counts.txt"));
        let typed = format!("/window 32\n/steps 1\n{}\x04", run.lesson(true));
        let board = run.said(&elf, &typed, Some(&file))?;
        ensure!(board.contains("\nsaved "), "nothing was learnt:\n{board}");
        let counts = counted(&file)?;
        let json = run.tune(32)?;
        let step = &json["per_step"];
        let number = |of: &str| step[of].as_f64().context("ripple tune --json");
        let (macs, bytes) = (number("multiply_accumulates")?, number("bytes")?);
        let instructions = counts[STEP] as f64;
        let (most, work) = *first.get_or_insert((instructions, macs));
        let (ours, host) = (most / instructions, work / macs);
        println!(
            "| {lesson} | {:.1} | {:.1} | {:.0} | {ours:.2}x fewer | {host:.2}x fewer |",
            instructions / 1e6,
            macs / 1e6,
            bytes / 1024.0
        );
        if (ours / host - 1.0).abs() > MOST_APART {
            apart.push(lesson);
        }
    }
    ensure!(apart.is_empty(), "more than 10 % from the host's ratio: {}", apart.join(", "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{compared, crc32, tokens};

    #[test]
    fn what_is_compared_is_what_no_machine_changes() {
        let said = "> /learn\nthe text, then Ctrl-D; it is not echoed\n# time  1 ms\nstep 1\n";
        assert_eq!(compared(said), "/learn\nstep 1\n");
        assert_eq!(
            tokens("memory  arena 1 + staging 2 = 3 bytes: 40 tokens a step\n").unwrap(),
            40
        );
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }
}
