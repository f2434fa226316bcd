//! Cross-entropy and its gradient: the head is read once, or, where all logits are held, twice.
//!
//! In: the residual stream behind the last layer, the labels. Out: the loss, and the gradient of the stream
//! in its place.

use crate::arms::LossTape;
use crate::model::{Frozen, each_row};
use crate::real::Real;
use crate::space::{Space, Vectors};
use crate::vector::{axpy, copy, dot, front_mut, row, row_mut};
use ripple_hal::BlockDevice;
use ripple_kernel::read::reader::{FetchError, Reader};
use ripple_kernel::{Probe, Stage};
use zerocopy::IntoBytes;

/// The mean of `ln sum_v exp(z_v) - z_label` over the tokens, `z = E norm(x)`. With `back`, puts its gradient
/// in the place of `space.stream`.
pub(crate) fn loss<D: BlockDevice, P: Probe, R: Real>(
    frozen: &Frozen<'_>,
    reader: &mut Reader<'_, D, P>,
    space: &mut Space<'_, R>,
    labels: &[u32],
    back: bool,
) -> Result<R, FetchError<D::Error>> {
    let (dim, tokens) = (frozen.shape.dim, labels.len());
    reader.probe().enter(Stage::Head, 0);
    let Vectors { largest, sums, labels: of_labels, one, last, .. } = &mut space.vectors;
    let norm = frozen.norm(last, 0);
    let stream = front_mut(space.stream, tokens * dim);
    for (out, x) in space.inputs.chunks_exact_mut(dim.max(1)).zip(stream.chunks_exact(dim.max(1))) {
        norm.apply(out, x);
    }
    largest.iter_mut().for_each(|most| *most = R::LOWEST);
    sums.iter_mut().for_each(|sum| *sum = R::ZERO);
    let head = frozen.head();
    let work = (tokens * dim) as u64;
    let inputs = &*space.inputs;
    let slopes = front_mut(space.slopes, if back { tokens * dim } else { 0 });
    slopes.iter_mut().for_each(|slope| *slope = R::ZERO);
    let count = R::count(tokens.max(1));
    let numbers = &mut *space.rows.numbers;
    let rows = 0..head.count;
    if back && frozen.options.arms.loss == LossTape::Logits {
        let vocab = frozen.shape.vocab;
        let logits = &mut *space.logits;
        each_row(reader, Stage::Head, &head, rows.clone(), numbers, work, &mut |v, e, _| {
            for token in 0..tokens {
                if let Some(place) = row_mut(logits, token, vocab).get_mut(v) {
                    *place = dot(e, row(inputs, token, dim));
                }
            }
        })?;
        for (token, &label) in labels.iter().enumerate() {
            let logits = row_mut(logits, token, vocab);
            let most = logits.iter().fold(R::LOWEST, |most, z| if *z > most { *z } else { most });
            let at_label = logits.get(label as usize).copied().unwrap_or(R::ZERO);
            let mut sum = R::ZERO;
            for z in logits.iter_mut() {
                *z = (*z - most).exp();
                sum += *z;
            }
            logits.iter_mut().for_each(|p| *p = *p / (sum * count));
            if let Some(p) = logits.get_mut(label as usize) {
                *p = *p - R::ONE / count;
            }
            let places = (largest.get_mut(token), sums.get_mut(token), of_labels.get_mut(token));
            if let (Some(a), Some(b), Some(c)) = places {
                (*a, *b, *c) = (most, sum, at_label);
            }
        }
        each_row(reader, Stage::Head, &head, rows, numbers, work, &mut |v, e, _| {
            for token in 0..tokens {
                let slope = row(logits, token, vocab).get(v).copied().unwrap_or(R::ZERO);
                axpy(row_mut(slopes, token, dim), slope, e);
            }
        })?;
    } else {
        let stride = head.layout.stride() as usize;
        // The rows of the labels, as they came: they are wanted when the sums are complete.
        let held = space.scratch.as_mut_bytes();
        let numbers = front_mut(numbers, dim);
        reader.each(Stage::Head, &head, rows, &mut |probe, v, record| {
            record.numbers(0, numbers);
            let e = &*numbers;
            let each = largest.iter_mut().zip(sums.iter_mut()).zip(of_labels.iter_mut());
            for (token, (((most, sum), at_label), &label)) in each.zip(labels).enumerate() {
                let z = dot(e, row(inputs, token, dim));
                if label == v {
                    *at_label = z;
                    if back {
                        record.copy_to(row_mut(held, token, stride));
                    }
                }
                let slope = if back { row_mut(slopes, token, dim) } else { &mut [] };
                if z > *most {
                    let factor = (*most - z).exp();
                    *sum = *sum * factor + R::ONE;
                    *most = z;
                    slope.iter_mut().zip(e).for_each(|(a, e)| *a = *a * factor + R::of(*e));
                } else {
                    let p = (z - *most).exp();
                    *sum += p;
                    axpy(slope, p, e);
                }
            }
            crate::model::count(probe, Stage::Head, if back { 2 * work } else { work });
        })?;
        if back {
            for (token, sum) in sums.iter().enumerate().take(tokens) {
                let slope = row_mut(slopes, token, dim);
                if let Some(record) = head.layout.view(row(held, token, stride)) {
                    record.numbers(0, numbers);
                }
                for (slope, e) in slope.iter_mut().zip(numbers.iter()) {
                    *slope = (*slope / *sum - R::of(*e)) / count;
                }
            }
        }
    }
    let mut loss = R::ZERO;
    for (most, (sum, at_label)) in
        largest.iter().zip(sums.iter().zip(of_labels.iter())).take(tokens)
    {
        loss += *most + sum.ln() - *at_label;
    }
    if back {
        let x = front_mut(one, dim);
        for (dx, dn) in stream.chunks_exact_mut(dim.max(1)).zip(slopes.chunks_exact_mut(dim.max(1)))
        {
            copy(x, dx);
            dx.iter_mut().for_each(|dx| *dx = R::ZERO);
            norm.backward(dx, x, dn);
        }
    }
    Ok(loss / count)
}

/// Shows `see` the logits of `tokens` tokens, `(tokens,)` of each row of the head.
pub(crate) fn logits<D: BlockDevice, P: Probe, R: Real>(
    frozen: &Frozen<'_>,
    reader: &mut Reader<'_, D, P>,
    space: &mut Space<'_, R>,
    tokens: usize,
    see: &mut dyn FnMut(usize, &[R]),
) -> Result<(), FetchError<D::Error>> {
    let dim = frozen.shape.dim;
    reader.probe().enter(Stage::Head, 0);
    let norm = frozen.norm(space.vectors.last, 0);
    let stream = front_mut(space.stream, tokens * dim);
    for (out, x) in space.inputs.chunks_exact_mut(dim.max(1)).zip(stream.chunks_exact(dim.max(1))) {
        norm.apply(out, x);
    }
    let inputs = &*space.inputs;
    let logits = front_mut(space.vectors.scores, tokens);
    let head = frozen.head();
    let work = (tokens * dim) as u64;
    let numbers = &mut *space.rows.numbers;
    each_row(reader, Stage::Head, &head, 0..head.count, numbers, work, &mut |v, e, _| {
        let each = logits.iter_mut().enumerate();
        each.for_each(|(token, z)| *z = dot(e, row(inputs, token, dim)));
        see(v, logits);
    })
}
