//! Reading the notation.

use crate::check::{ExprError, MOST_ITERATORS};
use crate::expr::{Access, Expr, Function, Kind, Scope, Target, Tensor};
use crate::index::{Index, Range};
use crate::network::Network;

/// Why a text is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotationError {
    /// Something else was expected.
    #[error("line {line}, column {column}: expected {expected}, found {found}")]
    Expected {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What may stand there.
        expected: String,
        /// What does.
        found: String,
    },
    /// What is said means nothing.
    #[error("line {line}: {error}")]
    Meaning {
        /// Line, from 1.
        line: usize,
        /// Why.
        error: ExprError,
    },
    /// A name stands for two tensors, or for two iterators of one line.
    #[error("line {line}: {name:?} is the name of something else already; take another")]
    Twice {
        /// Line, from 1.
        line: usize,
        /// The name.
        name: String,
    },
    /// No line defines anything.
    #[error("nothing is defined; expected a line such as `O[i: 4] = A[i]`")]
    Nothing,
}

/// Reads a network.
///
/// # Errors
/// With line and column, what was expected and what was found.
pub fn parse(text: &str) -> Result<Network, NotationError> {
    let mut network = Network::default();
    for (at, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        if !line.trim().is_empty() {
            let mut reader = Reader { line: at + 1, text: line, at: 0, network: &mut network };
            reader.statement()?;
        }
    }
    if network.definitions.is_empty() {
        return Err(NotationError::Nothing);
    }
    Ok(network)
}

struct Reader<'a> {
    line: usize,
    text: &'a str,
    at: usize,
    network: &'a mut Network,
}

type Read<T> = Result<T, NotationError>;

/// Names of the iterators of a line, by number.
type Names = Vec<(String, Range)>;

