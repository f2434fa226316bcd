//! The simulator's cores are as fast as the kernel's loops were counted to be.

use ripple_host_sim::machine::Core;

/// What `boards/x kernels` counted, and compares with what it counts.
const MEASURED: &str = include_str!("../../../boards/kernels/measured.csv");

/// Thousandths of an instruction for a multiply-accumulate of the dot product in a matrix with rows of 256
/// numbers, by the core's own loop.
fn measured(core: &str) -> u64 {
    let mut lines = MEASURED.lines();
    assert_eq!(lines.next(), Some("core,loop,version,64,192,256,1024"));
    let mut cells = lines.map(|line| line.split(',').collect::<Vec<_>>());
    let row = cells.find(|row| row[..3] == [core, "matrix", "own"]).unwrap();
    let cost: f64 = row[5].parse().unwrap();
    (cost * 1000.0).round() as u64
}

#[test]
fn a_multiply_accumulate_takes_the_instructions_that_were_counted() {
    for core in Core::ALL {
        let loop_of = match core {
            Core::CortexM3 => "M3",
            // One loop for all that have the DSP instructions.
            Core::CortexM4 | Core::CortexM33 | Core::CortexM7 | Core::CortexA7 => "M4",
            Core::CortexM55 => "M55",
            // Said to be a guess.
            Core::CortexA53 => continue,
        };
        let (megahertz, instructions) = core.speed();
        assert_eq!(instructions, measured(loop_of), "{core:?}");
        assert_eq!(core.picoseconds(), (instructions * 1000 + megahertz / 2) / megahertz);
    }
}
