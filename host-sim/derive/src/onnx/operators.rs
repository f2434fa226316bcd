//! The operators: what each computes, as an expression.

use super::compound::{concat, depth_to_space, difference, transpose};
use super::convolution::{conv, conv_transpose};
use super::node::{At, Made, access, places};
use super::{Known, Node, OnnxError, Reader, Tensor};
use crate::expr::{Access, Expr, Function, Scope, Target};
use crate::index::{Index, Range};

/// Every operator that is read.
pub const NAMES: [&str; 25] = [
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Concat",
    "Constant",
    "Conv",
    "ConvTranspose",
    "DepthToSpace",
    "Exp",
    "Flatten",
    "Gemm",
    "GlobalAveragePool",
    "Identity",
    "LeakyRelu",
    "MatMul",
    "MaxPool",
    "Mul",
    "PRelu",
    "Relu",
    "Reshape",
    "Sigmoid",
    "Softmax",
    "Sub",
    "Tanh",
    "Transpose",
];

impl Reader {
    pub(super) fn node(&mut self, node: &Node) -> Result<(), OnnxError> {
        let at = At(node);
        let known = |name: &str| -> Result<&Known, OnnxError> {
            match self.known.get(name) {
                Some(known) => Ok(known),
                None => at.wrong("an operand that is computed before", name),
            }
        };
        let operands: Vec<&Known> = node
            .input
            .iter()
            .filter(|n| !n.is_empty())
            .map(|n| known(n))
            .collect::<Result<_, _>>()?;
        let [result] = node.output.as_slice() else {
            return at.wrong("one result", &node.output);
        };
        let unsupported =
            || OnnxError::Operator { node: at.name(), operator: node.op_type.clone() };
        if !matches!(node.domain.as_str(), "" | "ai.onnx") {
            return Err(unsupported());
        }
        if node.op_type == "Constant" {
            let Some(tensor) = at.attribute("value").and_then(|value| value.t.clone()) else {
                return at.wrong("a tensor as value", &node.attribute);
            };
            return self.weight(&Tensor { name: result.clone(), ..tensor });
        }
        let owned: Vec<Known> = operands.iter().map(|&known| known.clone()).collect();
        if self.compound(&at, &owned)? {
            return Ok(());
        }
        let operands: Vec<&Known> = owned.iter().collect();
        let mut biased = None;
        let made = match (node.op_type.as_str(), operands.as_slice()) {
            ("Relu", &[x]) => map(&at, x, Some(Function::Relu))?,
            ("Tanh", &[x]) => map(&at, x, Some(Function::Tanh))?,
            ("Sigmoid", &[x]) => map(&at, x, Some(Function::Sigmoid))?,
            ("Exp", &[x]) => map(&at, x, Some(Function::Exp))?,
            ("Identity", &[x]) => map(&at, x, None)?,
            ("Transpose", &[x]) => transpose(&at, x)?,
            ("Concat", all) => concat(&at, all)?,
            ("DepthToSpace", &[x]) => depth_to_space(&at, x)?,
            ("Sub", &[a, b]) => both(&at, a, b, difference)?,
            ("Add", &[a, b]) => both(&at, a, b, Expr::sum)?,
            ("Mul", &[a, b]) => both(&at, a, b, Expr::product)?,
            ("MatMul", &[a, b]) => matmul(&at, a, b, false)?,
            ("Gemm", &[a, b, ref rest @ ..]) => {
                biased = rest.first().map(|&bias| bias.clone());
                gemm(&at, a, b)?
            }
            ("Conv", &[a, k, ref rest @ ..]) => {
                biased = rest.first().map(|&bias| bias.clone());
                conv(&at, a, k)?
            }
            ("ConvTranspose", &[a, k, ref rest @ ..]) => {
                biased = rest.first().map(|&bias| bias.clone());
                conv_transpose(&at, a, k)?
            }
            ("Flatten", &[x]) => {
                at.only(&["axis"])?;
                if at.integer("axis", 1) != 1 {
                    return at.wrong("axis 1", at.integer("axis", 1));
                }
                let rest = x.shape.iter().skip(1).product();
                reshape(&at, x, vec![x.shape[0], rest])?
            }
            ("Reshape", &[x, shape]) => {
                at.only(&["allowzero"])?;
                let Some(shape) = &shape.integers else {
                    return at.wrong("a shape that is in the file", "one that is computed");
                };
                let shape = resolved(&at, x, shape)?;
                reshape(&at, x, shape)?
            }
            (
                "Relu" | "Tanh" | "Sigmoid" | "Exp" | "Identity" | "Transpose" | "DepthToSpace"
                | "Add" | "Sub" | "Mul" | "MatMul" | "Flatten" | "Reshape",
                other,
            ) => {
                return at.wrong("another number of operands", other.len());
            }
            _ => return Err(unsupported()),
        };
        match biased {
            None => self.define(&at, result, made),
            Some(bias) => {
                // The sum first, then the bias on each channel or column.
                let (shape, image) = (made.shape.clone(), made.image);
                let product = format!("{result}_product");
                self.define(&at, &product, made)?;
                let whole = self.known[&product].clone();
                let channel = if image { 1 } else { shape.len() - 1 };
                if bias.shape.iter().product::<i64>() != shape[channel] {
                    return at.wrong("a bias for each channel", &bias.shape);
                }
                let mut spread = vec![1; shape.len()];
                spread[channel] = shape[channel];
                let bias_at = Known { shape: spread, ..bias.clone() };
                let (loops, place) = places(&shape, image);
                let last = bias.shape.len() - 1;
                let mut index = vec![Index::constant(0); bias.shape.len()];
                index[last] = place[channel].clone();
                let read = Access { target: Target::Tensor(bias_at.id), index };
                let body = Expr::sum(vec![access(&whole, &place), Expr::Access(read)]);
                let scope = Scope { loops, sums: Vec::new(), body };
                self.define(&at, result, Made { shape, image, scope })
            }
        }
    }

