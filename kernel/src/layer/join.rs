//! How what a branch gives joins the residual stream, where it is not just added to it.
//!
//! In: the residual stream at a position, what attention or the FFN gave there. Out: the residual stream.

use crate::config::Order;
use crate::image::Geometry;
use crate::layer::normalise;
use crate::slices::copy;

/// The first branch of a layer is attention, the second the FFN.
#[derive(Clone, Copy)]
pub(crate) enum Branch {
    Attention = 0,
    Ffn = 1,
}

/// `x = norm(x + y)` of [`Order::After`], `x += norm(y)` of [`Order::Around`], else `x += y`.
///
/// `x`, `y`, `scratch`: `(dim,)`. `vectors`: the layer's.
pub(crate) fn join(
    x: &mut [f32],
    y: &[f32],
    scratch: &mut [f32],
    vectors: &[f32],
    branch: Branch,
    geometry: &Geometry,
) {
    let which = branch as u32;
    match geometry.config.variant().order {
        Order::After => {
            add(x, y);
            normalise(scratch, x, vectors, which, geometry);
            copy(x, scratch);
        }
        Order::Around => {
            normalise(scratch, y, vectors, 2 + which, geometry);
            add(x, scratch);
        }
        Order::Before | Order::Parallel => add(x, y),
    }
}

fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}
