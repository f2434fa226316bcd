//! Convolutions and transposed ones.

use super::node::{At, MOST, Made, access, several};
use super::{Known, OnnxError};
use crate::expr::{Access, Expr, Scope, Target};
use crate::index::{Index, Range};
use std::sync::Arc;

/// Settings that both convolutions have.
struct Sliding {
    stride: (i64, i64),
    dilation: (i64, i64),
    /// Zeroes above, to the left, below, to the right.
    pads: [i64; 4],
    group: i64,
}

fn sliding(at: &At<'_>, known: &[&str]) -> Result<Sliding, OnnxError> {
    at.only(
        &[&["auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"], known].concat(),
    )?;
    if let Some(auto) = at.attribute("auto_pad").filter(|auto| auto.s != b"NOTSET") {
        return at.wrong("pads as numbers", String::from_utf8_lossy(&auto.s));
    }
    let pads = at.integers("pads", &[0; 4]);
    let Ok(pads) = <[i64; 4]>::try_from(pads.as_slice()) else {
        return at.wrong("four pads", pads);
    };
    if pads.iter().any(|pad| !(0..=MOST).contains(pad)) {
        return at.wrong(&format!("pads from 0 to {MOST}"), pads);
    }
    let (stride, dilation) = (at.pair("strides", 1)?, at.pair("dilations", 1)?);
    Ok(Sliding { stride, dilation, pads, group: at.integer("group", 1) })
}

/// How many images, their rows, columns and channels, and a kernel's four extents.
fn shapes(at: &At<'_>, a: &Known, k: &Known) -> Result<([i64; 4], [i64; 4]), OnnxError> {
    match (a.shape.as_slice(), k.shape.as_slice()) {
        (&[n, c, h, w], &[f, d, r, s]) if a.image => Ok(([n, h, w, c], [f, d, r, s])),
        _ => at.wrong("images and a kernel of four dimensions each", (&a.shape, &k.shape)),
    }
}

/// `Conv`, of two dimensions.
pub fn conv(at: &At<'_>, a: &Known, k: &Known) -> Result<Made, OnnxError> {
    let Sliding { stride, dilation, pads: [top, left, bottom, right], group } = sliding(at, &[])?;
    let ([n, h, w, c], [f, d, r, s]) = shapes(at, a, k)?;
    if !(1..=c).contains(&group) || f % group != 0 || c % group != 0 || d != c / group {
        return at
            .wrong("channels and filters in `group` equal parts", (&a.shape, &k.shape, group));
    }
    let out = |n: i64, pad: i64, k: i64, stride: i64, dilation: i64| {
        (n + pad - dilation * (k - 1) - 1) / stride + 1
    };
    let rows = out(h, top + bottom, r, stride.0, dilation.0);
    let columns = out(w, left + right, s, stride.1, dilation.1);
    if rows < 1 || columns < 1 {
        return at.wrong("an image no smaller than the kernel", (&a.shape, &k.shape));
    }
    let (which, first) = several(n);
    let v = |place: usize| Index::var(first + place);
    let loops: Vec<Range> = [n, rows, columns, f].map(Range::to)[1 - first..].to_vec();
    let sums: Vec<Range> = [d, r, s].map(Range::to).to_vec();
    let all = [loops.as_slice(), &sums].concat();
    let y = v(0).times(stride.0).plus(&v(4).times(dilation.0)).offset(-top);
    let x = v(1).times(stride.1).plus(&v(5).times(dilation.1)).offset(-left);
    // The channels of the filter's part.
    let channel = v(2).divided(f / group, &all).times(d).plus(&v(3));
    let body = Expr::product(vec![
        access(a, &[which, channel, y, x]),
        access(k, &[v(2), v(3), v(4), v(5)]),
    ]);
    let scope = Scope { loops, sums, body };
    Ok(Made { shape: vec![n, f, rows, columns], image: true, scope })
}

/// `ConvTranspose`, of two dimensions.
pub fn conv_transpose(at: &At<'_>, a: &Known, k: &Known) -> Result<Made, OnnxError> {
    let Sliding { stride, dilation, pads: [top, left, bottom, right], group } =
        sliding(at, &["output_padding"])?;
    let ([n, h, w, c], [d, f, r, s]) = shapes(at, a, k)?;
    let more = at.integers("output_padding", &[0, 0]);
    if group != 1 || dilation != (1, 1) || d != c {
        let expected = "group 1, dilations 1 and as many channels as the image has";
        return at.wrong(expected, (group, dilation, d));
    }
    let &[below, behind] = more.as_slice() else {
        return at.wrong("two numbers as output_padding", more);
    };
    if !(0..stride.0).contains(&below) || !(0..stride.1).contains(&behind) {
        return at.wrong("an output_padding below the strides", more);
    }
    let out = |n: i64, pad: i64, k: i64, stride: i64| (n - 1) * stride + k - pad;
    let rows = out(h, top + bottom, r, stride.0) + below;
    let columns = out(w, left + right, s, stride.1) + behind;
    if rows < 1 || columns < 1 {
        return at.wrong("pads smaller than the result", [top, left, bottom, right]);
    }
    let (which, first) = several(n);
    let v = |place: usize| Index::var(first + place);
    let loops: Vec<Range> = [n, rows, columns, f].map(Range::to)[1 - first..].to_vec();
    let sums: Vec<Range> = [c, r, s].map(Range::to).to_vec();
    let all = [loops.as_slice(), &sums].concat();
    // The image with zeroes between its numbers, as quotient and remainder say it.
    let apart = |x: usize, k: usize, pad: i64, stride: i64| {
        let place = v(x).minus(&v(k)).offset(pad);
        [place.divided(stride, &all), place.modulo(stride, &all)]
    };
    let ([y, between_y], [x, between_x]) =
        (apart(0, 4, top, stride.0), apart(1, 5, left, stride.1));
    let spread = Scope {
        loops: [n, h, 1, w, 1, c].map(Range::to)[1 - first..].to_vec(),
        sums: Vec::new(),
        body: access(a, &[which.clone(), v(4), v(0), v(2)]),
    };
    let index = vec![y, between_y, x, between_x, v(3)];
    let index = (first == 1).then_some(which).into_iter().chain(index).collect();
    let image = Expr::Access(Access { target: Target::Scope(Arc::new(spread)), index });
    let body = Expr::product(vec![image, access(k, &[v(3), v(2), v(4), v(5)])]);
    let scope = Scope { loops, sums, body };
    Ok(Made { shape: vec![n, f, rows, columns], image: true, scope })
}