    pub(super) fn define(&mut self, at: &At<'_>, name: &str, made: Made) -> Result<(), OnnxError> {
        let Made { shape, image, scope } = made;
        // Zeroes are read as far outside as the operator says: tensors are padded in the end.
        let free = self.free(name);
        let id = self.network.define(free, scope.clone());
        self.network.pad();
        if let Err(error) = scope.check(&self.network.tensors) {
            let (node, operator) = (at.name(), at.0.op_type.clone());
            return Err(OnnxError::Meaning { node, operator, error });
        }
        self.known.insert(name.to_owned(), Known { shape, id, image, integers: None });
        Ok(())
    }
}

fn map(at: &At<'_>, x: &Known, function: Option<Function>) -> Result<Made, OnnxError> {
    at.only(&[])?;
    let (loops, place) = places(&x.shape, x.image);
    let read = access(x, &place);
    let body = function.map_or(read.clone(), |function| Expr::Apply(function, Box::new(read)));
    let scope = Scope { loops, sums: Vec::new(), body };
    Ok(Made { shape: x.shape.clone(), image: x.image, scope })
}

/// Two tensors, number by number; a dimension of 1 or one that is missing in front is repeated.
fn both(at: &At<'_>, a: &Known, b: &Known, of: fn(Vec<Expr>) -> Expr) -> Result<Made, OnnxError> {
    at.only(&[])?;
    let rank = a.shape.len().max(b.shape.len());
    let long = |shape: &[i64]| [vec![1; rank - shape.len()], shape.to_vec()].concat();
    let (x, y) = (long(&a.shape), long(&b.shape));
    let extent = |(&m, &n): (&i64, &i64)| match (m, n) {
        (m, n) if m == n || n == 1 => Some(m),
        (1, n) => Some(n),
        _ => None,
    };
    let Some(shape) = x.iter().zip(&y).map(extent).collect::<Option<Vec<i64>>>() else {
        return at.wrong("shapes that are the same, or 1", (&a.shape, &b.shape));
    };
    let image = shape.len() == 4 && (a.image || b.image);
    let (loops, place) = places(&shape, image);
    let read = |known: &Known| {
        let own = &place[rank - known.shape.len()..];
        let index: Vec<Index> = own
            .iter()
            .zip(&known.shape)
            .map(|(index, &extent)| if extent == 1 { Index::constant(0) } else { index.clone() })
            .collect();
        access(known, &index)
    };
    let scope = Scope { loops, sums: Vec::new(), body: of(vec![read(a), read(b)]) };
    Ok(Made { shape, image, scope })
}

