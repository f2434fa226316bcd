//! Operators, and which iterator of a focus plays which part in one.

use super::Occurs;
use crate::expr::{Access, Scope};
use std::fmt;

/// What an operator computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kernel {
    /// `T[b,m,n] = sum over k . A[b,m,k] B[b,n,k]`: each row of B, read once, with all rows of A.
    Matmul,
    /// `T[n,h,w,f] = sum over r,s,c . A[n, h*sh + r*dh + p, w*sw + s*dw + q, c] K[f,r,s,c]`.
    Conv,
    /// `T[b,m,w] = sum over k . Q[b,m,k] K[b,m + d*w + p,k]`: scores of a window.
    Window,
    /// `T[b,m,k] = sum over w . S[b,m,w] V[b,m + d*w + p,k]`: what a window's scores weigh.
    WindowSum,
}

/// An operator of the library.
#[derive(Clone, Debug, PartialEq)]
pub struct Operator {
    /// What it is called.
    pub name: String,
    /// What it computes.
    pub kernel: Kernel,
    /// For a convolution, the only height and width of its kernel; `None` for any.
    pub size: Option<(i64, i64)>,
    /// Whether strides and dilations other than 1 are possible; for a window, dilations.
    pub strided: bool,
    /// Multiply-accumulates it needs for one of the expression: below 1 for an algorithm that saves some.
    pub work: f64,
}

impl Operator {
    /// The operators that the kernel's dot product makes.
    pub fn standard() -> Vec<Self> {
        let of = |name: &str, kernel, strided| Self {
            name: name.to_owned(),
            kernel,
            size: None,
            strided,
            work: 1.0,
        };
        vec![
            of("matmul", Kernel::Matmul, false),
            of("conv", Kernel::Conv, true),
            of("window", Kernel::Window, true),
            of("window-sum", Kernel::WindowSum, true),
        ]
    }

    /// A convolution of one size of kernel, for `work` multiply-accumulates in the place of each.
    pub fn conv(height: i64, width: i64, work: f64) -> Self {
        Self {
            name: format!("conv{height}x{width}"),
            kernel: Kernel::Conv,
            size: Some((height, width)),
            strided: false,
            work,
        }
    }
}

/// The part an iterator plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Of both operands and the output.
    Batch,
    /// Of A and the output.
    Rows,
    /// Of B and the output.
    Columns,
    /// Summed over.
    Depth,
    /// A convolution's height and width, and those of its kernel.
    Height,
    /// See [`Role::Height`].
    Width,
    /// See [`Role::Height`].
    KernelHeight,
    /// See [`Role::Height`].
    KernelWidth,
    /// The position that a window goes with.
    Position,
    /// The place in the window.
    Window,
}

/// An operator with its extents.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Call {
    /// See [`Kernel::Matmul`].
    Matmul {
        /// Products.
        batch: i64,
        /// Rows of A.
        rows: i64,
        /// Rows of B.
        columns: i64,
        /// Numbers in a row.
        depth: i64,
    },
    /// See [`Kernel::Conv`].
    Conv {
        /// Images.
        images: i64,
        /// Height and width of the output.
        output: (i64, i64),
        /// Filters.
        filters: i64,
        /// Height and width of the kernel.
        kernel: (i64, i64),
        /// Channels.
        channels: i64,
        /// Steps of the output in the input.
        stride: (i64, i64),
        /// Steps of the kernel in the input.
        dilation: (i64, i64),
    },
    /// See [`Kernel::Window`].
    Window {
        /// Sequences.
        batch: i64,
        /// Positions in each.
        positions: i64,
        /// Places of the window.
        window: i64,
        /// Positions from one place to the next.
        step: i64,
        /// Numbers in a row.
        depth: i64,
    },
    /// See [`Kernel::WindowSum`].
    WindowSum {
        /// Sequences.
        batch: i64,
        /// Positions in each.
        positions: i64,
        /// Places of the window.
        window: i64,
        /// Positions from one place to the next.
        step: i64,
        /// Numbers in a row.
        depth: i64,
    },
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Matmul { batch, rows, columns, depth } => {
                let times = if *batch > 1 { format!("{batch} times ") } else { String::new() };
                write!(f, "matmul, {times}{columns} rows of {depth} with {rows} vectors")
            }
            Self::Conv { images, output, filters, kernel, channels, stride, dilation } => {
                write!(f, "conv {}x{}, {filters} filters", kernel.0, kernel.1)?;
                write!(f, " of {channels} channels, {}x{} pixels", output.0, output.1)?;
                if *images > 1 {
                    write!(f, ", {images} images")?;
                }
                if *stride != (1, 1) {
                    write!(f, ", stride {}x{}", stride.0, stride.1)?;
                }
                if *dilation != (1, 1) {
                    write!(f, ", dilation {}x{}", dilation.0, dilation.1)?;
                }
                Ok(())
            }
            Self::Window { batch, positions, window, step, depth }
            | Self::WindowSum { batch, positions, window, step, depth } => {
                let sum = if matches!(self, Self::WindowSum { .. }) { "sum " } else { "" };
                write!(f, "window {sum}of {window}, {batch} times {positions} positions")?;
                write!(f, ", depth {depth}")?;
                if *step > 1 { write!(f, ", {step} apart") } else { Ok(()) }
            }
        }
    }
}

