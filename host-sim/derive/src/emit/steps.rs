//! The steps of a program before memory is given out: operators and nests over buffers.
//!
//! In: nothing. Out: what lowering makes, and what is laid out in an arena and written down.

use ripple_program::code::DIGITS;

/// A buffer of the arena, by its number.
pub type Buffer = usize;

/// What a buffer holds, and from which step to which it does.
#[derive(Clone, Debug, PartialEq)]
pub struct Room {
    /// Bytes.
    pub bytes: i64,
    /// What for, in words.
    pub what: String,
}

/// An index of a nest: `constant + sum of factor * variable`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Affine {
    /// Whatever the variables are.
    pub constant: i64,
    /// Variables with their factors, each once.
    pub terms: Vec<(usize, i64)>,
}

impl Affine {
    /// A number.
    pub fn constant(constant: i64) -> Self {
        Self { constant, terms: Vec::new() }
    }

    /// A variable.
    pub fn var(variable: usize) -> Self {
        Self { constant: 0, terms: vec![(variable, 1)] }
    }

    /// The factor of a variable.
    pub fn factor(&self, variable: usize) -> i64 {
        self.terms.iter().find(|(v, _)| *v == variable).map_or(0, |(_, factor)| *factor)
    }

    /// `self += factor * other`.
    pub fn add(&mut self, other: &Self, factor: i64) {
        self.constant += factor * other.constant;
        for &(variable, own) in &other.terms {
            match self.terms.iter_mut().find(|(v, _)| *v == variable) {
                Some((_, known)) => *known += factor * own,
                None => self.terms.push((variable, factor * own)),
            }
        }
        self.terms.retain(|(_, factor)| *factor != 0);
        self.terms.sort_unstable();
    }

    /// The same plus a number.
    #[must_use]
    pub fn plus(mut self, constant: i64) -> Self {
        self.constant += constant;
        self
    }
}

/// A quotient or a remainder.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Whether it is the remainder.
    pub remainder: bool,
    /// The divisor.
    pub by: i64,
    /// Of what.
    pub of: Affine,
}

/// Where numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// 8 bits.
    Small(Buffer),
    /// 32 bits.
    Whole(Buffer),
    /// Floats.
    Real(Buffer),
    /// Among the constants, 32 bits, from this word on.
    Constant(usize),
    /// The same, floats.
    RealConstant(usize),
}

/// What a nest reads.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    /// Of what.
    pub place: Place,
    /// Numbers there.
    pub numbers: i64,
    /// Which.
    pub at: Affine,
    /// Indices that must be below an extent and not negative; else 0 is read.
    pub guards: Vec<(Affine, i64)>,
}

/// An operation of a body.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Op {
    /// What is read, by its place.
    Load(usize),
    /// A number, by its bits.
    Constant(i32),
    /// Of the last two.
    Add,
    /// Of the last two.
    Times,
    /// Of the last one.
    Relu,
    /// Of the last one.
    Tanh,
    /// Of the last one.
    Square,
    /// Of the last one, as are those below.
    Sigmoid,
    /// See above.
    Exp,
    /// See above.
    Reciprocal,
    /// See above.
    InverseRoot,
}

/// How a nest stores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Store {
    /// 32 bits.
    Write,
    /// Added to 32 bits.
    Add,
    /// 8 bits: the bits of the factor, and the shift.
    Small(i32, i32),
}

/// A generated operator. Variables: digits, then loops, then parts.
#[derive(Clone, Debug, PartialEq)]
pub struct Nest {
    /// Whether it computes in floats.
    pub real: bool,
    /// How it stores.
    pub store: Store,
    /// Iterations of each loop; the last one is run along.
    pub loops: Vec<i64>,
    /// What is computed.
    pub body: Vec<Op>,
    /// Quotients and remainders.
    pub parts: Vec<Part>,
    /// What is written.
    pub to: Buffer,
    /// Numbers there.
    pub numbers: i64,
    /// Which.
    pub at: Affine,
    /// What is read.
    pub reads: Vec<Read>,
}

/// Rows of a product.
#[derive(Clone, Debug, PartialEq)]
pub enum Rows {
    /// On the card, one record each.
    Card(Vec<Vec<i8>>),
    /// In the arena: so many, one after the other.
    Arena(Buffer, i64),
}

