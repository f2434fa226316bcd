//! The FFN, forward and back: a window of neurons at a time, each record read once a direction.
//!
//! In: normalised inputs, gradients of the output. Out: what the neurons add to the residual stream; the
//! gradient of their inputs. A neuron's first row may lie in its bundle, or in a table of its own: then those
//! of a window come first.

use crate::arms::{Columns, FfnTape};
use crate::columns::row_of;
use crate::model::{Frozen, count};
use crate::neurons::{Bundle, Gauge, Neurons};
use crate::real::Real;
use crate::space::{Space, reals};
use crate::vector::{axpy, dot, front_mut, row, row_mut};
use ripple_hal::BlockDevice;
use ripple_kernel::read::reader::{FetchError, Reader};
use ripple_kernel::{Probe, Stage};

/// A layer's neurons on their way forward.
struct Forward<'a, 'm, R> {
    neurons: &'a Neurons<'m, R>,
    inputs: &'a [R],
    stream: &'a mut [R],
    /// `(neurons, values, tokens)`, or none.
    values: &'a mut [R],
    /// Which neurons are kept, where only some are.
    gauge: Option<Gauge<'a, R>>,
    work: usize,
}

impl<R: Real> Forward<'_, '_, R> {
    /// Adds a neuron at a token, of which the first row gave `first`.
    fn add(&mut self, slot: usize, bundle: &Bundle<'_>, token: usize, first: R) {
        let shape = &self.neurons.frozen.shape;
        let dense = self.neurons.dense();
        let coefficient = self.neurons.coefficient(first);
        if coefficient.is_none() && !dense {
            if let Some(gauge) = &mut self.gauge {
                gauge.take(shape, token, first, R::ZERO, (R::ZERO, R::ZERO));
            }
            return;
        }
        let mut hidden = coefficient.map_or(R::ZERO, |(y, _)| y);
        let mut second = R::ZERO;
        if shape.gated {
            second = dot(bundle.up, row(self.inputs, token, shape.dim));
            hidden = hidden * second;
        }
        axpy(row_mut(self.stream, token, shape.dim), hidden, bundle.down);
        self.work += shape.dim * (1 + usize::from(shape.gated));
        if let Some(gauge) = &mut self.gauge {
            let (y, slope) = coefficient.unwrap_or((R::ZERO, R::ZERO));
            gauge.take(shape, token, first, second, (y, slope));
        } else if dense {
            let kept = row_mut(self.values, slot, shape.values() * shape.tokens);
            let kept = kept.iter_mut().skip(token).step_by(shape.tokens.max(1));
            kept.zip([first, second]).for_each(|(place, value)| *place = value);
        }
    }

    /// A neuron has been at all tokens.
    fn finish<P: Probe>(&mut self, slot: u32, bundle: &Bundle<'_>, probe: &mut P) {
        if let Some(gauge) = &mut self.gauge {
            let shape = &self.neurons.frozen.shape;
            gauge.offer(shape, slot, bundle, self.values);
            self.work += shape.dim * (2 + usize::from(shape.gated));
        }
        count(probe, Stage::Ffn, core::mem::take(&mut self.work) as u64);
    }
}

