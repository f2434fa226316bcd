//! A derived program on the target: the CRC of what it gives, and how many instructions it takes (counted
//! outside, by `boards/count`).
//!
//! In: the file `card.img`, over semihosting: a program. Out: a line on the console, and an exit status.
//! Inputs are numbers without structure that `host-sim/derive/examples/programs.rs` makes too. Region 1 is
//! the run, region 14 within it the card.
#![no_std]
#![no_main]

use cortex_m_rt::entry;
use ripple_cortex_m::file::HostFile;
use ripple_hal::{Block, BlockCount, BlockDevice, BlockIdx};
use ripple_kernel::image::Crc32;
use ripple_program::{Program, front_blocks};
use semihosting::{eprintln, println, process};
use zerocopy::IntoBytes;

/// Words of the largest arena, blocks of the longest front and of staging.
const ARENA: usize = 3 << 18;
const FRONT: usize = 64;
const STAGING: usize = 128;

/// A device whose reads are a region of their own.
struct Marked<D>(D);

impl<D: BlockDevice> BlockDevice for Marked<D> {
    type Error = D::Error;

    fn block_count(&mut self) -> Result<BlockCount, D::Error> {
        ripple_marks::enter_driver();
        let count = self.0.block_count();
        ripple_marks::leave_driver();
        count
    }

    fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), D::Error> {
        ripple_marks::enter_driver();
        let read = self.0.read(start, dst);
        ripple_marks::leave_driver();
        read
    }
}

#[entry]
fn main() -> ! {
    static mut AREA: [u32; ARENA] = [0; ARENA];
    static mut FRONT_BLOCKS: [Block; FRONT] = [Block::ZERO; FRONT];
    static mut HALVES: [Block; STAGING] = [Block::ZERO; STAGING];
    ripple_marks::region::<13>();
    match run(AREA, FRONT_BLOCKS, HALVES) {
        Ok(()) => process::exit(0),
        Err(what) => {
            eprintln!("{what}");
            process::exit(1)
        }
    }
}

fn run(
    arena: &mut [u32; ARENA],
    front: &mut [Block; FRONT],
    staging: &mut [Block; STAGING],
) -> Result<(), &'static str> {
    let mut card = HostFile::open(c"card.img").map_err(|_| "no card.img")?;
    card.read(BlockIdx(0), &mut front[..1]).map_err(|_| "block 0 cannot be read")?;
    let blocks = front_blocks(&front[0]).map_err(|_| "card.img is no program")?.0 as usize;
    let front = front.get_mut(..blocks).ok_or("the front is too long")?;
    card.read(BlockIdx(0), front).map_err(|_| "the front cannot be read")?;
    let program = Program::open(Block::bytes(front)).map_err(|_| "a program that does not open")?;
    for place in 0..program.inputs() {
        let port = program.input(place).ok_or("an input that is none")?;
        let bytes = arena.as_mut_bytes().get_mut(port.at..).unwrap_or_default();
        let mut state = place as u32;
        for byte in bytes.iter_mut().take(port.numbers) {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = ((state >> 24) as i8).max(-127) as u8;
        }
    }
    ripple_marks::region::<1>();
    let ran = program.run(Marked(card), arena, staging);
    ripple_marks::region::<13>();
    ran.map_err(|_| "the program did not run")?;
    let port = program.output(0).ok_or("an output that is none")?;
    let mut crc = Crc32::new();
    crc.update(arena.as_bytes().get(port.at..port.at + 4 * port.numbers).unwrap_or(&[]));
    println!("crc {:08x} arena {} staging {}", crc.finish(), 4 * program.arena, program.staging);
    Ok(())
}