/// A step.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A generated operator.
    Nest(Nest),
    /// So many words of zeroes.
    Zero(Buffer, i64),
    /// Vectors packed.
    Pack {
        /// Vectors in 8 bits.
        from: Buffer,
        /// Packed.
        to: Buffer,
        /// How many.
        rows: i64,
        /// Numbers in each.
        cols: i64,
    },
    /// Rows times vectors.
    Product {
        /// The rows.
        rows: Rows,
        /// Numbers in each, a multiple of four.
        cols: i64,
        /// Packed vectors.
        packed: Buffer,
        /// Vectors that a row is multiplied with.
        vectors: i64,
        /// Products: rows and vectors are in as many equal parts.
        batch: i64,
        /// Products of one row.
        products: Buffer,
        /// Digits of a row's number.
        digits: [i64; DIGITS],
        /// Rows that add up to the same sums.
        group: i64,
        /// The sums, and how many.
        sums: Option<(Buffer, i64)>,
        /// Done with the products of each row.
        each: Nest,
        /// Done with the sums of each group.
        finish: Option<Nest>,
    },
    /// A window over a sequence.
    Window {
        /// Whether it weighs the sequence, or scores it.
        weighed: bool,
        /// Vectors, or scores.
        rows: Buffer,
        /// The sequence.
        sequence: Buffer,
        /// How many sequences.
        batch: i64,
        /// Positions that have a row.
        positions: i64,
        /// Positions of the sequence.
        length: i64,
        /// Places of the window.
        window: i64,
        /// Numbers at a position.
        depth: i64,
        /// Of the first place.
        offset: i64,
        /// From one place to the next.
        step: i64,
        /// A packed vector.
        packed: Option<Buffer>,
        /// Results of one position.
        results: Buffer,
        /// Done with them.
        each: Nest,
    },
    /// Filters over images.
    Conv {
        /// The filters.
        rows: Vec<Vec<i8>>,
        /// Numbers in each, a multiple of four.
        cols: i64,
        /// The images.
        image: Buffer,
        /// How many.
        images: i64,
        /// Their height and width.
        input: [i64; 2],
        /// Their channels.
        channels: i64,
        /// Height and width of the results.
        output: [i64; 2],
        /// Height and width of a filter.
        kernel: [i64; 2],
        /// Steps of the results in the image.
        stride: [i64; 2],
        /// Steps of a filter in the image.
        dilation: [i64; 2],
        /// Where the first one begins.
        offset: [i64; 2],
        /// Results of one filter.
        results: Buffer,
        /// Done with them.
        each: Nest,
    },
}

impl Nest {
    /// Every buffer in it.
    pub fn buffers(&self) -> Vec<Buffer> {
        let read = self.reads.iter().filter_map(|read| match read.place {
            Place::Small(buffer) | Place::Whole(buffer) | Place::Real(buffer) => Some(buffer),
            Place::Constant(_) | Place::RealConstant(_) => None,
        });
        read.chain([self.to]).collect()
    }

    /// How often its body is computed.
    pub fn work(&self) -> i64 {
        self.loops.iter().product()
    }
}

impl Step {
    /// Its records on the card, and numbers in each.
    pub fn table(&self) -> Option<(i64, i64)> {
        match self {
            Self::Product { rows: Rows::Card(rows), cols, .. } | Self::Conv { rows, cols, .. } => {
                Some((rows.len() as i64, *cols))
            }
            _ => None,
        }
    }

    /// Every buffer in it.
    pub fn buffers(&self) -> Vec<Buffer> {
        match self {
            Self::Nest(nest) => nest.buffers(),
            Self::Zero(buffer, _) => vec![*buffer],
            Self::Pack { from, to, .. } => vec![*from, *to],
            Self::Product { rows, packed, products, sums, each, finish, .. } => {
                let mut all = vec![*packed, *products];
                if let Rows::Arena(buffer, _) = rows {
                    all.push(*buffer);
                }
                all.extend(sums.iter().map(|(buffer, _)| *buffer));
                all.extend(each.buffers());
                all.extend(finish.iter().flat_map(Nest::buffers));
                all
            }
            Self::Window { rows, sequence, packed, results, each, .. } => {
                let mut all = vec![*rows, *sequence, *results];
                all.extend(packed);
                all.extend(each.buffers());
                all
            }
            Self::Conv { image, results, each, .. } => {
                let mut all = vec![*image, *results];
                all.extend(each.buffers());
                all
            }
        }
    }
}
