//! Operators that are several definitions, or need numbers that no tensor of the file has.

use super::node::{At, MOST, Made, access, places, several};
use super::{Known, OnnxError, Reader};
use crate::expr::{Expr, Function, Kind, Scope};
use crate::index::{Index, Range};

/// Most taps of a window whose largest number is taken.
const MOST_TAPS: i64 = 64;

fn apply(function: Function, of: Expr) -> Expr {
    Expr::Apply(function, Box::new(of))
}

fn minus(of: Expr) -> Expr {
    Expr::product(vec![Expr::Constant(-1), of])
}

/// What an operator of this file gives for one node.
type Result<T> = std::result::Result<T, OnnxError>;

impl Reader {
    /// Defines what `at` computes of `x`; `false` where its operator is none of these.
    pub(super) fn compound(&mut self, at: &At<'_>, all: &[Known]) -> Result<bool> {
        let result = at.0.output[0].clone();
        match (at.0.op_type.as_str(), all) {
            ("BatchNormalization", [x, scale, bias, mean, var]) => {
                self.batch_normalization(at, &result, x, [scale, bias, mean, var])?;
            }
            ("LeakyRelu", [x]) => {
                at.only(&["alpha"])?;
                let slope = at.attribute("alpha").map_or(0.01, |attribute| attribute.f);
                let slope = self.number(&format!("{result}_alpha"), slope.into())?;
                self.leaky(at, &result, x, &slope)?;
            }
            ("PRelu", [x, slope]) => {
                at.only(&[])?;
                self.leaky(at, &result, x, slope)?;
            }
            ("Softmax", [x]) => self.softmax(at, &result, x)?,
            ("MaxPool", [x]) => {
                let made = self.max_pool(at, x)?;
                self.define(at, &result, made)?;
            }
            ("AveragePool" | "GlobalAveragePool", [x]) => {
                let window = Window::of(at, x)?;
                let (rows, columns) = window.kernel;
                let share = 1.0 / (rows * columns) as f64;
                let share = self.number(&format!("{result}_share"), share)?;
                let made = window.average(x, &share);
                self.define(at, &result, made)?;
            }
            (
                "BatchNormalization" | "LeakyRelu" | "PRelu" | "Softmax" | "MaxPool"
                | "AveragePool" | "GlobalAveragePool",
                other,
            ) => return at.wrong("another number of operands", other.len()),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// A weight of one number that the file says in another place.
    fn number(&mut self, name: &str, value: f64) -> Result<Known> {
        let id = self.declare(name, Kind::Weight, &[1])?;
        self.filled.push((id, value));
        Ok(Known { shape: vec![1], id, image: false, integers: None })
    }

    /// `x * s + t` with `s = scale / sqrt(var + epsilon)` and `t = bias - mean * s`, both computed beforehand.
    fn batch_normalization(
        &mut self,
        at: &At<'_>,
        result: &str,
        x: &Known,
        [scale, bias, mean, var]: [&Known; 4],
    ) -> Result<()> {
        // What was learnt with: of no use to one that runs.
        at.only(&["epsilon", "momentum", "spatial", "training_mode"])?;
        if at.integer("training_mode", 0) != 0 || at.integer("spatial", 1) != 1 {
            return at.wrong("a normalisation as it runs, of channels", &at.0.attribute);
        }
        let [_, channels, ..] = *x.shape.as_slice() else {
            return at.wrong("a tensor with channels", &x.shape);
        };
        for known in [scale, bias, mean, var] {
            if known.shape != [channels] {
                return at.wrong("a number for each channel", &known.shape);
            }
        }
        let epsilon = at.attribute("epsilon").map_or(1e-5, |attribute| attribute.f);
        let epsilon = self.number(&format!("{result}_epsilon"), epsilon.into())?;
        let own = [Index::var(0)];
        let vector = |body| {
            let scope = Scope { loops: vec![Range::to(channels)], sums: Vec::new(), body };
            Made { shape: vec![channels], image: false, scope }
        };
        let spread = Expr::sum(vec![access(var, &own), access(&epsilon, &[Index::constant(0)])]);
        let root = apply(Function::InverseRoot, spread);
        let (s, t) = (format!("{result}_scale"), format!("{result}_shift"));
        self.define(at, &s, vector(Expr::product(vec![access(scale, &own), root])))?;
        let s = self.known[&s].clone();
        let moved = minus(Expr::product(vec![access(mean, &own), access(&s, &own)]));
        self.define(at, &t, vector(Expr::sum(vec![access(bias, &own), moved])))?;
        let t = self.known[&t].clone();
        let (loops, place) = places(&x.shape, x.image);
        let channel = [place[1].clone()];
        let scaled = Expr::product(vec![access(x, &place), access(&s, &channel)]);
        let body = Expr::sum(vec![scaled, access(&t, &channel)]);
        let scope = Scope { loops, sums: Vec::new(), body };
        self.define(at, result, Made { shape: x.shape.clone(), image: x.image, scope })
    }

    /// `relu(x) - slope * relu(-x)`.
    fn leaky(&mut self, at: &At<'_>, result: &str, x: &Known, slope: &Known) -> Result<()> {
        let (loops, place) = places(&x.shape, x.image);
        let rank = x.shape.len();
        if slope.shape.len() > rank {
            return at.wrong("a slope of no more dimensions", &slope.shape);
        }
        let own = &place[rank - slope.shape.len()..];
        let extents = &x.shape[rank - slope.shape.len()..];
        let mut index = Vec::with_capacity(own.len());
        for ((place, &extent), &all) in own.iter().zip(&slope.shape).zip(extents) {
            match extent {
                1 => index.push(Index::constant(0)),
                _ if extent == all => index.push(place.clone()),
                _ => return at.wrong("a slope of the same shape, or 1", &slope.shape),
            }
        }
        let read = access(x, &place);
        let below = apply(Function::Relu, minus(read.clone()));
        let below = minus(Expr::product(vec![access(slope, &index), below]));
        let body = Expr::sum(vec![apply(Function::Relu, read), below]);
        let scope = Scope { loops, sums: Vec::new(), body };
        self.define(at, result, Made { shape: x.shape.clone(), image: x.image, scope })
    }

    /// `exp(x) / sum of exp(x)` over the last dimension.
    fn softmax(&mut self, at: &At<'_>, result: &str, x: &Known) -> Result<()> {
        at.only(&["axis"])?;
        let last = x.shape.len() as i64 - 1;
        // In old files 1 was meant where none is said, which is the last of two.
        let axis = at.integer("axis", if last == 1 { 1 } else { -1 });
        if x.image || (axis != last && axis != -1) {
            return at.wrong("the last dimension, and no image", (axis, &x.shape));
        }
        let (loops, place) = places(&x.shape, false);
        let of = |loops: Vec<Range>, sums: Vec<Range>, body| {
            let shape = loops.iter().map(|range| range.len()).collect();
            Made { shape, image: false, scope: Scope { loops, sums, body } }
        };
        let (e, sum) = (format!("{result}_exp"), format!("{result}_sum"));
        let body = apply(Function::Exp, access(x, &place));
        self.define(at, &e, of(loops.clone(), Vec::new(), body))?;
        let e = self.known[&e].clone();
        // A vector's sum is one number.
        let mut outer = loops.clone();
        let depth = outer.pop().unwrap_or(Range::to(1));
        let whole = outer.is_empty();
        let mut read = place.clone();
        if whole {
            outer.push(Range::to(1));
            read = vec![Index::var(1)];
        }
        self.define(at, &sum, of(outer, vec![depth], access(&e, &read)))?;
        let sum = self.known[&sum].clone();
        let row = if whole { vec![Index::constant(0)] } else { place[..place.len() - 1].to_vec() };
        let share = apply(Function::Reciprocal, access(&sum, &row));
        let body = Expr::product(vec![access(&e, &place), share]);
        self.define(at, result, of(loops, Vec::new(), body))
    }

    /// The largest number of each window, as sums of what is above: `max(a, b) = b + relu(a - b)`.
    fn max_pool(&self, at: &At<'_>, x: &Known) -> Result<Made> {
        let window = Window::of(at, x)?;
        let (rows, columns) = window.kernel;
        if rows * columns > MOST_TAPS {
            return at.wrong(&format!("a window of {MOST_TAPS} at most"), window.kernel);
        }
        // Beyond the edge 0 is read, which is never larger than what is not negative.
        let above_zero = self.network.definition_of(x.id).is_some_and(|from| {
            let body = &self.network.definitions[from].scope.body;
            matches!(body, Expr::Apply(Function::Relu, _))
        });
        if window.pads != [0; 4] && !above_zero {
            return at.wrong("pads of 0, or what a Relu gives", window.pads);
        }
        let (_, place, loops) = window.places();
        let taps = (0..rows).flat_map(|r| (0..columns).map(move |s| (r, s)));
        let mut most = None;
        for (r, s) in taps {
            let tap = window.tap(x, &place, &Index::constant(r), &Index::constant(s));
            most = Some(match most {
                None => tap,
                Some(most) => {
                    let more = Expr::sum(vec![most, minus(tap.clone())]);
                    Expr::sum(vec![tap, apply(Function::Relu, more)])
                }
            });
        }
        let body = most.unwrap_or(Expr::Constant(0));
        let scope = Scope { loops, sums: Vec::new(), body };
        Ok(Made { shape: window.shape.clone(), image: true, scope })
    }
}

/// Windows over an image.
struct Window {
    kernel: (i64, i64),
    stride: (i64, i64),
    pads: [i64; 4],
    /// The result's, as in the file.
    shape: Vec<i64>,
}

impl Window {
    fn of(at: &At<'_>, x: &Known) -> Result<Self> {
        let &[n, c, h, w] = x.shape.as_slice() else {
            return at.wrong("images of four dimensions", &x.shape);
        };
        if at.0.op_type == "GlobalAveragePool" {
            at.only(&[])?;
            let shape = vec![n, c, 1, 1];
            return Ok(Self { kernel: (h, w), stride: (1, 1), pads: [0; 4], shape });
        }
        at.only(&[
            "auto_pad",
            "ceil_mode",
            "count_include_pad",
            "dilations",
            "kernel_shape",
            "pads",
            "storage_order",
            "strides",
        ])?;
        if let Some(auto) = at.attribute("auto_pad").filter(|auto| auto.s != b"NOTSET") {
            return at.wrong("pads as numbers", String::from_utf8_lossy(&auto.s));
        }
        for (name, expected) in [("ceil_mode", 0), ("storage_order", 0)] {
            let found = at.integer(name, 0);
            if found != expected {
                return at.wrong(&format!("{name} of {expected}"), found);
            }
        }
        if at.pair("dilations", 1)? != (1, 1) {
            return at.wrong("dilations of 1", at.pair("dilations", 1)?);
        }
        let (kernel, stride) = (at.pair("kernel_shape", 0)?, at.pair("strides", 1)?);
        let found = at.integers("pads", &[0; 4]);
        let Ok(pads) = <[i64; 4]>::try_from(found.as_slice()) else {
            return at.wrong("four pads", found);
        };
        if pads.iter().any(|pad| !(0..=MOST).contains(pad)) {
            return at.wrong(&format!("pads from 0 to {MOST}"), pads);
        }
        let padded = pads != [0; 4] && at.0.op_type == "AveragePool";
        if padded && at.integer("count_include_pad", 0) != 1 {
            return at.wrong("pads of 0, or pads that count", pads);
        }
        let out = |n: i64, pad: i64, k: i64, step: i64| (n + pad - k) / step + 1;
        let rows = out(h, pads[0] + pads[2], kernel.0, stride.0);
        let columns = out(w, pads[1] + pads[3], kernel.1, stride.1);
        if h + pads[0] + pads[2] < kernel.0 || w + pads[1] + pads[3] < kernel.1 {
            return at.wrong("an image no smaller than the window", (&x.shape, kernel));
        }
        Ok(Self { kernel, stride, pads, shape: vec![n, c, rows, columns] })
    }

    /// How many iterators an image has, the place of each dimension of the file, and the loops.
    fn places(&self) -> (usize, Vec<Index>, Vec<Range>) {
        let (loops, place) = places(&self.shape, true);
        (several(self.shape[0]).1, place, loops)
    }

    /// What is `r` and `s` from the first of the window at `place`.
    fn tap(&self, x: &Known, place: &[Index], r: &Index, s: &Index) -> Expr {
        let y = place[2].times(self.stride.0).plus(r).offset(-self.pads[0]);
        let column = place[3].times(self.stride.1).plus(s).offset(-self.pads[1]);
        access(x, &[place[0].clone(), place[1].clone(), y, column])
    }

    /// `sum over r, s . x * share`.
    fn average(&self, x: &Known, share: &Known) -> Made {
        let (_, place, loops) = self.places();
        let (r, s) = (Index::var(loops.len()), Index::var(loops.len() + 1));
        let share = access(share, &[Index::constant(0)]);
        let body = Expr::product(vec![self.tap(x, &place, &r, &s), share]);
        let sums = vec![Range::to(self.kernel.0), Range::to(self.kernel.1)];
        Made { shape: self.shape.clone(), image: true, scope: Scope { loops, sums, body } }
    }
}

/// `Transpose`: dimensions in another order.
pub fn transpose(at: &At<'_>, x: &Known) -> Result<Made> {
    at.only(&["perm"])?;
    let rank = x.shape.len();
    let backwards: Vec<i64> = (0..rank as i64).rev().collect();
    let order = at.integers("perm", &backwards);
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if !sorted.iter().copied().eq(0..rank as i64) {
        return at.wrong("each dimension once", order);
    }
    let shape: Vec<i64> = order.iter().map(|&d| x.shape[d as usize]).collect();
    let image = rank == 4;
    let (loops, place) = places(&shape, image);
    let mut index = vec![Index::default(); rank];
    order.iter().zip(place).for_each(|(&d, place)| index[d as usize] = place);
    let scope = Scope { loops, sums: Vec::new(), body: access(x, &index) };
    Ok(Made { shape, image, scope })
}

/// `Concat`: tensors one behind the other, each 0 outside of its own.
pub fn concat(at: &At<'_>, all: &[&Known]) -> Result<Made> {
    at.only(&["axis"])?;
    let Some(first) = all.first() else { return at.wrong("a tensor", 0) };
    let rank = first.shape.len() as i64;
    let axis = at.integer("axis", 1);
    if !(-rank..rank).contains(&axis) {
        return at.wrong("a dimension of the tensors as axis", axis);
    }
    let axis = axis.rem_euclid(rank) as usize;
    let others = |shape: &[i64]| {
        let mut shape = shape.to_vec();
        if let Some(extent) = shape.get_mut(axis) {
            *extent = 0;
        }
        shape
    };
    if all.iter().any(|x| others(&x.shape) != others(&first.shape) || x.image != first.image) {
        let shapes: Vec<&[i64]> = all.iter().map(|x| x.shape.as_slice()).collect();
        return at.wrong("the same shape but for the axis", shapes);
    }
    let mut shape = first.shape.clone();
    shape[axis] = all.iter().map(|x| x.shape[axis]).sum();
    if first.image && axis == 0 {
        return at.wrong("another axis than that of images", axis);
    }
    let (loops, place) = places(&shape, first.image);
    let mut offset = 0;
    let mut parts = Vec::with_capacity(all.len());
    for x in all {
        let mut own = place.clone();
        own[axis] = own[axis].clone().offset(-offset);
        parts.push(access(x, &own));
        offset += x.shape[axis];
    }
    let scope = Scope { loops, sums: Vec::new(), body: Expr::sum(parts) };
    Ok(Made { shape, image: first.image, scope })
}

/// `DepthToSpace`: channels as pixels beside each other.
pub fn depth_to_space(at: &At<'_>, x: &Known) -> Result<Made> {
    at.only(&["blocksize", "mode"])?;
    let block = at.integer("blocksize", 0);
    let &[n, c, h, w] = x.shape.as_slice() else {
        return at.wrong("images of four dimensions", &x.shape);
    };
    if !(1..=MOST).contains(&block) || c % (block * block) != 0 {
        return at.wrong("channels in blocksize times blocksize parts", (c, block));
    }
    let columns_first = match at.attribute("mode").map(|mode| mode.s.as_slice()) {
        None | Some(b"DCR") => false,
        Some(b"CRD") => true,
        Some(other) => return at.wrong("mode DCR or CRD", String::from_utf8_lossy(other)),
    };
    let shape = vec![n, c / (block * block), h * block, w * block];
    let (loops, place) = places(&shape, true);
    let (y, x_at) = (&place[2], &place[3]);
    let within = y.modulo(block, &loops).times(block).plus(&x_at.modulo(block, &loops));
    let channel = if columns_first {
        place[1].times(block * block).plus(&within)
    } else {
        within.times(shape[1]).plus(&place[1])
    };
    let index = [place[0].clone(), channel, y.divided(block, &loops), x_at.divided(block, &loops)];
    let scope = Scope { loops, sums: Vec::new(), body: access(x, &index) };
    Ok(Made { shape, image: true, scope })
}

/// `a - b` of two terms.
pub fn difference(terms: Vec<Expr>) -> Expr {
    let mut terms = terms.into_iter();
    let first = terms.next().into_iter();
    Expr::sum(first.chain(terms.map(minus)).collect())
}
