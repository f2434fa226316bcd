//! Metadata values, read in place.
//!
//! In: bytes of a file, which may be anything. Out: typed values that borrow them. A list is its place and its
//! length: elements are read one by one, and take no memory. Knows nothing of keys or tensors.

use anyhow::{Context, Result, bail};

/// The number of the type of a list.
const LIST: u32 = 9;

/// A metadata value; whole numbers of all widths are one kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'f> {
    Whole(i128),
    Number(f64),
    Flag(bool),
    Text(&'f str),
    List(List<'f>),
}

impl Value<'_> {
    /// The same in JSON; of a long list the beginning, for it is only compared and shown.
    pub(super) fn json(self) -> serde_json::Value {
        match self {
            Self::Whole(number) => i64::try_from(number).map_or(number as f64 as i64, |n| n).into(),
            Self::Number(number) => number.into(),
            Self::Flag(flag) => flag.into(),
            Self::Text(text) => text.into(),
            Self::List(list) => list.take(16).map(Value::json).collect(),
        }
    }
}

/// The elements of a list that were read whole once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct List<'f> {
    reader: Reader<'f>,
    kind: u32,
    left: usize,
}

impl List<'_> {
    pub(super) const EMPTY: Self = Self { reader: Reader { bytes: &[], at: 0 }, kind: 0, left: 0 };

    /// Elements that are left.
    pub(crate) fn left(&self) -> usize {
        self.left
    }
}

impl<'f> Iterator for List<'f> {
    type Item = Value<'f>;

    fn next(&mut self) -> Option<Value<'f>> {
        self.left = self.left.checked_sub(1)?;
        self.reader.value(self.kind).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

/// Reads forward.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reader<'f> {
    pub bytes: &'f [u8],
    pub at: usize,
}

impl<'f> Reader<'f> {
    pub(super) fn take(&mut self, count: usize) -> Result<&'f [u8]> {
        let end = self.at.checked_add(count);
        let taken = end.and_then(|end| self.bytes.get(self.at..end)).with_context(|| {
            format!(
                "ends at byte {} in the middle of its header, {count} more bytes expected from {}; \
                 download it again",
                self.bytes.len(),
                self.at
            )
        })?;
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into()?)
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn text(&mut self) -> Result<&'f str> {
        let length = usize::try_from(self.u64()?)?;
        let at = self.at;
        std::str::from_utf8(self.take(length)?)
            .with_context(|| format!("the text at byte {at} is not UTF-8; download it again"))
    }

    /// A type and a value of it, of a list every element.
    pub(super) fn typed(&mut self) -> Result<Value<'f>> {
        let kind = self.u32()?;
        if kind != LIST {
            return self.value(kind);
        }
        let kind = self.u32()?;
        // Every element takes a byte at least: a count that lies ends the file.
        let left = usize::try_from(self.u64()?)?;
        let list = List { reader: *self, kind, left };
        for _ in 0..left {
            self.value(kind)?;
        }
        Ok(Value::List(list))
    }

    /// A value that is no list.
    fn value(&mut self, kind: u32) -> Result<Value<'f>> {
        Ok(match kind {
            0 => Value::Whole(u8::from_le_bytes(self.array()?).into()),
            1 => Value::Whole(i8::from_le_bytes(self.array()?).into()),
            2 => Value::Whole(u16::from_le_bytes(self.array()?).into()),
            3 => Value::Whole(i16::from_le_bytes(self.array()?).into()),
            4 => Value::Whole(self.u32()?.into()),
            5 => Value::Whole(i32::from_le_bytes(self.array()?).into()),
            6 => Value::Number(f32::from_le_bytes(self.array()?).into()),
            7 => Value::Flag(self.array::<1>()? != [0]),
            8 => Value::Text(self.text()?),
            10 => Value::Whole(self.u64()?.into()),
            11 => Value::Whole(i64::from_le_bytes(self.array()?).into()),
            12 => Value::Number(f64::from_le_bytes(self.array()?)),
            _ => bail!("a value of type {kind}, expected 0 to 12; the file is damaged"),
        })
    }
}