fn matmul(at: &At<'_>, a: &Known, b: &Known, turned: bool) -> Result<Made, OnnxError> {
    let (&[m, k], &[p, q]) = (a.shape.as_slice(), b.shape.as_slice()) else {
        return at.wrong("two matrices", (&a.shape, &b.shape));
    };
    let (n, own) = if turned { (p, q) } else { (q, p) };
    if k != own {
        return at.wrong("as many columns as the other has rows", (&a.shape, &b.shape));
    }
    let v = Index::var;
    let second = if turned { [v(1), v(2)] } else { [v(2), v(1)] };
    let body = Expr::product(vec![access(a, &[v(0), v(2)]), access(b, &second)]);
    let scope = Scope { loops: vec![Range::to(m), Range::to(n)], sums: vec![Range::to(k)], body };
    Ok(Made { shape: vec![m, n], image: false, scope })
}

fn gemm(at: &At<'_>, a: &Known, b: &Known) -> Result<Made, OnnxError> {
    // `broadcast` is of old files: the bias was repeated only if it said so.
    at.only(&["alpha", "beta", "broadcast", "transA", "transB"])?;
    for factor in ["alpha", "beta"] {
        if let Some(other) = at.attribute(factor).filter(|attribute| attribute.f != 1.0) {
            return at.wrong(&format!("{factor} of 1"), other.f);
        }
    }
    if at.integer("transA", 0) != 0 {
        return at.wrong("transA of 0", at.integer("transA", 0));
    }
    matmul(at, a, b, at.integer("transB", 0) != 0)
}

/// A shape with 0 for an extent that stays, and -1 for one that follows.
fn resolved(at: &At<'_>, x: &Known, shape: &[i64]) -> Result<Vec<i64>, OnnxError> {
    let all: i64 = x.shape.iter().product();
    let kept = |(d, &extent): (usize, &i64)| match extent {
        0 if at.integer("allowzero", 0) == 0 => x.shape.get(d).copied().unwrap_or(0),
        other => other,
    };
    let mut out: Vec<i64> = shape.iter().enumerate().map(kept).collect();
    let sizes = out.iter().filter(|extent| **extent != -1);
    let known = sizes.copied().try_fold(1, i64::checked_mul).unwrap_or(0);
    for extent in out.iter_mut().filter(|extent| **extent == -1) {
        *extent = if known > 0 { all / known } else { 0 };
    }
    let count = out.iter().copied().try_fold(1, i64::checked_mul);
    if out.iter().any(|extent| *extent < 1) || count != Some(all) {
        return at.wrong(&format!("a shape of {all} numbers"), shape);
    }
    Ok(out)
}

/// The same numbers in the same order, which is that of the file.
fn reshape(at: &At<'_>, x: &Known, shape: Vec<i64>) -> Result<Made, OnnxError> {
    if shape.iter().product::<i64>() != x.shape.iter().product::<i64>() {
        return at.wrong("as many numbers", &shape);
    }
    let image = shape.len() == 4;
    let (loops, place) = places(&shape, image);
    let number = place
        .iter()
        .zip(&shape)
        .fold(Index::default(), |sum, (index, &extent)| sum.times(extent).plus(index));
    let mut step: i64 = x.shape.iter().product();
    let mut index = Vec::with_capacity(x.shape.len());
    for &extent in &x.shape {
        step /= extent;
        index.push(number.divided(step, &loops).modulo(extent, &loops));
    }
    let scope = Scope { loops, sums: Vec::new(), body: access(x, &index) };
    Ok(Made { shape, image, scope })
}
