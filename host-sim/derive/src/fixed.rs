//! Plans of fixed operators: what a board does that derives nothing, with the same loops.
//!
//! In: a convolution's shape. Out: every way a library of fixed operators computes it, with its cost. The
//! best of them is what a derived plan is compared with.

use crate::machine::{Cost, Machine};
use crate::textbook::Conv;

/// A plan of fixed operators.
#[derive(Clone, Debug, PartialEq)]
pub struct Fixed {
    /// What it is called.
    pub name: &'static str,
    /// What it costs.
    pub cost: Cost,
}

/// A call of a dot product's loop, and what goes with it.
struct Work {
    dots: i64,
    length: i64,
    /// Numbers copied, and how many together.
    moved: (i64, i64),
    /// Records and numbers in each, and how often they are all read.
    weights: (i64, i64, i64),
    /// Bytes of RAM beside staging.
    ram: i64,
}

fn cost(work: &Work, machine: &Machine) -> Cost {
    let core = machine.core;
    let (moved, together) = work.moved;
    let copies = core.moved.instructions(moved / together.max(1), together);
    let instructions = core.dot.instructions(work.dots, work.length) + copies;
    let (rows, numbers, times) = work.weights;
    let (commands, bytes, time) = machine.stream(rows, numbers);
    Cost {
        commands: commands * times,
        bytes: bytes * times,
        ram: machine.staging + work.ram,
        instructions,
        nanoseconds: machine.compute(instructions).max(time * times as f64),
    }
}

/// Every fixed plan of a convolution that fits, the fastest first.
pub fn conv(shape: Conv, machine: &Machine) -> Vec<Fixed> {
    let Conv {
        input,
        channels: c,
        filters: f,
        kernel: (kh, kw),
        stride,
        dilation,
        padding: (p, q),
    } = shape;
    let out = |n: i64, k: i64, p: i64| (n + 2 * p - dilation * (k - 1) - 1) / stride + 1;
    let pixels = out(input.0, kh, p) * out(input.1, kw, q);
    let (patch, given) = (kh * kw * c, input.0 * input.1 * c);
    // A row of the kernel lies together where its columns are neighbours.
    let run = if dilation == 1 || kw == 1 { kw * c } else { c };
    let results = pixels * f + 4 * pixels;
    let all = vec![
        Fixed {
            name: "direct, each filter once",
            cost: cost(
                &Work {
                    dots: pixels * f * (patch / run),
                    length: run,
                    // Rows that reach over an edge are shorter: nothing is copied.
                    moved: (0, 1),
                    weights: (f, patch, 1),
                    ram: results + given,
                },
                machine,
            ),
        },
        Fixed {
            name: "im2col and matmul",
            cost: cost(
                &Work {
                    dots: pixels * f,
                    length: patch,
                    moved: (pixels * patch, run),
                    weights: (f, patch, 1),
                    ram: results + given + pixels * patch,
                },
                machine,
            ),
        },
        Fixed {
            name: "im2col of two pixels",
            cost: cost(
                &Work {
                    dots: pixels * f,
                    length: patch,
                    moved: (pixels * patch, run),
                    weights: (f, patch, (pixels + 1) / 2),
                    ram: pixels * f + given + 2 * patch,
                },
                machine,
            ),
        },
    ];
    fitting(all, machine)
}

/// Every fixed plan of a transposed convolution that fits, the fastest first.
pub fn conv_transpose(shape: Conv, machine: &Machine) -> Vec<Fixed> {
    let Conv { input, channels, filters, kernel: (k, _), stride, padding: (pad, _), .. } = shape;
    let p = k - 1 - pad;
    // With zeroes between its numbers and around them, under the kernel turned around.
    let spread = |n: i64| (n - 1) * stride + 1;
    let inserted =
        Conv { input: (spread(input.0), spread(input.1)), stride: 1, padding: (p, p), ..shape };
    let given = input.0 * input.1 * channels;
    let zeroes = machine.core.moved.instructions(input.0 * input.1, channels);
    let mut all: Vec<Fixed> = conv(inserted, machine)
        .into_iter()
        .map(|mut fixed| {
            fixed.name = match fixed.name {
                "direct, each filter once" => "zero insertion, direct",
                "im2col and matmul" => "zero insertion, im2col and matmul",
                _ => "zero insertion, im2col of two pixels",
            };
            fixed.cost.instructions += zeroes;
            fixed.cost.nanoseconds += machine.compute(zeroes);
            fixed.cost.ram += given;
            fixed
        })
        .collect();
    let out = |n: i64| (n - 1) * stride + k - 2 * pad;
    let (pixels, results) = (input.0 * input.1, out(input.0) * out(input.1));
    all.push(Fixed {
        name: "scatter",
        cost: cost(
            &Work {
                dots: pixels * k * k * filters,
                length: channels,
                moved: (pixels * k * k * filters, input.1),
                weights: (k * k * filters, channels, 1),
                ram: given + results * filters + 4 * results + 4 * pixels,
            },
            machine,
        ),
    });
    fitting(all, machine)
}

fn fitting(mut all: Vec<Fixed>, machine: &Machine) -> Vec<Fixed> {
    all.retain(|fixed| fixed.cost.ram <= machine.ram);
    all.sort_by(|a, b| a.cost.nanoseconds.total_cmp(&b.cost.nanoseconds));
    all
}