/// Adds what the neurons of `layer` make of `space.inputs` to `space.stream`, and keeps what the way back
/// needs.
pub(crate) fn forward<D: BlockDevice, P: Probe, R: Real>(
    frozen: &Frozen<'_>,
    reader: &mut Reader<'_, D, P>,
    space: &mut Space<'_, R>,
    layer: usize,
    tokens: usize,
) -> Result<(), FetchError<D::Error>> {
    let neurons = Neurons::<R>::new(frozen, layer, space.vectors.layer);
    let scales = frozen.output_scales(space.vectors.layer);
    let (dim, dense) = (frozen.shape.dim, neurons.dense());
    let mut masks = neurons.masks(space.masks);
    masks.bytes.iter_mut().for_each(|byte| *byte = 0);
    let products = reals::<R>(space.scratch);
    let (numbers, held) = (&mut *space.rows.numbers, &mut *space.rows.held);
    let stride = neurons.first.layout.stride() as usize;
    let inputs = &*space.inputs;
    let (values, spare) = neurons.values(space.values);
    let gauge = neurons.gauge(space.columns.scores, space.columns.entries, spare);
    let every = dense || gauge.is_some();
    let mut sums =
        Forward { neurons: &neurons, inputs, stream: &mut *space.stream, values, gauge, work: 0 };
    for window in neurons.windows() {
        if frozen.shape.whole {
            // A bundle says itself where it is active.
            reader.each(Stage::Ffn, &neurons.bundles, window, &mut |probe, slot, record| {
                let bundle = Bundle::unpack(frozen, scales, numbers, &record, None);
                for token in 0..tokens {
                    let first = dot(bundle.first, row(inputs, token, dim)) + R::of(bundle.bias);
                    if neurons.coefficient(first).is_some() {
                        masks.set(slot as usize, token);
                    }
                    sums.add(slot as usize, &bundle, token, first);
                }
                sums.work += tokens * dim;
                sums.finish(slot, &bundle, probe);
            })?;
            continue;
        }
        let first = window.start;
        neurons.first_rows(
            reader,
            window.clone(),
            inputs,
            tokens,
            numbers,
            products,
            // Their lengths are asked for with the bundles.
            if sums.gauge.is_some() { &mut *held } else { &mut [] },
            &mut masks,
        )?;
        let masks = &masks;
        let wanted = masks.wanted(window, dense);
        reader.wanted(Stage::Ffn, &neurons.bundles, wanted, &mut |probe, slot, record| {
            let at = (slot - first) as usize;
            let row_held = sums.gauge.as_ref().and_then(|_| held.get(at * stride..));
            let row_held = row_held.and_then(|bytes| neurons.first.layout.view(bytes));
            let bundle = Bundle::unpack(frozen, scales, numbers, &record, row_held);
            let products = row(products, at, tokens);
            let all = products.iter().enumerate().filter(|_| every);
            let some = masks.tokens(slot as usize).filter(|_| !every);
            let some = some.filter_map(|token| Some((token, products.get(token)?)));
            for (token, first) in all.chain(some) {
                sums.add(slot as usize, &bundle, token, *first);
            }
            sums.finish(slot, &bundle, probe);
        })?;
    }
    if let Some(gauge) = sums.gauge {
        gauge.heap.sort();
    }
    let bias = frozen.ffn_bias(space.vectors.layer);
    for x in front_mut(space.stream, tokens * dim).chunks_exact_mut(dim.max(1)) {
        axpy(x, R::ONE, bias);
    }
    Ok(())
}

/// A layer's neurons on their way back.
struct Backward<'a, 'm, R> {
    neurons: &'a Neurons<'m, R>,
    inputs: &'a [R],
    /// The gradient of the output.
    stream: &'a [R],
    /// The gradient of the inputs.
    slopes: &'a mut [R],
    work: usize,
}

impl<R: Real> Backward<'_, '_, R> {
    /// What the first row gives at a token.
    fn first(&mut self, bundle: &Bundle<'_>, token: usize) -> R {
        let dim = self.neurons.frozen.shape.dim;
        self.work += dim;
        dot(bundle.first, row(self.inputs, token, dim)) + R::of(bundle.bias)
    }

    /// What the up row of a gated neuron gives.
    fn second(&mut self, bundle: &Bundle<'_>, token: usize) -> R {
        let shape = &self.neurons.frozen.shape;
        if !shape.gated {
            return R::ZERO;
        }
        self.work += shape.dim;
        dot(bundle.up, row(self.inputs, token, shape.dim))
    }

    /// `dc = dy . down`; gated: `dn += dc up act' gate + dc act up`; plain: `dn += dc act' up`.
    fn add(&mut self, bundle: &Bundle<'_>, token: usize, (y, slope): (R, R), second: R) {
        let shape = &self.neurons.frozen.shape;
        let dc = dot(bundle.down, row(self.stream, token, shape.dim));
        let dn = row_mut(self.slopes, token, shape.dim);
        if shape.gated {
            axpy(dn, dc * second * slope, bundle.first);
            axpy(dn, dc * y, bundle.up);
        } else {
            axpy(dn, dc * slope, bundle.first);
        }
        self.work += shape.dim * (2 + usize::from(shape.gated));
    }

    fn report<P: Probe>(&mut self, probe: &mut P) {
        count(probe, Stage::Ffn, core::mem::take(&mut self.work) as u64);
    }
}

