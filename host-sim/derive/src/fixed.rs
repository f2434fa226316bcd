//! Plans of fixed operators: what a board does that derives nothing, with the same loops.
//!
//! In: a convolution's shape. Out: every way a library of fixed operators computes it, with its cost. The
//! best of them is what a derived plan is compared with.

use crate::expr::{Access, Scope, Target, Tensor, Tensors};
use crate::index::{Atom, Index};
use crate::library::{Bound, Call, Operator, matches};
use crate::machine::{Cost, Machine};
use crate::plan::unlimited;
use crate::search::state::State;
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
    /// Whether they are copied before the call, so that no read goes on meanwhile, and not as its rows come.
    before: bool,
    /// Records and numbers in each, and how often they are all read.
    weights: (i64, i64, i64),
    /// Bytes of RAM beside staging.
    ram: i64,
}

fn cost(work: &Work, machine: &Machine) -> Cost {
    let core = machine.core;
    let (moved, together) = work.moved;
    let copies = core.moved.instructions(moved / together.max(1), together);
    let dots = core.dot.instructions(work.dots, work.length);
    let (first, then) = if work.before { (copies, dots) } else { (0.0, dots + copies) };
    let (rows, numbers, times) = work.weights;
    let (commands, bytes, _) = machine.stream(rows, numbers);
    let each = machine.overlapped(rows, numbers, machine.compute(then) / times as f64);
    Cost {
        commands: commands * times,
        bytes: bytes * times,
        ram: machine.staging + work.ram,
        instructions: first + then,
        nanoseconds: machine.compute(first) + each * times as f64,
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
    // As many pixels at once as there is room for.
    let room = (machine.ram - machine.staging - results - given) / patch;
    let tile = room.clamp(1, pixels);
    let all = vec![
        Fixed {
            name: "direct, each filter once",
            cost: cost(
                &Work {
                    dots: pixels * f * (patch / run),
                    length: run,
                    // Rows that reach over an edge are shorter: nothing is copied.
                    moved: (0, 1),
                    before: false,
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
                    before: true,
                    weights: (f, patch, 1),
                    ram: results + given + pixels * patch,
                },
                machine,
            ),
        },
        Fixed {
            name: "im2col in tiles",
            cost: cost(
                &Work {
                    dots: pixels * f,
                    length: patch,
                    moved: (pixels * patch, run),
                    before: true,
                    weights: (f, patch, (pixels + tile - 1) / tile),
                    ram: results + given + tile * patch,
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
                    before: true,
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
                "im2col in tiles" => "zero insertion, im2col in tiles",
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
                before: false,
                weights: (k * k * filters, channels, 1),
                ram: given + results * filters + 4 * results + 4 * pixels,
            },
            machine,
        ),
    });
    fitting(all, machine)
}

/// Every fixed plan of an expression as operators compute it, the fastest first: those of the library as it is
/// given, and where it is a convolution, a transposed one or a window, all of that. Those that do not fit the
/// machine's RAM come last.
pub fn plans(
    scope: &Scope,
    tensors: &Tensors,
    machine: &Machine,
    operators: &[Operator],
) -> Vec<Fixed> {
    let state = State::new(scope.clone()).canonical();
    let bounds = matches(&state.focus, tensors, operators);
    let mut all = Vec::new();
    // A fixed convolution reads its image where it lies; one whose lines are copied is found by derivation.
    let repeats = |bound: &Bound| match (&bound.call, &bound.operands[0]) {
        (Call::Conv { .. }, Target::Scope(copy)) => {
            let mut given = 0;
            copy.body.accesses(&mut |access| given += numbers(&access.target, tensors));
            copy.len() > given
        }
        _ => false,
    };
    for bound in bounds.iter().filter(|bound| !repeats(bound)) {
        let given = unlimited(&state, bound, tensors, machine);
        all.extend(given.map(|plan| Fixed { name: "the library's", cost: plan.cost }));
    }
    if let Some(shape) = transposed(scope, tensors) {
        all.extend(conv_transpose(shape, machine));
    }
    for bound in bounds.iter().filter(|bound| !repeats(bound)) {
        let Call::Conv { images: 1, output, filters, kernel, channels, stride, dilation } =
            bound.call
        else {
            continue;
        };
        if stride.0 != stride.1 || dilation.0 != dilation.1 {
            continue;
        }
        let (stride, dilation) = (stride.0, dilation.0);
        let reach = |n: i64, k: i64| (n - 1) * stride + dilation * (k - 1) + 1;
        // An image with its zeroes around it gives as many results; but they are nowhere kept.
        let input = (reach(output.0, kernel.0), reach(output.1, kernel.1));
        let shape = Conv { input, channels, filters, kernel, stride, dilation, padding: (0, 0) };
        let zeroes = input.0 * input.1 * channels - numbers(&bound.operands[0], tensors);
        let roomy = Machine { ram: machine.ram + zeroes, ..machine.clone() };
        for mut fixed in conv(shape, &roomy) {
            fixed.cost.ram -= zeroes;
            all.push(fixed);
        }
    }
    all.extend(window(scope, tensors, machine));
    all.sort_by(|a, b| {
        let fits = |fixed: &Fixed| fixed.cost.ram <= machine.ram;
        fits(b).cmp(&fits(a)).then(a.cost.nanoseconds.total_cmp(&b.cost.nanoseconds))
    });
    all
}

/// Numbers that a target has.
fn numbers(target: &Target, tensors: &Tensors) -> i64 {
    match target {
        Target::Tensor(id) => tensors.get(*id as usize).map_or(0, Tensor::len),
        Target::Scope(scope) => scope.len(),
    }
}

/// The shape of a transposed convolution, if an expression is one: an image that is read where a remainder is 0.
fn transposed(scope: &Scope, tensors: &Tensors) -> Option<Conv> {
    let factors = scope.body.factors()?;
    let divisor = |index: &Index| match index.parts().1 {
        [(Atom::Mod(of, k), 1)] => Some((of.vars(), *k)),
        _ => None,
    };
    let of = |access: &&Access| access.index.iter().filter_map(divisor).collect::<Vec<_>>();
    let image = *factors.iter().find(|access| of(access).len() == 2)?;
    let [(y, stride), (x, other)] = <[_; 2]>::try_from(of(&image)).ok()?;
    let ranges = scope.ranges();
    let count = scope.loops.len();
    let only = |set: u64, sums: bool| {
        let mut all = (0..ranges.len()).filter(|&v| set >> v & 1 == 1 && (v >= count) == sums);
        all.next().filter(|_| all.next().is_none()).map(|v| (v, ranges[v].len()))
    };
    let ((h, rows), (w, columns)) = (only(y, false)?, only(x, false)?);
    let ((r, k), (s, width)) = (only(y, true)?, only(x, true)?);
    let rest = |from: std::ops::Range<usize>, known: [usize; 2]| {
        from.filter(|v| !known.contains(v)).map(|v| ranges[v].len()).product::<i64>()
    };
    let (filters, channels) = (rest(0..count, [h, w]), rest(count..ranges.len(), [r, s]));
    // The dimension before a remainder's is the image's own.
    let own: Vec<i64> = (1..image.index.len())
        .filter(|&d| divisor(&image.index[d]).is_some())
        .map(|d| image.extent(tensors, d - 1).len())
        .collect();
    let &[height, across] = own.as_slice() else { return None };
    let padding = ((height - 1) * stride + k - rows) / 2;
    let alike = stride == other && k == width && padding >= 0;
    let same = (height - 1) * stride + k - rows == (across - 1) * stride + k - columns;
    (alike && same).then_some(Conv {
        input: (height, across),
        channels,
        filters,
        kernel: (k, k),
        stride,
        dilation: 1,
        padding: (padding, padding),
    })
}

/// A dilated window as a dense one that is as wide, of which all but every so many scores are thrown away: what a
/// library of dense windows has. As what a window's scores weigh, zeroes stand between the scores.
fn window(scope: &Scope, tensors: &Tensors, machine: &Machine) -> Option<Fixed> {
    let factors = scope.body.factors()?;
    let [a, b] = factors.as_slice() else { return None };
    if a.is_weight(tensors) || b.is_weight(tensors) {
        return None;
    }
    // The iterator that steps by more than one, and by how much.
    let stepped = |access: &Access| {
        access.index.iter().filter(|index| index.is_linear()).find_map(|index| {
            let (_, terms) = index.parts();
            let step = terms.iter().find_map(|(atom, factor)| match atom {
                Atom::Var(v) if factor.abs() > 1 => Some((*v as usize, factor.abs())),
                _ => None,
            });
            step.filter(|_| terms.len() == 2)
        })
    };
    let last = |access: &Access| access.index.last().and_then(Index::as_var);
    let ((w, dilation), v) = match (stepped(a), stepped(b)) {
        (Some(step), None) => (step, last(a)?),
        (None, Some(step)) => (step, last(b)?),
        _ => return None,
    };
    let (window, length) = (scope.ranges()[w].len(), scope.ranges()[v].len());
    let wide = (window - 1) * dilation + 1;
    let dots = scope.work() / window.max(1) * wide / length.max(1);
    let instructions = machine.core.dot.instructions(dots, length);
    let ram = machine.staging
        + numbers(&a.target, tensors)
        + numbers(&b.target, tensors)
        + scope.len()
        + 4 * wide.max(length);
    let nanoseconds = machine.compute(instructions);
    let cost = Cost { ram, instructions, nanoseconds, ..Cost::default() };
    Some(Fixed { name: "a dense window, as wide", cost })
}

fn fitting(mut all: Vec<Fixed>, machine: &Machine) -> Vec<Fixed> {
    all.retain(|fixed| fixed.cost.ram <= machine.ram);
    all.sort_by(|a, b| a.cost.nanoseconds.total_cmp(&b.cost.nanoseconds));
    all
}
