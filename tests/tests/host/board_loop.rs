//! The boards' main loop: what it says, and that no fault of a card changes a token.

use embedded_io::{ErrorType, Read, Write};
use ripple_app::board::LM3S6965EVB;
use ripple_app::{Desk, Port, Ram, Raw, Spilling, Storage, run};
use ripple_hal::{
    Block, BlockCount, BlockDevice, BlockIdx, Clock, ErrorKind, Micros, OutOfRange, WriteDevice,
};
use ripple_host_sim::machine::memory::HostMemory;
use ripple_kernel::image::Header;
use ripple_kernel::{KvKind, MemoryPlan, Options};
use ripple_tests::demo::Demo;
use std::cell::Cell;
use std::sync::OnceLock;

fn story_nano() -> &'static Demo {
    static DEMO: OnceLock<Demo> = OnceLock::new();
    DEMO.get_or_init(|| Demo::new("story-nano", 1))
}

/// What happens to a card, from a read on.
#[derive(Clone, Copy)]
enum Event {
    /// Some reads fail.
    Fail(ErrorKind, u32),
    /// From now on it holds this.
    Swap(&'static [u8]),
}

/// A slot with a card in it that things happen to.
struct Slot {
    image: &'static [u8],
    reads: u32,
    script: Vec<(u32, Event)>,
}

impl Slot {
    fn new(script: &[(u32, Event)]) -> Self {
        Self { image: &story_nano().image, reads: 0, script: script.to_vec() }
    }
}

impl BlockDevice for Slot {
    type Error = ErrorKind;

    fn block_count(&mut self) -> Result<BlockCount, ErrorKind> {
        Ok(BlockCount::for_bytes(self.image.len() as u64))
    }

    fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), ErrorKind> {
        let now = self.reads;
        self.reads += 1;
        for (at, event) in &self.script {
            match *event {
                Event::Fail(kind, count) if (*at..at + count).contains(&now) => return Err(kind),
                Event::Swap(image) if now >= *at => self.image = image,
                _ => {}
            }
        }
        OutOfRange::check(start, dst, self.block_count()?).map_err(|_| ErrorKind::OutOfRange)?;
        let bytes = Block::bytes_mut(dst);
        let at = start.0 as usize * 512;
        bytes.copy_from_slice(&self.image[at..at + bytes.len()]);
        Ok(())
    }
}

/// A terminal with somebody who has typed everything already.
pub struct Terminal<'a> {
    pub typed: &'a [u8],
    pub said: &'a mut Vec<u8>,
}

impl ErrorType for Terminal<'_> {
    type Error = core::convert::Infallible;
}

impl Read for Terminal<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Self::Error> {
        let count = buffer.len().min(self.typed.len());
        buffer[..count].copy_from_slice(&self.typed[..count]);
        self.typed = &self.typed[count..];
        Ok(count)
    }
}

impl Write for Terminal<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
        self.said.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// A clock that goes on whenever it is looked at.
pub struct Ticking(pub Cell<u64>);

impl Clock for Ticking {
    fn now(&self) -> Micros {
        self.0.set(self.0.get() + 1000);
        Micros(self.0.get())
    }
}

/// All that the loop says to `typed`, with the image in `storage` and with `options`.
fn told(storage: impl Storage, options: &Options, typed: &str) -> String {
    let demo = story_nano();
    let plan = MemoryPlan::for_model(&Header::parse(&demo.image).unwrap().geometry, options);
    let mut memory = HostMemory::new(&plan);
    let (mut line, mut ids, mut said) = ([0; 64], [0; 65], Vec::new());
    let mut block = [Block::ZERO];
    let port = Port {
        board: &LM3S6965EVB,
        console: Terminal { typed: typed.as_bytes(), said: &mut said },
        clock: Ticking(Cell::new(0)),
        ram: Ram::default,
    };
    let desk = Desk { line: &mut line, ids: &mut ids, block: &mut block };
    let mapped = &demo.image[..demo.mapped];
    run(port, storage, mapped, memory.lend(), desk, options);
    String::from_utf8(said).unwrap().replace('\r', "")
}

