//! The loop of a board that learns: the adapters on its card are those of a tuner, and nothing that goes wrong
//! loses what was learnt.

use crate::board_loop::{Terminal, Ticking};
use ripple_app::board::MPS2_AN386;
use ripple_app::learn::{HALF_MIB, LearnMemory, LearnPlan, SCRATCH, SEED, learn, room};
use ripple_app::{Port, Ram, Raw};
use ripple_hal::{
    Block, BlockCount, BlockDevice, BlockIdx, ErrorKind, Faults, Faulty, OutOfRange, Slice,
    WriteDevice,
};
use ripple_host_sim::model::text::encode;
use ripple_kernel::adapter::AdapterFile;
use ripple_kernel::image::{Header, Image};
use ripple_kernel::text::tokenizer::{EncodeOptions, Tokenizer};
use ripple_tests::demo::Demo;
use ripple_tune::{AdapterSlots, TuneMemory, TuneOptions, TunePlan, Tuner};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::OnceLock;

const TOKENS: u32 = 16;
const TEXT: &str = "The captain looked at the sea, and the sea was grey. He had sailed for nineteen \
    years, and he did not trust a calm of that colour; the glass was falling, the birds were gone, and \
    the hands had begun to whisper about the light upon the northern reef.\nAt noon he had the sails \
    taken in, and went below to write to his brother, who would never have the letter.\n";
const STORY: &str = "/trace\n/tokens 6\nOne day,\n";

fn story_nano() -> &'static Demo {
    static DEMO: OnceLock<Demo> = OnceLock::new();
    DEMO.get_or_init(|| Demo::new("story-nano", 1))
}

fn header() -> Header {
    Header::parse(&story_nano().image).unwrap()
}

/// A card that is still there when the board is not.
#[derive(Clone)]
struct Card(Rc<RefCell<Vec<Block>>>);

impl Card {
    /// The image, and so many blocks of room, of `full` adapters' need.
    fn new(room: u32) -> Self {
        let mut bytes = story_nano().image.clone();
        bytes.resize(bytes.len() + room as usize * 512, 0);
        let blocks = bytes.as_chunks().0.iter().map(|bytes| Block(*bytes)).collect();
        Self(Rc::new(RefCell::new(blocks)))
    }

    fn with_room() -> Self {
        let (first, room) = room(&MPS2_AN386, &header(), &HALF_MIB);
        assert_eq!(first, header().blocks);
        Self::new(room.0)
    }

    /// Steps and numbers of the adapters that are on it.
    fn adapters(&self) -> Option<(u32, Vec<u32>)> {
        let (mut device, mut words) = (self.clone(), vec![0; 1 << 16]);
        let end = device.block_count().unwrap();
        let slots = AdapterSlots::between(BlockIdx(header().blocks.0), end);
        let found = slots.load(&mut device, &header(), &mut words, &mut [Block::ZERO; 4]).unwrap();
        found.map(|(_, AdapterFile { steps, numbers, .. })| {
            (steps, numbers.iter().map(|x| x.to_bits()).collect())
        })
    }
}

impl BlockDevice for Card {
    type Error = ErrorKind;

    fn block_count(&mut self) -> Result<BlockCount, ErrorKind> {
        Ok(BlockCount(self.0.borrow().len() as u32))
    }

    fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), ErrorKind> {
        OutOfRange::check(start, dst, self.block_count()?).map_err(|_| ErrorKind::OutOfRange)?;
        dst.copy_from_slice(&self.0.borrow()[start.0 as usize..][..dst.len()]);
        Ok(())
    }
}

impl WriteDevice for Card {
    fn write(&mut self, start: BlockIdx, src: &[Block]) -> Result<(), ErrorKind> {
        OutOfRange::check(start, src, self.block_count()?).map_err(|_| ErrorKind::OutOfRange)?;
        assert!(start.0 >= header().blocks.0, "the image is written");
        self.0.borrow_mut()[start.0 as usize..][..src.len()].copy_from_slice(src);
        Ok(())
    }
}

/// All that the loop says to `typed`, with this card, but for what depends on the machine.
fn says(card: impl WriteDevice + 'static, typed: &str) -> String {
    let (demo, header) = (story_nano(), header());
    let plan = LearnPlan::for_model(&header.geometry, &HALF_MIB);
    let mut said = Vec::new();
    let memory = LearnMemory {
        arena: &mut vec![u64::MAX / 5; plan.arena],
        staging: &mut vec![Block::ZERO; plan.staging],
        scratch: &mut [Block::ZERO; SCRATCH],
        line: &mut [0; 64],
        ids: &mut [0; 512],
        block: &mut [Block::ZERO],
    };
    let port = Port {
        board: &MPS2_AN386,
        console: Terminal { typed: typed.as_bytes(), said: &mut said },
        clock: Ticking(Cell::new(0)),
        ram: Ram::default,
    };
    learn(port, Raw(card), &demo.image[..demo.mapped], memory, &HALF_MIB);
    let said = String::from_utf8(said).unwrap().replace('\r', "");
    said.lines().filter(|line| !line.starts_with("# ")).map(|line| format!("{line}\n")).collect()
}

fn lesson(steps: u32) -> String {
    format!("/window {TOKENS}\n/steps {steps}\n/learn\n{TEXT}\x04")
}