impl Reader<'_> {
    fn rest(&mut self) -> &str {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        &self.text[self.at..]
    }

    fn expected<T>(&mut self, expected: &str) -> Read<T> {
        let rest = self.rest();
        let found: String = rest.chars().take_while(|c| !c.is_whitespace()).take(20).collect();
        let found =
            if found.is_empty() { "the end of the line".into() } else { format!("`{found}`") };
        let (line, column) = (self.line, self.text[..self.at].chars().count() + 1);
        Err(NotationError::Expected { line, column, expected: expected.to_owned(), found })
    }

    fn takes(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn needs(&mut self, token: &str) -> Read<()> {
        if self.takes(token) { Ok(()) } else { self.expected(&format!("`{token}`")) }
    }

    fn word(&mut self) -> Option<String> {
        let rest = self.rest();
        let is = |c: char| c.is_alphanumeric() || c == '_';
        let word: String = rest.chars().take_while(|&c| is(c)).collect();
        if word.is_empty() || word.starts_with(|c: char| c.is_numeric()) {
            return None;
        }
        self.at += word.len();
        Some(word)
    }

    fn name(&mut self, what: &str) -> Read<String> {
        match self.word() {
            Some(name) => Ok(name),
            None => self.expected(what),
        }
    }

    fn natural(&mut self) -> Option<i64> {
        let digits: String = self.rest().chars().take_while(char::is_ascii_digit).collect();
        // Far below where products of extents overflow.
        let value: i64 = digits.parse().ok().filter(|&value| value < 1 << 31)?;
        self.at += digits.len();
        Some(value)
    }

    fn integer(&mut self) -> Read<i64> {
        let negative = self.takes("-");
        match self.natural() {
            Some(value) => Ok(if negative { -value } else { value }),
            None => self.expected("a number below 2^31"),
        }
    }

    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Read<T>) -> Read<Vec<T>> {
        let mut all = vec![item(self)?];
        while self.takes(",") {
            all.push(item(self)?);
        }
        Ok(all)
    }

    fn end(&mut self) -> Read<()> {
        if self.rest().is_empty() { Ok(()) } else { self.expected("the end of the line") }
    }

    fn new_name(&self, name: &str) -> Read<()> {
        let known = self.network.tensors.iter().any(|tensor| tensor.name == name);
        let reserved = ["input", "weight", "sum", "pad"].contains(&name)
            || Function::ALL.iter().any(|function| function.name() == name);
        if known || reserved {
            return Err(NotationError::Twice { line: self.line, name: name.to_owned() });
        }
        Ok(())
    }

    fn meaning<T>(&self, result: Result<T, ExprError>) -> Read<T> {
        result.map_err(|error| NotationError::Meaning { line: self.line, error })
    }

    fn statement(&mut self) -> Read<()> {
        let first = self.name("`input`, `weight` or a name")?;
        let kind = match first.as_str() {
            "input" => Kind::Input,
            "weight" => Kind::Weight,
            _ => return self.definition(first),
        };
        let name = self.name("a name")?;
        self.new_name(&name)?;
        self.needs("[")?;
        let shape = self.list(|reader| reader.positive("an extent above 0 and below 2^31"))?;
        self.needs("]")?;
        let mut tensor = Tensor::new(name, kind, &shape);
        if let Some(padding) = self.padding(&tensor.name, shape.len())? {
            tensor.padding = padding;
        }
        self.end()?;
        self.network.declare(tensor);
        Ok(())
    }

    /// Zeroes before and behind each dimension, if they are declared.
    fn padding(&mut self, name: &str, dimensions: usize) -> Read<Option<Vec<(i64, i64)>>> {
        if !self.takes("pad") {
            return Ok(None);
        }
        let padding = self.list(|reader| {
            let before = reader.zeroes()?;
            let after = if reader.takes(":") { reader.zeroes()? } else { before };
            Ok((before, after))
        })?;
        let found = padding.len();
        let error = ExprError::Rank { target: name.to_owned(), dimensions, found };
        if found == dimensions { Ok(Some(padding)) } else { self.meaning(Err(error)) }
    }

    fn zeroes(&mut self) -> Read<i64> {
        match self.natural() {
            Some(zeroes) => Ok(zeroes),
            None => self.expected("a number below 2^31"),
        }
    }

    fn positive(&mut self, expected: &str) -> Read<i64> {
        let before = self.at;
        match self.natural() {
            Some(value) if value > 0 => Ok(value),
            _ => {
                self.at = before;
                self.expected(expected)
            }
        }
    }

    fn definition(&mut self, name: String) -> Read<()> {
        self.new_name(&name)?;
        let mut names = Names::new();
        self.needs("[")?;
        self.iterators(&mut names)?;
        self.needs("]")?;
        let padding = self.padding(&name, names.len())?;
        self.needs("=")?;
        let loops = names.len();
        if self.takes("sum ") {
            self.iterators(&mut names)?;
            self.needs(".")?;
        }
        let ranges: Vec<Range> = names.iter().map(|(_, range)| *range).collect();
        let body = self.sum(&names)?;
        self.end()?;
        let (loops, sums) = ranges.split_at(loops);
        let scope = Scope { loops: loops.to_vec(), sums: sums.to_vec(), body };
        self.meaning(scope.check(&self.network.tensors))?;
        // As a tensor it begins at 0.
        let shifted = from_zero(&scope);
        let tensor = self.network.define(name, shifted);
        if let Some(padding) = padding {
            self.network.tensors[tensor as usize].padding = padding;
        }
        Ok(())
    }

    fn iterators(&mut self, names: &mut Names) -> Read<()> {
        loop {
            let name = self.name("the name of an iterator")?;
            if names.iter().any(|(known, _)| *known == name) {
                return Err(NotationError::Twice { line: self.line, name });
            }
            self.needs(":")?;
            let first = self.integer()?;
            let range = if self.takes("..") {
                Range { lo: first, hi: self.integer()? }
            } else {
                Range::to(first)
            };
            names.push((name, range));
            let (iterator, found) = (names.len() - 1, names.len());
            if range.is_empty() {
                return self.meaning(Err(ExprError::Empty { iterator, range }));
            }
            if found > MOST_ITERATORS {
                return self.meaning(Err(ExprError::Iterators { found }));
            }
            if !self.takes(",") {
                return Ok(());
            }
        }
    }

    fn sum(&mut self, names: &Names) -> Read<Expr> {
        let mut terms = Vec::new();
        let mut negative = self.takes("-");
        loop {
            let term = self.product(names)?;
            terms.push(if negative { Expr::product(vec![Expr::Constant(-1), term]) } else { term });
            negative = self.takes("-");
            if !negative && !self.takes("+") {
                return Ok(Expr::sum(terms));
            }
        }
    }

    fn product(&mut self, names: &Names) -> Read<Expr> {
        let mut factors = vec![self.factor(names)?];
        while self.takes("*") {
            factors.push(self.factor(names)?);
        }
        Ok(Expr::product(factors))
    }

    fn factor(&mut self, names: &Names) -> Read<Expr> {
        if let Some(value) = self.natural() {
            return Ok(Expr::Constant(value));
        }
        if self.takes("(") {
            let inner = self.sum(names)?;
            self.needs(")")?;
            return Ok(inner);
        }
        let before = self.at;
        let name = self.name("a number, a tensor, a function or `(`")?;
        if let Some(function) = Function::ALL.into_iter().find(|f| f.name() == name) {
            self.needs("(")?;
            let inner = self.sum(names)?;
            self.needs(")")?;
            return Ok(Expr::Apply(function, Box::new(inner)));
        }
        let Some(id) = self.network.tensors.iter().position(|tensor| tensor.name == name) else {
            self.at = before;
            return self.expected("a tensor that is declared or defined above");
        };
        self.needs("[")?;
        let index = self.list(|reader| reader.index(names))?;
        self.needs("]")?;
        Ok(Expr::Access(Access { target: Target::Tensor(id as u32), index }))
    }

    fn index(&mut self, names: &Names) -> Read<Index> {
        let mut sum = Index::default();
        let mut negative = self.takes("-");
        loop {
            let term = self.index_term(names)?;
            sum = if negative { sum.minus(&term) } else { sum.plus(&term) };
            negative = self.takes("-");
            if !negative && !self.takes("+") {
                return Ok(sum);
            }
        }
    }

    fn index_term(&mut self, names: &Names) -> Read<Index> {
        let ranges: Vec<Range> = names.iter().map(|(_, range)| *range).collect();
        let mut term = self.index_factor(names)?;
        loop {
            if self.takes("*") {
                let other = self.index_factor(names)?;
                term = match (term.as_constant(), other.as_constant()) {
                    (Some(factor), _) => other.times(factor),
                    (_, Some(factor)) => term.times(factor),
                    _ => return self.expected("a number: indices are linear, but for `/` and `%`"),
                };
            } else if self.takes("/") {
                term = term.divided(self.positive("a number above 0 and below 2^31")?, &ranges);
            } else if self.takes("%") {
                term = term.modulo(self.positive("a number above 0 and below 2^31")?, &ranges);
            } else {
                return Ok(term);
            }
        }
    }

    fn index_factor(&mut self, names: &Names) -> Read<Index> {
        if let Some(value) = self.natural() {
            return Ok(Index::constant(value));
        }
        if self.takes("(") {
            let inner = self.index(names)?;
            self.needs(")")?;
            return Ok(inner);
        }
        let before = self.at;
        let name = self.name("a number, an iterator or `(`")?;
        match names.iter().position(|(known, _)| *known == name) {
            Some(v) => Ok(Index::var(v)),
            None => {
                self.at = before;
                self.expected("an iterator of this line")
            }
        }
    }
}

/// The scope with dimensions that begin at 0.
fn from_zero(scope: &Scope) -> Scope {
    let loops: Vec<Range> = scope.loops.iter().map(|range| Range::to(range.len())).collect();
    let ranges = [loops.as_slice(), &scope.sums].concat();
    let starts = scope.loops.iter().map(|range| range.lo).chain(std::iter::repeat(0));
    let with: Vec<Index> =
        (0..ranges.len()).zip(starts).map(|(v, lo)| Index::var(v).offset(lo)).collect();
    let body = scope.body.indexed(&|index| index.substituted(&with, &ranges));
    Scope { loops, sums: scope.sums.clone(), body }
}