/// What the loop says to `typed`, without what depends on the machine.
fn says(typed: &str, slot: Slot) -> String {
    let said = told(Raw(slot), &LM3S6965EVB.options, typed);
    said.lines().filter(|line| !line.starts_with("# ")).map(|line| format!("{line}\n")).collect()
}

const STORY: &str = "/gap 2\n/trace\n/tokens 24\nOne day,\n";

/// The lines of steps: position, token, CRC of the logits, text.
fn steps(said: &str) -> Vec<&str> {
    let is_step = |line: &&str| line.starts_with(' ') && line.contains('"');
    said.lines().filter(is_step).collect()
}

/// Reads until the prompt is asked for, and in all.
fn reads() -> (u32, u32) {
    let count = |typed| {
        let mut slot = Slot::new(&[]);
        told(Raw(&mut slot), &LM3S6965EVB.options, typed);
        slot.reads
    };
    (count(""), count(STORY))
}

#[test]
fn the_loop_says_this() {
    insta::assert_snapshot!(says("/help\nOne day,\n", Slot::new(&[])));
}

#[test]
fn steps_are_traced_with_the_crc_of_their_logits() {
    insta::assert_snapshot!(says(STORY, Slot::new(&[])));
}

#[test]
fn a_failed_read_is_repeated_and_changes_no_step() {
    let good = says(STORY, Slot::new(&[]));
    let (before, all) = reads();
    assert!(all > before + 20, "{before} {all}");
    for at in (before..all).step_by(7) {
        for kind in [ErrorKind::Timeout, ErrorKind::Corrupted, ErrorKind::Other] {
            let said = says(STORY, Slot::new(&[(at, Event::Fail(kind, 1))]));
            assert_eq!(steps(&said), steps(&good), "read {at} {kind:?}");
            assert!(said.contains("error   step: ") && said.contains("retry   1"), "{said}");
        }
    }
}

#[test]
fn a_card_that_is_pulled_is_waited_for() {
    let good = says(STORY, Slot::new(&[]));
    let (before, all) = reads();
    let at = (before + all) / 2;
    let said = says(STORY, Slot::new(&[(at, Event::Fail(ErrorKind::NoCard, 30))]));
    assert!(said.contains("waiting for the card\nthe card is back\nretry   1\n"), "{said}");
    assert_eq!(steps(&said), steps(&good));
}

#[test]
fn a_card_that_is_missing_at_first_is_waited_for() {
    let good = says(STORY, Slot::new(&[]));
    let said = says(STORY, Slot::new(&[(0, Event::Fail(ErrorKind::NoCard, 5))]));
    assert!(said.contains("error   calibration: "), "{said}");
    assert_eq!(steps(&said), steps(&good));
}

#[test]
fn another_card_never_goes_on_with_the_text() {
    let (before, all) = reads();
    let at = (before + all) / 2;
    let other: &'static [u8] = Vec::leak(Demo::new("novel-nano", 1).image);
    let script = [(at, Event::Fail(ErrorKind::NoCard, 2)), (at, Event::Swap(other))];
    let said = says(STORY, Slot::new(&script));
    let good = says(STORY, Slot::new(&[]));
    assert!(steps(&good).starts_with(&steps(&said)) && steps(&said).len() < 24, "{said}");
    assert!(said.contains("the card holds something else now"), "{said}");
    assert!(said.contains("error   open: the mapped prefix differs"), "{said}");
}

#[test]
fn wrong_contents_never_become_a_token() {
    // From half-way on every read brings ones: what a host that cannot read its file makes of it.
    let (before, all) = reads();
    let demo = story_nano();
    let mut damaged = demo.image.clone();
    damaged[demo.mapped..].fill(0xFF);
    let script = [((before + all) / 2, Event::Swap(Vec::leak(damaged)))];
    let said = says(STORY, Slot::new(&script));
    let good = says(STORY, Slot::new(&[]));
    assert!(steps(&good).starts_with(&steps(&said)) && steps(&said).len() < 24, "{said}");
    assert!(said.contains("arrived damaged"), "{said}");
    // It gives up after three attempts, and opens the card anew.
    assert!(said.contains("retry   3\nerror   step: "), "{said}");
    assert_eq!(said.matches("\nmodel   ").count(), 2, "{said}");
}