impl Call {
    /// Multiply-accumulates.
    pub fn work(&self) -> i64 {
        match *self {
            Self::Matmul { batch, rows, columns, depth } => batch * rows * columns * depth,
            Self::Conv { images, output, filters, kernel, channels, .. } => {
                images * output.0 * output.1 * filters * kernel.0 * kernel.1 * channels
            }
            Self::Window { batch, positions, window, depth, .. }
            | Self::WindowSum { batch, positions, window, depth, .. } => {
                batch * positions * window * depth
            }
        }
    }

    /// Dot products or scaled rows, and the numbers in each: what is contiguous in both operands.
    pub fn dots(&self) -> (i64, i64) {
        let length = match *self {
            Self::Matmul { depth, .. }
            | Self::Window { depth, .. }
            | Self::WindowSum { depth, .. } => depth,
            // A row of the kernel lies together where its columns are neighbours in the input.
            Self::Conv { kernel, channels, dilation, .. } if dilation.1 == 1 || kernel.1 == 1 => {
                kernel.1 * channels
            }
            Self::Conv { channels, .. } => channels,
        };
        (self.work() / length.max(1), length)
    }
}

/// A stride in the input that two iterators share: `a * x + b * y`, in one dimension.
#[derive(Clone, Copy)]
struct Sliding {
    outer: usize,
    inner: usize,
}

impl Operator {
    /// Every way in which the iterators of `focus` can play the parts of this operator.
    pub(super) fn roles(
        &self,
        focus: &Scope,
        a: &Access,
        b: &Access,
        table: &[Occurs],
    ) -> Vec<Vec<Role>> {
        let plain = |occurs: &Occurs| match *occurs {
            Occurs::ALL => Role::Batch,
            Occurs::A_OUT => Role::Rows,
            Occurs::B_OUT => Role::Columns,
            _ => Role::Depth,
        };
        let base: Vec<Role> = table.iter().map(plain).collect();
        let of = |role: Role| (0..base.len()).filter(|&v| base[v] == role).collect::<Vec<_>>();
        match self.kernel {
            Kernel::Matmul => vec![base],
            Kernel::Conv => {
                let both = sliding(a, &of(Role::Rows), &of(Role::Depth), self.strided);
                let ranges = focus.ranges();
                let pairs = both.iter().flat_map(|h| both.iter().map(move |w| (*h, *w)));
                let planes = pairs
                    .filter(|((d, h), (e, w))| d < e && h.inner != w.inner && h.outer != w.outer)
                    .filter(|((_, h), (_, w))| {
                        let size = (ranges[h.inner].len(), ranges[w.inner].len());
                        self.size.is_none_or(|only| only == size)
                    })
                    .map(|((_, h), (_, w))| {
                        let mut roles = base.clone();
                        roles[h.outer] = Role::Height;
                        roles[h.inner] = Role::KernelHeight;
                        roles[w.outer] = Role::Width;
                        roles[w.inner] = Role::KernelWidth;
                        roles
                    });
                // Images of one line: what slides elsewhere is a channel more of each.
                let lines = both.iter().filter(|(_, w)| {
                    let size = (1, ranges[w.inner].len());
                    self.size.is_none_or(|only| only == size) && size.1 > 1
                });
                let lines = lines.map(|(_, w)| {
                    let mut roles = base.clone();
                    roles[w.outer] = Role::Width;
                    roles[w.inner] = Role::KernelWidth;
                    roles
                });
                planes.chain(lines).collect()
            }
            Kernel::Window | Kernel::WindowSum => {
                let (window, other) = match self.kernel {
                    Kernel::Window => (Role::Columns, Role::Depth),
                    _ => (Role::Depth, Role::Columns),
                };
                if of(Role::Rows).len() + of(window).len() != 1 || of(other).is_empty() {
                    return Vec::new();
                }
                let found = sliding(b, &of(Role::Batch), &of(window), self.strided);
                found
                    .into_iter()
                    .filter(|(d, slide)| b.index[*d].factor(slide.outer) == 1)
                    .map(|(_, slide)| {
                        let mut roles = base.clone();
                        roles[slide.outer] = Role::Position;
                        roles[slide.inner] = Role::Window;
                        roles
                    })
                    .collect()
            }
        }
    }
}

/// Dimensions of `access` that are `outer + inner + constant`, or with factors if `strided`, and in which
/// no other dimension has these iterators.
fn sliding(
    access: &Access,
    outer: &[usize],
    inner: &[usize],
    strided: bool,
) -> Vec<(usize, Sliding)> {
    let mut found = Vec::new();
    for (d, index) in access.index.iter().enumerate() {
        for (&x, &y) in outer.iter().flat_map(|x| inner.iter().map(move |y| (x, y))) {
            let both = 1 << x | 1 << y;
            let (a, b) = (index.factor(x), index.factor(y));
            let alone = index.vars() == both && index.is_linear();
            let elsewhere = access
                .index
                .iter()
                .enumerate()
                .any(|(e, other)| e != d && other.vars() & both != 0);
            let steps = if strided { a > 0 && b > 0 } else { a == 1 && b == 1 };
            if alone && steps && !elsewhere {
                found.push((d, Sliding { outer: x, inner: y }));
            }
        }
    }
    found
}
