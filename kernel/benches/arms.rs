//! What each arm of the inner loops takes, beside the portable one.
//!
//! `cargo bench -p ripple-kernel --bench arms`. All arms of an operation take turns, a few microseconds each, so that
//! what else the machine does meets them all; the least of many times counts. Printed: nanoseconds, and how many
//! times as fast as the portable loops.

#[cfg(not(target_arch = "x86_64"))]
fn main() {
    println!("one arm here: the target says which instructions there are");
}

#[cfg(target_arch = "x86_64")]
fn main() {
    x86::main();
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use ripple_kernel::math::groups::{self, BYTES, GROUP, Groups};
    use ripple_kernel::math::{Arm, Packed, TOGETHER, axpy, dot, dots};
    use std::hint::black_box;
    use std::time::{Duration, Instant};

    const ROUNDS: usize = 2000;

    /// Times `work` with each arm, in turns.
    fn compare(what: &str, products: usize, mut work: impl FnMut()) {
        let arms: Vec<Arm> = Arm::ALL.into_iter().filter(|arm| arm.is_there()).collect();
        let mut least = vec![Duration::MAX; arms.len()];
        for _ in 0..ROUNDS {
            for (arm, least) in arms.iter().zip(&mut least) {
                assert!(arm.choose());
                let start = Instant::now();
                work();
                *least = start.elapsed().min(*least);
            }
        }
        print!("{what:<34}");
        let nanoseconds = |time: &Duration| time.as_nanos() as f64 / REPEATS as f64;
        for (arm, time) in arms.iter().zip(&least) {
            let (time, portable) = (nanoseconds(time), nanoseconds(&least[0]));
            print!("  {arm:?} {time:.0} ns");
            if *arm != Arm::Portable {
                print!(" ({:.2}x)", portable / time);
            }
        }
        println!("  best {:.1} products/ns", products as f64 / nanoseconds(least.last().unwrap()));
    }

    /// Calls of an operation that are timed together.
    const REPEATS: usize = 50;

    pub fn main() {
        for cols in [64usize, 576, 1536, 4096] {
            let number = |i: usize| (i * 89 % 255) as i32 as u8 as i8;
            let row: Vec<i8> = (0..cols).map(|i| number(i * 7 + 3).max(-127)).collect();
            let mut words = vec![vec![0; Packed::words(cols as u32) as usize]; TOGETHER];
            for (i, words) in words.iter_mut().enumerate() {
                let x: Vec<i8> = (0..cols).map(|j| number(i + j).max(-127)).collect();
                Packed::new(&x, words);
            }
            let xs: [Packed<'_>; TOGETHER] = core::array::from_fn(|i| Packed::of(&words[i], cols));
            let repeat = |work: &mut dyn FnMut()| (0..REPEATS).for_each(|_| work());

            compare(&format!("8 bits, dot, {cols}"), cols, || {
                repeat(&mut || {
                    black_box(dot(black_box(&row), xs[0]));
                });
            });
            compare(&format!("8 bits, dot, {TOGETHER} vectors, {cols}"), TOGETHER * cols, || {
                repeat(&mut || {
                    black_box(dots(black_box(&row), xs));
                });
            });
            let mut sums = vec![0; cols];
            compare(&format!("8 bits, scaled row, {cols}"), cols, || {
                repeat(&mut || axpy(black_box(&mut sums), 12345, black_box(&row)));
            });
            let scales = vec![0x2E66u16.to_le_bytes(); cols / GROUP];
            let numbers: Vec<[u8; BYTES]> =
                (0..cols / GROUP).map(|i| core::array::from_fn(|j| number(i + j) as u8)).collect();
            let grouped = Groups { scales: &scales, numbers: &numbers };
            compare(&format!("4 bits, dot, {cols}"), cols, || {
                repeat(&mut || {
                    black_box(groups::dot(black_box(grouped), xs[0]));
                });
            });
            compare(&format!("4 bits, dot, {TOGETHER} vectors, {cols}"), TOGETHER * cols, || {
                repeat(&mut || {
                    black_box(groups::dots(black_box(grouped), xs));
                });
            });
            compare(&format!("4 bits, scaled row, {cols}"), cols, || {
                repeat(&mut || {
                    groups::axpy_groups(black_box(&mut sums), black_box(grouped), |scale| {
                        i32::from(scale) << 4
                    });
                });
            });
        }
    }
}