/// What a tuner makes of the same text, which is what `ripple tune --in-order` is.
fn tuned(steps: u32) -> Vec<u32> {
    let demo = story_nano();
    let options = TuneOptions { tokens: TOKENS, ..HALF_MIB.tune };
    let section = Image::new(header(), &demo.image).tokenizer().unwrap();
    let encoding = EncodeOptions { parse_special: true, ..EncodeOptions::TEXT };
    let tokens = encode(&Tokenizer::parse(section).unwrap(), TEXT, encoding).unwrap();
    let windows = (tokens.len() - 1) / TOKENS as usize;
    let trained = windows - (windows / 10).max(1);
    assert!(trained > 2);
    let plan = TunePlan::for_model::<f32>(&header().geometry, &options);
    let (mut arena, mut staging) = (vec![0; plan.arena()], vec![Block::ZERO; plan.staging]);
    let memory = TuneMemory { arena: &mut arena, staging: &mut staging };
    let mut tuner =
        Tuner::<_, _, f32>::open(Slice::new(&demo.image), &[], memory, &options, ()).unwrap();
    tuner.begin(SEED);
    for step in 0..steps {
        let at = step as usize % trained * TOKENS as usize;
        let window = &tokens[at..=at + TOKENS as usize];
        tuner.step(window, HALF_MIB.schedule(steps).at(step)).unwrap();
    }
    tuner.adapters().iter().map(|x| x.to_bits()).collect()
}

#[test]
fn what_a_board_learns_is_what_a_tuner_learns_and_the_next_story_is_told_with_it() {
    let card = Card::with_room();
    assert_eq!(card.adapters(), None);
    let said = says(card.clone(), &format!("{STORY}{}One day,\n", lesson(3)));
    let steps = |part: &str| -> Vec<String> {
        let lines = part.lines().filter(|line| line.starts_with(' ') && line.contains('"'));
        lines.map(str::to_owned).collect()
    };
    let (before, after) = said.split_once("saved   3 steps, 4160 numbers, 1 times").unwrap();
    assert!(before.contains("adapter none\n"), "{said}");
    assert!(after.contains("adapter of 3 steps, saved 1 times\n"), "{said}");
    assert_eq!((steps(before).len(), steps(after).len()), (6, 6));
    assert_ne!(steps(before), steps(after));
    assert_eq!(card.adapters(), Some((3, tuned(3))));
    // It is there when the board starts again, and what is learnt then takes its place.
    assert_eq!(steps(&says(card.clone(), STORY)), steps(after));
    assert!(says(card.clone(), &lesson(1)).contains("saved   1 steps, 4160 numbers, 2 times"));
    assert_eq!(card.adapters(), Some((1, tuned(1))));
}

#[test]
fn what_is_wrong_is_said_and_loses_nothing() {
    let card = Card::with_room();
    says(card.clone(), &lesson(1));
    let learnt = card.adapters();
    assert!(learnt.is_some());
    let error = |typed: &str| {
        let said = says(card.clone(), typed);
        assert_eq!(card.adapters(), learnt);
        let error = said.lines().find_map(|line| Some(line.split_once("error   ")?.1.to_owned()));
        error.unwrap_or_else(|| panic!("no error\n{said}"))
    };
    let short = error("/window 32\n/learn\nA few words.\n\x04");
    assert!(short.starts_with("text: ") && short.contains(" tokens, a step takes 33;"), "{short}");
    let empty = error("/learn\n\x04");
    assert!(empty.starts_with("text: "), "{empty}");
    let long = error(&format!("/learn\n{}\x04", TEXT.repeat(9)));
    assert!(long.starts_with("text: "), "{long}");
    let small = error(&format!("/window 250\n/learn\n{}\x04", TEXT.repeat(2)));
    let words: Vec<&str> = small.split(' ').collect();
    assert!(small.starts_with("learn: the arena needs "), "{small}");
    let [needed, given] = [words[4], words[8].trim_end_matches(':')];
    let [needed, given] = [needed.parse::<u64>().unwrap(), given.parse::<u64>().unwrap()];
    assert!(needed > given, "{small}");

    // Power that fails while it saves.
    let faults = Faults { cut: Some(11), ..Faults::default() };
    let said = says(Faulty::new(card.clone(), faults), &lesson(2));
    assert!(said.contains("error   save: block "), "{said}");
    assert_eq!(card.adapters(), learnt);
    // A step whose reads fail is made again.
    let fail_at = Some((400, ErrorKind::Timeout));
    let faults = Faults { fail_at, ..Faults::default() };
    let said = says(Faulty::new(card.clone(), faults), &lesson(2));
    assert!(said.contains("retry   1\n"), "{said}");

    for less in [1, 40] {
        let (_, needed) = room(&MPS2_AN386, &header(), &HALF_MIB);
        let card = Card::new(needed.0 - less);
        let said = says(card.clone(), &lesson(1));
        let given = (needed.0 - less) / 2 * 2;
        let full = format!(
            "error   save: the card is full: adapters need {} blocks, there is room for {given}",
            needed.0
        );
        assert!(said.contains(&full), "{said}\n{full}");
        assert_eq!(card.adapters(), None);
    }
}