#[test]
fn an_image_that_is_cut_short_is_refused() {
    let cut = &story_nano().image[..story_nano().mapped + 5120];
    let said = says(STORY, Slot { image: cut, ..Slot::new(&[]) });
    assert!(said.contains("error   open: ") && said.contains("press Enter to try again"), "{said}");
    assert!(steps(&said).is_empty(), "{said}");
}

#[test]
fn what_cannot_be_done_is_said_and_the_next_line_is_taken() {
    let long = "a".repeat(70);
    let said = says(&format!("{long}\n/gap x\n/no\n/tokens 2\nOne day,\n"), Slot::new(&[]));
    assert!(said.contains("the line is too long, or not UTF-8"), "{said}");
    assert_eq!(said.matches("a text to go on from").count(), 2, "{said}");
    assert!(said.contains("end     as many as asked for: 2 tokens"), "{said}");
}

#[test]
fn backspace_removes_a_whole_character() {
    let with = says("/tokens 4\nOne \u{e9}\x08\x7f day,\n", Slot::new(&[]));
    let without = says("/tokens 4\nOne day,\n", Slot::new(&[]));
    assert_eq!(with.lines().last(), without.lines().last());
    assert_eq!(with.matches("prompt  4/4").count(), 1, "{with}");
}

/// A card with room behind the image. The writes that `failing` names by their number fail once.
struct Roomy {
    bytes: Vec<u8>,
    writes: u32,
    failing: Vec<(u32, ErrorKind)>,
}

impl BlockDevice for Roomy {
    type Error = ErrorKind;

    fn block_count(&mut self) -> Result<BlockCount, ErrorKind> {
        Ok(BlockCount::for_bytes(self.bytes.len() as u64))
    }

    fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), ErrorKind> {
        OutOfRange::check(start, dst, self.block_count()?).map_err(|_| ErrorKind::OutOfRange)?;
        let bytes = Block::bytes_mut(dst);
        let at = start.0 as usize * 512;
        bytes.copy_from_slice(&self.bytes[at..at + bytes.len()]);
        Ok(())
    }
}

impl WriteDevice for Roomy {
    fn write(&mut self, start: BlockIdx, src: &[Block]) -> Result<(), ErrorKind> {
        OutOfRange::check(start, src, self.block_count()?).map_err(|_| ErrorKind::OutOfRange)?;
        let now = self.writes;
        self.writes += 1;
        if let Some((_, kind)) = self.failing.iter().find(|(at, _)| *at == now) {
            return Err(*kind);
        }
        let bytes = Block::bytes(src);
        let at = start.0 as usize * 512;
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}

/// What the loop says to `typed` with `options`, on a card with `room` bytes behind the image.
fn says_with(options: &Options, typed: &str, room: usize, failing: &[(u32, ErrorKind)]) -> String {
    let mut bytes = story_nano().image.clone();
    bytes.resize(bytes.len() + room, 0xFF);
    told(Spilling(Raw(Roomy { bytes, writes: 0, failing: failing.to_vec() })), options, typed)
}

#[test]
fn a_text_longer_than_memory_goes_on_with_its_beginning_on_the_card() {
    let whole = Options { context: 128, kv: KvKind::F16, ..LM3S6965EVB.options };
    let short = Options { context: 32, spill: 96, ..whole };
    let config = Header::parse(&story_nano().image).unwrap().geometry.config;
    let room = short.spill_blocks(&config).bytes() as usize;
    let typed = STORY.replace("/tokens 24", "/tokens 90");
    let expected = says_with(&whole, &typed, 0, &[]);
    assert_eq!(steps(&expected).len(), 90, "{expected}");
    assert_eq!(steps(&says_with(&short, &typed, room, &[])), steps(&expected));

    let failing = [(0, ErrorKind::Timeout), (9, ErrorKind::Corrupted)];
    let said = says_with(&short, &typed, room, &failing);
    assert_eq!(steps(&said), steps(&expected));
    assert!(said.contains("retry   1\nerror   step: ") && said.contains("retry   2"), "{said}");

    // A card without the room says so, and no step is wrong.
    let said = says_with(&short, &typed, 0, &[]);
    assert!(steps(&expected).starts_with(&steps(&said)) && steps(&said).len() < 40, "{said}");
    assert!(said.contains("error   step: "), "{said}");
}
