//! Derived programs: opened and run.

use crate::io::{self, Device, give, word};
use ripple_hal::{Block, DeviceError};
use ripple_program::{Program, RunError, front_blocks};

/// All of it.
#[inline(never)]
pub fn run() {
    let blocks = io::blocks();
    if let Some(first) = blocks.first()
        && let Ok(count) = front_blocks(first)
    {
        give(count.0);
    }
    let Ok(program) = Program::open(Block::bytes(blocks)) else { return };
    for place in 0..program.inputs() + program.outputs() {
        for port in [program.input(place), program.output(place)].into_iter().flatten() {
            give(port.at as u32 + port.numbers as u32 + port.scale.to_bits() + port.form as u32);
        }
    }
    give(program.ram() as u32 + program.steps());
    match program.run(Device, io::words(), io::blocks()) {
        Ok(ran) => give(ran.staging.0),
        Err(RunError::Device { step, block, source }) => give(step + block + source.kind() as u32),
        Err(_) => give(word()),
    }
}
