//! Ripple learns on Arm's MPS2+ with the AN386 image (Cortex-M4F), as QEMU emulates it.
//!
//! Reads `notes.txt` over semihosting, trains adapters of the image on it, and writes them to `notes.lora`:
//! the file, to the last bit, that `ripple tune --in-order` makes on a host with the same options.
#![no_std]
#![no_main]

use core::fmt::Write as _;
use cortex_m_rt::entry;
use embedded_io::Write;
use panic_semihosting as _;
use ripple_app::reexport::static_cell::ConstStaticCell;
use ripple_cortex_m::cmsdk::{Timer, Uart};
use ripple_cortex_m::file::{HostFile, read, replace};
use ripple_cortex_m::{paced::Paced, stop, stop_with};
use ripple_hal::{Block, BlockCount, Clock, Micros};
use ripple_kernel::text::tokenizer::{EncodeOptions, Tokenizer};
use ripple_tune::{Arms, Gradients, Schedule, TuneMemory, TuneOptions, Tuner};
use zerocopy::IntoBytes;

include!(concat!(env!("OUT_DIR"), "/plan.rs"));

const HZ: u32 = 25_000_000;
/// Of the longest text, in bytes.
const TEXT: usize = 8 * 1024;
/// 432 KiB, in words of 8 bytes.
const ARENA: usize = 54 * 1024;
const STEPS: u32 = 6;
const OPTIONS: TuneOptions = TuneOptions {
    tokens: 32,
    rank: 4,
    alpha: 8.0,
    gradients: Gradients::Layer,
    arms: Arms::LEAN,
    staging: BlockCount(32),
    ..TuneOptions::DEFAULT
};
/// As the command has it, where nobody says otherwise.
const SCHEDULE: Schedule = Schedule { rate: 0.002, warm_up: 5, steps: STEPS, clip: 1.0 };

#[entry]
fn main() -> ! {
    // SAFETY: UART 0 and timer 0 of this machine; taken once, here.
    let (console, clock) = unsafe { (Uart::new(0x4000_4000, HZ), Timer::new(0x4000_0000, HZ)) };
    let mut console = Console(console);
    match learn(&mut console, &clock) {
        Ok(()) => stop(),
        Err(message) => {
            let _ = writeln!(console, "error: {message}");
            stop_with(1)
        }
    }
}

struct Console<C>(C);

impl<C: Write> core::fmt::Write for Console<C> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.0.write_all(text.as_bytes()).map_err(|_| core::fmt::Error)
    }
}

fn learn<C: Write>(console: &mut Console<C>, clock: &Timer) -> Result<(), &'static str> {
    static BYTES: ConstStaticCell<[u8; TEXT]> = ConstStaticCell::new([0; TEXT]);
    static IDS: ConstStaticCell<[u32; TEXT / 2]> = ConstStaticCell::new([0; TEXT / 2]);
    static WORDS: ConstStaticCell<[u64; ARENA]> = ConstStaticCell::new([0; ARENA]);
    static STAGING: ConstStaticCell<[Block; 32]> = ConstStaticCell::new([Block::ZERO; 32]);
    let (bytes, ids) = (BYTES.take(), IDS.take());
    let memory = TuneMemory { arena: WORDS.take(), staging: STAGING.take() };

    let file = HostFile::open(c"card.img").map_err(|_| "no card.img")?;
    let card = Paced::new(file, clock, Micros(400), 20);
    let mut tuner = Tuner::<_, _, f32>::open(card, MAPPED, memory, &OPTIONS, ())
        .map_err(|_| "the image cannot be opened, or the arena is too small")?;
    let _ = writeln!(console, "# arena {} of {} bytes", tuner.plan().bytes(), 8 * ARENA);
    for region in ripple_tune::TuneRegion::ALL {
        let bytes = tuner.plan().region_bytes(region);
        if bytes > 0 {
            let _ = writeln!(console, "#   {} {bytes}", region.name());
        }
    }

    let length = read(c"notes.txt", bytes).map_err(|_| "no notes.txt")?;
    let text = bytes.get(..length).unwrap_or(&[]);
    let text = core::str::from_utf8(text).map_err(|_| "notes.txt is not UTF-8, or too long")?;
    let section = tuner.image().tokenizer().ok_or("no tokenizer is mapped")?;
    let tokenizer = Tokenizer::parse(section).map_err(|_| "the tokenizer is damaged")?;
    let options = EncodeOptions { parse_special: true, ..EncodeOptions::TEXT };
    let count = tokenizer.encode(text, options, ids).map_err(|_| "notes.txt is too long")?;
    let ids = ids.get(..count).unwrap_or(&[]);

    // The last tenth of the windows is held out, as on a host.
    let tokens = OPTIONS.tokens as usize;
    let windows = count.saturating_sub(1) / tokens;
    let judged = (windows / 10).max(usize::from(windows > 1));
    let window = |i: usize| ids.get(i * tokens..=(i + 1) * tokens).unwrap_or(&[]);
    let trained = windows - judged;
    if trained == 0 {
        return Err("notes.txt is too short");
    }
    let failed = "the card cannot be read";
    tuner.begin(1);
    let before = tuner.evaluate(window(trained)).map_err(|_| failed)?;
    for step in 0..STEPS {
        let begun = clock.now();
        let made = tuner
            .step(window(step as usize % trained), SCHEDULE.at(step))
            .map_err(|_| failed)?;
        let time = clock.now().0.wrapping_sub(begun.0);
        let _ = writeln!(console, "step {} loss {:.4}", step + 1, made.loss);
        let _ = writeln!(console, "# {} ms", time / 1000);
    }
    let after = tuner.evaluate(window(trained)).map_err(|_| failed)?;
    let _ = writeln!(console, "held out {before:.4} -> {after:.4}");
    let adapters = tuner.file();
    let header = adapters.header(tuner.header());
    let parts = [header.as_bytes(), adapters.numbers.as_bytes()];
    replace(c"notes.lora", c"notes.new", &parts).map_err(|_| "notes.lora cannot be written")?;
    let _ = writeln!(console, "saved");
    Ok(())
}