/// Adds to `space.slopes` the gradient of `space.inputs`, from `space.stream`, that of the output.
pub(crate) fn backward<D: BlockDevice, P: Probe, R: Real>(
    frozen: &Frozen<'_>,
    reader: &mut Reader<'_, D, P>,
    space: &mut Space<'_, R>,
    layer: usize,
    tokens: usize,
) -> Result<(), FetchError<D::Error>> {
    let neurons = Neurons::<R>::new(frozen, layer, space.vectors.layer);
    let scales = frozen.output_scales(space.vectors.layer);
    let shape = &frozen.shape;
    let tape = frozen.options.arms.ffn;
    let values = &*neurons.values(space.values).0;
    let entries = neurons.entries(space.columns.entries);
    let mut masks = neurons.masks(space.masks);
    let (numbers, held) = (&mut *space.rows.numbers, &mut *space.rows.held);
    let stride = neurons.first.layout.stride() as usize;
    let inputs = &*space.inputs;
    let mut sums = Backward {
        neurons: &neurons,
        inputs,
        stream: &*space.stream,
        slopes: &mut *space.slopes,
        work: 0,
    };
    if tape == FfnTape::Nothing {
        masks.bytes.iter_mut().for_each(|byte| *byte = 0);
    }
    for window in neurons.windows() {
        let start = window.start;
        if !shape.whole {
            let wanted = window.clone().filter(|&slot| match tape {
                FfnTape::Mask => masks.any(slot),
                FfnTape::Columns(_) => row_of(entries, slot).is_some(),
                FfnTape::Values | FfnTape::Nothing => true,
            });
            reader.wanted(Stage::Predictor, &neurons.first, wanted, &mut |_, slot, record| {
                record.copy_to(row_mut(held, (slot - start) as usize, stride));
            })?;
        }
        let all = shape.whole && tape == FfnTape::Nothing || tape == FfnTape::Values;
        if tape == FfnTape::Nothing && !shape.whole {
            let row = front_mut(numbers, shape.dim);
            for slot in window.clone() {
                let bytes = self::row(held, (slot - start) as usize, stride);
                let Some(record) = neurons.first.layout.view(bytes) else { continue };
                record.numbers(0, row);
                for token in 0..tokens {
                    let x = self::row(inputs, token, shape.dim);
                    if neurons.coefficient(dot(row, x) + R::of(record.bias())).is_some() {
                        masks.set(slot as usize, token);
                    }
                }
            }
            count(reader.probe(), Stage::Predictor, (window.len() * tokens * shape.dim) as u64);
        }
        let masks = &masks;
        let wanted = window.filter(|&slot| match tape {
            FfnTape::Columns(_) => row_of(entries, slot).is_some(),
            FfnTape::Values | FfnTape::Mask | FfnTape::Nothing => all || masks.any(slot),
        });
        reader.wanted(Stage::Ffn, &neurons.bundles, wanted, &mut |probe, slot, record| {
            let held = held.get((slot - start) as usize * stride..).unwrap_or(&[]);
            let first = if shape.whole { None } else { neurons.first.layout.view(held) };
            let bundle = Bundle::unpack(frozen, scales, numbers, &record, first);
            let slot = slot as usize;
            match tape {
                FfnTape::Values => {
                    let columns = shape.values() * shape.tokens;
                    let kept = row(values, slot, columns);
                    for token in 0..tokens {
                        let (first, second) = at_token(kept, shape.tokens, token);
                        let coefficient = neurons.coefficient(first);
                        let coefficient = coefficient.unwrap_or((R::ZERO, R::ZERO));
                        sums.add(&bundle, token, coefficient, second);
                    }
                }
                FfnTape::Columns(Columns { values: true, .. }) => {
                    let columns = shape.values() * shape.tokens;
                    let kept = row_of(entries, slot as u32).unwrap_or(0);
                    let kept = row(values, kept, columns);
                    for token in 0..tokens {
                        let (first, second) = at_token(kept, shape.tokens, token);
                        if let Some(coefficient) = neurons.coefficient(first) {
                            sums.add(&bundle, token, coefficient, second);
                        }
                    }
                }
                FfnTape::Nothing | FfnTape::Columns(_)
                    if shape.whole || tape != FfnTape::Nothing =>
                {
                    for token in 0..tokens {
                        let first = sums.first(&bundle, token);
                        if let Some(coefficient) = neurons.coefficient(first) {
                            let second = sums.second(&bundle, token);
                            sums.add(&bundle, token, coefficient, second);
                        }
                    }
                }
                FfnTape::Mask | FfnTape::Nothing | FfnTape::Columns(_) => {
                    for token in masks.tokens(slot) {
                        let (first, second) =
                            (sums.first(&bundle, token), sums.second(&bundle, token));
                        // Where it was active forward it counts as active, whatever 8 bits made of it.
                        sums.add(&bundle, token, neurons.slope(first), second);
                    }
                }
            }
            sums.report(probe);
        })?;
    }
    Ok(())
}

/// What is kept of a neuron at a token: its first row's output, and a gated neuron's second.
fn at_token<R: Real>(kept: &[R], tokens: usize, token: usize) -> (R, R) {
    let mut kept = kept.iter().skip(token).step_by(tokens.max(1));
    let mut next = || kept.next().copied().unwrap_or(R::ZERO);
    (next(), next())
}
